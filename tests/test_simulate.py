"""The simulator counts what a real sum does, and predicts what was asked of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.simulate import __main__ as simulate
from benchmarks.simulate.machine import CLUSTER
from benchmarks.simulate.model import Job, bound, cost, efficiency
from dtrain.reduction.reduction import Reduction
from dtrain.worlds.local import ThreadWorld
from tests.worlds.cases import Buffer, Case

ISSUE = Job(4096, 64, 10**6, compute=10e-3)


def counted(job: Job) -> list[tuple[int, int]]:
    """Give the bytes and messages that each rank sends in a sum that is made."""

    def work(world):
        world._reduction = Reduction(job.partition(world.rank).groups)
        sent = []
        swap = world.swap

        def listening(sends, receives):
            sent.extend(buffer.nbytes for _, buffer in sends if buffer.nbytes)
            swap(sends, receives)

        length = job.partition(world.rank).length
        case = Case(job.blocks, length, "float32")
        total = Buffer(np.empty(length, "float32"), np.empty(3))
        world.rows(case.count, total)  # makes room, which takes messages, too
        world.swap = listening
        world.tree_sum(case.count, case.partials(world.rank, world.size), total)
        assert not case.differs(total)
        own = sum(sent), len(sent)
        return [json.loads(one) for one in world.allgather(json.dumps(own).encode())]

    return [tuple(own) for own in ThreadWorld(job.ranks).run(work)]


@pytest.mark.parametrize("weights", [16, 1_000, 40_000])
@pytest.mark.parametrize(
    ("ranks", "per_host", "blocks"),
    [
        (1, 1, 2),
        (3, 1, 3),
        (5, 5, 9),
        (7, 2, 15),
        (8, 1, 16),
        (8, 2, 23),
        (12, 3, 24),
        (16, 1, 40),
    ],
)
def test_bytes_and_messages_are_those_of_a_real_sum(ranks, per_host, blocks, weights):
    job = Job(ranks, per_host, weights, blocks=blocks)
    paid = [cost(CLUSTER, job, rank) for rank in range(ranks)]
    assert [(one.sent, one.messages) for one in paid] == counted(job)


def test_4096_ranks_lose_less_than_a_tenth():
    assert efficiency(CLUSTER, ISSUE) >= 0.9


@pytest.mark.parametrize("per_host", [1, 64])
def test_one_stage_would_lose_more(per_host):
    job = Job(1024, per_host, 10**6, compute=10e-3)
    direct = Job(1024, per_host, 10**6, compute=10e-3, direct=True)
    assert efficiency(CLUSTER, job) > efficiency(CLUSTER, direct)


@pytest.mark.parametrize("ranks", [128, 1024, 4096])
def test_no_exchange_beats_the_bound_or_takes_much_longer(ranks):
    job = Job(ranks, 64, 10**6)
    took = max(cost(CLUSTER, job, rank).between for rank in (0, 1, ranks - 1))
    assert 0.99 * bound(CLUSTER, job) < took < 1.2 * bound(CLUSTER, job)


def test_the_table_has_a_line_for_each_number_of_ranks(capsys):
    simulate.main(["1", "60", "4096", "--per-host", "60"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" |")[0] for line in lines[-3:]] == ["| 1", "| 60", "| 4,096"]
    for wrong in (["0"], ["2", "--compute", "0"], ["2", "--compute", "nan"]):
        with pytest.raises(SystemExit):
            simulate.main(wrong)


def test_the_same_figures_make_the_same_plot(tmp_path):
    pytest.importorskip("matplotlib")
    files = [tmp_path / "a.svg", tmp_path / "b.svg"]
    from benchmarks.simulate import plot

    plot.RANKS = [1, 64]
    for file in files:
        plot.plot(CLUSTER, 64, 10e-3, file)
    assert files[0].read_bytes() == files[1].read_bytes()
