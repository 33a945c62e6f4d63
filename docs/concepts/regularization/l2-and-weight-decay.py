"""Twin of the page on L1, L2 and weight decay: checks its shrinkage, zeros and updates."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def soft_threshold(z, t):
    """Move every entry toward zero by t and stop at zero (proximal map of t |z|)."""
    return np.sign(z) * np.maximum(np.abs(z) - t, 0.0)


def lasso(x, y, lam, steps=5000):
    """Minimize mean squared error / 2 + lam * sum |w| by proximal gradient steps.

    x: (n, d); y: (n,). The step length is one over the largest curvature.
    """
    n, w = len(y), np.zeros(x.shape[1])
    rate = n / np.linalg.norm(x, ord=2) ** 2
    for _ in range(steps):
        w = soft_threshold(w - rate * x.T @ (x @ w - y) / n, rate * lam)
    return w


def ridge(x, y, lam):
    """Minimize mean squared error / 2 + lam / 2 * sum w^2, in closed form."""
    n = len(y)
    return np.linalg.solve(x.T @ x / n + lam * np.eye(x.shape[1]), x.T @ y / n)


# --8<-- [end:numpy]


# --8<-- [start:torch]
def parameter_groups(model: torch.nn.Module, decay: float) -> list[dict]:
    """Decay matrices and kernels; spare biases and normalization parameters."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


@torch.no_grad()
def proximal_step(parameters, threshold: float):
    """After optimizer.step() of plain SGD: threshold = learning rate * L1 strength."""
    for p in parameters:
        p.copy_(torch.nn.functional.softshrink(p, threshold))


def train_l1(x, y, lam, rate, steps):
    """The lasso by full-batch SGD with a proximal step; returns the weights."""
    layer = torch.nn.Linear(x.shape[1], 1, bias=False, dtype=x.dtype)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.SGD(layer.parameters(), lr=rate)
    for _ in range(steps):
        loss = 0.5 * torch.mean((layer(x).squeeze(1) - y) ** 2)  # no L1 term here
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        proximal_step(layer.parameters(), rate * lam)
    return layer.weight.detach()[0]


# --8<-- [end:torch]


def _sparse_problem(seed=0, n=200, d=50, relevant=5, sigma=0.5):
    rng = np.random.default_rng(seed)
    theta = np.zeros(d)
    theta[:relevant] = [1.5, -1.0, 0.8, -0.6, 0.5]
    x = rng.standard_normal((n, d))
    return x, x @ theta + sigma * rng.standard_normal(n), theta


def _stochastic_l1(proximal, steps=4000, rate=0.02, lam=0.1, batch=40):
    """Minibatch SGD on the sparse problem; weights after every step."""
    x, y, _ = _sparse_problem()
    rng, w, path = np.random.default_rng(1), np.full(x.shape[1], 0.3), []
    for _ in range(steps):
        b = rng.choice(len(y), batch, replace=False)
        g = x[b].T @ (x[b] @ w - y[b]) / batch
        if proximal:
            w = soft_threshold(w - rate * g, rate * lam)
        else:
            w = w - rate * (g + lam * np.sign(w))
        path.append(w)
    return np.array(path)


def figure_geometry():
    """Where the level curves of a loss touch the L1 and the L2 ball; both shrinkages."""
    hessian, star = np.array([[1.0, 0.45], [0.45, 0.9]]), np.array([0.4, 1.8])
    grid = np.linspace(-1.5, 3, 300)
    a, b = np.meshgrid(grid, grid)
    da, db = a - star[0], b - star[1]
    loss = 0.5 * (hessian[0, 0] * da**2 + 2 * hessian[0, 1] * da * db + hessian[1, 1] * db**2)
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.6))
    angle = np.linspace(0, 2 * np.pi, 2001)
    for ax, order in ((axes[0], 1), (axes[1], 2)):
        ball = np.array([np.cos(angle), np.sin(angle)])
        ball = ball / np.linalg.norm(ball, ord=order, axis=0)
        offset = ball - star[:, None]
        on_ball = 0.5 * np.sum(offset * (hessian @ offset), axis=0)
        best = ball[:, on_ball.argmin()]
        levels = on_ball.min() * np.array([0.12, 0.45, 1.0, 1.8])
        ax.contour(a, b, loss, levels=levels, colors="#555555", linewidths=1)
        ax.plot(*ball, color="C0")
        ax.plot(*star, "x", color="#222222", markersize=7, markeredgewidth=2)
        ax.plot(*best, "o", color="C1", markersize=7)
        ax.set_xlim(-1.3, 2.4)
        ax.set_ylim(-1.3, 2.6)
        ax.set_aspect("equal")
        ax.set_xlabel(f"first weight (L{order} ball)")
        ax.set_xticks([-1, 0, 1, 2])
    axes[0].set_ylabel("second weight")
    z = np.linspace(-3, 3, 301)
    axes[2].plot(z, z, ":", color="#555555", linewidth=1.2)
    axes[2].plot(z, soft_threshold(z, 1.0), color="C0", label="L1")
    axes[2].plot(z, z / 2, "--", color="C1", label="L2")
    axes[2].set_xticks([-3, 0, 3])
    axes[2].set_xlabel("unpenalized minimum")
    axes[2].set_ylabel("penalized minimum")
    axes[2].legend(fontsize=9, loc="upper left")
    return fig


