"""Notebooks: the experiments, each a page with its results that `scripts/notebooks` wrote from a script beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from knowledge.mistakes import Mistake, Text, at
from knowledge.reading import read

#: The paths of their pages.
PAGE = re.compile(r"docs/notebooks/(?!index\.md)([^/]+)\.md")


@dataclass(frozen=True, kw_only=True)
class FrontMatter:
    """What a notebook says of itself between its `---` lines."""

    title: str
    description: str
    concepts: tuple[str, ...]
    formerly: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """An experiment: its page with the results, and the script that it was run from.

    Attributes:
        concepts: the concept pages that it is evidence for, which link to it.
        formerly: ids that it had before; their addresses lead here.
        body: the Markdown below the front matter, which starts on line `body.line` of `body.path`.
    """

    id: str
    title: str
    description: str
    concepts: tuple[str, ...]
    formerly: tuple[str, ...]
    body: Text
    script: str

    @property
    def path(self) -> str:
        """The page's path below `docs/`."""
        return f"notebooks/{self.id}.md"


@cache
def load(path: str, page: bytes, script: bytes | None) -> tuple[Notebook | None, list[Mistake]]:
    """Read the notebook at `docs/notebooks/<id>.md` and the script that it was run from."""
    if script is None:
        return None, [Mistake(path, 1, f"no script: write {path.removesuffix('.md')}.py and run scripts/notebooks")]
    try:
        text, source = page.decode("utf-8").replace("\r\n", "\n"), script.decode("utf-8")
    except UnicodeDecodeError:
        return None, [Mistake(path, 1, "not UTF-8: save page and script as UTF-8")]
    parts = _FRONT_MATTER.match(text)
    if not parts:
        return None, [Mistake(path, 1, "no front matter: start the script with `# ---`, title, description, concepts")]
    reading = read(parts[1], FrontMatter, path, first_line=2)
    if reading.value is None:
        return None, reading.mistakes
    front, mistakes = reading.value, [*reading.mistakes]
    if len(front.description) > 160:
        mistakes.append(at(front.description, f"the description has {len(front.description)} characters: at most 160"))
    return (
        Notebook(
            id=Text(PAGE.fullmatch(path)[1], path, 1),  # type: ignore[index]
            title=front.title,
            description=front.description,
            concepts=front.concepts,
            formerly=front.formerly,
            body=Text(text[parts.end() :], path, text[: parts.end()].count("\n") + 1),
            script=source,
        ),
        mistakes,
    )


_FRONT_MATTER = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
