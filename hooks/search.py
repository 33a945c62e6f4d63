"""Writes the index of the search, made from the knowledge base, in the place of the theme's."""

from knowledge import build
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page


@event_priority(-50)  # after the theme's search plugin
def on_post_build(config: MkDocsConfig) -> None:
    build.write_search_index(build.current(), config)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    page.meta["search"] = {"exclude": True}  # from the theme's index, which took a quarter of a build and is not used
