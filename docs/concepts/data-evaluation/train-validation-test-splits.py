"""Twin of the page on data splits: selection optimism, cross-validation, leakage."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def group_folds(groups, k, seed=0):
    """Fold number 0..k-1 of every example; a group never spans two folds.

    groups: (n,) labels such as patient ids; pass np.arange(n) if examples are
    independent. Whole groups are shuffled, then each goes to the emptiest fold.
    """
    ids, counts = np.unique(groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(ids))
    order = order[np.argsort(-counts[order], kind="stable")]    # large groups first
    size, fold_of = np.zeros(k), {}
    for i in order:
        fold_of[ids[i]] = int(size.argmin())
        size[fold_of[ids[i]]] += counts[i]
    return np.array([fold_of[g] for g in groups])


def cross_validate(x, y, folds, penalty):
    """Squared errors (n,) of ridge regression on the folds that were left out.

    Everything fitted, here mean and scale too, is fitted inside the loop.
    """
    errors = np.empty(len(y))
    for j in np.unique(folds):
        train, held = folds != j, folds == j
        mean, scale = x[train].mean(axis=0), x[train].std(axis=0)
        z, center = (x[train] - mean) / scale, y[train].mean()
        gram = z.T @ z + penalty * np.eye(x.shape[1])
        w = np.linalg.solve(gram, z.T @ (y[train] - center))
        errors[held] = (y[held] - center - (x[held] - mean) / scale @ w) ** 2
    return errors


# --8<-- [end:numpy]


# --8<-- [start:torch]
def cross_validate_torch(x, y, folds, make_model, fit):
    """The same for any model: `make_model()` builds a fresh one for each fold,
    `fit(model, x, y)` trains it. x: (n, d), y: (n, 1), folds: (n,).
    """
    errors = torch.empty_like(y)
    for j in folds.unique():
        train, held = folds != j, folds == j
        mean = x[train].mean(dim=0)
        scale = x[train].std(dim=0, correction=0)
        model = make_model()            # new weights: nothing survives a fold
        fit(model, (x[train] - mean) / scale, y[train])
        model.eval()
        with torch.no_grad():
            errors[held] = (model((x[held] - mean) / scale) - y[held]) ** 2
    return errors


# --8<-- [end:torch]


def noise_cv(n=50, d=1000, keep=10, k=5, seed=0, leak=True):
    """CV accuracy of a nearest-mean classifier on pure noise after feature selection.

    leak: choose the features on all examples, before the folds are made.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, d)), np.tile([-1.0, 1.0], n // 2)
    folds = np.arange(n) // 2 % k

    def select(rows):
        return np.argsort(-np.abs(x[rows].T @ y[rows]))[:keep]

    columns, right = select(np.arange(n)), []
    for j in range(k):
        train, held = np.flatnonzero(folds != j), np.flatnonzero(folds == j)
        c = columns if leak else select(train)
        xs = x[:, c]
        up, down = xs[train][y[train] > 0].mean(0), xs[train][y[train] < 0].mean(0)
        score = (xs[held] - (up + down) / 2) @ (up - down)
        right.append((score > 0) == (y[held] > 0))
    return np.concatenate(right).mean()


def best_of(m, n=500, accuracy=0.8, repeats=4000, seed=0):
    """Mean validation accuracy of the best of m equally good models."""
    rng = np.random.default_rng(seed)
    return (rng.binomial(n, accuracy, size=(repeats, m)) / n).max(axis=1).mean()


def figure_schemes():
    """Which examples train (light), which are held out (hatched), in four schemes."""
    fig, axes = plt.subplots(4, 1, figsize=(6.4, 4.3), height_ratios=[1, 3, 3.55, 3])
    group = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 4, 5, 5])
    rows = {
        "holdout": ["tttttttvvTTT"],
        "3 folds": ["vttvttvttvtt", "tvttvttvttvt", "ttvttvttvttv"],
        "by group": ["".join("v" if g in s else "t" for g in group)
                     for s in ((0, 4), (2, 3), (1, 5))],
        "by time": ["tttvvv......", "ttttttvvv...", "tttttttttvvv"],
    }
    style = {"t": ("C0", "", 0.35), "v": ("C1", "///", 0.8), "T": ("C2", "xx", 0.8)}
    for ax, (name, lines) in zip(axes, rows.items()):
        for r, line in enumerate(lines):
            for c, ch in enumerate(line):
                if ch == ".":
                    continue
                color, hatch, alpha = style[ch]
                ax.barh(r, 0.92, left=c, height=0.8, color=color, hatch=hatch,
                        alpha=alpha, edgecolor="#222222", linewidth=0.6)
                if name == "by group" and r == 0:
                    ax.text(c + 0.46, -0.75, "ABCDEF"[group[c]], ha="center",
                            va="center", fontsize=9)
        top = -1.1 if name == "by group" else -0.55
        ax.set(xlim=(0, 12), ylim=(len(lines) - 0.45, top), xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        ax.grid(False)
        for s in ax.spines.values():
            s.set_visible(False)
    handles = [plt.Rectangle((0, 0), 1, 1, facecolor=c, hatch=h, alpha=a,
                             edgecolor="#222222")
               for c, h, a in style.values()]
    fig.legend(handles, ["train", "validation", "test"], loc="outside lower center",
               ncol=3, fontsize=9)
    axes[3].set_xlabel("examples (in the last scheme ordered in time)")
    return fig


def figure_optimism():
    """Best of M models on the validation set; feature selection inside or outside."""
    fig, (a, b) = plt.subplots(1, 2, figsize=(6.4, 3.0), width_ratios=[1.2, 1])
    m = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500])
    for n, style, color in ((200, "o-", "C0"), (2000, "s--", "C1")):
        a.semilogx(m, [best_of(int(k), n, repeats=1500) for k in m], style, color=color,
                   label=f"{n} validation examples")
    a.axhline(0.8, color="#444444", ls=":", lw=1.4, label="true accuracy of all")
    a.set(xlabel="models compared", ylabel="accuracy of the winner", ylim=(0.79, 0.92))
    a.legend(fontsize=9, loc="upper left")
    inside = [noise_cv(seed=s, leak=False) for s in range(60)]
    outside = [noise_cv(seed=s, leak=True) for s in range(60)]
    bins = np.linspace(0.2, 1.0, 21)
    b.hist(inside, bins, color="C0", alpha=0.6, label="inside the folds",
           edgecolor="#222222", linewidth=0.5)
    b.hist(outside, bins, color="C1", alpha=0.6, hatch="//", label="before the folds",
           edgecolor="#222222", linewidth=0.5)
    b.axvline(0.5, ymax=0.66, color="#444444", ls=":", lw=1.4)
    b.set(xlabel="cross-validated accuracy", ylabel="of 60 data sets", ylim=(0, 38))
    b.legend(fontsize=9, loc="upper left", title="features selected",
             title_fontsize=9)
    return fig


