"""What a folder is that holds a model: its files, and the description that every reader begins with."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from fewlabels.storage.errors import InputError, NewerFormat
from fewlabels.storage.hub import is_hub_address
from fewlabels.storage.visible import check_encodable

# 1: no checksum of the weights. 2: `weights_sha256`.
FORMAT_VERSION = 2
_LARGEST_CONFIG = 64 << 20
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
# Of what a model says of itself, that by which it predicts nothing: figures, its card, and where it lay.
OF_CARD = ("measured", "card", "saved_in")
# Labeled images that a model may keep; they stay on this machine unless they are asked for.
EXAMPLES = "examples.safetensors"
_OTHER_WEIGHTS = re.compile(r"weights-[a-z0-9-]{1,40}\.safetensors")


def looks_like_a_model(folder: Path) -> bool:
    """Say whether a place is meant as a model, whole or damaged, or as the comparison that its models are in.

    What reads models refuses a comparison, and says where its models are.
    """
    if is_hub_address(folder) or (folder / WEIGHTS).is_file() or any(folder.glob(f"models/*/{CONFIG}")):
        return True
    try:
        # Images may lie beside a file of this name.
        return b'"format_version"' in (folder / CONFIG).read_bytes()
    except OSError:
        return False


def check_target(folder: Path) -> None:
    """Refuse a place that no model can be saved in: a file, or a folder that holds other things than a model.

    Raises
    ------
    InputError
        With what to give instead.
    """
    check_encodable(folder)
    if is_hub_address(folder):
        raise InputError(f"{folder} is a place on the Hub; give a folder, which `fewlabels push` takes there")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give the name of a folder to save the model in")
    if not holds_anything(folder):
        return
    try:
        parse_description(folder / CONFIG)
    except NewerFormat:
        raise
    except (OSError, InputError) as error:
        raise InputError(f"{folder} holds other files and no model; give a new or empty folder") from error


def holds_anything(folder: Path) -> bool:
    """Say whether a place is a folder with something in it, which a model that is saved there takes the place of."""
    return folder.is_dir() and any(folder.iterdir())


def read_description(folder: Path) -> dict[str, Any]:
    """Return what `config.json` of a model folder holds; nothing in it is trusted yet but its version.

    Raises
    ------
    InputError
        If there is no complete model folder, or one that a newer version wrote.
    """
    if not folder.is_dir():
        raise InputError(f"there is no model folder at {folder}")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            if (models := folder / "models").is_dir():
                raise InputError(f"{folder} is a comparison, not a model; its models are in {models}/")
            raise InputError(f"{folder} is no complete model folder: {name} is missing")
    return parse_description(folder / CONFIG)


def parse_description(path: Path) -> dict[str, Any]:
    """Return what a file of the name `config.json` holds, if it describes a model that this version reads."""
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise InputError(f"{path} is too large for a model's description")
        config = json.loads(path.read_text(encoding="utf-8"))
        version = config["format_version"]
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not a fewlabels model's description: {error!r}") from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise NewerFormat(
            f"{path.parent} was written by a newer fewlabels (model format {version}, this one reads up to "
            f"{FORMAT_VERSION}); upgrade fewlabels to read it"
        )
    return dict(config)


def model_files(folder: Path) -> list[str]:
    """Return the names of the files that make a model: description, card and weights, each checked to be what it was.

    Raises
    ------
    InputError
        If one is missing, is not what was saved, or has no name that a model's file has.
    """
    config = read_description(folder)
    checksums = weight_files(config, folder)
    if (known := config.get("examples_sha256")) is not None and keeps_examples(folder):
        checksums[EXAMPLES] = str(known)
    for file, expected in checksums.items():
        if not (folder / file).is_file():
            raise InputError(f"{folder} is no complete model folder: {file} is missing")
        if expected is not None:
            check_content(folder / file, expected)
    return [CONFIG, *([CARD] if (folder / CARD).is_file() else []), *checksums]


def keeps_examples(folder: Path) -> bool:
    """Return whether a model folder keeps labeled images that the model learned from."""
    return (folder / EXAMPLES).is_file()


def is_weights(name: str) -> bool:
    """Say whether a file of this name holds weights of a model."""
    return name == WEIGHTS or _OTHER_WEIGHTS.fullmatch(name) is not None


def weight_files(config: dict[str, Any], place: object) -> dict[str, str | None]:
    """Return the files of weights that a description names, with their checksums; models of format 1 have none."""
    others = config.get("other_weights_sha256", {})
    if not isinstance(others, dict) or not all(
        isinstance(file, str) and _OTHER_WEIGHTS.fullmatch(file) for file in others
    ):
        raise InputError(f"{place} is not a fewlabels model: its description names files that none has")
    own = config.get("weights_sha256")
    return {WEIGHTS: None if own is None else str(own), **{file: str(found) for file, found in others.items()}}


def check_content(path: Path, expected: str) -> None:
    """Refuse a file of a model that is not what was saved.

    Raises
    ------
    InputError
        If its checksum is another than the description says.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise InputError(
            f"{path} is not what was saved: its checksum is {found[:12]}…, the description says {str(expected)[:12]}…; "
            "take the model again from where it came"
        )
