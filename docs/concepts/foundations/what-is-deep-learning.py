"""Twin of the page "What is deep learning": snippets, figures, checks of its equations."""
import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def predict(x, w1, b1, w2):
    """Two layers: features tanh(W1 x + b1), then a linear readout w2.

    x: (n, d) inputs, w1: (m, d), b1: (m,), w2: (m,).
    Returns the predictions (n,) and the features (n, m).
    """
    features = np.tanh(x @ w1.T + b1)
    return features @ w2, features


def train(x, y, w1, b1, w2, lr=0.1, steps=200, learn_features=True):
    """Gradient descent on the mean squared error.

    With learn_features=False the first layer stays as it is: fixed
    features and a linear model, the classical recipe. With True both
    layers are fitted together: the deep-learning recipe.
    Returns the parameters and the cost before each step.
    """
    w1, b1, w2 = w1.copy(), b1.copy(), w2.copy()
    costs = []
    for _ in range(steps):
        y_hat, features = predict(x, w1, b1, w2)
        residual = y_hat - y
        costs.append(np.mean(residual**2))
        g_out = 2 * residual / len(y)                  # dJ/dy_hat, (n,)
        g_w2 = features.T @ g_out
        g_pre = np.outer(g_out, w2) * (1 - features**2)  # through tanh, (n, m)
        if learn_features:
            w1 -= lr * g_pre.T @ x
            b1 -= lr * g_pre.sum(axis=0)
        w2 -= lr * g_w2
    return w1, b1, w2, costs
# --8<-- [end:numpy]


# --8<-- [start:torch]
def train_torch(x, y, w1, b1, w2, lr=0.1, steps=200, learn_features=True):
    """The same in PyTorch: the gradients come from autograd.

    Arguments as above, but tensors; returns tensors and a list of costs.
    """
    first = torch.nn.Linear(w1.shape[1], w1.shape[0], dtype=x.dtype)
    readout = torch.nn.Linear(w1.shape[0], 1, bias=False, dtype=x.dtype)
    with torch.no_grad():
        first.weight.copy_(w1)
        first.bias.copy_(b1)
        readout.weight.copy_(w2[None])
    first.requires_grad_(learn_features)               # frozen or trained
    model = torch.nn.Sequential(first, torch.nn.Tanh(), readout)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=lr)
    costs = []
    for _ in range(steps):
        optimizer.zero_grad()
        cost = torch.nn.functional.mse_loss(model(x)[:, 0], y)
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    return first.weight, first.bias, readout.weight[0], costs
# --8<-- [end:torch]


def rings(n, rng):
    """Two classes on two noisy concentric rings: inputs (n, 2), labels 0 or 1."""
    label = np.arange(n) % 2
    radius = np.where(label == 1, 2.0, 0.9) + 0.13 * rng.normal(size=n)
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), label


def ridge_problem(n, rng, d=10):
    """Inputs (n, d) and a target that depends on one direction of the input only."""
    u = np.ones(d) / np.sqrt(d)
    x = rng.normal(size=(n, d))
    return x, np.sin(2 * x @ u)


def fixed_error(m, seed, n=2000):
    """Test error of ridge regression on m random tanh features that are not trained.

    Generous to them: the penalty is chosen on the test set.
    """
    rng = np.random.default_rng(seed)
    x, y = ridge_problem(n, rng)
    xt, yt = ridge_problem(n, rng)
    w, b = rng.normal(size=(m, x.shape[1])) / np.sqrt(x.shape[1]), rng.normal(size=m)
    f, ft = np.tanh(x @ w.T + b), np.tanh(xt @ w.T + b)
    solve = lambda penalty: np.linalg.solve(f.T @ f + penalty * np.eye(m), f.T @ y)
    return min(np.mean((ft @ solve(10.0**k) - yt) ** 2) for k in range(-3, 4)) / np.var(yt)


