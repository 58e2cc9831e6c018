"""Some of the kills of `benchmarks/kills.py`, which docs/reliability.md counts."""

import json
import os
from pathlib import Path

import pytest

from prestarted import file, run

COMMAND = Path(__file__).parent.parent / "benchmarks" / "kills.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_trainings_that_are_killed_at_random_moments_end_as_those_never_stopped():
    words = ["--kills", "8", "--seed", "1", "--trainings", "self-training;flex-match"]
    found = run(file, COMMAND, tuple(words))
    assert found.returncode == 0, found.stdout + found.stderr
    total = json.loads(found.stdout.splitlines()[-1])
    assert total["kills"] == 8
    assert total["lost"] == 0
