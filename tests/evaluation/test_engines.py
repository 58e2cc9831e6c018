"""Trainings spread over a Ray cluster end as those of one process do, whatever dies on the way."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from command_line import run_here
from fewlabels import InputError
from fewlabels.evaluation import compare, engines
from fewlabels.evaluation.contenders import Contender
from fewlabels.evaluation.training import Draws, Training
from fewlabels.storage.engine import check_engine
from made_once import made_once
from ray_cluster import begin_fewlabels, cluster_in, start_fewlabels, workers_of

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="the processes of a cluster are found by /proc")

WORDS = ["compare", "digits", "--methods=supervised,fix-match", "--labels-per-class=6", "--steps=60"]
WORDS += ["--set=batch_size=8", "--checkpoint-every=0", "--no-check"]
NAMES = ["supervised-6-0", "fix-match-6-0"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A comparison of one process."""

    def run(folder):
        succeeded(begin_fewlabels(*WORDS, "--out", folder / "run", cache=folder, folder=folder))

    return made_once(tmp_path_factory, "engines-alone", run) / "run"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster that goes on from test to test; its processes work in a folder of their own."""
    with cluster_in(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
    assert not list(cluster.folder.iterdir())


def succeeded(command):
    output, errors = command.communicate(timeout=600)
    assert command.returncode == 0, output[-3000:] + errors[-3000:]
    return output


def results_of(folder):
    """Return what does not depend on time: weights of each model, and what was measured."""
    weights = {name: (folder / "models" / name / "model.safetensors").read_bytes() for name in NAMES}
    runs = json.loads((folder / "results.json").read_text())["runs"]
    return weights, [(run["method"], run["seed"], run["test_accuracy"], run["trust"]) for run in runs]


def on_ray(out, *words):
    return [*WORDS, "--engine=ray", "--out", out, *words]


def wait_for(condition, command):
    deadline = time.monotonic() + 300
    while not condition():
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def begun(out):
    return len(list((out / "checkpoints").glob("*/training.json"))) > 0


def test_a_killed_process_changes_nothing_of_what_is_found(alone, tmp_path):
    out = tmp_path / "run"
    # With a cluster of its own.
    command = start_fewlabels(*on_ray(out, "--json"), cache=tmp_path)
    wait_for(lambda: begun(out), command)
    os.kill(workers_of(command.pid, b"_train_there")[0], signal.SIGKILL)
    told = json.loads(succeeded(command))
    assert results_of(out) == results_of(alone)
    assert [run["method"] for run in told["runs"]] == ["supervised", "fix-match"]
    config = json.loads((out / "config.json").read_text())
    assert (config["threads"], config["arguments"]["engine"]) == (1, "ray")
    assert "--engine ray" in config["command"]
    assert "--engine ray" in (out / "report.html").read_text()
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for method in ("supervised", "fix-match"):
        assert max(event["step"] for event in events if event["method"] == method) > 45
    assert not (out / "checkpoints").exists()


def test_a_stopped_comparison_goes_on_where_its_trainings_were(alone, cluster, tmp_path):
    out, where = tmp_path / "run", {"cache": tmp_path, "folder": tmp_path, "RAY_ADDRESS": cluster.address}
    command = begin_fewlabels(*on_ray(out), **where)
    wait_for(lambda: begun(out), command)
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=300)
    assert command.returncode == 130, errors
    assert "--resume" in errors
    assert begun(out)
    succeeded(begin_fewlabels(*on_ray(out, "--resume"), **where))
    assert results_of(out) == results_of(alone)


def test_a_training_whose_process_dies_each_time_ends_the_comparison_in_one_line(cluster, tmp_path):
    words = ["compare", "digits", "--methods=supervised", "--labels-per-class=6", "--steps=5000", "--no-check"]
    words += ["--engine=ray", "--out", tmp_path / "run"]
    command = begin_fewlabels(*words, cache=tmp_path, folder=tmp_path, RAY_ADDRESS=cluster.address)
    while command.poll() is None:
        for process in workers_of(cluster.pid, b"_train_there"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)
    _, errors = command.communicate()
    assert command.returncode == 2, errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "supervised-6-0 could not be trained on the Ray cluster" in line
    assert "--resume" in line


def test_a_training_on_a_cluster_has_one_thread_whatever_the_environment_says(tmp_path, monkeypatch):
    given = ("supervised", "supervised", "digits", None)
    draws = Draws("digits", {})
    drawn = draws(Contender(*given), 2, 0).fingerprint
    training = Training(1, Contender(*given), 2, 2, 0, {"random_state": 0}, {"steps": 1}, [{}], drawn)
    threads = []
    monkeypatch.setattr(engines, "train", lambda *given, **more: threads.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    engines._train_there(training, draws, tmp_path / "checkpoints" / "one", 60.0, None, tmp_path)
    assert threads == [1]


@pytest.fixture
def connected(cluster):
    """Ray, which this process has connected to the cluster already."""
    ray = pytest.importorskip("ray")
    ray.init(address=cluster.address, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_what_a_process_cannot_use_is_told_as_it_is_without_a_cluster(connected, tmp_path):
    # Too few labels to look at the pool by; only the training finds that.
    words = ["compare", "digits", "--methods=supervised", "--labels-per-class=1", "--steps=3", "--no-check"]
    words += ["--set=assess_pool=true"]
    said = []
    for engine in ("local", "ray"):
        command = run_here(tmp_path, *words, f"--engine={engine}", "--out", tmp_path / engine)
        assert command.returncode == 2, command.stderr
        said.append(command.stderr)
    assert "assess_pool=True needs two labeled samples of each class to learn from" in said[0]
    assert said[1] == said[0]
    assert not (tmp_path / "ray").exists()


def test_relative_paths_are_those_of_the_folder_that_the_command_was_typed_in(cluster, photos, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n"
    )
    (tmp_path / "given.csv").write_text("file,class\nunlabeled/0.png,red\n")
    words = ["compare", "photos", "--labels=given.csv", "--rungs=finetune", "--net=python:net.py:make", "--steps=3"]
    words += ["--no-check", "--out=run", "--engine=ray"]
    succeeded(begin_fewlabels(*words, cache="cache", folder=tmp_path, RAY_ADDRESS=cluster.address))
    assert json.loads((tmp_path / "run" / "results.json").read_text())["runs"]
    assert not list(cluster.folder.iterdir())


def test_arrays_go_to_the_cluster_and_are_learned_from(connected, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    source = {"train": (images, np.arange(40) % 2), "test": (images[:10], np.arange(10) % 2)}
    given = {"methods": ["supervised", "prototypes"], "steps": 4, "check": False}
    there = compare(source, **given, engine="ray", out=tmp_path / "there")
    assert connected.is_initialized()
    here = compare(source, **given, out=tmp_path / "here")
    for one, other in zip(there.runs, here.runs, strict=True):
        np.testing.assert_array_equal(one.test_probabilities, other.test_probabilities)


def test_a_source_that_all_trainings_share_is_not_sent_with_each():
    source = {"train": (np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 1])}
    draws = Draws(source, {})
    own, other = (
        Training(1, Contender("supervised", "supervised", place, None), None, None, 0, {}, {}, [{}], "")
        for place in (source, "features")
    )
    assert draws.without_source(own).who.source is None
    assert draws.without_source(other) is other


def test_an_engine_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="unknown engine 'spark'; expected local or ray"):
        check_engine("spark")
