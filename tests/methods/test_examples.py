"""What a model keeps of what it learned from."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

import fewlabels
from fewlabels import InputError, Supervised, load_dataset
from fewlabels.methods import examples
from fewlabels.methods.examples import remember
from fewlabels.methods.origin import load_source


@pytest.fixture
def saved(tmp_path):
    data = load_dataset("digits", labels_per_class=3, random_state=2)
    method = Supervised(steps=3, random_state=0).fit(data.labeled, data.labels, unlabeled=data.pool)
    remember(method, data)
    method.save(tmp_path / "model", class_names=list(data.class_names))
    return tmp_path / "model", method, data


def test_examples_come_back_as_the_images_labels_and_features_they_were(saved):
    folder, method, data = saved
    kept = fewlabels.load(folder).examples_
    assert np.array_equal(kept.samples, data.labeled[:])
    assert kept.samples.dtype == np.uint8
    assert np.array_equal(kept.labels, data.labels)
    assert np.array_equal(kept.embeddings, method.transform(data.labeled).astype(np.float32))
    assert np.flatnonzero(kept.held_out).tolist() == method.validation_rows_.tolist()


def test_the_source_gives_the_same_data_again(saved):
    folder, _, data = saved
    assert load_source(fewlabels.load(folder)).fingerprint == data.fingerprint


@pytest.fixture
def project(tmp_path, color_images):
    """Return a folder with images, a labels file, and a model of both."""
    images, labels = color_images
    (tmp_path / "project" / "photos").mkdir(parents=True)
    lines = ["file,class"]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(tmp_path / "project" / "photos" / f"{number}.png")
        lines += [f"{number}.png,{'blue' if label else 'red'}"] if number % 4 < 2 else []
    (tmp_path / "project" / "labels.csv").write_text("\n".join(lines) + "\n")
    data = load_dataset(tmp_path / "project" / "photos", labels=tmp_path / "project" / "labels.csv")
    method = Supervised(steps=2, random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    method.save(tmp_path / "project" / "models" / "first")
    return tmp_path / "project", data


def test_a_remembered_pool_that_cannot_be_reached_is_said_to_be_without_its_signature(saved):
    method = fewlabels.load(saved[0])
    method.source_ = {**method.source_, "pool": "http://127.0.0.1:9/pool.tar"}
    with pytest.raises(fewlabels.InputError, match=r"pool\.tar cannot be read: .*whole address again"):
        load_source(method)


def test_a_project_that_is_moved_whole_finds_its_source_and_labels_again(project, tmp_path):
    folder, data = project
    moved = folder.rename(tmp_path / "moved")
    method = fewlabels.load(moved / "models" / "first")
    assert method.source_["source"] == str(moved / "photos")
    assert method.source_["labels"] == str(moved / "labels.csv")
    assert load_source(method).fingerprint == data.fingerprint


def test_a_source_that_is_where_it_was_is_not_looked_for_elsewhere(project, tmp_path):
    folder, _ = project
    shutil.copytree(folder, tmp_path / "copy")
    method = fewlabels.load(tmp_path / "copy" / "models" / "first")
    assert method.source_["source"] == str(folder / "photos")
    # Alone, a model says what it was fitted on.
    (folder / "models" / "first").rename(tmp_path / "alone")
    shutil.rmtree(folder)
    assert fewlabels.load(tmp_path / "alone").source_["source"] == str(folder / "photos")


def test_validation_images_of_the_source_are_kept_as_held_out(color_images):
    images, labels = color_images
    data = load_dataset({"train": (images[:20], labels[:20]), "validation": (images[20:], labels[20:])})
    method = Supervised(steps=2, random_state=0)
    method.fit(data.labeled, data.labels, validation=(data.validation, data.validation_labels))
    remember(method, data)
    kept = method.examples_
    assert kept.held_out.sum() == 20
    assert np.array_equal(kept.samples[kept.held_out], images[20:])
    assert not hasattr(method, "source_")  # arrays cannot be read again


@pytest.mark.parametrize("by_name", [False, True])
def test_classes_keep_their_names_and_examples_their_classes(by_name, color_images, tmp_path):
    images, labels = color_images
    names = np.array(["red", "blue"])[labels]
    data = load_dataset({"train": (images[:20], names[:20]), "validation": (images[20:], names[20:])})
    method = Supervised(steps=2, random_state=0)
    called = np.array(data.class_names)[data.labels] if by_name else data.labels
    method.fit(data.labeled, called)
    remember(method, data)
    loaded = fewlabels.load(method.save(tmp_path / "model"))
    assert list(getattr(loaded, "class_names_", loaded.classes_)) == ["blue", "red"]
    given = [*data.labels, *data.validation_labels]
    assert loaded.examples_.labels.tolist() == given
    assert len(set(given)) == 2


@pytest.mark.parametrize("shown", [lambda labels: labels + 1, lambda labels: np.array(["cat", "dog"])[labels]])
def test_examples_of_classes_that_a_method_does_not_have_are_refused(shown, color_images):
    images, labels = color_images
    method = Supervised(steps=2, random_state=0).fit(images, shown(labels))
    with pytest.raises(InputError, match="the class '0' of arrays is none of the method's"):
        remember(method, load_dataset((images, labels)))


def test_of_many_equally_many_of_each_class_are_kept(monkeypatch):
    monkeypatch.setattr(examples, "MOST", 25)
    data = load_dataset("digits", labels_per_class=20)
    method = Supervised(steps=1, random_state=0, validation_fraction=0).fit(data.labeled, data.labels)
    remember(method, data)
    counts = np.bincount(method.examples_.labels)
    assert counts.sum() == 25
    assert set(counts) == {2, 3}
    monkeypatch.setattr(examples, "MOST_BYTES", 64 * 7)
    remember(method, data)
    assert len(method.examples_) == 7


def test_images_that_a_model_learned_from_are_known_beyond_those_that_it_keeps(monkeypatch, tmp_path):
    monkeypatch.setattr(examples, "MOST", 25)
    data = load_dataset("digits", labels_per_class=20)
    method = Supervised(steps=1, random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    loaded = fewlabels.load(method.save(tmp_path / "model"))
    for one in (method, loaded):
        assert len(one.examples_) == 25
        assert examples.seen_images(one, data.labeled) == 200
        assert examples.seen_images(one, data.test) == 0


def test_other_weights_see_the_examples_in_their_own_way(tmp_path):
    data = load_dataset("digits", labels_per_class=3)
    method = Supervised(steps=12, random_state=0, ema_decay=0.9).fit(data.labeled, data.labels)
    remember(method, data)
    other = method.with_weights("average")
    assert np.array_equal(other.examples_.embeddings, other.transform(data.labeled).astype(np.float32))
    assert np.array_equal(method.examples_.embeddings, method.transform(data.labeled).astype(np.float32))
    method.save(tmp_path / "model")
    loaded = fewlabels.load(tmp_path / "model", weights="average")
    assert np.array_equal(loaded.examples_.embeddings, other.examples_.embeddings)


def test_a_new_fit_forgets_what_the_old_one_learned_from(saved, few_labels):
    _, method, _ = saved
    X, y, *_ = few_labels
    method.fit(X, y)
    assert not hasattr(method, "examples_")
    assert not hasattr(method, "source_")


def test_a_saved_model_without_examples_has_none(few_labels, tmp_path):
    X, y, *_ = few_labels
    Supervised(steps=1, random_state=0).fit(X, y).save(tmp_path / "model")
    assert not (tmp_path / "model" / "examples.safetensors").exists()
    assert not hasattr(fewlabels.load(tmp_path / "model"), "examples_")


def change(folder, **tensors):
    path = folder / "examples.safetensors"
    save_file({**load_file(path), **tensors}, path)
    import hashlib

    config = json.loads((folder / "config.json").read_text())
    config["examples_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "examples.safetensors").write_bytes(b"\xff" * 50), "is damaged"),
        (lambda f: save_file({"labels": np.zeros(3, np.int64)}, f / "examples.safetensors"), "does not fit"),
        (lambda f: change(f, samples=np.zeros((30, 9, 8, 1), np.uint8)), "does not fit"),
        (lambda f: change(f, samples=np.zeros((30, 8, 8, 1), np.float32)), "does not fit"),
        (lambda f: change(f, labels=np.full(30, 10)), "labels are not from 0 to 9"),
        (lambda f: change(f, more=np.zeros(1, np.uint8)), "does not fit"),
        (
            lambda f: (f / "examples.safetensors").write_bytes(
                (f / "examples.safetensors").read_bytes()[:-1] + b"\x07"
            ),
            "is not what was saved",
        ),
    ],
)
def test_damaged_examples_are_told(saved, spoil, message):
    folder, *_ = saved
    spoil(folder)
    with pytest.raises(InputError, match=message):
        fewlabels.load(folder)


def test_a_frozen_pretrained_net_sees_each_image_once(color_images):
    images, labels = color_images
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU())
    method = fewlabels.LinearProbe(net=net, random_state=0).fit(images, labels)
    calls = []
    method.backbone_.body.register_forward_hook(lambda *_: calls.append(1))
    probabilities, embeddings = examples.probabilities_and_embeddings(method, images)
    assert len(calls) == 1
    assert np.allclose(probabilities, method.predict_proba(images))
    assert np.allclose(embeddings, method.transform(images))
