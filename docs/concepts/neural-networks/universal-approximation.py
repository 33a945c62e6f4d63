"""Twin of the page "Universal approximation": constructions, counts of pieces and rates."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def relu(z):
    return np.maximum(z, 0)


def relu_interpolant(f, n):
    """One hidden layer of n ReLU units that interpolates f on [0, 1] at k / n.

    Returns the weights (all 1), hidden biases, output weights and output bias.
    """
    knots = np.linspace(0, 1, n + 1)
    slopes = np.diff(f(knots)) * n
    c = np.diff(slopes, prepend=0)  # change of slope at each knot
    return np.ones(n), -knots[:-1], c, f(0.0)


def shallow(x, w, b, c, c0):
    """One hidden layer on a batch of numbers. x: (batch,); returns (batch,)."""
    return relu(np.outer(x, w) + b) @ c + c0


def tent(x):
    """Two ReLU units: up from 0 to 1 and back on [0, 1]."""
    return 2 * relu(x) - 4 * relu(x - 0.5)


def deep_square(x, m):
    """x^2 on [0, 1] from m composed tents: a deep network of narrow layers."""
    total, t = x.copy(), x
    for s in range(1, m + 1):
        t = tent(t)
        total = total - t / 4**s
    return total


# --8<-- [end:numpy]


# --8<-- [start:torch]
def deep_sawtooth(k):
    """The tent composed k times as a Sequential: 2 ReLU units in each hidden layer."""
    up = torch.tensor([[2.0, -4.0]], dtype=torch.float64)
    layers = [torch.nn.Linear(1, 2, dtype=torch.float64), torch.nn.ReLU()]
    for _ in range(k - 1):
        layers += [torch.nn.Linear(2, 2, dtype=torch.float64), torch.nn.ReLU()]
    layers += [torch.nn.Linear(2, 1, dtype=torch.float64)]
    with torch.no_grad():
        for i, layer in enumerate(layers[::2]):
            first, last = i == 0, i == k
            into = torch.ones(1 if last else 2, 1, dtype=torch.float64)
            layer.weight.copy_(into if first else into @ up)
            layer.bias.copy_(torch.tensor([0.0] if last else [0.0, -0.5]))
    return torch.nn.Sequential(*layers)


# --8<-- [end:torch]


# --8<-- [start:memorize]
def memorize(X, y, rng):
    """One layer of n ReLU units that fits n distinct points exactly, any labels."""
    a = rng.normal(size=X.shape[1])  # distinct projections almost surely
    t = X @ a
    order = np.argsort(t)
    t = t[order]
    b = np.concatenate([[t[0] - 1], (t[:-1] + t[1:]) / 2])
    H = relu(t[:, None] - b)  # lower triangular, positive diagonal
    c = np.linalg.solve(H, y[order])
    return lambda Z: relu((Z @ a)[:, None] - b) @ c


# --8<-- [end:memorize]


def wave(x):
    """The target of the first figure."""
    return np.sin(2 * np.pi * x) * (1 - 0.4 * np.asarray(x)) + 0.3 * np.asarray(x)


def count_pieces(x, y, tol=1e-6):
    """Number of linear pieces of samples y on a fine uniform grid x."""
    slopes = np.diff(y) / np.diff(x)
    jumps = np.abs(np.diff(slopes)) > tol
    return 1 + int((jumps & ~np.concatenate([[False], jumps[:-1]])).sum())


def random_relu_net(sizes, rng):
    """A random network with one input and one output."""
    return [(rng.normal(size=(m, n)), rng.normal(size=m)) for n, m in zip(sizes, sizes[1:])]


def evaluate(params, X):
    """Evaluate a ReLU network without activation at the end."""
    for W, b in params[:-1]:
        X = relu(X @ W.T + b)
    return X @ params[-1][0].T + params[-1][1]


def figure_width():
    """Interpolants with 4 and 12 units; the largest error against the number of units."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.0))
    x = np.linspace(0, 1, 2001)
    left.plot(x, wave(x), color="#555555", lw=3.5, alpha=0.45, label="target")
    for n, style, color in ((4, "--", "#c2410c"), (12, "-", "#0061a8")):
        left.plot(x, shallow(x, *relu_interpolant(wave, n)), style, color=color, lw=1.6, label=f"{n} units")
    left.set(xlabel="$x$", ylabel="$f(x)$")
    left.legend(fontsize=9)
    units = 2 ** np.arange(1, 10)
    for f, marker, style, color, name in (
        (wave, "o", "-", "#0061a8", "smooth target"),
        (lambda v: np.sqrt(np.abs(np.asarray(v) - 1 / 3)), "s", "--", "#c2410c", r"$|x-1/3|^{1/2}$"),
    ):
        err = [np.abs(shallow(x, *relu_interpolant(f, n)) - f(x)).max() for n in units]
        right.loglog(units, err, marker + style, color=color, ms=4, lw=1.6, label=name)
    right.set(xlabel="hidden units", ylabel="largest error")
    right.legend(fontsize=9, loc="lower left")
    return fig


