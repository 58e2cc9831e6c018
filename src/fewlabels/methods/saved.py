"""Models on disk: weights as safetensors, everything else as JSON; reading executes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn

from fewlabels.data.moved import found_again
from fewlabels.methods import examples
from fewlabels.methods.base import SemiSupervisedClassifier
from fewlabels.methods.card import card_facts, checksum, model_card
from fewlabels.methods.reconstruction import Autoencoder, AutoencoderClassifier
from fewlabels.methods.weight_sets import WeightSet
from fewlabels.nets import Backbone, BackboneFacts, build_decoder, load_backbone
from fewlabels.nets.pretrained import MODULE, as_recorded, empty_backbone, is_backbone, is_own_code
from fewlabels.nets.provenance import folder_of
from fewlabels.storage.atomic import (
    ABANDONED,
    atomic_folder,
    copy_all,
    remove_leftovers,
    write_bytes,
    write_json,
    write_text,
)
from fewlabels.storage.errors import InputError
from fewlabels.storage.hub import HubAddress, is_hub_address
from fewlabels.storage.model_folder import (
    CARD,
    CONFIG,
    EXAMPLES,
    FORMAT_VERSION,
    WEIGHTS,
    check_content,
    check_target,
    is_weights,
    keeps_examples,
    parse_description,
    read_description,
)
from fewlabels.storage.plain import plain
from fewlabels.storage.wording import first_line
from fewlabels.training.kept import copied_state

# What a saved model keeps of what was learned, next to the weights; all of it plain JSON.
_RECORDS = (
    "gradient_images_",
    "stage_steps_",
    "settings_",
    "n_iter_",
    "validation_accuracy_",
    "temperature_",
    "n_validation_",
    "unmeasured_classes_",
    "n_labeled_",
    "n_pool_",
    "used_weights_",
    "mirrors_",
    "n_features_in_",
    "fit_seconds_",
    "pool_inside_share_",
    "pool_prior_",
    "guard_",
    "choice_",
    "notes_",
    "penalty_",
    "patch_share_",
    "backbone_warning_",
    "features_net_",
    "source_",
)


def save_model(
    method: SemiSupervisedClassifier,
    folder: Path,
    class_names: Sequence[str] | None = None,
    measured: list[dict[str, Any]] | None = None,
) -> Path:
    """Write a fitted method to a folder; see `SemiSupervisedClassifier.save`.

    `measured` is what its card tells of test images, see `fewlabels.methods.card.measurement`.
    """
    from sklearn.utils.validation import check_is_fitted

    from fewlabels.methods.registry import METHODS, method_name

    check_is_fitted(method)
    name, kind = method_name(type(method)), type(method).__name__
    if METHODS.get(name) is not type(method):
        raise InputError(
            f"a saved {kind} could not be loaded, since methods are found by their name; make it known by "
            f"fewlabels.METHODS[{name!r}] = {kind}, here and where it is loaded"
        )
    check_target(folder)
    classes = method.classes_
    class_names = getattr(method, "class_names_", None) if class_names is None else class_names
    names = [str(name) for name in (classes if class_names is None else class_names)]
    if isinstance(class_names, str):
        raise InputError(f"class_names={class_names!r} is one text; give a list with a name for each class")
    if len(names) != len(classes):
        raise InputError(f"{len(names)} class names are given for {len(classes)} classes; give one for each")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two classes are called {twice!r}; give each a name of its own")
    # Models that were pickled before these were kept have what is set now.
    parameters = {key: _plain(value) for key, value in (method._parameters_ or method.get_params(deep=False)).items()}
    facts = getattr(method, "backbone_facts_", None)
    if parameters["net"] is None:
        # A module of its own cannot be written down: whoever loads the model gives it again.
        parameters["net"] = MODULE
    weights = save(_tensors(method))
    others = {
        described["file"]: save({key: value.cpu().contiguous() for key, value in kept.state.items()})
        for name, kept in method.kept_weights_.items()
        if (described := _described(method, name))["file"] != WEIGHTS
    }
    remembered = getattr(method, "examples_", None)
    packed = None if remembered is None else examples.pack(remembered)
    checksums = {file: hashlib.sha256(content).hexdigest() for file, content in others.items()}
    config = {
        "format_version": FORMAT_VERSION,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "method": name,
        "parameters": parameters,
        **({} if facts is None else {"backbone": facts.to_dict(), "backbone_place": method._backbone_place}),
        "sample_shape": list(method.sample_shape_),
        "classes": classes.tolist(),
        "classes_dtype": classes.dtype.str,
        "class_names": names,
        "named": class_names is not None,
        "records": {name: _plain(getattr(method, name)) for name in _RECORDS if hasattr(method, name)},
        "weight_sets": {name: _described(method, name) for name in method.kept_weights_},
        "other_weights_sha256": checksums,
        **({} if packed is None else {"examples_sha256": hashlib.sha256(packed).hexdigest()}),
        "measured": measured or [],
        "card": card_facts(method, names),
        # Where both are moved, the source is found again from here.
        **({"saved_in": str(folder.absolute())} if hasattr(method, "source_") else {}),
    }
    if hasattr(method, "feature_names_in_"):
        config["feature_names"] = [str(name) for name in method.feature_names_in_]
    card = model_card(config)
    config["card"]["sha256"] = checksum(card)
    changed = _changed_card(folder)
    with atomic_folder(folder) as temporary:
        _keep_others(folder, temporary)
        write_bytes(temporary / WEIGHTS, weights)
        for file, content in others.items():
            write_bytes(temporary / file, content)
        if packed is not None:
            write_bytes(temporary / EXAMPLES, packed)
        write_json(temporary / CONFIG, config)
        if changed is None:
            write_text(temporary / CARD, card)
        else:
            write_bytes(temporary / CARD, changed)
    # Only now, as what is there may be all that is left of the model before.
    remove_leftovers(folder.absolute().parent, ABANDONED, of=folder.name)
    return folder


def _changed_card(folder: Path) -> bytes | None:
    """Return the card of a model that is about to be replaced, if a person has written in it."""
    if not (folder / CARD).is_file():
        return None
    content = (folder / CARD).read_bytes()
    return None if is_ours(content, parse_description(folder / CONFIG)) else content


def is_ours(card: bytes, config: dict[str, Any]) -> bool:
    """Say whether a card is one that was written with a model's description, or with the one before it."""
    facts = config.get("card", {})
    return checksum(card) in (facts.get("sha256"), facts.get("sha256_before"))


