"""Residual nets: the published sizes, any image, and maps as they say."""

import pytest
import torch

from fewlabels.methods import Supervised, TwoStepAutoencoder
from fewlabels.nets import build_classifier


@pytest.mark.parametrize(("net", "millions"), [("wrn-28-2", "1.47"), ("wrn-37-2", "5.9"), ("resnet-18", "11.17")])
def test_the_parameters_are_as_published(net, millions):
    count = sum(p.numel() for p in build_classifier(net, (32, 32, 3), 10).parameters())
    assert f"{count / 1e6:.{len(millions.partition('.')[2])}f}" == millions


@pytest.mark.parametrize("net", ["wrn-28-2", "wrn-37-2", "resnet-18"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (64, 64, 3), (96, 96, 1), (33, 47, 3)])
def test_any_image_gives_a_map_of_the_promised_shape(net, shape):
    classifier = build_classifier(net, shape, 7).eval()
    images = torch.rand(2, shape[2], *shape[:2])
    maps = classifier.feature_map(images)
    assert maps.shape[1:] == classifier.encoder.map_shape
    assert classifier(images).shape == (2, 7)


def test_they_learn_and_decode(color_images):
    X, y = color_images
    settings = {"net": "wrn-28-2", "steps": 8, "batch_size": 16, "random_state": 0, "validation_fraction": 0.0}
    assert Supervised(**settings, learning_rate=0.05).fit(X, y).score(X, y) > 0.9
    method = TwoStepAutoencoder(**settings, pretraining_steps=2).fit(X, y)
    assert method.reconstruct(X[:2]).shape == (2, 16, 16, 3)
