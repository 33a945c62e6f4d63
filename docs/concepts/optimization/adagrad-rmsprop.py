"""Twin of the page on AdaGrad, RMSProp and AdaDelta: checks their steps, units and bounds."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def adagrad(grad, theta, steps, lr=1e-2, eps=1e-10):
    """AdaGrad (Duchi et al., 2011, diagonal form). grad: function (theta, t) -> (d,).

    Returns all iterates, shape (steps + 1, d); t = 1, 2, ...
    """
    theta = np.array(theta, dtype=float)
    path, total = [theta], np.zeros_like(theta)
    for t in range(1, steps + 1):
        g = grad(theta, t)
        total = total + g**2
        theta = theta - lr * g / (np.sqrt(total) + eps)
        path.append(theta)
    return np.stack(path)


def rmsprop(
    grad, theta, steps, lr=1e-2, alpha=0.99, eps=1e-8,
    momentum=0.0, centered=False, eps_inside=False,
):
    """RMSProp as in PyTorch; eps_inside puts eps under the root, as Keras does."""
    theta = np.array(theta, dtype=float)
    path = [theta]
    v, mean, buffer = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    for t in range(1, steps + 1):
        g = grad(theta, t)
        v = alpha * v + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        square = v - mean**2 if centered else v
        root = np.sqrt(square + eps) if eps_inside else np.sqrt(square) + eps
        buffer = momentum * buffer + g / root
        theta = theta - lr * buffer
        path.append(theta)
    return np.stack(path)


def adadelta(grad, theta, steps, rho=0.9, eps=1e-6):
    """AdaDelta (Zeiler, 2012): the ratio of two root mean squares replaces the rate."""
    theta = np.array(theta, dtype=float)
    path, v, u = [theta], np.zeros_like(theta), np.zeros_like(theta)
    for t in range(1, steps + 1):
        g = grad(theta, t)
        v = rho * v + (1 - rho) * g**2
        delta = -np.sqrt(u + eps) / np.sqrt(v + eps) * g
        u = rho * u + (1 - rho) * delta**2
        theta = theta + delta
        path.append(theta)
    return np.stack(path)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def run_torch(optimizer_class, loss_fn, theta, steps, **options):
    """Minimize loss_fn: (theta, t) -> scalar with Adagrad, RMSprop or Adadelta."""
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


def steps_of(method, g, **options):
    """Steps theta_{t-1} - theta_t of a method on prescribed gradients g, shape (T,) or (T, d)."""
    g = np.asarray(g, dtype=float).reshape(len(g), -1)
    path = method(lambda _, t: g[t - 1], np.zeros(g.shape[1]), len(g), **options)
    return -np.diff(path, axis=0)


def noisy(steps=200, d=4, seed=0):
    """Random gradients with coordinates of very different scale."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 1.0, size=(steps, d)) * np.array([1e-3, 1.0, 30.0, 1e4])[:d]


def sparse_problem(method, steps=3000, **options):
    """Weights on a stream of examples; feature j is 1 with probability p_j, else 0."""
    p = np.array([1.0, 0.01])
    rng = np.random.default_rng(4)
    x = (rng.random((steps, 2)) < p).astype(float)
    y = x @ np.array([1.0, 1.0]) + 0.1 * rng.normal(size=steps)
    path = method(lambda w, t: (x[t - 1] @ w - y[t - 1]) * x[t - 1], np.zeros(2), steps, **options)
    return path


def sgd(grad, theta, steps, lr):
    """Plain SGD with the same interface."""
    path = [np.array(theta, dtype=float)]
    for t in range(1, steps + 1):
        path.append(path[-1] - lr * grad(path[-1], t))
    return np.stack(path)


