"""The nearest of many vectors: the same as scikit-learn finds, with and without shortened vectors."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import spsolve
from sklearn.neighbors import NearestNeighbors

from fewlabels.methods import neighbors
from fewlabels.methods.graph import NeighborGraph
from fewlabels.methods.neighbors import NearestRows, largest


@pytest.fixture
def vectors():
    """A thousand vectors of 80 features that lie near a surface of ten dimensions."""
    draws = np.random.default_rng(0)
    return (draws.standard_normal((1000, 10)) @ draws.standard_normal((10, 80))).astype(np.float32)


@pytest.mark.parametrize("chunk", [10**8, 37_000])
def test_neighbors_are_those_of_scikit_learn_whatever_the_chunks(vectors, chunk, monkeypatch):
    monkeypatch.setattr(neighbors, "_CHUNK_NUMBERS", chunk)
    monkeypatch.setattr(neighbors, "_GATHERED_NUMBERS", 7000)
    expected, rows = NearestNeighbors(n_neighbors=12).fit(vectors).kneighbors()
    distances, found = NearestRows(vectors, 12).kneighbors()
    assert np.array_equal(found, rows)
    assert np.allclose(distances, expected, atol=1e-4)
    others = vectors[:50] + 0.1
    assert np.array_equal(
        NearestRows(vectors, 5).kneighbors(others)[1],
        NearestNeighbors(n_neighbors=5).fit(vectors).kneighbors(others)[1],
    )


def test_shortened_vectors_find_the_same_neighbors_near_a_surface(vectors, monkeypatch):
    monkeypatch.setattr(neighbors, "_SHORTENED_FROM", 500)
    monkeypatch.setattr(neighbors, "_COMPONENTS", 20)
    expected, rows = NearestNeighbors(n_neighbors=12).fit(vectors).kneighbors()
    search = NearestRows(vectors, 12)
    assert search._short.shape == (1000, 20)
    distances, found = search.kneighbors()
    assert (found == rows).mean() > 0.999
    assert np.allclose(distances, expected, atol=1e-3)


def test_near_duplicates_keep_their_distance():
    vectors = np.full((40, 30), 1000.0, np.float32)
    vectors[:, 0] += np.arange(40) * 0.01
    distances, _ = NearestRows(vectors, 1).kneighbors()
    assert np.allclose(distances, 0.01, rtol=0.05), "products of such vectors have lost these digits"


def test_fewer_vectors_than_neighbors():
    distances, rows = NearestRows(np.eye(20, dtype=np.float32)[:3], 10).kneighbors()
    assert rows.shape == (3, 2)
    assert all(row not in found for row, found in enumerate(rows))
    assert np.allclose(distances, np.sqrt(2))


def test_the_largest_of_groups_are_the_largest_of_all():
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 3200)))
    for count in (1, 7, 99, 100, 150):
        found = largest(values, count)
        assert torch.equal(found.sort(1).values, values.topk(count, 1).indices.sort(1).values)


def test_conjugate_gradients_of_all_classes_at_once_solve_the_system(vectors):
    graph = NeighborGraph(vectors, 8)
    given = np.zeros((1000, 3))
    given[[0, 1, 2], [0, 1, 2]] = 1
    given[5, 0] = 1
    from scipy.sparse import csc_matrix, identity

    system = csc_matrix(identity(1000) - 0.99 * graph.normalized)
    expected = np.stack([spsolve(system, 0.01 * column) for column in given.T], 1)
    found = graph.spread(given, 0.99)
    assert np.abs(found - expected).max() < 2e-4 * np.abs(expected).max()
    assert (graph.spread(np.zeros((1000, 2)), 0.9) == 0).all()
