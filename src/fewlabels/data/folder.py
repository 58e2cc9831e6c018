"""A folder of images: `train|labeled/CLASS/…`, `unlabeled/…`, `validation/CLASS/…`, `test/CLASS/…`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewlabels.data.cache import DecodedImages, EncodedImages, decoded, refuse_skipped, reopen
from fewlabels.data.folder_memory import FolderContent, FolderMemory
from fewlabels.data.listing import IMAGE_SUFFIXES, FileFacts, Listing, is_folder
from fewlabels.data.parts import PART_ALIASES, PART_NAMES, Part, Parts, class_indices
from fewlabels.data.rows import ImageRows
from fewlabels.data.workers import Encoded
from fewlabels.storage.errors import InputError
from fewlabels.storage.visible import visible
from fewlabels.storage.wording import counted, enumeration

_MEANT = {
    "train": "the part to learn from",
    "unlabeled": "images without labels",
    "validation": "the validation part",
    "test": "the test part",
}
_NAMED = 3
_PART_CALLED = {alias: part for part, aliases in PART_ALIASES.items() for alias in aliases}
OR_A_FILE = ", or give a labels file, with the columns file and class (--labels; in Python labels=)"


def read_folder(
    folder: Path,
    image_size: int | None,
    cache: Path,
    *,
    strict: bool = False,
    progress: bool = False,
    labels_elsewhere: bool = False,
) -> Parts:
    """Read a folder of images.

    Class folders may also lie directly in `folder`; then they are the training part. Where there are none, and labels
    come from elsewhere, the images are all without one.

    Raises
    ------
    InputError
        If there are no class folders, a class is empty, or images lie where a class folder should be.
    """
    listing = Listing()
    content, files = _content(folder, listing, labels_elsewhere=labels_elsewhere)
    images = decoded(_encoded(folder, content.names, files), image_size, cache, strict=strict, progress=progress)
    of_train = content.parts == PART_NAMES.index("train")
    read = content.labels[images.kept][of_train[images.kept]]
    for index in np.setdiff1d(content.labels[of_train], read):
        raise InputError(f"class {content.class_names[index]!r} has no readable image; add some or remove its folder")
    if images.is_settled:
        memory = FolderMemory(cache, folder, image_size, labels_elsewhere=labels_elsewhere)
        # In a cache that can only be read, the folder is looked through again the next time.
        with contextlib.suppress(OSError):
            memory.keep(content, listing, images.key)
    return _parts(folder, content, images)


def is_source_folder(folder: Path) -> bool:
    """Say whether a folder has a part to learn from, so that it is more than files."""
    with os.scandir(folder) as entries:
        return any(is_folder(entry) and entry.name.lower() in PART_ALIASES["train"] for entry in entries)


def has_class_folders(folder: Path, classes: Collection[str]) -> bool:
    """Say whether a folder has a folder for each of some classes, and beside these a part that is none."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if is_folder(entry)]
    return len(classes) > 1 and {*classes} <= {*names} and any(name.lower() in _PART_CALLED for name in names)


def read_known_folder(
    folder: Path, image_size: int | None, cache: Path, *, strict: bool = False, labels_elsewhere: bool = False
) -> Parts | None:
    """Return what `read_folder` found the last time, or None where the folder is not known or has changed.

    Raises
    ------
    InputError
        If `strict` and an image is unreadable.
    """
    known = FolderMemory(cache, folder, image_size, labels_elsewhere=labels_elsewhere).recall()
    if known is None:
        return None
    content, key = known
    trained = np.unique(content.labels[content.parts == PART_NAMES.index("train")])
    if not labels_elsewhere and len(trained) < max(1, len(content.class_names)):
        return None
    images = reopen(cache, key, lambda number: str(folder / content.names[number]))
    if images is None:
        return None
    if strict:
        refuse_skipped(images.skipped)
    return _parts(folder, content, images)


def _parts(folder: Path, content: FolderContent, images: DecodedImages) -> Parts:
    parts_of, labels = content.parts[images.kept], content.labels[images.kept]
    names = content.names
    if len(images.kept) < len(names):
        names = tuple(names[number] for number in images.kept)
    nothing = np.empty(0, np.int64)
    parts = {"train": Part(ImageRows(images.images, nothing), nothing, ())}
    for index, part in enumerate(PART_NAMES):
        # Files come part by part.
        start, end = np.searchsorted(parts_of, [index, index + 1])
        if start < end:
            parts[part] = Part(ImageRows(images.images, np.arange(start, end)), labels[start:end], names[start:end])
    return Parts.of(
        parts,
        name=folder.resolve().name,
        class_names=content.class_names,
        skipped=images.skipped,
        notes=(*content.notes, *images.notes),
        content_key=images.key,
        folders_tell=True,
    )