def figure_memory():
    """Step lengths on gradients whose scale jumps up for a while and back."""
    rng = np.random.default_rng(0)
    size = np.ones(900)
    size[300:400] = 20.0
    g = size * rng.choice([-1.0, 1.0], 900)
    fig, (top, ax) = plt.subplots(2, 1, figsize=(6.4, 4.2), sharex=True, height_ratios=[1, 2.2])
    top.semilogy(size, color="#222222", lw=1.4)
    top.set(ylabel="gradient size", ylim=(0.5, 50))
    for name, method, options, style in (
        ("AdaGrad", adagrad, {}, "-"),
        ("RMSProp, decay 0.99", rmsprop, {"alpha": 0.99}, "--"),
        ("RMSProp, decay 0.9", rmsprop, {"alpha": 0.9}, ":"),
    ):
        ax.semilogy(np.abs(steps_of(method, g, lr=1.0, **options))[:, 0], style, lw=1.4, label=name)
    ax.set(xlabel="step", ylabel="step length / learning rate", ylim=(1e-3, 20))
    ax.legend(ncol=3, loc="lower center", fontsize=9)
    return fig


def figure_sparse():
    """A frequent and a rare feature under SGD and AdaGrad."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1), sharey=True)
    for ax, name, run in (
        (axes[0], "SGD, rate 0.02", sparse_problem(sgd, lr=0.02)),
        (axes[1], "AdaGrad, rate 0.3", sparse_problem(adagrad, lr=0.3)),
    ):
        t = np.arange(0, 3001, 5)
        ax.plot(t, run[t, 0], "-", lw=0.8, label="feature in every example")
        ax.plot(t, run[t, 1], "--", lw=2, label="feature in 1% of the examples")
        ax.axhline(1, color="#222222", lw=0.8)
        ax.set(xlabel=f"example\n{name}", ylim=(0, 1.2))
        ax.set_xticks([0, 1000, 2000, 3000])
    axes[0].set_ylabel("weight (true value 1)")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncol=2)
    return fig


def against_torch(method, cls, ours, theirs):
    """Iterates of ours on noisy gradients, and the largest difference from PyTorch's."""
    g = noisy()
    start = [1.0, -2.0, 3.0, 0.5]
    gt = torch.tensor(g)
    a = method(lambda w, t: g[t - 1], start, 200, **ours)
    b = run_torch(cls, lambda w, t: gt[t - 1] @ w, start, 200, **theirs)
    assert np.abs(a[-1] - a[0]).max() > 1e-2
    return a, np.abs(a - b.numpy()).max()


def check_ada_adagrad():
    """Equation (ada-adagrad) against torch.optim.Adagrad."""
    _, difference = against_torch(adagrad, torch.optim.Adagrad, {"lr": 0.05}, {"lr": 0.05})
    assert difference < 1e-10


def check_ada_rmsprop():
    """Equation (ada-rmsprop) against torch.optim.RMSprop, also with momentum."""
    a, difference = against_torch(rmsprop, torch.optim.RMSprop, {}, {})
    assert difference < 1e-10
    options = {"momentum": 0.9, "eps": 1e-3}
    b, difference = against_torch(rmsprop, torch.optim.RMSprop, options, options)
    assert difference < 1e-10 and np.abs(a - b).max() > 1e-2


def check_ada_centered():
    """Equation (ada-centered) against PyTorch; the difference is a nonnegative variance."""
    options = {"centered": True, "eps": 1e-4}
    assert against_torch(rmsprop, torch.optim.RMSprop, options, options)[1] < 1e-10
    g = noisy(500)
    v = mean = 0.0
    for x in g:
        v, mean = 0.99 * v + 0.01 * x**2, 0.99 * mean + 0.01 * x
        assert (v - mean**2 >= -1e-9 * v).all()
    w = 0.01 * 0.99 ** np.arange(499, -1, -1)
    assert np.allclose(v - mean**2, w @ g**2 - (w @ g) ** 2)


def check_ada_adadelta():
    """Equation (ada-adadelta) against torch.optim.Adadelta."""
    for options in ({}, {"rho": 0.95, "eps": 1e-3}):
        assert against_torch(adadelta, torch.optim.Adadelta, options, options)[1] < 1e-10


