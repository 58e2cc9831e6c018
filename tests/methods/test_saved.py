import json
import os
import pickle
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
import pytest
from sklearn.base import clone

import fewlabels
from fewlabels import METHODS, InputError, Supervised, make_method
from fewlabels.methods.card import measurement
from fewlabels.methods.examples import remember
from fewlabels.methods.saved import EXAMPLES, add_measurement
from fewlabels.storage.model_folder import model_files
from small_backbones import tiny_dinov2


@pytest.fixture
def saved(few_labels, tmp_path):
    X, y, *_ = few_labels
    method = make_method("supervised", steps=2, random_state=0).fit(X, y)
    return method.save(tmp_path / "model")


def test_what_a_process_left_that_was_killed_while_saving_goes_with_time(few_labels, tmp_path):
    X, y, *_ = few_labels
    method = make_method("supervised", steps=1, random_state=0).fit(X, y)
    old, new, other = (tmp_path / f".{name}.abc.part" for name in ("m", "m.before", "mine"))
    for folder in (old, new, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (0, 0))
    method.save(tmp_path / "m")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".m.before.abc.part", ".mine.abc.part", "m"]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["images", "vectors"])
@pytest.mark.usefixtures("narrow_net")
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


def test_labels_from_an_array_with_room_for_longer_ones_are_loaded_again(few_labels, tmp_path):
    X, y, test, _ = few_labels
    method = make_method("supervised", steps=2, random_state=0).fit(X, np.where(y < 0, None, y.astype("U20")))
    expected = method.predict(test)
    assert np.array_equal(fewlabels.load(method.save(tmp_path / "model")).predict(test), expected)
    # As models were saved before.
    edit(tmp_path / "model", lambda config: config.update(classes_dtype="<U20"))
    assert np.array_equal(fewlabels.load(tmp_path / "model").predict(test), expected)


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
        (lambda f: edit(f, lambda c: c.update(classes=[1, 2])), "names 10 of 2 classes"),
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


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("supervised", {"net": "resnet-18"}),
        ("supervised", {"dropout": 0.5, "preset": "notebook"}),
        ("supervised", {"steps": -3}),
        ("kmeans-features", {"centroids": 50, "patch": 4}),
        ("net-and-patches", {"net_method": "uda", "centroids": 50}),
        ("auto", {"net": "resnet-18"}),
        ("joint-autoencoder", {"net": "resnet-18"}),
    ],
)
def test_what_is_set_after_a_fit_is_not_what_was_learned_by(name, changes, few_labels, tmp_path):
    X, y, test, _ = few_labels
    method = make_method(name, steps=3, random_state=0).fit(X, y)
    learned_by = method.get_params()
    expected = method.predict_proba(test)
    loaded = fewlabels.load(method.set_params(**changes).save(tmp_path / "model"))
    assert loaded.get_params() == learned_by
    assert np.array_equal(loaded.predict_proba(test), expected)
    # Nor is what is set on a model that was read.
    again = fewlabels.load(loaded.set_params(**changes).save(tmp_path / "again"))
    assert again.get_params() == learned_by


def test_a_missing_folder_says_so(tmp_path):
    with pytest.raises(InputError, match="there is no model folder"):
        fewlabels.load(tmp_path / "none")


def test_what_else_a_person_keeps_in_a_model_s_folder_stays_there(saved, few_labels):
    X, y, *_ = few_labels
    (saved / "classes.csv").write_text("mine")
    (saved / "photos").mkdir()
    (saved / "photos" / "cat.txt").write_text("also mine")
    card = (saved / "README.md").read_text() + "\nWritten by hand.\n"
    (saved / "README.md").write_text(card)
    make_method("supervised", steps=3, random_state=1).fit(X, y).save(saved)
    assert (saved / "classes.csv").read_text() == "mine"
    assert (saved / "photos" / "cat.txt").read_text() == "also mine"
    assert (saved / "README.md").read_text() == card
    assert fewlabels.load(saved).stage_steps_ == {"classifier": 3}


def test_a_folder_of_something_else_that_has_a_description_is_refused(saved, few_labels, tmp_path):
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "config.json").write_text('{"port": 1}')
    with pytest.raises(InputError, match="holds other files and no model"):
        fewlabels.load(saved).save(project)
    assert sorted(path.name for path in project.iterdir()) == ["config.json", "src"]


