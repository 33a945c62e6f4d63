# ---
# title: Paths of L1 and L2 penalties
# description: How coefficients shrink under an L1 and an L2 penalty, and when each predicts better.
# concepts: [l2-and-weight-decay, overfitting-underfitting]
# ---

# %% [markdown]
# **Question.** An L1 penalty is said to select features and an L2 penalty to shrink them all. How do the coefficients move, and which predicts better?
#
# **Method.** Linear regression with 40 independent standard normal features, of which either 4 or all 40 carry signal, 60 training examples, noise of standard deviation 1. The L1 solution (lasso) comes from proximal gradient descent written out below and is compared with scikit-learn's; the L2 solution (ridge) is in closed form. Test error over 2,000 examples at the best penalty of a grid, which the test error itself picks for both; means over 20 seeds.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Lasso

N, D = 60, 40
PENALTIES = np.logspace(-3, 1, 25)


def data(seed, informative):
    """Features, targets and true coefficients; the signal's variance is 4 whatever the number of features."""
    rng = np.random.default_rng(seed)
    w = np.zeros(D)
    w[:informative] = rng.choice([-1, 1], informative) * 2 / np.sqrt(informative)
    X = rng.normal(size=(N + 2000, D))
    y = X @ w + rng.normal(size=N + 2000)
    return X[:N], y[:N], X[N:], y[N:], w


def ridge(X, y, penalty):
    """Minimizer of |y - Xw|^2 / 2n + penalty |w|^2 / 2."""
    return np.linalg.solve(X.T @ X / len(X) + penalty * np.eye(X.shape[1]), X.T @ y / len(X))


def lasso(X, y, penalty, steps=2000):
    """Minimizer of |y - Xw|^2 / 2n + penalty |w|_1, by proximal gradient descent."""
    rate, w = len(X) / np.linalg.norm(X, 2) ** 2, np.zeros(X.shape[1])
    for _ in range(steps):
        w = w - rate * X.T @ (X @ w - y) / len(X)
        w = np.sign(w) * np.maximum(np.abs(w) - rate * penalty, 0)
    return w


X, y, *_ = data(0, 4)
ours, theirs = lasso(X, y, 0.1), Lasso(alpha=0.1, fit_intercept=False, tol=1e-8).fit(X, y).coef_
print(f"largest difference to scikit-learn: {np.abs(ours - theirs).max():.1e}")

# %% alt="Two panels of coefficients against the penalty on a logarithmic axis. Under L1 the coefficients without signal become exactly zero one after another, and the four others only at the largest penalties. Under L2 all coefficients shrink smoothly and none becomes zero." caption="coefficients against the strength of the penalty, one data set with 4 informative features (solid) of 40 (dotted). Left L1, right L2."
paths = {"L1": [lasso(X, y, p, 500) for p in PENALTIES], "L2": [ridge(X, y, p) for p in PENALTIES]}
fig, axes = plt.subplots(1, 2, sharey=True)
for ax, (name, path) in zip(axes, paths.items()):
    path = np.array(path)
    ax.semilogx(PENALTIES, path[:, 4:], ":", color="0.6", linewidth=1)
    ax.semilogx(PENALTIES, path[:, :4], "-")
    ax.set_xlabel(f"{name} penalty")
axes[0].set_ylabel("coefficient");

# %%
def best_error(informative, solve):
    """Smallest test error over the penalties, mean over 20 seeds, minus the noise's variance of 1."""
    best = []
    for seed in range(20):
        X, y, X_test, y_test, _ = data(seed, informative)
        best.append(min(np.mean((X_test @ solve(X, y, p) - y_test) ** 2) for p in PENALTIES))
    return np.mean(best) - 1


excess = {
    (name, k): best_error(k, solve)
    for k in (4, 40)
    for name, solve in (("L1", lambda X, y, p: lasso(X, y, p, 300)), ("L2", ridge))
}
zeros = {name: np.mean(np.array(path)[12] == 0) for name, path in paths.items()}
for (name, k), value in excess.items():
    print(f"{k:2} informative features, {name}: excess test error {value:.2f}")
print(f"coefficients that are exactly 0 at penalty {PENALTIES[12]:.2f}: L1 {zeros['L1']:.0%}, L2 {zeros['L2']:.0%}")

# %% [markdown]
# **Result.** Under L1, coefficients become exactly zero; under L2 none does. The selection is not the true one: at a penalty of 0.10 the four informative coefficients are kept, but 62% are zero where 90% should be. With 4 informative features of 40, the best L1 penalty predicts clearly better than the best L2 penalty; with 40 equally informative ones, L2 is better.

# %%
assert np.abs(ours - theirs).max() < 1e-4
assert 0.4 < zeros["L1"] < 0.85 and zeros["L2"] == 0
assert np.all(paths["L1"][12][:4] != 0)
assert excess["L1", 4] < 0.6 * excess["L2", 4]
assert excess["L2", 40] < 0.85 * excess["L1", 40]

# %% [markdown]
# **Conclusion.** Neither penalty is better in general: each is right for its own kind of truth, few large coefficients or many small ones. It is about linear models with given features; [weight decay](concept:l2-and-weight-decay) in a deep network, where a weight is not the coefficient of a feature, is another matter.
