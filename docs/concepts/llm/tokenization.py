"""Twin of the page "Tokenization": BPE, WordPiece scores, unigram models, counts on its text."""
import re
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import torch

# A text written for this page; the tokenizers below are trained on it.
TEXT = """
The ferry crosses the river four times a day. In the morning it carries the workers from
the village to the paper mill, and in the evening it carries them home. The ferryman knows
the river better than anyone else. He knows where the water is shallow, where the current
is strong, and where the stones lie under the water in the summer. When the river is high
after the rain, he waits. The workers complain, but they wait with him, because nobody in
the village wants to cross a river that the ferryman does not want to cross.

The paper mill stands on the other side of the river. It was built in 1884 by two brothers
who came from the north with little more than a plan. The water of the river turned the
wheel, the wheel turned the stones, and the stones ground the wood to a wet grey pulp.
Later the brothers bought a steam engine, and in 1912 the mill got its first electric
motor. The wheel still turns, but only for visitors. The mill makes a paper that is thick
and slightly yellow. Painters buy it because it takes the water well and because it does
not tear when they work on it for a long time.

In the summer the visitors come. They take the ferry in the morning, look at the wheel, buy
some of the paper, and walk along the river to the old bridge. The bridge fell in a flood
in 1931 and nobody built it again. Only the two towers stand, one on this side of the water
and one on the other. Children climb the towers although a sign tells them not to. From the
top they can see the village, the mill, the ferry, and the long grey line of the river as
it turns to the south.

The ferryman has a daughter who works in the mill. She tests the paper. She takes a sheet
from every thousand, holds it against the light, weighs it, tears it, and writes the
numbers in a book. If the numbers are wrong, she stops the machine. Nobody likes it when
the machine stops, but everybody knows that a bad sheet comes back as a lost customer. Her
father says that the two of them do the same work. He looks at the water and says whether
the ferry can go, and she looks at the paper and says whether the machine can go. Both of
them are paid for the days on which they say no.
"""
HELD_OUT = """
In the winter the river freezes along the banks, and the ferryman breaks the ice with a long
iron bar before the first workers come. One morning the bar slipped from his cold hands and
sank. He looked at the water for a while, then he told the workers to go home. His daughter
heard about it at the mill. She borrowed a bar from the stone cutters, walked across the
frozen shallows, and gave it to him without a word. They crossed the river at noon, half a
day late, and nobody complained.
"""
# Article 1, first sentence, of the Universal Declaration of Human Rights (United Nations).
UDHR = {
    "English": "All human beings are born free and equal in dignity and rights.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
}


# --8<-- [start:numpy]
def pre_tokenize(text):
    """Cut text into words with their leading space, and single other characters."""
    return re.findall(r" ?[^\W\d_]+| ?\d+|\s|[^\w\s]|_", text)


def merge(symbols, pair):
    """Replace every occurrence of pair in a tuple of symbols, from left to right."""
    out, i = [], 0
    while i < len(symbols):
        if symbols[i:i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)


def count_pairs(words):
    """words: dict from symbol tuples to counts. Result: Counter of pairs."""
    pairs = Counter()
    for symbols, n in words.items():
        for pair in zip(symbols, symbols[1:]):
            pairs[pair] += n
    return pairs


def train_bpe(words, merges):
    """Merge the most frequent pair, again and again; ties: the smaller pair.

    Result: list of merged pairs, in the order in which they were learned.
    """
    learned = []
    for _ in range(merges):
        pairs = count_pairs(words)
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merged = Counter()
        for symbols, n in words.items():
            merged[merge(symbols, best)] += n
        words = merged
        learned.append(best)
    return learned


def encode_word(symbols, ranks):
    """Apply the merges in the order of learning. ranks: dict from pair to its index."""
    while len(symbols) > 1:
        best = min(zip(symbols, symbols[1:]), key=lambda p: ranks.get(p, np.inf))
        if best not in ranks:
            break
        symbols = merge(symbols, best)
    return symbols


def to_bytes(word):
    """The UTF-8 bytes of a string as a tuple of single-byte symbols."""
    return tuple(bytes([b]) for b in word.encode("utf-8"))


