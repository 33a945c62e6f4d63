"""Twin of the page "Backpropagation through time (BPTT)": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def forward(x, w_x, w_h, b, h0):
    """States of a tanh RNN. x: (T, m). Returns (T + 1, d), row 0 is h0."""
    h = [h0]
    for row in x:
        h.append(np.tanh(w_x @ row + w_h @ h[-1] + b))
    return np.array(h)


def bptt(x, h, w_h, dh, chunk=None):
    """Gradients of a sum of losses by (truncated) backpropagation through time.

    x: (T, m); h: (T + 1, d) from forward; dh: (T, d), derivative of the loss of
    each step with respect to its state. With chunk = k no gradient crosses the
    borders after steps k, 2 k, ... Returns the gradients of w_x, w_h and b.
    """
    g_x = np.zeros((len(w_h), x.shape[1]))
    g_h, g_b = np.zeros_like(w_h), np.zeros(len(w_h))
    later = np.zeros(len(w_h))                       # arrives from step t + 1
    for t in range(len(x), 0, -1):
        if chunk and t % chunk == 0:
            later = np.zeros(len(w_h))               # the cut
        delta = (1 - h[t] ** 2) * (dh[t - 1] + later)
        g_x += np.outer(delta, x[t - 1])
        g_h += np.outer(delta, h[t - 1])             # summed: the weights are shared
        g_b += delta
        later = w_h.T @ delta
    return g_x, g_h, g_b
# --8<-- [end:numpy]


# --8<-- [start:torch]
def train_on_stream(rnn, head, loss_fn, optimizer, x, y, chunk, clip=1.0):
    """Truncated BPTT on one long batch. x: (batch, T, m); y: (batch, T, ...)."""
    state = None                                     # zero only where the stream begins
    for s in range(0, x.shape[1], chunk):
        out, state = rnn(x[:, s:s + chunk], state)
        loss = loss_fn(head(out), y[:, s:s + chunk])
        optimizer.zero_grad()
        loss.backward()
        params = [*rnn.parameters(), *head.parameters()]
        torch.nn.utils.clip_grad_norm_(params, clip)
        optimizer.step()
        # Keep the value, drop the graph. An LSTM's state is a pair of tensors.
        if isinstance(state, tuple):
            state = tuple(part.detach() for part in state)
        else:
            state = state.detach()
    return loss.item()
# --8<-- [end:torch]


def _problem(steps=12, m=3, d=4, seed=0):
    """Random RNN, inputs and targets for the loss 1/2 |h_t - y_t|^2 at every step."""
    rng = np.random.default_rng(seed)
    w_x, w_h = rng.standard_normal((d, m)), rng.standard_normal((d, d)) / d**0.5
    b, h0 = 0.1 * rng.standard_normal(d), 0.3 * rng.standard_normal(d)
    x, y = rng.standard_normal((steps, m)), rng.uniform(-1, 1, (steps, d))
    return x, y, w_x, w_h, b, h0


def _autograd(x, y, w_x, w_h, b, h0, chunk=None):
    """The same loss in PyTorch, with detach() after every chunk. Gradients of w_x, w_h, b."""
    p = [torch.from_numpy(v).requires_grad_() for v in (w_x, w_h, b)]
    h, loss = torch.from_numpy(h0), 0.0
    for t in range(len(x)):
        if chunk and t and t % chunk == 0:
            h = h.detach()
        h = torch.tanh(p[0] @ torch.from_numpy(x[t]) + p[1] @ h + p[2])
        loss = loss + 0.5 * ((h - torch.from_numpy(y[t])) ** 2).sum()
    return [g.numpy() for g in torch.autograd.grad(loss, p)], loss.item()


def _lag_norms(scale, steps=60, d=64, seeds=8):
    """Mean 2-norm of dh_T/dh_{T-lag} for lag 0 to steps, recurrent matrix scale * orthogonal."""
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        w = scale * np.linalg.qr(rng.standard_normal((d, d)))[0]
        h, diag = np.zeros(d), []
        for _ in range(steps):
            h = np.tanh(w @ h + 0.3 * rng.standard_normal(d))
            diag.append(1 - h**2)
        jac, norms = np.eye(d), [1.0]
        for slope in reversed(diag):
            jac = jac @ (slope[:, None] * w)
            norms.append(np.linalg.norm(jac, 2))
        rows.append(norms)
    return np.mean(rows, axis=0)


# The worked example: a linear unit h_t = w h_{t-1} + x_t with the target only at the end.
EX_W, EX_X, EX_Y = 0.5, (1.0, -0.8, 0.0), 1.0


def _linear_loss(w):
    h = 0.0
    for value in EX_X:
        h = w * h + value
    return 0.5 * (h - EX_Y) ** 2


def figure_graph():
    """Forward arrows, backward arrows, and the cut of truncation."""
    fig, ax = plt.subplots(figsize=(6.4, 2.7))
    for t in range(6):
        x = 1.5 * t
        for y, text, color in ((0, rf"$x_{t + 1}$", "#555555"), (1.3, rf"$h_{t + 1}$", "C0"),
                               (2.6, rf"$\ell_{t + 1}$", "#222222")):
            ax.add_patch(plt.Circle((x, y), 0.3, fill=False, ec=color, lw=1.8))
            ax.text(x, y, text, ha="center", va="center")
        ax.annotate("", (x, 1.0), (x, 0.3), arrowprops={"arrowstyle": "->", "color": "#222222"})
        ax.annotate("", (x - 0.07, 2.3), (x - 0.07, 1.6),
                    arrowprops={"arrowstyle": "->", "color": "#222222"})
        ax.annotate("", (x + 0.1, 1.6), (x + 0.1, 2.3),
                    arrowprops={"arrowstyle": "->", "color": "C1", "ls": "--", "lw": 1.6})
        if t < 5:
            ax.annotate("", (x + 1.2, 1.38), (x + 0.3, 1.38),
                        arrowprops={"arrowstyle": "->", "color": "C0", "lw": 1.8})
            if t != 2:
                ax.annotate("", (x + 0.28, 1.2), (x + 1.22, 1.2),
                            arrowprops={"arrowstyle": "->", "color": "C1", "ls": "--", "lw": 1.6})
    ax.plot([3.75, 3.75], [0.3, 1.3], color="C1", lw=2)
    ax.plot([3.64, 3.86], [1.1, 1.3], color="C1", lw=2)
    ax.plot([3.64, 3.86], [1.3, 1.1], color="C1", lw=2)
    ax.text(3.75, 0.1, "cut", ha="center", va="top", color="C1")
    ax.set_xlim(-0.4, 7.9)
    ax.set_ylim(-0.4, 3.0)
    ax.set_aspect("equal")
    ax.axis("off")
    return fig


def figure_lags():
    """Left: Jacobian norm by lag. Right: share of the terms at each lag that truncation keeps."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.0), width_ratios=[1.15, 1])
    for scale, style, color in ((0.8, "-", "C0"), (1.0, "--", "C2"), (1.5, ":", "C1")):
        axes[0].semilogy(_lag_norms(scale), style, color=color, label=f"scale {scale}")
    axes[0].set_xlabel("lag")
    axes[0].set_ylabel("norm of the Jacobian")
    axes[0].legend(fontsize=9)
    lag = np.arange(0, 41)
    for k, style, color in ((10, "-", "C0"), (20, "--", "C2"), (40, ":", "C1")):
        axes[1].plot(lag, np.maximum(0, 1 - lag / k), style, color=color, label=f"chunk {k}")
    axes[1].set_xlabel("lag")
    axes[1].set_ylabel("share of terms kept")
    axes[1].legend(fontsize=9)
    return fig


