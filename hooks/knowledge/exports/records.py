"""Questions and terms as JSON; the schemas beside this file describe the fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from knowledge.book.typesetting import Edition
from knowledge.model import KnowledgeBase
from knowledge.plaintext import Plaintext

LICENSE: Final = "CC-BY-4.0"
SCHEMAS: Final = {name: Path(__file__).with_name(name) for name in ("questions.schema.json", "terms.schema.json")}


def questions(kb: KnowledgeBase, plain: Plaintext, edition: Edition) -> str:
    """Return all questions with their answers, as Markdown and, for the short ones, as plain text."""
    return _document(
        "questions",
        edition,
        [
            {
                "id": q.id,
                "url": f"{edition.site}questions/{q.id}/",
                "question": q.question,
                "also": list(q.also),
                "level": q.level,
                "area": kb.area_of(q),
                "concept": q.concept,
                "short": q.short.strip(),
                "short_text": plain(q.short),
                "answer": q.answer.strip(),
                "strong_answer": list(q.listen_for.strong),
                "weak_answer": list(q.listen_for.weak),
                "follow_ups": list(q.follow_ups),
                "sources": [
                    {"key": key, "text": kb.references[key].full, "url": kb.references[key].url} for key in q.sources
                ],
            }
            for q in kb.questions.values()
        ],
    )


def terms(kb: KnowledgeBase, plain: Plaintext, edition: Edition) -> str:
    """Return all terms with their definitions, as Markdown and as plain text."""
    return _document(
        "terms",
        edition,
        [
            {
                "id": t.id,
                "url": f"{edition.site}glossary/#{t.id}",
                "name": t.name,
                "abbreviations": list(t.abbreviations),
                "also": list(t.also),
                "definition": t.definition.strip(),
                "definition_text": plain(t.definition),
                "concept": t.concept,
                "related": list(t.related),
            }
            for t in kb.terms.values()
        ],
    )


def _document(kind: str, edition: Edition, records: list[dict[str, object]]) -> str:
    head = {
        "$schema": f"{edition.site}downloads/{kind}.schema.json",
        "version": edition.version,
        "date": edition.date.isoformat(),
        "license": LICENSE,
    }
    return json.dumps({**head, kind: records}, ensure_ascii=False, indent=1) + "\n"
