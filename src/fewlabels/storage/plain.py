"""Values as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def python_number(value: Any) -> Any:
    """Return a NumPy scalar as Python has it, and anything else as it is.

    Examples
    --------
    >>> python_number(np.int64(3)), python_number("fast")
    (3, 'fast')
    """
    return value.item() if isinstance(value, np.generic) else value


def plain(value: Any, other: Callable[[Any], Any] = str) -> Any:
    """Return a value as JSON has it: NumPy scalars as Python's, NaN and infinity as None.

    Parameters
    ----------
    value : object
        Dicts, lists and tuples are gone through.
    other : callable
        What to make of a value that JSON has not; text, when not given.

    Examples
    --------
    >>> plain({"a": (np.float32(0.5), float("nan"))})
    {'a': [0.5, None]}
    """
    value = python_number(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): plain(item, other) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, other) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else other(value)
