r"""The one allow-list of TeX that site, book and EPUB share, and what is wrong with a formula that leaves it.

`GROUPS` names every allowed command by what it is for, `ENVIRONMENTS` every allowed environment, and `INSTEAD` says
what to write for the frequent words that are on neither list. `mistakes` reads one formula and says, in the author's
words, what must change; it checks the words and their nesting and leaves the grammar of arguments to MathJax.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import pairwise
from typing import Final


def _words(text: str) -> list[str]:
    """The words of a table below."""
    return text.split()


def _each(words: str, value: str) -> dict[str, str]:
    """The same value for each of the words."""
    return dict.fromkeys(_words(words), value)


GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    group: tuple("\\" + name.replace("␣", " ") for name in _words(names))
    for group, names in {
        "Greek letters": """
            alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi varpi rho
            varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon
            Phi Psi Omega""",
        "symbols": """
            aleph ell hbar imath jmath Re Im partial nabla infty prime emptyset varnothing top bot angle forall exists
            nexists neg lnot complement square blacksquare triangle star bigstar checkmark dagger ddagger ldots cdots
            vdots ddots dots dotsc dotsb colon % $ # & _""",
        "binary operators": """
            pm mp times div cdot ast circ bullet cap cup uplus sqcap sqcup vee lor wedge land oplus ominus otimes
            oslash odot setminus diamond ltimes rtimes boxplus boxtimes triangleleft triangleright bmod""",
        "relations": """
            leq le geq ge lt gt neq ne equiv sim simeq approx cong asymp doteq propto ll gg prec succ preceq succeq
            preccurlyeq succcurlyeq subset supset subseteq supseteq subsetneq supsetneq sqsubseteq sqsupseteq in ni
            notin mid nmid parallel nparallel perp models vdash dashv vDash leqslant geqslant lesssim gtrsim triangleq
            nleq ngeq nless ngtr nsubseteq nsupseteq approxeq therefore because not""",
        "arrows": """
            to gets leftarrow rightarrow leftrightarrow Leftarrow Rightarrow Leftrightarrow longleftarrow
            longrightarrow longleftrightarrow Longleftarrow Longrightarrow Longleftrightarrow mapsto longmapsto
            uparrow downarrow updownarrow Uparrow Downarrow Updownarrow nearrow searrow swarrow nwarrow hookleftarrow
            hookrightarrow rightharpoonup rightleftharpoons rightleftarrows twoheadrightarrow rightarrowtail
            rightsquigarrow leadsto nrightarrow nRightarrow circlearrowleft circlearrowright iff implies impliedby""",
        "functions": """
            arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf limsup ln log
            max min Pr sec sin sinh sup tan tanh""",
        "big operators": """
            sum prod coprod int iint iiint oint bigcap bigcup bigsqcup bigvee bigwedge bigodot bigotimes bigoplus
            biguplus""",
        "accents": """
            hat widehat tilde widetilde bar vec dot ddot acute grave breve check mathring overline underline overbrace
            underbrace overrightarrow overleftarrow""",
        "alphabets": "mathbb mathcal mathfrak mathscr mathrm mathbf mathsf mathit mathtt boldsymbol",
        "words": "text operatorname operatorname*",
        "fractions and roots": "frac dfrac tfrac cfrac binom dbinom tbinom sqrt",
        "things above and below": """
            overset underset stackrel substack xrightarrow xleftarrow limits nolimits pmod""",
        "delimiters": """
            { } lbrace rbrace lbrack rbrack langle rangle lfloor rfloor lceil rceil lvert rvert lVert rVert vert Vert
            | backslash""",
        "sizes of delimiters": """
            left right middle big Big bigg Bigg bigl Bigl biggl Biggl bigr Bigr biggr Biggr bigm Bigm biggm Biggm""",
        "styles": "displaystyle textstyle scriptstyle phantom hphantom vphantom mathrel mathbin mathord",
        "spaces": "␣ , : > ; ! quad qquad",
        "layout": "\\ hline begin end label",
    }.items()
}
r"""Every allowed command with its backslash, by what it is for."""

COMMANDS: Final[frozenset[str]] = frozenset(command for group in GROUPS.values() for command in group)
"""Every allowed command."""

