"""Twin of the page on dropout: checks its expectations, identities and numbers."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Circle, PathPatch
from matplotlib.path import Path


# --8<-- [start:numpy]
def dropout(a, p, rng, training=True):
    """Inverted dropout with drop probability p; a has any shape.

    Every entry gets its own draw, so each example has its own mask. Returns the output
    and the scaled mask, which is also the derivative of the output.
    """
    if not training or p == 0.0:
        return a, np.ones_like(a)
    scaled_mask = (rng.random(a.shape) >= p) / (1.0 - p)  # kept with probability 1 - p
    return a * scaled_mask, scaled_mask


def dropout_backward(grad_output, scaled_mask):
    """Gradient for the input: the same mask and factor as in the forward pass."""
    return grad_output * scaled_mask


def spatial_dropout(a, p, rng):
    """Drop whole channels; a is (batch, channels, height, width)."""
    scaled_mask = (rng.random((*a.shape[:2], 1, 1)) >= p) / (1.0 - p)
    return a * scaled_mask


# --8<-- [end:numpy]


# --8<-- [start:torch]
def make_classifier(features: int, classes: int, p: float = 0.5) -> torch.nn.Sequential:
    """Two dense layers with dropout on the hidden layer; p is the drop probability."""
    return torch.nn.Sequential(
        torch.nn.Linear(features, 128),
        torch.nn.ReLU(),
        torch.nn.Dropout(p),  # active after model.train(), identity after model.eval()
        torch.nn.Linear(128, classes),
    )


def monte_carlo_predict(model: torch.nn.Module, x: torch.Tensor, samples: int = 50):
    """Mean and standard deviation of class probabilities over dropout masks.

    Only the dropout layers sample; batch normalization, if any, stays in eval mode.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.train()
    with torch.no_grad():
        draws = torch.stack([torch.softmax(model(x), dim=1) for _ in range(samples)])
    model.eval()
    return draws.mean(dim=0), draws.std(dim=0)


# --8<-- [end:torch]


def figure_thinning():
    """A full and a thinned network: crossed units are gone with their connections."""
    layers, dropped = (3, 5, 5, 2), {(1, 0), (1, 3), (2, 1), (2, 2), (2, 4), (0, 1)}
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2))
    for ax, gone, text in zip(
        axes, (set(), dropped), ("evaluation", "training, one example"), strict=True
    ):
        place = {
            (layer, k): (1.6 * layer, (size - 1) / 2 - k)
            for layer, size in enumerate(layers)
            for k in range(size)
        }
        for (layer, k), (x, y) in place.items():
            for j in range(layers[layer + 1] if layer + 1 < len(layers) else 0):
                if (layer, k) not in gone and (layer + 1, j) not in gone:
                    x2, y2 = place[layer + 1, j]
                    ax.plot([x, x2], [y, y2], color="#555555", linewidth=0.8, zorder=1)
        for node, (x, y) in place.items():
            off = node in gone
            ax.add_patch(
                Circle(
                    (x, y),
                    0.27,
                    facecolor="none" if off else "C0",
                    edgecolor="#555555" if off else "#222222",
                    linestyle="--" if off else "-",
                    linewidth=1.2,
                    zorder=2,
                )
            )
            if off:
                ax.plot(
                    x, y, "x", color="C1", markersize=11, markeredgewidth=2.2, zorder=3
                )
        for layer, name in enumerate(("input", "hidden 1", "hidden 2", "output")):
            ax.annotate(name, (1.6 * layer, -2.85), ha="center", fontsize=9)
        ax.annotate(text, (2.4, 2.6), ha="center")
        ax.set_xlim(-0.7, 5.5)
        ax.set_ylim(-3.1, 3.0)
        ax.set_aspect("equal")
        ax.axis("off")
    return fig


