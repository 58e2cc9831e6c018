"""What is measured of a fitted method, once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data import ImageDataset
from fewlabels.evaluation.feature_sample import sample_features
from fewlabels.evaluation.metrics import accuracy, class_probabilities, figures_on_test, pseudo_label_quality
from fewlabels.evaluation.pool_sample import rows_at_hand, sample_pool
from fewlabels.evaluation.run import Mistake, Reconstructions, Run
from fewlabels.evaluation.trust import measure_trust
from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.methods.choices import choices
from fewlabels.methods.findings import findings, learner_of
from fewlabels.methods.guard import has_fallen_back, has_fallen_back_on_pretrained, was_held_back
from fewlabels.methods.reconstruction import AutoencoderClassifier
from fewlabels.storage.wording import counted
from fewlabels.training.watch import POOL_ACCURACY

_SHOWN_MISTAKES = 24
_SHOWN_RECONSTRUCTIONS = 10


def measure(
    name: str,
    method: SemiSupervisedClassifier,
    data: ImageDataset,
    *,
    labels_per_class: int | None,
    seed: int,
    tried: list[dict[str, Any]] | None = None,
    energy_joules: float = math.nan,
) -> Run:
    """Return the record of a method that was fitted on the data's labeled and pool images.

    `tried` are the hyper-parameters that this one was chosen among, see `fewlabels.evaluation.choosing.best_of`;
    `energy_joules` is what its training took.

    The test images are looked at here, after all training, and nowhere before.
    """
    columns = np.asarray(method.classes_, np.int64)
    learned = np.setdiff1d(np.arange(len(data.labels)), method.validation_rows_)
    probabilities = class_probabilities(method, data.test, columns, len(data.class_names))
    guesses = probabilities.argmax(1)
    figures = figures_on_test(data.test_labels, guesses)
    at_hand = rows_at_hand(data.pool)
    return Run(
        method=name,
        labels_per_class=labels_per_class,
        seed=seed,
        train_accuracy=accuracy(data.labels[learned], method.predict(data.labeled.take(learned))),
        validation_accuracy=method.validation_accuracy_,
        **figures,
        fit_seconds=method.fit_seconds_,
        gradient_images=int(method.gradient_images_),
        parameters=method.n_parameters_,
        test_probabilities=probabilities,
        test_labels=data.test_labels,
        settings=dict(method.settings_),
        architecture=method.describe(),
        history=_history(method, data.diagnostics.pool_labels, columns),
        rounds=_rounds(method, data.diagnostics.pool_labels, columns),
        stage_steps=dict(method.stage_steps_),
        trust=measure_trust(probabilities, data.test_labels, method.conformal_scores_),
        weights=_weights(method, data, figures["test_accuracy"]),
        choices=[*choices(method), *_tried_choice(method, tried or [])],
        tried=tried or [],
        findings=findings(method, [data.class_names[column] for column in columns]),
        held_back=was_held_back(method),
        labels_alone=method._learns_from_pool and not learner_of(method)._learns_from_pool,
        fell_back=has_fallen_back(method),
        fell_back_pretrained=has_fallen_back_on_pretrained(method),
        mistakes=_mistakes(probabilities, data),
        reconstructions=_reconstructions(method, data),
        pool_sample=sample_pool(method, data, columns, at_hand),
        feature_sample=sample_features(method, data, guesses, at_hand),
        energy_joules=energy_joules,
        labels_given=data.labels_given,
    )


def _tried_choice(method: SemiSupervisedClassifier, tried: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "choice": "hyper-parameters",
            "result": ", ".join(f"{name} {value}" for name, value in row["settings"].items())
            + f", of {len(tried)} combinations",
            "looked_at": counted(method.n_validation_, "held-out image"),
        }
        for row in tried
        if row["used"]
    ]


def _weights(method: SemiSupervisedClassifier, data: ImageDataset, test_accuracy: float) -> list[dict[str, Any]]:
    kept = method.kept_weights_
    used = method.used_weights_
    found = []
    for name, one in kept.items():
        # Weights that are the same under two names classify the test images once.
        same = one is kept[used]
        guesses = None if same else method.with_weights(name).predict(data.test)
        found.append(
            {
                "name": name,
                "step": one.step,
                "validation_accuracy": one.validation_accuracy,
                "test_accuracy": test_accuracy if guesses is None else accuracy(data.test_labels, guesses),
                "used": name == used,
            }
        )
    return found


def _history(
    method: SemiSupervisedClassifier, truth: NDArray[np.int64], columns: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return the training's events; with how many guesses for pool images were right then, where that is known."""
    events = [dict(event) for event in method.history_]
    named = {(event["stage"], event["step"]): event for event in events}
    for look in method.pool_looks_:
        right = truth[look["rows"]] == columns[look["guesses"]]
        known = truth[look["rows"]] >= 0
        if known.any():
            named[look["stage"], look["step"]][POOL_ACCURACY] = float(right[known].mean())
    return events


def _rounds(
    method: SemiSupervisedClassifier, truth: NDArray[np.int64], columns: NDArray[np.int64]
) -> list[dict[str, Any]]:
    rounds = []
    pseudo_labels = getattr(method, "round_pseudo_labels_", [])
    for record, given in zip(getattr(method, "rounds_", []), pseudo_labels, strict=True):
        # The method's class numbers become the data set's; -1 stays.
        precision, recall = pseudo_label_quality(np.where(given < 0, -1, columns[given]), truth)
        checked = float((truth[given >= 0] >= 0).mean()) if (given >= 0).any() else None
        rounds.append({**record, "precision": precision, "recall": recall, "checked": checked})
    return rounds


def _mistakes(probabilities: NDArray[np.float64], data: ImageDataset) -> list[Mistake]:
    guesses, confidences = probabilities.argmax(1), probabilities.max(1)
    if data.is_features:
        return []  # there is no image to show
    wrong = np.flatnonzero(guesses != data.test_labels)
    surest = wrong[np.argsort(-confidences[wrong], kind="stable")][:_SHOWN_MISTAKES]
    return [
        Mistake(
            int(row),
            int(data.test_labels[row]),
            int(guesses[row]),
            float(confidences[row]),
            data.test[int(row)],
        )
        for row in surest
    ]


def _reconstructions(method: SemiSupervisedClassifier, data: ImageDataset) -> Reconstructions | None:
    if not isinstance(method, AutoencoderClassifier) or not method.has_autoencoder:
        return None
    if data.is_features or hasattr(method, "backbone_"):
        return None
    # The first test image of each class shows more than the first ten, which may be all of one class.
    firsts = [int(np.flatnonzero(data.test_labels == label)[0]) for label in np.unique(data.test_labels)]
    originals = data.test.take(np.array(firsts[:_SHOWN_RECONSTRUCTIONS]))
    return Reconstructions(
        originals=originals[:],
        reconstructed=np.asarray(method.reconstruct(originals), np.uint8),
        error=float(method.reconstruction_error(data.test)),
    )
