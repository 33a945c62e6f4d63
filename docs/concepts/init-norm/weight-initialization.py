"""Twin of the page on weight initialization: checks its formulas and numbers."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan-in and fan-out of a weight of shape (out, in, *kernel), as in PyTorch."""
    receptive = int(np.prod(shape[2:]))  # 1 for a dense layer
    return shape[1] * receptive, shape[0] * receptive


def init_std(shape: tuple[int, ...], scheme: str, slope: float = 0.0) -> float:
    """Standard deviation of one weight; `slope` is that of a leaky ReLU.

    "xavier" is Glorot and Bengio (2010); "he" is He et al. (2015), forward form.
    """
    n_in, n_out = fans(shape)
    if scheme == "xavier":
        return np.sqrt(2.0 / (n_in + n_out))
    if scheme == "he":
        return np.sqrt(2.0 / ((1.0 + slope**2) * n_in))
    raise ValueError(f"unknown scheme {scheme!r}")


def second_moments(x: np.ndarray, weights: list[np.ndarray]) -> list[float]:
    """Mean square of the activations after each ReLU layer; x is (batch, features)."""
    moments, a = [], x
    for W in weights:  # W is (out, in)
        a = np.maximum(a @ W.T, 0.0)
        moments.append(float(np.mean(a**2)))
    return moments


# --8<-- [end:numpy]


# --8<-- [start:torch]
def he_initialize(model: torch.nn.Module) -> None:
    """He initialization for every dense and convolutional layer; zero biases."""
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)


def torch_second_moments(model: torch.nn.Sequential, x: torch.Tensor) -> list[float]:
    """Mean square of the output of each ReLU in a sequential model."""
    moments, a = [], x
    for module in model:
        a = module(a)
        if isinstance(module, torch.nn.ReLU):
            moments.append(a.pow(2).mean().item())
    return moments


# --8<-- [end:torch]


