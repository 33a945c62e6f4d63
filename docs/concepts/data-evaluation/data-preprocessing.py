"""Twin of the page on data preprocessing: fit and apply, missing values, outliers."""

import matplotlib.pyplot as plt
import numpy as np
import torch


# --8<-- [start:numpy]
class Preprocessor:
    """Median imputation, missingness indicators, clipping, standardization.

    fit sees the training set only; transform is the same for every later input.
    """

    def fit(self, x, low=0.01, high=0.99):
        """x: (n, d) with NaN for missing values; every column needs observed ones."""
        self.fill = np.nanmedian(x, axis=0)
        self.low, self.high = np.nanquantile(x, [low, high], axis=0)
        clipped = np.clip(x, self.low, self.high)           # NaN stays NaN
        self.mean, std = np.nanmean(clipped, axis=0), np.nanstd(clipped, axis=0)
        self.scale = np.where(std > 0, std, 1.0)
        return self

    def transform(self, x):
        """(m, d) -> (m, 2 d): standardized values, then 1.0 where one was missing."""
        missing = np.isnan(x)
        x = np.clip(np.where(missing, self.fill, x), self.low, self.high)
        return np.hstack([(x - self.mean) / self.scale, missing.astype(float)])


def cyclic(value, period):
    """Hour, weekday, angle: two features without a jump at the end of the period."""
    angle = 2 * np.pi * np.asarray(value) / period
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


# --8<-- [end:numpy]


# --8<-- [start:torch]
class PreprocessorTorch(torch.nn.Module):
    """The same as a first layer: its statistics travel in the state_dict."""

    def __init__(self, d):
        super().__init__()
        for name in ("fill", "low", "high", "mean", "scale"):
            self.register_buffer(name, torch.zeros(d, dtype=torch.float64))

    def fit(self, x, low=0.01, high=0.99):
        q = torch.nanquantile(x, x.new_tensor([low, 0.5, high]), dim=0)
        self.low, self.fill, self.high = q[0], q[1], q[2]
        c = torch.clamp(x, self.low, self.high)
        self.mean = c.nanmean(dim=0)
        std = ((c - self.mean) ** 2).nanmean(dim=0).sqrt()
        self.scale = torch.where(std > 0, std, torch.ones_like(std))
        return self

    def forward(self, x):
        missing = x.isnan()
        x = torch.where(missing, self.fill, x).clamp(self.low, self.high)
        return torch.cat([(x - self.mean) / self.scale, missing.to(x.dtype)], dim=1)


# --8<-- [end:torch]


