"""The operators and methods of arrays, for symbols.

Most call the NumPy function of the same name. Those that need a number are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NoReturn

import numpy as np

from dtrain.functions import gather


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **keywords: Any) -> Any:
        return function(self, *args, **keywords)

    method.__doc__ = f"As ``np.{function.__name__}``."
    return method


class ArrayMethods(np.lib.mixins.NDArrayOperatorsMixin):
    """The attributes of an array that call NumPy's functions on the array."""

    __slots__ = ()

    def _refuse(self, message: str) -> NoReturn:
        raise NotImplementedError(message)

    @property
    def T(self: Any) -> Any:
        """The axes in reverse order."""
        return np.transpose(self)

    @property
    def mT(self: Any) -> Any:
        """The last two axes in reverse order."""
        return np.matrix_transpose(self)

    @property
    def real(self) -> Any:
        """The value itself, as all values are real."""
        return self

    sum = _method(np.sum)
    mean = _method(np.mean)
    prod = _method(np.prod)
    max = _method(np.max)
    min = _method(np.min)
    argmax = _method(np.argmax)
    argmin = _method(np.argmin)
    dot = _method(np.dot)
    ravel = flatten = _method(np.ravel)
    clip = _method(np.clip)
    argsort = _method(np.argsort)
    take = _method(np.take)
    cumprod = _method(np.cumprod)
    cumsum = _method(np.cumsum)
    var = _method(np.var)
    std = _method(np.std)
    any = _method(np.any)
    all = _method(np.all)
    round = _method(np.round)
    repeat = _method(np.repeat)
    squeeze = _method(np.squeeze)
    swapaxes = _method(np.swapaxes)
    diagonal = _method(np.diagonal)
    trace = _method(np.trace)

    copy = _method(np.copy)
    conj = conjugate = _method(np.conjugate)

    def reshape(self: Any, *sizes: Any, order: Literal["C", "F"] = "C") -> Any:
        """As ``np.reshape``."""
        return np.reshape(self, sizes[0] if len(sizes) == 1 else sizes, order=order)

    def astype(self: Any, dtype: Any, *, copy: bool = True) -> Any:  # noqa: ARG002
        """As an array's: to an integer type for indices; other numbers have one."""
        to = np.dtype(dtype)
        kind = to.kind
        if kind not in "biuf":
            self._refuse(f".astype({to}): values are real, integers or truth values")
        if kind in "iu" and to.itemsize < 4:
            self._refuse(
                f".astype({to}) wraps around what is too large, which is not traced; "
                "use .astype(int), and % for the remainder"
            )
        if kind == "b":
            return np.not_equal(self, 0)
        return gather.integer(self, cast=True) if kind in "iu" else self * 1.0

    def transpose(self: Any, *axes: Any) -> Any:
        """As ``np.transpose``."""
        return np.transpose(self, axes[0] if len(axes) == 1 else axes or None)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        self._refuse(
            "values cannot be assigned into; make a new one with np.where, "
            "np.concatenate or np.stack"
        )

    # Conversions, which would need the value

    def __bool__(self) -> bool:
        self._refuse(
            "`if`, `while`, `and`, `or` and `not` ask for a truth value, but this "
            "depends on the data, and one flow graph serves all samples: use np.where, "
            "np.maximum, np.minimum or np.logical_and"
        )

    def _number(self, *_: Any) -> NoReturn:
        self._refuse(
            "a plain number is asked for, but this value depends on the data: use "
            "NumPy's functions (np.sin, not math.sin), and np.stack to put values "
            "into an array"
        )

    __float__ = __int__ = __index__ = __complex__ = __round__ = _number


# `a += b` makes a new value and gives it the name a; NumPy's mixin would write into a.
for _operator in (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
    *("and", "or", "xor", "lshift", "rshift"),
):
    _binary = getattr(ArrayMethods, f"__{_operator}__")
    setattr(ArrayMethods, f"__i{_operator}__", _binary)
