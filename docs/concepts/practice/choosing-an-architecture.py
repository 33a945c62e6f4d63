"""Twin of the page "Choosing an architecture": snippets, figures and checks."""
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from torch.utils.flop_counter import FlopCounterMode


# --8<-- [start:numpy]
def layer_cost(kind, n, d, k=5):
    """Weights and operations of one layer on n positions of width d, no biases.

    kind: "flat" (a dense layer on all n * d numbers), "token" (a dense layer on
    each position), "conv" (kernel size k, n outputs), "lstm", "attention" (with
    its four projections). A multiplication and an addition count as two.
    """
    weights = {"flat": (n * d) ** 2, "token": d**2, "conv": k * d**2,
               "lstm": 8 * d**2, "attention": 4 * d**2}[kind]
    if kind == "flat":
        return weights, 2 * weights          # each weight is used once
    operations = 2 * n * weights             # each weight is used n times
    if kind == "attention":
        operations += 4 * n**2 * d           # scores and weighted average
    return weights, operations


def relu(z):
    return np.maximum(z, 0)


def set_network(x, w1, w2):
    """f(X) = W2 times the mean over elements of relu(W1 x_i) (Zaheer et al., 2017).

    x: (n, d), the elements of one set; w1: (h, d); w2: (c, h). Returns (c,).
    """
    return relu(x @ w1.T).mean(axis=0) @ w2.T


def graph_layer(x, adj, w_self, w_nbr):
    """Each node adds its own map to the mean of its neighbors' (message passing).

    x: (n, d) node features, adj: (n, n) zeros and ones, no empty row;
    w_self, w_nbr: (h, d). Returns (n, h).
    """
    mean = adj @ x / adj.sum(axis=1, keepdims=True)
    return relu(x @ w_self.T + mean @ w_nbr.T)


def paired_difference(right_a, right_b):
    """Difference in accuracy of two models on the same m examples, and its error.

    right_a, right_b: (m,) booleans, True where the model is right.
    Returns the difference a - b and its estimated standard error.
    """
    diff = right_a.astype(float) - right_b.astype(float)
    return diff.mean(), diff.std() / np.sqrt(len(diff))
# --8<-- [end:numpy]


# --8<-- [start:torch]
class SetNetwork(torch.nn.Module):
    """Permutation-invariant network: the same map for each element, mean, readout."""

    def __init__(self, d, hidden, out):
        super().__init__()
        self.w1 = torch.nn.Linear(d, hidden, bias=False)
        self.w2 = torch.nn.Linear(hidden, out, bias=False)

    def forward(self, x):                        # x: (..., n, d)
        return self.w2(self.w1(x).relu().mean(dim=-2))


class GraphLayer(torch.nn.Module):
    """One round of message passing with the mean over the neighbors."""

    def __init__(self, d, hidden):
        super().__init__()
        self.w_self = torch.nn.Linear(d, hidden, bias=False)
        self.w_nbr = torch.nn.Linear(d, hidden, bias=False)

    def forward(self, x, adj):                   # x: (n, d), adj: (n, n)
        mean = adj @ x / adj.sum(dim=1, keepdim=True)
        return (self.w_self(x) + self.w_nbr(mean)).relu()


