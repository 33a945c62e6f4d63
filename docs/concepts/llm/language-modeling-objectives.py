"""Page language-modeling-objectives: checks causal, masked and span-corruption objectives."""
from itertools import combinations, permutations, product

import matplotlib.pyplot as plt
import numpy as np
import torch

# --8<-- [start:numpy]
IGNORE = -100                                     # label of positions without loss


def causal_example(ids):
    """Inputs and next-token targets of one sequence (T,): all but last, all but first."""
    return ids[:-1], ids[1:]


def masked_example(ids, vocab, mask_id, rng, rate=0.15):
    """BERT's rule. Returns the corrupted ids and labels (IGNORE where unselected)."""
    chosen = rng.random(ids.shape) < rate
    fate = rng.random(ids.shape)
    noisy = np.where(chosen & (fate < 0.8), mask_id, ids)
    swap = chosen & (fate >= 0.8) & (fate < 0.9)
    noisy = np.where(swap, rng.integers(0, vocab, ids.shape), noisy)
    return noisy, np.where(chosen, ids, IGNORE)


def span_example(ids, spans, sentinels, end):
    """T5's rule for given spans [(start, stop), ...], in order and not adjacent."""
    source, target, at = [], [], 0
    for (start, stop), mark in zip(spans, sentinels):
        source += [*ids[at:start], mark]
        target += [mark, *ids[start:stop]]
        at = stop
    return [*source, *ids[at:], end], [*target, end]


def token_loss(logits, labels):
    """Mean negative log-probability of labels (n,) under logits (n, V)."""
    keep = labels != IGNORE
    z = logits[keep] - logits[keep].max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -log_p[np.arange(keep.sum()), labels[keep]].mean()
# --8<-- [end:numpy]


# --8<-- [start:torch]
def causal_loss(logits, ids):
    """Logits (B, T, V) of a causal model at ids (B, T): position t predicts t + 1."""
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def masked_loss(logits, labels):
    """Logits (B, T, V) of a bidirectional model; labels are -100 where unselected."""
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


def corrupt(ids, vocab, mask_id, special, rate=0.15):
    """BERT's rule for a batch; `special` (B, T) marks tokens never to select."""
    labels, noisy = ids.clone(), ids.clone()
    chosen = (torch.rand(ids.shape) < rate) & ~special
    fate = torch.rand(ids.shape)
    labels[~chosen] = -100
    noisy[chosen & (fate < 0.8)] = mask_id
    swap = chosen & (fate >= 0.8) & (fate < 0.9)
    noisy[swap] = torch.randint(vocab, ids.shape)[swap]
    return noisy, labels


def may_look(kind, n, prefix=0):
    """Boolean (n, n): may row position read column position?"""
    full = torch.ones(n, n, dtype=torch.bool)
    if kind == "bidirectional":
        return full
    mask = full.tril()                            # causal
    if kind == "prefix":
        mask[:, :prefix] = True
    return mask
# --8<-- [end:torch]


def span_lengths(tokens, rate=0.15, mean=3.0):
    """Lengths of the source and target made from `tokens` tokens, end tokens included."""
    noise = round(tokens * rate)
    spans = round(noise / mean)
    return tokens - noise + spans + 1, noise + spans + 1


def keep_weight(p, vocab, keep=0.1, swap=0.1):
    """Weight of 'the visible token is right' in the best prediction at a selected place."""
    return keep * p / (keep * p + swap / vocab)


def chain_bits(rates, eps=0.1, reach=400):
    """Bits per masked symbol of a two-symbol Markov chain, given all unmasked symbols."""
    rho = 1 - 2 * eps
    a = np.arange(1, reach + 1)
    la, lb = rho ** a[:, None], rho ** a[None, :]

    def h(p):
        p = np.clip(p, 1e-15, 1 - 1e-15)
        return -p * np.log2(p) - (1 - p) * np.log2(1 - p)

    same = (1 + la * lb) / 2
    cond = (same * h((1 + la) * (1 + lb) / (4 * same))
            + (1 - same) * h((1 + la) * (1 - lb) / (4 * (1 - same))))
    out = []
    for r in np.atleast_1d(rates):
        w = (1 - r) * r ** (a - 1.0)
        w[-1] += r**reach                         # the tail, where nothing is known
        out.append(w @ cond @ w)
    return np.array(out)


