"""Which images of a source a labels file is about."""

from __future__ import annotations

import difflib
import itertools
import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data.dataset import ImageDataset, ImageNames
from fewlabels.data.features import is_feature_folder, read_feature_folder
from fewlabels.data.labels_file import GivenLabels, class_called, read_labels
from fewlabels.data.parts import Part, Parts, class_name, is_no_label
from fewlabels.storage.errors import InputError, nearest
from fewlabels.storage.visible import encodable, visible

# Of a folder and a class that are meant to be the same: of "shirt" and "shrit", and not of "car" and "camera".
_ALIKE = 0.8
_STREAMED = "is of a pool that is read as a stream: copy the image into the folder of its class to learn from its label"


@dataclass(frozen=True)
class FoundLabels:
    """Labels that were given to images of a source's parts to learn from.

    Attributes
    ----------
    told : dict of str to ndarray
        By part, the class of each of its images, -1 where none was given.
    notes : tuple of str
        What a user should know.
    """

    told: dict[str, NDArray[np.int64]]
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of images that a label was given to."""
        return sum(int((told >= 0).sum()) for told in self.told.values())


def why_not_by_hand(pool: str) -> str:
    """Return a note of a pool in shards, whose images cannot be labeled where they lie."""
    return (
        f"images of {pool} cannot be labeled where they lie, as each {_STREAMED}; `fewlabels label --engine local` "
        "guesses what they are"
    )


def read_given(labels: str | Path | Mapping[str, str]) -> GivenLabels:
    """Return the labels of a file, or of a mapping from names of images to classes."""
    if isinstance(labels, Mapping):
        told = {str(file): "" if is_no_label(name) else class_name(name) for file, name in labels.items()}
        classes = {file: name for file, name in told.items() if name}
        return GivenLabels(None, classes, lines=told, class_names=tuple(dict.fromkeys(classes.values())))
    if not isinstance(labels, str | os.PathLike):
        raise InputError(f"labels is {type(labels).__name__}; give a file, or {{name of an image: its class}}")
    return read_labels(labels)


def joined_labels(
    first: str | Path | Mapping[str, str], second: str | Path | Mapping[str, str], data: ImageDataset
) -> dict[str, str]:
    """Return the labels of two files, or mappings, by what a data set calls its images; the second's count where both.

    Parameters
    ----------
    first, second : str, Path or mapping
        What `load_dataset` takes as `labels`.
    data : ImageDataset
        Whose images they are.
    """
    known = data.diagnostics
    names = [*(data.pool_names or ()), *(known.labeled_names or ()), *(known.test_names or ())]
    folder = data.source
    if is_feature_folder(Path(folder)):
        folder = read_feature_folder(Path(folder)).images_in or folder
    found: dict[str, str] = {}
    for labels in (first, second):
        found |= by_source_names(read_given(labels), dict.fromkeys(names), folder)
    return {name: label for name, label in found.items() if label}


def find_labels(parts: Parts, given: GivenLabels, source: Any) -> FoundLabels:
    """Return the classes that a labels file, or a mapping, gives the images of a source.

    An image is called as `ImageDataset.pool_names` calls it: a file by its path in the source's folder. A file may
    also be given by an absolute path, or by one that starts from the folder of the labels file. Whether an accent is a
    sign of its own does not matter.

    Raises
    ------
    InputError
        If a class is none of the source's, an image is one to test or validate with and of another class there, or no
        image is of the source.
    """
    what = given.called
    position = {name: index for index, name in enumerate(parts.class_names)}
    lines = {file: class_called(name, position) if name else "" for file, name in given.with_taken_back.items()}
    learned = parts.to_learn_from
    apart = {part: piece for part, piece in parts.present.items() if part not in learned}
    places, never = _places(learned), _places(apart)
    folder = source if parts.images_in is None else parts.images_in
    called = _calling({**places, **never}, folder, given)
    told = {part: np.full(len(piece.labels), -1, np.int64) for part, piece in learned.items()}
    missing: list[str] = []
    kept_apart: list[tuple[str, str]] = []
    for file, name in lines.items():
        known = called(file)
        if not name:
            # Taken back, in whatever way the image was called before.
            if known in places:
                part, row = places[known]
                told[part][row] = -1
            continue
        if known in never:
            part, row = never[known]
            # One that agrees says nothing new: the image stays where it is.
            if apart[part].labels[row] != position.get(name):
                kept_apart.append((file, part))
            continue
        if known not in places:
            _check_encoding(file, what)
            missing.append(file)
            continue
        # Of an image that is gone, a line may say what it likes.
        if name not in position:
            _check_encoding(name, what)
            raise InputError(
                f"{what} gives {file!r} the class {name!r}{nearest(name, position)}; the classes of {source} are "
                f"{', '.join(parts.class_names)}; a new one needs labeled images in the source itself, or "
                "all images in unlabeled/"
            )
        part, row = places[known]
        told[part][row] = position[name]
    if kept_apart:
        file, part = kept_apart[0]
        more = f" (and to {len(kept_apart) - 1:,} more of those kept apart)" if len(kept_apart) > 1 else ""
        raise kept_apart_error(
            given, file, f"is one of the {part} images of {source}{more}, and of another class there"
        )
    if missing and len(missing) == len(given.classes):
        why = (
            _STREAMED
            if _is_streamed(missing[0])
            else "is neither a file below it nor called as `fewlabels label` calls its images"
            + next((f" ({visible(name)!r}, say)" for name in places), "")
        )
        if len(missing) == 1:
            raise InputError(f"the one image of {what} is not in {source}: {missing[0]!r} {why}")
        raise InputError(
            f"none of the {len(missing):,} images of {what} is in {source}; the first, {missing[0]!r}, {why}"
        )
    notes = list(given.notes)
    if missing:
        why = f", {_STREAMED}" if _is_streamed(missing[0]) else ""
        labels = "1 label of an image that is" if len(missing) == 1 else f"{len(missing):,} labels of images that are"
        notes.append(f"left out {labels} not in {source}, the first: {missing[0]}{why}")
    return FoundLabels(told, tuple(notes))


def kept_apart_error(given: GivenLabels, file: str, which: str) -> InputError:
    """Return the error of a label of an image to test or validate with, and of which one it is."""
    return InputError(
        f"{given.called} gives a class to {file!r}, which {which}; take such lines away, or mend the class in the "
        "source"
    )


def has_no_classes(parts: Parts, given: GivenLabels, source: Any) -> bool:
    """Say whether a labels file alone tells the classes of a source.

    It does where the source knows those of none of its images, or of one class alone, or where its class folders are
    something else, such as years: no class of the file is called like one, and images in them have other classes.
    """
    if len(parts.train.classes) < 2:
        return True
    # Labels of arrays are no folders.
    if parts.train.names is None:
        return False
    names = {class_called(name, parts.class_names) for name in given.classes.values()}
    if not names or any(like_a_folder(name, parts.class_names) for name in names):
        return False
    found = find_labels(replace(parts, class_names=(*parts.class_names, *names)), given, source)
    return bool((found.told["train"] >= 0).any())


def like_a_folder(name: str, folders: Iterable[str]) -> str:
    """Return the folder that is called like a class, but for case and a letter or two; empty where none is.

    Examples
    --------
    >>> like_a_folder("Shirts", ["shirt", "shoe"]), like_a_folder("car", ["camera", "phone"])
    ('shirt', '')
    """
    folded = {folder.casefold(): folder for folder in folders}
    alike = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=_ALIKE)
    return folded[alike[0]] if alike else ""


def with_classes_of(parts: Parts, given: GivenLabels, source: Any) -> Parts:
    """Return a source that has no classes itself with those that a labels file, or a mapping, gives its images.

    All images to learn from are its training part then, those without a label among them. Class folders of which an
    image has another class by the file are no classes, but where images lie.

    Raises
    ------
    InputError
        As `find_labels` does, and if a class to test or validate with has no label.
    """
    train = _with_names(parts.train, "train")
    if parts.unlabeled is not None:
        train = train.joined(_with_names(parts.unlabeled, "unlabeled"))
    known = dict.fromkeys(parts.class_names)
    check_classes(given, known)
    for name in given.classes.values():
        # The source's own stay apart: "cat" and "cat " may both be folders.
        known.setdefault(class_called(name, known))
    classes = tuple(known)
    found = find_labels(replace(parts, class_names=classes, train=train, unlabeled=None), given, source)
    told = found.told["train"]
    is_other = (train.labels >= 0) & (told >= 0) & (told != train.labels)
    train = replace(train, labels=told) if is_other.any() else train.relabeled(told)
    used = train.classes
    order = sorted(used, key=lambda index: classes[index])
    # The last is that of -1.
    position = np.full(len(classes) + 1, -1, np.int64)
    position[order] = np.arange(len(order))

    def renumbered(part: Part | None, name: str) -> Part | None:
        if part is None:
            return None
        unknown = np.setdiff1d(part.classes, used)
        if len(unknown):
            raise InputError(
                f"class {classes[unknown[0]]!r} of {name}/ is not among those that {given.called} gives "
                f"({', '.join(classes[index] for index in order)})"
            )
        return replace(part, labels=position[part.labels])

    has_one = f"{(train.labels >= 0).sum():,} of the {len(train.labels):,} images have one"
    return replace(
        parts,
        class_names=tuple(classes[index] for index in order),
        train=replace(train, labels=position[train.labels]),
        unlabeled=None,
        folders_tell=False,
        labels_tell=True,
        validation=renumbered(parts.validation, "validation"),
        test=renumbered(parts.test, "test"),
        notes=(*parts.notes, f"the classes are those of {given.called}: {has_one}", *found.notes),
    )


def _with_names(part: Part, name: str) -> Part:
    """Return a part that calls its images by their rows, where they have no names: among others, those are others."""
    if part.names is not None:
        return part
    return replace(part, names=tuple(ImageNames([(name, np.arange(len(part.labels)), None)])))


def check_classes(given: GivenLabels, known: Collection[str]) -> None:
    """Refuse classes that are no UTF-8, but for those that a source itself has.

    Raises
    ------
    InputError
        If there is one: each would be a class of its own beside the one that it is meant for.
    """
    for name in given.classes.values():
        if name not in known:
            _check_encoding(name, given.called)


def _check_encoding(name: str, what: str) -> None:
    """Refuse a name that is not found and is no UTF-8: an image may be called so, but other programs write so too."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{what} is not UTF-8: '{encodable(name)}' is not found; save it as UTF-8 (a spreadsheet has it as "
            "'CSV UTF-8')"
        ) from None


