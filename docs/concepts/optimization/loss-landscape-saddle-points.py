"""Checks and figures of the page on loss landscapes, saddle points and flat minima."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def hessian(grad, theta, h=1e-5):
    """Hessian (d, d) at theta: (d,), from central differences of the gradient."""
    steps = h * np.eye(len(theta))
    H = np.array([(grad(theta + e) - grad(theta - e)) / (2 * h) for e in steps])
    return (H + H.T) / 2


def classify(grad, theta, tol=1e-4):
    """Kind of the point theta, and the eigenvalues of the Hessian there."""
    lam = np.linalg.eigvalsh(hessian(grad, theta))
    if np.linalg.norm(grad(theta)) > tol:
        return "not stationary", lam
    if lam.min() < -tol:
        return ("strict saddle" if lam.max() > tol else "maximum or saddle"), lam
    return ("strict minimum" if lam.min() > tol else "degenerate"), lam


def saddle_free_step(g, H):
    """Newton's step with the absolute values of the eigenvalues: -|H|^{-1} g."""
    lam, Q = np.linalg.eigh(H)
    return -Q @ ((Q.T @ g) / np.abs(lam))


def loss_barrier(loss, a, b, points=41):
    """Highest excess of the loss on the segment from a to b over the straight line."""
    t = np.linspace(0, 1, points)
    path = np.array([loss((1 - s) * a + s * b) for s in t])
    return np.max(path - ((1 - t) * path[0] + t * path[-1])), path
# --8<-- [end:numpy]


# --8<-- [start:torch]
def hessian_vector_product(loss_fn, theta, v):
    """H v from two backward passes; theta, v: (d,) tensors."""
    (g,) = torch.autograd.grad(loss_fn(theta), theta, create_graph=True)
    return torch.autograd.grad(g @ v, theta)[0]


def top_eigenvalue(apply, d, steps, dtype):
    """Eigenvalue of largest absolute value of a symmetric map, by power iteration."""
    v = torch.randn(d, generator=torch.Generator().manual_seed(0), dtype=dtype)
    v = v / v.norm()
    for _ in range(steps):
        w = apply(v)
        v = w / w.norm()
    return (v @ apply(v)).item()


def extreme_eigenvalues(loss_fn, theta, steps=300):
    """Smallest and largest Hessian eigenvalue at theta (d,), without the Hessian.

    The first iteration finds the eigenvalue of largest absolute value; the second,
    on the Hessian shifted by it, the one at the other end of the spectrum.
    """
    theta = theta.detach().requires_grad_()
    d = len(theta)
    apply = lambda v: hessian_vector_product(loss_fn, theta, v)
    first = top_eigenvalue(apply, d, steps, theta.dtype)
    shifted = lambda v: apply(v) - first * v
    other = first + top_eigenvalue(shifted, d, steps, theta.dtype)
    return min(first, other), max(first, other)
# --8<-- [end:torch]


def product_loss(w):
    """J = (w_1 w_2 - 1)^2 / 2 on the last axis."""
    w = np.asarray(w, dtype=float)
    return 0.5 * (w[..., 0] * w[..., 1] - 1) ** 2


def product_grad(w):
    """Gradient of product_loss at w: (2,)."""
    return (w[0] * w[1] - 1) * np.array([w[1], w[0]])


def product_hessian(w):
    """Exact Hessian of product_loss at w: (2,)."""
    off = 2 * w[0] * w[1] - 1
    return np.array([[w[1] ** 2, off], [off, w[0] ** 2]])


def descend(w, lr, steps):
    """Gradient descent on product_loss; all iterates, (steps + 1, 2)."""
    path = [np.array(w, dtype=float)]
    for _ in range(steps):
        path.append(path[-1] - lr * product_grad(path[-1]))
    return np.array(path)


def start(deviation):
    """Start at distance deviation from the line w_2 = -w_1, at (0.8, -0.8) without it."""
    return np.array([0.8, -0.8]) + deviation / np.sqrt(2)


def goe(n, count, rng):
    """Symmetric random matrices: variance 1 off the diagonal, 2 on it."""
    a = rng.normal(size=(count, n, n))
    return (a + a.transpose(0, 2, 1)) / np.sqrt(2)


