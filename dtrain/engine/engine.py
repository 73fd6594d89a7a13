"""The engine: it evaluates a graph on blocks of samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.collector import paused
from dtrain.engine.execution.executor import execute
from dtrain.engine.execution.models import EXECUTIONS, Model
from dtrain.engine.execution.numpy_backend import BoundPlan
from dtrain.engine.execution.pool import Pool
from dtrain.engine.fused.backend import FusedPlan
from dtrain.engine.lowering.lower import plan
from dtrain.engine.plans.plan import Plan
from dtrain.engine.stack import Stack
from dtrain.errors import UsageError
from dtrain.gradient.vector import Layout, Weights
from dtrain.reduction.tree import PartialSum
from dtrain.tracing.graph import FlowGraph

Rows = slice | NDArray[np.intp]
BACKENDS = {"numpy": BoundPlan, "fused": FusedPlan}
_NO_DESTINATIONS: Mapping[int, PartialSum] = MappingProxyType({})
_CACHE = 3 << 20  # bytes that stay in or near a core's cache
_CALL = 64 << 10  # bytes; a call that touches fewer spends most of its time in Python
_MOST = 64 << 20  # bytes that a stack of small arrays may take


class RaggedColumn(Protocol):
    """A column of arrays whose first axes differ in length."""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The number of samples, and the shape of each."""

    def pad(self, rows: Rows, out: NDArray[Any]) -> None:
        """Copy samples to an array (samples, length, ...), with zeros after each."""


Column = NDArray[Any] | RaggedColumn


class Blocks(Protocol):
    """Consecutive blocks of a batch, and the rows of the columns that they hold."""

    @property
    def number(self) -> int:
        """The number of the first block in the batch."""

    @property
    def count(self) -> int:
        """The number of blocks."""

    @property
    def length(self) -> int:
        """The number of rows in each block."""

    @property
    def rows(self) -> Rows:
        """The rows of all blocks, in order."""


