"""A volume as one Typst document: the HTML of its chapters, element by element.

An element that has no form here stops the build, as nothing may be dropped in silence.
"""

from __future__ import annotations

import datetime
import json
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lxml import html
from lxml.html import HtmlElement

from knowledge import mathematics
from knowledge.book import formulas
from knowledge.book.volumes import Chapter, Volume
from knowledge.model import KnowledgeBase
from knowledge.plaintext import Plaintext

#: Markdown as HTML, with the formulas in it as MathML beside other forms.
ToHtml = Callable[[str], str]


class TypesettingError(ValueError):
    """A chapter holds something that has no form in the book."""


@dataclass(frozen=True, kw_only=True)
class Edition:
    """What is printed of a volume beside its text.

    Attributes:
        site: the address of the site, with a slash at its end.
        version: as on the title page.
    """

    site: str
    version: str
    date: datetime.date


class Typesetter:
    """Turns volumes into Typst source."""

    def __init__(self, kb: KnowledgeBase, plain: Plaintext, to_html: ToHtml, edition: Edition) -> None:
        self.kb, self.plain, self.to_html, self.edition = kb, plain, to_html, edition

    def source(self, volume: Volume) -> str:
        """Return the document, which imports `book.typ` from its own folder.

        Raises:
            TypesettingError: with everything that has no form in the book.
        """
        bodies = {
            chapter.path: html.fragment_fromstring(self.to_html(chapter.markdown), "div") for chapter in volume.chapters
        }
        places = {chapter.path: chapter.path for chapter in volume.chapters}
        for chapter in volume.chapters:
            places |= {
                f"{chapter.path}#{e.get('id')}": f"{chapter.path}#{e.get('id')}"
                for e in bodies[chapter.path].iter()
                if e.get("id")
            }
            places |= {path: f"{chapter.path}#{anchor}" for path, anchor in chapter.aliases.items()}
        numbers = {chapter.path: chapter.number for chapter in volume.chapters}
        parts, mistakes, part_number = [], [], 0
        for part in volume.parts:
            if part.title:
                part_number += 1
                parts.append(f"#part({_string(_roman(part_number))}, {_string(part.title)})\n")
            for chapter in part.chapters:
                walk = _Walk(self, chapter, places, numbers, level=3 if part.title else 2)
                parts.append(walk.chapter(bodies[chapter.path]))
                mistakes += walk.mistakes
        if mistakes:
            raise TypesettingError("\n".join(mistakes))
        settings = {
            "title": volume.title,
            "subtitle": volume.subtitle,
            "site": self.edition.site,
            "version": self.edition.version,
        }
        date = self.edition.date
        head = (
            '#import "book.typ": *\n#show: book.with('
            + ", ".join(f"{key}: {_string(value)}" for key, value in settings.items())
            + f", date: datetime(year: {date.year}, month: {date.month}, day: {date.day}))\n"
        )
        index = ""
        if volume.index:
            entries = sorted(self.kb.terms.values(), key=lambda t: t.name.casefold())
            index = "#index((" + ", ".join(f"({_string(t.id)}, {_string(t.name)})" for t in entries) + "))\n"
        return head + "\n".join(parts) + index


