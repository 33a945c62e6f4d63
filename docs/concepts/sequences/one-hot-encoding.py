"""Twin of the page "One-hot encoding": distances, lookups, group means, bags, hashing."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def one_hot(ids, k):
    """ids: integers of any shape, 0 .. k-1; result: the same shape plus (k,), float."""
    ids = np.asarray(ids)
    if ids.size and (ids.min() < 0 or ids.max() >= k):
        raise IndexError("category id out of range")
    return np.eye(k)[ids]


def bag_of_words(documents, v):
    """Sum of the one-hot vectors of each document (a list of ids); (documents, v)."""
    return np.stack([one_hot(d, v).sum(axis=0) for d in documents])


def tf_idf(bags):
    """Counts times log(N / number of documents with the word); bags: (N, v)."""
    containing = (bags > 0).sum(axis=0)
    return bags * np.log(len(bags) / np.maximum(containing, 1))


def target_encode(ids, y, k, strength=1.0):
    """Smoothed mean target per category: (sum + strength * mean) / (n + strength)."""
    n = np.bincount(ids, minlength=k)
    total = np.bincount(ids, weights=y, minlength=k)
    return (total + strength * y.mean()) / (n + strength)


def target_encode_out_of_fold(ids, y, k, folds, strength=1.0):
    """Encode each example with means from the other folds; folds: integers (n,)."""
    out = np.empty(len(y))
    for f in np.unique(folds):
        held = folds == f
        out[held] = target_encode(ids[~held], y[~held], k, strength)[ids[held]]
    return out
# --8<-- [end:numpy]


# --8<-- [start:torch]
def three_ways(weight, ids):
    """The columns of a weight matrix that the ids select, computed three ways.

    weight: (d, k) as in torch.nn.Linear; ids: integers (n,). Each result: (n, d).
    """
    k = weight.shape[1]
    hot = torch.nn.functional.one_hot(ids, num_classes=k).to(weight.dtype)
    product = torch.nn.functional.linear(hot, weight)             # hot @ weight.T
    lookup = torch.nn.functional.embedding(ids, weight.T)  # rows of the transpose
    index = weight[:, ids].T
    return product, lookup, index


def two_losses(logits, ids):
    """Cross-entropy with class indices and with one-hot targets: the same number."""
    k = logits.shape[-1]
    hot = torch.nn.functional.one_hot(ids, num_classes=k).to(logits.dtype)
    loss = torch.nn.functional.cross_entropy
    return loss(logits, ids), loss(logits, hot)


class TabularNet(torch.nn.Module):
    """Numeric columns plus one embedding per categorical column; id 0 means unknown."""

    def __init__(self, n_numeric, sizes, width=8, hidden=32):
        super().__init__()
        self.tables = torch.nn.ModuleList(
            torch.nn.Embedding(k + 1, width) for k in sizes
        )
        self.net = torch.nn.Sequential(
            torch.nn.Linear(n_numeric + width * len(sizes), hidden),
            torch.nn.ReLU(),
            torch.nn.Linear(hidden, 1),
        )

    def forward(self, numeric, ids):
        """numeric: (B, n_numeric); ids: (B, columns), integers 0 .. k."""
        parts = [table(ids[:, j]) for j, table in enumerate(self.tables)]
        return self.net(torch.cat([numeric, *parts], dim=1)).squeeze(1)
# --8<-- [end:torch]


# The worked example: colors red, green, blue as 0, 1, 2 and a target.
COLOR = np.array([0, 0, 1, 2])
TARGET = np.array([1.0, 3.0, 6.0, 2.0])


def line_fit(x, y):
    """Slope, intercept and residual sum of squares of the least-squares line."""
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    intercept = y.mean() - slope * x.mean()
    return slope, intercept, ((y - slope * x - intercept) ** 2).sum()


def figure_geometry():
    """Integer codes lie on a line, one-hot vectors at equal distances, embeddings anywhere."""
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.7), width_ratios=[1.25, 1, 1])
    names, markers = ["cat", "dog", "car"], "osD"
    corners = np.array([[0, 0], [1, 0], [0.5, np.sqrt(3) / 2]]) * np.sqrt(2)
    points = [np.array([[1, 0], [2, 0], [3, 0.0]]), corners,
              np.array([[0.0, 0.0], [0.5, 0.0], [0.75, 1.25]])]
    labels = ["integer codes", "one-hot vectors", "embedding (example)"]
    for ax, p, label in zip(axes, points, labels, strict=True):
        for i, j in ((0, 1), (1, 2), (0, 2)):
            if label == "integer codes" and (i, j) == (0, 2):
                ax.annotate("", p[2] + [0, -0.42], p[0] + [0, -0.42],
                            arrowprops={"arrowstyle": "<->", "color": "#555555"})
                ax.text(2, -0.46, "2", ha="center", va="top", fontsize=9)
                continue
            ax.plot(*p[[i, j]].T, color="#777777", lw=1, ls="--")
            middle = p[[i, j]].mean(axis=0)
            distance = np.linalg.norm(p[i] - p[j])
            offset = {(0, 1): (0, -6), (1, 2): (6, 2), (0, 2): (-6, 4)}[i, j]
            if label == "integer codes":
                offset = (0, -6)
            ha = "center" if offset[0] == 0 else "left" if offset[0] > 0 else "right"
            ax.annotate(f"{distance:.2g}", middle, xytext=offset,
                        textcoords="offset points", ha=ha,
                        va="top" if offset[1] < 0 else "bottom", fontsize=9)
        for i in range(3):
            ax.plot(*p[i], markers[i], color=f"C{i}", ms=8, zorder=3)
            up = label == "integer codes" or i == 2
            xy, ha, va = (0, 8 if up else -8), "center", "bottom" if up else "top"
            if label.startswith("embedding") and not up:
                xy, ha, va = (8 * (2 * i - 1), 0), ("right", "left")[i], "center"
            ax.annotate(names[i], p[i], xytext=xy, textcoords="offset points",
                        ha=ha, va=va, fontsize=9)
        ax.set_xlabel(label)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        ax.set_aspect("equal")
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
        ax.margins(0.25)
    axes[0].set_ylim(-1.1, 1.1)
    return fig


def figure_fit():
    """The worked example: a line through integer codes, a mean per category."""
    fig, ax = plt.subplots(figsize=(6.4, 2.9))
    code = COLOR + 1.0
    slope, intercept, _ = line_fit(code, TARGET)
    grid = np.array([0.6, 3.4])
    ax.plot(grid, slope * grid + intercept, ls="--", color="C0",
            label="linear in the integer code")
    means = [TARGET[COLOR == k].mean() for k in range(3)]
    for k in range(3):
        ax.plot([k + 0.75, k + 1.25], [means[k]] * 2, color="C1", lw=3,
                label="linear in the one-hot vector" if k == 0 else None)
    ax.plot(code, TARGET, "o", color="#222222", ms=6, label="data")
    ax.set_xticks([1, 2, 3], ["red = 1", "green = 2", "blue = 3"])
    ax.set_ylabel("target")
    ax.set_ylim(0, 7)
    ax.grid(False)
    ax.legend(fontsize=9, loc="upper right")
    return fig


def leak_experiment(n=2000, per_category=2, seed=0):
    """Correlation of an encoded noise column with the target: in-sample, out of fold."""
    rng = np.random.default_rng(seed)
    k = n // per_category
    ids = rng.permutation(np.repeat(np.arange(k), per_category))
    y = rng.standard_normal(n)                      # independent of the category
    inside = target_encode(ids, y, k, strength=0.0)[ids]
    outside = target_encode_out_of_fold(ids, y, k, rng.integers(0, 5, n))
    return np.corrcoef(inside, y)[0, 1], np.corrcoef(outside, y)[0, 1]


def check_oh_vector():
    """Equation (oh-vector): one entry 1, at the id, the others 0."""
    ids = np.array([[2, 0], [1, 2]])
    x = one_hot(ids, 4)
    assert x.shape == (2, 2, 4) and set(np.unique(x)) == {0.0, 1.0}
    assert np.all(x.sum(axis=-1) == 1) and np.all(x.argmax(axis=-1) == ids)
    try:
        one_hot([4], 4)
    except IndexError:
        return
    raise AssertionError("an id out of range went through")


def check_oh_distance():
    """Equation (oh-distance): all pairs at distance sqrt(2), inner products 0 or 1."""
    x = np.eye(6)
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    assert np.allclose(d[~np.eye(6, dtype=bool)], np.sqrt(2)) and np.all(np.diag(d) == 0)
    assert np.array_equal(x @ x.T, np.eye(6))
    codes = np.arange(1, 7)
    assert np.abs(codes[:, None] - codes[None]).max() == 5      # integers: 1 to 5


def check_oh_lookup():
    """Equation (oh-lookup): the product with a one-hot vector is a column."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((3, 5))
    for k in range(5):
        assert np.array_equal(w @ np.eye(5)[k], w[:, k])


