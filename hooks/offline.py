"""Makes a site that works from files, without a server, where `use_directory_urls` is off."""

from knowledge import build
from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> None:
    build.prepare_for_files(config)
