"""Twin of the page "Pooling": its snippets, figures and numerical checks."""
import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def windows(x, k, stride):
    """All k x k windows of x (channels, height, width): (channels, h, w, k * k)."""
    w = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))
    w = w[:, ::stride, ::stride]
    return w.reshape(*w.shape[:3], k * k)


def pool(x, k, stride, how):
    """Max or average pooling without padding, equation (pool-max-average)."""
    w = windows(x, k, stride)
    return w.max(axis=-1) if how == "max" else w.mean(axis=-1)


def pool_backward(x, delta, k, stride, how):
    """Gradient for x, given delta = dloss/dy; equation (pool-gradients)."""
    grad = np.zeros_like(x)
    first = windows(x, k, stride).argmax(axis=-1)  # the first maximum wins a tie
    for c, i, j in np.ndindex(delta.shape):
        top, left = stride * i, stride * j
        if how == "max":
            u, v = divmod(first[c, i, j], k)
            grad[c, top + u, left + v] += delta[c, i, j]
        else:
            grad[c, top:top + k, left:left + k] += delta[c, i, j] / k**2
    return grad


def global_average_pool(x):
    """One number per channel, equation (pool-global)."""
    return x.mean(axis=(1, 2))
# --8<-- [end:numpy]


# --8<-- [start:torch]
def pool_torch(x, k, stride, how):
    """The library's layers; x: (channels, height, width)."""
    functional = torch.nn.functional
    layer = functional.max_pool2d if how == "max" else functional.avg_pool2d
    return layer(x[None], k, stride)[0]


def pool_backward_torch(x, delta, k, stride, how):
    """The same gradient by automatic differentiation."""
    x = x.clone().requires_grad_()
    pool_torch(x, k, stride, how).backward(delta)
    return x.grad


def global_average_pool_torch(x):
    """Adaptive pooling to one output per channel accepts every input size."""
    return torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)  # batch first
# --8<-- [end:torch]


EXAMPLE = np.array([[1.0, 3, 0, 0], [2, 4, 0, 2], [0, 1, 5, 5], [1, 0, 1, 1]])


# ---------------------------------------------------------------- figures
def _table(ax, values, x0, y0, size=1.0, form="{:g}", strong=(), edges=2, font=10):
    """Numbers in cells; every `edges` cells a thick line; cells in `strong` are hatched and bold."""
    h, w = values.shape
    for (i, j), v in np.ndenumerate(values):
        on = (i, j) in strong
        ax.add_patch(plt.Rectangle((x0 + j * size, y0 + i * size), size, size, edgecolor="#222222", linewidth=0.6,
                                   facecolor="#0061a840" if on else "none", hatch="//" if on else None))
        ax.text(x0 + (j + 0.5) * size, y0 + (i + 0.5) * size, form.format(v), ha="center", va="center", fontsize=font,
                fontweight="bold" if on else "normal")
    for q in range(0, h + 1, edges):
        ax.plot([x0, x0 + w * size], [y0 + q * size] * 2, color="#222222", linewidth=1.8)
    for q in range(0, w + 1, edges):
        ax.plot([x0 + q * size] * 2, [y0, y0 + h * size], color="#222222", linewidth=1.8)


def figure_routes():
    """The worked example: outputs of max, average and global average pooling, and the gradients they send back."""
    x = EXAMPLE[None]
    fig, ax = plt.subplots(figsize=(6.4, 4.6))
    _table(ax, EXAMPLE, 0, 1.5)
    ax.text(2, 0.9, "input", ha="center", fontsize=10)
    ones = np.ones((1, 2, 2))
    rows = (("max", pool(x, 2, 2, "max")[0], pool_backward(x, ones, 2, 2, "max")[0]),
            ("average", pool(x, 2, 2, "avg")[0], pool_backward(x, ones, 2, 2, "avg")[0]),
            ("global average", global_average_pool(x)[:, None], np.full((4, 4), 1 / 16)))
    for q, (name, y, g) in enumerate(rows):
        px = 5.6 + 5.0 * q
        size = 1.0 if q < 2 else 1.5
        _table(ax, y, px + 2 - y.shape[1] * size / 2, 2.5 - y.shape[0] * size / 2, size, edges=1, form="{:.4g}")
        ax.text(px + 2, 0.9, name, ha="center", fontsize=10)
        form = "{:g}" if q < 2 else "1/16"
        cell = 1.0 if q < 2 else 1.2
        _table(ax, g, px + 2 - 2 * cell, 4.4, cell, form=form if q != 1 else "1/4",
               strong={tuple(p) for p in np.argwhere(g == 1)},
               edges=2 if q < 2 else 4, font=10 if q < 2 else 9)
    ax.text(2, 6.5, "gradient for the\ninput when every\noutput receives 1", ha="center", va="center", fontsize=10)
    ax.set(xlim=(-0.2, 20.2), ylim=(9.4, 0.4), aspect="equal")
    ax.axis("off")
    return fig


