"""A map of the features: near each other lie images that the net finds alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from fewlabels.evaluation.feature_sample import FeatureSample

_WIDTH, _HEIGHT, _MARGIN = 1000, 760, 24
_PERPLEXITY = 30
_ITERATIONS = 350
_COLORS = 6
# Each as a path from a point's center; with six colors, thirty classes look different.
_SHAPES = (
    "m-9,0a9,9 0 1 0 18,0a9,9 0 1 0-18,0",
    "m-8,-8h16v16h-16z",
    "m0,-10l10,17h-20z",
    "m0,-11l11,11l-11,11l-11,-11z",
    "m0,10l10,-17h-20z",
)
_DOT = "h0"


def feature_map(sample: FeatureSample | None, class_names: tuple[str, ...]) -> dict[str, Any] | None:
    """Return a map of test and pool images as inline SVG, its legend, and what it shows in words.

    Places come from t-SNE (van der Maaten & Hinton, "Visualizing data using t-SNE", 2008), which keeps near images
    near; distances between far groups say little. Colors and shapes are of the true class; pool images are dots.

    Parameters
    ----------
    sample : FeatureSample or None
    class_names : tuple of str

    Returns
    -------
    dict or None
        `svg`, `legend` (class index, name, marker as SVG), `test`, `pool` (numbers of images), `same` (mean share of
        the nearest test images that are of an image's class), `text`. None where there is nothing to draw.
    """
    if sample is None or len(np.unique(sample.points, axis=0)) < 3:
        return None
    places = _places(sample)
    test = len(sample.labels)
    same = (sample.neighbors() == sample.labels[:, None]).mean(1)
    present = [int(index) for index in np.unique(sample.labels)]
    text = _in_words(sample, same, present, class_names)
    parts = [_pool_path(places[test:])]
    for index in present:
        own = sample.labels == index
        right = own & (sample.guesses == index)
        groups = "".join(
            f'<path class="{kind}" d="{_marks(places[:test][rows], index)}"/>'
            for kind, rows in (("f", right), ("h", own & ~right))
            if rows.any()
        )
        parts.append(f'<g data-class="{index}" style="--c:var(--k{index % _COLORS})">{groups}</g>')
    label = escape(text)
    svg = f'<svg class="map" role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>'
    return {
        "svg": Markup(svg),
        "legend": [(index, class_names[index], _marker(index)) for index in present],
        "test": test,
        "pool": len(places) - test,
        "same": float(same.mean()),
        "text": text,
    }


def _places(sample: FeatureSample) -> NDArray[np.int64]:
    points = sample.points.astype(np.float32)
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    if points.shape[1] < 2:  # a single feature has no second principal axis to begin with
        points = np.pad(points, ((0, 0), (0, 1)))
    found = TSNE(2, init="pca", perplexity=perplexity, max_iter=_ITERATIONS, random_state=0).fit_transform(points)
    low, high = found.min(0), found.max(0)
    size = np.array([_WIDTH, _HEIGHT]) - 2 * _MARGIN
    places: NDArray[np.int64] = np.round(_MARGIN + (found - low) / np.maximum(high - low, 1e-9) * size).astype(np.int64)
    return places


def _marks(places: NDArray[np.int64], index: int) -> str:
    shape = _SHAPES[index % len(_SHAPES)]
    return "".join(f"M{x},{y}{shape}" for x, y in places.tolist())


def _pool_path(places: NDArray[np.int64]) -> str:
    dots = "".join(f"M{x},{y}{_DOT}" for x, y in places.tolist())
    return f'<path class="pool" d="{dots}"/>' if dots else ""


def _marker(index: int) -> Markup:
    shape = _SHAPES[index % len(_SHAPES)]
    color = f"--c:var(--k{index % _COLORS})"
    return Markup(
        f'<svg class="marker" viewBox="-12 -12 24 24" aria-hidden="true" style="{color}">'
        f'<path class="f" d="M0,0{shape}"/></svg>'
    )


def _in_words(
    sample: FeatureSample, same: NDArray[np.float64], present: list[int], class_names: tuple[str, ...]
) -> str:
    of_class = {index: float(same[sample.labels == index].mean()) for index in present}
    text = (
        f"Map of {len(same):,} test images by their features: on average {same.mean():.0%} of an image's nearest "
        "neighbors are of its class"
    )
    if len(present) < 2:
        return text + "."
    best, worst = max(present, key=of_class.__getitem__), min(present, key=of_class.__getitem__)
    near = sample.neighbors()[sample.labels == worst]
    counts = np.bincount(near[near != worst].ravel(), minlength=len(class_names))
    among = f", among {class_names[int(counts.argmax())]} above all" if counts.any() else ""
    return (
        f"{text}. Most by itself lies {class_names[best]} ({of_class[best]:.0%}), "
        f"least {class_names[worst]} ({of_class[worst]:.0%}){among}."
    )
