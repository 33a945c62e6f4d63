"""Twin of the page on autoencoders: losses, penalties, the link to PCA and the ideal denoiser."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def encode(x, w, b):
    """Sigmoid codes h (N, k) of the inputs x (N, d); w is (k, d), b is (k,)."""
    return 1.0 / (1.0 + np.exp(-(x @ w.T + b)))


def decode(h, v, c):
    """Linear reconstructions (N, d) of the codes h (N, k); v is (d, k), c is (d,)."""
    return h @ v.T + c


def autoencoder_loss(x, w, b, v, c, noise=0.0, l1=0.0, contractive=0.0):
    """Mean loss per example (a float): reconstruction error plus penalties.

    noise is added to the encoder's input only (an array like x, or 0): the target
    stays clean. l1 weighs the sum of the codes, contractive the squared Frobenius
    norm of the encoder's Jacobian (Rifai et al., 2011, for sigmoid codes).
    """
    h = encode(x + noise, w, b)
    error = ((x - decode(h, v, c)) ** 2).sum(axis=1)
    sparsity = np.abs(h).sum(axis=1)
    jacobian = (h * (1 - h)) ** 2 @ (w**2).sum(axis=1)
    return float((error + l1 * sparsity + contractive * jacobian).mean())


def pca_autoencoder(x, k):
    """Best linear encoder (k, d) and decoder (d, k) for the centered data x (N, d)."""
    _, _, vt = np.linalg.svd(x, full_matrices=False)
    return vt[:k], vt[:k].T


def ideal_denoiser(noisy, data, s):
    """Posterior mean of the clean point, if it is one of data (N, d), equally likely.

    noisy (M, d) is a clean point plus normal noise of standard deviation s.
    """
    sq = ((noisy[:, None, :] - data[None, :, :]) ** 2).sum(axis=2)
    logit = -sq / (2 * s**2)
    w = np.exp(logit - logit.max(axis=1, keepdims=True))
    return (w / w.sum(axis=1, keepdims=True)) @ data
# --8<-- [end:numpy]


# --8<-- [start:torch]
class Autoencoder(torch.nn.Module):
    """One hidden layer of sigmoid codes and a linear decoder."""

    def __init__(self, d, k):
        super().__init__()
        self.encoder = torch.nn.Linear(d, k)
        self.decoder = torch.nn.Linear(k, d)

    def forward(self, x):
        h = torch.sigmoid(self.encoder(x))
        return h, self.decoder(h)


def autoencoder_loss_torch(model, x, noise=0.0, l1=0.0, contractive=0.0):
    """The same loss; the Jacobian comes from automatic differentiation."""
    h, x_hat = model(x + noise)
    loss = ((x - x_hat) ** 2).sum(dim=1) + l1 * h.abs().sum(dim=1)
    if contractive > 0:
        def code(row):
            return torch.sigmoid(model.encoder(row))

        jac = torch.func.vmap(torch.func.jacrev(code))(x + noise)
        loss = loss + contractive * (jac**2).sum(dim=(1, 2))
    return loss.mean()
# --8<-- [end:torch]


# The worked example: four centered points in the plane.
POINTS = np.array([[2.0, 1.0], [1.0, 2.0], [-2.0, -1.0], [-1.0, -2.0]])


def _curve(n=240, noise=0.06, seed=0):
    """Noisy points (n, 2) near an arc, centered."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-2.2, 2.2, n)
    x = np.stack([1.3 * np.sin(t), np.cos(t)], axis=1)
    x = x + noise * rng.standard_normal(x.shape)
    return x - x.mean(axis=0)


