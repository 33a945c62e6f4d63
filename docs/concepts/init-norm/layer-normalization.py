"""Twin of the page on layer normalization and RMSNorm: checks formulas and numbers."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def layer_norm(x, gamma, beta, eps=1e-5):
    """Layer normalization over the last axis (Ba et al., 2016), any leading shape.

    x: (..., features); gamma, beta: (features,). Returns the output and a cache.
    """
    mean = x.mean(axis=-1, keepdims=True)
    var = x.var(axis=-1, keepdims=True)  # biased: divided by the number of features
    std = np.sqrt(var + eps)
    x_hat = (x - mean) / std
    return gamma * x_hat + beta, (x_hat, std, gamma)


def rms_norm(x, gamma, eps=1e-6):
    """RMSNorm (Zhang and Sennrich, 2019): no mean, no shift."""
    rms = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)
    x_hat = x / rms
    return gamma * x_hat, (x_hat, rms, gamma)


def norm_backward(dy, cache, center):
    """Gradient for x; center=True for layer normalization, False for RMSNorm."""
    x_hat, scale, gamma = cache
    h = dy * gamma
    dx = h - x_hat * np.mean(h * x_hat, axis=-1, keepdims=True)
    if center:
        dx = dx - h.mean(axis=-1, keepdims=True)
    return dx / scale


# --8<-- [end:numpy]


# --8<-- [start:torch]
class Block(torch.nn.Module):
    """A feed-forward sublayer with its skip connection, pre-norm or post-norm."""

    def __init__(self, width, hidden, pre_norm=True, rms=False):
        super().__init__()
        if rms:  # eps=None would mean the machine epsilon of the input's type
            self.norm = torch.nn.RMSNorm(width, eps=1e-6)
        else:
            self.norm = torch.nn.LayerNorm(width)  # eps=1e-5
        self.branch = torch.nn.Sequential(
            torch.nn.Linear(width, hidden),
            torch.nn.GELU(),
            torch.nn.Linear(hidden, width),
        )
        self.pre_norm = pre_norm

    def forward(self, x):  # x: (batch, time, width); each token is normalized alone
        if self.pre_norm:
            return x + self.branch(self.norm(x))
        return self.norm(x + self.branch(x))


# --8<-- [end:torch]


def _gradient_norms(pre_norm, depth, seed, width=64, length=16, batch=4, classes=50):
    """Gradient norms of each layer's second feed-forward matrix at initialization."""
    torch.manual_seed(seed)
    layers = [
        torch.nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=pre_norm
        )
        for _ in range(depth)
    ]
    head, final = torch.nn.Linear(width, classes), torch.nn.LayerNorm(width)
    for module in [*layers, head]:
        for p in module.parameters():
            if p.dim() > 1:
                torch.nn.init.xavier_uniform_(p)
    x, energy = torch.randn(batch, length, width), []
    for layer in layers:
        x = layer(x)
        energy.append(x.pow(2).mean().item())
    logits = head(final(x) if pre_norm else x).reshape(-1, classes)
    loss = torch.nn.functional.cross_entropy(
        logits, torch.randint(classes, (batch * length,))
    )
    loss.backward()
    return np.array([la.linear2.weight.grad.norm().item() for la in layers]), energy


def _mean_norms(pre_norm, depth, seeds):
    return np.mean([_gradient_norms(pre_norm, depth, s)[0] for s in seeds], axis=0)


def figure_tokens():
    """Two tokens, one a rescaled and shifted copy, before and after the two norms."""
    a = np.array([1.0, 2.0, 3.0, 6.0, 0.5, 4.0])
    b = 2.0 * a + 4.0
    one, zero = np.ones(6), np.zeros(6)
    panels = (
        ("input", a, b),
        ("layer norm", layer_norm(a, one, zero, 0)[0], layer_norm(b, one, zero, 0)[0]),
        ("RMSNorm", rms_norm(a, one, 0)[0], rms_norm(b, one, 0)[0]),
    )
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.7))
    at = np.arange(1, 7)
    for ax, (name, first, second) in zip(axes, panels, strict=True):
        ax.axhline(0, color="#555555", linewidth=0.8)
        ax.plot(at, first, "o-", color="C0", label="token A", markersize=8, alpha=0.8)
        ax.plot(at, second, "s--", color="C1", label="token B", markersize=4)
        ax.set_xticks(at)
        ax.set_xlabel("feature")
        ax.annotate(name, (0.5, 1.04), xycoords="axes fraction", ha="center")
    axes[0].set_ylabel("value")
    axes[0].legend(loc="upper left", fontsize=9)
    axes[0].set_ylim(-0.5, 22)
    return fig


