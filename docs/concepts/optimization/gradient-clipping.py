"""Twin of the page "Gradient clipping": code, figures and checks."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def clip_by_global_norm(grads, max_norm, eps=1e-6):
    """Scale a list of gradient arrays together; returns (clipped, norm before).

    The norm runs over all entries of all arrays, as in PyTorch.
    """
    norm = np.sqrt(sum(np.sum(g**2) for g in grads))
    factor = min(1.0, max_norm / (norm + eps))
    return [g * factor for g in grads], norm


def clip_by_value(grads, limit):
    """Cap every entry to [-limit, limit] by itself."""
    return [np.clip(g, -limit, limit) for g in grads]


# --8<-- [end:numpy]


# --8<-- [start:torch]
def train_step(model, loss_fn, batches, optimizer, max_norm=1.0):
    """One update from several accumulated batches; returns the norm before clipping."""
    optimizer.zero_grad()
    for x, y in batches:
        (loss_fn(model(x), y) / len(batches)).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    if torch.isfinite(norm):  # a NaN would spread to every parameter
        optimizer.step()
    return norm.item()  # log it: this is the unclipped norm


# --8<-- [end:torch]


def clip(g, c):
    """Clip one vector by its norm, without the small constant."""
    return g * min(1.0, c / max(np.linalg.norm(g), 1e-300))


def angle(a, b):
    """Angle between two vectors in degrees."""
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def wall(w, steps=20):
    """Loss 1/2 (w^T - 1)^2 of a linear recurrence, and its derivative."""
    p = w**steps
    return 0.5 * (p - 1) ** 2, (p - 1) * steps * w ** (steps - 1)


def walk(w, eta, c, n):
    """Gradient descent on the wall, clipped to c (None: unclipped)."""
    path = [w]
    for _ in range(n):
        g = wall(path[-1])[1]
        if c is not None:
            g = max(-c, min(c, g))
        path.append(path[-1] - eta * g)
    return np.array(path)


def figure_geometry():
    """The same gradient clipped by norm (circle) and by value (square)."""
    fig, ax = plt.subplots(figsize=(6.4, 3.3))
    g = np.array([3.2, 0.8])
    t = np.linspace(0, 2 * np.pi, 300)
    ax.plot(np.cos(t), np.sin(t), "-", lw=1.2, color="#0061a8")
    ax.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], "--", lw=1.2, color="#c2410c")
    kinds = (
        (g, "#222222", "gradient", (2.1, 0.85), "-"),
        (clip(g, 1.0), "#0061a8", "clipped by norm", (-0.8, -0.4), "-"),
        (np.clip(g, -1, 1), "#c2410c", "clipped by value", (1.08, 1.02), "--"),
    )
    for v, color, label, where, style in kinds:
        ax.annotate("", v, (0, 0), arrowprops={
            "arrowstyle": "-|>", "color": color, "lw": 2, "linestyle": style,
            "shrinkA": 0, "shrinkB": 0})
        ax.text(*where, label, color=color, fontsize=10)
    ax.set_aspect("equal")
    ax.set_xlim(-1.3, 3.5)
    ax.set_ylim(-1.25, 1.4)
    ax.set_xlabel("first gradient entry")
    ax.set_ylabel("second gradient entry")
    return fig


def figure_cliff():
    """Descent on a wall of the loss, with and without clipping."""
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    w = np.linspace(0.55, 1.21, 600)
    ax.plot(w, wall(w)[0], "-", color="#555555", label="loss")
    plain, clipped = walk(1.18, 0.001, None, 1), walk(1.18, 0.001, 20.0, 12)
    ax.plot(clipped, wall(clipped)[0], "o", ms=5, color="#0061a8", label="clipped, 12 steps")
    start = wall(1.18)[0]
    ax.annotate("", (0.55, start), (1.18, start), arrowprops={
        "arrowstyle": "-|>", "color": "#c2410c", "lw": 2, "linestyle": "--"})
    ax.text(0.85, start * 1.04, f"unclipped step lands at {plain[1]:.1f}".replace("-", "\N{MINUS SIGN}"),
            ha="center", color="#c2410c", fontsize=10)
    ax.set_ylim(-15, start * 1.25)
    ax.set_xlim(0.55, 1.21)
    ax.set_xlabel("recurrent weight")
    ax.set_ylabel("loss after 20 steps of recurrence")
    ax.legend(loc="center left", fontsize=9)
    return fig


def check_clip_norm():
    """Equation (clip-norm): direction kept, length min(c, norm), short ones untouched."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        g, c = rng.normal(size=7) * rng.uniform(0.01, 10), rng.uniform(0.1, 5)
        out = clip(g, c)
        assert np.isclose(np.linalg.norm(out), min(c, np.linalg.norm(g)))
        assert angle(g, out) < 1e-3
        if np.linalg.norm(g) <= c:
            assert np.array_equal(out, g)


