"""Fourier transforms of real and complex values.

A complex value is a pair of real ones, `Complex`. The transform of real values and its
inverse are linear, so each is the other's transfer function, up to the factors of the
elements that a spectrum of real values leaves out.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dtrain.functions.axes import one_axis
from dtrain.functions.base import (
    BaseFunction,
    Cost,
    Expression,
    Shape,
    adapter,
    register,
)
from dtrain.functions.keywords import arguments


def _spectrum_shape(shape: Shape) -> Shape:
    if not shape[-1]:
        raise ValueError("there is no transform of no elements")
    return (*shape[:-1], 2, shape[-1] // 2 + 1)


def _signal_shape(shape: Shape, *, n: int) -> Shape:
    if n < 1 or shape[-2:] != (2, n // 2 + 1):
        raise ValueError(f"{shape} is no spectrum of {n} elements")
    return (*shape[:-2], n)


def _times(n: int) -> NDArray[np.float64]:
    """Return how often each element of the half spectrum is in the whole one."""
    times = np.full(n // 2 + 1, 2.0)
    times[0] = 1
    if n % 2 == 0:
        times[-1] = 1
    return times


def _spectrum_value(x: Any) -> NDArray[Any]:
    z = np.fft.rfft(x)
    return np.stack([z.real, z.imag], -2)


def _signal_value(z: Any, *, n: int) -> NDArray[Any]:
    parts = np.asarray(z)
    return np.fft.irfft(parts[..., 0, :] + 1j * parts[..., 1, :], n)


def _spectrum_vjp(v: Expression, y: Expression, x: Expression) -> tuple[Expression]:
    n = np.shape(x)[-1]
    return (signal(v * (n / _times(n)), n=n),)


def _signal_vjp(
    v: Expression, y: Expression, x: Expression, *, n: int
) -> tuple[Expression]:
    return (spectrum(v) * (_times(n) / n),)


spectrum: BaseFunction = register(
    BaseFunction(
        name="spectrum",
        cost=Cost.SORT,
        value=_spectrum_value,
        shape=_spectrum_shape,
        vjp=_spectrum_vjp,
        doc="The discrete Fourier transform of the n real elements of the last axis: "
        "real and imaginary parts of its first n/2 + 1 elements, (..., 2, n/2 + 1).",
    )
)

signal: BaseFunction = register(
    BaseFunction(
        name="signal",
        cost=Cost.SORT,
        value=_signal_value,
        shape=_signal_shape,
        vjp=_signal_vjp,
        doc="The inverse of spectrum, (..., n).",
    )
)


class Complex(np.lib.mixins.NDArrayOperatorsMixin):
    """A complex value: a pair of real values of one shape, to compute with like NumPy's.

    ``np.abs``, ``np.angle``, ``.real`` and ``.imag`` give real values.
    """

    __slots__ = ("imag", "real")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, real: Expression, imag: Expression) -> None:
        self.real = real
        self.imag = imag

    def __repr__(self) -> str:
        return f"<complex value of shape {self.shape}: {self.real}, {self.imag}>"

    @property
    def shape(self) -> Shape:
        """The shape of both parts."""
        return np.shape(self.real)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> Complex:
        return Complex(self.real[key], self.imag[key])

    def conj(self) -> Complex:
        """Return the conjugate."""
        return Complex(self.real, -self.imag)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *xs: Any, **keywords: Any
    ) -> Any:
        function = _UFUNCS.get(ufunc)
        if function is None or method != "__call__" or keywords:
            self._refuse(f"np.{ufunc.__name__} of a complex value is not traced")
        return function(*map(pair, xs))

    def __array_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Any:
        name = f"{function.__module__}.{function.__name__}".replace("numpy", "np")
        if function in _FUNCTIONS:
            ours = _FUNCTIONS[function]
            try:
                args, keywords = arguments(function, ours, args, keywords)
                return ours(*args, **keywords)
            except (TypeError, ValueError) as error:
                self._refuse(f"{name}: {error}")
        if function in _OF_PARTS and isinstance(args[0], Complex):
            x, *more = args
            return Complex(
                *(function(part, *more, **keywords) for part in (x.real, x.imag))
            )
        return self._refuse(f"{name} of a complex value is not traced")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse("an array of a complex value is not traced")

    def _refuse(self, message: str) -> NoReturn:
        message = f"{message}; use its .real and .imag"
        for part in (self.real, self.imag):
            if hasattr(part, "__dtrain_apply__"):
                part._refuse(message)  # which knows the user's line
        raise TypeError(message)


def pair(x: Any) -> Complex:
    """Return a value as a complex one."""
    if isinstance(x, Complex):
        return x
    if hasattr(x, "__dtrain_apply__"):
        return Complex(x, np.zeros(np.shape(x)))
    array = np.asarray(x)
    return Complex(array.real, array.imag)


def _product(a: Complex, b: Complex) -> Complex:
    return Complex(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)


def _quotient(a: Complex, b: Complex) -> Complex:
    size = b.real * b.real + b.imag * b.imag
    y = _product(a, b.conj())
    return Complex(y.real / size, y.imag / size)


_UFUNCS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: lambda a, b: Complex(a.real + b.real, a.imag + b.imag),
    np.subtract: lambda a, b: Complex(a.real - b.real, a.imag - b.imag),
    np.multiply: _product,
    np.divide: _quotient,
    np.square: lambda a: _product(a, a),
    np.negative: lambda a: Complex(-a.real, -a.imag),
    np.positive: lambda a: a,
    np.conjugate: Complex.conj,
    np.absolute: lambda a: np.hypot(a.real, a.imag),
}
_OF_PARTS = {
    *(np.sum, np.mean, np.cumsum, np.diff, np.trace, np.diagonal),
    *(np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.squeeze),
    *(np.expand_dims, np.broadcast_to, np.flip, np.roll, np.take, np.repeat, np.tile),
}


@adapter(np.fft.rfft)
def _rfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Complex:
    """Return the first half of the spectrum of real values."""
    rows = _lines(a, n, axis)
    z = spectrum(rows) * _scale(np.shape(rows)[-1], norm)
    return _along(Complex(z[..., 0, :], z[..., 1, :]), axis)


@adapter(np.fft.fft)
def _fft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Complex:
    """Return the spectrum of real or complex values."""
    if isinstance(a, Complex):
        re, im = (_fft(part, n, axis, norm) for part in (a.real, a.imag))
        return Complex(re.real - im.imag, re.imag + im.real)
    rows = _lines(a, n, axis)
    size = np.shape(rows)[-1]
    z = spectrum(rows) * _scale(size, norm)
    rest = np.flip(z[..., 1 : size - size // 2], -1)  # conjugates, in reverse order
    real = np.concatenate([z[..., 0, :], rest[..., 0, :]], axis=-1)
    imag = np.concatenate([z[..., 1, :], -rest[..., 1, :]], axis=-1)
    return _along(Complex(real, imag), axis)


@adapter(np.fft.irfft)
def _irfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the real values that have a spectrum, of which a is the first half."""
    a = pair(a)
    size = 2 * (a.shape[axis] - 1) if n is None else operator.index(n)
    if size < 1:
        raise ValueError(f"there are no {size} elements to transform back to")
    parts = [_lines(part, size // 2 + 1, axis) for part in (a.real, a.imag)]
    y = signal(np.stack(parts, -2), n=size) / _scale(size, norm)
    return np.moveaxis(y, -1, axis)


@adapter(np.fft.ifft)
def _ifft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Complex:
    """Return the complex values that have a spectrum."""
    a = pair(a)
    size = a.shape[axis] if n is None else operator.index(n)
    z = _fft(a.conj(), n, axis, "backward").conj()
    by = 1 / (size * _scale(size, norm))
    return Complex(z.real * by, z.imag * by)


def _lines(a: Any, n: int | None, axis: int) -> Expression:
    """Return lines along an axis as the last one, cut or filled with zeros."""
    if isinstance(a, Complex):
        raise TypeError("np.fft.rfft takes real values; use np.fft.fft")
    rows = np.moveaxis(a, one_axis(axis, np.ndim(a)), -1)
    size = np.shape(rows)[-1]
    n = size if n is None else operator.index(n)
    if n < 1:
        raise ValueError(f"there is no transform of {n} elements")
    if n <= size:
        return rows[..., :n]
    zeros = np.zeros((*np.shape(rows)[:-1], n - size))
    return np.concatenate([rows, zeros], axis=-1)


def _along(z: Complex, axis: int) -> Complex:
    return Complex(*(np.moveaxis(part, -1, axis) for part in (z.real, z.imag)))


def _scale(n: int, norm: str | None) -> float:
    """Return the factor of the transform; that of its inverse is 1 / (n · factor)."""
    scales = {None: 1.0, "backward": 1.0, "ortho": 1 / math.sqrt(n), "forward": 1 / n}
    if norm not in scales:
        raise ValueError(f"norm {norm!r} is none of 'backward', 'ortho' and 'forward'")
    return scales[norm]


_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.real: lambda val: val.real,
    np.imag: lambda val: val.imag,
    np.angle: lambda z: np.arctan2(z.imag, z.real),
    np.fft.rfft: _rfft,
    np.fft.fft: _fft,
    np.fft.irfft: _irfft,
    np.fft.ifft: _ifft,
}
