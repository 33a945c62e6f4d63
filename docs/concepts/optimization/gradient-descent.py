"""Checks and figures of the page on gradient descent: rates, limits and norms."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def gradient_descent(grad, theta, lr, steps):
    """Run gradient descent with a constant learning rate.

    grad: function from parameters (d,) to the gradient (d,); theta: start, (d,);
    lr: learning rate; steps: number of updates.
    Returns all iterates, (steps + 1, d): theta_{t+1} = theta_t - lr * grad(theta_t).
    """
    path = [np.asarray(theta, dtype=float)]
    for _ in range(steps):
        path.append(path[-1] - lr * grad(path[-1]))
    return np.stack(path)


def logistic_loss(w, X, y):
    """Mean logistic loss; w: (d,), X: (n, d), y: (n,) with entries 0 or 1."""
    z = X @ w
    return np.mean(np.logaddexp(0.0, z) - y * z)


def logistic_grad(w, X, y):
    """Gradient of logistic_loss with respect to w, shape (d,)."""
    p = 1.0 / (1.0 + np.exp(-(X @ w)))
    return X.T @ (p - y) / len(y)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def gradient_descent_torch(loss_fn, theta, lr, steps):
    """The same loop with automatic differentiation; loss_fn: (d,) tensor -> scalar.

    torch.optim.SGD applies whatever gradient it is given. Fed with the gradient of
    the full data set, without momentum, it performs plain gradient descent.
    """
    theta = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=lr)
    path = [theta.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        loss_fn(theta).backward()
        optimizer.step()
        path.append(theta.detach().clone())
    return torch.stack(path)
# --8<-- [end:torch]


RNG_SEED = 0
SCALES = np.array([1.0, 10.0])  # eigenvalues of the worked example


def quad(theta):
    """J = (theta_1^2 + 10 theta_2^2) / 2 on the last axis."""
    return 0.5 * (SCALES * np.asarray(theta) ** 2).sum(-1)


def quad_grad(theta):
    """Gradient of quad."""
    return SCALES * theta


def logistic_problem(n=60, d=4):
    """Random data, and L = largest eigenvalue of X'X / (4n), which bounds the Hessian."""
    rng = np.random.default_rng(RNG_SEED)
    X = rng.normal(size=(n, d)) * np.array([1.0, 2.0, 0.5, 1.5])
    y = (rng.random(n) < 1 / (1 + np.exp(-X @ np.array([1.0, -0.5, 0.3, 0.0])))).astype(float)
    L = np.linalg.eigvalsh(X.T @ X / n)[-1] / 4
    return X, y, L


def random_hessian(d=5):
    """Symmetric positive definite matrix with known eigenvalues 1..10, and these."""
    rng = np.random.default_rng(RNG_SEED)
    q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    lam = np.linspace(1.0, 10.0, d)
    return q @ np.diag(lam) @ q.T, lam, q


def figure_rates():
    """Paths and losses of gradient descent at three learning rates on an elongated bowl."""
    runs = [
        (0.02, "o", "-", "0.02 (too small)"),
        (2 / 11, "s", "--", "2/11 (best)"),
        (0.21, "^", ":", "0.21 (above the limit 0.2)"),
    ]
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.6), width_ratios=[1.25, 1])
    a, b = np.meshgrid(np.linspace(-4.5, 11, 200), np.linspace(-2.9, 2.9, 160))
    left.contour(
        a, b, quad(np.stack([a, b], -1)), levels=[1, 5, 15, 30, 50],
        colors="#777777", linewidths=0.7,
    )
    for lr, marker, style, name in runs:
        path = gradient_descent(quad_grad, [10.0, 1.0], lr, 30)
        left.plot(path[:9, 0], path[:9, 1], style, marker=marker, ms=4, lw=1.3)
        right.semilogy(
            np.arange(21), quad(path[:21]), style, marker=marker, ms=3.5, lw=1.3,
            label=name,
        )
    left.plot(0, 0, "*", color="#222222", ms=10)
    left.set(xlabel="first parameter (curvature 1)", ylabel="second parameter (curvature 10)")
    left.grid(False)
    right.set(xlabel="step", ylabel="objective", ylim=(8e-3, 500))
    fig.legend(
        *right.get_legend_handles_labels(), title="learning rate", fontsize=9,
        title_fontsize=9, loc="outside lower center", ncol=3,
    )
    return fig


