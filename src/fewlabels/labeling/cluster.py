"""Partitions of a pool labeled by a Ray cluster: Ray Data hands them to processes, and again when one dies."""

from __future__ import annotations

import logging
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewlabels.labeling.partitions import Partition, label_partition, scores_of
from fewlabels.methods import load
from fewlabels.storage.engine import ray_cluster
from fewlabels.storage.errors import InputError
from fewlabels.storage.model_folder import model_files


def with_ray(partitions: list[Partition], model: Path, processes: int | None) -> Iterator[int]:
    """Label partitions on a cluster, and yield the number of each that is done.

    Each process loads the model once. When one dies, Ray starts another and hands it the partition again, whose file
    is then written anew, the same.

    Parameters
    ----------
    partitions : list of Partition
        What to do.
    model : Path
        Folder; its files are sent along, so that other machines need not reach it.
    processes : int, optional
        At a time; as many as the cluster has CPUs when not given.

    Raises
    ------
    InputError
        If Ray is not installed, or what a process was given cannot be read.
    """
    with ray_cluster("ray.data") as ray:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        cpus = int(ray.cluster_resources().get("CPU", 1))
        count = min(processes or cpus, cpus, len(partitions))
        files = {file: (model / file).read_bytes() for file in model_files(model)}
        ray.data.DataContext.get_current().enable_progress_bars = False
        # Only what this process has made is unpickled there, over Ray's own connections.
        items = [{"partition": pickle.dumps(one)} for one in partitions]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Labeler,
            fn_constructor_args=(ray.put(files),),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=1,
        )
        for row in done.iter_rows():
            if row["error"]:
                raise InputError(str(row["error"]))
            yield int(row["number"])


class _Labeler:
    """A process of the cluster with a model."""

    def __init__(self, files: Any) -> None:
        import ray

        if isinstance(files, ray.ObjectRef):
            files = ray.get(files)
        with tempfile.TemporaryDirectory(prefix="fewlabels-") as place:
            for name, content in files.items():
                (Path(place) / name).write_bytes(content)
            self.method = load(place)
        self.inside = scores_of(self.method)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        numbers, errors = [], []
        for content in batch["partition"]:
            one: Partition = pickle.loads(content)
            message = ""
            try:
                label_partition(one, self.method, self.inside)
            except InputError as error:
                message = str(error)
            numbers.append(one.number)
            errors.append(message)
        return {"number": numbers, "error": errors}
