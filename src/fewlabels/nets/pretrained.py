"""Pretrained backbones: from transformers, from timm, from a model of ours, from a Python file, or as a module."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from fewlabels.nets.backbone import UNKNOWN_TRAINING, Backbone, BackboneFacts, fingerprint, pooled, pooling_of
from fewlabels.nets.own_model import OWN_MODEL, backbone_of_model, empty_encoder
from fewlabels.nets.provenance import folder_of, trained_on
from fewlabels.storage.errors import InputError
from fewlabels.storage.hub import check_reachable
from fewlabels.storage.wording import first_line

KINDS = {
    "hf": "hf:NAME_OR_FOLDER, a vision model of Hugging Face transformers",
    "timm": "timm:NAME, a model of timm",
    OWN_MODEL: "model:FOLDER, the net of a model of fewlabels, without its head",
    "python": "python:FILE_OR_MODULE:FUNCTION, what a function of your own returns, a torch.nn.Module",
}
MODULE = "module"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PROBE = 64
# What the description of a net of transformers may name code on the Hub by; the net computes the same without.
_CODE = {
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
    "auto_map",
    "kernel_config",
    "use_kernels",
    "quantization_config",
}
# How such a description calls numbers of layers, and far more than any net has: these would be built for minutes.
_LAYERS, _MOST_LAYERS = ("layers", "depth", "depths", "blocks"), 1000


def is_backbone(net: Any) -> bool:
    """Say whether `net` names a pretrained backbone, or is one.

    Examples
    --------
    >>> is_backbone("hf:facebook/dinov2-small"), is_backbone(nn.Flatten()), is_backbone("fast")
    (True, True, False)
    """
    if isinstance(net, nn.Module | BackboneFacts):
        return True
    return isinstance(net, str) and net.partition(":")[0] in KINDS and ":" in net


def is_own_code(net: Any) -> bool:
    """Say whether `net` names code of a person's own, which runs where the net is loaded.

    Examples
    --------
    >>> is_own_code("python:nets.py:mine"), is_own_code("hf:facebook/dinov2-small")
    (True, False)
    """
    return isinstance(net, str) and net.startswith("python:")


def load_backbone(net: Any) -> Backbone:
    """Return a backbone with its pretrained weights.

    Parameters
    ----------
    net : str, nn.Module or BackboneFacts
        See `KINDS`; of facts, see `open_backbone`. A module is copied; its attributes `image_size`, `image_mean`,
        `image_std` (of pixels in [0, 1]) and `trained_on` are taken where it has them, else it is given pixels in
        [0, 1] of any size.

    Raises
    ------
    InputError
        If it cannot be found or read, or is no net that maps images to features.

    Examples
    --------
    >>> load_backbone(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())).feature_size
    5
    """
    if isinstance(net, nn.Module):
        return _from_module(net, MODULE)
    if isinstance(net, BackboneFacts):
        return open_backbone(net)
    kind, _, name = str(net).partition(":")
    if not is_backbone(net) or not name:
        raise InputError(f"{net!r} is no backbone; give {'; '.join(KINDS.values())}; or in Python a torch.nn.Module")
    if kind == "python":
        return _from_module(_own_module(net, name), net)
    if kind == OWN_MODEL:
        return backbone_of_model(name_from_anywhere(net), Path(name))
    from_kind = _from_timm if kind == "timm" else _from_transformers
    return from_kind(name_from_anywhere(net), name)


def name_from_anywhere(net: str) -> str:
    """Return what a backbone is called from whichever folder is worked in: one in a folder by its whole path."""
    folder = folder_of(net)
    return f"{net.removesuffix(folder)}{Path(folder).absolute()}" if folder and Path(folder).is_dir() else net


# Code of one's own draws weights before it reads some; the caller's generator is left as it was.
@torch.random.fork_rng(devices=[])
def open_backbone(facts: BackboneFacts) -> Backbone:
    """Return the backbone that facts were recorded of, from where it was taken then.

    Raises
    ------
    InputError
        If it is not there any more, is a module or the reader's own code, or has other weights now.
    """
    if facts.net == MODULE or is_own_code(facts.net):
        raise InputError(
            f"the backbone is {_of_its_own(facts)}, which is not loaded unasked; give it as net "
            "(in Python: load(folder, net=module), on the command line: --net)"
        )
    place = folder_of(facts.net)
    # The latter where the model was pulled from the Hub, which is told no whole path.
    if (Path(place).is_absolute() or place.startswith("./")) and not Path(place).exists():
        raise InputError(
            f"the backbone was in the folder {place!r}, which is not there; give it from where it is now as net "
            f"(in Python: load(folder, net='{facts.net.removesuffix(place)}FOLDER'), on the command line: --net)"
        )
    return as_recorded(load_backbone(facts.net), facts)


def as_recorded(backbone: Backbone, facts: BackboneFacts) -> Backbone:
    """Return a backbone with the size and the normalization that were recorded of it, whatever it says of these now.

    Raises
    ------
    InputError
        If its weights or the kind of its output are others than those recorded.
    """
    found = backbone.facts
    # Of tokens that are all of patches, too, the first was taken once.
    of_tokens = found.pooling == "mean" and found.architecture.get("kind") == "hf" and facts.pooling == "first"
    same_output = found.feature_size == facts.feature_size and (found.pooling == facts.pooling or of_tokens)
    if found.weights != facts.weights or not same_output:
        what = "outputs" if found.weights == facts.weights else "weights"
        raise InputError(
            f"the {what} of {found.net} are not those that the features were made with ({facts.net}); "
            "give the backbone as it was, or embed and fit anew"
        )
    return Backbone(backbone.body, facts)


def empty_backbone(facts: BackboneFacts) -> Backbone:
    """Return a backbone whose weights are still to be read.

    Raises
    ------
    InputError
        If it was a module of its own, whose layers no file tells; or what is described would be fetched, or has more
        layers than nets have.
    """
    # Whatever it is described as, code of a person's own is run where it is given alone.
    kind = MODULE if facts.net == MODULE or is_own_code(facts.net) else facts.architecture.get("kind")
    if kind == "hf":
        transformers = _transformers()
        described = _needing_nothing_else(facts.architecture["config"], facts.net)
        config = _hiding_nothing(transformers.AutoConfig.for_model(**described))
        return Backbone(_vision_part(transformers.AutoModel.from_config(config)), facts)
    if kind == "timm":
        return Backbone(_empty_timm(facts), facts)
    if kind == OWN_MODEL:
        return Backbone(empty_encoder(facts.architecture), facts)
    raise InputError(
        f"the model was fitted with {_of_its_own(facts)}; give it as net (in Python: load(folder, net=module), "
        "on the command line: --net)"
    )


def _needing_nothing_else(described: Any, net: str) -> Any:
    """Return what a net of transformers is described as without what would have code fetched to compute with.

    Raises
    ------
    InputError
        If another net would be fetched to build it, or building would take minutes.
    """
    if isinstance(described, list):
        return [_needing_nothing_else(one, net) for one in described]
    if not isinstance(described, dict):
        return described
    for key, value in described.items():
        # timm builds what it knows by name, and fetches what has an address.
        is_name = described.get("model_type") == "timm_backbone" and ":" not in str(value)
        addressed = key == "architecture" and ":" in str(value)
        if addressed or (key == "backbone" and value and not is_name) or (key == "use_pretrained_backbone" and value):
            raise InputError(
                f"the description of {net} asks for another net to be fetched ({key} is {str(value)[:80]!r}); loading "
                "a model fetches nothing: take another model"
            )
        counts = value if isinstance(value, list) else [value]
        if key.endswith(_LAYERS) and any(isinstance(one, int | float) and one > _MOST_LAYERS for one in counts):
            raise InputError(
                f"the description of {net} asks for more than {_MOST_LAYERS} layers ({key}); it is damaged"
            )
    return {key: _needing_nothing_else(value, net) for key, value in described.items() if key not in _CODE}


def _of_its_own(facts: BackboneFacts) -> str:
    return "a torch.nn.Module of your own" if facts.net == MODULE else f"your own code ({facts.net})"


def _from_transformers(net: str, name: str) -> Backbone:
    transformers = _transformers()
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").exists():
        raise InputError(f"{name} is no folder of a transformers model: config.json is missing")
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise InputError(f"there is no folder {name!r}")
    if not folder.is_dir():
        check_reachable(name, "config.json")
    with _quiet(transformers):
        try:
            body, report = transformers.AutoModel.from_pretrained(
                name, use_safetensors=True, output_loading_info=True, dtype=torch.float32, trust_remote_code=False
            )
        except (SafetensorError, RuntimeError) as error:
            what = "are damaged, or not of the net that its config.json tells"
            raise InputError(f"the weights of {net} {what}") from error
        except (OSError, ValueError, KeyError) as error:
            if "trust_remote_code" in str(error):
                raise InputError(f"{net} comes with code of its own, which is not run; take another") from error
            raise InputError(
                f"{net} cannot be loaded: {first_line(error)} (a model of transformers with weights as safetensors "
                "is needed; a hub name needs a network the first time)"
            ) from error
        settings = _preprocessing(transformers, net, name)
    whole, body = body, _vision_part(body)
    _hiding_nothing(body.config)
    missing = {key for key in report["missing_keys"] if body is whole or key.startswith("vision_model.")}
    pooler = {key for key in missing if "pooler" in key}
    if missing - pooler:
        raise InputError(f"{net} lacks weights, {sorted(missing - pooler)[0]} and {len(missing) - 1} others")
    # Not used, and drawn at random: the net is to be the same whenever it is loaded.
    weights = whole.state_dict()
    for key in pooler:
        weights[key].zero_()
    if settings.get("do_flip_channel_order"):
        raise InputError(f"{net} reads images as blue, green, red, and images here are red, green, blue; take another")
    size = _side(settings, body.config)
    mean, std = _normalization(settings)
    facts = BackboneFacts(
        net=net,
        size=size,
        mean=mean,
        std=std,
        feature_size=0,
        trained_on=_recorded_training(body.config) or trained_on(name),
        architecture={"kind": "hf", "config": _plain_config(whole.config)},
    )
    return _measured(body, facts, trained_pooler=not pooler, patches=_patches(size, body.config))


def _patches(size: int | None, config: Any) -> int | None:
    """Return into how many patches a model cuts an image, if it says so."""
    patch = getattr(config, "patch_size", None)
    return (size // patch) ** 2 if size and isinstance(patch, int) else None


def _hiding_nothing(config: Any) -> Any:
    """Return the description of a masked autoencoder that looks at all of an image: it would hide parts at random."""
    if getattr(config, "mask_ratio", 0):
        config.mask_ratio = 0.0
    return config


def _normalization(settings: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and deviation of pixels in [0, 1] that a description asks for; without one, ImageNet's."""
    if not settings:
        return _IMAGENET_MEAN, _IMAGENET_STD
    scale = 255 * float(settings.get("rescale_factor") or 1 / 255) if settings.get("do_rescale", True) else 255.0
    mean, std = (_per_channel(settings.get(key)) for key in ("image_mean", "image_std"))
    again = std if settings.get("include_top") else None
    if not settings.get("do_normalize", True) or mean is None or std is None:
        mean, std = (0.0,) * 3, (1.0,) * 3
    if again is not None:  # EfficientNet with its own classifier divides once more
        std = tuple(value * more for value, more in zip(std, again, strict=True))
    if settings.get("do_rescale", True) and settings.get("rescale_offset"):  # from -1, as ALIGN
        mean = tuple(1 + value for value in mean)
    return tuple(value / scale for value in mean), tuple(value / scale for value in std)


