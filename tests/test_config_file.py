from __future__ import annotations

import csv
import json

import pytest

import fewlabels
from command_line import run_here as run
from fewlabels import InputError
from fewlabels.cli.main import _options
from fewlabels.config_file import NAME, read_config

TEXT = """
seed = 3

[compare]
methods = ["supervised", "uda"]
labels-per-class = 4
steps = 2
check = false
out = "here"

[compare.set]
batch_size = 16
optimizer = "adam"

[compare.choose]
dropout = [0.0, 0.1]
"""


def test_a_command_takes_what_the_file_says_and_the_command_line_wins(tmp_path):
    (tmp_path / NAME).write_text(TEXT)
    found = run(tmp_path, "compare", "--labels-per-class", "10", "--methods", "supervised", "--quiet")
    assert found.returncode == 0, found.stderr
    with (tmp_path / "here" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["labels_per_class"], row["gradient_images"]) for row in rows] == [
        ("supervised", "10", str(2 * 16))
    ]
    tried = json.loads((tmp_path / "here" / "results.json").read_text())["runs"][0]["tried"]
    assert [row["settings"] for row in tried] == [{"dropout": 0.0}, {"dropout": 0.1}]


def test_a_setting_that_is_typed_takes_the_place_of_that_one_alone(tmp_path):
    (tmp_path / NAME).write_text("[fit.set]\ndropout = 0.25\nmomentum = 0.5\n[compare.choose]\ndropout = [0.0, 0.1]\n")
    words = ("digits", "--method", "supervised", "--steps", "2", "--quiet")
    found = run(tmp_path, "fit", *words, "--set", "label_smoothing=0.2", "--set", "momentum=0.7", "--out", "model")
    assert found.returncode == 0, found.stderr
    settings = fewlabels.load(tmp_path / "model").settings_
    assert (settings["dropout"], settings["momentum"], settings["label_smoothing"]) == (0.25, 0.7, 0.2)
    words = ("digits", "--methods", "supervised", "--steps", "2", "--quiet", "--choose", "batch_size=[8,16]")
    found = run(tmp_path, "compare", *words, "--out", "both")
    assert found.returncode == 0, found.stderr
    tried = json.loads((tmp_path / "both" / "results.json").read_text())["runs"][0]["tried"]
    assert len(tried) == 4


def test_a_file_that_is_nested_without_end_is_told_in_a_line(tmp_path):
    (tmp_path / NAME).write_text("seed = " + "[" * 3000 + "]" * 3000)
    with pytest.raises(InputError, match=f"{NAME} is nested too deeply to be read"):
        read_config(tmp_path, _options())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[compare]\nlabels-per-clas = 3", "did you mean 'labels-per-class'"),
        ("labels-per-clas = 3", "did you mean 'labels-per-class'"),
        ("[comapre]\nseeds = 3", "there is no command 'comapre'; did you mean 'compare'"),
        ("[compare\nseeds = 3", "is not TOML"),
        ("compare = 3", "no command has an option 'compare'"),
        ("[compare]\nset = 3", "is no table"),
        ("[fit]\nset = 3", r"write \[fit\.set\] with a line for each setting"),
        ("[compare.seeds]\na = 3", "seeds is a table"),
        ("[compare]\nsteps = 1979-05-27", "is no text, number"),
        ("[compare.set]\nsteps = 1979-05-27", "set has a value that is no text, number"),
        ('net = "python:evil.py:make"', "net names code to run .*; take it out, and type --net python:… yourself"),
        ('[fit]\nnet = ["python:evil.py:make"]', "names code to run"),
        ('[compare.set]\nnet = "python:evil.py:make"', "set names code to run"),
        ('[compare.choose]\nnet = ["fast", "python:evil.py:make"]', "choose names code to run"),
    ],
)
def test_what_the_file_gets_wrong_is_one_line(text, message, tmp_path):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_config(tmp_path, _options())
    assert "\n" not in str(error.value)


def test_a_wrong_file_ends_a_command_with_its_message(tmp_path):
    (tmp_path / NAME).write_text("[compare]\nsed = 3")
    found = run(tmp_path, "methods")
    assert found.returncode == 2
    assert "fewlabels.toml: fewlabels compare has no option 'sed'" in found.stderr


