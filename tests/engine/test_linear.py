"""Random linear programs of one weight: their gradient is their transpose, exactly.

They pick, turn, join and repeat elements, by slices and by places, one upon another, so
that derivatives are put together in parts of parts of the weight's slot.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dtrain import base_function, loss_and_gradient, program, weight

Draw = random.Random


def _places(rng: Draw, size: int) -> list[int]:
    if rng.random() < 0.5:  # each once, in another order
        return rng.sample(range(size), rng.randint(0, size))
    return [rng.randrange(-size, size) for _ in range(rng.randint(0, 3) if size else 0)]


def _slice(rng: Draw, size: int) -> slice:
    start, stop = sorted((rng.randint(0, size), rng.randint(0, size)))
    step = rng.choice((1, 1, 2, 3))
    if rng.random() < 0.4:
        return slice(None, None, -step)
    return slice(start, stop, step)


def _axis(rng: Draw, a: Any) -> int:
    return rng.randrange(np.ndim(a))


def _along(rng: Draw, a: Any, index: Callable[[Draw, int], Any]) -> Any:
    axis = _axis(rng, a)
    return a[(slice(None),) * axis + (index(rng, np.shape(a)[axis]),)]


def _split(rng: Draw, a: Any) -> Any:
    axis = _axis(rng, a)
    first, last = np.split(a, [rng.randint(0, np.shape(a)[axis])], axis=axis)
    return np.concatenate([last, first] * rng.randint(1, 2), axis=axis)


def _shared(rng: Draw, a: Any) -> Any:
    one, other = (_along(rng, a, _places) for _ in range(2))
    return np.concatenate([np.ravel(one), np.ravel(other)])


def _mask(rng: Draw, a: Any) -> Any:
    return a[np.array([rng.random() < 0.5 for _ in range(np.shape(a)[0])], bool)]


MOVES: list[Callable[[Draw, Any], Any]] = [
    lambda rng, a: _along(rng, a, _slice),
    lambda rng, a: _along(rng, a, _slice),
    lambda rng, a: _along(rng, a, _places),
    lambda rng, a: _along(rng, a, _places),
    lambda rng, a: np.take(a, np.array(_places(rng, np.shape(a)[-1]), int), -1),
    lambda rng, a: np.flip(a, _axis(rng, a)),
    lambda rng, a: np.roll(a, rng.randint(-2, 2), axis=_axis(rng, a)),
    lambda rng, a: np.repeat(a, rng.randint(0, 2), axis=_axis(rng, a)),
    lambda rng, a: np.pad(a, rng.randint(0, 1)),
    lambda rng, a: np.delete(a, _slice(rng, np.shape(a)[0]), axis=0),
    lambda rng, a: np.expand_dims(a, rng.randint(0, np.ndim(a))),
    lambda _, a: np.reshape(a, (-1,)),
    lambda _, a: np.swapaxes(a, 0, -1),
    lambda _, a: 2 * a,
    lambda _, a: a + a[..., ::-1],
    lambda rng, a: np.sum(a, axis=_axis(rng, a), keepdims=True),
    _split,
    _split,
    _shared,
    _mask,
]


def moved(seed: int, a: Any) -> Any:
    """Make the moves that a seed stands for."""
    rng = Draw(seed)
    for _ in range(rng.randint(1, 5)):
        b = rng.choice(MOVES)(rng, a)
        a = b if np.ndim(b) <= 3 and np.size(b) <= 60 else a
    return a


def check(seed: int, shape: tuple[int, ...], backend: str) -> None:
    """Hold a gradient to the program's transpose, in whole numbers."""
    size = int(np.prod(shape))
    units = np.eye(size).reshape(size, *shape)
    factors = np.random.default_rng(seed).integers(
        -4, 5, np.shape(moved(seed, units[0]))
    )
    expected = [float(np.sum(factors * moved(seed, unit))) for unit in units]

    @program
    def linear(one):
        return np.sum(factors * moved(seed, weight("w", shape))) * one

    weights = {"w": np.arange(size, dtype=np.float64).reshape(shape)}
    loss, gradient = loss_and_gradient(
        linear, weights, [np.ones(3)], loss="mean", backend=backend, block=2
    )
    assert loss == np.dot(expected, np.arange(size)), seed
    np.testing.assert_array_equal(gradient["w"].ravel(), expected, err_msg=str(seed))