def figure_masks():
    """What dropout, spatial dropout and DropBlock remove from four feature maps."""
    rng = np.random.default_rng(5)
    size, channels, p = 7, 4, 0.3
    standard = rng.random((channels, size, size)) < p
    spatial = np.zeros((channels, size, size), bool)
    spatial[1] = True
    block = np.zeros((channels, size, size), bool)
    for channel, row, col in ((0, 1, 3), (1, 3, 0), (2, 0, 1), (2, 4, 4), (3, 3, 2)):
        block[channel, row : row + 3, col : col + 3] = True
    fig, axes = plt.subplots(3, channels, figsize=(6.4, 4.4))
    rows = (("dropout", standard), ("spatial\ndropout", spatial), ("DropBlock", block))
    for i, (name, mask) in enumerate(rows):
        for c in range(channels):
            ax = axes[i, c]
            cells = [
                Path([(k, r), (k + 1, r), (k + 1, r + 1), (k, r + 1), (k, r)])
                for r, k in np.argwhere(~mask[c])
            ]
            if cells:
                kept = Path.make_compound_path(*cells)
                ax.add_patch(PathPatch(kept, facecolor="C0", linewidth=0))
            rows_off, columns_off = np.nonzero(mask[c])
            ax.plot(columns_off + 0.5, rows_off + 0.5, "x", color="C1", markersize=4.5)
            for k in range(size + 1):
                ax.plot([k, k], [0, size], color="#555555", linewidth=0.7)
                ax.plot([0, size], [k, k], color="#555555", linewidth=0.7)
            ax.set_xlim(-0.1, size + 0.1)
            ax.set_ylim(size + 0.1, -0.1)
            ax.set_aspect("equal")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
            if c == 0:
                ax.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
            if i == 2:
                ax.set_xlabel(f"channel {c + 1}")
    return fig


def _masks(width):
    """All 2^width binary masks."""
    return np.array(list(itertools.product((0, 1), repeat=width)), dtype=float)


def _probabilities(masks, q):
    return np.prod(np.where(masks == 1, q, 1 - q), axis=1)


def _softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def check_dropout_mask():
    """Equation (dropout-mask): entries are 0 or a/q, and a fraction near q is kept."""
    rng = np.random.default_rng(0)
    a = rng.uniform(1, 2, (1000, 50))
    out, scaled = dropout(a, 0.2, rng)
    kept = out != 0
    assert np.allclose(out[kept], a[kept] / 0.8) and abs(kept.mean() - 0.8) < 0.01
    counts = kept.sum(axis=1)  # the number of kept units varies: binomial, not fixed
    assert abs(counts.mean() - 40) < 0.3 and abs(counts.var() - 50 * 0.8 * 0.2) < 1.0
    assert np.array_equal(dropout(a, 0.2, rng, training=False)[0], a)
    assert not np.array_equal(scaled[0], scaled[1])  # each example has its own mask


def check_dropout_moments():
    """Equation (dropout-moments): mean a, variance (p/q) a^2, by enumeration."""
    a, p = np.array([2.0, -1.0, 0.5]), 0.3
    q = 1 - p
    masks = _masks(3)
    weights, out = _probabilities(masks, q)[:, None], masks * a / q
    mean = np.sum(weights * out, axis=0)
    assert np.allclose(mean, a)
    assert np.allclose(np.sum(weights * (out - mean) ** 2, axis=0), p / q * a**2)


def check_dropout_weight_scaling():
    """Equation (dropout-weight-scaling): two conventions, the same networks."""
    rng = np.random.default_rng(0)
    a, W, q = rng.standard_normal(6), rng.standard_normal((4, 6)), 0.6
    m = rng.random(6) < q
    W_original = W / q  # the weights that the original formulation would learn
    assert np.allclose(W_original @ (m * a), W @ (m * a / q))  # training
    assert np.allclose((q * W_original) @ a, W @ a)  # test
    assert not np.allclose(W_original @ a, W @ a)  # forgetting the factor q


