"""Twin of the page "Supervised, unsupervised and self-supervised learning": snippets, figures, checks."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def softmax(z):
    """Softmax of the logits z, shape (K,)."""
    e = np.exp(z - z.max())
    return e / e.sum()


def label_signal(z, y):
    """Supervised: the class y is given. Minus the gradient of cross-entropy, (K,).

    Self-supervised learning uses the same line; there y is a hidden part of x.
    """
    return np.eye(len(z))[y] - softmax(z)


def pseudo_label_signal(z, threshold=0.95):
    """Semi-supervised: the model's own confident guess is taken as the label, (K,)."""
    p = softmax(z)
    if p.max() < threshold:
        return np.zeros_like(p)                   # not confident: no signal
    return np.eye(len(z))[p.argmax()] - p


def reward_signal(z, action, reward):
    """Reinforcement (one step): only the chosen action's reward is known, (K,).

    Averaged over actions drawn from softmax(z) this is the gradient of the
    expected reward (Williams, 1992).
    """
    return reward * (np.eye(len(z))[action] - softmax(z))
# --8<-- [end:numpy]


# --8<-- [start:torch]
def signal_torch(objective, z):
    """Gradient of a scalar objective in the logits z, by automatic differentiation."""
    z = z.clone().requires_grad_()
    objective(z).backward()
    return z.grad


def label_objective(y):
    """Log-probability of the given class y (to be maximized)."""
    return lambda z: torch.log_softmax(z, dim=0)[y]


def pseudo_label_objective(threshold=0.95):
    """Log-probability of the model's own guess; the guess itself gets no gradient."""
    def objective(z):
        confidence, guess = torch.softmax(z.detach(), dim=0).max(dim=0)
        return (confidence >= threshold) * torch.log_softmax(z, dim=0)[guess]
    return objective


def reward_objective(action, reward):
    """Reward times log-probability of the action that was taken."""
    return lambda z: reward * torch.log_softmax(z, dim=0)[action]
# --8<-- [end:torch]


def moons(n, rng, noise=0.12):
    """Two interleaved half circles: inputs (n, 2), class 0 or 1."""
    y = np.arange(n) % 2
    t = rng.uniform(0, np.pi, n)
    x = np.where(y[:, None] == 0, np.stack([np.cos(t), np.sin(t)], 1), np.stack([1 - np.cos(t), 0.4 - np.sin(t)], 1))
    return x + noise * rng.normal(size=x.shape), y


def clusters(n, rng):
    """Two clusters, left and right, as inputs (n, 2)."""
    side = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    return rng.normal(size=(n, 2)) * [0.3, 1.2] + np.outer(side, [1.0, 0.0])


def fit_linear(x, y, unlabeled=None, weight=1.0, steps=3000, lr=0.1):
    """Logistic regression; with unlabeled inputs also their mean prediction entropy is minimized.

    x: (n, 2), y: (n,) in {0, 1}, unlabeled: (m, 2) or None. Returns (w_1, w_2, b).
    The first 1,000 steps use the labels alone.
    """
    design = np.column_stack([x, np.ones(len(x))])
    free = None if unlabeled is None else np.column_stack([unlabeled, np.ones(len(unlabeled))])
    v = np.zeros(3)
    for step in range(steps):
        p = 1 / (1 + np.exp(-design @ v))
        g = design.T @ (p - y) / len(y) + 0.01 * v * [1, 1, 0]
        if free is not None and step >= 1000:
            z = free @ v
            p = 1 / (1 + np.exp(-z))
            g += weight * free.T @ (-z * p * (1 - p)) / len(z)  # derivative of the binary entropy
        v -= lr * g
    return v


def accuracy(v, x, y):
    """Share of points on the right side of the line v."""
    return np.mean((x @ v[:2] + v[2] > 0) == y)


def semi_supervised_case(seed=2, unlabeled=600):
    """Four labels alone and with unlabeled data, judged under two truths that fit the labels.

    Returns labeled inputs and classes, unlabeled inputs, both lines, and the test accuracies
    {truth: (labels only, with unlabeled)}.
    """
    rng = np.random.default_rng(seed)
    free, test = clusters(unlabeled, rng), clusters(4000, rng)
    x, y = np.array([[-1.2, -1.0], [-0.7, -0.7], [0.7, 0.7], [1.1, 1.0]]), np.array([0, 0, 1, 1])
    few, many = fit_linear(x, y), fit_linear(x, y, free)
    truths = {"class = cluster": test[:, 0] > 0, "class = sign of $x_2$": test[:, 1] > 0}
    return x, y, free, few, many, {k: (accuracy(few, test, t), accuracy(many, test, t)) for k, t in truths.items()}


