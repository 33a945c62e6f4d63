"""Twin of the page on batch normalization: checks its formulas and numbers."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle


# --8<-- [start:numpy]
def batch_norm_train(x, gamma, beta, running, momentum=0.1, eps=1e-5):
    """Training-mode batch normalization (Ioffe and Szegedy, 2015, algorithm 1).

    x: (batch, features); gamma, beta: (features,); running: dict with "mean", "var",
    updated in place with PyTorch's convention. Returns the output and a cache.
    """
    n = x.shape[0]
    mean, var = x.mean(axis=0), x.var(axis=0)  # biased: divided by n
    std = np.sqrt(var + eps)
    x_hat = (x - mean) / std
    running["mean"] = (1 - momentum) * running["mean"] + momentum * mean
    running["var"] = (1 - momentum) * running["var"] + momentum * var * n / (n - 1)
    return gamma * x_hat + beta, (x_hat, std, gamma)


def batch_norm_eval(x, gamma, beta, running, eps=1e-5):
    """Evaluation mode: a fixed affine map per feature, no use of the batch."""
    return gamma * (x - running["mean"]) / np.sqrt(running["var"] + eps) + beta


def batch_norm_backward(dy, cache):
    """Gradients of a scalar loss for x, gamma, beta; dy is (batch, features)."""
    x_hat, std, gamma = cache
    dgamma, dbeta = np.sum(dy * x_hat, axis=0), np.sum(dy, axis=0)
    dx = gamma / std * (dy - dy.mean(axis=0) - x_hat * np.mean(dy * x_hat, axis=0))
    return dx, dgamma, dbeta


# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_batch_norm(x, gamma, beta, steps=1):
    """Train-mode output, eval-mode output and the layer after `steps` passes over x."""
    layer = torch.nn.BatchNorm1d(x.shape[1]).to(x.dtype)  # eps=1e-5, momentum=0.1
    with torch.no_grad():
        layer.weight.copy_(gamma)
        layer.bias.copy_(beta)
    layer.train()
    for _ in range(steps):
        y_train = layer(x)  # normalizes with the batch, updates the running statistics
    layer.eval()
    y_eval = layer(x)  # normalizes with the running statistics, changes nothing
    layer.train()
    return y_train, y_eval, layer


# --8<-- [end:torch]


def figure_scatter():
    """A batch of two features before, after normalizing, and after scale and shift."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((80, 2)) @ np.array([[1.8, 0.9], [0.0, 0.6]]) + [4.0, -2.0]
    gamma, beta = np.array([0.6, 1.4]), np.array([-2.0, 2.0])
    running = {"mean": np.zeros(2), "var": np.ones(2)}
    x_hat, _ = batch_norm_train(x, np.ones(2), np.zeros(2), running)
    y = gamma * x_hat + beta
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.7), sharex=True, sharey=True)
    texts = ("input", "normalized", "scaled and shifted")
    for ax, points, text, color, marker in zip(
        axes, (x, x_hat, y), texts, ("C0", "C1", "C2"), "osD", strict=True
    ):
        ax.scatter(
            *points.T, s=13, color=color, marker=marker, alpha=0.75, linewidths=0
        )
        mean, std = points.mean(axis=0), points.std(axis=0)
        ax.add_patch(
            Rectangle(
                mean - std, *(2 * std), fill=False, edgecolor="#222222", linewidth=1.3
            )
        )
        ax.plot(*mean, "+", color="#222222", markersize=9, markeredgewidth=1.6)
        ax.axhline(0, color="#555555", linewidth=0.8)
        ax.axvline(0, color="#555555", linewidth=0.8)
        ax.annotate(text, (0.5, 0.94), xycoords="axes fraction", ha="center")
        ax.set_xlabel("feature 1")
    axes[0].set_ylabel("feature 2")
    axes[0].set_ylim(-6.0, 8.0)
    return fig


def figure_axes():
    """Which entries of a batch of feature maps share one mean and one variance."""
    n, c, s = 3, 4, 4  # examples, channels, positions per channel
    shared = {
        "batch norm": lambda i, j: j == 0,
        "layer norm": lambda i, j: i == 0,
        "group norm (2 groups)": lambda i, j: i == 0 and j < 2,
        "instance norm": lambda i, j: i == 0 and j == 0,
    }
    fig, axes = plt.subplots(2, 2, figsize=(6.4, 3.6))
    for ax, (name, inside) in zip(axes.flat, shared.items(), strict=True):
        for i in range(n):
            for j in range(c):
                for k in range(s):
                    ax.add_patch(
                        Rectangle(
                            (j * (s + 1) + k, i * 1.35),
                            1,
                            1,
                            facecolor="C0" if inside(i, j) else "none",
                            hatch="///" if inside(i, j) else None,
                            edgecolor="#222222",
                            linewidth=0.8,
                        )
                    )
        ax.set_xlim(-0.3, c * (s + 1) - 0.7)
        ax.set_ylim(n * 1.35 - 0.1, -0.3)
        ax.set_xticks(
            [j * (s + 1) + s / 2 for j in range(c)], [f"ch. {j + 1}" for j in range(c)]
        )
        ax.set_yticks(
            [i * 1.35 + 0.5 for i in range(n)], [f"ex. {i + 1}" for i in range(n)]
        )
        ax.tick_params(length=0, labelsize=9)
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        ax.annotate(name, (0.5, 1.04), xycoords="axes fraction", ha="center")
    return fig


