"""Twin of the page "The artificial neuron and the perceptron": code, figure and checks."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def neuron(X, w, b, phi):
    """One neuron on a batch. X: (batch, d); w: (d,); b: scalar. Returns (batch,)."""
    return phi(X @ w + b)


def train_perceptron(X, y, max_epochs=1000):
    """Rosenblatt's rule. X: (n, d); labels y in {-1, +1}; starts at zero.

    Returns w, b, the number of corrections and whether an epoch had no mistake.
    """
    w, b, corrections = np.zeros(X.shape[1]), 0.0, 0
    for _ in range(max_epochs):
        mistakes = 0
        for x_i, y_i in zip(X, y):
            if y_i * (w @ x_i + b) <= 0:  # wrong side, or on the boundary
                w, b = w + y_i * x_i, b + y_i
                mistakes += 1
        corrections += mistakes
        if mistakes == 0:
            return w, b, corrections, True
    return w, b, corrections, False


# --8<-- [end:numpy]


# --8<-- [start:torch]
def train_perceptron_torch(X, y, max_epochs=1000):
    """The same rule as SGD with batch size 1 and rate 1 on max(0, -y z)."""
    unit = torch.nn.Linear(X.shape[1], 1, dtype=X.dtype)
    torch.nn.init.zeros_(unit.weight)
    torch.nn.init.zeros_(unit.bias)
    optimizer = torch.optim.SGD(unit.parameters(), lr=1.0)
    for _ in range(max_epochs):
        mistakes = 0
        for x_i, y_i in zip(X, y):
            margin = y_i * unit(x_i)
            mistakes += int(margin.item() <= 0)
            optimizer.zero_grad()
            # clamp has slope 1 at z = 0, so a zero start moves; relu has slope 0
            torch.clamp(-margin, min=0).sum().backward()
            optimizer.step()
        if mistakes == 0:
            break
    return unit.weight.detach()[0], unit.bias.detach()[0]


# --8<-- [end:torch]

CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
OR = np.array([-1, 1, 1, 1])
XOR = np.array([-1, 1, 1, -1])


def step(z):
    """Heaviside step: 1 for z > 0, else 0."""
    return (z > 0).astype(float)


def sigmoid(z):
    """Logistic sigmoid."""
    return 1 / (1 + np.exp(-z))


def separable_data(n, d, seed, gap=0.1):
    """Gaussian points labeled by a random hyperplane, none closer to it than gap."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=d + 1)
    u /= np.linalg.norm(u)
    X = rng.normal(size=(8 * n, d))
    z = X @ u[:-1] + u[-1]
    X, z = X[np.abs(z) > gap][:n], z[np.abs(z) > gap][:n]
    return X, np.sign(z), u


