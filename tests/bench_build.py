"""Measures building: ours against plain MkDocs and Zensical on the same Markdown, and from saving to served page.

Every figure is taken on copies in a temporary directory, for today's content and for five times as much.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml
from knowledge import build, mathematics, model
from knowledge.pages import Site

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
ZENSICAL = "zensical==0.0.73"
PORT = 8471


def copy(to: Path) -> Path:
    """Copy the project's sources."""
    ignore = shutil.ignore_patterns(".git", ".venv", ".cache", "site", "__pycache__", ".hypothesis", ".*_cache")
    shutil.copytree(ROOT, to, ignore=ignore)
    return to


def multiply(project: Path, times: int) -> None:
    """Give the project `times` as many concept pages and questions; the copies have ids of their own."""
    index = yaml.safe_load((project / "docs/_data/questions.yml").read_text())
    pages = list((project / "docs/concepts").glob("*/*.md"))
    written, originals = {page.stem for page in pages}, list(index["questions"])
    for k in range(2, times + 1):
        for page in pages:
            text = re.sub(r"\\(label|eqref)\{([^}]*)\}", rf"\\\1{{\2-{k}}}", page.read_text())
            title = re.search("^title: (.*)$", text, re.MULTILINE)
            text = text.replace(title[0], f"title: {json.dumps(f'{yaml.safe_load(title[1])} {k}')}", 1)
            page.with_name(f"{page.stem}-{k}.md").write_text(text)
            shutil.copy(page.with_suffix(".py"), page.with_name(f"{page.stem}-{k}.py"))
        for q in originals:
            index["questions"].append(
                q
                | {
                    "id": f"{q['id']}-{k}",
                    "question": f"{q['question']} {k}",
                    "also": [f"{wording} {k}" for wording in q["also"]],
                    "concept": f"{q['concept']}-{k}" if q["concept"] in written else q["concept"],
                    "follow_ups": [f"{i}-{k}" for i in q["follow_ups"]],
                    "seeds": [],
                    "answer": re.sub(r"\\eqref\{([^}]*)\}", rf"\\eqref{{\1-{k}}}", q["answer"]),
                }
            )
    (project / "docs/_data/questions.yml").write_text(yaml.safe_dump(index, allow_unicode=True, sort_keys=False))


def plain(project: Path, to: Path) -> Path:
    """Write the project as plain Markdown, generated pages included, with a configuration without our hooks."""
    formulas = mathematics.Cache(project / build.FORMULAS)
    kb, mistakes = model.load(build.sources(project), formulas.mistakes)
    assert kb, mistakes[:5]
    made = build.Build(kb, formulas, Site(url="/", repository="", today=build.today()))
    shutil.copytree(project / "docs", to / "docs")
    shutil.rmtree(to / "docs/_data")
    for page in made.pages.generated:
        (to / "docs" / page.path).parent.mkdir(parents=True, exist_ok=True)
        (to / "docs" / page.path).write_text(page.markdown)
    for concept in kb.concepts.values():
        front = f"---\ntitle: {json.dumps(concept.title)}\n---\n"
        (to / "docs" / concept.path).write_text(front + made.pages.written[concept.path])
    config = (project / "mkdocs.yml").read_text()
    config = re.sub(r"^hooks:\n(  .*\n)+", "", config, flags=re.M)
    config = re.sub(r"^nav:\n(  .*\n)+", "", config, flags=re.M)
    config = re.sub(r"^watch:\n(  .*\n)+", "", config, flags=re.M)
    config = config.replace("  custom_dir: docs/.overrides\n", "")
    (to / "mkdocs.yml").write_text(config)
    return to


def seconds(command: list[object], cwd: Path, repeat: int = 2) -> float:
    """Return the user and system CPU seconds of a command, the smallest of some runs, or nan if it fails."""
    best = float("inf")
    for _ in range(repeat):
        before = os.times()
        result = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
        if result.returncode:  # Zensical refuses a bibliography of five times the length
            print(f"{command} failed:\n{result.stdout}{result.stderr}"[-1000:], file=sys.stderr)
            return float("nan")
        after = os.times()
        best = min(best, after.children_user + after.children_system - before.children_user - before.children_system)
    return best