def test_a_link_to_a_model_stays_one(saved, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(saved)
    model = fewlabels.load(saved)
    before = (saved / "config.json").stat().st_ino
    model.save(link)
    assert link.is_symlink()
    assert (saved / "config.json").stat().st_ino != before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("where", ["parameters", "choice"])
@pytest.mark.parametrize("net", ["python:{}:make", "hf:somebody/net", "module"])
def test_no_net_that_a_description_names_is_run_or_fetched(where, net, few_labels, tmp_path):
    X, y, *_ = few_labels
    code = tmp_path / "code.py"
    code.write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\ndef make():\n    pass\n")
    net = net.format(code)
    saved = make_method("auto" if where == "choice" else "supervised", steps=2, random_state=0).fit(X, y)
    saved.save(tmp_path / "model")

    def ask(config):
        if where == "choice":
            config["records"]["choice_"]["settings"]["net"] = net
        else:
            config["parameters"]["net"] = net

    edit(tmp_path / "model", ask)
    with pytest.raises(InputError, match="to be run or fetched"):
        fewlabels.load(tmp_path / "model")
    assert not (tmp_path / "owned").exists()


def owning(tmp_path, name="code.py"):
    """Return a net of a person's own code, and the file that is there once the code has run."""
    (tmp_path / name).write_text(
        f"from pathlib import Path\nfrom small_backbones import Colors\n\n\ndef make():\n"
        f"    Path({str(tmp_path / 'owned')!r}).touch()\n    return Colors()\n"
    )
    return f"python:{tmp_path / name}:make", tmp_path / "owned"


@pytest.mark.parametrize("settings", [{}, {"freeze": False}])
def test_no_net_but_the_one_that_is_described_is_learned_from_anew(settings, color_images, tmp_path):
    X, y = color_images
    mine = tiny_dinov2(tmp_path / "dino")
    make_method("supervised", net=mine, steps=2, random_state=0, **settings).fit(X, y).save(tmp_path / "model")
    net, owned = owning(tmp_path)
    for other in (net, "hf:somebody/net", "timm:dino"):
        edit(tmp_path / "model", lambda config, other=other: config["parameters"].update(net=other))
        with pytest.raises(InputError, match="to be run or fetched, and does not describe it"):
            fewlabels.load(tmp_path / "model")
    # A description that lies throughout is one of code of a person's own, which is not run unasked.
    edit(tmp_path / "model", lambda config: (config["parameters"].update(net=net), config["backbone"].update(net=net)))
    with pytest.raises(InputError, match=r"your own code \(python:.*give it as net"):
        fewlabels.load(tmp_path / "model")
    assert not owned.exists()
    # As it was typed elsewhere, and as the Hub has it.
    for typed, whole in (("hf:nets/dino", mine), ("hf:.", mine), ("hf:nets/dino/", "hf:./dino"), ("module", mine)):
        edit(
            tmp_path / "model",
            lambda c, typed=typed, whole=whole: (c["parameters"].update(net=typed), c["backbone"].update(net=whole)),
        )
        assert fewlabels.load(tmp_path / "model").predict(X).shape == y.shape


@pytest.mark.parametrize("settings", [{}, {"freeze": False}])
def test_code_of_a_person_s_own_is_run_where_it_is_given_and_nowhere_else(settings, color_images, tmp_path):
    X, y = color_images
    net, owned = owning(tmp_path)
    method = make_method("supervised", net=net, steps=2, random_state=0, **settings).fit(X, y)
    method.save(tmp_path / "model")
    owned.unlink()
    with pytest.raises(InputError, match=r"your own code \(python:.*give it as net"):
        fewlabels.load(tmp_path / "model")
    assert not owned.exists()
    loaded = fewlabels.load(tmp_path / "model", net=net)
    assert np.allclose(loaded.predict_proba(X), method.predict_proba(X), atol=1e-6)
    assert clone(loaded).fit(X, y).score(X, y) == method.score(X, y)


def test_names_stay_where_a_loaded_model_is_saved_again(saved, few_labels, tmp_path):
    loaded = fewlabels.load(saved)
    assert not hasattr(loaded, "class_names_"), "it was saved without names"
    names = list("abcdefghij")
    named = fewlabels.load(loaded.save(tmp_path / "named", class_names=names))
    assert fewlabels.load(named.save(tmp_path / "again")).class_names_ == names


def test_there_is_a_name_for_each_class(saved, tmp_path):
    with pytest.raises(InputError, match="2 class names are given for 10 classes"):
        fewlabels.load(saved).save(tmp_path / "other", class_names=["a", "b"])
    edit(saved, lambda config: config.update(class_names=["a", "b"]))
    with pytest.raises(InputError, match="names 2 of 10 classes"):
        fewlabels.load(saved)


class OwnSupervised(Supervised):
    """A method that is in no list."""


def test_a_method_of_one_s_own_is_saved_where_it_is_known(few_labels, tmp_path, monkeypatch):
    X, y, test, _ = few_labels
    method = OwnSupervised(steps=1, random_state=0).fit(X, y)
    with pytest.raises(InputError, match=r"make it known by fewlabels.METHODS\['own-supervised'\] = OwnSupervised"):
        method.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(METHODS, "own-supervised", OwnSupervised)
    loaded = fewlabels.load(method.save(tmp_path / "model"))
    assert type(loaded) is OwnSupervised
    assert np.array_equal(loaded.predict_proba(test), method.predict_proba(test))


@dataclass(kw_only=True, eq=False, repr=False)
class Layered(Supervised):
    """A method with settings that JSON has no form of."""

    sizes: tuple[int, ...] = (8, 16)
    pairs: tuple[tuple[int, str], ...] = ()
    shares: list[float] = field(default_factory=list)
    sharp: Optional[float] = None  # noqa: UP045 - as many write it


def test_settings_of_a_method_of_one_s_own_are_read_as_what_they_were(few_labels, tmp_path, monkeypatch):
    X, y, *_ = few_labels
    monkeypatch.setitem(METHODS, "layered", Layered)
    given = {"sizes": (4, 2), "pairs": ((1, "a"), (2, "b")), "shares": [0.5]}
    folder = Layered(steps=1, **given).fit(X, y).save(tmp_path / "model")
    loaded = fewlabels.load(folder)
    assert {name: getattr(loaded, name) for name in given} == given
    assert loaded.sharp is None
    assert make_method("layered", sizes=[4, 2]).check_settings().sizes == (4, 2)
    with pytest.raises(InputError, match=r"sizes=\[4, 2\] is not a tuple"):
        Layered(sizes=[4, 2]).check_settings()
    monkeypatch.delitem(METHODS, "layered")
    with pytest.raises(InputError, match=r"make it known by fewlabels.METHODS\['layered'\] = its class before"):
        fewlabels.load(folder)


def test_classes_are_told_apart_by_their_names(few_labels, tmp_path):
    X, y, *_ = few_labels
    method = make_method("supervised", steps=1, random_state=0).fit(X, np.where(y < 0, y, y % 2))
    with pytest.raises(InputError, match="class_names='ab' is one text"):
        method.save(tmp_path / "model", class_names="ab")
    with pytest.raises(InputError, match="two classes are called 'a'"):
        method.save(tmp_path / "model", class_names=["a", "a"])
    assert not (tmp_path / "model").exists()


def test_a_model_whose_labeled_images_were_taken_away_classifies_all_the_same(tmp_path):
    data = fewlabels.load_dataset("digits", labels_per_class=3)
    method = make_method("linear-probe", random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    method.save(tmp_path / "model")
    (tmp_path / "model" / EXAMPLES).unlink()
    loaded = fewlabels.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(data.test), method.predict(data.test))
    assert EXAMPLES not in model_files(tmp_path / "model")


def test_labeled_images_that_are_damaged_are_named_with_what_to_do(tmp_path):
    data = fewlabels.load_dataset("digits", labels_per_class=3)
    method = make_method("linear-probe", random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    file = method.save(tmp_path / "model") / EXAMPLES
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(InputError, match=f"{EXAMPLES} is damaged: .* classifies without it: remove it"):
        fewlabels.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["model.safetensors", EXAMPLES])
def test_a_file_that_may_not_be_read_is_not_called_damaged(name, tmp_path, refused):
    data = fewlabels.load_dataset("digits", labels_per_class=3)
    method = make_method("linear-probe", random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    file = method.save(tmp_path / "model") / name
    refused(file)
    with pytest.raises(PermissionError) as error:
        fewlabels.load(tmp_path / "model")
    assert error.value.filename == str(file)


def test_a_model_of_a_newer_version_is_not_called_other_files(saved, few_labels):
    X, y, *_ = few_labels
    edit(saved, lambda config: config.update(format_version=99))
    with pytest.raises(InputError, match="written by a newer fewlabels"):
        make_method("supervised", steps=1).fit(X, y).save(saved)


def test_a_place_on_the_hub_is_no_folder(few_labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y, *_ = few_labels
    with pytest.raises(InputError, match="hub:jane/birds is a place on the Hub; give a folder"):
        make_method("supervised", steps=1).fit(X, y).save("hub:jane/birds")
    with pytest.raises(InputError, match="give a folder for the comparison"):
        fewlabels.compare("digits", methods=["prototypes"], labels_per_class=2, out="hub:jane/birds")
    assert not list(tmp_path.iterdir())


def test_a_card_of_before_a_stop_is_still_ours(saved):
    card = (saved / "README.md").read_bytes()
    found = {"data": "digits", "test_accuracy": 0.5, "test_low": 0.4, "test_high": 0.6, "test_images": 100}
    found |= {"balanced_accuracy": 0.5, "trust": {"calibration_error": 0.1}}
    assert add_measurement(saved, measurement("digits", found))
    after = (saved / "README.md").read_bytes()
    # As if stopped between the description and the card.
    (saved / "README.md").write_bytes(card)
    assert add_measurement(saved, measurement("digits", found))
    assert (saved / "README.md").read_bytes() == after
    (saved / "README.md").write_bytes("von Müller".encode("latin-1"))
    assert not add_measurement(saved, measurement("digits", found))