def check_split_selection():
    """Equation (split-selection): optimism of the winner, and the normal bound."""
    n, acc = 500, 0.8
    s = np.sqrt(acc * (1 - acc) / n)
    for m in (2, 10, 100):
        optimism = best_of(m, n) - acc
        assert 0 < optimism <= s * np.sqrt(2 * np.log(m))
        assert optimism > 0.6 * s * np.sqrt(2 * np.log(m)) * (m > 2)
    rng = np.random.default_rng(1)
    accs = np.array([0.78, 0.79, 0.80])
    scores = rng.binomial(200, accs, size=(20000, 3)) / 200
    assert scores.max(axis=1).mean() > accs.max() + 0.005


def check_split_paired():
    """Equation (split-paired): variance of a difference of accuracies, exactly."""
    rng = np.random.default_rng(2)
    joint = np.array([[0.82, 0.05], [0.03, 0.10]])   # rows: A right, wrong; columns: B
    d, p = np.array([0, 1, -1, 0]), joint.ravel()
    var = p @ d**2 - (p @ d) ** 2
    assert np.isclose(var, 0.05 + 0.03 - (0.05 - 0.03) ** 2)
    n = 400
    counts = rng.multinomial(n, p, size=200000)
    diff = (counts[:, 1] - counts[:, 2]) / n
    assert np.isclose(diff.var(), var / n, rtol=0.02)
    assert np.isclose(diff.mean(), 0.87 - 0.85, atol=1e-3)
    independent = (0.87 * 0.13 + 0.85 * 0.15) / n
    assert var / n < 0.4 * independent


