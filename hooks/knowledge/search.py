"""The entries of the site's search: what can be found, under which words, and what a result shows of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from markdown.extensions.toc import slugify

from knowledge import prose
from knowledge.concepts import Concept
from knowledge.model import KnowledgeBase
from knowledge.plaintext import Plaintext

Kind = Literal["question", "concept", "section", "term", "notebook", "misconception", "notation"]

#: Everyday words and the field's words for them, both ways.
EVERYDAY_WORDS = Path(__file__).with_name("everyday_words.yml")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something that a reader can find: one result of the search.

    Attributes:
        url: where it stands, from the root of the site.
        page: the title of the page that a section is part of.
        wordings: other wordings of a question, other names of a term or concept.
        short: the answer in one breath, the description or the definition.
        text: the rest of its text.
    """

    kind: Kind
    url: str
    title: str
    page: str = ""
    level: str = ""
    wordings: tuple[str, ...] = ()
    short: str = ""
    text: str = ""


def entries(kb: KnowledgeBase, plain: Plaintext, url: Callable[[str], str]) -> Iterator[Entry]:
    """Yield everything that can be found; `url` gives the address of a page by its path below `docs/`."""
    for question in kb.questions.values():
        yield Entry(
            kind="question",
            url=url(question.path),
            title=plain(question.question),
            page=kb.concept_title(question.concept),
            level=question.level,
            wordings=tuple(map(plain, question.also)),
            short=plain(question.short),
            text=_text(question.answer, plain),
        )
    names = {t.concept: t.names for t in kb.terms.values() if _is_title(kb, t.concept, t.names)}
    for concept in kb.concepts.values():
        first, *sections = _sections(concept)
        yield Entry(
            kind="concept",
            url=url(concept.path),
            title=plain(concept.title),
            level=concept.level,
            wordings=names.get(concept.id, ()),
            short=plain(concept.description),
            text=_text(first.text, plain),
        )
        for section in sections:
            yield Entry(
                kind="section",
                url=f"{url(concept.path)}#{section.anchor}",
                title=plain(section.heading),
                page=plain(concept.title),
                level=concept.level,
                text=_text(section.text, plain),
            )
    for notebook in kb.notebooks.values():
        yield Entry(
            kind="notebook",
            url=url(notebook.path),
            title=plain(notebook.title),
            page=", ".join(kb.concept_title(concept) for concept in notebook.concepts),
            short=plain(notebook.description),
            text=_text(notebook.body, plain),
        )
    for term in kb.terms.values():
        yield Entry(
            kind="term",
            url=f"{url('glossary.md')}#{term.id}",
            title=term.name,
            wordings=term.names[1:],
            short=plain(term.definition),
        )
    for correction in kb.corrections.values():
        yield Entry(
            kind="misconception",
            url=f"{url('reference/corrections.md')}#{correction.id}",
            title=plain(correction.claim),
            page=kb.concept_title(correction.concept),
            short=plain(correction.right),
            text=plain(correction.why),
        )
    for path, text in kb.pages.items():
        if path.startswith("docs/reference/"):
            page, *sections = _split(text)
            for section in sections:
                yield Entry(
                    kind="notation",
                    url=f"{url(path.removeprefix('docs/'))}#{section.anchor}",
                    title=plain(section.heading),
                    page=page.heading,
                    text=_text(section.text, plain),
                )


def script(kb: KnowledgeBase, plain: Plaintext, url: Callable[[str], str]) -> str:
    """Return the index as a script that a page or a worker runs, from a server or from a file."""
    index = {
        "entries": [{k: v for k, v in vars(entry).items() if v} for entry in entries(kb, plain, url)],
        "terms": [[term.names, term.abbreviations] for term in kb.terms.values()],
        "everyday": yaml.safe_load(EVERYDAY_WORDS.read_text("utf-8")),
    }
    return f"searchIndex = {json.dumps(index, ensure_ascii=False, separators=(',', ':'))}\n"


@dataclass(frozen=True)
class _Section:
    heading: str
    anchor: str
    text: str


def _sections(concept: Concept) -> list[_Section]:
    return _split(concept.body)


def _split(markdown: str) -> list[_Section]:
    """Split at the headings; the first part is what stands before them, under the title of its front matter."""
    front = _FRONT_MATTER.match(markdown)
    headings = list(prose.HEADING.finditer(prose.without_code(markdown)))
    ends = [*(m.start() for m in headings), len(markdown)]
    title = re.search(r"^title: (.*)$", front[0], re.MULTILINE) if front else None
    found = [_Section(title[1] if title else "", "", markdown[front.end() if front else 0 : ends[0]])]
    for heading, end in zip(headings, ends[1:], strict=True):
        words = markdown[heading.start(2) : heading.end(2)]
        found.append(_Section(words, slugify(words, "-"), markdown[heading.end() : end]))
    return found


def _text(markdown: str, plain: Plaintext) -> str:
    return plain(_NOT_PROSE.sub("", markdown))


def _is_title(kb: KnowledgeBase, concept: str | None, names: tuple[str, ...]) -> bool:
    """Return whether a concept page treats just the term with these names."""
    if concept is None or concept not in kb.concepts:
        return False
    title = kb.concepts[concept].title.casefold()
    return any(name.casefold() in (title, title.removesuffix("s")) for name in names)


_FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)
_NOT_PROSE = re.compile(  # code, the first words of admonitions and tabs, pictures, labels, attributes, comments
    r"^[ \t]*(`{3,}|~{3,}).*?^[ \t]*\1[ \t]*$|^[ \t]*(?:[!?]{3}\+?[ \t]+\w+|===)|!\[[^\]]*\]\([^)]*\)"
    r"|\\(?:label|eqref)\{[^}]*\}|\{[ \t]+[.#][^}]*\}|<!--.*?-->",
    re.DOTALL | re.MULTILINE,
)