def learned_error(m, seed, n=2000, steps=800):
    """Test error of the same network with the features trained too (Adam, all examples)."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    x, y, xt, yt = (torch.tensor(v, dtype=torch.float32) for _ in range(2) for v in ridge_problem(n, rng))
    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], m), torch.nn.Tanh(), torch.nn.Linear(m, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(x)[:, 0], y).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return (torch.mean((net(xt)[:, 0] - yt) ** 2) / yt.var()).item()


def figure_representation():
    """Two rings in the input plane and after the last hidden layer of a trained network."""
    rng = np.random.default_rng(1)
    torch.manual_seed(3)
    x, label = rings(240, rng)
    xt = torch.tensor(x, dtype=torch.float32)
    body = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2), torch.nn.Tanh())
    net = torch.nn.Sequential(body, torch.nn.Linear(2, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(400):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(
            net(xt)[:, 0], torch.tensor(label, dtype=torch.float32)).backward()
        optimizer.step()
    run = lambda f, z: f(torch.tensor(z, dtype=torch.float32)).detach().numpy()
    h = run(body, x)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1))
    lines = np.linspace(-2.6, 2.6, 9)
    t = np.linspace(-2.6, 2.6, 200)
    for ax, points, f in ((axes[0], x, lambda z: z), (axes[1], h, lambda z: run(body, z))):
        for v in lines:
            for a, b in ((t, np.full_like(t, v)), (np.full_like(t, v), t)):
                curve = f(np.stack([a, b], axis=1))
                ax.plot(curve[:, 0], curve[:, 1], color="#999999", lw=0.6)
        for c, marker, color in ((0, "o", "#0061a8"), (1, "^", "#c2410c")):
            ax.plot(*points[label == c].T, marker, color=color, ms=4, label=f"class {c}")
        ax.grid(False)
    g = np.linspace(-2.6, 2.6, 200)
    gx, gy = np.meshgrid(g, g)
    z = run(net, np.stack([gx.ravel(), gy.ravel()], axis=1)).reshape(gx.shape)
    axes[0].contour(gx, gy, z, levels=[0], colors="#222222", linewidths=1.8, linestyles="--")
    axes[0].set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    w, b = net[1].weight.detach().numpy()[0], net[1].bias.item()
    s = np.linspace(-1.1, 1.1, 50)
    edge = -(b + w[0] * s) / w[1] if abs(w[1]) > abs(w[0]) else s
    other = s if abs(w[1]) > abs(w[0]) else -(b + w[1] * s) / w[0]
    axes[1].plot(other, edge, "--", color="#222222", lw=1.8, label="decision boundary")
    axes[1].set(xlabel="last hidden layer, unit 1", ylabel="unit 2", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    handles, names = axes[1].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=3, fontsize=9)
    return fig


def figure_features():
    """Error of fixed and of learned features against their number, on one target in 10 dimensions."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    fixed, learned = [4, 16, 64, 256, 1024], [2, 4, 8, 16, 32, 64]
    seeds = (0, 1, 2)
    for widths, f, style, name in ((fixed, fixed_error, "s--", "fixed random features, ridge regression"),
                                   (learned, learned_error, "o-", "features learned with the readout")):
        runs = np.array([[f(m, s) for s in seeds] for m in widths])
        line, = ax.loglog(widths, np.exp(np.log(runs).mean(axis=1)), style, ms=5, label=name)
        ax.fill_between(widths, runs.min(axis=1), runs.max(axis=1), color=line.get_color(), alpha=0.2, lw=0)
    ax.axhline(1, color="#555555", ls=":", lw=1.3, label="always predict the mean")
    ax.set(xlabel="number of features $m$", ylabel="test error / variance of the target")
    ax.set_xticks([2, 8, 32, 128, 512], ["2", "8", "32", "128", "512"])
    ax.legend(fontsize=9)
    return fig


def kink_cost(w, c):
    """Cost of the worked example: y_hat = w max(0, x - c) on four points."""
    x, y = np.array([0.0, 1, 2, 3]), np.array([0.0, 0, 1, 2])
    return np.mean((w * np.maximum(0, x - c) - y) ** 2)


def best_readout(c):
    """The readout weight that minimizes kink_cost for the feature with kink at c."""
    x, y = np.array([0.0, 1, 2, 3]), np.array([0.0, 0, 1, 2])
    f = np.maximum(0, x - c)
    return f @ y / (f @ f)


