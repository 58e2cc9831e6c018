"""Which labels are given, which join the pool."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data.dataset import Diagnostics, ImageDataset, ImageNames
from fewlabels.data.given import find_labels
from fewlabels.data.labels_file import GivenLabels, class_called
from fewlabels.data.parts import Part, Parts, notes_of_classes
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
    train, notes = parts.train, [*parts.notes, *notes_of_classes(parts.class_names)]
    # Everything below counts rows as `train` does, whatever is held out of it.
    held_out = np.empty(0, np.int64)
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
    if test_per_class is not None:
        least = int(np.bincount(test.labels, minlength=len(parts.class_names)).min())
        if least < test_per_class:
            notes.append(
                f"some class has only {counted(least, 'test image')}, fewer than the {test_per_class:,} asked for"
            )
        test = test.take(first_of_each_class(test.labels, test_per_class))
    validation = None if parts.validation is None else _with_labels(parts.validation, "validation", notes)
    if validation is not None and not len(validation.labels):
        validation = None

    labels = train.labels.copy()
    labels[held_out] = -1
    per_class = parts.default_labels_per_class if labels_per_class is None else labels_per_class
    if parts.labeled_rows is not None:
        if labels_per_class is not None:
            raise InputError("fold and labels_per_class both choose the labels; give one of them")
        labeled_rows = np.setdiff1d(parts.labeled_rows, held_out)
    elif per_class is None:
        labeled_rows = np.flatnonzero(labels >= 0)
    else:
        labeled_rows = draw_labeled(labels, per_class, parts.class_names, random_state)

    extra = train.take(held_out[:0]) if parts.unlabeled is None else parts.unlabeled
    extra_rows, by_hand = np.empty(0, np.int64), 0
    if given is not None:
        found = find_labels(parts, given, source)
        notes += found.notes
        # One that agrees says nothing new, and the image stays one to test with.
        other = held_out[(found.train[held_out] >= 0) & (found.train[held_out] != train.labels[held_out])]
        if len(other):
            row = int(other[0])
            called = ImageNames([("train", np.arange(len(labels)), train.names)])[row]
            more = f" (and to {len(other) - 1:,} more)" if len(other) > 1 else ""
            raise InputError(
                f"{given.called} gives a class to {called!r}, which was held out of {source} to test with as one of "
                f"{parts.class_names[train.labels[row]]!r}{more}; take such lines away, or mend the class in the "
                "source"
            )
        labels = np.where(found.train >= 0, found.train, labels)
        given_rows = np.setdiff1d(np.flatnonzero(found.train >= 0), held_out)
        labeled_rows = np.union1d(labeled_rows, given_rows)
        if parts.unlabeled is not None:
            extra = replace(extra, labels=np.where(found.unlabeled >= 0, found.unlabeled, extra.labels))
            extra_rows = np.flatnonzero(found.unlabeled >= 0)
        by_hand = len(given_rows) + len(extra_rows)

    train = replace(train, labels=labels)
    labeled = train.take(labeled_rows).joined(extra.take(extra_rows))
    if len(np.unique(labeled.labels)) < 2:
        raise InputError(f"{source} has labels of fewer than 2 classes; a classifier needs at least 2 classes")
    pool_rows = np.setdiff1d(np.arange(len(labels)), [*labeled_rows, *held_out])
    rest_rows = np.setdiff1d(np.arange(len(extra.labels)), extra_rows)
    pool, rest = train.take(pool_rows), extra.take(rest_rows)
    whole = pool.joined(rest)
    return ImageDataset(
        name=parts.name,
        source=source,
        class_names=parts.class_names,
        labeled=labeled.images,
        labels=labeled.labels,
        pool=whole.images,
        test=test.images,
        test_labels=test.labels,
        validation=None if validation is None else validation.images,
        validation_labels=None if validation is None else validation.labels,
        diagnostics=Diagnostics(
            pool_labels=whole.labels,
            labeled_names=labeled.names,
            pool_names=whole.names,
            test_names=test.names,
            validation_names=None if validation is None else validation.names,
        ),
        skipped=parts.skipped,
        notes=tuple(notes),
        content_key=parts.content_key,
        labels_per_class=None if parts.labeled_rows is not None else per_class,
        backbone=parts.backbone,
        pool_names=ImageNames([("train", pool_rows, pool.names), ("unlabeled", rest_rows, rest.names)]),
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
    pieces = {"train": parts.train} | ({} if parts.unlabeled is None else {"unlabeled": parts.unlabeled})
    names, notes, by_hand = parts.class_names, list(parts.notes), 0
    # A table that nothing is filled in yet tells nothing.
    if given is not None and any(given.classes.values()):
        if len(np.unique(parts.train.labels[parts.train.labels >= 0])) < 2:
            new = {class_called(name, names) for name in given.classes.values() if name}
            names = (*names, *sorted(new - set(names)))
        found = find_labels(replace(parts, class_names=names), given, source)
        notes += found.notes
        for part, piece in pieces.items():
            told = getattr(found, part)
            pieces[part] = replace(piece, labels=np.where(told >= 0, told, piece.labels))
            by_hand += int((told >= 0).sum())
    elif parts.folders_tell and all((piece.labels >= 0).all() for piece in pieces.values()):
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        notes.append(
            f"every image lies in a folder ({shown}), and none in unlabeled/: the folders are taken as no classes"
        )
        names = ()
        pieces = {part: replace(piece, labels=np.full_like(piece.labels, -1)) for part, piece in pieces.items()}
    nothing = parts.train.take(np.empty(0, np.int64))
    labeled, pool, pool_names = nothing, nothing, []
    for part, piece in pieces.items():
        labeled = labeled.joined(piece.take(np.flatnonzero(piece.labels >= 0)))
        rows = np.flatnonzero(piece.labels < 0)
        pool = pool.joined(piece.take(rows))
        pool_names.append((part, rows, piece.take(rows).names))
    if not len(pool.labels):
        raise InputError(f"{source} has no images without a label: there is nothing to ask for")
    return ImageDataset(
        name=parts.name,
        source=source,
        class_names=names,
        labeled=labeled.images,
        labels=labeled.labels,
        pool=pool.images,
        test=nothing.images,
        test_labels=np.empty(0, np.int64),
        diagnostics=Diagnostics(pool_labels=pool.labels, labeled_names=labeled.names, pool_names=pool.names),
        skipped=parts.skipped,
        notes=tuple(notes),
        content_key=parts.content_key,
        backbone=parts.backbone,
        pool_names=ImageNames(pool_names),
        labels_given=by_hand,
    )


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
    if not isinstance(per_class, Integral) or per_class < 1:
        raise InputError(f"labels_per_class={per_class} is not a whole number of at least 1")
    if not isinstance(random_state, Integral) or random_state < 0:
        raise InputError(f"random_state={random_state!r} is not a whole number of at least 0")
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
    if not isinstance(per_class, Integral) or per_class < 1:
        raise InputError(f"test_per_class={per_class} is not a whole number of at least 1")
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
