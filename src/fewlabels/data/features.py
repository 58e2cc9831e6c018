"""Features of a source's images in a folder: written once, a chunk at a time, and read as any other source."""

from __future__ import annotations

import functools
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data.dataset import SkippedImage
from fewlabels.data.moved import found_again
from fewlabels.data.parts import Part, Parts
from fewlabels.data.rows import FeatureRows
from fewlabels.storage.atomic import write_bytes, write_json
from fewlabels.storage.errors import InputError
from fewlabels.storage.lock import LOCK_NAME, FolderLock
from fewlabels.storage.mapped import new_mapped_array

FORMAT_VERSION = 1
_FEATURES, _LABELS, _DESCRIPTION, _PROGRESS = "features.npy", "labels.npy", "features.json", "progress.json"
# What a plan says of the views.
_OF_VIEWS = ("views", "further_views")
# Rows between two notes of how far the writing has come.
_NOTED = 1024
# Images by which a net is known again, and how far off their features may be: another device rounds otherwise.
_PROBED, _ROUNDING = 4, 0.02


def is_feature_folder(folder: Path) -> bool:
    """Say whether a folder holds features, whole or begun."""
    return folder.is_dir() and ((folder / _DESCRIPTION).exists() or _is_begun(folder))


def _is_begun(folder: Path) -> bool:
    """Say whether features are being written, or were; other programs have files of that name."""
    try:
        return "plan" in json.loads((folder / _PROGRESS).read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def write_features(
    folder: Path,
    parts: Parts,
    backbone: dict[str, Any],
    embed: Callable[[Part, int], Iterator[NDArray[np.float32]]],
    *,
    probe: Callable[[int], NDArray[np.float32]],
    views: int = 1,
    plan: dict[str, Any],
    overwrite: bool = False,
) -> bool:
    """Write the features of all images of a source, going on where an earlier writing was stopped.

    Parameters
    ----------
    folder : Path
        Is made where it is missing.
    parts : Parts
        The source's images.
    backbone : dict
        What makes the features; `feature_size` is their length.
    embed : callable
        Maps a part and the number of its first row to go on from to its features from there on, some rows at a time:
        float32, (rows, views * feature_size).
    probe : callable
        Returns the features, of the plain view alone, that the net gives now of the first so many images: those that
        are there must be the same.
    views : int
        Views of each image, at least 1.
    plan : dict
        What the features depend on, as JSON has it: a folder that was begun with another plan is not gone on with.
    overwrite : bool
        Replace features of another plan.

    Returns
    -------
    bool
        False where all was there already; labels and names are written anew where the source has others now.

    Raises
    ------
    InputError
        If the folder holds something else or what the net does not give any more, or another process writes there.
    """
    pieces = list(parts.present.values())
    counts = [len(piece.labels) for piece in pieces]
    plan = {"format_version": FORMAT_VERSION, "rows": counts, "views": views, **plan}
    shape = (sum(counts), views * int(backbone["feature_size"]))
    labels = _npy(np.concatenate([piece.labels for piece in pieces]))
    description = {**_description(parts, plan, views, backbone), "saved_in": str(folder.resolve())}
    # Looked at before there is a lock, and again with it.
    given_now = functools.cache(probe)
    if _done(folder, plan, given_now, overwrite)[1] and _says(folder, labels, description):
        return False
    was_there = folder.exists()
    with FolderLock(folder):
        done, whole = _done(folder, plan, given_now, overwrite)
        # Another process may have written them just now.
        if whole:
            _tell(folder, labels, description)
            return False
        if done == 0:
            try:
                _begin(folder, shape, plan)
            except OSError:
                if not was_there:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
        _go_on(folder, pieces, embed, plan, done)
        _tell(folder, labels, description)
        (folder / _PROGRESS).unlink()
    return True


def are_unfinished(folder: Path) -> bool:
    """Say whether a folder holds features that `write_features` has begun to write, and goes on with."""
    return (folder / _PROGRESS).exists()


def _description(parts: Parts, plan: dict[str, Any], views: int, backbone: dict[str, Any]) -> dict[str, Any]:
    """Return all that is kept of a source beside features and labels, as JSON has it."""
    bounds = np.cumsum([0, *plan["rows"]]).tolist()
    return {
        "plan": plan,
        "name": parts.name,
        "class_names": list(parts.class_names),
        "parts": {name: bounds[number : number + 2] for number, name in enumerate(parts.present)},
        "files": {name: piece.names and list(piece.names) for name, piece in parts.present.items()},
        "views": views,
        "backbone": backbone,
        "skipped": [[image.path, image.reason] for image in parts.skipped],
        "notes": list(parts.notes),
        "content_key": parts.content_key,
        "images_in": parts.images_in,
        "folders_tell": parts.folders_tell,
        "default_labels_per_class": parts.default_labels_per_class,
        "labeled_rows": None if parts.labeled_rows is None else parts.labeled_rows.tolist(),
    }


def _tell(folder: Path, labels: bytes, description: dict[str, Any]) -> None:
    write_bytes(folder / _LABELS, labels)
    write_json(folder / _DESCRIPTION, description)


def _says(folder: Path, labels: bytes, description: dict[str, Any]) -> bool:
    """Say whether a whole folder has these labels and names: those of the same images may have been corrected."""
    try:
        kept = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        return (folder / _LABELS).read_bytes() == labels and kept == json.loads(json.dumps(description))
    except (OSError, ValueError):
        return False


def _npy(values: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def _begin(folder: Path, shape: tuple[int, int], plan: dict[str, Any]) -> None:
    """Make room for all features, in place of those of another plan."""
    for name in (_DESCRIPTION, _PROGRESS):
        (folder / name).unlink(missing_ok=True)
    try:
        # First whose folder it is: a process that is killed here leaves nothing that the next would not touch.
        write_json(folder / _PROGRESS, {"plan": plan, "done": 0})
        new_mapped_array(folder / _FEATURES, shape, np.float32).flush()
    except OSError:
        # A file that was not begun rightly could not be gone on with.
        for name in (_PROGRESS, _FEATURES):
            (folder / name).unlink(missing_ok=True)
        raise


def _go_on(
    folder: Path,
    pieces: list[Part],
    embed: Callable[[Part, int], Iterator[NDArray[np.float32]]],
    plan: dict[str, Any],
    done: int,
) -> None:
    """Write the features of all rows from one on, and note now and then how far it has come."""
    features = np.load(folder / _FEATURES, mmap_mode="r+", allow_pickle=False)
    noted = done
    start = 0
    for piece in pieces:
        stop = start + len(piece.labels)
        if done < stop:
            for rows in embed(piece, done - start):
                features[done : done + len(rows)] = rows
                done += len(rows)
                if done - noted >= _NOTED:
                    features.flush()
                    write_json(folder / _PROGRESS, {"plan": plan, "done": done})
                    noted = done
        start = stop
    features.flush()


def _done(
    folder: Path, plan: dict[str, Any], probe: Callable[[int], NDArray[np.float32]], overwrite: bool
) -> tuple[int, bool]:
    """Return how many rows of the plan a folder holds, and whether it is whole."""
    if not folder.exists():
        return 0, False
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; give the name of a folder for the features")
    for name in (_DESCRIPTION, _PROGRESS):
        if not (folder / name).exists():
            continue
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))
        except ValueError:
            found = {}
        if found.get("plan") == plan:
            done, whole = int(found.get("done", 0)), name == _DESCRIPTION
            if not (folder / _FEATURES).exists():
                return 0, False
            # The probe looks at images of the first part alone.
            first = plan["rows"][0]
            if _are_given(folder, first if whole else min(done, first), probe):
                return done, whole
            if not overwrite:
                raise InputError(
                    f"{folder} holds features that the net does not give any more: its code or its normalization has "
                    "changed; give another folder, or --overwrite"
                )
        if not overwrite:
            others, kept = "other images or another net", found.get("plan")
            if isinstance(kept, dict) and kept | {name: plan.get(name) for name in _OF_VIEWS} == plan:
                others = f"other views of these images ({kept.get('views')} of each)"
            raise InputError(f"{folder} holds features of {others}; give another folder, or --overwrite")
        return 0, False
    # The lock may be that of a process that was killed.
    if any(path.name != LOCK_NAME for path in folder.iterdir()):
        raise InputError(f"{folder} holds other files and no features; give a new or empty folder")
    return 0, False


