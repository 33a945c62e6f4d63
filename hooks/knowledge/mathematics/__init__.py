"""Mathematics: what may be written, what it looks like, how it reads as text, and where it stands in the sources.

- `tex`: the one allow-list of TeX that site, book and EPUB share, and what is wrong with a formula that leaves it.
- `mathjax`: formulas as SVG and MathML, by MathJax in V8, and a cache of them. `mathjax.js` is built from `mathjax.mjs`
  and the versions in `package.json` by `scripts/vendor-mathjax`.
- `plain`: a formula as a line of text that a person can read and a search can find.
- `sources`: the mathematics in Markdown source, each formula with its line.
"""

from knowledge.mathematics.mathjax import Cache, Formula, TexError, render
from knowledge.mathematics.plain import plain
from knowledge.mathematics.sources import SourceFormula, formulas
from knowledge.mathematics.tex import mistakes, split_label

__all__ = ["Cache", "Formula", "SourceFormula", "TexError", "formulas", "mistakes", "plain", "render", "split_label"]