def figure_boundary():
    """A unit's boundary, normal vector and margin; and XOR, which no line separates."""
    rng = np.random.default_rng(3)
    blue, orange, gray = "#0061a8", "#c2410c", "#555555"
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.1))
    w, b = np.array([2.0, 1.0]), -1.0
    unit = w / np.linalg.norm(w)
    points = rng.uniform(-1.6, 2.4, size=(60, 2))
    distance = (points @ w + b) / np.linalg.norm(w)
    near_arrow = (np.abs(points - [1.15, 0.6]) < [0.55, 0.4]).all(axis=1)
    keep = (np.abs(distance) > 0.35) & ~near_arrow
    points, distance = points[keep], distance[keep]
    for sign, color, marker, name in ((1, blue, "o", "$y=+1$"), (-1, orange, "s", "$y=-1$")):
        mine = np.sign(distance) == sign
        left.plot(*points[mine].T, marker, color=color, ms=4.5, label=name)
    x1 = np.array([-1.6, 2.4])
    left.plot(x1, (-b - w[0] * x1) / w[1], color=gray)
    foot = -b * w / (w @ w)
    left.annotate(
        "",
        xy=foot + 1.0 * unit,
        xytext=foot,
        arrowprops={"arrowstyle": "-|>", "color": "#222222", "lw": 1.8, "mutation_scale": 13},
    )
    left.text(*(foot + 1.0 * unit + [-0.1, 0.13]), r"$\mathbf{w}$", fontsize=12)
    left.set(xlim=(-1.7, 2.5), ylim=(-1.7, 2.5), xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    left.text(0.85, -1.6, "$z=0$", color=gray, ha="right")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9, handletextpad=0.1)
    for sign, color, marker in ((1, blue, "o"), (-1, orange, "s")):
        right.plot(*CORNERS[sign == XOR].T, marker, color=color, ms=11)
    line = np.array([-0.3, 1.3])
    right.plot(line, 0.5 - line, "--", color=gray, lw=1.5)
    right.plot(line, 1.5 - line, ":", color=gray, lw=1.8)
    right.text(-0.02, 0.62, "OR", color=gray, ha="left", fontsize=9)
    right.text(0.62, 1.1, "AND", color=gray, ha="left", fontsize=9)
    right.set(xlim=(-0.3, 1.3), ylim=(-0.3, 1.3), xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    right.set_xticks([0, 1])
    right.set_yticks([0, 1])
    return fig


def check_neuron_forward():
    """Equation (neuron-forward): against torch.nn.Linear and the scalar sum."""
    rng = np.random.default_rng(0)
    X, w, b = rng.normal(size=(9, 4)), rng.normal(size=4), 0.3
    by_hand = [sigmoid(sum(w[j] * x[j] for j in range(4)) + b) for x in X]
    layer = torch.nn.Linear(4, 1, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(w)[None])
        layer.bias.fill_(b)
        by_torch = torch.sigmoid(layer(torch.tensor(X)))[:, 0].numpy()
    assert np.allclose(neuron(X, w, b, sigmoid), by_hand, atol=1e-12)
    assert np.allclose(neuron(X, w, b, sigmoid), by_torch, atol=1e-12)


def check_neuron_distance():
    """Equation (neuron-distance): against the distance to many points of the line."""
    rng = np.random.default_rng(0)
    w, b = np.array([2.0, 1.0]), -1.0
    foot, along = -b * w / (w @ w), np.array([-w[1], w[0]]) / np.linalg.norm(w)
    line = foot + np.linspace(-20, 20, 400_001)[:, None] * along
    for x in rng.uniform(-2, 2, size=(10, 2)):
        nearest = np.sqrt(((line - x) ** 2).sum(axis=1)).min()
        assert abs(abs(w @ x + b) / np.linalg.norm(w) - nearest) < 1e-6
    # the origin has signed distance b / |w|
    assert np.isclose(np.sign(b) * np.linalg.norm(foot), b / np.linalg.norm(w))


def check_neuron_perceptron_rule():
    """Equation (neuron-perceptron-rule): a correction raises y z by |x|^2 + 1."""
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=5), 0.2
    for x in rng.normal(size=(20, 5)):
        y = -np.sign(w @ x + b)  # the current unit is wrong
        before, after = y * (w @ x + b), y * ((w + y * x) @ x + b + y)
        assert before < 0 and np.isclose(after - before, x @ x + 1)


def check_neuron_convergence_steps():
    """Equation (neuron-convergence-steps) after every correction."""
    for seed in range(5):
        X, y, u = separable_data(60, 4, seed)
        Z = np.hstack([X, np.ones((len(X), 1))])
        R, gamma = np.linalg.norm(Z, axis=1).max(), (y * (Z @ u)).min()
        v, k = np.zeros(5), 0
        for _ in range(300):
            for z_i, y_i in zip(Z, y, strict=True):
                if y_i * (v @ z_i) <= 0:
                    v, k = v + y_i * z_i, k + 1
                    assert u @ v >= k * gamma - 1e-9
                    assert v @ v <= k * R**2 + 1e-9
        assert k > 5


def check_neuron_convergence_bound():
    """Equation (neuron-convergence-bound), for several dimensions and margins."""
    for seed, (n, d, gap) in enumerate([(50, 2, 0.1), (200, 2, 0.05), (80, 10, 0.2), (40, 100, 0.3)]):
        X, y, u = separable_data(n, d, seed, gap)
        Z = np.hstack([X, np.ones((len(X), 1))])
        R, gamma = np.linalg.norm(Z, axis=1).max(), (y * (Z @ u)).min()
        w, b, corrections, converged = train_perceptron(X, y)
        assert converged and 0 < corrections <= (R / gamma) ** 2
        assert (y * (X @ w + b) > 0).all()
        # the learning rate does not matter when training starts at zero
        w3, b3, v = np.zeros(d), 0.0, 0
        for _ in range(1000):
            mistakes = 0
            for i in range(len(X)):
                if y[i] * (w3 @ X[i] + b3) <= 0:
                    w3, b3, mistakes = w3 + 0.25 * y[i] * X[i], b3 + 0.25 * y[i], mistakes + 1
            v += mistakes
            if mistakes == 0:
                break
        assert v == corrections and np.allclose(4 * w3, w)


