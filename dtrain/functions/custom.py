"""Custom base functions, made of NumPy functions or of any other library.

Most are traced: ``value`` is written with existing functions, for one sample. One that
calls another library cannot be traced. It has a shape rule and a transfer function, and
the engine calls it on arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType
from typing import Any, overload

import numpy as np

from dtrain.errors import ProgramError
from dtrain.functions.base import BaseFunction, Expression, Shape

Vjp = Callable[..., Sequence[Expression]]
_STEP, _NEAR = 1e-3, 1e-7


@overload
def base_function(
    value: Callable[..., Expression],
    *,
    vjp: Vjp | None = None,
    shape: Callable[..., Shape] | None = None,
    check: Sequence[Any] | None = None,
) -> BaseFunction: ...


@overload
def base_function(
    *,
    vjp: Vjp | None = None,
    shape: Callable[..., Shape] | None = None,
    check: Sequence[Any] | None = None,
) -> Callable[[Callable[..., Expression]], BaseFunction]: ...


def base_function(
    value: Callable[..., Expression] | None = None,
    *,
    vjp: Vjp | None = None,
    shape: Callable[..., Shape] | None = None,
    check: Sequence[Any] | None = None,
) -> BaseFunction | Callable[[Callable[..., Expression]], BaseFunction]:
    """Make a Python function a base function.

    Without ``shape`` it is traced: the graph shows one node, named like the function,
    and the engine computes it by the base functions that it consists of. Without
    ``vjp`` its transfer function is derived from those too.

    Pass values by position. Keywords, such as ``axis=1``, are numbers, texts or tuples;
    the ``vjp`` receives them too.

    With ``shape`` the engine calls the function itself, without keywords, so it may
    use any library. Two things must hold. First, arguments may have additional leading
    axes, which count samples: the function works on the axes after them and keeps them.
    Second, the value of a sample has the same bits whatever other samples the arrays
    hold.

    Args:
        value: a function of one sample's values, elementwise or not.
        vjp: ``vjp(v, y, *xs)``, one adjoint for each argument, or ``None`` for one
            that nothing passes to; written with base functions and NumPy.
        shape: ``shape(*shapes)`` of one sample; `numpy.broadcast_shapes` if
            elementwise.
        check: one sample's arguments, not near a kink. The transfer function is
            compared with differences there and nearby, so that it is right at order 2
            as well. A function that is not traced is also checked for the two rules
            above.

    Raises:
        ProgramError: if the check finds a fault, naming function, argument and line;
            or if there is a shape rule and no transfer function.

    Example:
        >>> import numpy as np
        >>> from dtrain import base_function
        >>> @base_function(vjp=lambda v, y, x: (v * (1 - y * y),), check=[0.3])
        ... def squashed(x):
        ...     return np.tanh(x)
        >>> round(float(squashed(1.0)), 4)
        0.7616
    """
    if value is None:
        return lambda function: base_function(
            function, vjp=vjp, shape=shape, check=check
        )
    definition = value
    if shape is not None and vjp is None:
        raise ProgramError(
            f"{_line(definition)}: base function {definition.__name__} has a shape "
            "rule, so it is not traced, and needs a vjp; `lambda v, y, *xs: "
            "[None] * len(xs)` passes nothing backward"
        )

    function = BaseFunction(
        name=definition.__name__,
        value=definition,
        shape=as_defined if shape is None else shape,
        vjp=vjp,
        definition=definition if shape is None else None,
        doc=definition.__doc__ or "",
        code="" if shape is None else code_digest(definition),
    )
    if check is not None:
        _checked(function, [np.asarray(x, np.float64) for x in check])
    return function


def as_defined(*_: Shape, **__: Any) -> Shape:
    """Mark a shape that is found by tracing the definition."""
    raise TypeError("there are no symbols here to trace the definition on")


def code_digest(function: Any) -> str:
    """Return the SHA-256 of a function's code and the values that it reads.

    It reads its closure, and the numbers, arrays and functions of its module. File and
    line do not count.
    """
    digest = hashlib.sha256()
    waiting: list[Any] = [function]
    seen: set[int] = set()
    while waiting:
        x = waiting.pop()
        if id(x) in seen:
            continue
        if isinstance(x, CodeType):
            digest.update(x.co_code + repr((x.co_names, x.co_varnames)).encode())
            waiting += x.co_consts
        elif isinstance(x, np.ndarray):
            digest.update(repr((x.dtype.str, x.shape)).encode() + x.tobytes())
        elif hasattr(x, "__code__"):
            seen.add(id(x))
            cells = [cell.cell_contents for cell in x.__closure__ or ()]
            waiting += [x.__code__, *cells, *(x.__defaults__ or ()), *_read(x)]
        elif isinstance(x, frozenset):
            digest.update(repr(sorted(map(repr, x))).encode())
        elif isinstance(x, int | float | str | bytes | tuple | None):
            digest.update(repr(x).encode())
        else:
            digest.update(getattr(x, "__qualname__", type(x).__qualname__).encode())
    return digest.hexdigest()


def _read(function: Any) -> Iterator[Any]:
    """Return the numbers, arrays and functions of its module that a function names."""
    for name in function.__code__.co_names:
        x = function.__globals__.get(name)
        near = getattr(x, "__module__", "") == function.__module__
        if isinstance(x, int | float | np.ndarray) or (near and hasattr(x, "__code__")):
            yield x


def _line(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else "<unknown>:0"


def _checked(function: BaseFunction, xs: list[Any]) -> None:
    """Compare a function with differences, and check its axes, near arguments xs."""
    rng = np.random.default_rng(0)
    if function.definition is None:
        _check_axes(function, [np.stack([x, 1.001 * x, 0.999 * x]) for x in xs])
    for _ in range(3):  # order 2 needs right values around the point, not only at it
        _check_vjp(function, xs, rng)
        xs = [x + 0.01 * rng.standard_normal(x.shape) for x in xs]


def _check_axes(function: BaseFunction, stacks: list[Any]) -> None:
    """Check that a function keeps leading axes, and a sample's bits among others."""
    shape = tuple(function.shape(*(x.shape[1:] for x in stacks)))
    rows = [np.asarray(function.value(*each)) for each in zip(*stacks, strict=True)]
    together = np.asarray(function.value(*stacks))
    longer = np.asarray(function.value(*(x[None] for x in stacks)))
    for y, expected in (
        (rows[0], shape),
        (together, (3, *shape)),
        (longer, (1, 3, *shape)),
    ):
        if y.shape != expected:
            raise _fault(function, f"gives shape {y.shape}, not {expected}")
    if together.tobytes() != np.stack(rows).tobytes():
        raise _fault(
            function,
            "gives a sample other bits among others than alone; the axes in "
            "front count samples",
        )


