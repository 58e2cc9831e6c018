"""What a model learned from, kept with it: some labeled images, and where they lie among its features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save
from scipy.special import softmax

from fewlabels.data import FeatureRows, ImageDataset, ImageRows
from fewlabels.data.rows import HASH_BYTES, content_hashes
from fewlabels.methods.given import rows_to_predict
from fewlabels.methods.prediction import logits_and_features
from fewlabels.storage.errors import InputError
from fewlabels.storage.model_folder import check_content

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier

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
    # Opened here first: safetensors calls missing what may not be read.
    with path.open("rb"), safe_open(path, "np") as file:
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
