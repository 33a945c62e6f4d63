"""The content under test: the anatomy of every page, the completeness of every question, and the style."""

import re
from collections import Counter

import pytest
from built_site import ROOT
from knowledge import build, mathematics, prose

STUBS = re.compile(
    r"\b(?:TODO|TBD|FIXME|lorem ipsum|coming soon|delve|in the realm of|it is important to note|needless to say)\b",
    re.I,
)
#: Works of which no record that we could open gives an address: two of the 1960s, and one preprint.
NO_ADDRESS = {"minsky1969", "novikoff1962", "awais2020"}
SECTIONS = ["Intuition", "Definition", "Why it works", "In code", "Worked example", "In practice"]


@pytest.fixture(scope="module")
def kb():
    kb, mistakes = build.check(ROOT)
    assert kb, "\n".join(map(str, mistakes))
    return kb


def test_every_page_has_the_whole_anatomy(kb):
    wrong = []
    for concept in kb.concepts.values():
        where = f"docs/{concept.path}"
        headings = [m[2] for m in prose.HEADING.finditer(prose.without_code(concept.body)) if m[1] == "##"]
        if headings != SECTIONS:
            wrong.append(f"{where}: the sections are {headings}")
        first = concept.body.lstrip()
        if not first.startswith('!!! abstract "In thirty seconds"'):
            wrong.append(f"{where}: does not start with the answer in thirty seconds")
        thirty = first.partition("\n## ")[0].partition("\n")[2]
        if not 15 <= len(prose.words(thirty)) <= 60:
            wrong.append(f"{where}: the answer in thirty seconds has {len(prose.words(thirty))} words")
        if not 800 <= len(prose.words(concept.body)) <= 2600:
            wrong.append(f"{where}: {len(prose.words(concept.body))} words")
        if concept.body.count('=== "NumPy"') != 1 or concept.body.count('=== "PyTorch"') != 1:
            wrong.append(f"{where}: the code is not in one tab for NumPy and one for PyTorch")
        if not any(c.concept == concept.id for c in kb.corrections.values()):
            wrong.append(f"{where}: no misconception in corrections.yml")
        if not prose.citations(concept.body):
            wrong.append(f"{where}: no citation")
    assert not wrong, "\n".join(wrong)


def test_every_figure_says_what_it_shows(kb):
    for concept in kb.concepts.values():
        figures = re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", concept.body)
        assert figures, f"{concept.path}: no figure"
        for text, file in figures:
            assert len(text.split()) >= 8, f"{concept.path}: the alternative text of {file} is too short"


def test_equations_are_checked(kb):
    """At least nine of ten displayed equations are asserted by the page's program."""
    displayed = sum(len(c.labels) + len(c.unlabeled) for c in kb.concepts.values())
    checked = sum(c.checked(label) for c in kb.concepts.values() for label in c.labels)
    assert checked >= 0.9 * displayed, f"{checked} of {displayed}"


def test_every_question_is_whole(kb):
    for question in kb.questions.values():
        assert question.sources, f"{question.id}: no source"
        assert 1 <= len(question.follow_ups) <= 6, f"{question.id}: {len(question.follow_ups)} follow-ups"
        assert question.listen_for.strong and question.listen_for.weak, question.id
        assert question.question.endswith(("?", ".")), question.question
        words = len(prose.words(question.answer)) + len(mathematics.formulas(question.answer)) / 2
        assert 70 <= words <= 280, f"{question.id}: {words} words"


def test_definitions_are_sentences(kb):
    for term in kb.terms.values():
        assert term.definition.rstrip("*_`").endswith((".", ".)")), f"{term.id}: {term.definition}"


def test_no_stub_and_no_filler(kb):
    for place in (*kb.concepts.values(), *kb.questions.values()):
        text = getattr(place, "body", "") or place.short + place.answer
        found = STUBS.search(prose.without_code(text))
        assert not found, f"{place.id}: “{found[0]}”"


def test_no_reference_is_unused_or_without_an_address(kb):
    without = {r.key for r in kb.references.values() if not r.url}
    assert without <= NO_ADDRESS, f"no DOI, arXiv id or URL: {without - NO_ADDRESS}"
    unused = [key for key in kb.references if key not in kb.cited_in]
    assert not unused, f"cited nowhere: {unused}"


def test_no_work_stands_twice(kb):
    titles = Counter((r.names, re.sub(r"\W", "", r.title.casefold())) for r in kb.references.values())
    assert [title for title, n in titles.items() if n > 1] == []


def test_the_way_to_a_page_is_in_an_order_to_read_it_in(kb):
    for concept in kb.concepts.values():
        way = [c.id for c in kb.way_to(concept)]
        assert concept.id not in way
        for i, step in enumerate(way):
            assert all(p in way[:i] for p in kb.concepts[step].prerequisites if p in kb.concepts)
