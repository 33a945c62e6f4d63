"""Twin of the page on variational autoencoders: the bound, its gradient, blur and collapse."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def gaussian_kl(mu, log_var):
    """KL(N(mu, diag(exp(log_var))) || N(0, I)) per example; mu, log_var are (N, k)."""
    return 0.5 * (mu**2 + np.exp(log_var) - log_var - 1.0).sum(axis=1)


def reparameterize(mu, log_var, eps):
    """Samples z (N, k) of the encoder's Gaussians from standard normal eps (N, k)."""
    return mu + np.exp(0.5 * log_var) * eps


def negative_elbo(x, x_hat, mu, log_var, s2=1.0, beta=1.0):
    """Mean negative ELBO (a float) for a Gaussian decoder N(x_hat, s2 * I).

    x, x_hat: (N, d). Errors are summed over the d components, not averaged;
    only the mean over the N examples is taken. beta = 1 gives the bound itself.
    """
    d = x.shape[1]
    sq = ((x - x_hat) ** 2).sum(axis=1)
    nll = 0.5 * sq / s2 + 0.5 * d * np.log(2 * np.pi * s2)
    return float((nll + beta * gaussian_kl(mu, log_var)).mean())
# --8<-- [end:numpy]


# --8<-- [start:torch]
class VAE(torch.nn.Module):
    """Gaussian encoder and decoder with one hidden layer each; k latent variables."""

    def __init__(self, d, k, hidden=64):
        super().__init__()
        self.encoder = torch.nn.Sequential(
            torch.nn.Linear(d, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 2 * k)
        )
        self.decoder = torch.nn.Sequential(
            torch.nn.Linear(k, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, d)
        )

    def forward(self, x, eps=None):
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        if eps is None:
            eps = torch.randn_like(mu)
        z = mu + torch.exp(0.5 * log_var) * eps      # gradients reach mu and log_var
        return self.decoder(z), mu, log_var


def negative_elbo_torch(x, x_hat, mu, log_var, s2=1.0, beta=1.0):
    """The same loss from PyTorch's distributions."""
    p = torch.distributions.Normal(x_hat, s2**0.5)
    q = torch.distributions.Normal(mu, torch.exp(0.5 * log_var))
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    kl = torch.distributions.kl_divergence(q, prior).sum(dim=1)
    return (-p.log_prob(x).sum(dim=1) + beta * kl).mean()
# --8<-- [end:torch]


def _blobs(n=600, side=8, seed=0):
    """Images (n, side * side) of one soft dot at a random place: two factors."""
    rng = np.random.default_rng(seed)
    at = rng.uniform(1.5, side - 2.5, (n, 2))
    g = np.arange(side)
    rows = np.exp(-((g[None, :] - at[:, :1]) ** 2) / 3.0)
    cols = np.exp(-((g[None, :] - at[:, 1:]) ** 2) / 3.0)
    return (rows[:, :, None] * cols[:, None, :]).reshape(n, -1)


