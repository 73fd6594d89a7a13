"""Functions that move elements: reshape, transpose, broadcast, index, join.

Indexing and `place` are each other's transfer function: the adjoint of an element is
added at the index it was read from. To join arrays is to place each at its index. So
concatenate, stack and the adjoints of many slices are one n-ary `place` in one buffer.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.base import (
    BaseFunction,
    Expression,
    Shape,
    adapter,
    register,
)


def _reshape_shape(old: Shape, *, shape: Shape) -> Shape:
    if min(shape, default=0) < 0:
        raise ValueError(f"{shape} has a negative size")
    if math.prod(old) != math.prod(shape):
        raise ValueError(f"{old} has {math.prod(old)} elements, {shape} has others")
    return shape


reshape: BaseFunction = register(
    BaseFunction(
        name="reshape",
        value=lambda x, *, shape: np.reshape(x, shape),
        shape=_reshape_shape,
        vjp=lambda v, y, x, *, shape: (np.reshape(v, np.shape(x)),),
        takes=None,
        gives=None,
        doc="The same elements in C order, in another shape.",
    )
)

transpose: BaseFunction = register(
    BaseFunction(
        name="transpose",
        value=lambda x, *, axes: np.transpose(x, axes),
        shape=lambda shape, *, axes: tuple(shape[i] for i in axes),
        vjp=lambda v, y, x, *, axes: (
            np.transpose(v, tuple(sorted(range(len(axes)), key=axes.__getitem__))),
        ),
        takes=None,
        gives=None,
        doc="The axes in another order.",
    )
)


def _broadcast_shape(old: Shape, *, shape: Shape) -> Shape:
    if np.broadcast_shapes(old, shape) != shape:
        raise ValueError(f"{old} does not stretch to {shape}")
    return shape


broadcast = register(
    BaseFunction(
        name="broadcast",
        value=lambda x, *, shape: np.broadcast_to(x, shape),
        shape=_broadcast_shape,
        vjp=lambda v, y, x, *, shape: (v,),  # un-broadcast where it arrives
        takes=None,
        gives=None,
        doc="The same elements, repeated along new or stretched axes.",
    )
)


@dataclass(frozen=True)
class Slices:
    """A part of an array: the start, length and step for each axis."""

    axes: tuple[tuple[int, int, int], ...]

    @property
    def shape(self) -> Shape:
        """The shape of the part."""
        return tuple(length for _, length, _ in self.axes)

    @property
    def key(self) -> tuple[slice, ...]:
        """The part as Python slices."""
        keys = []
        for start, length, step in self.axes:
            stop = start + length * step
            keys.append(slice(start, None if stop < 0 else stop, step))
        return tuple(keys)

    def read(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the elements of x that the slices select, as a view."""
        key: tuple[Any, ...] = (..., *self.key)
        part: NDArray[Any] = x[key]
        return part

    def add(self, out: NDArray[Any], v: NDArray[Any]) -> None:
        """Add v to the part."""
        self.read(out)[...] += v


