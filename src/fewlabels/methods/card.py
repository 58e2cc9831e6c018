"""The model card: what a saved model is, how well it does, what it is for, and where it ends."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewlabels.methods.findings import findings
from fewlabels.nets import BackboneFacts
from fewlabels.storage.visible import visible
from fewlabels.training.intervals import wilson_interval

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier

# A place in the card that names where the model is; `fewlabels push` puts its address on the Hub there.
PLACE = "path/to/this/folder"
# Names by which pretrained nets are models on the Hub too.
_ON_THE_HUB = re.compile(r"(?:hf:([A-Za-z0-9][\w-]*(?:\.[\w-]+)*/[\w-]+(?:\.[\w-]+)*)|timm:([\w-]+\.[\w-]+))")


def card_facts(method: SemiSupervisedClassifier, class_names: list[str]) -> dict[str, Any]:
    """Return what the card tells and the model's description does not hold otherwise, as JSON has it.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Fitted.
    class_names : list of str
        Of its classes.

    Examples
    --------
    >>> from fewlabels import Supervised
    >>> fitted = Supervised(steps=2, random_state=0).fit([[0.0], [0.1], [1.0], [0.9]], [0, 0, 1, 1])
    >>> card_facts(fitted, ["low", "high"])["summary"]
    'A classifier learned from the labeled samples alone.'
    """
    return {
        "summary": summary_of(type(method)),
        "findings": findings(method, [_in_markdown(name) for name in class_names]),
    }


def summary_of(kind: type[SemiSupervisedClassifier]) -> str:
    """Return the first line of what a method says of itself; one of one's own may say nothing.

    Examples
    --------
    >>> from fewlabels import FixMatch
    >>> summary_of(FixMatch)
    'Pseudo-labels from weak views for strong views, where the net is sure.'
    """
    said = (kind.__doc__ or "").strip()
    # A dataclass without a docstring has its signature for one.
    silent = not said or said.startswith(f"{kind.__name__}(")
    return f"A classifier learned by {kind.__name__}." if silent else said.splitlines()[0]


def model_card(config: dict[str, Any]) -> str:
    """Return the text of a card, Markdown with the metadata that the Hugging Face Hub reads.

    Parameters
    ----------
    config : dict
        A model's description, as `config.json` holds it; what it says of measurements stands in the card, and
        nothing else: what was not measured is said to be so.
    """
    facts, records = config["card"], config["records"]
    names = ", ".join(_in_markdown(name) for name in config["class_names"])
    taken = records["stage_steps_"]
    steps = ", ".join(f"{stage}: {n:,}" for stage, n in taken.items())
    steps += " step" if list(taken.values()) == [1] else " steps"
    found = "".join(f"- {line[0].upper()}{line[1:]}\n" for line in facts["findings"])
    settings = "\n".join(f"| {key} | {value} |" for key, value in records["settings_"].items())
    return f"""{_metadata(config)}
# {config["method"]} classifier

{facts["summary"]}

- **Reads**: {_shape(config)}
- **Classes** ({len(config["class_names"])}): {names}
- **Learned from**: {_learned_from(config)}
- **Trained with**: {records["gradient_images_"]:,} gradient samples ({steps})
{found}{_backbone_lines(config)}
## Measured

{_measured(config)}

## Intended use

Put {"images" if _reads_images(config) else "vectors"} like those it learned from into one of its \
{len(config["class_names"])} classes, with a probability and, by `predict_set`, a set of classes that \
holds the true one as often as asked for: to sort, to search, to propose labels that a person looks at.

## Limits

- Every sample gets one of these classes, also one that belongs to none of them.
- The figures above hold for samples from where those they were measured on came from. On samples from elsewhere, \
from another camera or another time, expect less, and measure before you rely on it.
- It learned from few labels: what is rare among them, it knows little of. No part of a population was looked at \
apart unless a figure above says so; do not decide about people by it.
{_size_line(config)}
## Use

