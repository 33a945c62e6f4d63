"""Checks and figures of the page on learning rate schedules: formulas, endpoints, PyTorch."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def step_decay(t, peak, every, gamma=0.1):
    """peak * gamma^floor(t / every)."""
    return peak * gamma ** np.floor_divide(t, every)


def cosine(t, T, peak, low=0.0):
    """Half a cosine: peak at t = 0, low at t = T."""
    return low + 0.5 * (peak - low) * (1 + np.cos(np.pi * np.asarray(t) / T))


def warmup_cosine(t, T, warmup, peak, low=0.0):
    """Linear warmup (first step peak / warmup), then cosine down to t = T."""
    t = np.asarray(t)
    return np.where(t < warmup, peak * (t + 1) / warmup,
                    cosine(t - warmup, T - warmup, peak, low))


def cooldown(t, T, length, peak):
    """Constant, then linear to zero at t = T over the last `length` steps."""
    return peak * np.minimum(1.0, (T - np.asarray(t)) / length)


def one_cycle(t, T, peak, pct=0.3, div=25.0, final_div=1e4):
    """PyTorch's one-cycle: peak/div at 0, peak at pct*T - 1, lowest at T - 1."""
    first, last, top = peak / div, peak / div / final_div, pct * T - 1
    t = np.asarray(t, dtype=float)
    up = peak + 0.5 * (first - peak) * (1 + np.cos(np.pi * t / top))
    down = last + 0.5 * (peak - last) * (1 + np.cos(np.pi * (t - top) / (T - 1 - top)))
    return np.where(t <= top, up, down)


def warm_restarts(t, first, mult, peak, low=0.0):
    """Cosine cycles of lengths first, first * mult, first * mult^2, ... (integers)."""
    while t >= first:
        t, first = t - first, first * mult
    return cosine(t, first, peak, low)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def rates_used(make_scheduler, steps, lr):
    """The rates with which the optimizer really steps, one per step.

    make_scheduler: function of an optimizer. The order matters: optimizer.step() first,
    scheduler.step() after it, once per batch for the schedules of this page.
    """
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=lr, momentum=0.9)
    scheduler = make_scheduler(optimizer)
    used = []
    for _ in range(steps):
        weight.grad = torch.ones(1)  # stands for the backward pass
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(used)


def warmup_cosine_torch(optimizer, T, warmup):
    """warmup_cosine above with low = 0, for an optimizer with lr = peak."""
    sched = torch.optim.lr_scheduler
    rise = sched.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    fall = sched.CosineAnnealingLR(optimizer, T_max=T - warmup)
    return sched.SequentialLR(optimizer, [rise, fall], milestones=[warmup])
# --8<-- [end:torch]


LRS = torch.optim.lr_scheduler


def second_moment(rates, lam, s, m0):
    """E[theta_t^2] for theta <- theta - eta_t (lam theta + noise of variance s)."""
    m = [np.asarray(m0, dtype=float)]
    for eta in rates:
        m.append((1 - eta * lam) ** 2 * m[-1] + eta**2 * s)
    return np.array(m)


def optimal_rates(lam, s, m0, T):
    """The best rates for the expected objective after T steps on this quadratic."""
    return 1 / (lam * (np.arange(T) + 1 + s / (lam**2 * m0)))


def figure_shapes():
    """Six schedules over one training run."""
    T = 200
    t = np.arange(T)
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3), sharey=True)
    left.plot(t, step_decay(t, 1.0, 67), "-", label="step (every 67)")
    left.plot(t, cosine(t, T, 1.0), "--", label="cosine")
    left.plot(t, 1 - t / T, ":", label="linear")
    left.set(xlabel="step", ylabel="rate / peak")
    right.plot(t, one_cycle(t, T, 1.0), "-", color="#9333a8", label="one-cycle")
    right.plot(t, cooldown(t, T, 40, 1.0), "--", color="#8a6d00", label="constant, cooldown")
    right.plot(t, [warm_restarts(int(k), 29, 2, 1.0) for k in t], ":", color="#222222",
               label="warm restarts")
    right.set(xlabel="step")
    for ax in (left, right):
        ax.set_ylim(0, 1.42)
        ax.set_yticks([0, 0.5, 1])
        ax.legend(fontsize=9, loc="upper right")
    return fig


