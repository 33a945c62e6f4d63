"""Reads the knowledge base before each build, and gives MkDocs the Markdown extensions that need it."""

from knowledge import build
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.markdown_extensions.extend(build.load(config).extensions)  # type: ignore[arg-type] # instances work too
    return config


@event_priority(-100)  # when all has been written: the search index renders formulas too
def on_post_build(config: MkDocsConfig) -> None:
    build.finish(build.current())
