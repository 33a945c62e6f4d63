"""Twin of the page on double descent: reproduces the peak and checks its formulas."""

import functools

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def min_norm(features, y):
    """Least squares; of all minimizers the one with the smallest norm.

    features: (n, p); y: (n,). Equals inverse(F'F) F'y for p <= n and F' inverse(FF') y
    for p >= n, when F has full rank.
    """
    return np.linalg.pinv(features) @ y


def random_features(x, count, rng):
    """ReLU features max(0, x V') with fixed random V: a network's untrained layer."""
    v = rng.standard_normal((count, x.shape[1])) / np.sqrt(x.shape[1])
    return lambda x: np.maximum(x @ v.T, 0) / np.sqrt(count)


def errors(x, y, x_test, y_test, count, rng, ridge=0.1):
    """Mean squared errors of linear fits on `count` random features.

    Returns test and training error of the minimum-norm fit, the test error of ridge
    regression, and the norm of the minimum-norm weights.
    """
    f = random_features(x, count, rng)
    a, b = f(x), f(x_test)
    w = min_norm(a, y)
    shrunk = a.T @ np.linalg.solve(a @ a.T + ridge * np.eye(len(y)), y)
    test, ridge_test = np.mean((b @ w - y_test) ** 2), np.mean((b @ shrunk - y_test) ** 2)
    return test, np.mean((a @ w - y) ** 2), ridge_test, np.linalg.norm(w)


# --8<-- [end:numpy]


