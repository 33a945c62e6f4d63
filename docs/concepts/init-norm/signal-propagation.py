"""Twin of the page on signal propagation: code, figures and checks."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def fixup_scale(blocks, layers_per_branch):
    """Factor on all but the last weight layer of a branch (Zhang et al., 2019)."""
    return blocks ** (-1.0 / (2 * layers_per_branch - 2))


def fixup_weights(rng, blocks, d, layers_per_branch=2):
    """He weights times the Fixup factor; the last matrix of each branch is zero."""
    scale = fixup_scale(blocks, layers_per_branch)
    return [
        [
            scale * rng.normal(size=(d, d)) * np.sqrt(2.0 / d)
            for _ in range(layers_per_branch - 1)
        ]
        + [np.zeros((d, d))]
        for _ in range(blocks)
    ]


def residual_states(x, weights):
    """States of a residual ReLU network without normalization; x: (B, d)."""
    states = [x]
    for branch in weights:
        h = states[-1]
        for i, W in enumerate(branch):
            h = h @ W.T if i == 0 else np.maximum(h, 0.0) @ W.T
        states.append(states[-1] + h)
    return states


def relu_cosine_map(c):
    """Cosine between two inputs after one wide He-initialized ReLU layer."""
    c = np.clip(c, -1.0, 1.0)
    return (np.sqrt(1.0 - c**2) + (np.pi - np.arccos(c)) * c) / np.pi


# --8<-- [end:numpy]


# --8<-- [start:torch]
class FixupBlock(torch.nn.Module):
    """Residual branch of two weight layers with Fixup's scalars; no normalization."""

    def __init__(self, d, blocks):
        super().__init__()
        self.fc1 = torch.nn.Linear(d, d, bias=False)
        self.fc2 = torch.nn.Linear(d, d, bias=False)
        torch.nn.init.kaiming_normal_(self.fc1.weight, nonlinearity="relu")
        with torch.no_grad():
            self.fc1.weight.mul_(blocks ** (-1.0 / 2.0))  # m = 2: 1 / (2m - 2) = 1/2
        torch.nn.init.zeros_(self.fc2.weight)
        self.scale = torch.nn.Parameter(torch.ones(1))
        # scalar biases before each weight layer and each activation
        self.biases = torch.nn.ParameterList(torch.zeros(1) for _ in range(3))

    def forward(self, x):
        h = self.fc1(x + self.biases[0])
        h = self.fc2(torch.relu(h + self.biases[1]) + self.biases[2])
        return x + self.scale * h


# --8<-- [end:torch]


def relu(z):
    """Rectified linear unit."""
    return np.maximum(z, 0.0)


def standardize(x):
    """Zero mean and unit variance per example (layer normalization without parameters)."""
    return (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True)


GRID, GRID_W = np.polynomial.hermite_e.hermegauss(81)
GRID_W = GRID_W / GRID_W.sum()


def gauss(f, q):
    """E[f(z)] for z normal with mean 0 and variance q."""
    return float(np.sum(GRID_W * f(np.sqrt(q) * GRID)))


def gauss2(f, q, c):
    """E[f(u) f(v)] for jointly normal u, v of variance q and correlation c."""
    u = np.sqrt(q) * GRID[:, None]
    v = np.sqrt(q) * (c * GRID[:, None] + np.sqrt(1 - c**2) * GRID[None, :])
    return float(np.sum(GRID_W[:, None] * GRID_W[None, :] * f(u) * f(v)))


def fixed_point(sw2, sb2):
    """Fixed point of the variance map for tanh."""
    q = 1.0
    for _ in range(3000):
        q = sw2 * gauss(lambda z: np.tanh(z) ** 2, q) + sb2
    return q


def stream(kind, blocks, d, rng, batch=8):
    """Mean square of the residual stream after every block."""
    x = rng.normal(size=(batch, d))
    out = [np.mean(x**2)]
    for _ in range(blocks):
        W1, W2 = rng.normal(size=(2, d, d)) / np.sqrt(d)
        W2 = W2 * np.sqrt(2.0)
        if kind == "plain sum":
            x = x + relu(x @ W1.T) @ W2.T
        elif kind == "scaled":
            x = x + relu(x @ W1.T) @ W2.T / np.sqrt(blocks)
        elif kind == "normalized":
            x = x + relu(standardize(x) @ W1.T) @ W2.T
        out.append(np.mean(x**2))
    return np.array(out)


