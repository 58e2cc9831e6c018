"""Models on disk: weights as safetensors, everything else as JSON; reading executes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.reconstruction import Autoencoder, AutoencoderClassifier
from fewlabels.nets import BackboneFacts, build_decoder, load_backbone
from fewlabels.nets.backbone import PretrainedClassifier
from fewlabels.nets.pretrained import MODULE, check_same, empty_backbone
from fewlabels.storage.atomic import atomic_folder, write_bytes, write_json, write_text
from fewlabels.storage.errors import InputError

FORMAT_VERSION = 1
_WEIGHTS, _CONFIG, _CARD = "model.safetensors", "config.json", "README.md"
# What a saved model keeps of what was learned, next to the weights; all of it plain JSON.
_RECORDS = (
    "gradient_images_",
    "stage_steps_",
    "settings_",
    "n_iter_",
    "validation_accuracy_",
    "temperature_",
    "mirrors_",
    "n_features_in_",
    "fit_seconds_",
    "pool_inside_share_",
    "pool_prior_",
    "guard_",
    "penalty_",
    "backbone_warning_",
    "features_net_",
)


def save_model(method: SemiSupervisedClassifier, folder: Path, class_names: list[str] | None = None) -> Path:
    """Write a fitted method to a folder; see `SemiSupervisedClassifier.save`."""
    from sklearn.utils.validation import check_is_fitted

    from fewlabels.methods.registry import method_name

    check_is_fitted(method)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give the name of a folder to save the model in")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _CONFIG).exists():
        raise InputError(f"{folder} holds other files and no model; give a new or empty folder")
    classes = method.classes_
    names = [str(name) for name in (classes if class_names is None else class_names)]
    parameters = {key: _plain(value) for key, value in method.get_params(deep=False).items()}
    facts = getattr(method, "backbone_facts_", None)
    if parameters["net"] is None:
        # A module of its own cannot be written down: whoever loads the model gives it again.
        parameters["net"] = MODULE
    config = {
        "format_version": FORMAT_VERSION,
        "method": method_name(type(method)),
        "parameters": parameters,
        **({} if facts is None else {"backbone": facts.to_dict(), "backbone_place": _place(method)}),
        "sample_shape": list(method.sample_shape_),
        "classes": classes.tolist(),
        "classes_dtype": classes.dtype.str,
        "class_names": names,
        "records": {name: _plain(getattr(method, name)) for name in _RECORDS if hasattr(method, name)},
    }
    if hasattr(method, "feature_names_in_"):
        config["feature_names"] = [str(name) for name in method.feature_names_in_]
    with atomic_folder(folder) as temporary:
        write_bytes(temporary / _WEIGHTS, save(_tensors(method)))
        write_json(temporary / _CONFIG, config)
        write_text(temporary / _CARD, model_card(method, config))
    return folder


def load(folder: str | Path, *, net: Any = None) -> SemiSupervisedClassifier:
    """Read a model that `save` wrote.

    Parameters
    ----------
    folder : str or Path
        Holds `model.safetensors` and `config.json`.
    net : str or nn.Module, optional
        The pretrained net that the model was fitted with, where that was a module or code of your own: neither is
        ever looked up and run unasked.

    Returns
    -------
    SemiSupervisedClassifier
        Predicts as the saved one did.

    Raises
    ------
    InputError
        If the folder is incomplete, damaged, or written by a newer version, or needs a pretrained net that is not
        given or has other weights.
    """
    from fewlabels.methods.registry import make_method

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no model folder at {folder}")
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder} is no complete model folder: {name} is missing")
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        version = config["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / _CONFIG} is not a fewlabels model's description: {error!r}") from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(
            f"{folder} was written by a newer fewlabels (model format {version}, this one reads up to "
            f"{FORMAT_VERSION}); upgrade fewlabels to read it"
        )
    try:
        method = make_method(config["method"], **config["parameters"])
        method.sample_shape_ = tuple(int(n) for n in config["sample_shape"])
        method.classes_ = np.array(config["classes"], dtype=np.dtype(config["classes_dtype"]))
        method.class_names_ = [str(name) for name in config["class_names"]]
        for name in _RECORDS:
            if name in config["records"]:
                value = config["records"][name]
                setattr(method, name, float("nan") if value is None and name == "validation_accuracy_" else value)
        if "feature_names" in config:
            method.feature_names_in_ = np.array(config["feature_names"], dtype=object)
        settings = method._resolved()
        tensors = load_file(folder / _WEIGHTS)
        shape = method.sample_shape_
        if "backbone" in config:
            facts = method.backbone_facts_ = BackboneFacts.from_dict(config["backbone"])
            shape = _with_backbone(method, settings, facts, config["backbone_place"], net, tensors)
        network = settings._empty_network(shape, len(method.classes_))
        nets: nn.Module = network
        if isinstance(method, AutoencoderClassifier):
            decoder = build_decoder(settings.net, network.encoder, shape)
            bare = settings._empty_network(shape, len(method.classes_))
            nets = Autoencoder(bare, decoder)
            _fill(
                nets,
                {k.removeprefix("autoencoder."): v for k, v in tensors.items() if k.startswith("autoencoder.")},
            )
            method.autoencoder_ = nets.eval()
        _fill(network, {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise InputError(f"{folder} is damaged and cannot be loaded: {reason}") from error
    method.network_ = network.eval()
    return method


def _place(method: SemiSupervisedClassifier) -> str:
    """Return where a model has its pretrained net: in its own weights, beside them, or where it was taken from."""
    if isinstance(method.network_, PretrainedClassifier):
        return "network"
    return "beside" if hasattr(method, "backbone_") and len(method.sample_shape_) == 3 else "reference"


def _with_backbone(
    method: SemiSupervisedClassifier,
    settings: SemiSupervisedClassifier,
    facts: BackboneFacts,
    place: str,
    net: Any,
    tensors: dict[str, torch.Tensor],
) -> tuple[int, ...]:
    """Give a method what its pretrained net is, and return the shape of the samples that its own net reads."""
    given = None if net is None else load_backbone(net)
    if place == "network":
        settings.net = facts if given is None else given.body
        return method.sample_shape_
    settings.net = getattr(method, "features_net_", "auto")
    if given is not None:
        check_same(facts, given.facts)
        method.backbone_ = given
    elif place == "beside":
        backbone = empty_backbone(facts)
        backbone.load_state_dict(
            {k.removeprefix("backbone."): v for k, v in tensors.items() if k.startswith("backbone.")}
        )
        method.backbone_ = backbone.eval()
    return (facts.feature_size,)


def model_card(method: SemiSupervisedClassifier, config: dict[str, Any]) -> str:
    """Return the model card: what the model is, how it was made, how well it does, how to use it."""
    shape = " x ".join(str(n) for n in config["sample_shape"])
    accuracy = config["records"].get("validation_accuracy_")
    measured = "not measured (no images held out)" if accuracy is None else f"{accuracy:.1%}"
    steps = ", ".join(f"{stage}: {n:,}" for stage, n in config["records"]["stage_steps_"].items())
    settings = "\n".join(f"| {key} | {value} |" for key, value in config["records"]["settings_"].items())
    names = ", ".join(config["class_names"]).replace("\n", " ")
    summary = (type(method).__doc__ or "").strip().splitlines()[0]
    return f"""---
