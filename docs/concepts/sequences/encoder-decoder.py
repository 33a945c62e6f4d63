"""Twin of the page "Encoder-decoder models": snippets, figures, checks of its equations."""
import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def encode(p, x):
    """States h_1..h_n, shape (n, d), of a tanh RNN over the source ids x."""
    h, states = np.zeros(len(p["W_h"])), []
    for i in x:
        h = np.tanh(p["E_x"][i] @ p["W_x"].T + h @ p["W_h"].T)
        states.append(h)
    return np.array(states)


def decode_step(p, s, y_prev, states):
    """One decoder step: new state and log-probabilities of the next token.

    The new state attends over the encoder states (dot-product scores).
    """
    s = np.tanh(p["E_y"][y_prev] @ p["W_y"].T + s @ p["W_s"].T)
    e = states @ s
    a = np.exp(e - e.max())
    context = a / a.sum() @ states
    z = np.concatenate([s, context]) @ p["W_o"].T
    z = z - z.max()
    return s, z - np.log(np.exp(z).sum())


def teacher_forced_loss(p, x, y, bos=0):
    """Negative log-likelihood of y (it ends with the end symbol), given x."""
    states = encode(p, x)
    s, loss = states[-1], 0.0
    for y_prev, y_true in zip([bos, *y[:-1]], y):    # inputs: y shifted right
        s, log_p = decode_step(p, s, y_prev, states)
        loss -= log_p[y_true]
    return loss


def beam_search(log_p, beam, max_len, eos=0, alpha=0.0):
    """Best finished sequence (score, tokens) that a beam of this size finds.

    log_p(prefix) returns log-probabilities of the next token.
    alpha: exponent of the length penalty of Wu et al. (2016); 0 is none.
    """
    live, done = [(0.0, ())], []
    for _ in range(max_len):
        grown = [
            (score + lp, (*prefix, token))
            for score, prefix in live
            for token, lp in enumerate(log_p(prefix))
        ]
        grown = sorted(grown, reverse=True)[:beam]
        done += [(s / ((5 + len(y)) / 6) ** alpha, y) for s, y in grown if y[-1] == eos]
        live = [(s, y) for s, y in grown if y[-1] != eos]
        if not live:
            break
    return max(done) if done else None
# --8<-- [end:numpy]


# --8<-- [start:torch]
class Seq2Seq(torch.nn.Module):
    """RNN encoder and decoder with dot-product attention."""

    def __init__(self, n_src, n_tgt, d):
        super().__init__()
        self.emb_x = torch.nn.Embedding(n_src, d)
        self.emb_y = torch.nn.Embedding(n_tgt, d)
        self.enc = torch.nn.RNN(d, d, bias=False, batch_first=True)
        self.dec = torch.nn.RNN(d, d, bias=False, batch_first=True)
        self.out = torch.nn.Linear(2 * d, n_tgt, bias=False)

    def forward(self, x, y_in):
        """Logits (batch, T, n_tgt); y_in is the target shifted right."""
        states, last = self.enc(self.emb_x(x))
        s, _ = self.dec(self.emb_y(y_in), last)
        weights = torch.softmax(s @ states.transpose(1, 2), dim=-1)
        return self.out(torch.cat([s, weights @ states], dim=-1))

    def loss(self, x, y, bos=0):
        """Teacher-forced loss per sequence, summed over the tokens of y."""
        start = torch.full_like(y[:, :1], bos)
        logits = self(x, torch.cat([start, y[:, :-1]], dim=1))
        return torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), y, reduction="none"
        ).sum(dim=1)
# --8<-- [end:torch]


# The worked example. Tokens: 0 = end, 1 = a, 2 = b.
TOY = {
    (): [0.20, 0.45, 0.35],
    (1,): [0.25, 0.40, 0.35],
    (2,): [0.05, 0.90, 0.05],
    (1, 1): [0.80, 0.10, 0.10],
    (2, 1): [0.60, 0.20, 0.20],
}


def _toy(prefix):
    """Log-probabilities of the worked example; sequences end after three tokens at the latest."""
    return np.log(TOY.get(prefix, [0.5, 0.25, 0.25]))


