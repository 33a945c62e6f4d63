"""Twin of the page on mixup and CutMix: mixing, expected targets, floors, intrusion."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def mixup(x, y, lam, perm):
    """x (batch, ...), y (batch, K) one-hot, one lam in [0, 1], perm of the batch."""
    return lam * x + (1 - lam) * x[perm], lam * y + (1 - lam) * y[perm]


def cut_box(h, w, lam, row, col):
    """Rectangle of area share about 1 - lam around (row, col), clipped to the image."""
    half_h = int(h * np.sqrt(1 - lam)) // 2
    half_w = int(w * np.sqrt(1 - lam)) // 2
    return (max(row - half_h, 0), min(row + half_h, h),
            max(col - half_w, 0), min(col + half_w, w))


def cutmix(x, y, lam, perm, row, col):
    """x (batch, channels, height, width). Labels follow the area really pasted."""
    h, w = x.shape[2:]
    r1, r2, c1, c2 = cut_box(h, w, lam, row, col)
    out = x.copy()
    out[:, :, r1:r2, c1:c2] = x[perm, :, r1:r2, c1:c2]
    lam = 1 - (r2 - r1) * (c2 - c1) / (h * w)
    return out, lam * y + (1 - lam) * y[perm]
# --8<-- [end:numpy]


# --8<-- [start:torch]
def mixed_batch(x, c, K, alpha, cut):
    """One random mixup (cut=False) or CutMix (cut=True) batch; c: class numbers."""
    lam = torch.distributions.Beta(alpha, alpha).sample().item()
    perm = torch.randperm(len(x))
    y = F.one_hot(c, K).to(x.dtype)
    if not cut:
        return x.lerp(x[perm], 1 - lam), y.lerp(y[perm], 1 - lam)
    h, w = x.shape[2:]
    row = torch.randint(h, ()).item()
    col = torch.randint(w, ()).item()
    return torch_cutmix(x, y, lam, perm, row, col)


def torch_cutmix(x, y, lam, perm, row, col):
    """The same with given draws, by a mask."""
    h, w = x.shape[2:]
    near_r = (torch.arange(h) - row + 0.5).abs() < int(h * (1 - lam) ** 0.5) // 2
    near_c = (torch.arange(w) - col + 0.5).abs() < int(w * (1 - lam) ** 0.5) // 2
    mask = near_r[:, None] & near_c[None, :]
    share = mask.to(x.dtype).mean()
    return torch.where(mask, x[perm], x), (1 - share) * y + share * y[perm]


def mixed_loss(logits, y):
    """Cross-entropy accepts probabilities as targets (batch, K)."""
    return F.cross_entropy(logits, y)
# --8<-- [end:torch]


def digamma(n):
    """Digamma function."""
    return torch.special.digamma(torch.tensor(n, dtype=torch.float64)).item()


def beta_nodes(a, b, n=200000):
    """A fixed sample of Beta(a, b)."""
    return np.random.default_rng(0).beta(a, b, size=n)


def intruded(a, x):
    """Ideal probability of class A at x for masses a at -1 and 1, 1 - 2a at 0, alpha = 1."""
    return (a + 2 * (1 - 2 * a) * np.abs(x)) / (a + 2 * (1 - 2 * a))


def two_images(n=48):
    """A disk and stripes, with values in [0, 1]."""
    g = (np.arange(n) + 0.5) / n - 0.5
    disk = (g[:, None] ** 2 + g[None, :] ** 2 < 0.12).astype(float)
    stripes = ((np.arange(n) // 6) % 2).astype(float)[None, :] * np.ones((n, 1))
    return 0.75 * disk, 0.35 + 0.65 * stripes


def figure_images():
    """Two images, their mixup and their CutMix."""
    disk, stripes = two_images()
    x, y = np.stack([disk, stripes])[:, None], np.eye(2)
    perm = np.array([1, 0])
    mixed, _ = mixup(x, y, 0.6, perm)
    cut, t = cutmix(x, y, 0.6, perm, 14, 30)
    fig, axes = plt.subplots(1, 4, figsize=(6.4, 2.1))
    shown = [(disk, "disk 1, stripes 0"), (stripes, "disk 0, stripes 1"), (mixed[0, 0], "mixup\ndisk 0.60, stripes 0.40"), (cut[0, 0], f"CutMix\ndisk {t[0, 0]:.2f}, stripes {t[0, 1]:.2f}")]
    for ax, (im, name) in zip(axes, shown):
        ax.imshow(im, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.set_xlabel(name, fontsize=9)
    return fig


def figure_weights():
    """Densities of the mixing weight; the ideal prediction after mixing."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.1))
    lam = np.linspace(0.004, 0.996, 400)
    for a, style in ((0.2, "-"), (1.0, "--"), (4.0, "-.")):
        const = math.gamma(2 * a) / math.gamma(a) ** 2
        left.plot(lam, const * (lam * (1 - lam)) ** (a - 1), style, label=f"α = {a:g}")
    left.set(xlabel="mixing weight", ylabel="density", ylim=(0, 3.2))
    left.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.24))
    x = np.linspace(-1, 1, 401)
    for a, style, color in ((0.25, "-", "C0"), (0.45, "--", "C1")):
        right.plot(x, intruded(a, x), style, color=color, label=f"{1 - 2 * a:.0%} of the data at 0")
    right.plot([-1, 0, 1], [1, 0, 1], "s", color="#222222", label="labels of the data")
    right.axhline(0.5, ls=":", color="#222222", lw=1.2)
    right.set(xlabel="input", ylabel="ideal probability of class A", ylim=(-0.05, 1.05))
    right.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=1)
    return fig


