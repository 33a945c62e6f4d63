"""Page mixed-precision: checks number formats, rounding, lost updates, loss scaling, memory."""
import matplotlib.pyplot as plt
import numpy as np
import torch

# --8<-- [start:numpy]
FORMATS = {                       # exponent bits, stored significand bits
    "FP32": (8, 23), "TF32": (8, 10), "BF16": (8, 7), "FP16": (5, 10), "E5M2": (5, 2),
}


def round_to(x, exp_bits, man_bits, noise=None):
    """Round float64 values to a binary format: nearest, ties to even, with subnormals.

    With `noise`, uniform on [0, 1) and of the shape of x, rounding is stochastic:
    up with a probability equal to the distance from the lower neighbor in steps.
    """
    x = np.asarray(x, dtype=np.float64)
    bias = 2 ** (exp_bits - 1) - 1
    exponent = np.maximum(np.frexp(x)[1] - 1, 1 - bias)
    step = 2.0 ** (exponent - man_bits)          # spacing of the format around x
    y = step * (np.rint(x / step) if noise is None else np.floor(x / step + noise))
    largest = (2 - 2.0**-man_bits) * 2.0**bias
    return np.where(np.abs(y) > largest, np.copysign(np.inf, y), y)


class DynamicScale:
    """Loss scale that halves after an overflow and doubles after `interval` good steps."""

    def __init__(self, scale=2.0**16, interval=2000):
        self.scale, self.interval, self.good = scale, interval, 0

    def update(self, overflow):
        if overflow:
            self.scale, self.good = self.scale / 2, 0
        else:
            self.good += 1
            if self.good == self.interval:
                self.scale, self.good = self.scale * 2, 0


def fp16_step(master, gradient, lr, scaler):
    """One SGD step: FP16 weights and scaled FP16 gradient, FP32 master weights.

    `gradient(w, s)` returns the gradient of s times the loss at the weights w.
    """
    w16 = round_to(master, 5, 10)
    g16 = round_to(gradient(w16, scaler.scale), 5, 10)
    overflow = not np.isfinite(g16).all()
    if not overflow:                             # skip the step otherwise
        master = round_to(master - lr * g16 / scaler.scale, 8, 23)
    scaler.update(overflow)
    return master
# --8<-- [end:numpy]


# --8<-- [start:torch]
def train(model, batches, loss_fn, device="cuda", dtype=torch.float16, lr=1e-3):
    """Automatic mixed precision: FP32 parameters, 16-bit matrix products.

    The scaler is needed for float16 and does nothing for bfloat16.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
    for x, y in batches:
        optimizer.zero_grad()
        with torch.autocast(device, dtype=dtype):     # forward and loss only
            loss = loss_fn(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)                    # before clipping or logging
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)                        # skipped if inf or NaN
        scaler.update()
    return model
# --8<-- [end:torch]


TORCH_TYPES = {"FP32": torch.float32, "BF16": torch.bfloat16, "FP16": torch.float16,
               "E5M2": torch.float8_e5m2}


def extremes(exp_bits, man_bits):
    """Largest, smallest normal, smallest subnormal number and spacing at one."""
    bias = 2 ** (exp_bits - 1) - 1
    return ((2 - 2.0**-man_bits) * 2.0**bias, 2.0 ** (1 - bias),
            2.0 ** (1 - bias - man_bits), 2.0**-man_bits)


def e4m3(x):
    """Round to E4M3 with saturation at 448 (no infinities in this format)."""
    x = np.asarray(x, dtype=np.float64)
    exponent = np.clip(np.frexp(x)[1] - 1, -6, 8)
    step = 2.0 ** (exponent - 3.0)
    return np.clip(step * np.rint(x / step), -448, 448)


def _regression(kind, steps=4000, lr=0.01, seed=0):
    """Gradient descent on least squares with weights stored as `kind`; excess cost."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, 20))
    target = rng.standard_normal(20)
    h = x.T @ x / len(x)
    w = np.zeros(20)
    costs = []
    for _ in range(steps):
        used = round_to(w, 8, 7) if kind == "master" else w
        g = h @ (used - target)
        if kind != "FP32":
            g = round_to(g, 8, 7)
        new = w - lr * g
        if kind == "nearest":
            w = round_to(new, 8, 7)
        elif kind == "stochastic":
            w = round_to(new, 8, 7, rng.random(20))
        else:
            w = round_to(new, 8, 23)
        costs.append(0.5 * (w - target) @ h @ (w - target))
    return np.array(costs)


