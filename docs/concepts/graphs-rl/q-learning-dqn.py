"""Twin of the page "Q-learning and deep Q-networks": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def q_update(q, s, a, r, s_next, done, gamma, alpha):
    """One Q-learning step on the table q (S, A), in place (Watkins, 1992)."""
    target = r + (0.0 if done else gamma * q[s_next].max())
    q[s, a] += alpha * (target - q[s, a])


def q_learning(step, start, q, episodes, gamma, alpha, epsilon, rng):
    """Tabular Q-learning with epsilon-greedy behavior.

    step(s, a, rng) returns reward, next state, done; q: (S, A) start values.
    """
    for _ in range(episodes):
        s, done = start, False
        while not done:
            explore = rng.random() < epsilon
            a = rng.integers(q.shape[1]) if explore else q[s].argmax()
            r, s_next, done = step(s, a, rng)
            q_update(q, s, a, r, s_next, done, gamma, alpha)
            s = s_next
    return q


def dqn_targets(r, done, q_target_next, gamma, q_online_next=None):
    """Targets (B,) for a minibatch; r, done: (B,); the q arrays: (B, A).

    With q_online_next, Double DQN: the online network chooses the action,
    the target network values it (van Hasselt et al., 2016).
    """
    chooser = q_target_next if q_online_next is None else q_online_next
    best = chooser.argmax(axis=1)
    value = q_target_next[np.arange(len(r)), best]
    return r + gamma * (1.0 - done) * value
# --8<-- [end:numpy]


# --8<-- [start:torch]
def dqn_loss(online, target, batch, gamma, double=False):
    """Mean Huber loss of a minibatch; no gradient flows through the targets.

    online, target: networks from states (B, n) to action values (B, A).
    batch: s (B, n), a (B,) long, r (B,), s_next (B, n), done (B,) of 0. or 1.
    """
    s, a, r, s_next, done = batch
    q = online(s).gather(1, a[:, None])[:, 0]
    with torch.no_grad():
        q_next = target(s_next)
        chooser = online(s_next) if double else q_next
        best = chooser.argmax(dim=1, keepdim=True)
        y = r + gamma * (1 - done) * q_next.gather(1, best)[:, 0]
    return torch.nn.functional.smooth_l1_loss(q, y)


def train_step(online, target, opt, replay, gamma, sync, rng, t, size=32):
    """Sample a minibatch from replay (a tuple of tensors), update, maybe sync."""
    pick = torch.from_numpy(rng.integers(len(replay[0]), size=size))
    loss = dqn_loss(online, target, tuple(x[pick] for x in replay), gamma)
    opt.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(online.parameters(), 10.0)
    opt.step()
    if t % sync == 0:
        target.load_state_dict(online.state_dict())
    return loss.item()
# --8<-- [end:torch]


def _example():
    """The MDP of the page on basics: two states, terminal 2; actions cash in, go on."""
    P, R = np.zeros((3, 2, 3)), np.zeros((3, 2))
    P[0, 0, 2], R[0, 0] = 1, 2.0
    P[0, 1, 1] = 1
    for a in (0, 1):
        P[1, a, 2], P[1, a, 0], R[1, a] = 0.8, 0.2, 3.2
        P[2, a, 2] = 1
    return P, R


def _example_step(s, a, rng):
    """Sample one transition of the example."""
    if s == 0:
        return (2.0, 2, True) if a == 0 else (0.0, 1, False)
    return (4.0, 2, True) if rng.random() < 0.8 else (0.0, 0, False)


def _optimal_q(P, R, gamma, sweeps=2000):
    """q_* by repeated Bellman backups."""
    q = np.zeros_like(R)
    for _ in range(sweeps):
        q = R + gamma * P @ q.max(axis=1)
    return q


def _random_mdp(states=5, actions=3, seed=0):
    """Random transition probabilities (S, A, S) and rewards (S, A)."""
    rng = np.random.default_rng(seed)
    P = rng.gamma(0.5, size=(states, actions, states))
    return P / P.sum(axis=2, keepdims=True), rng.standard_normal((states, actions))


def figure_loop():
    """The DQN loop: acting fills the replay memory, learning samples from it."""
    fig, ax = plt.subplots(figsize=(6.4, 3.7))
    boxes = {"env": (1.5, 3.3, "environment"), "online": (1.5, 1.0, "online network\nQ(s, a; θ)"),
             "replay": (5.1, 3.3, "replay memory\nlast N transitions"),
             "loss": (5.1, 1.0, "loss\n(y − Q(s, a; θ))²"),
             "target": (8.7, 2.1, "target network\nQ(s, a; θ⁻)")}
    for x, y, text in boxes.values():
        ax.add_patch(plt.Rectangle((x - 1.25, y - 0.5), 2.5, 1.0, facecolor="none",
                                   edgecolor="C0", linewidth=1.6))
        ax.text(x, y, text, ha="center", va="center", fontsize=10)

    def arrow(start, end, text, at, style="-", ha="center", color="#222222"):
        ax.annotate("", end, start, arrowprops=dict(arrowstyle="->", lw=1.4, ls=style,
                                                    color=color))
        ax.text(*at, text, fontsize=9, ha=ha, va="center", color=color)
    arrow((1.2, 1.5), (1.2, 2.8), "action,\nε-greedy", (1.05, 2.15), ha="right")
    arrow((1.8, 2.8), (1.8, 1.5), "state", (1.95, 2.15), ha="left")
    arrow((2.75, 3.3), (3.85, 3.3), "s, a, r, s′", (3.3, 3.55))
    arrow((5.1, 2.8), (5.1, 1.5), "random\nminibatch", (4.95, 2.15), ha="right")
    arrow((6.35, 3.3), (8.7, 2.6), "r, s′", (7.75, 3.15))
    arrow((8.7, 1.6), (6.35, 1.0), "target y", (7.85, 1.12))
    arrow((3.85, 1.0), (2.75, 1.0), "gradient", (3.3, 1.25))
    ax.plot([1.5, 1.5, 9.6], [0.5, -0.1, -0.1], color="C1", ls="--", lw=1.4)
    arrow((9.6, -0.1), (9.6, 1.6), "copy θ to θ⁻ every C updates", (5.4, -0.37),
          style="--", color="C1")
    ax.set_xlim(-0.3, 10.05)
    ax.set_ylim(-0.6, 3.9)
    ax.axis("off")
    return fig


def _max_bias(actions, runs=20000, samples=10, seed=0):
    """Single and double estimate of max_a E, true value 0, noise variance 1/samples."""
    rng = np.random.default_rng(seed)
    half = rng.normal(0, np.sqrt(2 / samples), (2, runs, actions))    # two halves
    both = half.mean(axis=0)
    pick = half[0].argmax(axis=1)
    return both.max(axis=1).mean(), half[1][np.arange(runs), pick].mean()


def figure_failures():
    """Left: the maximum of noisy estimates. Right: bootstrapping off-policy diverges."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1))
    ax, counts = axes[0], [1, 2, 4, 8, 16, 32]
    bias = np.array([_max_bias(k) for k in counts])
    ax.plot(counts, bias[:, 0], "-o", ms=5, label="max of one estimate")
    ax.plot(counts, bias[:, 1], "--s", ms=5, label="double estimate")
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts, counts)
    ax.set_xlabel("actions, all worth 0")
    ax.set_ylabel("mean estimate of the best value")
    ax.set_ylim(-0.08, 0.75)
    ax.legend(fontsize=9, loc="upper left")
    ax, n = axes[1], np.arange(61)
    for gamma, color, ls in ((0.4, "C0", "-"), (0.5, "C2", "-."), (0.6, "C1", "--")):
        ax.semilogy(n, _two_state(gamma, 0.1, 60), color=color, ls=ls, label=f"discount {gamma}")
    ax.semilogy(n, _two_state(0.6, 0.1, 60, sync=15), color="C3", ls=":",
                label="0.6, target every 15")
    ax.set_xlabel("update")
    ax.set_ylabel("weight w (true value 0)")
    ax.set_ylim(0.2, 12)
    ax.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["0.25", "0.5", "1", "2", "4", "8"])
    ax.minorticks_off()
    ax.legend(fontsize=9, loc="upper left")
    return fig