def check_clip_global():
    """Equation (clip-global): the norm of the concatenation; not one clip per tensor."""
    rng = np.random.default_rng(1)
    grads = [rng.normal(size=(3, 4)), 20 * rng.normal(size=5), rng.normal(size=(2, 2, 2))]
    flat = np.concatenate([g.ravel() for g in grads])
    clipped, norm = clip_by_global_norm(grads, 1.0)
    assert np.isclose(norm, np.linalg.norm(flat))
    out = np.concatenate([g.ravel() for g in clipped])
    assert angle(flat, out) < 1e-3 and np.isclose(np.linalg.norm(out), 1.0, atol=1e-6)
    per_tensor = np.concatenate([clip(g.ravel(), 1.0) for g in grads])
    assert angle(flat, per_tensor) > 10 and np.isclose(np.linalg.norm(per_tensor), np.sqrt(3))


def check_clip_value():
    """Equation (clip-value): entrywise, against PyTorch; it keeps signs, not direction."""
    rng = np.random.default_rng(2)
    p = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
    g = 4 * rng.normal(size=6)
    p.grad = torch.from_numpy(g.copy())
    torch.nn.utils.clip_grad_value_([p], 1.5)
    ours = clip_by_value([g], 1.5)[0]
    assert np.array_equal(p.grad.numpy(), ours)
    assert np.array_equal(np.sign(ours), np.sign(g)) and ours @ g > 0 and angle(ours, g) > 5


def check_clip_value_angle():
    """Equation (clip-value-angle): cosine at least 1/sqrt(d), and nearly attained."""
    rng = np.random.default_rng(3)
    for d in (2, 5, 50):
        for _ in range(500):
            g = rng.standard_cauchy(size=d) * 10 ** rng.uniform(-2, 2, size=d)
            out = np.clip(g, -1, 1)
            assert np.cos(np.radians(angle(g, out))) >= 1 / np.sqrt(d) - 1e-9
        worst = np.r_[1e7, np.ones(d - 1)]
        cosine = worst @ np.clip(worst, -1, 1) / np.linalg.norm(worst) / np.sqrt(d)
        assert np.isclose(cosine, 1 / np.sqrt(d), rtol=1e-4)


def check_clip_pytorch():
    """Equation (clip-pytorch): the factor with 1e-6, and the returned norm."""
    for size, c in ((3.0, 1.0), (1e-6, 1e-6), (0.2, 1.0)):
        p = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        p.grad = torch.tensor([0.6, 0.8], dtype=torch.float64) * size
        returned = torch.nn.utils.clip_grad_norm_([p], c)
        assert np.isclose(returned.item(), size)  # the norm before clipping
        factor = min(1.0, c / (size + 1e-6))
        assert np.isclose(p.grad.norm().item(), size * factor, rtol=1e-12)
    assert np.isclose(min(1.0, 1e-6 / 2e-6), 0.5)  # a norm equal to c is halved there
    p.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert torch.nn.utils.clip_grad_norm_([p], float("inf")).item() == 5.0
    assert p.grad.tolist() == [3.0, 4.0]  # an infinite threshold only measures


def check_nonfinite():
    """Text: one NaN makes all gradients NaN, one infinity zeroes the finite ones."""
    for bad, other in ((float("nan"), float("nan")), (float("inf"), 0.0)):
        a, b = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
        a.grad, b.grad = torch.tensor([bad, 1.0]), torch.ones(2)
        torch.nn.utils.clip_grad_norm_([a, b], 1.0)
        assert np.array_equal(b.grad.numpy(), [other, other], equal_nan=True)
        assert np.isnan(a.grad[0].item())
        a.grad = torch.tensor([bad, 1.0])
        try:
            torch.nn.utils.clip_grad_norm_([a], 1.0, error_if_nonfinite=True)
        except RuntimeError:
            continue
        raise AssertionError("no error raised")


