"""Page peft-lora: checks LoRA, adapters, prefixes, 4-bit storage, memory and forgetting."""
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import torch

# --8<-- [start:numpy]
def lora_init(d_out, d_in, r, rng):
    """Factors A (r, d_in), random, and B (d_out, r), zero: the update starts at zero."""
    return rng.normal(0, d_in**-0.5, (r, d_in)), np.zeros((d_out, r))


def lora_forward(x, w0, a, b, alpha):
    """Rows of x (n, d_in) through W0 + (alpha / r) B A, without forming the sum."""
    s = alpha / a.shape[0]
    return x @ w0.T + s * (x @ a.T) @ b.T


def lora_gradients(x, g_out, a, b, alpha):
    """Gradients in A and B from g_out (n, d_out), the gradient in the outputs."""
    s = alpha / a.shape[0]
    g_b = s * g_out.T @ (x @ a.T)                 # (d_out, r)
    g_a = s * (g_out @ b).T @ x                   # (r, d_in)
    return g_a, g_b


def merge(w0, a, b, alpha):
    """The one matrix that computes the same function."""
    return w0 + alpha / a.shape[0] * b @ a
# --8<-- [end:numpy]


# --8<-- [start:torch]
class LoRALinear(torch.nn.Module):
    """A frozen linear layer with a trainable low-rank update."""

    def __init__(self, base, r=8, alpha=16.0):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / r
        like = dict(dtype=base.weight.dtype, device=base.weight.device)
        self.a = torch.nn.Parameter(
            torch.randn(r, base.in_features, **like) * base.in_features**-0.5)
        self.b = torch.nn.Parameter(torch.zeros(base.out_features, r, **like))

    def forward(self, x):
        return self.base(x) + self.scale * (x @ self.a.T) @ self.b.T

    @torch.no_grad()
    def merge(self):
        """Fold the update into the frozen weight and return the plain layer."""
        self.base.weight += self.scale * self.b @ self.a
        return self.base


def add_lora(model, r=8, alpha=16.0):
    """Freeze a model and wrap its linear layers; only the factors stay trainable.

    Not for torch.nn.MultiheadAttention, which reads its layers' weights directly.
    """
    model.requires_grad_(False)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear) and not isinstance(parent, LoRALinear):
                setattr(parent, name, LoRALinear(child, r, alpha))
    return model
# --8<-- [end:torch]


# A decoder of the size called 7B: 32 layers, width 4096, gated feed-forward of 11,008.
LAYERS, WIDTH, FFN, VOCAB = 32, 4096, 11008, 32000


def decoder_parameters():
    """All weights: attention, gated feed-forward, norms, embedding, output layer."""
    per_layer = 4 * WIDTH**2 + 3 * WIDTH * FFN + 2 * WIDTH
    return LAYERS * per_layer + 2 * VOCAB * WIDTH + WIDTH


def lora_parameters(r):
    """LoRA of rank r on all seven linear layers of each block."""
    return LAYERS * (4 * r * 2 * WIDTH + 3 * r * (WIDTH + FFN))


def state_bytes(total, trainable, frozen_bytes):
    """Frozen weights plus 16 bytes for each trainable parameter (mixed precision, Adam)."""
    return frozen_bytes * total + 16 * trainable


def nf4_levels():
    """The 16 levels of NormalFloat4: normal quantiles, scaled to [-1, 1], zero included."""
    q = NormalDist().inv_cdf
    edge = 1 - 0.5 * (1 / 32 + 1 / 30)
    top = [q(p) for p in np.linspace(edge, 0.5, 9)[:-1]]
    bottom = [-q(p) for p in np.linspace(edge, 0.5, 8)[:-1]]
    levels = np.sort(np.array(top + [0.0] + bottom))
    return levels / levels.max()


