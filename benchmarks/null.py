"""How often a method is called better than the labels alone where it is not: 1,000 comparisons of equal methods.

Answers are drawn rather than trained: every image has its own difficulty, every draw of labels makes all methods of
that seed better or worse together, and every training adds its own luck. All methods are equally good on average. The
verdict is then the one that `compare` gives.

    python benchmarks/null.py
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from fewlabels.evaluation.intervals import wilson_interval
from fewlabels.evaluation.run import Run
from fewlabels.evaluation.standings import groups_of
from harness import Report

COMPARISONS = 1000
IMAGES = 1000
# In units of a logit: of the images, and of draws of labels, which all methods of a seed share.
DIFFICULTY, DRAW = 2.0, 0.3
METHODS = ("supervised", "self-training", "two-step-autoencoder", "joint-autoencoder")


def main() -> None:
    report = Report("null")
    for seeds in (1, 2, 3):
        for methods in (METHODS[:2], METHODS):
            for luck in (0.0, 0.1):
                helped, any_helped = simulate(seeds, methods, luck)
                what = f"{seeds} seed{'s' if seeds > 1 else ''}, {len(methods)} methods, luck of a training {luck:g}"
                report.add(f"helped, {what}", [100 * helped], "%", f"of any method: {100 * any_helped:.1f} %")


def simulate(
    seeds: int, methods: tuple[str, ...], luck: float, comparisons: int = COMPARISONS, images: int = IMAGES
) -> tuple[float, float]:
    """Return how often the verdict on a method is "the pool helped", and how often it is of at least one method."""
    draws = np.random.default_rng([seeds, len(methods), round(1000 * luck)])
    verdicts = np.array([one_comparison(draws, seeds, methods, luck, images) for _ in range(comparisons)])
    return float(verdicts.mean()), float(verdicts.any(1).mean())


def one_comparison(
    draws: np.random.Generator, seeds: int, methods: tuple[str, ...], luck: float, images: int
) -> list[bool]:
    difficulty = draws.normal(1.0, DIFFICULTY, images)
    runs = []
    for seed in range(seeds):
        draw = draws.normal(0, DRAW)
        for method in methods:
            right = draws.random(images) < expit(difficulty + draw + draws.normal(0, luck))
            runs.append(made_run(method, seed, right))
    group = groups_of(runs)[0]
    duels = [group.pool_duel(method) for method in methods[1:]]
    return [duel is not None and duel.is_shown and duel.result.difference > 0 for duel in duels]


def made_run(method: str, seed: int, right: np.ndarray) -> Run:
    low, high = wilson_interval(int(right.sum()), len(right))
    return Run(
        method=method,
        labels_per_class=10,
        seed=seed,
        train_accuracy=1.0,
        validation_accuracy=float(right.mean()),
        test_accuracy=float(right.mean()),
        test_low=low,
        test_high=high,
        fit_seconds=1.0,
        gradient_images=1,
        parameters=1,
        test_probabilities=np.stack([right, ~right], axis=1).astype(float),
        test_labels=np.zeros(len(right), np.int64),
    )


if __name__ == "__main__":
    main()
