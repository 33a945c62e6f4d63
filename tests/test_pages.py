"""Golden pages: each template's Markdown for the small knowledge base. UPDATE_GOLDEN=1 writes them anew."""

import os
from pathlib import Path

import pytest
from test_markdown import build  # noqa: F401 - a fixture

GOLDEN = Path(__file__).parent / "cases/golden"


def generated(build):
    return {page.path: page.markdown for page in build.pages.generated} | build.pages.written


def test_golden_pages(build):
    pages = generated(build)
    kept = {path.relative_to(GOLDEN).as_posix().removesuffix(".golden"): path for path in GOLDEN.rglob("*.golden")}
    if os.environ.get("UPDATE_GOLDEN"):
        for path in kept.values():
            path.unlink()
        for name, markdown in pages.items():
            file = GOLDEN / f"{name}.golden"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(markdown)
        pytest.skip("golden pages written: read their diff")
    assert set(pages) == set(kept)
    for name, markdown in pages.items():
        assert markdown == kept[name].read_text(), (
            f"{name} changed: if that is right, run UPDATE_GOLDEN=1 pytest {__file__}"
        )


def test_no_path_is_generated_twice(build):
    paths = [page.path for page in build.pages.generated]
    assert len(paths) == len(set(paths))
