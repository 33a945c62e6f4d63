"""Twin of the page "Attention mechanism": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def softmax(scores):
    """Softmax over the last axis; subtracting the maximum prevents overflow."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(q, k, v, mask=None):
    """Scaled dot-product attention (Vaswani et al., 2017).

    q: (m, d_k) queries, k: (n, d_k) keys, v: (n, d_v) values.
    mask: (m, n) booleans, True where a query may look, at least once a row.
    Returns the outputs (m, d_v) and the weights (m, n).
    """
    scores = q @ k.T / np.sqrt(k.shape[1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    weights = softmax(scores)
    return weights @ v, weights


def additive_attention(q, k, v, w_q, w_k, w_a):
    """Additive attention (Bahdanau et al., 2015): a one-hidden-layer score.

    q: (m, d_q), k: (n, d_k), v: (n, d_v); w_q: (d_a, d_q), w_k: (d_a, d_k),
    w_a: (d_a,). Returns the outputs (m, d_v) and the weights (m, n).
    """
    hidden = np.tanh((q @ w_q.T)[:, None, :] + (k @ w_k.T)[None, :, :])
    weights = softmax(hidden @ w_a)
    return weights @ v, weights
# --8<-- [end:numpy]


# --8<-- [start:torch]
def attention_torch(q, k, v, mask=None):
    """Scaled dot-product attention with PyTorch's fused function.

    Same shapes as the NumPy version; extra leading batch axes are allowed.
    In this function a boolean mask is True where a query may look.
    """
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask
    )


class AdditiveAttention(torch.nn.Module):
    """Additive attention with learned weights and an optional mask."""

    def __init__(self, d_q, d_k, d_a):
        super().__init__()
        self.w_q = torch.nn.Linear(d_q, d_a, bias=False)
        self.w_k = torch.nn.Linear(d_k, d_a, bias=False)
        self.w_a = torch.nn.Linear(d_a, 1, bias=False)

    def forward(self, q, k, v, mask=None):
        hidden = torch.tanh(
            self.w_q(q).unsqueeze(-2) + self.w_k(k).unsqueeze(-3)
        )                                           # (..., m, n, d_a)
        scores = self.w_a(hidden).squeeze(-1)       # (..., m, n)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        weights = scores.softmax(dim=-1)
        return weights @ v, weights
# --8<-- [end:torch]


# The worked example: one query, three keys, three values.
Q = np.array([[2.0, 0.0, 2.0, 0.0]])
K = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
V = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def _random(m=4, n=5, d_k=6, d_v=3, seed=0):
    """Random queries (m, d_k), keys (n, d_k) and values (n, d_v)."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((m, d_k)), rng.standard_normal((n, d_k)),
            rng.standard_normal((n, d_v)))


def _saturation(dims, n=10, draws=2000, scaled=True, seed=0):
    """Mean largest weight and mean norm of the softmax Jacobian, per dimension.

    Queries and keys have independent standard normal components.
    """
    rng = np.random.default_rng(seed)
    largest, jacobian = [], []
    for d in dims:
        q = rng.standard_normal((draws, d))
        k = rng.standard_normal((draws, n, d))
        scores = np.matmul(k, q[:, :, None])[:, :, 0]
        if scaled:
            scores = scores / np.sqrt(d)
        a = softmax(scores)
        largest.append(a.max(axis=1).mean())
        jac = a[:, :, None] * np.eye(n) - a[:, :, None] * a[:, None, :]
        jacobian.append(np.sqrt((jac**2).sum(axis=(1, 2))).mean())
    return np.array(largest), np.array(jacobian)


def figure_soft_lookup():
    """The worked example: scores, weights, and the output inside the values' hull."""
    out, w = attention(Q, K, V)
    scores = (Q @ K.T / 2.0)[0]
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.9), width_ratios=[1, 1, 1.35])
    names = ["key 1", "key 2", "key 3"]
    hatches = ["", "//", "xx"]
    for ax, heights, label, fmt in ((axes[0], scores, "scaled score", "{:.0f}"),
                                    (axes[1], w[0], "attention weight", "{:.3f}")):
        for i in range(3):
            ax.bar(i, heights[i], color=f"C{i}", hatch=hatches[i],
                   edgecolor="#222222", linewidth=0.6)
            ax.annotate(fmt.format(heights[i]), (i, heights[i]), ha="center",
                        va="bottom", fontsize=9)
        ax.set_xticks(range(3), names, fontsize=9)
        ax.set_ylabel(label)
        ax.grid(axis="x", visible=False)
    axes[0].set_ylim(0, 2.3)
    axes[1].set_ylim(0, 0.77)
    ax = axes[2]
    hull = np.vstack([V, V[:1]])
    ax.plot(hull[:, 0], hull[:, 1], ls="--", lw=1, color="#555555")
    offsets = [(-14, -9), (4, 11), (-4, 9)]
    for i in range(3):
        ax.scatter(*V[i], s=500 * w[0, i] + 15, color=f"C{i}", zorder=3,
                   marker="osD"[i], edgecolor="#222222", linewidth=0.6)
        ax.annotate(f"value {i + 1}", V[i], xytext=offsets[i],
                    textcoords="offset points", fontsize=9,
                    ha="right" if i != 1 else "left")
    ax.scatter(*out[0], s=140, marker="*", color="#222222", zorder=4)
    ax.annotate("output", out[0], xytext=(5, 9), textcoords="offset points",
                ha="center", fontsize=9)
    ax.set_xlim(-0.15, 1.2)
    ax.set_ylim(-0.2, 1.25)
    ax.set_xlabel("value component 1")
    ax.set_ylabel("value component 2")
    return fig


