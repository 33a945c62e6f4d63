"""Twin of the page on momentum and Nesterov acceleration: checks its forms and its rates."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def momentum(grad, theta, lr, mu, steps, nesterov=False, dampening=0.0):
    """SGD with momentum, in PyTorch's form and order of operations.

    grad: function from parameters (d,) to the gradient (d,); theta: start, (d,);
    lr: learning rate, a number or a function of the step t = 1, 2, ...;
    mu: momentum coefficient. Returns all iterates, (steps + 1, d).
    """
    theta = np.array(theta, dtype=float)
    path, v = [theta], None
    for t in range(1, steps + 1):
        g = grad(theta)
        # PyTorch starts the buffer with the first gradient, undampened.
        v = g if v is None else mu * v + (1 - dampening) * g
        rate = lr(t) if callable(lr) else lr
        theta = theta - rate * (g + mu * v if nesterov else v)
        path.append(theta)
    return np.stack(path)


def momentum_sutskever(grad, phi, lr, mu, steps, nesterov=False):
    """The form of Sutskever et al. (2013): the velocity contains the learning rate.

    Nesterov: the gradient is taken at the look-ahead point phi + mu * v.
    Returns the iterates phi and the velocities v, each (steps + 1, d).
    """
    phi = np.array(phi, dtype=float)
    v = np.zeros_like(phi)
    path, velocities = [phi], [v]
    for t in range(1, steps + 1):
        g = grad(phi + mu * v if nesterov else phi)
        v = mu * v - (lr(t) if callable(lr) else lr) * g
        phi = phi + v
        path.append(phi)
        velocities.append(v)
    return np.stack(path), np.stack(velocities)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def momentum_torch(loss_fn, theta, steps, schedule=None, **options):
    """The same loop with torch.optim.SGD; loss_fn: (d,) tensor -> scalar.

    options: lr, momentum, nesterov, dampening. PyTorch refuses nesterov=True
    together with dampening != 0 or momentum = 0. schedule: t -> factor of lr.
    """
    theta = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], **options)
    path = [theta.detach().clone()]
    for t in range(1, steps + 1):
        if schedule is not None:
            optimizer.param_groups[0]["lr"] = options["lr"] * schedule(t)
        optimizer.zero_grad()
        loss_fn(theta).backward()
        optimizer.step()
        path.append(theta.detach().clone())
    return torch.stack(path)
# --8<-- [end:torch]


def plain(g, lr, mu, steps, **options):
    """Steps theta_{t-1} - theta_t on a prescribed sequence of gradients g, shape (steps, d)."""
    it = iter(np.asarray(g, dtype=float))
    path = momentum(lambda _: next(it), np.zeros_like(g[0], dtype=float), lr, mu, steps, **options)
    return -np.diff(path, axis=0)


def roots(a, mu, nesterov=False):
    """Both roots of the characteristic polynomial for a = lr * curvature."""
    if nesterov:
        return np.roots([1.0, -(1 - a) * (1 + mu), (1 - a) * mu])
    return np.roots([1.0, -(1 + mu - a), mu])


def radius(a, mu, nesterov=False):
    """Largest modulus of the roots, for an array of values a."""
    return np.array([np.abs(roots(x, mu, nesterov)).max() for x in np.atleast_1d(a)])


def best(m, L):
    """Optimal heavy-ball learning rate and momentum for curvatures in [m, L]."""
    q = np.sqrt(L / m)
    return 4 / (np.sqrt(L) + np.sqrt(m)) ** 2, ((q - 1) / (q + 1)) ** 2


def lessard_grad(x):
    """Gradient of the one-dimensional counterexample: slope 25, then 1, then 25 again."""
    return np.where(x < 1, 25 * x, np.where(x < 2, x + 24, 25 * x - 24))


def figure_paths():
    """Gradient descent, heavy ball and Nesterov on an elongated bowl, and their errors."""
    lam = np.array([1.0, 50.0])
    start = np.array([10.0, 1.0])
    lr, mu = best(1.0, 50.0)
    q = np.sqrt(50)
    tuned = momentum(lambda w: lam * w, start, lr, mu, 60)
    runs = [
        ("gradient descent", momentum(lambda w: lam * w, start, 2 / 51, 0.0, 60), "^", ":"),
        ("heavy ball", momentum(lambda w: lam * w, start, 1 / 50, (1 - 1 / q) ** 2, 60), "o", "-"),
        ("Nesterov", momentum_sutskever(lambda w: lam * w, start, 1 / 50, (q - 1) / (q + 1),
                                        60, nesterov=True)[0], "s", "--"),
    ]
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.5), width_ratios=[1.25, 1])
    a, b = np.meshgrid(np.linspace(-6, 11, 200), np.linspace(-1.6, 1.6, 160))
    left.contour(a, b, 0.5 * (a**2 + 50 * b**2), levels=[1, 5, 15, 35, 60],
                 colors="#777777", linewidths=0.7)
    for name, path, marker, style in runs:
        left.plot(path[:16, 0], path[:16, 1], style, marker=marker, ms=4, lw=1.2)
        right.semilogy(np.linalg.norm(path, axis=1), style, marker=marker, ms=3.5,
                       markevery=6, lw=1.4, label=name)
    right.semilogy(np.linalg.norm(tuned, axis=1), "-.", marker="D", ms=3.5, markevery=6,
                   lw=1.4, label="heavy ball, optimal")
    left.plot(0, 0, "*", color="#222222", ms=10)
    left.set(xlabel="first parameter (curvature 1)", ylabel="second parameter (curvature 50)")
    left.grid(False)
    right.set(xlabel="step", ylabel="distance to the minimum", ylim=(1e-7, 40))
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncol=2)
    return fig


def figure_factor():
    """Contraction factor per step against learning rate times curvature."""
    a = np.linspace(1e-3, 4, 800)
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    for mu, nesterov, style, name in (
        (0.0, False, ":", "no momentum"),
        (0.5, False, "-.", "heavy ball, 0.5"),
        (0.9, False, "-", "heavy ball, 0.9"),
        (0.9, True, "--", "Nesterov, 0.9"),
    ):
        ax.plot(a, radius(a, mu, nesterov), style, label=name)
    ax.axhline(1, color="#222222", lw=1)
    ax.annotate("diverges above this line", xy=(0.1, 1.03), fontsize=9)
    ax.set(xlabel="learning rate times curvature", ylabel="factor per step",
           xlim=(0, 4), ylim=(0, 1.2))
    ax.legend(loc="lower right")
    return fig


def logistic():
    """A small logistic regression: gradient (NumPy) and loss (torch)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) * np.array([1.0, 2.0, 0.5, 1.5])
    y = (rng.random(60) < 1 / (1 + np.exp(-X @ np.array([1.0, -0.5, 0.3, 0.0])))).astype(float)

    def grad(w):
        return X.T @ (1 / (1 + np.exp(-X @ w)) - y) / 60

    Xt, yt = torch.tensor(X), torch.tensor(y)

    def loss(w):
        return torch.nn.functional.binary_cross_entropy_with_logits(Xt @ w, yt)

    return grad, loss, [0.5, -1.0, 2.0, 0.0]


