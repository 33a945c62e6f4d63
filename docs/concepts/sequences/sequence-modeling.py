"""Twin of the page "Sequence modeling": chain rule, n-gram counts, perplexity, forecasts."""
from itertools import permutations, product

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def ngram_counts(tokens, n, v):
    """How often each run of n tokens occurs.

    tokens: integer array (T,) with values 0 .. v-1. Result: array (v,) * n.
    """
    counts = np.zeros((v,) * n)
    columns = tuple(tokens[i:len(tokens) - n + 1 + i] for i in range(n))
    np.add.at(counts, columns, 1)
    return counts


def ngram_probs(counts, alpha=0.0):
    """p(last token | the n-1 before it); alpha is added to every count.

    With alpha = 0 a context that never occurred gives 0/0 = nan.
    """
    total = counts.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (counts + alpha) / (total + alpha * counts.shape[-1])


def perplexity(probs, tokens):
    """exp of the mean negative log-probability of tokens[n-1:], natural logarithm."""
    n = probs.ndim
    columns = tuple(tokens[i:len(tokens) - n + 1 + i] for i in range(n))
    with np.errstate(divide="ignore"):
        return float(np.exp(-np.log(probs[columns]).mean()))


def generate(probs, start, steps, rng):
    """Append `steps` sampled tokens to the list `start` (at least n-1 tokens)."""
    tokens, n = list(start), probs.ndim
    for _ in range(steps):
        context = tuple(tokens[len(tokens) - n + 1:])
        tokens.append(int(rng.choice(probs.shape[-1], p=probs[context])))
    return tokens
# --8<-- [end:numpy]


# --8<-- [start:torch]
class BigramModel(torch.nn.Module):
    """A row of logits per previous token: the smallest autoregressive network."""

    def __init__(self, v):
        super().__init__()
        self.table = torch.nn.Embedding(v, v)
        torch.nn.init.zeros_(self.table.weight)

    def forward(self, tokens):
        """tokens (B, T), integers; result: logits (B, T, v) for the next token."""
        return self.table(tokens)


def sequence_loss(model, tokens, pad=-100):
    """Mean negative log-likelihood per token; targets equal to `pad` do not count."""
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    logits = model(inputs.clamp(min=0))
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=pad
    )


def fit(model, tokens, steps=100):
    """Full-batch L-BFGS; returns the training perplexity."""
    optimizer = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe",
                                  max_iter=steps, tolerance_grad=1e-10)

    def closure():
        optimizer.zero_grad()
        loss = sequence_loss(model, tokens)
        loss.backward()
        return loss

    optimizer.step(closure)
    return sequence_loss(model, tokens).exp().item()
# --8<-- [end:torch]


def encode(text, alphabet="abc"):
    """The worked example's letters as integers."""
    return np.array([alphabet.index(c) for c in text])