def figure_scaling():
    """Without the scale the softmax saturates as the key dimension grows."""
    dims = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9))
    styles = ((False, "unscaled", "C1", "--", "s"), (True, "scaled", "C0", "-", "o"))
    for scaled, label, color, ls, marker in styles:
        largest, jac = _saturation(dims, draws=400, scaled=scaled)
        axes[0].plot(dims, largest, ls=ls, marker=marker, ms=4, color=color, label=label)
        axes[1].plot(dims, jac, ls=ls, marker=marker, ms=4, color=color, label=label)
    axes[0].set_ylabel("mean largest weight")
    axes[1].set_ylabel("mean norm of softmax Jacobian")
    axes[0].set_ylim(0, 1)
    axes[1].set_ylim(0, None)
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.set_xticks([1, 8, 64, 512], ["1", "8", "64", "512"])
        ax.set_xlabel("dimension of queries and keys")
        ax.legend(fontsize=9)
    return fig


def check_attention_weights():
    """Equation (attention-weights): a distribution, monotone in the score, shift-invariant."""
    rng = np.random.default_rng(0)
    e = rng.normal(0, 5, (7, 9))
    a = softmax(e)
    assert np.allclose(a, np.exp(e) / np.exp(e).sum(axis=1, keepdims=True), atol=1e-14)
    assert np.all(a > 0) and np.allclose(a.sum(axis=1), 1)
    assert np.all(np.argsort(a, axis=1) == np.argsort(e, axis=1))
    # A term that depends on the query alone (a key bias, for instance) cancels.
    assert np.allclose(softmax(e + rng.normal(0, 3, (7, 1))), a, atol=1e-14)
    q, k, v = _random()
    bias = rng.standard_normal(6)
    assert np.allclose(attention(q, k + bias, v)[0], attention(q, k, v)[0], atol=1e-13)
    assert not np.allclose(attention(q + bias, k, v)[0], attention(q, k, v)[0], atol=1e-3)


def check_attention_output():
    """Equation (attention-output): a convex combination of the values, row by row."""
    q, k, v = _random()
    out, w = attention(q, k, v)
    by_hand = np.array([sum(w[t, j] * v[j] for j in range(5)) for t in range(4)])
    assert np.allclose(out, by_hand, atol=1e-14)
    assert np.all(out <= v.max(axis=0) + 1e-12) and np.all(out >= v.min(axis=0) - 1e-12)


def check_attention_additive():
    """Equation (attention-additive): the broadcast code against loops over pairs."""
    q, k, v = _random(d_k=6)
    rng = np.random.default_rng(1)
    w_q, w_k, w_a = (rng.standard_normal((8, 6)), rng.standard_normal((8, 6)),
                     rng.standard_normal(8))
    out, w = additive_attention(q, k, v, w_q, w_k, w_a)
    e = np.array([[w_a @ np.tanh(w_q @ qt + w_k @ kj) for kj in k] for qt in q])
    assert np.allclose(w, np.exp(e) / np.exp(e).sum(axis=1, keepdims=True), atol=1e-13)
    assert np.allclose(out, w @ v, atol=1e-14)


