"""The fused backend: native kernels for pieces of a plan, NumPy for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.execution.executor import BoundPhase, Call
from dtrain.engine.execution.masks import with_masks
from dtrain.engine.execution.models import Model, Phase
from dtrain.engine.execution.numpy_backend import Array, BoundPlan
from dtrain.engine.fused.form import Form, form_of
from dtrain.engine.fused.kernels import loaded
from dtrain.engine.fused.regions import Piece, fused
from dtrain.engine.plans.plan import Plan, Step, View
from dtrain.errors import UsageError

_Reader = tuple[NDArray[np.int64], NDArray[np.intp]]
"""An array of kernel arguments, and the indices of addresses in one buffer."""


class _Loan:
    """An input that only native code reads, so that its rows need not be copied.

    Args:
        home: the plan's memory for it, shape (stack, block, ...).
        readers: the kernel arguments that are addresses in this memory.
    """

    def __init__(self, home: Array, readers: Sequence[_Reader]) -> None:
        self._home = home
        self._readers = readers
        self._row = home.nbytes // (home.shape[0] * home.shape[1])  # bytes
        self._home_address = self._address = _start(home)  # read now: `_address`
        self._column: Array | None = None
        self._rows = 0  # of the column; 0 if it must be copied
        self._first = 0  # the address of the column

    def move(self, column: Array, rows: Any) -> bool:
        """Let the readers read rows of a column, or ``home`` if those must be copied.

        Returns:
            Whether the readers read the column.
        """
        if column is not self._column:
            self._enter(column)
        fits = isinstance(rows, slice) and rows.stop <= self._rows
        address = self._home_address
        if fits:
            address = self._first + rows.start * self._row
        if address != self._address:
            for arguments, indices in self._readers:
                arguments[indices] += address - self._address
            self._address = address
        return fits

    def release(self) -> None:
        """Drop the reference to the column."""
        self._column = None

    def _enter(self, column: Array) -> None:
        fits = (
            column.dtype == self._home.dtype
            and column.flags.c_contiguous
            and column.shape[1:] == self._home.shape[2:]
        )
        self._column, self._first = column, _start(column)
        self._rows = len(column) if fits else 0


def _start(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


class FusedPlan(BoundPlan):
    """A plan with memory, pieces of which run as native code."""

    @staticmethod
    def check() -> None:
        """Raise an error if LLVM is not installed.

        Raises:
            UsageError: with the command that installs it.
        """
        if find_spec("llvmlite") is None:
            raise UsageError(
                "backend 'fused' needs llvmlite, which is not installed; "
                "pip install 'dtrain[fast]'"
            )

    @classmethod
    def arranged(cls, plan: Plan) -> Plan:
        """Return the plan with pieces."""
        return with_masks(fused(plan))

    @classmethod
    def load(cls, plan: Plan, model: Model) -> tuple[int, int]:
        """Return the same for the values that are not kept in registers."""
        return super().load(fused(plan), model)

    @classmethod
    def calls(cls, plan: Plan) -> int:
        """Return the same, with consecutive pieces counted as one call."""
        native = (isinstance(step, Piece) for step in plan.steps)
        return sum(1 if one else len(list(run)) for one, run in groupby(native))

    def __init__(
        self, plan: Plan, weights: Array, slots: Array, model: Model | None = None
    ) -> None:
        self._real = weights.dtype.name
        self._formed: dict[int, tuple[Form, list[View | int]]] = {}  # pieces, by step
        self._tapes: list[NDArray[np.int64]] = []  # kept for native code
        self._readers: dict[int, list[_Reader]] = {}  # by buffer
        self._elsewhere: set[int] = set()  # the buffers that NumPy reads
        super().__init__(plan, weights, slots, model)
        self._elsewhere.update(view.buffer for view in plan.outputs.values())
        self._loans = {
            name: _Loan(self.inputs[name], self._readers.get(view.buffer, []))
            for name, view in plan.inputs.items()
            if view.buffer not in self._elsewhere
        }

    def lend(self, name: str, column: Array, rows: Any) -> bool:
        """Read an input directly from rows of a column, if it is laid out as a block.

        That is a C-contiguous column of the input's dtype, and a slice of its rows.
        """
        loan = self._loans.get(name)
        return loan is not None and loan.move(column, rows)

    def release(self) -> None:
        """Drop references to the columns that inputs were read from."""
        for loan in self._loans.values():
            loan.release()

    def _bind(self, steps: Sequence[Step], phases: Sequence[Phase]) -> list[BoundPhase]:
        dtypes = [memory.dtype for memory in self._memory]
        self._formed = {
            number: form_of(step, dtypes, self._real)
            for number, step in enumerate(steps)
            if isinstance(step, Piece)
        }
        if self._formed:
            loaded([form for form, _ in self._formed.values()])  # compiled together
        return super()._bind(steps, phases)

    def _task(self, steps: Sequence[Step], numbers: Sequence[int]) -> list[Call]:
        """Return a task's calls: one for each run of pieces, and those of other steps.

        Native code releases the GIL, as NumPy's loops do.
        """
        calls: list[Call] = []
        for native, run in groupby(numbers, self._formed.__contains__):
            if native:
                forms, words = zip(
                    *(self._formed[number] for number in run), strict=True
                )
                driver, kernels = loaded(forms)
                block, starts = self._arguments(words)
                tape = np.empty((len(forms), 2), np.int64)
                tape[:, 0] = [kernels[form] for form in forms]
                tape[:, 1] = starts
                self._tapes += [block, tape]
                calls.append((driver, (tape.ctypes.data, len(tape))))
            else:
                for number in run:
                    step = steps[number]
                    self._elsewhere.update(view.buffer for view in step.inputs)
                    calls += self._calls(step)
        return calls

    def _arguments(
        self, arguments: Sequence[Sequence[View | int]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all kernels' arguments in one array, and the address of each's."""
        words: list[int] = []
        starts: list[int] = []
        views: dict[int, list[int]] = {}
        for each in arguments:
            starts.append(len(words))
            for word in each:
                if isinstance(word, View):
                    views.setdefault(word.buffer, []).append(len(words))
                words.append(word if isinstance(word, int) else self._address(word))
        block = np.array(words, np.int64)
        for buffer, indices in views.items():
            self._readers.setdefault(buffer, []).append((block, np.array(indices)))
        return block, _start(block) + block.itemsize * np.array(starts, np.int64)

    def _address(self, view: View) -> int:
        memory = self._memory[view.buffer]
        return _start(memory) + view.offset * memory.itemsize
