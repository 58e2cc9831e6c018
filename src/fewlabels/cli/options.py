"""Options that several commands have, and how what was typed is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from fewlabels.cli import completion
from fewlabels.storage.errors import InputError
from fewlabels.storage.hub import is_hub_address
from fewlabels.storage.model_folder import read_description
from fewlabels.storage.wording import VALUES


def model_there(model: Path) -> Path:
    """Return a model's folder, or its address on the Hub; refuse a folder that holds no model."""
    # What reads models does so too, seconds later.
    if not is_hub_address(model):
        read_description(model)
    return model


SOURCE_HELP = (
    "A data set's name (see `fewlabels datasets`), a folder of images (train/CLASS/…, unlabeled/, test/CLASS/…), "
    "a Parquet file or folder in the Hugging Face layout, or an .npz file."
)
Source = Annotated[str, typer.Argument(help=SOURCE_HELP, show_default=True, autocompletion=completion.source)]
Model = Annotated[
    Path,
    typer.Argument(
        help="A model folder that `fit` or `compare` wrote.", callback=model_there, autocompletion=completion.model
    ),
]
Steps = Annotated[int | None, typer.Option(help="Optimizer steps of each training.", rich_help_panel="Length (one of)")]
Epochs = Annotated[
    float | None,
    typer.Option(help="Passes over the labeled images instead.", rich_help_panel="Length (one of)"),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="Time for each method instead: 90s, 2m, 1h30m; or gradient images: 500k images.",
        rich_help_panel="Length (one of)",
    ),
]
Preset = Annotated[
    str,
    typer.Option(
        help="`auto`: a method's settings for minutes, where it has some; `default`: its paper's, for days; "
        "`notebook`: the nets and training that the project began with, mended.",
        autocompletion=completion.words("auto", "default", "notebook"),
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Resize images to this many pixels a side. Without it: their own size up to 64 px, else 32. "
        "Twice the size is four times the work."
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="A CSV file with the columns file and class: labels given by hand, which join those that the source has, "
        "or are all that there are where images lie in no class folders (see `fewlabels label`)."
    ),
]
TestPerClass = Annotated[int | None, typer.Option(help="Test on the first so many images of each class.")]
Fold = Annotated[int | None, typer.Option(help="stl10 only: one of its ten official folds, 0 to 9.")]
Pool = Annotated[
    str | None,
    typer.Option(
        help="More pool images, read as they are needed: Parquet files or WebDataset archives; a file, folder or "
        "pattern, or an address such as s3://bucket/pool/*.tar."
    ),
]
PoolLimit = Annotated[
    str | None, typer.Option(help="What decoded images of that pool may take on the disk; 2GB when not given.")
]


def beside_the_file(
    context: typer.Context, parameter: typer.CallbackParam, pairs: list[str] | None
) -> list[str] | None:
    """Return the NAME=VALUE of `fewlabels.toml` with what was typed behind it, which wins name by name."""
    name = str(parameter.name)
    source = context.get_parameter_source(name)
    if source is None or source.name != "COMMANDLINE":
        return pairs
    return [*(context.lookup_default(name) or []), *(pairs or [])]


Strict = Annotated[bool, typer.Option("--strict", help="Stop at an unreadable image instead of leaving it out.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Another setting of the method (see `fewlabels methods`).",
        callback=beside_the_file,
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on where the same command was stopped; from the beginning if it was not."),
]
CheckpointEvery = Annotated[float, typer.Option(help="Seconds between checkpoints of a training.", min=0)]
Net = Annotated[
    str | None,
    typer.Option(
        help="A pretrained net: hf:NAME_OR_FOLDER (Hugging Face transformers), timm:NAME, model:FOLDER (a model of "
        "yours, without its head), or python:FILE_OR_MODULE:FUNCTION.",
        autocompletion=completion.one_of("nets.registry", "NETS", "hf:", "timm:", "model:", "python:"),
    ),
]
# The largest that scikit-learn takes.
_LARGEST_SEED = 2**32 - 1
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only results, warnings and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on standard output.")]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="NAME",
        help="Tell a tracker of the training: tensorboard, mlflow; repeatable.",
        autocompletion=completion.one_of("tracking.tracked", "TRACKERS"),
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Of the model on the Hub: a branch, tag or commit; the main branch when not given.")
]


def new_seed(help_text: str) -> Any:
    """Return the option for a seed."""
    return typer.Option(help=help_text, min=0, max=_LARGEST_SEED)


def split(text: str) -> list[str]:
    """Return what stands between the commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def whole(text: str) -> int:
    """Return a number of labels a class as typed; InputError where it is none."""
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--labels-per-class {text!r} is not a whole number of at least 1; several go as 10,50,500")
    return int(text)


def parse_settings(pairs: list[str] | None, option: str = "--set") -> dict[str, Any]:
    """Return the settings that an option was given as NAME=VALUE, values read as JSON where they are."""
    settings = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"{option} {pair!r} is not NAME=VALUE")
        try:
            value = VALUES[text.lower()] if text.lower() in VALUES else json.loads(text)
        except ValueError:
            # JSON has no numbers like .1
            value = float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text.lower()) else text
        if isinstance(value, float) and value.is_integer():  # 1e2, where a whole number is meant
            value = int(value)
        settings[name.strip().replace("-", "_")] = value
    return settings
