"""Checks and figures of the page on the batch size: noise scale, scaling rules, limits."""

import copy

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def noise_scale(G):
    """Simple noise scale tr(Sigma) / |g|^2 from per-example gradients G, (n, d)."""
    g = G.mean(axis=0)
    return ((G - g) ** 2).sum(axis=1).mean() / (g @ g)


def noise_scale_from_norms(small_sq, big_sq, b_small, b_big):
    """The same from squared norms of gradients at two batch sizes.

    small_sq, big_sq: estimates of E|g_B|^2 = |g|^2 + tr(Sigma) / B, averaged over many
    steps, at B = b_small and b_big. For independent examples each part is unbiased;
    their ratio is not, so average the parts before dividing. Returns |g|^2, tr(Sigma),
    and the ratio.
    """
    g_sq = (b_big * big_sq - b_small * small_sq) / (b_big - b_small)
    trace = (small_sq - big_sq) / (1 / b_small - 1 / b_big)
    return g_sq, trace, trace / g_sq


def accumulated_gradient(grad, theta, micro_batches):
    """Mean of the gradients of equally large micro-batches at the same parameters."""
    return sum(grad(theta, b) for b in micro_batches) / len(micro_batches)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def accumulate_step(model, loss_fn, optimizer, micro_batches):
    """One optimizer step from several micro-batches of equal size.

    loss_fn averages over its batch. Dividing each loss by the number of micro-batches
    makes the accumulated .grad the gradient of the mean over all their examples.
    """
    optimizer.zero_grad()
    for x, y in micro_batches:
        loss = loss_fn(model(x), y) / len(micro_batches)
        loss.backward()  # adds to .grad
    optimizer.step()
# --8<-- [end:torch]


CURVATURES = 1.0 / np.arange(1, 31) ** 1.5  # spectrum of the noisy quadratic model


def steps_to_target(eta, B, target=0.02, most=40000):
    """Steps until the expected objective of a noisy quadratic falls below the target.

    Curvatures lam_i, gradient noise of variance lam_i / B per coordinate, start at 1.
    eta: vector of constant rates, all run at once; returns a float array, inf if never.
    """
    lam = CURVATURES
    m = np.ones((len(eta), len(lam)))
    shrink = (1 - eta[:, None] * lam) ** 2
    noise = eta[:, None] ** 2 * lam / B
    steps = np.full(len(eta), np.inf)
    start = 0.5 * lam.sum()
    for t in range(1, most + 1):
        m = m * shrink + noise
        reached = (0.5 * m @ lam < target * start) & np.isinf(steps)
        steps[reached] = t
        if np.isfinite(steps).sum() > len(eta) // 4 and t > 4 * steps.min():
            break
    return steps


def figure_tradeoff():
    """Steps and examples needed, relative to their minima, against B / noise scale."""
    ratio = np.geomspace(0.02, 50, 200)
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2))
    left.loglog(ratio, 1 + 1 / ratio, "-", label="steps / fewest steps")
    left.loglog(ratio, 1 + ratio, "--", label="examples / fewest examples")
    left.loglog(ratio[ratio < 1.2], 1 / ratio[ratio < 1.2], ":", color="#555555", lw=1.4,
                label="perfect scaling")
    left.plot(1, 2, "o", color="#222222", ms=6)
    left.set(xlabel="batch size / noise scale", ylabel="cost, relative", ylim=(0.8, 400))
    left.legend(fontsize=9, loc="upper center")
    right.loglog(ratio, 1 / (1 + 1 / ratio), "-", label="best rate / largest best rate")
    right.loglog(ratio[ratio < 1.6], ratio[ratio < 1.6], ":", color="#555555", lw=1.4,
                 label="linear scaling")
    right.plot(1, 0.5, "o", color="#222222", ms=6)
    right.set(xlabel="batch size / noise scale", ylabel="learning rate, relative",
              ylim=(0.015, 3))
    right.legend(fontsize=9, loc="lower right")
    return fig


