"""A model for other programs: from stored images to calibrated probabilities in one graph, as ONNX or torch.export."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.storage.arguments import check_kind
from fewlabels.storage.atomic import located, write_bytes
from fewlabels.storage.errors import InputError, nearest
from fewlabels.storage.visible import encodable
from fewlabels.storage.wording import first_line

FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
# The newest that both PyTorch writes without conversion and the runtimes of the last years read.
_OPSET = 18


class Deployed(nn.Module):
    """A fitted method as one module: what `predict_proba` does, scaling and normalization included.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Fitted; its net is copied, to the CPU and float32.

    Examples
    --------
    >>> from fewlabels import Supervised, load_dataset
    >>> data = load_dataset("digits")
    >>> method = Supervised(steps=10, random_state=0).fit(data.labeled, data.labels)
    >>> found = Deployed(method)(torch.from_numpy(data.test[:5]))
    >>> tuple(found.shape), bool(torch.allclose(found.sum(1), torch.ones(5)))
    ((5, 10), True)
    """

    def __init__(self, method: SemiSupervisedClassifier) -> None:
        super().__init__()
        self.network = copy.deepcopy(method.network_).cpu().float().eval().requires_grad_(False)
        self.is_image = len(method.sample_shape_) == 3
        self.mirrors = bool(method.mirrors_)

    def forward(self, samples: Tensor) -> Tensor:
        """Return probabilities, float32 (batch, classes).

        Parameters
        ----------
        samples : Tensor
            uint8 images (batch, height, width, channels), or float32 vectors (batch, features).
        """
        inputs = samples.permute(0, 3, 1, 2).to(torch.float32) / 255 if self.is_image else samples
        logits = self.network(inputs)
        if self.mirrors:
            logits = (logits + self.network(inputs.flip(3))) / 2
        return torch.softmax(logits / self.network.temperature, dim=1)


def export_model(
    method: SemiSupervisedClassifier, path: str | Path, *, format: str | None = None, class_names: Any = None
) -> Path:
    """Write a fitted method as one file that other programs run.

    The graph takes `samples`: uint8 images (batch, height, width, channels) of the size that the method was trained
    on, or float32 vectors, any number at a time; and gives `probabilities`, float32 (batch, classes), as
    `predict_proba` does. What the classes are called, and the size of the images, is in the file's metadata.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Fitted or loaded.
    path : str or Path
        The file to write.
    format : {"onnx", "torch"}, optional
        ONNX, or a program of `torch.export`; after the ending of the file, `.onnx` or `.pt2`, when not given.
    class_names : sequence of str, optional
        In the order of `classes_`; those of the saved model, or the classes themselves, when not given.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the format is unknown, what it needs is not installed, the model has a frozen pretrained net before it, or
        PyTorch cannot write its net as one graph.
    """
    check_kind("method", method, SemiSupervisedClassifier, "a fitted method; read a saved one by fewlabels.load")
    check_is_fitted(method)
    target = Path(path)
    chosen = _format(target, format)
    names: Any = getattr(method, "class_names_", method.classes_) if class_names is None else class_names
    if len(names) != len(method.classes_):
        raise InputError(f"{len(names)} class names are given for {len(method.classes_)} classes; give one for each")
    facts = {
        "classes": json.dumps([encodable(str(name)) for name in names], ensure_ascii=False),
        "sample_shape": json.dumps([int(size) for size in method.sample_shape_]),
        "program": "fewlabels",
    }
    if method._backbone_place == "beside":
        raise InputError(
            "this model reads features of a frozen pretrained net, which are not exported with it; export a model that "
            "was trained on the images themselves"
        )
    if method._backbone_place == "reference":
        made_by = method.backbone_facts_
        of = {name: getattr(made_by, name) for name in ("net", "weights", "size", "mean", "std")}
        facts["features_of"] = json.dumps(of, ensure_ascii=False)
    module = Deployed(method)
    # Two samples: a batch of one would be taken for a batch of always one.
    kind = torch.uint8 if module.is_image else torch.float32
    example = torch.zeros((2, *method.sample_shape_), dtype=kind)
    try:
        with _quiet():
            content = _onnx(module, example, facts) if chosen == "onnx" else _program(module, example, facts)
    except (InputError, OSError):
        raise
    except Exception as error:  # PyTorch's own of many kinds, and what the net raises
        raise InputError(
            f"PyTorch cannot write this net as one graph: {first_line(error.__cause__ or error)}; what its forward "
            "does may not depend on the values of its images (torch.where takes the place of an if)"
        ) from error
    write_bytes(target, content)
    return target


def _format(path: Path, given: str | None) -> str:
    named = next((name for name, ending in FORMATS.items() if ending == path.suffix.lower()), None)
    if given is None:
        if named is None:
            raise InputError(f"{path} ends in neither {' nor '.join(FORMATS.values())}; give format= or another name")
        return named
    if given not in FORMATS:
        raise InputError(f"unknown format {given!r}{nearest(given, FORMATS)} (known: {', '.join(FORMATS)})")
    if named not in (None, given):
        raise InputError(
            f"{path.name} is what a file of the format {named!r} is called; give that, or {path.stem}{FORMATS[given]}"
        )
    return given


def onnx_is_translated(version: str = torch.__version__) -> bool:
    """Say whether a version of PyTorch translates to ONNX what is exported here.

    Examples
    --------
    >>> onnx_is_translated("2.6.0+cpu"), onnx_is_translated("2.13.0")
    (False, True)
    """
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= (2, 8)


def _onnx(module: Deployed, example: Tensor, facts: dict[str, str]) -> bytes:
    try:
        import onnx
        import onnxscript  # noqa: F401  what PyTorch translates with
    except ImportError as error:
        raise InputError("ONNX needs two more packages; install them with: pip install 'fewlabels[export]'") from error
    if not onnx_is_translated():
        raise InputError(
            f"PyTorch {torch.__version__} cannot translate this net to ONNX, 2.8 and newer can: "
            "pip install 'fewlabels[export]'; or write a .pt2 file"
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                module,
                (example,),
                str(file),
                input_names=["samples"],
                output_names=["probabilities"],
                dynamic_shapes=_any_number(),
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except OSError as error:
            # Of a disk that is full, its place is not told.
            if error.filename is None:
                raise located(error, file) from error
            raise
        model = onnx.load(str(file))
    for name, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _any_number() -> dict[str, Any]:
    # PyTorch 2.6 cannot show of an endless range that it leaves out the largest number of all, and refuses.
    return {"samples": {0: torch.export.Dim("batch", max=1 << 31)}}


def _program(module: Deployed, example: Tensor, facts: dict[str, str]) -> bytes:
    content = io.BytesIO()
    program = torch.export.export(module, (example,), dynamic_shapes=_any_number())
    torch.export.save(program, content, extra_files=dict(facts))
    return content.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what PyTorch says of its own translation: nobody who exports a model can act on it."""
    level, said = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
