"""Twin of the page on generalization: risk, its empirical mean, bounds, no free lunch."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def finite_erm(losses):
    """Empirical risk minimization over a finite class.

    losses: (M, n), loss of each of M predictors on each of n training examples.
    Returns the index of the winner and the M empirical risks.
    """
    risks = losses.mean(axis=1)
    return int(risks.argmin()), risks


def hoeffding_width(n, n_predictors=1, delta=0.05):
    """Width w such that, with probability at least 1 - delta, all predictors have
    |empirical risk - risk| <= w: losses in [0, 1], n independent examples.

    n_predictors = 1 is the test set case: one model, fixed before the examples.
    """
    return np.sqrt(np.log(2 * n_predictors / delta) / (2 * n))


# --8<-- [end:numpy]


# --8<-- [start:torch]
@torch.no_grad()
def zero_one_losses(models, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Losses (M, n) of M models that map inputs to logits (n, K); y: (n,) classes."""
    rows = []
    for model in models:
        model.eval()
        rows.append((model(x).argmax(dim=1) != y).double())
    return torch.stack(rows)


def finite_erm_torch(losses: torch.Tensor):
    """Index of the smallest mean loss, and all means."""
    risks = losses.mean(dim=1)
    return int(risks.argmin()), risks


class Threshold(torch.nn.Module):
    """Two-class logits of the rule "class 1 if x >= t", for inputs of shape (n, 1)."""

    def __init__(self, t: float):
        super().__init__()
        self.t = t

    def forward(self, x):
        score = torch.where(x >= self.t, 1.0, -1.0)
        return torch.cat([-score, score], dim=1)


# --8<-- [end:torch]

TRUE_T, FLIP = 0.4, 0.1
SEED = 0  # the sample of the first figure
GRID = np.arange(101) / 100


def risk(t):
    """Exact zero-one risk of the threshold t: x uniform on (0, 1), 10% flipped labels."""
    return FLIP + (1 - 2 * FLIP) * np.abs(np.asarray(t) - TRUE_T)


def draw(n, rng):
    """n examples of the threshold task."""
    x = rng.random(n)
    return x, ((x >= TRUE_T) ^ (rng.random(n) < FLIP)).astype(int)


def table(x, y, grid=GRID):
    """Zero-one losses (len(grid), n) of all thresholds."""
    return ((x[None, :] >= grid[:, None]).astype(int) != y[None, :]).astype(float)


def learning_curve(sizes, repeats=400, seed=0):
    """Mean empirical risk and mean risk of the ERM threshold for each sample size."""
    rng = np.random.default_rng(seed)
    out = []
    for n in sizes:
        emp, true = [], []
        for _ in range(repeats):
            i, r = finite_erm(table(*draw(n, rng)))
            emp.append(r[i])
            true.append(risk(GRID[i]))
        out.append((np.mean(emp), np.mean(true)))
    return np.array(out)


DOMAIN, SEEN = 8, (0, 2, 4, 6)


def unseen_error(rule, target):
    """Error on the unseen points 1, 3, 5, 7; rule maps the left neighbor's label."""
    return np.mean([rule(target[i - 1]) != target[i] for i in (1, 3, 5, 7)])


def by_changes():
    """For both learners: mean unseen error grouped by the target's label changes."""
    groups = {c: [] for c in range(DOMAIN)}
    for target in itertools.product((0, 1), repeat=DOMAIN):
        c = int(np.abs(np.diff(target)).sum())
        groups[c].append((unseen_error(lambda v: v, target),
                          unseen_error(lambda v: 1 - v, target)))
    return groups


def figure_erm():
    """One sample's empirical risk beside the risk, and learning curves."""
    fig, (a, b) = plt.subplots(1, 2, figsize=(6.4, 3.0))
    x, y = draw(25, np.random.default_rng(SEED))
    i, r = finite_erm(table(x, y))
    a.step(GRID, r, where="post", color="C0", label="training error")
    a.plot(GRID, risk(GRID), color="C1", ls="--", label="risk")
    a.plot(GRID[i], r[i], "o", color="C0")
    a.plot(GRID[i], risk(GRID[i]), "s", color="C1")
    a.plot([GRID[i]] * 2, [r[i], risk(GRID[i])], color="#444444", lw=1, ls=":")
    a.set(xlabel="threshold t", ylabel="error", ylim=(0, 0.8))
    a.legend(fontsize=9, loc="upper left")
    sizes = [5, 10, 20, 50, 100, 200, 500, 1000]
    curve = learning_curve(sizes)
    b.semilogx(sizes, curve[:, 1], "s--", color="C1", label="risk of the winner")
    b.semilogx(sizes, curve[:, 0], "o-", color="C0", label="its training error")
    b.axhline(FLIP, color="#444444", ls=":", lw=1.2, label="best possible")
    b.set(xlabel="training examples n", ylabel="error", ylim=(0, 0.3))
    b.legend(fontsize=9)
    return fig