def figure_growth():
    """Mean square of the residual stream with and without control, 100 blocks."""
    rng = np.random.default_rng(0)
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    for kind, label, line, marker in (
        ("plain sum", "unscaled branches", "-", "o"),
        ("normalized", "normalization in the branch", "--", "s"),
        ("scaled", "branches scaled by one over root of depth", "-.", "^"),
    ):
        ax.semilogy(stream(kind, 100, 128, rng), line, marker=marker, markevery=10,
                    markersize=5, label=label)
    ax.semilogy(np.ones(101), ":", marker="v", markevery=10, markersize=5,
                label="last branch layer zero (Fixup, ReZero)")
    ax.set_xlabel("block")
    ax.set_ylabel("mean square of the stream")
    ax.set_ylim(0.3, 1e12)
    ax.legend(fontsize=9, loc="upper right")
    return fig


def figure_cosine():
    """Cosine between the activations of two inputs along the depth."""
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    depth = 60
    c = [0.0]
    for _ in range(depth):
        c.append(float(relu_cosine_map(c[-1])))
    ax.plot(c, "-", marker="o", markevery=6, markersize=5, label="ReLU, He scale")
    for sw2, sb2, line, marker, label in (
        (0.8, 0.1, "--", "s", "tanh, ordered"),
        (4.0, 0.1, "-.", "^", "tanh, chaotic"),
    ):
        q, c = fixed_point(sw2, sb2), [0.6]
        for _ in range(depth):
            c.append((sw2 * gauss2(np.tanh, q, min(c[-1], 1.0)) + sb2) / q)
        ax.plot(c, line, marker=marker, markevery=6, markersize=5, label=label)
    s = [0.0]
    for k in range(depth):  # pre-norm residual: shares of the variance are 1/(k+1)
        s.append((s[-1] * (k + 1) + float(relu_cosine_map(s[-1]))) / (k + 2))
    ax.plot(s, ":", marker="D", markevery=6, markersize=5, label="residual ReLU, pre-norm")
    ax.set_xlabel("layer or block")
    ax.set_ylabel("cosine of two inputs")
    ax.set_ylim(-0.08, 1.05)
    ax.legend(fontsize=9, loc="lower right", ncols=2)
    return fig


def check_sp_variance():
    """Equation (sp-variance): the mean-field map against a wide random tanh network."""
    rng = np.random.default_rng(0)
    sw2, sb2, n = 1.7, 0.2, 1500
    a, q = rng.normal(size=n), None
    for layer in range(4):
        z = rng.normal(size=(n, n)) @ a * np.sqrt(sw2 / n) + np.sqrt(sb2) * rng.normal(size=n)
        q = sw2 * (np.mean(a**2) if layer == 0 else gauss(lambda t: np.tanh(t) ** 2, q)) + sb2
        assert abs(np.mean(z**2) / q - 1) < 0.15, (layer, np.mean(z**2), q)
        a = np.tanh(z)


def check_sp_correlation():
    """Equation (sp-correlation): the ReLU cosine map against sampling and quadrature."""
    rng = np.random.default_rng(1)
    u, e = rng.normal(size=(2, 1_000_000))
    for c in (-0.5, 0.0, 0.6, 0.95):
        v = c * u + np.sqrt(1 - c**2) * e
        sampled = np.mean(relu(u) * relu(v)) / np.mean(relu(u) ** 2)
        assert abs(sampled - relu_cosine_map(c)) < 0.005
    assert np.isclose(relu_cosine_map(1.0), 1.0)
    assert np.isclose(relu_cosine_map(0.0), 1 / np.pi)
    # a wide random layer does it too
    x = rng.normal(size=(2, 800))
    x[1] = 0.6 * x[0] + 0.8 * x[1]
    a = relu(x @ rng.normal(size=(800, 4000)))
    cos = lambda m: m[0] @ m[1] / np.linalg.norm(m[0]) / np.linalg.norm(m[1])
    assert abs(cos(a) - relu_cosine_map(cos(x))) < 0.03


