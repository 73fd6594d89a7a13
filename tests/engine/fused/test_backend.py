"""The fused backend agrees with NumPy; its bits do not depend on how it is run."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtrain import ThreadWorld, loss_and_gradient, program, train, weight
from dtrain.descent.loss import TARGET
from dtrain.engine.engine import Engine
from dtrain.engine.fused import kernels, native, regions
from dtrain.engine.fused.operations import OPERATIONS
from dtrain.engine.fused.regions import Piece, fused
from dtrain.engine.lowering.lower import plan
from dtrain.functions.base import FUNCTIONS
from dtrain.gradient.layout import Layout
from dtrain.gradient.vector import Weights
from dtrain.problem.shard import RowBlocks
from tests.engine.models import MODELS, Model
from tests.functions.cases import CASES, Case
from tests.functions.slopes import program_of
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
# Both have the same formulas and regions; only numbers and vectors differ.
dtypes = pytest.mark.parametrize(
    "dtype", ["float64", pytest.param("float32", marks=pytest.mark.full)]
)


@settings(
    max_examples=25,
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


@dtypes
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


# A remainder is exact however often b goes into a, which no formula on lanes is.
LEFT_TO_NUMPY = {"floor_divide", "fmod", "remainder"}


def test_every_elementwise_base_function_is_native() -> None:
    elementwise = {name for name, f in FUNCTIONS.items() if f.elementwise}
    assert elementwise - {*OPERATIONS} == LEFT_TO_NUMPY
    assert "sigmoid" in OPERATIONS


def kinds_of(case: Case) -> list[str]:
    """All arguments samples', and for some shapes one of two the weights'."""
    every = ["s" * len(case.shapes)]
    one = len(case.shapes) == 2 and case.shapes in (((), ()), ((2, 1), (1, 3)))
    return [*every, "sw", "ws"] if one else every


@dtypes
@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        pytest.param(case, kinds, id=f"{case}-{kinds}-{i}")
        for i, case in enumerate(CASES)
        for kinds in kinds_of(case)
    ],
)
def test_every_base_function_gives_numpys_gradient(
    case: Case, kinds: str, dtype: str
) -> None:
    if dtype == "float32" and case.shapes != FIRST_SHAPES[case.name]:
        return
    rng = np.random.default_rng(4)
    samples, block = 23, 19  # no multiple of any number of lanes
    columns: dict[str, Any] = {"c": rng.uniform(0.5, 1.5, samples)}
    weights: dict[str, Any] = {"t": 0.0}
    for i, (kind, shape) in enumerate(zip(kinds, case.shapes, strict=True)):
        if kind == "w":
            weights[f"w{i}"] = case.draw(rng, i)
        else:
            columns[f"x{i}"] = np.stack([case.draw(rng, i) for _ in range(samples)])
            columns[f"d{i}"] = rng.standard_normal((samples, *shape))
    applied = program_of(case.call, case.shapes, kinds, scalar=True)
    (loss, gradient), (expected, slopes) = (
        loss_and_gradient(
            applied,
            weights,
            {name: columns[name] for name in applied.inputs},
            loss="mean",
            dtype=dtype,
            block=block,
            backend=backend,
        )
        for backend in ("fused", "numpy")
    )
    near = TOLERANCES[dtype].sums
    assert loss == pytest.approx(expected, rel=near, abs=near)
    for name, slope in slopes.items():
        scale = max(1.0, np.abs(slope).max(initial=0))
        np.testing.assert_allclose(gradient[name], slope, rtol=0, atol=near * scale)


FIRST_SHAPES = {case.name: case.shapes for case in reversed(CASES)}


SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5, -2.5, -1e-310, 1e300, 2.0**52 - 0.5]
)


def test_masks_and_choices_are_exact_for_infinities_and_nan() -> None:
    @program
    def masks(x, y):
        return {
            "kept": np.where(x > y, x, 0),
            "dropped": np.where(x > y, 0, x),
            "negative zero": np.where(x > y, -0.0, x),
            "chosen": np.where(x > y, 2 * x, y),
            "bools": 1.0 * np.where(x > 0, x > 1, x < 0),
            "sign": np.sign(x),
            "absolute": np.abs(x),
            "larger": np.maximum(x, y),
            "smaller": np.minimum(x, y),
            "larger number": np.fmax(x, y),
            "smaller number": np.fmin(x, y),
            "signed": np.copysign(x, y),
            "step": np.heaviside(x, y),
            "nature": 1.0 * np.isnan(x) + 2.0 * np.isinf(x) + 4.0 * np.isfinite(x),
            "sign bit": 1.0 * np.signbit(x),
            "rounded": np.rint(x) + np.floor(y),
            "cut": np.ceil(x) + np.trunc(y),
            "log of powers": np.where(np.isfinite(x + y), 0, np.logaddexp(x, y)),
            "log, 2": np.where(np.isfinite(x + y), 0, np.logaddexp2(x, y)),
        }

    a, b = (each.reshape(-1) for each in np.meshgrid(SPECIAL, SPECIAL))
    graph = masks.trace()
    layout = Layout.of({}, "float64")
    found = Engine(graph, layout, {"x": a, "y": b}, backend="fused").run(
        Weights(layout), RowBlocks(0, 1, len(a), slice(0, len(a)))
    )
    with np.errstate(invalid="ignore"):
        for name, expected in masks.function(a, b).items():
            np.testing.assert_array_equal(found[name][0], expected, err_msg=name)


def test_values_that_one_loop_reads_have_no_memory() -> None:
    model = Model.of("scalars", 32)
    planned = plan(model.objective.graph, model.weights.layout, 32)
    pieced = fused(planned)
    (piece,) = pieced.steps
    assert isinstance(piece, Piece)
    assert len(piece.nodes) == len(planned.steps)
    in_memory = {view.buffer for view in (*piece.inputs, *piece.outs)}
    for number, need in enumerate(pieced.buffers):
        assert (need.size > 0) == (number in in_memory) or need.external


def test_columns_of_any_kind_are_read() -> None:
    rng = np.random.default_rng(5)
    rows = [slice(0, 7), np.array([3, 0, 9, 9, 1, 2, 4]), slice(11, 18)]
    base = rng.standard_normal((40, 2))
    layout = Layout.of({"w": ()}, "float64")
    weights = Weights(layout)
    weights.assign({"w": 2.0})
    graph = program(lambda x, y: weight("w") * x + y).trace()  # type: ignore[misc]
    columns = {"x": base[:20, 0], "y": np.ascontiguousarray(base[:20, 1])}
    engine = Engine(graph, layout, columns, backend="fused")
    for each in (*rows, *rows):
        (found,) = engine.run(weights, RowBlocks(0, 1, 7, each)).values()
        expected = 2.0 * columns["x"][each] + columns["y"][each]
        assert found[0].tobytes() == expected.tobytes()


# From the least that x86-64 has to what has neither fused multiply-add nor AVX-512.
HOSTS = [("x86-64", ""), ("sandybridge", ""), ("x86-64-v3", "-fma"), ("x86-64-v3", "")]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors' features")
@dtypes
@pytest.mark.parametrize("name", ["mlp", "pieces", "recurrent", "scalars"])
def test_all_processors_give_the_same_bits(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for host in (native.host(), *HOSTS):
        monkeypatch.setattr(kernels, "_addresses", {})
        monkeypatch.setattr(native, "host", lambda host=host: host)
        model = Model.of(name, 210, dtype)
        bound, slots = model.bound(70, 3, "fused")
        model.run(bound, 0)
        # What BLAS has a hand in may differ by its own kernels, so it is one machine's.
        seen.append((slots.tobytes(), bound.outputs["loss"].tobytes()))
    assert len(set(seen)) == 1


@dtypes
@pytest.mark.parametrize("name", MODELS)
def test_the_split_of_a_region_changes_no_bits(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for whole, small in ((96, 2), (0, 1), (0, 3), (12, 12)):
        monkeypatch.setattr(regions, "WHOLE", whole)
        monkeypatch.setattr(regions, "SMALL", small)
        model = Model.of(name, 3 * 37, dtype)
        bound, slots = model.bound(37, 3, "fused")
        model.run(bound, 0)
        seen.append((slots.tobytes(), bound.outputs["loss"].tobytes()))
    assert len(set(seen)) == 1