def check_mom_update():
    """Equation (mom-update), and the Nesterov and dampened options, against torch.optim.SGD."""
    grad, loss, start = logistic()
    ends = []
    for options in ({}, {"nesterov": True}, {"dampening": 0.5}):
        for schedule in (None, lambda t: 1.0 if t < 40 else 0.1):
            f = schedule or (lambda t: 1.0)
            ours = momentum(grad, start, lambda t, f=f: 0.3 * f(t), 0.9, 100, **options)
            theirs = momentum_torch(loss, start, 100, schedule, lr=0.3, momentum=0.9, **options)
            assert np.allclose(ours, theirs.numpy(), atol=1e-12)
            ends.append(ours[60])
    assert all(np.abs(a - b).max() > 1e-4 for i, a in enumerate(ends) for b in ends[:i])


check_mom_nesterov_torch = check_mom_update


def check_torch_refusals():
    """PyTorch's default momentum is 0; Nesterov needs momentum and no dampening."""
    p = [torch.zeros(1, requires_grad=True)]
    d = torch.optim.SGD(p).defaults
    assert d["momentum"] == 0 and d["dampening"] == 0 and d["nesterov"] is False
    for bad in ({"momentum": 0.0}, {"momentum": 0.9, "dampening": 0.1}):
        try:
            torch.optim.SGD(p, lr=0.1, nesterov=True, **bad)
        except ValueError:
            continue
        raise AssertionError("PyTorch accepted the options")


