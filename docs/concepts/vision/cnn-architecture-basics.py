"""Twin of the page on convolutional networks end to end: its snippets, figures and numerical checks."""
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def conv(x, w, b):
    """Convolution, stride 1, no padding. x: (batch, c_in, h, w); w: (c_out, c_in, k, k)."""
    k = w.shape[-1]
    patches = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", patches, w) + b[:, None, None]


def max_pool(x):
    """2 x 2 windows, stride 2; height and width must be even."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))


def small_cnn(x, p):
    """LeNet-like classifier, equation (cnn-stage): two stages, then a dense head.

    x: (batch, 1, 28, 28); p: dictionary of weights and biases. Returns logits.
    """
    a = max_pool(np.maximum(conv(x, p["w1"], p["b1"]), 0))  # (batch, 6, 12, 12)
    a = max_pool(np.maximum(conv(a, p["w2"], p["b2"]), 0))  # (batch, 16, 4, 4)
    a = a.reshape(len(x), -1)                               # (batch, 256)
    a = np.maximum(a @ p["w3"].T + p["b3"], 0)
    return a @ p["w4"].T + p["b4"]


def layer_cost(c_in, c_out, k, size_out, groups=1):
    """Parameters and multiplications of one convolution, equation (cnn-cost)."""
    weights = c_out * (c_in // groups) * k * k
    return weights + c_out, weights * size_out**2
# --8<-- [end:numpy]


# --8<-- [start:torch]
def small_cnn_torch(classes=10):
    """The same network; height and width: 28 -> 24 -> 12 -> 8 -> 4."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, classes),
    )


def train(net, x, y, epochs=8, batch=32, rate=4e-3):
    """Minibatch training with Adam; x: (examples, 1, 28, 28), y: class numbers."""
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
    return net.eval()
# --8<-- [end:torch]


def alexnet_layers():
    """(name, c_in, c_out, kernel, output side, groups) as published; dense layers are kernels of full size."""
    return [("conv 1", 3, 96, 11, 55, 1), ("conv 2", 96, 256, 5, 27, 2), ("conv 3", 256, 384, 3, 13, 1),
            ("conv 4", 384, 384, 3, 13, 2), ("conv 5", 384, 256, 3, 13, 2), ("dense 6", 256, 4096, 6, 1, 1),
            ("dense 7", 4096, 4096, 1, 1, 1), ("dense 8", 4096, 1000, 1, 1, 1)]


def pictures(m, seed):
    """Generated data: disks, crosses, frames and diagonal bars at random places in noise."""
    rng = np.random.default_rng(seed)
    x, y = 0.3 * rng.normal(size=(m, 1, 28, 28)), np.arange(m) % 4
    r, c = np.mgrid[:9, :9] - 4
    shapes = [r**2 + c**2 <= 16, (np.abs(r) <= 1) | (np.abs(c) <= 1), np.maximum(abs(r), abs(c)) >= 3,
              np.abs(r - c) <= 1]
    for i in range(m):
        top, left = rng.integers(0, 20, 2)
        x[i, 0, top:top + 9, left:left + 9] += shapes[y[i]]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


# ---------------------------------------------------------------- figures
def figure_stages():
    """LeNet-5 as published: the maps shrink while their number grows."""
    stages = [("input", 1, 32), ("C1", 6, 28), ("S2", 6, 14), ("C3", 16, 10), ("S4", 16, 5), ("C5", 120, 1),
              ("F6", 84, 1), ("output", 10, 1)]
    fig, ax = plt.subplots(figsize=(6.4, 2.9))
    x = 0.0
    for name, maps, side in stages:
        drawn = min(maps, 6) if side > 1 else 1
        h = 0.11 * side + 0.12 if side > 1 else 0.016 * maps + 0.35
        w = 0.11 * side + 0.12 if side > 1 else 0.22
        for q in range(drawn - 1, -1, -1):
            ax.add_patch(plt.Rectangle((x + 0.14 * q, 2.1 - h / 2 - 0.09 * q), w, h, facecolor="#0061a80c",
                                       edgecolor="#0061a8" if name[0] in "CFo" else "#222222", linewidth=1.3,
                                       linestyle="--" if name[0] == "S" else "-"))
        width = w + 0.14 * (drawn - 1)
        label = f"{maps} of\n{side} × {side}" if side > 1 else f"{maps}"
        ax.text(x + width / 2, 4.85, name, ha="center", va="center", fontsize=10, fontweight="bold")
        ax.text(x + width / 2, 5.15, label, ha="center", va="top", fontsize=9)
        x += max(width, 0.9) + 0.75
    ax.set(xlim=(-0.3, x - 0.3), ylim=(6.3, -0.2), aspect="equal")
    ax.axis("off")
    return fig


