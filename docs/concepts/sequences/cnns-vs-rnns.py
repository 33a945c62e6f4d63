"""Twin of the page "CNN vs RNN vs transformer": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def causal_conv(x, w, dilation=1):
    """Causal convolution. x: (n, d_in); w: (k, d_out, d_in). Returns (n, d_out).

    Output t uses inputs t, t - dilation, ..., t - (k - 1) * dilation.
    """
    y = np.zeros((len(x), w.shape[1]))
    for j in range(len(w)):
        shift = j * dilation
        y[shift:] += x[: max(len(x) - shift, 0)] @ w[j].T
    return y


def rnn(x, w_x, w_h):
    """Tanh RNN from a zero state. x: (n, d_in). Returns all states (n, d)."""
    h, states = np.zeros(len(w_h)), []
    for row in x:                                    # n steps, one after another
        h = np.tanh(w_x @ row + w_h @ h)
        states.append(h)
    return np.array(states)


def causal_attention(x, w_q, w_k, w_v):
    """One head of causal self-attention. x: (n, d). Returns (n, d_v)."""
    q, k, v = x @ w_q.T, x @ w_k.T, x @ w_v.T
    scores = np.where(np.tri(len(x), dtype=bool), q @ k.T / q.shape[1] ** 0.5, -np.inf)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True) @ v
# --8<-- [end:numpy]


# --8<-- [start:torch]
class TemporalConv(torch.nn.Module):
    """Stack of causal convolutions with dilations 1, 2, 4, ...; x is (batch, n, d)."""

    def __init__(self, d, layers, k=2):
        super().__init__()
        self.convs = torch.nn.ModuleList(
            torch.nn.Conv1d(d, d, k, dilation=2**i) for i in range(layers)
        )

    def forward(self, x):
        y = x.transpose(1, 2)                        # Conv1d wants (batch, d, n)
        for conv in self.convs:
            pad = (conv.kernel_size[0] - 1) * conv.dilation[0]
            z = conv(torch.nn.functional.pad(y, (pad, 0)))   # pad the past only
            y = y + torch.relu(z)
        return y.transpose(1, 2)


def recurrent(d):
    """The recurrent counterpart: torch.nn.LSTM returns (outputs, state)."""
    return torch.nn.LSTM(d, d, batch_first=True)


def attentive(d, heads):
    """The attention counterpart; call with src_mask and is_causal=True."""
    return torch.nn.TransformerEncoderLayer(
        d, heads, 4 * d, dropout=0.0, batch_first=True, norm_first=True
    )
# --8<-- [end:torch]


def _count(module):
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


def _reached(f, n, d=3):
    """Matrix of booleans (n, n): does output i change when input j changes?"""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    base, hit = f(x), np.zeros((n, n), bool)
    for j in range(n):
        moved = x.copy()
        moved[j] += 0.5
        hit[:, j] = np.abs(f(moved) - base).max(axis=1) > 1e-12
    return hit


def _influence(kind, n=128, d=32, seeds=8):
    """Mean Frobenius norm of the Jacobian of the last output by input n - 1 - distance, at random weights."""
    rows = []
    for seed in range(seeds):
        gen = torch.Generator().manual_seed(seed)
        rand = lambda *s: torch.randn(*s, generator=gen, dtype=torch.float64)
        x = rand(n, d).requires_grad_()
        if kind == "convolutions":
            y = x
            for i in range(5):
                w = rand(2, d, d) / d**0.5
                past = torch.cat([torch.zeros(2**i, d, dtype=torch.float64), y[: -(2**i)]])
                y = torch.relu(y @ w[0].T + past @ w[1].T)
            last = y[-1]
        elif kind == "recurrent":
            w_x, w_h = rand(d, d) / d**0.5, torch.linalg.qr(rand(d, d))[0]
            last = torch.zeros(d, dtype=torch.float64)
            for t in range(n):
                last = torch.tanh(0.5 * w_x @ x[t] + w_h @ last)
        else:
            w = rand(3, d, d) / d**0.5
            weights = torch.softmax((w[0] @ x[-1]) @ (x @ w[1].T).T / d**0.5, dim=0)
            last = weights @ (x @ w[2].T)
        total = torch.zeros(n, dtype=torch.float64)
        for i in range(d):
            g = torch.autograd.grad(last[i], x, retain_graph=True)[0]
            total += (g**2).sum(dim=1)
        rows.append(total.sqrt().numpy()[::-1])
    return np.mean(rows, axis=0)


def figure_wiring():
    """How information travels to the last output in each of the three."""
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.7))
    n, ink = 8, "#777777"
    labels = ["dilated convolutions:\n3 layers, 8 inputs", "recurrent layer:\n7 steps in a row", "self-attention:\none layer"]
    for ax, label, kind in zip(axes, labels, ("conv", "rnn", "attn")):
        heights = [0, 1, 2, 3] if kind == "conv" else [0, 1.5]
        for y in heights:
            ax.plot(range(n), [y] * n, "o", ms=5, color=ink, mfc="none", zorder=3)
        if kind == "conv":
            live = {n - 1}
            for level in (3, 2, 1):
                step, below = 2 ** (level - 1), set()
                for t in live:
                    for s in (t, t - step):
                        ax.plot([s, t], [level - 1, level], color="C0", lw=1.4)
                        below.add(s)
                live = below
        elif kind == "rnn":
            for t in range(n):
                ax.plot([t, t], [0, 1.5], color="C1", lw=1.2)
                if t:
                    ax.annotate("", (t, 1.5), (t - 1, 1.5), arrowprops={"arrowstyle": "->", "color": "C1", "lw": 1.6})
        else:
            for t in range(n):
                ax.plot([t, n - 1], [0, 1.5], color="C3", lw=1.4, ls="-")
        ax.plot(n - 1, heights[-1], "s", ms=8, color="#222222", zorder=4)
        ax.set_xlabel(label, fontsize=9)
        ax.set_ylim(-0.4, 3.4)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        for side in ax.spines.values():
            side.set_visible(False)
    return fig


def figure_influence():
    """Size of the Jacobian of the last output by distance of the input, at random weights."""
    fig, ax = plt.subplots(figsize=(6.4, 3.1))
    styles = {"convolutions": "-", "recurrent": "--", "attention": ":"}
    names = {"convolutions": "5 dilated convolutions", "recurrent": "recurrent layer", "attention": "one attention head"}
    for i, (kind, style) in enumerate(styles.items()):
        y = _influence(kind)
        y[y < 1e-12] = np.nan
        ax.semilogy(range(len(y)), y, style, color=f"C{[0, 1, 3][i]}", label=names[kind])
    ax.axvline(31.5, color="#555555", lw=1, ls="-.")
    ax.set_ylim(1e-7, 10)
    ax.annotate("receptive field ends", (31.5, 2.0), xytext=(6, 0), textcoords="offset points", fontsize=9)
    ax.set_xlabel("distance of the input from the last position")
    ax.set_ylabel("norm of the Jacobian")
    ax.legend(loc="lower right")
    return fig


def check_cvr_conv():
    """Equation (cvr-conv): against torch.nn.Conv1d with padding on the left, reversed kernel."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((20, 3)), rng.standard_normal((4, 5, 3))
    for dilation in (1, 2, 5):
        tw = torch.from_numpy(w[::-1].copy()).permute(1, 2, 0)
        padded = torch.nn.functional.pad(torch.from_numpy(x.T)[None], (3 * dilation, 0))
        theirs = torch.nn.functional.conv1d(padded, tw, dilation=dilation)[0].T.numpy()
        assert np.allclose(causal_conv(x, w, dilation), theirs, atol=1e-12)
        t = 17
        direct = sum(w[j] @ x[t - j * dilation] for j in range(4))
        assert np.allclose(causal_conv(x, w, dilation)[t], direct, atol=1e-12)


