"""Under which conditions a comparison ran, and the command that repeats it."""

from __future__ import annotations

import json
import platform
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch

from fewlabels import __version__
from fewlabels.storage.wording import VALUES

# What may differ from seed to seed.
VARIED = ("labels", "weights", "order")
# Arguments of `compare` that the command line has as an option of the same name.
_OPTIONS = ("labels", "steps", "epochs", "budget", "image_size", "test_per_class", "fold", "engine")
# What options, and JSON, read as something else than text.
_NO_TEXT = {*VALUES, "null", "nan", "infinity"}


_CONDITIONS = ("versions", "threads", "device", "machine")


def environment(device: str) -> dict[str, Any]:
    """Return versions, threads and machine."""
    return {
        "versions": {
            "fewlabels": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
        },
        "threads": torch.get_num_threads(),
        "device": device,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def conditions_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a comparison's description says of versions, threads and machine."""
    return {name: config.get(name) for name in _CONDITIONS}


def varied_in(config: dict[str, Any]) -> list[str]:
    """Return what a comparison's description says that may differ from seed to seed."""
    return (config.get("arguments") or {}).get("vary") or list(VARIED)


def labels_are_kept(config: dict[str, Any]) -> bool:
    """Say whether all seeds of a comparison have the same labels: it was told so, or there is one draw of them.

    Examples
    --------
    >>> labels_are_kept({"arguments": {"vary": ["weights"]}}), labels_are_kept({})
    (True, False)
    """
    return "labels" not in varied_in(config) or has_one_draw(config)


def has_one_draw(config: dict[str, Any]) -> bool:
    """Say whether the draws of several seeds came to the same labels, at each number of them.

    So it is for a data set that was read before, and for a source whose labels are all given.

    Examples
    --------
    >>> draws = {f"5 labels per class, seed {seed}": {"fingerprint": "a"} for seed in (0, 1)}
    >>> has_one_draw({"data": draws}), has_one_draw({"data": {"5 labels per class, seed 0": {"fingerprint": "a"}}})
    (True, False)
    """
    draws: dict[str, list[str]] = {}
    for name, facts in (config.get("data") or {}).items():
        draws.setdefault(name.partition(",")[0], []).append(facts.get("fingerprint", name))
    return bool(draws) and all(len(found) > 1 and len(set(found)) == 1 for found in draws.values())


def differences(was: dict[str, Any], now: dict[str, Any]) -> str:
    """Say in what two conditions differ.

    Examples
    --------
    >>> differences({"versions": {"torch": "2.9"}, "threads": 2}, {"versions": {"torch": "2.13"}, "threads": 2})
    "torch is '2.9' there and '2.13' here"
    """
    before, here = ({**(one["versions"] or {}), **one, "versions": None} for one in (was, now))
    return ", ".join(
        f"{name} is {value!r} there and {here.get(name)!r} here"
        for name, value in before.items()
        if value != here.get(name)
    )


def repeat_command(arguments: dict[str, Any]) -> str:
    """Return the command line that repeats a comparison, or the Python call where no command line can.

    Parameters
    ----------
    arguments : dict
        Those of `compare`, with `methods`, `labels_per_class` and `seeds` as lists (or None).

    Examples
    --------
    >>> repeat_command({"source": "digits", "methods": ["supervised"], "steps": 50, "seeds": [0, 1]})
    'fewlabels compare digits --methods supervised --seeds 2 --steps 50'
    """
    source, seeds = arguments["source"], arguments["seeds"]
    has_seeds = seeds == list(range(len(seeds)))
    if not (isinstance(source, str | Path) and has_seeds) or any(_has_no_text(*one) for one in arguments.items()):
        return _python_call(arguments)
    # What begins like an option is none.
    words = ["fewlabels", "compare", f"./{source}" if str(source).startswith("-") else str(source)]
    for name in ("methods", "rungs"):
        if arguments.get(name):
            words += [f"--{name}", ",".join(arguments[name])]
    if arguments.get("net") is not None:
        words += ["--net", arguments["net"]]
    if arguments.get("labels_per_class"):
        words += ["--labels-per-class", ",".join(str(number) for number in arguments["labels_per_class"])]
    words += ["--seeds", str(len(seeds))]
    if "vary" in arguments and len(arguments["vary"]) < len(VARIED):
        words += ["--vary", ",".join(arguments["vary"])]
    for name in _OPTIONS:
        if arguments.get(name) is not None:
            words += [f"--{name.replace('_', '-')}", str(arguments[name])]
    if arguments.get("preset", "auto") != "auto":
        words += ["--preset", arguments["preset"]]
    for name, value in (arguments.get("settings") or {}).items():
        words += ["--set", f"{name}={_typed(value)}"]
    for name, values in (arguments.get("choose") or {}).items():
        words += ["--choose", f"{name}={json.dumps(list(values))}"]
    if arguments.get("strict"):
        words.append("--strict")
    if not arguments.get("check", True):
        words.append("--no-check")
    return shlex.join(words)


def _has_no_text(name: str, value: Any) -> bool:
    """Return whether an argument is a module, or labels given as a mapping, which a line cannot hold."""
    return (name, value) == ("net", "module") or (name == "labels" and isinstance(value, Mapping))


def _typed(value: Any) -> str:
    """Return a value as an option takes it: a text that would be read as something else in quotes."""
    is_plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./:-]*", value) is not None
    return str(value) if is_plain and value.lower() not in _NO_TEXT else json.dumps(value)


def _python_call(arguments: dict[str, Any]) -> str:
    source = arguments["source"]
    first = repr(str(source)) if isinstance(source, str | Path) else "data"
    defaults = {"preset": "auto", "strict": False, "check": True, "vary": list(VARIED)}
    named = [
        f"{name}={name}" if _has_no_text(name, value) else f"{name}={value!r}"
        for name, value in arguments.items()
        if name != "source" and value is not None and value != defaults.get(name) and value != {}
    ]
    return f"fewlabels.compare({', '.join([first, *named])})"
