"""Twin of the page "Deploying models": snippets, figures and checks."""
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from torch.utils.flop_counter import FlopCounterMode


# --8<-- [start:numpy]
def quantize(x, bits=8):
    """Affine quantization of an array to unsigned integers (Jacob et al., 2018).

    The range is widened to contain 0, so that 0 is represented exactly.
    Returns the integers q, the scale s and the zero point z: x is about s (q - z).
    """
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    top = 2**bits - 1
    scale = (high - low) / top
    zero = int(round(-low / scale))
    q = np.clip(np.round(x / scale) + zero, 0, top).astype(int)
    return q, scale, zero


def psi(reference, current, bins=10):
    """Population stability index; bins are quantiles of the reference sample."""
    edges = np.quantile(reference, np.arange(1, bins) / bins)
    p = np.bincount(np.searchsorted(edges, reference), minlength=bins) + 0.5
    q = np.bincount(np.searchsorted(edges, current), minlength=bins) + 0.5
    p, q = p / p.sum(), q / q.sum()          # 0.5 added, so that no share is zero
    return np.sum((p - q) * np.log(p / q))


def ks(reference, current):
    """Kolmogorov-Smirnov distance of two samples: largest gap of their CDFs."""
    grid = np.concatenate([reference, current])
    f = np.searchsorted(np.sort(reference), grid, side="right") / len(reference)
    g = np.searchsorted(np.sort(current), grid, side="right") / len(current)
    return np.abs(f - g).max()


def ab_sample_size(p_a, p_b, alpha=0.05, power=0.8):
    """Users per arm to detect p_b instead of p_a, two-sided, unrounded."""
    z = NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)
    return z**2 * (p_a * (1 - p_a) + p_b * (1 - p_b)) / (p_a - p_b) ** 2


def serve(arrivals, alpha, beta, max_batch):
    """One server that takes up to max_batch waiting requests whenever it is free.

    arrivals: (m,) increasing times. A batch of size b takes alpha + beta * b.
    Returns the (m,) times at which the answers are ready.
    """
    done, free, i = np.empty(len(arrivals)), 0.0, 0
    while i < len(arrivals):
        start = max(free, arrivals[i])
        waiting = np.searchsorted(arrivals, start, side="right") - i
        batch = min(waiting, max_batch)
        free = start + alpha + beta * batch
        done[i:i + batch] = free
        i += batch
    return done
# --8<-- [end:numpy]


# --8<-- [start:torch]
def quantize_torch(x, bits=8):
    """The same rounding with PyTorch's fake quantization: returns s (q - z)."""
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    scale = (high - low) / (2**bits - 1)
    zero = int(round(-low / scale))
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 2**bits - 1)


def export_and_compare(model, batches):
    """Export in evaluation mode; largest relative deviation over real batches."""
    model.eval()
    program = torch.export.export(model, (batches[0],)).module()
    worst = 0.0
    with torch.no_grad():
        for x in batches:
            want, got = model(x), program(x)
            error = (want - got).abs().max() / want.abs().max()
            worst = max(worst, error.item())
    return worst
# --8<-- [end:torch]


ALPHA, BETA = 0.010, 0.001        # seconds, the example server of the page


def _poisson(rate, count, seed=0):
    """Arrival times of a Poisson stream with the given rate per second."""
    return np.random.default_rng(seed).exponential(1 / rate, count).cumsum()


