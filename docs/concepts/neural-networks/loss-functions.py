"""Twin of the page "Loss functions": likelihoods, gradients, minimizers, numbers."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def squared(z, y):
    """Gaussian with variance 1: loss (constant dropped) and derivative in z."""
    return 0.5 * (z - y) ** 2, z - y


def absolute(z, y):
    """Laplace with scale 1, log 2 dropped; the derivative is a subgradient at z = y."""
    return np.abs(z - y), np.sign(z - y)


def bernoulli(z, y):
    """Binary cross-entropy on the logit z, target y in [0, 1]."""
    return np.logaddexp(0, z) - y * z, np.exp(-np.logaddexp(0, -z)) - y


def poisson(z, y):
    """Counts y with rate exp(z); log y! dropped."""
    return np.exp(z) - y * z, np.exp(z) - y


def categorical(z, c):
    """Softmax cross-entropy: logits z (batch, K), class numbers c (batch,)."""
    rows = np.arange(len(z))
    log_p = z - z.max(axis=1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    grad = np.exp(log_p)
    grad[rows, c] -= 1
    return -log_p[rows, c], grad
# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_loss(kind, z, y):
    """The same losses, one value per example; z is the raw output of the network."""
    if kind == "squared":
        return 0.5 * F.mse_loss(z, y, reduction="none")  # mse_loss has no factor 1/2
    if kind == "absolute":
        return F.l1_loss(z, y, reduction="none")
    if kind == "bernoulli":
        return F.binary_cross_entropy_with_logits(z, y, reduction="none")
    if kind == "poisson":
        return F.poisson_nll_loss(z, y, log_input=True, reduction="none")
    return F.cross_entropy(z, y, reduction="none")  # y: class numbers
# --8<-- [end:torch]

RNG = np.random.default_rng(0)
N = 40
Z = RNG.normal(size=N) * 1.5
TARGETS = {
    "squared": RNG.normal(size=N) * 2,
    "absolute": RNG.laplace(size=N),
    "bernoulli": RNG.integers(0, 2, size=N).astype(float),
    "poisson": RNG.poisson(3, size=N).astype(float),
}
LOSSES = {"squared": squared, "absolute": absolute, "bernoulli": bernoulli, "poisson": poisson}
LOGITS, CLASSES = RNG.normal(size=(N, 5)) * 2, RNG.integers(0, 5, size=N)
FIVE = np.array([1.0, 2.0, 2.0, 3.0, 12.0])  # the data of the worked example


def pinball(a, y, tau):
    """Quantile loss of the prediction a."""
    return np.maximum(tau * (y - a), (tau - 1) * (y - a))


def figure_statistics():
    """Three losses on one skewed distribution: each is lowest at another statistic."""
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 4.4), sharex=True, height_ratios=[1, 1.3])
    s = 0.8
    y = np.linspace(0.01, 4.5, 500)
    density = np.exp(-(np.log(y) ** 2) / (2 * s**2)) / (y * s * np.sqrt(2 * np.pi))
    top.plot(y, density, "-", color="#222222")
    top.set(ylabel="density of the target")
    normal = torch.distributions.Normal(0.0, 1.0)
    u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    sample = np.exp(s * normal.icdf(u).numpy())  # equally likely values
    a = np.linspace(0.2, 4.3, 200)
    curves = (
        ("squared: mean", lambda a: (a - sample) ** 2, "-", "o"),
        ("absolute: median", lambda a: np.abs(a - sample), "--", "s"),
        ("pinball, level 0.9: quantile", lambda a: pinball(a, sample, 0.9), "-.", "^"),
    )
    for i, (label, loss, style, marker) in enumerate(curves):
        value = np.array([loss(v).mean() for v in a])
        best = a[value.argmin()]
        bottom.plot(a, value - value.min(), style, color=f"C{i}", label=label)
        bottom.plot([best], [0], marker, color=f"C{i}", ms=8, clip_on=False)
        for ax in (top, bottom):
            ax.axvline(best, ls=":", lw=1.2, color=f"C{i}")
    bottom.set(xlabel="target, or constant prediction", ylabel="mean loss above\nits minimum", ylim=(0, 1.5))
    fig.legend(*bottom.get_legend_handles_labels(), fontsize=9, loc="outside upper center", ncols=3)
    return fig


def check_loss_families():
    """Equation (loss-families): the five losses are the log-densities of torch."""
    D, z = torch.distributions, torch.tensor(Z)
    one = torch.ones_like(z)
    y = {k: torch.tensor(v) for k, v in TARGETS.items()}
    exact = {
        "squared": (-D.Normal(z, one).log_prob(y["squared"]), 0.5 * np.log(2 * np.pi)),
        "absolute": (-D.Laplace(z, one).log_prob(y["absolute"]), np.log(2)),
        "bernoulli": (-D.Bernoulli(logits=z).log_prob(y["bernoulli"]), 0.0),
        "poisson": (-D.Poisson(z.exp()).log_prob(y["poisson"]), torch.lgamma(y["poisson"] + 1).numpy()),
    }
    for kind, (nll, constant) in exact.items():
        mine = LOSSES[kind](Z, TARGETS[kind])[0] + constant
        assert np.allclose(mine, nll.numpy(), rtol=0, atol=1e-12), kind
    nll = -D.Categorical(logits=torch.tensor(LOGITS)).log_prob(torch.tensor(CLASSES))
    assert np.allclose(categorical(LOGITS, CLASSES)[0], nll.numpy(), rtol=0, atol=1e-12)
    # scales other than 1
    nll = -D.Normal(z, 0.7 * one).log_prob(y["squared"]).numpy()
    r = Z - TARGETS["squared"]
    assert np.allclose(nll, r**2 / (2 * 0.49) + 0.5 * np.log(2 * np.pi * 0.49))
    nll = -D.Laplace(z, 0.7 * one).log_prob(y["absolute"]).numpy()
    assert np.allclose(nll, np.abs(Z - TARGETS["absolute"]) / 0.7 + np.log(1.4))


def check_numpy_against_torch():
    """Values to 1e-12, derivatives against autograd to 1e-12, differences to 1e-6."""
    for kind, loss in LOSSES.items():
        t = torch.tensor(Z, requires_grad=True)
        value = torch_loss(kind, t, torch.tensor(TARGETS[kind]))
        value.sum().backward()
        mine, grad = loss(Z, TARGETS[kind])
        assert np.allclose(mine, value.detach().numpy(), rtol=0, atol=1e-12), kind
        assert np.allclose(grad, t.grad.numpy(), rtol=0, atol=1e-12), kind
        h = 1e-6
        numeric = (loss(Z + h, TARGETS[kind])[0] - loss(Z - h, TARGETS[kind])[0]) / (2 * h)
        assert np.allclose(grad, numeric, atol=1e-6), kind
    t = torch.tensor(LOGITS, requires_grad=True)
    value = torch_loss("categorical", t, torch.tensor(CLASSES))
    value.sum().backward()
    mine, grad = categorical(LOGITS, CLASSES)
    assert np.allclose(mine, value.detach().numpy(), rtol=0, atol=1e-12)
    assert np.allclose(grad, t.grad.numpy(), rtol=0, atol=1e-12)


def check_loss_nll():
    """Equation (loss-nll): mean loss = -log of the product of probabilities / N."""
    y = TARGETS["bernoulli"]
    p = 1 / (1 + np.exp(-Z))
    product = np.prod(np.where(y == 1, p, 1 - p))
    assert np.isclose(bernoulli(Z, y)[0].mean(), -np.log(product) / N)
    p = np.exp(-categorical(LOGITS, CLASSES)[0])
    assert np.isclose(-np.log(p).mean(), -np.log(np.prod(p)) / N)


def check_loss_chain():
    """Equation (loss-chain): gradient = mean of Jacobian^T times loss derivative."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    y = torch.tensor(TARGETS["poisson"][:6])
    torch_loss("poisson", net(x).squeeze(1), y).mean().backward()
    whole = torch.cat([p.grad.flatten() for p in net.parameters()])
    total = torch.zeros_like(whole)
    for i in range(6):
        out = net(x[i : i + 1]).squeeze()
        jacobian = torch.cat([g.flatten() for g in torch.autograd.grad(out, list(net.parameters()))])
        total += jacobian * poisson(out.item(), y[i].item())[1] / 6
    assert torch.allclose(whole, total, rtol=0, atol=1e-12)