def markov_source(v=5, order=2, concentration=0.3, seed=1):
    """Random conditional probabilities p(x_t | the `order` tokens before)."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(v, concentration), size=(v,) * order)


def entropy_rate(source):
    """Entropy per token of a second-order chain, from its stationary pair distribution."""
    v = source.shape[0]
    move = np.zeros((v * v, v * v))
    for a, b, c in product(range(v), repeat=3):
        move[a * v + b, b * v + c] = source[a, b, c]
    pair = np.full(v * v, 1 / (v * v))
    for _ in range(5000):
        pair = pair @ move
    logs = np.log(np.where(source > 0, source, 1))
    return -(pair.reshape(v, v, 1) * source * logs).sum(), pair.reshape(v, v)


def order_curves(n_train=1500, n_test=8000, orders=range(7)):
    """Training and held-out perplexity of add-0.1 models against the context length."""
    source, rng = markov_source(), np.random.default_rng(0)
    text = np.array(generate(source, [0, 0], n_train + n_test, rng))
    train, test = text[:n_train], text[n_train:]
    rows = []
    for c in orders:
        p = ngram_probs(ngram_counts(train, c + 1, 5), alpha=0.1)
        rows.append((perplexity(p, train), perplexity(p, test)))
    return np.array(rows), float(np.exp(entropy_rate(source)[0]))


def figure_known_and_hidden():
    """What the model may see when it predicts one element of text, picture and sound."""
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.4), width_ratios=[1.25, 1, 1.25])
    seen, target = {"color": "C0", "alpha": 0.45}, {"color": "C1", "hatch": "//"}

    def box(ax, x, y, kind, w=0.9, h=0.9):
        if kind == "hidden":
            style = {"facecolor": "none", "edgecolor": "#777777", "linestyle": ":"}
        elif kind == "seen":
            style = {"facecolor": seen["color"], "alpha": seen["alpha"],
                     "edgecolor": "#222222"}
        else:
            style = {"facecolor": "none", "edgecolor": target["color"],
                     "hatch": target["hatch"], "linewidth": 1.6}
        ax.add_patch(plt.Rectangle((x, y), w, h, **style))

    ax = axes[0]
    words = ["the", "cat", "sat", "on", "the", "mat"]
    for i, word in enumerate(words):
        row, col = divmod(i, 3)
        kind = "seen" if i < 4 else "target" if i == 4 else "hidden"
        box(ax, col * 1.1, 1.4 - row * 1.4, kind, w=1.0)
        if i != 4:
            ax.text(col * 1.1 + 0.5, 1.85 - row * 1.4, word, ha="center", va="center",
                    fontsize=9, color="#222222" if i < 4 else "#777777")
    ax.set_xlim(-0.1, 3.4)
    ax.set_ylim(-0.3, 2.6)
    ax.set_xlabel("text: words before")
    ax = axes[1]
    for r in range(6):
        for c in range(6):
            i = r * 6 + c
            kind = "seen" if i < 21 else "target" if i == 21 else "hidden"
            box(ax, c, 5 - r, kind)
    ax.set_xlim(-0.3, 6.2)
    ax.set_ylim(-0.3, 6.2)
    ax.set_aspect("equal")
    ax.set_xlabel("picture: pixels before")
    ax = axes[2]
    t = np.arange(20)
    wave = np.sin(0.55 * t) + 0.4 * np.sin(1.3 * t + 1)
    ax.vlines(t[:12], 0, wave[:12], color="C0", alpha=0.6, lw=1.4)
    ax.plot(t[:12], wave[:12], "o", color="C0", ms=4)
    ax.plot(t[12], wave[12], "D", color="C1", ms=7)
    ax.plot(t[13:], wave[13:], "o", ms=4, markerfacecolor="none",
            markeredgecolor="#777777", linestyle="none")
    ax.set_xlabel("sound: samples before")
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
    return fig


def figure_context_length():
    """Counting with longer contexts: training perplexity falls, held-out perplexity turns."""
    rows, floor = order_curves()
    fig, ax = plt.subplots(figsize=(6.4, 3.1))
    c = np.arange(len(rows))
    ax.plot(c, rows[:, 1], "s-", color="C1", ms=5, label="held-out text")
    ax.plot(c, rows[:, 0], "o--", color="C0", ms=5, label="training text")
    ax.axhline(floor, color="#222222", ls=":", lw=1.5)
    ax.annotate("exp(entropy) of the source", (6, floor), xytext=(0, 4),
                textcoords="offset points", ha="right", va="bottom", fontsize=9)
    ax.set_xlabel("context length of the n-gram model, n − 1")
    ax.set_ylabel("perplexity")
    ax.set_ylim(1, None)
    ax.legend(fontsize=9)
    return fig


def check_seqm_chain():
    """Equation (seqm-chain): exact for any joint distribution, in any order of variables."""
    rng = np.random.default_rng(0)
    joint = rng.dirichlet(np.ones(3 * 4 * 2)).reshape(3, 4, 2)
    for order in permutations(range(3)):
        p = joint.transpose(order)
        first = p.sum(axis=(1, 2))
        second = p.sum(axis=2) / first[:, None]
        third = p / p.sum(axis=2, keepdims=True)
        product_ = first[:, None, None] * second[:, :, None] * third
        assert np.allclose(product_, p, atol=1e-15)
    independent = np.einsum("i,j,k->ijk", joint.sum((1, 2)), joint.sum((0, 2)),
                            joint.sum((0, 1)))
    assert not np.allclose(independent, joint, atol=1e-3)


def check_seqm_normalization():
    """Equation (seqm-normalization): conditionals that sum to one give a joint that does."""
    rng = np.random.default_rng(0)
    v, length = 3, 4
    tables = {}                                     # one distribution per prefix

    def p_next(prefix):
        if prefix not in tables:
            tables[prefix] = rng.dirichlet(np.ones(v))
        return tables[prefix]

    total = sum(np.prod([p_next(x[:t])[x[t]] for t in range(length)])
                for x in product(range(v), repeat=length))
    assert np.isclose(total, 1, atol=1e-12)
    # With an end symbol of probability e per step, finite texts have total 1 - (1-e)^n -> 1.
    e = 0.2
    assert np.isclose(sum(e * (1 - e) ** (t - 1) for t in range(1, 11)), 1 - (1 - e) ** 10)
    # Ends with probability 1/(t+1)^2 at step t: mass 1/2 never ends.
    survive, mass = 1.0, 0.0
    for t in range(1, 20001):
        mass += survive / (t + 1) ** 2
        survive *= 1 - 1 / (t + 1) ** 2
    assert abs(mass - 0.5) < 1e-4


def check_seqm_nll():
    """Equation (seqm-nll): the mean over tokens is the log of the whole text's probability."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), size=4)
    x = rng.integers(0, 4, 30)
    whole = np.prod([p[a, b] for a, b in zip(x[:-1], x[1:], strict=True)])
    assert np.isclose(np.log(perplexity(p, x)), -np.log(whole) / 29, atol=1e-12)


