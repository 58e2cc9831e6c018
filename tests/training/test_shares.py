"""Nets whose rows are divided among processes give what one process gives, forward and backward."""

import sys
from pathlib import Path

import numpy as np
import pytest
from launches import succeeded, torchrun

from made_once import made_once

SCRIPT = Path(__file__).parent / "divided_layers.py"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = made_once(
        tmp_path_factory, "shares-alone", lambda folder: succeeded([sys.executable, str(SCRIPT), str(folder)])
    )
    return np.load(folder / "layers-0.npz")


# Three divide neither 8 nor 7 rows evenly, and are more than 2.
@pytest.mark.parametrize("count", [2, 3])
def test_outputs_gradients_and_running_statistics_are_those_of_one_process(count, alone, tmp_path):
    succeeded(torchrun(count, SCRIPT, tmp_path))
    for rank in range(count):
        found = np.load(tmp_path / f"layers-{rank}.npz")
        assert set(found.files) == set(alone.files)
        for name in alone.files:
            np.testing.assert_allclose(found[name], alone[name], rtol=1e-9, atol=1e-11, err_msg=f"{name} in {rank}")
