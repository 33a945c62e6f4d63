"""Twin of the page "Recurrent neural networks (RNN)": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def rnn(x, w_x, w_h, b, h=None, mask=None):
    """Tanh RNN. x: (n, m); w_x: (d, m); w_h: (d, d); b: (d,). Returns states (n, d).

    h is the state before the first step (zero by default). Where the optional
    mask (n,) is 0, the step is padding and the state is copied unchanged.
    """
    h = np.zeros(len(b)) if h is None else h
    states = []
    for t in range(len(x)):
        new = np.tanh(w_x @ x[t] + w_h @ h + b)      # the same weights at every step
        h = new if mask is None or mask[t] else h
        states.append(h)
    return np.array(states)


def bidirectional(x, forward, backward):
    """Two RNNs, each (w_x, w_h, b), one from each end. Returns (n, 2 d)."""
    left = rnn(x, *forward)
    right = rnn(x[::-1], *backward)[::-1]            # turned back to input order
    return np.concatenate([left, right], axis=1)


def stacked(x, layers):
    """Deep RNN: the states of one layer are the inputs of the next."""
    for layer in layers:
        x = rnn(x, *layer)
    return x
# --8<-- [end:numpy]


# --8<-- [start:torch]
class SequenceClassifier(torch.nn.Module):
    """One label per sequence; x: (batch, longest, m), lengths: (batch,) on the CPU."""

    def __init__(self, m, d, classes, layers=1):
        super().__init__()
        self.rnn = torch.nn.RNN(m, d, layers, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(2 * d, classes)

    def forward(self, x, lengths):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        _, h_n = self.rnn(packed)                    # (2 * layers, batch, d)
        # The last two rows: top layer, forward state at each sequence's own end,
        # backward state at its start. Both have read the whole sequence.
        return self.head(torch.cat([h_n[-2], h_n[-1]], dim=1))
# --8<-- [end:torch]


PULSES = np.array([1.0, 0, 0, 0, -0.3, 0, 0, -3.0, 0, 0])


def _layer(m, d, seed=0, scale=1.0):
    """Random weights of one layer: (w_x, w_h, b)."""
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal((d, m)) / m**0.5,
            scale * rng.standard_normal((d, d)) / d**0.5, 0.1 * rng.standard_normal(d))


def _to_torch(module, layers, directions=1):
    """Copy NumPy layers into torch.nn.RNN (second bias zero). layers: list of tuples."""
    with torch.no_grad():
        for i, (w_x, w_h, b) in enumerate(layers):
            tag = f"l{i // directions}" + ("_reverse" if i % directions else "")
            for name, value in (("weight_ih", w_x), ("weight_hh", w_h), ("bias_ih", b),
                                ("bias_hh", np.zeros_like(b))):
                getattr(module, f"{name}_{tag}").copy_(torch.from_numpy(value))
    return module


def _latch(w, x, h=0.0):
    """Scalar network h = tanh(w h + x) over the inputs x. Returns all states."""
    states = []
    for value in x:
        h = np.tanh(w * h + value)
        states.append(h)
    return np.array(states)


def _fixed_point(w, h=1.0, u=0.0):
    """Upper stable state of h = tanh(w h - u), by iteration from h."""
    for _ in range(20000):
        h = np.tanh(w * h - u)
    return h


def _reached(f, n=6, m=3):
    """Matrix of booleans (n, n): does output i change when input j changes?"""
    x = np.random.default_rng(1).standard_normal((n, m))
    base, hit = f(x), np.zeros((n, n), bool)
    for j in range(n):
        moved = x.copy()
        moved[j] += 0.5
        hit[:, j] = np.abs(f(moved) - base).max(axis=1) > 1e-12
    return hit


def figure_unrolled():
    """The loop on the left, the same network unrolled over four steps on the right."""
    fig, ax = plt.subplots(figsize=(6.4, 2.8))

    def node(x, y, text, color, size=0.3):
        ax.add_patch(plt.Circle((x, y), size, fill=False, ec=color, lw=1.8, zorder=3))
        ax.text(x, y, text, ha="center", va="center", fontsize=10, zorder=4)

    def arrow(a, b, color="#222222", style="-"):
        ax.annotate("", b, a, arrowprops={"arrowstyle": "->", "color": color, "lw": 1.5, "ls": style})

    for x, sub in [(0, "t"), (3.1, "1"), (4.6, "2"), (6.1, "3"), (7.6, "4")]:
        node(x, 0, rf"$x_{sub}$", "#555555")
        node(x, 1.2, rf"$h_{sub}$", "C0")
        node(x, 2.4, rf"$y_{sub}$", "C1")
        arrow((x, 0.3), (x, 0.9))
        arrow((x, 1.5), (x, 2.1))
        if sub != "t":
            ax.text(x + 0.08, 0.58, r"$W_x$", fontsize=9)
            ax.text(x + 0.08, 1.72, r"$W_y$", fontsize=9)
    ax.annotate("", (-0.26, 1.36), (-0.26, 1.04), arrowprops={
        "arrowstyle": "->", "color": "C0", "lw": 1.6, "connectionstyle": "arc3,rad=-1.9"})
    ax.text(-0.66, 1.2, r"$W_h$", fontsize=9, ha="right", va="center", color="C0")
    node(1.75, 1.2, r"$h_0$", "C0", 0.26)
    for a, b in [(2.01, 2.8), (3.4, 4.3), (4.9, 5.8), (6.4, 7.3)]:
        arrow((a, 1.2), (b, 1.2), "C0")
        ax.text((a + b) / 2, 1.3, r"$W_h$", fontsize=9, ha="center", color="C0")
    ax.set_xlim(-1.3, 8.1)
    ax.set_ylim(-0.4, 2.85)
    ax.set_aspect("equal")
    ax.axis("off")
    return fig


def figure_latch():
    """One unit as a memory: the pulse is kept for w = 2 and fades for w = 0.9."""
    fig, axes = plt.subplots(2, 1, figsize=(6.4, 3.9), sharex=True, height_ratios=[1, 2])
    x = np.zeros(40)
    x[3], x[14], x[27] = 1.0, -0.3, -3.0
    rng = np.random.default_rng(0)
    x = x + np.where(x == 0, rng.uniform(-0.2, 0.2, 40), 0)
    t = np.arange(40)
    axes[0].bar(t, x, width=0.6, color="#555555")
    axes[0].set_ylabel("input")
    axes[1].plot(t, _latch(2.0, x), "-o", ms=3, color="C0", label="w = 2")
    axes[1].plot(t, _latch(0.9, x), "--s", ms=3, color="C1", label="w = 0.9")
    for sign in (1, -1):
        axes[1].axhline(sign * _fixed_point(2.0), color="C0", lw=0.8, ls=":")
    axes[1].set_ylim(-1.1, 1.1)
    axes[1].set_ylabel("state")
    axes[1].set_xlabel("time step")
    axes[1].legend(loc="lower left", fontsize=9)
    return fig


def figure_reach():
    """Which outputs change when one input changes: forward, backward, both."""
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.5), sharey=True)
    f, b = _layer(3, 4, 0), _layer(3, 4, 1)
    nets = [("forward", lambda x: rnn(x, *f)),
            ("backward", lambda x: rnn(x[::-1], *b)[::-1]),
            ("bidirectional", lambda x: bidirectional(x, f, b))]
    for ax, (name, net) in zip(axes, nets):
        for i, j in np.argwhere(_reached(net)):
            ax.plot(j + 1, i + 1, "s", ms=11, color="C0")
        for i, j in np.argwhere(~_reached(net)):
            ax.plot(j + 1, i + 1, "x", ms=5, color="#555555")
        ax.set_xticks(range(1, 7))
        ax.set_yticks(range(1, 7))
        ax.set_xlim(0.4, 6.6)
        ax.set_ylim(6.6, 0.4)
        ax.set_aspect("equal")
        ax.grid(False)
        ax.set_xlabel(f"input position\n({name})")
    axes[0].set_ylabel("output position")
    return fig


def check_rnn_state():
    """Equation (rnn-state): the loop against torch.nn.RNN, several sizes."""
    for m, d, n in ((1, 1, 5), (3, 4, 9), (5, 2, 30)):
        layer = _layer(m, d, seed=d)
        x = np.random.default_rng(2).standard_normal((n, m))
        module = _to_torch(torch.nn.RNN(m, d, batch_first=True).double(), [layer])
        theirs = module(torch.from_numpy(x)[None])[0][0].detach().numpy()
        assert np.allclose(rnn(x, *layer), theirs, atol=1e-12)


def check_rnn_parameters():
    """Equation (rnn-parameters): against PyTorch, which has a second bias of size d."""
    for m, d in ((50, 100), (3, 7)):
        n_layer = d * (m + d + 1)
        assert sum(p.size for p in _layer(m, d)) == n_layer
        assert sum(p.numel() for p in torch.nn.RNN(m, d).parameters()) == n_layer + d
    assert 100 * (50 + 100 + 1) == 15_100


def check_rnn_carry():
    """Equation (rnn-carry): in two pieces with the state carried over, nothing changes."""
    layer = _layer(3, 4)
    x = np.random.default_rng(3).standard_normal((12, 3))
    whole = rnn(x, *layer)
    for s in range(1, 12):
        first = rnn(x[:s], *layer)
        second = rnn(x[s:], *layer, h=first[-1])
        assert np.allclose(np.concatenate([first, second]), whole, atol=1e-14)
        assert not np.allclose(rnn(x[s:], *layer), whole[s:], atol=1e-3)   # state dropped


def check_rnn_mask():
    """Equation (rnn-mask): padded and masked equals unpadded; without a mask it does not."""
    layer = _layer(3, 4)
    x = np.random.default_rng(4).standard_normal((5, 3))
    padded = np.concatenate([x, np.zeros((4, 3))])
    mask = np.arange(9) < 5
    end = rnn(x, *layer)[-1]
    assert np.allclose(rnn(padded, *layer, mask=mask)[-1], end, atol=1e-14)
    assert np.abs(rnn(padded, *layer)[-1] - end).max() > 0.1


def check_rnn_stacked():
    """Equation (rnn-stacked): three layers against torch.nn.RNN(num_layers=3)."""
    layers = [_layer(3, 4, 0), _layer(4, 4, 1), _layer(4, 4, 2)]
    x = np.random.default_rng(5).standard_normal((7, 3))
    module = _to_torch(torch.nn.RNN(3, 4, 3, batch_first=True).double(), layers)
    theirs = module(torch.from_numpy(x)[None])[0][0].detach().numpy()
    assert np.allclose(stacked(x, layers), theirs, atol=1e-12)


def check_rnn_bidirectional():
    """Equation (rnn-bidirectional): against PyTorch; who reads what; the last-output trap."""
    f, b = _layer(3, 4, 0), _layer(3, 4, 1)
    x = np.random.default_rng(6).standard_normal((7, 3))
    module = _to_torch(torch.nn.RNN(3, 4, batch_first=True, bidirectional=True).double(),
                       [f, b], directions=2)
    out, h_n = module(torch.from_numpy(x)[None])
    ours = bidirectional(x, f, b)
    assert np.allclose(ours, out[0].detach().numpy(), atol=1e-12)
    assert np.array_equal(_reached(lambda x: rnn(x, *f)), np.tri(6, dtype=bool))
    assert np.array_equal(_reached(lambda x: rnn(x[::-1], *b)[::-1]), np.tri(6, dtype=bool).T)
    assert _reached(lambda x: bidirectional(x, f, b)).all()
    # The backward half of the last output has read one input; h_n has read them all.
    changed = x.copy()
    changed[:-1] = 0.0
    assert np.allclose(bidirectional(changed, f, b)[-1, 4:], ours[-1, 4:], atol=1e-14)
    assert np.allclose(h_n[0, 0].detach().numpy(), ours[-1, :4], atol=1e-12)
    assert np.allclose(h_n[1, 0].detach().numpy(), ours[0, 4:], atol=1e-12)


def check_rnn_deep_parameters():
    """Equation (rnn-deep-parameters): against PyTorch minus its second biases."""
    for m, d, layers in ((50, 100, 1), (50, 100, 2), (3, 5, 4)):
        ours = 2 * d * (m + d + 1) + 2 * (layers - 1) * d * (3 * d + 1)
        module = torch.nn.RNN(m, d, layers, bidirectional=True)
        assert sum(p.numel() for p in module.parameters()) - 2 * layers * d == ours


def check_rnn_contraction():
    """Equation (rnn-contraction): two starts approach at least as fast as the norm's powers."""
    rng = np.random.default_rng(7)
    for s in (0.5, 0.9, 0.99):
        w_x, w_h, b = _layer(3, 6, seed=int(100 * s))
        w_h = s * w_h / np.linalg.norm(w_h, 2)
        x = rng.standard_normal((60, 3))
        h, k = rng.uniform(-1, 1, (2, 6))
        gap = np.linalg.norm(rnn(x, w_x, w_h, b, h) - rnn(x, w_x, w_h, b, k), axis=1)
        bound = s ** np.arange(1, 61) * np.linalg.norm(h - k)
        assert np.all(gap <= bound + 1e-15) and gap[0] > 0
    # With a larger matrix two starts can stay apart for ever.
    a = _latch(2.0, np.zeros(500), 0.1)[-1]
    assert a - _latch(2.0, np.zeros(500), -0.1)[-1] > 1.9


