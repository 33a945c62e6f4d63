"""The mathematics engine: the allow-list, MathJax in V8 and its cache, formulas as text, formulas in sources."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from knowledge.mathematics import Cache, TexError, formulas, mistakes, plain, render, split_label
from knowledge.mathematics.tex import COMMANDS, ENVIRONMENTS, GROUPS, INSTEAD
from markdown import Markdown

CASES = yaml.safe_load(Path(__file__).with_name("cases").joinpath("tex.yml").read_text())
TEX = [tex for tex, _ in CASES["renders"]]
HOOKS = Path(__file__).parent.parent / "hooks"

# How a command is used where it does not stand alone.
USES = {
    "accents": r"{command}{{x}}",
    "alphabets": r"{command}{{Ab1}}",
    "words": r"{command}{{word}}",
    "fractions and roots": r"{command}{{a}}{{b}}",
    "things above and below": r"{command}{{a}}{{b}}",
    "sizes of delimiters": r"{command}( x",
    r"\left": r"\left( x \right)",
    r"\right": r"\left( x \right)",
    r"\middle": r"\left( x \middle| y \right)",
    r"\phantom": r"\phantom{{x}}",
    r"\hphantom": r"\hphantom{{x}}",
    r"\vphantom": r"\vphantom{{x}}",
    r"\mathrel": r"a \mathrel{{R}} b",
    r"\mathbin": r"a \mathbin{{R}} b",
    r"\mathord": r"a \mathord{{=}} b",
    r"\limits": r"\sum\limits_a^b",
    r"\nolimits": r"\sum\nolimits_a^b",
    r"\not": r"a \not= b",
    r"\{": r"\{{ a \}}",
    r"\}": r"\{{ a \}}",
    r"\\": r"\begin{{gathered}} a \\ b \end{{gathered}}",
    r"\hline": r"\begin{{array}}{{c}} a \\ \hline b \end{{array}}",
    r"\begin": r"\begin{{matrix}} a \end{{matrix}}",
    r"\end": r"\begin{{matrix}} a \end{{matrix}}",
    r"\label": r"x \label{{eq:x}}",
}


def uses():
    for group, commands in GROUPS.items():
        for command in commands:
            use = USES.get(command, USES.get(group, "a {command} b"))
            yield pytest.param(use.format(command=command), id=command)
    for environment in sorted(ENVIRONMENTS):
        columns = "{cc}" if environment == "array" else ""
        row = "a" if environment == "gathered" else "a & b"
        yield pytest.param(rf"\begin{{{environment}}}{columns} {row} \\ {row} \end{{{environment}}}", id=environment)


def parsed(svg):
    """The SVG as XML, which wants the namespace that HTML implies."""
    return ElementTree.fromstring(svg.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1))


def identifiers(svg):
    return set(re.findall(r'href="#([^"]+)"', svg))


# ---- tex ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tex", "expected"), CASES["mistakes"], ids=[tex for tex, _ in CASES["mistakes"]])
def test_mistakes(tex, expected):
    assert mistakes(tex) == expected


@pytest.mark.parametrize("tex", TEX)
def test_what_renders_is_allowed(tex):
    assert mistakes(tex) == []


def test_what_is_advised_against_is_not_allowed():
    assert not set(INSTEAD) & (COMMANDS | ENVIRONMENTS)


def test_advice_is_allowed():
    for word, advice in INSTEAD.items():
        for tex in re.findall("`([^`]+)`", advice):
            if tex not in ENVIRONMENTS and not tex.startswith(r"\eqref"):
                wrong = [m for m in mistakes(tex) if "belongs into an environment" not in m]
                assert not wrong, f"{word}: {wrong}"


@given(st.text() | st.text(alphabet=r"\{}$%&# _^abeginleftrightd()*é"))
def test_mistakes_never_fails(tex):
    assert all(isinstance(message, str) and "\n" not in message.replace(tex, "") for message in mistakes(tex))
    split_label(tex)


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        ("x", ("x", None)),
        ("\nx = y \\label{eq:a}\n", ("x = y", "eq:a")),
        ("\\label{eq:a} x", ("x", "eq:a")),
        ("x \\label{}", ("x", "")),
    ],
)
def test_split_label(tex, expected):
    assert split_label(tex) == expected


# ---- mathjax --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("display", [False, True], ids=["inline", "display"])
@pytest.mark.parametrize("tex", list(uses()))
def test_every_allowed_word_renders(tex, display):
    assert mistakes(tex) == []
    formula = render(tex, display)
    parsed(formula.svg)
    plain(formula.mathml)


@pytest.mark.parametrize(("tex", "text"), CASES["renders"], ids=TEX)
def test_renders(tex, text):
    for display in (True, False):
        formula = render(tex, display)
        assert identifiers(formula.svg) == set(formula.glyphs)
        assert all(re.fullmatch(r"mjx-[A-Z0-9]+-[0-9A-F]+", glyph) for glyph in formula.glyphs)
        svg = parsed(formula.svg)
        assert svg.keys() == ["width", "height", "style", "viewBox", "fill", "aria-hidden", "focusable"]
        assert svg.get("width", "").endswith("ex") and svg.get("height", "").endswith("ex")
        assert not re.search(r"data-|class=|mjx|latex|xmlns", formula.mathml)
        assert not re.search(r"data-|class=| href|<text|xmlns", formula.svg)
        assert (ElementTree.fromstring(formula.mathml).get("display") == "block") is display
    assert plain(render(tex, True).mathml) == text != ""


def test_a_glyph_is_the_same_in_every_formula():
    paths = {}
    for tex in TEX:
        for glyph, path in render(tex, True).glyphs.items():
            assert paths.setdefault(glyph, path) == path


@pytest.mark.parametrize(
    ("tex", "message"),
    [
        (r"\frac{1", "Missing close brace"),
        (r"\foo", "Undefined control sequence \\foo"),
        ("a & b", "Misplaced &"),
        (r"\begin{matrix} a", "Missing \\end{matrix}"),
        (r"x^2^3", "Double exponent: use braces to clarify"),
        (r"\text{\alpha}", "\\alpha is only supported in math mode"),
        (r"\text{ж}", "There is no glyph for ж"),
    ],
)
def test_errors(tex, message):
    with pytest.raises(TexError) as raised:
        render(tex, False)
    assert str(raised.value) == message
    assert render("x", False) == render("x", False)


def test_an_error_leaves_no_trace():
    script = f"""if 1:
        import json, sys
        from knowledge.mathematics import render, TexError
        for tex in sys.argv[1:]:
            try:
                render(tex, True)
            except TexError:
                pass
        print(json.dumps(vars(render({TEX[0]!r}, True))))"""
    assert json.loads(run(script, r"\frac{\left(", r"\label{a}", r"\foo", r"\text{ж}", r"\mathbb{")) == vars(
        render(TEX[0], True)
    )


def run(script, *arguments):
    process = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={"PYTHONPATH": str(HOOKS), "PYTHONHASHSEED": "random"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert process.stderr == ""
    return process.stdout


def test_two_processes_agree_and_end_by_themselves():
    script = """if 1:
        import json, sys
        from knowledge.mathematics import render
        print(json.dumps([vars(render(tex, display)) for tex in sys.argv[1:] for display in (True, False)]))"""
    forwards, backwards = json.loads(run(script, *TEX)), json.loads(run(script, *reversed(TEX)))
    assert forwards == [vars(render(tex, display)) for tex in TEX for display in (True, False)]
    assert sorted(map(str, forwards)) == sorted(map(str, backwards))


def test_a_process_that_fails_ends_too():
    with pytest.raises(subprocess.CalledProcessError) as raised:
        run(r"from knowledge.mathematics import render; render(r'\foo', True)")
    assert "TexError" in raised.value.stderr


def test_cache_keeps_formulas(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "formulas.json"
    first = Cache(path)
    expected = {(tex, display): first.render(tex, display) for tex in TEX[:9] for display in (True, False)}
    assert not path.exists()
    first.save()
    written = path.read_bytes()
    monkeypatch.setattr("knowledge.mathematics.mathjax.render", lambda tex, display: pytest.fail("not from the file"))
    second = Cache(path)
    assert {(tex, display): second.render(tex, display) for tex, display in expected} == expected
    second.save()
    assert path.read_bytes() == written
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-9],
        lambda content: content.replace(b"0", b"1"),
        lambda content: content.replace(b"<svg", b"<SVG", 1),
        lambda content: b"\xff\n" + content,
        lambda content: b"{}",
    ],
)
def test_cache_ignores_and_mends_a_damaged_file(tmp_path, damage):
    path = tmp_path / "formulas.json"
    cache = Cache(path)
    formula = cache.render("x", True)
    cache.save()
    written = path.read_bytes()
    path.write_bytes(damage(written))
    cache = Cache(path)
    assert cache.render("x", True) == formula
    cache.save()
    assert path.read_bytes() == written


def test_cache_belongs_to_its_bundle(tmp_path, monkeypatch):
    path = tmp_path / "formulas.json"
    cache = Cache(path)
    cache.render("x", True)
    cache.save()
    other = tmp_path / "mathjax.js"
    other.write_text("// another bundle")
    monkeypatch.setattr("knowledge.mathematics.mathjax._BUNDLE", other)
    monkeypatch.setattr("knowledge.mathematics.mathjax.render", lambda tex, display: "rendered anew")
    assert Cache(path).render("x", True) == "rendered anew"


def test_cache_answers_what_is_wrong(tmp_path):
    cache = Cache(tmp_path / "formulas.json")
    assert cache.mistakes("x^2", True) == []
    assert cache.mistakes(r"\bm x", True) == mistakes(r"\bm x")
    assert cache.mistakes(r"x^2^3", True) == ["Double exponent: use braces to clarify"]


# ---- sources --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES["sources"], ids=[case["name"] for case in CASES["sources"]])
def test_sources(case):
    found = formulas(case["markdown"])
    assert [[f.line, "display" if f.display else "inline", f.tex] for f in found] == case["formulas"]
    assert Counter((f.display, f.tex) for f in found) == Counter(really(case["markdown"]))
    moved = formulas(case["markdown"], first_line=41)
    assert [f.line - 40 for f in moved] == [f.line for f in found]


def really(text):
    """What Markdown and arithmatex find."""
    options = {
        "pymdownx.arithmatex": {"generic": True, "inline_syntax": ["dollar"], "block_syntax": ["dollar"]},
        "pymdownx.tabbed": {"alternate_style": True},
    }
    standard = ["admonition", "attr_list", "def_list", "footnotes", "md_in_html", "tables", "toc"]
    pymdownx = ["pymdownx.details", "pymdownx.highlight", "pymdownx.inlinehilite", "pymdownx.superfences", *options]
    html = Markdown(extensions=[*standard, *pymdownx], extension_configs=options).convert(text)
    for element in BeautifulSoup(html, "lxml").select(".arithmatex"):
        yield element.name == "div", element.get_text()[2:-2].strip()


@given(st.text() | st.text(alphabet='$`~ \n\t>-*#|:=!?"[]()<>/\\.1ax'))
def test_formulas_never_fails(markdown):
    lines = re.split("\r\n|\r|\n", markdown)
    for formula in formulas(markdown):
        assert "$" in lines[formula.line - 1]


@pytest.mark.parametrize(
    "text",
    ["# a\n" * 2000, ">" * 5000, "- " * 3000, "\n".join("    " * depth + "- a" for depth in range(300)), "<div>" * 999],
)
def test_formulas_bears_depth(text):
    assert formulas(text + "\n\n$x$") is not None
