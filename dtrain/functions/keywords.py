"""NumPy's arguments, brought into the form that dtrain's functions take.

A program may pass every argument of NumPy's in every order that NumPy accepts. One that
dtrain's function lacks may have NumPy's default value; those about memory may have any.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

MEMORY = frozenset(
    ("casting", "copy", "device", "optimize", "order", "overwrite_input")
    + ("stable", "subok", "writeable")
)
"""Arguments about memory and speed; the value is the same whatever they are."""

WITHOUT_MEANING = {
    "dtype": "values have the dtype of the run; use .astype(int) for integers",
    "like": "values are symbols",
    "out": "a traced program has no arrays to write into; use the result",
    "where": "replace the elements that do not count with np.where first",
}
"""Arguments that a traced function may lack, and what to do instead."""


class _Arguments(NamedTuple):
    """What a function of NumPy and dtrain's version of it take.

    Attributes:
        order: the names of NumPy's arguments that may be passed by position.
        defaults: NumPy's default values.
        direct: how many leading positional arguments need no name.
        names: the arguments that dtrain's function takes by name.
        every: whether it takes arguments of any name.
    """

    order: tuple[str, ...]
    defaults: dict[str, Any]
    direct: int
    names: frozenset[str]
    every: bool


def arguments(
    numpy_function: Callable[..., Any],
    function: Callable[..., Any],
    args: Sequence[Any],
    keywords: Mapping[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call of NumPy's function for dtrain's.

    Raises:
        ValueError: for an argument that dtrain's function lacks, with another value
            than NumPy's default.
    """
    takes = _taken(numpy_function, function)
    positional = tuple(args[: takes.direct])
    named = dict(zip(takes.order[takes.direct :], args[takes.direct :], strict=False))
    if len(args) > len(takes.order):
        positional, named = tuple(args), {}
    named.update(keywords)
    kept = {
        name: value
        for name, value in named.items()
        if value is not np._NoValue and _has_meaning(takes, name, value)
    }
    return positional, kept


def _has_meaning(takes: _Arguments, name: str, value: Any) -> bool:
    """Return whether dtrain's function takes an argument; raise if it needs it."""
    if name in takes.names or takes.every:
        return True
    if name == "order" and "kind" in takes.names and value is not None:
        raise ValueError("order= names the fields of records, which values are not")
    if name in MEMORY or same(value, takes.defaults.get(name)):
        return False
    if name == "dtype" and np.dtype(value).kind == "f":
        return False  # like .astype(float): all numbers have the dtype of the run
    if name == "where" and value is True:
        return False
    reason = WITHOUT_MEANING.get(name, "it is not supported")
    raise ValueError(f"{name}={value!r}: {reason}")


def same(value: Any, default: Any) -> bool:
    """Return whether an argument has a default value."""
    if value is default:
        return True
    plain = (bool, int, float, str)
    return isinstance(value, plain) and isinstance(default, plain) and value == default


@cache
def _taken(
    numpy_function: Callable[..., Any], function: Callable[..., Any]
) -> _Arguments:
    ours = inspect.signature(function).parameters.values()
    by_position = [
        p for p in ours if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    names = frozenset(
        p.name for p in ours if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    )
    every = any(p.kind is p.VAR_KEYWORD for p in ours)
    try:
        theirs = inspect.signature(numpy_function).parameters.values()
    except ValueError:  # a function in C, in NumPy before 2.4
        theirs = ours
    if any(p.kind is p.VAR_POSITIONAL for p in (*ours, *theirs)):
        return _Arguments((), _defaults(theirs), 0, names, every)
    order = tuple(
        p.name for p in theirs if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    )
    direct = 0
    for name, parameter in zip(order, by_position, strict=False):
        if name != parameter.name and parameter.name in order:
            break
        direct += 1
    return _Arguments(order, _defaults(theirs), direct, names, every)


def _defaults(parameters: Any) -> dict[str, Any]:
    return {p.name: p.default for p in parameters if p.default is not p.empty}
