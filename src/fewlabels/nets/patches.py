"""Features without gradients: how near each patch of an image is to each of many typical patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels.nets.classifier import Encoder

# Of normalized pixels: keeps the noise of flat patches from being blown up (Coates & Ng: 10 of 255 squared).
_CONTRAST_FLOOR = 0.0025
_ZCA_FLOOR = 0.1
# All distances of an image are held at once. Of so many images they stay in the processor's cache, and in blocks
# that glibc keeps for the next; of twice as many an image takes a quarter longer.
_CHUNK = 8


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

    References
    ----------
    Coates, Lee & Ng, "An analysis of single-layer networks in unsupervised feature learning", 2011.
    """

    whitening: Tensor
    shift: Tensor
    centroids: Tensor
    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, sample_shape: tuple[int, ...], centroids: int, patch: int) -> None:
        super().__init__()
        self.vectors = len(sample_shape) == 1
        self.side = 1 if self.vectors else min(patch, min(sample_shape[:2]) // 2)
        length = sample_shape[0] if self.vectors else sample_shape[2] * self.side**2
        self.map_shape = (centroids + length,) if self.vectors else (centroids, 2, 2)
        self.feature_size = centroids + length if self.vectors else 4 * centroids
        self.register_buffer("shift", torch.zeros(length))
        self.register_buffer("whitening", torch.eye(length))
        self.register_buffer("centroids", torch.zeros(centroids, length))
        self.register_buffer("feature_mean", torch.zeros(self.feature_size))
        self.register_buffer("feature_std", torch.ones(self.feature_size))

    def patches(self, inputs: Tensor) -> Tensor:
        """Return all patches, contrast normalized, (batch, positions, values)."""
        if self.vectors:
            return inputs.unsqueeze(1)
        found = F.unfold(inputs.contiguous(), self.side).transpose(1, 2)
        variance, mean = torch.var_mean(found, dim=2, correction=0, keepdim=True)
        return (found - mean) / (variance + _CONTRAST_FLOOR).sqrt()

    @torch.no_grad()
    def whiten(self, patches: Tensor) -> None:
        """Take from patches, (n, values), the transformation that makes them uncorrelated (ZCA)."""
        centered = patches.double() - patches.double().mean(0)
        values, vectors = torch.linalg.eigh(centered.T @ centered / max(len(patches), 1))
        self.shift.copy_(patches.mean(0))
        self.whitening.copy_(vectors @ torch.diag((values.clamp_min(0) + _ZCA_FLOOR).rsqrt()) @ vectors.T)

    def whitened(self, patches: Tensor) -> Tensor:
        """Return patches after the transformation."""
        return (patches - self.shift) @ self.whitening

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the nearness to each centroid in each quarter, (batch, *map_shape)."""
        if torch.compiler.is_compiling():
            # A program that is exported takes any number of samples: a loop over them would fix how many.
            return self._nearness(inputs)
        parts = [self._nearness(inputs[start : start + _CHUNK]) for start in range(0, len(inputs), _CHUNK)]
        return torch.cat(parts) if parts else inputs.new_empty((0, *self.map_shape))

    def _nearness(self, inputs: Tensor) -> Tensor:
        patches = self.whitened(self.patches(inputs))
        distances = _distances(patches, self.centroids.to(patches.dtype))
        # A centroid that is farther than the average one says nothing.
        near = (distances.mean(2, keepdim=True) - distances).relu_()
        if self.vectors:
            return torch.cat([near[:, 0], inputs], 1)
        rows, columns = inputs.shape[2] - self.side + 1, inputs.shape[3] - self.side + 1
        # Sizes in full: of no image at all, what -1 stands for could be anything.
        grid = near.view(inputs.shape[0], rows, columns, near.shape[2])
        half_rows, half_columns = (rows + 1) // 2, (columns + 1) // 2
        quarters = [
            part.sum((1, 2))
            for band in (grid[:, :half_rows], grid[:, half_rows:])
            for part in (band[:, :, :half_columns], band[:, :, half_columns:])
        ]
        return torch.stack(quarters, 2).view(inputs.shape[0], near.shape[2], 2, 2)

    def pool(self, feature_map: Tensor) -> Tensor:
        """Return standardized features, (batch, feature_size)."""
        return (feature_map.flatten(1) - self.feature_mean) / self.feature_std

    @torch.no_grad()
    def standardize(self, feature_map: Tensor) -> None:
        """Take mean and spread of the features from the maps of a sample."""
        std, mean = torch.std_mean(feature_map.flatten(1).double(), dim=0, correction=0)
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.ones_like(std)))


def _distances(patches: Tensor, centroids: Tensor) -> Tensor:
    """Return how far each patch is from each centroid, (batch, positions, centroids)."""
    if not torch.compiler.is_compiling():
        return torch.cdist(patches, centroids.expand(len(patches), -1, -1))
    # ONNX does not have `cdist`.
    squares = patches.square().sum(2, keepdim=True) + centroids.square().sum(1) - 2 * patches @ centroids.T
    return squares.clamp_min(0).sqrt()
