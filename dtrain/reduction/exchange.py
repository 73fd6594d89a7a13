"""The exchange of a sum: in each group's memory, then between groups by messages.

Each rank leaves its subtrees' sums in its group's memory; a barrier; each adds its
slice of them. Where there are several groups, the carriers of a slice then exchange and
finish those sums (between.py), so every rank's way to other hosts is used. What is
finished is scaled by the rank that has done so. A barrier; all read the result.

A rank writes to its sums again only after the second barrier, when nobody reads them,
and to the result only after the next sum's first, so everybody may read it where it is
until then: for that, sums and result lie in regions of their own, whatever the records'
lengths.

Short records in one group: each rank leaves its sums; a barrier; each adds all of them.
One barrier is enough because the next short sum uses other memory, and the one after
that begins when all have reached the next barrier, so when nobody reads any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import NDArray

from dtrain.reduction.additions import bind
from dtrain.reduction.between import Between
from dtrain.reduction.partition import Partition, Row, cut
from dtrain.reduction.peers import Peers, Scale
from dtrain.reduction.region import Region
from dtrain.reduction.tree import Record


class Total(Record, Protocol):
    """The Record that a sum is for; its slots are memory that may be used for it."""

    def receive(self, slots: NDArray[Any]) -> None:
        """Take the summed slots: its own, or others', to be read until the next sum."""


class Exchange:
    """One rank's part in the sums of a partition, bound to memory.

    Args:
        part: the partition.
        region: the group's memory; its rows are full when `finish` is called.
        total: where the sum goes.
        wait: the group's barrier.

    Attributes:
        inside: the calls that add this rank's slice of the group's rows.
        between: the exchange with other groups, if there are any.

    """

    def __init__(
        self, part: Partition, region: Region, total: Total, wait: Callable[[], None]
    ) -> None:
        self.total = total
        self._local, self._words, self._wait = part.local, region.words, wait
        self.between: Between | None = None
        nodes = [node for rank in part.group for node in part.nodes_of([rank])]
        result = total.slots if region.result is None else region.result
        self._apart = region.result is None and len(part.groups) == 1
        self._target = total if self._apart else Row(result[part.mine], total.tail)
        if len(part.groups) > 1:
            self.between = Between(part, region, total, nodes)
            self.inside = self.between.inside
        else:
            rows = region.rows if self._apart else cut(region.rows, part.mine)
            self.inside = bind(nodes, rows, self._target, mine=not self._apart)
        self._sum = result
        if region.result is not None:
            self._sum = result[:]
            self._sum.flags.writeable = False  # the others read it, too

    def finish(self, peers: Peers, flags: int, scale: Scale) -> int:
        """Sum all ranks' rows into the total; return their flag words, OR-ed.

        Raises:
            RankLostError: another rank's process has ended.

        """
        words, total = self._words, self.total
        words[self._local] = flags
        self._wait()
        verdict = 0
        for word in words:
            verdict |= word
        for function, args in self.inside:
            function(*args)
        if self.between:
            self.between.swap(peers, verdict, scale)
        else:
            scale(self._target.slots, self._target.tail)
        if not self._apart:
            self._wait()
        if self.between:
            verdict = self.between.verdict()
        total.receive(self._sum)
        return verdict