def check_bptt_delta():
    """Equation (bptt-delta): the recursion against autograd's gradient of the pre-activations."""
    x, y, w_x, w_h, b, h0 = _problem()
    h = forward(x, w_x, w_h, b, h0)
    later, deltas = np.zeros(4), []
    for t in range(12, 0, -1):
        deltas.append((1 - h[t] ** 2) * (h[t] - y[t - 1] + later))
        later = w_h.T @ deltas[-1]
    a, th, loss = [], torch.from_numpy(h0), 0.0
    for t in range(12):
        z = torch.from_numpy(w_x @ x[t] + b) + torch.from_numpy(w_h) @ th
        a.append(z.requires_grad_() if not z.requires_grad else z)
        th = torch.tanh(z)
        loss = loss + 0.5 * ((th - torch.from_numpy(y[t])) ** 2).sum()
    theirs = torch.autograd.grad(loss, a)
    assert np.allclose(deltas[::-1], torch.stack(theirs).numpy(), atol=1e-12)


def check_bptt_gradients():
    """Equation (bptt-gradients): against finite differences and autograd."""
    x, y, w_x, w_h, b, h0 = _problem()

    def loss(w_x, w_h, b):
        return 0.5 * ((forward(x, w_x, w_h, b, h0)[1:] - y) ** 2).sum()

    h = forward(x, w_x, w_h, b, h0)
    ours = bptt(x, h, w_h, h[1:] - y)
    for g, theirs in zip(ours, _autograd(x, y, w_x, w_h, b, h0)[0]):
        assert np.allclose(g, theirs, atol=1e-12)
    eps, rng = 1e-6, np.random.default_rng(1)
    for i, value in enumerate((w_x, w_h, b)):
        v = rng.standard_normal(value.shape)
        up, down = [w_x, w_h, b], [w_x, w_h, b]
        up[i], down[i] = value + eps * v, value - eps * v
        assert np.isclose((loss(*up) - loss(*down)) / (2 * eps), (ours[i] * v).sum(), rtol=1e-6)


