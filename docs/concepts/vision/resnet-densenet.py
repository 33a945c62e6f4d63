"""Twin of the page "ResNet, ResNeXt, DenseNet and ConvNeXt": its snippets, figures and numerical checks."""
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def relu(x):
    """Elementwise maximum with zero."""
    return np.maximum(x, 0)


def residual_block(x, w1, w2, ws=None, pre=False):
    """Blocks of two layers on the channel vectors of single pixels, without normalization.

    x: (pixels, c_in); w1: (width, c_in); w2: (c_out, width); ws: (c_out, c_in) or None.
    Original order (resnet-block): add, then ReLU. Pre-activation: ReLU, layer, twice.
    """
    shortcut = x if ws is None else x @ ws.T
    if pre:
        return shortcut + relu(relu(x) @ w1.T) @ w2.T
    return relu(shortcut + relu(x @ w1.T) @ w2.T)


def dense_block(x, weights):
    """DenseNet: every layer reads all earlier maps and appends its own (densenet-layer)."""
    for w in weights:  # shapes (growth, c0), (growth, c0 + growth), ...
        x = np.concatenate([x, relu(x) @ w.T], axis=1)
    return x
# --8<-- [end:numpy]


# --8<-- [start:torch]
class ResidualBlock(torch.nn.Module):
    """Basic block of He et al. (2016): conv, BN, ReLU, conv, BN, add, ReLU."""

    def __init__(self, c_in, c_out, stride=1):
        super().__init__()
        nn = torch.nn
        self.residual = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(c_out), nn.ReLU(),
            nn.Conv2d(c_out, c_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or c_in != c_out:  # projection only where shapes change
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x):
        """x: (batch, c_in, height, width)."""
        return torch.relu(self.shortcut(x) + self.residual(x))


class DenseLayer(torch.nn.Module):
    """Layer of DenseNet-BC: BN, ReLU, 1x1 to 4k, BN, ReLU, 3x3 to k, append."""

    def __init__(self, c_in, growth):
        super().__init__()
        nn = torch.nn
        self.new = nn.Sequential(
            nn.BatchNorm2d(c_in), nn.ReLU(),
            nn.Conv2d(c_in, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth), nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x):
        """x: (batch, c_in, height, width); returns c_in + growth channels."""
        return torch.cat([x, self.new(x)], dim=1)
# --8<-- [end:torch]


# ---------------------------------------------------------------- whole networks, for counting
def _conv_bn(c_in, c_out, k, stride=1, groups=1):
    return [torch.nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False), torch.nn.BatchNorm2d(c_out)]


class Bottleneck(torch.nn.Module):
    """1x1, 3x3 (with groups), 1x1; used for counting."""

    def __init__(self, c_in, width, stride=1, groups=1, c_out=None):
        super().__init__()
        c_out = c_out or 4 * width
        relu_ = torch.nn.ReLU()
        self.residual = torch.nn.Sequential(
            *_conv_bn(c_in, width, 1), relu_, *_conv_bn(width, width, 3, stride, groups), relu_,
            *_conv_bn(width, c_out, 1))
        change = stride != 1 or c_in != c_out
        self.shortcut = torch.nn.Sequential(*_conv_bn(c_in, c_out, 1, stride)) if change else torch.nn.Identity()

    def forward(self, x):
        """x: (batch, c_in, height, width)."""
        return torch.relu(self.shortcut(x) + self.residual(x))


def resnet(blocks, bottleneck=False, groups=1, base=64):
    """ResNet with projection shortcuts where shapes change (option B); ResNeXt with groups > 1."""
    layers, c = [*_conv_bn(3, 64, 7, 2), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2, 1)], 64
    for stage, repeats in enumerate(blocks):
        for q in range(repeats):
            stride = 2 if q == 0 and stage else 1
            if bottleneck:
                layers.append(Bottleneck(c, base * 2**stage, stride, groups, 256 * 2**stage))
                c = 256 * 2**stage
            else:
                layers.append(ResidualBlock(c, 64 * 2**stage, stride))
                c = 64 * 2**stage
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(c, 1000))


