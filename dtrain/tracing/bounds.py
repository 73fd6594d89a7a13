"""Bounds of weights: checked where a program states them, rounded to a run's dtype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import UsageError
from dtrain.functions.base import Shape
from dtrain.tracing.initializers import Initializer
from dtrain.tracing.node import Bounds, Constant, WeightSpec
from dtrain.tracing.symbol import Symbol


def bounds(lower: Any, upper: Any, shape: Shape) -> Bounds:
    """Return the bounds that a program states for a weight.

    Args:
        lower: a number, an array that broadcasts to the shape, or ``None``.
        upper: the same; −∞ and ∞ stand for no bound.
        shape: the weight's shape.

    Raises:
        UsageError: a bound is no such array, or no number lies between the two.
    """
    stated = Bounds(
        _bound("lower", lower, shape, -np.inf), _bound("upper", upper, shape, np.inf)
    )
    if not stated:  # the weight may be too large for memory, which is said later
        return stated
    low, high = _arrays(stated, shape)
    crossed = low > high
    if crossed.any():
        at = _first(crossed)
        raise UsageError(
            f"its lower bound {low[at]:g} is above its upper bound {high[at]:g}"
            + _place(at)
        )
    return stated


def check_first(first: Initializer, stated: Bounds, shape: Shape) -> None:
    """Refuse a constant initial value that is outside the bounds.

    Raises:
        UsageError: naming the value and the bound.
    """
    if stated and first.distribution == "constant":
        values = np.full(shape, first.low)
        _refuse_outside(values, *_arrays(stated, shape), "its first value")


def check_given(specs: Mapping[str, WeightSpec], values: Mapping[str, Any]) -> None:
    """Refuse given weights that are outside their bounds.

    A float32 value is compared with the bounds in float32, any other one in float64.

    Raises:
        UsageError: naming the weight, the value and the bound.
    """
    for name, spec in specs.items():
        if spec.bounds:
            value = np.asarray(values[name])
            single = value.dtype == np.float32
            limits = rounded(
                spec.bounds, spec.shape, "float32" if single else "float64"
            )
            what = f"weight {name!r}: the given value"
            _refuse_outside(value, *limits, what, f" of {spec.source}")


def rounded(
    stated: Bounds, shape: Shape, dtype: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the bounds as two arrays of a weight's shape and of a dtype.

    Bounds are rounded inwards, so a number between the rounded bounds is between those
    that the program states. Where no number of the dtype lies between them, both become
    the nearest number.
    """
    low, high = _arrays(stated, shape)
    with np.errstate(over="ignore", under="ignore"):
        nearest = low.astype(dtype), high.astype(dtype)
        inside_low = np.where(
            nearest[0] < low, np.nextafter(nearest[0], np.inf, dtype=dtype), nearest[0]
        )
        inside_high = np.where(
            nearest[1] > high,
            np.nextafter(nearest[1], -np.inf, dtype=dtype),
            nearest[1],
        )
    crossed = inside_low > inside_high
    return (
        np.where(crossed, nearest[0], inside_low),
        np.where(crossed, nearest[0], inside_high),
    )


def project(values: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> None:
    """Move each value that is outside the bounds to the nearest bound, in place.

    NaN stays NaN. The bits depend on no processor: a comparison chooses, so −0 stays
    within bounds of 0 (the sign of ``np.maximum(-0.0, 0.0)`` is not defined).
    """
    np.copyto(values, low, where=values < low)
    np.copyto(values, high, where=values > high)


def text(stated: Bounds) -> str:
    """Return bounds as they are printed: ``in [0, 1]``, ``≥ 0``, or ``≤ array``."""
    low, high = (None if b is None else _shown(b) for b in (stated.lower, stated.upper))
    if low is None:
        return f"≤ {high}"
    return f"≥ {low}" if high is None else f"in [{low}, {high}]"


def _bound(side: str, given: Any, shape: Shape, none: float) -> Constant | None:
    """Return one bound as a constant; ``None`` if it bounds nothing."""
    if given is None:
        return None
    what = "a number, or an array of numbers that broadcasts to the weight's shape"
    if isinstance(given, Symbol):
        raise UsageError(
            f"{side} is a value of the program; a bound is {what}, the same for all "
            "samples and steps"
        )
    try:
        array = np.asarray(given)
        if array.dtype.kind not in "iuf":
            raise ValueError
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        raise UsageError(f"{side} is {given!r}; it must be {what}") from None
    if not fits:
        raise UsageError(
            f"{side} has shape {array.shape}, which does not broadcast to {shape}"
        )
    array = array.astype(np.float64) + 0.0  # no −0
    if np.isnan(array).any() or (array == -none).any():
        raise UsageError(f"{side} is {given!r}: no number satisfies it")
    return None if (array == none).all() else Constant.of(array)


def _arrays(stated: Bounds, shape: Shape) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the bounds in float64, in the weight's shape."""
    low = -np.inf if stated.lower is None else stated.lower.value
    high = np.inf if stated.upper is None else stated.upper.value
    return np.broadcast_to(low, shape), np.broadcast_to(high, shape)


def _refuse_outside(
    values: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    what: str,
    where: str = "",
) -> None:
    for outside, limit, side in (
        (values < low, low, "below its lower bound"),
        (values > high, high, "above its upper bound"),
    ):
        if outside.any():
            at = _first(outside)
            raise UsageError(
                f"{what} {values[at]:g}{_place(at)} is {side} {limit[at]:g}{where}"
            )


def _first(found: NDArray[Any]) -> tuple[int, ...]:
    """Return the index of the first true element."""
    return tuple(int(i) for i in np.argwhere(found)[0])


def _place(at: tuple[int, ...]) -> str:
    return f" at [{', '.join(map(str, at))}]" if at else ""


def _shown(bound: Constant) -> str:
    return f"{bound.value.item():g}" if bound.shape == () else f"array {bound.shape}"