def floor_runs():
    """Expected objective of a noisy quadratic (30 curvatures) under five schedules."""
    lam = 1.0 / np.arange(1, 31) ** 1.2
    T, peak = 2000, 0.3
    t = np.arange(T)
    rates = {
        "constant, high": np.full(T, peak),
        "constant, 30 times lower": np.full(T, peak / 30),
        "step decay at 667 and 1,334": step_decay(t, peak, 667),
        "cosine": cosine(t, T, peak),
        "constant, linear cooldown": cooldown(t, T, 400, peak),
    }
    return {k: 0.5 * second_moment(r, lam, 0.05 * lam, np.ones(30)) @ lam
            for k, r in rates.items()}


def figure_floor():
    """Expected objective under five schedules on a noisy quadratic."""
    fig, ax = plt.subplots(figsize=(6.4, 3.6))
    styles = ["-", "--", "-.", ":", (0, (1, 1, 4, 1))]
    for (name, loss), style in zip(floor_runs().items(), styles, strict=True):
        ax.semilogy(loss, linestyle=style, lw=1.7, label=name)
    ax.set(xlabel="step", ylabel="expected objective\nabove the minimum", ylim=(5e-4, 4))
    ax.legend(fontsize=9, loc="upper right", ncol=2)
    return fig


def check_figure_numbers():
    """What caption and text say about the figure of the five schedules."""
    high, low, step, cos, cool = floor_runs().values()
    ends = [run[-1] for run in (high, low, step, cos, cool)]
    assert np.allclose(ends, [0.0125, 0.095, 0.0011, 0.00095, 0.0023], rtol=0.05)
    assert high[300] < 1.05 * min(step[300], cos[300], cool[300])
    for at in (700, 1200, 1700):
        assert step[at] < min(cos[at], cool[at], high[at])
    assert cos[2000] < step[2000]


def same(a, b):
    """Equal to 1e-12."""
    return np.allclose(a, b, rtol=0, atol=1e-12)


def check_lrs_step():
    """Equation (lrs-step) against StepLR."""
    used = rates_used(lambda o: LRS.StepLR(o, step_size=30, gamma=0.1), 90, 0.1)
    assert same(used, step_decay(np.arange(90), 0.1, 30))
    assert np.isclose(used[29], 0.1) and np.isclose(used[30], 0.01)


def check_lrs_linear():
    """Equation (lrs-linear) against LinearLR, whose defaults are a short warmup."""
    T = 50
    used = rates_used(lambda o: LRS.LinearLR(o, 1.0, 0.0, total_iters=T), T, 0.1)
    assert same(used, 0.1 * (1 - np.arange(T) / T))
    default = rates_used(LRS.LinearLR, 8, 0.3)
    assert same(default, 0.1 + 0.2 * np.minimum(np.arange(8), 5) / 5)


