"""What cannot be traced is refused: where, what, and what to do instead."""

# The programs are given more than each of them takes wrong.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dtrain import base_function, layers, named, predict, program, scope, weight
from dtrain.errors import ProgramError

OTHER: list[Any] = []  # symbols of another trace


@program
def leaking(x):
    OTHER[:] = [x]
    return x + 1


def unsupported(x, v, m):
    return np.linalg.svd(m)  # HERE


def unsupported_ufunc(x, v, m):
    return np.spacing(x)  # HERE


def unsupported_operator(x, v, m):
    return x << 2  # HERE


def unsupported_method(x, v, m):
    return v.tolist()  # HERE


def unsupported_reduction(x, v, m):
    return np.logaddexp.reduce(v)  # HERE


def unsupported_option(x, v, m):
    return np.sum(v, out=np.zeros(()))  # HERE


def assigned(x, v, m):
    v[0] = 1  # HERE
    return v


def added_into_an_array(x, v, m):
    total = np.zeros(3)
    total += v  # HERE
    return total


def put_into_an_array(x, v, m):
    row = np.zeros(3)
    row[0] = x  # HERE
    return row * v


def written_by_out(x, v, m):
    y = v + 1
    np.sin(v, out=y)  # HERE
    return y


def written_by_out_into_itself(x, v, m):
    y = v * 2
    np.sin(y, out=y)  # HERE
    return y


def added_by_out_into_itself(x, v, m):
    y = v * 2
    np.add(y, 1, y)  # HERE
    return y


def reduced_by_out(x, v, m):
    y = v * 2
    np.add.reduce(m, out=y)  # HERE
    return y


def mended_in_place(x, v, m):
    np.nan_to_num(v, copy=False, posinf=0, neginf=0)  # HERE
    return v


def branched(x, v, m):
    if x > 0:  # HERE
        return x
    return -x


def chained(x, v, m):
    return 1.0 * (0 < x < 1)  # HERE


def maximum_of_python(x, v, m):
    return max(x, 0)  # HERE


def floated(x, v, m):
    return float(x) * v  # HERE


def made_an_integer(x, v, m):
    return int(x) * v  # HERE


def counted(x, v, m):
    return len(x) * v  # HERE


def iterated(x, v, m):
    return sum(part for part in x)  # HERE


def ranged(x, v, m):
    return sum(v for _ in range(x))  # HERE


def rounded(x, v, m):
    return round(x) * v  # HERE


def sine_of_math(x, v, m):
    return math.sin(x) * v  # HERE


def arrayed(x, v, m):
    return np.array([x, x])  # HERE


def as_array(x, v, m):
    return np.asarray(v) * 2  # HERE


def indexed_by_a_fraction(x, v, m):
    return v[2 * x]  # HERE


def indexed_by_a_weight(x, v, m):
    return v[weight("w")]  # HERE


def indexed_on_both_sides(x, v, m):
    i = np.argmax(m, axis=1)
    return m[:, None][i, :, i]  # HERE


def einsum_of_too_many(x, v, m):
    return np.einsum("ij,j,k", m, v)  # HERE


def einsum_without_an_axis(x, v, m):
    return np.einsum("ij,j", m, m)  # HERE


def padded_by_a_ramp(x, v, m):
    return np.pad(v, 1, "linear_ramp")  # HERE


def split_unevenly(x, v, m):
    return np.split(v, 2)  # HERE


def indexed_by_symbols(x, v, m):
    return v[[np.argmax(v), 0]]  # HERE


def indexed_beside_a_mask(x, v, m):
    return m[[True, False], np.argmax(v)]  # HERE


def indexed_beside_what_is_not_there(x, v, m):
    return m[[0, 2], np.argmax(v)]  # HERE


def masked_by_a_symbol(x, v, m):
    return v[v > 0]  # HERE


def outside(x, v, m):
    return v[3]  # HERE


def too_many_indices(x, v, m):
    return v[0, 0]  # HERE


def half_an_index(x, v, m):
    return v[0.5]  # HERE


def does_not_broadcast(x, v, m):
    return v + np.ones((2, 2))  # HERE


def does_not_add(x, v, m):
    return v + m  # HERE


def does_not_multiply(x, v, m):
    return m @ np.ones(5)  # HERE


def does_not_concatenate(x, v, m):
    return np.concatenate([v, m])  # HERE


def does_not_stack(x, v, m):
    return np.stack([v, x])  # HERE


def does_not_reshape(x, v, m):
    return m.reshape(3, 4)  # HERE


def no_such_axis(x, v, m):
    return np.sum(v, axis=1)  # HERE


def largest_of_nothing(x, v, m):
    return np.max(v[:0])  # HERE


