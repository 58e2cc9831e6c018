"""A pool as a model sees it, and which of its images to label next."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.progress import Progress

from fewlabels.data import ImageDataset, SkippedImage
from fewlabels.data.features import is_feature_folder
from fewlabels.data.files import files_in, image_chunks
from fewlabels.data.folder import has_class_folders, is_source_folder
from fewlabels.data.given import joined_labels, why_not_by_hand
from fewlabels.data.heading import TABLE_SUFFIXES, heading_of
from fewlabels.data.labels_file import COLUMNS as LABELS_COLUMNS
from fewlabels.data.labels_file import delimiter_of, read_labels
from fewlabels.data.parquet import holds_shards
from fewlabels.labeling.inside import UNLIKE, InDistribution
from fewlabels.labeling.ranking import DEFAULT_COUNT, check_strategy, rank_for_labeling
from fewlabels.methods import SemiSupervisedClassifier
from fewlabels.methods.examples import Examples, probabilities_and_embeddings
from fewlabels.methods.origin import (
    as_read_by,
    how_to_label,
    is_source_of,
    labels_of,
    load_to_label,
    origin_of,
    place_of,
)
from fewlabels.storage.arguments import check_count, check_kind
from fewlabels.storage.atomic import write_bytes
from fewlabels.storage.cells import table
from fewlabels.storage.csv_quoting import quoting_for
from fewlabels.storage.errors import InputError
from fewlabels.storage.frames import new_frame
from fewlabels.storage.screen import new_bar
from fewlabels.storage.visible import encodable
from fewlabels.storage.wording import were

COLUMNS = ("file", "class", "guess", "probability", "in_distribution", "rank")
_MEASURED = ("probability", "in_distribution")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in COLUMNS[:3]]
    + [(name, pa.float64()) for name in _MEASURED]
    + [("rank", pa.int64())]
)
_CHUNK = 2048


_IN_A_NOTEBOOK = 20


@dataclass(frozen=True)
class PoolDescription:
    """A pool as a model sees it.

    Attributes
    ----------
    names : sequence of str, of length n
        What to call each image in a labels file: as the source calls it, or the path of the file as it was given.
    class_names : tuple of str
        Of the columns of `class_probabilities`.
    class_probabilities : ndarray of float32, shape (n, n_classes)
        Calibrated. Before there is a model it has no columns.
    in_distribution : ndarray of float64, shape (n,)
        From 0 to 1, see `InDistribution`; NaN where the model has no examples.
    order : ndarray of int64, shape (n,)
        Rows of the pool, that whose label would help most first; see `rank_for_labeling`.
    strategy : str
        By which they are ordered.
    data : ImageDataset or None
        Where the pool is that of a source: the source, whose `pool` has the images in the order of `names`.
    skipped : tuple of SkippedImage
        Files left out.
    notes : tuple of str
        What a user should know.
    is_measured : bool
        Whether so many labeled images were held out that a score below 0.05 says how rare its image is among them.
    """

    names: Sequence[str]
    class_names: tuple[str, ...]
    class_probabilities: NDArray[np.float32]
    in_distribution: NDArray[np.float64]
    order: NDArray[np.int64]
    strategy: str
    data: ImageDataset | None = None
    skipped: tuple[SkippedImage, ...] = ()
    notes: tuple[str, ...] = ()
    is_measured: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def guesses(self) -> list[str]:
        """The most probable class of each image; empty before there is a model."""
        if not self.class_names:
            return [""] * len(self.class_probabilities)
        return [self.class_names[index] for index in self.class_probabilities.argmax(1)]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """The probability of the most probable class, (n,); NaN before there is a model."""
        if not self.class_names:
            return np.full(len(self.class_probabilities), np.nan, np.float32)
        return np.asarray(self.class_probabilities.max(1))

    @property
    def ranks(self) -> NDArray[np.int64]:
        """The place of each image in the order, from 1, (n,)."""
        found = np.empty(len(self.order), np.int64)
        found[self.order] = np.arange(1, len(self.order) + 1)
        return found

    def path(self, row: int) -> Path | None:
        """Return the file of an image, or None where it is none."""
        place = Path(self.names[row])
        if self.data is not None:
            place = Path(self.data.source) / place
        return place if place.is_file() else None

    def names_in(self, folder: str | Path) -> list[str]:
        """Return what to call the images in a labels file that lies in a folder.

        Files that are no part of a source go by their path from there.
        """
        if self.data is not None:
            return list(self.names)
        start = os.path.realpath(folder)
        # Where a file lies, though it may be a link to another.
        places = [os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name)) for name in self.names]
        # A path on another drive has none from here.
        return [
            place if os.path.splitdrive(place)[0] != os.path.splitdrive(start)[0] else os.path.relpath(place, start)
            for place in places
        ]

    def rows(self, names: Sequence[str] | None = None, count: int | None = None) -> list[dict[str, Any]]:
        """Return one dict an image, keys as `COLUMNS`, best first; the class is empty, for a person to fill in.

        Parameters
        ----------
        names : sequence of str, optional
            What to call the images; `names` when not given.
        count : int, optional
            Only the first so many.
        """
        called = self.names if names is None else names
        shown = self.order if count is None else self.order[:count]
        some = replace(self, names=(), class_probabilities=self.class_probabilities[shown], order=shown)
        measured = zip(some.guesses, some.probabilities.tolist(), self.in_distribution[shown].tolist(), strict=True)
        return [
            {
                "file": called[row],
                "class": "",
                "guess": guess,
                "probability": None if np.isnan(probability) else probability,
                "in_distribution": None if np.isnan(inside) else inside,
                "rank": place,
            }
            for place, (row, (guess, probability, inside)) in enumerate(zip(shown.tolist(), measured, strict=True), 1)
        ]

    def summary(self, count: int = 20) -> dict[str, Any]:
        """Return the facts of the pool, and its first rows as `next`, as plain values."""
        known = not np.isnan(self.in_distribution).any()
        return {
            "images": len(self),
            "skipped": len(self.skipped),
            "notes": list(self.notes),
            "strategy": self.strategy,
            "classes": list(self.class_names),
            "unlike_the_labeled": int((self.in_distribution < UNLIKE).sum()) if known and self.is_measured else None,
            "next": self.rows(count=count),
        }

    def _repr_html_(self) -> str:
        title = f"{len(self):,} pool images, those whose labels would help most first"
        return table(self.rows(count=_IN_A_NOTEBOOK), title=title)

    def to_frame(self) -> Any:
        """Return the pool as a pandas DataFrame, best first.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        return new_frame(self.rows(), COLUMNS)

    def write(self, path: str | Path) -> Path:
        """Write the pool, best first, to a `.csv` or `.parquet` file, whole or not at all.

        Its column `class` is empty: filled in for some images, the CSV file is a labels file. Rows of such a file that
        are filled in stay, before those of the pool.

        Raises
        ------
        InputError
            If the file is to be of another kind, or holds something else than this writes.
        """
        place = Path(path)
        kept = check_table(place)
        here, source = [str(place.parent)], [] if self.data is None else [self.data.source]
        # The table may be of files before and of their source now.
        filled = {way for row in kept for way in _ways(row["file"], here + source)}
        rows = [
            row
            for row in self.rows(self.names_in(place.parent))
            if not kept or filled.isdisjoint(_ways(row["file"], source or here))
        ]
        content = io.BytesIO()
        if place.suffix.lower() == ".csv":
            text = io.StringIO()
            quoting = quoting_for(value for row in [*kept, *rows] for value in (row["file"], row["class"]))
            writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", quoting=quoting)
            writer.writeheader()
            writer.writerows(kept)
            for row in rows:
                shown = {name: "" if row[name] is None else f"{row[name]:.4f}" for name in _MEASURED}
                writer.writerow({**row, **shown})
            content.write(text.getvalue().encode("utf-8", "surrogateescape"))
        else:
            pq.write_table(
                pa.table({name: [_storable(row[name]) for row in rows] for name in COLUMNS}, schema=_SCHEMA), content
            )
        write_bytes(place, content.getvalue())
        return place