def negative_fraction(c):
    """Share of negative eigenvalues of a large random matrix shifted by c (radius 2)."""
    c = np.clip(c, -2, 2)
    return 0.5 - c * np.sqrt(4 - c**2) / (4 * np.pi) - np.arcsin(c / 2) / np.pi


def unit_net(theta, x):
    """Two tanh units without bias: theta = (w_1, w_2, v_1, v_2); x: (n,)."""
    return np.tanh(np.outer(x, theta[:2])) @ theta[2:]


WIDTH = 12


def split(theta):
    """Parameters of the regression network: w, b, v (each WIDTH), bias c."""
    return theta[:WIDTH], theta[WIDTH:2 * WIDTH], theta[2 * WIDTH:3 * WIDTH], theta[-1]


def net_loss(theta, x, y):
    """Mean squared error of a tanh network on x: (n,); works for torch and NumPy."""
    w, b, v, c = split(theta)
    tanh = torch.tanh if isinstance(theta, torch.Tensor) else np.tanh
    return ((tanh(x[:, None] * w + b) @ v + c - y) ** 2).mean()


def regression_data():
    """A wave on [-2, 2], 40 points."""
    x = np.linspace(-2, 2, 40)
    return x, np.sin(3 * x)


def train(seed, steps):
    """Full-batch Adam from a random start; the parameters, (3 WIDTH + 1,)."""
    x, y = (torch.tensor(a) for a in regression_data())
    gen = torch.Generator().manual_seed(seed)
    theta = torch.randn(3 * WIDTH + 1, generator=gen, dtype=torch.float64)
    theta[:WIDTH] *= 2
    theta[2 * WIDTH:] *= 0.5
    theta.requires_grad_()
    opt = torch.optim.Adam([theta], lr=0.02)
    for _ in range(steps):
        opt.zero_grad()
        net_loss(theta, x, y).backward()
        opt.step()
    return theta.detach().numpy()


def train_curve(a, b, steps):
    """Middle point of a quadratic Bezier curve of low loss from a to b."""
    x, y = (torch.tensor(u) for u in regression_data())
    ta, tb = torch.tensor(a), torch.tensor(b)
    mid = ((ta + tb) / 2).requires_grad_()
    opt = torch.optim.Adam([mid], lr=0.02)
    ts = torch.linspace(0.05, 0.95, 13, dtype=torch.float64)
    for _ in range(steps):
        opt.zero_grad()
        loss = sum(net_loss((1 - t) ** 2 * ta + 2 * t * (1 - t) * mid + t**2 * tb, x, y)
                   for t in ts) / len(ts)
        loss.backward()
        opt.step()
    return mid.detach().numpy()


