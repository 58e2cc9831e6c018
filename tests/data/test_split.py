import unicodedata

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fewlabels import load_dataset, make_method
from fewlabels.data import load_unlabeled
from fewlabels.data.split import hold_out_test
from fewlabels.storage.errors import InputError


@pytest.fixture
def arrays():
    """Sixty tiny images of three classes whose pixels are their row number, and six to test on."""
    images = np.repeat(np.arange(60, dtype=np.uint8), 16).reshape(60, 4, 4, 1)
    labels = np.arange(60) % 3
    return {"train": (images, labels), "test": (images[:6], labels[:6])}


def rows(part):
    return part[:][:, 0, 0, 0].tolist()


def test_seed_zero_takes_the_first_rows_of_each_class_in_file_order(arrays):
    data = load_dataset(arrays, labels_per_class=2)
    assert rows(data.labeled) == [0, 1, 2, 3, 4, 5]
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert rows(data.pool) == list(range(6, 60))


def test_another_seed_draws_at_random_and_repeatably(arrays):
    first, again, other = (load_dataset(arrays, labels_per_class=4, random_state=s) for s in (1, 1, 2))
    assert rows(first.labeled) == rows(again.labeled)
    assert rows(first.labeled) != rows(other.labeled) != list(range(12))
    assert np.bincount(first.labels).tolist() == [4, 4, 4]


def test_a_smaller_draw_is_part_of_a_larger_one(arrays):
    small, large = (load_dataset(arrays, labels_per_class=n, random_state=3) for n in (2, 9))
    assert set(rows(small.labeled)) < set(rows(large.labeled))


def test_the_pools_labels_are_in_the_diagnostics_alone(arrays):
    data = load_dataset(arrays, labels_per_class=2)
    assert data.diagnostics.pool_labels.tolist() == [row % 3 for row in rows(data.pool)]
    assert len(data.labels) == len(data.labeled) == 6


def test_images_without_a_label_join_the_pool_after_the_others(arrays):
    images, labels = arrays["train"]
    labels = labels.copy()
    labels[10] = -1
    data = load_dataset(arrays | {"train": (images, labels), "unlabeled": images[50:55]}, labels_per_class=1)
    assert rows(data.pool)[-5:] == [50, 51, 52, 53, 54]
    assert data.diagnostics.pool_labels[rows(data.pool).index(10)] == -1
    assert data.diagnostics.pool_labels[-5:].tolist() == [-1] * 5


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_a_draw_that_is_no_number_is_refused(arrays, seed):
    with pytest.raises(InputError, match="random_state="):
        load_dataset(arrays, labels_per_class=2, random_state=seed)


def test_validation_images_without_a_label_are_left_out_and_said(arrays):
    images, _ = arrays["train"]
    some = load_dataset(arrays | {"validation": (images[:6], [-1, 1, 2, 0, 1, -1])})
    assert rows(some.validation) == [1, 2, 3, 4]
    assert some.validation_labels.tolist() == [1, 2, 0, 1]
    assert "left out 2 validation images that have no label" in some.notes
    some = load_dataset(arrays | {"validation": (images[:6], [-1, 1, 2, 0, 1, 1])})
    assert "left out 1 validation image that has no label" in some.notes
    assert load_dataset(arrays | {"validation": (images[:6], None)}).validation is None


def test_of_one_image_and_one_label_is_told_as_of_one():
    images, labels = np.zeros((8, 4, 4), np.uint8), np.array([0, 0, 0, 0, 1, 1, 1, 0])
    arrays = {"train": (images, labels), "test": (images[3:5], labels[3:5])}
    notes = load_dataset(arrays, test_per_class=2).notes
    assert "some class has only 1 test image, fewer than the 2 asked for" in notes
    arrays["train"] = images[3:], labels[3:] * [1, 1, -1, -1, 1]
    with pytest.raises(InputError, match="class '1' has 1 labeled image, fewer than the 2 labels per class asked for"):
        load_dataset(arrays, labels_per_class=2)


