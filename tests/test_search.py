"""The search: its entries, and in Chromium the box, the answer, filters, the results page, files, hostile queries."""

import re
import zipfile
from urllib.parse import urlencode

import pytest
from browser import chromium, serving
from built_site import ROOT, SITE
from knowledge import search
from knowledge.downloads import OFFLINE_SITE
from playwright.sync_api import expect
from test_markdown import build  # noqa: F401 - a fixture

QUESTION = "what is the learning rate"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def address():
    with serving(SITE) as address:
        yield address


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    ours = ("http://127.0.0.1", "file:", "data:", "blob:")
    page.on("request", lambda r: r.url.startswith(ours) or errors.append(r.url))
    yield page
    context.close()
    assert not errors, errors


def ask(page, query):
    page.locator(".md-search__input").fill(query)
    page.wait_for_function("q => document.querySelector('.md-search ol').dataset.query === q", arg=query)


def titles(page):
    return page.locator(".md-search-result__item h2").all_inner_texts()


# ---- entries


def test_entries(build):
    found = list(search.entries(build.kb, build.plain, lambda path: path.removesuffix(".md") + "/"))
    assert len({e.url for e in found}) == len(found)
    [question] = [e for e in found if e.url == "questions/what-is-gradient-descent/"]
    source = build.kb.questions["what-is-gradient-descent"]
    assert question.kind == "question" and question.level == source.level
    assert len(question.wordings) == len(source.also) and question.short
    assert {e.kind for e in found} >= {"question", "concept", "section", "term"}
    for entry in found:
        assert not re.search(r"\$|\\[a-z]+\b|\]\(|\[@", f"{entry.title} {entry.short} {entry.text}"), entry


def test_every_result_leads_somewhere():
    from bench_search import index
    from built_site import pages

    for entry in index(SITE)["entries"]:
        path, _, anchor = entry["url"].partition("#")
        page = pages()[f"{path}index.html"]
        assert not anchor or page.find(id=anchor), entry["url"]


def test_the_words_of_readers_are_words():
    import yaml

    for group in yaml.safe_load(search.EVERYDAY_WORDS.read_text("utf-8")).values():
        assert all(isinstance(k, str) and isinstance(v, str) for k, v in group.items())


# ---- the box


def test_typing_arrows_and_enter(page, address):
    page.goto(address)
    page.keyboard.press("/")
    page.keyboard.type("softmax")
    expect(page.locator(".md-search-result__item h2").first).to_contain_text("oftmax")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    second = page.locator(".md-search-result__link").nth(1)
    expect(second).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.locator(".md-search__input")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.type("x")  # goes on typing
    expect(page.locator(".md-search__input")).to_be_focused()
    page.keyboard.press("Backspace")
    page.wait_for_function("document.querySelector('.md-search ol').dataset.query === 'softmax'")
    target = page.locator(".md-search-result__link").first.get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(target)
    expect(page.locator("mark[data-md-highlight]").first).to_be_attached()
    assert not page.locator("#__search").is_checked()


def test_escape_closes_and_tab_reaches_the_filters(page, address):
    page.goto(address)
    page.keyboard.press("s")
    expect(page.locator(".md-search__input")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".search-filters button").first).to_be_focused()
    page.keyboard.press("Escape")
    assert not page.locator("#__search").is_checked()


def test_prefixes_typos_and_completion(page, address):
    page.goto(address)
    ask(page, "backprop")
    assert re.search("backprop", titles(page)[0], re.IGNORECASE)
    expect(page.locator(".md-search__suggest")).to_have_text(re.compile("^backpropagation$"))
    page.keyboard.press("ArrowRight")
    expect(page.locator(".md-search__input")).to_have_value("backpropagation")
    ask(page, "gradeint decent")
    assert re.search("gradient descent", titles(page)[0], re.IGNORECASE)


def test_an_exact_word_is_not_taken_for_a_typo(page, address):
    page.goto(address)
    ask(page, "dropout")
    assert all(re.search("dropout", title, re.IGNORECASE) for title in titles(page)[:3])


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("KL(p||q)", "KL"),
        (r"\operatorname{softmax}(\mathbf{z})", "softmax"),
        ("softmax formula", "softmax"),
        ("c_t = f_t * c_{t-1} + i_t * g_t", "LSTM"),
        ("BN", "batch norm"),
        ("nn.BatchNorm2d", "batch norm"),
        ("regularisation", "regulari[sz]ation"),
    ],
)
def test_symbols_abbreviations_and_spellings(page, address, query, title):
    page.goto(address)
    ask(page, query)
    assert re.search(title, " ".join(titles(page)[:2]), re.IGNORECASE)


def test_no_result_shows_raw_tex(page, address):
    page.goto(address)
    for query in ("attention formula", "gradient descent update", "cross entropy", "xavier variance"):
        ask(page, query)
        assert not re.search(r"\\[a-z]+|\$", page.locator(".md-search ol").inner_text())


def test_a_question_is_answered_at_once(page, address):
    page.goto(address)
    ask(page, QUESTION)
    answer = page.locator(".search-answer")
    expect(answer).to_have_count(1)
    expect(answer.locator("h2")).to_contain_text("learning rate")
    assert len(answer.locator(".search-teaser").inner_text().split()) > 15
    ask(page, "zebra crossing xyzzy")
    expect(answer).to_have_count(0)


def test_filters(page, address):
    page.goto(address)
    ask(page, "dropout")
    kinds = """() => [...new Set([...document.querySelectorAll('.md-search-result__item')].map(e => e.dataset.kind))]
        .join()"""
    assert page.evaluate(kinds).count(",") > 1
    button = page.locator("[data-filter=kind] button[value=term]")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.wait_for_function(f"({kinds})() === 'term'")
    button.click()
    page.locator("[data-filter=level] button[value=basic]").click()
    page.wait_for_function("""[...document.querySelectorAll('.md-search-result__item .search-place')]
        .every(e => /basic/.test(e.textContent))""")
    link = page.locator(".search-all").get_attribute("href")
    assert link.endswith("search/?q=dropout&level=basic")


