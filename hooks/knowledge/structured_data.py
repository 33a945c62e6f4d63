"""Structured data for search engines: schema.org's FAQPage and DefinedTermSet as JSON-LD."""

from __future__ import annotations

import json
from collections.abc import Iterable

from knowledge.model import KnowledgeBase
from knowledge.plaintext import Plaintext
from knowledge.questions import Question


def faq_page(questions: Iterable[Question], plain: Plaintext) -> str:
    """Return the script element that lists questions with their short answers."""
    return _script(
        {
            "@type": "FAQPage",
            "mainEntity": [
                {
                    "@type": "Question",
                    "name": plain(q.question),
                    "acceptedAnswer": {"@type": "Answer", "text": plain(q.short)},
                }
                for q in questions
            ],
        }
    )


def defined_terms(kb: KnowledgeBase, plain: Plaintext, site_url: str) -> str:
    """Return the script element that lists the glossary's terms."""
    return _script(
        {
            "@type": "DefinedTermSet",
            "name": "Glossary of deep learning",
            "hasDefinedTerm": [
                {
                    "@type": "DefinedTerm",
                    "@id": f"{site_url}glossary/#{term.id}",
                    "name": term.name,
                    **({"alternateName": [*term.abbreviations, *term.also]} if term.names[1:] else {}),
                    "description": plain(term.definition),
                }
                for term in kb.terms.values()
            ],
        }
    )


def _script(data: dict[str, object]) -> str:
    text = json.dumps({"@context": "https://schema.org", **data}, ensure_ascii=False).replace("</", "<\\/")
    return f'<script type="application/ld+json">{text}</script>'