def figure_no_free_lunch():
    """Two opposite learners over all 256 targets, grouped by label changes."""
    groups = by_changes()
    c = np.arange(DOMAIN)
    m = np.array([np.mean(groups[k], axis=0) for k in c])
    fig, (a, b) = plt.subplots(1, 2, figsize=(6.4, 2.9))
    a.plot(c, m[:, 0], "o-", color="C0", label="copy the neighbor")
    a.plot(c, m[:, 1], "s--", color="C1", label="contradict it")
    a.axhline(0.5, color="#444444", ls=":", lw=1.2)
    a.set(xlabel="label changes in the target", ylabel="error on unseen points",
          ylim=(-0.05, 1.4), yticks=[0, 0.25, 0.5, 0.75, 1])
    a.legend(fontsize=9, loc="upper center")
    b.bar(c, [len(groups[k]) for k in c], color="C2", hatch="//", edgecolor="#222222",
          linewidth=0.6)
    b.set(xlabel="label changes in the target", ylabel="number of targets")
    b.grid(axis="x", visible=False)
    return fig


def check_gen_unbiased():
    """Equation (gen-unbiased), exactly, by enumerating all samples of 5 examples."""
    values, probs = np.array([0.0, 0.4, 1.0]), np.array([0.5, 0.3, 0.2])
    mu = probs @ values
    var = probs @ (values - mu) ** 2
    n, m1, m2 = 5, 0.0, 0.0
    for idx in itertools.product(range(3), repeat=n):
        p, mean = probs[list(idx)].prod(), values[list(idx)].mean()
        m1, m2 = m1 + p * mean, m2 + p * mean**2
    assert np.isclose(m1, mu) and np.isclose(m2 - m1**2, var / n)


def check_gen_bayes():
    """Equation (gen-bayes): no classifier or regressor on 4 inputs does better."""
    rng = np.random.default_rng(0)
    joint = rng.random((4, 3))
    joint /= joint.sum()
    px = joint.sum(axis=1)
    best = min(1 - joint[range(4), list(f)].sum()
               for f in itertools.product(range(3), repeat=4))
    posterior = joint / px[:, None]
    assert np.isclose(best, px @ (1 - posterior.max(axis=1)))
    values = np.array([-1.0, 0.5, 2.0])
    mean = posterior @ values

    def squared(f):
        return (joint * (values[None, :] - f[:, None]) ** 2).sum()

    conditional = (posterior * (values[None, :] - mean[:, None]) ** 2).sum(axis=1)
    assert np.isclose(squared(mean), px @ conditional)
    for _ in range(100):
        shift = rng.standard_normal(4)
        assert np.isclose(squared(mean + shift), squared(mean) + px @ shift**2)


def check_gen_decomposition():
    """Equation (gen-decomposition) on thresholds up to 0.3, with the page's numbers."""
    grid = GRID[:31]
    assert np.isclose(risk(grid).min() - FLIP, 0.08)
    rng = np.random.default_rng(1)
    for _ in range(50):
        x, y = draw(30, rng)
        i, r = finite_erm(table(x, y, grid))
        j = int(rng.integers(31))
        approximation = risk(grid).min() - FLIP
        estimation = risk(grid[i]) - risk(grid).min()
        optimization = risk(grid[j]) - risk(grid[i])
        assert approximation > 0 and estimation >= 0
        assert np.isclose(approximation + estimation + optimization,
                          risk(grid[j]) - FLIP)


def check_gen_uniform():
    """Equation (gen-uniform) on 300 samples; it is not trivial, it comes within 3x."""
    rng = np.random.default_rng(2)
    ratios = []
    for _ in range(300):
        i, r = finite_erm(table(*draw(30, rng)))
        excess, sup = risk(GRID[i]) - FLIP, np.abs(r - risk(GRID)).max()
        assert excess <= 2 * sup + 1e-12
        ratios.append(excess / (2 * sup))
    assert max(ratios) > 1 / 3