def expected_counts(text, logp):
    """Unigram model: log P(text) over all segmentations, best one, expected counts.

    logp: dict from token to log-probability. Forward-backward over positions.
    """
    n = len(text)
    edges = [(i, j) for j in range(1, n + 1) for i in range(j) if text[i:j] in logp]
    forward, backward = np.full(n + 1, -np.inf), np.full(n + 1, -np.inf)
    best, back = np.full(n + 1, -np.inf), {}
    forward[0] = backward[n] = best[0] = 0.0
    for i, j in edges:                                    # ordered by end position
        lp = logp[text[i:j]]
        forward[j] = np.logaddexp(forward[j], forward[i] + lp)
        if best[i] + lp > best[j]:
            best[j], back[j] = best[i] + lp, i
    for i, j in sorted(edges, reverse=True):              # ordered by start position
        backward[i] = np.logaddexp(backward[i], backward[j] + logp[text[i:j]])
    counts = Counter()
    for i, j in edges:
        lp = forward[i] + logp[text[i:j]] + backward[j] - forward[n]
        counts[text[i:j]] += float(np.exp(lp))
    tokens, j = [], n
    while j > 0:
        tokens.insert(0, text[back[j]:j])
        j = back[j]
    return float(forward[n]), tokens, counts
# --8<-- [end:numpy]


# --8<-- [start:torch]
def marginal_log_prob(text, tokens, logp):
    """log of the sum over all segmentations; its gradient is the expected counts.

    tokens: list of strings; logp: tensor (len(tokens),) of log-probabilities.
    """
    index = {t: k for k, t in enumerate(tokens)}
    forward = [torch.zeros((), dtype=logp.dtype)]
    for j in range(1, len(text) + 1):
        terms = [forward[i] + logp[index[text[i:j]]]
                 for i in range(j) if text[i:j] in index]
        forward.append(torch.logsumexp(torch.stack(terms), dim=0) if terms
                       else torch.full((), -torch.inf, dtype=logp.dtype))
    return forward[-1]


# --8<-- [end:torch]


def _clean(text):
    return " " + " ".join(text.split())


def encode(text, ranks):
    """Byte-level BPE of a text: list of byte strings."""
    return [t for w in pre_tokenize(text) for t in encode_word(to_bytes(w), ranks)]


_CACHE = {}


def _bpe(merges=800):
    """Byte-level BPE on TEXT: merges and ranks. A shorter list is a prefix of a longer one."""
    if "learned" not in _CACHE:
        words = Counter(to_bytes(w) for w in pre_tokenize(_clean(TEXT)))
        _CACHE["learned"] = train_bpe(words, 800)
    learned = _CACHE["learned"][:merges]
    return learned, {p: i for i, p in enumerate(learned)}


TOY = {"tea": 4, "team": 3, "seam": 2, "sea": 2, "mat": 3}
UNI = {"t": 0.10, "e": 0.10, "a": 0.10, "m": 0.10, "ea": 0.20, "am": 0.10, "tea": 0.20, "s": 0.10}


def figure_merges():
    """One phrase cut by the same tokenizer after 0, 50, 200 and all merges."""
    phrase = " the ferryman crosses slowly"
    fig, ax = plt.subplots(figsize=(6.4, 2.5))
    for row, merges in enumerate((0, 50, 200, len(_bpe()[0]))):
        tokens = encode(phrase, _bpe(merges)[1])
        x = 0
        for k, t in enumerate(tokens):
            n = len(t)
            ax.add_patch(plt.Rectangle((x + 0.06, -row - 0.36), n - 0.12, 0.72, fill=True,
                                       facecolor=f"C{k % 2}", alpha=0.22, linewidth=0))
            ax.add_patch(plt.Rectangle((x + 0.06, -row - 0.36), n - 0.12, 0.72, fill=False,
                                       edgecolor="#333333", linewidth=0.9))
            for c, ch in enumerate(t.decode()):
                ax.text(x + c + 0.5, -row, "·" if ch == " " else ch, ha="center",
                        va="center", fontsize=9, family="monospace")
            x += n
        ax.text(-0.5, -row, f"{merges} merges", ha="right", va="center", fontsize=9)
        ax.text(x + 0.5, -row, f"{len(tokens)} tokens", ha="left", va="center", fontsize=9)
    ax.set_xlim(-6, len(phrase) + 5)
    ax.set_ylim(-3.6, 0.6)
    ax.axis("off")
    return fig