def figure_formats():
    """The range of each format on a logarithmic axis, and the spacing at one."""
    rows = [("FP32", 8, 23), ("TF32", 8, 10), ("BF16", 8, 7), ("FP16", 5, 10),
            ("FP8 E5M2", 5, 2), ("FP8 E4M3", 4, 3)]
    fig, ax = plt.subplots(figsize=(6.4, 3.3))
    for i, (name, e, m) in enumerate(rows):
        big, normal, sub, _ = extremes(e, m)
        if name.endswith("E4M3"):
            big = 448.0
        lo, mid, hi = np.log2([sub, normal, big])
        ax.barh(i, hi - mid, left=mid, height=0.55, color="C0", edgecolor="#222222",
                linewidth=0.6, label="normal numbers" if i == 0 else None)
        ax.barh(i, mid - lo, left=lo, height=0.55, color="C1", hatch="////",
                edgecolor="#222222", linewidth=0.6,
                label="subnormal numbers" if i == 0 else None)
        ax.annotate(f"{m + 1} bits", (138, i), va="center", fontsize=9)
    ax.axvline(0, color="#555555", lw=1, ls=":")
    ax.set_yticks(range(len(rows)), [r[0] for r in rows])
    ax.invert_yaxis()
    ax.set_xlim(-155, 175)
    ax.set_xticks([-149, -126, -24, 0, 16, 128])
    ax.set_xticklabels(["-149", "-126", "-24", "0", "16", "128"], fontsize=9)
    ax.set_xlabel("base-2 logarithm of the magnitude")
    ax.annotate("significand", (156, -0.75), ha="center", fontsize=9,
                annotation_clip=False)
    ax.grid(axis="y", visible=False)
    ax.legend(fontsize=9, loc="lower left", frameon=False)
    return fig


def figure_lost_updates():
    """Excess cost of gradient descent with weights kept in BF16 or in FP32."""
    fig, ax = plt.subplots(figsize=(6.4, 3.1))
    styles = (("FP32", "all FP32", "C0", "-"),
              ("master", "BF16 products, FP32 master weights", "C2", "--"),
              ("stochastic", "BF16 weights, stochastic rounding", "C3", "-."),
              ("nearest", "BF16 weights, nearest rounding", "C1", ":"))
    for kind, label, color, ls in styles:
        cost = _regression(kind)
        ax.plot(np.maximum(cost, 1e-14), color=color, ls=ls, label=label,
                lw=2.4 if kind == "nearest" else 1.4)
    ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("excess cost")
    ax.set_ylim(1e-11, 100)
    ax.legend(fontsize=9, frameon=False, loc="lower center", ncol=2,
              bbox_to_anchor=(0.46, 1.0))
    return fig


def _gradients(n=200_000, seed=0):
    """Made-up gradient magnitudes: log-normal, median 1e-7, one decade standard deviation."""
    return 10.0 ** np.random.default_rng(seed).normal(-7, 1, n)


def _lost(g, scale):
    """Share of nonzero gradients that become zero in FP16, and whether one overflows."""
    r = round_to(g * scale, 5, 10)
    return np.mean(r == 0), bool(np.isinf(r).any())


