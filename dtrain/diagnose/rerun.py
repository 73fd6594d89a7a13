"""Run a batch again, block by block, to find what in it is not finite, and where.

All ranks know from the sum that something is not finite, so all run their own blocks
again. The lowest such block is reported; which one it is, and the message, do not
depend on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dtrain.data.order import Batch
from dtrain.descent.loss_graph import LossGraph, loss_graph
from dtrain.diagnose.origin import Origin, observed, origin
from dtrain.engine.engine import Column
from dtrain.gradient.vector import Weights, not_finite
from dtrain.problem.agreement import together
from dtrain.problem.evaluator import ONCE, PLAIN, Evaluator
from dtrain.problem.shard import RowBlocks
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.printing import listed


@dataclass(frozen=True)
class Rerun:
    """What a rank needs to run its part of a batch again.

    Attributes:
        evaluator: that of the run.
        weights: the weights, as they were when the batch was run.
    """

    evaluator: Evaluator
    weights: Weights

    def explain(self, batch: Batch) -> str:
        """Return what is not finite, the same text on every rank; collective."""
        bad = not_finite(self.weights.values)
        if bad:
            return f"the step before made weights that are not finite: {listed(bad)}"
        with together(self.evaluator.world):
            found = self._in_blocks(batch)
        texts = self.evaluator.world.allgather(found.encode())
        text = next(filter(None, texts), b"").decode()
        return text or self._after_blocks(batch)

    def _in_blocks(self, batch: Batch) -> str:
        """What is not finite in the first such block of this rank; or nothing."""
        for block in replace(self.evaluator.shard, stack=1).blocks(batch):
            for one in self.evaluator.engine.gradients(self.weights, (block,)):
                if not (np.isfinite(one.slots).all() and np.isfinite(one.tail[0])):
                    return self._in_block(block)
        return ""

    def _in_block(self, block: RowBlocks) -> str:
        problem = self.evaluator.problem
        joined, padding = problem.joined(block.sizes), problem.padding
        written = loss_graph(
            joined.program,
            problem.loss,
            padding.target_shape(block.sizes),
            weighted=joined.weighted,
            frozen=joined.frozen,
            as_written=True,
            rows=padding.rows,
        )
        number = self.evaluator.world.numbers[self.evaluator.world.rank]
        where = f"block {block.number}, rank {number}"
        for each in (written, joined):  # sums are associated anew in arrays
            found = self._origin(each.graph, self.evaluator.engine.columns, block)
            if found is not None:
                if found.row is not None:
                    where = f"{self._row(block, found.row)}, {where}"
                return f"{found.what}, {_part(found, each)}, in {where}"
        return f"in {where}, and not so when it is run again with the NumPy backend"

    def _row(self, block: RowBlocks, place: int) -> str:
        """Return the row of the data that a block's sample is."""
        rows = block.rows
        row = rows.start + place if isinstance(rows, slice) else rows[place]
        return self.evaluator.problem.samples.where(int(row))

    def _origin(
        self, graph: FlowGraph, columns: Mapping[str, Column], block: RowBlocks
    ) -> Origin | None:
        engine = PLAIN.engine(observed(graph), self.weights.layout, columns)
        return origin(graph, engine.run(self.weights, block))

    def _after_blocks(self, batch: Batch) -> str:
        """Return what is not finite, where each block is."""
        penalty = self.evaluator.problem.penalty
        if penalty is not None:
            graph = penalty.graph
            found = self._origin(graph, {}, ONCE)
            if found is not None:
                return f"{found.what}, {_part(found)}, in the penalty"
        count = self.evaluator.shard.count(batch)
        return f"each of the {count} blocks is finite by itself, but not their sum"


def _part(found: Origin, joined: LossGraph | None = None) -> str:
    """In which part of the graph a node is, and at which line."""
    node = found.node
    if node.through is not None:
        of = node.through
        name = repr(of.name) if not of.inputs else of.function.name
        return f"backward, in the transfer function of {name} at {of.source}"
    if joined is not None and _in_loss(found, joined):
        return f"in the loss {joined.loss.name!r} of what is returned at {node.source}"
    return f"forward, at {node.source}"


def _in_loss(found: Origin, joined: LossGraph) -> bool:
    """Return whether a node of the forward graph came with the loss."""
    nodes, name = joined.graph.nodes, joined.program.nodes[joined.program.output].name
    named = [node for node in nodes if node.name == name and name is not None]
    return bool(named) and nodes.index(found.node) > nodes.index(named[0])
