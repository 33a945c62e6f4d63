"""Twin of the page on GAN training problems: divergences, dynamics, penalties, norms."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def dirac_step(theta, psi, lr, gamma=0.0, alternating=False):
    """One training step of the Dirac-GAN (Mescheder et al., 2018), minimax losses.

    The data are the point 0, the generator makes the point theta, the logit of D
    is psi * x. gamma weighs the R1 penalty gamma / 2 * psi**2. Returns theta, psi.
    """
    def slope(psi):
        return 1.0 / (1.0 + np.exp(-psi * theta))        # sigmoid of the fake's logit

    new_psi = psi - lr * (theta * slope(psi) + gamma * psi)
    used = new_psi if alternating else psi               # what the generator sees
    return theta + lr * used * slope(used), new_psi


def wasserstein_1d(x, y):
    """Wasserstein-1 distance of two samples (n,) on a line: match them in order."""
    return np.abs(np.sort(x) - np.sort(y)).mean()


def spectral_norm(w, steps=100, seed=0):
    """Largest singular value of w (m, n) by power iteration."""
    v = np.random.default_rng(seed).standard_normal(w.shape[1])
    for _ in range(steps):
        u = w @ v
        u /= np.linalg.norm(u)
        v = w.T @ u
        v /= np.linalg.norm(v)
    return float(u @ w @ v)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def gradient_penalty(critic, real, fake):
    """WGAN-GP: squared deviation of the gradient norm from 1, between the samples.

    real and fake are (B, d) and detached; multiply the result by 10.
    """
    mix = torch.rand(len(real), 1, dtype=real.dtype)
    x = (mix * real + (1 - mix) * fake).requires_grad_(True)
    grad, = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return ((grad.norm(dim=1) - 1) ** 2).mean()


def r1_penalty(disc, real):
    """R1: squared gradient norm of the logit at real samples; multiply by gamma / 2."""
    x = real.detach().requires_grad_(True)
    grad, = torch.autograd.grad(disc(x).sum(), x, create_graph=True)
    return (grad**2).sum(dim=1).mean()


def wgan_gp_losses(critic, real, fake, weight=10.0):
    """Losses of the critic and of the generator; the critic has no sigmoid."""
    frozen = fake.detach()
    critic_loss = (critic(frozen).mean() - critic(real).mean()
                   + weight * gradient_penalty(critic, real, frozen))
    return critic_loss, -critic(fake).mean()
# --8<-- [end:torch]


def _path(steps, lr=0.2, start=(1.0, 0.0), **kw):
    """Points (steps + 1, 2) of the Dirac-GAN."""
    out = [start]
    for _ in range(steps):
        out.append(dirac_step(*out[-1], lr, **kw))
    return np.array(out)


def _kl(p, q):
    keep = p > 0
    return (p[keep] * np.log(p[keep] / q[keep])).sum()


def _jsd(p, q):
    m = 0.5 * (p + q)
    return 0.5 * _kl(p, m) + 0.5 * _kl(q, m)


def _shift_jsd(a):
    """Jensen-Shannon divergence of the uniform densities on [0, 1] and [a, 1 + a]."""
    return np.minimum(np.abs(a), 1.0) * np.log(2)


def _fits():
    """Normal fits (mean, std) to a two-mode density by three divergences, on a grid."""
    x = np.linspace(-8, 8, 801)

    def normal(mean, std):
        p = np.exp(-0.5 * ((x - mean) / std) ** 2) + 1e-300
        return p / p.sum()

    p = 0.6 * normal(2.0, 0.7) + 0.4 * normal(-2.0, 0.7)
    best = {}
    for name, div in (("KL(data, model)", lambda q: _kl(p, q)),
                      ("KL(model, data)", lambda q: _kl(q, p)),
                      ("JSD", lambda q: _jsd(p, q))):
        grid = [(m, s) for m in np.linspace(-3, 3, 61) for s in np.linspace(0.4, 3, 53)]
        best[name] = min(grid, key=lambda ms: div(normal(*ms)))
    return x, p, normal, best


def figure_dirac():
    """Three ways to train the Dirac-GAN."""
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.7), sharex=True, sharey=True)
    runs = (("simultaneous", {}, "C1", "o"), ("alternating", {"alternating": True}, "C0", "s"),
            ("alternating + R1", {"alternating": True, "gamma": 0.4}, "C2", "^"))
    for ax, (name, kw, color, marker) in zip(axes, runs):
        path = _path(120, **kw)
        ax.plot(*path.T, color=color, marker=marker, ms=2.5, lw=0.8)
        ax.plot(*path[0], marker="o", ms=7, mfc="none", color="#222222")
        ax.plot(0, 0, marker="*", ms=11, color="#222222")
        ax.set_xlabel(f"generator\n({name})")
        ax.set_aspect("equal")
    axes[0].set_ylabel("discriminator")
    return fig


def figure_shift():
    """Jensen-Shannon divergence and Wasserstein distance of two shifted uniform densities."""
    a = np.linspace(-3, 3, 241)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.6))
    axes[0].plot(a, _shift_jsd(a), color="C1", ls="--")
    axes[0].set_ylabel("Jensen-Shannon divergence")
    axes[0].set_ylim(0, 0.8)
    axes[1].plot(a, np.abs(a), color="C0")
    axes[1].set_ylabel("Wasserstein-1 distance")
    axes[1].set_ylim(0, None)
    for ax in axes:
        ax.set_xlabel("shift of the generator's interval")
    return fig


def figure_fits():
    """A normal density fitted to two modes by three divergences."""
    x, p, normal, best = _fits()
    fig, ax = plt.subplots(figsize=(6.4, 2.8))
    step = x[1] - x[0]
    ax.fill_between(x, p / step, color="#555555", alpha=0.25, label="data")
    for (name, ms), color, ls in zip(best.items(), ("C0", "C1", "C2"), ("-", "--", ":")):
        ax.plot(x, normal(*ms) / step, color=color, ls=ls, label=f"fit by {name}")
    ax.set_xlim(-6, 6)
    ax.set_ylim(0, None)
    ax.set_xlabel("x")
    ax.set_ylabel("density")
    ax.legend(fontsize=9, loc="upper left")
    return fig


def check_gantp_shift():
    """Equation (gantp-shift): both formulas on a fine grid; the divergence goes flat."""
    n = 400                                              # cells per unit length
    base = np.zeros(6 * n)
    base[2 * n:3 * n] = 1 / n
    for cells in (0, 60, 200, 400, 700):
        moved = np.roll(base, cells)
        a = cells / n
        assert np.isclose(_jsd(base, moved), _shift_jsd(a))
        cdf_gap = np.abs(np.cumsum(base) - np.cumsum(moved)).sum() / n
        assert np.isclose(cdf_gap, a)
    x = np.random.default_rng(0).uniform(0, 1, 500)
    assert np.isclose(wasserstein_1d(x, x + 0.8), 0.8)
    assert np.isclose(wasserstein_1d(x, x[::-1]), 0)


def check_gantp_wasserstein():
    """Equation (gantp-wasserstein): no 1-Lipschitz critic exceeds W1, and one attains it."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 1, 300), rng.normal(0.5, 2, 300)
    w1 = wasserstein_1d(x, y)
    knots = np.sort(np.concatenate([x, y]))
    mid = 0.5 * (knots[1:] + knots[:-1])
    f_x = (x[:, None] <= mid).mean(axis=0)
    f_y = (y[:, None] <= mid).mean(axis=0)
    slopes = np.sign(f_y - f_x)                          # +1 where data lie further right

    def critic(slopes, at):
        values = np.concatenate([[0], np.cumsum(slopes * np.diff(knots))])
        return np.interp(at, knots, values)

    assert np.isclose(critic(slopes, x).mean() - critic(slopes, y).mean(), w1)
    for _ in range(100):
        other = rng.uniform(-1, 1, len(slopes))
        assert critic(other, x).mean() - critic(other, y).mean() < w1


