import csv
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import fewlabels
from fewlabels import METHODS
from fewlabels.cli.app import screen
from fewlabels.methods import BASIC_METHODS
from fewlabels.methods.fitting import fit_dataset
from fewlabels.storage.errors import InputError
from fewlabels.storage.lock import FolderLock
from fewlabels.training.checkpoint import Checkpoints
from interruptions import interrupted_script
from small_backbones import tiny_dinov2

pytestmark = pytest.mark.usefixtures("narrow_net")


def test_compare_leaves_everything_of_the_run_in_one_folder(run, tmp_path):
    code, output, _ = run("compare", "digits", "--steps", 3, "--out", "here", "--quiet")
    assert code == 0
    assert "report: here/report.html" in output
    with open("here/results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == list(BASIC_METHODS)
    needed = "method labels_per_class seed train_accuracy validation_accuracy test_accuracy fit_seconds gradient_images"
    assert set(needed.split()) <= set(rows[0])
    assert all(0 <= float(row["test_accuracy"]) <= 1 for row in rows)
    assert {row["labels_per_class"] for row in rows} == {"10"}
    present = {path.name for path in (tmp_path / "here").iterdir()}
    assert {"config.json", "metrics.jsonl", "results.csv", "results.json", "models", "report.html"} <= present
    events = [json.loads(line) for line in (tmp_path / "here" / "metrics.jsonl").read_text().splitlines()]
    assert {event["method"] for event in events} == set(BASIC_METHODS)
    config = json.loads((tmp_path / "here" / "config.json").read_text())
    assert config["command"].startswith("fewlabels compare digits")


def test_on_a_narrow_screen_methods_keep_their_names_and_figures_are_whole(run, monkeypatch):
    for width, shown in ((80, "train valid. test 95 % seconds"), (50, "train valid. test 95 %"), (40, "test 95 %")):
        monkeypatch.setattr(screen, "_width", width)
        code, output, _ = run("compare", "digits", "--methods", "supervised", "--steps", 2, "-q")
        assert code == 0
        heading, line, row = (one for one in output.splitlines() if one[:7] in (" method", " ──────", " superv"))
        assert len(line) <= width
        assert heading.split() == ["method", *shown.split()]
        assert row.split()[0] == "supervised"
        assert "…" not in row


def test_on_a_narrow_screen_data_sets_keep_their_names(run, monkeypatch):
    monkeypatch.setattr(screen, "_width", 24)
    _, output, _ = run("datasets")
    assert all(name in output for name in ("digits", "cifar10", "cifar100", "stl10"))


def test_the_report_of_a_folder_is_written_anew(run):
    assert run("compare", "digits", "--methods", "supervised", "--steps", 2, "--out", "here", "-q")[0] == 0
    before = Path("here/report.html").read_text()
    Path("here/report.html").unlink()
    code, output, _ = run("report", "here")
    assert code == 0
    assert "report: here/report.html" in output
    assert Path("here/report.html").read_text() == before
    assert run("report", "here", "--out", "other.html")[0] == 0
    assert Path("other.html").read_text() == before
    code, _, errors = run("report", "nowhere")
    assert code == 2
    assert errors == "error: nowhere is no folder; give the one that `fewlabels compare --out` wrote\n"


def test_compare_takes_several_label_counts_and_seeds(run):
    code, *_ = run(
        "compare",
        "--methods",
        "supervised",
        "--labels-per-class",
        "2,4",
        "--seeds",
        2,
        "--steps",
        2,
        "--out",
        "o",
        "-q",
    )
    assert code == 0
    with open("o/results.csv") as file:
        found = [(row["labels_per_class"], row["seed"]) for row in csv.DictReader(file)]
    assert sorted(found) == [("2", "0"), ("2", "1"), ("4", "0"), ("4", "1")]


def test_from_a_folder_of_photos_to_classes_of_new_ones(run, photos, tmp_path):
    code, output, _ = run("fit", photos, "--method", "supervised", "--steps", 40, "--out", "model", "-q")
    assert code == 0
    assert re.search(r"model saved in model: \d+ s of training, [\d.]+% on \d+ held-out images\n", output)
    code, output, _ = run("evaluate", "model", photos, "--json")
    assert code == 0
    assert json.loads(output)["test_accuracy"] > 0.7
    (photos / "unlabeled" / "broken.png").write_bytes(b"junk")
    code, output, errors = run("predict", "model", photos / "unlabeled", "--out", "classes.csv", "-q")
    assert code == 0
    assert "broken.png: not an image" in errors
    with open("classes.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {row["class"] for row in rows} <= {"red", "blue"}
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)
    run("predict", "model", photos / "unlabeled" / "0.png", photos / "test", "--out", "classes.parquet", "-q")
    assert pq.read_table("classes.parquet").num_rows == 9
    code, output, _ = run("predict", "model", photos / "unlabeled" / "0.png", "-q")
    assert output.splitlines()[0] == "file,class,probability"


def test_from_photos_to_features_to_classes(run, photos, tmp_path):
    net = f"python:{Path(__file__).parent / 'small_backbones.py'}:colors"
    code, output, _ = run("embed", photos, "--net", net, "--out", "features", "-q")
    assert code == 0
    assert "features of 34 images are written in features" in output
    assert "trained on ImageNet" in output
    assert "were there already" in run("embed", photos, "--net", net, "--out", "features", "-q")[1]
    code, output, _ = run("fit", "features", "--method", "label-spreading", "--steps", 10, "--out", "model", "-q")
    assert code == 0
    code, output, _ = run("evaluate", "model", "features", "--json")
    assert json.loads(output)["test_accuracy"] > 0.7
    code, _, errors = run("predict", "model", photos / "test", "-q")
    assert (code, "give it as net" in errors) == (2, True)
    code, output, _ = run("predict", "model", photos / "test", "--net", net, "-q")
    rows = list(csv.DictReader(io.StringIO(output)))
    assert len(rows) == 8
    assert np.mean([row["class"] in row["file"].split("/") for row in rows]) > 0.7
    code, output, _ = run("compare", "features", "--methods", "linear-probe,prototypes", "--out", "compared", "-q")
    assert code == 0
    assert "12 features of each image" in Path("compared/report.html").read_text()
    assert "no images to look at" in Path("compared/config.json").read_text()
    assert "trained on ImageNet" in Path("compared/report.html").read_text()


def test_the_table_of_a_comparison_says_how_many_labels_it_is_of(run):
    words = ("compare", "digits", "--methods", "prototypes", "--no-check", "--out", "one", "-q")
    code, output, errors = run(*words, "--labels-per-class", 1)
    assert code == 0, errors
    assert "digits with 1 label per class: accuracy in %" in output


def test_the_ladder_is_climbed_on_the_same_images_and_ends_in_advice(run, photos, tmp_path):
    net = tiny_dinov2(tmp_path / "dino")
    words = ("compare", photos, "--net", net, "--steps", 5, "--labels-per-class", 3, "--out", "ladder", "-q")
    code, output, errors = run(*words, "--rungs", "scratch,probe,finetune")
    assert code == 0, errors
    with open("ladder/results.csv") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["probe", "finetune", "scratch"]
    assert "recommendation with 3 labels per class: probe" in output
    assert "20 images" not in output
    assert "34 images in" in output
    page = Path("ladder/report.html").read_text()
    assert "Recommendation with 3 labels per class: probe" in page
    assert "unknown images" in page
    config = json.loads(Path("ladder/config.json").read_text())
    assert "--rungs probe,finetune,scratch" in config["command"]
    shown = fewlabels.load("ladder/models/finetune-3-0")
    assert shown.sample_shape_ == (28, 28, 3), "the net's own size"
    assert fewlabels.load("ladder/models/scratch-3-0").sample_shape_ == (16, 16, 3)
    assert fewlabels.load("ladder/models/probe-3-0").image_shape_ == (28, 28, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "digits", "--rungs", "probe"), "no pretrained net is given"),
        (("compare", "digits", "--rungs", "probbe", "--net", "hf:x"), "did you mean 'probe'"),
        (("compare", "digits", "--rungs", "scratch", "--methods", "supervised"), "methods and rungs are given"),
        (("embed", "digits", "--net", "resnet"), "is no backbone"),
        (("fit", "digits", "--net", "hf:/not/there"), "there is no folder"),
        (("fit", "digits", "--net", "hg:x"), "unknown net"),
    ],
)
def test_a_pretrained_net_that_cannot_be_used_is_told_in_one_line(words, message, run):
    code, _, errors = run(*words, "-q")
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1