def figure_gradients():
    """Gradient size at initialization by layer and by depth, post-norm, pre-norm."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.0))
    depths = (2, 4, 8, 16, 32)
    for pre, color, marker, line in ((False, "C1", "s", "--"), (True, "C0", "o", "-")):
        label = "pre-norm" if pre else "post-norm"
        style = {"color": color, "marker": marker, "linestyle": line, "markersize": 5}
        axes[0].plot(range(1, 13), _mean_norms(pre, 12, range(8)), label=label, **style)
        last = [_mean_norms(pre, depth, range(8))[-1] for depth in depths]
        axes[1].loglog(depths, last, label=label, **style)
    guide = np.array([2.0, 32.0])
    axes[1].loglog(guide, 1.1 / np.sqrt(guide), ":", color="#555555", linewidth=1.4)
    axes[1].annotate("slope −1/2", (2.6, 0.36), fontsize=9)
    axes[0].set_xticks([1, 3, 6, 9, 12])
    axes[0].set_xlabel("layer (of 12)")
    axes[0].set_ylabel("gradient norm")
    axes[0].set_ylim(0, None)
    axes[0].legend(loc="lower left")
    axes[1].set_xlabel("number of layers")
    axes[1].set_ylabel("gradient norm, last layer")
    axes[1].set_xticks(depths, [str(d) for d in depths])
    axes[1].set_yticks([0.3, 0.5, 1.0], ["0.3", "0.5", "1"])
    axes[1].minorticks_off()
    return fig


def _example(rng, shape=(5, 7)):
    d = shape[-1]
    x = rng.standard_normal(shape) * 3 + 2
    return x, rng.uniform(0.5, 2.0, d), rng.standard_normal(d)


def check_ln_forward():
    """Equation (ln-forward): statistics per row, biased variance, as in PyTorch."""
    x, gamma, beta = _example(np.random.default_rng(0), (2, 5, 7))
    y, (x_hat, _, _) = layer_norm(x, gamma, beta)
    for row, out in zip(x.reshape(-1, 7), y.reshape(-1, 7), strict=True):
        mean = sum(row) / 7
        var = sum((v - mean) ** 2 for v in row) / 7
        assert np.allclose(gamma * (row - mean) / np.sqrt(var + 1e-5) + beta, out)
    theirs = torch.nn.functional.layer_norm(
        *map(torch.tensor, (x,)), (7,), torch.tensor(gamma), torch.tensor(beta)
    )
    assert np.allclose(y, theirs.numpy(), atol=1e-12)
    alone, _ = layer_norm(x[:1, :2], gamma, beta)
    assert np.allclose(alone, y[:1, :2])  # no other example, no other token counts
    one = layer_norm(np.array([[5.0]]), np.array([2.0]), np.array([3.0]))[0]
    assert one[0, 0] == 3.0  # a single feature: the output is the shift
    two = layer_norm(np.array([5.0, -1.0]), np.ones(2), np.zeros(2), 0.0)[0]
    assert np.allclose(two, [1, -1])  # two features: only their order survives


def check_ln_rms():
    """Equation (ln-rms): division by the root mean square, as in PyTorch."""
    x, gamma, _ = _example(np.random.default_rng(0))
    y, _ = rms_norm(x, gamma)
    for row, out in zip(x, y, strict=True):
        root = np.sqrt(sum(v * v for v in row) / 7 + 1e-6)
        assert np.allclose(gamma * row / root, out)
    theirs = torch.nn.functional.rms_norm(
        torch.tensor(x), (7,), torch.tensor(gamma), 1e-6
    )
    assert np.allclose(y, theirs.numpy(), atol=1e-12)


def check_ln_centering():
    """Equation (ln-centering): layer norm is RMSNorm of the centered vector."""
    x, _, _ = _example(np.random.default_rng(0))
    C = np.eye(7) - np.ones((7, 7)) / 7
    one, zero = np.ones(7), np.zeros(7)
    for eps in (0.0, 0.3):
        left = layer_norm(x, one, zero, eps)[0]
        assert np.allclose(left, rms_norm(x @ C.T, one, eps)[0], atol=1e-12)
    assert not np.allclose(left, rms_norm(x, one, 0.3)[0], atol=0.1)
    msq = np.mean(x**2, -1)
    assert np.allclose(msq, x.mean(-1) ** 2 + x.var(-1))


def check_ln_invariance():
    """Equation (ln-invariance): scale and shift, and what RMSNorm keeps of it."""
    x, gamma, beta = _example(np.random.default_rng(0))
    y = layer_norm(x, gamma, beta, 0.0)[0]
    assert np.allclose(layer_norm(4.2 * x - 9.0, gamma, beta, 0.0)[0], y)
    assert not np.allclose(layer_norm(-x, gamma, beta, 0.0)[0], y, atol=0.1)
    z = rms_norm(x, gamma, 0.0)[0]
    assert np.allclose(rms_norm(4.2 * x, gamma, 0.0)[0], z)
    assert not np.allclose(rms_norm(x - 9.0, gamma, 0.0)[0], z, atol=0.1)
    # different factors for different examples
    factors = np.array([[0.1], [1.0], [5.0], [20.0], [300.0]])
    assert np.allclose(layer_norm(factors * x, gamma, beta, 0.0)[0], y)


def check_ln_geometry():
    """Equation (ln-geometry): the normalized vectors lie on spheres."""
    x, _, _ = _example(np.random.default_rng(0))
    x_hat = layer_norm(x, np.ones(7), np.zeros(7), 0.0)[0]
    assert np.allclose(x_hat.sum(-1), 0, atol=1e-12)
    assert np.allclose(np.sum(x_hat**2, -1), 7)
    r_hat = rms_norm(x, np.ones(7), 0.0)[0]
    assert np.allclose(np.linalg.norm(r_hat, axis=-1), np.sqrt(7))
    assert np.abs(r_hat.sum(-1)).min() > 0.1


def check_ln_weight_invariance():
    """Equation (ln-weight-invariance): rescaled and recentered weight matrices."""
    rng = np.random.default_rng(0)
    W, v, x = rng.standard_normal((7, 4)), rng.standard_normal(4), rng.normal(size=4)
    one, zero = np.ones(7), np.zeros(7)
    W2 = 3.0 * W + np.outer(one, v)
    base = layer_norm(W @ x, one, zero, 0.0)[0]
    assert np.allclose(layer_norm(W2 @ x, one, zero, 0.0)[0], base)
    rms = rms_norm(W @ x, one, 0.0)[0]
    assert np.allclose(rms_norm(3.0 * W @ x, one, 0.0)[0], rms)
    assert not np.allclose(rms_norm(W2 @ x, one, 0.0)[0], rms, atol=0.05)
    # one unit's weights alone may not be rescaled (batch normalization allows that)
    row = W.copy()
    row[0] *= 3.0
    assert not np.allclose(layer_norm(row @ x, one, zero, 0.0)[0], base, atol=0.05)


def check_ln_scaled_gradient():
    """Equation (ln-scaled-gradient): three identities for the weight gradient."""
    rng = np.random.default_rng(0)
    x, target = torch.tensor(rng.normal(size=(9, 4))), torch.tensor(rng.normal(size=9))
    read = torch.tensor(rng.standard_normal(7))

    def gradient(W, norm):
        W = W.clone().requires_grad_()
        z = x @ W.T
        if norm == "layer":
            y = torch.nn.functional.layer_norm(z, (7,), eps=0.0)
        else:
            y = z / z.pow(2).mean(-1, keepdim=True).sqrt()
        loss = ((torch.tanh(y) @ read - target) ** 2).mean()
        return torch.autograd.grad(loss, W)[0]

    W = torch.tensor(rng.standard_normal((7, 4)))
    for norm in ("layer", "rms"):
        g = gradient(W, norm)
        assert torch.allclose(gradient(5.0 * W, norm), g / 5.0, atol=1e-12)
        assert abs((W * g).sum().item()) < 1e-10 < g.norm().item() * 1e-3
        columns = g.sum(0).abs().max().item()
        assert columns < 1e-10 if norm == "layer" else columns > 1e-2


def check_ln_backward():
    """Equation (ln-backward): against central differences and autograd."""
    x, gamma, beta = _example(np.random.default_rng(0))
    weight = np.random.default_rng(1).standard_normal(x.shape)
    for center in (True, False):

        def forward(u, center=center):
            return layer_norm(u, gamma, beta) if center else rms_norm(u, gamma)

        y, cache = forward(x)
        dx = norm_backward(weight * np.cos(y), cache, center)
        for index in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[index] = 1e-6
            up = np.sum(weight * np.sin(forward(x + step)[0]))
            down = np.sum(weight * np.sin(forward(x - step)[0]))
            assert np.isclose((up - down) / 2e-6, dx[index], rtol=1e-5, atol=1e-6)
        xt, g, b = (torch.tensor(v) for v in (x, gamma, beta))
        xt.requires_grad_()
        f = torch.nn.functional
        yt = f.layer_norm(xt, (7,), g, b) if center else f.rms_norm(xt, (7,), g, 1e-6)
        (torch.tensor(weight) * torch.sin(yt)).sum().backward()
        assert np.allclose(dx, xt.grad.numpy(), atol=1e-10)


check_ln_rms_backward = check_ln_backward


def check_ln_pre_post():
    """Equation (ln-pre-post): PyTorch's norm_first flag selects between the two."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8)
    for pre in (False, True):
        layer = torch.nn.TransformerEncoderLayer(
            8, 2, 16, dropout=0.0, batch_first=True, norm_first=pre
        )

        def attend(u, layer=layer):
            return layer.self_attn(u, u, u, need_weights=False)[0]

        def feed(u, layer=layer):
            return layer.linear2(torch.relu(layer.linear1(u)))

        if pre:
            h = x + attend(layer.norm1(x))
            expected = h + feed(layer.norm2(h))
        else:
            h = layer.norm1(x + attend(x))
            expected = layer.norm2(h + feed(h))
        assert torch.allclose(layer(x), expected, atol=1e-5)
    assert torch.nn.TransformerEncoderLayer(8, 2).norm_first is False


