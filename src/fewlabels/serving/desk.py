"""Where labels are given: the pool in the order of use, and the file that labels go to."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data import ImageDataset, LabelsFile, read_labels
from fewlabels.data.given import by_source_names, check_classes, like_a_folder, read_given, why_not_by_hand
from fewlabels.data.labels_file import class_called
from fewlabels.data.parts import PART_ALIASES, is_no_label
from fewlabels.data.sources import load_unlabeled
from fewlabels.labeling import rank_for_labeling
from fewlabels.labeling.first import first_order
from fewlabels.methods.embedding import own_size
from fewlabels.methods.examples import probabilities_and_embeddings
from fewlabels.methods.origin import as_read_by, how_to_label, load_to_label, origin_of
from fewlabels.methods.replaced import place_before
from fewlabels.nets.pretrained import is_backbone
from fewlabels.serving.classify import ServedModel
from fewlabels.serving.label_queue import LabelQueue
from fewlabels.serving.panels import Shown
from fewlabels.serving.pool import PoolPictures
from fewlabels.storage.atomic import check_writable
from fewlabels.storage.errors import InputError, MissingSource
from fewlabels.storage.visible import visible

# Images that are looked at between two looks at whether to stop.
_BLOCK = 1024
# More than a person tells apart; whoever reaches the page may add some.
_MOST_CLASSES, _LONGEST_NAME = 1000, 100
# With these a spreadsheet begins a formula, which it runs as it opens the labels file.
_OF_FORMULAS = ("=", "+", "-", "@")


class _Closed(Exception):
    """Nobody waits for the order any more."""


class NothingToLabel(InputError):
    """Every image has a label."""


class Desk:
    """Hands out the pool's images, most useful first, and writes each label to the disk before it says so.

    Parameters
    ----------
    data : ImageDataset
        Its pool is what there is to label. Images that the labels file names are among it, unless that alone tells
        the classes.
    class_names : sequence of str
        What may be given.
    labels : Path
        The labels file, made where it is missing.
    before : str or mapping, optional
        Labels that the model was fitted with from elsewhere: a file, or the class of each image.
    takes_new_classes : bool
        Whether a person may add classes: where the labels file alone tells them.

    Attributes
    ----------
    queue : LabelQueue
        Who labels what.
    ranked : bool
        Whether the pool has been looked through, so that there are images to show.
    trouble : str
        Why it could not be looked through, in one line; empty where it could, or is being.
    notes : tuple of str
        What is to be noted of the labels file and of the data.
    opening : str
        Another word for each desk: a page that was open before the server was started again has the old one.

    Raises
    ------
    InputError
        If the labels file cannot be used.
    """

    def __init__(
        self,
        data: ImageDataset,
        class_names: Sequence[str],
        labels: Path,
        before: str | Mapping[str, str] | None = None,
        *,
        takes_new_classes: bool = False,
    ) -> None:
        self.data, self.path, self.takes_new_classes = data, labels, takes_new_classes
        self.opening = secrets.token_hex(8)
        self.pictures = PoolPictures(data)
        known = data.diagnostics
        # Of images that have labels, some may have been held out to test with.
        labeled = (*(known.labeled_names or ()), *(known.test_names or ()))
        self._names = dict.fromkeys([*self.pictures.names, *labeled])
        self.before = {} if before is None else by_source_names(read_given(before), self._names, data.source)
        self._file = LabelsFile(labels)
        unfinished = []
        if self._file.unfinished is not None:
            unfinished = [
                f"the last line of {labels} was not finished and is left out; it is kept in {self._file.unfinished}"
            ]
        try:
            given = self._known(class_names)
            class_names = tuple(dict.fromkeys([*class_names, *given.values()]))
        except InputError as error:
            self._file.close()
            raise InputError("; ".join([str(error), *unfinished])) from error
        self.notes: tuple[str, ...] = (*unfinished, *data.notes)
        self.ranked, self.trouble = False, ""
        self._turn, self._closing = threading.Lock(), threading.Event()
        self.queue = LabelQueue(
            (), class_names, self._append, labels=given, known=self.pictures.names, others=list(self._names)
        )

    def batch(self, person: str) -> list[Shown]:
        """Return what a person is to label: the next image large, those after it small."""
        names = self.queue.batch(person)
        return [
            Shown(name, self.pictures.small(name) if number else self.pictures.large(name))
            for number, name in enumerate(names)
        ]

    def add_class(self, given: str) -> None:
        """Let images be labeled as one more class.

        Raises
        ------
        InputError
            If it is no name of a new class, or the source's folders tell the classes.
        """
        classes = self.queue.classes
        name = class_called(given, classes)
        if not self.takes_new_classes:
            raise InputError(f"the folders of {self.data.source} tell the classes; a new one needs a folder there")
        if not name:
            raise InputError("type the name of the class first")
        _check_name(name)
        if name.startswith(_OF_FORMULAS):
            raise InputError(f"a spreadsheet takes what begins with {name[0]} for a formula; find another name")
        for known in classes:
            # Two that differ in case alone are one that was typed twice.
            if _folded(known) == _folded(name):
                raise InputError(f"there is a class {known!r} already")
        if folder := like_a_folder(name, _folders(self.data)):
            raise InputError(
                f"{self.data.source} has a folder {folder!r}, which is taken as no class; find another name"
            )
        if len(classes) >= _MOST_CLASSES:
            raise InputError(f"there are {_MOST_CLASSES:,} classes already, which are as many as a page takes")
        self.queue.add_classes([name])

    def rank_first(self, net: str | None = None) -> None:
        """Put the pool in the order in which it is best labeled before there is a model.

        Parameters
        ----------
        net : str, optional
            A pretrained net that tells which images are alike.
        """
        pretrained = net if is_backbone(net) else None
        self._put_in_order(
            self.queue.classes,
            lambda given: first_order(self.data, net=pretrained, labeled=given, go_on=self._check_open),
        )

    def rank(self, model: ServedModel) -> None:
        """Put the pool in the order in which labels would help a model most; once the desk is closing, leave it."""
        # One that was trained again may have classes that the source did not have before.
        self._put_in_order(model.class_names, lambda given: self._order_of(model, given))

    def _put_in_order(
        self, class_names: Sequence[str], order: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    ) -> None:
        """Hand the pool out in the order that is made of its rows which have a label; these come last in it.

        Where a label is taken back, the image so has a place.
        """
        with self._turn, contextlib.suppress(_Closed):
            self.queue.add_classes(class_names)
            self.queue.read_anew(lambda: self._given(class_names))
            given = np.array(sorted(self.pictures.row(name) for name in self.queue.labels()), np.int64)
            self.queue.rank([self.pictures.names[row] for row in order(given)])
            self.ranked, self.trouble = True, ""

    def _order_of(self, model: ServedModel, given: NDArray[np.int64]) -> NDArray[np.int64]:
        found = []
        for start in range(0, len(self.data.pool), _BLOCK):
            self._check_open()
            found.append(probabilities_and_embeddings(model.method, self.data.pool[start : start + _BLOCK]))
        probabilities, embeddings = (np.concatenate(parts) for parts in zip(*found, strict=True))
        rows = np.setdiff1d(np.arange(len(embeddings)), given)
        known = [embeddings[given]]
        examples = getattr(model.method, "examples_", None)
        if examples is not None:
            known.append(examples.embeddings)
        order = rows
        if len(rows):
            order = rows[rank_for_labeling(probabilities[rows], embeddings[rows], np.concatenate(known))]
        return np.concatenate([order, given])

    def labels_to_fit(self) -> Any:
        """Return what `load_dataset` takes as `labels`."""
        if not self.before:
            return str(self.path)
        return {name: label for name, label in {**self.before, **self._lines()}.items() if label}

    def known_classes(self) -> set[str]:
        """Return the classes of which an image is labeled, in the source or by the labels file as it is now."""
        by_hand = {label for name, label in self._given(self.queue.classes).items() if name in self._names}
        return by_hand | {self.data.class_names[index] for index in np.unique(self.data.labels)}

    def close(self) -> None:
        """Give up looking through the pool, wait until that has ended, and close the labels file."""
        self._closing.set()
        with self._turn:
            self._file.close()

    def _given(self, class_names: Sequence[str]) -> dict[str, str]:
        """Return the classes that images have by the labels file."""
        return {name: class_called(given, class_names) for name, given in self._lines().items() if given}

    def _known(self, class_names: Sequence[str]) -> dict[str, str]:
        """Return the classes that images have by the labels file; refuse new ones, unless it tells the classes."""
        # Of an image that is gone, a line may say what it likes.
        given = {name: label for name, label in self._given(class_names).items() if name in self._names}
        unknown = sorted(set(given.values()) - set(class_names))
        if unknown and not self.takes_new_classes:
            raise InputError(
                f"{self.path} has the class {unknown[0]!r}; the model's are {', '.join(class_names)}; give another "
                "file with --labels"
            )
        return given

    def _lines(self) -> dict[str, str]:
        return by_source_names(read_labels(self.path), self._names, self.data.source)

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise _Closed

    def _append(self, name: str, label: str | None) -> None:
        self._file.append(name, label or "")


def open_desk(
    model: ServedModel,
    labels: Path,
    source: str | None,
    *,
    folder: Path | None = None,
    classes: Sequence[str] = (),
    progress: bool = False,
) -> Desk:
    """Return a desk for the pool that a model was fitted on.

    Parameters
    ----------
    model : ServedModel
        From `fewlabels fit` or a comparison.
    labels : Path
        The labels file.
    source : str, optional
        Where the images are, if not where they were.
    folder : Path, optional
        The model's, where one that is trained again takes its place.
    classes : sequence of str
        What may be given beside the model's classes, where the labels file alone tells them.
    progress : bool
        Show progress bars.

    Raises
    ------
    InputError
        If the pool cannot be had, or has no images, or the labels file would go with the folder; or of classes that
        the source does not have, or that have no name for one.
    """
    for name in classes:
        _check_name(name)
    if folder is not None:
        _check_apart(labels, folder)
    before = labels_before(model, labels)
    changes = how_to_label(model.method, source)
    streamed = origin_of(model.method).get("pool")
    data = None
    names = list(model.class_names)
    try:
        data = load_to_label(model.method, labels=before, progress=progress, **changes)
    except MissingSource:
        raise
    except InputError:
        if before is not None or not labels.is_file():
            raise
    # Where images lie in no class folders, or in folders that are something else, their classes are those of the file.
    if data is None or (before is None and labels.is_file() and set(data.class_names).isdisjoint(names)):
        data = load_to_label(model.method, labels=str(labels), progress=progress, **changes)
    if data.labels_tell:
        known = _united(names, data.class_names, classes)
        told = read_given(labels if before is None else before)
        given = (class_called(name, known) for name in told.class_names)
        # In the order of before there was a model, which sorts them, so that each keeps its key. A class that is none
        # of these is one of images that are gone.
        names = _united(classes, [name for name in given if name in known], known)
    elif new := [name for name in classes if name not in names]:
        raise InputError(f"{data.source} has the classes {', '.join(names)}, and no {new[0]!r}; leave --classes away")
    if data.is_features:
        raise InputError(f"{data.source} holds features, not images to look at; give the images with --source")
    if not len(data.pool):
        why = "" if streamed is None else f"; {why_not_by_hand(streamed)}"
        raise NothingToLabel(f"{data.source} has no images without a label{why}")
    desk = Desk(as_read_by(model.method, data), names, labels, before, takes_new_classes=data.labels_tell)
    if streamed is not None:
        desk.notes = (*desk.notes, why_not_by_hand(streamed))
    return desk


def open_first_desk(
    source: str, classes: Sequence[str], labels: Path, *, folder: Path, net: str | None = None, progress: bool = False
) -> Desk:
    """Return a desk for images of which no model knows yet.

    Parameters
    ----------
    source : str
        Where the images are; what it has labeled images of counts as labeled.
    classes : sequence of str
        What may be given beside the classes that the source and the labels file know; none need be known yet.
    labels : Path
        The labels file.
    folder : Path
        Where the first model is going to be.
    net : str, optional
        The pretrained net that is going to read the images.
    progress : bool
        Show progress bars.

    Raises
    ------
    InputError
        If the source has no images without a label; or there are other classes than those that class folders tell,
        or none where folders may be meant as some; or one has no name for a class; or the labels file would go with
        the folder, or that cannot be written.
    """
    for name in classes:
        _check_name(name)
    _check_apart(labels, folder)
    check_writable(folder)
    for place in (folder, place_before(folder)):
        if Path(source).is_dir() and place.resolve().is_relative_to(Path(source).resolve()):
            raise InputError(f"{folder} lies in {source}, and would be taken for images; give a MODEL folder elsewhere")
    data = load_unlabeled(source, image_size=own_size(source, net), progress=progress)
    if data.is_features:
        raise InputError(f"{source} holds features, not images to look at; give the images with --source")
    names = _united(data.class_names, classes)
    if labels.is_file():
        given = read_labels(labels)
        check_classes(given, names)
        names = _united(names, given.class_names)
    folders_tell = len(np.unique(data.labels)) > 1
    if folders_tell and len(names) > len(data.class_names):
        raise InputError(
            f"{source} has the classes {', '.join(data.class_names)} in its folders, and no {names[-1]!r}; a new one "
            "needs a folder with labeled images there"
        )
    folders = {} if data.class_names else _folders(data)
    if any(like_a_folder(name, folders) for name in names):
        raise InputError(
            f"every image of {source} lies in a folder called like a class ({', '.join(list(folders)[:3])}): "
            f"`fewlabels fit {source}` learns from these; those without a label belong into {source}/unlabeled/"
        )
    if folders and not names:
        raise InputError(
            f"give the classes that the images are of: --classes shirt,shoe; the folders "
            f"({', '.join(list(folders)[:3])}) are taken as no classes"
        )
    return Desk(data, names, labels, takes_new_classes=not folders_tell)


def _folders(data: ImageDataset) -> dict[str, None]:
    """Return the names of folders in which images lie, but for those of the part that is to have no labels."""
    places = [Path(name).parts[:-1] for name in data.pool_names or ()]
    return dict.fromkeys(
        folder for place in places if place and place[0].lower() not in PART_ALIASES["unlabeled"] for folder in place
    )


def _united(*groups: Iterable[str]) -> list[str]:
    """Return all classes once, however their accents are written, in the order in which they come."""
    found: dict[str, None] = {}
    for name in filter(None, itertools.chain(*groups)):
        found.setdefault(class_called(name, found))
    return list(found)


def _check_name(name: str) -> None:
    """Refuse a name that a labels file or the page cannot hold as that of a class."""
    if is_no_label(name):
        raise InputError(f"{name} means in a labels file that an image has no class; find another name")
    if len(name) > _LONGEST_NAME or visible(name) != name:
        raise InputError(f"a class's name is one line of at most {_LONGEST_NAME} letters and signs")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _check_apart(labels: Path, folder: Path) -> None:
    for replaced in (folder, place_before(folder)):
        if labels.resolve().is_relative_to(replaced.resolve()):
            raise InputError(
                f"{labels} lies in {replaced.name}, which each training replaces; give a labels file elsewhere with "
                "--labels"
            )


def labels_before(model: ServedModel, labels: Path) -> str | dict[str, str] | None:
    """Return the labels given by hand that a model was fitted with, unless they are those of the file itself.

    Raises
    ------
    InputError
        If they are of a file that is not there: the next training would leave them out.
    """
    known = origin_of(model.method).get("labels")
    if not isinstance(known, str):
        return known or None
    if not Path(known).is_file():
        raise InputError(
            f"the labels file {known!r}, which the model was fitted with, is not here; put it back, or run this where "
            "it is"
        )
    return None if Path(known).resolve() == labels.resolve() else known


def default_labels(folder: Path, model: ServedModel | None) -> Path:
    """Return the file that a model's labels go to: the one that it was fitted with, or one beside its folder."""
    known = None if model is None else origin_of(model.method).get("labels")
    return Path(known) if isinstance(known, str) else folder.resolve().with_name(f"{folder.resolve().name}-labels.csv")
