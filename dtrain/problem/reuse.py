"""Reuse of what was planned for an earlier call on the same program and shapes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from dtrain.data.columns import Samples
from dtrain.problem.padding import Padding
from dtrain.tracing.dependencies import Dependencies
from dtrain.tracing.trace import Program

T = TypeVar("T")


class Reuse(threading.local, Generic[T]):
    """The results of the last few set-ups of this thread, by what they were made for.

    A set-up is used again only while everything that tracing depends on is the same,
    and never for a program whose graph differs from one trace to the next.

    Args:
        most: how many results are kept.
    """

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[Dependencies, T]] = OrderedDict()

    def get(
        self,
        program: Program,
        key: Hashable,
        make: Callable[[], T],
        stable: Callable[[T], bool],
    ) -> T:
        """Return the kept result for a key, or make and keep one.

        Args:
            program: the program.
            key: what the set-up depends on besides the program.
            make: makes the result.
            stable: returns whether tracing the program again for a result gives the
                same graph.
        """
        try:
            key = (program, key)
            found = self._kept.get(key)
        except TypeError:  # something in the key cannot be hashed
            return make()
        if found is not None and found[0].unchanged():
            self._kept.move_to_end(key)
            return found[1]
        made = make()
        self._kept.pop(key, None)
        dependencies = Dependencies(program.function)
        if dependencies.known and stable(made):
            self._kept[key] = dependencies, made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made

    def clear(self) -> None:
        """Forget all results of this thread."""
        self._kept.clear()


def signature(samples: Samples) -> tuple[Any, ...]:
    """Return what a plan depends on of samples: shapes and dtypes, not values."""
    arrays = (*samples.inputs.values(), samples.target, samples.weight)
    kinds = [None if x is None else (x.shape, x.dtype.char) for x in arrays]
    if not samples.ragged:
        return tuple(kinds)
    padding = Padding.of(samples)
    return *kinds, tuple(padding.groups.items()), padding.standard
