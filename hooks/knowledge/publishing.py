"""What has been published: addresses that must lead somewhere for ever, and when each question was new or changed.

`scripts/edition` records it in `docs/_data/published.yml` with each release. A page, term or correction that gets
another id keeps the old one in its `formerly`, and the old address leads to the new one.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from knowledge.mistakes import Mistake, at

if TYPE_CHECKING:
    from knowledge.model import KnowledgeBase
    from knowledge.questions import Question

PATH = "docs/_data/published.yml"


@dataclass(frozen=True, kw_only=True)
class PublishedQuestion:
    """A question as it was last published: when it was added and changed, and a hash of its text."""

    id: str
    added: datetime.date
    changed: datetime.date
    content: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """The file `published.yml`: addresses from the site's root, and the questions."""

    addresses: tuple[str, ...] = ()
    questions: tuple[PublishedQuestion, ...] = ()


def addresses(kb: KnowledgeBase) -> Iterator[str]:
    """Yield every address that readers may keep."""
    yield from (_address(concept.body.path.removeprefix("docs/")) for concept in kb.concepts.values())
    yield from (_address(notebook.path) for notebook in kb.notebooks.values())
    yield from (_address(question.path) for question in kb.questions.values())
    yield from (f"glossary/#{term.id}" for term in kb.terms.values())
    yield from (f"reference/corrections/#{correction.id}" for correction in kb.corrections.values())


def redirects(kb: KnowledgeBase) -> Mapping[str, str]:
    """Return where each former address leads."""
    found: dict[str, str] = {}
    for concept in kb.concepts.values():
        found |= {f"concepts/{old}/": _address(concept.path) for old in concept.formerly}
    for notebook in kb.notebooks.values():
        found |= {f"notebooks/{old}/": _address(notebook.path) for old in notebook.formerly}
    for question in kb.questions.values():
        found |= {f"questions/{old}/": _address(question.path) for old in question.formerly}
    for term in kb.terms.values():
        found |= {f"glossary/#{old}": f"glossary/#{term.id}" for old in term.formerly}
    for correction in kb.corrections.values():
        found |= {
            f"reference/corrections/#{old}": f"reference/corrections/#{correction.id}" for old in correction.formerly
        }
    return found


def mistakes(kb: KnowledgeBase) -> Iterator[Mistake]:
    """Yield the published addresses that lead nowhere, and the former ones that are in use."""
    here, former = set(addresses(kb)), redirects(kb)
    for address in kb.published.addresses:
        if address not in here and address not in former and not kb.broken:
            old = address.rstrip("/").rpartition("#" if "#" in address else "/")[2]
            if address.startswith("concepts/"):
                old = address.removeprefix("concepts/").rstrip("/")
            yield at(
                address,
                f"“{address}” has been published and leads nowhere: put `formerly: [{old}]` into what it became",
            )
    for address in sorted(here & former.keys()):
        yield Mistake(
            PATH, 1, f"“{address}” is a former address (`formerly`) of “{former[address]}” and in use: rename one"
        )


def recorded(kb: KnowledgeBase, date: datetime.date) -> Published:
    """Return what is published once the present content is, on a date."""
    before = {question.id: question for question in kb.published.questions}
    questions = []
    for question in kb.questions.values():
        known, content = before.get(question.id), _content(question)
        changed = known.changed if known and known.content == content else date
        questions.append(
            PublishedQuestion(id=question.id, added=known.added if known else date, changed=changed, content=content)
        )
    return Published(
        addresses=tuple(sorted({*kb.published.addresses, *addresses(kb)})),
        questions=tuple(sorted(questions, key=lambda question: question.id)),
    )


def news(kb: KnowledgeBase, count: int) -> list[tuple[PublishedQuestion, Question]]:
    """Return the questions that were added or changed last, at most so many, the last one first."""
    known = [(q, kb.questions[q.id]) for q in kb.published.questions if q.id in kb.questions]
    return sorted(known, key=lambda pair: (pair[0].changed, pair[0].added, pair[0].id), reverse=True)[:count]


def _address(path: str) -> str:
    return path.removesuffix(".md") + "/"


def _content(question: Question) -> str:
    return hashlib.sha256("\n".join((question.question, question.short, question.answer)).encode()).hexdigest()[:12]
