"""What a step costs in one and in two processes, the cost model fitted to that, and what it says of large pools.

    python benchmarks/scaling.py [--rounds 3]    # three minutes on two quiet cores
    python benchmarks/scaling.py --plan          # the table of large pools alone, from what was measured last

A step of FixMatch on 32 px images, one thread a process, is measured with several numbers of images. The model is

    seconds = fixed + messages [more than one process] + images (divided / processes + whole)

where `divided` are a net's passes, and `whole` is what every process does for the whole batch: reading it, views,
heads, losses. It is fitted to some sizes by non-negative least squares of relative errors, and checked on another.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from fewlabels.methods import FixMatch
from fewlabels.storage.errors import TrainingWarning
from fewlabels.training.processes import joined
from harness import RESULTS, Report, number

FITTED, CHECKED = (24, 48, 192), 96
PROCESSES = (1, 2)
STEPS = 24
SIDE, CLASSES = 32, 10
TERMS = ("fixed", "messages", "divided", "whole")
POOLS = (10**7, 10**9, 10**11)
# More images in a step than these make a step no better, as far as is known of nets of this size: an assumption.
LARGEST_STEP = 3072
SPREADS = (2, 16, 128)
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


def measured(processes: int) -> dict[int, float]:
    """Return the seconds of a step for each number of images, in so many processes of one thread each."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        subprocess.run([*command, __file__, "--work", str(out)], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
        return {int(size): seconds for size, seconds in json.loads(out.read_text()).items()}


def row(size: int, processes: int) -> list[float]:
    """Return what the model's terms are multiplied by."""
    return [1.0, float(processes > 1), size / processes, float(size)]


def fitted(seconds: dict[tuple[int, int], float]) -> dict[str, float]:
    """Return the model's terms, in seconds, from the seconds of a step by (images, processes)."""
    chosen = [key for key in seconds if key[0] in FITTED]
    weights = np.array([1 / seconds[key] for key in chosen])
    terms, _ = nnls(np.array([row(*key) for key in chosen]) * weights[:, None], np.ones(len(chosen)))
    return dict(zip(TERMS, terms.tolist(), strict=True))


def predicted(model: dict[str, float], size: int, processes: int) -> float:
    """Return the seconds of a step by the model."""
    return float(np.dot(row(size, processes), [model[name] for name in TERMS]))


def plan(model: dict[str, float], weights: int) -> list[dict[str, Any]]:
    """Return what one pass over pools of several sizes takes, by processes."""
    rows = []
    for pool in POOLS:
        for processes in SPREADS:
            size = min(LARGEST_STEP, 96 * processes)
            # Two of three images in a step are of the pool.
            steps = pool / (size * 2 / 3)
            parts = {
                "passes through the net": size * model["divided"] / processes,
                "views, made by each process for the whole batch": size * model["whole"],
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
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    kept = RESULTS / "scaling-model.json"
    if not options.plan:
        torch.set_num_threads(1)
        report = Report("scaling")
        rounds: dict[tuple[int, int], list[float]] = {}
        for _ in range(options.rounds):
            for processes in PROCESSES:
                for size, seconds in measured(processes).items():
                    rounds.setdefault((size, processes), []).append(seconds)
        for (size, processes), values in rounds.items():
            report.add(f"{size} images a step, {processes} processes", [size / value for value in values], "images/s")
        middle = {key: statistics.median(values) for key, values in rounds.items()}
        model = fitted(middle)
        for name, seconds in model.items():
            report.add(f"model: {name}", [1000 * seconds], "ms")
        errors = {p: predicted(model, CHECKED, p) / middle[CHECKED, p] - 1 for p in PROCESSES}
        for processes, error in errors.items():
            met = "met" if abs(error) <= WITHIN else "missed"
            name = f"model's error at {CHECKED} images, {processes} processes"
            report.add(name, [100 * error], "%", f"target within {100 * WITHIN:g} %: {met}")
        kept.write_text(json.dumps(model) + "\n")
    show(plan(json.loads(kept.read_text()), weights=295_082))


if __name__ == "__main__":
    main()
