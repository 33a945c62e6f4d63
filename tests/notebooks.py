"""Runs the experiments of `docs/notebooks/` and writes each as a page with its results. Called by scripts/notebooks.

An experiment is a script in the percent format of Jupytext. Its page `<name>.md` and its figures `<name>-1.svg` stand
beside it, so that a change of a result shows in a review.
"""

import re
import sys
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.py"))
#: Runs before the first cell, unseen: figures as SVG that come out the same each time, in the look of the site.
SETUP = """\
import os
os.environ["SOURCE_DATE_EPOCH"] = "0"
get_ipython().run_line_magic("matplotlib", "inline")
import matplotlib as mpl
import matplotlib.pyplot as plt
import matplotlib_inline.backend_inline as inline
import torch
inline.set_matplotlib_formats("svg")
plt.style.use({style!r})
mpl.rcParams["svg.hashsalt"] = {salt!r}
torch.set_num_threads(1)
"""


def cells(path: Path) -> list[NotebookNode]:
    """Return the cells of an experiment, front matter (a raw cell) first."""
    return jupytext.read(path).cells


def execute(path: Path) -> list[NotebookNode]:
    """Return the cells with what they put out; a cell that fails raises `CellExecutionError`."""
    notebook = jupytext.read(path)
    setup = SETUP.format(style=str(DOCS / "assets/figures.mplstyle"), salt=path.stem)
    notebook.cells.insert(0, jupytext.reads(setup, "py:percent").cells[0])
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    return notebook.cells[1:]


def page(path: Path) -> dict[Path, bytes]:
    """Run an experiment, and return its page and its figures by the paths that they are kept at."""
    parts, files = [], {}
    for cell in execute(path):
        if cell.cell_type != "code":
            parts.append(cell.source)
        else:
            parts.append(f"```python\n{cell.source}\n```")
            for output in _joined(cell.outputs):
                parts.append(_output(output, cell, path, files))
    files[path.with_suffix(".md")] = ("\n\n".join(filter(None, parts)) + "\n").encode()
    return files


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return the outputs with what was printed in a row as one; how the kernel cuts it is a matter of timing."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream" and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _output(output: NotebookNode, cell: NotebookNode, path: Path, files: dict[Path, bytes]) -> str:
    if output.output_type == "error":
        raise SystemExit(f"{path}: {output.ename}: {output.evalue}")
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```" if output.name == "stdout" else ""
    if svg := output.get("data", {}).get("image/svg+xml"):
        file = path.with_name(f"{path.stem}-{len(files) + 1}.svg")
        files[file] = svg.encode()
        if not (cell.metadata.get("alt") and cell.metadata.get("caption")):
            raise SystemExit(f'{path}: a cell that draws starts with `# %% alt="…" caption="…"`:\n{cell.source[:200]}')
        return f"![{cell.metadata.alt}]({file.name})\n\n*Figure: {cell.metadata.caption}*"
    text = output.get("data", {}).get("text/plain", "")
    return "" if re.match(r"<[\w.]+( |>)|Text\(|\[<", text) else f"```text\n{text}\n```" if text else ""


if __name__ == "__main__":
    for notebook in [Path(a).resolve() for a in sys.argv[1:]] or NOTEBOOKS:
        for old in notebook.parent.glob(f"{notebook.stem}-[0-9]*.svg"):
            old.unlink()
        for file, content in page(notebook).items():
            file.write_bytes(content)
            print(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)
