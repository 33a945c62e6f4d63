"""Twin of the page "Cross-entropy loss": its snippets, its figure, its checks."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def log_softmax(z):
    """Logits (batch, K) -> log-probabilities, shifted by the row maximum."""
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def cross_entropy(z, targets):
    """Mean loss; logits (batch, K), targets (batch,) of class numbers 0..K-1."""
    return -log_softmax(z)[np.arange(len(z)), targets].mean()


def cross_entropy_grad(z, targets):
    """Gradient of the mean loss with respect to the logits: (p - y) / batch."""
    p = np.exp(log_softmax(z))
    p[np.arange(len(z)), targets] -= 1
    return p / len(z)


def soft_cross_entropy(z, q):
    """Mean loss for target distributions q (batch, K)."""
    return -(q * log_softmax(z)).sum(axis=1).mean()


def binary_cross_entropy(z, y):
    """Mean loss for logits z and targets y in [0, 1], any equal shape."""
    return (np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))).mean()
# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_losses(z, targets, q):
    """Logits z (batch, K) go in as they are; targets (batch,), q (batch, K)."""
    hard = F.cross_entropy(z, targets)  # class numbers
    soft = F.cross_entropy(z, q)  # class probabilities
    steps = F.nll_loss(torch.log_softmax(z, dim=1), targets)  # same as hard
    smooth = F.cross_entropy(z, targets, label_smoothing=0.1)
    return hard, soft, steps, smooth


def torch_binary(z, y):
    """One logit per yes/no question; y has the shape of z and its dtype."""
    return F.binary_cross_entropy_with_logits(z, y)
# --8<-- [end:torch]

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(12, 5)) * 3
TARGETS = RNG.integers(0, 5, size=12)
ONE_HOT = np.eye(5)[TARGETS]
SOFT = RNG.dirichlet(np.ones(5), size=12)


def sigmoid(z):
    """Logistic sigmoid, elementwise."""
    return 1 / (1 + np.exp(-z))


def numeric_gradient(function, x, h=1e-6):
    """Central differences of a scalar function at an array of any shape."""
    grad = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        grad[i] = (function(x + step) - function(x - step)) / (2 * h)
    return grad


def figure_gradients():
    """Loss and size of the gradient against the logit of a true class."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.0))
    z = np.linspace(-7, 5, 400)
    p = sigmoid(z)
    left.plot(z, np.log1p(np.exp(-z)), "-", label="cross-entropy")
    left.plot(z, 0.5 * (p - 1) ** 2, "--", label="squared error")
    left.set(xlabel="logit z (target 1)", ylabel="loss", ylim=(-0.2, 7.2))
    left.legend(fontsize=9)
    right.plot(z, 1 - p, "-", label="cross-entropy")
    right.plot(z, (1 - p) * p * (1 - p), "--", label="squared error")
    right.set(xlabel="logit z (target 1)", ylabel="size of the gradient")
    right.set_ylim(0, 1.35)
    right.legend(fontsize=9, loc="upper right")
    for ax in (left, right):
        ax.axvline(0, color="#555555", lw=0.8)
        ax.set_xticks([-6, -3, 0, 3])
    right.annotate("wrong", (-5.2, 0.5), fontsize=9)
    right.annotate("right", (2.4, 0.5), fontsize=9)
    return fig


def check_cross_entropy_definition():
    """Equation (cross-entropy-definition): sum form, log form, torch."""
    p = np.exp(log_softmax(LOGITS))
    by_sum = -(ONE_HOT * np.log(p)).sum(axis=1)
    by_class = -np.log(p[np.arange(12), TARGETS])
    assert np.allclose(by_sum, by_class)
    t = torch.tensor(LOGITS)
    losses = torch_losses(t, torch.tensor(TARGETS), torch.tensor(SOFT))
    hard, soft, steps, smooth = (loss.item() for loss in losses)
    assert abs(cross_entropy(LOGITS, TARGETS) - hard) < 1e-12
    assert abs(by_class.mean() - hard) < 1e-12 and abs(hard - steps) < 1e-12
    assert abs(soft_cross_entropy(LOGITS, SOFT) - soft) < 1e-12
    smoothed = 0.9 * ONE_HOT + 0.1 / 5
    assert abs(soft_cross_entropy(LOGITS, smoothed) - smooth) < 1e-12


