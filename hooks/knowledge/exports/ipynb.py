"""Notebooks to run: the script of an experiment in Jupyter's format, without results."""

from __future__ import annotations

import jupytext

from knowledge.exports.markdown import plain_markdown
from knowledge.model import KnowledgeBase
from knowledge.notebooks import Notebook


def notebook(kb: KnowledgeBase, notebook: Notebook, site: str) -> str:
    """Return the `.ipynb`; links by id and citations lead to the site."""
    document = jupytext.reads(notebook.script, "py:percent")
    for number, cell in enumerate(document.cells):
        cell["id"] = f"cell-{number}"  # random by default
        if cell.cell_type == "markdown":
            cell.source = plain_markdown(kb, notebook.path, cell.source, lambda path: path, site)
        elif cell.cell_type == "raw":
            cell.cell_type = "markdown"
            cell.source = f"# {notebook.title}\n\n{notebook.description}\n\n{site}notebooks/{notebook.id}/"
            cell.pop("attachments", None)
    document.metadata.pop("jupytext", None)  # lists the keys of cells in an order that changes
    document.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return str(jupytext.writes(document, "ipynb"))