def check_clip_projection():
    """Equation (clip-projection): nearest points of ball and cube; never expanding."""
    rng = np.random.default_rng(4)
    for _ in range(300):
        g, h, c = 3 * rng.normal(size=4), 3 * rng.normal(size=4), rng.uniform(0.5, 3)
        ball, cube = clip(g, c), np.clip(g, -c, c)
        other = rng.normal(size=4)
        inside = clip(other * rng.uniform(0.1, 3), c)
        assert np.linalg.norm(g - ball) <= np.linalg.norm(g - inside) + 1e-12
        inside = np.clip(other, -c, c)
        assert np.linalg.norm(g - cube) <= np.linalg.norm(g - inside) + 1e-12
        assert np.linalg.norm(ball - clip(h, c)) <= np.linalg.norm(g - h) + 1e-12


def check_clip_step():
    """Equation (clip-step): a plain SGD step is at most eta c long; momentum c/(1-mu)."""
    rng = np.random.default_rng(5)
    eta, c, mu, v = 0.1, 2.0, 0.9, 0.0
    for _ in range(300):
        g = clip(rng.standard_cauchy(size=3), c)
        assert eta * np.linalg.norm(g) <= eta * c + 1e-12
        v = mu * v + g
        assert np.linalg.norm(v) <= c / (1 - mu) + 1e-9
    v = 0.0
    for _ in range(300):
        v = mu * v + np.array([c])
    assert np.isclose(v[0], c / (1 - mu))


def check_clip_smoothness():
    """Equation (clip-smoothness): the clipped rate is the safe rate up to a factor 2."""
    rng = np.random.default_rng(6)
    for _ in range(500):
        l0, l1, g = 10 ** rng.uniform(-3, 3, size=3)
        clipped = min(1 / l0, 1 / (l1 * g))
        safe = 1 / (l0 + l1 * g)
        assert clipped / 2 - 1e-12 <= safe <= clipped + 1e-12
    x = np.linspace(-8, 8, 400)  # cosh satisfies the condition with l0 = l1 = 1
    assert np.all(np.cosh(x) <= 1 + np.abs(np.sinh(x)) + 1e-9)
    assert np.cosh(8) > 1000  # but no fixed bound of that size holds


def check_clip_huber():
    """Equation (clip-huber): per-example clipping of a squared loss is the Huber loss."""
    data, c = np.array([0.0, 0.0, 0.0, 0.0, 10.0]), 1.0

    def huber(r):
        return np.where(abs(r) <= c, 0.5 * r**2, c * abs(r) - 0.5 * c**2)

    for theta in (-1.3, 0.25, 0.7, 4.0):
        h = 1e-6
        numeric = np.mean(huber(theta + h - data) - huber(theta - h - data)) / (2 * h)
        assert np.isclose(np.mean(np.clip(theta - data, -c, c)), numeric, atol=1e-6)
    torch_huber = torch.nn.functional.huber_loss(
        torch.full((5,), 0.7, dtype=torch.float64), torch.from_numpy(data), delta=c)
    assert np.isclose(torch_huber.item(), np.mean(huber(0.7 - data)))
    theta = 2.0
    for _ in range(3000):
        theta -= 0.02 * np.mean(np.clip(theta - data, -c, c))
    assert np.isclose(theta, 0.25, atol=1e-3) and np.isclose(data.mean(), 2.0)


def check_clip_bias():
    """Equation (clip-bias): the clipped mean has the wrong sign."""
    g, p = np.array([10.0, -1.0]), np.array([0.1, 0.9])
    assert np.isclose(p @ g, 0.1) and np.isclose(p @ np.clip(g, -1, 1), -0.8)
    rng = np.random.default_rng(7)
    theta = 0.0
    for _ in range(2000):
        theta -= 0.01 * np.clip(rng.choice(g, p=p), -1, 1)
    assert theta > 10  # the loss with gradient 0.1 would fall toward smaller theta


def check_clip_agc():
    """Equation (clip-agc): unit-wise clipping by the ratio to the weight norm."""
    rng = np.random.default_rng(8)
    W, G, lam = rng.normal(size=(4, 9)), rng.normal(size=(4, 9)), 0.01
    G[0] *= 1e-4
    W[3] = 0.0
    wn = np.maximum(np.linalg.norm(W, axis=1), 1e-3)
    out = G * np.minimum(1.0, lam * wn / np.linalg.norm(G, axis=1))[:, None]
    assert np.array_equal(out[0], G[0])
    assert np.allclose(np.linalg.norm(out[1:], axis=1), lam * wn[1:])
    assert np.linalg.norm(out[3]) > 0  # the floor lets zero weights move


