r"""The mathematics in Markdown source, each formula with its line: what `pymdownx.arithmatex` finds, found without it.

A reader of sources says where a formula stands, which the rendered page no longer knows. It follows Python-Markdown's
block structure with the extensions that a page here uses (arithmatex with dollars alone, SuperFences, tabs,
admonitions, lists, definition lists, footnotes, tables, Markdown in HTML), because what a dollar means depends on the
block it stands in: `$$` opens a display only where it opens a block, and no formula leaves its paragraph, list item or
table cell. In broken Markdown, such as a fence that is never closed, the two may differ.
"""

import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from markdown.util import BLOCK_LEVEL_ELEMENTS


@dataclass(frozen=True, kw_only=True)
class SourceFormula:
    """A formula as its author wrote it."""

    tex: str
    """What stands between the dollars, without the indentation of its block and the space around it."""
    display: bool
    """Whether it stands on its own, between double dollars."""
    line: int
    """The line of the opening dollar."""


def formulas(markdown: str, first_line: int = 1) -> list[SourceFormula]:
    """Every formula of a page, in the order of its source; `first_line` is the number of the text's first line."""
    text = markdown.replace("\r\n", "\n").replace("\r", "\n").translate(_UNUSED).expandtabs(len(_TAB))
    text = _TOO_DEEP.sub("", text)
    lines = _without_html("\n".join(_without_fences(text.split("\n")))).split("\n")
    numbered = [_Line(number, line) for number, line in enumerate(lines, first_line) if line != _GONE]
    return list(_blocks(numbered))


class _Line(NamedTuple):
    """A line of a block, without what its block's containers put before it."""

    number: int
    text: str


_TAB: Final = "    "
_UNUSED: Final = dict.fromkeys(map(ord, "\x01\x02\x03\x04"))
_TOO_DEEP: Final = re.compile(r"^[ >*+\-\d.:]{100,}.*", re.MULTILINE)
"""A line within so many containers that nobody wrote it by hand."""
_GONE: Final = "\x01"
"""A line that the lines before it have swallowed."""
_STASHED: Final = "\x02"
"""Where something stands that is no mathematics and that no formula reaches across."""

_APART: Final = "\x03"
"""The same, where it is a block of its own."""

_FENCE: Final = re.compile(r"(?P<indent>[> ]*)(?P<fence>`{3,}|~{3,})[^`]*")
_HTML: Final = re.compile(
    r"^ {0,3}<(?:(?P<comment>!--)|(?P<close>/)?(?P<tag>[A-Za-z][\w-]*)(?P<attributes>(?:\s[^<>]*)?)>)", re.MULTILINE
)
_MARKDOWN_INSIDE: Final = re.compile(r"\smarkdown\b(?!\s*=\s*[\"']?0)")
_COMMENT_END: Final = re.compile(r"--!?>")
_RAW: Final = frozenset(BLOCK_LEVEL_ELEMENTS)
_NEVER_MARKDOWN: Final = frozenset({"canvas", "math", "option", "pre", "script", "style", "textarea"})
_EMPTY: Final = frozenset({"hr"})

_OPENER: Final = re.compile(
    r"""
    (?:!!!|\?{3}\+?)\ ?[\w\ -]*?(?:"(?P<title>.*?)")?\ *  # an admonition
    | ===(?:\+!|!\+|[+!])?\ +"(?P<label>.*?)"\ *           # a tab
    """,
    re.VERBOSE,
)
_HEADING: Final = re.compile(r"#{1,6}(?P<title>(?:\\.|[^\\])*?)#*")
_RULE: Final = re.compile(r" {0,3}(?:(?:- {0,2}){3,}|(?:_ {0,2}){3,}|(?:\* {0,2}){3,}) *")
_UNDERLINE: Final = re.compile(r"(?:=+|-+) *")
_ITEM: Final = re.compile(r" {0,3}(?:\d+\.|[*+-]) +(?P<text>.*)")
_NESTED_ITEM: Final = re.compile(r" {4,7}(?:\d+\.|[*+-]) +.*")
_DEFINITION: Final = re.compile(r" {0,3}: {1,3}(?P<text>.*)")
_QUOTE: Final = re.compile(r" {0,3}> ?(?P<text>.*)")
_FOOTNOTE: Final = re.compile(r" {0,3}\[\^[^\]]*\]: *(?P<text>.*)")
_ABBREVIATION: Final = re.compile(r"\*\[[^\\]*?\] ?:.*")
_ADDRESS: Final = re.compile(r" {0,3}\[[^\[\]]*\]: *\S+( *| +([\"']).*\2 *| +\(.*\) *)")

