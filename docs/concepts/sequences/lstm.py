"""Twin of the page "LSTM": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm(x, w, u, b, h=None, c=None):
    """LSTM over x: (n, m). w: (4 d, m); u: (4 d, d); b: (4 d,), blocks i, f, g, o.

    Block order as in PyTorch. Returns hidden states (n, d) and cell states (n, d).
    """
    d = u.shape[1]
    h = np.zeros(d) if h is None else h
    c = np.zeros(d) if c is None else c
    hidden, cell = [], []
    for row in x:
        a = w @ row + u @ h + b
        i, f, o = sigmoid(a[:d]), sigmoid(a[d:2 * d]), sigmoid(a[3 * d:])
        g = np.tanh(a[2 * d:3 * d])
        c = f * c + i * g                            # keep and write
        h = o * np.tanh(c)                           # show
        hidden.append(h)
        cell.append(c)
    return np.array(hidden), np.array(cell)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def make_lstm(m, d, layers=1, dropout=0.0, forget_bias=1.0):
    """torch.nn.LSTM with a chosen forget-gate bias and orthogonal recurrent blocks."""
    net = torch.nn.LSTM(m, d, layers, batch_first=True, dropout=dropout)
    for name, p in net.named_parameters():
        if name.startswith("weight_hh"):
            for block in p.data.chunk(4):            # blocks i, f, g, o
                torch.nn.init.orthogonal_(block)
        elif name.startswith("bias"):
            p.data.zero_()
            if name.startswith("bias_ih"):           # PyTorch adds two biases: set one
                p.data[d:2 * d] = forget_bias
    return net
# --8<-- [end:torch]


def _params(m=3, d=4, seed=0, scale=1.0):
    """Random weights w, u, b in block order i, f, g, o."""
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal((4 * d, m)) / m**0.5,
            scale * rng.standard_normal((4 * d, d)) / d**0.5, 0.3 * rng.standard_normal(4 * d))


def _gates(x, w, u, b, h):
    """Gates and candidate of one step: i, f, g, o."""
    i, f, g, o = np.split(w @ x + u @ h + b, 4)
    return sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)


def _influence(kind, steps=100, d=32, seeds=4, probes=8):
    """Root mean square over random probes of |d(v' h_T)/dx_{T-lag}|, relative to lag 0.

    kind: "tanh" (PyTorch's RNN) or the forget-gate bias of an LSTM; weights uniform in
    +-1/sqrt(d), PyTorch's default, inputs standard normal.
    """
    rows = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        net = (torch.nn.RNN if kind == "tanh" else torch.nn.LSTM)(16, d, batch_first=True).double()
        if kind != "tanh":
            net.bias_ih_l0.data[d:2 * d] = kind
            net.bias_hh_l0.data[d:2 * d] = 0.0
        x = torch.randn(1, steps + 1, 16, dtype=torch.float64, requires_grad=True)
        last, total = net(x)[0][0, -1], 0.0
        for _ in range(probes):
            v = torch.randn(d, dtype=torch.float64)
            total = total + (torch.autograd.grad(last @ v, x, retain_graph=True)[0][0] ** 2).sum(1)
        rows.append(total.sqrt().flip(0).numpy())
    mean = np.mean(rows, axis=0)
    return mean / mean[0]


def figure_cell():
    """One LSTM step: the cell state runs along the top; gates multiply."""
    fig, ax = plt.subplots(figsize=(6.4, 3.5))
    ink, blue, orange = "#222222", "C0", "C1"

    def op(x, y, text):
        ax.add_patch(plt.Circle((x, y), 0.24, fill=False, ec=ink, lw=1.6, zorder=3))
        ax.text(x, y, text, ha="center", va="center", fontsize=11)

    def box(x, y, name, kind, color):
        ax.add_patch(plt.Rectangle((x - 0.5, y - 0.26), 1.0, 0.52, fill=False, ec=color, lw=1.6))
        ax.text(x, y, kind, ha="center", va="center", fontsize=9)
        ax.text(x + 0.08, y + 0.42, name, ha="left", va="center", fontsize=9, color=color)

    def arrow(points, color=ink, lw=1.4):
        xs, ys = zip(*points)
        ax.plot(xs[:-1], ys[:-1], color=color, lw=lw)
        ax.annotate("", points[-1], points[-2], arrowprops={
            "arrowstyle": "->", "color": color, "lw": lw, "shrinkA": 0, "shrinkB": 0})

    top, low = 3.2, 1.2
    arrow([(0, top), (1.26, top)], blue, 2.4)
    op(1.5, top, "×")
    arrow([(1.74, top), (3.76, top)], blue, 2.4)
    op(4.0, top, "+")
    arrow([(4.24, top), (8.6, top)], blue, 2.4)
    ax.text(0.0, top + 0.2, r"$c_{t-1}$", color=blue)
    ax.text(8.3, top + 0.2, r"$c_t$", color=blue)
    for x, name, kind, color in ((1.5, "forget", "sigmoid", orange), (3.0, "input", "sigmoid", orange),
                                 (4.7, "candidate", "tanh", ink), (6.2, "output", "sigmoid", orange)):
        box(x, low, name, kind, color)
        arrow([(x, 0.3), (x, low - 0.26)])
    arrow([(1.5, low + 0.26), (1.5, top - 0.24)])
    op(4.0, 2.35, "×")
    arrow([(3.0, low + 0.26), (3.0, 2.35), (3.76, 2.35)])
    arrow([(4.7, low + 0.26), (4.7, 2.35), (4.24, 2.35)])
    arrow([(4.0, 2.59), (4.0, top - 0.24)])
    op(7.3, 1.9, "×")
    arrow([(6.2, low + 0.26), (6.2, 1.9), (7.06, 1.9)])
    ax.add_patch(plt.Rectangle((6.9, 2.4), 0.8, 0.46, fill=False, ec=ink, lw=1.6))
    ax.text(7.3, 2.63, "tanh", ha="center", va="center", fontsize=9)
    arrow([(7.3, top), (7.3, 2.86)])
    arrow([(7.3, 2.4), (7.3, 2.14)])
    arrow([(7.3, 1.66), (7.3, 0.3), (8.6, 0.3)])
    ax.text(8.3, 0.45, r"$h_t$")
    ax.plot([0, 6.2], [0.3, 0.3], color=ink, lw=1.4)
    ax.text(0.0, 0.45, r"$h_{t-1}$")
    arrow([(0.7, -0.25), (0.7, 0.3)])
    ax.text(0.85, -0.15, r"$x_t$")
    ax.set_xlim(-0.15, 8.8)
    ax.set_ylim(-0.35, 3.75)
    ax.set_aspect("equal")
    ax.axis("off")
    return fig


def figure_influence():
    """How far back an input moves the last state, at random weights."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    for i, (kind, label, style) in enumerate((
            ("tanh", "tanh RNN", "-."), (0.0, "LSTM, forget bias 0", ":"),
            (1.0, "LSTM, forget bias 1", "--"), (3.0, "LSTM, forget bias 3", "-"))):
        ax.semilogy(_influence(kind), style, color=f"C{[5, 1, 2, 0][i]}", label=label)
    ax.set_ylim(1e-12, 5)
    ax.set_xlabel("distance of the input from the last step")
    ax.set_ylabel("influence, relative to lag 0")
    ax.legend(loc="lower left", fontsize=9)
    return fig


