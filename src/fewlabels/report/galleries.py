"""Galleries: the surest mistakes, and pool images by class and confidence."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from fewlabels.evaluation.intervals import wilson_interval
from fewlabels.evaluation.pool_sample import BANDS, PoolSample
from fewlabels.evaluation.run import Run
from fewlabels.report.pictures import picture
from fewlabels.report.room import Room

# Markup around each picture of a gallery.
_AROUND = 220
_SIDE = 48


def mistakes_view(run: Run, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Return the surest mistakes with their pictures, and the classes to filter by."""
    return {
        "images": [
            {
                "image": picture(mistake.image),
                "truth": class_names[mistake.truth],
                "guess": class_names[mistake.guess],
                "truth_index": mistake.truth,
                "guess_index": mistake.guess,
                "confidence": mistake.confidence,
                "index": mistake.index,
            }
            for mistake in run.mistakes
        ],
        "truths": _named({mistake.truth for mistake in run.mistakes}, class_names),
        "guesses": _named({mistake.guess for mistake in run.mistakes}, class_names),
    }


def pool_view(sample: PoolSample | None, class_names: tuple[str, ...], room: Room) -> dict[str, Any] | None:
    """Return pool images by the class they are taken for, the surest first, as many as there is room for.

    Parameters
    ----------
    sample : PoolSample or None
    class_names : tuple of str
    room : Room
        Is taken from.
    """
    if sample is None:
        return None
    bands = sample.bands
    chosen: dict[int, list[dict[str, Any]]] = {}
    # The first of each class and band come first, so that those are shown where there is little room.
    for row, image in zip(sample.shown.tolist(), sample.images, strict=True):
        shown = picture(image, _SIDE)
        if len(shown) + _AROUND > room.share():
            break
        room.take(shown, " " * _AROUND)
        truth = int(sample.truth[row])
        guess = int(sample.guesses[row])
        chosen.setdefault(guess, []).append(
            {
                "image": shown,
                "confidence": float(sample.confidences[row]),
                "band": int(bands[row]),
                "truth": None if truth < 0 else class_names[truth],
                "right": None if truth < 0 else truth == guess,
            }
        )
    counts = np.bincount(sample.guesses, minlength=len(class_names))
    return {
        "classified": len(sample.guesses),
        "pool": sample.pool,
        "drawn_from": sample.drawn_from,
        "known": int((sample.truth >= 0).sum()),
        "bands": _band_rows(sample),
        "band_names": band_names(),
        "shown": sum(len(images) for images in chosen.values()),
        "classes": [
            {
                "name": class_names[index],
                "index": index,
                "count": int(counts[index]),
                "images": sorted(images, key=lambda one: -one["confidence"]),
            }
            for index, images in sorted(chosen.items())
        ],
    }


def band_names() -> list[str]:
    """Return the bands of confidence in words.

    Examples
    --------
    >>> band_names()
    ['up to 50%', '50% to 80%', '80% to 95%', 'above 95%']
    """
    ends = [f"{end:.0%}" for end in BANDS]
    between = [f"{low} to {high}" for low, high in pairwise(ends[:-1])]
    return [f"up to {ends[0]}", *between, f"above {ends[-2]}"]


def _band_rows(sample: PoolSample) -> list[dict[str, Any]]:
    bands = sample.bands
    rows = []
    for index, name in reversed(list(enumerate(band_names()))):
        here = bands == index
        known = here & (sample.truth >= 0)
        right = int((sample.guesses[known] == sample.truth[known]).sum())
        low, high = wilson_interval(right, int(known.sum())) if known.any() else (None, None)
        rows.append(
            {
                "name": name,
                "images": int(here.sum()),
                "share": float(here.mean()),
                "right": right / int(known.sum()) if known.any() else None,
                "low": low,
                "high": high,
            }
        )
    return rows


def _named(indices: set[int], class_names: tuple[str, ...]) -> list[tuple[int, str]]:
    return [(index, class_names[index]) for index in sorted(indices)]
