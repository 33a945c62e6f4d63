"""Twin of the page "Transformer architecture": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode


# --8<-- [start:numpy]
def linear(x, p, name):
    """x (n, in) times the weight (out, in), plus the bias (out,)."""
    return x @ p[name + ".weight"].T + p[name + ".bias"]


def layer_norm(x, p, name, eps=1e-5):
    """Normalize each token (row), then scale and shift."""
    x = x - x.mean(axis=-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
    return x * p[name + ".weight"] + p[name + ".bias"]


def attention(x, z, p, name, heads, causal=False):
    """Multi-head attention: queries from x (n, d), keys and values from z (m, d)."""
    split = lambda y: y.reshape(len(y), heads, -1).transpose(1, 0, 2)
    q = split(linear(x, p, name + ".q"))
    k, v = split(linear(z, p, name + ".k")), split(linear(z, p, name + ".v"))
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    if causal:
        scores = np.where(np.tri(len(x), len(z), dtype=bool), scores, -np.inf)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    joined = (e / e.sum(axis=-1, keepdims=True) @ v).transpose(1, 0, 2)
    return linear(joined.reshape(len(x), -1), p, name + ".out")


def feed_forward(x, p):
    """The same two-layer network for each token (Vaswani et al., 2017)."""
    return linear(np.maximum(linear(x, p, "up"), 0), p, "down")


def block(x, p, heads, causal=False, pre_norm=True):
    """One transformer block; x is (n, d), p maps names to arrays."""
    if pre_norm:
        y = layer_norm(x, p, "norm1")
        x = x + attention(y, y, p, "attn", heads, causal)
        return x + feed_forward(layer_norm(x, p, "norm2"), p)
    x = layer_norm(x + attention(x, x, p, "attn", heads, causal), p, "norm1")
    return layer_norm(x + feed_forward(x, p), p, "norm2")
# --8<-- [end:numpy]


# --8<-- [start:torch]
class Block(torch.nn.Module):
    """A pre-norm transformer block; x is (batch, n, d), heads divides d."""

    def __init__(self, d, heads, d_ff=None):
        super().__init__()
        self.heads, d_ff = heads, d_ff or 4 * d
        self.norm1, self.norm2 = torch.nn.LayerNorm(d), torch.nn.LayerNorm(d)
        self.qkv, self.out = torch.nn.Linear(d, 3 * d), torch.nn.Linear(d, d)
        self.up, self.down = torch.nn.Linear(d, d_ff), torch.nn.Linear(d_ff, d)

    def attend(self, x, causal):
        b, n, d = x.shape
        q, k, v = (
            y.view(b, n, self.heads, -1).transpose(1, 2)
            for y in self.qkv(x).chunk(3, dim=-1)
        )
        y = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=causal
        )
        return self.out(y.transpose(1, 2).reshape(b, n, d))

    def forward(self, x, causal=False):
        x = x + self.attend(self.norm1(x), causal)
        return x + self.down(torch.relu(self.up(self.norm2(x))))
# --8<-- [end:torch]


def _attn_params(name, module):
    """The weights of torch.nn.MultiheadAttention under the names of the NumPy code."""
    p = {}
    w, b = module.in_proj_weight.detach().numpy(), module.in_proj_bias.detach().numpy()
    for i, letter in enumerate("qkv"):
        p[f"{name}.{letter}.weight"], p[f"{name}.{letter}.bias"] = np.split(w, 3)[i], np.split(b, 3)[i]
    p[f"{name}.out.weight"] = module.out_proj.weight.detach().numpy()
    p[f"{name}.out.bias"] = module.out_proj.bias.detach().numpy()
    return p


def _plain(**modules):
    """Weight and bias of each module, as arrays."""
    return {
        f"{name}.{part}": getattr(m, part).detach().numpy() for name, m in modules.items() for part in ("weight", "bias")
    }


def _shake(module, seed=0):
    """Random values for all parameters, biases and norms included, in float64."""
    gen = torch.Generator().manual_seed(seed)
    module.double()
    for q in module.parameters():
        scale = 1 / np.sqrt(q.shape[1]) if q.ndim == 2 else 0.3
        q.data = torch.randn(q.shape, generator=gen, dtype=torch.float64) * scale + (1.0 if q.ndim == 1 else 0.0)
    return module.eval()


def _encoder_layer(d=12, heads=3, pre_norm=True, seed=0):
    """PyTorch's encoder layer with random weights, and the same weights for NumPy."""
    m = torch.nn.TransformerEncoderLayer(d, heads, 4 * d, dropout=0.0, batch_first=True, norm_first=pre_norm)
    _shake(m, seed)
    p = _attn_params("attn", m.self_attn) | _plain(up=m.linear1, down=m.linear2, norm1=m.norm1, norm2=m.norm2)
    return m, p


