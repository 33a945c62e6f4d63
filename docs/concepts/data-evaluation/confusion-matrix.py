"""Twin of the page on the confusion matrix: counts, averages, kappa, MCC, class shift, costs."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def confusion_matrix(y, pred, k):
    """C[i, j] = examples of true class i predicted as j. y, pred: (n,) integers < k."""
    return np.bincount(k * y + pred, minlength=k * k).reshape(k, k)


def per_class(c):
    """Precision, recall and F1 of each class, one against the rest. c: (k, k) counts.

    A class without examples has recall nan, one never predicted has precision nan.
    """
    tp, true, called = np.diag(c), c.sum(axis=1), c.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return tp / called, tp / true, 2 * tp / (true + called)


def summary(c):
    """Accuracy, balanced accuracy, macro F1 and Cohen's kappa of a (k, k) matrix."""
    n = c.sum()
    accuracy = np.trace(c) / n
    chance = c.sum(axis=1) @ c.sum(axis=0) / n**2
    _, recall, f1 = per_class(c)
    return {
        "accuracy": accuracy,
        "balanced": recall.mean(),
        "macro_f1": f1.mean(),
        "kappa": (accuracy - chance) / (1 - chance),
    }


def reweight(c, prior):
    """Joint probabilities at other class frequencies, with the row shares kept."""
    return prior[:, None] * c / c.sum(axis=1, keepdims=True)


# --8<-- [end:numpy]


# --8<-- [start:torch]
def confusion_matrix_torch(y, logits):
    """The same from labels (n,) and logits (n, k), as a product of one-hot matrices.

    Add the result over batches: counts are additive, metrics are not.
    """
    k = logits.shape[1]
    true = torch.nn.functional.one_hot(y, k)
    pred = torch.nn.functional.one_hot(logits.argmax(dim=1), k)
    return true.T @ pred


# --8<-- [end:torch]

# The worked example: rows are true classes a, b, c.
C = np.array([[90, 8, 2], [10, 38, 2], [3, 3, 4]])


def mcc(tp, fp, fn, tn):
    """Matthews correlation coefficient of a 2 x 2 table."""
    return (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))


def _random(seed=0, k=4, n=300):
    rng = np.random.default_rng(seed)
    y = rng.choice(k, n, p=np.array([0.5, 0.3, 0.15, 0.05]))
    known = rng.random(n) < np.array([0.8, 0.6, 0.5, 0.3])[y]
    pred = np.where(known, y, rng.integers(0, k, n))
    return y, pred, k


def figure_views():
    """The same matrix as counts, as shares of rows and as shares of columns."""
    views = ((C, "counts", "{:.0f}"),
             (C / C.sum(axis=1, keepdims=True), "rows sum to 1", "{:.2f}"),
             (C / C.sum(axis=0, keepdims=True), "columns sum to 1", "{:.2f}"))
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.5))
    for ax, (m, label, fmt) in zip(axes, views, strict=True):
        ax.imshow(m, vmin=0, vmax=m.max())
        for i, j in product(range(3), range(3)):
            dark = m[i, j] < 0.55 * m.max()
            ax.text(j, i, fmt.format(m[i, j]), ha="center", va="center", fontsize=10,
                    color="white" if dark else "black")
        ax.set_xticks(range(3), "abc")
        ax.set_yticks(range(3), "abc")
        ax.set_xlabel(f"predicted\n({label})")
        ax.grid(False)
    axes[0].set_ylabel("true class")
    return fig


def _scores(pi, tpr, fpr):
    """Accuracy, F1, MCC, kappa for given rates at prevalence pi."""
    tp, fn, fp, tn = pi * tpr, pi * (1 - tpr), (1 - pi) * fpr, (1 - pi) * (1 - fpr)
    acc = tp + tn
    chance = pi * (tp + fp) + (1 - pi) * (fn + tn)
    return acc, 2 * tp / (2 * tp + fp + fn), mcc(tp, fp, fn, tn), (acc - chance) / (1 - chance)


def figure_prevalence():
    """Five summaries of the same two rates while the class frequencies change."""
    pi = np.geomspace(0.001, 0.5, 200)
    acc, f1, m, kappa = _scores(pi, 0.8, 0.05)
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    lines = ((acc, "accuracy", "-", "C0"), (np.full_like(pi, 0.875), "balanced accuracy",
             (0, (6, 2)), "C3"), (m, "MCC", "--", "C2"), (f1, "F1", "-.", "C1"),
             (kappa, "kappa", ":", "C5"))
    for values, label, style, color in lines:
        ax.plot(pi, values, ls=style, color=color, label=label)
    ax.set_xscale("log")
    ax.set_xticks([0.001, 0.01, 0.1, 0.5], ["0.1%", "1%", "10%", "50%"])
    ax.set_xlabel("share of positives")
    ax.set_ylabel("value")
    ax.set_ylim(0, 1.02)
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def check_confusion_definition():
    """Equation (confusion-definition): a loop, the one-hot product, additivity."""
    y, pred, k = _random()
    c = confusion_matrix(y, pred, k)
    loop = np.zeros((k, k), int)
    for a, b in zip(y, pred, strict=True):
        loop[a, b] += 1
    assert np.array_equal(c, loop) and c.sum() == len(y)
    assert np.array_equal(np.eye(k, dtype=int)[y].T @ np.eye(k, dtype=int)[pred], c)
    assert not np.array_equal(c, c.T)
    halves = confusion_matrix(y[:99], pred[:99], k) + confusion_matrix(y[99:], pred[99:], k)
    assert np.array_equal(halves, c)


