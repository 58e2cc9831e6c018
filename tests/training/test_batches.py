"""Rows of several sources, read a batch at a time."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from fewlabels.data import ImageRows
from fewlabels.training.batches import Rows, some_rows

CPU = torch.device("cpu")


def test_chunks_are_all_rows_in_order():
    numbers = np.arange(23, dtype=np.uint8).reshape(-1, 1, 1, 1)
    rows = Rows([numbers[:4], ImageRows(numbers, np.arange(4, 11)), numbers[11:]])
    chunks = list(rows.chunks(5, CPU))
    assert max(map(len, chunks)) == 5
    assert torch.cat(chunks).flatten().tolist() == list(range(23))
    assert rows.sample_shape == (1, 1, 1)


PROGRAM = """
import sys
import numpy as np
import torch
from fewlabels.data import ImageRows
from fewlabels.training.batches import Rows, some_rows

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

rows = Rows([ImageRows(np.load(sys.argv[1], mmap_mode="r"))])
before = most = resident()
for chunk in rows.chunks(1000, torch.device("cpu")):
    most = max(most, resident())
print((most - before) >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory from /proc")
def test_a_memory_mapped_pool_does_not_stay_in_memory(tmp_path):
    pool = np.lib.format.open_memmap(tmp_path / "pool.npy", mode="w+", dtype=np.uint8, shape=(100_000, 32, 32, 3))
    pool[::10] = 255
    pool.flush()
    del pool
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "pool.npy")]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(made.stdout) < 110  # the file has 293 MiB


def test_rows_kept_on_a_device_are_drawn_there():
    numbers = np.arange(30, dtype=np.uint8).reshape(15, 2)
    rows = Rows([numbers[:4], ImageRows(numbers.reshape(15, 1, 1, 2))[4:].reshape(-1, 2)])
    assert rows.nbytes() == 30
    before = rows.take(np.array([14, 0, 5]), torch.device("cpu"))
    rows.keep_on(torch.device("cpu"))
    rows.sources = []  # nothing is read from there any more
    assert torch.equal(rows.take(np.array([14, 0, 5]), torch.device("cpu")), before)
    assert Rows([]).nbytes() == 0


@pytest.mark.parametrize(("kept", "asked"), [("cpu", "meta"), ("meta", "meta")])
def test_rows_kept_on_a_device_come_to_the_one_that_is_asked_for(kept, asked):
    # Rows on a GPU are asked for on the processor too, where looks on the way classify them.
    rows = Rows([np.arange(30, dtype=np.uint8).reshape(15, 2)])
    rows.keep_on(torch.device(kept))
    assert rows.take(np.array([14, 0]), torch.device(asked)).device.type == asked


def test_rows_kept_on_a_device_are_found_where_they_are_and_then_moved(monkeypatch):
    rows, moved = Rows([np.arange(30, dtype=np.uint8).reshape(15, 2)]), []
    rows.keep_on(torch.device("meta"))
    to = torch.Tensor.to

    def noted(tensor, device):
        moved.append((tensor.dtype, torch.device(device).type))
        return to(tensor, device) if tensor.device.type == "cpu" else tensor

    monkeypatch.setattr(torch.Tensor, "to", noted)
    rows.take(np.array([14, 0]), torch.device("cpu"))
    assert moved == [(torch.int64, "meta"), (torch.uint8, "cpu")]


def test_some_rows_are_read_a_batch_at_a_time():
    numbers = np.arange(23, dtype=np.uint8).reshape(-1, 1, 1, 1)
    rows = Rows([numbers[:4], ImageRows(numbers, np.arange(4, 11)), numbers[11:]])
    chosen = rows.drawn(12, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen)) == 12
    assert chosen.tolist() == sorted(chosen)
    assert chosen[0] < 6
    assert chosen[-1] > 16
    some = some_rows(rows, chosen)
    assert len(some) == 12
    assert some.sample_shape == (1, 1, 1)
    chunks = list(some.chunks(5, CPU))
    assert [len(chunk) for chunk in chunks] == [5, 5, 2]
    assert torch.cat(chunks).flatten().tolist() == chosen.tolist()
    assert rows.drawn(12, np.random.default_rng(0), np.arange(7)).tolist() == list(range(7))
    assert some_rows(rows, np.arange(23)) is rows


def test_a_sample_of_rows_is_spread_over_all():
    numbers = np.arange(23, dtype=np.uint8).reshape(-1, 1)
    rows = Rows([numbers[:4], numbers[4:]])
    assert rows.sample(3, CPU).flatten().tolist() == [0, 11, 22]
    assert rows.sample(100, CPU).flatten().tolist() == list(range(23))
