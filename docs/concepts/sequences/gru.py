"""Twin of the page "GRU (gated recurrent unit)": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gru(x, w, u, b, b_n, h=None, reset_after=True):
    """GRU over x: (n, m). w: (3 d, m); u: (3 d, d); b: (3 d,), blocks r, z, n.

    b_n: (d,) is the bias inside the reset product. reset_after=True is PyTorch's
    form, False that of the published paper. Returns the states (n, d).
    """
    d = u.shape[1]
    h = np.zeros(d) if h is None else h
    states = []
    for row in x:
        a = w @ row + b
        r = sigmoid(a[:d] + u[:d] @ h)
        z = sigmoid(a[d:2 * d] + u[d:2 * d] @ h)
        if reset_after:
            n = np.tanh(a[2 * d:] + r * (u[2 * d:] @ h + b_n))
        else:
            n = np.tanh(a[2 * d:] + u[2 * d:] @ (r * h) + b_n)
        h = z * h + (1 - z) * n                      # z near 1 keeps the old state
        states.append(h)
    return np.array(states)
# --8<-- [end:numpy]


# --8<-- [start:torch]
class Forecaster(torch.nn.Module):
    """Predicts the next value of a series; x: (batch, n, m), result (batch, n, m)."""

    def __init__(self, m, d, keep_bias=1.0):
        super().__init__()
        self.gru = torch.nn.GRU(m, d, batch_first=True)
        self.head = torch.nn.Linear(d, m)
        with torch.no_grad():                        # blocks r, z, n
            self.gru.bias_ih_l0[d:2 * d] = keep_bias     # start by keeping
            self.gru.bias_hh_l0[d:2 * d] = 0.0

    def forward(self, x, state=None):
        out, state = self.gru(x, state)
        return x + self.head(out), state             # predict the change
# --8<-- [end:torch]


def _params(m=3, d=4, seed=0, scale=1.0):
    """Random weights w, u, b, b_n in block order r, z, n."""
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal((3 * d, m)) / m**0.5,
            scale * rng.standard_normal((3 * d, d)) / d**0.5,
            0.3 * rng.standard_normal(3 * d), 0.3 * rng.standard_normal(d))


def _parts(x, w, u, b, b_n, h):
    """r, z and n of one step, reset after the product."""
    d = len(h)
    a = w @ x + b
    r, z = sigmoid(a[:d] + u[:d] @ h), sigmoid(a[d:2 * d] + u[d:2 * d] @ h)
    return r, z, np.tanh(a[2 * d:] + r * (u[2 * d:] @ h + b_n))


def figure_cell():
    """One GRU step: the state runs along the top and is mixed with a candidate."""
    fig, ax = plt.subplots(figsize=(6.4, 3.5))
    ink, blue, orange = "#222222", "C0", "C1"

    def op(x, y, text):
        ax.add_patch(plt.Circle((x, y), 0.24, fill=False, ec=ink, lw=1.6, zorder=3))
        ax.text(x, y, text, ha="center", va="center", fontsize=11)

    def box(x, y, name, kind, color, side="left"):
        ax.add_patch(plt.Rectangle((x - 0.5, y - 0.26), 1.0, 0.52, fill=False, ec=color, lw=1.6))
        ax.text(x, y, kind, ha="center", va="center", fontsize=9)
        ax.text(x + (0.1 if side == "left" else -0.1), y + 0.42, name, ha=side, va="center",
                fontsize=9, color=color)

    def arrow(points, color=ink, lw=1.4):
        xs, ys = zip(*points)
        ax.plot(xs[:-1], ys[:-1], color=color, lw=lw)
        ax.annotate("", points[-1], points[-2], arrowprops={
            "arrowstyle": "->", "color": color, "lw": lw, "shrinkA": 0, "shrinkB": 0})

    top, low = 3.3, 1.2
    arrow([(0, top), (3.96, top)], blue, 2.4)
    op(4.2, top, "×")
    arrow([(4.44, top), (6.76, top)], blue, 2.4)
    op(7.0, top, "+")
    arrow([(7.24, top), (8.6, top)], blue, 2.4)
    ax.text(0.0, top + 0.2, r"$h_{t-1}$", color=blue)
    ax.text(8.3, top + 0.2, r"$h_t$", color=blue)
    box(1.9, low, "reset", "sigmoid", orange)
    box(4.2, low, "update", "sigmoid", orange)
    box(7.0, low, "candidate", "tanh", ink)
    arrow([(1.9, low + 0.26), (1.9, 2.06)])
    op(1.9, 2.3, "×")
    arrow([(0.95, top), (0.95, 2.3), (1.66, 2.3)], blue)
    arrow([(2.14, 2.3), (2.95, 2.3), (2.95, 0.75), (6.7, 0.75), (6.7, low - 0.26)])
    arrow([(4.2, low + 0.26), (4.2, top - 0.24)])
    ax.text(4.28, 2.82, r"$z_t$", fontsize=10)
    arrow([(4.2, 2.3), (6.76, 2.3)])
    ax.text(5.1, 2.4, r"$1-z_t$", fontsize=10)
    op(7.0, 2.3, "×")
    arrow([(7.0, low + 0.26), (7.0, 2.06)])
    arrow([(7.0, 2.54), (7.0, top - 0.24)])
    ax.plot([0.95, 0.95], [2.3, 0.45], color=blue, lw=1.4)
    ax.plot([0.95, 4.0], [0.45, 0.45], color=blue, lw=1.4)
    arrow([(1.7, 0.45), (1.7, low - 0.26)], blue)
    arrow([(4.0, 0.45), (4.0, low - 0.26)], blue)
    ax.plot([0, 7.3], [0.1, 0.1], color=ink, lw=1.4)
    for x in (2.1, 4.4, 7.3):
        arrow([(x, 0.1), (x, low - 0.26)])
    ax.text(0.0, 0.22, r"$x_t$")
    ax.set_xlim(-0.15, 8.8)
    ax.set_ylim(-0.1, 3.8)
    ax.set_aspect("equal")
    ax.axis("off")
    return fig


def figure_counting():
    """Counting ones: an LSTM cell adds; a GRU state must stay below 1."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9))
    t = np.arange(0, 41)
    axes[0].plot(t, t, "-", color="C0", label="LSTM cell state")
    for z, style, color in ((0.8, "--", "C1"), (0.95, ":", "C2")):
        axes[0].plot(t, 1 - z**t, style, color=color)
        axes[1].semilogy(t, (1 - z) * z**t, style, color=color, label=f"GRU, z = {z}")
    axes[0].annotate("GRU states", (30, 1), xytext=(0, 6), textcoords="offset points",
                     ha="center", fontsize=9)
    axes[1].semilogy(t, np.ones(41), "-", color="C0", label="LSTM cell state")
    axes[0].set_ylabel("stored value")
    axes[1].set_ylabel("change by one more")
    axes[0].legend(fontsize=9)
    axes[1].legend(fontsize=9, loc="lower left")
    for ax in axes:
        ax.set_xlabel("number of ones so far")
    return fig


