"""All methods on the reference split at 10, 50 and 500 labels a class, three draws each, the same net and images.

    python benchmarks/methods.py CIFAR10_FOLDER [--only uda,fix-match] [--labels 50,500] [--seeds 0] [--images 256k]

Each training may take so many gradient images. What is done is not done again: results are kept in
benchmarks/results/methods.json, and a training that was stopped or killed goes on from its last checkpoint. With no
option it runs what is missing, for hours, prints the tables and writes docs/methods/measured.md.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import time
from typing import Any

import tables
from fewlabels import METHODS, load_dataset, make_method
from grid import Run, mean_and_spread, run_missing
from harness import RESULTS, machine

LABELS = (10, 50, 500)
SEEDS = (0, 1, 2)
# Learn from the labels alone once they have an encoder; their settings for minutes go on by another method.
PRETRAINING = ("sim-clr", "vicreg")
NOTEBOOK = ("supervised", "self-training", "two-step-autoencoder", "joint-autoencoder")


def contenders() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return method and settings of each row: presets for short trainings where a method has one."""
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "supervised": ("supervised", {}),
        "supervised (strong views)": ("supervised", {"view": "strong"}),
    }
    for name in PRETRAINING:
        found |= {name: (name, {}), f"{name} (short)": (name, {"preset": "short"})}
    found["sim-clr (fast-wide)"] = ("sim-clr", {"preset": "short", "net": "fast-wide"})
    for name, method in METHODS.items():
        found.setdefault(name, (name, {"preset": "short"} if "short" in method.PRESETS else {}))
    for name in NOTEBOOK:
        found[f"{name} (notebook)"] = (name, {"preset": "notebook"})
    return found


def measured(row: str, labels: int, seed: int, images: str, folder: str) -> Run:
    """Return what one training reached."""
    data = load_dataset(folder, labels_per_class=labels, test_per_class=800, random_state=seed)
    name, settings = contenders()[row]
    method = make_method(name, budget=f"{images} images", random_state=seed, **settings)
    unfinished = RESULTS / "unfinished" / f"{row}, {labels} labels, draw {seed}, {images}"
    goes_on = unfinished.exists()
    began = time.perf_counter()
    method.fit(data.labeled, data.labels, unlabeled=data.pool, checkpoint=unfinished)
    seconds = time.perf_counter() - began
    accuracy = method.score(data.test, data.test_labels)
    shutil.rmtree(unfinished)
    return {
        "row": row,
        "labels_per_class": labels,
        "seed": seed,
        "images": images,
        "test_accuracy": accuracy,
        "seconds": None if goes_on else seconds,
        "gradient_images": method.gradient_images_,
        "steps": method.stage_steps_,
        "method": repr(method),
        "machine": machine(),
    }


def show(runs: dict[str, Run], images: str) -> None:
    """Print mean and standard deviation of each row."""
    print(f"\ntest accuracy, {images} gradient images, mean ± standard deviation of the draws (how many)")
    print(f"  {'':34}" + "".join(f"{labels:>22} a class" for labels in LABELS))
    for row in contenders():
        cells = []
        for labels in LABELS:
            found = [
                run
                for run in runs.values()
                if (run["row"], run["labels_per_class"], run["images"]) == (row, labels, images)
            ]
            cells.append(mean_and_spread(found) if found else "")
        if any(cells):
            print(f"  {row:34}" + "".join(f"{cell:>30}" for cell in cells))


def main() -> None:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", help="folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("--only", help="comma-separated rows; all when not given")
    parser.add_argument("--labels", default=",".join(map(str, LABELS)))
    parser.add_argument("--images", default="256k", help="gradient images of each training")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time; the cores are shared out")
    options = parser.parse_args()
    rows = list(contenders()) if options.only is None else options.only.split(",")
    wanted = {}
    # Seed by seed, so that what is there after each third is a whole table.
    seeds, counts = (map(int, text.split(",")) for text in (options.seeds, options.labels))
    for seed, labels, row in itertools.product(seeds, counts, rows):
        key = f"{row} | {labels} | {seed} | {options.images}"
        wanted[key] = (row, labels, seed, options.images, options.cifar10)
    runs = run_missing("methods", wanted, measured, options.jobs)
    show(runs, options.images)
    tables.main()


if __name__ == "__main__":
    main()