def check_mix_mixup():
    """Equation (mix-mixup): convex combination, targets sum to 1, end points."""
    rng = np.random.default_rng(0)
    x, y, perm = rng.normal(size=(5, 3, 4, 4)), np.eye(6)[rng.integers(0, 6, size=5)], rng.permutation(5)
    mx, my = mixup(x, y, 0.3, perm)
    assert np.allclose(mx[2], 0.3 * x[2] + 0.7 * x[perm[2]]) and np.allclose(my.sum(1), 1)
    assert np.array_equal(mixup(x, y, 1.0, perm)[0], x)
    torch.manual_seed(3)
    lam = torch.distributions.Beta(0.4, 0.4).sample().item()
    p = torch.randperm(5).numpy()
    torch.manual_seed(3)
    tx, ty = mixed_batch(torch.tensor(x), torch.tensor(y.argmax(1)), 6, 0.4, False)
    mx, my = mixup(x, y, lam, p)
    assert np.abs(mx - tx.numpy()).max() < 1e-12 and np.abs(my - ty.numpy()).max() < 1e-12


def check_mix_cutmix():
    """Equation (mix-cutmix): NumPy and PyTorch agree; the label share is the pasted area."""
    rng = np.random.default_rng(1)
    x, y, perm = rng.normal(size=(4, 2, 16, 12)), np.eye(4), np.array([1, 2, 3, 0])
    for _ in range(200):
        lam, row, col = rng.random(), rng.integers(16), rng.integers(12)
        nx, ny = cutmix(x, y, lam, perm, row, col)
        tx, ty = torch_cutmix(torch.tensor(x), torch.tensor(y), lam, torch.tensor(perm), row, col)
        assert np.array_equal(nx, tx.numpy()) and np.abs(ny - ty.numpy()).max() < 1e-12
        pasted = (nx[0, 0] != x[0, 0]).mean()
        assert np.isclose(ny[0, 1], pasted) and np.isclose(ny[0, 0], 1 - pasted)
    # away from the border the share is 1 - lam up to rounding
    _, big = cutmix(np.zeros((2, 1, 400, 400)), np.eye(2), 0.75, np.array([1, 0]), 200, 200)
    assert np.allclose(big[0], [0.75, 0.25])
    out, y2 = mixed_batch(torch.rand(4, 2, 16, 12), torch.arange(4), 4, 1.0, True)
    assert out.shape == (4, 2, 16, 12) and torch.allclose(y2.sum(1), torch.ones(4))