def _content(folder: Path, listing: Listing, *, labels_elsewhere: bool) -> tuple[FolderContent, list[FileFacts]]:
    entries = listing.entries(folder)
    folders = [entry for entry in entries if is_folder(entry)]
    places = _places(folder, folders)
    lost = {
        entry.name: file
        for entry in entries
        if entry.name.lower() in _PART_CALLED and (file := listing.lost(entry)) is not None
    }
    # By name: what "." lists is called "./test" here and "test" there.
    taken = {place.name for place in places.values() if place != folder} | {*lost}
    others = [entry.name for entry in folders if entry.name not in taken]
    reading = _Reading(lost=[*lost.values()])
    found = reading.found
    for part, place in places.items():
        if part == "unlabeled":
            found[part] = [(None, file) for file in listing.files_below(place)]
            continue
        classes = _class_folders(place, taken if place == folder else set(), listing, may_be_empty=labels_elsewhere)
        if classes.loose and not classes.files and not (labels_elsewhere and part == "train"):
            # Beside folders that may be classes, this one may be a class that is called as a part is.
            raise _no_classes_error(part, place, classes.loose, is_class=place != folder and bool(others))
        reading.add(part, classes)
    if labels_elsewhere and not found["train"]:
        reading.add_without_classes([*listing.files_in(places["train"])])
    found["unlabeled"] += [(None, file) for file in reading.lost]
    if not found["train"] and not (labels_elsewhere and found["unlabeled"]):
        archives = next((entry.name for entry in entries if entry.name.lower().endswith(".tar")), None)
        raise InputError(
            f"{folder} holds no class folders with images; expected {folder}/train/CLASS/ or {folder}/CLASS/"
            + ("" if labels_elsewhere else OR_A_FILE)
            + (f" (archives such as {visible(archives)} can be the pool of another source: --pool)" if archives else "")
            + (f" ({visible(reading.lost[0].path)} is a link that leads nowhere)" if reading.lost else "")
        )
    notes = reading.notes
    if places["train"] != folder:
        reading.loose += sum(map(_is_loose_image, entries))
        if others:
            shown = ", ".join(f"{visible(name)}/" for name in others)
            notes.append(f"not read: {shown} (the parts are train/, unlabeled/, validation/ and test/)")
    notes += _notes_of_names(folder, places, dict.fromkeys(name for name, _ in found["train"] if name is not None))
    if reading.loose:
        images = "1 image lies" if reading.loose == 1 else f"{reading.loose:,} images lie"
        notes.append(f"not read: {images} in no class folder (those without a label belong into unlabeled/)")
    if listing.written:
        written = [f"{visible(os.path.relpath(place, folder))}/" for place in listing.written]
        notes.append(f"not read: {enumeration(written, last='and', most=_NAMED)} (written by fewlabels, not images)")
    named = found["train"]
    if labels_elsewhere and len({name for name, _ in named}) < 2:
        # The file may tell of the others.
        named = [*named, *found["validation"], *found["test"]]
    _, class_names = class_indices([name for name, _ in named])
    files = [file for part in PART_NAMES for _, file in found[part]]
    content = FolderContent(
        names=tuple(os.path.relpath(file.path, folder) for file in files),
        stamps=np.array([file.stamp for file in files], np.int64).reshape(-1, 4),
        parts=np.repeat(np.arange(len(PART_NAMES), dtype=np.int8), [len(found[part]) for part in PART_NAMES]),
        labels=np.concatenate(
            [class_indices([name for name, _ in found[part]], class_names, f"{part}/")[0] for part in PART_NAMES]
        ),
        class_names=class_names,
        notes=tuple(notes),
    )
    return content, files


def _places(folder: Path, folders: list[os.DirEntry[str]]) -> dict[str, Path]:
    """Return where each part lies that is there: the training part in the folder itself, where none is called so."""
    places = {"train": folder}
    for part, aliases in PART_ALIASES.items():
        here = [entry for entry in folders if entry.name.lower() in aliases]
        if len(here) > 1:
            both = " and ".join(f"{entry.name}/" for entry in here)
            raise InputError(f"{folder} has {both}, which mean the same part; put their images into one of them")
        if here:
            places[part] = Path(here[0].path)
    return places


