"""From photos without a label, and no model, to a model: on the page alone."""

import numpy as np
import pytest
from served import CLASSES, photo, serving

import fewlabels
from fewlabels.data import read_labels
from fewlabels.serving.service import Service
from fewlabels.storage.errors import InputError


@pytest.fixture
def flat(tmp_path, monkeypatch):
    """A folder of photos in no order and no class folders; the class of each by its name."""
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "flat").mkdir()
    numbers = np.random.default_rng(0).permutation(90)
    kinds = {}
    for place, number in enumerate(numbers):
        kinds[f"{place:02d}.png"] = CLASSES[number % 3]
        photo(CLASSES[number % 3], int(number)).save(tmp_path / "flat" / f"{place:02d}.png")
    return tmp_path / "flat", kinds


@pytest.fixture
def begin(flat, tmp_path):
    """What makes a service that begins without a model."""
    made = []

    def made_one(**options):
        given = {"source": str(flat[0]), "classes": CLASSES, "budget": "1500 images", **options}
        made.append(Service(tmp_path / "model", **given))
        return made[-1]

    yield made_one
    for service in made:
        service.close()


def test_labels_of_the_page_make_the_first_model(begin, flat, tmp_path):
    service = begin()
    desk = service.desk
    assert service.model is None
    assert desk.path == tmp_path / "model-labels.csv"
    with pytest.raises(InputError, match="there is no model yet: label a few images of each class, then train"):
        service.classify(flat[0] / "00.png")
    with pytest.raises(InputError, match="label images of two classes at least"):
        service.train()
    service.begin()
    service._ranking.join()
    assert desk.trouble == ""
    for _ in range(36):
        name = desk.batch("me")[0].name
        desk.queue.label("me", name, flat[1][name])
    service.train()
    service.retraining._watcher.join()
    progress = service.retraining.progress()
    assert progress.state == "done", progress
    assert progress.text.startswith("27 labels, ")  # nine of the 36 are held out to test with
    assert set(service.model.class_names) == set(CLASSES)
    assert service.classify(flat[0] / "00.png").classes[0][0] == flat[1]["00.png"]
    # The page goes on with what the model is unsure of, and trains again as a page of a model does.
    assert desk.queue.labeled == 36
    assert desk.batch("me")[0].name not in read_labels(desk.path).classes
    service.train()
    service.retraining._watcher.join()
    assert service.retraining.progress().state == "done", service.retraining.progress()
    assert fewlabels.load(tmp_path / "model.before").class_names_ == fewlabels.load(tmp_path / "model").class_names_


def test_a_page_that_was_closed_before_the_first_training_goes_on(begin, flat):
    service = begin()
    service.begin()
    service._ranking.join()
    first = service.desk.batch("me")[0].name
    service.desk.queue.label("me", first, "red")
    service.close()
    # What was labeled tells a class too.
    again = begin(classes=("blue", "<b>green"))
    again.begin()
    again._ranking.join()
    assert set(again.desk.queue.classes) == set(CLASSES)
    assert again.desk.queue.labels() == {first: "red"}
    assert first not in [one.name for one in again.desk.batch("me")]


def test_class_folders_tell_the_classes(begin, photos):
    service = begin(source=str(photos), classes=())
    assert service.desk.queue.classes == ("blue", "red")
    assert len(service.desk.data.pool) == 6
    with pytest.raises(InputError, match="has the classes blue, red in its folders, and no 'green'"):
        begin(source=str(photos), classes=("green",))


def test_what_cannot_be_begun_with_is_told(begin, flat, tmp_path):
    with pytest.raises(InputError, match="give the classes that the images are of, two at least"):
        begin(classes=())
    with pytest.raises(InputError, match="two at least: --classes shirt,shoe \\(known is 'red'\\)"):
        begin(classes=("red",))
    with pytest.raises(InputError, match="budget"):
        begin(budget="soon")
    with pytest.raises(InputError, match="there is no model folder"):
        begin(source=None)
    with pytest.raises(InputError, match="lies in model, which each training replaces"):
        begin(labels=tmp_path / "model" / "labels.csv")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match=r"no complete model folder: config\.json is missing"):
        Service(tmp_path / "other", source=str(flat[0]), classes=CLASSES)


def test_classes_are_not_for_a_model_that_is_there(place):
    with pytest.raises(InputError, match=r"has a model, of the classes .*; --classes is for a folder that"):
        Service(place / "model", classes=("cat", "dog"))


@pytest.mark.usefixtures("chromium")
def test_in_a_browser_labels_come_first_and_then_the_model(flat, new_tab, tmp_path):
    folder, kinds = flat
    words = ("--source", str(folder), "--classes", ",".join(CLASSES), "--budget", "1500 images")
    with serving(tmp_path, *words) as server:
        tab = new_tab(viewport={"width": 1000, "height": 900})
        tab.page.set_default_timeout(180_000)
        tab.page.goto(server.address)
        # The labeling tab is the open one.
        tab.page.wait_for_selector(".fl-current img")
        assert "No model yet" in tab.page.inner_text("#fl-about")
        assert tab.page.inner_text("#fl-train") == "Train with these labels"
        keys = {name: str(number) for number, name in enumerate(CLASSES, 1)}
        for _ in range(30):
            name = tab.page.get_attribute(".fl-current", "data-name")
            tab.page.keyboard.press(keys[kinds[name]])
            tab.page.wait_for_function(
                "before => document.querySelector('.fl-current')?.dataset.name !== before", arg=name
            )
        tab.page.click("#fl-train")
        tab.page.wait_for_function("document.querySelector('#fl-training').innerText.includes('The new model answers')")
        tab.page.wait_for_function("document.querySelector('#fl-about').innerText.includes('held-out images')")
        tab.page.get_by_role("tab", name="Classify").click()
        tab.page.set_input_files("#fl-upload input[type=file]", folder / "00.png")
        tab.page.wait_for_selector(".fl-first")
        assert tab.page.inner_text(".fl-first").startswith(kinds["00.png"])
    assert (tmp_path / "model" / "config.json").is_file()
    assert len(read_labels(tmp_path / "model-labels.csv").classes) == 30
