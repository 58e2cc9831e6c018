"""A training step uses the memory of the step before, and gives it back in the end."""

import sys

import pytest

import prestarted
from fewlabels.training import memory

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

def faults_of_steps():
    # The least of three: a system that takes pages away from who seems not to need them does so now and then.
    counts = []
    for _ in range(3):
        before = faults()
        for _ in range(5):
            step()
        counts.append(faults() - before)
    return min(counts)

with reused_memory() if sys.argv[1] == "reused" else contextlib.nullcontext():
    for _ in range(15):
        step()  # until the blocks that are reused are there
    held = resident()
    print(faults_of_steps(), held - resident())
print(resident())
"""


AFTERWARDS = """
with reused_memory():
    with reused_memory():
        pass
    for _ in range(15):
        step()
    print(faults_of_steps())
# Larger than any hole that the steps may have left.
block = torch.ones(192 << 20)
before = resident()
del block
print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory as Linux tells it")
def test_memory_is_kept_until_the_last_training_has_ended_and_no_longer():
    program = PROGRAM.partition("with reused_memory()")[0] + AFTERWARDS
    found = prestarted.run(prestarted.script, program, ())
    assert found.returncode == 0, found.stderr
    again, given_back = map(int, found.stdout.split())
    assert again < 5 * 2000, "pages that were asked for anew after the inner one"
    assert given_back > 700 << 20, "of 768 MiB"


def run(how: str) -> tuple[int, int]:
    made = prestarted.run(prestarted.script, PROGRAM, (how,))
    assert made.returncode == 0, made.stderr
    first, last = made.stdout.splitlines()
    return int(first.split()[0]), int(last)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults as Linux does")
def test_pages_are_asked_for_once_and_given_back():
    anew, resident_anew = run("plain")
    again, resident_again = run("reused")
    assert anew > 5 * 2000  # 96 MiB twice a step are 49,000 pages of 4 KiB, less where pages are larger
    assert again < anew / 10
    assert resident_again < resident_anew + (32 << 20)


def test_where_large_blocks_cannot_be_kept_smaller_ones_are():
    class Old:
        """As glibc before 2.35: it refuses to keep blocks above 32 MiB."""

        def __init__(self):
            self.set = {}

        def mallopt(self, what, value):
            if what == -3 and value > 32 << 20:
                return 0
            self.set[what] = value
            return 1

    old = Old()
    memory._keep_up_to(old, 2**31 - 1, 2**31 - 1)
    assert old.set == {-3: 32 << 20, -1: 2**31 - 1}
