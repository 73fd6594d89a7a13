"""The engine: a graph becomes numbers, one block of samples at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.execution import EXECUTIONS
from dtrain.engine.lowering import plan
from dtrain.engine.numpy_backend import BoundPlan
from dtrain.errors import UsageError
from dtrain.gradient.vector import GradientVector, Layout, Weights
from dtrain.program.graph import FlowGraph

BACKENDS = {"numpy": BoundPlan}
Rows = slice | NDArray[np.intp]


class BlockOfRows(Protocol):
    """A block of a batch: which rows of the columns it holds."""

    @property
    def rows(self) -> Rows:
        """The rows, in order."""

    @property
    def length(self) -> int:
        """How many rows."""


class Engine:
    """Runs a graph on blocks of the rows of columns.

    A block length gets a plan of its own when it first comes up: there are two at most
    in a training run, that of whole blocks and that of a short last one.

    Args:
        graph: the graph to run. Its output ``loss`` and those named in ``tail`` are
            summed in the GradientVector's tail.
        layout: where each weight lies.
        columns: each input's values, first axis the sample.
        gradients: which output is which weight's derivative.
        tail: further outputs for the tail, in order.
        execution: the execution model's name.
        backend: the backend's name.
    """

    def __init__(
        self,
        graph: FlowGraph,
        layout: Layout,
        columns: Mapping[str, NDArray[Any]],
        *,
        gradients: Mapping[str, str] | None = None,
        tail: Sequence[str] = (),
        execution: str = "sequential",
        backend: str = "numpy",
    ) -> None:
        self.graph = graph
        self.layout = layout
        self.columns = columns
        self._gradients = dict(gradients or {})
        self._tail = ("loss", *tail)
        self._execute = chosen("execution", execution, EXECUTIONS)
        self._backend = chosen("backend", backend, BACKENDS)
        self._vector = GradientVector(layout)
        self._plans: dict[int, BoundPlan] = {}
        self._weights: Weights | None = None
        self._versions: dict[int, int] = {}

    def gradient(self, weights: Weights, block: BlockOfRows) -> GradientVector:
        """The block's partial GradientVector: a sum over its samples, never a mean.

        The vector is the engine's own and is overwritten by the next block.
        """
        outputs = self.run(weights, block)
        vector = self._vector
        vector.tail[0] = outputs["loss"][0]
        vector.tail[1] = block.length
        for i, name in enumerate(self._tail[1:], start=2):
            vector.tail[i] = outputs[name][0]
        return vector

    def run(self, weights: Weights, block: BlockOfRows) -> Mapping[str, NDArray[Any]]:
        """Run one block; the outputs are the engine's own arrays."""
        with np.errstate(all="ignore"):  # what must be finite is tested by the trainer
            bound = self._bound(weights, block.length)
            for name, array in bound.inputs.items():
                fetch(self.columns[name], block.rows, array[0])
            self._execute(bound.calls)
        return bound.outputs

    def _bound(self, weights: Weights, length: int) -> BoundPlan:
        """The plan for a block length, with what depends on weights alone computed."""
        if weights is not self._weights:
            self._plans.clear()
            self._versions.clear()
            self._weights = weights
        bound = self._plans.get(length)
        if bound is None:
            planned = plan(self.graph, self.layout, length, gradients=self._gradients)
            bound = self._backend(planned, weights.flat, self._vector.slots)
            self._plans[length] = bound
        if self._versions.get(length) != weights.version:
            self._execute(bound.once)
            self._versions[length] = weights.version
        return bound


def fetch(column: NDArray[Any], rows: Rows, out: NDArray[Any]) -> None:
    """Copy rows of a column into a buffer, converted to its dtype."""
    if isinstance(rows, slice):
        np.copyto(out, column[rows], casting="unsafe")
    elif column.dtype == out.dtype:
        # In bounds by construction; without "clip" NumPy copies through a buffer.
        np.take(column, rows, axis=0, out=out, mode="clip")
    else:
        np.copyto(out, column[rows], casting="unsafe")


def chosen(option: str, name: str, table: Mapping[str, Any]) -> Any:
    """An option's value from its table.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in table:
        raise UsageError(f"no {option} {name!r}; there are {', '.join(table)}")
    return table[name]
