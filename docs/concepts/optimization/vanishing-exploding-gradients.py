"""Twin of the page "Vanishing and exploding gradients": code, figures and checks."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
def gradient_norms(weights, x, grad_top, phi, dphi):
    """Norm of the loss gradient at every layer of an MLP, a[0] to a[L].

    weights[k]: (n_out, n_in); x: (B, n_0); grad_top: (B, n_L), the gradient
    at the last activation. Returns L + 1 norms, input first.
    """
    a, pre = x, []
    for weight in weights:
        pre.append(a @ weight.T)
        a = phi(pre[-1])
    grad = grad_top
    norms = [np.linalg.norm(grad)]
    for weight, z in zip(reversed(weights), reversed(pre)):
        grad = (grad * dphi(z)) @ weight  # one factor of the product of Jacobians
        norms.append(np.linalg.norm(grad))
    return norms[::-1]


def jacobian(weights, x, phi, dphi):
    """Jacobian (n_L, n_0) of the last activation with respect to x: (n_0,)."""
    a, product = x, np.eye(len(x))
    for weight in weights:
        z = weight @ a
        a = phi(z)
        product = dphi(z)[:, None] * (weight @ product)
    return product


# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_gradient_norms(layers, x, grad_top):
    """The same norms by autograd, for any list of modules applied in turn."""
    activations = [x.detach().requires_grad_()]
    for layer in layers:
        activations.append(layer(activations[-1]))
    grads = torch.autograd.grad(activations[-1], activations, grad_top)
    return [grad.norm().item() for grad in grads]


# --8<-- [end:torch]


# --8<-- [start:monitor]
def gradient_report(model):
    """After loss.backward(): gradient norm and gradient-to-weight ratio per tensor."""
    report = {}
    for name, p in model.named_parameters():
        if p.grad is not None:
            g = p.grad.norm().item()
            report[name] = (g, g / (p.detach().norm().item() + 1e-12))
    return report


# --8<-- [end:monitor]


def sigmoid(z):
    """Logistic sigmoid."""
    return 1.0 / (1.0 + np.exp(-z))


def dsigmoid(z):
    """Derivative of the logistic sigmoid."""
    return sigmoid(z) * (1.0 - sigmoid(z))


def dtanh(z):
    """Derivative of tanh."""
    return 1.0 - np.tanh(z) ** 2


def identity(z):
    """Linear layer: no activation."""
    return z


def relu(z):
    """Rectified linear unit."""
    return np.maximum(z, 0.0)


def drelu(z):
    """Derivative of ReLU, 0 at the kink as in PyTorch."""
    return (z > 0).astype(float)


def gaussian(rng, depth, width, scale=1.0):
    """depth square weight matrices with variance scale**2 / width."""
    return [scale * rng.normal(size=(width, width)) / np.sqrt(width) for _ in range(depth)]


def orthogonal(rng, depth, width):
    """depth random orthogonal matrices."""
    return [np.linalg.qr(rng.normal(size=(width, width)))[0] for _ in range(depth)]


def residual_norms(weights, x, grad_top, beta):
    """Gradient norms in a stack of blocks a + beta W relu(a), input first."""
    a, inputs = x, []
    for weight in weights:
        inputs.append(a)
        a = a + beta * relu(a) @ weight.T
    grad, norms = grad_top, [np.linalg.norm(grad_top)]
    for weight, a in zip(reversed(weights), reversed(inputs)):
        grad = grad + beta * (grad @ weight) * drelu(a)
        norms.append(np.linalg.norm(grad))
    return norms[::-1]


def figure_depth():
    """Gradient norm at every layer of freshly initialized 30-layer networks."""
    depth, width, repeats = 30, 128, 8
    rng = np.random.default_rng(0)
    root2 = np.sqrt(2.0)
    plain = {
        "ReLU, 1.5 x He scale": (relu, drelu, 1.5 * root2),
        "ReLU, He scale": (relu, drelu, root2),
        "tanh, Glorot scale": (np.tanh, dtanh, 1.0),
        "ReLU, Glorot scale": (relu, drelu, 1.0),
        "sigmoid, Glorot scale": (sigmoid, dsigmoid, 1.0),
    }
    curves = {name: [] for name in ["residual ReLU, unscaled", *plain]}
    for _ in range(repeats):
        x, top = rng.normal(size=(1, width)), rng.normal(size=(1, width))
        for name, (phi, dphi, scale) in plain.items():
            weights = gaussian(rng, depth, width, scale)
            curves[name].append(gradient_norms(weights, x, top, phi, dphi))
        weights = gaussian(rng, depth, width, root2)
        curves["residual ReLU, unscaled"].append(residual_norms(weights, x, top, 1.0))
    fig, ax = plt.subplots(figsize=(6.4, 3.9))
    styles = ["-.", "-", "-", "--", ":", "--"]
    markers = ["P", "s", "o", "^", "v", "D"]
    order = ["ReLU, 1.5 x He scale", "residual ReLU, unscaled", "ReLU, He scale",
             "tanh, Glorot scale", "ReLU, Glorot scale", "sigmoid, Glorot scale"]
    for name, style, marker in zip(order, styles, markers):
        norms = np.array(curves[name])
        ratio = np.exp(np.mean(np.log(norms / norms[:, -1:]), axis=0))
        ax.semilogy(range(depth + 1), ratio, style, marker=marker, markevery=5,
                    markersize=5, linewidth=1.6, label=name)
    ax.set_xlabel("layer (0 = input, 30 = last hidden layer)")
    ax.set_ylabel("gradient norm relative to the top")
    ax.legend(fontsize=9, loc="lower right")
    return fig


def figure_spectrum():
    """Spread of the singular values of the Jacobian product as depth grows."""
    width, depth, repeats = 64, 32, 5
    rng = np.random.default_rng(0)
    marks = [1, 2, 4, 8, 16, 32]
    kinds = {
        "ReLU, He scale": lambda: (gaussian(rng, depth, width, np.sqrt(2.0)), relu, drelu),
        "linear, Gaussian": lambda: (gaussian(rng, depth, width), identity, np.ones_like),
        "linear, orthogonal": lambda: (orthogonal(rng, depth, width), identity, np.ones_like),
    }
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 3.0), sharey=True)
    for ax, (name, make) in zip(axes, kinds.items()):
        quantiles = np.zeros((len(marks), 3))
        for _ in range(repeats):
            weights, phi, dphi = make()
            x = rng.normal(size=width)
            for i, d in enumerate(marks):
                s = np.linalg.svd(jacobian(weights[:d], x, phi, dphi), compute_uv=False)
                rms = np.sqrt(np.mean(s ** 2))
                quantiles[i] += np.array([s[0], rms, max(np.median(s), 1e-9)]) / repeats
        for column, (style, marker, label) in enumerate(
            [("-", "^", "largest"), ("--", "s", "root mean square"), (":", "v", "median")]
        ):
            ax.loglog(marks, quantiles[:, column], style, marker=marker, markersize=5,
                      linewidth=1.6, label=label)
        ax.set_ylim(1e-6, 1e2)
        ax.set_xticks([1, 4, 16], ["1", "4", "16"])
        ax.minorticks_off()
        ax.set_xlabel(f"layers\n{name}")
    axes[0].set_ylabel("singular value")
    axes[2].legend(fontsize=9, loc="lower center")
    return fig


def check_veg_jacobian_product():
    """Equation (veg-jacobian-product): the product of layer Jacobians against autograd."""
    rng = np.random.default_rng(0)
    weights, x = gaussian(rng, 6, 9, 1.2), rng.normal(size=9)

    def network(v):
        for weight in weights:
            v = torch.tanh(torch.from_numpy(weight) @ v)
        return v

    full = torch.autograd.functional.jacobian(network, torch.from_numpy(x)).numpy()
    assert np.allclose(jacobian(weights, x, np.tanh, dtanh), full, atol=1e-12)
    top = rng.normal(size=9)
    norms = gradient_norms(weights, x[None], top[None], np.tanh, dtanh)
    assert np.isclose(norms[0], np.linalg.norm(full.T @ top), atol=1e-12)


def check_veg_bounds():
    """Equation (veg-bounds): both sides, on 200 random networks; and they are attained."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        weights = gaussian(rng, 5, 6, rng.uniform(0.3, 3.0))
        a, low, high = rng.normal(size=6), 1.0, 1.0
        x = a.copy()
        for weight in weights:
            z = weight @ a
            a = np.tanh(z)
            s = np.linalg.svd(dtanh(z)[:, None] * weight, compute_uv=False)
            low, high = low * s[-1], high * s[0]
        top = rng.normal(size=6)
        norms = gradient_norms(weights, x[None], top[None], np.tanh, dtanh)
        assert low * norms[-1] <= norms[0] * (1 + 1e-9)
        assert norms[0] <= high * norms[-1] * (1 + 1e-9)
    weights = orthogonal(rng, 5, 6)
    norms = gradient_norms(weights, x[None], top[None], identity, np.ones_like)
    assert np.allclose(norms, norms[-1])


