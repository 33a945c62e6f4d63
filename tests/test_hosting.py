"""The site behind nginx with its compression, caching and policy; and what the workflows may do."""

import re
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
import yaml
from browser import chromium
from built_site import ROOT, SITE
from playwright.sync_api import expect
from test_search import ask


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of Debian's nginx with our configuration; only paths and port are those of the test."""
    folder = tmp_path_factory.mktemp("nginx")
    shutil.copytree(SITE, folder / "site/deep-learning-answers")  # where the site's address says that it is
    policy = subprocess.run(["scripts/policy"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (folder / "policy.conf").write_text(policy)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = (ROOT / "hosting/nginx.conf").read_text()
    for theirs, ours in {
        "127.0.0.1:8080": f"127.0.0.1:{port}",
        "/srv/deep-learning-answers": f"{folder}/site",
        "/etc/nginx/content-security-policy.conf": f"{folder}/policy.conf",
        "/404.html": "/deep-learning-answers/404.html",
        "/feed.xml": "/deep-learning-answers/feed.xml",
    }.items():
        assert theirs in server
        server = server.replace(theirs, ours)
    (folder / "nginx.conf").write_text(
        f"user root; daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{ }}\n"
        f"http {{ include /etc/nginx/mime.types; access_log off;\n"
        + "".join(
            f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + server
        + "}"
    )
    process = subprocess.Popen(["/usr/sbin/nginx", "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    for _ in range(200):
        assert process.poll() is None, (folder / "error.log").read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/deep-learning-answers/"
    process.terminate()
    process.wait()


def headers(url):
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request) as response:
        return response.headers


def test_compression_and_caching(address):
    page = headers(address)
    assert page["Content-Encoding"] == "gzip" and page["Cache-Control"] == "no-cache" and page["ETag"]
    hashed = next(SITE.glob("assets/javascripts/bundle.*.min.js")).name
    assert "immutable" in headers(f"{address}assets/javascripts/{hashed}")["Cache-Control"]
    assert headers(f"{address}search/search_index.js")["Content-Encoding"] == "gzip"
    assert headers(f"{address}concepts/optimization/adam.md")["Content-Type"] == "text/markdown; charset=utf-8"
    assert headers(f"{address}feed.xml")["Content-Type"].startswith("application/atom+xml")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        headers(f"{address}no-such-page/")


def test_everything_works_under_the_policy(address):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        refused = []
        page.on("response", lambda response: response.status >= 400 and refused.append(response.url))
        page.on("console", lambda message: "Refused" in message.text and refused.append(message.text))
        page.on("pageerror", lambda error: refused.append(str(error)))
        for path in ("", "concepts/optimization/adam/", "glossary/", "faq/interview/optimization/", "404.html"):
            page.goto(address + path)
            assert "default-src 'none'" in headers(address + path)["Content-Security-Policy"]
        page.goto(f"{address}concepts/optimization/adam/")
        page.locator(".tabbed-labels label").nth(1).click()
        expect(page.locator(".tabbed-block").nth(1)).to_be_visible()
        ask(page, "what is the learning rate")
        expect(page.locator(".search-answer")).to_be_visible(timeout=15000)
        page.keyboard.press("Escape")
        page.locator("form[data-md-component=palette] label:visible").click()
        scheme = page.locator("body").get_attribute("data-md-color-scheme")
        page.reload()
        assert page.locator("body").get_attribute("data-md-color-scheme") == scheme
        page.locator("nav a[href*=gradient-descent]:visible").first.click()
        page.wait_for_url("**/gradient-descent/**")
        assert not refused, refused


WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_our_scripts_and_little_else(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert set(job.get("permissions", {})) <= {"contents"}
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), "pin actions by commit"
            else:
                command = step["run"].split()[0]
                assert command == "git" or (ROOT / command).is_file(), command