def _signal(std_of, depth=30, width=256, batch=64, seed=0):
    """RMS activation after and gradient before each layer of a random ReLU net."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((batch, width))
    weights, masks, forward = [], [], [np.sqrt(np.mean(a**2))]
    for _ in range(depth):
        W = rng.standard_normal((width, width)) * std_of(width)
        z = a @ W.T
        masks.append(z > 0)
        a = np.maximum(z, 0.0)
        weights.append(W)
        forward.append(np.sqrt(np.mean(a**2)))
    g = rng.standard_normal((batch, width))  # gradient with respect to the last output
    backward = [np.sqrt(np.mean(g**2))]
    for W, mask in zip(reversed(weights), reversed(masks), strict=True):
        g = (g * mask) @ W
        backward.append(np.sqrt(np.mean(g**2)))
    return forward, backward[::-1]


def figure_signal():
    """RMS activations and gradients through 30 ReLU layers for four weight scales."""
    scales = {
        "variance 4/n": (lambda n: np.sqrt(4 / n), "-.", "^"),
        "He: 2/n": (lambda n: np.sqrt(2 / n), "-", "o"),
        "Xavier: 1/n": (lambda n: np.sqrt(1 / n), "--", "s"),
        "PyTorch default: 1/(3n)": (lambda n: np.sqrt(1 / (3 * n)), ":", "D"),
    }
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.4), sharey=True)
    for label, (std_of, line, marker) in scales.items():
        for ax, values in zip(axes, _signal(std_of), strict=True):
            ax.semilogy(
                values, line, marker=marker, markevery=6, markersize=5, label=label
            )
    axes[0].set_xlabel("layer (forward pass →)")
    axes[0].set_ylabel("root mean square")
    axes[1].set_xlabel("layer (← backward pass)")
    for ax, text in zip(axes, ("activations", "gradients"), strict=True):
        ax.annotate(text, (0.5, 0.93), xycoords="axes fraction", ha="center")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=9)
    return fig


def _relu(z):
    return np.maximum(z, 0.0)


def check_init_forward_variance():
    """Equation (init-forward-variance): Var(z) = n_in Var(w) E[a^2], by sampling."""
    rng = np.random.default_rng(0)
    n_in, var_w, draws = 40, 0.03, 200_000
    # activations with nonzero mean, so that E[a^2] and Var(a) differ
    a = rng.exponential(1.0, size=(draws, n_in)) * np.linspace(0.5, 1.5, n_in)
    w = rng.uniform(-1, 1, size=(draws, n_in)) * np.sqrt(3 * var_w)
    z = np.sum(w * a, axis=1)
    mean_square = 2.0 * np.mean(np.linspace(0.5, 1.5, n_in) ** 2)  # E[Exp(1)^2] = 2
    expected = n_in * var_w * mean_square
    assert np.isclose(np.var(z), expected, rtol=0.02)
    wrong = n_in * var_w * mean_square / 2  # with Var(a) in place of E[a^2]
    assert not np.isclose(np.var(z), wrong, rtol=0.2)


def check_init_backward_variance():
    """Equation (init-backward-variance): E[(W^T g)_j^2] = n_out Var(w) mean E[g^2]."""
    rng = np.random.default_rng(0)
    n_in, n_out, var_w = 7, 25, 0.05
    g = rng.standard_normal(n_out) + 0.4
    W = rng.standard_normal((40_000, n_out, n_in)) * np.sqrt(var_w)
    back = np.einsum("soi,o->si", W, g)
    assert np.allclose(
        np.mean(back**2, axis=0), n_out * var_w * np.mean(g**2), rtol=0.04
    )
    assert not np.isclose(n_out, n_in, rtol=0.5)


def check_init_xavier():
    """Equation (init-xavier): harmonic mean of both targets; PyTorch draws the same."""
    n_in, n_out = 300, 100
    variance = init_std((n_out, n_in), "xavier") ** 2
    assert np.isclose(variance, 2 / (1 / (1 / n_in) + 1 / (1 / n_out)))  # harmonic mean
    assert min(1 / n_in, 1 / n_out) < variance < max(1 / n_in, 1 / n_out)
    limit = np.sqrt(6 / (n_in + n_out))
    rng = np.random.default_rng(0)
    assert np.isclose(np.var(rng.uniform(-limit, limit, 400_000)), variance, rtol=0.01)
    torch.manual_seed(0)
    w = torch.nn.init.xavier_uniform_(torch.empty(n_out, n_in, dtype=torch.float64))
    assert w.abs().max().item() <= limit and np.isclose(
        w.var().item(), variance, rtol=0.03
    )


def check_init_relu_half():
    """Equation (init-relu-half): E[relu(z)^2] = Var(z)/2 for any symmetric z."""
    rng = np.random.default_rng(0)
    for z in (rng.standard_normal(999), rng.laplace(size=999), rng.uniform(-3, 3, 999)):
        z = np.concatenate([z, -z])  # an exactly symmetric distribution
        assert np.isclose(np.mean(_relu(z) ** 2), np.var(z) / 2, rtol=1e-12)
        assert not np.isclose(
            np.var(_relu(z)), np.var(z) / 2, rtol=0.1
        )  # not a variance
    skew = rng.exponential(size=999)
    skew -= skew.mean()  # zero mean alone is not enough
    assert not np.isclose(np.mean(_relu(skew) ** 2), np.var(skew) / 2, rtol=0.1)


def check_init_relu_step():
    """Equation (init-relu-step): one ReLU layer maps q to (n Var(w)/2) q on average."""
    rng = np.random.default_rng(0)
    n_in, n_out, var_w = 12, 5, 0.1
    a = rng.exponential(size=n_in)
    for unit in (rng.standard_normal, lambda s: np.sqrt(3) * rng.uniform(-1, 1, s)):
        W = unit((100_000, n_out, n_in)) * np.sqrt(var_w)
        q = np.mean(_relu(W @ a) ** 2)
        assert np.isclose(q, n_in * var_w / 2 * np.mean(a**2), rtol=0.02)


def check_init_depth():
    """Equation (init-depth): E[q_L] = prod_l (n_{l-1} Var(w_l)/2) q_0, any widths."""
    rng = np.random.default_rng(0)
    widths, variances = [6, 10, 4, 8], [0.4, 0.15, 0.6]
    a0 = rng.standard_normal(widths[0])
    a = np.broadcast_to(a0, (200_000, widths[0]))
    expected = np.mean(a0**2)
    for n_in, n_out, v in zip(widths[:-1], widths[1:], variances, strict=True):
        W = rng.standard_normal((len(a), n_out, n_in)) * np.sqrt(v)
        a = _relu(np.einsum("soi,si->so", W, a))
        expected *= n_in * v / 2
    assert np.isclose(np.mean(a**2), expected, rtol=0.03)


def check_init_fluctuation():
    """Equation (init-fluctuation): E[q_L^2]/E[q_L]^2 = prod (1 + 5/n_l), sampled."""
    rng = np.random.default_rng(0)
    widths = [10, 40, 60, 30]
    a = np.broadcast_to(rng.standard_normal(10), (20_000, 10))
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        # given the input, the units of a layer are independent normal variables
        scale = np.sqrt(2 / n_in * np.sum(a**2, axis=1, keepdims=True))
        a = _relu(scale * rng.standard_normal((len(a), n_out)))
    q = np.mean(a**2, axis=1)
    expected = np.prod([1 + 5 / n for n in widths[1:]])
    assert np.isclose(np.mean(q**2) / np.mean(q) ** 2, expected, rtol=0.03)
    assert expected > 1.3


def check_init_he():
    """Equation (init-he): He keeps the mean square, Xavier halves it."""
    he, _ = _signal(lambda n: init_std((n, n), "he"), width=512)
    xavier, _ = _signal(lambda n: init_std((n, n), "xavier"), width=512)
    assert 0.5 < he[-1] / he[0] < 2.0
    assert np.isclose(
        (xavier[-1] / he[-1]) ** 2, 2.0**-30, rtol=1e-6
    )  # same draws, scaled
    torch.manual_seed(0)
    w = torch.nn.init.kaiming_normal_(torch.empty(400, 300), nonlinearity="relu")
    assert np.isclose(w.std().item(), init_std((400, 300), "he"), rtol=0.01)


def check_init_he_backward():
    """Equation (init-he-backward): one backward step multiplies by n_out Var(w)/2."""
    rng = np.random.default_rng(0)
    n_in, n_out, var_w = 6, 30, 0.08
    a, draws = rng.exponential(size=n_in), 60_000
    W = rng.standard_normal((draws, n_out, n_in)) * np.sqrt(var_w)
    scale = np.linspace(0.2, 2.0, n_out)
    g = (
        rng.choice([-1.0, 1.0], size=(draws, n_out)) * scale
    )  # independent of W, zero mean
    back = np.einsum("soi,so->si", W, g * (W @ a > 0))
    assert np.allclose(
        np.mean(back**2, axis=0), n_out * var_w / 2 * np.mean(scale**2), rtol=0.03
    )


def check_init_leaky():
    """Equation (init-leaky): E[lrelu(z)^2] = (1 + s^2)/2 Var(z); std as in PyTorch."""
    rng = np.random.default_rng(0)
    slope = 0.3
    z = rng.standard_normal(5000)
    z = np.concatenate([z, -z])
    leaky = np.where(z > 0, z, slope * z)
    assert np.isclose(np.mean(leaky**2), (1 + slope**2) / 2 * np.var(z), rtol=1e-12)
    gain = torch.nn.init.calculate_gain("leaky_relu", slope)
    assert np.isclose(init_std((50, 80), "he", slope), gain / math.sqrt(80), rtol=1e-12)
    assert np.isclose(
        80 * init_std((50, 80), "he", slope) ** 2 * np.mean(leaky**2), np.var(z)
    )


def check_init_symmetry():
    """Equation (init-symmetry): twin hidden units get equal gradients."""
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.standard_normal((16, 5)))
    y = torch.tensor(rng.integers(0, 3, 16))
    W1, W2 = rng.standard_normal((4, 5)), rng.standard_normal((3, 4))
    W1[1], W2[:, 1] = W1[0], W2[:, 0]  # units 0 and 1 are twins, 2 and 3 are not
    W1, W2 = torch.tensor(W1, requires_grad=True), torch.tensor(W2, requires_grad=True)
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(torch.tanh(X @ W1.T) @ W2.T, y)
        g1, g2 = torch.autograd.grad(loss, (W1, W2))
        assert torch.allclose(g1[0], g1[1], atol=1e-12)
        assert not torch.allclose(g1[0], g1[2], atol=1e-6)
        with torch.no_grad():
            W1 -= 0.5 * g1
            W2 -= 0.5 * g2
    assert torch.allclose(W1[0], W1[1], atol=1e-12)


def check_all_zero_weights_do_not_learn():
    """With every weight zero only the last bias gets a gradient (tanh and ReLU)."""
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.standard_normal((8, 4)))
    y = torch.tensor(rng.integers(0, 3, 8))
    for act in (torch.nn.Tanh(), torch.nn.ReLU()):
        net = torch.nn.Sequential(
            torch.nn.Linear(4, 6), act, torch.nn.Linear(6, 3)
        ).double()
        for p in net.parameters():
            torch.nn.init.zeros_(p)
        torch.nn.functional.cross_entropy(net(X), y).backward()
        grads = [p.grad.abs().max().item() for p in net.parameters()]
        assert grads[:3] == [0.0, 0.0, 0.0] and grads[3] > 0
    # softmax regression (no hidden layer) has no symmetry to break
    flat = torch.nn.Linear(4, 3).double()
    torch.nn.init.zeros_(flat.weight)
    torch.nn.functional.cross_entropy(flat(X), y).backward()
    assert flat.weight.grad.abs().max().item() > 1e-3


def check_pytorch_default():
    """nn.Linear and nn.Conv2d draw U(-1/sqrt(fan_in), 1/sqrt(fan_in)) by default."""
    torch.manual_seed(0)
    for layer in (torch.nn.Linear(300, 400), torch.nn.Conv2d(16, 200, 3)):
        n_in, _ = fans(tuple(layer.weight.shape))
        w = layer.weight.detach()
        assert w.abs().max().item() <= 1 / math.sqrt(n_in) * (1 + 1e-6)
        assert np.isclose(n_in * w.var().item(), 1 / 3, rtol=0.02)


def check_orthogonal_keeps_norm():
    """Orthogonal matrices keep the norm of every vector, at any depth."""
    torch.manual_seed(0)
    x = torch.randn(10, 64, dtype=torch.float64)
    a, b = x, x
    for _ in range(50):
        a = a @ torch.nn.init.orthogonal_(torch.empty(64, 64, dtype=torch.float64)).T
        b = b @ (torch.randn(64, 64, dtype=torch.float64) / 8).T
    assert torch.allclose(a.norm(dim=1), x.norm(dim=1), rtol=1e-10)
    assert not torch.allclose(b.norm(dim=1), x.norm(dim=1), rtol=0.05)


def check_numpy_equals_torch():
    """The NumPy and PyTorch loops agree to 1e-10 on the same weights (float64)."""
    torch.manual_seed(0)
    layers = []
    for _ in range(6):
        layers += [torch.nn.Linear(32, 32), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers).double()
    he_initialize(model)
    x = torch.randn(20, 32, dtype=torch.float64)
    weights = [
        m.weight.detach().numpy() for m in model if isinstance(m, torch.nn.Linear)
    ]
    with torch.no_grad():
        ours, theirs = (
            second_moments(x.numpy(), weights),
            torch_second_moments(model, x),
        )
    assert np.allclose(ours, theirs, rtol=1e-10) and len(ours) == 6


def check_worked_example():
    """The numbers of the worked example."""
    assert np.isclose(init_std((100, 300), "xavier"), 0.0707, atol=5e-5)
    assert np.isclose(np.sqrt(6 / 400), 0.1225, atol=5e-5)
    assert np.isclose(init_std((100, 300), "he"), 0.0816, atol=5e-5)
    assert np.isclose(1 / np.sqrt(300), 0.0577, atol=5e-5)
    assert np.isclose(1 / np.sqrt(900), 0.0333, atol=5e-5)
    assert fans((128, 64, 3, 3)) == (576, 1152)
    conv = torch.empty(128, 64, 3, 3)
    assert torch.nn.init._calculate_fan_in_and_fan_out(conv) == (576, 1152)
    assert np.isclose(init_std((128, 64, 3, 3), "he"), 0.0589, atol=5e-5)
    assert np.isclose(2.0**-20, 9.5e-7, rtol=0.01) and np.isclose(
        2.0**-10, 1e-3, rtol=0.03
    )
    assert np.isclose(6.0**-20, 2.7e-16, rtol=0.02) and np.isclose(
        6.0**-10, 1.7e-8, rtol=0.03
    )


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