def check_oh_gradient():
    """Equation (oh-gradient): only the selected column has a gradient; finite differences."""
    rng = np.random.default_rng(0)
    w, target, k = rng.standard_normal((3, 5)), rng.standard_normal(3), 2

    def loss(w):
        return 0.5 * ((w @ np.eye(5)[k] - target) ** 2).sum()

    delta = w[:, k] - target
    analytic = np.outer(delta, np.eye(5)[k])
    numeric = np.zeros_like(w)
    for i in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[i] = 1e-6
        numeric[i] = (loss(w + step) - loss(w - step)) / 2e-6
    assert np.allclose(numeric, analytic, atol=1e-8)
    assert np.count_nonzero(np.abs(numeric).sum(axis=0) > 1e-9) == 1


def check_oh_means():
    """Equation (oh-means): least squares on one-hot inputs gives the category means."""
    rng = np.random.default_rng(0)
    ids = np.concatenate([np.arange(6), rng.integers(0, 6, 60)])
    y = rng.standard_normal(66) + ids % 3
    w = np.linalg.lstsq(one_hot(ids, 6), y, rcond=None)[0]
    assert np.allclose(w, [y[ids == k].mean() for k in range(6)])


def check_oh_dummy():
    """Equation (oh-dummy): with an intercept one column is redundant; predictions agree."""
    rng = np.random.default_rng(0)
    ids = np.concatenate([np.arange(4), rng.integers(0, 4, 30)])
    y = rng.standard_normal(34)
    full = np.hstack([np.ones((34, 1)), one_hot(ids, 4)])
    dropped = full[:, :-1]
    assert np.allclose(full[:, 1:].sum(axis=1), full[:, 0])
    assert np.linalg.matrix_rank(full) == 4 and full.shape[1] == 5
    assert np.linalg.matrix_rank(dropped) == 4 == dropped.shape[1]
    a = np.linalg.lstsq(full, y, rcond=None)[0]     # one of many solutions
    b = np.linalg.lstsq(dropped, y, rcond=None)[0]
    assert np.allclose(full @ a, dropped @ b)
    shifted = a + np.array([3.0, -3, -3, -3, -3])
    assert np.allclose(full @ shifted, full @ a)
    # Ridge without a penalty on the intercept: the choice of the dropped column matters.
    def ridge(x):
        penalty = np.diag([0.0] + [1.0] * (x.shape[1] - 1))
        return x @ np.linalg.solve(x.T @ x + penalty, x.T @ y)
    drop_first = np.hstack([full[:, :1], full[:, 2:]])
    assert not np.allclose(ridge(dropped), ridge(drop_first), atol=1e-3)