def _train(x, variational, steps=700, s2=0.01, seed=1):
    """Train a VAE, or the same network as a plain autoencoder (no noise, no KL term)."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    data = torch.tensor(x, dtype=torch.float32)
    net = VAE(x.shape[1], 2)
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(steps):
        batch = data[torch.randint(len(data), (128,))]
        if variational:
            loss = negative_elbo_torch(batch, *net(batch), s2=s2)
        else:
            mu = net.encoder(batch)[:, :2]
            loss = ((batch - net.decoder(mu)) ** 2).sum(dim=1).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        mu, log_var = net.encoder(data).chunk(2, dim=1)
        codes = mu
        if variational:
            codes = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        return codes.numpy()


def figure_latent():
    """Codes of an autoencoder and of a VAE for the same images, against the prior."""
    x = _blobs()
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.4), sharex=True, sharey=True)
    angle = np.linspace(0, 2 * np.pi, 200)
    for i, (ax, name) in enumerate(zip(axes, ("autoencoder", "VAE"))):
        ax.scatter(*_train(x, variational=i == 1).T, s=5, color=f"C{i}", marker="os"[i],
                   label=f"codes, {name}")
        for r in (1, 2):
            ax.plot(r * np.cos(angle), r * np.sin(angle), color="#222222", lw=1.3, ls="--",
                    label="prior, 1 and 2 std" if r == 1 else None)
        ax.set_aspect("equal")
        ax.set_xlabel("code component 1")
        ax.set_xlim(-4.4, 4.4)
        ax.set_ylim(-5, 3.2)
        ax.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), handletextpad=0.3)
    axes[0].set_ylabel("code component 2")
    return fig


def figure_posteriors():
    """Encoder distributions of the optimal linear VAE for five inputs, and the prior."""
    z = np.linspace(-3.2, 3.2, 500)
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.7), sharex=True)
    for ax, s2 in zip(axes, (0.02, 0.6)):
        _, a, v, _ = _fit_linear(1.0, s2)
        for i, x in enumerate((-1.6, -0.8, 0.0, 0.8, 1.6)):
            q = np.exp(-((z - a * x) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)
            ax.plot(z, q, color=f"C{i}", lw=1.5, label="encoder, five inputs" if i == 0 else None)
        ax.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color="#222222", ls="--",
                label="prior")
        ax.set_xlabel(f"latent variable (decoder variance {s2:g})")
        ax.set_ylim(0, None)
        ax.margins(y=0.25)
    axes[1].legend(fontsize=9, loc="upper right")
    axes[1].set_ylim(0, 0.85)
    axes[0].set_ylabel("density")
    return fig


def _linear_rate(lam, s2, beta=1.0):
    """Mean KL term of one direction of the optimal linear VAE."""
    return np.where(lam > beta * s2, 0.5 * np.log(lam / (beta * s2)), 0.0)


def _fit_linear(lam, s2, beta=1.0, steps=2000):
    """Coordinate ascent on the exact ELBO of x ~ N(0, lam), p(x|z) = N(wz, s2), q = N(ax, v)."""
    w, a, v = 0.5 * np.sqrt(lam), 0.1, 0.5
    for _ in range(steps):
        a = w / (w**2 + beta * s2)                    # exact maximum over a and v, given w
        v = beta * s2 / (w**2 + beta * s2)
        w = a * lam / (a**2 * lam + v)                # exact maximum over w, given a and v
    kl = 0.5 * (a**2 * lam + v - np.log(v) - 1)
    return w, a, v, kl


def figure_collapse():
    """Mean KL term per latent direction of the optimal linear VAE."""
    s2 = np.logspace(-2, 1, 300)
    fig, ax = plt.subplots(figsize=(6.4, 2.9))
    for lam, color, ls, mk in ((4.0, "C0", "-", "o"), (1.0, "C1", "--", "s"),
                               (0.25, "C2", ":", "^")):
        ax.plot(s2, _linear_rate(lam, s2), color=color, ls=ls,
                label=f"data variance {lam:g} in this direction")
        dots = lam * np.array([0.05, 0.2, 0.6, 1.6])
        ax.plot(dots, [_fit_linear(lam, d)[3] for d in dots], mk, color=color, ms=6)
    ax.set_xscale("log")
    ax.set_xlabel("decoder variance (log scale)")
    ax.set_ylabel("mean KL term (nats)")
    ax.legend(fontsize=9)
    return fig


def _linear_model(seed=0, d=4, k=2):
    """A linear Gaussian model: decoder weights w (d, k), bias b, variance s2, one input x."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (d, k)), rng.normal(0, 0.3, d), 0.4, rng.normal(0, 1, d)


def _log_marginal(w, b, s2, x):
    cov = w @ w.T + s2 * np.eye(len(b))
    r = x - b
    return -0.5 * (r @ np.linalg.solve(cov, r) + np.linalg.slogdet(2 * np.pi * cov)[1])


def _elbo_linear(w, b, s2, x, mu, var):
    """Exact ELBO of a linear Gaussian model for q = N(mu, diag(var))."""
    sq = ((x - b - w @ mu) ** 2).sum() + (w**2 @ var).sum()
    rec = -0.5 * sq / s2 - 0.5 * len(x) * np.log(2 * np.pi * s2)
    return rec - gaussian_kl(mu[None], np.log(var)[None])[0]


