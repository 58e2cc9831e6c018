"""Labels given by hand: what is said to be on the disk is there, whatever happens after."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fewlabels
from fewlabels import InputError, load_dataset
from fewlabels.data import LabelsFile, labels_file, load_unlabeled, read_labels
from fewlabels.data.heading import heading_of

AWKWARD = ["a b.jpg", 'say "cheese".jpg', "two\nlines.jpg", "comma, dot.jpg", "back\rspace.jpg", "猫.jpg", "\udcff.jpg"]


def test_any_name_of_a_file_comes_back_as_it_was(tmp_path):
    with LabelsFile(tmp_path / "labels.csv") as labels:
        for name in AWKWARD:
            labels.append(name, f"class of {name}")
    assert read_labels(tmp_path / "labels.csv").classes == {name: f"class of {name}" for name in AWKWARD}


def test_a_later_line_wins_and_an_empty_class_takes_back(tmp_path):
    path = tmp_path / "labels.csv"
    for file, name in (("a", "cat"), ("b", "dog"), ("a", "dog"), ("b", "")):
        with LabelsFile(path) as labels:
            labels.append(file, name)
    assert read_labels(path).classes == {"a": "dog"}
    assert path.read_text() == "file,class\na,cat\nb,dog\na,dog\nb,\n"


@pytest.mark.parametrize("name", AWKWARD)
def test_wherever_a_line_is_cut_off_those_before_are_kept_and_it_can_be_added_to(tmp_path, name):
    path = tmp_path / "labels.csv"
    with LabelsFile(path) as labels:
        labels.append("first", "cat")
        whole = path.read_bytes()
        labels.append(name, "dog")
    full = path.read_bytes()
    for end in range(len(whole) + 1, len(full)):
        path.write_bytes(full[:end])
        found = read_labels(path)
        assert found.classes == {"first": "cat"}
        assert "not finished" in found.notes[0]
        with LabelsFile(path) as labels:
            labels.append("next", "dog")
        assert read_labels(path).classes == {"first": "cat", "next": "dog"}
        assert not read_labels(path).notes


KILLED = """
import sys
from fewlabels.data import LabelsFile
with LabelsFile(sys.argv[1]) as labels:
    for number in range(10**6):
        labels.append(f"image {number}\\n.jpg", "cat")
        print(number, flush=True)
"""


def test_a_killed_process_loses_no_label_that_it_has_confirmed(tmp_path):
    path = tmp_path / "labels.csv"
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        confirmed = [int(process.stdout.readline()) for _ in range(25)]
        process.send_signal(signal.SIGKILL)
        confirmed += [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    kept = read_labels(path).classes
    assert {f"image {number}\n.jpg" for number in confirmed} <= set(kept)
    assert len(kept) <= len(confirmed) + 1


FULL = """
import resource, signal, sys
from fewlabels.data import LabelsFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))
with LabelsFile(sys.argv[1]) as labels:
    for number in range(100):
        try:
            labels.append(f"image {number}.jpg", "cat")
        except OSError as error:
            sys.exit(f"{number} {error}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of a file's size")
def test_a_label_for_which_there_is_no_room_is_told_and_leaves_nothing(tmp_path):
    path = tmp_path / "labels.csv"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    number, _, message = done.stderr.partition(" ")
    assert "labels.csv" in message
    assert path.read_text().endswith("\n")
    assert len(read_labels(path).classes) == int(number) > 0


def test_many_threads_add_to_one_file_without_mixing_lines(tmp_path):
    with LabelsFile(tmp_path / "labels.csv") as labels, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: labels.append(f"{number}\n.jpg", "cat"), range(200)))
    found = read_labels(tmp_path / "labels.csv")
    assert set(found.classes) == {f"{number}\n.jpg" for number in range(200)}


def test_each_label_is_flushed_to_the_disk_before_it_is_confirmed(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (sync(handle), synced.append(os.fstat(handle).st_size)))
    with LabelsFile(tmp_path / "labels.csv") as labels:
        labels.append("a.jpg", "cat")
        assert synced[-1] == len("file,class\na.jpg,cat\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no heading"),
        ("name,label\n", "the columns name, label; expected file and class"),
        ("file,class\na.jpg\n", "row 2 .* has 1 columns"),
        ("file,class\na, b.jpg,cat\n", "row 2 .* has 3 columns, more than the 2 of the heading; put quotes .* ','"),
        ("file;class\na; b.jpg;cat\n", "quotes around a name that has ';' in it"),
        ('file,class\n"a"b,c\n', "is no CSV file"),
        ('file,class\na.jpg,cat\n"b.jpg,cat\nc.jpg,dog\n', "line 3 .* quotation mark that is not closed"),
    ],
)
def test_what_is_no_labels_file_is_told(tmp_path, content, message):
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / "labels.csv")