def _lag_terms(x, y, w_h, h):
    """Contribution of every pair (loss step t, weight step s) to the gradient of w_h."""
    terms = {}
    for t in range(1, len(x) + 1):
        jac = np.eye(len(w_h))                       # dh_t / dh_s
        for s in range(t, 0, -1):
            slope = 1 - h[s] ** 2
            terms[t, s] = np.outer(slope * (jac.T @ (h[t] - y[t - 1])), h[s - 1])
            jac = jac @ (slope[:, None] * w_h)
    return terms


def check_bptt_lags():
    """Equation (bptt-lags): the sum over pairs of steps is the gradient; Jacobians by autograd."""
    x, y, w_x, w_h, b, h0 = _problem()
    h = forward(x, w_x, w_h, b, h0)
    terms = _lag_terms(x, y, w_h, h)
    assert np.allclose(sum(terms.values()), bptt(x, h, w_h, h[1:] - y)[1], atol=1e-12)

    def tail(start):
        for t in range(5, 12):
            start = torch.tanh(torch.from_numpy(w_x @ x[t] + b) + torch.from_numpy(w_h) @ start)
        return start

    jac = np.eye(4)
    for t in range(12, 5, -1):
        jac = jac @ ((1 - h[t] ** 2)[:, None] * w_h)
    theirs = torch.autograd.functional.jacobian(tail, torch.from_numpy(h[5]))
    assert np.allclose(jac, theirs.numpy(), atol=1e-12)


def check_bptt_bound():
    """Equation (bptt-bound): holds on random networks, and small norms force vanishing."""
    for scale in (0.5, 1.0, 2.0):
        x, y, w_x, w_h, b, h0 = _problem(steps=30)
        w_h = scale * w_h / np.linalg.norm(w_h, 2)
        h = forward(x, w_x, w_h, b, h0)
        jac = np.eye(4)
        for lag in range(1, 31):
            jac = jac @ ((1 - h[31 - lag] ** 2)[:, None] * w_h)
            assert np.linalg.norm(jac, 2) <= scale**lag * (1 + 1e-12)
        if scale == 0.5:
            assert np.linalg.norm(jac, 2) < 1e-9
    # A norm above 1 is not sufficient for explosion: saturation shrinks the product here.
    norms = _lag_norms(1.5, seeds=2)
    assert norms[-1] < 1.5**60 * 1e-3