def detection(m, n=64, energy=3.0, trials=4000, seed=0):
    """Probability that a window with signal scores above one without, for average and for max pooling.

    m of the n values carry the signal; its energy m * a**2 = energy**2 is the same for every m; noise variance 1.
    """
    rng = np.random.default_rng(seed)
    with_signal, without = rng.normal(size=(trials, n)), rng.normal(size=(trials, n))
    with_signal[:, :m] += energy / np.sqrt(m)
    def ranks(a, b):
        return np.searchsorted(np.sort(b), a).mean() / len(b)
    return ranks(with_signal.mean(1), without.mean(1)), ranks(with_signal.max(1), without.max(1))


def figure_sparsity():
    """Detection by average and max pooling against the number of active positions."""
    ms = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])
    avg, top = np.array([detection(m) for m in ms]).T
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    ax.plot(ms, avg, "o-", label="average pooling")
    ax.plot(ms, top, "s--", label="max pooling")
    ax.axhline(0.5, color="#555555", linestyle=":", linewidth=1)
    ax.text(64, 0.515, "chance", ha="right", fontsize=9)
    ax.set(xscale="log", xlabel="active positions of 64 (equal total energy)", ylabel="probability of correct order",
           ylim=(0.45, 1.02))
    ax.set_xticks([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32, 64])
    ax.minorticks_off()
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.12))
    return fig


# ---------------------------------------------------------------- checks
def check_pool_max_average():
    """Equation (pool-max-average): index by index; NumPy and PyTorch agree, overlapping windows included."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 9, 8))
    for k, s, how in itertools.product((2, 3), (1, 2, 3), ("max", "avg")):
        y = pool(x, k, s, how)
        for c, i, j in np.ndindex(y.shape):
            window = [x[c, s * i + u, s * j + v] for u in range(k) for v in range(k)]
            assert np.isclose(y[c, i, j], max(window) if how == "max" else sum(window) / k**2)
        t = pool_torch(torch.tensor(x), k, s, how).numpy()
        assert t.shape == y.shape and np.allclose(t, y, atol=1e-12)
        assert y.shape[1] == (9 - k) // s + 1 and y.shape[2] == (8 - k) // s + 1


def check_pool_global():
    """Equation (pool-global): the mean of each map, for several input sizes; invariant under circular shifts."""
    rng = np.random.default_rng(0)
    for h, w in ((4, 4), (7, 5), (1, 9)):
        x = rng.normal(size=(3, h, w))
        y = [sum(x[c, i, j] for i in range(h) for j in range(w)) / (h * w) for c in range(3)]
        assert np.allclose(global_average_pool(x), y)
        assert np.allclose(global_average_pool_torch(torch.tensor(x)[None])[0].numpy(), y)
        assert np.allclose(global_average_pool(np.roll(x, (1, 2), (1, 2))), y)


def check_pool_average_is_convolution():
    """Equation (pool-average-is-convolution): a depthwise convolution with constant weights; max is not linear."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(1, 4, 9, 9)))
    for k, s in ((2, 2), (3, 2), (3, 1)):
        w = torch.full((4, 1, k, k), 1 / k**2, dtype=torch.float64)
        assert torch.allclose(F.conv2d(x, w, stride=s, groups=4), F.avg_pool2d(x, k, s))
    y = torch.tensor(rng.normal(size=(1, 4, 9, 9)))
    assert not torch.allclose(F.max_pool2d(x + y, 2), F.max_pool2d(x, 2) + F.max_pool2d(y, 2))


