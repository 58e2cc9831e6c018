from __future__ import annotations

import csv
import dataclasses
import json
import pickle
import re
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import fewlabels
from fewlabels import InputError, load_dataset
from fewlabels.checks.finding import DataCheck
from fewlabels.evaluation import Comparison, compare, run_folder
from fewlabels.evaluation import comparison as comparison_module
from fewlabels.evaluation import training as training_module
from fewlabels.evaluation.conditions import repeat_command
from fewlabels.evaluation.contenders import Contender
from fewlabels.evaluation.reading import read_comparison
from fewlabels.evaluation.run_folder import COLUMNS, RunFolder, check_out
from fewlabels.evaluation.run_record import write_record
from fewlabels.evaluation.training import Draws, Training
from fewlabels.methods.training_set import looked_at
from fewlabels.report import render_report
from fewlabels.storage.errors import Interrupted, TrainingWarning
from fewlabels.storage.lock import FolderLock
from small_backbones import Colors

pytestmark = pytest.mark.usefixtures("narrow_nets")
TINY = {"methods": ["supervised", "self-training", "joint-autoencoder"], "labels_per_class": 5, "steps": 6}


@pytest.fixture(scope="module")
def events():
    return []


@pytest.fixture(scope="module")
def found(tmp_path_factory, events):
    # A module's fixture comes before the one that sets a test's threads; their number changes roundings.
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("comparison") / "run"
    return compare("digits", **TINY, out=out, settings={"rounds": 1}, observer=events.append)


