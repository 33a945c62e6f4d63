"""Twin of the page on early stopping: checks its filters, bounds, biases and numbers."""

import copy

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def train_with_early_stopping(
    x, y, x_val, y_val, rate=0.05, patience=10, min_delta=0.0, max_steps=5000
):
    """Least squares by gradient descent from zero, stopped by the validation error.

    x: (n, d); y: (n,). Stops after `patience` evaluations in a row that do not lower the
    best error by more than min_delta. Returns the best weights (not the last ones), the
    step they come from and the last step made.
    """
    w = np.zeros(x.shape[1])
    best, best_w, best_step = np.mean((x_val @ w - y_val) ** 2), w.copy(), 0
    for step in range(1, max_steps + 1):
        w = w - rate * x.T @ (x @ w - y) / len(y)
        error = np.mean((x_val @ w - y_val) ** 2)
        if error < best - min_delta:
            best, best_w, best_step = error, w.copy(), step
        elif step - best_step >= patience:
            break
    return best_w, best_step, step


# --8<-- [end:numpy]


# --8<-- [start:torch]
class EarlyStopping:
    """Keeps the best state of a model; `update` says when to stop."""

    def __init__(self, patience: int = 10, min_delta: float = 0.0):
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_step, self.state = float("inf"), -1, None

    def update(self, model: torch.nn.Module, error: float, step: int) -> bool:
        """Record one evaluation; a NaN counts as no improvement."""
        if error < self.best - self.min_delta:
            self.best, self.best_step = error, step
            self.state = copy.deepcopy(model.state_dict())  # a copy, not references
        return step - self.best_step >= self.patience


def train(model, x, y, x_val, y_val, rate=0.05, patience=10, max_steps=5000):
    """Full-batch training; returns the step of the restored weights and the last step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    stopper = EarlyStopping(patience)
    for step in range(max_steps + 1):
        model.eval()
        with torch.no_grad():
            error = torch.mean((model(x_val).squeeze(1) - y_val) ** 2).item()
        if stopper.update(model, error, step) or step == max_steps:
            break
        model.train()
        loss = 0.5 * torch.mean((model(x).squeeze(1) - y) ** 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.load_state_dict(stopper.state)
    return stopper.best_step, step


# --8<-- [end:torch]


def _regression(seed=0, n=40, d=30, sigma=1.0, n_val=40):
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(d) / np.sqrt(d) * 1.5
    scale = np.linspace(1.6, 0.3, d)
    x, x_val = (rng.standard_normal((k, d)) * scale for k in (n, n_val))
    y = x @ theta + sigma * rng.standard_normal(n)
    return x, y, x_val, x_val @ theta + sigma * rng.standard_normal(n_val)


def stop(curve, patience):
    """Best and last epoch (counted from 1) for a list of validation losses."""
    best = 0
    for epoch, value in enumerate(curve):
        if value < curve[best]:
            best = epoch
        elif epoch - best >= patience:
            break
    return best + 1, epoch + 1


def _network_curves(seed=7, n=40, width=60, rate=0.02, rounds=120, sigma=0.5):
    """Errors of a one-layer tanh network trained by SGD, evaluated every 10 steps."""
    rng = np.random.default_rng(seed)
    x, x_val = rng.uniform(-1, 1, (n, 6)), rng.uniform(-1, 1, (80, 6))
    rule = lambda x: np.sin(3 * x[:, 0]) + 2 * x[:, 1] * x[:, 2]
    y = rule(x) + sigma * rng.standard_normal(n)
    y_val = rule(x_val) + sigma * rng.standard_normal(80)
    w1, b1 = rng.standard_normal((width, 6)) * 0.8, rng.uniform(-1, 1, width)
    w2 = np.zeros(width)
    train_error, val_error = [], []
    for step in range(10 * rounds):
        batch = rng.choice(n, 8, replace=False)
        a = np.tanh(x[batch] @ w1.T + b1)
        e = (a @ w2 - y[batch]) / 8
        back = np.outer(e, w2) * (1 - a**2)
        w1, b1 = w1 - rate * back.T @ x[batch], b1 - rate * back.sum(axis=0)
        w2 = w2 - rate * a.T @ e
        if step % 10 == 9:
            train_error.append(np.mean((np.tanh(x @ w1.T + b1) @ w2 - y) ** 2))
            val_error.append(np.mean((np.tanh(x_val @ w1.T + b1) @ w2 - y_val) ** 2))
    return np.arange(1, rounds + 1) * 10, train_error, val_error


def figure_curves():
    """Training and validation error of a small network; minimum and stopping point."""
    steps, train_error, val_error = _network_curves()
    fig, ax = plt.subplots(figsize=(6.4, 3.3))
    ax.plot(steps, train_error, "--", label="training error")
    ax.plot(steps, val_error, label="validation error")
    for patience, marker, color in ((2, "s", "C2"), (30, "D", "C3")):
        best, last = stop(val_error, patience)
        for epoch, fill, word in ((best, color, "restored"), (last, "none", "stopped")):
            ax.plot(
                steps[epoch - 1],
                val_error[epoch - 1],
                marker,
                color=color,
                markerfacecolor=fill,
                markersize=8,
                linestyle="none",
                label=f"patience {patience}: {word}",
            )
    ax.set_xlabel("gradient steps (evaluated every 10)")
    ax.set_ylabel("mean squared error")
    ax.set_ylim(bottom=0)
    fig.legend(ncols=3, fontsize=9, loc="outside upper center")
    return fig


def figure_filters():
    """How much of each direction is learned: gradient flow against ridge."""
    x = np.geomspace(1e-2, 1e2, 300)
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    ax.plot(x, -np.expm1(-x), label="early stopping (gradient flow)")
    ax.plot(x, x / (1 + x), "--", label="L2 penalty, strength 1/time")
    ax.set_xscale("log")
    ax.set_xlabel("curvature times training time")
    ax.set_ylabel("fraction of the minimum reached")
    ax.legend(loc="upper left")
    return fig


def check_es_filter():
    """Equation (es-filter): gradient descent from zero, direction by direction."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    h, star = np.array([3.0, 1.0, 0.5, 0.1, 0.0]), rng.standard_normal(5)
    hessian, theta, rate = q @ np.diag(h) @ q.T, np.zeros(5), 0.3
    for _ in range(37):
        theta = theta - rate * hessian @ (theta - star)
    assert np.allclose(q.T @ theta, (1 - (1 - rate * h) ** 37) * (q.T @ star), atol=1e-12)