def _params(d=5, n_src=7, n_tgt=6, seed=0):
    """Random weights for the NumPy code."""
    rng = np.random.default_rng(seed)
    shapes = {"E_x": (n_src, d), "E_y": (n_tgt, d), "W_x": (d, d), "W_h": (d, d), "W_y": (d, d), "W_s": (d, d),
              "W_o": (n_tgt, 2 * d)}
    return {k: rng.standard_normal(s) * (0.5 if k[0] == "W" else 1.0) for k, s in shapes.items()}


def _same_model(p):
    """The PyTorch module with these weights."""
    m = Seq2Seq(len(p["E_x"]), len(p["E_y"]), p["W_h"].shape[0]).double()
    pairs = [(m.emb_x.weight, "E_x"), (m.emb_y.weight, "E_y"), (m.enc.weight_ih_l0, "W_x"), (m.enc.weight_hh_l0, "W_h"),
             (m.dec.weight_ih_l0, "W_y"), (m.dec.weight_hh_l0, "W_s"), (m.out.weight, "W_o")]
    for param, name in pairs:
        param.data = torch.from_numpy(p[name].copy())
    return m


def _model_log_p(p, x):
    """The function of a prefix that beam_search wants, for a source x."""
    states = encode(p, x)

    def log_p(prefix):
        s, y_prev = states[-1], 0
        s, lp = decode_step(p, s, y_prev, states)
        for token in prefix:
            s, lp = decode_step(p, s, token, states)
        return lp

    return log_p


def _random_tree(rng, vocab, length, temperature=1.0):
    """Conditional distributions for every prefix shorter than `length`."""
    tree = {}
    for t in range(length):
        for prefix in itertools.product(range(vocab), repeat=t):
            z = np.exp(temperature * rng.standard_normal(vocab))
            tree[prefix] = z / z.sum()
    return tree


def _joint(tree, vocab, length):
    """Probability of every sequence of exactly `length` tokens."""
    return {
        y: np.prod([tree[y[:t]][y[t]] for t in range(length)]) for y in itertools.product(range(vocab), repeat=length)
    }


