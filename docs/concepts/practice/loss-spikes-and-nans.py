"""Twin of the page "Loss spikes and NaN": code, figures and checks."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn


# --8<-- [start:numpy]
def bce_with_logits(z, y):
    """Binary cross-entropy of logits z and labels y in {0, 1}, entry by entry."""
    return np.maximum(z, 0) - y * z + np.log1p(np.exp(-np.abs(z)))


def log_softmax(z):
    """Logarithm of softmax over the last axis; no probability is formed."""
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def safe_norm(x, eps=1e-12):
    """Smoothed length of x (n,) and its gradient, finite at x = 0 too."""
    length = np.sqrt(np.sum(x * x) + eps)
    return length, x / length


def safe_log(x, floor=1e-12):
    """log x where x > floor, else log(floor); the bad branch is never computed."""
    good = x > floor
    inside = np.where(good, x, 1.0)  # first make the argument harmless
    return np.where(good, np.log(inside), np.log(floor))


# --8<-- [end:numpy]


# --8<-- [start:torch]
def first_nonfinite(model, *inputs):
    """Name of the first module whose output has inf or NaN, or None.

    Modules finish from the inside out, so an inner module is reported before
    the one around it. It made the bad number or received it: functions called
    between modules are not watched. Other outputs than tensors are passed over.
    """
    found, handles = [], []

    def watch(name):
        def hook(module, args, output):
            if torch.is_tensor(output) and not torch.isfinite(output).all():
                found.append(name)

        return hook

    for name, module in model.named_modules():
        handles.append(module.register_forward_hook(watch(name or "(model)")))
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def guarded_step(model, optimizer, loss, max_norm=1.0):
    """One update that refuses loss or gradients with inf or NaN.

    Returns the gradient norm before clipping, or None if the step was skipped.
    """
    optimizer.zero_grad()
    if not torch.isfinite(loss):
        return None
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    if not torch.isfinite(norm):
        optimizer.zero_grad()
        return None
    optimizer.step()
    return norm.item()


# --8<-- [end:torch]


def naive_bce_label_0(z):
    """-log(1 - sigmoid(z)) as one writes it first, in the precision of z (torch)."""
    one = torch.ones_like(z)
    p = one / (one + torch.exp(-z))
    return -torch.log(one - p)


FORMATS = {
    "float32": (torch.float32, 23, "--"),
    "float16": (torch.float16, 10, "-."),
    "bfloat16": (torch.bfloat16, 7, ":"),
}


def figure_log_zero():
    """The loss of a confident mistake: logits against probabilities."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    z = torch.linspace(0, 25, 1001, dtype=torch.float64)
    ax.plot(z, bce_with_logits(z.numpy(), 0.0), lw=1.6, label="on logits, any format")
    for i, (name, (dtype, bits, style)) in enumerate(FORMATS.items()):
        loss = naive_bce_label_0(z.to(dtype)).double()
        ok = torch.isfinite(loss)
        end = z[ok].max().item()
        shift = -3.0 - 1.5 * i
        ax.plot(z[ok], loss[ok] + shift, ls=style, lw=1.6, label=f"through {name}")
        ax.plot(end, loss[ok][-1] + shift, "x", ms=8, color=ax.lines[-1].get_color())
        ax.annotate("inf", (end, loss[ok][-1].item() + shift), xytext=(7, -3),
                    textcoords="offset points", fontsize=9)
    ax.set_xlabel("logit z of an example with label 0")
    ax.set_ylabel("loss (lower curves shifted down)")
    ax.set_ylim(-6, 25)
    ax.legend(loc="upper left", fontsize=9)
    return fig


def descend(product, steps=160, dtype=np.float32):
    """Losses of gradient descent on theta^2 / 2 from 1, learning rate `product`."""
    theta, losses = dtype(1), []
    with np.errstate(all="ignore"):
        for _ in range(steps):
            losses.append(dtype(0.5) * theta * theta)
            theta = theta - dtype(product) * theta
    return np.array(losses)


