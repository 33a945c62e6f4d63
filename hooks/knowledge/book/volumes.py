"""Which books there are, and the parts and chapters of each, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from knowledge.model import KnowledgeBase
from knowledge.pages import Pages


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A chapter.

    Attributes:
        path: the page of the site that it stands for, below `docs/`; its anchors are those of that page.
        number: as printed, such as "12"; empty for front and back matter.
        markdown: beginning with the title, a heading of level 1.
        aliases: what else a link may call a place in it: page of the site -> anchor here.
    """

    path: str
    number: str = ""
    title: str
    markdown: str
    aliases: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Chapters that belong together."""

    title: str
    chapters: tuple[Chapter, ...]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A book. Links to what is not in it lead to the site."""

    file: str
    title: str
    subtitle: str
    parts: tuple[Part, ...]
    index: bool

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        """All its chapters, in order."""
        return tuple(chapter for part in self.parts for chapter in part.chapters)


def volumes(kb: KnowledgeBase, pages: Pages) -> tuple[Volume, Volume]:
    """Return the whole book, and the smaller one of questions and answers alone."""
    numbers = (str(n) for n in range(1, 10_000))
    concepts = [
        Part(title=area.title, chapters=tuple(_concepts(kb, pages, area.id, numbers)))
        for area in kb.areas.values()
        if kb.in_area(area.id)
    ]
    back = (
        _page(pages, "reference/notation.md", "Notation", kb.pages["docs/reference/notation.md"].split("---\n", 2)[-1]),
        _page(pages, "reference/corrections.md", "Corrections", pages.book("corrections")),
        _page(pages, "glossary.md", "Glossary", pages.book("glossary")),
        _page(pages, "reference/bibliography.md", "Bibliography", pages.book("bibliography", kb.references.values())),
    )
    book = Volume(
        file="deep-learning-answers",
        title="Deep Learning Answers",
        subtitle="Concepts, questions and answers",
        parts=(
            Part(title="", chapters=(_page(pages, "preface", "How to read this book", pages.book("preface")),)),
            *concepts,
            Part(title="Questions and answers", chapters=tuple(_questions(kb, pages, numbers))),
            *([Part(title="Experiments", chapters=tuple(_notebooks(kb, pages, numbers)))] if kb.notebooks else []),
            Part(title="Reference", chapters=back),
        ),
        index=True,
    )
    cited = {key for q in kb.questions.values() for key in q.sources}
    questions = Volume(
        file="questions-and-answers",
        title="Deep Learning Answers",
        subtitle=f"{len(kb.questions)} questions and their answers",
        parts=(
            Part(title="", chapters=tuple(_questions(kb, pages, iter(str(n) for n in range(1, 10_000))))),
            Part(
                title="",
                chapters=(
                    _page(
                        pages,
                        "reference/bibliography.md",
                        "Bibliography",
                        pages.book("bibliography", [r for r in kb.references.values() if r.key in cited]),
                    ),
                ),
            ),
        ),
        index=False,
    )
    return book, questions


def _page(pages: Pages, path: str, title: str, markdown: str) -> Chapter:
    return Chapter(path=path, title=title, markdown=markdown)


def _concepts(kb: KnowledgeBase, pages: Pages, area: str, numbers: Iterator[str]) -> Iterator[Chapter]:
    for concept in kb.in_area(area):
        yield Chapter(
            path=concept.path, number=next(numbers), title=concept.title, markdown=pages.book("concept", concept)
        )


def _questions(kb: KnowledgeBase, pages: Pages, numbers: Iterator[str]) -> Iterator[Chapter]:
    for topic, questions in kb.by_topic.items():
        yield Chapter(
            path=f"faq/topics/{topic}.md",
            number=next(numbers),
            title=f"Questions: {kb.areas[topic].title}",
            markdown=pages.book("questions", questions),
            aliases={q.path: q.id for q in questions},
        )


def _notebooks(kb: KnowledgeBase, pages: Pages, numbers: Iterator[str]) -> Iterator[Chapter]:
    for notebook in sorted(kb.notebooks.values(), key=lambda n: n.title):
        yield Chapter(
            path=notebook.path, number=next(numbers), title=notebook.title, markdown=pages.book("notebook", notebook)
        )
