"""A pool as a model sees it: from a source, from files, from features."""

import csv
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

import fewlabels
import small_backbones
from fewlabels import InputError, Supervised, embed, load_dataset
from fewlabels.data import LabelsFile, read_labels
from fewlabels.labeling import PoolDescription, describe_pool, rank_for_labeling
from fewlabels.methods.examples import remember
from fewlabels.methods.origin import size_to_read
from fewlabels.serving.training import data_to_fit

pytestmark = pytest.mark.usefixtures("narrow_net")


@pytest.fixture
def of_photos(photos, tmp_path, monkeypatch):
    """A model of the photos, saved and read again."""
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    data = load_dataset(photos, labels_per_class=4)
    method = Supervised(steps=20, random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    method.save(tmp_path / "model", class_names=list(data.class_names))
    return fewlabels.load(tmp_path / "model")


def test_the_pool_of_its_source_is_that_of_the_fit(of_photos, photos):
    found = describe_pool(of_photos)
    assert len(found) == 18
    assert set(found.names) == {
        *(f"unlabeled/{number}.png" for number in range(6)),
        *(f"train/{color}/{number}.png" for color in ("red", "blue") for number in range(4, 10)),
    }
    assert np.array_equal(found.order, describe_pool(of_photos, photos).order)
    assert all(found.path(row) == photos / name for row, name in enumerate(found.names))


def test_what_is_labeled_by_hand_needs_no_pool_in_shards_beside_the_source(of_photos, photos):
    of_photos.source_.update(pool="/gone/*.tar", pool_limit="1MB")
    expected = set(load_dataset(photos, labels_per_class=4).pool_names)
    for found in (describe_pool(of_photos), describe_pool(of_photos, photos)):
        assert set(found.names) == expected
        assert any("images of /gone/*.tar cannot be labeled where they lie" in note for note in found.notes)
    shutil.rmtree(photos / "unlabeled")
    of_photos.source_["labels_per_class"] = None
    with pytest.raises(
        InputError, match=r"no images without a label; images of /gone.*`fewlabels label --engine local`"
    ):
        describe_pool(of_photos)


def test_what_it_says_of_an_image_is_what_the_model_says(of_photos):
    found = describe_pool(of_photos)
    expected = of_photos.predict_proba(found.data.pool)
    assert np.allclose(found.class_probabilities, expected, atol=1e-6)
    assert found.guesses == [of_photos.class_names_[index] for index in expected.argmax(1)]
    assert np.allclose(found.probabilities, expected.max(1), atol=1e-6)
    assert sorted(found.ranks) == list(range(1, 19))
    assert found.ranks[found.order[0]] == 1


def test_a_folder_of_files_is_read_as_files(of_photos, photos, tmp_path):
    (photos / "unlabeled" / "notes.txt").write_text("no image")
    found = describe_pool(of_photos, photos / "unlabeled")
    assert [path.path for path in found.skipped] == [str(photos / "unlabeled" / "notes.txt")]
    assert list(found.names) == [str(photos / "unlabeled" / f"{number}.png") for number in range(6)]
    assert found.path(0) == photos / "unlabeled" / "0.png"
    assert found.names_in(tmp_path)[0] == "photos/unlabeled/0.png"
    # A link is called by its own name, not by that of what it leads to.
    (photos / "unlabeled" / "0.png").rename(tmp_path / "content")
    (photos / "unlabeled" / "0.png").symlink_to(tmp_path / "content")
    assert found.names_in(tmp_path)[0] == "photos/unlabeled/0.png"
    twice = describe_pool(of_photos, [photos / "unlabeled" / "3.png", photos / "unlabeled"])
    assert sorted(twice.names) == list(found.names)
    of_source = describe_pool(of_photos)
    same = [list(of_source.names).index(f"unlabeled/{number}.png") for number in range(6)]
    assert np.allclose(found.class_probabilities, of_source.class_probabilities[same], atol=1e-6)
    with pytest.raises(InputError, match=r"notes\.txt"):
        describe_pool(of_photos, photos / "unlabeled", strict=True)


def test_a_far_off_cluster_in_the_pool_scores_low(of_photos, photos, tmp_path):
    from PIL import Image

    generator = np.random.default_rng(3)
    strange = tmp_path / "strange"
    strange.mkdir()
    for number in range(8):
        stripes = np.zeros((16, 16, 3)) + 255 * (np.arange(16) % 2)[:, None, None] * [0, 1, 0]
        pixels = np.clip(stripes + generator.integers(-20, 20, (16, 16, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(strange / f"{number}.png")
    alike = describe_pool(of_photos).in_distribution
    other = describe_pool(of_photos, strange).in_distribution
    assert other.max() < alike.min()
    assert other.max() < 0.15  # of eight labeled images, the farthest has a score of a ninth


def test_labels_given_since_leave_the_pool_and_count_as_labeled(of_photos, tmp_path):
    before = describe_pool(of_photos)
    first = before.names[before.order[0]]
    with LabelsFile(tmp_path / "labels.csv") as labels:
        labels.append(first, "red")
    after = describe_pool(of_photos, labels=tmp_path / "labels.csv")
    assert set(before.names) - set(after.names) == {first}
    assert len(after.data.labeled) == 9


def test_the_table_that_is_filled_in_is_a_labels_file(of_photos, photos, tmp_path):
    for number, pool in enumerate((None, photos / "unlabeled")):
        out = tmp_path / "elsewhere" / f"wanted-{number}.csv"
        describe_pool(of_photos, pool).write(out)
        with out.open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["rank"]) for row in rows] == list(range(1, len(rows) + 1))
        rows[0]["class"] = "blue"
        with out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        assert len(read_labels(out).classes) == 1
        assert len(load_dataset(photos, labels_per_class=4, labels=out).labeled) == 9


def test_a_table_with_a_carriage_return_in_a_name_can_be_read(tmp_path):
    probabilities = np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)
    scores, order = np.full(2, np.nan), np.array([1, 0])
    found = PoolDescription(
        [str(tmp_path / "a.png"), str(tmp_path / "b\r.png")], ("cat", "dog"), probabilities, scores, order, "margin"
    )
    table = found.write(tmp_path / "pool.csv")
    with table.open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["b\r.png", "a.png"]
    assert read_labels(table).classes == {}


def test_labels_for_a_data_set_that_was_read_are_refused_rather_than_left_out(few_labels):
    X, y, *_ = few_labels
    data = load_dataset((X, y))
    with pytest.raises(InputError, match="give them to load_dataset"):
        describe_pool(Supervised(), data, labels={"train[0]": "1"})


def test_an_array_is_refused_with_what_ranks_one(few_labels):
    X, y, *_ = few_labels
    model = Supervised(steps=2, random_state=0).fit(X, y)
    pool = X[y < 0]
    with pytest.raises(InputError, match=r"pool is an array.* rank_for_labeling") as told:
        describe_pool(model, pool)
    (asked,) = re.findall(r"rank_for_labeling\(.*\)\)", str(told.value))
    order = eval(asked, {"rank_for_labeling": rank_for_labeling, "model": model, "pool": pool})
    assert sorted(order) == list(range(len(pool)))


def test_csv_parquet_and_frame_say_the_same(of_photos, tmp_path):
    found = describe_pool(of_photos)
    frame = found.to_frame()
    columns = ["file", "class", "guess", "probability", "in_distribution", "rank"]
    assert list(frame) == columns
    stored = pq.read_table(found.write(tmp_path / "pool.parquet")).to_pandas()
    pd.testing.assert_frame_equal(stored, frame, check_dtype=False)
    text = pd.read_csv(found.write(tmp_path / "pool.csv"), keep_default_na=False)
    assert text["file"].tolist() == frame["file"].tolist()
    assert np.allclose(text["in_distribution"], frame["in_distribution"], atol=1e-4)
    with pytest.raises(InputError, match=r"neither \.csv nor \.parquet"):
        found.write(tmp_path / "pool.txt")


def test_a_model_of_features_describes_the_images_they_came_from(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 5, stride=3), torch.nn.ReLU())
    embed(photos, net, tmp_path / "features", image_size=16)
    data = load_dataset(tmp_path / "features", labels_per_class=4)
    method = fewlabels.LinearProbe(random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    assert method.examples_.samples.shape == (8, 6)
    of_features = describe_pool(method)
    assert set(of_features.names) == set(load_dataset(photos, labels_per_class=4).pool_names)
    method.save(tmp_path / "model")
    assert np.array_equal(describe_pool(fewlabels.load(tmp_path / "model")).order, of_features.order)


def test_a_model_without_examples_still_ranks_and_says_what_is_missing(few_labels):
    X, y, *_ = few_labels
    method = Supervised(steps=2, random_state=0).fit(X, y)
    found = describe_pool(method, "digits")
    assert np.isnan(found.in_distribution).all()
    assert found.rows(count=1)[0]["in_distribution"] is None
    assert "methods.examples.remember(model, data)" in found.notes[-1]
    remember(method, load_dataset("digits"))
    assert not np.isnan(describe_pool(method, "digits").in_distribution).any()
    del method.source_
    with pytest.raises(InputError, match="does not say what it was fitted on"):
        describe_pool(method)


def test_an_empty_pool_is_not_the_folder_that_is_worked_in(of_photos, photos, monkeypatch):
    for folder in (photos / "unlabeled", photos):
        monkeypatch.chdir(folder)
        with pytest.raises(InputError, match="the source is empty; give"):
            describe_pool(of_photos, "")


def test_a_folder_of_archives_says_what_reads_them(of_photos, tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.tar").write_bytes(b"0" * 512)
    for pool in (tmp_path / "shards", f"{tmp_path}/shards/*.tar"):
        with pytest.raises(InputError, match=r"give (it|them) to .*`label --engine local`"):
            describe_pool(of_photos, pool)


def test_a_source_that_is_gone_says_so(of_photos, photos):
    photos.rename(photos.with_name("moved"))
    with pytest.raises(InputError, match="the model was fitted on it"):
        describe_pool(of_photos)


def test_a_source_that_is_there_is_not_called_gone(few_labels):
    X, y, *_ = few_labels
    method = Supervised(steps=2, random_state=0).fit(X, y)
    remember(method, load_dataset("digits"))
    with pytest.raises(InputError, match="the classes of digits are 0, 1") as told:
        describe_pool(method, labels={"train[821]": "8.5"})
    assert "has moved" not in str(told.value)


def test_the_pool_of_a_model_on_features_is_read_as_its_net_was_given_the_images(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    net = f"python:{small_backbones.__file__}:colors"
    given = {"methods": ["linear-probe"], "labels_per_class": 5, "check": False}
    fewlabels.compare("digits", net=net, **given, out=tmp_path / "run")
    model = fewlabels.load(next((tmp_path / "run" / "models").iterdir()), net=net)
    # The net takes 16 pixels, and digits have 8.
    found = describe_pool(model)
    assert np.array_equal(
        found.class_probabilities.argmax(1), np.searchsorted(model.classes_, model.predict(found.data.pool))
    )


def test_features_are_read_as_they_are_though_the_model_remembers_the_size_of_images(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    net = f"python:{small_backbones.__file__}:colors"
    fewlabels.compare(photos, net=net, methods=["linear-probe"], image_size=12, check=False, out=tmp_path / "run")
    model = fewlabels.load(next((tmp_path / "run" / "models").iterdir()), net=net)
    features = fewlabels.embed(photos, net, tmp_path / "features", image_size=12).folder
    assert model.source_["image_size"] == 12
    assert size_to_read(model, str(features)) is None
    of_features, of_images = describe_pool(model, features), describe_pool(model)
    assert sorted(of_features.names) == sorted(of_images.names)


def test_a_frame_without_pandas_says_what_to_install(of_photos, monkeypatch):
    found = describe_pool(of_photos)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="a DataFrame needs pandas; install it with: pip install pandas"):
        found.to_frame()


def test_what_a_person_has_filled_in_is_never_written_over(of_photos, tmp_path):
    out = tmp_path / "wanted.csv"
    found = describe_pool(of_photos)
    found.write(out)
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    table.loc[[3, 5], "class"] = "blue"
    out.write_text("\n" + table.to_csv(index=False))
    typed = table.loc[[3, 5], "file"].tolist()
    found.write(out)
    again = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert again["file"].tolist()[:2] == typed
    assert again["class"].tolist() == ["blue"] * 2 + [""] * 16
    assert sorted(again["file"]) == sorted(table["file"])
    assert list(read_labels(out).classes) == typed
    # With what was learned from them since, too: the pool has fewer.
    describe_pool(of_photos, labels=out).write(out)
    assert list(read_labels(out).classes) == typed


def test_labels_in_another_form_are_refused_rather_than_lost(of_photos, tmp_path):
    found = describe_pool(of_photos)
    with LabelsFile(tmp_path / "labels.csv") as labels:
        labels.append(found.names[0], "red")
    found.write(tmp_path / "wanted.parquet")
    table = pq.read_table(tmp_path / "wanted.parquet").to_pandas()
    table.loc[0, "class"] = "red"
    table.to_parquet(tmp_path / "wanted.parquet")
    for name in ("labels.csv", "wanted.parquet"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(InputError, match="holds 1 classes, which would be lost"):
            found.write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


def test_a_table_beside_photos_does_not_make_their_folder_another_source(of_photos, photos):
    describe_pool(of_photos).write(photos / "unlabeled" / "ranked.parquet")
    assert len(describe_pool(of_photos, photos / "unlabeled")) == 6


def test_of_few_held_out_images_no_share_of_strangers_is_told(of_photos):
    found = describe_pool(of_photos)
    assert found.summary()["unlike_the_labeled"] is None
    assert any("too few to say how many of the pool are unlike them" in note for note in found.notes)
    data = load_dataset("digits", labels_per_class=5)
    few = np.sort(np.concatenate([np.flatnonzero(data.labels == c)[: 5 if c == 0 else 4] for c in range(10)]))
    method = Supervised(steps=2, random_state=0).fit(data.labeled.take(few), data.labels[few])
    remember(method, replace(data, labeled=data.labeled.take(few), labels=data.labels[few]))
    assert any(note.startswith("1 labeled image was held out, too few") for note in describe_pool(method, data).notes)
    data = load_dataset("digits", labels_per_class=40)
    method = Supervised(steps=20, random_state=0, validation_fraction=0.2).fit(data.labeled, data.labels)
    remember(method, data)
    found = describe_pool(method, data)
    assert found.summary()["unlike_the_labeled"] == (found.in_distribution < 0.05).sum()


def filled_in(out, rename=str):
    """Fill in two rows of a table, and call their images otherwise."""
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    rows = table.index[table["file"].str.contains("unlabeled/")][:2]
    table.loc[rows, "class"] = "blue"
    table.loc[rows, "file"] = table.loc[rows, "file"].map(rename)
    table.to_csv(out, index=False)


@pytest.mark.parametrize("first", ["files", "source"])
def test_a_table_of_files_goes_on_as_one_of_their_source_without_losing_a_label(first, of_photos, photos, tmp_path):
    out = tmp_path / "wanted.csv"
    before, after = (photos / "unlabeled", None) if first == "files" else (None, photos / "unlabeled")
    describe_pool(of_photos, before).write(out)
    filled_in(out)
    describe_pool(of_photos, after).write(out)
    assert len(load_dataset(photos, labels_per_class=4, labels=out).labeled) == 10
    if first == "files":
        names = [name.removeprefix("photos/") for name in pd.read_csv(out)["file"]]
        assert len(names) == len(set(names)) == 18


def test_an_image_is_asked_about_once_though_windows_wrote_its_name(of_photos, photos, tmp_path):
    out = tmp_path / "wanted.csv"
    found = describe_pool(of_photos)
    found.write(out)
    filled_in(out, lambda name: name.replace("/", "\\"))
    found.write(out)
    assert len(pd.read_csv(out)) == 18
    assert len(load_dataset(photos, labels_per_class=4, labels=out).labeled) == 10


def test_columns_that_a_person_has_added_are_not_lost(of_photos, tmp_path):
    out = tmp_path / "wanted.csv"
    found = describe_pool(of_photos)
    found.write(out)
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    table["sure"] = ["no", *[""] * 17]
    table.to_csv(out, index=False)
    before = out.read_bytes()
    with pytest.raises(InputError, match=r"has columns that would be lost \(sure\)"):
        found.write(out)
    assert out.read_bytes() == before


def test_all_that_is_labeled_by_now_is_regarded_as_such(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    labels = tmp_path / "labels.csv"
    labels.write_text("file,class\nunlabeled/0.png,red\n")
    data = load_dataset(photos, labels_per_class=4, labels=labels)
    method = Supervised(steps=20, random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    labels.write_text(f"{labels.read_text()}unlabeled/1.png,red\nunlabeled/2.png,blue\n")
    known = []

    def rank(probabilities, embeddings, labeled, **options):
        known.append(np.unique(labeled, axis=0))
        return np.arange(len(probabilities))

    monkeypatch.setattr("fewlabels.labeling.description.rank_for_labeling", rank)
    describe_pool(method, labels=labels)
    # The file of the fit has grown since.
    describe_pool(method)
    describe_pool(method, load_dataset(photos, labels_per_class=4, labels=labels))
    assert np.array_equal(known[0], known[1])
    assert np.array_equal(known[0], known[2])


def test_a_file_that_is_no_such_table_is_not_replaced(of_photos, tmp_path):
    found = describe_pool(of_photos)
    (tmp_path / "mine.csv").write_text("image;kind\na.png;red\n")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    pd.DataFrame({"image": [b"1"], "label": [0]}).to_parquet(tmp_path / "train.parquet")
    for name in ("mine.csv", "damaged.parquet", "train.parquet"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(InputError, match=f"{name} is no table that `fewlabels label` wrote"):
            found.write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    (tmp_path / "empty.csv").touch()
    assert len(pd.read_csv(found.write(tmp_path / "empty.csv"))) == 18
    assert len(pd.read_parquet(found.write(found.write(tmp_path / "again.parquet")))) == 18


def test_a_source_that_was_moved_is_a_source_by_its_class_folders_too(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    flat = tmp_path / "flat"
    shutil.copytree(photos / "train", flat)
    shutil.copytree(photos / "unlabeled", flat / "unlabeled")
    data = load_dataset(flat)
    method = Supervised(steps=2, random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    method.save(tmp_path / "model", class_names=list(data.class_names))
    flat.rename(tmp_path / "moved")
    # Without a part beside the class folders, it is a folder of files.
    shutil.copytree(photos / "train", tmp_path / "files")
    assert len(describe_pool(fewlabels.load(tmp_path / "model"), tmp_path / "files")) == 20
    found = describe_pool(fewlabels.load(tmp_path / "model"), tmp_path / "moved")
    assert sorted(found.names) == [f"unlabeled/{number}.png" for number in range(6)]


def test_all_that_a_labels_file_tells_is_labeled_though_few_were_to_be_learned_from(tmp_path, photos, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "flat").mkdir()
    for color in ("red", "blue"):
        for number in range(10):
            shutil.copy(photos / "train" / color / f"{number}.png", tmp_path / "flat" / f"{color}{number}.png")
    lines = [f"{color}{number}.png,{color}\n" for color in ("red", "blue") for number in range(8)]
    (tmp_path / "l.csv").write_text("file,class\n" + "".join(lines))
    data = load_dataset(tmp_path / "flat", labels=tmp_path / "l.csv", labels_per_class=3)
    assert len(data.labeled) == 6
    method = Supervised(steps=2, random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    found = describe_pool(method)
    assert sorted(found.names) == ["blue8.png", "blue9.png", "red8.png", "red9.png"]
    # Of a class that is new there may be fewer than the fit asked for.
    (tmp_path / "l.csv").write_text((tmp_path / "l.csv").read_text() + "red8.png,green\nblue8.png,green\n")
    assert sorted(describe_pool(method).names) == ["blue9.png", "red9.png"]
    again = data_to_fit(method, None, str(tmp_path / "l.csv"))
    assert again.class_names == ("blue", "green", "red")
    assert len(again.labeled) + len(again.test) == 18
    assert again.origin["labels_per_class"] is None