def _fresh(features):
    return {"mean": np.zeros(features), "var": np.ones(features)}


def _batch(rng, n=6, d=3):
    x = rng.standard_normal((n, d)) * [1.0, 3.0, 0.2] + [0.0, 5.0, -2.0]
    return x, rng.uniform(0.5, 2.0, d), rng.standard_normal(d)


def check_bn_statistics():
    """Equation (bn-statistics): mean and biased variance per feature."""
    x, _, _ = _batch(np.random.default_rng(0))
    mean = np.array([sum(column) / len(column) for column in x.T])
    var = np.array(
        [
            sum((v - m) ** 2 for v in column) / len(column)
            for column, m in zip(x.T, mean, strict=True)
        ]
    )
    layer = torch.nn.BatchNorm1d(3, momentum=1.0, affine=False, eps=1e-14).double()
    y = layer(torch.tensor(x))
    assert np.allclose(((x - mean) / np.sqrt(var)), y.numpy(), atol=1e-12)
    assert not np.allclose((x - mean) / np.sqrt(var * 6 / 5), y.numpy(), atol=1e-2)
    assert np.allclose(layer.running_mean.numpy(), mean)


def check_bn_forward():
    """Equation (bn-forward): mean beta, variance near gamma^2."""
    x, gamma, beta = _batch(np.random.default_rng(0))
    y, (x_hat, _, _) = batch_norm_train(x, gamma, beta, _fresh(3), eps=1e-5)
    assert np.allclose(x_hat.mean(axis=0), 0, atol=1e-12)
    assert np.allclose(x_hat.var(axis=0), x.var(axis=0) / (x.var(axis=0) + 1e-5))
    assert np.allclose(y.mean(axis=0), beta) and np.allclose(
        y.std(axis=0), gamma, rtol=1e-3
    )
    corr_in, corr_out = np.corrcoef(x.T), np.corrcoef(y.T)
    assert np.allclose(corr_in, corr_out)  # correlations stay: no whitening
    assert np.abs(corr_in[0, 1]) > 0.05
    # gamma = std, beta = mean undoes the normalization
    undo, _ = batch_norm_train(
        x, np.sqrt(x.var(axis=0) + 1e-5), x.mean(axis=0), _fresh(3)
    )
    assert np.allclose(undo, x)


def check_bn_running():
    """Equation (bn-running): PyTorch's update, with the unbiased variance."""
    x, gamma, beta = _batch(np.random.default_rng(0))
    running = _fresh(3)
    batch_norm_train(x, gamma, beta, running)
    batch_norm_train(x + 1.0, gamma, beta, running)
    layer = torch.nn.BatchNorm1d(3).double()
    layer(torch.tensor(x))
    layer(torch.tensor(x + 1.0))
    assert np.allclose(running["mean"], layer.running_mean.numpy(), atol=1e-12)
    assert np.allclose(running["var"], layer.running_var.numpy(), atol=1e-12)
    biased = 0.81 + 0.19 * x.var(axis=0)
    assert not np.allclose(biased, layer.running_var.numpy(), rtol=1e-3)


def check_bn_inference():
    """Equation (bn-inference): fixed statistics; other examples do not count."""
    rng = np.random.default_rng(0)
    x, gamma, beta = _batch(rng)
    running = {"mean": rng.standard_normal(3), "var": rng.uniform(0.5, 2, 3)}
    whole = batch_norm_eval(x, gamma, beta, running)
    single = batch_norm_eval(x[:1], gamma, beta, running)
    assert np.allclose(whole[:1], single)
    layer = torch.nn.BatchNorm1d(3).double().eval()
    layer.load_state_dict(
        {
            "weight": torch.tensor(gamma),
            "bias": torch.tensor(beta),
            "running_mean": torch.tensor(running["mean"]),
            "running_var": torch.tensor(running["var"]),
            "num_batches_tracked": torch.tensor(1),
        }
    )
    assert np.allclose(whole, layer(torch.tensor(x)).detach().numpy(), atol=1e-12)
    train, _ = batch_norm_train(x, gamma, beta, _fresh(3))
    other, _ = batch_norm_train(x[:3], gamma, beta, _fresh(3))
    assert not np.allclose(train[:3], other)  # in training mode the batch matters


