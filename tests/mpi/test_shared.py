"""Sums through shared memory: no race, no leak, and messages where it cannot be had."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from dtrain.reduction import memory, segment
from dtrain.reduction.blocks import share
from dtrain.worlds.mpi import MPIWorld
from tests.worlds.cases import Case

pytestmark = pytest.mark.mpi

COUNTS = (0, 1, 3, 8, 13)
LENGTHS = (16, 1024, 20_000)  # of the last, some sums are long ones


def shares(world):
    """Tell whether the ranks sum through shared memory."""
    return len(world.groups) < world.size


def can_share(world):
    """Tell whether there are several ranks on one of the hosts."""
    return len(set(world.hosts)) < world.size


def maps():
    """The pieces of shared memory that this process has mapped."""
    text = Path("/proc/self/maps").read_text()
    return [line for line in text.splitlines() if f"memfd:{segment.NAME}" in line]


def test_random_delays_over_varying_counts_and_lengths_break_no_sum():
    def work(world):
        same = np.random.default_rng(7)  # for what all ranks must do alike
        pause = np.random.default_rng([7, world.rank])
        cases = {
            (count, length): Case(count, length, "float32")
            for count in COUNTS
            for length in LENGTHS
        }
        right = {key: case.reference() for key, case in cases.items()}
        drawn = {
            key: [case.fill(case.buffer(), n) for n in range(case.count)]
            for key, case in cases.items()
        }
        wrong = 0
        for _ in range(600):
            count, length = (int(same.choice(values)) for values in (COUNTS, LENGTHS))
            key = count, length

            def partials(key=key, count=count):
                for number in share(count, world.rank, world.size):
                    delay(pause)
                    yield drawn[key][number]

            total = cases[key].buffer()
            word = 1 << int(same.integers(60))
            flags = world.tree_sum(count, partials(), total, flags=word)
            delay(pause)
            wrong += flags != word
            wrong += total.slots.tobytes() != right[key].slots.tobytes()
            wrong += total.tail.tobytes() != right[key].tail.tobytes()
        assert wrong == 0
        assert shares(world) == can_share(world)

    world = MPIWorld()
    world.run(work)


def delay(pause):
    """Let this rank fall behind, now and then."""
    if pause.random() < 0.02:
        time.sleep(pause.random() / 200)


def test_growing_leaks_no_memory_and_no_file():
    def work(world):
        case = Case(5, 16)
        case.sum(world)
        files, mapped = len(os.listdir("/proc/self/fd")), len(maps())
        assert mapped >= 1
        for length in (40_000, 80_000, 160_000, 16, 160_000):
            case = Case(5, length)
            assert not case.differs(case.sum(world))
        assert len(os.listdir("/proc/self/fd")) == files
        assert len(maps()) == mapped
        assert shares(world)

    world = MPIWorld()
    if not can_share(world):
        pytest.skip("there are not several ranks on any host")
    world.run(work)


def test_dropping_a_world_gives_its_memory_back():
    before = len(maps())
    world = MPIWorld()
    Case(3, 16).sum(world)
    world.allgather(b"")
    del world
    assert len(maps()) == before


def no_space(*_):
    raise OSError(28, "No space left on device")


def other_host(path):
    raise FileNotFoundError(2, "No such file", path)


@pytest.mark.parametrize(
    ("module", "name", "fake", "reason"),
    [
        (os, "posix_fallocate", no_space, "No space left"),
        (os, "readlink", other_host, "No such file"),
        (os, "pread", lambda *_: b"another", segment.WRONG_FILE),
        (segment, "check", no_space, "No space left"),
    ],
)
def test_where_one_rank_has_no_shared_memory_all_send_messages(
    monkeypatch, capfd, module, name, fake, reason
):
    def work(world):
        last = world.size - 1
        if world.rank == last:
            monkeypatch.setattr(module, name, fake)
        case = Case(9, 64)
        assert not case.differs(case.sum(world))
        assert not shares(world)
        assert not case.differs(case.sum(world))
        world.allgather(b"")
        said = capfd.readouterr().err
        assert said.count("no shared memory, so ranks send messages") == (
            world.rank == 0
        )
        assert (f"rank {last} on " in said and reason in said) == (world.rank == 0)

    world = MPIWorld()
    if not can_share(world):
        pytest.skip("there are not several ranks on any host")
    world.run(work)


def test_where_it_cannot_grow_all_send_messages_from_then_on(monkeypatch):
    def work(world):
        Case(9, 64).sum(world)
        assert shares(world)
        if world.rank == 0:
            monkeypatch.setattr(os, "posix_fallocate", no_space)
        case = Case(9, 2 * memory.SHORT)
        assert not case.differs(case.sum(world))
        assert not shares(world)

    world = MPIWorld()
    if not can_share(world):
        pytest.skip("there are not several ranks on any host")
    world.run(work)
