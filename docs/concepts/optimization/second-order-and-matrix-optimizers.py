"""Checks and figures of the page on Newton's method, K-FAC, Shampoo and Muon."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def newton_step(g, H, damping=0.0):
    """Damped Newton displacement -(H + damping I)^{-1} g; g: (d,), H: (d, d)."""
    return -np.linalg.solve(H + damping * np.eye(len(g)), g)


def kfac_step(G, A, S, damping=0.0):
    """K-FAC displacement -S^{-1} G A^{-1} of one linear layer.

    G: gradient of the weights, (out, in); A: second moment of the layer's
    inputs, (in, in); S: second moment of the gradients of its outputs, (out, out).
    """
    A = A + damping * np.eye(len(A))
    S = S + damping * np.eye(len(S))
    return -np.linalg.solve(S, np.linalg.solve(A, G.T).T)


def matrix_power(M, p):
    """M^p for a symmetric positive definite M, by eigendecomposition."""
    lam, Q = np.linalg.eigh(M)
    return (Q * lam**p) @ Q.T


def shampoo_step(G, L, R):
    """Add G to the statistics L: (m, m) and R: (n, n); displacement, L, R."""
    L, R = L + G @ G.T, R + G.T @ G
    return -matrix_power(L, -0.25) @ G @ matrix_power(R, -0.25), L, R


def newton_schulz(G, steps=5, coefficients=(3.4445, -4.7750, 2.0315)):
    """Push all singular values of G (m, n) toward 1 without computing them.

    The coefficients are those of Jordan et al. (2024); use (15/8, -10/8, 3/8) for an
    iteration that converges to the orthogonal polar factor.
    """
    a, b, c = coefficients
    X = G.T if G.shape[0] > G.shape[1] else G
    X = X / np.linalg.norm(X)            # now all singular values are at most 1
    for _ in range(steps):
        M = X @ X.T
        X = a * X + (b * M + c * M @ M) @ X
    return X.T if G.shape[0] > G.shape[1] else X


def muon_step(G, buffer, momentum=0.95, nesterov=True):
    """Muon displacement for learning rate 1, without scale factor; and the buffer."""
    buffer = momentum * buffer + (1 - momentum) * G
    update = (1 - momentum) * G + momentum * buffer if nesterov else buffer
    return -newton_schulz(update), buffer
# --8<-- [end:numpy]


# --8<-- [start:torch]
def hessian_vector_product(loss_fn, theta, v):
    """H v by differentiating the directional derivative: two backward passes."""
    (g,) = torch.autograd.grad(loss_fn(theta), theta, create_graph=True)
    return torch.autograd.grad(g @ v, theta)[0]


def newton_cg(loss_fn, theta, damping=0.0, steps=50, tol=1e-12):
    """Newton displacement by conjugate gradients: H is applied, never stored.

    theta: (d,) tensor that requires a gradient; H + damping I positive definite.
    """
    (g,) = torch.autograd.grad(loss_fn(theta), theta)
    x = torch.zeros_like(g)
    r = -g                                   # residual of (H + damping I) x = -g
    p, rr = r.clone(), r @ r
    for _ in range(steps):
        if rr.sqrt() <= tol:
            break
        Hp = hessian_vector_product(loss_fn, theta, p) + damping * p
        alpha = rr / (p @ Hp)
        x, r = x + alpha * p, r - alpha * Hp
        rr, old = r @ r, rr
        p = r + (rr / old) * p
    return x


def make_optimizers(model, head, lr=0.02, adamw_lr=3e-4):
    """Muon for the hidden matrices, AdamW for everything else (PyTorch 2.13).

    model: the network; head: its output layer. Embeddings belong to AdamW, too.
    """
    outer = {id(p) for p in head.parameters()}
    for m in model.modules():
        if isinstance(m, torch.nn.Embedding):
            outer |= {id(p) for p in m.parameters()}
    hidden = [p for p in model.parameters() if p.ndim == 2 and id(p) not in outer]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [torch.optim.Muon(hidden, lr=lr, momentum=0.95, weight_decay=0.01),
            torch.optim.AdamW(rest, lr=adamw_lr, weight_decay=0.01)]
# --8<-- [end:torch]


COEFFICIENTS = (3.4445, -4.7750, 2.0315)
EXACT = (15 / 8, -10 / 8, 3 / 8)
EXAMPLE = np.array([[2.5, 1.5], [1.5, 2.5]])       # gradient of the worked example


def polynomial(s, coefficients):
    """What one Newton-Schulz step does to a singular value."""
    a, b, c = coefficients
    return a * s + b * s**3 + c * s**5


def polar(G):
    """U V^T from the reduced singular value decomposition."""
    U, _, Vt = np.linalg.svd(G, full_matrices=False)
    return U @ Vt


def random_spd(d, rng, low=0.5, high=20.0):
    """Symmetric positive definite matrix with eigenvalues from low to high."""
    Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    return (Q * np.geomspace(low, high, d)) @ Q.T


def softmax(z):
    """Softmax over the last axis."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def small_network(n=400, seed=0):
    """A 4-3-3 tanh network on correlated inputs: weights and inputs."""
    rng = np.random.default_rng(seed)
    mix = np.array([[1.0, 0.8, 0.3, 0.0], [0.0, 0.6, 0.5, 0.2],
                    [0.0, 0.0, 0.7, 0.6], [0.0, 0.0, 0.0, 0.4]])
    X = rng.normal(size=(n, 4)) @ mix + 0.4
    return rng.normal(size=(3, 4)) * 0.7, rng.normal(size=(3, 3)), X