library_name: fewlabels
pipeline_tag: image-classification
---

# {config["method"]} classifier

{summary}

- **Reads**: samples of {shape} (height x width x channels; one number: vectors)
- **Classes** ({len(config["class_names"])}): {names}
- **Accuracy on held-out labeled samples**: {measured}
- **Trained with**: {config["records"]["gradient_images_"]:,} gradient samples ({steps} steps)
{_backbone_lines(config)}

```python
import fewlabels

model = fewlabels.load("path/to/this/folder")
model.predict(images)  # uint8, (n, height, width, channels)
```

The held-out samples come from the same source as the training samples: on images from elsewhere expect less.

| setting | value |
|---|---|
{settings}
"""


def _backbone_lines(config: dict[str, Any]) -> str:
    """Return what a model card says of the pretrained net, and of what that has seen."""
    if "backbone" not in config:
        return ""
    facts = BackboneFacts.from_dict(config["backbone"])
    used = {
        "network": "trained further here; its weights are in this folder",
        "beside": "left as it is; its weights are in this folder",
        "reference": "left as it is; it is taken from where it was when images are to be classified",
    }[config["backbone_place"]]
    warning = config["records"].get("backbone_warning_")
    return (
        f"- **Pretrained net**: {facts.net}, {used}\n"
        f"- **It was trained on**: {facts.trained_on}\n"
        + (f"- **Warning**: {warning}\n" if warning else "")
        + "- Images that it was trained on say little about images that are new to it: test images should not be "
        "among them.\n"
    )


def _tensors(method: SemiSupervisedClassifier) -> dict[str, torch.Tensor]:
    parts: dict[str, nn.Module] = {"network": method.network_}
    if hasattr(method, "backbone_") and len(method.sample_shape_) == 3:
        parts["backbone"] = method.backbone_
    if isinstance(method, AutoencoderClassifier):
        parts["autoencoder"] = method.autoencoder_
    return {
        f"{part}.{name}": value.detach().cpu().contiguous().clone()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }


def _fill(module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    floats = {value.dtype for value in tensors.values() if value.is_floating_point()}
    if floats == {torch.float64}:
        module.double()
    module.load_state_dict(tensors)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; NaN as null, a random generator (which JSON has not) as null too."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else None
