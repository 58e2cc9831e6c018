"""Features without gradients: how near each patch of an image is to each of many typical patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels.nets.classifier import Encoder
from fewlabels.nets.statistics import divisors

# Of normalized pixels: keeps the noise of flat patches from being blown up (Coates & Ng: 10 of 255 squared).
_CONTRAST_FLOOR = 0.0025
_ZCA_FLOOR = 0.1
# So many distances are held at once: few enough that a processor has them in its cache.
_HELD = 600_000
_HELD_ELSEWHERE = 50_000_000


class PatchEncoder(Encoder):
    """Whitened patches, their nearness to centroids, summed over the four quarters of the image.

    Of vectors, the whole vector is the only patch, and is handed on beside its nearness.

    Parameters
    ----------
    sample_shape : tuple of int
        (height, width, channels) of an image, or (features,) of a vector.
    centroids : int
        Number of centroids.
    patch : int
        Side of a patch in pixels; half the image's smaller side at most.
    shrink_to : int, optional
        Smaller side in pixels that larger images are shrunk to first, each pixel the mean of what it covers.

    References
    ----------
    Coates, Lee & Ng, "An analysis of single-layer networks in unsupervised feature learning", 2011.
    """

    whitening: Tensor
    shift: Tensor
    centroids: Tensor
    feature_mean: Tensor
    feature_std: Tensor
    quarters: Tensor
    shrink_rows: Tensor
    shrink_columns: Tensor

    def __init__(self, sample_shape: tuple[int, ...], centroids: int, patch: int, shrink_to: int | None = None) -> None:
        super().__init__()
        self.vectors = len(sample_shape) == 1
        self.shrinks = shrink_to is not None and not self.vectors and min(sample_shape[:2]) > shrink_to
        if self.shrinks:
            assert shrink_to is not None
            shrunk = [round(side * shrink_to / min(sample_shape[:2])) for side in sample_shape[:2]]
            for name, side, left in zip(("shrink_rows", "shrink_columns"), sample_shape, shrunk, strict=False):
                self.register_buffer(name, _means(side, left), persistent=False)
            sample_shape = (*shrunk, sample_shape[2])
        self.side = 1 if self.vectors else min(patch, min(sample_shape[:2]) // 2)
        length = sample_shape[0] if self.vectors else sample_shape[2] * self.side**2
        self.map_shape = (centroids + length,) if self.vectors else (centroids, 2, 2)
        self.feature_size = centroids + length if self.vectors else 4 * centroids
        self.register_buffer("shift", torch.zeros(length))
        self.register_buffer("whitening", torch.eye(length))
        self.register_buffer("centroids", torch.zeros(centroids, length))
        self.register_buffer("feature_mean", torch.zeros(self.feature_size))
        self.register_buffer("feature_std", torch.ones(self.feature_size))
        if not self.vectors:
            height, width = sample_shape[0] - self.side + 1, sample_shape[1] - self.side + 1
            self.register_buffer("quarters", _quarters(height, width), persistent=False)

    def patches(self, inputs: Tensor, which: Tensor | None = None) -> Tensor:
        """Return patches, contrast normalized, (batch, positions, values): all, or those at some positions."""
        return inputs.unsqueeze(1) if self.vectors else self._columns(inputs, which).transpose(1, 2)

    @torch.no_grad()
    def whiten(self, patches: Tensor) -> None:
        """Take from patches, (n, values), the transformation that makes them uncorrelated (ZCA)."""
        centered = patches.double() - patches.double().mean(0)
        values, vectors = torch.linalg.eigh(centered.T @ centered / max(len(patches), 1))
        self.shift.copy_(patches.mean(0))
        self.whitening.copy_(vectors @ torch.diag((values.clamp_min(0) + _ZCA_FLOOR).rsqrt()) @ vectors.T)

    def whitened(self, patches: Tensor) -> Tensor:
        """Return patches after the transformation."""
        return self._white(patches.T).T

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the nearness to each centroid in each quarter, (batch, *map_shape)."""
        if torch.compiler.is_compiling():
            # A program that is exported takes any number of samples: a loop over them would fix how many.
            return self._nearness(inputs, self._rows())
        if not len(inputs):
            return inputs.new_empty((0, *self.map_shape))
        held = _HELD if inputs.device.type == "cpu" else _HELD_ELSEWHERE
        chunk = max(1, held // (len(self.centroids) * (1 if self.vectors else self.quarters.shape[1])))
        with torch.autocast(inputs.device.type, enabled=False):
            rows = self._rows()
            parts = [self._nearness(some.float(), rows, held) for some in torch.split(inputs, chunk)]
        return torch.cat(parts)

    def _nearness(self, inputs: Tensor, rows: Tensor, held: int | None = None) -> Tensor:
        """Return the map of some samples, of which so many distances are held at once; when not given, all."""
        if self.vectors:
            # All vectors stand beside each other as the patches of one image do.
            return torch.cat([self._near(self._white(inputs.T[None]), rows)[0].T, inputs], 1)
        white = self._white(self._columns(inputs))
        if held is None or inputs.requires_grad:
            summed = F.linear(self._near(white, rows), self.quarters)
        else:
            summed = self._summed(white, rows, max(1, held // (len(inputs) * len(self.centroids))))
        # Sizes in full: of no image at all, what -1 stands for could be anything.
        return summed.view(inputs.shape[0], summed.shape[1], 2, 2)

    def _summed(self, white: Tensor, rows: Tensor, positions: int) -> Tensor:
        """Return the same as `_near` summed over the quarters, (batch, centroids, 4), by so many positions at a time.

        Memory that is written again and again stays in the cache, and the system need not clear it.
        """
        rows, columns = rows.expand(len(white), -1, -1), self._squared(white)
        summed = white.new_zeros(len(white), len(self.centroids), 4)
        memory = white.new_empty(len(white), len(self.centroids), min(positions, white.shape[2]))
        parts = zip(torch.split(columns, positions, 2), torch.split(self.quarters, positions, 1), strict=True)
        for some, quarters in parts:
            far = memory[:, :, : some.shape[2]]
            torch.bmm(rows, some, out=far)
            far.clamp_min_(0).sqrt_()
            far.sub_(far.mean(1, keepdim=True)).clamp_max_(0)
            summed -= F.linear(far, quarters)
        return summed

    def _near(self, white: Tensor, rows: Tensor) -> Tensor:
        """Return how near patches in columns are to each centroid, (batch, centroids, positions)."""
        distances = (rows @ self._squared(white)).clamp_min(0).sqrt()
        # A centroid that is farther than the average one says nothing.
        return (distances.mean(1, keepdim=True) - distances).relu()

    def _rows(self) -> Tensor:
        """Return a row for each centroid c, (-2c, |c|^2, 1), whose product with what `_squared` gives is |c - w|^2."""
        centroids = self.centroids
        parts = [-2 * centroids, centroids.square().sum(1, keepdim=True), torch.ones_like(centroids[:, :1])]
        return torch.cat(parts, 1)

    def _squared(self, white: Tensor) -> Tensor:
        """Return a column for each whitened patch w, (w, 1, |w|^2)."""
        return torch.cat([white, torch.ones_like(white[:, :1]), white.square().sum(1, keepdim=True)], 1)

    def _white(self, columns: Tensor) -> Tensor:
        return self.whitening.T @ (columns - self.shift[:, None])

    def _columns(self, images: Tensor, which: Tensor | None = None) -> Tensor:
        """Return the same with one patch a column, (batch, values, positions)."""
        if self.shrinks:
            images = self.shrink_rows @ images.contiguous() @ self.shrink_columns.T
        found = F.unfold(images.contiguous(), self.side)
        if which is not None:
            found = found[:, :, which]
        found = found - found.mean(1, keepdim=True)
        return found * (found.square().mean(1, keepdim=True) + _CONTRAST_FLOOR).rsqrt()

    def pool(self, feature_map: Tensor) -> Tensor:
        """Return standardized features, (batch, feature_size)."""
        return (feature_map.flatten(1) - self.feature_mean) / self.feature_std

    @torch.no_grad()
    def standardize(self, feature_map: Tensor) -> None:
        """Take mean and spread of the features from the maps of a sample."""
        std, mean = torch.std_mean(feature_map.flatten(1).double(), dim=0, correction=0)
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(divisors(std, mean))


def _means(side: int, left: int) -> Tensor:
    """Return the matrix that shrinks a side of so many pixels to those left, (left, side): means of what each covers.

    Examples
    --------
    >>> _means(3, 2) * 3
    tensor([[2., 1., 0.],
            [0., 1., 2.]])
    """
    bounds = torch.arange(left + 1, dtype=torch.float64) * side / left
    pixels = torch.arange(side, dtype=torch.float64)
    begin, end = torch.maximum(bounds[:-1, None], pixels), torch.minimum(bounds[1:, None], pixels + 1)
    return ((end - begin).clamp_min(0) * left / side).float()


def _quarters(rows: int, columns: int) -> Tensor:
    """Return which positions are in which quarter, (4, rows * columns): one where they are."""
    found = torch.zeros(2, 2, rows, columns)
    bands = slice(0, (rows + 1) // 2), slice((rows + 1) // 2, rows)
    sides = slice(0, (columns + 1) // 2), slice((columns + 1) // 2, columns)
    for down, band in enumerate(bands):
        for right, side in enumerate(sides):
            found[down, right, band, side] = 1
    return found.view(4, -1)