def check_seqm_perplexity():
    """Equation (seqm-perplexity): geometric mean of inverse probabilities; V if uniform."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(7), size=7)
    x = rng.integers(0, 7, 50)
    inverse = 1 / p[x[:-1], x[1:]]
    assert np.isclose(perplexity(p, x), np.prod(inverse) ** (1 / 49))
    assert np.isclose(perplexity(np.full((7, 7), 1 / 7), x), 7)
    assert np.isclose(perplexity(p, x), 2 ** np.mean(np.log2(inverse)))    # any base


def check_seqm_markov():
    """Equation (seqm-markov): a bigram model is exact for a first-order chain only."""
    source = markov_source()
    _, pair = entropy_rate(source)
    triple = pair[:, :, None] * source              # exact p(a, b, c)
    one = pair.sum(axis=1)
    bigram = triple.sum(axis=0) / triple.sum(axis=(0, 2))[:, None]
    by_markov = one[:, None, None] * (pair / one[:, None])[:, :, None] * bigram[None]
    assert np.isclose(by_markov.sum(), 1)
    assert not np.allclose(by_markov, triple, atol=1e-2)
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), size=3)           # a first-order chain: exact
    start = rng.dirichlet(np.ones(3))
    triple = start[:, None, None] * p[:, :, None] * p[None]
    recovered = triple.sum(axis=0) / triple.sum(axis=(0, 2))[:, None]
    assert np.allclose(recovered, p)


def check_seqm_count():
    """Equation (seqm-count): no other table gives the training text a higher likelihood."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, 200)
    best = ngram_probs(ngram_counts(x, 2, 3))
    assert np.allclose(best.sum(axis=1), 1)
    for scale in (0.01, 0.1, 1.0):
        for _ in range(50):
            other = best * np.exp(rng.normal(0, scale, best.shape))
            other /= other.sum(axis=1, keepdims=True)
            assert perplexity(other, x) > perplexity(best, x)


