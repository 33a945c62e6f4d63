"""ZIP archives whose bytes depend on their content and timestamp alone."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterable


def zipped(files: Iterable[tuple[str, bytes]], timestamp: int) -> bytes:
    """Return the archive of files, given by name and content, in that order; the first one is not compressed if it is
    called `mimetype`, as EPUB has it.

    Args:
        files: name and content of each.
        timestamp: of every file, in seconds since 1970; the format begins in 1980.
    """
    date = max(time.gmtime(timestamp)[:6], (1980, 1, 1, 0, 0, 0))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, body in files:
            info = zipfile.ZipInfo(name, date)
            info.compress_type = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, body, compresslevel=9)
    return content.getvalue()
