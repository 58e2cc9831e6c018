"""CIFAR-10 and CIFAR-100 from the official archives, the pickled ones without running pickle code."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fewlabels.data.archives import read_members
from fewlabels.data.packed import PackedImages, packed, resized
from fewlabels.data.parts import Part, Parts
from fewlabels.data.rows import ImageRows
from fewlabels.storage.errors import InputError

URLS = {
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "cifar100": "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
}
MD5 = {"cifar10": "c58f30108f718f92721af3b95e74349a", "cifar100": "eb9058c3a382ffc7106e4002c42a8d85"}
_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE


class _ArraysOnly(pickle.Unpickler):
    """Builds NumPy arrays and plain containers, and refuses to look up anything else.

    The only callables that a stream can reach are those that make an empty array and a dtype, and the text
    encoder that protocol 2 writes bytes with; none of them runs code from the stream.
    """

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not read")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for an outside object, which is not read")


def read_cifar(name: str, source: Path, image_size: int | None, cache: Path, *, progress: bool = False) -> Parts:
    """Read an official archive (python or binary version) or the folder that it unpacks to.

    Where both versions lie beside each other, the python one is read.

    Parameters
    ----------
    name : {"cifar10", "cifar100"}
        Which of them.
    source : Path
        The archive or folder.
    image_size : int or None
        Side in pixels; None: 32.
    cache : Path
        Cache folder.
    progress : bool
        Say what is going on.

    Raises
    ------
    InputError
        If files are missing or damaged, or hold anything but arrays.
    """
    size = _SIDE if image_size is None else image_size
    found = packed(source, f"{name}-{size}", cache, lambda sink: _read(name, source, size, sink), progress=progress)
    parts = {}
    count = 10 if name == "cifar10" else 100
    for part in ("train", "test"):
        labels = found.arrays[f"{part}_labels"].astype(np.int64)
        if len(labels) and not 0 <= labels.min() <= labels.max() < count:
            raise InputError(f"{source}: labels of the {part} part are not in 0 to {count - 1}")
        parts[part] = Part(ImageRows(found.images[part]), labels)
    names = tuple(str(text) for text in found.arrays["names"])
    return Parts.of(
        parts,
        name=name,
        class_names=names if len(names) == count else tuple(str(index) for index in range(count)),
        content_key=found.key,
    )


def _read(name: str, source: Path, size: int, sink: PackedImages) -> None:
    pieces: dict[str, list[tuple[str, NDArray[np.uint8], NDArray[np.int64]]]] = {"train": [], "test": []}
    names: list[str] = []
    names_in_text: list[str] = []

    def wanted(file_name: str) -> bool:
        return _part(file_name) is not None or file_name in ("batches.meta", "meta") or file_name.endswith(".txt")

    def read(file_name: str, file: IO[bytes], length: int) -> None:
        part = _part(file_name)
        content = file.read()
        if file_name in ("batches.meta", "meta"):
            found = _unpickle(content, source, file_name)
            names.extend(_text(n) for n in found.get("label_names") or found.get("fine_label_names") or [])
        elif file_name in ("batches.meta.txt", "fine_label_names.txt"):
            names_in_text.extend(
                line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()
            )
        elif part is not None:
            turn = _from_binary if file_name.endswith(".bin") else _from_python
            pieces[part].append((file_name, *turn(name, content, source, file_name)))

    read_members(source, wanted, read)
    for part, found in pieces.items():
        if not found:
            raise InputError(f"{source} holds no {part} batch of {name}; expected the official archive's files")
        # Both versions hold the same images.
        found = [piece for piece in found if not piece[0].endswith(".bin")] or found
        found.sort(key=lambda piece: piece[0])
        total = sum(len(piece[1]) for piece in found)
        sink.add(part, (total, size, size, 3), _images([piece[1] for piece in found], size))
        sink.arrays[f"{part}_labels"] = np.concatenate([piece[2] for piece in found])
    sink.arrays["names"] = np.array(names or names_in_text, dtype=np.str_)


def _part(file_name: str) -> str | None:
    stem = file_name.removesuffix(".bin")
    if stem == "train" or (stem.startswith("data_batch_") and stem[11:].isdigit()):
        return "train"
    return "test" if stem in ("test", "test_batch") else None


def _from_python(
    name: str, content: bytes, source: Path, file_name: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    found = _unpickle(content, source, file_name)
    labels = found.get("labels" if name == "cifar10" else "fine_labels")
    data = found.get("data")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
        raise InputError(f"{source}: {file_name} holds no array of images, uint8 (n, {_PIXELS})")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(isinstance(n, int) for n in labels):
        raise InputError(f"{source}: {file_name} holds no list of {len(data)} labels")
    return data, np.array(labels, np.int64)


def _from_binary(
    name: str, content: bytes, source: Path, file_name: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    head = 1 if name == "cifar10" else 2  # CIFAR-100 has the coarse label before the fine one
    if len(content) % (head + _PIXELS):
        raise InputError(f"{source}: {file_name} has {len(content):,} bytes, no multiple of {head + _PIXELS:,}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, head + _PIXELS)
    return rows[:, head:], rows[:, head - 1].astype(np.int64)


def _unpickle(content: bytes, source: Path, file_name: str) -> dict[str, Any]:
    try:
        found = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        return {_text(key): value for key, value in dict(found).items()}
    except Exception as error:  # a hostile stream may raise anything at all
        raise InputError(f"{source}: {file_name} is not read: {error}") from error


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _images(batches: list[NDArray[np.uint8]], size: int) -> Iterator[NDArray[np.uint8]]:
    for batch in batches:
        yield resized(batch.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1), size)
