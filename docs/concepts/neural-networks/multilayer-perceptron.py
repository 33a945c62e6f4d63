"""Twin of the page "Multilayer perceptrons": the forward pass, its counts and its geometry."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch.utils.flop_counter import FlopCounterMode


# --8<-- [start:numpy]
def init_mlp(sizes, rng):
    """He initialization for sizes [n_0, ..., n_L]; a list of (W, b), W: (out, in)."""
    return [
        (rng.normal(size=(m, n)) * np.sqrt(2 / n), np.zeros(m))
        for n, m in zip(sizes, sizes[1:])
    ]


def forward(X, params):
    """Forward pass. X: (batch, n_0). Returns (batch, n_L), no output activation."""
    A = X
    for W, b in params[:-1]:
        A = np.maximum(A @ W.T + b, 0)  # hidden layer: (batch, n_l)
    W, b = params[-1]
    return A @ W.T + b


def count_parameters(sizes):
    """Weights and biases of a fully connected network."""
    return sum(m * (n + 1) for n, m in zip(sizes, sizes[1:]))


# --8<-- [end:numpy]


# --8<-- [start:torch]
def build_mlp(sizes):
    """The same network in torch: ReLU between the layers, none at the end."""
    layers = []
    for n, m in zip(sizes, sizes[1:]):
        layers += [torch.nn.Linear(n, m), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def count_parameters_torch(model):
    """Number of trainable parameters of any module."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


# --8<-- [end:torch]

CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
XOR_NET = [
    (np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([0.0, -1.0])),
    (np.array([[1.0, -2.0]]), np.array([0.0])),
]
EXAMPLE = [
    (np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]), np.array([0.0, 0.0, 1.0])),
    (np.array([[1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]), np.array([0.0, 1.0])),
]


def copy_to_torch(params):
    """A double-precision torch model with the given NumPy parameters."""
    model = build_mlp([params[0][0].shape[1]] + [len(b) for _, b in params]).double()
    linear = [m for m in model if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        for layer, (W, b) in zip(linear, params, strict=True):
            layer.weight.copy_(torch.tensor(W))
            layer.bias.copy_(torch.tensor(b))
    return model


def figure_shapes():
    """The matrices of a forward pass on a batch, drawn to scale."""
    fig, ax = plt.subplots(figsize=(6.4, 2.5))
    ax.set_axis_off()
    ax.set_aspect("equal")
    blue, orange, green = "#0061a8", "#c2410c", "#15803d"
    batch, n0, n1, n2, size = 4, 3, 5, 2, 0.36

    def grid(x, rows, cols, color, label, shape, hatch=None):
        top = rows * size / 2
        for i in range(rows):
            for j in range(cols):
                ax.add_patch(
                    Rectangle((x + j * size, top - (i + 1) * size), size, size, fc="none", ec=color, lw=1.1, hatch=hatch)
                )
        center = x + cols * size / 2
        ax.text(center, 1.02, label, ha="center", va="bottom", color=color, fontsize=11)
        ax.text(center, -1.02, shape, ha="center", va="top", fontsize=9)
        return x + cols * size

    def between(x, text, gap):
        ax.text(x + gap / 2, 0, text, ha="center", va="center", fontsize=11)
        return x + gap

    x = grid(0, batch, n0, blue, r"$\mathbf{A}^{[0]}=\mathbf{X}$", "batch × 3")
    x = between(x, "×", 0.46)
    x = grid(x, n0, n1, orange, r"$\mathbf{W}^{[1]\top}$", "3 × 5", "..")
    x = between(x, r"$+\,\mathbf{b}^{[1]\top},\ \phi$", 1.5)
    x = grid(x, batch, n1, green, r"$\mathbf{A}^{[1]}$", "batch × 5")
    x = between(x, "×", 0.46)
    x = grid(x, n1, n2, orange, r"$\mathbf{W}^{[2]\top}$", "5 × 2", "..")
    x = between(x, r"$+\,\mathbf{b}^{[2]\top}$", 1.15)
    x = grid(x, batch, n2, blue, r"$\mathbf{Z}^{[2]}$", "batch × 2")
    ax.set_xlim(-0.15, x + 0.15)
    ax.set_ylim(-1.45, 1.45)
    return fig


def figure_hidden():
    """XOR before and after the hidden layer: the two positive corners meet in one point."""
    blue, orange, gray = "#0061a8", "#c2410c", "#555555"
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.1))
    target = np.array([0, 1, 1, 0])
    hidden = np.maximum(CORNERS @ XOR_NET[0][0].T + XOR_NET[0][1], 0)
    g = np.linspace(-0.35, 1.35, 200)
    mesh = np.stack(np.meshgrid(g, g), axis=-1)
    out = forward(mesh.reshape(-1, 2), XOR_NET).reshape(200, 200)
    left.contourf(g, g, out, levels=[0.5, 9], colors=[blue], alpha=0.13)
    left.contour(g, g, out, levels=[0.5], colors=[gray], linewidths=1.5)
    line = np.array([-0.5, 3])
    right.fill_between(line, (line - 0.5) / 2, -1, color=blue, alpha=0.13, lw=0)
    right.plot(line, (line - 0.5) / 2, color=gray, lw=1.5)
    for ax, points in ((left, CORNERS), (right, hidden)):
        ax.plot(*points[target == 1].T, "o", color=blue, ms=10)
        ax.plot(*points[target == 0].T, "s", color=orange, ms=10)
    for p, name in zip(CORNERS, ("(0,0)", "(0,1)", "(1,0)", "(1,1)"), strict=True):
        left.annotate(name, p, xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9)
    for i, name, below in ((0, "(0,0)", 9), (1, "(0,1) and (1,0)", -18), (3, "(1,1)", 9)):
        right.annotate(name, hidden[i], xytext=(0, below), textcoords="offset points", ha="center", fontsize=9)
    left.set(xlim=(-0.35, 1.35), ylim=(-0.35, 1.35), xlabel="$x_1$", ylabel="$x_2$", xticks=[0, 1], yticks=[0, 1])
    right.set(xlim=(-0.4, 2.5), ylim=(-0.4, 1.5), xlabel="$h_1$", ylabel="$h_2$", xticks=[0, 1, 2], yticks=[0, 1])
    return fig


