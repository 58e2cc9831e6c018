import io
import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fewlabels import load_dataset
from fewlabels.data.parquet import find_shards
from fewlabels.data.sources import load_unlabeled
from fewlabels.storage.errors import InputError


def png(value):
    content = io.BytesIO()
    Image.new("RGB", (6, 6), (value, 0, 0)).save(content, "PNG")
    return content.getvalue()


def write(path, labels, names=None, start=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": png(start + i), "path": f"{i}.png"} for i in range(len(labels))]
    table = pa.table({"image": images, "label": labels})
    if names:
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({b"huggingface": json.dumps(info).encode()})
    pq.write_table(table, path)


def test_shards_of_a_folder_are_read_in_order_with_names_from_the_schema(tmp_path):
    write(tmp_path / "d" / "train-00001-of-2.parquet", [1, 0, 1, 0], ["cat", "dog"], start=10)
    write(tmp_path / "d" / "train-00000-of-2.parquet", [0, 1, 0, None], ["cat", "dog"])
    write(tmp_path / "d" / "test-00000-of-1.parquet", [1, 0], ["cat", "dog"])
    write(tmp_path / "d" / "unlabeled-0.parquet", [0, 0, 0], ["cat", "dog"])
    data = load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache")
    assert data.class_names == ("cat", "dog")
    assert data.labeled[:][:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12, 13]
    assert data.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert len(data.pool) == 4
    assert data.diagnostics.pool_labels.tolist() == [-1, -1, -1, -1]
    assert len(data.test) == 2


def test_one_file_with_text_labels_holds_out_its_own_test(tmp_path):
    write(tmp_path / "all.parquet", ["a", "b"] * 10)
    data = load_dataset(tmp_path / "all.parquet", cache_dir=tmp_path / "cache")
    assert data.class_names == ("a", "b")
    assert len(data.labeled) + len(data.test) == 20
    assert set(data.test_labels) == {0, 1}


def test_a_file_that_is_replaced_by_another_of_its_size_and_time_is_read_anew(tmp_path):
    path, sizes = tmp_path / "all.parquet", []
    for start in (12, 13):
        write(path, ["a", "b"] * 4, start=start)
        os.utime(path, (1, 1))
        sizes.append(path.stat().st_size)
        data = load_dataset(path, cache_dir=tmp_path / "cache")
        assert max(data.labeled[:].max(), data.test[:].max()) == start + 7
    assert sizes[0] == sizes[1]


def test_labels_that_read_alike_are_one_class(tmp_path):
    write(tmp_path / "all.parquet", ["caf\u00e9", "bar", "cafe\u0301", "bar"] * 5)
    data = load_dataset(tmp_path / "all.parquet", cache_dir=tmp_path / "cache")
    assert data.class_names == ("bar", "cafe\u0301")
    assert np.bincount([*data.labels, *data.test_labels]).tolist() == [10, 10]


def test_a_row_without_an_image_is_left_out_by_its_number(tmp_path):
    images = [{"bytes": png(1), "path": ""}, {"bytes": None, "path": ""}, {"bytes": b"junk", "path": ""}]
    images += [{"bytes": png(i), "path": ""} for i in range(9)]
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 6}), tmp_path / "x.parquet")
    data = load_dataset(tmp_path / "x.parquet", cache_dir=tmp_path / "cache")
    assert [entry.path.split()[-1] for entry in data.skipped] == ["1", "2"]


