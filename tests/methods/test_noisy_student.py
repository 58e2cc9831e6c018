"""Noisy student: which samples its students learn from, and from what."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fewlabels import InputError
from fewlabels.methods import NoisyStudent
from fewlabels.methods.noisy_student import balanced


def test_each_class_comes_equally_often():
    labels = np.array([0] * 6 + [1] * 2 + [2] * 4 + [-1] * 3)
    confidences = np.linspace(0.9, 0.4, len(labels))
    rows = balanced(labels, confidences)
    assert np.bincount(labels[rows]).tolist() == [4, 4, 4]
    # The most confident of the large class, both of the small one twice.
    assert rows.tolist() == [0, 1, 2, 3, 6, 6, 7, 7, 8, 9, 10, 11]
    assert balanced(np.full(3, -1), np.ones(3)).tolist() == []
    # Or as often as is estimated of the pool.
    rows = balanced(labels, confidences, np.array([0.5, 0.25, 0.25]))
    assert np.bincount(labels[rows]).tolist() == [6, 3, 3]


def test_students_learn_probabilities_from_strong_views_with_dropout(color_images):
    X, y = color_images
    y = y.copy()
    y[20:] = -1
    seen = []

    class Watched(NoisyStudent):
        def loss(self, nets, batch):
            seen.append((batch.targets, [m.p for m in nets.modules() if isinstance(m, torch.nn.Dropout)]))
            return super().loss(nets, batch)

    method = Watched(steps=3, rounds=1, random_state=0).fit(X, y)
    targets, dropouts = seen[-1]
    assert dropouts == [0.5]
    soft = (targets > 0) & (targets < 1)
    assert soft.any(1).sum() == 96  # three quarters of a batch are the pool's
    assert torch.allclose(targets.sum(1), torch.ones(128), atol=1e-5)
    assert method.settings_["view"] == "strong"
    assert method.rounds_[0]["threshold"] >= 0.3


def test_unsure_samples_are_left_out():
    method = NoisyStudent(least_confidence=0.6)
    assert method._select(np.array([0.5, 0.6, 0.9]), np.zeros(3, int), 1).tolist() == [False, True, True]


def test_a_teacher_that_is_sure_of_nothing_still_has_a_student(color_images):
    confidences, guesses = np.linspace(0.1, 0.2, 40), np.arange(40) % 2
    assert np.flatnonzero(NoisyStudent()._select(confidences, guesses, 1)).tolist() == [36, 37, 38, 39]
    X, y = color_images
    y = y.copy()
    y[20:] = -1
    method = NoisyStudent(steps=1, rounds=1, least_confidence=0.99, random_state=0).fit(X, y)
    assert [entry["accepted"] for entry in method.rounds_] == [True]


def test_a_confidence_out_of_range_is_refused(color_images):
    with pytest.raises(InputError, match="least_confidence="):
        NoisyStudent(least_confidence=1).fit(*color_images)


def test_students_learn_from_classes_as_often_as_the_pool_is_estimated_to_have_them():
    labels = np.array([0] * 6 + [1] * 2 + [2] * 4)
    confidences = np.linspace(0.9, 0.4, len(labels))
    session = SimpleNamespace(prior=lambda: torch.tensor([0.5, 0.25, 0.25]))
    rows = NoisyStudent()._members(session, labels, confidences)
    assert np.bincount(labels[rows]).tolist() == [6, 3, 3]
