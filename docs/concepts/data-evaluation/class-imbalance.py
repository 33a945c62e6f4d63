"""Twin of the page on class imbalance: weights, resampling, prior correction, thresholds."""

from itertools import product
from math import erf, sqrt

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def softmax(z):
    """Softmax over the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def balanced_weights(counts):
    """w_k = n / (K n_k): every class gets the same total weight n / K."""
    return counts.sum() / (len(counts) * counts)


def weighted_cross_entropy(z, y, w):
    """Weighted mean loss. z: (n, K) logits, y: (n,) classes, w: (K,) class weights."""
    log_p = z - z.max(axis=1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    wy = w[y]
    return -np.sum(wy * log_p[np.arange(len(y)), y]) / wy.sum()


def correct_prior(p, trained, target):
    """Move probabilities p (n, K) from one class mix to another, by Bayes' rule.

    trained: class shares (K,) that training saw, after weights and resampling.
    target: class shares (K,) where the model is used.
    """
    q = p * target / trained
    return q / q.sum(axis=1, keepdims=True)


def smote(x, neighbors, n_new, rng):
    """n_new points between examples x (m, d) of one class and their neighbors."""
    d2 = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    np.fill_diagonal(d2, np.inf)
    near = np.argsort(d2, axis=1)[:, :neighbors]
    i = rng.integers(0, len(x), n_new)
    j = near[i, rng.integers(0, neighbors, n_new)]
    return x[i] + rng.random((n_new, 1)) * (x[j] - x[i])


# --8<-- [end:numpy]


# --8<-- [start:torch]
def imbalance_losses(z, y, counts):
    """Three cross-entropies for logits z (n, K), labels y (n,), class counts (K,)."""
    shares = counts / counts.sum()
    w = counts.sum() / (len(counts) * counts)
    f = torch.nn.functional
    return {
        "plain": f.cross_entropy(z, y),
        "weighted": f.cross_entropy(z, y, weight=w),    # divides by the sum of weights
        "logit-adjusted": f.cross_entropy(z + shares.log(), y),  # predict with z
    }


def balanced_sampler(y, generator=None):
    """Draws every class equally often, with replacement; give it to a DataLoader."""
    per_example = 1.0 / torch.bincount(y).double()[y]
    return torch.utils.data.WeightedRandomSampler(
        per_example, num_samples=len(y), replacement=True, generator=generator)


# --8<-- [end:torch]


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _fit_logistic(x, y, weight=None, steps=30):
    """Weighted logistic regression by Newton's method. Returns (d + 1,), bias last."""
    a = np.column_stack([x, np.ones(len(y))])
    weight = np.ones(len(y)) if weight is None else weight
    theta = np.zeros(a.shape[1])
    for _ in range(steps):
        p = _sigmoid(a @ theta)
        hess = (a * (weight * p * (1 - p))[:, None]).T @ a + 1e-9 * np.eye(a.shape[1])
        theta = theta - np.linalg.solve(hess, a.T @ (weight * (p - y)))
    return theta


def _auc(y, s):
    rank = np.empty(len(s))
    rank[np.argsort(s)] = np.arange(1, len(s) + 1)
    n_pos = y.sum()
    return (rank[y == 1].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * (len(y) - n_pos))


def _draw(rng, n, pi, d=5):
    """Gaussian classes whose true log-odds are linear: mean shift 1 in two of d inputs."""
    y = (rng.random(n) < pi).astype(int)
    x = rng.normal(0, 1, (n, d))
    x[:, :2] += y[:, None]
    return x, y


_CACHE = {}


def _experiment(pi=0.02, n=20_000):
    """Plain, weighted, over- and undersampled, SMOTE; scores on a fresh natural test set."""
    if (pi, n) in _CACHE:
        return _CACHE[pi, n]
    rng = np.random.default_rng(0)
    x, y = _draw(rng, n, pi)
    pos, neg = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    over = np.concatenate([neg, rng.choice(pos, len(neg))])
    under = np.concatenate([rng.choice(neg, len(pos), replace=False), pos])
    new = smote(x[pos], 5, len(neg) - len(pos), rng)
    thetas = {
        "plain": _fit_logistic(x, y),
        "class weights": _fit_logistic(x, y, balanced_weights(np.bincount(y))[y]),
        "oversampling": _fit_logistic(x[over], y[over]),
        "undersampling": _fit_logistic(x[under], y[under]),
        "SMOTE": _fit_logistic(np.vstack([x, new]), np.append(y, np.ones(len(new)))),
    }
    xt, yt = _draw(np.random.default_rng(1), 100_000, pi)
    a = np.column_stack([xt, np.ones(len(yt))])
    out = {k: _sigmoid(a @ t) for k, t in thetas.items()}
    _CACHE[pi, n] = (yt, out, y.mean())
    return _CACHE[pi, n]


