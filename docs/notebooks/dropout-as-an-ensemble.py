# ---
# title: Is dropout an ensemble?
# description: One network with dropout compared with the average over many masks, on digits, and what the spread over masks says.
# concepts: [dropout, softmax-function]
# ---

# %% [markdown]
# **Question.** Dropout is said to train an ensemble of thinned networks whose average the full network approximates at test time [@srivastava2014]. How close is that approximation, and does the disagreement between masks (Monte Carlo dropout) say where the network errs?
#
# **Method.** A network with one hidden layer of 256 ReLU units and dropout 0.5 on it, trained on 600 of scikit-learn's 8 by 8 digits and tested on the other 1,197. After training, each test image is classified by the network without dropout, and by the average of the probabilities over 200 random masks. One fact is known beforehand: with a single layer of dropout before the softmax, the full network is exactly the normalized *geometric* mean of all thinned networks; the question is how close that is to their ordinary average. All figures are means over 3 seeds.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits

digits = load_digits()
X = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
train, test = order[:600], order[600:]


def trained(seed):
    """A network trained for 300 full-batch steps; returns the module."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(256, 10)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(X[train]), y[train]).backward()
        optimizer.step()
    return net


@torch.no_grad()
def probabilities(net, masks):
    """Probabilities of the test images: without dropout (masks = 0), or one row of them per mask."""
    if not masks:
        return net.eval()(X[test]).softmax(-1)
    net.train()
    return torch.stack([net(X[test]).softmax(-1) for _ in range(masks)])


nets = [trained(seed) for seed in range(3)]
full = [probabilities(net, 0) for net in nets]
sampled = [probabilities(net, 200) for net in nets]

# %% [markdown]
# ## How close the full network is to the average
#
# We compare, for growing numbers of masks, the error of the averaged prediction with that of the full network, and measure how far apart the two predictions are: the mean total variation distance between them.

# %% alt="Test error against the number of masks averaged, from 1 to 200, on a logarithmic axis. One mask errs more often; the average falls quickly and levels off near the dashed line of the full network without dropout." caption="test error of the average over masks, mean of 3 seeds. The dashed line is the full network without dropout."
counts = [1, 2, 5, 10, 20, 50, 100, 200]
target = y[test]


def error(p):
    """Share of test images for which the most probable class is wrong."""
    return (p.argmax(-1) != target).float().mean().item()


averaged = [np.mean([error(s[:n].mean(0)) for s in sampled]) for n in counts]
single = np.mean([error(p) for p in full])
fig, ax = plt.subplots()
ax.semilogx(counts, np.array(averaged) * 100, "o-", label="average over masks")
ax.axhline(single * 100, linestyle="--", color="C1", label="full network")
ax.set_xlabel("number of masks")
ax.set_ylabel("test error, percent")
ax.legend();

# %%
distance = np.mean([(0.5 * (p - s.mean(0)).abs().sum(-1)).mean().item() for p, s in zip(full, sampled)])
one_mask = np.mean([(0.5 * (p - s[0]).abs().sum(-1)).mean().item() for p, s in zip(full, sampled)])
agreement = np.mean([(p.argmax(-1) == s.mean(0).argmax(-1)).float().mean().item() for p, s in zip(full, sampled)])
geometric = [s.clamp_min(1e-30).log().mean(0).softmax(-1) for s in sampled]
exact = np.mean([(0.5 * (p - g).abs().sum(-1)).mean().item() for p, g in zip(full, geometric)])
print(f"error: one mask {averaged[0]:.1%}, 200 masks {averaged[-1]:.1%}, full network {single:.1%}")
print(f"same class from full network and average: {agreement:.1%}")
print(f"total variation to the full network: one mask {one_mask:.3f}, average {distance:.3f},"
      f" geometric mean {exact:.3f}")

# %% [markdown]
# ## What the disagreement between masks says
#
# The entropy of the averaged prediction is high where the masks are unsure or disagree; minus the mean entropy of the single masks it measures their disagreement alone. If these tell where the network errs, the errors should be gone when the most uncertain images are set aside.

# %%
def kept_error(p, uncertainty, keep):
    """Error on the share `keep` of the images with the smallest uncertainty."""
    chosen = uncertainty.argsort()[: int(keep * len(uncertainty))]
    return (p.argmax(-1) != target)[chosen].float().mean().item()


def entropy(p):
    """Entropy of each row, in nats."""
    return -(p * p.clamp_min(1e-12).log()).sum(-1)


def disagreement(s):
    """Entropy of the average minus average entropy (mutual information of class and mask)."""
    return entropy(s.mean(0)) - entropy(s).mean(0)


rows = {
    "disagreement of masks": [kept_error(s.mean(0), disagreement(s), 0.8) for s in sampled],
    "average over masks": [kept_error(s.mean(0), entropy(s.mean(0)), 0.8) for s in sampled],
    "full network": [kept_error(p, entropy(p), 0.8) for p in full],
}
for name, errors in rows.items():
    print(f"{name:21} error on the 80% it is surest of: {np.mean(errors):.2%}")

# %% [markdown]
# **Result.** One mask errs more often than the average of many, so the thinned networks do differ, and averaging them helps as it does for an ensemble. The full network makes nearly the same predictions as the average, at the cost of one pass. Setting aside the fifth of the images with the highest entropy, or with the most disagreement, removes nearly all errors, and the full network's own entropy does that almost as well as the masks': one to three errors are left among 957 images, too few for an order.

# %%
assert averaged[0] > averaged[-1] + 0.005
assert abs(averaged[-1] - single) < 0.01 and agreement > 0.98
assert distance < 0.6 * one_mask and exact < 0.3 * distance
assert max(np.mean(errors) for errors in rows.values()) < 0.3 * single

# %% [markdown]
# **Conclusion.** On this small task and with one layer of dropout, the weight-scaling rule is a good approximation of the average over masks. With dropout in several layers it is no longer an exact geometric mean either. Monte Carlo dropout ranks the test images by doubt, but here the plain softmax ranks them about as well: the sampling buys little on data like the training data. What happens on images from elsewhere is another experiment, which this one does not answer.