def figure_loss_scale():
    """Share of the gradients that FP16 turns into zero, against the loss scale."""
    g = _gradients()
    powers = np.arange(0, 33)
    lost, over = zip(*[_lost(g, 2.0**p) for p in powers])
    lost, over = np.array(lost), np.array(over)
    fig, ax = plt.subplots(figsize=(6.4, 2.9))
    ax.plot(powers, 100 * lost, color="C0", marker="o", ms=3.5,
            label="gradients rounded to zero")
    first = powers[over].min()
    ax.axvspan(first, 32, color="C1", alpha=0.25, hatch="//", lw=0,
               label="largest gradient overflows: step skipped")
    ax.axvline(16, color="#555555", ls="--", lw=1)
    ax.annotate("PyTorch starts here", (16, 18), fontsize=9, ha="right",
                xytext=(-4, 0), textcoords="offset points")
    ax.set_xlabel("base-2 logarithm of the loss scale")
    ax.set_ylabel("percent of gradients")
    ax.set_ylim(0, 35)
    ax.set_xlim(0, 32)
    ax.legend(fontsize=9, frameon=False, loc="upper center")
    return fig


def check_fp_value():
    """Equation (fp-value): every finite bit pattern of FP16, BF16, E5M2 and E4M3."""
    kinds = ((torch.float16, torch.int16, 5, 10, False),
             (torch.bfloat16, torch.int16, 8, 7, False),
             (torch.float8_e5m2, torch.uint8, 5, 2, False),
             (torch.float8_e4m3fn, torch.uint8, 4, 3, True))
    for dtype, raw, e_bits, m_bits, no_inf in kinds:
        total = 1 + e_bits + m_bits
        code = np.arange(2**total)
        sign, e = code >> (total - 1), (code >> m_bits) & (2**e_bits - 1)
        m = code & (2**m_bits - 1)
        bias = 2 ** (e_bits - 1) - 1
        value = (-1.0) ** sign * np.where(
            e > 0, 2.0 ** (e - bias) * (1 + m / 2**m_bits),
            2.0 ** (1 - bias) * m / 2**m_bits)
        bits = code.astype(np.uint16).view(np.int16) if total == 16 else code.astype(np.uint8)
        theirs = torch.from_numpy(bits.copy()).to(raw).view(dtype).double().numpy()
        finite = ~((e == 2**e_bits - 1) & ((m == 2**m_bits - 1) if no_inf else True))
        assert np.array_equal(np.isfinite(theirs), finite)
        assert np.array_equal(theirs[finite], value[finite])


def check_fp_extremes():
    """Equation (fp-extremes): PyTorch's finfo; the numbers of the table."""
    for name, dtype in TORCH_TYPES.items():
        big, normal, sub, eps = extremes(*FORMATS[name])
        info = torch.finfo(dtype)
        assert info.max == big and info.smallest_normal == normal and info.eps == eps
        assert torch.tensor([sub], dtype=dtype).double().item() == sub
        # Half of the smallest subnormal rounds to zero (tie to even).
        assert torch.tensor([sub / 2], dtype=torch.float64).to(dtype).double().item() == 0
    assert extremes(5, 10)[0] == 65504 and extremes(5, 2)[0] == 57344
    assert torch.finfo(torch.float8_e4m3fn).max == 448 == 1.75 * 2**8
    assert np.isclose(extremes(8, 7)[0], 3.39e38, rtol=1e-3)
    assert np.isclose(extremes(8, 23)[0], 3.40e38, rtol=1e-3)
    assert np.isclose(extremes(8, 10)[0], 3.40e38, rtol=1e-3)
    assert np.isclose(extremes(5, 10)[1], 6.10e-5, rtol=1e-3)
    assert np.isclose(extremes(5, 10)[2], 5.96e-8, rtol=1e-3)
    assert np.isclose(extremes(8, 7)[1], 1.18e-38, rtol=5e-3)
    assert np.isclose(extremes(8, 7)[2], 9.2e-41, rtol=5e-3)
    assert np.isclose(extremes(8, 10)[2], 1.1e-41, rtol=5e-2)
    assert np.isclose(extremes(8, 23)[2], 1.4e-45, rtol=5e-3)
    assert np.isclose(extremes(5, 2)[2], 1.5e-5, rtol=2e-2)
    assert np.isclose(2.0**-9, 0.00195, rtol=5e-3)           # E4M3 smallest subnormal
    small = torch.tensor([2.0**-9, 2.0**-10]).to(torch.float8_e4m3fn).float()
    assert small.tolist() == [2.0**-9, 0.0]


