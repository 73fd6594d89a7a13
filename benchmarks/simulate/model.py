"""A step of virtual ranks: dtrain's own exchange, bound as for a run, and then counted.

Each rank's part in a sum is prepared by the code that trains (`Partition`, `Region`,
`Exchange`) on memory that is never touched; its calls and messages are not made but
counted, and the constants of a machine make seconds of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.simulate.machine import Machine
from dtrain.parallel.exchange import Exchange
from dtrain.parallel.memory import SHORT
from dtrain.parallel.partition import Call, Partition, Row
from dtrain.parallel.peers import Message
from dtrain.parallel.region import Region, result_bytes, sums_bytes

TAIL = 3  # numbers in a record's tail: loss, count, a metric
SAMPLED = 12  # ranks that are looked at where there are more


@dataclass(frozen=True)
class Job:
    """What is trained, on how many ranks.

    Attributes:
        ranks: how many in all.
        per_host: how many on each host.
        weights: of the model, float32.
        compute: seconds of forward, backward and step rule on each rank.
        blocks: of each rank, in a step.
    """

    ranks: int
    per_host: int
    weights: int
    compute: float
    blocks: int = 2


@dataclass
class Cost:
    """What one rank does in a step, in seconds, and what it sends.

    Attributes:
        compute: forward, backward, the step rule.
        inside: additions, barriers and products in the host's memory.
        between: messages.
        sent: bytes to other ranks by messages.
        messages: how many.
        sums: partial sums that it brings to the exchange.
    """

    compute: float
    inside: float = 0.0
    between: float = 0.0
    sent: int = 0
    messages: int = 0
    sums: int = 0

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.compute + self.inside + self.between


def step(machine: Machine, job: Job) -> Cost:
    """Predict a step: that of the slowest of the ranks looked at."""
    ranks = sampled(job.ranks)
    return max((cost(machine, job, rank) for rank in ranks), key=lambda c: c.seconds)


def sampled(size: int) -> list[int]:
    """All ranks, or the first, the last and some between."""
    if size <= SAMPLED:
        return list(range(size))
    drawn = random.Random(size).sample(range(1, size - 1), SAMPLED - 2)  # noqa: S311
    return [0, *sorted(drawn), size - 1]


def cost(machine: Machine, job: Job, rank: int) -> Cost:
    """Count what one rank does, by the calls and messages that are bound for it."""
    hosts = range(0, job.ranks, job.per_host)
    groups = tuple(
        tuple(range(first, min(first + job.per_host, job.ranks))) for first in hosts
    )
    length = -(-job.weights // 16) * 16
    count = job.blocks * job.ranks
    dtype = np.dtype("float32")
    part = Partition(rank, job.ranks, groups, count, length, dtype, TAIL)
    total = Row(np.empty(length, dtype), np.empty(TAIL))
    paid = Cost(job.compute, sums=len(part.own_nodes))
    together, size = len(part.group), part.record_bytes
    turns = max(1.0, together / machine.cores)  # ranks without a core wait for one
    # The last addition of each stack is made where the exchange wants it.
    own = len(part.owned) - len(part.own_nodes)
    paid.inside += turns * own * (machine.at(machine.gamma, size) + machine.call)
    if job.ranks == 1:
        paid.inside += machine.at(machine.scale, size)
        return paid
    short = len(groups) == 1 and sums_bytes(part, part.group) <= SHORT
    data = np.empty(sums_bytes(part, part.group) + 64, np.uint8)
    result = np.empty(result_bytes(part) + 64, np.uint8)
    shared = together > 1 and not short
    region = Region(part, data, result if shared else None)
    exchange = Exchange(part, region, total, lambda: None)
    waits = 2 if shared else 1
    paid.inside += machine.barrier * waits * max(math.log2(together), 1)
    # What a rank adds in its host's memory, all read once, its sum written once.
    mine = size if short else (part.mine.stop - part.mine.start) * dtype.itemsize
    moved = (len(region.rows) + 1) * mine
    seconds = turns * _additions(machine, exchange._inside)
    paid.inside += _moved(machine, together, seconds, moved)
    scaled = exchange._target.slots
    if exchange._between:
        scaled = exchange._between._finished
        for stage in exchange._between._stages:
            for messages in (stage.sends, stage.returns):
                _send(machine, part.carriers, messages, paid)
            paid.inside += turns * _additions(machine, stage.additions)
    paid.inside += turns * machine.at(machine.scale, scaled.nbytes)
    return paid


def _additions(machine: Machine, calls: Iterable[Call]) -> float:
    """Seconds of calls on one core."""
    sizes = [args[0].nbytes for _, args in calls]
    return sum(machine.call + machine.at(machine.gamma, size) for size in sizes)


def _moved(machine: Machine, ranks: int, seconds: float, moved: int) -> float:
    """Seconds of what all ranks of a host do at once, if memory lets them."""
    return max(seconds, ranks * moved / machine.memory)


def _send(
    machine: Machine, carriers: int, messages: Iterable[Message], paid: Cost
) -> None:
    """Account for messages that all carriers of a host send at once."""
    lengths = [buffer.nbytes for _, buffer in messages if buffer.nbytes]
    paid.messages += len(lengths)
    paid.sent += sum(lengths)
    paid.between += len(lengths) * machine.alpha
    paid.between += carriers * sum(machine.at(machine.beta, n) for n in lengths)