def count_parameters(module):
    """Number of trainable numbers in a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
# --8<-- [end:torch]


def _lstm_operations(n, d):
    """Counted operations of the matrix products of an LSTM, step by step."""
    cell = torch.nn.LSTMCell(d, d, bias=False)
    h, c = torch.zeros(1, d), torch.zeros(1, d)
    with FlopCounterMode(display=False) as counter:
        for x in torch.randn(n, 1, d):
            gates = x @ cell.weight_ih.T + h @ cell.weight_hh.T
            i, f, g, o = gates.chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
    return counter.get_total_flops()


def _attention_operations(n, d):
    """Counted operations of single-head self-attention with output projection."""
    w = torch.randn(4, d, d)
    x = torch.randn(n, d)
    with FlopCounterMode(display=False) as counter:
        q, k, v = x @ w[0], x @ w[1], x @ w[2]
        ((q @ k.T / d**0.5).softmax(dim=1) @ v) @ w[3]
    return counter.get_total_flops()


def _tables(kind, rows, rng, columns=10):
    """A table: the columns are independent standard normals, 2 or 3 of them matter.

    "linear": a weighted sum. "steps": an irregular function of thresholds on two
    columns. "rotated steps": the same after a random rotation of all columns.
    "smooth": a smooth function of two directions that involve all columns.
    """
    x = rng.standard_normal((rows, columns))
    z = x
    if kind in ("rotated steps", "smooth"):
        square = np.random.default_rng(7).standard_normal((columns, columns))
        z = x @ np.linalg.qr(square)[0]
    if kind == "linear":
        y = x[:, 0] - 0.7 * x[:, 1] + 0.5 * x[:, 2]
    elif kind == "smooth":
        y = np.sin(2 * z[:, 0]) + 0.5 * z[:, 1] ** 2
    else:
        levels = np.array([-1.5, -0.2, -1.2, 1.2, 0.2, 1.5])
        cuts = np.array([-1.0, -0.4, 0.0, 0.5, 1.1])
        y = (levels[np.searchsorted(cuts, z[:, 0])]
             + levels[np.searchsorted(cuts, z[:, 1])])
    y = (y - y.mean()) / y.std()
    return x, y + 0.3 * rng.standard_normal(rows)


TABLE_KINDS = ("linear", "steps", "rotated steps", "smooth")
_cache = {}


def _table_results(rows=2000, runs=3):
    """Mean test R squared of three models on the kinds of table."""
    if ("tables", runs) in _cache:
        return _cache["tables", runs]
    scores = {}
    for kind in TABLE_KINDS:
        for run in range(runs):
            rng = np.random.default_rng(run)
            x, y = _tables(kind, rows + 4000, rng)
            scale = StandardScaler().fit(x[:rows])
            models = {
                "linear model": Ridge(alpha=1.0),
                "boosted trees": HistGradientBoostingRegressor(random_state=run),
                "MLP": MLPRegressor(hidden_layer_sizes=(64, 64), early_stopping=True,
                                    max_iter=200, learning_rate_init=3e-3,
                                    random_state=run),
            }
            for name, model in models.items():
                model.fit(scale.transform(x[:rows]), y[:rows])
                r2 = model.score(scale.transform(x[rows:]), y[rows:])
                scores.setdefault((name, kind), []).append(r2)
    _cache["tables", runs] = {key: float(np.mean(v)) for key, v in scores.items()}
    return _cache["tables", runs]


def _train(model, x, y, steps=600, lr=5e-3):
    """Adam on the squared error, batches of 64."""
    opt = torch.optim.Adam(model.parameters(), lr=lr)
    gen = torch.Generator().manual_seed(0)
    for step in range(steps):
        for group in opt.param_groups:
            group["lr"] = lr * (1 - step / steps)
        i = torch.randint(len(x), (min(64, len(x)),), generator=gen)
        loss = (model(x[i]).squeeze(-1) - y[i]).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
    return model


class _SetMLP(torch.nn.Module):
    """A set network with biases and a nonlinear readout, for the experiment."""

    def __init__(self, hidden=64):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(1, hidden), torch.nn.ReLU(),
                                         torch.nn.Linear(hidden, hidden))
        self.outer = torch.nn.Sequential(torch.nn.Linear(hidden, hidden),
                                         torch.nn.ReLU(), torch.nn.Linear(hidden, 1))

    def forward(self, x):
        return self.outer(self.inner(x).mean(dim=-2))


def _set_results(sizes=(30, 100, 300, 1000, 3000), n=20, runs=3):
    """Test error (share of the variance) of two networks on a symmetric target.

    The target is the standard deviation of n numbers; the order is irrelevant.
    """
    if (sizes, runs) in _cache:
        return _cache[sizes, runs]
    out = {"MLP on the list": [], "set network": []}
    for size in sizes:
        errors = {name: [] for name in out}
        for run in range(runs):
            torch.manual_seed(run)
            x = torch.randn(size + 2000, n, 1) * torch.rand(size + 2000, 1, 1) * 2
            y = x.squeeze(-1).std(dim=1)
            mlp = torch.nn.Sequential(
                torch.nn.Flatten(), torch.nn.Linear(n, 64), torch.nn.ReLU(),
                torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
            for name, model in (("MLP on the list", mlp), ("set network", _SetMLP())):
                _train(model, x[:size], y[:size])
                with torch.no_grad():
                    mse = (model(x[size:]).squeeze(-1) - y[size:]).square().mean()
                errors[name].append(float(mse / y[size:].var()))
        for name in out:
            out[name].append(float(np.mean(errors[name])))
    _cache[sizes, runs] = out
    return out


def figure_assumptions():
    """Fit between assumption and data: three models on four tables; a set task."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1), width_ratios=[1.4, 1])
    scores = _table_results()
    ax = axes[0]
    for i, (name, hatch) in enumerate((("linear model", ""), ("boosted trees", "//"),
                                       ("MLP", "xx"))):
        heights = [scores[name, kind] for kind in TABLE_KINDS]
        ax.bar(np.arange(4) + 0.27 * (i - 1), heights, 0.25, color=f"C{i}",
               hatch=hatch, edgecolor="#222222", linewidth=0.6, label=name)
    ax.set_xticks(range(4), ["linear", "steps", "rotated\nsteps", "smooth"])
    ax.set_ylim(0, 1.35)
    ax.set_yticks(np.arange(0, 1.1, 0.2))
    ax.set_ylabel("test $R^2$")
    ax.set_xlabel("table")
    ax.legend(fontsize=9, loc="upper right", ncol=2, columnspacing=1)
    ax.grid(axis="x", visible=False)
    sizes = (30, 100, 300, 1000, 3000)
    result = _set_results(sizes)
    ax = axes[1]
    for i, (name, style) in enumerate((("MLP on the list", "o--"), ("set network", "s-"))):
        ax.loglog(sizes, result[name], style, color=f"C{i}", label=name)
    ax.set_xlabel("training sets")
    ax.set_ylabel("test error / variance")
    ax.legend(fontsize=9)
    return fig