def figure_plateau():
    """Paths past the saddle of the product loss, and the plateaus they cause."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3))
    a, b = np.meshgrid(np.linspace(-1.6, 1.6, 161), np.linspace(-1.6, 1.6, 161))
    left.contour(a, b, product_loss(np.stack([a, b], -1)),
                 levels=[0.02, 0.1, 0.25, 0.4, 0.5, 0.6, 0.8, 1.2, 2, 4],
                 colors="#888888", linewidths=0.7)
    for deviation, style, marker, label in ((1e-1, "-", "o", "0.1"),
                                            (1e-3, "--", "s", "0.001"),
                                            (1e-6, "-.", "^", "0.000001")):
        path = descend(start(deviation), 0.1, 240)
        left.plot(*path.T, style, marker=marker, markevery=6, ms=4, lw=1.4)
        right.plot(product_loss(path), style, marker=marker, markevery=20, ms=4, lw=1.5,
                   label=label)
    left.plot(0, 0, "x", color="#222222", ms=8, mew=2)
    left.annotate("saddle", (0, 0), xytext=(-10, -16), textcoords="offset points",
                  ha="right", fontsize=9)
    left.plot([1, -1], [1, -1], "*", color="#222222", ms=9, ls="none")
    left.set(xlabel="first weight", ylabel="second weight", xlim=(-1.6, 1.6),
             ylim=(-1.6, 1.6))
    left.grid(False)
    right.set(xlabel="step", ylabel="loss")
    right.legend(title="distance from\nthe stable line", fontsize=9, title_fontsize=9)
    return fig


def figure_index():
    """Random symmetric matrices: minima are rare, and the index falls with the shift."""
    rng = np.random.default_rng(0)
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.0))
    sizes = np.arange(1, 6)
    share = [np.mean(np.linalg.eigvalsh(goe(n, 400_000, rng))[:, 0] > 0) for n in sizes]
    left.semilogy(sizes, share, "o-", ms=5, label="random matrix")
    left.semilogy(sizes, 0.5**sizes, "s--", ms=4, label="independent signs")
    left.set(xlabel="dimension", ylabel="share with all eigenvalues positive")
    left.set_xticks(sizes)
    left.legend(fontsize=9)
    c = np.linspace(0, 2.4, 200)
    right.plot(c, negative_fraction(c), "-", label="large dimension")
    for n, marker in ((10, "o"), (100, "^")):
        shifts = np.linspace(0, 2.4, 9)
        lam = np.linalg.eigvalsh(goe(n, 2000 // n, rng)) / np.sqrt(n)
        right.plot(shifts, [np.mean(lam + s < 0) for s in shifts], marker, ms=5,
                   label=f"dimension {n}")
    right.set(xlabel="shift of all eigenvalues", ylabel="share of negative eigenvalues")
    right.legend(fontsize=9)
    return fig


def figure_paths():
    """Loss between two trained networks: on the segment, and on a curve."""
    x, y = regression_data()
    a, b = train(0, 3000), train(1, 3000)
    mid = train_curve(a, b, 800)
    t = np.linspace(0, 1, 81)
    segment = [net_loss((1 - s) * a + s * b, x, y) for s in t]
    curve = [net_loss((1 - s) ** 2 * a + 2 * s * (1 - s) * mid + s**2 * b, x, y) for s in t]
    fig, ax = plt.subplots(figsize=(6.4, 2.9))
    ax.semilogy(t, segment, "-", marker="o", markevery=8, ms=4, label="straight segment")
    ax.semilogy(t, curve, "--", marker="s", markevery=8, ms=4, label="trained curve")
    ax.axhline(y.var(), ls=":", lw=1.2, color="#222222")
    ax.annotate("constant prediction", (0.0, y.var()), xytext=(0, 4), fontsize=9,
                textcoords="offset points")
    ax.set(xlabel="position between the two networks", ylabel="training loss")
    ax.legend(fontsize=9)
    return fig


def check_ll_taylor():
    """Equation (ll-taylor): at a stationary point the Hessian form is the leading term."""
    rng = np.random.default_rng(0)
    for point in (np.zeros(2), np.array([2.0, 0.5])):
        assert np.allclose(product_grad(point), 0)
        H = product_hessian(point)
        assert np.allclose(hessian(product_grad, point), H, atol=1e-8)
        v = rng.normal(size=2)
        for t in (1e-2, 1e-3):
            rest = product_loss(point + t * v) - product_loss(point) - t**2 * v @ H @ v / 2
            assert abs(rest) < 20 * t**3
    assert classify(product_grad, np.zeros(2))[0] == "strict saddle"
    assert classify(product_grad, np.array([2.0, 0.5]))[0] == "degenerate"
    assert classify(product_grad, np.array([1.0, 0.0]))[0] == "not stationary"
    assert classify(lambda w: w, np.zeros(2))[0] == "strict minimum"


def check_ll_convex():
    """Equation (ll-convex): holds for logistic regression, fails for the product loss."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(30, 3))
    y = (rng.random(30) < 0.5).astype(float)
    f = lambda w: np.mean(np.logaddexp(0, X @ w) - y * (X @ w))
    g = lambda w: X.T @ (1 / (1 + np.exp(-X @ w)) - y) / 30
    violated = 0
    for _ in range(200):
        a, b = rng.normal(size=(2, 3)) * 2
        assert f(b) >= f(a) + g(a) @ (b - a) - 1e-12
        a, b = rng.normal(size=(2, 2))
        violated += product_loss(b) < product_loss(a) + product_grad(a) @ (b - a) - 1e-9
    assert violated > 20


