"""What a method is given to learn from or to predict, read, checked and brought into one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from fewlabels.data.parts import as_labels, refuse_masked, refuse_no_array, without_gradient
from fewlabels.data.pixels import read_images
from fewlabels.data.rows import FeatureRows
from fewlabels.methods.embedding import features_of
from fewlabels.methods.samples import is_images, read_features, read_vectors
from fewlabels.methods.targets import Targets, read_targets
from fewlabels.nets.statistics import drawn_in
from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Rows

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier


# Of the standard deviations that the mean of a feature is off in the pool, in the median feature. A pool of other
# classes than those that are labeled comes to about 1; one that is not scaled as the labeled samples are, to more.
_ELSEWHERE = 3.0
# Units differ where nearly all features are so many times as wide, or as narrow: a pool of one class is narrower in
# some. Of fewer samples, features, or different values a spread is a guess.
_WIDER, _NEARLY_ALL = 5.0, 0.9
_LEAST_SAMPLES, _LEAST_FEATURES, _LEAST_VALUES = 20, 3, 5
_ENOUGH = 1000
# The brightest level of images that gray squares of views lie far from: twenty standard deviations, say.
_DARK = 32


@dataclass(frozen=True)
class Given:
    """What a fit is given.

    Attributes
    ----------
    samples : array-like
        uint8 images (n, height, width, channels) or float32 vectors (n, stored features).
    targets : Targets
        Their labels, with gaps.
    more : array-like or None
        Samples without labels, of the same form.
    validation : array-like or None
        Samples to measure on.
    validation_targets : Targets or None
        Their labels.
    shape : tuple of int
        Of one sample, as it was given.
    stored_views : int
        Views of an image that each vector holds, one after the other.
    are_features : bool
        Whether a pretrained net had made them.
    backbone : dict or None
        That net's facts, where they are known.
    blurred : tuple of str
        Columns of vectors whose values differ by too little to be told apart as float32.
    """

    samples: Any
    targets: Targets
    more: Any
    validation: Any
    validation_targets: Targets | None
    shape: tuple[int, ...]
    stored_views: int
    are_features: bool
    backbone: dict[str, Any] | None
    blurred: tuple[str, ...] = ()

    @property
    def are_images(self) -> bool:
        """Whether the samples are images rather than vectors."""
        return len(self.samples.shape) > 2

    @property
    def elsewhere(self) -> list[str]:
        """Which of `unlabeled` and `validation` look as if their vectors were in other units than those of `X`."""
        if self.are_images or self.are_features:
            return []
        others = {"unlabeled": self.more, "validation": self.validation}
        return [name for name, values in others.items() if values is not None and _lies_elsewhere(self.samples, values)]

    @property
    def dark_up_to(self) -> int | None:
        """The highest level of images that are so dark that views with gray in them are far from all, else None."""
        brightest = int(np.max(self.samples[:_ENOUGH])) if self.are_images else 0
        return brightest if 0 < brightest <= _DARK else None


def _lies_elsewhere(samples: Any, others: Any) -> bool:
    """Say whether vectors look as if they were measured in other units."""
    here, there = (
        # Evenly spaced, since they may be sorted by class.
        drawn_in(torch.from_numpy(np.asarray(values[:: max(1, len(values) // _ENOUGH)], np.float64))).numpy()
        for values in (samples, others)
    )
    spread, wide = here.std(0), there.std(0)
    varies = spread > 0
    off = np.abs(there.mean(0) - here.mean(0))[varies] / spread[varies]
    if len(off) and np.median(off) > _ELSEWHERE:
        return True
    if min(len(here), len(there)) < _LEAST_SAMPLES:
        return False
    measured = np.flatnonzero(varies & (wide > 0))[:_ENOUGH]
    measured = measured[np.minimum(_values(here[:, measured]), _values(there[:, measured])) >= _LEAST_VALUES]
    if len(measured) < _LEAST_FEATURES:
        return False
    times = np.log(wide[measured] / spread[measured])
    return bool(max(np.quantile(times, 1 - _NEARLY_ALL), -np.quantile(times, _NEARLY_ALL)) > np.log(_WIDER))


def _values(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many different values each column has."""
    found: NDArray[np.int64] = (np.diff(np.sort(vectors, axis=0), axis=0) > 0).sum(0) + 1
    return found