def _are_given(folder: Path, count: int, probe: Callable[[int], NDArray[np.float32]]) -> bool:
    """Say whether a net gives the features that a folder has so many of: equal weights alone do not tell."""
    count = min(count, _PROBED)
    if count == 0:
        return True
    try:
        kept = np.array(np.load(folder / _FEATURES, mmap_mode="r", allow_pickle=False)[:count])
    except (FileNotFoundError, ValueError):
        return False
    now = probe(count)
    apart = np.linalg.norm(kept[:, : now.shape[1]] - now, axis=1)
    return bool((apart <= _ROUNDING * np.linalg.norm(now, axis=1)).all())


def _with_size(backbone: dict[str, Any], image_shape: list[int] | None) -> dict[str, Any]:
    """Return a backbone's facts with the side that images were read at, where it is known and not its own."""
    if image_shape is None:
        return backbone
    height, width, _ = image_shape
    own = height != width or height == backbone["size"]
    return backbone if own else {**backbone, "read_at": height}


def _images_in(folder: Path, facts: dict[str, Any]) -> str | None:
    """Return the folder of the images that features are of, which may have been moved with them."""
    if facts.get("images_in") is None or "saved_in" not in facts:
        return facts.get("images_in")
    return found_again(facts["images_in"], Path(facts["saved_in"]), folder.resolve())


