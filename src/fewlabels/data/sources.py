"""From what a user gives to an `ImageDataset`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

from fewlabels.data import cifar, stl10
from fewlabels.data.arrays import read_arrays, read_npz
from fewlabels.data.dataset import ImageDataset
from fewlabels.data.digits import read_digits
from fewlabels.data.download import download, verify
from fewlabels.data.features import is_feature_folder, read_feature_folder
from fewlabels.data.folder import OR_A_FILE, read_folder, read_known_folder
from fewlabels.data.given import has_no_classes, read_given, with_classes_of
from fewlabels.data.labels_file import GivenLabels
from fewlabels.data.moved import OF_ARCHIVES
from fewlabels.data.parquet import holds_shards, read_parquet
from fewlabels.data.parts import Parts
from fewlabels.data.pool import DEFAULT_LIMIT, with_pool
from fewlabels.data.split import split_parts, without_test
from fewlabels.storage.addresses import without_secrets
from fewlabels.storage.atomic import located
from fewlabels.storage.cache_folder import cache_folder
from fewlabels.storage.errors import InputError, MissingSource, nearest


@dataclass(frozen=True)
class KnownDataset:
    """A data set known by name."""

    name: str
    description: str
    size: str
    how: str


_KNOWN = (
    KnownDataset("digits", "1,797 handwritten digits, 8x8, gray", "embedded", "nothing to do"),
    KnownDataset("stl10", "5,000 labeled, 100,000 unlabeled, 8,000 test, 96x96", "2.6 GB", "downloaded, or stl10:PATH"),
    KnownDataset("cifar10", "60,000 images of 10 classes, 32x32", "170 MB", "downloaded, or cifar10:PATH"),
    KnownDataset("cifar100", "60,000 images of 100 classes, 32x32", "169 MB", "downloaded, or cifar100:PATH"),
)


def list_datasets() -> tuple[KnownDataset, ...]:
    """Return the data sets that `load_dataset` knows by name."""
    return _KNOWN


def load_dataset(
    source: Any,
    *,
    image_size: int | None = None,
    labels_per_class: int | None = None,
    test_per_class: int | None = None,
    random_state: int = 0,
    labels: str | Path | Mapping[str, str] | None = None,
    fold: int | None = None,
    strict: bool = False,
    cache_dir: str | Path | None = None,
    url: str | None = None,
    pool: str | Path | None = None,
    pool_limit: int | str = DEFAULT_LIMIT,
    progress: bool = False,
) -> ImageDataset:
    """Read images from anywhere and split them into labeled, pool and test.

    Parameters
    ----------
    source : str, Path, tuple or mapping
        A name (`list_datasets`), a name with the path of its archive (`stl10:PATH`), a folder of images
        (`train/CLASS/…`, `unlabeled/…`, `validation/CLASS/…`, `test/CLASS/…`), a Parquet file or a folder of
        shards in the Hugging Face layout, an `.npz` file, a folder of features that `fewlabels.embed` wrote, arrays
        `(X, y)`, or a mapping
        `{"train": (X, y), "unlabeled": X, "test": (X, y)}`.
    image_size : int, optional
        Side in pixels. When not given: the images' own if all are square, equal and at most 64, else 32; arrays stay as
        they are.
    labels_per_class : int, optional
        How many labels of each class to give; the other training images join the pool, and their labels go
        to `diagnostics` alone. When not given, all (`digits`: 10).
    test_per_class : int, optional
        Keep the first so many test images of each class.
    random_state : int
        0 takes the first labels of each class in file order, another number draws at random.
    labels : str, Path or mapping, optional
        Labels given by hand: a CSV or Parquet file with the columns `file` and `class`
        (`fewlabels.data.read_labels`), or the class of each image by its name. These images join the labeled ones;
        where the source tells no classes itself, these are all, and some are held out to test with. A file is called
        by its path in the source's folder, or by one from the labels file's own folder on; other images as
        `ImageDataset.pool_names` calls them.
    fold : int, optional
        STL-10's official draw, 0 to 9.
    strict : bool
        Refuse a source with unreadable images rather than leave them out.
    cache_dir : str or Path, optional
        Where decoded images and downloads are kept; `$FEWLABELS_CACHE` or the platform's cache folder.
    url : str, optional
        Download a named data set from here (a mirror).
    pool : str or Path, optional
        More pool images, which may be more than fit memory or disk: Parquet files or WebDataset archives (a file, a
        folder, a pattern with `*`), here or at an address that fsspec knows (`s3://bucket/pool/*.tar`). They are read
        as they are needed; see `fewlabels.data.StreamedRows`.
    pool_limit : int or str
        What decoded images of that pool may take on the disk: bytes, or text such as "2GB".
    progress : bool
        Show progress bars.

    Returns
    -------
    ImageDataset

    Raises
    ------
    InputError
        If the source cannot be used; the message says what would do.

    Examples
    --------
    >>> data = load_dataset("digits", labels_per_class=20)
    >>> len(data.labeled), len(data.pool), len(data.test)
    (200, 1000, 597)
    """
    if pool is None and pool_limit != DEFAULT_LIMIT:
        raise InputError(f"pool_limit={pool_limit} is for the images of pool=; give that too, or leave it away")
    read = read_source(
        source,
        image_size=image_size,
        labels=labels,
        fold=fold,
        strict=strict,
        cache_dir=cache_dir,
        url=url,
        progress=progress,
    )
    place = None if pool is None else _pool_from_anywhere(str(pool))
    if place is not None and read.origin is not None:
        read.origin.update(pool=without_secrets(place), pool_limit=pool_limit)
    data = read.draw(labels_per_class, test_per_class=test_per_class, random_state=random_state)
    return data if place is None else with_pool(data, place, pool_limit, cache_folder(cache_dir), strict=strict)


@dataclass(frozen=True)
class ReadSource:
    """A source as it was read, with the labels given by hand: all that is drawn from it is of the same images.

    Attributes
    ----------
    parts : Parts
        What its reader returned.
    given : GivenLabels or None
        Labels given by hand.
    called : str
        What messages call it.
    origin : dict or None
        Arguments of `load_dataset` that read the same again; None for arrays.
    """

    parts: Parts
    given: GivenLabels | None
    called: str
    origin: dict[str, Any] | None

    def draw(
        self, labels_per_class: int | None, *, test_per_class: int | None = None, random_state: int = 0
    ) -> ImageDataset:
        """Return the source split into labeled, pool and test; see `load_dataset` for the parameters."""
        draw: dict[str, Any] = {
            "labels_per_class": labels_per_class,
            "test_per_class": test_per_class,
            "random_state": random_state,
        }
        origin = None if self.origin is None else {**self.origin, **draw}
        return split_parts(self.parts, self.called, **draw, given=self.given, origin=origin)


def read_source(
    source: Any,
    *,
    image_size: int | None = None,
    labels: str | Path | Mapping[str, str] | None = None,
    fold: int | None = None,
    strict: bool = False,
    cache_dir: str | Path | None = None,
    url: str | None = None,
    progress: bool = False,
) -> ReadSource:
    """Read images from anywhere; see `load_dataset` for the parameters.

    Raises
    ------
    InputError
        If the source cannot be used.
    """
    _check_size(image_size)
    cache = cache_folder(cache_dir)
    # What is wrong with them is told now, not after an hour of decoding.
    given = None if labels is None else read_given(labels)
    parts = read_parts(
        source,
        image_size,
        cache,
        fold=fold,
        strict=strict,
        url=url,
        progress=progress,
        labels_elsewhere=given is not None,
    )
    is_place = isinstance(source, str | Path)
    called = str(source) if is_place else parts.name
    if given is not None and has_no_classes(parts, given, called):
        parts, given = with_classes_of(parts, given, called), None
    if len(parts.class_names) < 2:
        raise InputError(
            f"{called} has only one class ({parts.class_names[0]!r}); a classifier needs at least 2 classes"
            if parts.class_names
            else f"{called} has no labeled images; label a few of each class"
            + (OR_A_FILE if labels is None else f" in {'labels' if isinstance(labels, Mapping) else labels}")
        )
    origin = {
        "source": _from_anywhere(str(source)),
        "image_size": image_size,
        "labels": str(Path(labels).absolute()) if isinstance(labels, str | Path) else labels and dict(labels),
        "fold": fold,
        "strict": strict,
    }
    return ReadSource(parts, given, called, origin if is_place else None)


def load_unlabeled(
    source: Any,
    *,
    image_size: int | None = None,
    labels: str | Path | Mapping[str, str] | None = None,
    strict: bool = False,
    cache_dir: str | Path | None = None,
    progress: bool = False,
) -> ImageDataset:
    """Read a source of which few images have a label, or none: its pool are those without one.

    There is no test part: nothing is held out, and what the source has to validate and test with is left alone. Where
    every image lies in a class folder and no labels are given, those folders are taken as no classes: years, say.

    Parameters
    ----------
    source, image_size, labels, strict, cache_dir, progress
        See `load_dataset`.

    Returns
    -------
    ImageDataset
        `class_names` may be empty.

    Raises
    ------
    InputError
        If the source or the labels cannot be used, or every image has a label.

    Examples
    --------
    >>> import numpy as np
    >>> data = load_unlabeled({"train": (np.zeros((3, 8, 8), np.uint8), ["cat", None, None])})
    >>> len(data.labeled), len(data.pool), data.class_names
    (1, 2, ('cat',))
    """
    _check_size(image_size)
    given = None if labels is None else read_given(labels)
    cache = cache_folder(cache_dir)
    parts = read_parts(source, image_size, cache, strict=strict, progress=progress, labels_elsewhere=True)
    is_place = isinstance(source, str | Path)
    called = str(source) if is_place else parts.name
    if given is not None and given.classes and has_no_classes(parts, given, called):
        parts, given = with_classes_of(parts, given, called), None
    return without_test(parts, called, given)


def _check_size(image_size: int | None) -> None:
    if image_size is not None and not (isinstance(image_size, Integral) and 4 <= image_size <= 1024):
        raise InputError(f"image_size={image_size} is not a whole number of 4 to 1024 pixels")


def _from_anywhere(text: str) -> str:
    """Return what a source is called from whichever folder is worked in: a file or folder by its whole path."""
    name, colon, path = text.partition(":")
    if colon and name in OF_ARCHIVES:
        return f"{name}:{Path(path).absolute()}"
    is_name = text == "digits" or "://" in text or (text in OF_ARCHIVES and not Path(text).exists())
    # Not normalized: `..` after a link leads elsewhere than the path without both.
    return text if is_name else str(Path(text).absolute())


def _pool_from_anywhere(text: str) -> str:
    """Return the address of a pool, or its whole path, in which fsspec takes `~` for the home folder."""
    is_path = text and "://" not in text
    return str(Path(os.path.expanduser(text)).absolute()) if is_path else text


def read_parts(
    source: Any,
    image_size: int | None,
    cache: Path,
    *,
    fold: int | None = None,
    strict: bool = False,
    url: str | None = None,
    progress: bool = False,
    labels_elsewhere: bool = False,
) -> Parts:
    """Return a source's parts as they are, before labels are drawn; see `load_dataset` for the parameters."""
    if isinstance(source, tuple | list | Mapping):
        _refuse_fold(fold, "arrays")
        return read_arrays(source, image_size, labels_elsewhere=labels_elsewhere)
    if not isinstance(source, str | os.PathLike):
        what = f"{type(source).__name__}" + (f" of shape {source.shape}" if hasattr(source, "shape") else "")
        raise InputError(
            f"the source is {what}; give a data set's name, a folder or a file, or arrays as (X, y) with -1 in y for "
            "images without a label"
        )
    text = str(source)
    if not text:
        # Paths take it for the folder that is worked in.
        raise InputError("the source is empty; give a data set's name, a folder or a file (. is the folder here)")
    name, colon, path = text.partition(":")
    known = [entry.name for entry in _KNOWN]
    if name == "stl10" and (colon or not Path(text).exists()):
        archive = _given(path) if colon else _fetch(name, url or stl10.URL, stl10.MD5, cache, progress)
        return stl10.read_stl10(archive, image_size, cache, fold=fold, progress=progress)
    place = Path(text)
    if place.is_dir():
        _check_entry(place)
    if place.exists() and _is_stl10(place):
        return stl10.read_stl10(place, image_size, cache, fold=fold, progress=progress)
    _refuse_fold(fold, text)
    if name in cifar.URLS and (colon or not place.exists()):
        archive = _given(path) if colon else _fetch(name, url or cifar.URLS[name], cifar.MD5[name], cache, progress)
        return cifar.read_cifar(name, archive, image_size, cache, progress=progress)
    if text == "digits":
        parts = read_digits()
        if image_size is not None and image_size != 8:
            raise InputError(
                f"digits are of 8x8 pixels, and {image_size} are asked for, or read by the model; leave the size "
                "away, or give another source"
            )
        if place.exists():
            parts = replace(parts, notes=("these are the embedded digits; the folder here is ./digits",))
        return parts
    is_archive = place.suffix.lower() == ".tar"
    if not place.exists() and not (is_archive and "*" in text):
        looks_like_a_path = "/" in text or "\\" in text or place.suffix
        hint = "" if looks_like_a_path else f"{nearest(text, known)} (known names: {', '.join(known)})"
        raise MissingSource(f"there is no data set, folder or file {text!r}{hint}")
    for known_name in cifar.URLS:
        if _is_cifar(place, known_name):
            return cifar.read_cifar(known_name, place, image_size, cache, progress=progress)
    if is_feature_folder(place):
        if image_size is not None:
            raise InputError(f"{text} holds features, which have no size in pixels; leave image_size={image_size} away")
        return read_feature_folder(place)
    how: Any = {"strict": strict, "progress": progress, "labels_elsewhere": labels_elsewhere}
    if place.is_dir():
        known_folder = read_known_folder(place, image_size, cache, strict=strict, labels_elsewhere=labels_elsewhere)
        if known_folder is not None:
            return known_folder
        if holds_shards(place):
            return read_parquet(place, image_size, cache, **how)
        return read_folder(place, image_size, cache, **how)
    if place.suffix.lower() == ".npz":
        return read_npz(place, image_size, labels_elsewhere=labels_elsewhere)
    if place.suffix.lower() in (".parquet", ".pq"):
        return read_parquet(place, image_size, cache, **how)
    if is_archive:
        raise InputError(
            f"{text} can be a pool alone, as shards of WebDataset: give it to `fit --pool` (in Python: pool=) beside a "
            "source with labels, or to `label --engine local`"
        )
    raise InputError(
        f"{text} is no kind of source that is known; give a folder, a .parquet or .npz file, or an archive as "
        "stl10:PATH, cifar10:PATH or cifar100:PATH"
    )


