"""Page knowledge-distillation: checks the loss, its gradient and limits, hints, sequences."""
import matplotlib.pyplot as plt
import numpy as np
import torch

# --8<-- [start:numpy]
def log_softmax(z, temperature=1.0):
    """Logarithm of softmax(z / T) over the last axis."""
    z = z / temperature
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def distillation_loss(student, teacher, labels, temperature=4.0, weight=0.9):
    """Mean loss over a batch and its gradient with respect to the student's logits.

    student, teacher: logits (batch, classes); labels: integers (batch,).
    weight multiplies T^2 times the divergence, 1 - weight the usual cross-entropy.
    """
    batch, classes = student.shape
    log_p, log_t = log_softmax(student, temperature), log_softmax(teacher, temperature)
    soft = (np.exp(log_t) * (log_t - log_p)).sum(axis=1)
    log_hard = log_softmax(student)
    hard = -log_hard[np.arange(batch), labels]
    loss = np.mean((1 - weight) * hard + weight * temperature**2 * soft)
    grad = (1 - weight) * (np.exp(log_hard) - np.eye(classes)[labels])
    grad = grad + weight * temperature * (np.exp(log_p) - np.exp(log_t))
    return loss, grad / batch
# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_distillation_loss(student, teacher, labels, temperature=4.0, weight=0.9):
    """The same loss; reduction="batchmean", since "mean" also divides by the classes."""
    soft = torch.nn.functional.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher.detach() / temperature).log_softmax(dim=1),
        log_target=True, reduction="batchmean")
    hard = torch.nn.functional.cross_entropy(student, labels)
    return (1 - weight) * hard + weight * temperature**2 * soft


def distill(student, teacher, batches, optimizer, **options):
    """Train the student; the teacher is frozen, in eval mode, and sees the same inputs."""
    teacher.eval()
    student.train()
    for x, labels in batches:
        with torch.no_grad():
            target = teacher(x)
        loss = torch_distillation_loss(student(x), target, labels, **options)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
# --8<-- [end:torch]


EXAMPLE = np.array([8.0, 4.0, 1.0, -2.0])           # cat, dog, car, plane


def _softmax(z, t=1.0):
    return np.exp(log_softmax(np.asarray(z, dtype=float), t))


def _kl(p, q):
    return np.sum(p * (np.log(p) - np.log(q)), axis=-1)


def figure_temperature():
    """Left: soft targets at three temperatures. Right: gradient size against T."""
    fig, (a, b) = plt.subplots(1, 2, figsize=(6.4, 2.9))
    names = ["cat", "dog", "car", "plane"]
    for i, (t, color, hatch) in enumerate(((1, "C0", ""), (4, "C1", "//"), (16, "C2", ".."))):
        a.bar(np.arange(4) + 0.27 * (i - 1), _softmax(EXAMPLE, t), 0.25, color=color,
              hatch=hatch, edgecolor="#222222", linewidth=0.6, label=f"T = {t}")
    a.set_xticks(range(4), names)
    a.set_ylabel("teacher's probability")
    a.legend(fontsize=9, frameon=False)
    rng = np.random.default_rng(0)
    zs, zt = rng.standard_normal((2, 2000, 10)) * 3
    ts = 2.0 ** np.linspace(0, 6, 25)
    raw = np.array([np.linalg.norm(_softmax(zs, t) - _softmax(zt, t), axis=1).mean() / t
                    for t in ts])
    b.plot(ts, raw, color="C1", ls="--", label="divergence")
    b.plot(ts, raw * ts**2, color="C0", label="times $T^2$")
    hard = np.linalg.norm(_softmax(zs) - np.eye(10)[zt.argmax(1)], axis=1).mean()
    b.axhline(hard, color="#555555", ls=":", label="hard label")
    b.set_xscale("log", base=2)
    b.set_yscale("log")
    b.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
    b.set_xlabel("temperature")
    b.set_ylabel("mean size of the gradient")
    b.legend(fontsize=9, frameon=False)
    fig.tight_layout()
    return fig


def _digits():
    from sklearn.datasets import load_digits
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = torch.tensor(x[order] / 16, dtype=torch.float32), torch.tensor(y[order])
    return x[:1200], y[:1200], x[1200:], y[1200:]


