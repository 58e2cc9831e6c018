"""Labels for a pool in shards, written a partition at a time: what was cut off goes on with those that are missing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from rich.progress import Progress

from fewlabels.data import workers
from fewlabels.data.shards import Shards
from fewlabels.labeling.inside import InDistribution
from fewlabels.methods import SemiSupervisedClassifier, load
from fewlabels.methods.examples import probabilities_and_embeddings
from fewlabels.storage.atomic import write_bytes
from fewlabels.storage.cache_folder import cache_folder
from fewlabels.storage.engine import check_engine
from fewlabels.storage.errors import InputError
from fewlabels.storage.hub import HubAddress, is_hub_address
from fewlabels.storage.keys import key_of
from fewlabels.storage.model_folder import CARD, CONFIG, OF_CARD, model_files, read_description
from fewlabels.storage.screen import new_bar
from fewlabels.storage.visible import encodable
from fewlabels.storage.wording import first_line

# Blocks of a partition: what is lost when a process dies, and what one file of labels holds.
_BLOCKS = 8
_FORMAT_VERSION = 1
_PLAN, _SUMMARY = "_plan.json", "_summary.json"
_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("guess", pa.string()),
        ("probability", pa.float64()),
        ("in_distribution", pa.float64()),
        ("unreadable", pa.string()),
    ]
)


@dataclass(frozen=True)
class Partition:
    """Some blocks of a pool, and the file that their labels go to.

    Attributes
    ----------
    number : int
        From 0.
    shards : Shards
        These blocks alone.
    out : str
        Folder of the labels, as fsspec takes it; a whole path, since processes of a cluster work in another folder.
    plan : str
        Names pool and model: files of another plan are not those of this one.
    """

    number: int
    shards: Shards
    out: str
    plan: str

    @property
    def file(self) -> str:
        """Name of its file."""
        return _file(self.number)

    @property
    def count(self) -> int:
        """Images in it."""
        return sum(block.count for block in self.shards.blocks)


def label_shards(
    model: str | Path,
    pool: str,
    out: str | Path,
    *,
    engine: str = "local",
    processes: int | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Classify a pool in shards, however large, into a folder of Parquet files with one row an image.

    Columns are `file`, `guess`, `probability` (calibrated), `in_distribution` (see `InDistribution`; empty where the
    model keeps no labeled images) and `unreadable` (why, where an image could not be read; the others are empty then).
    A partition's file is written whole, and is the same whoever writes it: a run that was cut off, or lost a process,
    goes on with the partitions that are missing when it is called again.

    Parameters
    ----------
    model : str or Path
        Folder, or `hub:OWNER/NAME`.
    pool : str
        See `fewlabels.data.shards.Shards`.
    out : str or Path
        Folder for the labels, a path or an address that fsspec knows; on a cluster, one that all machines reach.
    engine : {"local", "ray"}
        This process, or a Ray cluster: the one that `RAY_ADDRESS` names or that `ray start` has begun on this machine,
        else one that is started here.
    processes : int, optional
        Of the cluster, at a time; as many as it has CPUs when not given.
    cache_dir : str or Path, optional
        Where indexes of archives are kept.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        `images`, `unreadable`, `partitions`, how many of these were there before (`found`), and `notes` of what was
        not read of the pool.

    Raises
    ------
    InputError
        If model or pool cannot be read, the folder holds labels of others, or Ray is not installed.
    """
    check_engine(engine)
    folder = _folder_of(model)
    method = load(folder)
    if method.image_shape_ is None:
        raise InputError(f"{model} classifies vectors, not images")
    shards = Shards(str(pool), cache_folder(cache_dir))
    place = str(out)
    if shards.would_take(f"{place}/{_file(0)}"):
        raise InputError(f"{place} lies in the pool, of which the labels would be a part; give a folder elsewhere")
    plan, whole = _begin(place, *_plans(folder, shards)), _from_anywhere(place)
    partitions = [
        Partition(number, shards.part(range(first, min(first + _BLOCKS, len(shards.blocks)))), whole, plan)
        for number, first in enumerate(range(0, len(shards.blocks), _BLOCKS))
    ]
    missing = [one for one in partitions if unreadable_in(one) is None]
    if engine == "ray" and missing:
        from fewlabels.labeling.cluster import with_ray

        done = with_ray(missing, folder, processes)
    else:
        done = _here(missing, method)
    # Ray tells of processes that died on the standard output, which may be for a program.
    aside = contextlib.redirect_stdout(sys.stderr) if engine == "ray" else contextlib.nullcontext()
    with aside, new_bar(*Progress.get_default_columns(), shown=progress) as bar:
        task = bar.add_task("labeling", total=len(partitions), completed=len(partitions) - len(missing))
        for _ in done:
            bar.advance(task)
    found = [unreadable_in(one) for one in partitions]
    if None in found:
        raise InputError(f"{place} lacks {found.count(None)} of {len(partitions)} partitions; run the command again")
    summary = {
        "images": sum(one.count for one in partitions),
        "unreadable": sum(count or 0 for count in found),
        "partitions": len(partitions),
    }
    write_whole(place, _SUMMARY, json.dumps(summary).encode())
    return summary | {"found": len(partitions) - len(missing), "notes": list(shards.notes)}


