from __future__ import annotations

from pathlib import Path

import pytest
from launches import succeeded, torchrun

from fewlabels.methods import METHODS
from made_once import made_once


@pytest.fixture(scope="session")
def by_two(tmp_path_factory):
    """What two processes have written of trainings, passes and decisions: to start two more takes longer than these."""

    def fit(folder):
        succeeded(torchrun(2, Path(__file__).parent / "divided.py", folder, ",".join(METHODS), "decide"))

    return made_once(tmp_path_factory, "processes-two", fit)