def check_neuron_perceptron_loss():
    """Equation (neuron-perceptron-loss): its gradient by central differences."""
    rng = np.random.default_rng(0)
    x, y, h = rng.normal(size=4), -1.0, 1e-6
    for w in rng.normal(size=(20, 4)):
        loss = lambda v: max(0.0, -y * (v @ x))
        numeric = [(loss(w + h * e) - loss(w - h * e)) / (2 * h) for e in np.eye(4)]
        expected = -y * x if y * (w @ x) < 0 else np.zeros(4)
        assert np.allclose(numeric, expected, atol=1e-7)


def check_neuron_logistic_gradient():
    """Equation (neuron-logistic-gradient): against autograd."""
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=4), 1.0
    w = torch.tensor(rng.normal(size=4), requires_grad=True)
    b = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    z = w @ torch.tensor(x) + b
    torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(t, dtype=torch.float64)).backward()
    error = sigmoid(z.item()) - t
    assert np.allclose(w.grad.numpy(), error * x, atol=1e-12)
    assert np.isclose(b.grad.item(), error, atol=1e-12)


def check_neuron_xor():
    """Equation (neuron-xor): the four conditions sum to a contradiction; 14 of 16 functions separate."""
    rng = np.random.default_rng(0)
    for w1, w2, b in rng.normal(size=(2000, 3)) * 3:
        z = CORNERS @ [w1, w2] + b
        assert np.isclose(z[1] + z[2], z[0] + z[3])  # the identity behind the proof
        assert not (np.sign(z) == XOR).all()
    grid = list(itertools.product((-2, -1, 0, 1, 2), (-2, -1, 0, 1, 2), (-3, -1.5, -0.5, 0.5, 1.5, 3)))
    found = {tuple((CORNERS @ [w1, w2] + b > 0).astype(int)) for w1, w2, b in grid}
    assert len(found) == 14
    assert (0, 1, 1, 0) not in found and (1, 0, 0, 1) not in found
    assert not train_perceptron(CORNERS, XOR, max_epochs=200)[3]


def check_neuron_xor_two_layers():
    """Equation (neuron-xor-two-layers): OR and not AND."""
    h_or = neuron(CORNERS, np.array([1, 1]), -0.5, step)
    h_and = neuron(CORNERS, np.array([1, 1]), -1.5, step)
    out = neuron(np.stack([h_or, h_and], axis=1), np.array([1, -1]), -0.5, step)
    assert (out == (XOR > 0)).all()


def check_worked_example():
    """The table of corrections for OR, the margin 1/3 and the bound 27."""
    rows, w, b = [], np.zeros(2), 0.0
    for epoch in range(1, 7):
        for x, y in zip(CORNERS, OR, strict=True):
            if y * (w @ x + b) <= 0:
                w, b = w + y * x, b + y
                rows.append((epoch, *map(int, x), *map(int, w), int(b)))
    assert rows == [
        (1, 0, 0, 0, 0, -1),
        (1, 0, 1, 0, 1, 0),
        (1, 1, 0, 1, 1, 1),
        (2, 0, 0, 1, 1, 0),
        (3, 0, 0, 1, 1, -1),
        (3, 0, 1, 1, 2, 0),
        (4, 0, 0, 1, 2, -1),
        (4, 1, 0, 2, 2, 0),
        (5, 0, 0, 2, 2, -1),
    ]
    Z = np.hstack([CORNERS, np.ones((4, 1))])
    v = np.array([2, 2, -1])
    assert np.isclose((OR * (Z @ v)).min() / np.linalg.norm(v), 1 / 3)
    assert np.isclose((np.linalg.norm(Z, axis=1) ** 2).max() / (1 / 3) ** 2, 27)
    # no other direction has a larger margin
    angles = np.random.default_rng(0).normal(size=(20000, 3))
    angles /= np.linalg.norm(angles, axis=1, keepdims=True)
    assert ((OR * (angles @ Z.T)).min(axis=1) <= 1 / 3 + 1e-12).all()
    w, b, corrections, converged = train_perceptron(CORNERS, OR)
    assert converged and corrections == 9 and (*w, b) == (2, 2, -1)


def check_numpy_equals_torch():
    """Both tabs take the same path: equal weights, exactly."""
    for X, y in ((CORNERS, OR.astype(float)), separable_data(40, 3, 1)[:2]):
        w, b, _, _ = train_perceptron(X, y)
        tw, tb = train_perceptron_torch(torch.tensor(X), torch.tensor(y))
        assert np.allclose(w, tw.numpy(), rtol=0, atol=1e-12) and np.isclose(b, tb.item(), atol=1e-12)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
