"""Pools as they are: images of no class, unequally frequent classes, and both, with and without the options for them.

    python benchmarks/open_set.py CIFAR10_FOLDER [--only open-50,imbalanced] [--methods uda,fix-match] [--jobs 2]

Four pools from CIFAR-10's training images, three draws each:

- `open-50`, `open-500`: the six animals are the task, so many labels each; the pool holds all other images, those of
  the four vehicles included.
- `imbalanced`: all ten classes; labels (500 of the most frequent) and pool fall from class to class, 10 to 1.
- `open-imbalanced`: the open split with 500 labels each, with nine dogs in the pool for each cat.

Each method learns as it is, with `assess_pool`, and with `assess_pool` and `guard`, beside `supervised`; where labels
are unequally frequent also with `logit_adjustment`, and `supervised` with that too. Results are
kept in benchmarks/results/open_set.json; what is done is not done again.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from typing import Any

import numpy as np

import pool_tables
from fewlabels import load_dataset, make_method
from grid import Run, mean_and_spread, run_missing
from harness import machine

SEEDS = (0, 1, 2)
ANIMALS = (2, 3, 4, 5, 6, 7)
CAT, DOG = 3, 5
POOLS = tuple(pool_tables.POOLS)
METHODS = ("self-training", "two-step-autoencoder", "joint-autoencoder", "mix-match", "uda", "fix-match", "soft-match")
OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "assess_pool": {"assess_pool": True},
    "assess_pool, guard": {"assess_pool": True, "guard": True},
}
# Where labels are unequally frequent and what is to be classified is not.
ADJUSTED: dict[str, dict[str, Any]] = {
    "logit_adjustment": {"logit_adjustment": 1.0},
    "assess_pool, guard, logit_adjustment": {"assess_pool": True, "guard": True, "logit_adjustment": 1.0},
}


def split(folder: str, pool: str, seed: int) -> dict[str, Any]:
    """Return labeled images, labels, pool, the pool's true labels, and test images with labels."""
    data = load_dataset(folder, labels_per_class=1, test_per_class=800, random_state=seed)
    images = np.concatenate([data.labeled[:], data.pool[:]])
    truth = np.concatenate([data.labels, data.diagnostics.pool_labels])
    order = np.random.default_rng(seed).permutation(len(truth))
    images, truth = images[order], truth[order]
    rows = [np.flatnonzero(truth == label) for label in range(10)]
    if pool == "imbalanced":
        shares = 10 ** (-np.arange(10) / 9)
        labeled = [rows[c][: round(500 * shares[c])] for c in range(10)]
        rest = [rows[c][500 : 500 + round(4500 * shares[c])] for c in range(10)]
        task: tuple[int, ...] = tuple(range(10))
    else:
        count = 50 if pool == "open-50" else 500
        task = ANIMALS
        labeled = [rows[c][:count] for c in task]
        rest = [rows[c][count if c in task else 0 :] for c in range(10)]
        if pool == "open-imbalanced":
            rest[CAT] = rest[CAT][: len(rest[DOG]) // 9]
    first, others = np.concatenate(labeled), np.sort(np.concatenate(rest))
    kept = np.isin(data.test_labels, task)
    return {
        "labeled": images[first],
        "labels": truth[first],
        "pool": images[others],
        "pool_truth": truth[others],
        "test": data.test[:][kept],
        "test_labels": data.test_labels[kept],
        "task": task,
    }


def measured(name: str, option: str, pool: str, seed: int, images: str, folder: str) -> Run:
    """Return what one training reached, and what it said of its pool beside what is true."""
    data = split(folder, pool, seed)
    settings: dict[str, Any] = dict((OPTIONS | ADJUSTED)[option])
    if "short" in type(make_method(name)).PRESETS:
        settings["preset"] = "short"
    method = make_method(name, budget=f"{images} images", random_state=seed, **settings)
    began = time.perf_counter()
    method.fit(data["labeled"], data["labels"], unlabeled=data["pool"])
    found: Run = {
        "method": name,
        "option": option,
        "pool": pool,
        "seed": seed,
        "images": images,
        "test_accuracy": method.score(data["test"], data["test_labels"]),
        "seconds": time.perf_counter() - began,
        "gradient_images": method.gradient_images_,
        "steps": method.stage_steps_,
        "machine": machine(),
    }
    inside = np.isin(data["pool_truth"], data["task"])
    if hasattr(method, "pool_belongs_"):
        order = np.argsort(np.argsort(method.pool_belongs_))
        area = (order[inside].mean() - (inside.sum() - 1) / 2) / (~inside).sum() if (~inside).any() else None
        truth = np.bincount(data["pool_truth"][inside], minlength=10)[list(data["task"])]
        found |= {
            "inside_share": method.pool_inside_share_,
            "true_inside_share": float(inside.mean()),
            "prior": method.pool_prior_.tolist(),
            "true_prior": (truth / truth.sum()).tolist(),
            "area_under_roc": None if area is None else float(area),
            "kept_inside": float((method.pool_belongs_[inside] >= 0.5).mean()),
            "kept_outside": float((method.pool_belongs_[~inside] >= 0.5).mean()) if (~inside).any() else None,
        }
    if hasattr(method, "guard_"):
        found["guard"] = method.guard_
    return found


def show(runs: dict[str, Run], images: str) -> None:
    """Print mean and standard deviation of each method and option, and how often a guard fired."""
    for pool in POOLS:
        here = [run for run in runs.values() if (run["pool"], run["images"]) == (pool, images)]
        if not here:
            continue
        print(f"\n{pool}, {images} gradient images")
        for name, option in dict.fromkeys((run["method"], run["option"]) for run in here):
            found = [run for run in here if (run["method"], run["option"]) == (name, option)]
            line = f"  {name:22} {option:20} {mean_and_spread(found)}"
            if "inside_share" in found[0]:
                shares = statistics.mean(run["inside_share"] for run in found)
                line += f"  belongs {100 * shares:.0f} % (true {100 * found[0]['true_inside_share']:.0f} %)"
            if "guard" in found[0]:
                line += f"  fell back {sum(not run['guard']['accepted'] for run in found)} of {len(found)}"
            print(line)


def main() -> None:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", help="folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("--only", default=",".join(POOLS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--options", default=";".join(OPTIONS | ADJUSTED), help="separated by semicolons")
    parser.add_argument("--images", default="256k", help="gradient images of each training")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time; the cores are shared out")
    options = parser.parse_args()
    asked = options.options.split(";")
    seeds, pools = map(int, options.seeds.split(",")), options.only.split(",")
    wanted = {}
    for seed, pool in itertools.product(seeds, pools):
        here = [option for option in asked if option in OPTIONS or pool == "imbalanced"]
        pairs = [("supervised", option) for option in ("as it is", "logit_adjustment") if option in here]
        pairs += itertools.product(options.methods.split(","), here)
        for name, option in pairs:
            key = f"{name} | {option} | {pool} | {seed} | {options.images}"
            wanted[key] = (name, option, pool, seed, options.images, options.cifar10)
    runs = run_missing("open_set", wanted, measured, options.jobs)
    show(runs, options.images)
    pool_tables.main()


if __name__ == "__main__":
    main()
