"""Which labels are given, which join the pool."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from fewlabels.storage.errors import InputError


def draw_labeled(
    labels: NDArray[np.int64], per_class: int, class_names: tuple[str, ...], random_state: int
) -> NDArray[np.int64]:
    """Return the rows whose labels are given: `per_class` of each class, sorted.

    With `random_state` 0 the first of each class, else a random draw; for one `random_state` a smaller draw is
    part of every larger one.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Class indices, -1 for none.
    per_class : int
        How many of each class, at least 1.
    class_names : tuple of str
        For the error message.
    random_state : int
        The draw, at least 0.

    Raises
    ------
    InputError
        If a class has fewer.

    Examples
    --------
    >>> draw_labeled(np.array([0, 1, 1, 0]), 1, ("a", "b"), random_state=0)
    array([0, 1])
    """
    if not isinstance(per_class, Integral) or per_class < 1:
        raise InputError(f"labels_per_class={per_class} is not a whole number of at least 1")
    if not isinstance(random_state, Integral) or random_state < 0:
        raise InputError(f"random_state={random_state!r} is not a whole number of at least 0")
    drawn = []
    for index, name in enumerate(class_names):
        rows = np.flatnonzero(labels == index)
        if len(rows) < per_class:
            raise InputError(
                f"class {name!r} has {len(rows)} labeled images, fewer than the {per_class} labels per class asked for"
            )
        if random_state != 0:
            rows = np.random.default_rng([random_state, index]).permutation(rows)
        drawn.append(rows[:per_class])
    return np.sort(np.concatenate(drawn))


def first_of_each_class(labels: NDArray[np.int64], per_class: int) -> NDArray[np.int64]:
    """Return the rows of the first `per_class` of each class (or all it has), sorted."""
    if not isinstance(per_class, Integral) or per_class < 1:
        raise InputError(f"test_per_class={per_class} is not a whole number of at least 1")
    return np.sort(np.concatenate([np.flatnonzero(labels == index)[:per_class] for index in np.unique(labels)]))


def hold_out_test(labels: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return rows of labeled images for a test part: `share` of each class, at least 1, the same every time."""
    generator = np.random.default_rng(0)
    drawn = []
    for index in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == index)
        if len(rows) < 2:
            continue
        drawn.append(generator.permutation(rows)[: max(1, round(share * len(rows)))])
    return np.sort(np.concatenate(drawn)) if drawn else np.empty(0, np.int64)
