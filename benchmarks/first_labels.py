"""What it brings to choose the first images to label, before there is a model.

    python benchmarks/first_labels.py SOURCE [--draws 8] [--counts 30,100] [--methods kmeans-features] [--images 32k]

SOURCE is one that `load_dataset` knows, with labels for all training images and a test part. In each draw, `--pool` of
its training images at random are what a person has. `first_to_label` puts them in order, once `diverse` and once
`random`; the first so many get their true labels, whichever classes these are of, and each method is fitted on them,
the others unlabeled (`kmeans-features` with 200 centroids rather than 800, which take long). Accuracy is that on
`--test` test images, which are classified once a fit and have no say in anything; balanced, it is the mean over the
classes, also those of which no label was drawn.

Every fit is kept in benchmarks/results/first_labels.json as it ends, and is not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels import load_dataset, make_method
from fewlabels.evaluation.intervals import mean_interval
from fewlabels.labeling import first_to_label
from fewlabels.storage.atomic import write_json
from harness import RESULTS, machine

STRATEGIES = ("random", "diverse")
# A quarter of the typical patches that are the default, and four times as quick.
SETTINGS = {"kmeans-features": {"centroids": 200}}
# Draws are those of this command, whatever else draws by the same numbers.
_SEED = 31


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="what load_dataset takes, all training images labeled")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--counts", default="30,100", help="comma-separated: labels in all")
    parser.add_argument("--methods", default="kmeans-features", help="comma-separated")
    parser.add_argument("--images", default="32k", help="gradient images of methods that train a net")
    parser.add_argument("--pool", type=int, default=3000, help="images that there are, in each draw")
    parser.add_argument("--test", type=int, default=1000, help="test images, at random")
    parser.add_argument("--net", help="a pretrained net that tells which images are alike")
    parser.add_argument("--table", action="store_true", help="only print what is kept")
    options = parser.parse_args()
    kept = Kept({"source": Path(options.source).name, "pool": options.pool, "test": options.test, "net": options.net})
    if not options.table:
        measure(options, kept)
    table(kept)


def measure(options: argparse.Namespace, kept: Kept) -> None:
    whole = load_dataset(options.source)
    judged = np.random.default_rng(_SEED).permutation(len(whole.test))[: options.test]
    test, truth = whole.test[judged], whole.test_labels[judged]
    for draw in range(options.draws):
        rows = np.random.default_rng([_SEED, draw]).permutation(len(whole.labeled))[: options.pool]
        images, labels = whole.labeled[rows], whole.labels[rows]
        for strategy in STRATEGIES:
            wanted = [
                (method, count)
                for method in options.methods.split(",")
                for count in map(int, options.counts.split(","))
                if not kept.has(strategy=strategy, draw=draw, method=method, labels=count, images=options.images)
            ]
            if not wanted:
                continue
            most = max(count for _, count in wanted)
            began = time.perf_counter()
            order = first_to_label(
                {"train": (images, None)}, strategy=strategy, random_state=draw, count=most, net=options.net
            ).order
            seconds = time.perf_counter() - began
            for name, count in wanted:
                y = np.full(len(labels), -1)
                y[order[:count]] = labels[order[:count]]
                method = make_method(
                    name, random_state=draw, budget=f"{options.images} images", **SETTINGS.get(name, {})
                )
                found = method.fit(images, y).predict(test)
                by_class = [float((found[truth == label] == label).mean()) for label in np.unique(truth)]
                row = {
                    "strategy": strategy,
                    "draw": draw,
                    "method": name,
                    "labels": count,
                    "images": options.images if method.gradient_images_ else None,
                    "accuracy": float((found == truth).mean()),
                    "balanced": statistics.mean(by_class),
                    "classes": len(np.unique(labels[order[:count]])),
                    "seconds_to_choose": seconds,
                    "machine": machine(),
                    "date": time.strftime("%Y-%m-%d"),
                }
                kept.add(row)
                print(f"draw {draw}, {strategy}, {name}, {count} labels: {row['accuracy']:.1%}", flush=True)


class Kept:
    """Fits of one setting, on disk after each."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self.path = RESULTS / "first_labels.json"
        self.setting = setting

    def rows(self, **wanted: Any) -> list[dict[str, Any]]:
        known = json.loads(self.path.read_text())["rows"] if self.path.exists() else []
        wanted = {**self.setting, **wanted}
        return [row for row in known if all(row[name] == value for name, value in wanted.items())]

    def has(self, **wanted: Any) -> bool:
        images = wanted.pop("images")
        return any(row["images"] in (None, images) for row in self.rows(**wanted))

    def add(self, row: dict[str, Any]) -> None:
        # Read anew: another run may have added to it.
        known = json.loads(self.path.read_text())["rows"] if self.path.exists() else []
        write_json(self.path, {"rows": [*known, {**self.setting, **row}]})


def table(kept: Kept) -> None:
    """Print accuracies, and what is won over labels at random in the same draws."""
    rows = kept.rows()
    print(f"\n{kept.setting}, {machine()}\n")
    print("| method | labels | random | diverse | difference (95 %) | balanced, difference (95 %) | classes | draws |")
    print("|---|---|---|---|---|---|---|---|")
    for method, count in sorted({(row["method"], row["labels"]) for row in rows}):
        found = {
            strategy: {
                row["draw"]: row
                for row in rows
                if (row["method"], row["labels"], row["strategy"]) == (method, count, strategy)
            }
            for strategy in STRATEGIES
        }
        draws = sorted(set(found["random"]) & set(found["diverse"]))
        if len(draws) < 2:
            continue
        cells = [_mean(found[strategy], draws, "accuracy") for strategy in STRATEGIES]
        cells += [_difference(found, draws, measure) for measure in ("accuracy", "balanced")]
        classes = [statistics.mean(found[strategy][draw]["classes"] for draw in draws) for strategy in STRATEGIES]
        cells.append(" → ".join(f"{mean:.1f}" for mean in classes))
        print(f"| {method} | {count} | " + " | ".join(cells) + f" | {len(draws)} |")
    chosen = [row["seconds_to_choose"] for row in rows if row["strategy"] == "diverse"]
    if chosen:
        print(f"\nto choose took {statistics.median(chosen):.0f} s (median)")


def _mean(rows: dict[int, dict[str, Any]], draws: list[int], measure: str) -> str:
    values = [100 * rows[draw][measure] for draw in draws]
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def _difference(found: dict[str, dict[int, dict[str, Any]]], draws: list[int], measure: str) -> str:
    gains = [100 * (found["diverse"][draw][measure] - found["random"][draw][measure]) for draw in draws]
    mean, low, high = mean_interval(gains)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