def read_feature_folder(folder: Path) -> Parts:
    """Return the parts of a source whose features `write_features` wrote, memory-mapped.

    Raises
    ------
    InputError
        If the writing was not finished, or a file is missing or damaged.
    """
    if not (folder / _DESCRIPTION).exists():
        raise InputError(f"the features in {folder} are not finished; run the same `fewlabels embed` again to go on")
    try:
        facts = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        if facts["plan"]["format_version"] > FORMAT_VERSION:
            raise InputError(f"{folder} was written by a newer fewlabels; upgrade fewlabels to read it")
        array = np.load(folder / _FEATURES, mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / _LABELS, allow_pickle=False)
        views, files = int(facts["views"]), facts["files"]
        backbone = _with_size(facts["backbone"], facts["plan"].get("image_shape"))
        made = {}
        for name, (start, stop) in facts["parts"].items():
            rows = FeatureRows(array, np.arange(start, stop), views, backbone)
            made[name] = Part(rows, labels[start:stop], None if files[name] is None else tuple(files[name]))
        if len(array) != len(labels):
            raise InputError(f"{folder} is damaged: {len(array)} features and {len(labels)} labels")
        chosen = facts["labeled_rows"]
        return Parts.of(
            made,
            name=facts["name"],
            class_names=tuple(facts["class_names"]),
            skipped=tuple(SkippedImage(path, reason) for path, reason in facts["skipped"]),
            notes=tuple(facts["notes"]),
            content_key=f"{facts['content_key']} {facts['backbone']['weights']} {views}",
            default_labels_per_class=facts["default_labels_per_class"],
            labeled_rows=None if chosen is None else np.array(chosen, np.int64),
            backbone=backbone,
            images_in=_images_in(folder, facts),
            # Those of before do not tell.
            folders_tell=bool(facts.get("folders_tell", facts.get("images_in") is not None)),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder} is damaged and cannot be read as features: {error}") from error