def fisher_blocks(W1, W2, X):
    """Exact Fisher matrix of a softmax network and its K-FAC factors.

    Parameters are stacked column by column of W1, then of W2. Labels are averaged over
    the model's own predictions, not sampled. Returns F and [(A1, S1), (A2, S2)].
    """
    hid = np.tanh(X @ W1.T)
    p = softmax(hid @ W2.T)
    n, K = p.shape
    d = W1.size + W2.size
    F = np.zeros((d, d))
    S1, S2 = np.zeros((W1.shape[0],) * 2), np.zeros((K, K))
    for k in range(K):                                  # label k with probability p_k
        dz2 = p - np.eye(K)[k]
        dz1 = (dz2 @ W2) * (1 - hid**2)
        rows = np.hstack([(X[:, :, None] * dz1[:, None, :]).reshape(n, -1),
                          (hid[:, :, None] * dz2[:, None, :]).reshape(n, -1)])
        F += (rows * p[:, [k]]).T @ rows / n
        S1 += (dz1 * p[:, [k]]).T @ dz1 / n
        S2 += (dz2 * p[:, [k]]).T @ dz2 / n
    return F, [(X.T @ X / n, S1), (hid.T @ hid / n, S2)]


def figure_curvature():
    """The exact Fisher matrix of a small network, its K-FAC and its diagonal version."""
    W1, W2, X = small_network()
    F, ((A1, S1), (A2, S2)) = fisher_blocks(W1, W2, X)
    kfac = np.zeros_like(F)
    kfac[:12, :12], kfac[12:, 12:] = np.kron(A1, S1), np.kron(A2, S2)
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.7))
    vmax = np.abs(F).max() ** 0.5
    ink = np.tile([0.13, 0.13, 0.13, 0.0], (256, 1))
    ink[:, 3] = np.linspace(0, 1, 256)                  # from transparent to dark
    cmap = matplotlib.colors.ListedColormap(ink)
    panels = ((F, "exact: 231 numbers"), (kfac, "K-FAC: 28 numbers"),
              (np.diag(np.diag(F)), "diagonal: 21 numbers"))
    for ax, (M, label) in zip(axes, panels):
        image = ax.imshow(np.sqrt(np.abs(M)), vmin=0, vmax=vmax, cmap=cmap)
        ax.axhline(11.5, lw=0.8, ls="--", color="#0061a8")
        ax.axvline(11.5, lw=0.8, ls="--", color="#0061a8")
        ax.set_xlabel(label)
        ax.set_xticks([5.5, 16], ["layer 1", "layer 2"], fontsize=9)
        ax.set_yticks([5.5, 16], ["layer 1", "layer 2"], fontsize=9, rotation=90,
                      va="center")
        ax.tick_params(length=0)
        ax.grid(False)
    bar = fig.colorbar(image, ax=axes, shrink=0.75)
    bar.set_label("root of absolute entry", fontsize=9)
    return fig