def quantize(x, levels, block=64):
    """Round each block to the nearest level times the block's largest magnitude."""
    blocks = x.reshape(-1, block)
    scale = np.abs(blocks).max(axis=1, keepdims=True)
    code = np.abs(blocks[:, :, None] / scale[:, :, None] - levels).argmin(axis=2)
    return (levels[code] * scale).reshape(x.shape)


def fit_lora(target, r, steps=3000, lr=0.02, seed=0):
    """Adam on the squared distance between (1/1) B A and the target update."""
    torch.manual_seed(seed)
    d_out, d_in = target.shape
    a = torch.nn.Parameter(torch.randn(r, d_in, dtype=torch.float64) * d_in**-0.5)
    b = torch.nn.Parameter(torch.zeros(d_out, r, dtype=torch.float64))
    t = torch.from_numpy(target)
    opt = torch.optim.Adam([a, b], lr=lr)
    sched = torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.0, steps)
    for _ in range(steps):
        opt.zero_grad()
        loss = ((b @ a - t) ** 2).sum()
        loss.backward()
        opt.step()
        sched.step()
    return (b @ a).detach().numpy()


def _targets(d=24, seed=0):
    """Two updates of Frobenius norm 1: rank 3, and slowly decaying singular values."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
    out = {}
    for name, s in (("rank 3", np.r_[3, 2, 1, np.zeros(d - 3)]),
                    ("full rank", (1 + np.arange(d)) ** -0.5)):
        s = s / np.linalg.norm(s)
        out[name] = (u * s) @ v.T, s
    return out


def _task(shift, seed, n):
    """Inputs around one point; four classes by a random teacher network."""
    g = torch.Generator().manual_seed(seed)
    w1, w2 = torch.randn(16, 12, generator=g), torch.randn(12, 4, generator=g)
    x = torch.randn(n, 16, generator=torch.Generator().manual_seed(seed + 100 + n))
    y = ((x @ w1 / 4).tanh() @ w2).argmax(1)
    x = x.clone()
    x[:, 0] += shift
    return x, y


def _net():
    return torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(),
                               torch.nn.Linear(64, 64), torch.nn.ReLU(),
                               torch.nn.Linear(64, 4))


def _accuracy(model, data):
    with torch.no_grad():
        return (model(data[0]).argmax(1) == data[1]).double().mean().item()


def _run(model, data, steps, lr, replay=None, watch=None, every=25, seed=0):
    """Adam with batches of 128, of which 32 from `replay`; accuracies of `watch`."""
    g = torch.Generator().manual_seed(seed)
    opt = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    trace = [[_accuracy(model, d) for d in watch]] if watch else []
    for t in range(steps):
        i = torch.randint(len(data[1]), (96 if replay else 128,), generator=g)
        x, y = data[0][i], data[1][i]
        if replay:
            j = torch.randint(len(replay[1]), (32,), generator=g)
            x, y = torch.cat([x, replay[0][j]]), torch.cat([y, replay[1][j]])
        opt.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        opt.step()
        if watch and (t + 1) % every == 0:
            trace.append([_accuracy(model, d) for d in watch])
    return np.array(trace)


def forgetting(seed=0, steps=400):
    """Pretrain on an old task, tune on a new one; paths of (new, old) accuracy."""
    torch.manual_seed(seed)
    old, new = _task(-2.5, 2 * seed, 4000), _task(2.5, 2 * seed + 1, 4000)
    watch = (_task(2.5, 2 * seed + 1, 2000), _task(-2.5, 2 * seed, 2000))
    base = _net()
    _run(base, old, 1200, 3e-3)
    start = {k: v.clone() for k, v in base.state_dict().items()}
    paths = {}
    for name in ("full", "full with replay", "LoRA, rank 1", "LoRA, rank 8"):
        model = _net()
        model.load_state_dict(start)
        if name.startswith("LoRA"):
            torch.manual_seed(seed + 7)
            add_lora(model, r=int(name.split()[-1]), alpha=2.0 * int(name.split()[-1]))
        paths[name] = _run(model, new, steps, 3e-3, watch=watch,
                           replay=old if "replay" in name else None)
    return paths


def figure_update():
    """Left: the shapes of W and of its low-rank update. Right: memory for 7B."""
    fig, (ax, bx) = plt.subplots(1, 2, figsize=(6.4, 3.0), width_ratios=[1.15, 1])
    ax.add_patch(plt.Rectangle((0, 0), 4, 4, fc="#9aa4ad", ec="#222222", hatch=".."))
    ax.add_patch(plt.Rectangle((5.4, 0), 0.5, 4, fc="C1", ec="#222222", hatch="//"))
    ax.add_patch(plt.Rectangle((6.3, 3.5), 4, 0.5, fc="C0", ec="#222222", hatch="\\\\"))
    ax.annotate("+", (4.7, 2), ha="center", va="center", fontsize=15)
    for text, xy in (("frozen W", (2, -0.55)), ("B", (5.65, -0.55)), ("A", (8.3, 2.95)),
                     ("d outputs by\nk inputs", (2, 4.75)), ("d by r", (5.65, 4.55)),
                     ("r by k", (8.3, 4.55))):
        ax.annotate(text, xy, ha="center", va="center", fontsize=9)
    ax.set_xlim(-0.3, 10.6)
    ax.set_ylim(-1, 5.4)
    ax.set_aspect("equal")
    ax.axis("off")
    n, p = decoder_parameters(), lora_parameters(16)
    bars = (("full\n16-bit", 2 * n, 14 * n), ("LoRA\n16-bit", 2 * n, 16 * p),
            ("QLoRA\n4-bit", 4.127 / 8 * n, 16 * p))
    for i, (name, w, rest) in enumerate(bars):
        bx.bar(i, w / 1e9, color="#9aa4ad", hatch="..", ec="#222222", lw=0.6,
               label="weights" if i == 0 else None)
        bx.bar(i, rest / 1e9, bottom=w / 1e9, color="C1", hatch="//", ec="#222222", lw=0.6,
               label="gradients, Adam,\nmaster copy" if i == 0 else None)
        bx.annotate(f"{(w + rest) / 1e9:.1f}", (i, (w + rest) / 1e9), ha="center",
                    va="bottom", fontsize=9)
    bx.set_xticks(range(3), [b[0] for b in bars], fontsize=9)
    bx.set_ylabel("gigabytes")
    bx.set_ylim(0, 125)
    bx.grid(axis="x", visible=False)
    bx.legend(fontsize=9, frameon=False, loc="upper right")
    return fig


def figure_rank():
    """Distance to the best update against the rank: formula and trained factors."""
    fig, ax = plt.subplots(figsize=(6.4, 2.9))
    styles = {"rank 3": ("C0", "-", "o"), "full rank": ("C1", "--", "s")}
    for name, (target, s) in _targets().items():
        color, ls, marker = styles[name]
        ranks = np.arange(0, 25)
        best = [np.sum(s[r:] ** 2) for r in ranks]
        ax.plot(ranks, best, color=color, ls=ls, label=f"wanted update of {name}: formula")
        tried = [1, 2, 3, 4, 8, 16]
        got = [np.sum((fit_lora(target, r, steps=800) - target) ** 2) for r in tried]
        ax.plot(tried, got, color=color, ls="none", marker=marker,
                label=f"wanted update of {name}: trained LoRA")
    ax.set_xlabel("rank of the update")
    ax.set_ylabel("squared error left")
    ax.set_ylim(-0.03, 1.05)
    ax.legend(fontsize=9, frameon=False)
    return fig


def figure_forgetting():
    """Accuracy on the old task against accuracy on the new one during tuning."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    styles = {"full": ("C1", "-", "s"), "full with replay": ("C2", "--", "D"),
              "LoRA, rank 1": ("C0", "-.", "o"), "LoRA, rank 8": ("C3", ":", "^")}
    for name, path in forgetting().items():
        color, ls, marker = styles[name]
        ax.plot(100 * path[:, 0], 100 * path[:, 1], color=color, ls=ls, marker=marker,
                ms=4, lw=1.2, label=name)
    ax.annotate("start", 100 * path[0], xytext=(4, 6), textcoords="offset points",
                fontsize=9)
    ax.set_xlabel("accuracy on the new task, percent")
    ax.set_ylabel("accuracy on the old task, percent")
    ax.legend(fontsize=9, frameon=False, loc="lower left")
    return fig