def figure_norms():
    """The steepest unit step of one gradient under three norms."""
    g = np.array([2.0, 1.0])
    angle = np.linspace(0, 2 * np.pi, 400)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    shapes = [
        ("2-norm: gradient descent", circle, -g / np.linalg.norm(g)),
        ("max-norm: sign descent", circle / np.abs(circle).max(0), -np.sign(g)),
        ("1-norm: coordinate descent", circle / np.abs(circle).sum(0), np.array([-1.0, 0.0])),
    ]
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.7), sharey=True)
    span = np.linspace(-1.9, 1.9, 2)
    for ax, (name, ball, d) in zip(axes, shapes, strict=True):
        for c in np.arange(-6, 6.1, 1.0):
            ax.plot(span, (c - g[0] * span) / g[1], color="#8a8a8a", lw=0.6)
        value = g @ d
        ax.plot(span, (value - g[0] * span) / g[1], "--", color="#222222", lw=1.2)
        ax.plot(*ball, color="#0061a8")
        ax.annotate(
            "", xy=d, xytext=(0, 0),
            arrowprops={"arrowstyle": "-|>", "color": "#c2410c", "lw": 2,
                        "shrinkA": 0, "shrinkB": 0},
        )
        ax.plot(0, 0, "o", color="#222222", ms=4)
        ax.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal",
               xlabel="first parameter\n" + name)
        ax.set_xticks([-1, 0, 1])
        ax.set_yticks([-1, 0, 1])
        ax.xaxis.label.set_size(9)
        ax.grid(False)
    axes[0].set_ylabel("second parameter")
    return fig


def check_gd_update():
    """Equation (gd-update): the NumPy loop equals torch.optim.SGD on the full batch."""
    X, y, L = logistic_problem()
    start = [0.5, -1.0, 2.0, 0.0]
    ours = gradient_descent(lambda w: logistic_grad(w, X, y), start, 1 / L, 50)
    Xt, yt = torch.tensor(X), torch.tensor(y)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    theirs = gradient_descent_torch(lambda w: bce(Xt @ w, yt), start, 1 / L, 50)
    assert np.allclose(ours, theirs.numpy(), atol=1e-10)
    assert np.abs(ours[-1] - ours[0]).max() > 0.1


def check_logistic_gradient():
    """The gradient in the snippet agrees with central differences."""
    X, y, _ = logistic_problem()
    w = np.array([0.3, -0.2, 0.1, 0.7])
    h = 1e-6
    numeric = [
        (logistic_loss(w + h * e, X, y) - logistic_loss(w - h * e, X, y)) / (2 * h)
        for e in np.eye(4)
    ]
    assert np.allclose(logistic_grad(w, X, y), numeric, atol=1e-8)


def check_gd_taylor():
    """Equation (gd-taylor): the remainder shrinks like the square of the step."""
    X, y, _ = logistic_problem()
    w = np.array([0.3, -0.2, 0.1, 0.7])
    g = logistic_grad(w, X, y)
    here = logistic_loss(w, X, y)
    rest = [logistic_loss(w - e * g, X, y) - here + e * g @ g for e in (1e-2, 1e-3)]
    assert rest[0] > 0
    assert abs(rest[0] / rest[1] - 100) < 2


