"""Names of classes as people type them."""

from __future__ import annotations

import re


def kebab(name: str) -> str:
    """Return the kebab-case form of a class's name; capitals that stand together stay so.

    Examples
    --------
    >>> kebab("SelfTraining"), kebab("UDA"), kebab("SimCLR")
    ('self-training', 'uda', 'sim-clr')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
