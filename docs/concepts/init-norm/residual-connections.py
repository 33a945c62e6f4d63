"""Twin of the page "Residual (skip) connections": code, figures and checks."""

import itertools
from math import comb

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def branch(x, W1, W2):
    """F(x) = W2 relu(W1 x) for a batch; x: (B, d), W1: (h, d), W2: (d, h)."""
    return np.maximum(x @ W1.T, 0.0) @ W2.T


def residual_forward(x, blocks):
    """All states x[0], ..., x[m] of a stack of blocks y = x + F(x)."""
    states = [x]
    for W1, W2 in blocks:
        states.append(states[-1] + branch(states[-1], W1, W2))
    return states


def residual_backward(states, blocks, grad):
    """Gradient at x[0] from the gradient (B, d) at x[m], and at all weights."""
    weight_grads = []
    for x, (W1, W2) in zip(reversed(states[:-1]), reversed(blocks)):
        h = np.maximum(x @ W1.T, 0.0)
        dz = (grad @ W2) * (h > 0)
        weight_grads.append((dz.T @ x, grad.T @ h))
        grad = grad + dz @ W1  # the skip path adds the gradient unchanged
    return grad, weight_grads[::-1]


# --8<-- [end:numpy]


# --8<-- [start:torch]
class ResidualBlock(torch.nn.Module):
    """y = x + W2 relu(W1 norm(x)): pre-activation, nothing on the skip path."""

    def __init__(self, d, h, norm=torch.nn.Identity, zero_last=False):
        super().__init__()
        self.branch = torch.nn.Sequential(
            norm(d),  # e.g. torch.nn.LayerNorm
            torch.nn.Linear(d, h, bias=False),
            torch.nn.ReLU(),
            torch.nn.Linear(h, d, bias=False),
        )
        if zero_last:  # the block starts as the identity
            torch.nn.init.zeros_(self.branch[-1].weight)

    def forward(self, x):
        return x + self.branch(x)


# --8<-- [end:torch]


def random_blocks(rng, m, d, h, scale=1.0):
    """m pairs of He-scaled weight matrices; the second is multiplied by scale."""
    return [
        (
            rng.normal(size=(h, d)) * np.sqrt(1.0 / d),
            scale * rng.normal(size=(d, h)) * np.sqrt(2.0 / h),
        )
        for _ in range(m)
    ]


def path_shares(m, s):
    """Share of the mean squared gradient that paths through k of m branches carry."""
    weights = np.array([comb(m, k) * float(s) ** k for k in range(m + 1)])
    return weights / weights.sum()


def figure_blocks():
    """A plain, a post-activation and a pre-activation block side by side."""
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 4.2))
    columns = [
        ("plain", ["weight", "BN", "ReLU", "weight", "BN", "ReLU"], None),
        ("post-activation", ["weight", "BN", "ReLU", "weight", "BN", "+", "ReLU"], 5),
        ("pre-activation", ["BN", "ReLU", "weight", "BN", "ReLU", "weight", "+"], 6),
    ]
    ink = "#222222"
    for ax, (name, parts, plus) in zip(axes, columns):
        ax.set_axis_off()
        ax.set_xlim(-1.3, 2.0)
        ax.set_ylim(9.0, -1.4)
        ax.text(0, -1.1, name, ha="center", va="center", fontsize=11)
        ax.annotate("", (0, 0.62), (0, -0.75), arrowprops={"arrowstyle": "->", "color": ink})
        for i, part in enumerate(parts):
            y = 1.0 + 1.1 * i
            if part == "+":
                ax.add_patch(plt.Circle((0, y), 0.33, fill=False, color=ink, lw=1.4))
            else:
                ax.add_patch(
                    plt.Rectangle((-0.8, y - 0.34), 1.6, 0.68, fill=False, color=ink, lw=1.2)
                )
            ax.text(0, y, part, ha="center", va="center", fontsize=10)
            ax.annotate(
                "",
                (0, y + 0.74 if i + 1 < len(parts) else y + 0.95),
                (0, y + 0.34),
                arrowprops={"arrowstyle": "->", "color": ink},
            )
        if plus is not None:
            y = 1.0 + 1.1 * plus
            ax.plot([0, 1.35, 1.35], [-0.05, -0.05, y], color="#c2410c", lw=2.6)
            ax.annotate(
                "", (0.33, y), (1.4, y),
                arrowprops={"arrowstyle": "->", "color": "#c2410c", "lw": 2.6},
            )
            ax.text(1.6, y / 2, "skip path", rotation=90, va="center", ha="center", fontsize=9)
    return fig