class _Walk:
    """One chapter on its way to Typst."""

    def __init__(
        self, setter: Typesetter, chapter: Chapter, places: Mapping[str, str], numbers: Mapping[str, str], level: int
    ) -> None:
        self.setter, self.here, self.places, self.numbers, self.level = setter, chapter, places, numbers, level
        self.figures = 0
        self.indexed: set[str] = set()
        self.mistakes: list[str] = []

    def chapter(self, body: HtmlElement) -> str:
        title = f"{_string(self.here.number)}, [{_text(self.here.title)}], {_string(self.here.path)}"
        return f"#chapter({title}, level: {self.level - 1})[\n{self.blocks(body)}\n]\n"

    # Blocks

    def blocks(self, parent: HtmlElement) -> str:
        """The children of an element that holds blocks; text among them becomes a paragraph."""
        found: list[str] = []
        inline: list[str] = [_text(parent.text)] if (parent.text or "").strip() else []

        def flush() -> None:
            if text := "".join(inline).strip():
                found.append(text)
            inline.clear()

        children = [child for child in parent if isinstance(child.tag, str)]
        for i, child in enumerate(children):
            if child.tag in _BLOCKS:
                flush()
                found.append(self.block(child, children[i + 1 :]))
            else:
                inline.append(self.inline(child))
            if (child.tail or "").strip() or (child.tail and inline):
                inline.append(_text(child.tail))
        flush()
        return "\n\n".join(filter(None, found))

    def block(self, element: HtmlElement, after: list[HtmlElement]) -> str:
        body = _BLOCKS[element.tag](self, element, after)
        return body + _label(f"{self.here.path}#{element.get('id')}") if element.get("id") and body else body

    def heading(self, element: HtmlElement, after: list[HtmlElement]) -> str:
        level = self.level + int(element.tag[1]) - 2
        return f"#heading(level: {level})[{self.inside(element)}]"

    def paragraph(self, element: HtmlElement, after: list[HtmlElement]) -> str:
        children = [child for child in element if isinstance(child.tag, str)]
        if len(children) == 1 and children[0].tag == "img" and not (element.text or "").strip():
            return self.figure(children[0], after)
        if element.get("data-caption"):
            return ""
        return self.inside(element)

    def figure(self, image: HtmlElement, after: list[HtmlElement]) -> str:
        """A figure with its caption, which is the paragraph in italics that follows."""
        self.figures += 1
        caption = ""
        if after and after[0].tag == "p" and len(after[0]) and after[0][0].tag == "em":
            after[0].set("data-caption", "true")
            caption = self.inside(after[0][0]) if len(after[0]) == 1 else self.inside(after[0])
            caption = caption.removeprefix("Figure:").strip()
            caption = caption[:1].upper() + caption[1:]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(self.here.path), image.get("src", "")))
        number = f"{self.here.number}.{self.figures}" if self.here.number else str(self.figures)
        return f"#picture({_string('/docs/' + path)}, {_string(image.get('alt', ''))}, {_string(number)}, [{caption}])"

    def bullets(self, element: HtmlElement, after: list[HtmlElement]) -> str:
        items = ", ".join(f"[{self.blocks(item)}]" for item in element if item.tag == "li")
        if element.tag == "ol":
            return f"#enum(start: {element.get('start', '1')}, {items})"
        return f"#list({items})"

    def table(self, element: HtmlElement, after: list[HtmlElement]) -> str:
        rows = [list(row) for row in element.iter("tr")]
        columns = max(map(len, rows))
        lengths = [[len(self.readable(row[i])) for row in rows if i < len(row)] for i in range(columns)]
        # A column of short entries is as wide as they are; the others share the rest by how much they hold.
        widths = ["auto" if max(column) <= 22 else f"{(sum(column) / len(column)) ** 0.5:.1f}fr" for column in lengths]
        sides = [(cell.get("style") or "").partition("text-align:")[2].strip(" ;") or "left" for cell in rows[0]]
        cells = ", ".join(f"[{self.inside(cell)}]" for row in rows[1:] for cell in row)
        for link in [link for cell in rows[0] for link in cell.iter("a")]:
            link.drop_tag()  # the head stands again on the next page, where PDF/UA allows no link
        header = ", ".join(f"[{self.inside(cell)}]" for cell in rows[0])
        return f"#grid-table(({', '.join(widths)},), ({', '.join(sides)},), ({header},), ({cells},))"

    def readable(self, cell: HtmlElement) -> str:
        """The text of a cell, with formulas at about their width."""
        return (
            "".join(t for t in cell.itertext() if not t.isspace())
            if not cell.xpath(".//*[@data-tex]")
            else "m" * (len(cell.text_content()) * 2 // 5)
        )

    def code(self, element: HtmlElement, after: list[HtmlElement]) -> str:
        language = next(
            (
                c.removeprefix("language-")
                for e in element.iter()
                for c in e.get("class", "").split()
                if c.startswith("language-")
            ),
            "text",
        )
        return f"#raw(block: true, lang: {_string(language)}, {_string(element.text_content().rstrip())})"

    def division(self, element: HtmlElement, after: list[HtmlElement]) -> str:
        classes = set(element.get("class", "").split())
        if "arithmatex" in classes:
            return self.equation(element)
        if "glyphs" in classes:
            return ""
        if "admonition" in classes:
            title = element[0]
            element.remove(title)
            kind = next(iter(classes - {"admonition"}), "note")
            return f"#note({_string(kind)}, [{self.inside(title)}])[{self.blocks(element)}]"
        if "tabbed-set" in classes:
            labels = list(element.iter("label"))
            blocks = [block for block in element.iter("div") if "tabbed-block" in block.get("class", "")]
            return "\n\n".join(
                f"#tab[{self.inside(label)}]\n{self.blocks(block)}" for label, block in zip(labels, blocks, strict=True)
            )
        if "highlight" in classes or "language-" in element.get("class", ""):
            return self.code(element, after)
        for name in ("short-answer", "entry", "facts"):
            if name in classes:
                return f"#{name}[{self.blocks(element)}]"
        return self.blocks(element)

    def folded(self, element: HtmlElement, after: list[HtmlElement]) -> str:
        summary = element[0]
        element.remove(summary)
        return f"#note({_string(element.get('class', 'note'))}, [{self.inside(summary)}])[{self.blocks(element)}]"

    def definitions(self, element: HtmlElement, after: list[HtmlElement]) -> str:
        found = []
        for child in element:
            if child.tag == "dt":
                found.append(
                    f"#claim[{self.inside(child)}]"
                    + (_label(f"{self.here.path}#{child.get('id')}") if child.get("id") else "")
                )
            else:
                found.append(f"#pad(left: 1em)[{self.blocks(child)}]")
        return "\n".join(found)

    def equation(self, element: HtmlElement) -> str:
        box = element.xpath(".//*[@data-tex]")[0]
        label = element.get("id")
        number = ""
        if label:
            concept, n = self.setter.kb.labels[label]
            number = f"{self.here.number}.{n}" + ("✓" if concept.checked(label) else "")
        body, alt = self.formula(box)
        return f"#displayed({_string(alt)}, {_string(number)}, $ {body} $)"

    def formula(self, element: HtmlElement) -> tuple[str, str]:
        """The formula as Typst, and in words for those who listen."""
        tree = element.xpath(".//math")[0]
        mathml = html.tostring(tree, encoding="unicode", method="xml", with_tail=False)
        try:
            return formulas.typst(mathml), mathematics.plain(mathml) or element.get("data-tex", "")
        except formulas.FormulaError as error:
            self.mistakes.append(f"docs/{self.here.path}:1: {error}: {element.get('data-tex')}")
            return "", ""

    # Inline: each expression ends with a semicolon, or a parenthesis in the text after it would be its argument.

    def inside(self, element: HtmlElement) -> str:
        """What stands in an element that holds text."""
        return (
            _text(element.text)
            + "".join(self.inline(child) + _text(child.tail) for child in element if isinstance(child.tag, str))
        ).strip()

    def inline(self, element: HtmlElement) -> str:
        classes = set(element.get("class", "").split())
        if element.get("data-tex") is not None:
            body, alt = self.formula(element)
            return f"#formula({_string(alt)}, ${body}$);"
        if classes & {"headerlink", "mathml"} or element.tag in ("script", "input", "svg"):
            return ""
        if element.tag == "code":
            return f"#raw({_string(element.text_content())});"
        if element.tag == "br":
            return " #linebreak(); "
        if element.tag == "a":
            return self.link(element, classes) + ";"
        if element.tag == "img":
            self.mistakes.append(
                f"docs/{self.here.path}:1: a figure stands in a paragraph of its own: {element.get('src')}"
            )
            return ""
        if element.tag not in _INLINE:
            self.mistakes.append(f"docs/{self.here.path}:1: the book has no form for <{element.tag}>")
            return ""
        inner = _text(element.text) + "".join(
            self.inline(child) + _text(child.tail) for child in element if isinstance(child.tag, str)
        )
        anchor = f"#metadata(none){_label(self.here.path + '#' + element.get('id'))};" if element.get("id") else ""
        return anchor + (f"{_INLINE[element.tag]}[{inner}];" if _INLINE[element.tag] else inner)

    def link(self, element: HtmlElement, classes: set[str]) -> str:
        href, text = element.get("href", ""), self.inside(element)
        if href.startswith("#"):
            href = f"/{self.here.path}{href}"
        target = self.places.get(href.removeprefix("/")) if href.startswith("/") else None
        if "eqref" in classes:
            return self.equation_reference(href.partition("#")[2], target)
        if "term" in classes:
            return self.term(href.partition("#")[2], target, text)
        if target and "citation" in classes:
            return f"#cited({_string(target)})[{text}]"
        if target:
            return f"#to({_string(target)})[{text}]"
        if href.startswith("/"):
            page, mark, anchor = href.removeprefix("/").partition("#")
            address = page.removesuffix("index.md").removesuffix(".md")
            href = (
                self.setter.edition.site
                + (address + "/" if page.endswith(".md") and address and not address.endswith("/") else address)
                + mark
                + anchor
            )
        return f"#link({_string(href)})[{text}]"

    def term(self, term: str, target: str | None, text: str) -> str:
        """A mention of a term; the index has the first one of each numbered chapter, and the chapter on it in bold."""
        body = f"#cited({_string(target)})[{text}]" if target else f"#[{text}]"
        if term in self.indexed or not self.here.number:
            return body
        self.indexed.add(term)
        main = self.setter.kb.terms[term].concept == posixpath.basename(self.here.path).removesuffix(".md")
        return f"#mention({_string(term)}, {str(main).lower()})" + body

    def equation_reference(self, label: str, target: str | None) -> str:
        concept, n = self.setter.kb.labels[label]
        if not target:
            return f"#[({_text(concept.title)}, {n})]"
        return f"#eqref({_string(target)})[({self.numbers[concept.path]}.{n})]"


def _string(text: str) -> str:
    """A string literal; JSON's is Typst's but for characters outside ASCII, which stay as they are."""
    return json.dumps(text, ensure_ascii=False)


def _label(name: str) -> str:
    return f"#label({_string(name)})"


def _text(text: str | None) -> str:
    """Text as Typst markup: every character with a meaning is escaped; quotes become typographical ones."""
    return "".join(
        f"\\{c}" if c in _SPECIAL else c for c in " ".join(f" {text or ''} ".split(" ")).replace("\n", " ")[1:-1]
    )


def _roman(number: int) -> str:
    pairs: Iterable[tuple[int, str]] = ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))
    found = ""
    for value, letters in pairs:
        while number >= value:
            found, number = found + letters, number - value
    return found


_SPECIAL: Final = frozenset("\\#$*_`<>@=-+/~[]{}")
_INLINE: Final[Mapping[str, str]] = {
    "strong": "#strong",
    "b": "#strong",
    "em": "#emph",
    "i": "#emph",
    "small": "#small",
    "sup": "#super",
    "sub": "#sub",
    "kbd": "#raw",
    "span": "",
    "p": "",
}
_BLOCKS: Final[Mapping[str, Callable[[_Walk, HtmlElement, list[HtmlElement]], str]]] = {
    **dict.fromkeys(("h2", "h3", "h4"), _Walk.heading),
    "p": _Walk.paragraph,
    "ul": _Walk.bullets,
    "ol": _Walk.bullets,
    "table": _Walk.table,
    "pre": _Walk.code,
    "div": _Walk.division,
    "details": _Walk.folded,
    "dl": _Walk.definitions,
    "blockquote": lambda walk, element, _: f"#quote(block: true)[{walk.blocks(element)}]",
    "hr": lambda *_: "#line(length: 100%, stroke: 0.4pt)",
}
