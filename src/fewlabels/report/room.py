"""How much of the page's size is left for pictures."""

from __future__ import annotations

from typing import Any


class Room:
    """Shares the size of the page among its parts, and says when there is room for no more.

    Parameters
    ----------
    limit : int
        Characters that charts and pictures may take.
    parts : int
        How many come.

    Examples
    --------
    >>> room = Room(100, parts=2)
    >>> room.take("x" * 30), room.share()
    (True, 20)
    >>> room.next_part()
    >>> room.share()
    70
    """

    def __init__(self, limit: int, parts: int) -> None:
        self.left = limit
        self._parts = max(1, parts)
        self._kept = limit - limit // self._parts

    def take(self, *contents: Any) -> bool:
        """Take up room, and return whether there was enough."""
        self.left -= sum(len(content) for content in contents if content is not None)
        return self.left > 0

    def share(self) -> int:
        """Return what the part at hand may still take without the others coming short."""
        return max(0, self.left - self._kept)

    def next_part(self) -> None:
        """Go on to the next part; what the last has left is shared by those that come."""
        self._parts = max(1, self._parts - 1)
        self._kept = max(0, self.left - self.left // self._parts)
