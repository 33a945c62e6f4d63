"""Twin of the page on data augmentation: the objective, what it penalizes, what copies are worth."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def random_crop_flip(x, pad, rng):
    """Zero-pad, crop back at a random place, mirror half of the images.

    x: (batch, channels, height, width). Every image draws its own offsets.
    Returns the new batch and the draws (rows, columns, flips).
    """
    n, _, h, w = x.shape
    rows, cols = rng.integers(0, 2 * pad + 1, size=(2, n))
    flips = rng.random(n) < 0.5
    return crop_flip(x, pad, rows, cols, flips), (rows, cols, flips)


def crop_flip(x, pad, rows, cols, flips):
    """The same with given draws."""
    n, _, h, w = x.shape
    big = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.empty_like(x)
    for i in range(n):
        view = big[i, :, rows[i]:rows[i] + h, cols[i]:cols[i] + w]
        out[i] = view[:, :, ::-1] if flips[i] else view
    return out


def test_time_average(predict, x, transforms):
    """Average predict(T(x)) over a list of transforms T."""
    return np.mean([predict(t(x)) for t in transforms], axis=0)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_crop_flip(x, pad, rows, cols, flips):
    """The whole batch at once, by index arithmetic (runs on any device)."""
    n, c, h, w = x.shape
    big = F.pad(x, (pad, pad, pad, pad))
    col = torch.arange(w).expand(n, w)
    col = torch.where(flips[:, None], w - 1 - col, col) + cols[:, None]
    row = torch.arange(h) + rows[:, None]
    i = torch.arange(n)[:, None, None, None]
    j = torch.arange(c)[None, :, None, None]
    return big[i, j, row[:, None, :, None], col[:, None, None, :]]


class Augmented(torch.utils.data.Dataset):
    """A fresh random version each time an example is drawn: no set grows."""

    def __init__(self, x, y, pad):
        self.x, self.y, self.pad = x, y, pad

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        row, col = torch.randint(0, 2 * self.pad + 1, (2, 1))
        flip = torch.rand(1) < 0.5
        return torch_crop_flip(self.x[i:i + 1], self.pad, row, col, flip)[0], self.y[i]
# --8<-- [end:torch]


def ring_data(n, rng):
    """Two classes that differ in radius only."""
    y = np.arange(n) % 2
    radius = np.where(y == 1, 2.0, 1.0) + 0.12 * rng.normal(size=n)
    angle = rng.uniform(0, 2 * np.pi, size=n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), y


def rotate(x, angle):
    """Rotate each row of x (n, 2) by its own angle."""
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]], 1)


def train_rings(augment, steps=500, seed=3):
    """A small network on 12 points, with or without random rotations."""
    rng = np.random.default_rng(seed)
    x, y = ring_data(12, rng)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 48), torch.nn.Tanh(), torch.nn.Linear(48, 1))
    opt = torch.optim.Adam(net.parameters(), lr=0.03)
    target = torch.tensor(y, dtype=torch.float32)
    for _ in range(steps):
        z = rotate(x, rng.uniform(0, 2 * np.pi, size=12)) if augment else x
        loss = F.binary_cross_entropy_with_logits(net(torch.tensor(z, dtype=torch.float32))[:, 0], target)
        opt.zero_grad()
        loss.backward()
        opt.step()
    score = lambda p: net(torch.tensor(p, dtype=torch.float32)).detach().numpy()[:, 0]
    return score, x, y


def ring_accuracy(score):
    """Accuracy on 4000 new points."""
    x, y = ring_data(4000, np.random.default_rng(9))
    return np.mean((score(x) > 0) == y)


def strength_error(strengths, reps=100, steps=250):
    """Test error when two examples of each of 3 angle classes are rotated at random.

    In the data the angle varies by up to 50 degrees around 0, 120 or 240 degrees.
    Softmax regression on Fourier features of the angle, fresh rotations each step.
    """
    rng = np.random.default_rng(0)
    K, y = 3, np.tile(np.arange(3), 2)
    feats = lambda a: np.concatenate([np.cos(k * a)[..., None] for k in range(7)] + [np.sin(k * a)[..., None] for k in range(1, 7)], -1)
    angle = np.deg2rad(120 * y + rng.uniform(-50, 50, size=(reps, 6)))
    grid_y = np.repeat(np.arange(3), 60)
    grid = feats(np.deg2rad(120 * grid_y + np.tile(np.linspace(-50, 50, 60), 3)))
    onehot, out = np.eye(K)[y], []
    for s in np.deg2rad(strengths):
        w = np.zeros((reps, K, 13))
        mean = np.zeros_like(w)
        for t in range(steps):
            f = feats(angle + rng.uniform(-s, s, size=angle.shape))
            z = np.einsum("rif,rkf->rik", f, w)
            p = np.exp(z - z.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            w -= 0.5 * np.einsum("rik,rif->rkf", (p - onehot) / 6, f)
            if t >= steps // 2:
                mean += w
        out.append(np.mean(np.einsum("gf,rkf->rgk", grid, mean).argmax(-1) != grid_y))
    return np.array(out)


def figure_rotations():
    """Decision regions without and with random rotations."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2), sharey=True)
    g = np.linspace(-2.8, 2.8, 150)
    grid = np.stack(np.meshgrid(g, g), -1).reshape(-1, 2)
    for ax, augment, name in ((axes[0], False, "12 examples as they are"), (axes[1], True, "rotated at random")):
        score, x, y = train_rings(augment)
        z = score(grid).reshape(150, 150)
        ax.contourf(g, g, z, levels=[-1e9, 0, 1e9], colors=["C0", "C1"], alpha=0.22)
        ax.contour(g, g, z, levels=[0], colors="#222222", linewidths=1.5)
        ax.plot(*x[y == 0].T, "o", color="C0", label="inner class")
        ax.plot(*x[y == 1].T, "s", color="C1", label="outer class")
        ax.set(xlabel=f"{name}: accuracy {ring_accuracy(score):.2f}", aspect="equal")
        ax.grid(False)
    fig.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="outside upper center", ncols=2)
    return fig


