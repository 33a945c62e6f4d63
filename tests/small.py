"""The small knowledge base of the cases, as the loaders take it."""

from pathlib import Path

ROOT = Path(__file__).parent / "cases/small"


def files() -> dict[str, bytes]:
    """Return its files by path."""
    return {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in ROOT.rglob("*.*") if p.is_file()}