def test_labels_are_not_added_to_a_file_with_other_columns(tmp_path):
    (tmp_path / "labels.csv").write_text("file,class,guess\n")
    with pytest.raises(InputError, match="file and class alone"):
        LabelsFile(tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_text() == "file,class,guess\n"


@pytest.mark.parametrize(
    "content", ["a note", "title\nits last line", "file,class\ra.jpg,cat\r", '"a.jpg,cat\nb.jpg,dog\nc.jpg,dog\n']
)
def test_a_file_that_is_no_labels_file_is_left_as_it_was(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_text(content, newline="")
    with pytest.raises(InputError, match=r"notes\.txt"):
        LabelsFile(path)
    assert path.read_bytes() == content.encode()


def test_a_quote_within_a_name_that_a_person_typed_takes_no_later_line_away(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text('file,class\na 5" disk.jpg,disk\nb.jpg,cat\n')
    with LabelsFile(path) as labels:
        labels.append("c.jpg", "dog")
    assert read_labels(path).classes == {'a 5" disk.jpg': "disk", "b.jpg": "cat", "c.jpg": "dog"}
    assert not read_labels(path).notes


def test_a_spreadsheets_file_is_read(tmp_path):
    (tmp_path / "labels.csv").write_bytes("rank,file,class\r\n1,a.jpg,cat\r\n2,b.jpg,\r\n".encode("utf-8-sig"))
    assert read_labels(tmp_path / "labels.csv").classes == {"a.jpg": "cat"}


def test_empty_cells_that_a_spreadsheet_adds_are_no_matter(tmp_path):
    (tmp_path / "labels.csv").write_text("file,class\na.jpg,cat,,\n")
    assert read_labels(tmp_path / "labels.csv").classes == {"a.jpg": "cat"}


def test_labeled_pool_images_join_the_labeled_ones():
    before = load_dataset("digits", labels_per_class=2)
    rows = [3, 500, 1000]
    truth = before.diagnostics.pool_labels[rows]
    given = {before.pool_names[row]: before.class_names[label] for row, label in zip(rows, truth, strict=True)}
    after = load_dataset("digits", labels_per_class=2, labels=given)
    assert len(after.labeled) == 23
    assert len(after.pool) == len(before.pool) - 3
    for row, label in zip(rows, truth, strict=True):
        same = (after.labeled[:] == before.pool[row]).all((1, 2, 3))
        assert label in after.labels[same]
    assert np.array_equal(after.test[:], before.test[:])
    assert after.fingerprint != before.fingerprint
    assert not set(given) & set(after.pool_names)


def test_a_given_label_wins_over_the_sources_own():
    before = load_dataset("digits", labels_per_class=2)
    after = load_dataset("digits", labels_per_class=2, labels={"train[0]": "7"})
    changed = np.flatnonzero(before.labels != after.labels)
    assert len(changed) == 1
    assert after.labels[changed] == 7


def test_files_are_found_by_the_sources_name_from_the_labels_file_and_absolute(photos, tmp_path):
    names = load_dataset(photos, cache_dir=tmp_path / "cache").pool_names
    assert set(names) == {f"unlabeled/{number}.png" for number in range(6)}
    (tmp_path / "notes").mkdir()
    path = tmp_path / "notes" / "labels.csv"
    path.write_text(
        f"file,class\nunlabeled/0.png,red\n../photos/unlabeled/1.png,blue\n{photos}/unlabeled/2.png,red\ngone.png,red\n"
    )
    data = load_dataset(photos, cache_dir=tmp_path / "cache", labels=path)
    assert set(data.pool_names) == {f"unlabeled/{number}.png" for number in (3, 4, 5)}
    assert data.diagnostics.labeled_names[-3:] == ("unlabeled/0.png", "unlabeled/1.png", "unlabeled/2.png")
    assert [data.class_names[label] for label in data.labels[-3:]] == ["red", "blue", "red"]
    assert any("left out 1 label of an image" in note and "gone.png" in note for note in data.notes)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_files_are_found_where_links_lead_to_them_or_away_from_them(photos, tmp_path):
    store, source = tmp_path / "store", tmp_path / "linked"
    store.mkdir()
    source.mkdir()
    (source / "train").symlink_to(photos / "train")
    (source / "unlabeled").symlink_to(tmp_path / "pool")
    (tmp_path / "pool").mkdir()
    for number in range(4):
        (photos / "unlabeled" / f"{number}.png").rename(store / f"content-{number}")
        (tmp_path / "pool" / f"{number}.png").symlink_to(store / f"content-{number}")
    path = tmp_path / "labels.csv"
    path.write_text(f"file,class\nlinked/unlabeled/0.png,red\npool/1.png,blue\n{source}/unlabeled/2.png,red\n")
    data = load_dataset(source, cache_dir=tmp_path / "cache", labels=path)
    assert set(data.pool_names) == {"unlabeled/3.png"}
    assert [data.class_names[label] for label in data.labels[-3:]] == ["red", "blue", "red"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"unlabeled/0.png": "rde"}, "'rde'; did you mean 'red'"),
        (
            {"test/red/0.png": "blue"},
            r"'test/red/0.png', which is one of the test images of .*photos, and of another class there; take such",
        ),
        (
            {"test/red/0.png": "blue", "test/red/1.png": "blue", "test/blue/0.png": "blue", "test/blue/1.png": "red"},
            r"'test/red/0.png', which is one .*photos \(and to 2 more of those kept apart\), and of another class",
        ),
        (
            {"unlabeled/0.png": "heron"},
            r"the classes of .* are blue, red; a new one needs labeled images in the source",
        ),
        (
            {"nowhere.png": "red"},
            r"the one image .* not in .*: 'nowhere.png' .* images \('train/blue/0.png', say\)",
        ),
        (
            {"nowhere.png": "red", "no.png": "red"},
            r"none of the 2 images .* in .*; the first, 'nowhere.png', is",
        ),
    ],
)
def test_labels_that_cannot_be_are_told(photos, tmp_path, labels, message):
    with pytest.raises(InputError, match=message):
        load_dataset(photos, cache_dir=tmp_path / "cache", labels=labels)