def check_cross_entropy_logits():
    """Equation (cross-entropy-logits): log-sum-exp minus the true logit."""
    lse = torch.logsumexp(torch.tensor(LOGITS), dim=1).numpy()
    loss = (lse - LOGITS[np.arange(12), TARGETS]).mean()
    assert abs(loss - cross_entropy(LOGITS, TARGETS)) < 1e-12
    extreme = np.array([[1000.0, 0.0, -1000.0]])
    assert cross_entropy(extreme, np.array([2])) == 2000.0  # no overflow, no -inf


def check_cross_entropy_gradient():
    """Equation (cross-entropy-gradient): differences and autograd, soft targets too."""
    mine = cross_entropy_grad(LOGITS, TARGETS)
    numeric = numeric_gradient(lambda z: cross_entropy(z, TARGETS), LOGITS)
    assert np.allclose(mine, numeric, rtol=0, atol=1e-8)
    t = torch.tensor(LOGITS, requires_grad=True)
    F.cross_entropy(t, torch.tensor(TARGETS)).backward()
    assert np.allclose(mine, t.grad.numpy(), rtol=0, atol=1e-12)
    soft = (np.exp(log_softmax(LOGITS)) - SOFT) / 12
    numeric = numeric_gradient(lambda z: soft_cross_entropy(z, SOFT), LOGITS)
    assert np.allclose(soft, numeric, rtol=0, atol=1e-8)
    # per example: components sum to 0, Euclidean norm at most sqrt(2)
    assert np.allclose(mine.sum(axis=1), 0, rtol=0, atol=1e-12)
    extreme = cross_entropy_grad(np.array([[50.0, 0.0]]), np.array([1]))
    assert abs(np.linalg.norm(extreme) - np.sqrt(2)) < 1e-12
    assert (np.linalg.norm(12 * mine, axis=1) <= np.sqrt(2)).all()


def check_cross_entropy_weight_gradient():
    """Equation (cross-entropy-weight-gradient): last layer against autograd."""
    rng = np.random.default_rng(3)
    h, W, b = rng.normal(size=7), rng.normal(size=(5, 7)), rng.normal(size=5)
    tW, tb = torch.tensor(W, requires_grad=True), torch.tensor(b, requires_grad=True)
    F.cross_entropy(tW @ torch.tensor(h) + tb, torch.tensor(2)).backward()
    residual = np.exp(log_softmax((W @ h + b)[None]))[0] - np.eye(5)[2]
    assert np.allclose(tW.grad.numpy(), np.outer(residual, h), rtol=0, atol=1e-12)
    assert np.allclose(tb.grad.numpy(), residual, rtol=0, atol=1e-12)


def check_cross_entropy_hessian():
    """Equation (cross-entropy-hessian): diag(p) - p p^T, positive semidefinite."""
    for z, c in zip(LOGITS, TARGETS, strict=True):
        def loss(v, c=c):
            return F.cross_entropy(v, torch.tensor(c))

        hessian = torch.autograd.functional.hessian(loss, torch.tensor(z)).numpy()
        p = np.exp(log_softmax(z[None]))[0]
        assert np.allclose(hessian, np.diag(p) - np.outer(p, p), rtol=0, atol=1e-10)
        assert np.linalg.eigvalsh(hessian).min() > -1e-10


def check_squared_error_not_convex():
    """Squared error of a sigmoid has negative curvature in the logit."""
    z, h = -3.0, 1e-3

    def loss(z):
        return 0.5 * (sigmoid(z) - 1) ** 2

    assert (loss(z + h) - 2 * loss(z) + loss(z - h)) / h**2 < -0.01