def label_partition(partition: Partition, method: SemiSupervisedClassifier, inside: InDistribution | None) -> int:
    """Classify the images of a partition, write its file, and return how many images could not be read."""
    names = list(getattr(method, "class_names_", [str(name) for name in method.classes_]))
    rows: list[dict[str, Any]] = []
    for number in range(len(partition.shards.blocks)):
        rows += _label_block(partition.shards, number, method, inside, names)
    table = pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata({"plan": partition.plan}))
    content = io.BytesIO()
    pq.write_table(table, content)
    write_whole(partition.out, partition.file, content.getvalue())
    return sum(row["unreadable"] is not None for row in rows)


def unreadable_in(partition: Partition) -> int | None:
    """Return how many images of a partition could not be read, or None where its file is missing or another's."""
    system, place = url_to_fs(f"{partition.out}/{partition.file}")
    try:
        with system.open(place, "rb") as file:
            found = pq.ParquetFile(file)
            if found.metadata.num_rows != partition.count:
                return None
            if (found.schema_arrow.metadata or {}).get(b"plan", b"").decode() != partition.plan:
                return None
            return int(partition.count - found.read(columns=["unreadable"])["unreadable"].null_count)
    except (OSError, pa.ArrowException, ValueError):
        return None


def write_whole(out: str, name: str, content: bytes) -> None:
    """Write a file so that it is whole or absent; object stores do that by themselves."""
    system, place = url_to_fs(out)
    if isinstance(system, LocalFileSystem):
        write_bytes(Path(place) / name, content)
        return
    try:
        system.pipe_file(f"{place}/{name}", content)
    except Exception as error:  # each file system has errors of its own
        raise InputError(f"{out} cannot be written to: {first_line(error)}") from error


def is_begun(out: str) -> bool:
    """Say whether a folder was begun to hold the labels of a pool."""
    system, place = url_to_fs(out)
    return bool(system.exists(f"{place}/{_PLAN}"))


def scores_of(method: SemiSupervisedClassifier) -> InDistribution | None:
    """Return what tells how like a model's labeled images others are, where it keeps those."""
    examples = getattr(method, "examples_", None)
    return None if examples is None else InDistribution(examples)


def _label_block(
    shards: Shards, number: int, method: SemiSupervisedClassifier, inside: InDistribution | None, names: list[str]
) -> list[dict[str, Any]]:
    assert method.image_shape_ is not None
    height, width, channels = method.image_shape_
    decode = partial(workers.decode_all, size=(height, width), gray=channels == 1)
    block = shards.blocks[number]
    found = [one for some in workers.in_parallel(decode, shards.read(number), block.count) for one in some]
    if len(found) != block.count:
        raise InputError(f"{shards.name(number, 0)}: {len(found)} images came of {block.count}; the file has changed")
    rows: list[dict[str, Any]] = [
        {"file": encodable(shards.name(number, row)), "unreadable": encodable(one) if isinstance(one, str) else None}
        for row, one in enumerate(found)
    ]
    images = [one for one in found if not isinstance(one, str)]
    if images:
        probabilities, embeddings = probabilities_and_embeddings(method, np.stack(images))
        scores = None if inside is None else inside.scores(embeddings)
        readable = (row for row in rows if row["unreadable"] is None)
        for index, (row, guess) in enumerate(zip(readable, probabilities.argmax(1).tolist(), strict=True)):
            row["guess"], row["probability"] = encodable(names[guess]), float(probabilities[index, guess])
            row["in_distribution"] = None if scores is None else float(scores[index])
    return rows


def _file(number: int) -> str:
    return f"part-{number:06d}.parquet"


def _here(partitions: list[Partition], method: SemiSupervisedClassifier) -> Iterator[int]:
    inside = scores_of(method)
    for one in partitions:
        yield label_partition(one, method, inside)


def _folder_of(model: str | Path) -> Path:
    if not is_hub_address(model):
        return Path(model)
    from fewlabels.methods.published import fetch_model

    return fetch_model(HubAddress.parse(str(model)))


def _plans(folder: Path, shards: Shards) -> tuple[str, str]:
    """Return what labels depend on: the pool, the model's files and how the work is divided; and as it was before.

    Earlier versions took all that a model says of itself.
    """
    facts: list[Any] = [_FORMAT_VERSION, _BLOCKS, shards.key]
    # What a person, or `evaluate --card`, writes into the card changes no label.
    files = [file for file in sorted(model_files(folder)) if file != CARD]
    before = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files}
    config = {name: value for name, value in read_description(folder).items() if name not in OF_CARD}
    now = before | {CONFIG: key_of(config)}
    return key_of([*facts, *map(list, now.items())]), key_of([*facts, *map(list, before.items())])


def _from_anywhere(out: str) -> str:
    """Return what a folder is called from whichever folder is worked in: one on a disk by its whole path."""
    system, place = url_to_fs(out)
    return str(place) if isinstance(system, LocalFileSystem) else out


def _begin(out: str, plan: str, before: str) -> str:
    """Make the folder of the labels, or see that it is this plan's, as it is or was named; return its name there."""
    try:
        system, place = url_to_fs(out)
        kept = None
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            kept = json.loads(system.cat_file(f"{place}/{_PLAN}"))["plan"]
        if kept is None and system.exists(place) and system.ls(place, detail=False):
            raise InputError(f"{out} holds other files; give a new or empty folder")
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{out} cannot be written to: {first_line(error)}") from error
    if kept not in (None, plan, before):
        raise InputError(f"{out} holds labels of another pool or model, or of a pool that has changed; give another")
    write_whole(out, _PLAN, json.dumps({"plan": kept or plan}).encode())
    return kept or plan
