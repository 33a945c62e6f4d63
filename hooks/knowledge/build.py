"""Brings the knowledge base and MkDocs together; the only module here that may import MkDocs."""

from __future__ import annotations

import datetime
import hashlib
import os
import posixpath
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from markdown import Extension, Markdown
from mkdocs.commands.build import build as mkdocs_build
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.utils import get_build_timestamp

from knowledge import downloads, mathematics, model, publishing, search
from knowledge.archive import zipped
from knowledge.book.typesetting import Edition
from knowledge.citations import CitationExtension
from knowledge.downloads import Press
from knowledge.equations import EquationExtension
from knowledge.exports import ipynb, markdown
from knowledge.links import LinkExtension
from knowledge.mistakes import Mistake
from knowledge.model import KnowledgeBase
from knowledge.pages import Pages, Site
from knowledge.plaintext import Plaintext
from knowledge.term_links import TermLinkExtension

#: Where rendered formulas are kept between builds.
FORMULAS = ".cache/formulas.json"


class Build:
    """The knowledge base of a project at one moment, and what the site makes of it."""

    def __init__(self, kb: KnowledgeBase, formulas: mathematics.Cache, site: Site) -> None:
        self.kb, self.formulas = kb, formulas
        self.site = site
        self.plain = Plaintext(kb, lambda tex: mathematics.plain(formulas.render(tex, False).mathml))
        self.pages = Pages(kb, self.plain, site)

    @cached_property
    def extensions(self) -> list[Extension]:
        """The Markdown extensions, for `markdown_extensions` of MkDocs."""
        return [
            EquationExtension(self.kb, self.formulas.render),
            CitationExtension(self.kb),
            LinkExtension(self.kb),
            TermLinkExtension(self.kb, self.plain),
        ]


def sources(root: Path) -> dict[str, bytes]:
    """Read the data, the Markdown pages and the twins of a project, by path from its root."""
    docs = root / "docs"
    paths = [
        p for suffix in ("yml", "bib", "md", "py") for p in docs.rglob(f"*.{suffix}") if ".overrides" not in p.parts
    ]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(paths)}


def check(root: Path) -> tuple[KnowledgeBase | None, list[Mistake]]:
    """Return the knowledge base of a project, or None, and all its mistakes."""
    formulas = mathematics.Cache(root / FORMULAS)
    found = model.load(sources(root), formulas.mistakes)
    formulas.save()
    return found


_current: tuple[str, Build] | None = None


def current() -> Build:
    """Return the build that `load` made last."""
    assert _current, "load first"
    return _current[1]


def load(config: MkDocsConfig) -> Build:
    """Return the build of the project as it is on disk now; an unchanged project is not read twice.

    Raises:
        PluginError: with all the mistakes in the content, which MkDocs prints without a traceback.
    """
    global _current
    root = Path(config.config_file_path).parent
    files = sources(root)
    site = Site(
        url=config.site_url or "/",
        repository=(config.repo_url or "").rstrip("/"),
        today=today(),
        downloads=downloads.made(root) if config.use_directory_urls else {},
    )
    state = _hash(files, site)
    if _current is None or _current[0] != state:
        formulas = mathematics.Cache(root / FORMULAS)
        kb, mistakes = model.load(files, formulas.mistakes)
        if kb is None:
            raise PluginError("\n".join([f"{len(mistakes)} mistakes in the content:", *map(str, mistakes)]))
        _current = state, Build(kb, formulas, site)
    return _current[1]


def add_pages(build: Build, config: MkDocsConfig, files: Files) -> None:
    """Add the generated pages to the site's files; none may stand in the place of a written one."""
    for page in build.pages.generated:
        if files.get_file_from_path(page.path):
            raise PluginError(f"docs/{page.path}:1: a generated page has this path: remove or rename the file")
        file = File.generated(config, page.path, content=page.markdown)
        file.edit_uri = posixpath.relpath(page.edit, "docs")
        files.append(file)
    for notebook in build.kb.notebooks.values():
        content = ipynb.notebook(build.kb, notebook, build.site.url)
        files.append(File.generated(config, f"notebooks/{notebook.id}.ipynb", content=content))


