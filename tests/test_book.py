"""The book's parts: formulas for Typst, Markdown to Typst, and what happens to what has no form in it."""

import datetime
import unicodedata
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pypdfium2
import pytest
import typst
from built_site import ROOT
from knowledge import mathematics
from knowledge.book import formulas, pdf
from knowledge.book.typesetting import Edition, Typesetter, TypesettingError
from knowledge.book.volumes import Chapter, Part, Volume
from test_markdown import build, convert  # noqa: F401 - a fixture

EDITION = Edition(site="https://example.org/", version="1", date=datetime.date(2026, 1, 31))
ACCENTS = {
    "^": "\u0302",
    "~": "\u0303",
    "ˇ": "\u030c",
    "´": "\u0301",
    "`": "\u0300",
    "¨": "\u0308",
    "―": "",
    "→": "\u20d7",
    "←": "\u20d6",
}


def visible(text):
    """The characters of a text, whatever their style, with accents apart from their letters."""
    return Counter(c for c in unicodedata.normalize("NFKD", text) if c > " " and c not in "\ufffe\u2061")


def characters(mathml):
    """The characters that a formula shows."""
    for element in ElementTree.fromstring(mathml).iter():
        if element.tag in ("msqrt", "mroot"):
            yield "√"
        if element.get("accent") == "true" and len(element):
            element[1].text = ACCENTS.get(element[1].text, element[1].text)
        yield element.text or ""


@pytest.fixture(scope="module")
def known():
    """Every formula of the knowledge base, and every allowed command in one of its uses."""
    cache = mathematics.Cache(ROOT / ".cache/formulas.json")
    assert cache._formulas, "scripts/check fills the cache"
    samples = [
        r"\left( \frac{a}{b} \middle| c \right) \biggl\lVert x \biggr\rVert",
        r"\begin{cases} a & \text{if } b \\ c \end{cases}",
        r"\begin{aligned} a &= b & c &= d \\ &= e \end{aligned}",
        r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix} \binom{n}{k} \sqrt[3]{x} \bar{a} \dot{b} \check{c} \vec{d}",
        r"\operatorname*{arg\,max}_{x} \max_i \sum\nolimits_i \underbrace{a + b}_{c} f''(x) a \bmod b \pmod n",
        r"\begin{array}{c|c} a & b \\ \hline c & d \end{array} \dfrac12 \tfrac12 \overset{a}{=} \xrightarrow{ab}",
    ]
    return [f.mathml for f in cache._formulas.values()] + [mathematics.render(t, True).mathml for t in samples]


def test_every_formula_shows_in_the_book_the_characters_that_mathjax_shows(known, tmp_path):
    pages = [f"$ {formulas.typst(mathml)} $" for mathml in known]
    (tmp_path / "all.typ").write_text("#set page(width: 60cm, height: 30cm)\n" + "\n#pagebreak()\n".join(pages))
    document = pypdfium2.PdfDocument(typst.compile(tmp_path / "all.typ", format="pdf"))
    assert len(document) == len(known)
    wrong = [
        f"{text!r} for {mathml}"
        for mathml, page in zip(known, document, strict=True)
        if visible(text := page.get_textpage().get_text_range()) != visible("".join(characters(mathml)))
    ]
    assert not wrong, "\n".join(wrong)


def test_an_unknown_element_is_a_mistake():
    with pytest.raises(formulas.FormulaError, match="menclose"):
        formulas.typst("<math><menclose><mi>x</mi></menclose></math>")


def typeset(build, *markdown):
    chapters = tuple(
        Chapter(path=f"concepts/area/page-{i}.md", number=str(i), title=f"Page {i}", markdown=text)
        for i, text in enumerate(markdown, 1)
    )
    volume = Volume(file="test", title="Test", subtitle="", parts=(Part(title="", chapters=chapters),), index=False)
    return Typesetter(build.kb, build.plain, lambda text: convert(build, text), EDITION).source(volume)


@pytest.mark.parametrize(
    "markdown, expected",
    [
        ("A *b* **c** `d_e`", '#emph[b]; #strong[c]; #raw("d_e");'),
        ("5 \\* 3 # $ @a <b> ~ [x] = 1", "5 \\* 3 \\#"),
        ("- a\n- b", "#list([a], [b])"),
        ("1. a\n2. b", "#enum(start: 1, [a], [b])"),
        (
            "| a | b |\n| --- | ---: |\n| c | d |",
            "#grid-table((auto, auto,), (left, right,), ([a], [b],), ([c], [d],))",
        ),
        ('```python\nx = "1"\n```', '#raw(block: true, lang: "python", "x = \\"1\\"")'),
        ("$x$", '#formula("x", $\\u{1d465}$)'),
        ('!!! note "Title"\n    Body', '#note("note", [Title])[Body]'),
        ("[a](#b)\n\n## C { #b }", '#to("concepts/area/page-1.md#b")[a]'),
        ("[a](/concepts/area/page-2.md)", '#to("concepts/area/page-2.md")[a]'),
        ("[a](/faq/index.md)", '#link("https://example.org/faq/")[a]'),
        ("![A dog](dog.svg)\n\n*Figure: a dog.*", '#picture("/docs/concepts/area/dog.svg", "A dog", "1.1", [A dog.])'),
        ("**TD**(0) and `f`.x", '#strong[TD];(0) and #raw("f");.x'),
        ("claim\n:   answer", "#claim[claim]\n#pad(left: 1em)[answer]"),
    ],
)
def test_markdown_becomes_typst(build, markdown, expected):
    assert expected in typeset(build, markdown, "Second page.")


def test_what_has_no_form_stops_the_book(build):
    with pytest.raises(TypesettingError, match=r"page-1.md:1: the book has no form for <video>"):
        typeset(build, 'Look: <video src="x.mp4"></video>')


def test_the_same_source_makes_the_same_bytes(build):
    source = typeset(build, "$$\nx^2\n$$\n\nText.")
    assert pdf.pdf(source, ROOT, 0) == pdf.pdf(source, ROOT, 0)


def test_a_formula_that_must_shrink_is_told(build):
    sum_of_many = " + ".join(f"x_{{{i}}}" for i in range(30))
    _, shrunk = pdf.pdf(typeset(build, f"$$\n{sum_of_many}\n$$"), ROOT, 0)
    [(share, formula)] = shrunk
    assert 0.3 < share < pdf.SMALLEST and formula.startswith("x")


def test_a_formula_keeps_clear_of_its_number_and_of_the_margin(build):
    numbered = [f'#displayed("many", "9.{n}", ${"x " * n}$)' for n in range(10, 99)]
    content, _ = pdf.pdf(typeset(build, "here").replace("here", "\n\n".join(numbered)), ROOT, 0)
    clear = []
    for page in pypdfium2.PdfDocument(content):
        text = page.get_textpage()
        boxes = [(text.get_text_range(i, 1), text.get_charbox(i)) for i in range(text.count_chars())]
        for _, (start, bottom, _, top) in [b for b in boxes if b[0] == "(" and b[1][0] > 400]:
            line = [
                box for c, box in boxes if not c.isspace() and bottom < (box[1] + box[3]) / 2 < top and box[2] < start
            ]
            clear.append((min(box[0] for box in line), start - max(box[2] for box in line)))
    assert len(clear) == len(numbered)
    assert all(left > 76 and gap > 3 for left, gap in clear), clear


def test_what_the_compiler_says_arrives(tmp_path):
    with pytest.raises(pdf.PdfError, match="unknown variable"):
        pdf.pdf("#nonsense", ROOT, 0)
    assert not list(Path(ROOT, ".cache").glob("book*/document.typ"))
