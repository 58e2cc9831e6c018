"""What a model learned from, kept with it: some labeled images, where they lie among its features, and the source."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save
from scipy.special import softmax

from fewlabels.data import FeatureRows, ImageDataset, ImageRows, load_dataset
from fewlabels.data.features import is_feature_folder
from fewlabels.data.given import read_given
from fewlabels.data.moved import found_again
from fewlabels.data.rows import HASH_BYTES, RecoloredRows, content_hashes
from fewlabels.methods.given import rows_to_predict
from fewlabels.methods.prediction import logits_and_features
from fewlabels.storage.errors import InputError, MissingSource
from fewlabels.storage.model_folder import check_content

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier
    from fewlabels.nets import BackboneFacts

# Labeled images that a model keeps: so many, and so many bytes of them.
MOST = 2000
MOST_BYTES = 64 << 20
_CHUNK = 500


@dataclass(frozen=True)
class Examples:
    """Labeled samples of a fitted model.

    At most 2,000, and at most 64 MB of them: where there are more, equally many of each class as far as a class has
    them, of those trained on and of those held out.

    Attributes
    ----------
    samples : ndarray
        uint8 images of the size that the model reads, (n, height, width, channels), or float32 vectors, (n, features).
    labels : ndarray of int64, shape (n,)
        Index into the model's `classes_`.
    embeddings : ndarray of float32, shape (n, features)
        What `transform` gives for the samples.
    held_out : ndarray of bool, shape (n,)
        Whether the model was measured and calibrated with the sample rather than trained on it.
    hashes : ndarray of uint8, shape (N, 16), or None
        What names the content of all labeled samples, where these are more.
    """

    samples: NDArray[Any]
    labels: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    held_out: NDArray[np.bool_]
    hashes: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.labels)


def remember(method: SemiSupervisedClassifier, data: ImageDataset) -> None:
    """Keep in a fitted method the labeled images of the data that it was fitted on, and where they came from.

    `save` then writes them beside the weights, and `fewlabels.load` reads them again: `examples_`, and `source_`, the
    arguments of `load_dataset` that give the same data (none where they were arrays). Where the method knows the
    classes by number, what they are called is kept too.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Fitted on `data.labeled` and `data.labels`, or on what `data.class_names` calls these.
    data : ImageDataset
        Images, or features.

    Raises
    ------
    InputError
        If a label is none of the method's classes.

    Examples
    --------
    >>> from fewlabels import Supervised, load_dataset
    >>> data = load_dataset("digits", labels_per_class=3)
    >>> method = Supervised(steps=2, random_state=0).fit(data.labeled, data.labels)
    >>> remember(method, data)
    >>> method.examples_.samples.shape, method.examples_.embeddings.dtype, method.source_["source"]
    ((30, 8, 8, 1), dtype('float32'), 'digits')
    """
    places = _places_of_classes(method, data)
    images, labels = data.labeled, places[data.labels]
    if (labels < 0).any():
        strange = data.class_names[data.labels[np.argmin(labels)]]
        raise InputError(
            f"the class {strange!r} of {data.source} is none of the method's; give the data set that it was fitted on"
        )
    held_out = np.zeros(len(labels), bool)
    held_out[method.validation_rows_] = True
    if data.validation is not None and data.validation_labels is not None:
        of_validation = places[data.validation_labels]
        known = np.flatnonzero(of_validation >= 0)
        images = images.joined(data.validation.take(known))
        labels = np.concatenate([labels, of_validation[known]])
        held_out = np.concatenate([held_out, np.ones(len(known), bool)])
    bytes_each = int(np.prod(images.shape[1:])) * images.dtype.itemsize
    kept = evenly_drawn(2 * labels + held_out, max(1, min(MOST, MOST_BYTES // bytes_each)))
    chosen = images.take(kept)
    samples = chosen.plain() if isinstance(chosen, FeatureRows) else chosen[:]
    _, embeddings = probabilities_and_embeddings(method, samples)
    kept_with: Any = method
    hashes = None
    if len(kept) < len(labels):
        hashes = np.frombuffer(b"".join(_hashes(images)), np.uint8).reshape(len(labels), -1)
    kept_with.examples_ = Examples(samples, labels[kept], embeddings, held_out[kept], hashes)
    indices = method.classes_.tolist()
    if all(index in range(len(data.class_names)) for index in indices):
        kept_with.class_names_ = [data.class_names[int(index)] for index in indices]
    if data.origin is not None:
        kept_with.source_ = dict(data.origin)


def _places_of_classes(method: SemiSupervisedClassifier, data: ImageDataset) -> NDArray[np.int64]:
    """Return where in `classes_` each class of the data is, by its name or its number, -1 where it is none of them."""
    position = {label: place for place, label in enumerate(method.classes_.tolist())}
    by_name = method.classes_.dtype.kind == "U"
    found = [position.get(label, -1) for label in (data.class_names if by_name else range(len(data.class_names)))]
    # The last is that of a missing label, -1.
    return np.array([*found, -1], np.int64)


def seen_images(method: SemiSupervisedClassifier, images: ImageRows) -> int | None:
    """Return how many images are among those that a model was fitted on; None if it keeps none that compare.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Usually from `fewlabels.load`.
    images : ImageRows
        Of the size that it reads.

    Examples
    --------
    >>> from fewlabels import Supervised, load_dataset
    >>> data = load_dataset("digits", labels_per_class=3)
    >>> method = Supervised(steps=2, random_state=0).fit(data.labeled, data.labels)
    >>> remember(method, data)
    >>> seen_images(method, data.labeled.take(np.arange(5))), seen_images(method, data.test)
    (5, 0)
    """
    kept: Examples | None = getattr(method, "examples_", None)
    if kept is None or (kept.samples.shape[1:], kept.samples.dtype) != (images.shape[1:], images.dtype):
        return None
    known = set(content_hashes(kept.samples) if kept.hashes is None else map(np.ndarray.tobytes, kept.hashes))
    return sum(found in known for found in _hashes(images))


def _hashes(images: ImageRows) -> Iterator[bytes]:
    """Yield what names the content of each image."""
    for start in range(0, len(images), _CHUNK):
        yield from content_hashes(images[start : start + _CHUNK])


def evenly_drawn(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return sorted rows, at most so many: the first of each class, then the second of each, and so on.

    Examples
    --------
    >>> evenly_drawn(np.array([0, 0, 0, 0, 1, 2, 2]), 5)
    array([0, 1, 4, 5, 6])
    """
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        turn[rows] = np.arange(len(rows))
    return np.sort(np.argsort(turn, kind="stable")[:most])


