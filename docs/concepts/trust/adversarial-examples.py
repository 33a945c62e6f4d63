"""Twin of the page "Adversarial examples": snippets, figures, checks of its equations."""
import functools
import math

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def fgsm(x, grad, eps):
    """Fast gradient sign method (Goodfellow et al., 2015), inputs in [0, 1].

    x: (B, n) inputs; grad: (B, n) gradient of the loss in x; eps: radius.
    """
    return np.clip(x + eps * np.sign(grad), 0, 1)


def pgd(x, grad_fn, eps, step, n_steps, start):
    """Projected gradient ascent in the maximum norm (Madry et al., 2018).

    grad_fn(x): gradient (B, n) of the loss; start: (B, n) initial noise in
    [-eps, eps]. Each step is followed by a projection onto ball and box.
    """
    adv = np.clip(x + start, 0, 1)
    for _ in range(n_steps):
        adv = adv + step * np.sign(grad_fn(adv))
        adv = np.clip(adv, x - eps, x + eps)      # the eps-ball around x
        adv = np.clip(adv, 0, 1)                  # valid pixels
    return adv


def mlp_input_grad(x, y, w1, b1, w2, b2):
    """Gradient of the cross-entropy in the input of a ReLU network.

    x: (B, n); y: (B,) class indices; w1: (h, n), b1: (h,), w2: (K, h), b2: (K,).
    """
    z1 = x @ w1.T + b1
    z2 = np.maximum(z1, 0) @ w2.T + b2
    p = np.exp(z2 - z2.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1                  # dloss/dz2, per example
    return ((p @ w2) * (z1 > 0)) @ w1
# --8<-- [end:numpy]


# --8<-- [start:torch]
def pgd_torch(model, x, y, eps, step, n_steps, start):
    """PGD with autograd; n_steps=1, step=eps, start=0 is the FGSM."""
    adv = (x + start).clamp(0, 1)
    for _ in range(n_steps):
        adv.requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(model(adv), y, reduction="sum")
        (grad,) = torch.autograd.grad(loss, adv)
        adv = adv.detach() + step * grad.sign()
        adv = torch.minimum(torch.maximum(adv, x - eps), x + eps).clamp(0, 1)
    return adv.detach()


def adversarial_step(model, opt, x, y, eps, step, n_steps):
    """One step of adversarial training: attack the minibatch, then fit it."""
    start = torch.empty_like(x).uniform_(-eps, eps)
    adv = pgd_torch(model, x, y, eps, step, n_steps, start)
    opt.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(adv), y)
    loss.backward()
    opt.step()
    return loss.item()
# --8<-- [end:torch]


EPS = 0.1


FONT = """01110 00100 01110 11111 00010 11111 00110 11111 01110 01110
10001 01100 10001 00010 00110 10000 01000 00001 10001 10001
10011 00100 00001 00100 01010 11110 10000 00010 10001 10001
10101 00100 00010 00010 10010 00001 11110 00100 01110 01111
11001 00100 00100 00001 11111 00001 10001 01000 10001 00001
10001 00100 01000 10001 00010 10001 10001 01000 10001 00010
01110 01110 11111 01110 00010 01110 01110 01000 01110 01100"""


@functools.cache
def _digits():
    """Drawn digits, 9 by 9 pixels: position, contrast and noise are random.

    2,000 images to train on, 600 to test on, all in [0, 1].
    """
    rows = [line.split() for line in FONT.split("\n")]
    glyphs = np.array([[[int(c) for c in row[d]] for row in rows] for d in range(10)])
    rng = np.random.default_rng(0)
    y = rng.integers(10, size=2600)
    x = np.zeros((2600, 9, 9))
    for i, d in enumerate(y):
        r, c = rng.integers(3), rng.integers(5)
        x[i, r:r + 7, c:c + 5] = glyphs[d]
    x = 0.1 + 0.8 * x * rng.uniform(0.6, 1, (2600, 1, 1))
    x = np.clip(x + 0.1 * rng.standard_normal(x.shape), 0, 1).reshape(2600, 81)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    return x[:2000], y[:2000], x[2000:], y[2000:]