def adam_steps(grads, eps=1e-8, b1=0.9, b2=0.999):
    """Step lengths of Adam divided by the learning rate, for given scalar gradients."""
    m = v = 0.0
    out = []
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        out.append(m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps))
    return np.array(out)


def check_clip_adam():
    """Equation (clip-adam): scaling all gradients and epsilon leaves Adam unchanged."""
    g = np.random.default_rng(9).normal(size=400)
    assert np.allclose(adam_steps(g, 1e-8), adam_steps(0.01 * g, 1e-10), rtol=1e-10)
    assert not np.allclose(adam_steps(g), adam_steps(np.clip(g, -0.3, 0.3)), atol=0.05)


def check_clip_adam_spike():
    """Equation (clip-adam-spike): a spike K on a steady gradient 1, and its aftermath."""
    K, warm = 100.0, 20_000
    g = np.ones(warm + 400)
    g[warm] = K
    steps = adam_steps(g)
    spike = (0.9 + 0.1 * K) / np.sqrt(0.999 + 0.001 * K**2)
    assert np.isclose(steps[warm], spike, rtol=1e-6) and np.isclose(spike, 3.29, atol=0.005)
    assert np.isclose(steps[warm + 100], 1 / np.sqrt(1 + 0.999**100 * 9.999), rtol=0.01)
    assert np.isclose(steps[warm + 100], 0.315, atol=0.003), steps[warm + 100]
    g[warm] = 1.0  # what clipping at the usual norm leaves
    assert np.allclose(adam_steps(g)[warm:], 1.0, atol=1e-6)


def check_cliff():
    """Figure: the unclipped step is thrown far away, the clipped path walks down."""
    plain, clipped = walk(1.18, 0.001, None, 1), walk(1.18, 0.001, 20.0, 12)
    assert np.isclose(wall(1.18)[1], 12254, rtol=1e-4), wall(1.18)
    assert np.isclose(plain[1], -11.07, atol=0.01), plain
    assert wall(clipped[-1])[0] < 0.2 < wall(clipped[0])[0], wall(clipped[-1])


def check_worked_example():
    """The numbers of the worked example."""
    grads = [np.array([3.0, 4.0]), np.array([12.0])]
    clipped, norm = clip_by_global_norm(grads, 1.0, eps=0.0)
    assert np.isclose(norm, 13.0)
    assert np.allclose(clipped[0], [0.2308, 0.3077], atol=5e-5)
    assert np.allclose(clipped[1], [0.9231], atol=5e-5)
    flat = np.array([3.0, 4.0, 12.0])
    capped = np.clip(flat, -1, 1)
    assert np.allclose(capped, 1.0) and np.isclose(angle(flat, capped), 32.5, atol=0.1)
    per = np.r_[clip(flat[:2], 1.0), clip(flat[2:], 1.0)]
    assert np.allclose(per, [0.6, 0.8, 1.0]) and np.isclose(angle(flat, per), 22.4, atol=0.1)
    assert np.isclose(13.0 / (13 + 1e-6) * 1.0, 0.99999992, atol=1e-8)


def check_numpy_against_torch():
    """Both tabs clip the same gradients to 1e-12, and train_step skips a NaN batch."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    x, y = torch.randn(16, 4, dtype=torch.float64), 9 * torch.randn(16, 1, dtype=torch.float64)
    loss_fn = torch.nn.functional.mse_loss
    grads = [g.numpy() for g in torch.autograd.grad(loss_fn(model(x), y), list(model.parameters()))]
    ours, norm = clip_by_global_norm(grads, 0.5)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [(x[:8], y[:8]), (x[8:], y[8:])]
    assert np.isclose(train_step(model, loss_fn, batches, optimizer, 0.5), norm, rtol=1e-12)
    assert norm > 0.5
    for p, b, g in zip(model.parameters(), before, ours):
        assert np.allclose((b - p.detach()).numpy(), 0.1 * g, atol=1e-12)
    kept = [p.detach().clone() for p in model.parameters()]
    assert np.isnan(train_step(model, loss_fn, [(x * float("nan"), y)], optimizer))
    assert all(torch.equal(p, k) for p, k in zip(model.parameters(), kept))


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