def _refuse_fold(fold: int | None, source: str) -> None:
    if fold is not None:
        raise InputError(f"fold={fold} is for stl10 alone, not for {source}")


def _check_entry(folder: Path) -> None:
    """Name a folder that may not be entered by itself, not by what might lie there."""
    try:
        os.stat(os.path.join(folder, "."))
    except OSError as error:
        raise located(error, folder) from error


def _given(path: str) -> Path:
    place = Path(path)
    if not path or not place.exists():
        raise MissingSource(f"there is no file or folder {path!r}")
    return place


def _fetch(name: str, url: str, md5: str, cache: Path, progress: bool) -> Path:
    target = cache / "downloads" / url.rpartition("/")[2]
    fresh = not target.exists()
    archive = download(url, target, md5, progress=progress)
    if not fresh and not (mark := archive.with_suffix(".verified")).exists():
        # Removed, or the next run would find it again.
        verify(archive, md5, remove=True)
        mark.touch()
    return archive


def _is_stl10(place: Path) -> bool:
    if place.is_file():
        return place.name.startswith("stl10_binary") and ".tar" in place.name
    return any((folder / "train_X.bin").exists() for folder in (place, place / "stl10_binary"))


def _is_cifar(place: Path, name: str) -> bool:
    word = name.replace("cifar", "cifar-")
    if place.is_file():
        return place.name.startswith(f"{word}-") and ".tar" in place.name
    # "meta" alone may be anything.
    one_of = (
        (("data_batch_1",), ("data_batch_1.bin",))
        if name == "cifar10"
        else (("fine_label_names.txt",), ("meta", "train"))
    )
    return any(
        all((folder / file).is_file() for file in files)
        for folder in (place, place / f"{word}-batches-py", place / f"{word}-python")
        for files in one_of
    )
