"""Which of several combinations of hyper-parameters is taken."""

from __future__ import annotations

from types import SimpleNamespace

from fewlabels.evaluation.choosing import best_of


def test_of_settings_that_do_equally_well_the_first_is_taken():
    accuracies = [0.5, 0.75, 0.75]

    def fit(number):
        cost = {"fit_seconds_": 1.0, "gradient_images_": 8}
        return SimpleNamespace(number=number, validation_accuracy_=accuracies[number], **cost)

    method, tried = best_of([{"dropout": one} for one in (0.0, 0.1, 0.2)], fit)
    assert method.number == 1
    assert [row["used"] for row in tried] == [False, True, False]
