"""In-distribution scores: what they promise, on planted clouds."""

import numpy as np
import pytest

from fewlabels import InputError
from fewlabels.labeling import InDistribution
from fewlabels.methods.examples import Examples


def examples(count, held_out, seed=0, dimensions=16):
    places = cloud(count, seed, dimensions)
    return Examples(places, np.zeros(count, np.int64), places, np.arange(count) < held_out)


def cloud(count, seed, dimensions=16):
    return (1 + 0.3 * np.random.default_rng(seed).normal(size=(count, dimensions))).astype(np.float32)


@pytest.mark.parametrize("held_out", [0, 40])
def test_of_images_like_the_labeled_as_many_score_below_a_share_as_it_says(held_out):
    shares = []
    for seed in range(20):
        scores = InDistribution(examples(140, held_out, seed)).scores(cloud(500, 100 + seed))
        shares.append([(scores < level).mean() for level in (0.05, 0.2, 0.5)])
    assert np.abs(np.mean(shares, 0) - [0.05, 0.2, 0.5]).max() < 0.05


def test_a_far_cluster_scores_low_and_farther_scores_lower():
    score = InDistribution(examples(140, 40)).scores
    direction = np.array([-1, 1] * 8, np.float32)
    far = [score(cloud(100, 7) + step * direction).max() for step in (1.0, 3.0)]
    assert far[1] < far[0] < 1 / 41


def test_scores_fall_with_the_distance_and_stay_above_zero():
    place = InDistribution(examples(60, 20))
    way = np.linspace(0, 50, 200)[:, None] * np.array([[-1, 1] * 8]) + 1
    scores = place.scores(way)
    assert (np.diff(scores) <= 1e-12).all()
    assert scores.min() > 0
    assert scores.max() <= 1


def test_an_image_to_train_on_does_not_stand_for_itself():
    # Were each its own neighbor, all calibration distances would be shorter, and new images score too low.
    known = examples(100, 0)
    assert InDistribution(known).distances.min() > 0


def test_copies_of_labeled_images_are_as_like_them_as_can_be():
    places = np.repeat(cloud(4, 0), 20, 0)
    held_out = np.arange(80) % 5 == 0
    place = InDistribution(Examples(places, np.zeros(80, np.int64), places, held_out))
    assert place.distances.max() < 1e-6
    assert place.scores(places[:3]).min() > 0.9
    assert 0 < place.scores(-places[:1])[0] < 0.05


def test_one_example_is_too_few():
    with pytest.raises(InputError, match="2 are needed"):
        InDistribution(examples(1, 0))
