"""Measures the search of the built site in Chromium, beside lunr as Material ships it, on the same pages.

What is measured is what a reader gets: queries go into the search box, results are read off the page. A query is a hit
at the first result whose title, or the title of whose page, matches one of its patterns. It counts only if such a title
is on the site. `half` says which queries the weights were tuned on; the others were held back.
"""

import gzip
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from bench_build import BIN, copy
from browser import chromium, serving
from built_site import ROOT, SITE

CASES = ROOT / "tests/cases/search"
SCRIPTS = ROOT / "docs/assets/javascripts/search"

ITEMS = """() => [...document.querySelectorAll('.md-search-result__item')].slice(0, 10).map(item =>
    [...item.querySelectorAll('h1, h2, .search-place')].map(e => e.textContent))"""
#: Records the messages of the theme's worker, so that one knows when a query is answered.
RECORD = """window.answers = 0; const Theirs = window.Worker
window.Worker = class extends Theirs { constructor(...a) { super(...a); this.addEventListener('message', ({data}) => {
    if (data.type === 3) window.answers++
    if (data.type === 1) window.ready = true }) } }"""
#: Types a query letter by letter, and gives the milliseconds from each key to the results on the page.
TYPE = """async query => { const input = document.querySelector('.md-search__input')
    const list = document.querySelector('.md-search ol')
    const times = []
    for (let i = 1; i <= query.length; i++) {
        const start = performance.now()
        input.value = query.slice(0, i)
        input.dispatchEvent(new Event('input'))
        while (list.dataset.query !== input.value) await new Promise(done => {
            const soon = new MessageChannel(); soon.port1.onmessage = done; soon.port2.postMessage(0) })
        times.push(performance.now() - start)
        await new Promise(done => setTimeout(done, 20))
    }
    return times }"""
GROW = """async times => {
    const entries = Array.from({length: Math.round(times)}, (_, k) => searchIndex.entries.map(e =>
        k ? {...e, title: `${e.title} ${k}x`, text: (e.text ?? '') + ` ${k}x copy${k}` } : e)).flat()
    const start = performance.now()
    const engine = new searchEngine.Engine({...searchIndex, entries})
    const names = performance.now() - start
    while (engine.readTexts(1000));
    const all = performance.now() - start
    const times_ = []
    for (const query of window.queries) {
        const start = performance.now(); engine.search(query); times_.push(performance.now() - start) }
    times_.sort((a, b) => a - b)
    return [entries.length, names, all, times_[times_.length >> 1], times_[Math.floor(times_.length * .95)]]
}"""


def index(site: Path) -> dict:
    return json.loads((site / "search/search_index.js").read_text().removeprefix("searchIndex = "))


def queries() -> list[dict]:
    return [
        q | {"set": name}
        for name in ("dev", "own", "blind")
        for q in json.loads((CASES / f"{name}_queries.json").read_text())
    ]


def hits(query: dict, titles: list[str]) -> bool:
    return any(re.search(pattern, title, re.IGNORECASE) for pattern in query["titles"] for title in titles)


def stock(scratch: Path) -> Path:
    """Build the same site with the search as Material ships it."""
    project = copy(scratch / "stock")
    if (ROOT / ".cache/formulas.json").exists():
        (project / ".cache").mkdir()
        shutil.copy(ROOT / ".cache/formulas.json", project / ".cache")
    config = (project / "mkdocs.yml").read_text().replace("  - hooks/search.py\n", "")
    config = config.replace("  - assets/javascripts/search/box.js\n", "")
    config = config.replace(
        "  features:\n", "  features:\n    - search.highlight\n    - search.share\n    - search.suggest\n"
    )
    (project / "mkdocs.yml").write_text(config)
    (project / "docs/.overrides/partials/search.html").unlink()
    (project / "docs/search.md").unlink()
    subprocess.run([BIN / "mkdocs", "build", "-q"], cwd=project, check=True, capture_output=True)
    return project / "site"


def ask_ours(page, query: str) -> list[list[str]]:
    page.fill(".md-search__input", query)
    page.wait_for_function("q => document.querySelector('.md-search ol').dataset.query === q", arg=query)
    return page.evaluate(ITEMS)


def ask_lunr(page, query: str) -> list[list[str]]:
    before = page.evaluate("answers")
    page.evaluate(
        """q => { const i = document.querySelector('.md-search__input'); i.value = q
        i.dispatchEvent(new KeyboardEvent('keyup')) }""",
        query,
    )
    page.wait_for_function("n => answers > n", arg=before)
    page.wait_for_timeout(20)
    return page.evaluate(ITEMS)


def rank(query: dict, items: list[list[str]]) -> int:
    return next((n for n, titles in enumerate(items, 1) if hits(query, titles)), 0)


