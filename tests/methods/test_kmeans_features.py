"""K-means features: nearness by hand, what the head is, and which patches it finds."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from fewlabels import InputError, load
from fewlabels.methods import KMeansFeatures
from fewlabels.nets import patches
from fewlabels.nets.patches import PatchEncoder


# Of one image there are 27 distances: by single positions, by two, an image at a time, or all at once.
@pytest.mark.parametrize("held", [1, 6, 27, 600_000])
def test_nearness_is_summed_over_the_quarters(held, monkeypatch):
    monkeypatch.setattr(patches, "_HELD", held)
    encoder = PatchEncoder((4, 4, 1), centroids=3, patch=2)
    encoder.centroids.copy_(torch.tensor([[0.0, 0, 0, 0], [1, 1, -1, -1], [-1, 1, -1, 1]]))
    images = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    maps = encoder.feature_map(images)
    assert maps.shape == (2, 3, 2, 2)
    by_hand = torch.zeros(2, 3, 2, 2)
    for number in range(2):
        for row in range(3):
            for column in range(3):
                patch = images[number, 0, row : row + 2, column : column + 2].reshape(4)
                patch = (patch - patch.mean()) / (patch.var(correction=0) + 0.0025).sqrt()
                distances = (encoder.centroids - patch).norm(dim=1)
                near = (distances.mean() - distances).clamp_min(0)
                by_hand[number, :, int(row > 1), int(column > 1)] += near
    assert torch.allclose(maps, by_hand, atol=1e-5)
    # What an image's pixels do to it can be asked for.
    images.requires_grad_()
    assert torch.allclose(encoder.feature_map(images), by_hand, atol=1e-5)
    (gradient,) = torch.autograd.grad(encoder.feature_map(images).sum(), images)
    assert gradient.abs().sum() > 0


def test_large_images_are_shrunk_before_patches_are_taken():
    draws = torch.Generator().manual_seed(0)
    shrinking, plain = PatchEncoder((12, 8, 3), 5, 2, shrink_to=4), PatchEncoder((6, 4, 3), 5, 2, shrink_to=4)
    shrinking.centroids.normal_(generator=draws)
    plain.centroids.copy_(shrinking.centroids)
    images = torch.rand(7, 3, 12, 8, generator=draws)
    assert torch.allclose(shrinking(images), plain(torch.nn.functional.avg_pool2d(images, 2)), atol=1e-4)


def test_a_model_of_before_images_were_shrunk_looks_at_whole_ones(tmp_path):
    draws = np.random.default_rng(0)
    X, y = draws.integers(0, 255, (20, 40, 40, 3)).astype(np.uint8), np.arange(20) % 2
    settings = {"centroids": 10, "patches": 500, "random_state": 0}
    whole = KMeansFeatures(**settings, shrink_to=None).fit(X, y)
    whole.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["parameters"].pop("shrink_to", "") is None
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    assert np.array_equal(load(tmp_path / "model").predict_proba(X), whole.predict_proba(X))
    assert not np.array_equal(KMeansFeatures(**settings).fit(X, y).predict_proba(X), whole.predict_proba(X))


def test_whitened_patches_are_uncorrelated():
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(5000, 4, generator=generator) @ torch.randn(4, 4, generator=generator) * 10
    encoder = PatchEncoder((8, 8, 1), centroids=2, patch=2)
    encoder.whiten(found)
    white = encoder.whitened(found)
    assert torch.allclose(white.T @ white / 5000, torch.eye(4), atol=0.05)
    assert torch.allclose(white.mean(0), torch.zeros(4), atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (33, 47, 3)])
def test_any_image_gives_a_map_of_the_promised_shape(shape):
    encoder = PatchEncoder(shape, centroids=5, patch=6)
    images = torch.rand(20, shape[2], *shape[:2])
    assert encoder.feature_map(images).shape == (20, *encoder.map_shape)
    assert encoder(images).shape == (20, encoder.feature_size)
    assert encoder(images[:0]).shape == (0, encoder.feature_size)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_heads_probabilities_are_the_logistic_regressions(classes, digits):
    images, labels = digits
    chosen = np.flatnonzero(labels < classes)[:120]
    method = KMeansFeatures(centroids=20, patches=1000, penalty=0.01, validation_fraction=0.0, random_state=0)
    method.fit(images[chosen], labels[chosen])
    features = method.transform(images[chosen])
    # Of two classes scikit-learn penalizes twice the squares of the weights that stand for them.
    strength = (2 if classes == 2 else 1) / (0.01 * len(features))
    model = LogisticRegression(C=strength, max_iter=1000).fit(features, labels[chosen])
    assert np.allclose(method.predict_proba(images[chosen]), model.predict_proba(features), atol=2e-3)


def test_pool_patches_are_looked_at_and_labels_of_the_pool_are_not_needed(digits):
    images, labels = digits
    settings = {"centroids": 60, "patches": 5000, "random_state": 0}
    alone = KMeansFeatures(**settings).fit(images[:60], labels[:60])
    pool = KMeansFeatures(**settings).fit(images[:60], labels[:60], unlabeled=images[60:1000])
    assert not torch.equal(alone.network_.encoder.centroids, pool.network_.encoder.centroids)
    assert pool.score(images[1000:], labels[1000:]) > 0.75


def test_the_penalty_is_chosen_on_held_out_samples(digits):
    images, labels = digits
    method = KMeansFeatures(centroids=40, patches=2000, random_state=0).fit(images[:300], labels[:300])
    assert len(method.validation_rows_) == 30
    assert [event["stage"] for event in method.history_] == ["typical patches", "classifier"]
    assert method.history_[-1]["validation_accuracy"] > 0.7
    assert method.gradient_images_ == 0


def test_a_saved_model_predicts_the_same(color_images, tmp_path):
    X, y = color_images
    method = KMeansFeatures(centroids=10, patches=500, random_state=0).fit(X, y)
    method.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").predict_proba(X), method.predict_proba(X))


def test_it_is_followed_on_the_screen(color_images, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("fewlabels.training.progress.shows_progress", lambda console: True)  # into a pipe there is none
    KMeansFeatures(centroids=4, patches=200, random_state=0, verbose=True).fit(*color_images)
    assert "KMeansFeatures 2/2 classifier" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [{"centroids": 1}, {"patch": 1}, {"patches": 10}, {"penalty": 0}, {"penalty": math.inf}, {"shrink_to": 2}],
)
def test_settings_out_of_range_are_refused(settings, color_images):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        KMeansFeatures(**settings).fit(*color_images)


@pytest.mark.parametrize("shape", [(1, 64), (3, 3)])
def test_images_without_patches_are_refused(shape):
    images = np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)
    with pytest.raises(InputError, match=f"images of {shape[0]}x{shape[1]} pixels are too small; 4x4 is the least"):
        KMeansFeatures(centroids=4, patches=100, random_state=0).fit(images, np.arange(12) % 2)
