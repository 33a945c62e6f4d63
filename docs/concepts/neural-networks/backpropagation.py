"""Twin of the page "Backpropagation": its code, its figure and the checks of its equations."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import FancyBboxPatch
from torch.utils.flop_counter import FlopCounterMode


# --8<-- [start:numpy]
def forward(x, weights, biases, phi):
    """Run an MLP whose last layer is linear; keep what the backward pass needs.

    x: (B, n_0); weights[k]: (n_out, n_in); biases[k]: (n_out,).
    Returns the pre-activations [z_1..z_L] and the layer inputs [a_0..a_L-1].
    """
    inputs, pre = [x], []
    for weight, bias in zip(weights, biases):
        pre.append(inputs[-1] @ weight.T + bias)
        inputs.append(phi(pre[-1]))
    return pre, inputs[:-1]


def softmax_cross_entropy(logits, labels):
    """Mean loss of a batch and its gradient with respect to the logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    delta = np.exp(log_p)
    delta[rows, labels] -= 1.0  # p - y
    return -log_p[rows, labels].mean(), delta / len(labels)


def backward(delta, pre, inputs, weights, dphi):
    """Gradients of the cost from delta, its gradient at the last pre-activation.

    One pass from the last layer to the first. Returns the lists of weight and
    bias gradients and the gradient with respect to the network's input.
    """
    grad_w, grad_b = [], []
    for k in reversed(range(len(weights))):
        grad_w.insert(0, delta.T @ inputs[k])  # outer products, summed over the batch
        grad_b.insert(0, delta.sum(axis=0))
        delta = delta @ weights[k]  # gradient at the layer's input
        if k > 0:
            delta = delta * dphi(pre[k - 1])  # error signal of the layer below
    return grad_w, grad_b, delta


# --8<-- [end:numpy]


# --8<-- [start:torch]
def torch_gradients(x, labels, weights, biases):
    """The same gradients from autograd, which records the forward pass itself."""
    x = x.clone().requires_grad_()
    weights = [w.clone().requires_grad_() for w in weights]
    biases = [b.clone().requires_grad_() for b in biases]
    a = x
    for k, (weight, bias) in enumerate(zip(weights, biases)):
        z = torch.nn.functional.linear(a, weight, bias)
        a = torch.tanh(z) if k < len(weights) - 1 else z
    loss = torch.nn.functional.cross_entropy(a, labels)
    loss.backward()  # fills .grad; changes no parameter
    return loss.detach(), [w.grad for w in weights], [b.grad for b in biases], x.grad


# --8<-- [end:torch]


# --8<-- [start:gradcheck]
def gradient_check(cost, param, grad, h=1e-5):
    """Largest relative error between grad and central differences of cost().

    param is changed in place, one entry at a time, and restored. Use float64.
    """
    worst = 0.0
    for i in np.ndindex(param.shape):
        old = param[i]
        param[i] = old + h
        up = cost()
        param[i] = old - h
        down = cost()
        param[i] = old
        numeric = (up - down) / (2 * h)
        scale = max(abs(numeric), abs(grad[i]), 1e-8)
        worst = max(worst, abs(numeric - grad[i]) / scale)
    return worst


# --8<-- [end:gradcheck]


def dtanh(z):
    """Derivative of tanh."""
    return 1.0 - np.tanh(z) ** 2


def make_network(sizes=(4, 6, 5, 3), batch=7, seed=0):
    """A small tanh network with random parameters, inputs and labels."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(m, n)) / np.sqrt(n) for n, m in zip(sizes, sizes[1:])]
    biases = [0.1 * rng.normal(size=m) for m in sizes[1:]]
    x = rng.normal(size=(batch, sizes[0]))
    labels = rng.integers(sizes[-1], size=batch)
    return x, labels, weights, biases


def all_gradients(x, labels, weights, biases):
    """Loss and all gradients of the small network, by the page's NumPy code."""
    pre, inputs = forward(x, weights, biases, np.tanh)
    loss, delta = softmax_cross_entropy(pre[-1], labels)
    return (loss, *backward(delta, pre, inputs, weights, dtanh))


def layer_deltas(delta, pre, weights):
    """Error signals of all layers, first to last."""
    deltas = [delta]
    for k in reversed(range(1, len(weights))):
        deltas.insert(0, (deltas[0] @ weights[k]) * dtanh(pre[k - 1]))
    return deltas


def tail_cost(z, start, labels, weights, biases):
    """Mean loss as a function of the pre-activation z of layer index start."""
    for k in range(start + 1, len(weights)):
        z = np.tanh(z) @ weights[k].T + biases[k]
    return softmax_cross_entropy(z, labels)[0]


