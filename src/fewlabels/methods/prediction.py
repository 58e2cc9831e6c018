"""Outputs of a classifier for any number of rows, a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewlabels.nets import Classifier
from fewlabels.training.batches import Rows
from fewlabels.training.memory import InPartsThatFit
from fewlabels.views import ImageViews

# Larger chunks leave the processor's caches: 250 images of 32 px are as fast as it gets.
_CHUNK_PIXELS = 250 * 32 * 32
_SMALLEST_CHUNK = 16


def output_chunks(
    classifier: Classifier,
    rows: Rows,
    device: torch.device,
    *,
    flip: bool = False,
    features: bool = False,
    precision: torch.dtype = torch.float32,
) -> Iterator[NDArray[np.floating]]:
    """Yield the classifier's outputs for all rows in order, some rows at a time.

    Memory does not grow with the number of rows, which may lie on disk.

    Parameters
    ----------
    classifier : Classifier
        Is put in evaluation mode.
    rows : Rows
        Stored samples.
    device : torch.device
        Where the classifier is.
    flip : bool
        Average with the outputs for the mirrored image.
    features : bool
        Yield those of the encoder's features that tell where a sample lies among others rather than logits.
    precision : torch.dtype
        Of the arithmetic: float32, or bfloat16 where a guess is wanted fast.

    Yields
    ------
    ndarray of shape (chunk, classes) or (chunk, embedding_size)
        In the classifier's own type.
    """
    ask = InPartsThatFit(classifier.embedding if features else classifier)
    dtype = classifier.mean.dtype

    def asked(inputs: Tensor) -> Tensor:
        output = ask(inputs).to(dtype)
        return (output + ask(inputs.flip(3)).to(dtype)) / 2 if flip else output

    yield from _computed(asked, classifier, rows, device, precision)


def predict_logits(
    classifier: Classifier,
    rows: Rows,
    device: torch.device,
    *,
    flip: bool = False,
    features: bool = False,
    precision: torch.dtype = torch.float32,
) -> NDArray[np.floating]:
    """Return the classifier's outputs for all rows, (n, classes) or (n, embedding_size).

    See `output_chunks` for the parameters.
    """
    chunks = output_chunks(classifier, rows, device, flip=flip, features=features, precision=precision)
    return _all(((chunk,) for chunk in chunks), len(rows))[0]


def logits_and_features(
    classifier: Classifier,
    rows: Rows,
    device: torch.device,
    *,
    flip: bool = False,
    precision: torch.dtype = torch.float32,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return what `predict_logits` gives, and its `features` of the image as it is, from one way through the encoder.

    See `output_chunks` for the parameters.
    """
    dtype = classifier.mean.dtype

    def both(inputs: Tensor) -> Tensor:
        feature_map = classifier.feature_map(inputs)
        output = classifier.classify_map(feature_map).to(dtype)
        if flip:
            output = (output + classifier(inputs.flip(3)).to(dtype)) / 2
        return torch.cat([output, classifier.encoder.pool(feature_map)[:, :size].to(dtype)], 1)

    size = classifier.encoder.embedding_size
    chunks = _computed(InPartsThatFit(both), classifier, rows, device, precision)
    logits, features = _all(((chunk[:, :-size], chunk[:, -size:]) for chunk in chunks), len(rows))
    return logits, features


def _all(chunks: Iterator[tuple[NDArray[np.floating], ...]], rows: int) -> list[NDArray[np.floating]]:
    """Return what several arrays are in all, of which some rows come at a time; no row is there twice."""
    found: list[NDArray[np.floating]] = []
    done = 0
    for parts in chunks:
        found = found or [np.empty((rows, part.shape[1]), part.dtype) for part in parts]
        for whole, part in zip(found, parts, strict=True):
            whole[done : done + len(part)] = part
        done += len(parts[0])
    return found


def _computed(
    compute: Callable[[Tensor], Tensor],
    classifier: Classifier,
    rows: Rows,
    device: torch.device,
    precision: torch.dtype,
) -> Iterator[NDArray[np.floating]]:
    """Yield what is computed of some rows at a time, without gradients and in a precision."""
    for inputs in _inputs(classifier, rows, device):
        with torch.inference_mode(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
            found = compute(inputs)
        yield found.cpu().numpy()


def _inputs(classifier: Classifier, rows: Rows, device: torch.device) -> Iterator[Tensor]:
    """Yield some rows at a time as the classifier, in evaluation mode, reads them."""
    classifier.eval()
    plain = ImageViews(torch.Generator(device)).plain
    dtype, length = classifier.mean.dtype, classifier.mean.numel()
    for chunk in rows.chunks(_chunk_size(rows), device):
        # Stored vectors may hold several views: the first is of the image as it is.
        yield plain(chunk) if chunk.ndim == 4 else chunk[:, :length].to(dtype)


def _chunk_size(rows: Rows) -> int:
    shape = rows.sample_shape
    pixels = shape[0] * shape[1] if len(shape) == 3 else 32 * 32
    return max(_SMALLEST_CHUNK, _CHUNK_PIXELS // pixels)
