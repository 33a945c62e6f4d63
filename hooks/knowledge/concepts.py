"""Concepts: the areas, the pages that are written (their front matter and body), and those that are planned."""

from __future__ import annotations

import ast
import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from markdown.extensions.toc import slugify

from knowledge import mathematics, prose
from knowledge.mistakes import Mistake, Text, at
from knowledge.reading import read

Level = Literal["basic", "intermediate", "advanced"]
LEVELS: tuple[Level, ...] = ("basic", "intermediate", "advanced")

#: Sections that the site adds to every concept page from the data.
GENERATED_SECTIONS = ("experiments", "misconceptions", "questions", "references")


@dataclass(frozen=True, kw_only=True)
class Area:
    """A part of the field: one folder of concept pages, one topic of the FAQ."""

    id: str
    title: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A concept whose page is not written yet; questions may belong to it already."""

    id: str
    title: str
    area: str


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """The file `taxonomy.yml`: areas in reading order, and planned concepts."""

    areas: tuple[Area, ...]
    planned: tuple[Planned, ...]


@dataclass(frozen=True, kw_only=True)
class FrontMatter:
    """What a concept page says of itself between its `---` lines."""

    title: str
    description: str
    area: str
    level: Level
    prerequisites: tuple[str, ...]
    reviewed: datetime.date
    formerly: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A written concept page.

    Attributes:
        formerly: places that it had before, as `area/id`; their addresses lead here.
        body: the Markdown below the front matter, which starts on line `body.line` of `body.path`.
        anchors: the ids of its sections.
        labels: the labels of its equations, in order; an equation's number is its place in this list.
        unlabeled: the section of each displayed formula that has no label.
        checks: the names of the checks in its runnable twin.
    """

    id: str
    title: str
    description: str
    area: str
    level: Level
    prerequisites: tuple[str, ...]
    reviewed: datetime.date
    formerly: tuple[str, ...]
    body: Text
    anchors: frozenset[str]
    labels: tuple[Text, ...]
    unlabeled: tuple[str, ...]
    checks: frozenset[str]

    @property
    def path(self) -> str:
        """The page's path below `docs/`."""
        return f"concepts/{self.area}/{self.id}.md"

    @property
    def twin(self) -> str:
        """The path of the page's runnable twin below `docs/`."""
        return f"concepts/{self.area}/{self.id}.py"

    @cached_property
    def minutes(self) -> int:
        """Reading time in minutes, at 200 words a minute and 12 seconds for each displayed equation."""
        return max(1, round(len(prose.words(self.body)) / 200 + len(self.labels) / 5))

    def checked(self, label: str) -> bool:
        """Return whether the twin has a check of the equation: `check_<label>`, with underscores."""
        return check_name(label) in self.checks


def check_name(label: str) -> str:
    """Return the name that a twin gives to its check of the equation `label`."""
    return "check_" + label.replace("-", "_")


@cache
def load(path: str, page: bytes, twin: bytes | None) -> tuple[Concept | None, list[Mistake]]:
    """Read the concept page at `docs/concepts/<area>/<id>.md` and its twin's source."""
    area, name = path.split("/")[-2:]
    concept_id = Text(name.removesuffix(".md"), path, 1)
    try:
        text = page.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None, [Mistake(path, 1, "not UTF-8: save the file as UTF-8")]
    parts = _FRONT_MATTER.match(text)
    if not parts:
        return None, [Mistake(path, 1, "no front matter: start the page with `---`, title, description, …, `---`")]
    reading = read(parts[1], FrontMatter, path, first_line=2)
    front, mistakes = reading.value, [*reading.mistakes]
    checks, twin_mistakes = _checks(path, twin)
    mistakes += twin_mistakes
    if front is None:
        return None, mistakes
    if front.area != area:
        mistakes.append(at(front.area, f"area is “{front.area}” but the page lies in the folder “{area}”"))
    if len(front.description) > 160:
        mistakes.append(at(front.description, f"the description has {len(front.description)} characters: at most 160"))
    body = Text(text[parts.end() :], path, text[: parts.end()].count("\n") + 1)
    headings = prose.HEADING.finditer(prose.without_code(body))
    return Concept(
        id=concept_id,
        title=front.title,
        description=front.description,
        area=front.area,
        level=front.level,
        prerequisites=front.prerequisites,
        reviewed=front.reviewed,
        formerly=front.formerly,
        body=body,
        anchors=frozenset([slugify(m[2], "-") for m in headings] + list(GENERATED_SECTIONS)),
        labels=tuple(prose.found(prose.LABEL, prose.without_code(body), body)),
        unlabeled=tuple(_unlabeled(body)),
        checks=checks,
    ), mistakes


_FRONT_MATTER = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)


def _unlabeled(body: Text) -> Iterator[str]:
    headings = list(prose.HEADING.finditer(prose.without_code(body)))
    for formula in mathematics.formulas(body):
        if formula.display and not mathematics.split_label(formula.tex)[1]:
            above = [m[2] for m in headings if body.count("\n", 0, m.start()) + 1 < formula.line]
            yield above[-1] if above else ""


def _checks(path: str, twin: bytes | None) -> tuple[frozenset[str], list[Mistake]]:
    twin_path = path.removesuffix(".md") + ".py"
    if twin is None:
        return frozenset(), [Mistake(path, 1, f"no runnable twin: write {twin_path}")]
    try:
        tree = ast.parse(twin)
    except (SyntaxError, ValueError) as error:
        return frozenset(), [Mistake(twin_path, getattr(error, "lineno", 1) or 1, f"not valid Python: {error}")]
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    names += [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
    return frozenset(name for name in names if name.startswith("check_")), []
