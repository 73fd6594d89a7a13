"""Batching: like steps whose results are not needed soon become one step on rows.

Most of the time of a call on a small array is NumPy's call overhead, and an irregular
graph of scalars has many equal calls: slopes 1 − y², and a dot product for each weight.
Few of their results are needed soon. So the steps are reordered: each step runs as soon
as its inputs are available, except that steps needed much later are held back, kind by
kind, until no other step can run (Neubig, Goldberg and Dyer 2017, "On-the-fly operation
batching in dynamic computation graphs"; here it is done once, ahead of time). The
operands of such steps become rows of one buffer, so nothing is copied. Each row is
computed as it would be alone: no bits change.
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
# An input of more than _SMALL bytes is not batched; a batch has at most _BATCH bytes,
# so that it stays in a core's first-level cache.
_SMALL, _BATCH = 8 << 10, 32 << 10
_SLACK = 16  # steps of the longest path between a step's earliest and latest time

Kind = tuple[object, ...]


def batched(plan: Plan) -> Plan:
    """Return a plan with fewer steps and the same results.

    Return the plan itself if no steps can be joined.
    """
    return _Batching(plan).result()


class _Batching:
    """The state of the pass: the new order, and the new positions of buffers."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._buffers = list(plan.buffers)
        self._steps = [each for step in plan.steps for each in self._apart(step)]
        self._homes: dict[int, tuple[int, int]] = {}  # a buffer's batch, and its row
        written = Counter(step.out.buffer for step in self._steps)
        self._movable = {
            step.out.buffer
            for step in self._steps
            if written[step.out.buffer] == 1 and self._whole(step.out)
        }
        self._emitted: list[Step] = []
        self._schedule()

    def result(self) -> Plan:
        """Return the plan with the joined buffers replaced by rows of batches."""
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
        """Split a dot product into a slot into a movable dot product and a copy."""
        slots = self._buffers[step.out.buffer]
        if step.kernel != "vecdot" or slots.external is None:
            return [step]
        shape = step.out.shape
        self._buffers.append(Buffer(math.prod(shape), slots.dtype))
        own = View(len(self._buffers) - 1, 0, shape, contiguous(shape))
        return [replace(step, out=own), Step("copy", (own,), step.out)]

    def _whole(self, view: View) -> bool:
        """Return whether a view is all of a buffer that the plan allocates."""
        buffer = self._buffers[view.buffer]
        return (
            buffer.external is None
            and view.strides == contiguous(view.shape)
            and math.prod(view.shape) == buffer.size
        )

    def _kind(self, step: Step) -> Kind | None:
        """Return the key that joined steps share; ``None`` for one that stays alone."""
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
        """Return the buffers that a step reads, except those of single numbers."""
        return [view.buffer for view in step.inputs if view.shape != ()]

    def _schedule(self) -> None:
        """Emit all steps: the lowest number first; join those that can wait."""
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
            else:  # the kind that is needed first, judged by its last member
                kind = min(waiting, key=lambda kind: late[waiting[kind][-1]])
                numbers = waiting.pop(kind)
                self._join([self._steps[number] for number in numbers])
            for reader in (i for number in numbers for i in readers[number]):
                waits[reader] -= 1
                if not waits[reader]:
                    ready([reader])

    def _join(self, steps: Sequence[Step]) -> None:
        """Emit steps of one kind, joining as many as can become rows.

        For each operand, the steps' buffers must already be consecutive rows of one
        batch, or not yet be in any.
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
        """Return the view of ``count`` rows, given the view of the first."""
        batch, row = self._homes[first.buffer]
        shape = (count, *first.shape)
        offset = row * self._buffers[first.buffer].size
        return View(batch, offset, shape, contiguous(shape))


def _dependencies(steps: Sequence[Step]) -> tuple[list[int], list[list[int]]]:
    """Return how many steps each step waits for, and which steps wait for it.

    A step waits for the last writers of the buffers that it reads or writes. No step
    writes a buffer after another has read it, except the steps of one sum, which read
    what they write.
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
    """Return the latest time of each step; clear the kind of urgent steps.

    Times count steps along the longest path. A step with little slack is urgent.
    """
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
