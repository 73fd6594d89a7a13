"""A traced program computes what plain NumPy computes of each sample."""

# Every expression is given the same four values, and some negate twice.
# ruff: noqa: ARG005, B002

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dtrain import predict, program
from dtrain.functions.base import ADAPTERS, FUNCTIONS, UFUNCS
from tests.functions.page import numpy_name
from tests.functions.slopes import Slopes, program_of
from tests.tolerances import FLOAT64
from tests.tracing.numpy_calls import CALLS

SAMPLES = 4
MASK = np.array([[True, False, True], [False, False, True]])

EXPRESSIONS: dict[str, Callable[..., Any]] = {
    # x is (2, 3), y is (3,), z is (), m is (3, 3); entries between 0.3 and 2.
    "x + y": lambda x, y, z, m: x + y,
    "2 + x": lambda x, y, z, m: 2 + x,
    "x - y": lambda x, y, z, m: x - y,
    "1 - x": lambda x, y, z, m: 1 - x,
    "x * z": lambda x, y, z, m: x * z,
    "2 * x": lambda x, y, z, m: 2 * x,
    "array * y": lambda x, y, z, m: np.array([1.0, 2, 3]) * y,
    "array - y": lambda x, y, z, m: np.array([[1.0], [2]]) - y,
    "scalar of NumPy / y": lambda x, y, z, m: np.float64(3) / y,
    "x / y": lambda x, y, z, m: x / y,
    "1 / x": lambda x, y, z, m: 1 / x,
    "x ** y": lambda x, y, z, m: x**y,
    "x ** 2": lambda x, y, z, m: x**2,
    "x ** 3": lambda x, y, z, m: x**3,
    "x ** 0": lambda x, y, z, m: x**0,
    "x ** 0.5": lambda x, y, z, m: x**0.5,
    "x ** -1": lambda x, y, z, m: x**-1,
    "x ** [1, 2, 3]": lambda x, y, z, m: x ** np.array([1, 2, 3]),
    "2 ** x": lambda x, y, z, m: 2**x,
    "-x": lambda x, y, z, m: -x,
    "+x": lambda x, y, z, m: +x,
    "abs": lambda x, y, z, m: abs(1 - x),
    "x += y": lambda x, y, z, m: _inplace(x, y),
    "m @ y": lambda x, y, z, m: m @ y,
    "y @ m": lambda x, y, z, m: y @ m,
    "x @ m": lambda x, y, z, m: x @ m,
    "y @ y": lambda x, y, z, m: y @ y,
    "array @ y": lambda x, y, z, m: np.arange(6.0).reshape(2, 3) @ y,
    "y @ array": lambda x, y, z, m: y @ np.arange(6.0).reshape(3, 2),
    "matmul of stacks": lambda x, y, z, m: x[:, None, :] @ m,
    "matmul, (2,1) and (1,)": lambda x, y, z, m: x[:, :1] @ y[:1],
    "matmul, (1,3) and (3,1)": lambda x, y, z, m: x[:1] @ y[:, None],
    "comparisons": lambda x, y, z, m: (
        1.0 * (x < y)
        + 2.0 * (x <= y)
        + 4.0 * (x > 1)
        + 8.0 * (x <= 1)
        + 16.0 * (x == x)
        + 32.0 * (x != y)
    ),
    "& | ^ ~": lambda x, y, z, m: 1.0 * (((x > 1) & (y > 1)) | ((x < 0.5) ^ ~(y > z))),
    "np.dot, matrices": lambda x, y, z, m: np.dot(x, m),
    "np.dot, vectors": lambda x, y, z, m: np.dot(y, y),
    "np.dot, scalar": lambda x, y, z, m: np.dot(z, y),
    "np.dot, three axes": lambda x, y, z, m: np.dot(m, np.stack([m, m + 1])),
    "np.outer": lambda x, y, z, m: np.outer(x, y),
    "np.vecdot": lambda x, y, z, m: np.vecdot(x, y),
    "sum of products": lambda x, y, z, m: np.sum(x * y, axis=-1),
    "sum of stretched products": lambda x, y, z, m: np.sum(x * x[:, :1], axis=1),
    "sum of outer products": lambda x, y, z, m: np.sum(
        y[:, None] * y[None, :], axis=(0, 1)
    ),
    "sum of squares": lambda x, y, z, m: np.sum(np.square(x), axis=0),
    "sum over stretched axis": lambda x, y, z, m: np.sum(
        x[:, :, None] * y[:, None] * np.ones((1, 1, 4)), axis=2
    ),
    **{
        f"np.{name}": (lambda f: lambda x, y, z, m: f(x - 1))(getattr(np, name))
        for name in [
            "exp",
            "expm1",
            "sin",
            "cos",
            "tan",
            "tanh",
            "sinh",
            "cosh",
            "arctan",
            "square",
            "sign",
            "abs",
            "absolute",
            "fabs",
            "negative",
            "positive",
        ]
    },
    **{
        f"np.{name}": (lambda f: lambda x, y, z, m: f(x))(getattr(np, name))
        for name in ["log", "log1p", "sqrt", "reciprocal"]
    },
    **{
        f"np.{name}(x, y)": (lambda f: lambda x, y, z, m: f(x, y))(getattr(np, name))
        for name in [
            "add",
            "subtract",
            "multiply",
            "divide",
            "true_divide",
            "power",
            "float_power",
            "maximum",
            "minimum",
        ]
    },
    **{
        f"np.{name}(x, y)": (lambda f: lambda x, y, z, m: 1.0 * f(x > 1, y > 1))(
            getattr(np, name)
        )
        for name in ["logical_and", "logical_or", "logical_xor"]
    },
    "np.logical_not": lambda x, y, z, m: 1.0 * np.logical_not(x > 1),
    "np.logical_and of numbers": lambda x, y, z, m: 1.0 * np.logical_and(x, y),
    **{
        f"np.{name} of one number": (
            lambda f: lambda x, y, z, m: f(z, axis=0) + f(2 * z, axis=-1)
        )(getattr(np, name))
        for name in (
            *("sum", "prod", "max", "min", "argmax", "argmin", "cumsum", "cumprod"),
            *("any", "all", "ptp", "nansum", "nanmax", "nanmean"),
        )
    },
    "truth values counted one by one": lambda x, y, z, m: np.stack(
        [
            np.sum(z > 0) + np.sum(z > 0.1),
            (z > 0).sum() + np.count_nonzero(z),
            np.prod(z > 0) + np.prod(z > 0.1),
            np.sum(np.isfinite(z)) - np.sum(z > 9),
        ]
    ),
    **{
        f"truth values, {name}": (
            lambda f: lambda x, y, z, m: 1.0 * ((f(x > 1) + f(x > y)) & ~f(x > 1.5))
        )(function)
        for name, function in {
            "concatenated": lambda t: np.concatenate([t, ~t], axis=1),
            "stacked": lambda t: np.stack([t, t]),
            "joined with known ones": lambda t: np.concatenate([t, MASK]),
            "rolled": lambda t: np.roll(t, 1),
            "padded": lambda t: np.pad(t, 1),
            "padded by 1": lambda t: np.pad(t, (1, 2), constant_values=1),
            "padded by copies": lambda t: np.pad(t, 1, "edge"),
            "on a diagonal": lambda t: np.diag(t[0]),
            "below a diagonal": np.tril,
            "above a diagonal": np.triu,
            "largest": lambda t: np.max(t, axis=0),
            "largest of one": lambda t: np.max(t[0, 0]),
            "smallest": lambda t: t.min(),
            "in windows": lambda t: np.lib.stride_tricks.sliding_window_view(
                t, 2, axis=1
            ),
        }.items()
    },
    "truth values beside numbers": lambda x, y, z, m: (
        np.concatenate([x > 1, x]) + np.stack([z, z > 0])[1]
    ),
    "x[stack of argmax and argmin]": lambda x, y, z, m: y[
        np.stack([np.argmax(y), np.argmin(y)])
    ],
    "x[concatenated argmax]": lambda x, y, z, m: y[
        np.roll(np.concatenate([np.argmax(x, axis=1), np.argmin(m, axis=0)]), 1)
    ],
    "x[largest argmax]": lambda x, y, z, m: y[np.max(np.argmax(x, axis=1))],
    "truth values summed over no axis": lambda x, y, z, m: (
        np.sum(x > 1, axis=()) + np.prod(x > 1, axis=())
    ),
    "np.where": lambda x, y, z, m: np.where(x > y, x, y),
    "np.where, numbers": lambda x, y, z, m: np.where(x > 1, 1, -1.5) * z,
    "np.where, mask": lambda x, y, z, m: np.where(MASK, x, z),
    "np.where, condition of numbers": lambda x, y, z, m: np.where(x - x, 1.0, y),
    **{
        f"np.{name}, axis {axis}, keepdims {keepdims}": (
            lambda f, a, k: lambda x, y, z, m: f(x - 0.9, axis=a, keepdims=k)
        )(getattr(np, name), axis, keepdims)
        for name in ["sum", "mean", "prod", "max", "min"]
        for axis in (None, 0, -1, (0, 1), (-1, 0))
        for keepdims in (False, True)
    },
    **{
        f"np.{name}, axis {axis}": (
            lambda f, a: lambda x, y, z, m: 1.0 * f(np.sin(9 * x), axis=a)
        )(getattr(np, name), axis)
        for name in ["argmax", "argmin"]
        for axis in (None, 0, 1, -1)
    },
    "np.sum of no axes": lambda x, y, z, m: np.sum(x, axis=()),
    "np.sum of a scalar": lambda x, y, z, m: np.sum(z),
    "np.max of a scalar": lambda x, y, z, m: np.max(z),
    "np.add.reduce": lambda x, y, z, m: np.add.reduce(x),
    "np.maximum.reduce": lambda x, y, z, m: np.maximum.reduce(x, axis=1, keepdims=True),
    "count of trues": lambda x, y, z, m: np.sum(x > 1, axis=0),
    "mean of trues": lambda x, y, z, m: np.mean(x > 1),
    "methods": lambda x, y, z, m: (
        x.sum() + x.mean(0) + x.max(axis=0) - x.min(axis=0, keepdims=True) + x.prod()
    ),
    "x.argmax": lambda x, y, z, m: 1.0 * x.argmax(1),
    "x.dot": lambda x, y, z, m: x.dot(y),
    "x.T": lambda x, y, z, m: x.T,
    "y.T": lambda x, y, z, m: y.T,
    "x.mT": lambda x, y, z, m: (x[None] * z).mT,
    "x.real": lambda x, y, z, m: x.real,
    "x.conj": lambda x, y, z, m: x.conj() + x.conjugate(),
    "x.astype(float)": lambda x, y, z, m: x.astype(float, copy=False),
    "x.astype(int)": lambda x, y, z, m: (9 * x).astype(np.int32, copy=False) * 1.0,
    "x.astype(bool)": lambda x, y, z, m: (x > 1).astype(np.float64),
    "large integers": lambda x, y, z, m: 10**20 * x + 2**70,
    "x.transpose": lambda x, y, z, m: x.transpose(),
    "x.transpose(1, 0)": lambda x, y, z, m: x.transpose(1, 0),
    "np.transpose, three axes": lambda x, y, z, m: np.transpose(
        x[:, :, None] * y, (2, 0, -2)
    ),
    "x.reshape(3, -1)": lambda x, y, z, m: x.reshape(3, -1),
    "x.T.reshape": lambda x, y, z, m: x.T.reshape(6),
    "x.T.ravel": lambda x, y, z, m: x.T.ravel(),
    "np.ravel of a slice": lambda x, y, z, m: np.ravel(x[::-1, ::2]),
    "np.reshape, scalar": lambda x, y, z, m: np.reshape(z, (1, 1)),
    "np.broadcast_to": lambda x, y, z, m: np.broadcast_to(y, (2, 2, 3)),
    "x[0]": lambda x, y, z, m: x[0],
    "x[-1, 2]": lambda x, y, z, m: x[-1, 2],
    "x[np.int64]": lambda x, y, z, m: x[np.int64(1)],
    "x[:, 1:]": lambda x, y, z, m: x[:, 1:],
    "x[..., 0]": lambda x, y, z, m: x[..., 0],
    "x[0, ...]": lambda x, y, z, m: x[0, ...],
    "x[..., None]": lambda x, y, z, m: x[..., None],
    "x[None, :, None]": lambda x, y, z, m: x[None, :, None],
    "x[::-1, ::-2]": lambda x, y, z, m: x[::-1, ::-2],
    "y[-1:0:-1]": lambda x, y, z, m: y[-1:0:-1],
    "y[2:1]": lambda x, y, z, m: y[2:1],
    "y[-99:99]": lambda x, y, z, m: y[-99:99],
    "y[[0, 0, 2]]": lambda x, y, z, m: y[[0, 0, 2]],
    "x[[1, 0], [2, 2]]": lambda x, y, z, m: x[[1, 0], [2, 2]],
    "x[:, array]": lambda x, y, z, m: x[:, np.array([[0, 2], [1, 1]])],
    "x[1, [-1, 0]]": lambda x, y, z, m: x[1, [-1, 0]],
    "x[mask]": lambda x, y, z, m: x[MASK],
    "y[mask list]": lambda x, y, z, m: y[[True, False, True]],
    "x[True]": lambda x, y, z, m: x[True],
    "z[()]": lambda x, y, z, m: z[()],
    "z[None]": lambda x, y, z, m: z[None],
    "slice of slice": lambda x, y, z, m: m[1:, ::2][:, ::-1].T,
    "unpacking": lambda x, y, z, m: _unpacked(y),
    "iterating": lambda x, y, z, m: sum(row * row for row in x),
    "len": lambda x, y, z, m: x * len(x) * len(y),
    "shape, ndim, size": lambda x, y, z, m: (
        x * (x.shape[1] + 10 * y.ndim + 100 * x.size + 1000 * z.size)
    ),
    "np.shape, ndim, size": lambda x, y, z, m: (
        x * (np.shape(x)[1] + 10 * np.ndim(y) + 100 * np.size(x) + 1000 * np.size(x, 1))
    ),
    "np.concatenate": lambda x, y, z, m: np.concatenate([x, m, -x]),
    "np.concatenate, axis 1": lambda x, y, z, m: np.concatenate([x, x.T[:2]], axis=1),
    "np.concatenate, axis None": lambda x, y, z, m: np.concatenate([x, y], axis=None),
    "np.concatenate with an array": lambda x, y, z, m: np.concatenate(
        [y, np.array([1.0, 2]), y]
    ),
    "np.concatenate of trues and numbers": lambda x, y, z, m: np.concatenate(
        [y, y > 1]
    ),
    "np.concatenate of numbers and choices": lambda x, y, z, m: np.concatenate(
        [np.argmax(x, axis=1), y]
    ),
    "np.stack": lambda x, y, z, m: np.stack([y, 2 * y, y**2]),
    "np.stack, last axis": lambda x, y, z, m: np.stack([x, x], axis=-1),
    "np.stack, scalars": lambda x, y, z, m: np.stack([z, 2 * z]),
    "np.stack with a number": lambda x, y, z, m: np.stack([z, np.float64(1)]),
    "1 / (1 + exp(-x))": lambda x, y, z, m: 1 / (1 + np.exp(-x)),
    "1 / (exp(x) + 1)": lambda x, y, z, m: 1 / (np.exp(x) + 1),
    "reciprocal of 1 + exp(-x)": lambda x, y, z, m: np.reciprocal(1 + np.exp(-x)),
    "algebra": lambda x, y, z, m: (
        (x * 1 + 0) / 1 - (-y) + (-(-x)) * -1 + 0 * y + (-x) * (-y) - (0 - x)
    ),
    **CALLS,
    "np.diagonal, outside": lambda x, y, z, m: np.diagonal(x, 3) + np.sum(x),
    "np.matmul": lambda x, y, z, m: np.matmul(x, m),
    **{
        f"np.{name}": (lambda f: lambda x, y, z, m: 1.0 * f(x > 1, y > 1))(
            getattr(np, name)
        )
        for name in ["bitwise_and", "bitwise_or", "bitwise_xor"]
    },
    "np.invert": lambda x, y, z, m: 1.0 * np.invert(x > 1),
    "softmax": lambda x, y, z, m: np.exp(x - np.max(x)) / np.sum(np.exp(x - np.max(x))),
}


