from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


# With 300 comparisons, a rate of 5 % comes out above 8.8 % once in a thousand times.
@pytest.mark.parametrize(("seeds", "methods", "luck"), [(1, 2, 0.0), (3, 2, 0.1), (2, 4, 0.1)])
def test_methods_that_are_equal_are_seldom_said_to_be_helped(seeds, methods, luck):
    from null import METHODS, simulate

    helped, any_helped = simulate(seeds, METHODS[:methods], luck, comparisons=300, images=400)
    assert helped < 0.05
    assert any_helped < 0.088


def test_a_method_that_is_better_is_said_to_be_helped():
    import numpy as np

    from fewlabels.evaluation.standings import groups_of
    from null import made_run

    draws = np.random.default_rng(0)
    runs = []
    for seed in range(3):
        right = draws.random(1000) < 0.7
        runs += [made_run("supervised", seed, right), made_run("uda", seed, right | (draws.random(1000) < 0.3))]
    duel = groups_of(runs)[0].pool_duel("uda")
    assert duel.is_shown
    assert duel.result.difference > 0.05
