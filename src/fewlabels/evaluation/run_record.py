"""A finished run on disk, whole: so that a comparison that was stopped goes on without doing it again."""

from __future__ import annotations

import io
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels.evaluation.feature_sample import FeatureSample
from fewlabels.evaluation.pool_sample import PoolSample
from fewlabels.evaluation.run import Mistake, Reconstructions, Run
from fewlabels.evaluation.trust import Trust
from fewlabels.storage.atomic import write_bytes, write_json
from fewlabels.storage.plain import plain

# Records whose arrays stand in the `.npz` as "<field>.<name>", their other values in the `.json`.
_SAMPLES: dict[str, Any] = {"pool_sample": PoolSample, "feature_sample": FeatureSample}
_APART = ("mistakes", "reconstructions", *_SAMPLES)


def write_record(folder: Path, stem: str, run: Run) -> None:
    """Write a run as `STEM.npz` and `STEM.json`; the latter comes last, and says that all is there."""
    arrays: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for field in fields(run):
        value = getattr(run, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif field.name == "trust":
            values[field.name] = None if run.trust is None else plain(run.trust.to_dict())
        elif field.name not in _APART:
            values[field.name] = plain(value)
    values["mistakes"] = [[m.index, m.truth, m.guess, m.confidence] for m in run.mistakes]
    if run.mistakes:
        arrays["mistakes"] = np.stack([mistake.image for mistake in run.mistakes])
    values["reconstructions"] = None
    if run.reconstructions is not None:
        values["reconstructions"] = run.reconstructions.error
        arrays["originals"], arrays["reconstructed"] = run.reconstructions.originals, run.reconstructions.reconstructed
    for name in _SAMPLES:
        values[name], own = _taken_apart(getattr(run, name))
        arrays |= {f"{name}.{part}": value for part, value in own.items()}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    write_bytes(folder / f"{stem}.npz", packed.getvalue())
    write_json(folder / f"{stem}.json", values)


def read_record(path: Path) -> Run | None:
    """Return the run that a `.json` and the `.npz` beside it tell of, None if they are damaged.

    Examples
    --------
    >>> import tempfile
    >>> run = Run("supervised", 10, 0, 1.0, math.nan, 0.5, 0.4, 0.6, 2.5, 100, 10, np.eye(2), np.array([0, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_record(Path(folder), "one", run)
    ...     again = read_record(Path(folder) / "one.json")
    >>> again.test_probabilities.tolist(), again.validation_accuracy
    ([[1.0, 0.0], [0.0, 1.0]], nan)
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as packed:
            arrays = {name: packed[name] for name in packed.files}
        error = values.pop("reconstructions")
        images = arrays.pop("mistakes", [])
        values["mistakes"] = [
            Mistake(index, truth, guess, confidence, image)
            for (index, truth, guess, confidence), image in zip(values["mistakes"], images, strict=True)
        ]
        if error is not None:
            originals, reconstructed = arrays.pop("originals"), arrays.pop("reconstructed")
            values["reconstructions"] = Reconstructions(originals, reconstructed, error)
        for name, kind in _SAMPLES.items():
            if values.get(name) is not None:
                own = {part: arrays.pop(part) for part in list(arrays) if part.startswith(f"{name}.")}
                values[name] = kind(**values[name], **{part.partition(".")[2]: own[part] for part in own})
        if values.get("trust") is not None:
            values["trust"] = Trust.from_dict(values["trust"])
        for row in values.get("weights", ()):
            row["validation_accuracy"] = math.nan if row["validation_accuracy"] is None else row["validation_accuracy"]
        for field in fields(Run):
            # JSON has no NaN.
            if field.type == "float" and values.get(field.name, 0.0) is None:
                values[field.name] = math.nan
        # A newer version may tell more.
        known = {field.name for field in fields(Run)}
        return Run(**{name: value for name, value in {**values, **arrays}.items() if name in known})
    except Exception:  # what is damaged may be wrong in any way
        return None


def _taken_apart(sample: Any) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return a record's plain values, None where there is none, and its arrays."""
    if sample is None:
        return None, {}
    values = {field.name: getattr(sample, field.name) for field in fields(sample)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    return {name: plain(value) for name, value in values.items() if name not in arrays}, arrays