def check_ln_pre_sum():
    """Equation (ln-pre-sum): the stream is the input plus all branch outputs."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8).double()
    blocks = [Block(8, 16).double() for _ in range(5)]
    h, branches = x, []
    for block in blocks:
        branches.append(block.branch(block.norm(h)))
        h = block(h)
    assert torch.allclose(h, x + sum(branches), atol=1e-12)
    post = Block(8, 16, pre_norm=False).double()
    assert torch.allclose(post(x), post.norm(x + post.branch(x)))


def check_ln_skip_path():
    """Equation (ln-skip-path): Jacobian of the skip path and its bound."""
    rng = np.random.default_rng(0)
    d, x, jacobian, bound = 6, rng.standard_normal(6), np.eye(6), 1.0
    for _ in range(8):
        s_input = x + rng.standard_normal(d)  # skip plus a branch output
        std = s_input.std()
        x = (s_input - s_input.mean()) / std
        P = np.eye(d) - np.ones((d, d)) / d - np.outer(x, x) / d
        assert np.allclose(P @ P, P) and np.allclose(P, P.T)  # a projection
        auto = torch.autograd.functional.jacobian(
            lambda u: torch.nn.functional.layer_norm(u, (d,), eps=0.0),
            torch.tensor(s_input),
        )
        assert np.allclose(auto.numpy(), P / std, atol=1e-10)
        jacobian, bound = P @ jacobian / std, bound / std
        assert np.linalg.norm(jacobian, 2) <= bound * (1 + 1e-12)
    assert 2.0 ** (-24 / 2) == 1 / 4096


def check_gradient_experiment():
    """Figure: post-norm grows toward the output, pre-norm shrinks with depth."""
    post, pre = _mean_norms(False, 12, range(3)), _mean_norms(True, 12, range(3))
    assert post[-3:].mean() > 1.1 * post[:3].mean()
    assert pre[-3:].mean() < 0.7 * pre[:3].mean()
    assert post[-1] > 2 * pre[-1]
    ratio_pre = _mean_norms(True, 4, range(3))[-1] / _mean_norms(True, 16, range(3))[-1]
    ratio_post = (
        _mean_norms(False, 4, range(3))[-1] / _mean_norms(False, 16, range(3))[-1]
    )
    assert 1.3 < ratio_pre < 2.2 and 0.7 < ratio_post < 1.1
    energy = _gradient_norms(True, 12, 0)[1]  # mean square of the residual stream
    assert 6 < energy[-1] < 9 and 1.2 < energy[0] < 1.6
    assert np.allclose(_gradient_norms(False, 12, 0)[1], 1, atol=1e-3)


def check_defaults():
    """What the library does by default, as the page says (PyTorch 2.13)."""
    layer, rms = torch.nn.LayerNorm(4), torch.nn.RMSNorm(4)
    assert layer.eps == 1e-5 and rms.eps is None
    assert layer.weight.tolist() == [1] * 4 and layer.bias.tolist() == [0] * 4
    assert not hasattr(rms, "bias") or rms.bias is None
    x = torch.tensor([1e-4, -2e-4, 0.0, 3e-4])
    tiny = torch.finfo(torch.float32).eps
    assert torch.allclose(rms(x), x / (x.pow(2).mean() + tiny).sqrt())
    assert np.isclose(tiny, 1.19e-7, rtol=1e-2)
    assert not dict(layer.named_buffers())  # no running statistics
    x = torch.randn(3, 4)
    assert torch.equal(layer.train()(x), layer.eval()(x))


def check_numpy_equals_torch():
    """NumPy norms inside the PyTorch block: equal to 1e-10 in float64."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8).double()
    for rms in (False, True):
        block = Block(8, 16, rms=rms).double()
        if rms:
            u = rms_norm(x.numpy(), block.norm.weight.detach().numpy())[0]
        else:
            u = layer_norm(x.numpy(), np.ones(8), np.zeros(8))[0]
        expected = x + block.branch(torch.tensor(u))
        assert torch.allclose(block(x), expected, atol=1e-10)