def check_gen_hoeffding():
    """Equation (gen-hoeffding) against exact binomial tails."""
    from math import comb

    closest = 0.0
    for n in (10, 50, 200):
        for p in (0.1, 0.3, 0.5):
            k = np.arange(n + 1)
            pmf = np.array([comb(n, int(j)) * p**int(j) * (1 - p) ** int(n - j)
                            for j in k])
            for eps in (0.05, 0.1, 0.2, 0.3):
                tail = pmf[np.abs(k / n - p) >= eps - 1e-12].sum()
                bound = 2 * np.exp(-2 * n * eps**2)
                assert tail <= bound + 1e-12
                closest = max(closest, tail / min(bound, 1))
    assert closest > 0.3


def check_gen_union():
    """Equation (gen-union): coverage for 200 random predictors, and why M is needed."""
    rng = np.random.default_rng(4)
    n, m, delta, repeats = 100, 200, 0.05, 1000
    worst = np.abs(rng.binomial(n, 0.5, size=(repeats, m)) / n - 0.5).max(axis=1)
    assert np.mean(worst <= hoeffding_width(n, m, delta)) >= 1 - delta
    assert np.mean(worst <= hoeffding_width(n, 1, delta)) < 0.5


def check_gen_no_free_lunch():
    """Equation (gen-no-free-lunch) for three learners, all 256 targets."""
    targets = list(itertools.product((0, 1), repeat=DOMAIN))
    for rule in (lambda v: v, lambda v: 1 - v, lambda v: 1):
        assert np.isclose(np.mean([unseen_error(rule, t) for t in targets]), 0.5)

    def majority(target):
        guess = int(sum(target[i] for i in SEEN) >= 2)
        return np.mean([guess != target[i] for i in (1, 3, 5, 7)])

    assert np.isclose(np.mean([majority(t) for t in targets]), 0.5)
    groups = by_changes()
    for c, errors in groups.items():
        assert np.allclose(np.mean(errors, axis=0), (c / 7, 1 - c / 7))
    assert len(groups[0]) == 2 and len(groups[3]) == 70


def check_worked_numbers():
    """The worked example: widths, the three-point world, the vacuous network bound."""
    assert round(hoeffding_width(1000), 4) == 0.0429
    assert round(hoeffding_width(1000, 100), 4) == 0.0644
    assert round(1.96 * np.sqrt(0.1 * 0.9 / 1000), 4) == 0.0186
    copy, contradict = [], []
    for t in itertools.product((0, 1), repeat=3):
        copy.append(t[1] != t[2])
        contradict.append(1 - t[1] != t[2])
    assert np.mean(copy) == np.mean(contradict) == 0.5
    rising = [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)]
    assert np.mean([t[1] != t[2] for t in rising]) == 0.25
    log_m = 32 * 1e6 * np.log(2)
    width = np.sqrt((log_m + np.log(2 / 0.05)) / (2 * 50000))
    assert round(float(width), 1) == 14.9
    x, y = np.array([0.1, 0.3, 0.5, 0.6, 0.9]), np.array([0, 1, 0, 1, 1])
    _, r = finite_erm(table(x, y, np.array([0.0, 0.2, 0.4, 0.55, 0.7, 1.0])))
    assert np.allclose(r, [0.4, 0.2, 0.4, 0.2, 0.4, 0.6])


def check_figure_numbers():
    """Numbers in the figure's text."""
    x, y = draw(25, np.random.default_rng(SEED))
    i, r = finite_erm(table(x, y))
    c = learning_curve([5, 10, 20, 50, 100, 200, 500, 1000])
    assert np.allclose((GRID[i], r[i], risk(GRID[i])), (0.3, 0.04, 0.18))
    assert np.allclose(c[[0, 3]], [(0.056, 0.243), (0.099, 0.118)], atol=5e-4)
    assert np.all(c[:, 0] < FLIP + 0.002) and np.all(c[:, 1] >= FLIP)
    assert np.all(np.diff(c[:, 1]) < 0)


def check_numpy_torch():
    """Both versions of ERM give the same risks and winner."""
    x, y = draw(60, np.random.default_rng(5))
    models = [Threshold(float(t)) for t in GRID]
    losses = zero_one_losses(models, torch.tensor(x)[:, None], torch.tensor(y))
    i, r = finite_erm(table(x, y))
    j, s = finite_erm_torch(losses)
    assert i == j and np.allclose(r, s.numpy(), atol=1e-12)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
