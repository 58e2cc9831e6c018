"""Labels with gaps: which rows are labeled, what the classes are, and labels of any type as indices."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets

from fewlabels.data.parts import as_labels, is_missing
from fewlabels.storage.errors import InputError

UNLABELED = -1
# Whole numbers up to it are told apart as floats, in which missing ones are NaN.
_LARGEST_EXACT = 2**53
# What may stand beside each other in a list of labels: NumPy's values are of types of their own.
_ALIKE: tuple[tuple[type, ...], ...] = ((str,), (int, float, np.number, np.bool_))


@dataclass(frozen=True)
class Targets:
    """Class indices with gaps.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The classes as given, sorted.
    indices : ndarray of shape (n,)
        Index into `classes`, -1 where the label is missing.
    """

    classes: NDArray[Any]
    indices: NDArray[np.int64]

    @property
    def labeled(self) -> NDArray[np.int64]:
        """Row numbers of the labeled samples."""
        return np.flatnonzero(self.indices != UNLABELED)


def read_targets(y: Any, classes: NDArray[Any] | None = None) -> Targets:
    """Find the labeled rows and turn their labels into indices.

    Parameters
    ----------
    y : array-like of shape (n,)
        Numbers with -1 or NaN for a missing label, or strings with None, NaN, -1, "" or "-1". Where
        -1 and 1 are all there is, beside what is missing otherwise, they are two classes.
    classes : ndarray, optional
        Known classes; others are then refused.

    Raises
    ------
    InputError
        If no row is labeled, or a label is not one of `classes`.
    ValueError
        If the labels are those of a regression.

    Examples
    --------
    >>> read_targets(["cat", None, "dog"]).indices
    array([ 0, -1,  1])
    >>> read_targets([3, -1, 5]).classes
    array([3, 5])
    """
    missing, given = _split(as_labels(y), classes)
    if len(given) == 0:
        raise InputError("no sample has a label: every y is -1, None or NaN; label a few of each class")
    if given.dtype.kind not in "biufU":
        kind = type(given[0]).__name__ if given.dtype.kind == "O" else given.dtype
        raise InputError(f"labels are of the type {kind}; give them as strings or as whole numbers")
    # Text as long as the longest class, whatever there was room for in the array it came in.
    found = np.unique(np.array(given.tolist()) if given.dtype.kind == "U" else given)
    # Each class twice: where most are there once, scikit-learn would warn that they may be those of a regression.
    check_classification_targets(np.repeat(found, 2))
    if classes is None:
        classes = found
    elif not np.isin(found, classes).all():
        strange = found[~np.isin(found, classes)].tolist()[0]
        raise InputError(f"label {strange!r} is not one of the classes of the training labels")
    indices = np.full(len(missing), UNLABELED, np.int64)
    indices[~missing] = np.searchsorted(classes, given)
    return Targets(classes, indices)


def labeled_rows(y: Any, classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows that have a label, be it one of `classes` or not, as `read_targets` tells them.

    Examples
    --------
    >>> labeled_rows([3, -1, 7], np.array([3, 5]))
    array([0, 2])
    """
    missing, _ = _split(as_labels(y), classes)
    return np.flatnonzero(~missing)


def _split(values: NDArray[Any], classes: NDArray[Any] | None) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Return which labels are missing, and the others."""
    if values.dtype.kind == "O":
        missing = np.array([is_missing(value) for value in values], dtype=bool)
        if any(isinstance(value, str) for value in values[~missing]):
            # An array of text would keep it as text, below.
            missing |= np.array([isinstance(value, Real) and value == UNLABELED for value in values], dtype=bool)
        given = values[~missing]
        kinds = {type(value) for value in given}
        if len(kinds) > 1 and not any(all(issubclass(kind, alike) for kind in kinds) for alike in _ALIKE):
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise InputError(
                f"labels mix types ({names}); give all of them as strings or all as integers, and those that are "
                "missing as None"
            )
        if len(given):
            given = np.asarray(given.tolist())
            if given.dtype.kind in "iuf":
                return _split(_with_gaps(given, missing) if missing.any() else given, classes)
    elif values.dtype.kind in "fiu":
        missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
        # Further labels go by what those of the training said.
        is_class = _are_signs(values[~missing]) if classes is None else bool(np.isin(UNLABELED, classes))
        if values.dtype.kind != "u" and not is_class:
            missing |= values == UNLABELED
        given = values[~missing]
        if values.dtype.kind == "f" and np.isinf(given).any():
            raise InputError("Input y contains infinity or a value too large for dtype('float64').")
        if values.dtype.kind == "f" and np.array_equal(given, np.round(given)) and missing.any():
            given = given.astype(np.int64)
    else:
        missing = np.zeros(len(values), bool)
        given = values
    if given.dtype.kind == "U":
        is_class = _are_signs(given[given != ""]) if classes is None else bool(np.isin("-1", classes))
        # An array of text keeps a -1 that is put into it as text.
        gaps = (given == "") | ((given == "-1") & (not is_class))
        for word in ("nan", "None", "<NA>") if classes is None else ():
            if (given == word).any():
                warnings.warn(
                    f"y holds the text {word!r}, which is taken as a class; where it stands for a missing label, put "
                    "-1 there, or give y with the dtype object",
                    stacklevel=5,
                )
        missing[~missing] = gaps
        given = given[~gaps]
    return missing, given


def _are_signs(values: NDArray[Any]) -> bool:
    # With 1 as the only label, nothing could be learned; -1 and 1 are then the two classes of a binary
    # task, as many data sets write them.
    expected = ("-1", "1") if values.dtype.kind == "U" else (-1, 1)
    signs = np.array_equal(np.unique(values), expected)
    if signs:
        warnings.warn(
            "y holds only -1 and 1, which are taken as two classes, not as missing labels and one class",
            stacklevel=6,
        )
    return signs


def _with_gaps(given: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    if given.dtype.kind in "iu" and len(given) and max(-int(given.min()), int(given.max())) > _LARGEST_EXACT:
        raise InputError(
            f"labels beyond {_LARGEST_EXACT} are not told apart where others are missing; give them as strings"
        )
    values = np.full(len(missing), np.nan)
    values[~missing] = given
    return values


def held_out_rows(indices: NDArray[np.int64], fraction: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw the rows of each class that are kept for validation.

    A class gives `fraction` of its rows, rounded, and never its last four: with so few, each is worth
    more in training than as a measurement.

    Parameters
    ----------
    indices : ndarray of shape (n,)
        Class index of each row, -1 for none.
    fraction : float
        In [0, 1).
    generator : numpy.random.Generator
        Draws the rows.

    Returns
    -------
    ndarray
        Sorted row numbers.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"validation_fraction={fraction} is not in [0, 1)")
    drawn = []
    for index in range(int(indices.max(initial=-1)) + 1):
        rows = generator.permutation(np.flatnonzero(indices == index))
        count = min(int(fraction * len(rows) + 0.5), len(rows) - 4)
        drawn.append(rows[: max(count, 0)])
    return np.sort(np.concatenate(drawn)) if drawn else np.empty(0, np.int64)
