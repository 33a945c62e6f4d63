"""Twin of the page on label smoothing: targets, gradient, optimal gap, calibration."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def smooth_targets(c, K, eps):
    """Class numbers c (batch,) -> targets (batch, K): (1 - eps) one-hot + eps / K."""
    y = np.full((len(c), K), eps / K)
    y[np.arange(len(c)), c] += 1 - eps
    return y


def smoothed_loss(z, c, eps):
    """Losses (batch,) and gradient (batch, K) for logits z (batch, K)."""
    top = z.max(axis=1, keepdims=True)
    lse = top + np.log(np.exp(z - top).sum(axis=1, keepdims=True))
    y = smooth_targets(c, z.shape[1], eps)
    return lse[:, 0] - (y * z).sum(axis=1), np.exp(z - lse) - y
# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_smoothed_loss(z, c, eps):
    """The built-in option, one value per example."""
    return F.cross_entropy(z, c, label_smoothing=eps, reduction="none")


def torch_by_parts(z, c, eps):
    """The same from two terms: the true class, and the mean over all classes."""
    log_p = torch.log_softmax(z, dim=1)
    true = -log_p.gather(1, c[:, None])[:, 0]
    return (1 - eps) * true + eps * -log_p.mean(dim=1)


def torch_binary(z, y, eps):
    """No option for sigmoids: the targets 0 and 1 become eps/2 and 1 - eps/2."""
    target = (1 - eps) * y + eps / 2
    return F.binary_cross_entropy_with_logits(z, target, reduction="none")
# --8<-- [end:torch]

RNG = np.random.default_rng(0)
LOGITS, CLASSES = RNG.normal(size=(40, 6)) * 2, RNG.integers(0, 6, size=40)


def softmax(z):
    """Row-wise softmax."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gap(eps, K):
    """The optimal lead of the true logit."""
    return np.log1p(K * (1 - eps) / eps)


def train(eps, steps, n=30, d=100, K=10, rate=2.0):
    """Softmax regression with more features than examples; mean lead at every step."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, d)) / np.sqrt(d)
    c = rng.integers(0, K, size=n)
    w, leads = np.zeros((K, d)), []
    for _ in range(steps):
        z = x @ w.T
        true = z[np.arange(n), c]
        leads.append(np.mean(true - (z.sum(axis=1) - true) / (K - 1)))
        w -= rate * smoothed_loss(z, c, eps)[1].T @ x
    return np.array(leads), z, c


def figure_gap():
    """Loss against the lead of the true logit, and the lead during training."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2))
    K, a = 10, np.linspace(-1, 12, 400)
    for eps, style, color in ((0.0, "-", "C0"), (0.1, "--", "C1"), (0.3, "-.", "C2")):
        loss = np.log(np.exp(a) + K - 1) - (1 - eps + eps / K) * a
        left.plot(a, loss, style, color=color, label=f"smoothing {eps:g}")
        if eps:
            best = gap(eps, K)
            left.plot([best], [np.interp(best, a, loss)], "o", color=color)
            right.axhline(best, ls=":", lw=1.2, color=color)
        leads, _, _ = train(eps, 3000)
        right.plot(np.arange(1, 3001), leads, style, color=color)
    left.set(xlabel="lead of the true logit", ylabel="loss (10 classes)", ylim=(0, 3))
    right.set(xlabel="step", ylabel="mean lead of the true logit", xscale="log")
    fig.legend(*left.get_legend_handles_labels(), fontsize=9, loc="outside upper center", ncols=3)
    return fig


def figure_confidence():
    """Best prediction against the true probability of a class."""
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    q = np.linspace(0, 1, 100)
    for (eps, K), style in (((0.0, 10), "-"), ((0.1, 10), "--"), ((0.3, 10), "-."), ((0.3, 2), ":")):
        label = "no smoothing" if eps == 0 else f"smoothing {eps:g}, {K} classes"
        ax.plot(q, (1 - eps) * q + eps / K, style, label=label)
    ax.set(xlabel="true probability of the class", ylabel="best prediction")
    ax.legend(fontsize=9)
    return fig