def figure_depth():
    """The tent composed 1, 2 and 4 times; units for 2^k pieces, deep against shallow."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.0))
    x = np.linspace(0, 1, 4097)
    for k, style, color in ((1, ":", "#555555"), (2, "--", "#c2410c"), (4, "-", "#0061a8")):
        y = x
        for _ in range(k):
            y = tent(y)
        left.plot(x, y, style, color=color, lw=1.7, label=f"$k={k}$")
    left.set(xlabel="$x$", ylabel="$t^{(k)}(x)$", ylim=(-0.03, 1.28), yticks=[0, 0.5, 1])
    left.legend(ncols=3, fontsize=9, loc="upper center", columnspacing=1, handlelength=1.6)
    k = np.arange(1, 17)
    right.semilogy(k, 2.0**k - 1, "s-", color="#c2410c", ms=4, lw=1.6, label="one hidden layer")
    right.semilogy(k, 2.0 * k, "o--", color="#0061a8", ms=4, lw=1.6, label="$k$ hidden layers")
    right.set(xlabel="$k$", ylabel="hidden units")
    right.legend(fontsize=9)
    return fig


def check_ua_relu_interpolant():
    """Equation (ua-relu-interpolant): equal to np.interp, for rough and smooth functions."""
    x = np.linspace(0, 1, 1001)
    for f in (wave, lambda v: np.abs(np.asarray(v) - 0.3), np.exp):
        for n in (1, 5, 40):
            knots = np.linspace(0, 1, n + 1)
            assert np.allclose(shallow(x, *relu_interpolant(f, n)), np.interp(x, knots, f(knots)), rtol=0, atol=1e-10)


def check_ua_interpolation_error():
    """Equation (ua-interpolation-error): both bounds hold, and both are attained."""
    x = np.linspace(0, 1, 20001)
    for f, lipschitz, second in ((np.sin, 1.0, np.sin(1)), (np.exp, math.e, math.e), (np.square, 2.0, 2.0)):
        for n in (1, 3, 10):
            error = np.abs(shallow(x, *relu_interpolant(f, n)) - f(x)).max()
            assert error <= lipschitz / (2 * n) + 1e-12 and error <= second / (8 * n**2) + 1e-12
    n = 8
    error = np.abs(shallow(x, *relu_interpolant(np.square, n)) - x**2).max()
    assert np.isclose(error, 2 / (8 * n**2), atol=1e-8)
    kink = lambda v: np.abs(np.asarray(v) - 0.5 / n)  # kink in the middle of a cell
    error = np.abs(shallow(x, *relu_interpolant(kink, n)) - kink(x)).max()
    assert np.isclose(error, 1 / (2 * n), atol=1e-4)


def check_wider_is_closer():
    """An example of the theorem, no proof: random ReLU features with fitted output weights, d = 3."""
    rng = np.random.default_rng(0)
    X, T = rng.uniform(-1, 1, size=(1500, 3)), rng.uniform(-1, 1, size=(500, 3))
    target = lambda Z: np.exp(-(Z**2).sum(axis=1)) * np.sign(Z[:, 0]) * Z[:, 0]
    errors = []
    for width in (10, 100, 600):
        W, b = rng.normal(size=(width, 3)), rng.uniform(-1, 1, size=width)
        c = np.linalg.lstsq(relu(X @ W.T + b), target(X), rcond=None)[0]
        errors.append(np.abs(relu(T @ W.T + b) @ c - target(T)).max())
    assert errors[1] < errors[0] / 2 and errors[2] < errors[1] / 2 and errors[2] < 0.08


def check_ua_polynomial():
    """Equation (ua-polynomial): the rank of random features stops at binom(d + m, m)."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(400, 3))
    W, b = rng.normal(size=(200, 3)), rng.normal(size=200)
    for m in (2, 3, 4):
        assert np.linalg.matrix_rank((X @ W.T + b) ** m) == math.comb(3 + m, m)
    assert math.comb(6, 3) == 20
    assert np.linalg.matrix_rank(np.tanh(X @ W.T + b), tol=1e-10) > 100


