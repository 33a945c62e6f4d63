"""The commands that scripts give: `check`, and `downloads` with the names of files, or without for all of them."""

import sys
from pathlib import Path

from mkdocs.exceptions import PluginError

from knowledge import build
from knowledge.book.pdf import PdfError
from knowledge.book.typesetting import TypesettingError


def check() -> int:
    """Print the mistakes in the content."""
    mistakes = build.check(Path.cwd())[1]
    print(*mistakes, sep="\n", end="\n" if mistakes else "")
    print(f"{len(mistakes)} mistakes in the content" if mistakes else "The content has no mistakes.")
    return bool(mistakes)


def downloads(*files: str) -> int:
    """Make the files, and print where they are."""
    try:
        for path in build.press(Path.cwd()).make(files or None):
            print(f"{path.relative_to(Path.cwd())}  {path.stat().st_size / 1e6:.2f} MB")
    except (PluginError, PdfError, TypesettingError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit({"check": check, "downloads": downloads}[sys.argv[1]](*sys.argv[2:]))