def check_vae_marginal():
    """Equation (vae-marginal): averaging p(x|z) over the prior gives p(x)."""
    w, b, s2, x = _linear_model()
    z = np.random.default_rng(1).standard_normal((400_000, 2))
    log_lik = -0.5 * ((x - b - z @ w.T) ** 2).sum(axis=1) / s2 - 2 * np.log(2 * np.pi * s2)
    assert np.isclose(np.log(np.exp(log_lik).mean()), _log_marginal(w, b, s2, x), atol=0.02)


def check_vae_elbo():
    """Equation (vae-elbo): log p(x) = ELBO + KL(q || posterior), for random q."""
    w, b, s2, x = _linear_model()
    rng = np.random.default_rng(2)
    prec = np.eye(2) + w.T @ w / s2
    post = torch.distributions.MultivariateNormal(
        torch.from_numpy(np.linalg.solve(prec, w.T @ (x - b) / s2)),
        precision_matrix=torch.from_numpy(prec))
    for _ in range(5):
        mu, var = rng.normal(0, 1, 2), rng.uniform(0.1, 1, 2)
        q = torch.distributions.MultivariateNormal(
            torch.from_numpy(mu), torch.diag(torch.from_numpy(var)))
        gap = torch.distributions.kl_divergence(q, post).item()
        elbo = _elbo_linear(w, b, s2, x, mu, var)
        assert np.isclose(elbo + gap, _log_marginal(w, b, s2, x), rtol=1e-9) and gap > 0


def check_vae_elbo_terms():
    """Equation (vae-elbo-terms): E[log p(x, z) - log q(z)] by sampling against the two terms."""
    w, b, s2, x = _linear_model()
    mu, var = np.array([0.3, -0.5]), np.array([0.4, 0.2])
    z = mu + np.sqrt(var) * np.random.default_rng(3).standard_normal((400_000, 2))
    log_joint = (-0.5 * ((x - b - z @ w.T) ** 2).sum(axis=1) / s2 - 2 * np.log(2 * np.pi * s2)
                 - 0.5 * (z**2).sum(axis=1) - np.log(2 * np.pi))
    log_q = -0.5 * ((z - mu) ** 2 / var).sum(axis=1) - 0.5 * np.log(var * 2 * np.pi).sum()
    assert np.isclose((log_joint - log_q).mean(), _elbo_linear(w, b, s2, x, mu, var), atol=0.03)


def check_vae_gaussian_kl():
    """Equation (vae-gaussian-kl): closed form against sampling and PyTorch."""
    rng = np.random.default_rng(4)
    mu, lv = rng.normal(0, 1, (3, 4)), rng.normal(0, 0.7, (3, 4))
    closed = gaussian_kl(mu, lv)
    z = mu + np.exp(0.5 * lv) * rng.standard_normal((200_000, 3, 4))
    log_ratio = 0.5 * (z**2 - (z - mu) ** 2 / np.exp(lv) - lv).sum(axis=2)
    assert np.allclose(log_ratio.mean(axis=0), closed, atol=0.03)
    q = torch.distributions.Normal(torch.from_numpy(mu), torch.from_numpy(np.exp(0.5 * lv)))
    p = torch.distributions.Normal(torch.zeros(3, 4).double(), torch.ones(3, 4).double())
    assert np.allclose(torch.distributions.kl_divergence(q, p).sum(1).numpy(), closed)
    assert np.allclose(gaussian_kl(np.zeros((1, 4)), np.zeros((1, 4))), 0)


def check_vae_reparameterization():
    """Equation (vae-reparameterization): for f = sin the expectation is known in closed form."""
    mu, sigma = 0.7, 0.6
    eps = np.random.default_rng(5).standard_normal(400_000)
    z = mu + sigma * eps
    damp = np.exp(-(sigma**2) / 2)
    assert np.isclose(np.cos(z).mean(), np.cos(mu) * damp, atol=3e-3)
    assert np.isclose((np.cos(z) * eps).mean(), -sigma * np.sin(mu) * damp, atol=5e-3)


