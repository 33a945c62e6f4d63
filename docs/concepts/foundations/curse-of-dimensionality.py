"""Twin of the page "Curse of dimensionality": snippets, figures, checks of its equations."""
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def distances(a, b):
    """Euclidean distances between the rows of a (n, d) and of b (m, d): (n, m)."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0))


def contrast(queries, data):
    """Mean over queries of (farthest - nearest) / nearest distance; 0: all alike."""
    r = distances(queries, data)
    near, far = r.min(axis=1), r.max(axis=1)
    return np.mean((far - near) / near)


def intrinsic_dimension(data):
    """Dimension of the set near which the rows of data (n, d) lie.

    Maximum likelihood from the ratio of second to first neighbor distance,
    which is Pareto distributed when the density is locally constant.
    Duplicate rows must be removed before.
    """
    r = distances(data, data)
    np.fill_diagonal(r, np.inf)
    first, second = np.partition(r, 1, axis=1)[:, :2].T
    return len(data) / np.log(second / first).sum()
# --8<-- [end:numpy]


# --8<-- [start:torch]
def contrast_torch(queries, data):
    """The same contrast with torch.cdist."""
    r = torch.cdist(queries, data)
    near, far = r.amin(dim=1), r.amax(dim=1)
    return ((far - near) / near).mean()


def intrinsic_dimension_torch(data):
    """The same estimate with torch.cdist and topk."""
    r = torch.cdist(data, data, compute_mode="donot_use_mm_for_euclid_dist")
    r.fill_diagonal_(float("inf"))
    first, second = r.topk(2, dim=1, largest=False).values.T
    return len(data) / torch.log(second / first).sum()
# --8<-- [end:torch]


def surface(n, k, d, rng):
    """n points on a curved k-dimensional set in d dimensions, every coordinate in [0, 1]."""
    latent = rng.random((n, k))
    frequency = np.random.default_rng(7).normal(size=(k, d)) * 1.5
    phase = np.random.default_rng(8).uniform(0, 2 * np.pi, d)
    return (1 + np.sin(latent @ frequency + phase)) / 2, latent


def nearest_neighbor_error(n, k, d, rng, tests=200):
    """Relative test error of one-nearest-neighbor regression of a smooth target of x."""
    make = (lambda m: rng.random((m, d))) if k is None else (lambda m: surface(m, k, d, rng)[0])
    direction = np.ones(d) / np.sqrt(d)
    target = lambda x: np.sin(3 * (x - 0.5) @ direction * np.sqrt(12))
    x, t = make(n), make(tests)
    guess = target(x)[distances(t, x).argmin(1)]
    return np.mean((guess - target(t)) ** 2) / np.var(target(make(4000)))


def figure_distances():
    """Pairwise distances in 2, 20 and 500 dimensions; contrast of uniform and of low-dimensional data."""
    rng = np.random.default_rng(0)
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.1))
    for d, style, color in ((2, ":", "#c2410c"), (20, "--", "#15803d"), (500, "-", "#0061a8")):
        r = distances(rng.random((1000, d)), rng.random((1000, d))).ravel()
        h, e = np.histogram(r / r.mean(), bins=np.linspace(0, 2.4, 97), density=True)
        left.plot((e[1:] + e[:-1]) / 2, h / h.max(), style, color=color, label=f"$d={d}$")
    left.set(xlabel="distance / mean distance", ylabel="density (peak = 1)")
    left.legend(fontsize=9)
    dims = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    uniform = [contrast(rng.random((100, d)), rng.random((1000, d))) for d in dims]
    low = []
    for d in dims:
        x = surface(1100, 2, d, rng)[0]
        low.append(contrast(x[:100], x[100:]))
    right.loglog(dims, uniform, "o-", label="uniform in the cube")
    right.loglog(dims, low, "^--", label="on a 2-D surface")
    right.set(xlabel="number of coordinates $d$", ylabel="(farthest $-$ nearest) / nearest")
    right.set_xticks([2, 16, 128, 1024], ["2", "16", "128", "1024"])
    right.legend(fontsize=9)
    return fig


def figure_learning():
    """Error of nearest-neighbor regression against the number of examples, ambient and intrinsic dimension."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    ns = [30, 100, 300, 1000, 3000, 10000]
    for k, d, style in ((None, 2, "o-"), (None, 5, "s--"), (None, 10, "D-."), (None, 30, "v:"), (2, 30, "^-")):
        runs = [[nearest_neighbor_error(n, k, d, np.random.default_rng(s)) for n in ns] for s in range(4)]
        name = f"uniform, $d={d}$" if k is None else f"2-D surface in $d={d}$"
        ax.loglog(ns, np.mean(runs, axis=0), style, ms=5, label=name)
    ax.set(xlabel="number of training examples $n$", ylabel="error / variance of the target")
    ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return fig