def by_source_names(given: GivenLabels, names: Collection[str], source: Any) -> dict[str, str]:
    """Return the class of each image by what its source calls it, in whichever way the labels have it.

    Parameters
    ----------
    given : GivenLabels
        Of an image's lines the last counts, whatever each calls it.
    names : collection of str
        What the source calls its images; others stay as they are called.
    source : object
        Where the images are.

    Returns
    -------
    dict of str to str
        Empty where the label was taken back.
    """
    called = _calling(names, source, given)
    found: dict[str, str] = {}
    for file, name in given.with_taken_back.items():
        found[called(file)] = name
    return found


def _calling(names: Collection[str], source: Any, given: GivenLabels) -> Callable[[str], str]:
    """Return what finds the source's name of an image for that which the labels have; that itself, if there is none."""
    is_folder = isinstance(source, str | Path) and Path(source).is_dir()
    folders = _folders(names, source) if is_folder else {}
    base = None if given.path is None else given.path.parent
    composed = _composed(names)

    def called(file: str) -> str:
        # A file that was written on Windows has backslashes.
        ways = [file, *([file.replace("\\", "/")] if "\\" in file else [])]
        # As `find .` writes it.
        ways += [plain for way in ways if (plain := posixpath.normpath(way)) != way and "://" not in way]
        for way in ways:
            for one in itertools.chain([way], _within(way, folders, base)):
                known = one if one in names else composed.get(unicodedata.normalize("NFC", one))
                if known is not None:
                    return known
        return file

    return called


