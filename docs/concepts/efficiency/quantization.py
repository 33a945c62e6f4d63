"""Page quantization: checks rounding, scales, clipping, STE, GPTQ, outliers, memory."""
import matplotlib.pyplot as plt
import numpy as np
import torch

# --8<-- [start:numpy]
def affine_params(x_min, x_max, bits=8):
    """Scale and integer zero point for the range [x_min, x_max], extended to hold 0."""
    x_min, x_max = min(x_min, 0.0), max(x_max, 0.0)
    scale = (x_max - x_min) / (2**bits - 1)
    return scale, int(np.rint(-x_min / scale))


def quantize_affine(x, scale, zero, bits=8):
    """Integers 0 ... 2^bits - 1 and the real numbers that they stand for."""
    q = np.clip(np.rint(x / scale) + zero, 0, 2**bits - 1)
    return q, scale * (q - zero)


def quantize_symmetric(w, bits=8, group=None, clip=1.0):
    """Symmetric quantization of a (out, in) matrix, one scale for each group of a row.

    group=None: one scale a row (per channel). clip < 1 shrinks the range.
    Returns the integers, the dequantized matrix and the scales (out, groups).
    """
    out, width = w.shape
    blocks = w.reshape(out, -1, group or width)
    top = 2 ** (bits - 1) - 1
    scale = clip * np.abs(blocks).max(axis=2, keepdims=True) / top
    scale = np.where(scale == 0, 1.0, scale)
    q = np.clip(np.rint(blocks / scale), -top, top)
    return q.reshape(w.shape), (scale * q).reshape(w.shape), scale[..., 0]


def gptq(w, x, bits=4):
    """Quantize W (out, in) column by column; repair each error in the later columns.

    x (in, samples) holds calibration inputs. One scale per row, fixed at the start.
    The inverse is shrunk after each column, which removes that weight from the problem.
    """
    w, done = w.copy(), np.zeros_like(w)
    h = x @ x.T
    inv = np.linalg.inv(h + 0.01 * np.mean(np.diag(h)) * np.eye(len(h)))
    top = 2 ** (bits - 1) - 1
    scale = np.abs(w).max(axis=1) / top
    for j in range(w.shape[1]):
        done[:, j] = scale * np.clip(np.rint(w[:, j] / scale), -top, top)
        error = w[:, j] - done[:, j]
        w -= np.outer(error / inv[j, j], inv[j])
        inv -= np.outer(inv[:, j], inv[j]) / inv[j, j]
        inv[j, j] = 1.0                              # column j is finished
    return done
# --8<-- [end:numpy]


# --8<-- [start:torch]
class FakeQuantize(torch.autograd.Function):
    """Round in the forward pass; straight-through gradient in the backward pass."""

    @staticmethod
    def forward(ctx, x, scale, zero, low, high):
        q = torch.round(x / scale) + zero
        ctx.save_for_backward((q >= low) & (q <= high))
        return scale * (q.clamp(low, high) - zero)

    @staticmethod
    def backward(ctx, grad):
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None, None, None


class QuantLinear(torch.nn.Linear):
    """Linear layer trained with quantized weights (QAT), one scale per output row."""

    bits = 8

    def forward(self, x):
        top = 2 ** (self.bits - 1) - 1
        scale = self.weight.detach().abs().amax(dim=1, keepdim=True) / top
        w = FakeQuantize.apply(self.weight, scale, 0, -top, top)
        return torch.nn.functional.linear(x, w, self.bias)
# --8<-- [end:torch]


def _clip_error(c, bits, x):
    """Mean squared error of symmetric quantization of x with the threshold c."""
    top = 2 ** (bits - 1) - 1
    s = c / top
    return np.mean((x - s * np.clip(np.rint(x / s), -top, top)) ** 2)


def _clip_theory(c, bits):
    """Rounding plus clipping error for a standard normal variable."""
    from math import erf, exp, pi, sqrt
    tail = 0.5 * (1 - erf(c / sqrt(2)))
    density = exp(-c * c / 2) / sqrt(2 * pi)
    s = c / (2 ** (bits - 1) - 1)
    clipped = 2 * ((1 + c * c) * tail - c * density)
    return s * s / 12 * (1 - 2 * tail) + clipped