def check_sp_relu_rate():
    """Equation (sp-relu-rate): 1 - c_l tends to 9 pi^2 / (2 l^2)."""
    c = 0.0
    for _ in range(20_000):
        c = float(relu_cosine_map(c))
    assert abs((1 - c) * 20_000**2 / (4.5 * np.pi**2) - 1) < 0.02
    c = 0.0
    for _ in range(50):
        c = float(relu_cosine_map(c))
    assert np.isclose(c, 0.988, atol=0.001), c


def check_sp_chi():
    """Equation (sp-chi): slope of the tanh correlation map at 1, three phases."""
    for sw2, sb2, ordered in ((0.8, 0.1, True), (4.0, 0.1, False), (1.2, 0.3, True)):
        q = fixed_point(sw2, sb2)
        chi = sw2 * gauss(lambda z: (1 - np.tanh(z) ** 2) ** 2, q)
        h = 1e-4
        slope = (1 - (sw2 * gauss2(np.tanh, q, 1 - h) + sb2) / q) / h
        assert abs(slope / chi - 1) < 0.01, (slope, chi)
        assert (chi < 1) == ordered
    q = fixed_point(0.8, 0.1)
    chi = 0.8 * gauss(lambda z: (1 - np.tanh(z) ** 2) ** 2, q)
    c = 0.6
    gaps = []
    for _ in range(30):
        c = (0.8 * gauss2(np.tanh, q, c) + 0.1) / q
        gaps.append(1 - c)
    assert abs((gaps[-1] / gaps[-11]) ** (1 / 10) / chi - 1) < 0.02


def check_sp_growth():
    """Equation (sp-growth): unscaled branches double the mean square in every block."""
    rng = np.random.default_rng(2)
    ratio = np.mean([stream("plain sum", 6, 100, rng)[-1] for _ in range(50)])
    assert abs(ratio / 2**6 - 1) < 0.15, ratio
    scaled = np.mean([stream("scaled", 20, 60, rng)[-1] for _ in range(40)])
    assert abs(scaled / (1 + 1 / 20) ** 20 - 1) < 0.1, scaled


def check_sp_linear():
    """Equation (sp-linear): with normalization in the branch it grows linearly."""
    rng = np.random.default_rng(3)
    out = np.mean([stream("normalized", 30, 100, rng) for _ in range(10)], axis=0)
    assert np.allclose(out / np.arange(1, 32), 1.0, atol=0.1), out


def check_sp_linear_gradient():
    """Equation (sp-linear-gradient): (m+1)/(l+1), by autograd through pre-norm blocks."""
    torch.manual_seed(0)
    d, m, ratios = 160, 12, []
    for _ in range(10):
        states = [torch.randn(4, d, requires_grad=True)]
        for _ in range(m):
            x = states[-1]
            n = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)
            W1, W2 = torch.randn(2, d, d) / d**0.5
            states.append(x + torch.relu(n @ W1.T) @ W2.T * 2**0.5)
        grads = torch.autograd.grad(states[-1], states, torch.randn(4, d))
        ratios.append([float((g**2).sum()) for g in grads])
    mean = np.mean(ratios, axis=0)
    claimed = (m + 1) / (np.arange(m + 1) + 1)
    assert np.allclose(mean / mean[-1], claimed, rtol=0.15), mean / mean[-1]


