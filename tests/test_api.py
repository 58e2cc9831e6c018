"""What is public, and how it is called, is kept in `api.txt`: changing it is a decision.

python tests/test_api.py writes the file anew; docs/stability.md tells what a change has to keep to.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from pathlib import Path

import typer

import fewlabels
from fewlabels import cli
from fewlabels.methods.saved import FORMAT_VERSION

ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).with_name("api.txt")


def called(function):
    """Return how something is called: names and defaults, without types."""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
    ]
    return str(inspect.Signature(parameters))


def members(name, kind):
    """Yield the public methods, properties and fields of a class, but for those of its scikit-learn bases."""
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    for member in sorted(dir(kind)):
        value = inspect.getattr_static(kind, member)
        home = getattr(value, "fget", value)
        if member.startswith("_") or member in fields or not getattr(home, "__module__", "").startswith("fewlabels"):
            continue
        if isinstance(value, property):
            yield f"{name}.{member}"
        elif callable(value) or isinstance(value, classmethod | staticmethod):
            yield f"{name}.{member}{called(getattr(kind, member))}"


def signatures():
    """Return all that is public, a line each: names of the package, then commands with their options."""
    lines = []
    for name in sorted(fewlabels.__all__):
        value = getattr(fewlabels, name)
        if inspect.isclass(value):
            # Exceptions are raised here and caught there.
            lines.append(name if issubclass(value, BaseException) else f"{name}{called(value)}")
            base = fewlabels.SemiSupervisedClassifier
            inherited = set() if value is base or not issubclass(value, base) else set(members(name, base))
            lines += [line for line in members(name, value) if line not in inherited]
        else:
            lines.append(f"{name}{called(value)}" if callable(value) else name)
    commands = typer.main.get_command(cli.app).commands
    for name, command in sorted(commands.items()):
        words = sorted(
            "/".join(sorted([*option.opts, *option.secondary_opts])) if option.opts[0].startswith("-") else option.name
            for option in command.params
        )
        lines.append(f"$ fewlabels {name}: {' '.join(words)}")
    return [re.sub(r" at 0x[0-9a-f]+", "", line) for line in lines]


def test_the_public_names_and_how_they_are_called_are_those_that_were_decided_on():
    found, kept = signatures(), KEPT.read_text(encoding="utf-8").splitlines()
    gone, new = sorted(set(kept) - set(found)), sorted(set(found) - set(kept))
    advice = "see docs/stability.md, write it into CHANGELOG.md, and run python tests/test_api.py"
    assert not gone, f"no longer public, or called otherwise: {gone}; {advice}"
    assert not new, f"public and not decided on: {new}; {advice}"


def test_a_change_would_be_noticed(monkeypatch):
    before = signatures()
    monkeypatch.setattr(fewlabels, "load", lambda folder: None)
    assert signatures() != before
    monkeypatch.undo()
    monkeypatch.setattr(fewlabels.ImageDataset, "more", lambda self: None, raising=False)
    fewlabels.ImageDataset.more.__module__ = "fewlabels.data"
    assert "ImageDataset.more()" in signatures()


def test_the_version_and_the_format_stand_in_one_place_and_the_pages_say_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "fewlabels.__version__"
    changes = re.findall(r"^## \[(.+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert changes[:2] == ["Unreleased", fewlabels.__version__]
    page = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE)[-1] == str(FORMAT_VERSION)


if __name__ == "__main__":
    KEPT.write_text("\n".join(signatures()) + "\n", encoding="utf-8")
