# ---
# title: Nearest neighbors in many dimensions
# description: When distances concentrate, and why nearest neighbors still work on data that have many coordinates.
# concepts: [curse-of-dimensionality, generalization-basics]
# ---

# %% [markdown]
# **Question.** In many dimensions all points are said to be about equally far apart [@beyer1999]. When is that so, and does it make nearest neighbors useless?
#
# **Method.** For 500 points in $d$ dimensions we compute the relative contrast, the distance to the farthest point over that to the nearest, minus 1, averaged over 100 queries. We take three kinds of data: independent coordinates, points on a plane of 5 dimensions turned into $d$ dimensions, and the plane with a little noise in all coordinates. Then a 1-nearest-neighbor classifier runs on scikit-learn's digits with more and more useless coordinates added. One draw of each.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

DIMENSIONS = [5, 10, 30, 100, 300, 1000]


def contrast(X, queries):
    """Mean of (farthest - nearest) / nearest over the queries."""
    squared = (queries**2).sum(1)[:, None] + (X**2).sum(1) - 2 * queries @ X.T
    distance = np.sqrt(np.maximum(squared, 0))
    return np.mean((distance.max(1) - distance.min(1)) / distance.min(1))


def data(kind, d, rng):
    """600 points in d dimensions."""
    if kind == "independent":
        return rng.normal(size=(600, d))
    basis = np.linalg.qr(rng.normal(size=(d, 5)))[0]
    plane = rng.normal(size=(600, 5)) @ basis.T
    return plane if kind == "plane" else plane + 0.05 * rng.normal(size=(600, d))


rng = np.random.default_rng(0)
kinds = ["independent", "plane", "plane with noise"]
curves = {}
for kind in kinds:
    points = [data(kind, d, rng) for d in DIMENSIONS]
    curves[kind] = [contrast(X[:500], X[500:]) for X in points]

# %% alt="Relative contrast against the dimension on logarithmic axes. For independent coordinates it falls steadily toward zero. For points on a five-dimensional plane it stays constant, and with a little noise it falls slowly." caption="relative contrast of distances against the number of coordinates, for three kinds of data."
fig, ax = plt.subplots()
for (kind, values), style in zip(curves.items(), ["o-", "s--", "^-."]):
    ax.loglog(DIMENSIONS, values, style, label=kind)
ax.set_xlabel("number of coordinates")
ax.set_ylabel("relative contrast")
ax.legend();

# %%
for kind, values in curves.items():
    print(f"{kind:17}" + "  ".join(f"{d}: {v:.2f}" for d, v in zip(DIMENSIONS, values)))

# %% [markdown]
# ## A classifier

# %%
digits = load_digits()
X = (digits.data - digits.data.mean(0)) / digits.data.std()
order = np.random.default_rng(1).permutation(len(X))
train, test = order[:1000], order[1000:]


def accuracy(useless):
    """Accuracy of the nearest neighbor with so many standard normal coordinates added."""
    Z = np.hstack([X, np.random.default_rng(2).normal(size=(len(X), useless))])
    squared = (Z[test] ** 2).sum(1)[:, None] + (Z[train] ** 2).sum(1) - 2 * Z[test] @ Z[train].T
    return np.mean(digits.target[train][squared.argmin(1)] == digits.target[test])


added = {n: accuracy(n) for n in (0, 64, 256, 1024, 4096)}
print(f"mean variance of a pixel {X.var(0).mean():.2f}, of a useless coordinate 1")
for n, a in added.items():
    print(f"{64 + n:5} coordinates, {n:4} of them useless: {a:.1%}")

# %% [markdown]
# **Result.** With independent coordinates the contrast falls from about 7 at five dimensions to about a tenth at a thousand. On a plane it does not fall at all, whatever the number of coordinates, and a little noise lowers it slowly. The classifier is nearly perfect on the 64 pixels. As many useless coordinates again, each with about twice the variance of an average pixel, cost it a seventh of its accuracy, and thousands of them bring it near the tenth that guessing gives.

# %%
first, last = curves["independent"][0], curves["independent"][-1]
assert first > 3 and last < 0.3
assert abs(curves["plane"][-1] / curves["plane"][0] - 1) < 0.2
assert curves["plane with noise"][2] > 3 * curves["independent"][2]
assert added[0] > 0.95 and added[64] < added[0] - 0.08 and added[4096] < 0.25

# %% [markdown]
# **Conclusion.** What counts is not the number of coordinates but how many directions the data vary in, and how much of that has to do with the question. The 64 pixels of a digit do not vary independently, and distances between them mean something; coordinates that have nothing to do with the question drown them.
