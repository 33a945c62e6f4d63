"""Twin of the page on AdamW: checks its update, its conversions and its equilibrium."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def adamw(
    grad, theta, steps, lr=1e-3, betas=(0.9, 0.999), eps=1e-8,
    weight_decay=1e-2, schedule=lambda t: 1.0, form="pytorch",
):
    """Adam with weight decay in one of three forms; grad: function (theta, t) -> (d,).

    form "pytorch": the weights shrink by schedule * lr * weight_decay per step.
    form "paper": by schedule * weight_decay, as in Loshchilov and Hutter (2019).
    form "l2": the term weight_decay * theta is added to the gradient (not AdamW).
    Returns all iterates, (steps + 1, d); t = 1, 2, ...
    """
    b1, b2 = betas
    theta = np.array(theta, dtype=float)
    m, v, path = np.zeros_like(theta), np.zeros_like(theta), [theta]
    for t in range(1, steps + 1):
        rate = schedule(t) * lr
        g = grad(theta, t)
        if form == "l2":
            g = g + weight_decay * theta
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        update = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        shrink = {"pytorch": rate, "paper": schedule(t), "l2": 0.0}[form] * weight_decay
        theta = theta - rate * update - shrink * theta
        path.append(theta)
    return np.stack(path)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def adamw_torch(
    loss_fn, theta, steps, schedule=None, optimizer_class=torch.optim.AdamW, **options
):
    """Minimize loss_fn: (theta, t) -> scalar; schedule: t -> factor of the rate."""
    theta = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_class([theta], **options)
    path = [theta.detach().clone()]
    for t in range(1, steps + 1):
        if schedule is not None:
            optimizer.param_groups[0]["lr"] = options["lr"] * schedule(t)
        optimizer.zero_grad(set_to_none=True)
        loss_fn(theta, t).backward()
        optimizer.step()
        path.append(theta.detach().clone())
    return torch.stack(path)


def independent_decay(parameters, lr, decay, **options):
    """AdamW with the decay of the paper: `decay` per step, whatever the peak rate is.

    A schedule set later on the optimizer scales both, as in the paper.
    """
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay / lr, **options)
# --8<-- [end:torch]


def noisy(steps=300, d=4, seed=0):
    """Random gradients with coordinates of very different scale."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 1.0, size=(steps, d)) * np.array([1e-3, 1.0, 30.0, 1e4])[:d]


def cosine(T):
    """Cosine schedule from 1 to 0 over T steps."""
    return lambda t: 0.5 * (1 + np.cos(np.pi * (t - 1) / T))


def figure_shrink():
    """What is left of a weight after 500 steps, over the scale of its gradient noise."""
    scales = 10.0 ** np.linspace(-3, 2, 21)
    rng = np.random.default_rng(0)
    noise = rng.choice([-1.0, 1.0], size=(500, 21)) * scales
    # pairs of opposite noise cancel its effect on the mean of the two runs
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    for form, name, style, marker in (
        ("pytorch", "AdamW", "-", "o"), ("l2", "Adam with L2", "--", "s"),
    ):
        left = 0.0
        for sign in (1, -1):
            path = adamw(lambda w, t, s=sign: s * noise[t - 1], np.ones(21), 500, lr=1e-3,
                         weight_decay=0.5, form=form)
            left = left + path[-1] / 2
        ax.semilogx(scales, left, style, marker=marker, ms=4, label=name)
    ax.axhline(np.exp(-500 * 1e-3 * 0.5), color="#222222", lw=0.8)
    ax.annotate("factor (1 - rate × decay) in 500 steps", xy=(1.1e-3, 0.8), fontsize=9)
    ax.set(xlabel="size of the gradient noise", ylabel="weight after 500 steps", ylim=(0.4, 1.05))
    ax.legend(loc="lower right")
    return fig


def equilibrium_run(decay, steps=6000, d=400, lr=1e-2, start=0.0, seed=0):
    """Root mean square of d weights under pure unit noise."""
    rng = np.random.default_rng(seed)
    theta = np.full(d, start)
    m = v = np.zeros(d)
    size = []
    for t in range(1, steps + 1):
        g = rng.standard_normal(d)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theta = theta * (1 - lr * decay) - lr * (m / (1 - 0.9**t)) / np.sqrt(v / (1 - 0.999**t))
        size.append(np.sqrt((theta**2).mean()))
    return np.array(size)


