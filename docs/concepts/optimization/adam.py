"""Checks and figures of the page on Adam: bias correction, step bound, AMSGrad, AdamW."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def adam(
    grad, theta, steps, lr=1e-3, betas=(0.9, 0.999), eps=1e-8,
    weight_decay=0.0, decoupled=True, amsgrad=False,
):
    """Adam (Kingma and Ba, 2015, Algorithm 1), with AdamW and AMSGrad as options.

    grad: function (theta, t) -> gradient, shape (d,), t = 1, 2, ...
    lr: number, or function t -> number. weight_decay: lambda; decoupled=True shrinks
    the weights directly (AdamW), False adds lambda * theta to the gradient (L2).
    Returns all iterates, shape (steps + 1, d).
    """
    b1, b2 = betas
    theta = np.array(theta, dtype=float)
    m, v, v_max = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    path = [theta.copy()]
    for t in range(1, steps + 1):
        rate = lr(t) if callable(lr) else lr
        g = grad(theta, t)
        if weight_decay and decoupled:
            theta = theta * (1 - rate * weight_decay)
        elif weight_decay:
            g = g + weight_decay * theta
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        v_max = np.maximum(v_max, v)
        m_hat = m / (1 - b1**t)
        v_hat = (v_max if amsgrad else v) / (1 - b2**t)  # PyTorch also corrects v_max
        theta = theta - rate * m_hat / (np.sqrt(v_hat) + eps)
        path.append(theta.copy())
    return np.stack(path)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def adam_torch(loss_fn, theta, steps, optimizer_class=torch.optim.Adam, **options):
    """Minimize loss_fn: (theta, t) -> scalar with an optimizer of torch.optim.

    options go to the optimizer: lr, betas, eps, weight_decay, amsgrad. Adam treats
    weight_decay as an L2 penalty, AdamW as decoupled weight decay.
    """
    theta = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_class([theta], **options)
    path = [theta.detach().clone()]
    for t in range(1, steps + 1):
        optimizer.zero_grad(set_to_none=True)
        loss_fn(theta, t).backward()
        optimizer.step()
        path.append(theta.detach().clone())
    return torch.stack(path)
# --8<-- [end:torch]


def step_bound(t, b1=0.9, b2=0.999):
    """Right side of (adam-step-bound) divided by the learning rate."""
    r = b1**2 / b2
    return (
        (1 - b1) / (1 - b1**t)
        * np.sqrt((1 - b2**t) / (1 - b2))
        * np.sqrt((1 - r**t) / (1 - r))
    )


def updates(gradients, **options):
    """The updates theta_t - theta_{t-1} that Adam makes on a given gradient sequence."""
    g = np.asarray(gradients, dtype=float)
    path = adam(lambda _, t: g[t - 1], np.zeros_like(g[0]), len(g), **options)
    return np.diff(path, axis=0)


def counterexample_gradient(C):
    """Slope of the t-th linear loss of Reddi et al.: C if t mod 3 = 1, else -1."""
    return lambda t: C if t % 3 == 1 else -1.0


def run_counterexample(steps, use_max, C=3.0, lr=0.5, theta=0.0):
    """Adam or AMSGrad with projection on [-1, 1], beta1 = 0, beta2 = 1 / (1 + C^2).

    As in the paper: rate lr / sqrt(t), no bias correction, no epsilon.
    Returns iterates (steps,), and the differences Gamma_t (steps - 1,).
    """
    slope, b2 = counterexample_gradient(C), 1 / (1 + C**2)
    v = v_max = 0.0
    path, scale = [], []
    for t in range(1, steps + 1):
        g = slope(t)
        v = b2 * v + (1 - b2) * g * g
        v_max = max(v_max, v)
        root = np.sqrt(v_max if use_max else v)
        theta = float(np.clip(theta - lr / np.sqrt(t) * g / root, -1, 1))
        path.append(theta)
        scale.append(root * np.sqrt(t) / lr)
    return np.array(path), np.diff(scale)


def figure_paths():
    """Gradient descent and Adam on the same bowl, aligned with the axes and turned."""
    turn = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.5), sharey=True)
    a, b = np.meshgrid(np.linspace(-4, 4, 161), np.linspace(-4, 4, 161))
    points = np.stack([a, b], -1)
    for ax, rotation, name in (
        (axes[0], np.eye(2), "axes of the bowl = coordinates"),
        (axes[1], turn, "bowl turned by 45 degrees"),
    ):
        H = rotation @ np.diag([1.0, 50.0]) @ rotation.T
        J = 0.5 * np.einsum("...i,ij,...j", points, H, points)
        ax.contour(a, b, J, levels=[0.5, 4, 16, 50, 150], colors="#777777", linewidths=0.7)
        start = rotation @ np.array([3.0, 1.5])
        gd = [start]
        for _ in range(60):
            gd.append(gd[-1] - 0.036 * H @ gd[-1])
        gd = np.array(gd)
        ad = adam(lambda w, t, H=H: H @ w, start, 60, lr=0.1)
        ax.plot(gd[:, 0], gd[:, 1], "--", marker="s", ms=3, lw=1.0, color="#c2410c",
                label="gradient descent")
        ax.plot(ad[:, 0], ad[:, 1], "-", marker="o", ms=3, lw=1.2, color="#0061a8",
                label="Adam")
        ax.plot(*start, "D", color="#222222", ms=6)
        ax.plot(0, 0, "*", color="#222222", ms=11)
        ax.set(aspect="equal", xlim=(-3.6, 3.6), ylim=(-3.6, 3.6),
               xlabel="first parameter\n" + name)
        ax.grid(False)
    axes[0].set_ylabel("second parameter")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncol=2)
    return fig


def figure_bias():
    """Step length on a constant gradient, with and without bias correction."""
    t = np.arange(1, 10001)
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    for b2, style in ((0.999, "-"), (0.99, "--"), (0.95, ":")):
        ax.semilogx(t, (1 - 0.9**t) / np.sqrt(1 - b2**t), style,
                    label=f"no correction, second decay rate {b2}")
    ax.axhline(1, color="#222222", lw=1.2)
    ax.annotate("with correction: always 1", xy=(250, 0.35), fontsize=9)
    ax.set(xlabel="step", ylabel="step length / learning rate", ylim=(0, 7.2))
    ax.legend(fontsize=9)
    return fig


def figure_counterexample():
    """Adam and AMSGrad on the three-periodic linear losses of Reddi et al."""
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    t = np.arange(1, 1001)
    for use_max, name, style in ((False, "Adam", "-"), (True, "AMSGrad", "--")):
        ax.semilogx(t, run_counterexample(1000, use_max)[0], style, label=name, lw=1.4)
    ax.axhline(-1, color="#222222", lw=0.8)
    ax.annotate("best fixed point", xy=(1.05, -0.93), fontsize=9)
    ax.set(xlabel="step", ylabel="parameter", ylim=(-1.12, 1.12))
    ax.legend(loc="center right")
    return fig


def noisy_gradients(steps=300, d=4):
    """Random gradients with coordinates of very different scale."""
    rng = np.random.default_rng(0)
    return rng.normal(0.3, 1.0, size=(steps, d)) * np.array([1e-3, 1.0, 30.0, 1e4])


def check_adam_update():
    """Equations (adam-moments), (adam-correction), (adam-update) against torch.optim.Adam."""
    rng = np.random.default_rng(1)
    A, b = rng.normal(size=(5, 3)), rng.normal(size=5)
    noise = rng.normal(size=(201, 3))
    start = [1.0, -2.0, 0.5]
    ours = adam(lambda w, t: A.T @ (A @ w - b) + noise[t], start, 200, lr=0.05)
    At, bt, nt = torch.tensor(A), torch.tensor(b), torch.tensor(noise)

    def loss(w, t):
        return 0.5 * ((At @ w - bt) ** 2).sum() + nt[t] @ w

    theirs = adam_torch(loss, start, 200, lr=0.05)
    assert np.allclose(ours, theirs.numpy(), atol=1e-10)
    assert np.abs(ours[-1] - ours[0]).max() > 0.1
    wrong = adam(lambda w, t: A.T @ (A @ w - b) + noise[t], start, 200, lr=0.05, eps=1e-2)
    assert not np.allclose(wrong, theirs.numpy(), atol=1e-6)


check_adam_moments = check_adam_update
check_adam_correction = check_adam_update


def check_defaults():
    """The defaults of torch.optim that the page states."""
    p = [torch.zeros(1, requires_grad=True)]
    for cls, decay in ((torch.optim.Adam, 0), (torch.optim.AdamW, 0.01)):
        d = cls(p).defaults
        assert d["lr"] == 1e-3 and d["betas"] == (0.9, 0.999) and d["eps"] == 1e-8
        assert d["weight_decay"] == decay and d["amsgrad"] is False


def check_adam_unrolled():
    """Equation (adam-unrolled): the recursion equals the weighted sum; weights sum up."""
    g = noisy_gradients(40)
    b2, v = 0.97, 0.0
    for x in g:
        v = b2 * v + (1 - b2) * x**2
    weights = (1 - b2) * b2 ** np.arange(39, -1, -1)
    assert np.allclose(v, weights @ g**2)
    assert np.isclose(weights.sum(), 1 - b2**40)


def check_adam_bias():
    """Equation (adam-bias) by sampling: mean 0.3, variance 1, 40,000 runs, within 3%."""
    rng = np.random.default_rng(2)
    second = 1 + 0.3**2
    for b, power, target in ((0.9, 1, 0.3), (0.99, 2, second)):
        ema = np.zeros(40000)
        for t in range(1, 31):
            ema = b * ema + (1 - b) * rng.normal(0.3, 1.0, 40000) ** power
            if t in (1, 5, 30):
                assert abs(ema.mean() / (target * (1 - b**t)) - 1) < 0.03
                assert abs(ema.mean() / target - 1) > 0.03  # the bias is real


def check_adam_uncorrected():
    """Equation (adam-uncorrected): the factor, its start, its maximum, its decay."""
    t = np.arange(1, 10001)
    m = v = 0.0
    raw = []
    for _ in t:
        m, v = 0.9 * m + 0.1 * 7.0, 0.999 * v + 0.001 * 49.0
        raw.append(m / np.sqrt(v))
    factor = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)
    assert np.allclose(raw, factor, rtol=1e-9)
    assert np.isclose(factor[0], 0.1 / np.sqrt(0.001))
    assert t[factor.argmax()] == 12 and abs(factor.max() - 6.57) < 0.005
    assert abs(factor[999] - 1.258) < 0.001
    assert np.allclose(updates(np.full((50, 1), 7.0), lr=0.1, eps=0), -0.1)


def check_adam_step_bound():
    """Equation (adam-step-bound): never violated, attained, and larger than lr."""
    for g in (noisy_gradients(), noisy_gradients() ** 3):
        steps = np.abs(updates(g, lr=1.0, eps=0))
        t = np.arange(1, len(g) + 1)[:, None]
        assert (steps <= step_bound(t) + 1e-9).all()
    # equality for gradients proportional to (beta1 / beta2)^(t - i)
    g = (0.999 / 0.9) ** np.arange(60.0)
    assert np.isclose(-updates(g[:, None], lr=1.0, eps=0)[-1, 0], step_bound(60))
    # the limit for the default decay rates, and that the bound increases up to it
    values = step_bound(np.arange(1, 50001))
    limit = 0.1 / np.sqrt(0.001) / np.sqrt(1 - 0.81 / 0.999)
    assert np.isclose(values[-1], limit) and (np.diff(values) > -1e-12).all()
    assert abs(limit - 7.270) < 0.001
    # a long silence, then one gradient, or geometrically growing gradients
    quiet = np.zeros((10000, 1))
    quiet[0] = 1e-30  # a nonzero start avoids 0 / 0
    one = updates(np.vstack([quiet, [[1.0]]]), lr=1.0, eps=0)[-1, 0]
    assert abs(-one - 3.162) < 0.001
    many = updates(np.vstack([quiet, g[:, None]]), lr=1.0, eps=0)[-1, 0]
    assert abs(-many - 7.270) < 0.001
    # (0.9, 0.99): the paper's second case claims lr, the true limit is 2.345 lr
    few = updates(np.vstack([quiet, (0.99 / 0.9) ** np.arange(120.0)[:, None]]),
                  lr=1.0, eps=0, betas=(0.9, 0.99))[-1, 0]
    assert abs(-few - 2.345) < 0.001
    for b2, expected in ((0.95, 1.165), (0.98, 1.698)):
        assert abs(step_bound(20000, 0.9, b2) - expected) < 0.001


def check_adam_steady():
    """Equation (adam-steady): averages over the same gradients keep |m| <= sqrt(v)."""
    rng = np.random.default_rng(3)
    signal = rng.normal(size=(6, 1))
    g = signal + rng.normal(size=(6, 200000)) * np.array([[0.1, 0.5, 1, 2, 5, 20]]).T
    ratio = np.abs(g.mean(1)) / np.sqrt((g**2).mean(1))
    snr = np.abs(g.mean(1)) / g.std(1)
    assert np.allclose(ratio, snr / np.sqrt(1 + snr**2))
    assert (ratio <= 1).all() and ratio[0] > 0.9 and ratio[-1] < 0.1


def check_adam_noise_floor():
    """Equation (adam-noise-floor): root mean square step on pure noise, within 2%."""
    rng = np.random.default_rng(5)
    steps = updates(rng.normal(size=(12000, 8)), lr=1.0, eps=0)[4000:]
    floor = np.sqrt((1 - 0.9) / (1 + 0.9))
    assert abs(floor - 0.229) < 0.001
    assert abs(np.sqrt((steps**2).mean()) / floor - 1) < 0.02


def check_scale_invariance():
    """With eps = 0, rescaling each coordinate of the gradients changes nothing."""
    g = noisy_gradients()
    scale = np.array([1e6, 1e-3, 7.0, 0.01])
    assert np.allclose(updates(g, lr=0.1, eps=0), updates(g * scale, lr=0.1, eps=0))
    assert np.allclose(np.abs(updates(g[:1], lr=0.1, eps=0)), 0.1)  # first step: sign


def check_rotation():
    """Gradient descent turns with the coordinates, Adam does not."""
    H = np.diag([1.0, 50.0])
    q = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
    start = np.array([3.0, 1.5])
    plain = adam(lambda w, t: H @ w, start, 40, lr=0.1)
    turned = adam(lambda w, t: q @ H @ q.T @ w, q @ start, 40, lr=0.1)
    assert np.abs(turned @ q - plain).max() > 0.5
    gd, gq = start, q @ start
    for _ in range(40):
        gd, gq = gd - 0.03 * H @ gd, gq - 0.03 * q @ H @ q.T @ gq
    assert np.allclose(q.T @ gq, gd)


def check_adam_epsilon_hat():
    """Equation (adam-epsilon-hat): the folded form equals the plain one; 1e-8 in float16."""
    g = noisy_gradients(50)
    lr, b1, b2, eps = 0.1, 0.9, 0.999, 1e-2
    plain = updates(g, lr=lr, eps=eps)
    m = v = np.zeros(4)
    fixed = []
    for t, x in enumerate(g, start=1):
        m, v = b1 * m + (1 - b1) * x, b2 * v + (1 - b2) * x**2
        rate = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
        folded = -rate * m / (np.sqrt(v) + eps * np.sqrt(1 - b2**t))
        assert np.allclose(folded, plain[t - 1])
        fixed.append(-rate * m / (np.sqrt(v) + eps))
    assert not np.allclose(fixed, plain, rtol=0.1)  # a constant eps there is another method
    assert np.isclose(np.sqrt(1 - b2), 0.0316, atol=1e-4)
    assert np.float16(1e-8) == 0


def check_adam_amsgrad():
    """Equation (adam-amsgrad): the maximum never falls; our option equals PyTorch's."""
    g = torch.tensor(noisy_gradients(200) * np.linspace(3, 0.1, 200)[:, None])
    ours = adam(lambda w, t: g[t - 1].numpy(), np.zeros(4), 200, lr=0.05, amsgrad=True)
    theirs = adam_torch(lambda w, t: g[t - 1] @ w, np.zeros(4), 200, lr=0.05, amsgrad=True)
    assert np.allclose(ours, theirs.numpy(), atol=1e-10)
    without = adam(lambda w, t: g[t - 1].numpy(), np.zeros(4), 200, lr=0.05)
    assert np.abs(ours - without).max() > 1e-3


