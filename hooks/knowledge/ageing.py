"""What ages: pages reviewed long ago, and claims that name the time or the version that they hold for."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass

from knowledge import prose
from knowledge.concepts import Concept
from knowledge.model import KnowledgeBase
from knowledge.questions import Question

#: After so many days a review or a dated claim is old.
OLD = 365


@dataclass(frozen=True)
class DatedClaim:
    """A sentence that says for which year or version it holds; `year` is None where it names a version alone."""

    place: Concept | Question
    sentence: str
    year: int | None


def old_reviews(kb: KnowledgeBase, today: datetime.date) -> list[Concept]:
    """Return the concept pages that were last reviewed more than `OLD` days ago, the oldest first."""
    old = [c for c in kb.concepts.values() if (today - c.reviewed).days > OLD]
    return sorted(old, key=lambda c: (c.reviewed, c.id))


def dated_claims(kb: KnowledgeBase) -> list[DatedClaim]:
    """Return the sentences with "as of …" and the like on pages and in answers, the oldest year first."""
    claims = [DatedClaim(c, s, y) for c in kb.by_prerequisites for s, y in _dated(c.body)]
    claims += [DatedClaim(q, s, y) for q in kb.questions.values() for s, y in _dated(q.answer)]
    return sorted(claims, key=lambda claim: (claim.year or 9999, claim.place.id))


def _dated(markdown: str) -> Iterator[tuple[str, int | None]]:
    for match in _DATED.finditer(prose.without_mathematics(markdown)):
        year = _YEAR.search(match[0])
        yield " ".join(markdown[match.start() : match.end()].split()), int(year[0]) if year else None


_DATED = re.compile(r"(?<=[\s(])(?:[A-Z][^.\n|]*\b)?[Aa]s of (?:[A-Z\d]|version)(?:[^.\n|]|\.\d)*")
_YEAR = re.compile(r"\b20\d\d\b")