def check_gantp_penalties():
    """Equation (gantp-penalties): both penalties for a critic with a known gradient."""
    torch.manual_seed(0)
    w = torch.tensor([0.6, 1.2], dtype=torch.float64)
    real, fake = torch.randn(2, 50, 2, dtype=torch.float64)

    def linear(x):
        return (x @ w).unsqueeze(1)

    assert np.isclose(gradient_penalty(linear, real, fake).item(), (w.norm().item() - 1) ** 2)
    assert np.isclose(r1_penalty(linear, real).item(), (w**2).sum().item())
    a = torch.randn(2, 2, dtype=torch.float64)
    a = a + a.T

    def quadratic(x):                                    # gradient a x
        return (0.5 * (x @ a) * x).sum(dim=1, keepdim=True)

    assert np.isclose(r1_penalty(quadratic, real).item(), ((real @ a) ** 2).sum(1).mean().item())
    torch.manual_seed(1)
    got = gradient_penalty(quadratic, real, fake).item()
    torch.manual_seed(1)
    mix = torch.rand(50, 1, dtype=torch.float64)
    at = mix * real + (1 - mix) * fake
    assert np.isclose(got, (((at @ a).norm(dim=1) - 1) ** 2).mean().item())


def check_gantp_lipschitz():
    """Equation (gantp-lipschitz): input gradients of a network against the product of norms."""
    torch.manual_seed(2)
    layers = [torch.nn.Linear(5, 16), torch.nn.LeakyReLU(0.2), torch.nn.Linear(16, 16),
              torch.nn.ReLU(), torch.nn.Linear(16, 1)]
    net = torch.nn.Sequential(*layers).double()
    bound = np.prod([spectral_norm(m.weight.detach().numpy())
                     for m in net if isinstance(m, torch.nn.Linear)])
    x = torch.randn(500, 5, dtype=torch.float64, requires_grad=True)
    grad, = torch.autograd.grad(net(x).sum(), x)
    largest = grad.norm(dim=1).max().item()
    assert 0 < largest <= bound
    for m in net:                                        # normalize each layer: bound 1
        if isinstance(m, torch.nn.Linear):
            m.weight.data /= spectral_norm(m.weight.detach().numpy())
    grad, = torch.autograd.grad(net(x).sum(), x)
    assert 0 < grad.norm(dim=1).max().item() <= 1 + 1e-9