def figure_steps():
    """Steps to a target on a noisy quadratic, rate tuned for each batch size."""
    sizes = 2 ** np.arange(0, 13)
    grid = np.geomspace(1e-3, 1.99, 90)
    best_steps, best_rate = [], []
    for B in sizes:
        steps = steps_to_target(grid, B)
        best_steps.append(steps.min())
        best_rate.append(grid[steps.argmin()])
    best_steps, best_rate = np.array(best_steps), np.array(best_rate)
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2))
    left.loglog(sizes, best_steps, "o-", ms=4, lw=1.3, label="computed")
    left.loglog(sizes[:7], best_steps[0] / sizes[:7], ":", color="#555555",
                label="perfect scaling")
    left.set(xlabel="batch size", ylabel="steps to the target, tuned")
    left.legend(fontsize=9)
    right.loglog(sizes, best_rate, "s-", color="#c2410c", ms=4, lw=1.3, label="best rate")
    right.loglog(sizes[:7], best_rate[0] * sizes[:7], ":", color="#555555",
                 label="linear scaling")
    right.axhline(2.0, color="#222222", lw=1, ls="-.", label="limit 2 / curvature")
    right.set(xlabel="batch size", ylabel="best learning rate", ylim=(None, 6))
    right.legend(fontsize=9, loc="lower right")
    return fig


def quadratic(d=4):
    """Random positive definite Hessian, gradient, and covariance of example gradients."""
    rng = np.random.default_rng(0)
    A, C = rng.normal(size=(2, d, d))
    return A @ A.T + np.eye(d), rng.normal(size=d), C @ C.T + 0.5 * np.eye(d)


def check_bs_expected_loss():
    """Equation (bs-expected-loss) by sampling Gaussian gradients on an exact quadratic."""
    H, g, S = quadratic()
    rng = np.random.default_rng(1)
    B, eta = 4, 0.05
    noisy = g + rng.normal(size=(400000, 4)) @ np.linalg.cholesky(S / B).T
    step = -eta * noisy
    change = step @ g + 0.5 * np.einsum("ni,ij,nj->n", step, H, step)
    formula = -eta * g @ g + 0.5 * eta**2 * (g @ H @ g + np.trace(H @ S) / B)
    assert abs(change.mean() - formula) < 3 * change.std() / np.sqrt(400000)
    assert abs(formula) > 20 * change.std() / np.sqrt(400000)


def check_bs_optimal_rate():
    """Equations (bs-optimal-rate), (bs-progress): grid search over the rate."""
    H, g, S = quadratic()
    top = (g @ g) / (g @ H @ g)
    scale = np.trace(H @ S) / (g @ H @ g)
    most = 0.5 * (g @ g) ** 2 / (g @ H @ g)
    grid = np.linspace(0, 2 * top, 200001)
    for B in (1, 4, 32, 1000):
        change = -grid * (g @ g) + 0.5 * grid**2 * (g @ H @ g + np.trace(H @ S) / B)
        assert np.isclose(grid[change.argmin()], top / (1 + scale / B), atol=2e-5 * top)
        assert np.isclose(-change.min(), most / (1 + scale / B), rtol=1e-6)


check_bs_progress = check_bs_optimal_rate


def check_bs_simple_noise_scale():
    """Equation (bs-simple-noise-scale): equals the full one if the Hessian is c times I."""
    _, g, S = quadratic()
    H = 3.0 * np.eye(4)
    full = np.trace(H @ S) / (g @ H @ g)
    rng = np.random.default_rng(2)
    G = rng.normal(size=(5000, 4)) @ np.linalg.cholesky(S).T
    G = G - G.mean(0) + g
    exact = np.trace(np.cov(G.T, bias=True)) / (g @ g)
    assert np.isclose(noise_scale(G), exact)
    assert abs(noise_scale(G) / full - 1) < 0.05