def figure_zeros():
    """The 45 irrelevant weights at the end, sorted by size, for three ways to train."""
    x, y, _ = _sparse_problem()
    found = (
        ("subgradient SGD", "o", _stochastic_l1(False)[-1]),
        ("proximal SGD", "s", _stochastic_l1(True)[-1]),
        ("exact minimum (lasso)", "x", lasso(x, y, 0.1, steps=2000)),
    )
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    for name, marker, w in found:
        sizes = np.sort(np.abs(w[5:]))[::-1]
        ax.plot(
            np.arange(1, 46), sizes, marker, markersize=5, markerfacecolor="none",
            label=f"{name}: {np.sum(sizes == 0)} zeros",
        )
    ax.set_yscale("symlog", linthresh=1e-4)
    ax.set_yticks([0, 1e-4, 1e-3, 1e-2, 1e-1], ["0", "0.0001", "0.001", "0.01", "0.1"])
    ax.minorticks_off()
    ax.set_ylim(-2e-5, 0.2)
    ax.set_xlabel("irrelevant weights, sorted")
    ax.set_ylabel("size of the weight")
    fig.legend(loc="outside upper center", ncols=3, fontsize=9, columnspacing=1, handletextpad=0.2)
    return fig


def _quadratic(seed=0, d=4):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    h = np.array([4.0, 1.0, 0.25, 0.01])[:d]
    return q, h, q @ np.diag(h) @ q.T, rng.standard_normal(d)


def check_reg_l2_gradient():
    """Equation (reg-l2-gradient): against central differences."""
    _, _, hessian, star = _quadratic()
    lam, rng = 0.3, np.random.default_rng(1)
    j = lambda t: 0.5 * (t - star) @ hessian @ (t - star) + 0.5 * lam * t @ t
    t = rng.standard_normal(4)
    numeric = [(j(t + 1e-5 * e) - j(t - 1e-5 * e)) / 2e-5 for e in np.eye(4)]
    assert np.allclose(numeric, hessian @ (t - star) + lam * t, atol=1e-8)


def check_reg_ridge():
    """Equation (reg-ridge): stationary point, factors per eigenvector, ridge regression."""
    q, h, hessian, star = _quadratic()
    for lam in (0.01, 0.5, 10.0):
        theta = q @ (h / (h + lam) * (q.T @ star))
        assert np.allclose(hessian @ (theta - star) + lam * theta, 0, atol=1e-12)
    x, y, _ = _sparse_problem()
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    h = s**2 / len(y)
    least = np.linalg.lstsq(x, y, rcond=None)[0]
    assert np.allclose(vt @ ridge(x, y, 0.4), h / (h + 0.4) * (vt @ least), atol=1e-12)


def check_reg_soft_threshold():
    """Equation (reg-soft-threshold): grid search over one weight."""
    grid = np.linspace(-4, 4, 800_001)
    for h, star, lam in ((1.0, 1.5, 0.4), (2.0, -1.0, 0.5), (0.5, 0.7, 0.5), (3.0, 0.1, 0.3)):
        found = grid[np.argmin(0.5 * h * (grid - star) ** 2 + lam * np.abs(grid))]
        assert abs(found - soft_threshold(star, lam / h)) < 2e-5
    assert soft_threshold(0.7, 1.0) == 0 and soft_threshold(0.1, 0.1) == 0


def check_reg_l1_condition():
    """Equation (reg-l1-condition): at the lasso solution, zero and nonzero weights."""
    x, y, theta = _sparse_problem()
    lam = 0.1
    w = lasso(x, y, lam)
    g = x.T @ (x @ w - y) / len(y)
    zero = w == 0
    assert 30 < zero.sum() <= 45 and not zero[:5].any()
    assert np.all(np.abs(g[zero]) < lam)
    assert np.allclose(g[~zero], -lam * np.sign(w[~zero]), atol=1e-10)
    assert not np.any(ridge(x, y, lam) == 0)
    lam_max = np.max(np.abs(x.T @ y)) / len(y)
    assert np.all(lasso(x, y, 1.001 * lam_max) == 0)
    assert np.any(lasso(x, y, 0.99 * lam_max) != 0)


