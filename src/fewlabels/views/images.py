"""Weak, medium and strong views of a batch of images, each a few tensor operations on the whole batch.

A view takes the stored images, uint8 of shape (batch, height, width, channels), and returns what a net
reads: float32 in [0, 1] of shape (batch, channels, height, width) in channels-last memory order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from fewlabels.views.crops import ResizedCrops
from fewlabels.views.randaugment import RandAugment


def to_float(images: Tensor) -> Tensor:
    """Turn stored images into what a net reads.

    Parameters
    ----------
    images : Tensor
        uint8, (batch, height, width, channels).

    Returns
    -------
    Tensor
        float32 in [0, 1], (batch, channels, height, width), channels-last in memory.
    """
    # Permuting a contiguous (N, H, W, C) tensor gives channels-last memory without a copy.
    return images.permute(0, 3, 1, 2).to(torch.float32).div_(255)


@dataclass
class ImageViews:
    """Random views of images, drawn from one generator.

    Parameters
    ----------
    generator : torch.Generator
        Source of all randomness, on the images' device.
    flip : bool
        Mirror half of the images left to right. Off for digits, text and whatever has a handedness.
    shift : float
        Largest shift in each direction as a share of the side (0.125: 4 pixels of 32). Weak and medium views
        reflect the border, strong ones are gray beyond it.
    cutout : float
        Side of the gray square of medium and strong views as a share of the image's side; 0 for none
        (DeVries & Taylor, 2017).
    color : float
        Strength of the medium view's brightness, contrast and saturation changes; 0 for none.
    operations : int
        Number of RandAugment's operations in the strong view, at least 0.

    Examples
    --------
    >>> views = ImageViews(torch.Generator().manual_seed(0), flip=True)
    >>> images = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
    >>> views.strong(images).shape
    torch.Size([4, 3, 8, 8])
    """

    # What a training changes from step to step, and a checkpoint keeps.
    moves: ClassVar[tuple[str, ...]] = ("generator", "_randaugment")

    generator: torch.Generator
    flip: bool = True
    shift: float = 0.125
    cutout: float = 0.25
    color: float = 0.4
    operations: int = 2

    def plain(self, images: Tensor) -> Tensor:
        """Return the images as they are, float32 in [0, 1]."""
        return to_float(images)

    def weak(self, images: Tensor) -> Tensor:
        """Return mirrored and shifted images."""
        return to_float(self._flip_and_shift(images))

    def jittered(self, images: Tensor) -> Tensor:
        """Return what two looks at the same image may differ in: weak views."""
        return self.weak(images)

    def medium(self, images: Tensor) -> Tensor:
        """Return weak views with changed colors and a square cut out: what labeled images bear at any length."""
        moved = self._flip_and_shift(images)
        views = self._recolor(moved) if self.color > 0 else to_float(moved)
        if self.cutout > 0:
            # Bounds that meet at gray in the square are many times as fast as filling what a mask shows.
            lower = self._square(views).mul_(0.5)
            views.clamp_(lower, 1 - lower)
        else:
            views.clamp_(0, 1)
        return views.contiguous(memory_format=torch.channels_last)

    def strong(self, images: Tensor) -> Tensor:
        """Return views by `RandAugment`, with a square cut out."""
        return self._randaugment(images)

    def strong_and_original(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return strong views, and views of the same images moved alike but otherwise unchanged."""
        return self._randaugment.with_original(images)

    @cached_property
    def _randaugment(self) -> RandAugment:
        return RandAugment(self.generator, self.operations, self.flip, self.shift, self.cutout)

    def cropped(self, images: Tensor, scale: float = 1.0) -> Tensor:
        """Return random parts of the images with other colors, their sides `scale` times the images'."""
        return self._crops(images, scale)

    @cached_property
    def _crops(self) -> ResizedCrops:
        return ResizedCrops(self.generator, self.flip)

    def masked(self, images: Tensor, share: float, patch: int) -> tuple[Tensor, Tensor]:
        """Return images with random patches turned gray, and the mask.

        Parameters
        ----------
        images : Tensor
            float32 in [0, 1], (batch, channels, height, width).
        share : float
            Share of the patches that are hidden, in [0, 1).
        patch : int
            Side of a patch in pixels.

        Returns
        -------
        views, mask : Tensor
            The views, and 1 where a pixel is hidden, (batch, 1, height, width).
        """
        batch, _, height, width = images.shape
        grid = (batch, 1, -(-height // patch), -(-width // patch))
        hidden = (self._uniform(grid) < share).to(images.dtype)
        mask = hidden.repeat_interleave(patch, 2).repeat_interleave(patch, 3)[:, :, :height, :width]
        return torch.lerp(images, images.new_full((), 0.5), mask), mask

    def noisy(self, images: Tensor, sigma: float) -> Tensor:
        """Return images with Gaussian noise of standard deviation `sigma` (in units of the [0, 1] range)."""
        noise = torch.empty_like(images).normal_(generator=self.generator)
        return torch.add(images, noise, alpha=sigma)

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.generator.device)

    def _flip_and_shift(self, images: Tensor) -> Tensor:
        # Mirror, shift and border reflection are one gather of pixels; on uint8 it moves a quarter of the
        # bytes that it would on floats.
        batch, height, width, channels = images.shape
        rows = self._positions(batch, height)
        columns = self._positions(batch, width)
        if self.flip:
            mirrored = self._uniform((batch, 1)) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        first = torch.arange(batch, device=images.device).mul_(height * width).view(-1, 1)
        pixels = (first + rows * width).unsqueeze(2) + columns.unsqueeze(1)
        return images.reshape(-1, channels).index_select(0, pixels.view(-1)).view_as(images)

    def _positions(self, batch: int, side: int) -> Tensor:
        reach = min(round(self.shift * side), side - 1)
        shifts = torch.randint(-reach, reach + 1, (batch, 1), generator=self.generator, device=self.generator.device)
        positions = (torch.arange(side, device=shifts.device) + shifts).abs()
        return side - 1 - (side - 1 - positions).abs()

    def _recolor(self, moved: Tensor) -> Tensor:
        """Return bytes as floats with other contrast, brightness and saturation: one matrix and offset an image.

        They are not yet clamped to [0, 1].
        """
        batch, height, width, channels = moved.shape
        planes = moved.view(batch, -1, channels).to(torch.float32).transpose(1, 2)
        changes = self.color * (2 * self._uniform((3, batch, 1, 1)) - 1)
        contrast, brightness, saturation = 1 + changes
        middle = planes.mean((1, 2), keepdim=True)
        if channels == 3:
            gray = planes.new_full((3, 3), 1 / 3)
            # Float32 throughout, also where a loss asks under autocast: half precision would round colors.
            with torch.autocast(planes.device.type, enabled=False):
                mixing = torch.lerp(gray, torch.eye(3, device=planes.device), saturation)
                planes = torch.bmm(mixing * (contrast * brightness / 255), planes)
        else:
            planes = planes * (contrast * brightness / 255)
        planes.add_((1 - contrast) * brightness / 255 * middle)
        return planes.view(batch, channels, height, width)

    def _square(self, views: Tensor) -> Tensor:
        """Return 1 where each view's square lies, else 0, (batch, 1, height, width)."""
        batch, _, height, width = views.shape
        inside = []
        for side, place in ((height, self._uniform((batch, 1))), (width, self._uniform((batch, 1)))):
            distance = (torch.arange(side, device=views.device) - place * (side - 1)).abs()
            inside.append((distance <= self.cutout * side / 2).to(views.dtype))
        return (inside[0].unsqueeze(2) * inside[1].unsqueeze(1)).unsqueeze(1)
