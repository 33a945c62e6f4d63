"""Checks and figures of the page on stochastic and mini-batch gradient descent."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def epoch_batches(n, batch_size, rng):
    """Shuffle 0..n-1 and cut it into batches (sampling without replacement).

    Returns a list of ceil(n / batch_size) index arrays; the last one may be shorter.
    """
    order = rng.permutation(n)
    return [order[i : i + batch_size] for i in range(0, n, batch_size)]


def sgd(grad, theta, batches, lr):
    """One step per batch: theta <- theta - lr(t) * grad(theta, batch).

    grad: function of parameters (d,) and an index array, the mean gradient over these
    examples, (d,); theta: start, (d,); batches: list of index arrays; lr: function of
    the step t = 0, 1, ... Returns all iterates, (len(batches) + 1, d).
    """
    path = [np.asarray(theta, dtype=float)]
    for t, batch in enumerate(batches):
        path.append(path[-1] - lr(t) * grad(path[-1], batch))
    return np.stack(path)


def least_squares_grad(X, y):
    """Mini-batch gradient of the mean of (x'w - y)^2 / 2; X: (n, d), y: (n,)."""

    def grad(w, batch):
        return X[batch].T @ (X[batch] @ w - y[batch]) / len(batch)

    return grad
# --8<-- [end:numpy]


# --8<-- [start:torch]
def sgd_torch(X, y, w, batches, lr):
    """The usual loop; X: (n, d), y: (n,), w: start (d,), batches: lists of indices.

    In real training, DataLoader(data, batch_size=B, shuffle=True) draws the batches.
    Here they are prescribed, so that the result can be compared.
    """
    w = torch.tensor(w, dtype=torch.float64, requires_grad=True)
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y))
    loader = torch.utils.data.DataLoader(data, batch_sampler=batches)
    optimizer = torch.optim.SGD([w], lr=lr)
    path = [w.detach().clone()]
    for xb, yb in loader:  # one iteration = one batch = one step
        optimizer.zero_grad()  # backward() adds to .grad, so clear it first
        loss = 0.5 * ((xb @ w - yb) ** 2).mean()  # mean over the batch, not sum
        loss.backward()
        optimizer.step()
        path.append(w.detach().clone())
    return torch.stack(path)
# --8<-- [end:torch]