def _train_curve(x, steps=700, hidden=24, seed=1):
    """A deep autoencoder with one code unit, trained on x; returns reconstructions."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    data = torch.tensor(x, dtype=torch.float32)
    net = torch.nn.Sequential(
        torch.nn.Linear(2, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1),
        torch.nn.Linear(1, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 2),
    )
    opt = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(steps):
        opt.zero_grad()
        ((net(data) - data) ** 2).sum(dim=1).mean().backward()
        opt.step()
    with torch.no_grad():
        return net(data).numpy().astype(float)


def figure_curve():
    """PCA projects to a line; a nonlinear autoencoder with one code unit follows the arc."""
    x = _curve()
    enc, dec = pca_autoencoder(x, 1)
    flat, bent = x @ enc.T @ dec.T, _train_curve(x)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.0), sharex=True, sharey=True)
    for ax, rec, name in ((axes[0], flat, "linear (PCA)"), (axes[1], bent, "nonlinear")):
        for a, b in zip(x[::4], rec[::4]):
            ax.plot(*zip(a, b), color="#555555", lw=0.6, zorder=1)
        ax.scatter(*x.T, s=7, color="C0", zorder=2, label="data")
        ax.scatter(*rec.T, s=14, color="C1", marker="x", linewidth=0.9, zorder=3,
                   label=f"reconstruction, {name}")
        ax.set_xlabel("input component 1")
        ax.set_ylim(-1.6, 1.75)
        ax.legend(fontsize=9, loc="upper center", handletextpad=0.2)
    axes[0].set_ylabel("input component 2")
    return fig


def figure_denoising():
    """The displacement of the ideal denoiser: arrows point to the data."""
    data = _curve(400, noise=0.03, seed=2)
    gx, gy = np.meshgrid(np.linspace(-1.9, 1.9, 19), np.linspace(-1.6, 1.3, 15))
    grid = np.stack([gx.ravel(), gy.ravel()], axis=1)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9), sharex=True, sharey=True)
    for ax, s in zip(axes, (0.2, 0.7)):
        step = ideal_denoiser(grid, data, s) - grid
        ax.scatter(*data.T, s=3, color="C1")
        ax.quiver(*grid.T, *step.T, color="#222222", angles="xy", scale_units="xy",
                  scale=2.2, width=0.004)
        ax.set_xlabel(f"component 1 (noise level {s})")
    axes[0].set_ylabel("component 2")
    return fig


def _weights(k=5, d=4, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 0.7, (k, d)), rng.normal(0, 0.3, k),
            rng.normal(0, 0.7, (d, k)), rng.normal(0, 0.3, d))


def _data(n=300, d=5, seed=0):
    """Centered data with distinct covariance eigenvalues."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * np.linspace(2.0, 0.3, d)
    x = x @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    return x - x.mean(axis=0)


def check_ae_reconstruction():
    """Equation (ae-reconstruction): the code against a loop over examples."""
    x = np.random.default_rng(1).standard_normal((7, 4))
    w, b, v, c = _weights()
    total = 0.0
    for row in x:
        h = 1 / (1 + np.exp(-(w @ row + b)))
        total += np.sum((row - (v @ h + c)) ** 2)
    assert np.isclose(autoencoder_loss(x, w, b, v, c), total / 7, rtol=1e-12)


def check_ae_penalties():
    """Equation (ae-penalties): noise enters the encoder only; penalties add up."""
    rng = np.random.default_rng(2)
    x, noise = rng.standard_normal((2, 6, 4))
    w, b, v, c = _weights()
    h = encode(x + noise, w, b)
    plain = autoencoder_loss(x, w, b, v, c, noise=noise)
    assert np.isclose(plain, ((x - decode(h, v, c)) ** 2).sum(axis=1).mean())
    assert not np.isclose(plain, autoencoder_loss(x + noise, w, b, v, c), rtol=1e-3)
    both = autoencoder_loss(x, w, b, v, c, noise=noise, l1=0.3)
    assert np.isclose(both - plain, 0.3 * h.sum(axis=1).mean())


def check_ae_contractive():
    """Equation (ae-contractive): closed form against finite differences."""
    x = np.random.default_rng(3).standard_normal((3, 4))
    w, b, v, c = _weights()
    eps, total = 1e-6, 0.0
    for i in range(4):
        step = np.zeros(4)
        step[i] = eps
        total += (((encode(x + step, w, b) - encode(x - step, w, b)) / (2 * eps)) ** 2).sum()
    closed = autoencoder_loss(x, w, b, v, c, contractive=1.0) - autoencoder_loss(x, w, b, v, c)
    assert np.isclose(closed, total / 3, rtol=1e-7)


