"""The canonical question index: every question once, with its other wordings and its answers at two depths."""

from __future__ import annotations

from dataclasses import dataclass

from knowledge import prose
from knowledge.concepts import Level
from knowledge.mistakes import Mistake, at


@dataclass(frozen=True, kw_only=True)
class ListenFor:
    """The interviewer's side: what a good answer must contain, and what gives a weak one away."""

    strong: tuple[str, ...]
    weak: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A canonical question.

    Attributes:
        id: a short slug, never changed once published.
        also: other wordings; one wording belongs to one question only.
        concept: the concept that it belongs to, written or planned.
        see: concepts, or sections of them as `concept#anchor`, that treat it in depth.
        seeds: the raw questions of the seed documents that it covers.
        short: the answer in one breath, at most 50 words.
        answer: the full answer, 80 to 250 words of Markdown.
        follow_ups: ids of questions an interviewer would ask next.
        sources: keys of the bibliography.
        formerly: ids that it had before; their addresses lead here.
    """

    id: str
    question: str
    also: tuple[str, ...]
    level: Level
    concept: str
    see: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    short: str
    answer: str
    listen_for: ListenFor
    follow_ups: tuple[str, ...]
    sources: tuple[str, ...]
    formerly: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The path of its page below `docs/`."""
        return f"questions/{self.id}.md"

    @property
    def wordings(self) -> tuple[str, ...]:
        """The question as we put it, then as others do."""
        return (self.question, *self.also)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A raw question that no canonical question covers, and why."""

    seed: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class QuestionIndex:
    """The file `questions.yml`."""

    questions: tuple[Question, ...]
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SeedDocument:
    """A document that the knowledge base grew out of; its questions by their reference, such as `000:Q1`."""

    id: str
    title: str
    description: str
    questions: tuple[str, ...]


def check_lengths(question: Question) -> list[Mistake]:
    """Return what is wrong with the number of wordings and the lengths of the answers."""
    mistakes = []
    short, full = len(prose.words(question.short)), len(prose.words(question.answer))
    if len(question.also) < 3:
        mistakes.append(at(question.question, f"{len(question.also)} other wordings in “also”: give at least 3"))
    if short > 50:
        mistakes.append(at(question.short, f"“short” has {short} words: at most 50"))
    if not 60 <= full <= 270:  # the guide says 80 to 250 words; formulas count for nothing here
        mistakes.append(at(question.answer, f"“answer” has {full} words beside its formulas: 60 to 270"))
    return mistakes
