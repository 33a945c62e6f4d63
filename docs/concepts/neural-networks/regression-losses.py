"""Twin of the page on regression losses: derivatives, minimizers, bounds, numbers."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def huber(r, delta=1.0):
    """Quadratic up to |r| = delta, linear beyond; r = prediction - target."""
    a = np.abs(r)
    return np.where(a <= delta, 0.5 * r**2, delta * (a - 0.5 * delta))


def huber_grad(r, delta=1.0):
    """Derivative in the prediction: the residual, clipped."""
    return np.clip(r, -delta, delta)


def pinball(pred, y, tau):
    """Quantile loss: an underestimate costs tau per unit, an overestimate 1 - tau."""
    return np.maximum(tau * (y - pred), (tau - 1) * (y - pred))


def log_cosh(r):
    """log(cosh(r)) without overflow; its derivative is tanh(r)."""
    a = np.abs(r)
    return a + np.log1p(np.exp(-2 * a)) - np.log(2)


def gaussian_nll(mean, log_var, y):
    """Mean and log-variance both predicted; constant dropped."""
    return 0.5 * (log_var + (y - mean) ** 2 * np.exp(-log_var))
# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_losses(pred, y, delta=1.0):
    """One value per example; check that the shapes are equal, or they broadcast."""
    assert pred.shape == y.shape
    return {
        "squared": F.mse_loss(pred, y, reduction="none"),  # r**2, no factor 1/2
        "absolute": F.l1_loss(pred, y, reduction="none"),
        "huber": F.huber_loss(pred, y, delta=delta, reduction="none"),
        "smooth": F.smooth_l1_loss(pred, y, beta=delta, reduction="none"),
    }


def torch_pinball(pred, y, tau):
    """pred (batch, Q) for Q levels tau (Q,), y (batch,)."""
    u = y[:, None] - pred
    return torch.maximum(tau * u, (tau - 1) * u)


def torch_gaussian_nll(mean, log_var, y):
    """F.gaussian_nll_loss wants the variance, and clamps it from below at eps."""
    return F.gaussian_nll_loss(mean, y, log_var.exp(), reduction="none")
# --8<-- [end:torch]

RNG = np.random.default_rng(0)
R = RNG.normal(size=200) * 3
FIVE = np.array([1.0, 2.0, 2.0, 3.0, 12.0])


def phi(k):
    """Density of the standard normal distribution."""
    return math.exp(-k * k / 2) / math.sqrt(2 * math.pi)


def Phi(k):
    """Distribution function of the standard normal distribution."""
    return 0.5 * (1 + math.erf(k / math.sqrt(2)))


def barron(r, alpha, c=1.0):
    """General robust loss of Barron (2019), for alpha other than 0 and 2."""
    k = abs(alpha - 2)
    return k / alpha * (((r / c) ** 2 / k + 1) ** (alpha / 2) - 1)


def location(y, delta):
    """The constant that minimizes the mean Huber loss, by bisection."""
    low, high = y.min(), y.max()
    for _ in range(100):
        a = 0.5 * (low + high)
        low, high = (low, a) if huber_grad(a - y, delta).sum() > 0 else (a, high)
    return a


def fit_line(x, y, grad, steps=6000, rate=0.1):
    """Slope and intercept by gradient descent with decaying steps."""
    w = b = 0.0
    for t in range(steps):
        g = grad(w * x + b - y)
        eta = rate / (1 + t / 200)
        w, b = w - eta * np.mean(g * x), b - eta * np.mean(g)
    return w, b


def figure_shapes():
    """Loss and derivative against the residual."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.1))
    r = np.linspace(-3.5, 3.5, 701)
    curves = (
        ("squared (half)", 0.5 * r**2, r, "-"),
        ("absolute", np.abs(r), np.sign(r), "--"),
        ("Huber, threshold 1", huber(r), huber_grad(r), "-."),
        ("Barron, shape −2", barron(r, -2.0), r / (r**2 / 4 + 1) ** 2, ":"),
    )
    for label, loss, grad, style in curves:
        left.plot(r, loss, style, label=label)
        right.plot(r, grad, style, label=label)
    left.set(xlabel="residual: prediction − target", ylabel="loss", ylim=(-0.1, 5))
    right.set(xlabel="residual: prediction − target", ylabel="derivative (influence)", ylim=(-3, 3))
    fig.legend(*left.get_legend_handles_labels(), fontsize=9, loc="outside upper center", ncols=2)
    return fig


