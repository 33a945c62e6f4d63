# ---
# title: Attention from scratch, and what its heads learn
# description: A one-layer attention model that must copy from a marked position, its maps, and what happens without positions.
# concepts: [attention-mechanism, self-attention, multi-head-attention, positional-encoding]
# ---

# %% [markdown]
# **Question.** Can attention weights be read as "where the model looks"? In a task where the right place to look is known, do the weights point there, and do they have to?
#
# **Method.** A sequence of 12 random symbols out of 8; the last position holds a number $k$ from 1 to 8, and the target is the symbol $k$ places before the end. The model is one layer of multi-head attention with learned positions, written below and compared with PyTorch's function, and a linear output. Adam, 700 steps of 128 fresh sequences. We compare 1, 2 and 4 heads of total width 32, and the model without positions. Then we remove one head at a time from the trained models. One seed.

# %%
import matplotlib.pyplot as plt
import torch

F = torch.nn.functional
LENGTH, SYMBOLS, WIDTH = 12, 8, 32


class Attention(torch.nn.Module):
    """Multi-head self-attention; keeps the weights of the last call, shape (batch, heads, length, length)."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def split(self, x):
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        self.weights = scores.softmax(-1)
        return self.o((self.weights @ v).transpose(1, 2).flatten(2))


class Model(torch.nn.Module):
    """Embedding, positions, one attention layer, and a prediction at the last position."""

    def __init__(self, heads, positions=True):
        super().__init__()
        self.symbol = torch.nn.Embedding(SYMBOLS + 8, WIDTH)
        self.position = torch.nn.Parameter(0.5 * torch.randn(LENGTH, WIDTH) * positions, requires_grad=positions)
        self.attention = Attention(heads)
        self.out = torch.nn.Linear(WIDTH, SYMBOLS)

    def forward(self, x):
        h = self.symbol(x) + self.position
        return self.out((h + self.attention(h))[:, -1])


def batch(size, generator):
    """Sequences (size, LENGTH), targets, and the place that holds the answer."""
    x = torch.randint(0, SYMBOLS, (size, LENGTH), generator=generator)
    back = torch.randint(1, 9, (size,), generator=generator)
    place = LENGTH - 1 - back
    target = x.gather(1, place[:, None])[:, 0]
    x[:, -1] = SYMBOLS + back - 1
    return x, target, place


def trained(heads, positions=True, seed=0, steps=700):
    """A trained model and its accuracy on 1,000 new sequences."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Model(heads, positions)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(steps):
        x, target, _ = batch(128, generator)
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimizer.step()
    x, target, place = batch(1000, generator)
    with torch.no_grad():
        right = (model(x).argmax(-1) == target).float().mean().item()
    looks = model.attention.weights[:, :, -1].gather(2, place[:, None, None].expand(-1, heads, 1))[..., 0]
    return model, right, looks.mean(0).tolist()


attention = Attention(4)
h = torch.randn(5, LENGTH, WIDTH)
q, k, v = (attention.split(f(h)) for f in (attention.q, attention.k, attention.v))
reference = attention.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
difference = (attention(h) - reference).abs().max().item()
print(f"largest difference to PyTorch's function: {difference:.0e}")

# %%
runs = {heads: trained(heads) for heads in (1, 2, 4)}
_, blind, _ = trained(2, positions=False)
for heads, (_, right, looks) in runs.items():
    print(f"{heads} heads: accuracy {right:.1%}, weight on the right place by head " + ", ".join(f"{w:.2f}" for w in looks))
x, target, _ = batch(2000, torch.Generator().manual_seed(8))
often = F.one_hot(x[:, :-1], SYMBOLS).sum(1).max(1).values.float().mean().item() / (LENGTH - 1)
print(f"2 heads without positions: accuracy {blind:.1%}; guess of the most frequent symbol {often:.1%}")


@torch.no_grad()
def without(model, head):
    """Accuracy when the output matrix does not read one of the heads."""
    weight, size = model.attention.o.weight, WIDTH // model.attention.heads
    kept = weight.clone()
    weight[:, head * size : (head + 1) * size] = 0
    right = (model(x).argmax(-1) == target).float().mean().item()
    weight.copy_(kept)
    return right


removed = {heads: [without(model, h) for h in range(heads)] for heads, (model, _, _) in runs.items()}
for heads, values in removed.items():
    print(f"{heads} heads, one removed: accuracy " + ", ".join(f"{v:.1%}" for v in values))

# %% alt="Three panels, one for the single head and one for each of two heads: mean attention weight of the last position on every place, one row for each number of steps back. All show a bright diagonal, the single head the sharpest one." caption="mean attention of the last position, by the number that it holds (rows) and the place looked at (columns). Left the model with one head, then the two heads of the second model."
def map_of(model, head):
    """Mean weights of the last position by the number it holds: (8, LENGTH)."""
    x, _, place = batch(2000, torch.Generator().manual_seed(9))
    with torch.no_grad():
        model(x)
    w = model.attention.weights[:, head, -1]
    return torch.stack([w[place == LENGTH - 1 - back].mean(0) for back in range(1, 9)])


panels = [("one head", runs[1][0], 0), ("two heads, first", runs[2][0], 0), ("two heads, second", runs[2][0], 1)]
fig, axes = plt.subplots(1, 3, sharey=True, figsize=(6.4, 2.6))
for ax, (name, model, head) in zip(axes, panels):
    ax.imshow(map_of(model, head).detach(), vmin=0, vmax=1, aspect="auto", interpolation="none")
    ax.grid(False)
    ax.set_xlabel(f"place ({name})")
axes[0].set_yticks(range(8), range(1, 9))
axes[0].set_ylabel("steps back");

# %%
one = runs[1]
assert difference < 1e-5
assert one[1] > 0.98 and one[2][0] > 0.8
assert min(runs[2][1], runs[4][1]) > 0.98
assert abs(blind - often) < 0.1
assert removed[1][0] < 0.25 and min(removed[4]) > 0.95
assert max(runs[4][2]) < one[2][0]

# %% [markdown]
# **Result.** With one head the model solves the task, and nearly all of the weight lies on the place that holds the answer. With four heads the weight on the right place ranges between about 0.6 and 0.85, although the model is as accurate. Any one of the four can be removed without loss worth mention, although each of them looks at the right place. Without positions the model cannot find the place, and is about as often right as the guess of the most frequent symbol in the sequence, which needs only counting.
#
# **Conclusion.** Here the weights of a single head can be read, because the task leaves only one way. With more heads than the task needs, each looks less sharply, and a map alone does not say what a head contributes: its value and output matrices decide what is read and passed on. That a head looks somewhere, even at the right place, is not evidence that the model needs it.
