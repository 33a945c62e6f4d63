"""Twin of the page "Positional encoding": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def sinusoidal(positions, d, base=10000.0):
    """Sinusoidal encodings (Vaswani et al., 2017).

    positions: (n,) numbers; d: even width. Returns (n, d) with sines in
    the even columns and cosines in the odd ones, counted from 0.
    """
    omega = base ** (-np.arange(0, d, 2) / d)            # (d / 2,)
    angle = np.outer(positions, omega)                   # (n, d / 2)
    out = np.empty((len(positions), d))
    out[:, 0::2], out[:, 1::2] = np.sin(angle), np.cos(angle)
    return out


def rotary(x, positions, base=10000.0):
    """Rotate neighboring pairs of columns by position times frequency.

    x: (n, d) queries or keys, d even (Su et al., 2021). Returns (n, d).
    """
    d = x.shape[1]
    angle = np.outer(positions, base ** (-np.arange(0, d, 2) / d))
    cos, sin = np.cos(angle), np.sin(angle)
    even, odd = x[:, 0::2], x[:, 1::2]
    out = np.empty_like(x)
    out[:, 0::2] = cos * even - sin * odd
    out[:, 1::2] = sin * even + cos * odd
    return out


def alibi(n, heads):
    """ALiBi penalties for causal scores (Press et al., 2022): (heads, n, n).

    heads: a power of two. Entry (h, i, j) is minus slope times distance.
    """
    slopes = 2.0 ** (-8.0 * np.arange(1, heads + 1) / heads)
    distance = np.arange(n)[:, None] - np.arange(n)[None, :]
    return -slopes[:, None, None] * np.maximum(distance, 0)
# --8<-- [end:numpy]


# --8<-- [start:torch]
class SinusoidalEncoding(torch.nn.Module):
    """Adds fixed sinusoidal encodings to x of shape (batch, n, d)."""

    def __init__(self, max_len, d, base=10000.0):
        super().__init__()
        t = torch.arange(max_len, dtype=torch.float64)[:, None]
        omega = base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        table = torch.stack([(t * omega).sin(), (t * omega).cos()], dim=-1)
        self.register_buffer("table", table.reshape(max_len, d).float())

    def forward(self, x):
        return x + self.table[: x.shape[1]].to(x.dtype)


def rotary_torch(x, positions, base=10000.0):
    """Rotary embedding of x (..., n, d); pairs of columns as complex numbers."""
    d = x.shape[-1]
    omega = base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    angle = positions.double()[:, None] * omega          # (n, d / 2)
    turn = torch.polar(torch.ones_like(angle), angle)    # exp(i angle)
    pairs = torch.view_as_complex(x.double().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)
# --8<-- [end:torch]


def _softmax(e):
    """Softmax over the last axis."""
    z = np.exp(e - e.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


def _shift(s, d, base=10000.0):
    """The matrix of equation (pe-rotation) for offset s: (d, d)."""
    r = np.zeros((d, d))
    for k in range(d // 2):
        a = s * base ** (-2 * k / d)
        r[2 * k:2 * k + 2, 2 * k:2 * k + 2] = [[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]
    return r


def _rotation(t, d, base=10000.0):
    """The matrix of equation (pe-rope) for position t: (d, d)."""
    return _shift(t, d, base).T


def figure_clocks():
    """Each pair of components is a clock hand; a step turns it by the same angle wherever it starts."""
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.6))
    d = 8
    around = np.linspace(0, 2 * np.pi, 200)
    for ax, k, name in zip(axes, (0, 1, 2), ("fast pair", "slower pair", "still slower"), strict=True):
        ax.plot(np.cos(around), np.sin(around), lw=0.8, color="#777777")
        step = 10000.0 ** (-2 * k / d)
        for t in range(6):
            x, y = np.cos(step * t), np.sin(step * t)
            ax.plot([0, x], [0, y], lw=1, color="C0", alpha=0.35 + 0.1 * t)
            ax.plot(x, y, "o", ms=4, color="C0")
            if k == 0 or (k == 1 and t in (0, 5)):
                ax.text(1.18 * x, 1.18 * y, str(t), ha="center", va="center", fontsize=9)
        if k == 2:
            ax.text(0.5, 0.18, "0 to 5", ha="center", va="center", fontsize=9)
        ax.set_xlim(-1.35, 1.35)
        ax.set_ylim(-1.4, 1.35)
        ax.set_aspect("equal")
        ax.axis("off")
        ax.text(0, -1.42, f"{name}\n{step:.3g} rad per step", ha="center", va="top", fontsize=9)
    return fig


def figure_offsets():
    """Left: dot products of sinusoidal encodings by offset. Right: weights under ALiBi with equal content."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9))
    s = np.arange(-60, 61)
    for d, ls, color in ((16, "--", "C1"), (512, "-", "C0")):
        p = sinusoidal(s, d)
        axes[0].plot(s, p @ sinusoidal([0], d)[0] / (d / 2), ls=ls, color=color, label=f"width {d}")
    axes[0].set_xlabel("offset")
    axes[0].set_ylabel("dot product / its maximum")
    axes[0].set_ylim(0, 1.25)
    axes[0].legend(fontsize=9, loc="upper center", ncols=2)
    n = 61
    bias = alibi(n, 8)[:, -1]
    for h, ls, color, name in ((0, "-", "C0", "1/2"), (2, "--", "C1", "1/8"), (5, ":", "C2", "1/64")):
        axes[1].plot(np.arange(n)[::-1], _softmax(bias[h]), ls=ls, color=color, label=f"slope {name}")
    axes[1].set_yscale("log")
    axes[1].set_ylim(1e-6, 1)
    axes[1].set_xlabel("distance to the key")
    axes[1].set_ylabel("attention weight")
    axes[1].legend(fontsize=9)
    return fig


