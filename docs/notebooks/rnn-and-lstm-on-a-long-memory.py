# ---
# title: RNN and LSTM on a long memory
# description: How many steps a simple RNN and an LSTM can carry one bit, and what the forget gate's initial bias does.
# concepts: [lstm, recurrent-neural-networks, backprop-through-time]
# ---

# %% [markdown]
# **Question.** Gated cells are said to carry information over longer times than simple recurrent networks [@hochreiter1997]. Over how many steps, after the same training?
#
# **Method.** The first input of a sequence is +1 or -1, all others are small noise; after $T$ steps the network must say which it was. Hidden size 16, batches of 64 fresh sequences, Adam, 200 steps, gradients clipped to norm 1. We train a tanh RNN and an LSTM as PyTorch makes them, a tanh RNN with an orthogonal recurrent matrix, and an LSTM whose forget gates start with a bias of 2, all at one learning rate. Accuracy on 500 new sequences, mean of 3 seeds.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

LENGTHS = [5, 10, 20, 40, 80]


def batch(size, length, generator):
    """Sequences of shape (size, length, 1) and their labels, 0 or 1."""
    label = torch.randint(0, 2, (size,), generator=generator)
    x = 0.1 * torch.randn(size, length, 1, generator=generator)
    x[:, 0, 0] = 2.0 * label - 1
    return x, label


class Reader(torch.nn.Module):
    """A recurrent layer of 16 units whose last state is classified."""

    def __init__(self, kind):
        super().__init__()
        self.cell = (torch.nn.RNN if "RNN" in kind else torch.nn.LSTM)(1, 16, batch_first=True)
        self.head = torch.nn.Linear(16, 2)
        if kind == "RNN, orthogonal":
            torch.nn.init.orthogonal_(self.cell.weight_hh_l0)
        if kind == "LSTM, forget bias 2":
            with torch.no_grad():
                # PyTorch's gates are in the order i, f, g, o; a second bias, near 0, adds to this one
                self.cell.bias_ih_l0[16:32].fill_(2)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def accuracy(kind, length, seed):
    """Accuracy on new sequences after training."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = Reader(kind)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(200):
        x, label = batch(64, length, generator)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), label).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1)
        optimizer.step()
    with torch.no_grad():
        x, label = batch(500, length, generator)
        return (net(x).argmax(-1) == label).float().mean().item()


kinds = ["RNN", "LSTM", "RNN, orthogonal", "LSTM, forget bias 2"]
table = {kind: [np.mean([accuracy(kind, T, s) for s in range(3)]) for T in LENGTHS] for kind in kinds}

# %% alt="Accuracy against sequence length from 5 to 80. All four remember 10 steps. The default LSTM falls to chance at 20, the default RNN at 40, the LSTM with a forget bias of 2 at 80, and the RNN with an orthogonal matrix stays at 100 percent throughout." caption="accuracy of recalling the first input, against the number of steps, mean of 3 seeds. Chance is 50 percent."
fig, ax = plt.subplots()
for (kind, values), style in zip(table.items(), ["o-", "s--", "v:", "^-."]):
    ax.semilogx(LENGTHS, np.array(values) * 100, style, label=kind)
ax.set_xticks(LENGTHS, LENGTHS)
ax.xaxis.minorticks_off()
ax.set_xlabel("steps to remember")
ax.set_ylabel("accuracy, percent")
ax.legend();

# %%
for kind, values in table.items():
    print(f"{kind:20}" + "  ".join(f"{T:2}: {v:.0%}" for T, v in zip(LENGTHS, values)))

# %% [markdown]
# **Result.** The textbook order does not appear, with either initialization. PyTorch's default LSTM fails from 20 steps on, its default RNN from 40. The RNN with an orthogonal recurrent matrix recalls the bit after 80 steps, where both LSTMs fail. A forget bias of 2 in place of about 0 extends the LSTM's reach to 40 steps.

# %%
rnn, lstm, orthogonal, biased = (dict(zip(LENGTHS, table[kind])) for kind in kinds)
assert min(lstm[5], lstm[10], rnn[5], biased[5]) > 0.95
assert max(lstm[20], lstm[40], lstm[80]) < 0.7
assert rnn[20] > 0.9 and max(rnn[40], rnn[80]) < 0.7
assert biased[40] > 0.9 and biased[80] < 0.7
assert orthogonal[80] > 0.9

# %% [markdown]
# **Conclusion.** In this task the initialization decides more than the kind of cell. A likely reason is the factor by which a state is multiplied at each step when training begins. An orthogonal matrix has singular values of exactly 1, and the tanh of a small state is nearly the identity. A forget gate at $\sigma(0)=0.5$ halves the cell at each step, so after 40 steps nothing is left for the gradient to find; at $\sigma(2)\approx 0.88$ the reach is longer. @jozefowicz2015 recommend a forget bias of 1 for this reason. Gates let a network *learn* what to keep, but training must first find a gradient. One bit and noise of 0.1 favor a fixed linear memory; tasks with distractors, or with more steps of training, are not tested here.