def figure_cost():
    """AlexNet: share of parameters and of multiplications in each layer."""
    rows = alexnet_layers()
    cost = np.array([layer_cost(*row[1:]) for row in rows], dtype=float)
    share = 100 * cost / cost.sum(0)
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    at = np.arange(len(rows))
    ax.bar(at - 0.2, share[:, 0], 0.38, label="parameters", color="#0061a8")
    ax.bar(at + 0.2, share[:, 1], 0.38, label="multiplications", color="#c2410c", hatch="///", edgecolor="#ffffff80")
    ax.set_xticks(at, [row[0].replace(" ", "\n") for row in rows])
    ax.set(ylabel="share of the network (%)")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper left")
    return fig


# ---------------------------------------------------------------- checks
def _count(net):
    return sum(p.numel() for p in net.parameters())


def check_cnn_stage():
    """Equation (cnn-stage): NumPy and PyTorch give the same logits; the shapes of the comments."""
    torch.manual_seed(0)
    net = small_cnn_torch().double()
    names = ["w1", "b1", "w2", "b2", "w3", "b3", "w4", "b4"]
    p = {name: q.detach().numpy() for name, q in zip(names, net.parameters(), strict=True)}
    x = torch.randn(3, 1, 28, 28, dtype=torch.float64)
    assert np.allclose(small_cnn(x.numpy(), p), net(x).detach().numpy(), atol=1e-10)
    shapes = [tuple(net[:q](x).shape[1:]) for q in (3, 6, 7)]
    assert shapes == [(6, 12, 12), (16, 4, 4), (256,)]


def check_cnn_cost():
    """Equation (cnn-cost): parameters and multiplications counted by the library, groups included."""
    from torch.utils.flop_counter import FlopCounterMode
    for c_in, c_out, k, n, g in ((3, 8, 3, 12, 1), (4, 6, 5, 9, 2), (8, 8, 3, 7, 8)):
        layer = torch.nn.Conv2d(c_in, c_out, k, groups=g)
        parameters, products = layer_cost(c_in, c_out, k, n - k + 1, g)
        assert _count(layer) == parameters
        with FlopCounterMode(display=False) as counter:
            layer(torch.zeros(1, c_in, n, n))
        assert counter.get_total_flops() == 2 * products  # a multiplication and an addition each


def check_cnn_lenet():
    """Equation (cnn-lenet): the published LeNet-5 with its connection table, 60,000 parameters."""
    table = [3] * 6 + [4] * 9 + [6]  # number of S2 maps that each C3 map reads
    parts = [6 * (25 + 1), 6 * 2, sum(25 * q + 1 for q in table), 16 * 2, 120 * (16 * 25 + 1), 84 * (120 + 1)]
    assert parts == [156, 12, 1516, 32, 48120, 10164] and sum(parts) == 60_000
    connections = [parts[0] * 28**2, 6 * 14**2 * (4 + 1), parts[2] * 10**2, 16 * 5**2 * (4 + 1), parts[4], parts[5],
                   84 * 10]
    assert sum(connections) == 340_908
    with torch.device("meta"):  # the common modern reading: full connections, no weights in pooling, dense output
        modern = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 5), torch.nn.Conv2d(6, 16, 5), torch.nn.Linear(400, 120),
                                     torch.nn.Linear(120, 84), torch.nn.Linear(84, 10))
    assert _count(modern) == 61_706 and sum(p.numel() for p in modern[1].parameters()) == 2416


def check_cnn_alexnet():
    """Equation (cnn-alexnet): layer by layer, and as PyTorch counts it; shares quoted on the page."""
    cost = [layer_cost(*row[1:]) for row in alexnet_layers()]
    assert [c[0] for c in cost] == [34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000]
    nn = torch.nn
    with torch.device("meta"):
        net = nn.Sequential(
            nn.Conv2d(3, 96, 11, 4), nn.MaxPool2d(3, 2), nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), nn.Conv2d(384, 384, 3, padding=1, groups=2),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(9216, 4096),
            nn.Linear(4096, 4096), nn.Linear(4096, 1000))
        assert net(torch.zeros(1, 3, 227, 227)).shape == (1, 1000)
    total = sum(c[0] for c in cost)
    assert _count(net) == total == 60_965_224
    products = sum(c[1] for c in cost)
    dense = slice(5, 8)
    assert products == 724_406_816
    assert round(100 * sum(c[0] for c in cost[dense]) / total, 1) == 96.2
    assert round(100 * sum(c[1] for c in cost[dense]) / products, 1) == 8.1
    # without the two groups, and the later single-column variant (64, 192, 384, 256, 256)
    full = total + 256 * 48 * 25 + 384 * 192 * 9 + 256 * 192 * 9
    assert full == 62_378_344
    later = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3)]
    assert sum(o * (i * k * k + 1) for i, o, k in later) + sum(c[0] for c in cost[dense]) == 61_100_840


