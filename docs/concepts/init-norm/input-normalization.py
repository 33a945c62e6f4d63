"""Twin of the page on input standardization: checks its formulas and numbers."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def fit_standardizer(x_train):
    """Mean and standard deviation of each column of the TRAINING data.

    x_train: (examples, features). The deviation is the biased one (divided by n);
    a constant column gets 1, so that it becomes 0 and not 0/0.
    """
    mean, std = x_train.mean(axis=0), x_train.std(axis=0)
    return mean, np.where(std == 0, 1.0, std)


def standardize(x, mean, std):
    """Equation (input-norm-map); the same numbers for every data set."""
    return (x - mean) / std


def fold_into_linear(W, b, mean, std):
    """Weights that give on raw inputs what W, b give on standardized ones."""
    return W / std, b - (W / std) @ mean


def least_squares_hessian(x):
    """Hessian of sum (w.x + b - y)^2 / (2n) in (w, b)."""
    x1 = np.column_stack([x, np.ones(len(x))])
    return x1.T @ x1 / len(x)


# --8<-- [end:numpy]


# --8<-- [start:torch]
class Standardize(torch.nn.Module):
    """Standardization as a layer: its statistics are saved with the model."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", mean)  # not trained, but in the state_dict
        self.register_buffer("std", std)

    @classmethod
    def fit(cls, batches):
        """One pass over batches of (batch, features) or (batch, C, H, W) data."""
        n, mean, m2 = 0, 0.0, 0.0  # count, mean, sum of squared deviations
        for x in batches:
            dtype = x.dtype
            x = x.double().movedim(1, -1).flatten(0, -2)  # (values, channels)
            k, batch_mean = len(x), x.mean(0)
            delta = batch_mean - mean
            m2 = m2 + ((x - batch_mean) ** 2).sum(0) + delta**2 * n * k / (n + k)
            mean = mean + delta * k / (n + k)
            n += k
        std = (m2 / n).sqrt()
        std = torch.where(std == 0, 1.0, std)
        return cls(mean.to(dtype), std.to(dtype))

    def forward(self, x):
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)


# --8<-- [end:torch]

X_WORKED = np.array([[1.0], [3.0], [5.0], [7.0]])


def _descend(x, y, steps):
    """Gradient descent in (w, b) at the best fixed rate; path and excess loss."""
    H = least_squares_hessian(x)
    x1 = np.column_stack([x, np.ones(len(x))])
    best = np.linalg.solve(H, x1.T @ y / len(x))
    lam = np.linalg.eigvalsh(H)
    theta, path = np.zeros(2), []
    for _ in range(steps + 1):
        path.append(theta.copy())
        theta = theta - 2 / (lam[0] + lam[-1]) * H @ (theta - best)
    path = np.array(path)
    diff = path - best
    return H, best, path, 0.5 * np.einsum("ti,ij,tj->t", diff, H, diff)


def figure_valley():
    """Level lines of the loss of a line fit: raw, centered, standardized feature."""
    x, y = X_WORKED, np.array([5.0, 4.0, 2.0, 1.0])
    versions = (
        ("raw", x, "C0", "o", "-"),
        ("centered", x - x.mean(), "C1", "s", "--"),
        ("standardized", (x - x.mean()) / x.std(), "C2", "^", "-."),
    )
    fig = plt.figure(figsize=(6.4, 4.6))
    grid = fig.add_gridspec(2, 3, height_ratios=[1.1, 1])
    curve = fig.add_subplot(grid[1, :])
    for k, (name, data, color, marker, line) in enumerate(versions):
        H, best, path, _ = _descend(data, y, 30)
        ax = fig.add_subplot(grid[0, k])
        u, v = np.meshgrid(np.linspace(-9, 9, 241), np.linspace(-9, 9, 241))
        d = np.stack([u, v], axis=-1)
        z = 0.5 * np.einsum("...i,ij,...j->...", d, H, d)
        ax.contour(
            u + best[0],
            v + best[1],
            z,
            levels=[0.2, 1.5, 5, 12, 25],
            colors="#777777",
            linewidths=0.9,
        )
        ax.plot(*path.T, color=color, marker=marker, markersize=3.5, linewidth=1.3)
        ax.plot(*best, "*", color="#222222", markersize=11)
        ax.set_xlim(-5, 4)
        ax.set_ylim(-1.5, 7.5)
        ax.set_xlabel("weight")
        ax.annotate(name, (0.5, 1.03), xycoords="axes fraction", ha="center")
        if k == 0:
            ax.set_ylabel("bias")
        excess = np.maximum(_descend(data, y, 300)[3], 1e-12)
        curve.semilogy(excess[:301], line, color=color, label=name)
    curve.set_ylim(1e-8, 1e3)
    curve.set_xlim(0, 300)
    curve.set_xlabel("step of gradient descent")
    curve.set_ylabel("excess loss")
    curve.legend()
    return fig


