"""Classes of image files, as CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fewlabels.data import SkippedImage
from fewlabels.data.files import files_in, image_chunks
from fewlabels.data.heading import TABLE_SUFFIXES, heading_of
from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.storage.arguments import check_kind
from fewlabels.storage.atomic import check_beside, write_bytes
from fewlabels.storage.cells import table
from fewlabels.storage.csv_quoting import quoting_for
from fewlabels.storage.errors import InputError
from fewlabels.storage.frames import new_frame
from fewlabels.storage.screen import standard_output
from fewlabels.storage.visible import encodable, visible

_COLUMNS = ("file", "class", "probability")


@dataclass(frozen=True)
class Predictions:
    """Classes of image files.

    Attributes
    ----------
    paths : tuple of str
        The files, in order.
    classes : tuple of str
        The most probable class of each.
    probabilities : ndarray of shape (n,)
        Its calibrated probability.
    skipped : tuple of SkippedImage
        Files that could not be read.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    skipped: tuple[SkippedImage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it: `predictions`, one a file, and what was `skipped`."""
        rows = zip(self.paths, self.classes, self.probabilities.tolist(), strict=True)
        return {
            "predictions": [{"file": file, "class": name, "probability": share} for file, name, share in rows],
            "skipped": [{"file": one.path, "reason": one.reason} for one in self.skipped],
        }

    def _repr_html_(self) -> str:
        return table(self.to_dict()["predictions"])

    def to_frame(self) -> Any:
        """Return one row a file as a pandas DataFrame: `file`, `class`, `probability`.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        return new_frame(self.to_dict()["predictions"])


def predict_files(
    model: SemiSupervisedClassifier,
    paths: str | Path | Sequence[str | Path],
    *,
    strict: bool = False,
    progress: bool = False,
) -> Predictions:
    """Classify image files and all files in folders.

    Parameters
    ----------
    model : SemiSupervisedClassifier
        Fitted on images, or on features of a pretrained net, usually from `fewlabels.load`.
    paths : str, Path or sequence of these
        Files and folders.
    strict : bool
        Refuse unreadable files rather than leave them out.
    progress : bool
        Show a progress bar.

    Raises
    ------
    InputError
        If a path is missing, no file is readable, or the model reads vectors.
    """
    check_kind("model", model, SemiSupervisedClassifier, "a fitted method; read a saved one by fewlabels.load")
    shape = model.image_shape_
    if shape is None:
        raise InputError("this model classifies vectors, not image files; use its predict method in Python")
    given = [paths] if isinstance(paths, str | Path) else paths
    names = getattr(model, "class_names_", [str(name) for name in model.classes_])
    kept: list[str] = []
    classes: list[str] = []
    shares: list[NDArray[np.float64]] = []
    skipped: list[SkippedImage] = []
    for chunk in image_chunks(files_in([Path(path) for path in given]), shape, strict=strict, progress=progress):
        kept += chunk.paths
        skipped += chunk.skipped
        if len(chunk.images):
            probabilities = model.predict_proba(chunk.images)
            classes += [names[index] for index in probabilities.argmax(1)]
            shares.append(probabilities.max(1))
    return Predictions(tuple(kept), tuple(classes), np.concatenate(shares), tuple(skipped))


def check_place(out: Path) -> None:
    """Refuse a file that predictions cannot be written to, or that holds something else, such as labels.

    Raises
    ------
    InputError
        With what to give instead.
    """
    if out.suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(f"--out {out} is neither .csv nor .parquet")
    if heading_of(out) not in (None, list(_COLUMNS)):
        raise InputError(f"{out} is no table that `fewlabels predict` wrote, and would be lost; give another --out")
    # A pipe is written to as it is.
    if out.is_file() or not out.exists():
        check_beside(out)


def write_predictions(predictions: Predictions, out: Path | None) -> None:
    """Write one row a file: file, class, probability; to a `.csv` or `.parquet` file, or as CSV to the screen."""
    if out is not None and out.suffix.lower() in (".parquet", ".pq"):
        content = io.BytesIO()
        columns = {
            "file": [encodable(path) for path in predictions.paths],
            "class": [encodable(name) for name in predictions.classes],
            "probability": predictions.probabilities,
        }
        pq.write_table(pa.table(columns), content)
        write_bytes(out, content.getvalue())
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=quoting_for([*predictions.paths, *predictions.classes]))
    writer.writerow(_COLUMNS)
    for path, name, probability in zip(predictions.paths, predictions.classes, predictions.probabilities, strict=True):
        writer.writerow((path, name, f"{probability:.4f}"))
    if out is None:
        # What a program reads is left as it is; a terminal would obey what is hidden in a name.
        screen = standard_output()
        screen.write(visible(text.getvalue(), keep="\n") if screen.isatty() else text.getvalue())
    else:
        write_bytes(out, text.getvalue().encode("utf-8", "surrogateescape"))
