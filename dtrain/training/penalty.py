"""A penalty at work: run on every rank alike, once a step, added to the gradient."""

from __future__ import annotations

from dtrain.descent.penalties import Penalty, of_weights
from dtrain.engine.engine import Engine
from dtrain.gradient.vector import GradientVector, Weights
from dtrain.tracing.graph import FlowGraph
from dtrain.training.shard import RowBlocks

ONCE = RowBlocks(0, 1, 1, slice(0, 1))  # one block; there is nothing to read


class Penalised:
    """Adds a penalty on the weights to scaled GradientVectors.

    Args:
        penalty: the penalty.
        program: the graph whose weights they are.
        weights: the weights, for their layout.
        backend: what runs the plan.

    Attributes:
        objective: the penalty's graph, with its derivatives.
    """

    def __init__(
        self,
        penalty: Penalty,
        program: FlowGraph,
        weights: Weights,
        backend: str = "numpy",
    ) -> None:
        joined = of_weights(penalty, program)
        self.objective = joined
        self._weights = weights
        self._engine = Engine(
            joined.graph,
            joined.layout(weights.layout.dtype.name),
            {},
            gradients=joined.gradients,
            backend=backend,
        )

    def add(self, gradient: GradientVector) -> None:
        """Add its derivatives, and to each sample's loss its value."""
        for one in self._engine.gradients(self._weights, (ONCE,)):
            gradient.add(one.slots)
            gradient.tail[0] += gradient.samples * one.tail[0]
