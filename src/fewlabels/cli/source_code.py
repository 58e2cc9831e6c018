"""What can be told from the source of the package: importing what it names would take seconds, for PyTorch alone."""

from __future__ import annotations

import ast
from pathlib import Path

import fewlabels
from fewlabels.storage.kebab import kebab, method_meant

_PACKAGE = Path(fewlabels.__file__).parent


def names_in(module: str, variable: str) -> list[str]:
    """Return the names that a module lists.

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
    for node in _tree(f"fewlabels.{module}").body:
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


def check_methods(*names: str) -> None:
    """Refuse a method that there is not, as `make_method` does, before that is imported.

    Raises
    ------
    InputError
        If one is none.
    """
    for name in names:
        method_meant(name, names_in("methods.registry", "_ALL"))


def ideas_of_methods() -> dict[str, str]:
    """Return the first line of each method's docstring, by the method's name and in the registry's order.

    Examples
    --------
    >>> ideas_of_methods()["supervised"]
    'A classifier learned from the labeled samples alone.'
    """
    modules = {
        name.name: node.module
        for node in _tree("fewlabels.methods.registry").body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for name in node.names
    }
    classes = {
        kebab(node.name): node
        for module in dict.fromkeys(modules.values())
        if module.startswith("fewlabels.methods.")
        for node in _tree(module).body
        if isinstance(node, ast.ClassDef)
    }
    return {
        name: (ast.get_docstring(classes[name]) or "").splitlines()[0] for name in names_in("methods.registry", "_ALL")
    }


def _tree(module: str) -> ast.Module:
    path = _PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))
