"""The exchange of a sum: in each group's memory, then between groups by messages.

Long sums: each rank writes its subtrees' sums to its group's memory; barrier; each rank
adds its slice of them. If there are several groups, the carriers of a slice exchange
these sums and finish them (group_exchange.py), so that the network links of all ranks
are used. The rank that finishes slots scales them. Barrier; all ranks read the result.
A rank overwrites its sums only after the second barrier, when no rank reads them, and
the result only after the first barrier of the next sum. Until then all may read it in
place, so sums and result are in separate memory, whatever their lengths.

Short sums in one group: each rank writes its sums; barrier; each rank adds all of them.
One barrier is enough, because the next short sum uses other memory, and the one after
it starts when all ranks have reached the next barrier, so when none reads any more.
"""

from __future__ import annotations

from collections.abc import Callable

from dtrain.reduction.buffers import Buffers
from dtrain.reduction.communicator import Communicator, Scale
from dtrain.reduction.group_exchange import GroupExchange
from dtrain.reduction.partition import Partition, cut
from dtrain.reduction.tree import Row, Total
from dtrain.reduction.tree_sum import prepare


class Exchange:
    """One rank's part in the sums of a partition, prepared for certain memory.

    Args:
        part: the partition.
        buffers: the group's memory; its rows are written when `finish` is called.
        total: the destination of the sum.
        wait: the group's barrier.

    Attributes:
        inside: the calls that add this rank's slice of the group's rows.
        between: the exchange with other groups, if there are any.

    """

    def __init__(
        self, part: Partition, buffers: Buffers, total: Total, wait: Callable[[], None]
    ) -> None:
        self.total = total
        self._local, self._words, self._wait = part.local, buffers.words, wait
        self.between: GroupExchange | None = None
        nodes = [node for rank in part.group for node in part.nodes_of([rank])]
        result = total.slots if buffers.result is None else buffers.result
        self._short = buffers.result is None and len(part.groups) == 1
        self._target = total if self._short else Row(result[part.mine], total.tail)
        if len(part.groups) > 1:
            self.between = GroupExchange(part, buffers, total, nodes)
            self.inside = self.between.inside
        else:
            rows = buffers.rows if self._short else cut(buffers.rows, part.mine)
            self.inside = prepare(nodes, rows, self._target, overwrite=not self._short)
        self._sum = result
        if buffers.result is not None:
            self._sum = result[:]
            self._sum.flags.writeable = False  # other ranks read it, too

    def finish(self, ranks: Communicator, flags: int, scale: Scale) -> int:
        """Sum all ranks' rows into the total; return their flag words, OR-ed.

        Raises:
            RankLostError: another rank's process has ended.

        """
        words, total = self._words, self.total
        words[self._local] = flags
        self._wait()
        result = 0
        for word in words:
            result |= word
        for function, args in self.inside:
            function(*args)
        if self.between:
            self.between.swap(ranks, result, scale)
        else:
            scale(self._target.slots, self._target.tail)
        if not self._short:
            self._wait()
        if self.between:
            result = self.between.flags()
        total.receive(self._sum)
        return result
