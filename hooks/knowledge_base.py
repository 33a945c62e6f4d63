"""Reads the knowledge base before each build, and gives MkDocs the Markdown extensions that need it."""

from knowledge import build
from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.markdown_extensions.extend(build.load(config).extensions)  # type: ignore[arg-type] # instances work too
    return config


def on_post_build(config: MkDocsConfig) -> None:
    build.finish(build.current())
