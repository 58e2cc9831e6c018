"""Whether prediction sets hold the true class as often as promised, over many draws and trainings on the digits.

For each draw the 1,797 digits are shuffled; so many of each class get a label, of which a tenth is held out, and the
rest are what coverage is measured on. At the end the digits' own test part, written by other people, for which nothing
is promised.

    python benchmarks/conformal.py
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from fewlabels import Supervised, load_dataset
from fewlabels.evaluation.trust import COVERAGES
from harness import Report

DRAWS = 60
# So few that a guess is often wrong: of a model that is right more often than promised, sets of one class would do.
STEPS = 8


def main() -> None:
    report = Report("conformal")
    bunch = load_digits()
    images, labels = (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)
    for per_class in (10, 50):
        covered: dict[float, list[float]] = {share: [] for share in COVERAGES}
        sizes: dict[float, list[float]] = {share: [] for share in COVERAGES}
        for seed in range(DRAWS):
            order = np.random.default_rng(seed).permutation(len(labels))
            learned = np.concatenate([order[labels[order] == k][:per_class] for k in range(10)])
            rest = np.setdiff1d(order, learned)
            method = Supervised(steps=STEPS, random_state=seed).fit(images[learned], labels[learned])
            for share in COVERAGES:
                sets = method.predict_set(images[rest], coverage=share)
                covered[share].append(100 * float(sets[np.arange(len(rest)), labels[rest]].mean()))
                sizes[share].append(float(sets.sum(1).mean()))
        for share in COVERAGES:
            add(report, f"{method.n_validation_} held out, {share:.0%} promised", covered[share], sizes[share])
    data = load_dataset("digits", labels_per_class=50)
    covered, sizes = {share: [] for share in COVERAGES}, {share: [] for share in COVERAGES}
    for seed in range(DRAWS // 4):
        method = Supervised(steps=STEPS, random_state=seed).fit(data.labeled, data.labels)
        for share in COVERAGES:
            sets = method.predict_set(data.test, coverage=share)
            covered[share].append(100 * float(sets[np.arange(len(sets)), data.test_labels].mean()))
            sizes[share].append(float(sets.sum(1).mean()))
    for share in COVERAGES:
        add(
            report,
            f"other writers, {method.n_validation_} held out, {share:.0%} promised",
            covered[share],
            sizes[share],
        )


def add(report: Report, name: str, covered: list[float], sizes: list[float]) -> None:
    mean, error = np.mean(covered), np.std(covered, ddof=1) / np.sqrt(len(covered))
    report.add(name, covered, "%", f"mean {mean:.1f} ± {error:.1f}, {np.mean(sizes):.2f} classes a set")


if __name__ == "__main__":
    main()
