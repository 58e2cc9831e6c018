"""Which images to label first, before there is a model."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fewlabels
import small_backbones
from fewlabels import InputError, embed
from fewlabels.data import load_unlabeled
from fewlabels.labeling import first_to_label
from shard_files import as_png, write_parquet

PATTERNS = {
    "rows": lambda row, _: row % 4 < 2,
    "columns": lambda _, column: column % 4 < 2,
    "checks": lambda row, column: (row // 2 + column // 2) % 2 == 0,
    "slanted": lambda row, column: (row + column) % 6 < 3,
}


def pictures(counts, seed=0):
    """Return noisy pictures of patterns, (n, 16, 16, 3), and the pattern of each."""
    draws, found, kinds = np.random.default_rng(seed), [], []
    row, column = np.indices((16, 16))
    for kind, count in counts.items():
        for _ in range(count):
            pattern = PATTERNS[kind](row + draws.integers(6), column + draws.integers(6))
            picture = np.where(pattern[:, :, None], draws.integers(150, 256, 3), draws.integers(0, 100, 3))
            found.append(np.clip(picture + draws.normal(0, 10, picture.shape), 0, 255).astype(np.uint8))
            kinds.append(kind)
    return np.stack(found), kinds


@pytest.fixture
def flat(tmp_path):
    """A folder of pictures, no class folders; the pattern of each by its name. Most are of one pattern."""
    images, kinds = pictures({"rows": 60, "columns": 12, "checks": 12, "slanted": 12})
    names = {}
    (tmp_path / "flat").mkdir()
    for number in np.random.default_rng(1).permutation(len(images)):
        name = f"{number:03d}.png"
        Image.fromarray(images[number]).save(tmp_path / "flat" / name)
        names[name] = kinds[number]
    return tmp_path / "flat", names


def test_the_first_images_are_of_every_kind(flat, tmp_path):
    folder, kinds = flat
    # By chance eight of these 96 are of all four in less than one draw of three.
    for seed in (1, 2, 0):
        found = first_to_label(folder, random_state=seed, cache_dir=tmp_path / "cache")
        first = [row["file"] for row in found.rows(count=8)]
        assert {kinds[name] for name in first} == set(PATTERNS)
    assert sorted(found.names) == sorted(kinds)
    assert sorted(found.order) == list(range(96))
    assert found.guesses == [""] * 96
    assert np.isnan(found.probabilities).all()
    again = first_to_label(folder, cache_dir=tmp_path / "cache")
    assert np.array_equal(found.order, again.order)
    assert found.path(int(found.order[0])) == folder / first[0]


def test_images_with_a_label_are_not_asked_for_and_what_is_like_them_comes_later(flat, tmp_path):
    folder, kinds = flat
    given = {name: kind for name, kind in kinds.items() if kind == "rows" and int(name[:3]) < 30}
    found = first_to_label(folder, labels=given, cache_dir=tmp_path / "cache")
    assert sorted(found.names) == sorted(set(kinds) - set(given))
    first = [kinds[row["file"]] for row in found.rows(count=3)]
    assert set(first) == {"columns", "checks", "slanted"}


def test_class_folders_tell_what_is_labeled_and_a_folder_of_years_tells_nothing(photos, tmp_path):
    found = first_to_label(photos, cache_dir=tmp_path / "cache")
    assert sorted(found.names) == [f"unlabeled/{number}.png" for number in range(6)]
    assert found.notes == ()
    for number in range(6):
        (photos / "unlabeled" / f"{number}.png").unlink()
    (photos / "unlabeled").rmdir()
    found = first_to_label(photos, cache_dir=tmp_path / "cache")
    assert len(found) == 20
    assert found.notes == (
        "every image lies in a folder (blue, red), and none in unlabeled/: the folders are taken as no classes",
    )
    # So they are where a pretrained net has made features of them.
    embed(photos, small_backbones.colors(), tmp_path / "features", cache_dir=tmp_path / "cache")
    assert len(first_to_label(tmp_path / "features", cache_dir=tmp_path / "cache")) == 20


def test_of_a_large_pool_some_are_looked_at_and_every_image_has_a_place(monkeypatch, flat, tmp_path):
    from fewlabels.labeling import first

    monkeypatch.setattr(first, "CANDIDATES", 40)
    looked_at = []
    original = first.PatchFeatures.__call__
    monkeypatch.setattr(
        first.PatchFeatures, "__call__", lambda self, images: looked_at.append(len(images)) or original(self, images)
    )
    found = first_to_label(flat[0], count=5, cache_dir=tmp_path / "cache")
    assert sum(looked_at) == 40
    assert sorted(found.order) == list(range(96))


def test_a_pretrained_net_or_its_features_tell_what_is_alike(flat, tmp_path, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    folder, _ = flat
    net = small_backbones.colors()
    by_net = first_to_label(folder, net=net)
    embed(folder, net, tmp_path / "features")
    by_features = first_to_label(tmp_path / "features")
    called = [[found.names[row] for row in found.order[:10]] for found in (by_net, by_features)]
    assert called[0] == called[1]
    with pytest.raises(InputError, match="holds features already"):
        first_to_label(tmp_path / "features", net=net)


def test_arrays_and_their_labels(flat):
    images, _ = pictures({"rows": 10, "columns": 10})
    found = first_to_label({"train": (images, None)}, count=4)
    assert list(found.names[:2]) == ["train[0]", "train[1]"]
    some = [*["rows"] * 5, *[None] * 15]
    assert len(first_to_label({"train": (images, some)})) == 15
    with pytest.raises(InputError, match="no images without a label"):
        first_to_label({"train": (images, ["rows"] * 20)})
    with pytest.raises(InputError, match=r"labels go with a source.*load_unlabeled"):
        first_to_label(load_unlabeled({"train": (images, None)}), labels={})


def test_parts_to_test_with_are_left_alone_and_an_npz_file_needs_no_label(tmp_path):
    images, kinds = pictures({"rows": 10, "columns": 10})
    found = first_to_label({"train": (images, None), "test": (images, kinds)})
    assert len(found) == 20
    np.savez(tmp_path / "x.npz", X=images)
    assert len(first_to_label(tmp_path / "x.npz")) == 20
    np.savez(tmp_path / "y.npz", X=images, y=np.full(20, -1))
    assert len(first_to_label(tmp_path / "y.npz")) == 20
    for size in (0, 2000):
        with pytest.raises(InputError, match=f"image_size={size} is not a whole number"):
            first_to_label({"train": (images, None)}, image_size=size)
    with pytest.raises(InputError, match="count=0 is not a whole number of at least 1"):
        first_to_label({"train": (images, None)}, strategy="random", count=0)
    empty = load_unlabeled({"train": (images, None)})
    with pytest.raises(InputError, match="there is nothing to ask for"):
        first_to_label(replace(empty, pool=empty.pool.take(np.empty(0, np.int64))))


def test_a_parquet_file_without_labels_is_asked_about_and_then_learned_from(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    images, kinds = pictures({"rows": 15, "columns": 15})
    write_parquet(tmp_path / "pool.parquet", [as_png(image) for image in images])
    found = first_to_label(tmp_path / "pool.parquet")
    first = [found.names[row] for row in found.order[:20]]
    assert first[0].startswith("train[")
    labels = {name: kinds[int(name[6:-1])] for name in first}
    data = fewlabels.load_dataset(tmp_path / "pool.parquet", labels=labels)
    assert data.class_names == ("columns", "rows")
    assert (len(data.labeled) + len(data.test), len(data.pool)) == (20, 10)
    with pytest.raises(InputError, match="images but no labels"):
        fewlabels.load_dataset(tmp_path / "pool.parquet")


def test_images_that_are_all_the_same_have_an_order():
    found = first_to_label({"train": (np.full((30, 8, 8, 3), 7, np.uint8), None)})
    assert sorted(found.order) == list(range(30))


def test_a_table_that_is_not_filled_in_yet_changes_nothing(run, photos):
    shutil.rmtree(photos / "unlabeled")
    assert run("label", "photos", "--out", "first.csv", "--quiet")[0] == 0
    code, output, errors = run("label", "photos", "--labels", "first.csv", "--json")
    assert code == 0, errors
    assert json.loads(output)["images"] == 20


def test_class_folders_know_no_other_class(photos, tmp_path):
    with pytest.raises(InputError, match=r"the class 'redd'; did you mean 'red'"):
        load_unlabeled(photos, labels={"unlabeled/0.png": "redd"}, cache_dir=tmp_path / "cache")


def test_a_comparison_says_where_its_models_are(run, photos):
    words = ("--methods", "supervised", "--steps", 1, "--labels-per-class", 4, "--no-check", "--quiet")
    assert run("compare", photos, *words, "--out", "here")[0] == 0
    code, _, errors = run("label", "here")
    assert code == 2
    assert "here is a comparison, not a model; its models are in here/models/" in " ".join(errors.split())
    # A file beside images may be called like that of a model.
    (photos / "config.json").write_text("{}")
    assert run("label", "photos", "--quiet", "--show", 0)[0] == 0


def test_random_is_the_bar_and_looks_at_no_image(flat, tmp_path, monkeypatch):
    from fewlabels.labeling import first

    monkeypatch.setattr(first, "PatchFeatures", None)
    found = [
        first_to_label(flat[0], strategy="random", random_state=seed, cache_dir=tmp_path / "cache").order
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    with pytest.raises(InputError, match="'margin' asks a model what it is unsure of, and there is none yet"):
        first_to_label(flat[0], strategy="margin")


def test_from_a_folder_of_files_to_a_model_on_the_command_line(run, flat):
    _, kinds = flat
    code, output, errors = run("label", "flat", "--out", "wanted.csv", "--show", 3, "--quiet")
    assert code == 0, errors
    assert "guess" not in output
    assert "96 images, best first, in wanted.csv" in output
    code, output, _ = run("label", "flat", "--out", "wanted.csv", "--show", 0)
    assert "then fewlabels fit flat --labels wanted.csv" in " ".join(output.split())
    with open("wanted.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, 97))
    for row in rows[:40]:
        row["class"] = kinds[row["file"]]
    with open("wanted.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    # Once more, for more of them: what was filled in stays.
    code, output, _ = run("label", "flat", "--labels", "wanted.csv", "--out", "wanted.csv", "--quiet")
    assert code == 0
    assert "56 images, best first, in wanted.csv; 40 rows that were filled in stay" in " ".join(output.split())
    code, _, errors = run("fit", "flat", "--labels", "wanted.csv", "--method", "kmeans-features", "--quiet")
    assert code == 0, errors
    assert set(fewlabels.load("model").class_names_) == set(PATTERNS)
    # With the model, the same command tells by its guesses.
    code, output, _ = run("label", "model", "--json", "--show", 1)
    assert code == 0
    assert json.loads(output)["next"][0]["guess"] in PATTERNS


def test_labels_of_another_file_are_learned_from_too_as_the_next_step_says(run, flat):
    _, kinds = flat
    Path("old.csv").write_text("file,class\n" + "".join(f"{name},{kinds[name]}\n" for name in sorted(kinds)[:60]))
    code, output, errors = run("label", "flat", "--labels", "old.csv", "--out", "next.csv", "--show", 0)
    assert code == 0, errors
    said = "add the lines of old.csv (file and class) at its end, then fewlabels fit flat --labels next.csv"
    assert said in " ".join(output.split())
    with open("next.csv", "a") as file:
        file.writelines(Path("old.csv").read_text().splitlines(keepends=True)[1:])
    code, output, errors = run("label", "flat", "--labels", "next.csv", "--out", "next.csv", "--show", 0)
    assert code == 0, errors
    assert "36 images, best first, in next.csv; 60 rows that were filled in stay" in output
    assert "add the lines" not in output
    assert len(fewlabels.data.read_labels("next.csv").classes) == 60


def test_what_it_says_as_json(run, flat):
    code, output, _ = run("label", "flat", "--json", "--show", 1, "--strategy", "random", "--seed", 3)
    assert code == 0
    found = json.loads(output)
    assert (found["images"], found["classes"], found["strategy"]) == (96, [], "random")
    assert found["next"][0]["probability"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "there is no model folder at nowhere; to begin without one, give a folder of images"),
        (("empty",), "empty is no model folder, and as images: empty holds no class folders with images"),
        (("flat", "--strategy", "margin"), "'margin' asks a model what it is unsure of, and there is none yet"),
        (("flat", "flat"), "flat is no model folder; before there is a model, give the source alone"),
        (("nowhere", "flat"), "there is no model folder at nowhere"),
        (("flat", "flat", "--engine", "local", "--out", "o"), "flat is no model folder"),
        (("digits",), "digits has no images without a label"),
        (("flat", "--labels", "none.csv"), "error: there is no labels file 'none.csv'"),
    ],
)
def test_what_cannot_be_is_one_line_and_code_2(run, flat, words, message):
    Path("empty").mkdir()
    code, _, errors = run("label", *words)
    assert code == 2
    assert message in errors
    assert len(errors.strip().splitlines()) == 1


def test_where_every_image_has_a_label_none_is_asked_for(tmp_path, run):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    (tmp_path / "flat").mkdir()
    for row, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "flat" / f"{row}.png")
    lines = [f"{row}.png,{'ab'[row % 2]}\n" for row in range(6)]
    (tmp_path / "all.csv").write_text("file,class\n" + "".join(lines))
    code, _, errors = run("label", tmp_path / "flat", "--labels", tmp_path / "all.csv")
    assert code == 2
    assert "has no images without a label: there is nothing to ask for" in errors
    column = [{"bytes": as_png(image), "path": None} for image in images]
    pq.write_table(pa.table({"image": column, "label": [0, 1, 0, 1, 0, 1]}), tmp_path / "train.parquet")
    code, _, errors = run("label", tmp_path / "train.parquet")
    assert "has no images without a label: there is nothing to ask for" in errors
