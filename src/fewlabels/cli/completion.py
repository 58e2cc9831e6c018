"""What Tab offers: names of methods, data sets and nets, and folders, without waiting for PyTorch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from fewlabels.cli.source_code import names_in
from fewlabels.storage.model_folder import WEIGHTS

# What no shell takes for more than a name.
_PLAIN = re.compile(r"[\w./~+@%,:=^-]+")
_ASKED_BY = "_FEWLABELS_COMPLETE"
Completer = Callable[[str], list[str]]


def one_of(module: str, variable: str, *more: str) -> Completer:
    """Return what completes one of the names of `names_in`, and of more."""

    def complete(incomplete: str) -> list[str]:
        return _beginning([*names_in(module, variable), *more], incomplete)

    return complete


def words(*names: str) -> Completer:
    """Return what completes one of a few names.

    Examples
    --------
    >>> words("default", "notebook")("no")
    ['notebook']
    """

    def complete(incomplete: str) -> list[str]:
        return _beginning(list(names), incomplete)

    return complete


def several_of(module: str, variable: str, *more: str) -> Completer:
    """Return what completes the last of comma-separated names; those that were typed are not offered again."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        chosen = before.split(",")
        names = [name for name in [*names_in(module, variable), *more] if name not in chosen]
        return [f"{before}{comma}{name}" for name in _beginning(names, last)]

    return complete


def source(incomplete: str) -> list[str]:
    """Return names of data sets, and folders and files that can be one."""
    return _safe(_sources(incomplete))


def model(incomplete: str) -> list[str]:
    """Return folders: those of models where there are some."""
    return _safe(_models(incomplete))


def model_or_source(incomplete: str) -> list[str]:
    """Return folders of models, and what can be a source."""
    return _safe(list(dict.fromkeys([*_models(incomplete), *_sources(incomplete)])))


def _sources(incomplete: str) -> list[str]:
    kinds = (".npz", ".parquet", ".pq")
    paths = _paths(incomplete, lambda path: path.is_dir() or path.suffix.lower() in kinds)
    return _beginning(names_in("data.sources", "_KNOWN"), incomplete) + paths


def _models(incomplete: str) -> list[str]:
    models = _paths(incomplete, lambda path: (path / WEIGHTS).is_file())
    return models or _paths(incomplete, Path.is_dir)


def _safe(offered: list[str]) -> list[str]:
    """Return what a shell may insert as it stands; bash, offered nothing, offers files itself, and quotes them."""
    plain = [one for one in offered if _PLAIN.fullmatch(one)]
    return plain if len(plain) == len(offered) or os.environ.get(_ASKED_BY) != "complete_bash" else []


def _beginning(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _paths(incomplete: str, fits: Callable[[Path], bool]) -> list[str]:
    folder, slash, begun = incomplete.rpartition("/")
    try:
        found = sorted(Path((folder + slash) or ".").expanduser().iterdir())
    except (OSError, RuntimeError):  # of ~NAME, where nobody is called so
        return []
    return [
        f"{folder}{slash}{path.name}"
        for path in found
        if path.name.startswith(begun) and (begun.startswith(".") or not path.name.startswith(".")) and fits(path)
    ]