def check_ll_symmetries():
    """Equation (ll-symmetries): orders and signs of n tanh units give n! 2^n equal points."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=20)
    for n, count in ((2, 8), (3, 48)):
        w, v = rng.normal(size=(2, n))
        out = np.tanh(np.outer(x, w)) @ v
        points = set()
        for order in itertools.permutations(range(n)):
            for signs in itertools.product((1, -1), repeat=n):
                w2, v2 = w[list(order)] * signs, v[list(order)] * signs
                assert np.allclose(np.tanh(np.outer(x, w2)) @ v2, out)
                points.add(tuple(np.round(np.concatenate([w2, v2]), 9)))
        assert len(points) == count


def check_ll_midpoint():
    """Equation (ll-midpoint): two equal minima, a worse midpoint; so not convex."""
    x = np.linspace(-3, 3, 50)
    a, b = np.array([1.0, 3.0, 1.0, -1.0]), np.array([3.0, 1.0, -1.0, 1.0])
    y = unit_net(a, x)
    loss = lambda t: np.mean((unit_net(t, x) - y) ** 2) / 2
    assert loss(a) < 1e-20 and loss(b) < 1e-20
    mid = (a + b) / 2
    assert np.allclose(mid, [2, 2, 0, 0])
    assert np.isclose(loss(mid), np.mean(y**2) / 2) and loss(mid) > 0.01
    height, path = loss_barrier(loss, a, b)
    assert np.isclose(height, path.max())


def check_ll_product():
    """Equation (ll-product): gradient, Hessian and eigenvalues at saddle and minima."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        w = rng.normal(size=2)
        h = 1e-6
        numeric = [(product_loss(w + h * e) - product_loss(w - h * e)) / (2 * h)
                   for e in np.eye(2)]
        assert np.allclose(numeric, product_grad(w), atol=1e-7)
        assert np.allclose(hessian(product_grad, w), product_hessian(w), atol=1e-7)
    assert np.allclose(np.linalg.eigvalsh(product_hessian([0, 0])), [-1, 1])
    for a in (1.0, 2.0, -0.3):
        lam = np.linalg.eigvalsh(product_hessian([a, 1 / a]))
        assert np.allclose(lam, [0, a**2 + a**-2])


def check_ll_escape():
    """Equation (ll-escape): exact on a quadratic saddle; step counts of the product loss."""
    lam, lr = np.array([1.0, -0.2]), 0.3
    e = np.array([0.7, 1e-4])
    x = e.copy()
    for t in range(1, 40):
        x = x - lr * lam * x
        assert np.allclose(x, (1 - lr * lam) ** t * e)
    steps = np.log(0.5 / 1e-4) / np.log(1 + lr * 0.2)
    assert abs((1 + lr * 0.2) ** steps * 1e-4 - 0.5) < 1e-9
    # Predicted and counted steps on the product loss, from deviation to 0.5.
    for deviation in (1e-2, 1e-4, 1e-6):
        path = descend(start(deviation), 0.1, 400)
        u = (path[:, 0] + path[:, 1]) / np.sqrt(2)
        counted = np.argmax(u > 0.5)
        predicted = np.log(0.5 / deviation) / np.log(1.1)
        assert abs(counted - predicted) < 8, (counted, predicted)


def chain_time(depth, eps, dt=1e-3, goal=0.5):
    """Time of gradient flow on (w^depth - 1)^2 / 2 (equal weights) from eps to goal."""
    w = np.geomspace(eps, goal, 200_001)
    f = 1 / (w ** (depth - 1) * (1 - w**depth))
    return np.sum((f[1:] + f[:-1]) / 2 * np.diff(w))