def figure_passes():
    """The forward pass above, the backward pass below, and what one hands to the other."""
    fig, ax = plt.subplots(figsize=(6.4, 3.7))
    ax.set_axis_off()
    ax.set_xlim(-0.1, 10.1)
    ax.set_ylim(-0.2, 6.0)
    blue, orange, gray = "#0061a8", "#c2410c", "#555555"

    def box(x, y, text, color):
        patch = FancyBboxPatch(
            (x - 0.56, y - 0.34), 1.12, 0.68, boxstyle="round,pad=0.04",
            fill=False, edgecolor=color, linewidth=1.5,
        )
        ax.add_patch(patch)
        ax.text(x, y, text, ha="center", va="center", fontsize=11)

    def arrow(start, end, color, style):
        props = {"arrowstyle": "-|>", "color": color, "linestyle": style, "lw": 1.5,
                 "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", xy=end, xytext=start, arrowprops=props)

    xs = [0.7, 2.85, 5.0, 7.15, 9.3]
    top, low, base = 5.0, 2.7, 0.4
    names = [r"$\mathbf{x}$", r"$\mathbf{z}^{[1]}$", r"$\mathbf{a}^{[1]}$",
             r"$\mathbf{z}^{[2]}$", r"$\ell$"]
    grads = [r"$\nabla_{\mathbf{x}}\ell$", r"$\boldsymbol{\delta}^{[1]}$",
             r"$\nabla_{\mathbf{a}^{[1]}}\ell$", r"$\boldsymbol{\delta}^{[2]}$", "1"]
    steps = [r"$\mathbf{W}^{[1]}$", r"$\phi$", r"$\mathbf{W}^{[2]}$", "loss"]
    backs = [r"$\mathbf{W}^{[1]\top}$", r"$\odot\,\phi'$", r"$\mathbf{W}^{[2]\top}$",
             r"$\nabla_{\mathbf{z}}\ell$"]
    for x, name, grad in zip(xs, names, grads):
        box(x, top, name, blue)
        box(x, low, grad, orange)
    for i in range(4):
        mid = (xs[i] + xs[i + 1]) / 2
        arrow((xs[i] + 0.62, top), (xs[i + 1] - 0.62, top), blue, "-")
        arrow((xs[i + 1] - 0.62, low), (xs[i] + 0.62, low), orange, "--")
        ax.text(mid, top + 0.28, steps[i], ha="center", fontsize=10)
        ax.text(mid + 0.2, low + 0.28, backs[i], ha="center", fontsize=10)
    # stored values that the backward pass reads
    arrow((xs[1] + 0.3, top - 0.4), ((xs[1] + xs[2]) / 2 + 0.1, low + 0.75), gray, ":")
    for x_in, x_delta, label in ((xs[0], xs[1], "1"), (xs[2], xs[3], "2")):
        target = x_in + 1.3
        box(target, base, rf"$\nabla_{{\mathbf{{W}}^{{[{label}]}}}}\ell$", orange)
        arrow((x_delta, low - 0.4), (target + 0.3, base + 0.42), orange, "--")
        arrow((x_in + 0.56, top - 0.4), (target - 0.25, base + 0.42), gray, ":")
    ax.text(0.05, 5.72, "forward pass, values kept", color=blue, fontsize=10)
    ax.text(10.0, 1.75, "backward pass", color=orange, fontsize=10, ha="right")
    ax.text(10.0, 1.25, "dotted: stored values", color=gray, fontsize=10, ha="right")
    ax.text(10.0, 0.85, "used again", color=gray, fontsize=10, ha="right")
    return fig


