from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from fewlabels.evaluation.intervals import wilson_interval
from fewlabels.evaluation.trust import measure_trust, reliability_bins


def binary(count=2000):
    draws = np.random.default_rng(0)
    chance = draws.random(count)
    return np.stack([1 - chance, chance], axis=1), (draws.random(count) < chance).astype(np.int64)


def test_the_brier_score_is_that_of_scikit_learn():
    probabilities, labels = binary()
    # scikit-learn's counts one of two classes, whose squared errors are equal.
    assert measure_trust(probabilities, labels).brier_score == pytest.approx(
        2 * brier_score_loss(labels, probabilities[:, 1])
    )


def test_bins_are_those_of_scikit_learns_calibration_curve():
    probabilities, labels = binary()
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    accuracies, means = calibration_curve(right, confidence, n_bins=10)
    bins = reliability_bins(confidence, right)
    assert [one.accuracy for one in bins] == pytest.approx(accuracies)
    assert [one.confidence for one in bins] == pytest.approx(means)
    assert sum(one.images for one in bins) == len(labels)


def test_calibrated_probabilities_have_a_small_error_and_overconfident_ones_a_large_one():
    probabilities, labels = binary()
    surer = probabilities**3 / (probabilities**3).sum(1, keepdims=True)
    assert measure_trust(probabilities, labels).calibration_error < 0.03
    found = measure_trust(surer, labels)
    assert found.calibration_error > 0.1
    assert found.mean_confidence > (surer.argmax(1) == labels).mean() + 0.1


def test_a_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    # 0.9 sure and half right, 0.6 sure and always right: both 0.4 apart.
    assert measure_trust(probabilities, np.array([0, 1, 0, 0])).calibration_error == pytest.approx(0.4)


def test_on_fewer_and_surer_answers_accuracy_rises():
    probabilities, labels = binary()
    curve = measure_trust(probabilities, labels).selective
    assert curve[0] == (1.0, pytest.approx((probabilities.argmax(1) == labels).mean()))
    assert curve[-1][0] == 0.1
    assert curve[-1][1] > curve[4][1] > curve[0][1]


def test_images_of_equal_confidence_are_answered_together():
    probabilities = np.full((10, 2), [0.7, 0.3])
    labels = np.array([0] * 6 + [1] * 4)
    for _, accuracy in measure_trust(probabilities, labels).selective:
        assert accuracy == pytest.approx(0.6)


def test_prediction_sets_are_measured_and_too_few_images_are_told():
    probabilities, labels = binary()
    scores = np.sort(1 - probabilities[np.arange(1000), labels[:1000]])
    sets = measure_trust(probabilities[1000:], labels[1000:], scores).sets
    for one in sets:
        assert one.is_enough
        assert one.spread_low - 0.03 < one.kept < one.spread_high + 0.03
    few = measure_trust(probabilities[1000:], labels[1000:], scores[:8]).sets
    assert [one.is_enough for one in few] == [True, False, False]
    assert few[1].mean_size == 2
    assert few[1].kept == 1


def test_figures_come_back_from_json():
    import json

    from fewlabels.evaluation.trust import Trust

    probabilities, labels = binary(200)
    found = measure_trust(probabilities, labels, np.sort(1 - probabilities[np.arange(30), labels[:30]]))
    assert Trust.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_classes_that_a_model_does_not_know_are_in_none_of_its_sets():
    probabilities = np.array([[0.7, 0.3, 0.0, 0.0], [0.2, 0.8, 0.0, 0.0]])
    # Two held-out scores are too few for any promise: a set is then all that the model knows.
    sets = measure_trust(probabilities, np.array([0, 3]), np.array([0.1, 0.2])).sets
    assert all(one.mean_size == 2.0 for one in sets)
    assert all(one.kept == 0.5 for one in sets)


def test_the_error_over_all_shares_is_by_hand():
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.3, 0.7], [0.3, 0.7]])
    # Of the two surest one is right, and they count together: 1/2, 1/2, 2/3 and 3/4 are right.
    found = measure_trust(probabilities, np.array([0, 1, 1, 1]))
    assert found.selective_error == pytest.approx((1 / 2 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_a_confidence_on_a_limit_is_in_the_bin_below_it():
    bins = reliability_bins(np.array([0.3, 0.6, 0.61, 1.0]), np.array([True, False, True, True]))
    assert [(one.low, one.high, one.images) for one in bins] == [
        (0.2, 0.3, 1),
        (0.5, 0.6, 1),
        (0.6, 0.7, 1),
        (0.9, 1.0, 1),
    ]


def test_every_share_lies_within_its_interval():
    probabilities, labels = binary(400)
    found = measure_trust(probabilities, labels, np.sort(1 - probabilities[np.arange(100), labels[:100]]))
    for one in found.bins:
        assert (one.accuracy_low, one.accuracy_high) == wilson_interval(round(one.accuracy * one.images), one.images)
    for one in found.sets:
        assert (one.kept_low, one.kept_high) == wilson_interval(round(one.kept * 400), 400)


def test_sets_of_one_class_alone_are_counted():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.55, 0.45], [0.9, 0.1]])
    scores = np.full(40, 0.6)
    for one in measure_trust(probabilities, np.array([0, 0, 1, 1]), scores).sets:
        assert (one.single_share, one.mean_size, one.kept) == (0.75, 1.25, 0.75)