def check_gd_steepest():
    """Equation (gd-steepest): no unit vector of the norm has a lower slope."""
    rng = np.random.default_rng(RNG_SEED)
    g = rng.normal(size=6)
    A = rng.normal(size=(6, 6))
    P = A @ A.T + np.eye(6)
    Pinv_g = np.linalg.solve(P, g)
    j = np.argmax(np.abs(g))
    cases = [
        (lambda d: np.linalg.norm(d, axis=-1), -g / np.linalg.norm(g), np.linalg.norm(g)),
        (lambda d: np.abs(d).max(-1), -np.sign(g), np.abs(g).sum()),
        (lambda d: np.abs(d).sum(-1), -np.sign(g[j]) * np.eye(6)[j], np.abs(g).max()),
        (
            lambda d: np.sqrt(np.einsum("...i,ij,...j", d, P, d)),
            -Pinv_g / np.sqrt(g @ Pinv_g),
            np.sqrt(g @ Pinv_g),
        ),
    ]
    random = rng.normal(size=(20000, 6))
    near = rng.normal(size=(20000, 6)) * 0.05
    for norm, best, dual in cases:
        assert np.isclose(norm(best), 1)
        assert np.isclose(g @ best, -dual)
        for d in (random, best + near):
            slopes = (d / norm(d)[:, None]) @ g
            assert slopes.min() >= g @ best - 1e-12
            assert slopes.min() < 0.5 * (g @ best)


def check_gd_upper_bound():
    """Equation (gd-upper-bound) on random pairs; fails with a constant ten times smaller."""
    X, y, L = logistic_problem()
    rng = np.random.default_rng(1)
    gaps, tight = [], []
    for _ in range(500):
        a, b = rng.normal(size=(2, 4)) * rng.choice([0.1, 1.0, 3.0])
        linear = logistic_loss(a, X, y) + logistic_grad(a, X, y) @ (b - a)
        gaps.append(linear + L / 2 * (b - a) @ (b - a) - logistic_loss(b, X, y))
        tight.append(linear + L / 20 * (b - a) @ (b - a) - logistic_loss(b, X, y))
    assert min(gaps) >= 0
    assert min(tight) < 0


def check_gd_descent_lemma():
    """Equation (gd-descent-lemma) at many points and rates; equality on J = L x^2 / 2."""
    X, y, L = logistic_problem()
    rng = np.random.default_rng(2)
    for _ in range(300):
        w = rng.normal(size=4) * 2
        lr = rng.uniform(0, 2.5) / L
        g = logistic_grad(w, X, y)
        bound = logistic_loss(w, X, y) - lr * (1 - lr * L / 2) * g @ g
        assert logistic_loss(w - lr * g, X, y) <= bound + 1e-12
    for lr in (0.05, 0.1, 0.19, 0.3):  # L = 10, one parameter
        x = 1.7
        new = 5 * (x - lr * 10 * x) ** 2
        assert np.isclose(new, 5 * x**2 - lr * (1 - 5 * lr) * (10 * x) ** 2)


def check_gd_stationarity():
    """Equation (gd-stationarity) on the non-convex sum of x^2 / (1 + x^2), where L = 2."""

    def grad(x):
        return 2 * x / (1 + x**2) ** 2

    grid = np.linspace(-20, 20, 400001)
    curvature = np.gradient(grad(grid), grid)
    assert abs(np.abs(curvature).max() - 2) < 1e-3
    assert curvature.min() < -0.4  # not convex
    start = np.array([3.0, -2.0, 0.5, 8.0])
    path = gradient_descent(grad, start, 1 / 2, 2000)
    squared = (grad(path) ** 2).sum(-1)
    initial = (start**2 / (1 + start**2)).sum()
    for T in (1, 5, 20, 100, 2000):
        assert squared[:T].min() <= 2 * 2 * initial / T


def check_gd_convex_rate():
    """Equation (gd-convex-rate) on the convex sum of log cosh (L = 1, minimum 0 at 0)."""
    start = np.array([30.0, -10.0, 4.0])
    for lr in (0.2, 1.0):
        path = gradient_descent(np.tanh, start, lr, 200)
        loss = (np.logaddexp(path, -path) - np.log(2)).sum(-1)
        for T in (1, 3, 10, 50, 200):
            assert loss[T] <= start @ start / (2 * lr * T) + 1e-12
    assert loss[10] > 0.01 * start @ start / 20  # the bound is not vacuous here


