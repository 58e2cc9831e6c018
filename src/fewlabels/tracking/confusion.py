"""The confusion matrix as a picture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from fewlabels.storage.visible import shortened, visible

_MOST_COUNTED = 20
_MOST_NAMED = 60
_INCHES_A_CLASS = 0.45
# Longer ones would leave the matrix no room.
_LONGEST_NAME = 30


def confusion_figure(labels: NDArray[np.int64], guesses: NDArray[np.int64], class_names: Sequence[str]) -> Figure:
    """Return a picture of how often each class was taken for each.

    Parameters
    ----------
    labels, guesses : ndarray of shape (n,)
        Class indices.
    class_names : sequence of str
        Names of the classes.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = confusion_figure(np.array([0, 1, 1]), np.array([0, 1, 0]), ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ['cat', 'dog']
    """
    classes = len(class_names)
    counts = confusion_matrix(labels, guesses, labels=np.arange(classes))
    side = min(12.0, 3 + _INCHES_A_CLASS * classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    # A dollar sign in a name is a dollar sign, not mathematics.
    names = [shortened(visible(name), _LONGEST_NAME).replace("$", r"\$") for name in class_names]
    if classes > _MOST_NAMED:
        # Names could not be read, and take a minute to lay out.
        axes.imshow(counts, cmap="Blues")
        axes.set(xlabel="Predicted label", ylabel="True label", xticks=[], yticks=[])
        return figure
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        ConfusionMatrixDisplay(counts, display_labels=names).plot(
            ax=axes, include_values=classes <= _MOST_COUNTED, cmap="Blues", xticks_rotation="vertical", colorbar=False
        )
    return figure