def vocabulary_curve():
    """Bytes per token on the training and the held-out text for several vocabularies."""
    out = []
    for merges in (0, 25, 50, 100, 200, 300, 400, len(_bpe()[0])):
        ranks = _bpe(merges)[1]
        out.append([256 + merges] + [len(_clean(t).encode()) / len(encode(_clean(t), ranks))
                                     for t in (TEXT, HELD_OUT)])
    return np.array(out)


def figure_vocabulary():
    """More merges: fewer tokens, most of all on text like the training text."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9), width_ratios=(1, 1.1))
    v = vocabulary_curve()
    axes[0].plot(v[:, 0], v[:, 1], "o-", ms=4, color="C0", label="training text")
    axes[0].plot(v[:, 0], v[:, 2], "s--", ms=4, color="C1", label="new text")
    axes[0].set_xlabel("vocabulary size")
    axes[0].set_ylabel("bytes per token")
    axes[0].set_ylim(0, None)
    axes[0].legend(fontsize=9, loc="lower right")
    ranks = _bpe()[1]
    names = list(UDHR)[::-1]
    tokens = [len(encode(UDHR[n], ranks)) for n in names]
    chars = [len(UDHR[n]) for n in names]
    y = np.arange(len(names))
    axes[1].barh(y, tokens, height=0.6, color="C0", alpha=0.8, label="tokens")
    axes[1].plot(chars, y, "D", color="#222222", ms=5, label="characters")
    for i, t in enumerate(tokens):
        at = chars[i] if t < chars[i] < t + 30 else t            # beside the diamond
        axes[1].text(at + 8, i, str(t), va="center", fontsize=9)
    axes[1].set_yticks(y, names, fontsize=9)
    axes[1].set_xlim(0, 275)
    axes[1].set_xlabel("count for one sentence")
    axes[1].legend(fontsize=9, loc="upper right")
    axes[1].grid(axis="y", visible=False)
    return fig


def check_tok_round_trip():
    """Equation (tok-round-trip): every string comes back, also with foreign symbols."""
    ranks = _bpe()[1]
    for text in list(UDHR.values()) + [_clean(HELD_OUT), "x_y  = 3.14\n\t\"é😀\"", ""]:
        assert b"".join(encode(text, ranks)).decode("utf-8") == text
    # The converse fails: other token sequences decode to the same string.
    tokens = encode(" the river", ranks)
    other = [bytes([b]) for b in " the river".encode()]
    assert tokens != other and b"".join(tokens) == b"".join(other)


def check_tok_bpe():
    """Equation (tok-bpe): each merge is a maximum of the counts, by independent recounting."""
    learned, _ = _bpe(30)
    texts = [list(to_bytes(w)) for w in pre_tokenize(_clean(TEXT))]
    for best in learned:
        pairs = Counter(p for w in texts for p in zip(w, w[1:]))
        assert pairs[best] == max(pairs.values())
        assert best == min(p for p in pairs if pairs[p] == pairs[best])
        texts = [list(merge(tuple(w), best)) for w in texts]


def check_tok_pair_score():
    """Equation (tok-pair-score): first-order gain in unigram log-likelihood per merge."""
    rng = np.random.default_rng(0)
    text = tuple(rng.choice(list("abcde"), 40_000, p=[0.4, 0.3, 0.15, 0.1, 0.05]))
    text = text + tuple("de") * 40                 # a pair that belongs together
    c, n = Counter(text), len(text)
    pairs = Counter(zip(text, text[1:]))

    def loglik(t):
        counts = np.array(list(Counter(t).values()), float)
        return float((counts * np.log(counts / counts.sum())).sum())

    base = loglik(text)
    for pair in (("d", "e"), ("e", "d")):
        merged = merge(text, pair)
        k = len(text) - len(merged)
        assert k == pairs[pair]                    # no overlaps for two different symbols
        gain = loglik(merged) - base
        approx = k * (np.log(k * n / (c[pair[0]] * c[pair[1]])) - 1)
        assert abs(gain - approx) / k < 0.1        # exact minus first order, per merge
    assert max(pairs, key=lambda p: pairs[p]) == ("a", "a")
    score = {p: pairs[p] / (c[p[0]] * c[p[1]]) for p in pairs}
    assert max(score, key=score.get) == ("d", "e")


def _segmentations(text, vocabulary):
    if not text:
        return [[]]
    return [[text[:i]] + rest for i in range(1, len(text) + 1) if text[:i] in vocabulary
            for rest in _segmentations(text[i:], vocabulary)]


def _random_unigram(seed, text):
    rng = np.random.default_rng(seed)
    vocabulary = sorted({text[i:j] for i in range(len(text)) for j in range(i + 1, i + 4)
                         if j <= len(text)})
    p = rng.dirichlet(np.ones(len(vocabulary)))
    return vocabulary, np.log(p)


def check_tok_unigram():
    """Equation (tok-unigram): dynamic program against enumeration of all segmentations."""
    text = "banananab"
    for seed in range(5):
        vocabulary, logp = _random_unigram(seed, text)
        table = dict(zip(vocabulary, logp))
        segs = _segmentations(text, table)
        scores = np.array([sum(table[t] for t in s) for s in segs])
        total, best, counts = expected_counts(text, table)
        assert len(segs) > 100 and best == segs[int(scores.argmax())]
        assert np.isclose(total, np.logaddexp.reduce(scores), atol=1e-12)
        assert total > scores.max()
        weights = np.exp(scores - total)
        for t in vocabulary:
            brute = sum(w * s.count(t) for w, s in zip(weights, segs))
            assert np.isclose(counts[t], brute, atol=1e-12)


check_tok_marginal = check_tok_unigram


def check_tok_expected_counts():
    """Equation (tok-expected-counts): autograd's gradient is the forward-backward result."""
    text = "banananab"
    vocabulary, logp = _random_unigram(7, text)
    x = torch.tensor(logp, dtype=torch.float64, requires_grad=True)
    value = marginal_log_prob(text, vocabulary, x)
    value.backward()
    total, _, counts = expected_counts(text, dict(zip(vocabulary, logp)))
    assert np.isclose(value.item(), total, atol=1e-10)
    assert np.allclose(x.grad.numpy(), [counts[t] for t in vocabulary], atol=1e-10)
    # Lengths of the tokens, weighted by the counts, add up to the length of the text.
    assert np.isclose(sum(len(t) * c for t, c in counts.items()), len(text))
    # One EM step with these counts cannot lower the likelihood.
    new = {t: np.log(c / sum(counts.values())) for t, c in counts.items()}
    assert expected_counts(text, new)[0] >= total