def check_cross_entropy_kl():
    """Equation (cross-entropy-kl), and Gibbs: no q beats the target itself."""
    p = np.exp(log_softmax(LOGITS))
    cross = -(SOFT * np.log(p)).sum(axis=1)
    entropy = -(SOFT * np.log(SOFT)).sum(axis=1)
    kl = (SOFT * np.log(SOFT / p)).sum(axis=1)
    assert np.allclose(cross, entropy + kl) and (kl > 0).all()
    at_target = soft_cross_entropy(np.log(SOFT), SOFT)
    assert abs(at_target - entropy.mean()) < 1e-12
    assert not np.allclose(kl, (p * np.log(p / SOFT)).sum(axis=1))  # not symmetric


def check_cross_entropy_likelihood():
    """Equation (cross-entropy-likelihood): -log of the product of probabilities."""
    p = np.exp(log_softmax(LOGITS))[np.arange(12), TARGETS]
    assert np.isclose(cross_entropy(LOGITS, TARGETS), -np.log(np.prod(p)) / 12)


def check_cross_entropy_binary():
    """Equation (cross-entropy-binary): three forms, torch, large logits."""
    z = np.linspace(-20, 20, 81)
    for y in (0.0, 0.3, 1.0):
        p = sigmoid(z)
        plain = -(y * np.log(p) + (1 - y) * np.log1p(-p))
        stable = np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))
        softplus = np.logaddexp(0, z) - y * z
        assert np.allclose(plain, stable, atol=1e-6)
        assert np.allclose(softplus, stable, rtol=0, atol=1e-12)
        target = torch.full((81,), y, dtype=torch.float64)
        loss = torch_binary(torch.tensor(z), target).item()
        assert abs(loss - binary_cross_entropy(z, y)) < 1e-12
        grad = numeric_gradient(lambda v, y=y: binary_cross_entropy(v, y) * 81, z)
        assert np.allclose(grad, p - y, atol=1e-6)
    assert binary_cross_entropy(np.array([-1000.0]), 1.0) == 1000.0
    # two-class softmax with logits (z, 0) is the same loss
    two = np.stack([z, np.zeros_like(z)], axis=1)
    assert np.isclose(
        cross_entropy(two, np.zeros(81, dtype=int)), binary_cross_entropy(z, 1.0)
    )


def check_cross_entropy_squared_error():
    """Equation (cross-entropy-squared-error), sigmoid and softmax versions."""
    z = np.linspace(-8, 8, 65)
    for y in (0.0, 1.0):
        numeric = numeric_gradient(
            lambda v, y=y: (0.5 * (sigmoid(v) - y) ** 2).sum(), z
        )
        p = sigmoid(z)
        assert np.allclose(numeric, (p - y) * p * (1 - p), rtol=0, atol=1e-8)
    p, y = np.exp(log_softmax(LOGITS[:1]))[0], ONE_HOT[0]
    numeric = numeric_gradient(
        lambda v: 0.5 * ((np.exp(log_softmax(v[None]))[0] - y) ** 2).sum(), LOGITS[0]
    )
    assert np.allclose(numeric, (np.diag(p) - np.outer(p, p)) @ (p - y), rtol=0, atol=1e-8)


def check_cross_entropy_double_softmax():
    """Equation (cross-entropy-double-softmax): the floor, and that nothing is below."""
    for classes, printed in ((2, 0.3133), (10, 1.4612), (1000, 5.9095)):
        floor = np.log(1 + (classes - 1) / np.e)
        assert abs(floor - printed) < 5e-5
        perfect = torch.eye(classes, dtype=torch.float64)[:1]
        assert abs(F.cross_entropy(perfect, torch.tensor([0])).item() - floor) < 1e-12
    p = np.random.default_rng(4).dirichlet(np.full(10, 0.1), size=1000)
    zeros = np.zeros(1, dtype=int)
    assert min(cross_entropy(row[None], zeros) for row in p) >= np.log(1 + 9 / np.e)