def read_given(
    method: SemiSupervisedClassifier, X: Any, y: Any, unlabeled: Any, validation: tuple[Any, Any] | None
) -> Given:
    """Return the arguments of `fit`, checked; the method is told how many features and which names they have.

    Raises
    ------
    ValueError
        If they cannot be used.
    """
    # Where X has names, they are read with it.
    method.__dict__.pop("feature_names_in_", None)
    stored_views, backbone = 1, None
    if images := is_images(X):
        samples: Any = read_images(X)
        method.n_features_in_ = int(np.prod(samples.shape[1:]))
    elif isinstance(X, FeatureRows):
        samples, stored_views, backbone = X[:], X.views, X.backbone
        method.n_features_in_ = X.feature_size
    else:
        samples = _validated(method, X, ensure_min_samples=2)
    y = column_or_1d(as_labels(y), warn=True, dtype=None)
    if len(y) != len(samples):
        raise InputError(f"X has {len(samples)} samples but y has {len(y)}; give one label each (-1 for none)")
    targets = read_targets(y)
    if len(targets.classes) < 2:
        raise InputError(
            f"only one class ({targets.classes.tolist()[0]!r}) among the labels; a classifier needs at least 2 classes"
        )
    shape = tuple(samples.shape[1:]) if images else (method.n_features_in_,)
    more = values = None
    if validation is not None and not (isinstance(validation, tuple | list) and len(validation) == 2):
        raise InputError("validation is two things, (X, y): samples and their labels")
    if issparse(unlabeled) or (validation is not None and issparse(validation[0])):
        raise InputError("a sparse matrix cannot be learned from; give an array, as by its method toarray()")
    refuse_no_array(unlabeled, "unlabeled")
    if isinstance(unlabeled, tuple) and len(unlabeled) == 2 and np.ndim(unlabeled[0]) > np.ndim(unlabeled[1]):
        raise InputError("unlabeled is a pair (X, y); give the samples alone")
    if unlabeled is not None and not hasattr(unlabeled, "__len__"):
        raise InputError(f"unlabeled={unlabeled!r} holds no samples; give an array of them")
    if unlabeled is not None and len(unlabeled):
        more = read_more(method, unlabeled, shape, "unlabeled", stored_views, backbone)
    if validation is not None:
        values = read_more(method, validation[0], shape, "validation", stored_views, backbone)
        if len(validation[0]) != len(validation[1]):
            raise InputError(
                f"validation has {len(validation[0])} samples and {len(validation[1])} labels; give one label each"
            )
    return Given(
        samples,
        targets,
        more,
        values,
        None if validation is None else _targets_to_validate(validation[1], targets.classes),
        shape,
        stored_views,
        isinstance(X, FeatureRows),
        backbone,
        () if images or isinstance(X, FeatureRows) else _blurred(X, samples),
    )


def _targets_to_validate(y: Any, classes: NDArray[Any]) -> Targets:
    try:
        return read_targets(column_or_1d(as_labels(y)), classes)
    except InputError as error:
        raise InputError(f"validation: {error}") from error


def rows_to_predict(method: SemiSupervisedClassifier, X: Any) -> Rows:
    """Return samples in the form that a fitted method's net reads; images as features, where it learned from these."""
    check_is_fitted(method)
    if len(method.sample_shape_) == 1:
        if isinstance(X, FeatureRows):
            made_by = method.backbone_facts_.to_dict() if hasattr(method, "backbone_facts_") else None
            return Rows([read_features(X, X.views, method.sample_shape_[0], made_by, "X")])
        if method._backbone_place == "reference" and is_images(X):
            return Rows([features_of(method._backbone(), read_images(X), method._device())])
        return Rows([_validated(method, X, reset=False)])
    images = read_more(method, X, method.sample_shape_, "X")
    if method._backbone_place == "beside":
        return Rows([features_of(method._backbone(), images, method._device())])
    return Rows([images])


def _validated(method: SemiSupervisedClassifier, X: Any, **how: Any) -> NDArray[np.float32]:
    """Return vectors as scikit-learn checks them."""
    refuse_no_array(X, "X")
    refuse_masked(X, "X")
    vectors: NDArray[np.float32] = validate_data(method, without_gradient(X), dtype=np.float32, **how)
    return vectors


def _blurred(X: Any, vectors: NDArray[np.float32]) -> tuple[str, ...]:
    """Return the names of columns that lose as float32 what differs in them, as times in seconds since 1970 do."""
    # What only converts itself to an array, by `__array__`, cannot be cut first.
    given = np.asarray(without_gradient(X[:_ENOUGH] if hasattr(X, "__getitem__") else X))[:_ENOUGH]
    if given.dtype == np.float32 or given.dtype.kind not in "fiuO":
        return ()
    given = given.astype(np.float64)
    spread, step = given.std(0), np.spacing(np.abs(vectors[:_ENOUGH]).max(0))
    # Rounding to steps adds noise of a third of a step, at most a hundredth of the spread of what is left alone.
    lost = np.flatnonzero((step > spread / 30) & (spread > np.spacing(np.abs(given).max(0)) * 30))
    names = getattr(X, "columns", range(given.shape[1]))
    return tuple(str(names[column]) for column in lost)


def read_more(
    method: SemiSupervisedClassifier,
    X: Any,
    sample_shape: tuple[int, ...],
    what: str,
    stored_views: int = 1,
    backbone: dict[str, Any] | None = None,
) -> Any:
    """Return more samples, `what` they are called in an error, checked against those of the training."""
    if len(sample_shape) == 1:
        if isinstance(X, FeatureRows):
            return read_features(X, stored_views, sample_shape[0], backbone, what)
        vectors = read_vectors(X, sample_shape[0], what)
        read_features(FeatureRows(vectors), stored_views, sample_shape[0], None, what)
        if hasattr(method, "feature_names_in_") and hasattr(X, "columns"):
            validate_data(method, X, reset=False, skip_check_array=True)
        return vectors
    images = read_images(X, what=what)
    if tuple(images.shape[1:]) != tuple(sample_shape):
        raise InputError(
            f"{what} has images of shape {tuple(images.shape[1:])}; expected {tuple(sample_shape)} as in training"
        )
    return images
