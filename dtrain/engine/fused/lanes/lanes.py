"""Lane arithmetic: formulas written once, computed by NumPy or emitted as LLVM IR.

A lane is one element of a vector. ``Lanes`` has only operations that every processor
computes exactly as IEEE 754 specifies, each rounded separately: no fused multiply-add,
no estimates, no library calls. So a formula over lanes has the same bits wherever and
however it is computed, and tests compare the compiled form with the NumPy form.

Kinds of lanes: ``float32`` and ``float64``; ``word32`` and ``word64``, integers that
wrap around; ``mask``, truth values. A Python number beside lanes takes their kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

WORD = {"float32": "word32", "float64": "word64"}
FLOAT = {word: kind for kind, word in WORD.items()}
DTYPE = {
    "float32": np.float32,
    "float64": np.float64,
    "word32": np.uint32,
    "word64": np.uint64,
    "mask": np.bool_,
}
KIND = {np.dtype(dtype): kind for kind, dtype in DTYPE.items()}


def word(kind: str, number: float) -> int:
    """Return an integer as a word of that kind: two's complement."""
    return int(number) & ((1 << int(kind.removeprefix("word"))) - 1)


class Lanes:
    """A value in every lane, with the operators of Python.

    Attributes:
        arithmetic: what computes: ``ArrayArithmetic`` or ``VectorArithmetic``.
        value: that arithmetic's representation: an array, or a vector of LLVM IR.
        kind: the kind of the lanes.
    """

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("arithmetic", "kind", "value")

    def __init__(self, arithmetic: Arithmetic, value: Any, kind: str) -> None:
        self.arithmetic = arithmetic
        self.value = value
        self.kind = kind

    def like(self, number: Lanes | float) -> Lanes:
        """Return a number in every lane, of this kind; return lanes unchanged."""
        if isinstance(number, Lanes):
            return number
        value = self.arithmetic.constant(self.kind, number)
        return Lanes(self.arithmetic, value, self.kind)

    def _apply(self, operation: str, *others: Lanes | float, to: str = "") -> Lanes:
        operands = [self.value, *(self.like(other).value for other in others)]
        to = to or self.kind
        return Lanes(
            self.arithmetic,
            self.arithmetic.apply(operation, self.kind, to, *operands),
            to,
        )

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._apply("add", other)

    def __radd__(self, other: float) -> Lanes:
        return self.like(other) + self

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._apply("subtract", other)

    def __rsub__(self, other: float) -> Lanes:
        return self.like(other) - self

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._apply("multiply", other)

    def __rmul__(self, other: float) -> Lanes:
        return self.like(other) * self

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return self._apply("divide", other)

    def __rtruediv__(self, other: float) -> Lanes:
        return self.like(other) / self

    def __neg__(self) -> Lanes:
        return self._apply("negative")

    def __abs__(self) -> Lanes:
        return (self.bits() & (self.sign_bit - 1)).number()

    def __lt__(self, other: Lanes | float) -> Lanes:
        return self._apply("less", other, to="mask")

    def __le__(self, other: Lanes | float) -> Lanes:
        return self._apply("less_equal", other, to="mask")

    def __gt__(self, other: Lanes | float) -> Lanes:
        return self.like(other) < self

    def __ge__(self, other: Lanes | float) -> Lanes:
        return self.like(other) <= self

    def __eq__(self, other: Lanes | float) -> Lanes:  # type: ignore[override]
        return self._apply("equal", other, to="mask")

    def __ne__(self, other: Lanes | float) -> Lanes:  # type: ignore[override]
        return self._apply("not_equal", other, to="mask")

    def __and__(self, other: Lanes | int) -> Lanes:
        return self._apply("and", other)

    def __or__(self, other: Lanes | int) -> Lanes:
        return self._apply("or", other)

    def __xor__(self, other: Lanes | int) -> Lanes:
        return self._apply("xor", other)

    def __invert__(self) -> Lanes:
        return self ^ (True if self.kind == "mask" else -1)

    def __lshift__(self, other: Lanes | int) -> Lanes:
        """Words, shifted by less than their width."""
        return self._apply("shift_left", other)

    def __rshift__(self, other: Lanes | int) -> Lanes:
        """Words, shifted by less than their width; zeros come in."""
        return self._apply("shift_right", other)

    @property
    def sign_bit(self) -> int:
        """The word in which only the sign of a float is set."""
        return 1 << 31 if self.kind == "float32" else 1 << 63

    def bits(self) -> Lanes:
        """Return the words that floats are made of."""
        return self._apply("bits", to=WORD[self.kind])

    def number(self) -> Lanes:
        """Return the floats that have these words as bits."""
        return self._apply("bits", to=FLOAT[self.kind])

    def signed_like(self, other: Lanes) -> Lanes:
        """Return these lanes, which are ≥ 0, with the signs of others."""
        return (self.bits() | (other.bits() & self.sign_bit)).number()

    def sqrt(self) -> Lanes:
        """Return the square root, correctly rounded (IEEE 754)."""
        return self._apply("sqrt")

    def to(self, kind: str) -> Lanes:
        """Convert floats to another width, words to low halves, masks to 0 and 1."""
        return self if kind == self.kind else self._apply("convert", to=kind)

    def lookup(self, table: Sequence[int]) -> Lanes:
        """Return the words of a table at these indices, which must be in bounds."""
        value = self.arithmetic.lookup(self.kind, table, self.value)
        return Lanes(self.arithmetic, value, self.kind)


