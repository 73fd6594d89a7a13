"""Gradients of random programs, against differences of plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtrain import loss_and_gradient, program, weight
from tests.tolerances import FLOAT64

SAMPLES = 5
WEIGHTS = {"s": (), "v": (3,), "m": (2, 3), "n": (3, 3), "e": (0,)}
INPUTS = {"x": (3,), "y": (), "z": (2, 3)}
Arrays = dict[str, Any]

UNARY: list[Callable[[Any], Any]] = [
    np.tanh,
    np.sin,
    lambda a: -a,
    lambda a: 1 / (1 + np.exp(-a)),
    lambda a: np.exp(-np.square(a)),
    lambda a: np.sqrt(1 + a**2),
    lambda a: np.log(1 + a * a),
    lambda a: np.log1p(np.exp(np.sin(a))),
    lambda a: np.arctan(a) ** 3,
    lambda a: (1 + np.square(a)) ** -0.5,
    lambda a: np.where(np.abs(a) > 0.4, a, 0.4 * np.sin(a)),
    lambda a: np.maximum(a, 0.3) - np.minimum(a, 0.1),
    lambda a: np.sum(a),
    lambda a: np.mean(a, axis=0) if np.ndim(a) and len(a) else a,
    lambda a: np.sum(a, axis=-1, keepdims=True) if np.ndim(a) else a,
    lambda a: np.max(a, axis=-1) if np.ndim(a) and np.shape(a)[-1] else a,
    lambda a: np.prod(np.cos(a), axis=0) if np.ndim(a) else a,
    lambda a: a.T,
    lambda a: np.ravel(a),
    lambda a: a[::-1] if np.ndim(a) else a[None],
    lambda a: a[..., 1:] if np.ndim(a) else a,
    lambda a: a[[0, -1, 0]] if np.ndim(a) and np.shape(a)[0] else a,
    lambda a: a[..., None],
    lambda a: np.sum(np.square(a)),
]


def fitting(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """With the mean of the second operand, where shapes do not fit."""

    def fit(a: Any, b: Any) -> Any:
        try:
            np.broadcast_shapes(np.shape(a), np.shape(b))
        except ValueError:
            b = np.sum(b) / 4
        return function(a, b)

    return fit


def _matmul(a: Any, b: Any) -> Any:
    if not np.ndim(a) or not np.ndim(b):
        return a * b
    inner = np.shape(b)[-2 if np.ndim(b) > 1 else -1]
    if np.shape(a)[-1] != inner or max(np.ndim(a), np.ndim(b)) > 2:
        return np.sum(a) * b
    return a @ b


BINARY: list[Callable[[Any, Any], Any]] = [
    fitting(lambda a, b: a + b),
    fitting(lambda a, b: a - 2 * b),
    fitting(lambda a, b: a * b),
    fitting(lambda a, b: a / (2 + np.sin(b))),
    fitting(lambda a, b: (1.5 + np.sin(a)) ** np.tanh(b)),
    fitting(lambda a, b: np.sum(a * b, axis=0) if np.ndim(a * b) else a * b),
    fitting(lambda a, b: np.sum(a * b)),
    fitting(lambda a, b: np.where(np.array(True), a, b) + np.sin(b)),
    _matmul,
    _matmul,
    lambda a, b: np.outer(np.ravel(a)[:3], np.ravel(b)[-3:]),
    lambda a, b: np.concatenate([np.ravel(a), np.ravel(b)])[:12],
    lambda a, b: np.stack([np.sum(a), np.sum(b), np.sum(a) * 0.5]),
]

STEPS = st.lists(
    st.tuples(
        st.integers(0, len(UNARY) + 2 * len(BINARY) - 1),
        st.integers(0, 11),
        st.integers(0, 11),
    ),
    min_size=1,
    max_size=16,
)


def interpret(steps: Sequence[tuple[int, int, int]], weights: Arrays, x: Arrays) -> Any:
    """Run steps on symbols or arrays: each adds a value to a pool."""
    pool = [
        weights["m"] @ x["x"],
        x["x"] * weights["v"],
        *weights.values(),
        *x.values(),
    ]
    for choice, i, j in steps:
        a, b = pool[-1 - i % len(pool)], pool[-1 - j % len(pool)]
        if choice < len(UNARY):
            y = UNARY[choice](a)
        else:
            y = BINARY[(choice - len(UNARY)) % len(BINARY)](a, b)
        if math.prod(np.shape(y)) > 30 or np.ndim(y) > 3:
            y = np.sum(y, axis=0)
        pool.append(np.sin(y) if choice % 3 == 0 else y)
    # Everything is used, and nothing by itself is large.
    return sum(np.sum(np.sin(y)) * (0.5 + 0.1 * i) for i, y in enumerate(pool[-5:]))


@settings(
    max_examples=200,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(steps=STEPS, block=st.integers(1, SAMPLES), seed=st.integers(0, 99))
def test_gradient_of_a_random_program(
    steps: list[tuple[int, int, int]], block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = {name: rng.uniform(-1, 1, shape) for name, shape in WEIGHTS.items()}
    inputs = {n: rng.uniform(-1, 1, (SAMPLES, *s)) for n, s in INPUTS.items()}
    direction = {name: rng.standard_normal(s) for name, s in WEIGHTS.items()}

    @program
    def traced(x, y, z):
        symbols = {name: weight(name, shape) for name, shape in WEIGHTS.items()}
        return interpret(steps, symbols, {"x": x, "y": y, "z": z})

    def plain(step: float) -> float:
        moved = {name: w + step * direction[name] for name, w in weights.items()}
        rows = ({n: c[i] for n, c in inputs.items()} for i in range(SAMPLES))
        return float(np.mean([interpret(steps, moved, row) for row in rows]))

    loss, gradient = loss_and_gradient(
        traced, weights, inputs, loss="mean", block=block
    )

    size = max(1.0, abs(loss))
    assert abs(loss - plain(0.0)) < FLOAT64.sums * size
    slope = sum(float(np.sum(gradient[name] * direction[name])) for name in weights)
    # A difference may straddle a kink; a smaller one then does not.
    near = FLOAT64.slope * max(size, abs(slope))
    differences = [_richardson(plain, h) for h in (1e-3, 2e-4, 5e-5)]
    assert min(abs(slope - each) for each in differences) < near, (slope, differences)


def _richardson(function: Callable[[float], float], h: float) -> float:
    coarse, fine = (
        (function(step) - function(-step)) / (2 * step) for step in (h, h / 2)
    )
    return (4 * fine - coarse) / 3
