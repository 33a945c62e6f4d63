# ---
# title: Initialization and the variance of the signal
# description: How the size of the activations changes over 50 layers for tanh and ReLU, and which weight variances keep it.
# concepts: [weight-initialization, signal-propagation, activation-functions]
# ---

# %% [markdown]
# **Question.** Which variance of the weights keeps the size of the activations through a deep network, for tanh and for ReLU, and how precisely must it be met?
#
# **Method.** Fully connected networks with 50 layers of 200 units and no biases, at initialization. Weights are normal with variance $\sigma_w^2/n_\text{in}$; Xavier's scale [@glorot2010] is $\sigma_w^2=1$ here, He's [@he2015] is $\sigma_w^2=2$, and PyTorch's default for a linear layer, uniform between $\pm1/\sqrt{n_\text{in}}$, has the variance of $\sigma_w^2=1/3$. PyTorch's recommended gain for tanh is 5/3, so $\sigma_w^2\approx2.8$. The inputs are 100 pairs of Gaussian vectors with cosine 0.5 within a pair. We record the mean square of each layer's outputs and the cosine within the pairs, over 10 random networks.

# %%
import matplotlib.pyplot as plt
import numpy as np

DEPTH, WIDTH, PAIRS, SEEDS = 50, 200, 100, 10


def tanh(z):
    return np.tanh(z)


def relu(z):
    return np.maximum(z, 0)


def propagate(activation, scale, seed):
    """Mean square and mean cosine of the pairs after each layer, two times (DEPTH + 1,).

    `scale` is the variance of the weights times the number of inputs.
    """
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, PAIRS, WIDTH))
    h = np.stack([a, 0.5 * a + 0.75**0.5 * b])  # (2, PAIRS, WIDTH), cosine about 0.5
    size, cosine = [], []
    for _ in range(DEPTH + 1):
        norms = np.linalg.norm(h, axis=2)
        size.append(np.mean(h**2))
        cosine.append(np.mean((h[0] * h[1]).sum(1) / (norms[0] * norms[1])))
        h = activation(h @ (rng.normal(size=(WIDTH, WIDTH)) * (scale / WIDTH) ** 0.5))
    return np.array(size), np.array(cosine)


runs = {
    ("tanh", 1 / 3): "PyTorch default",
    ("tanh", 1): "Xavier",
    ("tanh", 25 / 9): "gain 5/3",
    ("ReLU", 1 / 3): "PyTorch default",
    ("ReLU", 1): "Xavier",
    ("ReLU", 2): "He",
}
functions = {"tanh": tanh, "ReLU": relu}
sizes, cosines = {}, {}
for name, scale in runs:
    results = [propagate(functions[name], scale, seed) for seed in range(SEEDS)]
    sizes[name, scale], cosines[name, scale] = np.array(results).transpose(1, 0, 2)

# %% alt="Mean square of the activations over 50 layers on a logarithmic axis, tanh on the left, ReLU on the right. The default scale falls steeply in both. Xavier's scale falls slowly for tanh and by a factor of two per layer for ReLU. Gain 5/3 for tanh and He's scale for ReLU stay level." caption="mean square of the activations by layer, median of 10 networks, tanh left, ReLU right. Layer 0 is the input."
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2), sharey=True)
for ax, name, place in zip(axes, functions, [(0.4, 0.3), (0.4, 0.55)]):
    group = [key for key in runs if key[0] == name]
    for key, style in zip(group, [":", "--", "-"]):
        ax.semilogy(np.median(sizes[key], axis=0), style, label=runs[key])
    ax.set_xlabel(f"layer ({name})")
    ax.set_ylim(1e-12, 30)
    ax.legend(loc=place)
axes[0].set_ylabel("mean square of activations");

# %%
for key, label in runs.items():
    size, cosine = sizes[key], cosines[key]
    low, mid, high = np.quantile(size[:, -1], [0, 0.5, 1])
    print(
        f"{key[0]} {label:16} mean square after layer 50: {mid:7.1e}"
        f" ({low:.0e} to {high:.0e}), cosine {cosine[:, -1].mean():.2f}"
    )

