r"""Formulas for Typst, from the MathML that MathJax makes of the same TeX.

One reading of the TeX serves the site and the book: what MathJax understood is what is typeset. MathJax writes some
twenty elements of MathML where TeX has hundreds of commands, so this translation is complete by `_ELEMENTS`; an element
that is not in it stops the build. Every character is written as `\u{…}`, so that Typst reads no syntax into a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element


class FormulaError(ValueError):
    """A formula holds something that this module cannot typeset."""


def typst(mathml: str) -> str:
    """Return the content of a Typst formula, `$` excluded, for a `<math>` element.

    Raises:
        FormulaError: if the element holds what is not known here.
    """
    math = ElementTree.fromstring(mathml)
    if len(math) == 1 and math[0].tag == "mtable" and math[0].get("displaystyle") == "true":
        return _lines(math[0])
    return _row(list(math))


def _row(elements: Sequence[Element]) -> str:
    """Typeset elements side by side."""
    parts = []
    for i, element in enumerate(elements):
        following = elements[i + 1] if i + 1 < len(elements) else None
        if following is not None and following.text == _APPLY and element.tag == "mi":
            parts.append(_operator(element))
        else:
            parts.append(_element(element))
    return "".join(parts)


def _element(element: Element) -> str:
    if element.tag not in _ELEMENTS:
        raise FormulaError(f"the book has no form for <{element.tag}>")
    return _ELEMENTS[element.tag](element)


def _characters(text: str) -> str:
    return "".join(f"\\u{{{ord(character):x}}}" for character in text)


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _italic(letter: str) -> str:
    """Return the mathematical italic form of a letter, or what has none as it is."""
    if letter in _ITALIC:
        return _ITALIC[letter]
    if letter.isascii() and letter.isalpha():
        return chr((0x1D434 if letter.isupper() else 0x1D44E) + ord(letter.lower()) - ord("a"))
    if "α" <= letter <= "ω":
        return chr(0x1D6FC + ord(letter) - ord("α"))
    return letter


_ITALIC: Final[Mapping[str, str]] = {"h": "ℎ", **dict(zip("∂ϵϑϰϕϱϖ", map(chr, range(0x1D715, 0x1D71C)), strict=True))}


def _identifier(element: Element) -> str:
    text = element.text or ""
    if element.get("mathvariant") == "normal":
        return f"upright({_characters(text)})"
    return _characters(_italic(text)) if len(text) == 1 else _string(text) if text else ""


def _operator(element: Element) -> str:
    """Typeset a function's name with an operator's space around it; below and above it stand its limits."""
    body = _string(element.text or "") if not len(element) else _row(list(element))
    return f"op({body},limits:#true)"


def _symbol(element: Element) -> str:
    text = element.text or ""
    if text == _APPLY:
        return ""
    if len(text) > 1 and text.isalpha():
        if element.get("lspace"):  # \bmod
            return f'class("binary",{_string(text)})'
        return _operator(element)
    if "minsize" in element.attrib:
        return f"lr(size:#{element.get('minsize')},{_characters(text)})"
    return _characters(text)


def _group(element: Element) -> str:
    children = list(element)
    if len(children) == 3 and children[1].get("linethickness") == "0":
        return f"binom({_row(list(children[1])[:1])},{_row(list(children[1])[1:])})"
    if len(children) > 1 and _fence(children[0]) and _fence(children[-1]):
        inner = "".join(f"mid({_characters(c.text or '')})" if _middle(c) else _row([c]) for c in children[1:-1])
        if not any(map(_middle, children)):
            inner = _row(children[1:-1])
        return f"lr({_characters(children[0].text or '')}{inner}{_characters(children[-1].text or '')})"
    return _row(children)


def _fence(element: Element) -> bool:
    r"""Return whether an element is what `\left` or `\right` makes of a delimiter."""
    return element.tag == "mo" and element.get("stretchy") != "false" and (element.text or "(") in _FENCES


def _middle(element: Element) -> bool:
    return element.tag == "mo" and element.get("symmetric") == "true" and "minsize" not in element.attrib


def _fraction(element: Element) -> str:
    if element.get("linethickness") == "0":
        return f"mat(delim:#none,{_element(element[0])};{_element(element[1])})"
    return f"frac({_element(element[0])},{_element(element[1])})"


def _scripts(element: Element) -> str:
    """Typeset what stands beside its base."""
    base, marks = element[0], list(element)[1:]
    if base.tag == "mo":
        body = f"scripts({_element(base)})"
    elif base.tag == "mi" and len(base.text or "") > 1:
        body = f"scripts({_operator(base)})"
    else:
        body = _element(base)
    names = {"msub": "b", "msup": "t", "msubsup": "bt"}[element.tag]
    if element.tag == "msup" and (marks[0].text or "") in ("′", "″", "‴"):
        names = ["tr"]  # type: ignore[assignment]
    return f"attach({body or _EMPTY},{','.join(f'{n}:{_element(m)}' for n, m in zip(names, marks, strict=True))})"


def _limits(element: Element) -> str:
    """Typeset what stands above or below its base: accents, braces and limits."""
    base, marks = element[0], list(element)[1:]
    mark = marks[0].text or ""
    if element.get("accent") == "true" or element.get("accentunder") == "true":
        if mark not in _ACCENTS[element.tag]:
            raise FormulaError(f"the book has no form for the accent “{mark}”")
        return f"{_ACCENTS[element.tag][mark]}({_element(base)})"
    names = {"munder": "b", "mover": "t", "munderover": "bt"}[element.tag]
    if base.tag in ("munder", "mover") and base.get("accent" + "under" * (base.tag == "munder")):  # \underbrace{…}_{…}
        return _element(base)[:-1] + "," + _row(marks) + ")"
    if base.tag == "mrow" and all(child.tag in ("mi", "mspace") for child in base):
        body = _operator(base)
    elif base.tag == "mo" and ((base.text or "") in _LARGE or "movablelimits" in base.attrib):
        body = _element(base)  # the limits stand beside it in running text
    elif base.tag == "mi" and len(base.text or "") > 1:
        body = _operator(base)
    else:
        body = f"limits({_element(base)})"
    return f"attach({body},{','.join(f'{n}:{_element(m)}' for n, m in zip(names, marks, strict=True))})"


def _space(element: Element) -> str:
    return f"#h({element.get('width')})" if element.get("width") else ""


def _style(element: Element) -> str:
    inner = _row(list(element))
    if element.get("displaystyle"):
        return f"{'display' if element.get('displaystyle') == 'true' else 'inline'}({inner})"
    if element.get("scriptlevel"):
        return f"{('inline', 'script', 'sscript')[int(element.get('scriptlevel', '0'))]}({inner})"
    return inner


def _lines(table: Element) -> str:
    """Typeset aligned lines that are a display of their own."""
    gaps = ["", *(f"#h({gap})" if gap != "0em" else "" for gap in (table.get("columnspacing") or "").split())]
    return r" \ ".join(
        "&".join(gaps[min(i, len(gaps) - 1)] + _cell(cell) for i, cell in enumerate(row)) for row in table
    )


def _cell(cell: Element) -> str:
    """Typeset a cell; a relation that begins it keeps its distance from the cell before it."""
    children = list(cell[0]) if len(cell) == 1 and cell[0].tag == "mrow" else list(cell)
    if children and children[0].tag == "mi" and not children[0].text:
        return _EMPTY + _row(children[1:])
    return _row(children)


def _table(table: Element) -> str:
    """Typeset a matrix, cases or an array; the delimiters are around it."""
    alignment = (table.get("columnalign") or "").split()
    columns = max(map(len, table), default=0)
    rows = []
    for row in table:
        cells = []
        for i in range(columns):
            content = _cell(row[i]) if i < len(row) else ""
            if table.get("displaystyle") == "true":
                content = f"display({content})"
            side = alignment[min(i, len(alignment) - 1)] if alignment else "center"
            cells.append({"left": f"&{content}", "right": f"{content}&"}.get(side, content) or _EMPTY)
        rows.append(",".join(cells))
    gap = (table.get("columnspacing") or "1em").split()[0]
    options = [f"column-gap:#{gap}", f"row-gap:#{'0.7em' if table.get('displaystyle') == 'true' else '0.4em'}"]
    lines = [
        f"{name}: {tuple(i + 1 for i, kind in enumerate(_each(table.get(key), count - 1)) if kind != 'none')}"
        for name, key, count in (("hline", "rowlines", len(table)), ("vline", "columnlines", columns))
        if table.get(key)
    ]
    if lines:
        options.append(f"augment:#({', '.join(line.replace(',)', ',)') for line in lines)}, stroke: 0.5pt)")
    return f"mat(delim:#none,{','.join(options)},{';'.join(rows)})"


def _each(value: str | None, count: int) -> list[str]:
    """The values of an attribute that lists one for each gap; the last one holds for all that follow."""
    values = (value or "none").split()
    return [values[min(i, len(values) - 1)] for i in range(count)]


_APPLY: Final = "\N{FUNCTION APPLICATION}"
_EMPTY: Final = '""'
_FENCES: Final = frozenset("()[]{}|‖⟨⟩⌊⌋⌈⌉/")
_LARGE: Final = frozenset(c for c in map(chr, (*range(0x220F, 0x2212), *range(0x22C0, 0x22C4), *range(0x2A00, 0x2A0D))))
_ACCENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "mover": {
        "^": "hat", "~": "tilde", "¯": "macron", "˙": "dot", "¨": "dot.double", "→": "arrow", "←": "arrow.l",
        "´": "acute", "`": "grave", "˘": "breve", "ˇ": "caron", "˚": "circle", "―": "overline", "⏞": "overbrace",
    },
    "munder": {"―": "underline", "⏟": "underbrace"},
}  # fmt: skip
_ELEMENTS: Final[Mapping[str, Callable[[Element], str]]] = {
    "mi": _identifier,
    "mn": lambda element: _string(element.text or ""),
    "mo": _symbol,
    "mtext": lambda element: _string(element.text or ""),
    "mspace": _space,
    "mrow": _group,
    "mfrac": _fraction,
    "msqrt": lambda element: f"sqrt({_row(list(element))})",
    "mroot": lambda element: f"root({_element(element[1])},{_element(element[0])})",
    "msub": _scripts,
    "msup": _scripts,
    "msubsup": _scripts,
    "munder": _limits,
    "mover": _limits,
    "munderover": _limits,
    "mtable": _table,
    "mstyle": _style,
    "mpadded": lambda element: _row([child for child in element if child.tag != "mspace"]),
    "mphantom": lambda element: f"#hide($ {_row(list(element))} $.body)",
}