def _keep_others(folder: Path, temporary: Path) -> None:
    """Take over what else a person keeps in a model's folder."""
    own = {CONFIG, CARD, EXAMPLES}
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.name in own or is_weights(path.name):
            continue
        copy_all(path, temporary / path.name)


# Nets are built with weights that are drawn; the caller's generator is left as it was.
@torch.random.fork_rng(devices=[])
def load(folder: str | Path, *, weights: str | None = None, net: Any = None) -> SemiSupervisedClassifier:
    """Read a model that `save` wrote.

    Parameters
    ----------
    folder : str or Path
        Holds `model.safetensors` and `config.json`; or "hub:OWNER/NAME", with `@REVISION` or without, on the Hugging
        Face Hub.
    weights : str, optional
        Other weights that were kept: "last", "best-on-validation" or "average"; those that the model was saved
        with, when not given.
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
        If the folder is incomplete, damaged, written by a newer version, or without the weights asked for, or needs
        a pretrained net that is not given or has other weights.
    """
    from fewlabels.methods.registry import METHODS, make_method

    if is_hub_address(folder):
        from fewlabels.methods.published import fetch_model

        # A path of Windows has turned the slash.
        folder = fetch_model(HubAddress.parse(str(folder).replace("\\", "/")))
    folder = Path(folder)
    config = read_description(folder)
    version = config["format_version"]
    try:
        _refuse_nets_to_run(folder, config)
        if (name := config["method"]) not in METHODS:
            raise InputError(
                f"unknown method {name!r} in {folder}; if it is one of your own, make it known by "
                f"fewlabels.METHODS[{name!r}] = its class before the model is loaded"
            )
        method = make_method(name, **{**METHODS[name]._SETTINGS_BEFORE, **config["parameters"]})
        if method.net == MODULE or is_own_code(method.net):
            # What is fitted anew with these settings is to learn from the same net, and runs no code unasked.
            method.net = BackboneFacts.from_dict(config["backbone"]) if net is None else net
        method._parameters_ = method.get_params(deep=False)  # type: ignore[misc]
        method.sample_shape_ = tuple(int(n) for n in config["sample_shape"])
        method.classes_ = _classes(config["classes"], config["classes_dtype"])
        names = [str(name) for name in config["class_names"]]
        if len(names) != len(method.classes_):
            raise InputError(f"{folder} is damaged: it names {len(names)} of {len(method.classes_)} classes")
        if config.get("named", True):
            method.class_names_ = names
        for name in _RECORDS:
            if name in config["records"]:
                value = config["records"][name]
                if name == "pool_prior_":
                    value = np.array(value, np.float64)
                setattr(method, name, float("nan") if value is None and name == "validation_accuracy_" else value)
        if hasattr(method, "source_") and "saved_in" in config:
            was_in, is_in = Path(config["saved_in"]), folder.absolute()
            for what in {"source", "pool", "labels"} & method.source_.keys():
                if isinstance(place := method.source_[what], str):
                    method.source_[what] = found_again(place, was_in, is_in)
        if "feature_names" in config:
            method.feature_names_in_ = np.array(config["feature_names"], dtype=object)
        settings = method._resolved()
        build: Callable[[], dict[str, nn.Module]] = partial(_empty_parts, settings, method, method.sample_shape_)
        if "backbone" in config:
            facts = method.backbone_facts_ = BackboneFacts.from_dict(config["backbone"])
            build = _with_backbone(method, settings, facts, config["backbone_place"], net)
        _check_sizes(folder / WEIGHTS, build)
        tensors = load_file(folder / WEIGHTS)
        if version >= 2:
            check_content(folder / WEIGHTS, config["weights_sha256"])
        parts = build()
        for name, part in parts.items():
            _fill(part, {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")})
        _read_weight_sets(method, folder, config, parts["network"])
        for name, part in parts.items():
            setattr(method, f"{name}_", part.eval())
        if "examples_sha256" in config and keeps_examples(folder):
            method.examples_ = _examples(folder / EXAMPLES, method, config["examples_sha256"])
    except (InputError, PermissionError):
        raise
    except Exception as error:  # what somebody else wrote may be wrong in any way
        raise InputError(f"{folder} is damaged and cannot be loaded: {first_line(error)}") from error
    return method if weights is None else method.with_weights(weights)


def _examples(file: Path, method: SemiSupervisedClassifier, checksum: str) -> Any:
    try:
        return examples.unpack(file, method, checksum)
    except (InputError, PermissionError):
        raise
    except Exception as error:  # as of the weights
        raise InputError(
            f"{file} is damaged: {first_line(error)}; it holds the labeled images that are shown beside answers, and "
            "the model classifies without it: remove it"
        ) from error


def _refuse_nets_to_run(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a description that asks for code to be run, or for weights to be fetched, to build the model's net.

    A model with a pretrained net describes that, and is built by the description; what is fitted anew learns from the
    net of the parameters, which is to be the same.
    """
    choice = config["records"].get("choice_") or {}
    asked = [choice.get("settings", {}).get("net")]
    net = config["parameters"].get("net")
    if "backbone" not in config or (net != MODULE and not _is_described(str(net), config["backbone"]["net"])):
        asked.append(net)
    for net in asked:
        if net == MODULE or is_backbone(net):
            raise InputError(
                f"{folder} asks for the net {str(net)[:80]!r} to be run or fetched, and does not describe it; loading "
                "a model runs nothing: take another model"
            )


def _is_described(net: str, described: str) -> bool:
    """Say whether a net as it was typed may be the one described, which is told with its whole place."""
    place, whole = folder_of(net), folder_of(described)
    if not place or not whole:
        return net == described
    same_kind = net.removesuffix(place) == described.removesuffix(whole)
    # It was typed in another folder, where "." may have been its place; "" is the name of that.
    return same_kind and PureWindowsPath(place).name in ("", PureWindowsPath(whole).name)


def add_measurement(folder: Path, found: dict[str, Any]) -> bool:
    """Write a measurement into a model's description and card, in place of an earlier one on the same data.

    Parameters
    ----------
    folder : Path
        Of a model.
    found : dict
        As `fewlabels.methods.card.measurement` returns it.

    Returns
    -------
    bool
        False where the card was left as it is, since a person has changed it.
    """
    config = read_description(folder)
    known = config.get("card", {}).get("sha256")
    written = (folder / CARD).read_bytes() if (folder / CARD).is_file() else b""
    ours = not written or is_ours(written, config)
    if "card" not in config:
        config["card"] = card_facts(load(folder), config["class_names"])
    config["measured"] = [one for one in config.get("measured", []) if one["data"] != found["data"]] + [found]
    card = model_card(config)
    # Whoever is stopped between the two writes leaves the card of before, which is no less ours.
    sums = {"sha256": checksum(card), "sha256_before": checksum(written)} if ours else {"sha256": known}
    config["card"] |= sums
    write_json(folder / CONFIG, config)
    if ours:
        write_text(folder / CARD, card)
    return ours


def _empty_parts(
    settings: SemiSupervisedClassifier,
    method: SemiSupervisedClassifier,
    shape: tuple[int, ...],
    backbone: Callable[[], nn.Module] | None = None,
) -> dict[str, nn.Module]:
    """Return the nets of a model, `network` and where there are such `autoencoder` and `backbone`, still to be filled.

    Parameters
    ----------
    settings : SemiSupervisedClassifier
        The method with its preset applied.
    method : SemiSupervisedClassifier
        What is being read.
    shape : tuple of int
        Of the samples that `network` reads.
    backbone : callable, optional
        Returns the pretrained net whose weights lie beside.
    """
    network = settings._empty_network(shape, len(method.classes_))
    parts: dict[str, nn.Module] = {"network": network}
    if isinstance(method, AutoencoderClassifier) and method.has_autoencoder:
        decoder = build_decoder(settings.net, network.encoder, shape)
        parts["autoencoder"] = Autoencoder(settings._empty_network(shape, len(method.classes_)), decoder)
    if backbone is not None:
        parts["backbone"] = backbone()
    return parts


def _check_sizes(path: Path, build: Callable[[], dict[str, nn.Module]]) -> None:
    """Refuse weights that are not those of the nets that the description asks for, before memory is taken for them."""
    # Opened here first: safetensors calls missing what may not be read.
    with path.open("rb"), safe_open(path, "pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    with torch.device("meta"):
        parts = build()
    wanted = {f"{part}.{name}": tuple(v.shape) for part, nets in parts.items() for name, v in nets.state_dict().items()}
    for name in {**wanted, **found}:
        if wanted.get(name) != found.get(name):
            has, should = found.get(name, "missing"), wanted.get(name, "none")
            raise InputError(f"{path} does not fit its description: {name[:80]} has the shape {has}, expected {should}")


def _classes(values: list[Any], kind: str) -> NDArray[Any]:
    dtype = np.dtype(kind)
    if dtype.kind == "U" and all(isinstance(value, str) for value in values):
        # As long as the longest: models were saved with the room that there was in an array of labels.
        return np.array(values)
    # A type may ask for any length of text.
    if dtype.itemsize > max(8, np.array([str(value) for value in values]).dtype.itemsize):
        raise InputError(f"classes of the type {kind[:40]!r} do not fit their names")
    return np.array(values, dtype=dtype)


def _with_backbone(
    method: SemiSupervisedClassifier,
    settings: SemiSupervisedClassifier,
    facts: BackboneFacts,
    place: str,
    net: Any,
) -> Callable[[], dict[str, nn.Module]]:
    """Give a method what its pretrained net is, and return what builds the nets of the model."""
    given = None if net is None else load_backbone(net)
    if place == "network":
        settings.net = facts if given is None else Backbone(given.body, facts)
        return partial(_empty_parts, settings, method, method.sample_shape_)
    settings.net = getattr(method, "features_net_", "auto")
    if given is not None:
        given = method.backbone_ = as_recorded(given, facts)
    beside = partial(empty_backbone, facts) if given is None else lambda: given
    return partial(_empty_parts, settings, method, (facts.feature_size,), beside if place == "beside" else None)


def _tensors(method: SemiSupervisedClassifier) -> dict[str, torch.Tensor]:
    parts: dict[str, nn.Module] = {"network": method.network_}
    if method._backbone_place == "beside":
        parts["backbone"] = method.backbone_
    if isinstance(method, AutoencoderClassifier) and method.has_autoencoder:
        parts["autoencoder"] = method.autoencoder_
    return {
        f"{part}.{name}": value.detach().cpu().contiguous().clone()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }


def _described(method: SemiSupervisedClassifier, name: str) -> dict[str, Any]:
    """Return what a model's description says of one of its sets of weights, and in which file it is."""
    kept = method.kept_weights_
    twins = [other for other in kept if kept[other] is kept[name]]
    file = WEIGHTS if method.used_weights_ in twins else f"weights-{twins[0]}.safetensors"
    return {
        "file": file,
        "step": kept[name].step,
        "validation_accuracy": _plain(kept[name].validation_accuracy),
        "temperature": kept[name].temperature,
        "conformal_scores": kept[name].conformal_scores.tolist(),
    }


def _read_weight_sets(
    method: SemiSupervisedClassifier, folder: Path, config: dict[str, Any], network: nn.Module
) -> None:
    """Set what `finish_weights` sets, from a saved model; models saved before there were such sets have none."""
    by_file: dict[str, WeightSet] = {}
    method.kept_weights_ = {}
    own = copied_state(network)
    for name, one in config.get("weight_sets", {}).items():
        file = Path(one["file"]).name
        if file not in by_file:
            state = own
            if file != WEIGHTS:
                check_content(folder / file, config["other_weights_sha256"][file])
                state = load_file(folder / file)
                if {key: value.shape for key, value in state.items()} != {key: v.shape for key, v in own.items()}:
                    raise InputError(f"{folder / file} does not fit the model's description")
            accuracy = one["validation_accuracy"]
            by_file[file] = WeightSet(
                state,
                one["step"],
                float("nan") if accuracy is None else float(accuracy),
                float(one["temperature"]),
                np.array(one["conformal_scores"], np.float64),
            )
        method.kept_weights_[name] = by_file[file]
    used = method.kept_weights_.get(getattr(method, "used_weights_", ""))
    method.conformal_scores_ = np.empty(0) if used is None else used.conformal_scores


def _fill(module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    floats = {value.dtype for value in tensors.values() if value.is_floating_point()}
    if floats == {torch.float64}:
        module.double()
    module.load_state_dict(tensors)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: arrays as lists, what it has not, such as a random generator, as null."""
    return plain(value, lambda other: _plain(other.tolist()) if isinstance(other, np.ndarray) else None)