def check_bn_folding():
    """Equation (bn-folding): eval mode merges into the linear map before it."""
    rng = np.random.default_rng(0)
    W, b, a = (
        rng.standard_normal((3, 5)),
        rng.standard_normal(3),
        rng.standard_normal((7, 5)),
    )
    gamma, beta = rng.uniform(0.5, 2, 3), rng.standard_normal(3)
    running = {"mean": rng.standard_normal(3), "var": rng.uniform(0.5, 2, 3)}
    scale = gamma / np.sqrt(running["var"] + 1e-5)
    W_fold, b_fold = scale[:, None] * W, scale * (b - running["mean"]) + beta
    expected = batch_norm_eval(a @ W.T + b, gamma, beta, running)
    assert np.allclose(a @ W_fold.T + b_fold, expected, atol=1e-12)


def check_bn_backward():
    """Equation (bn-backward): against central differences and against autograd."""
    rng = np.random.default_rng(0)
    x, gamma, beta = _batch(rng)
    weight = rng.standard_normal(x.shape)

    def loss(x_, g_, b_):
        y, _ = batch_norm_train(x_, g_, b_, _fresh(3))
        return np.sum(weight * np.sin(y))

    y, cache = batch_norm_train(x, gamma, beta, _fresh(3))
    dx, dgamma, dbeta = batch_norm_backward(weight * np.cos(y), cache)
    for array, grad, place in ((x, dx, 0), (gamma, dgamma, 1), (beta, dbeta, 2)):
        for index in np.ndindex(array.shape):
            args = [x.copy(), gamma.copy(), beta.copy()]
            args[place][index] += 1e-6
            up = loss(*args)
            args[place][index] -= 2e-6
            assert np.isclose(
                (up - loss(*args)) / 2e-6, grad[index], rtol=1e-5, atol=1e-6
            )
    xt = torch.tensor(x, requires_grad=True)
    yt, _, _ = torch_batch_norm(xt, torch.tensor(gamma), torch.tensor(beta))
    (torch.tensor(weight) * torch.sin(yt)).sum().backward()
    assert np.allclose(dx, xt.grad.numpy(), atol=1e-10)
    # treating mean and variance as constants gives another, wrong gradient
    assert not np.allclose(dx, gamma / cache[1] * weight * np.cos(y), atol=1e-2)


check_bn_backward_params = check_bn_backward


def check_bn_jacobian():
    """Equation (bn-jacobian): derivative of the normalized values of one feature."""
    x, n, eps = np.random.default_rng(0).standard_normal(5) * 2 + 1, 5, 0.1

    def normalize(v):
        return (v - v.mean()) / np.sqrt(v.var() + eps)

    x_hat, s = normalize(x), np.sqrt(x.var() + eps)
    formula = (np.eye(n) - 1 / n - np.outer(x_hat, x_hat) / n) / s
    step = 1e-6
    columns = [
        (normalize(x + step * e) - normalize(x - step * e)) / (2 * step)
        for e in np.eye(n)
    ]
    assert np.allclose(formula, np.array(columns).T, atol=1e-8)


def check_bn_gradient_norm():
    """Equation (bn-gradient-norm): the exact norm of the input gradient at eps = 0."""
    rng = np.random.default_rng(0)
    x, gamma, beta = _batch(rng)
    _, cache = batch_norm_train(x, gamma, beta, _fresh(3), eps=0.0)
    dy = rng.standard_normal(x.shape)
    dx, _, _ = batch_norm_backward(dy, cache)
    n, x_hat, var = len(x), cache[0], x.var(axis=0)
    inner = np.sum(dy**2, 0) - np.sum(dy, 0) ** 2 / n - np.sum(dy * x_hat, 0) ** 2 / n
    assert np.allclose(np.sum(dx**2, axis=0), gamma**2 / var * inner, rtol=1e-10)
    assert np.allclose(dx.sum(axis=0), 0, atol=1e-10)
    assert np.allclose(np.sum(dx * x_hat, axis=0), 0, atol=1e-10)


def check_bn_invariance():
    """Equation (bn-invariance): scale and shift of the input do not matter."""
    rng = np.random.default_rng(0)
    x, gamma, beta = _batch(rng)
    y, _ = batch_norm_train(x, gamma, beta, _fresh(3), eps=0.0)
    z, _ = batch_norm_train(7.3 * x - 4.0, gamma, beta, _fresh(3), eps=0.0)
    assert np.allclose(y, z, atol=1e-10)
    flipped, _ = batch_norm_train(-x, gamma, beta, _fresh(3), eps=0.0)
    assert not np.allclose(y, flipped)  # only positive scales


