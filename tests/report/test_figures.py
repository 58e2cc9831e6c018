from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np

from fewlabels.report.figures import accuracy_chart, confusion_chart, loss_chart

HISTORY = [
    {"stage": stage, "step": step, "steps": 20, "loss": 2.0 / (step + 1), "train_accuracy": step / 20}
    for stage in ("teacher", "round 1")
    for step in (5, 10, 20)
]


def test_charts_are_whole_svg_in_the_colors_of_the_page():
    for chart in (loss_chart(HISTORY), accuracy_chart(HISTORY), confusion_chart(np.eye(3, dtype=int), "abc")):
        root = ElementTree.fromstring(str(chart).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
        assert "var(--" in chart
        assert "#01020" not in chart
        assert "<metadata" not in chart


def test_stages_stand_behind_each_other_on_one_axis():
    chart = loss_chart(HISTORY)
    assert "Loss over 40 optimizer steps, from 0.33 to 0.10" in chart
    assert ">teacher<" in chart
    assert ">round 1<" in chart


def test_stages_too_short_for_their_names_are_numbered_and_told_below():
    short = [{"stage": "classifier", "step": 10, "steps": 10, "loss": 1.0}]
    long = [{"stage": "the net to fall back on", "step": step, "steps": 90, "loss": 1.0} for step in (45, 90)]
    chart = loss_chart(short + long)
    assert ">1</text>" in chart
    assert ">1 classifier; 2 the net to fall back on</text>" in chart
    assert ">classifier</text>" not in chart


def lines_of(chart, color):
    return re.findall(rf'style="fill: none; stroke: var\(--{color}\); stroke-width: 1.4', chart)


def test_no_line_joins_the_nets_of_two_stages():
    assert len(lines_of(accuracy_chart(HISTORY), "first")) == len(lines_of(loss_chart(HISTORY), "first")) == 2
    assert accuracy_chart(HISTORY).count("training images") == 1


def test_there_is_no_chart_of_what_was_not_measured():
    assert loss_chart([]) is None
    assert accuracy_chart([{"stage": "autoencoder", "step": 1, "steps": 1, "loss": 1.0}]) is None
    assert loss_chart([{"stage": "a", "step": 1, "steps": 1, "loss": float("nan")}]) is None


def test_class_names_are_text_and_neither_markup_nor_mathematics():
    chart = confusion_chart(np.eye(4, dtype=int), ["<script>", "$x_1$ & co", "猫", "a name that is far too long"])
    assert "<script>" not in chart
    assert "&lt;script&gt;" in chart
    assert "$x_1$ &amp; co" in chart
    assert "猫" in chart
    assert "a name that i…" in chart


def test_a_hundred_classes_stay_a_small_figure():
    assert len(confusion_chart(np.eye(100, dtype=int), [f"class {n}" for n in range(100)])) < 60_000


def test_the_same_figure_is_the_same_text():
    assert loss_chart(HISTORY) == loss_chart(HISTORY)
