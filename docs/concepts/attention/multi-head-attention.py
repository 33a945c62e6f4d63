"""Twin of the page "Multi-head attention": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def multi_head_attention(x, w_q, w_k, w_v, w_o, heads, mask=None):
    """Multi-head self-attention (Vaswani et al., 2017).

    x: (n, d); w_q, w_k, w_v, w_o: (d, d); heads divides d.
    mask: (n, n) booleans, True where a row may look, at least once a row.
    Returns the outputs (n, d) and the weights (heads, n, n).
    """
    n, d = x.shape
    d_k = d // heads

    def split(y):                                    # (n, d) -> (heads, n, d_k)
        return y.reshape(n, heads, d_k).transpose(1, 0, 2)

    q, k, v = split(x @ w_q.T), split(x @ w_k.T), split(x @ w_v.T)
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(d_k)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = e / e.sum(axis=-1, keepdims=True)
    joined = (weights @ v).transpose(1, 0, 2).reshape(n, d)
    return joined @ w_o.T, weights
# --8<-- [end:numpy]


# --8<-- [start:torch]
class MultiHeadAttention(torch.nn.Module):
    """Multi-head self-attention; x is (batch, n, d), heads divides d."""

    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(d, 3 * d, bias=False)
        self.out = torch.nn.Linear(d, d, bias=False)

    def forward(self, x, causal=False):
        b, n, d = x.shape
        q, k, v = (
            y.view(b, n, self.heads, -1).transpose(1, 2)   # (b, heads, n, d_k)
            for y in self.qkv(x).chunk(3, dim=-1)
        )
        y = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=causal
        )
        return self.out(y.transpose(1, 2).reshape(b, n, d))
# --8<-- [end:torch]


# The worked example: three tokens, d = 2, two heads of width 1.
X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
W_Q = np.eye(2)
W_K = np.array([[0.0, 2.0], [1.0, 0.0]])
W_V = np.eye(2)
W_O = np.array([[1.0, 1.0], [1.0, -1.0]])


def _softmax(e):
    """Softmax over the last axis."""
    z = np.exp(e - e.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


def _random(n=5, d=12, seed=0):
    """Random tokens (n, d) and the four weights, each (d, d)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((4, d, d)) / np.sqrt(d)


def _head(x, w_q, w_k, w_v):
    """One head with its own projections: outputs (n, d_v) and weights (n, n)."""
    scores = (x @ w_q.T) @ (x @ w_k.T).T / np.sqrt(w_q.shape[0])
    w = _softmax(scores)
    return w @ (x @ w_v.T), w


def figure_shapes():
    """Projected vectors are cut into slices, each slice attends by itself, the results are joined and mixed."""
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    hatches = ["", "///", "xxx"]

    def stack(x0, y0, width, parts):
        for row in range(4):
            for h in parts:
                ax.add_patch(plt.Rectangle((x0 + (h if len(parts) > 1 else 0) * width, y0 - row * 0.22),
                                           width, 0.2, facecolor=f"C{h}", alpha=0.55,
                                           hatch=hatches[h], edgecolor="#222222", lw=0.6))

    def arrow(x0, y0, x1, y1):
        ax.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "->", "color": "#222222"})

    mid = 0.0
    for row in range(4):
        ax.add_patch(plt.Rectangle((0, mid + 0.33 - row * 0.22), 0.9, 0.2, facecolor="#888888",
                                   alpha=0.4, edgecolor="#222222", lw=0.6))
    ax.text(0.45, mid - 0.5, "tokens\n4 × d", ha="center", va="top", fontsize=9)
    stack(1.6, mid + 0.33, 0.3, (0, 1, 2))
    ax.text(2.05, mid - 0.5, "projected\nand cut\ninto slices", ha="center", va="top", fontsize=9)
    arrow(0.95, 0.1, 1.55, 0.1)
    rng = np.random.default_rng(3)
    for h, y in ((0, 1.3), (1, 0.1), (2, -1.1)):
        arrow(2.55, 0.1, 3.05, y)
        w = _softmax(rng.normal(0, 1.5, (4, 4)))
        for i in range(4):
            for j in range(4):
                ax.plot(3.25 + 0.22 * j, y + 0.33 - 0.22 * i, "os^"[h], color=f"C{h}",
                        ms=1.2 + 7 * np.sqrt(w[i, j]))
        ax.text(3.58, y - 0.5, f"weights, head {h + 1}", ha="center", va="top", fontsize=9)
        arrow(4.1, y, 4.5, y)
        stack(4.55, y + 0.23, 0.3, (h,))
        arrow(4.95, y, 5.4, 0.1)
    stack(5.5, mid + 0.33, 0.3, (0, 1, 2))
    ax.text(5.95, mid - 0.5, "joined\n4 × d", ha="center", va="top", fontsize=9)
    arrow(6.45, 0.1, 7.05, 0.1)
    for row in range(4):
        ax.add_patch(plt.Rectangle((7.1, mid + 0.33 - row * 0.22), 0.9, 0.2, facecolor="#888888",
                                   alpha=0.4, edgecolor="#222222", lw=0.6))
    ax.text(7.55, mid - 0.5, "output\nprojection", ha="center", va="top", fontsize=9)
    ax.set_xlim(-0.1, 8.1)
    ax.set_ylim(-1.95, 1.85)
    ax.axis("off")
    return fig