def check_ua_memorization():
    """Equation (ua-memorization): random labels fitted exactly with 2n + d numbers."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 5)), rng.choice([-1.0, 1.0], size=60)
    f = memorize(X, y, rng)
    assert np.allclose(f(X), y, atol=1e-6)


def check_ua_ray():
    """Equation (ua-ray): along a ray a ReLU network is affine from some point on."""
    rng = np.random.default_rng(0)
    params = random_relu_net([3, 20, 20, 1], rng)
    u = rng.normal(size=3)
    far = np.array([1e4, 2e4, 3e4, 4e4])
    y = evaluate(params, far[:, None] * u)[:, 0]
    assert np.allclose(np.diff(y, 2), 0, atol=1e-8 * np.abs(y).max())
    near = np.linspace(0, 2, 5)
    y = evaluate(params, near[:, None] * u)[:, 0]
    assert np.abs(np.diff(y, 2)).max() > 1e-3 * np.abs(y).max()
    # so a network that matches sin on [0, 1] is far off outside
    assert abs(shallow(np.array([6.0]), *relu_interpolant(np.sin, 50))[0] - np.sin(6)) > 1


def check_ua_pieces():
    """Equation (ua-pieces): random networks stay below the product; one layer attains it."""
    rng = np.random.default_rng(0)
    x = np.linspace(-10, 10, 400_001)
    for widths in ([5], [4, 4], [3, 3, 3]):
        for _ in range(3):
            params = random_relu_net([1, *widths, 1], rng)
            pieces = count_pieces(x, evaluate(params, x[:, None])[:, 0])
            assert 1 < pieces <= math.prod(n + 1 for n in widths)
    w, b, c, c0 = relu_interpolant(np.square, 6)
    x = np.linspace(-1, 2, 3001)
    assert count_pieces(x, shallow(x, w, b, c, c0)) == 7


def check_ua_sawtooth():
    """Equation (ua-sawtooth): 2^k pieces and 2^k + 1 alternating values; NumPy equals torch."""
    for k in (1, 2, 5, 8):
        x = np.linspace(0, 1, 2**k * 16 + 1)
        y = x
        for _ in range(k):
            y = tent(y)
        assert count_pieces(x, y) == 2**k
        nodes = np.arange(2**k + 1) / 2**k
        z = nodes
        for _ in range(k):
            z = tent(z)
        assert (z == np.arange(2**k + 1) % 2).all()
        assert np.allclose(np.abs(np.diff(y) / np.diff(x)), 2.0**k)
        with torch.no_grad():
            model = deep_sawtooth(k)
            t = model(torch.tensor(x)[:, None])[:, 0].numpy()
        assert np.allclose(t, y, rtol=0, atol=1e-12)
        relus = sum(m.out_features for m in list(model)[:-1] if isinstance(m, torch.nn.Linear))
        assert relus == 2 * k


def check_ua_separation():
    """Equation (ua-separation): with 2^k - 2 units some node is missed by at least 1/2."""
    rng = np.random.default_rng(0)
    for k in (3, 4):
        nodes = np.arange(2**k + 1) / 2**k
        target = np.arange(2**k + 1) % 2
        n = 2**k - 2
        for _ in range(200):
            b = -np.sort(rng.uniform(-0.1, 1, size=n))
            w = rng.choice([-1.0, 1.0], size=n)
            H = np.hstack([relu(np.outer(nodes, w) + b * w), np.ones((2**k + 1, 1))])
            c = np.linalg.lstsq(H, target, rcond=None)[0]
            assert np.abs(H @ c - target).max() >= 0.5 - 1e-9
        # 2^k units are exact
        exact = relu_interpolant(lambda v, k=k: np.rint(np.asarray(v) * 2**k) % 2, 2**k)
        assert np.allclose(shallow(nodes, *exact), target, atol=1e-9)


def check_ua_square():
    """Equation (ua-square): the error is exactly 4^-(m+1)."""
    x = np.linspace(0, 1, 2**14 + 1)
    for m in range(7):
        error = np.abs(deep_square(x, m) - x**2).max()
        assert np.isclose(error, 4.0 ** -(m + 1), rtol=1e-9)
    # a ReLU network of m hidden layers with three units each computes it
    for m in (1, 4, 9):
        params = [(np.array([[1.0], [1.0], [1.0]]), np.array([0.0, -0.5, 0.0]))]
        for s in range(1, m + 1):
            rows = [[2, -4, 0], [2, -4, 0], [-2 / 4**s, 1 / 4 ** (s - 1), 1]]
            last = s == m
            params.append((np.array(rows[2:] if last else rows), np.zeros(1) if last else np.array([0, -0.5, 0])))
        assert [len(b) for _, b in params] == [3] * m + [1]
        assert np.allclose(evaluate(params, x[:, None])[:, 0], deep_square(x, m), atol=1e-12)
    assert 4.0**-10 < 1e-6 < 1 / (8 * 353**2) and 1 / (8 * 354**2) < 1e-6
    # the reason: m tents give the interpolant with 2^m pieces
    knots = np.linspace(0, 1, 2**5 + 1)
    assert np.allclose(deep_square(x, 5), np.interp(x, knots, knots**2), atol=1e-12)


def check_ua_square_shallow():
    """Equation (ua-square-shallow): no line is closer to x^2 than h^2/8 on an interval of length h."""
    rng = np.random.default_rng(0)
    for h in (0.2, 0.7):
        a = rng.uniform(0, 1 - h)
        x = np.linspace(a, a + h, 2001)
        best = (2 * a + h) * x - a * (a + h) - h**2 / 8  # chord, lowered by half its error
        assert np.isclose(np.abs(best - x**2).max(), h**2 / 8, rtol=1e-5)
        for _ in range(300):
            line = best + rng.normal() * 0.02 * h + rng.normal() * 0.05 * h * (x - a)
            assert np.abs(line - x**2).max() >= h**2 / 8 * (1 - 1e-5)


def check_worked_example():
    """x^2 with four units: coefficients 1/4, 1/2, 1/2, 1/2 and error 1/64; tents at 0.3."""
    w, b, c, c0 = relu_interpolant(np.square, 4)
    assert np.allclose(c, [0.25, 0.5, 0.5, 0.5]) and c0 == 0
    assert np.isclose(shallow(np.array([0.6]), w, b, c, c0)[0], 0.375)
    x = np.linspace(0, 1, 8001)
    assert np.isclose(np.abs(shallow(x, w, b, c, c0) - x**2).max(), 1 / 64)
    t = np.array([0.3])
    values = []
    for _ in range(3):
        t = tent(t)
        values.append(t[0])
    assert np.allclose(values, [0.6, 0.8, 0.4])
    t = np.array([0.6])
    assert np.isclose(tent(t)[0], 0.8) and np.isclose(tent(tent(t))[0], 0.4)
    assert np.isclose(deep_square(np.array([0.6]), 2)[0], 0.375)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