def check_sp_euler():
    """Equation (sp-euler): <grad_x loss, x> = loss - H(p), bias-free ReLU residual net."""
    rng = np.random.default_rng(4)
    for scale in (0.3, 1.0, 3.0):
        x = torch.from_numpy(rng.normal(size=10)).requires_grad_()
        a = x
        for _ in range(4):
            W1, W2 = (torch.from_numpy(scale * rng.normal(size=(10, 10)) / 3) for _ in range(2))
            a = a + W2 @ torch.relu(W1 @ a)
        z = torch.from_numpy(rng.normal(size=(5, 10))) @ a
        loss = torch.nn.functional.cross_entropy(z, torch.tensor(2))
        (g,) = torch.autograd.grad(loss, x)
        p = torch.softmax(z, 0)
        entropy = -(torch.special.xlogy(p, p)).sum()
        gap = (loss - entropy).item()
        assert np.isclose((g @ x).item(), gap, rtol=1e-8, atol=1e-10)
        assert g.norm().item() >= gap / x.norm().item() - 1e-12


def one_step_change(blocks, layers_per_branch, scaled, d=40, eta=1e-6):
    """Change of a linear read-out after one SGD step on it, divided by the step size."""
    rng = np.random.default_rng(5)
    x, v = torch.from_numpy(rng.normal(size=d)), torch.from_numpy(rng.normal(size=d))
    weights = fixup_weights(rng, blocks, d, layers_per_branch)
    if not scaled:
        factor = fixup_scale(blocks, layers_per_branch)
        weights = [[W / factor for W in b] for b in weights]
    params = [[torch.from_numpy(W).requires_grad_() for W in b] for b in weights]

    def value():
        a = x
        for b in params:
            h = b[0] @ a
            for W in b[1:]:
                h = W @ torch.relu(h)
            a = a + h
        return v @ a

    before = value()
    flat = [W for b in params for W in b]
    grads = torch.autograd.grad(before, flat)
    assert all(torch.count_nonzero(g) == 0 for g, W in zip(grads, flat) if W.any())
    with torch.no_grad():
        for W, g in zip(flat, grads):
            W -= eta * g
    squares = sum((g**2).sum().item() for g in grads)
    return ((value() - before) / eta).item(), squares / (x @ x * (v @ v)).item()


def check_sp_fixup_update():
    """Equation (sp-fixup-update): first-order change of the output, L a^(2m-2)."""
    for m in (2, 3):
        small, _ = one_step_change(16, m, scaled=False)
        large, squares = one_step_change(256, m, scaled=False)
        assert abs(squares / 256 - 1) < 0.15, squares  # E |h|^2 = a^(2m-2) |x|^2, a = 1
        assert abs(large / small / 16 - 1) < 0.35, (m, large / small)


def check_sp_fixup():
    """Equation (sp-fixup): with a = L^(-1/(2m-2)) the change does not depend on L."""
    assert np.isclose(fixup_scale(16, 2), 0.25) and np.isclose(fixup_scale(16, 3), 0.5)
    for m in (2, 3):
        small, _ = one_step_change(16, m, scaled=True)
        large, _ = one_step_change(256, m, scaled=True)
        assert abs(large / small - 1) < 0.35, (m, large / small)


def check_sp_rezero():
    """Equation (sp-rezero): at alpha = 0 only the scalars get a gradient, g . F(x)."""
    rng = np.random.default_rng(6)
    x, g = torch.from_numpy(rng.normal(size=6)), torch.from_numpy(rng.normal(size=6))
    W = torch.from_numpy(rng.normal(size=(6, 6))).requires_grad_()
    alpha = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    branch = torch.tanh(W @ x)
    y = x + alpha * branch
    dW, da = torch.autograd.grad(y, (W, alpha), g)
    assert torch.equal(y, x) and torch.count_nonzero(dW) == 0
    assert torch.allclose(da, (g * branch).sum()) and abs(da.item()) > 1e-3


def check_sp_nfnet():
    """Equation (sp-nfnet): variance 1 + k alpha^2 when branches see unit variance."""
    rng = np.random.default_rng(7)
    alpha, out = 0.2, []
    for _ in range(10):
        x = rng.normal(size=(16, 150))
        for k in range(25):
            W1, W2 = rng.normal(size=(2, 150, 150)) / np.sqrt(150)
            beta = np.sqrt(1 + k * alpha**2)
            x = x + alpha * np.sqrt(2.0) * relu(x / beta @ W1.T) @ W2.T
        out.append(np.mean(x**2))
    assert abs(np.mean(out) / (1 + 25 * alpha**2) - 1) < 0.05, np.mean(out)


