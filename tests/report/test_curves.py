from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import numpy as np
import pytest
from made_samples import pool_sample
from test_html import N, Page, made_comparison, made_run

from fewlabels.evaluation.standings import groups_of
from fewlabels.evaluation.trust import measure_trust
from fewlabels.report import render_report
from fewlabels.report.curves import (
    admitted_chart,
    cost_chart,
    learning_curves,
    reliability_chart,
    rounds_chart,
    selective_chart,
)


def parsed(svg):
    return ElementTree.fromstring(str(svg).replace("xlink:", "").replace(":xlink", ""))


@pytest.fixture(scope="module")
def trust():
    run = made_run("supervised", 420)
    return measure_trust(run.test_probabilities, run.test_labels, np.linspace(0.01, 0.2, 12))


def with_trust(run, trust):
    weights = [
        {"name": name, "step": 500, "validation_accuracy": 0.7, "test_accuracy": 0.71, "used": name == "last"}
        for name in ("last", "average")
    ]
    choices = [{"choice": "weights to predict with", "result": "the last", "looked_at": "nothing: it was fixed before"}]
    tried = [{"settings": {"dropout": 0.1}, "validation_accuracy": 0.7, "used": True}]
    return dataclasses.replace(run, trust=trust, weights=weights, choices=choices, tried=tried)


def test_a_learning_curve_has_every_method_and_number_of_labels():
    runs = [
        made_run(method, right + labels, labels=labels)
        for labels in (10, 50, 500)
        for method, right in (("supervised", 20), ("self-training", 60))
    ]
    chart = parsed(learning_curves(groups_of(runs)))
    words = {element.text for element in chart.iter() if element.text}
    assert {"supervised", "self-training", "10", "50", "500"} <= words
    label = chart.attrib["aria-label"]
    assert label.startswith("Test accuracy over 10 to 500 labels per class: supervised 5.0% to 86.7%")
    assert "Test accuracy by labels per class" in Page(render_report(made_comparison(runs))).words


def test_one_number_of_labels_makes_no_curve():
    assert learning_curves(groups_of([made_run("supervised", 400), made_run("self-training", 430)])) is None
    assert learning_curves(groups_of([made_run("supervised", 400, labels=None)])) is None


def test_labels_given_by_hand_are_on_no_axis_of_labels_per_class():
    runs = [dataclasses.replace(made_run("supervised", 400, labels=labels), labels_given=300) for labels in (2, 5)]
    assert learning_curves(groups_of(runs)) is None


def test_charts_of_trust_tell_their_numbers_to_those_who_do_not_see_them(trust):
    assert (
        parsed(reliability_chart(trust)).attrib["aria-label"] == "Accuracy by confidence: confidence 93%, accuracy 70%"
    )
    assert "70% on 100%" in parsed(selective_chart(trust)).attrib["aria-label"]


def test_the_page_shows_trust_weights_and_choices(trust):
    page = Page(render_report(made_comparison([with_trust(made_run("supervised", 420), trust)])))
    assert "How far its probabilities can be trusted" in page.words
    assert f"Brier score {trust.brier_score:.3f}" in page.words
    # The sets of these probabilities are one class each, which is right for 70 % of the images.
    assert "90% 70.0% less than promised" in page.words
    assert "12 images held out, 19 needed: a set would be all classes" in page.words
    assert "Weights to predict with the last nothing: it was fixed before" in page.words
    assert "average 500 70.0% 71.0% no" in page.words
    assert "dropout 0.1 70.0% yes" in page.words
    charts = [attributes for tag, attributes in page.found if tag == "svg"]
    assert len(charts) == 4
    assert N == 600


def test_what_the_check_found_comes_before_the_verdict():
    comparison = made_comparison([made_run("supervised", 420), made_run("self-training", 444)])
    leak = {"kind": "exact-copies", "severity": "leak", "text": "3 of <b>600</b> test images", "examples": [["a", "b"]]}
    note = {"kind": "not-checked", "severity": "note", "text": "too small", "examples": []}
    comparison.config["check"] = {"problems": 1, "findings": [leak, note], "measured": ["told apart in 50%"]}
    text = render_report(comparison)
    words = Page(text).words
    assert "Before you read on: 1 thing about the data Leak 3 of <b>600</b> test images." in words
    assert "<b>600" not in text
    assert words.index("Before you read on") < words.index("self-training wins")
    assert "Note: too small." in words
    assert "Fine: told apart in 50%." in words


def test_the_pool_is_judged_under_the_headline():
    runs = [made_run(m, right, seed=s) for s in range(3) for m, right in (("supervised", 420), ("self-training", 444))]
    runs = [dataclasses.replace(run, pool_sample=pool_sample()) for run in runs]
    words = Page(render_report(made_comparison(runs))).words
    assert "self-training: the pool helped by 4.0 points (2.4 to 5.6), 13% fewer errors, p < 0.001" in words
    assert words.index("the pool helped") < words.index("Accuracy with 20 labels per class")


def test_pseudo_labels_are_drawn_round_by_round():
    label = parsed(rounds_chart(made_run("self-training", 444).rounds)).attrib["aria-label"]
    # What was not measured in a round is left out, not drawn as nothing.
    assert label == (
        "Pseudo-labels over 2 rounds: right of those given 96% to 96%, right of the pool 38% to 38%, "
        "share of the pool 40% to 80%, accuracy on held-out images 80% to 80%"
    )
    assert rounds_chart(made_run("self-training", 444).rounds[:1]) is None


def test_the_share_of_guesses_that_counted_is_drawn_where_a_method_has_one():
    history = [{"stage": "classifier", "step": s, "loss": 1.0, "pool_admitted": s / 10} for s in (1, 5, 9)]
    assert "from 10% to 90% at the end" in admitted_chart(history)
    assert admitted_chart(made_run("supervised", 400).history) is None


def test_what_the_time_brings_has_every_method():
    (group,) = groups_of([made_run("supervised", 420), made_run("self-training", 444)])
    label = parsed(cost_chart(group)).attrib["aria-label"]
    assert label.endswith("supervised 70.0% in 12.3 seconds, self-training 74.0% in 12.3 seconds")
    assert cost_chart(groups_of([made_run("supervised", 420)])[0]) is None
