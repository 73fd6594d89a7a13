"""Placing a plan's buffers in one piece of memory, by how long each is needed.

A buffer's place is free again after the last step that uses it, and an elementwise step
may write over an input that nobody needs afterwards. So what was just read is written
next, while it is in the cache, and memory does not grow with the number of steps.

When a step is surely done, its schedule says. Where tasks run at once, a place goes to
another buffer only if all that used it are done, in this order or by the tasks' own,
before the first that uses the other. So sharing memory adds nothing to wait for.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

from dtrain.engine.execution.models import Model, Phase, Schedule
from dtrain.engine.plans.plan import Plan, Step, View
from dtrain.functions.base import FUNCTIONS

ALIGNMENT = 64  # bytes, a cache line
_WASTE = 2  # a freed place serves buffers down to this fraction of it
_TRIED = 16  # free places of one size that are tried
_FOREVER = 1 << 62

# Kernels that may write over an input of the output's own layout. `select` may not: it
# writes its output before it has read all.
IN_PLACE = {name for name, f in FUNCTIONS.items() if f.elementwise} | {
    "drop",
    "fused",
    "keep",
    "sigmoid",
}


class Arena:
    """Where each buffer of a plan lies.

    Args:
        plan: the plan.
        schedule: when its steps run; by default one after another.

    Attributes:
        offsets: the first byte of each buffer; ``None`` for memory of others.
        size: how many bytes there are in all.
    """

    def __init__(self, plan: Plan, schedule: Schedule | None = None) -> None:
        self._plan = plan
        self._order = _Order(plan, schedule or Model().schedule(plan))
        self.offsets: list[int | None] = [None] * len(plan.buffers)
        self.size = 0
        self._lengths: dict[int, int] = {}  # of the places that buffers have taken
        self._free: dict[int, list[int]] = {}  # last users by size, last freed on top
        self._sizes: list[int] = []  # the sizes of free places, sorted
        self._place_all()

    def _place_all(self) -> None:
        plan, order = self._plan, self._order
        last = self._last_uses(order.steps)
        for view, _ in plan.constants:
            self._take(view.buffer)
        ending: dict[int, list[int]] = {}
        for buffer, end in enumerate(last):
            ending.setdefault(end, []).append(buffer)
        for number, step in enumerate(order.steps):
            if number == len(plan.once):  # inputs are filled before each run
                for view in plan.inputs.values():
                    self._take(view.buffer)
            reused: set[int] = set()
            for out in step.outs:
                if self._external(out.buffer) or self.offsets[out.buffer] is not None:
                    continue
                over = self._overwritten(step, out, number, last, reused)
                if over is None:
                    self._take(out.buffer)
                else:
                    reused.add(over)
                    self.offsets[out.buffer] = self.offsets[over]
                    self._lengths[out.buffer] = self._lengths[over]
            for done in ending.get(number, ()):
                if done not in reused:
                    self._release(done)
        for buffer in range(len(plan.buffers)):  # inputs that no step reads
            if self.offsets[buffer] is None and not self._external(buffer):
                self._take(buffer)

    def _last_uses(self, steps: Iterable[Step]) -> list[int]:
        """Return the last step that reads or writes each buffer."""
        plan = self._plan
        last = [-1] * len(plan.buffers)
        for number, step in enumerate(steps):
            for view in (*step.inputs, *step.outs):
                last[view.buffer] = number
        kept: list[View] = [view for view, _ in plan.constants]
        kept += plan.outputs.values()
        for view in kept:
            last[view.buffer] = _FOREVER
        for step in plan.once:  # what every block reads must outlive each run
            for out in step.outs:
                if last[out.buffer] >= len(plan.once):
                    last[out.buffer] = _FOREVER
        return last

    def _overwritten(
        self, step: Step, out: View, number: int, last: list[int], taken: set[int]
    ) -> int | None:
        """Return the input whose place an output of the step takes, if there is one."""
        if step.kernel not in IN_PLACE:
            return None
        buffers = self._plan.buffers
        for view in step.inputs:
            if (
                last[view.buffer] == number
                and view.buffer not in taken
                and all(view.buffer != other.buffer for other in step.outs)
                and not self._external(view.buffer)
                and view.shape == out.shape
                and view.strides == out.strides
                and view.offset == out.offset
                and buffers[view.buffer] == buffers[out.buffer]
                and self._order.follows(out.buffer, view.buffer)
                and all(
                    other == view
                    for other in step.inputs
                    if other.buffer == view.buffer
                )
            ):
                return view.buffer
        return None

    def _external(self, buffer: int) -> bool:
        return self._plan.buffers[buffer].external is not None

    def _bytes(self, buffer: int) -> int:
        need = self._plan.buffers[buffer]
        return -(-need.size * need.dtype.itemsize // ALIGNMENT) * ALIGNMENT

    def _take(self, buffer: int) -> None:
        """Give a buffer the smallest free place that fits well, or a new one."""
        need = self._bytes(buffer)
        at = bisect_left(self._sizes, need)
        while at < len(self._sizes) and self._sizes[at] <= _WASTE * need:
            size = self._sizes[at]
            users = self._free[size]
            for i in range(len(users) - 1, max(len(users) - 1 - _TRIED, -1), -1):
                if self._order.follows(buffer, users[i]):
                    self.offsets[buffer] = self.offsets[users.pop(i)]
                    self._lengths[buffer] = size
                    if not users:
                        del self._free[size], self._sizes[at]
                    return
            at += 1
        self.offsets[buffer], self._lengths[buffer] = self.size, need
        self.size += need

    def _release(self, buffer: int) -> None:
        if self.offsets[buffer] is None:
            return
        size = self._lengths[buffer]
        if size not in self._free:
            self._free[size] = []
            insort(self._sizes, size)
        self._free[size].append(buffer)


class _Order:
    """What is surely done before what, however the tasks of a phase are run.

    Tasks are bits of a number. A buffer that is used in later phases alone follows; in
    one phase it does if each of its tasks is, or comes after, every one of the other's.

    Attributes:
        steps: all steps, as one thread may run them.
    """

    def __init__(self, plan: Plan, schedule: Schedule) -> None:
        self.steps: list[Step] = []
        # Of each buffer: the first phase that uses it, and what all its tasks there
        # come after; the last phase, and its tasks there.
        self._begins: dict[int, tuple[int, int]] = {}
        self._ends: dict[int, tuple[int, int]] = {}
        parts = [(plan.once, phase) for phase in schedule.once]
        parts += [(plan.steps, phase) for phase in schedule.steps]
        self._at_once = any(len(phase) > 1 for _, phase in parts)
        for number, (steps, phase) in enumerate(parts):
            self.steps += (steps[i] for i in sorted(i for t in phase for i in t.steps))
            if self._at_once:
                self._enter(number, steps, phase)

    def follows(self, later: int, earlier: int) -> bool:
        """Return whether a buffer's first use surely comes after another's last.

        Of two that one task uses, its steps' order tells, which the caller knows.
        """
        if not self._at_once:
            return True
        begin, before = self._begins.get(later, (0, 0))
        end, users = self._ends.get(earlier, (-1, 0))
        return end < begin or (end == begin and not users & ~before)

    def _enter(self, number: int, steps: Sequence[Step], phase: Phase) -> None:
        before: list[int] = []  # the tasks that are done, and the task itself
        home: dict[int, int] = {}
        for at, task in enumerate(phase):
            before.append(1 << at)
            for other in task.after:
                before[at] |= before[other]
            home.update((step, at) for step in task.steps)
        for i in sorted(home):
            at = home[i]
            for view in (*steps[i].inputs, *steps[i].outs):
                begin, done = self._begins.get(view.buffer, (number, -1))
                if begin == number:
                    self._begins[view.buffer] = number, done & before[at]
                end, users = self._ends.get(view.buffer, (number, 0))
                users = users if end == number else 0
                self._ends[view.buffer] = number, users | 1 << at