def check_split_cv_mean():
    """Equation (split-cv-mean): CV estimates the risk at n - n/k examples."""
    rng = np.random.default_rng(3)
    n, k, sigma = 12, 3, 1.5
    y = sigma * rng.standard_normal((200000, n))
    folds = np.arange(n) % k
    total = np.zeros(len(y))
    for j in range(k):
        train = y[:, folds != j].mean(axis=1)
        total += ((y[:, folds == j] - train[:, None]) ** 2).sum(axis=1)
    m = n - n // k
    assert np.isclose((total / n).mean(), sigma**2 * (1 + 1 / m), rtol=0.005)
    assert not np.isclose((total / n).mean(), sigma**2 * (1 + 1 / n), rtol=0.02)


def check_split_cv_variance():
    """Equation (split-cv-variance), as algebra and for the mean of 12 numbers."""
    n, k = 12, 3
    block, folds = n // k, np.arange(n) % k
    s2, within, across = 2.0, 0.5, 0.3
    cov = np.where(folds[:, None] == folds[None, :], within, across).astype(float)
    np.fill_diagonal(cov, s2)
    exact = s2 / n + (block - 1) / n * within + (n - block) / n * across
    assert np.isclose(cov.sum() / n**2, exact)
    rng = np.random.default_rng(4)
    y = rng.standard_normal((200000, n))
    loss = np.empty_like(y)
    for j in range(k):
        train = y[:, folds != j].mean(axis=1, keepdims=True)
        loss[:, folds == j] = (y[:, folds == j] - train) ** 2
    c = np.cov(loss.T)
    same = (folds[:, None] == folds[None, :]) & ~np.eye(n, dtype=bool)
    other = folds[:, None] != folds[None, :]
    formula = (np.diag(c).mean() / n + (block - 1) / n * c[same].mean()
               + (n - block) / n * c[other].mean())
    assert np.isclose(loss.mean(axis=1).var(), formula, rtol=0.01)


def check_split_cv_naive():
    """Equation (split-cv-naive): the spread of the folds misses the covariance."""
    rng = np.random.default_rng(9)
    k, tau2, gamma = 5, 1.0, 0.4
    shared = np.sqrt(gamma) * rng.standard_normal((400000, 1))
    means = shared + np.sqrt(tau2 - gamma) * rng.standard_normal((400000, k))
    naive = means.var(axis=1, ddof=1).mean() / k
    true = means.mean(axis=1).var()
    assert np.isclose(naive, true - gamma, rtol=0.02) and true > 3 * naive


def check_split_loo():
    """Equation (split-loo): the shortcut against n refits."""
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((15, 4)), rng.standard_normal(15)
    hat = x @ np.linalg.pinv(x)
    short = (y - hat @ y) / (1 - np.diag(hat))
    long = [y[i] - x[i] @ np.linalg.lstsq(np.delete(x, i, 0), np.delete(y, i),
                                          rcond=None)[0] for i in range(15)]
    assert np.allclose(short, long)


