"""Twin of the page "Computational graphs and automatic differentiation": two tiny engines and checks."""

import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Ellipse


# --8<-- [start:numpy]
def fit(g, shape):
    """Sum a gradient over the axes that broadcasting added or stretched."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=stretched, keepdims=True)


class Var:
    """A node of the graph: its value, and (parent, vector-Jacobian product) pairs."""

    def __init__(self, data, parents=()):
        self.data = np.asarray(data, dtype=float)
        self.parents = parents
        self.grad = None

    def __add__(self, other):
        a, b = self, other if isinstance(other, Var) else Var(other)
        return Var(a.data + b.data, [(a, lambda g: fit(g, a.data.shape)),
                                     (b, lambda g: fit(g, b.data.shape))])

    def __mul__(self, other):
        a, b = self, other if isinstance(other, Var) else Var(other)
        return Var(a.data * b.data, [(a, lambda g: fit(g * b.data, a.data.shape)),
                                     (b, lambda g: fit(g * a.data, b.data.shape))])

    def __matmul__(self, other):  # both two-dimensional
        a, b = self, other
        return Var(a.data @ b.data, [(a, lambda g: g @ b.data.T),
                                     (b, lambda g: a.data.T @ g)])

    def tanh(self):
        y = np.tanh(self.data)
        return Var(y, [(self, lambda g: g * (1 - y * y))])

    def exp(self):
        y = np.exp(self.data)
        return Var(y, [(self, lambda g: g * y)])

    def sum(self):
        shape = self.data.shape
        return Var(self.data.sum(), [(self, lambda g: np.broadcast_to(g, shape))])

    def backward(self):
        """Reverse sweep from this scalar: fills .grad of every node it depends on."""
        assert self.data.ndim == 0, "backward() starts at a scalar"
        order, seen = [], set()

        def visit(node):  # children come after their parents
            if id(node) not in seen:
                seen.add(id(node))
                for parent, _ in node.parents:
                    visit(parent)
                order.append(node)

        visit(self)
        for node in order:
            node.grad = np.zeros_like(node.data)
        self.grad = np.ones(())
        for node in reversed(order):  # a node's gradient is complete before it is used
            for parent, vjp in node.parents:
                parent.grad = parent.grad + vjp(node.grad)  # sum over all uses


# --8<-- [end:numpy]


# --8<-- [start:dual]
class Dual:
    """Forward mode: a value and its derivative in one direction, computed together."""

    def __init__(self, value, tangent=0.0):
        self.value, self.tangent = value, tangent

    def __add__(self, other):
        other = other if isinstance(other, Dual) else Dual(other)
        return Dual(self.value + other.value, self.tangent + other.tangent)

    def __mul__(self, other):
        other = other if isinstance(other, Dual) else Dual(other)
        return Dual(self.value * other.value,
                    self.tangent * other.value + self.value * other.tangent)

    __radd__, __rmul__ = __add__, __mul__

    def sin(self):
        return Dual(np.sin(self.value), np.cos(self.value) * self.tangent)

    def exp(self):
        return Dual(np.exp(self.value), np.exp(self.value) * self.tangent)


# --8<-- [end:dual]


# --8<-- [start:torch]
def torch_gradients(f, *arrays):
    """Value and gradients of a scalar function by reverse mode (one sweep)."""
    inputs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]
    y = f(*inputs)  # the graph is recorded while this line runs
    return y.item(), [g.numpy() for g in torch.autograd.grad(y, inputs)]


def torch_products(f, x, u, w):
    """J u by forward mode and J^T w by reverse mode, without building J."""
    _, forward = torch.func.jvp(f, (x,), (u,))
    _, pull_back = torch.func.vjp(f, x)
    return forward, pull_back(w)[0]


def hessian_vector_product(f, x, v):
    """H v as the derivative of the gradient in direction v: forward over reverse."""
    return torch.func.jvp(torch.func.grad(f), (x,), (v,))[1]


# --8<-- [end:torch]

# The worked example: y = u w with u = x1 x2 and w = u + x1, as (node, parents, local derivatives)
VALUES = {"x1": 3.0, "x2": 2.0, "u": 6.0, "w": 9.0, "y": 54.0}
EDGES = {  # (parent, child): local derivative
    ("x1", "u"): 2.0,
    ("x2", "u"): 3.0,
    ("u", "w"): 1.0,
    ("x1", "w"): 1.0,
    ("u", "y"): 9.0,
    ("w", "y"): 6.0,
}
ORDER = ["x1", "x2", "u", "w", "y"]


def tangents(seed):
    """Equation (ad-tangent) on the example graph; also counts multiply-adds."""
    dot, work = {**dict.fromkeys(ORDER, 0.0), **seed}, 0
    for node in ORDER:
        for (parent, child), d in EDGES.items():
            if child == node:
                dot[node] += d * dot[parent]
                work += 1
    return dot, work


def adjoints():
    """Equation (ad-adjoint) on the example graph; also counts multiply-adds."""
    bar, work = {**dict.fromkeys(ORDER, 0.0), "y": 1.0}, 0
    for node in reversed(ORDER):
        for (parent, child), d in EDGES.items():
            if child == node:
                bar[parent] += bar[node] * d
                work += 1
    return bar, work


def figure_graph():
    """The worked example: values flow right along solid arrows, adjoints return."""
    fig, ax = plt.subplots(figsize=(6.4, 3.3))
    ax.set_axis_off()
    ax.set_xlim(-0.8, 9.6)
    ax.set_ylim(-0.55, 4.35)
    blue, orange, gray = "#0061a8", "#c2410c", "#555555"
    place = {"x1": (0, 3.2), "x2": (0, 0.6), "u": (3.1, 0.9), "w": (5.9, 2.9), "y": (8.7, 1.5)}
    names = {
        "x1": "$x_1$",
        "x2": "$x_2$",
        "u": "$u=x_1x_2$",
        "w": "$w=u+x_1$",
        "y": "$y=u\\,w$",
    }
    radius = {"x1": 0.5, "x2": 0.5, "u": 0.95, "w": 0.95, "y": 0.75}
    bar, _ = adjoints()
    for node, (x, y) in place.items():
        ax.add_patch(Ellipse((x, y), 2 * radius[node], 0.95, fc="none", ec="#222222", lw=1.4))
        ax.text(x, y, names[node], ha="center", va="center", fontsize=10)
        ax.text(x, y + 0.58, f"{VALUES[node]:g}", ha="center", va="bottom", color=blue, fontsize=11)
        ax.text(x, y - 0.58, f"{bar[node]:g}", ha="center", va="top", color=orange, fontsize=11, weight="bold")
    for (parent, child), d in EDGES.items():
        (x0, y0), (x1, y1) = place[parent], place[child]
        length = math.hypot(x1 - x0, y1 - y0)
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        cut = lambda r, ux=ux, uy=uy: r / math.hypot(ux, uy * r / 0.475) + 0.06
        start = (x0 + ux * cut(radius[parent]), y0 + uy * cut(radius[parent]))
        end = (x1 - ux * cut(radius[child]), y1 - uy * cut(radius[child]))
        ax.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": gray, "lw": 1.4})
        mx, my = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        ax.text(mx - 0.26 * uy, my + 0.26 * ux, f"{d:g}", ha="center", va="center", color=gray, fontsize=9, style="italic")
    ax.text(-0.8, 4.3, "above: value", color=blue, fontsize=9, va="top")
    ax.text(1.5, 4.3, "below, bold: adjoint", color=orange, fontsize=9, va="top")
    ax.text(5.2, 4.3, "on arrows, italic: local derivative", color=gray, fontsize=9, va="top")
    return fig


def test_function(x):
    """exp(sin x), for numbers and for Dual."""
    return x.sin().exp() if isinstance(x, Dual) else math.exp(math.sin(x))


def figure_differences():
    """Errors of finite differences against the step, and of automatic differentiation."""
    fig, ax = plt.subplots(figsize=(6.4, 3.0))
    x = 1.0
    exact = math.exp(math.sin(x)) * math.cos(x)
    h = 10.0 ** np.arange(-15, -0.4, 0.25)
    forward = [abs((test_function(x + s) - test_function(x)) / s - exact) for s in h]
    central = [abs((test_function(x + s) - test_function(x - s)) / (2 * s) - exact) for s in h]
    ax.loglog(h, forward, "s-", color="#c2410c", ms=3.5, lw=1.2, label="forward difference")
    ax.loglog(h, central, "o--", color="#0061a8", ms=3.5, lw=1.2, label="central difference")
    ad = max(abs(test_function(Dual(x, 1.0)).tangent - exact), 2.0**-53)
    ax.axhline(ad, color="#555555", ls=":", lw=2, label="automatic differentiation")
    ax.set(xlabel="step $h$", ylabel="error of the derivative", ylim=(2e-17, 3))
    ax.set_yticks([1e-16, 1e-12, 1e-8, 1e-4, 1])
    ax.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.48, 1.0))
    return fig


def mlp_loss(X, W1, b1, W2):
    """The same code for Var and torch: a small network with squared outputs."""
    out = (X @ W1 + b1).tanh() @ W2
    return (out * out + out.exp() * 0.1).sum()


def mlp_arrays():
    """Random inputs and parameters for mlp_loss."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=s) for s in ((5, 3), (3, 4), (4,), (4, 2))]


