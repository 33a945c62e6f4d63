"""Twin of the page on the bias-variance decomposition: exact curves and identities."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def bias_variance(predictions, truth):
    """Squared bias and variance of a learner, at each of N inputs.

    predictions: (S, N), row s from the model trained on training set s.
    truth: (N,), the conditional mean of the target. Results: (N,), (N,).
    With the empirical mean over S the squared bias is too large by variance / S,
    on average; subtract it if S is small.
    """
    mean = predictions.mean(axis=0)
    return (mean - truth) ** 2, ((predictions - mean) ** 2).mean(axis=0)


def fit_many(features, targets, new_features):
    """Least squares on S training sets with common inputs.

    features: (n, p), targets: (S, n), new_features: (N, p). Result: (S, N).
    """
    weights = targets @ np.linalg.pinv(features).T
    return weights @ new_features.T


def exact_bias_variance(features, truth_train, new_features, truth, sigma):
    """The same without sampling, for noise variance sigma**2 (a linear smoother)."""
    smoother = new_features @ np.linalg.pinv(features)      # (N, n)
    return (
        (smoother @ truth_train - truth) ** 2,
        sigma**2 * (smoother**2).sum(axis=1),
    )


# --8<-- [end:numpy]


# --8<-- [start:torch]
def bias_variance_torch(predictions: torch.Tensor, truth: torch.Tensor):
    """As above; predictions: (S, N), truth: (N,)."""
    variance, mean = torch.var_mean(predictions, dim=0, correction=0)
    return (mean - truth) ** 2, variance


def fit_many_torch(features, targets, new_features):
    """S least-squares fits in one call; shapes as above."""
    weights = torch.linalg.lstsq(features, targets.T, driver="gelsd").solution  # (p, S)
    return (new_features @ weights).T


# --8<-- [end:torch]

N_TRAIN, SIGMA = 20, 0.3
X = np.linspace(-1, 1, N_TRAIN)
GRID = np.linspace(-1, 1, 201)


def truth(x):
    """The conditional mean of the example."""
    return np.sin(np.pi * x)


def poly(x, degree):
    """Legendre features of degrees 0 to `degree`."""
    return np.polynomial.legendre.legvander(x, degree)


def curve(degree):
    """Mean squared bias and mean variance over the grid for a polynomial fit."""
    b, v = exact_bias_variance(poly(X, degree), truth(X), poly(GRID, degree),
                               truth(GRID), SIGMA)
    return b.mean(), v.mean()


def samples(count, seed=0):
    """Targets (count, n) of independent training sets."""
    rng = np.random.default_rng(seed)
    return truth(X) + SIGMA * rng.standard_normal((count, N_TRAIN))


def figure_fits():
    """Twenty fits each of degree 1, 3 and 12."""
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.6), sharey=True)
    y = samples(20, seed=1)
    for ax, degree in zip(axes, (1, 3, 12)):
        f = fit_many(poly(X, degree), y, poly(GRID, degree))
        ax.plot(GRID, f.T, color="C0", lw=0.6, alpha=0.45)
        ax.plot([], [], color="C0", lw=0.8, label="20 fits")
        ax.plot(GRID, f.mean(axis=0), color="C1", lw=2, ls="--", label="their mean")
        ax.plot(GRID, truth(GRID), color="#222222", lw=1.3, label="truth")
        ax.set(xlabel=f"x (degree {degree})", ylim=(-2, 2))
    axes[0].set_ylabel("prediction")
    axes[0].legend(fontsize=9, loc="lower right", borderpad=0, labelspacing=0.2)
    return fig


def figure_curves():
    """Exact bias, variance and total error over the degree."""
    degrees = np.arange(0, 13)
    b, v = np.array([curve(d) for d in degrees]).T
    fig, ax = plt.subplots(figsize=(6.4, 3.1))
    ax.semilogy(degrees, b + v + SIGMA**2, "o-", color="#222222", label="expected error")
    ax.semilogy(degrees, b, "s--", color="C0", label="squared bias")
    ax.semilogy(degrees, v, "^-.", color="C1", label="variance")
    ax.axhline(SIGMA**2, color="C2", ls=":", label="noise")
    ax.set(xlabel="degree of the polynomial", ylabel="mean over the inputs",
           ylim=(1e-3, 1))
    ax.legend(fontsize=9, ncol=2, loc="lower right")
    return fig


def check_bv_decomposition():
    """Equation (bv-decomposition), exactly, on a finite world of training sets."""
    rng = np.random.default_rng(0)
    p_set, f = rng.dirichlet(np.ones(6)), rng.standard_normal(6)
    p_y, y = rng.dirichlet(np.ones(4)), rng.standard_normal(4)
    left = sum(p_set[s] * p_y[k] * (y[k] - f[s]) ** 2
               for s, k in itertools.product(range(6), range(4)))
    star, mean = p_y @ y, p_set @ f
    noise, var = p_y @ (y - star) ** 2, p_set @ (f - mean) ** 2
    assert np.isclose(left, noise + (mean - star) ** 2 + var)
    assert min(noise, var, (mean - star) ** 2) > 1e-3


def check_bv_linear():
    """Equation (bv-linear): exact formula against 20,000 simulated training sets."""
    for degree in (1, 3, 7):
        f = fit_many(poly(X, degree), samples(20000), poly(GRID, degree))
        b, v = bias_variance(f, truth(GRID))
        eb, ev = exact_bias_variance(poly(X, degree), truth(X), poly(GRID, degree),
                                     truth(GRID), SIGMA)
        assert np.allclose(v, ev, rtol=0.06) and np.allclose(b, eb, atol=0.004)


def check_bv_projection():
    """Equation (bv-projection): mean variance at the training inputs."""
    for degree in (0, 3, 10):
        _, v = exact_bias_variance(poly(X, degree), truth(X), poly(X, degree),
                                   truth(X), SIGMA)
        assert np.isclose(v.mean(), SIGMA**2 * (degree + 1) / N_TRAIN)


def check_bv_knn():
    """Equation (bv-knn): exact moments of a neighbor average, by enumeration."""
    star = np.array([0.0, 1.0, 1.0, 4.0, 4.0])
    for k in (1, 3, 5):
        values = [np.mean(star[:k] + np.array(e))
                  for e in itertools.product((-1.0, 1.0), repeat=k)]
        assert np.isclose(np.mean(values), star[:k].mean())
        assert np.isclose(np.var(values), 1 / k)


def shrink_error(c, mu, s2):
    """Expected squared error of c times the sample mean; s2 = sigma**2 / n."""
    return (1 - c) ** 2 * mu**2 + c**2 * s2


def check_bv_shrinkage():
    """Equation (bv-shrinkage): the best factor and its error, and a simulation."""
    rng = np.random.default_rng(1)
    grid = np.linspace(0, 1, 100001)
    for mu, s2 in ((1.0, 1.0), (3.0, 1.0), (0.2, 0.5)):
        best = mu**2 / (mu**2 + s2)
        assert abs(grid[shrink_error(grid, mu, s2).argmin()] - best) < 1e-4
        assert np.isclose(shrink_error(best, mu, s2), best * s2)
        means = mu + np.sqrt(s2) * rng.standard_normal(400000)
        assert np.isclose(((best * means - mu) ** 2).mean(), best * s2, rtol=0.02)


def check_bv_averaging():
    """Equation (bv-averaging): mean of M equally correlated predictions."""
    rng = np.random.default_rng(2)
    m, rho, s2 = 5, 0.3, 2.0
    cov = s2 * (rho * np.ones((m, m)) + (1 - rho) * np.eye(m))
    exact = rho * s2 + (1 - rho) * s2 / m
    assert np.isclose(np.ones(m) @ cov @ np.ones(m) / m**2, exact)
    draws = rng.multivariate_normal(np.full(m, 0.7), cov, size=200000).mean(axis=1)
    assert np.isclose(draws.var(), exact, rtol=0.02)
    assert np.isclose(draws.mean(), 0.7, atol=0.01)


def check_bv_total_variance():
    """Equation (bv-total-variance) on a table: training sets by seeds."""
    f = np.random.default_rng(3).standard_normal((40, 30))
    f += 2 * np.random.default_rng(4).standard_normal((40, 1))
    within, between = f.var(axis=1).mean(), f.mean(axis=1).var()
    assert np.isclose(f.var(), between + within) and between > within


def check_bv_zero_one():
    """Equation (bv-zero-one): against the direct computation, both cases."""
    for p_model in (0.05, 0.3, 0.49, 0.6, 0.9):
        for noise in (0.0, 0.1, 0.4):
            direct = p_model * noise + (1 - p_model) * (1 - noise)
            b, v = float(p_model < 0.5), min(p_model, 1 - p_model)
            sign = 1 if p_model > 0.5 else -1
            assert np.isclose(direct, (2 * p_model - 1) * noise + b + sign * v)


def check_bv_kl():
    """Equation (bv-kl): cross-entropy with the normalized geometric mean."""
    rng = np.random.default_rng(5)
    star = rng.dirichlet(np.ones(4))
    p = rng.dirichlet(np.ones(4), size=50)
    geo = np.exp(np.log(p).mean(axis=0))
    geo /= geo.sum()

    def kl(a, b):
        return (a * np.log(a / b)).sum(axis=-1)

    loss = -(star * np.log(p)).sum(axis=1).mean()
    entropy = -(star * np.log(star)).sum()
    assert np.isclose(loss, entropy + kl(star, geo) + kl(geo, p).mean())
    assert kl(star, geo) > 0.01 and kl(geo, p).mean() > 0.01
    wrong = p.mean(axis=0)
    assert not np.isclose(loss, entropy + kl(star, wrong) + kl(wrong, p).mean())


def check_worked_numbers():
    """The worked example."""
    totals = {k: (np.mean([0, 1, 1, 4, 4][:k]) ** 2, 1 / k) for k in (1, 3, 5)}
    assert np.allclose(totals[1], (0, 1)) and np.allclose(totals[5], (4, 0.2))
    assert np.allclose(totals[3], (0.444, 0.333), atol=5e-4)
    assert shrink_error(0.5, 1, 1) == 0.5 and shrink_error(1, 1, 1) == 1
    assert shrink_error(0.5, 3, 1) == 2.5
    errors = [p * 0.1 + (1 - p) * 0.9 for p in (0.6, 1.0, 0.4, 0.0)]
    assert np.allclose(errors, [0.42, 0.1, 0.58, 0.9])


def check_figure_numbers():
    """Numbers in the figures' text: the best degree and values of the curves."""
    b, v = np.array([curve(d) for d in range(13)]).T
    total = b + v + SIGMA**2
    assert total.argmin() == 3
    assert np.allclose(total[[0, 1, 3, 12]], [0.592, 0.304, 0.111, 0.165], atol=5e-4)
    assert np.allclose(b[[0, 1, 3]], [0.497, 0.205, 0.005], atol=6e-4)
    assert np.allclose(v[[0, 12]], [0.0045, 0.0754], atol=5e-5)
    assert np.all(np.diff(v) > 0)


def check_numpy_torch():
    """Both versions agree."""
    y = samples(50, seed=6)
    for degree in (1, 6):
        f = fit_many(poly(X, degree), y, poly(GRID, degree))
        g = fit_many_torch(*map(torch.tensor, (poly(X, degree), y, poly(GRID, degree))))
        assert np.allclose(f, g.numpy(), atol=1e-10)
        for u, w in zip(bias_variance(f, truth(GRID)),
                        bias_variance_torch(g, torch.tensor(truth(GRID)))):
            assert np.allclose(u, w.numpy(), atol=1e-10)


def check_small_sample_bias():
    """The docstring's remark: the plug-in squared bias is too large by variance / S."""
    degree, s = 3, 5
    f = fit_many(poly(X, degree), samples(5 * 4000), poly(GRID, degree))
    b = np.mean([bias_variance(f[i:i + s], truth(GRID))[0].mean()
                 for i in range(0, len(f), s)])
    eb, ev = curve(degree)
    assert np.isclose(b, eb + ev / s, rtol=0.03) and b > 1.5 * eb


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
