"""Views of which nothing but the subject is the same: resized crops with other colors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels.views.randaugment import LUMA, centers


@dataclass
class ResizedCrops:
    """A random part of each image, resized to one size for all, mirrored, recolored, sometimes gray.

    What contrastive learning takes for two looks at the same thing (Chen et al., "A simple framework for
    contrastive learning of visual representations", 2020), without blur, which at 32 px leaves too little.

    Parameters
    ----------
    generator : torch.Generator
        Source of all randomness, on the images' device.
    flip : bool
        Mirror half of the images left to right.
    least : float
        Smallest area of a part as a share of the image, in (0, 1].
    color : float
        Strength of the changes of brightness, contrast and saturation.
    recolored, gray : float
        Shares of the images that are recolored, and that lose all color.

    Examples
    --------
    >>> crops = ResizedCrops(torch.Generator().manual_seed(0))
    >>> views = crops(torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
    >>> views.shape, views.dtype
    (torch.Size([4, 3, 8, 8]), torch.float32)
    """

    generator: torch.Generator
    flip: bool = True
    least: float = 0.2
    color: float = 0.4
    recolored: float = 0.8
    gray: float = 0.2

    def __call__(self, images: Tensor, scale: float = 1.0) -> Tensor:
        """Return views.

        Parameters
        ----------
        images : Tensor
            uint8, (batch, height, width, channels).
        scale : float
            Sides of the views as a share of the images', in (0, 1].

        Returns
        -------
        Tensor
            float32 in [0, 1], (batch, channels, scale * height, scale * width), channels-last in memory.
        """
        sides = [max(1, round(scale * side)) for side in images.shape[1:3]]
        with torch.autocast(images.device.type, enabled=False):
            planes = images.permute(0, 3, 1, 2).to(torch.float32).div_(255)
            colored = self._recolor(planes)
            views = F.grid_sample(
                colored, self._grid(len(images), *sides), padding_mode="reflection", align_corners=False
            )
            return views.clamp_(0, 1).contiguous(memory_format=torch.channels_last)

    def _uniform(self, count: int, batch: int) -> Tensor:
        return torch.rand(count, batch, generator=self.generator, device=self.generator.device)

    def _grid(self, batch: int, height: int, width: int) -> Tensor:
        """Return where each pixel of the views is read, in [-1, 1], (batch, height, width, 2)."""
        device = self.generator.device
        area, shape, x, y, side = self._uniform(5, batch)
        area = self.least + (1 - self.least) * area
        # As many upright parts as lying ones: the logarithm of the ratio is uniform.
        ratio = torch.exp(math.log(4 / 3) * (2 * shape - 1)).sqrt()
        across = (area.sqrt() * ratio).clamp_max(1)
        down = (area.sqrt() / ratio).clamp_max(1)
        mirror = 1 - 2 * (side < 0.5).to(area.dtype) if self.flip else torch.ones_like(area)
        columns = centers(width, device) * (across * mirror).view(-1, 1)
        rows = centers(height, device) * down.view(-1, 1)
        columns = columns + ((1 - across) * (2 * x - 1)).view(-1, 1)
        rows = rows + ((1 - down) * (2 * y - 1)).view(-1, 1)
        grid = torch.empty(batch, height, width, 2, device=device)
        grid[..., 0] = columns.unsqueeze(1)
        grid[..., 1] = rows.unsqueeze(2)
        return grid

    def _recolor(self, planes: Tensor) -> Tensor:
        batch, channels = planes.shape[:2]
        draws = self._uniform(5, batch)
        change = (draws[0] < self.recolored).to(planes.dtype) * self.color
        contrast, brightness, saturation = (1 + change * (2 * draw - 1) for draw in draws[1:4])
        contrast, brightness = contrast.view(-1, 1, 1), brightness.view(-1, 1, 1)
        flat = planes.flatten(2)
        middle = flat.mean((1, 2)).view(-1, 1, 1)
        scale = contrast * brightness
        if channels == 3:
            saturation = torch.where(draws[4] < self.gray, 0, saturation).view(-1, 1, 1)
            gray = planes.new_tensor(LUMA).expand(3, 3)
            mixing = torch.lerp(gray, torch.eye(3, device=planes.device), saturation)
            flat = torch.bmm(mixing * scale, flat)
        else:
            flat = flat * scale
        return flat.add_((1 - contrast) * brightness * middle).clamp_(0, 1).view(planes.shape)
