"""The downloads: which files can be taken along, and what makes each."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from knowledge.book import epub, pdf
from knowledge.book.typesetting import Edition, ToHtml, Typesetter
from knowledge.book.volumes import Volume, volumes
from knowledge.exports import anki, records
from knowledge.model import KnowledgeBase
from knowledge.pages import Download, Pages
from knowledge.plaintext import Plaintext

#: Where the files are kept until a build puts them on the site, from the project's root.
FOLDER: Final = ".cache/downloads"
OFFLINE_SITE: Final = "deep-learning-answers-site.zip"


def made(root: Path) -> dict[str, Download]:
    """Return what has been made in a project, by the name of the file."""
    paths = sorted((root / FOLDER).iterdir()) if (root / FOLDER).exists() else []
    return {
        path.name: Download(
            size=path.stat().st_size,
            date=datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).date(),
        )
        for path in paths
    }


@dataclass(frozen=True, kw_only=True)
class Press:
    """What makes the files.

    Attributes:
        root: the project's folder.
        timestamp: of everything made, in seconds since 1970.
        offline_site: makes the offline site as a ZIP.
        warn: is told what deserves a look and stops nothing.
    """

    root: Path
    kb: KnowledgeBase
    plain: Plaintext
    pages: Pages
    to_html: ToHtml
    edition: Edition
    timestamp: int
    offline_site: Callable[[], bytes]
    warn: Callable[[str], None]

    def books(self) -> Mapping[str, Volume]:
        """The volumes by the name of their file, without its ending."""
        return {volume.file: volume for volume in volumes(self.kb, self.pages)}

    def pdf(self, volume: Volume) -> bytes:
        """Return a volume as PDF."""
        source = Typesetter(self.kb, self.plain, self.to_html, self.edition).source(volume)
        content, shrunk = pdf.pdf(source, self.root, self.timestamp)
        for share, formula in shrunk:
            self.warn(f"{volume.file}.pdf: set at {share:.0%} of its size, break it into lines: {formula}")
        return content

    def make(self, files: tuple[str, ...] | None = None) -> list[Path]:
        """Make the named files, or all with their schemas, and put them into `FOLDER`: all of them or none.

        Raises:
            TypesettingError, PdfError: for what cannot be printed.
        """
        folder = self.root / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="downloads") as workshop:
            for name, content in self._contents(files):
                Path(workshop, name).write_bytes(content)
                os.utime(Path(workshop, name), (self.timestamp, self.timestamp))
            written = []
            for path in sorted(Path(workshop).iterdir()):
                written.append(shutil.move(path, folder / path.name))
        return [Path(path) for path in written]

    def _contents(self, files: tuple[str, ...] | None) -> Iterator[tuple[str, bytes]]:
        books = self.books()
        book = books["deep-learning-answers"]
        makers: dict[str, Callable[[], bytes]] = {
            "deep-learning-answers.pdf": lambda: self.pdf(book),
            "questions-and-answers.pdf": lambda: self.pdf(books["questions-and-answers"]),
            "deep-learning-answers.epub": lambda: epub.epub(
                book, self.kb, self.to_html, self.edition, self._figures(), self.timestamp, self.pages.fill
            ),
            "deep-learning-answers.apkg": lambda: anki.deck(self.kb, self.to_html, self.edition.site, self.timestamp),
            "questions.json": lambda: records.questions(self.kb, self.plain, self.edition).encode(),
            "terms.json": lambda: records.terms(self.kb, self.plain, self.edition).encode(),
            **{name: path.read_bytes for name, path in records.SCHEMAS.items()},
            OFFLINE_SITE: self.offline_site,
        }
        for name in files or makers:
            yield name, makers[name]()

    def _figures(self) -> dict[str, bytes]:
        docs = self.root / "docs"
        return {path.relative_to(docs).as_posix(): path.read_bytes() for path in docs.rglob("*.svg")}
