"""What each section of the page says, checked against figures worked out by hand."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from made_samples import feature_sample, full_comparison, pool_sample
from test_html import NAMES, Page, made_comparison, made_run

from fewlabels.evaluation.standings import groups_of
from fewlabels.report import render_report
from fewlabels.report.classes import class_rows, confusion_cells, frequent_confusions
from fewlabels.report.cost import cost_view
from fewlabels.report.feature_map import feature_map
from fewlabels.report.galleries import mistakes_view, pool_view
from fewlabels.report.room import Room


def run_of(truth, guesses, classes=3, **more):
    run = made_run("supervised", 420)
    probabilities = np.eye(classes)[guesses]
    return dataclasses.replace(run, test_labels=np.array(truth), test_probabilities=probabilities, **more)


def test_recall_precision_and_f1_of_each_class():
    rows = class_rows(run_of([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0]), ("a", "b", "c"))
    assert [row["images"] for row in rows] == [3, 2, 1]
    assert [row["recall"] for row in rows] == pytest.approx([2 / 3, 1 / 2, 0])
    assert rows[0]["precision"] == pytest.approx(2 / 4)
    assert rows[2]["precision"] is None  # never guessed
    assert rows[0]["f1"] == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert [row["taken_for"] for row in rows] == ["b (1)", "a (1)", "a (1)"]
    assert rows[1]["low"] < 1 / 2 < rows[1]["high"]


def test_a_class_without_test_images_has_no_recall():
    untested = class_rows(run_of([0, 1], [0, 2]), ("a", "b", "c"))[2]
    assert (untested["recall"], untested["f1"]) == (None, None)


def test_the_confusions_are_those_off_the_diagonal_the_most_frequent_first():
    run = run_of([0, 0, 0, 1, 1, 2], [1, 1, 0, 1, 2, 2])
    assert frequent_confusions(run, ("a", "b", "c")) == [
        {"truth": "a", "guess": "b", "count": 2, "share": pytest.approx(2 / 3)},
        {"truth": "b", "guess": "c", "count": 1, "share": 0.5},
    ]
    cells = confusion_cells(run, ("a", "b", "c"))
    assert [[count for count, _ in row["cells"]] for row in cells] == [[1, 2, 0], [0, 1, 1], [0, 0, 1]]
    assert cells[2]["cells"][2] == (1, 100)


def test_many_classes_are_a_picture_and_not_a_table_of_thousands_of_cells():
    names = tuple(f"class {n}" for n in range(40))
    run = run_of(np.arange(80) % 40, np.arange(80) % 39, classes=40, mistakes=[])
    assert confusion_cells(run, names) is None
    comparison = dataclasses.replace(made_comparison([run]), class_names=names)
    assert 'class="confusion"' not in render_report(comparison)
    assert 'aria-label="Confusion matrix of 80 test images' in render_report(comparison)


def test_pool_images_stand_by_class_and_confidence():
    view = pool_view(pool_sample(), ("a", "b", "c"), Room(10**6, 1))
    assert [(row["name"], row["images"], row["right"]) for row in view["bands"]] == [
        ("above 95%", 2, 1.0),
        ("80% to 95%", 2, 0.5),
        ("50% to 80%", 2, 1.0),
        ("up to 50%", 2, 0.5),
    ]
    assert [(group["name"], group["count"], len(group["images"])) for group in view["classes"]] == [
        ("a", 3, 3),
        ("b", 3, 2),
        ("c", 2, 1),
    ]
    first = view["classes"][0]["images"]
    assert [(one["band"], one["right"], one["truth"]) for one in first] == [
        (3, True, "a"),
        (2, False, "b"),
        (0, False, "c"),
    ]
    assert view["shown"] == 6


def test_of_a_pool_without_truth_nothing_is_called_right_or_wrong():
    view = pool_view(pool_sample(truth=False), ("a", "b", "c"), Room(10**6, 1))
    assert not view["known"]
    assert {one["right"] for group in view["classes"] for one in group["images"]} == {None}
    assert {row["right"] for row in view["bands"]} == {None}
    run = dataclasses.replace(made_run("supervised", 420), pool_sample=pool_sample(truth=False))
    page = render_report(made_comparison([run]))
    assert "their true classes are not known" in Page(page).words
    assert 'data-filter="right"' not in page
    assert pool_view(None, ("a",), Room(10**6, 1)) is None


def test_of_a_pool_of_which_some_classes_are_known_the_page_says_how_many():
    some = dataclasses.replace(pool_sample(), truth=np.array([0, 1, -1, -1, -1, -1, -1, 1]))
    run = dataclasses.replace(made_run("supervised", 420), pool_sample=some)
    words = Page(render_report(made_comparison([run]))).words
    assert "the true classes of 3 of them are known here, and no training saw them" in words
    assert "their true classes are known" not in words
    assert "pool images, drawn at random" in words
    whole = dataclasses.replace(some, pool=8, drawn_from=8)
    words = Page(render_report(made_comparison([dataclasses.replace(run, pool_sample=whole)]))).words
    assert "8 of 8 pool images; the true classes of 3" in words


def test_a_gallery_takes_no_more_than_its_share_of_the_page():
    room = Room(2_000, parts=2)
    view = pool_view(pool_sample(), ("a", "b", "c"), room)
    assert 0 < view["shown"] < 6
    assert room.left >= 1_000
    assert view["bands"][0]["images"] == 2  # figures are of all


def test_mistakes_can_be_filtered_by_the_classes_that_are_among_them():
    view = mistakes_view(full_comparison().runs[0], ("a", "b", "c"))
    assert view["truths"] == [(0, "a"), (1, "b")]
    assert view["guesses"] == [(2, "c")]


def marks(svg, kind, index):
    root = ElementTree.fromstring(str(svg))
    (group,) = [one for one in root if one.attrib.get("data-class") == str(index)]
    paths = [one.attrib["d"] for one in group if one.attrib["class"] == kind]
    return [np.array(place, float) for d in paths for place in re.findall(r"M(\d+),(\d+)", d)]


@pytest.mark.usefixtures("whole_maps")
def test_the_map_has_every_image_and_puts_together_what_is_alike():
    found = feature_map(feature_sample(), ("a", "b", "c"))
    assert (found["test"], found["pool"]) == (60, 10)
    filled = [marks(found["svg"], "f", index) for index in range(3)]
    assert [len(places) for places in filled] == [19, 19, 19]
    centers = [np.mean(places, axis=0) for places in filled]
    for index in range(3):
        # The one of the class that was taken for the next lies with those.
        (hollow,) = marks(found["svg"], "h", index)
        distances = [np.linalg.norm(hollow - center) for center in centers]
        assert int(np.argmin(distances)) == (index + 1) % 3
    assert found["text"].startswith("Map of 60 test images by their features: on average 90% of")
    assert [name for _, name, _ in found["legend"]] == ["a", "b", "c"]
    assert feature_map(feature_sample(), ("a", "b", "c"))["svg"] == found["svg"]


def test_a_single_feature_makes_a_map():
    one = dataclasses.replace(feature_sample(), points=feature_sample().points[:, :1])
    assert feature_map(one, ("a", "b", "c"))["test"] == 60


def test_features_that_are_all_the_same_make_no_map():
    flat = dataclasses.replace(feature_sample(), points=np.zeros((70, 5), np.float16))
    assert feature_map(flat, ("a", "b", "c")) is None
    assert feature_map(None, ("a",)) is None


def test_the_cost_is_the_mean_over_seeds_and_its_sum():
    runs = [
        dataclasses.replace(made_run(method, 420, seed=seed), fit_seconds=seconds, energy_joules=3600.0 * seconds)
        for method, seconds in (("supervised", 10.0), ("self-training", 20.0))
        for seed in (0, 1)
    ]
    view = cost_view(groups_of(runs))
    rows = view["tables"][0]["rows"]
    assert [(row["seconds"], row["rate"], row["watt_hours"]) for row in rows] == [(10, 6400, 10), (20, 3200, 20)]
    assert (view["seconds"], view["trainings"], view["watt_hours"]) == (60, 4, 60)


def test_the_cost_of_a_choice_is_that_of_all_that_was_tried():
    common = {"settings": {"dropout": 0.1}, "validation_accuracy": 0.7, "used": True}
    tried = [
        {**common, "fit_seconds": 5.0, "gradient_images": 100, "energy_joules": 3600.0},
        {**common, "fit_seconds": 7.0, "gradient_images": 200, "energy_joules": 7200.0, "used": False},
    ]
    run = dataclasses.replace(made_run("supervised", 420), tried=tried, fit_seconds=5.0, gradient_images=100)
    view = cost_view(groups_of([run]))
    assert (view["trainings"], view["seconds"], view["watt_hours"]) == (2, 12, 3)
    row = view["tables"][0]["rows"][0]
    assert (row["seconds"], row["images"], row["rate"], row["watt_hours"]) == (12, 300, 25, 3)
    for one in (run, made_run("uda", 430)):
        assert ("those of all that were tried" in Page(render_report(made_comparison([one]))).words) == bool(one.tried)
    # As records of before have it.
    old = dataclasses.replace(run, tried=[common])
    assert cost_view(groups_of([old]))["seconds"] == 5


def test_energy_that_nothing_tells_is_not_told():
    words = Page(render_report(made_comparison([made_run("supervised", 420)]))).words
    assert "The energy is not known: this platform does not tell it." in words
    assert "Energy (Wh)" not in words
    words = Page(render_report(full_comparison())).words
    assert "3 trainings took 37.0 seconds and 6.00 Wh, all that the machine used meanwhile" in words
    assert "Energy (Wh)" in words


def test_hostile_names_are_text_in_every_section():
    page = render_report(full_comparison())
    assert "<script>alert" not in page
    assert "<i>copies" not in page
    # In the table of classes, the legend, filters, alternative texts.
    assert page.count("&lt;script&gt;alert") > 20
    assert NAMES[0] in Page(page).words
