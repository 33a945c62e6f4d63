"""Twin of the page on group, instance and weight normalization."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def group_norm(x, groups, gamma, beta, eps=1e-5):
    """Group normalization (Wu and He, 2018).

    x: (batch, channels, height, width); gamma, beta: (channels,).
    groups=1: layer norm over (C, H, W); groups=channels: instance norm.
    """
    n, c, h, w = x.shape
    assert c % groups == 0, "channels must be divisible by groups"
    v = x.reshape(n, groups, c // groups * h * w)
    mean = v.mean(axis=2, keepdims=True)
    var = v.var(axis=2, keepdims=True)  # biased
    x_hat = ((v - mean) / np.sqrt(var + eps)).reshape(n, c, h, w)
    return gamma[:, None, None] * x_hat + beta[:, None, None]


def adain(x, style, eps=1e-5):
    """Give each channel of x the mean and deviation of that channel of style."""
    axes = {"axis": (2, 3), "keepdims": True}
    x_hat = (x - x.mean(**axes)) / np.sqrt(x.var(**axes) + eps)
    return np.sqrt(style.var(**axes) + eps) * x_hat + style.mean(**axes)


def weight_norm(v, g):
    """w = g v / |v| for each row of v (Salimans and Kingma, 2016); v: (out, in)."""
    return g[:, None] * v / np.linalg.norm(v, axis=1, keepdims=True)


def weight_norm_backward(dw, v, g):
    """Gradients for v and g from the gradient dw for w."""
    length = np.linalg.norm(v, axis=1, keepdims=True)
    unit = v / length
    dg = np.sum(dw * unit, axis=1)
    dv = g[:, None] / length * (dw - dg[:, None] * unit)
    return dv, dg


# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_norms(channels, height, width):
    """The layers of the page, all with one (channels, height, width) input each."""
    return {
        "group": torch.nn.GroupNorm(2, channels),  # eps=1e-5, affine
        "one group": torch.nn.GroupNorm(1, channels),
        "layer": torch.nn.LayerNorm([channels, height, width]),
        "instance": torch.nn.InstanceNorm2d(channels),  # affine=False by default
    }


def torch_weight_norm(n_in, n_out):
    """A linear layer whose rows are g v / |v|; starts as the same function."""
    layer = torch.nn.Linear(n_in, n_out)
    return torch.nn.utils.parametrizations.weight_norm(layer, dim=0)


# --8<-- [end:torch]


def figure_contrast():
    """A strong and a weak channel of one example under instance norm and one group."""
    t = np.linspace(0, 1, 48)
    strong = 6 + 4 * np.sin(2 * np.pi * 2 * t)
    weak = 1 + 0.5 * np.sin(2 * np.pi * 3 * t)
    x = np.stack([strong, weak])[None, :, None, :]
    one, zero = np.ones(2), np.zeros(2)
    panels = (
        ("input", x),
        ("instance norm (G = C)", group_norm(x, 2, one, zero)),
        ("one group (G = 1)", group_norm(x, 1, one, zero)),
    )
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.7))
    for ax, (name, y) in zip(axes, panels, strict=True):
        ax.axhline(0, color="#555555", linewidth=0.8)
        ax.plot(t, y[0, 0, 0], "-", color="C0", label="channel 1")
        ax.plot(t, y[0, 1, 0], "--", color="C1", label="channel 2")
        ax.set_xticks([])
        ax.set_xlabel("position")
        ax.annotate(name, (0.5, 1.04), xycoords="axes fraction", ha="center")
    axes[0].set_ylabel("value")
    axes[0].set_ylim(-0.5, 14)
    axes[0].legend(loc="upper right", fontsize=9)
    for ax in axes[1:]:
        ax.set_ylim(-2.2, 2.6)
    return fig


def figure_weights():
    """Gradient steps on v: at right angles to v, so v only gets longer."""
    H, w_best = np.diag([4.0, 1.0]), np.array([0.6, 1.6])
    v, g = np.array([[1.6, 0.25]]), np.array([1.7])
    path, lengths = [v[0].copy()], [np.linalg.norm(v)]
    for _ in range(8):
        w = weight_norm(v, g)
        dv, _ = weight_norm_backward((w - w_best) @ H, v, g)
        v = v - 0.5 * dv
        path.append(v[0].copy())
        lengths.append(np.linalg.norm(v))
    path = np.array(path)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1), width_ratios=[1.15, 1])
    angle = np.linspace(0, np.pi / 2, 90)
    for r in (lengths[0], lengths[-1]):
        axes[0].plot(
            r * np.cos(angle), r * np.sin(angle), ":", color="#777777", linewidth=1.2
        )
    axes[0].plot(*path.T, "o-", color="C0", markersize=4, linewidth=1.4)
    axes[0].plot([0, path[0, 0]], [0, path[0, 1]], color="#222222", linewidth=1)
    axes[0].annotate("start", path[0] + [0.06, -0.14], fontsize=9)
    axes[0].annotate("end", path[-1] + [0.08, 0.06], fontsize=9)
    axes[0].set_aspect("equal")
    axes[0].set_xlim(0, 2.5)
    axes[0].set_ylim(0, 2.5)
    axes[0].set_xlabel("first entry of v")
    axes[0].set_ylabel("second entry of v")
    axes[1].plot(lengths, "s-", color="C1", markersize=4)
    axes[1].set_xlabel("step")
    axes[1].set_ylabel("length of v")
    return fig


def _images(rng, n=3, c=4, h=5, w=6):
    x = rng.standard_normal((n, c, h, w)) * rng.uniform(0.5, 3, (n, c, 1, 1))
    return x + rng.standard_normal((n, c, 1, 1)) * 2


def check_gn_forward():
    """Equation (gn-forward): loops over examples and groups, and PyTorch."""
    rng = np.random.default_rng(0)
    x, gamma, beta = _images(rng), rng.uniform(0.5, 2, 4), rng.standard_normal(4)
    y = group_norm(x, 2, gamma, beta)
    for i in range(3):
        for k in (0, 1):
            block = x[i, 2 * k : 2 * k + 2]
            m = block.size
            mean = block.sum() / m
            var = ((block - mean) ** 2).sum() / m
            for c in (2 * k, 2 * k + 1):
                out = gamma[c] * (x[i, c] - mean) / np.sqrt(var + 1e-5) + beta[c]
                assert np.allclose(out, y[i, c])
    theirs = torch.nn.functional.group_norm(
        torch.tensor(x), 2, torch.tensor(gamma), torch.tensor(beta)
    )
    assert np.allclose(y, theirs.numpy(), atol=1e-12)
    assert np.allclose(group_norm(x[1:2], 2, gamma, beta), y[1:2])  # batch-free
    # channel order matters: groups are neighboring channels
    order = [0, 2, 1, 3]
    mixed = group_norm(x[:, order], 2, gamma[order], beta[order])
    assert not np.allclose(mixed, y[:, order], atol=0.05)


def check_gn_special():
    """Equation (gn-special): one group and one channel per group."""
    x = _images(np.random.default_rng(0))
    one, zero = np.ones(4), np.zeros(4)
    xt = torch.tensor(x)
    layer = torch.nn.functional.layer_norm(xt, (4, 5, 6)).numpy()
    instance = torch.nn.functional.instance_norm(xt).numpy()
    assert np.allclose(group_norm(x, 1, one, zero), layer, atol=1e-12)
    assert np.allclose(group_norm(x, 4, one, zero), instance, atol=1e-12)
    assert not np.allclose(layer, instance, atol=0.1)
    # layer norm over the channels of each position is another layer
    per_position = torch.nn.functional.layer_norm(xt.movedim(1, -1), (4,)).movedim(
        -1, 1
    )
    assert not np.allclose(per_position.numpy(), layer, atol=0.1)
    # batch norm in training mode with one example: the same numbers as instance norm
    single = torch.nn.functional.batch_norm(xt[:1], None, None, training=True)
    assert np.allclose(single.numpy(), instance[:1], atol=1e-12)


def check_gn_invariance():
    """Equation (gn-invariance): own scale and shift for each group of each example."""
    rng = np.random.default_rng(0)
    x, one, zero = _images(rng), np.ones(4), np.zeros(4)
    scale, shift = rng.uniform(0.2, 5, (3, 2, 1, 1)), rng.standard_normal((3, 2, 1, 1))
    wide = np.repeat(scale, 2, axis=1) * x + np.repeat(shift, 2, axis=1)
    base = group_norm(x, 2, one, zero, 0.0)
    assert np.allclose(group_norm(wide, 2, one, zero, 0.0), base)
    assert not np.allclose(
        group_norm(wide, 1, one, zero, 0.0), group_norm(x, 1, one, zero, 0.0), atol=0.05
    )
    channel = rng.uniform(0.2, 5, (3, 4, 1, 1)) * x
    assert np.allclose(
        group_norm(channel, 4, one, zero, 0.0), group_norm(x, 4, one, zero, 0.0)
    )
    assert not np.allclose(group_norm(channel, 2, one, zero, 0.0), base, atol=0.05)


def check_gn_pooling():
    """Equation (gn-pooling): the spatial mean after instance norm is the shift."""
    rng = np.random.default_rng(0)
    gamma, beta = rng.uniform(0.5, 2, 4), rng.standard_normal(4)
    for _ in range(3):
        y = group_norm(_images(rng), 4, gamma, beta)
        assert np.allclose(y.mean((2, 3)), beta)
        z = group_norm(_images(rng), 2, gamma, beta)
        assert not np.allclose(z.mean((2, 3)), beta, atol=0.1)
    tiny = group_norm(rng.standard_normal((2, 4, 1, 1)), 4, gamma, beta)
    assert np.allclose(tiny[:, :, 0, 0], beta)  # one position: input is lost


def check_gn_adain():
    """Equation (gn-adain): the result has the style's statistics, per channel."""
    rng = np.random.default_rng(0)
    x, style = _images(rng), _images(rng)
    y = adain(x, style, 0.0)
    assert np.allclose(y.mean((2, 3)), style.mean((2, 3)))
    assert np.allclose(y.std((2, 3)), style.std((2, 3)))
    corr = np.corrcoef(x[0, 0].ravel(), y[0, 0].ravel())[0, 1]
    assert np.isclose(corr, 1)  # the pattern stays


