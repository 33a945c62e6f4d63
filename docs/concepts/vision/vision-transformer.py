"""Page vision-transformer: checks patches, cost, positions, windows and distillation."""
import matplotlib.pyplot as plt
import numpy as np
import torch

# --8<-- [start:numpy]
def patchify(images, p):
    """(B, C, H, W) to (B, N, C p p): rows of patches, flattened channel first."""
    b, c, h, w = images.shape
    x = images.reshape(b, c, h // p, p, w // p, p)
    return x.transpose(0, 2, 4, 1, 3, 5).reshape(b, (h // p) * (w // p), c * p * p)


def embed(images, p, weight, bias, cls, pos):
    """Tokens (B, N + 1, d): projected patches behind a class token, plus positions."""
    tokens = patchify(images, p) @ weight.T + bias
    first = np.broadcast_to(cls, (len(tokens), 1, cls.shape[-1]))
    return np.concatenate([first, tokens], axis=1) + pos


def lerp_matrix(old, new):
    """(new, old) weights of linear interpolation between cell centers."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.minimum(at.astype(int), max(old - 2, 0))
    m = np.zeros((new, old))
    m[np.arange(new), low] = 1 - (at - low)
    m[np.arange(new), np.minimum(low + 1, old - 1)] += at - low
    return m


def resize_positions(pos, old, new):
    """Class row kept; the (old, old) grid of patch rows resampled to (new, new)."""
    m = lerp_matrix(old, new)
    grid = pos[1:].reshape(old, old, -1)
    grid = np.einsum("ia,jb,abd->ijd", m, m, grid)
    return np.concatenate([pos[:1], grid.reshape(new * new, -1)])


def windows(x, m, shift=0):
    """(h, w, d) to (windows, m m, d), after a cyclic shift up and left."""
    x = np.roll(x, (-shift, -shift), axis=(0, 1))
    h, w, d = x.shape
    x = x.reshape(h // m, m, w // m, m, d).transpose(0, 2, 1, 3, 4)
    return x.reshape(-1, m * m, d)
# --8<-- [end:numpy]


# --8<-- [start:torch]
class ViT(torch.nn.Module):
    """Vision transformer: patch convolution, class token, pre-norm encoder, head."""

    def __init__(self, size=224, p=16, d=768, depth=12, heads=12, classes=1000):
        super().__init__()
        self.grid = size // p
        self.patch = torch.nn.Conv2d(3, d, kernel_size=p, stride=p)
        self.cls = torch.nn.Parameter(torch.zeros(1, 1, d))
        self.pos = torch.nn.Parameter(0.02 * torch.randn(1, self.grid**2 + 1, d))
        layer = torch.nn.TransformerEncoderLayer(
            d, heads, 4 * d, dropout=0.0, activation="gelu",
            batch_first=True, norm_first=True)
        self.blocks = torch.nn.TransformerEncoder(
            layer, depth, norm=torch.nn.LayerNorm(d), enable_nested_tensor=False)
        self.head = torch.nn.Linear(d, classes)

    def tokens(self, images):
        x = self.patch(images)                    # (B, d, H / p, W / p)
        pos = resize(self.pos, self.grid, x.shape[-2:])
        x = x.flatten(2).transpose(1, 2)
        return torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + pos

    def forward(self, images):
        return self.head(self.blocks(self.tokens(images))[:, 0])


def resize(pos, old, new):
    """Positions (1, 1 + old old, d) for a grid of new = (rows, columns)."""
    if (old, old) == tuple(new):
        return pos
    grid = pos[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(
        grid, size=tuple(new), mode="bilinear", align_corners=False)
    return torch.cat([pos[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
# --8<-- [end:torch]


def block_macs(n, d):
    """Multiply-adds of one block on n tokens: (linear layers, attention)."""
    return 12 * n * d * d, 2 * n * n * d


def vit_macs(size=224, p=16, d=768, depth=12, classes=1000):
    patches = (size // p) ** 2
    lin, att = block_macs(patches + 1, d)
    return depth * (lin + att) + patches * 3 * p * p * d + d * classes


def vit_parameters(size=224, p=16, d=768, depth=12, classes=1000):
    n = (size // p) ** 2
    return (depth * (12 * d * d + 13 * d) + (3 * p * p + 1) * d + d + (n + 1) * d
            + 2 * d + (d + 1) * classes)


def _image(n=96):
    """A synthetic picture: sky, sun, hill."""
    y, x = np.mgrid[0:n, 0:n] / n
    img = 0.82 - 0.25 * y
    img[(x - 0.7) ** 2 + (y - 0.28) ** 2 < 0.02] = 1.0
    hill = y > 0.62 + 0.14 * np.sin(7 * x)
    img[hill] = 0.55 + 0.12 * np.sin(25 * x + 12 * y)[hill]
    return img


def figure_patches():
    """A picture, its patches as a sequence with a class token, the encoder."""
    img, p, g = _image(), 24, 4
    fig, ax = plt.subplots(figsize=(6.4, 3.3))
    ax.imshow(img, extent=(0, 4, 1.2, 5.2), cmap="gray", vmin=0, vmax=1)
    for k in range(g + 1):
        ax.plot([k, k], [1.2, 5.2], color="#c2410c", lw=1)
        ax.plot([0, 4], [1.2 + k, 1.2 + k], color="#c2410c", lw=1)
    for i in range(g):
        for j in range(g):
            ax.text(j + 0.1, 5.1 - i, str(4 * i + j + 1), color="#222222", fontsize=9,
                    va="top")
    xs = [5.9, 6.9, 7.9, 8.9, 11.0]
    for x, k in zip(xs[1:], (0, 1, 2, 15)):
        i, j = divmod(k, g)
        ax.imshow(img[i * p:(i + 1) * p, j * p:(j + 1) * p], cmap="gray", vmin=0, vmax=1,
                  extent=(x, x + 0.8, 1.2, 2.0))
        ax.text(x + 0.4, 1.0, str(k + 1), ha="center", va="top", fontsize=9)
    for x in xs:
        ax.add_patch(plt.Rectangle((x + 0.2, 2.6), 0.4, 0.8, fill=False, lw=1.5,
                                   edgecolor="#0061a8"))
        ax.annotate("", (x + 0.4, 3.85), (x + 0.4, 3.42), arrowprops={"arrowstyle": "->"})
    for x in xs[1:]:
        ax.annotate("", (x + 0.4, 2.58), (x + 0.4, 2.05), arrowprops={"arrowstyle": "->"})
    ax.text(6.3, 1.55, "class\ntoken", ha="center", va="center", fontsize=9)
    ax.text(10.35, 1.6, "...", ha="center", fontsize=12)
    ax.text(10.35, 3.0, "...", ha="center", fontsize=12)
    ax.text(12.0, 3.0, "+ positions", va="center", fontsize=9)
    ax.add_patch(plt.Rectangle((5.8, 3.9), 6.1, 0.7, fill=False, lw=1.5))
    ax.text(8.85, 4.25, "transformer encoder", ha="center", va="center")
    ax.annotate("", (6.3, 5.1), (6.3, 4.62), arrowprops={"arrowstyle": "->"})
    ax.text(6.3, 5.15, "class logits", ha="center", va="bottom", fontsize=9)
    ax.annotate("", (5.6, 3.2), (4.2, 3.2), arrowprops={"arrowstyle": "->"})
    ax.set_xlim(-0.1, 13.9)
    ax.set_ylim(0.4, 5.7)
    ax.set_aspect("equal")
    ax.axis("off")
    return fig


def figure_cost():
    """Multiply-adds of the base model against image size for three patch sizes."""
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    for p, marker, ls in ((32, "^", ":"), (16, "o", "-"), (8, "s", "--")):
        sizes = np.array([160, 224, 288, 384, 512, 768, 1024])
        ax.plot(sizes, [vit_macs(s, p) / 1e9 for s in sizes], marker=marker,
                linestyle=ls, label=f"patches of {p}, global")
    sizes = np.array([224, 448, 672, 896, 1120])
    local = [(12 * (12 * (s / 16) ** 2 * 768**2 + 2 * 49 * (s / 16) ** 2 * 768)
              + (s / 16) ** 2 * 768**2) / 1e9 for s in sizes]
    ax.plot(sizes, local, marker="x", linestyle="-.", label="patches of 16, windows of 7")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks([160, 224, 384, 512, 1024], ["160", "224", "384", "512", "1024"])
    ax.set_xlabel("image side in pixels")
    ax.set_ylabel("billion multiply-adds")
    ax.legend(fontsize=9)
    return fig


def _groups(n, m, shift):
    """Group number of each cell of an n x n grid when window borders are shifted."""
    r = (np.arange(n) + (m - shift if shift else 0)) // m
    return r[:, None] * 1000 + r[None, :]


def reach(n, m, shifts, start):
    """Cells whose input can influence cell `start` after blocks with these shifts."""
    seen = np.zeros((n, n), bool)
    seen[start] = True
    for s in reversed(shifts):
        g = _groups(n, m, s)
        seen = np.isin(g, np.unique(g[seen]))
    return seen


def figure_windows():
    """Borders of regular and shifted windows, and the reach of one cell after two blocks."""
    n, m, start = 8, 4, (2, 3)
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.5))
    names = ("regular windows", "shifted by 2", "reach after two blocks")
    for ax, name, shift in zip(axes, names, (0, 2, 0)):
        for k in range(n + 1):
            ax.plot([0, n], [k, k], color="#b8b8b8", lw=0.6)
            ax.plot([k, k], [0, n], color="#b8b8b8", lw=0.6)
        for k in ([0, 4, 8] if shift == 0 else [0, 2, 6, 8]):
            ax.plot([0, n], [k, k], color="#0061a8", lw=2)
            ax.plot([k, k], [0, n], color="#0061a8", lw=2)
        seen = (reach(n, m, (0, 2), start) if name.startswith("reach")
                else reach(n, m, (shift,), start))
        for i, j in zip(*np.nonzero(seen)):
            ax.add_patch(plt.Rectangle((j, i), 1, 1, fill=False, hatch="///", lw=0,
                                       edgecolor="#c2410c"))
        ax.plot(start[1] + 0.5, start[0] + 0.5, "o", color="#222222", markersize=7)
        ax.set_xlim(-0.1, n + 0.1)
        ax.set_ylim(n + 0.1, -0.1)
        ax.set_aspect("equal")
        ax.axis("off")
        ax.text(n / 2, n + 0.6, name, ha="center", va="top", fontsize=9)
    return fig


def _tiny(seed=0):
    torch.manual_seed(seed)
    return ViT(size=32, p=8, d=24, depth=2, heads=3, classes=5).double().eval()


def check_vit_embedding():
    """Equation (vit-embedding): shapes, patch contents, NumPy against PyTorch 1e-12."""
    model = _tiny()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    w = model.patch.weight.detach().flatten(1).numpy()
    torch.nn.init.normal_(model.cls)
    got = embed(x.numpy(), 8, w, model.patch.bias.detach().numpy(),
                model.cls.detach().numpy()[0], model.pos.detach().numpy())
    want = model.tokens(x).detach().numpy()
    assert got.shape == (2, 17, 24) and np.abs(got - want).max() < 1e-12
    pt = patchify(x.numpy(), 8)
    assert np.array_equal(pt[1, 6].reshape(3, 8, 8), x[1, :, 8:16, 16:24].numpy())
    assert (224 // 16) ** 2 == 196 and 3 * 16**2 == 768


def check_vit_permutation():
    """Equation (vit-permutation): without positions the class output ignores patch order."""
    model = _tiny(1)
    x = torch.randn(3, 16, 24, dtype=torch.float64)
    perm = torch.randperm(16)
    run = lambda z: model.blocks(torch.cat([model.cls.expand(3, -1, -1), z], 1))
    a, b = run(x), run(x[:, perm])
    assert torch.allclose(a[:, 0], b[:, 0], atol=1e-10)
    assert torch.allclose(a[:, 1:][:, perm], b[:, 1:], atol=1e-10)
    pos = torch.randn(1, 16, 24, dtype=torch.float64)
    assert not torch.allclose(run(x + pos)[:, 0], run(x[:, perm] + pos)[:, 0], atol=1e-3)


def check_vit_parameters():
    """Equation (vit-parameters): against the module, small and base."""
    tiny = sum(p.numel() for p in _tiny().parameters())
    assert tiny == vit_parameters(32, 8, 24, 2, 5)
    with torch.device("meta"):
        base = ViT()
    assert sum(p.numel() for p in base.parameters()) == vit_parameters() == 86_567_656
    assert round(vit_parameters(d=1024, depth=24) / 1e6) == 304          # ViT-L/16


def check_vit_cost():
    """Equation (vit-cost): count the products of one block, and the numbers quoted."""
    n, d = 10, 8
    macs = 3 * n * d * d + n * n * d + n * n * d + n * d * d + 2 * n * d * 4 * d
    assert macs == sum(block_macs(n, d))
    assert np.isclose(vit_macs() / 1e9, 17.56, atol=0.005)
    assert np.isclose(vit_macs(p=8) / 1e9, 78.2, atol=0.1), vit_macs(p=8) / 1e9
    assert np.isclose(vit_macs(size=384) / 1e9, 55.5, atol=0.1), vit_macs(size=384) / 1e9
    lin, att = block_macs(197, 768)
    assert np.isclose(att / (lin + att), 0.041, atol=5e-4)
    lin, att = block_macs(785, 768)
    assert np.isclose(att / (lin + att), 0.146, atol=5e-4), att / (lin + att)
    lin, att = block_macs(6 * 768, 768)
    assert lin == att


def check_vit_interpolate():
    """Equation (vit-interpolate): against torch, exact on linear tables, identity if equal."""
    rng = np.random.default_rng(0)
    pos = rng.standard_normal((1 + 49, 5))
    for new in (4, 7, 12):
        got = resize_positions(pos, 7, new)
        want = resize(torch.from_numpy(pos)[None], 7, (new, new))[0].numpy()
        assert np.abs(got - want).max() < 1e-12
    assert np.allclose(resize_positions(pos, 7, 7), pos)
    m = lerp_matrix(14, 24)
    assert np.allclose(m.sum(1), 1)
    u = np.clip((np.arange(24) + 0.5) * 14 / 24 - 0.5, 0, 13)
    assert np.allclose(m, np.maximum(0, 1 - np.abs(u[:, None] - np.arange(14))))
    centers = (np.arange(24) + 0.5) * 14 / 24 - 0.5
    inner = (centers >= 0) & (centers <= 13)
    assert np.allclose((m @ np.arange(14.0))[inner], centers[inner])
    assert (384 // 16, 224 // 16) == (24, 14)


def check_swin_cost():
    """Equation (swin-cost): window attention computed and counted; ratio quoted."""
    h = w = 8
    m, c = 4, 6
    x = windows(np.random.default_rng(0).standard_normal((h, w, c)), m)
    count = 0
    for win in x:
        n = len(win)
        count += 4 * n * c * c + 2 * n * n * c
    assert count == 4 * h * w * c * c + 2 * m * m * h * w * c
    for side, ratio in ((56, 64), (112, 256)):
        assert side * side / 49 == ratio
    assert (2 * 7 - 1) ** 2 == 169


def check_swin_shift():
    """Equation (swin-shift): cyclic shift and mask equal attention in shifted windows."""
    rng = np.random.default_rng(1)
    n, m, s, d = 8, 4, 2, 5
    x = rng.standard_normal((n, n, d))
    groups = _groups(n, m, s)

    def attend(a, allowed):
        e = a @ a.T / np.sqrt(d)
        e = np.where(allowed, e, -np.inf)
        e = np.exp(e - e.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True) @ a

    g = groups.reshape(-1)
    want = attend(x.reshape(-1, d), g[:, None] == g[None, :]).reshape(n, n, d)
    xs = windows(x, m, s)
    gs = windows(groups[..., None], m, s)[..., 0]
    out = np.stack([attend(a, i[:, None] == i[None, :]) for a, i in zip(xs, gs)])
    out = out.reshape(n // m, n // m, m, m, d).transpose(0, 2, 1, 3, 4).reshape(n, n, d)
    got = np.roll(out, (s, s), axis=(0, 1))
    assert np.allclose(got, want) and len(xs) == 4 and len(np.unique(g)) == 9
    i = np.arange(n)
    assert np.array_equal(_groups(n, m, s)[:, 0] // 1000, (i + m - s) // m)
    assert reach(n, m, (0,), (2, 3)).sum() == 16
    assert reach(n, m, (0, 2), (2, 3)).sum() == 64 and reach(n, m, (0, 0), (2, 3)).sum() == 16


def check_deit_hard():
    """Equation (deit-hard): with equal logits it is cross-entropy with the mean target."""
    torch.manual_seed(2)
    ce = torch.nn.functional.cross_entropy
    z = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    y, yt = torch.randint(4, (6,)), torch.randint(4, (6,))
    loss = 0.5 * ce(z, y) + 0.5 * ce(z, yt)
    soft = 0.5 * (torch.eye(4).double()[y] + torch.eye(4).double()[yt])
    assert torch.allclose(loss, ce(z, soft))
    grad, = torch.autograd.grad(loss, z)
    assert torch.allclose(grad, (z.softmax(1) - soft).detach() / 6)


def check_vit_shift():
    """Shifting by a whole patch permutes the tokens; by half a patch it does not."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 3, 32, 32))
    a = patchify(x, 8).reshape(4, 4, -1)
    b = patchify(np.roll(x, 8, axis=3), 8).reshape(4, 4, -1)
    assert np.array_equal(np.roll(a, 1, axis=1), b)
    c = patchify(np.roll(x, 4, axis=3), 8).reshape(16, -1)
    assert not any(np.allclose(c[i], r) for i in range(16) for r in a.reshape(16, -1))


def check_worked_example():
    """The numbers of the worked example."""
    img = np.arange(16.0).reshape(1, 1, 4, 4)
    assert np.array_equal(patchify(img, 2)[0],
                          [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])
    w, b = np.array([[0.25] * 4, [-1, 1, -1, 1]]), np.zeros(2)
    cls, pos = np.array([[1.0, 0.0]]), np.zeros((5, 2))
    z = embed(img, 2, w, b, cls, pos)[0]
    assert np.allclose(z, [[1, 0], [2.5, 2], [4.5, 2], [10.5, 2], [12.5, 2]])
    grid = np.array([[0.0], [0], [1], [2], [3]])
    new = resize_positions(grid, 2, 4)[1:, 0].reshape(4, 4)
    assert np.allclose(new[0], [0, 0.25, 0.75, 1]) and np.allclose(new[:, 0], [0, 0.5, 1.5, 2])


def check_mae_fraction():
    """A quarter of the tokens: a quarter of the linear part, a sixteenth of attention."""
    lin, att = block_macs(196, 768)
    lin4, att4 = block_macs(49, 768)
    assert lin4 / lin == 1 / 4 and att4 / att == 1 / 16


def check_resolution():
    """The PyTorch model accepts another size through interpolated positions."""
    model = _tiny(3)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 48, 32).double()).shape == (1, 5)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
