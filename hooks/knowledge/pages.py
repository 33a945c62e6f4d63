"""The generated pages as Markdown: the words stand in `templates/`, this module says which pages there are."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2

from knowledge import ageing, prose, structured_data
from knowledge.concepts import LEVELS, Concept
from knowledge.model import KnowledgeBase
from knowledge.plaintext import Plaintext
from knowledge.questions import Question

#: An entry of MkDocs' `nav`: a title with a path or with further entries.
Navigation = dict[str, Any]

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Page:
    """A generated page: its path below `docs/`, its Markdown, and the file that its edit button opens."""

    path: str
    markdown: str
    edit: str


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to take along: its size in bytes, and the date of its edition."""

    size: int
    date: datetime.date


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the pages need to know of where they are published."""

    url: str
    repository: str
    today: datetime.date
    downloads: Mapping[str, Download] = field(default_factory=dict)

    def feedback(self, question: Question) -> str:
        """Return the address of a new issue about a question, filled in."""
        body = f"Question: {self.url}questions/{question.id}/\n\nWhat is wrong, missing or unclear:\n\n"
        return f"{self.repository}/issues/new?" + urlencode(
            {"title": f"[{question.id}] ", "body": body, "labels": "content"}
        )


class Pages:
    """Renders the generated pages of a knowledge base."""

    def __init__(self, kb: KnowledgeBase, plain: Plaintext, site: Site) -> None:
        self.kb = kb
        self._context = {
            "kb": kb,
            "site": site,
            "plain": plain,
            "levels": LEVELS,
            "ageing": ageing,
            "today": site.today,
            "concept_citations": self._citations,
            "citations": lambda text: list(dict.fromkeys(map(str, prose.citations(text)))),
            "uncited": lambda said: [key for key in said.sources if key not in prose.citations(said.why)],
            "faq_page": lambda questions: structured_data.faq_page(questions, plain),
            "defined_terms": lambda: structured_data.defined_terms(kb, plain, site.url),
        }

    @cached_property
    def generated(self) -> list[Page]:
        """Every generated page."""
        return list(self._generated())

    @cached_property
    def written(self) -> dict[str, str]:
        """The Markdown of every concept page and notebook by its path, with the parts that the data adds."""
        made = {c.path: self._render("concept.md.j2", concept=c) for c in self.kb.concepts.values()}
        return made | {n.path: self._render("notebook.md.j2", notebook=n) for n in self.kb.notebooks.values()}

    def _generated(self) -> Iterator[Page]:
        yield self._page("index.md", "home.md.j2")
        yield self._page("concepts/index.md", "concepts.md.j2", edit="docs/_data/taxonomy.yml")
        yield self._page("concepts/map.md", "map.md.j2", edit="docs/_data/taxonomy.yml")
        for area in self.kb.areas.values():
            if self.kb.in_area(area.id):
                yield self._page(
                    f"concepts/{area.id}/index.md", "area.md.j2", edit="docs/_data/taxonomy.yml", area=area
                )
        for name in ("index", "a-z"):
            yield self._page(f"faq/{name}.md", f"faq_{name}.md.j2")
        yield self._page("faq/interview/index.md", "faq_interview.md.j2")
        for topic, questions in self.kb.by_topic.items():
            area = self.kb.areas[topic]
            yield self._page(f"faq/topics/{topic}.md", "faq_topic.md.j2", area=area, questions=questions)
            yield self._page(f"faq/interview/{topic}.md", "faq_interview_topic.md.j2", area=area, questions=questions)
            for before, question, after in _neighbors(questions):
                yield self._page(
                    question.path, "question.md.j2", question=question, before=before, after=after, area=area
                )
        for level in LEVELS:
            yield self._page(f"faq/levels/{level}.md", "faq_level.md.j2", level=level)
        yield self._page("glossary.md", "glossary.md.j2", edit="docs/_data/terms.yml")
        yield self._page("reference/bibliography.md", "bibliography.md.j2", edit="docs/_data/references.bib")
        yield self._page("reference/corrections.md", "corrections.md.j2", edit="docs/_data/corrections.yml")
        yield self._page("reference/checks.md", "checks.md.j2", edit="docs/_data/taxonomy.yml")
        yield self._page("reference/ageing.md", "ageing.md.j2", edit="docs/concepts")
        yield self._page("notebooks/index.md", "notebooks.md.j2", edit="docs/notebooks")
        yield self._page("downloads.md", "downloads.md.j2", edit="hooks/knowledge/downloads.py")
        yield self._page("reference/coverage.md", "coverage.md.j2", edit="docs/_data/seeds.yml")

    def notebook_navigation(self) -> list[Navigation]:
        """Return the notebooks, for MkDocs' `nav`."""
        return [{n.title: n.path} for n in sorted(self.kb.notebooks.values(), key=lambda n: n.title)]

    def book(self, template: str, content: object = None) -> str:
        """Return the Markdown of a chapter of the book, made of a concept, of questions or of references."""
        return self._render(f"book/{template}.md.j2", content=content)

    def fill(self, template: str, **values: object) -> bytes:
        """Return a template filled with values, as a file."""
        return self._render(template, **values).encode()

    def concept_navigation(self) -> list[Navigation]:
        """Return the areas and their concept pages, for MkDocs' `nav`."""
        return [{"Map": "concepts/map.md"}] + [
            {area.title: [{area.title: f"concepts/{area.id}/index.md"}, *({c.title: c.path} for c in written)]}
            for area in self.kb.areas.values()
            if (written := self.kb.in_area(area.id))
        ]

    def question_navigation(self) -> list[Navigation]:
        """Return the views of the questions, for MkDocs' `nav`."""
        topics = [(self.kb.areas[topic].title, topic) for topic in self.kb.by_topic]
        return [
            {"By topic": [{title: f"faq/topics/{topic}.md"} for title, topic in topics]},
            {"By level": [{level.capitalize(): f"faq/levels/{level}.md"} for level in LEVELS]},
            {"A to Z": "faq/a-z.md"},
            {
                "Interview view": [
                    {"Interview view": "faq/interview/index.md"},
                    *({title: f"faq/interview/{topic}.md"} for title, topic in topics),
                ]
            },
        ]

    def _citations(self, concept: Concept) -> list[str]:
        """Return the keys cited on a concept's page, in its body and in its misconceptions."""
        said = [c for c in self.kb.corrections.values() if c.concept == concept.id]
        keys = [*prose.citations(concept.body), *(key for c in said for key in c.sources)]
        return list(dict.fromkeys(map(str, keys)))

    def _page(self, path: str, template: str, edit: str = "docs/_data/questions.yml", **values: object) -> Page:
        return Page(path=path, markdown=self._render(template, **values), edit=edit)

    def _render(self, template: str, **values: object) -> str:
        return _environment().get_template(template).render({**self._context, **values})