def _check_vjp(function: BaseFunction, xs: list[Any], rng: Any) -> None:
    y = np.asarray(function.value(*xs))
    if function.vjp is None:
        return
    v = rng.standard_normal(y.shape)
    adjoints = function.vjp(v, y, *xs)
    if len(adjoints) != len(xs):
        raise _fault(
            function, f"has a vjp of {len(adjoints)} adjoints for {len(xs)} arguments"
        )
    for i, (x, adjoint) in enumerate(zip(xs, adjoints, strict=True)):
        u = rng.standard_normal(x.shape)
        passed = 0.0 if adjoint is None else adjoint
        try:
            full = np.broadcast_shapes(np.shape(passed), x.shape)
        except ValueError:
            raise _fault(
                function,
                f"has a vjp that gives argument {i}, of shape {x.shape}, an adjoint of "
                f"shape {np.shape(passed)}",
            ) from None
        slope = float(np.sum(np.broadcast_to(passed, full) * u))
        difference = _difference(function, xs, v, i, u)
        size = max(1.0, abs(slope), abs(difference), float(np.abs(y).max(initial=0)))
        if not abs(slope - difference) <= _NEAR * size:
            raise _fault(
                function,
                f"has a wrong vjp for argument {i}: {slope:.9g} along a direction, but "
                f"differences give {difference:.9g}",
            )


def _difference(function: BaseFunction, xs: list[Any], v: Any, i: int, u: Any) -> float:
    """Return the derivative of ⟨v, value⟩ along u in argument i (Richardson)."""

    def at(step: float) -> float:
        moved = [x + step * u if j == i else x for j, x in enumerate(xs)]
        return float(np.sum(v * function.value(*moved)))

    coarse, fine = ((at(h) - at(-h)) / (2 * h) for h in (_STEP, _STEP / 2))
    return (4 * fine - coarse) / 3


def _fault(function: BaseFunction, what: str) -> ProgramError:
    return ProgramError(f"{_line(function.value)}: {function.name} {what}")


def check_keywords(function: BaseFunction, params: Mapping[str, Any]) -> None:
    """Check that a user's keyword arguments can be part of a graph on every rank.

    Raises:
        TypeError: the function takes no keywords, or a value is not plain data.
    """
    for name, value in params.items():
        if function.definition is None:
            raise TypeError(
                f"{function.name} is not traced, and takes no {name}=; write a "
                "function that takes it and returns it as a base function"
            )
        if not _is_plain(value):
            raise TypeError(
                f"{function.name} is given a {type(value).__name__} as {name}=; a "
                "base function's keywords are numbers, texts or tuples of them: "
                "give values by position"
            )


def _is_plain(x: Any) -> bool:
    """Return whether the text of a keyword's value identifies the value."""
    if isinstance(x, tuple):
        return all(map(_is_plain, x))
    return isinstance(x, int | float | str | np.number | np.bool | None)
