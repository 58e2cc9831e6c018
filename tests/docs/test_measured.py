"""The pages of measured figures say what the files of measurements say."""

import sys
from pathlib import Path

import pytest

from fewlabels import METHODS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import pool_tables  # noqa: E402
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


def test_a_methods_page_tells_of_its_settings_and_of_no_gain_where_there_is_no_bar():
    runs = [run("sim-clr (fast-wide)", 10, seed, 0.6, images="2M") for seed in range(3)]
    text = tables.page({str(number): one for number, one in enumerate(runs)})
    said = '2,000,000 gradient images: 60.0 ± 0.0 % with 10 labels a class, `preset="short"` and `net="fast-wide"`.'
    assert said in text


def test_the_page_on_pools_is_written_from_what_was_measured():
    text = pool_tables.PAGE.read_text()
    assert text == pool_tables.page(pool_tables.written()), "python benchmarks/pool_tables.py writes it anew"


def pool_run(method, option, seed, accuracy, **more):
    steps = {"pool, half 1": 100, "pool, half 2": 100, "classifier": 700}
    run = {"method": method, "option": option, "pool": "open-50", "seed": seed, "images": "128k"}
    return run | {"test_accuracy": accuracy, "gradient_images": 128_000, "steps": steps} | more


def test_what_options_brought_and_cost():
    looked = {"inside_share": 0.7, "true_inside_share": 0.6, "area_under_roc": 0.9}
    looked |= {"kept_inside": 0.95, "kept_outside": 0.3, "guard": {"accepted": False}}
    runs = [pool_run("supervised", "as it is", seed, 0.5 + seed / 100) for seed in range(3)]
    runs += [pool_run("uda", "as it is", seed, 0.48 + seed / 50) for seed in range(3)]
    runs += [pool_run("uda", "assess_pool, guard", 0, 0.55, **looked)]
    text = pool_tables.page({str(number): one for number, one in enumerate(runs)})
    assert "## open-50, 128,000 gradient images" in text
    assert "| supervised | as it is | 51.0 ± 1.0 |  |" in text
    assert "| uda | as it is | 50.0 ± 2.0 | -1.0 ± 1.0 |" in text
    # Two hundred steps of 128 labeled images, a fifth of all.
    assert "| uda | assess_pool, guard | 55.0 (1) | +5.0 | 70 (60) | 90 | 95 and 30 | 1 of 1 | 20 |" in text
    runs[-1]["guard"] = {"accepted": False, "held_back": True}
    text = pool_tables.page({str(number): one for number, one in enumerate(runs)})
    assert "| 95 and 30 | 1 of 1, 1 held back | 20 |" in text