def figure_difference():
    """One head stays in the hull of the projected tokens; two heads can form a difference."""
    u, v, w = np.array([0.4, 0.9]), np.array([1.2, 0.5]), np.array([0.2, 0.2])
    pts = np.array([u, v, w])
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    hull = np.vstack([pts, pts[:1]])
    ax.fill(hull[:, 0], hull[:, 1], color="C0", alpha=0.15, lw=0)
    ax.plot(hull[:, 0], hull[:, 1], "--", lw=1, color="#555555")
    for p, name, off in ((u, "token a", (-6, 7)), (v, "token b", (7, 4)), (w, "token c", (-6, -14))):
        ax.plot(*p, "o", color="C0", ms=7)
        ax.annotate(name, p, xytext=off, textcoords="offset points", fontsize=9,
                    ha="left" if off[0] > 0 else "right")
    ax.text(0.62, 0.53, "reach of\none head", ha="center", va="center", fontsize=9)
    ax.plot(*(u - v), "*", color="C1", ms=14)
    ax.annotate("a − b: two heads", u - v, xytext=(10, -3), textcoords="offset points", fontsize=9)
    ax.plot([0], [0], "+", color="#222222", ms=9)
    ax.annotate("origin", (0, 0), xytext=(6, -12), textcoords="offset points", fontsize=9)
    ax.set_xlim(-1.0, 1.6)
    ax.set_ylim(-0.15, 1.1)
    ax.set_aspect("equal")
    ax.set_xlabel("component 1")
    ax.set_ylabel("component 2")
    return fig


def check_mha_heads():
    """Equation (mha-heads): the batched code equals heads computed one by one from weight slices."""
    x, (w_q, w_k, w_v, w_o) = _random()
    out, weights = multi_head_attention(x, w_q, w_k, w_v, w_o, 3)
    parts = []
    for i in range(3):
        s = slice(4 * i, 4 * i + 4)
        y, w = _head(x, w_q[s], w_k[s], w_v[s])
        assert y.shape == (5, 4) and np.allclose(w, weights[i], atol=1e-14)
        parts.append(y)
    assert np.allclose(np.concatenate(parts, axis=1) @ w_o.T, out, atol=1e-13)


def check_mha_sum():
    """Equation (mha-sum): concatenation and projection are a sum over heads."""
    x, (w_q, w_k, w_v, w_o) = _random()
    out, weights = multi_head_attention(x, w_q, w_k, w_v, w_o, 3)
    total = np.zeros_like(out)
    for i in range(3):
        s = slice(4 * i, 4 * i + 4)
        g = w_o[:, s] @ w_v[s]
        assert g.shape == (12, 12) and np.linalg.matrix_rank(g) == 4
        total += weights[i] @ x @ g.T
    assert np.allclose(total, out, atol=1e-13)


def check_mha_parameters():
    """Equation (mha-parameters): counts from shapes, and PyTorch's module with and without biases."""
    d = 24
    for h in (1, 2, 4, 8):
        d_k = d // h
        per_head = [np.zeros((d_k, d)).size for _ in range(3 * h)]
        assert sum(per_head) + np.zeros((d, h * d_k)).size == 4 * d**2
        for bias in (False, True):
            m = torch.nn.MultiheadAttention(d, h, bias=bias)
            assert sum(p.numel() for p in m.parameters()) == 4 * d**2 + 4 * d * bias
        assert sum(p.numel() for p in MultiHeadAttention(d, h).parameters()) == 4 * d**2
    try:
        torch.nn.MultiheadAttention(24, 5)
        raise RuntimeError("5 heads should not divide 24")
    except AssertionError:
        pass


