"""The reference backend: a plan as a list of NumPy calls on existing arrays.

Binding allocates every buffer and turns each step into calls of NumPy functions on
arrays that exist already. Running a task is ``for f, args in calls: f(*args)``: no
look-ups, no shape checks, no new arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dtrain.engine.execution import indexing, linear, masks
from dtrain.engine.execution.arena import ALIGNMENT, Arena
from dtrain.engine.execution.executor import BoundPhase, Call
from dtrain.engine.execution.models import Model, Phase
from dtrain.engine.plans.batching import batched
from dtrain.engine.plans.plan import Plan, Step, View
from dtrain.errors import ProgramError
from dtrain.functions import fourier, linalg
from dtrain.functions.base import FUNCTIONS

_CACHED = 64 << 10  # bytes: about the size of a core's first-level cache

Array = NDArray[Any]


class BoundPlan:
    """A plan with memory and a schedule.

    Args:
        plan: the plan.
        weights: the weights, flat.
        slots: the memory for the derivatives, flat.
        model: the execution model; by default sequential.

    Attributes:
        inputs: arrays to fill before a run, by name.
        outputs: arrays to read after it, by name.
        once: phases to run after the weights have changed.
        phases: phases to run for every block.
    """

    @staticmethod
    def check() -> None:
        """Raise a UsageError if a package that the backend needs is not installed."""

    @classmethod
    def arranged(cls, plan: Plan) -> Plan:
        """Return the plan as this backend runs it."""
        return masks.with_masks(batched(plan))

    @classmethod
    def load(cls, plan: Plan, model: Model) -> tuple[int, int]:
        """Return the bytes of a plan's buffers, and the bytes that a call touches."""
        memory = Arena(plan, model.schedule(plan)).size
        return memory, plan.touched // max(cls.calls(plan), 1)

    @classmethod
    def calls(cls, plan: Plan) -> int:
        """Return the number of calls from Python that a plan's steps take."""
        return len(plan.steps)

    def __init__(
        self, plan: Plan, weights: Array, slots: Array, model: Model | None = None
    ) -> None:
        plan = self.arranged(plan)
        schedule = (model or Model()).schedule(plan)
        arena = Arena(plan, schedule)
        self._memory = _memory(plan, arena, {"weights": weights, "slots": slots})
        self.inputs = {name: self._array(view) for name, view in plan.inputs.items()}
        self.outputs = {name: self._array(view) for name, view in plan.outputs.items()}
        for view, value in plan.constants:
            self._array(view)[...] = value
        self.once = self._bind(plan.once, schedule.once)
        self.phases = self._bind(plan.steps, schedule.steps)

    def lend(self, name: str, column: Array, rows: Any) -> bool:
        """Read an input directly from rows of a column; return whether that works.

        If not, the caller must copy the rows to ``inputs[name]``.
        """
        del name, column, rows
        return False

    def release(self) -> None:
        """Drop references to the columns that inputs were read from."""

    def _array(self, view: View) -> Array:
        """Return the array that a view stands for."""
        memory = self._memory[view.buffer]
        size = memory.itemsize
        return np.ndarray(
            view.shape,
            memory.dtype,
            memory,
            view.offset * size,
            tuple(stride * size for stride in view.strides),
        )

    def _bind(self, steps: Sequence[Step], phases: Sequence[Phase]) -> list[BoundPhase]:
        return [
            BoundPhase.of(phase, [self._task(steps, task.steps) for task in phase])
            for phase in phases
        ]

    def _task(self, steps: Sequence[Step], numbers: Sequence[int]) -> list[Call]:
        """Return the calls of a task's steps."""
        return [call for number in numbers for call in self._calls(steps[number])]

    def _calls(self, step: Step) -> list[Call]:
        """Return a step as calls of NumPy."""
        views = (*step.inputs, step.out, *step.scratch)
        return KERNELS[step.kernel](*map(self._array, views), *step.params)


def _memory(plan: Plan, arena: Arena, external: dict[str, Array]) -> list[Array]:
    """Return the memory of every buffer: a part of one array, or external memory."""
    raw = np.zeros(arena.size + ALIGNMENT, np.uint8)
    aligned = raw[-raw.ctypes.data % ALIGNMENT :]
    memory = []
    for buffer, start in zip(plan.buffers, arena.offsets, strict=True):
        if buffer.external is not None:
            memory.append(external[buffer.external])
        else:
            assert start is not None  # noqa: S101  (the arena has all others)
            stop = start + buffer.size * buffer.dtype.itemsize
            memory.append(aligned[start:stop].view(buffer.dtype))
    return memory


