"""Parquet in the Hugging Face image layout: `image` as a struct of bytes and path, `label`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fewlabels.data.cache import EncodedImages, decoded
from fewlabels.data.dataset import ImageNames
from fewlabels.data.decode import natural_key
from fewlabels.data.folder import OR_A_FILE
from fewlabels.data.listing import IMAGE_SUFFIXES, Listing, stamp_of
from fewlabels.data.parts import Part, Parts, class_indices, is_no_label, spelled_once
from fewlabels.data.rows import ImageRows
from fewlabels.data.workers import Encoded
from fewlabels.storage.errors import InputError
from fewlabels.storage.visible import visible
from fewlabels.storage.wording import enumeration, first_line

_BATCH = 64
_SHOWN = 3
_KINDS_OF_LABELS = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
)
_KINDS_OF_IMAGES = (pa.types.is_struct, pa.types.is_binary, pa.types.is_large_binary)
_WORDS = {
    "train": ("train", "trainset", "training", "labeled", "labelled"),
    "unlabeled": ("unlabeled", "unlabelled", "unsupervised"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testset", "testing"),
}


def find_shards(source: Path) -> dict[str, list[Path]]:
    """Return the Parquet files of each part: a single file, or a folder's with `train`, `test` and so on as a word.

    The file's own name comes before those of the folders that it is in, and the innermost of these first.
    """
    if source.is_file():
        return {"train": [source]}
    shards: dict[str, list[Path]] = {}
    for path in _files_below(source):
        if (part := _part_of_file(source, path)) is not None:
            shards.setdefault(part, []).append(path)
    return shards


def holds_shards(folder: Path) -> bool:
    """Say whether a folder's Parquet files, rather than files of images, are what it is about.

    They are where one of a part has a column of images; tables that lie beside images, as predictions or lists of
    their paths do, are not.
    """
    files = _files_below(folder)
    if any(_has_images(path) for path in files if _part_of_file(folder, path) is not None):
        return True
    # Without an image that is a file there is nothing else to read, and the message is to be about these.
    return bool(files) and not any(Listing().files_below(folder, IMAGE_SUFFIXES))


def _files_below(folder: Path) -> list[Path]:
    """Return the Parquet files in a folder, but for hidden ones, in natural order."""
    found = [Path(file.path) for file in Listing().files_below(folder, (".parquet",))]
    return sorted(found, key=lambda path: natural_key(str(path)))


def _part_of_file(source: Path, path: Path) -> str | None:
    names = path.relative_to(source).with_suffix("").parts
    return next((part for name in reversed(names) if (part := _part_of(name)) is not None), None)


def _has_images(path: Path) -> bool:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError):
        return True  # what is wrong with it is told where it is opened
    # Text tells where images are; bytes by themselves may be some, and the message is to be about them.
    return "image" in schema.names and any(is_kind(schema.field("image").type) for is_kind in _KINDS_OF_IMAGES)


def _part_of(name: str) -> str | None:
    """Return the part that a name of a file or folder says; words within others, as "test" in "latest", say none."""
    words = re.split("[^a-z]+", name.lower())
    return next((part for part in ("unlabeled", "validation", "test", "train") if set(words) & set(_WORDS[part])), None)


def read_parquet(
    source: Path,
    image_size: int | None,
    cache: Path,
    *,
    strict: bool = False,
    progress: bool = False,
    labels_elsewhere: bool = False,
) -> Parts:
    """Read Parquet shards; with `labels_elsewhere`, no row need have a label.

    Raises
    ------
    InputError
        If a file is no Parquet file, or columns are missing or of another type.
    """
    shards = find_shards(source)
    if "train" not in shards:
        raise InputError(
            f"{source} holds no .parquet file of training images; name the shards after their part (train-0, test-0, …)"
        )
    order = [(part, path) for part in ("train", "unlabeled", "validation", "test") for path in shards.get(part, [])]
    files = {path: _open(path) for _, path in order}
    counts = [files[path].metadata.num_rows for _, path in order]
    if not sum(counts):
        raise InputError(f"{source} holds no rows")
    images = decoded(
        _encoded([path for _, path in order], counts),
        image_size,
        cache,
        strict=strict,
        progress=progress,
    )
    # What stands beside images that are to have no label is no class.
    columns = [
        [None] * count if part == "unlabeled" else _labels(path, files[path])
        for (part, path), count in zip(order, counts, strict=True)
    ]
    training = [part == "train" for part, _ in order]
    if labels_elsewhere and all(value is None for column in columns for value in column):
        # The schema may name the classes all the same.
        class_names = _names_in_schema(files[order[0][1]]) or ()
        values = np.full(sum(counts), -1)
    else:
        class_names, values = _class_indices(columns, training, [files[path] for _, path in order], order[0][1])
    part_of_row = np.repeat([part for part, _ in order], counts)[images.kept]
    values = values[images.kept]
    parts: dict[str, Part] = {}
    first = 0
    # Rows come part by part.
    for part in dict.fromkeys(part for part, _ in order):
        rows = np.flatnonzero(part_of_row == part)
        if len(rows):
            labels = np.full(len(rows), -1) if part == "unlabeled" else values[rows]
            # Those that cannot be read count, or the others would have other names when these are mended.
            names = tuple(ImageNames([(part, images.kept[rows] - first, None)]))
            parts[part] = Part(ImageRows(images.images, rows), labels.astype(np.int64), names)
        first += sum(count for (one, _), count in zip(order, counts, strict=True) if one == part)
    if "train" not in parts:
        raise InputError(f"{source} has no readable training image")
    name = source.resolve().stem if source.is_file() else source.resolve().name
    return Parts.of(
        parts,
        name=name,
        class_names=class_names,
        skipped=images.skipped,
        notes=(*_not_read(source, shards), *images.notes),
        content_key=images.key,
    )


def _not_read(source: Path, shards: dict[str, list[Path]]) -> list[str]:
    """Return a note of the files whose name says no part."""
    read = {path for paths in shards.values() for path in paths}
    left = [] if source.is_file() else [path for path in _files_below(source) if path not in read]
    if not left:
        return []
    names = enumeration([visible(path.relative_to(source).as_posix()) for path in left], most=_SHOWN)
    return [f"not read: {names} (names say the part: train-0, unlabeled-0, validation-0, test-0)"]


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, memory_map=True)
        schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {first_line(error)}") from error
    if "image" not in schema.names:
        raise InputError(f"{path} has no column 'image' (its columns: {', '.join(schema.names)})")
    kind = schema.field("image").type
    inner = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else None
    if inner is None or not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise InputError(f"{path}: column 'image' is {kind}; expected a struct of bytes and path")
    groups = file.metadata.num_row_groups
    if sum(file.metadata.row_group(number).num_rows for number in range(groups)) != file.metadata.num_rows:
        raise InputError(f"{path} is damaged: it does not have as many rows as it says")
    return file


def _labels(path: Path, file: pq.ParquetFile) -> list[Any]:
    if "label" not in file.schema_arrow.names:
        return [None] * int(file.metadata.num_rows)
    kind = file.schema_arrow.field("label").type
    if pa.types.is_null(kind):  # of a column that is empty throughout
        return [None] * int(file.metadata.num_rows)
    if pa.types.is_dictionary(kind):  # as pandas' categories are kept
        kind = kind.value_type
    if not any(is_kind(kind) for is_kind in _KINDS_OF_LABELS):
        raise InputError(f"{path}: column 'label' is {kind}; expected whole numbers or strings")
    try:
        values = file.read(columns=["label"])["label"].to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    labels = [None if is_no_label(value) else value for value in values]
    if not pa.types.is_floating(kind):
        return labels
    # Of whole numbers beside a gap pandas makes fractions.
    if broken := [label for label in labels if label is not None and not label.is_integer()]:
        raise InputError(f"{path}: column 'label' holds {broken[0]:g}; expected whole numbers or strings")
    return [None if label is None else int(label) for label in labels]


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged: {first_line(error)}")


def _class_indices(
    columns: list[list[Any]], training: list[bool], files: list[pq.ParquetFile], path: Path
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    columns, named = _in_common_names(columns, files, path)
    values = [value for column in columns for value in column]
    given = [value for value in values if value is not None]
    if len({isinstance(value, str) for value in given}) > 1:
        raise InputError(
            f"the column 'label' is text in some files of {path.parent}, whole numbers in others; make it one"
        )
    if not given:
        raise InputError(f"{path} has images but no labels; give a column 'label' with those of some rows{OR_A_FILE}")
    if named and not isinstance(given[0], str) and all(0 <= value < len(named) for value in given):
        return named, np.array([-1 if value is None else value for value in values], np.int64)
    # Of a class that only other parts have, nothing could be learned; where no training image has a label yet, these
    # say which classes there are.
    learned = {
        value for column, own in zip(columns, training, strict=True) if own for value in column if value is not None
    }
    names = spelled_once(str(value) for value in sorted(learned or set(given)))
    return names, class_indices([None if value is None else str(value) for value in values], names)[0]


def _in_common_names(
    columns: list[list[Any]], files: list[pq.ParquetFile], path: Path
) -> tuple[list[list[Any]], tuple[str, ...] | None]:
    """Return labels as numbers of one list of names, and that list: files that were made apart may each have their own.

    Files without names, and numbers beyond them, leave the numbers as they are.
    """
    labeled = [number for number, column in enumerate(columns) if any(value is not None for value in column)]
    lists = {number: names for number in labeled if (names := _names_in_schema(files[number])) is not None}
    if not lists:
        return columns, None
    for own in lists.values():
        if twice := [name for number, name in enumerate(own) if name in own[:number]]:
            raise InputError(
                f"the features of {path} name the class {twice[0]!r} twice; give each class a name of its own"
            )
    if len(set(lists.values())) == 1:
        return columns, next(iter(lists.values()))
    if len(lists) < len(labeled):
        raise InputError(
            f"files of {path.parent} name their classes differently, and some not at all; write them all with the same "
            "features"
        )
    names = tuple(dict.fromkeys(name for own in lists.values() for name in own))
    found = list(columns)
    for number, own in lists.items():
        if any(isinstance(value, str) or not 0 <= value < len(own) for value in columns[number] if value is not None):
            raise InputError(f"files of {path.parent} name their classes differently, and not all that they hold")
        moved = [names.index(name) for name in own]
        found[number] = [None if value is None else moved[value] for value in columns[number]]
    return found, names


def _names_in_schema(file: pq.ParquetFile) -> tuple[str, ...] | None:
    try:
        info = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])
        names = info["info"]["features"]["label"]["names"]
        return tuple(str(name) for name in names)
    except (KeyError, ValueError, TypeError):
        return None


def _encoded(paths: list[Path], counts: list[int]) -> EncodedImages:
    manifest = [[str(path.resolve()), *stamp_of(path.stat())] for path in paths]
    starts = np.cumsum([0, *counts])

    def items() -> Iterator[Encoded]:
        for path in paths:
            try:
                for batch in _open(path).iter_batches(batch_size=_BATCH, columns=["image.bytes"]):
                    for content in batch.column("image").field("bytes"):
                        yield content.as_py() or b""
            except InputError:
                raise
            except (pa.ArrowException, OSError, ValueError) as error:
                raise _damaged(path, error) from error

    def name(number: int) -> str:
        file = int(np.searchsorted(starts, number, side="right")) - 1
        return f"{paths[file]} row {number - starts[file]}"

    return EncodedImages(manifest, items, name, int(starts[-1]))
