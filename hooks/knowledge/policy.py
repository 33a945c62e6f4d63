"""The Content-Security-Policy under which the whole site works: the theme's few inline scripts are named by hashes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from lxml import html


def policy(pages: Iterable[bytes]) -> str:
    """Return the policy for these pages of HTML."""
    hashes = set()
    for page in pages:
        for script in html.document_fromstring(page).iter("script"):
            if script.get("src") is None and script.get("type") is None:
                digest = hashlib.sha256((script.text or "").encode()).digest()
                hashes.add(f"'sha256-{base64.b64encode(digest).decode()}'")
    directives = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *sorted(hashes)]),
        "style-src": "'self' 'unsafe-inline'",  # formulas carry their sizes as style attributes
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "worker-src": "'self'",
        "manifest-src": "'self'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())
