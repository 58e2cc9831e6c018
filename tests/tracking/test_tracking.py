"""Trackers as their own libraries read them back."""

from __future__ import annotations

import shutil
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

import fewlabels
from command_line import run_here
from fewlabels import InputError, TrainingWarning
from fewlabels.storage.lock import FolderLock
from fewlabels.tracking import TrackedRun, check_trackers
from fewlabels.tracking.confusion import confusion_figure
from fewlabels.tracking.mlflow import Mlflow
from fewlabels.tracking.tensorboard import TensorBoard
from fewlabels.tracking.tracked import TRACKERS
from fewlabels.tracking.tracker import FINISHED, STOPPED, Entry
from prestarted import Started, script

pytestmark = pytest.mark.filterwarnings("ignore::fewlabels.TrainingWarning")


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory):
    """A database that MLflow has made its tables in, which takes seconds: tests copy it."""
    place = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow import MlflowClient

            MlflowClient().search_experiments()
    return place


@pytest.fixture
def store(fresh_store, tmp_path, monkeypatch):
    """MLflow in a folder of its own; returns a client that reads what is there."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(fresh_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        return MlflowClient()


def runs_of(client):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        experiment = client.get_experiment_by_name("fewlabels")
        return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def curve_in_mlflow(client, run, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            (m.step, m.value) for m in sorted(client.get_metric_history(run.info.run_id, name), key=lambda m: m.step)
        ]


def events_in(folder):
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def curve(events, name):
    return [(event.step, event.value) for event in events.Scalars(name)]


def hyper_parameters(events):
    found = {}
    for name in ("session_start_info", "session_end_info"):
        tag = f"_hparams_/{name}"
        content = events.SummaryMetadata(tag).plugin_data.content
        found[name] = getattr(plugin_data_pb2.HParamsPluginData.FromString(content), name)
    return found


@pytest.mark.usefixtures("narrow_net")
def test_a_comparison_is_in_both_trackers_with_curves_settings_and_test_figures(store, tmp_path):
    found = fewlabels.compare(
        "digits",
        methods=["supervised", "self-training"],
        labels_per_class=[10, 20],
        steps=6,
        settings={"rounds": 2},
        track=["tensorboard", "mlflow"],
        out=tmp_path / "out",
        check=False,
    )
    runs = runs_of(store)
    names = {f"{method}-{size}-0" for method in ("supervised", "self-training") for size in (10, 20)}
    assert set(runs) == names | {"comparison"}
    assert {path.name for path in (tmp_path / "out" / "tensorboard").iterdir()} == set(runs)
    for one in found.runs:
        name = f"{one.method}-{one.labels_per_class}-0"
        events = events_in(tmp_path / "out" / "tensorboard" / name)
        run = runs[name]
        losses = [event["loss"] for event in one.history if "loss" in event]
        steps = sum(one.stage_steps.values())
        for told in (curve(events, "loss/sum"), curve_in_mlflow(store, run, "loss/sum")):
            assert [value for _, value in told] == pytest.approx(losses)
            at = [step for step, _ in told]
            assert at == sorted(set(at))
            assert at[-1] == steps
        looks = [event["validation_accuracy"] for event in one.history if "validation_accuracy" in event]
        assert [value for _, value in curve(events, "accuracy/validation")] == pytest.approx(looks)
        for told in (curve(events, "final/test_accuracy"), curve_in_mlflow(store, run, "final/test_accuracy")):
            assert [value for _, value in told] == pytest.approx([one.test_accuracy])
        assert run.data.params["learning_rate"] == str(one.settings["learning_rate"])
        assert run.data.params["steps"] == "6"
        assert run.data.tags["mlflow.parentRunId"] == runs["comparison"].info.run_id
        assert run.data.tags["labels_per_class"] == str(one.labels_per_class)
        assert run.info.status == "FINISHED"
        known = hyper_parameters(events)
        assert known["session_start_info"].hparams["steps"].number_value == 6
        assert known["session_end_info"].status == api_pb2.STATUS_SUCCESS
        (picture,) = events.Images("test/confusion")
        assert picture.width > 200
        (artifact,) = [file.path for file in store.list_artifacts(run.info.run_id)]
        assert artifact == "test_confusion.png"
    whole = events_in(tmp_path / "out" / "tensorboard" / "comparison")
    expected = [(one.labels_per_class, one.test_accuracy) for one in found.runs if one.method == "self-training"]
    learned = curve(whole, "test_accuracy/self-training")
    assert [step for step, _ in learned] == [10, 20]
    assert [value for _, value in learned] == pytest.approx([value for _, value in expected])
    assert curve_in_mlflow(store, runs["comparison"], "test_accuracy/self-training") == expected
    files = {file.path for file in store.list_artifacts(runs["comparison"].info.run_id)}
    assert files == {"report.html", "results.csv"}


def test_no_figure_of_test_images_comes_before_the_evaluator_has_measured(store, tmp_path, monkeypatch):
    def fail(*words, **options):
        raise RuntimeError("not measured")

    monkeypatch.setattr("fewlabels.evaluation.training.measure", fail)
    with pytest.raises(RuntimeError, match="not measured"):
        fewlabels.compare(
            "digits",
            methods=["supervised"],
            steps=3,
            track=["mlflow", "tensorboard"],
            out=tmp_path / "out",
            check=False,
        )
    run = runs_of(store)["supervised-10-0"]
    assert run.info.status == "FAILED"
    assert "loss/sum" in run.data.metrics
    assert not [name for name in run.data.metrics if "test" in name]
    events = events_in(tmp_path / "out" / "tensorboard" / "supervised-10-0")
    assert not [name for name in events.Tags()["scalars"] if "test" in name]
    assert hyper_parameters(events)["session_end_info"].status == api_pb2.STATUS_FAILURE
    assert runs_of(store)["comparison"].info.status == "FAILED"


# Stops itself at a step, as a process that is killed stops: nothing is closed.
KILLED = """
import os, signal, sys, warnings
import fewlabels
from fewlabels.training.monitor import Monitor

