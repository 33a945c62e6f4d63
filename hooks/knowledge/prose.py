"""Looks at Markdown source without rendering it: what is prose, and which citations, links and labels it has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

from knowledge.mistakes import Text

HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
LABEL = re.compile(r"\\label\{([^{}]*)\}")
EQUATION_REFERENCE = re.compile(r"\\eqref\{([^{}]*)\}")
#: `[text](kind:id#anchor)`, a link by id; see `links`.
ID_LINK = re.compile(r"\]\(((?:concept|question|term):[^)\s]*)\)")
#: `[@key]`, `[@key; @other]`, or `@key` in running text; see `citations`.
CITATION_GROUP = re.compile(r"\[(@[a-z][\w-]*(?:;\s*@[a-z][\w-]*)*)\]")
CITATION = re.compile(r"(?<![\w@/.\\])@([a-z][\w-]*\w)")

_CODE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,}).*?(?:^(?P=indent)(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<![`\\])(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"
    r"|<!--.*?-->",
    re.DOTALL | re.MULTILINE,
)
_MATHEMATICS = re.compile(
    r"(?<!\\)\$\$.+?\$\$|(?<![\\$])\$(?!\s)[^$\n]*?(?:\n(?!\s*\n)[^$\n]*?)*(?<![\s\\])\$(?!\d)", re.DOTALL
)
_CODE_OR_MATHEMATICS = re.compile(f"{_CODE.pattern}|{_MATHEMATICS.pattern}", re.DOTALL | re.MULTILINE)
_MARKUP = re.compile(r"!?\[([^\]]*)\]\([^)]*\)(?:\{[^}]*\})?|<[^>\s][^>]*>|^[ \t]*(?:[!?]{3}\+?|===).*$", re.MULTILINE)
_WORD = re.compile(r"\w[\w’'-]*")


@cache
def without_code(markdown: str) -> str:
    """Return the source with code and comments blanked out, every other character in its place."""
    return _CODE.sub(_blank, markdown)


@cache
def without_mathematics(markdown: str) -> str:
    """Return the source with code, comments and mathematics blanked out, every other character in its place."""
    return _MATHEMATICS.sub(_blank, without_code(markdown))


def outside_code_and_mathematics(markdown: str, change: Callable[[str], str]) -> str:
    """Return the source with `change` applied to what is neither code, nor a comment, nor mathematics."""
    pieces, end = [], 0
    for match in _CODE_OR_MATHEMATICS.finditer(markdown):
        pieces += [change(markdown[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*pieces, change(markdown[end:])])


def words(markdown: str) -> list[str]:
    """Return the words of the prose: no code, mathematics, link targets or tags."""
    return _WORD.findall(_MARKUP.sub(lambda m: m[1] or " ", without_mathematics(markdown)))


def found(pattern: re.Pattern[str], text: str, source: str) -> Iterator[Text]:
    """Yield the pattern's first group, each with the line it stands on.

    Args:
        pattern: a pattern with one group.
        text: `source`, perhaps with parts blanked out.
        source: a `Text`, for its path and first line.
    """
    path, first = getattr(source, "path", "?"), getattr(source, "line", 1)
    for match in pattern.finditer(text):
        yield Text(match[1], path, first + text.count("\n", 0, match.start(1)))


def citations(markdown: str) -> list[Text]:
    """Return the citation keys in the text, in order, repetitions included."""
    return list(found(CITATION, without_mathematics(markdown), markdown))


def id_links(markdown: str) -> list[Text]:
    """Return the targets of the links by id in the text."""
    return list(found(ID_LINK, without_mathematics(markdown), markdown))


def equation_references(markdown: str) -> list[Text]:
    r"""Return the labels that the text refers to by `\eqref`."""
    return list(found(EQUATION_REFERENCE, without_mathematics(markdown), markdown))


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])