@dataclass(frozen=True)
class Positions:
    """Elements of an array by their indices in C order, in any number.

    Attributes:
        places: the indices, as bytes of int64, so that they compare and hash.
        shape: the shape in which they are read.
    """

    places: bytes
    shape: Shape

    @property
    def key(self) -> NDArray[np.int64]:
        """The indices, in `shape`."""
        return np.frombuffer(self.places, np.int64).reshape(self.shape)

    def read(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the elements of one sample's x at the positions."""
        return np.take(x, self.key)

    def add(self, out: NDArray[Any], v: NDArray[Any]) -> None:
        """Add v to the elements, in order."""
        np.add.at(out.reshape(-1), self.key, v)


Index = Slices | Positions

index: BaseFunction = register(
    BaseFunction(
        name="index",
        value=lambda x, *, at: at.read(np.asarray(x)),
        shape=lambda shape, *, at: at.shape,
        vjp=lambda v, y, x, *, at: (place(v, at=(at,), shape=np.shape(x)),),
        takes=None,
        gives=None,
        doc="The elements of x at an index.",
    )
)


def _place_value(*vs: Any, at: tuple[Index, ...], shape: Shape) -> NDArray[Any]:
    out = np.zeros(shape, np.result_type(*vs))
    for v, part in zip(vs, at, strict=True):
        part.add(out, v)
    return out


def _place_shape(*shapes: Shape, at: tuple[Index, ...], shape: Shape) -> Shape:
    for given, part in zip(shapes, at, strict=True):
        if given != part.shape:
            raise ValueError(f"{given} does not fit a part of {part.shape}")
    return shape


place: BaseFunction = register(
    BaseFunction(
        name="place",
        value=_place_value,
        shape=_place_shape,
        vjp=lambda v, y, *xs, at, shape: tuple(index(v, at=part) for part in at),
        takes=None,
        gives=None,
        doc="Zeros with each input added at its index.",
    )
)


@adapter(np.reshape)
def _reshape(a: Any, shape: int | Sequence[int], order: str = "C") -> Any:
    old = np.shape(a)
    new = [shape] if isinstance(shape, int | np.integer) else list(shape)
    if order == "F":  # the first axis moves fastest
        return np.transpose(np.reshape(np.transpose(a), new[::-1]))
    if order != "C":
        raise ValueError("the orders are C and F")
    if new.count(-1) == 1:
        known = -math.prod(new)
        if known <= 0:
            raise ValueError(f"{tuple(new)} leaves the size of an axis open")
        new[new.index(-1)] = math.prod(old) // known
    target = tuple(int(size) for size in new)
    return a if target == old else reshape(a, shape=target)


@adapter(np.ravel)
def _ravel(a: Any, order: Any = "C") -> Any:
    return np.reshape(a, (math.prod(np.shape(a)),), order=order)


@adapter(np.transpose)
def _transpose(a: Any, axes: Sequence[int] | None = None) -> Any:
    rank = np.ndim(a)
    order = tuple(reversed(range(rank))) if axes is None else tuple(axes)
    order = tuple(i + rank if i < 0 else i for i in map(operator.index, order))
    if sorted(order) != list(range(rank)):
        raise ValueError(f"axes {axes} are no order of {rank} axes")
    return a if order == tuple(range(rank)) else transpose(a, axes=order)


@adapter(np.broadcast_to)
def _broadcast_to(array: Any, shape: int | Sequence[int]) -> Any:
    target = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    return array if target == np.shape(array) else broadcast(array, shape=target)


def getitem(x: Expression, key: Any) -> Expression:
    """Return ``x[key]`` for a constant key."""
    keys = key if isinstance(key, tuple) else (key,)
    if any(isinstance(each, list | np.ndarray | bool | np.bool) for each in keys):
        return _gather(x, key)
    shape = np.shape(x)
    used = sum(each is not None and each is not Ellipsis for each in keys)
    if used > len(shape):
        raise ValueError(f"{used} indices for {len(shape)} axes")
    if Ellipsis not in keys:
        keys = (*keys, Ellipsis)
    gap = keys.index(Ellipsis)
    keys = keys[:gap] + (slice(None),) * (len(shape) - used) + keys[gap + 1 :]
    axes: list[tuple[int, int, int]] = []
    result: list[int] = []
    for each in keys:
        if each is None:
            result.append(1)
        elif isinstance(each, slice):
            start, stop, step = each.indices(shape[len(axes)])
            length = len(range(start, stop, step))
            # Equal parts get equal keys, so that they become one node.
            axes.append((start, length, step) if length else (0, 0, 1))
            result.append(length)
        else:
            i, n = operator.index(each), shape[len(axes)]
            if not -n <= i < n:
                raise ValueError(f"index {i} is outside an axis of {n}")
            axes.append((i % n, 1, 1))
    part = Slices(tuple(axes))
    whole = part.axes == tuple((0, n, 1) for n in shape)
    return np.reshape(x if whole else index(x, at=part), tuple(result))


def _gather(x: Expression, key: Any) -> Expression:
    shape = np.shape(x)
    places = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)[key]
    return index(x, at=Positions(places.tobytes(), places.shape))


@adapter(np.concatenate)
def _concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Any:
    if axis is None:
        return _concatenate([np.ravel(x) for x in arrays])
    shapes = [np.shape(x) for x in arrays]
    if not shapes:
        raise ValueError("there is nothing to join")
    rank = len(shapes[0])
    if not rank or not -rank <= axis < rank:
        raise ValueError(f"there is no axis {axis} in {rank} axes")
    axis %= rank
    rests = {(len(s), s[:axis], s[axis + 1 :]) for s in shapes}
    if len(rests) > 1:
        raise ValueError(f"shapes {shapes} do not fit along axis {axis}")
    at, start = [], 0
    for shape in shapes:
        axes = [(0, n, 1) for n in shape]
        axes[axis] = (start, shape[axis], 1)
        at.append(Slices(tuple(axes)))
        start += shape[axis]
    full = (*shapes[0][:axis], start, *shapes[0][axis + 1 :])
    return place(*arrays, at=tuple(at), shape=full)


@adapter(np.stack)
def _stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    shapes = [np.shape(x) for x in arrays]
    if not shapes:
        raise ValueError("there is nothing to stack")
    if len(set(shapes)) > 1:
        raise ValueError(f"shapes {shapes} are not equal")
    rank = len(shapes[0]) + 1
    if not -rank <= axis < rank:
        raise ValueError(f"there is no axis {axis} in {rank} axes")
    axis %= rank
    shape = (*shapes[0][:axis], 1, *shapes[0][axis:])
    return _concatenate([np.reshape(x, shape) for x in arrays], axis)