def check_ll_depth():
    """Equation (ll-depth): plateau times of a chain of weights, and the zero Hessian."""
    eps = 1e-4
    assert np.isclose(chain_time(2, eps) / np.log(1 / eps), 1, atol=0.1)
    for depth in (3, 4):
        predicted = eps ** -(depth - 2) / (depth - 2)
        assert np.isclose(chain_time(depth, eps), predicted, rtol=0.01)
    # The flow itself, with Euler steps: depth 3 from 0.05.
    w, t, dt = 0.05, 0.0, 1e-3
    while w < 0.5:
        w, t = w + dt * (1 - w**3) * w**2, t + dt
    assert np.isclose(t, chain_time(3, 0.05), rtol=0.01)

    def grad(w):
        p = np.prod(w)
        return (p - 1) * np.array([np.prod(np.delete(w, i)) for i in range(len(w))])

    assert np.abs(hessian(grad, np.zeros(3))).max() < 1e-4
    assert np.linalg.eigvalsh(hessian(grad, np.zeros(2))).min() < -0.99


def check_ll_index():
    """Equation (ll-index): chance of a positive definite random matrix, by sampling."""
    rng = np.random.default_rng(4)
    exact = {1: 0.5, 2: (2 - np.sqrt(2)) / 4, 3: (np.pi - 2 * np.sqrt(2)) / (4 * np.pi)}
    assert np.allclose([exact[2], exact[3]], [0.146, 0.025], atol=6e-4)
    for n, p in exact.items():
        got = np.mean(np.linalg.eigvalsh(goe(n, 200_000, rng))[:, 0] > 0)
        assert abs(got - p) < 4 * np.sqrt(p / 200_000), (n, got, p)
    lam = np.linalg.eigvalsh(goe(200, 20, rng)) / np.sqrt(200)
    for c in (0.0, 0.5, 1.0, 1.5):
        assert abs(np.mean(lam + c < 0) - negative_fraction(c)) < 0.01


def check_ll_saddle_free():
    """Equation (ll-saddle-free): Newton jumps to the saddle, the other step leaves it."""
    rng = np.random.default_rng(5)
    Q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    lam = np.array([2.0, 0.5, -1.0])
    H, e = (Q * lam) @ Q.T, rng.normal(size=3)
    g = H @ e
    assert np.allclose(e - np.linalg.solve(H, g), 0)
    step = saddle_free_step(g, H)
    assert np.allclose(Q.T @ (e + step), [0, 0, 2 * (Q.T @ e)[2]])
    assert g @ step < 0


def check_ll_noise():
    """Equation (ll-noise): mean loss under weight noise; exact for a quadratic."""
    rng = np.random.default_rng(6)
    A = rng.normal(size=(5, 5))
    H, s = A @ A.T, 0.3
    eps = s * rng.normal(size=(400_000, 5))
    values = 0.5 * ((eps @ H) * eps).sum(1)
    assert np.isclose(values.mean(), s**2 / 2 * np.trace(H), rtol=0.01)


def check_ll_sam():
    """Equation (ll-sam): worst loss in a small ball, to first order, and where it sits."""
    w, rho = np.array([0.5, 1.4]), 1e-3
    angle = np.linspace(0, 2 * np.pi, 100_001)
    ball = w + rho * np.stack([np.cos(angle), np.sin(angle)], -1)
    values = product_loss(ball)
    g = product_grad(w)
    n = np.linalg.norm(g)
    assert abs(values.max() - product_loss(w) - rho * n) < 5 * rho**2
    assert np.allclose(ball[values.argmax()], w + rho * g / n, atol=5e-2 * rho)


def check_ll_barrier():
    """Equation (ll-barrier): zero for convex functions, positive between permuted networks."""
    rng = np.random.default_rng(7)
    A = rng.normal(size=(6, 4))
    convex = lambda t: np.sum((A @ t) ** 2)
    height, _ = loss_barrier(convex, rng.normal(size=4), rng.normal(size=4))
    assert height < 1e-12
    x, y = regression_data()
    theta = train(0, 400)
    w, b, v, c = split(theta)
    order = rng.permutation(WIDTH)
    other = np.concatenate([w[order], b[order], v[order], [c]])
    loss = lambda t: net_loss(t, x, y)
    assert np.isclose(loss(theta), loss(other))
    assert loss_barrier(loss, theta, other)[0] > 5 * loss(theta)


