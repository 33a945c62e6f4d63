"""Twin of the page "Convolution": its snippets, figures and numerical checks."""
import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def out_size(n, k, stride=1, padding=0, dilation=1):
    """Length of the output along one axis, equation (conv-output-size)."""
    return (n + 2 * padding - dilation * (k - 1) - 1) // stride + 1


def conv2d(x, w, b, stride=1, padding=0, dilation=1):
    """Convolutional layer (cross-correlation), equation (conv-layer).

    x: (batch, c_in, height, width); w: (c_out, c_in, k_h, k_w); b: (c_out,)
    Returns (batch, c_out, out_height, out_width).
    """
    pad = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    x = np.pad(x, pad)
    k_h, k_w = w.shape[2:]
    h = out_size(x.shape[2], k_h, stride, 0, dilation)
    v = out_size(x.shape[3], k_w, stride, 0, dilation)
    y = np.zeros((x.shape[0], w.shape[0], h, v)) + b[:, None, None]
    for i in range(k_h):  # one step for each kernel entry, not for each pixel
        for j in range(k_w):
            top, left = i * dilation, j * dilation
            rows = slice(top, top + stride * (h - 1) + 1, stride)
            cols = slice(left, left + stride * (v - 1) + 1, stride)
            y += np.einsum("ncij,oc->noij", x[:, :, rows, cols], w[:, :, i, j])
    return y
# --8<-- [end:numpy]


# --8<-- [start:torch]
def conv2d_torch(x, w, b, stride=1, padding=0, dilation=1):
    """The library's layer; shapes as in the NumPy version."""
    return torch.nn.functional.conv2d(x, w, b, stride, padding, dilation)


def conv2d_im2col(x, w, b, stride=1, padding=0, dilation=1):
    """The same result as one matrix product: every patch becomes a column."""
    c_out, _, k_h, k_w = w.shape
    cols = torch.nn.functional.unfold(  # (batch, c_in * k_h * k_w, positions)
        x, (k_h, k_w), dilation=dilation, padding=padding, stride=stride
    )
    y = w.reshape(c_out, -1) @ cols + b[:, None]
    height = x.shape[2] + 2 * padding - dilation * (k_h - 1) - 1
    return y.reshape(x.shape[0], c_out, height // stride + 1, -1)
# --8<-- [end:torch]


# stride, padding, dilation
SETTINGS = list(itertools.product((1, 2, 3), (0, 1, 2), (1, 2)))


def example(dtype=float):
    """The worked example: a 4x5 picture of a bent edge and a 3x3 kernel."""
    x = np.array([[0, 0, 0, 9, 9], [0, 0, 0, 9, 9], [0, 0, 9, 9, 9], [0, 0, 9, 9, 9]], dtype)
    w = np.array([[-1, 0, 1]] * 3, dtype)
    return x, w


def conv_matrix(w, n, stride=1, padding=0, dilation=1):
    """The matrix C with vec(y) = C vec(x) for one channel and an n x n input, column by column."""
    cols = []
    for m in range(n * n):
        e = np.zeros((1, 1, n, n))
        e.flat[m] = 1
        cols.append(conv2d(e, w[None, None], np.zeros(1), stride, padding, dilation).ravel())
    return np.stack(cols, axis=1)


# ---------------------------------------------------------------- figures
def _grid(ax, values, x0, y0, marked=(), color="0061a8", hatch=None):
    """Draw a table of numbers as unit squares with the top left corner at (x0, y0)."""
    for (i, j), v in np.ndenumerate(values):
        on = (i, j) in marked
        face = "#" + color + "40" if on else "none"
        ax.add_patch(plt.Rectangle((x0 + j, y0 + i), 1, 1, facecolor=face, edgecolor="#222222",
                                   linewidth=0.8, hatch=hatch if on else None))
        ax.text(x0 + j + 0.5, y0 + i + 0.5, f"{v:g}".replace("-", "\u2212"), ha="center", va="center",
                fontsize=11, fontweight="bold" if on else "normal")
    if marked:
        r = [m[0] for m in marked]
        c = [m[1] for m in marked]
        ax.add_patch(plt.Rectangle((x0 + min(c), y0 + min(r)), max(c) - min(c) + 1, max(r) - min(r) + 1,
                                   facecolor="none", edgecolor="#" + color, linewidth=3))


def figure_sliding():
    """A 3x3 window of the input, the kernel, and the output cell that their products sum to."""
    x, w = example()
    y = conv2d(x[None, None], w[None, None], np.zeros(1))[0, 0]
    fig, ax = plt.subplots(figsize=(6.4, 2.6))
    window = {(i, j) for i in range(3) for j in range(1, 4)}
    _grid(ax, x, 0, 0, window)
    _grid(ax, w, 6.4, 0.5, {(i, j) for i in range(3) for j in range(3)}, "c2410c")
    _grid(ax, y, 10.8, 1, {(0, 1)}, "15803d")
    for px, text in ((2.5, "input, 4 × 5"), (7.9, "kernel, 3 × 3"), (12.3, "output, 2 × 3")):
        ax.text(px, 4.6, text, ha="center", va="center", fontsize=10)
    ax.text(5.7, 2, "⊙", ha="center", va="center", fontsize=16)
    ax.text(10.1, 2, "Σ →", ha="center", va="center", fontsize=13)
    ax.set(xlim=(-0.2, 14), ylim=(5, -0.2), aspect="equal")
    ax.axis("off")
    return fig


def figure_matrix():
    """Weight matrices of a dense and a convolutional layer from 12 inputs to 10 outputs."""
    rng = np.random.default_rng(0)
    n, k = 12, 3
    m = n - k + 1
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.0))
    markers, colors = ("o", "s", "^"), ("#0061a8", "#c2410c", "#15803d")
    dense = axes[0]
    r, c = np.mgrid[:m, :n]
    size = rng.integers(1, 6, (m, n))
    for q in range(1, 6):
        dense.plot(c[size == q], r[size == q], "o", color="#555555", markersize=1 + 1.5 * q)
    dense.set_xlabel(f"input position ({m * n} free weights)")
    for u in range(k):
        rows = np.arange(m)
        axes[1].plot(rows + u, rows, markers[u], color=colors[u], markersize=6.5, label=f"weight {u + 1}")
    axes[1].set_xlabel(f"input position ({k} free weights)")
    axes[1].legend(loc="lower left", fontsize=9, handletextpad=0.1, borderpad=0.1)
    for ax, name in zip(axes, ("dense", "convolutional")):
        ax.set(xlim=(-0.7, n - 0.3), ylim=(m - 0.3, -0.7), ylabel=f"output position, {name} layer")
        ax.set_xticks(range(0, n, 2), range(1, n + 1, 2))
        ax.set_yticks(range(0, m, 2), range(1, m + 1, 2))
    return fig


