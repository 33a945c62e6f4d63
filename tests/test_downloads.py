"""Everything that can be taken along, opened with a reader of its format, and held against the site and the data."""

import io
import json
import re
import sqlite3
import subprocess
import zipfile

import pikepdf
import pypdfium2
import pytest
from browser import chromium
from built_site import ROOT, SITE, content, pages, target
from jsonschema import Draft202012Validator
from knowledge import build
from knowledge.book.typesetting import Typesetter, TypesettingError
from lxml import etree, html

FILES = SITE / "downloads"
BOOK, QUESTIONS = FILES / "deep-learning-answers.pdf", FILES / "questions-and-answers.pdf"


@pytest.fixture(scope="module")
def press():
    return build.press(ROOT)


def test_the_page_links_every_download_with_its_size():
    page = content("downloads/index.html")
    for path in {*FILES.iterdir()} - {FILES / "index.html"}:
        link = page.find("a", href=re.compile(re.escape(path.name) + "$"))
        assert link and path.stat().st_size > 1000
        assert re.search(r"\d (MB|KB)", link.find_parent("tr").get_text(" "))


def test_every_equation_of_the_site_is_in_the_book(press):
    volume = press.books()["deep-learning-answers"]
    setter = Typesetter(press.kb, press.plain, press.to_html, press.edition)
    source = setter.source(volume)
    bodies = [html.fragment_fromstring(press.to_html(chapter.markdown), "div") for chapter in volume.chapters]
    printed = [element.get("data-tex") for body in bodies for element in body.xpath(".//*[@data-tex]")]
    in_book = len(printed)
    assert source.count("#formula(") + source.count("#displayed(") == in_book
    for path in [c.path for c in press.kb.concepts.values()] + [q.path for q in press.kb.questions.values()]:
        page = content(path.removesuffix(".md") + "/index.html")
        missing = {element["data-tex"] for element in page.select("[data-tex]")} - {*printed}
        assert not missing, f"{path}: {missing}"
    with pikepdf.open(BOOK) as pdf:
        tagged = sum(1 for e in pdf.objects if isinstance(e, pikepdf.Dictionary) and e.get("/S") == "/Formula")
    assert tagged >= in_book


#: The right margin in points, less what may hang into it: hyphens and the like.
MARGIN = 2.7 / 2.54 * 72 - 6


def outline(items):
    for item in items:
        yield str(item.title)
        yield from outline(item.children)


@pytest.mark.parametrize("file", [BOOK, QUESTIONS])
def test_the_pdf_is_whole(press, file):
    volume = press.books()[file.stem]
    with pikepdf.open(file) as pdf:
        with pdf.open_outline() as tree:
            titles = list(outline(tree.root))
        for chapter in volume.chapters:
            assert any(title.endswith(chapter.title) for title in titles), chapter.title
        assert pdf.Root.MarkInfo.Marked and pdf.Root.Lang == "en"
        metadata = pdf.open_metadata()
        assert (
            metadata["pdfuaid:part"] == "1"
            and metadata["pdfaid:part"] == "2"
            and metadata["dc:title"].startswith("Deep")
        )
        fonts = [f for f in pdf.objects if isinstance(f, pikepdf.Dictionary) and f.get("/Type") == "/FontDescriptor"]
        assert fonts and all(any(f"/FontFile{n}" in f for n in ("", 2, 3)) for f in fonts)
        assert {len(pdf.pages)} & set(range(50, 5000))
        size = file.stat().st_size / len(pdf.pages)
    assert size < 20_000, f"{size:.0f} bytes a page"
    text, overfull = "", []
    for number, page in enumerate(pypdfium2.PdfDocument(file), 1):
        words, width = page.get_textpage(), page.get_width()
        text += words.get_text_range()
        boxes = map(words.get_rect, range(words.count_rects()))
        overfull += [f"p. {number}: {width - right:.0f} pt" for _, _, right, _ in boxes if width - right < MARGIN]
    assert not overfull, f"printed into the right margin, this far from the edge: {overfull}"
    assert not re.search(r"\\(frac|mathbf|sum|label|text)\b|\[@|(concept|question|term):[a-z]|--8<--", text)
    assert re.search(r"\(p\.\s\d+\)", text)