def check_reparameterization_variance():
    """f(z) = z^2, mu = sigma = 1: variance 4 against 30 of the score-function estimator."""
    z = 1 + np.random.default_rng(6).standard_normal(800_000)
    pathwise, score = 2 * z, z**2 * (z - 1)
    assert np.isclose(pathwise.mean(), 2, atol=0.01) and np.isclose(score.mean(), 2, atol=0.02)
    assert np.isclose(pathwise.var(), 4, rtol=0.02) and np.isclose(score.var(), 30, rtol=0.04)


def check_vae_gaussian_loss():
    """Equation (vae-gaussian-loss): 2 s^2 times the loss is squared error + 2 s^2 KL + const."""
    rng = np.random.default_rng(7)
    x, x_hat = rng.standard_normal((2, 5, 6))
    mu, lv = rng.standard_normal((2, 5, 3))
    for s2 in (0.1, 1.0, 3.0):
        scaled = 2 * s2 * negative_elbo(x, x_hat, mu, lv, s2)
        target = (((x - x_hat) ** 2).sum(axis=1) + 2 * s2 * gaussian_kl(mu, lv)).mean()
        assert np.isclose(scaled, target + 6 * s2 * np.log(2 * np.pi * s2))


def check_vae_beta():
    """Equation (vae-beta): beta with variance s^2 has the gradients of variance beta s^2."""
    rng = np.random.default_rng(8)
    x = torch.from_numpy(rng.standard_normal((6, 5)))
    eps = torch.from_numpy(rng.standard_normal((6, 2)))
    torch.manual_seed(0)
    net = VAE(5, 2, hidden=7).double()
    grads = []
    for s2, beta, scale in ((0.3, 4.0, 1.0), (1.2, 1.0, 4.0)):
        net.zero_grad()
        (scale * negative_elbo_torch(x, *net(x, eps), s2=s2, beta=beta)).backward()
        grads.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    assert torch.allclose(*grads, rtol=1e-10) and grads[0].abs().max() > 0.1


def _discrete(seed=9, n=6, m=4, d=3):
    """Equally likely inputs x (n, d) and encoder probabilities q(z|x) (n, m)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.dirichlet(np.ones(m), n), rng.dirichlet(np.ones(m))


def check_vae_kl_decomposition():
    """Equation (vae-kl-decomposition): mean KL = mutual information + KL(aggregate || prior)."""
    _, q, prior = _discrete()
    agg = q.mean(axis=0)
    mean_kl = (q * np.log(q / prior)).sum(axis=1).mean()
    info = (q / len(q) * np.log(q / agg)).sum()
    assert np.isclose(mean_kl, info + (agg * np.log(agg / prior)).sum()) and info > 0.05


def check_vae_decoder_mean():
    """Equation (vae-decoder-mean): the best output for z averages x with weights q(x|z)."""
    x, q, _ = _discrete()
    weights = q / q.sum(axis=0)                       # q(x|z) for equally likely x
    best = weights.T @ x                              # (m, d)

    def error(out):
        return (q[:, :, None] * (x[:, None, :] - out[None]) ** 2).sum() / len(x)

    rng = np.random.default_rng(10)
    for _ in range(100):
        assert error(best + 0.05 * rng.standard_normal(best.shape)) > error(best)


def check_vae_collapse():
    """Equation (vae-collapse): weight, posterior and KL term of the fitted linear VAE."""
    for lam in (0.25, 1.0, 4.0):
        for ratio, beta in ((0.2, 1.0), (0.6, 1.0), (1.6, 1.0), (0.3, 2.0), (0.6, 2.0)):
            s2 = ratio * lam
            w, a, v, kl = _fit_linear(lam, s2, beta)
            assert np.isclose(w**2, max(0.0, lam - beta * s2), atol=1e-3)
            assert np.isclose(kl, _linear_rate(lam, s2, beta), atol=1e-3)
            if ratio * beta < 1:
                assert np.isclose(v, beta * s2 / lam, rtol=1e-3)
                assert np.isclose(a**2 * lam, 1 - beta * s2 / lam, atol=1e-3)
    # The optimum beats its neighbors on the exact objective (beta = 1).
    lam, s2 = 1.0, 0.3
    w, a, v, _ = _fit_linear(lam, s2)

    def elbo(w, a, v):
        return (-0.5 * ((1 - w * a) ** 2 * lam + w**2 * v) / s2
                - 0.5 * (a**2 * lam + v - np.log(v) - 1))

    for dw, da, dv in 0.02 * np.random.default_rng(11).standard_normal((50, 3)):
        assert elbo(w + dw, a + da, v + dv) < elbo(w, a, v)


def check_latent_figure():
    """The VAE's codes have about the prior's mean and spread; the plain autoencoder's not."""
    x = _blobs()

    def distance(codes):
        return np.hypot(np.linalg.norm(codes.mean(axis=0)),
                        np.linalg.norm(codes.std(axis=0) - 1))

    assert distance(_train(x, True)) < 0.5 and distance(_train(x, False)) > 0.65


