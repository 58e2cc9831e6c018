"""How each class fares, and which are taken for which."""

from __future__ import annotations

from typing import Any

import numpy as np

from fewlabels.evaluation.intervals import wilson_interval
from fewlabels.evaluation.metrics import confusion_matrix
from fewlabels.evaluation.run import Run

# A table of counts for as many classes; beyond, a picture and the most frequent confusions.
_MOST_COUNTED = 15
_MOST_CONFUSIONS = 8


def class_rows(run: Run, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return one row a class: test images, recall with its 95 % interval, precision, F1, what it is taken for.

    Where a class has no test image, or is never guessed, the share is None, and without a test image F1 is too.
    """
    counts = confusion_matrix(run.test_labels, run.guesses, len(class_names))
    neighbors = _same_class_neighbors(run, len(class_names))
    rows = []
    for index, name in enumerate(class_names):
        images, guessed, right = int(counts[index].sum()), int(counts[:, index].sum()), int(counts[index, index])
        recall = right / images if images else None
        precision = right / guessed if guessed else None
        low, high = wilson_interval(right, images) if images else (None, None)
        wrong = counts[index].copy()
        wrong[index] = 0
        most = int(wrong.argmax())
        rows.append(
            {
                "name": name,
                "images": images,
                "recall": recall,
                "low": low,
                "high": high,
                "precision": precision,
                "f1": 2 * right / (images + guessed) if images else None,
                "taken_for": f"{class_names[most]} ({int(wrong[most])})" if wrong[most] else "",
                "neighbors": neighbors[index],
            }
        )
    return rows


def confusion_cells(run: Run, class_names: tuple[str, ...]) -> list[dict[str, Any]] | None:
    """Return the confusion matrix as rows of (count, shade in percent), None where there are too many classes."""
    if len(class_names) > _MOST_COUNTED:
        return None
    counts = confusion_matrix(run.test_labels, run.guesses, len(class_names))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return [
        {"name": name, "cells": [(int(n), round(100 * float(s) ** 0.7)) for n, s in zip(row, shade, strict=True)]}
        for name, row, shade in zip(class_names, counts, shares, strict=True)
    ]


def frequent_confusions(run: Run, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the pairs of classes that are mixed up most often, with their count and share of the true class."""
    counts = confusion_matrix(run.test_labels, run.guesses, len(class_names))
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = [divmod(int(flat), len(class_names)) for flat in order]
    return [
        {
            "truth": class_names[truth],
            "guess": class_names[guess],
            "count": int(wrong[truth, guess]),
            "share": float(wrong[truth, guess] / counts[truth].sum()),
        }
        for truth, guess in pairs
        if wrong[truth, guess]
    ]


def _same_class_neighbors(run: Run, classes: int) -> list[float | None]:
    if run.feature_sample is None:
        return [None] * classes
    labels = run.feature_sample.labels
    same = (run.feature_sample.neighbors() == labels[:, None]).mean(1)
    return [float(same[labels == index].mean()) if (labels == index).any() else None for index in range(classes)]