def scalar_product_of_matmul(x, v, m):
    return x @ v  # HERE


def text(x, v, m):
    return x + "one"  # HERE


def other_trace(x, v, m):
    return x + OTHER[0]  # HERE


def base_function_that_does_not_fit(x, v, m):
    @base_function
    def product(a, b):
        return a @ b

    return product(m, np.ones(5))  # HERE


def unnamed_weight(x, v, m):
    return weight("") * x  # HERE


def shapeless_weight(x, v, m):
    return weight("w", (2, -1)) @ v  # HERE


def unknown_initialiser(x, v, m):
    return weight("w", (3,), init="xavier") @ v  # HERE


def array_as_initialiser(x, v, m):
    return weight("w", (3,), init=np.zeros(3)) @ v  # HERE


def weight_like_an_input(x, v, m):
    return weight("x") * x  # HERE


def two_names_alike(x, v, m):
    a = named(x + 1, "A")
    return a * named(x + 2, "A")  # HERE


def layer_of_a_matrix(x, v, m):
    return layers.dense(m, 2, name="h")  # HERE


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (unsupported, ["np.linalg.svd", "not in the table", "base_function"]),
        (unsupported_ufunc, ["np.spacing", "base_function"]),
        (unsupported_operator, ["np.left_shift", "base_function"]),
        (unsupported_method, [".tolist", "base_function"]),
        (unsupported_reduction, ["np.logaddexp.reduce", "base_function"]),
        (unsupported_option, ["np.sum", "out"]),
        (assigned, ["assigned", "np.where", "np.stack"]),
        (added_into_an_array, ["np.add", "write into", "a = a + b"]),
        (put_into_an_array, ["np.stack"]),
        (written_by_out, ["np.sin", "use its result"]),
        (written_by_out_into_itself, ["np.sin", "use its result"]),
        (added_by_out_into_itself, ["np.add", "use its result"]),
        (reduced_by_out, ["np.add", "use its result"]),
        (mended_in_place, ["np.nan_to_num", "use its result"]),
        (branched, ["if", "np.where", "np.maximum"]),
        (chained, ["and", "np.logical_and"]),
        (maximum_of_python, ["np.maximum"]),
        (floated, ["plain number", "np.sin, not math.sin"]),
        (made_an_integer, ["plain number"]),
        (counted, ["no len()"]),
        (iterated, ["iterated"]),
        (ranged, ["plain number"]),
        (rounded, ["plain number"]),
        (sine_of_math, ["np.sin, not math.sin"]),
        (arrayed, ["np.stack", "not np.array"]),
        (as_array, ["np.stack"]),
        (indexed_by_a_fraction, ["no integers", ".astype(int)"]),
        (indexed_by_a_weight, ["no integers", ".astype(int)"]),
        (indexed_on_both_sides, ["side by side", "index twice"]),
        (einsum_of_too_many, ["np.einsum", "3 operands"]),
        (einsum_without_an_axis, ["np.einsum", "'j'", "than 2"]),
        (padded_by_a_ramp, ["np.pad", "linear_ramp"]),
        (split_unevenly, ["np.split", "no 2 equal parts"]),
        (indexed_by_symbols, ["np.stack"]),
        (indexed_beside_a_mask, ["beside a mask", "index twice"]),
        (indexed_beside_what_is_not_there, ["index 2 is out of bounds"]),
        (masked_by_a_symbol, ["mask depends on the data", "np.where"]),
        (outside, ["(3,)", "index 3 is outside"]),
        (too_many_indices, ["2 indices for 1 axes"]),
        (half_an_index, ["'float'"]),
        (does_not_broadcast, ["(3,)", "(2, 2)"]),
        (does_not_add, ["(3,)", "(2, 4)"]),
        (does_not_multiply, ["(2, 4)", "(5,)"]),
        (does_not_concatenate, ["(3,)", "(2, 4)"]),
        (does_not_stack, ["(3,)", "()"]),
        (does_not_reshape, ["(2, 4)", "(3, 4)"]),
        (no_such_axis, ["no axis 1"]),
        (largest_of_nothing, ["no elements"]),
        (scalar_product_of_matmul, ["matmul", "use *"]),
        (text, ["str"]),
        (other_trace, ["another program's run", "pass it as an argument"]),
        (base_function_that_does_not_fit, ["product", "(2, 4)", "(5,)"]),
        (unnamed_weight, ["needs a name"]),
        (shapeless_weight, ["'w'", "(2, -1)"]),
        (unknown_initialiser, ["'w'", "'xavier'", "glorot"]),
        (array_as_initialiser, ["'w'", "ndarray", "give a number"]),
        (weight_like_an_input, ["two values are named 'x'"]),
        (two_names_alike, ["two values are named 'A'", "the first is at"]),
        (layer_of_a_matrix, ["'h'", "(2, 4)", "np.ravel"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_message_names_the_line_and_what_to_do(
    function: Callable[..., Any], says: list[str]
) -> None:
    leaking.trace()
    with pytest.raises(ProgramError) as caught:
        program(function).trace(x=(), v=3, m=(2, 4))
    message = str(caught.value)
    assert f"{__file__.rpartition('/')[2]}:{line_of(function)}" in message.split()[0]
    for part in says:
        assert part in message
    assert caught.value.exit_code == 2


def line_of(function: Callable[..., Any]) -> int:
    """The line that is marked."""
    lines, first = inspect.getsourcelines(function)
    (line,) = (first + i for i, text in enumerate(lines) if "# HERE" in text)
    return line


def here(offset: int = 0) -> str:
    """This file, and the caller's line."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"test_errors.py:{frame.f_back.f_lineno + offset}"


def test_a_weight_with_two_shapes_names_both_lines() -> None:
    first = here(+4)

    @program
    def unequal(x):
        a = weight("w", (3,))
        b = weight("w", (2,))
        return a @ x + np.sum(b)

    second = here(-3)
    with pytest.raises(ProgramError, match=r"\(2,\).*\(3,\)") as caught:
        unequal.trace(x=3)
    assert first in str(caught.value)
    assert str(caught.value).split()[0].endswith(f"{second}:")
    assert "scope" in str(caught.value)


def test_a_weight_with_two_initialisers_is_refused() -> None:
    @program
    def unequal(x):
        return weight("w", init="zeros") * x + weight("w", init="ones")

    with pytest.raises(ProgramError, match="another initialiser"):
        unequal.trace()


@pytest.mark.parametrize(
    ("result", "kind"),
    [(None, "NoneType"), (1.5, "float"), ([1.0], "list"), ({"a": None}, "NoneType")],
)
def test_a_program_must_return_what_it_computed(result: Any, kind: str) -> None:
    line = here(+2)

    @program
    def careless(x):
        return result

    with pytest.raises(ProgramError, match=f"careless returns a {kind}") as caught:
        careless.trace()
    assert line in str(caught.value)


def test_a_program_must_return_something() -> None:
    with pytest.raises(ProgramError, match=r"test_errors.py:\d+: .*returns nothing"):
        program(lambda x: {}).trace()


def test_a_program_may_not_return_a_value_of_another() -> None:
    leaking.trace()

    @program
    def thief(x):
        return OTHER[0] * 2

    with pytest.raises(ProgramError, match="another program's run"):
        thief.trace()


def test_names_of_outputs_must_be_texts() -> None:
    with pytest.raises(ProgramError, match=r"test_errors.py:\d+: .*must be a text"):
        program(lambda x: {1: x + 1}).trace()


@pytest.mark.parametrize(
    "parameters", ["*xs", "**xs", "x, /"], ids=["args", "keywords", "positional"]
)
def test_every_input_has_a_name(parameters: str) -> None:
    function = eval(f"lambda {parameters}: 0")  # noqa: S307
    line = here(+2)
    with pytest.raises(ProgramError, match="need names") as caught:
        program(function)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    "use", [lambda: weight("w"), lambda: named(1.0, "A"), lambda: leaking(1.0)]
)
def test_a_weight_outside_a_program_is_refused(use: Callable[[], Any]) -> None:
    with pytest.raises(ProgramError, match=r"test_errors.py:\d+: .*@program") as caught:
        use()
    assert "dtrain.predict" in str(caught.value)


def test_an_unknown_input_is_named_with_the_known_ones() -> None:
    line = here(+2)
    with pytest.raises(ProgramError, match=r"no input 'y'; it has x") as caught:
        leaking.trace(y=3)
    assert line in str(caught.value)


def test_an_error_in_a_program_shows_only_the_users_frames() -> None:
    @program
    def broken(x):
        return x * {}["missing"]

    with pytest.raises(ProgramError, match="raised KeyError") as caught:
        broken.trace()
    assert "test_errors.py" in str(caught.value)
    assert "dtrain/tracing" not in str(caught.value)


def test_a_failed_trace_leaves_no_state() -> None:
    @program
    def careless(x):
        with scope("left"):
            return weight("w", (2,)) + np.ones(3)

    with pytest.raises(ProgramError):
        careless.trace()
    assert list(program(lambda x: weight("w") * x).trace().weights) == ["w"]
    with pytest.raises(ProgramError):
        weight("w")


def test_predict_says_which_weight_is_missing() -> None:
    with pytest.raises(Exception, match="'w' is missing"):
        predict(program(lambda x: weight("w") * x), {}, [np.ones(2)])
