"""The page of measured figures says what the file of measurements says."""

import sys
from pathlib import Path

import pytest

from fewlabels import METHODS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import tables  # noqa: E402


def run(row, labels, seed, accuracy, images="32k"):
    return {"row": row, "labels_per_class": labels, "seed": seed, "images": images, "test_accuracy": accuracy}


def test_the_page_is_written_from_what_was_measured():
    assert tables.PAGE.read_text() == tables.page(tables.written()), "python benchmarks/tables.py writes it anew"


@pytest.mark.parametrize("method", METHODS)
def test_each_methods_page_shows_its_figures(method):
    page = (ROOT / "docs" / "methods" / f"{method}.md").read_text()
    assert f'--8<-- "docs/methods/measured.md:{method}"' in page
    assert f"[start:{method}]" in tables.PAGE.read_text()


def test_means_deviations_and_gains_on_the_same_draws():
    runs = [run("supervised", 10, seed, accuracy) for seed, accuracy in enumerate([0.30, 0.34, 0.32])]
    runs += [run("uda", 10, seed, accuracy) for seed, accuracy in enumerate([0.36, 0.38, 0.40])]
    runs += [run("vat", 10, 1, 0.35), run("supervised", 10, 0, 0.5, images="256k")]
    text = tables.page({str(number): one for number, one in enumerate(runs)})
    assert "## 32,000 gradient images" in text
    assert text.index("32,000 gradient") < text.index("256,000 gradient")
    assert "| uda | **38.0 ± 2.0** | +6.0 ± 2.0 |" in text
    assert "| vat | 35.0 (1) | +1.0 |" in text
    assert "| supervised | 32.0 ± 2.0 |  |" in text
    assert text.index("| uda") < text.index("| vat") < text.index("| supervised |")
    assert "38.0 ± 2.0 % with 10 labels a class (+6.0 ± 2.0 to supervised on the same draws)" in text
    assert "35.0 % with 10 labels a class in 1 of 3 draws" in text
    assert "[not yet](measured.md)" in text