def check_veg_sufficient():
    """Equation (veg-sufficient): the bound (gamma s)^(L-l) for sigmoid, tanh and ReLU."""
    rng = np.random.default_rng(2)
    grid = np.linspace(-20, 20, 4001)
    cases = ((sigmoid, dsigmoid, 0.25), (np.tanh, dtanh, 1.0), (relu, drelu, 1.0))
    for phi, dphi, gamma in cases:
        assert dphi(grid).max() <= gamma + 1e-12
        for s in (0.5, 0.9, 3.0):
            weights = [s * w / np.linalg.norm(w, 2) for w in gaussian(rng, 8, 12)]
            x, top = rng.normal(size=(1, 12)), rng.normal(size=(1, 12))
            norms = np.array(gradient_norms(weights, x, top, phi, dphi))
            bound = (gamma * s) ** np.arange(8, -1, -1) * norms[-1]
            assert np.all(norms <= bound * (1 + 1e-9))
    # necessary, not sufficient: spectral norm 3 and tanh, yet the gradient vanishes
    weights = [3.0 * w / np.linalg.norm(w, 2) for w in gaussian(rng, 40, 12)]
    saturated = 30.0 * rng.normal(size=(1, 12))
    norms = gradient_norms(weights, saturated, np.ones((1, 12)), np.tanh, dtanh)
    assert norms[0] < 1e-3 * norms[-1]


