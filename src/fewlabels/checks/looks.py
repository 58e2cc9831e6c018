"""What a check compares of each image: a hash of its pixels, a coarse look, and its detail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fewlabels.data.rows import ImageRows, content_hashes

# Images of fewer pixels a side have no detail by which a copy could be told from a similar image.
SMALLEST_SIDE = 16
COARSE = 8
_SIDE = 32
_CHUNK = 1024
_GRAY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Looks:
    """What is compared of the images of one part, in memory that grows by about two kilobytes an image.

    Attributes
    ----------
    hashes : ndarray of void, shape (n,)
        128-bit hash of each image's pixels.
    coarse : ndarray of float32, shape (n, 64 * channels)
        The image on 8 x 8 areas, each channel's mean taken off, scaled to length 1: blind to brightness, contrast and
        tint. All zero for an image that is flat.
    gray : ndarray of uint8, shape (n, side, side)
        The image in gray on at most 32 x 32 areas.
    """

    hashes: NDArray[np.void]
    coarse: NDArray[np.float32]
    gray: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def is_detailed(self) -> bool:
        """Whether the images are large enough to tell a near duplicate from a similar image."""
        return bool(self.gray.shape[1] >= SMALLEST_SIDE)

    @staticmethod
    def joined(parts: list[Looks]) -> Looks:
        """Return the looks of several parts in a row."""
        return Looks(
            np.concatenate([part.hashes for part in parts]),
            np.concatenate([part.coarse for part in parts]),
            np.concatenate([part.gray for part in parts]),
        )


def look_at(images: ImageRows) -> Looks:
    """Return the looks of all images, which are read once, some at a time.

    Parameters
    ----------
    images : ImageRows
        uint8, (n, height, width, channels).
    """
    n, height, width, channels = images.shape
    side = min(_SIDE, height, width)
    hashes = np.empty(n, "V16")
    coarse = np.zeros((n, COARSE * COARSE * channels), np.float32)
    gray = np.empty((n, side, side), np.uint8)
    for start in range(0, n, _CHUNK):
        pixels = np.ascontiguousarray(images[start : start + _CHUNK])
        end = start + len(pixels)
        hashes[start:end] = [np.void(found) for found in content_hashes(pixels)]
        values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous()
        coarse[start:end] = _coarse(values).numpy()
        gray[start:end] = F.adaptive_avg_pool2d(_gray(values), side)[:, 0].round().to(torch.uint8).numpy()
    return Looks(hashes, coarse, gray)


def _coarse(values: Tensor) -> Tensor:
    small = F.adaptive_avg_pool2d(values, COARSE)
    small = (small - small.mean((2, 3), keepdim=True)).flatten(1)
    # Below two gray levels of contrast there is noise and rounding rather than a picture.
    length = small.norm(dim=1, keepdim=True)
    flat = length < 2 * small.shape[1] ** 0.5
    return torch.where(flat, torch.zeros(()), small / length.clamp(min=1e-6))


def _gray(values: Tensor) -> Tensor:
    if values.shape[1] == 1:
        return values
    return (values * torch.tensor(_GRAY).view(1, 3, 1, 1)).sum(1, keepdim=True)