def figure_strength():
    """Test error against the strength of the rotation."""
    s = np.array([0, 5, 10, 20, 30, 40, 50, 60, 75, 90, 105, 120, 150, 180])
    fig, ax = plt.subplots(figsize=(6.4, 2.9))
    ax.plot(s, 100 * strength_error(s), "o-")
    ax.axvline(60, ls=":", color="#222222")
    ax.annotate("half the angle between classes", (60, 45), (5, 0), textcoords="offset points", ha="left", fontsize=9)
    ax.set(xlabel="largest rotation in training (degrees)", ylabel="test error (%)", ylim=(0, None))
    return fig


def check_da_objective():
    """Equation (da-objective): one random version per visit is an unbiased sample."""
    rng = np.random.default_rng(0)
    x, y, w = rng.normal(size=(5, 2)), rng.normal(size=5), rng.normal(size=2)
    turns = np.pi / 2 * np.arange(4)  # the group of quarter turns
    loss = lambda z: (np.tanh(z @ w) - y) ** 2
    exact = np.mean([loss(rotate(x, np.full(5, a))) for a in turns])
    grad = lambda z: ((2 * (np.tanh(z @ w) - y) / np.cosh(z @ w) ** 2)[:, None] * z).mean(0)
    exact_grad = np.mean([grad(rotate(x, np.full(5, a))) for a in turns], 0)
    drawn = [rotate(x, rng.choice(turns, size=5)) for _ in range(20000)]
    assert abs(np.mean([loss(z).mean() for z in drawn]) - exact) < 0.02
    assert np.abs(np.mean([grad(z) for z in drawn], 0) - exact_grad).max() < 0.02
    assert abs(loss(x).mean() - exact) > 0.1  # not the plain objective


def check_da_variance():
    """Equation (da-variance): mean squared error = error of the mean + variance."""
    rng = np.random.default_rng(1)
    f, y = rng.normal(size=(40, 8)), rng.normal(size=40)
    left = ((f - y[:, None]) ** 2).mean(1)
    assert np.allclose(left, (f.mean(1) - y) ** 2 + f.var(1))


def check_da_tta():
    """Equation (da-tta): averaging probabilities never raises the mean log-loss."""
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(5), size=(200, 8))  # 200 inputs, 8 versions
    c = rng.integers(0, 5, size=200)
    true = p[np.arange(200), :, c]
    gap = -np.log(true).mean(1) + np.log(true.mean(1))
    assert (gap >= 0).all() and gap.mean() > 0.1
    # for zero-one error there is no such guarantee
    votes = np.array([[0.51, 0.49], [0.51, 0.49], [0.1, 0.9]])
    assert (votes.argmax(1) == 0).mean() > 0.6 and votes.mean(0).argmax() == 1


def check_da_invariant():
    """Equation (da-invariant): least squares on all versions sees orbit means only."""
    rng = np.random.default_rng(3)
    n, d = 3, 6
    x, y = rng.normal(size=(n, d)), rng.normal(size=n)
    shifts = [np.roll(np.eye(d), k, axis=0) for k in range(d)]  # cyclic shifts
    many = np.concatenate([x @ s.T for s in shifts])
    w = np.linalg.pinv(many) @ np.tile(y, d)
    P = sum(shifts) / d
    assert np.allclose(P @ w, w)  # invariant: all weights equal here
    assert np.allclose(w, np.linalg.pinv(x @ P.T) @ y)
    assert np.allclose(x @ w, x @ P.T @ w) and np.ptp(w) < 1e-12
    # quarter turns in the plane: the orbit mean is zero, a linear model learns nothing
    plane = rng.normal(size=(20, 2))
    four = np.concatenate([rotate(plane, np.full(20, a)) for a in np.pi / 2 * np.arange(4)])
    assert np.allclose(np.linalg.pinv(four) @ np.tile(rng.normal(size=20), 4), 0)