def figure_divergence():
    """How many steps divergence takes to overflow."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    for product, style, marker in ((2.2, "-", "o"), (3.0, "--", "s"), (12.0, "-.", "^")):
        losses = descend(product, 300).astype(float)
        ok = np.isfinite(losses)
        ax.semilogy(np.flatnonzero(ok), losses[ok], style, marker=marker, markevery=20,
                    ms=4, label=f"rate x curvature = {product:g}")
    for level, name in ((65504, "float16"), (3.4e38, "float32, bfloat16")):
        ax.axhline(level, lw=0.8, color="#777777")
        ax.text(298, level, f"largest {name}", ha="right", va="bottom", fontsize=9)
    ax.set_xlim(0, 300)
    ax.set_ylim(0.1, 1e43)
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    ax.legend(loc="center right", fontsize=9)
    return fig


def clusters(n, seed, classes=10, width=20):
    """Points around `classes` centers: inputs (n, width) and labels (n,)."""
    centers = np.random.default_rng(0).normal(size=(classes, width))
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    x = centers[y] + 0.7 * rng.normal(size=(n, width))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def run(optimizer_name, protection, steps=350, bad_step=150, seed=0):
    """Training with one corrupt batch (inputs times 1000, random labels).

    Returns losses on clean data, gradient norms, and the share of last hidden
    units that are zero for all clean data at the end.
    """
    torch.manual_seed(seed)
    x, y = clusters(2000, 1)
    x_test, y_test = clusters(300, 2)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                          nn.Linear(64, 10))
    if optimizer_name == "SGD":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    rng, losses, norms = np.random.default_rng(3), [], []
    for step in range(steps):
        rows = torch.tensor(rng.integers(len(x), size=64))
        batch, labels = x[rows], y[rows]
        if step == bad_step:
            batch, labels = 1000 * batch, torch.tensor(rng.integers(10, size=64))
        with torch.no_grad():
            losses.append(nn.functional.cross_entropy(model(x_test), y_test).item())
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), labels).backward()
        limit = 1.0 if protection == "clip" else float("inf")
        norm = nn.utils.clip_grad_norm_(model.parameters(), limit).item()
        typical = np.median(norms[-100:]) if len(norms) >= 20 else np.inf
        norms.append(norm)
        if protection == "skip" and norm > 20 * typical:
            continue
        optimizer.step()
    with torch.no_grad():
        dead = (model[:4](x_test) == 0).all(0).float().mean().item()
    return np.array(losses), np.array(norms), dead


RUNS = (
    ("SGD", "none", "SGD with momentum, unprotected", "-"),
    ("Adam", "none", "Adam, unprotected", "--"),
    ("SGD", "clip", "SGD with momentum, norm clipped at 1", "-."),
    ("SGD", "skip", "SGD with momentum, outlier skipped", ":"),
)


def figure_spike():
    """One corrupt batch, four outcomes."""
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    for optimizer_name, protection, label, style in RUNS:
        losses, _, _ = run(optimizer_name, protection)
        ax.semilogy(np.clip(np.nan_to_num(losses, nan=1e9), 1e-3, 1e9), ls=style, lw=1.6, label=label)
    ax.axhline(np.log(10), lw=0.8, color="#777777")
    ax.text(352, np.log(10), "log 10", va="center", fontsize=9)
    ax.set_xlim(0, 350)
    ax.set_xlabel("update")
    ax.set_ylabel("loss on clean data")
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)
    return fig


def is_nan(t):
    return bool(torch.isnan(torch.as_tensor(t)).all())


def check_ieee_rules():
    """The arithmetic of inf and NaN in the table of the page."""
    inf, nan, one, zero = (torch.tensor(v) for v in (np.inf, np.nan, 1.0, 0.0))
    assert one / zero == inf and -one / zero == -inf and torch.log(zero) == -inf
    assert torch.exp(-inf) == 0 and one / inf == 0
    for bad in (zero / zero, inf - inf, zero * inf, inf / inf, torch.log(-one), torch.sqrt(-one)):
        assert is_nan(bad)
    assert not (nan == nan) and not (nan < 1) and not (nan > 1) and nan != nan and nan != 1
    assert is_nan(torch.relu(nan)) and is_nan(nan.clamp(0, 1)) and is_nan(nan * 0)
    # three sources that occur in training code
    logits, labels = torch.zeros(2, 3), torch.tensor([-100, -100])
    assert is_nan(nn.functional.cross_entropy(logits, labels))  # every target ignored
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert is_nan(torch.tensor([3.0]).std()) and is_nan(torch.tensor([]).mean())
    assert is_nan(torch.softmax(torch.full((3,), -np.inf), 0))


def check_nan_exp_overflow():
    """exp(z) is finite up to log of the largest number, and infinite beyond."""
    for dtype, limit in ((torch.float16, 11.09), (torch.bfloat16, 88.72), (torch.float32, 88.72),
                         (torch.float64, 709.78)):
        log_max = np.log(torch.finfo(dtype).max)
        assert round(log_max, 2) == limit
        assert torch.isfinite(torch.exp(torch.tensor(0.99 * log_max, dtype=dtype)))
        assert torch.isinf(torch.exp(torch.tensor(1.01 * log_max, dtype=dtype)))
    assert is_nan(torch.exp(torch.tensor(100.0)) / torch.exp(torch.tensor(100.0)))


def check_nan_log_zero():
    """Through probabilities the loss is infinite from z = (M + 1) log 2."""
    for name, (dtype, bits, _) in FORMATS.items():
        limit = (bits + 1) * np.log(2)
        below, above = (torch.tensor(f * limit, dtype=dtype) for f in (0.97, 1.03))
        assert torch.isfinite(naive_bce_label_0(below)), name
        assert torch.isinf(naive_bce_label_0(above)), name
    values = [round((bits + 1) * np.log(2), 2) for _, bits, _ in FORMATS.values()]
    assert values == [16.64, 7.62, 5.55]
    # on logits nothing happens there, and the value is right
    assert np.isclose(bce_with_logits(np.float32(17), 0), 17 + np.exp(-17))
    # torch: BCELoss caps the logarithm at -100, and no gradient reaches the logit
    z = torch.tensor(17.0, requires_grad=True)
    loss = nn.functional.binary_cross_entropy(torch.sigmoid(z), torch.tensor(0.0))
    loss.backward()
    assert loss.item() == 100 and z.grad == 0
    z = torch.tensor(17.0, requires_grad=True)
    loss = nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(0.0))
    loss.backward()
    assert abs(loss.item() - 17) < 1e-5 and abs(z.grad.item() - 1) < 1e-6


def check_nan_epsilon_gradient():
    """Slope of -log(1 - p + eps): p (1 - p) / (1 - p + eps), against finite differences."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    for eps in (1e-3, 1e-2):
        for z in (-2.0, 1.0, 5.0, 9.0):
            f = lambda t: -np.log(1 - sigmoid(t) + eps)  # noqa: E731
            numeric = (f(z + 1e-5) - f(z - 1e-5)) / 2e-5
            p = sigmoid(z)
            assert np.isclose(numeric, p * (1 - p) / (1 - p + eps), rtol=1e-6)
    # half of the right slope where 1 - p = eps
    p = 1 - 1e-7
    assert np.isclose(p * (1 - p) / (1 - p + 1e-7), 0.5, rtol=1e-6)
    assert round(np.log(1 / 1e-7 - 1), 1) == 16.1