def test_too_few_labels_are_refused_with_the_class_and_both_numbers(arrays):
    with pytest.raises(InputError, match="class '0' has 20 labeled images, fewer than the 21"):
        load_dataset(arrays, labels_per_class=21)


def test_without_a_test_part_a_share_of_each_class_is_held_out_and_said(arrays):
    data = load_dataset(arrays["train"])
    assert all(1 <= count <= 10 for count in np.bincount(data.test_labels))
    assert not set(rows(data.test)) & set(rows(data.labeled))
    assert f"so {len(data.test)} labeled images ({len(data.test) / 60:.0%}) were held out for it" in data.notes[0]
    images, _ = arrays["train"]
    assert "so 1 labeled image (33%) was held out for it" in load_dataset((images[:3], [0, 0, 1])).notes[0]


@pytest.mark.parametrize("named", [True, False])
def test_what_was_learned_from_is_not_tested_on_when_images_are_added(named):
    for letter in "abcdefghijklmnopqrstuvwxyz":
        names = tuple(f"{letter}/{number}.jpg" for number in range(200))
        labels = np.zeros(200, np.int64) if named else np.arange(200) % 2
        whole = set(hold_out_test(labels, names if named else None).tolist())
        assert 0.1 < len(whole) / 200 < 0.35
        for count in (20, 21, 40, 100):
            part = set(hold_out_test(labels[:count], names[:count] if named else None).tolist())
            assert part == {row for row in whole if row < count} or len(part) <= 2, (letter, count)
            assert part >= {row for row in whole if row < count}, (letter, count)


def test_images_are_held_out_by_their_names_wherever_they_stand():
    names = tuple(f"class{number % 3}/{number}.jpg" for number in range(300))
    labels = np.arange(300) % 3
    order = np.random.default_rng(0).permutation(300)
    mixed = hold_out_test(labels[order], tuple(names[row] for row in order))
    assert sorted(order[mixed]) == hold_out_test(labels, names).tolist()


def test_the_same_images_are_held_out_however_accents_are_written():
    labels = np.zeros(200, np.int64)
    one, other = (
        hold_out_test(labels, tuple(unicodedata.normalize(form, f"café/été {number}.jpg") for number in range(200)))
        for form in ("NFC", "NFD")
    )
    assert one.tolist() == other.tolist()


def test_pictures_of_several_sizes_are_brought_to_the_size_asked_for():
    pictures = [Image.new("RGB", size, "red") for size in [(8, 8), (16, 8), (9, 12)]] * 4
    labels = ["a", "b"] * 6
    data = load_dataset((pictures, labels), image_size=8)
    assert data.labeled.shape[1:] == (8, 8, 3)
    assert (data.labeled[:] == (255, 0, 0)).all()
    mixed = load_dataset(([*pictures[:10], Image.new("L", (8, 8), 9), Image.new("L", (9, 9), 9)], labels), image_size=8)
    assert mixed.labeled.shape[1:] == (8, 8, 3)
    with pytest.raises(InputError, match=r"several shapes, \(8, 8, 3\) and \(8, 16, 3\); bring them to one"):
        load_dataset((pictures, labels))


@pytest.mark.parametrize("made", [list, pd.Series, lambda images: np.array([*images, None], object)[:-1]])
def test_pictures_that_are_open_are_read_as_files_of_them_are(made, tmp_path):
    draws = np.random.default_rng(0)
    plain = [Image.fromarray(draws.integers(0, 255, (8, 8, 3), np.uint8)) for _ in range(12)]
    labels = ["a", "b"] * 6
    for mode in ("P", "RGBA", "CMYK", "L", "LA", "I;16", "1"):
        between = "L" if mode == "I;16" else mode
        images = [image.quantize(16) if mode == "P" else image.convert(between).convert(mode) for image in plain]
        for number, image in enumerate(images):
            (tmp_path / mode / labels[number]).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / mode / labels[number] / f"{number}.{'tiff' if mode == 'CMYK' else 'png'}")
        files = load_dataset(tmp_path / mode, image_size=8, cache_dir=tmp_path / "cache", test_per_class=1)
        given = load_dataset((made(images), labels), image_size=8, test_per_class=1)
        assert given.labeled.shape[1:] == files.labeled.shape[1:], mode
        # Of the same images, in the order of the classes.
        pixels = [np.concatenate([one.labeled[:], one.test[:]]).reshape(12, -1) for one in (files, given)]
        assert np.array_equal(*(np.sort(one, 0) for one in pixels)), mode