def check_adam_gamma():
    """Equation (adam-gamma): positive fails for Adam on the example, holds for AMSGrad."""
    assert run_counterexample(300, use_max=False)[1].min() < 0
    assert run_counterexample(300, use_max=True)[1].min() >= 0


def check_adam_counterexample():
    """Equation (adam-counterexample): Adam ends near +1, AMSGrad near -1, from any start."""
    slope = counterexample_gradient(3.0)
    assert sum(slope(t) for t in range(1, 4)) == 1.0  # so -1 is the best fixed point
    for start in (-1.0, 0.0, 1.0):
        assert run_counterexample(3000, False, theta=start)[0][-100:].min() > 0.95
        assert run_counterexample(3000, True, theta=start)[0][-100:].max() < -0.95
        # with bias correction and eps, by the page's own function: unprojected, it climbs
        free = adam(lambda w, t: np.array([slope(t)]), [start], 3000,
                    lr=lambda t: 0.5 / np.sqrt(t), betas=(0.0, 0.1))
        assert free[-1, 0] > start + 5
    # the bounds of the argument: one step down <= 1.055, two steps up >= 1.414
    v, b2 = 0.0, 0.1
    for t in range(1, 100):
        g = slope(t)
        v = b2 * v + (1 - b2) * g * g
        size = abs(g) / np.sqrt(v)
        assert size <= 1 / np.sqrt(0.9) + 1e-12 if g > 0 else size >= 1 / np.sqrt(2)
    assert abs(1 / np.sqrt(0.9) - 1.054) < 0.001 and abs(2 / np.sqrt(2) - 1.414) < 0.001


