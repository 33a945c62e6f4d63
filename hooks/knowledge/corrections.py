"""The corrections register: widespread statements that are wrong, misleading, contested or outdated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["wrong", "misleading", "contested", "outdated"]


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A correction.

    Attributes:
        claim: the statement as people make it.
        kind: what is the matter with it.
        concept: the concept on whose page it stands as a misconception.
        seeds: the raw questions of the seed documents whose answers make it.
        widespread: whether it is commonly made elsewhere.
        why: why it is wrong, with the argument or the evidence.
        right: the right statement.
        sources: keys of the bibliography.
        formerly: ids that it had before.
    """

    id: str
    claim: str
    kind: Kind
    concept: str
    seeds: tuple[str, ...] = ()
    widespread: bool = False
    why: str
    right: str
    sources: tuple[str, ...]
    formerly: tuple[str, ...] = ()