def _two_state(gamma, alpha, updates, sync=1, w=1.0):
    """Values w and 2w; only the transition from the first state is ever replayed."""
    path, frozen = [w], w
    for n in range(1, updates + 1):
        w += alpha * (gamma * 2 * frozen - w)
        if n % sync == 0:
            frozen = w
        path.append(w)
    return np.array(path)


def check_q_update():
    """Equation (q-update): the expected target is the Bellman backup, whatever acts."""
    P, R = _random_mdp()
    gamma, rng = 0.9, np.random.default_rng(0)
    q = rng.normal(0, 2, R.shape)
    for s in range(5):
        for a in range(3):
            nxt = rng.choice(5, size=4000, p=P[s, a])
            delta = R[s, a] + gamma * q[nxt].max(axis=1)
            exact = R[s, a] + gamma * P[s, a] @ q.max(axis=1)
            assert abs(delta.mean() - exact) < 5 * delta.std() / np.sqrt(4000) + 1e-9
    table = q.copy()
    q_update(table, 1, 2, 0.3, 4, False, gamma, 0.25)
    assert np.isclose(table[1, 2], 0.75 * q[1, 2] + 0.25 * (0.3 + gamma * q[4].max()))
    assert (table != q).sum() == 1
    # The mean change vanishes at q_* and nowhere else among shifted tables.
    star = _optimal_q(P, R, gamma)
    assert np.allclose(R + gamma * P @ star.max(axis=1), star, atol=1e-9)
    assert np.abs(R + gamma * P @ (star + 1).max(axis=1) - (star + 1)).min() > 0.05


