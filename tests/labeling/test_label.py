"""`fewlabels label`, and labels on their way into a fit: with files and the command line as a person has them."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import fewlabels
from fewlabels.cli.app import screen
from fewlabels.data import LabelsFile

pytestmark = pytest.mark.usefixtures("narrow_net")


@pytest.fixture
def fitted(run, photos):
    code, *_ = run("fit", photos, "--method", "supervised", "--steps", 8, "--labels-per-class", 4, "--quiet")
    assert code == 0
    return photos


def test_from_a_model_to_a_table_to_labels_to_a_better_fed_model(run, fitted, tmp_path):
    code, output, _ = run("label", "model", "--out", "wanted.csv", "--show", 3, "--quiet")
    assert code == 0
    assert "18 images, best first, in wanted.csv" in output
    with open("wanted.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == [str(number) for number in range(1, 19)]
    shown = [line for line in output.splitlines() if ".png" in line]
    assert len(shown) == 3
    assert rows[0]["file"] in shown[0]
    assert all(0 <= float(row["in_distribution"]) <= 1 and 0.5 <= float(row["probability"]) <= 1 for row in rows)
    assert {row["guess"] for row in rows} <= {"red", "blue"}
    for row in rows[:2]:
        row["class"] = "red"
    with open("wanted.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    words = ("--method", "supervised", "--steps", 3, "--labels-per-class", 4, "--quiet")
    code, *_ = run("fit", fitted, *words, "--labels", "wanted.csv", "--out", "second")
    assert code == 0
    second = fewlabels.load("second")
    assert len(second.examples_) == 10
    assert second.source_["labels"] == str(Path("wanted.csv").resolve())
    code, output, _ = run("label", "second", "--json")
    found = json.loads(output)
    assert found["images"] == 16
    assert not {row["file"] for row in rows[:2]} & {row["file"] for row in found["next"]}
    code, output, _ = run("label", "second", "--out", "wanted.csv", "--show", 0, "--quiet")
    assert code == 0
    assert "16 images, best first, in wanted.csv; 2 rows that were filled in stay, before the others" in output
    code, output, _ = run("label", "model", "--out", "again.csv", "--show", 0, "--quiet")
    filled = Path("again.csv").read_text().replace(",,", ",red,", 1)
    Path("again.csv").write_text(filled)
    code, output, _ = run("label", "model", "--out", "again.csv", "--show", 0, "--quiet")
    assert "18 images, best first, in again.csv; 1 row that was filled in stays, before the others" in output
    assert len(Path("again.csv").read_text().splitlines()) == 19
    # As an editor leaves it that ends no last line: with the class that was filled in there.
    whole = Path("wanted.csv").read_bytes().rstrip(b"\r\n")
    Path("wanted.csv").write_bytes(whole)
    code, _, errors = run("label", "second", "--out", "wanted.csv", "--show", 0, "--quiet")
    assert code == 2
    assert "the last line of wanted.csv has no end, and would be lost" in " ".join(errors.split())
    assert Path("wanted.csv").read_bytes() == whole


def test_labels_join_those_of_every_run_of_a_comparison(run, photos, tmp_path):
    with LabelsFile(tmp_path / "labels.csv") as labels:
        for number in range(6):
            labels.append(f"unlabeled/{number}.png", "blue")
    words = ("--methods", "supervised", "--steps", 2, "--labels-per-class", 4, "--no-check", "--quiet")
    code, *_ = run("compare", photos, *words, "--labels", "labels.csv", "--out", "here")
    assert code == 0
    config = json.loads((tmp_path / "here" / "config.json").read_text())
    (data,) = config["data"].values()
    assert (data["labeled"], data["pool"]) == (14, 12)
    assert "--labels labels.csv" in config["command"]
    model = fewlabels.load(tmp_path / "here" / "models" / "supervised-4-0")
    assert np.bincount(model.examples_.labels).tolist() == [10, 4]
    code, output, _ = run("label", tmp_path / "here" / "models" / "supervised-4-0", "--json")
    assert json.loads(output)["images"] == 12


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_a_half_line_of_a_killed_process_is_noted_and_left_out(run, photos, tmp_path, quiet):
    (tmp_path / "labels.csv").write_text("file,class\nunlabeled/0.png,red\nunlabeled/1.png,bl")
    words = ("--method", "supervised", "--steps", 1, "--labels", "labels.csv")
    code, _, errors = run("fit", photos, *words, *quiet)
    assert code == 0
    assert errors.count("was not finished and is left out") == 1
    assert len(fewlabels.load("model").examples_) == 21


def test_a_folder_of_files_as_parquet_and_as_json(run, fitted, tmp_path):
    (fitted / "unlabeled" / "broken.png").write_bytes(b"no image")
    code, output, errors = run("label", "model", fitted / "unlabeled", "--out", "pool.parquet", "--show", 2, "--quiet")
    assert code == 0
    assert "broken.png" in errors
    table = pq.read_table("pool.parquet").to_pydict()
    assert set(table["file"]) == {f"photos/unlabeled/{number}.png" for number in range(6)}
    code, output, errors = run("label", "model", fitted / "unlabeled", "--json", "--show", 2, "--strategy", "margin")
    found = json.loads(output)
    assert (found["images"], found["skipped"], found["strategy"]) == (6, 1, "margin")
    assert len(found["next"]) == 2
    assert "broken.png" in errors
    code, _, errors = run("label", "model", fitted / "unlabeled", "--strict")
    assert code == 2
    assert "broken.png" in errors


def test_names_that_would_do_something_on_a_screen_are_shown(run, fitted, monkeypatch):
    monkeypatch.setattr(screen, "_width", 200)  # wide enough for a name on one line
    (fitted / "unlabeled" / "0.png").rename(fitted / "unlabeled" / "[red]x\x1b[2J.png")
    _, output, _ = run("label", "model", fitted / "unlabeled", "--show", 6, "--quiet")
    assert "[red]x\\x1b[2J.png" in output
    assert "\x1b[2J" not in output


@pytest.mark.parametrize(("width", "has_scores"), [(40, False), (80, True)])
def test_a_narrow_screen_shows_which_images_are_meant(run, fitted, monkeypatch, width, has_scores):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(screen, "_width", width)
    _, output, _ = run("label", "model", fitted / "unlabeled", "--show", 2, "--quiet")
    assert max(map(len, output.splitlines())) <= width
    assert "".join(output.split()).count(".png") == 2
    assert ("like the labeled" in output) == has_scores


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "there is no model folder at nowhere"),
        (("model", "nowhere"), "there is no data set, folder or file 'nowhere'"),
        (("model", "--strategy", "marign"), "did you mean 'margin'"),
        (("model", "--out", "pool.txt"), "neither .csv nor .parquet"),
        (("model", "--out", "tables.parquet"), "tables.parquet is a folder; give the name of a file"),
        (("model", "photos/unlabeled", "--labels", "x.csv"), "give the source as pool"),
        (("model", "p", "--engine", "local", "--out", "o", "--labels", "x.csv"), "--labels does not go with --engine"),
        (("model", "p", "--engine", "local", "--out", "o", "--strict"), "--strict does not go with --engine"),
        (("photos", "--engine", "local", "--out", "o"), "photos is none; give MODEL, then POOL, the shards"),
        (("model", "--labels", "none.csv"), "there is no labels file 'none.csv'"),
        (("model", "--show", "-1"), "'--show': Input should be greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_one_line_and_code_2(run, fitted, words, message):
    Path("tables.parquet").mkdir()
    code, output, errors = run("label", *words)
    assert code == 2
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert not output