def _causal(n):
    """PyTorch's causal mask, True where attention is forbidden."""
    return torch.triu(torch.ones(n, n, dtype=torch.bool), 1)


def _count(module):
    """Number of parameters."""
    return sum(q.numel() for q in module.parameters())


def _random_block(d, rng, gain=1.0):
    """Random weights of one block without biases, layer norms at their start values."""
    p = {}
    for name, out, inn in [(f"attn.{s}", d, d) for s in ("q", "k", "v", "out")] + [("up", 4 * d, d), ("down", d, 4 * d)]:
        p[name + ".weight"] = gain * rng.standard_normal((out, inn)) / np.sqrt(inn)
        p[name + ".bias"] = np.zeros(out)
    for name in ("norm1", "norm2"):
        p[name + ".weight"], p[name + ".bias"] = np.ones(d), np.zeros(d)
    return p


def _spread(x):
    """Share of the norm of X (n, d) that is not common to all tokens."""
    return np.linalg.norm(x - x.mean(axis=0)) / np.linalg.norm(x)


def _collapse(kind, depth=12, n=16, d=48, heads=4, seeds=4):
    """Mean spread after 0 to `depth` random layers of the given kind."""
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, d))
        row = [_spread(x)]
        for _ in range(depth):
            p = _random_block(d, rng)
            if kind == "attention only":
                x = attention(x, x, p, "attn", heads)
            elif kind == "attention and feed-forward":
                x = feed_forward(attention(x, x, p, "attn", heads), p)
            elif kind == "attention and skip":
                x = x + attention(x, x, p, "attn", heads)
            else:
                x = block(x, p, heads)
            if kind != "pre-norm block":             # one factor for all tokens: fixes the scale, not the spread
                x = x / np.sqrt((x**2).mean())
            row.append(_spread(x))
        rows.append(row)
    return np.mean(rows, axis=0)


def figure_blocks():
    """Encoder and decoder block in pre-norm form: the residual stream with branches that read and add."""
    fig, ax = plt.subplots(figsize=(6.4, 4.6))
    ink = "#222222"

    def branch(x0, y0, label, side, color):
        """A branch beside the stream at x0: leaves at y0, returns at y0 + 1.0."""
        s = 1 if side == "right" else -1
        xb = x0 + s * 1.05
        ax.plot([x0, xb, xb], [y0, y0, y0 + 0.12], color=ink, lw=1)
        ax.annotate("", (x0 + s * 0.13, y0 + 1.0), (xb, y0 + 1.0), arrowprops={"arrowstyle": "->", "color": ink, "lw": 1})
        ax.plot([xb, xb], [y0 + 0.88, y0 + 1.0], color=ink, lw=1)
        ax.add_patch(plt.Rectangle((xb - 0.72, y0 + 0.12), 1.44, 0.24, fill=False, ec=ink, lw=0.8))
        ax.text(xb, y0 + 0.24, "layer norm", ha="center", va="center", fontsize=9)
        ax.add_patch(plt.Rectangle((xb - 0.72, y0 + 0.42), 1.44, 0.46, facecolor=color, alpha=0.25, ec=ink, lw=0.8))
        ax.text(xb, y0 + 0.65, label, ha="center", va="center", fontsize=9)
        ax.add_patch(plt.Circle((x0, y0 + 1.0), 0.11, fill=False, ec=ink, lw=1))
        ax.plot([x0 - 0.07, x0 + 0.07], [y0 + 1.0] * 2, color=ink, lw=1)
        ax.plot([x0] * 2, [y0 + 0.93, y0 + 1.07], color=ink, lw=1)

    def stream(x0, y0, y1):
        ax.annotate("", (x0, y1), (x0, y0), arrowprops={"arrowstyle": "-|>", "color": "C0", "lw": 3})

    ex, dx = 2.1, 5.3
    stream(ex, -0.1, 3.25)
    branch(ex, 0.2, "self-\nattention", "left", "C1")
    branch(ex, 1.55, "feed-\nforward", "left", "C2")
    stream(dx, -0.1, 4.55)
    branch(dx, 0.2, "causal self-\nattention", "right", "C1")
    branch(dx, 1.55, "cross-\nattention", "left", "C3")
    branch(dx, 2.9, "feed-\nforward", "right", "C2")
    ax.text(ex, -0.2, "source tokens\n+ positions", ha="center", va="top", fontsize=9)
    ax.text(dx, -0.2, "target tokens, shifted right,\n+ positions", ha="center", va="top", fontsize=9)
    ax.text(dx, 4.6, "layer norm, linear map, softmax:\nnext target token", ha="center", va="bottom", fontsize=9)
    ax.text(ex, 3.3, "after the last block:\nlayer norm, output Z", ha="center", va="bottom", fontsize=9)
    ax.plot([ex + 0.98, 3.2, 3.2], [3.5, 3.5, 2.2], color="C3", lw=1.6, ls="--")
    ax.annotate("", (3.53, 2.2), (3.18, 2.2), arrowprops={"arrowstyle": "->", "color": "C3", "lw": 1.6})
    ax.text(3.27, 3.1, "keys,\nvalues", ha="left", va="center", fontsize=9)
    ax.text(0.15, 1.5, "× L", ha="right", va="center", fontsize=11)
    ax.text(dx + 1.95, 2.2, "× L", ha="left", va="center", fontsize=11)
    ax.set_xlim(-0.3, 7.8)
    ax.set_ylim(-0.85, 5.15)
    ax.axis("off")
    return fig


