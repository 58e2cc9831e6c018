from __future__ import annotations

import dataclasses
import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from fewlabels import check_dataset, load_dataset
from fewlabels.checks.duplicates import exact_copies
from fewlabels.cli import app
from fewlabels.data import ImageRows

SIDE = 32
FOUND = (
    "copies-within",
    "exact-copies",
    "near-duplicates",
    "label-conflict",
    "missing-class",
    "shifted-part",
    "stretched-part",
)


@pytest.fixture(scope="module")
def photos():
    """Two photos, of a temple and of a flower, each cut into 260 squares that share no pixel."""
    return [
        [
            Image.fromarray(photo[y : y + SIDE, x : x + SIDE])
            for y in range(0, 13 * SIDE, SIDE)
            for x in range(0, 20 * SIDE, SIDE)
        ]
        for photo in load_sample_images().images
    ]


@pytest.fixture
def parts(photos):
    """Squares in random order: 60 a class with labels, 30 to validate, 60 to test, 110 without labels."""
    order = np.random.default_rng(1).permutation(260)
    found = {name: {} for name in ("train", "validation", "test")}
    pool = []
    for name, squares in zip(("temple", "flower"), photos, strict=True):
        shuffled = [squares[number] for number in order]
        found["train"][name] = shuffled[:60]
        found["validation"][name] = shuffled[60:90]
        found["test"][name] = shuffled[90:150]
        pool += shuffled[150:]
    return {**found, "pool": pool}


def write(folder, parts):
    for part in ("train", "validation", "test"):
        for name, images in parts[part].items():
            (folder / part / name).mkdir(parents=True)
            for number, image in enumerate(images):
                image.save(folder / part / name / f"{number:03}.png")
    (folder / "unlabeled").mkdir()
    for number, image in enumerate(parts["pool"]):
        image.save(folder / "unlabeled" / f"{number:03}.png")
    return folder


def check(folder, parts):
    data = load_dataset(write(folder / "photos", parts), cache_dir=folder / "cache")
    found = check_dataset(data)
    return {(finding.kind, *finding.parts): finding for finding in found.findings}


def recompressed(image, quality=50):
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(io.BytesIO(content.getvalue())).convert("RGB")


def brighter(image):
    return image.point(lambda value: min(255, round(value * 1.2 + 8)))


def mirrored(image):
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def shifted(image):
    return Image.fromarray(np.pad(np.asarray(image), ((1, 0), (1, 0), (0, 0)), mode="edge")[:SIDE, :SIDE])


def rescaled(image):
    return image.resize((24, 24), Image.Resampling.BICUBIC).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def stretched(image):
    return image.resize((round(SIDE * 4 / 3), SIDE), Image.Resampling.BICUBIC).crop((5, 0, 5 + SIDE, SIDE))


def detailed(images, count):
    """Squares with something on them: of a piece of sky nobody could say whose copy it is."""
    return sorted(images, key=lambda image: -np.asarray(image.convert("L"), float).std())[:count]


def test_a_clean_set_is_found_clean(parts, tmp_path):
    found = check(tmp_path, parts)
    assert not [key for key in found if key[0] in FOUND]


def test_copies_between_any_two_parts_are_counted(parts, tmp_path):
    train, validation, test = (parts[name]["temple"] for name in ("train", "validation", "test"))
    test[:3] = train[:3]
    validation[:2] = train[10:12]
    test[5:9] = validation[5:9]
    parts["pool"][:6] = [*test[20:25], train[30]]
    parts["pool"][6:8] = validation[10:12]
    found = check(tmp_path, parts)
    counts = {key[1:]: finding.count for key, finding in found.items() if key[0] == "exact-copies"}
    assert counts == {
        ("labeled", "test"): 3,
        ("labeled", "validation"): 2,
        ("validation", "test"): 4,
        ("labeled", "pool"): 1,
        ("test", "pool"): 5,
        ("validation", "pool"): 2,
    }
    leak = found["exact-copies", "labeled", "test"]
    assert leak.severity == "leak"
    assert leak.text.startswith("3 of 120 test images (2.5%) are also among the labeled images")
    assert leak.examples[0] == ("train/temple/000.png", "test/temple/000.png")
    assert found["exact-copies", "labeled", "pool"].severity == "note"
    assert not [key for key in found if key[0] == "near-duplicates"]