def check_oh_expectation():
    """Equation (oh-expectation): the mean one-hot vector holds the class probabilities."""
    rng = np.random.default_rng(0)
    p = np.array([0.5, 0.3, 0.15, 0.05])
    ids = rng.choice(4, size=100_000, p=p)
    assert np.allclose(one_hot(ids, 4).mean(axis=0), p, atol=0.006)
    # and it minimizes the expected squared distance to the one-hot target
    def risk(q):
        return (p[:, None] * (np.eye(4) - q) ** 2).sum()
    for _ in range(20):
        assert risk(p) < risk(rng.dirichlet(np.ones(4)))


def check_oh_bag():
    """Equation (oh-bag): the sum selects a sum of columns and forgets the order."""
    rng = np.random.default_rng(0)
    doc = rng.integers(0, 9, 20)
    w = rng.standard_normal((4, 9))
    bag = bag_of_words([doc], 9)[0]
    assert np.allclose(w @ bag, w[:, doc].sum(axis=1))
    assert np.array_equal(bag, bag_of_words([doc[::-1]], 9)[0]) and bag.sum() == 20
    assert np.array_equal(bag, np.bincount(doc, minlength=9))


def check_oh_tfidf():
    """Equation (oh-tfidf): by hand on three documents; a word in all of them weighs 0."""
    docs = [[0, 0, 1], [0, 2], [0, 1, 3, 3]]
    w = tf_idf(bag_of_words(docs, 5))
    assert np.all(w[:, 0] == 0)
    assert np.isclose(w[0, 1], np.log(3 / 2)) and np.isclose(w[1, 2], np.log(3))
    assert np.isclose(w[2, 3], 2 * np.log(3)) and np.all(w[:, 4] == 0)


def check_oh_collision():
    """Equation (oh-collision): probability of sharing a bucket, by sampling (0.01)."""
    rng = np.random.default_rng(0)
    for k, m in ((100, 50), (1000, 1000), (200, 2000)):
        buckets = rng.integers(0, m, (4000, k))
        shared = (buckets[:, 1:] == buckets[:, :1]).any(axis=1).mean()
        assert abs(shared - (1 - (1 - 1 / m) ** (k - 1))) < 0.02
    assert np.isclose(1 - (1 - 1 / 100_000) ** 9_999, 0.095, atol=5e-4)
    assert np.isclose(1 - (1 - 1 / 10_000) ** 9_999, 0.632, atol=5e-4)