def test_a_value_that_was_not_typed_is_said_to_be_of_the_file(tmp_path):
    (tmp_path / NAME).write_text('[compare]\nmethods = ["supervised", "nope"]')
    assert run(tmp_path, "compare").stderr.startswith("error: fewlabels.toml: unknown method 'nope'")
    (tmp_path / NAME).write_text('[compare]\ntrack = ["tensorbord"]')
    assert run(tmp_path, "compare").stderr.startswith("error: fewlabels.toml: unknown tracker 'tensorbord'")
    typed = run(tmp_path, "compare", "--methods", "supervsied").stderr
    assert typed.startswith("error: unknown method 'supervsied'; did you mean 'supervised'")


def test_an_error_names_what_was_not_typed_and_may_be_the_reason(tmp_path):
    (tmp_path / NAME).write_text('seed = 3\nlabels = "none.csv"\nsource = "digits"\n')
    words = ("--method", "supervised", "--steps", "1")
    end = "(from fewlabels.toml: labels)\n"
    found = run(tmp_path, "fit", *words, "--seed", "1", "--preset", "nope").stderr
    assert found.startswith("error: ")
    assert found.endswith(end), found
    # Nothing is of the file, or it is named already.
    assert not run(tmp_path, "fit", *words, "--seed", "1", "--preset", "nope", "--labels", "x").stderr.endswith(end)
    assert run(tmp_path, "fit", *words).stderr.startswith("error: fewlabels.toml: there is no labels file 'none.csv'")


def test_the_pool_of_a_fit_is_not_that_of_label(tmp_path):
    (tmp_path / NAME).write_text('pool = "shards/*.tar"\n')
    assert read_config(tmp_path, _options()) == {"fit": {"pool": "shards/*.tar"}}


def test_what_is_typed_or_of_the_command_takes_the_place_of_what_does_not_go_with_it(tmp_path):
    (tmp_path / NAME).write_text('budget = "2m"\n[compare]\nepochs = 3\nmethods = "uda"\n')
    found = read_config(tmp_path, _options())
    assert found["compare"] == {"epochs": 3, "methods": "uda"}
    assert found["fit"] == {"budget": "2m"}
    found = read_config(tmp_path, _options(), ["steps", "rungs"])
    assert not {"compare", "fit"} & set(found)
    # The command that a stopped comparison tells to go on with.
    (tmp_path / NAME).write_text("[compare]\noverwrite = true\n")
    assert read_config(tmp_path, _options(), ["out", "resume"]) == {}


def test_options_that_are_called_as_a_command_may_stand_at_the_top(tmp_path):
    (tmp_path / NAME).write_text('check = false\nmethods = ["uda", "vat"]\n')
    assert read_config(tmp_path, _options()) == {"compare": {"check": "false", "methods": "uda,vat"}}
    (tmp_path / NAME).write_text("[check]\nseed = 3\n[methods]\njson = true\n")
    assert read_config(tmp_path, _options()) == {"check": {"seed": 3}, "methods": {"as_json": "true"}}


def test_true_is_no_number(tmp_path):
    (tmp_path / NAME).write_text("[fit]\nsteps = true\nquiet = true\n")
    found = run(tmp_path, "fit", "--method", "supervised")
    assert found.returncode == 2
    assert "--steps" in found.stderr
    assert not (tmp_path / "model").exists()


def test_a_file_from_a_windows_editor_is_read_and_so_is_a_list_of_images(tmp_path):
    (tmp_path / NAME).write_text('[predict]\nimages = ["a.jpg", "b, c.jpg"]\n', encoding="utf-8-sig")
    assert read_config(tmp_path, _options()) == {"predict": {"images": ["a.jpg", "b, c.jpg"]}}


def test_without_a_file_nothing_is_read(tmp_path):
    assert read_config(tmp_path, _options()) == {}


def test_every_option_of_every_command_can_be_given():
    options = _options()
    assert options["compare"]["set"] == "settings"
    assert options["compare"]["labels-per-class"] == "labels_per_class"
    assert options["fit"]["seed"] == "seed"
    assert options["predict"]["model"] == "model"
