"""Trainings that are divided among processes end as those of one process do."""

import json
from pathlib import Path

import numpy as np
import pytest
from divided import STEPS
from launches import succeeded_together

from fewlabels.methods import METHODS
from fewlabels.storage.errors import InputError
from fewlabels.storage.launch import Launch
from fewlabels.training.processes import current, joined
from made_once import made_once
from prestarted import file

PROGRAM = Path(__file__).parent / "divided.py"
# Some whose losses join the rows of a batch in ways of their own.
BY_FOUR = ("supervised", "vicreg", "joint-autoencoder", "free-match", "sim-match")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    def fit(folder):
        succeeded_together(1, file, PROGRAM, (str(folder), ",".join(METHODS)))

    return made_once(tmp_path_factory, "processes-alone", fit)


@pytest.fixture(scope="module")
def by_four(tmp_path_factory):
    def fit(folder):
        succeeded_together(4, file, PROGRAM, (str(folder), ",".join(BY_FOUR)))

    return made_once(tmp_path_factory, "processes-four", fit)


@pytest.fixture(scope="module")
def agreed(by_two):
    return [json.loads((by_two / f"decisions-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_end_with_the_losses_and_weights_of_one(name, alone, by_two):
    check(name, alone, by_two, 2)


@pytest.mark.parametrize("name", BY_FOUR)
def test_four_processes_end_with_the_losses_and_weights_of_one(name, alone, by_four):
    check(name, alone, by_four, 4)


def check(name, alone, divided, count):
    expected = np.load(alone / f"{name}-0.npz")
    if len(expected["loss"]):
        assert len(expected["loss"]) >= STEPS
    # Of a pool that is taken in whole or not at all, a threshold would not show what it does.
    if len(expected["pool_admitted"]):
        assert 0 < expected["pool_admitted"].mean() < 1
    for rank in range(count):
        found = np.load(divided / f"{name}-{rank}.npz")
        assert set(found.files) == set(expected.files)
        for key in expected.files:
            # Of a bias that the loss does not depend on, the gradient is rounding alone.
            scale = np.abs(expected[key]).max(initial=1e-3)
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=1e-6 * scale, err_msg=f"{key} in {rank}")


def test_processes_agree_on_seeds_times_and_draws(agreed):
    for what in ("unseeded", "steps in two seconds", "dropout", "frozen backbone", "trained backbone"):
        assert agreed[0][what] == agreed[1][what], what


def test_an_error_of_one_process_is_raised_in_all_and_shown_by_one(agreed):
    assert [found["error of the first"] for found in agreed] == [
        "InputError: process 0 has no such folder",
        "ToldError: process 0 has no such folder",
    ]
    assert [found["error of another"] for found in agreed] == [
        "ToldError: process 1 has no such folder",
        "InputError: process 1 has no such folder",
    ]


def test_processes_with_different_data_are_refused(agreed):
    for found in agreed:
        assert found["other data"].startswith("InputError: process 1 was given other data or settings than process 0")


def test_one_process_writes_and_speaks_and_the_others_find_what_it_wrote(agreed):
    assert [found["turns"] for found in agreed] == [1, True]
    assert [found["told"] for found in agreed] == [3, 0]


def test_one_process_alone_joins_nobody():
    with joined() as processes:
        assert processes is None
        assert current() is None


def test_an_environment_that_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="WORLD_SIZE='two' in the environment is no number"):
        Launch.read({"WORLD_SIZE": "two"})


def test_processes_that_are_named_and_cannot_be_found_are_refused(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    match = "WORLD_SIZE=2 in the environment .* no MASTER_ADDR is there; start by torchrun, or unset WORLD_SIZE"
    with pytest.raises(InputError, match=match), joined():
        pass