def test_pictures_that_are_open_are_turned_as_their_camera_says(tmp_path):
    draws = np.random.default_rng(0)
    turned = []
    for number in range(12):
        exif = Image.Exif()
        exif[0x0112] = 6
        place = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 255, (8, 8, 3), np.uint8)).save(place, exif=exif)
        turned.append(Image.open(place))
    files = load_dataset(tmp_path / "photos", cache_dir=tmp_path / "cache", test_per_class=1)
    given = load_dataset((turned, ["a", "b"] * 6), test_per_class=1)
    pixels = [np.concatenate([one.labeled[:], one.test[:]]).reshape(12, -1) for one in (files, given)]
    assert np.array_equal(*(np.sort(one, 0) for one in pixels))


def test_arrays_are_read_as_a_fit_reads_them(digits):
    X, y = digits
    off = X[:40].copy()
    off[:, 0, 0], off[:, 0, 1] = 1.0000001, -1e-6
    data = load_dataset((off, y[:40]), test_per_class=1)
    assert (data.labeled[:][:, 0, 0] == 255).all()
    assert not data.labeled[:][:, 0, 1].any()
    with pytest.raises(InputError, match="divide by 255"):
        load_dataset((X[:40] * 255, y[:40]))


def test_an_array_that_changes_later_changes_no_data(digits):
    X = np.round(digits[0][:40] * 255).astype(np.uint8)
    data = load_dataset((X, digits[1][:40]), test_per_class=1)
    before = data.labeled[:].copy()
    X[:] = 0
    assert np.array_equal(data.labeled[:], before)


def test_a_column_of_images_is_learned_from(color_images):
    X, y = color_images
    pictures = [Image.fromarray(image) for image in X]
    expected = make_method("prototypes", random_state=0).fit(X, y).predict_proba(X[:5])
    for given in (pictures, pd.Series(pictures), pd.Series(list(X), index=range(5, 5 + len(X)))):
        method = make_method("prototypes", random_state=0).fit(given, y)
        assert np.array_equal(method.predict_proba(given[:5]), expected)


@pytest.mark.parametrize(
    ("source", "labels", "message"),
    [
        (np.zeros((24, 8, 8, 3)), None, r"the source is ndarray of shape \(24, 8, 8, 3\); .* or arrays as \(X, y\)"),
        (pd.DataFrame({"a": [1]}), None, "the source is DataFrame of shape"),
        (None, None, "the source is NoneType"),
        ("digits", pd.DataFrame({"file": ["a"]}), "labels is DataFrame; give a file, or {name of an image: its class}"),
        ("digits", ["a", "b"], "labels is list"),
    ],
)
def test_what_is_no_source_and_no_labels_is_told(source, labels, message):
    with pytest.raises(InputError, match=message):
        load_dataset(source, labels=labels)


@pytest.mark.parametrize("count", [2, 3, 5, 10, 20])
def test_no_class_is_left_without_a_test_or_with_little_to_learn_from(count):
    for letter in "abcdefghijklmnopqrstuvwxyz":
        names = tuple(f"{letter}/{number}.png" for number in range(count))
        assert 1 <= len(hold_out_test(np.zeros(count, np.int64), names)) <= count // 2


def test_test_per_class_keeps_the_first_of_each_class(arrays):
    assert rows(load_dataset(arrays, test_per_class=1).test) == [0, 1, 2]


