"""Twin of the page "Sigmoid and tanh": its snippets, its figure, its checks."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def sigmoid(z):
    """Logistic sigmoid of an array; never exponentiates a positive number."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def sigmoid_slope(z):
    """sigma'(z) = sigma(z) sigma(-z); no subtraction, so no loss of digits."""
    return sigmoid(z) * sigmoid(-z)


def tanh_from_sigmoid(z):
    """tanh(z) = 2 sigma(2z) - 1."""
    return 2 * sigmoid(2 * z) - 1


def tanh_slope(z):
    """tanh'(z) = 1 - tanh(z)^2, written as 4 sigma'(2z)."""
    return 4 * sigmoid_slope(2 * z)


def log_sigmoid(z):
    """log sigma(z) without overflow: min(z, 0) - log(1 + exp(-|z|))."""
    return np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z)))


def logit(p):
    """Inverse of the sigmoid: the log-odds of a probability 0 < p < 1."""
    return np.log(p) - np.log1p(-p)
# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_values_and_slopes(z):
    """z (n,) float tensor -> values and slopes of sigmoid and tanh by autograd."""
    result = {}
    for name, phi in (("sigmoid", torch.sigmoid), ("tanh", torch.tanh)):
        x = z.clone().requires_grad_(True)
        y = phi(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        result[name] = (y.detach(), slope)
    return result


def torch_logs(z, p):
    """Stable log-sigmoid of z, and the log-odds of p."""
    return F.logsigmoid(z), torch.logit(p)
# --8<-- [end:torch]


def figure_tails():
    """The two curves coincide after rescaling; their slopes decay exponentially."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.1))
    z = np.linspace(-6, 6, 601)
    left.plot(z, sigmoid(z), "-", label="sigmoid(z)")
    left.plot(z, np.tanh(z), "--", label="tanh(z)")
    dots = np.linspace(-6, 6, 25)
    left.plot(dots, tanh_from_sigmoid(dots), "o", ms=3.5, color="#222222",
              label="2 sigmoid(2z) - 1")
    left.set(xlabel="pre-activation z", ylabel="activation", ylim=(-1.1, 1.75))
    left.legend(fontsize=9, loc="upper left")
    z = np.linspace(-10, 10, 801)
    right.plot(z, sigmoid_slope(z), "-", label="sigmoid")
    right.plot(z, tanh_slope(z), "--", label="tanh")
    right.plot(z, np.exp(-np.abs(z)), ":", lw=1.2, color="#222222", label="bounds")
    right.plot(z, 4 * np.exp(-2 * np.abs(z)), ":", lw=1.2, color="#222222")
    right.set(xlabel="pre-activation z", ylabel="slope", yscale="log",
              ylim=(1e-9, 3e3), yticks=[1e-8, 1e-6, 1e-4, 1e-2, 1])
    right.minorticks_off()
    right.legend(fontsize=9, loc="upper center", ncol=3, columnspacing=0.9,
                 handlelength=1.4)
    return fig


def check_sigmoid_definition():
    """Equation (sigmoid-definition): both forms, and torch, large inputs too."""
    z = np.random.default_rng(0).normal(size=1000) * 4
    assert np.allclose(sigmoid(z), np.exp(z) / (1 + np.exp(z)), atol=1e-14)
    ratio = (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))
    assert np.allclose(np.tanh(z), ratio, atol=1e-12)
    big = np.array([-800.0, -40.0, 40.0, 800.0])
    assert np.allclose(sigmoid(big), torch.sigmoid(torch.tensor(big)).numpy(), rtol=1e-12)
    assert np.isfinite(sigmoid(big)).all()


def check_sigmoid_symmetry():
    """Equation (sigmoid-symmetry)."""
    z = np.random.default_rng(0).normal(size=1000) * 4
    assert np.allclose(sigmoid(-z), 1 - sigmoid(z), atol=1e-15)
    assert np.allclose(np.tanh(-z), -np.tanh(z), atol=0)


def check_sigmoid_tanh_identity():
    """Equation (sigmoid-tanh-identity), both directions; the unscaled one fails."""
    z = np.random.default_rng(0).normal(size=1000) * 4
    assert np.allclose(np.tanh(z), 2 * sigmoid(2 * z) - 1, atol=1e-15)
    assert np.allclose(sigmoid(z), (1 + np.tanh(z / 2)) / 2, atol=1e-15)
    assert np.abs(np.tanh(z) - (2 * sigmoid(z) - 1)).max() > 0.2


def check_sigmoid_logit():
    """Equation (sigmoid-logit): inverse of the sigmoid, and of tanh."""
    p = np.random.default_rng(0).uniform(0.001, 0.999, 1000)
    assert np.allclose(sigmoid(logit(p)), p, atol=1e-14)
    assert np.allclose(logit(p), np.log(p / (1 - p)), atol=1e-12)
    a = 2 * p - 1
    assert np.allclose(np.arctanh(a), 0.5 * np.log((1 + a) / (1 - a)), atol=1e-12)
    assert np.allclose(np.arctanh(a), 0.5 * logit((1 + a) / 2), atol=1e-12)


def check_sigmoid_derivatives():
    """Equation (sigmoid-derivatives): finite differences, and the maxima at 0."""
    z, h = np.linspace(-8, 8, 401), 1e-5
    for phi, slope, top in ((sigmoid, sigmoid_slope, 0.25), (np.tanh, tanh_slope, 1.0)):
        numeric = (phi(z + h) - phi(z - h)) / (2 * h)
        assert np.allclose(slope(z), numeric, atol=1e-9)
        assert slope(z).max() <= top and math.isclose(slope(np.zeros(1))[0], top)
        assert z[slope(z).argmax()] == 0
    assert np.allclose(sigmoid_slope(z), sigmoid(z) * (1 - sigmoid(z)), atol=1e-15)
    assert np.allclose(tanh_slope(z), 1 - np.tanh(z) ** 2, atol=1e-14)
    s2 = sigmoid_slope(z) * (1 - 2 * sigmoid(z))  # second derivatives, by name
    assert np.allclose(s2, np.gradient(sigmoid_slope(z), z), atol=2e-4)


def check_sigmoid_tail_bounds():
    """Equation (sigmoid-tail-bounds): holds everywhere, tight in the tails."""
    z = np.linspace(-30, 30, 6001)
    assert (sigmoid_slope(z) <= np.exp(-np.abs(z))).all()
    assert (tanh_slope(z) <= 4 * np.exp(-2 * np.abs(z))).all()
    assert sigmoid_slope(z)[-1] / math.exp(-30) > 0.999
    assert tanh_slope(z)[-1] / (4 * math.exp(-60)) > 0.999
    # from |z| = arccosh(1 + sqrt 3) on, the slope of tanh is the smaller one
    grid = np.linspace(0, 10, 100001)
    smaller = tanh_slope(grid) < sigmoid_slope(grid)
    first = grid[smaller.argmax()]
    assert smaller[grid >= first].all() and not smaller[grid < first].any()
    assert abs(first - math.acosh(1 + math.sqrt(3))) < 2e-4 and abs(first - 1.663) < 5e-4


def check_sigmoid_taylor():
    """Equation (sigmoid-taylor): the remainder is of fifth order."""
    for h in (0.2, 0.1, 0.05):
        z = np.array([h, -h])
        assert (np.abs(sigmoid(z) - (0.5 + z / 4 - z**3 / 48)) < h**5 / 450).all()
        assert (np.abs(np.tanh(z) - (z - z**3 / 3)) < h**5 / 7).all()


def check_sigmoid_tanh_equivalence():
    """Equation (sigmoid-tanh-equivalence): a tanh layer as a sigmoid layer."""
    rng = np.random.default_rng(0)
    W1, b1 = rng.normal(size=(7, 3)), rng.normal(size=7)
    W2, b2 = rng.normal(size=(2, 7)), rng.normal(size=2)
    x = rng.normal(size=(50, 3))
    tanh_net = np.tanh(x @ W1.T + b1) @ W2.T + b2
    hidden = sigmoid(x @ (2 * W1).T + 2 * b1)
    assert np.allclose(tanh_net, hidden @ (2 * W2).T + (b2 - W2.sum(axis=1)), atol=1e-13)
    # gradient descent is not the same: one step in either parametrization
    y, lr = rng.normal(size=(50, 2)), 0.1

    def step(phi, slope, W1, b1, W2, b2):
        z = x @ W1.T + b1
        a = phi(z)
        e = (a @ W2.T + b2 - y) / len(x)
        d = (e @ W2) * slope(z)
        return (W1 - lr * d.T @ x, b1 - lr * d.sum(0), W2 - lr * e.T @ a,
                b2 - lr * e.sum(0))

    t = step(np.tanh, tanh_slope, W1, b1, W2, b2)
    s = step(sigmoid, sigmoid_slope, 2 * W1, 2 * b1, 2 * W2, b2 - W2.sum(1))
    after_t = np.tanh(x @ t[0].T + t[1]) @ t[2].T + t[3]
    after_s = sigmoid(x @ s[0].T + s[1]) @ s[2].T + s[3]
    assert np.abs(after_t - after_s).max() > 0.01


def _gauss_moments(phi, nodes=120):
    """Mean and variance of phi(z) for standard normal z, by quadrature."""
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    mean = (w * phi(z)).sum()
    return mean, (w * phi(z) ** 2).sum() - mean**2


def check_sigmoid_mean_curvature():
    """Equation (sigmoid-mean-curvature), and the condition numbers in the text."""
    rng = np.random.default_rng(0)
    a = sigmoid(rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 0.3)
    mu, cov = a.mean(axis=0), np.cov(a.T, bias=True)
    second = a.T @ a / len(a)
    assert np.allclose(second, cov + np.outer(mu, mu), atol=1e-12)
    assert np.linalg.eigvalsh(second)[-1] >= mu @ mu
    mean, var = _gauss_moments(sigmoid)
    assert abs(mean - 0.5) < 1e-12 and abs(var - 0.0434) < 1e-4
    n = 100
    eigenvalues = np.linalg.eigvalsh(var * np.eye(n) + mean**2 * np.ones((n, n)))
    assert abs(eigenvalues[-1] / eigenvalues[0] - (1 + n / (4 * var))) < 1e-6
    assert round(eigenvalues[-1] / eigenvalues[0]) in range(576, 579)
    mean, var = _gauss_moments(np.tanh)
    assert abs(mean) < 1e-12 and abs(var - 0.394) < 1e-3


def check_same_sign():
    """All weight gradients of one unit share a sign per example, not per batch."""
    rng = np.random.default_rng(0)
    a = sigmoid(rng.normal(size=(32, 10)))  # inputs of the unit, all positive
    delta = rng.normal(size=32)
    per_example = delta[:, None] * a
    assert (np.abs(np.sign(per_example).sum(axis=1)) == 10).all()
    batch = per_example.mean(axis=0)
    assert (batch > 0).any() and (batch < 0).any()


def check_numpy_vs_torch():
    """Values and slopes of both tabs agree to 1e-12 in float64."""
    z = np.linspace(-30, 30, 301)
    ours = {"sigmoid": (sigmoid(z), sigmoid_slope(z)),
            "tanh": (tanh_from_sigmoid(z), tanh_slope(z))}
    for name, (y, slope) in torch_values_and_slopes(torch.tensor(z)).items():
        assert np.allclose(ours[name][0], y.numpy(), rtol=0, atol=1e-12)
        assert np.allclose(ours[name][1], slope.numpy(), rtol=0, atol=1e-12)
    p = sigmoid(z / 3)
    logs, odds = torch_logs(torch.tensor(z * 20), torch.tensor(p))
    assert np.allclose(log_sigmoid(z * 20), logs.numpy(), rtol=1e-12, atol=1e-12)
    assert np.allclose(logit(p), odds.numpy(), rtol=0, atol=1e-9)


def check_floating_point_saturation():
    """Where PyTorch's outputs round to 1, and the exact zero gradient there."""
    table = {torch.float64: (36.8, 19.1), torch.float32: (16.7, 9.1),
             torch.float16: (8.4, 4.6), torch.bfloat16: (6.3, 3.5)}
    for dtype, (s, t) in table.items():
        for phi, z in ((torch.sigmoid, s), (torch.tanh, t)):
            x = torch.tensor(z, dtype=dtype, requires_grad=True)
            y = phi(x)
            assert y.item() == 1.0, (dtype, phi)
            assert torch.autograd.grad(y, x)[0].item() == 0.0
            assert phi(torch.tensor(z - 0.3, dtype=dtype)).item() < 1.0
    x = torch.tensor(-20.0, requires_grad=True)  # the left side keeps its slope
    assert abs(torch.autograd.grad(torch.sigmoid(x), x)[0].item() - 2.06e-9) < 1e-11
    x = torch.tensor(20.0, requires_grad=True)
    assert torch.autograd.grad(torch.sigmoid(x), x)[0].item() == 0.0


def check_sigmoid_then_bce():
    """A confident error: BCELoss after a sigmoid stops, the loss on logits does not."""
    one = torch.tensor(0.0)
    x = torch.tensor(20.0, requires_grad=True)
    g1 = torch.autograd.grad(F.binary_cross_entropy(torch.sigmoid(x), one), x)[0]
    x = torch.tensor(20.0, requires_grad=True)
    g2 = torch.autograd.grad(F.binary_cross_entropy_with_logits(x, one), x)[0]
    assert g1.item() == 0.0 and abs(g2.item() - 1) < 1e-6


def check_worked_example():
    """Every number of the worked example, to the digits printed."""
    z = np.array([0.0, 1.0, 2.0, 5.0])
    assert np.allclose(sigmoid(z), [0.5, 0.7311, 0.8808, 0.9933], atol=5e-5)
    assert np.allclose(sigmoid_slope(z), [0.25, 0.1966, 0.1050, 0.0066], atol=5e-5)
    assert np.allclose(np.tanh(z), [0, 0.7616, 0.9640, 0.9999], atol=5e-5)
    assert np.allclose(tanh_slope(z), [1, 0.4200, 0.0707, 0.0002], atol=5e-5)
    ratio = tanh_slope(z) / sigmoid_slope(z)
    assert abs(ratio[1] - 2.1) < 0.05 and abs(ratio[3] ** -1 - 37) < 0.5
    assert abs(2 * 0.8808 - 1 - 0.7616) < 1e-9
    p = sigmoid(np.array(-5.0))
    assert abs((p - 1) + 0.9933) < 5e-5
    assert abs((p - 1) * p * (1 - p) + 0.0066) < 5e-5
    assert 149 < 1 / (p * (1 - p)) < 151


def check_scaled_tanh():
    """1.7159 tanh(2z/3): value 1 at 1; curvature largest near, not exactly at, 1."""
    assert abs(1.7159 * math.tanh(2 / 3) - 1) < 1e-5
    z = np.linspace(0, 3, 300001)
    u = np.tanh(2 * z / 3)
    peak = z[(u * (1 - u**2)).argmax()]
    assert abs(peak - 0.988) < 1e-3
    assert abs(torch.nn.init.calculate_gain("tanh") - 5 / 3) < 1e-12
    assert torch.nn.init.calculate_gain("sigmoid") == 1


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