def check_ll_filter():
    """Equation (ll-filter): a slice does not change when a ReLU network is rescaled."""
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(30, 3)), rng.normal(size=30)
    W, v = rng.normal(size=(5, 3)), rng.normal(size=(1, 5))
    loss = lambda W, v: np.mean((np.maximum(x @ W.T, 0) @ v[0] - y) ** 2)

    def normalized(D, W):
        return D * np.linalg.norm(W, axis=1, keepdims=True) / np.linalg.norm(
            D, axis=1, keepdims=True)

    D, d = rng.normal(size=(5, 3)), rng.normal(size=(1, 5))
    raw = []
    for a in (1.0, 10.0):
        W2, v2 = a * W, v / a
        assert np.isclose(loss(W2, v2), loss(W, v))
        fine = [loss(W2 + t * normalized(D, W2), v2 + t * normalized(d, v2))
                for t in np.linspace(-1, 1, 9)]
        raw.append([loss(W2 + t * D, v2 + t * d) for t in np.linspace(-1, 1, 9)])
        if a == 1.0:
            first = fine
    assert np.allclose(fine, first)
    assert not np.allclose(raw[0], raw[1], rtol=0.5)


def check_numpy_vs_torch():
    """Extreme eigenvalues by power iteration against the dense Hessian, to 1e-6."""
    x, y = regression_data()
    tx, ty = torch.tensor(x), torch.tensor(y)
    loss = lambda t: net_loss(t, tx, ty)
    theta = torch.randn(3 * WIDTH + 1, generator=torch.Generator().manual_seed(8),
                        dtype=torch.float64)

    def grad(t):
        t = torch.tensor(t, requires_grad=True)
        return torch.autograd.grad(loss(t), t)[0].numpy()

    lam = np.linalg.eigvalsh(hessian(grad, theta.numpy()))
    low, high = extreme_eigenvalues(loss, theta)
    assert np.allclose([low, high], [lam[0], lam[-1]], atol=1e-6), (low, high, lam)
    assert low < 0 < high
    w = torch.tensor([0.0, 0.0], dtype=torch.float64)
    saddle = lambda w: 0.5 * (1.5 * w[0] * w[1] - 1) ** 2 + 0.1 * w[0] ** 2
    H = np.array([[0.2, -1.5], [-1.5, 0.0]])
    assert np.allclose(extreme_eigenvalues(saddle, w), np.linalg.eigvalsh(H), atol=1e-6)


def check_worked_example():
    """Numbers of the worked example."""
    w = np.array([0.5, -0.4])
    assert np.isclose(product_loss(w), 0.72)
    assert np.allclose(product_grad(w), [0.48, -0.6])
    lam = np.linalg.eigvalsh(product_hessian([2, 0.5]))
    assert np.allclose(product_hessian([2, 0.5]), [[0.25, 1], [1, 4]])
    assert np.allclose(lam, [0, 4.25])
    assert np.allclose(product_hessian([1, 1]), [[1, 1], [1, 1]])
    assert np.isclose(np.log(500) / np.log(1.1), 65.2, atol=0.05)
    assert np.isclose(np.log(500_000) / np.log(1.1), 137.7, atol=0.05)
    for deviation, printed in ((1e-3, 64), (1e-6, 136)):
        path = descend(start(deviation), 0.1, 400)
        u = (path[:, 0] + path[:, 1]) / np.sqrt(2)
        assert np.argmax(u > 0.5) == printed, np.argmax(u > 0.5)
    path = descend(start(0.0), 0.1, 400)
    assert np.linalg.norm(path[-1]) < 1e-9 and np.isclose(product_loss(path[-1]), 0.5)
    # On the plateau the gradient is small and the loss hardly moves.
    path = descend(start(1e-6), 0.1, 400)
    g = np.array([np.linalg.norm(product_grad(p)) for p in path])
    assert np.isclose(g[:120].min(), 0.001, atol=1e-4) and g[:120].argmin() == 67
    assert np.allclose(product_loss(path[[40, 100]]), 0.5, atol=2e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