def test_a_row_is_called_by_its_number_in_the_part_whichever_others_can_be_read(tmp_path):
    classes = ["cat", "dog"] * 15

    def wrong(rows):
        images = [{"bytes": b"junk" if row in rows else png(row), "path": ""} for row in range(45)]
        for part, start, stop, labels in (
            ("train-0", 0, 20, classes[:20]),
            ("train-1", 20, 35, classes[20:] + [None] * 5),
            ("unlabeled-0", 35, 45, [None] * 10),
        ):
            pq.write_table(pa.table({"image": images[start:stop], "label": labels}), tmp_path / f"{part}.parquet")
        return load_dataset(tmp_path, labels={"train[32]": "cat", "unlabeled[7]": "dog"}, cache_dir=tmp_path / "cache")

    held_out = []
    for rows in ({3, 31, 36}, {3, 36}, set(), {30, 31, 35}):
        data = wrong(rows)
        by_hand = {int(image[0, 0, 0]): label for image, label in zip(data.labeled[:], data.labels, strict=True)}
        assert (by_hand[32], by_hand[42]) == (0, 1)
        pool = dict(zip(data.pool_names, data.pool[:][:, 0, 0, 0].tolist(), strict=True))
        assert all(f"train[{row}]" in pool for row in {30, 31, 33, 34} - rows)
        assert all(pool[name] == int(name[6:-1]) for name in pool if name.startswith("train"))
        assert all(pool[name] == 35 + int(name[10:-1]) for name in pool if name.startswith("unlabeled"))
        held_out.append(data.diagnostics.test_names)
    assert held_out[1] == held_out[0], "a row that is mended leaves the others on their side"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("latest/train-0.parquet", "train"),
        ("validated/train_00.parquet", "train"),
        ("test/train-0.parquet", "train"),
        ("run-train/v2/labeled.parquet", "train"),
        ("data/train_unlabeled-0.parquet", "unlabeled"),
        ("default/partial-test/0000.parquet", "test"),
        ("Val/0.parquet", "validation"),
        ("Validation-00000-of-1.parquet", "validation"),
        ("birds_testset.parquet", "test"),
        ("latest/0.parquet", None),
    ],
)
def test_shards_belong_to_the_part_that_is_a_word_of_their_name_or_else_of_their_folders(tmp_path, name, part):
    path = tmp_path / "test" / name
    write(path, [0, 1])
    assert find_shards(tmp_path / "test") == ({} if part is None else {part: [path]})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"picture": [1]}, "no column 'image'"),
        ({"image": [1], "label": [0]}, "expected a struct of bytes and path"),
        ({"image": [{"bytes": png(0), "path": ""}], "label": [0.5]}, "whole numbers or strings"),
        ({"image": [{"bytes": png(0), "path": ""}]}, "images but no labels"),
    ],
)
def test_parquet_of_another_layout_is_refused_with_what_is_expected(tmp_path, table, message):
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path / "x.parquet", cache_dir=tmp_path / "cache")


def test_labels_that_are_numbers_here_and_text_there_are_refused(tmp_path):
    write(tmp_path / "train-0.parquet", [0, 1])
    write(tmp_path / "test-0.parquet", ["cat", "dog"])
    with pytest.raises(InputError, match=r"text in some files .*, whole numbers in others"):
        load_dataset(tmp_path, cache_dir=tmp_path / "cache")


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"junk" * 10)
    with pytest.raises(InputError, match="not a readable Parquet file"):
        load_dataset(tmp_path / "x.parquet", cache_dir=tmp_path / "cache")


def test_npz_with_a_pool_and_a_test_part(tmp_path):
    generator = np.random.default_rng(0)
    images = generator.random((20, 8, 8))
    np.savez(
        tmp_path / "d.npz",
        x_train=images,
        y_train=np.arange(20) % 2,
        x_unlabeled=images[:5],
        x_test=images[:4],
        y_test=np.arange(4) % 2,
    )
    data = load_dataset(tmp_path / "d.npz")
    assert [len(part) for part in (data.labeled, data.pool, data.test)] == [20, 5, 4]
    assert np.array_equal(data.test[0][..., 0], np.round(images[0] * 255))