# ---------------------------------------------------------------- checks
def check_conv_layer():
    """Equation (conv-layer): the sum written out index by index, NumPy and PyTorch agree."""
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 3, 9, 8)), rng.normal(size=(4, 3, 3, 2)), rng.normal(size=4)
    for s, p, d in SETTINGS:
        y = conv2d(x, w, b, s, p, d)
        pad = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        for _ in range(20):  # random entries of the output against the bare definition
            n, o, i, j = (int(rng.integers(q)) for q in y.shape)
            total = b[o]
            for c in range(3):
                for u in range(3):
                    for v in range(2):
                        total += w[o, c, u, v] * pad[n, c, s * i + d * u, s * j + d * v]
            assert abs(total - y[n, o, i, j]) < 1e-12
        args = [torch.tensor(a) for a in (x, w, b)]
        assert np.allclose(y, conv2d_torch(*args, s, p, d).numpy(), atol=1e-10)
        assert np.allclose(y, conv2d_im2col(*args, s, p, d).numpy(), atol=1e-10)


def check_conv_flip():
    """Equation (conv-flip): convolution is cross-correlation with the flipped kernel."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=12), rng.normal(size=4)
    layer = F.conv1d(torch.tensor(x)[None, None], torch.tensor(w)[None, None])[0, 0].numpy()
    flipped = F.conv1d(torch.tensor(x)[None, None], torch.tensor(w[::-1].copy())[None, None])[0, 0].numpy()
    assert np.allclose(layer, np.correlate(x, w, "valid"))      # what the library calls convolution
    assert not np.allclose(layer, np.convolve(x, w, "valid"))   # is not a convolution
    assert np.allclose(flipped, np.convolve(x, w, "valid"))     # until the kernel is reversed
    full = [sum(w[u] * x[i - u] for u in range(4) if 0 <= i - u < 12) for i in range(15)]
    assert np.allclose(full, np.convolve(x, w))                 # the textbook sum, left equation
    assert np.allclose(full[3:12], flipped)                     # right equation, offset k - 1


def check_conv_output_size():
    """Equation (conv-output-size): count the admissible window positions; PyTorch agrees."""
    for n, k, s, p, d in itertools.product(range(5, 15), range(1, 6), (1, 2, 3), (0, 1, 2), (1, 2, 3)):
        span = d * (k - 1) + 1
        if span > n + 2 * p:
            continue
        starts = [i for i in range(0, n + 2 * p, s) if i + span <= n + 2 * p]
        assert len(starts) == out_size(n, k, s, p, d)
        y = F.conv1d(torch.zeros(1, 1, n), torch.zeros(1, 1, k), stride=s, padding=p, dilation=d)
        assert y.shape[-1] == len(starts)
        if s == 1 and (d * (k - 1)) % 2 == 0:  # "same" padding, in the running text
            assert out_size(n, k, 1, d * (k - 1) // 2, d) == n


def check_conv_parameters():
    """Equation (conv-parameters): parameters of both layers as the library counts them."""
    count = lambda layer: sum(q.numel() for q in layer.parameters())
    for c_in, c_out, k, n in ((3, 4, 3, 6), (2, 5, 5, 7), (1, 1, 1, 4)):
        m = out_size(n, k)
        conv, dense = c_out * (c_in * k * k + 1), c_out * m * m * (c_in * n * n + 1)
        assert count(torch.nn.Conv2d(c_in, c_out, k)) == conv
        assert count(torch.nn.Linear(c_in * n * n, c_out * m * m)) == dense
    # the page's CIFAR-sized numbers: padding keeps 32 x 32
    assert 16 * (3 * 9 + 1) == 448 == count(torch.nn.Conv2d(3, 16, 3, padding=1))
    assert 16 * 32 * 32 * (3 * 32 * 32 + 1) == 50_348_032
    assert 16 * 3 * 9 * 32 * 32 == 442_368  # multiply-adds of that convolution


def check_conv_as_matrix():
    """Equation (conv-as-matrix): a sparse matrix that repeats the kernel's nine weights."""
    rng = np.random.default_rng(0)
    w, n = rng.normal(size=(3, 3)), 6
    c = conv_matrix(w, n)
    x = rng.normal(size=(n, n))
    y = conv2d(x[None, None], w[None, None], np.zeros(1))[0, 0]
    assert np.allclose(c @ x.ravel(), y.ravel())
    assert c.shape == (16, 36) and (np.count_nonzero(c, axis=1) == 9).all()
    assert set(np.round(c[c != 0], 12)) == set(np.round(w.ravel(), 12))
    shown = np.array([[1, 2, 3, 0, 0], [0, 1, 2, 3, 0], [0, 0, 1, 2, 3]])  # the display, w = (1, 2, 3)
    z = rng.normal(size=5)
    assert np.allclose(shown @ z, np.correlate(z, [1, 2, 3], "valid"))


