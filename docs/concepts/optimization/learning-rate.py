"""Checks and figures of the page on the learning rate: limits, trade-off, finding one."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def log_grid(low, high, per_decade=3):
    """Learning rates spaced evenly on a log scale, both ends included."""
    count = int(round(np.log10(high / low) * per_decade)) + 1
    return np.geomspace(low, high, count)


def sweep(run, rates):
    """Train once per rate and compare the final losses; run: rate -> loss.

    Returns the losses, the best rate, and whether it lies inside the grid. If it does
    not, extend the grid before trusting the result. NaN counts as worst.
    """
    losses = np.array([run(lr) for lr in rates])
    losses = np.where(np.isfinite(losses), losses, np.inf)
    best = int(losses.argmin())
    return losses, rates[best], 0 < best < len(rates) - 1


def range_test_rates(low, high, steps):
    """Rates of a range test: exponential from low (first step) to high (last)."""
    t = np.arange(steps)
    return low * (high / low) ** (t / (steps - 1))
# --8<-- [end:numpy]


# --8<-- [start:torch]
def range_test(model, loss_fn, batches, rates):
    """One short run with a growing rate; returns the batch losses, one per rate.

    batches: iterator of (inputs, targets). Stops when the loss is not finite or exceeds
    four times the smallest loss so far. It ruins the weights: work on a copy.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=rates[0])
    losses = []
    for lr, (x, y) in zip(rates, batches):
        for group in optimizer.param_groups:
            group["lr"] = float(lr)
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        losses.append(loss.item())
        if not np.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        loss.backward()
        optimizer.step()
    return np.array(losses)
# --8<-- [end:torch]


def toy_data(n, gen):
    """Fresh examples of two classes, one label in ten flipped; X (n, 10), y (n,)."""
    X = torch.randn(n, 10, generator=gen)
    y = X[:, 0] * X[:, 1] + X[:, 2] > 0
    return X, (y ^ (torch.rand(n, generator=gen) < 0.1)).float()


def toy_model():
    """A small network with a fixed initialization."""
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(10, 48), torch.nn.ReLU(), torch.nn.Linear(48, 1))


def toy_loss(out, y):
    """Binary cross-entropy on logits."""
    return torch.nn.functional.binary_cross_entropy_with_logits(out.squeeze(-1), y)


def toy_batches(steps, seed=2, B=16):
    """Batches of fresh data, so that the gradient noise never vanishes."""
    gen = torch.Generator().manual_seed(seed)
    X, y = toy_data(steps * B, gen)
    yield from zip(X.split(B), y.split(B), strict=True)


def toy_run(lr, steps):
    """Loss on 4,096 new examples after some steps of SGD at a constant rate."""
    model = toy_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=float(lr))
    for x, y in toy_batches(steps):
        optimizer.zero_grad()
        loss = toy_loss(model(x), y)
        if not torch.isfinite(loss):
            return float("nan")
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        X, y = toy_data(4096, torch.Generator().manual_seed(99))
        return float(toy_loss(model(X), y))


def expected_excess(eta, T, lam, s, m0=1.0):
    """Expected objective above the minimum after T steps on a noisy quadratic."""
    eta = np.asarray(eta, dtype=float)
    limit = eta * s / (lam * (2 - eta * lam))
    return lam / 2 * (limit + (1 - eta * lam) ** (2 * T) * (m0 - limit))


def figure_tradeoff():
    """Final expected objective against the learning rate for three training lengths."""
    eta = np.geomspace(1e-3, 1.999, 600)
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    for T, style, marker in ((30, "-", "o"), (300, "--", "s"), (3000, ":", "^")):
        value = expected_excess(eta, T, 1.0, 0.02) + expected_excess(eta, T, 0.05, 0.02)
        line, = ax.loglog(eta, value, style, lw=1.6, label=f"{T:,} steps")
        best = value.argmin()
        ax.plot(eta[best], value[best], marker, color=line.get_color(), ms=8)
    ax.axvline(2.0, color="#555555", lw=1, ls="-.")
    ax.text(2.1, 3e-3, "limit 2 / curvature", rotation=90, ha="left", va="center", fontsize=9)
    ax.set(xlabel="learning rate (constant)", ylabel="expected objective\nabove the minimum",
           ylim=(1e-4, 2), xlim=(1e-3, 3))
    ax.legend(title="training length", fontsize=9, title_fontsize=9, loc="lower left")
    return fig


