from __future__ import annotations

from pathlib import Path

import pytest
from launches import succeeded_together

from fewlabels.methods import METHODS
from made_once import made_once
from prestarted import file


@pytest.fixture(scope="session")
def by_two(tmp_path_factory):
    """What two processes have written of trainings, passes and decisions: to start two more takes longer than these."""

    def fit(folder):
        program = Path(__file__).parent / "divided.py"
        succeeded_together(2, file, program, (str(folder), ",".join(METHODS), "decide"))

    return made_once(tmp_path_factory, "processes-two", fit)
