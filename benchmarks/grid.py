"""Many trainings, several at a time: what is done is kept in a file and not done again."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from harness import RESULTS

Run = dict[str, Any]


def run_missing(
    name: str, wanted: dict[str, tuple[Any, ...]], measure: Callable[..., Run], jobs: int
) -> dict[str, Run]:
    """Return all runs kept in `benchmarks/results/NAME.json`, those that were missing measured and added.

    Parameters
    ----------
    name : str
        Of the file.
    wanted : dict
        Arguments of `measure` for each run's key.
    measure : callable
        A module's function that returns what a run reached, `test_accuracy` among it.
    jobs : int
        Runs at a time; the cores are shared out among them, unless OMP_NUM_THREADS says how many each takes.
    """
    runs = kept_runs(name)
    missing = {key: arguments for key, arguments in wanted.items() if key not in runs}
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // jobs))
    spawned = multiprocessing.get_context("spawn")
    # A process each, so that a run leaves no memory behind.
    with ProcessPoolExecutor(jobs, spawned, torch.set_num_threads, (threads,), max_tasks_per_child=1) as pool:
        waiting = {pool.submit(measure, *arguments): key for key, arguments in missing.items()}
        for number, done in enumerate(as_completed(waiting), 1):
            runs[waiting[done]] = done.result()
            _file(name).write_text(json.dumps(runs, indent=1) + "\n")
            share = f"{100 * done.result()['test_accuracy']:.1f} %"
            print(f"({number}/{len(missing)}) {waiting[done]}: {share}", flush=True)
    return runs


def kept_runs(name: str) -> dict[str, Run]:
    """Return the runs that are kept in `benchmarks/results/NAME.json`, none where there is no such file."""
    path = _file(name)
    return json.loads(path.read_text()) if path.exists() else {}


def _file(name: str) -> Path:
    return RESULTS / f"{name}.json"


def mean_and_spread(runs: list[Run]) -> str:
    """Return mean and standard deviation of the runs' test accuracies in per cent, and how many there are."""
    found = [100 * run["test_accuracy"] for run in runs]
    spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):.1f}{spread} ({len(found)})"
