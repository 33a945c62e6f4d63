"""Adds the pages that are generated from the data: questions, FAQ, glossary, references, overviews."""

from knowledge import build
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    build.add_pages(build.current(), config, files)
    build.fill_navigation(build.current(), config)
    build.skip_unchanged(build.current(), config, files)
    return files