# %% [markdown]
# ## How precise the scale must be
#
# The same networks with weight variances between the named ones. For wide networks, the mean square $q$ of the pre-activations follows the recursion $q_l=\sigma_w^2\,\mathbb{E}[\phi(\sqrt{q_{l-1}}\,u)^2]$ with $u$ standard normal [@schoenholz2017]; it is drawn as a line.

# %%
SCALES = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 4]
nodes, quadrature = np.polynomial.hermite_e.hermegauss(200)
quadrature = quadrature / quadrature.sum()


def predicted(activation, scale):
    """Mean square of the last layer's outputs in the limit of infinite width."""
    m = 1.0
    for _ in range(DEPTH):
        m = quadrature @ activation((scale * m) ** 0.5 * nodes) ** 2
    return m


last = {
    name: [
        np.median([propagate(f, s, seed)[0][-1] for seed in range(3)]) for s in SCALES
    ]
    for name, f in functions.items()
}
theory = {name: [predicted(f, s) for s in SCALES] for name, f in functions.items()}

# %% alt="Mean square after 50 layers against the weight variance on a logarithmic axis. The ReLU line rises steeply over 30 orders of magnitude and crosses one at two. The tanh line rises to about 0.01 at one and then stays between 0.01 and 1." caption="mean square after layer 50 against the weight variance times the number of inputs. Markers are networks of width 200 (median of 3), lines the limit of infinite width."
fig, ax = plt.subplots(figsize=(6.4, 3))
for (name, values), style, marker in zip(last.items(), ["-", "--"], ["o", "s"]):
    (line,) = ax.semilogy(SCALES, theory[name], style, label=f"{name}, limit")
    color = line.get_color()
    ax.semilogy(SCALES, values, marker, color=color, ms=5, label=f"{name}, width 200")
ax.set_xlabel("weight variance times number of inputs")
ax.set_ylabel("mean square after layer 50")
ax.legend();

# %%
for s in (0.75, 1, 1.5, 2, 2.5, 4):
    i = SCALES.index(s)
    print(f"scale {s:4}: tanh {last['tanh'][i]:.2g}, ReLU {last['ReLU'][i]:.2g}")

# %% [markdown]
# **Result.** For ReLU the mean square changes by the factor $\sigma_w^2/2$ per layer: at He's scale it stays near 1 (single networks scatter around it), at Xavier's it halves 50 times, at PyTorch's default it ends near $10^{-39}$. Fifty layers turn a variance that is off by a quarter into a factor above $10^4$ or below $10^{-6}$. Tanh forgives more: any scale from 1.5 to 4 ends between 0.2 and 0.6, because saturation caps the size; at Xavier's scale it falls slowly, to about 0.01; below it, it vanishes.
#
# A level size is not all. With gain 5/3 tanh pushes the two inputs of a pair apart, from a cosine of 0.5 to almost 0; ReLU makes all pairs nearly parallel, at any scale.

# %%
end = {key: np.median(size[:, -1]) for key, size in sizes.items()}
angle = {key: cosine[:, -1].mean() for key, cosine in cosines.items()}
assert 0.05 < end["ReLU", 2] < 5 and 1e-17 < end["ReLU", 1] < 1e-14
assert end["ReLU", 1 / 3] < 1e-36 and end["tanh", 1 / 3] < 1e-20
assert 0.003 < end["tanh", 1] < 0.03
level = [i for i, s in enumerate(SCALES) if s >= 1.5]
assert np.allclose(np.array(last["tanh"])[level], np.array(theory["tanh"])[level], rtol=0.1)
assert 0.15 < min(last["tanh"][i] for i in level) and max(last["tanh"]) < 0.7
assert last["ReLU"][SCALES.index(2.5)] > 1e3 and last["ReLU"][SCALES.index(1.5)] < 1e-5
assert angle["tanh", 25 / 9] < 0.1 and min(angle["ReLU", s] for s in (1 / 3, 1, 2)) > 0.9

# %% [markdown]
# **Conclusion.** ReLU needs $\sigma_w^2=2$ closely, tanh a scale somewhat above 1. What is shown is the forward signal at initialization, without normalization or residual connections; both of these make the scale matter far less. Whether a network also trains depends on its gradients, too.
