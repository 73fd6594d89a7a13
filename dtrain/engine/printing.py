"""A plan as text: the steps for each change of weights and those for every block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dtrain.engine.execution.arena import Arena
from dtrain.engine.fused.form import form_of
from dtrain.engine.fused.regions import Piece
from dtrain.engine.plans.plan import Plan, Step, View
from dtrain.tracing.printing import counted


def lines(plan: Plan) -> Iterator[str]:
    """Yield a summary, then one line for each step, indented below its loop."""
    names = _Names(plan)
    steps = [*plan.once, *plan.steps]
    pieces = [step for step in steps if isinstance(step, Piece)]
    count = len(steps) + sum(len(piece.nodes) - 1 for piece in pieces)
    text = f"blocks of {plan.block} samples: {counted(count, 'step')}"
    if pieces:
        kernels = len({_kernel(plan, piece) for piece in pieces})
        fused = sum(len(piece.nodes) for piece in pieces)
        text += f", {fused} of them in {counted(len(pieces), 'loop')}"
        text += f" of {counted(kernels, 'kernel')}"
    yield f"{text}; {Arena(plan).size:,} bytes"
    for title, part in (("once a step", plan.once), ("for every block", plan.steps)):
        if part:
            yield f"  {title}:"
            for step in part:
                yield from _step(plan, step, names)


def _step(plan: Plan, step: Step, names: _Names) -> Iterator[str]:
    if not isinstance(step, Piece):
        yield f"    {names.call(step.out, step.kernel, step.inputs)}"
        return
    domain = " × ".join(map(str, step.nodes[0].domain)) or "1"
    stored = len(step.outs)
    yield (
        f"    loop over {domain}, kernel {_kernel(plan, step)}: reads "
        f"{counted(len(step.inputs), 'array')}, writes {stored}"
    )
    for node in step.nodes:
        kernel = node.operation
        if node.summed:
            kernel = "sum" if kernel == "copy" else f"sum of {kernel}"
        yield f"      {names.call(node.out, kernel, node.inputs)}"


def _kernel(plan: Plan, piece: Piece) -> str:
    """Return a short name that is equal for pieces with the same kernel."""
    dtypes = [buffer.dtype for buffer in plan.buffers]
    form, _ = form_of(piece, dtypes, dtypes[0].name)
    return form.name[-6:]


class _Names:
    """The names of a plan's arrays; other buffers get numbers at first use."""

    def __init__(self, plan: Plan) -> None:
        self._given = {view.buffer: name for name, view in plan.inputs.items()}
        for view, value in plan.constants:
            if value.ndim == 0:
                self._given[view.buffer] = f"{value:.6g}"
        for name, view in plan.outputs.items():
            if plan.buffers[view.buffer].external is None:
                self._given.setdefault(view.buffer, name)
        self._external = {
            i: need.external for i, need in enumerate(plan.buffers) if need.external
        }
        self._numbers: dict[int, int] = {}

    def __call__(self, view: View) -> str:
        """Return the name of an array and its offset in its buffer."""
        if view.buffer in self._external:
            return f"{self._external[view.buffer]}[{view.offset}]"
        name = self._given.get(view.buffer)
        if name is None:
            number = self._numbers.setdefault(view.buffer, len(self._numbers))
            name = f"%{number}"
        return f"{name}[{view.offset}]" if view.offset else name

    def call(self, out: View, kernel: str, inputs: Sequence[View]) -> str:
        """Return a kernel's call as an assignment."""
        return f"{self(out)} = {kernel}({', '.join(map(self, inputs))})"