def outlier_data(leverage):
    """Twenty points near a line, three of them moved."""
    rng = np.random.default_rng(5)
    x = np.linspace(-1, 1, 20)
    y = 1 + x + 0.15 * rng.normal(size=20)
    if leverage:
        x, y = np.append(x, [12.0]), np.append(y, [-3.0])
    else:
        y[[16, 17, 19]] -= 5
    return x, y


def figure_outliers():
    """Lines fitted with three losses: outliers in y, and one in x."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2))
    for ax, leverage in zip(axes, (False, True), strict=True):
        x, y = outlier_data(leverage)
        ax.plot(x, y, "o", ms=4, color="#222222")
        grid = np.array([-1.1, 12.3 if leverage else 1.1])
        fits = (("squared", lambda r: r, "-"), ("absolute", np.sign, "--"), ("Huber, threshold 0.3", lambda r: huber_grad(r, 0.3), "-."))
        for label, grad, style in fits:
            w, b = fit_line(x, y, grad)
            ax.plot(grid, w * grid + b, style, label=label)
        ax.set(xlabel="input", ylabel="target")
    axes[0].annotate("outliers in the target", (-1.05, -2.6), fontsize=9)
    axes[1].annotate("outlier in the input", (4.2, 1.5), fontsize=9)
    fig.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="outside upper center", ncols=3)
    return fig


def check_regloss_huber():
    """Equation (regloss-huber): continuous with its derivative; torch; limits."""
    for delta in (0.3, 1.0, 2.5):
        t = torch.tensor(R)
        theirs = torch_losses(t, torch.zeros_like(t), delta)
        assert np.allclose(huber(R, delta), theirs["huber"].numpy(), rtol=0, atol=1e-12)
    assert np.allclose(huber(R, 1e6), 0.5 * R**2)
    assert np.allclose(huber(R, 1e-9) / 1e-9, np.abs(R))
    density = np.exp(-huber(np.linspace(-60, 60, 200001)))  # integrable: a likelihood
    total = math.sqrt(2 * math.pi) * (2 * Phi(1) - 1) + 2 * math.exp(-0.5)
    assert abs(density.sum() * 120 / 200000 - total) < 1e-4


def check_regloss_huber_gradient():
    """Equation (regloss-huber-gradient): autograd, differences, bound."""
    for delta in (0.3, 1.0):
        t = torch.tensor(R, requires_grad=True)
        F.huber_loss(t, torch.zeros(200, dtype=torch.float64), delta=delta, reduction="sum").backward()
        assert np.allclose(huber_grad(R, delta), t.grad.numpy(), rtol=0, atol=1e-12)
        numeric = (huber(R + 1e-6, delta) - huber(R - 1e-6, delta)) / 2e-6
        assert np.allclose(huber_grad(R, delta), numeric, atol=1e-5)
        assert np.abs(huber_grad(R, delta)).max() == delta


def check_regloss_smooth():
    """Equation (regloss-smooth): smooth L1 is Huber divided by its threshold."""
    for beta in (0.3, 1.0, 2.5):
        t = torch.tensor(R)
        theirs = torch_losses(t, torch.zeros_like(t), beta)["smooth"].numpy()
        assert np.allclose(huber(R, beta) / beta, theirs, rtol=0, atol=1e-12)
    assert torch.nn.HuberLoss().delta == torch.nn.SmoothL1Loss().beta == 1.0


def check_regloss_pinball():
    """Equation (regloss-pinball): two forms, half the absolute error, torch."""
    pred, y = R[:100], R[100:]
    for tau in (0.1, 0.5, 0.9):
        u = y - pred
        by_case = np.where(u >= 0, tau * u, (tau - 1) * u)
        assert np.allclose(pinball(pred, y, tau), by_case)
        theirs = torch_pinball(torch.tensor(pred)[:, None], torch.tensor(y), torch.tensor([tau], dtype=torch.float64))
        assert np.allclose(theirs[:, 0].numpy(), by_case, rtol=0, atol=1e-12)
    assert np.allclose(pinball(pred, y, 0.5), 0.5 * np.abs(y - pred))


def check_regloss_log_cosh():
    """Equation (regloss-log-cosh): value, derivative tanh, bounds, no overflow."""
    assert np.allclose(log_cosh(R), np.log(np.cosh(R)))
    numeric = (log_cosh(R + 1e-6) - log_cosh(R - 1e-6)) / 2e-6
    assert np.allclose(numeric, np.tanh(R), rtol=0, atol=1e-8)
    assert (log_cosh(R) <= np.minimum(0.5 * R**2, np.abs(R)) + 1e-12).all()
    assert (log_cosh(R) >= np.abs(R) - np.log(2) - 1e-12).all()
    assert log_cosh(np.array([1e4]))[0] == 1e4 - np.log(2)


def check_regloss_barron():
    """Equation (regloss-barron): the special and limiting cases named on the page."""
    for c in (0.5, 2.0):
        u = (R / c) ** 2
        assert np.allclose(barron(R, 2 + 1e-7, c), 0.5 * u, rtol=1e-4, atol=1e-6)
        assert np.allclose(barron(R, 1.0, c), np.sqrt(u + 1) - 1)
        assert np.allclose(barron(R, 1e-8, c), np.log(u / 2 + 1), atol=1e-6)
        assert np.allclose(barron(R, -2.0, c), 2 * u / (u + 4))
        assert np.allclose(barron(R, -1e7, c), 1 - np.exp(-u / 2), atol=1e-4)
        for alpha in (-2.0, 0.5, 1.0, 1.5):
            numeric = (barron(R + 1e-5, alpha, c) - barron(R - 1e-5, alpha, c)) / 2e-5
            exact = R / c**2 * (u / abs(alpha - 2) + 1) ** (alpha / 2 - 1)
            assert np.allclose(numeric, exact, atol=1e-6)
    grad = lambda r: r / (r**2 / 4 + 1) ** 2  # alpha = -2: it falls again
    assert grad(1.0) > grad(3.0) > grad(30.0)


def check_regloss_median():
    """Equation (regloss-median): one-sided derivatives of the mean absolute error."""
    y = np.random.default_rng(2).integers(0, 6, size=101).astype(float)  # ties
    h = 1e-6
    cost = lambda a: np.abs(a - y).mean()
    for a in (-0.5, 0.0, 2.0, 2.5, 3.0, 5.0):
        right = (cost(a + h) - cost(a)) / h
        left = (cost(a) - cost(a - h)) / h
        assert np.isclose(right, np.mean(y <= a) - np.mean(y > a), atol=1e-6)
        assert np.isclose(left, np.mean(y < a) - np.mean(y >= a), atol=1e-6)
    z = np.random.default_rng(3).normal(size=20001)
    for a in (-1.0, 0.3):
        assert abs((np.abs(a + 0.05 - z).mean() - np.abs(a - 0.05 - z).mean()) / 0.1 - (2 * Phi(a) - 1)) < 0.02


def check_regloss_quantile():
    """Equation (regloss-quantile): derivative F(a) - tau, minimum at the quantile."""
    z = np.random.default_rng(4).normal(size=20001)
    for tau in (0.1, 0.5, 0.9):
        for a in (-1.0, 0.3):
            slope = (pinball(a + 0.05, z, tau).mean() - pinball(a - 0.05, z, tau).mean()) / 0.1
            assert abs(slope - (Phi(a) - tau)) < 0.02
        grid = np.linspace(-3, 3, 601)
        best = grid[np.argmin([pinball(a, z, tau).mean() for a in grid])]
        assert abs(best - np.quantile(z, tau)) < 0.02


def check_regloss_huber_location():
    """Equation (regloss-huber-location): from the median to the mean."""
    y = np.random.default_rng(5).lognormal(size=501)
    for delta in (0.1, 1.0, 5.0):
        a = location(y, delta)
        assert abs(huber_grad(a - y, delta).mean()) < 1e-9
        assert huber(a - y, delta).mean() < min(huber(a + d - y, delta).mean() for d in (-0.01, 0.01))
    assert abs(location(y, 1e-3) - np.median(y)) < 0.01
    assert abs(location(y, 1e3) - y.mean()) < 1e-6


def check_regloss_efficiency():
    """Equation (regloss-efficiency): 0.95 at 1.345; simulated; limits 2/pi and 1."""
    def efficiency(k):
        inside = 2 * Phi(k) - 1
        return inside**2 / (inside - 2 * k * phi(k) + 2 * k * k * (1 - Phi(k)))

    assert abs(efficiency(1.345) - 0.95) < 1e-4
    assert abs(efficiency(1.0) - 0.903) < 5e-4
    assert abs(efficiency(1e-4) - 2 / math.pi) < 1e-3 and abs(2 / math.pi - 0.637) < 5e-4
    assert abs(efficiency(6.0) - 1) < 1e-6
    z = np.random.default_rng(6).normal(size=(4000, 100))
    a = np.median(z, axis=1)
    for _ in range(30):  # Newton's method for all samples at once
        r = z - a[:, None]
        inside = np.maximum((np.abs(r) <= 1.345).sum(1), 1)
        a = a + np.clip(r, -1.345, 1.345).sum(1) / inside
    ratio = z.mean(axis=1).var() / a.var()
    assert abs(ratio - 0.95) < 0.04
    ratio = z.mean(axis=1).var() / np.median(z, axis=1).var()
    assert abs(ratio - 0.637) < 0.04
    z = np.random.default_rng(7).laplace(size=(2000, 801))  # for Laplace noise: 2
    assert abs(z.mean(axis=1).var() / np.median(z, axis=1).var() - 2) < 0.2


def check_regloss_gaussian_nll():
    """Equation (regloss-gaussian-nll): torch, derivatives, best variance."""
    rng = np.random.default_rng(8)
    m, s, y = rng.normal(size=(3, 30))
    theirs = torch_gaussian_nll(*map(torch.tensor, (m, s, y)))
    assert np.allclose(gaussian_nll(m, s, y), theirs.numpy(), rtol=0, atol=1e-12)
    h = 1e-6
    numeric = (gaussian_nll(m + h, s, y) - gaussian_nll(m - h, s, y)) / (2 * h)
    assert np.allclose(numeric, (m - y) / np.exp(s), atol=1e-6)
    numeric = (gaussian_nll(m, s + h, y) - gaussian_nll(m, s - h, y)) / (2 * h)
    assert np.allclose(numeric, 0.5 * (1 - (y - m) ** 2 / np.exp(s)), atol=1e-6)
    grid = np.linspace(-3, 3, 6001)
    best = grid[np.argmin([gaussian_nll(0.2, v, y).mean() for v in grid])]
    assert abs(best - np.log(np.mean((y - 0.2) ** 2))) < 1e-3


def check_regloss_mae_rmse():
    """Equation (regloss-mae-rmse): both bounds, and when they are attained."""
    for _ in range(20):
        r = RNG.standard_t(2, size=25)
        mae, rmse = np.abs(r).mean(), np.sqrt((r**2).mean())
        assert mae <= rmse <= 5 * mae
    same, single = np.array([2.0, -2, 2, 2]), np.array([0.0, 0, 0, 8])
    assert np.abs(same).mean() == np.sqrt((same**2).mean())
    assert np.sqrt((single**2).mean()) == 2 * np.abs(single).mean()


def check_regloss_log_target():
    """Equation (regloss-log-target): lognormal mean and median."""
    m, s = 0.4, 0.7
    y = np.exp(m + s * np.random.default_rng(9).normal(size=400000))
    assert abs(y.mean() - math.exp(m + s * s / 2)) < 0.01
    assert abs(np.median(y) - math.exp(m)) < 0.01


def check_regloss_broadcast():
    """Equation (regloss-broadcast): the (N, N) mean splits and wants a constant."""
    rng = np.random.default_rng(10)
    pred, y = rng.normal(size=(2, 50))
    wrong = np.mean((pred[:, None] - y[None, :]) ** 2)
    assert np.isclose(wrong, np.mean((pred - y.mean()) ** 2) + y.var())
    t = torch.zeros(50, 1, dtype=torch.float64, requires_grad=True)
    target = torch.tensor(y)
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(300):
            loss = F.mse_loss(t, target)
            (g,) = torch.autograd.grad(loss, t)
            t = (t - 5 * g).detach().requires_grad_()
    assert np.allclose(t.detach().numpy(), y.mean(), atol=1e-6)
    assert any("broadcast" in str(w.message) for w in caught)


def check_numpy_against_torch():
    """Squared and absolute error, to 1e-12."""
    t = torch.tensor(R)
    theirs = torch_losses(t, torch.zeros_like(t))
    assert np.allclose(theirs["squared"].numpy(), R**2, rtol=0, atol=1e-12)
    assert np.allclose(theirs["absolute"].numpy(), np.abs(R), rtol=0, atol=1e-12)


def check_outliers_in_figure():
    """Robust losses keep the slope 1 against outliers in y, not against leverage."""
    x, y = outlier_data(False)
    slopes = [fit_line(x, y, g)[0] for g in (lambda r: r, np.sign, lambda r: huber_grad(r, 0.3))]
    assert slopes[0] < 0 and abs(slopes[1] - 1) < 0.2 and abs(slopes[2] - 1) < 0.4
    x, y = outlier_data(True)
    slopes = [fit_line(x, y, g)[0] for g in (lambda r: r, np.sign, lambda r: huber_grad(r, 0.3))]
    assert max(slopes) < 0
    cost = lambda w, b: np.abs(w * x + b - y).sum()
    assert cost(*fit_line(x, y, np.sign)) < cost(1.0, 1.0)  # not a failure of the descent


def check_worked_example():
    """The numbers of the page."""
    assert np.isclose(location(FIVE, 1.0), 7 / 3)
    far = np.where(FIVE == 12, 1200, FIVE)
    assert np.isclose(far.mean(), 241.6) and np.median(far) == 2
    assert np.isclose(location(far, 1.0), 7 / 3)
    r = 4 - FIVE
    assert np.allclose(r, [3, 2, 2, 1, -8])
    assert np.isclose((r**2).mean(), 16.4) and np.isclose(np.sqrt(16.4), 4.0497, atol=5e-5)
    assert np.isclose(np.abs(r).mean(), 3.2)
    assert np.allclose(huber(r), [2.5, 1.5, 1.5, 0.5, 7.5]) and np.isclose(huber(r).mean(), 2.7)
    assert np.allclose(huber_grad(r), [1, 1, 1, 1, -1]) and np.isclose(huber_grad(r).mean(), 0.6)
    assert np.isclose(pinball(8, 10, 0.9), 1.8) and np.isclose(pinball(12, 10, 0.9), 0.2)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