def check_cross_entropy_uniform():
    """Equation (cross-entropy-uniform): equal logits cost log K for every class."""
    for classes, printed in ((2, 0.6931), (10, 2.3026), (1000, 6.9078)):
        for c in (0, classes - 1):
            loss = cross_entropy(np.full((1, classes), 0.7), np.array([c]))
            assert abs(loss - np.log(classes)) < 1e-12
            assert abs(loss - printed) < 5e-5


def check_label_smoothing_floor():
    """With eps = 0.1 and K = 10 the loss cannot fall below 0.5003."""
    target = np.full(10, 0.01)
    target[3] = 0.91
    floor = -(target * np.log(target)).sum()
    assert abs(floor - 0.5003) < 5e-5
    z = np.log(target)[None]
    assert np.isclose(soft_cross_entropy(z, target[None]), floor)
    best = torch.tensor(z)
    loss = F.cross_entropy(best, torch.tensor([3]), label_smoothing=0.1).item()
    assert abs(loss - floor) < 1e-12


def check_scaling_logits():
    """If every example is right, scaling the logits up lowers the loss towards 0."""
    z = LOGITS.copy()
    z[np.arange(12), TARGETS] = z.max(axis=1) + 0.5
    losses = [cross_entropy(c * z, TARGETS) for c in (1, 2, 4, 8, 64)]
    assert (np.diff(losses) < 0).all() and losses[-1] < 1e-9
    wrong = z.copy()
    wrong[0, TARGETS[0]] -= 5
    assert cross_entropy(64 * wrong, TARGETS) > cross_entropy(wrong, TARGETS)


def check_torch_conventions():
    """Weighted mean, ignored targets, and the clamp of BCELoss."""
    t, c = torch.tensor(LOGITS), torch.tensor(TARGETS)
    w = torch.arange(1.0, 6.0, dtype=torch.float64)
    each = F.cross_entropy(t, c, reduction="none")
    weighted = F.cross_entropy(t, c, weight=w)
    assert torch.isclose(weighted, (w[c] * each).sum() / w[c].sum())
    assert not torch.isclose(weighted, (w[c] * each).mean())
    ignored = c.clone()
    ignored[:4] = -100
    assert torch.isclose(F.cross_entropy(t, ignored), each[4:].mean())
    assert torch.isnan(F.cross_entropy(t, torch.full_like(c, -100)))
    clamped = F.binary_cross_entropy(torch.tensor([0.0]), torch.tensor([1.0]))
    assert clamped.item() == 100.0


def check_loss_and_accuracy_differ():
    """Two models: the second has the lower loss and the lower accuracy."""
    y = np.array([0, 0, 0, 0])
    logit = {p: [np.log(p), np.log(1 - p)] for p in (0.51, 0.49, 0.99)}
    first = np.array([logit[0.51]] * 4)
    second = np.array([logit[0.99]] * 3 + [logit[0.49]])
    assert (first.argmax(1) == y).mean() == 1.0
    assert (second.argmax(1) == y).mean() == 0.75
    assert cross_entropy(second, y) < cross_entropy(first, y)
    assert abs(cross_entropy(first, y) - 0.673) < 5e-4
    assert abs(cross_entropy(second, y) - 0.186) < 5e-4


def check_worked_example():
    """The numbers of the page, to the digits printed there."""
    z, y = np.array([[2.0, 1.0, 0.0]]), np.array([1])
    assert np.isclose(cross_entropy(z, y), 1.4076, atol=5e-5)
    g = cross_entropy_grad(z, y)
    assert np.allclose(g, [[0.6652, -0.7553, 0.0900]], atol=5e-5)
    moved = z - g
    assert np.allclose(moved, [[1.3348, 1.7553, -0.0900]], atol=5e-5)
    assert np.isclose(cross_entropy(moved, y), 0.5959, atol=5e-5)
    p = sigmoid(-4.0)
    assert np.isclose(p, 0.0180, atol=5e-5)
    assert np.isclose(binary_cross_entropy(np.array([-4.0]), 1.0), 4.0181, atol=5e-5)
    assert np.isclose(p - 1, -0.9820, atol=5e-5)
    assert np.isclose((p - 1) * p * (1 - p), -0.0173, atol=5e-5)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
