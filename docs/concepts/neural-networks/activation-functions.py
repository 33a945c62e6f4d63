"""Twin of the page "Activation functions": its snippets, its figures, its checks."""

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def sigmoid(z):
    """Logistic sigmoid of an array; never exponentiates a positive number."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def normal_cdf(z):
    """Phi(z), the standard normal distribution function, elementwise."""
    return 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))


def normal_pdf(z):
    """Density of the standard normal distribution, elementwise."""
    return np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


# name: (function, derivative); both map an array to an array of the same shape
ACTIVATIONS = {
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "leaky_relu": (
        lambda z: np.where(z > 0, z, 0.01 * z),
        lambda z: np.where(z > 0, 1.0, 0.01),
    ),
    "gelu": (
        lambda z: z * normal_cdf(z),
        lambda z: normal_cdf(z) + z * normal_pdf(z),
    ),
    "silu": (
        lambda z: z * sigmoid(z),
        lambda z: sigmoid(z) * (1 + z * sigmoid(-z)),
    ),
}


def dense(a, W, b, name):
    """One layer: a (batch, n_in), W (n_out, n_in), b (n_out,) -> z, phi(z)."""
    z = a @ W.T + b
    return z, ACTIVATIONS[name][0](z)


def dense_backward(grad_a, a, z, W, name):
    """From dJ/d(output) (batch, n_out) to dJ/da, dJ/dW, dJ/db."""
    delta = grad_a * ACTIVATIONS[name][1](z)  # the slope of phi gates the signal
    return delta @ W, delta.T @ a, delta.sum(axis=0)
# --8<-- [end:numpy]


# --8<-- [start:torch]
TORCH_ACTIVATIONS = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,  # negative_slope=0.01
    "gelu": F.gelu,  # exact; approximate="tanh" selects the approximation
    "silu": F.silu,
}


def torch_dense(a, W, b, name):
    """The same layer; autograd supplies the backward pass."""
    return TORCH_ACTIVATIONS[name](F.linear(a, W, b))
# --8<-- [end:torch]


def figure_bend():
    """Three ReLU units make a tent; tents side by side follow a curve."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.9))
    x = np.linspace(-2, 2, 401)
    parts = [np.maximum(x + 1, 0), -2 * np.maximum(x, 0), np.maximum(x - 1, 0)]
    names = ["relu(x + 1)", "-2 relu(x)", "relu(x - 1)"]
    for part, name, style in zip(parts, names, ["--", ":", "-."], strict=True):
        left.plot(x, part, style, lw=1.6, label=name)
    left.plot(x, sum(parts), "-", lw=2.8, color="#222222", label="sum")
    left.set(xlabel="x", ylabel="output", ylim=(-2.2, 2.2))
    left.legend(fontsize=9, loc="lower left")
    x = np.linspace(0, 2 * np.pi, 500)
    knots = np.linspace(0, 2 * np.pi, 9)
    values = relu_interpolant(knots, np.sin(knots))(x)
    right.plot(x, np.sin(x), "--", label="target: sin x")
    right.plot(x, values, "-", label="8 ReLU units")
    right.plot(knots, np.sin(knots), "o", ms=4, color="#222222", label="knots")
    right.set(xlabel="x", ylabel="output", ylim=(-1.35, 1.35))
    right.legend(fontsize=9, loc="upper right")
    return fig