def figure_finding():
    """A range test and a sweep on the same small network."""
    rates = range_test_rates(1e-3, 1e2, 400)
    losses = range_test(toy_model(), toy_loss, toy_batches(400), rates)
    smooth, average = [], 0.0
    for i, value in enumerate(losses):
        average = 0.9 * average + 0.1 * value
        smooth.append(average / (1 - 0.9 ** (i + 1)))
    smooth = np.array(smooth)
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3))
    left.semilogx(rates[: len(losses)], losses, ".", color="#8a8a8a", ms=3, label="batch loss")
    left.semilogx(rates[: len(smooth)], smooth, "-", label="smoothed")
    left.axvline(rates[smooth.argmin()], color="#c2410c", ls="--", lw=1.2, label="lowest value")
    left.set(xlabel="learning rate, growing", ylabel="training loss", ylim=(0.3, 1.2))
    left.legend(fontsize=9, loc="upper left")
    grid = log_grid(1e-3, 1e1)
    for steps, style, marker in ((200, "--", "s"), (2000, "-", "o")):
        final, _, _ = sweep(lambda lr, steps=steps: toy_run(lr, steps), grid)
        right.semilogx(grid, final, style, marker=marker, ms=4, lw=1.2, label=f"{steps:,} steps")
    right.set(xlabel="learning rate, constant", ylabel="final loss on new data", ylim=(0.3, 1.2))
    right.legend(fontsize=9, loc="upper left")
    return fig


def check_lr_update():
    """Equation (lr-update): torch.optim.SGD subtracts lr times the gradient."""
    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    (w**3).sum().backward()
    before, g = w.detach().clone(), w.grad.clone()
    torch.optim.SGD([w], lr=0.05).step()
    assert torch.allclose(w.detach(), before - 0.05 * g)
    defaults = torch.optim.SGD([w]).defaults
    assert defaults["lr"] == 1e-3
    assert torch.optim.Adam([w]).defaults["lr"] == 1e-3


def check_lr_factor():
    """Equation (lr-factor) and the time constant, by iteration."""
    lam, theta0 = 2.0, 3.0
    for eta in (0.01, 0.3, 0.5, 0.8, 1.0, 1.1):
        theta = theta0
        for _ in range(20):
            theta -= eta * lam * theta
        assert np.isclose(theta, (1 - eta * lam) ** 20 * theta0)
    eta = 0.01
    tau = -1 / np.log(1 - eta * lam)
    assert np.isclose((1 - eta * lam) ** tau, np.exp(-1))
    assert abs(tau * eta * lam - 1) < 0.02  # tau is about 1 / (eta lam)


def check_lr_tradeoff():
    """Equation (lr-tradeoff): closed form against simulation, and the best rate falls."""
    lam, s, eta, T = 1.0, 0.5, 0.3, 6
    rng = np.random.default_rng(0)
    theta = np.full(400000, 1.0)
    for _ in range(T):
        theta = theta - eta * (lam * theta + np.sqrt(s) * rng.normal(size=theta.shape))
    assert abs(lam / 2 * (theta**2).mean() / expected_excess(eta, T, lam, s) - 1) < 0.01
    grid = np.geomspace(1e-4, 1.99, 4000)
    best = [grid[expected_excess(grid, T, lam, 0.02).argmin()] for T in (10, 100, 1000)]
    assert best[0] > 2 * best[1] > 4 * best[2]


def check_lr_loss_scale():
    """Equation (lr-loss-scale): multiplying the loss by c is multiplying the rate by c for
    SGD; Adam hardly notices."""
    def last(optimizer, lr, c):
        w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
        opt = optimizer([w], lr=lr)
        for _ in range(10):
            opt.zero_grad()
            (c * (w**4).sum()).backward()
            opt.step()
        return w.detach()

    sgd, adam = torch.optim.SGD, torch.optim.Adam
    assert torch.allclose(last(sgd, 0.01, 3.0), last(sgd, 0.03, 1.0))
    assert not torch.allclose(last(sgd, 0.01, 3.0), last(sgd, 0.01, 1.0), atol=1e-3)
    assert torch.allclose(last(adam, 0.01, 3.0), last(adam, 0.01, 1.0), atol=1e-7)


def check_lr_rescaling():
    """Equation (lr-rescaling): theta = c * phi; a step in phi is a step c^2 * lr in theta."""
    c, eta = 5.0, 0.01
    theta = np.array([1.0, -2.0])

    def grad(v):
        return 4 * v**3

    phi = theta / c
    phi = phi - eta * c * grad(c * phi)  # chain rule
    assert np.allclose(c * phi, theta - c**2 * eta * grad(theta))


def check_lr_scale_invariant():
    """Equation (lr-scale-invariant): a loss of the direction of w alone."""
    target = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)

    def grad(v):
        v = torch.tensor(v, dtype=torch.float64, requires_grad=True)
        (((v / v.norm()) - target) ** 2).sum().backward()
        return v.grad.numpy()

    w, eta = np.array([3.0, -1.0, 2.0]), 0.7
    r = np.linalg.norm(w)
    u = w / r
    assert np.allclose(grad(w), grad(u) / r)
    assert np.allclose((w - eta * grad(w)) / r, u - eta / r**2 * grad(u))
    assert abs(grad(w) @ w) < 1e-12
    assert np.linalg.norm(w - eta * grad(w)) > r  # so the norm can only grow


