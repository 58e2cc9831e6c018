from __future__ import annotations

import math

import numpy as np
import pytest

from fewlabels import InputError
from fewlabels.training.conformal import (
    conformal_scores,
    conformal_sets,
    conformal_threshold,
    coverage_spread,
    needed_for,
)


def drawn(draws, count, classes=4):
    """Probabilities that are wrong on purpose, and labels that follow others: coverage needs no calibrated model."""
    logits = draws.normal(0, 1.5, (count, classes))
    truth = np.exp(0.6 * logits) / np.exp(0.6 * logits).sum(1, keepdims=True)
    labels = (truth.cumsum(1) < draws.random((count, 1))).sum(1)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), labels


@pytest.mark.parametrize("held_out", [20, 60])
@pytest.mark.parametrize("promised", [0.8, 0.9])
def test_the_promise_is_kept_on_average_over_draws(held_out, promised):
    draws = np.random.default_rng(held_out)
    kept = []
    for _ in range(600):
        probabilities, labels = drawn(draws, held_out + 200)
        threshold = conformal_threshold(conformal_scores(probabilities[:held_out], labels[:held_out]), promised)
        sets = conformal_sets(probabilities[held_out:], threshold)
        kept.append(sets[np.arange(200), labels[held_out:]].mean())
    error = np.std(kept) / math.sqrt(len(kept))
    # Theory: between the promise and the promise + 1 / (held_out + 1), and a little more for the class always taken.
    assert promised - 3 * error < np.mean(kept) < promised + 1 / (held_out + 1) + 0.01 + 3 * error
    # Coverage of single draws lies where the beta distribution says.
    low, high = coverage_spread(held_out, promised)
    assert np.mean((np.array(kept) > low - 0.04) & (np.array(kept) < high + 0.04)) > 0.93


def test_too_few_held_out_samples_put_every_class_into_the_set():
    scores = conformal_scores(np.full((8, 2), 0.5), np.zeros(8, int))
    assert conformal_threshold(scores, 0.9) == math.inf
    assert conformal_sets(np.array([[0.99, 0.01]]), math.inf).all()
    assert conformal_threshold(np.append(scores, 0.5), 0.9) < math.inf
    assert needed_for(0.9) == 9
    assert coverage_spread(8, 0.9) == (1.0, 1.0)


def test_a_set_is_never_empty():
    assert conformal_sets(np.array([[0.4, 0.6], [0.5, 0.5]]), 0.1).sum(1).tolist() == [1, 1]


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -0.1])
def test_a_coverage_that_no_set_can_have_is_refused(coverage):
    with pytest.raises(InputError, match="coverage="):
        conformal_threshold(np.linspace(0, 1, 50), coverage)


def test_a_class_whose_score_is_the_threshold_belongs_to_the_set_however_it_was_rounded():
    assert conformal_sets(np.array([[0.7, 0.3 - 1e-12]]), 0.7).tolist() == [[True, True]]
    assert conformal_sets(np.array([[0.7, 0.3 - 1e-6]]), 0.7).tolist() == [[True, False]]
