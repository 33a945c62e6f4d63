# ---
# title: Residual connections and degradation
# description: Training error of plain and residual networks of growing depth on digits.
# concepts: [residual-connections, vanishing-exploding-gradients, weight-initialization]
# ---

# %% [markdown]
# **Question.** Deeper plain networks were found to have a higher *training* error than shallower ones, although they could copy them; residual connections removed the effect [@he2016]. Does it appear in a small fully connected network with a good initialization?
#
# **Method.** Networks of 2 to 64 layers with 48 ReLU units each, after a first layer that brings the input to this width, He's initialization, no normalization, on scikit-learn's digits. Plain: $\mathbf{h}\leftarrow\phi(\mathbf{W}\mathbf{h}+\mathbf{b})$. Residual: $\mathbf{h}\leftarrow\mathbf{h}+\phi(\mathbf{W}\mathbf{h}+\mathbf{b})/\sqrt{L}$ with $L$ layers. (The factor $1/\sqrt{L}$, which the original has not, keeps the sum of the branches from growing with depth.) Adam, 80 full-batch steps at the best of three learning rates, chosen for each depth and kind; training loss on a third of the images, mean of 2 seeds.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits

digits = load_digits()
X = torch.tensor((digits.data - digits.data.mean(0)) / (digits.data.std(0) + 1e-6), dtype=torch.float32)
y = torch.tensor(digits.target)
DEPTHS = [2, 4, 8, 20, 64]


class Network(torch.nn.Module):
    """`depth` hidden layers of 48 units between an input and an output layer."""

    def __init__(self, depth, residual):
        super().__init__()
        self.first, self.last = torch.nn.Linear(64, 48), torch.nn.Linear(48, 10)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(48, 48) for _ in range(depth))
        for layer in (self.first, *self.layers):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        self.residual, self.scale = residual, depth**-0.5

    def forward(self, x):
        h = torch.relu(self.first(x))
        for layer in self.layers:
            f = torch.relu(layer(h))
            h = h + self.scale * f if self.residual else f
        return self.last(h)


def final_loss(depth, residual, seed, rate):
    """Training loss after 80 steps."""
    torch.manual_seed(seed)
    net = Network(depth, residual)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for _ in range(80):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(X[::3]), y[::3])
        loss.backward()
        optimizer.step()
    return loss.item()


def best(depth, residual):
    """The smallest mean loss of three learning rates, over 2 seeds."""
    return min(np.mean([final_loss(depth, residual, s, rate) for s in range(2)]) for rate in (1e-3, 3e-3, 1e-2))


losses = {name: [best(d, name == "residual") for d in DEPTHS] for name in ("plain", "residual")}

# %% alt="Training loss against the number of layers on logarithmic axes. The plain networks' loss falls at first and rises by orders of magnitude beyond eight layers; the residual networks' loss is higher at moderate depth, rises less, and is far lower at 64 layers." caption="training loss after 80 steps, at the best of three learning rates, mean of 2 seeds."
fig, ax = plt.subplots()
ax.loglog(DEPTHS, losses["plain"], "o-", label="plain")
ax.loglog(DEPTHS, losses["residual"], "s--", label="residual")
ax.set_xticks(DEPTHS, DEPTHS)
ax.xaxis.minorticks_off()
ax.set_xlabel("layers")
ax.set_ylabel("training loss")
ax.legend();

# %%
for name, values in losses.items():
    print(f"{name:9}" + "  ".join(f"{d} layers {v:.0e}" for d, v in zip(DEPTHS, values)))

# %%
plain, residual = dict(zip(DEPTHS, losses["plain"])), dict(zip(DEPTHS, losses["residual"]))
assert plain[64] > 100 * plain[8] and plain[64] > 0.5
assert residual[64] < 0.25 * plain[64]
assert residual[64] > 10 * residual[8] and residual[8] > 2 * plain[8]  # at moderate depth the plain network trains faster

# %% [markdown]
# **Result.** The plain network of 64 layers ends with a far higher training loss than shallower ones, although He's initialization gives its gradients a fitting scale on average. The residual network of the same depth trains far better, though not as well as a shallow one: the effect is smaller, not gone. Up to 8 layers the plain networks reach the *lower* loss, where both losses are tiny: residual connections are not a gain as such at moderate depth. The values at 20 layers hang on the seed and even on rounding.
#
# **Conclusion.** It is an effect of optimization: the loss is the training loss, and every shallower plain network is contained in the deeper one. He's initialization keeps the *average* size of signals, which was not enough at this depth; what [normalization](concept:batch-normalization) would add is not tested. A fixed budget of 80 steps and the coarse choice of learning rates are part of the finding.
