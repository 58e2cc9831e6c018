"""Label spreading: labels run along a graph of near samples, and a net learns from what they bring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import entropy
from torch import nn

from fewlabels.methods.graph import NeighborGraph
from fewlabels.methods.neighbors import NearestRows
from fewlabels.methods.prediction import output_chunks
from fewlabels.methods.ranges import check_whole, check_within
from fewlabels.methods.self_training import SelfTraining
from fewlabels.methods.session import Session
from fewlabels.nets import Classifier
from fewlabels.nets.vector import ScaledVector
from fewlabels.training.batches import Rows

_CHUNK = 1000
_TIMED = 250
# What making the graph symmetric and solving for the labels adds to the search for neighbors.
_AND_SPREAD = 1.3
_LEAST = 1e-12


@dataclass(kw_only=True, eq=False, repr=False)
class LabelSpreading(SelfTraining):
    """Labels spread along a graph of features to the pool, and a net learns from labels and spread labels.

    The graph joins each sample to its nearest `neighbors`; S are its weights, normalized on both sides, and Y the
    given labels, one-hot, with zeros for the pool. The spread labels are

        F = (1 - alpha) (I - alpha S)^(-1) Y

    and a row of F, scaled to a sum of one, gives a pool sample's class probabilities z. A net that starts from
    random weights minimizes H(y, p(v(x))) + w(u) H(argmax z(u), p(v(u))) over views v, where the weight
    w(u) = (1 - H(z(u)) / log C) / n(u) tells how clear z is among C classes and n(u) is how many labels there are,
    given and spread, of the class; weights are scaled to a mean of one.

    The features of vectors are the vectors, standardized, and of a pretrained net's features also scaled to one length.
    Those of images are the features of a net trained on the labeled samples, scaled to length one; in the next round,
    of the net that has learned from the spread labels.

    See `SelfTraining` for the other parameters and attributes; `threshold`, `first_share`, `top_share` and
    `confidence_weights` are not used: every sample that a label reaches is learned from, with its weight.

    Parameters
    ----------
    neighbors : int
        Of each sample in the graph, at least 1.
    alpha : float
        How far labels spread, in (0, 1).
    graph_samples : int
        Most pool samples in the graph, at least 100: the time to make it grows with their square. Others, chosen
        at random, get the mean of their neighbors in it.

    References
    ----------
    Zhou et al., "Learning with local and global consistency", NIPS 2003; Iscen et al., "Label propagation for
    deep semi-supervised learning", CVPR 2019, for the net.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> method = LabelSpreading(steps=60, random_state=0).fit(digits.data, y)
    >>> method.score(digits.data[100:], digits.target[100:]) > 0.8
    True
    """

    # The notebook knew no graph.
    _goes_on: ClassVar[bool] = False
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}

    ensemble: bool = False
    neighbors: int = 10
    alpha: float = 0.9
    graph_samples: int = 100_000

    def _learn(self, session: Session) -> Any:
        if session.is_vectors:
            # The graph of vectors never changes, so that a second round would learn the same again.
            self.rounds = min(self.rounds, 1)
        return super()._learn(session)

    def _label(self, session: Session, network: nn.Module, pool: Rows) -> tuple[NDArray[np.float64], float]:
        """Return the class probabilities that spreading gives pool samples; zeros where no label comes."""
        assert isinstance(network, Classifier)
        given = session.labeled.labels
        order = np.random.default_rng(session.next_seed()).permutation(len(pool))
        in_graph = np.isin(np.arange(len(pool)), order[: int(self.graph_samples)])
        features = list(self._features(session, network, session.labeled.stored))
        features += [chunk[in_graph[rows]] for rows, chunk in self._pool_features(session, network, pool)]
        graph = NeighborGraph(np.concatenate(features), int(self.neighbors))
        labels = np.zeros((len(given) + int(in_graph.sum()), session.classes))
        labels[np.arange(len(given)), given] = 1
        spread = graph.spread(labels, self.alpha)
        found = np.zeros((len(pool), session.classes))
        found[in_graph] = spread[len(given) :]
        if not in_graph.all():
            for rows, chunk in self._pool_features(session, network, pool):
                outside = ~in_graph[rows]
                if outside.any():
                    found[rows][outside] = graph.carried(chunk[outside], spread)
        return as_probabilities(found), 1.0

    def _seconds_to_label(self, session: Session, network: Classifier) -> float:
        """Return how long `_label` takes for the whole pool: features and neighbors, measured on some."""
        rows = len(session.labeled) + min(int(self.graph_samples), len(session.pool))
        size = session.sample_shape[0] if session.is_vectors else network.encoder.feature_size
        points = np.random.default_rng(0).standard_normal((rows, size), np.float32)
        search = NearestRows(points, int(self.neighbors))
        began = session.clock()
        search.kneighbors(points[:_TIMED])
        neighbors = (session.clock() - began) * (len(session.labeled) + len(session.pool)) / min(_TIMED, rows)
        return super()._seconds_to_label(session, network) + _AND_SPREAD * neighbors

    def _pool_features(
        self, session: Session, network: Classifier, pool: Rows
    ) -> Iterator[tuple[slice, NDArray[np.floating]]]:
        done = 0
        for chunk in self._features(session, network, pool):
            yield slice(done, done + len(chunk)), chunk
            done += len(chunk)

    def _features(self, session: Session, network: Classifier, rows: Rows) -> Iterator[NDArray[np.floating]]:
        """Yield what the graph is made of, some samples at a time."""
        if session.is_vectors:
            for vectors in rows.chunks(_CHUNK, session.device):
                with torch.inference_mode():
                    plain = session.plain(vectors)
                    # Features of a pretrained net are compared by their directions, as its linear head compares them.
                    scaled = isinstance(network.encoder, ScaledVector)
                    yield (network.features(plain) if scaled else network.normalize(plain)).cpu().numpy()
            return
        precision = session.recipe.precision
        for found in output_chunks(network, rows, session.device, features=True, precision=precision):
            yield found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), _LEAST)

    def _select(self, confidences: NDArray[np.float64], guesses: NDArray[np.int64], number: int) -> NDArray[np.bool_]:
        """Return which pool samples a label has come to."""
        del guesses, number
        return confidences > 0

    def _sample_weights(
        self, given: NDArray[np.int64], pseudo_labels: NDArray[np.int64], probabilities: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        labels = np.concatenate([given, pseudo_labels])
        clear = np.concatenate([np.full(len(given), float(self.labeled_weight)), certainties(probabilities)])
        taken = labels >= 0
        counts = np.bincount(labels[taken], minlength=probabilities.shape[1])
        weights = np.where(taken, clear / np.maximum(counts, 1)[labels], 0.0)
        return weights * taken.sum() / weights.sum()  # type: ignore[no-any-return]

    def _check_settings(self) -> None:
        super()._check_settings()
        check_whole(self, 1, "neighbors")
        check_whole(self, 100, "graph_samples")
        check_within(self, "(0, 1)", "alpha")


def as_probabilities(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows scaled to a sum of one; rows of zeros stay.

    Examples
    --------
    >>> as_probabilities(np.array([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    sums = values.sum(1, keepdims=True)
    return np.divide(values, sums, out=np.zeros_like(values), where=sums > 0)  # type: ignore[no-any-return]


def certainties(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - H(p) / log C for rows of probabilities of C classes: 1 for one class alone, 0 for all alike.

    Examples
    --------
    >>> certainties(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [1.0, 0.0]
    """
    return np.maximum(1 - entropy(probabilities, axis=1) / np.log(probabilities.shape[1]), 0.0)  # type: ignore[no-any-return]