def mechanisms(n=300, seed=0):
    """x (complete), y (may be missing), and three masks: MCAR, MAR, MNAR."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    y = 0.7 * x + np.sqrt(1 - 0.49) * rng.standard_normal(n)
    u = rng.random(n)

    def p(z):
        return 1 / (1 + np.exp(-3 * z))

    return x, y, {"MCAR": u < 0.5, "MAR": u < p(x), "MNAR": u < p(y)}


def figure_mechanisms():
    """The same data with y hidden at random, depending on x, depending on y."""
    x, y, masks = mechanisms()
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.9), sharey=True, sharex=True)
    for ax, (name, gone) in zip(axes, masks.items()):
        ax.plot(x[gone], y[gone], "x", color="C1", ms=3.5, mew=0.8, alpha=0.7,
                label="hidden")
        ax.plot(x[~gone], y[~gone], "o", color="C0", ms=3, alpha=0.8, label="observed")
        ax.axhline(y.mean(), color="#222222", lw=1.4, label="mean of all")
        ax.axhline(y[~gone].mean(), color="C0", ls="--", lw=1.8,
                   label="mean of observed")
        ax.set_xlabel(f"x, always known ({name})")
    axes[0].set_ylabel("y, sometimes missing")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncol=4, fontsize=9,
               columnspacing=1, handlelength=1.6)
    return fig


def figure_order():
    """Split first; statistics flow from the training set only."""
    fig, ax = plt.subplots(figsize=(6.4, 2.7))
    boxes = {
        "all data": (0.0, 1.0, "C2"), "train": (2.2, 2.0, "C0"),
        "validation, test": (2.2, 0.9, "C1"), "production": (2.2, 0.0, "C1"),
        "fit": (4.5, 2.0, "C0"), "frozen map": (4.5, 0.45, "C3"),
        "model": (6.7, 1.0, "C2"),
    }
    for name, (x, y, color) in boxes.items():
        ax.text(x, y, name, ha="center", va="center", fontsize=10,
                bbox=dict(boxstyle="round,pad=0.4", fc="none", ec=color, lw=1.8))
    arrows = [((0.4, 1.14), (1.92, 1.9)), ((0.42, 1.0), (1.48, 0.92)),
              ((2.52, 2.0), (4.32, 2.0)), ((4.5, 1.84), (4.5, 0.62)),
              ((2.95, 0.84), (3.96, 0.58)), ((2.75, 0.06), (3.96, 0.34)),
              ((2.38, 1.84), (4.1, 0.63)), ((5.04, 0.54), (6.36, 0.92))]
    for a, b in arrows:
        ax.annotate("", b, a, arrowprops=dict(arrowstyle="->", color="#222222", lw=1.3,
                                              shrinkA=0, shrinkB=0))
    ax.text(4.62, 1.3, "statistics", fontsize=9)
    ax.text(0.75, 1.72, "split", fontsize=9)
    ax.set(xlim=(-0.6, 7.3), ylim=(-0.4, 2.4))
    ax.axis("off")
    return fig


def _moments(a, b):
    return a.mean(), a.var(), ((a - a.mean()) * (b - b.mean())).mean()


def check_prep_mean_imputation():
    """Equation (prep-mean-imputation): exact in every sample."""
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal(200) + 3, rng.standard_normal(200)
    x = x + 0.8 * z
    seen = rng.random(200) < 0.6
    filled = np.where(seen, x, x[seen].mean())
    m, v, c = _moments(filled, z)
    m_o, v_o, c_o = _moments(x[seen], z[seen])
    share = seen.mean()
    assert np.allclose([m, v, c], [m_o, share * v_o, share * c_o])
    slope = c / v
    assert np.isclose(slope, c_o / v_o)       # one feature: the complete-case slope


def check_prep_indicator():
    """Equation (prep-indicator): with an indicator the fill value does not matter."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((80, 2)), rng.standard_normal(80)
    gone = rng.random(80) < 0.4

    def predict(fill, flag):
        cols = [np.ones(80), x[:, 0], np.where(gone, fill, x[:, 1])]
        a = np.stack(cols + ([gone.astype(float)] if flag else []), axis=1)
        return a @ np.linalg.lstsq(a, y, rcond=None)[0]

    assert np.allclose(predict(0, True), predict(-7.5, True))
    assert not np.allclose(predict(0, False), predict(-7.5, False))
    w, b, fill = 0.7, -0.4, 3.0
    both = w * np.where(gone, fill, x[:, 1]) + b * gone
    assert np.allclose(both, w * np.where(gone, 0, x[:, 1]) + (b + w * fill) * gone)


def check_prep_conditional():
    """Equation (prep-conditional): best slope on x1 if x2 is missing, and its cost."""
    rng = np.random.default_rng(2)
    n, rho, w1, w2 = 400000, 0.8, 1.0, 2.0
    x1 = rng.standard_normal(n)
    x2 = rho * x1 + np.sqrt(1 - rho**2) * rng.standard_normal(n)
    y = w1 * x1 + w2 * x2
    gone = rng.random(n) < 0.5
    slope = (x1[gone] @ y[gone]) / (x1[gone] @ x1[gone])
    assert np.isclose(slope, w1 + w2 * rho, atol=0.01)
    assert np.isclose(np.var(y[gone] - slope * x1[gone]), w2**2 * (1 - rho**2), rtol=0.02)
    zero = y[gone] - w1 * x1[gone]
    assert np.isclose((zero**2).mean(), w2**2, rtol=0.02)
    a = np.stack([np.ones(n), x1, np.where(gone, 0, x2), gone], axis=1)
    coef = np.linalg.lstsq(a, y, rcond=None)[0]
    residual = y - a @ coef
    assert (residual**2).mean() > 1.05 * 0.5 * w2**2 * (1 - rho**2)
    wide = np.column_stack([a, a[:, 1] * gone])
    best = y - wide @ np.linalg.lstsq(wide, y, rcond=None)[0]
    assert np.isclose((best**2).mean(), 0.5 * w2**2 * (1 - rho**2), rtol=0.03)


