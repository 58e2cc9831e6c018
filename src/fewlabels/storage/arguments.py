"""Arguments of another kind than expected, told in one line."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from fewlabels.storage.errors import InputError

_MOST = 60


def check_kind(name: str, value: Any, kinds: type | tuple[type, ...], expected: str) -> None:
    """Refuse an argument that is of none of some types.

    Parameters
    ----------
    name : str
        What the argument is called.
    value : object
        What was given.
    kinds : type or tuple of type
        What it may be.
    expected : str
        What it may be, in words.

    Raises
    ------
    InputError
        With name, value and what is expected.

    Examples
    --------
    >>> check_kind("settings", {"steps": 3}, dict, "a dict")
    """
    if not isinstance(value, kinds):
        raise InputError(f"{name}={_shown(value)} is not {expected}")


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Refuse what is no whole number of at least `least`; see `check_kind`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InputError(f"{name}={_shown(value)} is not a whole number of at least {least}")


def check_callable(name: str, value: Callable[..., Any] | None) -> None:
    """Refuse what is neither None nor can be called; see `check_kind`."""
    if value is not None and not callable(value):
        raise InputError(f"{name}={_shown(value)} is not a function to call, or None")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MOST and shown.isprintable() else f"<{type(value).__name__}>"