def check_mom_heavy_ball():
    """Equation (mom-heavy-ball): eliminating the velocity gives Polyak's form."""
    grad, _, start = logistic()
    path = momentum(grad, start, 0.3, 0.8, 50)
    for t in range(1, 50):
        step = path[t] - 0.3 * grad(path[t]) + 0.8 * (path[t] - path[t - 1])
        assert np.allclose(path[t + 1], step, atol=1e-12)


def check_mom_sutskever():
    """Equation (mom-sutskever): equal for a constant rate, different once the rate changes."""
    grad, _, start = logistic()
    a = momentum(grad, start, 0.3, 0.9, 60)
    b, _ = momentum_sutskever(grad, start, 0.3, 0.9, 60)
    assert np.allclose(a, b, atol=1e-12)

    def drop(t):
        return 0.3 if t <= 20 else 0.03

    a = momentum(grad, start, drop, 0.9, 40)
    b, v = momentum_sutskever(grad, start, drop, 0.9, 40)
    assert np.allclose(a[:21], b[:21]) and np.abs(a[25] - b[25]).max() > 1e-2
    # constant gradient 1: the step right after a tenfold drop of the rate from 1 to 0.1
    ones = np.ones((201, 1))
    torch_step = plain(ones, lambda t: 1.0 if t <= 200 else 0.1, 0.9, 201)[-1, 0]
    path, _ = momentum_sutskever(lambda w: np.ones(1), [0.0],
                                 lambda t: 1.0 if t <= 200 else 0.1, 0.9, 201)
    assert np.isclose(torch_step, 1.0) and np.isclose(path[-2, 0] - path[-1, 0], 9.1)


def check_mom_correction():
    """Equation (mom-correction): rescaling the velocity restores PyTorch's form."""
    grad, _, start = logistic()
    rates = 0.3 * 0.9 ** np.arange(30)
    a = momentum(grad, start, lambda t: rates[t - 1], 0.9, 30)
    for corrected in (True, False):
        phi, v = np.array(start), np.zeros(4)
        for t in range(30):
            c = rates[t] / rates[t - 1] if corrected and t > 0 else 1.0
            v = 0.9 * c * v - rates[t] * grad(phi)
            phi = phi + v
        assert np.allclose(phi, a[-1], atol=1e-12) == corrected


def check_mom_unrolled():
    """Equation (mom-unrolled): the buffer is the weighted sum of all past gradients."""
    g = np.random.default_rng(1).normal(size=(30, 3))
    steps = plain(g, 1.0, 0.9, 30)
    assert np.allclose(steps[-1], 0.9 ** np.arange(29, -1, -1) @ g)


def check_mom_effective():
    """Equation (mom-effective): constant and alternating gradients, exact at every step."""
    t = np.arange(1, 201)
    for mu in (0.5, 0.9, 0.99):
        same = plain(np.full((200, 1), 2.0), 0.1, mu, 200)[:, 0]
        assert np.allclose(same, 0.2 * (1 - mu**t) / (1 - mu))
        sign = (-1.0) ** (t - 1)
        other = plain(2.0 * sign[:, None], 0.1, mu, 200)[:, 0]
        assert np.allclose(other, sign * 0.2 * (1 - (-mu) ** t) / (1 + mu))
    assert np.isclose(1 - 0.9**22, 0.9, atol=0.005)


def check_mom_dampening():
    """Equation (mom-dampening): dampening = mu is a rescaled rate, but for the first step."""
    g = np.random.default_rng(2).normal(size=(300, 2))
    damp = plain(g, 1.0, 0.9, 300, dampening=0.9)
    scaled = plain(g, 0.1, 0.9, 300)
    first = 0.9 * 0.9 ** np.arange(300)[:, None] * g[0]  # PyTorch's undampened first gradient
    assert np.allclose(damp, scaled + first)
    assert np.abs(damp[0] / scaled[0] - 10).max() < 1e-9 and np.abs(first[-1]).max() < 1e-12