def check_bs_estimator():
    """Equation (bs-estimator): recovers both parts; each is unbiased under sampling."""
    _, g, S = quadratic()
    rng = np.random.default_rng(3)
    root = np.linalg.cholesky(S)
    small = g + rng.normal(size=(200000, 4)) @ root.T / np.sqrt(8)
    big = g + rng.normal(size=(200000, 4)) @ root.T / np.sqrt(128)
    g_sq, trace, ratio = noise_scale_from_norms(
        (small**2).sum(1).mean(), (big**2).sum(1).mean(), 8, 128
    )
    assert abs(g_sq / (g @ g) - 1) < 0.02
    assert abs(trace / np.trace(S) - 1) < 0.02
    assert abs(ratio / (np.trace(S) / (g @ g)) - 1) < 0.03


def check_bs_tradeoff():
    """Equation (bs-tradeoff) from steps S = S_min (1 + N/B) and examples E = B S."""
    s_min, scale = 300.0, 50.0
    for B in (1.0, 50.0, 4000.0):
        steps = s_min * (1 + scale / B)
        examples = B * steps
        e_min = s_min * scale  # limit of B S for B -> 0
        assert np.isclose((steps / s_min - 1) * (examples / e_min - 1), 1)
        assert np.isclose(examples, e_min * (1 + B / scale))
    assert np.isclose(1e-9 * s_min * (1 + scale / 1e-9), e_min)


def check_bs_linear_scaling():
    """Equation (bs-linear-scaling): exact if the gradients stay put; else error ~ (k eta)^2."""
    rng = np.random.default_rng(4)
    k = 4
    targets = rng.normal(size=(k, 8, 2))  # k batches of 8 examples

    def small_and_big(curvature, eta):
        w = np.array([5.0, -3.0])
        v = w.copy()
        for batch in targets:  # gradient: curvature * w minus mean target
            v = v - eta * (curvature * v - batch.mean(0))
        big = w - k * eta * (curvature * w - targets.reshape(-1, 2).mean(0))
        return v, big

    a, b = small_and_big(0.0, 0.1)
    assert np.allclose(a, b)
    gaps = [np.linalg.norm(np.subtract(*small_and_big(1.0, e))) for e in (0.02, 0.01)]
    assert gaps[0] > 1e-3
    assert 3.5 < gaps[0] / gaps[1] < 4.2
    v, big = small_and_big(1.0, 0.6)  # k eta = 2.4 is beyond the limit 2, eta is not
    assert np.linalg.norm(big) > np.linalg.norm([5, 3]) > np.linalg.norm(v)


def check_bs_floor_scaling():
    """The noise floor depends on eta / B alone only while eta * lam is small."""
    def floor(eta, B, lam=1.0, s=1.0):
        return eta * s / (2 * B * (2 - eta * lam))

    assert abs(floor(0.01, 32) / floor(0.04, 128) - 1) < 0.02
    assert floor(1.6, 128) / floor(0.4, 32) > 3.9  # same ratio eta / B, large rates


def check_bs_sharpness():
    """Equation (bs-sharpness): same function, same loss, any sharpness above 2."""
    def J(w):
        return 0.5 * (w[0] * w[1] - 1) ** 2

    for a in (1.0, 3.0, 10.0):
        w = torch.tensor([a, 1 / a], dtype=torch.float64)
        H = torch.autograd.functional.hessian(J, w)
        top = torch.linalg.eigvalsh(H)[-1].item()
        assert np.isclose(top, a**2 + a**-2)
        assert J(w) < 1e-30
    # rescaling layers of a ReLU network leaves its function alone
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    x = torch.randn(10, 3)
    before = net(x)
    with torch.no_grad():
        net[0].weight *= 10
        net[0].bias *= 10
        net[2].weight /= 10
    assert torch.allclose(net(x), before, atol=1e-5)


