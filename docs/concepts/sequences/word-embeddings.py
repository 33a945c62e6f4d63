"""Twin of the page "Word embeddings": skip-gram with negative sampling, PMI, GloVe, context."""
from collections import Counter
from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def sigmoid(s):
    """Logistic function."""
    return 1 / (1 + np.exp(-s))


def sgns_loss_and_gradients(v, u, negatives):
    """Skip-gram with negative sampling for one pair (Mikolov et al., 2013).

    v: center vector (d,); u: vector of the observed context word (d,);
    negatives: vectors of k sampled words (k, d). Result: loss and three gradients.
    """
    s, s_neg = u @ v, negatives @ v
    loss = np.log1p(np.exp(-s)) + np.log1p(np.exp(s_neg)).sum()
    e, e_neg = sigmoid(s) - 1, sigmoid(s_neg)
    grad_v = e * u + e_neg @ negatives
    return loss, grad_v, e * v, np.outer(e_neg, v)


def noise_distribution(counts, power=0.75):
    """Sampling probabilities of negatives: counts to the power 3/4, normalized."""
    p = np.asarray(counts, float) ** power
    return p / p.sum()


def nearest(e, i, n=3):
    """Ids of the n rows of e (v, d) with the largest cosine to row i, without i."""
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    cosine = unit @ unit[i]
    cosine[i] = -np.inf
    return np.argsort(-cosine)[:n]


def ppmi_vectors(counts, d):
    """Positive PMI of a count matrix (v, v) without empty rows, cut to d columns."""
    total = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total
    with np.errstate(divide="ignore"):
        ppmi = np.maximum(np.log(counts / expected), 0)
    left, singular, _ = np.linalg.svd(ppmi)
    return left[:, :d] * np.sqrt(singular[:d])
# --8<-- [end:numpy]


# --8<-- [start:torch]
class SkipGram(torch.nn.Module):
    """Skip-gram with negative sampling: one table for centers, one for contexts."""

    def __init__(self, vocabulary, d):
        super().__init__()
        self.center = torch.nn.Embedding(vocabulary, d)
        self.context = torch.nn.Embedding(vocabulary, d)
        torch.nn.init.uniform_(self.center.weight, -0.5 / d, 0.5 / d)
        torch.nn.init.zeros_(self.context.weight)

    def forward(self, center, context, negatives):
        """Ids: center (B,), context (B,), negatives (B, k). Result: losses (B,)."""
        v = self.center(center)                               # (B, d)
        s = (self.context(context) * v).sum(dim=-1)           # (B,)
        s_neg = torch.einsum("bkd,bd->bk", self.context(negatives), v)
        log_sigmoid = torch.nn.functional.logsigmoid
        return -log_sigmoid(s) - log_sigmoid(-s_neg).sum(dim=-1)
# --8<-- [end:torch]


# A toy corpus: two topics that share the word "bank".
MONEY = ["loan", "credit", "interest", "account"]
RIVER = ["water", "fish", "boat", "shore"]
VERBS = {"money": ["pays", "owes"], "river": ["flows", "swims"]}


