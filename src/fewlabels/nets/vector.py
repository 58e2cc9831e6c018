"""The net for vectors: a small multilayer perceptron, and its mirror as the decoder."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.nets.classifier import Encoder
from fewlabels.nets.output import OutputLinear


class VectorEncoder(Encoder):
    """Two hidden layers with batch normalization and ReLU.

    Parameters
    ----------
    features : int
        Length of an input vector.
    widths : sequence of int
        Units of each hidden layer.
    """

    def __init__(self, features: int, widths: tuple[int, ...] = (128, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        incoming = features
        for width in widths:
            layers += [nn.Linear(incoming, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            incoming = width
        self.layers = nn.Sequential(*layers)
        self.map_shape = (incoming,)
        self.feature_size = incoming

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the last hidden layer, (batch, feature_size)."""
        hidden: Tensor = self.layers(inputs)
        return hidden

    def pool(self, feature_map: Tensor) -> Tensor:
        """Return the last hidden layer as it is."""
        return feature_map


class ScaledVector(Encoder):
    """The vector itself, scaled to one length: what a linear head reads of a pretrained net's features.

    Parameters
    ----------
    features : int
        Length of an input vector.
    length : float
        Euclidean length that it is scaled to. Steps of the size that other nets' heads take are stable up to about 6.
    """

    def __init__(self, features: int, length: float = 4.0) -> None:
        super().__init__()
        self.length = length
        self.map_shape = (features,)
        self.feature_size = features

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the scaled vectors, (batch, features)."""
        return F.normalize(inputs, dim=1) * self.length

    def pool(self, feature_map: Tensor) -> Tensor:
        """Return the vectors as they are."""
        return feature_map


class VectorDecoder(nn.Module):
    """One hidden layer and a linear output.

    Parameters
    ----------
    code : int
        Length of the code.
    features : int
        Length of a vector.
    width : int
        Units of the hidden layer.
    """

    row_by_row: ClassVar[tuple[str, ...]] = ("forward",)

    def __init__(self, code: int, features: int, width: int = 128) -> None:
        super().__init__()
        last = OutputLinear(width, features)
        self.layers = nn.Sequential(nn.Linear(code, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), last)

    def forward(self, code: Tensor) -> Tensor:
        """Return vectors in normalized units, (batch, features)."""
        vectors: Tensor = self.layers(code)
        return vectors