def _problem(n=12, d_out=7, d_in=9, r=3, seed=0):
    rng = np.random.default_rng(seed)
    a, _ = lora_init(d_out, d_in, r, rng)
    b = rng.standard_normal((d_out, r))
    return rng.standard_normal((n, d_in)), rng.standard_normal((d_out, d_in)), a, b, rng


def check_lora_forward():
    """Equations (lora-forward): same function as the merged matrix; zero update at the start."""
    x, w0, a, b, rng = _problem()
    merged = merge(w0, a, b, 6.0)
    assert np.allclose(lora_forward(x, w0, a, b, 6.0), x @ merged.T, atol=1e-12)
    a0, b0 = lora_init(7, 9, 3, rng)
    assert np.array_equal(lora_forward(x, w0, a0, b0, 6.0), x @ w0.T)
    assert np.allclose(merge(merged, a, -b, 6.0), w0, atol=1e-12)      # unmerge
    assert np.linalg.matrix_rank(merged - w0) == 3


def check_lora_count():
    """Equation (lora-count): parameters of the two factors against the matrix."""
    for d, k, r in ((4096, 4096, 8), (11008, 4096, 16), (10, 6, 2)):
        a, b = lora_init(d, k, r, np.random.default_rng(0))
        assert a.size + b.size == r * (d + k)
    assert 8 * (4096 + 4096) == 65536 and 4096**2 == 16777216
    assert np.isclose(65536 / 16777216, 0.0039, atol=5e-5)
    layer = LoRALinear(torch.nn.Linear(10, 6), r=2)
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == 2 * 16