def builds(project: Path, beside: Path) -> dict[str, float]:
    """Return the CPU seconds of each kind of build."""
    other = plain(project, beside)
    shutil.rmtree(project / ".cache", ignore_errors=True)
    found = {"ours, no formula rendered yet": seconds([BIN / "mkdocs", "build"], project, repeat=1)}
    found["ours, cold"] = seconds([BIN / "mkdocs", "build"], project)
    found["plain MkDocs and Material"] = seconds([BIN / "mkdocs", "build"], other)
    zensical = beside.parent / "zensical"
    if not (zensical / "bin/zensical").exists():
        subprocess.run([sys.executable, "-m", "venv", zensical], check=True)
        subprocess.run([zensical / "bin/pip", "install", "-q", ZENSICAL], check=True, capture_output=True)
    found[ZENSICAL] = seconds([zensical / "bin/zensical", "build", "--clean"], other)
    return found


def served(project: Path) -> dict[str, float]:
    """Return the wall-clock seconds of a rebuild with nothing changed, and from saving a file to the served page."""
    log = (project / "serve.log").open("w+")
    server = subprocess.Popen(
        [BIN / "mkdocs", "serve", "--dirty", "--dev-addr", f"127.0.0.1:{PORT}"],
        cwd=project,
        stdout=log,
        stderr=log,
        env=os.environ | {"SITE_URL": f"http://127.0.0.1:{PORT}/"},
    )

    def get(path: str) -> str:
        return urllib.request.urlopen(f"http://127.0.0.1:{PORT}/{path}").read().decode()

    def until(done, limit: float = 300.0) -> float:
        start = time.monotonic()
        while time.monotonic() - start < limit:
            try:
                if done():
                    return time.monotonic() - start
            except OSError:
                pass
            time.sleep(0.02)
        raise TimeoutError((project / "serve.log").read_text()[-2000:])

    def save(name: str, old: str, new: str, page: str) -> float:
        file = project / name
        text = file.read_text()
        file.write_text(text.replace(old, new, 1))
        return until(lambda: new.split()[-1] in get(page))

    def rebuilds() -> int:
        return (project / "serve.log").read_text().count("Reloading browsers")

    try:
        found = {"serve: first build": until(lambda: get(""))}
        before = rebuilds()
        (project / "docs/index-of-nothing.txt").touch()
        found["serve: nothing changed"] = until(lambda: rebuilds() > before)
        page = "docs/concepts/optimization/adam.md"
        times = []
        for i in range(3):
            time.sleep(1)
            times.append(save(page, "## Intuition\n", f"## Intuition\n\nSaved{i}\n", "concepts/optimization/adam/"))
        found["serve: a page saved"] = min(times)
        times = []
        for i in range(3):
            time.sleep(1)
            times.append(
                save("docs/_data/questions.yml", "short: ", f"short: Saved{i} ", "questions/what-is-deep-learning/")
            )
        found["serve: the index saved"] = min(times)
        return found
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        rows: dict[str, list[float]] = {}
        for times in (1, 5):
            project = copy(Path(scratch) / f"x{times}")
            # a short answer in one line, so that it can be saved with a change
            index = project / "docs/_data/questions.yml"
            data = yaml.safe_load(index.read_text())
            index.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=10**6))
            multiply(project, times)
            for name, value in (builds(project, Path(scratch) / f"plain{times}") | served(project)).items():
                rows.setdefault(name, []).append(value)
    print(f"{'CPU seconds of builds, wall-clock seconds of serve':52}{'today':>10}{'times 5':>10}{'growth':>8}")
    for name, (one, five) in rows.items():
        print(f"{name:52}{one:10.2f}{five:10.2f}{five / one:8.1f}")
    ours, theirs = rows["ours, cold"], rows["plain MkDocs and Material"]
    print(f"{'hooks add to a plain cold build':52}{ours[0] / theirs[0] - 1:10.0%}{ours[1] / theirs[1] - 1:10.0%}")


if __name__ == "__main__":
    main()
