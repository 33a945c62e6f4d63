# ---
# title: Word vectors from counts
# description: Word vectors from the co-occurrence counts of a small text, by PMI and a singular value decomposition.
# concepts: [word-embeddings, one-hot-encoding]
# ---

# %% [markdown]
# **Question.** Words that keep the same company are said to mean similar things. How much of that shows in a text of only eleven thousand words, and what does the weighting of the counts add?
#
# **Method.** The text is this site's own glossary of November 2026. Function words are taken out, which leaves six thousand. For each word that occurs at least five times we count the words within four places of it. Three kinds of vectors are compared: the rows of raw counts, the rows of positive pointwise mutual information (PPMI), and PPMI reduced to 40 dimensions by a singular value decomposition (skip-gram with negative sampling implicitly factorizes a relative of this matrix, the PMI shifted by a constant [@levy2014]). As a test without hand-made judgments, we split the text in halves, make vectors from each half, and ask how often a word's nearest neighbors agree between the halves.

# %%
import re
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

# The definitions in lower case; the file lies beside this notebook on the site.
text = next(p for p in (Path("glossary.txt"), Path("docs/notebooks/glossary.txt")) if p.exists()).read_text()
words = re.findall(r"[a-z]+", text)
empty = set("a an and are as at be by each for from has in is it its of on one or over than that the to which with".split())
words = [w for w in words if w not in empty and len(w) > 1]
counts = Counter(words)
vocabulary = [w for w, n in counts.most_common() if n >= 5]
place = {w: i for i, w in enumerate(vocabulary)}
print(f"{len(words):,} words, {len(vocabulary)} in the vocabulary")


def cooccurrence(tokens, window=4):
    """How often each word of the vocabulary stands within the window of each other: (V, V), symmetric."""
    C = np.zeros((len(vocabulary), len(vocabulary)))
    for i, word in enumerate(tokens):
        for other in tokens[i + 1 : i + 1 + window]:
            if word in place and other in place and word != other:
                C[place[word], place[other]] += 1
                C[place[other], place[word]] += 1
    return C


def ppmi(C):
    """max(0, log p(a, b) / (p(a) p(b))) for counts C."""
    total, row = C.sum(), C.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        pmi = np.log(C * total / (row * row.T))
    return np.where(np.isfinite(pmi), np.maximum(pmi, 0), 0)


def reduced(M, k=40):
    """The rows of M in the k directions of largest singular values, scaled by their roots."""
    U, S, _ = np.linalg.svd(M)
    return U[:, :k] * np.sqrt(S[:k])


def similarity(M):
    """Cosine of every pair of rows; a word is not its own neighbor."""
    unit = M / np.maximum(np.linalg.norm(M, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    return cosine


KINDS = {"counts": lambda C: C, "PPMI": ppmi, "PPMI, SVD": lambda C: reduced(ppmi(C))}
everything = {name: similarity(make(cooccurrence(words))) for name, make in KINDS.items()}
for word in ("gradient", "encoder", "variance", "classes"):
    near = everything["PPMI, SVD"][place[word]].argsort()[::-1][:4]
    print(f"{word:11} {', '.join(vocabulary[i] for i in near)}")

# %% [markdown]
# ## Agreement between halves
#
# The halves are made of alternate stretches of 200 words. Agreement is the share of a word's ten nearest neighbors in one half that are among its ten nearest in the other, over the 150 most frequent words; chance is ten divided by the size of the vocabulary. Frequent words can be neighbors in both halves just because they are frequent, so there is a second comparison: the same with the words of each half in random order, which keeps the frequencies and destroys the company, mean of 5 orders.

# %%
stretches = [words[i : i + 200] for i in range(0, len(words), 200)]
halves = [cooccurrence([w for s in stretches[h::2] for w in s]) for h in (0, 1)]


def agreement(make, halves, top=10, frequent=150):
    """Mean share of neighbors that the vectors of the two halves have in common."""
    near = [similarity(make(C)).argsort(1)[:, ::-1][:frequent, :top] for C in halves]
    return np.mean([len(set(a) & set(b)) / top for a, b in zip(*near)])


shares = {name: agreement(make, halves) for name, make in KINDS.items()}
rng = np.random.default_rng(0)
tokens = [[w for s in stretches[h::2] for w in s] for h in (0, 1)]
mixed = [[cooccurrence(list(rng.permutation(half))) for half in tokens] for _ in range(5)]
shuffled = {name: np.mean([agreement(make, m) for m in mixed]) for name, make in KINDS.items()}
chance = 10 / len(vocabulary)
for name, share in shares.items():
    print(f"{name:10} {share:.1%}, in random order {shuffled[name]:.1%}")
print(f"chance     {chance:.1%}")


def popularity(cosine, frequent=20):
    """Share of all first neighbors that are among the most frequent words."""
    return np.mean(cosine.argmax(1) < frequent)


popular = {name: popularity(cosine) for name, cosine in everything.items()}
print("first neighbor among the 20 most frequent words: " + ", ".join(f"{n} {p:.0%}" for n, p in popular.items()))

# %% alt="Bars of the agreement of nearest neighbors between the two halves of the text for raw counts, PPMI and PPMI with SVD. For the text all three are about equal. With the words in random order the bar for counts is nearly as high, those for PPMI and SVD are near the line at chance." caption="share of the ten nearest neighbors that two halves of the text agree on, and the same with the words of each half in random order. The dotted line is chance."
fig, ax = plt.subplots(figsize=(5, 3))
ax.bar(np.arange(3) - 0.2, [100 * s for s in shares.values()], 0.4, hatch="/", label="text")
ax.bar(np.arange(3) + 0.2, [100 * s for s in shuffled.values()], 0.4, label="random order")
ax.axhline(100 * chance, linestyle=":", color="0.3")
ax.set_xticks(range(3), shares)
ax.set_ylabel("agreement, percent")
ax.set_ylim(0, 18)
ax.legend(ncols=2);

# %% [markdown]
# **Result.** Neighbors agree between the halves about four times as often as by chance, and some are convincing (encoder and decoder), others not. All three kinds of vectors agree about equally well, but not for the same reason. With raw counts most of the agreement is there without any company of words: in random order the halves agree nearly as often. With PPMI and the decomposition, random order brings the agreement down to near chance. The nearest neighbor is one of the 20 most frequent words in a fifth of the cases with raw counts, and in fewer than a tenth after the decomposition.

# %%
assert min(shares.values()) > 2.5 * chance
assert popular["PPMI, SVD"] < popular["counts"]
assert max(shares.values()) - min(shares.values()) < 0.05
assert shuffled["counts"] > 2 * chance and shares["counts"] < 1.6 * shuffled["counts"]
assert shares["PPMI"] > 2 * shuffled["PPMI"] and shares["PPMI, SVD"] > 2 * shuffled["PPMI, SVD"]

# %% [markdown]
# **Conclusion.** Even a text of this size holds a trace of the company of words in its co-occurrences, and it takes the weighting to see it: the agreement by raw counts is mostly a matter of frequency. Agreement between halves alone would have missed this; it needs the right baseline. Whether stable neighbors mean similar things is not measured here.
