import json
import os
import shutil
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from served import built, functions

from fewlabels import Supervised, load_dataset
from fewlabels.data import read_labels
from fewlabels.methods.examples import remember
from fewlabels.serving.retraining import Progress
from fewlabels.serving.service import Service

gradio = pytest.importorskip("gradio")


@pytest.fixture
def many_classes(tmp_path, monkeypatch):
    """A model of 41 classes, served from here."""
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    for name in range(41):
        for part in (f"train/kind {name}", f"test/kind {name}", "unlabeled"):
            (tmp_path / "photos" / part).mkdir(parents=True, exist_ok=True)
            for number in range(2):
                pixels = draws.integers(0, 255, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / f"{name}-{number}.png")
    data = load_dataset(str(tmp_path / "photos"))
    method = Supervised(steps=1, batch_size=4, validation_fraction=0.0, random_state=0)
    method.fit(data.labeled, data.labels, unlabeled=data.pool)
    remember(method, data)
    method.save(tmp_path / "model", class_names=list(data.class_names))
    service = Service(tmp_path / "model")
    service.desk.rank(service.model)
    yield service
    service.close()


def test_more_classes_than_buttons_can_show_are_chosen_from_a_list(many_classes, tmp_path):
    page = built(many_classes)
    (choice,) = [block for block in page.blocks.values() if block.get_block_name() == "dropdown"]
    assert len(choice.choices) == 41
    # What nobody has chosen would be saved by a click.
    assert choice.value is None
    assert not [name for name in functions(page) if name and name.startswith("label_")]
    label = functions(page)["label"]
    request = gradio.Request(session_hash="me")
    image = many_classes.desk.batch("me")[0].name
    panel, shown = label(image, None, many_classes.desk.opening, request)
    assert "choose a class first" in panel
    assert unquote(shown) == image
    panel, shown = label(image, 40, many_classes.desk.opening, request)
    assert "Saved" in panel
    assert unquote(shown) != image
    name = many_classes.model.class_names[40]
    assert read_labels(tmp_path / "model-labels.csv").classes == {image: name}


def test_what_is_typed_is_the_class_that_it_leaves_no_choice_about(many_classes, tmp_path):
    label, opening = functions(built(many_classes))["label"], many_classes.desk.opening
    request = gradio.Request(session_hash="me")
    given = {}
    for typed, meant in (("kind 4", "kind 4"), (" Kind 40 ", "kind 40"), ("d 17", "kind 17")):
        image = many_classes.desk.batch("me")[0].name
        assert "Saved" in label(image, typed, opening, request)[0]
        given[image] = meant
    image = many_classes.desk.batch("me")[0].name
    # Several, none, nothing, and what no page sends.
    for typed in ("kind", "zebra", "", [3], 3.0):
        assert "choose a class first" in label(image, typed, opening, request)[0], typed
    assert read_labels(tmp_path / "model-labels.csv").classes == given


def test_a_class_that_came_with_a_new_model_has_a_button(place, trained, tmp_path):
    shutil.copytree(trained / "photos", tmp_path / "photos")
    service = Service(place / "model", source=str(tmp_path / "photos"))
    service.desk.rank(service.model)
    page, request = built(service), gradio.Request(session_hash="me")
    start, *spare = functions(page)["look"]("", ("", ""), request)[5:]
    assert start.value == "Train again with these labels"
    assert spare == [gradio.skip() for _ in spare]
    image = service.desk.batch("me")[0].name
    assert "there is no class" in functions(page)["label_3"](image, service.desk.opening, request)[0]
    (tmp_path / "photos" / "train" / "a gray").mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 24)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / "train" / "a gray" / f"{number}.png")
    functions(page)["label_1"](image, service.desk.opening, request)
    functions(page)["train"]("", request)
    service.retraining._watcher.join(120)
    assert service.retraining.progress().state == "done"
    # Others keep their places and keys, though it comes before them in the model.
    assert service.model.class_names == ("<b>green", "a gray", "blue", "red")
    shown, *rest = functions(page)["look"]("", ("", ""), request)[6:]
    assert (shown.value, shown.visible, shown.elem_classes) == ("4 · a gray", True, ["fl-key-4"])
    assert rest == [gradio.skip() for _ in rest]
    image, other = (one.name for one in service.desk.batch("me")[:2])
    functions(page)["label_3"](image, service.desk.opening, request)
    functions(page)["label_1"](other, service.desk.opening, request)
    written = read_labels(service.desk.path).classes
    assert (written[image], written[other]) == ("a gray", "blue")
    service.close()