def gradient_like(m=48, n=64):
    """A matrix with a decaying spectrum and dense singular vectors, as gradients have."""
    rng = np.random.default_rng(1)
    U, _ = np.linalg.qr(rng.normal(size=(m, m)))
    V, _ = np.linalg.qr(rng.normal(size=(n, m)))
    return (U * 10.0 ** np.linspace(0, -2.5, m)) @ V.T


def figure_singular_values():
    """Singular values of three updates, and the Newton-Schulz polynomial."""
    G = gradient_like()
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2))
    index = np.arange(1, 49)
    for M, style, marker, name in ((G, "-", "o", "gradient"),
                                   (np.sign(G), "--", "s", "sign (Adam, first step)"),
                                   (newton_schulz(G), "-.", "^", "Muon")):
        s = np.linalg.svd(M, compute_uv=False)
        left.semilogy(index, s / np.sqrt((s**2).mean()), style, marker=marker,
                      markevery=6, ms=4, lw=1.5, label=name)
    left.set(xlabel="index of singular value", ylabel="size, relative to root mean square")
    left.legend(fontsize=9)
    s = np.linspace(0, 1, 600)
    for steps, style in ((1, ":"), (3, "--"), (5, "-")):
        x = s
        for _ in range(steps):
            x = polynomial(x, COEFFICIENTS)
        right.plot(s, x, style, lw=1.5, label=f"{steps} step" + "s" * (steps > 1))
    right.axhline(1, lw=0.8, color="#555555")
    right.set(xlabel="singular value before", ylabel="singular value after", ylim=(0, 1.45))
    right.legend(fontsize=9, ncol=3, loc="upper center", columnspacing=1.0,
                 handlelength=1.6)
    return fig


def logistic_data(n=80, d=4):
    """Random features (n, d) and labels in {0, 1}."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) * np.array([1.0, 3.0, 0.3, 2.0])
    y = (rng.random(n) < 1 / (1 + np.exp(-X @ np.array([1.0, -0.5, 0.8, 0.2])))).astype(float)
    return X, y


def logistic(w, X, y, ridge=0.01):
    """Loss, gradient and Hessian of L2-regularized logistic regression."""
    z = X @ w
    p = 1 / (1 + np.exp(-z))
    loss = np.mean(np.logaddexp(0, z) - y * z) + ridge / 2 * w @ w
    H = (X.T * (p * (1 - p))) @ X / len(y) + ridge * np.eye(len(w))
    return loss, X.T @ (p - y) / len(y) + ridge * w, H


def check_so_newton():
    """Equation (so-newton): exact on a quadratic, and the stationary point of the model."""
    rng = np.random.default_rng(0)
    H, target, theta = random_spd(6, rng), rng.normal(size=6), rng.normal(size=6)
    g = H @ (theta - target)
    assert np.allclose(theta + newton_step(g, H), target, atol=1e-10)
    X, y = logistic_data()
    w = rng.normal(size=4)
    _, g, H = logistic(w, X, y)
    step = newton_step(g, H)
    assert np.allclose(g + H @ step, 0, atol=1e-12)
    model = lambda v: g @ v + v @ H @ v / 2
    for _ in range(20):
        assert model(step) < model(step + rng.normal(size=4) * 0.1)


def check_so_invariance():
    """Equation (so-invariance): Newton iterates map into each other; GD's do not."""
    rng = np.random.default_rng(1)
    X, y = logistic_data()
    C = rng.normal(size=(4, 4)) + 2 * np.eye(4)
    w = rng.normal(size=4) * 0.1
    phi = np.linalg.solve(C, w)
    u, psi = w.copy(), phi.copy()
    for _ in range(5):
        _, g, H = logistic(w, X, y)
        w = w + newton_step(g, H)
        _, g, H = logistic(C @ phi, X, y)
        phi = phi + newton_step(C.T @ g, C.T @ H @ C)
        assert np.allclose(w, C @ phi, atol=1e-9)
        u = u - 0.05 * logistic(u, X, y)[1]
        psi = psi - 0.05 * C.T @ logistic(C @ psi, X, y)[1]
    assert np.abs(u - C @ psi).max() > 1e-2


