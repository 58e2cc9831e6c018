"""Parts of sentences that messages, tables and reports share."""

from __future__ import annotations

_LONGEST = 300
# What options read as something else than text.
VALUES: dict[str, bool | None] = {
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
    "none": None,
}


def enumeration(parts: list[str], *, last: str = "and", most: int | None = None) -> str:
    """Return one or more parts as an enumeration, of so many at most and how many more there are.

    Examples
    --------
    >>> enumeration(["a"]), enumeration(["a", "b", "c"]), enumeration(["a", "b"], last="or")
    ('a', 'a, b and c', 'a or b')
    >>> enumeration(["a", "b", "c", "d"], most=2)
    'a, b and 2 more'
    """
    if most is not None and len(parts) > most:
        parts = [*parts[:most], f"{len(parts) - most:,} more"]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def counted(count: int, what: str) -> str:
    """Return how many there are of what a word names.

    Examples
    --------
    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def were(count: int, what: str) -> str:
    """Return how many there were of what a word names, to go on with a participle.

    Examples
    --------
    >>> were(1, "image"), were(1200, "image")
    ('1 image was', '1,200 images were')
    """
    return f"{counted(count, what)} {'was' if count == 1 else 'were'}"


def first_line(error: BaseException) -> str:
    r"""Return the first line that an error says, without its full stop, to go on from; its type where it says nothing.

    Examples
    --------
    >>> first_line(OSError("no such file.\nTry another."))
    'no such file'
    >>> first_line(ValueError(" \n"))
    'ValueError'
    """
    said = str(error).strip().splitlines() or [type(error).__name__]
    return said[0][:_LONGEST].rstrip(".")


def seconds(count: float) -> str:
    """Return seconds, with one decimal where there are few.

    Examples
    --------
    >>> seconds(0.234), seconds(9.96), seconds(1234.5)
    ('0.2', '10.0', '1,234')
    """
    return f"{count:,.0f}" if count >= 10 else f"{count:.1f}"


def percentage(share: float | None) -> str:
    """Return a share in per cent with one decimal, for a table whose head has the sign; nothing where there is none.

    Examples
    --------
    >>> percentage(0.4305), percentage(float("nan")), percentage(None)
    ('43.0', '', '')
    """
    return "" if share is None or share != share else f"{100 * share:.1f}"
