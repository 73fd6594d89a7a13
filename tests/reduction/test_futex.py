"""The barrier: no early pass, waiting asleep, detection of ended processes."""

import mmap
import os
import signal
import threading
import time

import numpy as np
import pytest

from dtrain.errors import RankLostError
from dtrain.host.processes import find
from dtrain.reduction import futex
from dtrain.reduction.futex import Barrier
from dtrain.reduction.segment import open_segment

PASSED = 3  # exit code of a child whose body returned


def lines(processes):
    return np.frombuffer(mmap.mmap(-1, 4096), np.uint8)[: processes * futex.LINE]


def no_check(_):
    """Take every process for alive."""


def fork(body):
    """Run ``body`` in a child process; its exit code is PASSED if that returns."""
    child = os.fork()
    if child == 0:
        try:
            body()
            os._exit(PASSED)
        finally:
            os._exit(1)
    return child


def code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("spin", [True, False])
@pytest.mark.parametrize("first", [0, 2**32 - 40])
def test_no_process_passes_before_all_have_arrived(spin, first):
    shared = lines(3)
    shared.view(np.uint32)[:: futex.LINE // 4] = first
    seen = np.frombuffer(mmap.mmap(-1, 4096), np.int64)

    def rank_main(rank):
        barrier = Barrier(shared, rank, spin=spin, check_alive=no_check)
        pause = np.random.default_rng(rank)
        for step in range(1, 101):
            if pause.random() < 0.1:
                time.sleep(pause.random() / 500)
            seen[rank] = step
            barrier.wait()
            assert (seen[:3] >= step).all()
            assert (seen[:3] <= step + 1).all()

    children = [fork(lambda rank=rank: rank_main(rank)) for rank in (1, 2)]
    rank_main(0)
    assert [code(child) for child in children] == [PASSED, PASSED]


def test_a_waiting_process_sleeps_in_the_kernel(monkeypatch):
    shared, slept = lines(2), []
    monkeypatch.setattr(
        futex, "wait", lambda *args, wait=futex.wait: (slept.append(1), wait(*args))
    )

    def wait():
        Barrier(shared, 1, spin=False, check_alive=no_check).wait()
        assert slept

    child = fork(wait)
    time.sleep(0.5)
    Barrier(shared, 0, spin=False, check_alive=no_check).wait()
    assert code(child) == PASSED


def test_waiting_for_a_killed_process_raises():
    shared = lines(3)
    killed = fork(lambda: time.sleep(60))
    assert find(killed)

    def check_alive(other):
        if other == 2 and not find(killed):
            raise RankLostError("the process of rank 2 has ended")

    def wait():
        with pytest.raises(RankLostError):
            Barrier(shared, 1, spin=True, check_alive=check_alive).wait()

    waiting = fork(wait)
    time.sleep(0.3)
    os.kill(killed, signal.SIGKILL)
    barrier = Barrier(shared, 0, spin=True, check_alive=check_alive)
    with pytest.raises(RankLostError):  # a zombie, not reaped yet, has ended, too
        barrier.wait()
    # The other detects it, too, or waits for this one and is released.
    barrier.leave()
    assert code(waiting) == PASSED
    assert code(killed) == -signal.SIGKILL


@pytest.mark.parametrize("spin", [True, False])
def test_a_process_that_leaves_releases_all_that_wait(spin):
    shared = lines(3)

    def wait():
        with pytest.raises(RankLostError, match="has left"):
            Barrier(shared, 1, spin=spin, check_alive=no_check).wait()

    waiting = fork(wait)
    time.sleep(0.1)
    Barrier(shared, 2, spin=spin, check_alive=no_check).leave()
    assert code(waiting) == PASSED


def test_a_barrier_that_all_reached_is_passed_even_if_one_has_left():
    shared = lines(2)
    one, other = (
        Barrier(shared, rank, spin=False, check_alive=no_check) for rank in (0, 1)
    )
    child = fork(one.wait)
    other.wait()
    other.leave()
    assert code(child) == PASSED


def test_a_signal_is_handled_while_waiting():
    class HandledError(Exception):
        pass

    def handler(*_):
        raise HandledError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(HandledError):
            Barrier(lines(2), 0, spin=False, check_alive=no_check).wait()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_refused_system_call_raises():
    with pytest.raises(OSError, match="futex"):
        futex.wait(4, 0, 0.01)  # an unmapped address


class Pair:
    """One of two threads that share memory; rank 0 can fail in an allgather."""

    def __init__(self, rank, boxes, meet, fails):
        self.rank, self.size, self.names = rank, 2, ["rank 0", "rank 1"]
        self._boxes, self._meet, self._fails = boxes, meet, fails
        self._calls = 0

    def allgather(self, data):
        """Return both ranks' bytes, unless this rank and call are planned to fail."""
        self._calls += 1
        self._boxes[self.rank] = data
        self._meet.wait(10)
        found = list(self._boxes)
        self._meet.wait(10)
        if self.rank == 0 and self._calls == self._fails:
            raise RankLostError("a rank elsewhere is lost")
        return found


def test_a_rank_at_the_barrier_is_released_when_another_fails_to_open_the_segment():
    """A loss during `open_segment` may reach some ranks after others have returned."""
    boxes, meet, raised = [b"", b""], threading.Barrier(2), []

    def rank_1():
        segment = open_segment(Pair(1, boxes, meet, 5), (0, 1), 4096)
        with pytest.raises(RankLostError):
            segment.barrier.wait()
        raised.append(True)

    thread = threading.Thread(target=rank_1, daemon=True)
    thread.start()
    with pytest.raises(RankLostError):
        open_segment(Pair(0, boxes, meet, 5), (0, 1), 4096)
    thread.join(10)
    assert raised