def figure_equilibrium():
    """Sizes of pure-noise weights from two starts against the predicted equilibrium."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    for decay, style, color in ((0.05, "-", "#0061a8"), (0.2, "--", "#c2410c"), (0.8, ":", "#15803d")):
        for start in (0.0, 1.0):
            ax.plot(np.arange(1, 6001)[::20], equilibrium_run(decay, start=start)[::20], style,
                    color=color, lw=1.5, label=f"decay {decay}" if start == 0 else None)
        value = np.sqrt(1e-2 / (2 * decay))
        ax.plot([5600, 6000], [value, value], color="#222222", lw=2.5)
    ax.set(xlabel="step", ylabel="root mean square weight", ylim=(0, 1.05))
    ax.legend(loc="upper right")
    return fig


def check_aw_update():
    """Equation (aw-update) against torch.optim.AdamW, with and without a schedule."""
    g = noisy()
    gt = torch.tensor(g)
    start = [1.0, -2.0, 3.0, 0.5]
    ends = []
    for schedule in (lambda t: 1.0, cosine(300)):
        ours = adamw(lambda w, t: g[t - 1], start, 300, lr=0.01, weight_decay=0.1, schedule=schedule)
        theirs = adamw_torch(lambda w, t: gt[t - 1] @ w, start, 300, schedule, lr=0.01,
                             weight_decay=0.1)
        assert np.allclose(ours, theirs.numpy(), atol=1e-10)
        ends.append(ours[-1])
    assert np.abs(ends[0] - ends[1]).max() > 1e-2
    d = torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).defaults
    assert d["weight_decay"] == 0.01 and d["lr"] == 1e-3
    # the option of torch.optim.Adam gives the same method; its default is L2
    a = adamw_torch(lambda w, t: gt[t - 1] @ w, start, 300, optimizer_class=torch.optim.Adam,
                    lr=0.01, weight_decay=0.1, decoupled_weight_decay=True)
    b = adamw_torch(lambda w, t: gt[t - 1] @ w, start, 300, lr=0.01, weight_decay=0.1)
    assert torch.equal(a, b)
    c = adamw_torch(lambda w, t: gt[t - 1] @ w, start, 300, optimizer_class=torch.optim.Adam,
                    lr=0.01, weight_decay=0.1)
    l2 = adamw(lambda w, t: g[t - 1], start, 300, lr=0.01, weight_decay=0.1, form="l2")
    assert np.allclose(c.numpy(), l2, atol=1e-10) and np.abs(l2 - b.numpy()).max() > 1e-2


check_aw_direction = check_aw_update


def check_aw_paper():
    """Equations (aw-paper), (aw-conversion): both forms agree for lambda = decay / lr."""
    g = noisy()
    gt = torch.tensor(g)
    start = [1.0, -2.0, 3.0, 0.5]
    s = cosine(300)
    paper = adamw(lambda w, t: g[t - 1], start, 300, lr=0.02, weight_decay=1e-3, schedule=s, form="paper")
    same = adamw(lambda w, t: g[t - 1], start, 300, lr=0.02, weight_decay=1e-3 / 0.02, schedule=s)
    assert np.allclose(paper, same, atol=1e-12)
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = independent_decay([w], lr=0.02, decay=1e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: s(k + 1))
    for t in range(300):
        optimizer.zero_grad()
        (gt[t] @ w).backward()
        optimizer.step()
        scheduler.step()
    assert np.allclose(w.detach().numpy(), paper[-1], atol=1e-10)
    # other peak rate, same lambda: the shrinkage changes in PyTorch's form only
    still = [adamw(lambda w, t: 0 * w, [1.0], 100, lr=lr, weight_decay=1e-3, form=f)[-1, 0]
             for f in ("paper", "pytorch") for lr in (0.1, 1.0)]
    assert np.isclose(still[0], still[1]) and np.isclose(still[0], 0.999**100)
    assert np.isclose(still[2], 0.9999**100) and np.isclose(still[3], 0.999**100)


check_aw_conversion = check_aw_paper


def check_aw_sgd():
    """Equation (aw-sgd): for plain SGD decay and L2 coincide, also in torch.optim.SGD."""
    rng = np.random.default_rng(1)
    theta, g = rng.normal(size=(2, 5))
    lr, lam = 0.1, 0.3
    w = torch.tensor(theta, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=lr, weight_decay=lam)
    (torch.tensor(g) @ w).backward()
    optimizer.step()
    assert np.allclose(w.detach().numpy(), (1 - lr * lam) * theta - lr * g)
    assert np.allclose(theta - lr * (g + lam * theta), (1 - lr * lam) * theta - lr * g)
    # paper's reading: decay per step w0 equals L2 strength w0 / lr
    assert np.allclose((1 - 0.03) * theta - lr * g, theta - lr * (g + 0.03 / lr * theta))


def check_aw_shrink():
    """Equation (aw-shrink): shrinkage under pure noise of size s, both methods, within 10%."""
    rng = np.random.default_rng(2)
    steps, lr, lam = 400, 1e-3, 0.1
    for s in (1.0, 10.0):
        noise = rng.choice([-1.0, 1.0], size=(steps, 2000)) * s
        for form, rate in (("pytorch", lr * lam), ("l2", lr * lam / s)):
            # antithetic pairs remove the random walk from the average
            path = sum(adamw(lambda w, t, sign=sign: sign * noise[t - 1], np.ones(2000), steps,
                             lr=lr, weight_decay=lam, form=form)[-1] / 2 for sign in (1, -1))
            lost = 1 - path.mean()
            assert abs(lost / (1 - (1 - rate) ** steps) - 1) < 0.1, (s, form, lost)


def check_aw_penalty():
    """Equation (aw-penalty): with fixed denominators decoupled decay minimizes a weighted penalty."""
    rng = np.random.default_rng(3)
    A = rng.normal(size=(4, 4))
    H, center = A @ A.T + np.eye(4), rng.normal(size=4)
    s, lam, lr = np.array([0.1, 1.0, 3.0, 10.0]), 0.4, 0.01
    theta = np.zeros(4)
    for _ in range(20000):
        theta = (1 - lr * lam) * theta - lr * (H @ (theta - center)) / s
    weighted = np.linalg.solve(H + lam * np.diag(s), H @ center)
    plain = np.linalg.solve(H + lam * np.eye(4), H @ center)
    assert np.allclose(theta, weighted, atol=1e-10) and np.abs(theta - plain).max() > 0.05


def check_aw_loss_scale():
    """Equation (aw-loss-scale): multiplying the loss by c leaves AdamW alone, not Adam with L2."""
    g = noisy()
    start = [1.0, -2.0, 3.0, 0.5]
    for form, lam, same in (("pytorch", 0.5, True), ("l2", 0.5, False), ("l2", 50.0, True)):
        a = adamw(lambda w, t: g[t - 1], start, 300, lr=0.01, weight_decay=0.5, form=form, eps=0.0)
        b = adamw(lambda w, t: 100 * g[t - 1], start, 300, lr=0.01, weight_decay=lam, form=form, eps=0.0)
        assert np.allclose(a, b, atol=1e-9) == same


def check_aw_ema():
    """Equation (aw-ema): the weights are a moving average of -update / lambda."""
    g = noisy(200)
    lr, lam = 0.01, 0.5
    start = np.array([1.0, -2.0, 3.0, 0.5])
    path = adamw(lambda w, t: g[t - 1], start, 200, lr=lr, weight_decay=lam)
    u = ((1 - lr * lam) * path[:-1] - path[1:]) / lr
    free = adamw(lambda w, t: g[t - 1], start, 200, lr=lr, weight_decay=0.0)
    assert np.allclose(u, -np.diff(free, axis=0) / lr)  # the updates do not feel the decay here
    k = lr * lam
    weights = k * (1 - k) ** np.arange(199, -1, -1)
    assert np.allclose(path[-1], (1 - k) ** 200 * start - weights @ u / lam)
    assert np.isclose(weights.sum(), 1 - (1 - k) ** 200)


def check_aw_bound():
    """Equation (aw-bound): weights stay below max(start, C / lambda), and reach it."""
    lr, lam = 0.05, 2.0
    path = adamw(lambda w, t: np.full(1, -3.0), [0.0], 2000, lr=lr, weight_decay=lam)[:, 0]
    assert path.max() <= 1 / lam + 1e-6 and path[-1] > 0.999 / lam
    g = noisy(2000, seed=5)
    path = adamw(lambda w, t: g[t - 1], [0.1, -0.2, 0.3, 0.0], 2000, lr=lr, weight_decay=lam)
    u = ((1 - lr * lam) * path[:-1] - path[1:]) / lr
    assert np.abs(path).max() <= max(0.3, np.abs(u).max() / lam) + 1e-12


def check_aw_equilibrium():
    """Equation (aw-equilibrium): stationary size sqrt(lr / (2 lambda)) under noise, within 5%."""
    for decay in (0.2, 0.8):
        size = equilibrium_run(decay, steps=5000, d=300, start=0.0, seed=7)[-1500:].mean()
        assert abs(size / np.sqrt(1e-2 / (2 * decay)) - 1) < 0.05, size
    assert np.isclose(np.sqrt(1e-3 / (2 * 0.1)), 0.0707, atol=1e-4)


def check_aw_total():
    """Equation (aw-total): what is left of a weight without gradient after a schedule."""
    lr, lam, T = 1e-3, 0.1, 20000
    t = np.arange(1, T + 1)
    rates = lr * cosine(T)(t)
    left = np.prod(1 - lam * rates)
    assert abs(left / np.exp(-lam * rates.sum()) - 1) < 1e-3
    assert abs(left / np.exp(-lam * lr * T / 2) - 1) < 1e-3 and abs(np.exp(-1) - 0.368) < 1e-3


def check_timescales():
    """The numbers of the table in practice: 1 / (rate * decay) in steps, and steps taken."""
    for rate, decay, tokens, batch, tau, steps in (
        (6e-5, 0.1, 300e9, 3.2e6, 166667, 93750), (1.5e-4, 0.1, 1.4e12, 4e6, 66667, 350000),
    ):
        assert abs(1 / (rate * decay) - tau) < 1 and tokens / batch == steps


def check_missing_and_zero_gradients():
    """PyTorch: grad None is skipped, a zero gradient is decayed."""
    a = torch.ones(3, requires_grad=True)
    b = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.AdamW([a, b], lr=0.1, weight_decay=0.5)
    b.grad = torch.zeros(3)
    for _ in range(10):
        optimizer.step()
    assert torch.equal(a.detach(), torch.ones(3))
    assert torch.allclose(b.detach(), torch.full((3,), 0.95**10))
    # a weight frozen afterwards still decays while its old gradient is kept
    c = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.AdamW([c], lr=0.1, weight_decay=0.5)
    c.grad = torch.zeros(3)
    c.requires_grad_(False)
    optimizer.step()
    assert torch.allclose(c, torch.full((3,), 0.95))
    optimizer.zero_grad()
    optimizer.step()
    assert c.grad is None and torch.allclose(c, torch.full((3,), 0.95))
    # rows of an embedding that do not occur in the batch get zero gradients
    layer = torch.nn.Embedding(4, 2)
    torch.nn.init.ones_(layer.weight)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5)
    layer(torch.tensor([1])).sum().backward()
    optimizer.step()
    assert torch.allclose(layer.weight[0], torch.full((2,), 0.95))


def check_clipping():
    """Clipping before step() touches the gradient, not the decay."""
    shrunk = []
    for clip in (True, False):
        w = torch.ones(2, requires_grad=True)
        optimizer = torch.optim.AdamW([w], lr=0.1, weight_decay=0.5)
        w.grad = torch.tensor([1e-12, 0.0])
        if clip:
            torch.nn.utils.clip_grad_norm_([w], 1e-20)
        optimizer.step()
        shrunk.append(w.detach()[1].item())
    assert shrunk[0] == shrunk[1] and abs(shrunk[0] - 0.95) < 1e-6


def check_worked_example():
    """One step of three methods, then the first steps of a weight without gradient."""
    def one(g, form, lam=0.5):
        return adamw(lambda w, t: np.array([g]), [2.0], 1, lr=0.1, weight_decay=lam, form=form)[-1, 0]

    assert np.isclose(one(3.0, "pytorch"), 1.8) and np.isclose(one(3.0, "l2"), 1.9)
    assert np.isclose(one(300.0, "pytorch"), 1.8) and np.isclose(one(300.0, "l2"), 1.9)
    assert np.isclose(one(-0.5, "pytorch"), 2.0) and np.isclose(one(-0.5, "l2"), 1.9)
    assert np.isclose(one(3.0, "paper", 0.05), 1.8)
    l2 = adamw(lambda w, t: 0 * w, [2.0], 3, lr=0.1, weight_decay=0.5, form="l2")[:, 0]
    aw = adamw(lambda w, t: 0 * w, [2.0], 3, lr=0.1, weight_decay=0.5)[:, 0]
    assert np.allclose(aw, [2, 1.9, 1.805, 1.71475])
    assert np.allclose(l2, [2, 1.9, 1.8, 1.7], atol=2e-3)
    tiny = adamw(lambda w, t: 0 * w, [2.0], 3, lr=0.1, weight_decay=5e-4, form="l2")[:, 0]
    assert np.allclose(tiny, l2, atol=1e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
