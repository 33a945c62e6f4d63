"""Twin of the page "Softmax": its snippets, its figure, its checks."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def log_sum_exp(z, axis=-1):
    """log(sum(exp(z))) along an axis (kept), without overflow."""
    m = z.max(axis=axis, keepdims=True)
    return m + np.log(np.exp(z - m).sum(axis=axis, keepdims=True))


def softmax(z, temperature=1.0, axis=-1):
    """Logits of any shape -> probabilities that sum to 1 along the axis."""
    z = z / temperature
    e = np.exp(z - z.max(axis=axis, keepdims=True))  # largest exponent is 0
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(z, axis=-1):
    """log(softmax(z)); finite where softmax(z) underflows to 0."""
    return z - log_sum_exp(z, axis)


def softmax_backward(p, grad_p):
    """Vector-Jacobian product along the last axis: dJ/dp -> dJ/dz."""
    return p * (grad_p - (p * grad_p).sum(axis=-1, keepdims=True))
# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_softmax(z, temperature=1.0):
    """Probabilities; dim is the class axis and should always be written out."""
    return torch.softmax(z / temperature, dim=-1)


def torch_log_softmax(z):
    """Log-probabilities; better than torch.log(torch.softmax(z, dim=-1))."""
    return torch.log_softmax(z, dim=-1)


def masked_softmax(z, allowed):
    """Give forbidden entries probability 0; each row needs one allowed entry."""
    return torch.softmax(z.masked_fill(~allowed, float("-inf")), dim=-1)
# --8<-- [end:torch]

RNG_LOGITS = np.random.default_rng(0).normal(size=(20, 6)) * 3


def softmax_jacobian(z):
    """diag(p) - p p^T for one vector of logits."""
    p = softmax(z)
    return np.diag(p) - np.outer(p, p)


def central_difference(function, z, h=1e-6):
    """Jacobian of a vector-valued function at z, shape (outputs, inputs)."""
    columns = [
        (function(z + h * e) - function(z - h * e)) / (2 * h) for e in np.eye(len(z))
    ]
    return np.stack(columns, axis=-1)


def figure_temperature():
    """The same logits at three temperatures, and over the whole range."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2))
    z = np.array([3.0, 2.0, 1.0, 0.0])
    hatches = ["", "//", "xx"]
    for i, (t, hatch) in enumerate(zip([0.5, 1.0, 3.0], hatches, strict=True)):
        left.bar(np.arange(4) + 0.27 * (i - 1), softmax(z, t), width=0.25,
                 hatch=hatch, edgecolor="#222222", lw=0.6, label=f"T = {t:g}")
    left.set_xticks(range(4), [f"z = {v:g}" for v in z])
    left.set(xlabel="class", ylabel="probability", ylim=(0, 1))
    left.legend(fontsize=9)
    ts = np.geomspace(0.1, 30, 200)
    curves = np.stack([softmax(z, t) for t in ts])
    for k, style in enumerate(["-", "--", "-.", ":"]):
        right.plot(ts, curves[:, k], linestyle=style, label=f"z = {z[k]:g}")
    right.axhline(0.25, color="#555555", lw=0.8)
    right.annotate("uniform: 1/4", (0.11, 0.27), fontsize=9)
    right.set(xscale="log", xlabel="temperature T", ylabel="probability")
    right.set_ylim(0, 1.02)
    right.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    right.legend(fontsize=9, loc="upper right")
    return fig


