"""Twin of the page "Decoding strategies": truncated sampling, penalties, beams, length bias."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def softmax(z):
    """Softmax over the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def keep(p, top_k=None, top_p=None, min_p=None):
    """Mask of the kept tokens of a distribution p, shape (V,). Ties: lower id first."""
    order = np.argsort(-p, kind="stable")
    ok = np.ones(len(p), bool)
    if top_k is not None:
        ok[order[top_k:]] = False
    if top_p is not None:
        before = np.cumsum(p[order]) - p[order]     # mass ahead of each token
        ok[order[before >= top_p]] = False          # the first token always stays
    if min_p is not None:
        ok &= p >= min_p * p.max()
    return ok


def distribution(z, temperature=1.0, **sets):
    """Logits to the distribution that is sampled: temperature, then truncation."""
    p = softmax(z / temperature)
    p = p * keep(p, **sets)
    return p / p.sum()


def penalize(z, generated, theta=1.0, frequency=0.0, presence=0.0):
    """Penalties on logits z, shape (V,), of the tokens in the list generated."""
    count = np.bincount(generated, minlength=len(z))
    z = np.where(count > 0, np.where(z > 0, z / theta, z * theta), z)
    return z - frequency * count - presence * (count > 0)


def beam_search(log_p, beam, end, max_length, score=lambda s, n: s):
    """log_p: prefix (tuple) to (V,) log-probabilities. score: ranks finished outputs.

    Result: (score, tokens, sum of log-probabilities) of the best finished output.
    """
    live, done = [((), 0.0)], []
    for _ in range(max_length):
        grown = [(y + (v,), s + lp) for y, s in live for v, lp in enumerate(log_p(y))]
        grown = sorted(grown, key=lambda h: -h[1])[:beam]
        done += [(score(s, len(y)), y, s) for y, s in grown if y[-1] == end]
        live = [h for h in grown if h[0][-1] != end]
        if not live:
            break
    return max(done, default=None)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def filter_logits(z, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """Logits (B, V) to logits in which every removed token is minus infinity."""
    z = z / temperature
    logp, order = z.log_softmax(-1).sort(dim=-1, descending=True, stable=True)
    p = logp.exp()
    drop = torch.zeros_like(p, dtype=torch.bool)
    if top_k is not None:
        drop[:, top_k:] = True
    if top_p is not None:
        drop |= p.cumsum(-1) - p >= top_p
    if min_p is not None:
        drop |= p < min_p * p[:, :1]
    drop = torch.zeros_like(drop).scatter(1, order, drop)      # back to token order
    return z.masked_fill(drop, -torch.inf)


@torch.no_grad()
def generate(model, ids, steps, end, generator=None, **settings):
    """model: ids (B, t) to logits (B, t, V). Appends up to steps tokens to ids."""
    ended = torch.zeros(len(ids), dtype=torch.bool)
    for _ in range(steps):
        p = filter_logits(model(ids)[:, -1], **settings).softmax(-1)
        new = torch.multinomial(p, 1, generator=generator)
        new[ended] = end                           # finished rows stay padded
        ids = torch.cat([ids, new], dim=1)
        ended |= new[:, 0] == end
        if ended.all():
            break
    return ids
# --8<-- [end:torch]


PEAKED = np.array([5.4, 2.5, 2.0, 1.8, 1.5, 1.2, 1.0, 0.6, 0.3, 0.0])
FLAT = np.array([2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 0.2, 0.0])
SETS = {"top-k, 4": {"top_k": 4}, "nucleus, 0.9": {"top_p": 0.9}, "min-p, 0.1": {"min_p": 0.1}}


def figure_sets():
    """What top-k, nucleus and min-p keep of a peaked and of a flat distribution."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2), sharey=False)
    for ax, z, name in zip(axes, (PEAKED, FLAT), ("peaked", "flat")):
        p = softmax(z)
        x = np.arange(1, len(p) + 1)
        ax.bar(x, p, color="C0", alpha=0.75, width=0.7)
        top = p.max()
        for row, (label, s) in enumerate(SETS.items()):
            n = keep(p, **s).sum()
            y = top * (1.12 + 0.11 * row)
            ax.plot([0.6, n + 0.4], [y, y], color=f"C{row + 1}", lw=3, solid_capstyle="butt",
                    ls=("-", (0, (3, 0.6)), (0, (1, 0.5)))[row])
            ax.text(n + 0.6, y, f"{label}: {n}", va="center", fontsize=9)
        ax.set_xlim(0.3, 15.5)
        ax.set_xticks([1, 5, 10])
        ax.set_ylim(0, top * 1.48)
        ax.set_xlabel(f"rank of the token, {name}")
        ax.grid(visible=False)
    axes[0].set_ylabel("probability")
    return fig


def typical_rates(p=0.6, lengths=(20, 100, 1000), n=4000):
    """Log-probability per token of random outputs of independent tokens a (p) and b."""
    rng = np.random.default_rng(0)
    return {t: (rng.binomial(t, p, n) / t) * np.log(p / (1 - p)) + np.log(1 - p)
            for t in lengths}


END = 0.05
CONTENT = np.array([0.5, 0.3, 0.2]) * (1 - END)


def length_scores(n):
    """Best log-probability of an output with n tokens and the end symbol, by three scores."""
    s = n * np.log(CONTENT.max()) + np.log(END)
    return s, s / (n + 1), s + 0.9 * n


def figure_length():
    """Left: typical log-probability against the mode. Right: length bias of three scores."""
    fig, (ax, bx) = plt.subplots(1, 2, figsize=(6.4, 3.0))
    edges = np.log(0.4) + (np.arange(22) - 0.5) * np.log(1.5) / 20
    for k, (t, r) in enumerate(typical_rates().items()):
        ax.hist(r, bins=edges, density=True, histtype="step", lw=1.5,
                ls=("-", "--", "-.")[k], color=f"C{k}", label=f"{t} tokens")
    ax.axvline(np.log(0.6), color="#222222", ls=":", lw=1.5)
    ax.text(np.log(0.6) - 0.015, 30, "most\nprobable\noutput", ha="right", va="top", fontsize=9)
    ax.set_xlabel("log-probability per token")
    ax.set_ylabel("density of samples")
    ax.legend(fontsize=9, frameon=False, loc="upper left")
    n = np.arange(0, 41)
    for k, (y, label) in enumerate(zip(length_scores(n), ("sum", "mean", "sum + 0.9 per token"))):
        bx.plot(n, y, color=f"C{k}", ls=("-", "--", "-.")[k], label=label)
        bx.plot(n[y.argmax()], y.max(), "os^"[k], color=f"C{k}", ms=7)
    bx.axvline((1 - END) / END, color="#222222", ls=":", lw=1.5)
    bx.text((1 - END) / END + 0.8, -6, "mean length\nof samples", va="top", fontsize=9)
    bx.set_ylim(-50, 6)
    bx.set_xlabel("tokens before the end")
    bx.set_ylabel("best score of that length")
    bx.legend(fontsize=9, frameon=False, loc="lower left")
    return fig


def _entropy(p):
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def check_dec_sets():
    """Equation (dec-sets): each set against its definition by search over all sets."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        p = softmax(2 * rng.standard_normal(7))
        subsets = [np.array([m >> i & 1 for i in range(7)], bool) for m in range(1, 128)]
        best = max((s for s in subsets if s.sum() == 3), key=lambda s: p[s].sum())
        assert np.array_equal(keep(p, top_k=3), best)
        enough = [s for s in subsets if p[s].sum() >= 0.8]
        small = min(s.sum() for s in enough)
        best = max((s for s in enough if s.sum() == small), key=lambda s: p[s].sum())
        assert np.array_equal(keep(p, top_p=0.8), best)
        assert np.array_equal(keep(p, min_p=0.2), [v >= 0.2 * max(p) for v in p])
    counts = [[int(keep(softmax(z), **s).sum()) for s in SETS.values()] for z in (PEAKED, FLAT)]
    assert counts == [[4, 3, 1], [4, 8, 10]], counts


def check_dec_truncate():
    """Equation (dec-truncate): ratios are kept, the sum is one, the rest is zero."""
    p = softmax(FLAT)
    q = distribution(FLAT, top_p=0.5)
    a = q > 0
    assert np.isclose(q.sum(), 1) and 1 < a.sum() < len(p)
    assert np.allclose(q[a] / q[a][0], p[a] / p[a][0]) and np.allclose(q[a], p[a] / p[a].sum())


def check_dec_greedy():
    """Equation (dec-greedy): argmax is the limit of low temperature, top-1 and beam one."""
    rng = np.random.default_rng(1)
    for z in rng.standard_normal((20, 9)):
        best = z.argmax()
        assert distribution(z, top_k=1)[best] == 1 and distribution(z, top_p=1e-9)[best] == 1
        assert distribution(z, temperature=1e-3)[best] > 1 - 1e-2
    table = _chain(3)
    y = ()
    while not y or y[-1] != 0:
        y += (int(table(y).argmax()),)
    assert beam_search(table, 1, 0, 50)[1] == y


def check_dec_kl():
    """Equation (dec-kl): renormalizing is the closest distribution; cost is -log of the mass."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        p = softmax(2 * rng.standard_normal(8))
        a = keep(p, top_p=0.7)
        q = p * a / p[a].sum()

        def kl(q):
            return float((q[a] * np.log(q[a] / p[a])).sum())

        assert np.isclose(kl(q), -np.log(p[a].sum())) and kl(q) <= -np.log(0.7) + 1e-12
        for _ in range(50):
            r = np.zeros(8)
            r[a] = rng.dirichlet(np.ones(a.sum()))
            assert kl(r) >= kl(q) - 1e-12
    p = np.full(1000, 1e-3)                        # top-k has no such bound
    assert np.isclose(p[keep(p, top_k=10)].sum(), 0.01)


def check_dec_tail():
    """Equation (dec-tail): chance that no step of N draws from the tail, by sampling."""
    rng = np.random.default_rng(3)
    clean = (rng.random((20_000, 100)) >= 0.01).all(axis=1).mean()
    assert np.isclose(0.99**100, 0.366, atol=5e-4) and np.isclose(clean, 0.366, atol=0.012)
    assert np.isclose(0.99**300, 0.049, atol=5e-4)


def check_dec_entropy():
    """Equation (dec-entropy): finite differences of the entropy in the temperature."""
    rng = np.random.default_rng(4)
    for z in 2 * rng.standard_normal((10, 12)):
        for t in (0.5, 1.0, 2.0):
            p, h = softmax(z / t), 1e-5
            slope = (_entropy(softmax(z / (t + h))) - _entropy(softmax(z / (t - h)))) / (2 * h)
            var = (p * z**2).sum() - (p * z).sum() ** 2
            assert np.isclose(slope, var / t**3, rtol=1e-5) and slope > 0


def check_dec_min_p_temperature():
    """Equation (dec-min-p-temperature): min-p after temperature is a fixed gap in the logits."""
    rng = np.random.default_rng(5)
    for z in 3 * rng.standard_normal((20, 50)):
        p = softmax(z)
        sizes = []
        for t in (0.5, 1.0, 2.0):
            ok = distribution(z, temperature=t, min_p=0.1) > 0
            assert np.array_equal(ok, z >= z.max() + t * np.log(0.1))
            assert np.array_equal(ok, p >= 0.1**t * p.max())
            sizes.append(ok.sum())
        assert sizes[0] <= sizes[1] <= sizes[2]
    nucleus = [int((distribution(FLAT, t, top_p=0.6) > 0).sum()) for t in (0.25, 1.0, 4.0)]
    top = [int((distribution(FLAT, t, top_k=4) > 0).sum()) for t in (0.25, 1.0, 4.0)]
    assert nucleus == [3, 5, 6] and top == [4, 4, 4], nucleus


def _chain(seed, v=4):
    """A random model of prefixes: token 0 ends; distributions depend on the whole prefix."""
    def log_p(y):
        rng = np.random.default_rng([seed, len(y), *y])
        return np.log(rng.dirichlet(np.ones(v)))
    return log_p


def check_dec_local_temperature():
    """Equation (dec-local-temperature): tempering each step against tempering the sequence."""
    log_p, t, v = _chain(1), 0.5, 4
    total = local_sum = 0.0
    ratios = []
    for a in range(v):
        for b in range(v):
            s = log_p(())[a] + log_p((a,))[b]
            z = [np.exp(log_p(y) / t).sum() for y in ((), (a,))]
            local = np.exp(s / t) / (z[0] * z[1])
            step = distribution(log_p(()), t)[a] * distribution(log_p((a,)), t)[b]
            assert np.isclose(local, step, atol=1e-12)
            total += np.exp(s / t)
            local_sum += local
            ratios.append(local / np.exp(s / t))
    assert np.isclose(local_sum, 1) and max(ratios) > 1.2 * min(ratios)   # not proportional
    assert np.allclose(ratios[:v], ratios[0])      # same prefix, same factor


def check_dec_typical():
    """Equation (dec-typical): rates concentrate at minus the entropy, below the mode's rate."""
    h = _entropy(np.array([0.6, 0.4]))
    assert np.isclose(h, 0.673, atol=5e-4) and np.isclose(np.log(0.6), -0.511, atol=5e-4)
    spread = []
    for t, r in typical_rates().items():
        assert np.isclose(r.mean(), -h, atol=4 * r.std() / np.sqrt(len(r)))
        spread.append(r.std())
    assert np.allclose(np.array(spread[:-1]) / spread[1:], np.sqrt([5, 10]), rtol=0.1)
    assert typical_rates()[1000].max() < np.log(0.6) - 0.1
    assert np.isclose(np.log10(0.6) * 1000, -221.8, atol=0.1)


def check_dec_length():
    """Equation (dec-length): best output of each length by enumeration, mean length by sampling."""
    step = np.concatenate([[END], CONTENT])
    for n in range(5):
        paths = np.array(np.meshgrid(*[CONTENT] * n)).reshape(n, -1) if n else np.ones((1, 1))
        assert np.isclose(np.log(paths.prod(axis=0).max() * END), length_scores(n)[0])
    assert np.all(np.diff(length_scores(np.arange(40))[0]) < 0)
    rng = np.random.default_rng(6)
    lengths = rng.geometric(END, 40_000) - 1
    assert np.isclose(lengths.mean(), (1 - END) / END, atol=0.35) and np.isclose((1 - END) / END, 19)
    found = [beam_search(lambda y: np.log(step), b, 0, 12) for b in (1, 4)]
    assert found[0] is None                       # greedy never ends within 12 tokens
    assert found[1][1] == (0,) and np.isclose(found[1][2], np.log(0.05))


def check_dec_length_repair():
    """Equation (dec-length-repair): the mean favors long outputs, a reward has a threshold."""
    n = np.arange(200)
    c = CONTENT.max()
    s, mean, _ = length_scores(n)
    assert np.isclose(c, 0.475) and np.isclose(-np.log(c), 0.744, atol=5e-4)
    assert np.all(np.diff(mean) > 0) and mean[-1] < np.log(c)
    assert np.allclose(mean, np.log(c) - (np.log(c) - np.log(END)) / (n + 1))
    for reward in (0.7, 0.8):
        up = np.diff(s + reward * n) > 0
        assert up.all() if reward > -np.log(c) else not up.any()


def check_dec_repetition():
    """Equation (dec-repetition): never raises a seen token; plain division would."""
    rng = np.random.default_rng(7)
    for z in 2 * rng.standard_normal((30, 12)):
        seen = [0, 3, 3, 5]
        new = penalize(z, seen, theta=1.2)
        assert np.all(new[[0, 3, 5]] <= z[[0, 3, 5]])
        rest = [i for i in range(12) if i not in seen]
        assert np.array_equal(new[rest], z[rest])
    z = np.array([2.0, -1.0, 0.5])
    assert np.allclose(penalize(z, [0, 1], theta=1.25), [1.6, -1.25, 0.5])
    assert -1.0 / 1.25 > -1.0                     # plain division raises a negative logit
    # Softmax ignores a constant shift of the logits, the penalty does not.
    one, two = (softmax(penalize(z + c, [0], theta=1.25)) for c in (0.0, 5.0))
    assert np.allclose(softmax(z), softmax(z + 5)) and abs(one[0] - two[0]) > 0.1


def check_dec_frequency():
    """Equation (dec-frequency): odds of a seen token fall by a factor that ignores shifts."""
    z, seen = np.array([2.0, -1.0, 0.5, 0.1]), [0, 0, 0, 1]
    for c in (0.0, 5.0):
        p = softmax(z + c)
        q = softmax(penalize(z + c, seen, frequency=0.3, presence=0.5))
        odds = (q[0] / q[2]) / (p[0] / p[2])
        assert np.isclose(odds, np.exp(-0.3 * 3 - 0.5))
    assert np.allclose(penalize(z, seen, frequency=0.3, presence=0.5)[1], -1.0 - 0.8)


def check_dec_cycle():
    """Equation (dec-cycle): greedy decoding of a model with finite context ends in a cycle."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        v, n = 6, 2
        best = rng.standard_normal((v, v, v)).argmax(-1)      # a random trigram model
        y = [0, 1]
        for _ in range(200):
            y.append(int(best[y[-2], y[-1]]))
        period = next(p for p in range(1, v**n + 1) if y[-p - 60:-p] == y[-60:])
        start = next(t for t in range(len(y)) if y[t:len(y) - period] == y[t + period:])
        assert start + period <= v**n
        free = rng.integers(0, v, 200).tolist()               # drawn at random: no cycle
        assert all(free[-p - 60:-p] != free[-60:] for p in range(1, v**n + 1))


def check_numpy_vs_torch():
    """Both versions give the same distribution to 1e-12 in float64; generate stops."""
    rng = np.random.default_rng(8)
    z = 3 * rng.standard_normal((16, 40))
    for s in ({}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.1}, {"top_k": 9, "top_p": 0.7}):
        for t in (0.7, 1.0, 1.6):
            got = filter_logits(torch.from_numpy(z), temperature=t, **s).softmax(-1).numpy()
            assert np.allclose(got, [distribution(r, t, **s) for r in z], atol=1e-12)
    table = torch.tensor([[1.0, 0.1, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]]).log()

    def model(ids):
        return table[ids]

    g = torch.Generator().manual_seed(0)
    start = torch.ones((6000, 1), dtype=torch.long)
    out = generate(model, start, 40, end=0, generator=g)
    share = torch.bincount(out[:, 1], minlength=3) / 6000
    assert torch.allclose(share, torch.tensor([0.2, 0.5, 0.3]), atol=0.03)
    after = (out == 0).cumsum(1) > 0
    assert (out[after] == 0).all() and after[:, -1].float().mean() > 0.99
    assert (generate(model, start[:2], 9, end=0, top_k=1) == 1).all()


def check_beam():
    """Beam search against enumeration: a full beam is exact, a small one need not be."""
    misses = 0
    for seed in range(12):
        log_p, v, longest = _chain(seed, 3), 3, 4
        best, stack = (-np.inf, None), [((), 0.0)]
        while stack:
            y, s = stack.pop()
            for tok, lp in enumerate(log_p(y)):
                if tok == 0:
                    best = max(best, (s + lp, y + (0,)))
                elif len(y) < longest - 1:
                    stack.append((y + (tok,), s + lp))
        assert beam_search(log_p, v**longest, 0, longest)[1] == best[1]
        small = beam_search(log_p, 1, 0, longest)
        misses += small is None or small[1] != best[1]
    assert 0 < misses


def check_worked_example():
    """The numbers of the worked example."""
    z = np.array([3.0, 2.0, 1.0, 0.0, -1.0])
    p = softmax(z)
    assert np.allclose(p, [0.636, 0.234, 0.086, 0.032, 0.012], atol=5e-4)
    assert np.allclose(softmax(z / 2), [0.429, 0.260, 0.158, 0.096, 0.058], atol=5e-4)
    assert np.allclose(softmax(z / 0.5), [0.865, 0.117, 0.016, 0.002, 0.000], atol=5e-4)
    assert np.allclose(distribution(z, top_k=2), [0.731, 0.269, 0, 0, 0], atol=5e-4)
    q = distribution(z, top_p=0.9)
    assert np.allclose(q, [0.665, 0.245, 0.090, 0, 0], atol=5e-4)
    assert np.isclose(p[:2].sum(), 0.871, atol=5e-4) and np.isclose(p[:3].sum(), 0.957, atol=5e-4)
    assert np.isclose(-np.log(p[:3].sum()), 0.044, atol=5e-4)
    assert keep(p, min_p=0.1).tolist() == [True, True, True, False, False]
    assert np.isclose(0.1 * p[0], 0.064, atol=5e-4)
    assert (distribution(z, 2.0, top_p=0.9) > 0).sum() == 4
    assert np.isclose(softmax(z / 2)[:3].sum(), 0.846, atol=5e-4)
    assert (distribution(z, 2.0, min_p=0.1) > 0).sum() == 5
    pen = penalize(z, [0, 4], theta=1.2)
    assert np.allclose(pen, [2.5, 2, 1, 0, -1.2])
    assert np.isclose(softmax(pen)[0], 0.516, atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