def _cost_curve(y, p, grid, c_fp=1.0, c_fn=20.0):
    pos, neg = np.sort(p[y == 1]), np.sort(p[y == 0])
    fn = np.searchsorted(pos, grid, side="right")            # predicted positive if p > t
    fp = len(neg) - np.searchsorted(neg, grid, side="right")
    return (c_fp * fp + c_fn * fn) / len(y)


def _recall_at_half(pi):
    """Recall of the true posterior with threshold 1/2, for N(2, 1) against N(0, 1)."""
    cut = 1 - 0.5 * np.log(pi / (1 - pi))
    return np.array([0.5 * (1 - erf((c - 2) / sqrt(2))) for c in np.atleast_1d(cut)])


def figure_boundary():
    """True posterior at three class shares, and recall at threshold 1/2 beside AUC."""
    x = np.linspace(-3, 6.5, 400)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.8))
    for pi, style, color, marker in ((0.5, "-", "C0", "o"), (0.1, "--", "C1", "s"),
                                     (0.01, "-.", "C2", "^")):
        axes[0].plot(x, _sigmoid(np.log(pi / (1 - pi)) + 2 * x - 2), ls=style, color=color,
                     label=f"{pi:.0%} positive")
        axes[0].plot(1 - 0.5 * np.log(pi / (1 - pi)), 0.5, marker, color=color, ms=6)
        axes[1].plot(pi, _recall_at_half(pi), marker, color=color, ms=7)
    axes[0].axhline(0.5, color="C5", lw=1, ls=":")
    axes[0].set_xlabel("input x")
    axes[0].set_ylabel("true probability of positive")
    axes[0].legend(fontsize=9, loc="upper left", borderpad=0)
    axes[0].set_xlim(-5.5, 6.5)
    pi = np.geomspace(0.001, 0.5, 200)
    axes[1].plot(pi, _recall_at_half(pi), color="C5", zorder=1, label="recall at threshold 0.5")
    axes[1].plot(pi, np.full_like(pi, 0.5 * (1 + erf(1))), color="C3", ls="--", label="ROC AUC")
    axes[1].set_xscale("log")
    axes[1].set_xticks([0.001, 0.01, 0.1, 0.5], ["0.1%", "1%", "10%", "50%"])
    axes[1].set_ylim(0, 1.02)
    axes[1].set_xlabel("share of positives")
    axes[1].set_ylabel("value")
    axes[1].legend(fontsize=9, loc="upper left", bbox_to_anchor=(0, 0.87))
    return fig


def figure_corrections():
    """The experiment: calibration, and expected cost over the threshold."""
    y, out, share = _experiment()
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.0))
    styles = {"plain": ("-", "o", "C0"), "class weights": ("--", "s", "C1"),
              "undersampling": (":", "^", "C2"), "SMOTE": ("-.", "D", "C3")}
    grid = np.linspace(0.0, 1.0, 401)
    for name, (ls, marker, color) in styles.items():
        p = out[name]
        edges = np.quantile(p, np.append(np.linspace(0, 0.9, 10), [0.95, 0.98, 0.995, 1]))
        bins = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, len(edges) - 2)
        mean = [p[bins == b].mean() for b in range(len(edges) - 1)]
        freq = [y[bins == b].mean() for b in range(len(edges) - 1)]
        axes[0].plot(mean, freq, ls=ls, marker=marker, ms=4, lw=1.5, color=color, label=name)
        axes[1].plot(grid, _cost_curve(y, p, grid), ls=ls, color=color, lw=1.8)
    p = np.column_stack([1 - out["class weights"], out["class weights"]])
    fixed = correct_prior(p, np.array([0.5, 0.5]), np.array([1 - share, share]))[:, 1]
    marks = np.concatenate([np.linspace(0.015, 0.1, 5), np.linspace(0.16, 1, 15)])
    axes[1].plot(marks, _cost_curve(y, fixed, marks), "x", color="C1", ms=6,
                 label="weights, corrected")
    axes[0].plot([0, 1], [0, 1], color="C5", lw=1)
    axes[0].set_xlabel("mean predicted probability")
    axes[0].set_ylabel("share of positives")
    axes[0].legend(fontsize=9, loc="upper left")
    axes[1].axvline(1 / 21, color="C5", lw=1, ls=":")
    axes[1].set_xlabel("threshold")
    axes[1].set_ylabel("mean cost")
    axes[1].set_ylim(0.2, 0.62)
    axes[1].legend(fontsize=9, loc="lower right")
    return fig