def figure_bottleneck():
    """Left: the decoder sees one vector. Right: it reads all encoder states at each step."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.0))
    ink = "#222222"
    arrow = {"arrowstyle": "->", "color": ink, "lw": 1, "shrinkA": 9, "shrinkB": 9}
    weights = [[0.8, 0.1, 0.05, 0.05], [0.1, 0.2, 0.65, 0.05], [0.05, 0.1, 0.1, 0.75]]
    for ax, attend in zip(axes, (False, True)):
        enc, dec = [(i, 0.0) for i in range(4)], [(j + 0.5, 2.0) for j in range(3)]
        for i, (x, y) in enumerate(enc):
            ax.plot(x, y, "o", ms=17, mfc="none", mec="C0", mew=1.6)
            ax.text(x, y, f"h{i + 1}", ha="center", va="center", fontsize=9)
            ax.annotate("", (x, y), (x, y - 0.75), arrowprops=arrow | {"shrinkA": 0})
            ax.text(x, y - 0.78, f"x{i + 1}", ha="center", va="top", fontsize=9)
            if i:
                ax.annotate("", (x, y), (x - 1, y), arrowprops=arrow)
        for j, (x, y) in enumerate(dec):
            ax.plot(x, y, "s", ms=16, mfc="none", mec="C1", mew=1.6)
            ax.text(x, y, f"s{j + 1}", ha="center", va="center", fontsize=9)
            ax.annotate("", (x, y + 0.75), (x, y), arrowprops=arrow | {"shrinkB": 0})
            ax.text(x, y + 0.78, f"y{j + 1}", ha="center", va="bottom", fontsize=9)
            if j:
                ax.annotate("", (x, y), (x - 1, y), arrowprops=arrow)
        if attend:
            for j, (x, y) in enumerate(dec):
                for i, (u, v) in enumerate(enc):
                    ax.plot([u, x], [v + 0.27, y - 0.27], color="C3", lw=0.4 + 5 * weights[j][i], alpha=0.7)
            ax.set_xlabel("with attention: a context for each step", fontsize=9)
        else:
            for x, y in dec:
                ax.annotate("", (x, y), (3, 0), arrowprops=arrow | {"color": "C3", "lw": 1.8})
            ax.text(3.12, 0.62, "only h4", fontsize=9, color=ink)
            ax.set_xlabel("fixed vector: the last state", fontsize=9)
        ax.set_xlim(-0.5, 4.0)
        ax.set_ylim(-1.2, 3.2)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        for side in ax.spines.values():
            side.set_visible(False)
    return fig


def figure_tree():
    """The search tree of the worked example; solid nodes survive a beam of two."""
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    nodes = {  # name: (x, y, label, kept by beam two)
        "": (0, 0, "start", True),
        "a": (1, 1.2, "a  0.45", True), "b": (1, -0.9, "b  0.35", True), "·": (1, -2.3, "end  0.20", False),
        "aa": (2, 2.0, "aa  0.18", True), "ab": (2, 1.2, "ab  0.158", False), "a·": (2, 0.4, "a end  0.113", False),
        "ba": (2, -0.5, "ba  0.315", True), "bb": (2, -1.3, "bb, b end  0.018 each", False),
        "aa·": (3, 2.0, "aa end  0.144", True), "ba·": (3, -0.5, "ba end  0.189", True),
    }
    edges = [("", "a"), ("", "b"), ("", "·"), ("a", "aa"), ("a", "ab"), ("a", "a·"), ("b", "ba"), ("b", "bb"),
             ("aa", "aa·"), ("ba", "ba·")]
    for u, v in edges:
        kept = nodes[v][3]
        ax.plot([nodes[u][0], nodes[v][0]], [nodes[u][1], nodes[v][1]], color="C0" if kept else "#777777",
                lw=2.2 if kept else 1, ls="-" if kept else ":", zorder=1)
    for name, (x, y, label, kept) in nodes.items():
        marker = "s" if name.endswith("·") else "o"
        ax.plot(x, y, marker, ms=9, color="C0" if kept else "#777777", mfc="C0" if kept else "none", zorder=2)
        if name == "·":
            ax.annotate("best complete sequence", (x, y), xytext=(16, -16), textcoords="offset points", fontsize=9)
        place, align = {"": ((-4, 10), "center"), "a": ((-4, 9), "right"), "b": ((-4, -16), "right")}.get(name, ((8, 6), "left"))
        ax.annotate(label, (x, y), xytext=place, textcoords="offset points", fontsize=9, ha=align)
    ax.set_xlim(-0.3, 3.95)
    ax.set_ylim(-2.9, 2.6)
    ax.axis("off")
    return fig


def check_ed_chain():
    """Equation (ed-chain): the factors of a random tree, end symbol included, sum to one over all sequences."""
    rng = np.random.default_rng(0)
    p, x = _params(), [1, 4, 2]
    log_p = _model_log_p(p, x)
    total, length = 0.0, 4
    for t in range(length + 1):                      # sequences that end after t tokens, and unfinished ones
        for y in itertools.product(range(1, 6), repeat=t):
            lp = sum(log_p(y[:k])[y[k]] for k in range(t))
            total += np.exp(lp + (log_p(y)[0] if t < length else 0.0))
    assert np.isclose(total, 1, atol=1e-10)
    y = [*rng.integers(1, 6, 3), 0]
    chain = -sum(log_p(tuple(y[:k]))[y[k]] for k in range(4))
    assert np.isclose(teacher_forced_loss(p, x, y), chain, atol=1e-12)


def check_ed_attention():
    """Equation (ed-attention): context is the weighted mean of states; probabilities from state and context."""
    p = _params(seed=3)
    states, s0 = encode(p, [2, 5, 1, 1]), np.full(5, 0.1)
    s, log_p = decode_step(p, s0, 3, states)
    e = np.array([s @ h for h in states])
    a = np.exp(e) / np.exp(e).sum()
    c = sum(w * h for w, h in zip(a, states))
    z = p["W_o"][:, :5] @ s + p["W_o"][:, 5:] @ c
    assert np.allclose(np.exp(log_p), np.exp(z) / np.exp(z).sum(), atol=1e-12)
    assert np.all(c <= states.max(axis=0) + 1e-12) and np.all(c >= states.min(axis=0) - 1e-12)


def check_ed_loss():
    """Equation (ed-loss): NumPy and PyTorch agree to 1e-10; a batch equals single sequences."""
    p = _params()
    m = _same_model(p)
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 7, (4, 5)), rng.integers(0, 6, (4, 6))
    theirs = m.loss(torch.from_numpy(x), torch.from_numpy(y)).detach().numpy()
    assert np.allclose(theirs, [teacher_forced_loss(p, *pair) for pair in zip(x, y.tolist())], atol=1e-10)


def check_ed_kl():
    """Equation (ed-kl): expected loss is entropy plus a sum of divergences over true prefixes."""
    rng = np.random.default_rng(2)
    vocab, length = 3, 4
    true, model = _random_tree(rng, vocab, length), _random_tree(rng, vocab, length)
    pt, pm = _joint(true, vocab, length), _joint(model, vocab, length)
    loss = -sum(pt[y] * np.log(pm[y]) for y in pt)
    entropy = -sum(v * np.log(v) for v in pt.values())
    steps = 0.0
    for prefix, q in true.items():
        weight = np.prod([true[prefix[:t]][prefix[t]] for t in range(len(prefix))])
        steps += weight * np.sum(q * np.log(q / model[prefix]))
    assert np.isclose(loss, entropy + steps, atol=1e-12)
    assert np.isclose(steps, sum(pt[y] * np.log(pt[y] / pm[y]) for y in pt), atol=1e-12)


def check_ed_tv():
    """Equation (ed-tv): sequence distance at most the sum of step distances on true prefixes; nearly tight once."""
    rng = np.random.default_rng(3)
    vocab, length = 3, 4
    for _ in range(50):
        true = _random_tree(rng, vocab, length)
        mix = rng.uniform(0, 1)
        other = _random_tree(rng, vocab, length)
        model = {k: (1 - mix) * true[k] + mix * other[k] for k in true}
        pt, pm = _joint(true, vocab, length), _joint(model, vocab, length)
        whole = 0.5 * sum(abs(pt[y] - pm[y]) for y in pt)
        bound = 0.0
        for prefix in true:
            weight = np.prod([true[prefix[:t]][prefix[t]] for t in range(len(prefix))])
            bound += weight * 0.5 * np.abs(true[prefix] - model[prefix]).sum()
        assert whole <= bound + 1e-12
    eps, n = 1e-4, 10                                # truth: always token 0; model errs with eps at each step
    assert np.isclose(1 - (1 - eps) ** n, n * eps, rtol=1e-3) and 1 - (1 - eps) ** n <= n * eps


def check_ed_scheduled():
    """Equation (ed-scheduled): with independently sampled inputs the best second step is the marginal."""
    rng = np.random.default_rng(4)
    joint = rng.dirichlet(np.ones(9)).reshape(3, 3)  # true p(y1, y2)
    first, second = joint.sum(axis=1), joint.sum(axis=0)
    fed = rng.dirichlet(np.ones(3))                  # distribution of the sampled input
    logits = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    opt = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure():
        opt.zero_grad()
        loss = -(torch.from_numpy(np.outer(fed, second)) * torch.log_softmax(logits, dim=1)).sum()
        loss.backward()
        return loss

    opt.step(closure)
    learned = torch.softmax(logits, dim=1).detach().numpy()
    assert np.allclose(learned, second, atol=1e-5)
    assert np.abs(joint / first[:, None] - second).max() > 0.1


def check_ed_beam():
    """Equation (ed-beam): a full beam finds the best sequence of a random model, a beam of one is greedy."""
    for seed in range(5):
        log_p = _model_log_p(_params(seed=seed), [3, 1])
        every = []
        for t in range(4):
            for y in itertools.product(range(1, 6), repeat=t):
                every.append((sum(log_p((*y, 0)[:k])[(*y, 0)[k]] for k in range(t + 1)), (*y, 0)))
        best = max(every)
        found = beam_search(log_p, 6**4, 4)
        assert found[1] == best[1] and np.isclose(found[0], best[0], atol=1e-12)
        greedy, prefix = 0.0, ()
        while len(prefix) < 12 and (not prefix or prefix[-1] != 0):
            lp = log_p(prefix)
            greedy, prefix = greedy + lp.max(), (*prefix, int(lp.argmax()))
        one = beam_search(log_p, 1, 12)
        assert (one is None) if prefix[-1] else (one[1] == prefix and np.isclose(one[0], greedy, atol=1e-12))


def check_ed_monotone():
    """Equation (ed-monotone): appending a token never raises the score."""
    log_p = _model_log_p(_params(), [1, 2, 3])
    rng = np.random.default_rng(5)
    score = 0.0
    for t in range(20):
        prefix = tuple(rng.integers(1, 6, t))
        assert np.all(log_p(prefix) <= 0)
        score_next = score + log_p(prefix)[0]
        assert score_next <= score
        score = score_next


def check_ed_length_penalty():
    """Equation (ed-length-penalty): 1 at length one, grows with length and exponent; used by beam_search."""
    lp = lambda n, alpha: ((5 + n) / 6) ** alpha
    assert lp(1, 0.6) == 1 and lp(10, 0) == 1 and lp(10, 0.6) < lp(20, 0.6) < lp(20, 1.0)
    assert np.isclose(lp(3, 0.6), 1.188, atol=5e-4)
    score, y = beam_search(_toy, 3, 4, alpha=0.6)
    assert y == (2, 1, 0) and np.isclose(score, np.log(0.189) / lp(3, 0.6), atol=1e-12)


def check_beam_not_monotone():
    """A larger beam can return a sequence with a lower score than a smaller one."""
    tree = {                                         # 0 = end, only after two tokens; 1 is the greedy start
        (): [0.00, 0.40, 0.35, 0.25],
        (1,): [0.00, 0.34, 0.33, 0.33],
        (2,): [0.00, 0.50, 0.50, 0.00],
        (3,): [0.00, 0.34, 0.33, 0.33],
        (1, 1): [1.00, 0.00, 0.00, 0.00],
    }
    log_p = lambda prefix: np.log(np.array(tree.get(prefix, [0.5, 0.5, 0.0, 0.0])) + 1e-12)
    one, two = beam_search(log_p, 1, 3), beam_search(log_p, 2, 3)
    assert one[1] == (1, 1, 0) and np.isclose(np.exp(one[0]), 0.136)
    assert two[1][0] == 2 and np.isclose(np.exp(two[0]), 0.0875)


def check_worked_example():
    """Every number of the worked example."""
    p = lambda *y: np.exp(sum(_toy(y[:k])[y[k]] for k in range(len(y))))
    assert np.isclose(p(1), 0.45) and np.isclose(p(1, 1), 0.18) and np.isclose(p(1, 1, 0), 0.144)
    assert np.isclose(p(2, 1), 0.315) and np.isclose(p(2, 1, 0), 0.189)
    assert np.isclose(p(1, 2), 0.1575) and np.isclose(p(1, 0), 0.1125) and np.isclose(p(2, 2), 0.0175)
    greedy, two, three = (beam_search(_toy, b, 6) for b in (1, 2, 3))
    assert greedy[1] == (1, 1, 0) and np.isclose(np.exp(greedy[0]), 0.144)
    assert two[1] == (2, 1, 0) and np.isclose(np.exp(two[0]), 0.189)
    assert three[1] == (0,) and np.isclose(np.exp(three[0]), 0.20)
    assert np.isclose(np.exp(beam_search(_toy, 3**6, 6)[0]), 0.20)   # the empty output is the mode
    assert np.allclose(np.log([0.2, 0.189, 0.144]), [-1.609, -1.666, -1.938], atol=5e-4)
    lp = (8 / 6) ** 0.6
    assert np.allclose(np.log([0.189, 0.144]) / lp, [-1.402, -1.631], atol=5e-4)
    assert np.isclose(lp, 1.188, atol=5e-4)
    assert beam_search(_toy, 3, 6, alpha=0.6)[1] == (2, 1, 0)
    loss = -np.log([0.35, 0.9, 0.6])
    assert np.allclose(loss, [1.050, 0.105, 0.511], atol=5e-4) and np.isclose(loss.sum(), 1.666, atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