def test_the_address_of_the_results_can_be_shared(page, address):
    page.goto(f"{address}search/?q=learning+rate&kind=question")
    items = page.locator(".search-results li")
    expect(items.first).to_be_visible()
    assert set(items.evaluate_all("all => all.map(e => e.dataset.kind)")) == {"question"}
    page.locator(".search-page select[name=level]").select_option("basic")
    page.wait_for_url("**/search/?q=learning+rate&kind=question&level=basic")
    page.locator(".search-page [name=q]").fill("dropout")
    page.wait_for_url("**/search/?q=dropout&*")


def test_a_link_opens_the_box(page, address):
    page.goto(f"{address}glossary/?q=dropout")
    expect(page.locator(".md-search-result__item").first).to_be_visible()
    expect(page.locator(".md-search__input")).to_have_value("dropout")


def test_after_instant_navigation(page, address):
    page.goto(address)
    page.locator(".md-tabs__link", has_text="Glossary").first.click()
    page.wait_for_url("**/glossary/")
    page.keyboard.press("/")
    page.keyboard.type("dropout")
    first = page.locator(".md-search-result__link").first
    expect(first).to_be_visible()
    first.click()
    expect(page.locator("mark[data-md-highlight]").first).to_be_attached()


def test_without_javascript(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}search/?q=dropout")
    expect(page.locator("article a", has_text="the questions from A to Z")).to_be_visible()
    context.close()


def test_roles_and_announcements(page, address):
    page.goto(address)
    expect(page.locator(".md-search")).to_have_role("search")
    box = page.locator(".md-search__input")
    expect(box).to_have_accessible_name("Search")
    status = page.locator("#search-status")
    expect(status).to_have_role("status")
    ask(page, QUESTION)
    expect(status).to_have_text(re.compile(r"^Answer and \d+ results: .*learning rate"))
    ask(page, "qqqqqqqq")
    expect(status).to_contain_text("Nothing found")
    ask(page, "")
    expect(status).to_contain_text("Type a question")
    expect(page.locator(".md-search ol")).to_have_accessible_name("Results")


@pytest.mark.parametrize(
    "query",
    [
        "gradient " * 555,
        "a" * 5000,
        "<img src=x onerror=alert(1)><script>alert(1)</script>",
        "\"'><svg/onload=alert(1)>",
        "(a+)+$[",
        "\\",
        "*^~:-+",
        "[[[",
        "$$ \\frac{",
        "تعلم الآلة",
        "\u202edropout\u202c",
        "ما هو dropout",
        "学习率",
        "__proto__",
        "constructor",
        "\x00dropout",
        "🙂🙂",
        "%00%3Cscript%3E",
        "~1",
        "^",
    ],
    ids=lambda q: ascii(q[:12]),
)
def test_hostile_queries_neither_break_nor_inject(page, address, query):
    alerts = []
    page.on("dialog", lambda d: (alerts.append(d.message), d.dismiss()))
    page.goto(address)
    box = page.locator(".md-search__input")
    box.fill(query)
    page.wait_for_function(
        "document.querySelector('.md-search ol').dataset.query !== undefined || "
        "!document.querySelector('.md-search__input').value.trim()"
    )
    assert page.locator(".md-search ol :is(img, script, svg)").count() == 0
    ask(page, "dropout")
    assert titles(page)
    page.goto(f"{address}search/?{urlencode({'q': query, 'h': query, 'kind': query})}")
    page.wait_for_function("document.querySelector('.search-results').dataset.query !== undefined")
    assert page.locator(".search-results :is(img, script, svg)").count() == 0
    assert not alerts


# ---- elsewhere


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("offline")
    with zipfile.ZipFile(SITE / "downloads" / OFFLINE_SITE) as archive:
        archive.extractall(folder)
    return folder / "deep-learning-answers"


def test_from_a_file(page, offline):
    page.goto((offline / "index.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type(QUESTION)
    expect(page.locator(".search-answer")).to_be_visible(timeout=15000)
    page.keyboard.press("Enter")
    page.wait_for_url("file:**/questions/*.html?h=*")
    expect(page.locator("mark[data-md-highlight]").first).to_be_attached()
    page.goto((offline / "search.html").as_uri() + "?q=softmax")
    expect(page.locator(".search-results li").first).to_be_visible(timeout=15000)


def test_below_a_folder_as_versions_are(page, tmp_path):
    (tmp_path / "1.0").symlink_to(SITE)
    with serving(tmp_path) as address:
        page.goto(f"{address}1.0/glossary/")
        ask(page, "dropout")
        assert page.locator(".md-search-result__link").first.get_attribute("href").startswith(f"{address}1.0/")


def test_the_theme_still_has_what_the_box_relies_on(page, address):
    """Its search box must not mount beside ours; the toggle, the class names and its share button are used."""
    assert "mkdocs-material==9.8.1\n" in (ROOT / "requirements.txt").read_text()
    requests = []
    page.on("request", lambda r: requests.append(r.url))
    page.goto(address)
    assert page.locator("[data-md-component^=search]").count() == 0
    assert page.locator("#__search[data-md-toggle=search]").count() == 1
    ask(page, "dropout")
    page.locator("[data-clipboard]").click()
    assert page.evaluate("navigator.clipboard.readText()").endswith("search/?q=dropout")
    assert not [r for r in requests if "search_index.json" in r or "workers/" in r]