def check_rnn_latch():
    """Equation (rnn-latch): fixed points, stability, and none but zero for w <= 1."""
    grid = np.linspace(-1, 1, 200_001)
    for w in (1.2, 2.0, 3.0):
        h = _fixed_point(w)
        assert np.isclose(h, np.tanh(w * h), atol=1e-14) and h > 0.1
        assert 0 < w * (1 - h * h) < 1
        assert np.isclose(_latch(w, np.zeros(3000), -1e-3)[-1], -h)
        signs = np.sign(np.tanh(w * grid) - grid)
        assert np.sum(np.abs(np.diff(signs[signs != 0])) == 2) == 3      # three crossings
    for w in (0.5, 1.0):
        positive = grid[grid > 1e-3]
        assert np.all(np.tanh(w * positive) < positive)
    assert np.isclose(_fixed_point(2.0), 0.9575, atol=5e-5)
    assert np.isclose(2 * (1 - _fixed_point(2.0) ** 2), 0.1664, atol=5e-5)


def check_rnn_latch_margin():
    """Equation (rnn-latch-margin): inputs up to the margin never flip the unit; more does."""
    for w in (1.5, 2.0, 4.0):
        h_c = np.sqrt(1 - 1 / w)
        u_c = w * h_c - np.arctanh(h_c)
        start = _fixed_point(w)
        assert _latch(w, np.full(20_000, -0.999 * u_c), start)[-1] > h_c
        assert _latch(w, np.full(20_000, -1.01 * u_c), start)[-1] < 0
        noise = np.random.default_rng(8).uniform(-u_c, u_c, (50, 2000))
        assert min(_latch(w, row, start).min() for row in noise) > h_c
    h_c = np.sqrt(0.5)
    assert np.isclose(2 * h_c - np.arctanh(h_c), 0.533, atol=5e-4)


