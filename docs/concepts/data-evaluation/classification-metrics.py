"""Twin of the page on classification metrics: rates, F scores, ROC, AUC, precision-recall."""

from itertools import product
from math import erf, sqrt

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def decision_metrics(y, pred):
    """Rates of one decision rule. y, pred: (n,) arrays of 0 and 1, 1 = positive.

    An undefined ratio (0/0) is returned as nan, not as 0 or 1.
    """
    tp = np.sum((y == 1) & (pred == 1))
    fp = np.sum((y == 0) & (pred == 1))
    fn = np.sum((y == 1) & (pred == 0))
    tn = np.sum((y == 0) & (pred == 0))

    def ratio(a, b):
        return a / b if b else float("nan")

    return {
        "accuracy": (tp + tn) / len(y),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "fpr": ratio(fp, fp + tn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
    }


def counts_by_threshold(y, score):
    """TP and FP when everything with score >= threshold is called positive.

    Returns two arrays that start at 0 (nothing is positive) and have one entry
    for each distinct score, from high to low. Equal scores enter together.
    """
    order = np.argsort(-score, kind="stable")
    y, score = y[order], score[order]
    last_of_tie = np.append(np.diff(score) != 0, True)
    tp = np.append(0, np.cumsum(y)[last_of_tie])
    fp = np.append(0, np.cumsum(1 - y)[last_of_tie])
    return tp, fp


def roc_auc(y, score):
    """Area under the ROC curve by the trapezoidal rule, which is exact here."""
    tp, fp = counts_by_threshold(y, score)
    tpr, fpr = tp / tp[-1], fp / fp[-1]
    return np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2)


def average_precision(y, score):
    """Sum of precision times the step in recall; no interpolation."""
    tp, fp = counts_by_threshold(y, score)
    precision = tp[1:] / (tp[1:] + fp[1:])
    return np.sum(np.diff(tp / tp[-1]) * precision)


# --8<-- [end:numpy]


# --8<-- [start:torch]
def roc_auc_pairs(y, score):
    """AUC as the share of (positive, negative) pairs in the right order.

    y: (n,) of 0 and 1, score: (n,). Memory grows with positives x negatives.
    """
    pos, neg = score[y == 1], score[y == 0]
    diff = pos[:, None] - neg[None, :]
    return ((diff > 0).double() + 0.5 * (diff == 0).double()).mean()


def average_precision_pairs(y, score):
    """Mean over the positives of the precision at their own score."""
    pos = score[y == 1]
    called = score[None, :] >= pos[:, None]             # (positives, n)
    true = called[:, y == 1].sum(dim=1)
    return (true.double() / called.sum(dim=1)).mean()


# --8<-- [end:torch]

# The worked example: ten examples, already sorted by score.
SCORE = np.array([0.95, 0.85, 0.75, 0.65, 0.55, 0.45, 0.35, 0.25, 0.15, 0.05])
LABEL = np.array([1, 1, 0, 1, 0, 0, 1, 0, 0, 0])


def _phi(x):
    """Standard normal distribution function."""
    return np.vectorize(lambda t: 0.5 * (1 + erf(t / sqrt(2))))(x)


def _precision(prevalence, tpr, fpr):
    return prevalence * tpr / (prevalence * tpr + (1 - prevalence) * fpr)


def figure_curves():
    """Scores of two classes; one ROC curve; precision-recall curves at three prevalences."""
    tau = np.linspace(-3.5, 6, 400)
    tpr, fpr = 1 - _phi(tau - 2), 1 - _phi(tau)
    cut = 1.5
    cut_tpr, cut_fpr = 1 - _phi(cut - 2), 1 - _phi(cut)
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.7))
    ax = axes[0]
    density = np.exp(-0.5 * tau**2) / sqrt(2 * np.pi)
    ax.plot(tau, density, color="C0", ls="-")
    ax.plot(tau, np.exp(-0.5 * (tau - 2) ** 2) / sqrt(2 * np.pi), color="C1", ls="--")
    ax.text(0.2, 0.42, "negatives", color="C0", fontsize=9, ha="right")
    ax.text(1.8, 0.42, "positives", color="C1", fontsize=9, ha="left")
    ax.axvline(cut, ymax=0.8, color="C5", lw=1)
    ax.set_xlabel("score")
    ax.set_ylabel("density in the class")
    ax.set_ylim(0, 0.48)
    ax.set_yticks([0, 0.2, 0.4])
    ax = axes[1]
    ax.plot(fpr, tpr, color="C0")
    ax.plot([0, 1], [0, 1], color="C5", lw=1, ls=":")
    ax.plot(cut_fpr, cut_tpr, "o", color="C5", ms=6)
    ax.set_xlabel("false positive rate")
    ax.set_ylabel("true positive rate")
    ax = axes[2]
    for pi, style, x, y in ((0.5, "-", 0.42, 0.83), (0.1, "--", 0.62, 0.66),
                            (0.01, "-.", 0.36, 0.31)):
        ok = tpr > 1e-4
        line, = ax.plot(tpr[ok], _precision(pi, tpr[ok], fpr[ok]), style)
        ax.text(x, y, f"{pi:.0%}", color=line.get_color(), fontsize=9)
        ax.plot(cut_tpr, _precision(pi, cut_tpr, cut_fpr), "o", color="C5", ms=6)
    ax.set_xlabel("recall")
    ax.set_ylabel("precision")
    ax.set_ylim(0, 1.03)
    return fig


