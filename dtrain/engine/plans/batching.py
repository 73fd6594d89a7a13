"""Batching: join steps of one kind into one step on many rows.

A call on a small array spends most of its time on NumPy's overhead, and an irregular
graph of scalars has many similar calls: a slope 1 − y², a dot product for each weight.
Few results are needed soon. So this pass reorders a plan: each step is emitted as soon
as its inputs are ready, except that steps whose results are needed much later are
collected by kind until no other step is ready (Neubig, Goldberg and Dyer 2017,
"On-the-fly operation batching in dynamic computation graphs"; here it is done once,
ahead of time). The operands of joined steps become rows of one buffer, so nothing is
copied. Each row is computed as it would be alone: no bits change.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from dtrain.engine.plans.plan import Buffer, Plan, Step, View, contiguous
from dtrain.functions.base import FUNCTIONS

_KERNELS = {name for name, f in FUNCTIONS.items() if f.elementwise} | {
    "sigmoid",
    "vecdot",
}
# A larger input, in bytes, is worth a separate call. A batch stays in a core's first
# cache.
_SMALL, _BATCH = 8 << 10, 32 << 10
_SLACK = 16  # levels between a step's earliest and latest, to be joined

Kind = tuple[object, ...]


def batched(plan: Plan) -> Plan:
    """Return a plan of fewer steps with the same results, or the plan itself."""
    return _Batching(plan).result()


class _Batching:
    """The state of the pass: the new order, and where buffers have been moved."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._buffers = list(plan.buffers)
        self._steps = [each for step in plan.steps for each in self._apart(step)]
        self._homes: dict[int, tuple[int, int]] = {}  # a buffer's batch and row
        written = Counter(step.out.buffer for step in self._steps)
        self._movable = {
            step.out.buffer
            for step in self._steps
            if written[step.out.buffer] == 1 and self._whole(step.out)
        }
        self._emitted: list[Step] = []
        self._schedule()

    def result(self) -> Plan:
        """Return the plan with rows instead of the buffers that were joined."""
        if not self._homes:
            return self._plan
        sizes = [buffer.size for buffer in self._buffers]

        def moved(view: View) -> View:
            if view.buffer not in self._homes:
                return view
            batch, row = self._homes[view.buffer]
            offset = row * sizes[view.buffer] + view.offset
            return View(batch, offset, view.shape, view.strides)

        return replace(
            self._plan,
            buffers=[
                replace(buffer, size=0) if number in self._homes else buffer
                for number, buffer in enumerate(self._buffers)
            ],
            steps=[
                Step(s.kernel, tuple(map(moved, s.inputs)), moved(s.out), s.params)
                for s in self._emitted
            ],
            outputs={name: moved(view) for name, view in self._plan.outputs.items()},
        )

    def _apart(self, step: Step) -> list[Step]:
        """Split a dot product into slots into one that can be moved, and a copy."""
        slots = self._buffers[step.out.buffer]
        if step.kernel != "vecdot" or slots.external is None:
            return [step]
        shape = step.out.shape
        self._buffers.append(Buffer(math.prod(shape), slots.dtype))
        result = View(len(self._buffers) - 1, 0, shape, contiguous(shape))
        return [replace(step, out=result), Step("copy", (result,), step.out)]

    def _whole(self, view: View) -> bool:
        """Return whether a view is all of a buffer that the backend allocates."""
        buffer = self._buffers[view.buffer]
        return (
            buffer.external is None
            and view.strides == contiguous(view.shape)
            and math.prod(view.shape) == buffer.size
        )

    def _kind(self, step: Step) -> Kind | None:
        """Return what joined steps must share; ``None`` if a step cannot be joined."""
        if step.kernel not in _KERNELS or step.out.buffer not in self._movable:
            return None
        rows = self._rows(step)
        lead = (self._plan.stack, self._plan.block)
        kind: list[object] = [step.kernel, step.params, step.out.shape]
        for view in step.inputs:
            buffer = self._buffers[view.buffer]
            if view.buffer not in rows:
                kind.append(view)
            elif (
                view.shape == lead
                and view.buffer in self._movable
                and self._whole(view)
                and buffer.size * buffer.dtype.itemsize <= _SMALL
            ):
                kind += [buffer, rows.index(view.buffer)]
            else:
                return None
        return (*kind, self._buffers[step.out.buffer]) if rows else None

    def _rows(self, step: Step) -> list[int]:
        """Return the buffers that a step reads, except single numbers."""
        return [view.buffer for view in step.inputs if view.shape != ()]

    def _schedule(self) -> None:
        """Emit all steps: the lowest number first; steps that can wait are joined."""
        waits, readers = _dependencies(self._steps)
        kinds = [self._kind(step) for step in self._steps]
        late = _latest(readers, kinds)
        alone: list[int] = []  # a heap
        waiting: dict[Kind, list[int]] = defaultdict(list)

        def ready(numbers: Iterable[int]) -> None:
            for number in numbers:
                kind = kinds[number]
                if kind is None:
                    heapq.heappush(alone, number)
                else:
                    waiting[kind].append(number)

        ready([number for number, count in enumerate(waits) if not count])
        while alone or waiting:
            if alone:
                numbers = [heapq.heappop(alone)]
                self._emitted.append(self._steps[numbers[0]])
            else:  # the kind that is needed first, by its last member
                kind = min(waiting, key=lambda kind: late[waiting[kind][-1]])
                numbers = waiting.pop(kind)
                self._join([self._steps[number] for number in numbers])
            for reader in (i for number in numbers for i in readers[number]):
                waits[reader] -= 1
                if not waits[reader]:
                    ready([reader])

    def _join(self, steps: Sequence[Step]) -> None:
        """Emit steps of one kind, as few steps on rows as possible.

        For each operand, the rows of a step must be consecutive rows of one batch
        already,
        or must not be in a batch yet.
        """

        def homes(step: Step) -> list[tuple[int, int]]:
            return [self._homes.get(buffer, (-1, 0)) for buffer in self._rows(step)]

        size = max(self._buffers[buffer].size for buffer in self._rows(steps[0]))
        width = self._buffers[steps[0].out.buffer].dtype.itemsize
        most = max(_BATCH // (size * width), 1)
        run: list[Step] = []
        taken: set[int] = set()
        for step in sorted(steps, key=homes):
            rows = self._rows(step)
            follows = 0 < len(run) < most and all(
                before == after == (-1, 0) and buffer not in taken
                if after[0] < 0
                else (before[0], before[1] + 1) == after
                for before, after, buffer in zip(
                    homes(run[-1]), homes(step), rows, strict=True
                )
            )
            if not follows and run:
                self._emit(run)
                run, taken = [], set()
            run.append(step)
            taken.update(rows)
        self._emit(run)

    def _emit(self, run: Sequence[Step]) -> None:
        """Emit several steps as one."""
        first = run[0]
        if len(run) == 1:
            self._emitted.append(first)
            return
        inputs = []
        for i, view in enumerate(first.inputs):
            if view.shape != ():
                if view.buffer not in self._homes:
                    self._gather([step.inputs[i].buffer for step in run])
                view = self._stacked(view, len(run))
            inputs.append(view)
        self._gather([step.out.buffer for step in run])
        out = self._stacked(first.out, len(run))
        self._emitted.append(Step(first.kernel, tuple(inputs), out, first.params))

    def _gather(self, buffers: Sequence[int]) -> None:
        """Make buffers the rows of a new buffer."""
        one = self._buffers[buffers[0]]
        batch = len(self._buffers)
        self._buffers.append(Buffer(one.size * len(buffers), one.dtype))
        for row, buffer in enumerate(buffers):
            self._homes[buffer] = batch, row

    def _stacked(self, first: View, count: int) -> View:
        """Return the view of consecutive rows, given the first."""
        batch, row = self._homes[first.buffer]
        shape = (count, *first.shape)
        offset = row * self._buffers[first.buffer].size
        return View(batch, offset, shape, contiguous(shape))


def _dependencies(steps: Sequence[Step]) -> tuple[list[int], list[list[int]]]:
    """Return how many steps each step waits for, and which wait for it.

    A step waits for the last writers of what it reads or writes. Nothing is written
    after
    it was read, except by the steps of one sum, which read what they write.
    """
    waits = [0] * len(steps)
    readers: list[list[int]] = [[] for _ in steps]
    writer: dict[int, int] = {}
    for number, step in enumerate(steps):
        touched = {view.buffer for view in (*step.inputs, step.out)}
        before = {writer[buffer] for buffer in touched if buffer in writer}
        writer[step.out.buffer] = number
        waits[number] = len(before)
        for other in before:
            readers[other].append(number)
    return waits, readers


def _latest(readers: Sequence[Sequence[int]], kinds: list[Kind | None]) -> list[int]:
    """Return each step's latest level; steps that cannot wait lose their kind."""
    early = [0] * len(readers)
    for number, others in enumerate(readers):
        for reader in others:
            early[reader] = max(early[reader], early[number] + 1)
    late = [max(early, default=0)] * len(readers)
    for number in reversed(range(len(readers))):
        for reader in readers[number]:
            late[number] = min(late[number], late[reader] - 1)
        if late[number] - early[number] < _SLACK:
            kinds[number] = None
    return late