def check_lora_gradients():
    """Equation (lora-gradients): finite differences; A gets no gradient at the start."""
    x, w0, a, b, rng = _problem()
    y, alpha, h = rng.standard_normal((12, 7)), 6.0, 1e-6

    def cost(a, b):
        return 0.5 * ((lora_forward(x, w0, a, b, alpha) - y) ** 2).sum()

    g_out = lora_forward(x, w0, a, b, alpha) - y
    g_a, g_b = lora_gradients(x, g_out, a, b, alpha)
    full = g_out.T @ x                            # the gradient in W
    assert np.allclose(g_b, alpha / 3 * full @ a.T) and np.allclose(g_a, alpha / 3 * b.T @ full)
    for m, g in ((a, g_a), (b, g_b)):
        for i in range(m.shape[0]):
            for j in range(m.shape[1]):
                m[i, j] += h
                up = cost(a, b)
                m[i, j] -= 2 * h
                down = cost(a, b)
                m[i, j] += h
                assert np.isclose((up - down) / (2 * h), g[i, j], rtol=1e-5, atol=1e-4)
    zero = np.zeros_like(b)
    g_a, g_b = lora_gradients(x, lora_forward(x, w0, a, zero, alpha) - y, a, zero, alpha)
    assert not g_a.any() and g_b.any()
    # Both zero: nothing ever moves.
    g_a, g_b = lora_gradients(x, g_out, 0 * a, zero, alpha)
    assert not g_a.any() and not g_b.any()


