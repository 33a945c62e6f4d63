"""Checks and figures of the page on hyperparameter tuning: search, Bayes, halving, NAS."""

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def log_uniform(rng, low, high, size):
    """Draws whose logarithm is uniform between log(low) and log(high)."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def successive_halving(configs, train, min_steps, factor=3):
    """Train all, keep the best 1/factor, train them factor times longer, repeat.

    train(config, state, steps) continues a run from state (None at the start) for
    steps more steps and returns (state, validation loss).
    Returns the last survivor, its loss, and a log of (rung, config, steps, loss).
    """
    alive = [(config, None) for config in configs]
    done, total, log, rung = 0, min_steps, [], 0
    while True:
        results = []
        for config, state in alive:
            state, loss = train(config, state, total - done)
            loss = loss if np.isfinite(loss) else np.inf      # a diverged run loses
            results.append((loss, config, state))
            log.append((rung, config, total, loss))
        results.sort(key=lambda r: r[0])
        if len(results) == 1:
            return results[0][1], results[0][0], log
        keep = max(1, len(results) // factor)
        alive = [(config, state) for _, config, state in results[:keep]]
        done, total, rung = total, total * factor, rung + 1


def hyperband_brackets(max_budget, factor=3):
    """(configurations, first budget) of every bracket, most aggressive first."""
    s_max = 0
    while factor ** (s_max + 1) <= max_budget:
        s_max += 1
    return [(math.ceil((s_max + 1) / (s + 1) * factor**s), max_budget // factor**s)
            for s in range(s_max, -1, -1)]


def softmax_trainer(X, y, X_val, y_val):
    """A train function for successive_halving: softmax regression, momentum 0.9.

    X: (n, d), y: (n,) class numbers; a config is (learning rate, weight decay).
    """
    Y, Y_val = np.eye(y.max() + 1)[y], np.eye(y.max() + 1)[y_val]

    def probabilities(W, X):
        e = np.exp(X @ W.T - (X @ W.T).max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def train(config, state, steps):
        lr, decay = config
        W, buf = state or (np.zeros((Y.shape[1], X.shape[1])),) * 2
        for _ in range(steps):
            g = (probabilities(W, X) - Y).T @ X / len(X) + decay * W
            buf = 0.9 * buf + g
            W = W - lr * buf
        p = (probabilities(W, X_val) * Y_val).sum(axis=1)
        return (W, buf), -np.mean(np.log(np.maximum(p, 1e-300)))

    return train
# --8<-- [end:numpy]


# --8<-- [start:bayes]
def kernel(a, b, length, scale):
    """Squared exponential covariance between points a: (n,) and b: (m,)."""
    return scale**2 * np.exp(-0.5 * ((a[:, None] - b[None, :]) / length) ** 2)


def gp_posterior(x, y, grid, length, scale, noise):
    """Mean and standard deviation of a Gaussian process at grid, given y at x."""
    K = kernel(x, x, length, scale) + noise**2 * np.eye(len(x))
    k = kernel(grid, x, length, scale)
    mean = y.mean() + k @ np.linalg.solve(K, y - y.mean())
    var = scale**2 - np.einsum("ij,ji->i", k, np.linalg.solve(K, k.T))
    return mean, np.sqrt(np.maximum(var, 1e-12))


def expected_improvement(mean, std, best):
    """Expected amount by which a Gaussian value falls below best (minimization)."""
    z = (best - mean) / std
    cdf = 0.5 * (1 + np.vectorize(math.erf)(z / np.sqrt(2)))
    pdf = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return (best - mean) * cdf + std * pdf
# --8<-- [end:bayes]


# --8<-- [start:torch]
def softmax_trainer_torch(X, y, X_val, y_val):
    """The same trainer with a PyTorch model; a state is a checkpoint."""
    loss_fn = torch.nn.CrossEntropyLoss()

    def train(config, state, steps):
        lr, decay = config
        model = torch.nn.Linear(X.shape[1], int(y.max()) + 1, bias=False).to(X.dtype)
        torch.nn.init.zeros_(model.weight)
        opt = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9,
                              weight_decay=decay)
        if state is not None:                        # resume, do not start again
            model.load_state_dict(state["model"])
            opt.load_state_dict(state["optimizer"])
        for _ in range(steps):
            opt.zero_grad()
            loss_fn(model(X), y).backward()
            opt.step()
        with torch.no_grad():
            val = loss_fn(model(X_val), y_val).item()
        return {"model": model.state_dict(), "optimizer": opt.state_dict()}, val

    return train
# --8<-- [end:torch]


def problem(seed=0, n=90, n_val=400, d=40):
    """Three classes, few examples, many features of which five matter."""
    rng = np.random.default_rng(seed)
    W = np.zeros((3, d))
    W[:, :5] = rng.normal(size=(3, 5)) * 1.2
    X = rng.normal(size=(n + n_val, d))
    gumbel = -np.log(-np.log(rng.random((n + n_val, 3))))
    y = (X @ W.T + gumbel).argmax(1)
    return X[:n], y[:n], X[n:], y[n:]


def random_configs(count, seed=0):
    """Learning rate from 1e-4 to 10, weight decay from 1e-5 to 1, both log-uniform."""
    rng = np.random.default_rng(seed)
    return list(zip(log_uniform(rng, 1e-4, 10, count), log_uniform(rng, 1e-5, 1, count)))


def toy_loss(u):
    """A validation loss over log10 learning rate: falls, then rises steeply."""
    u = np.asarray(u, dtype=float)
    return 0.35 + 0.1 * (u + 1.6) ** 2 / (1 + 0.25 * (u + 1.6) ** 2) + 1.2 / (
        1 + np.exp(-6 * (u + 0.3)))


def figure_coverage():
    """Nine trials in two dimensions: grid, random, Sobol; what each setting gets to see."""
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.6), sharey=True)
    rng = np.random.default_rng(3)
    centers = (np.arange(3) + 0.5) / 3
    grid = np.array(list(itertools.product(centers, centers)))
    sobol = torch.quasirandom.SobolEngine(2, scramble=True, seed=2).draw(9).numpy()
    u = np.linspace(0, 1, 200)
    curve = 1.06 + 0.3 * np.exp(-0.5 * ((u - 0.66) / 0.07) ** 2)
    for ax, points, label, marker in ((axes[0], grid, "grid", "s"),
                                      (axes[1], rng.random((9, 2)), "random", "o"),
                                      (axes[2], sobol, "quasi-random", "^")):
        ax.plot(u, curve, "-", lw=1.5, color="C1")
        ax.axhline(1, lw=0.8, color="#555555")
        ax.vlines(points[:, 0], 0, 1, lw=0.7, color="#999999", ls=":")
        ax.plot(points[:, 0], np.zeros(9), "|", ms=12, mew=2, color="C0", clip_on=False)
        ax.plot(*points.T, marker, ms=6, color="#222222")
        found = np.interp(points[:, 0], u, curve)
        ax.plot(points[:, 0], found, marker, ms=4, color="C1", mfc="none")
        ax.set(xlabel=f"important setting\n({label})", xlim=(0, 1), ylim=(0, 1.42),
               xticks=[], yticks=[])
        ax.grid(False)
        ax.xaxis.labelpad = 9
    axes[0].set_ylabel("unimportant setting")
    axes[0].annotate("score", (0.05, 1.12), fontsize=9, color="C1")
    return fig


BAYES_X = np.array([-5.0, -3.6, -2.4, -0.7, 0.4])


def figure_bayes():
    """Gaussian process through five trials, and the expected improvement."""
    grid = np.linspace(-5.2, 0.8, 400)
    y = toy_loss(BAYES_X)
    mean, std = gp_posterior(BAYES_X, y, grid, 0.8, 0.5, 0.02)
    ei = expected_improvement(mean, std, y.min())
    fig, (top, low) = plt.subplots(2, 1, figsize=(6.4, 3.9), sharex=True,
                                   height_ratios=[2.2, 1])
    top.fill_between(grid, mean - 2 * std, mean + 2 * std, color="C0", alpha=0.18, lw=0,
                     label="two standard deviations")
    top.plot(grid, mean, "-", lw=1.6, color="C0", label="model mean")
    top.plot(grid, toy_loss(grid), "--", lw=1.2, color="#222222", label="true loss")
    top.plot(BAYES_X, y, "o", ms=6, color="C1", label="trials so far")
    top.set(ylabel="validation loss", ylim=(-0.9, 2.6))
    top.legend(fontsize=9, ncol=2, loc="upper left")
    low.plot(grid, ei, "-", lw=1.6, color="C2")
    best = grid[ei.argmax()]
    low.plot(best, ei.max(), "v", ms=8, color="C2")
    low.annotate("next trial", (best, ei.max()), xytext=(9, 3), fontsize=9,
                 textcoords="offset points")
    low.set(ylim=(-0.01, 0.26), xlabel="log10 of the learning rate", ylabel="expected\nimprovement")
    return fig


def figure_halving():
    """Validation losses of 27 runs under successive halving."""
    train = softmax_trainer(*problem())
    configs = random_configs(27)
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    states = [(c, None, [], []) for c in configs]
    done, alive, total = 0, states, 4
    while alive:
        results = []
        for config, state, xs, ys in alive:
            for t in range(done + 1, total + 1):
                state, loss = train(config, state, 1)
                xs, ys = xs + [t], ys + [min(loss, 5)]
            results.append((ys[-1], config, state, xs, ys))
        results.sort(key=lambda r: r[0])
        keep = len(results) // 3
        for rank, (_, config, _, xs, ys) in enumerate(results):
            if rank >= keep:
                last = keep == 0
                ax.plot(xs, ys, "-", lw=2.2 if last else 0.9, color="C0" if last else "#888888")
                ax.plot(xs[-1], ys[-1], "*" if last else "x", ms=11 if last else 6,
                        color="C0" if last else "C1")
        alive = [r[1:] for r in results[:keep]]
        done, total = total, total * 3
    ax.set(xscale="log", xlabel="training steps", ylabel="validation loss", ylim=(0.6, 2.4))
    ax.set_xticks([1, 4, 12, 36, 108], ["1", "4", "12", "36", "108"])
    ax.minorticks_off()
    ax.plot([], [], "x", color="C1", label="stopped")
    ax.plot([], [], "*", ms=10, color="C0", label="survivor")
    ax.legend(fontsize=9)
    return fig


def check_ht_bilevel():
    """Equation (ht-bilevel): chosen on training loss, weight decay is always zero."""
    rng = np.random.default_rng(0)
    A, w = rng.normal(size=(25, 20)), rng.normal(size=20)
    B = rng.normal(size=(300, 20))
    a, b = A @ w + 3 * rng.normal(size=25), B @ w + 3 * rng.normal(size=300)
    lams = np.concatenate([[0.0], np.geomspace(1e-4, 10, 30)])
    fits = [np.linalg.solve(A.T @ A / 25 + l * np.eye(20), A.T @ a / 25) for l in lams]
    train = [np.mean((A @ f - a) ** 2) for f in fits]
    val = [np.mean((B @ f - b) ** 2) for f in fits]
    assert np.argmin(train) == 0 and 0 < np.argmin(val) < 30


def check_ht_grid():
    """Equation (ht-grid): trials against distinct values per setting."""
    rng = np.random.default_rng(0)
    for n, d in ((3, 2), (3, 4), (5, 3)):
        grid = np.array(list(itertools.product(range(n), repeat=d)))
        assert len(grid) == n**d
        assert all(len(set(grid[:, j])) == round(len(grid) ** (1 / d)) for j in range(d))
        random = rng.random((n**d, d))
        assert all(len(set(random[:, j])) == n**d for j in range(d))


def check_ht_distance():
    """Equation (ht-distance): mean distance to the nearest tried value, by sampling."""
    rng = np.random.default_rng(1)
    for d, n in ((2, 3), (2, 4), (3, 3)):
        N = n**d
        u = rng.random(20_000)
        centers = (np.arange(n) + 0.5) / n
        grid = np.abs(u[:, None] - centers).min(1).mean()
        random = np.abs(u[:, None] - rng.random((20_000, N))).min(1).mean()
        assert np.isclose(grid, 1 / (4 * n), rtol=0.02)
        assert np.isclose(random, (N + 3) / (2 * (N + 1) * (N + 2)), rtol=0.03)
    value = lambda N: (N + 3) / (2 * (N + 1) * (N + 2))
    assert np.allclose([value(9), 1 / 12, value(27)], [0.055, 0.083, 0.018], atol=6e-4)


def check_ht_hit():
    """Equation (ht-hit): chance of a top-q trial, and the 59."""
    assert 1 - 0.95**59 >= 0.95 > 1 - 0.95**58
    assert math.ceil(math.log(0.05) / math.log(0.95)) == 59
    rng = np.random.default_rng(2)
    hits = (rng.random((50_000, 59)).min(axis=1) < 0.05).mean()
    assert abs(hits - (1 - 0.95**59)) < 0.005
    assert np.isclose(1 - 0.95**20, 0.64, atol=0.005)
    assert math.ceil(math.log(0.05) / math.log(0.99)) == 299


def check_ht_log_uniform():
    """Equation (ht-log-uniform): density, and the shares of each decade."""
    rng = np.random.default_rng(3)
    low, high = 1e-4, 1e-1
    x = log_uniform(rng, low, high, 200_000)
    assert low <= x.min() and x.max() <= high
    for a in (1e-4, 1e-3, 1e-2):
        assert abs(np.mean((x >= a) & (x < 10 * a)) - 1 / 3) < 0.005
    for p in (2e-4, 5e-3):
        width = 0.05 * p
        density = np.mean(np.abs(x - p) < width) / (2 * width)
        assert np.isclose(density, 1 / (p * np.log(high / low)), rtol=0.05)
    linear = rng.uniform(low, high, 200_000)
    assert abs(np.mean(linear > 1e-2) - 0.90) < 0.003
    assert np.mean(linear < 1e-3) < 0.011


def check_ht_gp():
    """Equation (ht-gp): conditioning the joint Gaussian, NumPy against torch."""
    rng = np.random.default_rng(4)
    x, y, grid = rng.normal(size=5), rng.normal(size=5), np.linspace(-2, 2, 7)
    mean, std = gp_posterior(x, y, grid, 0.8, 0.5, 0.1)
    tx, ty, tg = map(torch.from_numpy, (x, y, grid))
    cov = lambda a, b: 0.25 * torch.exp(-0.5 * ((a[:, None] - b) / 0.8) ** 2)
    L = torch.linalg.cholesky(cov(tx, tx) + 0.01 * torch.eye(5, dtype=torch.float64))
    k = cov(tg, tx)
    V = torch.linalg.solve_triangular(L, k.T, upper=False)
    tmean = ty.mean() + k @ torch.cholesky_solve((ty - ty.mean())[:, None], L)[:, 0]
    tstd = (0.25 - (V**2).sum(0)).sqrt()
    assert np.allclose(mean, tmean, atol=1e-10) and np.allclose(std, tstd, atol=1e-8)
    # Independent route: the conditional of a joint Gaussian has the inverse of a block
    # of the joint precision as covariance.
    point = grid[:1]
    both = np.concatenate([point, x])
    joint = kernel(both, both, 0.8, 0.5) + 0.01 * np.diag([0.0] + [1.0] * 5)
    precision = np.linalg.inv(joint)
    assert np.isclose(std[0] ** 2, 1 / precision[0, 0])
    centered = y - y.mean()
    assert np.isclose(mean[0], y.mean() - precision[0, 1:] @ centered / precision[0, 0])
    near, _ = gp_posterior(x, y, x, 0.8, 0.5, 1e-5)
    assert np.allclose(near, y, atol=1e-3)


def check_ht_ei():
    """Equation (ht-ei): the closed form against sampling."""
    rng = np.random.default_rng(5)
    for mean, std, best in ((0.4, 0.1, 0.35), (0.3, 0.02, 0.35), (0.8, 0.3, 0.35)):
        draws = mean + std * rng.normal(size=1_000_000)
        sampled = np.maximum(best - draws, 0)
        closed = expected_improvement(np.array([mean]), np.array([std]), best)[0]
        assert abs(sampled.mean() - closed) < 4 * sampled.std() / 1000
    assert np.allclose([expected_improvement(np.array([m]), np.array([s]), 0.35)[0]
                        for m, s in ((0.34, 0.01), (0.45, 0.2))], [0.0108, 0.0396],
                       atol=5e-5)


def check_ht_halving():
    """Equation (ht-halving): cost of all rungs, counted from a real run."""
    train = softmax_trainer(*problem())
    _, _, log = successive_halving(random_configs(27), train, min_steps=4)
    rungs = [[e for e in log if e[0] == k] for k in range(4)]
    assert [len(r) for r in rungs] == [27, 9, 3, 1]
    assert [r[0][2] for r in rungs] == [4, 12, 36, 108]
    from_scratch = sum(len(r) * r[0][2] for r in rungs)
    assert from_scratch == 27 * 4 * (3 + 1)
    resumed = 27 * 4 + 9 * 8 + 3 * 24 + 1 * 72
    assert resumed == 324 < from_scratch == 432 and 27 * 108 == 2916


def check_ht_hyperband():
    """Equation (ht-hyperband): brackets for a budget of 81 and factor 3."""
    assert hyperband_brackets(81) == [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]
    assert hyperband_brackets(27) == [(27, 1), (12, 3), (6, 9), (4, 27)]
    for n, r in hyperband_brackets(81):
        total = 0
        while r <= 81:
            total, n, r = total + n * r, n // 3, r * 3
        assert 225 <= total <= 5 * 81


def check_ht_optimism():
    """Equation (ht-optimism): bound on the best of n noise values, and two of them."""
    rng = np.random.default_rng(6)
    for n, value in ((10, 1.54), (100, 2.51)):
        best = rng.normal(size=(40_000, n)).max(axis=1).mean()
        assert abs(best - value) < 0.01
        assert best <= np.sqrt(2 * np.log(n))


def check_ht_darts():
    """Equation (ht-darts): softmax mixture; one dominant weight gives one operation."""
    x = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ops = [lambda t: t, torch.tanh, lambda t: 0 * t, torch.relu]
    mixed = lambda alpha: sum(a * op(x) for a, op in zip(torch.softmax(alpha, 0), ops))
    alpha = torch.tensor([0.3, -0.2, 0.1, 0.5], dtype=torch.float64, requires_grad=True)
    J = torch.func.jacrev(mixed)(alpha)
    a = torch.softmax(alpha, 0)
    outs = torch.stack([op(x) for op in ops], 1)
    assert torch.allclose(J, a * (outs - mixed(alpha)[:, None]), atol=1e-12)
    assert torch.allclose(mixed(torch.tensor([0.0, 60, 0, 0]).double()), torch.tanh(x),
                          atol=1e-12)


def check_space_size():
    """The size of the small search space in the section on architectures."""
    assert 5**6 * 3**6 == 11_390_625


def check_numpy_vs_torch():
    """Successive halving with both trainers: same log to 1e-8, same winner."""
    data = problem()
    tensors = [torch.from_numpy(a) for a in data]
    configs = random_configs(27)
    best, loss, log = successive_halving(configs, softmax_trainer(*data), 4)
    tbest, tloss, tlog = successive_halving(configs, softmax_trainer_torch(*tensors), 4)
    assert best == tbest and abs(loss - tloss) < 1e-8
    for a, b in zip(log, tlog):
        assert a[:3] == b[:3] and abs(a[3] - b[3]) <= 1e-8 * (1 + a[3])
    # Resuming equals training in one go.
    train = softmax_trainer(*data)
    state, _ = train(best, None, 36)
    _, resumed = train(best, state, 72)
    assert np.isclose(resumed, train(best, None, 108)[1], atol=1e-12)


def check_halving_result():
    """Rank of the survivor in the full ranking, for ten draws of 27 configurations."""
    train = softmax_trainer(*problem())
    ranks = []
    for seed in range(10):
        configs = random_configs(27, seed)
        final = np.array([train(c, None, 108)[1] for c in configs])
        best, loss, _ = successive_halving(configs, train, 4)
        ranks.append(int(np.sum(final < loss - 1e-12)) + 1)
        if seed == 0:
            assert np.allclose(best, (0.2255, 0.1456), atol=5e-5)
            assert np.isclose(loss, 0.903, atol=5e-4)
    assert sorted(ranks) == [1, 1, 1, 2, 2, 3, 4, 5, 14, 18]


def check_worked_example():
    """Numbers of the worked example that are not checked above."""
    assert [27 // 3**k for k in range(4)] == [27, 9, 3, 1]
    assert np.isclose(324 / 2916, 0.111, atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