def check_confusion_per_class():
    """Equation (confusion-per-class): against the binary problem of each class."""
    y, pred, k = _random()
    c = confusion_matrix(y, pred, k)
    precision, recall, f1 = per_class(c)
    for i in range(k):
        tp = np.sum((y == i) & (pred == i))
        fp = np.sum((y != i) & (pred == i))
        fn = np.sum((y == i) & (pred != i))
        tn = np.sum((y != i) & (pred != i))
        assert tp == c[i, i] and fn == c[i].sum() - tp and fp == c[:, i].sum() - tp
        assert tn == c.sum() - tp - fn - fp
        assert np.isclose(precision[i], tp / (tp + fp))
        assert np.isclose(recall[i], tp / (tp + fn))
        assert np.isclose(f1[i], 2 * tp / (2 * tp + fp + fn))


def check_confusion_averages():
    """Equation (confusion-averages): accuracy weights recalls by frequency."""
    y, pred, k = _random()
    c = confusion_matrix(y, pred, k)
    _, recall, f1 = per_class(c)
    pi = np.bincount(y, minlength=k) / len(y)
    assert np.isclose(np.mean(y == pred), pi @ recall)
    s = summary(c)
    assert np.isclose(s["accuracy"], pi @ recall) and np.isclose(s["balanced"], recall.mean())
    assert abs(s["accuracy"] - s["balanced"]) > 0.01
    constant = summary(confusion_matrix(y, np.zeros_like(y), k))      # always class 0
    assert np.isclose(constant["balanced"], 1 / k) and np.isclose(constant["kappa"], 0)


def check_confusion_micro():
    """Equation (confusion-micro): micro precision = recall = F1 = accuracy; not for subsets."""
    for seed in range(5):
        y, pred, k = _random(seed)
        c = confusion_matrix(y, pred, k)
        tp = np.diag(c)
        fp, fn = c.sum(axis=0) - tp, c.sum(axis=1) - tp
        acc = np.mean(y == pred)
        assert fp.sum() == fn.sum() == np.sum(y != pred)
        assert np.isclose(tp.sum() / (tp + fp).sum(), acc)
        assert np.isclose(tp.sum() / (tp + fn).sum(), acc)
        assert np.isclose(2 * tp.sum() / (2 * tp + fp + fn).sum(), acc)
        part = slice(1, None)                              # leave out a background class
        assert not np.isclose(2 * tp[part].sum() / (2 * tp + fp + fn)[part].sum(), acc)


def check_confusion_kappa():
    """Equation (confusion-kappa): zero in expectation for guessing, one for perfection."""
    rng = np.random.default_rng(0)
    y, pred, k = _random()
    values = [summary(confusion_matrix(y, rng.permutation(pred), k))["kappa"]
              for _ in range(1000)]
    assert abs(np.mean(values)) < 0.004 and np.std(values) > 0.01
    assert np.isclose(summary(confusion_matrix(y, y, k))["kappa"], 1)
    shuffled = [mcc(c[1, 1], c[0, 1], c[1, 0], c[0, 0]) for c in (
        confusion_matrix((y > 0).astype(int), (rng.permutation(pred) > 0).astype(int), 2)
        for _ in range(1000))]
    assert abs(np.mean(shuffled)) < 0.006
    accs = [np.mean(y == rng.permutation(pred)) for _ in range(1000)]
    chance = confusion_matrix(y, pred, k).sum(1) @ confusion_matrix(y, pred, k).sum(0) / 300**2
    assert abs(np.mean(accs) - chance) < 0.004