def check_ad_trace():
    """Equation (ad-trace): the recorded graph recomputes the function; recording follows branches."""
    x1, x2 = Var(3.0), Var(2.0)
    u = x1 * x2
    w = u + x1
    y = u * w
    assert [v.data for v in (u, w, y)] == [6, 9, 54]
    assert [p for p, _ in w.parents] == [u, x1] and [p for p, _ in y.parents] == [u, w]
    loop = lambda x, n: x if n == 0 else loop(x * x, n - 1)
    x = Var(1.1)
    loop(x, 4).backward()
    assert np.isclose(x.grad, 16 * 1.1**15)


def check_ad_tangent():
    """Equation (ad-tangent): the example, Dual against torch and central differences."""
    assert tangents({"x1": 1.0})[0]["y"] == 36 and tangents({"x2": 1.0})[0]["y"] == 45
    assert tangents({"x1": 1.0})[0]["u"] == 2 and tangents({"x1": 1.0})[0]["w"] == 3
    f = lambda a, b: (a * b + a.sin()).exp() * a
    t = f(Dual(0.3, 1.5), Dual(-0.7, 0.4)).tangent
    g = lambda z: (z[0] * z[1] + torch.sin(z[0])).exp() * z[0]
    z, u = torch.tensor([0.3, -0.7], dtype=torch.float64), torch.tensor([1.5, 0.4], dtype=torch.float64)
    assert np.isclose(t, torch.func.jvp(g, (z,), (u,))[1].item(), rtol=0, atol=1e-12)
    assert np.isclose(t, ((g(z + 1e-6 * u) - g(z - 1e-6 * u)) / 2e-6).item(), rtol=0, atol=1e-8)


