"""Twin of the page "ReLU, Leaky ReLU, PReLU and ELU": its snippets, figures, checks."""

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F

# --8<-- [start:numpy]
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


def relu(z):
    """max(0, z) and its slope; the slope at 0 is taken as 0."""
    return np.maximum(z, 0), (z > 0).astype(float)


def leaky_relu(z, a=0.01):
    """z for z > 0, else a z. PReLU is the same function with a learned a."""
    return np.where(z > 0, z, a * z), np.where(z > 0, 1.0, a)


def prelu_backward(grad, z, a):
    """From dJ/d(output) to dJ/dz and dJ/da, one shared slope a."""
    return grad * np.where(z > 0, 1.0, a), (grad * np.minimum(z, 0)).sum()


def elu(z, alpha=1.0):
    """z for z > 0, else alpha (exp(z) - 1); expm1 keeps digits near 0."""
    e = np.expm1(np.minimum(z, 0))  # minimum: never exponentiates a large number
    return np.where(z > 0, z, alpha * e), np.where(z > 0, 1.0, alpha * (e + 1))


def selu(z):
    """ELU with the two constants of self-normalizing networks."""
    value, slope = elu(z, SELU_ALPHA)
    return SELU_SCALE * value, SELU_SCALE * slope


def dead_units(z):
    """z (examples, units) -> True where no example has a positive pre-activation."""
    return (z <= 0).all(axis=0)
# --8<-- [end:numpy]


# --8<-- [start:torch]
TORCH_FAMILY = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,  # negative_slope=0.01
    "elu": F.elu,  # alpha=1.0
    "selu": F.selu,  # the constants are built in
}


def torch_prelu(z, grad):
    """PReLU module (one slope, initially 0.25): output, dJ/dz, dJ/da."""
    layer = torch.nn.PReLU().to(z.dtype)
    z = z.clone().requires_grad_(True)
    out = layer(z)
    out.backward(grad)
    return out.detach(), z.grad, layer.weight.grad


class DeadUnitCounter:
    """Forward hook for a ReLU module: which units were never active."""

    def __init__(self):
        self.ever_active = None

    def __call__(self, module, inputs, output):
        active = (output > 0).flatten(0, -2).any(dim=0)  # last axis: units
        if self.ever_active is not None:
            active = active | self.ever_active
        self.ever_active = active

    def share(self):
        return 1 - self.ever_active.float().mean().item()
# --8<-- [end:torch]

FAMILY = {"relu": relu, "leaky_relu": leaky_relu, "elu": elu, "selu": selu}


def train(rate, slope=0.0, seed=0, steps=300, width=64, n=256):
    """Full-batch gradient descent on a small regression; share of dead units, loss.

    One hidden layer of `width` units, He initialization, zero biases, 8 standard
    normal inputs, target sin of a random linear map. `slope` is that for z <= 0.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8))
    y = np.sin(x @ rng.normal(size=8) / 2)
    W, b = rng.normal(size=(width, 8)) * np.sqrt(2 / 8), np.zeros(width)
    v, c = rng.normal(size=width) / np.sqrt(width), 0.0
    for _ in range(steps):
        z = x @ W.T + b
        a, d = leaky_relu(z, slope)
        e = a @ v + c - y
        delta = np.outer(e, v) * d / n
        v, c = v - rate * a.T @ e / n, c - rate * e.mean()
        W, b = W - rate * delta.T @ x, b - rate * delta.sum(axis=0)
    z = x @ W.T + b
    e = leaky_relu(z, slope)[0] @ v + c - y
    return dead_units(z).mean(), 0.5 * (e**2).mean()


def figure_family():
    """Values and slopes of the family."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1))
    left, right = np.linspace(-3, -1e-9, 200), np.linspace(1e-9, 2, 100)
    z = np.concatenate([left, [np.nan], right])
    shown = (("ReLU", relu, "-", 2.6), ("leaky, slope 0.2",
             lambda z: leaky_relu(z, 0.2), "--", 1.6), ("ELU", elu, "-.", 1.6),
             ("SELU", selu, (0, (1, 1)), 2.0))
    for name, phi, style, lw in shown:
        value, slope = phi(z)
        axes[0].plot(z, value, linestyle=style, lw=lw, label=name)
        axes[1].plot(z, slope, linestyle=style, lw=lw)
    axes[0].set(xlabel="pre-activation z", ylabel="activation", ylim=(-2, 2.3))
    axes[1].set(xlabel="pre-activation z", ylabel="slope", ylim=(-0.08, 1.9))
    axes[0].legend(fontsize=9, loc="upper left")
    return fig