def _layer(outlier=1.0, seed=0, width=128, out=64, tokens=256):
    """Weights (out, in) and activations (tokens, in) whose channel 5 is larger."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((out, width)) / np.sqrt(width)
    x = rng.standard_normal((tokens, width))
    x[:, 5] *= outlier
    return w, x


def _int8(a, axis=None):
    """Symmetric 8 bits, one scale for the tensor or along an axis; dequantized."""
    top = np.abs(a).max(axis=axis, keepdims=axis is not None)
    s = top / 127
    return s * np.rint(a / s)


def _smooth(w, x, alpha=0.5):
    """SmoothQuant's scales for the input channels."""
    return np.abs(x).max(0) ** alpha / np.abs(w).max(0) ** (1 - alpha)


def _product_errors(outlier):
    """Error of X W^T in 8 bits, relative to the output of the ordinary channels."""
    w, x = _layer(outlier)
    exact = x @ w.T
    wq = _int8(w, axis=1)
    rest = np.delete(x, 5, axis=1) @ np.delete(w, 5, axis=1).T
    rel = lambda y: np.linalg.norm(y - exact) / np.linalg.norm(rest)
    s = _smooth(w, x)
    big = np.abs(x).max(0) > 6
    mixed = _int8(x[:, ~big], axis=1) @ _int8(w[:, ~big], axis=1).T
    return {"tensor": rel(_int8(x) @ wq.T), "token": rel(_int8(x, axis=1) @ wq.T),
            "smooth": rel(_int8(x / s) @ _int8(w * s, axis=1).T),
            "mixed": rel(mixed + x[:, big] @ w[:, big].T)}


def figure_grid():
    """Left: a 3-bit quantizer. Right: error against the clipping threshold."""
    fig, (a, b) = plt.subplots(1, 2, figsize=(6.4, 2.9))
    x = np.linspace(-1.6, 2.4, 2001)
    scale, zero = affine_params(-1.0, 2.0, 3)
    a.plot(x, quantize_affine(x, scale, zero, 3)[1], color="C0", label="3 bits, affine")
    a.plot(x, x, color="#555555", ls=":", label="identity")
    a.vlines([scale * (0 - zero), scale * (7 - zero)], -1.7, 2.6, color="C1", ls="--", lw=1,
             label="ends of the range")
    a.set_ylim(-1.8, 5.2)
    a.set_yticks([-1, 0, 1, 2])
    a.set_xlabel("value $x$")
    a.set_ylabel("what the integer stands for")
    a.legend(fontsize=9, frameon=False, loc="upper left")
    c = np.linspace(0.8, 6, 150)
    for bits, color, ls in ((3, "C0", "-"), (4, "C1", "--"), (6, "C2", "-."), (8, "C3", ":")):
        e = np.array([_clip_theory(v, bits) for v in c])
        b.plot(c, e, color=color, ls=ls, label=f"{bits} bits")
        b.plot(c[e.argmin()], e.min(), color=color, marker="o", ms=5)
    b.set_yscale("log")
    b.set_ylim(2e-5, 8)
    b.set_xlabel("threshold in standard deviations")
    b.set_ylabel("mean squared error")
    b.legend(fontsize=9, frameon=False, ncol=2, loc="upper right")
    fig.tight_layout()
    return fig


def figure_outliers():
    """Relative error of an 8-bit product against the size of one activation channel."""
    factors = 2.0 ** np.arange(0, 9)
    errors = [_product_errors(f) for f in factors]
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    names = (("tensor", "one scale for all activations", "C1", "-", "o"),
             ("token", "one scale per token", "C0", "--", "s"),
             ("smooth", "SmoothQuant, then one scale", "C2", "-.", "^"),
             ("mixed", "outlier channel in 16 bits", "C3", ":", "d"))
    for key, label, color, ls, marker in names:
        ax.plot(factors, [100 * e[key] for e in errors], color=color, ls=ls, marker=marker,
                ms=4, label=label)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(factors, [f"{f:.0f}" for f in factors])
    ax.set_xlabel("factor by which one of 128 channels is larger")
    ax.set_ylabel("error, percent of the output\nof the other channels")
    ax.legend(fontsize=9, frameon=False)
    return fig


