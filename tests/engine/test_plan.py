"""Plans: steps that run once, allocation, dtypes, and the columns that are read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain import loss_and_gradient, predict, program, weight
from dtrain.engine.engine import Engine
from dtrain.engine.lowering.lower import plan
from dtrain.errors import UsageError
from dtrain.gradient.layout import Layout
from dtrain.gradient.vector import Weights
from dtrain.problem.shard import RowBlocks
from tests.engine.models import MODELS, Model


@pytest.mark.parametrize("name", MODELS)
def test_a_step_allocates_nothing(name: str) -> None:
    block = 1024  # one number for each sample is 8 kB
    model = Model.of(name, 2 * block)
    engine = Engine(
        model.objective.graph,
        model.weights.layout,
        model.columns,
        gradients=model.objective.gradients,
    )

    def step(first: int) -> None:
        model.weights.version += 1
        rows = RowBlocks(0, 1, block, slice(first, first + block))
        for vector in engine.gradients(model.weights, [rows]):
            assert vector.tail[1] == block

    def taken() -> tuple[int, int]:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for i in range(100):
            step(block * (i % 2))
        after, peak = tracemalloc.get_traced_memory()
        return after - before, peak - before

    # NumPy's iterators take buffers of their own, of this many elements.
    size = np.setbufsize(16)
    try:
        for _ in range(3):
            step(0)
        tracemalloc.start()
        # What else is in this process may allocate, too, but not each time.
        kept, peaks = zip(*(taken() for _ in range(3)), strict=True)
    finally:
        tracemalloc.stop()
        np.setbufsize(size)
    assert min(kept) < 2048
    assert min(peaks) < 8 * block


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_reals_have_the_runs_dtype(name: str, dtype: str) -> None:
    model = Model.of(name, 8, dtype)
    planned = plan(model.objective.graph, model.weights.layout, 4)
    kinds = {buffer.dtype.name for buffer in planned.buffers}
    assert kinds <= {dtype, "bool", "int64"}


def test_a_matrix_that_several_steps_read_is_transposed_once() -> None:
    @program
    def f(x):
        W = weight("W", (3, 3))
        return W @ np.tanh(W @ np.tanh(W @ x))

    planned = plan(f.trace(x=3), Layout.of({"W": (3, 3)}, "float64"), 4)
    assert [step.kernel for step in planned.steps].count("matmul") == 3
    assert [step.kernel for step in planned.once] == ["copy"]


def test_steps_on_weights_alone_run_once() -> None:
    @program
    def f(x):
        return np.tanh(weight("w")) * x

    graph = f.trace()
    layout = Layout.of({"w": ()}, "float64")
    planned = plan(graph, layout, 4)
    assert [step.kernel for step in planned.once] == ["tanh"]
    assert [step.kernel for step in planned.steps] == ["multiply"]

    engine = Engine(graph, layout, {"x": np.ones(4)})
    weights = Weights(layout)
    weights.assign({"w": 1.0})

    def output() -> float:
        return float(engine.run(weights, RowBlocks(0, 1, 4, slice(0, 4)))["f"][0, 0])

    assert output() == np.tanh(1.0)
    weights.flat[0] = 2.0
    assert output() == np.tanh(1.0)  # the version says that nothing changed
    weights.version += 1
    assert output() == np.tanh(2.0)


@pytest.mark.parametrize("shape", [(40, 23), (129, 257), (256, 128)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_matrices_are_transposed_completely(
    shape: tuple[int, int], dtype: str
) -> None:
    rng = np.random.default_rng(0)
    W = rng.standard_normal(shape).astype(dtype)
    f = program(lambda x: weight("W", shape) @ x)
    rows = predict(f, {"W": W}, [np.eye(shape[1])])
    assert np.array_equal(rows, W.T)


COLUMNS = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [1, 0, 1]])


@pytest.mark.parametrize(
    "make",
    [
        lambda: COLUMNS.astype(np.int8),
        lambda: COLUMNS.astype(np.float32),
        lambda: COLUMNS.astype(np.uint64),
        lambda: COLUMNS.astype(">f8"),
        lambda: np.asfortranarray(COLUMNS, dtype=float),
        lambda: np.repeat(COLUMNS, 2, axis=1)[:, ::2].astype(float)[::-1][::-1],
        None,
    ],
    ids=["int8", "float32", "uint64", "big-endian", "fortran", "strided", "memmap"],
)
@pytest.mark.parametrize(
    "rows", [slice(1, 3), np.array([3, 0, 3])], ids=["slice", "rows"]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_columns_of_any_kind(make: Any, rows: Any, dtype: str, tmp_path: Path) -> None:
    @program
    def f(x):
        return x * weight("w", (3,))

    layout = Layout.of({"w": (3,)}, dtype)
    weights = Weights(layout)
    weights.assign({"w": [1.0, 2.0, 0.5]})
    column = _mapped(tmp_path) if make is None else make()
    engine = Engine(f.trace(x=3), layout, {"x": column})
    block = RowBlocks(0, 1, len(COLUMNS[rows]), rows)
    output = engine.run(weights, block)["f"]
    expected = (COLUMNS[rows] * [1.0, 2.0, 0.5]).astype(dtype)
    assert output.dtype == dtype
    assert np.array_equal(output[0], expected)


def _mapped(folder: Path) -> Any:
    np.save(folder / "x.npy", COLUMNS.astype(float))
    return np.load(folder / "x.npy", mmap_mode="r")


def test_masks_are_exact_for_infinities_and_nan() -> None:
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 1.5])

    @program
    def masks(x):
        return {
            "kept": np.where(x > 0, x, 0),
            "dropped": np.where(x > 0, 0, x),
            "negative zero": np.where(x > 0, -0.0, x),
            "chosen": np.where(x > 0, 2 * x, x),
            "bools": 1.0 * np.where(x > 0, x > 1, x < 0),
        }

    values = predict(masks, {}, [special])
    assert isinstance(values, dict)
    with np.errstate(invalid="ignore"):
        for name, expected in masks.function(special).items():
            assert values[name].tobytes() == expected.tobytes()


def test_an_unknown_execution_or_backend_is_rejected_with_the_known_ones() -> None:
    f = program(lambda x: weight("w") * x)
    for option in ("execution", "backend"):
        with pytest.raises(UsageError, match=f"no {option} 'nonsense'; there are"):
            loss_and_gradient(
                f, {"w": 1}, [np.ones(2)], loss="mean", **{option: "nonsense"}
            )


def test_a_program_without_weights_or_without_inputs() -> None:
    assert predict(program(lambda x: x + 1), {}, [np.ones(2)]).tolist() == [2, 2]
    loss, gradient = loss_and_gradient(
        program(lambda x: x + 1), {}, [np.ones(2)], loss="mean"
    )
    assert (loss, gradient) == (2.0, {})


def test_a_loss_of_weights_alone_counts_every_sample() -> None:
    @program
    def penalty(x):  # noqa: ARG001
        return weight("w") ** 2

    for block in (1, 2, 5):
        loss, gradient = loss_and_gradient(
            penalty, {"w": 3.0}, [np.ones(5)], loss="mean", block=block
        )
        assert (loss, gradient["w"]) == (9.0, 6.0)
        loss, gradient = loss_and_gradient(
            program(lambda x: weight("w")),  # noqa: ARG005
            {"w": 3.0},
            [np.ones(5)],
            np.ones(5),
            block=block,
        )
        assert (loss, gradient["w"]) == (4.0, 4.0)
