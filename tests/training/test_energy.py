"""Counters of the kernel, as files that the tests write as the kernel does."""

from __future__ import annotations

import math
import time

import pytest

from fewlabels.training import energy
from fewlabels.training.energy import EnergyMeter


def zone(folder, name, joules, *, label="package-0", most=100.0):
    path = folder / name
    path.mkdir()
    (path / "name").write_text(f"{label}\n")
    (path / "max_energy_range_uj").write_text(f"{round(most * 1e6)}\n")
    (path / "energy_uj").write_text(f"{round(joules * 1e6)}\n")

    def now(joules):
        # At once, as the kernel does: a reader never sees half of it.
        (path / "new").write_text(f"{round(joules * 1e6)}\n")
        (path / "new").replace(path / "energy_uj")

    return now


def test_processors_are_added_up_and_their_parts_are_not(tmp_path):
    one, two = zone(tmp_path, "intel-rapl:0", 5), zone(tmp_path, "intel-rapl:1", 50, label="package-1")
    part = zone(tmp_path, "intel-rapl:0:0", 0, label="core")
    board = zone(tmp_path, "intel-rapl:2", 0, label="psys")
    with EnergyMeter(tmp_path) as meter:
        one(12)
        two(53)
        part(90)
        board(90)
    assert meter.joules == pytest.approx(7 + 3)
    assert "processor" in meter.sources


def test_a_counter_that_begins_again_goes_on(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", 95)
    with EnergyMeter(tmp_path) as meter:
        counter(4)
    assert meter.joules == pytest.approx(9)


def test_a_long_training_is_looked_at_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_EVERY", 0.01)
    counter = zone(tmp_path, "intel-rapl:0", 10)
    with EnergyMeter(tmp_path) as meter:
        for joules in (90, 60, 30):  # each is almost once around
            before = meter.joules
            counter(joules)
            for _ in range(500):
                if meter.joules != before:
                    break
                time.sleep(0.01)
    assert meter.joules == pytest.approx(80 + 70 + 70)


def test_a_counter_that_fails_on_the_way_costs_no_training(tmp_path):
    zone(tmp_path, "intel-rapl:0", 10)
    with EnergyMeter(tmp_path) as meter:
        (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert math.isnan(meter.joules)


def test_where_nothing_tells_the_energy_is_not_a_number(tmp_path):
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "name").write_text("package-0\n")
    with EnergyMeter(tmp_path) as meter:
        pass
    assert math.isnan(meter.joules) or meter.sources == ("GPU",)