def _small_problem(seed=0, n=12, d=3, m=4):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)), rng.normal(size=n), rng.normal(size=(m, d)),
            rng.normal(size=m), rng.normal(size=m))


def _cost(x, y, w1, b1, w2):
    return np.mean((predict(x, w1, b1, w2)[0] - y) ** 2)


def check_deep_learning_composition():
    """Equation (deep-learning-composition): the layer recursion equals PyTorch's nested modules."""
    torch.manual_seed(0)
    sizes = [3, 5, 4, 2]
    layers = [torch.nn.Linear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(sizes)]
    net = torch.nn.Sequential(*[m for lin in layers[:-1] for m in (lin, torch.nn.Tanh())], layers[-1])
    x = np.random.default_rng(0).normal(size=3)
    a = x
    for lin in layers[:-1]:
        a = np.tanh(lin.weight.detach().numpy() @ a + lin.bias.detach().numpy())
    out = layers[-1].weight.detach().numpy() @ a + layers[-1].bias.detach().numpy()
    assert np.allclose(out, net(torch.tensor(x)).detach().numpy(), atol=1e-12)
    assert a.shape == (4,)  # the learned representation, one layer before the output


def check_deep_learning_nested():
    """Equation (deep-learning-nested): joint minimum = minimum over features of the best readout."""
    cs, ws = np.linspace(0, 1.9, 191), np.linspace(0, 2, 401)
    nested = np.array([kink_cost(best_readout(c), c) for c in cs])
    joint = min(kink_cost(w, c) for w, c in itertools.product(ws, cs))
    assert abs(nested.min() - joint) < 1e-6 and abs(joint) < 1e-6
    assert (joint <= nested + 1e-12).all() and nested[0] > 0.1  # strictly better than the features at c = 0
    # and with the network of the page: joint training from the best fixed-feature solution lowers the cost
    x, y, w1, b1, _ = _small_problem()
    features = np.tanh(x @ w1.T + b1)
    w2 = np.linalg.lstsq(features, y, rcond=None)[0]
    fixed = train(x, y, w1, b1, w2, lr=0.05, steps=300, learn_features=False)[3]
    both = train(x, y, w1, b1, w2, lr=0.05, steps=300)[3]
    assert abs(fixed[-1] - fixed[0]) < 1e-12 and both[-1] < 0.8 * both[0]


def check_deep_learning_feature_gradient():
    """Equation (deep-learning-feature-gradient): both gradients against finite differences."""
    x, y, w1, b1, w2 = _small_problem(1)
    y_hat, features = predict(x, w1, b1, w2)
    residual = y_hat - y
    n, eps = len(y), 1e-6
    g_w = 2 / n * sum(r * f for r, f in zip(residual, features))
    for j in range(len(w2)):
        e = eps * np.eye(len(w2))[j]
        assert abs((_cost(x, y, w1, b1, w2 + e) - _cost(x, y, w1, b1, w2 - e)) / (2 * eps) - g_w[j]) < 1e-7
    theta = np.concatenate([w1.ravel(), b1])
    split = lambda t: (t[:w1.size].reshape(w1.shape), t[w1.size:])
    jac = lambda xi: np.stack([(np.tanh(split(theta + eps * e)[0] @ xi + split(theta + eps * e)[1])
                                - np.tanh(split(theta - eps * e)[0] @ xi + split(theta - eps * e)[1])) / (2 * eps)
                               for e in np.eye(theta.size)], axis=1)   # (m, number of feature parameters)
    g_theta = 2 / n * sum(r * jac(xi).T @ w2 for r, xi in zip(residual, x))
    numeric = np.array([(_cost(x, y, *split(theta + eps * e), w2) - _cost(x, y, *split(theta - eps * e), w2))
                        / (2 * eps) for e in np.eye(theta.size)])
    assert np.abs(numeric - g_theta).max() < 1e-6
    assert not np.any(2 / n * sum(r * jac(xi).T @ (0 * w2) for r, xi in zip(residual, x)))  # w = 0: no signal