def check_ae_pca_minimum():
    """Equation (ae-pca-minimum): the discarded eigenvalues, and nothing linear does better."""
    x = _data()
    lam = np.sort(np.linalg.eigvalsh(x.T @ x / len(x)))[::-1]
    rng = np.random.default_rng(4)
    for k in range(1, 5):
        enc, dec = pca_autoencoder(x, k)
        best = ((x - x @ enc.T @ dec.T) ** 2).sum(axis=1).mean()
        assert np.isclose(best, lam[k:].sum())
        for _ in range(50):          # other encoders, each with its own best decoder
            h = x @ (enc + 0.1 * rng.standard_normal(enc.shape)).T
            dec_h = np.linalg.lstsq(h, x, rcond=None)[0]
            assert ((x - h @ dec_h) ** 2).sum(axis=1).mean() > best
            # A nonlinear encoder does not help as long as the decoder is linear.
            h = np.tanh(np.tanh(x @ rng.standard_normal((5, 8))) @ rng.standard_normal((8, k)))
            h = np.hstack([h, np.ones((len(x), 1))])
            dec_h = np.linalg.lstsq(h, x, rcond=None)[0]
            assert ((x - h @ dec_h) ** 2).sum(axis=1).mean() > best
    # Gradient descent from random weights reaches the same value (no bad minima).
    a, b = rng.normal(0, 0.3, (2, 5)), rng.normal(0, 0.3, (5, 2))
    for _ in range(3000):
        r = x @ a.T @ b.T - x
        ga, gb = 2 * b.T @ r.T @ x / len(x), 2 * r.T @ (x @ a.T) / len(x)
        a, b = a - 0.02 * ga, b - 0.02 * gb
    assert np.isclose(((x - x @ a.T @ b.T) ** 2).sum(axis=1).mean(), lam[2:].sum(), rtol=1e-5)
    # ... with the principal subspace, but not with the principal components as rows.
    p = pca_autoencoder(x, 2)[0]
    assert np.allclose(b @ a, p.T @ p, atol=1e-2)
    assert np.abs(np.abs(a / np.linalg.norm(a, axis=1, keepdims=True)) - np.abs(p)).max() > 0.05


def check_ae_gauge():
    """Equation (ae-gauge): an invertible change of the code leaves reconstructions alone."""
    x = _data()
    enc, dec = pca_autoencoder(x, 3)
    a = np.random.default_rng(5).standard_normal((3, 3))
    other_enc, other_dec = a @ enc, dec @ np.linalg.inv(a)
    assert np.allclose(x @ enc.T @ dec.T, x @ other_enc.T @ other_dec.T, atol=1e-10)
    assert not np.allclose(x @ enc.T, x @ other_enc.T, atol=0.1)


def check_ae_noise_penalty():
    """Equation (ae-noise-penalty): both sides by sampling; the minimizer shrinks."""
    x, s = _data(), 0.8
    rng = np.random.default_rng(6)
    r = rng.normal(0, 0.4, (5, 5))
    clean = ((x - x @ r.T) ** 2).sum(axis=1).mean()
    draws = [((x - (x + s * rng.standard_normal(x.shape)) @ r.T) ** 2).sum(axis=1).mean()
             for _ in range(400)]
    assert np.isclose(np.mean(draws), clean + s**2 * (r**2).sum(), rtol=5e-3)
    cov = x.T @ x / len(x)
    best = cov @ np.linalg.inv(cov + s**2 * np.eye(5))
    lam, u = np.linalg.eigh(cov)
    assert np.allclose(u.T @ best @ u, np.diag(lam / (lam + s**2)), atol=1e-10)

    def objective(m):
        return ((x - x @ m.T) ** 2).sum(axis=1).mean() + s**2 * (m**2).sum()

    for _ in range(50):
        assert objective(best + 0.05 * rng.standard_normal((5, 5))) > objective(best)


def check_ae_tweedie():
    """Equation (ae-tweedie): posterior mean against the score by finite differences."""
    data, s, eps = _curve(40, seed=7), 0.4, 1e-5
    noisy = np.random.default_rng(8).normal(0, 1, (20, 2))

    def log_density(z):
        sq = ((z[:, None, :] - data[None]) ** 2).sum(axis=2)
        return np.log(np.exp(-sq / (2 * s**2)).mean(axis=1) / (2 * np.pi * s**2))

    score = np.stack([(log_density(noisy + eps * e) - log_density(noisy - eps * e)) / (2 * eps)
                      for e in np.eye(2)], axis=1)
    assert np.allclose(ideal_denoiser(noisy, data, s), noisy + s**2 * score, atol=1e-7)


