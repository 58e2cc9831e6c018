"""The nets of the notebook that this project began with, for `preset="notebook"`."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.nets.classifier import Encoder
from fewlabels.nets.output import OutputLinear

_CONVOLUTIONS = 5


class NotebookEncoder(Encoder):
    """Five 3x3 convolutions of 32 channels with ReLU and no padding, then flattened.

    Parameters
    ----------
    channels : int
        Channels of an image.
    size : tuple of int
        Height and width in pixels. Below 16 the convolutions are padded, since five unpadded ones would
        leave next to nothing.
    pooled : bool
        End with 2x2 max-pooling: the notebook's autoencoders do (32 px: a code of 11x11x32), its plain
        classifier does not.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, pooled: bool = False) -> None:
        super().__init__()
        padding = int(min(size) < 16)
        height, width = size
        layers: list[nn.Module] = []
        for index in range(_CONVOLUTIONS):
            layers += [nn.Conv2d(channels if index == 0 else 32, 32, 3, padding=padding), nn.ReLU()]
            height, width = height + 2 * padding - 2, width + 2 * padding - 2
        if pooled:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        self.layers = nn.Sequential(*layers)
        self.map_shape = (32, height, width)
        self.feature_size = 32 * height * width
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                _keras_start(layer)

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the last map, (batch, *map_shape)."""
        maps: Tensor = self.layers(inputs)
        return maps

    def pool(self, feature_map: Tensor) -> Tensor:
        """Flatten the map."""
        return feature_map.flatten(1)


class NotebookDecoder(nn.Module):
    """Transposed convolutions 32/3, 16/5, 16/5, 8/6, 3/7 (channels/kernel).

    Parameters
    ----------
    map_shape : tuple of int
        (channels, height, width) of the code; 11x11 becomes 32x32.
    channels : int
        Channels of an image.
    size : tuple of int
        Height and width of an image; where the transposed convolutions end at another size, the result is
        resized bilinearly.
    dying : bool
        Keep the notebook's ReLU on the last layer, for showing what it does. A unit of it that is
        negative for every image gets no gradient and stays at zero for good.
    """

    row_by_row: ClassVar[tuple[str, ...]] = ("forward",)

    def __init__(
        self, map_shape: tuple[int, ...], channels: int, size: tuple[int, int], *, dying: bool = False
    ) -> None:
        super().__init__()
        plan = ((32, 3), (16, 5), (16, 5), (8, 6), (channels, 7))
        layers: list[nn.Module] = []
        incoming = map_shape[0]
        for index, (outgoing, kernel) in enumerate(plan):
            layer = nn.ConvTranspose2d(incoming, outgoing, kernel)
            _keras_start(layer)
            layers.append(layer)
            if index < len(plan) - 1 or dying:
                layers.append(nn.ReLU())
            incoming = outgoing
        self.layers = nn.Sequential(*layers)
        self.size = size

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return images, (batch, channels, *size)."""
        images: Tensor = self.layers(feature_map)
        if images.shape[2:] != self.size:
            images = F.interpolate(images, size=self.size, mode="bilinear", align_corners=False)
        return images


def notebook_head(feature_size: int, classes: int, hidden: tuple[int, ...], dropout: float) -> nn.Module:
    """Return the notebook's dense layers, with ReLU between them and dropout before them.

    The notebook had a softmax between its dense layers, which flattens the gradient, and nothing against
    overfitting; here the softmax is in the loss alone, and dropout regularizes. Before hidden layers the
    features are centered and scaled: thousands of positive ones, all growing together, had pushed the few
    ReLUs below zero for good.
    """
    layers: list[nn.Module] = [nn.BatchNorm1d(feature_size, affine=False)] if hidden else []
    layers.append(nn.Dropout(dropout))
    incoming = feature_size
    for width in hidden:
        layers += [nn.Linear(incoming, width), nn.ReLU()]
        incoming = width
    layers.append(OutputLinear(incoming, classes))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            _keras_start(layer)
    return nn.Sequential(*layers)


def _keras_start(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    # Keras' default: uniform Glorot weights, biases of zero.
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
