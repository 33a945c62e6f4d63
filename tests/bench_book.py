"""Measures the book: CPU time, memory and size, today and for five times the content, beside mkdocs-with-pdf."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import pikepdf
from bench_build import copy, multiply

ROOT = Path(__file__).parent.parent
OTHER = ["mkdocs-with-pdf==0.9.3", "mkdocs-material==9.8.1", "pymdown-extensions==13.1", "setuptools<81"]

#: Run in a process of its own, so that its time and memory are its own.
BOOK = """
import json, resource, sys, time
from pathlib import Path
from knowledge import build
from knowledge.book.pdf import pdf
from knowledge.book.typesetting import Typesetter
press = build.press(Path.cwd())
started = time.process_time()
volume = press.books()["deep-learning-answers"]
source = Typesetter(press.kb, press.plain, press.to_html, press.edition).source(volume)
typeset = time.process_time()
content, _ = pdf(source, Path.cwd(), 0)
Path("book.pdf").write_bytes(content)
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"load": started, "html and typst source": typeset - started, "compile": time.process_time() - typeset,
                  "total": time.process_time(), "gigabytes": usage.ru_maxrss / 1e6}))
"""


def book(project: Path) -> dict[str, float]:
    """Make the book of a project, and return what it took."""
    command = [sys.executable, "-c", BOOK]
    environment = os.environ | {"PYTHONPATH": "hooks", "SOURCE_DATE_EPOCH": "0"}
    subprocess.run(command, cwd=project, check=True, capture_output=True, env=environment)  # renders new formulas
    result = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True, env=environment)
    return json.loads(result.stdout.splitlines()[-1]) | pages(project / "book.pdf")


def pages(file: Path) -> dict[str, float]:
    """Return how long and how large a PDF is."""
    with pikepdf.open(file) as document:
        return {"pages": len(document.pages), "KB a page": file.stat().st_size / 1000 / len(document.pages)}


def with_pdf(folder: Path) -> dict[str, float]:
    """Make a PDF of the exported Markdown with mkdocs-with-pdf; its WeasyPrint needs Debian's Pango."""
    home = ROOT / ".cache/engines/mkdocs-with-pdf"
    if not (home / "bin/mkdocs").exists():
        venv.create(home, with_pip=True)
        subprocess.run([home / "bin/pip", "install", "--quiet", *OTHER], check=True)
    tree = folder / "tree"
    subprocess.run(["scripts/export", tree], cwd=ROOT, check=True, capture_output=True)
    settings = tree / "mkdocs.yml"
    without_nav = settings.read_text().partition("nav:")[0]  # it prints what stands in `nav`, or else every page
    settings.write_text(without_nav + "plugins:\n  - with-pdf: { output_path: book.pdf }\n")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run([home / "bin/mkdocs", "build"], cwd=tree, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not (tree / "site/book.pdf").exists():
        sys.exit(result.stdout + result.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"total": cpu} | pages(tree / "site/book.pdf")


def main() -> None:
    """Print the figures, CPU seconds unless said."""
    with tempfile.TemporaryDirectory() as folder:
        rows = {"today": book(copy(Path(folder, "today")))}
        large = copy(Path(folder, "large"))
        multiply(large, 5)
        rows["five times"] = book(large)
        if "--alone" not in sys.argv:
            rows["mkdocs-with-pdf"] = with_pdf(Path(folder))
    columns = list(rows["today"])
    print(f"{'':18}" + "".join(f"{column:>24}" for column in columns))
    for name, row in rows.items():
        print(f"{name:18}" + "".join(f"{row[column]:24.1f}" if column in row else " " * 24 for column in columns))
    growth = (
        rows["five times"]["total"] / rows["today"]["total"] / (rows["five times"]["pages"] / rows["today"]["pages"])
    )
    print(f"growth of time over growth of pages: {growth:.2f}")
    if "mkdocs-with-pdf" in rows:
        print(f"time, ours over mkdocs-with-pdf: {rows['today']['total'] / rows['mkdocs-with-pdf']['total']:.2f}")


if __name__ == "__main__":
    main()
