"""What each method's bookkeeping costs beside a supervised step of the default net.

    python benchmarks/bookkeeping.py [--methods uda,fix-match] [--steps 300]

Each method takes steps on vectors of eight features and a net of next to no arithmetic, by turns with `supervised`
on the same: what a step takes longer is bookkeeping (targets, thresholds, averages, further passes of a tiny net),
and is shown as a share of a supervised step of the default net on images of 32 px. An upper bound, then.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from fewlabels import METHODS, make_method
from fewlabels.methods import SemiSupervisedClassifier
from harness import Report

TARGET = 5.0
TURNS = 5
# What others are measured against, and those that take no steps, on vectors at least.
LEFT_OUT = ("supervised", "kmeans-features", "linear-probe", "prototypes", "ensemble-labels", "label-spreading")
LEFT_OUT += ("net-and-patches",)  # whose steps are those of `supervised`


def step_seconds(method: SemiSupervisedClassifier, samples: np.ndarray, labels: np.ndarray) -> float:
    """Return the seconds of a step of a method's last stage, from its first event on."""
    ticks: list[tuple[str, float, int]] = []

    def watch(event: dict[str, object]) -> None:
        ticks.append((str(event["stage"]), float(event["seconds"]), int(event["step"])))  # type: ignore[call-overload]

    method.fit(samples, labels, unlabeled=samples, observer=watch)
    last = [tick for tick in ticks if tick[0] == ticks[-1][0] and tick[2]]
    (_, began, first), (_, ended, final) = last[0], last[-1]
    return (ended - began) / (final - first)


def contender(name: str, steps: int, samples: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """Return what measures a method's step."""
    settings = {"steps": steps, "random_state": 0, "validation_fraction": 0.0}
    if "unlabeled_ratio" in METHODS[name]().get_params():
        settings["unlabeled_ratio"] = 2.0
    return lambda: step_seconds(make_method(name, **settings), samples, labels)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", help="comma-separated; all that take steps when not given")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    report = Report("bookkeeping", keep=options.methods is not None)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(1000, 8)).astype(np.float32)
    images = generator.integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(1000) % 10
    full = contender("supervised", 60, images, labels)
    whole = [full() for _ in range(TURNS)]
    report.add("supervised step, default net, 32 px", [1000 * s for s in whole], "ms")
    tiny = contender("supervised", options.steps, vectors, labels)
    names = [name for name in METHODS if name not in LEFT_OUT]
    if options.methods is not None:
        names = options.methods.split(",")
    for name in names:
        measured = contender(name, options.steps, vectors, labels)
        more = [measured() - tiny() for _ in range(TURNS)]
        report.share(f"{name}: more than a supervised step", more, whole, TARGET, least=False)


if __name__ == "__main__":
    main()