def check_ad_adjoint():
    """Equation (ad-adjoint): the example; the engine against torch to 1e-12; finite differences."""
    bar, _ = adjoints()
    assert (bar["x1"], bar["x2"], bar["u"], bar["w"]) == (36, 45, 15, 6)
    arrays = mlp_arrays()
    nodes = [Var(a) for a in arrays]
    loss = mlp_loss(*nodes)
    loss.backward()
    value, grads = torch_gradients(mlp_loss, *arrays)
    assert np.isclose(loss.data, value, rtol=0, atol=1e-12)
    for node, grad in zip(nodes, grads, strict=True):
        assert node.grad.shape == grad.shape and np.allclose(node.grad, grad, rtol=0, atol=1e-12)
    rng = np.random.default_rng(1)
    for k, a in enumerate(arrays):
        d = rng.normal(size=a.shape)
        up, down = list(arrays), list(arrays)
        up[k], down[k] = a + 1e-6 * d, a - 1e-6 * d
        numeric = (mlp_loss(*map(Var, up)).data - mlp_loss(*map(Var, down)).data) / 2e-6
        assert np.isclose(numeric, (nodes[k].grad * d).sum(), rtol=1e-6)
    loss.backward()  # a second sweep starts from zero and gives the same
    assert np.allclose(nodes[1].grad, grads[1], rtol=0, atol=1e-12)