def check_bp_forward():
    """Equation (bp-forward): the layers of the NumPy code against torch.nn.Linear."""
    x, _, weights, biases = make_network()
    pre, inputs = forward(x, weights, biases, np.tanh)
    a = torch.from_numpy(x)
    for k, (weight, bias) in enumerate(zip(weights, biases)):
        layer = torch.nn.Linear(*weight.shape[::-1], dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
            assert np.allclose(inputs[k], a.numpy(), atol=1e-12)
            z = layer(a)
        assert np.allclose(pre[k], z.numpy(), atol=1e-12)
        a = torch.tanh(z)


def check_bp_delta():
    """Equations (bp-delta), (bp-recursion): every error signal against differences."""
    x, labels, weights, biases = make_network()
    pre, _ = forward(x, weights, biases, np.tanh)
    deltas = layer_deltas(softmax_cross_entropy(pre[-1], labels)[1], pre, weights)
    for k, delta in enumerate(deltas):
        z = pre[k].copy()
        error = gradient_check(
            lambda z=z, k=k: tail_cost(z, k, labels, weights, biases), z, delta
        )
        assert error < 1e-6, (k, error)


check_bp_recursion = check_bp_delta


def check_bp_output():
    """Equation (bp-output): p - y for one example, by central differences."""
    rng = np.random.default_rng(1)
    logits, label = rng.normal(size=(1, 5)), np.array([3])
    p = np.exp(logits) / np.exp(logits).sum()
    claim = p - np.eye(5)[label]
    error = gradient_check(lambda: softmax_cross_entropy(logits, label)[0], logits, claim)
    assert error < 1e-7


def check_bp_parameters():
    """Equation (bp-parameters): the outer product and the bias gradient, one example."""
    x, labels, weights, biases = make_network(batch=1)
    pre, inputs = forward(x, weights, biases, np.tanh)
    deltas = layer_deltas(softmax_cross_entropy(pre[-1], labels)[1], pre, weights)

    def cost():
        return softmax_cross_entropy(forward(x, weights, biases, np.tanh)[0][-1], labels)[0]

    for k in range(len(weights)):
        assert gradient_check(cost, weights[k], np.outer(deltas[k], inputs[k])) < 1e-6
        assert gradient_check(cost, biases[k], deltas[k][0]) < 1e-6
    grad_x = deltas[0] @ weights[0]
    assert gradient_check(cost, x, grad_x) < 1e-6


def check_bp_batch():
    """Equation (bp-batch): the batch gradient is the mean of the examples' gradients."""
    x, labels, weights, biases = make_network()
    _, grad_w, grad_b, _ = all_gradients(x, labels, weights, biases)
    single = [all_gradients(x[i:i + 1], labels[i:i + 1], weights, biases) for i in range(7)]
    for k in range(len(weights)):
        assert np.allclose(grad_w[k], np.mean([s[1][k] for s in single], axis=0), atol=1e-12)
        assert np.allclose(grad_b[k], np.mean([s[2][k] for s in single], axis=0), atol=1e-12)


def check_bp_jacobian_product():
    """Equation (bp-jacobian-product): autograd's input gradient against the product."""
    x, labels, weights, biases = make_network(batch=1)
    pre, _ = forward(x, weights, biases, np.tanh)
    row = softmax_cross_entropy(pre[-1], labels)[1]
    product = np.eye(x.shape[1])
    for k, weight in enumerate(weights):
        product = weight @ product
        if k < len(weights) - 1:
            product = np.diag(dtanh(pre[k][0])) @ product
    tensors = [[torch.from_numpy(t) for t in group] for group in (weights, biases)]
    grad_x = torch_gradients(torch.from_numpy(x), torch.from_numpy(labels), *tensors)[3]
    assert np.allclose(row @ product, grad_x.numpy(), atol=1e-12)


def check_bp_vjp():
    """Equation (bp-vjp): the three rules of a linear layer against its full Jacobians."""
    rng = np.random.default_rng(2)
    weight, a, bias = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=3)
    v = rng.normal(size=3)
    jacobians = torch.autograd.functional.jacobian(
        lambda w, x, b: w @ x + b, tuple(torch.from_numpy(t) for t in (weight, a, bias))
    )
    by_weight, by_input, by_bias = (j.numpy() for j in jacobians)  # by_weight: (3, 3, 4)
    assert np.allclose(np.einsum("i,ijk->jk", v, by_weight), np.outer(v, a), atol=1e-12)
    assert np.allclose(v @ by_input, weight.T @ v, atol=1e-12)
    assert np.allclose(v @ by_bias, v, atol=1e-12)
    assert np.count_nonzero(by_weight) == 3 * 4  # of 3 * 12 entries


def check_bp_fanout():
    """Equation (bp-fanout): a value with two uses receives the sum of two gradients."""
    rng = np.random.default_rng(3)
    u, left, right = rng.normal(size=4), rng.normal(size=(3, 4)), rng.normal(size=(2, 4))

    def cost():
        return np.sum(np.tanh(left @ u)) + np.sum(np.sin(right @ u))

    through_left = left.T @ dtanh(left @ u)
    through_right = right.T @ np.cos(right @ u)
    assert gradient_check(cost, u, through_left + through_right) < 1e-6
    assert gradient_check(cost, u, through_left) > 1e-2