def check_veg_weight_gradient():
    """Equation (veg-weight-gradient): the Frobenius norm of an outer product."""
    rng = np.random.default_rng(3)
    delta, a = rng.normal(size=4), rng.normal(size=7)
    weight = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    (torch.from_numpy(delta) @ (weight @ torch.from_numpy(a))).backward()
    product = np.linalg.norm(delta) * np.linalg.norm(a)
    assert np.isclose(weight.grad.norm().item(), product)


def check_veg_chi():
    """Equation (veg-chi): exact for ReLU within 3 percent of sampling; 5 for tanh, sigmoid."""
    rng = np.random.default_rng(4)
    width = 60
    for scale in (1.0, np.sqrt(2.0)):
        ratios = []
        for _ in range(800):
            x, top = rng.normal(size=(1, width)), rng.normal(size=(1, width))
            norms = gradient_norms(gaussian(rng, 2, width, scale), x, top, relu, drelu)
            ratios.append([norms[0] ** 2, norms[2] ** 2])
        first, last = np.mean(ratios, axis=0)
        assert abs(first / last / (scale ** 2 / 2) ** 2 - 1) < 0.03, first / last
    width = 200
    for phi, dphi, scale in ((np.tanh, dtanh, 1.3), (sigmoid, dsigmoid, 2.0)):
        measured, claimed = [], []
        for _ in range(40):
            x, top = rng.normal(size=(1, width)), rng.normal(size=(1, width))
            weights = gaussian(rng, 1, width, scale)
            norms = gradient_norms(weights, x, top, phi, dphi)
            measured.append(norms[0] ** 2 / norms[1] ** 2)
            claimed.append(scale ** 2 * np.mean(dphi(x @ weights[0].T) ** 2))
        assert abs(np.mean(measured) / np.mean(claimed) - 1) < 0.05