def check_ad_paths():
    """Equation (ad-paths): all paths of the example, and 2^k paths in k doublings."""

    def total(node):
        return 1.0 if node == "y" else sum(d * total(c) for (p, c), d in EDGES.items() if p == node)

    def count(node):
        return 1 if node == "y" else sum(count(c) for (p, c) in EDGES if p == node)

    assert total("x1") == 36 and total("x2") == 45
    assert count("x1") == 3 and count("x2") == 2
    x = Var(1.0)
    y, nodes = x, 0
    for _ in range(60):
        y, nodes = y + y, nodes + 1
    y.backward()  # 2^60 paths, 60 nodes
    assert x.grad == 2.0**60 and nodes == 60


def check_ad_dual():
    """Equation (ad-dual): as 2 x 2 matrices, where eps is nilpotent."""
    eps, one = np.array([[0.0, 1.0], [0.0, 0.0]]), np.eye(2)
    assert not (eps @ eps).any()
    a, da, b, db = 1.3, 0.7, -2.1, 0.4
    product = (a * one + da * eps) @ (b * one + db * eps)
    d = Dual(a, da) * Dual(b, db)
    assert np.allclose(product, d.value * one + d.tangent * eps)
    series = sum(np.linalg.matrix_power(a * one + da * eps, k) / math.factorial(k) for k in range(25))
    e = Dual(a, da).exp()
    assert np.allclose(series, e.value * one + e.tangent * eps, rtol=0, atol=1e-12)


def check_ad_duality():
    """Equation (ad-duality): forward and reverse give the same number, torch against J."""
    torch.manual_seed(0)
    A = torch.randn(5, 3, dtype=torch.float64)
    f = lambda x: torch.tanh(A @ x) * (A @ x).sum()
    x, u, w = (torch.randn(n, dtype=torch.float64) for n in (3, 3, 5))
    Ju, JTw = torch_products(f, x, u, w)
    J = torch.autograd.functional.jacobian(f, x)
    assert torch.allclose(Ju, J @ u, rtol=0, atol=1e-12) and torch.allclose(JTw, J.T @ w, rtol=0, atol=1e-12)
    assert torch.isclose(w @ Ju, JTw @ u, rtol=0, atol=1e-12)


def check_ad_cost():
    """Equation (ad-cost): one multiply-add per edge and sweep."""
    assert tangents({"x1": 1.0})[1] == adjoints()[1] == len(EDGES) == 6
    # two forward sweeps for two inputs against one reverse sweep
    work = sum(tangents({name: 1.0})[1] for name in ("x1", "x2"))
    assert work == 12 and adjoints()[1] == 6