def check_lora_first_step():
    """Equation (lora-first-step): the first step of gradient descent, projected by A."""
    x, w0, a, b, rng = _problem()
    alpha, eta = 6.0, 1e-2
    g_out = x @ w0.T - rng.standard_normal((12, 7))
    g_a, g_b = lora_gradients(x, g_out, a, 0 * b, alpha)
    new_a, new_b = a - eta * g_a, 0 * b - eta * g_b
    change = merge(w0, new_a, new_b, alpha) - w0
    assert np.allclose(change, -eta * (alpha / 3) ** 2 * g_out.T @ x @ a.T @ a, atol=1e-12)
    many = np.mean([m.T @ m for m in (lora_init(2, 9, 3, rng)[0] for _ in range(10_000))], 0)
    assert np.allclose(many, 3 / 9 * np.eye(9), atol=0.015)


def check_lora_adam_step():
    """Equation (lora-adam-step): exact by autograd; its mean does not depend on the rank."""
    rng = np.random.default_rng(1)
    x, g, eta, alpha, d_in = rng.standard_normal(64), np.array([0.3, -2.0]), 1e-3, 16.0, 64
    means = []
    for r in (2, 8, 64):
        draws = []
        for _ in range(400):
            a, b = lora_init(2, d_in, r, rng)
            _, g_b = lora_gradients(x[None], g[None], a, b, alpha)
            new_b = b - eta * np.sign(g_b)               # Adam's first step, epsilon to 0
            change = lora_forward(x[None], np.zeros((2, d_in)), a, new_b, alpha)[0]
            assert np.allclose(change, -eta * alpha / r * np.sign(g) * np.abs(a @ x).sum())
            draws.append(change[1])
        means.append(np.mean(draws))
    want = eta * alpha * np.linalg.norm(x) / 8 * np.sqrt(2 / np.pi)
    assert np.allclose(means, want, rtol=0.08)
    # PyTorch's Adam makes the same step.
    a, b = (torch.from_numpy(m).requires_grad_() for m in lora_init(2, d_in, 4, rng))
    opt = torch.optim.Adam([a, b], lr=eta, eps=1e-12)
    ((torch.from_numpy(x) @ a.T @ b.T * 4.0) @ torch.from_numpy(g)).backward()
    opt.step()
    p = a.detach().numpy() @ x
    assert np.allclose(b.detach().numpy(), -eta * np.sign(np.outer(g, p)), atol=1e-9)


def check_lora_best_rank():
    """Equation (lora-best-rank): SVD truncation, random rivals, and trained factors."""
    rng = np.random.default_rng(2)
    for target, s in _targets().values():
        u, sv, vt = np.linalg.svd(target)
        assert np.allclose(sv, s, atol=1e-12)
        for r in (1, 2, 4):
            best = (u[:, :r] * sv[:r]) @ vt[:r]
            tail = np.sum(s[r:] ** 2)
            assert np.isclose(np.sum((best - target) ** 2), tail, atol=1e-12)
            for _ in range(50):
                rival = best + 0.1 * rng.standard_normal((24, r)) @ rng.standard_normal((r, 24))
                ur, sr, vr = np.linalg.svd(rival)
                rival = (ur[:, :r] * sr[:r]) @ vr[:r]
                assert np.sum((rival - target) ** 2) >= tail - 1e-12
            if r == 2:
                fit = fit_lora(target, r, steps=500)
                assert np.isclose(np.sum((fit - target) ** 2), tail, atol=2e-3)
    x = rng.standard_normal((400, 6))
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / 400)).T     # white inputs
    w0, w1, w = rng.standard_normal((3, 5, 6))
    loss = ((x @ w.T - x @ w1.T) ** 2).sum() / 800
    assert np.isclose(loss, 0.5 * np.sum((w - w1) ** 2))


