"""What is measured of a fitted method whose classes are numbered otherwise than the data set's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fewlabels.evaluation.measure import _history, _rounds

# The method has learned the second and the third class of the data.
COLUMNS = np.array([1, 2])


def test_pseudo_labels_are_judged_by_the_classes_of_the_data():
    given = np.array([0, 1, -1, 0, 1])
    method = SimpleNamespace(rounds_=[{"round": 1}], round_pseudo_labels_=[given])
    [record] = _rounds(method, np.array([1, 2, 0, 2, -1]), COLUMNS)
    # Three of the four have a known truth, and two of these are right; four have one in all.
    assert record == {"round": 1, "precision": pytest.approx(2 / 3), "recall": 2 / 4, "checked": 3 / 4}


def test_guesses_on_the_way_are_judged_by_the_classes_of_the_data():
    look = {"stage": "s", "step": 5, "rows": np.array([0, 2, 3]), "guesses": [0, 1, 1]}
    method = SimpleNamespace(history_=[{"stage": "s", "step": step} for step in (1, 5)], pool_looks_=[look])
    events = _history(method, np.array([1, 0, 2, 1]), COLUMNS)
    assert events == [{"stage": "s", "step": 1}, {"stage": "s", "step": 5, "pool_accuracy": pytest.approx(2 / 3)}]