def check_tok_cost():
    """Equation (tok-cost): PyTorch's FLOP counter on a stack of linear layers plus output."""
    from torch.utils.flop_counter import FlopCounterMode
    d, layers, v, tokens = 16, 3, 500, 40
    body = torch.nn.Sequential(*[torch.nn.Linear(d, d, bias=False) for _ in range(layers)])
    emb, head = torch.nn.Embedding(v, d), torch.nn.Linear(d, v, bias=False)
    ids = torch.randint(v, (tokens,))
    with FlopCounterMode(display=False) as counter:
        head(body(emb(ids)))
    p = sum(w.numel() for w in body.parameters())
    n_bytes = 4 * tokens
    assert counter.get_total_flops() / n_bytes == tokens / n_bytes * (2 * p + 2 * v * d)
    # Shares named on the page: one d by V matrix beside 12 L d^2 weights of the blocks.
    for d, layers, v, share in ((768, 12, 50_257, 0.31), (8192, 80, 128_000, 0.016)):
        body = 12 * layers * d * d
        assert abs(v * d / (v * d + body) - share) < 0.005


def check_worked_example():
    """Every number of the worked example."""
    words = {tuple(w): n for w, n in TOY.items()}
    pairs = count_pairs(words)
    assert pairs == {("t", "e"): 7, ("e", "a"): 11, ("a", "m"): 5, ("s", "e"): 4,
                     ("m", "a"): 3, ("a", "t"): 3}
    c = Counter()
    for w, n in words.items():
        for s in w:
            c[s] += n
    assert c == {"t": 10, "e": 11, "a": 14, "m": 8, "s": 4}
    score = {p: pairs[p] / (c[p[0]] * c[p[1]]) for p in pairs}
    assert max(score, key=score.get) == ("s", "e")
    assert np.isclose(score[("s", "e")], 0.0909, atol=5e-5)
    assert np.isclose(score[("e", "a")], 0.0714, atol=5e-5)
    learned = train_bpe(words, 3)
    assert learned == [("e", "a"), ("t", "ea"), ("s", "ea")]
    ranks = {p: i for i, p in enumerate(learned)}
    lengths = [sum(len(encode_word(w, {p: i for i, p in enumerate(learned[:k])})) * n
                   for w, n in words.items()) for k in range(4)]
    assert lengths == [47, 36, 29, 25]
    assert encode_word(tuple("steam"), ranks) == ("s", "tea", "m")
    assert encode_word(tuple("meat"), ranks) == ("m", "ea", "t")
    assert np.isclose(sum(UNI.values()), 1)
    table = {t: np.log(p) for t, p in UNI.items()}
    segs = {" ".join(s): np.exp(sum(table[t] for t in s)) for s in _segmentations("team", table)}
    expected = {"t e a m": 1e-4, "t e am": 1e-3, "t ea m": 2e-3, "tea m": 2e-2}
    assert segs.keys() == expected.keys()
    assert all(np.isclose(segs[k], expected[k]) for k in segs)
    total, best, counts = expected_counts("team", table)
    assert np.isclose(np.exp(total), 0.0231) and best == ["tea", "m"]
    assert np.isclose(counts["tea"], 0.866, atol=5e-4)
    assert np.isclose(counts["ea"], 0.087, atol=5e-4)
    assert np.isclose(counts["m"], 0.957, atol=5e-4)