def test_the_fingerprint_tells_splits_and_contents_apart(arrays):
    first, again = load_dataset(arrays, labels_per_class=2), load_dataset(arrays, labels_per_class=2)
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != load_dataset(arrays, labels_per_class=3).fingerprint
    arrays["train"][0][0, 0, 0, 0] = 99
    assert first.fingerprint != load_dataset(arrays, labels_per_class=2).fingerprint


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 4, 4, 2), np.uint8), [0, 0, 1, 1], "1 or 3 channels"),
        (np.zeros((0, 4, 4), np.uint8), [], "holds no images"),
        (np.full((4, 4, 4), np.nan), [0, 0, 1, 1], "NaN or infinity"),
        (np.full((4, 4, 4), 7.0), [0, 0, 1, 1], "values from 7 to 7"),
        (np.zeros((4, 4, 4), np.uint8), [0, 0, 1], "4 images but 3 labels"),
        (np.zeros((4, 4, 4), np.uint8), [0, 0, 0, 0], "only one class"),
        (np.zeros((4, 4, 4), np.uint8), [-1, -1, -1, -1], "no training image has a label"),
        (np.zeros((4, 4, 4), np.uint8), [0.5, 0, 1, 1], "not whole numbers"),
        (np.zeros((4, 4, 4), np.uint8), [np.inf, 0, 1, 1], "not whole numbers"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused_with_the_reason(images, labels, message):
    with pytest.raises(InputError, match=message):
        load_dataset((images, labels))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["cat", "dog", np.nan] * 4, ("cat", "dog")),
        (pd.Series(["cat", "dog", pd.NA] * 4, dtype="string"), ("cat", "dog")),
        (np.array([b"cat", b"dog", b""] * 4), ("cat", "dog")),
        (["10", "9", "-1"] * 4, ("9", "10")),
        (["2", "01", "1"] * 4, ("01", "1", "2")),
        (["②", "①", "--1"] * 4, ("--1", "①", "②")),
    ],
)
def test_labels_name_classes_in_an_order_that_stays(arrays, labels, names):
    images = arrays["train"][0]
    assert load_dataset((images[: len(labels)], labels)).class_names == names


@pytest.mark.parametrize("name", ["labels_per_class", "test_per_class", "image_size"])
def test_a_number_that_is_not_whole_is_refused(arrays, name):
    with pytest.raises(InputError, match=rf"{name}=4\.0 is not a whole number"):
        load_dataset(arrays, **{name: 4.0})


def test_fewer_test_images_than_were_asked_for_are_told_of(photos, tmp_path):
    data = load_dataset(photos, cache_dir=tmp_path / "cache", test_per_class=300)
    assert any("fewer than the 300 asked for" in note for note in data.notes)
    assert not any("asked for" in note for note in load_dataset(photos, cache_dir=tmp_path, test_per_class=1).notes)


def test_a_source_is_remembered_by_its_whole_path(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text("file,class\nunlabeled/0.png,red\n")
    origin = load_dataset(photos.name, cache_dir=tmp_path / "cache", labels="labels.csv").origin
    assert (origin["source"], origin["labels"]) == (str(photos), str(tmp_path / "labels.csv"))
    assert load_dataset("digits").origin["source"] == "digits"


def test_labels_of_a_file_are_counted(photos, tmp_path):
    (tmp_path / "labels.csv").write_text("file,class\nunlabeled/0.png,red\nunlabeled/1.png,\n")
    for load in (load_dataset, load_unlabeled):
        more = {"cache_dir": tmp_path / "cache"}
        assert load(photos, labels=tmp_path / "labels.csv", **more).labels_given == 1
        assert load(photos, **more).labels_given == 0


@pytest.mark.parametrize("labels_per_class", [None, 2])
def test_images_that_are_held_out_are_neither_learned_from_nor_in_the_pool(arrays, labels_per_class):
    data = load_dataset(arrays["train"], labels_per_class=labels_per_class)
    test, labeled, pool = rows(data.test), rows(data.labeled), rows(data.pool)
    assert test
    assert sorted(test + labeled + pool) == list(range(60))