def chain_gradient(x, weights, every=None):
    """Gradient of sum(tanh(w_L ... tanh(w_1 x))) in x; peak number of stored layer inputs.

    every=None stores all inputs; every=c stores each c-th and recomputes the others.
    """
    length, c = len(weights), every or 1
    kept, a = {}, x
    for k, w in enumerate(weights):
        if k % c == 0:
            kept[k] = a
        a = np.tanh(w * a)
    g, peak = np.ones_like(x), len(kept)
    for start in range((length - 1) // c * c, -1, -c):
        segment = [kept[start]]
        for k in range(start, min(start + c, length) - 1):
            segment.append(np.tanh(weights[k] * segment[-1]))
        peak = max(peak, len(kept) + len(segment) - 1)
        for k in range(min(start + c, length) - 1, start - 1, -1):
            y = np.tanh(weights[k] * segment[k - start])
            g = g * (1 - y * y) * weights[k]
        del kept[start]
    return g, peak


def check_ad_checkpoint():
    """Equation (ad-checkpoint): same gradient, memory L/c + c, smallest near the root."""
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=3), rng.uniform(0.8, 1.2, size=64)
    full, peak = chain_gradient(x, weights)
    assert peak == 64
    t = torch.tensor(x, requires_grad=True)
    a = t
    for w in weights:
        a = torch.tanh(w * a)
    a.sum().backward()
    assert np.allclose(full, t.grad.numpy(), rtol=1e-10)
    peaks = {}
    for c in (2, 4, 8, 16, 32):
        g, peaks[c] = chain_gradient(x, weights, c)
        assert np.allclose(g, full, rtol=1e-12)
        assert peaks[c] == 64 // c + c - 1  # the first input of a segment is a stored one
    assert min(peaks, key=peaks.get) == 8 and peaks[8] == 15 < 2 * math.sqrt(64)


def check_ad_swell():
    """Equation (ad-swell): degree 2^k written out; k multiplications in the program."""
    p = np.polynomial.Polynomial([0, 1])
    for k in range(1, 6):
        p = 4 * p * (1 - p)
        assert p.degree() == 2**k and (np.abs(p.coef[1:]) > 0).all()
        for angle in (0.3, 0.7, 1.2):  # the closed form: sin(2^k angle)^2 at sin(angle)^2
            d = Dual(math.sin(angle) ** 2, 1.0)
            for _ in range(k):
                d = 4.0 * d * (d * -1.0 + 1.0)
            assert np.isclose(d.value, math.sin(2**k * angle) ** 2, rtol=0, atol=1e-12)
            slope = 2**k * math.sin(2 ** (k + 1) * angle) / math.sin(2 * angle)
            assert np.isclose(d.tangent, slope, rtol=1e-10)
        assert np.isclose(p(0.05), math.sin(2**k * math.asin(0.05**0.5)) ** 2, atol=1e-6)


def check_ad_hvp():
    """Equation (ad-hvp): forward over reverse against the full Hessian."""
    torch.manual_seed(0)
    f = lambda x: torch.tanh(x).prod() + (x**3).sum()
    x, v = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    H = torch.autograd.functional.hessian(f, x)
    assert torch.allclose(hessian_vector_product(f, x, v), H @ v, rtol=0, atol=1e-12)


def check_finite_differences():
    """The numbers of the page: best errors of the two differences, and the error of Dual."""
    x, exact = 1.0, math.exp(math.sin(1.0)) * math.cos(1.0)
    h = 10.0 ** np.arange(-15, 0, 0.25)
    forward = min(abs((test_function(x + s) - test_function(x)) / s - exact) for s in h)
    central = min(abs((test_function(x + s) - test_function(x - s)) / (2 * s) - exact) for s in h)
    assert 1e-11 < forward < 3e-8 and 1e-14 < central < 1e-9
    assert abs(test_function(Dual(x, 1.0)).tangent - exact) < 1e-15


def check_derivative_of_the_branch():
    """Exact derivative of the program, wrong for the function; and NaN through where."""
    f = lambda x: x * 0.0 if x == 1 else x - 1.0
    x = torch.tensor(1.0, requires_grad=True)
    assert torch.autograd.grad(f(x), x)[0] == 0.0  # the function x - 1 has slope 1
    x = torch.tensor(0.0, requires_grad=True)
    bad = torch.where(x > 0, torch.sqrt(x), torch.zeros(()))
    assert torch.autograd.grad(bad, x)[0].isnan()
    safe = torch.where(x > 0, torch.sqrt(torch.where(x > 0, x, torch.ones(()))), torch.zeros(()))
    assert torch.autograd.grad(safe, x)[0] == 0.0


def saved_bytes(f, x):
    """Bytes of distinct tensors that autograd keeps for the backward pass of f(x)."""
    sizes = {}

    def pack(t):
        sizes[t.data_ptr()] = t.numel() * t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = f(x)
    return sum(sizes.values()), y