def check_oh_target():
    """Equation (oh-target): between the category's mean and the overall mean."""
    rng = np.random.default_rng(0)
    ids, y = rng.integers(0, 5, 40), rng.standard_normal(40)
    t = target_encode(ids, y, 7, strength=3.0)
    for k in range(5):
        n, mean = (ids == k).sum(), y[ids == k].mean()
        assert np.isclose(t[k], (n * mean + 3 * y.mean()) / (n + 3))
    assert np.allclose(t[5:], y.mean())             # categories never seen
    inside, outside = leak_experiment()
    assert abs(inside - np.sqrt(0.5)) < 0.03        # two examples per category: 0.71
    assert abs(outside) < 0.1                       # nothing to learn
    single, _ = leak_experiment(per_category=1)
    assert np.isclose(single, 1)                    # the encoding is the target


def check_oh_cyclic():
    """Equation (oh-cyclic): neighboring hours are equally far apart, also over midnight."""
    h = np.arange(24)
    x = np.stack([np.sin(2 * np.pi * h / 24), np.cos(2 * np.pi * h / 24)], axis=1)
    steps = np.linalg.norm(x - np.roll(x, 1, axis=0), axis=1)
    assert np.allclose(steps, 2 * np.sin(np.pi / 24))
    assert np.isclose(np.linalg.norm(x[0] - x[12]), 2)


def check_memory():
    """The page's sizes: 32 x 512 tokens over 50,000 words, and the embedding table."""
    assert 32 * 512 == 16_384 and 16_384 * 50_000 * 4 == 3_276_800_000
    assert 16_384 * 8 == 131_072
    assert np.isclose(3_276_800_000 / 2**30, 3.05, atol=0.005)


def check_numpy_vs_torch():
    """one_hot, the three selections and the two losses agree (1e-14 in float64)."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 6, 20)
    t = torch.from_numpy(ids)
    assert np.array_equal(one_hot(ids, 6), torch.nn.functional.one_hot(t, 6).numpy())
    w = torch.from_numpy(rng.standard_normal((3, 6)))
    a, b, c = three_ways(w, t)
    assert np.allclose(one_hot(ids, 6) @ w.numpy().T, a.numpy(), atol=1e-14)
    assert torch.allclose(a, b, atol=1e-14) and torch.equal(b, c)
    logits = torch.from_numpy(rng.standard_normal((20, 6)))
    by_index, by_hot = two_losses(logits, t)
    z = logits.numpy()
    logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    ours = -(one_hot(ids, 6) * logp).sum(axis=1).mean()
    assert abs(by_index - by_hot) < 1e-14 and abs(ours - by_index.item()) < 1e-14


def check_torch_details():
    """Details the page states: integer result, inferred width, errors for ids out of range."""
    f = torch.nn.functional.one_hot
    assert f(torch.tensor([0, 2])).shape == (2, 3)          # width from the largest id
    assert f(torch.tensor([0, 1])).shape == (2, 2)          # another batch, another width
    assert f(torch.tensor([0, 1])).dtype == torch.int64
    for call in (lambda: f(torch.tensor([0.0, 1.0])), lambda: f(torch.tensor([5]), 5),
                 lambda: torch.nn.Embedding(5, 2)(torch.tensor([5]))):
        try:
            call()
        except (RuntimeError, IndexError):
            continue
        raise AssertionError("no error")
    torch.manual_seed(0)
    net = TabularNet(2, [10, 1000])
    out = net(torch.randn(4, 2), torch.tensor([[1, 999], [0, 0], [10, 1000], [3, 3]]))
    assert out.shape == (4,)
    out.sum().backward()
    touched = net.tables[1].weight.grad.abs().sum(dim=1).nonzero().flatten()
    assert set(touched.tolist()) <= {0, 3, 999, 1000} and len(touched) > 0


def check_worked_example():
    """Every number of the worked example."""
    slope, intercept, rss = line_fit(COLOR + 1.0, TARGET)
    assert np.isclose(slope, 4 / 11) and np.isclose(intercept, 26 / 11)
    assert np.allclose(slope * np.arange(1, 4) + intercept, [2.727, 3.091, 3.455], atol=5e-4)
    assert np.isclose(rss, 13.636, atol=5e-4)
    hot = one_hot(COLOR, 3)
    w = np.linalg.lstsq(hot, TARGET, rcond=None)[0]
    assert np.allclose(w, [2, 6, 2]) and np.isclose(((TARGET - hot @ w) ** 2).sum(), 2)
    m = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -3.0]])
    assert (m @ [0, 1, 0]).tolist() == [-1, 0] and (m @ [1, 0, 1]).tolist() == [2.5, -2]
    t = target_encode(COLOR, TARGET, 3, strength=2.0)
    assert TARGET.mean() == 3 and np.allclose(t, [2.5, 4.0, 8 / 3])


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
