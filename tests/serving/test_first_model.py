"""From photos without a label, and no model, to a model: on the page alone."""

import shutil

import numpy as np
import pytest
from served import CLASSES, built, functions, photo, serving

import fewlabels
from fewlabels import Supervised, load_dataset
from fewlabels.data import read_labels
from fewlabels.labeling.first import first_order
from fewlabels.methods.examples import remember
from fewlabels.serving.service import Service
from fewlabels.storage.errors import InputError, TrainingWarning

pytestmark = pytest.mark.usefixtures("quick_starts")


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
    places = {name: row for row, name in enumerate(desk.pictures.names)}
    given = [places[name] for name in desk.queue.labels()]
    by_patches = first_order(desk.data, labeled=np.sort(given))[:8]
    desk.queue.leave("me")
    assert [one.name for one in desk.batch("me")] != [desk.pictures.names[row] for row in by_patches]
    service.close()
    # The same command goes on; what no image has a label of yet is offered too, and stays once one has.
    service = begin(classes=(*CLASSES, "gray"))
    assert service.model is not None
    # Each class keeps its key, though the model has them in the order of the alphabet.
    assert service.desk.queue.classes == (*CLASSES, "gray")
    assert service.desk.queue.labeled == 36
    assert sum(service.desk.queue.counts().values()) == 36
    service.desk.rank(service.model)
    assert (service.desk.queue.labeled, service.desk.queue.left) == (36, 90 - 36)
    gray = service.desk.batch("me")[0].name
    service.desk.queue.label("me", gray, "gray")
    service.close()
    service = begin(classes=())
    assert set(service.desk.queue.classes) == {*CLASSES, "gray"}
    service.train()
    service.retraining._watcher.join()
    assert service.retraining.progress().state == "done", service.retraining.progress()
    assert set(fewlabels.load(tmp_path / "model.before").class_names_) == set(CLASSES)
    assert set(fewlabels.load(tmp_path / "model").class_names_) == {*CLASSES, "gray"}
    service.close()
    # A line about an image that is gone is in nobody's way.
    (flat[0] / gray).unlink()
    with (tmp_path / "model-labels.csv").open("a") as file:
        file.write("gone.png,zebra\n")
    service = begin(classes=())
    assert gray not in service.desk.pictures.names
    assert "zebra" not in service.desk.queue.counts()
    for name in service.desk.pictures.names:
        service.desk.queue.label("me", name, flat[1][name])
    service.close()
    # Where all is labeled, the model classifies, and says why there is nothing more to do.
    service = begin(classes=())
    assert service.desk is None
    assert "has no images without a label" in service.reason


def test_a_page_from_before_a_new_start_labels_nothing(begin, tmp_path):
    gradio = pytest.importorskip("gradio")
    service = begin(classes=("shoe", "dress"))
    opening, request = service.desk.opening, gradio.Request(session_hash="me")
    service.close()
    again = begin(classes=("dress", "shoe"))
    again.desk.rank_first()
    page, image = functions(built(again)), again.desk.batch("me")[0].name
    panel, _ = page["label_0"](image, opening, request)
    assert "Not saved: the server was started again; reload the page" in panel
    assert read_labels(tmp_path / "model-labels.csv").classes == {}
    _, panel, *_ = page["add_class"]("boot", opening, request)
    assert "Not added: the server was started again; reload the page" in panel
    assert again.desk.queue.classes == ("dress", "shoe")
    panel, _ = page["label_0"](image, again.desk.opening, request)
    assert read_labels(tmp_path / "model-labels.csv").classes == {image: "dress"}


