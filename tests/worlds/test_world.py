"""Sums are equal bit for bit in worlds of any size; all ranks decide the same."""

import math
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dtrain.errors import DataError, DtrainError, MismatchError, RankError
from dtrain.reduction.blocks import share
from dtrain.reduction.partition import radices
from dtrain.reduction.reduction import Reduction
from dtrain.worlds.local import SoloWorld, ThreadWorld
from tests.worlds.cases import Buffer, Case, deliver

WORLDS = [SoloWorld(), *(ThreadWorld(size) for size in range(1, 17))]


@settings(max_examples=300)
@given(
    world=st.sampled_from(WORLDS),
    count=st.integers(0, 40),
    length=st.sampled_from([0, 16, 32, 48, 400]),
    dtype=st.sampled_from(["float32", "float64"]),
)
@example(world=WORLDS[16], count=3, length=16, dtype="float32")
@example(world=WORLDS[7], count=40, length=48, dtype="float64")
def test_the_sum_has_the_bits_of_its_definition(world, count, length, dtype):
    case = Case(count, length, dtype)
    with np.errstate(all="raise"):
        assert (
            world.run(lambda rank: rank.allgather(b"%d" % case.differs(case.sum(rank))))
            == [b"0"] * world.size
        )


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 8, 13])
def test_partial_sums_may_be_computed_in_the_memory_of_the_sum(size, count):
    case = Case(count)
    world = ThreadWorld(size)
    assert not world.run(lambda rank: case.differs(case.sum_in_place(rank)))


def test_the_cases_detect_another_order_of_additions():
    case = Case(40)
    other = sum(case.fill(case.buffer(), n).slots for n in range(40))
    assert other.tobytes() != case.reference().slots.tobytes()


def test_an_absent_child_adds_no_zeros_and_flags_are_combined():
    def work(world):
        record = Buffer(np.full(16, -0.0), np.array([np.inf, np.nan, -0.0]))
        partials = [record] * (world.rank < 3)
        total = Case(3).buffer()
        flags = world.tree_sum(3, partials, total, flags=(world.rank == 4) << 40)
        return flags, total

    with np.errstate(all="raise"):
        flags, total = ThreadWorld(3).run(work)
        assert flags == 0
    assert np.signbit(total.slots).all()
    assert total.tail[0] == np.inf
    assert np.isnan(total.tail[1])
    assert np.signbit(total.tail[2])


def test_partial_sums_are_taken_one_by_one_and_few_are_kept():
    alive = [0]

    class Counted:
        level = 0

        def __init__(self):
            self.slots, self.tail = np.ones(16), np.ones(1)
            alive[0] += 1

        def __del__(self):
            alive[0] -= 1

    def partials():
        for _ in range(1000):
            assert alive[0] <= 2
            yield Counted()

    world = SoloWorld()
    total = Buffer(np.empty(16), np.empty(1))
    world.tree_sum(1000, partials(), total)
    assert total.slots[0] == total.tail[0] == 1000
    assert len(world._reduction._subtree._rows) <= 10


@pytest.mark.parametrize(
    ("levels", "found"),
    [
        ([0, 0], "partial sums of only those up to 2"),
        ([0, 0, 0, 0], "more partial sums"),
        ([1], "partial sums of only those up to 2"),
        ([2], "a sum of 4 blocks starting at 0"),
        ([0, 1], "a sum of 2 blocks starting at 1"),
    ],
)
def test_partial_sums_of_other_blocks_are_refused(levels, found):
    case = Case(3)
    partials = [replace(case.buffer(), level=level) for level in levels]
    with pytest.raises(ValueError, match=f"0 to 3, but was given {found}"):
        SoloWorld().tree_sum(3, partials, case.buffer())


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 5, 8, 13, 40])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_partial_sums_may_be_of_subtrees(size, count, most):
    """An engine that runs several blocks at once yields such sums."""
    case = Case(count)

    def work(world):
        own = share(count, world.rank, size)
        partials = []
        for level, index in pieces(own.start, own.stop, most):
            part = Case(count).subtree(level, index)
            partials.append(replace(part, level=level))
        total = case.buffer()
        world.tree_sum(count, partials, total)
        return case.differs(total)

    assert not ThreadWorld(size).run(work)


def pieces(start, stop, most):
    """Cut a range into aligned subtrees of at most 2**most whole blocks."""
    while start < stop:
        level = most
        while start % (1 << level) or start + (1 << level) > stop:
            level -= 1
        yield level, start >> level
        start += 1 << level


