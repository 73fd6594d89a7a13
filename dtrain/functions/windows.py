"""Convolution and pooling, by windows that slide over an array.

Windows are a view and take no memory. Their transfer function adds each window's
adjoint at the window's position, and vice versa. So a convolution is a view and one
contraction, and pooling is a view and a reduction (lecture, "Important special cases":
reduce).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.axes import one_axis
from dtrain.functions.base import BaseFunction, Shape, adapter, register
from dtrain.functions.contraction import sum_of_products

Sizes = int | Sequence[int]


def _windows_shape(
    shape: Shape, *, size: Shape, stride: Shape, dilation: Shape
) -> Shape:
    lead = len(shape) - len(size)
    counts = []
    for n, k, step, gap in zip(shape[lead:], size, stride, dilation, strict=True):
        span = gap * (k - 1) + 1
        if min(k, step, gap) < 1 or span > n:
            raise ValueError(f"no window of {span} fits an axis of {n}")
        counts.append((n - span) // step + 1)
    return (*shape[:lead], *counts, *size)


def _windows_value(
    x: Any, *, size: Shape, stride: Shape, dilation: Shape
) -> NDArray[Any]:
    x = np.asarray(x)
    d = len(size)
    outer = tuple(n * s for n, s in zip(x.strides[-d:], stride, strict=True))
    inner = tuple(n * g for n, g in zip(x.strides[-d:], dilation, strict=True))
    shape = _windows_shape(x.shape, size=size, stride=stride, dilation=dilation)
    strides = (*x.strides[:-d], *outer, *inner)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


windows: BaseFunction = register(
    BaseFunction(
        name="windows",
        value=_windows_value,
        shape=_windows_shape,
        vjp=lambda v, y, x, *, size, stride, dilation: (
            overlap_add(
                v, shape=np.shape(x)[-len(size) :], stride=stride, dilation=dilation
            ),
        ),
        takes=None,
        gives=None,
        doc="The windows of the last axes, (..., n) as (..., m, k): window i has the "
        "elements i · stride + j · dilation, j < k.",
    )
)


def parts(
    shape: Shape, stride: Shape, dilation: Shape
) -> list[tuple[Shape, tuple[tuple[int, int, int], ...]]]:
    """Return start, count and step of the slices for each offset in a window."""
    d = len(stride)
    counts, size = shape[-2 * d : -d], shape[-d:]
    return [
        (
            place,
            tuple(
                (j * gap, m, step)
                for j, gap, m, step in zip(place, dilation, counts, stride, strict=True)
            ),
        )
        for place in itertools.product(*map(range, size))
    ]


def _overlap_add_value(
    v: Any, *, shape: Shape, stride: Shape, dilation: Shape
) -> NDArray[Any]:
    v = np.asarray(v)
    out = np.zeros((*v.shape[: v.ndim - 2 * len(shape)], *shape), v.dtype)
    for place, axes in parts(v.shape, stride, dilation):
        part = (slice(start, start + m * step, step) for start, m, step in axes)
        key: tuple[Any, ...] = (..., *part)
        window: tuple[Any, ...] = (..., *place)
        out[key] += v[window]
    return out


overlap_add: BaseFunction = register(
    BaseFunction(
        name="overlap_add",
        value=_overlap_add_value,
        shape=lambda v, *, shape, **_: (*v[: len(v) - 2 * len(shape)], *shape),
        vjp=lambda v, y, x, *, shape, stride, dilation: (
            windows(
                v, size=np.shape(x)[-len(shape) :], stride=stride, dilation=dilation
            ),
        ),
        doc="Windows added at their positions: (..., m, k) to (..., n).",
    )
)


def _each(sizes: Sizes, count: int, what: str) -> Shape:
    """Return one size for each axis of space."""
    if isinstance(sizes, int | np.integer):
        return (int(sizes),) * count
    if len(sizes) != count:
        raise ValueError(f"{what} {tuple(sizes)} is for other than {count} axes")
    return tuple(int(n) for n in sizes)


def convolution(
    x: Any,
    kernel: Any,
    *,
    stride: Sizes = 1,
    padding: Sizes | Literal["same"] = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Any:
    """Slide filters over an array (LeCun et al., 1989) without reversing them.

    Args:
        x: shape (channels, *space), with any number of axes of space.
        kernel: the filters, shape (filters, channels / groups, *size).
        stride: the step between windows, one number or one for each axis of space.
        padding: zeros at both ends of each axis of space; "same" keeps the space as
            it is if the stride is 1.
        dilation: the step between a window's elements.
        groups: the number of parts of the channels, each with separate filters.

    Returns:
        Shape (filters, *new space): per axis, (n + 2 · padding − dilation · (size − 1)
        − 1) // stride + 1.

    Raises:
        ValueError: if shapes do not fit.
    """
    (channels, *_), (filters, deep, *size) = np.shape(x), np.shape(kernel)
    d = len(size)
    if np.ndim(x) != d + 1 or channels != deep * groups or filters % groups:
        raise ValueError(
            f"filters of shape {np.shape(kernel)} in {groups} groups do not fit an "
            f"input of shape {np.shape(x)}; they are (filters, channels / groups, size)"
        )
    step, gap = _each(stride, d, "stride"), _each(dilation, d, "dilation")
    if padding == "same":
        spans = [g * (k - 1) for g, k in zip(gap, size, strict=True)]
        widths = [(span // 2, span - span // 2) for span in spans]
    else:
        widths = [(p, p) for p in _each(padding, d, "padding")]
    if any(map(any, widths)):
        x = np.pad(x, [(0, 0), *widths])
    patches = windows(x, size=tuple(size), stride=step, dilation=gap)
    space, inner = tuple(range(10, 10 + d)), tuple(range(20, 20 + d))
    shape = np.shape(patches)
    patches = np.reshape(patches, (groups, deep, *shape[1:]))
    kernel = np.reshape(kernel, (groups, filters // groups, deep, *size))
    labels = ((0, 2, *space, *inner), (0, 1, 2, *inner), (0, 1, *space))
    return np.reshape(
        sum_of_products(patches, kernel, labels), (filters, *shape[1 : 1 + d])
    )


def _pooled(x: Any, size: Sizes, stride: Sizes | None) -> tuple[Any, tuple[int, ...]]:
    """Return windows of the axes after the first, and the axes within a window."""
    d = np.ndim(x) - 1
    size = _each(size, d, "size")
    step = size if stride is None else _each(stride, d, "stride")
    patches = windows(x, size=size, stride=step, dilation=(1,) * d)
    return patches, tuple(range(1 + d, 1 + 2 * d))


def max_pool(x: Any, size: Sizes, stride: Sizes | None = None) -> Any:
    """Return the largest of each window of (channels, *space); of equals the first.

    The default stride is the size; an incomplete last window is left out.
    """
    patches, inner = _pooled(x, size, stride)
    return np.max(patches, axis=inner)


def mean_pool(x: Any, size: Sizes, stride: Sizes | None = None) -> Any:
    """Return the mean of each window of (channels, *space); see `max_pool`."""
    patches, inner = _pooled(x, size, stride)
    return np.mean(patches, axis=inner)


@adapter(np.lib.stride_tricks.sliding_window_view)
def _sliding_window_view(
    x: Any, window_shape: Sizes, axis: int | Sequence[int] | None = None
) -> Any:
    rank = np.ndim(x)
    if axis is None:
        axes = tuple(range(rank))
    else:
        given = (axis,) if isinstance(axis, int) else axis
        axes = tuple(one_axis(each, rank) for each in given)
    size = _each(window_shape, len(axes), "window_shape")
    ones = (1,) * len(axes)
    last = tuple(range(rank - len(axes), rank))
    y = windows(np.moveaxis(x, axes, last), size=size, stride=ones, dilation=ones)
    return np.moveaxis(y, last, axes)


@adapter(np.convolve)
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Return the sums of a at i − j times v at j."""
    _check_vectors(a, v)
    if np.shape(a)[0] < np.shape(v)[0]:
        a, v = v, a
    return _correlated(a, v[::-1], mode)


@adapter(np.correlate)
def _correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Return the sums of a at i + j times v at j."""
    _check_vectors(a, v)
    if np.shape(a)[0] < np.shape(v)[0]:
        return _correlated(v, a, mode)[::-1]
    return _correlated(a, v, mode)


def _check_vectors(a: Any, v: Any) -> None:
    if np.ndim(a) != 1 or np.ndim(v) != 1 or 0 in (*np.shape(a), *np.shape(v)):
        raise ValueError("two vectors with elements are needed")


def _correlated(a: Any, v: Any, mode: str) -> Any:
    n = np.shape(v)[0]
    ends = {"full": (n - 1, n - 1), "same": (n // 2, n - 1 - n // 2), "valid": (0, 0)}
    if mode not in ends:
        raise ValueError(f"mode {mode!r} is none of {', '.join(ends)}")
    padded = np.pad(a, ends[mode]) if any(ends[mode]) else a
    return windows(padded, size=(n,), stride=(1,), dilation=(1,)) @ v
