"""Time to accuracy on the reference split, the wall-clock of `fit` with everything included.

    python benchmarks/accuracy.py CIFAR10_FOLDER [--only 45s,5m] [--again] [--to accuracy-amx]

Each budget has its recipe below, chosen on development images; beside the first two stands what `Auto`, the default of
`fewlabels fit`, makes of the same time. What is done is not done again: results are kept
in benchmarks/results/accuracy.json, or under another name for another machine. Run nothing beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from fewlabels import load_dataset, make_method
from harness import RESULTS, machine

TARGETS = {"45s": 0.72, "5m": 0.82, "20m": 0.88, "60m": 0.91}
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "45s": (
        "uda",
        {
            "preset": "short",
            "net": "fast-coarse",
            "warm_start": 0.8,
            "second_rate": 0.0,
            "teacher_decay": 0.95,
            "unlabeled_ratio": 0.5,
            "unlabeled_weight": 0.5,
            "view": "weak",
            "label_smoothing": 0.1,
        },
    ),
    "5m": ("uda", {"preset": "short"}),
    "5m silu": ("uda", {"preset": "short", "net": "fast-silu"}),
    "20m": ("uda", {"preset": "short", "net": "fast-wide"}),
    "20m large": ("uda", {"preset": "short", "net": "fast-large"}),
    "60m": ("uda", {"preset": "short", "net": "fast-wide"}),
    "60m large": ("uda", {"preset": "short", "net": "fast-large"}),
    "45s auto": ("auto", {}),
    "5m auto": ("auto", {}),
}


def main() -> None:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", help="folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("--only", default=",".join(RECIPES), help="comma-separated budgets, as '45s,5m auto'")
    parser.add_argument("--again", action="store_true", help="measure anew what is there already")
    parser.add_argument("--to", default="accuracy", metavar="NAME", help="name of the file of results")
    options = parser.parse_args()
    path = RESULTS / f"{options.to}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    data = load_dataset(options.cifar10, labels_per_class=500, test_per_class=800)
    for row_name in options.only.split(","):
        if row_name not in found or options.again:
            name, settings = RECIPES[row_name]
            method = make_method(name, budget=row_name.split()[0], random_state=0, **settings)
            began = time.perf_counter()
            method.fit(data.labeled, data.labels, unlabeled=data.pool)
            seconds = time.perf_counter() - began
            found[row_name] = {
                "method": repr(method),
                "machine": machine(),
                "seconds": seconds,
                "test_accuracy": method.score(data.test, data.test_labels),
                "gradient_images": method.gradient_images_,
                "steps": method.stage_steps_,
                "curve": [
                    (event["seconds"], event["gradient_images"], event["validation_accuracy"])
                    for event in method.history_
                    if "validation_accuracy" in event
                ],
            }
            Path(RESULTS).mkdir(exist_ok=True)
            path.write_text(json.dumps(found, indent=1) + "\n")
    for row_name, row in found.items():
        target = TARGETS[row_name.split()[0]]
        verdict = "met" if row["test_accuracy"] >= target else "missed"
        print(
            f"  {row_name:>8}: {100 * row['test_accuracy']:.1f} % after {row['seconds']:.0f} s and "
            f"{row['gradient_images']:,} gradient images; target {100 * target:.0f} %: {verdict}"
        )


if __name__ == "__main__":
    main()
