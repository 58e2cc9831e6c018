import pytest
import torch

from fewlabels.views import ImageViews


def views(seed=0, **settings):
    return ImageViews(torch.Generator().manual_seed(seed), **settings)


def ramp(batch=3, height=6, width=8):
    """Images whose red is the row and whose green is the column."""
    images = torch.zeros(batch, height, width, 3, dtype=torch.uint8)
    images[..., 0] = torch.arange(height).view(1, -1, 1)
    images[..., 1] = torch.arange(width).view(1, 1, -1)
    return images


def test_a_view_is_float_in_the_unit_range_and_channels_last():
    view = views().medium(torch.randint(0, 256, (5, 12, 12, 3), dtype=torch.uint8))
    assert view.shape == (5, 3, 12, 12)
    assert view.dtype == torch.float32
    assert view.min() >= 0
    assert view.max() <= 1
    assert view.is_contiguous(memory_format=torch.channels_last)


def test_without_shift_and_flip_the_weak_view_is_the_image():
    images = ramp()
    assert torch.equal(views(flip=False, shift=0).weak(images), views().plain(images))


def test_a_flip_mirrors_about_half_of_the_images_and_leaves_the_others():
    images = ramp(batch=400)
    seen = (views(flip=True, shift=0).weak(images) * 255).round()
    mirrored = (seen[:, 1, 0, 0] == 7).float()
    assert torch.equal(seen[mirrored == 0], images.permute(0, 3, 1, 2)[mirrored == 0].float())
    assert torch.equal(seen[mirrored == 1], images.flip(2).permute(0, 3, 1, 2)[mirrored == 1].float())
    assert 0.4 < mirrored.mean() < 0.6


def test_a_shift_moves_by_whole_pixels_and_reflects_the_border():
    images = ramp(batch=200)
    seen = (views(flip=False, shift=0.25).weak(images) * 255).round()
    shifts = seen[:, 1, 0, 2] - 2
    assert shifts.min() == -2
    assert shifts.max() == 2
    row = seen[shifts == -2][0, 1, 0]
    assert row.tolist() == [2, 1, 0, 1, 2, 3, 4, 5]


def test_each_image_of_a_batch_gets_its_own_colors():
    images = torch.full((64, 8, 8, 3), 128, dtype=torch.uint8)
    brightness = views(flip=False, shift=0, cutout=0, color=0.4).medium(images)[:, 0, 0, 0]
    assert brightness.unique().numel() > 50
    assert 0.25 < brightness.min() < brightness.max() < 0.75


def test_cutout_covers_the_asked_share_of_the_side_with_gray():
    images = torch.zeros(300, 16, 16, 1, dtype=torch.uint8)
    gray = views(flip=False, shift=0, color=0, cutout=0.5).medium(images) == 0.5
    assert gray.flatten(1).any(1).all()
    assert gray.flatten(1).sum(1).max() in (64, 72, 81)


@pytest.mark.parametrize("kind", ["weak", "medium", "strong"])
def test_the_same_seed_gives_the_same_views_and_another_seed_others(kind):
    images = torch.randint(0, 256, (16, 9, 9, 3), dtype=torch.uint8)
    first, again, other = (getattr(views(seed), kind)(images) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_mask_hides_whole_patches_in_the_asked_share():
    images = torch.ones(50, 3, 10, 10)
    masked, mask = views().masked(images, 0.6, 4)
    assert mask.shape == (50, 1, 10, 10)
    assert torch.equal(mask[:, :, :4, :4].amin((2, 3)), mask[:, :, :4, :4].amax((2, 3)))
    assert 0.5 < mask.mean() < 0.7
    assert torch.equal(masked[:, :1][mask == 1].unique(), torch.tensor([0.5]))
    assert torch.equal(masked[:, :1][mask == 0].unique(), torch.tensor([1.0]))


@pytest.mark.parametrize("changed", ["contrast", "brightness", "saturation"])
@pytest.mark.parametrize("draw", [0.0, 1.0])
def test_colors_change_by_the_strength_that_was_asked_for(changed, draw):
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(60, 120, (3, 6, 6, 3), generator=draws, dtype=torch.uint8)
    images[1] += 40  # each image has a mean of its own
    looks = views(flip=False, shift=0, cutout=0, color=0.4)
    drawn = torch.full((3, 3, 1, 1), 0.5)
    drawn[["contrast", "brightness", "saturation"].index(changed)] = draw
    looks._uniform = lambda shape: drawn
    planes, factor = images.permute(0, 3, 1, 2) / 255, 0.6 + 0.8 * draw
    about = {
        "contrast": planes.mean((1, 2, 3), keepdim=True),
        "brightness": torch.zeros(()),
        "saturation": planes.mean(1, keepdim=True),
    }[changed]
    assert torch.allclose(looks.medium(images), about + factor * (planes - about), atol=1e-5)


def test_noise_is_as_strong_as_was_asked_for():
    noise = views().noisy(torch.full((4, 3, 50, 50), 0.5), 0.1) - 0.5
    assert noise.std().item() == pytest.approx(0.1, rel=0.05)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