def _places(pieces: Mapping[str, Part]) -> dict[str, tuple[str, int]]:
    """Return the part and the row of each image, by what the image is called."""
    return {
        name: (part, row)
        for part, piece in pieces.items()
        for row, name in enumerate(ImageNames([(part, np.arange(len(piece.labels)), piece.names)]))
    }


def _composed(names: Iterable[str]) -> dict[str, str]:
    """Return names with accents by their composed spelling, which programs write where macOS may have another.

    Those that two images share but for the spelling are left out.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        if not name.isascii():
            found.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    return {composed: alike[0] for composed, alike in found.items() if len(alike) == 1}


def _is_streamed(file: str) -> bool:
    """Say whether it is how images of a pool in shards are called: an address, with a member or a row of the file."""
    return re.match(r"[a-z][a-z0-9+.-]*://.*(::| row \d+$)", file) is not None


def _folders(names: Iterable[str], root: str | Path) -> dict[str, str]:
    """Return where the folders of a source's files really are, whatever links lead there, and what it calls them."""
    folders = {os.path.dirname(name) for name in names}
    return {os.path.realpath(os.path.join(root, folder)): folder for folder in folders}


def _within(file: str, folders: Mapping[str, str], base: Path | None) -> Iterator[str]:
    """Yield what a source may call a file: by its own folder, and where it is a link, by that of what it leads to."""
    if not folders or "\0" in file:
        return
    place = file if base is None else str(base / file)
    for way in (place, os.path.realpath(place)):
        folder = folders.get(os.path.realpath(os.path.dirname(way)))
        if folder is not None:
            yield os.path.join(folder, os.path.basename(way))