def figure_paths():
    """Which path lengths carry the squared gradient in a stack of 54 random blocks."""
    m = 54
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    k = np.arange(m + 1)
    for s, label, line, marker in (
        (1 / m, "branch gain 1/54", "-", "o"),
        (0.1, "branch gain 0.1", "--", "s"),
        (1.0, "branch gain 1", ":", "^"),
    ):
        ax.plot(k, path_shares(m, s), line, marker=marker, markersize=4, label=label)
    ax.set_xlabel("branches on the path (of 54)")
    ax.set_ylabel("share of squared gradient")
    ax.legend(fontsize=9)
    return fig


def check_res_block():
    """Equation (res-block): the module computes x + F(x); with F = 0 the identity."""
    rng = np.random.default_rng(0)
    ((W1, W2),) = random_blocks(rng, 1, 5, 7)
    x = rng.normal(size=(3, 5))
    block = ResidualBlock(5, 7).double()
    block.branch[1].weight.data = torch.from_numpy(W1)
    block.branch[3].weight.data = torch.from_numpy(W2)
    assert np.allclose(block(torch.from_numpy(x)).detach().numpy(), x + branch(x, W1, W2))
    zero = ResidualBlock(5, 7, zero_last=True).double()
    assert torch.equal(zero(torch.from_numpy(x)), torch.from_numpy(x))


def check_res_jacobian():
    """Equation (res-jacobian): dy/dx = I + dF/dx, against autograd."""
    rng = np.random.default_rng(1)
    ((W1, W2),) = random_blocks(rng, 1, 5, 7)
    x = rng.normal(size=5)
    active = (W1 @ x > 0).astype(float)
    claimed = np.eye(5) + W2 @ (active[:, None] * W1)
    A, B = torch.from_numpy(W1), torch.from_numpy(W2)
    full = torch.autograd.functional.jacobian(
        lambda v: v + B @ torch.relu(A @ v), torch.from_numpy(x)
    )
    assert np.allclose(claimed, full.numpy(), atol=1e-12)


def check_res_unrolled():
    """Equation (res-unrolled): the last state is the first plus all branch outputs."""
    rng = np.random.default_rng(2)
    blocks = random_blocks(rng, 6, 5, 8)
    states = residual_forward(rng.normal(size=(4, 5)), blocks)
    for start in range(6):
        total = states[start].copy()
        for k in range(start, 6):
            total += branch(states[k], *blocks[k])
        assert np.allclose(total, states[-1])
    plain = states[0]
    for pair in blocks:
        plain = branch(plain, *pair)
    assert not np.allclose(plain, states[-1])


def check_res_gradient():
    """Equation (res-gradient): top gradient plus the gradient through all branches."""
    rng = np.random.default_rng(3)
    blocks = random_blocks(rng, 5, 4, 9, 0.7)
    x, top = rng.normal(size=4), rng.normal(size=4)
    start = torch.from_numpy(x).requires_grad_()
    a, total = start, torch.zeros(4, dtype=torch.float64)
    for W1, W2 in blocks:
        f = torch.from_numpy(W2) @ torch.relu(torch.from_numpy(W1) @ a)
        a, total = a + f, total + f
    g = torch.from_numpy(top)
    (full,) = torch.autograd.grad(a, start, g, retain_graph=True)
    (through,) = torch.autograd.grad(total, start, g)
    assert torch.allclose(full, g + through, atol=1e-12)
    assert through.abs().max() > 1e-3