def check_numpy_vs_torch():
    """Losses agree to 1e-10 in float64; the sample is the same for the same noise."""
    rng = np.random.default_rng(12)
    x, eps = rng.standard_normal((4, 5)), rng.standard_normal((4, 2))
    net = VAE(5, 2).double()
    x_hat, mu, lv = net(torch.from_numpy(x), torch.from_numpy(eps))
    z = reparameterize(mu.detach().numpy(), lv.detach().numpy(), eps)
    assert np.allclose(net.decoder(torch.from_numpy(z)).detach().numpy(), x_hat.detach().numpy())
    for s2, beta in ((1.0, 1.0), (0.05, 4.0)):
        theirs = negative_elbo_torch(torch.from_numpy(x), x_hat, mu, lv, s2, beta).item()
        ours = negative_elbo(x, *(t.detach().numpy() for t in (x_hat, mu, lv)), s2, beta)
        assert abs(ours - theirs) < 1e-10


def check_worked_example():
    """Every number of the worked example."""
    x, mu, sigma = 2.0, 0.8, 0.6
    log_p = -0.5 * np.log(2 * np.pi * 2) - x**2 / 4
    rec = -0.5 * np.log(2 * np.pi) - 0.5 * ((x - mu) ** 2 + sigma**2)
    kl = gaussian_kl(np.array([[mu]]), np.array([[2 * np.log(sigma)]]))[0]
    gap = 0.5 * (sigma**2 / 0.5 + (mu - 1) ** 2 / 0.5 - 1 - np.log(sigma**2 / 0.5))
    assert np.allclose([log_p, rec, kl, rec - kl, gap],
                       [-2.266, -1.819, 0.511, -2.330, 0.064], atol=6e-4)
    assert np.isclose(rec - kl + gap, log_p)
    m = torch.tensor(mu, requires_grad=True, dtype=torch.float64)
    s = torch.tensor(sigma, requires_grad=True, dtype=torch.float64)
    z = m + s * -0.5
    loss = 0.5 * (x - z) ** 2 + 0.5 * (m**2 + s**2 - torch.log(s**2) - 1)
    loss.backward()
    assert np.isclose(z.item(), 0.5)
    assert np.isclose(m.grad.item(), -0.7) and np.isclose(s.grad.item(), -0.317, atol=5e-4)
    # Exact gradients of the negative ELBO, which single samples estimate without bias.
    assert np.isclose(-(x - mu) + mu, -0.4)
    assert np.isclose(sigma + sigma - 1 / sigma, -0.467, atol=5e-4)
    eps = np.random.default_rng(13).standard_normal(400_000)
    single = -(x - mu - sigma * eps)
    assert np.isclose((single + mu).mean(), -0.4, atol=5e-3)
    assert np.isclose((single * eps).mean() + sigma - 1 / sigma, -0.467, atol=5e-3)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
