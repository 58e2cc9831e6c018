"""Which labels are given, which join the pool."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data.dataset import Diagnostics, ImageDataset, ImageNames
from fewlabels.data.given import FoundLabels, find_labels, kept_apart_error
from fewlabels.data.labels_file import GivenLabels
from fewlabels.data.parts import Part, Parts, notes_of_classes
from fewlabels.storage.arguments import check_count
from fewlabels.storage.errors import InputError
from fewlabels.storage.wording import counted

_TEST_SHARE = 0.2


def split_parts(
    parts: Parts,
    source: str,
    *,
    labels_per_class: int | None,
    test_per_class: int | None,
    random_state: int,
    given: GivenLabels | None,
    origin: dict[str, Any] | None,
) -> ImageDataset:
    """Return a source's parts as labeled images, pool and test images; see `load_dataset` for the parameters.

    Raises
    ------
    InputError
        If there is nothing to test on, or not enough to learn from.
    """
    notes = [*parts.notes, *notes_of_classes(parts.class_names)]
    test, held_out = _test_part(parts, source, test_per_class, notes)
    validation = None if parts.validation is None else _with_labels(parts.validation, "validation", notes)
    # Everything below counts rows as `train` does, whatever is held out of it.
    labels = parts.train.labels.copy()
    labels[held_out] = -1
    per_class = parts.default_labels_per_class if labels_per_class is None else labels_per_class
    if parts.labeled_rows is not None:
        if labels_per_class is not None:
            raise InputError("fold and labels_per_class both choose the labels; give one of them")
        drawn = np.setdiff1d(parts.labeled_rows, held_out)
    elif per_class is None:
        drawn = np.flatnonzero(labels >= 0)
    else:
        drawn = draw_labeled(labels, per_class, parts.class_names, random_state)

    pieces = {**parts.to_learn_from, "train": replace(parts.train, labels=labels)}
    labeled = {part: np.empty(0, np.int64) for part in pieces} | {"train": drawn}
    by_hand = 0
    if given is not None:
        found = _labels_by_hand(parts, given, source, held_out)
        notes += found.notes
        by_hand = found.count
        for part, told in found.told.items():
            pieces[part] = pieces[part].relabeled(told)
            labeled[part] = np.union1d(labeled[part], np.flatnonzero(told >= 0))
    pool = {part: np.setdiff1d(np.arange(len(piece.labels)), labeled[part]) for part, piece in pieces.items()}
    pool["train"] = np.setdiff1d(pool["train"], held_out)
    data = _dataset(parts, source, pieces, labeled, pool, test)
    if len(np.unique(data.labels)) < 2:
        raise InputError(f"{source} has labels of fewer than 2 classes; a classifier needs at least 2 classes")
    if validation is not None and len(validation.labels):
        known = replace(data.diagnostics, validation_names=validation.names)
        data = replace(data, validation=validation.images, validation_labels=validation.labels, diagnostics=known)
    return replace(
        data,
        notes=tuple(notes),
        labels_per_class=None if parts.labeled_rows is not None else per_class,
        origin=origin,
        labels_tell=parts.labels_tell,
        labels_given=by_hand,
    )


def without_test(parts: Parts, source: str, given: GivenLabels | None) -> ImageDataset:
    """Return a source's parts as labeled images and pool, see `load_unlabeled`.

    Raises
    ------
    InputError
        If no image is without a label, or a labels file cannot be used.
    """
    pieces = parts.to_learn_from
    names, notes, by_hand = parts.class_names, list(parts.notes), 0
    # A table that nothing is filled in yet tells nothing; labels that tell the classes are in the parts already.
    if given is not None and given.classes:
        found = find_labels(parts, given, source)
        notes += found.notes
        by_hand = found.count
        pieces = {part: piece.relabeled(found.told[part]) for part, piece in pieces.items()}
    elif parts.folders_tell and all((piece.labels >= 0).all() for piece in pieces.values()):
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        notes.append(
            f"every image lies in a folder ({shown}), and none in unlabeled/: the folders are taken as no classes"
        )
        names = ()
        pieces = {part: replace(piece, labels=np.full_like(piece.labels, -1)) for part, piece in pieces.items()}
    nothing = np.empty(0, np.int64)
    data = _dataset(
        parts,
        source,
        pieces,
        {part: np.flatnonzero(piece.labels >= 0) for part, piece in pieces.items()},
        {part: np.flatnonzero(piece.labels < 0) for part, piece in pieces.items()},
        Part(parts.train.images.take(nothing), nothing),
    )
    if not len(data.pool):
        raise InputError(f"{source} has no images without a label: there is nothing to ask for")
    return replace(data, class_names=names, notes=tuple(notes), labels_given=by_hand)


def _dataset(
    parts: Parts,
    source: str,
    pieces: dict[str, Part],
    labeled: dict[str, NDArray[np.int64]],
    pool: dict[str, NDArray[np.int64]],
    test: Part,
) -> ImageDataset:
    """Return pieces of a source as labeled images and pool, by the rows of each, with what its reader knows of it."""
    known = unknown = parts.train.take(np.empty(0, np.int64))
    names = []
    for part, piece in pieces.items():
        known = known.joined(piece.take(labeled[part]))
        rest = piece.take(pool[part])
        unknown = unknown.joined(rest)
        names.append((part, pool[part], rest.names))
    return ImageDataset(
        name=parts.name,
        source=source,
        class_names=parts.class_names,
        labeled=known.images,
        labels=known.labels,
        pool=unknown.images,
        test=test.images,
        test_labels=test.labels,
        diagnostics=Diagnostics(
            pool_labels=unknown.labels, labeled_names=known.names, pool_names=unknown.names, test_names=test.names
        ),
        skipped=parts.skipped,
        content_key=parts.content_key,
        backbone=parts.backbone,
        pool_names=ImageNames(names),
    )


def _test_part(parts: Parts, source: str, per_class: int | None, notes: list[str]) -> tuple[Part, NDArray[np.int64]]:
    """Return the images to test with, and the rows of `train` that are held out for it; take note of what was done."""
    train, held_out = parts.train, np.empty(0, np.int64)
    if parts.test is None or not (parts.test.labels >= 0).any():
        held_out = hold_out_test(train.labels, train.names)
        if not len(held_out):
            raise InputError(
                f"{source} has no test part, and of one labeled image a class none can be held out for it; label "
                "two of a class at least"
            )
        why = "there is no test part" if parts.test is None else "the images of the test part have no labels"
        share = len(held_out) / (train.labels >= 0).sum()
        verb = "was" if len(held_out) == 1 else "were"
        notes.append(f"{why}, so {counted(len(held_out), 'labeled image')} ({share:.0%}) {verb} held out for it")
        test = train.take(held_out)
    else:
        test = _with_labels(parts.test, "test", notes)
    if per_class is not None:
        chosen = first_of_each_class(test.labels, per_class)
        least = int(np.bincount(test.labels, minlength=len(parts.class_names)).min())
        if least < per_class:
            notes.append(f"some class has only {counted(least, 'test image')}, fewer than the {per_class:,} asked for")
        test = test.take(chosen)
    return test, held_out


def _labels_by_hand(parts: Parts, given: GivenLabels, source: str, held_out: NDArray[np.int64]) -> FoundLabels:
    """Return the labels that are given to images to learn from; refuse others than their own of those held out."""
    found = find_labels(parts, given, source)
    train, told = parts.train, found.told["train"]
    other = held_out[(told[held_out] >= 0) & (told[held_out] != train.labels[held_out])]
    if len(other):
        row = int(other[0])
        called = ImageNames([("train", np.arange(len(train.labels)), train.names)])[row]
        more = f" (and to {len(other) - 1:,} more)" if len(other) > 1 else ""
        name = parts.class_names[train.labels[row]]
        raise kept_apart_error(given, called, f"was held out of {source} to test with as one of {name!r}{more}")
    # One that agrees says nothing new, and the image stays one to test with.
    told[held_out] = -1
    return found


def _with_labels(part: Part, name: str, notes: list[str]) -> Part:
    """Return the images of a part that have a label, and take note of the others."""
    known = np.flatnonzero(part.labels >= 0)
    if unknown := len(part.labels) - len(known):
        verb = "has" if unknown == 1 else "have"
        notes.append(f"left out {counted(unknown, f'{name} image')} that {verb} no label")
    return part.take(known)


def draw_labeled(
    labels: NDArray[np.int64], per_class: int, class_names: tuple[str, ...], random_state: int
) -> NDArray[np.int64]:
    """Return the rows whose labels are given: `per_class` of each class, sorted.

    With `random_state` 0 the first of each class, else a random draw; for one `random_state` a smaller draw is
    part of every larger one.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Class indices, -1 for none.
    per_class : int
        How many of each class, at least 1.
    class_names : tuple of str
        For the error message.
    random_state : int
        The draw, at least 0.

    Raises
    ------
    InputError
        If a class has fewer.

    Examples
    --------
    >>> draw_labeled(np.array([0, 1, 1, 0]), 1, ("a", "b"), random_state=0)
    array([0, 1])
    """
    check_count("labels_per_class", per_class)
    check_count("random_state", random_state, 0)
    drawn = []
    for index, name in enumerate(class_names):
        rows = np.flatnonzero(labels == index)
        if len(rows) < per_class:
            raise InputError(
                f"class {name!r} has {counted(len(rows), 'labeled image')}, fewer than the "
                f"{counted(per_class, 'label')} per class asked for"
            )
        if random_state != 0:
            rows = np.random.default_rng([random_state, index]).permutation(rows)
        drawn.append(rows[:per_class])
    return np.sort(np.concatenate(drawn))


def first_of_each_class(labels: NDArray[np.int64], per_class: int) -> NDArray[np.int64]:
    """Return the rows of the first `per_class` of each class (or all it has), sorted."""
    check_count("test_per_class", per_class)
    return np.sort(np.concatenate([np.flatnonzero(labels == index)[:per_class] for index in np.unique(labels)]))


def hold_out_test(labels: NDArray[np.int64], names: tuple[str, ...] | None = None) -> NDArray[np.int64]:
    """Return rows of labeled images for a test part: about a fifth of each class, at least 1 and at most a half.

    Each is drawn by its name (see `ImageNames`) and not by what else there is: where images are added, those that were
    learned from stay among these. In a class that had more than a half drawn, which happens with few images, those that
    were left to learn from can become test images as it grows.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Class indices, -1 for none.
    names : tuple of str, optional
        What the images are called; by their rows when not given.

    Examples
    --------
    >>> before, after = np.arange(60) % 3, np.arange(90) % 3
    >>> np.array_equal(hold_out_test(before), [row for row in hold_out_test(after) if row < 60])
    True
    """
    labeled = np.flatnonzero(labels >= 0)
    called = ImageNames([("train", labeled, None if names is None else [names[row] for row in labeled.tolist()])])
    draws = np.ones(len(labels))
    draws[labeled] = _draws(name.replace(os.sep, "/") for name in called)
    drawn = [np.empty(0, np.int64)]
    for index in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == index)
        if len(rows) < 2:
            continue
        rows = rows[np.argsort(draws[rows], kind="stable")]
        drawn.append(rows[: np.clip((draws[rows] < _TEST_SHARE).sum(), 1, len(rows) // 2)])
    return np.sort(np.concatenate(drawn))


def _draws(names: Iterable[str]) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each name, which looks drawn at random and is the same everywhere."""
    # Whether an accent is a sign of its own goes by the file system and the program that copied a file.
    composed = (unicodedata.normalize("NFC", name) for name in names)
    digests = b"".join(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4).digest() for name in composed)
    return np.frombuffer(digests, ">u4") / float(1 << 32)
