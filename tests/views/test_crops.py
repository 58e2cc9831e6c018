"""Resized crops: what part is read, and what happens to colors."""

import torch

from fewlabels.views.crops import ResizedCrops


def crops(**settings):
    return ResizedCrops(torch.Generator().manual_seed(0), **settings)


def test_the_whole_image_unchanged_is_the_image():
    images = torch.randint(0, 256, (5, 12, 16, 3), dtype=torch.uint8)
    # An area of all and a ratio that is cut to what there is: columns and rows can only be all or a little less.
    views = crops(flip=False, least=1.0, color=0.0, gray=0.0)
    plain = images.permute(0, 3, 1, 2) / 255
    assert (views(images) - plain).abs().mean() < 0.2
    views._uniform = lambda count, batch: torch.full((count, batch), 0.5)
    assert torch.allclose(views(images), plain, atol=1e-5)


def test_a_part_is_a_part():
    # A ramp from left to right: a part of it spans less, and never more.
    ramp = torch.arange(32, dtype=torch.uint8).mul(8).view(1, 1, 32, 1).expand(200, 32, 32, 3).contiguous()
    views = crops(flip=False, least=0.2, color=0.0, gray=0.0)(ramp)
    spans = views[:, 0, 16, -1] - views[:, 0, 16, 0]
    assert spans.min() > 0.2
    assert spans.max() < 1
    assert spans.std() > 0.1
    mirrored = crops(least=0.5, color=0.0, gray=0.0)(ramp)
    share = (mirrored[:, 0, 16, -1] < mirrored[:, 0, 16, 0]).float().mean()
    assert 0.35 < share < 0.65


def test_some_images_lose_their_color_and_some_keep_theirs():
    images = torch.zeros(400, 8, 8, 3, dtype=torch.uint8)
    images[..., 0] = 200
    images[..., 1] = 60
    views = crops(gray=0.2, recolored=0.5)(images)
    gray = (views[:, 0] - views[:, 1]).abs().amax((1, 2)) < 1e-5
    assert 0.12 < gray.float().mean() < 0.28
    same = (views[:, 0] - 200 / 255).abs().amax((1, 2)) < 1e-5
    assert 0.25 < same.float().mean() < 0.55
    assert 0 <= views.min() <= views.max() <= 1


def test_views_repeat_with_the_seed_and_work_in_gray_and_under_autocast():
    images = torch.randint(0, 256, (6, 9, 13, 1), dtype=torch.uint8)
    first, again = crops()(images), crops()(images)
    assert torch.equal(first, again)
    assert first.shape == (6, 1, 9, 13)
    assert first.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(crops()(images), first)


def test_contrast_changes_about_the_middle_of_each_image():
    images = torch.randint(60, 120, (3, 6, 6, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[1] += 40
    views = crops(flip=False, least=1.0, color=0.4)
    # Recolored, with the most of contrast and nothing else; then the whole image.
    drawn = [torch.tensor([0.0, 1.0, 0.5, 0.5, 1.0]).view(5, 1).expand(5, 3), torch.full((5, 3), 0.5)]
    views._uniform = lambda count, batch: drawn.pop(0)
    planes = images.permute(0, 3, 1, 2) / 255
    middle = planes.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(views(images), middle + 1.4 * (planes - middle), atol=1e-4)


def test_how_high_a_part_lies_says_nothing_of_how_far_right_it_lies():
    ramps = torch.zeros(400, 32, 32, 3, dtype=torch.uint8)
    ramps[..., 0] = torch.arange(32).mul(8).view(1, 1, 32)
    ramps[..., 1] = torch.arange(32).mul(8).view(1, 32, 1)
    middle = crops(flip=False, least=0.2, color=0.0, gray=0.0)(ramps)[:, :2, 15:17, 15:17].mean((2, 3))
    assert middle.std(0).min() > 0.05
    assert torch.corrcoef(middle.T)[0, 1].abs() < 0.2


def test_views_that_are_smaller_show_the_same_parts():
    # What changes slowly looks alike in all sizes.
    ramps = torch.zeros(50, 24, 40, 3, dtype=torch.uint8)
    ramps[..., 0] = torch.arange(40).mul(6).view(1, 1, 40)
    ramps[..., 1] = torch.arange(24).mul(10).view(1, 24, 1)
    whole, small = crops()(ramps), crops()(ramps, 0.75)
    assert small.shape == (50, 3, 18, 30)
    assert small.is_contiguous(memory_format=torch.channels_last)
    again = torch.nn.functional.interpolate(whole, (18, 30), mode="bilinear")
    assert (small - again).abs().max() < 0.01