def check_defaults():
    """The defaults of PyTorch that the page states."""
    p = [torch.zeros(1, requires_grad=True)]
    a = torch.optim.Adagrad(p).defaults
    assert (a["lr"], a["eps"], a["initial_accumulator_value"]) == (1e-2, 1e-10, 0)
    r = torch.optim.RMSprop(p).defaults
    assert (r["lr"], r["alpha"], r["eps"], r["momentum"]) == (1e-2, 0.99, 1e-8, 0)
    assert r["centered"] is False
    d = torch.optim.Adadelta(p).defaults
    assert (d["lr"], d["rho"], d["eps"]) == (1.0, 0.9, 1e-6)


def check_ada_decay():
    """Equation (ada-decay): step lr / sqrt(t) on a constant gradient; distance about 2 lr sqrt(T)."""
    s = steps_of(adagrad, np.full(10000, -3.0), lr=0.1)[:, 0]
    t = np.arange(1, 10001)
    assert np.allclose(s, -0.1 / np.sqrt(t))
    assert abs(np.abs(s).sum() / (2 * 0.1 * 100) - 1) < 0.01
    # any gradients with size at most G: the rate lr / sqrt(sum) is at least lr / (G sqrt(t))
    g = np.random.default_rng(1).uniform(-2, 2, 500)
    assert (0.1 / np.sqrt(np.cumsum(g**2)) >= 0.1 / (2 * np.sqrt(t[:500]))).all()


def check_ada_lemma():
    """Equation (ada-lemma) on random sequences; close to equality for constant ones."""
    rng = np.random.default_rng(2)
    for _ in range(200):
        g = rng.normal(size=300) * rng.choice([1e-3, 1.0, 100.0], 300)
        S = np.cumsum(g**2)
        assert (g**2 / np.sqrt(S)).sum() <= 2 * np.sqrt(S[-1])
    ones = np.arange(1, 100001)
    assert (1 / np.sqrt(ones)).sum() / (2 * np.sqrt(100000)) > 0.99


def check_ada_regret():
    """Equation (ada-regret): projected AdaGrad on random linear losses over [-1, 1]^3."""
    rng = np.random.default_rng(3)
    ratios = []
    for trial in range(40):
        scale = 10.0 ** rng.uniform(-3, 3, 3)
        drift = rng.normal(size=3)
        g = (rng.normal(size=(400, 3)) + drift) * scale * (rng.random((400, 3)) < [1, 0.3, 0.05])
        for lr in (0.3, 2 / np.sqrt(2), 5.0):
            x, S, loss = np.zeros(3), np.zeros(3), 0.0
            for row in g:
                loss += row @ x
                S = S + row**2
                x = np.clip(x - lr * row / (np.sqrt(S) + 1e-300), -1, 1)
            best = -np.abs(g.sum(0)).sum()
            bound = (4 / (2 * lr) + lr) * np.sqrt(S).sum()
            ratios.append((loss - best) / bound)
    assert max(ratios) <= 1 and max(ratios) > 0.2, max(ratios)


def check_ada_sparse():
    """Equation (ada-sparse): a feature of frequency p, unit gradients, steps lr / sqrt(p t)."""
    rng = np.random.default_rng(5)
    for p in (1.0, 0.1, 0.01):
        active = rng.random(100000) < p
        S = np.cumsum(active)
        t = np.nonzero(active)[0][-1]
        assert abs((1 / np.sqrt(S[t])) / (1 / np.sqrt(p * (t + 1))) - 1) < 0.05


def check_sparse_figure():
    """After 3,000 examples the rare weight: SGD is left with about half, AdaGrad with a little."""
    slow = np.abs(sparse_problem(sgd, lr=0.02) - 1)
    fast = np.abs(sparse_problem(adagrad, lr=0.3) - 1)
    assert 0.4 < slow[-1, 1] < 0.75 and fast[-1, 1] < 0.1
    assert slow[-500:, 0].mean() < 0.05 and fast[-500:, 0].mean() < 0.05