def figure_pairs():
    """The AUC of the worked example as the share of cells under the staircase."""
    pos, neg = SCORE[LABEL == 1], SCORE[LABEL == 0]
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9))
    ax = axes[0]
    for i, p in enumerate(pos):
        for j, q in enumerate(neg):
            good = p > q
            ax.text(j + 0.5, i + 0.5, "+" if good else "–", ha="center", va="center",
                    fontsize=13, color="C0" if good else "C1", weight="bold")
    tp, fp = counts_by_threshold(LABEL, SCORE)
    ax.plot(fp, tp, color="C0", lw=2)
    ax.set_xticks(np.arange(6) + 0.5, [f"{q:.2f}" for q in neg], fontsize=9)
    ax.set_yticks(np.arange(4) + 0.5, [f"{p:.2f}" for p in pos], fontsize=9)
    ax.set_xlim(-0.05, 6)
    ax.set_ylim(0, 4.05)
    ax.set_xlabel("score of the negative")
    ax.set_ylabel("score of the positive")
    ax.grid(False)
    ax = axes[1]
    recall, precision = tp[1:] / 4, tp[1:] / (tp[1:] + fp[1:])
    ax.step(np.append(0, recall), np.append(precision[0], precision), where="pre", color="C1",
            lw=2)
    ax.plot(recall, precision, "o", color="C1", ms=4)
    ax.axhline(0.4, color="C5", lw=1, ls=":")
    ax.text(0.02, 0.33, "prevalence 0.4", fontsize=9)
    ax.set_ylim(0, 1.05)
    ax.set_xlabel("recall")
    ax.set_ylabel("precision")
    return fig


def _random(seed=0, n=60, ties=True):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(int)
    score = rng.normal(y, 1.0)
    return y, np.round(score, 1) if ties else score


def check_clf_rates():
    """Equation (clf-rates): against a loop over examples, and F1 as a harmonic mean."""
    y, s = _random()
    pred = (s >= 0.5).astype(int)
    got = decision_metrics(y, pred)
    cells = {(a, b): 0 for a in (0, 1) for b in (0, 1)}
    for a, b in zip(y, pred, strict=True):
        cells[int(a), int(b)] += 1
    tp, fp, fn, tn = cells[1, 1], cells[0, 1], cells[1, 0], cells[0, 0]
    assert min(tp, fp, fn, tn) > 0
    assert np.isclose(got["precision"], tp / (tp + fp))
    assert np.isclose(got["recall"], tp / (tp + fn))
    assert np.isclose(got["fpr"], fp / (fp + tn))
    assert np.isclose(got["accuracy"], (tp + tn) / len(y))
    none = decision_metrics(y, np.zeros_like(y))
    assert np.isnan(none["precision"]) and none["recall"] == 0 and none["f1"] == 0


def check_clf_fbeta():
    """Equation (clf-fbeta): weighted harmonic mean = counts; limits; F1 ignores TN."""
    rng = np.random.default_rng(1)
    for tp, fp, fn in rng.integers(1, 50, (20, 3)):
        p, r = tp / (tp + fp), tp / (tp + fn)
        for beta in (0.5, 1.0, 2.0):
            b2 = beta**2
            by_counts = (1 + b2) * tp / ((1 + b2) * tp + b2 * fn + fp)
            assert np.isclose((1 + b2) * p * r / (b2 * p + r), by_counts)
            assert np.isclose((1 + b2) / (1 / p + b2 / r), by_counts)
        f1 = 2 * tp / (2 * tp + fp + fn)
        assert np.isclose(f1, 2 / (1 / p + 1 / r)) and f1 <= (p + r) / 2 + 1e-12
    y, s = _random()
    pred = (s >= 0.5).astype(int)
    more = decision_metrics(np.append(y, np.zeros(1000, int)), np.append(pred, np.zeros(1000)))
    assert np.isclose(more["f1"], decision_metrics(y, pred)["f1"])
    assert more["accuracy"] > decision_metrics(y, pred)["accuracy"] + 0.1