def check_da_noise():
    """Equation (da-noise): Gaussian input noise on a linear model is a ridge penalty."""
    rng = np.random.default_rng(4)
    n, d, s = 6, 4, 0.5
    x, y, w = rng.normal(size=(n, d)), rng.normal(size=n), rng.normal(size=d)
    sampled = np.mean(((x + s * rng.normal(size=(100000, n, d))) @ w - y) ** 2)
    exact = np.mean((x @ w - y) ** 2) + s**2 * w @ w
    assert abs(sampled / exact - 1) < 0.01
    many = x + s * rng.normal(size=(40000, n, d))
    fit = np.linalg.lstsq(many.reshape(-1, d), np.tile(y, 40000), rcond=None)[0]
    ridge = np.linalg.solve(x.T @ x + n * s**2 * np.eye(d), x.T @ y)
    assert np.abs(fit - ridge).max() < 0.01
    assert np.abs(np.linalg.lstsq(x, y, rcond=None)[0] - ridge).max() > 0.05


def check_da_copies():
    """Equation (da-copies): variance of a mean over m correlated versions of n examples."""
    rng = np.random.default_rng(5)
    n, m, rho = 10, 4, 0.8
    shared = rng.normal(size=(100000, n, 1))
    own = rng.normal(size=(100000, n, m))
    g = np.sqrt(rho) * shared + np.sqrt(1 - rho) * own
    exact = (rho + (1 - rho) / m) / n
    assert abs(np.var(g.mean((1, 2))) / exact - 1) < 0.02
    assert abs(np.corrcoef(g[:, 0, 0], g[:, 0, 1])[0, 1] - rho) < 0.01


def check_crop_flip():
    """NumPy and PyTorch give the same images; identity, range of draws, dataset."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(16, 3, 8, 7))
    out, (rows, cols, flips) = random_crop_flip(x, 2, rng)
    t = torch_crop_flip(torch.tensor(x), 2, *map(torch.tensor, (rows, cols, flips)))
    assert np.array_equal(out, t.numpy())
    two, none = np.full(16, 2), np.zeros(16, bool)
    assert np.array_equal(crop_flip(x, 2, two, two, none), x)
    assert np.array_equal(crop_flip(x, 2, two, two, ~none), x[..., ::-1])
    assert rows.min() >= 0 and rows.max() <= 4 and 0 < flips.sum() < 16
    data = Augmented(torch.tensor(x), torch.arange(16), 2)
    torch.manual_seed(0)
    seen = {tuple(data[3][0].flatten().tolist()) for _ in range(300)}
    assert len(data) == 16 and 40 < len(seen) <= 50  # 5 * 5 * 2 versions


def check_test_time_average():
    """An average over a group is invariant although the predictor is not."""
    rng = np.random.default_rng(7)
    w, x = rng.normal(size=2), rng.normal(size=(5, 2))
    turns = [lambda z, a=a: rotate(z, np.full(len(z), a)) for a in np.pi / 2 * np.arange(4)]
    predict = lambda z: np.tanh(z @ w + 0.3) ** 3 + z[:, 0] ** 2
    assert np.allclose(test_time_average(predict, x, turns), test_time_average(predict, turns[1](x), turns))
    assert not np.allclose(predict(x), predict(turns[1](x)))


def check_figures():
    """What the two captions claim."""
    plain, turned = (ring_accuracy(train_rings(a)[0]) for a in (False, True))
    assert plain < 0.9 < 0.97 < turned
    e = strength_error(np.array([0, 20, 60, 120, 180]))
    assert e[1] < e[0] and e[2] < 0.5 * e[0] and e[3] > 2 * e[2] and abs(e[4] - 2 / 3) < 0.1


def check_worked_example():
    """The numbers of the page."""
    f = np.array([0.9, 0.7, 0.5, 0.7])
    assert np.isclose(((f - 1) ** 2).mean(), 0.11)
    assert np.isclose((f.mean() - 1) ** 2, 0.09) and np.isclose(f.var(), 0.02)
    assert abs(-np.log(f).mean() - 0.3780) < 5e-5 and abs(-np.log(f.mean()) - 0.3567) < 5e-5
    factor = 0.8 + 0.2 / 10
    assert np.isclose(factor, 0.82) and abs(100 / factor - 121.95) < 0.01 and np.isclose(100 / 0.8, 125)
    assert 9 * 9 * 2 == 162 and (256 - 224) ** 2 * 2 == 2048


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