def check_gantp_non_saturating():
    """Equation (gantp-non-saturating): gradients by autograd, with D* held fixed."""
    torch.manual_seed(3)
    p = torch.softmax(torch.randn(6, dtype=torch.float64), dim=0)
    par = torch.randn(6, dtype=torch.float64, requires_grad=True)
    q = torch.softmax(par, dim=0)
    best = (p / (p + q)).detach()
    lhs, = torch.autograd.grad(-(q * best.log()).sum(), par, retain_graph=True)
    m = 0.5 * (p + q)
    kl = (q * (q / p).log()).sum()
    jsd = 0.5 * (p * (p / m).log()).sum() + 0.5 * (q * (q / m).log()).sum()
    rhs, = torch.autograd.grad(kl - 2 * jsd, par, retain_graph=True)
    assert torch.allclose(lhs, rhs, atol=1e-12) and lhs.abs().max() > 0.01
    minimax, = torch.autograd.grad((q * (1 - best).log()).sum(), par, retain_graph=True)
    twice, = torch.autograd.grad(2 * jsd, par)
    assert torch.allclose(minimax, twice, atol=1e-12)


def check_gantp_dirac_step():
    """Equation (gantp-dirac-step): the NumPy step against autograd on the value."""
    for gamma in (0.0, 0.7):
        theta = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
        psi = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
        log_sig = torch.nn.functional.logsigmoid
        v = log_sig(psi * 0) + log_sig(-psi * theta)     # real logit 0, fake logit psi theta
        g_theta, = torch.autograd.grad(v, theta, retain_graph=True)
        g_psi, = torch.autograd.grad(v - 0.5 * gamma * psi**2, psi)
        new = dirac_step(0.8, -0.5, 0.3, gamma)
        assert np.allclose(new, [(theta - 0.3 * g_theta).item(), (psi + 0.3 * g_psi).item()],
                           atol=1e-12)


def check_gantp_dirac_growth():
    """Equation (gantp-dirac-growth): the exact factor, at every point and rate."""
    rng = np.random.default_rng(4)
    for _ in range(100):
        theta, psi = rng.normal(0, 2, 2)
        lr = rng.uniform(0.01, 2)
        new = np.array(dirac_step(theta, psi, lr))
        sig = 1 / (1 + np.exp(-psi * theta))
        assert np.isclose((new**2).sum(), (1 + lr**2 * sig**2) * (theta**2 + psi**2))


def check_gantp_dirac_eigenvalues():
    """Equation (gantp-dirac-eigenvalues): Jacobian of the dynamics by finite differences."""
    h = 1e-6
    for gamma in (0.0, 0.4, 1.0, 2.0):
        def field(point, gamma=gamma):
            return (np.array(dirac_step(*point, 1.0, gamma)) - point)

        jac = np.stack([(field(h * e) - field(-h * e)) / (2 * h) for e in np.eye(2)], axis=1)
        got = np.sort_complex(np.linalg.eigvals(jac).astype(complex))
        root = np.sqrt(complex(gamma**2 / 4 - 0.25))
        want = np.sort_complex(np.array([-gamma / 2 + root, -gamma / 2 - root]))
        assert np.allclose(got, want, atol=1e-4)
        assert (got.real.max() < -1e-3) == (gamma > 0)


