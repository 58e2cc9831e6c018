"""Names from anywhere, as they can be shown anywhere: nothing hidden, turned around or sent to a terminal."""

from __future__ import annotations

import unicodedata

from fewlabels.storage.errors import InputError

# Control characters, what turns the direction of writing or has no width, halves of characters, line ends.
_JOINERS = "\u200c\u200d"
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def encodable(text: str) -> str:
    r"""Return text that UTF-8 can hold: bytes of a file's name that are no text are written out, as Python does.

    Examples
    --------
    >>> print(encodable("caf\udce9.jpg"))
    caf\xe9.jpg
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shortened(name: str, most: int) -> str:
    """Return a name, cut so that it has so many letters at most.

    Examples
    --------
    >>> shortened("cat", 8), shortened("hippopotamus", 8)
    ('cat', 'hippopo…')
    """
    return name if len(name) <= most else name[: most - 1] + "…"


def check_encodable(folder: object) -> None:
    """Refuse a folder for models whose name is no text: safetensors, which reads them, takes UTF-8 alone.

    Raises
    ------
    InputError
        If UTF-8 cannot hold the name.
    """
    if encodable(str(folder)) != str(folder):
        raise InputError(f"{str(folder)!r} is no name in UTF-8, and no model there could be read; give another")


def visible(text: str, *, keep: str = "") -> str:
    r"""Return text whose hidden characters are written out, as Python writes them.

    Parameters
    ----------
    text : str
        Such as the name of a file.
    keep : str
        Characters that stay as they are.

    Examples
    --------
    >>> print(visible("cat\u202egpj.exe\n\x1b[2J"))
    cat\u202egpj.exe\n\x1b[2J
    >>> print(visible("straße 猫"))
    straße 猫
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _HIDDEN or _joins(text, place)
        else character.encode("unicode_escape").decode("ascii")
        for place, character in enumerate(text)
    )


def _joins(text: str, place: int) -> bool:
    """Say whether a character keeps two letters apart or together, as Persian and the languages of India write them.

    U+200D makes one picture of several too, which may be of one color of skin or another.
    """
    if text[place] not in _JOINERS or not 0 < place < len(text) - 1:
        return False
    kinds, beside = "LMS" if text[place] == "\u200d" else "LM", (text[place - 1], text[place + 1])
    return all(ord(near) > 127 and unicodedata.category(near)[0] in kinds for near in beside)