def check_nan_hidden_branch():
    """A finite forward pass with NaN gradients: root at zero and where; and the cures."""
    x = torch.zeros(3, requires_grad=True)
    value = (x * x).sum().sqrt()
    value.backward()
    assert value == 0 and is_nan(x.grad)
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    value = torch.where(x > 0, torch.sqrt(x), torch.zeros_like(x)).sum()
    value.backward()
    assert value == 2 and torch.isfinite(x.grad[1]) and is_nan(x.grad[0])
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    good = x > 0
    inside = torch.where(good, x, torch.ones_like(x))
    torch.where(good, torch.sqrt(inside), torch.zeros_like(x)).sum().backward()
    assert torch.equal(x.grad, torch.tensor([0.0, 0.25]))
    # multiplying by a mask does not remove NaN; library norm is safe at zero
    assert is_nan(torch.tensor(0.0) * torch.tensor(np.nan))
    x = torch.zeros(3, requires_grad=True)
    torch.linalg.vector_norm(x).backward()
    assert torch.equal(x.grad, torch.zeros(3))
    # the anomaly mode raises in the backward pass
    x = torch.tensor([0.0], requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.autograd.set_detect_anomaly(True):
            try:
                torch.where(x > 0, torch.sqrt(x) * x, torch.zeros_like(x)).sum().backward()
                raise AssertionError("no error")
            except RuntimeError as error:
                assert "nan values" in str(error)


def check_nan_norm_eps():
    """0 <= sqrt(s + eps) - sqrt(s) <= sqrt(eps); the gradient is shorter than 1."""
    rng = np.random.default_rng(0)
    for eps in (1e-12, 1e-6, 1e-2):
        for scale in (0, 1e-8, 1e-3, 1, 100):
            x = scale * rng.normal(size=5)
            length, gradient = safe_norm(x, eps)
            excess = length - np.linalg.norm(x)
            assert -1e-12 <= excess <= np.sqrt(eps) * (1 + 1e-9)
            assert np.linalg.norm(gradient) < 1 or scale >= 1
            if scale >= 1e-3:
                h = 1e-5 * scale
                for i in range(5):
                    e = h * np.eye(5)[i]
                    numeric = (safe_norm(x + e, eps)[0] - safe_norm(x - e, eps)[0]) / (2 * h)
                    assert np.isclose(numeric, gradient[i], atol=1e-6)
    length, gradient = safe_norm(np.zeros(2))
    assert np.isclose(length, 1e-6) and np.array_equal(gradient, [0, 0])


def check_nan_cancellation():
    """Error of mean square minus squared mean, against its first-order bound."""
    rng = np.random.default_rng(1)
    u, worst, negative = 2.0**-24, 0.0, 0
    f32 = np.float32
    for _ in range(3000):
        mu, sigma = 10 ** rng.uniform(-2, 4), 10 ** rng.uniform(-2, 2)
        x = mu + sigma * rng.normal(size=16)
        m, q = x.mean(), (x * x).mean()
        variance = ((x - m) ** 2).mean()
        computed = f32(q) - f32(m) * f32(m)
        bound = u * (4 * m * m + 2 * variance)
        worst = max(worst, abs(float(computed) - variance) / bound)
        negative += computed < 0
    assert 0.3 < worst < 1.001 and negative > 10
    x = np.array([10000, 10001, 10002], dtype=np.float32)
    assert np.mean(x * x) - np.mean(x) ** 2 == 0 and np.isclose(x.var(), 2 / 3)


def check_nan_bf16_average():
    """In bfloat16 a decay of 0.999 changes no number; Adam's average never falls."""
    numbers = torch.tensor(np.arange(128) / 128 + 1, dtype=torch.bfloat16)  # all significands
    assert torch.equal(numbers * 0.999, numbers)
    assert 0.001 < 2**-9 and not torch.equal(numbers * 0.99, numbers)
    state = {}
    for dtype in (torch.bfloat16, torch.float32):
        p = nn.Parameter(torch.ones(1, dtype=dtype))
        optimizer = torch.optim.Adam([p], lr=1e-3, betas=(0.9, 0.999))
        history = []
        for step in range(1500):
            p.grad = torch.full_like(p, 100.0 if step == 0 else 1.0)
            optimizer.step()
            history.append(optimizer.state[p]["exp_avg_sq"].item())
        state[dtype] = history
    assert state[torch.bfloat16][0] == state[torch.bfloat16][-1]
    assert state[torch.float32][-1] < 0.35 * state[torch.float32][0]


def check_nan_divergence_steps():
    """The first infinite loss comes at the step that the formula gives."""
    for product, dtype, limit, expected in ((2.2, np.float32, 3.4028e38, 246), (3.0, np.float32, 3.4028e38, 65),
                                            (12.0, np.float32, 3.4028e38, 19), (3.0, np.float16, 65504, 9),
                                            (2.2, np.float16, 65504, 33)):
        steps = np.log(limit / 0.5) / (2 * np.log(abs(1 - product)))
        first = np.flatnonzero(~np.isfinite(descend(product, 400, dtype)))[0]
        assert first == expected == int(np.ceil(steps))
    losses = descend(3.0, 200)
    assert np.isinf(losses[65:129]).all() and np.isnan(losses[129:]).all()
    # below the limit of stability nothing overflows
    assert np.isfinite(descend(1.9, 400)).all()


def check_nan_z_loss():
    """Gradient of alpha LSE^2, and that cross-entropy exerts no force on the shift."""
    rng = np.random.default_rng(2)
    z, alpha = 3 * rng.normal(size=6) + 4, 1e-2
    lse = lambda v: np.log(np.exp(v).sum())  # noqa: E731
    p = np.exp(z - lse(z))
    for k in range(6):
        e = 1e-5 * np.eye(6)[k]
        numeric = alpha * (lse(z + e) ** 2 - lse(z - e) ** 2) / 2e-5
        assert np.isclose(numeric, 2 * alpha * lse(z) * p[k], rtol=1e-6)
    ce = lambda v: lse(v) - v[2]  # noqa: E731
    assert np.isclose(ce(z), ce(z + 50)) and abs((p - np.eye(6)[2]).sum()) < 1e-12


def check_nan_qk_bound():
    """Normalized queries and keys bound the score; the bound is attained."""
    rng = np.random.default_rng(3)
    for d in (4, 64):
        largest = 0
        for _ in range(300):
            q, k = 1000 * rng.normal(size=(2, d)) + 300
            gq, gk = rng.normal(size=(2, d))
            q, k = (torch.nn.functional.layer_norm(torch.tensor(v), (d,), eps=0.0).numpy() for v in (q, k))
            assert np.isclose(np.linalg.norm(q), np.sqrt(d))
            score = abs((gq * q) @ (gk * k)) / np.sqrt(d)
            bound = np.sqrt(d) * abs(gq).max() * abs(gk).max()
            assert score <= bound
            largest = max(largest, abs(q @ k) / np.sqrt(d))
        assert largest < np.sqrt(d) and np.isclose(q @ q / np.sqrt(d), np.sqrt(d))


def check_numpy_against_torch():
    """Stable functions agree with the library's to 1e-12 in float64, extreme logits too."""
    rng = np.random.default_rng(4)
    z = np.concatenate([5 * rng.normal(size=50), [-1000.0, -40.0, 0.0, 40.0, 1000.0]])
    y = rng.integers(2, size=z.size).astype(float)
    expected = nn.functional.binary_cross_entropy_with_logits(torch.tensor(z), torch.tensor(y), reduction="none")
    assert np.allclose(bce_with_logits(z, y), expected.numpy(), rtol=1e-12, atol=1e-12)
    z = np.concatenate([5 * rng.normal(size=(20, 4)), [[1000.0, 0, -1000, 3], [-800, -801, -802, -803]]])
    assert np.allclose(log_softmax(z), torch.log_softmax(torch.tensor(z), 1).numpy(), rtol=1e-12, atol=1e-12)
    x = np.array([0.0, -1.0, 1e-20, 0.5, 2.0])
    with np.errstate(all="raise"):
        assert np.allclose(safe_log(x), np.log([1e-12, 1e-12, 1e-12, 0.5, 2.0]))


class Log(nn.Module):
    """A layer that is wrong for negative inputs."""

    def forward(self, x):
        return torch.log(x)


class Between(nn.Module):
    """A module whose forward pass makes NaN before it calls its child."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 2)

    def forward(self, x):
        return self.inner(torch.log(x))


def check_first_nonfinite():
    """The hooks name the layer that made the first NaN, and are removed afterward."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Tanh(), Log()), nn.Linear(8, 2))
    x = torch.randn(5, 4)
    assert first_nonfinite(model, x) == "1.1"
    model[1][1] = nn.Identity()
    assert first_nonfinite(model, x) is None
    with torch.no_grad():
        model[0].weight[0, 0] = np.inf
    assert first_nonfinite(model, x) == "0"
    assert all(not m._forward_hooks for m in model.modules())
    # an operation between modules is not watched: the receiver is named
    outer = nn.Sequential(nn.Linear(4, 8), Between())
    assert first_nonfinite(outer, x) == "1.inner"


def check_guarded_step():
    """A NaN changes nothing; a good batch gives the ordinary clipped step."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(8, 4)
    assert guarded_step(model, optimizer, (model(x) * np.nan).mean()) is None
    zero = (model(x) * 0).sum()
    assert guarded_step(model, optimizer, (zero * zero).sqrt()) is None  # finite loss, NaN gradient
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    norm = guarded_step(model, optimizer, 100 * model(x).square().mean())
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, model.parameters())]).norm().item()
    assert norm > 1 and np.isclose(moved, 0.1, rtol=1e-3)
    # without the guard the same NaN reaches every weight
    optimizer.zero_grad()
    (model(x) * np.nan).mean().backward()
    optimizer.step()
    assert all(is_nan(p) for p in model.parameters())


def check_running_statistics():
    """One NaN batch stays in the running statistics: fine in training, NaN in evaluation."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    bad = torch.randn(16, 4)
    bad[0, 0] = np.nan
    assert guarded_step(model, optimizer, model(bad).mean()) is None
    for _ in range(100):  # good batches do not cure it
        assert guarded_step(model, optimizer, model(torch.randn(16, 4)).square().mean()) is not None
    assert is_nan(model[1].running_mean) and all(torch.isfinite(p).all() for p in model.parameters())
    x = torch.randn(16, 4)
    model.eval()
    assert is_nan(model(x))
    model.train()
    assert torch.isfinite(model(x)).all()
    # how much of the start value is left in the averages after few updates
    assert round(0.9**20, 2) == 0.12 and round(0.9**10, 2) == 0.35


def check_zero_grad():
    """Without zero_grad SGD is momentum with coefficient 1: it never settles on a parabola."""
    theta = nn.Parameter(torch.tensor(1.0))
    optimizer, path = torch.optim.SGD([theta], lr=0.1), []
    other, velocity = 1.0, 0.0
    for _ in range(200):
        (theta**2 / 2).backward()
        optimizer.step()
        velocity = velocity + other
        other = other - 0.1 * velocity
        path.append(theta.item())
        assert abs(theta.item() - other) < 1e-3
    assert max(abs(v) for v in path[-50:]) > 0.9


def check_spike():
    """The outcomes of the corrupt batch in the figure and the text."""
    sgd, norms, dead = run("SGD", "none")
    assert norms[150] > 1e5 * np.median(norms[50:150])
    assert sgd[150] < 0.01 and 1e4 < sgd[151] < 1e5 and abs(sgd[-20:].mean() - np.log(10)) < 0.02
    assert dead == 1
    adam, _, _ = run("Adam", "none")
    assert adam[150] < 0.01 and 0.1 < adam[151:].max() < 0.2 and adam[-1] > 0.05
    for protection in ("clip", "skip"):
        losses, _, alive = run("SGD", protection)
        assert losses[151:].max() < 0.02 and losses[-1] < 0.01 and alive < 0.2


def check_worked_example():
    """The numbers of the worked example."""
    z = torch.tensor([[0.0, -120.0]])
    assert torch.isinf(-torch.log(torch.softmax(z, 1))[0, 1])
    assert nn.functional.cross_entropy(z, torch.tensor([1])).item() == 120
    assert np.exp(-120) < 2.0**-149 / 2
    x = np.float32([10000, 10001, 10002])
    assert [float(v) for v in x * x] == [1e8, 100020000, 100040000]
    assert np.isclose(1 / np.sqrt(1e-5), 316, atol=0.3) and round(1 / np.sqrt(2 / 3), 2) == 1.22
    assert round(np.log(2 * 3.4028e38) / (2 * np.log(2)), 1) == 64.5


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
