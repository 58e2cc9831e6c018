import pytest
import torch
import torch.nn.functional as F

from fewlabels.nets import NETS, build_classifier, build_decoder, fast
from fewlabels.nets.notebook import NotebookDecoder, NotebookEncoder
from fewlabels.storage.errors import InputError


@pytest.mark.parametrize("net", [name for name in NETS if name not in ("mlp", "linear")])
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (20, 33, 3), (64, 64, 1), (96, 96, 3)])
def test_every_image_net_classifies_and_its_decoder_returns_the_image_shape(net, shape):
    classifier = build_classifier(net, shape, classes=7)
    images = torch.rand(2, shape[2], *shape[:2])
    assert classifier(images).shape == (2, 7)
    feature_map = classifier.feature_map(images)
    assert feature_map.shape[1:] == classifier.encoder.map_shape
    assert classifier.features(images).shape == (2, classifier.encoder.feature_size)
    assert build_decoder(net, classifier.encoder, shape)(feature_map).shape == images.shape


@pytest.mark.parametrize("net", ["fast", "fast-coarse", "wrn-28-2", "resnet-18"])
@pytest.mark.parametrize("side", [4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64])
def test_a_net_for_any_side_reads_images_of_half_the_side_and_no_other_does(net, side):
    encoder = build_classifier(net, (side, side, 3), classes=2).encoder
    assert encoder.any_side
    assert encoder(torch.rand(2, 3, round(side / 2), round(side / 2))).shape == (2, encoder.feature_size)
    assert not build_classifier("notebook", (32, 32, 3), classes=2).encoder.any_side


@pytest.mark.parametrize("net", ["fast", "fast-coarse"])
def test_the_stem_whitens_patches_of_the_data(net):
    torch.manual_seed(0)
    smooth = F.avg_pool2d(torch.randn(400, 3, 20, 20), 5, stride=1)
    classifier = build_classifier(net, (16, 16, 3), classes=2)
    classifier.start(smooth)
    outputs = classifier.encoder.stem(classifier.normalize(smooth))
    half = outputs[:, : outputs.shape[1] // 2].transpose(0, 1).flatten(1)
    covariance = half @ half.T / half.shape[1]
    # Directions with almost no variance are damped on purpose, the others end at one.
    assert torch.allclose(covariance - torch.diag(covariance.diag()), torch.zeros_like(covariance), atol=0.05)
    assert covariance.diag().max() < 1.05
    assert covariance.diag().median() > 0.8


@pytest.mark.parametrize(
    ("net", "least"), [("fast", -0.17), ("fast-wide", -0.17), ("fast-silu", -0.278), ("fast-large", -0.278)]
)
def test_an_activation_is_known_by_how_far_below_zero_it_goes(net, least):
    torch.manual_seed(0)
    encoder = build_classifier(net, (16, 16, 3), classes=2).encoder
    assert encoder.feature_map(torch.randn(20, 3, 16, 16)).min().item() == pytest.approx(least, abs=2e-3)


@pytest.mark.parametrize(("side", "map_side", "last"), [(8, 8, 2), (16, 8, 2), (33, 16, 4), (96, 48, 12)])
def test_a_coarse_stem_halves_the_side_of_images_that_are_not_tiny(side, map_side, last):
    encoder = build_classifier("fast-coarse", (side, side, 3), classes=2).encoder
    maps = []
    encoder.stem.register_forward_hook(lambda module, inputs, output: maps.append(output.shape[2:]))
    assert encoder.feature_map(torch.rand(2, 3, side, side)).shape == (2, 128, last, last)
    assert maps == [(map_side, map_side)]


def test_a_coarse_stem_keeps_the_directions_that_carry_the_most():
    torch.manual_seed(0)
    smooth = F.avg_pool2d(torch.randn(400, 3, 36, 36), 5, stride=1)
    encoder = build_classifier("fast-coarse", (32, 32, 3), classes=2).encoder
    encoder.start(smooth)
    patches = F.unfold(smooth, 3).transpose(1, 2).flatten(0, 1)
    variances = torch.linalg.eigvalsh(patches.T @ patches / len(patches))
    filters = encoder.stem.weight[:16].flatten(1)
    # What is whitened to a variance of one was multiplied by its deviation's inverse.
    kept = 1 / filters.square().sum(1)
    assert len(variances) == 27
    assert torch.allclose(kept.sort().values, variances[-16:] + 5e-4, rtol=0.02)


def test_the_stem_holds_the_patches_of_some_images_at_a_time(monkeypatch):
    images, held, unfold = torch.rand(50, 3, 16, 16), [], F.unfold
    at_once = build_classifier("fast", (16, 16, 3), classes=2).encoder
    at_once.start(images)
    monkeypatch.setattr(fast, "_STEM_PIXELS", 8 * 16 * 16, raising=False)
    monkeypatch.setattr(F, "unfold", lambda some, *args, **kw: held.append(len(some)) or unfold(some, *args, **kw))
    in_parts = build_classifier("fast", (16, 16, 3), classes=2).encoder
    in_parts.start(images)
    assert held == [8] * 6 + [2]
    assert torch.allclose(in_parts.stem.weight, at_once.stem.weight, atol=1e-5)


def test_normalization_uses_the_sample_and_leaves_constant_channels_alone():
    classifier = build_classifier("mlp", (2,), classes=2)
    classifier.start(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert classifier.normalize(torch.tensor([[3.0, 5.0]])).tolist() == [[1.0, 0.0]]
    assert classifier.denormalize(torch.tensor([[1.0, 0.0]])).tolist() == [[3.0, 5.0]]


def test_the_notebook_autoencoder_has_the_notebooks_parameter_counts():
    encoder = NotebookEncoder(3, (32, 32), pooled=True)
    decoder = NotebookDecoder(encoder.map_shape, 3, (32, 32))
    assert encoder.map_shape == (32, 11, 11)
    assert sum(p.numel() for p in encoder.parameters()) == 37_888
    assert sum(p.numel() for p in decoder.parameters()) == 34_275


def test_the_mended_decoder_has_no_relu_at_its_end_and_the_dying_one_has():
    for dying in (False, True):
        decoder = NotebookDecoder((32, 11, 11), 3, (32, 32), dying=dying)
        with torch.no_grad():
            decoder.layers[8].bias.fill_(-100.0)
        code = torch.rand(2, 32, 11, 11)
        decoder(code).sum().backward()
        assert (decoder.layers[8].bias.grad.abs().sum() == 0) == dying


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        ("fst", (32, 32, 3), "did you mean 'fast'"),
        ("mlp", (32, 32, 3), "does not read images"),
        ("fast", (10,), "does not read vectors"),
        ("fast", (3, 3, 1), "too small"),
    ],
)
def test_a_net_that_does_not_fit_is_refused_with_what_would(net, shape, message):
    with pytest.raises(InputError, match=message):
        build_classifier(net, shape, classes=2)