def check_pool_power_mean():
    """Equation (pool-power-mean): p = 1 is the average, large p approaches the maximum, and it grows with p."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, size=(200, 9))
    def mean(p):
        return (x**p).mean(1) ** (1 / p)
    assert np.allclose(mean(1), x.mean(1))
    assert np.abs(mean(500.0) - x.max(1)).max() < 0.01
    values = [mean(p) for p in (1, 2, 3, 8, 50)]
    assert all((b >= a - 1e-12).all() for a, b in itertools.pairwise(values))
    assert (mean(3) <= x.max(1)).all()


def check_pool_monotone():
    """Equation (pool-monotone): increasing functions commute with max pooling, not with average pooling."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(2, 3, 8, 8)))
    for f in (torch.relu, torch.tanh, torch.sigmoid):
        assert torch.equal(f(F.max_pool2d(x, 2)), F.max_pool2d(f(x), 2))
        assert not torch.allclose(f(F.avg_pool2d(x, 2)), F.avg_pool2d(f(x), 2))
    gelu = F.gelu  # not monotone: the order matters
    assert not torch.allclose(gelu(F.max_pool2d(x, 2)), F.max_pool2d(gelu(x), 2))


def check_pool_gradients():
    """Equation (pool-gradients): against autograd and finite differences, overlapping windows included."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 7))
    for k, s, how in itertools.product((2, 3), (1, 2), ("max", "avg")):
        delta = rng.normal(size=pool(x, k, s, how).shape)
        g = pool_backward(x, delta, k, s, how)
        auto = pool_backward_torch(torch.tensor(x), torch.tensor(delta), k, s, how).numpy()
        assert np.allclose(g, auto, atol=1e-12)
        for _ in range(10):
            at = tuple(int(rng.integers(q)) for q in x.shape)
            e = np.zeros_like(x)
            e[at] = 1e-6
            slope = ((pool(x + e, k, s, how) - pool(x - e, k, s, how)) * delta).sum() / 2e-6
            assert abs(slope - g[at]) < 1e-6
    # global average pooling: the same value everywhere
    t = torch.tensor(x)[None].requires_grad_()
    global_average_pool_torch(t).backward(torch.tensor([[3.0, -2.0]], dtype=torch.float64))
    assert torch.allclose(t.grad[0, 0], torch.tensor(3 / 49, dtype=torch.float64))
    assert torch.allclose(t.grad[0, 1], torch.tensor(-2 / 49, dtype=torch.float64))


def check_pool_gradient_size():
    """Equation (pool-gradient-size): sum and Euclidean norm of one window's gradient."""
    rng = np.random.default_rng(0)
    for k in (2, 3, 7):
        x, delta = rng.normal(size=(1, k, k)), np.full((1, 1, 1), -1.7)
        top, mean = (pool_backward(x, delta, k, k, how) for how in ("max", "avg"))
        assert np.isclose(top.sum(), -1.7) and np.isclose(mean.sum(), -1.7)
        assert np.isclose(np.linalg.norm(top), 1.7) and np.isclose(np.linalg.norm(mean), 1.7 / k)


def check_ties():
    """At a tie max_pool2d passes the gradient to one entry, torch.amax splits it evenly."""
    x = torch.ones(1, 1, 2, 2, requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    assert sorted(x.grad.ravel().tolist()) == [0, 0, 0, 1] and x.grad[0, 0, 0, 0] == 1
    y = torch.ones(1, 1, 2, 2, requires_grad=True)
    y.amax((-2, -1)).sum().backward()
    assert y.grad.ravel().tolist() == [0.25] * 4


def check_pool_class_map():
    """Equation (pool-class-map): a linear head after global average pooling is the mean of a map of scores."""
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(5, 6, 7)), rng.normal(size=(3, 5)), rng.normal(size=3)
    scores = np.einsum("kc,cij->kij", w, x)
    assert np.allclose(w @ global_average_pool(x) + b, scores.mean(axis=(1, 2)) + b)
    flipped = x[:, ::-1, ::-1]  # positions are forgotten by the logits
    assert np.allclose(w @ global_average_pool(flipped), w @ global_average_pool(x))


def check_pool_head_parameters():
    """Equation (pool-head-parameters): counted by the library; the page's numbers for 512 maps of 7 x 7."""
    def count(layer):
        return sum(p.numel() for p in layer.parameters())
    with torch.device("meta"):
        for c, n, k in ((512, 7, 1000), (16, 4, 10)):
            assert count(torch.nn.Linear(c * n * n, k)) == k * (c * n * n + 1)
            assert count(torch.nn.Linear(c, k)) == k * (c + 1)
        assert count(torch.nn.Linear(512 * 49, 1000)) == 25_089_000 and count(torch.nn.Linear(512, 1000)) == 513_000


