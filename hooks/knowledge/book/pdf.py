"""Typst's compiler, which the `typst` package carries, and what makes its PDF smaller."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

import pikepdf
import typst

_LOOK = Path(__file__).with_name("book.typ")
#: Accessible to screen readers, and readable in fifty years.
STANDARDS: Final = ("ua-1", "a-2a")
#: Formulas are not set smaller than this share of their size without a word.
SMALLEST = 0.8


class PdfError(ValueError):
    """What the compiler says."""


def pdf(source: str, root: Path, timestamp: int) -> tuple[bytes, list[tuple[float, str]]]:
    """Compile a document.

    Args:
        source: of the document, which may name files below the root as `/docs/…`.
        root: the project's folder.
        timestamp: of the document, in seconds since 1970; the same source and timestamp make the same bytes.

    Returns:
        The file, and those formulas, in words, that had to be made smaller than `SMALLEST`, with their shares of 1.

    Raises:
        PdfError: if the compiler finds a mistake.
    """
    workshop = root / ".cache"
    workshop.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workshop, prefix="book") as folder:
        shutil.copy(_LOOK, folder)
        document = Path(folder, "document.typ")
        document.write_text(source, "utf-8")
        compiler = typst.Compiler(document, root=root, ignore_system_fonts=True)
        try:
            compiled = compiler.compile(format="pdf", pdf_standards=[*STANDARDS], timestamp=timestamp)
            shrunk = json.loads(compiler.query("<shrunk>", field="value"))
        except typst.TypstError as error:
            raise PdfError("\n".join([str(error), *getattr(error, "hints", [])])) from error
    assert isinstance(compiled, bytes)
    return _smaller(compiled), sorted((size, formula) for size, formula in shrunk if size < SMALLEST)


def _smaller(content: bytes) -> bytes:
    """The same document with its objects packed; the bytes depend on nothing else."""
    smaller = io.BytesIO()
    pikepdf.settings.set_flate_compression_level(9)
    with pikepdf.open(io.BytesIO(content)) as document:
        document.save(
            smaller,
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
            recompress_flate=True,
            deterministic_id=True,
        )
    return smaller.getvalue()