def probabilities_and_embeddings(
    method: SemiSupervisedClassifier, X: Any
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return what `predict_proba` and `transform` give; images go through a frozen pretrained net once for both.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Fitted.
    X : array-like
        Samples, as in training.

    Returns
    -------
    probabilities : ndarray of float64, shape (n, n_classes)
    embeddings : ndarray of float32, shape (n, features)
    """
    rows, device = rows_to_predict(method, X), method._device()
    logits, features = logits_and_features(method.network_, rows, device, flip=method.mirrors_)
    return softmax(logits.astype(np.float64) / method.temperature_, axis=1), features.astype(np.float32)


def with_embeddings(method: SemiSupervisedClassifier, examples: Examples) -> Examples:
    """Return examples as a method sees them now, which has other weights than when they were kept."""
    return replace(examples, embeddings=probabilities_and_embeddings(method, examples.samples)[1])


def on_features(method: SemiSupervisedClassifier) -> bool:
    """Say whether a method was fitted on features that a pretrained net had made before."""
    return len(method.sample_shape_) == 1 and hasattr(method, "backbone_facts_")


def origin_of(method: SemiSupervisedClassifier) -> dict[str, Any]:
    """Return the arguments of `load_dataset` that give what a method was fitted on; empty where it does not say."""
    return getattr(method, "source_", {})


def size_to_read(method: SemiSupervisedClassifier, source: str) -> int | None:
    """Return the side that a source's images are to be read at for a fitted method: that which its net was fed.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        On images, or on features of them.
    source : str
        Where the images are.
    """
    if not on_features(method):
        shape = method.image_shape_
        return None if shape is None or is_feature_folder(Path(source)) else side_of(shape)
    known: int | None = origin_of(method).get("image_size")
    # Digits have one size, and features none.
    if known is not None or source == "digits" or is_feature_folder(Path(source)):
        return known
    facts: BackboneFacts = method.backbone_facts_
    return facts.read_at or facts.size


def side_of(shape: tuple[int, ...]) -> int | None:
    """Return the side that images are to be read at for a net that was fed images of a shape; None for their own size.

    Only arrays have images that are no squares, and these are not resized.
    """
    return shape[0] if shape[0] == shape[1] else None


def load_source(method: SemiSupervisedClassifier, **changes: Any) -> ImageDataset:
    """Read the data again that a model was fitted on.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Usually from `fewlabels.load`.
    **changes
        Other arguments for `load_dataset` than those of the fit, `source` among them.

    Raises
    ------
    InputError
        If the model does not say where its data came from, or they are not there any more.

    Examples
    --------
    >>> from fewlabels import Supervised, load_dataset
    >>> data = load_dataset("digits", labels_per_class=3)
    >>> method = Supervised(steps=2, random_state=0).fit(data.labeled, data.labels)
    >>> remember(method, data)
    >>> load_source(method).fingerprint == data.fingerprint
    True
    """
    known = origin_of(method)
    if not known and "source" not in changes:
        raise InputError("the model does not say what it was fitted on; give the source")
    given = {**known, **changes}
    with remembered(None if "source" in changes else known["source"]):
        return load_dataset(given.pop("source"), **given)


def load_to_label(method: SemiSupervisedClassifier, **changes: Any) -> ImageDataset:
    """Read the data again that a model was fitted on, with all labels given by hand, as they are by now.

    Where these alone tell the classes, so many of each as the fit was given would leave what was labeled since in the
    pool.

    Parameters
    ----------
    method, **changes
        See `load_source`.
    """
    known = {**origin_of(method), **changes}
    if known.get("labels") is None or known.get("labels_per_class") is None or "labels_per_class" in changes:
        return load_source(method, **changes)
    # First without: of a class that is new there may be fewer.
    data = load_source(method, **changes, labels_per_class=None)
    return data if data.labels_tell else load_source(method, **changes)


def as_read_by(method: SemiSupervisedClassifier, data: ImageDataset) -> ImageDataset:
    """Return a data set with images of the shape that a fitted method reads.

    One image in color makes those of a folder color images: it may have come, or gone, since the method was fitted on
    that folder, and is no reason to refuse the others.

    Raises
    ------
    InputError
        If the images have another size; the message tells both.
    """
    wanted, given = method.image_shape_, tuple(data.labeled.shape[1:])
    if wanted is None or data.is_features or on_features(method) or given == tuple(wanted):
        return data
    if given[:2] == tuple(wanted[:2]):
        kind = "gray" if wanted[2] == 1 else "color"
        return replace(
            data,
            labeled=RecoloredRows(data.labeled),
            pool=RecoloredRows(data.pool),
            test=RecoloredRows(data.test),
            validation=None if data.validation is None else RecoloredRows(data.validation),
            notes=(*data.notes, f"images are taken as {kind} ones, which the model reads"),
        )

    def called(shape: tuple[int, ...]) -> str:
        return f"{'gray' if shape[2] == 1 else 'color'} images of {shape[0]}x{shape[1]} pixels"

    raise InputError(
        f"{data.source} gives {called(given)}, and the model reads {called(tuple(wanted))}; give images of that kind "
        "(`fewlabels predict` brings files to it)"
    )


def is_source_of(method: SemiSupervisedClassifier, place: Any) -> bool:
    """Say whether a place is what a method says that it was fitted on, though it may be called otherwise now.

    Where that is gone, it is a folder that holds most of the images which the method's labels name.
    """
    own = origin_of(method).get("source")
    if own is None:
        return False
    if str(place) == own or os.path.realpath(place) == os.path.realpath(own):
        return True
    if not os.path.isabs(own) or os.path.exists(own) or not os.path.isdir(place):
        return False
    labels = labels_of(method, place)
    files = [] if labels is None else [file.replace("\\", "/") for file in read_given(labels).classes]
    # An image that is called by its whole path is none of a folder that has moved.
    here = [file for file in files if not os.path.isabs(file) and os.path.isfile(os.path.join(place, file))]
    return 2 * len(here) > len(files)


def labels_of(method: SemiSupervisedClassifier, place: Any) -> str | dict[str, str] | None:
    """Return the labels given by hand that a method says it was fitted with; None where their file is gone too.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Usually from `fewlabels.load`.
    place : str or Path
        Where its source is now: a file that is gone is looked for as far from there as it lay before.
    """
    origin = origin_of(method)
    labels: str | dict[str, str] | None = origin.get("labels")
    if not isinstance(labels, str):
        return labels
    labels = found_again(labels, Path(origin["source"]), Path(os.path.abspath(place)))
    return labels if Path(labels).is_file() else None


@contextlib.contextmanager
def remembered(source: str | None) -> Iterator[None]:
    """Have an error say more where a source that a model remembers is not there; None: it was given by a person."""
    try:
        yield
    except MissingSource as error:
        if source is None:
            raise
        raise InputError(
            f"{error}; the model was fitted on it: where it has moved, give the SOURCE as it is called now"
        ) from error


def pack(examples: Examples) -> bytes:
    """Return the content of `examples.safetensors`."""
    return save(
        {
            "samples": np.ascontiguousarray(examples.samples),
            "labels": examples.labels,
            "embeddings": np.ascontiguousarray(examples.embeddings),
            "held_out": examples.held_out,
            **({} if examples.hashes is None else {"hashes": examples.hashes}),
        }
    )


def unpack(path: Path, method: SemiSupervisedClassifier, checksum: str) -> Examples:
    """Read `examples.safetensors`; nothing is executed, and no memory taken for what does not fit the model.

    Raises
    ------
    InputError
        If its sizes are not those of the model's samples and features, or it is not what was saved.
    """
    shapes, kinds = dict[str, tuple[int, ...]](), dict[str, str]()
    with safe_open(path, "np") as file:
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            shapes[name], kinds[name] = tuple(part.get_shape()), str(part.get_dtype())
        count = shapes.get("labels", (0,))[0]
        shape = method.sample_shape_ if len(shapes.get("samples", ())) == 2 else method.image_shape_
        wanted = {
            "samples": ((count, *(shape or ())), "F32" if shape is not None and len(shape) == 1 else "U8"),
            "labels": ((count,), "I64"),
            "embeddings": ((count, method._n_features_out), "F32"),
            "held_out": ((count,), "BOOL"),
        }
        if "hashes" in shapes:
            wanted["hashes"] = ((shapes["hashes"][0], HASH_BYTES), "U8")
        if {name: (shapes[name], kinds[name]) for name in shapes} != wanted or not 0 < count <= MOST:
            raise InputError(f"{path} does not fit the model: it has {shapes}, expected up to {MOST:,} samples {shape}")
        check_content(path, checksum)
        found = Examples(**{name: file.get_tensor(name) for name in wanted})
    if found.labels.min() < 0 or found.labels.max() >= len(method.classes_):
        raise InputError(f"{path} does not fit the model: labels are not from 0 to {len(method.classes_) - 1}")
    return found
