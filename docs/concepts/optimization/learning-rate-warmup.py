"""Twin of the page "Learning rate warmup": code, figures and checks."""

from math import gamma

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def warmup_cosine(t, peak, warmup, total, final=0.0):
    """Learning rate of step t = 1, ..., total: linear warmup, then cosine decay."""
    if t <= warmup:
        return peak * t / warmup
    progress = (t - warmup) / (total - warmup)
    return final + 0.5 * (peak - final) * (1 + np.cos(np.pi * progress))


def transformer_rate(t, d_model, warmup):
    """The schedule of Vaswani et al. (2017): linear warmup, inverse square root."""
    return d_model**-0.5 * min(t**-0.5, t * warmup**-1.5)


# --8<-- [end:numpy]


# --8<-- [start:torch]
def make_scheduler(optimizer, warmup, total):
    """The same schedule; call scheduler.step() after every optimizer.step().

    The optimizer's lr is the peak. PyTorch sets the first rate at construction,
    so the start factor 1 / warmup makes the first step nonzero.
    """
    rise = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1 / warmup, total_iters=warmup - 1
    )
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: 0.5 * (1 + np.cos(np.pi * (k + 1) / (total - warmup))),
    )
    return torch.optim.lr_scheduler.SequentialLR(
        optimizer, [rise, decay], milestones=[warmup]
    )


# --8<-- [end:torch]


def valley(u, v, rates, noise=0.05, seed=0):
    """SGD on 1/2 (uv - y)^2 with noisy targets y of mean 1.

    Returns the noise-free losses, the largest Hessian eigenvalues and the end point.
    """
    rng = np.random.default_rng(seed)
    losses, sharp = [], []
    for eta in rates:
        r = u * v - 1
        losses.append(0.5 * r * r)
        off = 2 * u * v - 1  # Hessian [[v^2, off], [off, u^2]]
        sharp.append(0.5 * (u * u + v * v) + np.hypot(0.5 * (u * u - v * v), off))
        r = r - noise * rng.normal()
        u, v = u - eta * r * v, v - eta * r * u
        if not abs(u) + abs(v) < 1e6:
            break
    return np.array(losses), np.array(sharp), (u, v)


START, PEAK, RISE, TOTAL = (5.0, 0.2), 0.25, 400, 600
WARM = [PEAK * min(1.0, t / RISE) for t in range(1, TOTAL + 1)]


def adam_noise_steps(rng, steps, coords, b1=0.9, b2=0.999):
    """Root mean square of Adam's step (over eta) on pure noise, and the mean step sign."""
    m = v = np.zeros(coords)
    out = []
    for t in range(1, steps + 1):
        g = rng.normal(size=coords)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        step = m / (1 - b1**t) / np.sqrt(v / (1 - b2**t))
        out.append(np.sqrt(np.mean(step**2)))
    return np.array(out)


def rho(t, b2):
    """RAdam's length of the approximating simple moving average."""
    return 2 / (1 - b2) - 1 - 2 * t * b2**t / (1 - b2**t)


def rectifier(t, b2):
    """RAdam's factor; None while the variance is not finite by its formula."""
    r, limit = rho(t, b2), 2 / (1 - b2) - 1
    if r <= 4:
        return None
    return np.sqrt((r - 4) * (r - 2) * limit / ((limit - 4) * (limit - 2) * r))


def figure_valley():
    """A narrow valley: the peak rate at once, and after a warmup; sharpness below."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2))
    losses, sharp, _ = valley(*START, WARM)
    direct, _, _ = valley(*START, [PEAK] * TOTAL)
    axes[0].semilogy(np.maximum(losses, 1e-7), "-", lw=1.0, label="with warmup")
    axes[0].semilogy(direct, "--", marker="s", markersize=5, label="peak rate at once")
    axes[0].set_ylim(1e-7, 1e9)
    axes[0].set_xlabel("step")
    axes[0].set_ylabel("loss")
    axes[0].legend(fontsize=9, loc="upper right")
    axes[1].plot(sharp, "-", lw=1.4, label="sharpness")
    axes[1].plot(2 / np.array(WARM), "--", color="#555555", label="2 / learning rate")
    axes[1].set_ylim(0, 32)
    axes[1].set_xlabel("step")
    axes[1].set_ylabel("largest Hessian eigenvalue")
    axes[1].legend(fontsize=9, loc="upper right")
    return fig


def figure_adam():
    """Adam's step on pure noise without warmup, with warmup, and with rectification."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    rng = np.random.default_rng(0)
    t = np.arange(1, 4001)
    raw = adam_noise_steps(rng, 4000, 4000)
    ax.loglog(t, raw, "-", label="Adam, constant rate")
    ax.loglog(t, raw * np.minimum(1.0, t * 0.001 / 2), "--", label="linear warmup, 2,000 steps")
    factors = np.array([rectifier(k, 0.999) or np.nan for k in t])
    keep = np.unique(np.geomspace(1, 4000, 120).astype(int)) - 1
    t, raw, factors = t[keep], raw[keep], factors[keep]
    ax.loglog(t, raw * factors, ":", lw=2.6, label="RAdam's rectification")
    ax.set_xlabel("step")
    ax.set_ylabel("root mean square step / rate")
    ax.legend(fontsize=9, loc="lower right")
    return fig


