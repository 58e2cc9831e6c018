"""Features in folders and in fits: written once, gone on with after a stop, learned from, saved, and used on images."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from torch import nn

import fewlabels
import fewlabels.evaluation
from fewlabels import InputError, TrainingWarning, load_dataset, make_method
from fewlabels.data import FeatureRows
from fewlabels.data import features as feature_files
from fewlabels.data.given import joined_labels
from fewlabels.methods import embed
from fewlabels.methods.embedding import feature_chunks, features_of, own_size, warn_of_leak
from fewlabels.methods.feature_cache import make_features
from fewlabels.methods.findings import findings
from fewlabels.methods.origin import size_to_read
from fewlabels.nets import load_backbone
from fewlabels.storage.lock import LOCK_NAME, FolderLock
from small_backbones import Colors, stub_timm, tiny_dinov2, tiny_timm

CPU = torch.device("cpu")


@pytest.fixture
def arrays(color_images):
    """A source of color images: labels, a pool, a test part."""
    X, y = color_images
    return {"train": (X[:24], y[:24]), "unlabeled": X[24:32], "test": (X[32:], y[32:])}


def test_a_folder_of_features_is_the_source_that_its_images_were(arrays, tmp_path):
    written = embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path)
    images = load_dataset(arrays, labels_per_class=3, random_state=5)
    data = load_dataset(written.folder, labels_per_class=3, random_state=5)
    assert (written.images, data.is_features, data.labeled.shape) == (40, True, (6, 12))
    assert np.array_equal(data.labels, images.labels)
    assert np.array_equal(data.test_labels, images.test_labels)
    assert np.array_equal(data.diagnostics.pool_labels, images.diagnostics.pool_labels)
    backbone = load_backbone(Colors())
    for own, other in ((data.labeled, images.labeled), (data.pool, images.pool), (data.test, images.test)):
        assert np.allclose(own[:], features_of(backbone, other, CPU), atol=1e-5)
    assert isinstance(data.pool.array, np.memmap)
    assert data.summary()["features"] == 12


@pytest.mark.parametrize("named", ["as the pool is called", "absolutely", "from the labels file on"])
def test_labels_by_hand_name_the_images_that_features_are_of(named, photos, tmp_path):
    embed(photos, Colors(), tmp_path / "features", cache_dir=tmp_path)
    name = load_dataset(tmp_path / "features").pool_names[2]
    file = {"absolutely": str(photos / name), "from the labels file on": f"photos/{name}"}.get(named, name)
    (tmp_path / "labels.csv").write_text(f"file,class\n{file},blue\n")
    data = load_dataset(tmp_path / "features", labels=tmp_path / "labels.csv")
    assert len(data.labels) == 21
    assert len(data.pool) == 5


def test_features_that_are_moved_with_their_images_find_these_again(photos, tmp_path):
    (tmp_path / "project").mkdir()
    photos.rename(tmp_path / "project" / "photos")
    embed(tmp_path / "project" / "photos", Colors(), tmp_path / "project" / "features", cache_dir=tmp_path)
    moved = (tmp_path / "project").rename(tmp_path / "moved")
    name = load_dataset(moved / "features").pool_names[2]
    (moved / "labels.csv").write_text(f"file,class\nphotos/{name},blue\n")
    assert len(load_dataset(moved / "features", labels=moved / "labels.csv").labels) == 21


def test_labels_that_join_others_name_the_images_that_features_are_of(photos, tmp_path, monkeypatch):
    embed(photos, Colors(), tmp_path / "features", cache_dir=tmp_path)
    data = load_dataset(tmp_path / "features")
    first, second = data.pool_names[2:4]
    for file, name in (("a.csv", first), ("b.csv", second)):
        (tmp_path / file).write_text(f"file,class\nphotos/{name},blue\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    joined = joined_labels("../a.csv", "../b.csv", data)
    assert joined == {first: "blue", second: "blue"}
    assert len(load_dataset(tmp_path / "features", labels=joined).labels) == 22


def test_features_of_images_in_no_class_folders_have_the_classes_of_a_labels_file(photos, tmp_path):
    names = [f"{number}.png" for number in range(20)]
    (tmp_path / "all").mkdir()
    for name, photo in zip(names, sorted((photos / "train").glob("*/*")), strict=True):
        photo.rename(tmp_path / "all" / name)
    for _ in range(2):  # the second time they are there
        embed(tmp_path / "all", Colors(), tmp_path / "features", cache_dir=tmp_path)
    labels = {name: "blue" if number < 10 else "red" for number, name in enumerate(names) if number % 5}
    data = load_dataset(tmp_path / "features", labels=labels)
    assert (data.class_names, set(data.pool_names)) == (("blue", "red"), {"0.png", "5.png", "10.png", "15.png"})
    with pytest.raises(InputError, match="has no labeled images; label a few of each class, or give a labels file"):
        load_dataset(tmp_path / "features")


def test_a_stopped_embedding_of_few_labeled_images_goes_on_too(color_images, tmp_path, monkeypatch):
    X, y = color_images
    source = {"train": (X[:2], [0, 1]), "unlabeled": X[2:32], "test": (X[32:], y[32:])}
    monkeypatch.setattr(feature_files, "_NOTED", 1)
    monkeypatch.setattr("fewlabels.methods.embedding._MOST", 4)

    def stopped(self, images, seen=[]):  # noqa: B006
        seen.append(len(images))
        if sum(seen) > 20:
            raise KeyboardInterrupt
        return self.blocks(images)

    with monkeypatch.context() as patch:
        patch.setattr(Colors, "forward", stopped)
        with pytest.raises(KeyboardInterrupt):
            embed(source, Colors(), tmp_path / "features", cache_dir=tmp_path)
    assert json.loads((tmp_path / "features" / "progress.json").read_text())["done"] > 4
    assert embed(source, Colors(), tmp_path / "features", cache_dir=tmp_path).images == 40


def test_a_stopped_embedding_goes_on_where_it_was(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, "_NOTED", 1)
    monkeypatch.setattr("fewlabels.methods.embedding._MOST", 4)
    whole = embed(arrays, Colors(), tmp_path / "whole", views=2, cache_dir=tmp_path)
    seen = []

    def stopped(self, images):
        seen.append(len(images))
        if sum(seen) > 40:  # two views of each
            raise KeyboardInterrupt
        return self.blocks(images)

    monkeypatch.setattr(Colors, "forward", stopped)
    with pytest.raises(KeyboardInterrupt):
        embed(arrays, Colors(), tmp_path / "parts", views=2, cache_dir=tmp_path)
    with pytest.raises(InputError, match="not finished"):
        load_dataset(tmp_path / "parts")
    done = json.loads((tmp_path / "parts" / "progress.json").read_text())["done"]
    assert 0 < done < 40
    seen.clear()
    monkeypatch.setattr(Colors, "forward", lambda self, images: seen.append(len(images)) or self.blocks(images))
    again = embed(arrays, Colors(), tmp_path / "parts", views=2, cache_dir=tmp_path)
    assert sum(seen) == 1 + 4 + 2 * (40 - done), "one image to measure by, four to know the net by, what was missing"
    assert np.array_equal(np.load(whole.folder / "features.npy"), np.load(again.folder / "features.npy"))
    assert embed(arrays, Colors(), tmp_path / "parts", views=2, cache_dir=tmp_path).was_there


def test_further_views_of_gray_images_are_not_mirrored(tmp_path):
    # A white left half: mirrored, the mean colors' map would be the other way round.
    images = np.zeros((8, 16, 16, 1), np.uint8)
    images[:, :, :8] = 255
    source = {"train": (images, np.arange(8) % 2)}

    class Halves(Colors):
        def forward(self, images):
            return torch.stack([images[..., :4].mean((1, 2, 3)), images[..., -4:].mean((1, 2, 3))], 1)

    for given, mirrored in (({}, False), ({"flip": True}, True)):
        written = embed(source, Halves(), tmp_path / f"{mirrored}", views=6, cache_dir=tmp_path, **given)
        left, right = np.load(written.folder / "features.npy").reshape(-1, 2).T
        assert bool((left < right).any()) is mirrored


def test_features_of_another_net_are_replaced_only_when_asked(arrays, tmp_path):
    embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path)
    with pytest.raises(InputError, match="another net"):
        embed(arrays, Colors(seed=1), tmp_path / "features", cache_dir=tmp_path)
    embed(arrays, Colors(seed=1), tmp_path / "features", overwrite=True, cache_dir=tmp_path)
    facts = load_dataset(tmp_path / "features").backbone
    assert facts["weights"] == load_backbone(Colors(seed=1)).facts.weights
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="other files"):
        embed(arrays, Colors(), tmp_path / "full", cache_dir=tmp_path)


def test_features_of_other_views_alone_are_told_so(arrays, tmp_path):
    embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path)
    with pytest.raises(InputError, match=r"holds features of other views of these images \(1 of each\)"):
        embed(arrays, Colors(), tmp_path / "features", views=2, cache_dir=tmp_path)


def test_features_that_may_not_be_read_are_neither_called_damaged_nor_replaced(arrays, tmp_path, refused):
    file = embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path).folder / "features.npy"
    refused(file)
    for use in (lambda: embed(arrays, Colors(), file.parent, cache_dir=tmp_path), lambda: load_dataset(file.parent)):
        with pytest.raises(PermissionError) as error:
            use()
        assert error.value.filename == str(file)


@pytest.mark.parametrize("change", [{"image_mean": (0.9, 0.1, 0.5)}, {"pooling": nn.AdaptiveMaxPool2d(1)}])
def test_features_of_a_net_that_has_changed_but_for_its_weights_are_told(change, arrays, tmp_path):
    class Pooled(Colors):
        pooling = nn.AdaptiveAvgPool2d(1)

        def forward(self, images):
            return self.pooling(self.blocks(images)).flatten(1)

    def net(**changed):
        net = Pooled()
        vars(net).update(changed)
        return net

    embed(arrays, net(), tmp_path / "features", cache_dir=tmp_path)
    assert embed(arrays, net(), tmp_path / "features", cache_dir=tmp_path).was_there
    with pytest.raises(InputError, match="does not give any more"):
        embed(arrays, net(**change), tmp_path / "features", cache_dir=tmp_path)
    embed(arrays, net(**change), tmp_path / "features", overwrite=True, cache_dir=tmp_path)
    embed(arrays, net(**change), tmp_path / "anew", cache_dir=tmp_path)
    assert np.array_equal(*(np.load(tmp_path / name / "features.npy") for name in ("features", "anew")))


def test_corrected_labels_reach_features_that_are_there(arrays, tmp_path, monkeypatch):
    place = tmp_path / "features"
    embed(arrays, Colors(), place, cache_dir=tmp_path)
    X, y = arrays["train"]
    corrected = arrays | {"train": (X, 1 - y)}
    # The images are the same, so that nothing is computed anew.
    before = (place / "features.npy").stat().st_mtime_ns
    assert embed(corrected, Colors(), place, cache_dir=tmp_path).was_there
    assert (place / "features.npy").stat().st_mtime_ns == before
    assert np.array_equal(load_dataset(place, random_state=0).labels, load_dataset(corrected, random_state=0).labels)
    named = arrays | {"train": (X, np.array(["b", "c"])[y]), "test": (arrays["test"][0], None)}
    embed(named, Colors(), place, cache_dir=tmp_path)
    assert load_dataset(place).class_names == ("b", "c")


def test_other_arrays_have_other_features_in_the_cache(arrays, tmp_path):
    backbone = load_backbone(Colors())
    X, y = arrays["train"]
    first, _ = make_features((X, y), backbone, None, cache_dir=tmp_path)
    before = load_dataset(first).labeled[:].copy()
    second, _ = make_features((255 - X, y), backbone, None, cache_dir=tmp_path)
    assert first != second
    assert np.array_equal(load_dataset(first).labeled[:], before)
    assert make_features((X.copy(), y), backbone, None, cache_dir=tmp_path)[0] == first


def test_features_are_replaced_beneath_a_reader_that_keeps_what_it_had(arrays, tmp_path):
    embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path)
    reader = load_dataset(tmp_path / "features").test
    before = reader[:].copy()
    embed(arrays, Colors(seed=1), tmp_path / "features", overwrite=True, cache_dir=tmp_path)
    assert np.array_equal(reader[:], before)
    assert not np.array_equal(load_dataset(tmp_path / "features").test[:], before)


def test_one_process_at_a_time_writes_features_to_a_folder(arrays, tmp_path):
    with FolderLock(tmp_path / "features"), pytest.raises(InputError, match=r"features is in use by process \d+; wait"):
        embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path)
    # What a process that was killed leaves of its lock.
    (tmp_path / "features" / LOCK_NAME).write_text("1\n")
    embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path)
    assert not (tmp_path / "features" / LOCK_NAME).exists()
    # Nothing is written where all is there.
    with FolderLock(tmp_path / "features"):
        assert embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path).was_there


def test_a_process_that_is_killed_as_it_begins_leaves_a_folder_to_go_on_in(arrays, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(feature_files, "new_mapped_array", killed)
        with pytest.raises(KeyboardInterrupt):
            embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path)
    embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path)
    (tmp_path / "features" / "features.npy").unlink()
    embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path)
    assert len(load_dataset(tmp_path / "features").test) == 8


def test_a_damaged_folder_is_told(arrays, tmp_path):
    embed(arrays, Colors(), tmp_path / "features", cache_dir=tmp_path)
    (tmp_path / "features" / "features.npy").write_bytes(b"junk")
    with pytest.raises(InputError, match="damaged"):
        load_dataset(tmp_path / "features")


def test_the_first_view_is_the_image_and_the_others_repeat(color_images):
    X, _ = color_images
    backbone = load_backbone(Colors())
    several = features_of(backbone, X, CPU, views=3, seed=4)
    assert np.allclose(several[:, :12], features_of(backbone, X, CPU))
    assert not np.allclose(several[:, 12:24], several[:, :12])
    assert np.array_equal(several, features_of(backbone, X, CPU, views=3, seed=4))
    later = np.concatenate(list(feature_chunks(backbone, X, CPU, first=0, views=3, seed=4)))
    assert np.array_equal(several, later)


def test_features_that_are_not_finite_are_refused(color_images):
    net = Colors()
    with torch.no_grad():
        net.blocks[0][0].weight.fill_(float("nan"))
    with pytest.raises(InputError, match="NaN or infinity"):
        features_of(load_backbone(net), color_images[0], CPU)


@pytest.mark.parametrize("name", ["linear-probe", "ensemble-labels", "self-training", "fix-match", "kmeans-features"])
def test_a_frozen_net_is_the_same_as_its_features(name, color_images, tmp_path):
    X, y = color_images
    backbone = load_backbone(Colors())
    features = features_of(backbone, X, CPU)
    settings = {"steps": 5, "random_state": 0}
    if name == "kmeans-features":
        settings |= {"centroids": 8, "patches": 100}
    whole = make_method(name, net=Colors(), **settings).fit(X[:20], y[:20], unlabeled=X[20:])
    apart = make_method(name, **settings)
    apart.fit(FeatureRows(features, np.arange(20)), y[:20], unlabeled=FeatureRows(features, np.arange(20, 40)))
    assert np.allclose(whole.predict_proba(X), apart.predict_proba(FeatureRows(features)), atol=1e-5)
    assert torch.equal(whole.backbone_.body.blocks[0][0].weight, Colors().blocks[0][0].weight)
    assert whole.sample_shape_ == (16, 16, 3)
    assert whole.backbone_facts_.trained_on == "ImageNet"


def test_several_stored_views_are_learned_from_and_the_plain_one_predicts(color_images):
    X, y = color_images
    method = make_method("supervised", net=Colors(), feature_views=3, view="weak", steps=30, random_state=0)
    method.fit(X, y)
    one = make_method("supervised", net=Colors(), view="weak", steps=30, random_state=0).fit(X, y)
    assert method.network_.mean.shape == one.network_.mean.shape == (12,)
    assert not torch.equal(method.network_.head.weight, one.network_.head.weight)
    assert method.score(X, y) > 0.9


def test_views_that_are_neither_shifted_nor_mirrored_are_the_image(color_images):
    X, y = color_images
    settings = {"net": Colors(), "view": "weak", "steps": 5, "flip": False, "shift": 0.0, "random_state": 0}
    one, three = (make_method("supervised", feature_views=views, **settings).fit(X, y) for views in (1, 3))
    assert torch.allclose(one.network_.head.weight, three.network_.head.weight, atol=1e-5)
    shifted = make_method("supervised", feature_views=3, **settings | {"shift": 0.25}).fit(X, y)
    assert not torch.allclose(shifted.network_.head.weight, three.network_.head.weight, atol=1e-3)


def test_training_on_moves_the_net_slowly_from_where_it_was(color_images):
    X, y = color_images
    method = make_method("supervised", net=Colors(), freeze=False, steps=4, random_state=0).fit(X, y)
    assert method.settings_["optimizer"] == "adam"
    before = Colors().blocks[0][0].weight
    after = method.network_.encoder.body.blocks[0][0].weight
    moved = (after - before).abs().max()
    assert 0 < moved < 4 * 1e-3 * 0.1 * 0.75 * 1.05, "four steps of Adam at the rate of the first of two blocks"


def test_a_net_none_of_whose_parameters_is_to_be_trained_is_told_of(color_images):
    X, y = color_images
    net = Colors().requires_grad_(False)
    with pytest.warns(TrainingWarning, match="trains the head alone"):
        method = make_method("noisy-student", net=net, freeze=False, steps=3, random_state=0).fit(X, y)
    assert sum("trains the head alone" in note for note in method.notes_) == 1
    net.blocks[1].requires_grad_(True)
    method = make_method("supervised", net=net, freeze=False, steps=3, random_state=0).fit(X, y)
    assert not method.notes_, "a part may be kept as it is"


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_net_of_torchscript_is_refused_where_it_is_to_be_trained_further(color_images):
    X, y = color_images
    net = torch.jit.trace(Colors().eval(), torch.zeros(1, 3, 16, 16))
    with pytest.raises(InputError, match="TorchScript cannot be trained further; give the torch"):
        make_method("supervised", net=net, freeze=False, steps=3, random_state=0).fit(X, y)
    assert make_method("supervised", net=net, steps=3, random_state=0).fit(X, y).predict(X).shape == y.shape


@pytest.mark.parametrize("settings", [{}, {"freeze": False}])
def test_a_model_with_a_net_from_a_folder_needs_the_folder_no_more(settings, color_images, tmp_path):
    X, y = color_images
    net = tiny_dinov2(tmp_path / "dino")
    method = make_method("supervised", net=net, steps=3, random_state=0, **settings).fit(X, y)
    method.save(tmp_path / "model")
    (tmp_path / "dino").rename(tmp_path / "gone")
    loaded = fewlabels.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(X), method.predict_proba(X))
    assert loaded.get_params()["net"] == net
    # The net named beside, from wherever it is now, reads images as it did.
    named = fewlabels.load(tmp_path / "model", net=f"hf:{tmp_path / 'gone'}")
    assert np.allclose(named.predict_proba(X), method.predict_proba(X), atol=1e-6)
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"**Pretrained net**: {net}" in card
    assert "**It was trained on**: unknown images" in card


@pytest.mark.parametrize("settings", [{}, {"freeze": False}])
def test_a_model_with_a_module_is_loaded_with_the_module(settings, color_images, tmp_path):
    X, y = color_images
    method = make_method("supervised", net=Colors(), steps=3, random_state=0, **settings).fit(X, y)
    method.save(tmp_path / "model")
    with pytest.raises(InputError, match="Module of your own"):
        fewlabels.load(tmp_path / "model")
    loaded = fewlabels.load(tmp_path / "model", net=Colors())
    assert np.allclose(loaded.predict_proba(X), method.predict_proba(X), atol=1e-6)
    if not settings:
        with pytest.raises(InputError, match="not those"):
            fewlabels.load(tmp_path / "model", net=Colors(seed=3))
    again = clone(loaded).fit(X, y)
    assert again.backbone_facts_.weights == method.backbone_facts_.weights
    assert clone(method).fit(X, y).score(X, y) == again.score(X, y)


def test_a_model_gives_a_module_the_images_as_it_had_them_when_it_learned(color_images, tmp_path):
    X, y = color_images
    method = make_method("supervised", net=Colors(), steps=3, random_state=0).fit(X, y)
    method.save(tmp_path / "model")

    # Without the attributes, of which the model knows.
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = Colors().blocks

        def forward(self, images):
            return self.blocks(images)

    net = Bare()
    loaded = fewlabels.load(tmp_path / "model", net=net)
    assert np.allclose(loaded.predict_proba(X), method.predict_proba(X), atol=1e-6)
    Bare.forward = lambda self, images: self.blocks(images).mean((2, 3))
    with pytest.raises(InputError, match="the outputs of module are not those"):
        fewlabels.load(tmp_path / "model", net=net)


def test_a_model_of_features_classifies_images_with_the_net_that_made_them(color_images, arrays, tmp_path):
    net = tiny_dinov2(tmp_path / "dino")
    data = load_dataset(embed(arrays, net, tmp_path / "features", cache_dir=tmp_path).folder)
    method = make_method("linear-probe").fit(data.labeled, data.labels, unlabeled=data.pool)
    method.save(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").stat().st_size < 20_000, "the net's weights are not copied"
    loaded = fewlabels.load(tmp_path / "model")
    images = load_dataset(arrays, image_size=28).test
    assert np.allclose(loaded.predict_proba(images), method.predict_proba(data.test), atol=1e-4)
    tiny_dinov2(tmp_path / "dino", seed=1)
    with pytest.raises(InputError, match="not those"):
        fewlabels.load(tmp_path / "model").predict(images)


def test_another_net_than_that_which_made_the_features_is_refused(arrays, tmp_path):
    net, other = tiny_dinov2(tmp_path / "dino"), tiny_dinov2(tmp_path / "other", seed=1)
    folder = embed(arrays, net, tmp_path / "features", cache_dir=tmp_path).folder
    assert own_size(folder, other) is None, "features have no size in pixels"
    data = load_dataset(folder)
    make_method("linear-probe", net=net).fit(data.labeled, data.labels)
    with pytest.raises(InputError, match=r"these are features of hf:.*dino; leave net='hf:.*other' away"):
        make_method("linear-probe", net=other).fit(data.labeled, data.labels)


def test_the_net_that_made_the_features_may_be_named_with_them(arrays, tmp_path):
    net = tiny_dinov2(tmp_path / "dino")
    data = load_dataset(embed(arrays, net, tmp_path / "features", cache_dir=tmp_path).folder)
    named, left = (
        make_method("supervised", **named, steps=3, random_state=0).fit(data.labeled, data.labels)
        for named in ({"net": net}, {})
    )
    assert np.array_equal(named.predict_proba(data.test), left.predict_proba(data.test))
    assert named.settings_["net"] == net
    loaded = fewlabels.load(named.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict_proba(data.test), named.predict_proba(data.test))
    images = load_dataset(arrays, image_size=28).test
    assert np.allclose(loaded.predict_proba(images), named.predict_proba(data.test), atol=1e-4)


def test_a_net_in_a_folder_is_found_from_wherever_the_model_is_used(arrays, tmp_path, monkeypatch):
    tiny_dinov2(tmp_path / "nets" / "dino")
    monkeypatch.chdir(tmp_path)
    written = embed(arrays, "hf:nets/dino", tmp_path / "features", cache_dir=tmp_path)
    assert written.backbone.net == f"hf:{tmp_path / 'nets' / 'dino'}"
    data, images = load_dataset(written.folder), load_dataset(arrays, image_size=28).test
    method = make_method("supervised", net="hf:nets/dino", steps=3, random_state=0).fit(data.labeled, data.labels)
    expected = method.predict_proba(images)
    method.save(tmp_path / "model")
    # As an earlier version has written it.
    description = tmp_path / "features" / "features.json"
    description.write_text(description.read_text().replace(written.backbone.net, "hf:nets/dino"))
    before = load_dataset(written.folder)
    assert before.labeled.backbone["net"] == "hf:nets/dino"
    for net in ("hf:nets/dino", written.backbone.net):
        make_method("supervised", net=net, steps=1).fit(before.labeled, before.labels)
    assert embed(arrays, "hf:nets/dino", written.folder, cache_dir=tmp_path).was_there
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert np.array_equal(fewlabels.load(tmp_path / "model").predict_proba(images), expected)
    (tmp_path / "nets").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"the backbone was in the folder '.*nets/dino', which is not there; give it"):
        fewlabels.load(tmp_path / "model").predict_proba(images)
    moved = fewlabels.load(tmp_path / "model", net="hf:../moved/dino")
    assert np.array_equal(moved.predict_proba(images), expected)


def test_features_of_another_net_of_the_same_length_are_refused(arrays, tmp_path):
    net, other = tiny_dinov2(tmp_path / "dino"), tiny_dinov2(tmp_path / "other", seed=1)
    data, another = (
        load_dataset(embed(arrays, of, tmp_path / f"features-{number}", cache_dir=tmp_path).folder)
        for number, of in enumerate((net, other))
    )
    method = make_method("linear-probe")
    for what, more in (
        ("unlabeled", {"unlabeled": another.pool}),
        ("validation", {"validation": (another.test, another.test_labels)}),
    ):
        with pytest.raises(InputError, match=f"{what} has features of hf:.*other; expected those of hf:.*dino, as in"):
            method.fit(data.labeled, data.labels, **more)
    method.fit(data.labeled, data.labels, unlabeled=data.pool, validation=(data.test, data.test_labels))
    for fitted in (method, fewlabels.load(method.save(tmp_path / "model"))):
        with pytest.raises(InputError, match=r"X has features of hf:.*other; expected those of hf:.*dino, as in"):
            fitted.predict(another.test)
        for known in (None, another.test.backbone | {"weights": ""}):
            unknown = FeatureRows(another.test[:], backbone=known)
            assert len(fitted.predict(unknown)) == len(unknown), "of what weights they are is not known"
    tiny_dinov2(tmp_path / "dino", seed=2)
    changed = load_dataset(embed(arrays, net, tmp_path / "changed", cache_dir=tmp_path).folder)
    with pytest.raises(InputError, match=r"expected those of hf:.*dino as it was, as in training"):
        method.predict(changed.test)


@pytest.mark.parametrize("settings", [{}, {"freeze": False}])
@pytest.mark.parametrize("needs_values", [False, True])
def test_a_model_needs_the_folder_of_its_timm_net_no_more(color_images, tmp_path, monkeypatch, settings, needs_values):
    stub_timm(monkeypatch, needs_values=needs_values)
    net = tiny_timm(tmp_path / "plants")
    X, y = color_images
    method = make_method("supervised", net=net, steps=3, random_state=0, **settings).fit(X, y)
    method.save(tmp_path / "model")
    (tmp_path / "plants").rename(tmp_path / "elsewhere")
    assert np.array_equal(fewlabels.load(tmp_path / "model").predict_proba(X), method.predict_proba(X))


def test_nets_that_draw_weights_as_they_are_built_leave_the_caller_s_generator_alone(
    arrays, color_images, tmp_path, monkeypatch
):
    stub_timm(monkeypatch)
    net = tiny_timm(tmp_path / "plants")
    X, y = color_images
    before = torch.get_rng_state()
    embed(arrays, net, tmp_path / "features", cache_dir=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    make_method("supervised", net=net, steps=1, random_state=0).fit(X, y).save(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)
    fewlabels.load(tmp_path / "model", net=net)
    assert torch.equal(torch.get_rng_state(), before)
    data = load_dataset(tmp_path / "features", labels_per_class=3)
    make_method("supervised", steps=1, random_state=0).fit(data.labeled, data.labels).predict(X)
    assert torch.equal(torch.get_rng_state(), before)
    options = {"net": net, "steps": 1, "out": tmp_path / "run", "cache_dir": tmp_path, "labels_per_class": 3}
    fewlabels.evaluation.compare(arrays, methods="supervised", **options)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_timm_net_that_only_its_folder_describes_is_asked_for(color_images, tmp_path, monkeypatch):
    """As models of before have it."""
    stub_timm(monkeypatch)
    net = tiny_timm(tmp_path / "plants")
    X, y = color_images
    method = make_method("supervised", net=net, steps=3, random_state=0).fit(X, y)
    before = {"kind": "timm", "name": net.removeprefix("timm:")}
    method.backbone_facts_ = replace(method.backbone_facts_, architecture=before)
    method.save(tmp_path / "model")
    fewlabels.load(tmp_path / "model")
    (tmp_path / "plants").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"description is not there .*; give it from where it is now as net"):
        fewlabels.load(tmp_path / "model")
    given = fewlabels.load(tmp_path / "model", net=f"timm:local-dir:{tmp_path / 'elsewhere'}")
    assert np.array_equal(given.predict_proba(X), method.predict_proba(X))


def test_images_are_read_at_the_size_that_features_were_made_at(photos, tmp_path):
    net = tiny_dinov2(tmp_path / "dino")
    data = load_dataset(embed(photos, net, tmp_path / "features", image_size=20, cache_dir=tmp_path).folder)
    method = make_method("linear-probe").fit(data.labeled, data.labels, unlabeled=data.pool)
    method.save(tmp_path / "model")
    loaded = fewlabels.load(tmp_path / "model")
    # The net reads 28 px, to which it resizes them then as it did before.
    assert loaded.image_shape_ == (20, 20, 3)
    size = size_to_read(loaded, str(photos))
    assert size == 20
    images = load_dataset(photos, image_size=size, cache_dir=tmp_path).test
    assert np.allclose(loaded.predict_proba(images), method.predict_proba(data.test), atol=1e-4)


def test_what_scikit_learn_cuts_of_features_is_learned_from_as_they_are(color_images, tmp_path):
    data = load_dataset(embed(color_images, Colors(), tmp_path / "features", views=4, cache_dir=tmp_path).folder)
    method = make_method("self-training", steps=3, random_state=0)
    scores = cross_val_score(
        method, data.labeled, data.labels, cv=2, params={"unlabeled": data.test}, error_score="raise"
    )
    assert len(scores) == 2
    X, other, y, truth = train_test_split(data.labeled, data.labels, random_state=0)
    search = GridSearchCV(method, {"label_smoothing": [0.0, 0.1]}, cv=2, error_score="raise").fit(X, y)
    for found in (search.best_estimator_, method.fit(data.labeled[:-4], data.labels[:-4])):
        assert (found.features_net_, found.sample_shape_) == ("linear", (12,))
        assert found.backbone_facts_.to_dict() == data.backbone
        assert 0 <= found.score(other, truth) <= 1


def test_a_pool_has_as_many_views_as_the_labeled_samples(color_images):
    X, y = color_images
    features = features_of(load_backbone(Colors()), X, CPU, views=4)
    labeled = FeatureRows(features[:20], views=4)
    method = make_method("uda", steps=2, random_state=0)
    for pool in (FeatureRows(features[20:, :12].copy()), features[20:, :12]):
        with pytest.raises(InputError, match="features of length 12 of 1 views of each image; expected 12 of 4"):
            method.fit(labeled, y[:20], unlabeled=pool)
    # What is measured on are the images as they are.
    method.fit(labeled, y[:20], validation=(features[20:, :12], y[20:]))
    assert method.n_validation_ == 20


def test_features_of_another_length_are_refused(color_images):
    X, y = color_images
    features = features_of(load_backbone(Colors()), X, CPU)
    method = make_method("linear-probe").fit(FeatureRows(features), y)
    with pytest.raises(InputError, match="expected 12"):
        method.predict(FeatureRows(features[:, :5].copy()))


def test_a_leak_is_noted_in_the_card(color_images, tmp_path):
    X, y = color_images
    method = make_method("linear-probe", net=Colors()).fit(X, y)
    data = load_dataset((X, y))
    object.__setattr__(data, "name", "stl10")
    assert "has seen them" in warn_of_leak(method, data)
    method.save(tmp_path / "model")
    assert "**Warning**: the backbone was trained on ImageNet" in (tmp_path / "model" / "README.md").read_text()
    loaded = fewlabels.load(tmp_path / "model", net=Colors())
    assert any("has seen them" in sentence for sentence in findings(loaded))


def test_a_net_that_is_named_after_the_images_is_told_of(photos, tmp_path):
    written = embed(photos, tiny_dinov2(tmp_path / "dinov2-photos"), tmp_path / "features", cache_dir=tmp_path)
    data = load_dataset(written.folder)
    method = make_method("linear-probe").fit(data.labeled, data.labels)
    for warning in (written.warning, warn_of_leak(method, data)):
        assert warning.startswith("the name of the backbone, dinov2-photos, tells of photos")