def check_ls_target():
    """Equation (ls-target): sums to 1, entries, argmax."""
    for eps in (0.0, 0.1, 0.5):
        y = smooth_targets(CLASSES, 6, eps)
        assert np.allclose(y, (1 - eps) * np.eye(6)[CLASSES] + eps / 6)
        assert np.allclose(y.sum(axis=1), 1) and (y.argmax(axis=1) == CLASSES).all()
    assert np.isclose(smooth_targets(np.array([3]), 10, 0.1)[0, 3], 0.91)
    assert np.isclose(smooth_targets(np.array([3]), 10, 0.1)[0, 0], 0.01)


def check_ls_convention():
    """Equation (ls-convention): mass moved to the other classes only."""
    for eps, K in ((0.1, 2), (0.1, 10), (0.3, 5)):
        moved = eps * (K - 1) / K
        other = np.full(K, moved / (K - 1))
        other[0] = 1 - moved
        assert np.allclose(other, smooth_targets(np.array([0]), K, eps)[0])


def check_ls_loss():
    """Equation (ls-loss): built-in option, two terms, KL form; all to 1e-12."""
    z, c = torch.tensor(LOGITS), torch.tensor(CLASSES)
    for eps in (0.0, 0.1, 0.5):
        mine = smoothed_loss(LOGITS, CLASSES, eps)[0]
        assert np.allclose(mine, torch_smoothed_loss(z, c, eps).numpy(), atol=1e-12)
        assert np.allclose(mine, torch_by_parts(z, c, eps).numpy(), atol=1e-12)
        p = softmax(LOGITS)
        kl = (np.log(1 / 6) - np.log(p)).mean(axis=1)  # KL(uniform || p)
        ce = -np.log(p[np.arange(40), CLASSES])
        assert np.allclose(mine, (1 - eps) * ce + eps * (kl + np.log(6)), atol=1e-12)


def check_ls_logits():
    """Equation (ls-logits): cross-entropy plus eps times lead over the mean logit."""
    for eps in (0.1, 0.5):
        lead = LOGITS[np.arange(40), CLASSES] - LOGITS.mean(axis=1)
        hard = smoothed_loss(LOGITS, CLASSES, 0.0)[0]
        assert np.allclose(smoothed_loss(LOGITS, CLASSES, eps)[0], hard + eps * lead)


def check_ls_gradient():
    """Equation (ls-gradient): autograd to 1e-12, sign for an overconfident example."""
    for eps in (0.0, 0.1, 0.5):
        t = torch.tensor(LOGITS, requires_grad=True)
        torch_smoothed_loss(t, torch.tensor(CLASSES), eps).sum().backward()
        assert np.allclose(smoothed_loss(LOGITS, CLASSES, eps)[1], t.grad.numpy(), atol=1e-12)
    sure = np.array([[20.0, 0, 0]])
    assert smoothed_loss(sure, np.array([0]), 0.1)[1][0, 0] > 0.06
    assert -1e-6 < smoothed_loss(sure, np.array([0]), 0.0)[1][0, 0] < 0