def check_tok_length():
    """Equation (tok-length): a merge shortens the text by its number of replacements."""
    words = Counter(to_bytes(w) for w in pre_tokenize(_clean(TEXT)))
    last = np.inf
    for pair in _bpe(120)[0]:
        count, new = count_pairs(words)[pair], Counter()
        for symbols, n in words.items():
            new[merge(symbols, pair)] += n
        saved = sum(len(w) * n for w, n in words.items())
        saved -= sum(len(w) * n for w, n in new.items())
        made = sum(n * w.count(pair[0] + pair[1]) for w, n in new.items())
        made -= sum(n * w.count(pair[0] + pair[1]) for w, n in words.items())
        assert saved == made and 0 < saved <= count <= last      # counts never rise
        assert saved == count or pair[0] == pair[1]              # less only by overlaps
        words, last = new, count
    assert count_pairs({tuple("aaaa"): 1})[("a", "a")] == 3      # an overlap:
    assert len(merge(tuple("aaaa"), ("a", "a"))) == 2            # two are replaced


def check_bpe_is_not_shortest():
    """Merging in order can need more tokens than the vocabulary allows."""
    learned = [("b", "c"), ("a", "b"), ("c", "d")]
    ranks = {p: i for i, p in enumerate(learned)}
    assert encode_word(tuple("abcd"), ranks) == ("a", "bc", "d")     # not ab, cd


def check_boundaries():
    """Cutting a text elsewhere, or another case, gives other tokens; bytes per character."""
    ranks = _bpe()[1]
    assert encode(" the river", ranks) == [b" the", b" river"]
    assert encode(" the ", ranks) + encode("river", ranks) != encode(" the river", ranks)
    forms = [len(encode(w, ranks)) for w in (" water", "water", " Water", " WATER")]
    assert forms == WATER, forms
    assert [len(ch.encode()) for ch in "aéж語😀"] == [1, 2, 2, 3, 4]
    assert "語".encode()[:2].decode("utf-8", errors="replace") == "\ufffd"


def check_numbers_of_the_page():
    """Counts on the twin's text that the page quotes."""
    curve = {int(r[0]): r[1:] for r in vocabulary_curve()}
    ranks = _bpe()[1]
    got = ([len(_clean(t).encode()) for t in (TEXT, HELD_OUT)],
           {k: np.round(v, 2).tolist() for k, v in curve.items() if k in CURVE},
           {n: (len(s), len(s.encode()), len(encode(s, ranks))) for n, s in UDHR.items()})
    assert got == (BYTES, CURVE, LANGUAGES), got


BYTES = [2168, 490]                                      # training text, new text
CURVE = {256: [1.0, 1.0], 306: [1.74, 1.58], 456: [2.89, 2.18], 695: [4.54, 2.58]}
LANGUAGES = {"English": (63, 63, 34), "German": (64, 65, 44), "Greek": (83, 154, 154),
             "Russian": (69, 127, 127), "Hindi": (87, 233, 233)}   # characters, bytes, tokens
WATER = [1, 3, 3, 5]

if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
