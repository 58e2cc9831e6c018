"""What is measured: accuracies, the confusion matrix, and how right pseudo-labels are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from fewlabels.data import ImageDataset
from fewlabels.evaluation.intervals import wilson_interval
from fewlabels.evaluation.trust import measure_trust
from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.methods.examples import seen_images
from fewlabels.methods.origin import as_read_by
from fewlabels.storage.arguments import check_kind
from fewlabels.storage.errors import InputError

_UNKNOWN = -1


def accuracy(labels: NDArray[np.int64], guesses: NDArray[np.int64]) -> float:
    """Return the share of right guesses; NaN for no images."""
    return float((labels == guesses).mean()) if len(labels) else math.nan


def balanced_accuracy(labels: NDArray[np.int64], guesses: NDArray[np.int64]) -> float:
    """Return the mean over the classes in `labels` of the share of right guesses; NaN for no images.

    Examples
    --------
    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    0.5
    """
    # scikit-learn's own warns of guesses that are no label, which a class without test images makes common.
    return float(np.mean([(guesses[labels == k] == k).mean() for k in np.unique(labels)])) if len(labels) else math.nan


def confusion_matrix(labels: NDArray[np.int64], guesses: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return counts of shape (classes, classes): row the true class, column the guess."""
    return np.asarray(sklearn_confusion_matrix(labels, guesses, labels=np.arange(classes)), np.int64)


def figures_on_test(labels: NDArray[np.int64], guesses: NDArray[np.int64]) -> dict[str, float]:
    """Return what is told of guesses for test images, of which there is one at least.

    Returns
    -------
    dict
        `test_accuracy`, `test_low`, `test_high` (95 % interval), `balanced_accuracy`.
    """
    right = int((labels == guesses).sum())
    low, high = wilson_interval(right, len(labels))
    return {
        "test_accuracy": right / len(labels),
        "test_low": low,
        "test_high": high,
        "balanced_accuracy": balanced_accuracy(labels, guesses),
    }


def pseudo_label_quality(
    pseudo_labels: NDArray[np.int64], truth: NDArray[np.int64]
) -> tuple[float | None, float | None]:
    """Return precision and recall of a round's pseudo-labels.

    Parameters
    ----------
    pseudo_labels : ndarray of shape (n_pool,)
        Class index given to each pool image, -1 where none was.
    truth : ndarray of shape (n_pool,)
        Its true class index, -1 where unknown; such images count for nothing.

    Returns
    -------
    precision : float or None
        Share of the labels given that are right; None if no image with a known truth got one.
    recall : float or None
        Share of the images with a known truth that got the right label; None if there are none.

    Examples
    --------
    >>> pseudo_label_quality(np.array([0, 1, -1, 1]), np.array([0, 0, 1, -1]))
    (0.5, 0.3333333333333333)
    """
    known = truth != _UNKNOWN
    taken = known & (pseudo_labels != _UNKNOWN)
    right = int((pseudo_labels[taken] == truth[taken]).sum())
    precision = right / int(taken.sum()) if taken.any() else None
    return precision, right / int(known.sum()) if known.any() else None


def class_probabilities(
    method: SemiSupervisedClassifier, images: Any, columns: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Return probabilities of all of a data set's classes, zero for those that the method has not learned.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        A fitted method.
    images : array-like
        What to classify.
    columns : ndarray of int
        The data set's class index of each of the method's classes.
    classes : int
        Number of classes of the data set.

    Returns
    -------
    ndarray of shape (n, classes)
    """
    probabilities = np.zeros((len(images), classes))
    probabilities[:, columns] = method.predict_proba(images)
    return probabilities


def evaluate_model(method: SemiSupervisedClassifier, data: ImageDataset) -> dict[str, Any]:
    """Measure a fitted or loaded method on the test images of a data set.

    Classes are matched by name; those of a model that was saved without names, whose labels are whole numbers, may be
    the data set's indices too.

    Returns
    -------
    dict
        `test_accuracy`, `test_low`, `test_high` (95 % interval), `balanced_accuracy`, `test_images`;
        `untested_classes`, names of those that no test image has, of which the figures say nothing; `unknown_classes`,
        names of those that test images have and the model has not learned, `unknown_images`, how many these are, each
        of which counts as a mistake, and `known_accuracy`, of the others (None where there are none); `seen_images`,
        how many test images are among the labeled images that it was fitted on (None where it keeps none that
        compare); and `trust`, the figures of `fewlabels.evaluation.trust.Trust`.

    Raises
    ------
    InputError
        If the model's classes are not among the data set's, or could be names and indices and these differ, or its
        images have another size.
    """
    check_kind("method", method, SemiSupervisedClassifier, "a fitted method; read a saved one by fewlabels.load")
    check_kind("data", data, ImageDataset, "a data set; read one by fewlabels.load_dataset")
    columns = _columns(method, data.class_names)
    data = as_read_by(method, data)
    probabilities = class_probabilities(method, data.test, columns, len(data.class_names))
    guesses = probabilities.argmax(1)
    known = np.isin(data.test_labels, columns)
    return {
        **figures_on_test(data.test_labels, guesses),
        "test_images": len(guesses),
        "untested_classes": [data.class_names[column] for column in np.setdiff1d(columns, data.test_labels)],
        "unknown_classes": [data.class_names[column] for column in np.setdiff1d(data.test_labels, columns)],
        "unknown_images": int((~known).sum()),
        "known_accuracy": accuracy(data.test_labels[known], guesses[known]) if known.any() else None,
        "seen_images": seen_images(method, data.test),
        "trust": measure_trust(probabilities, data.test_labels, method.conformal_scores_).to_dict(),
    }


def _columns(method: SemiSupervisedClassifier, class_names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return which class of the data each of the model's is."""
    names = getattr(method, "class_names_", None)
    numbers = [str(label) for label in method.classes_]
    # Of models that were saved before that was written down, having no names looks like being called by numbers.
    nameless = names is None or (names == numbers and not set(names) & set(class_names))
    names = numbers if names is None else names
    position = {name: index for index, name in enumerate(class_names)}
    by_name = [position.get(name) for name in names]
    if nameless and method.classes_.dtype.kind in "iu":
        # Its labels may be the data's indices as well as what the data calls its classes.
        indices = method.classes_.tolist()
        if indices != by_name and all(0 <= index < len(class_names) for index in indices):
            if None in by_name:
                return np.array(indices, np.int64)
            raise InputError(
                f"the model's classes, {names[0]} to {names[-1]}, can be names of the data's classes as well as their "
                "numbers, and these differ; save it with class_names=[...] to say which, and measure what was saved"
            )
    if None in by_name:
        strange = names[by_name.index(None)]
        raise InputError(
            f"the model's class {strange!r} is not among those of the data ({', '.join(class_names[:10])}"
            f"{', …' if len(class_names) > 10 else ''}); evaluate it on images of the classes it has learned"
        )
    return np.array(by_name, np.int64)
