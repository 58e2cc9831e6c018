"""What a step costs in one and in two processes, the cost model fitted to that, and what it says of large pools.

    python benchmarks/scaling.py [--rounds 3]    # ten to twenty minutes on two quiet cores
    python benchmarks/scaling.py --only labeling # a part of it: steps, labeling
    python benchmarks/scaling.py --plan          # the tables of large pools alone, from what was measured last

A step of FixMatch on 32 px images, one thread a process, is measured with several numbers of images: in one process,
in two that divide it, and in two at the same time that have nothing to do with each other. The model is

    seconds = crowd (fixed + images (divided / processes + views)) + [more than one process]
              (messages + waiting images / processes)

where `divided` are a net's passes, and `waiting` is what they take longer when they are divided: batch normalization
over all processes, and waiting for the slowest at each of its messages. Two terms are measured by themselves: `views`,
which each process makes of the whole batch, and `crowd`, what the two unrelated ones take longer than one alone, since
processes of one machine share its memory, and often its arithmetic units; it is 1 for processes that have a machine
each. The others are fitted to some sizes by non-negative least squares of relative errors, and checked on another.

Labeling a pool takes no messages: a batch of images is classified by one thread and by two, for as many images as the
model of a straight line is fitted to, and for twice as many, which it is checked on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from fewlabels.methods import FixMatch
from fewlabels.storage.errors import TrainingWarning
from fewlabels.training.processes import joined
from fewlabels.views import ImageViews
from harness import RESULTS, Report, number

FITTED, CHECKED = (24, 48, 192), 96
PROCESSES = (1, 2)
STEPS = 24
SIDE, CLASSES = 32, 10
TERMS = ("fixed", "messages", "divided", "waiting")
POOLS = (10**7, 10**9, 10**11)
# More images in a step than these make a step no better, as far as is known of nets of this size: an assumption.
LARGEST_STEP = 3072
SPREADS = (2, 16, 128)
LABELED = (500, 2000, 8000)
CORES = (1, 16, 1024)
PARTS = ("steps", "labeling")
WITHIN = 0.15


def work(out: Path) -> None:
    """Write the seconds of a step for each number of images; in as many processes as were started."""
    warnings.simplefilter("ignore", TrainingWarning)
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (960, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(60) % CLASSES
    found = {}
    with joined():
        for size in (*FITTED, CHECKED):
            ends: list[float] = []
            # A third of them labeled; float32, as bfloat16 is emulated on many processors.
            method = FixMatch(batch_size=size // 3, unlabeled_ratio=2.0, steps=STEPS, random_state=0)
            method.set_params(validation_fraction=0.0, precision="float32", device="cpu")
            method.fit(images[:60], labels, unlabeled=images, observer=lambda event: ends.append(event["seconds"]))  # noqa: B023
            # The median leaves out the steps after which accuracies are looked at.
            found[size] = float(np.median(np.diff(ends)[2:])) if ends else None
    if int(os.environ.get("RANK", "0")) == 0:
        out.write_text(json.dumps(found))


def measured(processes: int, apart: bool = False) -> dict[int, float]:
    """Return the seconds of a step for each number of images, in so many processes of one thread each.

    Parameters
    ----------
    processes : int
        At the same time.
    apart : bool
        Whether each takes all steps by itself; else they divide them.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable]
        if not apart:
            command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        outs = [Path(folder) / f"{number}.json" for number in range(processes if apart else 1)]
        alone = os.environ | {"OMP_NUM_THREADS": "1"}
        started = [subprocess.Popen([*command, __file__, "--work", str(out)], env=alone) for out in outs]
        if sum(process.wait() != 0 for process in started):
            raise SystemExit("a process failed; what it said stands above")
        found = [json.loads(out.read_text()) for out in outs]
    return {int(size): statistics.mean(each[size] for each in found) for size in found[0]}