def check_numpy_against_torch():
    """The two tabs agree to 1e-10: outputs, input gradient and weight gradients."""
    rng = np.random.default_rng(4)
    blocks = random_blocks(rng, 4, 6, 10)
    x, top = rng.normal(size=(3, 6)), rng.normal(size=(3, 6))
    states = residual_forward(x, blocks)
    grad, weight_grads = residual_backward(states, blocks, top)
    model = torch.nn.Sequential(*[ResidualBlock(6, 10) for _ in blocks]).double()
    for module, (W1, W2) in zip(model, blocks):
        module.branch[1].weight.data = torch.from_numpy(W1)
        module.branch[3].weight.data = torch.from_numpy(W2)
    start = torch.from_numpy(x).requires_grad_()
    out = model(start)
    out.backward(torch.from_numpy(top))
    assert np.allclose(out.detach().numpy(), states[-1], atol=1e-10)
    assert np.allclose(start.grad.numpy(), grad, atol=1e-10)
    for module, (d1, d2) in zip(model, weight_grads):
        assert np.allclose(module.branch[1].weight.grad.numpy(), d1, atol=1e-10)
        assert np.allclose(module.branch[3].weight.grad.numpy(), d2, atol=1e-10)


def check_res_post():
    """Equation (res-post): relu(x + F(x)) blocks negative inputs; its Jacobian is D(I+B)."""
    rng = np.random.default_rng(5)
    ((W1, W2),) = random_blocks(rng, 1, 5, 7)
    x = rng.normal(size=5)
    A, B = torch.from_numpy(W1), torch.from_numpy(W2)
    full = torch.autograd.functional.jacobian(
        lambda v: torch.relu(v + B @ torch.relu(A @ v)), torch.from_numpy(x)
    ).numpy()
    inner = np.eye(5) + W2 @ ((W1 @ x > 0)[:, None] * W1)
    open_ = (x + branch(x[None], W1, W2)[0] > 0).astype(float)
    assert 0 < open_.sum() < 5
    assert np.allclose(full, open_[:, None] * inner, atol=1e-12)
    # with an empty branch the block is not the identity
    assert not np.allclose(np.maximum(x, 0.0), x)


def check_res_pre():
    """Equation (res-pre): a pre-activation stack keeps x[0] as a summand, sign included."""
    torch.manual_seed(0)
    d = 8
    stack = [
        torch.nn.Sequential(
            torch.nn.BatchNorm1d(d), torch.nn.ReLU(), torch.nn.Linear(d, d, bias=False),
            torch.nn.BatchNorm1d(d), torch.nn.ReLU(), torch.nn.Linear(d, d, bias=False),
        ).double()
        for _ in range(3)
    ]
    x0 = x = torch.randn(16, d, dtype=torch.float64)
    total = torch.zeros_like(x0)
    for f in stack:
        out = f(x)
        total = total + out
        x = x + out
    assert torch.allclose(x, x0 + total)
    for f in stack:
        torch.nn.init.zeros_(f[-1].weight)
    x = x0
    for f in stack:
        x = x + f(x)
    assert torch.equal(x, x0)


def check_res_scaled_skip():
    """Equation (res-scaled-skip): a factor on each skip path multiplies up."""
    rng = np.random.default_rng(6)
    m, d = 7, 5
    lam = rng.uniform(0.3, 1.2, size=m)
    mats = [0.3 * rng.normal(size=(d, d)) for _ in range(m)]
    x = x0 = rng.normal(size=d)
    branches = []
    for k in range(m):
        f = np.tanh(mats[k] @ x)
        branches.append(f)
        x = lam[k] * x + f
    claimed = np.prod(lam) * x0 + sum(
        np.prod(lam[k + 1:]) * branches[k] for k in range(m)
    )
    assert np.allclose(claimed, x)
    assert np.isclose(0.5 ** 54, 5.55e-17, rtol=1e-3)


def check_res_paths():
    """Equation (res-paths): expansion over 2^m paths, and its mean square by sampling."""
    rng = np.random.default_rng(7)
    m, d = 4, 6
    mats = [rng.normal(size=(d, d)) / np.sqrt(d) for _ in range(m)]
    product = np.eye(d)
    for w in mats:
        product = (np.eye(d) + w) @ product
    expanded = np.zeros((d, d))
    for pick in itertools.product((0, 1), repeat=m):
        term = np.eye(d)
        for take, w in zip(pick, mats):
            term = (w if take else np.eye(d)) @ term
        expanded += term
    assert np.allclose(product, expanded)
    for beta in (1.0, 0.5):
        g, draws = rng.normal(size=d), 20_000
        by_length = np.zeros((draws, m + 1, d))
        by_length[:, 0] = g
        for _ in range(m):
            w = beta * rng.normal(size=(draws, d, d)) / np.sqrt(d)
            longer = np.einsum("nij,nki->nkj", w, by_length)
            by_length[:, 1:] += longer[:, :-1]
        share = np.mean(np.sum(by_length ** 2, axis=2), axis=0) / np.sum(g ** 2)
        claimed = [comb(m, k) * beta ** (2 * k) for k in range(m + 1)]
        assert np.allclose(share, claimed, rtol=0.06), (share, claimed)
        total = np.mean(np.sum(by_length.sum(axis=1) ** 2, axis=1)) / np.sum(g ** 2)
        assert np.isclose(total, (1 + beta ** 2) ** m, rtol=0.06)


