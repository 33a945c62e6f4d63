"""Writes what a published site owes its readers: redirects from former addresses, and the feed."""

from knowledge import build
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    build.add_redirects(build.current(), config, files)
    return files


def on_post_build(config: MkDocsConfig) -> None:
    build.write_feed(build.current(), config)
