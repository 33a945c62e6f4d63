"""Twin of the page "Self-attention and masks": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def self_attention(x, w_q, w_k, w_v, mask=None):
    """One head of scaled dot-product self-attention (Vaswani et al., 2017).

    x: (n, d), one token per row; w_q, w_k: (d_k, d); w_v: (d_v, d).
    mask: (n, n) booleans, True where row i may look at column j; every
    row needs at least one True. Returns outputs (n, d_v), weights (n, n).
    """
    q, k, v = x @ w_q.T, x @ w_k.T, x @ w_v.T
    scores = q @ k.T / np.sqrt(k.shape[1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)     # before the softmax
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = e / e.sum(axis=1, keepdims=True)
    return weights @ v, weights


def causal_mask(n):
    """(n, n): position i sees positions up to and including i."""
    return np.tril(np.ones((n, n), dtype=bool))


def prefix_mask(n, prefix):
    """(n, n): causal, but the first `prefix` positions are visible to all."""
    mask = causal_mask(n)
    mask[:, :prefix] = True
    return mask


def padding_mask(n, length):
    """(n, n): only the first `length` tokens are real."""
    return np.tile(np.arange(n) < length, (n, 1))
# --8<-- [end:numpy]


# --8<-- [start:torch]
class SelfAttention(torch.nn.Module):
    """One head of self-attention; x is (batch, n, d)."""

    def __init__(self, d, d_k, d_v):
        super().__init__()
        self.q = torch.nn.Linear(d, d_k, bias=False)
        self.k = torch.nn.Linear(d, d_k, bias=False)
        self.v = torch.nn.Linear(d, d_v, bias=False)

    def forward(self, x, mask=None, causal=False):
        """mask: (n, n) or (batch, n, n), True where a row may look."""
        return torch.nn.functional.scaled_dot_product_attention(
            self.q(x), self.k(x), self.v(x),
            attn_mask=mask, is_causal=causal,        # give one of the two
        )
# --8<-- [end:torch]


# The worked example: three tokens, d = d_k = d_v = 2.
X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
W_Q = np.sqrt(2) * np.eye(2)
W_K = np.array([[0.0, 2.0], [1.0, 0.0]])
W_V = np.eye(2)


def _softmax(e):
    """Softmax over the last axis."""
    z = np.exp(e - e.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


def _random(n=5, d=4, d_k=3, d_v=2, seed=0):
    """Random tokens (n, d) and weights w_q, w_k (d_k, d), w_v (d_v, d)."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)), rng.standard_normal((d_k, d)),
            rng.standard_normal((d_k, d)), rng.standard_normal((d_v, d)))