def check_deep_learning_not_convex():
    """Equation (deep-learning-not-convex): two perfect networks whose midpoint predicts zero."""
    x = np.array([-2.0, -1, 1, 2])
    cost = lambda a1, a2: np.mean((np.maximum(0, a1 * x) + np.maximum(0, a2 * x) - np.abs(x)) ** 2)
    assert cost(1, -1) == cost(-1, 1) == 0
    assert cost(0, 0) == np.mean(x**2) == 2.5
    # fixed features: the same midpoint test can never fail, for random features and readouts
    xs, y, w1, b1, _ = _small_problem(2)
    rng = np.random.default_rng(0)
    for _ in range(200):
        u, v = rng.normal(size=(2, 4))
        mid = _cost(xs, y, w1, b1, (u + v) / 2)
        assert mid <= (_cost(xs, y, w1, b1, u) + _cost(xs, y, w1, b1, v)) / 2 + 1e-12


def check_deep_learning_power_law():
    """Equation (deep-learning-power-law): data needed to halve the error under a power law."""
    error = lambda n, beta: 3.0 * n**-beta
    for beta, factor in ((0.5, 4), (0.3, 10.08), (0.1, 1024)):
        n = 1000.0
        lo, hi = n, n * 1e6
        for _ in range(200):  # bisection for the n that halves the error
            mid = np.sqrt(lo * hi)
            lo, hi = (mid, hi) if error(mid, beta) > error(n, beta) / 2 else (lo, mid)
        assert abs(lo / n / 2 ** (1 / beta) - 1) < 1e-9 and abs(lo / n / factor - 1) < 1e-3


def check_worked_example():
    """The numbers of the worked example."""
    w = best_readout(0.0)
    assert abs(w - 4 / 7) < 1e-12 and abs(kink_cost(w, 0.0) - 3 / 28) < 1e-12
    eps = 1e-6
    assert abs(kink_cost(w + eps, 0) - kink_cost(w - eps, 0)) / (2 * eps) < 1e-9   # readout: no gradient left
    g_c = (kink_cost(w, eps) - kink_cost(w, 0.0)) / eps   # x = 0 is active on neither side: one-sided suffices
    assert abs(g_c + 6 / 49) < 1e-5
    assert round(kink_cost(w, 6 / 49), 4) == 0.0958 < round(kink_cost(w, 0), 4) == 0.1071
    t = torch.tensor([w, 1e-9], dtype=torch.float64, requires_grad=True)
    x, y = (torch.tensor(v, dtype=torch.float64) for v in ([0, 1, 2, 3], [0, 0, 1, 2]))
    ((t[0] * torch.relu(x - t[1]) - y) ** 2).mean().backward()
    assert abs(t.grad[0].item()) < 1e-7 and abs(t.grad[1].item() + 6 / 49) < 1e-7
    c = 0.0
    for _ in range(300):                                   # gradient descent on both parameters
        f = np.maximum(0, np.array([0.0, 1, 2, 3]) - c)
        r = w * f - np.array([0.0, 0, 1, 2])
        w, c = w - 0.2 * (r @ f) / 2, c + 0.2 * w * r[f > 0].sum() / 2
    assert abs(w - 1) < 1e-2 and abs(c - 1) < 1e-2 and kink_cost(w, c) < 1e-4


def check_numpy_equals_torch():
    """Both training loops give the same parameters, with trained and with frozen features."""
    x, y, w1, b1, w2 = _small_problem(3)
    for learn in (True, False):
        a = train(x, y, w1, b1, w2, learn_features=learn)
        b = train_torch(*(torch.tensor(v) for v in (x, y, w1, b1, w2)), learn_features=learn)
        for u, v in zip(a[:3], b[:3]):
            assert np.abs(u - v.detach().numpy()).max() < 1e-10
        assert np.abs(np.array(a[3]) - np.array(b[3])).max() < 1e-10
        assert (a[0] == w1).all() != learn


def check_learned_features_beat_fixed_ones():
    """The claim under the second figure: 16 learned features do better than 256 fixed ones here."""
    fixed, learned = fixed_error(256, 0), learned_error(16, 0)
    assert 0.3 < fixed < 1 and learned < 0.03, (fixed, learned)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