def check_cvr_rnn():
    """Equation (cvr-rnn): against torch.nn.RNN."""
    rng = np.random.default_rng(1)
    x, w_x, w_h = rng.standard_normal((9, 3)), rng.standard_normal((4, 3)), rng.standard_normal((4, 4)) / 2
    m = torch.nn.RNN(3, 4, bias=False).double()
    m.weight_ih_l0.data, m.weight_hh_l0.data = torch.from_numpy(w_x), torch.from_numpy(w_h)
    assert np.allclose(rnn(x, w_x, w_h), m(torch.from_numpy(x))[0].detach().numpy(), atol=1e-12)


def check_cvr_attention():
    """Equation (cvr-attention): against PyTorch's causal attention; weights depend on the input."""
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((7, 4)), rng.standard_normal((3, 4, 4))
    q, k, v = (torch.from_numpy(x @ m.T)[None] for m in w)
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)[0].numpy()
    assert np.allclose(causal_attention(x, *w), theirs, atol=1e-12)


def check_cvr_receptive():
    """Equation (cvr-receptive): inputs that reach the last output, counted by perturbation."""
    rng = np.random.default_rng(3)
    for k, dilations in ((3, [1, 1, 1]), (2, [1, 2, 4]), (3, [1, 2, 4]), (2, [1, 2, 4, 8])):
        ws = [rng.standard_normal((k, 3, 3)) for _ in dilations]
        def f(x):
            for w, dil in zip(ws, dilations):
                x = np.tanh(causal_conv(x, w, dil))
            return x
        r = 1 + (k - 1) * sum(dilations)
        n = r + 6
        assert _reached(f, n)[-1].sum() == r
        if dilations[-1] > 1:
            assert r == 1 + (k - 1) * (2 ** len(dilations) - 1)
    assert 1 + 1023 == 1024 and 2**10 - 1 == 1023


def check_wiring():
    """The recurrent and the attentive layer reach every earlier input, none reaches a later one."""
    rng = np.random.default_rng(4)
    w = rng.standard_normal((3, 3, 3)) * 0.7
    for f in (lambda x: rnn(x, w[0], w[1]), lambda x: causal_attention(x, *w)):
        assert np.array_equal(_reached(f, 8), np.tri(8, dtype=bool))