def check_so_quadratic_rate():
    """Equation (so-quadratic-rate): error at most M/(2 mu) times its square, measured."""
    X, y = logistic_data()
    w = np.zeros(4)
    for _ in range(30):
        _, g, H = logistic(w, X, y)
        w = w + newton_step(g, H)
    best = w
    mu = 0.01                                     # ridge: Hessian >= mu everywhere
    # |third derivative of log(1 + e^z)| <= 1/(6 sqrt 3), hence the Lipschitz constant:
    M = np.mean(np.linalg.norm(X, axis=1) ** 3) / (6 * np.sqrt(3))
    w, errors = best + 0.3 * np.array([1, -1, 1, 1]), []
    for _ in range(6):
        errors.append(np.linalg.norm(w - best))
        _, g, H = logistic(w, X, y)
        w = w + newton_step(g, H)
    for a, b in zip(errors, errors[1:]):
        assert b <= M / (2 * mu) * a**2 + 1e-13
    assert errors[0] > 0.5 and errors[5] < 1e-9
    # Digits double: the ratio of an error to the square of the one before stays put.
    for a, b in zip(errors[1:5], errors[2:]):
        assert b < a**2


def check_so_cubic():
    """Equation (so-cubic): Newton on sqrt(1 + theta^2) maps theta to -theta^3."""
    for theta in (0.5, 0.9, 1.1, -2.0):
        g, h = theta / np.sqrt(1 + theta**2), (1 + theta**2) ** -1.5
        eps = 1e-5
        f = lambda t: np.sqrt(1 + t**2)
        assert np.isclose((f(theta + eps) - f(theta - eps)) / (2 * eps), g, atol=1e-8)
        assert np.isclose((f(theta + eps) - 2 * f(theta) + f(theta - eps)) / eps**2, h,
                          atol=1e-4)
        assert np.isclose(theta + newton_step(np.array([g]), np.array([[h]]))[0], -theta**3)
        assert h > 0
    t = 0.9
    for _ in range(4):
        t = -t**3
    assert abs(t) < 0.001
    t = 1.1
    for _ in range(4):
        t = -t**3
    assert abs(t) > 1000


def check_so_saddle():
    """Equation (so-saddle): coordinates of the step; it points to the saddle."""
    rng = np.random.default_rng(2)
    Q, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    lam = np.array([3.0, 1.0, -0.5, -2.0])
    H, e = (Q * lam) @ Q.T, rng.normal(size=4)
    g = H @ (Q @ e)
    assert np.allclose(Q.T @ newton_step(g, H), -(Q.T @ g) / lam)
    assert np.allclose(Q.T @ newton_step(g, H), -e)           # lands on the saddle
    # Along negative curvature the step goes uphill.
    i = 3
    assert (Q.T @ g)[i] * (Q.T @ newton_step(g, H))[i] > 0
    damped = Q.T @ newton_step(g, H, damping=2.5)
    assert np.all(damped * (Q.T @ g) < 0)                     # descent in every direction


def check_so_damping():
    """Equation (so-damping): the damped step solves the trust-region problem of its length."""
    rng = np.random.default_rng(3)
    H, g = random_spd(5, rng), rng.normal(size=5)
    step = newton_step(g, H, damping=2.0)
    radius = np.linalg.norm(step)
    model = lambda v: g @ v + v @ H @ v / 2
    for _ in range(2000):
        v = rng.normal(size=5)
        v *= radius * rng.random() ** 0.2 / np.linalg.norm(v)
        assert model(v) >= model(step) - 1e-12
    norms = [np.linalg.norm(newton_step(g, H, d)) for d in (0, 1, 10, 100)]
    assert np.all(np.diff(norms) < 0)
    assert np.allclose(newton_step(g, H, 1e8) * 1e8, -g, atol=1e-5)