def check_bs_accumulation():
    """Equation (bs-accumulation): equals the large batch, but not with batch norm inside."""
    torch.manual_seed(0)
    x, y = torch.randn(32, 5, dtype=torch.float64), torch.randn(32, 1, dtype=torch.float64)
    micro = list(zip(x.split(8), y.split(8), strict=True))
    loss_fn = torch.nn.MSELoss()
    for norm, same in ((False, True), (True, False)):
        layers = [torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)]
        if norm:
            layers.insert(1, torch.nn.BatchNorm1d(6))
        one = torch.nn.Sequential(*layers).double()
        two = copy.deepcopy(one)
        accumulate_step(one, loss_fn, torch.optim.SGD(one.parameters(), lr=0.1), micro)
        accumulate_step(two, loss_fn, torch.optim.SGD(two.parameters(), lr=0.1), [(x, y)])
        gap = max((a - b).abs().max().item()
                  for a, b in zip(one.parameters(), two.parameters(), strict=True))
        assert (gap < 1e-12) == same
        assert same or gap > 1e-4
    # NumPy, and what goes wrong when the micro-batches differ in size
    X, t = x.numpy(), y.numpy()[:, 0]

    def grad(w, b):
        return X[b].T @ (X[b] @ w - t[b]) / len(b)

    w = np.ones(5)
    full = grad(w, np.arange(32))
    assert np.allclose(accumulated_gradient(grad, w, np.split(np.arange(32), 4)), full)
    uneven = [np.arange(30), np.arange(30, 32)]
    assert np.abs(accumulated_gradient(grad, w, uneven) - full).max() > 1e-2


def check_numpy_torch_agree():
    """Noise scale from per-example gradients: NumPy formula and torch autograd, to 1e-10."""
    rng = np.random.default_rng(5)
    X, y, w = rng.normal(size=(20, 3)), rng.normal(size=20), np.array([1.0, -1.0, 0.5])
    ours = noise_scale(X * (X @ w - y)[:, None])
    wt = torch.tensor(w, requires_grad=True)
    rows = [
        torch.autograd.grad(0.5 * (torch.tensor(a) @ wt - b) ** 2, wt)[0]
        for a, b in zip(X, y, strict=True)
    ]
    G = torch.stack(rows)
    g = G.mean(0)
    theirs = ((G - g) ** 2).sum(1).mean() / (g @ g)
    assert abs(ours - theirs.item()) < 1e-10


def check_noisy_quadratic():
    """Perfect scaling at small batches, none at large ones, and the best rate saturates."""
    grid = np.geomspace(1e-3, 1.99, 60)
    steps = {B: steps_to_target(grid, B) for B in (1, 2, 1024, 4096)}
    assert 1.8 < steps[1].min() / steps[2].min() < 2.2
    assert steps[1024].min() / steps[4096].min() < 1.1
    rates = {B: grid[s.argmin()] for B, s in steps.items()}
    assert 1.5 < rates[2] / rates[1] < 2.7
    assert 1.0 < rates[4096] < 2.0


def check_worked_example():
    """The numbers of the worked example."""
    g_sq, trace = 0.04, 40.0
    scale = trace / g_sq
    assert scale == 1000
    rows = {100: (0.0909, 11.0, 1.1), 1000: (0.5, 2.0, 2.0), 10000: (0.909, 1.1, 11.0)}
    for B, (gain, steps, examples) in rows.items():
        assert np.isclose(1 / (1 + scale / B), gain, atol=5e-4)
        assert np.isclose(1 + scale / B, steps) and np.isclose(1 + B / scale, examples)
    small, big = g_sq + trace / 100, g_sq + trace / 1000
    assert np.isclose(small, 0.44) and np.isclose(big, 0.08)
    assert np.allclose(noise_scale_from_norms(small, big, 100, 1000), (0.04, 40, 1000))


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
