from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from fewlabels.report.pictures import picture


def decoded(uri: str) -> tuple[str, Image.Image]:
    head, _, content = uri.partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    image.load()
    return head, image


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_an_image_of_a_few_pixels_keeps_each_of_them(channels, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, channels), np.uint8)
    head, image = decoded(picture(pixels))
    assert head == "data:image/png;base64"
    assert image.mode == mode
    assert np.array_equal(np.asarray(image).reshape(9, 7, channels), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_photo_is_a_webp_that_looks_the_same(channels):
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    pixels = np.repeat(np.broadcast_to(ramp, (32, 32))[:, :, None], channels, 2)
    head, image = decoded(picture(pixels))
    assert head == "data:image/webp;base64"
    assert image.size == (32, 32)
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - pixels).max() < 12


def test_a_large_image_is_shown_small():
    assert decoded(picture(np.zeros((300, 200, 3), np.uint8)))[1].size == (43, 64)
    assert decoded(picture(np.zeros((300, 200, 3), np.uint8), 30))[1].size == (20, 30)
