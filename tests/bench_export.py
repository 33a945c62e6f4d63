"""The way out: the exported Markdown built by other engines, and how many pages and equations each shows."""

import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENGINES = {
    "ProperDocs 1.6.7": (["properdocs==1.6.7", "mkdocs-material==9.8.1", "pymdown-extensions==13.1"], "properdocs"),
    "Zensical 0.0.73": (["zensical==0.0.73"], "zensical"),
}


def counted(site: Path) -> tuple[int, int]:
    """Return the number of pages below a folder, and of equations on them."""
    pages = [path.read_text("utf-8", "replace") for path in site.rglob("*.html")]
    return len(pages), sum(page.count('class="arithmatex"') for page in pages)


def main() -> None:
    """Print a row for our build and one for each other engine."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        subprocess.run(["scripts/export", tree], cwd=ROOT, check=True)
        subprocess.run(["scripts/build", "--quiet"], cwd=ROOT, check=True)
        ours = ROOT / "site"
        rows = [("ours (with a search page)", *counted(ours), 0.0)]
        for name, (packages, command) in ENGINES.items():
            home = ROOT / ".cache/engines" / command
            if not (home / "bin" / command).exists():
                venv.create(home, with_pip=True)
                subprocess.run([home / "bin/pip", "install", "--quiet", *packages], check=True)
            start = time.perf_counter()
            result = subprocess.run([home / "bin" / command, "build"], cwd=tree, capture_output=True, text=True)
            if result.returncode:
                sys.exit(result.stdout + result.stderr)
            rows.append((name, *counted(tree / "site"), time.perf_counter() - start))
    print(f"{'engine':28}{'pages':>8}{'equations':>11}{'seconds':>9}")
    for name, pages, equations, seconds in rows:
        print(f"{name:28}{pages:8}{equations:11}{seconds:9.1f}")


if __name__ == "__main__":
    main()