def check_conv_from_equivariance():
    """Equation (conv-from-equivariance): commuting with all cyclic shifts <=> circular convolution."""
    rng = np.random.default_rng(0)
    n = 8
    shift = np.roll(np.eye(n), 1, axis=0)  # (S x)_i = x_{i-1}
    powers = [np.linalg.matrix_power(shift, m) for m in range(n)]
    a = rng.normal(size=(n, n))
    assert not np.allclose(a @ shift, shift @ a)          # a dense matrix is not equivariant
    a = sum(q.T @ a @ q for q in powers) / n              # project it on the matrices that are
    assert np.allclose(a @ shift, shift @ a)
    x = rng.normal(size=n)
    y = [sum(a[(i - m) % n, 0] * x[m] for m in range(n)) for i in range(n)]
    assert np.allclose(a @ x, y)                          # the first column alone determines it
    assert np.allclose(a @ x, np.fft.ifft(np.fft.fft(a[:, 0]) * np.fft.fft(x)).real)


def _shifted(x, by):
    return torch.roll(x, by, dims=(-2, -1))


def check_conv_equivariance():
    """Equation (conv-equivariance): exact with circular padding, false for odd shifts at stride 2."""
    torch.manual_seed(0)
    x = torch.randn(1, 2, 12, 12, dtype=torch.float64)
    w = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    wrap = lambda z, s: F.conv2d(F.pad(z, (1, 1, 1, 1), mode="circular"), w, stride=s)
    for by in ((1, 0), (2, 5), (-3, 4)):
        assert torch.allclose(wrap(_shifted(x, by), 1), _shifted(wrap(x, 1), by))
        relu = torch.relu(wrap(_shifted(x, by), 1))
        assert torch.allclose(relu, _shifted(torch.relu(wrap(x, 1)), by))  # pointwise steps keep it
        assert torch.allclose(relu.mean((-2, -1)), torch.relu(wrap(x, 1)).mean((-2, -1)))  # invariant
        assert torch.equal(relu.amax((-2, -1)), torch.relu(wrap(x, 1)).amax((-2, -1)))
    assert not torch.allclose(wrap(_shifted(x, (1, 0)), 1), wrap(x, 1))    # equivariant, not invariant
    # stride 2: shifts by multiples of the stride move the output by the quotient, others do not
    assert torch.allclose(wrap(_shifted(x, (2, 4)), 2), _shifted(wrap(x, 2), (1, 2)))
    odd, even = wrap(_shifted(x, (1, 0)), 2), wrap(x, 2)
    assert all(not torch.allclose(odd, _shifted(even, (a, b))) for a in range(6) for b in range(6))
    # zero padding: equal in the interior, different at the border where content entered or left
    zero = lambda z: F.conv2d(z, w, padding=1)
    moved, ref = zero(_shifted(x, (1, 0))), _shifted(zero(x), (1, 0))
    assert torch.allclose(moved[..., 2:-1, 1:-1], ref[..., 2:-1, 1:-1])
    assert not torch.allclose(moved, ref)