def check_fp_rounding():
    """Equation (fp-rounding): the bound on the relative error, and how tight it is."""
    rng = np.random.default_rng(0)
    for name, (e, m) in FORMATS.items():
        big, normal, _, _ = extremes(e, m)
        lo, hi = max(normal, 1e-30), min(big, 1e30)
        x = np.exp(rng.uniform(np.log(lo), np.log(hi * 0.9), 20_000))
        rel = np.abs(round_to(x, e, m) - x) / x
        assert rel.max() <= 2.0 ** (-m - 1)
        assert rel.max() > 0.85 * 2.0 ** (-m - 1)


def check_fp_lost_update():
    """Equation (fp-lost-update): certainly lost below the first bound, kept above the second."""
    rng = np.random.default_rng(1)
    for m, e in ((10, 5), (7, 8)):
        w = round_to(rng.choice([-1, 1], 5000) * 2.0 ** rng.uniform(-8, 3, 5000), e, m)
        w[:24] = 2.0 ** np.arange(-12, 12)               # powers of two are the edge case
        for sign in (-1, 1):
            small = sign * 0.999 * 2.0 ** (-m - 2) * np.abs(w)
            large = sign * 1.001 * 2.0 ** (-m - 1) * np.abs(w)
            assert np.array_equal(round_to(w + small, e, m), w)
            assert np.all(round_to(w + large, e, m) != w)
    # Between the bounds it depends on the weight: relative update 0.3 spacings of one.
    near_two = 2 - 2.0**-10
    assert round_to(near_two * (1 + 0.3 * 2.0**-10), 5, 10) != near_two
    assert round_to(1.0 + 0.3 * 2.0**-10, 5, 10) == 1.0


def check_fp_stall():
    """Equation (fp-stall): adding ones one by one stops at 2 to the power man_bits + 1."""
    for dtype, m in ((torch.float16, 10), (torch.bfloat16, 7)):
        total, one = torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)
        for _ in range(3000):
            total = total + one
        assert total.item() == 2 ** (m + 1)
        exact = torch.arange(2 ** (m + 1) + 1, dtype=torch.float64)
        assert torch.equal(exact.to(dtype).double(), exact)
        assert torch.tensor(2.0 ** (m + 1) + 1).to(dtype).item() == 2 ** (m + 1)


def check_fp_stochastic():
    """Equation (fp-stochastic): unbiased; 200,000 draws, 1 % of the spacing."""
    rng = np.random.default_rng(2)
    for x in (1.001, -0.3, 1.0003):
        y = round_to(np.full(200_000, x), 8, 7, rng.random(200_000))
        spacing = 2.0 ** (np.floor(np.log2(abs(x))) - 7)
        assert len(np.unique(y)) == 2 and abs(y.mean() - x) < 0.01 * spacing
    assert round_to(1.001, 8, 7) == 1.0                    # nearest is biased here


def check_fp_loss_scaling():
    """Equation (fp-loss-scaling): gradients of S times J; error bound after unscaling."""
    torch.manual_seed(0)
    x, y = torch.randn(16, 5).double(), torch.randn(16, 1).double()
    layer = torch.nn.Linear(5, 1).double()
    loss = ((layer(x) - y) ** 2).mean()
    g1 = torch.autograd.grad(loss, layer.weight, retain_graph=True)[0]
    g2 = torch.autograd.grad(1024 * loss, layer.weight)[0]
    assert torch.equal(g2, 1024 * g1)                      # exact for a power of two
    rng = np.random.default_rng(3)
    for s in (1.0, 2.0**10, 2.0**16):
        lo, hi = 2.0**-14 / s, 65504 / s
        g = np.exp(rng.uniform(np.log(lo), np.log(hi), 20_000))
        back = round_to(s * g, 5, 10) / s
        assert np.max(np.abs(back - g) / g) <= 2.0**-11
        assert np.all(round_to(s * np.array([2.0**-25, 1e-9 / s]) / s, 5, 10) == 0)
        assert round_to(s * 0.99 * 2.0**-25 / s, 5, 10) == 0
        assert np.isinf(round_to(1.01 * 65504, 5, 10))


