"""Execution models: orders in which a plan's calls may run, all with one result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dtrain.engine.numpy_backend import Call


def sequential(calls: Sequence[Call]) -> None:
    """One call after another, in the plan's order (lecture, "Execution models")."""
    for function, args in calls:
        function(*args)


EXECUTIONS: dict[str, Callable[[Sequence[Call]], None]] = {"sequential": sequential}
