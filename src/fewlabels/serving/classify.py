"""What a served model says of one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fewlabels.data.decode import UnreadableImage, decode
from fewlabels.labeling import InDistribution
from fewlabels.methods import SemiSupervisedClassifier, load
from fewlabels.methods.examples import probabilities_and_embeddings
from fewlabels.serving.limits import Limits
from fewlabels.serving.neighbors import Neighbor, Neighborhood
from fewlabels.serving.pictures import checked
from fewlabels.storage.errors import InputError
from fewlabels.training.conformal import COVERAGE, conformal_sets, conformal_threshold, needed_for

_NEIGHBORS = 6


@dataclass(frozen=True)
class Answer:
    """What a model says of an image.

    Attributes
    ----------
    classes : tuple of (str, float)
        Each class and its calibrated probability, the most probable first.
    prediction_set : tuple of str
        Classes that hold the true one as often as `coverage` promises; empty where too few images were held out
        for a promise.
    coverage : float
        Share of such sets that hold the true class.
    held_out : int
        How many images the promise and the probabilities go by.
    neighbors : tuple of Neighbor
        The labeled images that are most like it, the nearest first.
    in_distribution : float or None
        How much like the labeled images it is, in (0, 1]: see `fewlabels.labeling.InDistribution`. None where the
        model keeps none, or too few were held out to measure by.
    seen : ndarray of shape (height, width, channels)
        uint8; the image as the model sees it.
    unmeasured : tuple of str
        Classes that none of the held-out images is of.
    """

    classes: tuple[tuple[str, float], ...]
    prediction_set: tuple[str, ...]
    coverage: float
    held_out: int
    neighbors: tuple[Neighbor, ...]
    in_distribution: float | None
    seen: NDArray[np.uint8]
    unmeasured: tuple[str, ...] = ()


class ServedModel:
    """A fitted method that answers for single image files.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Fitted on images, or on features of a pretrained net.

    Raises
    ------
    InputError
        If the model reads vectors.

    Attributes
    ----------
    class_names : tuple of str
        In the order of the method's classes.
    neighborhood : Neighborhood or None
        The labeled images that the model keeps.
    """

    def __init__(self, method: SemiSupervisedClassifier) -> None:
        if method.image_shape_ is None:
            raise InputError("this model classifies vectors, not images; there is no page for it, use it in Python")
        self.method = method
        examples = getattr(method, "examples_", None)
        inside = None if examples is None or len(examples) < 2 else InDistribution(examples)
        # Measured by images that the model was trained on, far more than one new image in twenty would be unlike them.
        self._inside = inside if inside is not None and inside.is_measured else None
        self.shape: tuple[int, ...] = method.image_shape_
        self.class_names = tuple(getattr(method, "class_names_", [str(name) for name in method.classes_]))
        self.neighborhood = Neighborhood.of(method, self.class_names)

    @classmethod
    def read(cls, folder: Path, net: str | None = None) -> Self:
        """Return the model of a folder; see `fewlabels.load` for the parameters and errors."""
        return cls(load(folder, net=net))

    def classify(self, content: bytes, limits: Limits | None = None) -> Answer:
        """Return what the model says of an image file.

        Parameters
        ----------
        content : bytes
            The file's.
        limits : Limits, optional
            See there.

        Raises
        ------
        InputError
            If it is no readable image, or too large.
        """
        limits = limits or Limits()
        height, width, channels = self.shape
        if len(content) > limits.upload_bytes:
            raise InputError(f"the file is larger than {limits.upload_bytes >> 20} MiB; give a smaller one")
        try:
            seen = decode(checked(content, limits.upload_pixels), (height, width), gray=channels == 1)
        except UnreadableImage as error:
            raise InputError(f"this file cannot be read: {error}; give a JPEG, PNG or WebP image") from error
        probabilities, embeddings = probabilities_and_embeddings(self.method, seen[None])
        order = np.argsort(-probabilities[0], kind="stable")
        held_out = len(self.method.conformal_scores_)
        inside: tuple[str, ...] = ()
        if held_out >= needed_for(COVERAGE):
            threshold = conformal_threshold(self.method.conformal_scores_, COVERAGE)
            row = conformal_sets(probabilities, threshold)[0]
            inside = tuple(self.class_names[index] for index in order if row[index])
        likeness = None if self._inside is None else float(self._inside.scores(embeddings)[0])
        neighbors: tuple[Neighbor, ...] = ()
        if self.neighborhood is not None:
            neighbors = self.neighborhood.nearest(embeddings[0], _NEIGHBORS)
        return Answer(
            classes=tuple((self.class_names[index], float(probabilities[0, index])) for index in order),
            prediction_set=inside,
            coverage=COVERAGE,
            held_out=held_out,
            neighbors=neighbors,
            in_distribution=likeness,
            seen=seen,
            # Models of before do not tell.
            unmeasured=tuple(self.class_names[index] for index in getattr(self.method, "unmeasured_classes_", ())),
        )