def check_lr_momentum():
    """Equation (lr-momentum): velocity on a constant gradient, and the stability limit."""
    eta, mu, g = 0.1, 0.9, 2.0
    v = 0.0
    for _ in range(400):
        v = mu * v + g
    assert np.isclose(eta * v, eta * g / (1 - mu))
    lam = 3.0
    for factor, stable in ((0.99, True), (1.01, False)):
        step = factor * 2 * (1 + mu) / lam
        matrix = np.array([[1 + mu - step * lam, -mu], [1.0, 0.0]])
        assert (np.abs(np.linalg.eigvals(matrix)).max() < 1) == stable
    w = torch.tensor([0.0], requires_grad=True)  # PyTorch uses this form
    opt = torch.optim.SGD([w], lr=eta, momentum=mu)
    for _ in range(2):
        w.grad = torch.tensor([g])
        opt.step()
    assert np.isclose(w.item(), -eta * (g + (mu * g + g)))


def check_lr_range_test():
    """Equation (lr-range-test): endpoints and constant ratio."""
    rates = range_test_rates(1e-5, 1.0, 101)
    assert np.isclose(rates[0], 1e-5) and np.isclose(rates[-1], 1.0)
    assert np.allclose(rates[1:] / rates[:-1], 10 ** (5 / 100))


def check_range_test_overestimates():
    """On a quadratic the loss is still falling, or low, well after the stable limit."""
    lam = 1.0  # limit 2
    for steps, late in ((100, 3.0), (1000, 2.2)):
        rates = range_test_rates(1e-3, 100.0, steps)
        theta, values = 1.0, []
        for eta in rates:
            values.append(theta**2)
            if theta**2 > 1:
                break
            theta *= 1 - eta * lam
            theta = max(abs(theta), 1e-4)  # noise keeps it from reaching zero exactly
        diverged = rates[len(values) - 1]
        assert diverged > late  # seen only beyond the limit, the shorter the test the later
        # the minimum of the curve is no usable rate on its own either
        assert values[-1] > 1


def check_sweep_and_range():
    """The snippets on the toy network: optimum inside the grid, divergence above it."""
    grid = log_grid(1e-3, 10.0, per_decade=1)
    assert np.allclose(grid, [1e-3, 1e-2, 1e-1, 1.0, 10.0])
    losses, best, inside = sweep(lambda lr: toy_run(lr, 200), grid)
    assert inside and best == 1.0
    assert losses[0] > 0.65 and losses[-1] == np.inf and losses.min() < 0.52
    narrow = sweep(lambda lr: toy_run(lr, 200), grid[:3])
    assert not narrow[2]  # the best is the largest rate: extend the grid
    rates = range_test_rates(1e-3, 1e3, 300)
    curve = range_test(toy_model(), toy_loss, toy_batches(300), rates)
    assert len(curve) < 300  # stopped by divergence
    assert not np.isfinite(curve[-1]) or curve[-1] > 4 * curve.min()
    assert rates[len(curve) - 1] > 1.0


def check_numpy_torch_agree():
    """The range test of the snippet, with NumPy gradients of a linear model, to 1e-10."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    rates = range_test_rates(1e-3, 0.3, 20)
    model = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    w = model.weight.detach().numpy().copy()[0]
    batch = (torch.tensor(X), torch.tensor(y))
    theirs = range_test(model, lambda o, t: ((o[:, 0] - t) ** 2).mean(), [batch] * 20, rates)
    ours = []
    for lr in rates:
        r = X @ w - y
        ours.append((r**2).mean())
        w -= lr * 2 * X.T @ r / 40
    assert np.allclose(ours, theirs, atol=1e-10)


def check_worked_example():
    """The table of the worked example: curvature 4, start 1, noise variance 1."""
    expect = {
        0.05: (0.8, 0.215, 0.227, 0.0139), 0.25: (0.0, 0.0, 0.125, 0.125),
        0.45: (-0.8, 0.215, 1.219, 1.125), 0.55: (-1.2, 12.38, None, None),
    }
    for eta, (factor, clean, five, many) in expect.items():
        assert np.isclose(1 - 4 * eta, factor, atol=1e-12)
        assert np.isclose(2 * factor**10, clean, atol=0.005)
        if five is not None:
            assert np.isclose(expected_excess(eta, 5, 4.0, 1.0), five, atol=5e-4)
            assert np.isclose(expected_excess(eta, 50, 4.0, 1.0), many, atol=5e-4)
    assert abs(2 * 0.8**10 - 0.2147) < 1e-4


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
