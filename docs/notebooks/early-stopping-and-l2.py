# ---
# title: Early stopping against an L2 penalty
# description: How close gradient descent stopped early comes to ridge regression, in predictions and along each direction.
# concepts: [early-stopping, l2-and-weight-decay]
# ---

# %% [markdown]
# **Question.** For least squares, stopping gradient descent early is said to act like an L2 penalty. How close are the two solutions, when each has its best setting?
#
# **Method.** Linear regression with 100 examples of 60 features whose variances fall from 1 to 0.01, noise of standard deviation 1. Gradient descent starts at zero. For every number of steps $t$ we compare its solution with ridge regression at the penalty $\lambda = 1/(\eta t)$, then the best of the one with the best of the other, both chosen by the test error. Means over 20 seeds.

# %%
import matplotlib.pyplot as plt
import numpy as np

N, D, RATE = 100, 60, 0.4
SCALES = np.logspace(0, -1, D)  # standard deviations of the features
STEPS = np.unique(np.logspace(0, 3.3, 30).astype(int))


def problem(seed):
    """Training data, test data and noise-free test targets."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=D) / np.sqrt(D) * 3
    X, X_test = rng.normal(size=(N, D)) * SCALES, rng.normal(size=(2000, D)) * SCALES
    return X, X @ w + rng.normal(size=N), X_test, X_test @ w


def filtered(X, y, factor):
    """Solution whose least-squares coefficients along the principal directions are multiplied by factor(eigenvalues)."""
    eigenvalues, V = np.linalg.eigh(X.T @ X / len(X))
    return V @ (factor(eigenvalues) / eigenvalues * (V.T @ X.T @ y / len(X)))


def descent(t):
    """Factors of t steps of gradient descent from zero."""
    return lambda s: 1 - (1 - RATE * s) ** t


def ridge(penalty):
    """Factors of ridge regression."""
    return lambda s: s / (s + penalty)


X, y, *_ = problem(0)
w = np.zeros(D)
for _ in range(50):
    w -= RATE * X.T @ (X @ w - y) / N
print(f"closed form against 50 steps of the loop: {np.abs(w - filtered(X, y, descent(50))).max():.1e}")

errors = {"early stopping": np.zeros(len(STEPS)), "ridge, 1/(rate x steps)": np.zeros(len(STEPS))}
gap = np.zeros(len(STEPS))
for seed in range(20):
    X, y, X_test, clean = problem(seed)
    for i, t in enumerate(STEPS):
        a, b = filtered(X, y, descent(t)), filtered(X, y, ridge(1 / (RATE * t)))
        errors["early stopping"][i] += np.mean((X_test @ a - clean) ** 2) / 20
        errors["ridge, 1/(rate x steps)"][i] += np.mean((X_test @ b - clean) ** 2) / 20
        gap[i] += np.mean((X_test @ (a - b)) ** 2) / np.mean(clean**2) / 20

# %% alt="Test error against steps on a logarithmic axis for early stopping and for ridge with the matched penalty. Both curves fall, reach nearly the same minimum at about twenty and thirty steps, and rise; the curve of ridge is the same valley shifted to more steps." caption="excess test error against the number of steps, and of ridge regression at the matched penalty; means over 20 seeds."
fig, ax = plt.subplots()
for (name, values), style in zip(errors.items(), ["-", "--"]):
    ax.semilogx(STEPS, values, style, label=name)
ax.set_xlabel("steps of gradient descent")
ax.set_ylabel("excess test error")
ax.legend();

# %%
best = {name: values.min() for name, values in errors.items()}
at = {name: STEPS[values.argmin()] for name, values in errors.items()}
for name in errors:
    print(f"{name:24} smallest error {best[name]:.3f} at {at[name]} steps")
t, match = at.values()
distance = []
for seed in range(20):
    X, y, X_test, clean = problem(seed)
    a, b = filtered(X, y, descent(t)), filtered(X, y, ridge(1 / (RATE * match)))
    distance.append(np.mean((X_test @ (a - b)) ** 2) / np.mean(clean**2))
print(f"descent without stopping: {errors['early stopping'][-1]:.3f} after {STEPS[-1]} steps")
print("mean squared distance of the two predictions, relative to the signal's:")
print(f"both at their best {np.mean(distance):.3f}, at the same number of steps at most {gap.max():.3f}")

# %% [markdown]
# **Result.** The best early-stopped solution and the best matched ridge solution predict about equally well, and their predictions differ by less than two percent of the signal's variance. At the same number of steps it is up to a few percent, as the match $\lambda = 1/(\eta t)$ is rough: ridge is best at about twice as many steps. Running on for 2,000 steps costs three times the best error.

# %%
assert abs(best["early stopping"] / best["ridge, 1/(rate x steps)"] - 1) < 0.15
assert np.mean(distance) < 0.02 and gap.max() < 0.05 and match > 1.2 * t
assert errors["early stopping"][-1] > 2.5 * best["early stopping"]

# %% [markdown]
# **Conclusion.** The likeness is one of filters: along a direction with curvature $s$, descent keeps the share $1-(1-\eta s)^t$ and ridge $s/(s+\lambda)$, two curves of the same kind. It is not an identity, and it is shown here for least squares alone. In a deep network the curvatures change as training goes on, and the experiment does not say how far the likeness goes there.
