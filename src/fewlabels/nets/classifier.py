"""A classifier: normalization, encoder, head, and the temperature that calibrates it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fewlabels.nets.statistics import divisors

# Standard deviations from the mean beyond which a vector's value is taken for as far.
_FARTHEST = 20.0


class Encoder(nn.Module):
    """What every encoder offers: a feature map, and features.

    Attributes
    ----------
    map_shape : tuple of int
        Shape of one image's feature map: (channels, height, width), or (features,) for vectors.
    feature_size : int
        Length of the features that the head reads.
    row_by_row : tuple of str
        Names of methods that treat each row of a batch by itself, but for batch normalization: several processes may
        divide the rows among them.
    any_side : bool
        Whether images of other sides than those it was built for have features too.
    """

    row_by_row: ClassVar[tuple[str, ...]] = ("forward", "feature_map")
    any_side: ClassVar[bool] = False
    map_shape: tuple[int, ...]
    feature_size: int

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the last map before pooling, (batch, *map_shape)."""
        raise NotImplementedError

    def pool(self, feature_map: Tensor) -> Tensor:
        """Turn a map into features, (batch, feature_size)."""
        raise NotImplementedError

    @property
    def embedding_size(self) -> int:
        """How many of the features, from the first on, tell where a sample lies among others."""
        return self.feature_size

    def embedding(self, inputs: Tensor) -> Tensor:
        """Return these, (batch, embedding_size)."""
        features: Tensor = self(inputs)
        return features

    def start(self, inputs: Tensor) -> None:
        """Set what depends on the data (a whitening stem, say) from a sample of normalized inputs."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features, (batch, feature_size)."""
        return self.pool(self.feature_map(inputs))


class Classifier(nn.Module):
    """Normalization, encoder and head.

    Parameters
    ----------
    encoder : Encoder
        Maps normalized inputs to features.
    head : nn.Module
        Maps features to one logit a class.
    channels : int
        Channels of an image, or length of a vector: the normalization is per channel.

    Attributes
    ----------
    temperature : Tensor
        Divides the logits of `probabilities`; 1 until calibrated.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(self, encoder: Encoder, head: nn.Module, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.register_buffer("temperature", torch.ones(()))

    @torch.no_grad()
    def start(self, inputs: Tensor) -> None:
        """Take the normalization, and what the encoder wants to know, from a sample of inputs."""
        others = [axis for axis in range(inputs.ndim) if axis != 1]
        std, mean = torch.std_mean(inputs.double(), dim=others, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(divisors(std, mean))
        self.encoder.start(self.normalize(inputs))

    def normalize(self, inputs: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation of each channel."""
        shape = (-1,) + (1,) * (inputs.ndim - 2)
        normalized = (inputs - self.mean.view(shape)) / self.std.view(shape)
        # A pixel has a range; of vectors one corrupt value would drown a whole batch's statistics.
        return normalized.clamp(-_FARTHEST, _FARTHEST) if inputs.ndim == 2 else normalized

    def denormalize(self, outputs: Tensor) -> Tensor:
        """Undo `normalize`."""
        shape = (-1,) + (1,) * (outputs.ndim - 2)
        return outputs * self.std.view(shape) + self.mean.view(shape)

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the encoder's last map of raw inputs, before pooling."""
        return self.encoder.feature_map(self.normalize(inputs))

    def features(self, inputs: Tensor) -> Tensor:
        """Return the encoder's features of raw inputs, (batch, feature_size)."""
        features: Tensor = self.encoder(self.normalize(inputs))
        return features

    def embedding(self, inputs: Tensor) -> Tensor:
        """Return of raw inputs those features that tell where a sample lies among others, (batch, embedding_size)."""
        return self.encoder.embedding(self.normalize(inputs))

    def classify_map(self, feature_map: Tensor) -> Tensor:
        """Return logits from a feature map that `feature_map` gave."""
        logits: Tensor = self.head(self.encoder.pool(feature_map))
        return logits

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, (batch, classes)."""
        logits: Tensor = self.head(self.features(inputs))
        return logits
