"""Twin of the page on generative adversarial networks: value, optimal discriminator, training step."""
import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def softplus(t):
    """log(1 + exp(t)) without overflow, elementwise."""
    return np.maximum(t, 0) + np.log1p(np.exp(-np.abs(t)))


def gan_losses(real_logits, fake_logits):
    """Losses of both players from the logits of D (1-d arrays; D = sigmoid(logit)).

    Returns the discriminator's loss, the generator's minimax loss and its
    non-saturating loss, each to be minimized (Goodfellow et al., 2014).
    """
    d_loss = softplus(-real_logits).mean() + softplus(fake_logits).mean()
    g_minimax = -softplus(fake_logits).mean()            # log(1 - D)
    g_non_saturating = softplus(-fake_logits).mean()     # -log D
    return d_loss, g_minimax, g_non_saturating


def value(p_data, p_g, d):
    """V(D, G) for distributions on finitely many points; all arrays have one length.

    Terms with probability 0 count as 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        real = np.where(p_data > 0, p_data * np.log(d), 0.0)
        fake = np.where(p_g > 0, p_g * np.log1p(-d), 0.0)
    return real.sum() + fake.sum()


def optimal_discriminator(p_data, p_g):
    """Probability that a point is real when both sources are equally likely."""
    return p_data / (p_data + p_g)


def js_divergence(p, q):
    """Jensen-Shannon divergence (nats) of distributions on finitely many points."""
    m = 0.5 * (p + q)

    def kl(a, b):
        keep = a > 0
        return (a[keep] * np.log(a[keep] / b[keep])).sum()

    return 0.5 * kl(p, m) + 0.5 * kl(q, m)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def train_step(gen, disc, opt_g, opt_d, real, noise):
    """One update of D, then one of G with the non-saturating loss.

    disc returns logits (B, 1). Each optimizer holds one network's parameters.
    """
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    fake = gen(noise)

    d_real, d_fake = disc(real), disc(fake.detach())     # no gradient into G
    d_loss = bce(d_real, torch.ones_like(d_real))
    d_loss = d_loss + bce(d_fake, torch.zeros_like(d_fake))
    opt_d.zero_grad()
    d_loss.backward()
    opt_d.step()

    d_fake = disc(fake)                                  # the updated D
    g_loss = bce(d_fake, torch.ones_like(d_fake))        # call the fakes real
    opt_g.zero_grad()
    g_loss.backward()                                    # also fills D's gradients:
    opt_g.step()                                         # opt_d.zero_grad() drops them
    return d_loss.item(), g_loss.item()
# --8<-- [end:torch]


# The worked example: three possible points.
P_DATA = np.array([0.5, 0.5, 0.0])
P_G = np.array([0.25, 0.25, 0.5])


def _normal(x, mean, std):
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def _random(n=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n)), rng.uniform(0.05, 0.95, n)


def figure_discriminator():
    """Data, generator and optimal discriminator while the generator approaches the data."""
    x = np.linspace(-5, 5, 500)
    real = _normal(x, 1.0, 0.8)
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.9), sharey=True)
    for ax, mean in zip(axes, (-2.0, 0.0, 1.0)):
        fake = _normal(x, mean, 0.8)
        ax.plot(x, real, color="C0", label="data")
        ax.plot(x, fake, color="C1", ls="--", label="generator")
        ax.plot(x, optimal_discriminator(real, fake), color="#222222", ls=":",
                label="optimal discriminator")
        ax.set_xlabel("x")
        ax.set_xticks([-4, 0, 4])
    axes[0].set_ylabel("density or probability")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3,
               fontsize=9)
    return fig


def figure_generator_losses():
    """The two generator losses and the size of their slopes against the logit."""
    s = np.linspace(-6, 6, 300)
    sig = 1 / (1 + np.exp(-s))
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.8))
    axes[0].plot(s, -softplus(s), ls="--", color="C1", label="minimax")
    axes[0].plot(s, softplus(-s), color="C0", label="non-saturating")
    axes[1].plot(s, sig, ls="--", color="C1", label="minimax")
    axes[1].plot(s, 1 - sig, color="C0", label="non-saturating")
    axes[0].set_ylabel("generator loss")
    axes[1].set_ylabel("absolute slope in the logit")
    for ax in axes:
        ax.set_xlabel("logit of a generated sample")
        ax.set_xticks([-5, 0, 5], ["-5\nrejected", "0", "5\naccepted"])
    axes[0].legend(fontsize=9)
    return fig


def check_gan_value():
    """Equation (gan-value): the sum over points against a sampled expectation."""
    p, q, d = _random()
    rng = np.random.default_rng(1)
    real, fake = rng.choice(6, 400_000, p=p), rng.choice(6, 400_000, p=q)
    sampled = np.log(d[real]).mean() + np.log(1 - d[fake]).mean()
    assert np.isclose(value(p, q, d), sampled, atol=0.01)
    s = np.log(d / (1 - d))                              # logits
    assert np.isclose(gan_losses(s[real], s[fake])[0], -sampled, rtol=1e-9)


def check_gan_optimal_discriminator():
    """Equation (gan-optimal-discriminator): no other D has a larger value."""
    p, q, _ = _random()
    best = optimal_discriminator(p, q)
    top = value(p, q, best)
    rng = np.random.default_rng(2)
    for _ in range(200):
        other = np.clip(best + 0.05 * rng.standard_normal(6), 1e-3, 1 - 1e-3)
        assert value(p, q, other) < top
    # Its logit is the log density ratio.
    assert np.allclose(np.log(best / (1 - best)), np.log(p / q))


def check_gan_jsd():
    """Equation (gan-jsd): V(D*, G) = -log 4 + 2 JSD, and 0 <= JSD <= log 2."""
    for seed in range(5):
        p, q, _ = _random(seed=seed)
        jsd = js_divergence(p, q)
        assert np.isclose(value(p, q, optimal_discriminator(p, q)), -np.log(4) + 2 * jsd)
        assert 0 < jsd < np.log(2)
    assert np.isclose(js_divergence(p, p), 0)
    assert np.isclose(js_divergence(np.array([1.0, 0]), np.array([0, 1.0])), np.log(2))


def check_gan_gap():
    """Equation (gan-gap): the shortfall of a D is a mean divergence from D*."""
    p, q, d = _random(seed=3)
    best = optimal_discriminator(p, q)
    kl = best * np.log(best / d) + (1 - best) * np.log((1 - best) / (1 - d))
    gap = value(p, q, best) - value(p, q, d)
    assert np.isclose(gap, ((p + q) * kl).sum()) and gap > 0
    assert np.isclose(value(p, q, np.full(6, 0.5)), -np.log(4))     # a blind D


def check_gan_slopes():
    """Equation (gan-slopes): derivatives in the logit by central differences."""
    h = 1e-5
    for s in (-5.0, -0.3, 0.0, 2.0):
        sig = 1 / (1 + np.exp(-s))
        lo = gan_losses(np.zeros(1), np.array([s - h]))
        hi = gan_losses(np.zeros(1), np.array([s + h]))
        assert np.isclose((hi[1] - lo[1]) / (2 * h), -sig, atol=1e-8)
        assert np.isclose((hi[2] - lo[2]) / (2 * h), -(1 - sig), atol=1e-8)


def check_gan_conditional():
    """Equation (gan-conditional): with the class as an input, D* compares within each class."""
    rng = np.random.default_rng(4)
    p_y = rng.dirichlet(np.ones(3))
    p, q = rng.dirichlet(np.ones(5), 3), rng.dirichlet(np.ones(5), 3)
    joint_p, joint_q = p_y[:, None] * p, p_y[:, None] * q
    best = optimal_discriminator(p, q)
    assert np.allclose(best, optimal_discriminator(joint_p, joint_q))
    total = value(joint_p.ravel(), joint_q.ravel(), best.ravel())
    mean_jsd = sum(w * js_divergence(a, b) for w, a, b in zip(p_y, p, q))
    assert np.isclose(total, -np.log(4) + 2 * mean_jsd)
    # Matching marginals is not enough: swap classes and the value rises above -log 4.
    swapped = joint_p[[1, 0, 2]] / p_y[[1, 0, 2], None] * p_y[:, None]
    assert value(joint_p.ravel(), swapped.ravel(),
                 optimal_discriminator(joint_p, swapped).ravel()) > -np.log(4) + 1e-3


def check_train_step():
    """Each step changes one network; the losses equal those of the NumPy tab to 1e-12."""
    torch.manual_seed(0)
    gen = torch.nn.Linear(2, 3).double()
    disc = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(),
                               torch.nn.Linear(8, 1)).double()
    real, noise = torch.randn(16, 3).double(), torch.randn(16, 2).double()
    with torch.no_grad():
        want = gan_losses(disc(real).numpy().ravel(), disc(gen(noise)).numpy().ravel())[0]
        fixed = [p.clone() for p in gen.parameters()]
    opt_g = torch.optim.SGD(gen.parameters(), lr=0.0)
    opt_d = torch.optim.SGD(disc.parameters(), lr=0.1)
    before = [p.clone() for p in disc.parameters()]
    d_loss, g_loss = train_step(gen, disc, opt_g, opt_d, real, noise)
    assert abs(d_loss - want) < 1e-12
    assert all(torch.equal(a, b) for a, b in zip(fixed, gen.parameters()))
    assert not all(torch.equal(a, b) for a, b in zip(before, disc.parameters()))
    with torch.no_grad():                                # the second loss uses the new D
        fake = disc(gen(noise)).numpy().ravel()
    assert abs(g_loss - gan_losses(fake, fake)[2]) < 1e-12
    assert all(p.grad is not None for p in gen.parameters())


def check_small_gan_learns():
    """An affine generator and a small D: mean and spread come near those of the data."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    gen = torch.nn.Linear(1, 1)
    disc = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.LeakyReLU(0.2),
                               torch.nn.Linear(32, 1))
    opt_g = torch.optim.Adam(gen.parameters(), lr=0.01, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(disc.parameters(), lr=0.01, betas=(0.5, 0.999))
    with torch.no_grad():
        gen.weight.fill_(1.0)
        gen.bias.fill_(-1.0)
    means, stds = [], []
    for _ in range(1500):
        real = 2.0 + 0.5 * torch.randn(128, 1)
        train_step(gen, disc, opt_g, opt_d, real, torch.randn(128, 1))
        means.append(gen.bias.item())
        stds.append(abs(gen.weight.item()))
    assert abs(np.mean(means[-300:]) - 2.0) < 0.3 and abs(np.mean(stds[-300:]) - 0.5) < 0.3


def check_worked_example():
    """Every number of the worked example."""
    d = optimal_discriminator(P_DATA, P_G)
    assert np.allclose(d, [2 / 3, 2 / 3, 0])
    assert np.isclose((P_DATA[:2] * np.log(d[:2])).sum(), -0.4055, atol=5e-5)
    assert np.isclose((P_G * np.log(1 - d)).sum(), -0.5493, atol=5e-5)
    v = value(P_DATA, P_G, d)
    assert np.isclose(v, -0.9548, atol=5e-5)
    jsd = js_divergence(P_DATA, P_G)
    assert np.isclose(jsd, 0.2158, atol=5e-5) and np.isclose((v + np.log(4)) / 2, jsd)
    assert np.isclose(value(P_DATA, P_G, np.full(3, 0.5)), -1.3863, atol=5e-5)
    s = np.log(0.01 / 0.99)
    assert np.isclose(s, -4.595, atol=5e-4)
    moved = np.array([0.3, 0.3, 0.4])                    # less mass on the impossible point
    assert np.isclose(js_divergence(P_DATA, moved), 0.1639, atol=5e-5)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
