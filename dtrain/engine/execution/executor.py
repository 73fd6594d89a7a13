"""Run bound phases: the calls of each task, by one thread or by several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock
from typing import Any

from dtrain.engine.execution.models import Phase
from dtrain.engine.execution.pool import Pool

Call = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True)
class BoundPhase:
    """A phase with its tasks' calls.

    Attributes:
        tasks: the calls of each task.
        waits: the number of tasks that each task waits for.
        readers: the tasks that wait for each task.
    """

    tasks: list[list[Call]]
    waits: list[int]
    readers: list[list[int]]

    @classmethod
    def of(cls, phase: Phase, tasks: Sequence[list[Call]]) -> BoundPhase:
        """Return a phase with the calls of its tasks."""
        readers: list[list[int]] = [[] for _ in phase]
        for number, task in enumerate(phase):
            for other in task.after:
                readers[other].append(number)
        return cls(list(tasks), [len(task.after) for task in phase], readers)


def execute(phases: Sequence[BoundPhase], pool: Pool) -> None:
    """Run all phases; a pool's threads run phases of several tasks.

    Raises:
        BaseException: the first exception of a call. No call is running any more then.
    """
    for phase in phases:
        if len(phase.tasks) == 1:
            for function, args in phase.tasks[0]:
                function(*args)
        else:
            pool.together(_Firing(phase, pool.size), min(pool.size, len(phase.tasks)))


class _Firing:
    """One run of a phase: the tasks that are ready, and the number not yet done."""

    def __init__(self, phase: BoundPhase, threads: int) -> None:
        self._phase = phase
        self._threads = threads
        self._ready: SimpleQueue[int | None] = SimpleQueue()
        self._lock = Lock()
        self._waits = list(phase.waits)
        self._left = len(phase.tasks)
        for number, waits in enumerate(phase.waits):
            if not waits:
                self._ready.put(number)

    def __call__(self) -> None:
        """Run tasks until all are done or one has failed."""
        try:
            while (number := self._ready.get()) is not None:
                self._run(number)
        except BaseException:
            self._end()
            raise

    def _run(self, number: int | None) -> None:
        """Run a task, then the first of those that waited only for it, and so on."""
        while number is not None:
            for function, args in self._phase.tasks[number]:
                function(*args)
            fired = self._done(number)
            number = fired.pop(0) if fired else None
            for other in fired:
                self._ready.put(other)

    def _done(self, number: int) -> list[int]:
        """Record that a task is done; return the tasks that are now ready."""
        fired = []
        with self._lock:
            for reader in self._phase.readers[number]:
                self._waits[reader] -= 1
                if not self._waits[reader]:
                    fired.append(reader)
            self._left -= 1
            if not self._left:
                self._end()
        return fired

    def _end(self) -> None:
        """Let every thread return."""
        for _ in range(self._threads):
            self._ready.put(None)