_DISPLAY: Final = re.compile(r"\$\$(?P<tex>(?:\\.|[^\\])+?)\$\$ *", re.DOTALL)
_INLINE: Final = re.compile(r"(?<!\\)(?:\\{2})*\$(?!\s)(?P<tex>(?:\\.|[^\\$\x02\x03])+?)(?<!\s)\$", re.DOTALL)
_CODE: Final = re.compile(r"(?<![\\`])(?:\\{2})*(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.DOTALL)
_UNSEEN: Final = re.compile(
    r"""
    <!--(?:(?!<!--|-->).)*-->             # a comment in a line
    | </?[a-zA-Z][^<>@ ]*(?:\ [^<>]*)?>   # a tag and its attributes
    | !\[(?:[^\[\]]|\[[^\[\]]*\])*\](?=[(\[])  # the text of an image
    | (?<=\])\((?:[^()\n]|\([^()\n]*\))*\)     # the address and title of a link
    """,
    re.DOTALL | re.VERBOSE,
)


def _without_fences(lines: Sequence[str]) -> Iterator[str]:
    """The lines with each fenced block as one line, the rest of its lines gone."""
    at = 0
    while at < len(lines):
        last = _fence_end(lines, at)
        if last is None:
            yield lines[at]
            at += 1
        else:
            yield lines[at][: len(lines[at]) - len(lines[at].lstrip("> "))] + _STASHED
            yield from [_GONE] * (last - at)
            at = last + 1


def _fence_end(lines: Sequence[str], start: int) -> int | None:
    """The line that closes the fence which opens at `start`, if one does."""
    opened = _FENCE.fullmatch(lines[start])
    if not opened:
        return None
    indent, fence = opened["indent"], opened["fence"]
    for at in range(start + 1, len(lines)):
        line = lines[at]
        prefix = line[: len(line) - len(line.lstrip("> "))] if ">" in indent else line[: len(indent)]
        content = line[len(prefix) :]
        if content.rstrip() == fence and prefix.count(">") <= indent.count(">") and prefix.strip("> ") == "":
            return at
        if line.strip() and (prefix.strip("> ") or (">" not in indent and len(prefix) < len(indent))):
            return None
    return None


def _without_html(text: str) -> str:
    """The text with comments and raw elements blank, and with elements that hold Markdown opened up."""
    holding: list[str] = []
    at = 0
    while found := _HTML.search(text, at):
        tag, end = (found["tag"] or "").lower(), found.end()
        at = end
        if found["comment"]:
            closed = _COMMENT_END.search(text, end)
            if not closed:
                continue
            end = closed.end()
        elif tag not in _RAW or (found["close"] and tag not in holding):
            continue
        elif found["close"]:
            del holding[holding.index(tag) :]
        elif _MARKDOWN_INSIDE.search(found["attributes"]) and tag not in _NEVER_MARKDOWN:
            holding.append(tag)
        elif tag not in _EMPTY and not found["attributes"].endswith("/"):
            end = _element_end(text, tag, end)
        blank = _APART + "\n" * text.count("\n", found.start(), end)
        text = text[: found.start()] + blank + text[end:]
        at = found.start() + len(blank)
    return text


def _element_end(text: str, tag: str, start: int) -> int:
    """Where the element ends whose content begins here; an element never closed takes the rest of the page."""
    depth = 1
    for other in re.finditer(rf"<(/?){re.escape(tag)}\b[^<>]*>", text[start:], re.IGNORECASE):
        depth += -1 if other[1] else 1
        if not depth:
            return start + other.end()
    return len(text)


def _blocks(lines: Sequence[_Line], opened: int = 0) -> Generator[SourceFormula, None, int]:
    """The formulas of lines in which `opened` containers are open from before; and how many are open after them.

    A container holds what follows it indented; where none is open, what is indented is code.
    """
    waiting = deque(_split(lines))
    inside: list[_Line] = []
    while waiting or inside:
        block = waiting.popleft() if waiting else []
        if block and block[0].text.startswith(_TAB):
            content, rest = _dedented(block)
            if opened:
                inside += [_Line(0, ""), *content]
            if rest:
                waiting.appendleft(rest)
            continue
        if inside:
            opened = 1 + (yield from _blocks(inside, opened - 1))
            inside = []
        if block:
            opened, rest = yield from _block(block)
            if rest:
                waiting.appendleft(rest)
    return opened


def _split(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
    """The blocks between blank lines."""
    block: list[_Line] = []
    for line in lines:
        text = line.text.removeprefix(_APART)
        if block and (text != line.text or not text.strip()):
            yield block
            block = []
        if text != line.text:
            yield [_Line(line.number, _APART)]
        if text.strip():
            block.append(_Line(line.number, text))
    if block:
        yield block


def _dedented(lines: Sequence[_Line]) -> tuple[list[_Line], list[_Line]]:
    """The indented lines at the start, one step less indented, and the others."""
    count = next((at for at, line in enumerate(lines) if not line.text.startswith(_TAB)), len(lines))
    return [_Line(line.number, line.text[len(_TAB) :]) for line in lines[:count]], list(lines[count:])


def _block(block: list[_Line]) -> Generator[SourceFormula, None, tuple[int, list[_Line]]]:
    """The formulas at the start of a block, how many containers they leave open, and the lines still to read.

    What the block is, is asked in Python-Markdown's order.
    """
    for at, line in enumerate(block):
        if opener := _OPENER.fullmatch(line.text):
            yield from _blocks(block[:at])
            yield from _inline([_Line(line.number, next(filter(None, opener.groups()), ""))])
            content, rest = _dedented(block[at + 1 :])
            return 1 + (yield from _blocks(content)), rest
    if display := _DISPLAY.fullmatch("\n".join(line.text for line in block)):
        yield SourceFormula(tex=display["tex"].strip(), display=True, line=block[0].number)
        return 0, []
    if _is_table(block):
        columns = len(_cells(block[0].text))
        for line in (block[0], *block[2:]):
            for cell in _cells(line.text)[:columns]:
                yield from _inline([_Line(line.number, cell)])
        return 0, []
    for at, line in enumerate(block):
        if heading := _HEADING.fullmatch(line.text):
            yield from _blocks(block[:at])
            yield from _inline([_Line(line.number, heading["title"])])
            return 0, block[at + 1 :]
    if len(block) > 1 and _UNDERLINE.fullmatch(block[1].text):
        yield from _inline(block[:1])
        return 0, block[2:]
    for at, line in enumerate(block):
        if _RULE.fullmatch(line.text):
            yield from _blocks(block[:at])
            return 0, block[at + 1 :]
    if _ITEM.fullmatch(block[0].text):
        return (yield from _items(block)), []
    for at, line in enumerate(block):
        if definition := _DEFINITION.fullmatch(line.text):
            for term in block[:at]:
                yield from _inline([term])
            content, rest = _dedented(block[at + 1 :])
            return 1 + (yield from _blocks([_Line(line.number, definition["text"]), *content])), rest
    for at, line in enumerate(block):
        if _QUOTE.fullmatch(line.text):
            yield from _blocks(block[:at])
            quoted = [(other, _QUOTE.fullmatch(other.text)) for other in block[at:]]
            yield from _blocks([_Line(other.number, own["text"] if own else other.text) for other, own in quoted])
            return 0, []
    for at, line in enumerate(block):
        if footnote := _FOOTNOTE.fullmatch(line.text):
            yield from _blocks(block[:at])
            following = next((n for n in range(at + 1, len(block)) if _FOOTNOTE.fullmatch(block[n].text)), len(block))
            own_lines = [_Line(other.number, other.text.removeprefix(_TAB)) for other in block[at + 1 : following]]
            opened = yield from _blocks([_Line(line.number, footnote["text"]), *own_lines])
            return 1 + opened, block[following:]
    for at, line in enumerate(block):
        if _ABBREVIATION.fullmatch(line.text) or _ADDRESS.fullmatch(line.text):
            yield from _blocks(block[:at])
            return 0, block[at + 1 :]
    yield from _inline(block)
    return 0, []


def _items(block: Sequence[_Line]) -> Generator[SourceFormula, None, int]:
    """The formulas of a list, item by item; and how many containers its last item leaves open."""
    items: list[list[_Line]] = []
    for line in block:
        item = _ITEM.fullmatch(line.text)
        nested = _NESTED_ITEM.fullmatch(line.text)
        if item:
            items.append([_Line(line.number, item["text"])])
        elif nested and not items[-1][0].text.startswith(_TAB):
            items.append([line])
        else:
            items[-1].append(line)
    opened = 0
    for lines in items:
        if lines[0].text.startswith(_TAB):
            opened = 1 + (yield from _blocks([_Line(line.number, line.text.removeprefix(_TAB)) for line in lines]))
        else:
            opened = yield from _blocks(lines)
    return 1 + opened


def _is_table(block: Sequence[_Line]) -> bool:
    """Whether a block is a header, its underline and rows."""
    if len(block) < 2 or "|" not in block[0].text or not set(block[1].text) <= set("|:- "):
        return False
    columns = len(_cells(block[0].text))
    return columns == len(_cells(block[1].text)) and (columns > 1 or all("|" in line.text for line in block))


def _cells(row: str) -> list[str]:
    """The cells of a row: a bar in code or behind a backslash is no border."""
    bars = [bar.start() for bar in re.finditer(r"(?<!\\)\|", _masked(_CODE, row))]
    cells = [row[start + 1 : end].strip(" ") for start, end in zip([-1, *bars], [*bars, len(row)], strict=True)]
    first, last = (0 if cells[0] else 1), (len(cells) if cells[-1] else -1)
    return cells[first:last]


def _inline(lines: Sequence[_Line]) -> Iterator[SourceFormula]:
    """The formulas of one run of text."""
    text = _masked(_CODE, "\n".join(line.text for line in lines))
    found = [match for match in _INLINE.finditer(text) if match["tex"]]
    plain = text
    for match in found:
        plain = plain[: match.start()] + "x" * len(match[0]) + plain[match.end() :]
    unseen = [span.span() for span in _UNSEEN.finditer(plain)]
    for match in found:
        if not any(start <= match.start() < end for start, end in unseen):
            number = lines[text.count("\n", 0, match.start())].number
            yield SourceFormula(tex=match["tex"], display=False, line=number)


def _masked(pattern: re.Pattern[str], text: str) -> str:
    """The text with every match as long as it was and empty of meaning."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", _STASHED, match[0]), text)
