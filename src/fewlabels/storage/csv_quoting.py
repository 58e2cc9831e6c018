"""How the fields of a CSV table are quoted."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Literal


def quoting_for(values: Iterable[str]) -> Literal[0, 1]:
    r"""Return how a table with these values is to be quoted, for `csv.writer`.

    A carriage return would end a line for whoever reads it, and is not quoted by itself.

    Examples
    --------
    >>> quoting_for(["a, b.png"]) == csv.QUOTE_MINIMAL, quoting_for(["a\rb.png"]) == csv.QUOTE_ALL
    (True, True)
    """
    return csv.QUOTE_ALL if any("\r" in value for value in values) else csv.QUOTE_MINIMAL