last = int(sys.argv[1])
report = Monitor.report

def kill(self, step, *words):
    report(self, step, *words)
    if step == last:
        os.kill(os.getpid(), signal.SIGKILL)

Monitor.report = kill
from fewlabels.cli import main
sys.argv = ["fewlabels", *sys.argv[2:]]
main()
"""
WORDS = ["fit", "--method", "supervised", "--steps", "40", "--labels-per-class", "10", "--out", "model", "-q"]
WORDS += ["--set", "batch_size=16"]
WORDS += ["--track", "tensorboard", "--track", "mlflow", "--checkpoint-every", "0"]


def test_a_fit_that_was_killed_goes_on_in_the_same_runs_without_a_step_twice(store, tmp_path):
    place = tmp_path / "killed"
    place.mkdir()
    said = {"out": tmp_path / "out", "errors": tmp_path / "errors"}
    killed = Started(script, KILLED, ("15", *WORDS), folder=place, **said)
    assert killed.wait(900) == -9, said["errors"].read_text()
    assert runs_of(store)["model"].info.status == "RUNNING"
    ended = run_here(place, *WORDS, "--resume")
    assert ended.returncode == 0, ended.stderr
    whole = tmp_path / "whole"
    whole.mkdir()
    ended = run_here(whole, *WORDS[:-6], "--track", "tensorboard")
    assert ended.returncode == 0, ended.stderr
    expected = events_in(whole / "tensorboard" / "model")
    resumed = events_in(place / "tensorboard" / "model")
    run = runs_of(store)["model"]
    assert run.info.status == "FINISHED"
    for name in ("loss/sum", "learning_rate", "accuracy/validation"):
        assert curve(resumed, name) == curve(expected, name)
        told = curve_in_mlflow(store, run, name)
        assert [step for step, _ in told] == [step for step, _ in curve(expected, name)]
        assert [value for _, value in told] == pytest.approx([value for _, value in curve(expected, name)])
    assert len(curve(expected, "loss/sum")) == 40


def test_a_fit_that_is_refused_leaves_the_runs_of_others_alone(store, run, tmp_path):
    words = ["fit", "--method", "supervised", "--steps", "3", "--labels-per-class", "1", "--out", "model", "-q"]
    words += ["--track", "tensorboard", "--track", "mlflow"]
    assert run(*words)[0] == 0
    curves, before = list((tmp_path / "tensorboard" / "model").iterdir()), runs_of(store)["model"].info
    # Too few labels to look at the pool by; only the training finds that.
    code, _, errors = run(*words, "--set", "assess_pool=true")
    assert code == 2
    assert "assess_pool=True needs" in errors
    # As by a process that trains.
    with FolderLock(tmp_path / "model.checkpoint"):
        for more in ([], ["--resume"]):
            code, _, errors = run(*words, *more)
            assert code == 2
            assert "is in use by process" in errors
    assert list((tmp_path / "tensorboard" / "model").iterdir()) == curves
    assert len(store.search_runs([before.experiment_id])) == 1


def test_a_fit_that_begins_anew_replaces_what_tensorboard_had(tmp_path):
    for steps in (9, 5):
        with fewlabels.track("tensorboard", tmp_path) as run:
            for step in range(1, steps + 1):
                run({"stage": "a", "stage_number": 1, "stage_count": 1, "step": step, "steps": steps, "loss": 1.0})
    assert [step for step, _ in curve(events_in(tmp_path / "tensorboard" / "fit"), "loss/sum")] == [1, 2, 3, 4, 5]


def test_what_training_takes_back_is_taken_back(tmp_path):
    with fewlabels.track("tensorboard", tmp_path) as run:
        for value, steps in ((1.0, (1, 2, 3, 4)), (2.0, (3, 4, 5))):
            for step in steps:
                run({"stage": "a", "stage_number": 1, "stage_count": 1, "step": step, "steps": 9, "loss": value})
    told = curve(events_in(tmp_path / "tensorboard" / "fit"), "loss/sum")
    assert told == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]


def test_stages_follow_each_other_on_one_axis(tmp_path):
    with fewlabels.track("tensorboard", tmp_path) as run:
        for number, stage in enumerate(("first", "second"), 1):
            for step in (0, 2, 4):
                event = {"stage": stage, "stage_number": number, "stage_count": 2, "step": step, "steps": 4}
                run(event | ({"loss": 1.0} if step else {}))
    assert [step for step, _ in curve(events_in(tmp_path / "tensorboard" / "fit"), "loss/sum")] == [2, 4, 6, 8]


def two_steps(folder):
    """Track two steps; return what an event of a step is, but for its number, and the file of events."""
    event = {"stage": "a", "stage_number": 1, "stage_count": 1, "steps": 9, "loss": 1.0}
    with fewlabels.track("tensorboard", folder) as run:
        for step in (1, 2):
            run(event | {"step": step})
    (file,) = (folder / "tensorboard" / "fit").iterdir()
    return event, file


def test_half_a_record_at_the_end_of_a_file_does_not_keep_a_run_from_going_on(tmp_path):
    event, file = two_steps(tmp_path)
    file.write_bytes(file.read_bytes() + b"\x20\x00\x00\x00\x00")
    with fewlabels.track("tensorboard", tmp_path, resumed=True) as run:
        for step in (1, 2, 3):
            run(event | {"step": step})
    assert [step for step, _ in curve(events_in(tmp_path / "tensorboard" / "fit"), "loss/sum")] == [1, 2, 3]


def test_a_run_that_goes_on_within_the_same_second_is_read_in_its_order(tmp_path):
    event, file = two_steps(tmp_path)
    file.rename(file.with_name(f"events.out.tfevents.{int(time.time())}.zzz.9.9"))
    with fewlabels.track("tensorboard", tmp_path, resumed=True) as run:
        run(event | {"step": 3})
    assert [step for step, _ in curve(events_in(tmp_path / "tensorboard" / "fit"), "loss/sum")] == [1, 2, 3]


def test_a_tracker_that_fails_does_not_end_a_training(tmp_path, few_labels):
    class Full(TensorBoard):
        def scalars(self, values, step):
            raise OSError("no space left on device")

    images, y, *_ = few_labels
    with TrackedRun([Full(Entry("a", tmp_path)), TensorBoard(Entry("b", tmp_path))]) as run, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.warns(TrainingWarning, match="full is told no more of this training: no space left"):
            fewlabels.Supervised(steps=4, random_state=0).fit(images, y, observer=run)
    assert len(curve(events_in(tmp_path / "tensorboard" / "b"), "loss/sum")) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
@pytest.mark.parametrize("from_the_start", [True, False])
def test_tensorboard_on_a_full_disk_is_told_with_its_folder_and_no_traceback(from_the_start, tmp_path, capsys):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def track_until_full():
        limit = (10, hard)
        if from_the_start:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        with fewlabels.track("tensorboard", tmp_path) as run:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            run({"stage_number": 1, "stage": "only", "step": 1, "loss": 0.5})
        return run

    try:
        with pytest.warns(TrainingWarning, match=rf"is told no more .* File too large: '{tmp_path}/tensorboard/fit'"):
            run = track_until_full()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.trackers == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("kind", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_how_a_run_ended_is_told(kind, status, store, tmp_path):
    with pytest.raises(kind), fewlabels.track("mlflow", tmp_path):
        raise kind
    assert runs_of(store)["fit"].info.status == status


def test_an_unknown_tracker_is_named():
    with pytest.raises(InputError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        check_trackers(["tensorbord"])


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_package_that_is_not_there_is_told_in_one_line_before_anything_is_trained(
    name, package, tmp_path, monkeypatch
):
    for loaded in [module for module in sys.modules if module.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    ended = run_here(tmp_path, "compare", "digits", "--track", name, "--out", "o", "--steps", "1")
    assert ended.returncode == 2
    assert ended.stderr == (
        f"error: --track {name} needs a package that is not installed: pip install 'fewlabels[{name}]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_with_another_setting_of_how_much_is_said(store, tmp_path):
    first = Mlflow(Entry("fit", tmp_path, {"verbose": False}))
    first.end(STOPPED)
    again = Mlflow(Entry("fit", tmp_path, {"verbose": True, "steps": 3}, resumed=True))
    again.end(FINISHED)
    assert again.run == first.run
    assert runs_of(store)["fit"].data.params == {"verbose": "False", "steps": "3"}


def test_an_experiment_that_was_deleted_is_told_before_anything_is_trained(store):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.delete_experiment(store.create_experiment("fewlabels"))
    with pytest.raises(InputError, match="'fewlabels' was deleted; restore it"):
        check_trackers(["mlflow"])


def test_a_store_that_does_not_answer_is_told_before_anything_is_trained(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match=r"MLflow's store .* cannot be used .*; set MLFLOW_TRACKING_URI") as error:
        check_trackers(["mlflow"])
    assert "\n" not in str(error.value)


def test_combinations_that_are_tried_are_runs_of_their_own_and_only_the_chosen_one_meets_test_images(tmp_path):
    found = fewlabels.compare(
        "digits",
        methods=["supervised"],
        steps=4,
        choose={"dropout": [0.0, 0.1]},
        track="tensorboard",
        out=tmp_path / "out",
        check=False,
    )
    used = [row["used"] for row in found.runs[0].tried].index(True)
    tested = {
        number: "final/test_accuracy"
        in events_in(tmp_path / "out" / "tensorboard" / f"supervised-10-0-{number}").Tags()["scalars"]
        for number in (0, 1)
    }
    assert tested == {used: True, 1 - used: False}


def test_numbers_that_are_none_are_left_out(tmp_path):
    event = {"stage": "a", "stage_number": 1, "stage_count": 1, "step": 1, "steps": 1, "loss": np.nan, "seconds": 2.0}
    with fewlabels.track("tensorboard", tmp_path) as run:
        run(event)
    assert events_in(Path(tmp_path) / "tensorboard" / "fit").Tags()["scalars"] == ["seconds"]


def test_a_tracker_that_fails_as_a_training_begins_does_not_end_the_comparison(store, tmp_path, monkeypatch):
    class Full(TensorBoard):
        def __init__(self, entry):
            if entry.name == "linear-probe-3-1":
                raise OSError(28, "No space left on device")
            super().__init__(entry)

    monkeypatch.setitem(TRACKERS, "tensorboard", (TRACKERS["tensorboard"][0], Full))
    arguments = {"methods": "linear-probe", "labels_per_class": 3, "seeds": 3, "out": tmp_path / "run"}
    with pytest.warns(TrainingWarning, match="tensorboard is told no more of this training: .*No space left"):
        found = fewlabels.compare("digits", **arguments, track="tensorboard")
    assert len(found.runs) == 3
    assert (tmp_path / "run" / "tensorboard" / "linear-probe-3-2").is_dir()


def test_mlflow_goes_on_with_a_run_in_a_folder_with_an_apostrophe(store, tmp_path):
    folder = tmp_path / "o'brien"
    first = Mlflow(Entry("fit", folder))
    first.end(STOPPED)
    assert Mlflow(Entry("fit", folder, resumed=True)).run == first.run


def test_the_confusions_of_very_many_classes_are_drawn_without_their_names():
    names = [f"class {number}" for number in range(300)]
    figure = confusion_figure(np.arange(300), np.arange(300), names)
    assert figure.axes[0].get_xticklabels() == []
    assert figure.axes[0].get_images()[0].get_array().shape == (300, 300)


def test_long_names_of_classes_leave_the_confusions_room():
    figure = confusion_figure(np.arange(2), np.arange(2), ["a" * 200, "b" * 200])
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["a" * 29 + "…", "b" * 29 + "…"]


def test_curves_over_labels_are_whole_in_whatever_order_these_were_asked_for(tmp_path):
    arguments = {"methods": "supervised", "labels_per_class": [20, 10], "steps": 2, "check": False}
    found = fewlabels.compare("digits", **arguments, out=tmp_path / "run", track="tensorboard")
    told = curve(events_in(tmp_path / "run" / "tensorboard" / "comparison"), "test_accuracy/supervised")
    assert dict(told) == pytest.approx({run.labels_per_class: run.test_accuracy for run in found.runs})


def test_curves_are_told_though_an_earlier_process_ended_after_the_last_training(tmp_path, monkeypatch):
    def fail(*words):
        raise OSError(28, "No space left on device")

    arguments = {"methods": "supervised", "steps": 2, "check": False, "out": tmp_path / "run", "track": "tensorboard"}
    with monkeypatch.context() as patch:
        patch.setattr("fewlabels.report.reported.write_report", fail)
        with pytest.raises(OSError, match="No space left"):
            fewlabels.compare("digits", **arguments)
    fewlabels.compare("digits", **arguments, resume=True)
    events = events_in(tmp_path / "run" / "tensorboard" / "comparison")
    assert events.Tags()["scalars"] == ["test_accuracy/supervised"]


def test_a_comparison_that_goes_on_tells_mlflow_no_point_of_its_curves_twice(store, tmp_path):
    arguments = {"methods": "supervised", "labels_per_class": [10, 20], "steps": 2, "check": False, "track": "mlflow"}
    for resume in (False, True):
        found = fewlabels.compare("digits", **arguments, out=tmp_path / "run", resume=resume)
        told = curve_in_mlflow(store, runs_of(store)["comparison"], "test_accuracy/supervised")
        assert told == [(run.labels_per_class, run.test_accuracy) for run in found.runs]


def test_what_is_told_again_and_is_another_is_what_mlflow_shows(store, tmp_path):
    for resumed, value in ((False, 1.0), (True, 2.0), (True, 1.0), (True, 1.0)):
        run = Mlflow(Entry("fit", tmp_path, resumed=resumed))
        run.take_back(0)
        run.scalars({"loss/sum": value}, 3)
        run.end(FINISHED)
    run = runs_of(store)["fit"]
    assert curve_in_mlflow(store, run, "loss/sum") == [(3, 1.0), (3, 2.0), (3, 1.0)]
    assert run.data.metrics == {"loss/sum": 1.0}


def test_a_store_that_takes_no_pictures_gets_the_numbers(store, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.create_experiment("fewlabels", artifact_location=str(tmp_path / "mlflow.db" / "no folder"))
    arguments = {"methods": "supervised", "steps": 2, "check": False, "out": tmp_path / "run", "track": "mlflow"}
    with pytest.warns(TrainingWarning, match="mlflow keeps no picture or file of this training"):
        found = fewlabels.compare("digits", **arguments)
    runs = runs_of(store)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["supervised-10-0"].data.metrics["final/test_accuracy"] == pytest.approx(found.runs[0].test_accuracy)
