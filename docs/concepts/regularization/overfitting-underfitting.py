"""Twin of the page on overfitting and underfitting: checks its gaps, curves and numbers."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def logistic_curves(x, y, x_val, y_val, rate=1.0, steps=500, every=100):
    """Train logistic regression by gradient descent and watch two data sets.

    x: (n, d); y: (n,) with entries -1 or 1. Returns the weights and, for every
    `every`-th step, (step, training loss, validation loss, training and validation
    accuracy), all measured with the same weights.
    """

    def measure(x, y):
        margin = y * (x @ w)
        return np.logaddexp(0, -margin).mean(), (margin > 0).mean()

    w, history = np.zeros(x.shape[1]), []
    for step in range(1, steps + 1):
        p_wrong = 1 / (1 + np.exp(y * (x @ w)))
        w = w + rate * (x * (y * p_wrong)[:, None]).mean(axis=0)
        if step % every == 0:
            (loss, acc), (loss_val, acc_val) = measure(x, y), measure(x_val, y_val)
            history.append((step, loss, loss_val, acc, acc_val))
    return w, np.array(history)


# --8<-- [end:numpy]


# --8<-- [start:torch]
@torch.no_grad()
def evaluate(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor):
    """Loss and accuracy in evaluation mode: dropout off, running statistics used."""
    was_training = model.training
    model.eval()
    margin = y * model(x).squeeze(1)
    model.train(was_training)
    loss = torch.nn.functional.softplus(-margin).mean()
    return loss.item(), (margin > 0).double().mean().item()


def curves(model, x, y, x_val, y_val, rate=1.0, steps=500, every=100):
    """The same measurements for any model with one output; the model is changed."""
    optimizer, history = torch.optim.SGD(model.parameters(), lr=rate), []
    for step in range(1, steps + 1):
        loss = torch.nn.functional.softplus(-y * model(x).squeeze(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0:
            (loss, acc), (loss_val, acc_val) = (
                evaluate(model, x, y),
                evaluate(model, x_val, y_val),
            )
            history.append((step, loss, loss_val, acc, acc_val))
    return history


# --8<-- [end:torch]


def _classification(seed=0, n=100, d=60):
    """Noise-free labels from a linear rule; fewer than two examples per weight."""
    rng = np.random.default_rng(seed)
    rule = np.zeros(d)
    rule[:5] = 1.0
    x, x_val = rng.standard_normal((n, d)), rng.standard_normal((4000, d))
    return x, np.sign(x @ rule), x_val, np.sign(x_val @ rule)


def _fit(degree, x, y):
    return np.polynomial.Chebyshev.fit(x, y, degree, domain=[-1, 1])


def _polynomial_data():
    rng = np.random.default_rng(8)
    x = np.linspace(-1, 1, 18)
    x_new = rng.uniform(-1, 1, 2000)
    rule = lambda t: np.sin(3 * t)
    y = rule(x) + 0.25 * rng.standard_normal(18)
    return rule, x, y, x_new, rule(x_new) + 0.25 * rng.standard_normal(2000)


def figure_fits():
    """Polynomials of three degrees through the same 18 noisy points."""
    rule, x, y, x_new, y_new = _polynomial_data()
    grid = np.linspace(-1, 1, 400)
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.9), sharey=True)
    for ax, degree, word in zip(
        axes, (1, 4, 15), ("underfits", "fits", "overfits"), strict=True
    ):
        p = _fit(degree, x, y)
        ax.plot(grid, rule(grid), "--", color="#555555", linewidth=1.2, label="truth")
        ax.plot(grid, p(grid), color="C1", label="fit")
        ax.plot(x, y, "o", color="C0", markersize=4, label="training data")
        train, new = np.mean((p(x) - y) ** 2), np.mean((p(x_new) - y_new) ** 2)
        ax.set_xlabel(
            f"degree {degree}: {word}\ntraining MSE {train:.3f}\nnew data MSE {new:.3f}"
        )
        ax.set_ylim(-1.8, 1.8)
        ax.set_xticks([-1, 0, 1])
    axes[0].set_ylabel("y")
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=3)
    return fig


def figure_loss_and_accuracy():
    """Validation loss turns up while validation accuracy goes on rising."""
    _, h = logistic_curves(*_classification(), steps=3000, every=5)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1))
    for ax, train, val, name in (
        (axes[0], h[:, 1], h[:, 2], "cross-entropy loss"),
        (axes[1], h[:, 3], h[:, 4], "accuracy"),
    ):
        ax.plot(h[:, 0], train, "--", label="training")
        ax.plot(h[:, 0], val, label="validation")
        ax.axvline(h[h[:, 2].argmin(), 0], color="#555555", linestyle=":", linewidth=1.2)
        ax.set_xscale("log")
        ax.set_xlabel("gradient steps")
        ax.set_ylabel(name)
    axes[0].set_ylim(0, 0.6)
    axes[1].set_ylim(0.7, 1.01)
    axes[1].legend(loc="lower right")
    return fig


def _least_squares_risks(seed=0, n=20, p=5, trials=2000, sigma=0.7):
    """Training error and true risk of least squares; the true weights have 8 entries."""
    rng = np.random.default_rng(seed)
    theta = np.linspace(1, 0.3, 8)
    best = sigma**2 + np.sum(theta[p:] ** 2)  # smallest risk in the class
    train, risk, fixed = [], [], []
    for _ in range(trials):
        x = rng.standard_normal((n, 8))
        y = x @ theta + sigma * rng.standard_normal(n)
        w = np.linalg.lstsq(x[:, :p], y, rcond=None)[0]
        train.append(np.mean((x[:, :p] @ w - y) ** 2))
        risk.append(best + np.sum((w - theta[:p]) ** 2))
        fixed.append(np.mean((x[:, :p] @ theta[:p] - y) ** 2))
    return np.mean(train), np.mean(risk), np.mean(fixed), best


def check_of_gap():
    """Equation (of-gap): zero on average for a fixed model, positive for a fitted one."""
    train, risk, fixed, best = _least_squares_risks()
    assert abs(fixed - best) < 0.03  # a model chosen before seeing the data: no gap
    assert abs(risk - train - 0.6) < 0.04


def check_of_erm():
    """Equation (of-erm): E[training error] <= best risk in the class <= E[risk]."""
    for p in (2, 5, 8):
        train, risk, _, best = _least_squares_risks(p=p)
        assert train + 0.05 < best < risk - 0.05
    train, risk, *_ = _least_squares_risks(n=20, p=8)
    more_train, more_risk, *_ = _least_squares_risks(n=200, p=8, trials=300)
    assert risk - train > 10 * (more_risk - more_train)  # the gap closes with data


def check_of_linear_gap():
    """Equation (of-linear-gap): fixed inputs, sampled noise; exact via the hat matrix."""
    rng = np.random.default_rng(0)
    n, p, sigma = 30, 6, 0.5
    x = rng.standard_normal((n, p))
    theta = rng.standard_normal(p)
    hat = x @ np.linalg.pinv(x)
    e, fresh = sigma * rng.standard_normal((2, 20_000, n))
    prediction = (x @ theta + e) @ hat.T
    train = np.mean((prediction - x @ theta - e) ** 2)
    new = np.mean((prediction - x @ theta - fresh) ** 2)
    assert abs(train - sigma**2 * (1 - p / n)) < 3e-3
    assert abs(new - sigma**2 * (1 + p / n)) < 3e-3
    assert np.isclose(np.trace(hat), p)


def check_of_decomposition():
    """Equation (of-decomposition): the three cases of the table add up."""
    for bayes, train, val, parts in (
        (2, 3, 11, (2, 1, 8)),
        (2, 10, 11, (2, 8, 1)),
        (2, 3, 4, (2, 1, 1)),
    ):
        assert (bayes, train - bayes, val - train) == parts and sum(parts) == val


def check_of_scale():
    """Equation (of-scale): derivative, convexity, limit, accuracy does not move."""
    rng = np.random.default_rng(0)
    m = rng.normal(0.8, 1.0, 500)
    loss = lambda a: np.logaddexp(0, -a * m).mean()
    slope = lambda a: -np.mean(m / (1 + np.exp(a * m)))
    for a in (0.3, 1.0, 3.0):
        assert np.isclose((loss(a + 1e-5) - loss(a - 1e-5)) / 2e-5, slope(a), atol=1e-8)
        assert slope(a + 0.1) > slope(a)
    limit = np.mean(np.maximum(-m, 0))
    assert np.isclose(loss(1e4) / 1e4, limit, rtol=1e-3) and slope(0) < 0 < slope(50)
    assert np.mean(50 * m > 0) == np.mean(m > 0)


def check_of_standard_error():
    """Equation (of-standard-error): spread of a measured accuracy, and the example."""
    rng = np.random.default_rng(0)
    measured = rng.binomial(1000, 0.9, 20_000) / 1000
    assert np.isclose(measured.std(), np.sqrt(0.9 * 0.1 / 1000), rtol=0.02)
    assert round(np.sqrt(0.9 * 0.1 / 1000), 4) == 0.0095


def check_fits():
    """The numbers below the three fits of the figure, and their order."""
    rule, x, y, x_new, y_new = _polynomial_data()
    train, new = np.array(
        [
            (np.mean((p(x) - y) ** 2), np.mean((p(x_new) - y_new) ** 2))
            for p in (_fit(k, x, y) for k in (1, 4, 15))
        ]
    ).T
    assert train[0] > train[1] > train[2] and new[1] < new[0] < new[2]


def check_no_noise_needed():
    """Zero label noise, zero training error, large test error (Runge's function)."""
    runge = lambda t: 1 / (1 + 25 * t**2)
    grid = np.linspace(-1, 1, 2001)
    error = []
    for points in (6, 16):
        x = np.linspace(-1, 1, points)
        p = _fit(points - 1, x, runge(x))
        assert np.max(np.abs(p(x) - runge(x))) < 1e-9
        error.append(np.mean((p(grid) - runge(grid)) ** 2))
    assert error[0] < 0.06 and error[1] > 0.14
    p = _fit(15, np.linspace(-1, 1, 16), runge(np.linspace(-1, 1, 16)))
    assert np.max(np.abs(p(grid) - runge(grid))) > 2  # the function itself is at most 1


def check_random_labels():
    """One network fits random labels as well as real ones; only the latter generalize."""
    torch.manual_seed(0)
    x, y, x_val, y_val = map(torch.from_numpy, _classification(n=100, d=30))
    coin = torch.randint(0, 2, (100,)).double() * 2 - 1
    found = {}
    for name, labels in (("real", y), ("random", coin)):
        torch.manual_seed(1)
        net = torch.nn.Sequential(
            torch.nn.Linear(30, 200), torch.nn.ReLU(), torch.nn.Linear(200, 1)
        ).double()
        h = curves(net, x, labels, x_val, y_val, rate=0.5, steps=600, every=600)
        found[name] = h[-1]
    assert found["real"][3] == found["random"][3] == 1.0
    assert found["real"][4] > 0.8 and abs(found["random"][4] - 0.5) < 0.1


def check_loss_up_accuracy_up():
    """The second figure: loss 0.36 at best, 0.59 at the end; accuracy 83.9, then 85.5 %."""
    _, h = logistic_curves(*_classification(), steps=3000, every=5)
    best = h[:, 2].argmin()
    assert h[best, 0] == 60 and abs(h[best, 2] - 0.362) < 0.001
    assert abs(h[-1, 2] - 0.589) < 0.001
    assert h[best, 3] == h[-1, 3] == 1.0
    assert abs(h[best, 4] - 0.8385) < 5e-4 and abs(h[-1, 4] - 0.85525) < 5e-4


def check_numpy_vs_torch():
    """Both tabs: weights and curves agree to 1e-10 in float64."""
    data = _classification()
    w, h = logistic_curves(*data)
    model = torch.nn.Linear(60, 1, bias=False).double()
    torch.nn.init.zeros_(model.weight)
    h2 = curves(model, *map(torch.from_numpy, data))
    assert np.allclose(h, np.array(h2), atol=1e-10)
    assert np.allclose(w, model.weight.detach().numpy()[0], atol=1e-10)


def check_worked_example():
    """Five validation margins before and after further training."""
    loss = lambda m: np.logaddexp(0, -np.asarray(m))
    before, after = [2, 1, 1, -0.1, -0.5], [8, 4, 4, 0.4, -2]
    assert np.allclose(loss(before), [0.127, 0.313, 0.313, 0.744, 0.974], atol=5e-4)
    assert np.allclose(loss(after), [0.000, 0.018, 0.018, 0.513, 2.127], atol=5e-4)
    assert round(loss(before).mean(), 3) == 0.494 and round(loss(after).mean(), 3) == 0.535
    assert np.mean(np.array(before) > 0) == 0.6 and np.mean(np.array(after) > 0) == 0.8


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