def figure_dying():
    """Share of dead units after training, against the learning rate."""
    rates = [0.02, 0.05, 0.08, 0.11, 0.14, 0.17, 0.2, 0.23]
    runs = np.array([[train(r, seed=s, steps=150) for s in range(5)] for r in rates])
    dead = runs[:, :, 0]
    fig, ax = plt.subplots(figsize=(6.4, 2.8))
    ax.plot(rates, dead.mean(axis=1), "-o", ms=5, label="mean of five runs")
    ax.vlines(rates, dead.min(axis=1), dead.max(axis=1), lw=1.2, color="#222222",
              label="range")
    ax.set(xlabel="learning rate", ylabel="share of dead units", ylim=(-0.03, 1.05))
    ax.legend(fontsize=9, loc="upper left")
    return fig


def check_relu_definitions():
    """Equation (relu-definitions): against torch, large inputs too."""
    z = np.concatenate([np.linspace(-6, 6, 122), [-1000.0, 1000.0]])
    for name, phi in FAMILY.items():
        ours, theirs = phi(z)[0], TORCH_FAMILY[name](torch.tensor(z)).numpy()
        assert np.allclose(ours, theirs, rtol=1e-12, atol=1e-12), name
    assert np.allclose(relu(z)[0], leaky_relu(z, 0.0)[0])
    assert np.allclose(leaky_relu(z)[0], np.maximum(z, 0.01 * z))
    assert torch.nn.LeakyReLU().negative_slope == 0.01 and torch.nn.ELU().alpha == 1
    assert torch.nn.PReLU().weight.tolist() == [0.25]
    assert torch.nn.PReLU(64).weight.shape == (64,)


def check_relu_slopes():
    """Equation (relu-slopes): finite differences and autograd away from 0."""
    z, h = np.linspace(-5, 5, 122), 1e-6
    for name, phi in FAMILY.items():
        numeric = (phi(z + h)[0] - phi(z - h)[0]) / (2 * h)
        assert np.allclose(phi(z)[1], numeric, atol=1e-7), name
        t = torch.tensor(z, requires_grad=True)
        TORCH_FAMILY[name](t).sum().backward()
        assert np.allclose(phi(z)[1], t.grad.numpy(), rtol=0, atol=1e-12), name


def check_relu_subdifferential():
    """Equation (relu-subdifferential): exactly the slopes in [0, 1] stay below ReLU."""
    z = np.linspace(-3, 3, 601)
    for g in (0.0, 0.3, 1.0):
        assert (np.maximum(z, 0) >= g * z).all()
    for g in (-0.01, 1.01):
        assert (np.maximum(z, 0) < g * z).any()


def _slope_at_zero(f):
    x = torch.zeros(1, requires_grad=True)
    return torch.autograd.grad(f(x).sum(), x)[0].item()


def check_slopes_at_zero_in_torch():
    """The table of slopes at 0; one function, three answers, and a broken identity."""
    zero = torch.zeros(1)
    assert _slope_at_zero(F.relu) == 0
    assert _slope_at_zero(lambda x: torch.maximum(x, zero)) == 0.5
    assert _slope_at_zero(lambda x: x.clamp(min=0)) == 1
    assert abs(_slope_at_zero(F.leaky_relu) - 0.01) < 1e-8
    assert _slope_at_zero(torch.nn.PReLU()) == 0.25
    assert _slope_at_zero(F.elu) == 1 and _slope_at_zero(lambda x: F.elu(x, 2.0)) == 2
    assert abs(_slope_at_zero(F.selu) - SELU_SCALE * SELU_ALPHA) < 1e-6
    assert _slope_at_zero(lambda x: F.relu(x) - F.relu(-x)) == 0  # the identity: 1


