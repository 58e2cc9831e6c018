"""The net of a model that was trained here, without its head: what it learned from images serves other trainings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fewlabels.nets.backbone import UNKNOWN_TRAINING, Backbone, BackboneFacts, fingerprint
from fewlabels.nets.classifier import Encoder
from fewlabels.storage.errors import InputError
from fewlabels.storage.model_folder import WEIGHTS, check_content, read_description
from fewlabels.storage.wording import first_line

OWN_MODEL = "model"


def backbone_of_model(net: str, folder: Path) -> Backbone:
    """Return the encoder of a saved model as a backbone.

    Parameters
    ----------
    net : str
        What was given as the net, for the facts and for messages.
    folder : Path
        Of a model whose net was trained on images.

    Raises
    ------
    InputError
        If there is no such model, it reads vectors, its net was left as it came, or is more than an encoder.
    """
    config = read_description(folder)
    try:
        return _backbone(net, folder, config)
    except (InputError, PermissionError):
        raise
    except Exception as error:  # what somebody else wrote may be wrong in any way
        raise InputError(f"{folder} is damaged and cannot be read: {first_line(error)}") from error


def empty_encoder(architecture: dict[str, Any]) -> Encoder:
    """Return the encoder that a backbone's `architecture` tells, its weights still to be read."""
    from fewlabels.nets.registry import NETS, build_classifier

    # A description that somebody else wrote names a net that is known here, and nothing that is run or fetched.
    if architecture["net"] not in NETS:
        raise InputError(f"unknown net {str(architecture['net'])[:80]!r}")
    return build_classifier(architecture["net"], tuple(architecture["sample_shape"]), 2).encoder


def _backbone(net: str, folder: Path, config: dict[str, Any]) -> Backbone:
    shape = tuple(int(size) for size in config["sample_shape"])
    if config.get("backbone_place", "network") != "network":
        raise InputError(
            f"the net of {folder} is {config['backbone']['net']}, which was left as it is; give that in place of {net}"
        )
    if len(shape) != 3:
        raise InputError(f"{folder} reads vectors; give a model that was fitted on images")
    if shape[0] != shape[1]:
        raise InputError(f"{folder} reads images of {shape[0]}x{shape[1]} pixels; give a model that reads squares")
    if "weights_sha256" in config:
        check_content(folder / WEIGHTS, config["weights_sha256"])
    tensors = {name: _single(value) for name, value in load_file(folder / WEIGHTS).items()}
    mean, std = (tuple(tensors[f"network.{name}"].tolist()) for name in ("mean", "std"))
    is_trained_further = "backbone" in config
    body, facts = _trained_further(config, folder) if is_trained_further else _from_scratch(config, folder, shape)
    prefix = "network.encoder.body." if is_trained_further else "network.encoder."
    weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    try:
        body.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"the net of {folder}, a model of {config['method']}, is more than an encoder that was trained: "
            f"{first_line(error)}; give a model of a method that trains a net alone, such as sim-clr"
        ) from error
    return Backbone(
        body, replace(facts, net=net, mean=mean, std=std, trained_on=_seen(config), weights=fingerprint(body))
    )


def _single(value: Tensor) -> Tensor:
    return value.float() if value.dtype == torch.float64 else value


def _from_scratch(config: dict[str, Any], folder: Path, shape: tuple[int, ...]) -> tuple[nn.Module, BackboneFacts]:
    records = config["records"]
    chosen = (records.get("choice_") or {}).get("settings", {})
    name = chosen.get("net") or records.get("settings_", config["parameters"])["net"]
    architecture = {"kind": OWN_MODEL, "net": name, "sample_shape": list(shape)}
    try:
        body = empty_encoder(architecture)
    except InputError as error:
        raise InputError(f"the net of {folder} cannot be built: {error}") from error
    return body, BackboneFacts("", shape[0], (), (), feature_size=body.feature_size, architecture=architecture)


def _trained_further(config: dict[str, Any], folder: Path) -> tuple[nn.Module, BackboneFacts]:
    from fewlabels.nets.pretrained import MODULE, empty_backbone

    facts = BackboneFacts.from_dict(config["backbone"])
    if facts.architecture.get("kind") == MODULE:
        raise InputError(
            f"the net of {folder} was made by code of your own, which no file tells; in Python, give "
            f"load({str(folder)!r}, net=module).network_.encoder.body"
        )
    return empty_backbone(facts).body, replace(facts, read_at=None)


def _seen(config: dict[str, Any]) -> str:
    """Return the images that a model learned from, as far as it says, by a name that tells no place."""
    source = (config["records"].get("source_") or {}).get("source")
    own = f"the images of {Path(str(source)).name}" if source else UNKNOWN_TRAINING
    before = config["backbone"]["trained_on"] if "backbone" in config else None
    return own if before is None else f"{before}, then {own}"