def check_dropout_backward():
    """Equation (dropout-backward): central differences with a fixed mask."""
    rng = np.random.default_rng(0)
    a, v = rng.standard_normal(8), rng.standard_normal(8)
    _, mask = dropout(a, 0.5, rng)
    assert 0 < np.count_nonzero(mask) < 8
    grad = dropout_backward(v * np.cos(a * mask), mask)
    for j in range(8):
        e = np.eye(8)[j] * 1e-6
        up, down = (
            np.sum(v * np.sin((a + e) * mask)),
            np.sum(v * np.sin((a - e) * mask)),
        )
        assert np.isclose((up - down) / 2e-6, grad[j], atol=1e-7)


def check_dropout_ridge():
    """Equation (dropout-ridge): expected error = error + data-scaled L2."""
    rng = np.random.default_rng(0)
    X, y, w, p = (
        rng.standard_normal((5, 4)),
        rng.standard_normal(5),
        rng.standard_normal(4),
        0.3,
    )
    q = 1 - p
    masks = _masks(4)
    prob = _probabilities(masks, q)
    expected = sum(
        np.sum(prob * (y_i - (masks * x_i / q) @ w) ** 2)
        for x_i, y_i in zip(X, y, strict=True)
    )
    penalty = p / q * np.sum(w**2 * np.sum(X**2, axis=0))
    assert np.isclose(expected, np.sum((y - X @ w) ** 2) + penalty, rtol=1e-12)
    assert penalty > 0.1


def check_dropout_geometric_mean():
    """Equation (dropout-geometric-mean): exact for softmax regression."""
    rng = np.random.default_rng(0)
    W, b, x, q = (
        rng.standard_normal((3, 5)),
        rng.standard_normal(3),
        rng.standard_normal(5),
        0.7,
    )
    masks = _masks(5)
    prob = _probabilities(masks, q)
    outputs = _softmax((masks * x / q) @ W.T + b)
    geometric = np.exp(prob @ np.log(outputs))
    geometric /= geometric.sum()
    full = _softmax(W @ x + b)
    assert np.allclose(geometric, full, atol=1e-12)
    arithmetic = prob @ outputs
    assert np.abs(arithmetic - full).max() > 1e-2  # another mean, another answer


def check_weight_scaling_needs_linearity():
    """Exact through linear hidden layers; only an approximation through a ReLU."""
    rng = np.random.default_rng(0)
    W1, W2 = rng.standard_normal((4, 3)), rng.standard_normal((3, 4))
    x, q = rng.standard_normal(3), 0.5
    masks_in, masks_hidden = _masks(3), _masks(4)
    prob = np.outer(_probabilities(masks_in, q), _probabilities(masks_hidden, q))
    gaps = {}
    for name, phi in (("linear", lambda z: z), ("relu", lambda z: np.maximum(z, 0))):
        hidden = phi((masks_in * x / q) @ W1.T)  # (8, 4)
        logits = np.einsum("ah,mh,oh->amo", hidden, masks_hidden / q, W2)
        log_mean = np.einsum("am,amo->o", prob, np.log(_softmax(logits)))
        geometric = np.exp(log_mean) / np.exp(log_mean).sum()
        gaps[name] = np.abs(geometric - _softmax(W2 @ phi(W1 @ x))).max()
    assert gaps["linear"] < 1e-12 and gaps["relu"] > 5e-3


def check_dropout_variance_shift():
    """Equation (dropout-variance-shift): variance in training mode, by sampling."""
    rng = np.random.default_rng(0)
    a = rng.exponential(1.0, 400_000) + 0.5  # mean 1.5, variance 1
    for p in (0.2, 0.5):
        out, _ = dropout(a, p, rng)
        assert np.isclose(out.mean(), 1.5, rtol=0.01)
        assert np.isclose(out.var(), (1.0 + p * 1.5**2) / (1 - p), rtol=0.02)


def check_dropout_whole_map():
    """Equation (dropout-whole-map): how rarely standard dropout removes a whole map."""
    rng = np.random.default_rng(0)
    a = np.ones((60_000, 1, 2, 2))
    out, _ = dropout(a, 0.5, rng)
    gone = np.mean(out.sum(axis=(2, 3)) == 0)
    assert np.isclose(gone, 0.5**4, rtol=0.05)
    spatial = spatial_dropout(a, 0.5, rng)
    assert np.isclose(np.mean(spatial.sum(axis=(2, 3)) == 0), 0.5, rtol=0.03)
    assert np.isclose(0.5**49, 1.8e-15, rtol=0.02)


