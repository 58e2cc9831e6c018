"""Classes of image files, as CSV or Parquet."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from fewlabels.data import SkippedImage
from fewlabels.data.listing import Listing
from fewlabels.data.workers import decode_all
from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.storage.atomic import write_bytes
from fewlabels.storage.errors import InputError

_CHUNK = 512


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


def predict_files(
    model: SemiSupervisedClassifier, paths: Sequence[Path], *, strict: bool = False, progress: bool = False
) -> Predictions:
    """Classify image files and all files in folders.

    Parameters
    ----------
    model : SemiSupervisedClassifier
        Fitted on images, or on features of a pretrained net, usually from `fewlabels.load`.
    paths : sequence of Path
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
    shape = model.image_shape_
    if shape is None:
        raise InputError("this model classifies vectors, not image files; use its predict method in Python")
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder {str(path)!r}")
    files = [
        file
        for path in paths
        for file in ([Path(found.path) for found in Listing().files_below(path)] if path.is_dir() else [path])
    ]
    if not files:
        raise InputError(f"{', '.join(map(str, paths))} holds no files")
    height, width, channels = shape

    def read(file: Path) -> NDArray[np.uint8] | str:
        return decode_all([file], size=(height, width), gray=channels == 1)[0]

    names = getattr(model, "class_names_", [str(name) for name in model.classes_])
    kept: list[str] = []
    probabilities: list[NDArray[np.float64]] = []
    skipped: list[SkippedImage] = []
    with ThreadPoolExecutor() as threads, Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("classifying", total=len(files))
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            read_images = list(threads.map(read, chunk))
            good = [image for image in read_images if not isinstance(image, str)]
            for file, result in zip(chunk, read_images, strict=True):
                if isinstance(result, str):
                    if strict:
                        raise InputError(f"{file}: {result}")
                    skipped.append(SkippedImage(str(file), result))
                else:
                    kept.append(str(file))
            if good:
                probabilities.append(model.predict_proba(np.stack(good)))
            bar.advance(task, len(chunk))
    if not kept:
        raise InputError(
            f"none of {len(files)} files is a readable image; the first, {skipped[0].path}: {skipped[0].reason}"
        )
    table = np.concatenate(probabilities)
    return Predictions(tuple(kept), tuple(names[index] for index in table.argmax(1)), table.max(1), tuple(skipped))


def write_predictions(predictions: Predictions, out: Path | None) -> None:
    """Write one row a file: file, class, probability; to a `.csv` or `.parquet` file, or as CSV to the screen."""
    if out is not None and out.suffix.lower() in (".parquet", ".pq"):
        content = io.BytesIO()
        columns = {
            "file": list(predictions.paths),
            "class": list(predictions.classes),
            "probability": predictions.probabilities,
        }
        pq.write_table(pa.table(columns), content)
        write_bytes(out, content.getvalue())
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "class", "probability"))
    for path, name, probability in zip(predictions.paths, predictions.classes, predictions.probabilities, strict=True):
        writer.writerow((path, name, f"{probability:.4f}"))
    if out is None:
        sys.stdout.write(text.getvalue())
    else:
        write_bytes(out, text.getvalue().encode("utf-8", "surrogateescape"))
