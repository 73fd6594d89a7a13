"""The arena: place a plan's buffers in one array, by how long each is needed.

The memory of a buffer is free after the last step that uses it, and an elementwise step
may overwrite an input that no later step reads. So a step writes what was just read,
while it is in the cache, and memory does not grow with the number of steps.

The schedule tells which steps surely run before which. Where tasks run in parallel, a
buffer's memory is reused only if, by the order of phases and tasks, all its users run
before the first user of the next buffer. So reuse adds no dependences between tasks.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

from dtrain.engine.execution.models import Model, Phase, Schedule
from dtrain.engine.plans.plan import Plan, Step, View
from dtrain.functions.base import FUNCTIONS

ALIGNMENT = 64  # bytes, a cache line
_WASTE = 2  # a free block is at most so many times a buffer's size
_TRIED = 16  # free blocks of one size that are tried
_FOREVER = 1 << 62

# Kernels that may overwrite an input of the output's layout. `select` may not: it
# writes its output before it has read all inputs.
IN_PLACE = {name for name, f in FUNCTIONS.items() if f.elementwise} | {
    "drop",
    "fused",
    "keep",
    "sigmoid",
}


class Arena:
    """The offset of each buffer of a plan.

    Args:
        plan: the plan.
        schedule: the order of its steps; by default sequential.

    Attributes:
        offsets: the first byte of each buffer; ``None`` for external memory.
        size: the number of bytes of all buffers together.
    """

    def __init__(self, plan: Plan, schedule: Schedule | None = None) -> None:
        self._plan = plan
        self._order = _Order(plan, schedule or Model().schedule(plan))
        self.offsets: list[int | None] = [None] * len(plan.buffers)
        self.size = 0
        self._lengths: dict[int, int] = {}  # of the blocks that buffers are in
        self._free: dict[
            int, list[int]
        ] = {}  # last users by size, last freed at the end
        self._sizes: list[int] = []  # the sizes of free blocks, sorted
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
        """Return the number of the last step that uses each buffer."""
        plan = self._plan
        last = [-1] * len(plan.buffers)
        for number, step in enumerate(steps):
            for view in (*step.inputs, *step.outs):
                last[view.buffer] = number
        kept: list[View] = [view for view, _ in plan.constants]
        kept += plan.outputs.values()
        for view in kept:
            last[view.buffer] = _FOREVER
        for step in plan.once:  # what every block reads must stay after each run
            for out in step.outs:
                if last[out.buffer] >= len(plan.once):
                    last[out.buffer] = _FOREVER
        return last

    def _overwritten(
        self, step: Step, out: View, number: int, last: list[int], taken: set[int]
    ) -> int | None:
        """Return the input whose memory an output of the step takes, if any."""
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
        """Place a buffer in the smallest free block that fits well, or in a new one."""
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
    """Which buffers are used only after others, in any order in which tasks may run.

    Sets of tasks are bit masks. A buffer follows another if its first phase is a later
    one than the other's last phase. Within one phase, each task that uses it must be
    every task that uses the other, or come after it.

    Attributes:
        steps: all steps, in an order in which one thread may run them.
    """

    def __init__(self, plan: Plan, schedule: Schedule) -> None:
        self.steps: list[Step] = []
        # For each buffer: the first phase that uses it, and the tasks that all its
        # users there come after; the last phase that uses it, and its users there.
        self._begins: dict[int, tuple[int, int]] = {}
        self._ends: dict[int, tuple[int, int]] = {}
        parts = [(plan.once, phase) for phase in schedule.once]
        parts += [(plan.steps, phase) for phase in schedule.steps]
        self._parallel = any(len(phase) > 1 for _, phase in parts)
        for number, (steps, phase) in enumerate(parts):
            self.steps += (steps[i] for i in sorted(i for t in phase for i in t.steps))
            if self._parallel:
                self._enter(number, steps, phase)

    def follows(self, later: int, earlier: int) -> bool:
        """Return whether a buffer's first use surely comes after another's last use.

        Within one task the caller knows the order from the steps.
        """
        if not self._parallel:
            return True
        begin, before = self._begins.get(later, (0, 0))
        end, users = self._ends.get(earlier, (-1, 0))
        return end < begin or (end == begin and not users & ~before)

    def _enter(self, number: int, steps: Sequence[Step], phase: Phase) -> None:
        before: list[int] = []  # the tasks before each task, and itself
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
