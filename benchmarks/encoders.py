"""What encoders learn without labels by different settings, and what ensembles make of one, on training images alone.

    python benchmarks/encoders.py CIFAR10_FOLDER [--only "24 px,20 px"] [--images 300k] [--ensembles]

Of CIFAR-10's training images 5,000 are measured on, the others are the pool. Each encoder takes so many gradient images
and is judged by a logistic regression on its features, mean of five draws of 10 and 50 labels a class; the time of a
step is processor time, views included, over that many threads as OMP_NUM_THREADS says. With --ensembles in place of
these: an encoder of 1.2 million images, and on one draw of 10 labels a class what follows it, by how many members. What
is done is not done again: results are kept in benchmarks/results/encoders.json.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fewlabels import load_dataset, make_method
from fewlabels.storage.atomic import write_json
from fewlabels.training.budget import parse_images
from harness import RESULTS, machine

HELD_OUT, DRAWS, BATCH = 5000, 5, 256
LABELS = (10, 50)
ENCODERS: dict[str, dict[str, Any]] = {
    "24 px": {},
    "32 px": {"pretraining_scale": 1.0},
    "20 px": {"pretraining_scale": 0.625},
    "batches of 128": {"pretraining_batch": 128},
    "temperature 0.5": {"temperature": 0.5},
    "temperature 0.1": {"temperature": 0.1},
    "learning rate 0.04": {"pretraining_rate": 0.04},
    "learning rate 0.24": {"pretraining_rate": 0.24},
    "projections of 128 from 512 units": {"projection_width": 512, "projection_size": 128},
    "fast-wide": {"net": "fast-wide"},
    "fast-large": {"net": "fast-large"},
}
# Gradient images of the encoder, and of each member of an ensemble; the student has half as many as a member.
ENCODER, MEMBER = 1_200_000, 200_000
ENSEMBLES = (1, 2, 3, 5)


def main() -> None:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", help="folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("--only", help="comma-separated rows; all when not given")
    parser.add_argument("--images", default="300k", help="gradient images of each encoder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ensembles", action="store_true")
    options = parser.parse_args()
    data = load_dataset(options.cifar10, labels_per_class=5000, test_per_class=1)
    X, y = np.asarray(data.labeled[:]), np.asarray(data.labels)
    order = np.random.default_rng(7).permutation(len(X))
    held_out, rest = order[:HELD_OUT], order[HELD_OUT:]
    parts = X[rest], y[rest], X[held_out], y[held_out]
    path = RESULTS / "encoders.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    names = [f"{count} members" for count in ENSEMBLES] if options.ensembles else list(ENCODERS)
    for name in names if options.only is None else options.only.split(","):
        length = f"{ENCODER} images" if options.ensembles else f"{options.images} images"
        key = f"{name} | {options.seed} | {length}"
        if key not in found:
            if options.ensembles:
                run = followed(int(name.split()[0]), options.seed, *parts)
            else:
                run = judged(ENCODERS[name], options.seed, length, *parts)
            found[key] = run | {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
            write_json(path, found)
    for key, run in found.items():
        accuracies = ", ".join(f"{100 * value:.1f} % with {count}" for count, value in run["accuracy"].items())
        step = f", {1000 * run['step']:.0f} ms a step" if "step" in run else ""
        print(f"  {key}: {accuracies} labels a class{step}")


def judged(
    settings: dict[str, Any],
    seed: int,
    length: str,
    X: NDArray[Any],
    y: NDArray[Any],
    held_out: NDArray[Any],
    truth: NDArray[Any],
) -> dict[str, Any]:
    """Return what linear probes have on the features of an encoder, and the seconds of a step."""
    images = parse_images(length)
    assert images is not None
    steps = int(images) // (2 * settings.get("pretraining_batch", BATCH))
    few = drawn(y, 1, seed)
    method = make_method(
        "sim-clr", pretraining_steps=steps, steps=1, freeze_encoder=True, random_state=seed, **settings
    )
    began = time.process_time()
    method.fit(X[few], y[few], unlabeled=np.delete(X, few, 0))
    worked = time.process_time() - began
    scaler = StandardScaler().fit(features := method.transform(X))
    features, asked = scaler.transform(features), scaler.transform(method.transform(held_out))
    accuracy = {}
    for count in LABELS:
        draws = [drawn(y, count, draw) for draw in range(DRAWS)]
        probes = [LogisticRegression(C=0.01, max_iter=500).fit(features[rows], y[rows]) for rows in draws]
        accuracy[str(count)] = float(np.mean([probe.score(asked, truth) for probe in probes]))
    return {"accuracy": accuracy, "step": worked / steps, "method": repr(method)}


def followed(
    members: int, seed: int, X: NDArray[Any], y: NDArray[Any], held_out: NDArray[Any], truth: NDArray[Any]
) -> dict[str, Any]:
    """Return what so many members and their student come to, a single member without one."""
    further = MEMBER * (members + 0.5 if members > 1 else 1)
    method = make_method(
        "sim-clr",
        preset="short",
        ensemble_size=members,
        budget=f"{ENCODER + further:.0f} images",
        pretraining_share=ENCODER / (ENCODER + further),
        random_state=seed,
    )
    rows = drawn(y, LABELS[0], seed)
    method.fit(X[rows], y[rows], unlabeled=np.delete(X, rows, 0))
    accuracy = {str(LABELS[0]): float(method.score(held_out, truth))}
    return {"accuracy": accuracy, "steps": method.stage_steps_, "method": repr(method)}


def drawn(y: NDArray[Any], count: int, seed: int) -> NDArray[np.int64]:
    """Return rows of so many labels of each class."""
    draws = np.random.default_rng(seed)
    return np.concatenate([draws.choice(np.flatnonzero(y == name), count, replace=False) for name in np.unique(y)])


if __name__ == "__main__":
    main()