def check_ls_gap():
    """Equation (ls-gap): zero gradient there, any common shift; printed values; limit."""
    for eps, K, printed in ((0.1, 2, 2.944), (0.1, 10, 4.511), (0.1, 1000, 9.105), (0.3, 10, 3.192)):
        best = gap(eps, K)
        assert abs(best - printed) < 5e-4
        z = np.full((1, K), 0.37)
        z[0, K // 2] += best
        loss, grad = smoothed_loss(z, np.array([K // 2]), eps)
        assert np.abs(grad).max() < 1e-12
        for _ in range(20):
            moved = z + 0.1 * RNG.normal(size=z.shape)
            assert smoothed_loss(moved, np.array([K // 2]), eps)[0] > loss
    assert gap(1e-12, 10) > 29


def check_training_reaches_gap():
    """The lead converges with smoothing and keeps growing without it."""
    leads, z, c = train(0.1, 3000)
    assert abs(leads[-1] - gap(0.1, 10)) < 0.02
    spread = np.delete(z[0], c[0]).std()
    assert spread < 0.02  # all wrong classes equal
    hard = train(0.0, 3000)[0]
    assert hard[-1] > hard[1500] + 0.3 > hard[700] + 0.6


def check_ls_floor():
    """Equation (ls-floor): the minimum is the entropy of the target."""
    for eps, K, printed in ((0.1, 2, 0.1985), (0.1, 10, 0.5003), (0.1, 1000, 1.0148)):
        y = smooth_targets(np.array([0]), K, eps)[0]
        a, b = 1 - eps + eps / K, eps / K
        floor = -a * math.log(a) - (K - 1) * b * math.log(b)
        assert abs(floor + (y * np.log(y)).sum()) < 1e-12 and abs(floor - printed) < 5e-5
        z = np.zeros((1, K))
        z[0, 0] = gap(eps, K)
        assert abs(smoothed_loss(z, np.array([0]), eps)[0][0] - floor) < 1e-12


def check_ls_population():
    """Equation (ls-population): minimizer of the expected loss, and its inverse."""
    rng = np.random.default_rng(3)
    q, eps = rng.dirichlet(np.ones(5)), 0.2
    best = (1 - eps) * q + eps / 5
    cost = lambda p: sum(q[k] * -(smooth_targets(np.array([k]), 5, eps)[0] * np.log(p)).sum() for k in range(5))
    assert all(cost(best) <= cost(p) + 1e-12 for p in rng.dirichlet(np.ones(5), size=2000))
    assert all(cost(best) <= cost(best * (1 + 0.01 * v) / (best * (1 + 0.01 * v)).sum()) for v in rng.normal(size=(200, 5)))
    assert np.allclose((best - eps / 5) / (1 - eps), q) and best.argmax() == q.argmax()
    assert best.max() < q.max() and best.min() > q.min()


def check_ls_noise():
    """Equation (ls-noise): the expectation over random relabeling, exactly and sampled."""
    eps, K = 0.2, 6
    hard = lambda c: smoothed_loss(LOGITS, c, 0.0)[0]
    exact = (1 - eps) * hard(CLASSES) + eps / K * sum(hard(np.full(40, k)) for k in range(K))
    assert np.allclose(exact, smoothed_loss(LOGITS, CLASSES, eps)[0])
    rng, total = np.random.default_rng(4), np.zeros(40)
    for _ in range(4000):
        noisy = np.where(rng.random(40) < eps, rng.integers(0, K, size=40), CLASSES)
        total += hard(noisy) / 4000
    assert abs(total.mean() - exact.mean()) < 0.02


def check_torch_details():
    """Class weights act on every term, ignored targets drop out, the default is 0."""
    z, c = torch.tensor(LOGITS), torch.tensor(CLASSES)
    w, eps = torch.arange(1.0, 7.0, dtype=torch.float64), 0.1
    log_p = torch.log_softmax(z, dim=1)
    y = torch.tensor(smooth_targets(CLASSES, 6, eps))
    by_hand = -(w * y * log_p).sum() / w[c].sum()
    assert torch.isclose(F.cross_entropy(z, c, weight=w, label_smoothing=eps), by_hand)
    some = c.clone()
    some[:5] = -100
    assert torch.isclose(F.cross_entropy(z, some, label_smoothing=eps), F.cross_entropy(z[5:], c[5:], label_smoothing=eps))
    assert torch.nn.CrossEntropyLoss().label_smoothing == 0.0
    # two classes: the sigmoid version is the softmax version on logits (z, 0)
    s = torch.linspace(-3, 3, 7, dtype=torch.float64)
    two = torch_smoothed_loss(torch.stack([s, 0 * s], 1), torch.zeros(7, dtype=torch.long), eps)
    assert torch.allclose(torch_binary(s, torch.ones_like(s), eps), two)


def check_worked_example():
    """The numbers of the page."""
    z, c = np.array([[4.0, 1.0, 0.0]]), np.array([0])
    assert np.allclose(softmax(z), [[0.9362, 0.0466, 0.0171]], atol=5e-5)
    hard, grad = smoothed_loss(z, c, 0.0)
    assert abs(hard[0] - 0.0659) < 5e-5
    assert np.allclose(grad, [[-0.0638, 0.0466, 0.0171]], atol=5e-5)
    soft, grad = smoothed_loss(z, c, 0.1)
    assert abs(soft[0] - 0.2992) < 5e-5
    assert np.allclose(grad, [[0.0029, 0.0133, -0.0162]], atol=5e-5)
    assert np.allclose(smooth_targets(c, 3, 0.1), [[0.9333, 0.0333, 0.0333]], atol=5e-5)
    assert abs(gap(0.1, 3) - math.log(28)) < 1e-12 and abs(gap(0.1, 3) - 3.3322) < 5e-5
    best = np.array([[math.log(28), 0.0, 0.0]])
    assert abs(smoothed_loss(best, c, 0.1)[0][0] - 0.2911) < 5e-5


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