def check_pe_sinusoidal():
    """Equation (pe-sinusoidal): entry by entry, and the module's table."""
    n, d = 50, 12
    p = sinusoidal(np.arange(n), d)
    for t in (0, 1, 7, 49):
        for k in range(d // 2):
            w = 10000 ** (-2 * k / d)
            assert np.isclose(p[t, 2 * k], np.sin(w * t), atol=1e-14)
            assert np.isclose(p[t, 2 * k + 1], np.cos(w * t), atol=1e-14)


def check_pe_rotation():
    """Equation (pe-rotation): one orthogonal matrix per offset maps p_t to p_{t+s}, for every t."""
    d = 16
    for s in (1, 5, -3, 1000):
        r = _shift(s, d)
        assert np.allclose(r @ r.T, np.eye(d), atol=1e-14)
        t = np.array([0, 1, 17, 400, 5000])
        assert np.allclose(sinusoidal(t, d) @ r.T, sinusoidal(t + s, d), atol=1e-10)
    # Sines alone would not do: no single matrix maps (sin t) to (sin(t + s)) for all t.
    t = np.arange(100)
    sines, moved = sinusoidal(t, d)[:, 0::2], sinusoidal(t + 1, d)[:, 0::2]
    fit = np.linalg.lstsq(sines, moved, rcond=None)[0]
    assert np.abs(sines @ fit - moved).max() > 0.1


def check_pe_dot():
    """Equation (pe-dot): the dot product depends on the offset alone and is even in it."""
    d = 32
    omega = 10000.0 ** (-np.arange(0, d, 2) / d)
    for t in (0, 3, 77):
        for s in (0, 1, -1, 25):
            a, b = sinusoidal([t, t + s], d)
            assert np.isclose(a @ b, np.cos(omega * s).sum())
    assert np.isclose((sinusoidal([9], d)**2).sum(), d / 2)


def check_pe_wavelengths():
    """Equation (pe-wavelengths): from 2 pi, in equal ratios, to just below 10000 times that."""
    d = 512
    omega = 10000.0 ** (-np.arange(0, d, 2) / d)
    lam = 2 * np.pi / omega
    assert np.isclose(lam[0], 2 * np.pi) and np.allclose(lam[1:] / lam[:-1], 10000 ** (2 / d))
    assert np.isclose(10000 ** (2 / d), 1.0366, atol=5e-5)
    assert np.isclose(lam[-1], 60_611, atol=1) and np.isclose(2 * np.pi * 10000, 62_832, atol=1)


def check_pe_four_terms():
    """Equation (pe-four-terms): the score of sums is the sum of four scores."""
    rng = np.random.default_rng(0)
    x, p = rng.standard_normal((2, 5, 8))
    w_q, w_k = rng.standard_normal((2, 3, 8))
    b = w_q.T @ w_k
    whole = ((x + p) @ w_q.T) @ ((x + p) @ w_k.T).T
    assert np.allclose(whole, x @ b @ x.T + x @ b @ p.T + p @ b @ x.T + p @ b @ p.T)
    # The last term with sinusoids: constant along diagonals for multiples of rotations, not for any B.
    turn = np.zeros((8, 8))
    for k in range(4):
        c, s = rng.standard_normal(2)
        turn[2 * k:2 * k + 2, 2 * k:2 * k + 2] = [[c, -s], [s, c]]
    q = sinusoidal(np.arange(9), 8)
    last = q @ turn @ q.T
    assert np.allclose(last[1:, 1:], last[:-1, :-1])
    other = q @ b @ q.T
    assert not np.allclose(other[1:, 1:], other[:-1, :-1], atol=0.1)


def check_pe_concat():
    """Equation (pe-concat): adding is concatenating with tied blocks; untied blocks are more general."""
    rng = np.random.default_rng(1)
    x, p = rng.standard_normal((2, 6, 4))
    w, w1, w2 = rng.standard_normal((3, 5, 4))
    both = np.concatenate([x, p], axis=1)
    assert np.allclose((x + p) @ w.T, both @ np.concatenate([w, w], axis=1).T)
    assert np.allclose(both @ np.concatenate([w1, w2], axis=1).T, x @ w1.T + p @ w2.T)
    # A free vector r added to x reproduces W2 p for three projections only if 3 * 4 equations in 4 unknowns fit.
    v1, v2 = rng.standard_normal((2, 12, 4))
    r = np.linalg.lstsq(v1, v2 @ p[0], rcond=None)[0]
    assert np.abs(v1 @ r - v2 @ p[0]).max() > 0.1


def check_low_dimension():
    """The measured numbers of the page: variance of 512 encodings in few directions; random cosines."""
    p = sinusoidal(np.arange(512), 512)
    centered = p - p.mean(axis=0)
    energy = np.linalg.svd(centered, compute_uv=False)**2
    share = np.cumsum(energy) / energy.sum()
    count = int(np.searchsorted(share, 0.99)) + 1
    assert count == 111, count
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4000, 512))
    cos = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert abs(cos.std() - 512**-0.5) < 0.002 and np.isclose(512**-0.5, 0.044, atol=5e-4)