def check_alexnet_input_size():
    """224 does not fit the published 55 x 55 maps without padding; 227 does, or 224 with padding 2."""
    def size(n, p):
        return (n + 2 * p - 11) // 4 + 1
    assert (224 - 11) % 4 != 0 and size(224, 0) == 54
    assert size(227, 0) == 55 and (227 - 11) % 4 == 0 and size(224, 2) == 55


def check_cnn_receptive_fields():
    """Receptive fields quoted on the page, by the recursion of the page on convolution."""
    def field(stack):
        r = jump = 1
        for k, s in stack:
            r, jump = r + (k - 1) * jump, jump * s
        return r
    lenet = [(5, 1), (2, 2), (5, 1), (2, 2), (5, 1)]
    assert [field(lenet[:q]) for q in range(1, 6)] == [5, 6, 14, 16, 32]
    alexnet = [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]
    assert [field(alexnet[:q]) for q in (1, 3, 5, 6, 7, 8)] == [11, 51, 99, 131, 163, 195]


def check_cnn_constant_cost():
    """Equation (cnn-constant-cost): half the side and twice the channels keep the multiplications."""
    for c, m in ((64, 56), (128, 28)):
        a, b = layer_cost(c, c, 3, m), layer_cost(2 * c, 2 * c, 3, m // 2)
        assert a[1] == b[1] and b[0] - 2 * c == 4 * (a[0] - c)
        assert (2 * c) * (m // 2) ** 2 * 2 == c * m * m  # half as many activations


def check_cnn_gram():
    """Equation (cnn-gram): written out; unchanged when positions are shuffled, changed when channels are."""
    rng = np.random.default_rng(0)
    f = rng.normal(size=(4, 5, 6))
    def gram(a):
        return np.einsum("cij,dij->cd", a, a) / (a.shape[1] * a.shape[2])
    assert np.isclose(gram(f)[1, 3], sum(f[1, i, j] * f[3, i, j] for i in range(5) for j in range(6)) / 30)
    shuffled = f.reshape(4, -1)[:, rng.permutation(30)].reshape(f.shape)
    assert np.allclose(gram(shuffled), gram(f)) and not np.allclose(gram(f[::-1]), gram(f))
    assert np.allclose(gram(f), gram(f).T) and np.linalg.eigvalsh(gram(f)).min() > -1e-12


def check_cnn_worked_example():
    """Equation (cnn-worked-example): the page's small network, layer by layer."""
    net = small_cnn_torch()
    counts = [_count(net[q]) for q in (0, 3, 7, 9)]
    assert counts == [156, 2416, 16_448, 650] and sum(counts) == _count(net) == 19_670
    products = [layer_cost(1, 6, 5, 24)[1], layer_cost(6, 16, 5, 8)[1], 256 * 64, 64 * 10]
    assert products == [86_400, 153_600, 16_384, 640] and sum(products) == 257_024
    assert round(16_448 / 19_670, 2) == 0.84 and round(240_000 / 257_024, 2) == 0.93


def check_small_cnn_learns():
    """The page's experiment: four shapes at random places, 800 training pictures, over 90 % on new ones."""
    x, y = pictures(800, 0)
    test_x, test_y = pictures(400, 1)
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = train(small_cnn_torch(4), x, y)
        with torch.no_grad():
            accuracy = (net(test_x).argmax(1) == test_y).float().mean().item()
        assert accuracy > 0.9
    torch.manual_seed(0)
    untrained = (small_cnn_torch(4)(test_x).argmax(1) == test_y).float().mean().item()
    assert untrained < 0.5


def check_overfits_a_batch():
    """The sanity test of the page: a correct network drives the loss on one batch to nearly zero."""
    x, y = pictures(32, 0)
    torch.manual_seed(0)
    net = train(small_cnn_torch(4), x, y, epochs=60)
    assert F.cross_entropy(net(x), y).item() < 0.05


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
