"""What hyper-parameters may be: the checks that methods share, with one line for whoever got it wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import Field, fields
from numbers import Real
from typing import Any

import numpy as np

from fewlabels.storage.arguments import check_count
from fewlabels.storage.errors import InputError

# Its tools set an estimator's parameter of this name to False, which is none of ours either.
_OF_SCIKIT_LEARN = "warm_start"
_PLAIN = {"int", "float", "bool", "str", "None"}
_RANGES: dict[str, Callable[[Any], bool]] = {
    "[0, 1)": lambda value: 0 <= value < 1,
    "(0, 1]": lambda value: 0 < value <= 1,
    "[0.5, 1]": lambda value: 0.5 <= value <= 1,
    "(0, 1)": lambda value: 0 < value < 1,
    "[0, 1]": lambda value: 0 <= value <= 1,
}


def check_kinds(method: Any) -> None:
    """Refuse words, and None, where a number, or true or false, is meant, by the types that a method's fields say.

    So are lists where one value is meant, and fractions where a whole number is.

    Raises
    ------
    InputError
        With the name and value of the first such field.
    """
    for field in fields(method):
        value, kinds = getattr(method, field.name), _kinds(field)
        if isinstance(value, list | tuple | dict) and not kinds & {"Any", type(value).__name__}:
            several = kinds & {"list", "tuple", "dict"}
            advice = f"a {several.pop()}" if several else "one value; a comparison tries several (`choose`)"
            raise InputError(f"{field.name}={value!r} is not {advice}")
        if kinds == {"str"} and not isinstance(value, str):
            raise InputError(f"{field.name}={value!r} is no text")
        if kinds <= _PLAIN and not isinstance(value, str | bool | np.bool_ | Real | None):
            raise InputError(f"{field.name} is of the type {type(value).__name__}, and is to be one value")
        is_truth = isinstance(value, bool | np.bool_) and not (field.name == _OF_SCIKIT_LEARN and not value)
        if is_truth and kinds & {"int", "float"} and "bool" not in kinds:
            raise InputError(f"{field.name}={value} is not a number")
        if isinstance(value, float | np.floating) and "int" in kinds and "float" not in kinds:
            hint = f"; write {int(value)}" if math.isfinite(value) and value == int(value) else ""
            raise InputError(f"{field.name}={value} is not a whole number{hint}")
        if not isinstance(value, str | None) or kinds & {"str", "Any"}:
            continue
        if value is None and "None" in kinds:
            continue
        if "bool" in kinds:
            raise InputError(f"{field.name}={value!r} is neither true nor false")
        if kinds & {"int", "float"}:
            raise InputError(f"{field.name}={value!r} is not a number")


def with_tuples(method: type[Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as a method's fields say: JSON, TOML and the command line have lists where tuples are meant."""
    tuples = {field.name for field in fields(method) if "tuple" in (kinds := _kinds(field)) and "list" not in kinds}
    return {name: _as_tuple(value) if name in tuples else value for name, value in settings.items()}


def check_within(method: object, interval: str, *names: str) -> None:
    """Refuse settings outside an interval: a key of `_RANGES`, such as "[0, 1)"; None stays to `check_kinds`.

    Raises
    ------
    InputError
        With the name and value of the first that is.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> check_within(SimpleNamespace(threshold=0.5), "[0, 1)", "threshold")
    """
    for name in names:
        value = getattr(method, name)
        if value is not None and not _RANGES[interval](value):
            raise InputError(f"{name}={value} is not in {interval}")


def check_above_zero(method: object, *names: str) -> None:
    """Refuse settings that are not finite and above 0; see `check_within`."""
    for name in names:
        _check_finite(method, name)
        if not getattr(method, name) > 0:
            raise InputError(f"{name}={getattr(method, name)} is not above 0")


def check_not_below_zero(method: object, *names: str) -> None:
    """Refuse settings that are below 0 or not finite; see `check_within`."""
    for name in names:
        _check_finite(method, name)
        if getattr(method, name) < 0:
            raise InputError(f"{name}={getattr(method, name)} is below 0")


def check_whole(method: object, least: int, *names: str) -> None:
    """Refuse settings that are not whole numbers of at least `least`; see `check_within`."""
    for name in names:
        check_count(name, getattr(method, name), least)


def _check_finite(method: object, name: str) -> None:
    if not math.isfinite(getattr(method, name)):
        raise InputError(f"{name}={getattr(method, name)} is not a finite number")


def _kinds(field: Field[Any]) -> set[str]:
    """Return the words of the type that a field says, which is text, or a type, as its module has it."""
    words = set(re.findall(r"\w+", str(field.type)))
    # As `typing` calls them.
    return words | {"None" if word == "Optional" else word.lower() for word in words & {"Optional", "Tuple", "List"}}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