def check_imb_posterior():
    """Equation (imb-posterior): log-odds = log prior odds + log likelihood ratio; sampling."""
    rng = np.random.default_rng(0)
    for pi in (0.5, 0.1, 0.01):
        x, y = _draw(rng, 400_000, pi, d=2)
        slope = np.log(pi / (1 - pi)) + x.sum(axis=1) - 1     # N((1,1), I) against N(0, I)
        p = _sigmoid(slope)
        top = p > np.quantile(p, 0.98)
        assert abs(y[top].mean() / p[top].mean() - 1) < 0.06
    shift = np.log(0.01 / 0.99) - np.log(0.1 / 0.9)
    assert np.isclose(shift, -2.398, atol=5e-4)


def check_imb_weighted_minimizer():
    """Equation (imb-weighted-minimizer): minimum of the expected weighted loss, numerically."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        q, w = rng.dirichlet(np.ones(4)), rng.uniform(0.2, 5, 4)
        z = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        opt = torch.optim.LBFGS([z], max_iter=200, tolerance_grad=1e-12,
                                tolerance_change=1e-15, line_search_fn="strong_wolfe")

        def closure(z=z, opt=opt, c=torch.from_numpy(w * q)):
            opt.zero_grad()
            loss = -(c * z.log_softmax(0)).sum()
            loss.backward()
            return loss

        opt.step(closure)
        got = z.detach().softmax(0).numpy()
        assert np.allclose(got, w * q / (w @ q), atol=1e-6)
        assert not np.allclose(got, q, atol=1e-2)


def check_imb_resampling():
    """Weights and resampling with equal rates have the same expected loss (saturated model)."""
    rng = np.random.default_rng(0)
    y = rng.choice(3, 200_000, p=[0.7, 0.25, 0.05])
    w = balanced_weights(np.bincount(y))
    z = np.tile([1.0, -0.5, -1.0], (len(y), 1))
    drawn = rng.choice(len(y), 200_000, p=w[y] / w[y].sum())
    plain = weighted_cross_entropy(z[drawn], y[drawn], np.ones(3))
    assert abs(plain - weighted_cross_entropy(z, y, w)) < 0.01
    assert abs(weighted_cross_entropy(z, y, np.ones(3)) - plain) > 0.1
    assert np.allclose(np.bincount(y[drawn]) / len(drawn), 1 / 3, atol=0.01)


def check_imb_prior_correction():
    """Equation (imb-prior-correction): Bayes' rule with other priors; inverse; fitted model."""
    rng = np.random.default_rng(0)
    lik = rng.dirichlet(np.ones(6), 3).T                    # p(x | class), six inputs
    old, new = np.array([1, 1, 1]) / 3, np.array([0.9, 0.08, 0.02])
    p_old = lik * old / (lik * old).sum(axis=1, keepdims=True)
    p_new = lik * new / (lik * new).sum(axis=1, keepdims=True)
    assert np.allclose(correct_prior(p_old, old, new), p_new)
    assert np.allclose(correct_prior(p_new, new, old), p_old)
    assert np.allclose(softmax(np.log(p_old) + np.log(new) - np.log(old)), p_new)
    y, out, share = _experiment()
    p = np.column_stack([1 - out["class weights"], out["class weights"]])
    fixed = correct_prior(p, np.array([0.5, 0.5]), np.array([1 - share, share]))[:, 1]
    assert abs(out["class weights"].mean() / y.mean()) > 8       # before: far too high
    assert abs(fixed.mean() / y.mean() - 1) < 0.1                # after: right on average


def check_imb_weight_threshold():
    """Equation (imb-weight-threshold): weights with cut 1/2 = no weights with a moved cut."""
    q = np.linspace(0.001, 0.999, 999)
    for w_neg, w_pos in ((1, 1), (1, 10), (0.5, 30)):
        weighted = w_pos * q / (w_pos * q + w_neg * (1 - q))
        assert np.array_equal(weighted > 0.5, q > w_neg / (w_neg + w_pos))
    pi = 0.02
    w = balanced_weights(np.array([980.0, 20.0]))
    assert np.isclose(w[0] / w.sum(), pi)


