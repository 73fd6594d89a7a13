"""The fused backend: pieces of a plan as native kernels, the rest as NumPy's calls."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.fused.form import form_of
from dtrain.engine.fused.kernels import loaded
from dtrain.engine.fused.regions import Piece, fused
from dtrain.engine.numpy_backend import Array, BoundPlan, Call
from dtrain.engine.plan import Plan, Step, View
from dtrain.errors import UsageError


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
        super().__init__(plan, weights, slots)

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
        for _, arguments in formed:
            starts.append(8 * len(words))
            words += (x if isinstance(x, int) else self._address(x) for x in arguments)
        block = np.array(words, np.int64)
        tape = np.empty((len(pieces), 2), np.int64)
        tape[:, 0] = [self._kernels[form] for form, _ in formed]
        tape[:, 1] = block.ctypes.data + np.array(starts)
        self._tapes += [block, tape]
        return self._run, (tape.ctypes.data, len(tape))

    def _address(self, view: View) -> int:
        memory = self._memory[view.buffer]
        address: int = memory.__array_interface__["data"][0]
        return address + view.offset * memory.itemsize
