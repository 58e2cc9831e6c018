"""Results as pandas DataFrames; pandas is needed for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewlabels.storage.errors import InputError


def new_frame(rows: Sequence[dict[str, Any]]) -> Any:
    """Return rows as a pandas DataFrame.

    Raises
    ------
    InputError
        If pandas is not installed.

    Examples
    --------
    >>> new_frame([{"class": "cat"}, {"class": "dog"}])["class"].tolist()
    ['cat', 'dog']
    """
    try:
        import pandas
    except ImportError as error:
        raise InputError("a DataFrame needs pandas; install it with: pip install pandas") from error
    return pandas.DataFrame(rows)