@functools.cache
def _trained(adversarial, steps=400):
    """A network with 128 hidden units, trained plainly or against PGD with 5 steps."""
    torch.set_num_threads(1)      # tiny matrices: threads would only wait
    x, y, _, _ = _digits()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(81, 128), torch.nn.ReLU(),
                                torch.nn.Linear(128, 10))
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        i = torch.from_numpy(rng.integers(len(x), size=128))
        eps = EPS if adversarial else 0.0
        adversarial_step(model, opt, x[i], y[i], eps, eps / 3, 5 if adversarial else 0)
    return model.eval()


def _accuracy(model, x, y):
    """Fraction of right predictions."""
    with torch.no_grad():
        return (model(x).argmax(dim=1) == y).float().mean().item()


def _attacked(model, eps, kind, seed=0):
    """Test accuracy under an attack: pgd, fgsm, or random corners of the cube."""
    _, _, x, y = _digits()
    g = torch.Generator().manual_seed(seed)
    u = torch.rand(x.shape, generator=g) * 2 - 1
    if kind == "random":
        adv = (x + eps * u.sign()).clamp(0, 1)
    elif kind == "fgsm":
        adv = pgd_torch(model, x, y, eps, eps, 1, 0 * u)
    else:
        adv = pgd_torch(model, x, y, eps, eps / 5, 20, eps * u)
    return _accuracy(model, adv, y)


def figure_digit():
    """A digit, the perturbation, the sum; and the same size of random noise."""
    model = _trained(False)
    _, _, x, y = _digits()
    eps = 0.06
    adv = pgd_torch(model, x, y, eps, eps / 5, 20, torch.zeros_like(x))
    g = torch.Generator().manual_seed(1)
    noisy = (x + eps * (torch.rand(x.shape, generator=g) * 2 - 1).sign()).clamp(0, 1)
    with torch.no_grad():
        p, q, r = (model(t).softmax(dim=1) for t in (x, adv, noisy))
    good = (p.argmax(1) == y) & (q.argmax(1) != y) & (r.argmax(1) == y)
    good &= (p.amax(1) > 0.99) & (q.amax(1) > 0.9) & (y == 2)
    i = int(torch.nonzero(good)[0])
    fig, axes = plt.subplots(1, 4, figsize=(6.4, 2.3))
    images = (x[i], adv[i] - x[i], adv[i], noisy[i])
    names = ["input", "perturbation", "input + perturbation", "input + random signs"]
    for k, (ax, im, name) in enumerate(zip(axes, images, names)):
        lim = (-eps, eps) if k == 1 else (0, 1)
        ax.imshow(im.reshape(9, 9), cmap="cividis", vmin=lim[0], vmax=lim[1])
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        for side in ax.spines.values():
            side.set_visible(False)
        text = name + "\n"
        if k == 1:
            text += f"±{eps}, scaled up"
        else:
            prob = (p, None, q, r)[k][i]
            text += f"read as {int(prob.argmax())} ({100 * prob.max():.1f}%)"
        ax.set_xlabel(text, fontsize=9)
    return fig


def figure_accuracy():
    """Accuracy against the radius, plain and adversarially trained."""
    eps = np.array([0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15])
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.0), sharey=True)
    for ax, flag, name in zip(axes, (False, True), ("plain training", "adversarial training")):
        model = _trained(flag)
        for kind, marker, ls, label in (("random", "^", ":", "random signs"),
                                        ("fgsm", "s", "--", "FGSM"), ("pgd", "o", "-", "PGD")):
            ax.plot(eps, [100 * _attacked(model, e, kind) for e in eps], ls=ls, marker=marker,
                    ms=5, label=label)
        ax.set_xlabel(f"radius, {name}")
        ax.set_ylim(0, 103)
    axes[1].axvline(EPS, color="#555555", lw=1, ls="-.")
    axes[1].text(EPS - 0.004, 4, "radius in training", fontsize=9, ha="right")
    axes[0].set_ylabel("test accuracy (%)")
    axes[0].legend(fontsize=9)
    return fig


def check_adv_problem():
    """Equation (adv-problem): attacks stay feasible, raise the loss; PGD at least matches FGSM."""
    model = _trained(False)
    _, _, x, y = _digits()
    ce = lambda t: torch.nn.functional.cross_entropy(model(t), y).item()
    one = pgd_torch(model, x, y, EPS, EPS, 1, torch.zeros_like(x))
    many = pgd_torch(model, x, y, EPS, EPS / 5, 20, torch.zeros_like(x))
    for adv in (one, many):
        assert (adv - x).abs().max() <= EPS + 1e-6 and adv.min() >= 0 and adv.max() <= 1
    with torch.no_grad():
        assert ce(x) < ce(one) < ce(many)


