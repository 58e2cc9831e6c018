from __future__ import annotations

from test_verdicts import group, run

from fewlabels.evaluation.ladder import advice, recommended

RUNGS = ("probe", "finetune", "scratch")


def test_the_cheapest_rung_is_taken_where_none_is_shown_to_beat_it():
    found = group(run("probe", 700), run("finetune", 703), run("scratch", 650))
    assert recommended(found, RUNGS).method == "probe"
    assert advice([found], RUNGS, {})[0].startswith(
        "recommendation with 10 labels per class: probe, not shown to be beaten by the costlier finetune and scratch ("
    )


def test_one_steps_up_where_the_difference_is_more_than_chance():
    found = group(run("probe", 700), run("finetune", 750), run("scratch", 650))
    assert recommended(found, RUNGS).method == "finetune"
    assert "finetune, 5.0 points over probe, p < 0.001; not shown" in advice([found], RUNGS, {})[0]


def test_a_rung_between_is_enough_where_the_costliest_beats_the_cheapest_alone():
    # Six images are chance among three pairs, twelve are not.
    found = group(run("probe", 700), run("finetune", 706), run("scratch", 712))
    assert recommended(found, RUNGS).method == "finetune"
    assert (
        "finetune, probe is 1.2 points below scratch, p = 0.001; not shown to be beaten by the costlier scratch"
        in advice([found], RUNGS, {})[0]
    )


def test_the_only_rung_that_was_tried_is_said_to_be_that():
    found = group(run("finetune", 700))
    assert "finetune, the only rung that was tried (" in advice([found], RUNGS, {})[0]