def figure_collapse():
    """Tokens become alike under attention alone; skip connections keep them apart."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    marks = {
        "attention only": "o-",
        "attention and feed-forward": "s--",
        "attention and skip": "^-.",
        "pre-norm block": "D:",
    }
    for i, (kind, mark) in enumerate(marks.items()):
        y = np.maximum(_collapse(kind), 3e-16)
        ax.semilogy(range(len(y)), y, mark, color=f"C{i}", ms=5, label=kind)
    ax.set_xlabel("layer (random weights)")
    ax.set_ylabel("share of norm not common\nto all tokens")
    ax.set_ylim(1e-16, 5)
    ax.legend(loc="center right")
    return fig


def check_tf_pre_block():
    """Equation (tf-pre-block): PyTorch's encoder layer with norm_first=True, with and without a causal mask."""
    m, p = _encoder_layer(pre_norm=True)
    x = np.random.default_rng(0).standard_normal((7, 12))
    for causal in (False, True):
        theirs = m(torch.from_numpy(x)[None], src_mask=_causal(7) if causal else None)[0].detach().numpy()
        assert np.allclose(block(x, p, 3, causal), theirs, atol=1e-10)


def check_tf_post_block():
    """Equation (tf-post-block): PyTorch's default encoder layer; it differs from pre-norm."""
    m, p = _encoder_layer(pre_norm=False)
    x = np.random.default_rng(1).standard_normal((7, 12))
    ours = block(x, p, 3, pre_norm=False)
    assert np.allclose(ours, m(torch.from_numpy(x)[None])[0].detach().numpy(), atol=1e-10)
    assert not np.allclose(ours, block(x, p, 3), atol=0.1)


def check_tf_ffn():
    """Equation (tf-ffn): the same map for each token; reordering tokens reorders the result."""
    m, p = _encoder_layer()
    x = np.random.default_rng(2).standard_normal((5, 12))
    one_by_one = [
        p["down.weight"] @ np.maximum(p["up.weight"] @ t + p["up.bias"], 0) + p["down.bias"] for t in x
    ]
    assert np.allclose(feed_forward(x, p), one_by_one, atol=1e-12)
    assert np.allclose(feed_forward(x[::-1], p), np.array(one_by_one)[::-1], atol=1e-12)


def check_tf_ffn_memory():
    """Equation (tf-ffn-memory): a sum over hidden units, row of W_1 as key, column of W_2 as value."""
    _, p = _encoder_layer()
    h = np.random.default_rng(3).standard_normal(12)
    total = p["down.bias"].copy()
    for i in range(48):
        total += max(p["up.weight"][i] @ h + p["up.bias"][i], 0) * p["down.weight"][:, i]
    assert np.allclose(total, feed_forward(h[None], p)[0], atol=1e-12)


def _decoder_block(x, z, p, heads):
    """The pre-norm decoder block of the page."""
    y = layer_norm(x, p, "norm1")
    x = x + attention(y, y, p, "attn", heads, causal=True)
    x = x + attention(layer_norm(x, p, "norm2"), z, p, "cross", heads)
    return x + feed_forward(layer_norm(x, p, "norm3"), p)