def check_adv_dual_norm():
    """Equation (adv-dual-norm): the maximizers reach the dual norm, and nothing exceeds it."""
    rng = np.random.default_rng(0)
    for n in (1, 5, 40):
        g, eps = rng.standard_normal(n), 0.3
        assert np.isclose(g @ (eps * np.sign(g)), eps * np.abs(g).sum())
        assert np.isclose(g @ (eps * g / np.linalg.norm(g)), eps * np.linalg.norm(g))
        for _ in range(300):
            d = rng.standard_normal(n)
            assert g @ (eps * d / np.abs(d).max()) <= eps * np.abs(g).sum() + 1e-12
            assert g @ (eps * d / np.linalg.norm(d)) <= eps * np.linalg.norm(g) + 1e-12
            assert g @ (eps * d / np.abs(d).sum()) <= eps * np.abs(g).max() + 1e-12


def check_adv_fgsm():
    """Equation (adv-fgsm): exact for a linear model with logistic loss, best of all corners."""
    rng = np.random.default_rng(0)
    w, b, x = rng.standard_normal(8), 0.2, rng.standard_normal(8)
    loss = lambda v: np.log1p(np.exp(-(v @ w + b)))
    grad = -w / (1 + np.exp(x @ w + b))
    best = loss(x + 0.1 * np.sign(grad))
    corners = np.array(np.meshgrid(*[[-0.1, 0.1]] * 8)).reshape(8, -1).T
    assert np.isclose(best, max(loss(x + c) for c in corners), atol=1e-12)
    inside = rng.uniform(-0.1, 0.1, (2000, 8))
    assert max(loss(x + c) for c in inside) < best


def check_adv_dimension():
    """Equation (adv-dimension): worst case grows as n, random signs as the root of n."""
    assert np.isclose(np.sqrt(2 * 3 * 224**2 / np.pi), 310, atol=0.5)
    rng = np.random.default_rng(0)
    for n in (100, 10_000):
        w, eps = rng.standard_normal(n), 0.01
        worst = w @ (eps * np.sign(w))
        assert np.isclose(worst, eps * np.abs(w).sum())
        signs = rng.integers(0, 2, (2000, n), dtype=np.int8) * 2 - 1
        change = eps * (signs @ w)
        assert np.isclose(change.std(), eps * np.linalg.norm(w), rtol=0.08)
        assert np.isclose(worst / (eps * np.linalg.norm(w)), np.sqrt(2 * n / np.pi), rtol=0.06)
        assert worst / (eps * np.linalg.norm(w)) <= np.sqrt(n)


def check_adv_pgd():
    """Equation (adv-pgd): NumPy with hand-made gradients against autograd, 1e-10 in float64."""
    rng = np.random.default_rng(0)
    w1, b1 = rng.standard_normal((16, 12)), rng.standard_normal(16)
    w2, b2 = rng.standard_normal((4, 16)), rng.standard_normal(4)
    x, y = rng.random((9, 12)), rng.integers(4, size=9)
    model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.ReLU(),
                                torch.nn.Linear(16, 4)).double()
    with torch.no_grad():
        for p, v in zip(model.parameters(), (w1, b1, w2, b2)):
            p.copy_(torch.from_numpy(v))
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    grad = lambda t: mlp_input_grad(t, y, w1, b1, w2, b2)
    probe = tx.clone().requires_grad_(True)
    torch.nn.functional.cross_entropy(model(probe), ty, reduction="sum").backward()
    assert np.allclose(grad(x), probe.grad.numpy(), atol=1e-12)
    start = rng.uniform(-0.2, 0.2, x.shape)
    ours = pgd(x, grad, 0.2, 0.03, 15, start)
    theirs = pgd_torch(model, tx, ty, 0.2, 0.03, 15, torch.from_numpy(start)).numpy()
    assert np.allclose(ours, theirs, atol=1e-10)
    assert np.allclose(fgsm(x, grad(x), 0.2),
                       pgd_torch(model, tx, ty, 0.2, 0.2, 1, torch.zeros_like(tx)), atol=1e-12)
    # The projection is the nearest point of ball and box.
    far, inside = rng.normal(0.5, 1, 12), np.clip(x[0] + rng.uniform(-0.2, 0.2, 12), 0, 1)
    proj = np.clip(np.clip(far, x[0] - 0.2, x[0] + 0.2), 0, 1)
    assert np.linalg.norm(far - proj) < np.linalg.norm(far - inside)


