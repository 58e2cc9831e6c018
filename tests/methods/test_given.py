"""What a fit is given: what of it is told, as it will not be learned from as it is meant."""

import warnings

import numpy as np
import pandas as pd
import pytest

from fewlabels import Supervised, TrainingWarning


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
