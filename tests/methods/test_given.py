"""What a fit is given: what of it is told, as it will not be learned from as it is meant."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from fewlabels import FixMatch, Supervised, TrainingWarning
from fewlabels.nets.statistics import drawn_in


def of_times(spread):
    """Return vectors of which one column is seconds since 1970, and their labels."""
    draws = np.random.default_rng(0)
    table = pd.DataFrame({"size": draws.normal(size=60), "time": 1.7e9 + spread * draws.normal(size=60)})
    return table, np.arange(60) % 2


def test_digits_that_float32_loses_are_told_with_what_to_do():
    X, y = of_times(100)
    with pytest.warns(TrainingWarning, match="column time of X holds values that differ by too little"):
        Supervised(steps=2).fit(X, y)
    X["later"] = X["time"] + 5
    with pytest.warns(TrainingWarning, match="column time of X and 1 other hold values"):
        Supervised(steps=2).fit(X, y)


@pytest.mark.parametrize("make", [lambda X: X - X.mean(), lambda X: X.astype(np.float32), lambda X: X * 0 + 1.7e9])
def test_what_loses_nothing_more_is_not_warned_of(make):
    X, y = of_times(100)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        Supervised(steps=2).fit(make(X), y)
        Supervised(steps=2).fit(of_times(1e6)[0].to_numpy(), y)


@pytest.mark.parametrize("value", [1e4, -1e6, 1e30])
def test_one_corrupt_row_of_a_pool_does_no_harm_and_is_no_other_unit(value):
    digits = load_digits()
    X, y = digits.data, digits.target
    labeled = np.concatenate([np.flatnonzero(y == digit)[:4] for digit in range(10)])
    pool = X[600:1200].copy()
    pool[0] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        method = FixMatch(steps=60, random_state=0).fit(X[labeled], y[labeled], unlabeled=pool)
    assert method.score(X[1200:], y[1200:]) > 0.8
    pool[:] = X[600:1200] * 1000
    with pytest.warns(TrainingWarning, match="unlabeled lies far from X"):
        FixMatch(steps=2, random_state=0).fit(X[labeled], y[labeled], unlabeled=pool)


def test_values_are_drawn_in_only_where_nearly_all_others_are_within_a_range():
    draws = torch.Generator().manual_seed(0)
    usual = torch.randn(1000, 3, generator=draws) ** 3
    assert torch.equal(drawn_in(usual), usual)
    mostly_zero = torch.zeros(1000, 1)
    mostly_zero[:40] = 1e6
    assert torch.equal(drawn_in(mostly_zero), mostly_zero)
    usual[7] = 1e9
    found = drawn_in(usual)
    assert found[7].max() < 1e3
    assert torch.equal(found[:7], usual[:7])