def check_so_gauss_newton():
    """Equation (so-gauss-newton): the exact Hessian splits into the two terms."""
    torch.manual_seed(0)
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randint(0, 3, (7,))
    shapes = ((4, 3), (3, 4))

    def outputs(theta):
        W1, W2 = theta[:12].view(*shapes[0]), theta[12:].view(*shapes[1])
        return torch.tanh(x @ W1.T) @ W2.T

    def loss(theta):
        return torch.nn.functional.cross_entropy(outputs(theta), y)

    theta = torch.randn(24, dtype=torch.float64)
    H = torch.func.hessian(loss)(theta)
    J = torch.func.jacrev(outputs)(theta)                      # (7, 3, 24)
    Z = torch.func.hessian(outputs)(theta)                     # (7, 3, 24, 24)
    p = torch.softmax(outputs(theta), -1)
    Q = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    G = torch.einsum("nka,nkl,nlb->ab", J, Q, J) / 7
    residual = p - torch.nn.functional.one_hot(y, 3)
    second = torch.einsum("nk,nkab->ab", residual, Z) / 7
    assert torch.allclose(H, G + second, atol=1e-10)
    assert torch.linalg.eigvalsh(G).min() > -1e-10             # positive semidefinite
    assert torch.linalg.eigvalsh(H).min() < -1e-3              # the Hessian is not


def check_so_fisher():
    """Equation (so-fisher): score covariance = J' Q J; the empirical version differs."""
    W1, W2, X = small_network(n=50)
    F, _ = fisher_blocks(W1, W2, X)
    hid, n = np.tanh(X @ W1.T), 50
    p = softmax(hid @ W2.T)
    G = np.zeros_like(F)
    for x, h, pi in zip(X, hid, p):
        J1 = np.kron(x[None, :], W2 * (1 - h**2))              # vec stacks columns
        J2 = np.kron(h[None, :], np.eye(3))
        J = np.hstack([J1, J2])
        G += J.T @ (np.diag(pi) - np.outer(pi, pi)) @ J / n
    assert np.allclose(F, G, atol=1e-12)
    labels = np.random.default_rng(0).integers(0, 3, n)        # not from the model
    dz2 = p - np.eye(3)[labels]
    dz1 = (dz2 @ W2) * (1 - hid**2)
    rows = np.hstack([(X[:, :, None] * dz1[:, None, :]).reshape(n, -1),
                      (hid[:, :, None] * dz2[:, None, :]).reshape(n, -1)])
    assert np.linalg.norm(rows.T @ rows / n - F) > 0.2 * np.linalg.norm(F)


def check_so_kl():
    """Equation (so-kl): KL divergence to second order is the Fisher quadratic form."""
    W1, W2, X = small_network(n=50)
    F, _ = fisher_blocks(W1, W2, X)
    rng = np.random.default_rng(4)
    v = rng.normal(size=21)

    def mean_kl(t):
        d = t * v
        V1 = W1 + d[:12].reshape(4, 3).T
        V2 = W2 + d[12:].reshape(3, 3).T
        p, q = softmax(np.tanh(X @ W1.T) @ W2.T), softmax(np.tanh(X @ V1.T) @ V2.T)
        return np.mean((p * np.log(p / q)).sum(1))

    t = 1e-4
    assert np.isclose(mean_kl(t) / t**2, v @ F @ v / 2, rtol=1e-3)


