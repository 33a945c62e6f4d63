"""A volume as an EPUB 3: its chapters as XHTML with MathML, its figures as SVG."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

from lxml import etree, html
from lxml.html import HtmlElement

from knowledge.archive import zipped
from knowledge.book.typesetting import Edition, ToHtml
from knowledge.book.volumes import Chapter, Volume
from knowledge.model import KnowledgeBase

_MATHML: Final = "http://www.w3.org/1998/Math/MathML"
_SVG: Final = "http://www.w3.org/2000/svg"


def epub(
    volume: Volume,
    kb: KnowledgeBase,
    to_html: ToHtml,
    edition: Edition,
    figures: Mapping[str, bytes],
    timestamp: int,
    template: Callable[..., bytes],
) -> bytes:
    """Return the volume as an EPUB.

    Args:
        volume: what to publish.
        kb: names the equations that it numbers.
        to_html: turns the chapters' Markdown into HTML.
        edition: version, date and address.
        figures: the SVG files by path below `docs/`.
        timestamp: of the files in it, in seconds since 1970; the same content and timestamp make the same bytes.
        template: fills a template, given by name, with values.
    """
    bodies = {c.path: html.fragment_fromstring(to_html(c.markdown), "div") for c in volume.chapters}
    files = {chapter.path: f"chapter-{i:03}.xhtml" for i, chapter in enumerate(volume.chapters, 1)}
    places = dict(files)
    for chapter in volume.chapters:
        places |= {
            f"{chapter.path}#{e.get('id')}": f"{files[chapter.path]}#{e.get('id')}"
            for e in bodies[chapter.path].iter()
            if e.get("id")
        }
        places |= {path: f"{files[chapter.path]}#{anchor}" for path, anchor in chapter.aliases.items()}
    numbers = {chapter.path: chapter.number for chapter in volume.chapters}
    images: dict[str, str] = {}
    content: dict[str, bytes] = {}
    for chapter in volume.chapters:
        page = _Page(kb, chapter, places, numbers, edition.site, images)
        page.clean(bodies[chapter.path])
        body = html.tostring(bodies[chapter.path], encoding="unicode", method="xml")
        content[files[chapter.path]] = template("epub/page.xhtml.j2", chapter=chapter, body=body)
    for path, name in images.items():
        content[name] = _svg(figures[path])
    content["style.css"] = template("epub/style.css")
    content["nav.xhtml"] = template("epub/nav.xhtml.j2", volume=volume, files=files)
    package = template("epub/package.opf.j2", volume=volume, edition=edition, files=files, items=_items(content))
    return zipped(
        [
            ("mimetype", b"application/epub+zip"),
            ("META-INF/container.xml", template("epub/container.xml")),
            ("EPUB/package.opf", package),
            *((f"EPUB/{name}", content[name]) for name in sorted(content)),
        ],
        timestamp,
    )


class _Page:
    """One chapter on its way to XHTML."""

    def __init__(
        self,
        kb: KnowledgeBase,
        chapter: Chapter,
        places: Mapping[str, str],
        numbers: Mapping[str, str],
        site: str,
        images: dict[str, str],
    ) -> None:
        self.kb, self.here, self.places, self.numbers, self.site, self.images = (
            kb,
            chapter,
            places,
            numbers,
            site,
            images,
        )

    def clean(self, body: HtmlElement) -> None:
        """Make an element fit for an EPUB, in place."""
        for element in body.xpath(
            ".//*[self::script or self::input or @class='glyphs' or @class='headerlink' or @class='equation-aside']"
        ):
            element.drop_tree()
        for element in body.xpath(".//*[@data-tex]"):
            self.formula(element)
        for link in body.xpath(".//a[@href]"):
            self.link(link)
        for image in body.xpath(".//img"):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(self.here.path), image.get("src")))
            self.images.setdefault(path, f"image-{len(self.images) + 1:03}.svg")
            image.set("src", self.images[path])
        for tabs in body.xpath(".//div[contains(@class, 'tabbed-set')]"):
            labels = [label.text_content() for label in tabs.xpath("./div[@class='tabbed-labels']/label")]
            for labels_box in tabs.xpath("./div[@class='tabbed-labels']"):
                labels_box.drop_tree()
            for label, block in zip(labels, tabs.xpath("./div/div[contains(@class, 'tabbed-block')]"), strict=True):
                title = html.Element("p", {"class": "tab"})
                title.text = label
                block.insert(0, title)
        for details in body.xpath(".//details"):
            details.tag = "div"
            details.attrib.pop("open", None)
            details.set("class", "admonition")
            details[0].tag = "p"
            details[0].set("class", "admonition-title")
        for element in body.iter():
            for name in [name for name in element.attrib if name.startswith("data-") or name in ("hidden", "markdown")]:
                del element.attrib[name]

    def formula(self, element: HtmlElement) -> None:
        """Leave the MathML of a formula alone, and the number of a displayed one."""
        math = element.xpath(".//math")[0]
        math.tail = None
        math.set("alttext", element.get("data-tex", ""))
        math.set("xmlns", _MATHML)
        for child in list(element):
            element.remove(child)
        element.text = None
        element.append(math)
        box = element.getparent()
        if box is not None and "arithmatex" in box.get("class", "").split() and box.tag == "div":
            box.set("class", "arithmatex-display")
            if box.get("id"):
                concept, n = self.kb.labels[box.get("id")]
                number = html.Element("span", {"class": "number"})
                number.text = f"({self.numbers[concept.path]}.{n})"
                box.append(number)

    def link(self, link: HtmlElement) -> None:
        """Let a link lead to its place in the book, or to the site."""
        href = link.get("href", "")
        if href.startswith("#"):
            href = f"/{self.here.path}{href}"
        if not href.startswith("/"):
            return
        target = self.places.get(href.removeprefix("/"))
        if "eqref" in link.get("class", "").split():
            concept, n = self.kb.labels[href.partition("#")[2]]
            link.text = f"({self.numbers[concept.path]}.{n})" if target else f"({concept.title}, {n})"
        page, mark, anchor = href.removeprefix("/").partition("#")
        page = re.sub(r"(?:index)?\.md$", "/", page).lstrip("/")
        link.set("href", target or f"{self.site}{page}{mark}{anchor}")
        link.attrib.pop("title", None)


def _svg(content: bytes) -> bytes:
    """A figure without the document type, which a reader would have to fetch, and without its drawer's metadata."""
    tree = etree.fromstring(content)
    for element in list(tree.iter(f"{{{_SVG}}}path", f"{{{_SVG}}}metadata")):
        if element.tag.endswith("metadata"):
            cast(etree._Element, element.getparent()).remove(element)
        elif "d" not in element.attrib:  # the glyph of a space; EPUB demands the attribute
            element.set("d", "")
    return etree.tostring(tree, encoding="utf-8", xml_declaration=True)


def _items(content: Mapping[str, bytes]) -> Iterator[dict[str, str]]:
    """Yield what the package says of each file."""
    for name, body in sorted(content.items()):
        found = "nav" if name == "nav.xhtml" else "mathml" if b"<math" in body else ""
        yield {"name": name, "type": _TYPES[name.rpartition(".")[2]], "property": found}


_TYPES: Final = {"xhtml": "application/xhtml+xml", "svg": "image/svg+xml", "css": "text/css"}
