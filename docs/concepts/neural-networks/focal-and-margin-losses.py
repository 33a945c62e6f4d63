"""Twin of the page on focal and margin losses: gradients, minimizers, bounds."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def focal_loss(z, c, gamma=2.0):
    """Softmax focal loss: logits z (batch, K), class numbers c (batch,).

    Returns losses (batch,) and the gradient with respect to z (batch, K).
    """
    rows = np.arange(len(z))
    log_p = z - z.max(axis=1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    p, log_pc = np.exp(log_p), log_p[rows, c]
    wrong = -np.expm1(log_pc)  # 1 - p_c without cancellation
    loss = -(wrong**gamma) * log_pc
    ratio = log_pc / np.maximum(wrong, 1e-300)  # tends to -1 as p_c tends to 1
    factor = wrong**gamma * (1 - gamma * p[rows, c] * ratio)
    p[rows, c] -= 1
    return loss, factor[:, None] * p


def hinge(y, z):
    """Binary hinge for y in {-1, +1}: losses and one subgradient in z."""
    return np.maximum(0, 1 - y * z), np.where(y * z < 1, -y, 0.0)


def multiclass_hinge(z, c, margin=1.0):
    """Crammer-Singer hinge: the strongest rival must stay `margin` behind."""
    rows = np.arange(len(z))
    rival = z.copy()
    rival[rows, c] = -np.inf
    return np.maximum(0, margin + rival.max(axis=1) - z[rows, c])
# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_focal_loss(z, c, gamma=2.0):
    """Focal loss from logits (batch, K); one value per example."""
    ce = F.cross_entropy(z, c, reduction="none")  # -log p_c
    return (-torch.expm1(-ce)) ** gamma * ce


def torch_binary_focal_loss(z, y, gamma=2.0, alpha=0.25):
    """One logit per box, y in {0, 1}: weight alpha for 1, 1 - alpha for 0."""
    ce = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    weight = alpha * y + (1 - alpha) * (1 - y)
    return weight * (-torch.expm1(-ce)) ** gamma * ce
# --8<-- [end:torch]

RNG = np.random.default_rng(0)
LOGITS, CLASSES = RNG.normal(size=(30, 5)) * 2, RNG.integers(0, 5, size=30)


def sigmoid(z):
    """Logistic sigmoid."""
    return 1 / (1 + np.exp(-z))


def factor(p, gamma):
    """What the focal loss multiplies the cross-entropy gradient by."""
    return (1 - p) ** gamma - gamma * p * (1 - p) ** (gamma - 1) * np.log(p)


def link(p, gamma):
    """The true probabilities at which the prediction p (..., K) is optimal."""
    ratio = p / factor(p, gamma)
    return ratio / ratio.sum(axis=-1, keepdims=True)


def minimizer(q, gamma, steps=6000, rate=1.0):
    """Minimize the expected focal loss over softmax probabilities, by descent."""
    z = np.log(q)
    for _ in range(steps):
        p = np.exp(z - z.max())
        p /= p.sum()
        h = q * factor(p, gamma)
        z = z - rate * (h.sum() * p - h)
    return p


def figure_focal():
    """Focal loss, and the factor on the gradient, for several exponents."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2))
    p = np.linspace(0.002, 0.9999, 600)
    for gamma, style in ((0.0, "-"), (0.5, "--"), (1.0, "-."), (2.0, ":"), (5.0, (0, (5, 1, 1, 1, 1, 1)))):
        left.plot(p, -((1 - p) ** gamma) * np.log(p), ls=style, label=f"exponent {gamma:g}")
        right.plot(p, factor(p, gamma), ls=style)
    left.set(xlabel="probability of the true class", ylabel="loss", ylim=(-0.1, 4))
    right.set(xlabel="probability of the true class", ylabel="factor on the gradient", ylim=(-0.05, 1.5))
    left.legend(fontsize=9)
    return fig