def quality(browser, site: Path, theirs: Path) -> None:
    found = index(site)["entries"]
    titles = [e["title"] for e in found] + [e["page"] for e in found if e["kind"] == "section"]
    asked = [q for q in queries() if hits(q, titles)]
    missing = [q for q in queries() if not hits(q, titles)]
    ranks: dict[str, list[int]] = {}
    for name, folder, ask in (("ours", site, ask_ours), ("lunr", theirs, ask_lunr)):
        with serving(folder) as address:
            page = browser.new_page()
            page.add_init_script(RECORD)
            page.goto(address)
            if name == "lunr":
                page.wait_for_function("window.ready")
                page.locator("label[for=__search]").first.evaluate("e => e.click()")
            else:
                page.focus(".md-search__input")
                ask_ours(page, "warm up")
                page.wait_for_timeout(3000)  # all texts are read
            ranks[name] = [rank(q, ask(page, q["query"])) for q in asked]
            page.close()
    whole = [e["title"] for e in found if e["kind"] in ("question", "concept")]
    groups: dict[str, set[int]] = defaultdict(set)
    for i, q in enumerate(asked):
        answered = "has a page: " + q["style"] if hits(q, whole) else "only a term or a section"
        for group in (
            answered,
            answered.partition(":")[0],
            "all",
            f"style: {q['style']}",
            f"{q['half']}: {q['set']} queries",
            f"{q['half']}: {q['style']}",
        ):
            groups[group].add(i)
    print(f"{len(asked)} queries whose answer is on the site; {len(missing)} without such a page yet\n")
    print(f"{'':32}{'queries':>8}{'   success at 1, 3, 10 and mean reciprocal rank':48}{'lunr':>10}")
    for group in sorted(groups):
        row = f"{group:32}{len(groups[group]):8}"
        for name in ("ours", "lunr"):
            own = [ranks[name][i] for i in groups[group]]
            row += "   " + "".join(f"{sum(0 < r <= n for r in own) / len(own):6.0%}" for n in (1, 3, 10))
            row += f"{sum(1 / r for r in own if r) / len(own):7.2f}"
        print(row)
    if "--failures" in sys.argv:
        for i, q in enumerate(asked):
            if ranks["ours"][i] != 1:
                print(f"{ranks['ours'][i]:3} {ranks['lunr'][i]:3} {q['half']:10} {q['style']:13} {q['query']}")
    if "--missing" in sys.argv:
        print(*(f"no page yet: {q['query']}" for q in missing), sep="\n")


def speed(browser, site: Path, offline: Path) -> None:
    texts = [q["query"] for q in queries()][::16]
    with serving(site) as address:
        firsts = []
        for _ in range(5):
            context = browser.new_context()
            page = context.new_page()
            page.goto(address, wait_until="load")
            page.wait_for_timeout(300)
            firsts.append(
                page.evaluate("""async () => { const start = performance.now()
                const input = document.querySelector('.md-search__input'); input.focus(); input.value = 'd'
                input.dispatchEvent(new Event('input'))
                while (!document.querySelector('.md-search ol li')) await new Promise(done => setTimeout(done, 1))
                return performance.now() - start }""")
            )
            context.close()
        median = statistics.median(firsts)
        print(f"\ncold index, first key to first result: {median:.0f} ms (worst of 5: {max(firsts):.0f})")
        file = (offline / "index.html").as_uri()
        for name, start in (("in the worker", address), ("on the page, from file://", file)):
            page = browser.new_page()
            page.goto(start)
            page.focus(".md-search__input")
            ask_ours(page, "warm up")
            page.wait_for_timeout(3000)
            page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})
            times = sorted(t for text in texts for t in page.evaluate(TYPE, text))
            print(
                f"key to results, CPU slowed 4 times, {name}: median {statistics.median(times):.0f} ms,"
                f" p95 {times[int(len(times) * 0.95)]:.0f} ms over {len(times)} keys"
            )
            page.close()


def size(site: Path, theirs: Path) -> None:
    def packed(*files: Path) -> int:
        return sum(len(gzip.compress(f.read_bytes(), 9)) for f in files)

    ours, lunr = packed(site / "search/search_index.js"), packed(theirs / "search/search_index.json")
    ours_js = packed(*(site / "assets/javascripts/search").glob("*.js"))
    lunr_js = packed(*theirs.glob("assets/javascripts/workers/*.js"))
    print(
        f"\nindex, gzip: {ours / 1024:.0f} KB, Material's {lunr / 1024:.0f} KB ({ours / lunr - 1:+.0%});"
        f" scripts {ours_js / 1024:.0f} KB, Material's worker {lunr_js / 1024:.0f} KB"
    )


def growth(browser, site: Path) -> None:
    entries = index(site)["entries"]
    pages = sum(e["kind"] in ("question", "concept") for e in entries)
    page = browser.new_page()
    for name in ("minisearch", "language", "engine"):
        page.add_script_tag(path=SCRIPTS / f"{name}.js")
    page.add_script_tag(path=site / "search/search_index.js")
    page.evaluate("q => { window.queries = q }", [q["query"] for q in queries()][::4])
    print("\n   pages  entries  names read  all read  query median     p95  (ms, not slowed)")
    for wanted in (pages, 1000, 5000):
        n, names, everything, median, p95 = page.evaluate(GROW, wanted / pages)
        print(f"{wanted:8}{n:9}{names:12.0f}{everything:10.0f}{median:14.1f}{p95:8.1f}")


def main() -> None:
    """Build what is compared, and print the figures."""
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        theirs, offline = stock(Path(scratch)), Path(scratch) / "offline"
        for site, switch in ((SITE, "true"), (offline, "false")):
            subprocess.run(
                [BIN / "mkdocs", "build", "-q", "--strict", "-d", site],
                cwd=ROOT,
                check=True,
                capture_output=True,
                env=os.environ | {"DIRECTORY_URLS": switch},
            )
        quality(browser, SITE, theirs)
        size(SITE, theirs)
        speed(browser, SITE, offline)
        growth(browser, SITE)


if __name__ == "__main__":
    main()
