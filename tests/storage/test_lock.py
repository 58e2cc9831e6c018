import signal
import subprocess
import sys

import pytest

from fewlabels.storage.errors import InputError
from fewlabels.storage.lock import FolderLock

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