Formula = Callable[..., tuple[Lanes, ...]]


class Arithmetic(ABC):
    """Computes the operations of ``Lanes``."""

    @abstractmethod
    def constant(self, kind: str, number: float) -> Any:
        """Return a number, rounded to the kind, in every lane."""

    @abstractmethod
    def apply(self, operation: str, kind: str, to: str, *operands: Any) -> Any:
        """Apply an operation to values of one kind, for a result of kind ``to``."""

    @abstractmethod
    def lookup(self, kind: str, table: Sequence[int], index: Any) -> Any:
        """Return the words of a table at the indices."""

    @abstractmethod
    def select(self, condition: Any, chosen: Any, otherwise: Any) -> Any:
        """Return one value where the condition holds, the other elsewhere."""

    @abstractmethod
    def rarely(
        self,
        condition: Lanes,
        slow: Formula,
        operands: Sequence[Lanes],
        usual: Sequence[Lanes],
    ) -> tuple[Lanes, ...]:
        """Return the usual lanes, or a slow formula's where the condition holds."""


def select(condition: Lanes, chosen: Lanes | float, otherwise: Lanes | float) -> Lanes:
    """Return one where the condition holds, else the other; at least one is lanes."""
    model = chosen if isinstance(chosen, Lanes) else otherwise
    if not isinstance(model, Lanes):
        raise TypeError("select needs lanes on one side, for their kind")
    a, b = model.like(chosen), model.like(otherwise)
    value = condition.arithmetic.select(condition.value, a.value, b.value)
    return Lanes(condition.arithmetic, value, model.kind)


def maximum(a: Lanes, b: Lanes | float) -> Lanes:
    """Return the larger; NaN where one is NaN; b where they are equal."""
    return select((a > b) | (a != a), a, b)


def minimum(a: Lanes, b: Lanes | float) -> Lanes:
    """Return the smaller; NaN where one is NaN; b where they are equal."""
    return select((a < b) | (a != a), a, b)


def at_least(bound: float, x: Lanes) -> Lanes:
    """Return the larger of x and the bound, or NaN where x is NaN; one instruction."""
    return select(x < bound, bound, x)


def at_most(bound: float, x: Lanes) -> Lanes:
    """Return the smaller of x and the bound, or NaN where x is NaN; one instruction."""
    return select(x > bound, bound, x)


def rarely(
    condition: Lanes, slow: Formula, operands: Sequence[Lanes], usual: Sequence[Lanes]
) -> tuple[Lanes, ...]:
    """Return the usual lanes, or a slow formula's where the condition holds.

    The formula is a named function of the operands. It runs only if a lane needs it.
    A lane's result depends on that lane alone.
    """
    return condition.arithmetic.rarely(condition, slow, operands, usual)
