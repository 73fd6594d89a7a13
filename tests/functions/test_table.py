"""Every base function: its value by the engine, its derivatives, planted errors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import dtrain
from dtrain.engine.lowering.rules import lowered
from dtrain.functions.base import FUNCTIONS, BaseFunction
from dtrain.problem.shard import RowBlocks
from tests.functions.cases import CASES, SAMPLES, Case
from tests.functions.slopes import Slopes, program_of
from tests.tolerances import FLOAT64, TOLERANCES

DIFFERENTIABLE = [case for case in CASES if FUNCTIONS[case.name].differentiable]
# One case for each function with a transfer function of its own.
WITH_VJP = {
    case.name: case
    for case in reversed(CASES)
    if FUNCTIONS[case.name].vjp is not None and all(map(np.prod, case.shapes))
}


def kinds_of(case: Case) -> list[str]:
    return [
        "".join(kinds) for kinds in itertools.product("ws", repeat=len(case.shapes))
    ]


def each_kind(cases: list[Case]) -> Any:
    return pytest.mark.parametrize(
        ("case", "kinds"),
        [
            pytest.param(case, kinds, id=f"{case}-{kinds}-{i}")
            for i, case in enumerate(cases)
            for kinds in kinds_of(case)
        ],
    )


def drawn(case: Case, kinds: str, rng: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns and weights of ``program_of``."""
    columns: dict[str, Any] = {"c": rng.uniform(0.5, 1.5, SAMPLES)}
    weights: dict[str, Any] = {"t": 0.0}
    for i, (kind, shape) in enumerate(zip(kinds, case.shapes, strict=True)):
        if kind == "w":
            weights[f"w{i}"] = case.draw(rng, i)
        else:
            columns[f"x{i}"] = np.stack([case.draw(rng, i) for _ in range(SAMPLES)])
            columns[f"d{i}"] = rng.standard_normal((SAMPLES, *shape))
    return columns, weights


def test_every_function_has_a_case_a_docstring_and_a_lowering() -> None:
    assert {case.name for case in CASES} == set(FUNCTIONS)
    for name, function in FUNCTIONS.items():
        assert function.name == name
        assert len(function.doc) >= 3
        assert lowered(function), f"{name}: needs a definition= or an engine rule"


def test_a_planted_error_in_each_transfer_function_is_found() -> None:
    with_vjp = {n for n, function in FUNCTIONS.items() if function.vjp is not None}
    assert set(WITH_VJP) == with_vjp


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@each_kind(CASES)
def test_the_engine_agrees_with_the_definition(
    case: Case, kinds: str, dtype: str
) -> None:
    columns, weights = drawn(case, kinds, np.random.default_rng(1))
    columns = {name: column.astype(dtype) for name, column in columns.items()}
    weights = {name: np.asarray(w, dtype) for name, w in weights.items()}
    program = program_of(case.call, case.shapes, kinds, scalar=False)

    values = dtrain.predict(program, weights, columns)

    rows = [
        case.call(
            *(
                weights[f"w{i}"] if kind == "w" else columns[f"x{i}"][sample]
                for i, kind in enumerate(kinds)
            )
        )
        for sample in range(SAMPLES)
    ]
    expected = np.asarray(rows, dtype)
    if case.over_block:
        expected = np.broadcast_to(expected.sum(axis=0), expected.shape)
    near = TOLERANCES[dtype].value
    np.testing.assert_allclose(values, expected, rtol=near, atol=near, strict=True)


@each_kind(DIFFERENTIABLE)
def test_first_and_second_derivative_along_a_direction(case: Case, kinds: str) -> None:
    rng = np.random.default_rng(2)
    columns, weights = drawn(case, kinds, rng)
    program = program_of(case.call, case.shapes, kinds, scalar=True)
    slopes = Slopes(program, columns, weights, rng)

    middle = (case.low + case.high) / 2
    points = [np.full(shape, middle) for shape in case.shapes]
    empty = not all(map(np.size, [*points, case.call(*points)]))
    for order, of, near in (
        (0, "value", FLOAT64.slope),
        (1, "first", FLOAT64.second),
    ):
        slope = slopes.at(("first", "second")[order])
        difference = slopes.difference(of, along=order)
        size = max(1.0, abs(slopes.at(of)))
        assert slope == pytest.approx(difference, rel=near, abs=near * size)
        assert empty or slope != 0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_stack_of_blocks_has_the_bits_of_each(case: Case) -> None:
    rng = np.random.default_rng(5)
    shared = len(case.shapes) > 1
    kinds = "w" * shared + "s" * (len(case.shapes) - shared)
    parts, weights = [], {}
    for _ in range(3):
        columns, weights = drawn(case, kinds, rng)
        parts.append(columns)
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    program = program_of(case.call, case.shapes, kinds, scalar=True)
    slopes = Slopes(program, columns, weights, rng)

    rows = [slice(SAMPLES * i, SAMPLES * (i + 1)) for i in range(3)]
    single = [
        {
            name: value.copy()
            for name, value in slopes.engine.run(
                slopes.weights, RowBlocks(i, 1, SAMPLES, part)
            ).items()
        }
        for i, part in enumerate(rows)
    ]
    stack = RowBlocks(0, 3, SAMPLES, slice(0, 3 * SAMPLES))
    for name, values in slopes.engine.run(slopes.weights, stack).items():
        for i, value in enumerate(np.broadcast_to(values, (3, *values.shape[1:]))):
            assert value.tobytes() == single[i][name].reshape(value.shape).tobytes()


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if not FUNCTIONS[case.name].differentiable],
    ids=str,
)
def test_functions_without_derivative_pass_no_adjoint(case: Case) -> None:
    kinds = "w" * len(case.shapes)
    rng = np.random.default_rng(3)
    columns, weights = drawn(case, kinds, rng)
    program = program_of(case.call, case.shapes, kinds, scalar=True)
    _, gradient = dtrain.loss_and_gradient(program, weights, columns, loss="mean")
    assert not any(np.any(g) for g in gradient.values())


@pytest.mark.parametrize("name", WITH_VJP)
def test_check_finds_an_error_of_one_in_two_thousand(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = WITH_VJP[name]
    kinds = "w" * len(case.shapes)
    columns, weights = drawn(case, kinds, np.random.default_rng(4))
    program = program_of(case.call, case.shapes, kinds, scalar=True)
    arguments = program, columns
    options: dict[str, Any] = {"weights": weights, "loss": "mean"}
    assert dtrain.check(*arguments, **options).passed

    plant(monkeypatch, FUNCTIONS[name], 1.0005)
    report = dtrain.check(*arguments, **options)
    assert not report.passed
    wrong = {check.weight for check in report.weights if not check.passed}
    assert wrong & {f"w{i}" for i in range(len(kinds))}
    assert "WRONG" in str(report)


def plant(patch: pytest.MonkeyPatch, function: BaseFunction, factor: float) -> None:
    """Put a wrong factor into a transfer function."""
    right = function.vjp
    assert right is not None

    def wrong(v: Any, y: Any, *xs: Any, **params: Any) -> Any:
        adjoints = right(v, y, *xs, **params)
        return tuple(None if a is None else factor * a for a in adjoints)

    patch.setitem(function.__dict__, "vjp", wrong)