def check_mix_clip():
    """Equation (mix-clip): mean pasted share 77/240 for uniform weight and center."""
    rng = np.random.default_rng(2)
    s = np.sqrt(1 - rng.random(400000))
    side = lambda c: np.minimum(c + s / 2, 1) - np.maximum(c - s / 2, 0)
    area = side(rng.random(400000)) * side(rng.random(400000))
    assert abs(area.mean() - 77 / 240) < 2e-3
    e = np.clip(area, 1e-12, 1 - 1e-12)  # mean entropy of the clipped share, two classes
    assert abs(np.mean(-e * np.log(e) - (1 - e) * np.log1p(-e)) - 0.539) < 3e-3
    u = np.linspace(0, 1, 100001)
    assert abs(np.trapezoid(2 * u * (u - u**2 / 4) ** 2, u) - 77 / 240) < 1e-8
    shares = []  # and with the real function on pixels
    for _ in range(4000):
        r1, r2, c1, c2 = cut_box(224, 224, rng.random(), rng.integers(224), rng.integers(224))
        shares.append((r2 - r1) * (c2 - c1) / 224**2)
    assert abs(np.mean(shares) - 77 / 240) < 0.015


def check_mix_loss():
    """Equation (mix-loss): soft-target loss = weighted sum of two hard losses, gradients too."""
    rng = np.random.default_rng(3)
    z = torch.tensor(rng.normal(size=(8, 5)), requires_grad=True)
    c, perm, lam = torch.tensor(rng.integers(0, 5, size=8)), torch.tensor(rng.permutation(8)), 0.37
    y = F.one_hot(c, 5).double()
    soft = mixed_loss(z, lam * y + (1 - lam) * y[perm])
    hard = lam * F.cross_entropy(z, c) + (1 - lam) * F.cross_entropy(z, c[perm])
    assert torch.allclose(soft, hard, atol=1e-12)
    a, b = torch.autograd.grad(soft, z)[0], torch.autograd.grad(hard, z)[0]
    assert torch.allclose(a, b, atol=1e-12)


def check_mix_moments():
    """Equation (mix-moments): mean of lam (1 - lam), mean of the larger weight."""
    for a in (0.2, 1.0, 4.0):
        lam = beta_nodes(a, a)
        assert abs(np.mean(lam * (1 - lam)) - a / (2 * (2 * a + 1))) < 1e-3
        assert abs(np.var(lam) - 1 / (4 * (2 * a + 1))) < 1e-3
    assert abs(np.mean(np.maximum(lam := beta_nodes(1, 1), 1 - lam)) - 0.75) < 1e-3
    assert abs(np.mean(np.maximum(lam := beta_nodes(0.2, 0.2), 1 - lam)) - 0.897) < 2e-3


def check_mix_one_label():
    """Equation (mix-one-label): same mean loss with Beta(alpha + 1, alpha) and one label."""
    rng = np.random.default_rng(4)
    x, c = rng.normal(size=(6, 3)), rng.integers(0, 4, size=6)
    w1, w2 = rng.normal(size=(10, 3)), rng.normal(size=(4, 10))

    def losses(points, target):
        z = np.tanh(points @ w1.T) @ w2.T
        top = z.max(-1, keepdims=True)
        lse = top[..., 0] + np.log(np.exp(z - top).sum(-1))
        return lse - np.take_along_axis(z, target[..., None], -1)[..., 0]

    lam = (np.arange(4000) + 0.5) / 4000
    for a in (1.0, 2.0):
        dens = lambda p, q: lam ** (p - 1) * (1 - lam) ** (q - 1) * math.gamma(p + q) / math.gamma(p) / math.gamma(q) / len(lam)
        pts = lam[:, None, None, None] * x[:, None] + (1 - lam)[:, None, None, None] * x[None]
        li = losses(pts, np.broadcast_to(c[:, None], pts.shape[:3]))
        lj = losses(pts, np.broadcast_to(c[None, :], pts.shape[:3]))
        both = (lam[:, None, None] * li + (1 - lam)[:, None, None] * lj).mean((1, 2)) @ dens(a, a)
        one = li.mean((1, 2)) @ dens(a + 1, a)
        assert abs(both - one) < 1e-5
        assert abs(both - li.mean((1, 2)) @ dens(a, a)) > 1e-2  # not with the old weights