def check_worked_example():
    """The numbers of the worked example."""
    x, one, zero = np.array([1.0, 2.0, 3.0, 6.0]), np.ones(4), np.zeros(4)
    assert (
        x.mean() == 3 and x.var() == 3.5 and np.isclose(np.sqrt(3.5), 1.8708, atol=5e-5)
    )
    y, cache = layer_norm(x, one, zero, 0.0)
    assert np.allclose(y, [-1.0690, -0.5345, 0, 1.6036], atol=5e-5)
    assert np.mean(x**2) == 12.5
    r, _ = rms_norm(x, one, 0.0)
    assert np.allclose(r, [0.2828, 0.5657, 0.8485, 1.6971], atol=5e-5)
    assert np.allclose(layer_norm(x + 10, one, zero, 0.0)[0], y)
    assert np.allclose(layer_norm(x * 10, one, zero, 0.0)[0], y)
    shifted, _ = rms_norm(x + 10, one, 0.0)
    assert np.allclose(shifted, [0.8375, 0.9137, 0.9898, 1.2182], atol=5e-5)
    dx = norm_backward(np.array([1.0, 0, 0, 0]), cache, True)
    assert np.isclose(np.mean(np.array([1.0, 0, 0, 0]) * y), -0.2673, atol=5e-5)
    assert np.allclose(dx * np.sqrt(3.5), [0.4643, -0.3929, -0.25, 0.1786], atol=5e-5)
    assert np.allclose(dx, [0.2482, -0.2100, -0.1336, 0.0955], atol=5e-5)
    assert np.isclose(dx.sum(), 0) and np.isclose(dx @ x, 0)
    _, big = layer_norm(10 * x, one, zero, 0.0)
    assert np.allclose(norm_backward(np.array([1.0, 0, 0, 0]), big, True), dx / 10)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