def check_relu_homogeneity():
    """Equation (relu-homogeneity), for c > 0 only, and the two ways to split z."""
    z = np.random.default_rng(0).normal(size=100)
    for phi in (lambda z: relu(z)[0], lambda z: leaky_relu(z)[0]):
        assert np.allclose(phi(3.7 * z), 3.7 * phi(z))
        assert not np.allclose(phi(-3.7 * z), -3.7 * phi(z))
    assert not np.allclose(elu(3.7 * z)[0], 3.7 * elu(z)[0])
    r = lambda z: relu(z)[0]  # noqa: E731
    assert np.allclose(z, r(z) - r(-z)) and np.allclose(np.abs(z), r(z) + r(-z))
    rng = np.random.default_rng(1)  # rescaling a unit leaves the network unchanged
    x, W, v = rng.normal(size=(20, 3)), rng.normal(size=(5, 3)), rng.normal(size=5)
    c = np.array([0.1, 1, 2, 5, 9])
    assert np.allclose(r(x @ W.T) @ v, r(x @ (W * c[:, None]).T) @ (v / c))


def sawtooth(x, k):
    """k tents composed: two ReLU units per layer."""
    for _ in range(k):
        x = 2 * np.maximum(x, 0) - 4 * np.maximum(x - 0.5, 0)
    return x


def check_relu_sawtooth():
    """Equation (relu-sawtooth): 2^k pieces of slope +-2^k on [0, 1]."""
    for k in (1, 3, 6):
        x = np.linspace(0, 1, 2**k * 16 + 1)
        y = sawtooth(x, k)
        slopes = np.diff(y) * 2**k * 16
        assert np.allclose(np.abs(slopes), 2**k)
        assert (np.diff(np.sign(slopes)) != 0).sum() + 1 == 2**k
        assert y.min() == 0 and y.max() == 1
        tent = np.where(x < 0.5, 2 * x, 2 - 2 * x)
        assert np.allclose(sawtooth(x, 1), tent)


def check_relu_regions():
    """Equation (relu-regions): generic lines in the plane, and n + 1 pieces on a line."""
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 8):
        W, b = rng.normal(size=(n, 2)), rng.normal(size=n)
        patterns = set()
        for i, j in itertools.combinations(range(n), 2):
            vertex = np.linalg.solve(W[[i, j]], -b[[i, j]])
            for si, sj in itertools.product((-1, 1), repeat=2):
                step = np.linalg.solve(W[[i, j]], 1e-7 * np.array([si, sj]))
                patterns.add(tuple(W @ (vertex + step) + b > 0))
        assert len(patterns) == sum(math.comb(n, k) for k in range(3))
    x = np.linspace(-50, 50, 400001)
    w, b, v = rng.normal(size=(3, 6))
    y = np.maximum(np.outer(x, w) + b, 0) @ v
    jumps = np.unique(np.round(np.diff(y) / (x[1] - x[0]), 4))
    assert 2 <= len(jumps) and sum(math.comb(6, k) for k in range(2)) == 7
    kinks = -b / w  # at most 6 kinks, hence at most 7 pieces
    middle = np.sort(np.concatenate([[-1e3], kinks, [1e3]]))
    slopes = [(w * v)[(w * m + b) > 0].sum() for m in (middle[1:] + middle[:-1]) / 2]
    assert len(slopes) == 7 and len(set(np.round(slopes, 9))) == 7


def check_relu_dead_gradient():
    """Equation (relu-dead-gradient): against autograd; zero if no example is active."""
    rng = np.random.default_rng(0)
    x, up = rng.normal(size=(50, 4)), rng.normal(size=50)
    for bias in (0.2, -20.0):
        w = torch.tensor(rng.normal(size=4), requires_grad=True)
        b = torch.tensor(bias, dtype=torch.float64, requires_grad=True)
        a = F.relu(torch.tensor(x) @ w + b)
        (a * torch.tensor(up)).mean().backward()
        active = (x @ w.detach().numpy() + bias) > 0
        assert np.allclose(w.grad.numpy(), (up * active) @ x / 50, atol=1e-14)
        assert np.allclose(b.grad.item(), (up * active).mean(), atol=1e-14)
        assert active.any() == (bias > 0) == bool(w.grad.abs().sum() > 0)