def check_memory():
    """Saved memory grows with depth; under no_grad and inference_mode nothing is saved."""

    def chain(depth):
        def f(x):
            for _ in range(depth):
                x = torch.tanh(x)
            return x

        return f

    x = torch.randn(1000, requires_grad=True)
    small, large = saved_bytes(chain(4), x)[0], saved_bytes(chain(40), x)[0]
    assert small == 4 * 4000 and large == 40 * 4000
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            saved, y = saved_bytes(chain(40), x)
        assert saved == 0 and not y.requires_grad


def raises(f, words):
    """True if f raises a RuntimeError whose message contains words."""
    try:
        f()
    except RuntimeError as error:
        return words in str(error)
    return False


def check_no_grad_and_detach():
    """The table of ways to stop gradients, as of PyTorch 2.13."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    d = x.detach()
    assert not d.requires_grad and d.data_ptr() == x.data_ptr()  # shares memory
    (x * d).sum().backward()  # d counts as a constant: gradient d, not 2 x
    assert torch.equal(x.grad, d)
    with torch.no_grad():
        y = x * 2
    assert not y.requires_grad and (y * x).requires_grad  # usable later as a constant
    with torch.inference_mode():
        z = x * 2
    assert raises(lambda: (z * x).sum(), "Inference tensors cannot be saved for backward")
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    out = frozen(x)
    assert out.requires_grad  # the gradient passes through to x
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5))
    layer.eval()
    assert layer(x.detach()).requires_grad  # eval() does not stop recording
    layer.train()
    torch.manual_seed(0)
    with torch.no_grad():
        assert not torch.equal(layer(d), layer(d))  # no_grad does not stop dropout


def check_in_place():
    """Which in-place changes fail, and which silently give a wrong gradient."""
    x = torch.tensor([0.5, 1.0], requires_grad=True)
    y = torch.exp(x)
    y += 1  # exp saved its output
    message = "modified by an inplace operation"
    assert raises(lambda: y.sum().backward(), message)
    y = x * 2.0
    y += 1  # nothing saved needs y
    y.sum().backward()
    assert torch.equal(x.grad, torch.full((2,), 2.0))
    assert raises(lambda: x.add_(1), "a leaf Variable that requires grad")
    x.grad = None
    y = torch.exp(x)
    y.data.add_(1)  # .data hides the change
    y.sum().backward()
    assert torch.allclose(x.grad, torch.exp(x.detach()) + 1)  # wrong: exp(x) is right
    y = torch.exp(x)
    y.detach().add_(1)  # detach does not hide it
    assert raises(lambda: y.sum().backward(), message)


def check_backward_errors():
    """A second backward, a vector output, an output without graph."""
    x = torch.ones(3, requires_grad=True)
    y = torch.exp(x).sum()
    y.backward()
    assert raises(y.backward, "Trying to backward through the graph a second time")
    assert raises(lambda: (x * 2).backward(), "grad can be implicitly created only for scalar outputs")
    assert raises(lambda: x.detach().sum().backward(), "does not require grad and does not have a grad_fn")
    x.grad = None
    (x * 2).backward(torch.tensor([1.0, 0.0, 3.0]))
    assert torch.equal(x.grad, torch.tensor([2.0, 0.0, 6.0]))
    (x * 2).sum().backward()  # gradients add up
    assert torch.equal(x.grad, torch.tensor([4.0, 2.0, 8.0]))
    h = torch.zeros(1)
    w = torch.ones(1, requires_grad=True)
    for step in range(2):  # a state carried over without detach reaches into the old graph
        h = torch.tanh(w * (h + 1))
        if step == 0:
            h.sum().backward()
        else:
            assert raises(h.sum().backward, "second time")


def check_gradcheck():
    """A wrong backward passes unnoticed until gradcheck looks at it."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 2 * x**2  # should be 3

    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert raises(lambda: torch.autograd.gradcheck(Cube.apply, (x,)), "Jacobian mismatch")
    assert torch.autograd.gradcheck(lambda t: t**3, (x,))


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
