"""Links by id, a Markdown extension: `[text](concept:adam#why-it-works)`, also `question:` and `term:`.

An id survives moves and renames of pages. A concept whose page is not written yet becomes plain
text, and turns into a link on the day it is written.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor

from knowledge.model import KnowledgeBase


def address(kb: KnowledgeBase, target: str) -> str | None:
    """Return the address `/path.md#anchor` of `kind:id#anchor`, or None for a concept that is not written."""
    kind, _, place = target.partition(":")
    name, _, anchor = place.partition("#")
    if kind == "question":
        path = kb.questions[name].path
    elif kind == "term":
        path, anchor = "glossary.md", name
    elif name in kb.concepts:
        path = kb.concepts[name].path
    else:
        return None
    return f"/{path}#{anchor}" if anchor else f"/{path}"


class LinkExtension(Extension):
    """Resolves links by id."""

    def __init__(self, kb: KnowledgeBase) -> None:
        super().__init__()
        self.kb = kb

    def extendMarkdown(self, md: Markdown) -> None:
        """Register after inline parsing (20) and before MkDocs resolves paths (0)."""
        md.treeprocessors.register(_Links(md, self.kb), "links_by_id", 18)


class _Links(Treeprocessor):
    def __init__(self, md: Markdown, kb: KnowledgeBase) -> None:
        super().__init__(md)
        self.kb = kb

    def run(self, root: Element) -> None:
        for link in root.iter("a"):
            target = link.get("href", "")
            if not target.startswith(("concept:", "question:", "term:")):
                continue
            href = address(self.kb, target)
            if href:
                link.set("href", href)
            else:
                link.tag = "span"
                del link.attrib["href"]
                link.set("class", "planned")