def check_prep_selection():
    """Equation (prep-selection): mean of the observed values under MNAR, exactly."""
    values = np.array([20.0, 40.0, 60.0, 120.0])
    prob, seen = np.array([0.3, 0.3, 0.3, 0.1]), np.array([0.9, 0.8, 0.7, 0.2])
    mean = prob @ values
    observed = (prob * seen) @ values / (prob @ seen)
    cov = prob @ ((values - mean) * (seen - prob @ seen))
    assert np.isclose(observed - mean, cov / (prob @ seen))
    assert np.isclose(mean, 48) and round(observed, 1) == 40.5
    rng = np.random.default_rng(3)
    x = rng.choice(4, p=prob, size=400000)
    keep = rng.random(400000) < seen[x]
    assert np.isclose(values[x][keep].mean(), observed, atol=0.2)


def check_prep_max_z():
    """Equation (prep-max-z): no z-score exceeds sqrt(n-1), and the bound is reached."""
    rng = np.random.default_rng(4)
    for n in (3, 10, 50):
        x = rng.standard_cauchy((2000, n))
        z = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
        assert np.abs(z).max() <= np.sqrt(n - 1) + 1e-9
        spike = np.zeros(n)
        spike[0] = 1e6
        assert np.isclose(((spike - spike.mean()) / spike.std()).max(), np.sqrt(n - 1))


def check_prep_cyclic():
    """Equation (prep-cyclic): distance depends on the circular difference only."""
    hours = np.arange(24)
    f = cyclic(hours, 24)
    d = np.linalg.norm(f[:, None] - f[None], axis=-1)
    diff = hours[:, None] - hours[None]
    assert np.allclose(d, 2 * np.abs(np.sin(np.pi * diff / 24)))
    assert np.isclose(d[23, 0], d[0, 1]) and round(float(d[23, 0]), 3) == 0.261


def check_figure_numbers():
    """Means quoted for the figure."""
    x, y, masks = mechanisms()
    means = [y[~g].mean() for g in masks.values()]
    assert np.allclose([y.mean(), *means], [-0.03, -0.10, -0.54, -0.73], atol=5e-3)
    xl, yl, big = mechanisms(200000, 1)
    a = np.polyfit(xl[~big["MAR"]], yl[~big["MAR"]], 1)[0]
    b = np.polyfit(xl[~big["MNAR"]], yl[~big["MNAR"]], 1)[0]
    assert np.isclose(a, 0.7, atol=0.02) and np.isclose(b, 0.48, atol=0.02)


def check_worked_numbers():
    """The worked example."""
    x = np.array([[20.0], [30.0], [np.nan], [40.0]])
    p = Preprocessor().fit(x, low=0.0, high=1.0)
    assert p.fill[0] == 30 and p.mean[0] == 30 and round(p.scale[0], 3) == 8.165
    t = p.transform(np.array([[20.0], [np.nan], [35.0], [400.0]]))
    assert np.allclose(t[:, 0], [-1.225, 0, 0.612, 1.225], atol=5e-4)
    assert t[:, 1].tolist() == [0, 1, 0, 0]
    y = np.array([1.0, 2.0, 9.0, 3.0])
    filled = np.array([20.0, 30.0, 30.0, 40.0])
    assert np.isclose(filled.var(), 50) and np.isclose(np.polyfit(filled, y, 1)[0], 0.1)
    z = (10.0 - np.mean([0] * 9 + [10])) / np.std([0] * 9 + [10])
    assert np.isclose(z, 3)


def check_train_serving():
    """One row at a time gives the same as a batch; own statistics do not."""
    rng = np.random.default_rng(5)
    train, test = rng.standard_normal((200, 3)), rng.standard_normal((50, 3)) + 1
    test[::7, 1] = np.nan
    p = Preprocessor().fit(train)
    rows = np.vstack([p.transform(r[None]) for r in test])
    assert np.array_equal(rows, p.transform(test))
    assert not np.allclose(Preprocessor().fit(test).transform(test), rows)
    assert not np.isnan(rows).any()


def check_numpy_torch():
    """Both versions agree, also after a round trip through the state_dict."""
    rng = np.random.default_rng(6)
    train = rng.standard_cauchy((500, 4))
    train[rng.random((500, 4)) < 0.2] = np.nan
    train[:, 3] = 2.0
    test = rng.standard_cauchy((40, 4))
    test[::5, 0] = np.nan
    a = Preprocessor().fit(train).transform(test)
    layer = PreprocessorTorch(4).fit(torch.tensor(train))
    fresh = PreprocessorTorch(4)
    fresh.load_state_dict(layer.state_dict())
    assert np.allclose(a, fresh(torch.tensor(test)).numpy(), atol=1e-10)


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print("ok", name)
