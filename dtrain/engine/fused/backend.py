"""The fused backend: pieces of a plan as native kernels, the rest as NumPy's calls."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.fused.form import form_of
from dtrain.engine.fused.kernels import loaded
from dtrain.engine.fused.regions import Piece, fused
from dtrain.engine.numpy_backend import Array, BoundPlan, Call
from dtrain.engine.plan import Plan, Step, View
from dtrain.errors import UsageError

_Reader = tuple[NDArray[np.int64], NDArray[np.intp]]
"""Arguments of kernels, and which of them are addresses in a buffer."""


class _Loan:
    """An input that native code alone reads, so that it need not be copied.

    Args:
        own: the plan's memory for it.
        readers: what has addresses in this memory.
    """

    def __init__(self, own: Array, readers: Sequence[_Reader]) -> None:
        self._own = own
        self._readers = readers
        self._row = own.nbytes // (own.shape[0] * own.shape[1])  # bytes
        self._at = self._home = _start(own)
        self._column: Array | None = None
        self._first = 0

    def move(self, column: Array, rows: Any) -> bool:
        """Let readers go to rows of a column, or home if these are not as they need."""
        if column is not self._column:
            self._column, self._first = column, _start(column)
        fits = (
            isinstance(rows, slice)
            and column.dtype == self._own.dtype
            and column.flags.c_contiguous
        )
        at = self._first + rows.start * self._row if fits else self._home
        if at != self._at:
            for arguments, places in self._readers:
                arguments[places] += at - self._at
            self._at = at
        return fits


def _start(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


class FusedPlan(BoundPlan):
    """A plan with memory, of which pieces run as native code."""

    arranged = staticmethod(fused)

    @staticmethod
    def check() -> None:
        """Refuse to be chosen where LLVM is not installed.

        Raises:
            UsageError: saying how to install it.
        """
        if find_spec("llvmlite") is None:
            raise UsageError(
                "backend 'fused' needs llvmlite, which is not installed; "
                "pip install 'dtrain[fast]'"
            )

    def __init__(self, plan: Plan, weights: Array, slots: Array) -> None:
        pieces = [x for x in (*plan.once, *plan.steps) if isinstance(x, Piece)]
        real = weights.dtype.name
        self._formed = {id(piece): form_of(plan, piece, real) for piece in pieces}
        self._run, self._kernels = loaded([form for form, _ in self._formed.values()])
        self._tapes: list[NDArray[np.int64]] = []  # what native code reads
        self._readers: dict[int, list[_Reader]] = {}  # by buffer
        super().__init__(plan, weights, slots)
        elsewhere = {view.buffer for view in plan.outputs.values()}
        for step in (*plan.once, *plan.steps):
            if not isinstance(step, Piece):
                elsewhere.update(view.buffer for view in step.inputs)
        self._loans = {
            name: _Loan(self.inputs[name], self._readers.get(view.buffer, []))
            for name, view in plan.inputs.items()
            if view.buffer not in elsewhere
        }

    def lend(self, name: str, column: Array, rows: Any) -> bool:
        """Read an input where its column is, if it has the form of a block."""
        loan = self._loans.get(name)
        return loan is not None and loan.move(column, rows)

    def _bind(self, steps: Sequence[Step]) -> list[Call]:
        calls: list[Call] = []
        for native, run in groupby(steps, lambda step: isinstance(step, Piece)):
            if native:
                calls.append(self._tape(list(run)))
            else:
                calls += (call for step in run for call in self._calls(step))
        return calls

    def _tape(self, pieces: Sequence[Step]) -> Call:
        """One native call that runs pieces, one after another."""
        formed = [self._formed[id(piece)] for piece in pieces]
        words: list[int] = []
        starts = []
        views: dict[int, list[int]] = {}
        for _, arguments in formed:
            starts.append(8 * len(words))
            for each in arguments:
                if isinstance(each, View):
                    views.setdefault(each.buffer, []).append(len(words))
                words.append(each if isinstance(each, int) else self._address(each))
        block = np.array(words, np.int64)
        for buffer, places in views.items():
            self._readers.setdefault(buffer, []).append((block, np.array(places)))
        tape = np.empty((len(pieces), 2), np.int64)
        tape[:, 0] = [self._kernels[form] for form, _ in formed]
        tape[:, 1] = block.ctypes.data + np.array(starts)
        self._tapes += [block, tape]
        return self._run, (tape.ctypes.data, len(tape))

    def _address(self, view: View) -> int:
        memory = self._memory[view.buffer]
        return _start(memory) + view.offset * memory.itemsize