def figure_who_reads_whom():
    """The worked example's weights as lines from outputs to inputs, without and with a causal mask."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.7))
    for ax, mask, note in ((axes[0], None, "no mask"), (axes[1], causal_mask(3), "causal mask")):
        w = self_attention(X, W_Q, W_K, W_V, mask)[1]
        for i in range(3):
            for j in range(3):
                if w[i, j] > 0:
                    ax.plot([0, 1], [-i, -j], color=f"C{i}", lw=0.5 + 9 * w[i, j],
                            ls=["-", (0, (3, 1)), (0, (1, 1))][i], alpha=0.75,
                            solid_capstyle="butt")
            for side, text in ((-0.07, f"output {i + 1}"), (1.07, f"token {i + 1}")):
                ax.text(side, -i, text, ha="right" if side < 0 else "left",
                        va="center", fontsize=10)
        ax.plot([0] * 3, [0, -1, -2], "o", color="#222222", ms=6, zorder=3)
        ax.plot([1] * 3, [0, -1, -2], "s", color="#222222", ms=6, zorder=3)
        ax.text(0.5, -2.45, note, ha="center", va="top", fontsize=10)
        ax.set_xlim(-0.5, 1.5)
        ax.set_ylim(-2.8, 0.3)
        ax.axis("off")
    return fig


def figure_masks():
    """Which keys (columns) each query (row) may see under the three common masks."""
    n = 6
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.5))
    panels = (("causal", causal_mask(n)), ("prefix of 3, then causal", prefix_mask(n, 3)),
              ("padding: 4 real tokens", padding_mask(n, 4)))
    for ax, (name, mask) in zip(axes, panels, strict=True):
        for i in range(n):
            for j in range(n):
                if mask[i, j]:
                    ax.add_patch(plt.Rectangle((j + 0.55, i + 0.55), 0.9, 0.9, color="C0"))
                else:
                    ax.plot(j + 1, i + 1, "x", color="C1", ms=5, mew=1.2)
        ax.set_xlim(0.5, n + 0.5)
        ax.set_ylim(n + 0.5, 0.5)
        ax.set_aspect("equal")
        ax.set_xticks(range(1, n + 1))
        ax.set_yticks(range(1, n + 1))
        ax.grid(visible=False)
        ax.tick_params(labelsize=9)
        ax.set_xlabel(f"key position\n{name}", fontsize=9)
    axes[0].set_ylabel("query position", fontsize=9)
    return fig


def check_self_attention_projections():
    """Equation (self-attention-projections): row i is the matrix applied to the column x_i."""
    x, w_q, w_k, w_v = _random()
    for w, shape in ((w_q, (5, 3)), (w_k, (5, 3)), (w_v, (5, 2))):
        rows = np.array([w @ xi for xi in x])
        assert rows.shape == shape and np.allclose(x @ w.T, rows, atol=1e-14)


def check_self_attention_layer():
    """Equation (self-attention-layer): the code against loops over positions, with a mask."""
    x, w_q, w_k, w_v = _random()
    mask = causal_mask(5)
    out, w = self_attention(x, w_q, w_k, w_v, mask)
    for i in range(5):
        seen = range(i + 1)
        e = np.array([(w_q @ x[i]) @ (w_k @ x[j]) for j in seen]) / np.sqrt(3)
        a = np.exp(e) / np.exp(e).sum()
        assert np.allclose(w[i, :i + 1], a, atol=1e-14)
        by_hand = sum(a[j] * (w_v @ x[j]) for j in seen)
        assert np.allclose(out[i], by_hand, atol=1e-13)


def check_self_attention_bilinear():
    """Equation (self-attention-bilinear): one matrix of rank at most d_k, not symmetric."""
    x, w_q, w_k, _ = _random(n=5, d=6, d_k=2)
    b = w_q.T @ w_k
    assert b.shape == (6, 6) and np.linalg.matrix_rank(b) == 2
    e = (x @ w_q.T) @ (x @ w_k.T).T / np.sqrt(2)
    assert np.allclose(e, [[xi @ b @ xj / np.sqrt(2) for xj in x] for xi in x], atol=1e-13)
    assert not np.allclose(e, e.T, atol=0.1)
    tied = (x @ w_q.T) @ (x @ w_q.T).T                # one shared projection: symmetric
    assert np.allclose(tied, tied.T, atol=1e-13)


def check_self_attention_mask_sets():
    """Equation (self-attention-mask-sets): the three masks, entry by entry (positions from 1)."""
    n, p, m = 7, 3, 5
    i, j = np.meshgrid(np.arange(1, n + 1), np.arange(1, n + 1), indexing="ij")
    assert np.array_equal(causal_mask(n), j <= i)
    assert np.array_equal(prefix_mask(n, p), j <= np.maximum(i, p))
    assert np.array_equal(padding_mask(n, m), j <= m)
    assert causal_mask(n).sum() == n * (n + 1) // 2


def check_self_attention_masked_softmax():
    """Equation (self-attention-masked-softmax): adding -inf is the softmax over the visible set."""
    rng = np.random.default_rng(1)
    e = rng.normal(0, 2, (6, 6))
    visible = rng.random((6, 6)) < 0.5
    visible[np.arange(6), np.arange(6)] = True
    w = _softmax(e + np.where(visible, 0.0, -np.inf))
    for i in range(6):
        s = np.flatnonzero(visible[i])
        assert np.allclose(w[i, s], np.exp(e[i, s]) / np.exp(e[i, s]).sum(), atol=1e-14)
    assert np.all(w[~visible] == 0) and np.allclose(w.sum(axis=1), 1)
    # The stated rescue: zeroing after the softmax AND renormalizing gives the same.
    late = _softmax(e) * visible
    assert np.allclose(late / late.sum(axis=1, keepdims=True), w, atol=1e-14)
    assert late.sum(axis=1).min() < 0.9               # without renormalizing the sums are short


def check_self_attention_leak():
    """Equation (self-attention-leak): zeroed-after weights still depend on hidden scores."""
    rng = np.random.default_rng(2)
    e, hidden, h = rng.standard_normal(5), 4, 1e-6
    a = _softmax(e)
    step = np.zeros(5)
    step[hidden] = h
    late = (_softmax(e + step) - _softmax(e - step))[:4] / (2 * h)
    assert np.allclose(late, -a[:4] * a[hidden], atol=1e-9)
    assert np.abs(late).max() > 0.01
    m = np.array([0, 0, 0, 0, -np.inf])               # masked before: no dependence
    assert np.array_equal(_softmax(e + step + m), _softmax(e + m))


def check_self_attention_causal():
    """Equation (self-attention-causal): zero Jacobian blocks for j > i, also after two layers."""
    torch.manual_seed(0)
    one, two = SelfAttention(4, 3, 4).double(), SelfAttention(4, 3, 4).double()

    def stack(x, causal=True):
        y = x + one(x, causal=causal)
        return y + two(torch.tanh(y), causal=causal)

    x = torch.randn(1, 6, 4, dtype=torch.float64)
    for causal in (True, False):
        f = lambda z, c=causal: stack(z, c)[0]        # noqa: E731
        jac = torch.autograd.functional.jacobian(f, x)[:, :, 0]      # (6, 4, 6, 4)
        size = jac.abs().amax(dim=(1, 3))                            # (i, j)
        future = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
        assert (size[future].max() == 0) == causal
        assert size[~future].min() > 1e-4


def check_self_attention_cost():
    """Equation (self-attention-cost): PyTorch's FLOP counter, d_k = d_v = d, output projection included."""
    from torch.utils.flop_counter import FlopCounterMode
    for n, d in ((8, 16), (32, 16), (64, 16)):
        x = torch.randn(n, d)
        w = torch.randn(4, d, d)
        with FlopCounterMode(display=False) as counter:
            q, k, v = x @ w[0].T, x @ w[1].T, x @ w[2].T
            torch.softmax(q @ k.T / d**0.5, dim=-1) @ v @ w[3].T
        assert counter.get_total_flops() == 8 * n * d**2 + 4 * n**2 * d
        assert (4 * n**2 * d > 8 * n * d**2) == (n > 2 * d)


