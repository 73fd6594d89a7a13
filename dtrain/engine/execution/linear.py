"""NumPy calls for linear systems, determinants and decompositions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import NotFiniteError
from dtrain.functions.base import BaseFunction

Array = NDArray[Any]


def solve(a: Array, b: Array, out: Array, where: str) -> list[Any]:
    """Return calls that solve A X = B for X."""
    return [(_solve, (a, b, out, where))]


def _solve(a: Array, b: Array, out: Array, where: str) -> None:
    try:
        out[...] = np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        raise NotFiniteError(f"{where}: a matrix is singular") from None


def of_matrix(function: BaseFunction) -> Callable[..., list[Any]]:
    """Return the kernel of a function of one matrix; NumPy allocates its result."""

    def call(x: Array, out: Array, where: str, parameters: dict[str, Any]) -> None:
        try:
            out[...] = function.value(x, **parameters)
        except np.linalg.LinAlgError as error:
            reason = str(error)[:1].lower() + str(error)[1:]
            raise NotFiniteError(f"{where}: {function.name}: {reason}") from None

    return lambda *given: [(call, given)]