def _mlp(hidden, seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(64, hidden), torch.nn.ReLU(),
                               torch.nn.Linear(hidden, 10))


class _Students(torch.nn.Module):
    """Small networks for all seeds, trained side by side: (seeds, batch, 64) -> logits."""

    def __init__(self, hidden, seeds):
        super().__init__()
        nets = [_mlp(hidden, s) for s in range(seeds)]
        stack = lambda i, name: torch.nn.Parameter(
            torch.stack([getattr(net[i], name).detach() for net in nets]))
        self.w1, self.b1 = stack(0, "weight"), stack(0, "bias")
        self.w2, self.b2 = stack(2, "weight"), stack(2, "bias")

    def forward(self, x):
        h = (x @ self.w1.mT + self.b1[:, None]).relu()
        return h @ self.w2.mT + self.b2[:, None]


_CACHE = {}


def _experiment(steps=150):
    """Accuracy of a small student on digits: labels of n examples, or a teacher's outputs.

    The teacher learns from 1,200 labels. Both kinds of student see the same n inputs.
    Twelve seeds; from 300 examples on four, which vary less and cost more.
    """
    if _CACHE:
        return _CACHE
    x, y, xt, yt = _digits()

    def fit(net, loss):
        opt = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=1e-4)
        for _ in range(steps):
            opt.zero_grad()
            loss(net).backward()
            opt.step()
        with torch.no_grad():
            return net, (net(xt).argmax(-1) == yt).float().mean(-1).numpy()

    ce = torch.nn.functional.cross_entropy
    teacher, acc = fit(_mlp(256, 99), lambda net: ce(net(x), y))
    with torch.no_grad():
        zt = teacher(x)
    _CACHE["teacher"] = float(acc)
    for n in (30, 100, 300, 1200):
        seeds = 12 if n < 300 else 4
        pick = np.stack([np.random.default_rng(s).permutation(1200)[:n] for s in range(seeds)])
        xs, ys, zs = x[pick], y[pick].flatten(), zt[pick].flatten(0, 1)
        # Times seeds: each student gets the gradient of its own mean loss.
        hard = fit(_Students(8, seeds), lambda net: seeds * ce(net(xs).flatten(0, 1), ys))[1]
        soft = fit(_Students(8, seeds), lambda net: seeds * torch_distillation_loss(
            net(xs).flatten(0, 1), zs, ys, 4.0, 1.0))[1]
        _CACHE[n] = np.stack([hard, soft], axis=1)
    return _CACHE


def figure_examples():
    """Accuracy of a student against the number of training examples."""
    r = _experiment()
    ns = [k for k in r if isinstance(k, int)]
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    for i, (label, color, ls, marker) in enumerate(
            (("labels", "C1", "--", "o"), ("teacher's soft targets, same inputs", "C0", "-", "s"))):
        m = np.array([100 * r[n][:, i].mean() for n in ns])
        sd = np.array([100 * r[n][:, i].std(ddof=1) for n in ns])
        ax.errorbar(np.array(ns) * (1 + 0.03 * (i - 0.5)), m, sd, color=color, ls=ls,
                    marker=marker, ms=4, capsize=3, label=label)
    ax.axhline(100 * r["teacher"], color="#555555", ls=":", label="teacher (1,200 labels)")
    ax.set_xscale("log")
    ax.set_xticks(ns, [str(n) for n in ns])
    ax.minorticks_off()
    ax.set_xlabel("training examples of the student")
    ax.set_ylabel("test accuracy, percent")
    ax.legend(fontsize=9, frameon=False, loc="lower right")
    return fig


def check_kd_soft_targets():
    """Equation (kd-soft-targets): order kept, ratios take the T-th root, both limits."""
    z = np.random.default_rng(0).standard_normal((50, 10)) * 5
    for t in (0.5, 2.0, 8.0):
        p1, pt = _softmax(z), _softmax(z, t)
        assert np.allclose(pt.sum(1), 1) and np.array_equal(p1.argsort(1), pt.argsort(1))
        assert np.allclose(pt[:, 0] / pt[:, 1], (p1[:, 0] / p1[:, 1]) ** (1 / t))
    assert np.allclose(_softmax(z, 1e6), 0.1, atol=1e-5)
    assert np.allclose(_softmax(z, 1e-4), np.eye(10)[z.argmax(1)], atol=1e-6)