def densenet(blocks, growth=32, c=64):
    """DenseNet-BC for ImageNet with compression 1/2."""
    layers = [*_conv_bn(3, c, 7, 2), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2, 1)]
    for stage, repeats in enumerate(blocks):
        for _ in range(repeats):
            layers.append(DenseLayer(c, growth))
            c += growth
        if stage < len(blocks) - 1:
            layers += [torch.nn.BatchNorm2d(c), torch.nn.ReLU(), torch.nn.Conv2d(c, c // 2, 1, bias=False),
                       torch.nn.AvgPool2d(2)]
            c //= 2
    return torch.nn.Sequential(*layers, torch.nn.BatchNorm2d(c), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                               torch.nn.Flatten(), torch.nn.Linear(c, 1000))


def convnext_parameters(blocks=(3, 3, 9, 3), widths=(96, 192, 384, 768), classes=1000):
    """ConvNeXt, counted by formula: 7x7 depthwise, layer norm, 1x1 up and down, layer scale; biases included."""
    block = lambda c: (49 * c + c) + 2 * c + (4 * c * c + 4 * c) + (4 * c * c + c) + c  # noqa: E731
    total = (48 * widths[0] + widths[0]) + 2 * widths[0]  # 4 x 4 stem with stride 4, norm
    for a, b in itertools.pairwise(widths):
        total += 2 * a + (4 * a * b + b)                  # norm, 2 x 2 convolution with stride 2
    total += sum(n * block(c) for n, c in zip(blocks, widths, strict=True))
    return total + 2 * widths[-1] + widths[-1] * classes + classes


def _count(net):
    return sum(p.numel() for p in net.parameters())


def _conv_weights(net):
    return sum(m.weight.numel() for m in net.modules() if isinstance(m, torch.nn.Conv2d))


# ---------------------------------------------------------------- the degradation experiment
def degradation(depth, residual, steps=120, width=16, seed=0, rate=3e-3):
    """Training losses of a network with batch norm, plain or residual, on a fixed generated task; full batch."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(100 + seed)
    x = torch.randn(256, width, generator=g)
    y = ((x[:, :4].prod(1) > 0).long() + 2 * (x[:, 4] * x[:, 5] > 0).long())
    linear = lambda: torch.nn.Linear(width, width, bias=False)  # noqa: E731
    layers = torch.nn.ModuleList(torch.nn.ModuleList([linear(), torch.nn.BatchNorm1d(width)]) for _ in range(depth))
    for layer, _ in layers:
        torch.nn.init.normal_(layer.weight, std=math.sqrt(2 / width))
    head = torch.nn.Linear(width, 4)
    optimizer = torch.optim.Adam([*layers.parameters(), *head.parameters()], lr=rate)
    losses = []
    for _ in range(steps):
        h = x
        for first in range(0, depth, 2):
            (w1, n1), (w2, n2) = layers[first], layers[first + 1]
            z = n2(w2(torch.relu(n1(w1(h)))))
            h = torch.relu(h + z) if residual else torch.relu(z)
        loss = F.cross_entropy(head(h), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# ---------------------------------------------------------------- figures
def figure_degradation():
    """Training loss of shallow and deep networks, plain and residual."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9), sharey=True)
    for ax, residual, name in ((axes[0], False, "plain"), (axes[1], True, "residual")):
        for depth, style in ((6, "-"), (20, "--")):
            ax.plot(degradation(depth, residual), style, label=f"{depth} layers")
        ax.set(xlabel=f"step, {name} networks", yscale="log")
        ax.legend(loc="lower left")
    axes[0].set_ylabel("training loss")
    return fig


def _boxes(ax, x, labels, top=0.0):
    """A column of boxes with arrows between them; returns the last y."""
    y = top
    for label in labels:
        box = plt.Rectangle((x - 0.85, y), 1.7, 0.62, facecolor="#0061a818", edgecolor="#0061a8", linewidth=1.2)
        ax.add_patch(box)
        ax.text(x, y + 0.31, label, ha="center", va="center", fontsize=9)
        ax.annotate("", (x, y), (x, y - 0.38), arrowprops={"arrowstyle": "->", "color": "#222222"})
        y += 1.0
    return y - 0.38


def figure_blocks():
    """The original residual block, the pre-activation block, a bottleneck, and a dense layer."""
    fig, ax = plt.subplots(figsize=(6.4, 4.4))
    columns = (("original", ["3×3 conv", "norm, ReLU", "3×3 conv", "norm"], "+", "ReLU"),
               ("pre-activation", ["norm, ReLU", "3×3 conv", "norm, ReLU", "3×3 conv"], "+", None),
               ("bottleneck", ["1×1 down", "3×3 conv", "1×1 up"], "+", "ReLU"),
               ("dense layer", ["norm, ReLU", "1×1 to 4k", "norm, ReLU", "3×3 to k"], "concat", None))
    for q, (name, labels, join, last) in enumerate(columns):
        x = 3.0 * q
        end = _boxes(ax, x, labels)
        ax.plot([x, x], [-0.8, -0.35], color="#222222", linewidth=1.2)
        radius = 0.26 if join == "+" else 0.45
        ax.annotate("", (x, end + 0.4), (x, end), arrowprops={"arrowstyle": "->", "color": "#222222"})
        ax.add_patch(plt.Circle((x, end + 0.4 + radius), radius, facecolor="none", edgecolor="#c2410c", linewidth=1.6))
        ax.text(x, end + 0.4 + radius, join, ha="center", va="center", fontsize=13 if join == "+" else 8.5)
        side = x + 1.2
        ax.plot([x, side, side], [-0.6, -0.6, end + 0.4 + radius], color="#c2410c", linewidth=1.8, linestyle="--")
        ax.annotate("", (x + radius, end + 0.4 + radius), (side + 0.02, end + 0.4 + radius),
                    arrowprops={"arrowstyle": "->", "color": "#c2410c", "linestyle": "--", "linewidth": 1.8})
        after = end + 0.4 + 2 * radius
        if last:
            _boxes(ax, x, [last], after + 0.38)
            after += 1.0
        ax.annotate("", (x, after + 0.45), (x, after), arrowprops={"arrowstyle": "->", "color": "#222222"})
        ax.text(x, -1.15, name, ha="center", va="center", fontsize=10, fontweight="bold")
    ax.set(xlim=(-1.1, 10.5), ylim=(6.3, -1.5))
    ax.axis("off")
    return fig


# ---------------------------------------------------------------- checks
def check_resnet_block():
    """Equation (resnet-block): NumPy against 1x1 convolutions in PyTorch; zero residual gives the identity."""
    rng = np.random.default_rng(0)
    x, w1, w2, ws = (rng.normal(size=s) for s in ((10, 4), (7, 4), (5, 7), (5, 4)))
    image = torch.tensor(x.T.reshape(1, 4, 2, 5))
    conv = lambda a, w: F.conv2d(a, torch.tensor(w)[:, :, None, None])  # noqa: E731
    y = torch.relu(conv(image, ws) + conv(torch.relu(conv(image, w1)), w2))
    assert np.allclose(residual_block(x, w1, w2, ws), y[0].reshape(5, 10).T.numpy(), atol=1e-12)
    z = conv(image, ws) + conv(torch.relu(conv(torch.relu(image), w1)), w2)
    assert np.allclose(residual_block(x, w1, w2, ws, pre=True), z[0].reshape(5, 10).T.numpy(), atol=1e-12)
    zero = np.zeros((4, 7))
    assert np.array_equal(residual_block(relu(x), w1, zero), relu(x))       # original: identity on nonnegative maps
    assert not np.array_equal(residual_block(x, w1, zero), x)               # but not on negative entries
    assert np.array_equal(residual_block(x, w1, zero, pre=True), x)         # pre-activation: always
    torch.manual_seed(0)
    block = ResidualBlock(4, 4).double().eval()
    torch.nn.init.zeros_(block.residual[4].weight)                          # last batch-norm scale
    positive = torch.rand(1, 4, 5, 5, dtype=torch.float64)
    assert torch.equal(block(positive), positive)


def check_resnet_block_weights():
    """Equation (resnet-block-weights): basic block with C channels against a bottleneck with 4C outside, C inside."""
    with torch.device("meta"):
        for c in (16, 64):
            assert _conv_weights(ResidualBlock(c, c)) == 18 * c * c
            assert _conv_weights(Bottleneck(4 * c, c)) == 17 * c * c
            assert _conv_weights(ResidualBlock(4 * c, 4 * c)) == 288 * c * c


def check_parameter_counts():
    """The table of the page: parameters of whole networks, built on the meta device, and their output shape."""
    with torch.device("meta"):
        x = torch.zeros(1, 3, 224, 224)
        nets = {"r18": resnet((2, 2, 2, 2)), "r34": resnet((3, 4, 6, 3)), "r50": resnet((3, 4, 6, 3), True),
                "r101": resnet((3, 4, 23, 3), True), "x50": resnet((3, 4, 6, 3), True, 32, 128),
                "d121": densenet((6, 12, 24, 16))}
        assert all(net.eval()(x).shape == (1, 1000) for net in (nets["r18"], nets["d121"]))
    counts = {name: _count(net) for name, net in nets.items()}
    assert counts == {"r18": 11_689_512, "r34": 21_797_672, "r50": 25_557_032, "r101": 44_549_160, "x50": 25_028_904,
                      "d121": 7_978_856}
    assert convnext_parameters() == 28_589_128
    # weight layers on the main path: stem, blocks, classifier
    assert 1 + 2 * 8 + 1 == 18 and 1 + 3 * 16 + 1 == 50 and 1 + 2 * (6 + 12 + 24 + 16) + 3 + 1 == 121
    projections = sum(p.numel() for m in nets["r34"] if isinstance(m, ResidualBlock) for p in m.shortcut.parameters())
    assert counts["r34"] - projections == 21_623_848 and round(100 * projections / counts["r34"], 1) == 0.8


def _pre_activation_stack(depth, c, seed=0, scale=0.3):
    rng = np.random.default_rng(seed)
    return [(scale * rng.normal(size=(c, c)), scale * rng.normal(size=(c, c))) for _ in range(depth)]


def check_resnet_unrolled():
    """Equation (resnet-unrolled): holds for pre-activation blocks, fails with a ReLU after the addition."""
    rng = np.random.default_rng(0)
    blocks, x0 = _pre_activation_stack(6, 5), rng.normal(size=(3, 5))
    x, total, v, branches = x0, 0, relu(x0), 0
    for w1, w2 in blocks:
        f = relu(relu(x) @ w1.T) @ w2.T
        total, x = total + f, residual_block(x, w1, w2, pre=True)
        branches, v = branches + relu(v @ w1.T) @ w2.T, residual_block(v, w1, w2)
    assert np.allclose(x, x0 + total)
    assert not np.allclose(v, relu(x0) + branches)


def check_resnet_gradient():
    """Equation (resnet-gradient): transposed Jacobian of the branches plus the identity, by autograd."""
    blocks = [tuple(torch.tensor(w) for w in pair) for pair in _pre_activation_stack(4, 5)]
    x0 = torch.tensor(np.random.default_rng(1).normal(size=5))

    def branches(z):
        total = 0
        for w1, w2 in blocks:
            f = w2 @ torch.relu(w1 @ torch.relu(z))
            total, z = total + f, z + f
        return total

    jacobian = torch.autograd.functional.jacobian(branches, x0)
    target = torch.tensor(np.random.default_rng(2).normal(size=5))
    z = x0.clone().requires_grad_()
    (z + branches(z)).backward(target)
    assert torch.allclose(z.grad, target + jacobian.T @ target)
    assert not torch.allclose(z.grad, target)


def check_resnet_scaled_shortcut():
    """Equation (resnet-scaled-shortcut): the direct path through shortcuts scaled by 0.5 shrinks geometrically."""
    rng = np.random.default_rng(0)
    scales, x = rng.uniform(0.5, 1.5, 6), torch.tensor(rng.normal(size=5), requires_grad=True)
    z, weights = x, torch.tensor(rng.normal(size=(6, 5, 5)))
    constants = []
    for scale, w in zip(scales, weights, strict=True):
        f = (w @ torch.relu(z)).detach()  # the branch held fixed: only the direct path is left
        constants.append(f)
        z = scale * z + f
    z.sum().backward()
    assert torch.allclose(x.grad, torch.tensor(np.prod(scales)))
    direct = sum(np.prod(scales[i + 1:]) * f for i, f in enumerate(constants))
    assert torch.allclose(z, np.prod(scales) * x + direct)
    assert 0.5**54 < 1e-16  # the 54 blocks of a 110-layer network


def check_densenet_layer():
    """Equation (densenet-layer): the channels grow by k per layer; earlier maps are passed on unchanged."""
    rng = np.random.default_rng(0)
    c0, k = 6, 4
    x = rng.normal(size=(9, c0))
    weights = [rng.normal(size=(k, c0 + i * k)) for i in range(5)]
    y = dense_block(x, weights)
    assert y.shape == (9, c0 + 5 * k) and np.array_equal(y[:, :c0], x)
    by_hand = [x]
    for w in weights:
        by_hand.append(relu(np.concatenate(by_hand, axis=1)) @ w.T)
    assert np.allclose(y, np.concatenate(by_hand, axis=1))
    t = torch.tensor(x)
    for w in weights:
        t = torch.cat([t, F.linear(torch.relu(t), torch.tensor(w))], 1)
    assert np.allclose(y, t.numpy(), atol=1e-12)
    image = DenseLayer(8, 4)(torch.zeros(2, 8, 5, 5))
    assert image.shape == (2, 12, 5, 5)


def check_densenet_size():
    """Equation (densenet-size): connections of L layers, and weights of a dense block with bottlenecks."""
    for layers, c0, k in ((6, 64, 32), (4, 10, 12)):
        assert sum(range(1, layers + 1)) == layers * (layers + 1) // 2
        with torch.device("meta"):
            block = [DenseLayer(c0 + i * k, k) for i in range(layers)]
        pointwise = 4 * k * (layers * c0 + k * layers * (layers - 1) // 2)
        assert sum(map(_conv_weights, block)) == pointwise + 36 * k * k * layers
    # the table of the worked example: first block of DenseNet-121
    assert 4 * 32 * (6 * 64 + 32 * 15) + 36 * 32 * 32 * 6 == 331_776 and 64 + 6 * 32 == 256


def check_densenet_concat():
    """Equation (densenet-concat): a linear layer on a concatenation is a sum; addition is the case of tied weights."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 4)), rng.normal(size=(7, 4))
    wa, wb = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    both = np.concatenate([a, b], axis=1)
    assert np.allclose(both @ np.concatenate([wa, wb], axis=1).T, a @ wa.T + b @ wb.T)
    assert np.allclose(both @ np.concatenate([wa, wa], axis=1).T, (a + b) @ wa.T)


def check_resnext_groups():
    """Equation (resnext-weights): grouped bottleneck, counted; equal to a sum of parallel paths."""
    with torch.device("meta"):
        block = Bottleneck(256, 128, groups=32, c_out=256)
    assert _conv_weights(block) == 32 * (256 * 4 + 9 * 4 * 4 + 4 * 256) == 70_144
    assert 256 * 64 + 9 * 64 * 64 + 64 * 256 == 69_632
    torch.manual_seed(0)
    x = torch.randn(1, 6, 5, 5, dtype=torch.float64)
    down, mid, up = (torch.randn(*s, dtype=torch.float64) for s in ((8, 6, 1, 1), (8, 2, 3, 3), (6, 8, 1, 1)))
    grouped = F.conv2d(F.conv2d(F.conv2d(x, down), mid, padding=1, groups=4), up)
    paths = sum(F.conv2d(F.conv2d(F.conv2d(x, down[s]), mid[s], padding=1), up[:, s])
                for s in (slice(2 * q, 2 * q + 2) for q in range(4)))
    assert torch.allclose(grouped, paths)


check_resnext_weights = check_resnext_groups


def check_degradation():
    """The page's experiment: deep plain networks end at a higher training loss, deep residual ones do not."""
    last = lambda depth, residual: np.mean(degradation(depth, residual)[-10:])  # noqa: E731
    assert last(20, False) > 2 * last(6, False)
    assert last(20, True) < last(6, True) / 2


def check_resnet_worked_example():
    """Equation (resnet-worked-example): one block on two channels, original and pre-activation, and its gradient."""
    x = np.array([[1.0, -2.0]])
    w1, w2 = np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([[0.5, -1.0], [0.0, 1.0]])
    assert np.allclose(relu(x @ w1.T), [[0, 3]]) and np.allclose(relu(x @ w1.T) @ w2.T, [[-3, 3]])
    assert np.allclose(residual_block(x, w1, w2), [[0, 1]])
    assert np.allclose(relu(x), [[1, 0]]) and np.allclose(relu(relu(x) @ w1.T), [[1, 1]])
    assert np.allclose(residual_block(x, w1, w2, pre=True), [[0.5, -1]])
    f = lambda z: residual_block(z[None], w1, w2, pre=True)[0]  # noqa: E731
    jacobian = np.stack([(f(x[0] + e) - f(x[0] - e)) / 2e-6 for e in 1e-6 * np.eye(2)], axis=1)
    assert np.allclose(jacobian, [[0.5, 0], [1, 1]], atol=1e-6)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