def check_tf_decoder_block():
    """Equation (tf-decoder-block): PyTorch's decoder layer with norm_first=True; lengths may differ."""
    m = _shake(torch.nn.TransformerDecoderLayer(12, 3, 48, dropout=0.0, batch_first=True, norm_first=True))
    p = _attn_params("attn", m.self_attn) | _attn_params("cross", m.multihead_attn)
    p |= _plain(up=m.linear1, down=m.linear2, norm1=m.norm1, norm2=m.norm2, norm3=m.norm3)
    rng = np.random.default_rng(4)
    x, z = rng.standard_normal((5, 12)), rng.standard_normal((8, 12))
    theirs = m(torch.from_numpy(x)[None], torch.from_numpy(z)[None], tgt_mask=_causal(5))[0].detach().numpy()
    assert np.allclose(_decoder_block(x, z, p, 3), theirs, atol=1e-10)


def check_tf_parameters():
    """Equation (tf-parameters): encoder and decoder block of PyTorch, for several widths."""
    for d in (8, 64, 768):
        enc = torch.nn.TransformerEncoderLayer(d, 4, 4 * d, device="meta")
        dec = torch.nn.TransformerDecoderLayer(d, 4, 4 * d, device="meta")
        assert _count(enc) == 12 * d**2 + 13 * d
        assert _count(dec) == 16 * d**2 + 19 * d
        with torch.device("meta"):
            assert _count(Block(d, 4)) == 12 * d**2 + 13 * d
    assert np.isclose((12 * 768**2 + 13 * 768) / (12 * 768**2) - 1, 0.0014, atol=5e-5)
    d, d_ff = 64, 100
    enc = torch.nn.TransformerEncoderLayer(d, 4, d_ff, device="meta")
    assert _count(enc) == 4 * d**2 + 2 * d * d_ff + 9 * d + d_ff


def check_tf_model_parameters():
    """Equation (tf-model-parameters): GPT-2 small built from parts, and the worked example's lines."""
    d, layers, vocab, length = 768, 12, 50257, 1024
    with torch.device("meta"):
        parts = [torch.nn.Embedding(vocab, d), torch.nn.Embedding(length, d), torch.nn.LayerNorm(d)]
        parts += [Block(d, 12) for _ in range(layers)]
    total = sum(_count(m) for m in parts)
    assert total == layers * (12 * d**2 + 13 * d) + (vocab + length) * d + 2 * d == 124_439_808
    assert _count(parts[3]) == 7_087_872 and 12 * 7_087_872 == 85_054_464
    assert _count(parts[0]) == 38_597_376 and _count(parts[1]) == 786_432
    assert 4 * d**2 + 4 * d == 2_362_368 and 8 * d**2 + 5 * d == 4_722_432 and 4 * d == 3_072
    assert 2_362_368 + 4_722_432 + 3_072 == 7_087_872
    assert np.isclose(4_722_432 / 7_087_872, 0.666, atol=5e-4)
    assert np.isclose(total / (12 * layers * d**2), 1.465, atol=5e-4)


def check_other_models():
    """BERT base, the base transformer of 2017 and GPT-3 by the same formulas."""
    d = 768
    bert = 12 * (12 * d**2 + 13 * d) + (30522 + 512 + 2) * d + 2 * d + d**2 + d
    assert bert == 109_482_240
    base_blocks = 6 * (12 + 16) * 512**2
    assert base_blocks == 44_040_192
    assert np.isclose((base_blocks + 37000 * 512) / 1e6, 63.0, atol=0.05)
    assert np.isclose(12 * 96 * 12288**2 / 1e9, 173.9, atol=0.05)


def check_tf_cost():
    """Equation (tf-cost): PyTorch's FLOP counter on one block without a mask."""
    d, n = 64, 40
    net = Block(d, 4)
    x, heads = torch.randn(1, n, d), lambda y: y.view(1, n, 4, -1).transpose(1, 2)
    with FlopCounterMode(display=False) as counter:
        q, k, v = (heads(y) for y in net.qkv(x).chunk(3, dim=-1))
        weights = torch.softmax(q @ k.transpose(-1, -2), dim=-1)
        net.down(net.up(net.out((weights @ v).transpose(1, 2).reshape(1, n, d))))
    assert counter.get_total_flops() == 24 * n * d**2 + 4 * n**2 * d
    share = lambda n, d: 4 * n**2 * d / (24 * n * d**2 + 4 * n**2 * d)
    for n, d in ((1024, 768), (6 * 4096, 4096)):
        assert np.isclose(share(n, d), n / (n + 6 * d))
    assert np.isclose(share(1024, 768), 0.182, atol=5e-4) and np.isclose(share(6 * 4096, 4096), 0.5)
    assert 6 * 4096 == 24_576