def test_classes_and_folders_that_are_none_are_told_apart(begin, flat, tmp_path):
    for number, name in enumerate(sorted(flat[1])):
        place = flat[0] / ("camera", "phone")[number % 2]
        place.mkdir(exist_ok=True)
        (flat[0] / name).rename(place / name)
    service = begin(classes=("car", "bike"))
    with pytest.raises(InputError, match="has a folder 'camera', which is taken as no class; find another name"):
        service.desk.add_class("Camera")
    service.desk.add_class("careful")
    service.close()
    with pytest.raises(InputError, match="lies in a folder called like a class"):
        begin(classes=("cameras", "bike"))
    # What the page takes as labels, a training takes too.
    named = [
        f"{folder}/{path.name},{label}"
        for folder, label in (("camera", "car"), ("phone", "bike"))
        for path in sorted((flat[0] / folder).iterdir())[:4]
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,class", *named, ""]))
    assert load_dataset(str(flat[0]), labels=str(tmp_path / "labels.csv")).class_names == ("bike", "car")


def test_a_labels_file_of_another_encoding_makes_no_classes(begin, flat, tmp_path):
    names = sorted(flat[1])[:4]
    lines = "".join(f"{name},{label}\n" for name, label in zip(names, ("café", "thé") * 2, strict=True))
    (tmp_path / "model-labels.csv").write_bytes(f"file,class\n{lines}".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8"):
        begin(classes=())
    with pytest.raises(InputError, match="is not UTF-8"):
        load_dataset(str(flat[0]), labels=str(tmp_path / "model-labels.csv"))


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
    assert again.desk.queue.classes == ("blue", "<b>green", "red")
    assert again.desk.queue.labels() == {first: "red"}
    assert first not in [one.name for one in again.desk.batch("me")]


def test_classes_keep_their_keys_when_the_first_label_of_one_is_another_by_now(begin, tmp_path):
    lines = ["00.png,red", "01.png,blue", "02.png,red", "03.png,<b>green", "00.png,blue", "01.png,red", ""]
    (tmp_path / "model-labels.csv").write_text("\n".join(["file,class", *lines]))
    assert begin(classes=()).desk.queue.classes == ("red", "blue", "<b>green")


def test_class_folders_tell_the_classes(begin, photos):
    service = begin(source=str(photos), classes=())
    assert service.desk.queue.classes == ("blue", "red")
    assert len(service.desk.data.pool) == 6
    with pytest.raises(InputError, match="has the classes blue, red in its folders, and no 'green'"):
        begin(source=str(photos), classes=("green",))
    # Without others, the images of class folders are what is to be learned from, and not to be labeled once more.
    shutil.rmtree(photos / "unlabeled")
    for classes in (("red", "blue"), ("reds", "blue")):
        with pytest.raises(InputError, match=r"lies in a folder called like a class .*`fewlabels fit .*` learns from"):
            begin(source=str(photos), classes=classes)


def test_folders_of_what_has_no_label_are_no_classes_whatever_they_are_called(begin, photos):
    (photos / "unlabeled" / "red").mkdir()
    (photos / "unlabeled" / "0.png").rename(photos / "unlabeled" / "red" / "0.png")
    shutil.rmtree(photos / "train")
    shutil.rmtree(photos / "test")
    service = begin(source=str(photos), classes=("red", "blue"))
    assert len(service.desk.data.pool) == 6


def test_folders_that_are_years_tell_nothing_before_the_first_training_and_after_it(begin, flat, tmp_path):
    folder, kinds = flat
    for name in kinds:
        place = tmp_path / "years" / ("2019" if name < "45" else "2020") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(place)
    years = {f"{'2019' if name < '45' else '2020'}/{name}": kind for name, kind in kinds.items()}
    with pytest.raises(InputError, match=r"--classes shirt,shoe; the folders \(20.*\) are taken as no classes"):
        begin(source=str(tmp_path / "years"), classes=())
    service = begin(source=str(tmp_path / "years"))
    assert any("taken as no classes" in note for note in service.desk.notes)
    for name in list(years)[:30]:
        service.desk.queue.label("me", name, years[name])
    service.close()
    data = load_dataset(tmp_path / "years", labels=tmp_path / "model-labels.csv")
    method = Supervised(steps=2, random_state=0).fit(data.labeled, data.labels, unlabeled=data.pool)
    remember(method, data)
    method.save(tmp_path / "model", class_names=list(data.class_names))
    again = Service(tmp_path / "model", source=str(tmp_path / "years"))
    assert set(again.desk.queue.classes) == set(CLASSES)
    assert again.desk.queue.left == 60
    again.close()


def test_a_page_that_is_closed_waits_for_no_order(begin, monkeypatch):
    import time

    from fewlabels.labeling import first

    monkeypatch.setattr(first, "_CHUNK", 1)
    looked_at = []

    def slowly(self, images):
        looked_at.append(len(images))
        time.sleep(0.2)
        return np.zeros((len(images), 4), np.float32)

    monkeypatch.setattr(first.PatchFeatures, "__call__", slowly)
    service = begin()
    service.begin()
    while not looked_at:
        time.sleep(0.01)
    service.close()
    assert len(looked_at) < 45
    assert not service.desk.ranked
    assert service.desk.trouble == ""


def test_labels_of_other_images_and_classes_of_test_images_are_nothing_to_learn_from(begin, photos, tmp_path):
    shutil.rmtree(photos / "train")
    (tmp_path / "model-labels.csv").write_text("file,class\nelsewhere.png,red\nelse.png,blue\n")
    service = begin(source=str(photos), classes=("green",))
    assert set(service.desk.queue.classes) == {"blue", "red", "green"}
    with pytest.raises(InputError, match="label images of two classes at least"):
        service.train()


def test_a_first_model_takes_no_place_of_another_that_came_meanwhile(flat, tmp_path, monkeypatch):
    from fewlabels.serving import training

    folder, kinds = flat
    labels = dict(list(kinds.items())[:30])
    original = training.fit_dataset

    def meanwhile(method, data, **options):
        original(method, data, **options)
        if not (tmp_path / "model").exists():
            method.save(tmp_path / "model", class_names=list(data.class_names))
            (tmp_path / "model" / "mine.txt").write_text("kept")

    monkeypatch.setattr(training, "fit_dataset", meanwhile)
    monkeypatch.setattr(training, "first_method", lambda net, budget: Supervised(steps=2, random_state=0))
    with pytest.warns(TrainingWarning) as told:
        training.train_first(lambda event: None, tmp_path / "model", str(folder), labels, None, "2m")
    assert any("were resized" in str(one.message) for one in told)  # on the page too
    assert (tmp_path / "model.before" / "config.json").is_file()


def test_classes_may_come_with_the_images(begin, flat, tmp_path):
    gradio = pytest.importorskip("gradio")
    service = begin(classes=())
    page, request = built(service), gradio.Request(session_hash="me")
    service.desk.rank_first()
    add, label = functions(page)["add_class"], functions(page)["label_0"]
    opened = functions(page)["open"](request)
    assert "What are the images of?" in opened[1]
    image = service.desk.batch("me")[0].name
    assert "there is no class" in label(image, service.desk.opening, request)[0]
    with pytest.raises(InputError, match="label images of two classes at least"):
        service.train()
    typed, panel, shown, *buttons = add(" red ", service.desk.opening, request)
    assert typed == ""
    assert shown == image
    assert "What are" not in panel
    assert [(one.value, one.elem_classes) for one in buttons if not isinstance(one, dict)] == [
        ("1 · red", ["fl-key-1"])
    ]
    for given, why in (
        ("Red", "there is a class &#39;red&#39; already"),
        ("  ", "type the name of the class first"),
        ("-1", "means in a labels file that an image has no class"),
        ("a\nb", "one line of at most 100"),
        ("x" * 101, "one line of at most 100"),
        ("=1+2", "a spreadsheet takes what begins with = for a formula"),
        (" +cat", "begins with +"),
        ("-cat", "begins with -"),
        ("@cat", "begins with @"),
        ("\t\r=cat", "begins with ="),
    ):
        typed, panel, shown, *_ = add(given, service.desk.opening, request)
        assert why in panel, given
        assert typed == gradio.skip()  # what was typed stays, to be put right
    # However it is written, and whatever joins its letters.
    service.desk.add_class("CAF\u00c9")
    with pytest.raises(InputError, match="there is a class"):
        service.desk.add_class("cafe\u0301")
    service.desk.add_class("\u0645\u06cc\u200c\u062e")
    service.close()
    service = begin(classes=("red",))
    page = built(service)
    service.desk.rank_first()
    add = functions(page)["add_class"]
    for name in CLASSES:
        if name != "red":
            add(name, service.desk.opening, request)
    assert service.desk.queue.classes == ("red", *(name for name in CLASSES if name != "red"))
    _, kinds = flat
    for name in list(kinds)[:30]:
        label_it = functions(page)[f"label_{service.desk.queue.classes.index(kinds[name])}"]
        label_it(name, service.desk.opening, request)
    assert read_labels(tmp_path / "model-labels.csv").classes == dict(list(kinds.items())[:30])
    service.train()
    service.retraining._watcher.join()
    assert set(service.model.class_names) == set(CLASSES)
    # So they may once there is a model.
    add("gray", service.desk.opening, request)
    assert service.desk.queue.classes[-1] == "gray"
    service.close()
    again = begin(classes=())
    assert again.desk.takes_new_classes
    assert set(again.desk.queue.classes) == set(CLASSES)  # of gray there was no label


def test_classes_may_be_added_beside_the_labels_file_that_a_model_was_fitted_with(flat, tmp_path):
    folder, kinds = flat
    lines = "".join(f"{name},{kinds[name]}\n" for name in list(kinds)[:30])
    (tmp_path / "labels.csv").write_text(f"file,class\n{lines}")
    data = load_dataset(folder, labels=tmp_path / "labels.csv")
    method = Supervised(steps=2, random_state=0).fit(data.labeled, data.labels, unlabeled=data.pool)
    remember(method, data)
    method.save(tmp_path / "model", class_names=list(data.class_names))
    service = Service(tmp_path / "model", labels=tmp_path / "more.csv")
    before = service.desk.queue.classes
    assert set(before) == set(CLASSES)
    service.desk.add_class("gray")
    images = list(service.desk.pictures.names)
    service.desk.queue.label("me", images[0], "gray")
    service.close()
    # The next day the second file tells of it, beside what is said to be one more.
    service = Service(tmp_path / "model", labels=tmp_path / "more.csv", classes=("white",))
    assert set(service.desk.queue.classes) == {*CLASSES, "gray", "white"}
    assert service.desk.queue.labels() == {images[0]: "gray"}
    for name in images[1:4]:
        service.desk.queue.label("me", name, "gray")
    service.train()
    service.retraining._watcher.join()
    assert service.retraining.progress().state == "done", service.retraining.progress()
    assert set(service.model.class_names) == {*CLASSES, "gray"}
    service.close()
    service = Service(tmp_path / "model", labels=tmp_path / "more.csv")
    assert set(service.desk.queue.classes) == {*CLASSES, "gray"}
    service.desk.add_class("white")
    service.close()


def test_as_many_classes_may_be_added_as_there_is_room_for(begin):
    gradio = pytest.importorskip("gradio")
    service = begin(classes=("a",))
    add, request = functions(built(service))["add_class"], gradio.Request(session_hash="me")
    opening = service.desk.opening
    for number in range(39):
        assert "Not added" not in add(f"class {number}", opening, request)[1]
    assert "no room for more buttons; start the server again" in add("one more", opening, request)[1]
    assert len(service.desk.queue.classes) == 40
    service.close()
    # As many as there are buttons: the next start has room again.
    again = begin(classes=[f"class {number}" for number in range(40)])
    assert "Not added" not in functions(built(again))["add_class"]("one more", again.desk.opening, request)[1]
    again.close()
    many = begin(classes=[f"class {number}" for number in range(41)])
    page = functions(built(many))
    _, panel, _, choice, known = page["add_class"]("one more", many.desk.opening, request, 41)
    assert "Not added" not in panel
    assert choice.choices[-1] == ("one more", 41)
    # A page that has them is not sent them again, which would undo a search.
    assert known == 42
    assert page["look"]("", ("", ""), request, 42)[-2:] == (gradio.skip(), gradio.skip())
    assert page["look"]("", ("", ""), request, 41)[-2].choices == choice.choices


def test_where_class_folders_tell_the_classes_none_is_added_on_the_page(begin, photos):
    pytest.importorskip("gradio")
    service = begin(source=str(photos), classes=())
    assert "add_class" not in functions(built(service))
    with pytest.raises(InputError, match="tell the classes; a new one needs a folder there"):
        service.desk.add_class("green")


def test_what_cannot_be_begun_with_is_told(begin, flat, tmp_path):
    with pytest.raises(InputError, match="budget 'soon' is neither a time"):
        begin(budget="soon")
    with pytest.raises(InputError, match=r"lies in .*flat, and would be taken for images"):
        Service(flat[0] / "model", source=str(flat[0]), classes=CLASSES)
    with pytest.raises(InputError, match="there is no model folder"):
        begin(source=None)
    with pytest.raises(InputError, match="lies in model, which each training replaces"):
        begin(labels=tmp_path / "model" / "labels.csv")
    # A name with which nothing can be written beside it, whoever writes: known before there are labels.
    with pytest.raises(InputError, match=r"m{250} cannot be written: .*File name too long"):
        Service(tmp_path / ("m" * 250), source=str(flat[0]), classes=CLASSES)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r": .*file.*; give another labels file with --labels"):
        begin(labels=tmp_path / "file" / "labels.csv")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match=r"no complete model folder: config\.json is missing"):
        Service(tmp_path / "other", source=str(flat[0]), classes=CLASSES)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("-1", "-1 means in a labels file that an image has no class; find another name"),
        ("x" * 101, "one line of at most 100"),
        ("a\u202eb", "one line of at most 100"),
    ],
)
def test_what_can_be_no_class_on_the_page_is_refused_at_the_start_too(begin, place, name, why):
    with pytest.raises(InputError, match=why):
        begin(classes=(name, "1"))
    assert not (place / "model-labels.csv").exists()
    with pytest.raises(InputError, match=why):
        Service(place / "model", classes=(name, "red"))