def check_mlp_layer():
    """Equation (mlp-layer): scalar loops against the vectorized forward pass."""
    rng = np.random.default_rng(0)
    params = [(W, rng.normal(size=len(b))) for W, b in init_mlp([4, 6, 5, 3], rng)]
    for x in rng.normal(size=(5, 4)):
        a = list(x)
        for depth, (W, b) in enumerate(params):
            z = [sum(W[i, j] * a[j] for j in range(len(a))) + b[i] for i in range(len(b))]
            a = z if depth == len(params) - 1 else [max(v, 0.0) for v in z]
        assert np.allclose(a, forward(x[None], params)[0], atol=1e-12)


def check_mlp_batch():
    """Equation (mlp-batch): rows of the batch do not influence each other."""
    rng = np.random.default_rng(0)
    params = [(W, rng.normal(size=len(b))) for W, b in init_mlp([4, 6, 3], rng)]
    X = rng.normal(size=(7, 4))
    W, b = params[0]
    assert np.allclose(X @ W.T + np.ones((7, 1)) @ b[None], [W @ x + b for x in X], atol=1e-12)
    assert forward(X, params).shape == (7, 3)
    assert np.allclose(forward(X, params), np.vstack([forward(x[None], params) for x in X]), atol=1e-12)


def check_mlp_parameters():
    """Equation (mlp-parameters): against torch, and the numbers of the page."""
    for sizes in ([3, 5, 2], [784, 128, 10], [10, 64, 64, 64, 1]):
        assert count_parameters(sizes) == count_parameters_torch(build_mlp(sizes))
        assert count_parameters(sizes) == sum(W.size + b.size for W, b in init_mlp(sizes, np.random.default_rng(0)))
    assert count_parameters([784, 128, 10]) == 101_770
    assert 784 * 128 + 128 == 100_480 and 128 * 10 + 10 == 1_290
    assert round(100 * 100_480 / 101_770, 1) == 98.7
    # width enters squared between hidden layers, depth linearly
    assert count_parameters([64, 256, 256, 10]) == 64 * 256 + 256 * 256 + 256 * 10 + 522
    assert count_parameters([64, 512, 512, 10]) > 3 * count_parameters([64, 256, 256, 10])


def check_mlp_cost():
    """Equation (mlp-cost): against PyTorch's counter (two operations per multiply-add)."""
    for sizes, batch in (([784, 128, 10], 1), ([20, 30, 40, 5], 16)):
        with FlopCounterMode(display=False) as counter:
            build_mlp(sizes)(torch.zeros(batch, sizes[0]))
        expected = batch * sum(n * m for n, m in zip(sizes, sizes[1:]))
        assert counter.get_total_flops() == 2 * expected
    assert 784 * 128 + 128 * 10 == 101_632