def check_curse_cells():
    """Equation (curse-cells): cells of side 1/m counted, and the share seen by n random points."""
    rng = np.random.default_rng(0)
    for m, d in ((10, 1), (3, 4), (2, 10)):
        cells = set(itertools.product(range(m), repeat=d))
        assert len(cells) == m**d
        n = 500
        seen = np.mean([len({tuple(c) for c in (rng.random((n, d)) * m).astype(int)}) for _ in range(40)])
        assert abs(seen / (m**d * (1 - (1 - m**-d) ** n)) - 1) < 0.02 and seen <= min(n, m**d)


def check_curse_side():
    """Equation (curse-side): a cube of that side catches the stated fraction of uniform points."""
    rng = np.random.default_rng(0)
    for d, r in ((1, 0.1), (2, 0.01), (10, 0.01), (100, 0.01)):
        s = r ** (1 / d)
        inside = (rng.random((100_000, d)) < s).all(1).mean()
        assert abs(inside - r) < 5 * np.sqrt(r * (1 - r) / 1e5)
    assert [round(0.01 ** (1 / d), 2) for d in (2, 10, 100)] == [0.1, 0.63, 0.95]


def check_curse_shell():
    """Equation (curse-shell): share of the cube within eps of its boundary."""
    rng = np.random.default_rng(0)
    for d, eps in ((2, 0.05), (10, 0.05), (50, 0.01)):
        x = rng.random((100_000, d))
        near = ((x < eps) | (x > 1 - eps)).any(1).mean()
        assert abs(near - (1 - (1 - 2 * eps) ** d)) < 0.01
    assert round(1 - 0.9**10, 2) == 0.65 and 1 - 0.9**100 > 0.9999


def check_curse_nearest():
    """Equation (curse-nearest): lower bound on the median distance to the nearest of n points."""
    rng = np.random.default_rng(0)
    for n, d in ((100, 2), (1000, 10), (1000, 50)):
        r = [np.abs(rng.random((n, d)) - rng.random(d)).max(1).min() for _ in range(200)]
        bound = 0.5 * (2 * n) ** (-1 / d)
        assert np.median(r) >= bound and (np.array(r) <= bound).mean() <= 0.5
        assert np.median(r) < 3 * bound                       # not empty: the right order of size
    assert round(0.5 * 2e6 ** (-1 / 100), 2) == 0.43


def check_curse_relative_spread():
    """Equation (curse-relative-spread): mean and spread of squared distances of uniform points."""
    rng = np.random.default_rng(0)
    for d in (1, 5, 50):
        z = ((rng.random((100_000, d)) - rng.random((100_000, d))) ** 2).sum(1)
        assert abs(z.mean() / (d / 6) - 1) < 0.01 and abs(z.var() / (7 * d / 180) - 1) < 0.03
        assert abs(z.std() / z.mean() / np.sqrt(7 / (5 * d)) - 1) < 0.02
    assert abs((7 / 180) / (1 / 6) ** 2 - 7 / 5) < 1e-12