def check_seqm_smoothing():
    """Equation (seqm-smoothing): sums to one, a mixture of the counts and the uniform."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, (4, 6)).astype(float)
    counts[2] = 0                                   # a context that never occurred
    p = ngram_probs(counts, alpha=0.5)
    assert np.allclose(p.sum(axis=1), 1) and np.all(p > 0)
    assert np.allclose(p[2], 1 / 6)
    n = counts.sum(axis=1, keepdims=True)
    weight = n / (n + 0.5 * 6)
    raw = np.divide(counts, n, out=np.zeros_like(counts), where=n > 0)
    assert np.allclose(p, weight * raw + (1 - weight) / 6)
    assert np.allclose(ngram_probs(counts, 1e9), 1 / 6, atol=1e-8)


def check_seqm_table():
    """Equation (seqm-table): free numbers of an n-gram table, and the page's examples."""
    for n in (1, 2, 3):
        table = ngram_probs(np.ones((5,) * n))
        rows = table.size // table.shape[-1]
        assert rows * (5 - 1) == 5 ** (n - 1) * (5 - 1)      # the last entry of a row is given
    assert 10_000**2 * (10_000 - 1) == 999_900_000_000       # trigrams, 10,000 words
    # Bengio's form: V d + ((n-1) d) h + h + h V + V
    v, d, n, h = 10_000, 100, 3, 200
    assert v * d + (n - 1) * d * h + h + h * v + v == 3_050_200


def check_seqm_lower_bound():
    """Equation (seqm-lower-bound): mean loss = entropy rate + KL, on a second-order chain."""
    source = markov_source()
    h, pair = entropy_rate(source)
    rng = np.random.default_rng(3)
    model = rng.dirichlet(np.ones(5), size=(5, 5))
    weight = pair[:, :, None] * source
    safe = np.where(source > 0, source, 1)
    kl = (weight * np.log(safe / model)).sum()
    cross = -(weight * np.log(model)).sum()
    assert kl > 0 and np.isclose(cross, h + kl, atol=1e-12)
    text = np.array(generate(source, [0, 0], 20_000, np.random.default_rng(0)))
    assert abs(np.log(perplexity(model, text)) - cross) < 0.05       # sampling
    assert abs(np.log(perplexity(source, text)) - h) < 0.03
    assert np.allclose(pair.sum(axis=0), pair.sum(axis=1), atol=1e-10)   # stationary


def check_seqm_bits():
    """Equation (seqm-bits): the same distribution, cut into pairs, squares the perplexity."""
    rng = np.random.default_rng(0)
    q = rng.dirichlet(np.ones(4))
    text = rng.choice(4, size=400, p=q)             # 400 one-byte letters
    by_letter = -np.log(q[text])
    by_pair = by_letter.reshape(200, 2).sum(axis=1)           # 200 two-letter tokens
    ppl_letter, ppl_pair = np.exp(by_letter.mean()), np.exp(by_pair.mean())
    assert np.isclose(ppl_pair, ppl_letter**2) and ppl_pair > 1.5 * ppl_letter

    def bits_per_byte(losses, n_bytes):
        return len(losses) / n_bytes * losses.mean() / np.log(2)

    assert np.isclose(bits_per_byte(by_letter, 400), bits_per_byte(by_pair, 400))
    # the page's example: perplexity 20 with 4 bytes per token, 12 with 3
    assert np.isclose(np.log2(20) / 4, 1.0805, atol=1e-4)
    assert np.isclose(np.log2(12) / 3, 1.1950, atol=1e-4)


def check_seqm_ar1():
    """Equation (seqm-ar1): mean and variance of the k-step forecast, by simulation (3 %)."""
    a, sigma, x0 = 0.9, 0.5, 2.0
    rng = np.random.default_rng(0)
    x = np.full(200_000, x0)
    for k in range(1, 11):
        x = a * x + sigma * rng.standard_normal(x.size)
        var = sigma**2 * (1 - a ** (2 * k)) / (1 - a**2)
        assert abs(x.mean() - a**k * x0) < 0.01
        assert abs(x.var() / var - 1) < 0.03
    # the page's numbers for a = 0.99: R^2 of the k-step forecast is a^(2k)
    assert np.isclose(0.99**2, 0.980, atol=5e-4) and np.isclose(0.99**200, 0.134, atol=5e-4)
    y = np.zeros(200_000)
    noise = rng.standard_normal(y.size)
    for t in range(1, y.size):
        y[t] = 0.99 * y[t - 1] + noise[t]
    for k, r2 in ((1, 0.980), (100, 0.134)):
        error = y[k:] - 0.99**k * y[:-k]
        assert abs(1 - error.var() / y.var() - r2) < 0.05
    # "predict no change" scores nearly as well at one step
    naive = 1 - np.var(y[1:] - y[:-1]) / y.var()
    assert 0.97 < naive < 0.985