def _logistic(x, y, steps=30):
    """Logistic regression by Newton's method; x has a column of ones."""
    w = np.zeros(x.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(len(w))
        w = w + np.linalg.solve(hessian, x.T @ (y - p) - 1e-3 * w)
    return w


def _stream(mean, changed, count, rng):
    """Requests with three features; the label depends on the first two only.

    mean: (3,) means of the features; changed=True removes the effect of the first.
    """
    x = rng.standard_normal((count, 3)) + mean
    effect = 0.0 if changed else 1.5
    logit = 4 * (effect * x[:, 0] - 0.7 * x[:, 1] ** 2 + 0.7)
    y = (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(float)
    return x, y


def _ones(x):
    return np.column_stack([np.ones(len(x)), x])


def _weeks(scenario, weeks=24, count=1000, seed=0):
    """Largest PSI over the features and accuracy, week by week, change from week 8."""
    rng = np.random.default_rng(seed)
    reference, labels = _stream(np.zeros(3), False, 10000, rng)
    w = _logistic(_ones(reference), labels)
    score, accuracy = [], []
    for week in range(weeks):
        amount = 1.2 * np.clip((week - 7) / 8, 0, 1)
        mean = np.zeros(3)
        if scenario == "harmless":
            mean[2] = amount
        if scenario == "harmful":
            mean[1] = amount
        x, y = _stream(mean, scenario == "rule" and week >= 8, count, rng)
        score.append(max(psi(reference[:, j], x[:, j]) for j in range(3)))
        accuracy.append(np.mean((_ones(x) @ w > 0) == (y > 0.5)))
    return np.array(score), np.array(accuracy)


def _peeking(looks, per_look=500, p=0.05, runs=4000, seed=0):
    """Share of A/A tests that look significant at 5% at one look or more."""
    rng = np.random.default_rng(seed)
    a = rng.binomial(per_look, p, (runs, looks)).cumsum(axis=1)
    b = rng.binomial(per_look, p, (runs, looks)).cumsum(axis=1)
    n = per_look * np.arange(1, looks + 1)
    mean = (a + b) / (2 * n)
    z = (a - b) / n / np.sqrt(2 * mean * (1 - mean) / n)
    hit = np.abs(z) > 1.96
    return np.maximum.accumulate(hit, axis=1).mean(axis=0)


def _reject(p_a, p_b, n, runs=20000, seed=0):
    """Share of simulated A/B tests with n users per arm that reject at 5%."""
    rng = np.random.default_rng(seed)
    a, b = rng.binomial(n, p_a, runs) / n, rng.binomial(n, p_b, runs) / n
    z = (b - a) / np.sqrt((a * (1 - a) + b * (1 - b)) / n)
    return np.mean(np.abs(z) > 1.96)


def _skew():
    """Accuracy of one digit classifier when serving prepares the images wrongly."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    mean, std = x[:1200].mean(), x[:1200].std()
    net = MLPClassifier((64,), max_iter=100, tol=1e-3, random_state=0)
    net.fit((x[:1200] - mean) / std, y[:1200])
    raw, label = x[1200:], y[1200:]
    served = {
        "as in training": (raw - mean) / std,
        "not standardized": raw,
        "scaled to [0, 1] instead": raw / 16,
        "inverted gray levels": (16 - raw - mean) / std,
        "rows and columns exchanged":
            (raw.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1, 64) - mean) / std,
    }
    return {name: float(net.score(z, label)) for name, z in served.items()}


def figure_batching():
    """Mean and 99th percentile of the latency against the load, three batch limits."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1), sharey=True)
    for ax, name in zip(axes, ("mean", "99th percentile")):
        for i, (limit, style) in enumerate(((1, "o-"), (8, "s--"), (32, "^-."))):
            capacity = limit / (ALPHA + BETA * limit)
            rates = capacity * np.array([.03, .1, .2, .35, .5, .65, .8, .9, .96])
            times = []
            for rate in rates:
                arrivals = _poisson(rate, 20000)
                latency = 1000 * (serve(arrivals, ALPHA, BETA, limit) - arrivals)
                times.append(latency.mean() if name == "mean"
                             else np.quantile(latency, 0.99))
            ax.loglog(rates, times, style, color=f"C{i}", markersize=4,
                      label=f"batches up to {limit}")
            ax.axvline(capacity, color=f"C{i}", lw=0.8, ls=":")
        ax.set_xlabel("requests per second")
        ax.text(0.5, 1.02, name, transform=ax.transAxes, ha="center", fontsize=10)
    axes[0].set_ylabel("latency (ms)")
    axes[0].set_ylim(8, 900)
    axes[0].set_yticks([10, 30, 100, 300], ["10", "30", "100", "300"])
    axes[0].legend(fontsize=9, loc="upper left")
    return fig


def figure_drift():
    """PSI and accuracy for three kinds of change that begin in week 8."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1))
    styles = (("harmless", "irrelevant feature moves", "-", "o"),
              ("harmful", "relevant feature moves", "--", "s"),
              ("rule", "labels change, inputs do not", "-.", "^"))
    for i, (scenario, label, ls, marker) in enumerate(styles):
        score, accuracy = _weeks(scenario)
        for ax, values in zip(axes, (score, accuracy)):
            ax.plot(values, ls=ls, marker=marker, markersize=3, lw=1.5, color=f"C{i}",
                    label=label)
    axes[0].axhline(0.25, color="#555555", lw=1, ls=":")
    axes[0].text(0, 0.27, "0.25", fontsize=9, color="#222222")
    axes[0].set_ylabel("largest PSI of a feature")
    axes[0].set_ylim(0, 1.7)
    axes[1].set_ylabel("accuracy")
    axes[1].set_ylim(0.4, 1)
    for ax in axes:
        ax.axvline(7.5, color="#222222", lw=0.8)
        ax.set_xlabel("week")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, fontsize=9, loc="outside upper center", ncol=2)
    return fig


def figure_ab():
    """False alarms from peeking, and users needed against the lift."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.0))
    rate = _peeking(20, runs=20000)
    axes[0].plot(np.arange(1, 21), rate, "o-", markersize=4)
    axes[0].axhline(0.05, color="#222222", ls="--", lw=1)
    axes[0].text(20, 0.056, "nominal 5%", ha="right", fontsize=9)
    axes[0].set_xlabel("looks at the running test")
    axes[0].set_ylabel("false alarms in A/A tests")
    axes[0].set_ylim(0, 0.29)
    axes[0].set_xticks([1, 5, 10, 15, 20])
    lift = np.geomspace(0.01, 0.3, 40)
    for i, (base, ls) in enumerate(((0.01, "-"), (0.05, "--"), (0.3, "-."))):
        axes[1].loglog(lift, [ab_sample_size(base, base * (1 + r)) for r in lift], ls,
                       color=f"C{i}", label=f"base rate {base:.0%}")
    axes[1].set_xticks([0.01, 0.03, 0.1, 0.3], ["1%", "3%", "10%", "30%"])
    axes[1].set_xticks([], minor=True)
    axes[1].set_xlabel("relative lift to detect")
    axes[1].set_ylabel("users per arm")
    axes[1].legend(fontsize=9)
    return fig


def check_deploy_little():
    """Equation (deploy-little): integrate the number in the system, event by event."""
    for limit, rate in ((1, 70), (8, 300)):
        arrivals = _poisson(rate, 3000)
        done = serve(arrivals, ALPHA, BETA, limit)
        horizon = done[-1]
        events = np.concatenate([arrivals, done])
        change = np.concatenate([np.ones(3000), -np.ones(3000)])
        order = np.argsort(events, kind="stable")
        inside = change[order].cumsum()[:-1]
        mean_inside = (inside * np.diff(events[order])).sum() / horizon
        assert np.isclose(mean_inside, 3000 / horizon * (done - arrivals).mean())


def check_deploy_batch():
    """Equation (deploy-batch): throughput of the simulated server under overload."""
    for limit in (1, 8, 32):
        done = serve(np.linspace(0, 1e-6, 640), ALPHA, BETA, limit)
        measured = 640 / done[-1]
        assert abs(measured / (limit / (ALPHA + BETA * limit)) - 1) < 0.02
    done = serve(np.linspace(0, 1e-6, 200000), ALPHA, BETA, 5000)
    assert abs(200000 / done[-1] * BETA - 1) < 0.01           # limit 1 / beta


def check_deploy_batch_minimum():
    """Equation (deploy-batch-minimum): one below diverges, one above does not."""
    rate = 400
    need = rate * ALPHA / (1 - rate * BETA)
    assert abs(need - 6.667) < 1e-3
    arrivals = _poisson(rate, 40000)
    late = {}
    for limit in (6, 7, 8):
        latency = serve(arrivals, ALPHA, BETA, limit) - arrivals
        late[limit] = latency[-2000:].mean() / latency[18000:20000].mean()
    assert late[6] > 1.7                     # backlog grows in proportion to time
    latency = serve(arrivals, ALPHA, BETA, 8) - arrivals
    assert latency[-10000:].mean() < 0.1


def check_deploy_queue():
    """Equation (deploy-queue): single requests of fixed service time, simulated."""
    s = ALPHA + BETA
    for rate, tolerance in ((20, 0.02), (60, 0.02), (80, 0.05)):
        arrivals = _poisson(rate, 200000, seed=1)
        begin = np.maximum.accumulate(arrivals - s * np.arange(200000))
        mean = (begin + s * np.arange(200000) + s - arrivals).mean()
        rho = rate * s
        assert abs(mean / (s + s * rho / (2 * (1 - rho))) - 1) < tolerance
    # the short formula for the queue above agrees with the server of the page
    arrivals = _poisson(60, 2000)
    begin = np.maximum.accumulate(arrivals - s * np.arange(2000)) + s * np.arange(2000)
    assert np.allclose(begin + s, serve(arrivals, ALPHA, BETA, 1))


def check_deploy_memory():
    """Equation (deploy-memory): against the bytes of real tensors."""
    layers, kv_heads, d_h, sequences, length = 3, 2, 8, 4, 10
    net = torch.nn.Linear(30, 20).half()
    cache = [(torch.zeros(sequences, kv_heads, length, d_h, dtype=torch.half),) * 2
             for _ in range(layers)]
    stored = sum(p.nbytes for p in net.parameters())
    stored += sum(k.nbytes + v.nbytes for k, v in cache)
    formula = 2 * (30 * 20 + 20) + 2 * 2 * layers * kv_heads * d_h * sequences * length
    assert stored == formula


def check_deploy_intensity():
    """Equation (deploy-intensity): counted operations over bytes of the weights."""
    for dtype, b in ((torch.float32, 4), (torch.bfloat16, 2)):
        layer = torch.nn.Linear(64, 48, bias=False, dtype=dtype)
        for batch in (1, 16):
            with FlopCounterMode(display=False) as counter:
                layer(torch.zeros(batch, 64, dtype=dtype))
            assert counter.get_total_flops() / layer.weight.nbytes == 2 * batch / b


def check_deploy_quantize():
    """Equation (deploy-quantize): zero is exact, integers in range, PyTorch agrees."""
    rng = np.random.default_rng(0)
    for low, high in ((-1, 3), (0.5, 2), (-4, -1)):
        x = np.append(rng.uniform(low, high, 999), 0.0)
        q, s, z = quantize(x)
        assert q.min() >= 0 and q.max() <= 255 and s * (q[-1] - z) == 0
        ours = s * (q - z)
        theirs = quantize_torch(torch.from_numpy(x)).numpy()
        assert np.abs(ours - theirs).max() < 1e-6


def check_deploy_quantize_error():
    """Equation (deploy-quantize-error): the bound, and that it is nearly reached."""
    rng = np.random.default_rng(0)
    for bits in (4, 8):
        for _ in range(20):
            x = rng.normal(rng.normal(), rng.exponential(), 5000)
            q, s, z = quantize(x, bits)
            error = np.abs(x - s * (q - z))
            assert error.max() <= s / 2 * (1 + 1e-9) and error.max() > 0.45 * s
    x = rng.uniform(-1, 1, 100000)
    q, s, z = quantize(x)
    assert abs(np.mean((x - s * (q - z)) ** 2) / (s**2 / 12) - 1) < 0.02


def check_deploy_quantize_dot():
    """Equation (deploy-quantize-dot): integer product, and the bound on its error."""
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal(64), rng.standard_normal(64)
    qw, sw, zw = quantize(w)
    qx, sx, zx = quantize(x)
    integer = sw * sx * np.sum((qw - zw) * (qx - zx))
    w_hat, x_hat = sw * (qw - zw), sx * (qx - zx)
    assert np.isclose(integer, w_hat @ x_hat, atol=1e-12)
    for _ in range(200):
        x = rng.standard_normal(64)
        assert abs((w_hat - w) @ x) <= sw / 2 * np.abs(x).sum()
    worst = np.sign(w_hat - w)
    assert abs((w_hat - w) @ worst) > 0.3 * sw / 2 * 64


def check_deploy_psi():
    """Equation (deploy-psi): sum of two KL divergences; squared mean shift."""
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(10), 2)
    total = np.sum((p - q) * np.log(p / q))
    assert np.isclose(total, np.sum(p * np.log(p / q)) + np.sum(q * np.log(q / p)))
    x = rng.standard_normal(400000)
    for shift in (0.3, 0.5, 1.0):
        fine = psi(x, rng.standard_normal(400000) + shift, bins=300)
        coarse = psi(x, rng.standard_normal(400000) + shift)
        assert coarse < shift**2 and abs(fine / shift**2 - 1) < 0.03
    assert abs(psi(x, rng.standard_normal(400000) + 0.5) - 0.235) < 0.01


def check_deploy_psi_null():
    """Equation (deploy-psi-null): mean of the PSI between equal distributions."""
    rng = np.random.default_rng(0)
    for n, m in ((2000, 2000), (20000, 500)):
        mean = np.mean([psi(rng.standard_normal(n), rng.standard_normal(m))
                        for _ in range(600)])
        assert abs(mean / (9 * (1 / n + 1 / m)) - 1) < 0.1
    small = [psi(rng.standard_normal(10000), rng.standard_normal(60))
             for _ in range(400)]
    assert 0.13 < np.mean(small) < 0.17 and np.mean(np.array(small) > 0.1) > 0.65


def check_deploy_ks():
    """Equation (deploy-ks): shift of a normal distribution; the 5% threshold."""
    rng = np.random.default_rng(0)
    for shift in (0.1, 0.5):
        exact = 2 * NormalDist().cdf(shift / 2) - 1
        got = ks(rng.standard_normal(200000), rng.standard_normal(200000) + shift)
        assert abs(got - exact) < 0.005
    n, m = 2000, 1000
    limit = 1.358 * np.sqrt((n + m) / (n * m))
    alarms = np.mean([ks(rng.standard_normal(n), rng.standard_normal(m)) > limit
                      for _ in range(1000)])
    assert abs(alarms - 0.05) < 0.02


def check_deploy_ab_size():
    """Equation (deploy-ab-size): power of simulated tests at the computed size."""
    for p_a, p_b in ((0.05, 0.055), (0.3, 0.33), (0.01, 0.012)):
        n = int(np.ceil(ab_sample_size(p_a, p_b)))
        assert abs(_reject(p_a, p_b, n) - 0.8) < 0.015
        assert abs(_reject(p_a, p_a, n) - 0.05) < 0.006


def check_deploy_canary():
    """Equation (deploy-canary): a fault of rate p stays unseen in n requests."""
    rng = np.random.default_rng(0)
    p = 0.002
    n = int(np.ceil(np.log(0.05) / np.log(1 - p)))
    unseen = np.mean(rng.binomial(n, p, 100000) == 0)
    assert abs(unseen - 0.05) < 0.003 and abs(n * p - 3) < 0.01 and n == 1497


def check_worked_example():
    """Numbers of the worked example."""
    assert 7e9 * 2 == 14e9
    per_token = 2 * 2 * 32 * 32 * 128
    assert per_token == 524288 and 4096 * per_token == 2**31
    left = 80e9 - 14e9 - 4e9
    assert int(left // (4096 * per_token)) == 28
    assert int((80e9 - 7e9 - 4e9) // (4096 * per_token)) == 32
    assert int(left // (4096 * per_token / 4)) == 115
    x = np.array([-0.8, 0.0, 0.33, 1.7])
    q, s, z = quantize(x, bits=4)
    assert np.isclose(s, 2.5 / 15) and z == 5 and list(q) == [0, 5, 7, 15]
    assert np.allclose(s * (q - z), [-0.8333, 0, 0.3333, 1.6667], atol=1e-4)
    assert np.isclose(np.abs(x - s * (q - z)).max(), s * 0.2)
    s = ALPHA + BETA
    for rate, ms in ((20, 12.6), (60, 21.7), (85, 90.1)):
        rho = rate * s
        assert abs(1000 * (s + s * rho / (2 * (1 - rho))) - ms) < 0.06, rate
    assert np.allclose([b / (ALPHA + BETA * b) for b in (1, 8, 32)],
                       [90.9, 444.4, 761.9], atol=0.05)
    n = ab_sample_size(0.05, 0.055)
    assert int(np.ceil(n)) == 31231, n
    assert 3.9 < ab_sample_size(0.05, 0.0525) / n < 4.0


def check_peeking():
    """Ten looks at 5% each give nearly 20% false alarms, twenty about 25%."""
    rate = _peeking(20)
    assert abs(rate[0] - 0.05) < 0.012
    assert 0.17 < rate[9] < 0.21 and 0.22 < rate[19] < 0.27


def check_drift():
    """The claims about the drift figure."""
    result = {name: _weeks(name) for name in ("harmless", "harmful", "rule")}
    for name, (score, accuracy) in result.items():
        assert score[:8].max() < 0.03, name
        assert 0.78 < accuracy[:8].mean() < 0.85, (name, accuracy[:8].mean())
    last = slice(16, None)
    assert result["harmless"][0][last].min() > 1
    before = {name: accuracy[:8].mean() for name, (_, accuracy) in result.items()}
    assert abs(result["harmless"][1][last].mean() - before["harmless"]) < 0.02
    assert result["harmful"][0][last].min() > 1
    assert result["harmful"][1][last].mean() < before["harmful"] - 0.05
    assert result["rule"][0].max() < 0.03 and result["rule"][1][8:].mean() < 0.6


def check_skew():
    """The table of serving mistakes: accuracy on 597 digits."""
    got = _skew()
    for mistake, value in zip(got, (0.98, 0.88, 0.87, 0.06, 0.11)):
        assert abs(got[mistake] - value) < 0.04, (mistake, got[mistake])


def check_batching_numbers():
    """At 60 requests per second batching lowers the latency too."""
    arrivals = _poisson(60, 20000)
    single = 1000 * (serve(arrivals, ALPHA, BETA, 1) - arrivals)
    batched = 1000 * (serve(arrivals, ALPHA, BETA, 8) - arrivals)
    assert abs(single.mean() - 22) < 1 and abs(batched.mean() - 14.6) < 0.3
    assert abs(np.quantile(single, 0.99) - 74) < 4
    assert abs(np.quantile(batched, 0.99) - 23.5) < 0.5


def check_outlier():
    """One value of 60 among 10,000 standard normals wastes most of the codes."""
    x = np.random.default_rng(0).standard_normal(10000)
    q, s, z = quantize(x)
    clean = np.sqrt(np.mean((x - s * (q - z)) ** 2))
    q, s, z = quantize(np.append(x, 60.0))
    dirty = np.sqrt(np.mean((x - s * (q[:-1] - z)) ** 2))
    assert abs(clean - 0.0083) < 1e-4 and abs(dirty - 0.072) < 1e-3
    assert len(np.unique(q)) == 32


def check_export():
    """The exported program agrees to 1e-6; a leftover training mode does not."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16),
                                torch.nn.ReLU(), torch.nn.Dropout(0.5),
                                torch.nn.Linear(16, 3))
    batches = [torch.randn(32, 8) for _ in range(3)]
    for x in batches:
        model(x)
    assert export_and_compare(model, batches) < 1e-6
    want = model(batches[0])
    assert not torch.allclose(model.train()(batches[0]), want, atol=0.1)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
