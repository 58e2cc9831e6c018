import errno
import signal
import subprocess
import sys

import pytest

from fewlabels.storage.errors import InputError
from fewlabels.storage.lock import FileLock, FolderLock


@pytest.mark.skipif(sys.platform == "win32", reason="locks of another kind")
def test_a_file_system_without_locks_is_told_and_used_all_the_same(tmp_path, monkeypatch):
    import fcntl

    def flock(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(RuntimeWarning, match="no locks"), FolderLock(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from fewlabels.storage.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"in use by process {process.pid}"):
            FolderLock(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with FolderLock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_waits_has_it_when_it_is_free_or_is_refused_when_patience_ends(tmp_path):
    lock, waits = FileLock(tmp_path / "one"), []
    with pytest.raises(InputError, match="in use by process"):
        FileLock.when_free(tmp_path / "one", every=0.01, patience=0.05, waiting=lambda: waits.append(0))
    assert waits

    def let_go():
        waits.append(1)
        lock.release()

    with FileLock.when_free(tmp_path / "one", every=0.01, waiting=let_go):
        assert waits.count(1) == 1
