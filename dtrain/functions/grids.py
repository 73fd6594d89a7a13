"""Functions on grids: differences, integrals, interpolation and polynomials."""

from __future__ import annotations

import operator
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
    if n == 0:  # like NumPy, which then has no use for the ends
        return a
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
    """Return differences of second order, one-sided at the ends.

    Along each axis the points are a step apart, or at coordinates.
    """
    if edge_order not in (1, 2):
        raise ValueError(f"edges of order {edge_order}: there are 1 and 2")
    rank = np.ndim(f)
    axes = [one_axis(i, rank) for i in (range(rank) if axis is None else listed(axis))]
    steps = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    slopes = tuple(
        _slope(f, *each, edge_order) for each in zip(steps, axes, strict=True)
    )
    return slopes[0] if len(slopes) == 1 else slopes


def _slope(f: Expression, step: Any, axis: int, edge_order: int) -> Expression:
    rows = np.moveaxis(f, axis, 0)
    n = np.shape(rows)[0]
    if n < edge_order + 1:
        raise ValueError(f"a slope needs {edge_order + 1} points")
    if np.ndim(step):
        return np.moveaxis(_uneven(rows, step, edge_order), 0, axis)
    if edge_order == 1:
        first, last = rows[1:2] - rows[:1], rows[-1:] - rows[-2:-1]
    else:
        first = -1.5 * rows[:1] + 2.0 * rows[1:2] - 0.5 * rows[2:3]
        last = 0.5 * rows[-3 : n - 2] - 2.0 * rows[-2 : n - 1] + 1.5 * rows[-1:]
    middle = (rows[2:] - rows[:-2]) / 2.0
    return np.moveaxis(np.concatenate([first, middle, last]) / step, 0, axis)


def _uneven(rows: Expression, at: Any, edge_order: int) -> Expression:
    """Return the slopes of the parabola through each point and its neighbours.

    At the ends they are those of the line through two points, or of that parabola.
    """
    n = np.shape(rows)[0]
    if np.shape(at) != (n,):
        raise ValueError(f"{np.shape(at)} coordinates for an axis of {n}")
    steps = np.reshape(np.diff(at), (n - 1,) + (1,) * (np.ndim(rows) - 1))
    h, k = steps[:-1], steps[1:]
    lines = (rows[1:] - rows[:-1]) / steps
    middle = (k * lines[:-1] + h * lines[1:]) / (h + k)
    first, last = lines[:1], lines[-1:]
    if edge_order == 2:
        bends = (lines[1:] - lines[:-1]) / (h + k)
        first, last = first - h[:1] * bends[:1], last + k[-1:] * bends[-1:]
    return np.concatenate([first, middle, last])


@adapter(np.linspace)
def _linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    *,
    axis: int = 0,
) -> Any:
    """Return evenly spaced numbers; the ends may be arrays, ``num`` is an integer."""
    num = operator.index(num)
    if num < 0:
        raise ValueError(f"there are no {num} numbers")
    shape = np.broadcast_shapes(np.shape(start), np.shape(stop))
    start, stop = (np.broadcast_to(x, shape) for x in (start, stop))
    parts = num - 1 if endpoint else num
    step = (stop - start) / parts if parts > 0 else (stop - start) * np.nan
    counts = np.reshape(np.arange(float(num)), (num,) + (1,) * len(shape))
    if parts > 0:
        y = counts * step + start
    else:
        y = np.zeros((num, *shape)) + start
    if endpoint and num > 1:  # the last is exact
        y = np.concatenate([y[:-1], np.expand_dims(stop, 0)])
    y = np.moveaxis(y, 0, axis)
    return (y, step) if retstep else y


@adapter(np.logspace)
def _logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    *,
    axis: int = 0,
) -> Any:
    """Return powers of the base, whose exponents are evenly spaced."""
    exponents = np.linspace(start, stop, num, endpoint, axis=axis)
    return np.power(np.expand_dims(base, axis) if np.ndim(base) else base, exponents)


@adapter(np.interp)
def _interp(
    x: Any,
    xp: Any,
    fp: Any,
    left: Any = None,
    right: Any = None,
    period: float | None = None,
) -> Any:
    """Interpolate linearly; the derivative at a point is the slope to its right."""
    n = np.shape(xp)[0]
    if np.shape(xp) != np.shape(fp) or not n:
        raise ValueError(f"points at {np.shape(xp)} with values of {np.shape(fp)}")
    if period is not None:
        x, xp, fp = _periodic(x, xp, fp, abs(period))
        n, left, right = n + 2, None, None
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


def _periodic(x: Any, xp: Any, fp: Any, period: float) -> tuple[Any, Any, Any]:
    """Return points in one period, in order, with the nearest of both neighbours."""
    if not period:
        raise ValueError("period is not 0")
    x, xp = np.remainder(x, period), np.remainder(xp, period)
    order = np.argsort(xp)
    xp, fp = np.take(xp, order), np.take(fp, order)
    around = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
    return x, around, np.concatenate([fp[-1:], fp, fp[:1]])


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