def check_mix_smoothing():
    """Equation (mix-smoothing): expected target given the first example."""
    rng = np.random.default_rng(5)
    y = np.eye(4)[[0, 0, 1, 2, 3, 3, 3, 1]]
    lam, j = rng.beta(1, 1, size=200000), rng.integers(0, 8, size=200000)
    keep = np.abs(lam - 0.7) < 0.01
    mean = (lam[keep, None] * y[2] + (1 - lam[keep, None]) * y[j[keep]]).mean(0)
    assert np.abs(mean - (0.7 * y[2] + 0.3 * y.mean(0))).max() < 0.02


def check_mix_linear():
    """Equation (mix-linear): exact expectation; least squares with intercept unchanged."""
    rng = np.random.default_rng(6)
    n, a = 12, 1.0
    x = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    y, w = rng.normal(size=n), rng.normal(size=3)
    r = x @ w - y
    v = a / (2 * (2 * a + 1))
    exact = (1 - 2 * v) * np.mean(r**2) + 2 * v * np.mean(r) ** 2
    lam, i, j = beta_nodes(a, a), *rng.integers(0, n, size=(2, 200000))
    mx = lam[:, None] * x[i] + (1 - lam)[:, None] * x[j]
    my = lam * y[i] + (1 - lam) * y[j]
    assert abs(np.mean((mx @ w - my) ** 2) / exact - 1) < 0.02
    plain = np.linalg.lstsq(x, y, rcond=None)[0]
    mixed = np.linalg.lstsq(mx, my, rcond=None)[0]
    assert np.abs(plain - mixed).max() < 0.02
    inputs_only = np.linalg.lstsq(mx, y[i], rcond=None)[0]
    assert np.abs(plain - inputs_only).max() > 0.1  # mixing only inputs does shrink


def check_mix_floor():
    """Equation (mix-floor): mean entropy of the weights; printed values."""
    for a, printed in ((0.1, 0.1347), (0.2, 0.2277), (1.0, 0.5)):
        exact = digamma(2 * a + 1) - digamma(a + 1)
        u = np.clip(beta_nodes(a, a), 1e-300, 1 - 1e-16)
        ent = -(u * np.log(u) + (1 - u) * np.log1p(-u))
        assert abs(ent.mean() - exact) < 2e-3 and abs(exact - printed) < 5e-5
    assert abs(digamma(3.0) - digamma(2.0) - 0.5) < 1e-12


def check_mix_intrusion():
    """Equation (mix-intrusion): ideal prediction after mixing three clusters."""
    rng = np.random.default_rng(7)
    for a in (0.25, 0.45):
        pos = rng.choice([-1, 0, 1], p=[a, 1 - 2 * a, a], size=(2, 2000000))
        lam = rng.random(2000000)
        x = lam * pos[0] + (1 - lam) * pos[1]
        t = lam * (pos[0] != 0) + (1 - lam) * (pos[1] != 0)
        inside = (pos[0] != pos[1])
        for at in (0.05, 0.5, 0.9):
            near = inside & (np.abs(np.abs(x) - at) < 0.02)
            assert abs(t[near].mean() - intruded(a, at)) < 0.01
    assert np.isclose(intruded(0.45, 0.0), 0.45 / 0.65) and intruded(0.25, 0.0) < 0.5


def check_worked_example():
    """The numbers of the page."""
    mx, my = mixup(np.array([[1.0, 3.0], [5.0, -1.0]]), np.eye(3)[[0, 2]], 0.7, np.array([1, 0]))
    assert np.allclose(mx[0], [2.2, 1.8]) and np.allclose(my[0], [0.7, 0, 0.3])
    p = np.array([0.6, 0.1, 0.3])
    assert abs(-(my[0] * np.log(p)).sum() - 0.7188) < 5e-5
    assert abs(-(my[0, [0, 2]] * np.log(my[0, [0, 2]])).sum() - 0.6109) < 5e-5
    assert cut_box(32, 32, 0.75, 16, 16) == (8, 24, 8, 24) and 16 * 16 / 1024 == 0.25
    assert cut_box(32, 32, 0.75, 2, 30) == (0, 10, 22, 32) and abs(100 / 1024 - 0.0977) < 5e-5


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