def check_gru_gates():
    """Equations (gru-gates), (gru-candidate), (gru-state): the loop against torch.nn.GRU."""
    for m, d, n in ((1, 1, 6), (3, 4, 12), (5, 2, 30)):
        w, u, b, b_n = _params(m, d, seed=d)
        x = np.random.default_rng(1).standard_normal((n, m))
        net = torch.nn.GRU(m, d, batch_first=True).double()
        with torch.no_grad():
            net.weight_ih_l0.copy_(torch.from_numpy(w))
            net.weight_hh_l0.copy_(torch.from_numpy(u))
            net.bias_ih_l0.copy_(torch.from_numpy(b))
            net.bias_hh_l0.zero_()
            net.bias_hh_l0[2 * d:] = torch.from_numpy(b_n)
        theirs = net(torch.from_numpy(x)[None])[0][0].detach().numpy()
        assert np.allclose(gru(x, w, u, b, b_n), theirs, atol=1e-12)


check_gru_candidate = check_gru_gates
check_gru_state = check_gru_gates


def check_gru_reset_before():
    """Equation (gru-reset-before): by hand; equal for diagonal u_n and no inner bias, else not."""
    w, u, b, b_n = _params()
    rng = np.random.default_rng(2)
    x, h = rng.standard_normal((1, 3)), rng.uniform(-1, 1, 4)
    r, z, _ = _parts(x[0], w, u, b, b_n, h)
    n = np.tanh(w[8:] @ x[0] + b[8:] + u[8:] @ (r * h) + b_n)
    ours = gru(x, w, u, b, b_n, h, reset_after=False)[0]
    assert np.allclose(ours, z * h + (1 - z) * n, atol=1e-14)
    assert np.abs(ours - gru(x, w, u, b, b_n, h)[0]).max() > 1e-3
    diag = u.copy()
    diag[8:] = np.diag(np.diag(u[8:]))
    zero = np.zeros(4)
    assert np.allclose(gru(x, w, diag, b, zero, h, False), gru(x, w, diag, b, zero, h), atol=1e-14)