def check_wn_definition():
    """Equation (wn-definition): length |g|, direction of v, as in PyTorch."""
    rng = np.random.default_rng(0)
    v, g = rng.standard_normal((3, 5)), np.array([2.0, -0.7, 1.1])
    w = weight_norm(v, g)
    assert np.allclose(np.linalg.norm(w, axis=1), np.abs(g))
    assert np.allclose(weight_norm(7.0 * v, g), w)
    layer = torch_weight_norm(5, 3).double()
    p = layer.parametrizations.weight
    with torch.no_grad():
        p.original0.copy_(torch.tensor(g[:, None]))
        p.original1.copy_(torch.tensor(v))
    assert np.allclose(layer.weight.detach().numpy(), w, atol=1e-12)


def check_wn_gradient():
    """Equation (wn-gradient): central differences, autograd, projection."""
    rng = np.random.default_rng(0)
    v, g = rng.standard_normal((3, 5)), np.array([2.0, -0.7, 1.1])
    a = rng.standard_normal((3, 5))
    dv, dg = weight_norm_backward(a * np.cos(weight_norm(v, g)), v, g)
    for array, grad, first in ((v, dv, True), (g, dg, False)):
        for index in np.ndindex(array.shape):
            step = np.zeros_like(array)
            step[index] = 1e-6
            up = (v + step, g) if first else (v, g + step)
            down = (v - step, g) if first else (v, g - step)
            slope = np.sum(
                a * np.sin(weight_norm(*up)) - a * np.sin(weight_norm(*down))
            )
            assert np.isclose(slope / 2e-6, grad[index], rtol=1e-5, atol=1e-7)
    P = np.eye(5) - np.outer(v[0], v[0]) / (v[0] @ v[0])
    dw = a[0] * np.cos(weight_norm(v, g)[0])
    assert np.allclose(dv[0], g[0] / np.linalg.norm(v[0]) * P @ dw)
    assert np.isclose(dg[0], dw @ v[0] / np.linalg.norm(v[0]))


