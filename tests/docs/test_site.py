"""The documentation site: complete, built without a warning, and in need of no network."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fewlabels

ROOT = Path(__file__).parents[2]
METHODS = ROOT / "docs" / "methods"


def test_every_method_has_a_page_a_place_in_the_index_and_one_in_the_reference():
    index = (METHODS / "index.md").read_text()
    table = (ROOT / "README.md").read_text()
    reference = (ROOT / "docs" / "api" / "methods.md").read_text()
    pages = {path.stem for path in METHODS.glob("*.md")} - {"index"}
    assert pages >= set(fewlabels.METHODS)
    for name, method in fewlabels.METHODS.items():
        assert (METHODS / f"{name}.md").read_text().startswith(f"# {name}\n")
        assert f"]({name}.md)" in index
        assert f"| `{name}` |" in table
        assert f"::: fewlabels.{method.__name__}\n" in reference


def test_every_public_name_is_in_the_reference():
    reference = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    for name in fewlabels.__all__:
        assert f"::: fewlabels.{name}\n" in reference, name


def test_what_docstrings_refer_to_is_in_the_reference():
    reference = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    for method in fewlabels.METHODS.values():
        for names in re.findall(r"See (`\w+`(?: and `\w+`)?) for", method.__doc__):
            for name in re.findall(r"\w+", names.replace(" and ", " ")):
                assert re.search(rf"^::: fewlabels\.([a-z_]+\.)*{name}$", reference, re.MULTILINE), name


def test_what_every_method_can_do_is_in_the_reference():
    page = (ROOT / "docs" / "api" / "methods.md").read_text()
    shown = re.findall(r"SemiSupervisedClassifier\n    options:\n      members: \[(.*)\]", page)[0].split(", ")
    kinds = (fewlabels.SemiSupervisedClassifier, fewlabels.methods.settings.Settings)
    public = [
        name for kind in kinds for name, what in vars(kind).items() if inspect.isfunction(what) or name[-1] == "_"
    ]
    # What a new method is written by is with its parts.
    assert {name for name in public if name[0] != "_"} - {"loss"} <= set(shown)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed; `make docs` does that")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|link)\b[^>]*?(?:src|href)="?((?:https?:)?//[^">]*)', text)
        assert not loaded, f"{page.name} loads {loaded}"
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_what_is_taken_in_from_elsewhere_is_there(site):
    for page, words in (
        ("contributing.html", "EntropyMinimization"),
        ("methods/index.html", "moving average"),
        ("index.html", "Test images are classified once"),
        ("api/methods.html", "label_smoothing"),
    ):
        assert words in (site / page).read_text(encoding="utf-8"), page