def check_gru_conventions():
    """Equation (gru-conventions): negated update weights exchange the two conventions."""
    a = np.random.default_rng(3).standard_normal(100) * 4
    assert np.allclose(sigmoid(-a), 1 - sigmoid(a), atol=1e-15)
    w, u, b, b_n = _params()
    x = np.random.default_rng(4).standard_normal((10, 3))
    w2, u2, b2 = w.copy(), u.copy(), b.copy()
    for p in (w2, u2, b2):
        p[4:8] *= -1                                 # block z
    h = np.zeros(4)
    for t in range(10):                              # z multiplies the candidate here
        r, z, n = _parts(x[t], w2, u2, b2, b_n, h)
        h = (1 - z) * h + z * n
    assert np.allclose(h, gru(x, w, u, b, b_n)[-1], atol=1e-13)


def check_gru_parameters():
    """Equation (gru-parameters): against PyTorch minus the two redundant biases; ratio 3/4."""
    for m, d in ((100, 128), (3, 4)):
        ours = 3 * d * (m + d + 1) + d
        assert sum(p.size for p in _params(m, d)) == ours
        total = sum(p.numel() for p in torch.nn.GRU(m, d).parameters())
        assert total == ours + 2 * d == 3 * d * (m + d + 2)
        assert 4 * total == 3 * sum(p.numel() for p in torch.nn.LSTM(m, d).parameters())
    assert 3 * 128 * (100 + 128 + 2) == 88_320


def check_gru_unrolled():
    """Equation (gru-unrolled): the weights of start and candidates are >= 0 and sum to one."""
    w, u, b, b_n = _params()
    rng = np.random.default_rng(5)
    x, h0 = rng.standard_normal((9, 3)), rng.uniform(-1, 1, 4)
    h = gru(x, w, u, b, b_n, h0)
    prev = np.vstack([h0, h[:-1]])
    z, n = map(np.array, zip(*[_parts(x[t], w, u, b, b_n, prev[t])[1:] for t in range(9)]))
    for t in range(1, 10):
        weights = [z[:t].prod(axis=0)]
        weights += [z[s:t].prod(axis=0) * (1 - z[s - 1]) for s in range(1, t + 1)]
        assert np.allclose(np.sum(weights, axis=0), 1, atol=1e-13) and np.min(weights) >= 0
        total = weights[0] * h0 + sum(a * v for a, v in zip(weights[1:], n[:t]))
        assert np.allclose(total, h[t - 1], atol=1e-13)


