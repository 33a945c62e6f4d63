"""Every experiment runs, its conclusion holds, and its page shows what it puts out."""

import json
import re

import notebooks
import pytest
import small
from built_site import SITE

IDS = [path.stem for path in notebooks.NOTEBOOKS]


def shape(markdown):
    """A page with only the number of lines of each result, as another machine may round differently."""
    return re.sub(r"```text\n(.*?)```", lambda m: f"results: {m[1].count(chr(10))} lines", markdown, flags=re.DOTALL)


def test_the_page_of_the_small_case_is_what_its_script_puts_out():
    script = small.ROOT / "docs/notebooks/halving.py"
    assert notebooks.page(script) == {script.with_suffix(".md"): script.with_suffix(".md").read_bytes()}


def test_a_conclusion_that_does_not_hold_stops(tmp_path):
    script = tmp_path / "wrong.py"
    script.write_text("# %%\nassert 1 + 1 == 3\n")
    with pytest.raises(Exception, match="AssertionError"):
        notebooks.page(script)


@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, ids=IDS)
def test_experiment(path):
    source = path.read_text()
    assert re.search(r"^assert ", source, re.MULTILINE), f"{path}: no conclusion is asserted"
    for part in ("Question", "Method", "Result", "Conclusion"):
        assert f"**{part}" in source, f"{path}: where is the {part.lower()}?"
    made = notebooks.page(path)
    page = path.with_suffix(".md")
    assert shape(made[page].decode()) == shape(page.read_text()), f"run scripts/notebooks {path}"
    figures = {file.name for file in made} - {page.name}
    kept = {file.name for file in path.parent.glob("*.svg") if re.fullmatch(rf"{path.stem}-\d+\.svg", file.name)}
    assert figures and figures == kept, f"run scripts/notebooks {path}"
    assert all((path.parent / name).stat().st_size < 250_000 for name in figures)


@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, ids=IDS)
def test_notebook_to_take_along(path):
    document = json.loads((SITE / f"notebooks/{path.stem}.ipynb").read_text())
    code = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    assert code == [cell.source for cell in notebooks.cells(path) if cell.cell_type == "code"]
    text = "".join("".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "markdown")
    assert not re.search(r"\[@|\]\((concept|question|term):", text)
