"""The fused backend gives NumPy's numbers, and one set of bits however it is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtrain import ThreadWorld, loss_and_gradient, program, train, weight
from dtrain.descent.objective import TARGET
from dtrain.engine.engine import Engine
from dtrain.engine.fused.operations import OPERATIONS
from dtrain.engine.fused.regions import Piece, fused
from dtrain.engine.lowering import plan
from dtrain.gradient.vector import Layout
from tests.engine.models import MODELS, Model
from tests.functions.cases import CASES, Case
from tests.gradient.test_random_programs import (
    INPUTS,
    SAMPLES,
    STEPS,
    WEIGHTS,
    interpret,
)
from tests.tolerances import TOLERANCES
from tests.training.programs import net, net_data

NEAR = 1e-12


@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(steps=STEPS, block=st.integers(1, SAMPLES), seed=st.integers(0, 99))
def test_gradients_of_random_programs_are_numpys(
    steps: list[tuple[int, int, int]], block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = {name: rng.uniform(-1, 1, shape) for name, shape in WEIGHTS.items()}
    inputs = {n: rng.uniform(-1, 1, (SAMPLES, *s)) for n, s in INPUTS.items()}

    @program
    def traced(x, y, z):
        symbols = {name: weight(name, shape) for name, shape in WEIGHTS.items()}
        return interpret(steps, symbols, {"x": x, "y": y, "z": z})

    (loss, gradient), (expected, slopes) = (
        loss_and_gradient(
            traced, weights, inputs, loss="mean", block=block, backend=backend
        )
        for backend in ("fused", "numpy")
    )
    size = max(1.0, abs(expected), *(np.abs(g).max(initial=0) for g in slopes.values()))
    assert abs(loss - expected) <= NEAR * size
    for name, slope in slopes.items():
        assert np.abs(gradient[name] - slope).max(initial=0) <= NEAR * size


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_the_models_are_numpys(name: str, dtype: str) -> None:
    program_, _ = MODELS[name]
    model = Model.of(name, 53, dtype)
    columns: dict[str, Any] = dict(model.columns)
    target = columns.pop(TARGET)
    (loss, gradient), (expected, slopes) = (
        loss_and_gradient(
            program_,
            model.weights.values,
            columns,
            target,
            dtype=dtype,
            block=20,
            backend=backend,
        )
        for backend in ("fused", "numpy")
    )
    near = TOLERANCES[dtype].sums
    assert loss == pytest.approx(expected, rel=near)
    for key, slope in slopes.items():
        np.testing.assert_allclose(
            gradient[key], slope, rtol=near, atol=near * np.abs(slope).max()
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("block", [1, 3, 16, 21, 100])
@pytest.mark.parametrize("name", MODELS)
def test_a_stack_changes_no_bits(name: str, block: int, dtype: str) -> None:
    model = Model.of(name, 5 * block, dtype)
    alone, one_slots = model.bound(block, 1, "fused")
    expected = []
    for i in range(5):
        model.run(alone, i * block)
        expected.append((one_slots[0].tobytes(), float(alone.outputs["loss"][0])))
    for stack in (2, 3, 5):
        bound, slots = model.bound(block, stack, "fused")
        model.run(bound, 0)
        for i in range(stack):
            assert (slots[i].tobytes(), float(bound.outputs["loss"][i])) == expected[i]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_any_number_of_ranks_gives_the_bits_of_one(dtype: str) -> None:
    digests = {
        train(
            net,
            net_data(101),
            epochs=2,
            learning_rate=0.05,
            batch=24,
            block=5,
            dtype=dtype,
            backend="fused",
            world=ThreadWorld(ranks),
        ).digest
        for ranks in range(1, 8)
    }
    assert len(digests) == 1