def _inplace(x: Any, y: Any) -> Any:
    x = x * 1.0
    x += y
    x *= y
    x @= np.eye(3)
    x -= 1
    x /= 2
    x **= 2
    x //= 0.3
    x %= 2
    mask = x > 1
    mask &= x < 2
    mask |= y > 1
    mask ^= x > 0.5
    return x + mask


def _unpacked(y: Any) -> Any:
    a, b, c = y
    return a * b - c


@pytest.fixture(scope="module")
def columns() -> dict[str, Any]:
    rng = np.random.default_rng(7)
    shapes = {"x": (2, 3), "y": (3,), "z": (), "m": (3, 3)}
    return {
        name: rng.uniform(0.3, 2, (SAMPLES, *shape)) for name, shape in shapes.items()
    }


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_plain_numpy_of_each_sample(name: str, columns: dict[str, Any]) -> None:
    expression = EXPRESSIONS[name]

    @program
    def traced(x, y, z, m):
        return {"result": expression(x, y, z, m)}

    rows = [
        expression(*(np.asarray(column[i]) for column in columns.values()))
        for i in range(SAMPLES)
    ]
    values = predict(traced, {}, columns)
    np.testing.assert_allclose(
        values,
        np.asarray(rows, np.float64),
        rtol=FLOAT64.value,
        atol=FLOAT64.value,
        strict=True,
    )


def test_every_function_of_numpy_has_a_call() -> None:
    called = {re.split(r"[ ,(]", name)[0] for name in EXPRESSIONS}
    names = {numpy_name(function) for function in ADAPTERS}
    # Ufuncs that are base functions have their cases in that table.
    names |= {f"np.{u.__name__}" for u in UFUNCS if u.__name__ not in FUNCTIONS}
    assert names <= called


@pytest.mark.parametrize("name", CALLS)
def test_the_derivatives_of_a_call(name: str, columns: dict[str, Any]) -> None:
    shapes = [column.shape[1:] for column in columns.values()]
    program = program_of(CALLS[name], shapes, "wwww", scalar=True)
    weights = {f"w{i}": c[0] for i, c in enumerate(columns.values())} | {"t": 0.0}
    slopes = Slopes(program, {"c": np.ones(1)}, weights, np.random.default_rng(8))
    for order, of in (("first", "value"), ("second", "first")):
        slope = slopes.at(order)
        difference = slopes.difference(of, along=("value", "first").index(of))
        size = max(1.0, abs(slopes.at(of)))
        near = {"first": FLOAT64.slope, "second": FLOAT64.second}[order]
        assert slope == pytest.approx(difference, rel=near, abs=near * size)
        assert slope != 0
