"""The engine: a graph becomes numbers, one block of samples at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.arena import Arena
from dtrain.engine.execution import EXECUTIONS
from dtrain.engine.lowering import plan
from dtrain.engine.numpy_backend import BoundPlan
from dtrain.engine.plan import Plan
from dtrain.errors import UsageError
from dtrain.gradient.vector import GradientVector, Layout, Weights
from dtrain.program.graph import FlowGraph

BACKENDS = {"numpy": BoundPlan}
Rows = slice | NDArray[np.intp]
_CALL = 8192  # elements of a scalar's stack that hide the cost of a call
_CACHE = 1 << 20  # bytes of an arena that stay in a core's cache


class Blocks(Protocol):
    """Some consecutive blocks of a batch: which rows of the columns they hold."""

    @property
    def rows(self) -> Rows:
        """The rows of all the blocks, in order."""

    @property
    def length(self) -> int:
        """How many rows each block has."""

    @property
    def level(self) -> int:
        """There are 2ˡᵉᵛᵉˡ blocks, those of a subtree of the canonical tree."""


class Engine:
    """Runs a graph on blocks of the rows of columns.

    Each size of stack and each block length gets a plan of its own when it first comes
    up; there are few, the stacks being powers of 2 and only the last block short.

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
        self._plans: dict[tuple[int, int], _Planned] = {}
        self._weights: Weights | None = None

    def gradient(self, weights: Weights, blocks: Blocks) -> GradientVector:
        """The partial GradientVector of blocks: a sum over samples, never a mean.

        Several blocks are added as the canonical tree adds them. The vector is the
        engine's own and is overwritten by the next call.
        """
        self.run(weights, blocks)
        return self._planned(weights, blocks).sum()

    def run(self, weights: Weights, blocks: Blocks) -> Mapping[str, NDArray[Any]]:
        """Run blocks; the outputs are the engine's own arrays, first axis the block."""
        with np.errstate(all="ignore"):  # what must be finite is tested by the trainer
            planned = self._planned(weights, blocks)
            if planned.version != weights.version:
                self._execute(planned.bound.once)
                planned.version = weights.version
            for name, array in planned.inputs.items():
                fetch(self.columns[name], blocks.rows, array)
            self._execute(planned.bound.calls)
        return planned.bound.outputs

    def stack_level(self, length: int) -> int:
        """How many blocks, as a power of 2, are best run by one call.

        A larger stack costs less Python for each block, until what it works on leaves
        the cache. It changes no bits.
        """
        memory = Arena(self._plan(1, length)).size + self.layout.size
        stack = min(_CALL // length, _CACHE // memory)
        return max(stack, 1).bit_length() - 1

    def _plan(self, stack: int, length: int) -> Plan:
        return plan(
            self.graph, self.layout, length, gradients=self._gradients, stack=stack
        )

    def _planned(self, weights: Weights, blocks: Blocks) -> _Planned:
        """The plan for so many blocks of a length."""
        if weights is not self._weights:
            self._plans.clear()
            self._weights = weights
        key = (blocks.level, blocks.length)
        planned = self._plans.get(key)
        if planned is None:
            stack = 1 << blocks.level
            slots = np.zeros((stack, self.layout.size), self.layout.dtype)
            bound = self._backend(
                self._plan(stack, blocks.length), weights.flat, slots.reshape(-1)
            )
            planned = _Planned(self.layout, bound, slots, blocks.length, self._tail)
            self._plans[key] = planned
        return planned


class _Planned:
    """A bound plan for a stack of blocks, and the GradientVectors that it fills.

    Attributes:
        bound: the plan.
        inputs: the plan's inputs with the blocks' rows along one axis.
        version: of the weights for which the steps on weights alone have run.
    """

    def __init__(
        self,
        layout: Layout,
        bound: BoundPlan,
        slots: NDArray[Any],
        length: int,
        names: Sequence[str],
    ) -> None:
        stack = len(slots)
        self.bound = bound
        self.inputs = {
            name: array.reshape(stack * length, *array.shape[2:])
            for name, array in bound.inputs.items()
        }
        self.version = -1
        self._length = length
        self._tails = np.zeros((stack, layout.tail))
        self._summed = [bound.outputs[name] for name in names if name in bound.outputs]
        self._vector = GradientVector(
            layout, slots[0], self._tails[0], stack.bit_length() - 1
        )
        self._additions = [
            (rows[:: 2 * step], rows[step :: 2 * step])
            for step in (1 << level for level in range(self._vector.level))
            for rows in (slots, self._tails)
        ]

    def sum(self) -> GradientVector:
        """Fill the tails, and add the blocks' vectors as the canonical tree does."""
        loss, *metrics = self._summed
        self._tails[:, 0] = loss
        self._tails[:, 1] = self._length
        for i, metric in enumerate(metrics, start=2):
            self._tails[:, i] = metric
        with np.errstate(all="ignore"):
            for left, right in self._additions:
                np.add(left, right, left)
        return self._vector


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