def check_wn_growth():
    """Equation (wn-growth): orthogonal gradient, Pythagoras, gradient as 1/|v|."""
    rng = np.random.default_rng(0)
    v, g, dw = (
        rng.standard_normal((3, 5)),
        rng.uniform(1, 2, 3),
        rng.normal(size=(3, 5)),
    )
    dv, _ = weight_norm_backward(dw, v, g)
    assert np.allclose(np.sum(v * dv, axis=1), 0, atol=1e-12)
    after = np.sum((v - 0.3 * dv) ** 2, axis=1)
    assert np.allclose(after, np.sum(v**2, axis=1) + 0.09 * np.sum(dv**2, axis=1))
    assert np.all(after > np.sum(v**2, axis=1))
    larger, _ = weight_norm_backward(dw, 4.0 * v, g)
    assert np.allclose(larger, dv / 4.0)
    # Adam's steps are not orthogonal to v: the length may also shrink
    adam_like = np.sum((v - 0.01 * np.sign(dv)) ** 2, axis=1)
    assert np.any(adam_like < np.sum(v**2, axis=1))


def check_wn_is_bn():
    """Equation (wn-is-bn): equal to batch norm of v.x when the inputs are white."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 5))
    x = x - x.mean(0)
    lam, U = np.linalg.eigh(x.T @ x / 40)
    x = x @ U / np.sqrt(lam)  # mean 0, covariance I, exactly, on this batch
    v, g = rng.standard_normal(5), 1.7
    z = x @ v
    batch = g * (z - z.mean()) / z.std()
    assert np.allclose(batch, x @ weight_norm(v[None], np.array([g]))[0])
    x2 = x * [1, 2, 3, 4, 5]
    z2 = x2 @ v
    assert not np.allclose(
        g * z2 / z2.std(), x2 @ weight_norm(v[None], np.array([g]))[0], atol=0.1
    )


def check_wn_init():
    """Equation (wn-init): the first batch comes out with mean 0 and variance 1."""
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((60, 5)) * 3 + 1, rng.standard_normal(5)
    t = x @ v / np.linalg.norm(v)
    g, b = 1 / t.std(), -t.mean() / t.std()
    y = x @ (g * v / np.linalg.norm(v)) + b
    assert np.isclose(y.mean(), 0, atol=1e-12) and np.isclose(y.std(), 1)


def check_defaults():
    """What PyTorch 2.13 does by default, as the page says."""
    group, instance = torch.nn.GroupNorm(2, 4), torch.nn.InstanceNorm2d(4)
    assert group.eps == instance.eps == 1e-5 and group.affine and not instance.affine
    assert not instance.track_running_stats
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(instance.train()(x), instance.eval()(x))
    assert sum(p.numel() for p in group.parameters()) == 8
    norms = torch_norms(4, 5, 5)
    assert sum(p.numel() for p in norms["layer"].parameters()) == 200
    try:
        torch.nn.GroupNorm(3, 4)
    except ValueError as error:
        assert "divisible" in str(error)
    else:
        raise AssertionError("expected a ValueError")
    plain = torch.nn.Linear(5, 3)
    before = plain.weight.detach().clone()
    torch.nn.utils.parametrizations.weight_norm(plain)
    assert torch.allclose(plain.weight, before, atol=1e-6)  # same function at first


def check_numpy_equals_torch():
    """All layers of the page against PyTorch, to 1e-10 in float64."""
    x = _images(np.random.default_rng(2))
    one, zero = np.ones(4), np.zeros(4)
    for name, groups in (("group", 2), ("one group", 1), ("layer", 1), ("instance", 4)):
        layer = torch_norms(4, 5, 6)[name].double()
        theirs = layer(torch.tensor(x)).detach().numpy()
        assert np.allclose(group_norm(x, groups, one, zero), theirs, atol=1e-10)


def check_worked_example():
    """The numbers of the worked example."""
    x = np.array([[1.0, 3], [5, 7], [0, 2], [10, 20]]).reshape(1, 4, 1, 2)
    one, zero = np.ones(4), np.zeros(4)
    two = group_norm(x, 2, one, zero, 0.0).reshape(4, 2)
    assert np.allclose(two[:2].ravel(), [-1.3416, -0.4472, 0.4472, 1.3416], atol=5e-5)
    assert np.allclose(two[2:].ravel(), [-1.0160, -0.7620, 0.2540, 1.5240], atol=5e-5)
    assert x[0, 2:].mean() == 8 and x[0, 2:].var() == 62
    four = group_norm(x, 4, one, zero, 0.0).reshape(4, 2)
    assert np.allclose(four, [[-1, 1]] * 4)
    assert x.mean() == 6 and x.var() == 37.5
    single = group_norm(x, 1, one, zero, 0.0).ravel()
    assert np.allclose([single.min(), single.max()], [-0.9798, 2.2862], atol=5e-5)
    v, g = np.array([[3.0, 4.0]]), np.array([2.0])
    assert np.allclose(weight_norm(v, g), [[1.2, 1.6]])
    dv, dg = weight_norm_backward(np.array([[1.0, 0.0]]), v, g)
    assert np.allclose(dg, 0.6) and np.allclose(dv, [[0.256, -0.192]])
    after = v - dv
    assert np.allclose(after, [[2.744, 4.192]])
    assert np.isclose(np.sum(after**2), 25.1024) and np.isclose(np.sum(dv**2), 0.1024)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