def check_conv_gradients():
    """Equation (conv-gradients): both formulas against autograd, with stride and dilation."""
    rng = np.random.default_rng(0)
    for s, p, d in SETTINGS:
        x = torch.tensor(rng.normal(size=(1, 1, 9, 9)), requires_grad=True)
        w = torch.tensor(rng.normal(size=(1, 1, 3, 3)), requires_grad=True)
        y = F.conv2d(x, w, stride=s, padding=p, dilation=d)
        delta = torch.tensor(rng.normal(size=y.shape))
        y.backward(delta)
        delta, xp = delta[0, 0].numpy(), np.pad(x.detach()[0, 0].numpy(), p)
        h, v = delta.shape
        for u, q in itertools.product(range(3), range(3)):
            patch = xp[d * u: d * u + s * (h - 1) + 1: s, d * q: d * q + s * (v - 1) + 1: s]
            assert abs((delta * patch).sum() - w.grad[0, 0, u, q].item()) < 1e-10
        c = conv_matrix(w.detach()[0, 0].numpy(), 9, s, p, d)
        assert np.allclose(c.T @ delta.ravel(), x.grad.ravel().numpy())


def check_conv_transposed_size():
    """Equation (conv-transposed-size), and the layer is multiplication by the transposed matrix."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 3))
    wt = torch.tensor(w)[None, None]
    for s, p, d, extra in itertools.product((1, 2, 3), (0, 1), (1, 2), (0, 1)):
        if extra >= max(s, d):
            continue
        for n in range(4, 8):
            y = F.conv_transpose2d(torch.ones(1, 1, n, n, dtype=torch.float64), wt, stride=s, padding=p,
                                   output_padding=extra, dilation=d)
            assert y.shape[-1] == (n - 1) * s - 2 * p + d * (3 - 1) + extra + 1
            assert extra >= s or out_size(y.shape[-1], 3, s, p, d) == n  # forward again: back to n
    c = conv_matrix(w, 7, 2, 1)                                  # 7x7 -> 4x4
    z = rng.normal(size=(4, 4))
    back = F.conv_transpose2d(torch.tensor(z)[None, None], wt, stride=2, padding=1)[0, 0].numpy()
    assert np.allclose(c.T @ z.ravel(), back.ravel())
    assert not np.allclose(c @ back.ravel(), z.ravel())         # not an inverse


def check_conv_receptive_field():
    """Equation (conv-receptive-field): the inputs that influence one output, found by autograd."""
    stacks = {((3, 1, 1),) * 3: 7, ((3, 1, 1), (3, 2, 1), (3, 1, 2)): 13, ((7, 2, 1), (3, 2, 1), (3, 1, 1)): 19,
              ((3, 1, 1), (3, 1, 2), (3, 1, 4)): 15}
    for stack, expected in stacks.items():
        r = jump = 1
        x = torch.ones(1, 1, 81, dtype=torch.float64, requires_grad=True)
        y = x
        for k, s, d in stack:
            r, jump = r + d * (k - 1) * jump, jump * s
            y = F.conv1d(y, torch.ones(1, 1, k, dtype=torch.float64), stride=s, dilation=d)
        y[0, 0, y.shape[-1] // 2].backward()
        used = x.grad[0, 0].nonzero().ravel()
        assert int(used[-1] - used[0] + 1) == r == expected


def check_conv_separable_ratio():
    """Equation (conv-separable-ratio): weights of a depthwise separable over those of a full layer."""
    for c_in, c_out, k in ((16, 32, 3), (64, 64, 5), (256, 512, 3)):
        full = torch.nn.Conv2d(c_in, c_out, k, bias=False).weight.numel()
        parts = (torch.nn.Conv2d(c_in, c_in, k, groups=c_in, bias=False).weight.numel()
                 + torch.nn.Conv2d(c_in, c_out, 1, bias=False).weight.numel())
        assert abs(parts / full - (1 / c_out + 1 / k**2)) < 1e-12
    assert round(1 / 256 + 1 / 9, 3) == 0.115


def check_conv_worked_example():
    """Equation (conv-worked-example) and the other numbers of the worked example."""
    x, w = example()
    y = conv2d(x[None, None], w[None, None], np.zeros(1))[0, 0]
    assert (y == [[9, 27, 18], [18, 27, 9]]).all()
    assert (conv2d(x[None, None], w[None, None, ::-1, ::-1], np.zeros(1))[0, 0] == -y).all()
    strided = conv2d(x[None, None], w[None, None], np.zeros(1), 2, 1)
    assert strided.shape[2:] == (2, 3)
    changed = np.pad(x, 1)
    changed[-1] = 100  # the bottom row of padding is never read at stride 2
    assert np.array_equal(conv2d(changed[None, None], w[None, None], np.zeros(1), 2), strided)
    t = torch.tensor(x)[None, None]
    wt = torch.tensor(w)[None, None].requires_grad_()
    F.conv2d(t, wt).sum().backward()
    assert wt.grad[0, 0, 0].tolist() == [0, 18, 36]
    line = np.array([-1.0, 2, -1])
    a, b = np.array([0.0, 0, 1, 0, 0, 0, 0]), np.array([0.0, 0, 0, 1, 0, 0, 0])
    ya, yb = np.correlate(a, line, "valid"), np.correlate(b, line, "valid")
    assert ya.tolist() == [-1, 2, -1, 0, 0] and yb.tolist() == [0, -1, 2, -1, 0]
    assert ya[::2].tolist() == [-1, -1, 0] and yb[::2].tolist() == [0, 2, 0]


def check_special_cases_of_dense():
    """A 1x1 convolution is a dense layer at each pixel; a kernel as large as the input is a dense layer."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    w = torch.randn(4, 3, 1, 1, dtype=torch.float64)
    dense = F.linear(x.permute(0, 2, 3, 1), w[:, :, 0, 0]).permute(0, 3, 1, 2)
    assert torch.allclose(F.conv2d(x, w), dense)
    w = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    assert torch.allclose(F.conv2d(x, w).flatten(1), F.linear(x.flatten(1), w.flatten(1)))


