"""The commands that scripts give: `check`, `downloads` (all or the named files), `edition`, `export`, `policy`."""

import sys
from collections.abc import Callable
from pathlib import Path

from mkdocs.exceptions import PluginError

from knowledge import build, policy, publishing
from knowledge.book.pdf import PdfError
from knowledge.book.typesetting import TypesettingError


def check() -> int:
    """Print the mistakes in the content."""
    mistakes = build.check(Path.cwd())[1]
    print(*mistakes, sep="\n", end="\n" if mistakes else "")
    print(f"{len(mistakes)} mistakes in the content" if mistakes else "The content has no mistakes.")
    return bool(mistakes)


def edition() -> int:
    """Record in `published.yml` that the present content is published today."""
    kb, mistakes = build.check(Path.cwd())
    if kb is None:
        print(*mistakes, sep="\n", file=sys.stderr)
        return 1
    published = publishing.recorded(kb, build.today())
    lines = [
        "# What has been published; scripts/edition writes it. The fields: hooks/knowledge/publishing.py.",
        "addresses:",
    ]
    lines += [f'  - "{address}"' for address in published.addresses]
    lines += ["questions:"]
    lines += [
        f'  - {{id: {q.id}, added: {q.added}, changed: {q.changed}, content: "{q.content}"}}'
        for q in published.questions
    ]
    Path(publishing.PATH).write_text("\n".join(lines) + "\n", "utf-8")
    new = len(published.addresses) - len(kb.published.addresses)
    print(f"{len(published.addresses)} addresses, {new} of them new; {len(published.questions)} questions")
    return 0


def export(folder: str, theme: str = "material") -> int:
    """Write the whole site as plain Markdown into a new folder, for another engine with a theme of that name."""
    try:
        print(f"{build.export(Path.cwd(), Path(folder).absolute(), theme)} pages in {folder}")
    except PluginError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def content_policy() -> int:
    """Print the line of nginx's configuration with the policy of the built site."""
    pages = [path.read_bytes() for path in sorted(Path("site").rglob("*.html"))]
    if not pages:
        print("site/ is empty: run scripts/build first", file=sys.stderr)
        return 1
    print(f'add_header Content-Security-Policy "{policy.policy(pages)}" always;')
    return 0


def downloads(*files: str) -> int:
    """Make the files, and print where they are."""
    try:
        for path in build.press(Path.cwd()).make(files or None):
            print(f"{path.relative_to(Path.cwd())}  {path.stat().st_size / 1e6:.2f} MB")
    except (PluginError, PdfError, TypesettingError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "check": check,
    "downloads": downloads,
    "edition": edition,
    "export": export,
    "policy": content_policy,
}
sys.exit(COMMANDS[sys.argv[1]](*sys.argv[2:]))