def test_every_command_has_help_with_an_example(run):
    code, output, _ = run("--help")
    for command in ("compare", "report", "fit", "embed", "predict", "evaluate", "datasets", "methods"):
        assert command in output
        code, text, _ = run(command, "--help")
        assert code == 0
        assert "Example" in text


def test_without_a_command_there_is_help_and_no_word_of_an_error(run):
    code, output, errors = run()
    assert code == 2
    assert "Usage:" in output
    assert errors == ""


def test_the_version_is_told(run):
    assert run("--version") == (0, f"fewlabels {fewlabels.__version__}\n", "")


def test_the_lists_name_everything_known(run):
    sources, methods = (run(command)[1] for command in ("datasets", "methods"))
    assert all(name in sources for name in ("digits", "stl10", "cifar10", "cifar100"))
    assert all(name in methods for name in METHODS)
    code, text, _ = run("methods", "fix-match")
    assert code == 0
    assert "threshold=0.95" in text
    assert "unlabeled_ratio=2.0" in text[text.index("preset=short") :]
    assert "did you mean 'fix-match'" in run("methods", "fixmatsh")[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "digit"], "did you mean 'digits'"),
        (["compare", "/no/such/folder"], "there is no data set, folder or file '/no/such/folder'"),
        (["compare", "--methods", "superviced"], "did you mean 'supervised'"),
        (["compare", "--stepz", "3"], "No such option: --stepz"),
        (["compare", "--steps", "3", "--epochs", "2"], "give one of"),
        (["compare", "--steps", "0"], "steps=0"),
        (["compare", "--budget", "soon"], "neither a time, like 90s"),
        (["compare", "--labels-per-class", "999"], "labeled images, fewer than the 999"),
        (["compare", "--labels-per-class", "few"], "not a whole number"),
        (["compare", "--labels-per-class", "²"], "not a whole number"),
        (["compare", "--choose", "rounds"], "--choose 'rounds' is not NAME=VALUE"),
        (["compare", "--preset", "notebok"], "did you mean 'notebook'"),
        (["compare", "--set", "round=2"], "has a setting 'round'"),
        (["compare", "--set", "rounds"], "is not NAME=VALUE"),
        (["compare", "--image-size", "2"], "image_size=2"),
        (["fit", "--method", "magic"], "unknown method 'magic'"),
        (["fit", "--set", "learning_rate=-1"], "learning_rate=-1"),
        (["fit", "--set", "steps=3"], "give --steps itself"),
        (["fit", "--set", "random_state=3"], "give --seed itself"),
        (["fit", "--net", "fast", "--set", "net=notebook"], "give --net itself"),
        (["fit", "--set", "name=uda"], "give --method itself"),
        (["fit", "--out", "."], "--out . is no name of a new folder"),
        (["fit", "--seed", "-1"], "'--seed': Input should be greater than or equal to 0"),
        (["fit", "--pool-limit", "1MB"], "--pool-limit 1MB is for the images of --pool; give that too"),
        (["check", "--seed", "-1"], "'--seed': Input should be greater than or equal to 0"),
        (["label", "--seed", str(2**32)], "'--seed': Input should be less than or equal to 4294967295"),
        (["predict", "nowhere", "x.png"], "there is no model folder at nowhere"),
        (["evaluate", "nowhere"], "there is no model folder at nowhere"),
        (["evalute", "model"], "No such command 'evalute'"),
        (["predict", "model", ""], "there is nothing after fewlabels predict model: is a variable of the shell unset?"),
        (["fit", "digits", "--out="], "there is nothing after fewlabels fit digits --out: is a variable"),
        (["fit", "digits", "--net=python:f.py?a="], "names no function"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing_behind(run, words, message, tmp_path):
    code, output, errors = run(*words)
    assert code not in (0, None)
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert errors.startswith("error: ")
    assert output == ""
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_names_with_brackets_colons_and_spaces_are_printed_as_they_are(run, photos):
    photos.rename(photos.with_name("my [old] :cat: photos"))
    code, output, _ = run(
        "fit", "my [old] :cat: photos", "--method", "supervised", "--steps", 2, "--out", "a [red]m[/x]"
    )
    assert code == 0
    assert "model saved in a [red]m[/x]:" in output
    assert "next: fewlabels evaluate 'a [red]m[/x]' 'my [old] :cat: photos'" in output


def test_a_file_whose_name_is_no_text_is_classified_on_the_screen_too(run, photos, monkeypatch):
    assert run("fit", photos, "--method", "supervised", "--steps", 2, "--quiet")[0] == 0
    name = os.fsencode(photos / "unlabeled") + b"/\xff.png"
    os.rename(photos / "unlabeled" / "0.png", name)
    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", screen)
    assert run("predict", "model", os.fsdecode(name), "--quiet")[0] == 0
    screen.flush()
    assert name in screen.buffer.getvalue()


def test_a_model_of_images_that_are_no_squares_is_measured_and_asked_as_it_was_fitted(run, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (30, 8, 12, 1)).astype(np.uint8)
    np.savez(tmp_path / "wide.npz", x_train=images, y_train=[0, 1, -1] * 10, x_test=images, y_test=[0, 1, 1] * 10)
    assert run("fit", "wide.npz", "--method", "supervised", "--steps", 2, "--quiet")[0] == 0
    assert run("evaluate", "model", "wide.npz", "--json")[0] == 0
    assert json.loads(run("label", "model", "--json")[1])["images"] == 10


def test_a_folder_that_holds_a_run_is_not_overwritten_unasked(run, tmp_path):
    words = ("compare", "--methods", "supervised", "--steps", 1, "--out", "o", "-q")
    assert run(*words)[0] == 0
    before = (tmp_path / "o" / "results.csv").read_text()
    code, _, errors = run(*words)
    assert code == 2
    assert "overwrite" in errors
    assert (tmp_path / "o" / "results.csv").read_text() == before
    assert run(*words, "--overwrite")[0] == 0


def test_truncated_photos_are_left_out_with_a_count_or_refused_when_strict(run, photos):
    whole = (photos / "train" / "red" / "0.png").read_bytes()
    (photos / "train" / "red" / "0.png").write_bytes(whole[: len(whole) // 2])
    code, _, errors = run("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m", "-q")
    assert code == 0
    assert "left out 1 unreadable file: " in errors
    code, _, errors = run("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m2", "-q", "--strict")
    assert code == 2
    assert "0.png" in errors
    assert not os.path.exists("m2")


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_a_folder_that_no_model_could_be_read_from_is_refused_before_training(run, command):
    code, output, errors = run(command, "--steps", 1, "--out", os.fsdecode(b"caf\xe9"), "-q")
    assert (code, output) == (2, "")
    assert errors.startswith("error: 'caf\\udce9' is no name in UTF-8, and no model there could be read")
    assert not os.path.exists(b"caf\xe9")


def test_predictions_take_the_place_of_predictions_alone(run, photos, tmp_path):
    run("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m", "-q")
    labels = "file,class\nunlabeled/0.png,red\n"
    (tmp_path / "labels.csv").write_text(labels)
    code, _, errors = run("predict", "m", photos / "unlabeled", "--out", "labels.csv")
    assert code == 2
    assert "labels.csv is no table that `fewlabels predict` wrote, and would be lost" in errors
    (tmp_path / "tables.csv").mkdir()
    code, _, errors = run("predict", "m", photos / "unlabeled", "--out", "tables.csv")
    assert (code, "tables.csv is a folder; give the name of a file" in errors) == (2, True)
    assert (tmp_path / "labels.csv").read_text() == labels
    for name in ("classes.csv", "classes.csv", "classes.parquet", "classes.parquet"):
        assert run("predict", "m", photos / "unlabeled", "--out", name)[0] == 0


def test_every_command_that_reads_a_source_tells_what_it_left_out(run, photos):
    run("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m", "-q")
    (photos / "test" / "red" / "0.png").write_bytes(b"no image")
    for words in (
        ("evaluate", "m", photos, "--json", "-q"),
        ("check", photos, "--json", "-q"),
        ("compare", photos, "--methods", "supervised", "--steps", 1, "--out", "o", "--json", "-q"),
    ):
        _, output, errors = run(*words)
        json.loads(output)
        assert "left out 1 unreadable file: " in errors, words


def test_what_a_name_hides_is_written_out_wherever_a_command_prints_it(run, photos):
    model, table, file = "m\x1b[2J", "t\x1b[2J.csv", "e\x1b[2J.pt2"
    told = []
    for words in (
        ("fit", photos, "--method", "supervised", "--steps", 1, "--out", model),
        ("fit", photos, "--method", "supervised", "--steps", 1, "--out", model),
        ("predict", model, photos / "test", "--out", table),
        ("label", model, "--out", table.replace("t", "l"), "--show", 0),
        ("evaluate", model, photos),
        ("export", model, "--out", file),
    ):
        code, output, errors = run(*words)
        assert code == 0, errors
        assert "\x1b" not in output + errors, words
        told.append(output)
    assert "model saved in m\\x1b[2J: " in told[0]
    assert "is kept in m\\x1b[2J.before" in told[1]
    assert "classified in t\\x1b[2J.csv" in told[2]


def test_predicting_with_an_incomplete_model_says_what_is_missing(run, photos):
    run("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m", "-q")
    os.unlink("m/model.safetensors")
    code, _, errors = run("predict", "m", photos)
    assert code == 2
    assert "model.safetensors is missing" in errors


def test_evaluating_on_other_classes_is_refused(run, photos):
    run("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m", "-q", "--image-size", 8)
    code, _, errors = run("evaluate", "m", "digits")
    assert code == 2
    assert "class" in errors


def test_a_place_that_cannot_be_written_is_told_before_the_fit(run, photos):
    # Nothing can be written beside a folder of such a name, whoever writes.
    code, output, errors = run("fit", photos, "--method", "linear-probe", "--steps", 1, "--out", "m" * 250)
    assert (code, output) == (2, "")
    assert "cannot be written" in errors
    assert "File name too long" in errors
    assert "labeled" not in errors


@pytest.mark.usefixtures("whole_net")
def test_a_file_that_cannot_be_written_is_told_before_images_are_classified(run, photos):
    model = Path(__file__).parent / "golden" / "2" / "images"
    code, output, errors = run("predict", model, photos / "unlabeled", "--out", "m" * 250 + ".csv")
    assert (code, output) == (2, "")
    assert "cannot be written" in errors
    assert "File name too long" in errors


def test_a_fit_names_the_classes_of_which_nothing_was_held_out(run, photos):
    for number in range(4, 10):
        (photos / "train" / "blue" / f"{number}.png").unlink()
    fit = ("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m")
    code, output, _ = run(*fit)
    assert code == 0
    assert "on 1 held-out image, none of blue" in " ".join(output.split())
    assert json.loads(run(*fit, "--json")[1])["unmeasured_classes"] == ["blue"]


@pytest.mark.parametrize("command", ["evaluate", "label"])
def test_images_of_another_size_than_the_model_reads_are_told(run, photos, command):
    # Images that are no squares stay as they are, and so do those of what the model is asked for.
    oblong = np.random.default_rng(0).integers(0, 256, (20, 16, 24), np.uint8)
    fewlabels.Supervised(steps=1, random_state=0).fit(oblong, ["blue", "red"] * 10).save("m")
    code, _, errors = run(command, "m", photos)
    assert code == 2
    told = "photos gives color images of 16x16 pixels, and the model reads gray images of 16x24 pixels"
    assert told in " ".join(errors.split())
    assert run("predict", "m", photos / "test")[0] == 0


@pytest.mark.parametrize("command", ["evaluate", "label"])
@pytest.mark.parametrize("kind", ["gray", "color"])
def test_one_image_that_makes_the_others_color_or_gray_by_its_coming_or_going_stops_nothing(
    run, photos, tmp_path, command, kind
):
    for path in photos.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    odd = photos / "unlabeled" / "odd.png"
    odd.parent.mkdir(exist_ok=True)
    colorful = Image.new("RGB", (16, 16), "green")
    if kind == "color":
        colorful.save(odd)
    run("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m", "-q")
    odd.unlink(missing_ok=True)
    Image.new("L", (16, 16)).save(photos / "unlabeled" / "even.png")
    if kind == "gray":
        colorful.save(odd)
    code, _, errors = run(command, "m")
    assert (code, f"images are taken as {kind} ones, which the model reads" in errors) == (0, True)


def test_in_a_folder_that_was_removed_one_line_says_so(run, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    told = (2, "", "error: the folder that you work in is gone; cd to another\n")
    assert run("predict", "m", "photos") == told


def test_memory_that_runs_out_as_pytorch_is_imported_is_told_in_one_line(run, monkeypatch):
    def too_large(*given):
        raise MemoryError

    monkeypatch.setattr(sys.modules["fewlabels.cli.main"], "read_config", too_large)
    monkeypatch.setitem(sys.modules, "fewlabels.training.memory", None)
    code, output, errors = run("methods")
    assert (code, output) == (1, "")
    assert errors.startswith("error: memory ran out; ")


def test_an_error_after_which_pytorch_cannot_be_imported_is_shown_as_it_is(run, monkeypatch):
    def broken(*given):
        raise RuntimeError("broken")

    monkeypatch.setattr(sys.modules["fewlabels.cli.main"], "read_config", broken)
    monkeypatch.setitem(sys.modules, "fewlabels.training.memory", None)
    with pytest.raises(RuntimeError, match="broken"):
        run("methods")


def test_a_user_without_a_home_is_told_to_set_one(run, monkeypatch):
    def nobody(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setattr(sys.modules["fewlabels.cli.main"], "read_config", lambda *given: Path.home())
    assert run("methods") == (2, "", "error: no home folder of this user is known; set HOME to a folder\n")


# Ctrl-C is sent to a program that has begun to work, not to Python while it imports.
BEGIN = """
import sys
import fewlabels.data, fewlabels.report, sklearn.datasets
from fewlabels.cli import main
from fewlabels.methods import BASIC_METHODS
from fewlabels.methods.fitting import fit_dataset
from fewlabels.storage.errors import InputError
print("ready", flush=True)
sys.argv = ["fewlabels", *sys.argv[1:]]
main()
"""


# What is read before there is anything to train takes long.
SLOW = BEGIN.replace(
    'print("ready", flush=True)',
    """
import time
import fewlabels.data.sources
def slow():
    print("ready", flush=True)
    time.sleep(100)
fewlabels.data.sources.read_digits = slow
""",
)


@pytest.mark.parametrize(("kind", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["fit", "check", "compare"])
def test_a_command_that_is_stopped_before_it_trains_says_so(command, kind, expected, tmp_path):
    code, output, errors = interrupted(tmp_path, command, "digits", wait_for=lambda: True, kind=kind, begin=SLOW)
    assert code == expected
    assert output == ""
    assert errors.strip().splitlines()[-1] == "error: stopped; nothing was written"
    assert os.listdir(tmp_path) in ([], ["cache"])


def test_a_stop_while_a_class_is_made_is_a_stop(tmp_path):
    made = 'type("Made", (), {"x": type("X", (), {"__set_name__": lambda *given: time.sleep(100)})()})'
    begin = SLOW.replace("time.sleep(100)", made)
    code, _, errors = interrupted(tmp_path, "fit", "digits", wait_for=lambda: True, kind=signal.SIGTERM, begin=begin)
    assert (code, errors) == (143, "error: stopped; nothing was written\n")


def test_a_further_signal_leaves_the_end_of_a_command_as_it_is(tmp_path):
    # Threads that Python waits for, and what is done at its end, take a moment.
    begin = SLOW.replace("import main\n", "import command as main\n")
    ending = "import atexit, os, signal; atexit.register(lambda: [os.kill(os.getpid(), k) for k in (2, 15)])\n"
    process = subprocess.Popen(
        [sys.executable, "-c", ending + begin, "fit", "digits"],
        cwd=tmp_path,
        env=os.environ | {"FEWLABELS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has it ignored, and children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert errors == "error: stopped; nothing was written\n"


def interrupted(tmp_path, *words, wait_for, kind=signal.SIGINT, begin=BEGIN):
    return interrupted_script(begin, words, tmp_path, wait_for=wait_for, kind=kind)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.usefixtures("whole_net")
@pytest.mark.parametrize(("kind", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_fit_that_is_stopped_says_how_to_go_on_and_ends_the_same(kind, expected, run, tmp_path):
    words = ["fit", "--steps", "30", "--labels-per-class", "10", "--out", "model", "--method", "self-training", "-q"]
    words += ["--set", "batch_size=16", "--set", "rounds=1", "--set", "student_steps=1"]
    words += ["--checkpoint-every", "0"]
    checkpoint = tmp_path / "model.checkpoint"
    code, _, errors = interrupted(
        tmp_path, *words, wait_for=lambda: any(checkpoint.glob("at-*.safetensors")), kind=kind
    )
    assert code == expected, errors
    assert "Traceback" not in errors
    line = errors.strip().splitlines()[-1]
    assert line.startswith("error: stopped ")
    assert line.endswith(f"to go on: fewlabels {' '.join(words)} --resume")
    assert not (tmp_path / "model").exists()
    code, _, errors = run(*words)
    assert code == 2
    assert "go on with --resume" in errors
    assert run(*words[:-2], "--resume")[0] == 0
    assert not checkpoint.exists()
    words[6] = "whole"
    assert run(*words[:-2])[0] == 0
    assert weights(tmp_path / "model") == weights(tmp_path / "whole")


def test_a_fit_that_is_stopped_while_the_model_is_saved_says_that_the_training_is_kept(run, tmp_path, monkeypatch):
    words = ["fit", "--steps", "3", "--method", "supervised", "--labels-per-class", "10", "--out", "model", "-q"]

    def stopped(*given):
        signal.raise_signal(signal.SIGTERM)

    # An earlier command in this process may have left its own.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with monkeypatch.context() as patch:
        patch.setattr("fewlabels.methods.examples.remember", stopped)
        code, _, errors = run(*words)
    kept = "the training is finished and kept in model.checkpoint; the model is not saved yet"
    assert (code, errors) == (143, f"error: stopped; {kept}; to go on: fewlabels {' '.join(words)} --resume\n")
    assert run(*words, "--resume")[0] == 0
    assert (tmp_path / "model").is_dir()


def test_a_model_that_cannot_be_saved_leaves_the_training_to_go_on_with(run, tmp_path, monkeypatch):
    words = ["fit", "--steps", "3", "--method", "supervised", "--labels-per-class", "10", "--out", "model", "-q"]

    def full(*given, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model")

    with monkeypatch.context() as patch:
        patch.setattr(fewlabels.Supervised, "save", full)
        code, _, errors = run(*words)
    kept = "the training is finished and kept in model.checkpoint; the model is not saved yet"
    told = f"error: No space left on device: model; {kept}; to go on: fewlabels {' '.join(words)} --resume\n"
    assert (code, errors) == (1, told)
    assert run(*words, "--resume")[0] == 0
    assert (tmp_path / "model").is_dir()


def test_a_training_is_not_told_to_be_kept_to_its_end_where_its_end_could_not_be_written(run, monkeypatch):
    words = ["fit", "--steps", "3", "--method", "supervised", "--labels-per-class", "10", "--out", "model", "-q"]
    words += ["--checkpoint-every", "0"]

    def stopped(*given):
        raise KeyboardInterrupt

    # As a full disk leaves it.
    monkeypatch.setattr(Checkpoints, "keep", stays_away := lambda *given: None)
    monkeypatch.setattr(Checkpoints, "complete", stays_away)
    monkeypatch.setattr("fewlabels.methods.examples.remember", stopped)
    code, _, errors = run(*words)
    kept = "the last checkpoint is kept in model.checkpoint; the model is not saved yet"
    assert (code, errors) == (130, f"error: stopped; {kept}; to go on: fewlabels {' '.join(words)} --resume\n")


def test_a_pool_that_is_lost_in_the_midst_of_a_fit_leaves_what_was_learned(run, monkeypatch):
    words = ["fit", "--steps", "6", "--method", "supervised", "--labels-per-class", "10", "--out", "model", "-q"]
    words += ["--checkpoint-every", "0"]

    def losing_its_pool(method, data, **options):
        def lose(event):
            if event["step"] == 3:
                raise InputError("the pool cannot be read")

        fit_dataset(method, data, **options | {"observer": lose})

    with monkeypatch.context() as patch:
        patch.setattr("fewlabels.methods.fitting.fit_dataset", losing_its_pool)
        code, _, errors = run(*words)
    kept = "the last checkpoint is kept in model.checkpoint"
    told = f"error: the pool cannot be read; {kept}; to go on: fewlabels {' '.join(words)} --resume\n"
    assert (code, errors) == (2, told)
    # What is refused before it goes on is not told to go on.
    code, _, errors = run(*words, "--resume", "--seed", "5")
    assert code == 2
    assert errors.endswith("or delete it to begin anew\n")
    assert run(*words, "--resume")[0] == 0


def test_features_that_are_stopped_say_that_the_same_command_goes_on(run, photos, monkeypatch):
    net = f"python:{Path(__file__).parent / 'small_backbones.py'}:colors"

    def stopped(*given, **options):
        # As by Ctrl-C, which a shell may have let this process ignore.
        raise KeyboardInterrupt

    words = ["embed", photos, "--net", net, "--out", "features", "-q"]
    with monkeypatch.context() as patch:
        patch.setattr("fewlabels.methods.embedding.feature_chunks", stopped)
        code, _, errors = run(*words)
    kept = "the features that were made are kept in features, and the same command goes on with the others"
    assert (code, errors) == (130, f"error: stopped; {kept}\n")
    assert run(*words)[0] == 0


def test_a_training_that_runs_is_in_use_and_not_stopped(run, tmp_path):
    checkpoint = tmp_path / "model.checkpoint"
    with FolderLock(checkpoint):
        (checkpoint / "training.json").write_text("{}")
        code, _, errors = run("fit", "--steps", "3", "--method", "supervised", "--out", "model", "-q")
    assert code == 2
    assert errors.startswith(f"error: model.checkpoint is in use by process {os.getpid()}; wait until it ends")


@pytest.mark.usefixtures("whole_net")
def test_a_comparison_that_is_killed_goes_on_and_ends_the_same(run, tmp_path):
    words = ["compare", "--methods", "supervised,fix-match", "--steps", "20", "-q", "--checkpoint-every", "0"]
    words += ["--labels-per-class", "10", "--set", "batch_size=16", "--out"]
    at = tmp_path / "o" / "checkpoints" / "fix-match-10-0"
    code, _, _ = interrupted(tmp_path, *words, "o", wait_for=lambda: any(at.glob("at-*")), kind=signal.SIGKILL)
    assert code == -signal.SIGKILL
    code, _, errors = run(*words, "o", "--resume", "--seeds", "2")
    assert code == 2
    assert "was begun with seeds=[0], not [0, 1]" in errors
    before = weights(tmp_path / "o" / "models" / "supervised-10-0")
    assert run(*words, "o", "--resume")[0] == 0
    assert run(*words, "whole")[0] == 0
    assert weights(tmp_path / "o" / "models" / "supervised-10-0") == before
    for method in ("supervised-10-0", "fix-match-10-0"):
        assert weights(tmp_path / "o" / "models" / method) == weights(tmp_path / "whole" / "models" / method)

    def rows(name):
        with (tmp_path / name / "results.csv").open() as file:
            return [{k: v for k, v in row.items() if k != "fit_seconds"} for row in csv.DictReader(file)]

    def events(name):
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]

    assert rows("o") == rows("whole")
    assert events("o") == events("whole")
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )


def test_ctrl_c_in_a_comparison_keeps_the_finished_trainings(tmp_path):
    results = tmp_path / "o" / "results.csv"
    code, _, errors = interrupted(
        tmp_path,
        *("compare", "--methods", "supervised", "--seeds", "50", "--steps", "40", "--out", "o", "-q"),
        wait_for=results.exists,
    )
    assert code == 130
    assert "Traceback" not in errors
    assert "are kept in" in errors
    with results.open() as file:
        assert 1 <= len(list(csv.DictReader(file))) < 50
    assert (tmp_path / "o" / "report.html").exists()


@pytest.mark.parametrize(("sizes", "seeds"), [((500,), (0,)), ((50, 500), (0, 1))])
def test_no_figure_of_the_table_is_cut_on_a_screen_of_eighty_columns(sizes, seeds, monkeypatch):
    from types import SimpleNamespace

    from rich.console import Console

    from fewlabels.cli import compare

    rows = [
        {
            "method": method,
            "labels_per_class": size,
            "seed": seed,
            "train_accuracy": 1.0,
            "validation_accuracy": 0.726,
            "test_accuracy": 0.7705,
            "test_low": 0.7611,
            "test_high": 0.7796,
            "fit_seconds": 11258.8,
        }
        for method in ("supervised", "two-step-autoencoder")
        for size in sizes
        for seed in seeds
    ]
    screen = Console(width=80, record=True, file=io.StringIO())
    monkeypatch.setattr(compare, "screen", screen)
    groups = [SimpleNamespace(labels_per_class=size, labels_given=0) for size in sizes]
    made = {"table": lambda: rows, "verdicts": lambda: [], "groups": groups, "folder": Path("runs")}
    compare._show_comparison(SimpleNamespace(config={"source": "photos"}, **made))
    shown = screen.export_text()
    assert shown.count("77.0") + shown.count("77.1") >= len(rows)
    assert shown.count("11,259") == len(rows)
    assert shown.count("76.1–78.0") == len(rows)
    assert shown.count("supervised") == len(rows) / 2
    assert max(map(len, shown.splitlines())) <= 80


def test_settings_are_read_as_they_are_meant_and_words_for_numbers_are_refused(run):
    code, *_ = run(
        "fit",
        "digits",
        "--method",
        "uda",
        "--steps",
        2,
        "--set",
        "guard=no",
        "--set",
        "dropout=.1",
        "--set",
        "batch_size=2e1",
        "-q",
        "--out",
        "model",
    )
    assert code == 0
    model = fewlabels.load("model")
    assert (model.guard, model.dropout, model.batch_size) == (False, 0.1, 20)
    assert not hasattr(model, "guard_")
    for given, message in (
        ("label_smoothing=abc", "label_smoothing='abc' is not a number"),
        ("guard=perhaps", "guard='perhaps' is neither true nor false"),
        ("weights_seed=x", "weights_seed='x' is not a number"),
        ("dropout=[0.1]", "dropout=[0.1] is not one value; a comparison tries several (`choose`)"),
        ('optimizer={"adam": 1}', "optimizer={'adam': 1} is not one value; a comparison tries several (`choose`)"),
        ("batch_size=1e400", "batch_size=inf is not a whole number"),
        ("operations=NaN", "operations=nan is not a whole number"),
    ):
        code, _, errors = run("fit", "digits", "--method", "uda", "--steps", 2, "--set", given)
        assert (code, errors) == (2, f"error: {message}\n")


def test_models_on_the_hub_are_pulled_before_they_are_served(run):
    code, _, errors = run("serve", "hub:jane/birds", "--no-open")
    assert code == 2
    assert "pull it first" in errors


def test_one_image_held_out_is_told_as_one(run):
    data = fewlabels.load_dataset("digits", labels_per_class=4)
    one = (data.test[:1], data.test_labels[:1])
    fewlabels.Supervised(steps=1, random_state=0).fit(data.labeled, data.labels, validation=one).save("m")
    code, output, _ = run("evaluate", "m", "digits")
    assert (code, "all classes: 1 image was held out, 9 needed" in output) == (0, True)


def test_a_class_without_a_test_image_is_told_of(run, photos):
    shutil.rmtree(photos / "test" / "blue")
    run("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m", "-q")
    code, output, errors = run("evaluate", "m", "--json", "-q")
    assert (code, json.loads(output)["untested_classes"]) == (0, ["blue"])
    assert errors == "note: no test image is of blue, of which the figures say nothing\n"


def test_test_images_of_a_class_that_the_model_has_not_learned_are_told_of(run, photos):
    run("fit", photos, "--method", "supervised", "--steps", 30, "--out", "m", "-q")
    before = json.loads(run("evaluate", "m", "--json", "-q")[1])
    assert (before["unknown_classes"], before["unknown_images"]) == ([], 0)
    assert before["known_accuracy"] == before["test_accuracy"]
    for part in ("train", "test"):
        shutil.copytree(photos / part / "blue", photos / part / "teal")
    code, output, errors = run("evaluate", "m", "--json", "-q", "--card")
    found = json.loads(output)
    assert (code, found["unknown_classes"]) == (0, ["teal"])
    assert found["known_accuracy"] == before["test_accuracy"] > found["test_accuracy"]
    count, images = found["unknown_images"], found["test_images"]
    assert errors.startswith(
        f"warning: {count} of the {images} test images are of teal, which the model has not learned, and count as "
        f"mistakes; of the others {before['test_accuracy']:.1%} are right\n"
    )
    assert f"{count} of which are of classes that it has not learned" in Path("m/README.md").read_text()


def test_images_whose_classes_a_labels_file_tells_are_fitted_checked_and_measured(run, photos):
    folders = [f"{part}/{color}" for part in ("train", "test") for color in ("red", "blue")]
    names = [f"{folder}/{number}.png" for folder in folders for number in range(4)]
    (photos / "all").mkdir()
    with open("labels.csv", "w") as file:
        file.write("file,class\n")
        for number, name in enumerate(names):
            (photos / name).rename(photos / "all" / f"{number}.png")
            file.write(f"{number}.png,{name.split('/')[1]}\n")
    for number in range(3):
        (photos / "unlabeled" / f"{number}.png").rename(photos / "all" / f"pool {number}.png")
    code, _, errors = run("fit", photos / "all", "--method", "supervised", "--steps", 1, "--out", "m", "-q")
    assert (code, errors.count("\n")) == (2, 1)
    assert "or give a labels file, with the columns file and class (--labels; in Python labels=)" in errors
    words = (photos / "all", "--labels", "labels.csv")
    assert run("fit", *words, "--method", "supervised", "--steps", 1, "--out", "m", "-q")[0] == 0
    code, output, errors = run("check", *words, "--no-near", "--json")
    assert (code, json.loads(output)["images"]["test"]) == (0, 4), errors
    # The file that it was fitted with is known, and another may be given.
    for more in ((), (photos / "all",), words):
        code, output, errors = run("evaluate", "m", *more, "--json", "-q")
        assert (code, json.loads(output)["test_images"], json.loads(output)["seen_images"]) == (0, 4, 0), errors
    # Labels that came after the fit join those before.
    Path("more.csv").write_text("file,class\npool 1.png,red\n")
    code, output, errors = run("label", "m", "--labels", "more.csv", "--out", "rank.csv", "-q")
    assert code == 0, errors
    with open("rank.csv") as file:
        assert sorted(row["file"] for row in csv.DictReader(file)) == ["pool 0.png", "pool 2.png"]
    Path("labels.csv").unlink()
    code, _, errors = run("evaluate", "m", "-q")
    assert (code, errors.count("\n")) == (2, 1)
    assert "the model was fitted with" in errors
    assert "labels.csv, which is not here" in errors


@pytest.mark.parametrize("labels", ["labels.csv", "photos/labels.csv"])
def test_a_renamed_source_is_known_by_the_images_that_the_labels_of_a_model_name(run, photos, tmp_path, labels):
    for part in ("train", "test"):
        for photo in (photos / part).glob("*/*"):
            photo.rename(photos / f"{part}-{photo.parent.name}-{photo.name}")
        shutil.rmtree(photos / part)
    folders = [f"{part}-{color}" for part in ("train", "test") for color in ("red", "blue")]
    names = [f"{folder}-{number}.png" for folder in folders for number in range(2)]
    Path(labels).write_text("file,class\n" + "".join(f"{name},{name.split('-')[1]}\n" for name in names))
    words = ("--labels", labels, "--method", "supervised", "--steps", 1, "-q")
    assert run("fit", photos, *words, "--out", "m")[0] == 0
    measured, ranked = (json.loads(run(command, "m", "--json", "-q")[1]) for command in ("evaluate", "label"))
    assert ranked["images"] == 26
    shutil.copytree(photos / "unlabeled", tmp_path / "other")
    photos.rename(tmp_path / "moved")
    code, output, errors = run("evaluate", "m", "moved", "--json", "-q")
    assert (code, json.loads(output)) == (0, measured), errors
    code, output, errors = run("label", "m", "moved", "--json", "-q")
    assert (code, json.loads(output)["next"]) == (0, ranked["next"]), errors
    Path("more.csv").write_text("file,class\nunlabeled/0.png,red\n")
    code, output, errors = run("label", "m", "moved", "--labels", "more.csv", "--json", "-q")
    assert (code, json.loads(output)["images"]) == (0, 25), errors
    # Other images stay files.
    assert json.loads(run("label", "m", "other", "--json", "-q")[1])["images"] == 6


def test_test_images_that_a_model_was_fitted_on_are_told_of(run, photos, tmp_path):
    shutil.rmtree(photos / "test")
    run("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m", "-q")
    code, output, errors = run("evaluate", "m", photos, "--json", "-q")
    assert (code, json.loads(output)["seen_images"], errors) == (0, 0, "")
    # More photos leave those where they are that it was fitted on; other names do not.
    for number in range(10, 20):
        shutil.copy(photos / "unlabeled" / f"{number % 6}.png", photos / "train" / "red" / f"-{number}.png")
    assert json.loads(run("evaluate", "m", photos, "--json", "-q")[1])["seen_images"] == 0
    for photo in list((photos / "train").glob("*/*")):
        photo.rename(photo.with_stem(f"{photo.stem}+"))
    code, output, errors = run("evaluate", "m", photos, "--json", "-q", "--card")
    seen, images = (json.loads(output)[name] for name in ("seen_images", "test_images"))
    assert code == 0
    assert 0 < seen <= images
    assert f"warning: {seen} of the {images} test images are among the labeled ones that the model was fitted on" in (
        " ".join(errors.split())
    )
    assert f", {seen} of which it was fitted on" in (tmp_path / "m" / "README.md").read_text()
    assert "that it was fitted on" in run("evaluate", "m", photos)[1]


def test_a_model_that_another_takes_the_place_of_is_kept(run, photos, tmp_path):
    _, output, _ = run("fit", photos, "--method", "supervised", "--steps", 1, "--out", "m", "--json", "-q")
    assert json.loads(output)["model_before"] is None
    first = (tmp_path / "m" / "config.json").read_bytes()
    code, output, _ = run("fit", "digits", "--method", "supervised", "--steps", 1, "--out", "m")
    assert code == 0
    assert "the model that was there is kept in m.before" in output
    assert (tmp_path / "m.before" / "config.json").read_bytes() == first
    assert run("evaluate", "m.before", photos, "-q")[0] == 0
    shutil.rmtree(tmp_path / "m.before")
    (tmp_path / "m.before").mkdir()
    (tmp_path / "m.before" / "notes.txt").write_text("mine")
    code, _, errors = run("fit", "digits", "--method", "supervised", "--steps", 1, "--out", "m")
    assert code == 2
    assert "m.before, where the model that is replaced would be kept, holds other files" in errors


def test_a_model_is_measured_on_its_own_source_from_another_folder(run, photos, tmp_path, monkeypatch):
    run("fit", photos.name, "--method", "supervised", "--steps", 1, "--out", "m", "-q")
    here = json.loads(run("evaluate", "m", "--json", "-q")[1])
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(photos / "train", elsewhere / photos.name / "train")
    monkeypatch.chdir(elsewhere)
    assert json.loads(run("evaluate", tmp_path / "m", "--json", "-q")[1]) == here
    photos.rename(tmp_path / "moved")
    code, _, errors = run("evaluate", tmp_path / "m", "-q")
    assert code == 2
    assert "the model was fitted on it: where it has moved, give the SOURCE as it is called now" in errors
    assert run("evaluate", tmp_path / "m", tmp_path / "moved", "-q")[0] == 0


def test_a_folder_of_a_comparison_is_no_model_and_says_where_they_are(run):
    run("compare", "digits", "--methods", "supervised", "--steps", 1, "--out", "o", "-q")
    code, _, errors = run("evaluate", "o", "digits")
    assert code == 2
    assert "o is a comparison, not a model; its models are in o/models/" in errors
    code, _, errors = run("report", "o", "--out", ".")
    assert code == 2
    assert ". is a folder; give the name of a file, such as report.html" in errors


def test_check_names_the_files_that_it_left_out(run, photos):
    for number in range(25):
        (photos / "unlabeled" / f"text-{number}.jpg").write_text("none")
    _, output, errors = run("check", photos, "--json")
    assert len(json.loads(output)["skipped"]) == 25
    assert json.loads(output)["skipped"][0]["reason"] == "not an image"
    assert "left out 25 unreadable files:" in errors
    assert "text-19.jpg (not an image)" in errors
    assert "and 5 more" in errors


def test_a_value_of_the_file_with_settings_is_blamed_on_the_file(run, tmp_path):
    (tmp_path / "fewlabels.toml").write_text("labels-per-class = [3, 5]\n")
    code, _, errors = run("check", "digits")
    assert code == 2
    assert errors.startswith("error: fewlabels.toml: Invalid value for '--labels-per-class'")
    assert run("check", "digits", "--labels-per-class", "x")[2].startswith("error: Invalid value")