def check_path_numbers():
    """Text: mean path length m s / (1 + s), and the numbers quoted for m = 54."""
    for s, mean in ((1.0, 27.0), (0.1, 4.909), (1 / 54, 0.982)):
        shares = path_shares(54, s)
        assert np.isclose(shares.sum(), 1.0)
        assert np.isclose(np.sum(np.arange(55) * shares), mean, atol=1e-3)


def check_res_zero_init():
    """Equation (res-zero-init): W2 = 0 gives y = x, no gradient at W1, one at W2."""
    rng = np.random.default_rng(8)
    W1 = torch.from_numpy(rng.normal(size=(7, 5))).requires_grad_()
    W2 = torch.zeros(5, 7, dtype=torch.float64, requires_grad=True)
    x, g = torch.from_numpy(rng.normal(size=5)), torch.from_numpy(rng.normal(size=5))
    y = x + W2 @ torch.relu(W1 @ x)
    assert torch.equal(y, x)
    d1, d2 = torch.autograd.grad(y, (W1, W2), g)
    assert torch.count_nonzero(d1) == 0
    assert torch.allclose(d2, torch.outer(g, torch.relu(W1 @ x)))
    assert torch.linalg.norm(d2) > 0.1
    # units with different incoming weights get different gradients: no symmetry
    assert not torch.allclose(d2[:, W1 @ x > 0][:, 0], d2[:, W1 @ x > 0][:, 1])


def check_res_post_norm():
    """Equation (res-post-norm): LN(x + F) multiplies the skip path by about 0.707."""
    rng = np.random.default_rng(9)
    d, m = 4000, 8
    x = x0 = rng.normal(size=d)
    for _ in range(m):
        y = x + rng.normal(size=d)  # a branch of unit variance, uncorrelated with x
        x = (y - y.mean()) / y.std()
    coefficient = x @ x0 / (x0 @ x0)
    assert abs(coefficient - 2 ** (-m / 2)) < 0.04
    pre = x0 + sum(rng.normal(size=d) for _ in range(m))
    assert abs(pre @ x0 / (x0 @ x0) - 1) < 0.15


def check_worked_example():
    """The numbers of the worked example, forward and backward."""
    W1 = np.array([[1.0, -1.0], [0.5, 0.5]])
    W2 = np.array([[0.2, 0.4], [0.1, -0.2]])
    x = np.array([[1.0, 2.0]])
    assert np.allclose(x @ W1.T, [[-1.0, 1.5]])
    assert np.allclose(branch(x, W1, W2), [[0.6, -0.3]])
    states = residual_forward(x, [(W1, W2)])
    assert np.allclose(states[1], [[1.6, 1.7]])
    B = W2 @ (np.array([[0.0], [1.0]]) * W1)
    assert np.allclose(B, [[0.2, 0.2], [-0.1, -0.1]])
    g = np.array([[1.0, 1.0]])
    grad, _ = residual_backward(states, [(W1, W2)], g)
    assert np.allclose(g @ B, [[0.1, 0.1]]) and np.allclose(grad, [[1.1, 1.1]])
    assert np.isclose(0.1 ** 3, 0.001) and np.isclose(1.1 ** 3, 1.331)
    assert np.isclose(1 + 3 * 0.1 + 3 * 0.01 + 0.001, 1.331)
    assert np.isclose(1.1 ** 50, 117.4, atol=0.05) and np.isclose(2.0 ** 50, 1.13e15, rtol=0.01)
    assert np.isclose(1.02 ** 50, 2.69, atol=0.005)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