def check_ada_rms_first():
    """Equation (ada-rms-first): RMSProp's first steps on a constant gradient, no correction."""
    t = np.arange(1, 1001)
    for alpha, first in ((0.99, 10.0), (0.9, 3.1623)):
        s = steps_of(rmsprop, np.full(1000, 5.0), lr=1.0, alpha=alpha, eps=0.0)[:, 0]
        assert np.allclose(s, 1 / np.sqrt(1 - alpha**t)) and abs(s[0] - first) < 1e-3


def check_scale_invariance():
    """Rescaled gradients change nothing in AdaGrad and RMSProp when eps is 0."""
    g = noisy()
    for method in (adagrad, rmsprop):
        assert np.allclose(steps_of(method, g, eps=0.0),
                           steps_of(method, g * np.array([1e3, 1e-2, 7.0, 1e-5]), eps=0.0))


def check_ada_centered_blowup():
    """Equation (ada-centered-blowup): centered RMSProp on a constant gradient."""
    t = np.arange(1, 401)
    s = steps_of(rmsprop, np.full(100, 5.0), lr=1.0, alpha=0.9, eps=0.0, centered=True)[:, 0]
    factor = 1 / np.sqrt(0.9 ** t[:100] * (1 - 0.9 ** t[:100]))
    assert np.allclose(s, factor, rtol=1e-4)
    assert abs(factor[99] / 194 - 1) < 0.01 and abs(factor.min() - 2) < 0.02
    # PyTorch, float32, eps = 1e-8 outside the root: NaN, or thousands of times the rate
    w = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.RMSprop([w], lr=1.0, alpha=0.9, centered=True)
    for _ in range(200):
        optimizer.zero_grad()
        (5.0 * w).sum().backward()
        optimizer.step()
    assert torch.isnan(w).all() or abs(w.item()) > 1e4
    # 1e-4 under the root, as in Graves (2013), bounds the step by 100 |g|
    safe = steps_of(rmsprop, np.full(400, 5.0), lr=1.0, alpha=0.9, eps=1e-4,
                    centered=True, eps_inside=True)
    assert np.isfinite(safe).all() and np.isclose(safe.max(), 500, rtol=1e-3)


def check_ada_epsilon():
    """Equation (ada-epsilon): outside eps and inside eps^2 differ by at most sqrt(2)."""
    v = 10.0 ** np.linspace(-30, 10, 4001)
    for eps in (1e-8, 1e-3, 1.0):
        ratio = (np.sqrt(v) + eps) / np.sqrt(v + eps**2)
        assert ratio.min() >= 1 and ratio.max() <= np.sqrt(2) + 1e-12
        assert abs(v[ratio.argmax()] / eps**2 - 1) < 0.05 and ratio.max() > 1.414
    # the same number in both places: a floor of 1e-8 or of 1e-4
    assert np.isclose(np.sqrt(0 + 1e-8), 1e-4)
    small = np.full(50, 1e-6)
    out = steps_of(rmsprop, small, lr=1.0)[-1, 0]
    inside = steps_of(rmsprop, small, lr=1.0, eps_inside=True)[-1, 0]
    assert out > 1.5 and inside < 0.011


