"""A training step uses the memory of the step before, and gives it back in the end."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from fewlabels.training.memory import reused_memory
import contextlib

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def step():
    # Larger than the 32 MiB up to which glibc may raise its own threshold.
    return float((torch.ones(24 << 20) + 1)[0])

with reused_memory() if sys.argv[1] == "reused" else contextlib.nullcontext():
    for _ in range(15):
        step()  # until the blocks that are reused are there
    before, held = faults(), resident()
    for _ in range(5):
        step()
    print(faults() - before, held - resident())
print(resident())
"""


def run(how: str) -> tuple[int, int]:
    made = subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True)
    first, last = made.stdout.splitlines()
    return int(first.split()[0]), int(last)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults as Linux does")
def test_pages_are_asked_for_once_and_given_back():
    anew, resident_anew = run("plain")
    again, resident_again = run("reused")
    assert anew > 5 * 2000  # 96 MiB twice a step are 49,000 pages of 4 KiB, less where pages are larger
    assert again < anew / 10
    assert resident_again < resident_anew + (32 << 20)