@pytest.mark.parametrize("change", [recompressed, brighter, mirrored, shifted, rescaled])
def test_a_picture_that_was_changed_a_little_is_a_near_duplicate(change, parts, tmp_path):
    chosen = detailed(parts["train"]["flower"], 12)
    parts["test"]["flower"][:6] = [change(image) for image in chosen[:6]]
    parts["pool"][:6] = [change(image) for image in chosen[6:]]
    found = check(tmp_path, parts)
    assert found["near-duplicates", "labeled", "test"].count == 6
    assert found["near-duplicates", "labeled", "pool"].count == 6
    assert {key for key in found if key[0] in FOUND} == {
        ("near-duplicates", "labeled", "test"),
        ("near-duplicates", "labeled", "pool"),
    }


def test_copies_with_different_labels_are_told_with_their_classes(parts, tmp_path):
    parts["train"]["flower"][:2] = parts["train"]["temple"][:2]
    parts["test"]["temple"][0] = recompressed(detailed(parts["train"]["flower"], 1)[0])
    found = check(tmp_path, parts)
    exact = found["label-conflict", "labeled"]
    assert exact.count == 4
    assert "flower and temple" in exact.text
    assert set(exact.examples) == {(f"train/flower/00{n}.png", f"train/temple/00{n}.png") for n in (0, 1)}
    assert found["label-conflict", "labeled", "test"].count == 2


@pytest.mark.parametrize(("part", "name"), [("test", "test"), ("validation", "validation")])
def test_a_class_without_an_image_is_missed(part, name, parts, tmp_path):
    del parts[part]["flower"]
    found = check(tmp_path, parts)["missing-class", name]
    assert found.text.startswith(f"'flower': no {name} image")


def test_a_class_without_a_label_is_missed_too(photos):
    images = np.stack([np.asarray(image) for image in photos[0][:60]])
    labels = np.arange(60) % 2
    train = (images[:40], np.where(labels[:40] == 1, np.arange(40) % 3, 0))
    data = load_dataset({"train": train, "test": (images[40:], labels[40:])})
    import dataclasses

    fewer = dataclasses.replace(data, labels=np.where(data.labels == 2, 0, data.labels))
    kinds = {(finding.kind, *finding.parts): finding.text for finding in check_dataset(fewer).findings}
    assert "'2'" in kinds["missing-class", "labeled"]


def test_a_pool_from_elsewhere_has_its_number(parts, tmp_path):
    parts["pool"] = [image.convert("L").convert("RGB") for image in parts["pool"]]
    found = check(tmp_path, parts)["shifted-part", "labeled", "pool"]
    assert found.severity == "trap"
    assert 0.75 < found.number <= 1
    assert f"in {found.number:.0%} of pairs" in found.text


def test_a_stretched_pool_is_told_and_by_how_much(parts, tmp_path):
    parts["pool"] = [stretched(image) for image in parts["pool"]]
    found = check(tmp_path, parts)["stretched-part", "labeled", "pool"]
    assert 1.15 < found.number < 4 / 3 + 0.1
    assert "stretched in width" in found.text


def test_a_repeated_image_within_the_pool_is_nobodys_concern(parts, tmp_path):
    parts["pool"][:50] = [parts["pool"][0]] * 50
    assert not [key for key in check(tmp_path, parts) if key[0] in ("exact-copies", "near-duplicates")]


def test_similar_small_images_are_not_taken_for_near_duplicates():
    kinds = [finding.kind for finding in check_dataset(load_dataset("digits")).findings]
    assert "near-duplicates" not in kinds
    assert "not-checked" in kinds


def test_digits_that_look_alike_are_not_near_duplicates_at_a_larger_size_either():
    digits = load_dataset("digits", labels_per_class=50)
    large = [
        np.stack([np.asarray(Image.fromarray(image[..., 0]).resize((SIDE, SIDE))) for image in rows[:]])
        for rows in (digits.labeled, digits.pool, digits.test)
    ]
    data = load_dataset(
        {"train": (large[0], digits.labels), "unlabeled": large[1], "test": (large[2], digits.test_labels)}
    )
    assert not [finding for finding in check_dataset(data).findings if finding.kind == "near-duplicates"]


def test_each_image_is_paired_with_the_first_of_its_likes_in_every_part():
    hashes = np.array([b"a", b"a", b"b", b"a", b"b", b"b"], "V1")
    pairs, group = exact_copies(hashes, np.array([0, 2, 4, 6]), searched=4)
    assert pairs.tolist() == [[0, 1], [0, 3], [2, 4], [2, 5]]
    assert group[0] == group[1] == group[3] != group[2]


