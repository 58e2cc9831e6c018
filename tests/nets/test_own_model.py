"""The net of a saved model as a pretrained net: the same features, wherever they are used, and what cannot be taken."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import fewlabels
from command_line import run_here
from fewlabels import InputError, make_method
from fewlabels.nets import build_classifier
from fewlabels.nets.backbone import fingerprint
from fewlabels.nets.pretrained import load_backbone
from fewlabels.nets.provenance import leak_warning
from fewlabels.storage.model_folder import WEIGHTS
from small_backbones import tiny_dinov2


@pytest.fixture
def pretrained(tmp_path, color_images):
    """Return a model whose encoder was pretrained on a pool, and the folder that it is saved in."""
    X, y = color_images
    y = np.where(np.arange(len(y)) < 20, y, -1)
    method = make_method("sim-clr", steps=3, pretraining_steps=3, pretraining_batch=16, random_state=0).fit(X, y)
    return method, method.save(tmp_path / "own")


def test_its_features_are_those_that_the_models_head_reads(pretrained, color_images):
    method, folder = pretrained
    backbone = load_backbone(f"model:{folder}").eval()
    images = torch.from_numpy(color_images[0][:5]).permute(0, 3, 1, 2).float() / 255
    classifier = build_classifier(f"model:{folder}", method.sample_shape_, 3).eval()
    with torch.inference_mode():
        expected = method.network_.eval().features(images)
        assert torch.allclose(classifier.features(images), expected, atol=1e-5)
        larger = torch.nn.functional.interpolate(images, scale_factor=2)
        assert backbone(larger).shape == expected.shape
    assert backbone.facts.size == method.sample_shape_[0]
    assert backbone.facts.weights == fingerprint(method.network_.encoder)


@pytest.mark.parametrize("freeze", [True, False])
def test_what_was_fitted_with_it_needs_it_no_more(freeze, pretrained, color_images, tmp_path):
    X, y = color_images
    _, folder = pretrained
    net = f"model:{folder}"
    fitted = make_method("supervised", net=net, freeze=freeze, steps=3, random_state=0).fit(X, y)
    saved = fitted.save(tmp_path / "fitted")
    shutil.rmtree(folder)
    again = fewlabels.load(saved)
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert again.backbone_facts_.net == net
    assert net in (saved / "README.md").read_text()


def test_one_that_is_trained_further_begins_where_it_was_and_moves(pretrained, color_images):
    X, y = color_images
    method, folder = pretrained
    fitted = make_method("supervised", net=f"model:{folder}", freeze=False, steps=3, random_state=0).fit(X, y)
    before, after = method.network_.encoder.state_dict(), fitted.network_.encoder.body.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    # The stem whitens, and statistics are those of the pretraining.
    assert moved == {name for name, _ in method.network_.encoder.named_parameters()} - {"stem.weight"}
    assert max((before[name] - after[name]).abs().max() for name in moved) < 0.1


def test_a_net_that_was_trained_further_serves_the_next(tmp_path, color_images):
    X, y = color_images
    first = make_method(
        "supervised", net=tiny_dinov2(tmp_path / "dino"), freeze=False, steps=2, learning_rate=0.01, random_state=0
    ).fit(X, y)
    folder = first.save(tmp_path / "first")
    second = make_method("supervised", net=f"model:{folder}", freeze=False, steps=2, random_state=0).fit(X, y)
    third = make_method("supervised", net=f"model:{second.save(tmp_path / 'second')}", steps=2, random_state=0)
    saved = third.fit(X, y).save(tmp_path / "third")
    for gone in ("dino", "first", "second"):
        shutil.rmtree(tmp_path / gone)
    assert np.array_equal(fewlabels.load(saved).predict_proba(X), third.predict_proba(X))
    own = load_file(saved / WEIGHTS)
    learned = second.network_.encoder.body.state_dict()
    assert all(torch.equal(own[f"backbone.body.{name}"], value) for name, value in learned.items())
    assert third.backbone_facts_.trained_on == "unknown images, then unknown images, then unknown images"


def test_models_in_double_precision_serve_too(pretrained):
    _, folder = pretrained
    expected = load_backbone(f"model:{folder}").facts.weights
    tensors = load_file(folder / WEIGHTS)
    doubled = {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}
    save_file(doubled, folder / WEIGHTS)
    config = json.loads((folder / "config.json").read_text())
    del config["weights_sha256"]
    (folder / "config.json").write_text(json.dumps(config | {"format_version": 1}))
    assert load_backbone(f"model:{folder}").facts.weights == expected


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("kmeans-features", {}, "a model of kmeans-features, is more than an encoder that was trained: .*such as sim-"),
        ("net-and-patches", {"steps": 2}, "a model of net-and-patches, is more than an encoder that was trained"),
    ],
)
def test_nets_of_patches_are_refused(method, settings, message, color_images, tmp_path):
    X, y = color_images
    folder = make_method(method, random_state=0, **settings).fit(X, y).save(tmp_path / "patches")
    with pytest.raises(InputError, match=message):
        load_backbone(f"model:{folder}")


def test_what_auto_chose_is_known(tmp_path, color_images):
    X, y = color_images
    method = make_method("auto", budget="200 images", random_state=0).fit(X, y)
    backbone = load_backbone(f"model:{method.save(tmp_path / 'auto')}")
    assert backbone.facts.weights == fingerprint(method.network_.encoder)


def test_what_has_no_trained_net_of_images_is_refused(tmp_path, color_images):
    X, y = color_images
    net = tiny_dinov2(tmp_path / "dino")
    frozen = make_method("supervised", net=net, steps=2, random_state=0).fit(X, y).save(tmp_path / "frozen")
    with pytest.raises(InputError, match=f"is {net}, which was left as it is; give that in place of model:"):
        load_backbone(f"model:{frozen}")
    vectors = make_method("supervised", steps=2).fit(X.reshape(len(X), -1), y).save(tmp_path / "vectors")
    with pytest.raises(InputError, match="vectors reads vectors; give a model that was fitted on images"):
        load_backbone(f"model:{vectors}")
    wide = make_method("supervised", steps=2).fit(X[:, :8], y).save(tmp_path / "wide")
    with pytest.raises(InputError, match=r"wide reads images of 8x.* pixels; give a model that reads squares"):
        load_backbone(f"model:{wide}")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    ours = make_method("supervised", net=module, freeze=False, steps=2).fit(X, y).save(tmp_path / "ours")
    with pytest.raises(InputError, match="was made by code of your own, which no file tells; in Python, give load"):
        load_backbone(f"model:{ours}")
    with pytest.raises(InputError, match=r"there is no model folder at .*nowhere"):
        load_backbone(f"model:{tmp_path / 'nowhere'}")


def test_weights_that_are_not_what_was_saved_are_refused(pretrained):
    _, folder = pretrained
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match="is not what was saved: its checksum is"):
        load_backbone(f"model:{folder}")


def test_weights_that_may_not_be_read_are_not_called_damaged(pretrained, refused):
    _, folder = pretrained
    refused(folder / WEIGHTS)
    with pytest.raises(PermissionError):
        load_backbone(f"model:{folder}")


def test_a_damaged_description_is_told_in_a_line(pretrained):
    _, folder = pretrained
    config = json.loads((folder / "config.json").read_text())
    for broken in ({"sample_shape": None}, {"sample_shape": ["a"]}, {"records": {"settings_": {"net": 3}}}):
        (folder / "config.json").write_text(json.dumps(config | broken))
        with pytest.raises(InputError, match=r"own is damaged and cannot be read|the net of .* cannot be built"):
            load_backbone(f"model:{folder}")


def test_a_description_cannot_have_code_run(pretrained, color_images, tmp_path):
    X, y = color_images
    _, folder = pretrained
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef net(): pass\n")
    saved = make_method("supervised", net=f"model:{folder}", steps=2).fit(X, y).save(tmp_path / "fitted")
    config = json.loads((saved / "config.json").read_text())
    config["backbone"]["architecture"]["net"] = f"python:{tmp_path / 'evil.py'}:net"
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="unknown net 'python:"):
        fewlabels.load(saved)
    config = json.loads((folder / "config.json").read_text())
    config["records"]["settings_"]["net"] = f"python:{tmp_path / 'evil.py'}:net"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"the net of .* cannot be built: unknown net 'python:"):
        load_backbone(f"model:{folder}")
    assert not (tmp_path / "ran").exists()


def test_whoever_tests_on_what_it_may_have_learned_from_is_warned(tmp_path):
    fit = ["fit", "digits", "--labels-per-class", "5", "--steps", "2", "--method", "sim-clr", "--out", "own"]
    assert run_here(tmp_path, *fit).returncode == 0
    told = run_here(tmp_path, "embed", "digits", "--net", "model:own", "--out", "features")
    assert f"model:{tmp_path / 'own'} was trained on the images of digits" in told.stdout
    assert "unless the test images of digits were held out from that too" in told.stderr
    assert run_here(tmp_path, "fit", "features", "--method", "linear-probe", "--out", "probe").returncode == 0
    shutil.rmtree(tmp_path / "own")
    gone = run_here(tmp_path, "evaluate", "probe", "digits")
    assert "own', which is not there; give it from where it is now" in gone.stderr
    # A net of another data set may be used without a word.
    assert leak_warning("the images of digits", "birds", "model:/nets/own") is None
    assert "is unknown" in leak_warning("ImageNet, then unknown images", "birds", "model:/nets/own")
    assert "unless the test images of stl10" in leak_warning("the images of stl10", "stl10", "model:/nets/own")
