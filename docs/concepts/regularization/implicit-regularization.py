"""Twin of the page on implicit regularization: which of many perfect fits training finds."""

import functools

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def fit_plain(X, y, rate, steps):
    """Gradient descent from zero on 0.5 * ||X theta - y||^2."""
    theta = np.zeros(X.shape[1])
    for _ in range(steps):
        theta -= rate * X.T @ (X @ theta - y)
    return theta


def fit_factored(X, y, scale, rate, steps):
    """Same predictions and loss; theta = u * u - v * v, u = v = scale at the start."""
    u = np.full(X.shape[1], scale)
    v = u.copy()
    for _ in range(steps):
        g = X.T @ (X @ (u * u - v * v) - y)
        u, v = u - 2 * rate * u * g, v + 2 * rate * v * g
    return u * u - v * v
# --8<-- [end:numpy]


# --8<-- [start:torch]
class Factored(torch.nn.Module):
    """A linear model x @ theta whose weights are parametrized as u * u - v * v."""

    def __init__(self, d, scale):
        super().__init__()
        self.u = torch.nn.Parameter(torch.full((d,), scale, dtype=torch.float64))
        self.v = torch.nn.Parameter(torch.full((d,), scale, dtype=torch.float64))

    def forward(self, X):
        return X @ (self.u**2 - self.v**2)


def torch_fit(model, X, y, rate, steps):
    """Full-batch gradient descent with autograd."""
    opt = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(steps):
        loss = 0.5 * ((model(X) - y) ** 2).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
    return model
# --8<-- [end:torch]

SCALES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)


@functools.cache
def sparse_problem():
    """25 equations, 60 unknowns, 4 of them nonzero."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(25, 60)) / 5
    truth = np.zeros(60)
    truth[[5, 17, 30, 48]] = 2.0, -1.5, 1.0, 2.5
    return X, X @ truth, truth


@functools.cache
def solutions():
    """Gradient descent on the factored model for each scale: theta (scales, 60)."""
    X, y, _ = sparse_problem()
    scale = np.array(SCALES)[:, None]
    u = scale * np.ones(60)
    v = u.copy()
    rate = 0.01 / np.maximum(1, scale**2)
    for _ in range(12000):
        g = ((u * u - v * v) @ X.T - y) @ X
        u, v = u - 2 * rate * u * g, v + 2 * rate * v * g
    return u * u - v * v


@functools.cache
def memorization(steps=120, d=20, n=300):
    """A network on clean and on partly random labels; curves over the steps."""
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(d, 3))
    label = lambda x: ((x @ teacher)[:, 0] + 0.5 * np.abs((x @ teacher)[:, 1]) > 0.9).astype(float)
    x, xt = rng.normal(size=(n, d)), rng.normal(size=(1000, d))
    true, test = label(x), label(xt)
    wrong = np.zeros(n, bool)
    wrong[rng.permutation(n)[:60]] = True
    sets = {"true": true, "20% flipped": np.where(wrong, 1 - true, true), "random": rng.integers(0, 2, size=n).astype(float)}
    out = {}
    for name, y in sets.items():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(d, 160), torch.nn.ReLU(), torch.nn.Linear(160, 1))
        opt = torch.optim.Adam(net.parameters(), lr=0.004)
        tx, ty, tt = (torch.tensor(a, dtype=torch.float32) for a in (x, y, xt))
        rows = []
        for _ in range(steps):
            z = net(tx)[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(z, ty)
            opt.zero_grad()
            loss.backward()
            opt.step()
            with torch.no_grad():
                hit = (z.numpy() > 0) == y
                acc = np.mean((net(tt)[:, 0].numpy() > 0) == test)
            rows.append((loss.item(), hit.mean(), hit[wrong].mean(), hit[~wrong].mean(), acc))
        out[name] = np.array(rows)
    return out


def margin_path(log_time, ds=0.005):
    """Gradient flow of the summed logistic-type loss on z with log-time steps; w at the end."""
    Z = np.array([[1.0, 3.0], [4.0, -3.0], [4.0, 4.0]])
    w, s = np.zeros(2), -4.0
    while s < log_time - 1e-9:
        w = w + ds * np.exp(s) * Z.T @ (1 / (1 + np.exp(Z @ w)))
        s += ds
    return w


def wide_net(m, d, seed):
    """f(x) = a . tanh(W x) / sqrt(m), all entries standard normal."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, d)), rng.normal(size=m)


def net_out(W, a, x):
    """Outputs (n,) for x (n, d)."""
    return np.tanh(x @ W.T) @ a / np.sqrt(len(a))


