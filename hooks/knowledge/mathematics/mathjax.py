"""Formulas as SVG and MathML: MathJax in V8, inside this process, with every result kept.

`render` answers for one formula. A page writes each formula's `svg` and `mathml` where the formula stands, and each
glyph that its formulas use once, as `<path id="…" d="…"/>` in one hidden `<svg><defs>`. `Cache` is the same answer
kept in a file between processes.
"""

import atexit
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from py_mini_racer import MiniRacer

from knowledge.mathematics.tex import mistakes

_BUNDLE: Final = Path(__file__).with_name("mathjax.js")


class TexError(ValueError):
    """What MathJax says about a formula that it cannot read."""


@dataclass(frozen=True, kw_only=True)
class Formula:
    """One formula, ready for a page in HTML (neither element carries a namespace)."""

    svg: str
    """`<svg>` for the eye: sized in ex, drawn in the colour of the text, hidden from assistive software."""
    mathml: str
    """`<math>` from the same reading of the TeX, for assistive software, EPUB and `plain`."""
    glyphs: Mapping[str, str]
    """Path data by the id that the SVG refers to; an id means the same path in every formula."""


class Cache:
    """`render` with a memory in a file: read once, written by `save` when there is something new.

    An entry answers for one TeX, one mode and one bundle alone. A file that is not byte for byte what was written
    counts as absent.
    """

    def __init__(self, path: Path) -> None:
        """Read the file at `path` if it exists; it and its folder are made by `save`."""
        self._path = path
        self._bundle = sha256(_BUNDLE.read_bytes()).hexdigest()
        self._formulas = _read(path, self._bundle)
        self._new = False

    def render(self, tex: str, display: bool) -> Formula:
        """The formula, from the file or from MathJax."""
        key = sha256(json.dumps([self._bundle, tex, display]).encode()).hexdigest()
        if key not in self._formulas:
            self._formulas[key] = render(tex, display)
            self._new = True
        return self._formulas[key]

    def mistakes(self, tex: str, display: bool) -> list[str]:
        """What is wrong with a formula: what the allow-list has against it, or else MathJax."""
        found = mistakes(tex)
        if not found:
            try:
                self.render(tex, display)
            except TexError as error:
                found.append(str(error))
        return found

    def save(self) -> None:
        """Write what is new, in one step: a reader sees the old file or the new one."""
        if self._new:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _write(self._path, self._bundle, self._formulas)
            self._new = False


@cache
def render(tex: str, display: bool) -> Formula:
    r"""The formula that `tex` (without dollars and `\label`) stands for, in a line or displayed; or `TexError`."""
    answer = json.loads(str(_context().eval(f"render({json.dumps(tex)}, {json.dumps(display)})")))
    if "error" in answer:
        raise TexError(answer["error"])
    return Formula(**answer)


@cache
def _context() -> MiniRacer:
    """The one V8 of this process. Left open it would keep the process from ending."""
    context = MiniRacer()
    atexit.register(context.close)
    context.eval(_BUNDLE.read_text(encoding="utf-8"))
    return context


def _read(path: Path, bundle: str) -> dict[str, Formula]:
    """The formulas in a file that `_write` wrote for this bundle; none if it is anything else."""
    try:
        seal, body = path.read_bytes().split(b"\n", 1)
    except (OSError, ValueError):
        return {}
    if seal.decode(errors="replace") != _seal(bundle, body):
        return {}
    content = json.loads(body)
    return {
        key: Formula(svg=svg, mathml=mathml, glyphs={name: content["glyphs"][name] for name in names})
        for key, (svg, mathml, names) in content["formulas"].items()
    }


def _write(path: Path, bundle: str, formulas: Mapping[str, Formula]) -> None:
    """A line that seals the rest; then JSON with each glyph once."""
    content = {
        "glyphs": {name: data for formula in formulas.values() for name, data in formula.glyphs.items()},
        "formulas": {key: [formula.svg, formula.mathml, list(formula.glyphs)] for key, formula in formulas.items()},
    }
    body = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_seal(bundle, body).encode() + b"\n" + body)
    Path(draft).replace(path)


def _seal(bundle: str, body: bytes) -> str:
    """What a body read back must still hash to."""
    return sha256(bundle.encode() + body).hexdigest()