def figure_settings():
    """The same points under four settings: labels, no labels, four labels, a hidden coordinate."""
    rng = np.random.default_rng(0)
    x, y = moons(240, rng)
    colors, markers, gray = ("#0061a8", "#c2410c"), ("o", "^"), "#777777"
    fig, axes = plt.subplots(2, 2, figsize=(6.4, 5.0), sharex=True, sharey=True)
    g1, g2 = np.meshgrid(np.linspace(-1.6, 2.6, 120), np.linspace(-1.1, 1.5, 100))
    grid = np.stack([g1.ravel(), g2.ravel()], 1)
    kernel = lambda a, b, h: np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * h * h))
    vote = lambda labels: (kernel(grid, x, 0.18) @ (2.0 * labels - 1)).reshape(g1.shape)

    def points(ax, values=None, size=4):
        if values is None:
            ax.plot(*x.T, ".", color=gray, ms=size)
        else:
            for c in (0, 1):
                ax.plot(*x[values == c].T, markers[c], color=colors[c], ms=size)

    points(axes[0, 0], y)
    axes[0, 0].contour(g1, g2, vote(y), levels=[0], colors="#222222", linewidths=1.8)
    points(axes[0, 1])
    density = kernel(grid, x, 0.16).sum(1).reshape(g1.shape)
    axes[0, 1].contour(g1, g2, density, levels=5, cmap="cividis", linewidths=1.3)
    # semi-supervised: spread four labels over a graph of nearby points
    points(axes[1, 0])
    labeled = np.array([np.argmin(((x - q) ** 2).sum(1)) for q in ([0, 1.05], [-0.9, 0.3], [1, -0.6], [1.9, 0.2])])
    w = kernel(x, x, 0.12)
    w /= w.sum(1, keepdims=True)
    f = np.zeros(len(x))
    for _ in range(500):
        f = w @ f
        f[labeled] = np.where(y[labeled] == 1, 1.0, -1.0)
    axes[1, 0].contour(g1, g2, vote(f > 0), levels=[0], colors="#222222", linewidths=1.8)
    for i in labeled:
        axes[1, 0].plot(*x[i], markers[y[i]], color=colors[y[i]], ms=10, mec="#222222")
    points(axes[1, 1])
    line = np.linspace(-1.15, 2.15, 200)
    for share, style in ((0.25, "--"), (0.75, "-")):
        k = np.exp(-((line[:, None] - x[None, :, 0]) ** 2) / (2 * 0.1**2))
        order = np.argsort(x[:, 1])
        cum = np.cumsum(k[:, order], 1) / k.sum(1, keepdims=True)
        axes[1, 1].plot(line, x[order, 1][(cum < share).sum(1)], style, color="#9333a8", lw=1.8,
                        label=f"{round(100 * share)} % quantile")
    axes[1, 1].legend(fontsize=9, loc="upper right", handlelength=1.6)
    for ax, name in zip(axes.ravel(), ("a  supervised", "b  unsupervised", "c  semi-supervised", "d  self-supervised")):
        ax.text(0.02, 1.02, name, transform=ax.transAxes, fontsize=10, va="bottom")
        ax.grid(False)
    for ax in axes[1]:
        ax.set_xlabel("$x_1$")
    for ax in axes[:, 0]:
        ax.set_ylabel("$x_2$")
    return fig


def figure_unlabeled():
    """Four labels with and without unlabeled data; accuracy under two truths that both fit the labels."""
    x, y, free, few, many, result = semi_supervised_case()
    fig, (ax, bars) = plt.subplots(1, 2, figsize=(6.4, 3.2))
    ax.plot(*free.T, ".", color="#999999", ms=2.5)
    for c, marker, color in ((0, "o", "#0061a8"), (1, "^", "#c2410c")):
        ax.plot(*x[y == c].T, marker, color=color, ms=9, mec="#222222", label=f"labeled {c}")
    t = np.linspace(-6, 6, 2)
    for v, style, name in ((few, "--", "labels only"), (many, "-", "with unlabeled")):
        ax.plot(-(v[2] + v[1] * t) / v[0], t, style, color="#222222", label=name)
    ax.set(xlim=(-3.1, 3.1), ylim=(-3.6, 3.6), xlabel="$x_1$", ylabel="$x_2$")
    ax.grid(False)
    fig.legend(loc="outside upper center", ncols=4, fontsize=9, handlelength=1.8)
    at = np.arange(2)
    for i, (name, hatch, color) in enumerate((("labels only", "//", "#c2410c"), ("with unlabeled", "", "#0061a8"))):
        heights = [100 * result[k][i] for k in result]
        rects = bars.bar(at + 0.38 * i - 0.19, heights, 0.34, facecolor="none" if hatch else color,
                         edgecolor=color, hatch=hatch, label=name)
        bars.bar_label(rects, [f"{h:.0f}" for h in heights], fontsize=9)
    bars.set_xticks(at, [k.replace(" = ", " =\n") for k in result])
    bars.set(ylabel="test accuracy (%)", ylim=(0, 118))
    bars.legend(fontsize=9, loc="upper right", ncols=1, handlelength=1.4)
    bars.grid(False)
    return fig