def check_lstm_gates():
    """Equations (lstm-gates), (lstm-cell), (lstm-hidden): the loop against torch.nn.LSTM."""
    for m, d, n in ((1, 1, 6), (3, 4, 12), (5, 2, 30)):
        w, u, b = _params(m, d, seed=d)
        x = np.random.default_rng(1).standard_normal((n, m))
        net = torch.nn.LSTM(m, d, batch_first=True).double()
        with torch.no_grad():
            for name, value in (("weight_ih_l0", w), ("weight_hh_l0", u), ("bias_ih_l0", b)):
                getattr(net, name).copy_(torch.from_numpy(value))
            net.bias_hh_l0.zero_()
        out, (h_n, c_n) = net(torch.from_numpy(x)[None])
        h, c = lstm(x, w, u, b)
        assert np.allclose(h, out[0].detach().numpy(), atol=1e-12)
        assert np.allclose(c[-1], c_n[0, 0].detach().numpy(), atol=1e-12)
        assert torch.equal(out[:, -1], h_n[0])


check_lstm_cell = check_lstm_gates
check_lstm_hidden = check_lstm_gates


def check_lstm_parameters():
    """Equation (lstm-parameters): against PyTorch, which has a second bias of 4 d."""
    for m, d in ((100, 128), (3, 4)):
        ours = 4 * d * (m + d + 1)
        assert ours == sum(p.size for p in _params(m, d))
        assert sum(p.numel() for p in torch.nn.LSTM(m, d).parameters()) == ours + 4 * d
    assert 4 * 128 * (100 + 128 + 1) == 117_248 and 117_248 + 512 == 117_760