def check_clf_prevalence():
    """Equation (clf-prevalence): from counts, in odds form, and by sampling to 0.01."""
    y, s = _random()
    m = decision_metrics(y, (s >= 0.5).astype(int))
    pi, tpr, fpr = y.mean(), m["recall"], m["fpr"]
    assert np.isclose(m["precision"], _precision(pi, tpr, fpr))
    odds = m["precision"] / (1 - m["precision"])
    assert np.isclose(odds, pi / (1 - pi) * tpr / fpr)
    assert np.isclose(m["accuracy"], pi * tpr + (1 - pi) * (1 - fpr))
    rng = np.random.default_rng(0)
    y = (rng.random(400_000) < 0.02).astype(int)
    pred = (rng.random(400_000) < np.where(y == 1, 0.9, 0.05)).astype(int)
    assert abs(decision_metrics(y, pred)["precision"] - _precision(0.02, 0.9, 0.05)) < 0.01


def check_clf_auc():
    """Equation (clf-auc): area = pairs, with ties; unchanged by monotone maps and prevalence."""
    for seed in range(5):
        y, s = _random(seed)
        assert len(np.unique(s)) < len(s)
        pos, neg = s[y == 1], s[y == 0]
        pairs = np.mean([(a > b) + 0.5 * (a == b) for a in pos for b in neg])
        assert np.isclose(roc_auc(y, s), pairs)
        assert np.isclose(roc_auc(y, np.exp(3 * s)), pairs)
        assert np.isclose(roc_auc(y, -s), 1 - pairs)
        again = np.repeat(np.arange(len(y)), np.where(y == 1, 1, 20))   # 20 x the negatives
        assert np.isclose(roc_auc(y[again], s[again]), pairs)
        assert average_precision(y[again], s[again]) < average_precision(y, s) - 0.05


def check_clf_auc_variance():
    """Equation (clf-auc-variance): against 20,000 simulated test sets, to 4 %."""
    rng = np.random.default_rng(0)
    n_pos, n_neg, shift = 8, 12, 1.0
    pos = rng.normal(shift, 1, (20_000, n_pos))
    neg = rng.normal(0, 1, (20_000, n_neg))
    aucs = (pos[:, :, None] > neg[:, None, :]).mean(axis=(1, 2))
    a = float(_phi(shift / sqrt(2)))
    x, x2 = rng.normal(shift, 1, (2, 1_000_000))
    z, z2 = rng.normal(0, 1, (2, 1_000_000))
    q1, q2 = np.mean((x > z) & (x2 > z)), np.mean((x > z) & (x > z2))
    var = (a * (1 - a) + (n_pos - 1) * (q1 - a**2) + (n_neg - 1) * (q2 - a**2)) / n_pos / n_neg
    assert abs(aucs.mean() - a) < 0.005
    assert abs(aucs.var() / var - 1) < 0.04
    assert a * (1 - a) / (n_pos * n_neg) < 0.3 * var     # pairs are far from independent


def check_clf_average_precision():
    """Equation (clf-average-precision): both sums agree; random ranking gives the prevalence."""
    for seed in range(5):
        y, s = _random(seed)
        per_positive = [np.mean(y[s >= t]) for t in s[y == 1]]
        assert np.isclose(average_precision(y, s), np.mean(per_positive))
        assert not np.isclose(average_precision(y, s), average_precision(1 - y, -s))
    rng = np.random.default_rng(0)
    y = (np.arange(2000) < 100).astype(int)
    aps = [average_precision(y, rng.random(2000)) for _ in range(200)]
    aucs = [roc_auc(y, rng.random(2000)) for _ in range(200)]
    assert abs(np.mean(aps) - 0.05) < 0.005 and abs(np.mean(aucs) - 0.5) < 0.01


def check_clf_pr_interpolation():
    """Equation (clf-pr-interpolation): mixing two rules; the straight line is too high."""
    tp_a, fp_a, tp_b, fp_b = 20, 5, 60, 90
    rng = np.random.default_rng(0)
    for u in (0.25, 0.5, 0.75):
        tp, fp = tp_a + u * (tp_b - tp_a), fp_a + u * (fp_b - fp_a)
        line = (1 - u) * tp_a / (tp_a + fp_a) + u * tp_b / (tp_b + fp_b)
        assert tp / (tp + fp) < line - 0.02
        use_b = rng.random((4000, 100 + 100)) < u      # each example: rule B with chance u
        pos_a, pos_b = np.arange(100) < tp_a, np.arange(100) < tp_b
        neg_a, neg_b = np.arange(100) < fp_a, np.arange(100) < fp_b
        got_tp = np.where(use_b[:, :100], pos_b, pos_a).sum()
        got_fp = np.where(use_b[:, 100:], neg_b, neg_a).sum()
        assert abs(got_tp / (got_tp + got_fp) - tp / (tp + fp)) < 0.005