def check_bn_scaled_gradient():
    """Equation (bn-scaled-gradient): gradient shrinks as 1/alpha, orthogonal to w."""
    rng = np.random.default_rng(0)
    a, target = (
        torch.tensor(rng.standard_normal((9, 4))),
        torch.tensor(rng.standard_normal(9)),
    )

    def gradient(w):
        w = w.clone().requires_grad_()
        u = a @ w
        u_hat = (u - u.mean()) / u.std(correction=0)
        loss = ((torch.tanh(1.3 * u_hat + 0.2) - target) ** 2).mean()
        return torch.autograd.grad(loss, w)[0]

    w = torch.tensor(rng.standard_normal(4))
    g = gradient(w)
    assert torch.allclose(gradient(5.0 * w), g / 5.0, atol=1e-12)
    assert abs(torch.dot(g, w).item()) < 1e-12 < g.norm().item() * 1e-3
    w_next = w - 0.3 * g
    assert np.isclose(
        w_next.norm() ** 2, w.norm() ** 2 + 0.09 * g.norm() ** 2
    )  # norm grows


def check_bn_convolution():
    """For images each channel is normalized over batch, height and width."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3, 5, 6)) * 2 + 1
    flat = x.transpose(0, 2, 3, 1).reshape(-1, 3)
    y, _ = batch_norm_train(flat, np.ones(3), np.zeros(3), _fresh(3))
    layer = torch.nn.BatchNorm2d(3).double()
    theirs = layer(torch.tensor(x)).detach().numpy()
    assert np.allclose(y.reshape(4, 5, 6, 3).transpose(0, 3, 1, 2), theirs, atol=1e-10)
    assert sum(p.numel() for p in layer.parameters()) == 6  # gamma and beta per channel


def check_numpy_equals_torch():
    """Outputs and running statistics agree to 1e-10 after three passes."""
    x, gamma, beta = _batch(np.random.default_rng(1))
    running = _fresh(3)
    for _ in range(3):
        y, _ = batch_norm_train(x, gamma, beta, running)
    y_train, y_eval, layer = torch_batch_norm(
        *map(torch.tensor, (x, gamma, beta)), steps=3
    )
    assert np.allclose(y, y_train.detach().numpy(), atol=1e-10)
    ours = batch_norm_eval(x, gamma, beta, running)
    assert np.allclose(ours, y_eval.detach().numpy(), atol=1e-10)
    assert np.allclose(running["var"], layer.running_var.numpy(), atol=1e-10)
    assert not np.allclose(y, ours, atol=0.1)


def check_single_example_is_refused():
    """PyTorch refuses to train on one value per channel, but evaluates it."""
    layer = torch.nn.BatchNorm1d(3)
    try:
        layer(torch.ones(1, 3))
    except ValueError as error:
        assert "more than 1 value per channel" in str(error)
    else:
        raise AssertionError("expected a ValueError")
    assert layer.eval()(torch.ones(1, 3)).shape == (1, 3)


def check_worked_example():
    """The numbers of the worked example."""
    x, gamma, beta = (
        np.array([[2.0], [4.0], [6.0], [8.0]]),
        np.array([2.0]),
        np.array([1.0]),
    )
    running = _fresh(1)
    y, cache = batch_norm_train(x, gamma, beta, running, eps=0.0)
    assert x.mean() == 5 and x.var() == 5
    assert np.allclose(cache[0].ravel(), [-1.3416, -0.4472, 0.4472, 1.3416], atol=5e-5)
    assert np.allclose(y.ravel(), [-1.6833, 0.1056, 1.8944, 3.6833], atol=5e-5)
    assert np.isclose(running["mean"][0], 0.5) and np.isclose(
        running["var"][0], 1.5667, atol=5e-5
    )
    evaluated = batch_norm_eval(np.array([[6.0]]), gamma, beta, running, eps=0.0)
    assert np.isclose(evaluated[0, 0], 9.7883, atol=5e-4)
    dx, dgamma, dbeta = batch_norm_backward(
        np.array([[1.0], [0.0], [0.0], [0.0]]), cache
    )
    assert np.allclose(dx.ravel(), [0.2683, -0.3578, -0.0894, 0.1789], atol=5e-5)
    assert np.isclose(dgamma[0], -1.3416, atol=5e-5) and dbeta[0] == 1
    inner = np.sqrt(5) / 2 * dx.ravel()
    assert np.allclose(inner, [0.3, -0.4, -0.1, 0.2])
    assert np.isclose(np.sum(dx**2), 0.8 * (1 - 0.25 - 0.45))
    long_run = 1.0 - 0.9**50
    assert long_run > 0.99


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
