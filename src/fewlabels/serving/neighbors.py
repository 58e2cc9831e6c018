"""The labeled images that are most like another one, as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fewlabels.methods import SemiSupervisedClassifier


@dataclass(frozen=True)
class Neighbor:
    """A labeled image near another.

    Attributes
    ----------
    name : str
        Its class.
    similarity : float
        Cosine of the angle between the two images' features, about the mean of all labeled ones; in [-1, 1].
    image : ndarray of shape (height, width, channels)
        uint8.
    """

    name: str
    similarity: float
    image: NDArray[np.uint8]


class Neighborhood:
    """Labeled images and their features.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels)
        uint8.
    names : sequence of str
        The class of each.
    embeddings : ndarray of shape (n, features)
        What the model makes of each.

    Examples
    --------
    >>> images = np.zeros((2, 8, 8, 1), np.uint8)
    >>> both = Neighborhood(images, ["cat", "dog"], np.array([[2.0, 0.0], [0.0, 2.0]]))
    >>> [(near.name, round(near.similarity, 2)) for near in both.nearest(np.array([1.0, 2.0]), 2)]
    [('dog', 0.71), ('cat', -0.71)]
    """

    def __init__(self, images: NDArray[np.uint8], names: Sequence[str], embeddings: NDArray[np.floating]) -> None:
        self.images, self.names = images, names
        # Features that are never below zero all point the same way; about their mean they differ.
        self._center = np.asarray(embeddings, np.float32).mean(0)
        self._directions = _directions(embeddings - self._center)

    @classmethod
    def of(cls, method: SemiSupervisedClassifier, class_names: Sequence[str]) -> Self | None:
        """Return the labeled images that a model keeps; None where it keeps none, or features of them."""
        examples = getattr(method, "examples_", None)
        if examples is None or examples.samples.ndim != 4:
            return None
        return cls(examples.samples, [class_names[label] for label in examples.labels], examples.embeddings)

    def nearest(self, embedding: NDArray[np.floating], count: int) -> tuple[Neighbor, ...]:
        """Return the labeled images nearest to one, at most `count`, the nearest first.

        Parameters
        ----------
        embedding : ndarray of shape (features,)
            What the model makes of the image.
        count : int
            How many.
        """
        similarities = self._directions @ _directions(embedding[None] - self._center)[0]
        nearest = np.argsort(-similarities, kind="stable")[:count]
        return tuple(Neighbor(self.names[row], float(similarities[row]), self.images[row]) for row in nearest.tolist())


def _directions(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    vectors = np.asarray(embeddings, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)  # type: ignore[no-any-return]