def check_sp_weight_standardization():
    """Equation (sp-weight-standardization): unit variance after ReLU, no mean shift."""
    rng = np.random.default_rng(8)
    gain = np.sqrt(2 / (1 - 1 / np.pi))
    assert np.isclose(gain, 1.7129, atol=1e-4)
    W = 3.0 + 5.0 * rng.normal(size=(300, 400))
    What = (W - W.mean(axis=1, keepdims=True)) / (W.std(axis=1, keepdims=True) * 20.0)
    assert np.allclose((What**2).sum(axis=1), 1.0) and np.allclose(What.sum(axis=1), 0.0)
    z = gain * relu(rng.normal(size=(3000, 400))) @ What.T
    assert abs(np.var(z) - 1) < 0.02 and abs(np.mean(z, axis=0)).max() < 0.1
    he = relu(rng.normal(size=(3000, 400))) @ (rng.normal(size=(300, 400)) * np.sqrt(2 / 400)).T
    assert abs(np.mean(he, axis=0)).max() > 1.0  # He weights shift the unit means


def check_numpy_against_torch():
    """A stack of Fixup blocks equals the NumPy states to 1e-10, before and after a step."""
    rng = np.random.default_rng(9)
    weights = fixup_weights(rng, 5, 8)
    for branch in weights:
        branch[1] = 0.1 * rng.normal(size=(8, 8))
    model = torch.nn.Sequential(*[FixupBlock(8, 5) for _ in weights]).double()
    for block, (W1, W2) in zip(model, weights):
        block.fc1.weight.data, block.fc2.weight.data = torch.from_numpy(W1), torch.from_numpy(W2)
    x = rng.normal(size=(3, 8))
    ours = residual_states(x, weights)[-1]
    assert np.allclose(model(torch.from_numpy(x)).detach().numpy(), ours, atol=1e-10)
    torch.manual_seed(0)
    fresh = FixupBlock(400, 16)
    assert np.isclose(fresh.fc1.weight.std().item(), 0.25 * np.sqrt(2 / 400), rtol=0.02)
    assert torch.equal(fresh(torch.ones(2, 400)), torch.ones(2, 400))


def check_deep_fixup_trains():
    """Text: 100 blocks without normalization learn with Fixup; the unscaled sum is useless."""
    torch.manual_seed(0)
    x = torch.randn(64, 16)
    y = torch.sin(2 * x[:, :1])
    model = torch.nn.Sequential(*[FixupBlock(16, 100) for _ in range(100)], torch.nn.Linear(16, 1))
    torch.nn.init.zeros_(model[-1].weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(10):
        loss = ((model(x) - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0], losses
    with torch.no_grad():
        a = x
        for _ in range(100):
            a = a + torch.relu(a @ torch.randn(16, 16) / 4) @ torch.randn(16, 16) / 4 * 2**0.5
    assert not a.abs().max() < 1e9


def check_worked_example():
    """The numbers of the worked example."""
    assert np.isclose(fixup_scale(100, 2), 0.1)
    assert np.isclose(fixup_scale(100, 3), 0.316, atol=5e-4)
    assert np.isclose(0.1 * np.sqrt(2 / 512), 0.00625)
    assert np.isclose(2.0**100, 1.27e30, rtol=0.01)
    assert np.isclose(1.01**100, 2.70, atol=0.006)
    assert np.isclose(1 + 100 * 0.2**2, 5.0)
    p = np.exp([4.0, 0.0, 0.0]) / np.sum(np.exp([4.0, 0.0, 0.0]))
    loss, entropy = -np.log(p[1]), -np.sum(p * np.log(p))
    assert np.isclose(loss, 4.036, atol=5e-4) and np.isclose(entropy, 0.177, atol=5e-4), entropy
    assert np.isclose(loss - entropy, 3.859, atol=6e-4)
    assert np.isclose(4 * p[0], loss - entropy)
    p = np.exp([40.0, 0.0, 0.0]) / np.sum(np.exp([40.0, 0.0, 0.0]))
    assert np.isclose(40 * p[0], 40.0)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
