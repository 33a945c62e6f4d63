"""The bibliography: reads BibTeX, and says how a work is cited and described."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from string import ascii_lowercase

import latexcodec  # noqa: F401 (knows the encoding latex)
from pybtex.database import BibliographyData, Entry, Person
from pybtex.database.input.bibtex import Parser
from pybtex.errors import capture
from pybtex.exceptions import PybtexError
from pybtex.scanner import PybtexSyntaxError

from knowledge.mistakes import Mistake, Text
from knowledge.reading import Reading


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A work of the bibliography.

    Attributes:
        key: the citation key.
        authors: "Family, Given", in order; `more_authors` tells that the record ends in "et al.".
        year: of publication, as the record gives it.
        suffix: "a", "b", … where two works have the same authors and year.
        url: where to find it, from its DOI, arXiv id or address.
    """

    key: str
    authors: tuple[str, ...]
    more_authors: bool
    title: str
    venue: str
    year: str
    url: str
    suffix: str = ""

    @property
    def names(self) -> str:
        """The authors as in a citation: "He et al.", "Glorot & Bengio", "Goh"."""
        families = [author.partition(",")[0] for author in self.authors]
        if len(families) > 2 or self.more_authors:
            return f"{families[0]} et al."
        return " & ".join(families)

    @property
    def people(self) -> str:
        """The authors, the first one under the family name; of many the first ten."""
        shown = [*self.authors[:1], *(" ".join(reversed(author.split(", ", 1))) for author in self.authors[1:10])]
        return ", ".join(shown) + (", et al." if self.more_authors or len(self.authors) > 10 else "")

    @property
    def parenthetical(self) -> str:
        """As cited in parentheses: "He et al., 2015"."""
        return f"{self.names}, {self.year}{self.suffix}"

    @property
    def narrative(self) -> str:
        """As cited in running text: "He et al. (2015)"."""
        return f"{self.names.replace(' & ', ' and ')} ({self.year}{self.suffix})"

    @property
    def before_title(self) -> str:
        """What a full reference says before the title."""
        return f"{self.people.rstrip('.')}. {self.year}{self.suffix}."

    @property
    def after_title(self) -> str:
        """What a full reference says after the title, and the mark that ends it."""
        return ("" if self.title.endswith(("?", "!")) else ".") + (f" {self.venue}." if self.venue else "")

    @property
    def full(self) -> str:
        """The full reference in plain text, which a bibliography sorts by."""
        return f"{self.before_title} {self.title}{self.after_title}"


@cache
def load(path: str, source: bytes) -> Reading[dict[str, Reference]]:
    """Read a BibTeX file into references by key."""
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError:
        return Reading(None, [Mistake(path, 1, "not UTF-8: save the file as UTF-8")], frozenset())
    lines = {m[1]: text.count("\n", 0, m.start()) + 1 for m in _ENTRY.finditer(text)}
    mistakes: list[Mistake] = []
    data = BibliographyData()
    with capture() as errors:
        try:
            data = Parser(encoding="utf-8").parse_string(text)
        except PybtexError as error:
            errors.append(error)
        except (ValueError, RecursionError, IndexError, AttributeError) as error:  # pybtex on bytes that are no BibTeX
            mistakes.append(Mistake(path, 1, f"not valid BibTeX: {error}"))
    for problem in errors:
        line = problem.lineno if isinstance(problem, PybtexSyntaxError) else 0
        mistakes.append(Mistake(path, line or 1, f"not valid BibTeX: {problem.args[0]}"))
    references = {}
    for key, entry in data.entries.items():
        where = Text(key, path, lines.get(key, 1))
        missing = [field for field in ("title", "year") if not entry.fields.get(field)]
        missing += [] if entry.persons.get("author") else ["author"]
        if missing and not errors:
            mistakes.append(Mistake(path, where.line, f"“{key}” has no {' and no '.join(missing)}"))
        if not missing:
            references[str(key)] = _reference(where, entry)
            if left := re.search(r"\\\S\w*", references[str(key)].full):
                mistakes.append(Mistake(path, where.line, f"“{key}” has `{left[0]}`: write it as a letter or in words"))
    return Reading(_told_apart(references), mistakes, frozenset(lines.keys() - references.keys()))


_ENTRY = re.compile(r"^[ \t]*@\w+\s*\{\s*([^\s,}]+)", re.MULTILINE)


def _reference(key: Text, entry: Entry) -> Reference:
    people = [_name(person) for person in entry.persons["author"]]
    fields = entry.fields
    venue = next((fields[f] for f in ("booktitle", "journal", "publisher", "howpublished") if fields.get(f)), "")
    url = fields.get("url", "")
    if fields.get("eprint"):
        url = f"https://arxiv.org/abs/{fields['eprint']}"
    if fields.get("doi"):
        url = f"https://doi.org/{fields['doi']}"
    return Reference(
        key=key,
        authors=tuple(p for p in people if p != "others"),
        more_authors="others" in people,
        title=_plain(fields["title"]).rstrip("."),
        venue=_plain(venue),
        year=fields["year"],
        url=url,
    )


def _name(person: Person) -> str:
    family = " ".join(person.prelast_names + person.last_names)
    given = " ".join(person.first_names + person.middle_names)
    return _plain(f"{family}, {given}" if given else family)


def _plain(text: str) -> str:
    return " ".join(text.encode().decode("latex+utf-8").replace("{", "").replace("}", "").replace("--", "–").split())


def _told_apart(references: dict[str, Reference]) -> dict[str, Reference]:
    """Give works with the same authors and year the suffixes a, b, … in the order of their titles."""
    alike: defaultdict[tuple[str, str], list[Reference]] = defaultdict(list)
    for reference in references.values():
        alike[reference.names, reference.year].append(reference)
    for same in alike.values():
        for letter, reference in zip(ascii_lowercase, sorted(same, key=lambda r: r.title), strict=False):
            if len(same) > 1:
                references[reference.key] = replace(reference, suffix=letter)
    return references