def check_mha_cost():
    """Equation (mha-cost): the FLOP counter does not depend on h, the number of weights does."""
    from torch.utils.flop_counter import FlopCounterMode
    n, d = 8, 32
    for h in (1, 2, 8):
        m, x = MultiHeadAttention(d, h), torch.randn(1, n, d)
        q, k, v = (y.view(1, n, h, -1).transpose(1, 2) for y in m.qkv(x).chunk(3, dim=-1))
        with FlopCounterMode(display=False) as counter:
            m.qkv(x)
            w = torch.softmax(q @ k.transpose(-1, -2), dim=-1)
            m.out((w @ v).transpose(1, 2).reshape(1, n, d))
        assert counter.get_total_flops() == 8 * n * d**2 + 4 * n**2 * d
        assert w.numel() == h * n**2


def check_mha_score_split():
    """Equation (mha-score-split): one wide head multiplies what the slices would say."""
    rng = np.random.default_rng(1)
    q, k = rng.standard_normal((6, 8)), rng.standard_normal((6, 8))
    whole = q @ k.T
    parts = [q[:, s] @ k[:, s].T for s in (slice(0, 4), slice(4, 8))]
    assert np.allclose(np.exp(whole), np.exp(parts[0]) * np.exp(parts[1]))
    product = _softmax(parts[0]) * _softmax(parts[1])
    assert np.allclose(_softmax(whole), product / product.sum(axis=1, keepdims=True), atol=1e-13)
    mean = (_softmax(parts[0]) + _softmax(parts[1])) / 2
    assert not np.allclose(_softmax(whole), mean, atol=0.05)


def check_mha_two_heads():
    """Equation (mha-two-heads): two one-hot heads form a difference."""
    p = np.diag([1.0, 1.0, 0.0, 0.0])                 # the slice of width d/2 that is passed on
    x = np.random.default_rng(2).standard_normal((5, 4))
    e = np.zeros((2, 5))
    e[0, 0] = e[1, 2] = 60.0                          # scores of one query in the two heads
    w = _softmax(e)
    assert np.allclose(w[0] @ x @ p.T - w[1] @ x @ p.T, p @ (x[0] - x[2]), atol=1e-12)


def check_mha_one_head_bound():
    """Equation (mha-one-head-bound): nonnegative weights cannot give g the two opposite signs."""
    rng = np.random.default_rng(3)

    def error(alpha, beta, g, u):
        return ((alpha * g - u)**2).sum() + ((beta * g + u)**2).sum()

    u = np.array([1.0, -2.0, 0.5])
    lowest = np.inf
    for scale in (0.01, 0.1, 1.0, 10.0):              # g near u, where the bound is nearly attained
        for _ in range(500):
            g = rng.choice([-1, 1]) * u + scale * rng.standard_normal(3)
            alpha, beta = rng.choice([0.0, 0.001, 0.5, 1.0], 2)
            lowest = min(lowest, error(alpha, beta, g, u) - u @ u)
    assert 0 <= lowest + 1e-12 < 0.01
    assert error(1.0, -1.0, u, u) == 0                # with signed weights it would be easy


def check_mha_rank():
    """Equation (mha-rank): log-weights of a head have rank at most d_k + 1; full rank is out of reach."""
    x, (w_q, w_k, w_v, w_o) = _random(n=10, d=12)
    weights = multi_head_attention(x, w_q, w_k, w_v, w_o, 4)[1]
    for w in weights:
        assert np.linalg.matrix_rank(np.log(w), tol=1e-9) == 4        # d_k + 1 with d_k = 3
    free = _softmax(np.random.default_rng(4).normal(0, 1, (10, 10)))
    assert np.linalg.matrix_rank(np.log(free), tol=1e-9) == 10


def check_mha_symmetry():
    """Equation (mha-symmetry): an invertible change of basis in a head changes nothing, nor does the order of heads."""
    x, (w_q, w_k, w_v, w_o) = _random()
    out = multi_head_attention(x, w_q, w_k, w_v, w_o, 3)[0]
    s, t = np.random.default_rng(5).standard_normal((2, 4, 4))
    q2, k2, v2, o2 = w_q.copy(), w_k.copy(), w_v.copy(), w_o.copy()
    q2[:4], k2[:4] = s @ w_q[:4], np.linalg.inv(s).T @ w_k[:4]
    v2[:4], o2[:, :4] = t @ w_v[:4], w_o[:, :4] @ np.linalg.inv(t)
    assert np.allclose(multi_head_attention(x, q2, k2, v2, o2, 3)[0], out, atol=1e-11)
    order = np.r_[8:12, 0:4, 4:8]
    moved = multi_head_attention(x, w_q[order], w_k[order], w_v[order], w_o[:, order], 3)[0]
    assert np.allclose(moved, out, atol=1e-13)