def check_attention_multiplicative():
    """Equation (attention-multiplicative): q'Wk, and a product of projections when W = A'B."""
    rng = np.random.default_rng(2)
    q, k = rng.standard_normal(7), rng.standard_normal(5)
    a, b = rng.standard_normal((3, 7)), rng.standard_normal((3, 5))
    w = a.T @ b
    assert w.shape == (7, 5)
    loops = sum(q[i] * w[i, j] * k[j] for i in range(7) for j in range(5))
    assert np.isclose(loops, q @ w @ k) and np.isclose(q @ w @ k, (a @ q) @ (b @ k))
    assert np.linalg.matrix_rank(w) == 3          # rank at most the projected dimension


def check_attention_scaled_dot_product():
    """Equation (attention-scaled-dot-product): matrix form against a loop over queries."""
    q, k, v = _random()
    out, w = attention(q, k, v)
    for t in range(len(q)):
        e = np.array([q[t] @ kj for kj in k]) / np.sqrt(6)
        a = np.exp(e) / np.exp(e).sum()
        assert np.allclose(w[t], a, atol=1e-14) and np.allclose(out[t], a @ v, atol=1e-13)


def check_attention_mask():
    """Equation (attention-mask): masked keys get weight 0 and cannot influence the output."""
    q, k, v = _random(m=5, n=5)
    causal = np.tril(np.ones((5, 5), bool))
    out, w = attention(q, k, v, causal)
    assert np.all(w[~causal] == 0) and np.allclose(w.sum(axis=1), 1)
    for t in range(5):
        alone = attention(q[t:t + 1], k[:t + 1], v[:t + 1])[0][0]
        assert np.allclose(out[t], alone, atol=1e-13)
    k2, v2 = k.copy(), v.copy()
    k2[3:], v2[3:] = 7.0, -9.0                     # change the future only
    assert np.allclose(attention(q, k2, v2, causal)[0][:3], out[:3], atol=1e-13)
    assert not np.allclose(attention(q, k2, v2)[0][:3], attention(q, k, v)[0][:3])


def check_attention_gradients():
    """Equation (attention-gradients): finite differences of c in the values and the scores."""
    rng = np.random.default_rng(3)
    e, v, h = rng.standard_normal(5), rng.standard_normal((5, 3)), 1e-6
    a = softmax(e)
    c = a @ v
    for j in range(5):
        step = np.zeros(5)
        step[j] = h
        numeric = (softmax(e + step) @ v - softmax(e - step) @ v) / (2 * h)
        assert np.allclose(numeric, a[j] * (v[j] - c), atol=1e-8)
        jac = np.zeros((3, 3))
        for i in range(3):
            dv = np.zeros((5, 3))
            dv[j, i] = h
            jac[:, i] = (a @ (v + dv) - a @ (v - dv)) / (2 * h)
        assert np.allclose(jac, a[j] * np.eye(3), atol=1e-8)


def check_attention_score_variance():
    """Equation (attention-score-variance): sampling, 3 % tolerance; non-Gaussian too."""
    rng = np.random.default_rng(0)
    for d in (4, 64):
        q = rng.standard_normal((50_000, d))
        k = rng.uniform(-np.sqrt(3), np.sqrt(3), (50_000, d))     # mean 0, variance 1
        s = (q * k).sum(axis=1)
        assert abs(s.mean()) < 0.03 * np.sqrt(d)
        assert abs(s.var() / d - 1) < 0.03
        assert abs((s / np.sqrt(d)).var() - 1) < 0.03
    # Correlated key components do no harm while the query's are uncorrelated ...
    shared = np.repeat(rng.standard_normal((50_000, 1)), 16, axis=1)
    q = rng.standard_normal((50_000, 16))
    assert abs((q * shared).sum(axis=1).var() / 16 - 1) < 0.03
    # ... but the formula fails when both are correlated.
    both = np.repeat(rng.standard_normal((50_000, 1)), 16, axis=1)
    assert (both * shared).sum(axis=1).var() / 16 > 10


def check_attention_permutation():
    """Equation (attention-permutation): equivariance, invariance, and how a mask breaks it."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((6, 4))
    w_q, w_k, w_v = rng.standard_normal((3, 4, 4))

    def self_attention(x, mask=None):
        return attention(x @ w_q.T, x @ w_k.T, x @ w_v.T, mask)[0]

    p = np.eye(6)[[3, 0, 5, 1, 2, 4]]
    assert np.allclose(self_attention(p @ x), p @ self_attention(x), atol=1e-13)
    assert not np.allclose(self_attention(p @ x), self_attention(x), atol=1e-2)
    q, k, v = rng.standard_normal((3, 6, 4))
    assert np.allclose(attention(q, p @ k, p @ v)[0], attention(q, k, v)[0], atol=1e-13)
    causal = np.tril(np.ones((6, 6), bool))
    assert not np.allclose(self_attention(p @ x, causal), p @ self_attention(x, causal),
                           atol=1e-2)


def check_attention_cost():
    """Equation (attention-cost): PyTorch's FLOP counter on the two matrix products."""
    from torch.utils.flop_counter import FlopCounterMode
    for m, n, d_k, d_v in ((4, 5, 6, 3), (32, 32, 16, 16), (64, 64, 16, 16)):
        q, k, v = torch.randn(m, d_k), torch.randn(n, d_k), torch.randn(n, d_v)
        with FlopCounterMode(display=False) as counter:
            torch.softmax(q @ k.T / d_k**0.5, dim=-1) @ v
        assert counter.get_total_flops() == 2 * m * n * (d_k + d_v)
    assert 8192**2 * 2 == 128 * 2**20               # one 16-bit weight matrix: 128 MiB