def check_pe_shaw():
    """Equation (pe-shaw): clipped relative vectors in the keys; scores survive a common shift."""
    rng = np.random.default_rng(2)
    n, d_k, c = 7, 4, 2
    q, k = rng.standard_normal((2, n, d_k))
    r = rng.standard_normal((2 * c + 1, d_k))
    off = np.clip(np.arange(n)[None, :] - np.arange(n)[:, None], -c, c) + c
    e = np.einsum("id,ijd->ij", q, k[None] + r[off]) / np.sqrt(d_k)
    for i in range(n):
        for j in range(n):
            m = max(-c, min(c, j - i))
            assert np.isclose(e[i, j], q[i] @ (k[j] + r[m + c]) / 2)
    same = np.einsum("d,ijd->ij", q[0], k[0] + r[off])
    assert np.allclose(same[:-1, :-1], same[1:, 1:])          # constant along diagonals
    assert same[0, 3] == same[0, 6]                           # beyond the clip all distances agree


def check_pe_bias():
    """Equation (pe-bias): with equal content the weights depend on the offset alone, up to the window."""
    rng = np.random.default_rng(3)
    n = 6
    b = rng.standard_normal(2 * n - 1)
    off = np.arange(n)[None, :] - np.arange(n)[:, None]
    q, k = rng.standard_normal((2, n, 4))
    e = q @ k.T / 2 + b[off + n - 1]
    assert np.isclose(e[4, 1], q[4] @ k[1] / 2 + b[-3 + n - 1])
    bias = b[off + n - 1]
    assert np.allclose(bias[:-1, :-1], bias[1:, 1:]) and not np.allclose(bias, bias.T)


def check_pe_alibi():
    """Equation (pe-alibi): slopes and penalties, and weights that fall by a constant factor."""
    a = alibi(5, 8)
    assert np.allclose(-a[:, 1, 0], [2.0**-h for h in range(1, 9)])
    assert np.allclose(a[2, 4], -np.array([4, 3, 2, 1, 0]) / 8)
    w = _softmax(alibi(40, 8)[1, -1])
    assert np.allclose(w[1:] / w[:-1], np.exp(0.25))


