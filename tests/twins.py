"""Loads the runnable twins: their checks, and their figures as SVG. Run by scripts/figures, it draws these."""

import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parent.parent / "docs"
TWINS = sorted((DOCS / "concepts").glob("*/*.py"))


def load(path: Path) -> ModuleType:
    """Import a twin from its path."""
    spec = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def functions(module: ModuleType, prefix: str) -> dict[str, Callable]:
    """Return the twin's functions whose names start with the prefix."""
    return {name: f for name, f in vars(module).items() if name.startswith(prefix) and callable(f)}


def figures(path: Path, module: ModuleType) -> dict[Path, bytes]:
    """Draw a twin's figures: SVG by the path that it is kept at."""
    drawn = {}
    for name, draw in functions(module, "figure_").items():
        file = path.with_name(f"{path.stem}-{name.removeprefix('figure_').replace('_', '-')}.svg")
        with plt.style.context(DOCS / "assets/figures.mplstyle"), mpl.rc_context({"svg.hashsalt": file.stem}):
            figure, svg = draw(), io.BytesIO()
            figure.savefig(
                svg, format="svg", metadata={"Date": None, "Creator": None}, transparent=True, bbox_inches="tight"
            )
            plt.close(figure)
        drawn[file] = svg.getvalue()
    return drawn


if __name__ == "__main__":
    for twin in [Path(a).resolve() for a in sys.argv[1:]] or TWINS:
        for file, svg in figures(twin, load(twin)).items():
            file.write_bytes(svg)
            print(file.relative_to(Path.cwd()))