def check_rnn_latch_gradient():
    """Equation (rnn-latch-gradient): while the bit is held the derivative falls geometrically."""
    w, rng = 2.0, np.random.default_rng(9)
    h_c = np.sqrt(1 - 1 / w)
    u_c = w * h_c - np.arctanh(h_c)
    x = torch.from_numpy(rng.uniform(-0.5 * u_c, 0.5 * u_c, 30))
    h0 = torch.tensor(_fixed_point(w), requires_grad=True)
    h, product = h0, 1.0
    rho = w * (1 - _fixed_point(w, u=0.5 * u_c) ** 2)
    assert 0 < rho < 1
    for t in range(30):
        h = torch.tanh(w * h + x[t])
        product *= w * (1 - h.item() ** 2)
        slope = torch.autograd.grad(h, h0, retain_graph=True)[0].item()
        assert np.isclose(slope, product, rtol=1e-9)
        assert slope <= rho ** (t + 1) * (1 + 1e-9)


def check_numpy_vs_torch():
    """Packed batch in PyTorch against unpadded NumPy sequences, one by one: 1e-12."""
    torch.manual_seed(0)
    model = SequenceClassifier(3, 4, 2, layers=2).double()
    p = {k: v.detach().numpy() for k, v in model.rnn.named_parameters()}
    lengths, x = [5, 2, 7], torch.randn(3, 7, 3, dtype=torch.float64)
    ours = []
    for row, n in zip(x.numpy(), lengths):
        y = row[:n]
        for l in range(2):
            f, b = [(p[f"weight_ih_l{l}{r}"], p[f"weight_hh_l{l}{r}"],
                     p[f"bias_ih_l{l}{r}"] + p[f"bias_hh_l{l}{r}"]) for r in ("", "_reverse")]
            y = bidirectional(y, f, b)
        ends = np.concatenate([y[-1, :4], y[0, 4:]])
        ours.append(model.head.weight.detach().numpy() @ ends + model.head.bias.detach().numpy())
    theirs = model(x, torch.tensor(lengths)).detach().numpy()
    assert np.allclose(ours, theirs, atol=1e-12)
    garbage = x.clone()
    garbage[0, 5:], garbage[1, 2:] = 99.0, -99.0          # what stands in the padding
    assert torch.equal(model(garbage, torch.tensor(lengths)), model(x, torch.tensor(lengths)))


def check_worked_example():
    """Every number of the worked example, to the digits printed."""
    assert np.allclose(_latch(2.0, PULSES), [0.762, 0.909, 0.949, 0.956, 0.923, 0.951, 0.956,
                                             -0.796, -0.920, -0.951], atol=5.1e-4)
    assert np.allclose(_latch(0.9, PULSES), [0.762, 0.595, 0.490, 0.414, 0.073, 0.065, 0.059,
                                             -0.995, -0.714, -0.567], atol=5.1e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
