"""Citations, a Markdown extension: `[@he2015; @glorot2010]` and, in running text, `@he2015`.

The form is pandoc's. Each work links to its entry in the bibliography and shows it on hover.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement

from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor
from markdown.util import AtomicString

from knowledge import prose
from knowledge.model import KnowledgeBase

BIBLIOGRAPHY = "/reference/bibliography.md"


class CitationExtension(Extension):
    """Turns citation keys into author-year links."""

    def __init__(self, kb: KnowledgeBase) -> None:
        super().__init__()
        self.kb = kb

    def extendMarkdown(self, md: Markdown) -> None:
        """Register after code and escapes (190, 180) and before links, which share the brackets (160)."""
        md.inlinePatterns.register(_Group(prose.CITATION_GROUP.pattern, md, self.kb), "citation_group", 166)
        md.inlinePatterns.register(_Narrative(prose.CITATION.pattern, md, self.kb), "citation", 165)


class _Citation(InlineProcessor):
    def __init__(self, pattern: str, md: Markdown, kb: KnowledgeBase) -> None:
        super().__init__(pattern, md)
        self.kb = kb

    def link(self, parent: Element, key: str, narrative: bool) -> Element:
        reference = self.kb.references[key]
        link = SubElement(parent, "a", {"class": "citation", "href": f"{BIBLIOGRAPHY}#{key}", "title": reference.full})
        link.text = AtomicString(reference.narrative if narrative else reference.parenthetical)
        return link


class _Group(_Citation):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Element | None, int | None, int | None]:  # type: ignore[override]
        keys = re.findall(r"[\w-]+", m[1])
        if not all(key in self.kb.references for key in keys):
            return None, None, None
        group = Element("span", {"class": "citations"})
        group.text = "("
        for key in keys:
            self.link(group, key, narrative=False).tail = "; "
        group[-1].tail = ")"
        return group, m.start(0), m.end(0)


class _Narrative(_Citation):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Element | None, int | None, int | None]:  # type: ignore[override]
        if m[1] not in self.kb.references:
            return None, None, None
        return self.link(Element("span"), m[1], narrative=True), m.start(0), m.end(0)
