"""Turns a Markdown text of the data into plain text, for tooltips, descriptions, structured data and search."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from knowledge import prose
from knowledge.model import KnowledgeBase


class Plaintext:
    """A function from Markdown to plain text, with readable formulas and citations; it remembers its results."""

    def __init__(self, kb: KnowledgeBase, formula: Callable[[str], str]) -> None:
        """Take the knowledge base, and the function that turns TeX into readable Unicode."""
        self.kb, self.formula = kb, formula
        self._known: dict[str, str] = {}

    def __call__(self, markdown: str) -> str:
        """Return a Markdown text as plain text in one line."""
        if markdown not in self._known:
            self._known[markdown] = self._plain(markdown)
        return self._known[markdown]

    def _plain(self, markdown: str) -> str:
        kept: list[str] = []

        def keep(text: str) -> str:
            kept.append(text)
            return f"\x02{len(kept) - 1}\x03"

        text = _FORMULA.sub(lambda m: keep(self.formula(m[1] or m[2])), str(markdown))
        text = _CODE.sub(lambda m: keep(m[2].strip()), text)
        text = prose.CITATION_GROUP.sub(
            lambda m: (
                "(" + "; ".join(self.kb.references[key].parenthetical for key in re.findall(r"[\w-]+", m[1])) + ")"
            ),
            text,
        )
        text = prose.CITATION.sub(lambda m: self.kb.references[m[1]].narrative, text)
        text = _LINK.sub(r"\1", text)
        text = _MARKUP.sub("", text)
        text = _EMPHASIS.sub(r"\2", _EMPHASIS.sub(r"\2", text))
        text = _ESCAPE.sub(r"\1", text)
        text = html.unescape(re.sub(r"\x02(\d+)\x03", lambda m: kept[int(m[1])], text))
        return " ".join(text.split())


_FORMULA = re.compile(r"(?<!\\)\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$]+?)(?<![\s\\])\$", re.DOTALL)
_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)(?:\{[^}]*\})?")
_MARKUP = re.compile(
    r"^[ \t]*(?:[-*+][ \t]+|\d+\.[ \t]+|>[ \t]?|#{1,6}[ \t]+|\|[-:| ]+\|[ \t]*$)|</?[a-zA-Z][^>]*>", re.MULTILINE
)
_EMPHASIS = re.compile(r"(\*\*|\*|__|(?<!\w)_)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!$@|-])")
