"""The exchange of a sum: in each group's memory, then between groups by messages.

Each rank leaves its subtrees' sums in its group's memory; a barrier; each adds its
slice of them. Where there are several groups, the carriers of a slice then exchange and
finish those sums (between.py), so every rank's way to other hosts is used. A barrier;
each takes the result.

A rank writes to its sums again only after the second barrier, when nobody reads them,
and to the result only after the next sum's first, when everybody has taken it: for
that, sums and result lie in regions of their own, whatever the records' lengths.

Short records in one group: each rank leaves its sums; a barrier; each adds all of them.
One barrier is enough because the next short sum uses other memory, and the one after
that begins when all have reached the next barrier, so when nobody reads any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from dtrain.parallel.additions import bind
from dtrain.parallel.between import Between
from dtrain.parallel.partition import Partition, Row, cut
from dtrain.parallel.peers import Peers
from dtrain.parallel.region import Region
from dtrain.parallel.tree import Record

Take = Callable[[NDArray[Any], Any], object]  # see ``World.tree_sum``


class Exchange:
    """One rank's part in the sums of a partition, bound to memory.

    Args:
        part: the partition.
        region: the group's memory; its rows are full when `finish` is called.
        total: where the sum goes.
        wait: the group's barrier.

    """

    def __init__(
        self, part: Partition, region: Region, total: Record, wait: Callable[[], None]
    ) -> None:
        self.total = total
        self._local, self._words, self._wait = part.local, region.words, wait
        self._between: Between | None = None
        self._result: NDArray[Any] | None = region.result
        nodes = [node for rank in part.group for node in part.nodes_of([rank])]
        if len(part.groups) > 1:
            self._between = Between(part, region, total, nodes)
            self._inside = self._between.inside
        elif self._result is None:
            self._inside = bind(nodes, region.rows, total, mine=False)
        else:
            rows = cut(region.rows, part.mine)
            target = Row(self._result[part.mine], total.tail)
            self._inside = bind(nodes, rows, target, mine=True)

    def finish(self, peers: Peers, flags: int, take: Take) -> int:
        """Sum all ranks' rows into the total; return their flag words, OR-ed.

        Raises:
            RankLostError: another rank's process has ended.

        """
        words, total, result = self._words, self.total, self._result
        words[self._local] = flags
        self._wait()
        verdict = 0
        for word in words:
            verdict |= word
        for function, args in self._inside:
            function(*args)
        if self._between:
            self._between.swap(peers, verdict)
        if result is None and not self._between:
            take(total.slots, total)
            return verdict
        self._wait()
        if self._between:
            verdict = self._between.verdict()
        take(total.slots if result is None else result, total)
        return verdict