def check_clf_cost_threshold():
    """Equation (clf-cost-threshold): the best of all 1024 rules on ten kinds of input."""
    rng = np.random.default_rng(0)
    weight, p = rng.dirichlet(np.ones(10)), rng.random(10)
    rules = np.array(list(product((0, 1), repeat=10)))
    for c_fp, c_fn in ((1, 1), (1, 9), (3, 1)):
        cost = rules @ (weight * (1 - p) * c_fp) + (1 - rules) @ (weight * p * c_fn)
        assert np.array_equal(rules[cost.argmin()], (p > c_fp / (c_fp + c_fn)).astype(int))


def check_clf_f1_threshold():
    """Equation (clf-f1-threshold): the best F1 of all 1024 rules cuts at half its value."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        weight, p = rng.dirichlet(np.ones(10)), rng.random(10) ** 2
        rules = np.array(list(product((0, 1), repeat=10)))
        tp = rules @ (weight * p)
        f1 = 2 * tp / (rules @ weight + weight @ p)
        best = f1.max()
        assert np.array_equal(rules[f1.argmax()], (p > best / 2).astype(int))
    f1_all = 2 * 0.01 / (1 + 0.01)                      # a useless score: call all positive
    assert f1_all > 2 * 0.01 * 0.5 / (0.5 + 0.01) and np.isclose(f1_all, 0.0198, atol=5e-5)


def check_numpy_vs_torch():
    """Sorting (NumPy) and pairs (PyTorch) agree to 1e-12, with and without ties."""
    for seed in range(5):
        for ties in (True, False):
            y, s = _random(seed, ties=ties)
            ty, ts = torch.from_numpy(y), torch.from_numpy(s)
            assert abs(roc_auc(y, s) - roc_auc_pairs(ty, ts).item()) < 1e-12
            assert abs(average_precision(y, s) - average_precision_pairs(ty, ts).item()) < 1e-12


def check_worked_example():
    """Every number of the worked example."""
    m = decision_metrics(LABEL, (SCORE >= 0.5).astype(int))
    assert np.isclose(m["precision"], 0.6) and np.isclose(m["recall"], 0.75)
    assert np.isclose(m["fpr"], 1 / 3) and np.isclose(m["accuracy"], 0.7)
    assert np.isclose(m["f1"], 2 / 3)
    assert np.isclose(roc_auc(LABEL, SCORE), 20 / 24)
    assert np.isclose(average_precision(LABEL, SCORE), (1 + 1 + 3 / 4 + 4 / 7) / 4)
    assert np.isclose(average_precision(LABEL, SCORE), 0.830, atol=5e-4)
    f1 = [decision_metrics(LABEL, (SCORE >= t).astype(int))["f1"] for t in SCORE]
    assert np.argmax(f1) == 3 and np.isclose(max(f1), 0.75)
    assert np.isclose(f1[6], 8 / 11) and np.isclose(f1[1], 4 / 6)
    assert np.isclose(_precision(0.01, 0.75, 1 / 3), 0.0222, atol=5e-5)
    assert np.isclose(sqrt(0.75 * 0.25 / 4), 0.217, atol=5e-4)


def check_figure_numbers():
    """Numbers quoted with the first figure and in the text."""
    tpr, fpr = float(1 - _phi(-0.5)), float(1 - _phi(1.5))
    assert np.allclose([tpr, fpr], [0.691, 0.067], atol=5e-4)
    got = [_precision(pi, tpr, fpr) for pi in (0.5, 0.1, 0.01)]
    assert np.allclose(got, [0.91, 0.53, 0.09], atol=6e-3)
    assert np.isclose(float(_phi(2 / sqrt(2))), 0.921, atol=5e-4)
    assert np.isclose(_precision(0.01, 0.9, 0.05), 0.154, atol=5e-4)
    # Accuracy at 1 % positives: a rule that never fires beats one with TPR 0.9, FPR 0.05.
    assert 0.01 * 0.9 + 0.99 * 0.95 < 0.99


def check_mean_over_batches():
    """The F1 score of the whole is not the mean of batch F1 scores."""
    y = np.array([1, 1, 1, 1, 0, 0, 1, 0])
    pred = np.array([1, 1, 1, 1, 1, 1, 0, 0])
    whole = decision_metrics(y, pred)["f1"]
    parts = [decision_metrics(y[i:i + 4], pred[i:i + 4])["f1"] for i in (0, 4)]
    assert np.isclose(whole, 8 / 11) and parts == [1.0, 0.0] and np.mean(parts) == 0.5


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
