# ---
# title: Weight decay in Adam and AdamW
# description: What an L2 penalty in Adam does to weights with large and small gradients, and what decoupled decay does instead.
# concepts: [adamw-decoupled-weight-decay, adam, l2-and-weight-decay]
# ---

# %% [markdown]
# **Question.** AdamW takes weight decay out of the gradient [@loshchilov2019]. Does that change which weights shrink?
#
# **Method.** First a case with a known answer: weights that get pure noise as gradients, with standard deviations from 0.001 to 10, start at 1 and are trained for 3,000 steps. Without a signal, decay alone should shrink them all alike. Then a small network on digits, once with Adam and an L2 penalty, once with AdamW, whose inputs are scaled so that some features have gradients a hundred times those of others.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits

SIZES = np.logspace(-3, 1, 13)


def shrunk(kind, decay, seed, steps=3000, rate=1e-3):
    """Mean weight left of 1 for each size of gradient noise: (len(SIZES),)."""
    torch.manual_seed(seed)
    noise = torch.tensor(SIZES, dtype=torch.float32)[:, None]
    w = torch.ones(len(SIZES), 200, requires_grad=True)
    optimizer = kind([w], lr=rate, weight_decay=decay)
    for _ in range(steps):
        w.grad = noise * torch.randn_like(w)
        optimizer.step()
    return w.detach().mean(1).numpy()


left = {
    "Adam, L2 penalty 0.1": shrunk(torch.optim.Adam, 0.1, 0),
    "AdamW, decay 0.3": shrunk(torch.optim.AdamW, 0.3, 0),
}
expected = (1 - 1e-3 * 0.3) ** 3000

# %% alt="Mean weight left after training against the size of the gradient noise on a logarithmic axis. AdamW is a flat line near 0.41. Adam with an L2 penalty has shrunk weights with small gradients to zero and hardly touched those with large gradients." caption="what is left of weights that began at 1, against the size of their gradients. The dotted line is what AdamW's decay alone leaves."
fig, ax = plt.subplots()
for (name, values), style in zip(left.items(), ["o-", "s--"]):
    ax.semilogx(SIZES, values, style, label=name)
ax.axhline(expected, linestyle=":", color="0.3")
ax.set_xlabel("standard deviation of the gradient")
ax.set_ylabel("mean weight after 3,000 steps")
ax.legend();

# %%
adam, adamw = left.values()
for name, values in left.items():
    print(f"{name:22} small gradients {values[0]:.2f}, large gradients {values[-1]:.2f}")
print(f"expected of AdamW: {expected:.2f}")

# %% [markdown]
# ## A network with features of different scales
#
# The left half of each image is divided by 10 and the right half multiplied by 10, so that the gradients of their weights differ by a factor of about a hundred. The two strengths of decay are not matched, so we compare, within each run, how much it shrinks the two halves' weights in the first layer, relative to training without decay.

# %%
digits = load_digits()
scale = np.where(np.arange(64) % 8 < 4, 0.1, 10.0)
X = torch.tensor((digits.data / 16 - 0.3) * scale, dtype=torch.float32)
y = torch.tensor(digits.target)
left_half = torch.tensor(scale < 1)


def norms(kind, decay, seed):
    """Norm of the first layer's weights on the left (small inputs) and on the right (large inputs)."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = kind(net.parameters(), lr=1e-3, weight_decay=decay)
    for _ in range(600):
        batch = torch.randint(0, 1200, (64,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(X[batch]), y[batch]).backward()
        optimizer.step()
    weight = net[0].weight.detach()
    return np.array([weight[:, left_half].norm().item(), weight[:, ~left_half].norm().item()])


plain = np.mean([norms(torch.optim.Adam, 0.0, s) for s in range(3)], axis=0)
shares = {
    "Adam, L2 penalty 0.001": np.mean([norms(torch.optim.Adam, 0.001, s) for s in range(3)], axis=0) / plain,
    "AdamW, decay 1": np.mean([norms(torch.optim.AdamW, 1.0, s) for s in range(3)], axis=0) / plain,
}
for name, (small, large) in shares.items():
    print(f"{name:23} norm kept: small inputs {small:.2f}, large inputs {large:.2f}, ratio {small / large:.2f}")

# %% [markdown]
# **Result.** With an L2 penalty in Adam, what is left of a weight depends on the size of its gradient's noise: weights with small gradients vanish, weights with large ones are hardly decayed. With AdamW all shrink by the same factor, the one that the decay alone gives. In the network, the L2 penalty shrinks the weights of the small inputs, whose gradients are small, far more than those of the large inputs; AdamW treats both halves nearly alike.

# %%
assert adam[0] < 0.1 and adam[-1] > 0.85
assert np.abs(adamw - expected).max() < 0.05
small, large = shares["Adam, L2 penalty 0.001"]
assert small < 0.6 * large
small, large = shares["AdamW, decay 1"]
assert 0.8 < small / large < 1.3

# %% [markdown]
# **Conclusion.** An L2 penalty enters Adam's gradient and is divided by the root of its second moment like all else; so it regularizes least where gradients are largest. Decoupled decay does what its name says. Which of the two generalizes better is another question, which needs tuned runs and is not answered here.