def check_fp_dynamic_scale():
    """Equation (fp-dynamic-scale): our rule against torch.amp.GradScaler, step for step."""
    p = torch.nn.Parameter(torch.ones(2))
    opt = torch.optim.SGD([p], lr=0.1)
    theirs = torch.amp.GradScaler("cpu", growth_interval=3)
    ours = DynamicScale(interval=3)
    bad = {4, 9, 10, 13}
    for t in range(25):
        opt.zero_grad()
        factor = float("inf") if t in bad else 1.0
        theirs.scale((p * factor).sum()).backward()
        before = p.detach().clone()
        theirs.step(opt)
        theirs.update()
        ours.update(t in bad)
        assert theirs.get_scale() == ours.scale
        assert torch.equal(before, p.detach()) == (t in bad)
    fresh = torch.amp.GradScaler("cpu")
    assert (fresh.get_scale(), fresh.get_growth_factor()) == (65536, 2)
    assert (fresh.get_backoff_factor(), fresh.get_growth_interval()) == (0.5, 2000)


def check_fp_tensor_scale():
    """Equation (fp-tensor-scale): E4M3 with a scale per tensor, error at most 1/16."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal(50_000) * 1e-4
    ours = e4m3(x)
    theirs = torch.from_numpy(x).to(torch.float8_e4m3fn).double().numpy()
    assert np.array_equal(ours, theirs) and np.all(ours == 0)     # all lost without a scale
    s = 448 / np.abs(x).max()
    back = e4m3(s * x) / s
    normal = np.abs(s * x) >= 2.0**-6
    assert np.max(np.abs(back - x)[normal] / np.abs(x)[normal]) <= 2.0**-4
    assert normal.mean() > 0.99
    assert np.allclose(back[np.argmax(np.abs(x))], x[np.argmax(np.abs(x))])


def check_fp_memory():
    """Equation (fp-memory): bytes counted on real tensors; the worked numbers."""
    layer = torch.nn.Linear(64, 32, bias=False)
    opt = torch.optim.Adam(layer.parameters())
    layer(torch.randn(4, 64)).sum().backward()
    opt.step()
    w = layer.weight
    state = [v for v in opt.state[w].values() if v.numel() == w.numel()]
    total = sum(t.numel() * t.element_size() for t in [w, w.grad, *state])
    assert total == 16 * w.numel()
    half = layer.to(torch.bfloat16)
    mixed = half.weight.numel() * (2 + 2) + w.numel() * (4 + 4 + 4)
    assert mixed == 16 * w.numel() and half.weight.element_size() == 2
    assert 7e9 * 16 == 112e9 and 7e9 * 2 == 14e9 and 7e9 * 0.5 == 3.5e9


def check_numpy_vs_torch():
    """round_to equals PyTorch's casts bit for bit; the FP16 step equals a torch step."""
    rng = np.random.default_rng(5)
    x = rng.choice([-1, 1], 50_000) * 10.0 ** rng.uniform(-12, 8, 50_000)
    for name in ("FP16", "BF16", "E5M2"):
        x32 = x.astype(np.float32)
        theirs = torch.from_numpy(x32).to(TORCH_TYPES[name]).double().numpy()
        assert np.array_equal(round_to(x32, *FORMATS[name]), theirs)
    w, target = np.array([1.0, -0.5]), np.array([0.25, 0.75])
    scaler = DynamicScale(scale=1024.0)
    ours = fp16_step(w, lambda v, s: s * (v - target), 0.1, scaler)
    g = (1024 * (torch.tensor(w).half().double() - torch.tensor(target))).half()
    theirs = torch.tensor(w).float() - 0.1 * g.float() / 1024
    assert np.allclose(ours, theirs.numpy(), atol=1e-7)
    skipped = fp16_step(w, lambda v, s: s * 1e3 * v, 0.1, scaler)
    assert np.array_equal(skipped, w) and scaler.scale == 512