def check_spatial_dropout():
    """Whole channels are 0 or a/q, in NumPy and in nn.Dropout2d."""
    rng = np.random.default_rng(0)
    a = rng.uniform(1, 2, (20, 8, 3, 3))
    torch.manual_seed(0)
    theirs = torch.nn.Dropout2d(0.25)(torch.tensor(a)).numpy()
    for out in (spatial_dropout(a, 0.25, rng), theirs):
        kept = (out != 0).all(axis=(2, 3))
        assert np.array_equal(kept, (out != 0).any(axis=(2, 3)))
        assert np.allclose(out[kept], a[kept] / 0.75) and 0.6 < kept.mean() < 0.9
    element = torch.nn.Dropout(0.25)(torch.tensor(a)).numpy() != 0
    assert (element.any(axis=(2, 3)) & ~element.all(axis=(2, 3))).mean() > 0.5


def check_numpy_equals_torch():
    """With PyTorch's own mask the outputs and gradients agree to 1e-12 (float64)."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    a = rng.uniform(1, 2, (6, 10))
    a_t = torch.tensor(a, requires_grad=True)
    out = torch.nn.functional.dropout(a_t, p=0.3, training=True)
    v = rng.standard_normal(a.shape)
    (out * torch.tensor(v)).sum().backward()
    mask = (out.detach().numpy() != 0) / 0.7
    assert np.allclose(out.detach().numpy(), a * mask, atol=1e-12)
    assert np.allclose(a_t.grad.numpy(), dropout_backward(v, mask), atol=1e-12)
    big = torch.nn.functional.dropout(torch.ones(200_000), p=0.3)
    ours, _ = dropout(np.ones(200_000), 0.3, rng)
    assert (
        abs((big == 0).double().mean().item() - 0.3) < 0.005
    )  # p is the drop probability
    assert abs(np.mean(ours == 0) - 0.3) < 0.005


def check_modes_and_monte_carlo():
    """train() samples, eval() does not; Monte Carlo rows sum to one and vary."""
    torch.manual_seed(0)
    model = make_classifier(5, 3)
    x = torch.randn(4, 5)
    model.train()
    assert not torch.allclose(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    mean, std = monte_carlo_predict(model, x, samples=200)
    assert (
        torch.allclose(mean.sum(dim=1), torch.ones(4), atol=1e-5) and std.min() > 1e-3
    )
    assert not any(m.training for m in model.modules())
    functional = torch.nn.functional.dropout(torch.ones(1000))
    assert 0 < functional.count_nonzero() < 1000  # training=True unless told otherwise


def check_worked_example():
    """The numbers of the worked example."""
    a, w, p = np.array([2.0, -1.0, 0.5, 3.0]), np.array([1.0, 2.0, -1.0, 0.5]), 0.25
    q, m = 0.75, np.array([1, 0, 1, 1])
    thinned = m * a / q
    assert np.allclose(thinned, [2.6667, 0, 0.6667, 4], atol=5e-5)
    assert np.isclose(w @ thinned, 4.0) and np.isclose(w @ a, 1.0)
    masks = _masks(4)
    prob, out = _probabilities(masks, q), (masks * a / q) @ w
    assert len(masks) == 16 and np.isclose(prob @ out, 1.0)
    assert np.isclose(prob @ (out - 1.0) ** 2, 3.5) and np.isclose(
        np.sqrt(3.5), 1.87, atol=5e-3
    )
    assert np.isclose(p / q * np.sum((w * a) ** 2), 3.5)
    assert np.allclose(w * m / q, [1.3333, 0, -1.3333, 0.6667], atol=5e-5)
    assert np.isclose(_probabilities(m[None], q)[0], 0.1055, atol=5e-5)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