def check_lstm_unrolled():
    """Equation (lstm-unrolled): the cell state is a weighted sum of everything written."""
    w, u, b = _params()
    rng = np.random.default_rng(2)
    x, c0 = rng.standard_normal((9, 3)), rng.standard_normal(4)
    h, c = lstm(x, w, u, b, c=c0)
    prev = np.vstack([np.zeros(4), h[:-1]])
    gates = [_gates(x[t], w, u, b, prev[t]) for t in range(9)]
    f = np.array([gate[1] for gate in gates])
    for t in range(1, 10):
        total = f[:t].prod(axis=0) * c0
        for s in range(1, t + 1):
            total = total + f[s:t].prod(axis=0) * gates[s - 1][0] * gates[s - 1][2]
        assert np.allclose(total, c[t - 1], atol=1e-13)
        assert np.all(np.abs(c[t - 1]) <= np.abs(c0) + t)


def check_lstm_jacobian():
    """Equation (lstm-jacobian): the direct and the gate paths add up to autograd's Jacobian."""
    w, u, b = _params(scale=1.5)
    rng = np.random.default_rng(3)
    x, c, o_prev = rng.standard_normal(3), rng.standard_normal(4), rng.uniform(0.1, 0.9, 4)
    u_i, u_f, u_g, _ = np.split(u, 4)
    i, f, g, _ = _gates(x, w, u, b, o_prev * np.tanh(c))
    through = (((c * f * (1 - f))[:, None] * u_f + (g * i * (1 - i))[:, None] * u_i
                + (i * (1 - g**2))[:, None] * u_g) * (o_prev * (1 - np.tanh(c) ** 2)))
    tw, tu, tb, tx, to = map(torch.from_numpy, (w, u, b, x, o_prev))

    def step(c_prev):
        a = tw @ tx + tu @ (to * torch.tanh(c_prev)) + tb
        return torch.sigmoid(a[4:8]) * c_prev + torch.sigmoid(a[:4]) * torch.tanh(a[8:12])

    theirs = torch.autograd.functional.jacobian(step, torch.from_numpy(c)).numpy()
    assert np.allclose(np.diag(f) + through, theirs, atol=1e-12)
    assert np.abs(through).max() > 0.05              # the gate paths are not negligible


def check_lstm_direct():
    """Equation (lstm-direct): with constant gates the derivative is the product of forget gates."""
    rng = np.random.default_rng(4)
    f, ig = rng.uniform(0.1, 1, (20, 4)), rng.standard_normal((20, 4))

    def run(c):
        for t in range(20):
            c = torch.from_numpy(f[t]) * c + torch.from_numpy(ig[t])
        return c

    jac = torch.autograd.functional.jacobian(run, torch.zeros(4, dtype=torch.float64))
    assert np.allclose(jac.numpy(), np.diag(f.prod(axis=0)), atol=1e-15)


def check_lstm_time_constant():
    """Equation (lstm-time-constant): 1 / (1 - sigmoid(b)) = 1 + e^b, half-life, table."""
    b = np.linspace(-3, 8, 50)
    f = sigmoid(b)
    assert np.allclose(1 / (1 - f), 1 + np.exp(b))
    weights = sigmoid(2.0) ** np.arange(5000)        # weight of what was written k steps ago
    assert np.isclose(weights.sum(), 1 + np.exp(2.0))
    rows = {0: (0.5, 2, 1.0), 1: (0.731, 3.72, 2.21), 2: (0.881, 8.39, 5.46),
            3: (0.953, 21.1, 14.3), 5: (0.9933, 149.4, 103.2)}
    for bias, (gate, time, half) in rows.items():
        f = sigmoid(float(bias))
        assert np.isclose(f, gate, atol=6e-4) and np.isclose(1 + np.exp(bias), time, rtol=3e-3)
        assert np.isclose(np.log(2) / -np.log(f), half, rtol=4e-3)
    # Chrono initialization spreads the time constants evenly over 2 to T.
    u = np.random.default_rng(0).uniform(1, 99, 100_000)
    times = 1 / (1 - sigmoid(np.log(u)))
    assert np.isclose(times.mean(), 51, atol=0.3) and times.min() >= 2 and times.max() <= 100


def check_lstm_dropout():
    """Equation (lstm-dropout): survival of a stored number under fresh and fixed masks."""
    rng, q, n = np.random.default_rng(5), 0.8, 20
    fresh = (rng.random((200_000, n)) < q).all(axis=1).mean()
    assert np.isclose(fresh, q**n, atol=1e-3) and np.isclose(q**n, 0.0115, atol=5e-5)
    fixed = (rng.random(200_000) < q).mean()
    assert np.isclose(fixed, q, atol=5e-3)
    # A mask on the candidate leaves what is stored alone, whatever it drops.
    w, u, b = _params()
    x, c = rng.standard_normal(3), rng.standard_normal(4)
    i, f, g, _ = _gates(x, w, u, b, np.zeros(4))
    for bits in range(16):
        mask = np.array([(bits >> k) & 1 for k in range(4)])
        new = f * c + i * (mask * g)
        assert np.allclose(new[mask == 0], (f * c)[mask == 0])