def check_reg_proximal():
    """Equation (reg-proximal): soft thresholding minimizes the local model."""
    rng = np.random.default_rng(0)
    grid = np.linspace(-3, 3, 600_001)
    for _ in range(5):
        theta, g, rate, lam = rng.normal(), rng.normal(), 0.3, 0.5
        model = g * (grid - theta) + (grid - theta) ** 2 / (2 * rate) + lam * np.abs(grid)
        assert abs(grid[model.argmin()] - soft_threshold(theta - rate * g, rate * lam)) < 2e-5


def check_reg_jitter():
    """Equation (reg-jitter): without a data gradient the weight ends in a two-cycle."""
    rate, lam, w, seen = 0.1, 0.03, 0.0105, []
    for _ in range(40):
        w = w - rate * lam * np.sign(w)
        seen.append(w)
    assert np.allclose(sorted(set(np.round(seen[-6:], 12))), [-0.0015, 0.0015])
    assert all(v != 0 for v in seen) and max(np.abs(seen[-6:])) < rate * lam


def check_no_exact_zeros():
    """Minibatch SGD: no exact zero with subgradients, many with proximal steps."""
    sub, prox = _stochastic_l1(False), _stochastic_l1(True)
    assert np.all(sub != 0)
    assert np.mean(prox[-1000:, 5:] == 0) > 0.4 and np.all(prox[-1, :5] != 0)
    small = np.median(np.abs(sub[-1000:, 5:]))
    assert 1e-4 < small < 2e-2
    x, y, _ = _sparse_problem()
    assert np.sum(prox[-1] == 0) == 30 and np.sum(lasso(x, y, 0.1) == 0) == 43


def check_reg_sgd_decay():
    """Equation (reg-sgd-decay): PyTorch's SGD with weight_decay, 20 steps, to 1e-12."""
    _, _, hessian, star = _quadratic()
    w, rate, lam = star + 1.0, 0.1, 0.2
    p = torch.tensor(w, requires_grad=True)
    h, s = torch.from_numpy(hessian), torch.from_numpy(star)
    optimizer = torch.optim.SGD([p], lr=rate, weight_decay=lam)
    for _ in range(20):
        optimizer.zero_grad()
        (0.5 * (p - s) @ h @ (p - s)).backward()
        optimizer.step()
        w = (1 - rate * lam) * w - rate * hessian @ (w - star)
    assert np.allclose(p.detach().numpy(), w, atol=1e-12)


def check_reg_momentum():
    """Equation (reg-momentum): decay factor of L2 under momentum, from PyTorch."""
    rate, lam, beta = 0.1, 0.01, 0.9
    p = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=rate, momentum=beta, weight_decay=lam)
    sizes = []
    for _ in range(400):
        p.grad = torch.zeros_like(p)  # no data gradient
        optimizer.step()
        sizes.append(p.item())
    b = 1 + beta - rate * lam
    root = (b + np.sqrt(b * b - 4 * beta)) / 2
    assert np.isclose(sizes[-1] / sizes[-2], root, rtol=1e-10)
    assert abs((1 - root) / (rate * lam / (1 - beta)) - 1) < 0.12
    tiny = 1 + beta - 1e-6
    assert np.isclose(1 - (tiny + np.sqrt(tiny**2 - 4 * beta)) / 2, 1e-5, rtol=1e-3)


def check_reg_preconditioned():
    """Equation (reg-preconditioned): with fixed scales, decay is L2 with weights s_i."""
    rng = np.random.default_rng(0)
    w, g, s = rng.standard_normal((3, 6))
    s, rate, lam = np.exp(s), 0.1, 0.3
    l2 = w - rate / s * (g + lam * w)
    decayed = (1 - rate * lam) * w - rate / s * g
    rescaled = w - rate / s * (g + lam * s * w)
    assert np.allclose(decayed, rescaled, atol=1e-14)
    assert not np.allclose(l2, decayed, atol=1e-2)
    assert np.allclose(l2, (1 - rate * lam / s) * w - rate / s * g)