def views_seconds(rounds: int) -> list[float]:
    """Return the seconds that an image's part in the views of a step takes, one thread."""
    images = torch.randint(0, 256, (CHECKED, SIDE, SIDE, 3), dtype=torch.uint8)
    labeled, pool = images[: CHECKED // 3], images[CHECKED // 3 :]
    views = ImageViews(torch.Generator().manual_seed(0))
    found = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        for _ in range(20):
            views.weak(labeled)
            views.weak(pool)
            views.strong(pool)
        found.append((time.perf_counter() - began) / 20 / CHECKED)
    return found[1:]


def row(size: int, processes: int, crowd: float) -> list[float]:
    """Return what the fitted terms are multiplied by."""
    several = float(processes > 1)
    return [crowd, several, crowd * size / processes, several * size / processes]


def fitted(seconds: dict[tuple[int, int], float], crowds: dict[int, float], views: float) -> dict[str, float]:
    """Return the model's terms, in seconds, from the seconds of a step by (images, processes)."""
    chosen = [key for key in seconds if key[0] in FITTED]
    weights = np.array([1 / seconds[key] for key in chosen])
    rows = np.array([row(*key, crowds[key[1]]) for key in chosen])
    rest = np.array([seconds[key] - crowds[key[1]] * key[0] * views for key in chosen])
    terms, _ = nnls(rows * weights[:, None], rest * weights)
    return dict(zip(TERMS, terms.tolist(), strict=True)) | {"views": views}


def predicted(model: dict[str, float], size: int, processes: int, crowd: float) -> float:
    """Return the seconds of a step by the model."""
    terms = np.dot(row(size, processes, crowd), [model[name] for name in TERMS])
    return float(terms + crowd * size * model["views"])


def plan(model: dict[str, float], weights: int) -> list[dict[str, Any]]:
    """Return what one pass over pools of several sizes takes, by processes that have a machine each."""
    rows = []
    for pool in POOLS:
        for processes in SPREADS:
            size = min(LARGEST_STEP, 96 * processes)
            # Two of three images in a step are of the pool.
            steps = pool / (size * 2 / 3)
            parts = {
                "passes through the net": size * model["divided"] / processes,
                "batch normalization over all, waiting": size * model["waiting"] / processes,
                "views, made by each process for the whole batch": size * model["views"],
                # A message goes through twice as many hands in one round more: an assumption.
                "messages": model["messages"] * np.log2(processes),
                "the rest of a step": model["fixed"],
            }
            seconds = sum(parts.values())
            rows.append(
                {
                    "pool": pool,
                    "processes": processes,
                    "hours": steps * seconds / 3600,
                    "terabytes": pool * SIDE * SIDE * 3 / 1e12,
                    # Gradients go out and come back; features of four passes are gathered; each reads the batch.
                    "megabytes a second and process": (8 * weights + size * (4 * 128 * 4 + SIDE * SIDE * 3))
                    / seconds
                    / 1e6,
                    "bottleneck": max(parts, key=lambda name: parts[name]),
                }
            )
    return rows


def steps(report: Report, count: int) -> dict[str, float]:
    """Measure steps in one and in two processes; return the model's terms."""
    rounds: dict[tuple[int, int], list[float]] = {}
    crowds: dict[int, list[float]] = {1: [1.0]}
    for _ in range(count):
        for processes in PROCESSES:
            for size, seconds in measured(processes).items():
                rounds.setdefault((size, processes), []).append(seconds)
        for processes in PROCESSES[1:]:
            slower = [
                seconds / rounds[size, 1][-1]
                for size, seconds in measured(processes, apart=True).items()
                if size in FITTED
            ]
            crowds.setdefault(processes, []).append(statistics.median(slower))
    for (size, processes), values in rounds.items():
        report.add(f"{size} images a step, {processes} processes", [size / value for value in values], "images/s")
    for processes in PROCESSES[1:]:
        note = "seconds of a step beside others that are not concerned, in seconds of one alone"
        report.add(f"crowd: {processes} processes", crowds[processes], "times", note)
    middle = {key: statistics.median(values) for key, values in rounds.items()}
    crowd = {processes: statistics.median(values) for processes, values in crowds.items()}
    model = fitted(middle, crowd, statistics.median(views_seconds(count)))
    for name, seconds in model.items():
        report.add(f"model: {name}", [1000 * seconds], "ms")
    for processes in PROCESSES:
        error = predicted(model, CHECKED, processes, crowd[processes]) / middle[CHECKED, processes] - 1
        add_error(report, f"model's error at {CHECKED} images, {processes} processes", error)
    return model


def add_error(report: Report, name: str, error: float) -> None:
    """Report a model's relative error beside what it may be."""
    met = "met" if abs(error) <= WITHIN else "missed"
    report.add(name, [100 * error], "%", f"target within {100 * WITHIN:g} %: {met}")


def labeling(report: Report, rounds: int) -> dict[str, float]:
    """Measure how long pools of several sizes take to be labeled; return the line's terms in seconds, one thread."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (2 * LABELED[-1], SIDE, SIDE, 3), dtype=np.uint8)
    method = FixMatch(steps=2, random_state=0, validation_fraction=0.0, precision="float32", device="cpu")
    method.fit(images[:60], np.arange(60) % CLASSES, unlabeled=images[:600])
    method.predict_proba(images[: LABELED[0]])
    seconds: dict[tuple[int, int], list[float]] = {}
    for _ in range(rounds):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for size in (*LABELED, 2 * LABELED[-1]):
                began = time.perf_counter()
                method.predict_proba(images[:size])
                seconds.setdefault((size, threads), []).append(time.perf_counter() - began)
    torch.set_num_threads(1)
    for (size, threads), values in seconds.items():
        report.add(f"labeling {size} images, {threads} threads", [size / value for value in values], "images/s")
    middle = {key: statistics.median(values) for key, values in seconds.items()}
    sizes = np.array(LABELED)
    taken = np.array([middle[size, 1] for size in LABELED])
    terms, _ = nnls(np.stack([np.ones(len(sizes)), sizes], axis=1) / taken[:, None], np.ones(len(sizes)))
    error = (terms[0] + terms[1] * 2 * LABELED[-1]) / middle[2 * LABELED[-1], 1] - 1
    add_error(report, "labeling: error at twice as many", error)
    return {"start": float(terms[0]), "image": float(terms[1])}


def labeling_plan(line: dict[str, float]) -> list[dict[str, Any]]:
    """Return what labeling pools of several sizes takes, by cores that work at a time."""
    return [
        {
            "pool": pool,
            "cores": cores,
            "hours": pool * line["image"] / cores / 3600,
            "terabytes": pool * SIDE * SIDE * 3 / 1e12,
            # A row of results has a key, a class, and probabilities: that many bytes, compressed little.
            "results, terabytes": pool * (8 + 4 + 4 * CLASSES) / 1e12,
            "megabytes a second, all together": cores * SIDE * SIDE * 3 / line["image"] / 1e6,
        }
        for pool in POOLS
        for cores in CORES
    ]


def show_labeling(rows: list[dict[str, Any]]) -> None:
    """Print the plan of labeling."""
    print("  images      cores      hours  terabytes  of results  MB/s in all  bottleneck: passes through the net")
    for found in rows:
        numbers = [number(found[name]) for name in list(found)[2:]]
        print(f"  {found['pool']:<10.0e}{found['cores']:>7}" + "".join(f"{each:>12}" for each in numbers))


def show(rows: list[dict[str, Any]]) -> None:
    """Print the plan."""
    print("  images      processes      hours  terabytes  MB/s each  bottleneck")
    for found in rows:
        cells = (f"{found['processes']:>9}", f"{number(found['hours']):>10}", f"{number(found['terabytes']):>10}")
        rate = f"{number(found['megabytes a second and process']):>10}"
        print(f"  {found['pool']:<12.0e}", *cells, rate, "", found["bottleneck"])


def main() -> None:
    """Measure, fit, check and plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=PARTS, help="measure that part alone, and keep the other")
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    kept = RESULTS / "scaling-model.json"
    models: dict[str, dict[str, float]] = json.loads(kept.read_text()) if kept.exists() else {}
    if not options.plan:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore", TrainingWarning)
        report = Report("scaling", keep=options.only is not None)
        if options.only in (None, "steps"):
            models["steps"] = steps(report, options.rounds)
        if options.only in (None, "labeling"):
            models["labeling"] = labeling(report, options.rounds)
        kept.write_text(json.dumps(models, indent=1) + "\n")
    show(plan(models["steps"], weights=295_082))
    show_labeling(labeling_plan(models["labeling"]))


if __name__ == "__main__":
    main()
