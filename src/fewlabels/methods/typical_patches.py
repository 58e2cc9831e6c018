"""Typical patches of images, found by k-means among all of them: what features of patches stand on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from fewlabels.nets import Classifier
from fewlabels.nets.patches import PatchEncoder
from fewlabels.nets.registry import check_size
from fewlabels.training.batches import Rows
from fewlabels.views.images import to_float

# Typical patches, their side in pixels, what they are found among, and the side of images in which they are looked at.
CENTROIDS, PATCH, PATCHES, SHRINK_TO = 800, 6, 200_000, 32
# Images to take patches from at least, and to standardize features by.
_SAMPLE = 2000
STANDARD = 500
_CLUSTER_BATCH = 4096
_CHUNK = 250
_CPU = torch.device("cpu")


@torch.no_grad()
def find_typical_patches(
    encoder: PatchEncoder,
    samples: Rows,
    read: Callable[[Tensor], Tensor],
    *,
    patches: int,
    draws: np.random.Generator,
    device: torch.device,
) -> None:
    """Give an encoder its whitening, its centroids, and the spread of its features, from samples without labels.

    Parameters
    ----------
    encoder : PatchEncoder
        On `device`.
    samples : Rows
        Images or vectors, as they are stored.
    read : callable
        Maps stored samples to what the encoder takes: normalized.
    patches : int
        So many are taken, spread over at least 2,000 samples where there are as many.
    draws : numpy.random.Generator
        Draws samples, positions and the first centroids.
    device : torch.device
        Where to compute.

    References
    ----------
    Coates, Lee & Ng, "An analysis of single-layer networks in unsupervised feature learning", 2011.
    """
    positions = encoder.patches(read(samples.sample(1, device))).shape[1]
    # Few from each of many images tell more than many from few.
    count = min(len(samples), max(_SAMPLE, -(-patches // positions)))
    each = min(positions, -(-patches // count))
    found: list[Tensor] = []
    chosen = samples.drawn(count, draws)
    for start in range(0, count, _CHUNK):
        stored = samples.take(chosen[start : start + _CHUNK], device)
        which = torch.from_numpy(draws.permutation(positions)[:each]).to(device)
        found.append(encoder.patches(read(stored), which).flatten(0, 1).cpu())
    taken = torch.cat(found)
    encoder.whiten(taken.to(device))
    white = encoder.whitened(taken.to(device)).cpu().numpy()
    centroids = len(encoder.centroids)
    means = MiniBatchKMeans(
        _distinct(white, centroids),
        # Spread out from the start, they took twice as long and ended no nearer to the patches.
        init="random",
        batch_size=_CLUSTER_BATCH,
        n_init=1,
        max_iter=20,
        compute_labels=False,
        random_state=int(draws.integers(2**31)),
    )
    with warnings.catch_warnings():
        # Says that some clusters are empty or equal; of few samples they are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(white)
    # Where there are fewer patches than centroids, some come again: that adds nothing and takes nothing.
    centers = np.resize(means.cluster_centers_, (centroids, white.shape[1]))
    encoder.centroids.copy_(torch.from_numpy(centers))
    encoder.standardize(encoder.feature_map(read(samples.sample(STANDARD, device))))


class PatchFeatures:
    """Features of images without a label anywhere: how near their patches are to typical ones of all.

    Parameters
    ----------
    images : array-like of shape (n, height, width, channels)
        uint8; typical patches are found among them. Read some at a time.
    centroids : int
        Number of typical patches; features are four times as many.
    random_state : int
        Of the draws.
    device : torch.device
        Where to compute.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> images = load_digits().images[:200, :, :, None].astype(np.uint8)
    >>> PatchFeatures(images, centroids=20)(images[:5]).shape
    (5, 80)
    """

    def __init__(
        self,
        images: Any,
        *,
        centroids: int,
        random_state: int = 0,
        device: torch.device = _CPU,
    ) -> None:
        rows = Rows([images])
        check_size(rows.sample_shape)
        encoder = PatchEncoder(rows.sample_shape, centroids, PATCH, SHRINK_TO)
        self._classifier = Classifier(encoder, nn.Identity(), rows.sample_shape[-1]).to(device).eval()
        self._device = device
        self._classifier.start(to_float(rows.sample(STANDARD, device)))
        find_typical_patches(
            encoder,
            rows,
            lambda stored: self._classifier.normalize(to_float(stored)),
            patches=PATCHES,
            draws=np.random.default_rng(random_state),
            device=device,
        )

    @torch.inference_mode()
    def __call__(self, images: Any) -> NDArray[np.float32]:
        """Return the features of images, (n, features)."""
        inputs = to_float(torch.from_numpy(np.array(images)).to(self._device))
        found: NDArray[np.float32] = self._classifier.features(inputs).cpu().numpy()
        return found


def _distinct(rows: NDArray[np.floating], enough: int) -> int:
    """Return how many different rows there are, or `enough` if they are more, without sorting more than it takes.

    Examples
    --------
    >>> rows = np.arange(100).reshape(-1, 1) // 50
    >>> [_distinct(rows, enough) for enough in (1, 2, 3, 800)]
    [1, 2, 2, 2]
    """
    found = looked_at = 0
    while found < enough and looked_at < len(rows):
        looked_at = 4 * max(looked_at, enough)
        found = len(np.unique(rows[:looked_at], axis=0))
    return min(found, enough)
