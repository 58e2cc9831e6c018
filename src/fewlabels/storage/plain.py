"""Values as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


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
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): plain(item, other) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, other) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else other(value)
