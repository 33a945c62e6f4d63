"""The Markdown extensions: links by id, citations, glossary links, equations; and the other forms of a text."""

import datetime
from itertools import pairwise
from pathlib import Path

import pytest
import small
import yaml
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from knowledge import mathematics, model
from knowledge.build import Build
from knowledge.pages import Site
from knowledge.terms import Matcher, Term
from markdown import Markdown

CASES = yaml.safe_load(Path(__file__).with_name("cases").joinpath("markdown.yml").read_text())


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    formulas = mathematics.Cache(tmp_path_factory.mktemp("cache") / "formulas.json")
    kb, mistakes = model.load(small.files(), formulas.mistakes)
    assert kb, mistakes
    return Build(
        kb,
        formulas,
        Site(
            url="https://example.org/", repository="https://example.org/repository", today=datetime.date(2026, 11, 21)
        ),
    )


def convert(build, text):
    options = {
        "pymdownx.arithmatex": {"generic": True, "inline_syntax": ["dollar"], "block_syntax": ["dollar"]},
        "pymdownx.tabbed": {"alternate_style": True},
        "pymdownx.highlight": {"use_pygments": False},
    }
    standard = [
        "admonition",
        "attr_list",
        "def_list",
        "md_in_html",
        "tables",
        "toc",
        "pymdownx.details",
        "pymdownx.superfences",
        *options,
    ]
    return Markdown(extensions=[*standard, *build.extensions], extension_configs=options).convert(text)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_markdown(case, build):
    html = convert(build, case["text"])
    links = [
        [a.get_text(), a["href"]]
        for a in BeautifulSoup(html, "lxml").find_all("a", href=True)
        if "tabbed" not in a.get("id", "") and not a["href"].startswith("#__tabbed")
    ]
    assert links == case["links"], html
    for piece in case.get("html", ()):
        assert piece in html


@pytest.mark.parametrize(
    "markdown, plain",
    [
        ("The factor $\\eta$ in **bold** and *slanted* `code`.", "The factor η in bold and slanted code."),
        (
            "As @robbins1951 and [the page](concept:gradient-descent) say [@robbins1951].",
            "As Robbins and Monro (1951) and the page say (Robbins & Monro, 1951).",
        ),
        ("[Momentum](concept:momentum): a 2 * 3 * 4 grid", "Momentum: a 2 * 3 * 4 grid"),
        ("- one\n- two_three_four", "one two_three_four"),
    ],
)
def test_plain_text(build, markdown, plain):
    assert build.plain(markdown) == plain


def term(name, **fields):
    return Term(id=name.lower().replace(" ", "-"), name=name, definition="A term.", **fields)


@pytest.mark.parametrize(
    "names, text, found",
    [
        (["Adam"], "Adam, adam and ADAM", ["Adam"]),
        (["dropout", "spatial dropout"], "Spatial dropout is a dropout.", ["Spatial dropout", "dropout"]),
        (
            ["matrix", "axis", "entropy", "loss"],
            "matrices, axes, entropies, losses",
            ["matrices", "axes", "entropies", "losses"],
        ),
        (["mini-batch"], "A mini batch and mini-batches", ["mini batch", "mini-batches"]),
        (["CNN"], "CNNs, a CNN, a cnn", ["CNNs", "CNN"]),
        (["norm"], "batch-norm, norm-free, the norm.", ["norm"]),
        (["GloVe"], "GloVe and a glove", ["GloVe"]),
    ],
)
def test_matcher(names, text, found):
    assert [text[m.start : m.end] for m in Matcher(map(term, names)).mentions(text)] == found


@settings(deadline=None)
@given(text=st.text(max_size=200))
def test_mentions_never_overlap(text):
    mentions = list(Matcher([term("learning rate"), term("Adam")]).mentions(text))
    assert all(a.end <= b.start for a, b in pairwise(mentions))