def check_self_attention_memory():
    """Equation (self-attention-memory): the page's table of stored weights and of keys and values."""
    def weights(n, h=32, b=2):
        return b * h * n**2

    def keys_values(n, d=4096, b=2):
        return 2 * b * n * d

    mib, gib = 2**20, 2**30
    assert weights(1024) == 64 * mib and keys_values(1024) == 16 * mib
    assert weights(8192) == 4 * gib and keys_values(8192) == 128 * mib
    assert weights(65536) == 256 * gib and keys_values(65536) == 1 * gib
    share = [4 * n**2 * 4096 / (8 * n * 4096**2 + 4 * n**2 * 4096) for n in (1024, 8192, 65536)]
    assert np.allclose(share, [0.111, 0.5, 0.889], atol=5e-4)
    a = torch.zeros(4, 32, 32, dtype=torch.bfloat16)
    assert a.element_size() * a.nelement() == weights(32, h=4)


def check_self_attention_online():
    """Equation (self-attention-online): attention from blocks of keys, weights never stored."""
    rng = np.random.default_rng(3)
    e, v = rng.normal(0, 30, 12), rng.standard_normal((12, 3))
    m, s, u = -np.inf, 0.0, np.zeros(3)
    for lo in range(0, 12, 4):
        eb, vb = e[lo:lo + 4], v[lo:lo + 4]
        mb = eb.max()
        sb, ub = np.exp(eb - mb).sum(), np.exp(eb - mb) @ vb
        new = max(m, mb)
        s = np.exp(m - new) * s + np.exp(mb - new) * sb
        u = np.exp(m - new) * u + np.exp(mb - new) * ub
        m = new
    assert np.allclose(u / s, _softmax(e) @ v, atol=1e-13)


