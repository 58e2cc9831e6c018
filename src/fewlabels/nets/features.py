"""Encoders without weights: a vector, or an image's pixels, as the features that they are."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from fewlabels.nets.classifier import Encoder


class GivenFeatures(Encoder):
    """Standardized vectors, or pixels in a row, each scaled to the length that it has on average.

    Standardized vectors of d numbers have a length of about sqrt(d); far longer or shorter ones differ in how strongly
    the net that made them responds, which tells little about the class.

    Parameters
    ----------
    sample_shape : tuple of int
        (features,) of a vector, or (height, width, channels) of an image.

    Examples
    --------
    >>> import torch
    >>> GivenFeatures((4,))(torch.tensor([[3.0, 0.0, 0.0, 4.0]])).tolist()
    [[1.2000000476837158, 0.0, 0.0, 1.600000023841858]]
    """

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.feature_size = math.prod(sample_shape)
        self.map_shape = (self.feature_size,)

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the features, (batch, feature_size)."""
        return F.normalize(inputs.flatten(1), dim=1) * math.sqrt(self.feature_size)

    def pool(self, feature_map: Tensor) -> Tensor:
        """Return the features as they are."""
        return feature_map
