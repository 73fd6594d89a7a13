"""The exchange of sums between groups of ranks, by messages, in stages.

Groups are numbered in mixed radix. In each stage a group exchanges with those that
differ from it in one digit, the lowest digit first. It cuts its sums into as many
parts, sends each part to the group that continues with it, and adds the parts that it
receives. After each stage it has sums over a larger cluster of neighbouring groups, for
fewer slots; after the last stage it has the finished sums over all groups. Then the
parts return, stage by stage. One stage is a direct exchange between all groups; with
several stages each rank sends as many bytes in fewer messages. The order of additions
is always the tree's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.buffers import Buffers
from dtrain.reduction.communicator import Communicator, Message, Scale
from dtrain.reduction.partition import Partition, cut, span
from dtrain.reduction.tree import Node, PartialSum, Row
from dtrain.reduction.tree_sum import Call, prepare, run


@dataclass(frozen=True)
class Sums:
    """The partial sums of a cluster of groups, ascending.

    Attributes:
        head: a flag word and the tails of the rows, in one message.
        rows: the partial sums; their tails are views of the head.
    """

    head: NDArray[np.float64]
    rows: Mapping[Node, Row]


@dataclass
class Stage:
    """A prepared stage: its messages and additions.

    Attributes:
        words: (1,) int64, the flag word of each cluster that takes part.
        own: the index of the cluster of this rank's group.
        sends: sums of the parts that other clusters continue with.
        receives: other clusters' sums of this rank's part.
        additions: the calls that add them.
        returns: this rank's finished part, to the other clusters.
        arrivals: the other clusters' finished parts.
    """

    words: list[NDArray[np.int64]]
    own: int
    sends: list[Message] = field(default_factory=list)
    receives: list[Message] = field(default_factory=list)
    additions: list[Call] = field(default_factory=list)
    returns: list[Message] = field(default_factory=list)
    arrivals: list[Message] = field(default_factory=list)


class GroupExchange:
    """The exchange of one carrier with the carriers of its slice in other groups.

    Args:
        part: the partition.
        buffers: the group's memory.
        total: the destination of the sum; a rank alone also adds in its slots.
        nodes: the subtrees of the group's rows.

    Attributes:
        inside: the calls that add this rank's slice of the group's rows, to run first.
        stages: the stages, in order.
        finished: the slots that this rank finishes.

    """

    def __init__(
        self, part: Partition, buffers: Buffers, total: PartialSum, nodes: list[Node]
    ) -> None:
        self._part, self._buffers, self._total = part, buffers, total
        self._publishes = part.local == 0  # writes flags and tail for its group
        self._result = total.slots if buffers.result is None else buffers.result
        self.finished = self._result[:0]
        self._tail = np.empty(part.tail)
        self.stages: list[Stage] = []
        self.inside: list[Call] = []
        if not part.pieces:  # no messages, but ``swap`` is collective
            self.stages = [Stage([np.zeros(1, np.int64)], 0) for _ in part.stages]
            return
        rows = dict(zip(nodes, cut(buffers.rows, part.mine), strict=True))
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
                stage.additions = prepare(order, last, target, overwrite=True)

    def _cluster(self, group: int, width: int) -> list[Node]:
        """Return the subtrees of the cluster of ``width`` groups that has a group."""
        first = group // width * width
        clustered = self._part.groups[first : first + width]
        return self._part.nodes_of(sorted(chain(*clustered)))

    def _joined(
        self, rows: Mapping[Node, Row], nodes: Sequence[Node]
    ) -> tuple[Sums, list[Call]]:
        """Return sums over larger subtrees, and the calls that add ``rows`` to them."""
        head, tails = _head(len(nodes), self._part.tail)
        sums: dict[Node, Row] = {}
        calls: list[Call] = []
        for node, tail in zip(nodes, tails, strict=True):
            below = [
                other for other in rows if _contains(node, other, self._part.count)
            ]
            mine = [rows[other] for other in below]
            sums[node] = Row(mine[0].slots, tail)
            calls += prepare(below, mine, sums[node], overwrite=True)
        return Sums(head, sums), calls

    def _stage(
        self, sums: Sums, pieces: Sequence[slice], radix: int, width: int
    ) -> tuple[Stage, dict[Node, Row], Sequence[slice]]:
        """Prepare the messages of a stage of ``radix`` clusters of ``width`` groups.

        Args:
            sums: the sums of this group's cluster.
            pieces: the pieces of the slots that they cover.
            radix: the number of clusters that take part.
            width: the number of groups of a cluster.

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
            slots = span(parts[other])
            within = slice(slots.start - start, slots.stop - start)
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
            stage.arrivals.append((to, result[slots]))
        first = sorted(found, key=lambda node: node[1] << node[0])
        return stage, {node: found[node] for node in first}, parts[own]

    def swap(self, ranks: Communicator, flags: int, scale: Scale) -> None:
        """Exchange and add, scale, then exchange the finished parts; collective.

        See ``World.tree_sum`` for ``scale``.
        """
        for stage in self.stages:
            stage.words[stage.own][0] = flags
            ranks.swap(stage.sends, stage.receives)
            run(stage.additions)
            for word in stage.words:
                flags |= int(word[0])
        if self._part.pieces:
            scale(self.finished, self._tail)
        for stage in reversed(self.stages):
            ranks.swap(stage.returns, stage.arrivals)
        if self._publishes:
            self._buffers.flags[0] = flags
            self._buffers.tail[:] = self._tail

    def flags(self) -> int:
        """Copy the summed tail to the total; return all flag words, OR-ed."""
        self._total.tail[:] = self._buffers.tail
        return int(self._buffers.flags[0])


def _head(sums: int, tail: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a head for so many sums, and the tails in it."""
    head = np.zeros(1 + sums * tail)
    return head, head[1:].reshape(sums, tail)


def _word(head: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the flag word in a head."""
    return head[:1].view(np.int64)


def _contains(node: Node, other: Node, count: int) -> bool:
    """Return whether the blocks of ``other`` are blocks of ``node``."""
    (level, index), (low, low_index) = node, other
    first, last = index << level, min((index + 1) << level, count)
    return first <= low_index << low < last