def check_adam_l2_spares_noisy_weights():
    """Two weights with the same decay setting and gradient noise of size 1 and 0.01."""
    shrink = {}
    for name, kind in (("l2", torch.optim.Adam), ("decay", torch.optim.AdamW)):
        torch.manual_seed(0)
        p = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
        optimizer = kind([p], lr=1e-3, weight_decay=0.1)
        for _ in range(500):
            sign = torch.randint(0, 2, (2,)) * 2.0 - 1
            p.grad = sign.double() * torch.tensor([1.0, 0.01], dtype=torch.float64)
            optimizer.step()
        shrink[name] = 1 - p.detach().numpy()
    assert shrink["l2"][1] > 0.3 and shrink["l2"][0] < 0.15
    assert abs(shrink["decay"][0] - 0.05) < 0.05 and abs(shrink["decay"][1] - 0.05) < 0.05


def check_reg_scale_invariance():
    """Equation (reg-scale-invariance): gradient after batch normalization."""
    torch.manual_seed(0)
    x, target = torch.randn(64, 5, dtype=torch.float64), torch.randn(64, dtype=torch.float64)

    def loss(w):
        z = x @ w
        z = (z - z.mean()) / z.std(unbiased=False)
        return torch.mean((torch.tanh(z) - target) ** 2)

    w = torch.randn(5, dtype=torch.float64)
    grads = []
    for c in (1.0, 3.0):
        v = (c * w).requires_grad_()
        loss(v).backward()
        grads.append(v.grad)
        assert torch.abs(v.grad @ w) < 1e-12
    assert torch.isclose(loss(w), loss(3 * w), atol=1e-12)
    assert torch.allclose(grads[1], grads[0] / 3, atol=1e-12)


def check_reg_map():
    """Equation (reg-map): Gaussian posterior mode equals ridge with noise/(n prior)."""
    x, y, _ = _sparse_problem(n=60, d=8)
    noise, prior = 0.25, 0.5
    mode = np.linalg.solve(x.T @ x / noise + np.eye(8) / prior, x.T @ y / noise)
    assert np.allclose(mode, ridge(x, y, noise / (60 * prior)), atol=1e-12)


def check_penalty_and_ball():
    """Figure: the L1 minimum lies on a corner, the L2 minimum on no axis."""
    hessian, star = np.array([[1.0, 0.45], [0.45, 0.9]]), np.array([0.4, 1.8])
    angle = np.linspace(0, 2 * np.pi, 400_001)
    for order, corner in ((1, True), (2, False)):
        ball = np.array([np.cos(angle), np.sin(angle)])
        ball = ball / np.linalg.norm(ball, ord=order, axis=0)
        o = ball - star[:, None]
        best = ball[:, np.argmin(np.sum(o * (hessian @ o), axis=0))]
        assert np.allclose(best, [0, 1], atol=1e-4) == corner
        g = hessian @ (best - star)  # the minimizer on the ball is a penalized minimizer
        if order == 2:
            assert np.allclose(g / best, (g / best)[0], rtol=1e-3) and (-g / best)[0] > 0
        else:
            assert abs(g[0]) < abs(g[1]) and -g[1] > 0


def check_numpy_vs_torch():
    """The lasso of both tabs: same zeros, weights to 1e-10."""
    x, y, _ = _sparse_problem()
    ours = lasso(x, y, 0.1, steps=400)
    rate = (len(y) / np.linalg.norm(x, ord=2) ** 2).item()
    theirs = train_l1(torch.from_numpy(x), torch.from_numpy(y), 0.1, rate, 400).numpy()
    assert np.allclose(ours, theirs, atol=1e-10) and np.array_equal(ours == 0, theirs == 0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    decayed, spared = parameter_groups(net, 0.1)
    assert [len(g["params"]) for g in (decayed, spared)] == [1, 3]


def check_worked_example():
    """Three weights with curvatures 4, 1, 0.25, minimum 1 each, strength 0.5."""
    h, star, lam = np.array([4, 1, 0.25]), np.ones(3), 0.5
    assert np.allclose(h / (h + lam) * star, [0.889, 0.667, 0.333], atol=5e-4)
    assert np.allclose(soft_threshold(star, lam / h), [0.875, 0.5, 0.0])
    assert np.isclose(np.sum(h / (h + lam)), 1.889, atol=5e-4)
    w, rate, lam, g = 2.0, 0.1, 0.5, 3.0  # one step of the four updates
    assert np.isclose(w - rate * (g + lam * w), 1.6)
    assert np.isclose((1 - rate * lam) * w - rate * g, 1.6)
    s = 10.0
    assert np.isclose(w - rate / s * (g + lam * w), 1.96)
    assert np.isclose((1 - rate * lam) * w - rate / s * g, 1.87)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
