# ---
# title: Double descent with random features
# description: Test error of minimum-norm regression on random ReLU features as their number passes the number of examples.
# concepts: [double-descent, bias-variance-tradeoff, implicit-regularization]
# ---

# %% [markdown]
# **Question.** In the classical picture the test error rises as a model grows large enough to fit its training data exactly. Does it rise, and what happens beyond that point [@belkin2019]?
#
# **Method.** Targets $y = \mathbf{w}^\top \mathbf{x} + \text{noise}$ in 20 dimensions, 100 training examples, 2,000 test examples (whose targets are without noise). The model is linear regression on $p$ random ReLU features. For each $p$ from 10 to 2,000 we take the least-squares solution, and where many solutions fit, the one of smallest norm, which is also the one that gradient descent from zero converges to. Medians over 20 seeds, with a ridge penalty (of one strength, not tuned) for comparison.

# %%
import matplotlib.pyplot as plt
import numpy as np

D, N = 20, 100
WIDTHS = [10, 20, 40, 60, 80, 90, 100, 110, 120, 150, 200, 300, 500, 1000, 2000]


def errors(p, seed, ridge=0.0, noise=0.5):
    """Training error, test error (both mean squared) and norm of the solution with p random features."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=D) / np.sqrt(D)
    X, X_test = rng.normal(size=(N, D)), rng.normal(size=(2000, D))
    y, y_test = X @ w + noise * rng.normal(size=N), X_test @ w
    V = rng.normal(size=(D, p)) / np.sqrt(D)
    F, F_test = np.maximum(X @ V, 0) / np.sqrt(p), np.maximum(X_test @ V, 0) / np.sqrt(p)
    if ridge:
        beta = np.linalg.solve(F.T @ F + ridge * np.eye(p), F.T @ y)
    else:
        beta = np.linalg.pinv(F) @ y
    return np.mean((F @ beta - y) ** 2), np.mean((F_test @ beta - y_test) ** 2), np.linalg.norm(beta)


plain = np.array([np.median([errors(p, s) for s in range(20)], axis=0) for p in WIDTHS])
ridge = np.array([np.median([errors(p, s, 0.05) for s in range(20)], axis=0) for p in WIDTHS])

# %% alt="Error against the number of random features on logarithmic axes. The test error of the minimum-norm solution falls, peaks sharply where the number of features equals the 100 examples, and falls again below its first minimum. Training error drops to zero at the peak. With a ridge penalty the peak is gone." caption="training and test error against the number of features, medians over 20 seeds. The peak stands where features and examples are equal in number."
fig, ax = plt.subplots()
ax.loglog(WIDTHS, plain[:, 1], "o-", label="test, minimum norm")
ax.loglog(WIDTHS, np.maximum(plain[:, 0], 1e-3), "s--", label="training (0 shown as 0.001)")
ax.loglog(WIDTHS, ridge[:, 1], "^-.", label="test, ridge 0.05")
ax.axvline(N, color="0.5", linewidth=1)
ax.set_xlabel("number of features (100 examples)")
ax.set_ylabel("mean squared error")
ax.legend();

# %%
for p in (20, 60, 100, 200, 2000):
    i = WIDTHS.index(p)
    print(f"{p:5} features: test {plain[i, 1]:8.3f}, with ridge {ridge[i, 1]:6.3f}, norm of the solution {plain[i, 2]:8.1f}")

# %%
first, second = {}, {}
for noise in (0.1, 0.5, 2.0):
    median = {p: np.median([errors(p, s, noise=noise)[1] for s in range(20)]) for p in (10, 20, 40, 60, 80, 2000)}
    second[noise] = median.pop(2000)
    first[noise] = min(median.values())
print("smallest test error with 80 features or less, and with 2000:")
print("\n".join(f"noise {noise}: {first[noise]:.2f}, {second[noise]:.2f}" for noise in first))

# %% [markdown]
# **Result.** The test error is large where the number of features equals the number of examples, more than a hundred times that of the widest model, which is the best of all without a penalty. The norm of the solution explains the peak: at 100 features there is just one solution that fits the noise, and it needs huge coefficients; with more features there are many, and the smallest of them shrinks. A ridge penalty, which bounds the norm directly, removes the peak: its test error falls nearly all the way (no size lies more than 0.02 above the one before), and lies below the other curve at every size. With four times the noise, the error of the widest model is no longer below the first minimum, but far above it.

# %%
test = dict(zip(WIDTHS, plain[:, 1]))
norm = dict(zip(WIDTHS, plain[:, 2]))
assert test[100] > 5 * test[20] and test[100] > 100 * test[2000]
assert test[2000] == min(test.values())
assert norm[100] > 5 * norm[2000]
assert second[0.1] < 0.5 * first[0.1] and second[2.0] > 1.5 * first[2.0]
assert np.all(np.diff(ridge[:, 1]) < 0.02)  # with the penalty there is no peak
assert np.all(ridge[:, 1] < plain[:, 1])

# %% [markdown]
# **Conclusion.** The peak belongs to the fit without regularization, at the size where the data are just interpolated; it is not a fate of large models. The second descent needs a rule that picks a small solution among those that fit, which is what [implicit regularization](concept:implicit-regularization) means here. Whether the second minimum lies below the first depends on the noise.