def check_softmax_definition():
    """Equation (softmax-definition): the plain formula, a distribution, torch."""
    z = RNG_LOGITS
    p = softmax(z)
    plain = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert np.allclose(p, plain, rtol=0, atol=1e-12)
    assert (p > 0).all() and np.allclose(p.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert np.array_equal(p.argsort(axis=1), z.argsort(axis=1))  # order is kept
    t = torch.tensor(z)
    assert np.allclose(p, torch_softmax(t).numpy(), rtol=0, atol=1e-12)
    assert np.allclose(log_softmax(z), torch_log_softmax(t).numpy(), rtol=0, atol=1e-12)
    assert np.allclose(log_sum_exp(z)[:, 0], torch.logsumexp(t, 1).numpy(), rtol=0, atol=1e-12)


def check_softmax_ratio():
    """Equation (softmax-ratio): odds depend on logit differences alone."""
    z, p = RNG_LOGITS[0], softmax(RNG_LOGITS[0])
    assert np.allclose(np.divide.outer(p, p), np.exp(np.subtract.outer(z, z)))


def check_softmax_shift():
    """Equation (softmax-shift)."""
    for c in (-50.0, 3.7, 1e4):
        assert np.allclose(softmax(RNG_LOGITS + c), softmax(RNG_LOGITS), rtol=0, atol=1e-10)
    assert not np.allclose(softmax(2 * RNG_LOGITS), softmax(RNG_LOGITS), atol=1e-3)


def check_softmax_two_class():
    """Equation (softmax-two-class)."""
    z = RNG_LOGITS[:, :2]
    sigmoid = 1 / (1 + np.exp(-(z[:, 0] - z[:, 1])))
    assert np.allclose(softmax(z)[:, 0], sigmoid, rtol=0, atol=1e-12)


def check_softmax_temperature():
    """Equation (softmax-temperature): limits, order, entropy grows with T."""
    z = np.array([3.0, 2.0, 3.0, 0.0])
    assert np.allclose(softmax(z, 1e-2), [0.5, 0, 0.5, 0], rtol=0, atol=1e-12)
    assert np.allclose(softmax(z, 1e6), 0.25, atol=1e-5)
    t = torch.tensor(RNG_LOGITS)
    assert np.allclose(softmax(RNG_LOGITS, 2.5), torch_softmax(t, 2.5).numpy())
    temperatures = np.geomspace(0.1, 30, 50)
    for z in RNG_LOGITS:
        ps = np.stack([softmax(z, t) for t in temperatures])
        assert (ps.argmax(axis=1) == z.argmax()).all()
        entropy = -(ps * np.log(np.maximum(ps, 1e-300))).sum(axis=1)
        assert (np.diff(entropy) > 0).all()


def check_softmax_log_sum_exp():
    """Equation (softmax-log-sum-exp): identity, and no overflow."""
    assert np.allclose(log_sum_exp(RNG_LOGITS)[:, 0], np.log(np.exp(RNG_LOGITS).sum(1)))
    assert np.allclose(log_softmax(RNG_LOGITS), np.log(softmax(RNG_LOGITS)))
    big = np.array([1002.0, 1001.0, 1000.0])
    assert np.allclose(softmax(big), softmax(big - 1000))
    assert np.isclose(log_sum_exp(big)[0], 1000 + np.log(np.exp([2, 1, 0]).sum()))
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(np.exp(big) / np.exp(big).sum()).all()
    # log(softmax) loses what log_softmax keeps
    far = np.array([0.0, -800.0])
    with np.errstate(divide="ignore"):
        assert np.log(softmax(far))[1] == -np.inf
    assert np.isclose(log_softmax(far)[1], -800.0)


def check_overflow_thresholds():
    """exp overflows just above 11.09 (fp16), 88.72 (fp32), 709.78 (fp64)."""
    cases = [(np.float16, 11.09), (np.float32, 88.72), (np.float64, 709.78)]
    with np.errstate(over="ignore"):
        for dtype, limit in cases:
            assert abs(np.log(float(np.finfo(dtype).max)) - limit) < 0.01
            assert np.isinf(np.exp(dtype(limit + 0.02)))
            assert np.isfinite(np.exp(dtype(limit - 0.02)))


def check_softmax_lse_bounds():
    """Equation (softmax-lse-bounds); equality on the right for equal logits."""
    lse, m = log_sum_exp(RNG_LOGITS)[:, 0], RNG_LOGITS.max(axis=1)
    assert (m < lse).all() and (lse < m + np.log(6)).all()
    assert np.isclose(log_sum_exp(np.full(6, 1.3))[0], 1.3 + np.log(6))


def check_softmax_lse_gradient():
    """Equation (softmax-lse-gradient): the gradient of log-sum-exp is softmax."""
    for z in RNG_LOGITS[:5]:
        assert np.allclose(central_difference(log_sum_exp, z)[0], softmax(z), rtol=0, atol=1e-8)


def check_softmax_jacobian():
    """Equation (softmax-jacobian): differences, autograd, its stated properties."""
    for z in RNG_LOGITS:
        jacobian = softmax_jacobian(z)
        assert np.allclose(jacobian, central_difference(softmax, z), rtol=0, atol=1e-8)
        auto = torch.autograd.functional.jacobian(torch_softmax, torch.tensor(z))
        assert np.allclose(jacobian, auto.numpy(), rtol=0, atol=1e-12)
        assert np.allclose(jacobian, jacobian.T)
        assert np.allclose(jacobian @ np.ones(6), 0, rtol=0, atol=1e-12)
        assert np.linalg.eigvalsh(jacobian).min() > -1e-12
    assert np.abs(softmax_jacobian(np.array([40.0, 0.0, 0.0]))).max() < 1e-16
    z = RNG_LOGITS[0]
    tempered = central_difference(lambda v: softmax(v, 2.5), z)
    assert np.allclose(tempered, softmax_jacobian(z / 2.5) / 2.5, rtol=0, atol=1e-8)


def check_softmax_vjp():
    """Equation (softmax-vjp): the batched backward pass against autograd."""
    rng = np.random.default_rng(1)
    upstream = rng.normal(size=RNG_LOGITS.shape)
    t = torch.tensor(RNG_LOGITS, requires_grad=True)
    (torch_softmax(t) * torch.tensor(upstream)).sum().backward()
    mine = softmax_backward(softmax(RNG_LOGITS), upstream)
    assert np.allclose(mine, t.grad.numpy(), rtol=0, atol=1e-12)
    explicit = [
        softmax_jacobian(z).T @ g for z, g in zip(RNG_LOGITS, upstream, strict=True)
    ]
    assert np.allclose(mine, explicit, rtol=0, atol=1e-12)


def check_softmax_variational():
    """Equation (softmax-variational): identity for random q; softmax is the best."""
    rng = np.random.default_rng(2)
    for z in RNG_LOGITS:
        p = softmax(z)
        for q in rng.dirichlet(np.ones(6), size=20):
            left = q @ z - q @ np.log(q)
            kl = q @ np.log(q / p)
            assert np.isclose(left, log_sum_exp(z)[0] - kl, rtol=0, atol=1e-9)
            assert left < log_sum_exp(z)[0]
        assert np.isclose(p @ z - p @ np.log(p), log_sum_exp(z)[0], rtol=0, atol=1e-9)


def check_masked_softmax():
    """Masked entries get exactly 0; a row without allowed entries becomes NaN."""
    z = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    allowed = torch.tensor([[True, True, False], [False, False, False]])
    p = masked_softmax(z, allowed)
    assert p[0, 2] == 0 and torch.allclose(p[0, :2], torch.softmax(z[0, :2], 0))
    assert torch.isnan(p[1]).all()


def check_single_output():
    """Softmax over one unit is constant 1 and passes no gradient."""
    t = torch.randn(5, 1, requires_grad=True)
    p = torch_softmax(t)
    (p * torch.arange(5.0)[:, None]).sum().backward()
    assert (p == 1).all() and not t.grad.any()


def check_worked_example():
    """The numbers of the page, to the digits printed there."""
    z = np.array([2.0, 1.0, 0.0])
    assert np.allclose(np.exp(z), [7.3891, 2.7183, 1.0], atol=5e-5)
    assert np.isclose(np.exp(z).sum(), 11.1073, atol=5e-5)
    assert np.allclose(softmax(z), [0.6652, 0.2447, 0.0900], atol=5e-5)
    assert np.isclose(log_sum_exp(z)[0], 2.4076, atol=5e-5)
    assert np.allclose(softmax(z, 2.0), [0.5065, 0.3072, 0.1863], atol=5e-5)
    expected = [
        [0.2227, -0.1628, -0.0599],
        [-0.1628, 0.1848, -0.0220],
        [-0.0599, -0.0220, 0.0819],
    ]
    assert np.allclose(softmax_jacobian(z), expected, atol=6e-5)
    moved = softmax(z + np.array([0.1, 0, 0]))
    assert np.isclose(moved[0] - softmax(z)[0], 0.0219, atol=5e-5)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
