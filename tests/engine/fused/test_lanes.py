"""Lane arithmetic: NumPy and compiled code give the same bits."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from dtrain.engine.fused.elementary.steps import nearest
from dtrain.engine.fused.lanes.lanes import (
    DTYPE,
    Lanes,
    at_least,
    at_most,
    maximum,
    minimum,
    rarely,
    select,
)
from dtrain.engine.fused.lanes.lanes_numpy import ArrayArithmetic
from tests.engine.fused.native import FLOATS, TARGETS, Native, same_bits

NUMBERS = [0.0, 1.0, 1.5, 2.5, 1e-3, 3e38, 1e-40, float("inf")]
NUMBERS = [*NUMBERS, *(-x for x in NUMBERS), float("nan")]


def halve_slowly(x: Lanes) -> tuple[Lanes, ...]:
    return (x / 2,)


FORMULAS = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: 1 - a - b,
    "multiply": lambda a, b: a * (3 * b),
    "divide": lambda a, b: a / b + 1 / a,
    "contract": lambda a, b: a * b + a,  # must not become a fused multiply-add
    "negative": lambda a, b: select(a < b, -a, b),
    "absolute": lambda a, b: abs(a) - abs(b),
    "root": lambda a, b: select(a >= 0, a, -a).sqrt() + b,
    "compare": lambda a, b: select((a <= b) & ~(a == b) | (b != 1), a, 7),
    "exclude": lambda a, b: select((a > b) ^ (a > 1), 2.5, b),
    "maximum": maximum,
    "minimum": minimum,
    "bounds": lambda a, b: at_most(1, at_least(-1, a)) + b,
    "sign": lambda a, b: abs(a).signed_like(b),
    "bits": lambda a, b: (
        (a.bits() + b.bits() * 3 - 1) >> 3 ^ (a.bits() << 2 | b.bits() & 255)
    ).number(),
    "truth": lambda a, b: (a < b).to(a.kind) * 2,
    "widths": lambda a, b: (a.to("float64") * 1.1).to("float32").to(a.kind) + b,
    "lookup": lambda a, b: (
        ((a.bits() ^ b.bits()) & 3).lookup((5, 7, 11, 2**31)).number()
    ),
    "nearest": lambda a, b: nearest(at_most(1000, at_least(-1000, a * b)))[0],
    "rarely": lambda a, b: rarely(a > 1, halve_slowly, (b,), (a,))[0],
}


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("target", TARGETS)
def test_compiled_lanes_have_the_bits_of_numpy(kind: str, target: str) -> None:
    a, b = (x.ravel() for x in np.meshgrid(*[np.array(NUMBERS, DTYPE[kind])] * 2))
    native = Native(FORMULAS, kind, target, operands=2)
    arrays = ArrayArithmetic()
    for name, formula in FORMULAS.items():
        expected = formula(arrays.lanes(a), arrays.lanes(b)).value
        assert same_bits(native(name, a, b), expected), name


@pytest.mark.parametrize("kind", FLOATS)
def test_nearest_rounds_to_even_and_returns_the_word(kind: str) -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 1e6], DTYPE[kind])
    n, word = nearest(ArrayArithmetic().lanes(x))
    assert n.value.tolist() == np.rint(x).tolist()
    signed = np.int32 if kind == "float32" else np.int64
    assert word.value.view(signed).tolist() == np.rint(x).tolist()


@pytest.mark.parametrize(("larger", "ufunc"), [(True, np.maximum), (False, np.minimum)])
def test_maximum_and_minimum_are_those_of_numpy(larger: bool, ufunc: np.ufunc) -> None:
    a, b = (x.ravel() for x in np.meshgrid(NUMBERS, NUMBERS))
    lanes = ArrayArithmetic().lanes
    found = (maximum if larger else minimum)(lanes(a), lanes(b)).value
    np.testing.assert_array_equal(found, ufunc(a, b))


def test_a_slow_formula_runs_only_where_it_is_needed() -> None:
    def never(x: Lanes) -> tuple[Lanes, ...]:
        raise AssertionError(x)

    x = ArrayArithmetic().lanes(np.arange(4.0))
    (result,) = rarely(x > 9, never, (x,), (x,))
    assert result.value.tolist() == [0, 1, 2, 3]


def test_select_needs_lanes_for_a_kind() -> None:
    x = ArrayArithmetic().lanes(np.arange(4.0))
    with pytest.raises(TypeError, match="select needs lanes"):
        select(x > 1, 1, 0)


def test_words_wrap_around_and_shift_zeros_in() -> None:
    x = ArrayArithmetic().lanes(np.array([-1.0]))
    assert (x.bits() << 1 >> 1).number().value.tolist() == [1.0]
    assert ((x.bits() - x.bits() - 1).value == 2**64 - 1).all()
    assert ctypes.c_uint64(-1).value == (~(x.bits() ^ x.bits())).value[0]