def check_quant_affine():
    """Equation (quant-affine): half-step error, exact zero, PyTorch's integers."""
    rng = np.random.default_rng(0)
    for bits in (2, 4, 8):
        for lo, hi in ((-1.3, 2.7), (-0.2, 5.0), (-3.0, 0.1)):
            s, z = affine_params(lo, hi, bits)
            x = np.append(rng.uniform(lo, hi, 5000), [lo, hi, 0.0])
            q, back = quantize_affine(x, s, z, bits)
            assert np.abs(back - x).max() <= s / 2 * (1 + 1e-9) and back[-1] == 0
            assert np.abs(back - x).max() > 0.49 * s
            assert q.min() >= 0 and q.max() <= 2**bits - 1
            if bits == 8:
                t = torch.fake_quantize_per_tensor_affine(
                    torch.from_numpy(x).float(), s, z, 0, 255)
                assert np.mean(np.abs(t.numpy() - back) < 1e-5) > 0.999


def check_quant_symmetric():
    """Equation (quant-symmetric): the bound per row and per group, the sign symmetry."""
    rng = np.random.default_rng(1)
    w = rng.standard_normal((16, 128))
    for group in (None, 32):
        q, back, s = quantize_symmetric(w, 4, group)
        step = np.repeat(s, 128 // s.shape[1], axis=1)
        assert np.all(np.abs(w - back) <= step / 2 + 1e-12)
        assert np.abs(q).max() == 7 and np.array_equal(quantize_symmetric(-w, 4, group)[0], -q)
    one, rows, groups = (np.mean((w * f - quantize_symmetric(w * f, 4, g)[1]) ** 2)
                         for f, g in ((1, None), (1, 64), (1, 16)))
    assert groups < rows < one


def check_quant_integer_product():
    """Equation (quant-integer-product): integers with two scales, equal to 1e-12."""
    w, x = _layer()
    qw, wh, s = quantize_symmetric(w, 8)
    sx, z = affine_params(x.min(), x.max(), 8)
    qx, xh = quantize_affine(x, sx, z, 8)
    acc = qx.astype(np.int64) @ qw.astype(np.int64).T
    y = s[:, 0] * sx * (acc - z * qw.astype(np.int64).sum(1))
    assert np.allclose(y, xh @ wh.T, atol=1e-12)
    assert not np.allclose(y, s[:, 0] * sx * acc, atol=1e-2)      # the correction matters


def check_quant_noise():
    """Equation (quant-noise): variance of the error and the ratio, within 3 %."""
    x = np.random.default_rng(2).standard_normal(200_000)
    kappa = np.abs(x).max()
    snr = []
    for bits in (4, 6, 8, 10):
        top = 2 ** (bits - 1) - 1
        s = kappa / top
        e = x - s * np.rint(x / s)
        assert np.isclose(np.mean(e**2), s * s / 12, rtol=0.03)
        snr.append(np.mean(x**2) / np.mean(e**2))
        assert np.isclose(snr[-1], 12 * top**2 / kappa**2, rtol=0.03)
    db = 10 * np.log10(np.array(snr))
    assert np.isclose((db[3] - db[2]) / 2, 20 * np.log10(2), atol=0.05)
    assert np.isclose(20 * np.log10(2), 6.02, atol=0.005)


def check_quant_clipping():
    """Equation (quant-clipping): against sampling; where the optimum lies."""
    x = np.random.default_rng(3).standard_normal(400_000)
    for bits in (4, 8):
        for c in (1.5, 2.5, 4.0):
            assert np.isclose(_clip_error(c, bits, x), _clip_theory(c, bits), rtol=0.06)
    c = np.linspace(1, 6, 501)
    best = {b: c[np.argmin([_clip_theory(v, b) for v in c])] for b in (3, 4, 6, 8)}
    print("    best thresholds", best)
    assert np.isclose(best[4], 2.5, atol=0.1) and np.isclose(best[8], 3.9, atol=0.1)
    gain = _clip_theory(4.5, 4) / _clip_theory(best[4], 4)
    print("    gain of clipping in 4 bits over 4.5 sigma", gain)
    assert np.isclose(gain, 2.7, atol=0.05)
    sampled = [_clip_error(v, 4, x) for v in (best[4], 4.5)]
    assert np.isclose(sampled[1] / sampled[0], 2.7, atol=0.1)


def check_quant_ste():
    """Equation (quant-ste): our backward pass equals PyTorch's; the true slope is 0."""
    x = torch.linspace(-2, 3, 401)
    x = x + 0.0013
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ya = FakeQuantize.apply(a, 0.1, 10, 0, 31)
    yb = torch.fake_quantize_per_tensor_affine(b, 0.1, 10, 0, 31)
    weight = torch.linspace(-1, 1, 401)
    (ya * weight).sum().backward()
    (yb * weight).sum().backward()
    assert torch.allclose(ya, yb, atol=1e-6) and torch.equal(a.grad, b.grad)
    assert (a.grad == 0).sum() > 50 and torch.equal(a.grad[150], weight[150])
    step = FakeQuantize.apply(x + 1e-6, 0.1, 10, 0, 31)
    assert torch.equal(step, ya.detach())                    # flat almost everywhere


def check_quant_bits():
    """Equation (quant-bits): counted from a stored matrix; the numbers of the page."""
    w = np.random.default_rng(4).standard_normal((64, 1024))
    for g, want in ((128, 4.125), (64, 4.25), (32, 4.5)):
        q, _, s = quantize_symmetric(w, 4, g)
        assert np.isclose((q.size * 4 + s.size * 16) / w.size, want)
        assert np.isclose(4 + 16 / g, want)
    assert np.isclose(7e9 * 4.125 / 8 / 1e9, 3.6, atol=0.02)
    assert 4 + (16 + 4) / 128 == 4.15625


def check_quant_layer_error():
    """Equation (quant-layer-error): the trace form of the output error."""
    w, x = _layer(8.0)
    _, wh, _ = quantize_symmetric(w, 4)
    d = wh - w
    assert np.isclose(np.linalg.norm(d @ x.T) ** 2, np.trace(d @ (x.T @ x) @ d.T))


def check_quant_compensate():
    """Equation (quant-compensate): against a constrained least-squares solution."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((6, 40))
    h = x @ x.T
    inv, e, j = np.linalg.inv(h), 0.3, 2
    delta = -e / inv[j, j] * inv[:, j]
    rest = [i for i in range(6) if i != j]
    direct = np.zeros(6)
    direct[j] = -e
    direct[rest] = np.linalg.solve(h[np.ix_(rest, rest)], e * h[rest, j])
    assert np.allclose(delta, direct)
    assert np.isclose(delta @ h @ delta, e * e / inv[j, j])
    assert delta @ h @ delta < e * e * h[j, j]
    # As an algorithm, with the numbers of the page: correlated inputs, 3 and 4 bits.
    mix = rng.standard_normal((64, 64)) / 8 + 0.5 * rng.standard_normal((64, 1))
    inputs = mix @ rng.standard_normal((64, 512))
    fresh = mix @ rng.standard_normal((64, 512))
    w = rng.standard_normal((32, 64))
    for bits in (3, 4):
        near, good = quantize_symmetric(w, bits)[1], gptq(w, inputs, bits)
        err = [np.linalg.norm((v - w) @ fresh) / np.linalg.norm(w @ fresh) for v in (near, good)]
        print("    ", bits, "bits: nearest", round(err[0], 4), "gptq", round(err[1], 4))
        assert err[1] < 0.5 * err[0]
        assert np.linalg.norm(good - w) > np.linalg.norm(near - w)   # farther in weights
    assert np.allclose(err, [0.109, 0.022], atol=0.004)


def check_quant_rescale():
    """Equation (quant-rescale): same product; balanced ranges; less error."""
    w, x = _layer(64.0)
    s = _smooth(w, x)
    assert np.allclose((x / s) @ (w * s).T, x @ w.T)
    assert np.allclose(np.abs(x / s).max(0), np.abs(w * s).max(0))   # alpha = 1/2
    s3 = _smooth(w, x, 0.3)
    assert not np.allclose(np.abs(x / s3).max(0), np.abs(w * s3).max(0))
    # Weight-only, 4 bits (AWQ): search the exponent on calibration data.
    x_test = _layer(64.0, seed=7)[1]
    def err(alpha, data):
        t = np.abs(x).mean(0) ** alpha
        wq = quantize_symmetric(w * t, 4, 64)[1] / t
        return np.linalg.norm(data @ (wq - w).T) / np.linalg.norm(data @ w.T)
    best = min(np.linspace(0, 1, 21), key=lambda a: err(a, x))
    print("    awq exponent", best, "error", err(best, x_test), "instead of", err(0, x_test))
    assert 0 < best < 1 and err(best, x_test) < 0.7 * err(0, x_test)


def check_outlier_figure():
    """The numbers quoted for the outlier figure."""
    none, big, most = (_product_errors(f) for f in (1.0, 64.0, 256.0))
    print("    ", {k: round(100 * v, 2) for k, v in none.items()},
          {k: round(100 * v, 2) for k, v in big.items()})
    for k, v in (("tensor", 1.2), ("token", 0.9), ("smooth", 1.1), ("mixed", 0.9)):
        assert np.isclose(100 * none[k], v, atol=0.06)
    assert np.isclose(100 * big["tensor"], 42, atol=1)
    for k, v in (("tensor", 100), ("token", 55), ("smooth", 20), ("mixed", 1)):
        assert np.isclose(100 * most[k], v, rtol=0.03, atol=0.15)


def check_ptq_and_qat():
    """The small experiment on digits: 2 to 8 bits, PTQ and QAT.

    Tolerances exceed the spread over eight seeds: 1.1 points (3 bits, PTQ), 0.4 (QAT),
    7 and 3 points (2 bits).
    """
    from sklearn.datasets import load_digits
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    tr, te = order[:1200], order[1200:]

    def fit(net, steps, lr):
        opt = torch.optim.Adam(net.parameters(), lr=lr)
        for _ in range(steps):
            opt.zero_grad()
            torch.nn.functional.cross_entropy(net(x[tr]), y[tr]).backward()
            opt.step()

    def accuracy(net):
        with torch.no_grad():
            return (net(x[te]).argmax(1) == y[te]).float().mean().item()

    result = []
    for seed in range(2):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(QuantLinear(64, 32), torch.nn.ReLU(), QuantLinear(32, 10))
        for m in (net[0], net[2]):
            m.bits = 16
        fit(net, 250, 0.01)
        row = [accuracy(net)]
        start = {k: v.clone() for k, v in net.state_dict().items()}
        for bits in (8, 4, 3, 2):
            for m in (net[0], net[2]):
                m.bits = bits
            net.load_state_dict(start)
            row.append(accuracy(net))
            if bits <= 3:
                fit(net, 150, 0.003)
                row.append(accuracy(net))
        result.append(row)
    r = np.mean(result, 0)
    print("     float, 8, 4, 3 ptq, 3 qat, 2 ptq, 2 qat:", np.round(100 * r, 1))
    assert abs(r[3] - 0.937) < 0.02 and abs(r[4] - 0.964) < 0.01 and r[4] > r[3] + 0.01
    assert abs(r[1] - r[0]) < 0.005 and r[2] > 0.94 and r[5] < 0.6
    assert abs(r[6] - 0.9) < 0.05


def check_worked_example():
    """Every number of the worked example."""
    w = np.array([[0.02, -0.13, 0.35, 1.4]])
    q, back, s = quantize_symmetric(w, 4)
    assert np.isclose(s[0, 0], 0.2) and q.tolist() == [[0, -1, 2, 7]]
    assert np.allclose(back, [[0, -0.2, 0.4, 1.4]])
    q, back, s = quantize_symmetric(w, 4, 2)
    assert np.allclose(s, [[0.13 / 7, 0.2]]) and q.tolist() == [[1, -7, 2, 7]]
    assert np.allclose(back, [[0.0186, -0.13, 0.4, 1.4]], atol=5e-5)
    s, z = affine_params(-0.5, 3.25, 4)
    assert np.isclose(s, 0.25) and z == 2
    q, back = quantize_affine(np.array([-0.5, 0.0, 0.9, 3.25, 4.0]), s, z, 4)
    assert q.tolist() == [0, 2, 6, 15, 15] and back.tolist() == [-0.5, 0, 1.0, 3.25, 3.25]
    h = np.array([[2.0, 1.0], [1.0, 2.0]])
    inv = np.linalg.inv(h)
    e = 0.6 - 1
    assert np.allclose(inv, np.array([[2, -1], [-1, 2]]) / 3)
    assert np.isclose(-e / inv[0, 0] * inv[1, 0], -0.2) and np.rint(0.6 - 0.2) == 0
    cost = lambda v: (np.array(v) - 0.6) @ h @ (np.array(v) - 0.6)
    assert np.isclose(cost([1, 1]), 0.96) and np.isclose(cost([1, 0]), 0.56)
    t = np.sqrt(np.array([64, 1]) / 0.25)
    assert t.tolist() == [16, 2]
    assert (np.array([64, 1]) / t).tolist() == [4, 0.5] and (0.25 * t).tolist() == [4, 0.5]
    assert np.isclose(14 / 1000 * 1e3, 14) and np.isclose(7e9 * 4.125 / 8 / 1e12 * 1e3, 3.6, atol=0.02)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