def net_grad(W, a, x):
    """Gradient of every output in all parameters, (n, m * d + m)."""
    h = np.tanh(x @ W.T)
    gW = ((1 - h**2) * a)[:, :, None] * x[:, None, :]
    return np.concatenate([gW.reshape(len(x), -1), h], 1) / np.sqrt(len(a))


def train_wide(m, rate=0.1, steps=60, seed=0):
    """Gradient descent on 0.5 * squared error; outputs over time and the NTK prediction."""
    rng = np.random.default_rng(1)
    x, y, new = rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=(4, 3))
    W, a = wide_net(m, 3, seed)
    W0, a0 = W.copy(), a.copy()
    g, gn = net_grad(W, a, x), net_grad(W, a, new)
    K, k, f0, n0 = g @ g.T, gn @ g.T, net_out(W, a, x), net_out(W, a, new)
    decay = np.linalg.matrix_power(np.eye(5) - rate * K, steps)
    predicted = y + decay @ (f0 - y)
    new_predicted = n0 - k @ np.linalg.solve(K, (np.eye(5) - decay) @ (f0 - y))
    for _ in range(steps):
        r = net_out(W, a, x) - y
        step = net_grad(W, a, x).T @ r
        W = W - rate * step[: m * 3].reshape(m, 3)
        a = a - rate * step[m * 3:]
    moved = np.sqrt(np.sum((W - W0) ** 2) + np.sum((a - a0) ** 2)) / np.sqrt(np.sum(W0**2) + np.sum(a0**2))
    return net_out(W, a, x), predicted, net_out(W, a, new), new_predicted, moved


def figure_scale():
    """Error of the factored model over the initial scale; two solutions."""
    X, y, truth = sparse_problem()
    theta = solutions()
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.1))
    left.plot(SCALES, np.linalg.norm(theta - truth, axis=1), "o-", label="factored model")
    left.axhline(np.linalg.norm(np.linalg.pinv(X) @ y - truth), ls="--", color="C1", label="smallest L2 norm")
    left.set(xscale="log", xlabel="initial scale", ylabel="distance from the truth", ylim=(-0.1, None))
    left.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    right.plot(theta[-1], "s", ms=4, color="C1", label="scale 3")
    right.plot(theta[0], "o", ms=5, color="C0", label="scale 0.0003")
    right.plot(np.flatnonzero(truth), truth[truth != 0], "+", ms=13, mew=1.6, color="#222222", label="nonzero true weights")
    right.set(xlabel="weight number", ylabel="fitted weight")
    right.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return fig


def figure_memorization():
    """Training loss for three kinds of labels; accuracies with flipped labels."""
    out = memorization()
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2))
    for (name, rows), style in zip(out.items(), ("-", "--", "-.")):
        left.plot(rows[:, 0], style, label=f"{name} labels" if name != "20% flipped" else "20% flipped")
    left.set(xlabel="step", ylabel="training loss", ylim=(0, None))
    left.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    rows = out["20% flipped"]
    right.plot(rows[:, 3], "-", label="fitted: correct labels")
    right.plot(rows[:, 2], "--", label="fitted: flipped labels")
    right.plot(rows[:, 4], "-.", label="test accuracy")
    right.set(xlabel="step", ylabel="accuracy", ylim=(0, 1.03))
    right.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return fig


def check_ir_nearest():
    """Equation (ir-nearest): the limit is the interpolator nearest to the start."""
    rng = np.random.default_rng(3)
    X, y, start = rng.normal(size=(4, 9)), rng.normal(size=4), rng.normal(size=9)
    theta = start.copy()
    for _ in range(20000):
        theta -= 0.02 * X.T @ (X @ theta - y)
    proj = start + np.linalg.pinv(X) @ (y - X @ start)
    assert np.allclose(theta, proj) and np.allclose(X @ theta, y)
    null = np.eye(9) - np.linalg.pinv(X) @ X
    for _ in range(50):  # every other interpolator is farther away
        other = theta + null @ rng.normal(size=9)
        assert np.linalg.norm(other - start) > np.linalg.norm(theta - start)
    assert np.allclose(fit_plain(X, y, 0.02, 20000), np.linalg.pinv(X) @ y)


def check_ir_factored():
    """Equation (ir-factored): arcsinh(theta / 2 scale^2) is a combination of the inputs."""
    X, y, _ = sparse_problem()
    P = np.linalg.pinv(X) @ X
    for scale, theta in zip(SCALES, solutions()):
        assert np.abs(X @ theta - y).max() < 1e-2
        if scale <= 0.01:
            continue  # the discrete steps blur the identity for tiny scales
        z = np.arcsinh(theta / (2 * scale**2))
        assert np.linalg.norm(z - P @ z) < 0.03 * np.linalg.norm(z), scale
    # sharper with small steps
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(2, 5)), rng.normal(size=2)
    z = np.arcsinh(fit_factored(A, b, 0.1, 0.0005, 40000) / 0.02)
    Q = np.linalg.pinv(A) @ A
    assert np.linalg.norm(z - Q @ z) < 2e-3 * np.linalg.norm(z)


