"""The built site as the tests see it: each page parsed once."""

from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

from bs4 import BeautifulSoup

ROOT = Path(__file__).parent.parent
SITE = ROOT / "site"


def paths() -> list[str]:
    """Return the path of every page below the site."""
    assert (SITE / "index.html").exists(), "build the site first: scripts/build"
    return [p.relative_to(SITE).as_posix() for p in sorted(SITE.rglob("*.html"))]


@cache
def pages() -> dict[str, BeautifulSoup]:
    """Return every page by its path below the site."""
    return {path: BeautifulSoup((SITE / path).read_bytes(), "lxml") for path in paths()}


def content(path: str) -> BeautifulSoup:
    """Return a page's article."""
    return pages()[path].find("article") or pages()[path]


def target(page: str, href: str) -> tuple[str, str] | None:
    """Return the file below the site and the anchor that a link on a page leads to, or None if it leads outside."""
    if ":" in href.partition("/")[0].partition("#")[0] or href.startswith("//"):
        return None
    address, anchor = urldefrag(urljoin(f"http://site/{page}", href))
    path = unquote(address.removeprefix("http://site/"))
    if path == "" or path.endswith("/"):
        path += "index.html"
    return path, unquote(anchor)