def _joint(rng, *shape):
    p = rng.random(shape)
    return p / p.sum()


def check_paradigms_regression():
    """Equation (paradigms-regression): squared risk = distance to the conditional mean + noise."""
    rng = np.random.default_rng(0)
    p = _joint(rng, 5, 7)                      # joint of x (5 values) and y (7 values)
    values = rng.normal(size=7)
    px = p.sum(1)
    mean = p @ values / px
    var = p @ values**2 / px - mean**2
    for _ in range(20):
        f = rng.normal(size=5)
        risk = (p * (f[:, None] - values[None]) ** 2).sum()
        assert abs(risk - (px @ (f - mean) ** 2 + px @ var)) < 1e-12


def check_paradigms_kl():
    """Equation (paradigms-kl): expected negative log-likelihood = entropy + KL divergence."""
    rng = np.random.default_rng(0)
    p, q = _joint(rng, 6), _joint(rng, 6)
    kl = torch.distributions.kl_divergence(*(torch.distributions.Categorical(torch.tensor(v)) for v in (p, q))).item()
    entropy = torch.distributions.Categorical(torch.tensor(p)).entropy().item()
    assert abs(-p @ np.log(q) - (entropy + kl)) < 1e-6 and kl > 0


def check_paradigms_chain_rule():
    """Equation (paradigms-chain-rule): the joint cost is a sum of prediction costs."""
    rng = np.random.default_rng(0)
    p = _joint(rng, 2, 3, 4)
    for i, j, k in np.ndindex(p.shape):
        first, two = p.sum((1, 2)), p.sum(2)
        parts = [first[i], two[i, j] / first[i], p[i, j, k] / two[i, j]]
        assert abs(-np.log(p[i, j, k]) + sum(np.log(parts))) < 1e-12
    # and every term is an ordinary classification loss on logits
    z = np.log(p[1, 2])
    ce = torch.nn.functional.cross_entropy(torch.tensor(z)[None], torch.tensor([3])).item()
    assert abs(ce + np.log(p[1, 2, 3] / p.sum(2)[1, 2])) < 1e-12