def test_arrays_of_an_npz_are_called_as_folders_are_and_what_else_is_there_is_told(tmp_path):
    images, labels = np.zeros((20, 8, 8)), np.arange(20) % 2
    arrays = {"X_training": images, "y_training": labels, "x_valid": images[:6], "y_valid": labels[:6]}
    arrays |= {"X_testing": images[:4], "y_testing": labels[:4], "x_unlabelled": images[:5], "names": labels}
    np.savez(tmp_path / "d.npz", **arrays, y_unlabelled=labels[:5])
    data = load_dataset(tmp_path / "d.npz")
    assert [len(part) for part in (data.labeled, data.pool, data.validation, data.test)] == [20, 5, 6, 4]
    assert [note for note in data.notes if note.startswith("not read: names, y_unlabelled")]
    np.savez(tmp_path / "d.npz", **arrays, x_train=images)
    with pytest.raises(InputError, match="x_train and x_training, which mean the same"):
        load_dataset(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", **arrays, X_TRAINING=images)
    with pytest.raises(InputError, match=r"X_training and X_TRAINING, which mean the same|X_TRAINING and X_training"):
        load_dataset(tmp_path / "d.npz")


def test_endings_of_parquet_files_may_be_large_letters(tmp_path):
    write(tmp_path / "d" / "TRAIN-00000.PARQUET", ["a", "b"] * 10)
    assert len(load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache").labeled)


@pytest.mark.parametrize(
    ("column", "classes"),
    [
        (pd.Categorical(["cat", "dog", None, "dog"] * 5), ("cat", "dog")),
        ([1, 0, None, 0] * 5, ("0", "1")),
        ([1.0, 0.0, -1.0, 0.0] * 5, ("0", "1")),
        (pd.array([True, False, None, False] * 5, dtype="boolean"), ("False", "True")),
    ],
)
def test_labels_as_pandas_keeps_them_with_one_missing_are_read(column, classes, tmp_path):
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in range(20)]
    pd.DataFrame({"image": images, "label": column}).to_parquet(tmp_path / "pandas.parquet")
    data = load_dataset(tmp_path / "pandas.parquet", cache_dir=tmp_path / "cache")
    assert (data.class_names, len(data.pool)) == (classes, 5)


def test_labels_that_are_no_whole_numbers_are_refused(tmp_path):
    write(tmp_path / "d.parquet", [0.0, 0.5, None, 1.0] * 5)
    with pytest.raises(InputError, match=r"column 'label' holds 0\.5; expected whole numbers or strings"):
        load_dataset(tmp_path / "d.parquet", cache_dir=tmp_path / "cache")


def test_an_empty_text_is_no_class_in_a_table(tmp_path):
    write(tmp_path / "d" / "train.parquet", ["a", "", "b", ""] * 5)
    data = load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache")
    assert data.class_names == ("a", "b")
    assert len(data.pool) == 10


def test_text_of_spaces_is_no_class_either(tmp_path):
    write(tmp_path / "d" / "train.parquet", ["a", " ", "b", "a b"] * 5)
    data = load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache")
    assert data.class_names == ("a", "a b", "b")
    assert len(data.pool) == 5


@pytest.mark.parametrize("kind", [None, pa.null(), pa.int64(), pa.string()])
def test_a_column_of_labels_that_is_empty_throughout_is_as_good_as_none(tmp_path, kind):
    write(tmp_path / "d" / "train.parquet", [0, 1] * 5)
    write(tmp_path / "d" / "unlabeled.parquet", pa.nulls(4, kind or pa.null()), start=20)
    if kind is None:
        table = pq.read_table(tmp_path / "d" / "unlabeled.parquet")
        pq.write_table(table.drop_columns(["label"]), tmp_path / "d" / "unlabeled.parquet")
    assert len(load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache").pool) == 4
    assert len(load_unlabeled(tmp_path / "d" / "unlabeled.parquet", cache_dir=tmp_path / "cache").pool) == 4


def test_two_classes_of_one_name_are_refused(tmp_path):
    write(tmp_path / "d" / "train.parquet", [0, 1, 2] * 5, names=["x", "x", "z"])
    with pytest.raises(InputError, match="name the class 'x' twice"):
        load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("labels", [["a", "b", "c"], [0, 1, 2]])
def test_a_class_of_the_test_part_alone_is_refused(tmp_path, labels):
    write(tmp_path / "d" / "train.parquet", labels[:2] * 5)
    write(tmp_path / "d" / "test.parquet", labels)
    with pytest.raises(InputError, match=rf"class '{labels[2]}' is not among the training classes"):
        load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache")


def test_npz_with_objects_is_refused_and_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    np.savez(tmp_path / "d.npz", X=np.zeros((2, 4, 4)), y=np.array([Bomb(), Bomb()], dtype=object))
    (tmp_path / "owned").unlink(missing_ok=True)
    with pytest.raises(InputError, match="Python objects"):
        load_dataset(tmp_path / "d.npz")
    assert not (tmp_path / "owned").exists()


def test_files_that_were_made_apart_keep_their_own_names_of_classes(tmp_path):
    write(tmp_path / "d" / "train-0.parquet", [0, 1, 2, 0, 1, 2], ["ant", "bee", "cat"])
    write(tmp_path / "d" / "test-0.parquet", [0, 0, 1], ["bee", "cat"])
    data = load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache")
    assert data.class_names == ("ant", "bee", "cat")
    assert [data.class_names[label] for label in data.test_labels] == ["bee", "bee", "cat"]
    write(tmp_path / "d" / "validation-0.parquet", [0, 1])
    with pytest.raises(InputError, match="some not at all"):
        load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache")


def test_labels_of_the_unlabeled_part_are_no_classes(tmp_path):
    write(tmp_path / "d" / "train-0.parquet", ["cat", "dog"] * 6)
    write(tmp_path / "d" / "unlabeled-0.parquet", ["unknown"] * 3)
    data = load_dataset(tmp_path / "d", labels_per_class=2, cache_dir=tmp_path / "cache")
    assert data.class_names == ("cat", "dog")


def test_a_file_whose_name_says_no_part_is_told(tmp_path):
    write(tmp_path / "d" / "train-0.parquet", [0, 1] * 6)
    write(tmp_path / "d" / "batch2.parquet", [0, 1])
    write(tmp_path / "d" / ".hidden" / "train-1.parquet", [0, 1])
    data = load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache")
    assert any(note.startswith("not read: batch2.parquet (names say") for note in data.notes)
    assert len(data.labels) + len(data.test_labels) == 12


def test_a_table_beside_photos_does_not_make_them_unreadable(tmp_path):
    for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"):
        path = tmp_path / "photos" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(9))
    pq.write_table(pa.table({"file": ["a.png"], "class": ["cat"]}), tmp_path / "photos" / "classes.parquet")
    pq.write_table(pa.table({"file_name": ["a.png"]}), tmp_path / "photos" / "train" / "metadata.parquet")
    pq.write_table(pa.table({"image": ["cat/0.png"], "label": [0]}), tmp_path / "photos" / "train.parquet")
    data = load_dataset(tmp_path / "photos", cache_dir=tmp_path / "cache")
    assert data.class_names == ("cat", "dog")


def test_linked_folders_are_read_as_any_others(tmp_path):
    write(tmp_path / "d" / "train-0.parquet", ["a", "b"] * 10)
    write(tmp_path / "disk" / "0.parquet", [None] * 5)
    (tmp_path / "d" / "unlabeled").symlink_to(tmp_path / "disk")
    assert len(load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache").pool) == 5


def test_photos_in_linked_folders_are_not_made_unreadable_by_a_table_beside_them(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "disk" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "disk" / name / f"{number}.png").write_bytes(png(number))
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).symlink_to(tmp_path / "disk" / name)
    pq.write_table(pa.table({"file": ["cat/0.png"]}), tmp_path / "d" / "train.parquet")
    assert load_dataset(tmp_path / "d", cache_dir=tmp_path / "cache").class_names == ("cat", "dog")


def test_images_as_bytes_alone_are_told_beside_photos_too(tmp_path):
    (tmp_path / "0.png").write_bytes(png(9))
    pq.write_table(pa.table({"image": [png(9)], "label": [0]}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match="column 'image' is binary; expected a struct"):
        load_dataset(tmp_path, cache_dir=tmp_path / "cache")


def test_a_test_part_without_labels_is_told_and_so_is_one_with_some(tmp_path):
    images = np.zeros((20, 6, 6, 3), np.uint8)
    labels = np.arange(20) % 2
    data = load_dataset({"train": (images, labels), "test": (images[:5], None)})
    assert any(note.startswith("the images of the test part have no labels, so") for note in data.notes)
    data = load_dataset({"train": (images, labels), "test": (images[:5], [0, 1, -1, -1, 0])})
    assert "left out 2 test images that have no label" in data.notes
    assert len(data.test) == 3


def test_a_pool_may_be_given_as_a_pair_like_the_other_parts(tmp_path):
    images = np.zeros((20, 6, 6, 3), np.uint8)
    labels = np.arange(20) % 2
    for pool in ((images[:5], labels[:5]), (images[:5], None)):
        assert len(load_dataset({"train": (images, labels), "unlabeled": pool}).pool) == 5


def test_whole_numbers_that_pandas_made_floats_name_the_classes_of_whole_numbers(tmp_path):
    images = np.zeros((20, 6, 6, 3), np.uint8)
    some = np.array([0.0, None, 1.0, 1.0] * 5, object)
    data = load_dataset({"train": (images, some), "test": (images, np.arange(20) % 2)})
    assert data.class_names == ("0", "1")
    assert len(data.pool) == 5
    with pytest.raises(InputError, match="are not whole numbers"):
        load_dataset((images, np.array([0.5, None] * 10, object)))


def test_arrays_of_one_class_are_refused_in_one_line():
    with pytest.raises(InputError, match=r"^arrays has only one class \('0'\)"):
        load_dataset((np.zeros((6, 8, 8, 3), np.uint8), [0] * 6))