def test_what_cannot_be_printed_leaves_the_files_as_they_are(press, monkeypatch):
    before = {path: path.read_bytes() for path in (ROOT / ".cache/downloads").iterdir()}
    broken = type(press)(**{**vars(press), "to_html": lambda text: press.to_html(text) + "<p><video></video></p>"})
    with pytest.raises(TypesettingError, match="video"):
        broken.make(("questions.json", "questions-and-answers.pdf"))
    assert {path: path.read_bytes() for path in (ROOT / ".cache/downloads").iterdir()} == before


def test_the_epub_passes_epubcheck():
    command = ["java", "-jar", "/usr/share/java/epubcheck.jar", FILES / "deep-learning-answers.epub"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "No errors or warnings detected" in result.stdout, result.stdout + result.stderr


def test_the_epub_can_be_read(press, tmp_path):
    with zipfile.ZipFile(FILES / "deep-learning-answers.epub") as archive:
        archive.extractall(tmp_path)
        chapters = [name for name in archive.namelist() if "chapter-" in name]
        text = b"".join(archive.read(name) for name in chapters)
    assert len(chapters) == len(press.books()["deep-learning-answers"].chapters)
    assert text.count(b"<math") > 1000 and b"<svg" not in text
    with chromium() as browser:
        page = browser.new_page()
        page.goto((tmp_path / chapters[1]).as_uri())
        assert page.locator("math").first.bounding_box()["width"] > 1
        assert page.locator("img").evaluate_all("images => images.every(i => i.naturalWidth > 0)")


def test_the_deck_has_every_question_and_term(press, tmp_path):
    with zipfile.ZipFile(FILES / "deep-learning-answers.apkg") as archive:
        archive.extract("collection.anki2", tmp_path)
    notes = sqlite3.connect(tmp_path / "collection.anki2").execute("select guid, flds, tags from notes").fetchall()
    assert len(notes) == len({guid for guid, _, _ in notes}) == len(press.kb.questions) + len(press.kb.terms)
    by_front = {fields.split("\x1f")[0]: (guid, fields, tags) for guid, fields, tags in notes}
    guid, fields, tags = by_front["<p>What is deep learning?</p>"]
    assert guid == "k4|sO-eE%3", "published ids never change: a learner's progress hangs on them"
    assert "area::foundations" in tags and "level::basic" in tags
    assert r"\(f^{[l]}\)" in fields and "$" not in fields and "data-tex" not in fields


@pytest.mark.parametrize("kind", ["questions", "terms"])
def test_the_records_keep_to_their_schema(press, kind):
    schema = json.loads((FILES / f"{kind}.schema.json").read_text())
    document = json.loads((FILES / f"{kind}.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert not list(Draft202012Validator(schema).iter_errors(document))
    assert [record["id"] for record in document[kind]] == list(getattr(press.kb, kind))
    del document[kind][0]["id"]
    assert list(Draft202012Validator(schema).iter_errors(document))


def test_every_page_is_there_as_markdown(press):
    listed = (SITE / "llms.txt").read_text()
    copies = {path.relative_to(SITE).as_posix() for path in SITE.rglob("*.md")}
    for thing in (*press.kb.concepts.values(), *press.kb.questions.values()):
        assert thing.path in copies and f"{press.edition.site}{thing.path}" in listed
    broken = []
    for path in copies:
        text = re.sub(r"(?s)```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$", "", (SITE / path).read_text())
        broken += [
            f"{path}: {left}"
            for left in re.findall(r"\]\((?:concept|question|term):[^)]*\)|\[@[^\]]*\]|--8<--|\\eqref\S*", text)
        ]
        for href in re.findall(r"\]\(([^)\s]+\.md)(?:#[^)\s]*)?\)", text):
            found = target(path, href)
            if found and found[0] not in copies:
                broken.append(f"{path}: {href}")
    assert not broken, "\n".join(broken[:20])


def test_the_offline_site_has_the_pages_of_the_site():
    with zipfile.ZipFile(FILES / "deep-learning-answers-site.zip") as archive:
        names = {name for name in archive.namelist() if name.endswith(".html")}
        home = archive.read("deep-learning-answers/index.html")
    assert len(names) == len(pages())
    assert etree.parse(io.BytesIO(home), etree.HTMLParser()).xpath("//title")
