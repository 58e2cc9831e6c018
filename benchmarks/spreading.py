"""Label spreading at scale: 100,000 vectors of 384 features, its time, its memory, and the neighbors that it misses.

    python benchmarks/spreading.py

The vectors are 40 clusters on a curved surface of 40 dimensions in 384, with noise: features of a pretrained net lie
near such surfaces too. Ten classes of four clusters each, ten labels a class.
"""

from __future__ import annotations

import resource
import time

import numpy as np

from fewlabels import LabelSpreading
from fewlabels.methods.graph import NeighborGraph
from fewlabels.methods.neighbors import NearestRows
from harness import Report

ROWS, FEATURES, CLASSES, NEIGHBORS = 100_000, 384, 10, 50
CHECKED = 500


def vectors(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors and their classes."""
    draws = np.random.default_rng(seed)
    centers = draws.standard_normal((40, 40))
    cluster = draws.integers(40, size=ROWS)
    inner = centers[cluster] + 0.5 * draws.standard_normal((ROWS, 40))
    made = np.tanh(inner @ draws.standard_normal((40, FEATURES)) / 6)
    made += 0.05 * draws.standard_normal(made.shape)
    return made.astype(np.float32), cluster % CLASSES


def main() -> None:
    report = Report("spreading")
    X, truth = vectors()
    began = time.perf_counter()
    graph = NeighborGraph(X, NEIGHBORS)
    built = time.perf_counter() - began
    report.add("graph of 100,000 vectors", [built], "s")
    labeled = np.concatenate([np.flatnonzero(truth == c)[:10] for c in range(CLASSES)])
    given = np.zeros((ROWS, CLASSES))
    given[labeled, truth[labeled]] = 1
    began = time.perf_counter()
    spread = graph.spread(given, 0.99)
    report.add("labels spread by conjugate gradients", [time.perf_counter() - began], "s")
    pool = np.setdiff1d(np.arange(ROWS), labeled)
    report.add("pool labels that are right", [100 * float((spread.argmax(1) == truth)[pool].mean())], "%")
    del graph, spread
    began, worked = time.perf_counter(), time.process_time()
    method = LabelSpreading(random_state=0).fit(X[labeled], truth[labeled], unlabeled=X[pool])
    whole = time.perf_counter() - began
    report.add("processor time of that", [time.process_time() - worked], "s")
    verdict = f"target at most 60 s: {'met' if whole <= 60 else 'missed'}"
    report.add("LabelSpreading.fit, graph, labels and net", [whole], "s", verdict)
    right = (method.round_pseudo_labels_[0] == truth[pool]).mean()
    report.add("its pool labels that are right", [100 * float(right)], "%")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    verdict = f"target at most 2 GB: {'met' if peak <= 2 else 'missed'}"
    report.add("peak memory of the process", [peak], "GB", verdict)
    report.add("neighbors that a full search finds too", [100 * recall(X)], "%")


def recall(X: np.ndarray) -> float:
    """Return which share of the nearest, by comparing some vectors with all, the search finds."""
    asked = X[:: ROWS // CHECKED][:CHECKED]
    _, found = NearestRows(X, NEIGHBORS + 1).kneighbors(asked)
    squares = (X**2).sum(1)
    hits = 0
    for vector, rows in zip(asked, found, strict=True):
        nearest = np.argsort(squares - 2 * X @ vector, kind="stable")[: NEIGHBORS + 1]
        hits += len(np.intersect1d(nearest, rows))
    return hits / found.size


if __name__ == "__main__":
    main()