def check_confusion_mcc():
    """Equation (confusion-mcc): Pearson correlation of two 0/1 variables; the rates form."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        y = (rng.random(80) < 0.3).astype(int)
        pred = np.where(rng.random(80) < 0.7, y, 1 - y)
        (tn, fp), (fn, tp) = confusion_matrix(y, pred, 2)
        value = mcc(tp, fp, fn, tn)
        assert np.isclose(value, np.corrcoef(y, pred)[0, 1])
        tpr, tnr = tp / (tp + fn), tn / (tn + fp)
        ppv, npv = tp / (tp + fp), tn / (tn + fn)
        informedness, markedness = tpr + tnr - 1, ppv + npv - 1
        assert np.isclose(value**2, informedness * markedness)
        assert np.isclose(value, mcc(tn, fn, fp, tp))        # swapping the classes


def check_confusion_shift():
    """Equation (confusion-shift): precision at other frequencies, by resampling, to 0.01."""
    rng = np.random.default_rng(0)
    share = C / C.sum(axis=1, keepdims=True)
    prior = np.array([0.2, 0.3, 0.5])
    y = rng.choice(3, 200_000, p=prior)
    pred = (rng.random(200_000)[:, None] > share.cumsum(axis=1)[y]).sum(axis=1)
    joint = reweight(C, prior)
    assert np.isclose(joint.sum(), 1)
    sampled = confusion_matrix(y, pred, 3)
    assert np.allclose(sampled / 200_000, joint, atol=0.004)
    assert np.allclose(per_class(sampled)[0], np.diag(joint) / joint.sum(axis=0), atol=0.01)


def check_confusion_prior_estimate():
    """Equation (confusion-prior-estimate): class frequencies from unlabeled predictions."""
    rng = np.random.default_rng(1)
    share = C / C.sum(axis=1, keepdims=True)
    prior = np.array([0.2, 0.3, 0.5])
    called = share.T @ prior
    assert np.allclose(called, [0.390, 0.394, 0.216], atol=5e-4)
    assert np.allclose(np.linalg.solve(share.T, called), prior)
    observed = rng.multinomial(100_000, called) / 100_000       # what is seen without labels
    assert np.allclose(np.linalg.solve(share.T, observed), prior, atol=0.02)
    assert np.abs(observed - prior).max() > 0.15                # counting predictions is biased


def check_confusion_cost():
    """Equations (confusion-cost, confusion-cost-decision): the best of all 3**6 rules."""
    rng = np.random.default_rng(0)
    cost = np.array([[0.0, 1, 5], [2, 0, 1], [8, 3, 0]])
    weight, p = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(3), 6)
    rules = np.array(list(product(range(3), repeat=6)))
    expected = (weight[:, None] * (p @ cost))[np.arange(6), rules].sum(axis=1)
    best = rules[expected.argmin()]
    assert np.array_equal(best, (p @ cost).argmin(axis=1))
    assert not np.array_equal(best, p.argmax(axis=1))
    joint = np.zeros((3, 3))
    for m in range(6):
        joint[:, best[m]] += weight[m] * p[m]
    assert np.isclose((joint * cost).sum(), expected.min())


check_confusion_cost_decision = check_confusion_cost


def check_worked_example():
    """Every number of the worked example."""
    s = summary(C)
    precision, recall, f1 = per_class(C)
    assert C.sum() == 160 and np.trace(C) == 132 and np.isclose(s["accuracy"], 0.825)
    assert np.allclose(recall, [0.9, 0.76, 0.4])
    assert np.allclose(precision, [0.874, 0.776, 0.5], atol=5e-4)
    assert np.allclose(f1, [0.887, 0.768, 0.444], atol=5e-4)
    assert np.isclose(s["balanced"], 0.687, atol=5e-4)
    assert np.isclose(s["macro_f1"], 0.700, atol=5e-4)
    weighted = C.sum(axis=1) @ f1 / 160
    assert np.isclose(weighted, 0.822, atol=5e-4)
    p, r = precision.mean(), recall.mean()
    assert np.isclose(2 * p * r / (p + r), 0.701, atol=5e-4)
    assert 100 * 103 + 50 * 49 + 10 * 8 == 12830
    assert np.isclose(12830 / 160**2, 0.501, atol=5e-4)
    assert np.isclose(s["kappa"], 0.649, atol=5e-4)
    joint = reweight(C, np.ones(3) / 3)
    assert np.allclose(np.diag(joint) / joint.sum(axis=0), [0.643, 0.667, 0.870], atol=5e-4)
    assert np.isclose(np.sqrt(0.4 * 0.6 / 10), 0.155, atol=5e-4)
    assert np.isclose(np.sqrt(0.9 * 0.1 / 100), 0.03)
    tp, fn, fp = C[0, 0], C[0, 1:].sum(), C[1:, 0].sum()
    assert (tp, fn, fp) == (90, 10, 13) and 160 - tp - fn - fp == 47
    assert np.isclose(mcc(90, 13, 10, 47), 0.691, atol=5e-4)


def check_figure_numbers():
    """Numbers quoted with the prevalence figure."""
    at = {pi: np.array(_scores(pi, 0.8, 0.05)) for pi in (0.5, 0.01, 0.001)}
    assert np.allclose(at[0.5], [0.875, 0.865, 0.759, 0.75], atol=6e-4)
    assert np.allclose(at[0.01], [0.9485, 0.237, 0.321, 0.224], atol=6e-4)
    assert at[0.001][1] < 0.035 and at[0.001][0] > 0.949


def check_numpy_vs_torch():
    """Counts from integer codes equal the one-hot product exactly."""
    rng = np.random.default_rng(0)
    y, logits = rng.integers(0, 5, 200), rng.normal(0, 1, (200, 5))
    ours = confusion_matrix(y, logits.argmax(axis=1), 5)
    theirs = confusion_matrix_torch(torch.from_numpy(y), torch.from_numpy(logits))
    assert np.array_equal(ours, theirs.numpy())


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
