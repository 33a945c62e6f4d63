"""Writes the index of the search, made from the knowledge base, in the place of the theme's."""

from knowledge import build
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority


@event_priority(-50)  # after the theme's search plugin
def on_post_build(config: MkDocsConfig) -> None:
    build.write_search_index(build.current(), config)