```python
import fewlabels

model = fewlabels.load("{PLACE}")
{_use_lines(config)}
```

Loading runs no code of the folder: weights are safetensors, all else is JSON.

## Settings

| setting | value |
|---|---|
{settings}
"""


def checksum(card: str | bytes) -> str:
    """Return what a description keeps of the card that was written, to see whether a person has changed it."""
    content = card.encode("utf-8", "backslashreplace") if isinstance(card, str) else card
    return hashlib.sha256(content).hexdigest()


def measurement(data: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return what a model's description keeps of a measurement on test images.

    Parameters
    ----------
    data : str
        Name of the data set.
    found : dict
        As `fewlabels.evaluation.evaluate_model` returns it.
    """
    return {
        "data": data,
        "test_images": int(found["test_images"]),
        **{name: int(found[name]) for name in ("seen_images", "unknown_images") if found.get(name)},
        "test_accuracy": float(found["test_accuracy"]),
        "test_low": float(found["test_low"]),
        "test_high": float(found["test_high"]),
        "balanced_accuracy": float(found["balanced_accuracy"]),
        "calibration_error": float(found["trust"]["calibration_error"]),
    }


def _metadata(config: dict[str, Any]) -> str:
    """Return the card's head: YAML, its values written as JSON, which YAML reads too."""
    task = "image-classification" if _reads_images(config) else "tabular-classification"
    lines = [
        "library_name: fewlabels",
        f"pipeline_tag: {task}",
        f"tags: {json.dumps(['fewlabels', 'semi-supervised-learning', 'pytorch', config['method']])}",
    ]
    measured = config.get("measured", [])
    if base := _base_model(config):
        lines.append(f"base_model: {json.dumps(base)}")
    if measured:
        lines += ["metrics: [accuracy]", "model-index:", f"- name: {config['method']}", "  results:"]
    for one in measured:
        data = json.dumps(visible(one["data"]), ensure_ascii=False)
        interval = f"{one['test_low']:.4f} to {one['test_high']:.4f}"
        lines += [
            f"  - task: {{type: {task}, name: {task.replace('-', ' ').title()}}}",
            f"    dataset: {{type: {data}, name: {data}, split: test}}",
            "    metrics:",
            f"    - {{type: accuracy, value: {one['test_accuracy']!r}, "
            f'name: "Accuracy on {one["test_images"]} test images (95 % interval {interval})"}}',
        ]
    return "\n".join(["---", *lines, "---", ""])


def _base_model(config: dict[str, Any]) -> str | None:
    """Return the name that a pretrained net has on the Hub, where it has one."""
    net = BackboneFacts.from_dict(config["backbone"]).net if "backbone" in config else ""
    found = _ON_THE_HUB.fullmatch(net)
    if found is None or Path(net.partition(":")[2]).exists():
        return None
    return found[1] or f"timm/{found[2]}"


def _shape(config: dict[str, Any]) -> str:
    shape = config["sample_shape"]
    if len(shape) == 1:
        return f"vectors of {shape[0]:,} numbers"
    height, width, channels = shape
    return (
        f"images of {height} x {width} pixels (height x width), {'color' if channels == 3 else f'{channels} channel'}"
    )


def _reads_images(config: dict[str, Any]) -> bool:
    """Say whether a model classifies images: as they are, or by the features of its pretrained net."""
    return len(config["sample_shape"]) == 3 or "backbone" in config


def _size_line(config: dict[str, Any]) -> str:
    """Return what the card says of the size of images, where the model reads them."""
    if not _reads_images(config):
        return ""
    unseen = "what cannot be seen at that size, it cannot tell apart"
    if len(config["sample_shape"]) == 1:
        return f"- Images are resized to the size that its pretrained net reads; {unseen}.\n"
    height, width = config["sample_shape"][:2]
    return (
        f"- It reads images of {height} x {width} pixels. The command line and the page of `fewlabels serve` resize "
        f"others to these, `model.predict` refuses them; {unseen}.\n"
    )


