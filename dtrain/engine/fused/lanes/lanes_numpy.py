"""Lanes as the elements of NumPy arrays: the reference for the compiled form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtrain.engine.fused.lanes.lanes import (
    DTYPE,
    FLOAT,
    KIND,
    Arithmetic,
    Formula,
    Lanes,
    select,
    word,
)


class ArrayArithmetic(Arithmetic):
    """Computes lanes with NumPy's functions, operation by operation."""

    operations: dict[str, Callable[..., Any]] = {  # noqa: RUF012
        "add": np.add,
        "subtract": np.subtract,
        "multiply": np.multiply,
        "divide": np.divide,
        "negative": np.negative,
        "less": np.less,
        "less_equal": np.less_equal,
        "equal": np.equal,
        "not_equal": np.not_equal,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
        "shift_left": np.left_shift,
        "shift_right": np.right_shift,
        "sqrt": np.sqrt,
    }

    def lanes(self, array: Any) -> Lanes:
        """Return an array's elements as lanes."""
        array = np.asarray(array)
        return Lanes(self, array, KIND[array.dtype])

    def constant(self, kind: str, number: float) -> Any:
        """Return a number, rounded to the kind."""
        return DTYPE[kind](word(kind, number) if kind in FLOAT else number)

    def apply(self, operation: str, kind: str, to: str, *operands: Any) -> Any:  # noqa: ARG002
        """Return the result of the ufunc of that name."""
        if operation == "bits":
            return operands[0].view(DTYPE[to])
        with np.errstate(all="ignore"):
            if operation == "convert":
                return operands[0].astype(DTYPE[to])
            return self.operations[operation](*operands)

    def lookup(self, kind: str, table: Sequence[int], index: Any) -> Any:
        """Return the words of a table at the indices."""
        return np.array(table, DTYPE[kind])[index]

    def select(self, condition: Any, chosen: Any, otherwise: Any) -> Any:
        """Return one value where the condition holds, the other elsewhere."""
        return np.where(condition, chosen, otherwise)

    def rarely(
        self,
        condition: Lanes,
        slow: Formula,
        operands: Sequence[Lanes],
        usual: Sequence[Lanes],
    ) -> tuple[Lanes, ...]:
        """Return the usual lanes, replaced where the condition holds."""
        if not condition.value.any():
            return tuple(usual)
        slowly = slow(*operands)
        return tuple(
            select(condition, a, b) for a, b in zip(slowly, usual, strict=True)
        )