def check_dense_layer_ignores_the_grid():
    """A dense layer computes the same with permuted pixels and permuted columns; a convolution cannot."""
    rng = np.random.default_rng(0)
    w, x, perm = rng.normal(size=(5, 36)), rng.normal(size=36), rng.permutation(36)
    assert np.allclose(w @ x, w[:, perm] @ x[perm])
    c = conv_matrix(rng.normal(size=(3, 3)), 6)[:, perm]  # would have to be some kernel's matrix
    best = np.stack([conv_matrix(np.eye(9)[m].reshape(3, 3), 6).ravel() for m in range(9)], axis=1)
    residual = c.ravel() - best @ np.linalg.lstsq(best, c.ravel(), rcond=None)[0]
    assert np.linalg.norm(residual) > 0.5 * np.linalg.norm(c)


def check_vgg16_parameters_and_arithmetic():
    """VGG-16: dense layers hold most weights, convolutions do most multiplications (a correction)."""
    conv = mult = 0
    c_in, n = 3, 224
    for c_out, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            conv, mult = conv + 9 * c_in * c_out, mult + 9 * c_in * c_out * n * n
            c_in = c_out
        n //= 2
    dense = n * n * 512 * 4096 + 4096 * 4096 + 4096 * 1000  # each weight is used once
    assert round((conv + dense) / 1e6) == 138               # the published total
    assert dense / (conv + dense) > 0.89 and mult / (mult + dense) > 0.99


