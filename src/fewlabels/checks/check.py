"""All checks of a data set, and what they found in sentences."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewlabels.checks.duplicates import Pairs, exact_copies, near_duplicates
from fewlabels.checks.finding import LEAK, NOTE, TRAP, DataCheck, Finding
from fewlabels.checks.looks import Looks, look_at
from fewlabels.checks.shift import compare_parts
from fewlabels.data.dataset import UNKNOWN, ImageDataset
from fewlabels.data.rows import ImageRows
from fewlabels.storage.arguments import check_kind
from fewlabels.storage.wording import enumeration

# Of the labeled images: fewer copies among themselves change little.
_MANY_COPIES = 0.05
_SHOWN = 5
_NAMED_CLASSES = 10
# What it means that images of a part are among those of another before it.
_MEANING = {
    ("labeled", "validation"): (LEAK, "validation accuracy and calibration look better than they are"),
    ("labeled", "test"): (LEAK, "test accuracy looks better than it is"),
    ("validation", "test"): (LEAK, "what is calibrated on one is measured on the other"),
    ("labeled", "pool"): (NOTE, "harmless"),
    ("validation", "pool"): (TRAP, "methods that learn from the pool have seen them, without labels"),
    ("test", "pool"): (LEAK, "methods that learn from the pool have seen them, without labels"),
}


@dataclass(frozen=True)
class _Part:
    name: str
    images: ImageRows
    labels: NDArray[np.int64] | None
    names: tuple[str, ...] | None

    def called(self, row: int) -> str:
        return f"{self.name} image {row}" if self.names is None else self.names[row]


def check_dataset(data: ImageDataset, *, near: bool = True) -> DataCheck:
    """Look for leaks and traps in a data set, before anything is trained on it.

    Searched are exact copies and near duplicates between labeled, validation, test and pool images; copies with
    different labels; classes without an image; parts that look as if they came from elsewhere, or were stretched.
    True labels of the pool, where the data set knows them, are not looked at.

    Parameters
    ----------
    data : ImageDataset
        As `load_dataset` returns it.
    near : bool
        Search for near duplicates as well, which takes the most time: about a minute for 60,000 images.

    Returns
    -------
    DataCheck

    Examples
    --------
    >>> from fewlabels import load_dataset
    >>> found = check_dataset(load_dataset("digits", labels_per_class=20))
    >>> found.images
    {'labeled': 200, 'test': 597, 'pool': 1000}
    >>> [(finding.kind, finding.parts[1]) for finding in found.problems]  # most test digits are of other hands
    [('shifted-part', 'pool'), ('shifted-part', 'test')]
    """
    check_kind("data", data, ImageDataset, "a data set; read one by fewlabels.load_dataset")
    began = time.perf_counter()
    names = data.diagnostics
    parts = [
        _Part(name, images, labels, called)
        for name, images, labels, called in (
            ("labeled", data.labeled, data.labels, names.labeled_names),
            ("validation", data.validation, data.validation_labels, names.validation_names),
            ("test", data.test, data.test_labels, names.test_names),
            ("pool", data.pool, None, names.pool_names),
        )
        if images is not None and len(images)
    ]
    found = list(_missing_classes(parts, data.class_names))
    measured: list[str] = []
    if data.is_features:
        text = "the source holds features, and no images to look at; check the images that they were made of"
        found.append(Finding("not-checked", NOTE, text))
    else:
        found += _copies(parts, data.class_names, near=near)
        for one, other in (("labeled", "pool"), ("labeled", "validation"), ("labeled", "test")):
            found += _shift(parts, one, other, measured)
    order = (LEAK, TRAP, NOTE)
    return DataCheck(
        images={part.name: len(part.images) for part in parts},
        findings=tuple(sorted(found, key=lambda finding: order.index(finding.severity))),
        measured=tuple(measured),
        seconds=time.perf_counter() - began,
    )


def _missing_classes(parts: list[_Part], class_names: tuple[str, ...]) -> Iterable[Finding]:
    for part in parts:
        if part.labels is None:
            continue
        counts = np.bincount(part.labels[part.labels >= 0], minlength=len(class_names))
        missing = [class_names[index] for index in np.flatnonzero(counts == 0)]
        if missing:
            meaning = {
                "labeled": "no method can learn it" if len(missing) == 1 else "no method can learn them",
                "validation": "calibration knows nothing of it" if len(missing) == 1 else "calibration misses them",
            }.get(part.name, "accuracy says nothing about it" if len(missing) == 1 else "accuracy says nothing of them")
            names = enumeration([repr(name) for name in missing], most=_NAMED_CLASSES)
            text = f"{names}: no {part.name} image; {meaning}"
            yield Finding("missing-class", TRAP, text, (part.name,), 0, None, tuple((name,) for name in missing))


def _copies(parts: list[_Part], class_names: tuple[str, ...], *, near: bool) -> Iterable[Finding]:
    every = Looks.joined([look_at(part.images) for part in parts])
    starts = np.cumsum([0, *(len(part.images) for part in parts)])
    # The pool comes last: of pairs within it nothing follows.
    searched = int(starts[-2]) if parts[-1].name == "pool" else int(starts[-1])
    exact, group = exact_copies(every.hashes, starts, searched)
    yield from _between(parts, starts, exact, "exact-copies", group)
    yield from _conflicts(parts, starts, exact, class_names, "exact copies", group)
    if not near:
        yield from _within_labeled(parts, starts, exact, "copies")
        return
    if not every.is_detailed:
        side = every.gray.shape[1]
        text = f"images of {side}x{side} pixels show too little to tell near duplicates from similar images"
        yield Finding("not-checked", NOTE, f"{text}; only exact copies were looked for")
        yield from _within_labeled(parts, starts, exact, "copies")
        return
    close, is_whole = near_duplicates(every, searched)
    close = close[group[close[:, 0]] != group[close[:, 1]]]
    yield from _between(parts, starts, close, "near-duplicates", group)
    yield from _conflicts(parts, starts, close, class_names, "near duplicates")
    yield from _within_labeled(parts, starts, np.concatenate([exact, close]), "copies or near duplicates")
    if not is_whole:
        text = "so many images are alike that only the most alike pairs were compared in detail"
        yield Finding("not-checked", NOTE, text)


def _between(
    parts: list[_Part], starts: NDArray[np.int64], pairs: Pairs, kind: str, group: NDArray[np.int64]
) -> Iterable[Finding]:
    """Yield what follows from pairs of like images between two parts; `group` is the same for exact copies.

    Near duplicates are those that are no exact copies as well.
    """
    part_of = np.searchsorted(starts, pairs, side="right") - 1
    for (a, one), (b, other) in itertools.combinations(enumerate(parts), 2):
        here = pairs[((part_of[:, 0] == a) & (part_of[:, 1] == b)) | ((part_of[:, 0] == b) & (part_of[:, 1] == a))]
        # What counts is how many of the part that measures, or of the pool, are concerned.
        counted = one if other.name == "pool" else other
        mine, theirs = (np.arange(starts[n], starts[n + 1]) for n in ((a, b) if counted is one else (b, a)))
        # Of exact copies a pair has but the first of each part.
        copies = mine[np.isin(group[mine], group[theirs])]
        rows = copies if kind == "exact-copies" else np.setdiff1d(np.intersect1d(here, mine), copies)
        if not len(rows):
            continue
        severity, meaning = _MEANING[one.name, other.name]
        others = "pool" if counted is one else f"{one.name} images"
        what = "are also" if kind == "exact-copies" else "have a near duplicate"
        total = len(counted.images)
        share = f"{len(rows):,} of {total:,} {counted.name} images ({len(rows) / total:.1%})"
        text = f"{share} {what} among the {others}; {meaning}"
        examples = _examples(parts, starts, here, rows)
        yield Finding(kind, severity, text, (one.name, other.name), len(rows), None, examples)


def _within_labeled(parts: list[_Part], starts: NDArray[np.int64], pairs: Pairs, what: str) -> Iterable[Finding]:
    """Yield what follows where many labeled images are copies of others: held out ones are then no strangers."""
    labeled = parts[0]
    here = pairs[pairs[:, 1] < starts[1]]
    rows = np.unique(here[:, 1])
    total = len(labeled.images)
    if labeled.name != "labeled" or len(rows) < _MANY_COPIES * total or any(p.name == "validation" for p in parts):
        return
    text = (
        f"{len(rows):,} of {total:,} labeled images ({len(rows) / total:.1%}) are {what} of other "
        "labeled ones; those that are held out of them for calibration are no strangers then, and confidences and sets "
        "are too sure; keep one of each, or give a validation part of other images"
    )
    yield Finding("copies-within", TRAP, text, ("labeled",), len(rows), None, _examples(parts, starts, here, rows))


def _conflicts(
    parts: list[_Part],
    starts: NDArray[np.int64],
    pairs: Pairs,
    class_names: tuple[str, ...],
    what: str,
    group: NDArray[np.int64] | None = None,
) -> Iterable[Finding]:
    """Yield what follows from like images with different labels; with `group`, of all that are the same."""
    labels = np.concatenate([np.full(len(p.images), UNKNOWN) if p.labels is None else p.labels for p in parts])
    first, second = labels[pairs[:, 0]], labels[pairs[:, 1]]
    here = pairs[(first != second) & (first >= 0) & (second >= 0)]
    if not len(here):
        return
    concerned = np.unique(here)
    if group is not None:
        concerned = np.flatnonzero(np.isin(group, group[concerned]) & (labels >= 0))
    classes = Counter(tuple(sorted((class_names[labels[a]], class_names[labels[b]]))) for a, b in here.tolist())
    most = max(sorted(classes), key=classes.__getitem__)
    names = tuple(
        dict.fromkeys(parts[int(np.searchsorted(starts, row, side="right")) - 1].name for row in concerned.tolist())
    )
    text = f"{len(concerned):,} images that are {what} of each other have different labels"
    text += f", most often {most[0]} and {most[1]}; one of two labels is wrong, or the classes overlap"
    yield Finding("label-conflict", TRAP, text, names, len(concerned), None, _examples(parts, starts, here, concerned))


def _examples(
    parts: list[_Part], starts: NDArray[np.int64], pairs: Pairs, rows: NDArray[np.int64]
) -> tuple[tuple[str, ...], ...]:
    chosen = pairs[np.isin(pairs, rows).any(1)][:_SHOWN]
    place = np.searchsorted(starts, chosen, side="right") - 1
    return tuple(
        tuple(parts[where].called(int(row - starts[where])) for row, where in zip(pair, wheres, strict=True))
        for pair, wheres in zip(chosen.tolist(), place.tolist(), strict=True)
    )


def _shift(parts: list[_Part], one: str, other: str, measured: list[str]) -> Iterable[Finding]:
    by_name = {part.name: part for part in parts}
    if one not in by_name or other not in by_name:
        return
    found = compare_parts(by_name[one].images, by_name[other].images)
    if found is None:
        # What was not measured is not fine.
        text = f"{one} and {other} images are too few or too small to tell whether they come from the same place"
        yield Finding("not-checked", NOTE, text, (one, other))
        return
    said = f"a classifier tells {one} from {other} images in {found.told_apart:.0%} of pairs (a coin: 50%)"
    meaning = {
        "pool": "it may hold other classes, or the same in other proportions, or come from elsewhere",
        "test": "expect another accuracy than on images like the labeled ones",
        "validation": "it may mislead what is chosen on it",
    }[other]
    if found.is_shifted:
        text = f"the {other} part looks unlike the labeled images: {said}; {meaning}"
        yield Finding("shifted-part", TRAP, text, (one, other), 0, round(found.told_apart, 4))
    else:
        measured.append(said)
    if found.is_stretched:
        way, times = ("width", found.stretch) if found.stretch > 1 else ("height", 1 / found.stretch)
        text = f"{other} images look stretched in {way} by {times:.2f} or more beside the labeled ones"
        text += ", or show other things; scale and crop both alike"
        yield Finding("stretched-part", TRAP, text, (one, other), 0, round(found.stretch, 4))