def check_so_hvp():
    """Equation (so-hvp): the directional derivative of the gradient; CG needs no matrix."""
    X, y = logistic_data()
    rng = np.random.default_rng(5)
    w, v = rng.normal(size=4), rng.normal(size=4)
    _, g, H = logistic(w, X, y)
    t = 1e-5
    numeric = (logistic(w + t * v, X, y)[1] - logistic(w - t * v, X, y)[1]) / (2 * t)
    assert np.allclose(numeric, H @ v, atol=1e-8)
    tX, ty = torch.tensor(X), torch.tensor(y)

    def loss_fn(theta):
        z = tX @ theta
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, ty)
        return loss + 0.005 * theta @ theta

    theta = torch.tensor(w, requires_grad=True)
    hv = hessian_vector_product(loss_fn, theta, torch.tensor(v))
    assert np.allclose(hv.numpy(), H @ v, atol=1e-10)
    for damping in (0.0, 0.3):
        step = newton_cg(loss_fn, theta, damping)
        assert np.allclose(step.numpy(), newton_step(g, H, damping), atol=1e-8)


def check_so_kronecker():
    """Equation (so-kronecker): solving with a Kronecker product, columns stacked."""
    rng = np.random.default_rng(6)
    A, S, G = random_spd(4, rng), random_spd(3, rng), rng.normal(size=(3, 4))
    vec = lambda M: M.T.reshape(-1)
    direct = np.linalg.solve(np.kron(A, S), vec(G))
    assert np.allclose(direct, vec(np.linalg.solve(S, G) @ np.linalg.inv(A)), atol=1e-10)
    assert np.allclose(-direct, vec(kfac_step(G, A, S)), atol=1e-10)
    # One example: the gradient of a linear layer is an outer product, vec = a kron s.
    a, s = rng.normal(size=4), rng.normal(size=3)
    assert np.allclose(vec(np.outer(s, a)), np.kron(a, s))
    assert np.allclose(np.outer(np.kron(a, s), np.kron(a, s)),
                       np.kron(np.outer(a, a), np.outer(s, s)))