def check_gru_bounded():
    """Equation (gru-bounded): large weights, large inputs, large start."""
    rng = np.random.default_rng(6)
    for seed in range(20):
        w, u, b, b_n = _params(seed=seed, scale=5)
        h0 = rng.uniform(-3, 3, 4)
        h = gru(10 * rng.standard_normal((50, 3)), w, u, b, b_n, h0)
        assert np.abs(h).max() <= max(1, np.abs(h0).max()) + 1e-12
    # An LSTM's cell state has no such bound: saturated gates add one per step.
    net = torch.nn.LSTM(1, 1)
    for p in net.parameters():
        p.data.zero_()
    net.bias_ih_l0.data[:] = 20.0
    assert np.isclose(net(torch.zeros(50, 1))[1][1].item(), 50, atol=1e-3)


def check_gru_jacobian():
    """Equation (gru-jacobian): keep, update, candidate and reset paths against autograd."""
    w, u, b, b_n = _params(scale=1.5)
    rng = np.random.default_rng(7)
    x, h = rng.standard_normal(3), rng.uniform(-1, 1, 4)
    r, z, n = _parts(x, w, u, b, b_n, h)
    u_r, u_z, u_n = np.split(u, 3)
    s = u_n @ h + b_n
    ours = (np.diag(z) + ((h - n) * z * (1 - z))[:, None] * u_z
            + ((1 - z) * (1 - n**2))[:, None] * (r[:, None] * u_n
                                                 + (s * r * (1 - r))[:, None] * u_r))
    tw, tu, tb, tn, tx = map(torch.from_numpy, (w, u, b, b_n, x))

    def step(h):
        a = tw @ tx + tb
        r, z = torch.sigmoid(a[:4] + tu[:4] @ h), torch.sigmoid(a[4:8] + tu[4:8] @ h)
        return z * h + (1 - z) * torch.tanh(a[8:] + r * (tu[8:] @ h + tn))

    theirs = torch.autograd.functional.jacobian(step, torch.from_numpy(h)).numpy()
    assert np.allclose(ours, theirs, atol=1e-12)


def check_gru_from_lstm():
    """Equation (gru-from-lstm): i = 1 - f, h = c and r = 1 turn one into the other."""
    w, u, b, b_n = _params()
    x = np.random.default_rng(8).standard_normal((12, 3))
    open_reset = b.copy()
    open_reset[:4] = 60.0                            # r = 1 to machine precision
    theirs = gru(x, w, u, open_reset, b_n)
    c = np.zeros(4)
    for t in range(12):                              # LSTM step, coupled, read directly
        f = sigmoid(w[4:8] @ x[t] + u[4:8] @ c + b[4:8])
        g = np.tanh(w[8:] @ x[t] + u[8:] @ c + b[8:] + b_n)
        c = f * c + (1 - f) * g
        assert np.allclose(c, theirs[t], atol=1e-12)


def check_gru_counting():
    """Equation (gru-counting): the state after t ones, the gaps, and where float32 ends them."""
    for z in (0.8, 0.9, 0.95):
        w, u = np.zeros((3, 1)), np.zeros((3, 1))
        b = np.array([0.0, np.log(z / (1 - z)), 40.0])       # constant z, candidate 1
        h = gru(np.zeros((60, 1)), w, u, b, np.zeros(1))[:, 0]
        t = np.arange(1, 61)
        assert np.allclose(h, 1 - z**t, atol=1e-13)
        assert np.allclose(np.diff(h), (1 - z) * z ** t[:-1], atol=1e-13)
    z, h, steps = np.float32(0.9), np.float32(0.0), 0
    while True:
        new = z * h + (np.float32(1) - z)
        if new == h:
            break
        h, steps = new, steps + 1
    assert steps == 142                              # then one more changes nothing
    count = np.float32(0)
    for _ in range(1000):
        count = count + np.float32(1)
    assert count == 1000