def entropy_rate(eps=0.1):
    return -eps * np.log2(eps) - (1 - eps) * np.log2(1 - eps)


def figure_tasks():
    """One sentence under three objectives: what is read and what is to be written."""
    words = ["the", "tired", "dog", "slept", "near", "the", "old", "stove"]
    fig, axes = plt.subplots(3, 1, figsize=(6.4, 5.2))

    def row(ax, y, items, label):
        ax.text(-0.25, y, label, ha="right", va="center", fontsize=9)
        for i, (text, style) in enumerate(items):
            edge, ls, lw, hatch = {"read": ("#222222", "-", 1, None),
                                   "mark": ("#c2410c", "--", 1.6, "///"),
                                   "none": ("#999999", ":", 1, None),
                                   "goal": ("#0061a8", "-", 2.2, None)}[style]
            ax.add_patch(plt.Rectangle((i + 0.04, y - 0.36), 0.92, 0.72, fill=False,
                                       edgecolor=edge, linestyle=ls, linewidth=lw,
                                       hatch=None))
            ax.text(i + 0.5, y, text, ha="center", va="center", fontsize=9)

    r = lambda ws: [(w, "read") for w in ws]
    row(axes[0], 1, r(words[:-1]), "input")
    row(axes[0], 0, [(w, "goal") for w in words[1:]], "target")
    row(axes[1], 1, [("the", "read"), ("[M]", "mark"), ("dog", "read"), ("slept", "read"),
                     ("near", "read"), ("the", "read"), ("[M]", "mark"),
                     ("stove", "read")], "input")
    row(axes[1], 0, [("", "none"), ("tired", "goal"), ("", "none"), ("", "none"),
                     ("", "none"), ("", "none"), ("old", "goal"), ("", "none")], "target")
    row(axes[2], 1, [("the", "read"), ("<0>", "mark"), ("slept", "read"), ("near", "read"),
                     ("the", "read"), ("<1>", "mark"), ("stove", "read")], "input")
    row(axes[2], 0, [("<0>", "mark"), ("tired", "goal"), ("dog", "goal"), ("<1>", "mark"),
                     ("old", "goal"), ("end", "mark")], "target")
    for ax, name in zip(axes, ("causal: read left, predict the next",
                               "masked: read both sides, predict in place",
                               "span corruption: read both sides, write the gaps")):
        ax.set_xlim(-1.1, 8.05)
        ax.set_ylim(-0.5, 1.95)
        ax.text(0.05, 1.68, name, fontsize=10, va="center")
        ax.axis("off")
    return fig


