"""Every page in Chromium, light and dark, wide and at 320 pixels; the keyboard; JavaScript off; `file://`."""

import re
from collections import defaultdict

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import chromium, serving
from built_site import SITE, paths

# A page of each kind, for what need not be tried on all.
KINDS = [
    "",
    "concepts/optimization/adam/",
    "questions/how-does-backpropagation-work/",
    "glossary/",
    "faq/",
    "faq/topics/optimization/",
    "faq/interview/optimization/",
    "reference/bibliography/",
    "reference/corrections/",
    "reference/notation/",
    "concepts/map/",
    "notebooks/",
    "notebooks/dropout-as-an-ensemble/",
    "downloads/",
]


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
    context = browser.new_context()
    yield context.new_page()
    context.close()


def sections():
    found = defaultdict(list)
    for path in paths():
        found[path.partition("/")[0] if "/" in path else "top"].append(path)
    return found


@pytest.mark.parametrize("section", sections())
def test_every_page_in_both_palettes(browser, address, section):
    """No console error, no failed or foreign request, and nothing wider than the screen at 320 pixels."""
    context = browser.new_context(viewport={"width": 320, "height": 700}, color_scheme="light")
    page, wrong = context.new_page(), []
    page.on("console", lambda m: wrong.append(f"{page.url}: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: wrong.append(f"{page.url}: {e}"))
    page.on(
        "requestfailed",
        lambda r: wrong.append(f"{page.url}: failed {r.url}") if r.failure != "net::ERR_ABORTED" else None,
    )
    page.on(
        "request",
        lambda r: None if r.url.startswith((address, "data:", "blob:")) else wrong.append(f"{page.url}: {r.url}"),
    )
    page.on("response", lambda r: wrong.append(f"{page.url}: {r.status} {r.url}") if r.status >= 400 else None)
    for path in sections()[section]:
        if path == "404.html":
            continue  # names its resources from the root of the published site
        page.goto(address + path.removesuffix("index.html"), wait_until="load")
        for scheme, width in (("light", 320), ("dark", 320), ("dark", 1280)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 700})
            palette = {"light": "default", "dark": "slate"}[scheme]
            page.wait_for_function("p => document.body.dataset.mdColorScheme == p", arg=palette, timeout=5000)
            seen = page.evaluate("""() => [document.documentElement.scrollWidth, innerWidth,
                document.querySelectorAll('mjx-container, merror').length]""")
            if seen[0] > seen[1]:
                wrong.append(f"{path}: {seen[0]} pixels wide at {width}")
            if seen[2]:
                wrong.append(f"{path}: {seen[2]} formulas left to the browser")
    context.close()
    assert not wrong, "\n".join(wrong[:30])


#: The theme's: the lines of its navigation are lower than 24 pixels, and tables that scroll are reached by the keyboard
#: in Chromium without being marked as such.
THEIRS = {"target-size", "scrollable-region-focusable"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_by_the_rules_of_axe(browser, address, scheme):
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    page, wrong = context.new_page(), []
    levels = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    for kind in KINDS:
        if kind in ("glossary/", "reference/bibliography/", "reference/corrections/"):
            continue  # minutes each; their entries look like those of other pages
        page.goto(address + kind)
        found = Axe().run(page, options={"runOnly": levels}).response["violations"]
        wrong += [f"{kind}: {rule['help']}: {rule['nodes'][0]['html']}" for rule in found if rule["id"] not in THEIRS]
    context.close()
    assert not wrong, "\n".join(wrong)


def test_readable_without_javascript(browser, address):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    for kind in KINDS:
        page.goto(address + kind)
        assert len(page.locator("article").inner_text()) > 300, kind
    page.goto(address + "concepts/optimization/adam/")
    formula = page.locator("div.arithmatex svg").first.bounding_box()
    assert formula and formula["height"] > 10
    folded = page.locator("details").first
    folded.locator("summary").click()
    assert folded.get_attribute("open") is not None
    context.close()


def test_readable_from_a_file(browser):
    context = browser.new_context()
    page, failed = context.new_page(), []
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else failed.append(r.url))
    page.goto((SITE / "concepts/optimization/adam/index.html").as_uri())
    assert page.locator("div.arithmatex svg").count() > 5
    assert not failed
    context.close()


def test_a_term_shows_its_definition_to_the_keyboard(page, address):
    page.goto(address + "concepts/optimization/adam/")
    term = page.locator("a.term").first
    definition = term.get_attribute("title") or ""
    term.focus()
    page.locator(".md-tooltip2--active", has_text=definition[:30]).wait_for(timeout=5000)


def test_wide_equations_scroll_in_their_own_box(page, address):
    page.set_viewport_size({"width": 320, "height": 700})
    page.goto(address + "concepts/optimization/adam/")
    wide = page.locator("div.arithmatex > .formula[tabindex='0']")
    wide.first.wait_for(state="attached")
    assert wide.count() > 0
    assert wide.first.evaluate("e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX == 'auto'")


def test_copying_gives_the_tex(page, address):
    page.goto(address + "concepts/optimization/adam/")
    copied = page.evaluate("""() => {
        const range = document.createRange()
        range.selectNode(document.querySelector('div.arithmatex'))
        getSelection().removeAllRanges(); getSelection().addRange(range)
        const data = new DataTransfer()
        document.dispatchEvent(new ClipboardEvent('copy', {clipboardData: data, cancelable: true}))
        return data.getData('text/plain')
    }""")
    assert copied.strip().startswith("$$") and "\\" in copied


def test_screen_readers_get_the_formula(page, address):
    page.goto(address + "concepts/optimization/adam/")
    seen = page.locator("article").aria_snapshot()
    assert re.search(r"math|θ", seen)
    assert page.locator("div.arithmatex svg").first.get_attribute("aria-hidden") == "true"


def test_the_layout_does_not_shift(page, address):
    page.goto(address + "concepts/optimization/adam/")
    shift = page.evaluate("""() => new Promise(done => { let sum = 0
        new PerformanceObserver(list => { for (const e of list.getEntries()) sum += e.value })
            .observe({type: 'layout-shift', buffered: true})
        setTimeout(() => done(sum), 800) })""")
    assert shift < 0.1


def test_the_404_page_works_at_any_depth(page, tmp_path):
    """It is served for any address, so it names its resources from the root of the published site."""
    (tmp_path / "deep-learning-answers").symlink_to(SITE)
    failed = []
    page.on("response", lambda r: failed.append(r.url) if r.status >= 400 else None)
    with serving(tmp_path) as address:
        page.goto(f"{address}deep-learning-answers/404.html")
        page.locator(".search-opener").click()
        page.locator(".md-search__input:focus").wait_for()
    assert not failed


PUBLISHED = "https://deep-learning-answers.github.io/deep-learning-answers/"


@pytest.fixture
def published(page):
    """A page on which the built site stands at its published address, as instant navigation compares addresses."""

    def answer(route):
        file = SITE / route.request.url.partition("#")[0].partition("?")[0].removeprefix(PUBLISHED)
        file = file / "index.html" if file.is_dir() else file
        route.fulfill(path=file) if file.is_file() else route.fulfill(status=404)

    page.route(f"{PUBLISHED}**", answer)
    return page


def test_instant_navigation_keeps_the_formulas(published):
    wrong = []
    published.on("pageerror", lambda e: wrong.append(str(e)))
    published.goto(PUBLISHED + "concepts/optimization/adam/")
    published.evaluate("window.sameDocument = true")
    published.locator("article a[href*='gradient-descent/']:not(.term):visible").first.click()
    published.wait_for_url("**/gradient-descent/**")
    published.locator("h1", has_text="Gradient descent").wait_for()
    assert published.evaluate("window.sameDocument") is True
    assert published.locator("div.arithmatex svg use").first.bounding_box()["width"] > 1
    assert not wrong


def test_a_link_previews_its_page(published):
    published.goto(PUBLISHED + "concepts/optimization/adam/")
    published.locator("article a[data-preview][href*='gradient-descent/']:visible").first.hover()
    published.locator(".md-tooltip2--active", has_text="Gradient descent").wait_for(timeout=10000)