def check_imb_logit_adjustment():
    """Equation (imb-logit-adjustment): the best of all 3**7 rules for the balanced error."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        pi = np.array([0.85, 0.12, 0.03])
        lik = rng.dirichlet(np.ones(7), 3)                   # rows: classes
        joint = pi[:, None] * lik
        p = (joint / joint.sum(axis=0)).T
        rules = np.array(list(product(range(3), repeat=7)))
        recall = np.stack([((rules == k) * lik[k]).sum(axis=1) for k in range(3)])
        best = rules[recall.mean(axis=0).argmax()]
        assert np.array_equal(best, (np.log(p) - np.log(pi)).argmax(axis=1))
        assert not np.array_equal(best, p.argmax(axis=1))


def check_imb_adjusted_loss():
    """Equation (imb-adjusted-loss): its minimizer z is log p - log prior plus a constant."""
    q, pi = np.array([0.6, 0.3, 0.1]), np.array([0.9, 0.08, 0.02])
    z = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    opt = torch.optim.LBFGS([z], max_iter=300, tolerance_grad=1e-13, tolerance_change=1e-16,
                            line_search_fn="strong_wolfe")

    def closure():
        opt.zero_grad()
        loss = -(torch.from_numpy(q) * (z + torch.from_numpy(pi).log()).log_softmax(0)).sum()
        loss.backward()
        return loss

    opt.step(closure)
    got, want = z.detach().numpy(), np.log(q) - np.log(pi)
    assert np.allclose(got - got.mean(), want - want.mean(), atol=1e-5)
    assert got.argmax() == 2 and q.argmax() == 0


def check_imb_effective_n():
    """Equation (imb-effective-n): variance of a weighted mean; balanced weights; 396."""
    counts = np.array([9900, 100])
    w = np.repeat(balanced_weights(counts), counts)
    n_eff = w.sum() ** 2 / (w**2).sum()
    assert np.isclose(n_eff, 4 / (1 / 9900 + 1 / 100)) and np.isclose(n_eff, 396)
    rng = np.random.default_rng(0)
    counts = np.array([95, 5])
    w = np.repeat(balanced_weights(counts), counts)
    means = rng.normal(0, 1, (20_000, 100)) @ w / w.sum()
    assert abs(means.var() * (w.sum() ** 2 / (w**2).sum()) - 1) < 0.04
    assert np.isclose(w.sum() ** 2 / (w**2).sum(), 19)


def check_imb_effective_number():
    """Equation (imb-effective-number): geometric sum and its two limits."""
    for beta, n in ((0.9, 7), (0.999, 500)):
        assert np.isclose((1 - beta**n) / (1 - beta), sum(beta**j for j in range(n)))
    assert (1 - 0.0**50) / 1 == 1
    assert np.isclose((1 - (1 - 1e-9) ** 50) / 1e-9, 50, rtol=1e-4)
    assert np.isclose((1 - 0.999**10_000) / 0.001, 1000, rtol=1e-3)


def check_imb_empty_batch():
    """Equation (imb-empty-batch): batches without a positive, by sampling to 0.01."""
    rng = np.random.default_rng(0)
    empty = np.mean(rng.binomial(64, 0.01, 100_000) == 0)
    assert abs(empty - 0.99**64) < 0.01 and np.isclose(0.99**64, 0.526, atol=5e-4)


def check_imb_smote():
    """Equation (imb-smote): points on segments to near neighbors, inside the convex hull."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (30, 2))
    new = smote(x, 3, 200, rng)
    assert new.shape == (200, 2)
    assert np.all(new >= x.min(axis=0)) and np.all(new <= x.max(axis=0))
    for point in new[:50]:
        gap = min(np.linalg.norm(point - a) + np.linalg.norm(point - b) - np.linalg.norm(a - b)
                  for a in x for b in x if a is not b)
        assert gap < 1e-9
    # Interpolated points scatter less than the class they come from.
    assert np.trace(np.cov(new.T)) < np.trace(np.cov(x.T))


