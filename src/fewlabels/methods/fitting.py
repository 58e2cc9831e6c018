"""A method fitted on a data set."""

from __future__ import annotations

from typing import Any

from fewlabels.data import ImageDataset
from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.training.recovery import Diverged


def fit_dataset(method: SemiSupervisedClassifier, data: ImageDataset, **options: Any) -> None:
    """Fit a method on a data set's labeled images and pool, and hold out its validation part where it has one.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Is fitted in place.
    data : ImageDataset
        Images, or features.
    **options
        Other arguments of `fit`: `observer`, `checkpoint`, `checkpoint_every`.

    Raises
    ------
    InputError
        If the method cannot be fitted on the data.
    Diverged
        If loss or gradients are not finite, also at lower learning rates; it names the images of the step.

    Examples
    --------
    >>> from fewlabels import Supervised, load_dataset
    >>> method = Supervised(steps=2, random_state=0)
    >>> fit_dataset(method, load_dataset("digits", labels_per_class=3))
    >>> method.stage_steps_
    {'classifier': 2}
    """
    validation = None if data.validation is None else (data.validation, data.validation_labels)
    try:
        method.fit(data.labeled, data.labels, unlabeled=data.pool, validation=validation, **options)
    except Diverged as error:
        error.name(data.diagnostics.labeled_names, data.diagnostics.pool_names)
        raise