def check_wu_linear():
    """Equation (wu-linear): a straight line to the peak, then constant."""
    rates = [warmup_cosine(t, 0.4, 8, 10**9) for t in range(1, 30)]
    assert np.allclose(rates[:8], 0.05 * np.arange(1, 9)) and np.allclose(rates[8:], 0.4)


def check_wu_transformer():
    """Equation (wu-transformer): peak at the end of warmup, of height (d T)^(-1/2)."""
    rates = [transformer_rate(t, 512, 4000) for t in range(1, 20_001)]
    assert np.argmax(rates) == 3999
    assert np.isclose(max(rates), (512 * 4000) ** -0.5)
    assert np.isclose(max(rates), 6.99e-4, rtol=1e-3)
    assert np.isclose(rates[15_999], max(rates) / 2)
    assert np.isclose(rates[1999], max(rates) / 2)


def check_numpy_against_torch():
    """Both tabs give the same rates to 1e-12 over a whole run."""
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=0.3)
    scheduler = make_scheduler(optimizer, 10, 60)
    for t in range(1, 61):
        assert np.isclose(optimizer.param_groups[0]["lr"], warmup_cosine(t, 0.3, 10, 60), atol=1e-12), t
        optimizer.step()
        scheduler.step()


def check_wu_stability():
    """Equation (wu-stability): the exact product on a quadratic with varying rate."""
    rng = np.random.default_rng(0)
    lam, rates, theta = 3.0, rng.uniform(0.1, 0.9, size=12), 1.7
    start = theta
    for eta in rates:
        theta -= eta * lam * theta
    assert np.isclose(theta, start * np.prod(1 - rates * lam))
    assert abs(1 - 0.6 * lam) < 1 < abs(1 - 0.7 * lam)


def check_wu_valley():
    """Equation (wu-valley): on the curve of minima the sharpness is u^2 + v^2."""
    for u in (0.3, 1.0, 4.0, 6.0):
        v = 1 / u
        hessian = np.array([[v * v, 2 * u * v - 1], [2 * u * v - 1, u * u]])
        assert np.allclose(np.linalg.eigvalsh(hessian), [0.0, u * u + v * v])
        h, f = 1e-4, lambda a, b: 0.5 * (a * b - 1) ** 2
        second = (f(u + h, v) - 2 * f(u, v) + f(u - h, v)) / h**2
        assert np.isclose(second, v * v, atol=1e-4)


def check_valley_numbers():
    """Text and figure: the peak rate diverges at once, after warmup it does not."""
    for seed in range(10):
        direct, _, _ = valley(*START, [PEAK] * TOTAL, seed=seed)
        assert direct[-1] > 1e6 and len(direct) < 12, len(direct)
        losses, sharp, _ = valley(*START, WARM, seed=seed)
        assert len(losses) == TOTAL and np.mean(losses[-100:]) < 0.02
        assert sharp[0] > 24 and np.mean(sharp[-100:]) < 2 / PEAK
        assert max(losses) < 10, max(losses)
    low, sharp, _ = valley(*START, [0.02] * TOTAL)
    assert np.mean(low[-100:]) < 0.02 and np.mean(sharp[-100:]) > 23, np.mean(sharp[-100:])


def check_wu_k_steps():
    """Equation (wu-k-steps): exact if gradients stay, and the quadratic's discrepancy."""
    rng = np.random.default_rng(1)
    grads, eta = rng.normal(size=(8, 5)), 0.1
    theta = rng.normal(size=5)
    assert np.allclose(theta - eta * grads.sum(0), theta - 8 * eta * grads.mean(0))
    for k, lam, small in ((8, 0.05, True), (8, 3.0, False)):
        many, one = (1 - eta * lam) ** k, 1 - k * eta * lam
        assert (abs(many - one) < 0.01) == small
    assert abs(1 - 8 * eta * 3.0) > 1 > abs(1 - eta * 3.0) ** 8