def check_experiment():
    """The experiment of the figure: same ranking, distorted probabilities, same best cost."""
    y, out, share = _experiment()
    aucs = np.array([_auc(y, p) for p in out.values()])
    assert np.ptp(aucs) < 0.005 and np.allclose(aucs, 0.84, atol=0.01)
    means = {k: p.mean() for k, p in out.items()}
    assert abs(means["plain"] / y.mean() - 1) < 0.1
    assert all(means[k] > 10 * y.mean() for k in out if k != "plain")
    fires = {k: np.mean(p > 0.5) for k, p in out.items()}
    assert fires["plain"] < 0.002 and fires["class weights"] > 0.2
    grid = np.linspace(0, 1, 2001)
    best = {k: _cost_curve(y, p, grid).min() for k, p in out.items()}
    assert np.ptp(list(best.values())) < 0.01
    at_rule = _cost_curve(y, out["plain"], np.array([1 / 21]))[0]
    assert at_rule < min(best.values()) + 0.004
    at_same = _cost_curve(y, out["class weights"], np.array([1 / 21]))[0]
    assert at_same > 2 * at_rule


def check_figure_numbers():
    """Numbers quoted with the first figure, and by sampling."""
    got = _recall_at_half(np.array([0.5, 0.1, 0.01]))
    assert np.allclose(got, [0.841, 0.461, 0.097], atol=5e-4)
    assert np.isclose(0.5 * (1 + erf(1)), 0.921, atol=5e-4)
    x = np.random.default_rng(0).normal(2, 1, 200_000)
    fires = _sigmoid(np.log(0.01 / 0.99) + 2 * x - 2) > 0.5
    assert abs(fires.mean() - 0.097) < 0.003


def check_torch_reductions():
    """NumPy = PyTorch to 1e-12; CrossEntropyLoss divides by the weights, BCE does not."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(0, 2, (50, 3)), rng.choice(3, 50, p=[0.8, 0.15, 0.05])
    counts = np.array([800.0, 150.0, 50.0])
    got = imbalance_losses(torch.from_numpy(z), torch.from_numpy(y), torch.from_numpy(counts))
    w, shares = balanced_weights(counts), counts / counts.sum()
    assert abs(got["weighted"].item() - weighted_cross_entropy(z, y, w)) < 1e-12
    ones = np.ones(3)
    assert abs(got["plain"].item() - weighted_cross_entropy(z, y, ones)) < 1e-12
    adjusted = weighted_cross_entropy(z + np.log(shares), y, ones)
    assert abs(got["logit-adjusted"].item() - adjusted) < 1e-12
    zero = np.zeros(50, int)                        # a batch with one class only
    assert np.isclose(weighted_cross_entropy(z, zero, w), weighted_cross_entropy(z, zero, ones))
    zt = torch.from_numpy(z[:, 0])
    yt = torch.ones(50, dtype=torch.float64)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    heavy = bce(zt, yt, pos_weight=torch.tensor(9.0, dtype=torch.float64))
    assert np.isclose(heavy.item(), 9 * bce(zt, yt).item())


def check_sampler():
    """The sampler draws the classes equally often, to 2 points."""
    y = torch.tensor([0] * 9500 + [1] * 500)
    drawn = y[list(balanced_sampler(y, torch.Generator().manual_seed(0)))]
    assert len(drawn) == 10_000 and abs(drawn.double().mean().item() - 0.5) < 0.02


def check_worked_example():
    """Every number of the worked example."""
    counts = np.array([980, 20])
    w = balanced_weights(counts)
    assert np.allclose(w, [0.510, 25.0], atol=5e-4) and np.isclose(w[1] / w[0], 49)
    entropy = -(0.98 * np.log(0.98) + 0.02 * np.log(0.02))
    assert np.isclose(entropy, 0.098, atol=5e-4)
    assert np.isclose(np.log(0.02 / 0.98), -3.892, atol=5e-4)
    fixed = correct_prior(np.array([[0.3, 0.7]]), np.array([0.5, 0.5]), np.array([0.98, 0.02]))
    assert np.isclose(fixed[0, 1], 0.0455, atol=5e-5)
    assert np.isclose(0.7 / 0.3 / 49, 0.0476, atol=5e-5)
    assert np.isclose(1 / 21, 0.0476, atol=5e-5)
    assert fixed[0, 1] < 1 / 21
    back = 0.0476 * 49 / (0.0476 * 49 + 1 - 0.0476)
    assert np.isclose(back, 0.71, atol=5e-3)
    assert np.isclose(4 / (1 / 980 + 1 / 20), 78.4)
    assert np.isclose(0.98**64, 0.274, atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