def rows_of(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_results_have_one_row_for_each_method_and_its_fixed_columns(found):
    rows = rows_of(found.folder)
    assert tuple(rows[0]) == COLUMNS
    assert [row["method"] for row in rows] == TINY["methods"]
    assert {(row["labels_per_class"], row["seed"]) for row in rows} == {("5", "0")}
    for row in rows:
        assert float(row["test_low"]) <= float(row["test_accuracy"]) <= float(row["test_high"])


def test_saved_models_reach_the_accuracy_of_the_table(found):
    data = load_dataset("digits", labels_per_class=5)
    for row in rows_of(found.folder):
        model = fewlabels.load(found.folder / "models" / f"{row['method']}-5-0")
        assert model.score(data.test, data.test_labels) == pytest.approx(float(row["test_accuracy"]), abs=1e-6)


def test_saved_predictions_are_those_that_were_measured(found):
    for run in found.runs:
        kept = np.load(found.folder / "predictions" / f"{run.method}-5-0.npz")
        assert (kept["probabilities"].argmax(1) == kept["labels"]).mean() == run.test_accuracy


def test_train_accuracy_leaves_out_the_images_held_out(found):
    # Five of each class, one of them held out at least: the share of 40 rather than 50 images.
    counts = [run.train_accuracy * 40 for run in found.runs]
    assert counts == pytest.approx([round(count) for count in counts])


def test_every_event_is_a_line_that_says_whose_it_is(found, events):
    lines = [json.loads(line) for line in (found.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == len(events)
    assert [line["method"] for line in lines] == [event["method"] for event in events]
    assert {(event["run"], event["runs"]) for event in events} == {(1, 3), (2, 3), (3, 3)}
    assert events[0]["title"] == "(1/3) supervised 5"


def test_the_configuration_says_all_that_repeats_the_run(found):
    config = json.loads((found.folder / "config.json").read_text())
    assert config["command"] == (
        "fewlabels compare digits --methods supervised,self-training,joint-autoencoder "
        "--labels-per-class 5 --seeds 1 --steps 6 --set rounds=1"
    )
    assert config["settings"]["self-training"]["rounds"] == 1
    assert "rounds" not in config["settings"]["supervised"]
    assert len(config["data"]["5 labels per class, seed 0"]["fingerprint"]) == 64
    assert {"fewlabels", "torch", "numpy", "python"} <= set(config["versions"])


def test_pseudo_labels_are_checked_against_the_truth_of_the_pool(found):
    record = found.runs[1].rounds[0]
    assert 0 < record["precision"] <= 1
    # Right labels over all of the pool: precision times the share that got one.
    assert record["recall"] == pytest.approx(record["precision"] * record["pool_share"], abs=1e-3)
    assert record["checked"] == 1


def test_the_shown_mistakes_are_mistakes_and_the_surest_first(found):
    for run in found.runs:
        assert all(run.guesses[m.index] == m.guess != m.truth == run.test_labels[m.index] for m in run.mistakes)
        sureness = [m.confidence for m in run.mistakes]
        assert sureness == sorted(sureness, reverse=True)
        assert sureness[0] == pytest.approx(run.test_probabilities.max(1)[~run.correct].max())


def test_only_autoencoders_show_reconstructions(found):
    assert [run.reconstructions is not None for run in found.runs] == [False, False, True]
    shown = found.runs[2].reconstructions
    assert shown.originals.shape == shown.reconstructed.shape == (10, 8, 8, 1)


def test_guesses_for_the_pool_are_measured_on_the_way_by_whom_knows_its_classes(found):
    data = load_dataset("digits", labels_per_class=5)
    learned = {run.method: run for run in found.runs}["joint-autoencoder"]
    looks = [event["pool_accuracy"] for event in learned.history if "pool_accuracy" in event]
    assert len(looks) == 6
    model = fewlabels.load(found.folder / "models" / "joint-autoencoder-5-0")
    rows = looked_at(len(data.pool))
    right = (model.predict(data.pool.take(rows)) == data.diagnostics.pool_labels[rows]).mean()
    # The last weights are averaged and mirrored before they predict, and so not those of the last look.
    assert looks[-1] == pytest.approx(right, abs=0.2)
    for other in found.runs[:2]:
        assert not any("pool_accuracy" in event for event in other.history)


def test_guesses_for_a_pool_of_unknown_classes_are_not_measured(tmp_path):
    data = load_dataset("digits", labels_per_class=5)
    arrays = {"train": (data.labeled[:], data.labels), "test": (data.test[:], data.test_labels)}
    arrays["unlabeled"] = data.pool[:]
    run = compare(arrays, methods="fix-match", steps=6, out=tmp_path / "r").runs[0]
    assert not any("pool_accuracy" in event for event in run.history)
    assert any("train_accuracy" in event for event in run.history)


def test_all_methods_of_a_seed_see_the_same_labels(monkeypatch, tmp_path):
    seen = []
    fit = training_module.fit_dataset

    def spy(method, data, **options):
        seen.append((type(method).__name__, data.labeled.rows.tolist()))
        fit(method, data, **options)

    monkeypatch.setattr(training_module, "fit_dataset", spy)
    compare(
        "digits",
        methods=["supervised", "joint-autoencoder"],
        labels_per_class=3,
        seeds=2,
        steps=2,
        out=tmp_path / "r",
    )
    assert [name for name, _ in seen] == ["Supervised", "JointAutoencoder"] * 2
    assert seen[0][1] == seen[1][1] != seen[2][1] == seen[3][1]


@pytest.mark.parametrize("setting", ["seeds", "labels_per_class"])
@pytest.mark.parametrize("value", [2.5, [0.5], [1, None], "many", [], -1])
def test_what_is_no_whole_number_is_refused_in_one_line(setting, value, tmp_path):
    with pytest.raises(InputError, match=f"{setting}=.* whole number|{setting}=.* seeds") as error:
        compare("digits", methods="supervised", steps=1, out=tmp_path / "r", **{setting: value})
    assert "\n" not in str(error.value)


def test_numbers_of_numpy_are_numbers(tmp_path):
    found = compare(
        "digits", methods="supervised", steps=1, out=tmp_path / "r", seeds=np.int64(2), labels_per_class=np.arange(3, 4)
    )
    assert [(run.seed, run.labels_per_class) for run in found.runs] == [(0, 3), (1, 3)]


def test_settings_may_be_numbers_of_numpy(tmp_path):
    chosen = list(np.array([0.1, 0.2], np.float32))
    found = compare(
        "digits",
        methods=["supervised"],
        labels_per_class=5,
        steps=np.int64(2),
        settings={"batch_size": np.int64(16)},
        choose={"learning_rate": chosen, "dropout": np.array([0.0, 0.1])},
        check=False,
        out=tmp_path / "run",
    )
    assert json.dumps(found.config["settings"]["supervised"])


def test_the_same_call_gives_the_same_results(found, tmp_path):
    again = compare("digits", **TINY, out=tmp_path / "again", settings={"rounds": 1})
    assert [run.test_accuracy for run in again.runs] == [run.test_accuracy for run in found.runs]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["suprvised"]}, "did you mean 'supervised'"),
        ({"methods": []}, "no method is given"),
        ({"settings": {"rouds": 2}}, "did you mean 'rounds'"),
        ({"settings": {"steps": 2}}, "give steps itself"),
        ({"settings": {"dropout": 2}}, "dropout=2"),
        ({"steps": 5, "epochs": 2}, "steps and epochs are given"),
        ({"preset": "notebok"}, "did you mean 'notebook'"),
        ({"labels_per_class": [5, 100_000]}, "100,?000"),
        ({"labels_per_class": 0}, "labels_per_class=0"),
        ({"seeds": 0}, "seeds=0"),
        ({"source": "nowhere/at/all"}, "nowhere/at/all"),
        ({"settings": {"net": "mlp"}}, "does not read images"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_on_the_disk(arguments, message, tmp_path):
    call = {"source": "digits", "steps": None if "epochs" in arguments else 2} | arguments
    with pytest.raises(InputError, match=message) as error:
        compare(call.pop("source"), out=tmp_path / "deep" / "run", **call)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_a_comparison_is_kept_unless_told_to_replace_it(tmp_path):
    one = {"methods": ["supervised"], "labels_per_class": 3, "steps": 2, "out": tmp_path / "run"}
    compare("digits", **one)
    before = (tmp_path / "run" / "results.csv").read_text()
    with pytest.raises(InputError, match="already holds a comparison"):
        compare("digits", **one)
    assert (tmp_path / "run" / "results.csv").read_text() == before
    compare("digits", **{**one, "labels_per_class": 4}, overwrite=True)
    assert [path.name for path in (tmp_path / "run" / "models").iterdir()] == ["supervised-4-0"]


def test_stopping_at_once_tells_that_the_earlier_comparison_was_replaced(tmp_path):
    one = {"methods": ["supervised"], "labels_per_class": 3, "steps": 2, "out": tmp_path / "run", "check": False}
    compare("digits", **one)
    with pytest.raises(Interrupted, match="nothing was written, and the earlier comparison in"):
        compare("digits", **one, overwrite=True, observer=stop_in(1))
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("stop_at", ["models", "records", "results.json", "config.json"])
@pytest.mark.parametrize("killed", [False, True])
def test_a_comparison_that_is_being_replaced_can_be_stopped_at_every_moment(stop_at, killed, tmp_path, monkeypatch):
    for name in ("models", "records"):
        (tmp_path / "run" / name).mkdir(parents=True)
    for name in ("config.json", "metrics.jsonl", "results.csv", "results.json", "report.html"):
        (tmp_path / "run" / name).write_text('{"arguments": {}}')

    def stopping(remove):
        def once(path, **more):
            if Path(path).name == stop_at:
                monkeypatch.undo()
                raise KeyboardInterrupt
            remove(path, **more)

        return once

    monkeypatch.setattr(Path, "unlink", stopping(Path.unlink))
    monkeypatch.setattr(shutil, "rmtree", stopping(shutil.rmtree))
    folder = RunFolder(tmp_path / "run", "digits", overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        folder.begin({"arguments": {}})
    if killed:
        folder.close()
        check_out(tmp_path / "run", overwrite=True)
    else:
        folder.discard()
        assert not list((tmp_path / "run").iterdir())


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds other files"):
        compare("digits", steps=2, out=tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_model_is_no_comparison_and_is_not_replaced(tmp_path):
    X = np.random.default_rng(0).random((20, 4))
    fewlabels.Supervised(steps=1).fit(X, [0, 1] * 10).save(tmp_path / "model")
    before = (tmp_path / "model" / "config.json").read_bytes()
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(InputError, match="holds other files and no comparison"):
            compare("digits", methods="supervised", steps=2, out=tmp_path / "model", **how)
    assert (tmp_path / "model" / "config.json").read_bytes() == before
    assert len(fewlabels.load(tmp_path / "model").predict(X)) == 20


def test_what_was_learned_is_kept_when_something_is_out_of_reach_for_now(tmp_path):
    def unreachable(event):
        if event["step"] == 3:
            raise InputError("the pool cannot be reached")

    arguments = {"methods": "supervised", "labels_per_class": 3, "steps": 6, "out": tmp_path / "r"}
    whole = compare("digits", **{**arguments, "out": tmp_path / "whole"})
    with pytest.raises(InputError, match="cannot be reached"):
        compare("digits", **arguments, observer=unreachable, checkpoint_every=0)
    assert list((tmp_path / "r" / "checkpoints").rglob("at-*"))
    found = compare("digits", **arguments, resume=True)
    assert found.runs[0].test_accuracy == whole.runs[0].test_accuracy


def stop_in(number):
    def observer(event):
        if event["run"] == number and event["step"] > 0:
            raise KeyboardInterrupt

    return observer


def test_stopping_in_the_second_training_keeps_the_first(tmp_path):
    finished = []
    with pytest.raises(Interrupted, match="1 of 3 trainings were finished"):
        compare("digits", **TINY, out=tmp_path / "run", observer=stop_in(2), on_finished=finished.append)
    assert [row["method"] for row in rows_of(tmp_path / "run")] == ["supervised"]
    assert [run.method for run in finished[0].runs] == ["supervised"]
    assert fewlabels.load(tmp_path / "run" / "models" / "supervised-5-0").classes_.size == 10


def test_stopping_again_while_the_report_is_written_tells_what_is_kept(tmp_path):
    def again(comparison):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="1 of 3 trainings were finished and are kept in") as stopped:
        compare("digits", **TINY, out=tmp_path / "run", observer=stop_in(2), on_finished=again)
    assert stopped.value.folder == tmp_path / "run"
    assert len(read_comparison(tmp_path / "run").runs) == 1


def test_stopping_right_after_the_last_training_speaks_of_no_next_one(tmp_path, monkeypatch):
    def stopped(*given):
        write_record(*given)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run_folder, "write_record", stopped)
    one = {"methods": "supervised", "labels_per_class": 5, "steps": 3, "out": tmp_path / "run"}
    with pytest.raises(Interrupted, match=r"stopped; 1 of 1 trainings were finished and are kept in .*run$"):
        compare("digits", **one)
    monkeypatch.undo()
    assert len(compare("digits", **one, resume=True).runs) == 1


def test_stopping_in_the_first_training_leaves_nothing(tmp_path):
    with pytest.raises(Interrupted, match="nothing was written"):
        compare("digits", **TINY, out=tmp_path / "deep" / "run", observer=stop_in(1))
    assert not list(tmp_path.iterdir())


TWO = {"methods": ["supervised", "self-training"], "labels_per_class": 5, "steps": 3}


def begun_with_one_of_two(folder, **arguments):
    with pytest.raises(Interrupted):
        compare("digits", **TWO, out=folder, observer=stop_in(2), **arguments)
    return {**TWO, "out": folder, "resume": True}


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_full_disk_in_the_second_training_says_that_the_first_is_kept(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(event):
        if event["run"] == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with pytest.raises(OSError, match="File too large") as full:
                compare("digits", **TWO, out=tmp_path / "run", observer=fill)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    # The training goes on to its end without them.
    curves = [str(one.message) for one in caught if "curves" in str(one.message)]
    assert curves == [f"curves of trainings may have gaps: File too large: {tmp_path / 'run' / 'metrics.jsonl'}"]
    assert full.value.filename == str(tmp_path / "run" / "models" / "self-training-5-0")
    assert full.value.__notes__ == [f"1 of 2 trainings were finished and are kept in {tmp_path / 'run'}"]
    assert full.value.folder == tmp_path / "run"
    assert len(compare("digits", **TWO, out=tmp_path / "run", resume=True).runs) == 2


def test_what_another_process_keeps_is_not_told_as_kept(tmp_path):
    begun_with_one_of_two(tmp_path / "run")
    # As of one that runs.
    (tmp_path / "run" / "checkpoints" / "self-training-5-0").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "self-training-5-0" / "training.json").write_text("{}")
    assert not RunFolder(tmp_path / "run", "digits", overwrite=True).has_checkpoints
    with FolderLock(tmp_path / "run"), pytest.raises(InputError, match="in use by process") as refused:
        compare("digits", **TWO, out=tmp_path / "run", overwrite=True)
    assert not hasattr(refused.value, "__notes__")


def test_a_comparison_does_not_go_on_with_arguments_added_or_dropped(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,class\ntrain[3],7\n")
    chosen = {"choose": {"dropout": [0.0, 0.1]}}
    plain = begun_with_one_of_two(tmp_path / "plain")
    for added, said in (({"labels": labels}, f"labels=None, not '{labels}'"), (chosen, "choose=None, not {'dropout'")):
        with pytest.raises(InputError, match=re.escape(f"was begun with {said}")):
            compare("digits", **plain, **added)
    labeled = begun_with_one_of_two(tmp_path / "labeled", labels=labels)
    with pytest.raises(InputError, match=re.escape(f"was begun with labels='{labels}', not None")):
        compare("digits", **labeled)
    config = tmp_path / "plain" / "config.json"
    before = json.loads(config.read_text())
    # As a Ray cluster would have begun it.
    config.write_text(json.dumps({**before, "arguments": {**before["arguments"], "engine": "ray"}}))
    assert len(compare("digits", **plain).runs) == 2


def test_a_comparison_that_goes_on_elsewhere_says_where_the_finished_trainings_were_made(tmp_path):
    arguments = begun_with_one_of_two(tmp_path / "run", check=False)
    config = tmp_path / "run" / "config.json"
    here = json.loads(config.read_text())
    there = {**here, "device": "cuda", "versions": {**here["versions"], "torch": "1.0.0"}}
    config.write_text(json.dumps(there))
    with pytest.warns(TrainingWarning, match=r"torch is '1.0.0' there and .*, device is 'cuda' there and 'cpu' here"):
        found = compare("digits", **arguments, check=False)
    names = ("versions", "threads", "device", "machine")
    assert found.config["earlier"] == [{name: there[name] for name in names}]
    assert found.config["versions"] == here["versions"]
    page = render_report(read_comparison(tmp_path / "run"))
    assert "torch 1.0.0" in page
    # Once told, and not again of what is as before.
    assert compare("digits", **arguments, check=False).config["earlier"] == found.config["earlier"]


def test_a_comparison_that_went_on_and_was_killed_keeps_its_runs_in_order(tmp_path):
    arguments = {**TWO, "methods": ["supervised", "self-training", "prototypes", "linear-probe"], "out": tmp_path / "r"}
    with pytest.raises(Interrupted):
        compare("digits", **arguments, observer=stop_in(3))
    kept = []

    def look(event):
        if event["run"] == 4:
            # What a process that is killed now leaves.
            kept.extend(run.method for run in read_comparison(tmp_path / "r").runs)
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        compare("digits", **arguments, resume=True, observer=look)
    assert kept == arguments["methods"][:3]


def test_what_features_cost_is_told_and_kept_when_a_comparison_goes_on(color_images, tmp_path):
    X, y = color_images
    source = {"train": (X[:30], y[:30]), "test": (X[30:], y[30:])}
    more = {"methods": ["linear-probe", "prototypes"], "net": Colors(), "check": False, "cache_dir": tmp_path / "cache"}
    with pytest.raises(Interrupted):
        compare(source, **more, out=tmp_path / "run", observer=stop_in(2))
    seconds = json.loads((tmp_path / "run" / "config.json").read_text())["embedded"]["seconds"]
    found = compare(source, **more, out=tmp_path / "run", resume=True)
    assert found.config["embedded"]["seconds"] == seconds > 0
    assert f"images in {seconds:.1f} s, which is not in the seconds above." in render_report(found)


def test_a_comparison_does_not_go_on_with_data_that_have_changed(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,class\ntrain[3],7\n")
    arguments = begun_with_one_of_two(tmp_path / "run", labels=labels)
    labels.write_text("file,class\ntrain[3],8\n")
    with pytest.raises(InputError, match="other images or labels: digits has changed since"):
        compare("digits", **arguments, labels=labels)
    labels.write_text("file,class\ntrain[3],7\n")
    assert len(compare("digits", **arguments, labels=labels).runs) == 2


def test_what_changes_while_a_comparison_runs_is_not_mixed_into_it(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,class\ntrain[3],7\n")

    def change(event):
        labels.write_text("file,class\ntrain[3],8\n")

    given = {"methods": ["supervised"], "labels_per_class": 3, "seeds": 2, "steps": 2, "labels": labels, "check": False}
    found = compare("digits", **given, out=tmp_path / "run", observer=change)
    labels.write_text("file,class\ntrain[3],7\n")
    alone = compare("digits", **given, out=tmp_path / "alone")
    assert found.config["data"] == alone.config["data"]
    for one, other in zip(found.runs, alone.runs, strict=True):
        np.testing.assert_array_equal(one.test_probabilities, other.test_probabilities)


def test_a_machine_that_reads_other_labels_than_a_comparison_began_with_is_refused(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,class\ntrain[3],7\n")
    who = Contender("supervised", "supervised", "digits", None)
    draws = Draws("digits", {"labels": labels})
    data = draws(who, 3, 0)
    training = Training(1, who, 3, 3, 0, {"random_state": 0}, {}, [{}], data.fingerprint)
    sent = pickle.dumps(draws)
    assert training.draw(pickle.loads(sent)).fingerprint == data.fingerprint
    labels.write_text("file,class\ntrain[3],8\n")
    assert training.draw(draws).fingerprint == data.fingerprint
    with pytest.raises(InputError, match="begun with other images or labels: digits has changed since"):
        training.draw(pickle.loads(sent))


def test_a_finished_training_takes_away_its_own_checkpoints_and_no_others(tmp_path):
    places = [tmp_path / "checkpoints" / name for name in ("supervised-5-1-0", "supervised-5-12", "supervised-5-12-0")]

    def beside(event):
        # As trainings on a Ray cluster do, or those of another process that was stopped.
        for place in places:
            place.mkdir(exist_ok=True)

    compare("digits", methods=["supervised"], labels_per_class=5, seeds=[1], steps=2, out=tmp_path, observer=beside)
    assert [place.exists() for place in places] == [False, True, True]


def test_classes_without_a_label_are_columns_of_zero_probability(tmp_path):
    data = load_dataset("digits", labels_per_class=4)
    rows = np.flatnonzero(data.labels != 6)
    fewer = dataclasses.replace(data, labeled=data.labeled.take(rows), labels=data.labels[rows])
    run = compare(fewer, methods=["self-training"], steps=2, out=tmp_path / "run").runs[0]
    assert run.test_probabilities.shape == (len(data.test), 10)
    assert not run.test_probabilities[:, 6].any()
    assert (run.test_probabilities.max(0) > 0).sum() == 9


def test_a_loaded_data_set_cannot_be_drawn_again(tmp_path):
    data = load_dataset("digits", labels_per_class=3)
    with pytest.raises(InputError, match="labels_per_class cannot change a data set"):
        compare(data, labels_per_class=5, out=tmp_path / "run")


def test_the_command_that_repeats_a_run_is_read_back_by_the_command_line(monkeypatch):
    from typer.testing import CliRunner

    import fewlabels.report
    from fewlabels.cli import app

    arguments = {
        "source": "my photos",
        "methods": ["supervised", "self-training"],
        "labels_per_class": [5, 20],
        "seeds": [0, 1, 2],
        "epochs": 2.5,
        "image_size": 24,
        "test_per_class": 7,
        "preset": "notebook",
        "settings": {"restart": False, "top_share": 0.5, "optimizer": "adam", "net": "1", "view": "No", "flip": "a b"},
        "choose": {"dropout": [0.1, 0.2], "net": ["fast", "notebook"]},
        "vary": ["labels", "order"],
        "check": False,
        "strict": True,
    }
    given = {}

    def record(source, **options):
        given.update(options, source=source)
        raise InputError("enough")

    monkeypatch.setattr(fewlabels.report, "compare", record)
    import shlex

    words = shlex.split(repeat_command(arguments))
    assert words[:2] == ["fewlabels", "compare"]
    CliRunner().invoke(app, words[1:])
    assert {name: given[name] for name in arguments} == {**arguments, "seeds": 3}


def test_seeds_that_the_command_line_cannot_say_become_a_python_call():
    command = repeat_command({"source": "digits", "methods": ["supervised"], "labels_per_class": None, "seeds": [3, 7]})
    assert command == "fewlabels.compare('digits', methods=['supervised'], seeds=[3, 7])"


def test_a_module_is_no_text_in_the_call_that_repeats():
    command = repeat_command({"source": "digits", "methods": ["supervised"], "seeds": [0], "net": "module"})
    assert command == "fewlabels.compare('digits', methods=['supervised'], seeds=[0], net=net)"


def test_labels_that_are_no_file_are_no_text_in_the_call_that_repeats(tmp_path):
    arguments = {"methods": ["prototypes"], "labels_per_class": 3, "check": False}
    found = compare("digits", **arguments, labels={"train[3]": "7"}, out=tmp_path / "run")
    assert found.config["command"] == (
        "fewlabels.compare('digits', methods=['prototypes'], labels_per_class=[3], labels=labels, seeds=[0], "
        "check=False)"
    )


def test_a_source_that_begins_like_an_option_is_none_in_the_command_that_repeats():
    command = repeat_command({"source": "-photos", "methods": ["supervised"], "seeds": [0]})
    assert command == "fewlabels compare ./-photos --methods supervised --seeds 1"


def test_all_stands_for_every_method_and_nothing_for_the_basic_four():
    from fewlabels.evaluation import asked
    from fewlabels.methods import BASIC_METHODS, METHODS

    assert asked._methods("all") == list(METHODS)
    assert asked._methods(["all"]) == list(METHODS)
    assert asked._methods(None) == list(BASIC_METHODS)
    assert asked._methods(["FixMatch", "fixmatch", "fix-match"]) == ["fix-match"]


def test_results_are_data_frames_on_request(found):
    runs, tests, history = (found.to_frame(what) for what in ("runs", "tests", "history"))
    assert runs["test_accuracy"].tolist() == [run.test_accuracy for run in found.runs]
    assert {"brier_score", "calibration_error", "balanced_accuracy"} <= set(runs.columns)
    assert tests[["method", "other"]].values.tolist()[0] == ["self-training", "supervised"]
    assert len(history) == sum(len(run.history) for run in found.runs)
    # A result without a row has the columns all the same.
    alone = Comparison(found.class_names, {}, found.runs[:1]).to_frame("tests")
    assert (list(alone.columns), len(alone)) == (list(tests.columns), 0)
    assert len(DataCheck({}, ()).to_frame()["severity"]) == 0
    assert history.groupby("method")["seconds"].max().gt(0).all()
    with pytest.raises(InputError, match="did you mean 'runs'"):
        found.to_frame("run")


def test_methods_are_compared_with_their_settings_for_minutes(tmp_path):
    comparison = compare("digits", methods=["uda"], steps=2, out=tmp_path / "run", check=False)
    assert (
        comparison.runs[0].settings["unlabeled_ratio"] == fewlabels.METHODS["uda"].PRESETS["short"]["unlabeled_ratio"]
    )


def test_what_was_finished_stays_when_going_on_with_an_earlier_training_fails(tmp_path):
    arguments = {"methods": ["supervised", "self-training", "linear-probe"], "labels_per_class": 3, "steps": 2}
    compare("digits", **arguments, out=tmp_path / "run")
    before = {path.name for path in (tmp_path / "run" / "models").iterdir()}
    for path in (tmp_path / "run" / "records").glob("supervised-3-0.*"):
        path.unlink()

    def fail(event):
        raise InputError("no more memory")

    def stop(event):
        raise KeyboardInterrupt

    for observer, error in ((fail, InputError), (stop, Interrupted)):
        with pytest.raises(error):
            compare("digits", **arguments, out=tmp_path / "run", resume=True, observer=observer)
        assert {path.name for path in (tmp_path / "run" / "models").iterdir()} == before
        assert {row["method"] for row in rows_of(tmp_path / "run")} == {"self-training", "linear-probe"}
    found = compare("digits", **arguments, out=tmp_path / "run", resume=True)
    assert [one.method for one in found.runs] == arguments["methods"]


def test_comparisons_that_begin_in_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20261127-233123")
    folders = [RunFolder(None, "my photos") for _ in range(3)]
    assert [folder.path.name for folder in folders] == [f"my-photos-20261127-233123{end}" for end in ("", "-2", "-3")]
    for folder in folders[:2]:
        folder.begin({"arguments": {}})
    # What comes to nothing leaves none, whether it began or not.
    for folder in reversed(folders):
        folder.discard()
    assert not list(tmp_path.iterdir())


def test_a_new_folder_goes_where_the_check_of_the_data_is_stopped(tmp_path, monkeypatch):
    def stop(data):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparison_module, "check_dataset", stop)
    with pytest.raises(KeyboardInterrupt):
        compare("digits", methods="supervised", labels_per_class=3, steps=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_where_no_folder_can_be_made_that_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(tmp_path / "not-mounted")
    with pytest.raises(FileExistsError):
        RunFolder(None, "digits")


def test_a_new_folder_goes_where_anything_else_ends_the_comparison_before_it_began(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparison_module, "Work", fail)
    with pytest.raises(MemoryError):
        compare("digits", methods="supervised", labels_per_class=3, steps=2, check=False)
    assert not list(tmp_path.iterdir())


def test_a_comparison_that_was_written_meanwhile_is_not_replaced(tmp_path):
    late = RunFolder(tmp_path / "run", "digits")
    compare("digits", methods=["supervised"], labels_per_class=3, steps=2, out=tmp_path / "run")
    try:
        with pytest.raises(InputError, match="already holds a comparison"):
            late.begin({})
    finally:
        late.close()
    assert [path.name for path in (tmp_path / "run" / "models").iterdir()] == ["supervised-3-0"]


def test_records_of_another_version_are_read_and_damaged_ones_are_told(tmp_path):
    compare("digits", methods=["supervised"], labels_per_class=3, steps=2, out=tmp_path / "run")
    record = tmp_path / "run" / "records" / "supervised-3-0.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "of_a_later_version": 1}))
    assert len(read_comparison(tmp_path / "run").runs) == 1
    packed = record.with_suffix(".npz")
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 255
    packed.write_bytes(bytes(content))
    with pytest.raises(InputError, match="is damaged; delete both"):
        read_comparison(tmp_path / "run")


def test_a_budget_may_be_a_number_or_its_text_when_a_comparison_goes_on(tmp_path):
    arguments = {"methods": ["prototypes", "linear-probe"], "labels_per_class": 5, "check": False}
    with pytest.raises(Interrupted):
        compare("digits", **arguments, budget=60, out=tmp_path / "run", observer=stop_in(2))
    found = compare("digits", **arguments, budget="60", out=tmp_path / "run", resume=True)
    assert [run.method for run in found.runs] == ["prototypes", "linear-probe"]


def test_a_run_tells_that_auto_took_the_labels_alone(tmp_path):
    arguments = {"methods": ["supervised", "auto"], "labels_per_class": 5, "budget": "600 images", "check": False}
    found = compare("digits", **arguments, out=tmp_path / "run")
    assert [run.labels_alone for run in found.runs] == [False, True]
    assert any("auto: it took the labels alone" in sentence for sentence in found.verdicts())