def images_of(folder, names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (12, 12, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)


@pytest.mark.parametrize("where", ["", "images/", "unlabeled/", "train/", "unlabeled/2024/", "years"])
def test_images_in_no_class_folders_have_the_classes_of_the_labels_file(tmp_path, aged, where):
    folder, path = tmp_path / "photos", tmp_path / "labels.csv"
    names = [f"{where}{number}.png" if where != "years" else f"202{number % 3}/{number}.png" for number in range(30)]
    images_of(folder, names)
    aged()  # so that the folder is remembered
    classes = {name: ("zebra", "ape", "cat")[number % 3] for number, name in enumerate(names[:24])}
    path.write_text("File,Class\n" + "".join(f"{name},{label}\n" for name, label in classes.items()))
    data = load_dataset(folder, cache_dir=tmp_path / "cache", labels=path)
    assert data.class_names == ("ape", "cat", "zebra")
    found = zip(
        [*data.diagnostics.labeled_names, *data.diagnostics.test_names], [*data.labels, *data.test_labels], strict=True
    )
    assert {name: data.class_names[label] for name, label in found} == classes
    assert set(data.pool_names) == set(names[24:])
    assert f"the classes are those of {path}: 24 of the 30 images have one" in data.notes
    # With a label more, what was learned from is no test image.
    with path.open("a") as file:
        file.write(f"{names[24]},ape\n")
    more = load_dataset(folder, cache_dir=tmp_path / "cache", labels=path)
    assert set(data.diagnostics.labeled_names) <= set(more.diagnostics.labeled_names)
    assert set(more.pool_names) == set(names[25:])
    with path.open("a") as file:
        file.write(f"{names[24]},\n")
    assert names[24] in load_dataset(folder, cache_dir=tmp_path / "cache", labels=path).pool_names
    # Few are drawn as from class folders.
    few = load_dataset(folder, cache_dir=tmp_path / "cache", labels=path, labels_per_class=2)
    assert (len(few.labeled), len(few.pool) + len(few.test)) == (6, 24)
    # Without the file, the folder is what it was.
    for _ in range(2):
        if where == "years":
            assert load_dataset(folder, cache_dir=tmp_path / "cache").class_names == ("2020", "2021", "2022")
            continue
        with pytest.raises(InputError, match=r"class folders|only one class"):
            load_dataset(folder, cache_dir=tmp_path / "cache")


def test_of_a_labels_file_without_a_label_the_images_are_said_to_have_none(tmp_path):
    images_of(tmp_path / "photos", ["0.png", "1.png"])
    (tmp_path / "labels.csv").write_text("file,class\n")
    for labels, called in ((tmp_path / "labels.csv", "labels.csv"), ({"0.png": ""}, "labels")):
        with pytest.raises(InputError, match=f"has no labeled images; label a few of each class in .*{called}"):
            load_dataset(tmp_path / "photos", cache_dir=tmp_path / "cache", labels=labels)


@pytest.mark.parametrize("source", ["labels.csv", "labels.parquet"])
def test_headings_may_begin_with_a_large_letter(source, tmp_path):
    path = tmp_path / source
    if source.endswith("csv"):
        path.write_text("File,Class\na.png,cat\n")
        with LabelsFile(path) as labels:
            labels.append("b.png", "dog")
    else:
        pq.write_table(pa.table({"File": ["a.png", "b.png"], "Class": ["cat", "dog"]}), path)
    assert read_labels(path).classes == {"a.png": "cat", "b.png": "dog"}
    # A column that is called so to the letter is the one that is meant.
    (tmp_path / "two.csv").write_text("File,file,class\n1,a.png,cat\n")
    assert read_labels(tmp_path / "two.csv").classes == {"a.png": "cat"}


def test_with_classes_from_a_labels_file_a_test_part_is_one(tmp_path):
    folder = tmp_path / "photos"
    names = [f"unlabeled/{number}.png" for number in range(8)]
    images_of(folder, [*names, "test/dog/a.png", "test/cat/b.png"])
    labels = {name: "cat" if number % 2 else "dog" for number, name in enumerate(names[:6])}
    data = load_dataset(folder, cache_dir=tmp_path / "cache", labels=labels)
    assert [data.class_names[label] for label in data.test_labels] == ["cat", "dog"]
    assert (len(data.labeled), len(data.pool), len(data.test)) == (6, 2, 2)
    # The pool may have a class folder of its own.
    images_of(folder, ["train/dog/c.png"])
    alone = load_dataset(folder, cache_dir=tmp_path / "cache", labels={names[0]: "cat"})
    assert (alone.class_names, len(alone.labeled), len(alone.pool)) == (("cat", "dog"), 2, 7)
    shutil.rmtree(folder / "train")
    with pytest.raises(InputError, match=r"class 'dog' of test/ is not among those that labels gives \(cat, cow\)"):
        load_dataset(folder, cache_dir=tmp_path / "cache", labels={names[0]: "cat", names[1]: "cow"})


def test_a_single_class_folder_is_a_class_unless_the_labels_are_of_its_images(tmp_path):
    folder = tmp_path / "photos"
    images_of(folder, [f"train/cat/{number}.png" for number in range(4)] + [f"unlabeled/{n}.png" for n in range(4)])
    labels = {f"unlabeled/{number}.png": " dog" for number in range(3)}
    data = load_dataset(folder, cache_dir=tmp_path / "cache", labels=labels)
    assert data.class_names == ("cat", "dog")
    assert (len(data.labeled) + len(data.test), len(data.pool)) == (7, 1)
    same = load_dataset(folder, cache_dir=tmp_path / "cache", labels=labels | {"train/cat/0.png": "cat"})
    assert (len(same.labeled) + len(same.test), len(same.pool)) == (7, 1)
    with pytest.raises(InputError, match=r"has only one class .'dog'"):
        load_dataset(folder, cache_dir=tmp_path / "cache", labels={"train/cat/0.png": "dog"})


def test_lines_about_test_images_that_agree_are_passed_over(photos, tmp_path):
    before = load_dataset(photos, cache_dir=tmp_path / "cache")
    given = {f"test/{name}/{number}.png": name for name in ("red", "blue") for number in range(2)}
    data = load_dataset(photos, labels=given | {"unlabeled/0.png": "red"}, cache_dir=tmp_path / "cache")
    assert len(data.labeled) == len(before.labeled) + 1
    assert np.array_equal(data.test[:], before.test[:])


def test_an_image_held_out_to_test_with_cannot_be_labeled(color_images):
    before = load_dataset(color_images, labels_per_class=4)
    assert any("held out" in note for note in before.notes)
    held_out = set(range(40)) - {int(name[6:-1]) for name in before.pool_names}
    drawn = load_dataset(color_images, labels_per_class=4, labels={before.pool_names[0]: "1"})
    assert len(drawn.labeled) == 9
    with pytest.raises(InputError, match=r"a class to 'train.\d+.', which was held out of arrays to test with"):
        load_dataset(color_images, labels_per_class=4, labels={f"train[{row}]": "1" for row in held_out})
    everything = {f"train[{row}]": str(label) for row, label in enumerate(color_images[1])}
    every = load_dataset(color_images, labels_per_class=4, labels=everything)
    assert (len(every.labeled), len(every.pool)) == (40 - len(before.test), 0)
    assert np.array_equal(every.test[:], before.test[:])
    turned = {name: str(1 - int(label)) for name, label in everything.items()}
    with pytest.raises(InputError, match=rf"as one of '[01]' .and to {len(before.test) - 1} more.; take such lines"):
        load_dataset(color_images, labels_per_class=4, labels=turned)


def test_a_line_without_an_end_is_kept_aside(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,class\na.jpg,cat\nb.jpg,dog")
    with LabelsFile(path) as labels:
        assert labels.unfinished == tmp_path / "labels.csv.unfinished"
        labels.append("c.jpg", "dog")
    assert path.read_text() == "file,class\na.jpg,cat\nc.jpg,dog\n"
    assert labels.unfinished.read_text() == "b.jpg,dog\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no file that is always full")
def test_where_a_line_without_an_end_cannot_be_kept_is_told(tmp_path):
    path, aside = tmp_path / "labels.csv", tmp_path / "labels.csv.unfinished"
    path.write_text("file,class\nb.jpg,dog")
    aside.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as told:
        LabelsFile(path)
    assert told.value.filename == str(aside)
    assert path.read_text() == "file,class\nb.jpg,dog"


@pytest.mark.skipif(sys.platform == "win32", reason="keeps an open file from being replaced")
def test_a_file_that_an_editor_replaces_goes_on_being_added_to(tmp_path):
    path = tmp_path / "labels.csv"
    with LabelsFile(path) as labels:
        labels.append("a.jpg", "cat")
        (tmp_path / "edited").write_text("file,class\na.jpg,dog\n")
        (tmp_path / "edited").replace(path)
        labels.append("b.jpg", "cat")
        assert read_labels(path).classes == {"a.jpg": "dog", "b.jpg": "cat"}
        path.unlink()
        labels.append("c.jpg", "cat")
        assert path.read_text() == "file,class\nc.jpg,cat\n"


@pytest.mark.parametrize(
    ("edited", "message"),
    [
        ("file,class\na.jpg,cat\nb.jpg,dog", "the last line of .* has no end; end it with a newline"),
        ("file;class\na.jpg;cat\n", "has ';' between its columns; save it with commas"),
    ],
)
def test_a_label_is_not_added_to_what_an_editor_has_left_unfit_for_it(tmp_path, edited, message):
    path = tmp_path / "labels.csv"
    with LabelsFile(path) as labels:
        labels.append("a.jpg", "cat")
        path.write_text(edited)
        for _ in range(2):
            with pytest.raises(InputError, match=message):
                labels.append("c.jpg", "dog")
        assert path.read_text() == edited
        path.write_text("file,class\nb.jpg,dog\n")
        labels.append("c.jpg", "dog")
    assert read_labels(path).classes == {"b.jpg": "dog", "c.jpg": "dog"}


def test_labels_by_hand_are_understood_as_they_are_meant(photos, tmp_path):
    (photos / "train" / " odd").mkdir()
    for number in range(4):
        shutil.copy(photos / "train" / "red" / f"{number}.png", photos / "train" / " odd" / f"{number}.png")
    table = tmp_path / "labels.csv"
    table.write_text(
        "file,class\n"
        "unlabeled\\0.png,red\n"  # as Windows writes it
        "unlabeled/1.png, odd\n"
        "unlabeled/2.png,blue \n"
        "unlabeled/3.png,red\n"
        f"{photos}/unlabeled/3.png,\n"  # taken back, by another way to it
    )
    data = load_dataset(photos, labels_per_class=4, labels=table)
    names = dict(zip(data.diagnostics.labeled_names, data.labels, strict=True))
    assert {name: data.class_names[names[name]] for name in names if name.startswith("unlabeled")} == {
        "unlabeled/0.png": "red",
        "unlabeled/1.png": " odd",
        "unlabeled/2.png": "blue",
    }


@pytest.mark.parametrize("forms", ["NFC NFD", "NFD NFC"])
def test_a_class_may_be_written_with_composed_or_with_combining_signs(photos, tmp_path, forms):
    on_disk, in_file = (unicodedata.normalize(form, "café") for form in forms.split())
    (photos / "train" / "red").rename(photos / "train" / on_disk)
    (photos / "test" / "red").rename(photos / "test" / on_disk)
    table = tmp_path / "labels.csv"
    table.write_text(f"file,class\nunlabeled/0.png,{in_file} \n")
    data = load_dataset(photos, labels_per_class=4, labels=table)
    row = data.diagnostics.labeled_names.index(os.path.join("unlabeled", "0.png"))
    assert data.class_names[data.labels[row]] == on_disk


@pytest.mark.parametrize("forms", ["NFC NFD", "NFD NFC"])
def test_so_may_the_name_of_a_file(photos, tmp_path, forms):
    on_disk, in_file = (unicodedata.normalize(form, "café.png") for form in forms.split())
    (photos / "unlabeled" / "0.png").rename(photos / "unlabeled" / on_disk)
    table = tmp_path / "labels.csv"
    table.write_text(f"file,class\nunlabeled/{in_file},red\n")
    data = load_dataset(photos, labels_per_class=4, labels=table)
    assert os.path.join("unlabeled", on_disk) in data.diagnostics.labeled_names


def test_two_files_that_differ_in_the_spelling_alone_each_have_their_own_label(photos, tmp_path):
    names = [unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD")]
    for index, name in enumerate(names):
        (photos / "unlabeled" / f"{index}.png").rename(photos / "unlabeled" / name)
    if len(list((photos / "unlabeled").iterdir())) < 6:
        pytest.skip("this file system takes the two for one")
    table = tmp_path / "labels.csv"
    table.write_text(f"file,class\nunlabeled/{names[0]},red\nunlabeled/{names[1]},blue\n")
    data = load_dataset(photos, labels_per_class=4, labels=table)
    found = dict(zip(data.diagnostics.labeled_names, data.labels, strict=True))
    assert [data.class_names[found[os.path.join("unlabeled", name)]] for name in names] == ["red", "blue"]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_spreadsheets_of_any_country_are_understood(mark, tmp_path):
    path = tmp_path / "labels.csv"
    rows = [("file", "class", "note"), ('"a, b;c\td.jpg"', "cat", "x"), ("e.jpg", "dog", ""), ("f.jpg", "", "")]
    path.write_text("".join(mark.join(row) + "\n" for row in rows))
    assert read_labels(path).classes == {"a, b;c\td.jpg": "cat", "e.jpg": "dog"}
    path.write_text(path.read_text() + f"g.jpg{mark}ca")
    assert "not finished" in read_labels(path).notes[0]


def test_no_pattern_is_one_that_python_before_3_11_5_misreads():
    """Possessive ones take too much there, where something within them may be taken in several ways."""
    for file in Path(fewlabels.__file__).parent.rglob("*.py"):
        assert not re.search(r"[*+?][+]|[(][?]>", file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize("missing", [None, math.nan])
def test_numbers_of_which_pandas_made_fractions_are_the_classes_that_they_were(missing, tmp_path):
    pd.DataFrame({"file": list("abcd"), "class": [0, 10, missing, 2]}).to_parquet(tmp_path / "pandas.parquet")
    assert read_labels(tmp_path / "pandas.parquet").classes == {"a": "0", "b": "10", "d": "2"}
    numbers = pa.array([0.0, 10.0, missing, 2.5], from_pandas=False)
    pq.write_table(pa.table({"file": list("abcd"), "class": numbers}), tmp_path / "own.parquet")
    assert read_labels(tmp_path / "own.parquet").classes == {"a": "0", "b": "10", "d": "2.5"}


def test_so_are_those_in_a_csv_file_of_pandas(tmp_path):
    path = tmp_path / "pandas.csv"
    table = pd.DataFrame({"file": list("abcd"), "class": [0, 10, None, -1]})
    table.to_csv(path, index=False)
    assert read_labels(path).classes == {"a": "0", "b": "10"}
    # Of numbers that are no whole ones all stay as they are.
    path.write_text("file,class\na,1.0\nb,1.5\n")
    assert read_labels(path).classes == {"a": "1.0", "b": "1.5"}


@pytest.mark.parametrize("folders", [("1", "2"), ("1.0", "2.0")])
def test_a_whole_number_is_the_class_whose_folder_is_called_so_or_as_a_fraction(folders, tmp_path):
    images_of(tmp_path / "photos", [f"{name}/{n}.png" for name in folders for n in range(5)] + ["unlabeled/0.png"])
    for given in ("1", "1.0", 1, 1.0):
        data = load_dataset(tmp_path / "photos", cache_dir=tmp_path / "cache", labels={"unlabeled/0.png": given})
        assert data.class_names == folders
        assert data.labels[-1] == 0


@pytest.mark.parametrize("missing", [None, math.nan, pd.NA, -1, "-1", -1.0])
def test_what_marks_a_missing_label_is_no_class(missing, tmp_path):
    names = [f"{n}.png" for n in range(8)]
    images_of(tmp_path / "photos", names)
    labels = dict(zip(names, ["red", "blue"] * 2 + [missing] * 4, strict=True))
    for load in (load_dataset, load_unlabeled):
        data = load(tmp_path / "photos", cache_dir=tmp_path / "cache", labels=labels)
        assert data.class_names == ("blue", "red")
        assert set(data.pool_names) >= set(names[4:])


@pytest.mark.parametrize("cell", ["-1", " -1 ", "  "])
def test_so_it_is_in_a_file(cell, tmp_path):
    (tmp_path / "labels.csv").write_text(f"file,class\na,red\nb,red\nb,{cell}\n")
    assert read_labels(tmp_path / "labels.csv").classes == {"a": "red"}
    pd.DataFrame({"file": ["a", "b"], "class": ["red", cell]}).to_parquet(tmp_path / "labels.parquet")
    assert read_labels(tmp_path / "labels.parquet").classes == {"a": "red"}


def test_a_table_in_parquet_gives_labels_too(photos, tmp_path):
    table = pa.table({"rank": [1, 2, 3], "file": [f"unlabeled/{n}.png" for n in range(3)], "class": ["red", None, " "]})
    pq.write_table(table, tmp_path / "wanted.parquet")
    assert read_labels(tmp_path / "wanted.parquet").classes == {"unlabeled/0.png": "red"}
    data = load_dataset(photos, cache_dir=tmp_path / "cache", labels=tmp_path / "wanted.parquet")
    assert data.diagnostics.labeled_names[-1] == "unlabeled/0.png"
    pq.write_table(table.drop_columns(["class"]), tmp_path / "odd.parquet")
    with pytest.raises(InputError, match="has no column 'class' \\(its columns: rank, file\\)"):
        read_labels(tmp_path / "odd.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "wanted.parquet").read_bytes()[:100])
    with pytest.raises(InputError, match=r"cut\.parquet cannot be read as Parquet"):
        read_labels(tmp_path / "cut.parquet")


@pytest.mark.parametrize("column", ["file", "class"])
def test_a_small_table_in_parquet_that_holds_gigabytes_is_refused_in_little_memory(tmp_path, column):
    large = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 20_000_000]))
    names = pa.array([str(number) for number in range(20_000)])
    table = pa.table({"file": names, "class": names} | {column: large})
    pq.write_table(table, tmp_path / "l.parquet", compression="zstd", store_schema=False)
    del table, large
    assert (tmp_path / "l.parquet").stat().st_size < 1_000_000
    # What such a table takes whole is 400 GB.
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(InputError, match=r"l\.parquet has a cell of 20,000,000 bytes, which is no name"):
        read_labels(tmp_path / "l.parquet")
    assert pa.default_memory_pool().max_memory() < before + 500_000_000


def test_a_table_in_parquet_with_too_much_text_or_lists_is_refused(tmp_path, monkeypatch):
    pq.write_table(pa.table({"more": [{"a": 1}], "file": ["a" * 5000], "class": ["cat"]}), tmp_path / "l.parquet")
    assert len(read_labels(tmp_path / "l.parquet").classes) == 1
    pq.write_table(pa.table({"file": ["a"], "class": [["cat"]]}), tmp_path / "lists.parquet")
    with pytest.raises(InputError, match="has lists in its column 'class'; expected text or numbers"):
        read_labels(tmp_path / "lists.parquet")
    files = [f"{number}{'a' * 5000}" for number in range(9)]
    pq.write_table(pa.table({"file": files, "class": files}), tmp_path / "l.parquet")
    assert (tmp_path / "l.parquet").stat().st_size < 40_000
    monkeypatch.setattr(labels_file, "_LARGEST", 40_000)
    with pytest.raises(InputError, match=r"l\.parquet holds more than 0 MB of names, too much for a labels file"):
        read_labels(tmp_path / "l.parquet")


def test_a_table_is_refused_by_an_error_that_says_nothing_too(tmp_path, monkeypatch):
    pq.write_table(pa.table({"file": ["a"], "class": ["cat"]}), tmp_path / "l.parquet")

    def failing(path):
        raise OSError

    monkeypatch.setattr(pq, "read_schema", failing)
    with pytest.raises(InputError, match=r"l\.parquet cannot be read as Parquet: OSError$"):
        read_labels(tmp_path / "l.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,class\nunlabeled/0.png,red\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is no text file"),
        (
            "file,class\nunlabeled/hütte.png,red\n".encode("cp1252"),
            r"is not UTF-8: 'unlabeled/h.xfctte\.png' is not found",
        ),
        ("file,class\nunlabeled/0.png,grün\n".encode("cp1252"), "is not UTF-8: 'gr.xfcn' is not found"),
    ],
)
def test_what_a_spreadsheet_wrote_in_another_encoding_is_refused(content, message, photos, tmp_path):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_dataset(photos, cache_dir=tmp_path / "cache", labels=tmp_path / "labels.csv")