def check_lrs_cosine():
    """Equation (lrs-cosine): endpoints, midpoint, mean, flat ends, and CosineAnnealingLR."""
    T, peak, low = 40, 0.5, 0.1
    value = cosine(np.arange(T + 1), T, peak, low)
    assert np.allclose(value[[0, T // 2, T]], [0.5, 0.3, 0.1])
    assert np.isclose(value[:-1].mean(), (peak + low) / 2 + (peak - low) / (2 * T))
    h = 1e-3  # a linear schedule changes by 1e-5 over this distance
    assert abs(cosine(h, T, peak, low) - peak) < 1e-8
    assert abs(cosine(T - h, T, peak, low) - low) < 1e-8
    used = rates_used(lambda o: LRS.CosineAnnealingLR(o, T, eta_min=low), 2 * T, peak)
    assert same(used[:T], value[:-1])  # T steps: the last one is above low
    assert used[T - 1] > low and np.isclose(used[T], low)
    assert (np.diff(used[T:]) > 0).all() and used[-1] > 0.49  # past T_max it rises again
    exact = rates_used(lambda o: LRS.CosineAnnealingLR(o, T - 1, eta_min=low), T, peak)
    assert np.isclose(exact[-1], low)


def check_lrs_warmup_cosine():
    """Equation (lrs-warmup-cosine) against SequentialLR."""
    T, w = 60, 10
    used = rates_used(lambda o: warmup_cosine_torch(o, T, w), T, 0.2)
    assert same(used, warmup_cosine(np.arange(T), T, w, 0.2))
    assert np.isclose(used[0], 0.02) and np.isclose(used[w - 1], 0.2) and used[w + 1] < 0.2
    try:
        rates_used(lambda o: LRS.LinearLR(o, start_factor=0.0), 1, 0.1)
    except ValueError:
        return
    raise AssertionError("LinearLR accepts a start factor of zero")


def check_lrs_cooldown():
    """Equation (lrs-cooldown) against LambdaLR, and its endpoints."""
    T, D = 50, 10
    used = rates_used(lambda o: LRS.LambdaLR(o, lambda t: cooldown(t, T, D, 1.0)), T, 0.2)
    assert same(used, cooldown(np.arange(T), T, D, 0.2))
    assert same(used[: T - D + 1], 0.2)
    assert np.isclose(used[-1], 0.2 / D)
    assert cooldown(T, T, D, 0.2) == 0


def check_lrs_one_cycle():
    """Equation (lrs-one-cycle) against OneCycleLR with default arguments."""
    for T in (10, 100):
        def make(o, T=T):
            return LRS.OneCycleLR(o, max_lr=0.1, total_steps=T)

        used = rates_used(make, T, 0.1)
        assert same(used, one_cycle(np.arange(T), T, 0.1))
        assert np.isclose(used[0], 0.004)
        assert used.argmax() == round(0.3 * T) - 1
        assert np.isclose(used[-1], 4e-7)
        try:
            rates_used(make, T + 1, 0.1)
        except ValueError:
            continue
        raise AssertionError("one step too many should fail")


def check_one_cycle_momentum():
    """OneCycleLR moves the momentum against the rate, from 0.95 to 0.85 and back."""
    w = torch.zeros(1, requires_grad=True)
    opt = torch.optim.SGD([w], lr=0.1, momentum=0.9)
    scheduler = LRS.OneCycleLR(opt, max_lr=0.1, total_steps=100)
    seen = []
    for _ in range(99):
        seen.append(opt.param_groups[0]["momentum"])
        opt.step()
        scheduler.step()
    assert np.isclose(seen[0], 0.95) and np.isclose(min(seen), 0.85)
    assert np.argmin(seen) == 29


def check_lrs_restarts():
    """Equation (lrs-restarts) against CosineAnnealingWarmRestarts, and the total length."""
    def make(o):
        return LRS.CosineAnnealingWarmRestarts(o, T_0=10, T_mult=2)

    used = rates_used(make, 70, 0.1)
    assert same(used, [warm_restarts(t, 10, 2, 0.1) for t in range(70)])
    tops = np.flatnonzero(np.isclose(used, 0.1))
    assert tops.tolist() == [0, 10, 30]
    assert 10 * (2**3 - 1) / (2 - 1) == 70
    assert np.isclose(warm_restarts(70, 10, 2, 0.1), 0.1)


def check_lrs_inverse_root():
    """Equation (lrs-inverse-root): peak at the end of warmup; value for width 512."""
    d, w = 512, 4000
    t = np.arange(1, 100001)
    rate = d**-0.5 * np.minimum(t**-0.5, t * w**-1.5)
    assert t[rate.argmax()] == w
    assert np.isclose(rate.max(), (d * w) ** -0.5)
    assert abs(rate.max() - 6.99e-4) < 1e-6
    assert np.isclose(rate[4 * w - 1], rate.max() / 2)


def check_lrs_moment():
    """Equation (lrs-moment): recursion against simulation under a cosine schedule."""
    rng = np.random.default_rng(0)
    theta = np.full(200000, 2.0)
    rates = cosine(np.arange(12), 12, 0.6)
    for eta in rates:
        theta = theta - eta * (1.3 * theta + 0.7 * rng.normal(size=theta.shape))
    assert abs((theta**2).mean() / second_moment(rates, 1.3, 0.49, 4.0)[-1] - 1) < 0.01


def check_lrs_optimal():
    """Equation (lrs-optimal): no perturbation of the rates is better; value as stated."""
    lam, s, m0, T = 1.3, 0.7, 2.0, 12
    best = optimal_rates(lam, s, m0, T)
    m = second_moment(best, lam, s, m0)
    assert np.allclose(1 / m, 1 / m0 + lam**2 * np.arange(T + 1) / s)
    rng = np.random.default_rng(1)
    for size in (0.3, 0.03):
        for _ in range(300):
            other = best * np.exp(size * rng.normal(size=T))
            assert second_moment(other, lam, s, m0)[-1] > m[-1]
    constant = min(second_moment([e] * T, lam, s, m0)[-1] for e in np.linspace(0.01, 1, 200))
    assert constant > 1.1 * m[-1]


def check_lrs_slow_decay():
    """Equation (lrs-slow-decay): with eta = c / t and 2 c lam < 1 the exponent is 2 c lam."""
    t = np.arange(1, 400001)
    for c, exponent in ((0.1, 0.2), (0.4, 0.8), (2.0, 1.0)):
        m = second_moment(c / t, 1.0, 0.01 if c < 0.5 else 1.0, 1.0)
        slope = np.log(m[400000] / m[40000]) / np.log(10)
        assert abs(slope + exponent) < 0.05


def check_floor_after_drop():
    """Dividing a small rate by 10 divides the floor by about 10, at 10 times slower decay."""
    lam, s = 1.0, 1.0
    rates = np.r_[np.full(2000, 0.05), np.full(4000, 0.005)]
    m = second_moment(rates, lam, s, 1.0)
    high, low = 0.05 / 1.95, 0.005 / 1.995
    assert np.isclose(m[2000], high) and np.isclose(m[-1], low)
    assert np.isclose(m[2000 + 100], low + 0.995**200 * (high - low))
    assert abs(high / low - 10) < 0.3


def check_batch_instead_of_rate():
    """Raising B instead of lowering the rate reaches about the same floor, faster."""
    lam, s, eta = 1.0, 1.0, 0.05
    start = eta * s / (lam * (2 - eta * lam))
    lower = second_moment([eta / 5] * 60, lam, s, start)
    larger = second_moment([eta] * 60, lam, s / 5, start)
    assert larger[-1] < lower[-1]
    floor_lower, floor_larger = 0.01 / 1.99, 0.05 / 5 / 1.95
    assert abs(floor_larger / floor_lower - 1) < 0.03


def check_plateau():
    """ReduceLROnPlateau lowers the rate at the (patience + 1)-th report without progress."""
    w = torch.zeros(1, requires_grad=True)
    opt = torch.optim.SGD([w], lr=1.0)
    scheduler = LRS.ReduceLROnPlateau(opt, patience=3)
    seen = []
    for loss in [1.0] + [1.0] * 6:
        opt.step()
        scheduler.step(loss)
        seen.append(opt.param_groups[0]["lr"])
    assert np.allclose(seen, [1, 1, 1, 1, 0.1, 0.1, 0.1])
    assert LRS.ReduceLROnPlateau(opt).patience == 10


def check_worked_example():
    """The tables of the worked example."""
    t = np.arange(5)
    assert np.allclose(cosine(t, 4, 0.1), [0.1, 0.0854, 0.05, 0.0146, 0], atol=5e-5)
    assert np.allclose(step_decay(np.arange(4), 0.1, 2), [0.1, 0.1, 0.01, 0.01])
    cycle = one_cycle(np.arange(10), 10, 0.1)
    assert np.allclose(cycle[[0, 1, 2, 9]], [0.004, 0.052, 0.1, 4e-7])
    best = optimal_rates(1.0, 1.0, 1.0, 3)
    assert np.allclose(best, [1 / 2, 1 / 3, 1 / 4])
    assert np.allclose(second_moment(best, 1.0, 1.0, 1.0), [1, 1 / 2, 1 / 3, 1 / 4])
    half = second_moment([0.5] * 400, 1.0, 1.0, 1.0)
    assert np.allclose(half[:4], [1, 0.5, 0.375, 0.34375])
    assert np.isclose(half[-1], 1 / 3)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
