import json
import pickle

import numpy as np
import pytest

import fewlabels
from fewlabels import METHODS, InputError, make_method


@pytest.fixture
def saved(few_labels, tmp_path):
    X, y, *_ = few_labels
    method = make_method("supervised", steps=2, random_state=0).fit(X, y)
    return method.save(tmp_path / "model")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["images", "vectors"])
def test_a_loaded_model_predicts_bit_for_bit_as_the_saved_one(name, kind, few_labels, tmp_path):
    X, y, test, _ = few_labels
    if kind == "vectors":
        X, test = X.reshape(len(X), -1), test.reshape(len(test), -1)
    method = make_method(name, steps=3, random_state=0).fit(X, np.where(y < 0, None, y.astype(str)))
    method.save(tmp_path / "model")
    loaded = fewlabels.load(tmp_path / "model")
    assert type(loaded) is METHODS[name]
    assert np.array_equal(loaded.predict_proba(test), method.predict_proba(test))
    assert np.array_equal(loaded.predict(test), method.predict(test))
    assert np.array_equal(loaded.transform(test), method.transform(test))
    if hasattr(method, "reconstruct"):
        assert np.array_equal(loaded.reconstruct(test), method.reconstruct(test))


def test_the_folder_holds_weights_description_and_card(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = (saved / "README.md").read_text()
    assert "held-out labeled samples" in card
    assert "0, 1, 2, 3" in card


def test_nothing_in_a_model_folder_is_executed(saved, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    (saved / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="is damaged"):
        fewlabels.load(saved)
    assert not (tmp_path / "owned").exists()


def turn_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(bytes(content))


def edit(saved, change):
    config = json.loads((saved / "config.json").read_text())
    change(config)
    (saved / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "not a fewlabels model's description"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\0" * 99), "is damaged"),
        (lambda f: edit(f, lambda c: c.update(format_version=99)), "written by a newer fewlabels"),
        (lambda f: edit(f, lambda c: c.update(method="magic")), "unknown method"),
        (lambda f: edit(f, lambda c: c.update(classes=[1, 2])), "does not fit its description"),
        (lambda f: edit(f, lambda c: c.pop("sample_shape")), "is damaged"),
        (lambda f: turn_a_bit(f / "model.safetensors"), "is not what was saved"),
        (lambda f: edit(f, lambda c: c.update(sample_shape=[10**6, 10**6, 3])), r"is damaged|does not fit"),
        (lambda f: edit(f, lambda c: c.update(classes_dtype="<U99999999")), "do not fit their names"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "not a fewlabels model's description"),
    ],
)
def test_a_folder_that_cannot_be_loaded_says_why(saved, spoil, message):
    spoil(saved)
    with pytest.raises(InputError, match=message):
        fewlabels.load(saved)


def test_a_folder_with_other_files_is_not_overwritten(few_labels, tmp_path):
    X, y, *_ = few_labels
    method = make_method("supervised", steps=1).fit(X, y)
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match="holds other files"):
        method.save(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep me"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_saving_again_replaces_the_model(saved, few_labels):
    X, y, test, _ = few_labels
    other = make_method("supervised", steps=3, random_state=1).fit(X, y)
    other.save(saved)
    assert np.array_equal(fewlabels.load(saved).predict_proba(test), other.predict_proba(test))


def test_a_missing_folder_says_so(tmp_path):
    with pytest.raises(InputError, match="there is no model folder"):
        fewlabels.load(tmp_path / "none")