# --8<-- [start:torch]
def fit_by_gradient_descent(features: torch.Tensor, y: torch.Tensor, steps: int):
    """Plain gradient descent from zero on the squared error.

    With more features than examples it converges to the minimum-norm interpolator,
    although nothing in the loss asks for a small norm.
    """
    layer = torch.nn.Linear(features.shape[1], 1, bias=False, dtype=features.dtype)
    torch.nn.init.zeros_(layer.weight)
    largest = torch.linalg.matrix_norm(features, ord=2) ** 2
    optimizer = torch.optim.SGD(layer.parameters(), lr=(1.0 / largest).item())
    for _ in range(steps):
        loss = 0.5 * torch.sum((layer(features).squeeze(1) - y) ** 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return layer.weight.detach()[0]


# --8<-- [end:torch]

N = 60  # training examples of the random-feature experiment
COUNTS = (3, 6, 12, 18, 24, 36, 48, 54, 60, 66, 75, 96, 120, 240, 600)


@functools.lru_cache
def _experiment(reps=12, noise=0.3):
    """Medians over `reps` draws of the four numbers, for every count of features."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(reps):
        x, x_test = rng.standard_normal((N, 15)), rng.standard_normal((200, 15))
        w = rng.standard_normal(15) / np.sqrt(15)
        y = np.tanh(2 * x @ w) + noise * rng.standard_normal(N)
        y_test = np.tanh(2 * x_test @ w)
        rows.append([errors(x, y, x_test, y_test, count, rng) for count in COUNTS])
    return np.median(rows, axis=0).T


def weak_risk(p, n, theta2, sigma2):
    """Equation (dd-weak-risk): theta2 holds the squared true weights, first p are used."""
    used, unused = np.sum(theta2[:p]), np.sum(theta2[p:])
    tau2 = sigma2 + unused
    if p <= n - 2:
        return tau2 * (1 + p / (n - p - 1))
    if p >= n + 2:
        return used * (1 - n / p) + tau2 * (1 + n / (p - n - 1))
    return np.inf


def figure_random_features():
    """Test and training error over the number of random features."""
    plain, train, ridged, _ = _experiment()
    counts = np.array(COUNTS)
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    ax.plot(counts, plain, "o-", markersize=4, label="test error, minimum norm")
    ax.plot(counts, ridged, "s--", markersize=4, color="C2", label="test error, ridge")
    seen = counts < N
    ax.plot(
        counts[seen],
        train[seen],
        "^:",
        markersize=4,
        color="C1",
        label="training error (0 from 60 on)",
    )
    ax.axvline(N, color="#555555", linewidth=1, linestyle=(0, (1, 3)))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks([3, 10, 60, 600], ["3", "10", "60 = examples", "600"])
    ax.minorticks_off()
    ax.set_xlabel("random features")
    ax.set_ylabel("mean squared error")
    ax.set_ylim(1e-2, 3e2)
    ax.legend(loc="upper left", fontsize=9)
    return fig


def figure_weak_features():
    """The exact expected risk, equal and decaying weights, with simulated means."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    n, sigma2 = 40, 0.04
    for style, color, name, theta2 in (
        ("-", "C0", "equal weights", np.full(100, 0.01)),
        ("--", "C1", "decaying weights, largest first", _decaying()),
    ):
        for ps in (np.arange(0, n - 1), np.arange(n + 2, 101)):
            ax.plot(
                ps,
                [weak_risk(p, n, theta2, sigma2) for p in ps],
                style,
                color=color,
                label=name if ps[0] == 0 else None,
            )
    rng = np.random.default_rng(0)
    for p in (10, 20, 30, 50, 60, 80, 100):
        for marker, theta2 in (("o", np.full(100, 0.01)), ("s", _decaying())):
            ax.plot(p, _simulated(p, n, theta2, sigma2, 200, rng), marker, color="#222222",
                    markersize=4)
    ax.axvline(n, color="#555555", linewidth=1, linestyle=":")
    ax.set_ylim(0, 4)
    ax.set_xlabel("features used (40 examples)")
    ax.set_ylabel("expected squared test error")
    ax.legend(loc="upper right")
    return fig


def _decaying():
    theta2 = 1.0 / np.arange(1, 101) ** 2
    return theta2 / theta2.sum()


def _simulated(p, n, theta2, sigma2, trials, rng):
    """Mean risk of the minimum-norm fit over random data, for p at most n - 2 or more."""
    theta = np.sqrt(theta2)
    x = rng.standard_normal((trials, n, len(theta)))
    y = (x @ theta + np.sqrt(sigma2) * rng.standard_normal((trials, n)))[:, :, None]
    a, t = x[:, :, :p], x[:, :, :p].transpose(0, 2, 1)
    w = np.linalg.solve(t @ a, t @ y) if p <= n else t @ np.linalg.solve(a @ t, y)
    used = np.mean(np.sum((w[:, :, 0] - theta[:p]) ** 2, axis=1))
    return sigma2 + used + np.sum(theta2[p:])


def check_dd_min_norm():
    """Equation (dd-min-norm): both closed forms, interpolation, smallest norm."""
    rng = np.random.default_rng(0)
    tall, wide = rng.standard_normal((9, 4)), rng.standard_normal((6, 10))
    y = rng.standard_normal(9)
    assert np.allclose(min_norm(tall, y), np.linalg.solve(tall.T @ tall, tall.T @ y))
    y = rng.standard_normal(6)
    theta = min_norm(wide, y)
    assert np.allclose(theta, wide.T @ np.linalg.solve(wide @ wide.T, y))
    assert np.allclose(wide @ theta, y)
    for _ in range(20):  # other interpolators are longer
        z = rng.standard_normal(10)
        other = theta + z - np.linalg.pinv(wide) @ (wide @ z)
        assert np.allclose(wide @ other, y) and other @ other > theta @ theta


def check_dd_gradient_descent():
    """Equation (dd-gradient-descent): the limit keeps the start's null-space part."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 12)), rng.standard_normal(5)
    pinv = np.linalg.pinv(x)
    for start in (np.zeros(12), rng.standard_normal(12)):
        theta = start.copy()
        for _ in range(4000):
            theta = theta - 0.03 * x.T @ (x @ theta - y)
        assert np.allclose(theta, pinv @ y + start - pinv @ (x @ start), atol=1e-9)


def check_dd_noise():
    """Equation (dd-noise): the noise in the weights is sigma^2 sum 1/s^2."""
    rng = np.random.default_rng(0)
    for shape in ((12, 5), (6, 15)):
        x = rng.standard_normal(shape)
        s = np.linalg.svd(x, compute_uv=False)
        e = 0.3 * rng.standard_normal((100_000, shape[0]))
        moved = e @ np.linalg.pinv(x).T
        sampled = np.mean(np.sum(moved**2, axis=1))
        assert np.isclose(sampled, 0.3**2 * np.sum(1 / s**2), rtol=0.02)


def check_dd_singular_value():
    """Equation (dd-singular-value): the smallest one vanishes where p is near n."""
    rng = np.random.default_rng(0)
    n = 200
    for gamma in (0.25, 0.5, 2.0, 4.0):
        x = rng.standard_normal((n, int(gamma * n)))
        smallest = np.linalg.svd(x, compute_uv=False).min() / np.sqrt(n)
        assert abs(smallest - abs(1 - np.sqrt(gamma))) < 0.08
    x = rng.standard_normal((n, n))
    assert np.linalg.svd(x, compute_uv=False).min() / np.sqrt(n) < 0.03


def check_dd_weak_risk():
    """Equation (dd-weak-risk): simulation for both kinds of weights, 4 percent."""
    rng = np.random.default_rng(0)
    for theta2 in (np.full(100, 0.01), _decaying()):
        for p in (8, 25, 60, 100):
            sampled = _simulated(p, 40, theta2, 0.04, 500, rng)
            assert np.isclose(sampled, weak_risk(p, 40, theta2, 0.04), rtol=0.04)


def check_weak_features_minima():
    """Second descent wins with equal weights, not with decaying ones in good order."""
    below, above = range(0, 39), range(42, 101)
    for theta2, second_wins in ((np.full(100, 0.01), True), (_decaying(), False)):
        first = min(weak_risk(p, 40, theta2, 0.04) for p in below)
        second = min(weak_risk(p, 40, theta2, 0.04) for p in above)
        assert (second < first) == second_wins
        assert weak_risk(38, 40, theta2, 0.04) > 3 * min(first, second)


def check_dd_norm():
    """Equation (dd-norm): more features never lengthen the shortest interpolator."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 60)), rng.standard_normal(10)
    norms = [np.linalg.norm(min_norm(x[:, :p], y)) for p in range(10, 61)]
    assert np.all(np.diff(norms) <= 1e-12) and norms[0] > 3 * norms[-1]


def check_dd_optimal_ridge():
    """Equation (dd-optimal-ridge): the best penalty, and no peak with it."""
    rng = np.random.default_rng(0)
    n, d, sigma2, risks = 40, 100, 0.04, []
    for p in (10, 20, 30, 40, 50, 60, 80, 100):
        tau2 = sigma2 + (d - p) / d
        best = tau2 * d
        found = dict.fromkeys((0.25, 1.0, 4.0), 0.0)
        for _ in range(150):
            theta = rng.standard_normal(d) / np.sqrt(d)
            x = rng.standard_normal((n, d))
            y = x @ theta + np.sqrt(sigma2) * rng.standard_normal(n)
            a = x[:, :p]
            for c in found:
                w = a.T @ np.linalg.solve(a @ a.T + c * best * np.eye(n), y)
                found[c] += (sigma2 + np.sum((w - theta[:p]) ** 2) + np.sum(theta[p:] ** 2)) / 150
        assert found[1.0] < found[0.25] and found[1.0] < found[4.0]
        risks.append(found[1.0])
    assert np.all(np.diff(risks) < 0.02) and risks[-1] < risks[0] - 0.1


def check_random_features():
    """The first figure: peak at 60 features, second descent below the first."""
    plain, train, ridged, norm = _experiment()
    counts = np.array(COUNTS)
    assert counts[plain.argmax()] == N and plain.max() > 10
    first, second = plain[counts < N].min(), plain[counts > N].min()
    assert counts[counts < N][plain[counts < N].argmin()] == 24
    assert abs(first - 0.45) < 0.01 and abs(second - 0.30) < 0.01
    assert counts[plain == second] == 600 and abs(ridged[-1] - 0.19) < 0.01
    assert np.all(train[counts >= N] < 1e-12) and np.all(train[counts < N] > 1e-3)
    assert np.all(ridged < plain) and ridged[counts == N] < 0.3
    assert counts[norm.argmax()] == N  # the norm peaks at the same place


def check_more_data_hurts():
    """Forty features fixed, more examples: the error rises toward n = 40, then falls."""
    theta2 = np.full(40, 1 / 40)
    risks = [weak_risk(40, n, theta2, 0.25) for n in (10, 20, 36, 60, 200)]
    assert risks[0] < risks[2] and risks[1] < risks[2] and risks[4] < risks[3] < risks[2]
    rng = np.random.default_rng(0)
    few, many = (_simulated(40, n, theta2, 0.25, 400, rng) for n in (20, 36))
    assert many > 2 * few
    assert np.allclose(risks, [1.086, 1.013, 3.350, 0.776, 0.313], atol=5e-4)


def check_numpy_vs_torch():
    """Gradient descent in PyTorch reaches the pseudoinverse solution to 1e-8."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 40)), rng.standard_normal(8)
    theta = fit_by_gradient_descent(torch.from_numpy(x), torch.from_numpy(y), 300)
    assert np.allclose(theta.numpy(), min_norm(x, y), atol=1e-8)
    f = random_features(x, 30, np.random.default_rng(1))(x)
    theta = fit_by_gradient_descent(torch.from_numpy(f), torch.from_numpy(y), 2000)
    assert np.allclose(f @ theta.numpy(), y, atol=1e-8)
    assert np.allclose(theta.numpy(), min_norm(f, y), atol=1e-8)


def check_worked_example():
    """Two examples, one to three features; the prediction at (1, 0, 0)."""
    x = np.array([[1, 1, 1], [1, 1.1, -1]])
    y = np.array([1.0, 1.1])  # truth: first feature alone; the second label is off by 0.1
    one, two, three = (min_norm(x[:, :p], y) for p in (1, 2, 3))
    assert np.allclose(one, [1.05]) and np.allclose(two, [0, 1])
    assert np.allclose(three, [0.499, 0.525, -0.024], atol=5e-4)
    smallest = [np.linalg.svd(x[:, :p], compute_uv=False).min() for p in (1, 2, 3)]
    assert np.allclose(smallest, [1.414, 0.049, 1.414], atol=5e-4)
    assert np.allclose([np.linalg.norm(two), np.linalg.norm(three)], [1, 0.725], atol=5e-4)
    assert np.isclose(weak_risk(38, 40, np.full(100, 0.01), 0.04), 25.74)
    assert np.isclose(weak_risk(100, 40, np.full(100, 0.01), 0.04), 0.667, atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
