"""Every kind of mistake gets one clear message with its file and line, all at once."""

import subprocess
from pathlib import Path

import pytest
import small
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from knowledge import mathematics, model

CASES = yaml.safe_load(Path(__file__).with_name("cases").joinpath("mistakes.yml").read_text())


@pytest.fixture(scope="session")
def formulas(tmp_path_factory):
    return mathematics.Cache(tmp_path_factory.mktemp("cache") / "formulas.json")


def changed(files, case):
    """Return the files with the case's change made."""
    files, name = dict(files), case["file"]
    if "whole" in case:
        files[name] = case["whole"].encode()
    elif "replace" in case:
        text = files[name].decode()
        assert text.count(case["replace"]) == 1, f"{case['name']}: “{case['replace']}” is not there once"
        files[name] = text.replace(case["replace"], case["by"]).encode(errors="surrogateescape")
    else:
        del files[name]
    return files


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_mistake(case, formulas):
    found = [str(mistake) for mistake in model.load(changed(small.files(), case), formulas.mistakes)[1]]
    expected = [e if e.startswith("docs/") else f"{case['file']}:{e}" for e in case["expect"]]
    for line in expected:
        place, _, words = line.partition(": ")
        assert any(message.startswith(place + ":") and words in message for message in found), (
            f"{line}\nnot in\n{found}"
        )
    assert len(found) == len(expected), found


def test_the_small_knowledge_base_has_no_mistake(formulas):
    kb, mistakes = model.load(small.files(), formulas.mistakes)
    assert not mistakes
    assert kb and set(kb.questions) == {"what-is-gradient-descent", "what-is-the-learning-rate"}


def test_all_mistakes_are_reported_at_once(formulas):
    files, expected = small.files(), 0
    for name in (
        "an unknown level",
        "an unknown term",
        "an unknown source",
        "an unknown seed question",
        "a false date",
    ):
        case = next(c for c in CASES if c["name"] == name)
        files, expected = changed(files, case), expected + len(case["expect"])
    assert len(model.load(files, formulas.mistakes)[1]) == expected


def test_a_build_with_mistakes_leaves_the_last_good_site(tmp_path):
    """Exit code 1, every mistake on its line, no traceback, and the site untouched."""
    root = Path(__file__).parent.parent
    project = tmp_path / "project"
    subprocess.run(["git", "clone", "--quiet", root, project], check=True)
    (project / "site").mkdir()
    (project / "site/index.html").write_text("the last good site")
    index = project / "docs/_data/questions.yml"
    index.write_text(index.read_text().replace("level: basic", "level: basics", 1))
    (project / ".venv").symlink_to((root / ".venv").resolve())
    run = subprocess.run(["scripts/build"], cwd=project, capture_output=True, text=True)
    assert run.returncode == 1
    assert "“basics” is none of basic, intermediate, advanced" in run.stderr
    assert "docs/_data/questions.yml:" in run.stderr
    assert "Traceback" not in run.stderr + run.stdout
    assert (project / "site/index.html").read_text() == "the last good site"


TEXT_FILES = [name for name in small.files() if not name.endswith(".py")]


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(TEXT_FILES),
    content=st.one_of(st.binary(max_size=400), st.text(max_size=400).map(lambda s: s.encode(errors="surrogatepass"))),
)
def test_any_bytes_give_mistakes_or_a_model(name, content):
    files = small.files()
    files[name] = content
    kb, mistakes = model.load(files, lambda tex, display: mathematics.mistakes(tex))
    assert (kb is None) == bool(mistakes)
    assert all(m.path in files and m.line > 0 for m in mistakes)


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_any_damage_to_a_file_gives_mistakes_or_a_model(data):
    """Cut, doubled and replaced pieces reach deeper into the loaders than bytes from nowhere."""
    files = small.files()
    name = data.draw(st.sampled_from(TEXT_FILES))
    text = files[name]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    by = data.draw(
        st.one_of(
            st.binary(max_size=10),
            st.sampled_from(
                [
                    b"",
                    b"\n",
                    b"  ",
                    b": ",
                    b"- ",
                    b"[",
                    b"]",
                    b"{",
                    b"}",
                    b"'",
                    b'"',
                    b"|",
                    b"&a ",
                    b"*a",
                    b"!!int ",
                    b"$",
                    b"\\",
                    b"~",
                    b"null",
                    b"1",
                    b"[@",
                    b"](concept:",
                    b"---\n",
                    b"@",
                    b"\x00",
                    b"\t",
                    text[start:end] * 2,
                ]
            ),
        )
    )
    files[name] = text[:start] + by + text[end:]
    kb, mistakes = model.load(files, lambda tex, display: mathematics.mistakes(tex))
    assert (kb is None) == bool(mistakes)
    assert all(m.line > 0 for m in mistakes)