def problem(n=120, d=3, noise=1.0):
    """Random least squares: X (n, d), y (n,), minimizer, function for the objective."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) * np.linspace(1.0, 0.6, d)
    y = X @ np.linspace(2.0, -1.0, d) + noise * rng.normal(size=n)
    best = np.linalg.lstsq(X, y, rcond=None)[0]

    def objective(w):
        return 0.5 * ((np.asarray(w) @ X.T - y) ** 2).mean(-1)

    return X, y, best, objective


def example_gradients(X, y, w):
    """All n per-example gradients of least squares, (n, d)."""
    return X * (X @ w - y)[:, None]


def covariance(G):
    """Covariance over the examples with divisor n, (d, d)."""
    D = G - G.mean(0)
    return D.T @ D / len(G)


def figure_progress():
    """Excess objective over epochs for three batch sizes; constant and decaying rates."""
    X, y, best, objective = problem(n=2048, d=10)
    floor = objective(best)
    grad = least_squares_grad(X, y)
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3), sharey=True)
    rng = np.random.default_rng(1)
    epochs = 6

    def run(B, lr):
        batches = [b for _ in range(epochs) for b in epoch_batches(2048, B, rng)]
        path = sgd(grad, np.zeros(10), batches, lr)
        loss = objective(path) - floor
        at = np.unique(np.geomspace(1, len(path) - 1, 60).astype(int))
        return at * B / 2048, loss[at]

    runs = [(2048, 0.5, "o", "-", "full batch"), (64, 0.1, "s", "--", "batch 64"),
            (4, 0.05, "^", ":", "batch 4")]
    for B, lr, marker, style, name in runs:
        left.loglog(*run(B, lambda t, lr=lr: lr), style, marker=marker, ms=3, lw=1.2, label=name)
    left.set(xlabel="epochs (passes over the data)", ylabel="objective above its minimum")
    left.legend(fontsize=9, loc="lower left")
    steps = 2048 // 4
    right.loglog(*run(4, lambda t: 0.05), "^:", color="#15803d", ms=3, lw=1.2,
                 label="rate 0.05")
    right.loglog(*run(4, lambda t: 0.0125), "v--", color="#9333a8", ms=3, lw=1.2,
                 label="rate 0.0125")
    right.loglog(*run(4, lambda t: 0.05 / (1 + t / (0.5 * steps))), "D-", color="#222222",
                 ms=3, lw=1.2, label="rate decays like 1/t")
    right.set(xlabel="epochs, batch 4")
    right.legend(fontsize=9, loc="lower left")
    return fig


def figure_variance():
    """Mean squared error of the mini-batch gradient against the batch size."""
    X, y, _, _ = problem(n=256)
    G = example_gradients(X, y, np.zeros(3))
    g, total = G.mean(0), np.trace(covariance(G))
    rng = np.random.default_rng(2)
    sizes = np.array([1, 2, 4, 8, 16, 32, 64, 128, 192, 240])
    draws = 1500
    order = rng.random((draws, 256)).argsort(1)
    ids = rng.integers(0, 256, (draws, 256))
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    fine = np.geomspace(1, 255, 300)
    ax.loglog(fine, total / fine, "-", color="#0061a8", lw=1.4, label="with replacement (formula)")
    ax.loglog(fine, total / fine * (256 - fine) / 255, "--", color="#c2410c", lw=1.4,
              label="without replacement (formula)")
    for idx, marker, color, name in ((ids, "o", "#0061a8", "with replacement (sampled)"),
                                     (order, "^", "#c2410c", "without replacement (sampled)")):
        mse = [((G[idx[:, :b]].mean(1) - g) ** 2).sum(1).mean() for b in sizes]
        ax.loglog(sizes, mse, marker, color=color, ms=6, mfc="none", label=name)
    ax.set(xlabel="batch size (data set of 256 examples)", ylabel="mean squared error of gradient",
           ylim=(total / 256 / 20, total * 2))
    ax.set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"])
    ax.legend(fontsize=9)
    return fig


def check_sgd_update():
    """Equation (sgd-update): the NumPy loop equals torch.optim.SGD with a DataLoader."""
    X, y, _, _ = problem()
    rng = np.random.default_rng(3)
    batches = [b for _ in range(3) for b in epoch_batches(120, 32, rng)]
    assert [len(b) for b in batches[:4]] == [32, 32, 32, 24]
    ours = sgd(least_squares_grad(X, y), [1.0, -2.0, 0.5], batches, lambda t: 0.1)
    theirs = sgd_torch(X, y, [1.0, -2.0, 0.5], [b.tolist() for b in batches], 0.1)
    assert np.allclose(ours, theirs.numpy(), atol=1e-12)
    assert np.abs(ours[-1] - ours[0]).max() > 0.5


def check_sgd_steps_per_epoch():
    """Equation (sgd-steps-per-epoch) against DataLoader, with and without the last batch."""
    data = torch.utils.data.TensorDataset(torch.zeros(50000))
    full = torch.utils.data.DataLoader(data, batch_size=128)
    cut = torch.utils.data.DataLoader(data, batch_size=128, drop_last=True)
    assert len(full) == int(np.ceil(50000 / 128)) == 391
    assert len(cut) == 50000 // 128 == 390
    assert 50000 - 390 * 128 == 80
    default = torch.utils.data.DataLoader(data)
    assert default.batch_size == 1
    assert isinstance(default.sampler, torch.utils.data.SequentialSampler)  # no shuffling


def check_sgd_unbiased():
    """Equation (sgd-unbiased): exact enumeration of all batches, both sampling schemes."""
    rng = np.random.default_rng(4)
    G = rng.normal(size=(6, 2)) ** 3
    subsets = np.array([G[list(c)].mean(0) for c in combinations(range(6), 3)])
    tuples = np.stack(np.meshgrid(*[range(6)] * 3)).reshape(3, -1).T
    drawn = G[tuples].mean(1)
    for means in (subsets, drawn):
        assert np.allclose(means.mean(0), G.mean(0))
    assert np.abs(subsets[0] - G.mean(0)).max() > 0.01  # single batches do differ


def check_sgd_variance():
    """Equation (sgd-variance): enumeration of all 216 ordered batches of three."""
    rng = np.random.default_rng(4)
    G = rng.normal(size=(6, 2)) ** 3
    tuples = np.stack(np.meshgrid(*[range(6)] * 3)).reshape(3, -1).T
    assert np.allclose(covariance(G[tuples].mean(1)), covariance(G) / 3)


def check_sgd_finite_population():
    """Equation (sgd-finite-population): enumeration of all subsets, every batch size."""
    rng = np.random.default_rng(4)
    n = 6
    G = rng.normal(size=(n, 2)) ** 3
    for B in range(1, n + 1):
        means = np.array([G[list(c)].mean(0) for c in combinations(range(n), B)])
        assert np.allclose(covariance(means), covariance(G) / B * (n - B) / (n - 1))


def check_sgd_pair_covariance():
    """Equation (sgd-pair-covariance): two draws without replacement."""
    rng = np.random.default_rng(4)
    n = 6
    D = rng.normal(size=(n, 2)) ** 3
    D -= D.mean(0)
    pairs = [np.outer(D[i], D[j]) for i in range(n) for j in range(n) if i != j]
    assert np.allclose(np.mean(pairs, 0), -covariance(D) / (n - 1))


def check_sgd_epoch_mean():
    """Equation (sgd-epoch-mean): exact at frozen parameters; fails with a short last batch."""
    X, y, _, _ = problem()
    w = np.array([0.3, -1.0, 2.0])
    grad = least_squares_grad(X, y)
    full = grad(w, np.arange(120))
    rng = np.random.default_rng(5)
    equal = np.mean([grad(w, b) for b in epoch_batches(120, 8, rng)], 0)
    short = np.mean([grad(w, b) for b in epoch_batches(120, 50, rng)], 0)
    assert np.allclose(equal, full, atol=1e-12)
    assert np.abs(short - full).max() > 1e-3


def check_sgd_expected_descent():
    """Equation (sgd-expected-descent): equality if the Hessian is L times the identity."""
    rng = np.random.default_rng(6)
    A = rng.normal(size=(40, 3))  # losses L/2 |w - a_i|^2, gradients L (w - a_i)
    L, eta, w = 2.0, 0.3, np.array([1.0, 2.0, -1.0])
    G = L * (w - A)
    g = G.mean(0)

    def J(v):
        return L / 2 * ((v - A) ** 2).sum(1).mean()

    after = np.mean([J(w - eta * gi) for gi in G])  # B = 1: all outcomes, equally likely
    bound = J(w) - eta * (1 - eta * L / 2) * g @ g + eta**2 * L / 2 * np.trace(covariance(G))
    assert np.isclose(after, bound)
    # inequality for a general quadratic, B = 1
    X, y, _, objective = problem()
    L = np.linalg.eigvalsh(X.T @ X / 120)[-1]
    for _ in range(20):
        w = rng.normal(size=3) * 3
        G = example_gradients(X, y, w)
        g = G.mean(0)
        for eta in (0.1 / L, 1 / L, 1.8 / L):
            after = objective(w - eta * G).mean()
            bound = objective(w) - eta * (1 - eta * L / 2) * g @ g
            bound += eta**2 * L / 2 * np.trace(covariance(G))
            assert after <= bound + 1e-12


def check_sgd_nonconvex_rate():
    """Equation (sgd-nonconvex-rate) on the sum of x^2 / (1 + x^2) (L = 2), Gaussian noise."""
    rng = np.random.default_rng(7)

    def grad(x):
        return 2 * x / (1 + x**2) ** 2

    start = np.array([3.0, -2.0, 0.5])
    gap = (start**2 / (1 + start**2)).sum()
    x = np.tile(start, (4000, 1))
    s = 0.2
    V = 3 * s**2
    squared, rates = [], []
    for t in range(300):
        squared.append((grad(x) ** 2).sum(1).mean())
        eta = 0.5 / np.sqrt(t + 1)
        rates.append(eta)
        x = x - eta * (grad(x) + s * rng.normal(size=x.shape))
    squared, rates = np.array(squared), np.array(rates)
    for T in (1, 10, 100, 300):
        bound = (2 * gap + 2 * V * (rates[:T] ** 2).sum()) / rates[:T].sum()
        mean = (rates[:T] * squared[:T]).sum() / rates[:T].sum()
        assert squared[:T].min() <= mean <= bound
    assert bound < squared[0]  # the last bound says more than the start does


def second_moment(rates, lam, s, m0):
    """E[theta_t^2] for theta <- theta - eta (lam theta + noise of variance s)."""
    m = [m0]
    for eta in rates:
        m.append((1 - eta * lam) ** 2 * m[-1] + eta**2 * s)
    return np.array(m)


def check_sgd_moment():
    """Equation (sgd-moment): recursion and closed form against simulation."""
    lam, s, eta = 1.5, 4.0, 0.2
    rng = np.random.default_rng(8)
    theta = np.full(200000, 3.0)
    for _ in range(15):
        theta = theta - eta * (lam * theta + np.sqrt(s) * rng.normal(size=theta.shape))
    m = second_moment([eta] * 15, lam, s, 9.0)
    limit = eta * s / (lam * (2 - eta * lam))
    assert np.isclose(m[-1], limit + (1 - eta * lam) ** 30 * (9 - limit))
    assert abs((theta**2).mean() / m[-1] - 1) < 0.01


def check_sgd_noise_floor():
    """Equation (sgd-noise-floor): limit of the recursion, proportional to eta / B if small."""
    lam, variance = 1.5, 4.0
    for eta, B in ((0.2, 1), (0.2, 8), (1.2, 2)):
        m = second_moment([eta] * 3000, lam, variance / B, 9.0)
        assert np.isclose(lam / 2 * m[-1], eta * variance / (2 * B * (2 - eta * lam)))
    m = second_moment([1.4] * 3000, lam, variance, 9.0)  # 1.4 * 1.5 > 2
    assert m[-1] > 1e6


def check_sgd_robbins_monro():
    """Equation (sgd-robbins-monro): 1/t works; a summable rate stops short; 1/sqrt(t) also
    works on this quadratic although its squares are not summable; a constant does not."""
    t = np.arange(1, 200001)
    lam, s = 1.0, 1.0
    final = {
        name: second_moment(rates, lam, s, 9.0)[-1]
        for name, rates in {
            "1/t": 1 / t, "1/sqrt": 0.5 / np.sqrt(t), "summable": 0.5 / t**2.0,
            "constant": np.full(t.shape, 0.1),
        }.items()
    }
    assert final["1/t"] < 1e-4
    assert final["1/sqrt"] < 2e-3
    assert final["summable"] > 1.0
    assert np.isclose(final["constant"], 0.1 / 1.9)


def check_interpolation():
    """If every example is fitted exactly, the noise vanishes and a constant rate converges."""
    rng = np.random.default_rng(9)
    for noise, low in ((0.0, True), (1.0, False)):
        X, y, best, _ = problem(noise=noise)
        batches = [b for _ in range(60) for b in epoch_batches(120, 4, rng)]
        end = sgd(least_squares_grad(X, y), np.zeros(3), batches, lambda t: 0.1)[-1]
        assert (np.linalg.norm(end - best) < 1e-9) == low


def check_sum_reduction():
    """Summing instead of averaging over the batch multiplies the step by B."""
    X, y, _, _ = problem()
    w = np.array([1.0, 0.0, 0.0])
    batch = np.arange(16)
    total = example_gradients(X, y, w)[batch].sum(0)
    assert np.allclose(total, 16 * least_squares_grad(X, y)(w, batch))


def check_worked_example():
    """The numbers of the worked example."""
    a = np.array([0.0, 2.0, 4.0, 10.0])
    G = (0 - a)[:, None]
    assert G.mean() == -4
    assert covariance(G)[0, 0] == 14
    pairs = sorted(-np.mean(c) for c in combinations(a, 2))
    assert pairs == [-7, -6, -5, -3, -2, -1]
    assert np.isclose(np.var(pairs), 14 / 3)
    assert np.isclose(14 / 2 * (4 - 2) / (4 - 1), 14 / 3)

    def grad(theta, batch):
        return theta - a[batch].mean()

    one, two = np.array([0, 1]), np.array([2, 3])
    assert np.allclose(sgd(grad, 0.0, [one, two], lambda t: 0.5), [0, 0.5, 3.75])
    assert np.allclose(sgd(grad, 0.0, [two, one], lambda t: 0.5), [0, 3.5, 2.25])
    assert np.allclose(sgd(grad, 0.0, [np.arange(4)], lambda t: 0.5), [0, 2])
    for eta, m in ((0.5, 7 / 3), (0.05, 0.1795)):
        limit = second_moment([eta] * 5000, 1.0, 7.0, 16.0)[-1]
        assert np.isclose(limit, m, atol=5e-5)
    assert abs(np.sqrt(7 / 3) - 1.53) < 0.005
    assert abs(np.sqrt(0.1795) - 0.42) < 0.005


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