def _per_channel(value: Any) -> tuple[float, ...] | None:
    """Return one number a channel of what a description has: a list of them, one for all three, or None."""
    if value is None:
        return None
    if isinstance(value, int | float):
        return (float(value),) * 3
    return tuple(float(one) for one in value)


def _recorded_training(config: Any) -> str | None:
    """Return what a local model's own description says that it was trained on, if it does."""
    found = getattr(config, "trained_on", None)
    return str(found) if found else None


def _vision_part(model: nn.Module) -> nn.Module:
    """Return what reads images of a model that reads images and text."""
    part = getattr(model, "vision_model", None)
    return part if isinstance(part, nn.Module) else model


def _preprocessing(transformers: Any, net: str, name: str) -> dict[str, Any]:
    # The processor itself would import torchvision; its description is all that is needed.
    try:
        found: dict[str, Any] = transformers.ImageProcessingMixin.get_image_processor_dict(name)[0]
    except (OSError, ValueError) as error:
        if "Can't load image processor" in str(error):  # as it says where there is none
            return {}
        raise InputError(f"how {net} wants its images normalized cannot be read: {first_line(error)}") from error
    return found


def _side(settings: dict[str, Any], config: Any) -> int | None:
    crop = settings.get("crop_size") if settings.get("do_center_crop", True) else None
    for found in (crop, settings.get("size"), getattr(config, "image_size", None)):
        if isinstance(found, dict):
            found = found.get("height") or found.get("shortest_edge")
        if isinstance(found, list | tuple):
            found = found[0]
        if found:
            return int(found)
    return None