def check_es_penalty():
    """Equation (es-penalty): the exact match, its limit, and that it falls with h."""
    rate = 0.01
    for tau in (1, 5, 50):
        h = np.array([0.01, 0.1, 1.0, 5.0])
        c = (1 - rate * h) ** tau
        lam = h * c / (1 - c)
        assert np.allclose(h / (h + lam), 1 - c, atol=1e-12)
        assert np.all(np.diff(lam) < 0)
    h = 1e-4
    c = (1 - rate * h) ** 50
    assert np.isclose(h * c / (1 - c), 1 / (rate * 50), rtol=1e-4)


def check_es_flow_ridge():
    """Equation (es-flow-ridge): both inequalities, the constant, and a risk along the path."""
    x = np.geomspace(1e-4, 50, 200_000)
    assert np.all(np.exp(-x) <= 1 / (1 + x))
    ratio = (-np.expm1(-x) * (1 + x) / x) ** 2
    assert round(ratio.max(), 3) == 1.686 and 1.7 < x[ratio.argmax()] < 1.9
    rng = np.random.default_rng(0)
    h, theta2, noise = rng.uniform(0.01, 3, 20), rng.uniform(0, 1, 20), 0.2
    for t in np.geomspace(0.01, 1000, 60):
        flow = theta2 * np.exp(-2 * t * h) + noise / h * (1 - np.exp(-t * h)) ** 2
        ridge = (theta2 + noise * t**2 * h) / (1 + t * h) ** 2
        assert flow.sum() <= 1.686 * ridge.sum()
    lam, s = 0.7, h / (h + 0.7)  # the ridge risk written with lambda = 1/t
    direct = theta2 * (1 - s) ** 2 + noise / h * s**2
    assert np.allclose(direct, (theta2 + noise * h / lam**2) / (1 + h / lam) ** 2)


def check_es_risk():
    """Equation (es-risk): sampled noise against the formula."""
    rng = np.random.default_rng(0)
    n, d, sigma, t = 30, 4, 0.8, 0.9
    x = rng.standard_normal((n, d)) * np.array([2, 1, 0.5, 0.2])
    h, v = np.linalg.eigh(x.T @ x / n)
    theta = rng.standard_normal(d)
    y = x @ theta + sigma * rng.standard_normal((40_000, n))
    minimum = y @ np.linalg.pinv(x).T
    stopped = (minimum @ v * (1 - np.exp(-t * h))) @ v.T
    sampled = np.mean(np.sum((stopped - theta) ** 2, axis=1))
    formula = np.sum(
        (v.T @ theta) ** 2 * np.exp(-2 * t * h) + sigma**2 / (n * h) * (1 - np.exp(-t * h)) ** 2
    )
    assert np.isclose(sampled, formula, rtol=0.01)


