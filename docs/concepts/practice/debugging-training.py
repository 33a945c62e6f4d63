"""Twin of the page "Debugging training": code, figures and checks."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn


# --8<-- [start:numpy]
def directional_check(f, gradient, theta, rng, h=1e-5, directions=5):
    """Largest relative error of a gradient over random directions.

    f: function of a vector (n,) in float64; gradient: array (n,), its gradient
    at theta; h: step of the central difference.
    """
    worst = 0.0
    for _ in range(directions):
        v = rng.normal(size=theta.shape)
        v /= np.linalg.norm(v)
        numeric = (f(theta + h * v) - f(theta - h * v)) / (2 * h)
        exact = gradient @ v
        error = abs(numeric - exact) / max(abs(numeric) + abs(exact), 1e-300)
        worst = max(worst, error)
    return worst


# --8<-- [end:numpy]


# --8<-- [start:torch]
def directional_check_torch(model, loss_fn, x, y, h=1e-5, directions=5):
    """The same for a PyTorch model, which should be in float64 and in eval mode."""
    theta = nn.utils.parameters_to_vector(model.parameters()).detach()

    def f(vector):
        nn.utils.vector_to_parameters(vector, model.parameters())
        return loss_fn(model(x), y)

    gradient = torch.autograd.grad(f(theta), list(model.parameters()))
    gradient = nn.utils.parameters_to_vector(gradient)
    worst = 0.0
    with torch.no_grad():
        for _ in range(directions):
            v = torch.randn_like(theta)
            v /= v.norm()
            numeric = (f(theta + h * v) - f(theta - h * v)).item() / (2 * h)
            exact = (gradient @ v).item()
            error = abs(numeric - exact) / max(abs(numeric) + abs(exact), 1e-300)
            worst = max(worst, error)
        f(theta)  # puts the parameters back
    return worst


# --8<-- [end:torch]


# --8<-- [start:overfit]
def overfit_one_batch(model, loss_fn, x, y, steps=300, lr=1e-3):
    """Train on one batch; returns the losses before each of the steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# --8<-- [end:overfit]


def clusters(n, seed, classes=10, width=20):
    """Points around `classes` centers: inputs (n, width) and labels (n,)."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(classes, width))
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    x = centers[y] + 0.7 * rng.normal(size=(n, width))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def network(seed=0):
    """A small classifier of 20 inputs into 10 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 10))


def run(bug, steps=300):
    """Losses that a training run with a bug reports, one for each update."""
    x, y = clusters(2000, 1)
    model, ce = network(), nn.CrossEntropyLoss()
    rate = {"rate 100 times too high": 20.0, "rate 100 times too low": 0.002}.get(bug, 0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    rng, losses = np.random.default_rng(2), []
    if bug == "shuffled labels":
        y = y[torch.tensor(rng.permutation(len(y)))]
    for _ in range(steps):
        rows = torch.tensor(rng.integers(len(x), size=64))
        out = model(x[rows])
        if bug == "softmax twice":
            out = out.softmax(1)
        loss = ce(out, y[rows])
        if bug != "no zero_grad":
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


BUGS = {
    "no bug": "-",
    "softmax twice": "--",
    "shuffled labels": ":",
    "rate 100 times too low": "-.",
    "rate 100 times too high": (0, (1, 1)),
    "no zero_grad": (0, (5, 1, 1, 1, 1, 1)),
}


def figure_curves():
    """Training curves of one network, without and with five bugs."""
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    for bug, style in BUGS.items():
        losses = np.minimum(np.nan_to_num(run(bug), nan=1e9), 1e9)
        smooth = [np.mean(losses[max(0, i - 9) : i + 1]) for i in range(len(losses))]
        ax.plot(smooth, ls=style, lw=1.6, label=bug)
    for level, text in ((np.log(10), "log 10"), (np.log(1 + 9 / np.e), "1.461")):
        ax.axhline(level, lw=0.7, color="#777777")
        ax.text(302, level, text, va="center", fontsize=9)
    ax.set_xlim(0, 300)
    ax.set_ylim(0, 4)
    ax.set_xlabel("update")
    ax.set_ylabel("reported loss")
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)
    return fig


