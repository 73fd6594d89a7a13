"""Execution models: orders in which a plan's steps may run, all with one result.

A model makes a schedule: phases that run one after another. A phase has tasks that may
run in parallel, and a task has steps in the plan's order. A task is ready when the
tasks it waits for are done. Where threads would save less than they cost, by an
estimate of run times, a phase is one task:

- ``sequential``: one task of all steps;
- ``levels``: a phase for each level of the graph, with its steps in parallel;
- ``dataflow``: a phase for many steps, in tasks that wait for one another.

All models have the same result, because a step computes the same bits whenever it runs
(lecture, "Execution models").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from dtrain.engine.execution.cost import seconds
from dtrain.engine.plans.dependences import Dependences, dependences
from dtrain.engine.plans.plan import Plan, Step

_HANDOFF = 50e-6  # seconds to wake a thread and to wait for it
_GRAIN = 50e-6  # the least seconds that a task should take
_FENCE = 512  # tasks in a phase; bounds the bit masks of their order


@dataclass(frozen=True)
class Task:
    """Steps that one thread runs.

    Attributes:
        steps: their numbers, ascending.
        after: the earlier tasks of the same phase that it waits for.
    """

    steps: tuple[int, ...]
    after: tuple[int, ...] = ()


Phase = list[Task]


@dataclass(frozen=True)
class Schedule:
    """The order of a plan's steps.

    Attributes:
        once: the phases of the steps that depend on weights only.
        steps: the phases of the steps that run for every block.
    """

    once: list[Phase]
    steps: list[Phase]


class Model:
    """An execution model for a number of threads."""

    def __init__(self, name: str = "sequential", threads: int = 1) -> None:
        self.threads = threads if EXECUTIONS[name] is not sequential else 1
        self._phases = EXECUTIONS[name]

    def schedule(self, plan: Plan) -> Schedule:
        """Return the order of a plan's steps."""
        return Schedule(
            *(
                self._phases(plan, steps, self.threads)
                if self.threads > 1
                else sequential(plan, steps, 1)
                for steps in (plan.once, plan.steps)
            )
        )


def sequential(plan: Plan, steps: Sequence[Step], threads: int) -> list[Phase]:
    """Run one step after another, in the plan's order."""
    del plan, threads
    return [[Task(tuple(range(len(steps))))]] if steps else []


def levels(plan: Plan, steps: Sequence[Step], threads: int) -> list[Phase]:
    """Run all steps of a level in parallel: none of them depends on another.

    Consecutive levels that threads would not speed up are one task.
    """
    before = dependences(plan, steps)
    level: list[int] = []
    for earlier in before:
        level.append(1 + max((level[i] for i in earlier), default=-1))
    members: list[list[int]] = [[] for _ in range(1 + max(level, default=-1))]
    for number, at in enumerate(level):
        members[at].append(number)
    costs = list(map(seconds, steps))
    tasks = [_apart(numbers, costs) for numbers in members]

    def wide(level: Phase) -> bool:
        taken = [sum(costs[i] for i in task.steps) for task in level]
        return _gains(taken, max(taken), threads)

    phases: list[Phase] = []
    for apart, run in groupby(tasks, wide):
        if apart:
            phases += run
        else:
            numbers = (i for level in run for task in level for i in task.steps)
            phases.append([Task(tuple(sorted(numbers)))])
    return phases


def _gains(tasks: Sequence[float], longest_path: float, threads: int) -> bool:
    """Return whether threads save more time than handing over all tasks may take."""
    least = max(sum(tasks) / threads, longest_path)
    return sum(tasks) - least > _HANDOFF * (1 + len(tasks))


def _apart(numbers: Sequence[int], costs: Sequence[float]) -> Phase:
    """Distribute independent steps over tasks: long steps first, short ones joined."""
    tasks: list[list[int]] = [[]]
    taken = 0.0
    for number in sorted(numbers, key=lambda i: -costs[i]):
        if taken >= _GRAIN:
            tasks.append([])
            taken = 0.0
        tasks[-1].append(number)
        taken += costs[number]
    return [Task(tuple(sorted(task))) for task in tasks]


def dataflow(plan: Plan, steps: Sequence[Step], threads: int) -> list[Phase]:
    """Run each step when its inputs are ready; short ones are joined to one task.

    The plan is cut into stretches that take long enough to be worth a thread. Connected
    steps of a stretch are one task; unconnected ones stay independent.
    """
    before = dependences(plan, steps)
    costs = list(map(seconds, steps))
    phases: list[Phase] = []
    made: list[list[int]] = []
    for stretch in _stretches(costs):
        made += _parts(stretch, before, costs)
        if len(made) >= _FENCE:
            phases += _flow(made, before, costs, threads)
            made = []
    return phases + _flow(made, before, costs, threads)


def _stretches(costs: Sequence[float]) -> list[range]:
    """Return ranges of step numbers, each of which takes at least the grain."""
    found = []
    start, taken = 0, 0.0
    for number, cost in enumerate(costs):
        taken += cost
        if taken >= _GRAIN:
            found.append(range(start, number + 1))
            start, taken = number + 1, 0.0
    if start < len(costs):
        found.append(range(start, len(costs)))
    return found


def _parts(
    stretch: range, before: Dependences, costs: Sequence[float]
) -> list[list[int]]:
    """Return the connected parts of a stretch, with all short parts merged."""
    part: dict[int, list[int]] = {}
    for number in stretch:
        joined = [number]
        for other in before[number]:
            if other in part and part[other] is not joined:
                one, joined = sorted((part[other], joined), key=len)
                joined += one
                part.update((i, joined) for i in one)
        part[number] = joined
    parts = {id(each): each for each in part.values()}.values()
    large, small = [], []
    for each in parts:
        if sum(costs[i] for i in each) >= _GRAIN / 4:
            large.append(sorted(each))
        else:
            small += each
    return [*large, sorted(small)] if small else large


def _flow(
    tasks: Sequence[Sequence[int]],
    before: Dependences,
    costs: Sequence[float],
    threads: int,
) -> list[Phase]:
    """Return a phase of tasks with their order, or of one task if that is as fast."""
    if not tasks:
        return []
    home = {number: at for at, task in enumerate(tasks) for number in task}
    after = [
        sorted({home[i] for number in task for i in before[number] if i in home} - {at})
        for at, task in enumerate(tasks)
    ]
    taken = [sum(costs[i] for i in task) for task in tasks]
    done: list[float] = []
    for cost, waits in zip(taken, after, strict=True):
        done.append(cost + max((done[i] for i in waits), default=0.0))
    if not _gains(taken, max(done), threads):
        return [[Task(tuple(sorted(home)))]]
    pairs = zip(tasks, after, strict=True)
    return [[Task(tuple(task), tuple(waits)) for task, waits in pairs]]


EXECUTIONS: dict[str, Callable[[Plan, Sequence[Step], int], list[Phase]]] = {
    "sequential": sequential,
    "levels": levels,
    "dataflow": dataflow,
}