def test_a_sum_is_one_exchange_and_allocates_only_the_first_time():
    cases = Case(11, 40_000), Case(7, 40_000)  # the second like a short last batch

    def work(world):
        totals = [case.buffer() for case in cases]
        blocks = [
            [case.fill(case.buffer(), n) for n in share(case.count, world.rank, 3)]
            for case in cases
        ]

        def epoch():
            for case, own, total in zip(cases, blocks, totals, strict=True):
                world.tree_sum(case.count, own, total)

        epoch()
        world.allgather(b"")
        if world.rank == 0:
            tracemalloc.start()
        world.allgather(b"")
        epoch()
        world.allgather(b"")
        if world.rank == 0:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 40_000  # bytes, an eighth of one partial sum
        return world.exchanges

    assert ThreadWorld(3).run(work) == 4


GROUPS = [
    ((0, 1, 2),),
    ((0, 1), (2, 3)),
    ((0, 2), (1, 3)),  # alternating
    ((0, 2, 3), (1,)),
    ((0, 1, 2), (3,), (4, 5)),
    ((0, 1), (2, 3), (4, 5), (6,), (7, 8), (9, 10), (11, 12), (13, 14)),  # 4 × 2
    tuple((rank, rank + 8) for rank in range(8)),
]


def test_stages_send_few_messages_to_many_hosts():
    for groups in range(1, 300):
        assert math.prod(radices(groups)) == groups
    assert radices(4) == (4,)
    assert sum(radix - 1 for radix in radices(1024)) < 20
    assert radices(7) == (7,)  # a prime: one stage


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("length", [16, 400, 20_000])
def test_ranks_in_groups_with_shared_memory_get_the_same_sum(groups, length):
    size = sum(map(len, groups))

    def work(world):
        world._reduction = Reduction(groups)  # as if on so many hosts
        wrong = 0
        for count in (0, 1, 3, 8, 13, 3):
            case = Case(count, length, "float32")
            for _ in range(3):
                wrong += case.differs(case.sum(world))
                wrong += case.differs(case.sum_in_place(world))
        assert world.groups == groups
        return wrong

    assert ThreadWorld(size).run(work) == 0


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_arrays_and_bytes_arrive_at_the_right_ranks(size):
    whole = ThreadWorld(size).run(lambda world: deliver(world, root=size - 1))
    assert whole.shape == (size * (size - 1) // 2, 2)


def test_broadcasting_an_array_with_gaps_raises():
    with pytest.raises(ValueError, match="contiguous"):
        SoloWorld().broadcast(np.zeros((4, 4))[:, :2])


def test_all_ranks_raise_the_error_of_the_lowest_rank():
    def work(world):
        own = {1: DataError("row 3"), 2: DataError("row 9")}.get(world.rank)
        world.agree(None)
        with pytest.raises(DataError, match="row 3") as caught:
            world.agree(own)
        assert (caught.value.agreed, caught.value.rank) == (True, 1)
        assert (caught.value is own) == (world.rank == 1)
        raise caught.value

    with pytest.raises(DataError, match="row 3") as caught:
        ThreadWorld(4).run(work)
    assert caught.value.__notes__ == ["on rank 1 of 4"]


def test_an_error_of_another_class_arrives_with_its_traceback():
    seen = []

    def culprit():
        raise KeyError("gone")

    def work(world):
        mine = None
        if world.rank == 1:
            try:
                culprit()
            except KeyError as error:
                mine = error
        try:
            world.agree(mine)
        except RankError as error:
            seen.append(error)
            raise

    with pytest.raises(KeyError, match="gone"):
        ThreadWorld(3).run(work)
    assert len(seen) == 2
    for error in seen:
        assert error.exit_code == 70
        assert "rank 1 on " in str(error)
        assert "in culprit" in str(error)


def test_a_rank_with_another_digest_is_named():
    def work(world):
        world.compare("weights", "same")
        world.compare("data", "other" if world.rank == 2 else "same")

    with pytest.raises(MismatchError, match=r"same data: rank 2 on .*\(other\)"):
        ThreadWorld(4).run(work)


def test_a_rank_that_raises_releases_the_others():
    def work(world):
        if world.rank == 2:
            time.sleep(0.05)
            raise ValueError("mine")
        world.allgather(b"")

    with pytest.raises(ValueError, match="mine") as caught:
        ThreadWorld(5).run(work)
    assert caught.value.__notes__ == ["on rank 2 of 5"]


def test_a_rank_that_returns_early_releases_the_others():
    with pytest.raises(DtrainError, match=r"rank 1 waits .* rank 0 has exited"):
        ThreadWorld(2).run(lambda world: world.rank and world.allgather(b""))


def test_a_thread_world_outside_run_is_no_rank():
    with pytest.raises(RuntimeError, match="inside its run"):
        ThreadWorld(2).allgather(b"")
    with pytest.raises(ValueError, match="at least one rank"):
        ThreadWorld(0)


def test_an_error_raised_in_response_to_an_agreed_error_does_not_hang():
    def work(world):
        try:
            world.agree(DataError("theirs") if world.rank == 0 else None)
        except DataError:
            if world.rank == 1:
                raise ValueError("mine") from None
            raise

    with pytest.raises((DataError, ValueError), match=r"theirs|mine"):
        ThreadWorld(2).run(work)
