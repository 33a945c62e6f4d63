"""Twin of the page "Reinforcement learning": snippets, figures, checks of its equations."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def backup(v, P, R, gamma):
    """One-step look-ahead: q[s, a] = R[s, a] + gamma * sum_s' P[s, a, s'] v[s'].

    v: (S,) values; P: (S, A, S) transition probabilities; R: (S, A) expected
    rewards. A terminal state is a state that leads to itself with reward 0.
    """
    return R + gamma * P @ v


def value_iteration(P, R, gamma, tol=1e-10):
    """Optimal values (S,) and a greedy policy (S,) by repeated backups."""
    v = np.zeros(len(R))
    while True:
        new = backup(v, P, R, gamma).max(axis=1)
        if gamma * np.abs(new - v).max() <= (1 - gamma) * tol:
            return new, backup(new, P, R, gamma).argmax(axis=1)
        v = new


def policy_values(pi, P, R, gamma):
    """Solve v = r_pi + gamma P_pi v. pi: (S, A) action probabilities."""
    r = (pi * R).sum(axis=1)
    P_pi = np.einsum("sa,sat->st", pi, P)
    return np.linalg.solve(np.eye(len(r)) - gamma * P_pi, r)


def td0_update(v, s, r, s_next, done, gamma, alpha):
    """Move v[s], in place, toward a target seen in one transition (no model)."""
    target = r + (0.0 if done else gamma * v[s_next])
    v[s] += alpha * (target - v[s])
# --8<-- [end:numpy]


# --8<-- [start:torch]
def value_iteration_torch(P, R, gamma, tol=1e-10):
    """Same shapes and result as the NumPy version, on tensors."""
    v = torch.zeros(len(R), dtype=R.dtype)
    while True:
        q = R + gamma * torch.einsum("sat,t->sa", P, v)
        new = q.amax(dim=1)
        if gamma * (new - v).abs().max() <= (1 - gamma) * tol:
            q = R + gamma * torch.einsum("sat,t->sa", P, new)
            return new, q.argmax(dim=1)
        v = new


def policy_values_torch(pi, P, R, gamma):
    """Values of the policy pi (S, A) as the solution of a linear system."""
    r = (pi * R).sum(dim=1)
    P_pi = torch.einsum("sa,sat->st", pi, P)
    return torch.linalg.solve(torch.eye(len(r), dtype=R.dtype) - gamma * P_pi, r)
# --8<-- [end:torch]


def _random_mdp(states=6, actions=3, seed=0):
    """Random transition probabilities (S, A, S) and rewards (S, A)."""
    rng = np.random.default_rng(seed)
    P = rng.gamma(0.5, size=(states, actions, states))
    return P / P.sum(axis=2, keepdims=True), rng.standard_normal((states, actions))


def _example():
    """The worked example. States 0 and 1, terminal state 2; actions cash in, go on."""
    P, R = np.zeros((3, 2, 3)), np.zeros((3, 2))
    P[0, 0, 2], R[0, 0] = 1, 2.0          # cash in: 2, end
    P[0, 1, 1] = 1                        # go on: 0, to state 1
    for a in (0, 1):                      # state 1: one real choice
        P[1, a, 2], P[1, a, 0], R[1, a] = 0.8, 0.2, 0.8 * 4.0
        P[2, a, 2] = 1
    return P, R


ROWS, COLS = 4, 7
NEAR, FAR, WALLS = (2, 1), (0, 6), {(1, 3), (2, 3), (3, 3)}
MOVES = [(-1, 0), (0, 1), (1, 0), (0, -1)]


def _grid():
    """Grid: reward 1 on entering NEAR, 5 on entering FAR; both end the episode."""
    cells = ROWS * COLS
    P, R = np.zeros((cells, 4, cells)), np.zeros((cells, 4))
    for r in range(ROWS):
        for c in range(COLS):
            s = r * COLS + c
            for a, (dr, dc) in enumerate(MOVES):
                if (r, c) in (NEAR, FAR) or (r, c) in WALLS:
                    P[s, a, s] = 1
                    continue
                t = (r + dr, c + dc)
                if not (0 <= t[0] < ROWS and 0 <= t[1] < COLS) or t in WALLS:
                    t = (r, c)
                P[s, a, t[0] * COLS + t[1]] = 1
                R[s, a] = {NEAR: 1.0, FAR: 5.0}.get(t, 0.0)
    return P, R


def figure_discount():
    """Optimal values and actions on a grid: the discount decides which goal wins."""
    P, R = _grid()
    fig, axes = plt.subplots(2, 1, figsize=(6.4, 5.6))
    for ax, gamma in zip(axes, (0.7, 0.95)):
        v, _ = value_iteration(P, R, gamma)
        q = backup(v, P, R, gamma)
        for r in range(ROWS):
            for c in range(COLS):
                s, edge = r * COLS + c, "#888888"
                cell = dict(edgecolor=edge, linewidth=0.8)
                if (r, c) in WALLS:
                    ax.add_patch(plt.Rectangle((c, r), 1, 1, facecolor="#888888", **cell))
                    continue
                if (r, c) in (NEAR, FAR):
                    ax.add_patch(plt.Rectangle((c, r), 1, 1, facecolor="none", hatch="//", **cell))
                    text = "+1" if (r, c) == NEAR else "+5"
                    ax.text(c + 0.5, r + 0.5, text, ha="center", va="center",
                            fontsize=12, weight="bold")
                    continue
                ax.add_patch(plt.Rectangle((c, r), 1, 1, facecolor="C0",
                                           alpha=0.55 * v[s] / 5, linewidth=0))
                ax.add_patch(plt.Rectangle((c, r), 1, 1, facecolor="none", **cell))
                ax.text(c + 0.5, r + 0.82, f"{v[s]:.2f}", ha="center", va="center", fontsize=9)
                for a in np.flatnonzero(q[s] > q[s].max() - 1e-9):
                    dr, dc = MOVES[a]
                    ax.annotate("", (c + 0.5 + 0.27 * dc, r + 0.37 + 0.27 * dr),
                                (c + 0.5, r + 0.37),
                                arrowprops=dict(arrowstyle="->", color="#222222", lw=1.3))
        ax.set_xlim(0, COLS)
        ax.set_ylim(ROWS, 0)
        ax.set_aspect("equal")
        ax.grid(False)
        ax.set_xticks([])
        ax.set_yticks([])
        for side in ax.spines.values():
            side.set_visible(False)
        ax.set_ylabel(f"discount {gamma}", fontsize=11)
    return fig


def _walk_errors(alpha, method, episodes=100, runs=100, seed=0):
    """RMS error of values on the five-state random walk after each episode.

    Start in the middle; left end pays 0, right end 1; no discount. The true
    values are 1/6, ..., 5/6; estimates start at 1/2.
    """
    rng = np.random.default_rng(seed)
    true = np.arange(1, 6) / 6
    err = np.zeros((runs, episodes + 1))
    for run in range(runs):
        v = np.full(5, 0.5)
        err[run, 0] = np.sqrt(((v - true) ** 2).mean())
        for ep in range(episodes):
            s, path = 2, []
            while 0 <= s <= 4:
                path.append(s)
                s += 1 if rng.random() < 0.5 else -1
            ret = float(s > 4)
            for i, x in enumerate(path):
                if method == "td":
                    last = i == len(path) - 1
                    td0_update(v, x, ret if last else 0.0,
                               None if last else path[i + 1], last, 1.0, alpha)
                else:
                    v[x] += alpha * (ret - v[x])
            err[run, ep + 1] = np.sqrt(((v - true) ** 2).mean())
    return err.mean(axis=0)


def figure_learning():
    """Left: value iteration contracts. Right: TD(0) and Monte Carlo on a random walk."""
    P, R = _random_mdp()
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1))
    ax = axes[0]
    for gamma, color, marker in ((0.5, "C0", "o"), (0.8, "C1", "s"), (0.95, "C2", "^")):
        v_star, _ = value_iteration(P, R, gamma)
        v, err = np.zeros(6), []
        for _ in range(41):
            err.append(np.abs(v - v_star).max())
            v = backup(v, P, R, gamma).max(axis=1)
        k = np.arange(41)
        ax.semilogy(k, err, color=color, marker=marker, ms=4, markevery=5)
        x, y, text = {0.5: (15.5, 2e-4, "discount 0.5"), 0.8: (24, 0.12, "0.8"),
                      0.95: (24, 13, "0.95")}[gamma]
        ax.text(x, y, text, color=color, fontsize=10)
        ax.semilogy(k, err[0] * gamma**k, color=color, ls=":", lw=1.2)
    ax.set_ylim(1e-5, 60)
    ax.set_xlabel("sweep")
    ax.set_ylabel("largest error of the values")
    ax = axes[1]
    for method, alpha, color, ls, label in (("td", 0.1, "C0", "-", "TD(0), step size 0.1"),
                                            ("mc", 0.03, "C1", "--", "Monte Carlo, 0.03")):
        ax.plot(_walk_errors(alpha, method), color=color, ls=ls, label=label)
    ax.set_ylim(0, 0.27)
    ax.set_xlabel("episodes seen")
    ax.set_ylabel("RMS error of the values")
    ax.legend(fontsize=9)
    return fig


def check_rl_return():
    """Equation (rl-return): recursion, and the bound for bounded rewards."""
    rng = np.random.default_rng(0)
    r, gamma = rng.uniform(-1, 1, 400), 0.9
    g = [sum(gamma**k * x for k, x in enumerate(r[t:])) for t in range(50)]
    for t in range(49):
        assert np.isclose(g[t], r[t] + gamma * g[t + 1], atol=1e-12)
    assert np.abs(g).max() <= 1 / (1 - gamma)
    worst = sum(gamma**k for k in range(2000))
    assert np.isclose(worst, 1 / (1 - gamma), atol=1e-9)      # the bound is reached


def check_rl_survival():
    """Equation (rl-survival): undiscounted sum until a random stop = discounted return."""
    rng = np.random.default_rng(0)
    r, gamma, n = np.array([1.0, -2.0, 3.0, 0.5, 4.0, -1.0]), 0.7, 400_000
    # Stop before each further reward with probability 1 - gamma.
    alive = np.cumprod(rng.random((n, 5)) < gamma, axis=1)
    sums = r[0] + (alive * r[1:]).sum(axis=1)
    exact = (gamma ** np.arange(6) * r).sum()
    assert abs(sums.mean() - exact) < 5 * sums.std() / np.sqrt(n)
    assert 5 * sums.std() / np.sqrt(n) < 0.03
    steps = rng.geometric(1 - gamma, n)                       # rewards received
    assert abs(steps.mean() - 1 / (1 - gamma)) < 0.03
    assert np.isclose(0.99**100, 0.366, atol=1e-3)


def check_rl_values():
    """Equation (rl-values): sampled returns average to the solved values; v = sum pi q."""
    P, R = _random_mdp()
    rng = np.random.default_rng(1)
    pi = rng.dirichlet(np.ones(3), 6)
    gamma = 0.8
    v = policy_values(pi, P, R, gamma)
    q = backup(v, P, R, gamma)
    assert np.allclose(v, (pi * q).sum(axis=1), atol=1e-12)
    n, g, discount = 20_000, np.zeros(20_000), 1.0
    s = np.full(n, 2)
    cum_pi, cum_p = pi.cumsum(axis=1), P.cumsum(axis=2)
    for _ in range(60):
        a = np.minimum((rng.random(n)[:, None] > cum_pi[s]).sum(axis=1), 2)
        g += discount * R[s, a]
        s = np.minimum((rng.random(n)[:, None] > cum_p[s, a]).sum(axis=1), 5)
        discount *= gamma
    assert abs(g.mean() - v[2]) < 5 * g.std() / np.sqrt(n)
    assert 5 * g.std() / np.sqrt(n) < 0.08


def check_rl_bellman():
    """Equation (rl-bellman): the linear solution is the fixed point, entry by entry."""
    P, R = _random_mdp()
    pi = np.random.default_rng(1).dirichlet(np.ones(3), 6)
    gamma = 0.9
    v = policy_values(pi, P, R, gamma)
    for s in range(6):
        rhs = sum(pi[s, a] * (R[s, a] + gamma * sum(P[s, a, t] * v[t] for t in range(6)))
                  for a in range(3))
        assert np.isclose(v[s], rhs, atol=1e-12)
    # Eigenvalues of P_pi lie in the unit disk, so I - gamma P_pi is invertible.
    P_pi = np.einsum("sa,sat->st", pi, P)
    assert np.abs(np.linalg.eigvals(P_pi)).max() < 1 + 1e-12


def check_rl_optimality():
    """Equation (rl-optimality): its solution is the best of all deterministic policies."""
    P, R = _random_mdp(states=4, actions=2, seed=3)
    gamma = 0.9
    v, greedy = value_iteration(P, R, gamma)
    assert np.allclose(v, backup(v, P, R, gamma).max(axis=1), atol=1e-9)
    everything = np.array([
        policy_values(np.eye(2)[[(i >> s) & 1 for s in range(4)]], P, R, gamma)
        for i in range(16)])
    assert np.allclose(everything.max(axis=0), v, atol=1e-8)
    assert np.allclose(policy_values(np.eye(2)[greedy], P, R, gamma), v, atol=1e-8)
    # One policy is best in every state at once; random policies are not better.
    assert (np.abs(everything - v).max(axis=1) < 1e-8).sum() >= 1
    rng = np.random.default_rng(0)
    for _ in range(50):
        mixed = policy_values(rng.dirichlet(np.ones(2), 4), P, R, gamma)
        assert np.all(mixed <= v + 1e-9)


def check_rl_contraction():
    """Equation (rl-contraction): the backup shrinks differences by gamma, and no less."""
    P, R = _random_mdp()
    rng = np.random.default_rng(0)
    for gamma in (0.5, 0.9, 0.99):
        top = lambda v: backup(v, P, R, gamma).max(axis=1)
        for _ in range(200):
            u, v = rng.normal(0, 3, (2, 6))
            assert np.abs(top(u) - top(v)).max() <= gamma * np.abs(u - v).max() + 1e-12
        u = rng.normal(0, 3, 6)
        assert np.allclose(top(u + 1) - top(u), gamma)        # equality for a constant shift


def check_rl_value_iteration():
    """Equation (rl-value-iteration): geometric error, and the bound from the last change."""
    P, R = _random_mdp()
    for gamma in (0.5, 0.9):
        v_star, _ = value_iteration(P, R, gamma, tol=1e-13)
        v = np.zeros(6)
        first = np.abs(v - v_star).max()
        for k in range(1, 40):
            new = backup(v, P, R, gamma).max(axis=1)
            err = np.abs(new - v_star).max()
            assert err <= gamma**k * first + 1e-12
            assert err <= gamma / (1 - gamma) * np.abs(new - v).max() + 1e-12
            v = new


def check_rl_improvement():
    """Equation (rl-improvement): greedy with respect to q_pi is at least as good everywhere."""
    P, R = _random_mdp()
    rng = np.random.default_rng(0)
    gamma = 0.9
    for _ in range(30):
        pi = rng.dirichlet(np.ones(3), 6)
        v = policy_values(pi, P, R, gamma)
        better = np.eye(3)[backup(v, P, R, gamma).argmax(axis=1)]
        new = policy_values(better, P, R, gamma)
        assert np.all(new >= v - 1e-10) and new.sum() > v.sum() + 1e-3
    # Repeating it reaches the optimum in a few rounds (policy iteration).
    for _ in range(20):
        pi = np.eye(3)[backup(policy_values(pi, P, R, gamma), P, R, gamma).argmax(axis=1)]
    assert np.allclose(policy_values(pi, P, R, gamma), value_iteration(P, R, gamma)[0], atol=1e-8)


def check_rl_td():
    """Equation (rl-td): expected change is zero at v_pi only, and points toward r + gamma P v."""
    P, R = _random_mdp()
    pi = np.random.default_rng(1).dirichlet(np.ones(3), 6)
    gamma = 0.9
    v_pi = policy_values(pi, P, R, gamma)
    expected = lambda v: (pi * backup(v, P, R, gamma)).sum(axis=1) - v
    assert np.allclose(expected(v_pi), 0, atol=1e-12)
    assert np.abs(expected(v_pi + 1)).max() > 0.05
    rng = np.random.default_rng(2)
    v = np.zeros(6)
    s, visits = 0, np.zeros(6)
    for _ in range(60_000):
        a = min((rng.random() > pi[s].cumsum()).sum(), 2)
        t = min((rng.random() > P[s, a].cumsum()).sum(), 5)
        visits[s] += 1
        td0_update(v, s, R[s, a], t, False, gamma, 20 / (20 + visits[s]))
        s = t
    assert np.abs(v - v_pi).max() < 0.3 and np.abs(v_pi).max() > 1


def check_rl_shaping():
    """Equation (rl-shaping): q shifts by the potential, so the greedy actions stay."""
    P, R = _random_mdp()
    gamma, phi = 0.9, np.random.default_rng(0).normal(0, 5, 6)
    v, greedy = value_iteration(P, R, gamma)
    q = backup(v, P, R, gamma)
    shaped = R + gamma * P @ phi - phi[:, None]
    v2, greedy2 = value_iteration(P, shaped, gamma)
    assert np.allclose(backup(v2, P, shaped, gamma), q - phi[:, None], atol=1e-7)
    assert np.array_equal(greedy, greedy2)
    assert np.abs(shaped - R).max() > 1                       # not a small change


def check_bonus_changes_the_optimum():
    """A bonus of 1 on reaching state 1 of the example, at discount 0.5, flips the policy."""
    P, R = _example()
    assert value_iteration(P, R, 0.5)[1][0] == 0
    bonus = R.copy()
    bonus[0, 1] += 1.0
    assert value_iteration(P, bonus, 0.5)[1][0] == 1
    phi = np.array([0.0, 1.0, 0.0])
    shaped = R + 0.5 * P @ phi - phi[:, None]
    assert value_iteration(P, shaped, 0.5)[1][0] == 0


def check_worked_example():
    """Every number of the worked example."""
    P, R = _example()
    v, pi = value_iteration(P, R, 0.9)
    assert np.allclose(v[:2], [3.437, 3.819], atol=5e-4) and pi[0] == 1
    assert np.isclose(3.2 / 0.838, 3.819, atol=5e-4)
    w, sweeps = np.zeros(3), []
    for _ in range(3):
        w = backup(w, P, R, 0.9).max(axis=1)
        sweeps.append(w[:2].copy())
    assert np.allclose(sweeps, [[2, 3.2], [2.88, 3.56], [3.204, 3.7184]])
    v, pi = value_iteration(P, R, 0.5)
    assert np.allclose(v[:2], [2, 3.4], atol=1e-8) and pi[0] == 0
    assert np.isclose(backup(v, P, R, 0.5)[0, 1], 1.7)
    root = (-3.2 + np.sqrt(3.2**2 + 4 * 0.4 * 2)) / 0.8
    assert np.isclose(root, 0.583, atol=5e-4)
    assert value_iteration(P, R, 0.57)[1][0] == 0 and value_iteration(P, R, 0.60)[1][0] == 1
    # Two successful episodes 0 -> 1 -> end with reward 4, step size 1/2.
    td, mc, seen = np.zeros(3), np.zeros(3), []
    for _ in range(2):
        td0_update(td, 0, 0.0, 1, False, 0.9, 0.5)
        td0_update(td, 1, 4.0, 2, True, 0.9, 0.5)
        mc[0] += 0.5 * (0.9 * 4 - mc[0])
        mc[1] += 0.5 * (4 - mc[1])
        seen.append((td[0], td[1], mc[0], mc[1]))
    assert np.allclose(seen, [[0, 2, 1.8, 2], [0.9, 3, 2.7, 3]])


def check_figures():
    """The goals chosen in the figure; the random walk's order after 50 episodes."""
    P, R = _grid()
    start = 3 * COLS + 0
    for gamma, value in ((0.7, 0.7), (0.95, 5 * 0.95**8)):
        v, _ = value_iteration(P, R, gamma)
        assert np.isclose(v[start], value, atol=1e-8)
    td = _walk_errors(0.1, "td", episodes=50, runs=30)[-1]
    mc = _walk_errors(0.03, "mc", episodes=50, runs=30)[-1]
    assert td < 0.8 * mc


def check_numpy_equals_torch():
    """Both versions give the same values and policies (1e-9 in float64)."""
    P, R = _random_mdp()
    tp, tr = torch.from_numpy(P), torch.from_numpy(R)
    v, pi = value_iteration(P, R, 0.9)
    tv, tpi = value_iteration_torch(tp, tr, 0.9)
    assert np.allclose(v, tv.numpy(), atol=1e-9) and np.array_equal(pi, tpi.numpy())
    mix = np.random.default_rng(1).dirichlet(np.ones(3), 6)
    ours = policy_values(mix, P, R, 0.9)
    theirs = policy_values_torch(torch.from_numpy(mix), tp, tr, 0.9).numpy()
    assert np.allclose(ours, theirs, atol=1e-9)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