def check_adam_sgd_decay():
    """Equation (adam-sgd-decay): for plain SGD, L2 and decoupled decay are one update."""
    rng = np.random.default_rng(4)
    theta, g, lr, lam = rng.normal(size=5), rng.normal(size=5), 0.1, 0.3
    assert np.allclose(theta - lr * (g + lam * theta), (1 - lr * lam) * theta - lr * g)


def check_adam_decoupled():
    """Equations (adam-decoupled), (adam-l2) against torch.optim.AdamW and Adam."""
    g = torch.tensor(noisy_gradients(100))
    start = np.array([1.0, -2.0, 3.0, 0.5])
    paths = []
    for decoupled, cls in ((True, torch.optim.AdamW), (False, torch.optim.Adam)):
        ours = adam(lambda w, t: g[t - 1].numpy(), start, 100, lr=0.01,
                    weight_decay=0.1, decoupled=decoupled)
        theirs = adam_torch(lambda w, t: g[t - 1] @ w, start, 100, cls, lr=0.01,
                            weight_decay=0.1)
        assert np.allclose(ours, theirs.numpy(), atol=1e-10)
        paths.append(ours)
    assert np.abs(paths[0] - paths[1]).max() > 1e-3


check_adam_l2 = check_adam_decoupled


def check_l2_without_data_gradient():
    """With no data gradient the first L2 step is lr whatever lambda; the decay is lr*lambda."""
    for lam in (1e-4, 1e-2, 1.0):
        l2 = adam(lambda w, t: 0 * w, [1.0], 1, lr=0.001, weight_decay=lam, decoupled=False)
        w = adam(lambda w, t: 0 * w, [1.0], 1, lr=0.001, weight_decay=lam, decoupled=True)
        assert np.isclose(1 - l2[-1, 0], 0.001, rtol=1e-3)
        assert np.isclose(1 - w[-1, 0], 0.001 * lam)


def check_worked_example():
    """The three steps of the worked example, and what they would be uncorrected."""
    g = np.array([[4.0], [2.0], [-1.0]])
    path = adam(lambda w, t: g[t - 1], [1.0], 3, lr=0.1)[:, 0]
    assert np.allclose(path, [1, 0.9, 0.806782, 0.750416], atol=1e-6)
    m = v = 0.0
    rows = []
    for t, x in enumerate(g[:, 0], start=1):
        m, v = 0.9 * m + 0.1 * x, 0.999 * v + 0.001 * x * x
        rows.append([m, v, m / (1 - 0.9**t), v / (1 - 0.999**t), 0.1 * m / np.sqrt(v)])
    expected = [
        [0.4, 0.016, 4, 16, 0.3162],
        [0.56, 0.019984, 2.9474, 9.9970, 0.3961],
        [0.404, 0.020964, 1.4908, 6.9950, 0.2790],
    ]
    assert np.allclose(rows, expected, atol=6e-5)
    small = adam(lambda w, t: g[t - 1] / 1000, [1.0], 3, lr=0.1)[:, 0]
    assert np.allclose(small, path, atol=1e-5)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