def check_es_optimal_time():
    """Equation (es-optimal-time): the minimum over t, by search."""
    for h, theta2, noise in ((1.0, 1.0, 0.1), (0.2, 0.5, 0.3), (3.0, 0.01, 0.5)):
        t = np.linspace(0, 40, 400_001)
        risk = theta2 * np.exp(-2 * t * h) + noise / h * (1 - np.exp(-t * h)) ** 2
        assert abs(t[risk.argmin()] - np.log1p(h * theta2 / noise) / h) < 2e-4


def check_es_generalization_loss():
    """Equation (es-generalization-loss): the worked example's last epoch."""
    curve = np.array([0.90, 0.70, 0.60, 0.62, 0.58, 0.61, 0.59, 0.60, 0.63])
    gl = 100 * (curve / np.minimum.accumulate(curve) - 1)
    assert round(gl[-1], 1) == 8.6 and gl[4] == 0 and round(gl[3], 1) == 3.3


def check_es_selection():
    """Equation (es-selection): the minimum of noisy estimates is too low."""
    rng = np.random.default_rng(0)
    truth = np.array([0.52, 0.50, 0.50, 0.51, 0.53])
    noisy = truth + 0.02 * rng.standard_normal((100_000, 5))
    reported, real = noisy.min(axis=1), truth[noisy.argmin(axis=1)]
    assert reported.mean() < truth.min() - 0.01 < truth.min() <= real.mean()


def check_state_dict_is_not_a_copy():
    """Saving model.state_dict() without a copy saves the weights of the last step."""
    model = torch.nn.Linear(2, 1)
    kept, copied = model.state_dict(), copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model.weight += 1
    assert torch.equal(kept["weight"], model.weight)
    assert not torch.equal(copied["weight"], model.weight)


def check_stopping_helps():
    """On the twin's regression the stopped weights predict new data better than the end."""
    gains = []
    for seed in range(20):
        x, y, x_val, y_val = _regression(seed)
        w, best_step, last = train_with_early_stopping(x, y, x_val, y_val, patience=50)
        assert last <= best_step + 50
        end = np.linalg.lstsq(x, y, rcond=None)[0]
        theta = np.random.default_rng(seed).standard_normal(30) / np.sqrt(30) * 1.5
        scale = np.linspace(1.6, 0.3, 30)
        gains.append(np.sum(((end - theta) * scale) ** 2) > np.sum(((w - theta) * scale) ** 2))
    assert np.mean(gains) >= 0.95


def check_numpy_vs_torch():
    """Both tabs stop at the same step and restore the same weights to 1e-10."""
    for patience in (1, 10):
        x, y, x_val, y_val = _regression(1)
        w, best_step, last = train_with_early_stopping(x, y, x_val, y_val, patience=patience)
        model = torch.nn.Linear(30, 1, bias=False).double()
        torch.nn.init.zeros_(model.weight)
        found = train(model, *map(torch.from_numpy, (x, y, x_val, y_val)), patience=patience)
        assert found == (best_step, last) and last == best_step + patience
        assert np.allclose(model.weight.detach().numpy()[0], w, atol=1e-10)


def check_figure_patience():
    """Patience 2 restores step 40 with error 0.82, patience 30 step 520 with 0.61."""
    steps, _, val_error = _network_curves()
    (best2, last2), (best30, last30) = stop(val_error, 2), stop(val_error, 30)
    assert [steps[k - 1] for k in (best2, last2, best30, last30)] == [40, 60, 520, 820]
    assert abs(val_error[best2 - 1] - 0.817) < 5e-3
    assert abs(val_error[best30 - 1] - 0.610) < 5e-3


def check_worked_example():
    """Nine validation losses, three patiences; and two directions of a quadratic."""
    curve = [0.90, 0.70, 0.60, 0.62, 0.58, 0.61, 0.59, 0.60, 0.63]
    assert stop(curve, 1) == (3, 4) and stop(curve, 2) == (5, 7)
    assert stop(curve, 3) == (5, 8)
    rate, tau = 0.1, 20
    reached = 1 - (1 - rate * np.array([1.0, 0.05])) ** tau
    assert np.allclose(reached, [0.878, 0.095], atol=5e-4)
    lam = 1 / (rate * tau)
    ridge = np.array([1.0, 0.05]) / (np.array([1.0, 0.05]) + lam)
    assert lam == 0.5 and np.allclose(ridge, [0.667, 0.091], atol=5e-4)
    exact = np.array([1.0, 0.05]) * (1 - reached) / reached
    assert np.allclose(exact, [0.138, 0.474], atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