def check_relu_dead_ball():
    """Equation (relu-dead-ball): the border case, from both sides."""
    rng = np.random.default_rng(0)
    w, radius = rng.normal(size=5), 3.0
    x = rng.normal(size=(4000, 5))
    x *= radius * rng.uniform(size=(4000, 1)) / np.linalg.norm(x, axis=1, keepdims=True)
    limit = -radius * np.linalg.norm(w)
    assert (x @ w + limit <= 0).all()
    worst = radius * w / np.linalg.norm(w)
    assert abs(worst @ w + limit) < 1e-12 and worst @ w + limit + 1e-6 > 0


def check_relu_dead_depth():
    """Equation (relu-dead-depth): 20,000 random networks of width 4; and its numbers."""
    rng = np.random.default_rng(0)
    n, depth, draws = 4, 20, 20_000
    a = np.ones((draws, n))
    for layer in range(depth):
        W = rng.normal(size=(draws, n, n)) * math.sqrt(2 / n)
        a = np.maximum(np.einsum("dij,dj->di", W, a), 0)
        if layer == 4:
            early = (a == 0).all(axis=1).mean()
    assert abs(early - (1 - (1 - 2**-n) ** 5)) < 0.015
    assert abs((a == 0).all(axis=1).mean() - (1 - (1 - 2**-n) ** depth)) < 0.015
    assert round(100 * (1 - (1 - 2.0**-4) ** 20)) == 72
    assert 1 - (1 - 2.0**-64) ** 1000 < 1e-15


def check_relu_prelu_gradient():
    """Equation (relu-prelu-gradient): finite differences and PyTorch's module."""
    rng = np.random.default_rng(0)
    z, grad = rng.normal(size=(30, 5)), rng.normal(size=(30, 5))
    dz, da = prelu_backward(grad, z, 0.25)
    h = 1e-6
    f = lambda a: (grad * leaky_relu(z, a)[0]).sum()  # noqa: E731
    assert abs(da - (f(0.25 + h) - f(0.25 - h)) / (2 * h)) < 1e-7
    out, tz, ta = torch_prelu(torch.tensor(z), torch.tensor(grad))
    assert np.allclose(out.numpy(), leaky_relu(z, 0.25)[0], rtol=0, atol=1e-12)
    assert np.allclose(dz, tz.numpy(), rtol=0, atol=1e-12) and abs(da - ta.item()) < 1e-12


def check_relu_gain():
    """Equation (relu-gain): symmetric samples, and PyTorch's gain."""
    rng = np.random.default_rng(0)
    for z in (rng.normal(size=400_000), rng.uniform(-2, 2, size=400_000)):
        for a in (0.0, 0.01, 0.25, 1.0):
            ratio = (leaky_relu(z, a)[0] ** 2).mean() / (z**2).mean()
            assert abs(ratio - (1 + a * a) / 2) < 0.01
            gain = torch.nn.init.calculate_gain("leaky_relu", a)
            assert abs(gain**2 - 2 / (1 + a * a)) < 1e-12


def check_relu_selu_constants():
    """Equation (relu-selu-constants): closed form, fixed point by quadrature, torch."""
    cdf = lambda z: 0.5 * math.erfc(-z / math.sqrt(2))  # noqa: E731
    m1, m2 = math.sqrt(math.e) * cdf(-1), math.e**2 * cdf(-2)
    alpha = (1 / math.sqrt(2 * math.pi)) / (0.5 - m1)
    scale = (0.5 + alpha**2 * (m2 - 2 * m1 + 0.5)) ** -0.5
    assert abs(alpha - SELU_ALPHA) < 1e-13 and abs(scale - SELU_SCALE) < 1e-13
    z = (np.arange(2_000_000) + 0.5) / 1e5 - 10  # midpoint rule, kink on a cell edge
    w = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / 1e5
    v = selu(z)[0]
    assert abs((w * v).sum()) < 1e-9 and abs((w * v**2).sum() - 1) < 1e-9
    assert abs(F.selu(torch.tensor(-50.0)).item() + alpha * scale) < 1e-6
    assert abs(alpha * scale - 1.7581) < 1e-4