def check_loss_canonical():
    """Equation (loss-canonical): derivative = mean - target, curvature = variance."""
    D, z = torch.distributions, torch.tensor(Z)
    families = {
        "squared": D.Normal(z, torch.ones_like(z)),
        "bernoulli": D.Bernoulli(logits=z),
        "poisson": D.Poisson(z.exp()),
    }
    h = 1e-4
    for kind, family in families.items():
        y = TARGETS[kind]
        grad = LOSSES[kind](Z, y)[1]
        assert np.allclose(grad, family.mean.numpy() - y, rtol=0, atol=1e-12), kind
        curvature = (LOSSES[kind](Z + h, y)[1] - LOSSES[kind](Z - h, y)[1]) / (2 * h)
        assert np.allclose(curvature, family.variance.numpy(), rtol=1e-6), kind
    # the Laplace family is not of this kind: its derivative is a sign
    assert set(np.unique(absolute(Z, TARGETS["absolute"])[1])) == {-1.0, 1.0}


def check_loss_mean():
    """Equation (loss-mean): exact for any sample as the distribution."""
    y = TARGETS["poisson"]
    for a in (-1.0, 0.5, 3.0):
        left = np.mean((y - a) ** 2)
        assert np.isclose(left, y.var() + (a - y.mean()) ** 2)