def test_a_name_as_find_writes_it_is_known(photos, tmp_path):
    (tmp_path / "labels.csv").write_text("file,class\n./unlabeled/0.png,red\nunlabeled//1.png,blue\n")
    data = load_dataset(photos, cache_dir=tmp_path / "cache", labels=tmp_path / "labels.csv")
    assert data.diagnostics.labeled_names[-2:] == ("unlabeled/0.png", "unlabeled/1.png")


def test_the_table_of_a_large_pool_is_read(tmp_path):
    table = tmp_path / "to-label.csv"
    rows = (
        f"unlabeled/{'of-a-long-name-' * 12}{number:07d}.jpg,{'cat' if number < 3 else ''},0.5\n"
        for number in range(350_000)
    )
    table.write_text("file,class,confidence\n" + "".join(rows))
    assert table.stat().st_size > 64 << 20
    assert list(read_labels(table).classes.values()) == ["cat"] * 3


def test_a_line_longer_than_a_table_has_is_no_heading(tmp_path):
    (tmp_path / "dump.csv").write_text("x" * 200_000 + "\n")
    with pytest.raises(InputError, match="no CSV file with the columns file and class"):
        LabelsFile(tmp_path / "dump.csv")
    assert heading_of(tmp_path / "dump.csv") == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("\ufefffile;class\r\na.png;cat\r\n".encode(), "has ';' between its columns; save it with commas"),
        ("file,class\na.png,cat\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
    ],
)
def test_nothing_is_added_to_what_a_spreadsheet_made_of_the_file(tmp_path, content, why):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(why)):
        LabelsFile(tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_bytes() == content


@pytest.mark.parametrize("lines", ["0.png,0.0\n1.png,1.0\n2.png,1\n", "0.png,0\n1.png,1.0\n2.png, 1\n"])
def test_one_whole_number_that_is_written_otherwise_renames_no_class(lines, tmp_path):
    (tmp_path / "l.csv").write_text(f"file,class\n{lines}3.png,-1.0\n")
    assert read_labels(tmp_path / "l.csv").classes == {"0.png": "0", "1.png": "1", "2.png": "1"}


def test_what_is_not_filled_in_in_one_of_two_tables_takes_no_label_back(tmp_path):
    table = pd.DataFrame({"file": ["a", "b", "a", "b"], "class": ["cat", "dog", None, "cat"], "rank": [1, 2, 3, 4]})
    table.to_parquet(tmp_path / "l.parquet")
    table.to_csv(tmp_path / "l.csv", index=False)
    for name in ("l.parquet", "l.csv"):
        assert read_labels(tmp_path / name).classes == {"a": "cat", "b": "cat"}


def test_a_label_taken_back_in_a_parquet_file_is_none(tmp_path):
    table = pd.DataFrame({"file": ["a", "b", "a"], "class": ["cat", "dog", None]})
    table.to_parquet(tmp_path / "l.parquet")
    table.to_csv(tmp_path / "l.csv", index=False)
    found, expected = read_labels(tmp_path / "l.parquet"), read_labels(tmp_path / "l.csv")
    assert found.classes == expected.classes == {"b": "dog"}
    assert found.lines == expected.lines == {"b": "dog", "a": ""}
    table.assign(guess="cat").to_parquet(tmp_path / "l.parquet")
    assert read_labels(tmp_path / "l.parquet").lines is None


@pytest.mark.parametrize(
    "content",
    [b"file,class\ra,cat\rb,dog\r", b"\n\nfile,class\na,cat\nb,dog\n", b"\r\nfile;class\r\na;cat\r\nb;dog\r\n"],
)
def test_old_line_ends_and_empty_lines_above_the_heading_are_read(content, tmp_path):
    (tmp_path / "l.csv").write_bytes(content)
    assert read_labels(tmp_path / "l.csv").classes == {"a": "cat", "b": "dog"}
    assert b"\r" in content or heading_of(tmp_path / "l.csv") == ["file", "class"]


def test_a_row_is_counted_from_the_first_line(tmp_path):
    (tmp_path / "l.csv").write_text("\nfile,class\na\n")
    with pytest.raises(InputError, match="row 3 of"):
        read_labels(tmp_path / "l.csv")


def test_arrays_without_labels_are_learned_from_by_their_names(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x_train=images[:20], x_pool=images[20:])
    given = {f"train[{row}]": ("cat", "dog")[row % 2] for row in range(12)} | {"unlabeled[3]": "cat"}
    data = load_dataset(tmp_path / "x.npz", labels=given)
    assert data.class_names == ("cat", "dog")
    assert len(data.labeled) + len(data.test) == 13
    assert sorted(data.pool_names)[0] == "train[12]"
    assert "unlabeled[4]" in list(data.pool_names)
    row = data.diagnostics.labeled_names.index("unlabeled[3]")
    np.testing.assert_array_equal(data.labeled[row], images[23])


def test_a_line_about_an_image_that_is_gone_may_have_a_class_that_is_gone(photos):
    data = load_dataset(photos, labels={"unlabeled/0.png": "red", "unlabeled/gone.png": "hat"})
    assert any("left out 1 label of an image that is not in" in note for note in data.notes)
    with pytest.raises(InputError, match=r"gives 'unlabeled/1.png' the class 'hat'"):
        load_dataset(photos, labels={"unlabeled/1.png": "hat"})


def test_classes_that_may_be_meant_otherwise_are_told(tmp_path, color_images):
    images, labels = color_images
    named = np.array(["shoe", "shirt"], object)[labels]
    named[:4], named[4:8] = "Shoe", "nan"
    notes = load_dataset((images, named)).notes
    assert any("there is a class 'nan'; where that is to mean that an image has no class" in note for note in notes)
    assert any("the classes Shoe and shoe differ in case alone" in note for note in notes)
    assert not any("class" in note for note in load_dataset(color_images).notes)


def test_labels_are_not_added_to_a_parquet_file_or_to_one_with_old_line_ends(tmp_path):
    pd.DataFrame({"file": ["a"], "class": ["cat"]}).to_parquet(tmp_path / "l.parquet")
    (tmp_path / "old.csv").write_bytes(b"file,class\ra,cat\r")
    for name, message in (("l.parquet", "is a Parquet file, which labels cannot"), ("old.csv", "save it as CSV UTF-8")):
        content = (tmp_path / name).read_bytes()
        with pytest.raises(InputError, match=message):
            LabelsFile(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content


def test_classes_are_in_the_order_in_which_the_file_first_names_them(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,class\na.jpg,dog\nb.jpg,cat\nc.jpg,dog\n")
    assert read_labels(path).class_names == ("dog", "cat")


def test_what_was_kept_aside_before_stays_beside_what_is_now(tmp_path):
    path = tmp_path / "labels.csv"
    for line in ("b.jpg,dog", "c.jpg,cat"):
        with path.open("a") as file:
            file.write(line if path.stat().st_size else f"file,class\n{line}")
        with LabelsFile(path) as labels:
            assert labels.unfinished is not None
    assert labels.unfinished.read_text() == "b.jpg,dog\nc.jpg,cat\n"


def test_of_one_image_the_last_line_counts_whatever_each_calls_it(photos, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,class\nunlabeled/0.png,blue\n./unlabeled/0.png,blue\nunlabeled/0.png,red\n")
    data = load_dataset(photos, cache_dir=tmp_path / "cache", labels=path)
    assert data.diagnostics.labeled_names[-1] == "unlabeled/0.png"
    assert data.class_names[data.labels[-1]] == "red"


def test_a_file_far_too_large_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "labels.csv"
    path.write_text("file,class\na.jpg,cat\n")
    monkeypatch.setattr(labels_file, "_LARGEST", 10)
    with pytest.raises(InputError, match="too large for a labels file"):
        read_labels(path)


@pytest.mark.skipif(sys.platform == "win32", reason="no folder is written to the disk there")
def test_a_new_file_is_on_the_disk_with_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(labels_file, "sync", synced.append)
    with LabelsFile(tmp_path / "labels.csv"):
        assert synced == [tmp_path]
    with LabelsFile(tmp_path / "labels.csv"):
        assert synced == [tmp_path]
