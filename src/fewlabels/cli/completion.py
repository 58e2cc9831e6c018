"""What Tab offers: names of methods, data sets and nets, and folders, without waiting for PyTorch."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import fewlabels
from fewlabels.storage.kebab import kebab

_PACKAGE = Path(fewlabels.__file__).parent
# What makes a folder a model.
_MODEL = "model.safetensors"
Completer = Callable[[str], list[str]]


def names_in(module: str, variable: str) -> list[str]:
    """Return the names that a module lists, read from its source: importing it would take seconds.

    Parameters
    ----------
    module : str
        Below `fewlabels`.
    variable : str
        A dict with names for keys, or a tuple of names, classes, or calls whose first argument is the name.

    Returns
    -------
    list of str
        In their order; names of classes as `kebab` writes them.

    Examples
    --------
    >>> names_in("methods.registry", "_ALL")[:3]
    ['auto', 'supervised', 'self-training']
    >>> names_in("data.sources", "_KNOWN")
    ['digits', 'stl10', 'cifar10', 'cifar100']
    """
    tree = ast.parse((_PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == variable for target in targets):
            value = getattr(node, "value", None)
            if isinstance(value, ast.DictComp):
                value = value.generators[0].iter
            entries = value.keys if isinstance(value, ast.Dict) else getattr(value, "elts", [])
            return [name for entry in entries if (name := _name(entry)) is not None]
    raise ValueError(f"fewlabels.{module} has no {variable}")


def _name(entry: ast.expr | None) -> str | None:
    if isinstance(entry, ast.Name):
        return kebab(entry.id)
    if isinstance(entry, ast.Call) and entry.args:
        return _name(entry.args[0])
    return entry.value if isinstance(entry, ast.Constant) and isinstance(entry.value, str) else None


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
    kinds = (".npz", ".parquet")
    paths = _paths(incomplete, lambda path: path.is_dir() or path.suffix in kinds)
    return _beginning(names_in("data.sources", "_KNOWN"), incomplete) + list(paths)


def model(incomplete: str) -> list[str]:
    """Return folders: those of models where there are some."""
    models = list(_paths(incomplete, lambda path: (path / _MODEL).is_file()))
    return models or list(_paths(incomplete, Path.is_dir))


def _beginning(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _paths(incomplete: str, fits: Callable[[Path], bool]) -> Iterator[str]:
    folder, slash, begun = incomplete.rpartition("/")
    try:
        found = sorted(Path((folder + slash) or ".").expanduser().iterdir())
    except OSError:
        return
    for path in found:
        hidden = path.name.startswith(".") and not begun.startswith(".")
        if path.name.startswith(begun) and not hidden and fits(path):
            yield f"{folder}{slash}{path.name}"
