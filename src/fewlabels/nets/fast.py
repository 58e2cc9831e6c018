"""The default net for images and its kin: a whitening stem and stages of two convolutions each.

The pieces are those that made training on CIFAR-10 fast: a fixed stem that whitens small patches, few wide
stages with max-pooling before batch normalization, GELU, and global max-pooling before a linear head
(Jordan, "94 % on CIFAR-10 in 3.29 seconds on a single GPU", 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.nets.classifier import Encoder
from fewlabels.nets.output import OutputConv2d

# Of images whose patches are held at once, 100 of 32 px: few enough that memory is used again.
_STEM_PIXELS = 100 * 32 * 32
# A stage halves the side only while something is left to look at: 8 px digits keep a 2x2 map.
_SMALLEST_SIDE = 4
# Below this side a coarse stem would leave the stages too little to look at.
SMALLEST_COARSE = 16
# The directions of a coarse stem's patches that carry the most: of 3x3 patches in three colors, 16 of 27.
_COARSE_DIRECTIONS = 16


class FastNet(Encoder):
    """Whitening stem, then stages of two 3x3 convolutions each.

    Parameters
    ----------
    channels : int
        Channels of an image.
    size : tuple of int
        Height and width of an image in pixels, each at least 4.
    widths : sequence of int
        Channels of each stage.
    coarse : bool
        Let the stem look at every other pixel's patch, of 3x3 rather than 2x2 pixels, so that all stages work at
        half the side; images of a side below 16 pixels are looked at pixel by pixel in any case.
    activation : callable
        Of a map, elementwise.

    Examples
    --------
    >>> net = FastNet(channels=3, size=(32, 32))
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 128])
    """

    any_side: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (32, 64, 128),
        *,
        coarse: bool = False,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        self.activation = activation
        patch, stride = (3, 2) if coarse and min(size) >= SMALLEST_COARSE else (2, 1)
        directions = channels * patch**2
        if coarse:
            directions = min(directions, _COARSE_DIRECTIONS)
        incoming = 2 * directions
        self.stem = nn.Conv2d(channels, incoming, patch, stride=stride, bias=False)
        self.stem.weight.requires_grad_(False)
        size = (size[0] // stride, size[1] // stride)
        stages = []
        for width in widths:
            halve = min(size) >= _SMALLEST_SIDE
            stages.append(_Stage(incoming, width, activation, halve=halve))
            incoming = width
            size = (size[0] // 2, size[1] // 2) if halve else size
        self.stages = nn.ModuleList(stages)
        self.map_shape = (incoming, *size)
        self.feature_size = incoming

    @torch.no_grad()
    def start(self, inputs: Tensor) -> None:
        """Make the stem whiten the sample's patches: its filters are their scaled eigenvectors, both signs."""
        sample = inputs[:2000]
        chunk = max(1, _STEM_PIXELS // (sample.shape[2] * sample.shape[3]))
        covariance, count = torch.zeros((), dtype=torch.float64, device=sample.device), 0
        for some in torch.split(sample, chunk):
            patches = F.unfold(some.contiguous(), self.stem.kernel_size, stride=self.stem.stride)
            # An image's sum is short enough for single precision; the sum over all images is not.
            covariance = covariance + torch.bmm(patches, patches.transpose(1, 2)).double().sum(0)
            count += len(patches) * patches.shape[2]
        values, vectors = torch.linalg.eigh(covariance / count)
        # Channels that carry almost nothing would be blown up to noise; the floor is that of airbench.
        whitening = (vectors / (values + 5e-4).sqrt()).T
        filters = whitening[-self.stem.out_channels // 2 :].reshape(-1, *self.stem.weight.shape[1:])
        self.stem.weight.copy_(torch.cat([filters, -filters]).to(self.stem.weight.dtype))

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the last stage's map, (batch, *map_shape)."""
        # One row and column of zeros keep the side even, so that every stage halves it exactly.
        maps = self.activation(self.stem(F.pad(inputs, (0, 1, 0, 1))))
        for stage in self.stages:
            maps = stage(maps)
        return maps

    def pool(self, feature_map: Tensor) -> Tensor:
        """Return the largest value of each channel."""
        return feature_map.amax((2, 3))


class _Stage(nn.Module):
    def __init__(self, incoming: int, width: int, activation: Callable[[Tensor], Tensor], *, halve: bool) -> None:
        super().__init__()
        self.activation = activation
        self.first = nn.Conv2d(incoming, width, 3, padding=1, bias=False)
        self.shrink = nn.MaxPool2d(2) if halve else nn.Identity()
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.activation(self.first_norm(self.shrink(self.first(maps))))
        return self.activation(self.second_norm(self.second(maps)))


class MapDecoder(nn.Module):
    """Turns the last map of a convolutional encoder back into images.

    Each step doubles the side (nearest neighbor) and convolves: unlike strided transposed convolutions
    this leaves no checkerboard, and unlike a ReLU the linear last layer can always recover. That layer
    works at half the side and gives four pixels at once, which halves the decoder's arithmetic.

    Parameters
    ----------
    map_shape : tuple of int
        (channels, height, width) of the encoder's map.
    channels : int
        Channels of an image.
    size : tuple of int
        Height and width of an image in pixels.
    width : int
        Channels of the last hidden map.
    """

    row_by_row: ClassVar[tuple[str, ...]] = ("forward",)

    def __init__(self, map_shape: tuple[int, ...], channels: int, size: tuple[int, int], width: int = 32) -> None:
        super().__init__()
        self.size = size
        incoming, *start = map_shape
        half = (-(-size[0] // 2), -(-size[1] // 2))
        steps: list[nn.Module] = []
        current = (min(start[0], half[0]), min(start[1], half[1]))
        while current != half or not steps:
            current = (min(2 * current[0], half[0]), min(2 * current[1], half[1]))
            outgoing = max(width, incoming // 2)
            steps.append(_Growth(incoming, outgoing, current))
            incoming = outgoing
        self.steps = nn.Sequential(*steps)
        self.last = OutputConv2d(incoming, 4 * channels, 3, padding=1)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return images in normalized units, (batch, channels, *size)."""
        images = F.pixel_shuffle(self.last(self.steps(feature_map)), 2)
        return images[:, :, : self.size[0], : self.size[1]]


class _Growth(nn.Module):
    def __init__(self, incoming: int, outgoing: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.convolution = nn.Conv2d(incoming, outgoing, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outgoing)

    def forward(self, maps: Tensor) -> Tensor:
        maps = F.interpolate(maps, size=self.size, mode="nearest")
        return F.gelu(self.norm(self.convolution(maps)))