def check_loss_minimizers():
    """Equation (loss-minimizers): grid search on a skewed sample of 2001 values."""
    y = np.random.default_rng(1).lognormal(0.0, 0.8, size=2001)
    grid = np.linspace(0.2, 4, 3801)
    for loss, statistic in (
        (lambda a: (a - y) ** 2, y.mean()),
        (lambda a: np.abs(a - y), np.median(y)),
        (lambda a: pinball(a, y, 0.9), np.quantile(y, 0.9)),
    ):
        best = grid[np.argmin([loss(a).mean() for a in grid])]
        assert abs(best - statistic) < 2e-3
    # log loss: the best constant probability is the frequency
    b = TARGETS["bernoulli"]
    p = np.linspace(0.01, 0.99, 981)
    cost = -(b.mean() * np.log(p) + (1 - b.mean()) * np.log(1 - p))
    assert abs(p[cost.argmin()] - b.mean()) < 1e-3


def check_piecewise_constant_accuracy():
    """Accuracy has derivative 0 almost everywhere, cross-entropy does not."""
    h, y = 1e-6, TARGETS["bernoulli"]
    accuracy = lambda z: np.mean((z > 0) == y)
    assert accuracy(Z + h) == accuracy(Z - h)
    assert (np.abs(bernoulli(Z, y)[1]) > 0).all()


def check_scale_and_reduction():
    """A factor c scales SGD's step by c; Adam's first step hardly changes."""
    def step(optimizer, c):
        w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
        opt = optimizer([w], lr=0.1)
        (c * (w**2).sum()).backward()
        before = w.detach().clone()
        opt.step()
        return (w.detach() - before).numpy()

    assert np.allclose(step(torch.optim.SGD, 10), 10 * step(torch.optim.SGD, 1))
    assert np.allclose(step(torch.optim.Adam, 10), step(torch.optim.Adam, 1), rtol=0, atol=1e-8)
    z, y = torch.tensor(Z), torch.tensor(TARGETS["squared"])
    assert torch.isclose(F.mse_loss(z, y, reduction="sum"), N * F.mse_loss(z, y))


def check_torch_conventions():
    """What the losses of PyTorch leave out, and what they do by default."""
    z, y = torch.tensor(Z), torch.tensor(TARGETS["poisson"])
    full = -torch.distributions.Poisson(z.exp()).log_prob(y)
    dropped = full - F.poisson_nll_loss(z, y, reduction="none")
    assert torch.allclose(dropped, torch.lgamma(y + 1))
    assert torch.nn.PoissonNLLLoss().log_input and not torch.nn.PoissonNLLLoss().full
    v = torch.full_like(z, 0.3)
    nll = -torch.distributions.Normal(z, v.sqrt()).log_prob(y)
    mine = F.gaussian_nll_loss(z, y, v, reduction="none")
    assert torch.allclose(nll - mine, torch.full_like(z, 0.5 * np.log(2 * np.pi)))
    assert not [n for n in dir(torch.nn) if "uantile" in n or "inball" in n]
    assert torch.nn.MSELoss().reduction == "mean"


def check_negative_loss():
    """A density may exceed 1, so its negative logarithm may be below 0."""
    density = torch.distributions.Normal(0.0, 0.1).log_prob(torch.tensor(0.0))
    assert density.exp() > 1 and abs(-density.item() - (-1.3836)) < 5e-5


def check_worked_example():
    """The numbers of the page."""
    mse = lambda a: np.mean((FIVE - a) ** 2)
    mae = lambda a: np.mean(np.abs(FIVE - a))
    assert np.isclose(mse(4), 16.4) and np.isclose(mse(2), 20.4)
    assert np.isclose(mae(2), 2.4) and np.isclose(mae(4), 3.2)
    assert FIVE.mean() == 4 and np.median(FIVE) == 2
    assert np.isclose(FIVE.var(), 16.4)
    z = np.log(4)
    assert np.isclose(z, 1.3863, atol=5e-5)
    assert np.isclose(poisson(z, FIVE)[1].sum(), 0)
    grid = np.linspace(0.5, 13, 12501)
    cost = [pinball(a, FIVE, 0.9).mean() for a in grid]
    assert np.isclose(grid[np.argmin(cost)], 12) and np.isclose(min(cost), 0.8)
    # derivatives at the prediction 2
    assert np.isclose(squared(2.0, FIVE)[1].mean(), -2)
    assert np.allclose(absolute(2.0, FIVE)[1], [1, 0, 0, -1, -1])
    assert np.isclose(absolute(2.0, FIVE)[1].mean(), -0.2)
    assert np.isclose(poisson(np.log(2), FIVE)[1].mean(), -2)
    # the same with 120 for 12
    changed = np.where(FIVE == 12, 120, FIVE)
    assert np.isclose(changed.mean(), 25.6) and np.median(changed) == 2


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