def _data(rng, n=50, d=4):
    mix = rng.standard_normal((d, d))
    return rng.standard_normal((n, d)) @ mix * [1.0, 20.0, 0.1, 3.0] + [2.0, -30, 0, 9]


def check_input_norm_standardize():
    """Equation (input-norm-standardize): mean 0, variance 1 on the training data."""
    x = _data(np.random.default_rng(0))
    z = standardize(x, *fit_standardizer(x))
    assert np.allclose(z.mean(0), 0, atol=1e-12) and np.allclose((z**2).mean(0), 1)
    fresh = _data(np.random.default_rng(1))
    assert np.abs(standardize(fresh, *fit_standardizer(x)).mean(0)).max() > 0.05
    const = np.column_stack([x, np.full(len(x), 7.0)])
    z = standardize(const, *fit_standardizer(const))
    assert np.allclose(z[:, -1], 0) and np.allclose(z[:, :4].std(0), 1)
    # a line does not change the shape: skewness stays what it was
    skewed = np.random.default_rng(2).exponential(size=2000)
    w = standardize(skewed[:, None], *fit_standardizer(skewed[:, None]))[:, 0]
    skew = np.mean((skewed - skewed.mean()) ** 3) / skewed.std() ** 3
    assert np.isclose(np.mean(w**3), skew) and skew > 1


def check_input_norm_map():
    """Equation (input-norm-map): matrix form, one map for all data, invertible."""
    rng = np.random.default_rng(0)
    x = _data(rng)
    mean, std = fit_standardizer(x)
    new = rng.standard_normal(4)
    z = np.linalg.inv(np.diag(std)) @ (new - mean)
    assert np.allclose(z, standardize(new, mean, std))
    assert np.allclose(np.diag(std) @ z + mean, new)


def check_input_norm_folding():
    """Equation (input-norm-folding): a raw-input layer with the same outputs."""
    rng = np.random.default_rng(0)
    x, W, b = _data(rng), rng.standard_normal((3, 4)), rng.standard_normal(3)
    mean, std = fit_standardizer(x)
    W_raw, b_raw = fold_into_linear(W, b, mean, std)
    ours = standardize(x, mean, std) @ W.T + b
    assert np.allclose(ours, x @ W_raw.T + b_raw, atol=1e-10)
    # so ordinary least squares predicts the same; ridge does not
    y = rng.standard_normal(len(x))
    z = standardize(x, mean, std)

    def predict(data, penalty):
        d1 = np.column_stack([data, np.ones(len(data))])
        reg = penalty * np.diag([1.0] * 4 + [0.0])
        return d1 @ np.linalg.solve(d1.T @ d1 + reg, d1.T @ y)

    assert np.allclose(predict(x, 0.0), predict(z, 0.0), atol=1e-8)
    assert not np.allclose(predict(x, 5.0), predict(z, 5.0), atol=1e-2)