def check_ada_units():
    """Equation (ada-units): what each method needs when parameters are measured in units 1/c."""
    rng = np.random.default_rng(6)
    A = rng.normal(size=(3, 3))
    H = A @ A.T + np.eye(3)
    c = 1000.0  # new parameters = c * old parameters, so new gradient = old gradient / c

    def old(w, t=0):
        return H @ (w - 1.0)

    def new(w, t=0):
        return H @ (w / c - 1.0) / c

    start = np.array([0.0, 3.0, -1.0])
    cases = [
        (sgd, {"lr": 0.05}, {"lr": 0.05 * c**2}),
        (adagrad, {"lr": 0.05, "eps": 0.0}, {"lr": 0.05 * c, "eps": 0.0}),
        (rmsprop, {"lr": 0.05, "eps": 0.0}, {"lr": 0.05 * c, "eps": 0.0}),
    ]
    for method, a, b in cases:
        reference = method(old, start, 30, **a)
        assert np.allclose(method(new, c * start, 30, **b) / c, reference)
        assert not np.allclose(method(new, c * start, 30, **a) / c, reference, atol=1e-3)
    # Newton needs no change
    assert np.allclose(np.linalg.solve(H / c**2, new(c * start)) / c, np.linalg.solve(H, old(start)))
    # AdaDelta: exact if the two epsilons carry their units; broken by one shared number
    def two(grad, theta, eps_u, eps_v):
        v = u = np.zeros(3)
        for _ in range(30):
            g = grad(theta)
            v = 0.9 * v + 0.1 * g**2
            delta = -np.sqrt(u + eps_u) / np.sqrt(v + eps_v) * g
            u = 0.9 * u + 0.1 * delta**2
            theta = theta + delta
        return theta

    reference = two(old, start, 1e-6, 1e-6)
    assert np.allclose(reference, adadelta(old, start, 30)[-1])
    assert np.allclose(two(new, c * start, 1e-6 * c**2, 1e-6 / c**2) / c, reference)
    shared = two(new, c * start, 1e-6, 1e-6) / c
    assert np.abs(shared - start).max() < 0.01 * np.abs(reference - start).max()


def check_ada_adadelta_growth():
    """Equation (ada-adadelta-growth): first step sqrt(eps / (1 - rho)), then like a root of t."""
    s = steps_of(adadelta, np.full(20000, 7.0))[:, 0]
    assert np.isclose(s[0], np.sqrt(1e-6 / 0.1), rtol=1e-4) and abs(s[0] - 3.16e-3) < 1e-5
    for t in (5000, 20000):
        assert abs(s[t - 1] / np.sqrt(0.1 * 1e-6 * t) - 1) < 0.03
    assert np.isclose(s[9999], 0.0319, atol=3e-4)
    big = steps_of(adadelta, np.full(100, 7.0), eps=1e-4)[:, 0]
    assert np.allclose(big, 10 * s[:100], rtol=1e-4)  # eps acts as the square of a rate


def check_rmsprop_does_not_settle():
    """With a constant rate RMSProp jumps over the minimum of |x| forever; 1/sqrt(t) settles."""
    path = rmsprop(lambda w, t: np.sign(w), [0.305], 500, lr=0.01, alpha=0.9)[:, 0]
    assert 0.004 < np.abs(path[-20:]).max() < 0.02
    path = adagrad(lambda w, t: np.sign(w), [0.305], 5000, lr=0.1)[:, 0]
    assert np.abs(path[-20:]).max() < 0.003


def check_worked_example():
    """The table of the worked example."""
    g = np.array([4.0, 2.0, -1.0])
    assert np.allclose(steps_of(adagrad, g, lr=0.1)[:, 0], [0.1, 0.04472, -0.02182], atol=1e-5)
    assert np.allclose(steps_of(rmsprop, g, lr=0.1, alpha=0.9)[:, 0],
                       [0.31623, 0.14744, -0.07546], atol=1e-5)
    assert np.allclose(steps_of(adadelta, g)[:, 0], [0.0031623, 0.0020851, -0.0011531], atol=1e-6)
    v = u = 0.0
    rows = []
    for x in g:
        v = 0.9 * v + 0.1 * x * x
        u = 0.9 * u + 0.1 * (u + 1e-6) / (v + 1e-6) * x * x
        rows.append((v, u * 1e6))
    assert np.allclose(rows, [[1.6, 1.0], [1.84, 1.3348], [1.756, 1.3343]], atol=1e-4)
    assert np.allclose(np.cumsum(g**2), [16, 20, 21])


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