def check_gd_linear_rate():
    """Equation (gd-linear-rate) on a ridge-penalized logistic loss."""
    X, y, L = logistic_problem()
    mu = 0.1
    total = L + mu

    def grad(w):
        return logistic_grad(w, X, y) + mu * w

    def loss(w):
        return logistic_loss(w, X, y) + mu / 2 * w @ w

    path = gradient_descent(grad, [5.0, 5.0, -5.0, 5.0], 1 / total, 3000)
    best = loss(path[-1])
    assert np.linalg.norm(grad(path[-1])) < 1e-12
    for T in (1, 5, 20, 100):
        assert loss(path[T]) - best <= (1 - mu / total) ** T * (loss(path[0]) - best) + 1e-12


def check_gd_quadratic():
    """Equation (gd-quadratic): each eigen-direction shrinks by its own factor."""
    H, lam, q = random_hessian()
    rng = np.random.default_rng(3)
    center, start = rng.normal(size=(2, 5))
    lr = 0.13
    path = gradient_descent(lambda w: H @ (w - center), start, lr, 25)
    error = (path - center) @ q  # coordinates in the eigenbasis
    t = np.arange(26)[:, None]
    assert np.allclose(error, (1 - lr * lam) ** t * error[0], atol=1e-10)


def check_gd_stability():
    """Equation (gd-stability): converges below 2 / largest eigenvalue, diverges above."""
    H, lam, _ = random_hessian()
    start = np.ones(5)
    for factor in (0.5, 1.0, 1.99):
        path = gradient_descent(lambda w: H @ w, start, factor / lam[-1], 3000)
        assert np.linalg.norm(path[-1]) < 1e-6
    path = gradient_descent(lambda w: H @ w, start, 2.01 / lam[-1], 3000)
    assert np.linalg.norm(path[-1]) > 1e6


def check_gd_best_rate():
    """Equation (gd-best-rate): a grid of learning rates finds the same optimum."""
    lam = np.array([1.0, 3.0, 10.0])
    grid = np.linspace(0.001, 0.3, 29901)
    factor = np.abs(1 - grid[:, None] * lam).max(-1)
    assert abs(grid[factor.argmin()] - 2 / 11) < 2e-5
    assert abs(factor.min() - (10 - 1) / (10 + 1)) < 2e-4


def check_worked_example():
    """The table of the worked example and the late divergence at 0.21."""
    start = [10.0, 1.0]
    assert quad(np.array(start)) == 55
    path = gradient_descent(quad_grad, start, 0.1, 3)
    assert np.allclose(path[1:], [[9, 0], [8.1, 0], [7.29, 0]])
    assert np.allclose(quad(path[1:]), [40.5, 32.805, 26.57205])
    path = gradient_descent(quad_grad, start, 2 / 11, 3)
    assert np.allclose(path[1], [90 / 11, -9 / 11])
    assert np.allclose(quad(path[1:]), 55 * (81 / 121) ** np.array([1, 2, 3]))
    assert np.allclose(quad(path[1:]), [36.82, 24.65, 16.50], atol=0.005)
    path = gradient_descent(quad_grad, start, 0.21, 100)
    assert np.allclose(path[1:4], [[7.9, -1.1], [6.241, 1.21], [4.93039, -1.331]])
    assert np.allclose(quad(path[1:4]), [37.26, 26.80, 21.01], atol=0.006)
    loss = quad(path)
    assert loss.argmin() == 5
    assert np.allclose(loss[[5, 10]], [17.70, 34.09], atol=0.005)
    assert (np.diff(loss[5:]) > 0).all()
    assert loss[100] > 1e8
    # steps to lower the objective a millionfold
    for lr, expected in ((0.02, 340), (0.1, 66), (2 / 11, 35)):
        loss = quad(gradient_descent(quad_grad, start, lr, 400))
        assert int(np.argmax(loss < 55e-6)) == expected


def check_saddle():
    """On x^2 - y^2 a start on the axis y = 0 ends in the saddle; a tiny offset escapes."""
    step = np.array([2.0, -2.0])
    stuck = gradient_descent(lambda w: step * w, [1.0, 0.0], 0.1, 200)
    free = gradient_descent(lambda w: step * w, [1.0, 1e-9], 0.1, 200)
    assert np.abs(stuck[-1]).max() < 1e-15
    assert np.abs(free[-1]).max() > 1e5


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