def check_train_runs():
    """The PyTorch loop on the CPU with BF16: FP32 weights, loss falls, close to FP32."""
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    y = (x @ torch.randn(8, 1)).tanh()
    finals = []
    for dtype in (torch.bfloat16, torch.float16, None):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(),
                                    torch.nn.Linear(16, 1))
        loss = torch.nn.functional.mse_loss
        start = loss(model(x), y).item()
        if dtype is None:
            opt = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(100):
                opt.zero_grad()
                loss(model(x), y).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
        else:
            train(model, [(x, y)] * 100, loss, device="cpu", dtype=dtype, lr=0.1)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        finals.append(loss(model(x), y).item())
        assert finals[-1] < 0.3 * start
    assert np.allclose(finals, finals[-1], rtol=0.05)


def check_autocast_types():
    """Where autocast runs what: products in 16 bits, parameters and losses in FP32."""
    layer = torch.nn.Linear(8, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = layer(torch.randn(4, 8))
        loss = torch.nn.functional.cross_entropy(z, torch.tensor([0, 1, 2, 0]))
        assert z.dtype == torch.bfloat16 and loss.dtype == torch.float32
        assert z.softmax(-1).dtype == torch.bfloat16       # CPU; FP32 on CUDA
    loss.backward()
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32


def check_worked_example():
    """Every number of the worked example."""
    half = lambda v: torch.tensor(v, dtype=torch.float64).half().double().item()
    bf = lambda v: torch.tensor(v, dtype=torch.float64).bfloat16().double().item()
    w = 1.0
    for _ in range(10):
        w = half(w + 3e-4)
    assert w == 1.0 and np.isclose(1 + 10 * 3e-4, 1.003)
    assert np.isclose(2.0**-10, 9.77e-4, rtol=1e-3) and half(1.003) == 1 + 3 * 2.0**-10
    assert np.isclose(half(1.003), 1.00293, atol=5e-6) and bf(1.003) == 1.0
    assert half(2e-8) == 0
    g = half(2e-8 * 1024)
    assert np.isclose(round(g / 2.0**-24), 344) and np.isclose(g / 1024, 2.0023e-8, rtol=1e-4)
    assert abs(g / 1024 / 2e-8 - 1) < 0.0013
    assert np.isinf(half(100.0 * 1024)) and half(100.0 * 512) == 51200
    assert np.isclose(102400, 100 * 1024)
    assert half(255.0**2) == 65024 and np.isinf(half(256.0**2)) and np.isfinite(bf(256.0**2))
    assert half(1e-8) == 0 and bf(1e-8) > 0
    assert np.isinf(half(np.exp(11.1))) and np.isfinite(half(np.exp(11.0)))
    nan = torch.tensor(float("inf")) - torch.tensor(float("inf"))
    assert torch.isnan(nan)


def check_regression_experiment():
    """The numbers quoted for the lost-updates figure."""
    final = {k: _regression(k)[-200:].mean() for k in ("FP32", "master", "stochastic",
                                                       "nearest")}
    assert final["FP32"] < 1e-9 and 0.1 < final["nearest"]
    assert final["nearest"] > 1000 * final["stochastic"]
    assert final["nearest"] > 10_000 * final["master"] > 1e4 * final["FP32"]
    g = _gradients()
    assert np.isclose(_lost(g, 1.0)[0], 0.30, atol=0.01)
    assert _lost(g, 2.0**16)[0] < 1e-4 and not _lost(g, 2.0**16)[1]
    cost = _regression("nearest", steps=400)
    assert cost[150] < 1.2 * cost[-1] < 0.5 * cost[100]    # stalls at about 150 steps
    assert np.all(cost[299:] == cost[-1]) and cost[200] != cost[-1]
    start = _regression("FP32", steps=1)[0]
    print("   ", start, {k: float(f"{v:.2e}") for k, v in final.items()})


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