def check_kd_loss():
    """Equation (kd-loss): NumPy against PyTorch, loss and gradient, 1e-12."""
    rng = np.random.default_rng(1)
    zs, zt = rng.standard_normal((2, 32, 7)) * 3
    y = rng.integers(0, 7, 32)
    for t, w in ((1.0, 0.5), (4.0, 0.9), (10.0, 1.0)):
        loss, grad = distillation_loss(zs, zt, y, t, w)
        s = torch.tensor(zs, requires_grad=True)
        theirs = torch_distillation_loss(s, torch.tensor(zt), torch.tensor(y), t, w)
        theirs.backward()
        assert np.isclose(loss, theirs.item(), atol=1e-12)
        assert np.allclose(grad, s.grad.numpy(), atol=1e-12)
        mean = torch.nn.functional.kl_div((s / t).log_softmax(1),
                                          (torch.tensor(zt) / t).log_softmax(1),
                                          log_target=True, reduction="mean")
        batch = _kl(_softmax(zt, t), _softmax(zs, t)).mean()
        assert np.isclose(mean.item() * 7, batch)          # "mean" is too small by K


def check_kd_gradient():
    """Equation (kd-gradient): finite differences."""
    rng = np.random.default_rng(2)
    zs, zt = rng.standard_normal((2, 6)) * 2
    for t in (1.0, 3.0):
        f = lambda z: _kl(_softmax(zt, t), _softmax(z, t))
        num = [(f(zs + 1e-6 * e) - f(zs - 1e-6 * e)) / 2e-6 for e in np.eye(6)]
        assert np.allclose(num, (_softmax(zs, t) - _softmax(zt, t)) / t, atol=1e-8)


def check_kd_logit_limit():
    """Equation (kd-logit-limit): gradient and loss converge, error of order 1/T."""
    rng = np.random.default_rng(3)
    zs, zt = rng.standard_normal((2, 6)) * 2
    d = (zs - zs.mean()) - (zt - zt.mean())
    errors = []
    for t in (50.0, 100.0, 200.0):
        g = t * (_softmax(zs, t) - _softmax(zt, t))
        errors.append(np.abs(g - d / 6).max())
        assert np.isclose(t**2 * _kl(_softmax(zt, t), _softmax(zs, t)),
                          d @ d / 12, rtol=5 / t)
    assert errors[-1] < 0.02 and np.isclose(errors[0] / errors[1], 2, atol=0.1)
    assert np.isclose(errors[1] / errors[2], 2, atol=0.1)


def check_kd_variance():
    """Equation (kd-variance): error of a one-hot label as an estimate of q."""
    rng = np.random.default_rng(4)
    q = rng.dirichlet(np.ones(5))
    y = np.eye(5)[rng.choice(5, 200_000, p=q)]
    assert np.isclose(((y - q) ** 2).sum(1).mean(), 1 - q @ q, rtol=0.01)
    # Gradients: same mean; the soft target q has no label noise.
    p = rng.dirichlet(np.ones(5))
    assert np.allclose((p - y).mean(0), p - q, atol=5e-3)
    p_t = 0.8 * q + 0.2 / 5                                 # a biased teacher is closer
    assert ((p_t - q) ** 2).sum() < 0.1 * (1 - q @ q)


def check_kd_hint():
    """Equation (kd-hint): the best value depends only on the span of the student's features."""
    rng = np.random.default_rng(5)
    h_s, h_t = rng.standard_normal((200, 6)), rng.standard_normal((200, 10))
    h_t[:, :6] += h_s
    def best(h):
        r = np.linalg.lstsq(h, h_t, rcond=None)[0]
        return 0.5 * np.mean(((h @ r - h_t) ** 2).sum(1)), r
    base, r = best(h_s)
    m = rng.standard_normal((6, 6))
    assert np.isclose(best(h_s @ m)[0], base)
    assert best(h_s[:, :3])[0] > base + 0.1
    # Gradient with respect to the student's features, against PyTorch.
    h = torch.tensor(h_s, requires_grad=True)
    reg = torch.tensor(r.T + 0.1)                           # shape (teacher, student)
    (0.5 * ((h @ reg.T - torch.tensor(h_t)) ** 2).sum()).backward()
    assert np.allclose(h.grad.numpy(), (h_s @ reg.numpy().T - h_t) @ reg.numpy())