def toy_sentences(n=1500, seed=0):
    """Random sentences of four words about money or a river, with "bank" in half of them."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        topic = "money" if rng.random() < 0.5 else "river"
        nouns = list(rng.choice(MONEY if topic == "money" else RIVER, 2, replace=False))
        middle = str(rng.choice(VERBS[topic]))
        extra = "bank" if rng.random() < 0.5 else str(rng.choice(["the", "this"]))
        words = [str(w) for w in nouns] + [middle, extra]
        out.append([words[i] for i in rng.permutation(4)])
    return out


def cooccurrence(sentences, window=3):
    """Vocabulary and the matrix of how often two words are at most `window` apart."""
    vocabulary = sorted({w for s in sentences for w in s})
    index = {w: i for i, w in enumerate(vocabulary)}
    counts = np.zeros((len(index), len(index)))
    for s in sentences:
        for i, w in enumerate(s):
            for j in range(max(0, i - window), min(len(s), i + window + 1)):
                if i != j:
                    counts[index[w], index[s[j]]] += 1
    return vocabulary, counts


def contextual(e, ids):
    """One self-attention step without weights: each word becomes a mixture of the sentence."""
    x = e[ids]
    scores = x @ x.T / np.sqrt(x.shape[1])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ x


def toy_map():
    """Vocabulary, two-dimensional vectors and two contextual vectors of "bank"."""
    vocabulary, counts = cooccurrence(toy_sentences())
    e = ppmi_vectors(counts, 2)
    e = e * np.sign(e[vocabulary.index("loan")])              # fix the signs of the axes
    ids = {w: i for i, w in enumerate(vocabulary)}
    money = contextual(e, [ids[w] for w in ("bank", "loan", "credit", "pays")])[0]
    river = contextual(e, [ids[w] for w in ("bank", "water", "fish", "flows")])[0]
    return vocabulary, e, money, river


def figure_bank():
    """Static vectors of a toy corpus, and "bank" moved by its sentence."""
    vocabulary, e, money, river = toy_map()
    fig, ax = plt.subplots(figsize=(6.4, 3.6))
    groups = (("money words", MONEY + VERBS["money"], "C0", "o"),
              ("river words", RIVER + VERBS["river"], "C2", "s"),
              ("in both topics", ["the", "this", "bank"], "#555555", "D"))
    for label, words, color, marker in groups:
        p = e[[vocabulary.index(w) for w in words]]
        ax.plot(p[:, 0], p[:, 1], marker, color=color, ms=6, label=label, alpha=0.8)
    bank = e[vocabulary.index("bank")]
    ax.annotate("bank", bank, xytext=(-10, 0), textcoords="offset points", ha="right",
                va="center", fontsize=10)
    for target, text in ((money, "bank in a\nmoney sentence"),
                         (river, "bank in a\nriver sentence")):
        ax.annotate("", target, bank, arrowprops={"arrowstyle": "->", "color": "C1",
                                                  "lw": 1.8})
        ax.plot(*target, "*", color="C1", ms=12)
        ax.annotate(text, target, xytext=(-14, 0), textcoords="offset points",
                    ha="right", va="center", fontsize=9)
    ax.set_xlim(0, 1)
    ax.set_xlabel("first coordinate")
    ax.set_ylabel("second coordinate")
    ax.legend(fontsize=9, loc="center right")
    return fig


def figure_pmi():
    """Trained dot products against the shifted pointwise mutual information."""
    scores, target, counts = trained_scores()
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    lo, hi = target.min() - 0.3, target.max() + 0.3
    ax.plot([lo, hi], [lo, hi], ls="--", color="#555555", lw=1.2, label="equality")
    ax.plot(target.ravel(), scores[8].ravel(), "o", color="C0", ms=4, label="d = 8, as many as words")
    ax.plot(target.ravel(), scores[2].ravel(), "x", color="C1", ms=5, label="d = 2")
    ax.set_xlabel("PMI − log k from the counts")
    ax.set_ylabel("trained dot product")
    ax.legend(fontsize=9)
    return fig


def random_counts(v=8, seed=0):
    """A positive, asymmetric pair-count matrix with PMI values of either sign."""
    rng = np.random.default_rng(seed)
    return np.round(200 * np.exp(rng.normal(0, 1.2, (v, v)))) + 1


def shifted_pmi(counts, k):
    """log(#(w,c) |D| / (#(w) #(c))) - log k."""
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    return np.log(counts / expected) - np.log(k)


def expected_sgns(counts, k):
    """Weights of log sigma(s) and log sigma(-s) in the expected objective, per pair."""
    context = counts.sum(axis=0) / counts.sum()
    return counts, k * np.outer(counts.sum(axis=1), context)


@lru_cache
def trained_scores(k=2, dims=(8, 2)):
    """Dot products after minimizing the expected loss over both tables, per dimension d."""
    counts = random_counts()
    pos, neg = (torch.from_numpy(a / counts.sum()) for a in expected_sgns(counts, k))
    out = {}
    for d in dims:
        g = torch.Generator().manual_seed(0)
        v, u = (torch.randn(8, d, generator=g, dtype=torch.float64).mul_(0.5)
                .requires_grad_() for _ in range(2))
        opt = torch.optim.LBFGS([v, u], max_iter=1500, line_search_fn="strong_wolfe",
                                tolerance_grad=1e-11, tolerance_change=1e-14)
        ls = torch.nn.functional.logsigmoid

        def closure(v=v, u=u, opt=opt, ls=ls):
            opt.zero_grad()
            s = v @ u.T
            loss = -(pos * ls(s) + neg * ls(-s)).sum()
            loss.backward()
            return loss

        opt.step(closure)
        out[d] = (v @ u.T).detach().numpy()
    return out, shifted_pmi(counts, k), counts


def check_we_skipgram():
    """Equation (we-skipgram): a distribution over contexts, log-linear in both tables."""
    rng = np.random.default_rng(0)
    v, u = rng.standard_normal(4), rng.standard_normal((9, 4))
    p = np.exp(u @ v) / np.exp(u @ v).sum()
    assert np.isclose(p.sum(), 1)
    assert np.isclose(np.log(p[3] / p[5]), (u[3] - u[5]) @ v)
    shifted = np.exp((u + 2.0) @ v) / np.exp((u + 2.0) @ v).sum()
    assert np.allclose(shifted, p)                  # a common vector in all u cancels


def check_we_cbow():
    """Equation (we-cbow): the order of the context does not matter."""
    rng = np.random.default_rng(0)
    context, out = rng.standard_normal((4, 3)), rng.standard_normal((7, 3))

    def predict(rows):
        z = out @ rows.mean(axis=0)
        return np.exp(z) / np.exp(z).sum()

    assert np.allclose(predict(context), predict(context[[2, 0, 3, 1]]))
    by_hand = out @ (context.sum(axis=0) / 4)
    assert np.allclose(predict(context), np.exp(by_hand) / np.exp(by_hand).sum())


def check_we_sgns():
    """Equation (we-sgns): NumPy loss and gradients against PyTorch, 1e-12 in float64."""
    rng = np.random.default_rng(0)
    model = SkipGram(10, 5).double()
    with torch.no_grad():
        for table in (model.center, model.context):
            table.weight.copy_(torch.from_numpy(rng.standard_normal((10, 5))))
    neg = torch.tensor([[1, 4, 7]])
    loss = model(torch.tensor([2]), torch.tensor([3]), neg)[0]
    loss.backward()
    v = model.center.weight.detach().numpy()
    u = model.context.weight.detach().numpy()
    ours, gv, gu, gn = sgns_loss_and_gradients(v[2], u[3], u[[1, 4, 7]])
    assert abs(ours - loss.item()) < 1e-12
    assert np.allclose(model.center.weight.grad[2].numpy(), gv, atol=1e-12)
    assert np.allclose(model.context.weight.grad[3].numpy(), gu, atol=1e-12)
    assert np.allclose(model.context.weight.grad[[1, 4, 7]].numpy(), gn, atol=1e-12)
    untouched = [i for i in range(10) if i != 2]
    assert not model.center.weight.grad[untouched].any()
    fresh = SkipGram(10, 5)                         # zero context table: loss (k + 1) log 2
    assert torch.isclose(fresh(torch.tensor([2]), torch.tensor([3]), neg)[0],
                         torch.tensor(4 * np.log(2), dtype=torch.float32))


def check_we_gradient():
    """Equation (we-gradient): finite differences in the center vector."""
    rng = np.random.default_rng(1)
    v, u, neg = rng.standard_normal(4), rng.standard_normal(4), rng.standard_normal((3, 4))
    _, grad, grad_u, _ = sgns_loss_and_gradients(v, u, neg)
    for i in range(4):
        step = np.eye(4)[i] * 1e-6
        numeric = (sgns_loss_and_gradients(v + step, u, neg)[0]
                   - sgns_loss_and_gradients(v - step, u, neg)[0]) / 2e-6
        assert np.isclose(numeric, grad[i], atol=1e-8)
        numeric = (sgns_loss_and_gradients(v, u + step, neg)[0]
                   - sgns_loss_and_gradients(v, u - step, neg)[0]) / 2e-6
        assert np.isclose(numeric, grad_u[i], atol=1e-8)


def check_we_noise():
    """Equation (we-noise): sums to one, lifts rare words; the page's ratio."""
    p = noise_distribution([10_000, 100])
    assert np.isclose(p.sum(), 1) and np.isclose(p[0] / p[1], 100**0.75)
    assert np.isclose(100**0.75, 31.62, atol=5e-3) and p[1] > 100 / 10_100


def check_we_subsampling():
    """Equation (we-subsampling): the page's probabilities, and expected kept counts."""
    def keep(f, t=1e-5):
        return min(1.0, np.sqrt(t / f))
    assert np.isclose(1 - keep(0.05), 0.986, atol=5e-4)
    assert np.isclose(1 - keep(1e-4), 0.684, atol=5e-4) and keep(1e-6) == 1
    rng = np.random.default_rng(0)
    kept = (rng.random(200_000) < keep(1e-3, t=1e-4)).mean()
    assert abs(kept - np.sqrt(0.1)) < 0.005


def check_we_glove():
    """Equation (we-glove): weights, zero loss at a full-rank fit, and ratios of probabilities."""
    def f(x):
        return np.minimum(1, (x / 100) ** 0.75)
    assert f(0) == 0 and f(100) == f(5000) == 1 and np.isclose(f(10), 0.178, atol=5e-4)
    x = random_counts(6, seed=2)
    b = np.log(x.sum(axis=1))                       # a bias that absorbs log X_i
    w, s, wt = np.linalg.svd(np.log(x) - b[:, None])
    left, right = w * s, wt.T
    residual = left @ right.T + b[:, None] - np.log(x)
    assert np.isclose((f(x) * residual**2).sum(), 0, atol=1e-20)
    p = x / x.sum(axis=1, keepdims=True)
    assert np.allclose((left[1] - left[4]) @ right.T, np.log(p[1] / p[4]))


def check_we_fasttext():
    """Equation (we-fasttext): the n-grams of a word, and a vector for an unseen word."""
    def grams(word, lo=3, hi=6):
        w = f"<{word}>"
        out = {w[i:i + n] for n in range(lo, hi + 1) for i in range(len(w) - n + 1)}
        return out | {w}
    assert {g for g in grams("where") if len(g) == 3} == {"<wh", "whe", "her", "ere", "re>"}
    assert "<where>" in grams("where") and "her" in grams("where")
    assert "<her>" not in grams("where")
    shared = grams("embedding") & grams("embeddings")
    assert len(shared) > 20
    rng = np.random.default_rng(0)
    table = {g: rng.standard_normal(30) for w in ("embedding", "river") for g in grams(w)}

    def vector(word):
        return sum(table[g] for g in grams(word) if g in table)

    def cos(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    assert cos(vector("embeddings"), vector("embedding")) > 0.8          # never seen
    assert abs(cos(vector("embeddings"), vector("river"))) < 0.5
    u = rng.standard_normal(30)
    parts = sum(table[g] @ u for g in grams("embedding"))
    assert np.isclose(parts, vector("embedding") @ u)


def check_we_pmi():
    """Equation (we-pmi): the optimum of each score, by calculus and by training both tables."""
    counts, k = random_counts(), 2
    pos, neg = expected_sgns(counts, k)
    target = shifted_pmi(counts, k)
    slope = pos * (1 - sigmoid(target)) - neg * sigmoid(target)
    assert np.allclose(slope, 0, atol=1e-9)         # stationary; the objective is concave
    scores, target, _ = trained_scores()
    assert np.allclose(scores[8], target, atol=1e-3)
    assert np.abs(scores[2] - target).max() > 0.1   # not reachable with d = 2
    assert target.min() < -0.5 and target.max() > 0.5


def check_we_same_context():
    """Rows with proportional context counts get equal optimal vectors (context table fixed)."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal((12, 3))
    base = rng.integers(1, 9, 12).astype(float)
    noise = np.full(12, 1 / 12)

    def best(row):
        v = np.zeros(3)
        for _ in range(60):                         # Newton on a strictly convex loss
            p = sigmoid(u @ v)
            grad = u.T @ (row * (p - 1) + 2 * row.sum() * noise * p)
            curve = (row + 2 * row.sum() * noise) * p * (1 - p)
            v = v - np.linalg.solve(u.T @ (curve[:, None] * u), grad)
        assert np.abs(grad).max() < 1e-9 * row.sum()
        return v

    assert np.allclose(best(base), best(7 * base), atol=1e-9)
    assert not np.allclose(best(base), best(base[::-1]), atol=1e-2)


def check_we_invertible():
    """Equation (we-invertible): the same scores, other coordinates, other cosines."""
    rng = np.random.default_rng(0)
    v, u, a = (rng.standard_normal(s) for s in ((7, 3), (7, 3), (3, 3)))
    v2, u2 = v @ a, u @ np.linalg.inv(a).T
    assert np.allclose(v2 @ u2.T, v @ u.T)

    def cosines(x):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        return x @ x.T

    q = np.linalg.qr(a)[0]
    assert not np.allclose(cosines(v2), cosines(v), atol=0.05)
    assert np.allclose(cosines(v @ q), cosines(v))
    assert not np.allclose(v @ q, v, atol=0.1)


def check_we_cosine():
    """Equation (we-cosine): between -1 and 1, blind to length; distance of unit vectors."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 6))

    def cos(x, y):
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    assert np.isclose(cos(3 * a, 0.1 * b), cos(a, b)) and abs(cos(a, b)) <= 1
    ua, ub = a / np.linalg.norm(a), b / np.linalg.norm(b)
    assert np.isclose(((ua - ub) ** 2).sum(), 2 - 2 * cos(a, b))


def check_we_analogy():
    """Equation (we-analogy): a small offset makes an input word the nearest unless excluded."""
    e = {"man": [1.0, 0.0, 0.1], "woman": [1.0, 0.35, 0.1], "king": [0.2, 0.0, 1.0],
         "queen": [0.25, 0.9, 1.0], "apple": [-1.0, 0.2, 0.1]}
    e = {w: np.array(x) for w, x in e.items()}
    query = e["king"] - e["man"] + e["woman"]

    def cos(w):
        return query @ e[w] / np.linalg.norm(query) / np.linalg.norm(e[w])

    assert max(e, key=cos) == "king"
    assert max(set(e) - {"king", "man", "woman"}, key=cos) == "queen"


def check_we_contextual():
    """Equation (we-contextual): one word, two sentences, two vectors; a static table cannot."""
    vocabulary, e, money, river = toy_map()
    center = {t: e[[vocabulary.index(w) for w in words]].mean(axis=0)
              for t, words in (("money", MONEY), ("river", RIVER))}
    bank = e[vocabulary.index("bank")]

    def nearer(x):
        return min(center, key=lambda t: np.linalg.norm(x - center[t]))

    assert nearer(money) == "money" and nearer(river) == "river"
    a, b = (np.linalg.norm(bank - center[t]) for t in ("money", "river"))
    assert abs(a - b) < 0.25 * (a + b) / 2          # static "bank" lies between


def check_toy_neighbors():
    """Nearest words in the toy corpus belong to the same topic."""
    vocabulary, counts = cooccurrence(toy_sentences())
    e = ppmi_vectors(counts, 3)
    for topic, words in (("money", MONEY), ("river", RIVER)):
        for w in words:
            found = {vocabulary[i] for i in nearest(e, vocabulary.index(w))}
            assert found <= set(words) | set(VERBS[topic])
    assert Counter(w for s in toy_sentences() for w in s)["bank"] > 600


def check_average_loses_order():
    """The mean of word vectors is the same for both orders of a sentence."""
    rng = np.random.default_rng(0)
    e = {w: rng.standard_normal(4) for w in ("dog", "bites", "man")}

    def mean(s):
        return np.mean([e[w] for w in s.split()], axis=0)

    assert np.allclose(mean("dog bites man"), mean("man bites dog"))


def check_worked_example():
    """Every number of the worked example."""
    v, u, neg = np.array([1.0, 1.0]), np.array([1.0, 0.0]), np.array([[0.0, 1.0]])
    loss, gv, gu, gn = sgns_loss_and_gradients(v, u, neg)
    assert u @ v == 1 and neg[0] @ v == 1
    assert np.isclose(sigmoid(1), 0.731, atol=5e-4)
    assert np.isclose(np.log1p(np.exp(-1)), 0.313, atol=5e-4)
    assert np.isclose(np.log1p(np.exp(1)), 1.313, atol=5e-4)
    assert np.isclose(loss, 1.627, atol=5e-4)
    assert np.allclose(gv, [-0.269, 0.731], atol=5e-4)
    assert np.allclose(gu, [-0.269, -0.269], atol=5e-4)
    assert np.allclose(gn, [[0.731, 0.731]], atol=5e-4)
    v, u, neg = v - gv, u - gu, neg - gn
    assert np.allclose(v, [1.269, 0.269], atol=5e-4) and np.allclose(u, v)
    assert np.allclose(neg, [[-0.731, 0.269]], atol=5e-4)
    after = sgns_loss_and_gradients(v, u, neg)[0]
    assert np.isclose(u @ v, 1.683, atol=2e-3)
    assert np.isclose(neg[0] @ v, -0.855, atol=2e-3) and np.isclose(after, 0.525, atol=2e-3)
    assert np.isclose(np.log(40 * 1000 / (100 * 80)), 1.609, atol=5e-4)
    assert np.isclose(np.log(40 * 1000 / (100 * 80)) - np.log(5), 0, atol=1e-12)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
