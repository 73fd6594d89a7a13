"""The engine: a graph becomes numbers, one block of samples at a time."""

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
from dtrain.engine.stack import Place, Stack, Sum
from dtrain.errors import UsageError
from dtrain.gradient.vector import Layout, Weights
from dtrain.tracing.graph import FlowGraph

BACKENDS = {"numpy": BoundPlan, "fused": FusedPlan}
Rows = slice | NDArray[np.intp]
_NOWHERE: Mapping[int, Place] = MappingProxyType({})
_CACHE = 3 << 20  # bytes that stay in a core's cache, or near it
_CALL = 64 << 10  # bytes: of what touches fewer, most time goes into the call
_MOST = 64 << 20  # bytes that small arrays may take in all


class Blocks(Protocol):
    """Some consecutive blocks of a batch: which rows of the columns they hold."""

    @property
    def number(self) -> int:
        """The first block's number in the batch."""

    @property
    def count(self) -> int:
        """How many blocks there are."""

    @property
    def length(self) -> int:
        """How many rows each block has."""

    @property
    def rows(self) -> Rows:
        """The rows of all the blocks, in order."""


class Engine:
    """Runs a graph on blocks of the rows of columns.

    Each number of blocks and each block length gets a plan of its own when it first
    comes up; there are few: whole stacks, the rest, and a short last block. Threads
    that run steps at once are gone when the engine's ``with`` block ends.

    Args:
        graph: the graph to run. Its output ``loss`` and those named in ``tail`` are
            summed in the GradientVector's tail.
        layout: where each weight lies.
        columns: each input's values, first axis the sample.
        gradients: which output is which weight's derivative.
        tail: further outputs for the tail, in order.
        execution: the execution model's name.
        threads: how many run steps at once, if the model has such.
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
        threads: int = 1,
        backend: str = "numpy",
    ) -> None:
        self.graph = graph
        self.layout = layout
        self.columns = columns
        self._gradients = dict(gradients or {})
        self._tail = ("loss", *tail)
        chosen("execution", execution, EXECUTIONS)
        self._model = Model(execution, threads)
        self._pool = Pool(self._model.threads)
        self._backend = chosen_backend(backend)
        self._plans: dict[tuple[int, int], Plan] = {}
        self._stacks: dict[tuple[int, int], Stack] = {}
        self._most: dict[int, int] = {}  # blocks in a stack, by their length
        self._weights: Weights | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads that run steps at once."""
        self._pool.close()

    def gradients(
        self,
        weights: Weights,
        parts: Iterable[Blocks],
        places: Mapping[int, Place] = _NOWHERE,
    ) -> Iterator[Sum]:
        """Yield the partial GradientVectors of blocks: sums over samples, never means.

        There is one for each subtree of the canonical tree that a stack makes up, in
        its place, if there is one for its first block. Else it is the engine's own, as
        those of single blocks are, and is overwritten when the next part is run.

        What must be finite is for the caller to test, under ``np.errstate``.
        """
        for blocks in parts:
            stack = self._run(weights, blocks)
            yield from stack.sums(blocks.number, places)

    @np.errstate(all="ignore")
    def run(self, weights: Weights, blocks: Blocks) -> Mapping[str, NDArray[Any]]:
        """Run blocks; the outputs are the engine's own arrays, first axis the block."""
        return self._run(weights, blocks).bound.outputs

    def _run(self, weights: Weights, blocks: Blocks) -> Stack:
        stack = self._stack(weights, blocks)
        if stack.version != weights.version:
            execute(stack.bound.once, self._pool)
            stack.version = weights.version
        for name, array in stack.inputs.items():
            column = self.columns[name]
            if not stack.bound.lend(name, column, blocks.rows):
                fetch(column, blocks.rows, array)
        execute(stack.bound.phases, self._pool)
        return stack

    def most_blocks(self, length: int) -> int:
        """How many blocks of a length, a power of 2, are best run by one call.

        A larger stack costs less Python for each block, until what it works on leaves
        the cache; where arrays are small, Python costs more than that. It changes no
        bits (docs/performance.md).
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
        """Return the stack of so many blocks of a length."""
        if weights is not self._weights:
            self._stacks.clear()
            self._weights = weights
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
        # In bounds by construction; without "clip" NumPy copies through a buffer.
        np.take(column, rows, axis=0, out=out, mode="clip")
    else:
        np.copyto(out, column[rows], casting="unsafe")


def chosen_backend(name: str) -> type[BoundPlan]:
    """Return a backend by name.

    Raises:
        UsageError: if there is none, or it lacks a package.
    """
    backend: type[BoundPlan] = chosen("backend", name, BACKENDS)
    backend.check()
    return backend


def chosen(option: str, name: str, table: Mapping[str, Any]) -> Any:
    """Return an option's value from its table.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in table:
        raise UsageError(f"no {option} {name!r}; there are {', '.join(table)}")
    return table[name]
