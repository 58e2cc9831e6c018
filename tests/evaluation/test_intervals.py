from __future__ import annotations

import math

import pytest

from fewlabels.evaluation.intervals import mean_interval, wilson_interval


# Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 1998, table I.
@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_of_the_textbook(correct, n, low, high):
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_an_interval_stays_within_zero_and_one():
    assert wilson_interval(30, 30)[1] == pytest.approx(1.0)
    assert wilson_interval(0, 30)[0] == 0


def test_the_interval_of_a_mean_is_that_of_students_sleep_data():
    gains = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert mean_interval(gains) == pytest.approx((1.58, 0.7001, 2.4599), abs=1e-4)


def test_one_seed_has_a_mean_and_no_interval():
    mean, low, high = mean_interval([0.7])
    assert mean == 0.7
    assert math.isnan(low)
    assert math.isnan(high)