def check_max_pooling_is_only_locally_invariant():
    """A spike moved inside a pooling window changes nothing; across a boundary it does; textures change."""
    spike = lambda i: F.max_pool1d(torch.eye(8)[i][None], 2)
    assert torch.equal(spike(2), spike(3)) and not torch.equal(spike(3), spike(4))
    torch.manual_seed(0)
    x = torch.randn(1, 1, 64, 64)
    a, b = F.max_pool2d(x, 2), F.max_pool2d(torch.roll(x, 1, dims=-1), 2)
    best = min((a - torch.roll(b, s, dims=-1)).ne(0).float().mean().item() for s in (0, -1))
    assert best > 0.3  # a shift by one pixel changes more than 30 % of the pooled values


def check_checkerboard_overlap():
    """Transposed convolution of ones: uneven when the stride does not divide the kernel size."""
    ones = torch.ones(1, 1, 8, 8)
    inner = lambda k: F.conv_transpose2d(ones, torch.ones(1, 1, k, k), stride=2)[..., 4:-4, 4:-4]
    assert inner(3).min() == 1 and inner(3).max() == 4
    assert inner(4).min() == inner(4).max() == 4


def transfer_to_new_positions(conv, seed=0):
    """Train on a pattern in the left half, test with it in the right half; returns both accuracies."""
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    n, k = 32, 5
    patterns = torch.tensor([[-1.0, 1, 1, -1, 2], [1.0, -1, 2, -1, 1]])  # class 0, class 1

    def data(m, low, high):
        x = 0.3 * torch.randn(m, 1, n, generator=g)
        y = torch.arange(m) % 2
        for i in range(m):
            at = int(torch.randint(low, high, (1,), generator=g))
            x[i, 0, at:at + k] += patterns[y[i]]
        return x, y.float()

    if conv:
        net = torch.nn.Sequential(torch.nn.Conv1d(1, 8, k), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool1d(1),
                                  torch.nn.Flatten(), torch.nn.Linear(8, 1))
    else:
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(n, 64), torch.nn.ReLU(),
                                  torch.nn.Linear(64, 1))
    x, y = data(200, 0, 11)
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(300):
        opt.zero_grad()
        F.binary_cross_entropy_with_logits(net(x)[:, 0], y).backward()
        opt.step()
    accuracy = lambda z, t: ((net(z)[:, 0] > 0).float() == t).float().mean().item()
    return accuracy(*data(400, 0, 11)), accuracy(*data(400, 16, 28))


def check_prior_generalizes_to_new_positions():
    """The experiment of the page: weight sharing carries a pattern to positions never seen in training."""
    for seed in (0, 1, 2):
        conv, dense = transfer_to_new_positions(True, seed), transfer_to_new_positions(False, seed)
        assert conv[1] > 0.95 and dense[1] < 0.7 and conv[0] > 0.95 and dense[0] > 0.8


def check_library_defaults():
    """Defaults quoted on the page: stride 1, no padding, no dilation, bias; "same" needs stride 1."""
    layer = torch.nn.Conv2d(3, 4, 3)
    assert (layer.stride, layer.padding, layer.dilation, layer.groups) == ((1, 1), (0, 0), (1, 1), 1)
    assert layer.bias is not None and layer.weight.shape == (4, 3, 3, 3)
    assert layer.weight.abs().max() <= 1 / np.sqrt(3 * 9)  # uniform in +-1/sqrt(fan-in)
    try:
        torch.nn.Conv2d(3, 4, 3, stride=2, padding="same")
    except ValueError:
        return
    raise AssertionError("expected a ValueError")


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
