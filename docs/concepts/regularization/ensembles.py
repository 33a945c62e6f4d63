"""Twin of the page on ensembles, SWA and EMA: decompositions, averaging, noise, interpolation."""

import copy
import functools

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn


# --8<-- [start:numpy]
def ensemble(p):
    """p: probabilities (members, batch, K). Returns their mean (batch, K)."""
    return p.mean(axis=0)


def entropy(p):
    """Entropy over the last axis, in nats."""
    return -(p * np.log(np.clip(p, 1e-300, None))).sum(axis=-1)


def uncertainty(p):
    """Total, expected and disagreement (mutual information), each (batch,)."""
    total, within = entropy(ensemble(p)), entropy(p).mean(axis=0)
    return total, within, total - within


def swa_update(mean, theta, k):
    """Running mean after k earlier members: equal weights."""
    return mean + (theta - mean) / (k + 1)


def ema_update(mean, theta, beta):
    """Exponential moving average with decay beta."""
    return beta * mean + (1 - beta) * theta
# --8<-- [end:numpy]


# --8<-- [start:torch]
def train_averaged(model, batches, lr, beta, swa_start):
    """One run of SGD that keeps three sets of weights: last, EMA and SWA."""
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(beta))
    swa = AveragedModel(model)  # default: equal weights
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for step, (x, y) in enumerate(batches):
        loss = torch.nn.functional.mse_loss(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        ema.update_parameters(model)
        if step >= swa_start:
            swa.update_parameters(model)
    update_bn([x for x, _ in batches], swa)  # no-op without batch norm
    return model, ema, swa


@torch.no_grad()
def ensemble_predict(models, x):
    """Average probabilities, not logits, over models in evaluation mode."""
    return torch.stack([m.eval()(x).softmax(dim=-1) for m in models]).mean(dim=0)
# --8<-- [end:torch]


def mlp_batch(M, d, width, out, seed):
    """Parameters of M independent one-hidden-layer tanh networks."""
    g = torch.Generator().manual_seed(seed)
    r = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)
    return [r(M, d, width) * 2 / d**0.5, r(M, 1, width), r(M, width, out) / width**0.5, torch.zeros(M, 1, out, dtype=torch.float64)]


def forward(p, x):
    """x (batch, d) or (M, batch, d) -> (M, batch, out)."""
    return torch.tanh(x @ p[0] + p[1]) @ p[2] + p[3]


