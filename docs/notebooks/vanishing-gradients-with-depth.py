# ---
# title: How fast gradients vanish with depth
# description: The gradient norm at each layer of deep networks at initialization, for three activations and two initializations.
# concepts: [vanishing-exploding-gradients, weight-initialization, activation-functions]
# ---

# %% [markdown]
# **Question.** How does the size of the gradient change from the last layer to the first, and how much of that is the activation's doing, how much the initialization's?
#
# **Method.** A fully connected network of 30 hidden layers with 100 units each, one batch of 256 Gaussian inputs and random targets, no training. We record the norm of the gradient with respect to each layer's output, averaged over 5 seeds. (The gradient of a layer's weights multiplies this by the size of the layer's input, which can hide the effect: where the signal shrinks forward as fast as the gradient shrinks backward, their product stays the same.)

# %%
import numpy as np
import torch
import matplotlib.pyplot as plt

DEPTH, WIDTH = 30, 100


def gradient_norms(activation, initialize, seed):
    """Norm of the gradient with respect to each hidden layer's output, shape (DEPTH,)."""
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)]
    for layer in layers:
        initialize(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    head = torch.nn.Linear(WIDTH, 1)
    h, target = torch.randn(256, WIDTH), torch.randn(256, 1)
    outputs = []
    for layer in layers:
        h = activation(layer(h))
        h.retain_grad()
        outputs.append(h)
    torch.nn.functional.mse_loss(head(h), target).backward()
    return np.array([output.grad.norm().item() for output in outputs])


# %% [markdown]
# Three activations meet Xavier's initialization [@glorot2010], and ReLU also He's [@he2015].

# %% alt="Gradient norm against layer on a logarithmic axis. Sigmoid falls by more than fifteen orders of magnitude from the last layer to the first, tanh and ReLU with the Xavier initialization fall more slowly, and ReLU with the He initialization stays flat." caption="norm of the gradient with respect to each layer's output, at initialization, mean of 5 seeds. The last layer is on the right."
xavier = torch.nn.init.xavier_normal_
he = torch.nn.init.kaiming_normal_
runs = {
    "sigmoid, Xavier": (torch.sigmoid, xavier),
    "tanh, Xavier": (torch.tanh, xavier),
    "ReLU, Xavier": (torch.relu, xavier),
    "ReLU, He": (torch.relu, he),
}
norms = {name: np.mean([gradient_norms(*run, seed) for seed in range(5)], axis=0) for name, run in runs.items()}

fig, ax = plt.subplots()
for (name, values), style in zip(norms.items(), ["-", "--", "-.", ":"]):
    ax.semilogy(range(1, DEPTH + 1), values, style, label=name)
ax.set_xlabel("layer")
ax.set_ylabel("gradient norm")
ax.legend();

# %%
per_layer = {name: (values[0] / values[-1]) ** (1 / (DEPTH - 1)) for name, values in norms.items()}
for name, factor in per_layer.items():
    print(f"{name:16} times {factor:.2f} per layer toward the input")

# %% [markdown]
# **Result.** With the sigmoid, each layer multiplies the gradient by less than a third: its derivative is at most 1/4, and [Xavier's scale](concept:weight-initialization) assumes a slope of 1 at zero. ReLU with Xavier's scale loses about a factor $1/\sqrt{2}$ per layer, because half of the units pass nothing on. He's scale doubles the variance and makes up for it. Tanh has slope 1 at zero, as Xavier's scale assumes, and loses a twentieth per layer.

# %%
assert per_layer["sigmoid, Xavier"] < 1 / 3
assert 0.9 < per_layer["tanh, Xavier"] < 0.99
assert abs(per_layer["ReLU, Xavier"] - 0.5**0.5) < 0.05
assert abs(per_layer["ReLU, He"] - 1) < 0.05

# %% [markdown]
# **Conclusion.** At initialization, whether gradients vanish is a matter of the product of the activation's slope and the scale of the weights. The cure of this experiment is the initialization. It does not show training, nor other remedies such as normalization and [residual connections](concept:residual-connections).
