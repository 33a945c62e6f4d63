"""A mistake in the content: where it was made, what is wrong, and the nearest right word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class Text(str):
    """A string that remembers the file and the line it was read from."""

    path: str
    line: int

    def __new__(cls, value: str, path: str, line: int) -> Text:
        """Take the text, the file's path, and the line."""
        text = super().__new__(cls, value)
        text.path, text.line = path, line
        return text


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake, printed as `path:line: message`."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def at(where: str, message: str) -> Mistake:
    """Return the mistake `message`, made where the text `where` was read."""
    return Mistake(getattr(where, "path", "?"), getattr(where, "line", 0), message)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean “x”?` for the known word nearest to `word`, else an empty string."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean “{near[0]}”?" if near else ""


def unknown(where: str, kind: str, known: Iterable[str]) -> Mistake:
    """Return the mistake that `where` names a `kind` that does not exist."""
    return at(where, f"unknown {kind} “{where}”{did_you_mean(where, known)}")