def check_dirac_runs():
    """The figure: simultaneous steps leave, alternating steps circle, R1 converges."""
    radius = [np.hypot(*_path(120, **kw).T) for kw in
              ({}, {"alternating": True}, {"alternating": True, "gamma": 0.4})]
    assert radius[0][-1] > 1.5
    assert 0.8 < radius[1].min() and radius[1].max() < 1.25
    assert radius[2][-1] < 0.05


def check_gantp_best_response():
    """Equation (gantp-best-response): spread generators score below the best single point."""
    rng = np.random.default_rng(5)
    x = np.linspace(-4, 4, 401)
    s = np.sin(2 * x) - 0.1 * x**2                       # some fixed logit with several modes
    for _ in range(100):
        assert rng.dirichlet(np.ones(401)) @ s < s.max()
    # A trained affine generator facing this fixed D ends with almost no spread.
    torch.manual_seed(0)
    mean, std = torch.tensor(0.0, requires_grad=True), torch.tensor(0.7, requires_grad=True)
    opt = torch.optim.Adam([mean, std], lr=0.05)
    for _ in range(400):
        z = mean + std * torch.randn(256)
        loss = torch.nn.functional.softplus(-(torch.sin(2 * z) - 0.1 * z**2)).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
    assert abs(std.item()) < 0.1 and abs(mean.item() - x[s.argmax()]) < 0.15


def check_fits():
    """The figure: forward KL and JSD cover both modes, reverse KL takes one."""
    x, p, _, best = _fits()
    mean = (p * x).sum()
    std = np.sqrt((p * (x - mean) ** 2).sum())
    assert np.allclose(best["KL(data, model)"], [mean, std], atol=0.06)
    assert np.allclose(best["KL(model, data)"], [2.0, 0.7], atol=0.15)
    assert np.allclose(best["JSD"], best["KL(data, model)"], atol=0.11)


def check_numpy_vs_torch():
    """Spectral norms agree to 1e-9; the WGAN-GP losses match a hand computation."""
    w = np.random.default_rng(6).standard_normal((7, 4))
    exact = torch.linalg.matrix_norm(torch.from_numpy(w), 2).item()
    assert abs(spectral_norm(w, steps=500) - exact) < 1e-9
    torch.manual_seed(0)
    weight = torch.tensor([0.6, 1.2], dtype=torch.float64)
    real, fake = torch.randn(2, 40, 2, dtype=torch.float64)
    c, g = wgan_gp_losses(lambda x: x @ weight[:, None], real, fake)
    gap = ((fake - real) @ weight).mean().item()
    assert np.isclose(c.item(), gap + 10 * (np.hypot(0.6, 1.2) - 1) ** 2)
    assert np.isclose(g.item(), -(fake @ weight).mean().item())


def check_worked_example():
    """Every number of the worked example."""
    first = dirac_step(1.0, 0.0, 0.5)
    assert np.allclose(first, [1.0, -0.25])
    second = dirac_step(*first, 0.5)
    assert np.allclose(second, [0.945, -0.469], atol=5e-4)
    assert np.isclose(1 / (1 + np.exp(0.25)), 0.438, atol=5e-4)
    radii = [np.hypot(1, 0), np.hypot(*first), np.hypot(*second)]
    assert np.allclose(radii, [1, 1.031, 1.055], atol=6e-4)
    with_r1 = dirac_step(*first, 0.5, gamma=1.0)
    assert np.allclose(with_r1, [0.945, -0.344], atol=5e-4)
    assert np.isclose(np.hypot(*with_r1), 1.006, atol=6e-4)
    p, q = np.array([0.5, 0.5, 0, 0]), np.array([0, 0, 0.5, 0.5])
    near = np.array([0, 0.5, 0.5, 0])
    assert np.isclose(_jsd(p, q), np.log(2)) and np.isclose(_jsd(p, near), 0.347, atol=5e-4)
    assert wasserstein_1d(np.array([0, 1]), np.array([2, 3])) == 2
    assert wasserstein_1d(np.array([0, 1]), np.array([1, 2])) == 1
    norm = np.hypot(0.6, 1.2)
    assert np.isclose(norm, 1.342, atol=5e-4)
    assert np.isclose(10 * (norm - 1) ** 2, 1.167, atol=5e-4)
    w = np.array([[3.0, 0.0], [4.0, 5.0]])
    assert np.isclose(spectral_norm(w), np.sqrt(45)) and np.isclose(np.sqrt(45), 6.708, atol=5e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
