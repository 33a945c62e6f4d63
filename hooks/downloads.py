"""Puts the downloads on the site, and each page as Markdown beside its HTML."""

from knowledge import build
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    build.add_downloads(build.current(), config, files)
    return files


def on_post_build(config: MkDocsConfig) -> None:
    build.write_markdown(build.current(), config)
