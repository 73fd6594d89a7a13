"""The tests of tests/worlds/test_world.py with a process for each rank.

The body of each test is called by ``world.run``: a rank that fails an assertion alone
ends the job with its traceback, so that the others do not wait for it.
"""

import os
import socket

import numpy as np
import pytest

from dtrain.errors import DataError, MismatchError, RankError
from dtrain.reduction import memory
from dtrain.worlds.launcher import launched
from dtrain.worlds.mpi import MPIWorld
from dtrain.worlds.opening import open_world
from tests.worlds.cases import Case, deliver

pytestmark = pytest.mark.mpi


WAYS = {
    "shared": {},
    "shared-long": {},
    "messages": {"shared": False},
    "in-parts": {"shared": False, "longest": 24},
    "pairs-on-hosts": {},
    "alternating-hosts": {},
}
RANK = int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", 0)))
HOSTS = {"pairs-on-hosts": RANK // 2, "alternating-hosts": RANK % 2}


@pytest.fixture(params=WAYS, scope="module")
def world(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "shared-long":
            patch.setattr(memory, "SHORT", 0)
        if request.param in HOSTS:
            host = f"{socket.gethostname()}-{HOSTS[request.param]}"
            patch.setattr(socket, "gethostname", lambda: host)
        world = MPIWorld(**WAYS[request.param])
        yield world
        hosts = len(set(world.hosts)) if WAYS[request.param] == {} else world.size
        assert len(world.groups) == hosts


def test_the_world_has_the_requested_size():
    world = open_world()
    requested = int(os.environ["DTRAIN_TEST_RANKS"])
    assert isinstance(world, MPIWorld)
    assert (world.size, launched().size) == (requested, requested)
    assert world.rank == launched().rank
    assert world.hosts[world.rank] == world.host
    assert len(world.hosts) == requested
    assert world.mpi.startswith(("Open MPI ", "MPICH "))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [0, 16, 400])
def test_the_sum_has_the_bits_of_its_definition(world, length, dtype):
    def work(world):
        before = world.exchanges
        wrong = []
        with np.errstate(all="raise"):
            for count in range(41):
                case = Case(count, length, dtype)
                wrong += [count] * case.differs(case.sum(world))
                wrong += [count] * case.differs(case.sum_in_place(world))
        assert world.exchanges == before + 82
        assert world.allgather(b"%d" % len(wrong)) == [b"0"] * world.size

    world.run(work)


def test_arrays_and_bytes_arrive_at_the_right_ranks(world):
    for root in range(world.size):
        world.run(lambda world, root=root: deliver(world, root))


def test_all_ranks_raise_the_error_of_the_lowest_rank(world):
    def work(world):
        world.agree(None)
        last = world.size - 1
        own = DataError(f"row {world.rank}") if world.rank == last else None
        with pytest.raises(DataError, match=f"row {last}") as caught:
            world.agree(own)
        assert (caught.value.agreed, caught.value.rank) == (True, last)
        other = KeyError("gone") if world.rank == 0 else None
        with pytest.raises(RankError if world.rank else KeyError, match="gone"):
            world.agree(other)

    world.run(work)


def test_a_rank_with_another_digest_is_named(world):
    def work(world):
        world.compare("data", "same")
        if world.size > 1:
            with pytest.raises(MismatchError, match="same data: rank 1 on"):
                world.compare("data", "other" if world.rank == 1 else "same")

    world.run(work)
