import errno
import multiprocessing
import os
import signal
import sys
import time
import warnings

import pytest

from fewlabels.serving.retraining import Progress, Retraining
from fewlabels.storage.atomic import located
from fewlabels.storage.errors import InputError, TrainingWarning


def tell_process(folder):
    # At once with what is in it: whoever waits for the file reads it as soon as it is there.
    (folder / "begun").write_text(str(os.getpid()))
    (folder / "begun").rename(folder / "process")


def count(tell, folder):
    for step in range(5):
        tell({"stage": "counting", "stage_number": 1, "stage_count": 2, "step": step, "steps": 4, "array": object()})
    tell({"stage": "counting", "stage_number": 1, "stage_count": 2, "step": 4, "steps": 4, "validation_accuracy": 0.75})
    warnings.warn("slow", TrainingWarning, stacklevel=1)
    tell_process(folder)
    while not (folder / "go on").exists():
        time.sleep(0.02)
    return "counted"


def fail(tell, folder):
    raise InputError("no images\nat all")


def fill(tell, folder):
    raise located(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), folder, 1_100_000)


def wait(tell, folder):
    tell_process(folder)
    step = 0
    while True:
        tell({"stage": "waiting", "stage_number": 1, "stage_count": 1, "step": step, "steps": 1000})
        step += 1
        time.sleep(0.05)


def interrupted(tell):
    os.kill(os.getpid(), signal.SIGINT)
    return "not ended by it"


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_progress_is_seen_on_the_way_and_the_end_is_told(tmp_path):
    finished = []
    retraining = Retraining(count, lambda: finished.append(True))
    retraining.start(tmp_path)
    assert retraining.progress().state == "running"
    until((tmp_path / "process").exists)
    until(lambda: retraining.progress().notes == ("slow",))
    now = retraining.progress()
    assert (now.text, now.step, now.steps, now.stage, now.stages, now.accuracy) == ("counting", 4, 4, 1, 2, 0.75)
    assert now.share == 0.5
    assert now.seconds_left > 0
    assert int((tmp_path / "process").read_text()) != os.getpid()
    assert not finished
    with pytest.raises(InputError, match="running already"):
        retraining.start(tmp_path)
    (tmp_path / "go on").touch()
    until(lambda: retraining.progress().state == "done")
    assert retraining.progress().text == "counted"
    assert finished == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="a console is asked otherwise")
def test_ctrl_c_which_a_terminal_sends_to_all_processes_is_left_to_the_server():
    retraining = Retraining(interrupted)
    retraining.start()
    until(lambda: retraining.progress().state != "running")
    assert retraining.progress().text == "not ended by it"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_what_fails_is_told_in_one_line_and_may_be_tried_again(tmp_path):
    finished = []
    retraining = Retraining(fail, lambda: finished.append(True))
    retraining.start(tmp_path)
    until(lambda: retraining.progress().state == "failed")
    assert retraining.progress().text == "no images at all"
    assert not finished
    retraining.start(tmp_path)
    assert retraining.progress().state == "running"
    retraining.stop()


def test_a_disk_that_is_full_is_told_with_what_to_do(tmp_path):
    retraining = Retraining(fill)
    retraining.start(tmp_path)
    until(lambda: retraining.progress().state == "failed")
    what_to_do = "make room, then try again (the labels given so far are kept)"
    assert retraining.progress().text == f"the disk is full (1.1 MB are needed): {tmp_path}; {what_to_do}"


def test_one_that_cannot_be_started_is_told_and_may_be_tried_again(tmp_path, monkeypatch):
    def no_handles(*_, **__):
        raise OSError(24, "Too many open files")

    retraining = Retraining(wait)
    with monkeypatch.context() as few:
        few.setattr(multiprocessing.context.SpawnContext, "Pipe", no_handles)
        retraining.start(tmp_path)
    assert retraining.progress().state == "failed"
    assert "could not be started: Too many open files" in retraining.progress().text
    retraining.start(tmp_path)
    assert retraining.progress().state == "running"
    retraining.stop()


def test_a_training_that_is_killed_is_told(tmp_path):
    retraining = Retraining(wait)
    retraining.start(tmp_path)
    until((tmp_path / "process").exists)
    os.kill(int((tmp_path / "process").read_text()), signal.SIGKILL)
    until(lambda: retraining.progress().state == "failed")
    assert "exit code -9" in retraining.progress().text


def test_stop_ends_the_process(tmp_path):
    retraining = Retraining(wait)
    retraining.start(tmp_path)
    until((tmp_path / "process").exists)
    process = int((tmp_path / "process").read_text())
    retraining.stop()
    assert not alive(process)


def test_a_model_that_cannot_be_taken_is_told(tmp_path):
    def broken():
        raise InputError("damaged")

    (tmp_path / "go on").touch()
    retraining = Retraining(count, broken)
    retraining.start(tmp_path)
    until(lambda: retraining.progress().state == "failed")
    assert retraining.progress().text == "the new model cannot be used: damaged"


def test_shares_of_a_training_never_pass_the_whole():
    assert Progress("running", step=5, steps=4, stage=2, stages=2).share == 1.0
    assert Progress().share == 0.0