def check_wu_adam_first():
    """Equation (wu-adam-first): Adam's first step is eta in every coordinate (PyTorch)."""
    rng = np.random.default_rng(2)
    g = rng.normal(size=50) * 10 ** rng.uniform(-4, 4, size=50)
    p = torch.zeros(50, dtype=torch.float64, requires_grad=True)
    p.grad = torch.from_numpy(g)
    torch.optim.Adam([p], lr=0.01).step()
    assert np.allclose(p.detach().numpy(), -0.01 * np.sign(g), rtol=1e-2)
    assert np.isclose(p.detach().norm().item(), 0.01 * np.sqrt(50), rtol=1e-3)


def check_adam_noise():
    """Text: root mean square step on noise, 1 at t = 1 and about 0.23 later."""
    out = adam_noise_steps(np.random.default_rng(3), 800, 4000)
    assert np.isclose(out[0], 1.0, atol=1e-6)
    assert np.isclose(out[-1], 0.23, atol=0.01)
    assert np.isclose(out[9], 0.33, atol=0.01), out[9]


def check_wu_inverse_moment():
    """Equation (wu-inverse-moment): E[1/v] = t/((t-2) s^2), infinite for t <= 2."""
    rng = np.random.default_rng(4)
    for t in (6, 10, 30):
        v = np.mean((2.0 * rng.normal(size=(300_000, t))) ** 2, axis=1)
        assert np.isclose(np.mean(1 / v), t / (t - 2) / 4, rtol=0.03), t
        root = np.sqrt(t / 2) * gamma((t - 1) / 2) / gamma(t / 2) / 2
        assert np.isclose(np.mean(v**-0.5), root, rtol=0.01)
    # t = 1: the truncated mean grows like 1/threshold, so it has no limit
    g = np.abs(rng.normal(size=2_000_000))
    small, large = (np.mean(np.where(g > e, g, np.inf) ** -2.0) for e in (1e-1, 1e-3))
    assert large > 50 * small


def check_wu_rho():
    """Equation (wu-rho): matched length; starts at 1, grows about like t, limit 1999."""
    assert np.isclose(rho(1, 0.999), 1.0) and np.isclose(rho(1, 0.95), 1.0)
    assert abs(rho(20, 0.999) - 20) < 0.2 and np.isclose(rho(10**6, 0.999), 1999.0)
    for t, b2 in ((5, 0.99), (200, 0.95), (50, 0.999)):
        weights = (1 - b2) * b2 ** np.arange(t)[::-1] / (1 - b2**t)
        center = np.sum(weights * np.arange(t)[::-1])  # mean age of the EMA
        assert np.isclose((rho(t, b2) - 1) / 2, center)  # and of a simple average
    first = next(t for t in range(1, 50) if rho(t, 0.999) > 4)
    assert first == 5
    first = next(t for t in range(1, 50) if rho(t, 0.999) > 5)
    assert first == 6  # PyTorch's stricter test


def check_wu_rectification():
    """Equation (wu-rectification): against one step of torch.optim.RAdam."""
    rng = np.random.default_rng(5)
    p = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.RAdam([p], lr=0.1, betas=(0.9, 0.99))
    m = v = np.zeros(3)
    theta = np.zeros(3)
    for t in range(1, 60):
        g = rng.normal(size=3)
        p.grad = torch.from_numpy(g)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        mhat = m / (1 - 0.9**t)
        if rho(t, 0.99) > 5:
            theta = theta - 0.1 * rectifier(t, 0.99) * mhat / np.sqrt(v / (1 - 0.99**t))
        else:
            theta = theta - 0.1 * mhat
        assert np.allclose(p.detach().numpy(), theta, atol=1e-5), t
    for t, value in ((100, 0.215), (500, 0.476), (2000, 0.828), (5000, 0.983)):
        assert np.isclose(rectifier(t, 0.999), value, atol=0.001), (t, rectifier(t, 0.999))


def check_worked_example():
    """The numbers of the worked example."""
    assert np.isclose(0.1 * 8192 / 256, 3.2)
    steps = 1_281_167 / 8192
    assert np.isclose(steps, 156.4, atol=0.05) and np.isclose(5 * steps, 782, atol=0.5)
    assert np.isclose((3.2 - 0.1) / 782, 0.00396, atol=5e-6)
    rates = [warmup_cosine(t, 3e-4, 1000, 10_000) for t in (1, 500, 1000, 5500, 10_000)]
    assert np.allclose(rates, [3e-7, 1.5e-4, 3e-4, 1.5e-4, 0.0], atol=1e-12)
    assert np.isclose(2 / (1 - 0.999), 2000) and np.isclose(2 / (1 - 0.95), 40)
    total = sum(warmup_cosine(t, 1.0, 1000, 10**9) for t in range(1, 1001))
    assert np.isclose(total, 500.5)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