def check_figure():
    """Training perplexity falls with the context; held-out is best at the source's order 2."""
    rows, floor = order_curves()
    assert np.all(np.diff(rows[:4, 0]) < 0)
    assert rows[:, 1].argmin() == 2
    assert rows[6, 1] > rows[2, 1] + 0.5 and rows[2, 1] > floor


def check_numpy_vs_torch():
    """A trained table of logits reaches the count estimate; losses agree to 1e-12."""
    rng = np.random.default_rng(0)
    source = rng.dirichlet(np.ones(4) * 2, size=4)
    x = np.array(generate(source, [0], 400, rng))
    counts = ngram_counts(x, 2, 4)
    assert counts.min() > 0                         # so the optimum has finite logits
    tokens = torch.from_numpy(x)[None]
    model = BigramModel(4).double()
    assert np.isclose(sequence_loss(model, tokens).item(), np.log(4))
    trained = fit(model, tokens)
    probs = model.table.weight.softmax(dim=1).detach().numpy()
    assert np.allclose(probs, ngram_probs(counts), atol=1e-5)
    assert abs(np.log(trained) - np.log(perplexity(probs, x))) < 1e-12
    assert abs(trained - perplexity(ngram_probs(counts), x)) < 1e-8
    padded = torch.cat([tokens, torch.full((1, 50), -100)], dim=1)
    assert torch.isclose(sequence_loss(model, padded), sequence_loss(model, tokens))


def check_generation():
    """Sampling step by step reproduces the transition frequencies (tolerance 0.02)."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3) * 2, size=3)
    x = np.array(generate(p, [0], 20_000, rng))
    assert np.allclose(ngram_probs(ngram_counts(x, 2, 3)), p, atol=0.02)


def check_worked_example():
    """Every number of the worked example."""
    counts = ngram_counts(encode("abacabab"), 2, 3)
    assert counts.tolist() == [[0, 3, 1], [2, 0, 0], [1, 0, 0]]
    p = ngram_probs(counts)
    assert p[0].tolist() == [0, 0.75, 0.25] and p[1, 0] == 1 and p[2, 0] == 1
    assert np.isclose(perplexity(p, encode("abacabab")), 1.379, atol=5e-4)
    assert np.isclose(p[0, 1] * p[1, 0] * p[0, 2], 3 / 16)
    assert np.isclose(perplexity(p, encode("abac")), 1.747, atol=5e-4)
    assert perplexity(p, encode("abca")) == np.inf
    s = ngram_probs(counts, alpha=1)
    assert np.allclose(s[0], [1 / 7, 4 / 7, 2 / 7])
    assert np.allclose(s[1], [3 / 5, 1 / 5, 1 / 5]) and np.allclose(s[2], [1 / 2, 1 / 4, 1 / 4])
    assert np.isclose(perplexity(s, encode("abca")), 2.596, atol=5e-4)
    assert np.isclose(s[0, 1] * s[1, 2] * s[2, 0], 2 / 35)
    assert np.isclose(perplexity(s, encode("abac")), 2.169, atol=5e-4)
    assert np.isclose(s[0, 1] * s[1, 0] * s[0, 2], 24 / 245)


def check_leaky_target():
    """A model that sees its target reaches perplexity 1: a sign of an off-by-one error."""
    x = np.random.default_rng(0).integers(0, 5, 100)
    logits = torch.nn.functional.one_hot(torch.from_numpy(x), 5) * 50.0
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(x))
    assert loss.exp() < 1.0001


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