def check_mlp_local_affine():
    """Equation (mlp-local-affine): exact near a point, wrong across a kink."""
    rng = np.random.default_rng(0)
    (W1, b1), (W2, b2) = [(W, rng.normal(size=len(b))) for W, b in init_mlp([3, 8, 2], rng)]
    x = rng.normal(size=3)
    D = np.diag((W1 @ x + b1 > 0).astype(float))
    J, c = W2 @ D @ W1, W2 @ D @ b1 + b2
    for step in rng.normal(size=(20, 3)) * 1e-3:
        assert np.allclose(forward((x + step)[None], [(W1, b1), (W2, b2)])[0], J @ (x + step) + c, atol=1e-12)
    far = x + 10 * rng.normal(size=3)
    assert not np.allclose(forward(far[None], [(W1, b1), (W2, b2)])[0], J @ far + c, atol=1e-3)
    jac = torch.autograd.functional.jacobian(
        lambda t: copy_to_torch([(W1, b1), (W2, b2)])(t), torch.tensor(x)
    )
    assert np.allclose(J, jac.numpy(), atol=1e-12)


def check_mlp_permutation():
    """Equation (mlp-permutation): renaming hidden units leaves the function alone."""
    rng = np.random.default_rng(0)
    (W1, b1), (W2, b2) = [(W, rng.normal(size=len(b))) for W, b in init_mlp([3, 8, 2], rng)]
    X = rng.normal(size=(20, 3))
    P = np.eye(8)[rng.permutation(8)]
    renamed = [(P @ W1, P @ b1), (W2 @ P.T, b2)]
    assert not np.allclose(P @ W1, W1)
    assert np.allclose(forward(X, renamed), forward(X, [(W1, b1), (W2, b2)]), atol=1e-12)
    # permuting one side only is another function
    assert not np.allclose(forward(X, [(P @ W1, P @ b1), (W2, b2)]), forward(X, renamed))


def check_mlp_convex():
    """Equation (mlp-convex): three step units and one more make a triangle."""
    rng = np.random.default_rng(0)
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [1.0, 3.0]])
    W, b = [], []
    for p, q in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        normal = np.array([p[1] - q[1], q[0] - p[0]])  # left of the edge is inside
        W.append(normal)
        b.append(-normal @ p)
    X = rng.uniform(-1, 5, size=(5000, 2))
    h = (X @ np.array(W).T + np.array(b) > 0).astype(float)
    inside = h.sum(axis=1) - 3 + 0.5 > 0
    # barycentric coordinates as the reference
    T = np.vstack([corners.T, np.ones(3)])
    bary = np.linalg.solve(T, np.vstack([X.T, np.ones(len(X))]))
    assert (inside == (bary > 0).all(axis=0)).all()
    assert 0.1 < inside.mean() < 0.5


def check_figure_hidden():
    """The hidden layer of the figure maps the four corners to three points; the output is XOR."""
    hidden = np.maximum(CORNERS @ XOR_NET[0][0].T + XOR_NET[0][1], 0)
    assert (hidden == [[0, 0], [1, 0], [1, 0], [2, 1]]).all()
    assert (forward(CORNERS, XOR_NET)[:, 0] == [0, 1, 1, 0]).all()


def check_mlp_example():
    """Equation (mlp-example): the worked example with its 17 parameters and 12 products."""
    X = np.array([[1.0, 2.0], [2.0, -1.0]])
    Z1 = X @ EXAMPLE[0][0].T + EXAMPLE[0][1]
    assert (Z1 == [[1, 2, 0], [2, -1, 4]]).all()
    Z2 = forward(X, EXAMPLE)
    assert (Z2 == [[3, -1], [2, 5]]).all()
    p = np.exp(Z2) / np.exp(Z2).sum(axis=1, keepdims=True)
    assert np.allclose(p[:, 0], [0.982, 0.047], atol=5e-4)
    assert count_parameters([2, 3, 2]) == 17 and 2 * 3 + 3 * 2 == 12


def check_numpy_equals_torch():
    """Equal weights give equal outputs to 1e-12 in float64."""
    rng = np.random.default_rng(0)
    params = [(W, rng.normal(size=len(b))) for W, b in init_mlp([10, 32, 16, 3], rng)]
    X = rng.normal(size=(11, 10))
    with torch.no_grad():
        Z = copy_to_torch(params)(torch.tensor(X)).numpy()
    assert np.allclose(forward(X, params), Z, rtol=0, atol=1e-12)


def check_pytorch_default_bias_is_not_zero():
    """As the page says of nn.Linear in PyTorch 2.13: uniform, bounded by 1/sqrt(n_in)."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(100, 400)
    for p in (layer.weight, layer.bias):
        assert p.abs().max() <= 0.1 and p.abs().max() > 0.09 and abs(p.std() - 0.1 / 3**0.5) < 0.005


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