def _no_classes_error(part: str, place: Path, loose: int, *, is_class: bool) -> InputError:
    meant = f"{visible(place.name)}/ is taken as {_MEANT[part]}, so rename it if it is a class, or "
    return InputError(
        f"{place} holds {counted(loose, 'image')} but no class folders; {meant if is_class else ''}put each image into "
        "a folder named after its class, and those without a label into unlabeled/"
        + (OR_A_FILE if part == "train" else "")
    )


def _notes_of_names(folder: Path, places: dict[str, Path], classes: Iterable[str]) -> list[str]:
    """Return notes of classes that are called as a part is, or of parts that may be meant as classes."""
    if places["train"] == folder:
        return [
            f"{visible(place.name)}/ is taken as {_MEANT[part]}, not as a class; rename it if it is one"
            for part, place in places.items()
            if place != folder and place.name.lower() != part
        ]
    inside = visible(places["train"].name)
    return [
        f"{inside}/{visible(name)}/ is taken as a class, not as {_MEANT[_PART_CALLED[name.lower()]]}; "
        f"move it out of {inside}/ if it is none"
        for name in classes
        if name.lower() in _PART_CALLED
    ]


def _may_be_image(path: str) -> bool:
    """Say whether a file's name speaks for an image, or says nothing of what it is."""
    return path.lower().endswith(IMAGE_SUFFIXES) or not os.path.splitext(path)[1]


def _is_loose_image(entry: os.DirEntry[str]) -> bool:
    return not is_folder(entry) and entry.name.lower().endswith(IMAGE_SUFFIXES)


@dataclass
class _ClassFolders:
    """What lies in the folder of a part: files with their classes, and beside these images, folders and lost links."""

    files: list[tuple[str | None, FileFacts]] = field(default_factory=list)
    loose: int = 0
    others: list[str] = field(default_factory=list)
    lost: list[FileFacts] = field(default_factory=list)


@dataclass
class _Reading:
    """What was found in a folder so far: files of each part with their classes, and what lies beside these."""

    # Links that lead nowhere are of no part, but are told as files that cannot be read.
    lost: list[FileFacts]
    found: dict[str, list[tuple[str | None, FileFacts]]] = field(
        default_factory=lambda: {part: [] for part in PART_NAMES}
    )
    loose: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, part: str, classes: _ClassFolders) -> None:
        """Take in what lies in the folder of a part."""
        self.found[part] += classes.files
        self.lost += classes.lost
        self.loose += classes.loose
        self.notes += [
            f"not read: {visible(name)}/ (no file in it is called as an image is)" for name in classes.others
        ]

    def add_without_classes(self, files: list[FileFacts]) -> None:
        """Take in images that lie in no class folder, whose classes are told elsewhere; they were counted as loose."""
        images = [file for file in files if file.path.lower().endswith(IMAGE_SUFFIXES)]
        self.found["unlabeled"] += [(None, file) for file in images]
        self.loose -= len(images)
        nameless = [os.path.basename(file.path) for file in files if not os.path.splitext(file.path)[1]]
        if nameless:
            names = enumeration([visible(name) for name in nameless], most=1)
            self.notes.append(
                f"not read: {names} (without an ending, nothing tells images from other files; give them one)"
            )


def _class_folders(place: Path, taken: set[str], listing: Listing, *, may_be_empty: bool) -> _ClassFolders:
    found = _ClassFolders()
    for entry in listing.entries(place):
        if entry.name in taken:
            continue
        if not is_folder(entry):
            if _is_loose_image(entry):
                found.loose += 1
            elif (lost := listing.lost(entry)) is not None:
                found.lost.append(lost)
            continue
        below = list(listing.files_below(entry.path))
        if not below and not may_be_empty and not listing.passed_over(entry.path):
            raise InputError(f"class folder {entry.path} is empty; add images or remove it")
        if may_be_empty and not any(_may_be_image(file.path) for file in below):
            found.others += [entry.name] if below else []
            continue
        found.files += [(entry.name, file) for file in below]
    return found


def _encoded(folder: Path, names: tuple[str, ...], files: list[FileFacts]) -> EncodedImages:
    paths = [os.path.join(folder, name) for name in names]

    def items() -> Iterator[Encoded]:
        return map(Path, paths)

    # Sizes and times of writing do not tell apart two files that swap their names, as of bitmaps that came in one copy.
    stamps = [file.stamp for file in files]
    return EncodedImages([str(folder.resolve()), names, stamps], items, paths.__getitem__, len(paths))