@functools.cache
def regression_members(M=5):
    """Five networks on the same 14 points, different initializations."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(-2.5, -0.8, 7), rng.uniform(0.6, 2.2, 7)])
    y = np.sin(2 * x) + 0.1 * rng.normal(size=14)
    p = mlp_batch(M, 1, 30, 1, 0)
    p = [q.requires_grad_() for q in (p[0] * 0.75, p[1] * 2.5, p[2] * 2, p[3])]
    opt = torch.optim.Adam(p, lr=0.02)
    tx, ty = torch.tensor(x)[:, None], torch.tensor(y)[:, None]
    for _ in range(500):
        loss = ((forward(p, tx) - ty) ** 2).mean((1, 2)).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
    grid = np.linspace(-4, 4, 300)
    with torch.no_grad():
        f = forward(p, torch.tensor(grid)[:, None])[..., 0].numpy()
    return x, y, grid, f


def noisy_quadratic(rate, beta, start, steps, runs, h=1.0, sigma=1.0, first=3.0, seed=0):
    """SGD on h theta^2 / 2 with gradient noise; squared last, EMA and SWA weights (steps, 3)."""
    rng = np.random.default_rng(seed)
    theta = np.full(runs, first)
    ema, swa, out = theta.copy(), theta.copy(), np.empty((steps, 3))
    for t in range(steps):
        theta = theta - rate * (h * theta + sigma * rng.normal(size=runs))
        ema = ema_update(ema, theta, beta)
        swa = swa_update(swa, theta, t - start) if t >= start else theta.copy()
        out[t] = np.mean(theta**2), np.mean(ema**2), np.mean(swa**2)
    return out


@functools.cache
def line_losses():
    """Loss on the line between independent networks and between two branches of one run."""
    rng = np.random.default_rng(0)
    n = 400
    x = rng.normal(size=(n, 2))
    y = (np.sin(3 * x[:, 0]) + x[:, 1] > 0).astype(float)
    tx, ty = torch.tensor(x), torch.tensor(y)
    bce = lambda p, x, y: torch.nn.functional.binary_cross_entropy_with_logits(forward(p, x)[..., 0], y, reduction="none").mean(1)

    def run(p, steps, seed):
        g = torch.Generator().manual_seed(seed)
        p = [q.detach().clone().requires_grad_() for q in p]
        opt = torch.optim.SGD(p, lr=0.3, momentum=0.9)
        for _ in range(steps):
            i = torch.randint(n, (2, 40), generator=g)  # another batch for each network
            opt.zero_grad()
            bce(p, tx[i], ty[i]).sum().backward()
            opt.step()
        return [q.detach() for q in p]

    a = run(mlp_batch(2, 2, 24, 1, 3), 600, 1)  # two independent networks
    b = run([q[[0, 0]] for q in a], 600, 2)  # two branches of the first
    s = np.linspace(-0.25, 1.25, 61)
    out = []
    for p in (a, b):
        mix = [(1 - torch.tensor(s)).view(-1, 1, 1) * q[0] + torch.tensor(s).view(-1, 1, 1) * q[1] for q in p]
        out.append(bce(mix, tx, ty.expand(len(s), n)).numpy())
    return s, out[0], out[1]


def figure_spread():
    """Members and their mean; error against the number of members."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.1))
    x, y, grid, f = regression_members()
    left.plot(grid, f.T, lw=1, color="C0", alpha=0.7)
    left.plot(grid, f.mean(0), "--", color="C1", lw=2.2)
    left.plot(x, y, "s", ms=4, color="#222222")
    left.set(xlabel="input", ylabel="prediction", ylim=(-3.5, 3.5))
    left.plot([], [], color="C0", lw=1, label="members")
    left.plot([], [], "--", color="C1", label="mean")
    left.plot([], [], "s", ms=4, color="#222222", label="data")
    left.legend(fontsize=9, ncols=1, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    M = np.arange(1, 21)
    for rho, style in ((0.7, "o-"), (0.4, "s--"), (0.0, "^-.")):
        right.plot(M, rho + (1 - rho) / M, style, ms=4, label=f"correlation {rho:g}")
    right.set(xlabel="members", ylabel="variance of the mean", ylim=(0, 1.05), xticks=[1, 5, 10, 15, 20])
    right.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return fig


def figure_averaging():
    """Averages of noisy iterates; loss along lines between networks."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2))
    out = noisy_quadratic(0.1, 0.99, 300, 3000, 400)
    for k, (name, style) in enumerate((("last weights", "-"), ("EMA, decay 0.99", "--"), ("SWA from step 300", "-."))):
        left.plot(np.arange(1, 3001)[::5], out[::5, k] / 2, style, lw=1.6, label=name)
    left.set(xlabel="step", ylabel="mean loss above minimum", yscale="log", xscale="log")
    left.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    s, apart, branch = line_losses()
    right.plot(s, apart, "-", label="two independent runs")
    right.plot(s, branch, "--", label="two branches of one run")
    right.plot([0, 1], [apart[10], apart[50]], "o", color="C0")
    right.plot([0, 1], [branch[10], branch[50]], "s", color="C1")
    right.set(xlabel="position on the line", ylabel="training loss", ylim=(0, None))
    right.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return fig


def random_probs(M=5, n=60, K=4, seed=0):
    """Random member probabilities (M, n, K) and classes (n,)."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.normal(size=(1, n, K)) + 1.5 * rng.normal(size=(M, n, K))
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True), rng.integers(0, K, size=n)


def check_ens_mean():
    """Equation (ens-mean): NumPy and PyTorch agree to 1e-12; a distribution again."""
    rng = np.random.default_rng(0)
    models = [torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5)).double() for _ in range(3)]
    x = rng.normal(size=(7, 3))
    got = ensemble_predict(models, torch.tensor(x)).numpy()
    p = []
    for m in models:
        z = x @ m[0].weight.detach().numpy().T + m[0].bias.detach().numpy()
        p.append(np.exp(z) / np.exp(z).sum(1, keepdims=True))
    assert np.abs(got - ensemble(np.array(p))).max() < 1e-12 and np.allclose(got.sum(1), 1)


def check_ens_ambiguity():
    """Equation (ens-ambiguity): an identity for every input."""
    rng = np.random.default_rng(1)
    f, y = rng.normal(size=(6, 30)), rng.normal(size=30)
    assert np.allclose((f.mean(0) - y) ** 2, ((f - y) ** 2).mean(0) - f.var(0))


def check_ens_variance():
    """Equation (ens-variance): sampled with correlated members."""
    rng = np.random.default_rng(2)
    for rho, M in ((0.6, 5), (0.0, 4)):
        shared, own = rng.normal(size=(200000, 1)), rng.normal(size=(200000, M))
        f = np.sqrt(rho) * shared + np.sqrt(1 - rho) * own
        assert abs(f.mean(1).var() - (rho + (1 - rho) / M)) < 0.01


