"""`fewlabels fit` in several processes, started, killed and stopped as people and systems do it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launches import ENVIRONMENT, PATIENCE, ended, started, succeeded, together, torchrun

from fewlabels import load
from made_once import made_once
from prestarted import Started, fewlabels, file

SETTINGS = ("batch_size=8", "unlabeled_ratio=1", "warm_start=0.2", "dropout=0.1")
COMMAND = ["-m", "fewlabels"]
WORDS = ["fit", "digits", "--labels-per-class=6", "--method=flex-match", "--steps=40", "--quiet"]
WORDS += ["--checkpoint-every=0", *(f"--set={setting}" for setting in SETTINGS)]
# Of nets as users get them, the steps of these trainings would take longer than to launch them.
NARROW = Path(__file__).parent / "narrow_command.py"
FIT = [NARROW, *WORDS]
needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the folder of a fit of two processes that nothing has happened to, and what it said."""

    def fit(folder):
        (folder / "said.txt").write_text(fitted_together("--out", folder / "model"))

    folder = made_once(tmp_path_factory, "launch-undisturbed", fit)
    return folder / "model", (folder / "said.txt").read_text()


def fitted_together(*more):
    """Return what two processes have said that are told of each other without a launcher."""
    codes, said = together(2, file, NARROW, (*WORDS, *map(str, more)))
    assert codes == [0, 0], said[-3000:]
    return said