def check_curse_ratio():
    """Equation (curse-ratio): Chebyshev and the union bound; never violated, and far/near goes to 1."""
    rng = np.random.default_rng(0)
    n, eps = 50, 0.3
    for d in (500, 2000, 10_000):
        bound = 1 - 7 * n / (5 * d * eps**2)
        ratios = []
        for _ in range(60):
            z = ((rng.random((n, d)) - rng.random(d)) ** 2).sum(1)
            ratios.append(np.sqrt(z.max() / z.min()))
        assert (np.array(ratios) <= np.sqrt((1 + eps) / (1 - eps))).mean() >= bound
    assert bound > 0.9
    far_near = []
    for d in (3, 30, 300, 3000):
        draws = [distances(rng.random((1, d)), rng.random((200, d))) for _ in range(30)]
        far_near.append(np.mean([r.max() / r.min() for r in draws]))
    assert far_near == sorted(far_near, reverse=True) and far_near[-1] < 1.1


def check_curse_lipschitz():
    """Equation (curse-lipschitz): an adversary that no sample can beat, and the sample that reaches the bound."""
    rng = np.random.default_rng(0)
    gap = lambda a, b: np.abs(a[:, None] - b[None]).max(-1)     # maximum norm, (rows of a, rows of b)
    for n, d in ((8, 2), (9, 2), (30, 3), (5, 1)):
        fine = np.stack(np.meshgrid(*[np.linspace(0, 1, {1: 2001, 2: 101, 3: 31}[d])] * d), -1).reshape(-1, d)
        for _ in range(10):
            sample = rng.random((n, d))
            hole = gap(fine, sample).min(1)
            c, rho = fine[hole.argmax()], hole.max()            # a lower estimate of the covering radius
            assert rho >= 0.5 * n ** (-1 / d) - 0.02            # 0.02: spacing of the search grid
            h = lambda x: np.maximum(0, rho - np.abs(x - c).max(-1))
            assert h(sample).max() < 1e-12 and h(c) == rho      # plus and minus h: same data, differ at c
            a, b = rng.random((2, 200, d))
            assert (np.abs(h(a) - h(b)) <= np.abs(a - b).max(1) + 1e-12).all()   # 1-Lipschitz
    m, d = 3, 2                                                 # upper bound with n = m^d centers
    centers = (np.stack(np.meshgrid(*[np.arange(m)] * d), -1).reshape(-1, d) + 0.5) / m
    x = rng.random((2000, d))
    worst = 0
    for _ in range(200):
        p, s = rng.random((5, d)), rng.choice([-1, 1])
        f = lambda z: s * gap(z, p).min(1)
        worst = max(worst, np.abs(f(centers)[gap(x, centers).argmin(1)] - f(x)).max())
    assert 0.8 * 0.5 * 9 ** (-1 / 2) < worst <= 0.5 * 9 ** (-1 / 2) + 1e-12
    assert round((1 / 0.2) ** 10) == 9_765_625


def check_curse_monte_carlo():
    """Equation (curse-monte-carlo): the mean's variance falls as 1/n in 2 and in 1,000 dimensions."""
    rng = np.random.default_rng(0)
    for d in (2, 1000):
        f = lambda x: np.sqrt(12 / d) * (x - 0.5).sum(-1)      # variance 1 in every dimension
        for n in (10, 100):
            means = np.array([f(rng.random((n, d))).mean() for _ in range(1500)])
            assert abs(means.var() * n - 1) < 0.12


def check_curse_pareto():
    """Equation (curse-pareto): ratio of the two nearest distances, in 2 and 6 dimensions."""
    rng = np.random.default_rng(0)
    for k in (2, 6):
        ratio = []
        for _ in range(3000):   # uniform points in a ball around the query: no boundary effect
            r = np.sort(rng.random(400) ** (1 / k))
            ratio.append(r[1] / r[0])
        ratio = np.array(ratio)
        for t in (1.05, 1.3, 2.0):
            assert abs((ratio > t).mean() - t**-k) < 0.03
        assert abs(np.mean(np.log(ratio)) * k - 1) < 0.06      # hence the maximum-likelihood estimate


