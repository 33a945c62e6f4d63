"""A formula as a line of text that a person can read and a search can find: `pᵢ = e^(zᵢ)/∑ⱼ e^(zⱼ)`.

The text is for tooltips, search and descriptions. Bold, italic and sans-serif letters become plain ones, ℝ, 𝒩 and 𝔉
stay what they are, and parentheses appear where the line would otherwise say something else than the formula.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element


def plain(mathml: str) -> str:
    """The formula of a `<math>` element as text."""
    text = _joined(_pieces(ElementTree.fromstring(mathml), tight=False), tight=False)
    return " ".join(unicodedata.normalize("NFC", text).split())


class _Role(Enum):
    """What a piece of a formula is to its neighbours."""

    ATOM = auto()
    WORD = auto()
    GROUP = auto()
    FRACTION = auto()
    BIG = auto()
    BINARY = auto()
    SLASH = auto()
    RELATION = auto()
    COMMA = auto()
    OPEN = auto()
    CLOSE = auto()
    BAR = auto()
    SPACE = auto()


@dataclass(frozen=True)
class _Piece:
    """A few characters that stay together."""

    text: str
    role: _Role = _Role.ATOM


_SUPERSCRIPTS: Final = dict(
    zip("0123456789+−=()abcdefghijklmnoprstuvwxyzT⊤", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀᵀ", strict=True)
)
_SUBSCRIPTS: Final = dict(
    zip("0123456789+−=()aehijklmnoprstuvxβγρφχ", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ", strict=True)
)
_RAISED_ALREADY: Final[Mapping[str, str]] = {"∘": "°", "∗": "*"} | {sign: sign for sign in "′″‴⁗*†‡"}
_ACCENTS: Final[Mapping[str, tuple[str, str]]] = {
    "^": ("\N{COMBINING CIRCUMFLEX ACCENT}", "hat"),
    "~": ("\N{COMBINING TILDE}", "tilde"),
    "¯": ("\N{COMBINING MACRON}", "bar"),
    "→": ("\N{COMBINING RIGHT ARROW ABOVE}", "vec"),
    "←": ("\N{COMBINING LEFT ARROW ABOVE}", "vec"),
    "˙": ("\N{COMBINING DOT ABOVE}", "dot"),
    "¨": ("\N{COMBINING DIAERESIS}", "ddot"),
    "´": ("\N{COMBINING ACUTE ACCENT}", "acute"),
    "`": ("\N{COMBINING GRAVE ACCENT}", "grave"),
    "˘": ("\N{COMBINING BREVE}", "breve"),
    "ˇ": ("\N{COMBINING CARON}", "check"),
    "˚": ("\N{COMBINING RING ABOVE}", "ring"),
    "_": ("\N{COMBINING MACRON BELOW}", "underline"),
}
_SAME: Final = str.maketrans({"ˆ": "^", "˜": "~", "―": "¯", "‾": "¯", "ˉ": "¯", "\N{COMBINING RIGHT ARROW ABOVE}": "→"})
_BRACES: Final = frozenset("⏞⏟")
_SIGNS: Final[Mapping[str, _Role]] = {
    sign: role
    for role, signs in {
        _Role.BIG: "∑∏∐∫∬∭∮⋂⋃⨆⨅⋁⋀⨀⨂⨁⨄",
        _Role.BINARY: "+−±∓×÷⋅∗∘∙∩∪⊎⊓⊔∨∧⊕⊖⊗⊘⊙∖⋄⋉⋊⊞⊠◃▹",
        _Role.RELATION: "<=>∣∥:=",
        _Role.OPEN: "([{⟨⌊⌈",
        _Role.CLOSE: ")]}⟩⌋⌉",
        _Role.BAR: "|‖",
        _Role.COMMA: ",;:",
        _Role.SLASH: "/∕",
        _Role.ATOM: "∂∇∞∀∃∄¬⊤⊥∠∅√…⋯⋮⋱!′″‴⁗",
    }.items()
    for sign in signs
} | {":=": _Role.RELATION}
_WRITTEN: Final[Mapping[str, str]] = {"∣": "|", "⋅": "·", "∥": "‖", "∗": "*", "\\": "∖"}
_STYLED: Final = re.compile("GREEK|MATHEMATICAL (BOLD |ITALIC |SANS-SERIF |MONOSPACE )+(?!SCRIPT|FRAKTUR)")
_INVISIBLE: Final = frozenset(
    "\N{FUNCTION APPLICATION}\N{INVISIBLE TIMES}\N{INVISIBLE SEPARATOR}\N{INVISIBLE PLUS}\N{ZERO WIDTH SPACE}"
)
_ROOTS: Final[Mapping[str, str]] = {"2": "√", "3": "∛", "4": "∜"}
_CALLED: Final = ("log", "ln", "lg", "exp", "sin", "cos", "tan", "tr", "det")
"""Names after which a fraction is an argument and no part of a product."""
_OPERANDS: Final = frozenset({_Role.ATOM, _Role.WORD, _Role.GROUP, _Role.FRACTION, _Role.CLOSE, _Role.BAR})
_LOOSE: Final = frozenset({_Role.BINARY, _Role.RELATION})
_CLOSE_BY: Final = frozenset({_Role.SLASH, _Role.BAR})


# ---- elements into pieces -------------------------------------------------------------------------------------------


def _pieces(element: Element, tight: bool) -> list[_Piece]:
    """The pieces of an element; what only groups or changes looks gives the pieces of its children.

    `tight` leaves out the spaces around operators, as in an index.
    """
    children = list(element)
    match element.tag:
        case "mi" | "mo" | "mn" | "mtext":
            return _token(element)
        case "mphantom":
            return []
        case "mspace":
            return [] if element.get("width", "0").startswith(("-", "0em")) else [_Piece(" ", _Role.SPACE)]
        case "mtable":
            return [_table(element, "", tight)]
        case "mfrac":
            return [_fraction(children[0], children[1], element.get("linethickness") != "0")]
        case "msqrt":
            return [_Piece("√" + _enclosed(_row(children, tight), tight))]
        case "mroot":
            index = _joined(_pieces(children[1], tight=True), tight=True)
            sign = _ROOTS.get(index) or _script("", _pieces(children[1], tight=True), _SUPERSCRIPTS) + "√"
            return [_Piece(sign + _enclosed(_pieces(children[0], tight), tight))]
        case "msub" | "munder":
            return [_scripted(children[0], children[1], None, tight)]
        case "msup" | "mover":
            return [_scripted(children[0], None, children[1], tight)]
        case "msubsup" | "munderover":
            return [_scripted(children[0], children[1], children[2], tight)]
        case _:
            return _row(children, tight)


def _token(element: Element) -> list[_Piece]:
    """A letter, a number, a name, a sign or words."""
    text = "".join(map(_letter, "".join(element.itertext())))
    if not text.strip():
        return [_Piece(" ", _Role.SPACE)] if text else []
    if element.tag == "mtext" or (element.tag != "mn" and len(text) > 1 and text[0].isalpha()):
        return [_Piece(text, _Role.WORD)]
    if element.tag != "mo":
        return [_Piece(text)]
    sign = unicodedata.category(text[0]) == "Sm" or len(text) > 1
    return [_Piece(_WRITTEN.get(text, text), _SIGNS.get(text, _Role.RELATION if sign else _Role.ATOM))]


def _letter(character: str) -> str:
    """A character without bold, italics and the like; nothing for what is never seen."""
    if character in _INVISIBLE:
        return ""
    name = unicodedata.name(character, "")
    return unicodedata.normalize("NFKC", character) if _STYLED.match(name) else character


def _row(children: Sequence[Element], tight: bool) -> list[_Piece]:
    """The pieces of children side by side, with what stands between brackets as one."""
    pieces: list[_Piece] = []
    for child in children:
        while child.tag in {"mrow", "mstyle"} and len(child) == 1:
            child = child[0]
        if child.tag != "mtable":
            pieces += _pieces(child, tight)
            continue
        before = pieces[-1].text if pieces and pieces[-1].role in {_Role.OPEN, _Role.BAR} else ""
        pieces.append(_table(child, before, tight))
        if before == "{" and not "".join(children[-1].itertext()):
            pieces.append(_Piece("}", _Role.CLOSE))
    return _grouped(pieces, tight)


def _grouped(pieces: Sequence[_Piece], tight: bool) -> list[_Piece]:
    """The pieces with each pair of brackets, and each pair of bars, and what is between them as one."""
    grouped: list[_Piece] = []
    opened: list[int] = []
    for piece in pieces:
        grouped.append(piece)
        if piece.role is _Role.CLOSE:
            while opened and grouped[opened[-1]].role is _Role.BAR:
                opened.pop()
        if opened and (piece.role is _Role.CLOSE or piece.role is grouped[opened[-1]].role is _Role.BAR):
            start = opened.pop()
            grouped[start:] = [_Piece(_joined(grouped[start:], tight), _Role.GROUP)]
        elif piece.role in {_Role.OPEN, _Role.BAR}:
            opened.append(len(grouped) - 1)
    return grouped


def _fraction(above: Element, below: Element, line: bool) -> _Piece:
    """A fraction as a quotient; two numbers without a line between them as a choice."""
    top, bottom = _pieces(above, tight=False), _pieces(below, tight=False)
    if not line:
        return _Piece(f"{_joined(top, tight=False)} choose {_joined(bottom, tight=False)}", _Role.WORD)
    dividend = _joined(top, tight=False) if _is_product(top) else _enclosed(top, tight=False)
    divisor = _joined(bottom, tight=False) if _is_divisor(bottom) else _enclosed(bottom, tight=False)
    return _Piece(f"{dividend}/{divisor}", _Role.FRACTION)


def _is_product(pieces: Sequence[_Piece]) -> bool:
    """Whether one understands these before a slash without parentheses: factors, or the value of a function."""
    roles = [piece.role for piece in pieces if piece.role is not _Role.SPACE]
    return set(roles) <= {_Role.ATOM, _Role.GROUP} or roles == [_Role.WORD, _Role.GROUP]


def _is_divisor(pieces: Sequence[_Piece]) -> bool:
    """Whether one understands these after a slash without parentheses: a value, a sum of them, differentials."""
    units = [piece for piece in pieces if piece.role is not _Role.SPACE]
    roles = [piece.role for piece in units]
    match roles[1:] if roles[:1] == [_Role.BIG] else roles:
        case [_Role.ATOM | _Role.GROUP] | [_Role.ATOM | _Role.WORD, _Role.GROUP]:
            return True
        case _:
            pairs = len(roles) % 2 == 0 and set(roles) <= {_Role.ATOM}
            return pairs and all(piece.text[0] in "∂d" for piece in units[::2])


def _scripted(base: Element, below: Element | None, above: Element | None, tight: bool) -> _Piece:
    """A base with an accent, or with what stands below and above it."""
    pieces = _pieces(base, tight)
    if pieces and all(piece.role in {_Role.WORD, _Role.SPACE} for piece in pieces):
        pieces = [_Piece(_joined(pieces, tight), _Role.WORD)]
    alone = len(pieces) == 1 and pieces[0].role is not _Role.FRACTION
    barred = pieces and pieces[-1].role is _Role.BAR
    text = _joined(pieces, tight) if alone or barred else _enclosed(pieces, tight)
    role = pieces[0].role if alone else _Role.ATOM
    for script, sign, table in ((below, "_", _SUBSCRIPTS), (above, "^", _SUPERSCRIPTS)):
        if script is None:
            continue
        mark = "".join(script.itertext()).translate(_SAME) if script.tag == "mo" else ""
        mark = "_" if mark == "¯" and script is below else mark
        if mark in _BRACES:
            continue
        if mark in _ACCENTS and base.tag != "mo":
            text = _accented(text if alone else _joined(pieces, tight), mark)
        else:
            text += _script(sign, _pieces(script, tight=True), table)
    return _Piece(text, role)


def _accented(text: str, mark: str) -> str:
    """One letter under its accent; more than one in words."""
    combining, name = _ACCENTS[mark]
    return text + combining if len(text) == 1 else f"{name}({text})"


def _script(sign: str, pieces: Sequence[_Piece], table: Mapping[str, str]) -> str:
    """An index or exponent: in small characters if all of it exists in them, else after its sign."""
    text = _joined(pieces, tight=True).strip()
    small = _RAISED_ALREADY if sign == "^" and set(text) <= set(_RAISED_ALREADY) else table
    if set(text) <= set(small) and not any(piece.role is _Role.WORD for piece in pieces):
        return "".join(small[character] for character in text)
    one = [piece.role for piece in pieces if piece.role is not _Role.SPACE] in ([_Role.WORD], [_Role.GROUP])
    return sign + text if len(text) == 1 or (one and " " not in text) else f"{sign}({text})"


def _table(table: Element, before: str, tight: bool) -> _Piece:
    """A matrix as `a, b; c, d`, cases as `a if b; c if d`, equations one after the other."""
    rows = [[_row(list(cell), tight) for cell in row] for row in table]
    if table.get("displaystyle") == "true":
        return _Piece("; ".join(_joined(list(chain.from_iterable(cells)), tight) for cells in rows))
    between = " " if before == "{" else ", "
    text = "; ".join(between.join(_joined(cell, tight) for cell in cells) for cells in rows)
    column = all(len(cells) == 1 for cells in rows)
    return _Piece(text) if before or (tight and column) else _Piece(f"[{text}]")


# ---- pieces into a line ---------------------------------------------------------------------------------------------


def _enclosed(pieces: Sequence[_Piece], tight: bool) -> str:
    """The pieces in parentheses, unless they are one thing."""
    text = _joined(pieces, tight)
    alone = not pieces or (len(pieces) == 1 and pieces[0].role in {_Role.ATOM, _Role.GROUP, _Role.WORD})
    return text if alone else f"({text})"


def _joined(pieces: Sequence[_Piece], tight: bool) -> str:
    """The pieces as text, with a space wherever a reader wants one."""
    text = ""
    before: _Piece | None = None
    for piece in pieces:
        if piece.role is _Role.FRACTION and before and before.text.startswith(_CALLED):
            piece = _Piece(f"({piece.text})", _Role.GROUP)
        if piece.role is _Role.BINARY and (before is None or before.role not in _OPERANDS):
            piece = _Piece(piece.text, _Role.OPEN)  # a sign, such as a minus at the start
            gap = before is not None and before.role in {_Role.RELATION, _Role.COMMA} and not tight
        else:
            gap = before is not None and _apart(before, piece, tight)
        text += " " * gap + piece.text
        if piece.role is not _Role.SPACE:
            before = piece
    return text


def _apart(before: _Piece, piece: _Piece, tight: bool) -> bool:
    """Whether a space belongs between two pieces."""
    roles = {before.role, piece.role}
    if _Role.OPEN is before.role or piece.role in {_Role.CLOSE, _Role.COMMA, _Role.SPACE} or roles & _CLOSE_BY:
        return False
    if roles & _LOOSE or before.role is _Role.COMMA:
        return not tight
    if before.role is _Role.BIG or piece.role is _Role.BIG:
        return True
    if before.role is _Role.WORD and piece.role in {_Role.GROUP, _Role.OPEN}:
        return False
    if _Role.WORD in roles or _Role.FRACTION in roles:
        return _Role.OPEN not in roles
    return bool(re.search(r"[_^]\w+$", before.text) and piece.text[0].isalnum())