def check_paradigms_signals():
    """Equation (paradigms-signals): each row against finite differences of its objective."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=5)
    logp = lambda v: np.log(softmax(v))
    guess = z.argmax()
    for signal, objective in ((label_signal(z, 2), lambda v: logp(v)[2]),
                              (pseudo_label_signal(z, 0.0), lambda v: logp(v)[guess]),
                              (reward_signal(z, 3, -1.7), lambda v: -1.7 * logp(v)[3])):
        numeric = [(objective(z + e) - objective(z - e)) / 2e-6 for e in 1e-6 * np.eye(5)]
        assert np.abs(numeric - signal).max() < 1e-8
        assert abs(signal.sum()) < 1e-12
    assert not pseudo_label_signal(z, 0.999).any() and pseudo_label_signal(z, 0.0)[guess] > 0


def check_paradigms_bandit():
    """Equation (paradigms-bandit): the mean reward signal, exactly, by sampling, and for 0/1 rewards."""
    rng = np.random.default_rng(0)
    z, r = rng.normal(size=6), rng.normal(size=6)
    p = softmax(z)
    exact = sum(p[a] * reward_signal(z, a, r[a]) for a in range(6))
    assert np.allclose(exact, p * (r - p @ r))
    numeric = [(softmax(z + e) @ r - softmax(z - e) @ r) / 2e-6 for e in 1e-6 * np.eye(6)]
    assert np.abs(numeric - exact).max() < 1e-8              # gradient of the expected reward
    draws = rng.choice(6, p=p, size=100_000)
    counts = np.bincount(draws, minlength=6) / len(draws)
    assert np.abs(sum(counts[a] * reward_signal(z, a, r[a]) for a in range(6)) - exact).max() < 0.01
    for y in range(6):                                        # reward 1 for the right class only
        zero_one = sum(p[a] * reward_signal(z, a, float(a == y)) for a in range(6))
        assert np.allclose(zero_one, p[y] * label_signal(z, y))


def _posterior(log_likelihood, prior):
    w = prior * np.exp(log_likelihood - log_likelihood.max())
    return w / w.sum()


def check_paradigms_unlabeled():
    """Equation (paradigms-unlabeled): Bayes on a grid; independent priors block, shared ones do not."""
    rng = np.random.default_rng(0)
    theta = np.linspace(0.05, 0.95, 10)       # P(y = 1 | x = 1); P(y = 1 | x = 0) is fixed at 0.5
    psi = np.linspace(0.05, 0.95, 12)         # P(x = 1)
    labeled = [(1, 1), (1, 0), (1, 1), (0, 1)]
    unlabeled = [1, 1, 1, 1, 0, 1, 1]
    log = np.zeros((10, 12))
    for x, y in labeled:
        log += np.log(psi if x else 1 - psi)[None]
        log += (np.log(theta if y else 1 - theta)[:, None] if x else np.log(0.5))
    more = log + sum(np.log(psi if x else 1 - psi)[None] for x in unlabeled)
    independent = np.outer(rng.random(10), rng.random(12))
    tied = np.exp(-20 * (theta[:, None] - psi[None]) ** 2)    # p(x) tells something about p(y | x)
    for prior, same in ((independent, True), (tied, False)):
        a, b = _posterior(log, prior).sum(1), _posterior(more, prior).sum(1)
        assert np.allclose(a, b, atol=1e-12) == same


def check_worked_example():
    """The numbers of the worked example."""
    p = np.array([0.5, 0.3, 0.2])
    z = np.log(p)
    assert np.allclose(label_signal(z, 1), [-0.5, 0.7, -0.2])
    assert np.allclose(pseudo_label_signal(z, 0.4), [0.5, -0.3, -0.2])
    assert not pseudo_label_signal(z, 0.95).any()
    assert np.allclose(reward_signal(z, 0, 0.0), 0) and np.allclose(reward_signal(z, 1, 1.0), [-0.5, 0.7, -0.2])
    mean = sum(p[a] * reward_signal(z, a, float(a == 1)) for a in range(3))
    assert np.allclose(mean, [-0.15, 0.21, -0.06])
    two = np.array([[0.4, 0.1], [0.1, 0.4]])
    first = two.sum(1)
    assert np.allclose(first, 0.5) and np.isclose(two[0, 0] / first[0], 0.8)
    assert round(-np.log(0.5), 3) == 0.693 and round(-np.log(0.8), 3) == 0.223 and round(-np.log(0.4), 3) == 0.916
    assert round(-np.log(0.25), 3) == 1.386   # a model that treats the two tokens as independent
    mean_cost = -(two * np.log(two)).sum()
    assert np.isclose(mean_cost, 1.1935, atol=1e-4) and round(np.log(4) - mean_cost, 3) == 0.193


def check_numpy_equals_torch():
    """The formulas equal the automatic derivatives of the objectives."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        z = 3 * rng.normal(size=4)
        t = torch.tensor(z)
        for a, b in ((label_signal(z, 1), label_objective(1)), (pseudo_label_signal(z), pseudo_label_objective()),
                     (reward_signal(z, 2, 0.7), reward_objective(2, 0.7))):
            assert np.abs(a - signal_torch(b, t).numpy()).max() < 1e-12


def check_unlabeled_data_help_and_hurt():
    """The accuracies of the second figure, on 4,000 test points: up under one truth, down under the other."""
    x, y, *_, result = semi_supervised_case()
    assert ((x[:, 0] > 0) == y).all() and ((x[:, 1] > 0) == y).all()  # both truths fit the labels
    (a, b), (c, d) = result.values()
    assert 0.75 < a < 0.85 and b > 0.99 and 0.65 < c < 0.75 and d < 0.55, result


def check_architecture_does_not_decide():
    """One encoder trained with three signals: labels, reconstruction, next value; all costs fall."""
    torch.manual_seed(0)
    x = torch.randn(64, 8).cumsum(1) / 3
    y = (x.mean(1) > 0).long()
    for head, target, loss in ((2, y, torch.nn.functional.cross_entropy),
                               (8, x, torch.nn.functional.mse_loss),
                               (1, x[:, -1:], torch.nn.functional.mse_loss)):
        inputs = x.clone()
        if head == 1:
            inputs[:, -1] = 0                        # the value to predict is hidden
        encoder = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 8)), torch.nn.Conv1d(1, 4, 3), torch.nn.ReLU(),
                                      torch.nn.Flatten())
        net = torch.nn.Sequential(encoder, torch.nn.Linear(24, head))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        costs = []
        for _ in range(60):
            optimizer.zero_grad()
            cost = loss(net(inputs), target)
            cost.backward()
            optimizer.step()
            costs.append(cost.item())
        assert costs[-1] < 0.5 * costs[0], (head, costs[0], costs[-1])


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