def check_mha_gate():
    """Equation (mha-gate): the derivative in a head's gate, by finite differences; and removal."""
    x, (w_q, w_k, w_v, w_o) = _random()
    target = np.random.default_rng(6).standard_normal((5, 12))
    weights = multi_head_attention(x, w_q, w_k, w_v, w_o, 3)[1]
    parts = np.array([weights[i] @ x @ (w_o[:, 4 * i:4 * i + 4] @ w_v[4 * i:4 * i + 4]).T
                      for i in range(3)])

    def loss(gates):
        return 0.5 * ((np.tensordot(gates, parts, 1) - target)**2).sum()

    grad = parts.sum(axis=0) - target
    for i in range(3):
        step = 1e-6 * np.eye(3)[i]
        numeric = (loss(1 + step) - loss(1 - step)) / 2e-6
        assert np.isclose(numeric, (parts[i] * grad).sum(), rtol=1e-6)
    zeroed = w_o.copy()
    zeroed[:, :4] = 0                                 # gate 0 is the same as zero output columns
    assert np.allclose(np.tensordot([0, 1, 1], parts, 1),
                       multi_head_attention(x, w_q, w_k, w_v, zeroed, 3)[0], atol=1e-13)


def check_numpy_vs_torch():
    """NumPy, the module of the page and torch.nn.MultiheadAttention agree to 1e-12 in float64."""
    x, ws = _random()
    tw = torch.from_numpy(ws)
    ours_t = MultiHeadAttention(12, 3).double()
    built_in = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True).double()
    with torch.no_grad():
        ours_t.qkv.weight.copy_(tw[:3].reshape(36, 12))
        ours_t.out.weight.copy_(tw[3])
        built_in.in_proj_weight.copy_(tw[:3].reshape(36, 12))
        built_in.out_proj.weight.copy_(tw[3])
        tx = torch.from_numpy(x)[None]
        for mask in (None, np.tril(np.ones((5, 5), bool))):
            ours, weights = multi_head_attention(x, *ws, 3, mask)
            assert np.allclose(ours_t(tx, causal=mask is not None)[0].numpy(), ours, atol=1e-12)
            blocked = None if mask is None else torch.from_numpy(~mask)      # True = forbidden
            y, w = built_in(tx, tx, tx, attn_mask=blocked)
            assert np.allclose(y[0].numpy(), ours, atol=1e-12)
            assert np.allclose(w[0].numpy(), weights.mean(axis=0), atol=1e-12)   # averaged by default
            w = built_in(tx, tx, tx, attn_mask=blocked, average_attn_weights=False)[1]
            assert np.allclose(w[0].numpy(), weights, atol=1e-12)
    assert not torch.nn.MultiheadAttention(4, 2).batch_first                 # the default


def check_wrong_reshape():
    """Reshaping to (heads, n, d_k) without the transpose mixes tokens: a causal mask then leaks."""
    def forward(x, right):
        y = x.view(1, 6, 2, 4).transpose(1, 2) if right else x.view(1, 2, 6, 4)
        z = torch.nn.functional.scaled_dot_product_attention(y, y, y, is_causal=True)
        return z.transpose(1, 2).reshape(1, 6, 8)

    x = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[0, 5] += 1.0                              # change the last token only
    for right in (True, False):
        moved = (forward(changed, right) - forward(x, right)).abs()[0, :5].max()
        assert (moved == 0) == right


def check_worked_example():
    """Every number of the worked example, to the digits printed."""
    y, w = multi_head_attention(X, W_Q, W_K, W_V, W_O, 2)
    q, k = X @ W_Q.T, X @ W_K.T
    assert np.array_equal(k[:, 0], [0, 2, 2]) and np.array_equal(k[:, 1], [1, 0, 1])
    assert np.array_equal(q[2], [1, 1])
    assert np.allclose(w[0, 2], [0.063, 0.468, 0.468], atol=5e-4)
    assert np.allclose(w[1, 2], [0.422, 0.155, 0.422], atol=5e-4)
    h1, h2 = w[0, 2] @ X[:, 0], w[1, 2] @ X[:, 1]
    assert np.allclose([h1, h2], [0.532, 0.578], atol=5e-4)
    assert np.allclose(y[2], [1.109, -0.046], atol=5e-4)
    single = _softmax(k.sum(axis=1))                  # one wide head adds the scores first
    assert np.allclose(k.sum(axis=1), [1, 2, 3]) and np.allclose(single, [0.090, 0.245, 0.665], atol=5e-4)
    product = w[0, 2] * w[1, 2]
    assert np.allclose(product / product.sum(), single, atol=1e-12)
    without = multi_head_attention(X, W_Q, W_K, W_V, W_O * [[1, 0], [1, 0]], 2)[0]
    assert np.allclose(without[2], [0.532, 0.532], atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
