"""The exchange of sums between groups of ranks, by messages, in stages.

The groups are numbered in mixed radix. In each stage a group exchanges with those that
differ in one digit, the lowest first: it cuts what it holds into as many parts, sends
each the part that the other goes on with, and adds what it receives to its own. So
after each stage it holds the sums of a larger cluster of neighbouring groups, of fewer
slots; after the last those of all, finished. Then the parts go back, stage by stage.
With one stage that is a direct exchange of all with all; with several each rank sends
as many bytes in fewer messages. The additions are the tree's in any case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.additions import bind, run
from dtrain.reduction.partition import Call, Partition, Row, cut, span
from dtrain.reduction.peers import Message, Peers, Scale
from dtrain.reduction.region import Region
from dtrain.reduction.tree import Node, Record


@dataclass(frozen=True)
class Sums:
    """Sums that a cluster of groups makes up, ascending.

    Attributes:
        head: a flag word, and the sums' tails, in one message.
        rows: the sums, their tails being in the head.
    """

    head: NDArray[np.float64]
    rows: Mapping[Node, Row]


@dataclass
class Stage:
    """One stage, prepared: messages to send and to receive, and what they bring.

    Attributes:
        words: (1,) int64, the flag word of each cluster that takes part.
        own: which of them this rank's group belongs to.
        sends: sums of the parts that others go on with.
        receives: others' sums of this rank's part.
        additions: the calls that join them.
        returns: this rank's part, finished, to the others.
        arrivals: the others' parts, finished.
    """

    words: list[NDArray[np.int64]]
    own: int
    sends: list[Message] = field(default_factory=list)
    receives: list[Message] = field(default_factory=list)
    additions: list[Call] = field(default_factory=list)
    returns: list[Message] = field(default_factory=list)
    arrivals: list[Message] = field(default_factory=list)


class Between:
    """The exchange of a carrier with those of the same slice in other groups.

    A rank alone sums in the total's own memory.

    Args:
        part: the partition.
        region: the group's memory.
        total: where the sum goes.
        nodes: what the group's rows are the sums of.

    Attributes:
        inside: the calls that add this rank's slice of the group's rows, to run first.
        stages: the stages, in order.
        finished: the slots that this rank finishes.

    """

    def __init__(
        self, part: Partition, region: Region, total: Record, nodes: Sequence[Node]
    ) -> None:
        self._part, self._region, self._total = part, region, total
        self._speaks = part.local == 0  # tells the others of its group what came out
        self._result = total.slots if region.result is None else region.result
        self.finished = self._result[:0]
        self._tail = np.empty(part.tail)
        self.stages: list[Stage] = []
        self.inside: list[Call] = []
        if not part.pieces:  # it has nothing to say, but a swap is collective
            self.stages = [Stage([np.zeros(1, np.int64)], 0) for _ in part.stages]
            return
        rows = dict(zip(nodes, cut(region.rows, part.mine), strict=True))
        sums, self.inside = self._joined(rows, self._cluster(part.home, 1))
        pieces: Sequence[slice] = part.pieces
        width = 1
        for radix in part.stages:
            stage, found, pieces = self._stage(sums, pieces, radix, width)
            self.stages.append(stage)
            width *= radix
            if len(pieces) > 1:
                joined = self._cluster(part.home, width)
                sums, stage.additions = self._joined(found, joined)
            else:
                self.finished = self._result[pieces[0]]
                target = Row(self.finished, self._tail)
                order, last = list(found), list(found.values())
                stage.additions = bind(order, last, target, mine=True)

    def _cluster(self, group: int, width: int) -> list[Node]:
        """Give the subtrees that the ``width`` groups make up which one is among."""
        first = group // width * width
        clustered = self._part.groups[first : first + width]
        return self._part.nodes_of(sorted(chain(*clustered)))

    def _joined(
        self, rows: Mapping[Node, Row], nodes: Sequence[Node]
    ) -> tuple[Sums, list[Call]]:
        """Add rows, which may be written over, up to other nodes; by what calls."""
        head, tails = _head(len(nodes), self._part.tail)
        sums: dict[Node, Row] = {}
        calls: list[Call] = []
        for node, tail in zip(nodes, tails, strict=True):
            below = [other for other in rows if _under(node, other, self._part.count)]
            mine = [rows[other] for other in below]
            sums[node] = Row(mine[0].slots, tail)
            calls += bind(below, mine, sums[node], mine=True)
        return Sums(head, sums), calls

    def _stage(
        self, sums: Sums, pieces: Sequence[slice], radix: int, width: int
    ) -> tuple[Stage, dict[Node, Row], Sequence[slice]]:
        """Prepare the messages of a stage of ``radix`` clusters of ``width`` groups.

        Args:
            sums: those of this group's cluster.
            pieces: the pieces of the slots that they hold.
            radix: how many clusters take part.
            width: of how many groups each is.

        Returns:
            The stage, all clusters' sums of this rank's part, and its pieces.

        """
        part, result, own = self._part, self._result, self._part.home // width % radix
        share, start = len(pieces) // radix, pieces[0].start
        parts = [pieces[i : i + share] for i in range(0, len(pieces), share)]
        mine = span(parts[own])
        stage = Stage([], own)
        found: dict[Node, Row] = {}
        for other in range(radix):
            where = span(parts[other])
            within = slice(where.start - start, where.stop - start)
            rows = cut(list(sums.rows.values()), within)
            if other == own:
                stage.words.append(_word(sums.head))
                found |= zip(sums.rows, rows, strict=True)
                continue
            group = part.home + (other - own) * width
            to = part.groups[group][part.local]
            nodes = self._cluster(group, width)
            inbox = np.empty((len(nodes), mine.stop - mine.start), part.dtype)
            head, tails = _head(len(nodes), part.tail)
            found |= zip(nodes, map(Row, inbox, tails), strict=True)
            stage.words.append(_word(head))
            stage.sends += [(to, sums.head), *((to, row.slots) for row in rows)]
            stage.receives += [(to, head), *((to, row) for row in inbox)]
            stage.returns.append((to, result[mine]))
            stage.arrivals.append((to, result[where]))
        first = sorted(found, key=lambda node: node[1] << node[0])
        return stage, {node: found[node] for node in first}, parts[own]

    def swap(self, peers: Peers, flags: int, scale: Scale) -> None:
        """Exchange, add, scale, exchange what is finished; collective, as a swap is.

        See ``World.tree_sum`` for what ``scale`` does.
        """
        for stage in self.stages:
            stage.words[stage.own][0] = flags
            peers.swap(stage.sends, stage.receives)
            run(stage.additions)
            for word in stage.words:
                flags |= int(word[0])
        if self._part.pieces:
            scale(self.finished, self._tail)
        for stage in reversed(self.stages):
            peers.swap(stage.returns, stage.arrivals)
        if self._speaks:
            self._region.verdict[0] = flags
            self._region.tail[:] = self._tail

    def verdict(self) -> int:
        """Bring the tails' sum to the total; return all flag words, OR-ed."""
        self._total.tail[:] = self._region.tail
        return int(self._region.verdict[0])


def _head(sums: int, tail: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make a head, and give the tails in it."""
    head = np.zeros(1 + sums * tail)
    return head, head[1:].reshape(sums, tail)


def _word(head: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the flag word in a head."""
    return head[:1].view(np.int64)


def _under(node: Node, other: Node, count: int) -> bool:
    """Tell whether the blocks of ``other`` are some of those of ``node``."""
    (level, index), (low, place) = node, other
    first, last = index << level, min((index + 1) << level, count)
    return first <= place << low < last