def fill_navigation(build: Build, config: MkDocsConfig) -> None:
    """Put the areas and their pages, and the views of the questions, below their entries in `nav`."""
    below = {
        "concepts/index.md": build.pages.concept_navigation(),
        "faq/index.md": build.pages.question_navigation(),
        "notebooks/index.md": build.pages.notebook_navigation(),
    }
    for entry in config.nav or []:
        for title, path in entry.items():
            if isinstance(path, str) and path in below:
                entry[title] = [{title: path}, *below[path]]


#: What each page was made of when it was last written, by its path.
_written: dict[str, str] = {}
_pending: dict[str, str] = {}


def skip_unchanged(build: Build, config: MkDocsConfig, files: Files) -> None:
    """Tell a dirty build (`scripts/serve`) to leave out the pages that would come out as they are.

    A page depends on its own Markdown, generated parts included, and on what every page shows or links to. Both are
    compared with what they were when the page was last written.
    """
    shared = _hash(build.kb.shared, build.site, config.nav)
    for file in files.documentation_pages():
        state = _hash(shared, file.content_string, build.pages.written.get(file.src_uri))
        changed = _written.get(file.src_uri) != state
        _pending[file.src_uri] = state
        file.is_modified = lambda changed=changed: changed  # type: ignore[method-assign, misc]


def finish(build: Build) -> None:
    """Remember what was built: the formulas, and that the pages are written."""
    build.formulas.save()
    _written.update(_pending)


def prepare_for_files(config: MkDocsConfig) -> None:
    """Leave out of a site that is read from files what needs a server: there, instant navigation stops all scripts."""
    if not config.use_directory_urls:
        features = config.theme["features"]
        features[:] = [feature for feature in features if not feature.startswith("navigation.instant")]


def write_search_index(build: Build, config: MkDocsConfig) -> None:
    """Write the index of the search; the theme's own is not needed."""

    def url(path: str) -> str:
        return File(path, config.docs_dir, config.site_dir, config.use_directory_urls).url.removeprefix("./")

    folder = Path(config.site_dir, "search")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "search_index.json").unlink(missing_ok=True)
    (folder / "search_index.js").write_text(search.script(build.kb, build.plain, url), "utf-8")


def add_redirects(build: Build, config: MkDocsConfig, files: Files) -> None:
    """Let each former address of a page lead to the present one."""
    for old, target in publishing.redirects(build.kb).items():
        if "#" not in old:
            page = File(f"{target.rstrip('/')}.md", config.docs_dir, config.site_dir, config.use_directory_urls)
            here = File(f"{old.rstrip('/')}.md", config.docs_dir, config.site_dir, config.use_directory_urls)
            relative = posixpath.relpath(page.url, posixpath.dirname(here.url) or ".")
            content = build.pages.fill(
                "redirect.html.j2", target=target, relative=relative + "/" * page.url.endswith("/")
            )
            files.append(File.generated(config, here.dest_uri, content=content))


def write_feed(build: Build, config: MkDocsConfig) -> None:
    """Write the feed of new and changed questions."""
    feed = build.pages.fill("feed.xml.j2", news=publishing.news(build.kb, 50))
    Path(config.site_dir, "feed.xml").write_bytes(feed)


def add_downloads(build: Build, config: MkDocsConfig, files: Files) -> None:
    """Put the downloads that have been made on the site, unless it is itself one of them."""
    folder = Path(config.config_file_path).parent / downloads.FOLDER
    if build.site.downloads:
        for path in sorted(folder.iterdir()):
            files.append(File.generated(config, f"downloads/{path.name}", abs_src_path=str(path)))


def write_markdown(build: Build, config: MkDocsConfig) -> None:
    """Write each page as Markdown beside its HTML, and `llms.txt`, which lists them."""
    docs, site = Path(config.docs_dir), Path(config.site_dir)
    for path, text in markdown_tree(build, docs):
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text, "utf-8")
    (site / "llms.txt").write_text(markdown.llms(build.kb, build.site.url), "utf-8")