def describe_pool(
    model: SemiSupervisedClassifier,
    pool: Any = None,
    *,
    strategy: str | None = None,
    count: int = DEFAULT_COUNT,
    random_state: int = 0,
    labels: Any = None,
    strict: bool = False,
    progress: bool = False,
    **options: Any,
) -> PoolDescription:
    """Classify a pool, say of each image whether it is of the kind that the model knows, and what to label next.

    Parameters
    ----------
    model : SemiSupervisedClassifier
        Usually from `fewlabels.load`; models of `fewlabels fit` and of comparisons know the images they learned from.
    pool : str, Path, sequence of Path or ImageDataset, optional
        Image files and folders of such; or a source as `load_dataset` takes it, whose pool is meant: what is in
        `unlabeled/`, and labeled images whose labels were not drawn. Of the source that the model was fitted on, the
        same were drawn. That source, when not given.
    strategy, count, random_state
        See `rank_for_labeling`.
    labels : str, Path or mapping, optional
        Labels given by hand, see `load_dataset`; these images are left out of the pool, and regarded as labeled. When
        not given, those that the model was fitted with.
    strict : bool
        Refuse unreadable images rather than leave them out.
    progress : bool
        Show a progress bar.
    **options
        More arguments for `load_dataset`, such as `cache_dir`.

    Returns
    -------
    PoolDescription

    Raises
    ------
    InputError
        If the pool is empty, cannot be read, is an array, or does not fit the model.

    Examples
    --------
    >>> import fewlabels
    >>> from fewlabels.methods.examples import remember
    >>> data = fewlabels.load_dataset("digits", labels_per_class=2)
    >>> model = fewlabels.Supervised(steps=20, random_state=0).fit(data.labeled, data.labels)
    >>> remember(model, data)
    >>> found = describe_pool(model, data)
    >>> len(found), sorted(found.rows(count=1)[0])
    (1180, ['class', 'file', 'guess', 'in_distribution', 'probability', 'rank'])
    """
    check_kind("model", model, SemiSupervisedClassifier, "a fitted method; read a saved one by fewlabels.load")
    check_count("count", count)
    strategy = check_strategy(strategy)
    if hasattr(pool, "shape"):
        raise InputError(
            "pool is an array; describe_pool reads image files and sources. Of an array, "
            "rank_for_labeling(model.predict_proba(pool), model.transform(pool)) tells what to label next"
        )
    data: ImageDataset | None = None
    skipped: list[SkippedImage] = []
    names: list[str] | Sequence[str] = []
    if isinstance(pool, ImageDataset):
        if labels is not None:
            raise InputError("labels go with a source that is to be read; give them to load_dataset for this data set")
        data = pool
    elif _is_source(model, pool):
        data = _source(model, pool, labels=labels, strict=strict, progress=progress, **options)
    elif labels is not None:
        raise InputError("labels go with the pool of a source, not with image files; give the source as pool")
    if data is not None:
        names = [f"pool[{row}]" for row in range(len(data.pool))] if data.pool_names is None else data.pool_names
        chunks = _rows_of(data, progress)
        skipped = list(data.skipped)
    else:
        chunks = _files(model, pool, names := [], skipped, strict, progress)
    found = [probabilities_and_embeddings(model, images) for images in chunks]
    if not found:
        raise InputError(f"the pool of {getattr(data, 'source', pool)} is empty: there is nothing to label")
    probabilities = np.concatenate([one for one, _ in found])
    embeddings = np.concatenate([one for _, one in found])
    del found
    examples: Examples | None = getattr(model, "examples_", None)
    notes = list(() if data is None else data.notes)
    inside, is_measured = np.full(len(probabilities), np.nan), False
    known = np.empty((0, embeddings.shape[1]), np.float32)
    if examples is None:
        notes.append(
            "the model does not keep the images it learned from, so that nothing is said of how like them the pool is; "
            "`fewlabels fit` and `compare` keep them, and in Python fewlabels.methods.examples.remember(model, data)"
        )
    else:
        measure = InDistribution(examples)
        is_measured = measure.is_measured
        inside = measure.scores(embeddings)
        if not is_measured:
            notes.append(
                f"{were(int(examples.held_out.sum()), 'labeled image')} held out, too few to say how many of the pool "
                "are unlike them; the scores tell the order alone"
            )
        known = examples.embeddings
    if data is not None:
        # The model may not know all: its examples are some, and labels may have been given since.
        more = [probabilities_and_embeddings(model, images)[1] for images in _labeled(data)]
        known = np.concatenate([known, *more])
    order = rank_for_labeling(
        probabilities, embeddings, known, strategy=strategy, random_state=random_state, count=count
    )
    return PoolDescription(
        names=names,
        class_names=tuple(getattr(model, "class_names_", [str(name) for name in model.classes_])),
        class_probabilities=probabilities.astype(np.float32),
        in_distribution=inside,
        order=order,
        strategy=strategy,
        data=data,
        skipped=tuple(skipped),
        notes=tuple(notes),
        is_measured=is_measured,
    )