def check_veg_residual():
    """Equation (veg-residual): the gradient of a residual stack against autograd."""
    rng = np.random.default_rng(5)
    weights, x, top = gaussian(rng, 4, 8), rng.normal(size=8), rng.normal(size=8)
    a = start = torch.from_numpy(x).requires_grad_()
    product = np.eye(8)
    for weight in weights:
        here = a.detach().numpy()
        product = (np.eye(8) + weight * drelu(here)) @ product
        a = a + torch.from_numpy(weight) @ torch.relu(a)
    (a @ torch.from_numpy(top)).backward()
    assert np.allclose(start.grad.numpy(), product.T @ top, atol=1e-10)


def check_veg_residual_bounds():
    """Equation (veg-residual-bounds): singular values of products of I + B, norm of B <= e."""
    rng = np.random.default_rng(6)
    for eps, blocks in ((0.3, 5), (0.02, 50), (0.9, 3)):
        for _ in range(20):
            product = np.eye(10)
            for _ in range(blocks):
                b = rng.normal(size=(10, 10))
                product = (np.eye(10) + eps * b / np.linalg.norm(b, 2)) @ product
            s = np.linalg.svd(product, compute_uv=False)
            assert (1 - eps) ** blocks <= s[-1] and s[0] <= (1 + eps) ** blocks
    assert (1 + 1 / 50) ** 50 < np.e


def check_veg_residual_growth():
    """Equation (veg-residual-growth): per block 1 + beta^2 chi, averaged over the weights."""
    rng = np.random.default_rng(7)
    width = 80
    for beta in (1.0, 0.5):
        squares = []
        for _ in range(600):
            x, top = rng.normal(size=(1, width)), rng.normal(size=(1, width))
            norms = residual_norms(gaussian(rng, 2, width, np.sqrt(2.0)), x, top, beta)
            squares.append([norms[0] ** 2, norms[2] ** 2])
        first, last = np.mean(squares, axis=0)
        assert abs(first / last / (1 + beta ** 2) ** 2 - 1) < 0.05, first / last


def check_veg_bn_growth():
    """Equation (veg-bn-growth): batch-normalized ReLU layers at initialization, 3 percent."""
    torch.manual_seed(0)
    width, depth, batch = 256, 12, 256
    rate = []
    for _ in range(3):
        layers = []
        for _ in range(depth):
            linear = torch.nn.Linear(width, width, bias=False)
            norm = torch.nn.BatchNorm1d(width)
            layers.append(torch.nn.Sequential(linear, norm, torch.nn.ReLU()))
        x, top = torch.randn(batch, width), torch.randn(batch, width)
        norms = torch_gradient_norms(layers, x, top)
        rate.append((norms[2] / norms[-1]) ** (2 / (depth - 2)))
    assert abs(np.mean(rate) / (np.pi / (np.pi - 1)) - 1) < 0.03, rate


def check_veg_gelfand():
    """Equation (veg-gelfand): a shared matrix grows with its spectral radius in the end."""
    w = np.array([[0.5, 5.0], [0.0, 0.5]])
    assert np.isclose(max(abs(np.linalg.eigvals(w))), 0.5)
    assert np.isclose(np.linalg.norm(w, 2), 5.05, atol=0.01)
    norm = np.linalg.norm(np.linalg.matrix_power(w, 400), 2) ** (1 / 400)
    assert abs(norm - 0.5) < 0.02
    assert np.linalg.norm(w @ w, 2) > 5
    assert np.linalg.norm(np.linalg.matrix_power(w, 20), 2) < 1e-3


def check_nilpotent_pair():
    """Worked example: two matrices of spectral radius 0 whose products grow like 2^k."""
    a, b = np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [2.0, 0.0]])
    assert np.all(np.linalg.eigvals(a) == 0) and np.all(np.linalg.eigvals(b) == 0)
    product = np.linalg.matrix_power(a @ b, 10)
    assert np.linalg.norm(product, 2) == 2.0 ** 20
    assert not (np.diag([2.0, 0.0]) @ np.diag([0.0, 2.0])).any()  # radii 2, product 0