def check_input_norm_hessian():
    """Equation (input-norm-hessian): blocks, and finite differences of the loss."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 3)) * [1, 2, 0.5] + [1, -2, 3]
    y = rng.standard_normal(20)
    mu, cov = x.mean(0), np.cov(x.T, bias=True)
    H = np.block([[cov + np.outer(mu, mu), mu[:, None]], [mu[None, :], np.eye(1)]])
    assert np.allclose(H, least_squares_hessian(x))
    xt, yt = torch.tensor(x), torch.tensor(y)

    def loss(p):
        return ((xt @ p[:3] + p[3] - yt) ** 2).mean() / 2

    point = torch.tensor(rng.standard_normal(4))
    auto = torch.autograd.functional.hessian(loss, point)
    assert np.allclose(H, auto.numpy(), atol=1e-12)


def check_input_norm_hessian_standardized():
    """Equation (input-norm-hessian-standardized): correlation matrix and 1."""
    x = _data(np.random.default_rng(0))
    H = least_squares_hessian(standardize(x, *fit_standardizer(x)))
    R = np.corrcoef(x.T)
    assert np.allclose(H[:4, :4], R) and np.allclose(H[4], [0, 0, 0, 0, 1], atol=1e-12)
    assert np.isclose(np.linalg.cond(H), np.linalg.cond(R), rtol=1e-8)
    assert np.linalg.eigvalsh(R)[-1] <= 4
    for rho in (0.5, -0.99):
        pair = np.linalg.cond(np.array([[1, rho], [rho, 1]]))
        assert np.isclose(pair, (1 + abs(rho)) / (1 - abs(rho)))
    assert np.isclose((1 + 0.99) / (1 - 0.99), 199)


def check_input_norm_centering():
    """Equation (input-norm-centering): both lower bounds, on random problems."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        d = rng.integers(1, 5)
        a = rng.standard_normal((d, d + 1))
        cov, mu = a @ a.T * np.exp(rng.normal()), rng.standard_normal(d) * 3
        H = np.block([[cov + np.outer(mu, mu), mu[:, None]], [mu[None, :], np.eye(1)]])
        centered = np.block([[cov, np.zeros((d, 1))], [np.zeros((1, d)), np.eye(1)]])
        inverse = np.block(
            [
                [np.linalg.inv(cov), -np.linalg.solve(cov, mu)[:, None]],
                [
                    -np.linalg.solve(cov, mu)[None],
                    1 + mu @ np.linalg.solve(cov, mu) + np.zeros((1, 1)),
                ],
            ]
        )
        if np.linalg.cond(cov) < 1e4:
            assert np.allclose(inverse @ H, np.eye(d + 1), atol=1e-6)
        kappa = np.linalg.cond(H)
        assert kappa >= np.linalg.cond(centered) * (1 - 1e-9)
        assert kappa >= (1 + mu @ mu) * (1 + mu @ np.linalg.solve(cov, mu)) * (1 - 1e-9)
    H = np.array([[1 + 100.0, 10.0], [10.0, 1.0]])  # one feature, mean 10, variance 1
    assert (1 + 10**2) ** 2 == 10201 and 10201 < np.linalg.cond(H) < 10500


