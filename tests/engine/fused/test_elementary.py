"""Elementary functions: error bounds, special values, and reproducible bits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from dtrain.engine.fused import elementary
from dtrain.engine.fused.elementary import FUNCTIONS
from dtrain.engine.fused.lanes.lanes import DTYPE
from dtrain.engine.fused.lanes.lanes_numpy import ArrayArithmetic
from tests.engine.fused.native import (
    FLOATS,
    TARGETS,
    Native,
    assembly,
    loops,
    same_bits,
)

Array = NDArray[Any]
DOCUMENT = Path(__file__).parents[3] / "docs" / "elementary.md"
BOUNDS = {
    row.split("`")[1]: float(row.split("|")[2])
    for row in DOCUMENT.read_text().splitlines()
    if row.startswith("| `")
}
BINARY = ["arctan2", "hypot", "power"]
UNARY = [name for name in FUNCTIONS if name not in BINARY]
# Where the result is neither 0 nor infinite, for those that grow like eˣ.
GROWING = {
    **dict.fromkeys(["exp", "sigmoid", "expm1", "sinh", "cosh"], 1.0),
    "exp2": 1.45,
}
# Angles that come very near to multiples of π/2: 6381956970095103·2⁷⁹⁷ is the nearest
# of all (Muller, table 11.1).
ANGLES = [6381956970095103 * 2.0**797, 1e22, 2.0**20, 16367173 * 2.0**72]
ANGLES += [float(k * mpmath.pi / 2) for k in (1, 2, 3, 355, 10**4, 10**6, 10**9)]
EDGES = [0.0, 1.0, 0.5, 2.0, 3.0, 1e-8, 1.0000001, 0.9999999, 7.5, 1e10]
EDGES += [2.0**23, 2.0**24 - 1, 2.0**52, 2.0**53 - 1, 2.0**53 + 2, float("inf")]
EDGES += [-x for x in EDGES] + [float("nan")]


def value(name: str, *arrays: Array) -> Array:
    lanes = ArrayArithmetic().lanes
    result: Array = FUNCTIONS[name](*(lanes(array) for array in arrays)).value
    return result


def narrowed(array: Array, kind: str) -> Array:
    """An array in that kind; what is too large for it becomes infinite."""
    with np.errstate(over="ignore"):
        return array.astype(DTYPE[kind])


def edges(kind: str) -> Array:
    limits = np.finfo(kind)
    numbers = np.array([limits.max, limits.tiny, limits.smallest_subnormal])
    numbers = np.concatenate([numbers, numbers[1:] * 3, -numbers])
    return narrowed(np.concatenate([EDGES, ANGLES, numbers]), kind)


def samples(name: str, kind: str, count: int) -> Array:
    """Any bits at all, numbers of size 1, and the range in which the result varies."""
    rng = np.random.default_rng([ord(letter) for letter in name])
    word = np.uint32 if kind == "float32" else np.uint64
    anything = rng.integers(0, np.iinfo(word).max, count, word).view(DTYPE[kind])
    reach = GROWING.get(name, 3) * (105 if kind == "float32" else 750)
    rest = [
        rng.normal(size=count) * 3,
        rng.uniform(-1.2, 1.2, count),
        rng.uniform(-reach, reach, count),
        1 + rng.normal(size=count) * np.exp(rng.uniform(-20, 0, count)),
    ]
    return np.concatenate([anything, *(x.astype(DTYPE[kind]) for x in rest)])


def operands(name: str, kind: str, count: int) -> list[Array]:
    x = samples(name, kind, count)
    if name in UNARY:
        return [np.concatenate([x, edges(kind)])]
    rng = np.random.default_rng(1)
    if name != "power":
        return [x, rng.permutation(x)]
    x = np.abs(x)
    with np.errstate(all="ignore"):
        reach = (105 if kind == "float32" else 750) / np.abs(np.log(x.astype(float)))
    y = rng.uniform(-1, 1, x.size) * np.where(np.isfinite(reach), reach, 1)
    return [x, y.astype(DTYPE[kind])]


def plain(name: str, *arrays: Array) -> Array:
    """What NumPy has in float64."""
    function = PLAIN.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        result: Array = function(*(array.astype(np.float64) for array in arrays))
    return result


PLAIN: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


PRECISE: dict[str, Callable[..., Any]] = {
    "arccos": mpmath.acos,
    "arccosh": mpmath.acosh,
    "arcsin": mpmath.asin,
    "arcsinh": mpmath.asinh,
    "arctan": mpmath.atan,
    "arctan2": mpmath.atan2,
    "arctanh": mpmath.atanh,
    "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
    "exp2": lambda x: mpmath.power(2, x),
    "log2": lambda x: mpmath.log(x, 2),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
}


def ulps(found: Array, expected: Array, rest: Array | float = 0.0) -> float:
    """The largest error, in units in the last place of the expected numbers."""
    limits = np.finfo(found.dtype)
    with np.errstate(all="ignore"):
        exponent = np.maximum(np.frexp(expected)[1], limits.minexp + 1)
        unit = np.ldexp(1.0, np.maximum(exponent - limits.nmant - 1, -1074))
        error = np.abs((found.astype(np.float64) - expected) - rest) / unit
        return float(error.max())


def test_each_function_has_a_stated_bound() -> None:
    assert BOUNDS.keys() == FUNCTIONS.keys()
    assert max(BOUNDS.values()) <= 4


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_is_within_its_bound(name: str) -> None:
    arrays = operands(name, "float32", 20_000)
    expected = plain(name, *arrays)
    chosen = np.isfinite(narrowed(expected, "float32"))
    assert ulps(value(name, *arrays)[chosen], expected[chosen]) <= BOUNDS[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_is_within_its_bound(name: str) -> None:
    arrays = operands(name, "float64", 200)
    rough = plain(name, *arrays)
    chosen = np.isfinite(rough) & (rough != 0)
    arrays = [array[chosen] for array in arrays]
    function = PRECISE.get(name) or getattr(mpmath, name)
    with mpmath.workprec(150):
        # The nearest float64, and what is missing to the true value.
        precise = [function(*xs) for xs in zip(*map(mp_numbers, arrays), strict=True)]
        expected = np.array([float(p) for p in precise])
        rest = np.array([float(p - e) for p, e in zip(precise, expected, strict=True)])
    assert ulps(value(name, *arrays), expected, rest) <= BOUNDS[name]


def mp_numbers(array: Array) -> list[Any]:
    return [mpmath.mpf(float(x)) for x in array]


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_edges_are_those_of_numpy(name: str, kind: str) -> None:
    arrays = [edges(kind)]
    if name in BINARY:
        arrays = [array.ravel() for array in np.meshgrid(*arrays * 2)]
    found, expected = value(name, *arrays), narrowed(plain(name, *arrays), kind)
    assert found.dtype == expected.dtype
    tolerance = 16 * float(np.finfo(kind).eps)  # NumPy itself errs by 8 at an angle
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    signed = ~np.isnan(expected)
    assert (np.signbit(found) == np.signbit(expected))[signed].all()


@pytest.mark.parametrize("kind", FLOATS)
def test_sine_and_cosine_share_their_reduction(kind: str) -> None:
    x = samples("sin", kind, 100)
    both = elementary.sincos(ArrayArithmetic().lanes(x))
    assert same_bits(both[0].value, value("sin", x))
    assert same_bits(both[1].value, value("cos", x))


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
@pytest.mark.parametrize("kind", FLOATS)
def test_a_lane_does_not_depend_on_other_lanes(name: str, kind: str) -> None:
    x = samples(name, kind, 100)
    small = np.abs(x) < 100
    assert same_bits(value(name, x)[small], value(name, x[small]))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", FLOATS)
def test_compiled_functions_have_the_bits_of_numpy(kind: str, target: str) -> None:
    for count, names in enumerate([UNARY, BINARY], start=1):
        native = Native({name: FUNCTIONS[name] for name in names}, kind, target, count)
        for name in names:
            arrays = operands(name, kind, 2000)
            assert same_bits(native(name, *arrays), value(name, *arrays)), name


@pytest.mark.parametrize(
    ("triple", "cpu", "called"),
    [("x86_64-linux", "x86-64-v4", "callq"), ("aarch64-linux", "generic", "bl")],
)
@pytest.mark.parametrize("kind", FLOATS)
def test_no_processor_fuses_a_product_and_a_sum_or_calls_a_library(
    kind: str, triple: str, cpu: str, called: str
) -> None:
    source = loops({name: FUNCTIONS[name] for name in UNARY}, kind, 1)
    text = assembly(source, triple, cpu)
    assert "payne_hanek" in text
    assert not re.findall(r"\tv?fn?m(?:add|sub|la|ls)\w*", text)
    calls = re.findall(rf"\t{called}\t(\S+)", text)
    assert all(name.startswith("payne_hanek") for name in calls)