def check_ir_potential():
    """Equation (ir-potential): minimizer of the potential; L1 and L2 limits."""
    rng = np.random.default_rng(1)
    A, b, s = rng.normal(size=(2, 5)), rng.normal(size=2), 0.3
    theta = fit_factored(A, b, s, 0.0005, 40000)
    q = lambda t, s: np.sum(t * np.arcsinh(t / (2 * s**2)) - np.sqrt(t**2 + 4 * s**4) + 2 * s**2, -1)
    null = np.eye(5) - np.linalg.pinv(A) @ A
    for _ in range(200):
        assert q(theta, s) <= q(theta + 0.1 * null @ rng.normal(size=5), s) + 1e-6
    t = rng.normal(size=5)
    assert abs(q(t, 100.0) * 4 * 100.0**2 / (t @ t) - 1) < 1e-3  # ||t||^2 / (4 s^2)
    s = 1e-60
    assert abs(q(t, s) / (2 * np.log(1 / s) * np.abs(t).sum()) - 1) < 0.02
    X, y, truth = sparse_problem()
    theta = solutions()
    l2 = np.linalg.pinv(X) @ y
    assert np.linalg.norm(theta[-1] - l2) < 0.02 * np.linalg.norm(l2)
    assert np.linalg.norm(theta[0] - truth) < 0.1 and np.linalg.norm(l2 - truth) > 2
    assert np.abs(theta[0]).sum() < 0.75 * np.abs(l2).sum()


def check_ir_max_margin():
    """Equation (ir-max-margin): direction and growth of the weights."""
    best = np.array([0.4, 0.2])
    Z = np.array([[1.0, 3.0], [4.0, -3.0], [4.0, 4.0]])
    assert np.allclose(Z @ best, [1, 1, 2.4]) and np.allclose((2 * Z[0] + Z[1]) / 15, best)
    angle = np.linspace(0, 2 * np.pi, 100001)  # no direction has a larger margin
    margins = (Z @ np.stack([np.cos(angle), np.sin(angle)])).min(0)
    assert abs(margins.max() - 5**0.5) < 1e-3
    gap = []
    for s in (5.0, 10.0, 20.0):
        w = margin_path(s)
        gap.append(np.linalg.norm(w / np.linalg.norm(w) - best / np.linalg.norm(best)))
    assert gap[0] > gap[1] > gap[2] and gap[2] < 0.02
    assert np.abs((margin_path(20.0) - margin_path(10.0)) / 10 - best).max() < 1e-3


def check_ir_gradient_penalty():
    """Equation (ir-gradient-penalty): local error of order 3 instead of 2."""
    z = np.array([[1.0, 0.5], [-0.3, 2.0], [1.5, -1.0]])
    y, w0 = np.array([0.2, -0.4, 0.9]), np.array([0.7, -0.3])

    def grad(w):
        t = np.tanh(z @ w)
        return z.T @ ((t - y) * (1 - t**2))

    def hess(w):
        t = np.tanh(z @ w)
        return z.T @ (((1 - t**2) ** 2 - 2 * t * (1 - t**2) * (t - y))[:, None] * z)

    def flow(field, time, n=200):
        w, h = w0.copy(), time / n
        for _ in range(n):
            a = field(w); b = field(w + h / 2 * a); c = field(w + h / 2 * b); d = field(w + h * c)
            w = w + h / 6 * (a + 2 * b + 2 * c + d)
        return w

    # gradient of J + rate/4 ||grad J||^2 is (I + rate/2 H) grad J
    num = [(grad(w0 + 1e-6 * e) @ grad(w0 + 1e-6 * e) - grad(w0 - 1e-6 * e) @ grad(w0 - 1e-6 * e)) / 2e-6 for e in np.eye(2)]
    assert np.allclose(num, 2 * hess(w0) @ grad(w0), atol=1e-6)
    plain, modified = [], []
    for rate in (0.04, 0.02):
        step = w0 - rate * grad(w0)
        plain.append(np.linalg.norm(step - flow(lambda w: -grad(w), rate)))
        modified.append(np.linalg.norm(step - flow(lambda w: -grad(w) - rate / 2 * hess(w) @ grad(w), rate)))
    assert 3.5 < plain[0] / plain[1] < 4.5 and 6.8 < modified[0] / modified[1] < 9.2