class Engine:
    """Evaluates a graph on blocks of rows of columns.

    The engine makes one plan for each pair of block length and number of blocks, when
    that pair first occurs. There are few: whole stacks, the rest, and a short last
    block. Leaving the engine's ``with`` block ends its threads.

    Args:
        graph: the graph. Its output ``loss`` and those named in ``tail`` are summed in
            the gradient's tail.
        layout: the offset of each weight.
        columns: each input's values; the first axis is the sample. A ragged column is
            padded to the length that the graph was traced with.
        gradients: the weight that each output is the derivative by.
        tail: further outputs for the tail, in order.
        execution: the name of the execution model.
        threads: the number of threads, for a model that runs steps in parallel.
        backend: the name of the backend.
        pool: threads of another engine, to use them too.

    Attributes:
        graph: the graph.
        layout: the offset of each weight.
        columns: the columns that the next call reads.
        pool: the threads that run steps in parallel.

    Raises:
        UsageError: for an unknown model or backend, or one that lacks a package.
    """

    def __init__(
        self,
        graph: FlowGraph,
        layout: Layout,
        columns: Mapping[str, Column],
        *,
        gradients: Mapping[str, str] | None = None,
        tail: Sequence[str] = (),
        execution: str = "sequential",
        threads: int = 1,
        backend: str = "numpy",
        pool: Pool | None = None,
    ) -> None:
        self.graph = graph
        self.layout = layout
        self.columns = columns
        self._gradients = dict(gradients or {})
        self._tail = ("loss", *tail)
        chosen("execution", execution, EXECUTIONS)
        self._model = Model(execution, threads)
        self.pool = pool or Pool(self._model.threads)
        self._backend = chosen_backend(backend)
        self._plans: dict[tuple[int, int], Plan] = {}
        self._stacks: dict[tuple[int, int], Stack] = {}
        self._most: dict[int, int] = {}  # blocks in a stack, by block length
        self._bound: Weights | None = None  # the weights that all stacks read
        self._copied: tuple[Weights, int] | None = None  # and of which they are a copy

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads that run steps in parallel."""
        self.pool.close()

    def rebind(self, columns: Mapping[str, Column]) -> None:
        """Read other columns from the next call on; all plans stay valid.

        Args:
            columns: each input's values. Their shapes without the first axis are those
                that the graph was traced with; dtypes and numbers of rows are free.

        Raises:
            UsageError: if an input has no column, or one of another shape.
        """
        for name, number in self.graph.inputs.items():
            shape = self.graph.nodes[number].shape
            if name not in columns:
                raise UsageError(f"input {name!r} has no column")
            if columns[name].shape[1:] != shape:
                raise UsageError(
                    f"column {name!r} has samples of shape {columns[name].shape[1:]}, "
                    f"but the graph has {shape}"
                )
        self.columns = columns

    def release(self) -> None:
        """Drop all references to the columns; `rebind` before the next call."""
        self.columns = {}
        for stack in self._stacks.values():
            stack.bound.release()

    def gradients(
        self,
        weights: Weights,
        parts: Iterable[Blocks],
        destinations: Mapping[int, PartialSum] = _NO_DESTINATIONS,
    ) -> Iterator[PartialSum]:
        """Yield the gradients of blocks: sums over samples, never means.

        Each stack yields one sum for each subtree of the canonical tree that its blocks
        make up. It is in the destination given for its first block. Without one, and
        for single blocks, it is in the engine's memory, which the next part overwrites.

        Call this under ``np.errstate`` and check the result for infinities and NaN.

        Args:
            weights: the point at which to evaluate.
            parts: the blocks, each part run by one call.
            destinations: memory for sums, by the number of the first block.
        """
        for blocks in parts:
            stack = self._run(weights, blocks)
            yield from stack.sums(blocks.number, destinations)

    @np.errstate(all="ignore")
    def run(self, weights: Weights, blocks: Blocks) -> Mapping[str, NDArray[Any]]:
        """Evaluate blocks; return the outputs, with the block as the first axis.

        The arrays are the engine's; the next call overwrites them.
        """
        return self._run(weights, blocks).bound.outputs

    def _run(self, weights: Weights, blocks: Blocks) -> Stack:
        if weights is not self._bound:
            weights = self._shared(weights)
        stack = self._stack(weights, blocks)
        if stack.version != weights.version:
            execute(stack.bound.once, self.pool)
            stack.version = weights.version
        for name, array in stack.inputs.items():
            column = self.columns[name]
            if not isinstance(column, np.ndarray):
                column.pad(blocks.rows, array)
            elif not stack.bound.lend(name, column, blocks.rows):
                fetch(column, blocks.rows, array)
        execute(stack.bound.phases, self.pool)
        return stack

    def _shared(self, weights: Weights) -> Weights:
        """Return the weights that the stacks read, with the values of those given.

        Stacks read the first weights where they are. Only an engine that is given
        several Weights objects copies their values, to weights that it allocates.
        """
        if self._bound is None:
            self._bound = weights
            return weights
        if self._copied is None:
            self._stacks.clear()
            self._bound = Weights(self.layout)
        if self._copied != (weights, weights.version):
            np.copyto(self._bound.flat, weights.flat)
            self._bound.version += 1
            self._copied = weights, weights.version
        return self._bound

    def most_blocks(self, length: int) -> int:
        """Return how many blocks of a length, a power of 2, run fastest in one call.

        A larger stack takes less Python time per block, but more memory, which slows it
        down once it exceeds the cache. For small arrays Python time matters more. The
        number changes no bits (docs/performance.md).
        """
        if length not in self._most:
            memory, touched = self._backend.load(self._plan(1, length), self._model)
            memory += self.layout.size * self.layout.dtype.itemsize
            small = min(_CALL // max(touched, 1), _MOST // max(memory, 1))
            most = max(_CACHE // max(memory, 1), small, 1)
            self._most[length] = 1 << (most.bit_length() - 1)
        return self._most[length]

    def _plan(self, count: int, length: int) -> Plan:
        key = (count, length)
        if key not in self._plans:
            self._plans[key] = plan(
                self.graph, self.layout, length, gradients=self._gradients, stack=count
            )
        return self._plans[key]

    def _stack(self, weights: Weights, blocks: Blocks) -> Stack:
        """Return the stack for this number of blocks of this length."""
        key = (blocks.count, blocks.length)
        stack = self._stacks.get(key)
        if stack is None:
            slots = np.zeros((blocks.count, self.layout.size), self.layout.dtype)
            with paused():
                bound = self._backend(
                    self._plan(*key), weights.flat, slots.reshape(-1), self._model
                )
            tail = self.layout.tail
            stack = Stack(bound, slots, tail, blocks.length, self._tail)
            self._stacks[key] = stack
        return stack


def fetch(column: NDArray[Any], rows: Rows, out: NDArray[Any]) -> None:
    """Copy rows of a column into a buffer, converted to its dtype."""
    if isinstance(rows, slice):
        np.copyto(out, column[rows], casting="unsafe")
    elif column.dtype == out.dtype:
        # The rows are in bounds; without "clip" NumPy copies through a buffer.
        np.take(column, rows, axis=0, out=out, mode="clip")
    else:
        np.copyto(out, column[rows], casting="unsafe")


def chosen_backend(name: str) -> type[BoundPlan]:
    """Return the backend of a name.

    Raises:
        UsageError: if there is none, or a package that it needs is not installed.
    """
    backend: type[BoundPlan] = chosen("backend", name, BACKENDS)
    backend.check()
    return backend


def chosen(option: str, name: str, table: Mapping[str, Any]) -> Any:
    """Return an option's value from its table.

    Raises:
        UsageError: if the table has no such name.
    """
    if name not in table:
        raise UsageError(f"no {option} {name!r}; there are {', '.join(table)}")
    return table[name]