def check_worked_example():
    """The scalar sigmoid chain of ten layers, for three weights, by the page's code."""
    for w, factor, total in ((1.0, 0.25, 9.54e-7), (4.0, 1.0, 1.0), (8.0, 2.0, 1024.0)):
        a, grad = 0.5, 1.0
        for _ in range(10):
            z = w * a - w / 2
            a = sigmoid(z)
            assert a == 0.5 and np.isclose(w * dsigmoid(z), factor)
            grad *= w * dsigmoid(z)
        assert np.isclose(grad, total, rtol=1e-3)
    a, grad, history = 0.51, 1.0, []
    for _ in range(10):
        z = 8.0 * a - 4.0
        a = sigmoid(z)
        grad *= 8.0 * dsigmoid(z)
        history.append(grad)
    assert np.isclose(a, 0.98, atol=0.005)
    assert np.isclose(history[4], 19.7, atol=0.05) and max(history) == history[4]
    assert np.isclose(history[9], 0.024, atol=0.0005)


def check_split_product():
    """Worked example: 1.2 and 0.8 over twenty layers explode and vanish together."""
    assert np.isclose(1.2 ** 20, 38.3, atol=0.05) and np.isclose(0.8 ** 20, 0.0115, atol=1e-4)
    assert np.isclose(1.5 ** 20, 3325, atol=1)


def check_veg_adam_step():
    """Equation (veg-adam-step): the first Adam step against torch.optim.Adam."""
    for g in (1e-3, 1e-6, 1e-10):
        p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        p.grad = torch.full((1,), g, dtype=torch.float64)
        torch.optim.Adam([p], lr=0.01).step()
        assert np.isclose(-p.item(), 0.01 * g / (abs(g) + 1e-8), rtol=1e-6)


def check_half_precision_underflow():
    """Text: float16 rounds magnitudes at or below 2^-25 to zero."""
    assert np.float16(2.0 ** -25) == 0.0 and np.float16(2.0 ** -24) > 0.0


def check_numpy_against_torch():
    """The two tabs agree to 1e-10 (relative) in float64."""
    rng = np.random.default_rng(8)
    weights = gaussian(rng, 10, 20, np.sqrt(2.0))
    x, top = rng.normal(size=(3, 20)), rng.normal(size=(3, 20))
    layers = []
    for weight in weights:
        linear = torch.nn.Linear(20, 20, bias=False, dtype=torch.float64)
        linear.weight.data.copy_(torch.from_numpy(weight))
        layers.append(torch.nn.Sequential(linear, torch.nn.ReLU()))
    ours = gradient_norms(weights, x, top, relu, drelu)
    theirs = torch_gradient_norms(layers, torch.from_numpy(x), torch.from_numpy(top))
    assert np.allclose(ours, theirs, rtol=1e-10)


def check_gradient_report():
    """The monitor reads the gradients that backward() left behind."""
    model = torch.nn.Linear(3, 1)
    assert gradient_report(model) == {}
    model(torch.ones(2, 3)).sum().backward()
    report = gradient_report(model)
    assert np.isclose(report["weight"][0], 2 * np.sqrt(3))
    ratio = 2 * np.sqrt(3) / model.weight.norm().item()
    assert np.isclose(report["weight"][1], ratio, rtol=1e-4)


def check_figure_numbers():
    """Text at the figure: scales of the depth-30 curves, order of magnitude."""
    rng = np.random.default_rng(9)
    x, top = rng.normal(size=(1, 128)), rng.normal(size=(1, 128))
    low = gradient_norms(gaussian(rng, 30, 128), x, top, sigmoid, dsigmoid)
    assert 1e-21 < low[0] / low[-1] < 1e-17
    small = gradient_norms(gaussian(rng, 30, 128), x, top, relu, drelu)
    assert 1e-7 < small[0] / small[-1] < 1e-3


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
