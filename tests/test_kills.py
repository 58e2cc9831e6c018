"""Some of the kills of `benchmarks/kills.py`, which docs/reliability.md counts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).parent.parent / "benchmarks" / "kills.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_trainings_that_are_killed_at_random_moments_end_as_those_never_stopped():
    words = ["--kills", "8", "--seed", "1", "--trainings", "self-training;flex-match"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, COMMAND, *words], capture_output=True, text=True, env=environment, timeout=900
    )
    assert found.returncode == 0, found.stdout + found.stderr
    total = json.loads(found.stdout.splitlines()[-1])
    assert total["kills"] == 8
    assert total["lost"] == 0
