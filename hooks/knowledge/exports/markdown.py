"""Every page as plain Markdown that another engine can build, and `llms.txt`, which lists them.

Links by id become relative ones, citations become links, included code stands where it was included, and equations
carry their numbers as `\tag`.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Final

from knowledge import prose
from knowledge.citations import BIBLIOGRAPHY
from knowledge.links import address
from knowledge.model import KnowledgeBase
from knowledge.pages import Pages


def tree(kb: KnowledgeBase, pages: Pages, read: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Yield path and Markdown of every page.

    Args:
        kb: the knowledge base.
        pages: makes the generated pages.
        read: returns the text of a file below `docs/`, for included code.
    """
    for page in pages.generated:
        yield page.path, plain_markdown(kb, page.path, page.markdown, read)
    for concept in kb.concepts.values():
        front = f"---\ntitle: {json.dumps(concept.title)}\ndescription: {json.dumps(concept.description)}\n---\n"
        yield concept.path, front + plain_markdown(kb, concept.path, pages.written[concept.path], read)
    for notebook in kb.notebooks.values():
        front = f"---\ntitle: {json.dumps(notebook.title)}\ndescription: {json.dumps(notebook.description)}\n---\n"
        yield notebook.path, front + plain_markdown(kb, notebook.path, pages.written[notebook.path], read)
    for path, text in kb.pages.items():
        if path.startswith("docs/reference/"):
            path = path.removeprefix("docs/")
            yield path, plain_markdown(kb, path, text, read)


def plain_markdown(
    kb: KnowledgeBase, path: str, markdown: str, read: Callable[[str], str], site: str | None = None
) -> str:
    """Return the Markdown of the page at `path` without what only our build understands.

    Args:
        kb: the knowledge base.
        path: of the page below `docs/`; its links are relative to it.
        markdown: of the page or of a part of it.
        read: returns the text of a file below `docs/`, for included code.
        site: the address of the site, if links are to lead there instead.
    """

    def relative(target: str) -> str:
        page, mark, anchor = target.removeprefix("/").partition("#")
        if site:
            return site + re.sub(r"(?:index)?\.md$", "/", page) + mark + anchor
        if page == path:
            return mark + anchor
        return posixpath.relpath(page, posixpath.dirname(path) or ".") + mark + anchor

    def link(match: re.Match[str]) -> str:
        target = match[2] if match[2].startswith("/") else address(kb, match[2])
        return f"[{match[1]}]({relative(target)})" if target else match[1]

    def cited(key: str, text: str) -> str:
        return f"[{text}]({relative(f'{BIBLIOGRAPHY}#{key}')})"

    def group(match: re.Match[str]) -> str:
        return (
            "("
            + "; ".join(cited(key, kb.references[key].parenthetical) for key in re.findall(r"[\w-]+", match[1]))
            + ")"
        )

    def equation(match: re.Match[str]) -> str:
        concept, number = kb.labels[match[1]]
        text = f"({number})" if concept.path == path else f"({concept.title}, {number})"
        return f"[{text}]({relative(f'/{concept.path}#{match[1]}')})"

    def included(match: re.Match[str]) -> str:
        source, _, section = match[2].partition(":")
        lines = _section(read(source), section)
        return "\n".join(match[1] + line if line else "" for line in lines)

    def prose_only(text: str) -> str:
        text = _LINK.sub(link, text)
        text = prose.CITATION_GROUP.sub(group, text)
        text = prose.CITATION.sub(lambda m: cited(m[1], kb.references[m[1]].narrative), text)
        return prose.EQUATION_REFERENCE.sub(equation, text)

    text = _SCRIPT.sub("", _INCLUDED.sub(included, str(markdown)))
    text = prose.outside_code_and_mathematics(text, prose_only)
    text = _LABELED.sub(r'\1<span id="\3"></span>\n\n\1\2', text)
    return prose.LABEL.sub(lambda m: rf"\tag{{{kb.labels[m[1]][1]}}}" if m[1] in kb.labels else "", text)


def llms(kb: KnowledgeBase, site: str) -> str:
    """Return the text of `llms.txt`: what the site is, and the Markdown of each of its pages."""
    lines = [
        "# Deep Learning Answers",
        "",
        f"> {len(kb.questions)} questions about deep learning, each with one canonical answer, and {len(kb.concepts)}"
        " concept pages. Equations are checked by code, and claims are sourced.",
        "",
        f"All questions as data: {site}downloads/questions.json. All terms: {site}downloads/terms.json.",
    ]
    for area in kb.areas.values():
        if kb.in_area(area.id):
            lines += ["", f"## {area.title}", ""]
            lines += [f"- [{c.title}]({site}{c.path}): {c.description}" for c in kb.in_area(area.id)]
    if kb.notebooks:
        lines += ["", "## Experiments", ""]
        lines += [f"- [{n.title}]({site}{n.path}): {n.description}" for n in kb.notebooks.values()]
    for topic, questions in kb.by_topic.items():
        lines += ["", f"## Questions: {kb.areas[topic].title}", ""]
        lines += [f"- [{q.question}]({site}{q.path})" for q in questions]
    return "\n".join(lines) + "\n"


def _section(source: str, section: str) -> list[str]:
    """Return the lines of a file between the marks of a section, without the indentation that they share."""
    lines = source.split("\n")
    if section:
        start = next(i for i, line in enumerate(lines) if f"[start:{section}]" in line)
        end = next(i for i, line in enumerate(lines) if f"[end:{section}]" in line)
        lines = lines[start + 1 : end]
    return lines


_LINK: Final = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(((?:concept|question|term):[^)\s]*|/[^)\s]*)\)")
_INCLUDED: Final = re.compile(r'^([ \t]*)--8<-- "([^"]+)"[ \t]*$', re.MULTILINE)
_LABELED: Final = re.compile(r"^([ \t]*)(\$\$[ \t]*\n(?:(?!\$\$).)*?\\label\{([\w-]+)\})", re.DOTALL | re.MULTILINE)
_SCRIPT: Final = re.compile(r"<script\b.*?</script>\n?", re.DOTALL)