def check_mom_nesterov():
    """Equation (mom-nesterov): the gradient is taken at the look-ahead point."""
    seen = []

    def grad(w):
        seen.append(w)
        return np.array([1.0, 50.0]) * w

    phi, v = momentum_sutskever(grad, [3.0, 1.0], 0.01, 0.9, 20, nesterov=True)
    assert np.allclose(seen, (phi + 0.9 * v)[:-1])
    assert np.allclose(np.diff(phi, axis=0), v[1:])
    assert np.allclose(v[1:], 0.9 * v[:-1] - 0.01 * np.array([1, 50]) * (phi + 0.9 * v)[:-1])


def check_mom_nesterov_shift():
    """Equation (mom-nesterov-shift): PyTorch's parameters are the look-ahead points."""
    grad, _, start = logistic()
    ours = momentum(grad, start, 0.3, 0.9, 60, nesterov=True)
    phi, v = momentum_sutskever(grad, start, 0.3, 0.9, 60, nesterov=True)
    assert np.allclose(ours, phi + 0.9 * v, atol=1e-12)
    assert np.abs(ours - phi).max() > 1e-2


def check_mom_characteristic():
    """Equation (mom-characteristic): the roots are the eigenvalues of the iteration."""
    for a in (0.01, 0.3, 2.0, 3.9):
        for mu in (0.1, 0.5, 0.9):
            M = np.array([[1 + mu - a, -mu], [1.0, 0.0]])
            assert np.allclose(np.sort_complex(np.linalg.eigvals(M).astype(complex)),
                               np.sort_complex(roots(a, mu).astype(complex)))
            path = momentum(lambda w, a=a: a * w, [1.0], 1.0, mu, 12)[:, 0]
            state = np.array([path[1], path[0]])
            for t in range(1, 12):
                state = M @ state
                assert np.isclose(state[0], path[t + 1])


def check_mom_modulus():
    """Equation (mom-modulus): complex roots of modulus sqrt(mu) exactly in the interval."""
    for mu in (0.2, 0.5, 0.9, 0.99):
        low, high = (1 - np.sqrt(mu)) ** 2, (1 + np.sqrt(mu)) ** 2
        inside = np.linspace(low, high, 41)[1:-1]
        assert np.allclose(radius(inside, mu), np.sqrt(mu))
        assert (radius(np.array([low * 0.9, high * 1.01]), mu) > np.sqrt(mu) * 1.001).all()


def check_mom_stability():
    """Equation (mom-stability): the largest stable rates, heavy ball and Nesterov."""
    for mu in (0.0, 0.3, 0.9, 0.99):
        for nesterov, limit in ((False, 2 * (1 + mu)), (True, 2 * (1 + mu) / (1 + 2 * mu))):
            inside = np.linspace(1e-3, limit * 0.999, 200)
            assert (radius(inside, mu, nesterov) < 1).all()
            assert radius(limit * 1.001, mu, nesterov)[0] > 1
    assert np.isclose(2 * 1.9 / 2.8, 1.357, atol=1e-3)


def check_mom_optimal():
    """Equation (mom-optimal): a grid search over rate and momentum finds nothing better."""
    m, L = 1.0, 25.0
    lr, mu = best(m, L)
    rho = (5 - 1) / (5 + 1)
    assert np.isclose(lr, 1 / 9) and np.isclose(mu, 4 / 9)
    curvatures = np.linspace(m, L, 200)
    # at both ends the root is double, so rounding perturbs it by about 1e-8
    assert abs(radius(lr * curvatures, mu).max() - rho) < 1e-6

    def worst(lrs, mus):  # spectral radius by the formula for both ends, vectorized
        out = 0.0
        for lam in (m, L):
            b = 1 + mus - lrs * lam
            disc = np.sqrt((b * b - 4 * mus).astype(complex))
            out = np.maximum(out, np.maximum(abs(b + disc), abs(b - disc)) / 2)
        return out

    grid = worst(*np.meshgrid(np.linspace(0.002, 0.2, 397), np.linspace(-0.5, 0.99, 597)))
    assert rho - 1e-9 < grid.min() < rho + 0.02
    # the step of the proof: kappa <= ((1 + rho) / (1 - rho))^2 for every stable pair
    ok = grid < 1
    assert (((1 + grid[ok]) / (1 - grid[ok])) ** 2 >= L / m - 1e-6).all()