def check_kd_smoothing():
    """Equation (kd-smoothing): label smoothing is distillation from a uniform teacher."""
    rng = np.random.default_rng(6)
    z, y, eps, k = rng.standard_normal((20, 8)) * 3, rng.integers(0, 8, 20), 0.1, 8
    ours = distillation_loss(z, np.zeros((20, k)), y, 1.0, eps)[0] + eps * np.log(k)
    theirs = torch.nn.functional.cross_entropy(torch.tensor(z), torch.tensor(y),
                                               label_smoothing=eps)
    assert np.isclose(ours, theirs.item())


def check_kd_sequence():
    """Equation (kd-sequence): all sequences of length 3 over 4 tokens, enumerated."""
    from itertools import product
    rng = np.random.default_rng(7)
    models = [{}, {}]
    for length in range(3):
        for prefix in product(range(4), repeat=length):
            for m in models:
                m[prefix] = rng.dirichlet(np.ones(4))
    prob = lambda m, s: np.prod([m[s[:i]][s[i]] for i in range(3)])
    seqs = list(product(range(4), repeat=3))
    pt, ps = (np.array([prob(m, s) for s in seqs]) for m in models)
    assert np.isclose(pt.sum(), 1) and np.isclose(ps.sum(), 1)
    token = sum(p * sum(_kl(models[0][s[:i]], models[1][s[:i]]) for i in range(3))
                for p, s in zip(pt, seqs))
    assert np.isclose(_kl(pt, ps), token)
    under_student = sum(p * sum(_kl(models[0][s[:i]], models[1][s[:i]]) for i in range(3))
                        for p, s in zip(ps, seqs))
    assert not np.isclose(token, under_student, rtol=0.01)   # whose prefixes matters


def check_experiment():
    """The numbers quoted for the students on digits."""
    r = _experiment()
    print("    teacher", round(100 * r["teacher"], 1))
    gain, error = {}, {}                            # paired by seed, with its standard error
    for n in (30, 100, 300, 1200):
        d = r[n][:, 1] - r[n][:, 0]
        gain[n], error[n] = d.mean(), d.std(ddof=1) / np.sqrt(len(d))
        print("    ", n, np.round(100 * r[n].mean(0), 1), np.round(100 * r[n].std(0, ddof=1), 1),
              "gain", round(100 * gain[n], 1), "+-", round(100 * error[n], 1))
    for n in (30, 100):
        assert gain[n] > 2 * error[n]
    assert np.allclose(r[30].mean(0), [0.64, 0.70], atol=0.03)
    assert np.sum(r[30][:, 1] > r[30][:, 0]) >= 10
    assert gain[1200] < 0.01 and abs(gain[300]) < 0.04
    assert r["teacher"] > r[1200].max()


def check_worked_example():
    """Every number of the worked example."""
    p1, p4, p16 = (_softmax(EXAMPLE, t) for t in (1, 4, 16))
    assert np.allclose(p1, [0.981, 0.018, 0.0009, 0], atol=1e-4)
    assert np.allclose(p4, [0.616, 0.227, 0.107, 0.051], atol=6e-4)
    assert np.allclose(p16, [0.338, 0.263, 0.218, 0.181], atol=6e-4)
    zs = np.array([4.0, 3.0, 2.0, 1.0])
    s4 = _softmax(zs, 4)
    assert np.allclose(s4, [0.350, 0.273, 0.212, 0.165], atol=6e-4)
    assert np.isclose(_kl(p4, s4), 0.173, atol=5e-4) and np.isclose(16 * _kl(p4, s4), 2.77, atol=5e-3)
    assert np.allclose(4 * (s4 - p4), [-1.06, 0.18, 0.42, 0.46], atol=6e-3)
    d = (zs - zs.mean()) - (EXAMPLE - EXAMPLE.mean())
    assert np.allclose(d, [-3.75, -0.75, 1.25, 3.25]) and np.isclose(d @ d / 8, 3.34, atol=5e-3)
    assert np.allclose(d / 4, [-0.94, -0.19, 0.31, 0.81], atol=6e-3)
    q = np.array([0.7, 0.3])
    assert np.isclose(1 - q @ q, 0.42) and np.isclose(2 * 0.15**2, 0.045)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