def check_tabular_convergence():
    """Off-policy: learning from uniformly random actions still finds q_*."""
    P, R = _random_mdp()
    gamma, rng = 0.8, np.random.default_rng(0)
    star, q, n = _optimal_q(P, R, gamma), np.zeros((5, 3)), np.zeros((5, 3))
    cum, s = P.cumsum(axis=2), 0
    for _ in range(60_000):
        a = int(rng.random() * 3)
        t = min(int((rng.random() > cum[s, a]).sum()), 4)
        n[s, a] += 1
        q_update(q, s, a, R[s, a], t, False, gamma, 10 / (10 + n[s, a]))
        s = t
    assert np.abs(q - star).max() < 0.25 and np.abs(star).max() > 2
    assert np.array_equal(q.argmax(axis=1), star.argmax(axis=1))
    learned = q_learning(_example_step, 0, np.zeros((3, 2)), 4000, 0.9, 0.02, 0.3,
                         np.random.default_rng(1))
    assert abs(learned[0, 1] - 3.437) < 0.35 and learned[0].argmax() == 1


def check_q_sarsa():
    """Equation (q-sarsa): mean target of Sarsa; its fixed point is q_pi, not q_*."""
    P, R = _random_mdp()
    gamma, rng = 0.9, np.random.default_rng(0)
    pi = rng.dirichlet(np.ones(3), 5)
    M = np.einsum("sat,tb->satb", P, pi).reshape(15, 15)      # (s,a) -> (s',a')
    q_pi = np.linalg.solve(np.eye(15) - gamma * M, R.ravel()).reshape(5, 3)
    q = rng.normal(0, 2, (5, 3))
    s, a, n = 2, 1, 200_000
    t = rng.choice(5, size=n, p=P[s, a])
    b = (rng.random(n)[:, None] > pi.cumsum(axis=1)[t]).sum(axis=1).clip(max=2)
    sample = R[s, a] + gamma * q[t, b]
    exact = R[s, a] + gamma * P[s, a] @ (pi * q).sum(axis=1)
    assert abs(sample.mean() - exact) < 5 * sample.std() / np.sqrt(n)
    assert np.allclose(R + gamma * P @ (pi * q_pi).sum(axis=1), q_pi, atol=1e-10)
    assert np.all(q_pi <= _optimal_q(P, R, gamma) + 1e-9)
    assert np.abs(q_pi - _optimal_q(P, R, gamma)).max() > 0.5


def _batch(B=8, n=4, A=3, seed=0):
    """A random minibatch in float64."""
    g = torch.Generator().manual_seed(seed)
    opts = dict(generator=g, dtype=torch.float64)
    done = (torch.rand(B, **opts) < 0.3).double()
    return (torch.randn(B, n, **opts), torch.randint(A, (B,), generator=g),
            torch.randn(B, **opts), torch.randn(B, n, **opts), done)