def check_peft_memory():
    """Equation (peft-memory): the counts and gigabytes of the text."""
    n = decoder_parameters()
    assert n == 6_738_415_616
    p = lora_parameters(16)
    assert p == 39_976_960 and np.isclose(p / n, 0.0059, atol=5e-5)
    assert np.isclose(state_bytes(0, n, 0) / 1e9, 107.8, atol=0.05)
    assert np.isclose(state_bytes(n, p, 2) / 1e9, 14.1, atol=0.05)
    assert np.isclose(state_bytes(n, p, 4.127 / 8) / 1e9, 4.1, atol=0.05)
    # GPT-3 with rank 4 on queries and values: 96 layers of width 12,288.
    assert 96 * 2 * 4 * 2 * 12288 == 18_874_368
    assert np.isclose(18_874_368 * 2 / 1e6, 38, atol=0.5)
    assert 175e9 / 18_874_368 > 9000


def check_peft_block_bits():
    """Equation (peft-block-bits): bits per weight with one and with two levels of scales."""
    assert 4 + 32 / 64 == 4.5
    assert np.isclose(4 + 8 / 64 + 32 / (64 * 256), 4.127, atol=5e-4)
    n = 64 * 256 * 10
    stored = 4 * n + 8 * (n // 64) + 32 * (n // (64 * 256))
    assert np.isclose(stored / n, 4.127, atol=5e-4)
    levels = nf4_levels()
    known = [-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
             0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0]
    assert np.allclose(levels, known, atol=2e-6)
    w = np.random.default_rng(3).standard_normal(64 * 1000)
    uniform = np.linspace(-1, 1, 16)
    mse = [np.mean((quantize(w, lv) - w) ** 2) for lv in (levels, uniform)]
    assert mse[0] < 0.85 * mse[1] and np.isclose(np.sqrt(mse[0]), 0.095, atol=0.01)


def check_peft_adapter():
    """Equation (peft-adapter): parameters; identity at the start."""
    d, m = 768, 64
    down, up = torch.nn.Linear(d, m), torch.nn.Linear(m, d)
    count = sum(t.numel() for t in (*down.parameters(), *up.parameters()))
    assert count == 2 * d * m + d + m == 99_136
    torch.nn.init.zeros_(up.weight)
    torch.nn.init.zeros_(up.bias)
    h = torch.randn(3, d)
    assert torch.equal(h + up(torch.relu(down(h))), h)


def check_peft_prefix():
    """Equation (peft-prefix): attention with a prefix is a gated mixture of two attentions."""
    rng = np.random.default_rng(4)
    q, k, v = rng.standard_normal(8), rng.standard_normal((5, 8)), rng.standard_normal((5, 3))
    pk, pv = rng.standard_normal((2, 8)), rng.standard_normal((2, 3))

    def attend(k, v):
        e = np.exp(k @ q / np.sqrt(8))
        return e @ v / e.sum(), e.sum()

    both, _ = attend(np.vstack([pk, k]), np.vstack([pv, v]))
    (own, z), (prefix, zp) = attend(k, v), attend(pk, pv)
    lam = zp / (zp + z)
    assert np.allclose(both, (1 - lam) * own + lam * prefix, atol=1e-12) and 0 < lam < 1
    assert 20 * 4096 == 81_920 and 2 * LAYERS * 20 * 4096 == 5_242_880


def check_peft_forgetting():
    """Equation (peft-forgetting): second-order change of the old cost at its minimum."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((300, 6))
    y = (x @ rng.standard_normal(6) + rng.standard_normal(300) > 0).astype(float)
    p = lambda w: 1 / (1 + np.exp(-x @ w))
    cost = lambda w: np.mean(np.logaddexp(0, x @ w) - y * (x @ w))
    w = np.zeros(6)
    for _ in range(50):                           # Newton's method to the minimum
        h = x.T @ (x * (p(w) * (1 - p(w)))[:, None]) / 300
        w = w - np.linalg.solve(h, x.T @ (p(w) - y) / 300)
    lam, u = np.linalg.eigh(h)
    for eps in (0.03, 0.01):
        d = eps * rng.standard_normal(6)
        assert np.isclose(cost(w + d) - cost(w), 0.5 * d @ h @ d, rtol=0.1)
    flat, steep = cost(w + 0.1 * u[:, 0]) - cost(w), cost(w + 0.1 * u[:, -1]) - cost(w)
    assert np.isclose(steep / flat, lam[-1] / lam[0], rtol=0.1) and steep > flat


def check_numpy_vs_torch():
    """Forward, gradients and merge agree to 1e-12 in float64."""
    x, w0, a, b, rng = _problem()
    base = torch.nn.Linear(9, 7, bias=False).double()
    base.weight.data = torch.from_numpy(w0.copy())
    layer = LoRALinear(base, r=3, alpha=6.0)
    layer.a.data, layer.b.data = torch.from_numpy(a.copy()), torch.from_numpy(b.copy())
    tx, up = torch.from_numpy(x), torch.from_numpy(rng.standard_normal((12, 7)))
    out = layer(tx)
    assert np.allclose(out.detach().numpy(), lora_forward(x, w0, a, b, 6.0), atol=1e-12)
    out.backward(up)
    g_a, g_b = lora_gradients(x, up.numpy(), a, b, 6.0)
    assert np.allclose(layer.a.grad.numpy(), g_a, atol=1e-12)
    assert np.allclose(layer.b.grad.numpy(), g_b, atol=1e-12)
    assert layer.base.weight.grad is None
    assert np.allclose(layer.merge().weight.numpy(), merge(w0, a, b, 6.0), atol=1e-12)
    assert torch.allclose(layer.base(tx), out.detach(), atol=1e-12)
    model = add_lora(_net(), r=2)
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert len(names) == 6 and all(n.endswith((".a", ".b")) for n in names)


def check_worked_example():
    """The numbers of the worked example."""
    w0 = np.array([[1.0, 0.0], [0.0, 1.0]])
    a, b = np.array([[1.0, -1.0]]), np.zeros((2, 1))
    x, y, alpha, eta = np.array([[2.0, 1.0]]), np.array([[2.0, 3.0]]), 2.0, 0.1
    out = lora_forward(x, w0, a, b, alpha)
    g = out - y
    assert np.array_equal(out, [[2, 1]]) and np.array_equal(g, [[0, -2]])
    assert np.array_equal(x @ a.T, [[1]])
    g_a, g_b = lora_gradients(x, g, a, b, alpha)
    assert not g_a.any() and np.array_equal(g_b, [[0], [-4]])
    b = b - eta * g_b
    assert np.allclose(b, [[0], [0.4]])
    assert np.allclose(merge(w0, a, b, alpha), [[1, 0], [0.8, 0.2]])
    out = lora_forward(x, w0, a, b, alpha)
    assert np.allclose(out, [[2, 1.8]])
    g_a, g_b = lora_gradients(x, out - y, a, b, alpha)
    assert np.allclose(g_a, [[-1.92, -0.96]]) and np.allclose(g_b, [[0], [-2.4]])
    assert np.allclose(0.5 * (out - y) ** 2, [[0, 0.72]])


def check_forgetting_experiment():
    """The numbers quoted for the forgetting figure (seeds 1 and 2 give the same picture)."""
    end = {name: np.round(100 * path[-1]) for name, path in forgetting().items()}
    print("   ", {k: v.tolist() for k, v in end.items()})
    assert end["full"][0] > 80 and end["full"][1] < 40             # learned, forgotten
    assert end["full with replay"].min() > 75                      # both kept
    assert end["LoRA, rank 1"][0] < 75 and end["LoRA, rank 1"][1] < 40
    assert np.all(np.abs(end["LoRA, rank 8"] - end["full"]) < 6)
    labels = _task(-2.5, 0, 2000)[1].numpy()       # the old task's test set
    assert np.isclose(np.bincount(labels).max() / 2000, 0.29, atol=0.005)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
