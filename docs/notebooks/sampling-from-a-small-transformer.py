# ---
# title: Temperature and top-p in a small transformer
# description: A two-layer character model trained on the glossary of this site, and what sampling settings do to its text.
# concepts: [transformer-architecture, self-attention, positional-encoding, softmax-function]
# ---

# %% [markdown]
# **Question.** What do temperature and top-p (nucleus) sampling [@holtzman2020] change in the text that a language model writes?
#
# **Method.** A decoder-only transformer with two layers, width 64 and four heads, is trained on the characters of this site's own glossary for 900 steps of 24 windows of 64 characters. One tenth of the text is held out. We sample 3,000 characters at each setting and measure two things: the share of words that occur in the training text (a proxy for sense) and the share of distinct words (a proxy for variety). One model and one sample of each setting: differences of a few points are chance.

# %%
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

F = torch.nn.functional
# The definitions of November 2026 in lower case; the file lies beside this notebook on the site.
text = next(p for p in (Path("glossary.txt"), Path("docs/notebooks/glossary.txt")) if p.exists()).read_text()
alphabet = sorted(set(text))
ids = torch.tensor([alphabet.index(c) for c in text])
cut = int(0.9 * len(ids))
CONTEXT, WIDTH = 64, 64
print(f"{len(text):,} characters, {len(alphabet)} different ones")


class Block(torch.nn.Module):
    """A transformer layer with normalization before attention and feed-forward network."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
        self.qkv, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.feed = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.GELU(), torch.nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x):
        q, k, v = (
            part.reshape(*x.shape[:2], 4, -1).transpose(1, 2) for part in self.qkv(self.first(x)).chunk(3, -1)
        )
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(heads.transpose(1, 2).flatten(2))
        return x + self.feed(self.second(x))


class Model(torch.nn.Module):
    """Logits of the next character at every position: (batch, time) -> (batch, time, alphabet)."""

    def __init__(self):
        super().__init__()
        self.token = torch.nn.Embedding(len(alphabet), WIDTH)
        self.position = torch.nn.Parameter(0.02 * torch.randn(CONTEXT, WIDTH))
        self.blocks = torch.nn.Sequential(Block(), Block(), torch.nn.LayerNorm(WIDTH))
        self.head = torch.nn.Linear(WIDTH, len(alphabet))

    def forward(self, x):
        return self.head(self.blocks(self.token(x) + self.position[: x.shape[1]]))


torch.manual_seed(0)
model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 900)
for step in range(900):
    start = torch.randint(0, cut - CONTEXT - 1, (24,))
    window = torch.stack([ids[s : s + CONTEXT + 1] for s in start])
    optimizer.zero_grad()
    loss = F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
    loss.backward()
    optimizer.step()
    schedule.step()
with torch.no_grad():
    held_out = ids[cut : cut + (len(ids) - cut - 1) // CONTEXT * CONTEXT + 1]
    x, target = held_out[:-1].reshape(-1, CONTEXT), held_out[1:].reshape(-1, CONTEXT)
    final = F.cross_entropy(model(x).flatten(0, 1), target.flatten()).item()
counts = torch.bincount(ids, minlength=len(alphabet)).float()
unigram = -(counts / counts.sum()).clamp_min(1e-9).log()[held_out].mean().item()
print(f"held-out loss {final:.2f} nats a character; frequencies of single characters alone: {unigram:.2f}")

# %% [markdown]
# ## Sampling
#
# Temperature $T$ divides the logits. Top-p keeps the smallest set of characters whose probabilities sum to at least $p$, and draws from it in proportion.

# %%
@torch.no_grad()
def sample(temperature=1.0, top_p=1.0, chains=30, length=100, seed=0):
    """Text of `chains` sequences, written in parallel from a space."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.full((chains, 1), alphabet.index(" "))
    for _ in range(length):
        p = (model(x[:, -CONTEXT:])[:, -1] / max(temperature, 1e-6)).softmax(-1)
        p, order = p.sort(descending=True)
        p = p * (p.cumsum(-1) - p < top_p)
        x = torch.cat([x, order.gather(1, torch.multinomial(p, 1, generator=generator))], 1)
    return ["".join(alphabet[i] for i in row) for row in x[:, 1:]]


known = set(re.findall(r"[a-z]+", text[:cut]))


def measured(lines):
    """Share of whole words that the training text has, and of distinct ones among all."""
    words = [w for line in lines for w in re.findall(r"[a-z]+", line)[1:-1]]
    return np.mean([w in known for w in words]), len(set(words)) / len(words)


temperatures = [0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6]
nuclei = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0]
by_temperature = np.array([measured(sample(temperature=t)) for t in temperatures])
by_nucleus = np.array([measured(sample(top_p=p)) for p in nuclei])
for name, line in {"T = 0.2": sample(0.2)[0], "T = 1": sample(1)[0], "T = 1.6": sample(1.6)[0], "p = 0.5": sample(1, 0.5)[0]}.items():
    print(f"{name:8} {line[:70]}")

# %% alt="Share of known words against share of distinct words. Both the curve over temperatures and the curve over top-p run from many known and few distinct words to few known and many distinct ones, and lie close together." caption="sense against variety for temperatures from 0.2 to 1.6 and top-p from 0.3 to 1. Up is more words that exist, right is more different words."
fig, ax = plt.subplots()
ax.plot(by_temperature[:, 1], by_temperature[:, 0] * 100, "o-", label="temperature")
ax.plot(by_nucleus[:, 1], by_nucleus[:, 0] * 100, "s--", label="top-p")
ax.set_xlabel("share of distinct words")
ax.set_ylabel("words of the training text, percent")
ax.legend();

# %%
lines = [f"T = {t:<4}: known words {s:.0%}, distinct {v:.0%}" for t, (s, v) in zip(temperatures, by_temperature)]
lines += [f"p = {p:<4}: known words {s:.0%}, distinct {v:.0%}" for p, (s, v) in zip(nuclei, by_nucleus)]
real = measured([text[i : i + 100] for i in range(cut, cut + 3000, 100)])
lines += [f"held-out text: known words {real[0]:.0%}, distinct {real[1]:.0%}"]
print("\n".join(lines))
# Known words at top-p, minus those of the temperature that gives the same share of distinct words
apart = by_nucleus[1:, 0] - np.interp(by_nucleus[1:, 1], by_temperature[:, 1], by_temperature[:, 0])

# %% [markdown]
# **Result.** Low temperature and small $p$ give mostly words that exist, and the same ones again and again; high temperature gives variety and invented words. Both settings move along nearly the same curve. It stays away from real text: the held-out part has more known words than any sample, with as many distinct ones as at a temperature between 0.6 and 0.8.

# %%
assert final < unigram - 0.5
assert by_temperature[0, 0] > by_temperature[-1, 0] + 0.2
assert by_temperature[0, 1] < by_temperature[4, 1] - 0.1
assert by_nucleus[0, 1] < by_nucleus[-1, 1] - 0.1
assert np.abs(apart).max() < 0.08
assert real[0] > by_temperature[:, 0].max() and real[1] > by_temperature[0, 1] + 0.1

# %% [markdown]
# **Conclusion.** Temperature and top-p trade sense against variety. For this small model the two are nearly interchangeable. Top-p was proposed for models whose long tail of improbable tokens is harmful in long texts, which an alphabet of thirty characters does not show.
