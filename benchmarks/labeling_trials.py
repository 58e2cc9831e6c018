"""The strategies of `fewlabels label` beside each other, where they were chosen: on training images alone.

    python benchmarks/labeling_trials.py [FEATURES_FOLDER] [--draws 10]

On the embedded digits' training images, or those of a folder that `fewlabels embed` wrote: a third of them, drawn anew
for each draw, is measured on, and labels are chosen among the rest, in five rounds. The classifier is a logistic
regression on the features as they are (digits: pixels), which takes no time: what is compared is the choice. Kept in
benchmarks/results/labeling-trials.json.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fewlabels import load_dataset
from fewlabels.evaluation.intervals import mean_interval
from fewlabels.labeling import STRATEGIES, rank_for_labeling
from fewlabels.storage.atomic import write_json
from harness import RESULTS, machine

ROUNDS = 5
BAR = "random"
# Labels a class to begin with, labels a round, and the regression's strength.
DIGITS = (2, 10, 1.0)
FEATURES = (10, 50, 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="features; the digits when not given")
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    data = load_dataset(options.folder or "digits", **({} if options.folder else {"labels_per_class": 1}))
    if options.folder:
        X, y = data.labeled.plain(), data.labels
    else:
        X = np.concatenate([data.labeled[:], data.pool[:]]).reshape(-1, 64).astype(np.float32)
        y = np.concatenate([data.labels, data.diagnostics.pool_labels])
    X = StandardScaler().fit_transform(X).astype(np.float32)
    first, each, strength = FEATURES if options.folder else DIGITS
    found = {
        name: [trial(X, y, name, draw, first, each, strength) for draw in range(options.draws)] for name in STRATEGIES
    }
    show(found, data.name, len(np.unique(y)) * first, each)
    path = RESULTS / "labeling-trials.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    kept[data.name] = {"accuracies": found, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
    write_json(path, kept)


def trial(X: np.ndarray, y: np.ndarray, strategy: str, draw: int, first: int, each: int, strength: float) -> list:
    order = np.random.default_rng(draw).permutation(len(X))
    measured, rest = order[: len(X) // 3], order[len(X) // 3 :]
    labeled = np.concatenate([rest[y[rest] == label][:first] for label in np.unique(y)])
    accuracies = []
    for number in range(ROUNDS + 1):
        learner = LogisticRegression(C=strength, max_iter=500).fit(X[labeled], y[labeled])
        accuracies.append(float(learner.score(X[measured], y[measured])))
        pool = np.setdiff1d(rest, labeled)
        ranked = rank_for_labeling(
            learner.predict_proba(X[pool]),
            X[pool],
            X[labeled],
            strategy=strategy,
            random_state=100 * draw + number,
            count=each,
        )
        labeled = np.concatenate([labeled, pool[ranked[:each]]])
    return accuracies


def show(found: dict[str, list], name: str, first: int, each: int) -> None:
    sizes = [first + each * number for number in range(ROUNDS + 1)]
    print(f"{name}: accuracy in %, mean of {len(found[BAR])} draws, and points above {BAR}, mean of the rounds (95 %)")
    print("| strategy | " + " | ".join(f"{size} labels" for size in sizes) + f" | above {BAR} |")
    print("|---|" + "---|" * (len(sizes) + 1))
    bar = np.array(found[BAR])[:, 1:].mean(1)
    for strategy, accuracies in found.items():
        cells = " | ".join(f"{100 * mean:.1f}" for mean in np.mean(accuracies, 0))
        mean, low, high = mean_interval((np.array(accuracies)[:, 1:].mean(1) - bar).tolist())
        above = "" if strategy == BAR else f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        print(f"| `{strategy}` | {cells} | {above} |")


if __name__ == "__main__":
    main()
