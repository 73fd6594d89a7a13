"""A step of virtual ranks: dtrain's own exchange, bound as for a run, and then counted.

Each rank's part in a sum is prepared by the code that trains (`Partition`, `Buffers`,
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
from dtrain.reduction.buffers import Buffers, result_bytes, sums_bytes
from dtrain.reduction.communicator import Message
from dtrain.reduction.exchange import Exchange
from dtrain.reduction.memory import SHORT
from dtrain.reduction.partition import Partition
from dtrain.reduction.tree import Row
from dtrain.reduction.tree_sum import Call

TAIL = 3  # numbers in a partial sum's tail: loss, count, one metric
LINE = 16  # slots that a layout fills up to
SAMPLED = 12  # ranks that are looked at where there are more


@dataclass(frozen=True)
class Job:
    """What is trained, on how many ranks.

    Attributes:
        ranks: how many in all.
        per_host: how many on each host.
        weights: of the model, float32.
        compute: seconds of what a rank alone does in a step, if it has as many blocks
            as the mean: forward, backward, adding up its blocks, the step rule.
        blocks: of all ranks, in a step; else two a rank.
        direct: whether hosts exchange in one stage, all with all.
    """

    ranks: int
    per_host: int
    weights: int
    compute: float = 0.0
    blocks: int = 0
    direct: bool = False

    @property
    def hosts(self) -> int:
        """How many hosts there are."""
        return -(-self.ranks // self.per_host)

    def partition(self, rank: int) -> Partition:
        """Give a rank's part in a sum, with no memory yet."""
        firsts = range(0, self.ranks, self.per_host)
        groups = tuple(
            tuple(range(first, min(first + self.per_host, self.ranks)))
            for first in firsts
        )
        kind = Direct if self.direct else Partition
        count, length = self.blocks or 2 * self.ranks, -(-self.weights // LINE) * LINE
        return kind(rank, self.ranks, groups, count, length, np.dtype("float32"), TAIL)


class Direct(Partition):
    """A partition whose groups exchange all with all."""

    @property
    def stages(self) -> tuple[int, ...]:
        """One stage of as many parts as there are groups."""
        return (len(self.groups),)


@dataclass
class Cost:
    """What one rank does in a step, in seconds, and what it sends.

    Attributes:
        compute: what it would do alone.
        inside: additions, barriers and products in the host's memory.
        between: messages.
        sent: bytes to other ranks by messages.
        messages: how many.
        sums: partial sums that its host brings to the exchange between hosts.
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


def efficiency(machine: Machine, job: Job) -> float:
    """Give the part of a step that a rank alone would need, too: weak scaling."""
    return job.compute / step(machine, job).seconds


def bound(machine: Machine, job: Job) -> float:
    """Seconds that an exchange of hosts must take: 2(H−1)/H·nβ + ⌈log₂H⌉α.

    Source: Chan, Heimlich, Purkayastha and van de Geijn, "Collective communication:
    theory, practice, and experience", 2007, table 1 (each term's lower bound).
    """
    hosts, size = job.hosts, 4 * job.weights
    moved = 2 * (hosts - 1) / hosts * machine.at(machine.beta, size)
    return moved + math.ceil(math.log2(hosts)) * machine.alpha


def step(machine: Machine, job: Job) -> Cost:
    """Predict a step: that of the slowest of the ranks looked at."""
    ranks = sampled(job.ranks)
    return max((cost(machine, job, rank) for rank in ranks), key=lambda c: c.seconds)


def sampled(size: int) -> list[int]:
    """Give all ranks, or the first, the last and some between."""
    if size <= SAMPLED:
        return list(range(size))
    drawn = random.Random(size).sample(range(1, size - 1), SAMPLED - 2)  # noqa: S311
    return [0, *sorted(drawn), size - 1]


def cost(machine: Machine, job: Job, rank: int) -> Cost:
    """Count what one rank does, by the calls and messages that are bound for it."""
    part = job.partition(rank)
    compute = job.compute * len(part.owned) * part.size / part.count
    paid = Cost(compute, sums=len(part.nodes_of(part.group)))
    if part.size > 1:
        _inside(machine, part, paid)
    return paid


def _inside(machine: Machine, part: Partition, paid: Cost) -> None:
    """Account for an exchange."""
    together, length = len(part.group), part.slots_bytes
    turns = max(1.0, together / machine.cores)  # ranks without a core wait for one
    sums = sums_bytes(part, part.group)
    short = len(part.groups) == 1 and sums <= SHORT
    shared = together > 1 and not short
    buffers = Buffers(
        part,
        np.empty(sums, np.uint8),
        np.empty(result_bytes(part), np.uint8) if shared else None,
    )
    total = Total(np.empty(part.length, part.dtype), np.empty(TAIL))
    exchange = Exchange(part, buffers, total, lambda: None)
    between = exchange.between
    waits = 2 if shared else int(together > 1)
    paid.inside += turns * machine.start
    paid.inside += turns * machine.barrier * waits * math.log2(together)
    # What a rank adds in its host's memory is all read once, its sum written once.
    mine = length if short else (part.mine.stop - part.mine.start) * part.dtype.itemsize
    moved = together * (len(buffers.rows) + 1) * mine
    adding = turns * _additions(machine, exchange.inside, length)
    paid.inside += max(adding, moved / machine.memory)
    finished = between.finished.nbytes if between else mine
    paid.inside += turns * (machine.call + machine.at(machine.scale, finished, length))
    for stage in between.stages if between else ():
        for messages in (stage.sends, stage.returns):
            _send(machine, part.carriers, messages, paid)
        paid.inside += turns * _additions(machine, stage.additions, length)


@dataclass(frozen=True)
class Total(Row):
    """Where a sum would go."""

    def receive(self, slots: object) -> None:
        """Take nothing: nothing is summed."""


def _additions(machine: Machine, calls: Iterable[Call], among: int) -> float:
    """Seconds of calls on one core, on parts of partial sums of so many bytes."""
    sizes = [args[-1].nbytes for _, args in calls if hasattr(args[-1], "nbytes")]
    return sum(machine.call + machine.at(machine.gamma, size, among) for size in sizes)


def _send(
    machine: Machine, carriers: int, messages: Iterable[Message], paid: Cost
) -> None:
    """Account for messages that all carriers of a host send at once, and for a wait.

    The wait for all of them takes as long as one more, as ``partition.radices`` has it.
    """
    lengths = [buffer.nbytes for _, buffer in messages if buffer.nbytes]
    paid.messages += len(lengths)
    paid.sent += sum(lengths)
    paid.between += (len(lengths) + 1) * machine.alpha
    paid.between += carriers * sum(machine.at(machine.beta, n) for n in lengths)
