"""Versions by mike, deployed to a bare repository on this machine and looked at in Chromium."""

import json
import os
import re
import shutil
import subprocess

import pytest
from browser import chromium, serving
from built_site import ROOT
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """The branch gh-pages after six deployments, of which the last two are of the whole site."""
    folder = tmp_path_factory.mktemp("versions")
    project, remote, site = folder / "project", folder / "remote.git", folder / "site"

    def run(*command, **environment):
        subprocess.run(
            command,
            cwd=project if project.exists() else folder,
            check=True,
            capture_output=True,
            env=os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"} | environment,
        )

    run("git", "init", "--bare", str(remote))
    run("git", "clone", str(ROOT), str(project))
    shutil.copytree(ROOT / "docs", project / "docs", dirs_exist_ok=True)  # what is being tested, committed or not
    for name in ("hooks", "scripts"):
        shutil.copytree(ROOT / name, project / name, dirs_exist_ok=True)
    shutil.copy(ROOT / "mkdocs.yml", project)
    (project / ".venv").symlink_to(ROOT / ".venv")
    (project / ".cache").mkdir()
    shutil.copy(ROOT / ".cache/formulas.json", project / ".cache")
    run("git", "remote", "set-url", "origin", str(remote))
    run("git", "config", "user.email", "test@example.org")
    run("git", "config", "user.name", "Test")
    full, hooks = (project / "mkdocs.yml").read_text(), "hooks:\n"
    assert hooks in full
    # Four old versions of one page each, made without the knowledge base, as only their pruning matters.
    (project / "one").mkdir()
    (project / "one/index.md").write_text("# Old")
    (project / "mkdocs.yml").write_text("site_name: Old\ndocs_dir: one\nplugins: []\n")
    for version in ("0.1", "0.2", "0.3", "0.4"):
        run("scripts/deploy", version)
    (project / "mkdocs.yml").write_text(full)
    run("scripts/deploy", "1.0", "latest")
    run("scripts/deploy", "1.1", "latest", KEEP="2")
    run("git", "clone", "--branch", "gh-pages", str(remote), str(site))
    return site


def test_old_versions_are_pruned_by_the_rule(deployed):
    versions = json.loads((deployed / "versions.json").read_text())
    assert [(v["version"], v["aliases"]) for v in versions] == [("1.1", ["latest"]), ("1.0", []), ("0.4", [])]
    assert not (deployed / "0.1").exists()


def test_the_site_begins_at_the_latest_version(deployed):
    assert 'url=latest/"' in (deployed / "index.html").read_text()


@pytest.mark.parametrize("version", ["1.0", "1.1", "latest"])
def test_every_version_calls_the_latest_one_canonical(deployed, version):
    page = (deployed / version / "concepts/optimization/adam/index.html").read_text()
    assert re.search(r'<link rel="canonical" href="[^"]*/latest/concepts/optimization/adam/"', page)


def test_selector_banner_search_and_navigation_stay_in_their_version(deployed):
    with serving(deployed) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}1.0/concepts/optimization/adam/")
        expect(page.locator(".md-version__current")).to_have_text("1.0")
        expect(page.locator("[data-md-component=outdated]")).to_be_visible()
        page.locator(".md-search__input").click()
        page.keyboard.type("dropout")
        result = page.locator(".md-search-result__link").first
        expect(result).to_be_visible(timeout=15000)
        assert result.get_attribute("href").startswith(f"{address}1.0/")
        page.keyboard.press("Escape")
        page.locator("article a[href*=gradient]:visible").first.click()
        page.wait_for_url(f"{address}1.0/**")
        page.goto(f"{address}1.1/concepts/optimization/adam/")
        expect(page.locator(".md-version__current")).to_have_text("1.1")
        expect(page.locator("[data-md-component=outdated]")).to_be_hidden()
        page.locator(".md-version").hover()
        expect(page.locator(".md-version__link")).to_have_count(3)
        assert not errors
