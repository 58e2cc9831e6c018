"""Labeled samples in memory, and which of many are looked at on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fewlabels.training.batches import Rows

# Looks on the way cost time that training could use: a curve needs no more than these.
_LOOK_AT = 250


@dataclass
class TrainingSet:
    """Labeled samples in memory.

    Attributes
    ----------
    samples : Tensor
        uint8 images (n, height, width, channels) or float vectors (n, features).
    targets : Tensor
        Class index of each, (n,).
    rows : ndarray of int64
        Which rows of what was given they are, (n,).
    """

    samples: Tensor
    targets: Tensor
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def stored(self) -> Rows:
        """The samples as rows, to be read a batch at a time."""
        return Rows([self.samples.cpu().numpy()])

    @property
    def labels(self) -> NDArray[np.int64]:
        """The targets as an array, for what computes outside of PyTorch."""
        return self.targets.cpu().numpy()

    def part(self, rows: NDArray[np.int64]) -> TrainingSet:
        """Return some of the samples."""
        return TrainingSet(self.samples[rows], self.targets[rows], self.rows[rows])


def looked_at(samples: int) -> NDArray[np.int64]:
    """Return the rows of so many samples whose accuracy is looked at on the way: all, or some at random.

    At random, as every tenth of samples that go round ten classes is of the same.

    Examples
    --------
    >>> looked_at(3).tolist(), len(looked_at(10_000))
    ([0, 1, 2], 250)
    """
    if samples < 2 * _LOOK_AT:
        return np.arange(samples)
    return np.sort(np.random.default_rng(0).permutation(samples)[:_LOOK_AT])
