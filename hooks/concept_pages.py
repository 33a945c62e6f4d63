"""Adds to each concept page and notebook what the data knows of it: prerequisites, questions, references and more."""

from knowledge import build
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return build.current().pages.written.get(page.file.src_uri, markdown)
