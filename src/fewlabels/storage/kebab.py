"""Names of classes as people type them, and which of them is meant."""

from __future__ import annotations

import re
from collections.abc import Collection

from fewlabels.storage.errors import InputError, nearest


def kebab(name: str) -> str:
    """Return the kebab-case form of a class's name; capitals that stand together stay so.

    Examples
    --------
    >>> kebab("SelfTraining"), kebab("UDA"), kebab("SimCLR")
    ('self-training', 'uda', 'sim-clr')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def method_meant(name: str, known: Collection[str]) -> str:
    """Return which of the methods' names is meant: the class's own does too, and hyphens may be left out.

    Raises
    ------
    InputError
        If there is none; the message names the nearest.

    Examples
    --------
    >>> method_meant("SelfTraining", ["supervised", "self-training"])
    'self-training'
    """
    found = {_plain(one): one for one in known}.get(_plain(name))
    if found is None:
        raise InputError(f"unknown method {name!r}{nearest(name, known)} (known: {', '.join(known)})")
    return found


def _plain(name: str) -> str:
    return re.sub("[-_]", "", name).lower()