def _plain_config(config: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return {key: value for key, value in found.items() if key not in ("dtype", "_name_or_path")}


def _from_timm(net: str, name: str) -> Backbone:
    timm = _timm()
    try:
        body = timm.create_model(name, pretrained=True, num_classes=0)
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(f"{net} cannot be loaded: {first_line(error)}") from error
    wanted = timm.data.resolve_model_data_config(body)
    facts = BackboneFacts(
        net=net,
        size=int(wanted["input_size"][1]),
        mean=tuple(wanted["mean"]),
        std=tuple(wanted["std"]),
        feature_size=0,
        trained_on=trained_on(folder_of(net) or f"timm:{name}.{getattr(body, 'pretrained_cfg', {}).get('tag', '')}"),
        architecture={"kind": "timm", **_timm_architecture(timm, name, body)},
    )
    return _measured(body, facts)


def _timm_architecture(timm: Any, name: str, body: Any) -> dict[str, Any]:
    """Return what `_empty_timm` builds a net from: of one by its address, what is described there."""
    source, _, place = name.partition(":")
    if not place:
        return {"name": name}
    if source == "local-dir":
        settings = json.loads((Path(place) / "config.json").read_text(encoding="utf-8")).get("model_args", {})
    else:
        settings = timm.models.load_model_config_from_hf(place)[2]
    known = body.pretrained_cfg
    shaping = {"input_size": list(known["input_size"]), "fixed_input_size": known.get("fixed_input_size", False)}
    return {"name": known["architecture"], "settings": {**settings, "pretrained_cfg": shaping}}


def _empty_timm(facts: BackboneFacts) -> nn.Module:
    """Return a net of timm with random weights."""
    # Ours come last: no description has weights read from anywhere.
    ours = {"pretrained": False, "checkpoint_path": None, "num_classes": 0}
    settings = facts.architecture.get("settings", {}) | ours
    create: Callable[[], nn.Module] = partial(_timm().create_model, facts.architecture["name"], **settings)
    try:
        with suppress(RuntimeError):
            return create()
        # Older timm computes with values while it builds, and on "meta", where sizes are looked at, there are none.
        with torch.device("cpu"):
            return create()
    except OSError as error:  # models of before have no more than an address
        raise InputError(
            f"the backbone was {facts.net}, whose description is not there ({first_line(error)}); give it from where "
            "it is now as net (in Python: load(folder, net='timm:local-dir:FOLDER'), on the command line: --net)"
        ) from error


def _from_module(module: nn.Module, net: str) -> Backbone:
    if isinstance(module, Backbone):
        return copy.deepcopy(module)
    expected = "a number, or one for each channel"
    mean = _attribute(module, net, "image_mean", _per_channel, expected)
    std = _attribute(module, net, "image_std", _per_channel, expected)
    channels = len(mean or std or _IMAGENET_MEAN)
    mean, std = mean or (0.0,) * channels, std or (1.0,) * channels
    if len(mean) != len(std):
        raise InputError(
            f"image_mean of {net} has {len(mean)} channel{'s' if len(mean) > 1 else ''} and image_std {len(std)} (a "
            "number alone stands for three); give both one number for each channel"
        )
    facts = BackboneFacts(
        net=net,
        size=_attribute(module, net, "image_size", _square_side, "a side in pixels"),
        mean=mean,
        std=std,
        feature_size=0,
        trained_on=str(getattr(module, "trained_on", UNKNOWN_TRAINING)),
        architecture={"kind": MODULE},
    )
    return _measured(copy.deepcopy(module), facts)


def _attribute(module: nn.Module, net: str, name: str, read: Callable[[Any], Any], expected: str) -> Any:
    """Return what `read` makes of an attribute of a module, None where it has none."""
    value = getattr(module, name, None)
    try:
        return read(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} of {net} is {value!r}; expected {expected}") from None


def _square_side(value: Any) -> int | None:
    """Return the side of square images, given as such or as height and width, or None."""
    if value is None:
        return None
    sides = {int(one) for one in (value if isinstance(value, list | tuple) else [value])}
    if len(sides) != 1 or min(sides) < 1:
        raise ValueError(value)
    return sides.pop()


def _measured(
    body: nn.Module, facts: BackboneFacts, *, trained_pooler: bool = True, patches: int | None = None
) -> Backbone:
    """Return a backbone with what one image tells of its features."""
    body.eval()
    side = facts.size or _PROBE
    device = next((parameter.device for parameter in body.parameters()), torch.device("cpu"))
    try:
        with torch.inference_mode():
            output = body(torch.zeros(1, len(facts.mean), side, side, dtype=torch.float32, device=device))
    except Exception as error:  # code of its own raises whatever it likes
        can_say = facts.size is None and facts.architecture["kind"] == MODULE
        advice = "; give it an attribute image_size, to which images are resized" if can_say else ""
        raise InputError(
            f"{facts.net} does not read images of {side}x{side} pixels: {first_line(error)}{advice}"
        ) from error
    pooling = pooling_of(output, facts.net, trained_pooler=trained_pooler, patches=patches)
    size = int(pooled(output, pooling).shape[1])
    return Backbone(body, replace(facts, pooling=pooling, feature_size=size, weights=fingerprint(body)))


def _own_module(net: str, name: str) -> nn.Module:
    place, _, function = name.rpartition(":")
    if not place or not function:
        raise InputError(f"{net!r} names no function; give {KINDS['python']}")
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(f"_own_{Path(place).stem}", place)
            assert spec is not None
            assert spec.loader is not None
            code = importlib.util.module_from_spec(spec)
            with _known_as(spec.name, code):
                spec.loader.exec_module(code)
        else:
            code = importlib.import_module(place)
        made = getattr(code, function)()
    except (ImportError, OSError, AttributeError) as error:
        raise InputError(f"{net} cannot be loaded: {first_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise InputError(f"{net} returned {type(made).__name__}; expected a torch.nn.Module")
    return made


@contextmanager
def _known_as(name: str, code: ModuleType) -> Iterator[None]:
    """Have a module found by its name: dataclasses look up there what their annotations name.

    Not for longer: no other process could import it, and what is sent to one would be taken for importable.
    """
    sys.modules[name] = code
    try:
        yield
    finally:
        del sys.modules[name]


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(
            f"Hugging Face transformers is needed for this net and cannot be imported ({first_line(error)}); "
            "pip install 'fewlabels[pretrained]'"
        ) from error


def _timm() -> Any:
    try:
        timm = importlib.import_module("timm")
        importlib.import_module("timm.data")
    except (ImportError, RuntimeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "timm":
            raise InputError("timm is needed for this net and is not installed; pip install timm") from error
        raise InputError(
            f"timm cannot be imported here: {first_line(error)}; it imports torchvision, whose build has to match "
            "that of torch: install both from the same index, or take the net from transformers (hf:NAME)"
        ) from error
    return timm


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Show no progress bars and advice of transformers while weights are read."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