def check_ens_logloss():
    """Equation (ens-logloss): Jensen, and why accuracy has no such guarantee."""
    p, c = random_probs()
    true = p[:, np.arange(60), c]
    gain = -np.log(true).mean(0) + np.log(true.mean(0))
    assert (gain >= 0).all() and gain.mean() > 0.05
    three = np.array([[0.51, 0.49], [0.51, 0.49], [0.1, 0.9]])
    assert (three.argmax(1) == 0).sum() == 2 and three.mean(0).argmax() == 1
    assert np.bincount(three.argmax(1)).argmax() == 0  # the vote decides otherwise


def check_ens_uncertainty():
    """Equation (ens-uncertainty): disagreement is the mean KL divergence to the mean."""
    p, _ = random_probs(seed=3)
    total, within, between = uncertainty(p)
    kl = (p * (np.log(p) - np.log(ensemble(p)))).sum(-1).mean(0)
    assert np.allclose(between, kl) and (between >= 0).all()
    same = np.repeat(p[:1], 5, axis=0)
    assert np.abs(uncertainty(same)[2]).max() < 1e-12 and (uncertainty(same)[0] > 0.01).any()


def check_ens_swa():
    """Equation (ens-swa): running update = plain mean; PyTorch agrees."""
    rng = np.random.default_rng(4)
    path = rng.normal(size=(12, 3))
    mean = path[0]
    for k in range(1, 12):
        mean = swa_update(mean, path[k], k)
    assert np.allclose(mean, path.mean(0))
    m = torch.nn.Linear(3, 1, bias=False).double()
    swa, ema = AveragedModel(m), AveragedModel(m, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    e = path[0]
    for k in range(12):
        with torch.no_grad():
            m.weight.copy_(torch.tensor(path[k])[None])
        swa.update_parameters(m)
        ema.update_parameters(m)
        e = ema_update(e, path[k], 0.9) if k else path[0]
    assert np.abs(swa.module.weight.detach().numpy()[0] - path.mean(0)).max() < 1e-12
    assert np.abs(ema.module.weight.detach().numpy()[0] - e).max() < 1e-12


def check_ens_ema():
    """Equation (ens-ema): unrolled weights; they sum to 1 with the start."""
    rng = np.random.default_rng(5)
    path, beta, T = rng.normal(size=21), 0.8, 20
    e = path[0]
    for t in range(1, T + 1):
        e = ema_update(e, path[t], beta)
    w = (1 - beta) * beta ** (T - np.arange(1, T + 1))
    assert np.isclose(e, beta**T * path[0] + w @ path[1:]) and np.isclose(beta**T + w.sum(), 1)
    assert abs(0.999**1000 - np.exp(-1)) < 1e-3


def check_ens_second_order():
    """Equation (ens-second-order): the gap falls with the square of the spread."""
    p = [q[:1] for q in mlp_batch(1, 2, 10, 1, 7)]
    g = torch.Generator().manual_seed(8)
    x = torch.randn(50, 2, generator=g, dtype=torch.float64)
    delta = [torch.randn(6, *q.shape[1:], generator=g, dtype=torch.float64) for q in p]
    delta = [d - d.mean(0, keepdim=True) for d in delta]
    gaps, moves = [], []
    for eps in (0.02, 0.01):
        f = forward([q + eps * d for q, d in zip(p, delta)], x)
        center = forward(p, x)[0]
        gaps.append((f.mean(0) - center).abs().mean().item())
        moves.append((f - center).abs().mean().item())
    assert abs(gaps[0] / gaps[1] - 4) < 0.1 and abs(moves[0] / moves[1] - 2) < 0.05
    # the leading term is half the mean second derivative along the deviations
    eps = 1e-3
    f = lambda k, e: forward([q + e * d[k:k + 1] for q, d in zip(p, delta)], x)[0]
    second = torch.stack([(f(k, eps) - 2 * f(k, 0) + f(k, -eps)) / eps**2 for k in range(6)]).mean(0) / 2
    gap = (forward([q + 0.01 * d for q, d in zip(p, delta)], x).mean(0) - f(0, 0)) / 1e-4
    assert (gap - second).abs().mean() < 0.05 * second.abs().mean()


def check_ens_noise():
    """Equation (ens-noise): stationary variances of last weights, EMA and tail average."""
    rate, beta, h, sigma, T = 0.1, 0.99, 1.0, 1.0, 4000
    a = 1 - rate * h
    s2 = rate * sigma**2 / (h * (2 - rate * h))
    ema = s2 * (1 - beta) / (1 + beta) * (1 + a * beta) / (1 - a * beta)
    out = noisy_quadratic(rate, beta, 500, 500 + T, 1500, first=0.0)
    assert abs(out[1000:, 0].mean() / s2 - 1) < 0.02
    assert abs(out[1500:, 1].mean() / ema - 1) < 0.05
    assert abs(out[-1, 2] * T * h**2 / sigma**2 - 1) < 0.12
    # long-memory limit: as good as an average over 2 / (1 - beta) steps
    b = 0.99999
    limit = s2 * (1 - b) / (1 + b) * (1 + a * b) / (1 - a * b)
    assert abs(limit / (sigma**2 / h**2 * (1 - b) / 2) - 1) < 1e-3
    fast = noisy_quadratic(0.4, beta, 500, 500 + T, 1500, first=0.0)
    assert abs(fast[-1, 2] / out[-1, 2] - 1) < 0.25 and fast[-1, 0] > 3 * out[-1, 0]


def check_permutation():
    """Permuted hidden units: same function, but the average of the weights is another one."""
    s, apart, branch = line_losses()
    mid = 30
    assert apart[mid] > 2 * max(apart[10], apart[50])
    assert branch[mid] < 1.1 * max(branch[10], branch[50])
    p = mlp_batch(1, 2, 10, 1, 9)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    q = [p[0][..., order], p[1][..., order], p[2][:, order], p[3]]
    x = torch.randn(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(forward(p, x), forward(q, x))
    mean = forward([(a + b) / 2 for a, b in zip(p, q)], x)
    assert (mean - forward(p, x)).abs().mean() > 0.1


def check_batch_norm_statistics():
    """Averaged weights come with the statistics of the last model until update_bn."""
    torch.manual_seed(0)
    x = torch.randn(64, 3) + torch.tensor([1.0, 2.0, 3.0])
    m = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    swa = AveragedModel(m)
    for _ in range(2):
        torch.nn.init.normal_(m[0].weight)
        for _ in range(200):
            m(x)
        swa.update_parameters(m)
    need = swa.module[0](x).mean(0)
    assert torch.equal(swa.module[1].running_mean, m[1].running_mean)
    assert (swa.module[1].running_mean - need).abs().max() > 0.1
    update_bn([x], swa)
    assert torch.allclose(swa.module[1].running_mean, need, atol=1e-5)


def check_train_averaged():
    """The loop: EMA and SWA reproduce the NumPy updates of the recorded path."""
    torch.manual_seed(1)
    m = torch.nn.Linear(4, 1).double()
    data = [(torch.randn(8, 4, dtype=torch.float64), torch.randn(8, 1, dtype=torch.float64)) for _ in range(30)]
    twin, path = copy.deepcopy(m), []
    opt = torch.optim.SGD(twin.parameters(), lr=0.1)
    for x, y in data:
        opt.zero_grad()
        torch.nn.functional.mse_loss(twin(x), y).backward()
        opt.step()
        path.append(twin.weight.detach().numpy().copy())
    _, ema, swa = train_averaged(m, data, 0.1, 0.9, 10)
    e = path[0]
    for t in range(1, 30):
        e = ema_update(e, path[t], 0.9)
    assert np.abs(ema.module.weight.detach().numpy() - e).max() < 1e-12
    assert np.abs(swa.module.weight.detach().numpy() - np.mean(path[10:], 0)).max() < 1e-12


def check_spread_grows():
    """The first figure: members agree at the data and disagree far away."""
    x, _, grid, f = regression_members()
    near = np.abs(grid[:, None] - x).min(1) < 0.1
    assert f.std(0)[np.abs(grid) > 3.5].mean() > 5 * f.std(0)[near].mean()


def check_worked_example():
    """The numbers of the page."""
    f = np.array([2.0, 3.0, 7.0])
    assert np.isclose(((f - 3.5) ** 2).mean(), 4.9167, atol=5e-5) and np.isclose(f.var(), 4.6667, atol=5e-5)
    assert np.isclose((f.mean() - 3.5) ** 2, 0.25)
    p = np.array([[[0.9, 0.1]], [[0.1, 0.9]]])
    assert np.allclose([u[0] for u in uncertainty(p)], [0.6931, 0.3251, 0.3681], atol=5e-5)
    path, e, s = [4.0, 2.0, 3.0, 1.0], 4.0, 4.0
    seen = []
    for k, v in enumerate(path[1:], 1):
        e, s = ema_update(e, v, 0.5), swa_update(s, v, k)
        seen.append((e, s))
    assert np.allclose(seen, [(3, 3), (3, 3), (2, 2.5)])
    s2 = 0.1 / 1.9
    assert abs(s2 - 0.0526) < 5e-5
    assert abs(s2 * 0.01 / 1.99 * (1 + 0.9 * 0.99) / (1 - 0.9 * 0.99) - 0.0046) < 5e-5
    assert np.isclose(0.6 + 0.4 / 5, 0.68)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