def test_the_command_prints_what_it_found_and_says_so_with_its_exit_code(parts, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    clean = write(tmp_path / "clean", parts)
    result = CliRunner().invoke(app, ["check", str(clean), "--quiet"])
    assert result.exit_code == 0
    assert "no leak and no trap found" in result.stdout
    parts["test"]["temple"][0] = parts["train"]["temple"][0]
    leaky = write(tmp_path / "leaky", parts)
    result = CliRunner().invoke(app, ["check", str(leaky), "--quiet"])
    assert result.exit_code == 1
    assert "leak: 1 of 120 test images (0.8%) are also among the labeled images" in result.stdout
    assert "train/temple/000.png = test/temple/000.png" in result.stdout
    found = json.loads(CliRunner().invoke(app, ["check", str(leaky), "--json"]).stdout)
    assert found["problems"] == 1
    assert found["findings"][0]["kind"] == "exact-copies"
    assert found["images"] == {"labeled": 120, "validation": 60, "test": 120, "pool": 220}
    (leaky / "test" / "temple" / "000.png").rename(leaky / "test" / "temple" / "000\x1b[2J.png")
    result = CliRunner().invoke(app, ["check", str(leaky), "--quiet", "--no-near"])
    assert "= test/temple/000\\x1b[2J.png" in result.stdout


def test_files_of_a_validation_part_are_named(parts, tmp_path):
    parts["validation"]["temple"][3] = parts["train"]["temple"][0]
    found = check(tmp_path, parts)["exact-copies", "labeled", "validation"]
    assert found.examples == (
        (os.path.join("train", "temple", "000.png"), os.path.join("validation", "temple", "003.png")),
    )


def test_many_copies_among_the_labeled_images_are_told_where_some_are_held_out_of_them(photos):
    images = np.stack([np.asarray(image) for image in photos[0][:40] + photos[1][:40]])
    labels = np.repeat([0, 1], 40)
    test = (np.stack([np.asarray(image) for image in photos[0][200:230] + photos[1][200:230]]), np.repeat([0, 1], 30))
    twice = {"train": (np.concatenate([images, images[::4]]), np.concatenate([labels, labels[::4]])), "test": test}
    found = {finding.kind: finding for finding in check_dataset(load_dataset(twice)).findings}
    assert found["copies-within"].count == 20
    assert "20 of 100 labeled images (20.0%) are copies" in found["copies-within"].text
    for other in ({"train": (images, labels), "test": test}, twice | {"validation": test}):
        assert "copies-within" not in {finding.kind for finding in check_dataset(load_dataset(other)).findings}


@pytest.mark.parametrize("side", [1, 2, 3])
def test_images_of_a_few_pixels_are_checked_as_far_as_they_go(side):
    images = np.random.default_rng(0).integers(0, 255, (60, side, side, 3), dtype=np.uint8)
    labels = np.arange(60) % 2
    data = load_dataset({"train": (images[:30], labels[:30]), "test": (images[30:], labels[30:])})
    assert "not-checked" in {finding.kind for finding in check_dataset(data).findings}


def test_parts_of_too_few_images_to_compare_are_not_called_fine():
    found = check_dataset(load_dataset("digits", labels_per_class=1))
    told = {finding.parts: finding.text for finding in found.findings if finding.kind == "not-checked"}
    assert "too few or too small to tell" in told["labeled", "pool"]
    assert "too few or too small to tell" in told["labeled", "test"]
    assert found.measured == ()


def test_all_copies_count_and_not_the_first_alone():
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)
    data = dataclasses.replace(
        load_dataset("digits", labels_per_class=1),
        labeled=ImageRows(np.concatenate([images[20:], np.repeat(images[11:12], 4, axis=0)])),
        labels=np.array([0, 1] * 7),
        pool=ImageRows(images[10:11]),
        test=ImageRows(np.concatenate([images[:10], np.repeat(images[10:11], 5, axis=0)])),
        test_labels=np.arange(15) % 2,
    )
    found = {finding.kind: finding for finding in check_dataset(data).findings}
    assert found["exact-copies"].count == 5
    assert "5 of 15 test images" in found["exact-copies"].text
    # Of the labeled copies two have another label than the others, and so it is with those to test.
    assert found["label-conflict"].count == 4 + 5