def figure_shapes():
    """Six activation functions and their slopes."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2))
    z = np.linspace(-4, 4, 801)
    shown = {name: ACTIVATIONS[name] for name in ("sigmoid", "tanh", "relu")}
    shown["leaky (slope 0.1)"] = (  # 0.01 would be invisible
        lambda z: np.where(z > 0, z, 0.1 * z),
        lambda z: np.where(z > 0, 1.0, 0.1),
    )
    shown |= {name: ACTIVATIONS[name] for name in ("gelu", "silu")}
    labels = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU"}
    styles = ["-", "--", "-", (0, (1, 1)), "-.", (0, (5, 1, 1, 1, 1, 1))]
    widths = [1.6, 1.6, 2.6, 2.0, 1.8, 1.8]
    for (name, (phi, slope)), style, lw in zip(
        shown.items(), styles, widths, strict=True
    ):
        label = labels.get(name, name)
        axes[0].plot(z, phi(z), linestyle=style, lw=lw, label=label)
        axes[1].plot(z, slope(z), linestyle=style, lw=lw)
    axes[0].set(xlabel="pre-activation z", ylabel="activation", ylim=(-1.2, 3))
    axes[1].set(xlabel="pre-activation z", ylabel="slope", ylim=(-0.2, 1.25))
    axes[1].axhline(0.25, color="#555555", lw=0.9, ls=":")
    axes[1].annotate("1/4", (3.45, 0.27), fontsize=9)
    axes[0].legend(fontsize=9, loc="upper left")
    return fig


def relu_interpolant(knots, values):
    """Piecewise linear interpolant written as one hidden layer of ReLU units."""
    slopes = np.diff(values) / np.diff(knots)
    weights = np.diff(slopes, prepend=0.0)  # change of slope at each left knot

    def network(x):
        return values[0] + np.maximum(np.subtract.outer(x, knots[:-1]), 0) @ weights

    return network


def check_activation_definitions():
    """Equation (activation-definitions): NumPy against torch, large inputs too."""
    z = np.concatenate([np.linspace(-6, 6, 121), [-800.0, 800.0]])
    for name, (phi, _) in ACTIVATIONS.items():
        expected = TORCH_ACTIVATIONS[name](torch.tensor(z)).numpy()
        assert np.allclose(phi(z), expected, rtol=1e-10, atol=1e-12), name
        assert np.isfinite(phi(z)).all(), name
    assert torch.nn.LeakyReLU().negative_slope == 0.01
    assert torch.nn.PReLU().weight.item() == 0.25
    assert torch.nn.ELU().alpha == 1.0


def check_activation_derivatives():
    """Equation (activation-derivatives): central differences and autograd."""
    z = np.linspace(-6, 6, 122)  # 0 is not on this grid
    h = 1e-6
    for name, (phi, slope) in ACTIVATIONS.items():
        numeric = (phi(z + h) - phi(z - h)) / (2 * h)
        assert np.allclose(slope(z), numeric, rtol=0, atol=1e-7), name
        t = torch.tensor(z, requires_grad=True)
        TORCH_ACTIVATIONS[name](t).sum().backward()
        assert np.allclose(slope(z), t.grad.numpy(), rtol=0, atol=1e-10), name
    grid = np.linspace(-10, 10, 20001)
    largest = {name: slope(grid).max() for name, (_, slope) in ACTIVATIONS.items()}
    assert abs(largest["sigmoid"] - 0.25) < 1e-12
    assert abs(largest["tanh"] - 1) < 1e-12
    # the smooth rectifiers dip below zero and their slopes exceed 1
    assert abs(largest["gelu"] - 1.129) < 1e-3
    assert abs(largest["silu"] - 1.100) < 1e-3


def check_relu_gradient_at_zero():
    """PyTorch takes 0, one of the subgradients in [0, 1], as the slope at 0."""
    t = torch.zeros(1, requires_grad=True)
    F.relu(t).sum().backward()
    assert t.grad.item() == 0.0


def check_activation_tanh_sigmoid():
    """Equation (activation-tanh-sigmoid)."""
    z = np.random.default_rng(0).normal(size=1000) * 5
    assert np.allclose(np.tanh(z), 2 * sigmoid(2 * z) - 1, atol=1e-12)


def check_activation_linear_collapse():
    """Equation (activation-linear-collapse); and ReLU breaks it."""
    rng = np.random.default_rng(0)
    W1, b1 = rng.normal(size=(7, 3)), rng.normal(size=7)
    W2, b2 = rng.normal(size=(4, 7)), rng.normal(size=4)
    x = rng.normal(size=(50, 3))
    deep = (x @ W1.T + b1) @ W2.T + b2
    flat = x @ (W2 @ W1).T + (W2 @ b1 + b2)
    assert np.allclose(deep, flat, atol=1e-12)
    bent = np.maximum(x @ W1.T + b1, 0) @ W2.T + b2
    design = np.hstack([x, np.ones((50, 1))])
    best = design @ np.linalg.lstsq(design, bent, rcond=None)[0]
    assert np.abs(bent - best).max() > 0.1  # no affine map reproduces it


def check_activation_tent():
    """Equation (activation-tent), and ReLU units interpolate any table of values."""
    x = np.linspace(-3, 3, 601)
    tent = np.maximum(x + 1, 0) - 2 * np.maximum(x, 0) + np.maximum(x - 1, 0)
    assert np.allclose(tent, np.maximum(0, 1 - np.abs(x)), atol=1e-12)
    x = np.linspace(0, 2 * np.pi, 2001)
    errors = []
    for pieces in (8, 16, 32):
        knots = np.linspace(0, 2 * np.pi, pieces + 1)
        network = relu_interpolant(knots, np.sin(knots))
        assert np.allclose(network(x), np.interp(x, knots, np.sin(knots)), atol=1e-9)
        errors.append(np.abs(network(x) - np.sin(x)).max())
    assert errors[0] < 0.08 and errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3


def check_polynomial_activation_fails():
    """With phi(z) = z^2 one hidden layer gives a quadratic, whatever its width."""
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 200)
    for width in (5, 500):
        w, b, v = rng.normal(size=(3, width))
        y = (np.outer(x, w) + b) ** 2 @ v
        fit = np.polyval(np.polyfit(x, y, 2), x)
        assert np.abs(y - fit).max() < 1e-8 * np.abs(y).max()
    # |x| stays at a distance of 1/8 from every quadratic on [-1, 1]
    # (best uniform quadratic is x^2 + 1/8: equioscillation at 0, 1/2 and 1)
    error = np.abs(np.linspace(-1, 1, 2001)) - (np.linspace(-1, 1, 2001) ** 2 + 0.125)
    assert abs(np.abs(error).max() - 0.125) < 1e-9


def check_activation_backward():
    """Equation (activation-backward): three layers against autograd."""
    rng = np.random.default_rng(0)
    sizes = [5, 6, 4, 3]
    Ws = [rng.normal(size=(m, n)) for n, m in itertools.pairwise(sizes)]
    bs = [rng.normal(size=m) for m in sizes[1:]]
    x = rng.normal(size=(8, 5))
    for name in ACTIVATIONS:
        tW = [torch.tensor(W, requires_grad=True) for W in Ws]
        tb = [torch.tensor(b, requires_grad=True) for b in bs]
        a, cache = x, []
        ta = torch.tensor(x)
        for W, b, w_, b_ in zip(Ws, bs, tW, tb, strict=True):
            z, out = dense(a, W, b, name)
            cache.append((a, z))
            a, ta = out, torch_dense(ta, w_, b_, name)
        assert np.allclose(a, ta.detach().numpy(), atol=1e-10), name
        (0.5 * (ta**2).sum()).backward()
        grad = a
        for layer in (2, 1, 0):
            grad, gW, gb = dense_backward(grad, *cache[layer], Ws[layer], name)
            assert np.allclose(gW, tW[layer].grad.numpy(), rtol=0, atol=1e-9), name
            assert np.allclose(gb, tb[layer].grad.numpy(), rtol=0, atol=1e-9), name


def check_activation_slope_bound():
    """Equation (activation-slope-bound): Jacobian norms of random sigmoid nets."""
    rng = np.random.default_rng(0)
    for depth in (1, 3, 10):
        bound, jacobian, a = 1.0, np.eye(6), rng.normal(size=6)
        for _ in range(depth):
            W = rng.normal(size=(6, 6))
            z = W @ a
            jacobian = np.diag(sigmoid(z) * sigmoid(-z)) @ W @ jacobian
            bound *= 0.25 * np.linalg.norm(W, 2)
            a = sigmoid(z)
        assert 0 < np.linalg.norm(jacobian, 2) <= bound
    # the bound is attained: one unit per layer, weight 1, every z at 0
    a, slope = 0.5, 1.0
    for _ in range(10):
        z = np.array(a - 0.5)  # weight 1, bias -1/2
        a, slope = sigmoid(z), slope * ACTIVATIONS["sigmoid"][1](z)
    assert abs(slope - 9.54e-7) < 1e-9


def check_activation_relu_second_moment():
    """Equation (activation-relu-second-moment), and what it does over 20 layers."""
    rng = np.random.default_rng(0)
    for z in (rng.normal(size=400_000), rng.uniform(-3, 3, size=400_000)):
        ratio = (np.maximum(z, 0) ** 2).mean() / (z**2).mean()
        assert abs(ratio - 0.5) < 0.01
    shrink = {}
    for gain in (1.0, 2.0):
        a = rng.normal(size=(64, 256))
        start = (a**2).mean()
        for _ in range(20):
            W = rng.normal(size=(256, 256)) * np.sqrt(gain / 256)
            a = np.maximum(a @ W.T, 0)
        shrink[gain] = (a**2).mean() / start
    assert -22 < np.log2(shrink[1.0]) < -18  # about one half per layer
    assert -2 < np.log2(shrink[2.0]) < 2  # He initialization keeps the scale


def check_worked_example_xor():
    """XOR: two ReLU units solve it, no affine map does better than error 1/4."""
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
    y = np.array([0, 1, 1, 0], dtype=float)
    s = X.sum(axis=1)
    h = np.stack([np.maximum(s, 0), np.maximum(s - 1, 0)], axis=1)
    assert h.tolist() == [[0, 0], [1, 0], [1, 0], [2, 1]]
    assert np.array_equal(h @ np.array([1.0, -2.0]), y)
    design = np.hstack([X, np.ones((4, 1))])
    solution = np.linalg.lstsq(design, y, rcond=None)[0]
    assert np.allclose(solution, [0, 0, 0.5])
    assert np.isclose(((design @ solution - y) ** 2).mean(), 0.25)


def check_dead_unit():
    """A ReLU unit that is negative on all data gets no gradient; Leaky ReLU does."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 8))
    W, b = rng.normal(size=(1, 8)) / math.sqrt(8), np.array([-10.0])
    grad_out = rng.normal(size=(1000, 1))
    z, a = dense(x, W, b, "relu")
    assert (a == 0).all()
    _, gW, gb = dense_backward(grad_out, x, z, W, "relu")
    assert not gW.any() and not gb.any()
    _, gW, gb = dense_backward(grad_out, x, z, W, "leaky_relu")
    assert gW.any() and gb.any()


def check_swiglu_width():
    """Three matrices of width 8d/3 hold as many weights as two of width 4d."""
    d = 768
    assert 3 * d * (8 * d // 3) == 2 * d * (4 * d)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
