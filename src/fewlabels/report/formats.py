"""How the page shows numbers, settings and names."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from fewlabels.storage.visible import visible


def shown(value: Any) -> Any:
    """Return what a page may show: text without hidden characters; Jinja escapes it as HTML afterwards."""
    return visible(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value


def number(value: Any, digits: int = 0) -> str:
    """Return a number with thousands separators, a dash where there is none.

    Examples
    --------
    >>> number(64000), number(float("nan")), number(1.25, 1)
    ('64,000', '–', '1.2')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:,.{digits}f}"


def share(value: Any, digits: int = 1) -> str:
    """Return a share in percent, a dash where there is none.

    Examples
    --------
    >>> share(0.957), share(None), share(0.5, 0)
    ('95.7%', '–', '50%')
    """
    return "–" if number(value) == "–" else f"{100 * value:.{digits}f}%"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Examples
    --------
    >>> duration(37.02), duration(2475.5), duration(7300)
    ('37.0 seconds', '41 min 16 s', '2 h 1 min')
    """
    if seconds < 120:
        return f"{seconds:.1f} seconds"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def setting(value: Any) -> str:
    """Return a hyper-parameter as it is typed.

    Examples
    --------
    >>> setting(None), setting(1e-4), setting("auto")
    ('none', '0.0001', 'auto')
    """
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def sentence(text: str) -> str:
    """Return words as a sentence: the first letter upright, one full stop.

    Examples
    --------
    >>> sentence("the pool helped")
    'The pool helped.'
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def span(counts: list[int]) -> str:
    """Return the least and the greatest of some counts, one where they are equal.

    Examples
    --------
    >>> span([200, 1000]), span([5, 5]), span([])
    ('200 to 1,000', '5', '–')
    """
    if not counts:
        return "–"
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
