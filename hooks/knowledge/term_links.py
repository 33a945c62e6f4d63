"""Glossary links, a Markdown extension: in each section the first mention of a term links to its definition.

Never in headings, code, mathematics, links, labels of tabs and the like.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString

from knowledge.model import KnowledgeBase
from knowledge.plaintext import Plaintext

_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_NEVER = _HEADINGS | {
    "a",
    "code",
    "pre",
    "kbd",
    "script",
    "style",
    "svg",
    "math",
    "label",
    "summary",
    "button",
    "th",
    "figcaption",
    "dt",
}
_NEVER_CLASSES = frozenset(("arithmatex", "admonition-title", "planned", "citations", "no-terms"))


class TermLinkExtension(Extension):
    """Links the first mention of each term in each section."""

    def __init__(self, kb: KnowledgeBase, plain: Plaintext) -> None:
        super().__init__()
        self.kb, self.plain = kb, plain

    def extendMarkdown(self, md: Markdown) -> None:
        """Register after the links by id (18), so that no link is made inside a link."""
        md.treeprocessors.register(_TermLinks(md, self.kb, self.plain), "term_links", 16)


class _TermLinks(Treeprocessor):
    def __init__(self, md: Markdown, kb: KnowledgeBase, plain: Plaintext) -> None:
        super().__init__(md)
        self.kb, self.plain = kb, plain

    def run(self, root: Element) -> None:
        self.seen: set[str] = set()
        self.visit(root)

    def visit(self, element: Element) -> None:
        if element.tag in _HEADINGS:
            # On the glossary page a section is a term's own: it does not link to itself.
            self.seen = {element.get("id", "")}
        if element.tag in _NEVER or _NEVER_CLASSES & set(element.get("class", "").split()):
            return
        children = list(element)
        if element.text:
            before, links = self.linked(element.text)
            element.text = before
            for i, link in enumerate(links):
                element.insert(i, link)
        for child in children:
            self.visit(child)
            if child.tail:
                before, links = self.linked(child.tail)
                child.tail = before
                at = list(element).index(child) + 1
                for i, link in enumerate(links):
                    element.insert(at + i, link)

    def linked(self, text: str) -> tuple[str, list[Element]]:
        """Return the text before the first link, and the links, each with its tail."""
        if isinstance(text, AtomicString):
            return text, []
        links: list[Element] = []
        before, end = text, 0
        for start, stop, term_id in self.first_mentions(text):
            if links:
                links[-1].tail = text[end:start]
            else:
                before = text[:start]
            links.append(self.link(term_id, text[start:stop]))
            end = stop
        if links:
            links[-1].tail = text[end:]
        return before, links

    def first_mentions(self, text: str) -> Iterator[tuple[int, int, str]]:
        for mention in self.kb.matcher.mentions(text):
            if mention.term not in self.seen:
                self.seen.add(mention.term)
                yield mention.start, mention.end, mention.term

    def link(self, term_id: str, text: str) -> Element:
        definition = self.plain(self.kb.terms[term_id].definition)
        link = Element("a", {"class": "term", "href": f"/glossary.md#{term_id}", "title": definition})
        link.text = AtomicString(text)
        return link
