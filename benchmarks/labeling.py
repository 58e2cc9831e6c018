"""What labels that are chosen bring over random ones, on the reference split: 10 a class, then 5 rounds of 50 more.

    python benchmarks/labeling.py CIFAR10_FOLDER [--images 8k] [--method supervised] [--strategies ...] [--seeds 3]

Each seed draws 10 labels a class, and the part of the pool that is chosen from, the same for every strategy. In each
round a model is fitted anew on all labels so far, ranks that part, and the first 50 get their true labels; the test
images are classified once a round and have no say in anything. Every round is kept in benchmarks/results/labeling.json
as it ends, and is not done again. Prints the table, and paired tests against random labels.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from typing import Any

import numpy as np

from fewlabels import load_dataset, make_method
from fewlabels.evaluation.paired import compare_over_seeds, holm
from fewlabels.labeling import STRATEGIES, rank_for_labeling
from fewlabels.methods.examples import probabilities_and_embeddings
from fewlabels.storage.atomic import write_json
from harness import RESULTS, machine

START = 10
ROUNDS = 5
EACH = 50
BAR = "random"
_CHUNK = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", help="folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("--strategies", default=f"uncertain-diverse,{BAR}", help="comma-separated")
    parser.add_argument("--method", default="supervised")
    parser.add_argument("--images", default="8k", help="gradient images of each training")
    parser.add_argument("--pool", type=int, default=4000, help="pool images that are chosen from")
    parser.add_argument("--test-per-class", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    setting = {
        "method": options.method,
        "images": options.images,
        "pool": options.pool,
        "test_per_class": options.test_per_class,
    }
    kept = Kept(setting)
    # Seed by seed, so that what is there after each third is a whole table.
    for seed in range(options.seeds):
        data = None
        for number, strategy in itertools.product(range(ROUNDS + 1), options.strategies.split(",")):
            if kept.get(strategy, seed, number) is not None:
                continue
            if data is None:
                data = load_dataset(
                    options.cifar10, labels_per_class=START, test_per_class=options.test_per_class, random_state=seed
                )
            first = kept.get(None, seed, 0) if number == 0 else None
            kept.add(first or one_round(kept, data, setting, strategy, seed, number), strategy)
    table(kept, options.strategies.split(","))


def one_round(kept: Kept, data: Any, setting: dict[str, Any], strategy: str, seed: int, number: int) -> dict[str, Any]:
    """Fit on the labels so far and rank what is left; the first 50 are those of the next round."""
    asked = np.random.default_rng([seed, 1]).permutation(len(data.pool))[: setting["pool"]]
    chosen = np.array(
        [row for before in range(number) for row in kept.get(strategy, seed, before)["next"][strategy]], np.int64
    )
    images = np.concatenate([data.labeled[:], data.pool.take(chosen)[:]])
    labels = np.concatenate([data.labels, data.diagnostics.pool_labels[chosen]])
    rest = np.setdiff1d(asked, chosen)
    method = make_method(setting["method"], budget=f"{setting['images']} images", random_state=seed)
    method.fit(images, labels, unlabeled=data.pool.take(rest))
    looked = [
        probabilities_and_embeddings(method, data.pool.take(rest[start : start + _CHUNK])[:])
        for start in range(0, len(rest), _CHUNK)
    ]
    probabilities, embeddings = (np.concatenate(part) for part in zip(*looked, strict=True))
    _, known = probabilities_and_embeddings(method, images)
    right = method.predict(data.test) == data.test_labels
    # The first round is the same for all: each takes its own next labels from the one model.
    names = tuple(STRATEGIES) if number == 0 else (strategy,)
    following = {
        name: rest[
            rank_for_labeling(
                probabilities, embeddings, known, strategy=name, random_state=1000 * seed + number, count=EACH
            )[:EACH]
        ].tolist()
        for name in names
    }
    print(f"seed {seed}, round {number}, {strategy}: {len(labels)} labels, {right.mean():.1%}", flush=True)
    return {
        "strategy": strategy,
        "seed": seed,
        "round": number,
        "labels": len(labels),
        "classes": np.bincount(labels, minlength=10).tolist(),
        "next": following,
        "accuracy": float(right.mean()),
        "right": "".join(map(str, right.astype(int))),
        "gradient_images": int(method.gradient_images_),
        **setting,
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
    }


class Kept:
    """Rounds of one setting, on disk after each."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self.path = RESULTS / "labeling.json"
        self.setting = setting
        self.rows: list[dict[str, Any]] = json.loads(self.path.read_text())["rows"] if self.path.exists() else []

    def get(self, strategy: str | None, seed: int, number: int) -> dict[str, Any] | None:
        for row in self.rows:
            same = all(row[name] == value for name, value in self.setting.items())
            if same and (row["seed"], row["round"]) == (seed, number) and strategy in (None, row["strategy"]):
                return row
        return None

    def add(self, row: dict[str, Any], strategy: str) -> None:
        self.rows.append({**row, "strategy": strategy})
        write_json(self.path, {"rows": self.rows})


def table(kept: Kept, strategies: list[str]) -> None:
    """Print accuracies by round, and what each strategy brings over random labels."""
    seeds = sorted({row["seed"] for row in kept.rows if kept.get(BAR, row["seed"], ROUNDS) is not None})
    print(f"\n{kept.setting}, {len(seeds)} seeds, {machine()}")
    print("| labels | " + " | ".join(strategies) + " |\n|---|" + "---|" * len(strategies))
    for number in range(ROUNDS + 1):
        cells = []
        for name in strategies:
            found = [100 * row["accuracy"] for seed in seeds if (row := kept.get(name, seed, number)) is not None]
            spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
            cells.append(f"{statistics.mean(found):.1f}{spread}" if found else "")
        print(f"| {START * 10 + EACH * number} | " + " | ".join(cells) + " |")
    for name in strategies:
        both = [seed for seed in seeds if kept.get(name, seed, ROUNDS) is not None]
        if name == BAR or len(both) < 2:
            continue
        duels = [
            compare_over_seeds(*([correct(kept.get(who, seed, number)) for seed in both] for who in (BAR, name)))
            for number in range(1, ROUNDS + 1)
        ]
        print(f"\n{name} against {BAR}, the same first labels and test images:")
        for number, (found, p) in enumerate(zip(duels, holm([one.p_value for one in duels]), strict=True), 1):
            print(
                f"  {START * 10 + EACH * number} labels: {100 * found.difference:+5.1f} points "
                f"({100 * found.low:+.1f} to {100 * found.high:+.1f}), p = {found.p_value:.4f}, "
                f"{p:.4f} corrected for {ROUNDS} rounds"
            )


def correct(row: dict[str, Any] | None) -> np.ndarray:
    assert row is not None
    return np.array(list(row["right"])) == "1"


if __name__ == "__main__":
    main()
