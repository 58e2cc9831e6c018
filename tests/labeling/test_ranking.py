"""In which order to label: planted pools whose right order is known."""

import numpy as np
import pytest

from fewlabels import InputError
from fewlabels.labeling import STRATEGIES, rank_for_labeling

SURE, UNSURE = [0.98, 0.01, 0.01], [0.4, 0.35, 0.25]


def clusters(sizes, spread=0.05, dimensions=8):
    """Return points about orthogonal axes, and the cluster of each."""
    generator = np.random.default_rng(0)
    which = np.repeat(np.arange(len(sizes)), sizes)
    places = np.eye(dimensions)[which] + spread * generator.normal(size=(len(which), dimensions))
    return places.astype(np.float32), which


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_row_comes_once_and_equal_seeds_give_equal_orders(strategy):
    places, which = clusters([30, 40, 50])
    probabilities = np.random.default_rng(1).dirichlet(np.ones(3), len(which))
    orders = [
        rank_for_labeling(probabilities, places, places[:3], strategy=strategy, random_state=4, count=10)
        for _ in range(2)
    ]
    assert np.array_equal(*orders)
    assert sorted(orders[0]) == list(range(120))


def test_one_of_each_unsure_cluster_comes_before_a_second_of_any():
    places, which = clusters([50, 40, 30, 20])
    order = rank_for_labeling(np.tile(UNSURE, (140, 1)), places, strategy="uncertain-diverse")
    assert sorted(which[order[:4]]) == [0, 1, 2, 3]


def test_what_is_labeled_already_is_not_asked_for_again():
    places, which = clusters([50, 50])
    for known in (0, 1):
        order = rank_for_labeling(np.tile(UNSURE, (100, 1)), places, places[which == known][:3])
        assert which[order[0]] != known


def test_copies_are_not_chosen_together():
    places, _ = clusters([20, 20, 20], spread=0.2)
    twins = np.concatenate([places, places])
    order = rank_for_labeling(np.tile(UNSURE, (120, 1)), twins, count=60)
    assert len(np.unique(order[:40] % 60)) == 40


def test_the_margin_alone_would_choose_the_copies():
    # What the test above guards against does happen where there is no regard to diversity.
    places, _ = clusters([20, 20, 20], spread=0.2)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    order = rank_for_labeling(np.tile(probabilities, (2, 1)), np.tile(places, (2, 1)), strategy="margin")
    assert len(np.unique(order[:40] % 60)) == 20


def test_where_the_model_is_sure_comes_after_where_it_is_not():
    places, which = clusters([90, 10])
    probabilities = np.where((which == 0)[:, None], SURE, UNSURE)
    first = rank_for_labeling(probabilities, places)[0]
    assert which[first] == 1
    assert which[rank_for_labeling(probabilities, places, strategy="diverse")[0]] == 0


def test_an_image_like_no_other_stands_for_nothing():
    places, _ = clusters([60, 1])
    assert rank_for_labeling(np.tile(UNSURE, (61, 1)), places)[0] != 60


def test_margin_and_entropy_follow_their_definitions():
    probabilities = [[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.9, 0.1, 0.0]]
    places = np.eye(3)
    assert rank_for_labeling(probabilities, places, strategy="margin").tolist() == [0, 1, 2]
    assert rank_for_labeling(probabilities, places, strategy="entropy").tolist() == [1, 0, 2]


def test_the_rest_follows_least_sure_first():
    places, _ = clusters([30, 30])
    probabilities = np.random.default_rng(2).dirichlet(np.ones(2), 60)
    rest = rank_for_labeling(probabilities, places, count=5)[5:]
    margins = np.abs(probabilities[rest, 0] - probabilities[rest, 1])
    assert (np.diff(margins) >= 0).all()


def test_without_a_model_those_that_stand_for_many_come_first():
    places, which = clusters([50, 40, 30, 20])
    order = rank_for_labeling(None, places, count=4)
    assert sorted(which[order[:4]]) == [0, 1, 2, 3]
    assert sorted(order) == list(range(140))
    # What is not chosen follows in random order, not in that of the rows.
    assert (np.diff(order[4:]) < 0).any()
    assert np.array_equal(order, rank_for_labeling(None, places, count=4, strategy="diverse"))
    assert len(rank_for_labeling(None, places, strategy="random")) == 140
    known = rank_for_labeling(None, places, places[which == 0][:3], count=3)
    assert 0 not in which[known[:3]]


def test_a_large_pool_takes_memory_in_proportion():
    import tracemalloc

    peaks = []
    for size in (20_000, 80_000):
        places = np.random.default_rng(0).normal(size=(size, 4)).astype(np.float32)
        probabilities = np.full((size, 2), 0.5)
        tracemalloc.start()
        rank_for_labeling(probabilities, places, count=3)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Four times the pool; a table of all pairs would take sixteen times the memory, 51 GB of it.
    assert peaks[1] < 6 * peaks[0]
    assert peaks[1] < 50e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "margni"}, "unknown strategy 'margni'; did you mean 'margin'"),
        ({"probabilities": np.ones((3, 2))}, "expected \\(n, classes\\)"),
        ({"probabilities": np.ones((4, 1))}, "shape \\(4, 1\\); expected a column for each of at least 2 classes"),
        ({"embeddings": np.full((4, 2), np.nan)}, "NaN or infinity"),
        ({"labeled_embeddings": np.ones((1, 3))}, "expected \\(m, 2\\)"),
        ({"count": 0}, "count=0 is not a whole number of at least 1"),
        ({"probabilities": None, "strategy": "entropy"}, "'entropy' asks a model .*; take diverse or random"),
        ({"probabilities": None, "embeddings": np.ones(4)}, "expected \\(n, features\\)"),
    ],
)
def test_what_does_not_fit_is_told(change, message):
    given = {"probabilities": np.full((4, 2), 0.5), "embeddings": np.ones((4, 2)), **change}
    with pytest.raises(InputError, match=message):
        rank_for_labeling(**given)