def check_numpy_vs_torch():
    """Both tabs agree to 1e-12 in float64 for no mask and for all three masks."""
    x, w_q, w_k, w_v = _random(n=6)
    layer = SelfAttention(4, 3, 2).double()
    with torch.no_grad():
        for lin, w in ((layer.q, w_q), (layer.k, w_k), (layer.v, w_v)):
            lin.weight.copy_(torch.from_numpy(w))
        tx = torch.from_numpy(x)[None]
        for mask in (None, causal_mask(6), prefix_mask(6, 3), padding_mask(6, 4)):
            ours = self_attention(x, w_q, w_k, w_v, mask)[0]
            theirs = layer(tx, None if mask is None else torch.from_numpy(mask))
            assert np.allclose(ours, theirs[0].numpy(), atol=1e-12)
        built_in = layer(tx, causal=True)[0].numpy()
    assert np.allclose(built_in, self_attention(x, w_q, w_k, w_v, causal_mask(6))[0], atol=1e-12)


def check_worked_example():
    """Every number of the worked example, to the digits printed."""
    e = (X @ W_Q.T) @ (X @ W_K.T).T / np.sqrt(2)
    assert np.allclose(e, [[0, 2, 2], [1, 0, 1], [1, 2, 3]], atol=1e-12)
    y, w = self_attention(X, W_Q, W_K, W_V)
    assert np.allclose(w, [[0.063, 0.468, 0.468], [0.422, 0.155, 0.422],
                           [0.090, 0.245, 0.665]], atol=5e-4)
    assert np.allclose(y, [[0.532, 0.937], [0.845, 0.578], [0.755, 0.910]], atol=5e-4)
    yc, wc = self_attention(X, W_Q, W_K, W_V, causal_mask(3))
    assert np.allclose(wc[:2], [[1, 0, 0], [0.731, 0.269, 0]], atol=5e-4)
    assert np.allclose(yc, [[1, 0], [0.731, 0.269], [0.755, 0.910]], atol=5e-4)
    late = w[1] * causal_mask(3)[1]
    assert np.isclose(late.sum(), 0.578, atol=5e-4)
    assert np.allclose(late @ X, [0.422, 0.155], atol=5e-4)
    changed = X.copy()
    changed[2] = [5.0, -3.0]
    assert np.array_equal(self_attention(changed, W_Q, W_K, W_V, causal_mask(3))[0][:2], yc[:2])
    late_changed = self_attention(changed, W_Q, W_K, W_V)[1][1] * causal_mask(3)[1]
    assert np.allclose(late_changed[:2], [0.018, 0.007], atol=5e-4)


def check_mask_pitfalls():
    """The statements of "In practice" about fully masked rows, finite masks and alignment."""
    q, k, v = (torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(s)) for s in range(3))
    none = torch.zeros(3, 3, dtype=torch.bool)
    scores = q @ k.transpose(1, 2)
    assert torch.isnan(scores.masked_fill(~none, -torch.inf).softmax(-1)).all()
    uniform = (scores - 1e9).softmax(-1)              # float32: the scores are rounded away
    assert torch.allclose(uniform, torch.full_like(uniform, 1 / 3))
    assert torch.tensor(-1e9).half() == -torch.inf    # float16 cannot hold -1e9
    # PyTorch 2.13: the fused function returns zeros for a row without visible keys.
    sdpa = torch.nn.functional.scaled_dot_product_attention
    assert torch.equal(sdpa(q, k, v, attn_mask=none), torch.zeros(1, 3, 4))
    # is_causal is aligned at the top left: one query against a cache of 3 keys sees only the first.
    assert torch.allclose(sdpa(q[:, -1:], k, v, is_causal=True)[0, 0], v[0, 0])
    full = sdpa(q, k, v, is_causal=True)
    assert torch.allclose(sdpa(q[:, -1:], k, v)[:, 0], full[:, -1], atol=1e-6)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
