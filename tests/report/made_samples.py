"""Samples of a pool and of features, made by hand, for tests of the page."""

from __future__ import annotations

import dataclasses

import numpy as np
from test_html import NAMES, N, made_comparison, made_run

from fewlabels.evaluation import Comparison
from fewlabels.evaluation.feature_sample import FeatureSample
from fewlabels.evaluation.pool_sample import PoolSample
from fewlabels.evaluation.trust import measure_trust


def pool_sample(*, truth: bool = True) -> PoolSample:
    """Six of eight classified images; the fourth and the seventh are wrong."""
    guesses = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    true = np.array([0, 1, 2, 1, 1, 2, 2, 1])
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    confidences = np.array([0.99, 0.97, 0.9, 0.85, 0.6, 0.55, 0.4, 0.3], np.float32)
    shown = np.array([0, 1, 2, 3, 4, 6])
    return PoolSample(guesses, confidences, true if truth else np.full(8, -1), shown, images, 1000, 1000)


def feature_sample() -> FeatureSample:
    """Three groups of 20 test images far from each other, the last image of each within the next; ten of the pool."""
    draws = np.random.default_rng(0)
    labels = np.arange(60) % 3
    places = labels.copy()
    places[57:] = (places[57:] + 1) % 3
    centers = 10 * np.eye(3, 5)
    points = np.concatenate([centers[places], centers[draws.integers(0, 3, 10)]]) + 0.1 * draws.normal(size=(70, 5))
    return FeatureSample(points.astype(np.float16), labels, places, 0.9)


def full_comparison() -> Comparison:
    """Three methods with all that a page can show, names and notes hostile."""
    runs = []
    for method, right in (("supervised", 420), ("self-training", 444), ("joint-autoencoder", 400)):
        run = made_run(method, right)
        image = run.mistakes[0].image
        mistakes = [
            dataclasses.replace(run.mistakes[0], index=n, truth=n % 2, guess=2, confidence=0.9 - n / 100, image=image)
            for n in range(5)
        ]
        trust = measure_trust(run.test_probabilities, run.test_labels, np.linspace(0.01, 0.2, 40))
        more = {"pool_sample": pool_sample(), "feature_sample": feature_sample(), "energy_joules": 7200.0}
        choices = [{"choice": NAMES[0], "result": "the last", "looked_at": "nothing"}]
        runs.append(dataclasses.replace(run, mistakes=mistakes, trust=trust, choices=choices, **more))
    assert len(runs[0].test_labels) == N
    found = made_comparison(runs)
    finding = {"kind": "a", "severity": "leak", "text": "3 of 600 are <i>copies</i>", "examples": [["x.png", "y.png"]]}
    found.config["check"] = {"problems": 1, "findings": [finding], "measured": []}
    return found
