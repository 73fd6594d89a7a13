"""Functions on grids: differences, integrals, interpolation and polynomials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dtrain.functions.axes import listed, one_axis
from dtrain.functions.base import Expression, adapter
from dtrain.functions.gather import integer


@adapter(np.diff)
def _diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None
) -> Any:
    if n < 0:
        raise ValueError(f"there are no differences of order {n}")
    rows = np.moveaxis(a, axis, 0)
    one = (1, *np.shape(rows)[1:])
    before, after = (
        [np.moveaxis(x, axis, 0) if np.ndim(x) else np.broadcast_to(x, one)]
        if x is not None
        else []
        for x in (prepend, append)
    )
    if before or after:
        rows = np.concatenate([*before, rows, *after])
    for _ in range(n):
        rows = rows[1:] - rows[:-1]
    return np.moveaxis(rows, 0, axis)


@adapter(np.ediff1d)
def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    differences = np.diff(np.ravel(ary))
    ends = (to_begin, differences, to_end)
    return np.concatenate([np.ravel(x) for x in ends if x is not None])


@adapter(np.trapezoid)
def _trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """Integrate by the trapezoidal rule between points at x, or dx apart."""
    rows = np.moveaxis(y, axis, -1)
    if x is not None:
        dx = np.diff(x) if np.ndim(x) == 1 else np.diff(np.moveaxis(x, axis, -1))
    return np.sum(dx * (rows[..., 1:] + rows[..., :-1]) / 2.0, axis=-1)


@adapter(np.gradient)
def _gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return central differences, one-sided at the ends; the step is a constant."""
    if edge_order != 1 or any(np.ndim(step) for step in varargs):
        raise ValueError("steps are numbers here, and edges of order 1")
    rank = np.ndim(f)
    axes = [one_axis(i, rank) for i in (range(rank) if axis is None else listed(axis))]
    steps = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    slopes = tuple(_slope(f, *each) for each in zip(steps, axes, strict=True))
    return slopes[0] if len(slopes) == 1 else slopes


def _slope(f: Expression, step: float, axis: int) -> Expression:
    rows = np.moveaxis(f, axis, 0)
    if np.shape(rows)[0] < 2:
        raise ValueError("a slope needs two points")
    first, last = rows[1:2] - rows[:1], rows[-1:] - rows[-2:-1]
    middle = (rows[2:] - rows[:-2]) / 2.0
    return np.moveaxis(np.concatenate([first, middle, last]) / step, 0, axis)


@adapter(np.interp)
def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None) -> Any:
    """Interpolate linearly; the derivative at a point is the slope to its right."""
    n = np.shape(xp)[0]
    if np.shape(xp) != np.shape(fp) or not n:
        raise ValueError(f"points at {np.shape(xp)} with values of {np.shape(fp)}")
    before, beyond = np.less(x, xp[0]), np.greater(x, xp[-1])
    ends = np.where(before, fp[0] if left is None else left, fp[-1])
    ends = ends if right is None else np.where(beyond, right, ends)
    if n == 1:
        return np.where(np.logical_or(before, beyond), ends, fp[0])
    inner = np.where(np.logical_or(before, beyond), xp[0], x)
    at = np.sum(np.greater_equal(inner[..., None], xp[1:-1]), axis=-1)
    lines = xp, fp, np.diff(fp) / np.diff(xp)
    at = np.ravel(integer(at))
    start, value, slope = (np.take_along_axis(line, at, 0) for line in lines)
    y = value + slope * (np.ravel(inner) - start)
    return np.where(np.logical_or(before, beyond), ends, np.reshape(y, np.shape(x)))


@adapter(np.polyval)
def _polyval(p: Any, x: Any) -> Any:
    """Evaluate a polynomial, highest power first, by Horner's rule."""
    y: Any = np.zeros(np.shape(x))
    for i in range(np.shape(p)[0]):
        y = y * x + p[i]
    return y


@adapter(np.vander)
def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Return the powers of each element as a row."""
    if np.ndim(x) != 1:
        raise ValueError("vander takes a vector")
    powers: list[Any] = [np.ones(np.shape(x))]
    for _ in range((np.shape(x)[0] if N is None else N) - 1):
        powers.append(powers[-1] * x)
    return np.stack(powers[: None if N is None else N][:: 1 if increasing else -1], 1)


# The series of sin z / z, in z²; below z = 1 the next term is 1e-17.
_SINC = tuple(
    float(c)
    for c in np.cumprod([1.0] + [-1 / (2 * k * (2 * k + 1)) for k in range(1, 9)])
)


@adapter(np.sinc)
def _sinc(x: Any) -> Any:
    """Return sin πx / πx; near 0 by its series, which has the right derivatives."""
    z = np.pi * x
    near = np.less(np.abs(z), 1)
    square = np.square(np.where(near, z, 0))
    series: Sequence[float] = _SINC
    return np.where(
        near, np.polyval(series[::-1], square), np.sin(z) / np.where(near, 1, z)
    )