def check_dropout_argument():
    """torch.nn.LSTM(dropout=1) zeroes the input of layer 2 only: nothing else is touched."""
    torch.manual_seed(0)
    net = torch.nn.LSTM(3, 4, 2, batch_first=True, dropout=1.0).double()
    x = torch.randn(1, 6, 3, dtype=torch.float64)
    net.train()
    dropped, (h_n, _) = net(x)
    single = torch.nn.LSTM(3, 4, batch_first=True).double()
    single.load_state_dict({k: v for k, v in net.state_dict().items() if k.endswith("l0")})
    assert torch.allclose(h_n[0], single(x)[1][0][0])           # layer 1 has no dropout
    second = torch.nn.LSTM(4, 4, batch_first=True).double()
    second.load_state_dict({k.replace("l1", "l0"): v for k, v in net.state_dict().items()
                            if k.endswith("l1")})
    assert torch.allclose(dropped, second(torch.zeros(1, 6, 4, dtype=torch.float64))[0])


def check_default_forget_gate():
    """PyTorch's default start: forget gates near one half; make_lstm moves them to 0.73."""
    torch.manual_seed(0)
    net = torch.nn.LSTM(8, 64)
    gate = torch.sigmoid(net.bias_ih_l0 + net.bias_hh_l0)[64:128]
    assert 0.44 < gate.min() and gate.max() < 0.57
    net = make_lstm(8, 64)
    gate = torch.sigmoid(net.bias_ih_l0 + net.bias_hh_l0)
    assert torch.allclose(gate[64:128], torch.tensor(0.7311), atol=1e-4)
    assert torch.all(gate[:64] == 0.5) and torch.all(gate[128:] == 0.5)
    block = net.weight_hh_l0[64:128]
    assert torch.allclose(block @ block.T, torch.eye(64), atol=1e-5)


def check_influence():
    """The second figure: a higher forget bias reaches further."""
    at50 = [_influence(k, steps=60, seeds=2, probes=4)[50] for k in ("tanh", 0.0, 1.0, 3.0)]
    assert at50[1] < 1e-5 and at50[2] > 10 * at50[1] and at50[3] > 100 * at50[2]
    assert at50[0] < 1e-8


def check_numpy_vs_torch():
    """A two-layer make_lstm against two NumPy layers, 1e-12 in float64."""
    torch.manual_seed(1)
    net = make_lstm(3, 4, layers=2).double()
    x = np.random.default_rng(6).standard_normal((10, 3))
    p = {k: v.detach().numpy() for k, v in net.named_parameters()}
    y = x
    for l in range(2):
        y, _ = lstm(y, p[f"weight_ih_l{l}"], p[f"weight_hh_l{l}"],
                    p[f"bias_ih_l{l}"] + p[f"bias_hh_l{l}"])
    assert np.allclose(y, net(torch.from_numpy(x)[None])[0][0].detach().numpy(), atol=1e-12)


def check_worked_example():
    """Every number of the worked example, to the digits printed."""
    i, f, o, g = sigmoid(0.0), sigmoid(2.0), sigmoid(1.0), np.tanh(1.0)
    assert np.allclose([i, f, o, g], [0.5, 0.881, 0.731, 0.762], atol=5e-4)
    c = f * 1.0 + i * g
    assert np.isclose(c, 1.262, atol=5e-4) and np.isclose(np.tanh(c), 0.852, atol=5e-4)
    assert np.isclose(o * np.tanh(c), 0.623, atol=5e-4)
    w, u = np.zeros((4, 1)), np.zeros((4, 1))
    h, cc = lstm(np.zeros((1, 1)), w, u, np.array([0.0, 2.0, 1.0, 1.0]), c=np.ones(1))
    assert np.isclose(cc[0, 0], c) and np.isclose(h[0, 0], o * np.tanh(c))
    assert np.isclose(f**10, 0.281, atol=5e-4) and np.isclose(c * f**10, 0.355, atol=5e-4)
    assert np.isclose(sigmoid(5.0) ** 10, 0.935, atol=5e-4)
    assert np.isclose(c * sigmoid(5.0) ** 10, 1.180, atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
