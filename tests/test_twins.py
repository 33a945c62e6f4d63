"""Every check of every twin holds, and the figures are those that the twins draw."""

import re

import pytest
import torch
import twins
from knowledge import concepts

torch.set_num_threads(1)
IDS = [path.stem for path in twins.TWINS]


@pytest.fixture(scope="module", params=twins.TWINS, ids=IDS)
def twin(request):
    return request.param, twins.load(request.param)


def test_checks(twin):
    path, module = twin
    checks = twins.functions(module, "check_")
    assert checks, f"{path}: no check"
    failed = []
    for name, check in checks.items():
        try:
            check()
        except AssertionError as error:
            failed.append(f"{name}: {error}")
    assert not failed, f"{path}: " + "; ".join(failed)


def test_every_check_of_the_page_asserts(twin):
    """A check that does not assert could not fail."""
    path, module = twin
    source = path.read_text()
    for name in twins.functions(module, "check_"):
        body = re.search(rf"^def {name}\(.*?(?=^\S|\Z)", source, re.DOTALL | re.MULTILINE)
        assert body is None or "assert" in body[0], f"{path}: {name} asserts nothing"


def test_labels_are_checked(twin):
    """Most labelled equations have a check; the page says so, and links to it."""
    path, _ = twin
    page = path.with_suffix(".md")
    concept, mistakes = concepts.load(
        f"docs/concepts/{path.parent.name}/{page.name}", page.read_bytes(), path.read_bytes()
    )
    assert concept and not mistakes
    unchecked = [label for label in concept.labels if not concept.checked(label)]
    # A definition or an existence theorem cannot be run; over all pages nine of ten are checked (test_content.py).
    assert len(unchecked) <= 0.2 * len(concept.labels), f"{page}: no check of {unchecked}"


def test_figures(twin):
    """Drawing the figures again changes nothing that is committed."""
    path, module = twin
    drawn = twins.figures(path, module)
    assert drawn, f"{path}: no figure"
    changed = [str(file) for file, svg in drawn.items() if not file.exists() or file.read_bytes() != svg]
    assert not changed, f"run scripts/figures {path}: {changed} differ"
    page = path.with_suffix(".md").read_text()
    kept = [
        f
        for f in path.parent.glob("*.svg")
        if max((i for i in IDS if f.name.startswith(f"{i}-")), key=len) == path.stem
    ]
    unused = [file.name for file in kept if file.name not in page]
    assert not unused, f"{path}: figures that the page does not show: {unused}"