def check_input_norm_scaling():
    """Equation (input-norm-scaling): within a factor d of every diagonal scaling."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        d = rng.integers(2, 6)
        a = rng.standard_normal((d, d + 1))
        cov = a @ a.T
        R = cov / np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
        scale = np.exp(rng.normal(size=d))
        other = np.linalg.cond(R * np.outer(scale, scale))
        assert np.linalg.cond(R) <= d * other * (1 + 1e-9)
        if d == 2:  # for two features unit variance is the best scaling
            assert np.linalg.cond(R) <= other * (1 + 1e-9)
    # for three it need not be: an example where standardizing makes things worse
    R = np.array([[1, 0.9, 0.9], [0.9, 1, 0.99], [0.9, 0.99, 1]])
    raw = R * np.outer([0.3, 1, 1], [0.3, 1, 1])
    assert round(np.linalg.cond(raw)) == 206 and round(np.linalg.cond(R)) == 286


def check_input_norm_preconditioner():
    """Equation (input-norm-preconditioner): a step after rescaling, seen before it."""
    rng = np.random.default_rng(0)
    x, y, w = rng.standard_normal((9, 3)), rng.standard_normal(9), rng.normal(size=3)
    x, scale, eta = x * [5, 1, 0.1], np.array([5, 1, 0.1]), 0.2

    def gradient(data, weights):
        return data.T @ np.tanh(data @ weights - y) / len(y)

    v = scale * w  # the same function on x / scale
    v_next = v - eta * gradient(x / scale, v)
    assert np.allclose(v_next / scale, w - eta * gradient(x, w) / scale**2)


def check_input_norm_first_layer():
    """Equation (input-norm-first-layer): outer product, one sign per row if x > 0."""
    rng = np.random.default_rng(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)
    ).double()
    x = torch.tensor(rng.uniform(0.1, 1.0, (1, 4)))
    z = net[0](x)
    z.retain_grad()
    net[2](net[1](z)).square().sum().backward()
    grad = net[0].weight.grad
    assert torch.allclose(grad, z.grad.T @ x, atol=1e-14)
    assert all(len(set(row.sign().tolist())) == 1 for row in grad)


def check_input_norm_test_statistics():
    """Equation (input-norm-test-statistics): own statistics distort the input."""
    rng = np.random.default_rng(0)
    train, test = _data(rng), _data(rng, n=7) + 1.5
    mean, std = fit_standardizer(train)
    own_mean, own_std = fit_standardizer(test)
    right = standardize(test, mean, std)
    wrong = standardize(test, own_mean, own_std)
    assert np.allclose(wrong, std / own_std * right + (mean - own_mean) / own_std)
    assert not np.allclose(wrong, right, atol=0.1)
    n, m = len(train), len(test)
    pooled = np.concatenate([train, test]).mean(0)
    assert np.allclose(pooled - mean, m / (n + m) * (own_mean - mean))


def check_numpy_equals_torch():
    """One pass over batches gives the statistics of the whole, also for images."""
    rng = np.random.default_rng(0)
    x = _data(rng)
    layer = Standardize.fit(torch.tensor(x).split(16))
    mean, std = fit_standardizer(x)
    ours = standardize(x, mean, std)
    assert np.allclose(layer(torch.tensor(x)).numpy(), ours, atol=1e-10)
    single = torch.tensor(x).float()
    assert Standardize.fit(single.split(16))(single).dtype == torch.float32
    assert set(layer.state_dict()) == {"mean", "std"}
    assert not list(layer.parameters())
    images = torch.tensor(rng.standard_normal((10, 3, 4, 5)) * 2 + 1)
    z = Standardize.fit(images.split(4))(images)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-12)
    assert torch.allclose(z.var((0, 2, 3), correction=0), torch.ones(3).double())


def check_adam_depends_on_units():
    """Adam's first step on a weight is the learning rate, whatever the unit."""
    steps = []
    for unit in (1.0, 1000.0):
        w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([w], lr=0.01)
        ((w * 0.7 * unit - 1.0) ** 2).sum().backward()
        optimizer.step()
        steps.append(w.item() * 0.7 * unit)  # change of the output
    assert np.isclose(steps[1] / steps[0], 1000, rtol=1e-5)


def check_worked_example():
    """The numbers of the worked example."""
    x = X_WORKED
    mean, std = fit_standardizer(x)
    assert mean[0] == 4 and np.isclose(std[0] ** 2, 5)
    assert np.allclose(
        standardize(x, mean, std)[:, 0], [-1.342, -0.447, 0.447, 1.342], atol=5e-4
    )
    H = least_squares_hessian(x)
    assert np.allclose(H, [[21, 4], [4, 1]])
    lam = np.linalg.eigvalsh(H)
    assert np.allclose(lam, [0.2297, 21.770], atol=5e-4)
    steps = {}
    for name, data in (("raw", x), ("centered", x - mean), ("std", (x - mean) / std)):
        kappa = np.linalg.cond(least_squares_hessian(data))
        rate = (kappa - 1) / (kappa + 1)
        steps[name] = kappa, np.inf if rate < 1e-9 else np.log(1e6) / -np.log(rate)
    assert np.isclose(steps["raw"][0], 94.8, atol=0.05)
    assert np.isclose(steps["centered"][0], 5) and np.isclose(steps["std"][0], 1)
    assert np.ceil(steps["raw"][1]) == 655 and np.ceil(steps["centered"][1]) == 35
    bound = (1 + 16) * (1 + 16 / 5)
    assert np.isclose(bound, 71.4) and bound < steps["raw"][0]
    W, b = fold_into_linear(np.array([[3.0]]), np.array([1.0]), mean, std)
    assert np.allclose([W[0, 0], b[0]], [1.342, -4.367], atol=5e-4)
    assert np.isclose(W[0, 0] * 9 + b[0], 7.708, atol=5e-4)
    new = np.array([[9.0], [11.0]])
    assert np.allclose(standardize(new, mean, std)[:, 0], [2.236, 3.130], atol=5e-4)
    assert np.allclose(standardize(new, *fit_standardizer(new))[:, 0], [-1, 1])
    assert np.isclose(3 * -1 + 1, -2)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
