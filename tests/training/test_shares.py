"""Nets whose rows are divided among processes give what one process gives, forward and backward."""

from pathlib import Path

import numpy as np
import pytest
from divided_layers import layers
from launches import succeeded_together

from prestarted import file


@pytest.fixture
def by_three(tmp_path):
    succeeded_together(3, file, Path(__file__).parent / "divided_layers.py", (str(tmp_path),))
    return tmp_path


# Three divide neither 8 nor 7 rows evenly, and are more than 2.
@pytest.mark.parametrize(("count", "divided"), [(2, "by_two"), (3, "by_three")])
def test_outputs_gradients_and_running_statistics_are_those_of_one_process(count, divided, request):
    alone = layers(None)
    for rank in range(count):
        found = np.load(request.getfixturevalue(divided) / f"layers-{rank}.npz")
        assert set(found.files) == set(alone)
        for name in alone:
            np.testing.assert_allclose(found[name], alone[name], rtol=1e-9, atol=1e-11, err_msg=f"{name} in {rank}")