def test_of_a_model_whose_source_tells_the_classes_there_are_no_others(place):
    with pytest.raises(InputError, match=r"has the classes .*, and no 'cat'; leave --classes away"):
        Service(place / "model", classes=("cat", "dog"))


@pytest.mark.usefixtures("chromium")
def test_in_a_browser_labels_come_first_and_then_the_model(flat, new_tab, tmp_path):
    folder, kinds = flat
    words = ("--source", str(folder), "--classes", "blue", "--budget", "1500 images")
    with serving(tmp_path, *words) as server:
        tab = new_tab(viewport={"width": 1000, "height": 900})
        tab.page.set_default_timeout(180_000)
        tab.page.goto(server.address)
        # The labeling tab is the open one.
        tab.page.wait_for_selector(".fl-current img")
        assert "No model yet" in tab.page.inner_text("#fl-about")
        assert tab.page.inner_text("#fl-train") == "Train with these labels"
        new_class, width = tab.page.get_by_label("Another class"), "document.querySelector('#fl-label').clientWidth"
        wide = tab.page.evaluate(width)
        new_class.fill("Blue")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector(".fl-note")
        assert "there is a class 'blue' already" in tab.page.inner_text(".fl-note")
        assert new_class.input_value() == "Blue"
        new_class.fill("b" * 101)
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_function("document.querySelector('.fl-note').innerText.includes('at most 100')")
        assert tab.page.evaluate(width) == wide  # on a page that moves about, the next click is a mistake
        new_class.fill("red")
        tab.page.click("#fl-add-class")
        tab.page.wait_for_selector(".fl-key-2")
        new_class.fill("<b>green")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector(".fl-key-3")
        # Keys are those of classes again, though the field was typed in last.
        tab.page.wait_for_function("document.activeElement === document.body")
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
        assert tab.page.inner_text("#fl-train") == "Train again with these labels"
        tab.page.get_by_role("tab", name="Classify").click()
        tab.page.set_input_files("#fl-upload input[type=file]", folder / "00.png")
        tab.page.wait_for_selector(".fl-first")
        assert tab.page.inner_text(".fl-first").startswith(kinds["00.png"])
    assert (tmp_path / "model" / "config.json").is_file()
    assert len(read_labels(tmp_path / "model-labels.csv").classes) == 30