ENVIRONMENTS: Final[frozenset[str]] = frozenset(
    _words("aligned array bmatrix Bmatrix cases gathered matrix pmatrix smallmatrix split vmatrix Vmatrix")
)
"""Every allowed environment."""

INSTEAD: Final[Mapping[str, str]] = {
    # letters and alphabets
    **_each(r"\bm \pmb \bold \mathbold \mathbfit \symbf \symbfit", r"`\boldsymbol`"),
    **_each(r"\bf \mathbfup \textbf", r"`\mathbf`"),
    **_each(r"\rm \mathup \symrm", r"`\mathrm`"),
    **_each(r"\it \mathnormal \textit", r"`\mathit`"),
    **_each(r"\sf \textsf", r"`\mathsf`"),
    **_each(r"\tt \texttt", r"`\mathtt`"),
    **_each(r"\cal \symcal", r"`\mathcal`"),
    **_each(r"\frak \symfrak", r"`\mathfrak`"),
    **_each(r"\Bbb \mathbbm \mathds \mathbbold \symbb", r"`\mathbb`"),
    **_each(r"\mbox \hbox \textrm \textnormal \textup \intertext", r"`\text`"),
    **_each(r"\bbone \ind", r"`\mathbf{1}`"),
    **{f"\\{letter}": rf"`\mathbb{{{letter}}}`" for letter in "CEFNQRZ"},
    **{f"\\{name}": f"`{name[0]}`" for name in _words("Alpha Beta Epsilon Zeta Eta Iota Kappa Mu Nu Tau")},
    **{r"\Rho": "`P`", r"\Chi": "`X`", r"\Omicron": "`O`", r"\omicron": "`o`"},
    r"\hslash": r"`\hbar`",
    r"\varkappa": r"`\kappa`",
    # functions
    r"\argmax": r"`\operatorname*{arg\,max}`",
    r"\argmin": r"`\operatorname*{arg\,min}`",
    **{
        f"\\{name}": rf"`\operatorname{{{name}}}`"
        for name in _words("softmax sigmoid sign sgn diag tr Tr rank Var Cov Corr Bias MSE KL ReLU erf logit supp")
    },
    r"\mathop": r"`\operatorname`",
    r"\P": r"`\Pr` or `\mathbb{P}`",
    r"\DeclareMathOperator": r"`\operatorname`, where the name is used",
    **_each(r"\newcommand \renewcommand \def \let", "the formula in full: there are no macros"),
    # fractions, brackets, differentials
    **_each(r"\nicefrac \sfrac \flatfrac", r"`\tfrac` or a slash"),
    **_each(r"\over \above \genfrac", r"`\frac`"),
    **_each(r"\choose \atop", r"`\binom`"),
    r"\root": r"`\sqrt[3]{x}`",
    r"\abs": r"`\lvert x \rvert`",
    r"\norm": r"`\lVert x \rVert`",
    r"\set": r"`\{ x \}`",
    r"\ceil": r"`\lceil x \rceil`",
    r"\floor": r"`\lfloor x \rfloor`",
    **_each(r"\inner \braket \innerproduct", r"`\langle x, y \rangle`"),
    r"\bra": r"`\langle x \rvert`",
    r"\ket": r"`\lvert x \rangle`",
    **_each(r"\dd \diff \d", r"`\mathrm{d}`"),
    **_each(r"\dv \odv \derivative", r"`\frac{\mathrm{d} y}{\mathrm{d} x}`"),
    **_each(r"\pdv \pd \partialderivative", r"`\frac{\partial y}{\partial x}`"),
    **_each(r"\grad \gradient", r"`\nabla`"),
    # relations, operators, arrows
    **_each(r"\coloneqq \coloneq \defeq \vcentcolon", "`:=`"),
    **_each(r"\indep \independent \Perp", r"`\perp`"),
    **_each(r"\bigcdot \cdotp \centerdot", r"`\cdot`"),
    **_each(r"\hdots \ldotp \dotso", r"`\dots`"),
    r"\iddots": r"`\ddots`",
    **_each(r"\Vdash \vDdash", r"`\vDash`"),
    **_each(r"\lhd \unlhd", r"`\triangleleft`"),
    **_each(r"\overparen \wideparen", r"`\widehat`"),
    **_each(r"\dddot \ddddot", r"`\ddot`"),
    **_each(r"\degree \textdegree", r"`^\circ`"),
    r"\T": r"`^\top`",
    r"\transpose": r"`^\top`",
    r"\xleftrightarrow": r"`\xrightarrow`",
    r"\qed": r"`\blacksquare`",
    r"\Box": r"`\square`",
    # layout
    **_each(r"\newline \cr", r"`\\`"),
    **_each(r"\hspace \hskip \mspace \mskip \kern \mkern", r"`\,` or `\quad`"),
    **_each(r"\enspace \enskip", r"`\;`"),
    r"\thinspace": r"`\,`",
    r"\negthinspace": r"`\!`",
    r"\mod": r"`\bmod` or `\pmod`",
    r"\nobreakspace": "`~`",
    r"\scriptscriptstyle": r"`\scriptstyle`",
    **_each(r"\tag \eqno \leqno", r"`\label{eq:name}`, which numbers the equation"),
    **_each(r"\notag \nonumber", "nothing: an equation without a label has no number"),
    **_each(r"\ref \eqref \cref", r"`\eqref{eq:name}` in the sentence, outside the dollars"),
    **_each(
        r"\color \textcolor \colorbox \cancel \bcancel \boxed \fbox",
        "words: colour, strokes and boxes do not reach every reader",
    ),
    **_each(r"\SI \si \qty \unit \num", r"`3.5\,\mathrm{kg}`"),
    **_each(r"\displaylines gather gather*", "`gathered`"),
    r"\eqalign": "`aligned`",
    **_each("align align* alignat alignat* alignedat eqnarray eqnarray*", "`aligned`"),
    **_each("flalign flalign* multline multline*", "`aligned`"),
    **_each("equation equation* displaymath math", "no environment: the dollars are enough"),
    **_each("dcases rcases drcases cases* numcases", "`cases`"),
    **_each("matrix* pmatrix* bmatrix* vmatrix* darray tabular", "`array`"),
    **_each("psmallmatrix bsmallmatrix", "`smallmatrix`"),
    **_each("CD tikzcd tikzpicture", "a figure"),
}
"""What to write for frequent commands (with backslash) and environments (bare) that are not allowed."""