def markdown_tree(build: Build, docs: Path) -> Iterator[tuple[str, str]]:
    """Yield the path and the plain Markdown of every page."""
    return markdown.tree(build.kb, build.pages, lambda path: (docs / path).read_text("utf-8"))


def export(root: Path, folder: Path, theme: str) -> int:
    """Write the whole site as plain Markdown, with its figures and programs, for another engine; return how many pages.

    Raises:
        PluginError: with all the mistakes in the content, or if the folder is there already.
    """
    if folder.exists():
        raise PluginError(f"{folder} exists: name a new folder")
    # As in a site that is read from files, the downloads are left to the real site.
    build, docs = load(load_config(str(root / "mkdocs.yml"), use_directory_urls=False)), root / "docs"
    pages = dict(markdown_tree(build, docs))
    with tempfile.TemporaryDirectory(dir=folder.parent) as workshop:
        target = Path(workshop, "site")
        for path, text in pages.items():
            (target / "docs" / path).parent.mkdir(parents=True, exist_ok=True)
            (target / "docs" / path).write_text(text, "utf-8")
        for file in (*docs.rglob("*.svg"), *docs.glob("concepts/*/*.py")):
            if ".overrides" not in file.parts:
                (target / "docs" / file.relative_to(docs)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target / "docs" / file.relative_to(docs))
        for notebook in build.kb.notebooks.values():
            content = ipynb.notebook(build.kb, notebook, build.site.url)
            (target / "docs/notebooks" / f"{notebook.id}.ipynb").write_text(content, "utf-8")
        (target / "mkdocs.yml").write_bytes(build.pages.fill("export/mkdocs.yml.j2", theme=theme))
        target.rename(folder)
    return len(pages)


def today() -> datetime.date:
    """Return the date of what is built: `SOURCE_DATE_EPOCH`, or now."""
    return datetime.datetime.fromtimestamp(get_build_timestamp(), datetime.UTC).date()


def press(root: Path) -> Press:
    """Return what makes the downloads of a project.

    Raises:
        PluginError: with all the mistakes in the content.
    """
    config = load_config(str(root / "mkdocs.yml"))
    build = load(config)
    timestamp, date = get_build_timestamp(), today()
    edition = Edition(site=build.site.url, version=os.environ.get("VERSION", f"{date:%Y.%m.%d}"), date=date)
    return Press(
        root=root,
        kb=build.kb,
        plain=build.plain,
        pages=build.pages,
        to_html=_converter(build, config),
        edition=edition,
        timestamp=timestamp,
        offline_site=lambda: _offline_site(root, timestamp),
        warn=lambda text: print(f"WARNING - {text}", file=sys.stderr),
    )


def _converter(build: Build, config: MkDocsConfig) -> Callable[[str], str]:
    """Return what turns Markdown into HTML as the site does, but for what only a page on screen has."""
    names = [name for name in config.markdown_extensions if name != "material.extensions.preview"]
    settings = {
        **config.mdx_configs,
        "toc": {"permalink": False},
        "pymdownx.highlight": {"use_pygments": False},  # the book has its own colors
    }
    converter = Markdown(extensions=[*names, *build.extensions], extension_configs=settings)
    return lambda text: converter.reset().convert(text)


def _offline_site(root: Path, timestamp: int) -> bytes:
    """Return the site that is read from files as a ZIP with one folder in it."""
    with tempfile.TemporaryDirectory() as site:
        config = load_config(str(root / "mkdocs.yml"), site_dir=site, use_directory_urls=False, strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        try:
            mkdocs_build(config)
        finally:
            config.plugins.on_shutdown()
        paths = sorted(path for path in Path(site).rglob("*") if path.is_file())
        return zipped(
            ((f"deep-learning-answers/{path.relative_to(site).as_posix()}", path.read_bytes()) for path in paths),
            timestamp,
        )


def _hash(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()
