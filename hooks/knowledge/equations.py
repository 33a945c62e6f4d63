r"""Mathematics, a Markdown extension: formulas rendered by MathJax while building, numbered equations and `\eqref`.

Arithmatex finds the formulas and wraps them; this extension puts SVG for the eye, MathML for screen
readers and the TeX to copy into the wrappers. A page writes each glyph once, in one hidden sheet.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from xml.etree.ElementTree import Element, SubElement

from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString

from knowledge import mathematics, prose
from knowledge.model import KnowledgeBase

Render = Callable[[str, bool], mathematics.Formula]


class EquationExtension(Extension):
    """Renders what arithmatex (generic) marks."""

    def __init__(self, kb: KnowledgeBase, render: Render) -> None:
        super().__init__()
        self.kb, self.render = kb, render

    def extendMarkdown(self, md: Markdown) -> None:
        """Register references before links (160), and rendering after inline parsing (20)."""
        md.inlinePatterns.register(_Reference(prose.EQUATION_REFERENCE.pattern, md, self.kb), "eqref", 170)
        md.treeprocessors.register(_Equations(md, self.kb, self.render), "equations", 17)


class _Reference(InlineProcessor):
    def __init__(self, pattern: str, md: Markdown, kb: KnowledgeBase) -> None:
        super().__init__(pattern, md)
        self.kb = kb

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Element | None, int | None, int | None]:  # type: ignore[override]
        if m[1] not in self.kb.labels:
            return None, None, None
        concept, number = self.kb.labels[m[1]]
        link = Element("a", {"class": "eqref", "href": f"/{concept.path}#{m[1]}", "data-label": m[1]})
        link.text = AtomicString(f"({concept.title}, {number})")
        return link, m.start(0), m.end(0)


class _Equations(Treeprocessor):
    def __init__(self, md: Markdown, kb: KnowledgeBase, render: Render) -> None:
        super().__init__(md)
        self.kb, self.render = kb, render

    def run(self, root: Element) -> None:
        glyphs: dict[str, str] = {}
        here: set[str] = set()
        for element in list(root.iter()):
            if "arithmatex" in element.get("class", "").split() and element.text:
                glyphs |= self.fill(element, here)
        for link in root.iter("a"):
            if link.get("class") == "eqref" and link.attrib.pop("data-label") in here:
                link.set("href", "#" + link.get("href", "").partition("#")[2])
                link.text = AtomicString(f"({(link.text or '').rpartition(', ')[2]}")
        if glyphs:
            paths = "".join(f'<path id="{name}" d="{d}"/>' for name, d in sorted(glyphs.items()))
            sheet = SubElement(root, "div", {"class": "glyphs", "hidden": "hidden"})
            sheet.text = self.md.htmlStash.store(
                f'<svg aria-hidden="true" focusable="false"><defs>{paths}</defs></svg>'
            )

    def fill(self, element: Element, here: set[str]) -> dict[str, str]:
        """Put the rendered formula into arithmatex's wrapper, and return the glyphs that it uses."""
        display = element.tag == "div"
        # Arithmatex writes \(…\) or \[…\], with HTML's special characters escaped.
        tex, label = mathematics.split_label(html.unescape(element.text or "").strip()[2:-2])
        formula = self.render(tex, display)
        box = SubElement(element, "span", {"class": "formula"}) if display else element
        box.set("data-tex", tex.strip())
        mathml = f'<span class="mathml">{formula.mathml}</span>'
        box.text = self.md.htmlStash.store(formula.svg + mathml)
        if display:
            element.text = None
            if label:
                here.add(label)
                self.number(element, label)
        return dict(formula.glyphs)

    def number(self, element: Element, label: str) -> None:
        concept, number = self.kb.labels[label]
        element.set("id", label)
        aside = SubElement(element, "span", {"class": "equation-aside"})
        if concept.checked(label):
            check = SubElement(
                aside,
                "a",
                {
                    "class": "checked",
                    "href": f"/{concept.twin}",
                    "title": "Checked by code: a test of this page's program asserts this equation",
                },
            )
            check.text = AtomicString("✓")
            SubElement(check, "span", {"class": "mathml"}).text = AtomicString(" checked by code")
        anchor = SubElement(aside, "a", {"class": "number", "href": f"#{label}", "title": "Link to this equation"})
        anchor.text = AtomicString(f"({number})")