def figure_rate():
    """Bits per predicted symbol against the masked share, and the entropy rate."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    r = np.linspace(0, 1, 101)
    ax.plot(r, chain_bits(r), label="masked, both sides")
    ax.axhline(entropy_rate(), color="#c2410c", linestyle="--", label="causal, left side")
    i = 15
    ax.plot(r[i], chain_bits(r[i])[0], "o", color="#0061a8")
    ax.annotate("15 percent", (r[i], chain_bits(r[i])[0]), (0.22, 0.22),
                arrowprops={"arrowstyle": "-", "color": "#555555"}, fontsize=9)
    ax.set_xlabel("share of symbols masked")
    ax.set_ylabel("bits per predicted symbol")
    ax.set_ylim(0, 1.05)
    ax.legend(loc="upper left")
    return fig


def _joint(seed=0, v=3, n=3):
    p = np.random.default_rng(seed).random((v,) * n) ** 2
    return p / p.sum()


def _cond(p, x, targets, given):
    """p(x_targets | x_given) for a joint table p at the point x."""
    fix = lambda keep: p[tuple(x[i] if i in keep else slice(None)
                               for i in range(p.ndim))].sum()
    return fix(set(targets) | set(given)) / fix(set(given))


def check_lm_causal():
    """Equation (lm-causal): mean over positions; loss is -log of the product over T."""
    rng = np.random.default_rng(0)
    ids, z = rng.integers(0, 7, 12), rng.standard_normal((12, 7))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    x, y = causal_example(ids)
    assert np.array_equal(x[1:], y[:-1])
    assert np.isclose(token_loss(z[:-1], y), -np.log(p[np.arange(11), y].prod()) / 11)


def check_lm_masked():
    """Equation (lm-masked): only selected positions count."""
    rng = np.random.default_rng(1)
    ids, z = rng.integers(0, 9, 200), rng.standard_normal((200, 9))
    noisy, labels = masked_example(ids, 9, 9, rng)
    sel = labels != IGNORE
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert np.isclose(token_loss(z, labels), np.mean(-np.log(p[sel, ids[sel]])))
    other = z.copy()
    other[~sel] += rng.standard_normal((int((~sel).sum()), 9))
    assert np.isclose(token_loss(z, labels), token_loss(other, labels))
    assert np.array_equal(noisy[~sel], ids[~sel])


def check_lm_bert_rule():
    """Equation (lm-bert-rule): shares by sampling, within 0.003."""
    rng = np.random.default_rng(2)
    v, n = 20, 400_000
    ids = rng.integers(0, v, n)
    noisy, labels = masked_example(ids, v, v, rng)
    sel = labels != IGNORE
    assert np.isclose(sel.mean(), 0.15, atol=0.003)
    s, t = noisy[sel], ids[sel]
    assert np.isclose((s == v).mean(), 0.8, atol=0.005)
    assert np.isclose((s == t).mean(), 0.1 + 0.1 / v, atol=0.004)
    assert np.isclose(((s == (t + 1) % v)).mean(), 0.1 / v, atol=0.002)
    assert np.isclose(512 * 0.15, 76.8) and np.isclose(512 * 0.12, 61.44)


def check_lm_span_lengths():
    """Equation (lm-span-lengths): lengths of actual examples; 568 gives 512 and 114."""
    assert span_lengths(568) == (512, 114)
    rng = np.random.default_rng(3)
    ids = list(rng.integers(0, 100, 40))
    spans = [(3, 6), (10, 13)]                    # 6 of 40 tokens, mean length 3
    src, tgt = span_example(ids, spans, [101, 102], 103)
    assert (len(src), len(tgt)) == span_lengths(40)
    # nothing is lost: filling the gaps restores the text
    parts = {101: tgt[1:4], 102: tgt[5:8]}
    back = [t for s in src[:-1] for t in parts.get(s, [s])]
    assert back == ids


def check_lm_keep_weight():
    """Equation (lm-keep-weight): best prediction given a visible token, by enumeration."""
    rng = np.random.default_rng(4)
    v = 6
    p = rng.dirichlet(np.ones(v))                 # p(x | context)
    for keep, swap in ((0.1, 0.1), (0.05, 0.2), (0.1, 0.0), (0.0, 0.1)):
        # joint of true token (rows) and token seen (columns), mask token left out
        joint = p[:, None] * (keep * np.eye(v) + swap / v)
        post = joint / joint.sum(0)
        for seen in range(v):
            lam = keep_weight(p[seen], v, keep, swap)
            want = (1 - lam) * p + lam * np.eye(v)[seen]
            assert np.allclose(post[:, seen], want)
    assert np.isclose(keep_weight(1 / v, v), 0.5)


def check_lm_independence():
    """Equation (lm-independence): the cost of predicting masked tokens separately."""
    p = _joint(5)
    c = 0                                         # position 0 is visible, 1 and 2 masked
    lhs = joint = gap = 0.0
    for x in product(range(3), repeat=3):
        w = p[x]
        a, b = _cond(p, x, [1], [c]), _cond(p, x, [2], [c])
        ab = _cond(p, x, [1, 2], [c])
        lhs += -w * np.log(a * b)
        joint += -w * np.log(ab)
        gap += w * np.log(ab / (a * b))
    assert np.isclose(lhs, joint + gap) and gap > 0.01


def check_lm_any_order():
    """Equation (lm-any-order): for every text, by enumeration of orders and of subsets."""
    p = _joint(6)
    for x in ((0, 1, 2), (2, 2, 0), (1, 0, 1)):
        right = 0.0
        for k in (1, 2, 3):
            sets = list(combinations(range(3), k))
            for m in sets:
                rest = [i for i in range(3) if i not in m]
                right += np.mean([-np.log(_cond(p, x, [t], rest)) for t in m]) / len(sets)
        # T = 3 times the mean over k = 1, 2, 3 is the plain sum
        assert np.isclose(right, -np.log(p[x]))
        for order in permutations(range(3)):
            s = sum(-np.log(_cond(p, x, [order[j]], order[:j])) for j in range(3))
            assert np.isclose(s, -np.log(p[x]))


def check_lm_pseudo():
    """Equation (lm-pseudo): never more bits than the true likelihood, on average."""
    for seed in range(5):
        p = _joint(seed)
        pseudo = exact = 0.0
        for x in product(range(3), repeat=3):
            others = [[j for j in range(3) if j != t] for t in range(3)]
            pseudo += p[x] * sum(-np.log(_cond(p, x, [t], others[t])) for t in range(3))
            exact += -p[x] * np.log(p[x])
        assert pseudo < exact
    ind = np.einsum("i,j,k->ijk", *np.random.default_rng(7).dirichlet(np.ones(3), 3))
    pseudo = sum(-ind[x] * np.log(_cond(ind, x, [t], [j for j in range(3) if j != t]))
                 for x in product(range(3), repeat=3) for t in range(3))
    assert np.isclose(pseudo, -(ind * np.log(ind)).sum())     # equality if independent


def check_chain():
    """Figure and text: ends of the curve, area under it, and a simulated point."""
    assert np.isclose(entropy_rate(), 0.469, atol=5e-4)
    lo, mid, hi = chain_bits([0.0, 0.15, 1.0])
    assert np.isclose(lo, 0.258, atol=5e-4) and np.isclose(hi, 1)
    assert np.isclose(mid, 0.288, atol=1e-3)
    x, w = np.polynomial.legendre.leggauss(60)
    assert np.isclose(0.5 * w @ chain_bits((x + 1) / 2), entropy_rate(), atol=1e-4)
    r = np.linspace(0, 1, 1001)
    cross = r[np.argmax(chain_bits(r) > entropy_rate())]
    assert np.isclose(cross, 0.61, atol=0.01), cross


def check_worked_example():
    """The numbers of the worked example."""
    words = "the tired dog slept near the old stove".split()
    src, tgt = span_example(words, [(1, 3), (6, 7)], ["<0>", "<1>"], "<end>")
    assert src == "the <0> slept near the <1> stove <end>".split()
    assert tgt == "<0> tired dog <1> old <end>".split()
    v = 30_000
    assert np.isclose(keep_weight(0.3, v), 0.99989, atol=5e-6)
    assert np.isclose(keep_weight(1e-6, v), 0.0291, atol=5e-5)
    p = np.array([[0.45, 0.05], [0.05, 0.45]])
    assert np.isclose(0.45**-0.5, 1.49, atol=0.005)
    assert np.isclose(_cond(p, (0, 0), [0], [1]), 0.9) and np.isclose(1 / 0.9, 1.11, atol=2e-3)
    total = sum(_cond(p, x, [0], [1]) * _cond(p, x, [1], [0])
                for x in product(range(2), repeat=2))
    assert np.isclose(total, 1.64)


def check_numpy_vs_torch():
    """Losses agree to 1e-12; the two corruption rules select equal shares."""
    rng = np.random.default_rng(8)
    ids, z = rng.integers(0, 11, (4, 9)), rng.standard_normal((4, 9, 11))
    t, zt = torch.from_numpy(ids), torch.from_numpy(z)
    a = token_loss(z[:, :-1].reshape(-1, 11), ids[:, 1:].reshape(-1))
    assert abs(a - causal_loss(zt, t).item()) < 1e-12
    _, labels = masked_example(ids, 11, 11, rng, rate=0.5)
    b = token_loss(z.reshape(-1, 11), labels.reshape(-1))
    assert abs(b - masked_loss(zt, torch.from_numpy(labels)).item()) < 1e-12
    torch.manual_seed(0)
    big = torch.randint(50, (400, 512))
    special = torch.zeros_like(big, dtype=torch.bool)
    special[:, 0] = True
    noisy, labels = corrupt(big, 50, 50, special)
    sel = labels != -100
    assert not sel[:, 0].any() and torch.equal(noisy[~sel], big[~sel])
    assert abs(sel[:, 1:].double().mean().item() - 0.15) < 0.003
    assert abs((noisy[sel] == 50).double().mean().item() - 0.8) < 0.005
    m = may_look("prefix", 5, 2)
    assert m[0, 1] and not m[0, 2] and not m[2, 3] and m[4].all()
    assert may_look("causal", 5).sum() == 15 and may_look("bidirectional", 5).all()


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