def check_bp_cost():
    """Equation (bp-cost): multiply-adds counted by PyTorch, forward and backward."""
    sizes, batch = (32, 48, 64, 10), 16
    layers = [torch.nn.Linear(n, m) for n, m in zip(sizes, sizes[1:])]
    tanh = torch.nn.Tanh()
    model = torch.nn.Sequential(layers[0], tanh, layers[1], tanh, layers[2])
    products = [n * m for n, m in zip(sizes, sizes[1:])]
    x = torch.randn(batch, sizes[0], generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as forward_count:
        out = model(x).sum()
    with FlopCounterMode(display=False) as backward_count:
        out.backward()
    macs = batch * sum(products)
    assert forward_count.get_total_flops() == 2 * macs
    assert backward_count.get_total_flops() == 2 * (2 * macs - batch * products[0])


def check_bp_central_difference():
    """Equation (bp-central-difference): the error falls with h squared, one-sided with h."""
    f, exact = np.tanh, dtanh(0.7)
    errors = [abs((f(0.7 + h) - f(0.7 - h)) / (2 * h) - exact) for h in (1e-2, 1e-3)]
    one_sided = [abs((f(0.7 + h) - f(0.7)) / h - exact) for h in (1e-2, 1e-3)]
    assert 90 < errors[0] / errors[1] < 110
    assert 9 < one_sided[0] / one_sided[1] < 11
    third = (6 * np.tanh(0.7) ** 2 - 2) * dtanh(0.7)  # third derivative of tanh
    assert np.isclose(errors[1], abs(third) * 1e-6 / 6, rtol=1e-2)


def check_step_size_of_gradient_check():
    """Text: with h = 1e-5 the gradient check is better than with 1e-1 and 1e-12."""
    x, labels, weights, biases = make_network()
    _, grad_w, _, _ = all_gradients(x, labels, weights, biases)

    def cost():
        return softmax_cross_entropy(forward(x, weights, biases, np.tanh)[0][-1], labels)[0]

    errors = {h: gradient_check(cost, weights[1], grad_w[1], h) for h in (1e-1, 1e-5, 1e-12)}
    assert errors[1e-5] < 1e-6
    assert errors[1e-1] > 1e-3
    assert errors[1e-12] > 1e-4


def check_numpy_against_torch():
    """The two tabs: loss and all gradients agree to 1e-12 in float64."""
    x, labels, weights, biases = make_network()
    loss, grad_w, grad_b, grad_x = all_gradients(x, labels, weights, biases)
    tensors = [[torch.from_numpy(t) for t in group] for group in (weights, biases)]
    ref = torch_gradients(torch.from_numpy(x), torch.from_numpy(labels), *tensors)
    assert np.isclose(loss, ref[0].item(), atol=1e-12)
    for ours, theirs in zip(grad_w + grad_b + [grad_x], ref[1] + ref[2] + [ref[3]]):
        assert np.allclose(ours, theirs.numpy(), atol=1e-12)


def check_backward_changes_no_parameter():
    """Text: backward() leaves the parameters alone and adds to .grad on a second call."""
    layer = torch.nn.Linear(3, 2)
    before = [p.detach().clone() for p in layer.parameters()]
    x = torch.ones(4, 3)
    layer(x).square().sum().backward()
    first = layer.weight.grad.clone()
    assert all(torch.equal(p, q) for p, q in zip(layer.parameters(), before))
    layer(x).square().sum().backward()
    assert torch.allclose(layer.weight.grad, 2 * first)
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    assert not torch.equal(layer.weight, before[0])


def check_kinks():
    """Text: PyTorch's derivative of ReLU at 0 is 0; rounding has derivative 0."""
    x = torch.zeros(1, requires_grad=True)
    torch.relu(x).sum().backward()
    assert x.grad.item() == 0.0
    y = torch.tensor([0.3, 1.7], requires_grad=True)
    torch.round(y).sum().backward()
    assert torch.equal(y.grad, torch.zeros(2))


def check_worked_example():
    """The numbers of the worked example, and one step of gradient descent after it."""
    def relu(z):
        return np.maximum(z, 0.0)

    def drelu(z):
        return (z > 0).astype(float)

    weights = [np.array([[1.0, -1.0], [0.5, 0.5]]), np.array([[2.0, 2.0]])]
    biases = [np.zeros(2), np.zeros(1)]
    x, y = np.array([[1.0, 2.0]]), 1.0
    pre, inputs = forward(x, weights, biases, relu)
    assert np.allclose(pre[0], [[-1.0, 1.5]])
    assert np.allclose(inputs[1], [[0.0, 1.5]])
    assert np.allclose(pre[1], [[3.0]])
    assert 0.5 * (pre[1][0, 0] - y) ** 2 == 2.0
    delta = pre[1] - y
    assert np.allclose((delta @ weights[1]) * drelu(pre[0]), [[0.0, 4.0]])
    grad_w, grad_b, grad_x = backward(delta, pre, inputs, weights, drelu)
    assert np.allclose(grad_w[1], [[0.0, 3.0]])
    assert np.allclose(grad_b[1], [2.0])
    assert np.allclose(grad_w[0], [[0.0, 0.0], [4.0, 8.0]])
    assert np.allclose(grad_b[0], [0.0, 4.0])
    assert np.allclose(grad_x, [[2.0, 2.0]])
    stepped_w = [w - 0.05 * g for w, g in zip(weights, grad_w)]
    stepped_b = [b - 0.05 * g for b, g in zip(biases, grad_b)]
    out = forward(x, stepped_w, stepped_b, relu)[0][1][0, 0]
    assert np.isclose(out, 0.455)
    assert np.isclose(0.5 * (out - y) ** 2, 0.1485, atol=1e-4)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