def check_gru_scan():
    """Equation (gru-scan): with gates free of the state, pairs combine in any grouping."""
    rng = np.random.default_rng(9)
    z, n = rng.uniform(0, 1, 16), rng.uniform(-1, 1, 16)
    pairs = list(zip(z, (1 - z) * n))

    def combine(first, second):
        return first[0] * second[0], second[0] * first[1] + second[1]

    h = 0.3
    for a, v in pairs:
        h = a * h + v
    while len(pairs) > 1:                            # a tree of depth 4
        pairs = [combine(pairs[i], pairs[i + 1]) for i in range(0, len(pairs), 2)]
    assert np.isclose(pairs[0][0] * 0.3 + pairs[0][1], h, atol=1e-14)


def check_reset_gate_alone_erases_nothing():
    """With z = 1 the state stays whatever the reset gate does; with r = z = 0 it starts anew."""
    w, u, b, b_n = _params()
    rng = np.random.default_rng(10)
    x, h = rng.standard_normal((1, 3)), rng.uniform(-1, 1, 4)
    for reset in (-60.0, 60.0):
        keep = b.copy()
        keep[:4], keep[4:8] = reset, 60.0
        assert np.allclose(gru(x, w, u, keep, b_n, h)[0], h, atol=1e-12)
    fresh = b.copy()
    fresh[:8] = -60.0
    assert np.allclose(gru(x, w, u, fresh, b_n, h), gru(x, w, u, fresh, b_n, -h), atol=1e-12)
    assert np.allclose(gru(x, w, u, fresh, b_n, h)[0], np.tanh(w[8:] @ x[0] + b[8:]), atol=1e-12)


def check_numpy_vs_torch():
    """The forecaster against the NumPy loop, 1e-12 in float64; the start keeps 0.73."""
    torch.manual_seed(0)
    net = Forecaster(2, 5).double()
    p = {k: v.detach().numpy() for k, v in net.named_parameters()}
    x = np.random.default_rng(11).standard_normal((9, 2))
    b_ih, b_hh = p["gru.bias_ih_l0"], p["gru.bias_hh_l0"]
    b = b_ih + np.concatenate([b_hh[:10], np.zeros(5)])
    h = gru(x, p["gru.weight_ih_l0"], p["gru.weight_hh_l0"], b, b_hh[10:])
    ours = x + h @ p["head.weight"].T + p["head.bias"]
    theirs = net(torch.from_numpy(x)[None])[0][0].detach().numpy()
    assert np.allclose(ours, theirs, atol=1e-12)
    assert np.allclose(sigmoid(b[5:10]), 0.731, atol=1e-3)


def check_worked_example():
    """Every number of the worked example, to the digits printed."""
    r, z = sigmoid(-1.0), sigmoid(1.0)
    assert np.allclose([r, z], [0.269, 0.731], atol=5e-4)
    before = 1.0 + r * 2.0 * 0.8
    assert np.isclose(before, 1.430, atol=5e-4)
    n = np.tanh(before)
    assert np.isclose(n, 0.892, atol=5e-4)
    h = z * 0.8 + (1 - z) * n
    assert np.isclose(h, 0.825, atol=5e-4)
    u = np.array([[0.0], [0.0], [2.0]])
    ours = gru(np.zeros((1, 1)), np.zeros((3, 1)), u, np.array([-1.0, 1.0, 1.0]), np.zeros(1),
               np.array([0.8]))
    assert np.isclose(ours[0, 0], h, atol=1e-14)
    assert np.isclose((1 - z) * 0.8 + z * n, 0.867, atol=5e-4)   # the other convention
    inner = np.tanh(1.0 + r * (2.0 * 0.8 + 1.0))
    outer = np.tanh(1.0 + 2.0 * r * 0.8 + 1.0)
    assert np.allclose([inner, outer], [0.935, 0.985], atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