def check_table(path: Path) -> list[dict[str, str]]:
    """Refuse a file that a table cannot be written to; return the rows of an earlier table that a person has filled in.

    Raises
    ------
    InputError
        If it is of another kind, or holds classes in another form, more columns or something else, which would be lost.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(f"{path} is neither .csv nor .parquet")
    heading = heading_of(path)
    if heading is None:
        return []
    if not set(COLUMNS) <= set(heading) and not (path.suffix.lower() == ".csv" and set(LABELS_COLUMNS) <= set(heading)):
        raise InputError(f"{path} is no table that `fewlabels label` wrote, and would be lost; give another --out")
    if path.suffix.lower() != ".csv":
        filled = _filled_in_parquet(path)
    else:
        content = path.read_bytes()
        # The reader of dictionaries would take an empty line above the heading for that.
        text = io.StringIO(content.decode("utf-8-sig", "surrogateescape").lstrip("\r\n"), newline="")
        read = csv.DictReader(text, delimiter=delimiter_of(content))
        given = read_labels(path)
        if given.notes:
            raise InputError(
                f"the last line of {path} has no end, and would be lost: end it with a newline if it is whole, or take "
                "it away; nothing was written"
            )
        classes = given.classes
        if set(COLUMNS) <= set(heading):
            found = list(read)
            more = dict.fromkeys(name for row in found for name in row if name and name not in COLUMNS and row[name])
            if more:
                raise InputError(f"{path} has columns that would be lost ({', '.join(more)}); give another --out")
            rows = {row["file"]: {name: row[name] or "" for name in COLUMNS} for row in found}
            return [{**rows[name], "class": given} for name, given in classes.items()]
        filled = len(classes)
    if filled:
        raise InputError(f"{path} holds {filled:,} classes, which would be lost; give another --out")
    return []


def _ways(name: str, folders: Sequence[str]) -> Iterator[str]:
    """Yield what an image may be called: with slashes where Windows has backslashes, and by where it really lies."""
    for way in dict.fromkeys((name, name.replace("\\", "/"))):
        yield way
        if "\0" not in way:
            for folder in folders:
                place = os.path.join(folder, way)
                yield os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))


def _filled_in_parquet(path: Path) -> int:
    try:
        found = pq.read_table(path, columns=["class"])["class"].to_pylist()
    except (OSError, ValueError):  # damaged
        return 0
    return sum(bool(str(one or "").strip()) for one in found)


def _storable(value: Any) -> Any:
    return encodable(value) if isinstance(value, str) else value


def _is_source(model: SemiSupervisedClassifier, pool: Any) -> bool:
    if pool is None:
        return True
    if not isinstance(pool, str | Path):
        return False
    place = Path(pool)
    # An empty name is one that no source has, and not the folder that is worked in, as paths take it.
    if pool == "" or not place.exists() or is_source_of(model, pool):
        return True
    if place.is_file():
        return place.suffix.lower() in (".npz", ".parquet", ".pq") or ".tar" in place.name
    # Moved, or a copy: its class folders are the model's classes, and what has no label lies in a part of its own.
    if has_class_folders(place, getattr(model, "class_names_", ())):
        return True
    return is_source_folder(place) or is_feature_folder(place) or holds_shards(place)


def _source(model: SemiSupervisedClassifier, pool: Any, **options: Any) -> ImageDataset:
    """Read a source as it was for the fit, where the model was fitted on it."""
    given = {name: value for name, value in options.items() if value is not None}
    is_own = pool is None or is_source_of(model, pool)
    place = place_of(model, pool)
    known = labels_of(model, place) if is_own and place is not None else None
    if known is not None and "labels" in given:
        # They join those that the model was fitted with.
        before = _source(model, pool, **options | {"labels": None})
        given["labels"] = joined_labels(known, given["labels"], before)
    elif known is not None:
        given["labels"] = known
    how = {**how_to_label(model, pool), **given}
    if is_own:
        data = load_to_label(model, **how)
        if streamed := origin_of(model).get("pool"):
            if not len(data.pool):
                raise InputError(f"{data.source} has no images without a label; {why_not_by_hand(streamed)}")
            data = replace(data, notes=(*data.notes, why_not_by_hand(streamed)))
    else:
        from fewlabels.data import load_dataset

        data = load_dataset(**how)
    return as_read_by(model, data)


def _rows_of(data: ImageDataset, progress: bool) -> Iterator[Any]:
    with new_bar(*Progress.get_default_columns(), shown=progress) as bar:
        task = bar.add_task("looking at the pool", total=len(data.pool))
        for start in range(0, len(data.pool), _CHUNK):
            chunk = np.arange(start, min(start + _CHUNK, len(data.pool)))
            yield data.pool.take(chunk)
            bar.advance(task, len(chunk))


def _labeled(data: ImageDataset) -> Iterator[Any]:
    for start in range(0, len(data.labeled), _CHUNK):
        yield data.labeled.take(np.arange(start, min(start + _CHUNK, len(data.labeled))))


def _files(
    model: SemiSupervisedClassifier,
    pool: Any,
    names: list[str],
    skipped: list[SkippedImage],
    strict: bool,
    progress: bool,
) -> Iterator[NDArray[np.uint8]]:
    """Yield images of files, and put down what they are called and which were left out."""
    shape = model.image_shape_
    if shape is None:
        raise InputError("this model classifies vectors, not image files; give the source of its features")
    files = files_in([Path(pool)] if isinstance(pool, str | Path) else [Path(path) for path in pool])
    for chunk in image_chunks(files, shape, strict=strict, progress=progress):
        names += chunk.paths
        skipped += chunk.skipped
        if len(chunk.images):
            yield chunk.images
