"""Batching: fewer steps and the same bits."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from dtrain import layers, program, weight
from dtrain.engine.execution import numpy_backend
from dtrain.engine.lowering.lower import plan
from dtrain.engine.plans.batching import batched
from dtrain.engine.plans.plan import Plan
from dtrain.tracing.trace import Program
from tests.engine.models import MODELS, Model

UNARY = [
    np.tanh,
    np.sin,
    np.square,
    layers.sigmoid,
    lambda a: a * a * a,
    lambda a: np.where(a > 0.1, a, np.sin(a)),
    lambda a: np.maximum(a, 0.2) - a,
    lambda a: np.tanh(np.stack([a, a * a, 2 * a]) * weight("v", 3))[1],
    lambda a: np.exp(np.sin(weight("w3"))) * a,
    lambda a: a + 0.0 * weight("w4"),
]
BINARY = [
    lambda a, b: a * b,
    lambda a, b: a - b * weight("w0"),
    lambda a, b: np.where(a > b, a, b) + weight("w1"),
    lambda a, b: np.sin(a * a + b * b),
    lambda a, b: np.tanh(b) / (2 + np.sin(a)),
]


def wired(seed: int) -> Program:
    """A random program of scalars, with skips and with weights that are shared."""

    @program
    def wired(x: Any) -> Any:
        rng = random.Random(seed)  # noqa: S311  (no secret)
        values = [x[i] for i in range(4)]
        for _ in range(50):
            a, b = rng.choice(values[-8:]), rng.choice(values)
            if rng.random() < 0.6:
                values.append(rng.choice(UNARY)(weight(f"w{rng.randrange(9)}") * a))
            else:
                values.append(np.tanh(rng.choice(BINARY)(a, b)))
        return sum(values[-8:])

    return wired


@program
def sliced(x: Any) -> Any:
    """Scalars that are elements of vectors: of their shape, but with gaps."""
    values = [x[i] for i in range(4)]
    for k in range(10):
        y = np.tanh(np.stack(values) * weight(f"v{k}", 4))
        values = [np.sin(y[i]) * weight(f"w{i}") + y[(i + 1) % 4] for i in range(4)]
    return sum(values)


def planned(model: Model, block: int, stack: int) -> Plan:
    """A model's plan, as it is lowered."""
    graph, gradients = model.objective.graph, model.objective.gradients
    return plan(graph, model.weights.layout, block, gradients=gradients, stack=stack)


def results(model: Model, block: int, stack: int) -> tuple[bytes, ...]:
    """The bits of the derivatives and of the loss, after a second run."""
    bound, slots = model.bound(block, stack)
    for _ in range(2):
        model.run(bound, 0)
    return slots.tobytes(), bound.outputs["loss"].tobytes()


@pytest.mark.parametrize(("block", "stack"), [(1, 1), (5, 1), (5, 3), (16, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("program", [sliced, *map(wired, range(8))])
def test_batching_changes_no_bits(
    program: Program,
    dtype: str,
    block: int,
    stack: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Model.made(program, {"x": (4,)}, block * stack, dtype)
    together = results(model, block, stack)
    monkeypatch.setattr(numpy_backend, "batched", lambda plan: plan)
    assert results(model, block, stack) == together


@pytest.mark.parametrize("name", MODELS)
def test_steps_read_what_was_written_before(name: str) -> None:
    model = Model.of(name, 8)
    whole = planned(model, 4, 2)
    new = batched(whole)
    written = {view.buffer for view, _ in new.constants}
    written |= {view.buffer for view in new.inputs.values()}
    written |= {i for i, buffer in enumerate(new.buffers) if buffer.external}
    for step in (*new.once, *new.steps):
        assert written >= {view.buffer for view in step.inputs}
        written.add(step.out.buffer)


@pytest.mark.parametrize("seed", range(8))
def test_there_are_fewer_steps(seed: int) -> None:
    whole = planned(Model.made(wired(seed), {"x": (4,)}, 8), 4, 2)
    assert len(batched(whole).steps) < len(whole.steps)


def test_large_arrays_are_not_batched() -> None:
    model = Model.of("irregular", 4096)
    assert batched(whole := planned(model, 4096, 1)) is whole