@pytest.mark.usefixtures("bare_net")
def test_the_first_process_alone_saves_and_speaks(undisturbed):
    folder, said = undisturbed
    assert len(re.findall("model saved in", said)) == 1
    assert not folder.with_name("model.checkpoint").exists()
    assert load(folder).stage_steps_ == {"labeled samples alone": 8, "classifier": 32}


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed")
def test_accelerate_launches_the_same(undisturbed, tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launch += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    said = succeeded([*launch, *map(str, FIT), "--out", str(tmp_path / "model")]).stdout
    assert len(re.findall("model saved in", said)) == 1
    assert weights(tmp_path / "model") == weights(undisturbed[0])


@needs_proc
def test_a_worker_that_is_killed_comes_back_and_the_end_is_the_same(undisturbed, tmp_path):
    out = tmp_path / "model"
    with started(torchrun(2, *FIT, "--out", out, options=("--standalone", "--max-restarts=1"))) as launcher:
        wait_for(lambda: any(checkpoints(out)), launcher)
        killed = worker(out, rank=1)
        os.kill(killed, signal.SIGKILL)
        said, errors = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 0, errors[-3000:]
    assert len(re.findall("model saved in", said)) == 1
    assert weights(out) == weights(undisturbed[0])
    assert not out.with_name("model.checkpoint").exists()


@needs_proc
def test_a_signal_to_one_process_stops_all_after_the_same_step(undisturbed, tmp_path):
    out = tmp_path / "model"
    with started(torchrun(2, *FIT, "--out", out)) as launcher:
        wait_for(lambda: any(checkpoints(out)), launcher)
        os.kill(worker(out, rank=1), signal.SIGTERM)
        _, errors = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode != 0
    (line,) = re.findall(r"error: stopped after step \d+ of \d+ .*", errors)
    assert "what was reached is saved" in line
    assert line.endswith("to go on, give the same command with --resume")
    assert not out.exists()
    fitted_together("--out", out, "--resume")
    assert weights(out) == weights(undisturbed[0])


@needs_proc
def test_a_signal_to_all_processes_which_the_launcher_sends_on_is_one(tmp_path):
    out = tmp_path / "model"
    # Of steps that take seconds, so that both signals come within one.
    words = [*COMMAND, "fit", "digits", "--labels-per-class=6", "--method=fix-match", "--steps=40", "--quiet"]
    words += ["--checkpoint-every=0", "--set=batch_size=256"]
    with started(torchrun(2, *words, "--out", out)) as launcher:
        wait_for(lambda: any(out.with_name("model.checkpoint").glob("at-*.safetensors")), launcher)
        for process in (worker(out, rank=0), worker(out, rank=1), launcher.pid):
            os.kill(process, signal.SIGTERM)
            time.sleep(0.1)
        _, errors = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode != 0
    assert "stopped at once" not in errors
    assert "has ended or cannot be reached" not in errors


def test_the_first_process_alone_needs_a_place_for_the_model(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").touch()
    words = ["fit", "digits", "--labels-per-class=2", "--method=supervised"]
    words += ["--steps=2", "--set=validation_fraction=0", "--quiet", "--out"]
    codes, said = together(2, rank_s_own, words, {"0": tmp_path / "model", "1": tmp_path / "other"})
    assert codes == [0, 0], said
    assert load(tmp_path / "model")


def rank_s_own(words, folders):
    """Run a command whose last word each process has of its own."""
    work, *given = fewlabels(*words, folders[os.environ["RANK"]])
    work(*given)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed")
def test_one_process_alone_makes_the_tables_of_a_tracker(tmp_path):
    words = ("fit", "digits", "--labels-per-class=2", "--method=supervised", "--steps=2", "--quiet")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    # Some processes that look at an empty store at once would do.
    tracked = fewlabels(*words, "--track=mlflow", "--out=model")
    codes, said = together(3, *tracked, folder=tmp_path, MLFLOW_TRACKING_URI=store)
    assert codes == [0, 0, 0], said[-3000:]
    assert (tmp_path / "mlflow.db").exists()


def test_a_bad_setting_is_told_once(tmp_path):
    found = ended(torchrun(2, *COMMAND, *WORDS, "--out", tmp_path / "model", "--set", "threshold=2"))
    assert found.returncode != 0
    assert "error: threshold=2 is not in [0, 1)" in found.stderr


def test_a_folder_in_use_is_refused_in_all_processes_and_told_once(tmp_path):
    (tmp_path / "model.checkpoint").mkdir()
    (tmp_path / "model.checkpoint" / "training.json").write_text("{}")
    codes, said = together(2, *fewlabels(*WORDS, "--out", tmp_path / "model"))
    assert all(codes)
    assert len(re.findall("holds a training of this model that was stopped", said)) == 1


def test_what_several_processes_cannot_divide_is_refused(tmp_path):
    codes, said = together(2, *fewlabels("compare", "digits", "--out", tmp_path / "run"))
    assert all(codes)
    assert len(re.findall("fewlabels compare runs in one process, and 2 were started", said)) == 1
    assert not (tmp_path / "run").exists()


@pytest.fixture
def two_hosts():
    """Two network namespaces with a wire between them: names and address of the first."""
    if shutil.which("ip") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("making network namespaces needs root and iproute2")
    names = [f"fewlabels-{os.getpid()}-{end}" for end in "ab"]
    wires = [f"fl{os.getpid() % 100_000}{end}" for end in "ab"]
    steps = [["netns", "add", name] for name in names]
    steps.append(["link", "add", wires[0], "netns", names[0], "type", "veth", "peer", wires[1], "netns", names[1]])
    for number, (name, wire) in enumerate(zip(names, wires, strict=True), 1):
        steps.append(["-n", name, "address", "add", f"10.213.7.{number}/24", "dev", wire])
        steps += [["-n", name, "link", "set", device, "up"] for device in (wire, "lo")]
    try:
        for step in steps:
            made = subprocess.run(["ip", *step], capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"network namespaces are not permitted here: {made.stderr.strip()}")
        yield [(name, wire) for name, wire in zip(names, wires, strict=True)], "10.213.7.1"
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def test_two_hosts_end_as_two_processes_of_one(undisturbed, two_hosts, tmp_path):
    hosts, address = two_hosts
    launchers = []
    for number, (name, wire) in enumerate(hosts):
        options = ("--nnodes=2", f"--node-rank={number}", f"--master-addr={address}", "--master-port=29511")
        # What the other host writes stays on its own disk.
        words = torchrun(1, *FIT, "--out", tmp_path / str(number) / "model", options=options)
        (tmp_path / str(number)).mkdir()
        own = ENVIRONMENT | {"GLOO_SOCKET_IFNAME": wire}
        words = ["ip", "netns", "exec", name, *words]
        launchers.append(subprocess.Popen(words, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    said = [launcher.communicate(timeout=PATIENCE) for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], said
    assert weights(tmp_path / "0" / "model") == weights(undisturbed[0])
    assert not list((tmp_path / "1").iterdir())


def checkpoints(out: Path) -> list[Path]:
    # Past the first stage, so that one of those that were finished is taken up too.
    return list(out.with_name(out.name + ".checkpoint").glob("at-002-*.safetensors"))


def wait_for(condition, launcher: Started) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert launcher.poll() is None, launcher.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def worker(out: Path, *, rank: int) -> int:
    """Return the number of the process of that rank that fits into a folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            own = (entry / "environ").read_bytes().split(b"\0")
            if f"RANK={rank}".encode() in own and str(out).encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                return int(entry.name)
    raise AssertionError(f"no process of rank {rank}")