def check_cvr_unroll():
    """Equation (cvr-unroll): a linear recurrence equals one long causal convolution."""
    rng = np.random.default_rng(5)
    n, d, d_in = 15, 4, 3
    a, b = rng.standard_normal((d, d)) / 3, rng.standard_normal((d, d_in))
    x, h, states = rng.standard_normal((n, d_in)), np.zeros(d), []
    for row in x:
        h = a @ h + b @ row
        states.append(h)
    kernel = np.array([np.linalg.matrix_power(a, j) @ b for j in range(n)])
    assert np.allclose(states, causal_conv(x, kernel), atol=1e-12)


def check_cvr_shift():
    """Equation (cvr-shift): convolution follows a shift, the recurrence in general does not, attention follows a permutation."""
    rng = np.random.default_rng(6)
    x, w = rng.standard_normal((12, 3)), rng.standard_normal((3, 3, 3)) * 0.7
    moved = np.vstack([np.ones((2, 3)), x])          # two tokens put in front
    conv = causal_conv(moved, w)
    assert np.allclose(conv[4:], causal_conv(x, w)[2:], atol=1e-12)
    assert not np.allclose(rnn(moved, w[0], w[1])[4:], rnn(x, w[0], w[1])[2:], atol=1e-3)
    perm = rng.permutation(12)
    q, k, v = (x @ m.T for m in w)
    def full(q, k, v):
        e = np.exp(q @ k.T / 3**0.5)
        return e / e.sum(axis=1, keepdims=True) @ v
    assert np.allclose(full(q[perm], k[perm], v[perm]), full(q, k, v)[perm], atol=1e-12)
    assert not np.allclose(causal_conv(x[perm], w), causal_conv(x, w)[perm], atol=0.1)


def check_cvr_parameters():
    """Equation (cvr-parameters): counts of PyTorch's modules without biases."""
    for d in (8, 32):
        assert _count(torch.nn.Conv1d(d, d, 3, bias=False)) == 3 * d**2
        assert _count(torch.nn.RNN(d, d, bias=False)) == 2 * d**2
        assert _count(torch.nn.GRU(d, d, bias=False)) == 6 * d**2
        assert _count(torch.nn.LSTM(d, d, bias=False)) == 8 * d**2
        assert _count(torch.nn.MultiheadAttention(d, 4, bias=False)) == 4 * d**2
    assert _count(recurrent(8)) == 8 * 64 + 8 * 8
    assert _count(attentive(8, 2)) == 12 * 64 + 13 * 8


def check_table():
    """The numbers of the worked example."""
    n, d, k = 1000, 256, 2
    assert k * d**2 == 131_072 and 10 * 131_072 == 1_310_720
    assert 8 * d**2 == 524_288 and 12 * d**2 == 786_432
    assert np.isclose(10 * 2 * n * k * d**2 / 1e9, 2.62, atol=0.005)
    assert np.isclose(2 * n * 8 * d**2 / 1e9, 1.05, atol=0.005)
    assert np.isclose((24 * n * d**2 + 4 * n**2 * d) / 1e9, 2.60, atol=0.005)
    assert 1 + (2**10 - 1) == 1024 >= n and 1 + (2**9 - 1) < n
    assert 1023 * 256 == 261_888 and 2 * 256 == 512 and 2 * 1000 * 256 == 512_000
    # what the ten layers really keep: layer i needs its inputs of the last 2^i steps
    assert sum(2**i for i in range(10)) == 1023


def check_influence():
    """The figure: exactly zero beyond the receptive field, decay for the recurrent layer, flat for attention."""
    conv, rec, att = (_influence(kind) for kind in ("convolutions", "recurrent", "attention"))
    assert np.all(conv[32:] == 0) and np.all(conv[:32] > 0)
    assert rec[100] < 1e-3 * rec[0] and rec[100] > 0
    assert 0.5 < att[1:64].mean() / att[64:].mean() < 2
    slope = np.polyfit(np.arange(20, 120), np.log(rec[20:120]), 1)[0]
    assert slope < -0.02


def check_numpy_torch():
    """The temporal convolution of the second tab from the function of the first, to 1e-10."""
    net = TemporalConv(4, 3).double()
    x = np.random.default_rng(7).standard_normal((11, 4))
    y = x
    for conv in net.convs:
        w = conv.weight.detach().numpy().transpose(2, 0, 1)[::-1]
        y = y + np.maximum(causal_conv(y, w, conv.dilation[0]) + conv.bias.detach().numpy(), 0)
    assert np.allclose(y, net(torch.from_numpy(x)[None])[0].detach().numpy(), atol=1e-10)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(6)
    out = attentive(8, 2)(torch.randn(1, 6, 8), src_mask=mask, is_causal=True)
    assert out.shape == (1, 6, 8) and recurrent(8)(torch.randn(1, 6, 8))[0].shape == (1, 6, 8)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