def check_ir_ntk():
    """Equation (ir-ntk): the kernel against finite differences of the outputs."""
    rng = np.random.default_rng(4)
    W, a = wide_net(7, 3, 5)
    x = rng.normal(size=(4, 3))
    g = net_grad(W, a, x)
    theta = np.concatenate([W.ravel(), a])
    out = lambda t: net_out(t[:21].reshape(7, 3), t[21:], x)
    num = np.stack([(out(theta + 1e-6 * e) - out(theta - 1e-6 * e)) / 2e-6 for e in np.eye(28)], 1)
    assert np.allclose(g @ g.T, num @ num.T, atol=1e-7)


def check_ir_ntk_dynamics():
    """Equation (ir-ntk-dynamics): exact for the linearization, better with width for networks."""
    errors, moved = [], []
    for m in (100, 10000):
        f, pred, new, new_pred, move = train_wide(m)
        errors.append(np.abs(new - new_pred).max())
        moved.append(move)
    assert errors[1] < 0.001 < 0.17 < errors[0] < 0.18 and np.abs(f - pred).max() < 0.01
    assert abs(moved[0] - 0.10) < 0.005 and abs(moved[1] - 0.006) < 0.001
    rng = np.random.default_rng(6)  # gradient flow of a linear model: the matrix exponential
    G, y, f0 = rng.normal(size=(3, 8)), rng.normal(size=3), rng.normal(size=3)
    vals, vecs = np.linalg.eigh(G @ G.T)
    delta = np.zeros(8)
    for _ in range(20000):
        delta -= 1e-5 * G.T @ (f0 + G @ delta - y)
    assert np.abs(f0 + G @ delta - (y + vecs @ (np.exp(-0.2 * vals) * (vecs.T @ (f0 - y))))).max() < 1e-3


def check_ir_expressivity():
    """Equation (ir-expressivity): 2n + d weights fit any labels."""
    rng = np.random.default_rng(7)
    n, d = 50, 4
    x, y = rng.normal(size=(n, d)), rng.normal(size=n)
    w = rng.normal(size=d)
    t = np.sort(x @ w)
    b = np.concatenate([[t[0] - 1], (t[1:] + t[:-1]) / 2])
    A = np.maximum(x @ w - b[:, None], 0).T[np.argsort(x @ w)]
    assert np.allclose(A, np.tril(A)) and (np.diag(A) > 0).all()
    c = np.linalg.solve(A, y[np.argsort(x @ w)])
    assert np.allclose(np.maximum((x @ w)[:, None] - b, 0) @ c, y, atol=1e-6)
    assert w.size + b.size + c.size == 2 * n + d


def check_memorization():
    """The second figure: all labels are fitted, random ones later; test accuracy peaks early."""
    out = memorization()
    for rows in out.values():
        assert rows[-1, 1] == 1.0
    first = {k: int(np.argmax(v[:, 1] > 0.95)) for k, v in out.items()}
    assert 2 * first["true"] < min(first["20% flipped"], first["random"])
    rows = out["20% flipped"]
    assert rows[:40, 4].max() > 0.8 > 0.7 > rows[-1, 4]
    assert rows[10, 3] > 0.9 and rows[10, 2] < 0.3  # most flipped labels are still overruled
    assert out["true"][-1, 4] > 0.9


def check_numpy_torch():
    """Both versions of the factored model agree to 1e-10."""
    X, y, _ = sparse_problem()
    theta = fit_factored(X, y, 0.1, 0.01, 800)
    m = torch_fit(Factored(60, 0.1), torch.tensor(X), torch.tensor(y), 0.01, 800)
    assert np.abs(theta - (m.u**2 - m.v**2).detach().numpy()).max() < 1e-10


def check_worked_example():
    """The numbers of the page."""
    X, y = np.array([[2.0, 1.0]]), np.array([1.0])
    assert np.allclose(fit_plain(X, y, 0.1, 500), [0.4, 0.2])
    sign = np.zeros(2)
    while X[0] @ sign < 1:
        sign += 1e-4 * np.sign(X[0])
    assert np.allclose(sign, 1 / 3, atol=2e-4)
    for scale, want in ((1.0, [0.4004, 0.1992]), (0.01, [0.4965, 0.0070])):
        lo, hi = 0.0, 50.0
        for _ in range(200):
            c = (lo + hi) / 2
            t = 2 * scale**2 * np.sinh(c * X[0])
            lo, hi = (c, hi) if X[0] @ t < 1 else (lo, c)
        assert np.allclose(t, want, atol=5e-5)
        assert np.allclose(fit_factored(X, y, scale, 0.001, 30000), t, atol=2e-3)
    w = margin_path(np.log(1e6))
    assert np.allclose(w, [6.47, 3.12], atol=5e-3)
    assert np.allclose(w / np.linalg.norm(w), [0.901, 0.434], atol=5e-4)
    assert np.allclose(np.array([0.4, 0.2]) / 0.2**0.5, [0.894, 0.447], atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