def softplus_sum(theta, dtype=np.float64):
    """A smooth test function with values near 1, and its directional derivatives."""
    theta = theta.astype(dtype)
    return np.log1p(np.exp(theta)).mean(dtype=dtype)


def figure_steps():
    """Error of central differences against the step, in two precisions."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    steps = np.logspace(-10, 0, 41)
    for dtype, style, marker in ((np.float64, "-", "o"), (np.float32, "--", "s")):
        ax.loglog(
            steps,
            [step_error(h, dtype) for h in steps],
            style,
            marker=marker,
            ms=3.5,
            label=np.dtype(dtype).name,
        )
    ax.set_xlabel("step h")
    ax.set_ylabel("relative error")
    ax.legend()
    return fig


def step_error(h, dtype):
    """Median relative error of the central difference over 20 directions."""
    errors = []
    rng = np.random.default_rng(3)
    for _ in range(20):
        theta, v = rng.normal(size=(2, 50))
        v /= np.linalg.norm(v)
        exact = (v / (1 + np.exp(-theta))).mean()
        up, down = (softplus_sum(theta + s * h * v, dtype) for s in (1, -1))
        errors.append(abs((float(up) - float(down)) / (2 * h) - exact) / abs(exact))
    return np.median(errors)


def cross_entropy(z, y):
    """Mean cross-entropy of logits (n, K) and labels (n,)."""
    z = z - z.max(1, keepdims=True)
    return np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y])


def check_debug_initial_loss():
    """log K <= E loss <= log K + s^2/2 for independent logits of variance s^2."""
    rng = np.random.default_rng(0)
    for classes in (2, 10, 100):
        for s in (0.1, 0.5, 1.0, 2.0):
            z = s * rng.normal(size=(200_000, classes))
            loss = cross_entropy(z, np.zeros(len(z), int))
            noise = 4 * s / np.sqrt(len(z)) + 1e-6
            assert np.log(classes) - noise < loss < np.log(classes) + s**2 / 2 + noise
    # the upper bound is nearly reached with many classes, and is not the value with two
    z = rng.normal(size=(20_000, 1000))
    loss = cross_entropy(z, np.zeros(len(z), int))
    assert abs(loss - np.log(1000) - 0.5) < 0.05
    z = 2 * rng.normal(size=(200_000, 2))
    assert cross_entropy(z, np.zeros(len(z), int)) < np.log(2) + 1.2


def check_debug_constant():
    """No constant prediction beats the class frequencies, whose loss is their entropy."""
    rng = np.random.default_rng(1)
    y = rng.choice(4, size=1000, p=[0.6, 0.2, 0.15, 0.05])
    f = np.bincount(y) / len(y)
    entropy = -(f * np.log(f)).sum()
    assert np.isclose(-np.log(f[y]).mean(), entropy)
    for _ in range(200):
        p = rng.dirichlet(100 * f + 0.1)
        assert -np.log(p[y]).mean() >= entropy - 1e-12
    # regression: no constant beats the mean, whose loss is the variance
    t = rng.normal(size=100)
    assert np.isclose(((t - t.mean()) ** 2).mean(), t.var())
    assert all(((t - c) ** 2).mean() > t.var() for c in t.mean() + np.array([-0.1, 0.1]))


def check_debug_central():
    """The error of the central difference is h^2/6 times the third derivative."""
    for h in (1e-1, 1e-2, 1e-3):
        numeric = (np.exp(1 + h) - np.exp(1 - h)) / (2 * h)
        assert np.isclose(numeric - np.e, h**2 / 6 * np.e, rtol=h + 1e-6)


def check_debug_step():
    """The step (3 eps J / J''')^(1/3) is near the best one."""
    eps = np.finfo(float).eps / 2
    steps = np.logspace(-8, -2, 61)
    points = np.linspace(0.5, 2, 400)
    error = [np.median(abs((np.exp(points + h) - np.exp(points - h)) / (2 * h) / np.exp(points) - 1)) for h in steps]
    best, predicted = steps[np.argmin(error)], (3 * eps) ** (1 / 3)  # J = J''' = exp
    assert 1 / 5 < best / predicted < 5
    assert 5e-6 < predicted < 1e-5
    assert min(error) < 1e-10 and error[0] > 1e-9 and error[-1] > 1e-6
    # the numbers of the figure: 50 variables, two precisions
    steps = np.logspace(-10, 0, 41)
    doubles, singles = ([step_error(h, t) for h in steps] for t in (np.float64, np.float32))
    assert 5e-5 < steps[np.argmin(doubles)] < 5e-4 and min(doubles) < 1e-10
    assert 0.1 < steps[np.argmin(singles)] < 0.4 and 2e-5 < min(singles) < 5e-5
    assert 0.1 < step_error(1e-5, np.float32) < 0.3 and step_error(1e-6, np.float32) > 0.9


def check_debug_broadcast():
    """All pairs: the loss against the mean target plus the targets' variance; what training makes of it."""
    rng = np.random.default_rng(2)
    p, y = rng.normal(size=(2, 32))
    pairs = nn.functional.mse_loss(torch.tensor(p)[:, None].expand(32, 32), torch.tensor(y).expand(32, 32)).item()
    assert np.isclose(pairs, ((p - y.mean()) ** 2).mean() + y.var())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        silent = nn.functional.mse_loss(torch.tensor(p)[:, None], torch.tensor(y)).item()
    assert np.isclose(silent, pairs)
    # the numbers of the worked example
    y = np.array([1.0, 2.0, 3.0])
    assert np.isclose(((y[:, None] - y) ** 2).mean(), 4 / 3)
    # training lowers the loss to the variance of the targets, with one prediction for all
    x = torch.tensor(rng.normal(size=(32, 20)), dtype=torch.float32)
    y = x[:, 0] + 2  # the input determines the target

    def written_out(p, t):
        return ((p - t) ** 2).mean()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none for a loss that is written out
        losses = overfit_one_batch(model, written_out, x, y, steps=1000, lr=0.01)
    variance = y.var(unbiased=False).item()
    assert losses[0] > 2 * variance and abs(losses[-1] - variance) < 0.01
    assert (model(x) - y.mean()).abs().max() < 0.05


def check_debug_double_softmax():
    """The smallest loss that cross-entropy reports when it is given probabilities."""
    for classes in (2, 10, 1000):
        floor = np.log(1 + (classes - 1) / np.e)
        sure = 60.0 * torch.nn.functional.one_hot(torch.tensor([0]), classes)
        loss = nn.functional.cross_entropy(sure.softmax(1).double(), torch.tensor([0]))
        assert np.isclose(loss.item(), floor, atol=1e-6)
        z = torch.randn(500, classes, generator=torch.Generator().manual_seed(0)) * 5
        losses = nn.functional.cross_entropy(z.softmax(1), torch.zeros(500, dtype=int), reduction="none")
        assert losses.min() >= floor - 1e-6
    assert round(np.log(1 + 9 / np.e), 3) == 1.461 and round(np.log(1 + 1 / np.e), 3) == 0.313


def check_debug_ratio():
    """Adam's first update moves He-initialized weights by the fraction eta sqrt(n_in / 2)."""
    torch.manual_seed(0)
    for n_in, eta in ((64, 1e-3), (512, 1e-3), (512, 1e-4)):
        layer = nn.Linear(n_in, 256)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        before = layer.weight.detach().clone()
        optimizer = torch.optim.Adam(layer.parameters(), lr=eta)
        layer(torch.randn(32, n_in)).square().mean().backward()
        optimizer.step()
        ratio = ((layer.weight - before).norm() / before.norm()).item()
        assert np.isclose(ratio, eta * np.sqrt(n_in / 2), rtol=0.05)
    assert np.isclose(1e-3 * np.sqrt(512 / 2), 0.016)


def check_gradient_checks():
    """Both versions pass on a right gradient and fail on a wrong one; they agree."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(8, 5)), rng.integers(3, size=8)
    theta = 0.3 * rng.normal(size=15)

    def f(t):
        return cross_entropy(x @ t.reshape(3, 5).T, y)

    z = x @ theta.reshape(3, 5).T
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    gradient = ((p - np.eye(3)[y]).T @ x / 8).ravel()
    assert directional_check(f, gradient, theta, rng) < 1e-7
    forgot_mean = directional_check(f, 8 * gradient, theta, rng)
    assert np.isclose(forgot_mean, 7 / 9, rtol=1e-3)
    one_wrong = gradient.copy()
    one_wrong[3] = -one_wrong[3]
    assert directional_check(f, one_wrong, theta, rng) > 1e-3
    model = nn.Linear(5, 3, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor(theta.reshape(3, 5)))
    xt, yt = torch.tensor(x), torch.tensor(y)
    torch.manual_seed(0)
    assert directional_check_torch(model, nn.CrossEntropyLoss(), xt, yt) < 1e-7
    got = torch.autograd.grad(nn.CrossEntropyLoss()(model(xt), yt), model.weight)[0]
    assert np.allclose(got.numpy().ravel(), gradient, atol=1e-12)
    assert np.allclose(model.weight.detach().numpy().ravel(), theta)


def check_overfitting_one_batch():
    """A healthy network fits one batch; shuffled labels do not show; a cut graph does."""
    x, y = clusters(32, 5)
    losses = overfit_one_batch(network(), nn.CrossEntropyLoss(), x, y, lr=0.01)
    assert round(losses[0], 2) == 2.36 and losses[-1] < 0.001
    shuffled = y[torch.randperm(32, generator=torch.Generator().manual_seed(0))]
    model = network()
    assert overfit_one_batch(model, nn.CrossEntropyLoss(), x, shuffled, lr=0.01)[-1] < 0.05
    x_new, y_new = clusters(2000, 9)
    assert 6 < nn.functional.cross_entropy(model(x_new), y_new).item() < 11  # 8.2: far above log 10
    # inputs lost on the way: only the class frequencies can be learned
    lost = torch.zeros_like(x)
    stuck = overfit_one_batch(network(), nn.CrossEntropyLoss(), lost, y, lr=0.01)[-1]
    f = np.bincount(y.numpy(), minlength=10) / 32
    entropy = -(f[f > 0] * np.log(f[f > 0])).sum()
    assert abs(stuck - entropy) < 0.01


def check_curves():
    """What the figure shows, and the numbers in the text."""
    last = {bug: np.mean(run(bug)[-50:]) for bug in BUGS}
    assert last["no bug"] < 0.35
    assert np.log(1 + 9 / np.e) - 0.01 < last["softmax twice"] < 1.55
    assert 2.2 < last["shuffled labels"] < 2.4
    assert 1.8 < last["rate 100 times too low"] < 2.3
    assert not last["rate 100 times too high"] < 2.3
    assert run("no zero_grad")[5:15].mean() < 0.5 * run("no bug")[5:15].mean()  # faster at first
    assert not last["no zero_grad"] < 100 * last["no bug"]


def check_worked_example():
    """The numbers of the worked example."""
    assert round(np.log(10), 3) == 2.303 and round(np.log(2), 3) == 0.693
    assert np.isclose((2.1**3 - 1.9**3) / 0.2, 12.01)
    f = np.array([0.9, 0.1])
    assert round(-(f * np.log(f)).sum(), 3) == 0.325


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
