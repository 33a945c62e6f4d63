"""A deck for Anki: a card for each question and each term, in a deck of their area.

The ids of decks, models and notes never change, so that a new edition updates the cards that a learner already has.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import genanki
from lxml import html

from knowledge.archive import zipped
from knowledge.book.typesetting import ToHtml
from knowledge.model import KnowledgeBase

_NAME = "Deep Learning Answers"
_STYLE = """\
.card { font-family: sans-serif; font-size: 18px; text-align: left; max-width: 40em; margin: 0 auto; }
.front { font-weight: bold; font-size: 20px; }
.short { border-left: 3px solid #0b4f8a; padding-left: 0.7em; }
.more { color: #666; font-size: 14px; }
"""


def deck(kb: KnowledgeBase, to_html: ToHtml, site: str, timestamp: int) -> bytes:
    """Return the collection as an `.apkg`; the same content and timestamp (seconds since 1970) make the same bytes."""

    def rendered(markdown: str) -> str:
        return _for_anki(to_html(markdown), lambda path: site + path.removesuffix(".md") + "/")

    model = genanki.Model(
        _id("model"),
        _NAME,
        fields=[{"name": name} for name in ("Front", "Short", "Full", "Link")],
        templates=[
            {
                "name": "Card",
                "qfmt": '<div class="front">{{Front}}</div>',
                "afmt": '{{FrontSide}}<hr id="answer"><div class="short">{{Short}}</div>{{Full}}'
                '<p class="more">{{Link}}</p>',
            }
        ],
        css=_STYLE,
    )
    decks: dict[str, genanki.Deck] = {}

    def add(area: str, key: str, fields: list[str], tags: list[str]) -> None:
        title = kb.areas[area].title if area in kb.areas else "Glossary"
        if area not in decks:
            decks[area] = genanki.Deck(_id(f"deck {area}"), f"{_NAME}::{title}")
        decks[area].add_note(genanki.Note(model=model, fields=fields, tags=tags, guid=genanki.guid_for(_NAME, key)))

    for q in kb.questions.values():
        area = kb.area_of(q)
        link = f'<a href="{site}questions/{q.id}/">Sources and follow-ups</a>'
        add(
            area,
            f"question {q.id}",
            [rendered(q.question), rendered(q.short), rendered(q.answer), link],
            ["question", f"area::{area}", f"level::{q.level}", f"concept::{q.concept}"],
        )
    for t in kb.terms.values():
        abbreviations = f" ({', '.join(t.abbreviations)})" if t.abbreviations else ""
        link = f'<a href="{site}glossary/#{t.id}">Glossary</a>'
        concept = [f"concept::{t.concept}"] if t.concept else []
        add("", f"term {t.id}", [f"{t.name}{abbreviations}", rendered(t.definition), "", link], ["term", *concept])
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "deck.apkg")
        genanki.Package([decks[area] for area in sorted(decks)]).write_to_file(str(package), timestamp=float(timestamp))
        with zipfile.ZipFile(io.BytesIO(package.read_bytes())) as archive:
            return zipped([(name, archive.read(name)) for name in sorted(archive.namelist())], timestamp)


def _for_anki(rendered: str, url: Callable[[str], str]) -> str:
    r"""HTML as Anki shows it: formulas between `\(` and `\)`, links to the site, and no links to terms."""
    tree = html.fragment_fromstring(rendered, "div")
    for element in tree.xpath(
        ".//*[self::script or @class='glyphs' or @class='equation-aside' or @class='headerlink']"
    ):
        element.drop_tree()
    for element in tree.xpath(".//*[@data-tex]"):
        display = element.tag == "span" and element.get("class") == "formula"
        tex = element.get("data-tex")
        for child in list(element):
            element.remove(child)
        element.text = rf"\[{tex}\]" if display else rf"\({tex}\)"
        del element.attrib["data-tex"]
    for link in tree.xpath(".//a[@href]"):
        href = link.get("href")
        if "term" in link.get("class", "").split() or "citation" in link.get("class", "").split():
            link.drop_tag()
        elif href.startswith("/"):
            page, mark, anchor = href.removeprefix("/").partition("#")
            link.set("href", url(page) + mark + anchor)
    content = str(html.tostring(tree, encoding="unicode"))
    return content.removeprefix("<div>").removesuffix("</div>").replace("<p></p>", "").strip()


def _id(name: str) -> int:
    """A number for Anki that a name always has."""
    return 1 << 30 | int(hashlib.sha256(f"{_NAME} {name}".encode()).hexdigest()[:7], 16)
