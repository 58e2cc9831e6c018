"""Results as pandas DataFrames; pandas is needed for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewlabels.storage.errors import InputError


def new_frame(rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> Any:
    """Return rows as a pandas DataFrame.

    Parameters
    ----------
    rows : sequence of dict
    columns : sequence of str
        What it has where there is no row.

    Raises
    ------
    InputError
        If pandas is not installed.

    Examples
    --------
    >>> new_frame([{"class": "cat"}, {"class": "dog"}])["class"].tolist()
    ['cat', 'dog']
    >>> len(new_frame([], ["class"])["class"])
    0
    """
    try:
        import pandas
    except ImportError as error:
        raise InputError("a DataFrame needs pandas; install it with: pip install pandas") from error
    return pandas.DataFrame(rows, columns=None if rows else columns)
