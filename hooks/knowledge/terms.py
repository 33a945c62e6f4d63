"""The glossary's terms, and the matcher that finds them in running text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Term:
    """A term of the glossary.

    Attributes:
        name: in lower case unless it is a proper name, as case matters in matching.
        abbreviations: such as BN; matched exactly.
        also: other names; regular plurals are matched by themselves.
        definition: one sentence of Markdown that stands alone.
        concept: the concept page that treats it.
        related: ids of other terms.
        formerly: ids that it had before.
    """

    id: str
    name: str
    abbreviations: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    definition: str
    concept: str | None = None
    related: tuple[str, ...] = ()
    formerly: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All its names and abbreviations."""
        return (self.name, *self.abbreviations, *self.also)


@dataclass(frozen=True)
class Mention:
    """A place in a text, `text[start:end]`, that names a term."""

    start: int
    end: int
    term: str


@dataclass
class _Node:
    """A place in the trie: the words that may follow, and the names that end here, each with its term."""

    next: dict[str, _Node] = field(default_factory=dict)
    names: list[tuple[str, str]] = field(default_factory=list)


class Matcher:
    """Finds terms in text: the longest name wins, plurals match, and case counts where a name has capitals.

    "Adam" is found as "Adam" alone; "dropout" also as "Dropout". Words are looked up one by one in
    a trie, so the time does not depend on the number of terms.
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        self._trie = _Node()
        for term in terms:
            for name in term.names:
                for form in _forms(name):
                    node = self._trie
                    for word in _WORD.findall(form.casefold()):
                        node = node.next.setdefault(word, _Node())
                    node.names.append((form, term.id))

    def mentions(self, text: str) -> Iterator[Mention]:
        """Yield the mentions in `text` from left to right, none overlapping."""
        words = list(_WORD.finditer(text))
        i = 0
        while i < len(words):
            mention, length = self._longest(text, words, i)
            if mention:
                yield mention
            i += length

    def _longest(self, text: str, words: list[re.Match[str]], first: int) -> tuple[Mention | None, int]:
        node, best, length = self._trie, None, 1
        for i in range(first, len(words)):
            if i > first and not _JOINT.fullmatch(text, words[i - 1].end(), words[i].start()):
                break
            following = node.next.get(words[i][0].casefold())
            if not following:
                break
            node = following
            start, end = words[first].start(), words[i].end()
            for form, term in node.names:
                if _same(form, text[start:end]) and not _inside_compound(text, start, end):
                    best, length = Mention(start, end, term), i - first + 1
        return best, length


_WORD = re.compile(r"[^\W_]+")
_JOINT = re.compile(r"[ \n]{1,2}|[-‐–’'/]")


def _forms(name: str) -> list[str]:
    """Return the name and its plurals."""
    forms = [name, name + "s"]
    if name.endswith(("s", "x", "z", "ch", "sh")):
        forms = [name, name + "es"]
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        forms = [name, name[:-1] + "ies"]
    if name.endswith(("ix", "ex")):
        forms.append(name[:-2] + "ices")
    if name.endswith("is"):
        forms.append(name[:-2] + "es")
    return forms


def _same(form: str, found: str) -> bool:
    """Return whether `found` is `form`, where spaces and hyphens are one, and so is case if `form` has no capitals."""
    a, b = _WORD.findall(form), _WORD.findall(found)
    if any(c.isupper() for word in a for c in word.removesuffix("s")):
        return a == b
    return [w.casefold() for w in a] == [w.casefold() for w in b]


def _inside_compound(text: str, start: int, end: int) -> bool:
    """Return whether the place is part of a longer compound, as "norm" in "norm-free", a path or a placeholder."""
    before, after = text[start - 1 : start], text[end : end + 2]
    return before in ("_", "/", ".", "\x02", "@", "#", "-", "\\") or bool(re.match(r"[_\x03@/]|[-.]\w", after))