def check_tf_decode_cost():
    """Equation (tf-decode-cost): summed cached steps, each counted from its matrix shapes."""
    d, n = 64, 37
    def step(t):                                     # one token against t keys
        products = [(1, d, d)] * 4 + [(1, d, t), (1, t, d), (1, d, 4 * d), (1, 4 * d, d)]
        return sum(2 * a * b * c for a, b, c in products)
    assert sum(step(t) for t in range(1, n + 1)) == 24 * n * d**2 + 2 * n * (n + 1) * d


def check_tf_stream():
    """Equation (tf-stream): logits of a pre-norm stack as a sum over branches, for the final deviation s."""
    rng = np.random.default_rng(5)
    n, d, vocab, heads = 6, 12, 20, 3
    params = [_random_block(d, rng) for _ in range(4)]
    x0 = x = rng.standard_normal((n, d))
    updates = []
    for p in params:
        y = layer_norm(x, p, "norm1")
        updates.append(attention(y, y, p, "attn", heads, True))
        x = x + updates[-1]
        updates.append(feed_forward(layer_norm(x, p, "norm2"), p))
        x = x + updates[-1]
    whole = x0
    for p in params:
        whole = block(whole, p, heads, True)
    assert np.allclose(x, whole, atol=1e-12) and np.allclose(x, x0 + sum(updates), atol=1e-12)
    gamma, beta, w_u = rng.standard_normal(d), rng.standard_normal(d), rng.standard_normal((vocab, d))
    logits = layer_norm(x, {"f.weight": gamma, "f.bias": beta}, "f") @ w_u.T
    center = np.eye(d) - np.ones((d, d)) / d
    s = np.sqrt(((x @ center) ** 2).mean(axis=1, keepdims=True) + 1e-5)
    parts = [u @ center @ np.diag(gamma) @ w_u.T / s for u in [x0, *updates]]
    assert np.allclose(logits, sum(parts) + w_u @ beta, atol=1e-10)


def check_tf_prefix():
    """Equation (tf-prefix): a causal stack on the whole sequence gives the outputs of every prefix."""
    nets = [_encoder_layer(seed=s)[1] for s in range(3)]
    x = np.random.default_rng(6).standard_normal((9, 12))
    def stack(x, causal=True):
        for p in nets:
            x = block(x, p, 3, causal)
        return x
    full = stack(x)
    for t in range(1, 10):
        assert np.allclose(stack(x[:t])[-1], full[t - 1], atol=1e-10)
    assert not np.allclose(stack(x[:4], False)[-1], stack(x, False)[3], atol=1e-2)


def check_tf_contraction():
    """Equation (tf-contraction): averaging contracts the range of each feature; the bound can be attained."""
    rng = np.random.default_rng(7)
    spread = lambda x: x.max(axis=0) - x.min(axis=0)
    for _ in range(200):
        n = rng.integers(2, 8)
        a = np.exp(2 * rng.standard_normal((n, n)))
        a /= a.sum(axis=1, keepdims=True)
        x = rng.standard_normal((n, 5))
        assert np.all(spread(a @ x) <= (1 - n * a.min()) * spread(x) + 1e-12)
    eps = 0.1
    a = np.array([[1 - eps, eps], [eps, 1 - eps]])
    x = np.array([[1.0], [-1.0]])
    assert np.isclose(spread(a @ x)[0], (1 - 2 * eps) * spread(x)[0])


def check_collapse_numbers():
    """The figure: without skip connections the tokens become alike, with them they do not."""
    alone, ffn = _collapse("attention only"), _collapse("attention and feed-forward")
    skip, full = _collapse("attention and skip"), _collapse("pre-norm block")
    assert alone[2] > 0.2 and alone[3] < 1e-2 and alone[5] < 1e-12 and ffn[5] < 1e-12
    assert np.all(np.diff(np.log(alone[1:6]), n=2) < 0)  # the logarithm falls faster and faster
    assert 0.08 < skip[12] < 0.1 and 0.45 < full[12] < 0.52


def check_numpy_torch():
    """The two tabs agree to 1e-10, with and without a causal mask."""
    net = _shake(Block(12, 3))
    p = _plain(norm1=net.norm1, norm2=net.norm2, up=net.up, down=net.down)
    w, b = net.qkv.weight.detach().numpy(), net.qkv.bias.detach().numpy()
    for i, s in enumerate("qkv"):
        p[f"attn.{s}.weight"], p[f"attn.{s}.bias"] = np.split(w, 3)[i], np.split(b, 3)[i]
    p |= _plain(**{"attn.out": net.out})
    x = np.random.default_rng(8).standard_normal((6, 12))
    for causal in (False, True):
        theirs = net(torch.from_numpy(x)[None], causal)[0].detach().numpy()
        assert np.allclose(block(x, p, 3, causal), theirs, atol=1e-10)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
