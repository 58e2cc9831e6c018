"""RandAugment of a batch: each operation is Pillow's, each draw its own, and nothing depends on chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch.utils._python_dispatch import TorchDispatchMode

from fewlabels.views import randaugment
from fewlabels.views.randaugment import OPERATIONS, RandAugment


@pytest.fixture
def images() -> torch.Tensor:
    """Return smooth color images: noise would hide a wrong neighbor or a wrong level."""
    rows, columns = np.mgrid[:20, :24] / 24
    pictures = []
    for seed in range(6):
        a, b, c = np.random.default_rng(seed).uniform(0.5, 4, 3)
        planes = [np.sin(a * rows + b * columns), np.cos(b * rows), np.sin(c * columns + rows)]
        picture = 20 + 80 * (np.stack(planes, -1) + 1)
        picture[5:9, 12:18] += 30  # an edge, for what sharpens
        pictures.append(picture)
    return torch.from_numpy(np.stack(pictures).astype(np.uint8))


def still(batch: int) -> dict[str, torch.Tensor]:
    """Return magnitudes that change nothing."""
    return {name: torch.zeros(batch) for name in OPERATIONS}


def colored(images: torch.Tensor, name: str, amount: float) -> np.ndarray:
    """Return all images after one color operation, as bytes."""
    amounts = still(len(images))
    amounts[name] = torch.full((len(images),), amount)
    members = {name: torch.arange(len(images))}
    made = randaugment._color(images, amounts, members)
    return ((made + 0.5) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


PILLOW = {
    "autocontrast": lambda image, v: ImageOps.autocontrast(image),
    "brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(1 + 0.9 * v),
    "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(1 + 0.9 * v),
    "saturation": lambda image, v: ImageEnhance.Color(image).enhance(1 + 0.9 * v),
    "sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * v),
    "equalize": lambda image, v: ImageOps.equalize(image),
    "posterize": lambda image, v: ImageOps.posterize(image, 8 - round(4 * abs(v))),
    "solarize": lambda image, v: ImageOps.solarize(image, 1 + int(255 * (1 - abs(v)))),
}


@pytest.mark.parametrize("amount", [-0.5, 0.5, 1.0])
@pytest.mark.parametrize("name", PILLOW)
def test_a_color_operation_is_pillows(images: torch.Tensor, name: str, amount: float) -> None:
    expected = np.stack([np.asarray(PILLOW[name](Image.fromarray(picture), amount)) for picture in images.numpy()])
    found = colored(images, name, amount)
    # Pillow rounds between its passes; bytes that are counted or masked must agree exactly.
    allowed = 0 if name in ("equalize", "posterize", "solarize") else 2
    assert np.abs(found.astype(int) - expected).max() <= allowed
    assert np.abs(expected.astype(int) - images.numpy()).max() > 2  # the example does something


@pytest.mark.parametrize("name", ["equalize", "posterize", "solarize"])
@pytest.mark.parametrize("width", [7, 23])  # neither of a whole number of eight bytes
def test_bytes_are_changed_in_images_of_any_size(images: torch.Tensor, name: str, width: int) -> None:
    images = images[:, :19, :width].contiguous()
    before = images.clone()
    expected = np.stack([np.asarray(PILLOW[name](Image.fromarray(picture), 0.5)) for picture in images.numpy()])
    assert np.array_equal(colored(images, name, 0.5), expected)
    assert torch.equal(images, before)


def test_images_of_any_layout_in_memory_are_changed_alike(images: torch.Tensor) -> None:
    expected = RandAugment(torch.Generator().manual_seed(0))(images)
    turned = images.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0)
    assert not turned.is_contiguous()
    assert torch.equal(RandAugment(torch.Generator().manual_seed(0))(turned), expected)


def test_a_plane_of_one_level_stays_when_equalized() -> None:
    images = torch.randint(0, 256, (4, 6, 6, 3), dtype=torch.uint8)
    images[:2, ..., 1] = 77
    images[2] = 0
    expected = np.stack([np.asarray(ImageOps.equalize(Image.fromarray(picture))) for picture in images.numpy()])
    assert np.array_equal(colored(images, "equalize", 0.5), expected)


def test_gray_images_keep_one_channel(images: torch.Tensor) -> None:
    gray = images[..., :1].contiguous()
    before = gray.clone()
    views = RandAugment(torch.Generator().manual_seed(0))(gray)
    assert views.shape == (6, 1, 20, 24)
    assert torch.equal(gray, before)


def moved(images: torch.Tensor, **amounts: float) -> torch.Tensor:
    """Return all images after geometry alone."""
    augment = RandAugment(torch.Generator().manual_seed(0), flip=False, shift=0.0, cutout=0.0)
    grid, _ = augment._grid(still(len(images)) | {k: torch.full((len(images),), v) for k, v in amounts.items()}, 20, 24)
    planes = images.permute(0, 3, 1, 2).float()
    return torch.nn.functional.grid_sample(planes, grid, mode="nearest", align_corners=False).permute(0, 2, 3, 1)


def test_no_geometry_is_the_image_itself(images: torch.Tensor) -> None:
    assert torch.equal(moved(images), images.float())


@pytest.mark.parametrize("angle", [-1.0, 0.5])
def test_rotation_is_pillows_also_where_sides_differ(images: torch.Tensor, angle: float) -> None:
    found = moved(images, rotate=angle)
    expected = np.stack([np.asarray(Image.fromarray(p).rotate(-30 * angle)) for p in images.numpy()])
    assert (np.abs(found.numpy() - expected) <= 1).mean() > 0.95


@pytest.mark.parametrize("amount", [-1.0, 0.5])
@pytest.mark.parametrize("name", ["shear_x", "shear_y"])
def test_a_shear_is_pillows_also_where_sides_differ(images: torch.Tensor, name: str, amount: float) -> None:
    height, width = images.shape[1:3]
    slope = 0.3 * amount
    # Where each pixel is read, about the middle of the image.
    sheared = (1, slope, -slope * height / 2, 0, 1, 0) if name == "shear_x" else (1, 0, 0, slope, 1, -slope * width / 2)
    expected = np.stack(
        [
            np.asarray(Image.fromarray(p).transform((width, height), Image.Transform.AFFINE, sheared))
            for p in images.numpy()
        ]
    )
    found = moved(images, **{name: amount})
    assert (np.abs(found.numpy() - expected) <= 1).mean() > 0.95


@pytest.mark.parametrize(("name", "row"), [("translate_x", 0), ("translate_y", 1)])
def test_translation_is_by_a_share_of_the_side(images: torch.Tensor, name: str, row: int) -> None:
    found = moved(images, **{name: 1 / 3})  # a tenth of the side: 2.4 of 24 columns, 2 of 20 rows
    steps = 2
    original = images.float()
    if row == 0:
        assert torch.equal(found[:, :, : 24 - 3], original[:, :, steps : 24 - 3 + steps])
    else:
        assert torch.equal(found[:, : 20 - steps], original[:, steps:])


def test_each_operation_gets_its_share_of_the_batch(images: torch.Tensor) -> None:
    augment = RandAugment(torch.Generator().manual_seed(0), operations=2)
    _, members = augment._draw(14 * 10)
    assert {name: len(rows) for name, rows in members.items()} == dict.fromkeys(OPERATIONS, 20)
    counts = torch.bincount(torch.cat(list(members.values())), minlength=140)
    assert counts.tolist() == [2] * 140


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_in_small_batches_every_operation_comes(batch: int) -> None:
    augment = RandAugment(torch.Generator().manual_seed(0), operations=1)
    seen = {name for _ in range(200) for name in augment._draw(batch)[1]}
    assert seen == set(OPERATIONS)


@pytest.mark.parametrize("batch", [1, 3])
def test_in_small_batches_the_operations_of_an_image_know_nothing_of_each_other(batch: int) -> None:
    augment = RandAugment(torch.Generator().manual_seed(0), operations=2)
    draws = [rows for _ in range(1000) for rows in augment._draw(batch)[1].values()]
    twice = sum(len(rows) - rows.unique().numel() for rows in draws) / (1000 * batch)
    assert abs(twice - 1 / len(OPERATIONS)) < 0.03


def test_magnitudes_differ_from_image_to_image() -> None:
    amounts, members = RandAugment(torch.Generator().manual_seed(0))._draw(280)
    for name in OPERATIONS:
        values = amounts[name][members[name]]
        assert values.unique().numel() > 30
        assert values.min() < -0.5
        assert values.max() > 0.5
        outside = torch.ones(280, dtype=torch.bool)
        outside[members[name]] = False
        assert not amounts[name][outside].any()


def test_same_seed_same_views(images: torch.Tensor) -> None:
    first = RandAugment(torch.Generator().manual_seed(3))(images)
    again = RandAugment(torch.Generator().manual_seed(3))(images)
    other = RandAugment(torch.Generator().manual_seed(4))(images)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert first.min() >= 0
    assert first.max() <= 1


def test_half_are_mirrored_and_shifts_are_whole_pixels() -> None:
    ramp = torch.arange(16, dtype=torch.uint8).mul(10).view(1, 1, 16, 1).expand(400, 16, 16, 1).contiguous()
    views = RandAugment(torch.Generator().manual_seed(0), operations=0, cutout=0.0)(ramp)
    line = (views[:, 0, 8, 4:12] * 25.5).round()
    steps = line.diff(dim=1)
    mirrored = (steps == -1).all(1)
    assert ((steps == 1).all(1) | mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_the_square_is_gray_and_as_large_as_asked() -> None:
    white = torch.full((200, 32, 32, 3), 255, dtype=torch.uint8)
    views = RandAugment(torch.Generator().manual_seed(0), operations=0, shift=0.0, cutout=0.5)(white)
    assert set(views.unique().tolist()) == {0.5, 1.0}
    hidden = (views[:, 0] == 0.5).sum((1, 2))
    assert hidden.max() == 256
    assert 64 <= hidden.min() < 100  # at a corner a quarter is inside


def test_no_operations_leave_the_levels() -> None:
    images = torch.randint(0, 256, (32, 8, 8, 3), dtype=torch.uint8)
    views = RandAugment(torch.Generator().manual_seed(0), operations=0, flip=False, shift=0.0, cutout=0.0)(images)
    assert torch.allclose(views, images.permute(0, 3, 1, 2) / 255, atol=1e-6)


def test_the_original_is_moved_like_its_view(images: torch.Tensor) -> None:
    plain = RandAugment(torch.Generator().manual_seed(5), operations=0, cutout=0.0)
    views, originals = plain.with_original(images)
    assert torch.allclose(views, originals, atol=1e-6)
    views, originals = RandAugment(torch.Generator().manual_seed(5), cutout=0.5).with_original(images)
    assert not torch.allclose(views, originals, atol=1e-2)
    again = RandAugment(torch.Generator().manual_seed(5), cutout=0.5)(images)
    assert torch.equal(views, again)


def test_half_precision_around_it_changes_nothing(images: torch.Tensor) -> None:
    expected = RandAugment(torch.Generator().manual_seed(0))(images)
    with torch.autocast("cpu", torch.bfloat16):
        found = RandAugment(torch.Generator().manual_seed(0))(images)
    assert torch.equal(found, expected)


class _NoRunningSumsOfFloats(TorchDispatchMode):
    """Refuses what a GPU has no repeatable form of."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function.overloadpacket is torch.ops.aten.cumsum:
            assert not found.is_floating_point()
        return found


def test_strong_views_need_nothing_that_a_gpu_cannot_repeat(images: torch.Tensor) -> None:
    with _NoRunningSumsOfFloats():
        randaugment.equalize(images.permute(0, 3, 1, 2))
        RandAugment(torch.Generator().manual_seed(0))(images)


def test_how_far_an_image_is_shifted_down_says_nothing_of_how_far_to_the_side() -> None:
    ramps = torch.zeros(200, 16, 16, 3, dtype=torch.uint8)
    ramps[..., 0] = torch.arange(16).mul(10).view(1, 1, 16)
    ramps[..., 1] = torch.arange(16).mul(10).view(1, 16, 1)
    augment = RandAugment(torch.Generator().manual_seed(0), operations=0, flip=False, shift=0.25, cutout=0.0)
    moved = (augment(ramps)[:, :2, 8, 8] * 25.5).round() - 8
    assert set(moved.unique().tolist()) == set(range(-4, 5))
    assert torch.corrcoef(moved.T)[0, 1].abs() < 0.25