def check_saturation():
    """The figure's numbers: largest weight and Jacobian norm at d_k = 64 and 512."""
    largest, jac = _saturation([64, 512], draws=1000, scaled=False)
    assert np.allclose(largest, [0.866, 0.951], atol=0.01)
    assert np.allclose(jac, [0.16, 0.065], atol=0.01)
    largest, jac = _saturation([64, 512], draws=1000, scaled=True)
    assert np.allclose(largest, 0.32, atol=0.015) and np.allclose(jac, 0.35, atol=0.015)


def check_numpy_vs_torch():
    """Outputs of both tabs agree to 1e-12 in float64, with and without a mask."""
    q, k, v = _random(m=5, n=5)
    tq, tk, tv = map(torch.from_numpy, (q, k, v))
    causal = np.tril(np.ones((5, 5), bool))
    for mask in (None, causal):
        ours = attention(q, k, v, mask)[0]
        theirs = attention_torch(tq, tk, tv, None if mask is None else torch.from_numpy(mask))
        assert np.allclose(ours, theirs.numpy(), atol=1e-12)
    torch.manual_seed(0)
    layer = AdditiveAttention(6, 6, 8).double()
    w = [p.detach().numpy() for p in (layer.w_q.weight, layer.w_k.weight, layer.w_a.weight)]
    ours, weights = additive_attention(q, k, v, w[0], w[1], w[2][0])
    theirs, their_weights = layer(tq, tk, tv)
    assert np.allclose(ours, theirs.detach().numpy(), atol=1e-12)
    assert np.allclose(weights, their_weights.detach().numpy(), atol=1e-12)
    masked = layer(tq, tk, tv, torch.from_numpy(causal))[1].detach().numpy()
    assert np.all(masked[~causal] == 0) and np.allclose(masked.sum(axis=1), 1)


def check_worked_example():
    """Every number of the worked example, to the digits printed."""
    scores = (Q @ K.T)[0]
    assert list(scores) == [4, 2, 0] and np.sqrt(K.shape[1]) == 2
    out, w = attention(Q, K, V)
    assert np.allclose(np.exp([2, 1, 0]), [7.389, 2.718, 1.0], atol=5e-4)
    assert np.isclose(np.exp([2, 1, 0]).sum(), 11.107, atol=5e-4)
    assert np.allclose(w[0], [0.665, 0.245, 0.090], atol=5e-4)
    assert np.allclose(out[0], [0.755, 0.335], atol=5e-4)
    assert np.allclose(softmax(scores), [0.867, 0.117, 0.016], atol=5e-4)
    grad = w[0, :, None] * (V - out[0])
    assert np.allclose(grad[0], [0.163, -0.223], atol=5e-4)
    assert np.allclose(grad.sum(axis=0), 0, atol=1e-12)
    assert np.allclose(attention(Q, K[::-1], V[::-1])[0], out, atol=1e-14)
    two, w2 = attention(Q, K, V, np.array([[True, True, False]]))
    assert np.allclose(w2[0], [0.731, 0.269, 0.0], atol=5e-4)
    assert np.allclose(two[0], [0.731, 0.269], atol=5e-4)


def check_fully_masked_row():
    """A masked row: NaN by the formula, also in the gradient; zeros from the fused function."""
    mask = torch.full((1, 3), -torch.inf)
    scores = torch.zeros(1, 3, requires_grad=True)
    weights = (scores + mask).softmax(dim=-1)
    assert torch.isnan(weights).all()
    torch.nan_to_num(weights).sum().backward()      # repaired too late
    assert torch.isnan(scores.grad).all()
    q, k, v = torch.randn(1, 1, 4), torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    assert not attention_torch(q, k, v, torch.zeros(1, 3, dtype=torch.bool)).any()


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