@pytest.mark.usefixtures("chromium")
def test_in_a_browser_a_class_of_many_is_typed(flat, new_tab, tmp_path):
    folder, _ = flat
    names = [f"{kind} {number:02d}" for kind in ("bobcat", "cat") for number in range(25)]
    with serving(tmp_path, "--source", str(folder), "--classes", ",".join(names)) as server:
        tab = new_tab(viewport={"width": 1000, "height": 900})
        tab.page.set_default_timeout(180_000)
        tab.page.goto(server.address)
        tab.page.wait_for_selector(".fl-current img")
        choice = tab.page.get_by_label("Class", exact=True)

        def saved(*keys):
            image = tab.page.get_attribute(".fl-current", "data-name")
            for key in keys:
                tab.page.keyboard.press(key)
            if not keys:
                tab.page.click("#fl-save")
            tab.page.wait_for_function(
                "before => document.querySelector('.fl-current')?.dataset.name !== before", arg=image
            )
            assert server.labels[-1].startswith(f"{image},")
            return server.labels[-1].partition(",")[2]

        def typed(text):
            choice.click()
            choice.select_text()
            tab.page.keyboard.type(text)

        typed("bobcat 07")
        tab.page.keyboard.press("Enter")
        assert saved() == "bobcat 07"
        typed("bobcat 12")
        assert saved() == "bobcat 12"
        typed("Bobcat 1")
        tab.page.click("#fl-save")
        tab.page.wait_for_selector(".fl-note")
        assert "choose a class first" in tab.page.inner_text(".fl-note")
        typed("t 24")
        tab.page.click("#fl-save")
        # Whoever types on while the page still answers has the answer come between the keys.
        tab.page.wait_for_timeout(4000)
        assert len(server.labels) == 2  # there is a bobcat 24 too
        # A list that is long enough to be scrolled by keys is no stop on the way to the button.
        typed("cat")
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate("document.activeElement.id") == "fl-save"
        typed("cat 09")
        assert saved("Tab", "Enter") == "cat 09"
        # It stays for the next image.
        assert saved() == "cat 09"
        typed("AT 13")
        tab.page.keyboard.press("ArrowDown")
        tab.page.keyboard.press("Enter")
        assert saved() == "cat 13"
        tab.page.get_by_label("Another class").fill("zebra")
        tab.page.click("#fl-add-class")
        tab.page.wait_for_function("document.querySelector('#fl-new-class :is(input, textarea)').value === ''")
        # What the page looks at every ten seconds leaves the list as what is typed has made it.
        typed("zeb")
        tab.page.wait_for_timeout(12_000)
        assert tab.page.get_by_role("option").count() == 1
        tab.page.keyboard.press("Enter")
        assert saved() == "zebra"
