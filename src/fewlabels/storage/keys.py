"""Names for what is kept, made of what it depends on."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def key_of(facts: Any) -> str:
    """Return the SHA-256 of plain JSON values, in hexadecimal: the same facts give the same key.

    Examples
    --------
    >>> key_of(["images", 32])[:8]
    '0da9dabe'
    """
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
