"""What labels that are chosen bring over random ones, on the reference split: 10 a class, then 5 rounds of 50 more.

    python benchmarks/labeling.py CIFAR10_FOLDER [--net NET] [--method NAME] [--images 32k] [--train 300] [--seeds 3]

The first `--train` images of each class of the training file are the data set; each seed draws 10 labels a class of
them, the rest is the pool. In each round a model is fitted anew on all labels so far and ranks the pool, and the first
50 get their true labels. The test images are classified once a round and have no say in anything. With `--net`, the
images go through a pretrained net once, into runs/, and the method learns from its features: a linear probe where no
other is named. Without, a net is trained from scratch in every round, on `--images` gradient images.

Every round is kept in benchmarks/results/labeling.json as it ends, and is not done again. Prints the table, and paired
tests against random labels. `--develop` measures on images of the training file that nothing else uses, in place of
the test images: there the strategy was chosen.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels import embed, load_dataset, make_method
from fewlabels.data import ImageDataset
from fewlabels.evaluation.intervals import mean_interval
from fewlabels.evaluation.paired import compare_over_seeds, holm
from fewlabels.labeling import rank_for_labeling
from fewlabels.methods.examples import probabilities_and_embeddings
from fewlabels.storage.atomic import write_json
from harness import RESULTS, machine

EFFICIENTNET = f"python:{Path(__file__).parent / 'backbones.py'}:efficientnet_lite0"
START, ROUNDS, EACH, CLASSES = 10, 5, 50, 10
BAR = "random"
_CHUNK = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", help="folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("--strategies", default=f"{BAR},uncertain-diverse", help="comma-separated")
    parser.add_argument("--net", help=f"a pretrained net, or 'efficientnet' ({EFFICIENTNET})")
    parser.add_argument("--method", help="supervised, or linear-probe with a pretrained net, when not given")
    parser.add_argument("--images", default="32k", help="gradient images of each training from scratch")
    parser.add_argument("--train", type=int, default=300, help="images of each class that are the data set")
    parser.add_argument("--test", type=int, default=200, help="test images of each class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--develop", action="store_true", help="measure on images of the training file")
    parser.add_argument("--table", action="store_true", help="only print what is kept")
    options = parser.parse_args()
    setting = {
        "method": options.method or ("linear-probe" if options.net else "supervised"),
        "net": options.net,
        "images": None if options.net else options.images,
        "train_per_class": options.train,
        "test_per_class": options.test,
        "measured_on": "development" if options.develop else "test",
    }
    kept, strategies = Kept(setting), options.strategies.split(",")
    if not options.table:
        source = small_source(options)
        # Seed by seed and round by round, so that what is there at any time is a comparison.
        for seed in range(options.seeds):
            data = load_dataset(source, labels_per_class=START, random_state=seed)
            for number in range(ROUNDS + 1):
                for strategy in strategies:
                    if kept.get(strategy, seed, number) is None:
                        kept.add(one_round(kept, data, setting, strategy, seed, number))
    table(kept, strategies)


def small_source(options: argparse.Namespace) -> Any:
    """Return the first images of each class as arrays, or a folder of their features."""
    per_class = options.train + (options.test if options.develop else 0)
    whole = load_dataset(options.cifar10, labels_per_class=per_class, test_per_class=options.test)
    turn = np.empty(len(whole.labels), np.int64)
    for label in range(CLASSES):
        turn[whole.labels == label] = np.arange(per_class)
    train, rest = np.flatnonzero(turn < options.train), np.flatnonzero(turn >= options.train)
    measured = (whole.labeled[rest], whole.labels[rest]) if options.develop else (whole.test[:], whole.test_labels)
    arrays = {"train": (whole.labeled[train], whole.labels[train]), "test": measured}
    if options.net is None:
        return arrays
    net = EFFICIENTNET if options.net == "efficientnet" else options.net
    where = f"labeling-{options.net}-{options.train}-{options.test}{'-develop' if options.develop else ''}"
    return embed(arrays, net, Path("runs") / where.replace("/", "-").replace(":", "-"), progress=True).folder


def one_round(
    kept: Kept, data: ImageDataset, setting: dict[str, Any], strategy: str, seed: int, number: int
) -> dict[str, Any]:
    """Fit on the labels so far and rank what is left; the first 50 are those of the next round."""
    chosen = [row for before in range(number) for row in kept.get(strategy, seed, before)["next"]]
    labeled = np.array(chosen, np.int64)
    rest = np.setdiff1d(np.arange(len(data.pool)), labeled)
    samples = data.labeled if not chosen else data.labeled.joined(data.pool.take(labeled))
    labels = np.concatenate([data.labels, data.diagnostics.pool_labels[labeled]])
    length = {} if setting["images"] is None else {"budget": f"{setting['images']} images"}
    method = make_method(setting["method"], random_state=seed, **length)
    method.fit(samples, labels, unlabeled=data.pool.take(rest))
    probabilities, embeddings = seen(method, data.pool.take(rest))
    order = rank_for_labeling(
        probabilities,
        embeddings,
        seen(method, samples)[1],
        strategy=strategy,
        random_state=1000 * seed + number,
        count=EACH,
    )
    right = method.predict(data.test) == data.test_labels
    print(f"seed {seed}, round {number}, {strategy}: {len(labels)} labels, {right.mean():.1%}", flush=True)
    return {
        **setting,
        "strategy": strategy,
        "seed": seed,
        "round": number,
        "labels": len(labels),
        "labels_of_class": np.bincount(labels, minlength=CLASSES).tolist(),
        "next": rest[order[:EACH]].tolist(),
        "accuracy": float(right.mean()),
        "right": "".join(map(str, right.astype(int))),
        "gradient_images": int(method.gradient_images_),
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
    }


def seen(method: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    chunks = [np.arange(start, min(start + _CHUNK, len(rows))) for start in range(0, len(rows), _CHUNK)]
    found = [probabilities_and_embeddings(method, rows.take(chunk)) for chunk in chunks]
    probabilities, embeddings = (np.concatenate(part) for part in zip(*found, strict=True))
    return probabilities, embeddings


class Kept:
    """Rounds of one setting, on disk after each."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self.path = RESULTS / "labeling.json"
        self.setting = setting
        self.rows: list[dict[str, Any]] = json.loads(self.path.read_text())["rows"] if self.path.exists() else []

    def get(self, strategy: str, seed: int, number: int) -> dict[str, Any] | None:
        wanted = {**self.setting, "strategy": strategy, "seed": seed, "round": number}
        return next((row for row in self.rows if all(row[name] == value for name, value in wanted.items())), None)

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
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
        print(f"| {START * CLASSES + EACH * number} | " + " | ".join(cells) + " |")
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
                f"  {START * CLASSES + EACH * number} labels: {100 * found.difference:+5.1f} points "
                f"({100 * found.low:+.1f} to {100 * found.high:+.1f}), p = {found.p_value:.4f}, "
                f"{p:.4f} corrected for {ROUNDS} rounds"
            )
        # The measure by which the strategies were compared on training images (labeling_trials.py).
        gains = [statistics.mean(duel.seed_differences[number] for duel in duels) for number in range(len(both))]
        mean, low, high = mean_interval(gains)
        print(f"  mean of the rounds: {100 * mean:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})")


def correct(row: dict[str, Any] | None) -> np.ndarray:
    assert row is not None
    return np.array(list(row["right"])) == "1"


if __name__ == "__main__":
    main()