def check_curse_gaussian_norm():
    """Equation (curse-gaussian-norm): mean and variance of the squared length; almost none near the mode."""
    rng = np.random.default_rng(0)
    for d in (1, 20, 400):
        z = (rng.normal(size=(20_000, d)) ** 2).sum(1)
        assert abs(z.mean() / d - 1) < 0.03 and abs(z.var() / (2 * d) - 1) < 0.05
    length = np.sqrt(z)
    assert abs(length.mean() - 20) < 0.1 and abs(length.std() - 0.71) < 0.03 and length.min() > 16


def check_worked_example():
    """The numbers of the worked example."""
    assert round(0.001 ** (1 / 50), 2) == 0.87
    assert round(0.5 * 2000 ** (-1 / 50), 2) == 0.43
    assert round(math.sqrt(50 / 6), 2) == 2.89
    assert round(math.sqrt(7 / (5 * 50)), 3) == 0.167 and round(math.sqrt(7 / (5 * 50)) / 2, 3) == 0.084
    assert 3**50 > 7e23
    p = np.array([[0.0], [1], [3], [7]])
    r = distances(p, p)
    np.fill_diagonal(r, np.inf)
    two = np.sort(r, axis=1)[:, :2]
    assert two.tolist() == [[1, 3], [1, 2], [2, 3], [4, 6]]
    logs = np.log(two[:, 1] / two[:, 0])
    assert np.round(logs, 3).tolist() == [1.099, 0.693, 0.405, 0.405]
    assert round(logs.sum(), 2) == 2.60 and round(intrinsic_dimension(p), 2) == 1.54
    rng = np.random.default_rng(0)
    z = distances(rng.random((300, 50)), rng.random((300, 50)))
    assert 0.94 < ((z > 2.4) & (z < 3.4)).mean() < 0.97
    assert abs(z.mean() - 2.87) < 0.02 and abs(z.std() / z.mean() - 0.084) < 0.004


def check_numpy_equals_torch():
    """Contrast and intrinsic dimension agree in the two libraries, to 1e-6."""
    rng = np.random.default_rng(0)
    for d in (2, 30):
        q, x = rng.random((50, d)), rng.random((400, d))
        assert abs(contrast(q, x) - contrast_torch(torch.tensor(q), torch.tensor(x)).item()) < 1e-6
        a, b = intrinsic_dimension(x), intrinsic_dimension_torch(torch.tensor(x)).item()
        assert abs(a - b) < 1e-6 * a


def check_intrinsic_dimension_of_a_surface():
    """The claims in the text: about 2 for the surface in 30 and 1,000 coordinates, 5 for a 5-cube; low for a 30-cube."""
    rng = np.random.default_rng(0)
    for d in (30, 1000):
        assert abs(intrinsic_dimension(surface(1500, 2, d, rng)[0]) - 2) < 0.2
    assert abs(intrinsic_dimension(rng.random((1500, 5))) - 5) < 0.6
    assert 15 < intrinsic_dimension(rng.random((1500, 30))) < 25    # biased low in high dimension
    assert intrinsic_dimension(surface(1500, 2, 30, rng)[0] + 0.05 * rng.normal(size=(1500, 30))) > 8  # noise


def check_nearest_neighbor_learning():
    """The claims under the second figure: 30 uniform dimensions hopeless, a surface in 30 easy."""
    rng = np.random.default_rng(0)
    uniform, low = nearest_neighbor_error(3000, None, 30, rng), nearest_neighbor_error(3000, 2, 30, rng)
    assert uniform > 0.8 and low < 0.05, (uniform, low)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