def check_split_duplicates():
    """Equation (split-duplicates): 1-nearest-neighbor on random labels with copies."""
    rng = np.random.default_rng(6)
    n, share = 4000, 0.3
    x, y = rng.standard_normal((2000, 5)), rng.integers(0, 2, 2000)
    test, labels = rng.standard_normal((n, 5)), rng.integers(0, 2, n)
    copies = int(share * n)
    source = rng.integers(0, 2000, copies)
    test[:copies], labels[:copies] = x[source], y[source]
    guess = np.concatenate([
        y[((t[:, None, :] - x[None]) ** 2).sum(-1).argmin(1)]
        for t in np.array_split(test, 80)
    ])
    measured = np.mean(guess != labels)
    assert np.mean(guess[:copies] != labels[:copies]) == 0
    assert np.isclose(measured, (1 - share) * 0.5, atol=0.02)


def check_noise_experiment():
    """Feature selection before the folds makes noise look predictable."""
    inside = np.mean([noise_cv(seed=s, leak=False) for s in range(60)])
    outside = np.mean([noise_cv(seed=s, leak=True) for s in range(60)])
    assert round(outside, 2) == 0.87 and round(inside, 2) == 0.49


def check_worked_numbers():
    """The worked example and the numbers in the text."""
    y = np.array([1.0, 2.0, 3.0, 6.0])
    assert np.isclose(((y - y.mean()) ** 2).mean(), 3.5)
    loo = np.mean([(y[i] - np.delete(y, i).mean()) ** 2 for i in range(4)])
    assert np.isclose(loo, 6.222, atol=5e-4) and np.isclose(loo, 3.5 * 16 / 9)
    two = np.concatenate([(y[:2] - y[2:].mean()) ** 2, (y[2:] - y[:2].mean()) ** 2])
    assert np.allclose(two, [12.25, 6.25, 2.25, 20.25]) and two.mean() == 10.25
    n = 1.96**2 * 0.9 * 0.1 / 0.01**2
    assert 3457 < n < 3458
    s = np.sqrt(0.8 * 0.2 / 500)
    assert round(float(s), 4) == 0.0179
    assert round(best_of(100) - 0.8, 3) == 0.044
    assert round(float(s * np.sqrt(2 * np.log(100))), 3) == 0.054
    se = np.sqrt((0.05 + 0.03 - 0.02**2) / 1000)
    assert round(float(se), 4) == 0.0089
    plain = np.sqrt((0.87 * 0.13 + 0.85 * 0.15) / 1000)
    assert round(float(plain), 4) == 0.0155


def check_group_folds():
    """No group spans two folds, all folds are used, sizes are close."""
    rng = np.random.default_rng(7)
    groups = rng.integers(0, 40, 300)
    folds = group_folds(groups, 5)
    assert all(len(set(folds[groups == g])) == 1 for g in set(groups))
    sizes = np.bincount(folds)
    assert len(sizes) == 5 and sizes.max() - sizes.min() <= 12
    single = np.bincount(group_folds(np.arange(103), 5))
    assert single.max() - single.min() <= 1


def check_numpy_torch():
    """Ridge regression in both loops: the same held-out errors."""
    rng = np.random.default_rng(8)
    x = rng.standard_normal((60, 4)) * [1, 10, 0.1, 3] + 5
    y = x @ np.array([1.0, -0.2, 3.0, 0.5]) + rng.standard_normal(60)
    folds = group_folds(np.arange(60), 5)
    a = cross_validate(x, y, folds, penalty=2.0)

    def fit(model, x, y):
        center = y.mean()
        gram = x.T @ x + 2.0 * torch.eye(4, dtype=x.dtype)
        with torch.no_grad():
            model.weight[:] = torch.linalg.solve(gram, x.T @ (y - center)).T
            model.bias[:] = center

    b = cross_validate_torch(torch.tensor(x), torch.tensor(y)[:, None],
                             torch.tensor(folds),
                             lambda: torch.nn.Linear(4, 1, dtype=torch.float64), fit)
    assert np.allclose(a, b[:, 0].numpy(), atol=1e-10)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