def check_adv_robust_linear():
    """Equation (adv-robust-linear): worst logistic loss in closed form, by corners."""
    rng = np.random.default_rng(1)
    w, b, eps = rng.standard_normal(8), -0.3, 0.15
    corners = np.array(np.meshgrid(*[[-eps, eps]] * 8)).reshape(8, -1).T
    for y in (-1, 1):
        x = rng.standard_normal(8)
        worst = np.log1p(np.exp(-y * ((x + corners) @ w + b))).max()
        closed = np.log1p(np.exp(-y * (x @ w + b) + eps * np.abs(w).sum()))
        assert np.isclose(worst, closed, atol=1e-12)


def check_adv_danskin():
    """Equation (adv-danskin): gradient of the worst case = gradient at the worst input."""
    rng = np.random.default_rng(1)
    w, x, y, eps = rng.standard_normal(8), rng.standard_normal(8), 1, 0.15
    robust = lambda v: np.log1p(np.exp(-y * (x @ v) + eps * np.abs(v).sum()))
    numeric = np.array([(robust(w + 1e-6 * e) - robust(w - 1e-6 * e)) / 2e-6 for e in np.eye(8)])
    worst = x - y * eps * np.sign(w)
    at_worst = -y * worst / (1 + np.exp(y * worst @ w))
    assert np.allclose(numeric, at_worst, atol=1e-7)
    at_clean = -y * x / (1 + np.exp(y * x @ w))
    assert np.abs(numeric - at_clean).max() > 0.01


def check_adv_margin():
    """Equation (adv-margin): the nearest boundary point, and the Lipschitz certificate."""
    rng = np.random.default_rng(0)
    w, b, x = rng.standard_normal(20), 0.4, rng.standard_normal(20)
    score = x @ w + b
    for norm, d in ((2, w / np.linalg.norm(w)), (np.inf, np.sign(w))):
        dual = np.linalg.norm(w) if norm == 2 else np.abs(w).sum()
        radius = abs(score) / dual
        hit = x - np.sign(score) * radius * d
        assert np.isclose(hit @ w + b, 0, atol=1e-12)
        assert np.isclose(np.linalg.norm(hit - x, norm), radius)
    # Certificate: a network whose margin has slope at most L keeps its class within m / L.
    w1, w2 = rng.standard_normal((10, 20)), rng.standard_normal((2, 10))
    f = lambda t: np.maximum(t @ w1.T, 0) @ w2.T
    L = np.linalg.norm(w2[0] - w2[1]) * np.linalg.norm(w1, 2)
    for _ in range(100):
        x = rng.standard_normal(20)
        z = f(x)
        k, m = int(z.argmax()), abs(z[0] - z[1])
        d = rng.standard_normal((500, 20))
        d *= 0.999 * m / L / np.linalg.norm(d, axis=1, keepdims=True)
        assert np.all(f(x + d).argmax(axis=1) == k)