def _ufunc(ufunc: np.ufunc) -> Callable[..., list[Call]]:
    if ufunc in (np.maximum, np.minimum):  # these deprecate a positional `out`
        return lambda a, b, out: [(partial(ufunc, a, b, out=out), ())]
    return lambda *arrays: [(ufunc, arrays)]


def _copy(x: Array, out: Array) -> list[Call]:
    """Return calls that copy; a large transposed array in strips a cache line wide.

    Elements of one column that are a power of 2 apart share few sets of the cache:
    transposing 1024 × 1024 float32 by one call takes fifteen times as long.
    """
    strip = ALIGNMENT // x.itemsize
    transposed = (
        x.ndim > 1 and x.shape == out.shape and x.strides[-1] > x.strides[-2] > 0
    )
    if not transposed or x.nbytes <= _CACHED:
        return [(np.copyto, (out, x))]
    starts = range(0, x.shape[-1], strip)
    parts = [(..., slice(start, start + strip)) for start in starts]
    return [(np.copyto, (out[part], x[part])) for part in parts]


def _sigmoid(x: Array, out: Array) -> list[Call]:
    one = np.ones((), out.dtype)
    return [
        (np.negative, (x, out)),
        (np.exp, (out, out)),
        (np.add, (out, one, out)),
        (np.reciprocal, (out, out)),
    ]


def _choose(condition: Array, a: Array, b: Array, out: Array) -> list[Call]:
    return [
        (np.copyto, (out, b)),
        (partial(np.copyto, where=condition), (out, a)),
    ]


def _take(x: Array, out: Array, at: Array) -> list[Call]:
    return [(np.take, (x, at, -1, out, "clip"))]


def _add_at(v: Array, out: Array, at: Array) -> list[Call]:
    return [(np.add.at, (out, (..., at), v))]


def _put(v: Array, out: Array, at: Array) -> list[Call]:
    return [(out.__setitem__, ((..., at), v))]


def _custom(*arrays: Any) -> list[Call]:
    *xs, out, function, where = arrays

    def call() -> None:
        y = function.value(*xs)
        if np.shape(y) != out.shape:
            raise ProgramError(
                f"{where}: {function.name} gives shape {np.shape(y)} for arguments of "
                f"shapes {' and '.join(str(x.shape) for x in xs)}, not {out.shape}; "
                "its value must keep the leading axes, which count samples"
            )
        out[...] = y

    return [(call, ())]


KERNELS: dict[str, Callable[..., list[Call]]] = {
    **{
        name: _ufunc(cast(np.ufunc, function.value))
        for name, function in FUNCTIONS.items()
        if function.elementwise
    },
    "matmul": lambda a, b, out: [(np.matmul, (a, b, out))],
    "vecdot": lambda a, b, out: [(np.vecdot, (a, b, out))],
    "copy": _copy,
    "zero": lambda out: [(out.fill, (0,))],
    "sigmoid": _sigmoid,
    "choose": _choose,
    "keep": masks.keep,
    "drop": masks.drop,
    "select": masks.select,
    "sum": lambda x, out, axes: [(np.add.reduce, (x, axes, None, out))],
    "max": lambda x, out: [(np.maximum.reduce, (x, -1, None, out))],
    "min": lambda x, out: [(np.minimum.reduce, (x, -1, None, out))],
    "argmax": lambda x, out: [(x.argmax, (-1, out))],
    "argmin": lambda x, out: [(x.argmin, (-1, out))],
    "cumsum": lambda x, out: [(np.add.accumulate, (x, -1, None, out))],
    "take": _take,
    "add_at": _add_at,
    "put": _put,
    "integer": indexing.integer,
    "gather": indexing.gather,
    "scatter": indexing.scatter,
    "sort": indexing.sort,
    "solve": linear.solve,
    **{
        function.name: linear.of_matrix(function)
        for function in (
            *(linalg.det, linalg.logabsdet, linalg.sign_of_det),
            *(linalg.cholesky, linalg.eigenvalues, linalg.eigenvectors),
            *(linalg.eigenvectors_of_upper, linalg.pinv),
            *(fourier.signal, fourier.spectrum),
        )
    },
    "argsort": indexing.argsort,
    "custom": _custom,
}