@cache
def _environment() -> jinja2.Environment:
    """The templates, compiled once; they are read again when they change."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the templates produce Markdown
    )
    environment.filters |= {
        "json": lambda value: json.dumps(value, ensure_ascii=False),
        "size": lambda size: f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} KB",
        "plain": jinja2.pass_context(lambda context, text: context["plain"](text)),
        "alphabetical": alphabetical,
    }
    environment.tests["written"] = jinja2.pass_context(
        lambda context, place: place.partition("#")[0] in context["kb"].concepts
    )
    environment.tests["checked_on"] = lambda label, concept: concept.checked(label)
    return environment


def alphabetical(things: Iterable[object], attribute: str) -> list[tuple[str, list[object]]]:
    """Return things in alphabetical order, grouped by the first letter of an attribute."""

    def key(thing: object) -> str:
        return str(getattr(thing, attribute)).casefold()

    def letter(thing: object) -> str:
        first = key(thing)[:1].upper()
        return first if first.isalpha() else "0–9"

    ordered = sorted(things, key=lambda thing: (letter(thing) != "0–9", key(thing)))
    return [(first, list(group)) for first, group in groupby(ordered, key=letter)]


def _neighbors(questions: tuple[Question, ...]) -> Iterator[tuple[Question | None, Question, Question | None]]:
    for i, question in enumerate(questions):
        yield (questions[i - 1] if i else None), question, (questions[i + 1] if i + 1 < len(questions) else None)