def figure_margins():
    """Losses of the margin, and the zero-one loss below them."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    m = np.linspace(-2.5, 3, 1101)
    ax.plot(m, (m <= 0).astype(float), "-", color="#222222", lw=1.4, label="error (0 or 1)")
    ax.plot(m, np.maximum(0, 1 - m), "--", label="hinge")
    ax.plot(m, np.maximum(0, 1 - m) ** 2, "-.", label="squared hinge")
    ax.plot(m, np.logaddexp(0, -m) / np.log(2), "-", label="cross-entropy, in bits")
    ax.plot(m, sigmoid(-m) ** 2 * np.logaddexp(0, -m) / np.log(2), ":", label="focal, exponent 2, in bits")
    ax.set(xlabel="margin: label (−1 or 1) times score", ylabel="loss", ylim=(-0.1, 4))
    ax.legend(fontsize=9)
    return fig


def check_focal_definition():
    """Equation (focal-definition): NumPy, torch, exponent 0, bounds."""
    for gamma in (0.0, 0.5, 1.0, 2.0, 5.0):
        mine = focal_loss(LOGITS, CLASSES, gamma)[0]
        theirs = torch_focal_loss(torch.tensor(LOGITS), torch.tensor(CLASSES), gamma)
        p = np.exp(-focal_loss(LOGITS, CLASSES, 0.0)[0])
        assert np.allclose(mine, -((1 - p) ** gamma) * np.log(p), rtol=0, atol=1e-12)
        assert np.allclose(mine, theirs.numpy(), rtol=0, atol=1e-12)
        assert (mine <= -np.log(p) + 1e-12).all()
    ce = F.cross_entropy(torch.tensor(LOGITS), torch.tensor(CLASSES), reduction="none")
    assert np.allclose(focal_loss(LOGITS, CLASSES, 0.0)[0], ce.numpy(), rtol=0, atol=1e-12)
    extreme = np.array([[60.0, 0.0], [0.0, 800.0]])
    loss, grad = focal_loss(extreme, np.array([0, 0]), 0.5)
    assert np.isfinite(loss).all() and np.isfinite(grad).all()


def check_small_exponents_in_torch():
    """Below exponent 1 autograd gives NaN once the true probability rounds to 1."""
    z = torch.tensor([[200.0, 0.0]], requires_grad=True)
    for gamma, good in ((0.5, False), (1.0, True), (2.0, True)):
        (g,) = torch.autograd.grad(torch_focal_loss(z, torch.tensor([0]), gamma).sum(), z)
        assert bool(torch.isfinite(g).all()) == good


def check_focal_gradient():
    """Equation (focal-gradient): autograd; exponent 0 gives p - y; binary form."""
    for gamma in (0.0, 0.5, 1.0, 2.0, 5.0):
        t = torch.tensor(LOGITS, requires_grad=True)
        torch_focal_loss(t, torch.tensor(CLASSES), gamma).sum().backward()
        assert np.allclose(focal_loss(LOGITS, CLASSES, gamma)[1], t.grad.numpy(), rtol=0, atol=1e-10)
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    assert np.allclose(focal_loss(LOGITS, CLASSES, 0.0)[1], p - np.eye(5)[CLASSES])
    z = torch.linspace(-4, 4, 33, dtype=torch.float64, requires_grad=True)
    for y in (0.0, 1.0):
        loss = torch_binary_focal_loss(z, torch.full_like(z, y), 2.0, 0.25)
        (g,) = torch.autograd.grad(loss.sum(), z)
        prob = torch.sigmoid(z).detach().numpy()
        pt = prob if y else 1 - prob
        assert np.allclose(g.numpy(), (0.25 if y else 0.75) * factor(pt, 2.0) * (prob - y), rtol=0, atol=1e-12)


def check_focal_factor_facts():
    """The factor exceeds 1 below p = 0.298 (exponent 2), is 1.22 at most; not convex."""
    p = np.linspace(1e-5, 1 - 1e-5, 200001)
    g = factor(p, 2.0)
    assert abs(g.max() - 1.22) < 0.005 and abs(p[g.argmax()] - 0.104) < 1e-3
    assert (g[p < 0.297] > 1).all() and (g[p > 0.298] < 1).all()
    assert np.allclose(factor(p, 0.0), 1) and abs(factor(0.9, 2.0) - 0.029) < 5e-4
    assert abs(factor(0.9999, 2.0) / (3 * 0.0001**2) - 1) < 1e-3
    m = np.linspace(-8, 8, 1601)
    loss = sigmoid(-m) ** 2 * np.logaddexp(0, -m)
    assert np.diff(loss, 2).min() < -1e-6  # not convex in the margin
    assert np.diff(np.logaddexp(0, -m), 2).min() > 0


def check_focal_prior_bias():
    """Equation (focal-prior-bias), and the numbers of the boxes."""
    b = -math.log((1 - 0.01) / 0.01)
    assert abs(sigmoid(b) - 0.01) < 1e-12 and abs(b - (-4.595)) < 5e-4
    ce = -math.log(0.99)
    assert abs(ce - 0.01005) < 5e-6
    assert abs(1e5 * math.log(2) - 69315) < 0.5 and abs(1e5 * ce - 1005) < 0.5
    assert abs(1e5 * 0.01**2 * ce - 0.1005) < 5e-5
    assert abs(-math.log(0.01) - 4.605) < 5e-4 and abs(0.99**2 * 4.60517 - 4.514) < 5e-4


def check_focal_link():
    """Equation (focal-link): numerical minimizers; order kept; less extreme."""
    for q in (np.array([0.9, 0.1]), np.array([0.6, 0.25, 0.1, 0.05])):
        for gamma in (0.5, 1.0, 2.0, 3.0):
            p = minimizer(q, gamma)
            assert np.allclose(link(p, gamma), q, atol=1e-6)
            assert (np.argsort(p) == np.argsort(q)).all()
            assert p.max() < q.max()
            best = -(q * (1 - p) ** gamma * np.log(p)).sum()
            for other in np.random.default_rng(1).dirichlet(np.ones(len(q)), size=500):
                assert best <= -(q * (1 - other) ** gamma * np.log(other)).sum() + 1e-12
    assert np.allclose(link(np.array([0.3, 0.7]), 0.0), [0.3, 0.7])
    for q, gamma, printed in ((0.9, 1.0, 0.774), (0.9, 2.0, 0.694), (0.99, 2.0, 0.846), (0.1, 2.0, 0.306)):
        assert abs(minimizer(np.array([q, 1 - q]), gamma)[0] - printed) < 5e-4


def check_focal_confidence():
    """Largest probability too low for two classes or p > 0.298; too high for many small ones."""
    rng = np.random.default_rng(4)
    for gamma in (0.5, 1.0, 2.0, 5.0):
        p = np.linspace(0.501, 0.999, 250)
        assert (link(np.stack([p, 1 - p], axis=1), gamma)[:, 0] > p).all()
    for classes in (3, 10, 100):
        p = rng.dirichlet(np.full(classes, 1.0), size=200)
        top = rng.uniform(0.3, 0.999, size=200)  # one class gets this, and its share
        p = (1 - top)[:, None] * p + np.eye(classes)[0] * top[:, None]
        assert (link(p, 2.0)[:, 0] > p[:, 0])[p.argmax(axis=1) == 0].all()
    q = np.full(91, 0.01)
    q[0] = 0.1
    p = minimizer(q, 2.0, steps=3000, rate=5.0)
    assert np.allclose(link(p, 2.0), q, atol=1e-6) and abs(p[0] - 0.113) < 5e-4


def check_focal_term_convex():
    """One term is decreasing and convex in p for every exponent, so the minimizer is one."""
    p = np.linspace(1e-4, 1 - 1e-4, 20001)
    for gamma in (0.1, 0.5, 0.9, 1.0, 2.0, 5.0):
        term = -((1 - p) ** gamma) * np.log(p)
        assert (np.diff(term) < 0).all() and np.diff(term, 2).min() > -1e-15


def check_focal_entropy_bound():
    """Equation (focal-entropy-bound): random q and p, exponents from 1."""
    rng = np.random.default_rng(2)
    for gamma in (1.0, 2.0, 5.0):
        for _ in range(300):
            q, p = rng.dirichlet(np.ones(4), size=2)
            left = -(q * (1 - p) ** gamma * np.log(p)).sum()
            entropy = -(p * np.log(p)).sum()
            assert left >= -(q * np.log(p)).sum() - gamma * entropy - 1e-12


def check_hinge_subgradient():
    """Equation (hinge-subgradient): off the kink the derivative, at the kink a range."""
    for y in (-1.0, 1.0):
        z = np.linspace(-3, 3, 61) + 0.003
        numeric = (hinge(y, z + 1e-6)[0] - hinge(y, z - 1e-6)[0]) / 2e-6
        assert np.allclose(hinge(y, z)[1], numeric, atol=1e-6)
        others = np.linspace(-5, 5, 201)
        for s in (0.0, 0.3, 1.0):  # -y s supports the loss from below at y z = 1
            assert (hinge(y, others)[0] >= -y * s * (others - y) - 1e-12).all()
        for s in (-0.2, 1.2):
            assert (hinge(y, others)[0] < -y * s * (others - y) - 1e-12).any()


def check_hinge_minimizer():
    """Equation (hinge-minimizer): the sign, whatever the probability."""
    z = np.linspace(-2, 2, 4001)
    inside = np.abs(z) <= 1
    for q in (0.1, 0.45, 0.55, 0.9):
        cost = q * hinge(1.0, z)[0] + (1 - q) * hinge(-1.0, z)[0]
        assert np.allclose(cost[inside], 1 - (2 * q - 1) * z[inside])
        assert np.isclose(z[cost.argmin()], np.sign(2 * q - 1))
        assert np.isclose(cost.min(), 2 * min(q, 1 - q))
        logistic = q * np.logaddexp(0, -z) + (1 - q) * np.logaddexp(0, z)
        if q in (0.45, 0.55):
            assert abs(z[logistic.argmin()] - np.log(q / (1 - q))) < 1e-3


def check_hinge_multiclass():
    """Equation (hinge-multiclass): loops; two classes; PyTorch's sum version."""
    by_loop = [max([0] + [1 + z[j] - z[c] for j in range(5) if j != c]) for z, c in zip(LOGITS, CLASSES, strict=True)]
    assert np.allclose(multiclass_hinge(LOGITS, CLASSES), by_loop)
    two = LOGITS[:, :2]
    assert np.allclose(multiclass_hinge(two, np.zeros(30, int)), hinge(1.0, two[:, 0] - two[:, 1])[0])
    theirs = F.multi_margin_loss(torch.tensor(LOGITS), torch.tensor(CLASSES), reduction="none").numpy()
    summed = [sum(max(0, 1 + z[j] - z[c]) for j in range(5) if j != c) / 5 for z, c in zip(LOGITS, CLASSES, strict=True)]
    assert np.allclose(theirs, summed) and not np.allclose(theirs, by_loop)


