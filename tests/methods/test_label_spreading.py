"""Label spreading: the graph and what spreads on it by hand, the weights, and pools larger than the graph."""

import math

import numpy as np
import pytest
from scipy.sparse import csc_matrix, eye_array
from scipy.sparse.linalg import spsolve
from sklearn.datasets import make_moons

from fewlabels import InputError
from fewlabels.methods import LabelSpreading, label_spreading
from fewlabels.methods.graph import NeighborGraph


def test_the_graph_and_what_spreads_on_it_are_the_papers():
    points = np.array([[0.0], [1.0], [3.0], [7.0], [8.0]])
    graph = NeighborGraph(points, 2)
    # Distance of each point to its second neighbor, and who is among the two nearest of either.
    scales = [3, 2, 3, 4, 5]
    edges = [(0, 1), (0, 2), (1, 2), (2, 3), (2, 4), (3, 4)]
    weights = np.zeros((5, 5))
    for a, b in edges:
        weights[a, b] = weights[b, a] = math.exp(-((points[a, 0] - points[b, 0]) ** 2) / (scales[a] * scales[b]))
    root = np.diag(weights.sum(1) ** -0.5)
    expected = root @ weights @ root
    assert np.allclose(graph.normalized.toarray(), expected)

    given = np.array([[1.0, 0], [0, 0], [0, 0], [0, 0], [0, 1]])
    by_hand = 0.2 * np.linalg.inv(np.eye(5) - 0.8 * expected) @ given
    assert np.allclose(graph.spread(given, 0.8), by_hand, atol=1e-4)


def test_samples_outside_the_graph_get_the_mean_of_their_neighbors_in_it():
    graph = NeighborGraph(np.array([[0.0], [1.0], [3.0]]), 2)
    values = np.array([[1.0, 0], [0, 1], [0, 1]])
    # Its neighbors are at 0.4 and 0.6; its own scale is 0.6, theirs are 3 and 2.
    near, far = math.exp(-0.16 / (0.6 * 3)), math.exp(-0.36 / (0.6 * 2))
    assert np.allclose(graph.carried(np.array([[0.4]]), values), [[near / (near + far), far / (near + far)]])


def test_weights_tell_how_clear_a_label_is_and_level_the_classes():
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.0, 0.0]])
    pseudo = np.array([0, 0, 1, -1])
    weights = LabelSpreading()._sample_weights(np.array([0, 1]), pseudo, probabilities)

    def clear(p):
        return 1 + sum(q * math.log(q) for q in p) / math.log(2)

    # Three of class 0, two of class 1; a weight of one for what is given.
    by_hand = np.array([1 / 3, 1 / 2, clear([0.9, 0.1]) / 3, 0, clear([0.2, 0.8]) / 2, 0])
    assert np.allclose(weights, by_hand * 5 / by_hand.sum())


def test_where_no_label_comes_none_is_learned():
    generator = np.random.default_rng(0)
    X = np.concatenate([generator.normal(center, 0.1, (40, 2)) for center in (0, 5, 100)]).astype(np.float32)
    y = np.full(120, -1)
    y[:4], y[40:44] = 0, 1
    method = LabelSpreading(neighbors=5, steps=10, random_state=0).fit(X, y)
    taken = method.round_pseudo_labels_[0]
    assert (taken[:36] == 0).all()
    assert (taken[36:72] == 1).all()
    assert (taken[72:] == -1).all()
    assert method.rounds_[0]["pool_share"] == round(72 / 112, 4)


def test_a_pool_larger_than_the_graph_is_labeled_all_the_same():
    X, truth = make_moons(1500, noise=0.05, random_state=0)
    X = X.astype(np.float32)
    labeled = np.concatenate([np.flatnonzero(truth == label)[:5] for label in (0, 1)])
    rest = np.setdiff1d(np.arange(len(X)), labeled)
    settings = {"neighbors": 8, "alpha": 0.99, "steps": 5, "random_state": 0, "validation_fraction": 0.0}
    for graph_samples in (400, 50_000):
        method = LabelSpreading(graph_samples=graph_samples, **settings)
        method.fit(X[labeled], truth[labeled], unlabeled=X[rest])
        assert (method.round_pseudo_labels_[0] == truth[rest]).mean() > 0.99


def test_vectors_take_one_round_and_images_as_many_as_asked_for(few_labels):
    X, y, *_ = few_labels
    method = LabelSpreading(steps=4, neighbors=10, random_state=0)
    assert len(method.fit(X, y).rounds_) == 2
    assert len(method.fit(X.reshape(len(X), -1), y).rounds_) == 1
    assert method.rounds == 2


@pytest.mark.parametrize("setting", [{"neighbors": 0}, {"alpha": 1.0}, {"graph_samples": 50}])
def test_settings_out_of_range_are_refused(setting, few_labels):
    with pytest.raises(InputError, match=f"{next(iter(setting))}="):
        LabelSpreading(**setting).fit(*few_labels[:2])


def test_labels_come_as_far_as_the_graph_reaches():
    points, truth = make_moons(2000, noise=0.05, random_state=0)
    graph = NeighborGraph(points, 10)
    given = np.zeros((len(points), 2))
    for label in (0, 1):
        given[np.flatnonzero(truth == label)[0], label] = 1
    found = graph.spread(given, 0.9)
    exact = 0.1 * spsolve(csc_matrix(eye_array(len(points)) - 0.9 * graph.normalized), given)
    assert ((found.sum(1) > 0) == (exact.sum(1) > 1e-300)).all()
    shares, expected = found / found.sum(1, keepdims=True), exact / exact.sum(1, keepdims=True)
    assert np.abs(shares - expected).max() < 0.02


def test_a_sample_with_more_copies_than_neighbors_is_still_near_the_others():
    draws = np.random.default_rng(0)
    points = np.concatenate([np.zeros((16, 2)), draws.normal(size=(200, 2))])
    graph = NeighborGraph(points, 10)
    given = np.zeros((len(points), 2))
    given[0, 0] = 1
    assert (graph.spread(given, 0.9)[16:].sum(1) > 0).all()
    assert (graph.carried(points[:1], np.ones((len(points), 2))) > 0).all()


@pytest.mark.usefixtures("narrow_net")
def test_features_of_images_are_compared_by_their_directions(few_labels, monkeypatch):
    seen = []

    def noted(features, neighbors):
        seen.append(features)
        return NeighborGraph(features, neighbors)

    monkeypatch.setattr(label_spreading, "NeighborGraph", noted)
    LabelSpreading(steps=2, rounds=1, batch_size=16, random_state=0).fit(*few_labels[:2])
    assert np.allclose(np.linalg.norm(seen[0], axis=1), 1, atol=1e-5)