def check_pe_rope():
    """Equation (pe-rope): matrix form equals the code; dot products depend on the difference only."""
    rng = np.random.default_rng(4)
    q, k = rng.standard_normal((2, 1, 8))
    for m, n in ((2, 5), (12, 15), (1002, 1005)):
        rq, rk = rotary(q, [m]), rotary(k, [n])
        assert np.allclose(rq[0], _rotation(m, 8) @ q[0], atol=1e-12)
        assert np.isclose(rq[0] @ rk[0], q[0] @ _rotation(n - m, 8) @ k[0], atol=1e-10)
        assert np.isclose(np.linalg.norm(rq), np.linalg.norm(q))
    assert not np.isclose(rotary(q, [2])[0] @ rotary(k, [5])[0],
                          rotary(q, [5])[0] @ rotary(k, [2])[0], atol=1e-2)   # direction matters
    # A relative rule for the scores does not mean decay: with q = k the score oscillates in the distance.
    ones = np.ones((1, 8))
    score = np.array([(rotary(ones, [0]) @ rotary(ones, [s]).T)[0, 0] for s in range(60)])
    assert (np.diff(score) > 0.1).any() and score.argmax() == 0


def check_pe_nope():
    """Equation (pe-nope): a causal head with equal scores counts the tokens before it."""
    n = 9
    marker = np.zeros((n, 1))
    marker[0] = 1.0
    w = _softmax(np.where(np.tril(np.ones((n, n), bool)), 0.0, -np.inf))
    assert np.allclose((w @ marker)[:, 0], 1 / np.arange(1, n + 1))
    unmasked = _softmax(np.zeros((n, n))) @ marker
    assert np.allclose(unmasked, unmasked[0])                 # no mask: the same everywhere


def check_order_blind():
    """Without encodings a pooled answer ignores the order of the tokens; with them it does not."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4, 6))
    w = rng.standard_normal((3, 6, 6))

    def pooled(x):
        q, k, v = x @ w[0].T, x @ w[1].T, x @ w[2].T
        return (_softmax(q @ k.T / np.sqrt(6)) @ v).mean(axis=0)

    p = sinusoidal(np.arange(4), 6)
    assert np.allclose(pooled(x), pooled(x[::-1]), atol=1e-12)
    assert not np.allclose(pooled(x + p), pooled(x[::-1] + p), atol=1e-2)


def check_numpy_vs_torch():
    """Sinusoids agree to 1e-6 in float32, rotary to 1e-12 in float64; integers above 256 break in bfloat16."""
    module = SinusoidalEncoding(100, 16)
    x = torch.zeros(1, 80, 16)
    assert np.allclose(module(x)[0].numpy(), sinusoidal(np.arange(80), 16), atol=1e-6)
    assert not list(module.parameters())
    y = np.random.default_rng(6).standard_normal((10, 8))
    pos = np.arange(5, 15)
    theirs = rotary_torch(torch.from_numpy(y), torch.from_numpy(pos)).numpy()
    assert np.allclose(theirs, rotary(y, pos), atol=1e-12)
    assert torch.tensor(1001.0).bfloat16().item() == 1000.0
    assert torch.tensor(257.0).bfloat16().item() == 256.0


def check_worked_example():
    """Every number of the worked example, to the digits printed."""
    p = sinusoidal(np.arange(4), 4)
    expect = [[0, 1, 0, 1], [0.841, 0.540, 0.010, 1.000], [0.909, -0.416, 0.020, 1.000],
              [0.141, -0.990, 0.030, 1.000]]
    assert np.allclose(p, expect, atol=5e-4)
    r = _shift(1, 4)
    assert np.allclose(r[:2, :2], [[0.540, 0.841], [-0.841, 0.540]], atol=5e-4)
    assert np.allclose(r @ p[1], p[2]) and np.allclose(r @ p[2], p[3])
    assert np.isclose(0.540 * 0.841 + 0.841 * 0.540, 0.909, atol=1e-3)
    assert np.isclose(p[1] @ p[3], 0.584, atol=5e-4) and np.isclose(p[0] @ p[2], 0.584, atol=5e-4)
    assert np.isclose(np.cos(2) + np.cos(0.02), 0.584, atol=5e-4)
    q = np.array([[1.0, 0.0]])
    for m, n in ((2, 5), (12, 15)):
        assert np.isclose((rotary(q, [m]) @ rotary(q, [n]).T)[0, 0], -0.990, atol=5e-4)
    w = _softmax(alibi(4, 4)[0, 3])
    assert np.allclose(alibi(4, 4)[0, 3], [-0.75, -0.5, -0.25, 0])
    assert np.allclose(np.exp([-0.75, -0.5, -0.25, 0]), [0.472, 0.607, 0.779, 1], atol=5e-4)
    assert np.allclose(w, [0.165, 0.212, 0.273, 0.350], atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