def check_margin_bounds():
    """Equation (margin-bounds): both surrogates lie above the error; focal does not."""
    m = np.linspace(-6, 6, 4801)
    error = (m <= 0).astype(float)
    assert (np.maximum(0, 1 - m) >= error).all()
    assert (np.logaddexp(0, -m) / np.log(2) >= error - 1e-12).all()
    focal = sigmoid(-m) ** 2 * np.logaddexp(0, -m) / np.log(2)
    assert (focal < error).any()


def check_margin_softmax():
    """Equation (margin-softmax): bounds, limit, and the identity with cross-entropy."""
    rows = np.arange(30)
    for s in (1.0, 4.0, 50.0, 5000.0):
        for margin in (0.0, 0.5, 1.0):
            shifted = LOGITS.copy()
            shifted[rows, CLASSES] -= margin
            ce = focal_loss(s * shifted, CLASSES, 0.0)[0] / s
            target = multiclass_hinge(LOGITS, CLASSES, margin)
            assert (ce >= target - 1e-12).all() and (ce <= target + np.log(5) / s + 1e-12).all()
            sums = [
                np.log1p(sum(np.exp(s * (z[j] - z[c] + margin)) for j in range(5) if j != c)) / s
                for z, c in zip(LOGITS, CLASSES, strict=True)
            ] if s < 50 else ce
            assert np.allclose(ce, sums)