@pytest.mark.parametrize("shape", [(2, 3), (4, 4), (5,), (2, 3, 2)], ids=str)
def test_the_gradient_is_the_transpose(shape):
    for seed in range(150):
        check(seed, shape, "numpy")


def test_the_fused_backend_has_the_same():
    pytest.importorskip("llvmlite")
    for seed in range(25):
        check(seed, (4, 4), "fused")


def test_indices_in_a_part_of_a_slot():
    """A slice of a weight is no row of numbers side by side, and places count such."""

    @program
    def halves(one):
        left, right = np.split(weight("w", (4, 4)), 2, axis=1)
        return (np.sum(left[[0, 2]]) + np.sum(right[[1, 3]])) * one

    weights = {"w": np.ones((4, 4))}
    _, gradient = loss_and_gradient(halves, weights, [np.ones(1)], loss="mean")
    left, right = [1, 1, 0, 0], [0, 0, 1, 1]
    np.testing.assert_array_equal(gradient["w"], [left, right, left, right])


@pytest.mark.parametrize("backend", ["numpy", "fused"])
def test_an_array_without_elements_has_no_gradient(backend):
    if backend == "fused":
        pytest.importorskip("llvmlite")

    @program
    def empty(x):
        w = weight("w", (3, 1))
        windows = np.lib.stride_tricks.sliding_window_view((w * x)[:, :0], 2, axis=0)
        return np.sum(windows * w[:, :0][:2, :, None])

    columns = [np.ones((2, 3, 1))]
    weights = {"w": np.ones((3, 1))}
    loss, gradient = loss_and_gradient(
        empty, weights, columns, loss="mean", backend=backend
    )
    assert loss == 0
    np.testing.assert_array_equal(gradient["w"], np.zeros((3, 1)))


TURNS = {
    "rows": lambda v: v[[1, 0, 2]],
    "columns": lambda v: v[:, [1, 0]],
    "a slice of rows": lambda v: v[[2, 0, 1]][::-1],
    "elements": lambda v: np.reshape(np.reshape(v, -1)[[5, 3, 1, 0, 2, 4]], (3, 2)),
}


@pytest.mark.parametrize("backend", ["numpy", "fused"])
@pytest.mark.parametrize("turn", TURNS)
def test_a_derivative_that_is_read_by_indices_in_a_part_of_a_slot(turn, backend):
    if backend == "fused":
        pytest.importorskip("llvmlite")

    @base_function(shape=lambda shape: shape, vjp=lambda v, *_: (TURNS[turn](v),))
    def own(x):
        return 1.0 * x

    factors = np.arange(6.0).reshape(3, 2)

    @program
    def halves(one):
        left, right = np.split(weight("w", (3, 4)), 2, axis=1)
        return np.sum(factors * own(left)) * one + np.sum(right) * one

    weights = {"w": np.ones((3, 4))}
    _, gradient = loss_and_gradient(
        halves, weights, [np.ones(2)], loss="mean", backend=backend
    )
    np.testing.assert_array_equal(gradient["w"][:, :2], TURNS[turn](factors))
    np.testing.assert_array_equal(gradient["w"][:, 2:], np.ones((3, 2)))


def test_rows_without_elements_are_gathered():
    @program
    def empty(k):
        return np.sum(weight("w", (3, 0))[k])

    columns = [np.array([0, 2])]
    loss, gradient = loss_and_gradient(
        empty, {"w": np.ones((3, 0))}, columns, loss="mean"
    )
    assert loss == 0
    assert gradient["w"].shape == (3, 0)
