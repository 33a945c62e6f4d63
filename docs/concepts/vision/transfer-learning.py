"""Twin of the page "Transfer learning and fine-tuning": its snippets, figures and numerical checks."""
import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F


# --8<-- [start:numpy]
def transfer_step(p, x, y, rate_body, rate_head):
    """One gradient step on a body (ReLU layer) and a linear softmax head.

    p: dictionary with body W1, b1 and head W2, b2; x: (batch, d); y: class numbers.
    rate_body = 0 is feature extraction; 0 < rate_body < rate_head is usual
    fine-tuning. Equation (transfer-head-gradient) is the line with delta.
    """
    z1 = x @ p["W1"].T + p["b1"]
    h = np.maximum(z1, 0)
    z = h @ p["W2"].T + p["b2"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    error = e / e.sum(axis=1, keepdims=True)
    error[np.arange(len(y)), y] -= 1          # probabilities minus one-hot
    error /= len(y)
    delta = (error @ p["W2"]) * (z1 > 0)      # what the head sends to the body
    return {
        "W1": p["W1"] - rate_body * delta.T @ x,
        "b1": p["b1"] - rate_body * delta.sum(axis=0),
        "W2": p["W2"] - rate_head * error.T @ h,
        "b2": p["b2"] - rate_head * error.sum(axis=0),
    }
# --8<-- [end:numpy]


# --8<-- [start:torch]
def freeze(module):
    """No gradients, and no new batch-norm statistics.

    A later model.train() undoes the second part: call freeze again after it.
    """
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    module.eval()


def optimizer_for(body, head, rate_body, rate_head):
    """Two learning rates; a frozen body gets no entry at all."""
    groups = [{"params": head.parameters(), "lr": rate_head}]
    trainable = [p for p in body.parameters() if p.requires_grad]
    if trainable:
        groups.append({"params": trainable, "lr": rate_body})
    return torch.optim.SGD(groups)


def transfer_step_torch(body, head, x, y, optimizer):
    """One step of feature extraction or fine-tuning, depending on the optimizer."""
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(head(body(x)), y)
    loss.backward()
    optimizer.step()
    return loss.item()
# --8<-- [end:torch]


def linear_errors(n, d=50, distance=0.3, trials=200, seed=0):
    """Mean squared weight error after least squares from zero and from a source, n < d noiseless examples."""
    rng = np.random.default_rng(seed)
    scratch, transfer = [], []
    for _ in range(trials):
        target = rng.normal(size=d)
        target /= np.linalg.norm(target)
        away = rng.normal(size=d)
        source = target + distance * away / np.linalg.norm(away)
        x = rng.normal(size=(n, d))
        def fit(start, x=x, target=target):
            return start + np.linalg.pinv(x) @ (x @ target - x @ start)
        scratch.append(((fit(np.zeros(d)) - target) ** 2).sum())
        transfer.append(((fit(source) - target) ** 2).sum())
    return np.mean(scratch), np.mean(transfer)


# ---------------------------------------------------------------- figures
def figure_methods():
    """Which parts of the network are trained by four ways of transfer."""
    names = ("from scratch", "feature\nextraction", "partial\nfine-tuning", "full\nfine-tuning")
    layers = ("early layers", "middle layers", "late layers", "new head")
    state = (("random",) * 4, ("frozen",) * 3 + ("random",), ("frozen", "frozen", "tuned", "random"),
             ("tuned",) * 3 + ("random",))
    look = {"random": ("#c2410c40", "xx"), "frozen": ("none", None), "tuned": ("#0061a840", "//")}
    fig, ax = plt.subplots(figsize=(6.4, 3.1))
    for q, (name, states) in enumerate(zip(names, state, strict=True)):
        for r, s in enumerate(states):
            face, hatch = look[s]
            ax.add_patch(plt.Rectangle((1.9 * q, r), 1.5, 0.8, facecolor=face, hatch=hatch, edgecolor="#222222",
                                       linewidth=1.2, linestyle="--" if s == "frozen" else "-"))
        ax.text(1.9 * q + 0.75, -0.45, name, ha="center", va="center", fontsize=10)
    for r, layer in enumerate(layers):
        ax.text(-0.2, r + 0.4, layer, ha="right", va="center", fontsize=10)
    for q, (label, s) in enumerate((("pretrained, frozen", "frozen"), ("pretrained, trained on", "tuned"),
                                    ("random start, trained", "random"))):
        face, hatch = look[s]
        ax.add_patch(plt.Rectangle((-1.6 + 3.2 * q, 4.25), 0.45, 0.4, facecolor=face, hatch=hatch, edgecolor="#222222",
                                   linestyle="--" if s == "frozen" else "-"))
        ax.text(-1.0 + 3.2 * q, 4.45, label, va="center", fontsize=9)
    ax.set(xlim=(-2.0, 7.5), ylim=(-0.9, 4.8))
    ax.axis("off")
    return fig


def figure_linear():
    """Error against the number of target examples, from zero and from three sources; theory and simulation."""
    d, fig = 50, plt.figure(figsize=(6.4, 3.2))
    ax = fig.add_subplot()
    ns = np.arange(0, 51, 5)
    rows = ((None, "from scratch", "o", "-"), (0.3, "close source", "s", "--"), (0.8, "farther source", "^", "-."),
            (1.3, "misleading source", "D", ":"))
    for distance, label, marker, line in rows:
        (curve,) = ax.plot(ns, (distance or 1.0) ** 2 * (1 - ns / d), line, label=label)
        points = [linear_errors(n, d, distance or 1.0, trials=60)[distance is not None] for n in ns[1:-1]]
        ax.plot(ns[1:-1], points, marker, color=curve.get_color(), markersize=5)
    ax.set(xlabel="target examples (50 weights)", ylabel="squared error of the weights", ylim=(-0.03, 1.8))
    ax.legend(loc="upper right")
    return fig


# ---------------------------------------------------------------- checks
def _setup(seed=0, d=6, width=8, classes=3, n=10):
    rng = np.random.default_rng(seed)
    p = {"W1": rng.normal(size=(width, d)), "b1": rng.normal(size=width), "W2": rng.normal(size=(classes, width)),
         "b2": rng.normal(size=classes)}
    return p, rng.normal(size=(n, d)), rng.integers(0, classes, n)


def _modules(p):
    body = torch.nn.Sequential(torch.nn.Linear(*p["W1"].T.shape), torch.nn.ReLU()).double()
    head = torch.nn.Linear(*p["W2"].T.shape).double()
    with torch.no_grad():
        for target, key in ((body[0].weight, "W1"), (body[0].bias, "b1"), (head.weight, "W2"), (head.bias, "b2")):
            target.copy_(torch.tensor(p[key]))
    return body, head


def check_numpy_against_torch():
    """Five steps of feature extraction and of fine-tuning: the two versions agree to 1e-12."""
    for rate_body in (0.0, 0.01):
        p, x, y = _setup()
        start = {k: v.copy() for k, v in p.items()}
        body, head = _modules(p)
        if rate_body == 0:
            freeze(body)
        optimizer = optimizer_for(body, head, rate_body, 0.1)
        for _ in range(5):
            p = transfer_step(p, x, y, rate_body, 0.1)
            transfer_step_torch(body, head, torch.tensor(x), torch.tensor(y), optimizer)
        for tensor, key in ((body[0].weight, "W1"), (body[0].bias, "b1"), (head.weight, "W2"), (head.bias, "b2")):
            assert np.allclose(tensor.detach().numpy(), p[key], atol=1e-12)
        assert np.array_equal(p["W1"], start["W1"]) == (rate_body == 0)
        assert not np.allclose(p["W2"], start["W2"])


def check_transfer_methods():
    """Equation (transfer-methods): feature extraction minimizes over the head alone, fine-tuning reaches lower loss."""
    p, x, y = _setup(n=40)
    def loss(q):
        return F.cross_entropy(torch.tensor(np.maximum(x @ q["W1"].T + q["b1"], 0) @ q["W2"].T + q["b2"]),
                                         torch.tensor(y)).item()
    probe, tuned = p, p
    for _ in range(800):
        probe, tuned = transfer_step(probe, x, y, 0, 0.05), transfer_step(tuned, x, y, 0.05, 0.05)
    assert np.array_equal(probe["W1"], p["W1"])
    assert loss(tuned) < loss(probe) < loss(p)  # a superset of parameters can fit the training data better


def check_transfer_head_gradient():
    """Equation (transfer-head-gradient): by autograd; a head of zeros spares the body in the first step."""
    p, x, y = _setup()
    h = torch.tensor(np.maximum(x @ p["W1"].T + p["b1"], 0), requires_grad=True)
    w, b = torch.tensor(p["W2"]), torch.tensor(p["b2"])
    F.cross_entropy(h @ w.T + b, torch.tensor(y), reduction="sum").backward()
    error = torch.softmax(h @ w.T + b, 1) - F.one_hot(torch.tensor(y), 3)
    assert torch.allclose(h.grad, error @ w)
    p["W2"][:] = 0
    first = transfer_step(p, x, y, 0.5, 0.5)
    assert np.array_equal(first["W1"], p["W1"]) and not np.array_equal(first["W2"], p["W2"])
    assert not np.array_equal(transfer_step(first, x, y, 0.5, 0.5)["W1"], p["W1"])


def check_transfer_linear():
    """Equation (transfer-linear): gradient descent from w0 ends at the closest solution; unseen directions keep w0."""
    rng = np.random.default_rng(0)
    n, d = 4, 10
    x, target, w0 = rng.normal(size=(n, d)), rng.normal(size=d), rng.normal(size=d)
    y, w = x @ target, w0.copy()
    for _ in range(20_000):
        w = w - 0.02 * x.T @ (x @ w - y)
    projector = np.linalg.pinv(x) @ x
    end = w0 + np.linalg.pinv(x) @ (y - x @ w0)
    assert np.allclose(w, end, atol=1e-8) and np.allclose(x @ end, y)
    assert np.allclose(end - target, (np.eye(d) - projector) @ (w0 - target))
    unseen = (np.eye(d) - projector) @ rng.normal(size=d)
    assert np.isclose(unseen @ end, unseen @ w0)


def check_transfer_linear_error():
    """Equation (transfer-linear-error): (1 - n/d) times the squared distance, by sampling; n = d exact."""
    for n, distance in ((10, 0.3), (25, 0.8), (40, 1.3)):
        scratch, transfer = linear_errors(n, 50, distance)
        assert abs(scratch - (1 - n / 50)) < 0.02
        assert abs(transfer - distance**2 * (1 - n / 50)) < 0.02 * max(1, distance**2)
        assert (transfer < scratch) == (distance < 1)
    assert max(linear_errors(50, 50, 0.3, trials=20)) < 1e-10


def check_transfer_path():
    """Equation (transfer-path): each eigendirection keeps the factor (1 - rate * eigenvalue)^t of the gap."""
    rng = np.random.default_rng(0)
    x, target, w0 = rng.normal(size=(30, 5)), rng.normal(size=5), rng.normal(size=5)
    hessian = x.T @ x / 30
    values, vectors = np.linalg.eigh(hessian)
    w = w0.copy()
    for _ in range(40):
        w = w - 0.1 * hessian @ (w - target)
    assert np.allclose(vectors.T @ (w - target), (1 - 0.1 * values) ** 40 * (vectors.T @ (w0 - target)))


def check_transfer_span():
    """Equation (transfer-span): fine-tuning moves features only along the training inputs."""
    rng = np.random.default_rng(0)
    d, k = 8, 3
    x = np.zeros((20, d))
    x[:, :4] = rng.normal(size=(20, 4))  # training inputs span half of the space
    body, head = rng.normal(size=(k, d)) / 3, rng.normal(size=k)
    y = x @ body.T @ rng.normal(size=k)  # the pretrained features are perfect for the target
    start = body.copy()
    b = torch.tensor(body, requires_grad=True)
    (((torch.tensor(x) @ b.T @ torch.tensor(head) - torch.tensor(y)) ** 2).sum() / (2 * 20)).backward()
    residual = x @ body.T @ head - y
    formula = sum(r * np.outer(head, row) for r, row in zip(residual, x, strict=True)) / 20
    assert np.allclose(b.grad.numpy(), formula)
    for _ in range(200):
        error = (x @ body.T @ head - y) / 20
        body, head = body - 0.05 * np.outer(head, error @ x), head - 0.05 * error @ x @ body.T
    inside, outside = np.eye(d)[0], np.eye(d)[6]
    assert np.allclose(body @ outside, start @ outside)      # exactly as pretrained
    assert np.abs(body @ inside - start @ inside).max() > 0.05  # changed


def check_probe_then_tune():
    """Perfect features, random head: probing first generalizes better outside the training subspace (linear model)."""
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        d, k = 12, 3
        x, outside = np.zeros((40, d)), np.zeros((200, d))
        x[:, :6], outside[:, 6:] = rng.normal(size=(40, 6)), rng.normal(size=(200, 6))
        good = np.linalg.qr(rng.normal(size=(d, k)))[0].T
        true = rng.normal(size=k)
        y, wanted = x @ good.T @ true, outside @ good.T @ true
        errors = []
        for probe_first in (False, True):
            body, head = good.copy(), rng.normal(size=k)
            if probe_first:
                head = np.linalg.lstsq(x @ body.T, y, rcond=None)[0]
            for _ in range(1500):
                error = (x @ body.T @ head - y) / 40
                body, head = body - 0.05 * np.outer(head, error @ x), head - 0.05 * error @ x @ body.T
            assert np.abs(x @ body.T @ head - y).max() < 0.05  # both fit the training data
            errors.append(((outside @ body.T @ head - wanted) ** 2).mean())
        ratios.append(errors[1] / errors[0])
    assert max(ratios) < 0.1


def check_transfer_bn_drift():
    """Equation (transfer-bn-drift): running statistics of a frozen layer in training mode; eval mode keeps them."""
    layer = torch.nn.BatchNorm1d(1)
    layer.running_mean.fill_(5.0)
    for q in layer.parameters():
        q.requires_grad_(False)  # this alone does not protect the statistics
    batch = torch.tensor([[1.0], [3.0]])  # mean 2
    for t in range(1, 45):
        layer(batch)
        assert np.isclose(layer.running_mean.item(), 2 + 0.9**t * (5 - 2), atol=1e-5)
    assert 0.9**21 > 0.1 > 0.9**22 and 0.9**43 > 0.01 > 0.9**44
    layer.running_mean.fill_(5.0)
    freeze(layer)
    layer(batch)
    assert layer.running_mean.item() == 5.0 and layer.num_batches_tracked.item() == 44
    net = torch.nn.Sequential(layer)
    net.train()  # undoes the protection, as the docstring of freeze says
    net(batch)
    assert layer.running_mean.item() != 5.0


def check_weight_decay_moves_frozen():
    """With a zero gradient a parameter in the optimizer still decays; without a gradient it does not."""
    for gradient, moves in ((torch.zeros(1), True), (None, False)):
        w = torch.nn.Parameter(torch.ones(1))
        w.grad = gradient
        torch.optim.SGD([w], lr=0.1, weight_decay=0.1).step()
        assert (w.item() != 1) == moves


def check_transfer_worked_example():
    """Equation (transfer-worked-example) and the other numbers of the worked example."""
    x, y, source = np.array([[1.0, 0.0]]), np.array([3.0]), np.array([2.0, 1.0])
    def end(w0):
        return w0 + np.linalg.pinv(x) @ (y - x @ w0)
    assert np.allclose(end(source), [3, 1]) and np.allclose(end(np.zeros(2)), [3, 0])
    target = np.array([3.0, 1.4])
    assert np.isclose(((end(source) - target) ** 2).sum(), 0.16)
    assert np.isclose(((end(np.zeros(2)) - target) ** 2).sum(), 1.96)
    bad = np.array([2.0, -1.0])
    assert np.isclose(((end(bad) - target) ** 2).sum(), 5.76)
    w = source.copy()
    for expected in ([2.5, 1], [2.75, 1]):
        w = w - 0.5 * x.T @ (x @ w - y)
        assert np.allclose(w, expected)
    counts = (512 * 5 + 5, 5_000)
    assert counts[0] == 2565


def transfer_experiment(n, seed=0, width=32, d=60, factors=5):
    """Accuracies on new data of training from scratch, probing and fine-tuning with n target examples.

    Both tasks depend on the same few hidden factors of the input; the source has 12 classes, the target 4.
    """
    torch.manual_seed(seed)
    directions = torch.randn(factors, d) / d**0.5
    source_task, target_task = torch.randn(12, factors), torch.randn(4, factors)

    def data(m, task):
        x = torch.randn(m, d)
        return x, (torch.relu(x @ directions.T) @ task.T).argmax(1)

    def fit(net, x, y, rates, steps):
        groups = [{"params": part.parameters(), "lr": rate} for part, rate in zip(net, rates, strict=True) if rate]
        optimizer = torch.optim.Adam(groups)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        return net

    def network(classes):
        return torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(d, width), torch.nn.ReLU()),
                                   torch.nn.Linear(width, classes))

    source = fit(network(12), *data(4000, source_task), (1e-2, 1e-2), 150)
    x, y = data(n, target_task)
    new_x, new_y = data(2000, target_task)
    results = []
    for pretrained, rates in ((False, (1e-2, 1e-2)), (True, (0, 1e-2)), (True, (1e-3, 1e-2))):
        net = network(4)
        if pretrained:
            net[0] = copy.deepcopy(source[0])
        results.append((fit(net, x, y, rates, 150)(new_x).argmax(1) == new_y).float().mean().item())
    return results


def check_transfer_experiment():
    """The page's experiment: with few labels both ways of transfer win clearly, with many the gap shrinks."""
    gap = {}
    for n, seed in ((60, 0), (60, 1), (2000, 0)):
        scratch, probe, tuned = transfer_experiment(n, seed)
        gap[n] = min(probe, tuned) - scratch
        assert gap[n] > (0.15 if n == 60 else 0.0)
        assert abs(tuned - probe) < 0.05
    assert gap[2000] < 0.1


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