def figure_cost():
    """Operations of one layer against the length, width 512."""
    d, k = 512, 5
    n = np.unique(np.round(np.geomspace(16, 16384, 60)).astype(int))
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    for i, (kind, label, style) in enumerate((
            ("flat", "dense on everything", ":"), ("attention", "self-attention", "-"),
            ("lstm", "LSTM", "--"), ("conv", "convolution, kernel 5", "-."))):
        ax.loglog(n, [layer_cost(kind, int(m), d, k)[1] for m in n], style,
                  color=f"C{i}", label=label)
    for m, kind, text, off in ((d // 2, "conv", "n = d/2", (8, -16)),
                               (2 * d, "lstm", "n = 2d", (8, -16))):
        y = layer_cost(kind, m, d, k)[1]
        ax.plot(m, y, "o", color="#222222", markersize=6)
        ax.annotate(text, (m, y), xytext=off, textcoords="offset points", fontsize=9)
    ax.set_xlabel("positions n (width d = 512)")
    ax.set_ylabel("operations of one layer")
    ax.set_ylim(1e7, 1e14)
    ax.legend(fontsize=9, loc="upper left")
    return fig


def check_arch_symmetry():
    """Equation (arch-symmetry): sets and graphs, random permutation; the MLP fails."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 4))
    p = np.eye(7)[rng.permutation(7)]
    w1, w2 = rng.standard_normal((9, 4)), rng.standard_normal((2, 9))
    assert np.allclose(set_network(p @ x, w1, w2), set_network(x, w1, w2), atol=1e-12)
    adj = (rng.random((7, 7)) < 0.4).astype(float)
    adj = np.maximum(np.maximum(adj, adj.T), np.roll(np.eye(7), 1, axis=1))
    u, v = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    left = graph_layer(p @ x, p @ adj @ p.T, u, v)
    assert np.allclose(left, p @ graph_layer(x, adj, u, v), atol=1e-12)
    assert not np.allclose(graph_layer(p @ x, adj, u, v), left)
    flat = rng.standard_normal((9, 28))
    assert not np.allclose(relu(flat @ (p @ x).ravel()), relu(flat @ x.ravel()))


def check_arch_parameters():
    """Equation (arch-parameters): against the sizes of PyTorch's own modules."""
    n, d, k = 6, 8, 5
    modules = {
        "flat": torch.nn.Linear(n * d, n * d, bias=False),
        "token": torch.nn.Linear(d, d, bias=False),
        "conv": torch.nn.Conv1d(d, d, k, padding="same", bias=False),
        "lstm": torch.nn.LSTM(d, d, bias=False),
        "attention": torch.nn.MultiheadAttention(d, 2, bias=False),
    }
    for kind, module in modules.items():
        assert layer_cost(kind, n, d, k)[0] == count_parameters(module), kind


def check_arch_operations():
    """Equation (arch-operations): against PyTorch's FLOP counter."""
    n, d, k = 24, 8, 5
    for kind, module, x in (
            ("flat", torch.nn.Linear(n * d, n * d, bias=False), torch.randn(1, n * d)),
            ("token", torch.nn.Linear(d, d, bias=False), torch.randn(n, d)),
            ("conv", torch.nn.Conv1d(d, d, k, padding="same", bias=False),
             torch.randn(1, d, n))):
        with FlopCounterMode(display=False) as counter:
            module(x)
        assert counter.get_total_flops() == layer_cost(kind, n, d, k)[1], kind
    assert _lstm_operations(n, d) == layer_cost("lstm", n, d)[1]
    assert _attention_operations(n, d) == layer_cost("attention", n, d)[1]


def check_arch_crossover():
    """Equation (arch-crossover): from counted operations on both sides of 2d."""
    d = 16
    for n in (d, 2 * d - 1, 2 * d, 2 * d + 1, 4 * d):
        attention, lstm = _attention_operations(n, d), _lstm_operations(n, d)
        assert (attention > lstm) == (n > 2 * d) and (attention == lstm) == (n == 2 * d)
        for k in (3, 4, 5, 9):
            conv = layer_cost("conv", n, d, k)[1]
            assert (attention > conv) == (n > (k - 4) * d / 2)
        assert attention > 2 * n * 2 * d**2      # a plain RNN is always cheaper


def check_arch_depth_width():
    """Equation (arch-depth-width): count a real stack and its activations."""
    for depth, width in ((4, 128), (16, 64), (64, 32)):
        net = torch.nn.Sequential(*(torch.nn.Linear(width, width, bias=False)
                                    for _ in range(depth)))
        weights = count_parameters(net)
        assert weights == 65536 and width == np.sqrt(weights / depth)
        stored, x = 0, torch.randn(1, width)
        for layer in net:
            x = layer(x)
            stored += x.numel()
        assert stored == np.sqrt(weights * depth)


def check_arch_memory():
    """Equation (arch-memory): bytes of weights, gradients and Adam's two moments."""
    net = torch.nn.Linear(50, 40)
    opt = torch.optim.Adam(net.parameters())
    net(torch.randn(3, 50)).sum().backward()
    opt.step()
    p = count_parameters(net)
    size = sum(q.nbytes + q.grad.nbytes for q in net.parameters())
    size += sum(v.nbytes for s in opt.state.values() for v in s.values() if v.numel() > 1)
    assert size == 16 * p and sum(q.nbytes for q in net.parameters()) == 4 * p


def check_arch_paired_variance():
    """Equation (arch-paired-variance): variance of the difference by sampling."""
    rng = np.random.default_rng(0)
    m, p10, p01 = 500, 0.06, 0.04
    draws = rng.multinomial(m, [p10, p01, 1 - p10 - p01], size=40000)
    diff = (draws[:, 0] - draws[:, 1]) / m
    exact = (p10 + p01 - (p10 - p01) ** 2) / m
    assert abs(diff.var() / exact - 1) < 0.03
    assert abs(diff.mean() - (p10 - p01)) < 2e-4
    # unpaired test sets of the same size, accuracies 0.90 and 0.88, for comparison
    unpaired = (0.90 * 0.10 + 0.88 * 0.12) / m
    assert exact < 0.55 * unpaired


def check_worked_example():
    """Numbers of the worked example."""
    n, d, k = 256, 512, 5
    assert [layer_cost(kind, n, d, k)[0] for kind in ("conv", "lstm", "attention")] == \
        [1310720, 2097152, 1048576]
    giga = [layer_cost(kind, n, d, k)[1] / 1e9 for kind in ("conv", "lstm", "attention")]
    assert np.allclose(giga, [0.671, 1.074, 0.671], atol=5e-4)
    assert layer_cost("conv", n, d, k)[1] == layer_cost("attention", n, d)[1]
    flat = layer_cost("flat", n, d)
    assert flat == (17179869184, 34359738368)
    share = 4 * n**2 * d / layer_cost("attention", n, d)[1]
    assert np.isclose(share, 0.2)
    long = [layer_cost(kind, 4096, d, k)[1] / 1e9 for kind in ("conv", "lstm", "attention")]
    assert np.allclose(long, [10.74, 17.18, 42.95], atol=5e-3)
    a = np.repeat([True, False, True], [40, 25, 935])
    b = np.repeat([False, True, True], [40, 25, 935])
    diff, se = paired_difference(a, b)
    assert np.isclose(diff, 0.015) and abs(se - 0.00805) < 1e-5
    assert abs(diff / se - 1.86) < 0.005
    assert 110e6 * 4 == 440e6 and 110e6 * 16 == 1.76e9


def check_numpy_torch():
    """The two set networks and graph layers agree to 1e-12 in float64."""
    torch.manual_seed(0)
    x = torch.randn(7, 4, dtype=torch.float64)
    net = SetNetwork(4, 9, 2).double()
    ours = set_network(x.numpy(), *(p.detach().numpy() for p in net.parameters()))
    assert np.allclose(ours, net(x).detach().numpy(), atol=1e-12)
    adj = torch.roll(torch.eye(7, dtype=torch.float64), 1, 1) + torch.ones(7, 7).triu(4)
    layer = GraphLayer(4, 3).double()
    ours = graph_layer(x.numpy(), adj.numpy(),
                       *(p.detach().numpy() for p in layer.parameters()))
    assert np.allclose(ours, layer(x, adj).detach().numpy(), atol=1e-12)


def check_tables():
    """The claims about the left panel of the figure, with one run."""
    s = _table_results(runs=1)
    linear, trees, mlp = "linear model", "boosted trees", "MLP"
    assert s[linear, "linear"] > s[mlp, "linear"] and s[linear, "linear"] > s[trees, "linear"]
    assert s[trees, "steps"] > max(s[linear, "steps"], s[mlp, "steps"]) + 0.2
    assert s[trees, "rotated steps"] < s[trees, "steps"] - 0.3
    assert abs(s[linear, "rotated steps"] - s[linear, "steps"]) < 0.05
    assert s[mlp, "smooth"] > max(s[linear, "smooth"], s[trees, "smooth"]) + 0.2


def check_sets():
    """The claims about the right panel of the figure, with one run."""
    r = _set_results((30, 3000), runs=1)
    assert r["set network"][0] < 0.5 * r["MLP on the list"][0]
    assert max(r["set network"][1], r["MLP on the list"][1]) < 0.015


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
