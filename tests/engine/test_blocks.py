"""Blocks of any length give the same sums; stacks of any size give the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dtrain import loss_and_gradient, predict, program, weight
from dtrain.descent.loss import TARGET
from dtrain.engine.engine import Engine
from tests.engine.models import MODELS, Model
from tests.tolerances import FLOAT64, TOLERANCES

SAMPLES = 13


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_any_block_gives_the_same_sum(name: str, dtype: str) -> None:
    program, _ = MODELS[name]
    model = Model.of(name, SAMPLES, dtype)
    columns: dict[str, Any] = dict(model.columns)
    target = columns.pop(TARGET)
    values = model.weights.values

    # By hand: one sample at a time, and one division by the number of samples.
    each = [
        loss_and_gradient(
            program,
            values,
            {k: c[i : i + 1] for k, c in columns.items()},
            target[i : i + 1],
            dtype=dtype,
        )
        for i in range(SAMPLES)
    ]
    near = TOLERANCES[dtype].sums
    for block in (1, 2, 5, 12, 13, 100):
        loss, gradient = loss_and_gradient(
            program, values, columns, target, dtype=dtype, block=block
        )
        assert loss == pytest.approx(np.mean([one for one, _ in each]), rel=near)
        for key, slope in gradient.items():
            expected = np.mean([one[key] for _, one in each], axis=0)
            assert slope.dtype == dtype
            np.testing.assert_allclose(
                slope, expected, rtol=near, atol=near * np.abs(expected).max()
            )


@pytest.mark.parametrize("name", MODELS)
def test_a_short_block_gives_the_rows_of_a_full_one(name: str) -> None:
    program, _ = MODELS[name]
    model = Model.of(name, SAMPLES)
    columns = {k: c for k, c in model.columns.items() if k != TARGET}
    full = predict(program, model.weights.values, columns)
    for length in (1, 2, 3, 7):
        short = predict(
            program, model.weights.values, {k: c[:length] for k, c in columns.items()}
        )
        assert isinstance(full, np.ndarray)
        np.testing.assert_allclose(
            short, full[:length], rtol=FLOAT64.value, atol=FLOAT64.value, strict=True
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("block", [1, 2, 5, 6, 16])
@pytest.mark.parametrize("name", MODELS)
def test_a_stack_changes_no_bits(name: str, block: int, dtype: str) -> None:
    model = Model.of(name, 5 * block, dtype)
    alone, one_slots = model.bound(block, 1)
    expected = []
    for i in range(5):
        model.run(alone, i * block)
        expected.append((one_slots[0].tobytes(), float(alone.outputs["loss"][0])))
    assert len({loss for _, loss in expected}) == 5  # not all one block's
    for stack in (2, 3, 4, 5):
        bound, slots = model.bound(block, stack)
        model.run(bound, 0)
        for i in range(stack):
            assert (slots[i].tobytes(), float(bound.outputs["loss"][i])) == expected[i]


@pytest.mark.parametrize("name", MODELS)
def test_a_block_does_not_depend_on_earlier_blocks(name: str) -> None:
    # Buffers share memory, and each block finds it as the last one left it.
    model = Model.of(name, 8)
    bound, slots = model.bound(4, 1)
    model.run(bound, 0)
    first = slots.tobytes(), bound.outputs["loss"].tobytes()
    model.run(bound, 4)
    assert (slots.tobytes(), bound.outputs["loss"].tobytes()) != first
    model.run(bound, 0)
    assert (slots.tobytes(), bound.outputs["loss"].tobytes()) == first


@pytest.mark.parametrize(
    ("steps", "width", "block", "blocks"),
    [
        (10, 4, 16, 256),  # all of it stays in the cache
        (2000, 1, 256, 16),  # it does not, but each call is small
        (60, 512, 512, 1),  # nor does one call
    ],
)
def test_a_stack_grows_until_the_cache_is_full_or_calls_are_long(
    steps: int, width: int, block: int, blocks: int
) -> None:
    @program
    def chain(x: Any) -> Any:
        for _ in range(steps):
            x = np.tanh(weight("W", width) * x)
        return np.sum(x)

    model = Model.made(chain, {"x": (width,)}, 1, "float32")
    engine = Engine(
        model.objective.graph,
        model.weights.layout,
        model.columns,
        gradients=model.objective.gradients,
    )
    assert blocks <= engine.most_blocks(block) <= 4 * blocks
