"""`fewlabels.toml`: what is typed often, written down once. The command line wins over it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fewlabels.storage.errors import InputError, nearest

NAME = "fewlabels.toml"
# Options of several values, which the command line takes as one comma-separated word.
_JOINED = ","
# Options that are given once for each of several names.
_TABLES = ("set", "choose")
# Options that are given once for each of several values.
_REPEATED = ("track", "images")
# Options of which one is given: one that comes nearer to the command takes the place of the others.
_ONE_OF = (("steps", "epochs", "budget"), ("methods", "rungs"), ("overwrite", "resume"))


def read_config(
    folder: Path, options: Mapping[str, Mapping[str, str]], typed: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    r"""Return the defaults of each command that a folder's `fewlabels.toml` gives; none where there is no such file.

    Keys are the long options without their dashes. Those at the top go to every command that has such an option, those
    in a table to the command of its name. `[compare.set]` holds further settings of the methods, `[compare.choose]`
    lists of values to choose among.

    Parameters
    ----------
    folder : Path
        Where the file may lie.
    options : mapping
        For each command, its options as typed, without dashes, and what its function calls them.
    typed : collection of str
        Options that are on the command line, without dashes: what cannot go with them is left out.

    Returns
    -------
    dict of str to dict
        For each command the names that its function has for the options, and their values as the command line takes
        them.

    Raises
    ------
    InputError
        If the file cannot be read, or asks for a command, option or kind of value that there is not, or for code to be
        run.

    Examples
    --------
    >>> import tempfile
    >>> text = 'labels-per-class = [10, 50]\n[compare]\nseeds = 3\n[compare.set]\ndropout = 0.1\n'
    >>> options = {"compare": {"labels-per-class": "labels_per_class", "seeds": "seeds", "set": "settings"}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / NAME).write_text(text)
    ...     read_config(Path(folder), options)
    {'compare': {'labels_per_class': '10,50', 'seeds': 3, 'settings': ['dropout=0.1']}}
    """
    path = folder / NAME
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply to be read") from error
    shared = {key: value for key, value in values.items() if not isinstance(value, dict)}
    known = sorted({name for names in options.values() for name in names})
    for key in shared:
        if key not in known:
            raise InputError(f"{path}: no command has an option {key!r}{nearest(key, known)}")
    found: dict[str, dict[str, Any]] = {}
    for command, names in options.items():
        # What is no table is an option of the same name, such as check and methods of compare.
        own = own if isinstance(own := values.get(command), dict) else {}
        for key in own:
            if key not in names:
                raise InputError(f"{path}: fewlabels {command} has no option {key!r}{nearest(key, names)}")
        given = _without_rivals(_without_rivals(shared, own) | own, typed)
        given = {key: value for key, value in given.items() if key in names}
        found[command] = {names[key]: _as_typed(path, command, key, value) for key, value in given.items()}
    strange = [key for key, value in values.items() if isinstance(value, dict) and key not in options]
    if strange:
        raise InputError(f"{path}: there is no command {strange[0]!r}{nearest(strange[0], options)}")
    return {command: defaults for command, defaults in found.items() if defaults}


def _without_rivals(values: Mapping[str, Any], chosen: Collection[str]) -> dict[str, Any]:
    """Return values without those in whose place others were chosen, as steps in place of a budget."""
    ousted = {key for group in _ONE_OF if not set(group).isdisjoint(chosen) for key in group if key not in chosen}
    return {key: value for key, value in values.items() if key not in ousted}


def _as_typed(path: Path, command: str, key: str, value: Any) -> Any:
    """Return a value of a command as the command line would have it."""
    if key in ("net", *_TABLES) and "python:" in str(value):
        # The folder may have come from others, and whoever works in it has not looked.
        raise InputError(f"{path}: {key} names code to run (python:…); take it out, and type --net python:… yourself")
    if isinstance(value, dict):
        if key not in _TABLES:
            raise InputError(f"{path}: {key} is a table; only {' and '.join(_TABLES)} are, as in [{command}.set]")
        try:
            return [f"{name}={item if isinstance(item, str) else json.dumps(item)}" for name, item in value.items()]
        except TypeError as error:  # a date
            raise InputError(f"{path}: {key} has a value that is no text, number, truth value or list") from error
    if key in _TABLES:
        raise InputError(f"{path}: {key} = {value!r} is no table; write [{command}.{key}] with a line for each setting")
    if key in _REPEATED:
        return [str(item) for item in value] if isinstance(value, list) else [value]
    if isinstance(value, list):
        return _JOINED.join(str(item) for item in value)
    if isinstance(value, bool):  # a number of true would be 1
        return json.dumps(value)
    if isinstance(value, str | int | float):
        return value
    raise InputError(f"{path}: {key} = {value!r} is no text, number, truth value or list")