_TOKEN: Final = re.compile(r"\\operatorname\*|\\(?:begin|end)(?:\{([^{}]*)\})?|\\(?:[A-Za-z]+|.)|\\|.", re.DOTALL)
_LABEL: Final = re.compile(r"\s*\\label\{([^{}]*)\}")
_TAG: Final = re.compile("<[A-Za-z/!?]")
_SIZED: Final = frozenset(GROUPS["sizes of delimiters"])
_DELIMITERS: Final = frozenset(
    _words(r"""
        ( ) [ ] | / . < > \{ \} \| \lbrace \rbrace \lbrack \rbrack \langle \rangle \lfloor \rfloor \lceil \rceil \lvert
        \rvert \lVert \rVert \vert \Vert \backslash \uparrow \downarrow \updownarrow \Uparrow \Downarrow
        \Updownarrow""")
)
_CLOSED_BY: Final[Mapping[str, str]] = {"{": "}", r"\left": r"\right"}
_SIGNS: Final[Mapping[str, str]] = {
    pair[0]: pair[2:]
    for pair in _words(r"""
        ×=\times ·=\cdot ⋅=\cdot ÷=\div ±=\pm −=- –=- —=- ≤=\leq ≥=\geq ≠=\neq ≈=\approx ≡=\equiv ∼=\sim ∝=\propto
        →=\to ←=\gets ⇒=\implies ⇔=\iff ↦=\mapsto ∞=\infty ∂=\partial ∇=\nabla ∑=\sum ∏=\prod ∫=\int √=\sqrt ∈=\in
        ∉=\notin ⊂=\subset ⊆=\subseteq ∪=\cup ∩=\cap ∅=\emptyset ∀=\forall ∃=\exists ¬=\neg ∧=\wedge ∨=\vee ⊕=\oplus
        ⊗=\otimes ⊙=\odot ∘=\circ ⊤=^\top ⊥=\perp ∣=\mid ‖=\lVert ∥=\parallel ⟨=\langle ⟩=\rangle ⌊=\lfloor
        ⌋=\rfloor ℓ=\ell ℝ=\mathbb{R} ℕ=\mathbb{N} ℤ=\mathbb{Z} ℚ=\mathbb{Q} ℂ=\mathbb{C} …=\dots ′=' ’=' ²=^2 ³=^3
        °=^\circ µ=\mu""")
}
"""What to write for a character that has a word in TeX."""


