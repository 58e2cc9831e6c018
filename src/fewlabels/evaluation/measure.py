"""One model on one test set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data import ImageDataset
from fewlabels.evaluation.intervals import wilson_interval
from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.storage.errors import InputError


def evaluate_model(model: SemiSupervisedClassifier, data: ImageDataset) -> dict[str, Any]:
    """Return a saved model's accuracy on the test images of a data set.

    Classes are matched by their names.

    Returns
    -------
    dict
        `test_accuracy` with its 95 % interval `test_low` to `test_high`, `balanced_accuracy`, `test_images`;
        accuracies are fractions.

    Raises
    ------
    InputError
        If the model knows none of the classes, or reads images of another kind.
    """
    names = getattr(model, "class_names_", [str(name) for name in model.classes_])
    if not set(names) & set(data.class_names):
        raise InputError(
            f"the model's classes ({', '.join(names[:5])}, …) are none of the source's "
            f"({', '.join(data.class_names[:5])}, …)"
        )
    images: Any = data.test
    channels = model.sample_shape_[2]
    if data.channels != channels:
        if channels == 1:
            raise InputError("the model reads gray images, and these are in color")
        images = np.repeat(data.test[:], 3, axis=3)
    guesses = model.predict_proba(images).argmax(1)
    position = {name: index for index, name in enumerate(data.class_names)}
    as_index = np.array([position.get(name, -1) for name in names])[guesses]
    return accuracy_facts(as_index, data.test_labels)


def accuracy_facts(guesses: NDArray[np.integer], labels: NDArray[np.integer]) -> dict[str, Any]:
    """Return accuracy, its Wilson interval, and balanced accuracy."""
    correct = int((guesses == labels).sum())
    low, high = wilson_interval(correct, len(labels))
    recalls = [float((guesses[labels == index] == index).mean()) for index in np.unique(labels)]
    return {
        "test_accuracy": correct / len(labels),
        "test_low": low,
        "test_high": high,
        "balanced_accuracy": float(np.mean(recalls)),
        "test_images": len(labels),
    }