def check_pool_noise():
    """Equation (pool-noise): mean and deviation of the average; bound on the expected maximum, by sampling."""
    rng = np.random.default_rng(0)
    for n, m, a in ((16, 3, 2.0), (64, 10, 1.0)):
        x = rng.normal(scale=1.5, size=(40_000, n))
        x[:, :m] += a
        assert abs(x.mean(1).mean() - m * a / n) < 0.01
        assert abs(x.mean(1).std() - 1.5 / np.sqrt(n)) < 0.01
        noise = rng.normal(scale=1.5, size=(40_000, n)).max(1).mean()
        bound = 1.5 * np.sqrt(2 * np.log(n))
        assert 0.6 * bound < noise < bound  # true, and not far from tight


def check_figure_sparsity():
    """The numbers quoted with the figure: sparse signals favor the maximum, dense ones the average."""
    sparse, dense = detection(1), detection(64)
    assert abs(sparse[0] - 0.60) < 0.03 and abs(sparse[1] - 0.83) < 0.02
    assert abs(dense[0] - 0.98) < 0.01 and abs(dense[1] - 0.73) < 0.02
    # the average has a closed form: normal distribution function of energy * sqrt(m / n) / sqrt(2)
    for m in (1, 16, 64):
        d = torch.tensor(3 * np.sqrt(m / 64) / np.sqrt(2))
        assert abs(detection(m)[0] - torch.special.ndtr(d).item()) < 0.02


def check_pool_worked_example():
    """Equation (pool-worked-example) and the gradients of the worked example."""
    x = EXAMPLE[None]
    assert (pool(x, 2, 2, "max")[0] == [[4, 2], [1, 5]]).all()
    assert (pool(x, 2, 2, "avg")[0] == [[2.5, 0.5], [0.5, 3]]).all()
    assert global_average_pool(x)[0] == 26 / 16 == 1.625
    assert (pool(x, 3, 1, "max")[0] == [[5, 5], [5, 5]]).all()
    delta = np.array([[[1.0, 2], [3, 4]]])
    g = pool_backward(x, delta, 2, 2, "max")[0]
    assert (g == [[0, 0, 0, 0], [0, 1, 0, 2], [0, 3, 4, 0], [0, 0, 0, 0]]).all()
    a = pool_backward(x, delta, 2, 2, "avg")[0]
    assert (a[:2, :2] == 0.25).all() and (a[2:, 2:] == 1).all()
    overlap = pool_backward(x, np.ones((1, 2, 2)), 3, 1, "max")[0]
    assert overlap[2, 2] == 4 and overlap.sum() == 4  # all four windows share one winner


def check_library_defaults():
    """Defaults quoted on the page: stride, padding values, adaptive pooling, ceil mode."""
    assert torch.nn.MaxPool2d(3).stride == 3 and torch.nn.AvgPool2d(3).stride == 3
    x = -torch.ones(1, 1, 4, 4)
    assert F.max_pool2d(x, 3, 2, padding=1).max() == -1  # padding counts as minus infinity
    assert torch.isclose(F.avg_pool2d(x, 3, 2, padding=1)[0, 0, 0, 0], torch.tensor(-4 / 9))  # zeros count
    kept = F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)
    assert torch.allclose(kept, torch.tensor(-1.0))
    assert F.max_pool2d(torch.zeros(1, 1, 5, 5), 2).shape[-1] == 2
    assert F.max_pool2d(torch.zeros(1, 1, 5, 5), 2, ceil_mode=True).shape[-1] == 3
    assert torch.nn.AdaptiveAvgPool2d(1)(torch.zeros(2, 8, 5, 9)).shape == (2, 8, 1, 1)


def check_masked_mean():
    """Zero padding to a common size lowers a plain global average; a mask restores it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 4, 4)) + 2
    padded, mask = np.pad(x, ((0, 0), (0, 4), (0, 4))), np.pad(np.ones((4, 4)), (0, 4))
    assert np.isclose(global_average_pool(padded)[0], x.mean() / 4)
    assert np.isclose((padded[0] * mask).sum() / mask.sum(), x.mean())


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