check_mom_lower_bound = check_mom_optimal


def check_mom_rate():
    """Equation (mom-rate): the bound, and equality in the steepest direction."""
    for kappa in (25.0, 400.0):
        q = np.sqrt(kappa)
        rho = (q - 1) / (q + 1)
        lr, mu = best(1.0, kappa)
        lam = np.array([1.0, 3.0, (1 + kappa) / 2, kappa])
        path = momentum(lambda w, lam=lam: lam * w, np.ones(4), lr, mu, 150)
        t = np.arange(151)
        bound = (1 + (1 + rho) * t) * rho**t
        assert (np.abs(path) <= bound[:, None] * (1 + 1e-6)).all()
        assert np.allclose(path[:, -1], bound * (-1.0) ** t, rtol=1e-6)
        assert np.allclose(path[:, 0], (1 + (1 - rho) * t) * rho**t, rtol=1e-6)


def check_mom_nesterov_damping():
    """Equation (mom-nesterov-damping): Nesterov is heavy ball with momentum mu (1 - a)."""
    for a in (0.02, 0.5, 0.97):
        nest, _ = momentum_sutskever(lambda w, a=a: a * w, [1.0], 1.0, 0.9, 40, nesterov=True)
        phi = [1.0, (1 - a) * 1.0]
        m = 0.9 * (1 - a)
        for _ in range(39):
            phi.append(phi[-1] - a * phi[-1] + m * (phi[-1] - phi[-2]))
        assert np.allclose(nest[:, 0], phi, atol=1e-12)
        assert np.allclose(np.sort_complex(roots(a, m).astype(complex)),
                           np.sort_complex(roots(a, 0.9, True).astype(complex)))


def check_mom_nesterov_rate():
    """Equation (mom-nesterov-rate): the factor is 1 - 1 / sqrt(kappa) on quadratics."""
    for kappa in (4.0, 25.0, 400.0):
        q = np.sqrt(kappa)
        mu = (q - 1) / (q + 1)
        a = np.linspace(1 / kappa, 1, 500)
        assert abs(radius(a, mu, True).max() - (1 - 1 / q)) < 1e-6


def check_mom_nesterov_convex():
    """Equation (mom-nesterov-convex) on log cosh (L = 1); plain steps break the bound."""
    start = np.array([30.0, -10.0, 4.0, 0.5])
    scale = np.array([1.0, 0.03, 0.001, 1.0])  # curvatures at most scale^2 <= 1

    def loss(x):
        z = scale * x
        return (np.logaddexp(z, -z) - np.log(2)).sum(-1)

    def grad(x):
        return scale * np.tanh(scale * x)

    x = y = start
    s, path, momenta = 1.0, [start], []
    for _ in range(3000):
        new = y - grad(y)
        following = (1 + np.sqrt(1 + 4 * s * s)) / 2
        momenta.append((s - 1) / following)
        y = new + momenta[-1] * (new - x)
        x, s = new, following
        path.append(x)
    T = np.arange(1, 3001)
    bound = 2 * start @ start / (T + 1) ** 2
    assert (loss(np.array(path))[1:] <= bound).all()
    assert momenta[0] == 0 and momenta[9] > 0.7 and momenta[-1] > 0.998
    # gradient descent on a quadratic with tiny curvature violates the same bound
    t, lam = 1000, 1 / 4000
    assert 0.5 * lam * (1 - lam) ** (2 * t) > 2 / (t + 1) ** 2


