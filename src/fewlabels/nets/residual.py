"""Residual nets as they are published for small images: wide ones, and ResNet-18."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.nets.classifier import Encoder

_SLOPE = 0.1
# From this side on the first stage halves it, as is done for STL-10: three or four stages later little is left.
_LARGE = 64


class WideResNet(Encoder):
    """Wide residual net with normalization before each convolution (Zagoruyko & Komodakis, 2016).

    With three stages this is WRN-28-2, the net of most published semi-supervised results on CIFAR; with four,
    WRN-37-2, that of most on STL-10. Leaky ReLUs of slope 0.1, as in those.

    Parameters
    ----------
    channels : int
        Channels of an image.
    size : tuple of int
        Height and width of an image in pixels.
    stages : int
        Stages of four blocks each; each doubles the width.
    factor : int
        Width of the first stage in units of 16 channels.

    References
    ----------
    Zagoruyko & Komodakis, "Wide residual networks", 2016; Oliver et al., "Realistic evaluation of deep
    semi-supervised learning algorithms", 2018.

    Examples
    --------
    >>> net = WideResNet(channels=3, size=(32, 32))
    >>> net.map_shape
    (128, 8, 8)
    """

    any_side: ClassVar[bool] = True

    def __init__(self, channels: int, size: tuple[int, int], stages: int = 3, factor: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        incoming = 16
        for stage in range(stages):
            width = 16 * factor * 2**stage
            shrinks = stage > 0 or min(size) >= _LARGE
            for number in range(4):
                halve = shrinks and number == 0
                blocks.append(_PreActivation(incoming, width, 2 if halve else 1, joined=number == 0 and stage == 0))
                incoming = width
                size = ((size[0] + 1) // 2, (size[1] + 1) // 2) if halve else size
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(incoming)
        self.map_shape = (incoming, *size)
        self.feature_size = incoming

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the last stage's map, (batch, *map_shape)."""
        return F.leaky_relu(self.norm(self.blocks(self.stem(inputs))), _SLOPE)

    def pool(self, feature_map: Tensor) -> Tensor:
        """Return the mean of each channel."""
        return feature_map.mean((2, 3))


class _PreActivation(nn.Module):
    """Normalize, activate and convolve twice, beside a shortcut.

    In the very first block (`joined`) the shortcut too reads the activated input, as published.
    """

    def __init__(self, incoming: int, width: int, stride: int, *, joined: bool) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(incoming)
        self.first = nn.Conv2d(incoming, width, 3, stride, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        changes = incoming != width or stride != 1
        self.shortcut = nn.Conv2d(incoming, width, 1, stride, bias=False) if changes else None
        self.joined = joined

    def forward(self, maps: Tensor) -> Tensor:
        ready = F.leaky_relu(self.first_norm(maps), _SLOPE)
        found = self.second(F.leaky_relu(self.second_norm(self.first(ready)), _SLOPE))
        beside = ready if self.joined else maps
        total: Tensor = found + (beside if self.shortcut is None else self.shortcut(beside))
        return total


class ResNet18(Encoder):
    """ResNet-18 for small images: a 3x3 stem without stride and no pooling behind it.

    Parameters
    ----------
    channels : int
        Channels of an image.
    size : tuple of int
        Height and width of an image in pixels.

    References
    ----------
    He et al., "Deep residual learning for image recognition", 2016.

    Examples
    --------
    >>> ResNet18(channels=3, size=(32, 32)).map_shape
    (512, 4, 4)
    """

    any_side: ClassVar[bool] = True

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(64)
        blocks: list[nn.Module] = []
        incoming = 64
        for stage, width in enumerate((64, 128, 256, 512)):
            shrinks = stage > 0 or min(size) >= _LARGE
            for number in range(2):
                halve = shrinks and number == 0
                blocks.append(_Basic(incoming, width, 2 if halve else 1))
                incoming = width
                size = ((size[0] + 1) // 2, (size[1] + 1) // 2) if halve else size
        self.blocks = nn.Sequential(*blocks)
        self.map_shape = (incoming, *size)
        self.feature_size = incoming

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the last stage's map, (batch, *map_shape)."""
        maps: Tensor = self.blocks(F.relu(self.stem_norm(self.stem(inputs))))
        return maps

    def pool(self, feature_map: Tensor) -> Tensor:
        """Return the mean of each channel."""
        return feature_map.mean((2, 3))


class _Basic(nn.Module):
    def __init__(self, incoming: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(incoming, width, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        changes = incoming != width or stride != 1
        self.shortcut = (
            nn.Sequential(nn.Conv2d(incoming, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if changes
            else nn.Identity()
        )

    def forward(self, maps: Tensor) -> Tensor:
        found = F.relu(self.first_norm(self.first(maps)))
        return F.relu(self.second_norm(self.second(found)) + self.shortcut(maps))
