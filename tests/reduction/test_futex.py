"""Nobody passes the barrier early; waiting is cheap; the dead are found."""

import mmap
import os
import signal
import threading
import time

import numpy as np
import pytest

from dtrain.errors import RankLostError
from dtrain.reduction import futex
from dtrain.reduction.futex import Barrier
from dtrain.reduction.segment import born, open_segment

ENDED = 3  # exit code of a child that has met what it was to meet


def lines(processes):
    return np.frombuffer(mmap.mmap(-1, 4096), np.uint8)[: processes * futex.LINE]


def nothing(_):
    """Nobody is looked after."""


def fork(body):
    """Run ``body`` in a child; it ends with ENDED if that returns."""
    child = os.fork()
    if child == 0:
        try:
            body()
            os._exit(ENDED)
        finally:
            os._exit(1)
    return child


def code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("spin", [True, False])
@pytest.mark.parametrize("first", [0, 2**32 - 40])
def test_nobody_passes_before_all_have_arrived(spin, first):
    shared = lines(3)
    shared.view(np.uint32)[:: futex.LINE // 4] = first
    seen = np.frombuffer(mmap.mmap(-1, 4096), np.int64)

    def rank_main(rank):
        barrier = Barrier(shared, rank, spin=spin, look_after=nothing)
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
    assert [code(child) for child in children] == [ENDED, ENDED]


def test_who_waits_uses_no_core():
    shared = lines(2)

    def wait():
        Barrier(shared, 1, spin=False, look_after=nothing).wait()
        assert time.process_time() - begun < 0.1

    begun = time.process_time()
    child = fork(wait)
    time.sleep(1)
    Barrier(shared, 0, spin=False, look_after=nothing).wait()
    assert code(child) == ENDED


def test_a_killed_process_ends_those_that_wait_for_it():
    shared = lines(3)
    killed = fork(lambda: time.sleep(60))
    since = born(killed)

    def look_after(other):
        if other == 2 and born(killed) != since:
            raise RankLostError("rank 2 is gone")

    def wait():
        with pytest.raises(RankLostError):
            Barrier(shared, 1, spin=True, look_after=look_after).wait()

    waiting = fork(wait)
    time.sleep(0.3)
    os.kill(killed, signal.SIGKILL)
    start = time.monotonic()
    barrier = Barrier(shared, 0, spin=True, look_after=look_after)
    with pytest.raises(RankLostError):  # not reaped yet: a zombie is gone, too
        barrier.wait()
    # The other sees it, too, or is told: it waits for this one, which will not come.
    barrier.leave()
    assert code(waiting) == ENDED
    assert time.monotonic() - start < 5
    assert code(killed) == -signal.SIGKILL
    assert born(killed) is None


@pytest.mark.parametrize("spin", [True, False])
def test_one_that_leaves_releases_those_that_wait_for_anybody(spin):
    shared = lines(3)

    def wait():
        with pytest.raises(RankLostError, match="has left"):
            Barrier(shared, 1, spin=spin, look_after=nothing).wait()

    waiting = fork(wait)
    time.sleep(0.1)
    Barrier(shared, 2, spin=spin, look_after=nothing).leave()
    assert code(waiting) == ENDED


def test_what_all_have_reached_is_passed_though_one_has_left_since():
    shared = lines(2)
    one, other = (
        Barrier(shared, rank, spin=False, look_after=nothing) for rank in (0, 1)
    )
    child = fork(one.wait)
    other.wait()
    other.leave()
    assert code(child) == ENDED


def test_a_signal_is_handled_while_waiting():
    class HandledError(Exception):
        pass

    def handler(*_):
        raise HandledError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(HandledError):
            Barrier(lines(2), 0, spin=False, look_after=nothing).wait()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_the_kernel_refuses_is_raised():
    with pytest.raises(OSError, match="futex"):
        futex.wait(4, 0, 0.01)  # nobody's memory


class Pair:
    """Two threads that share memory; rank 0 may fail in one of their gatherings."""

    def __init__(self, rank, boxes, meet, fails):
        self.rank, self.size, self.names = rank, 2, ["rank 0", "rank 1"]
        self._boxes, self._meet, self._fails = boxes, meet, fails
        self._calls = 0

    def allgather(self, data):
        """Give both ranks' bytes, unless this one is to fail."""
        self._calls += 1
        self._boxes[self.rank] = data
        self._meet.wait(10)
        found = list(self._boxes)
        self._meet.wait(10)
        if self.rank == 0 and self._calls == self._fails:
            raise RankLostError("a rank elsewhere is lost")
        return found


def test_who_got_by_hears_of_one_that_did_not():
    """Of a loss while memory is made some ranks may learn, and others be in it."""
    boxes, meet, heard = [b"", b""], threading.Barrier(2), []

    def rank_1():
        segment = open_segment(Pair(1, boxes, meet, 5), (0, 1), 4096)
        with pytest.raises(RankLostError):
            segment.barrier.wait()
        heard.append(True)

    thread = threading.Thread(target=rank_1, daemon=True)
    thread.start()
    with pytest.raises(RankLostError):
        open_segment(Pair(0, boxes, meet, 5), (0, 1), 4096)
    thread.join(10)
    assert heard