def check_adv_smoothing():
    """Equation (adv-smoothing): for a linear classifier the certified radius is the distance."""
    phi = lambda t: 0.5 * (1 + math.erf(t / math.sqrt(2)))
    normal = torch.distributions.Normal(0.0, 1.0)
    inverse = lambda p: normal.icdf(torch.tensor(p, dtype=torch.float64)).item()
    rng, sigma = np.random.default_rng(0), 0.5
    w, b = rng.standard_normal(10), 0.3
    for _ in range(20):
        x = rng.normal(0, 0.3, 10)
        m = (x @ w + b) / np.linalg.norm(w)
        p = phi(abs(m) / sigma)
        if p < 0.9999:
            assert np.isclose(sigma * inverse(p), abs(m), atol=1e-6)
            assert np.isclose(sigma / 2 * (inverse(p) - inverse(1 - p)), abs(m), atol=1e-6)
    x = rng.normal(0, 0.3, 10)
    votes = ((x + sigma * rng.standard_normal((200_000, 10))) @ w + b > 0).mean()
    m = (x @ w + b) / np.linalg.norm(w)
    assert abs(votes - phi(m / sigma)) < 0.005
    assert np.isclose(0.5 * inverse(0.9), 0.641, atol=5e-4)
    # A nonlinear base classifier: class 1 inside a ball. The certified radius is safe.
    inside = lambda c: (np.linalg.norm(c + sigma * noise, axis=1) < 2.2).mean()
    noise = rng.standard_normal((100_000, 10))
    c = np.zeros(10)
    r = sigma * inverse(inside(c))
    assert r > 0.2 and inside(c + r * np.eye(10)[0]) > 0.5


def check_gradient_masking():
    """Scaled logits: the float32 gradient is exactly zero, FGSM fails, the model is unchanged."""
    model = _trained(False)
    _, _, x, y = _digits()
    masked = lambda t: 2000 * model(t)
    with torch.no_grad():
        assert torch.equal(model(x).argmax(1), masked(x).argmax(1))
    zero = torch.zeros_like(x)
    looks = _accuracy(masked, pgd_torch(masked, x, y, EPS, EPS, 1, zero), y)
    probe = x.clone().requires_grad_(True)
    torch.nn.functional.cross_entropy(masked(probe), y, reduction="sum").backward()
    assert (probe.grad.abs().amax(dim=1) == 0).float().mean() > 0.95
    truth = _accuracy(masked, pgd_torch(model, x, y, EPS, EPS, 1, zero), y)
    assert looks > 0.9 and truth < 0.1
    # An attack on the difference of logits is not fooled.
    probe = x.clone().requires_grad_(True)
    z = masked(probe)
    own = torch.nn.functional.one_hot(y, 10).bool()
    margin = z.masked_fill(own, -torch.inf).amax(dim=1) - z[own]
    (grad,) = torch.autograd.grad(margin.sum(), probe)
    assert _accuracy(masked, (x + EPS * grad.sign()).clamp(0, 1), y) < 0.1


def check_digits_experiment():
    """The numbers of the digits experiment, to a tolerance of some points."""
    plain, robust = _trained(False), _trained(True)
    assert _attacked(plain, 0, "random") > 0.97 and _attacked(robust, 0, "random") > 0.97
    assert _attacked(plain, EPS, "random") > 0.9
    assert abs(_attacked(plain, 0.04, "pgd") - 0.32) < 0.12
    assert _attacked(plain, 0.06, "pgd") < 0.12 and _attacked(plain, EPS, "pgd") < 0.02
    assert abs(_attacked(robust, 0.06, "pgd") - 0.86) < 0.08
    assert abs(_attacked(robust, EPS, "pgd") - 0.54) < 0.12
    assert _attacked(robust, EPS, "pgd") < _attacked(robust, EPS, "fgsm") - 0.03


def check_worked_example():
    """Every number of the worked example."""
    w, x, b = np.array([1.0, -2.0, 0.5, -0.5]), np.array([0.6, 0.1, 0.4, 0.2]), 0.0
    score = x @ w + b
    assert np.isclose(score, 0.5) and np.isclose(np.log1p(np.exp(-score)), 0.474, atol=5e-4)
    assert np.abs(w).sum() == 4 and np.isclose(np.linalg.norm(w), 2.345, atol=5e-4)
    assert np.isclose(0.5 / 4, 0.125) and np.isclose(0.5 / 2.345, 0.213, atol=5e-4)
    adv = fgsm(x, -w, 0.2)
    assert np.allclose(adv, [0.4, 0.3, 0.2, 0.4]) and np.isclose(adv @ w, -0.3)
    assert np.isclose(np.log1p(np.exp(0.3)), 0.854, atol=5e-4)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
    assert (((x + 0.2 * signs) @ w) < 0).sum() == 3
    assert np.isclose((0.2 * signs @ w).std(), 0.469, atol=5e-4)
    target = x - 0.213 * w / np.linalg.norm(w)
    assert np.allclose(target, [0.509, 0.282, 0.355, 0.245], atol=1e-3)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