def check_hinge_distance():
    """Equation (hinge-distance): y f(x) / |w| is the signed distance to the boundary."""
    rng = np.random.default_rng(3)
    w, b, x = rng.normal(size=4), 0.7, rng.normal(size=4)
    f = w @ x + b
    foot = x - f * w / (w @ w)
    assert abs(w @ foot + b) < 1e-12
    assert np.isclose(np.linalg.norm(x - foot), abs(f) / np.linalg.norm(w))
    assert hinge(1.0, 100 * abs(f))[0] == 0  # rescaling satisfies any margin


def check_torch_embedding_loss():
    """HingeEmbeddingLoss is not the hinge of a classifier."""
    x, y = torch.tensor([3.0, -2.0]), torch.tensor([1.0, 1.0])
    theirs = torch.nn.HingeEmbeddingLoss(reduction="none")(x, y)
    assert torch.equal(theirs, x)
    assert hinge(1.0, np.array([3.0, -2.0]))[0].tolist() == [0.0, 3.0]


def check_alpha_weights_positives():
    """alpha = 0.25 gives positives a third of the weight of negatives."""
    z = torch.zeros(2, dtype=torch.float64)
    loss = torch_binary_focal_loss(z, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert torch.isclose(3 * loss[0], loss[1])


def check_worked_example():
    """The numbers of the page."""
    for p, ce, fl in ((0.9, 0.1054, 0.001054), (0.5, 0.6931, 0.1733), (0.1, 2.3026, 1.8651)):
        assert abs(-math.log(p) - ce) < 5e-5
        assert abs((1 - p) ** 2 * -math.log(p) - fl) < (5e-7 if p == 0.9 else 5e-5)
    assert abs(1 / (1 - 0.968) ** 2 - 1000) < 30
    z, c = np.array([[2.0, 1.0, 0.0]]), np.array([1])
    loss, grad = focal_loss(z, c, 2.0)
    assert abs(loss[0] - 0.8029) < 5e-5
    assert abs(factor(0.24473, 2.0) - 1.0908) < 2e-4
    assert np.allclose(grad, [[0.7256, -0.8239, 0.0982]], atol=5e-5)
    assert multiclass_hinge(z, c)[0] == 2.0


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