@pytest.mark.parametrize(
    ("first", "new", "key", "shown"),
    [
        (("cat", "dog"), "cow", "3", "3 · cow"),
        (("0", "1"), "2", "2", "2"),
        (("0", "1"), "none", "2", "2 · none"),
        # The key that it would have is another's.
        (("cat", "dog"), "1", None, "· 1"),
    ],
)
def test_a_new_class_takes_no_key_from_those_before(first, new, key, shown):
    from fewlabels.serving.label_tab import _face

    assert _face(2, (*first, new), first) == {
        "value": shown,
        "elem_classes": [] if key is None else [f"fl-key-{key}"],
        "visible": True,
    }
    assert [_face(number, (*first, new), first) for number in (0, 1)] == [_face(n, first, first) for n in (0, 1)]


def test_a_class_that_is_a_digit_has_that_key_whatever_others_there_are():
    from fewlabels.serving.label_tab import class_keys

    numbers = sorted(str(number) for number in range(12))
    assert class_keys(numbers) == {str(number): str(number) for number in range(10)}
    assert class_keys(["0", "1", "none"]) == {"0": "0", "1": "1", "none": "2"}


def test_an_image_whose_name_is_no_text_can_be_labeled(many_classes, tmp_path):
    name = os.fsdecode(b"unlabeled/caf\xe9 1.png")
    try:
        shutil.copy(tmp_path / "photos" / "unlabeled" / "0-0.png", tmp_path / "photos" / name)
    except OSError:
        pytest.skip("this file system takes text alone")
    service = Service(tmp_path / "model", labels=tmp_path / "labels.csv")
    service.desk.queue.rank([name])
    page = built(service)
    panel, shown = functions(page)["skip"]("", service.desk.opening, gradio.Request(session_hash="me"))
    # As a request holds it.
    assert json.loads(json.dumps([panel, shown], ensure_ascii=False).encode()) == [panel, shown]
    panel, _ = functions(page)["label"](shown, 40, service.desk.opening, gradio.Request(session_hash="me"))
    assert "Saved" in panel
    assert read_labels(tmp_path / "labels.csv").classes == {name: service.model.class_names[40]}
    service.close()


def test_an_undo_with_nothing_to_take_back_says_so(many_classes):
    page, opening = functions(built(many_classes)), many_classes.desk.opening
    request = gradio.Request(session_hash="me")
    image = many_classes.desk.batch("me")[0].name
    panel, shown = page["undo"](image, opening, request)
    assert "Not taken back: there is no label of yours to take back" in panel
    assert unquote(shown) == image
    page["skip"](image, opening, request)
    panel, shown = page["undo"]("", opening, request)
    assert "Taken back" in panel
    assert unquote(shown) == image


def test_a_label_that_cannot_be_written_is_told_and_the_image_stays(many_classes, monkeypatch):
    def full(file, name):
        raise OSError(28, "No space left on device", "labels.csv")

    monkeypatch.setattr(many_classes.desk._file, "append", full)
    image = many_classes.desk.batch("me")[0].name
    panel, shown = functions(built(many_classes))["label"](
        image, 3, many_classes.desk.opening, gradio.Request(session_hash="me")
    )
    told = "the disk is full: labels.csv; make room, then try again (the labels given so far are kept)"
    assert f"Not saved: {told}<" in panel
    assert unquote(shown) == image
    assert many_classes.desk.queue.labeled == 0


def test_a_labels_file_that_cannot_be_read_is_told_where_a_training_was_asked_for(many_classes, monkeypatch):
    def forbidden():
        raise PermissionError(13, "Permission denied", "labels.csv")

    monkeypatch.setattr(many_classes, "train", forbidden)
    page, request = functions(built(many_classes)), gradio.Request(session_hash="me")
    refused, told, *_ = page["train"]("", request)
    assert ">Permission denied: labels.csv<" in told
    # As long as nothing has changed, it stands there.
    assert "Permission denied" in page["look"]("", refused, request)[0]
    many_classes.retraining._set(Progress("running", "starting"))
    assert "Permission denied" not in page["look"]("", refused, request)[0]