def _net(seed, n=4, A=3, width=16):
    """A small network in float64."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(n, width), torch.nn.ReLU(),
                               torch.nn.Linear(width, A)).double()


def check_q_dqn_loss():
    """Equation (q-dqn-loss): NumPy targets against the PyTorch loss, 1e-12 in float64."""
    online, target, batch = _net(1), _net(2), _batch()
    s, a, r, s_next, done = (x.numpy() for x in batch)
    with torch.no_grad():
        qn, qo = target(batch[3]).numpy(), online(batch[3]).numpy()
        q = online(batch[0]).numpy()[np.arange(8), a]
    for double in (False, True):
        y = dqn_targets(r, done, qn, 0.9, qo if double else None)
        d = np.abs(q - y)
        huber = np.where(d < 1, d**2 / 2, d - 0.5).mean()
        assert np.isclose(huber, dqn_loss(online, target, batch, 0.9, double).item(), atol=1e-12)
    y = dqn_targets(r, done, qn, 0.9)
    loops = [r[i] if done[i] else r[i] + 0.9 * max(qn[i]) for i in range(8)]
    assert np.allclose(y, loops, atol=1e-14) and done.sum() > 0


def check_q_semi_gradient():
    """Equation (q-semi-gradient): no gradient through the target; the full one differs."""
    net, (s, a, r, s_next, done) = _net(1), _batch()
    w = list(net.parameters())

    def loss(detach):
        q = net(s).gather(1, a[:, None])[:, 0]
        y = r + 0.9 * (1 - done) * net(s_next).amax(dim=1)
        return ((y.detach() if detach else y) - q).pow(2).mean() / 2
    semi = torch.autograd.grad(loss(True), w)
    full = torch.autograd.grad(loss(False), w)
    by_hand = [torch.zeros_like(p) for p in w]
    for i in range(8):
        with torch.no_grad():
            y = r[i] + 0.9 * (1 - done[i]) * net(s_next[i]).max()
        q = net(s[i])[a[i]]
        for acc, g in zip(by_hand, torch.autograd.grad(q, w)):
            acc -= (y - q).detach() * g / 8
    assert all(torch.allclose(x, y, atol=1e-12) for x, y in zip(semi, by_hand))
    assert max((x - y).abs().max().item() for x, y in zip(semi, full)) > 0.01


def check_q_max_bias():
    """Equation (q-max-bias): positive bias of the maximum, none upward for the double."""
    for k in (2, 4, 16):
        single, double = _max_bias(k)
        assert single > 0.1 and abs(double) < 0.02
    assert np.isclose(_max_bias(2)[0], np.sqrt(0.1 / np.pi), atol=0.01)
    assert np.isclose(_max_bias(10)[0], 1.5388 * np.sqrt(0.1), atol=0.01)
    # Unequal true values: the double estimate is too low.
    rng, mu = np.random.default_rng(0), np.array([0.0, 0.2, 0.1])
    x, y = rng.normal(mu, 0.5, (2, 200_000, 3))
    assert x.max(axis=1).mean() > 0.2 + 0.2
    low = y[np.arange(len(y)), x.argmax(axis=1)].mean()
    assert 0.05 < low < 0.2 - 0.02


def check_q_double():
    """Equation (q-double): never above the DQN target of the same networks."""
    online, target, (_, _, r, s_next, done) = _net(1), _net(2), _batch(B=200)
    with torch.no_grad():
        qn, qo = target(s_next).numpy(), online(s_next).numpy()
    y = dqn_targets(r.numpy(), done.numpy(), qn, 0.9)
    y2 = dqn_targets(r.numpy(), done.numpy(), qn, 0.9, qo)
    loops = [r[i] + 0.9 * (1 - done[i]) * qn[i, np.argmax(qo[i])] for i in range(200)]
    assert np.allclose(y2, loops, atol=1e-14)
    assert np.all(y2 <= y + 1e-14) and (y2 < y - 1e-3).sum() > 20
    same = dqn_targets(r.numpy(), done.numpy(), qn, 0.9, qn)
    assert np.allclose(same, y, atol=1e-14)


def check_q_divergence():
    """Equation (q-divergence): growth factor 1 + alpha (2 gamma - 1), and 2 gamma if frozen."""
    for gamma in (0.4, 0.5, 0.6, 0.9):
        path = _two_state(gamma, 0.1, 50)
        assert np.allclose(path, (1 + 0.1 * (2 * gamma - 1)) ** np.arange(51), rtol=1e-12)
    assert _two_state(0.6, 0.1, 200)[-1] > 50 and _two_state(0.4, 0.1, 200)[-1] < 0.02
    # Fit to convergence before every copy: multiplied by 2 gamma each time.
    path = _two_state(0.6, 0.1, 1200, sync=300)
    assert np.allclose(path[[300, 600, 900, 1200]], 1.2 ** np.arange(1, 5), rtol=1e-6)
    # A table has its own entry for each state and does not diverge.
    v = np.array([1.0, 2.0])
    for _ in range(2000):
        v[0] += 0.1 * (0.9 * v[1] - v[0])
    assert np.isclose(v[0], 1.8)


def _puct(q, prior, visits, c):
    """Index of the action that tree search follows."""
    return int(np.argmax(q + c * prior * np.sqrt(visits.sum()) / (1 + visits)))


def check_q_puct():
    """Equation (q-puct): equal values leave visits in proportion to the prior; a better value wins."""
    prior, n = np.array([0.5, 0.3, 0.15, 0.05]), np.zeros(4)
    for _ in range(4000):
        n[_puct(np.zeros(4), prior, n, 1.5)] += 1
    assert np.allclose(n / n.sum(), prior, atol=0.002)
    q, n = np.array([0.0, 0.0, 0.0, 0.5]), np.zeros(4)
    for _ in range(4000):
        n[_puct(q, prior, n, 1.5)] += 1
    assert n[3] / n.sum() > 0.9 and np.all(n > 10)
    scores = q + 1.5 * prior * np.sqrt(n.sum()) / (1 + n)     # balanced at the end
    assert np.ptp(scores) < 0.03


def check_dqn_learns():
    """A small DQN on a corridor of 5 cells reaches q_* within 0.05 from random data."""
    torch.set_num_threads(1)      # tiny matrices: threads would only wait
    gamma, cells, rng = 0.9, 5, np.random.default_rng(0)
    data = []
    for _ in range(400):                         # random behavior: off-policy data
        s, a = rng.integers(cells), rng.integers(2)
        t = min(max(s + (1 if a else -1), 0), cells)
        data.append((s, a, float(t == cells), min(t, cells - 1), float(t == cells)))
    s, a, r, t, d = (np.array(x) for x in zip(*data))
    eye = torch.eye(cells)
    replay = (eye[s], torch.from_numpy(a), torch.tensor(r).float(), eye[t],
              torch.tensor(d).float())
    torch.manual_seed(0)
    make = lambda: torch.nn.Sequential(torch.nn.Linear(cells, 32), torch.nn.ReLU(),
                                       torch.nn.Linear(32, 2))
    online, target = make(), make()
    target.load_state_dict(online.state_dict())
    opt = torch.optim.Adam(online.parameters(), lr=5e-3)
    for step in range(1, 801):
        train_step(online, target, opt, replay, gamma, 40, rng, step)
    right = gamma ** np.arange(cells - 1, -1, -1)
    left = gamma * np.r_[right[0], right[:-1]]
    with torch.no_grad():
        q = online(eye).numpy()
    assert np.abs(q - np.c_[left, right]).max() < 0.05


def check_worked_example():
    """Every number of the worked example."""
    q, seen = np.zeros((2, 2)), []
    moves = [(0, 1, 0.0, 1, False), (1, 0, 4.0, 0, True), (0, 0, 2.0, 0, True),
             (0, 1, 0.0, 1, False), (1, 0, 0.0, 0, False), (0, 1, 0.0, 1, False),
             (1, 0, 4.0, 0, True)]
    for s, a, r, t, done in moves:
        # State 1 has one action: both columns hold the same value.
        before = q.copy()
        q_update(q, s, a, r, t, done, 0.9, 0.5)
        if s == 1:
            q[1, 1] = q[1, 0]
        seen.append(q[s, a])
        if (s, r) == (1, 0.0):
            sarsa = before[1, 0] + 0.5 * (0.9 * before[0, 1] - before[1, 0])
    assert np.allclose(seen, [0, 2, 1, 0.9, 1.45, 1.1025, 2.725])
    assert np.isclose(sarsa, 1.405) and np.isclose(0.9 * 0.9, 0.81)
    star = _optimal_q(*_example(), 0.9)
    assert np.allclose([star[0, 0], star[0, 1], star[1, 0]], [2, 3.437, 3.819], atol=5e-4)
    r, done = np.array([1.0, 1.0]), np.array([0.0, 1.0])
    tgt, onl = np.array([[2.0, 5.0, 3.0]] * 2), np.array([[4.0, 3.0, 2.0]] * 2)
    assert np.allclose(dqn_targets(r, done, tgt, 0.9), [5.5, 1.0])
    assert np.allclose(dqn_targets(r, done, tgt, 0.9, onl), [2.8, 1.0])


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