def check_bptt_truncated():
    """Equation (bptt-truncated): pairs inside one chunk only; NumPy, pairs and detach agree."""
    x, y, w_x, w_h, b, h0 = _problem()
    h = forward(x, w_x, w_h, b, h0)
    terms = _lag_terms(x, y, w_h, h)
    full = bptt(x, h, w_h, h[1:] - y)[1]
    for k in (1, 3, 4, 6, 12):
        kept = sum(v for (t, s), v in terms.items() if (t - 1) // k == (s - 1) // k)
        ours = bptt(x, h, w_h, h[1:] - y, chunk=k)
        assert np.allclose(ours[1], kept, atol=1e-12)
        for g, theirs in zip(ours, _autograd(x, y, w_x, w_h, b, h0, chunk=k)[0]):
            assert np.allclose(g, theirs, atol=1e-12)
        assert np.allclose(ours[1], full, atol=1e-12) == (k == 12)


def check_bptt_fraction():
    """Equation (bptt-fraction): count the pairs of each lag inside chunks."""
    for k in (5, 20):
        chunks = 6
        for lag in range(0, k + 3):
            kept = sum(1 for t in range(1, chunks * k + 1)
                       if t - lag >= 1 and (t - 1) // k == (t - lag - 1) // k)
            assert kept / (chunks * k) == max(0.0, (k - lag) / k)
        mean_reach = np.mean([(t - 1) % k + 1 for t in range(1, chunks * k + 1)])
        assert np.isclose(mean_reach, (k + 1) / 2)


def check_bptt_random():
    """Equation (bptt-random): expectation over all 2^(T-1) cuts equals the full gradient."""
    x, y, w_x, w_h, b, h0 = _problem(steps=7)
    h, c = forward(x, w_x, w_h, b, h0), 0.3
    full, mean = bptt(x, h, w_h, h[1:] - y)[1], 0.0
    biased = 0.0
    for bits in range(2**6):
        keep = [(bits >> i) & 1 for i in range(6)]            # keep[t - 1]: between t and t + 1
        prob = np.prod([1 - c if v else c for v in keep])
        for compensate in (True, False):
            later, g = np.zeros(4), np.zeros((4, 4))
            for t in range(7, 0, -1):
                factor = 0.0 if t == 7 else keep[t - 1] / (1 - c if compensate else 1)
                delta = (1 - h[t] ** 2) * (h[t] - y[t - 1] + factor * later)
                g += np.outer(delta, h[t - 1])
                later = w_h.T @ delta
            if compensate:
                mean = mean + prob * g
            else:
                biased = biased + prob * g
    assert np.allclose(mean, full, atol=1e-12)
    assert np.abs(biased - full).max() > 0.05                 # without compensation: biased


def check_bptt_checkpoint():
    """Equation (bptt-checkpoint): the least memory over segment lengths, and equal gradients."""
    for steps in (100, 900, 10_000):
        cost = {k: steps // k + k for k in range(1, steps + 1) if steps % k == 0}
        assert min(cost, key=cost.get) == round(steps**0.5)
        assert min(cost.values()) == 2 * round(steps**0.5)
    x, y, w_x, w_h, b, h0 = _problem(steps=16)
    h = forward(x, w_x, w_h, b, h0)
    full, kept = bptt(x, h, w_h, h[1:] - y)[1], h[::4]        # states 0, 4, 8, 12, 16
    later, g = np.zeros(4), np.zeros((4, 4))
    for seg in range(3, -1, -1):
        part = forward(x[4 * seg:4 * seg + 4], w_x, w_h, b, kept[seg])   # computed again
        for t in range(4, 0, -1):
            delta = (1 - part[t] ** 2) * (part[t] - y[4 * seg + t - 1] + later)
            g += np.outer(delta, part[t - 1])
            later = w_h.T @ delta
    assert np.allclose(g, full, atol=1e-13)


def check_bptt_rtrl():
    """Equation (bptt-rtrl): forward sensitivities give the gradient of backpropagation."""
    x, y, w_x, w_h, b, h0 = _problem()
    h = forward(x, w_x, w_h, b, h0)
    d, sens, g = 4, np.zeros((4, 16)), np.zeros(16)           # dh_t / d vec(w_h), row-major
    for t in range(1, 13):
        direct = np.kron(np.eye(d), h[t - 1][None])           # d(W h)_i / dW_ij = h_j
        sens = (1 - h[t] ** 2)[:, None] * (w_h @ sens + direct)
        g += sens.T @ (h[t] - y[t - 1])
    assert np.allclose(g.reshape(4, 4), bptt(x, h, w_h, h[1:] - y)[1], atol=1e-12)


def check_figure_lags():
    """Numbers quoted for the figure: norms at lag 60 for the three scales."""
    ends = [_lag_norms(s)[-1] for s in (0.8, 1.0, 1.5)]
    assert ends[0] < 1e-8 and 1e-5 < ends[1] < 1e-3 and 10 < ends[2] < 500


def check_stream_training():
    """The training loop runs for RNN and LSTM and learns to echo the input of the step before."""
    for kind in (torch.nn.RNN, torch.nn.LSTM):
        torch.manual_seed(0)
        cell, head = kind(2, 16, batch_first=True), torch.nn.Linear(16, 2)
        opt = torch.optim.Adam([*cell.parameters(), *head.parameters()], lr=1e-2)
        x = torch.randn(8, 200, 2)
        y = torch.roll(x, 1, dims=1)
        mse = torch.nn.functional.mse_loss
        first = train_on_stream(cell, head, mse, opt, x, y, chunk=10)
        for _ in range(8):
            last = train_on_stream(cell, head, mse, opt, x, y, chunk=10)
        assert last < 0.5 * first


def check_worked_example():
    """Every number of the worked example, and that truncation moves the wrong way."""
    w, (x1, x2, x3) = EX_W, EX_X
    h1 = x1
    h2 = w * h1 + x2
    h3 = w * h2 + x3
    assert np.allclose([h1, h2, h3], [1.0, -0.3, -0.15])
    err = h3 - EX_Y
    assert np.isclose(err, -1.15)
    assert np.isclose(h2 + w * h1, 0.2)
    full, cut = err * (h2 + w * h1), err * h2
    assert np.isclose(full, -0.23) and np.isclose(cut, 0.345)
    eps = 1e-6
    assert np.isclose((_linear_loss(w + eps) - _linear_loss(w - eps)) / (2 * eps), full, atol=1e-8)
    assert np.isclose(_linear_loss(w), 0.66125)
    assert np.isclose(_linear_loss(w - 0.1 * full), 0.655365, atol=1e-6)
    assert np.isclose(_linear_loss(w - 0.1 * cut), 0.667833, atol=1e-6)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
