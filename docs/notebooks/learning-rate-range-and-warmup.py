# ---
# title: The learning rate range test and warmup
# description: Whether a range test of 150 updates predicts the best constant learning rate of a small network, and what a linear warmup adds.
# concepts: [learning-rate, learning-rate-warmup, learning-rate-schedules, loss-landscape-saddle-points]
# ---

# %% [markdown]
# **Question.** Does a range test of 150 updates predict the best constant learning rate of a longer run, and does a linear warmup raise the largest rate that works?
#
# **Method.** A network with five hidden layers of 48 ReLU units, without normalization, on scikit-learn's digits; SGD with momentum 0.9, batches of 64. In the **range test** [@smith2015clr] the rate grows from $10^{-4}$ to about 3 by the same factor in each of 150 updates, and the loss of each batch is recorded. It is compared with full runs of 400 updates at 13 constant rates from $10^{-3}$ to $1$, and with the same runs where the rate first grows linearly over 100 updates. Everything is done with five seeds, which set the initial weights and the batches. We look at training loss only: this is about optimization.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits

digits = load_digits()
X = torch.tensor(digits.data / 16, dtype=torch.float32)
Y = torch.tensor(digits.target)
LAYERS = [64, 48, 48, 48, 48, 48, 10]
BATCH, SEEDS = 64, 5


def initial(runs_per_seed):
    """Weight matrices (SEEDS * runs_per_seed, in + 1, out) of a batch of networks.

    He's initialization; the last row of each matrix is the bias.
    """
    nets = []
    for seed in range(SEEDS):
        g = torch.Generator().manual_seed(seed)
        nets.append(
            [
                torch.cat([torch.randn(i, o, generator=g) * (2 / i) ** 0.5, torch.zeros(1, o)])
                for i, o in zip(LAYERS, LAYERS[1:])
            ]
        )
    return [torch.stack(w).repeat(runs_per_seed, 1, 1).requires_grad_() for w in zip(*nets)]


def losses(weights, x, y):
    """Cross-entropy of each network, (runs,), for x (runs, batch, 64), y (runs, batch)."""
    for i, w in enumerate(weights):
        x = x @ w[:, :-1] + w[:, -1:]
        if i < len(weights) - 1:
            x = torch.relu(x)
    return torch.nn.functional.cross_entropy(x.transpose(1, 2), y, reduction="none").mean(1)


def train(rates):
    """SGD with momentum 0.9; `rates` is (steps, runs per seed).

    Returns the loss of every batch before its update (steps, runs per seed, SEEDS)
    and the final weights.
    """
    steps, count = rates.shape
    weights = initial(count)
    velocity = [torch.zeros_like(w) for w in weights]
    generators = [torch.Generator().manual_seed(100 + s) for s in range(SEEDS)]
    rate = torch.tensor(rates, dtype=torch.float32).repeat_interleave(SEEDS, 1)
    curve = []
    for t in range(steps):
        rows = torch.stack([torch.randint(len(X), (BATCH,), generator=g) for g in generators])
        rows = rows.repeat(count, 1)
        loss = losses(weights, X[rows], Y[rows])
        gradients = torch.autograd.grad(loss.sum(), weights)
        with torch.no_grad():
            for w, v, g in zip(weights, velocity, gradients):
                v.mul_(0.9).add_(g)
                w -= rate[t, :, None, None] * v
        curve.append(loss.detach().reshape(count, SEEDS))
    return torch.stack(curve).nan_to_num(nan=1e3, posinf=1e3).clamp(max=1e3).numpy(), weights


# %%
TEST, LONG, WARMUP = 150, 400, 100
ramp = np.logspace(-4, 0.5, TEST)
curve, _ = train(ramp[:, None])
smooth = np.array([curve[max(0, t - 4) : t + 5].mean() for t in range(TEST)])
steepest = ramp[np.gradient(smooth[smooth < 3], np.log(ramp[smooth < 3])).argmin()]
lowest = ramp[smooth.argmin()]
print(f"range test: loss falls fastest at a rate of {steepest:.3f}, is lowest at {lowest:.3f}")

rates = np.logspace(-3, 0, 13)
growth = np.minimum(1, np.arange(1, LONG + 1) / WARMUP)[:, None]
last = {}  # mean loss of the last 50 updates (rates, SEEDS)
for name, schedule in {"constant": np.ones((LONG, 1)), "warmup": growth}.items():
    last[name] = train(schedule * rates)[0][-50:].mean(0)
    best = last[name].mean(1).argmin()
    largest = rates[last[name].max(1) < 1].max()
    print(
        f"{name:8} best rate {rates[best]:.3f} with loss {last[name][best].mean():.3f};"
        f" largest rate at which all five seeds learn {largest:.2f}"
    )

# %% alt="Left, range test: the smoothed loss stays near 2.4, falls from a rate of about 0.002, fastest near 0.02, is lowest near 0.08 and explodes beyond 0.2. Right, loss of the last updates against the constant rate: a valley with its floor between 0.01 and 0.06 and a wall at 0.2; the curve with warmup lies on it or slightly above." caption="loss of the batches in the range test, mean of five seeds, with the rate of the steepest fall (left); mean loss of the last 50 of 400 updates, median of five seeds (right)."
fig, axes = plt.subplots(1, 2, figsize=(6.8, 3))
axes[0].semilogx(ramp, smooth)
axes[0].axvline(steepest, ls=":", color="C1", label="steepest fall")
axes[0].set_ylim(0, 4)
axes[0].set_xlabel("learning rate, growing")
axes[0].set_ylabel("loss of the batch")
axes[0].legend()
for (name, values), style in zip(last.items(), ["o-", "s--"]):
    axes[1].loglog(rates, np.median(values, axis=1), style, ms=4, label=name)
axes[1].set_ylim(0.01, 5)
axes[1].set_xlabel("learning rate")
axes[1].set_ylabel("loss at the end")
axes[1].legend();

# %% [markdown]
# **Result.** The rate at which the loss of the range test falls fastest is within a factor of two of the best constant rate. The rate at which it is lowest is several times too high: there, full runs end worse. Warmup changes little: the best rate and the largest usable one stay where they were, and the loss at the end is no lower, as part of the budget is spent at small rates.

# %%
best = {name: rates[values.mean(1).argmin()] for name, values in last.items()}
assert 1 / 3 < steepest / best["constant"] < 3
assert lowest > 1.8 * best["constant"]
usable = {name: rates[values.max(1) < 1].max() for name, values in last.items()}
assert usable["warmup"] < 1.9 * usable["constant"]
assert last["warmup"].mean(1).min() > 0.9 * last["constant"].mean(1).min()

# %% [markdown]
# **Conclusion.** A short ramp of the rate finds the right order of magnitude for a hundredth of the cost of a grid; read off the steepest fall, not the minimum. Warmup is not needed here: He's initialization and momentum start without a dangerous phase. That is no evidence against warmup where it is known to matter, as with Adam on transformers or with very large batches; it shows that warmup is a remedy for particular starts and not a law.