def check_mom_counterexample():
    """Equation (mom-counterexample): tuned heavy ball cycles, Nesterov and GD converge."""
    lr, mu = best(1.0, 25.0)
    path = momentum(lessard_grad, [3.3], lr, mu, 3000)[:, 0]
    tail = path[-300:]
    assert np.allclose(tail[3:], tail[:-3], atol=1e-9) and np.ptp(tail) > 1
    cycle = np.sort(tail[-3:])
    assert np.allclose(cycle, [-1.8024, 0.6465, 2.1159], atol=1e-3), cycle
    nest, _ = momentum_sutskever(lessard_grad, [3.3], 1 / 25, 4 / 6, 3000, nesterov=True)
    gd = momentum(lessard_grad, [3.3], 2 / 26, 0.0, 3000)
    assert abs(nest[-1, 0]) < 1e-9 and abs(gd[-1, 0]) < 1e-9
    slopes = np.diff(lessard_grad(np.linspace(-3, 5, 80001))) / 1e-4
    assert slopes.min() > 0.99 and slopes.max() < 25.01  # 1-strongly convex, 25-smooth


def check_mom_noise():
    """Equation (mom-noise) by simulation: 4,000 runs, within 4%."""
    rng = np.random.default_rng(3)
    for lr, mu in ((0.2, 0.0), (0.02, 0.9), (0.3, 0.5)):
        theta = np.zeros(4000)
        v = np.zeros(4000)
        values = []
        for t in range(900):
            v = mu * v + theta + rng.normal(size=4000)
            theta = theta - lr * v
            if t >= 500 and t % 20 == 0:
                values.append((theta**2).mean())
        exact = lr * (1 + mu) / ((1 - mu) * (2 * (1 + mu) - lr))
        assert abs(np.mean(values) / exact - 1) < 0.04
    floors = [0.2 / (2 - 0.2), 0.02 * 1.9 / (0.1 * (3.8 - 0.02))]
    assert abs(floors[0] - 0.1111) < 1e-4 and abs(floors[1] - 0.1005) < 1e-4


def check_schedule():
    """The schedule of Sutskever et al.: 0.5 at first, then 0.75, 0.833, ..."""
    t = np.array([0, 249, 250, 500, 25000])
    mu = np.minimum(1 - 2.0 ** (-1 - np.log2(t // 250 + 1)), 0.99)
    assert np.allclose(mu, [0.5, 0.5, 0.75, 1 - 1 / 6, 0.99])
    assert np.allclose(mu[:4], 1 - 1 / (2 * (t[:4] // 250 + 1)))


def check_worked_example():
    """The numbers of the worked example."""
    args = (lambda w: w, [10.0], 0.1, 0.9, 6)
    assert np.allclose(momentum(*args)[:, 0],
                       [10, 9, 7.2, 4.86, 2.268, -0.2916, -2.56608])
    assert np.allclose(momentum(*args, nesterov=True)[:, 0],
                       [10, 8.1, 5.751, 3.27321, 0.938879, -1.045817, -2.548839], atol=1e-6)
    phi, _ = momentum_sutskever(*args, nesterov=True)
    assert np.allclose(phi[:, 0], [10, 9, 7.29, 5.1759, 2.945889, 0.844991, -0.941235], atol=1e-6)
    assert np.isclose(10 * 0.9**6, 5.314, atol=1e-3)
    for kappa, gd, hb, ne in ((100, 0.9802, 0.8182, 0.9), (10000, 0.9998, 0.9802, 0.99)):
        q = np.sqrt(kappa)
        factors = np.array([(kappa - 1) / (kappa + 1), (q - 1) / (q + 1), 1 - 1 / q])
        assert np.allclose(factors, [gd, hb, ne], atol=5e-5)
    steps = {k: [int(np.ceil(np.log(1e-6) / np.log(f))) for f in
                 ((k - 1) / (k + 1), (np.sqrt(k) - 1) / (np.sqrt(k) + 1), 1 - 1 / np.sqrt(k))]
             for k in (100, 10000)}
    assert steps == {100: [691, 69, 132], 10000: [69078, 691, 1375]}, steps
    assert np.allclose(best(1, 100), [4 / 121, (9 / 11) ** 2]) and np.isclose(4 / 121, 0.0331, atol=1e-4)
    assert np.isclose((9 / 11) ** 2, 0.669, atol=1e-3)


def check_kappa_for_momentum():
    """Condition number for which a given momentum is optimal on a quadratic."""
    for mu, kappa in ((0.9, 1442), (0.99, 158404)):
        s = np.sqrt(mu)
        assert abs(((1 + s) / (1 - s)) ** 2 / kappa - 1) < 1e-3


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