def check_so_kfac():
    """Equation (so-kfac): exact if inputs and output gradients are independent."""
    rng = np.random.default_rng(7)
    n = 200_000
    a = rng.normal(size=(n, 2)) @ np.array([[1.0, 0.5], [0.0, 0.8]]) + 0.3
    s = rng.normal(size=(n, 2)) @ np.array([[0.5, -0.4], [0.0, 0.9]])
    rows = (a[:, :, None] * s[:, None, :]).reshape(n, -1)
    F = rows.T @ rows / n
    K = np.kron(a.T @ a / n, s.T @ s / n)
    assert np.abs(F - K).max() < 0.02
    dependent = s * np.linalg.norm(a, axis=1, keepdims=True)
    rows = (a[:, :, None] * dependent[:, None, :]).reshape(n, -1)
    F = rows.T @ rows / n
    K = np.kron(a.T @ a / n, dependent.T @ dependent / n)
    assert np.abs(F - K).max() > 0.3
    # The figure: 21 parameters, and how far the approximations are off.
    F, ((A1, S1), (A2, S2)) = fisher_blocks(*small_network())
    K = np.zeros_like(F)
    K[:12, :12], K[12:, 12:] = np.kron(A1, S1), np.kron(A2, S2)
    assert F.shape == (21, 21) and 21 * 22 // 2 == 231
    assert sum(m * (m + 1) // 2 for m in (4, 3, 3, 3)) == 28
    off = lambda M: np.linalg.norm(M - F) / np.linalg.norm(F)
    assert np.allclose([off(K), off(np.diag(np.diag(F)))], [0.57, 0.85], atol=0.005)


def check_so_shampoo():
    """Equation (so-shampoo): statistics as sums, the update as a Kronecker preconditioner."""
    rng = np.random.default_rng(8)
    grads = rng.normal(size=(6, 3, 4))
    L, R = 1e-3 * np.eye(3), 1e-3 * np.eye(4)
    for G in grads:
        step, L, R = shampoo_step(G, L, R)
    assert np.allclose(L, 1e-3 * np.eye(3) + sum(G @ G.T for G in grads))
    vec = lambda M: M.T.reshape(-1)
    P = np.kron(matrix_power(R, 0.5), matrix_power(L, 0.5))
    direct = -matrix_power(P, -0.5) @ vec(grads[-1])
    assert np.allclose(direct, vec(step), atol=1e-10)
    # Lemma of Gupta et al.: R^{1/2} kron L^{1/2} bounds AdaGrad's full matrix over the rank.
    full = 1e-3 * np.eye(12) + sum(np.outer(vec(G), vec(G)) for G in grads) / 3
    assert np.linalg.eigvalsh(P - full).min() > -1e-10
    assert np.linalg.eigvalsh(P - 3 * full).min() < 0


def check_so_polar():
    """Equation (so-polar): one gradient only, Shampoo gives -U V'."""
    rng = np.random.default_rng(9)
    G = rng.normal(size=(4, 4))
    step, _, _ = shampoo_step(G, np.zeros((4, 4)), np.zeros((4, 4)))
    assert np.allclose(step, -polar(G), atol=1e-8)
    s = np.linalg.svd(step, compute_uv=False)
    assert np.allclose(s, 1, atol=1e-8)


def check_so_spectral():
    """Equation (so-spectral): -U V' minimizes <G, D> over spectral norm at most 1."""
    rng = np.random.default_rng(10)
    G = rng.normal(size=(3, 5))
    best = -np.linalg.svd(G, compute_uv=False).sum()
    assert np.isclose((G * -polar(G)).sum(), best)
    for _ in range(3000):
        D = rng.normal(size=(3, 5))
        D /= np.linalg.norm(D, 2)
        assert (G * D).sum() > best - 1e-12
    # Same Frobenius norm, larger spectral norm: the plain gradient direction.
    assert np.isclose((G * -G / np.linalg.norm(G, 2)).sum(),
                      -(G**2).sum() / np.linalg.norm(G, 2))
    assert -(G**2).sum() / np.linalg.norm(G, 2) > best


def check_so_newton_schulz():
    """Equation (so-newton-schulz): acts on singular values alone; limits of both variants."""
    rng = np.random.default_rng(11)
    G = rng.normal(size=(4, 7))
    U, s, Vt = np.linalg.svd(G, full_matrices=False)
    for coefficients in (COEFFICIENTS, EXACT):
        x = s / np.linalg.norm(s)
        for steps in range(1, 6):
            x = polynomial(x, coefficients)
            X = newton_schulz(G, steps, coefficients)
            assert np.allclose(X, (U * x) @ Vt, atol=1e-10)
            assert np.allclose(newton_schulz(G.T, steps, coefficients), X.T, atol=1e-10)
    assert np.allclose(newton_schulz(G, 15, EXACT), polar(G), atol=1e-10)
    grid = np.linspace(0.01, 1, 2000)
    for _ in range(5):
        grid = polynomial(grid, COEFFICIENTS)
    assert np.allclose([grid.min(), grid.max()], [0.68, 1.13], atol=0.005)
    slope = (polynomial(1e-6, COEFFICIENTS) / 1e-6, polynomial(1e-6, EXACT) / 1e-6)
    assert np.allclose(slope, (3.4445, 1.875), atol=1e-4)
    # More steps of the fast variant do not converge to 1.
    assert np.abs(np.linalg.svd(newton_schulz(G, 60), compute_uv=False) - 1).max() > 0.05


def check_so_muon():
    """Equation (so-muon): NumPy against torch.optim.Muon (bfloat16 inside), and its scale."""
    rng = np.random.default_rng(12)
    for shape in ((6, 4), (4, 6)):
        W = rng.normal(size=shape)
        p = torch.nn.Parameter(torch.tensor(W))
        opt = torch.optim.Muon([p], lr=0.1, momentum=0.95, weight_decay=0.0)
        buffer, w = np.zeros(shape), W.copy()
        scale = np.sqrt(max(1, shape[0] / shape[1]))
        for _ in range(3):
            G = rng.normal(size=shape)
            p.grad = torch.tensor(G)
            opt.step()
            step, buffer = muon_step(G, buffer)
            w = w + 0.1 * scale * step
        difference = np.abs(w - p.detach().numpy()).max()
        assert difference < 0.02, difference
        assert np.abs(w - W).max() > 0.1
    # Gradient scale cancels (without momentum history).
    G = rng.normal(size=(4, 6))
    a, _ = muon_step(G, np.zeros((4, 6)))
    b, _ = muon_step(1000 * G, np.zeros((4, 6)))
    assert np.allclose(a, b, atol=1e-10)


def check_so_overhead():
    """Equation (so-overhead): count of the Newton-Schulz products, by PyTorch's counter."""
    from torch.utils.flop_counter import FlopCounterMode
    for m, n in ((4, 10), (8, 8), (6, 32)):
        X = torch.randn(m, n)
        with FlopCounterMode(display=False) as counter:
            for _ in range(5):
                M = X @ X.T
                X = X + (M + M @ M) @ X
        flops = counter.get_total_flops()
        assert flops == 20 * m**2 * n + 10 * m**3 <= 30 * m**2 * n
        batch = 64
        with FlopCounterMode(display=False) as counter:         # one linear layer
            w = torch.randn(m, n, requires_grad=True)
            x = torch.randn(batch, n, requires_grad=True)
            (x @ w.T).sum().backward()
        assert counter.get_total_flops() == 6 * m * n * batch
        assert flops / (6 * m * n * batch) <= 5 * m / batch


def check_rms_scale():
    """A matrix with all singular values 1 has root mean square 1/sqrt(max(m, n))."""
    rng = np.random.default_rng(13)
    for m, n in ((5, 8), (8, 5), (6, 6)):
        O = polar(rng.normal(size=(m, n)))
        assert np.isclose(np.sqrt((O**2).mean()), 1 / np.sqrt(max(m, n)))


def check_torch_optimizers():
    """The grouping function: hidden matrices to Muon, all else to AdamW, and it trains."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(),
                                torch.nn.Linear(16, 16), torch.nn.Tanh(),
                                torch.nn.Linear(16, 3))
    muon, adamw = make_optimizers(model, head=model[4])
    assert [tuple(p.shape) for p in muon.param_groups[0]["params"]] == [(16, 5), (16, 16)]
    assert sorted(p.numel() for p in adamw.param_groups[0]["params"]) == [3, 16, 16, 48]
    x = torch.randn(64, 5)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        losses.append(loss.item())
        model.zero_grad()
        loss.backward()
        muon.step()
        adamw.step()
    assert losses[-1] < 0.8 * losses[0]
    try:
        torch.optim.Muon([torch.nn.Parameter(torch.zeros(3))])
        raise AssertionError("a vector should be refused")
    except ValueError:
        pass


def check_worked_example():
    """Every number of the worked example."""
    G = EXAMPLE
    U = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    assert np.allclose(np.linalg.svd(G, compute_uv=False), [4, 1])
    assert np.allclose(U @ np.diag([4, 1]) @ U.T, G)
    assert np.allclose(np.linalg.svd(np.sign(G), compute_uv=False), [2, 0])
    L = G @ G.T
    assert np.allclose(L, [[8.5, 7.5], [7.5, 8.5]])
    assert np.allclose(matrix_power(L, -0.25), [[0.75, -0.25], [-0.25, 0.75]])
    step, _, _ = shampoo_step(G, np.zeros((2, 2)), np.zeros((2, 2)))
    assert np.allclose(step, -np.eye(2))
    assert np.allclose(polar(G), np.eye(2))
    s = np.array([4, 1]) / np.sqrt(17)
    assert np.allclose(s, [0.970, 0.243], atol=5e-4)
    table = []
    for _ in range(5):
        s = polynomial(s, COEFFICIENTS)
        table.append(s)
    printed = [[0.728, 0.769], [1.081, 1.024], [0.691, 0.687], [1.125, 1.129], [0.737, 0.743]]
    assert np.allclose(table, printed, atol=6e-4)
    X = newton_schulz(G)
    assert np.allclose(X, 0.74 * np.eye(2), atol=0.005)
    assert np.allclose(np.sort(np.linalg.svd(X, compute_uv=False)), np.sort(s))
    # Decrease of the linear model at equal spectral norm 1.
    assert np.isclose((G * G / 4).sum(), 4.25) and np.isclose((G * np.eye(2)).sum(), 5)
    assert np.isclose((G * np.sign(G) / 2).sum(), 4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
