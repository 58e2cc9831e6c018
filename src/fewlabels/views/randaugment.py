"""RandAugment of a whole batch: all color in a few pointwise passes, all geometry in one resampling.

Per-image libraries draw operations for one image after the other. Here each operation is drawn for a fixed
share of the batch in random order, so that it runs once, on a tensor of known size, and never asks the device
which images it got.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

COLOR = ("autocontrast", "brightness", "contrast", "saturation", "sharpness", "equalize", "posterize", "solarize")
GEOMETRY = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = ("identity", *COLOR, *GEOMETRY)

# Strengths at the largest magnitude, as in the public implementations for 32 px images.
_ENHANCE = 0.9  # brightness, contrast, saturation, sharpness: factors from 0.1 to 1.9
_ROTATE = math.pi / 6
_SHEAR = 0.3
_TRANSLATE = 0.3  # of the side
_POSTERIZE = 4  # of 8 bits are dropped
# How bright the eye finds red, green and blue.
LUMA = (0.299, 0.587, 0.114)
# A cut-out pixel reads from here: far outside the picture, where sampling gives gray.
_OUTSIDE = 1e4


@dataclass
class RandAugment:
    """Random operations on each image of a batch (Cubuk et al., 2020), with flip, shift and cut-out.

    Every image gets `operations` of the fourteen in `OPERATIONS`, each with a magnitude of its own, uniform
    up to the largest one (the variant that FixMatch uses). Bytes are posterized, solarized and equalized
    first; autocontrast, brightness, contrast and saturation are one matrix and one offset an image; rotation,
    shear, translation, mirroring and shift are one affine map, and with the cut-out one resampling.

    Parameters
    ----------
    generator : torch.Generator
        Source of all randomness, on the images' device.
    operations : int
        Operations an image, at least 0.
    flip : bool
        Mirror half of the images left to right.
    shift : float
        Largest shift by whole pixels, as a share of the side.
    cutout : float
        Side of the gray square as a share of the image's side; 0 for none.

    References
    ----------
    Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space", 2020;
    Sohn et al., "FixMatch", 2020, for magnitudes and cut-out.

    Examples
    --------
    >>> augment = RandAugment(torch.Generator().manual_seed(0))
    >>> views = augment(torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
    >>> views.shape, views.dtype
    (torch.Size([4, 3, 8, 8]), torch.float32)
    """

    # What a training changes from step to step, and a checkpoint keeps.
    moves: ClassVar[tuple[str, ...]] = ("generator", "_host")

    generator: torch.Generator
    operations: int = 2
    flip: bool = True
    shift: float = 0.125
    cutout: float = 0.5

    def __call__(self, images: Tensor) -> Tensor:
        """Return augmented views.

        Parameters
        ----------
        images : Tensor
            uint8, (batch, height, width, channels), 1 or 3 channels.

        Returns
        -------
        Tensor
            float32 in [0, 1], (batch, channels, height, width), channels-last in memory.
        """
        return self._views(images, originals=False)[0]

    def with_original(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return augmented views, and the images as they were before colors and cut-out, but moved alike.

        Parameters
        ----------
        images : Tensor
            As for a call.

        Returns
        -------
        views, originals : Tensor
            Both float32 in [0, 1], (batch, channels, height, width), channels-last in memory.
        """
        views, originals = self._views(images, originals=True)
        assert originals is not None
        return views, originals

    def _views(self, images: Tensor, *, originals: bool) -> tuple[Tensor, Tensor | None]:
        # A loss may ask for views under autocast, whose half precision would round colors and coordinates.
        with torch.autocast(images.device.type, enabled=False):
            amounts, members = self._draw(len(images))
            grid, hidden = self._grid(amounts, images.shape[1], images.shape[2])
            moved = None
            if originals:
                moved = _sample(images.permute(0, 3, 1, 2).to(torch.float32).div_(255).sub_(0.5), grid)
            if hidden is not None:
                grid[..., 0].addcmul_(*hidden, value=_OUTSIDE)
            return _sample(_color(images, amounts, members), grid), moved

    def _draw(self, batch: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return each operation's signed magnitude for every image, (batch,), and the images it is for."""
        device = self.generator.device
        # Which operations get one image more, where the batch cannot be shared evenly, changes by turns.
        turn = self._turn()
        sizes, operation = _shares(batch, device)
        table = torch.zeros(len(OPERATIONS), batch, device=device)
        rows: dict[str, list[Tensor]] = {name: [] for name in OPERATIONS}
        for number in range(self.operations):
            if number and batch < len(OPERATIONS):
                # With one turn for all, so few images would get the same operations again.
                turn = self._turn()
            shuffled = torch.randperm(batch, generator=self.generator, device=device)
            magnitudes = 2 * torch.rand(batch, generator=self.generator, device=device) - 1
            places = (operation + turn) % len(OPERATIONS) * batch + shuffled
            table.view(-1).index_add_(0, places, magnitudes)
            for name, mine in zip(OPERATIONS[turn:] + OPERATIONS[:turn], torch.split(shuffled, sizes), strict=True):
                rows[name].append(mine)
        amounts = dict(zip(OPERATIONS, table.clamp_(-1, 1).unbind(0), strict=True))
        members = {name: torch.cat(found) for name, found in rows.items() if found and sum(map(len, found))}
        return amounts, members

    def _turn(self) -> int:
        return int(torch.randint(len(OPERATIONS), (), generator=self._host))

    @property
    def _host(self) -> torch.Generator:
        # Reading a number drawn on a GPU would make the host wait for it.
        if self.generator.device.type == "cpu":
            return self.generator
        if not hasattr(self, "_host_generator"):
            self._host_generator = torch.Generator().manual_seed(self.generator.initial_seed())
        return self._host_generator

    def _grid(self, amounts: dict[str, Tensor], height: int, width: int) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Return where each pixel of the views is read, in [-1, 1] inside, and which lines are cut out (1, else 0).

        Of shapes (batch, height, width, 2), and columns of (batch, 1, width) and rows of (batch, height, 1).
        """
        batch, device = len(amounts["rotate"]), self.generator.device
        draws = torch.rand(5, batch, generator=self.generator, device=device)
        angle = _ROTATE * amounts["rotate"]
        sine, cosine = angle.sin(), angle.cos()
        shear_x, shear_y = _SHEAR * amounts["shear_x"], _SHEAR * amounts["shear_y"]
        move_x = 2 * _TRANSLATE * amounts["translate_x"] + self._shift(draws[0], width)
        move_y = 2 * _TRANSLATE * amounts["translate_y"] + self._shift(draws[1], height)
        mirror = 1 - 2 * (draws[2] < 0.5).to(draws.dtype) if self.flip else torch.ones_like(angle)
        columns = centers(width, device).view(1, 1, width)
        rows = centers(height, device).view(1, height, 1)
        # Coordinates run from -1 to 1 along each side: where sides differ, turning needs their ratio.
        ratio = width / height
        one = (batch, 1, 1)
        # In memory one plane a coordinate, which are written faster, and read as fast.
        grid = torch.empty(2, batch, height, width, device=device).permute(1, 2, 3, 0)
        across = (mirror * (cosine + sine * shear_y)).view(one) * columns
        down = ((cosine * shear_x + sine) / ratio).view(one) * rows + (mirror * move_x).view(one)
        torch.add(across, down, out=grid[..., 0])
        across = ((cosine * shear_y - sine) * ratio * mirror).view(one) * columns
        down = (cosine - sine * shear_x).view(one) * rows + move_y.view(one)
        torch.add(across, down, out=grid[..., 1])
        if self.cutout == 0:
            return grid, None
        # Centers run from -1 to 1, so that half the square's side is the share itself.
        hidden_columns = (columns - (2 * draws[3].view(one) - 1)).abs() <= self.cutout
        hidden_rows = (rows - (2 * draws[4].view(one) - 1)).abs() <= self.cutout
        return grid, (hidden_columns.to(draws.dtype), hidden_rows.to(draws.dtype))

    def _shift(self, draws: Tensor, side: int) -> Tensor:
        reach = min(round(self.shift * side), side - 1)
        return ((draws * (2 * reach + 1)).floor() - reach) * (2 / side)


@functools.lru_cache
def _shares(batch: int, device: torch.device) -> tuple[list[int], Tensor]:
    """Return how many of a shuffled batch's images each operation gets, and the operation of each, (batch,)."""
    bounds = [round(i * batch / len(OPERATIONS)) for i in range(len(OPERATIONS) + 1)]
    sizes = [end - begin for begin, end in itertools.pairwise(bounds)]
    return sizes, torch.repeat_interleave(torch.arange(len(OPERATIONS)), torch.tensor(sizes)).to(device)


def _sample(values: Tensor, grid: Tensor) -> Tensor:
    """Return what the grid reads from values that are centered on gray, so that the zeros outside are gray."""
    moved = F.grid_sample(values, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved.add_(0.5).contiguous(memory_format=torch.channels_last)


def _color(images: Tensor, amounts: dict[str, Tensor], members: dict[str, Tensor]) -> Tensor:
    """Return images after all color operations, float32 in [-0.5, 0.5], (batch, channels, height, width)."""
    mixed = _mix(_change_bytes(images, amounts, members), amounts, members)
    return _sharpen(mixed, amounts, members)


@functools.lru_cache
def centers(side: int, device: torch.device) -> Tensor:
    """Return where the centers of a side's pixels are, from -1 to 1 along the side, (side,); to be read alone."""
    return (2 * torch.arange(side, device=device, dtype=torch.float32) + 1) / side - 1


def _planes(images: Tensor) -> Tensor:
    """Return stored images with a plane a channel, (batch, channels, height, width)."""
    return images.permute(0, 3, 1, 2).contiguous()


def _put(images: Tensor, rows: Tensor, changed: Tensor) -> None:
    """Write images into some rows, eight bytes at a time where they come out even: several times as fast."""
    target, source = images.flatten(1), changed.flatten(1)
    if target.shape[1] % 8 == 0:
        target, source = target.view(torch.int64), source.view(torch.int64)
    target.index_copy_(0, rows, source)


def _per_image(values: Tensor, rows: Tensor) -> Tensor:
    return values.index_select(0, rows).view(-1, 1, 1, 1)


def _change_bytes(images: Tensor, amounts: dict[str, Tensor], members: dict[str, Tensor]) -> Tensor:
    """Return images posterized, solarized and equalized, as they are stored, (batch, height, width, channels)."""
    # To drop no bits of most images is a copy of the batch, which has to be made in any case.
    kept = 256 - torch.exp2((_POSTERIZE * amounts["posterize"].abs()).round_())
    changed = images.contiguous() & kept.to(torch.uint8).view(-1, 1, 1, 1)

    def apply(name: str, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        if name in members:
            rows = members[name]
            _put(changed, rows, change(changed.index_select(0, rows), rows))

    def solarize(values: Tensor, rows: Tensor) -> Tensor:
        threshold = (255 * (1 - _per_image(amounts["solarize"], rows).abs())).to(torch.uint8)
        # All bits of what is above it are turned; `where` takes one byte at a time.
        return values ^ (values > threshold).to(torch.uint8).mul_(255)

    apply("solarize", solarize)
    apply("equalize", lambda values, rows: equalize(values.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    return changed


def equalize(planes: Tensor) -> Tensor:
    """Return bytes spread so that every level of a plane is about equally frequent, as Pillow does.

    Parameters
    ----------
    planes : Tensor
        uint8, (batch, channels, height, width); what is returned lies in memory as they do.
    """
    levels = planes.flatten(2).long()
    # Whole numbers: sums of floats in a row have no form on a GPU that gives the same bits each time.
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.int32, device=planes.device)
    counts.scatter_add_(2, levels, torch.ones((), dtype=torch.int32, device=planes.device).expand_as(levels))
    # Pillow spreads all but the highest level that occurs over 255 steps.
    last = counts.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - last) // 255
    below = counts.cumsum(2, dtype=torch.int32).sub_(counts).add_(step // 2)
    # Up to 255 a quotient of whole numbers is rounded to none that it is below, in planes of up to 8 million pixels.
    table = (below.float() / step.clamp_min(1).float()).floor_().clamp_(0, 255)
    uneven = (step > 0).float()
    table.mul_(uneven).add_(torch.arange(256, device=planes.device) * (1 - uneven))
    changed = torch.empty_like(levels, dtype=torch.uint8)
    torch.gather(table.to(torch.uint8), 2, levels, out=changed)
    return changed.view_as(planes)


def _mix(images: Tensor, amounts: dict[str, Tensor], members: dict[str, Tensor]) -> Tensor:
    """Return planes centered on gray, in [-0.5, 0.5], with autocontrast, brightness, contrast and saturation."""
    batch, height, width, channels = images.shape
    flat = images.to(torch.float32).flatten(1, 2).transpose(1, 2)
    scale = flat.new_full((batch, channels, 1), 1 / 255)
    offset = flat.new_zeros(batch, channels, 1)
    if "autocontrast" in members:
        rows = members["autocontrast"]
        levels = _planes(images.index_select(0, rows)).flatten(2)
        # Apart they are ten times as fast as together.
        low, high = levels.amin(2, keepdim=True).float(), levels.amax(2, keepdim=True).float()
        span = high - low
        wide = span > 0
        span = torch.where(wide, span, 255)
        scale.index_copy_(0, rows, 1 / span)
        offset.index_copy_(0, rows, low.mul_(wide).div_(span).neg_())
    brightness = (1 + _ENHANCE * amounts["brightness"]).view(batch, 1, 1)
    contrast = (1 + _ENHANCE * amounts["contrast"]).view(batch, 1, 1)
    gray = flat.new_tensor(LUMA if channels == 3 else (1.0,)).view(1, channels, 1)
    middle = flat.new_zeros(batch, 1, 1)
    if "contrast" in members:
        rows = members["contrast"]
        means = _planes(images.index_select(0, rows)).flatten(2).mean(2, keepdim=True, dtype=torch.float32)
        lit = torch.addcmul(offset.index_select(0, rows), means, scale.index_select(0, rows)).mul_(gray)
        middle.index_copy_(0, rows, lit.sum(1, keepdim=True).mul_(brightness.index_select(0, rows)))
    slope = brightness * contrast
    scale *= slope
    offset = (1 - contrast).mul_(middle) + offset.mul_(slope)
    if channels == 3:
        saturation = (1 + _ENHANCE * amounts["saturation"]).view(batch, 1, 1)
        mixing = torch.lerp(gray.view(1, 1, 3), torch.eye(3, device=flat.device), saturation)
        offset = mixing @ offset
        mixed = torch.bmm(mixing * scale.view(batch, 1, 3), flat)
    else:
        mixed = flat * scale
    return mixed.add_(offset - 0.5).clamp_(-0.5, 0.5).view(batch, channels, height, width)


def _sharpen(colored: Tensor, amounts: dict[str, Tensor], members: dict[str, Tensor]) -> Tensor:
    """Blend some images with their blurred selves, in place; the outermost pixels stay, as in Pillow."""
    if "sharpness" not in members or min(colored.shape[2:]) < 3:
        return colored
    rows = members["sharpness"]
    values = colored.index_select(0, rows)
    lines = (values[:, :, :-2] + values[:, :, 1:-1]).add_(values[:, :, 2:])
    inner = values[:, :, 1:-1, 1:-1]
    blurred = (lines[..., :-2] + lines[..., 1:-1]).add_(lines[..., 2:]).add_(inner, alpha=4).div_(13)
    factor = 1 + _ENHANCE * _per_image(amounts["sharpness"], rows)
    values[:, :, 1:-1, 1:-1] = torch.lerp(blurred, inner, factor).clamp_(-0.5, 0.5)
    return colored.index_copy_(0, rows, values)