def check_batch_norm_prevents_death():
    """With shift 0, batch-normalized pre-activations are never all negative."""
    z = np.random.default_rng(0).normal(size=(32, 50)) - 20
    assert dead_units(z).all()
    centered = torch.nn.BatchNorm1d(50, affine=False).double()(torch.tensor(z)).numpy()
    assert not dead_units(centered).any()


def check_decay_keeps_the_sign():
    """Shrinking weights and bias by one factor changes no sign of z."""
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(100, 4)), rng.normal(size=4), -20.0
    assert (np.sign(x @ w + b) == np.sign(x @ (0.3 * w) + 0.3 * b)).all()
    # decaying the bias alone can revive the unit
    assert not (x @ w + b > 0).any() and (x @ w + 0.01 * b > 0).any()


def check_dead_units_counted():
    """The hook agrees with the NumPy function, over several batches."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 40, 10)) + np.linspace(-6, 2, 10)
    layer, counter = torch.nn.ReLU(), DeadUnitCounter()
    layer.register_forward_hook(counter)
    for batch in z:
        layer(torch.tensor(batch))
    expected = dead_units(z.reshape(-1, 10))
    assert 0 < expected.mean() < 1 and abs(counter.share() - expected.mean()) < 1e-6
    assert (expected == ~counter.ever_active.numpy()).all()


def check_dying_experiment():
    """The figure's message, and what Leaky ReLU does at the rate that kills."""
    gentle = [train(0.1, seed=s, steps=150) for s in range(3)]
    harsh = [train(0.2, seed=s, steps=150) for s in range(3)]
    leaky = [train(0.2, slope=0.01, seed=s, steps=150) for s in range(3)]
    assert max(d for d, _ in gentle) < 0.05 and min(d for d, _ in harsh) > 0.7
    # the leak alone does not undo the damage within these steps
    mean = lambda runs: np.mean([loss for _, loss in runs])  # noqa: E731
    assert mean(gentle) < 0.7 * mean(leaky)


def check_worked_example():
    """One unit, two examples: the step that kills, and the leak that would revive."""
    x, y, w, b = np.array([1.0, 2.0]), np.array([0.5, 0.5]), 1.0, 0.0

    def loss_and_grad(w, b, slope=0.0):
        a, d = leaky_relu(w * x + b, slope)
        delta = (a - y) * d
        return 0.5 * ((a - y) ** 2).mean(), (delta * x).mean(), delta.mean()

    loss, gw, gb = loss_and_grad(w, b)
    assert np.allclose([loss, gw, gb], [0.625, 1.75, 1.0])
    w2, b2 = w - 0.8 * gw, b - 0.8 * gb
    assert np.allclose([w2, b2], [-0.4, -0.8])
    assert np.allclose(w2 * x + b2, [-1.2, -1.6])
    loss, gw, gb = loss_and_grad(w2, b2)
    assert np.allclose([loss, gw, gb], [0.125, 0, 0])
    _, gw, gb = loss_and_grad(w2, b2, slope=0.01)
    assert np.allclose([gw, gb], [-0.00772, -0.00514], atol=5e-6)
    assert abs(0.8 * -(gw + gb) - 0.0103) < 5e-5  # rise of z at x = 1 per step
    w1, b1 = w - 0.1 * 1.75, b - 0.1
    assert np.allclose(w1 * x + b1, [0.725, 1.55])
    for _ in range(2000):
        _, gw, gb = loss_and_grad(w1, b1)
        w1, b1 = w1 - 0.1 * gw, b1 - 0.1 * gb
    assert loss_and_grad(w1, b1)[0] < 1e-6 and np.allclose([w1, b1], [0, 0.5], atol=1e-3)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