def _use_lines(config: dict[str, Any]) -> str:
    """Return the calls that classify what the model reads."""
    shape = config["sample_shape"]
    if len(shape) == 3:
        return f"model.predict(images)  # uint8, (n, {shape[0]}, {shape[1]}, {shape[2]})"
    if not _reads_images(config):
        return f"model.predict(vectors)  # (n, {shape[0]})"
    return (
        "model.predict(images)  # uint8, (n, height, width, channels)\n"
        f"model.predict(features)  # of its pretrained net, (n, {shape[0]})"
    )


def _learned_from(config: dict[str, Any]) -> str:
    from fewlabels.methods.registry import METHODS

    records = config["records"]
    if "n_labeled_" not in records:
        return "labeled and unlabeled samples; how many was not kept"
    held_out = f"; {records['n_validation_']:,} more labeled ones were held out" if records["n_validation_"] else ""
    known = METHODS.get((records.get("choice_") or {}).get("method", config["method"]))
    guard = records.get("guard_") or {}
    # Held back, or the result is what the labels alone gave, from the first step on.
    without_pool = not guard.get("accepted", True) and not guard.get("pretrained", False)
    if without_pool or (known is not None and not known._learns_from_pool):
        shared = f" ({records['n_pool_']:,} unlabeled ones say how inputs are scaled)" if records["n_pool_"] else ""
        return f"{records['n_labeled_']:,} labeled samples{shared}{held_out}"
    return f"{records['n_labeled_']:,} labeled and {records['n_pool_']:,} unlabeled samples{held_out}"


def _measured(config: dict[str, Any]) -> str:
    records = config["records"]
    rows = ["| what | on | value | 95 % interval |", "|---|---|---|---|"]
    accuracy, held_out = records.get("validation_accuracy_"), records.get("n_validation_") or 0
    if accuracy is None or not held_out:
        rows.append("| accuracy | held-out labeled samples | not measured: none were held out | |")
    else:
        low, high = wilson_interval(round(accuracy * held_out), held_out)
        # Models of before do not tell.
        lacking = len(records.get("unmeasured_classes_") or [])
        of = f", none of {lacking} of the {len(config['class_names'])} classes" if lacking else ""
        place = f"{held_out:,} held-out labeled samples{of}"
        rows.append(f"| accuracy | {place} | {accuracy:.1%} | {low:.1%} to {high:.1%} |")
    for one in config.get("measured", []):
        place = f"{one['test_images']:,} test images of {_in_markdown(one['data'])}"
        if one.get("seen_images"):
            place += f", {one['seen_images']:,} of which it was fitted on"
        if one.get("unknown_images"):
            place += f", {one['unknown_images']:,} of which are of classes that it has not learned"
        rows += [
            f"| accuracy | {place} | {one['test_accuracy']:.1%} | {one['test_low']:.1%} to {one['test_high']:.1%} |",
            f"| balanced accuracy | {place} | {one['balanced_accuracy']:.1%} | |",
            f"| calibration error | {place} | {one['calibration_error']:.1%} | |",
        ]
    if not config.get("measured"):
        rows.append("| accuracy | test images | not measured | |")
    of_held_out = (
        "The held-out samples come from where the training samples came from, and the probabilities were calibrated "
        "on them; where they chose settings or weights too, their figure is a little too good. "
    )
    note = (
        "Test images are classified after all training. Of several models that were compared on the same test images, "
        "the figure of the best is a little too good."
    )
    return "\n".join([*rows, "", (of_held_out if held_out else "") + note])


def _in_markdown(name: str) -> str:
    """Return a name as Markdown shows it: neither markup nor HTML."""
    return re.sub(r"([\\`*_{}\[\]<>()#|!])", r"\\\1", visible(name))


def _backbone_lines(config: dict[str, Any]) -> str:
    """Return what the card says of the pretrained net, and of what that has seen."""
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