def mistakes(tex: str) -> list[str]:
    """Everything in a formula that is not allowed or not closed, one sentence each, in order of appearance."""
    return list(dict.fromkeys((*_vocabulary(tex), *_nesting(tex))))


def split_label(tex: str) -> tuple[str, str | None]:
    r"""The formula without its first `\label{…}`, and that label's name."""
    found = _LABEL.search(tex)
    if not found:
        return tex.strip(), None
    return (tex[: found.start()] + tex[found.end() :]).strip(), found[1]


def _vocabulary(tex: str) -> Iterator[str]:
    """Words and characters that are on no list, and words that something else must follow."""
    for token in _TOKEN.finditer(tex):
        word, environment = token[0], token[1]
        if environment is not None:
            if environment not in ENVIRONMENTS:
                yield _unknown(environment, f"environment `{environment}`", ENVIRONMENTS)
        elif word in {r"\begin", r"\end"}:
            yield f"`{word}` needs the name of an environment in braces"
        elif word == "\\":
            yield "a backslash stands at the end"
        elif word.startswith("\\"):
            if word not in COMMANDS and not word[1:].isspace():
                yield _unknown(word, f"`{word}`", COMMANDS)
        elif word in "$#%":
            yield f"`{word}` has a meaning of its own in TeX: write `\\{word}`"
        elif not word.isascii() or not (word.isprintable() or word.isspace()):
            yield _foreign(word)
    visible = [token[0] for token in _TOKEN.finditer(tex) if not token[0].isspace()]
    for word, following in pairwise([*visible, ""]):
        if word in _SIZED and following not in _DELIMITERS:
            yield f"`{word}` needs a delimiter after it, such as `(` or `\\{{`, or `.` for none"
    if _TAG.search(tex):
        yield "Markdown reads a `<` before a letter as the start of an HTML tag: put a space after it"
    if len(_LABEL.findall(tex)) > 1:
        yield "one formula carries one `\\label`"


def _nesting(tex: str) -> Iterator[str]:
    r"""Braces, `\left` and `\right`, environments and what belongs into them, each within the other."""
    opened: list[tuple[str, str]] = []
    for token in _TOKEN.finditer(tex):
        word, environment = token[0], token[1]
        if word in _CLOSED_BY:
            opened.append((word, _CLOSED_BY[word]))
        elif environment is not None and word.startswith(r"\begin"):
            opened.append((word, rf"\end{{{environment}}}"))
        elif word in _CLOSED_BY.values() or environment is not None:
            if not opened:
                yield f"`{word}` closes nothing"
            elif opened[-1][1] != word:
                yield f"`{word}` stands where `{opened[-1][1]}` must close `{opened[-1][0]}`"
                return
            else:
                opened.pop()
        elif word in {"&", r"\\"} and not any(start.startswith(r"\begin") or start == "{" for start, _ in opened):
            yield f"`{word}` belongs into an environment such as `aligned`"
    for start, end in reversed(opened):
        yield f"`{start}` is never closed: `{end}` is missing"


def _unknown(word: str, name: str, allowed: frozenset[str]) -> str:
    """What to say about a word on no list."""
    if word in INSTEAD:
        return f"{name} is not available; instead: {INSTEAD[word]}"
    if near := get_close_matches(word, sorted(allowed), n=1, cutoff=0.6):
        return f"{name} is unknown; the nearest allowed word is `{near[0]}`"
    return f"{name} is unknown"


def _foreign(character: str) -> str:
    """What to say about a character that does not belong into mathematics."""
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", name)
    word = _SIGNS.get(character)
    if greek:
        letter = greek[2].replace("LAMDA", "LAMBDA")
        word = "\\" + (letter.lower() if greek[1] == "SMALL" else letter.capitalize())
    if word is not None and (word in COMMANDS or not greek):
        return f"`{character}` is not TeX: write `{word}`"
    return f"`{character}` ({name.lower()}) is not TeX: mathematics is written in ASCII"
