"""A model's method fitted once more, with the labels that were given since."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from sklearn.base import clone

from fewlabels.data import ImageDataset
from fewlabels.data.features import is_feature_folder
from fewlabels.evaluation.contenders import make_features
from fewlabels.methods import SemiSupervisedClassifier, load
from fewlabels.methods.embedding import warn_of_leak
from fewlabels.methods.examples import load_source, on_features, origin_of, remember, size_to_read
from fewlabels.methods.fitting import fit_dataset
from fewlabels.methods.replaced import check_place_before, keep_before
from fewlabels.storage.errors import TrainingWarning
from fewlabels.training.monitor import Observer


def train_again(tell: Observer, folder: Path, source: str | None, labels: Any, net: str | None) -> str:
    """Fit a saved model's method anew on its source with other labels, and put the result in the model's place.

    Until it is saved, the folder holds the model that was there; after that, `FOLDER.before` does.

    Parameters
    ----------
    tell : callable
        Is called with each event of the training.
    folder : Path
        Of the model.
    source : str, optional
        Where the images are, if not where they were.
    labels : str or mapping
        See `fewlabels.load_dataset`.
    net : str, optional
        The pretrained net, where it was code of the user's own.

    Returns
    -------
    str
        How it went, in one sentence.

    Raises
    ------
    InputError
        If the source or the labels cannot be used, or other files lie where the model before is to go.
    """
    check_place_before(folder)
    before = load(folder, net=net)
    data = data_to_fit(before, source, labels)
    for note in data.notes:
        warnings.warn(note, TrainingWarning, stacklevel=2)
    method = clone(before)
    # What has learned from features knows no net: they were made before.
    method.set_params(verbose=False, **({} if net is None or data.is_features else {"net": net}))
    fit_dataset(method, data, observer=tell)
    warn_of_leak(method, data)
    remember(method, data)
    keep_before(folder)
    method.save(folder, class_names=[data.class_names[index] for index in method.classes_])
    was, now = before.validation_accuracy_, method.validation_accuracy_
    measured = "" if now != now else f", {now:.1%} on {method.n_validation_:,} held-out images"
    if measured and was == was:
        measured += f" (the one before: {was:.1%} on {before.n_validation_:,})"
    return f"{len(data.labels):,} labels, {method.fit_seconds_:.0f} s of training{measured}."


def data_to_fit(before: SemiSupervisedClassifier, source: str | None, labels: Any) -> ImageDataset:
    """Return what a model's method learns from: its images, or features of them where it was fitted on features.

    Parameters
    ----------
    before : SemiSupervisedClassifier
        From `fewlabels.load`.
    source, labels
        See `train_again`.
    """
    place = origin_of(before).get("source") if source is None else source
    if place is None or not on_features(before) or is_feature_folder(Path(place)):
        changes: dict[str, Any] = {} if source is None else {"source": source}
        if place is not None:
            # What a folder's images are read at by default changes with its images.
            changes["image_size"] = size_to_read(before, place)
        return load_source(before, labels=labels, **changes)
    size = size_to_read(before, place)
    strict = bool(origin_of(before).get("strict", False))
    features, _ = make_features(place, before._backbone(), size, strict=strict, device=before.device)
    data = load_source(before, labels=labels, source=str(features), image_size=None)
    return replace(data, origin={**(data.origin or {}), "source": place, "image_size": size})