def check_ideal_denoiser_is_optimal():
    """By sampling: no perturbed denoiser has a lower denoising error."""
    rng = np.random.default_rng(9)
    data, s = _curve(40, seed=7), 0.4
    clean = data[rng.integers(0, 40, 20_000)]
    noisy = clean + s * rng.standard_normal(clean.shape)
    r = ideal_denoiser(noisy, data, s)
    best = ((clean - r) ** 2).sum(axis=1).mean()
    for other in (0.95 * r, noisy, ideal_denoiser(noisy, data, 0.3), r + 0.05):
        assert ((clean - other) ** 2).sum(axis=1).mean() > best + 1e-3


def check_nonlinear_beats_pca():
    """The figure: PCA's error is 0.28; the trained network with one code unit is below 0.02."""
    x = _curve()
    enc, dec = pca_autoencoder(x, 1)
    flat = ((x - x @ enc.T @ dec.T) ** 2).sum(axis=1).mean()
    bent = ((x - _train_curve(x)) ** 2).sum(axis=1).mean()
    assert np.isclose(flat, 0.28, atol=0.005) and bent < 0.02


def check_bce_floor():
    """Binary cross-entropy of a perfect reconstruction is not zero for gray targets."""
    t = torch.tensor([0.0, 0.3, 0.5, 1.0], dtype=torch.float64)
    per_pixel = torch.nn.functional.binary_cross_entropy(t, t, reduction="none")
    assert torch.allclose(per_pixel[[0, 3]], torch.zeros(2, dtype=torch.float64))
    assert abs(per_pixel[2].item() - np.log(2)) < 1e-12 and per_pixel[1] > 0.6


def check_numpy_vs_torch():
    """Both losses agree to 1e-12 in float64, with noise and each penalty."""
    rng = np.random.default_rng(10)
    x, noise = rng.standard_normal((2, 6, 4))
    w, b, v, c = _weights()
    model = Autoencoder(4, 5).double()
    with torch.no_grad():
        for p, a in zip(model.parameters(), (w, b, v, c)):
            p.copy_(torch.from_numpy(a))
    tx, tn = torch.from_numpy(x), torch.from_numpy(noise)
    for kw in ({}, {"l1": 0.2}, {"contractive": 0.3}, {"l1": 0.2, "contractive": 0.3}):
        ours = autoencoder_loss(x, w, b, v, c, noise=noise, **kw)
        theirs = autoencoder_loss_torch(model, tx, tn, **kw).item()
        assert abs(ours - theirs) < 1e-12


def check_worked_example():
    """Every number of the worked example."""
    cov = POINTS.T @ POINTS / 4
    assert np.allclose(cov, [[2.5, 2.0], [2.0, 2.5]]) and np.allclose(POINTS.sum(axis=0), 0)
    lam, u = np.linalg.eigh(cov)
    assert np.allclose(lam, [0.5, 4.5])
    enc, dec = pca_autoencoder(POINTS, 1)
    rec = POINTS @ enc.T @ dec.T
    assert np.allclose(np.abs(POINTS[0] @ enc.T), 2.121, atol=5e-4)
    assert np.allclose(rec[0], [1.5, 1.5])
    assert np.allclose(((POINTS - rec) ** 2).sum(axis=1), 0.5)
    assert np.allclose(POINTS @ np.array([[0.5], [0.5]]) @ np.array([[1.0, 1.0]]), rec)
    shrink = cov @ np.linalg.inv(cov + 0.5 * np.eye(2))
    assert np.allclose(np.linalg.eigvalsh(shrink), [0.5, 0.9])
    assert np.allclose(shrink @ POINTS[0], [1.6, 1.1])
    w = np.array([[1.0, 1.0]])
    for x, h, pen in (([1.0, -1.0], 0.5, 0.125), ([2.0, 1.0], 0.953, 0.0041)):
        code = encode(np.array([x]), w, np.zeros(1))
        assert np.isclose(code[0, 0], h, atol=5e-4)
        assert np.isclose(((code * (1 - code)) ** 2).item() * 2, pen, atol=5e-5)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
