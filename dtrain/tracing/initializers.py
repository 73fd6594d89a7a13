"""Initial values of weights, keyed by seed and name.

A weight's value depends on the seed, its name and its shape alone, not on the order in
which weights appear or on the number of ranks. NumPy promises stable streams for the
raw words of a bit generator but not for the distributions made of them, so the words
are turned into numbers here.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import UsageError

__all__ = [
    "Initializer",
    "constant",
    "glorot",
    "he",
    "initializer",
    "normal",
    "ones",
    "uniform",
    "zeros",
]


def __dir__() -> list[str]:
    """List the public names, for tab completion."""
    return sorted(__all__)


Distribution = Literal["constant", "normal", "uniform"]


@dataclass(frozen=True)
class Initializer:
    """The distribution of a weight's initial value.

    Attributes:
        distribution: ``constant`` (all equal to ``low``), ``normal`` (mean 0) or
            ``uniform`` between ``low`` and ``high``.
        low: the constant, or the lower end.
        high: the upper end, or the standard deviation.
        fans: divide by fan-in and fan-out as Glorot or He do.
    """

    distribution: Distribution
    low: float = 0.0
    high: float = 1.0
    fans: Literal["glorot", "he"] | None = None

    def draw(self, seed: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the value of weight ``name``, an array of ``shape``."""
        if self.distribution == "constant":
            return np.full(shape, self.low)
        scale = _fan_scale(self.fans, shape)
        count = math.prod(shape)
        if self.distribution == "uniform":
            fractions = _fractions(seed, name, count)
            values = (self.low + (self.high - self.low) * fractions) * scale
        else:
            values = _normals(seed, name, count) * (self.high * scale)
        return values.reshape(shape)


zeros = Initializer("constant", 0.0)
ones = Initializer("constant", 1.0)
glorot = Initializer("uniform", -math.sqrt(6), math.sqrt(6), "glorot")
he = Initializer("normal", high=math.sqrt(2), fans="he")


def constant(value: float) -> Initializer:
    """Set every element to ``value``."""
    return Initializer("constant", float(value))


def normal(std: float = 1.0) -> Initializer:
    """Draw from a normal distribution with mean 0 and standard deviation ``std``."""
    return Initializer("normal", high=float(std))


def uniform(low: float = -1.0, high: float = 1.0) -> Initializer:
    """Draw from the uniform distribution on [low, high)."""
    return Initializer("uniform", float(low), float(high))


NAMED = {
    "zeros": zeros,
    "ones": ones,
    "normal": normal(),
    "uniform": uniform(),
    "glorot": glorot,
    "he": he,
}


def initializer(init: Initializer | str | float | None, rank: int) -> Initializer:
    """Return the initialiser that a name, a number or ``None`` stands for.

    ``None`` means `glorot` for matrices and arrays of more axes, and `normal` with a
    standard deviation of 1 for scalars and vectors.
    """
    if init is None:
        return glorot if rank >= 2 else NAMED["normal"]
    if isinstance(init, Initializer):
        return init
    if isinstance(init, str):
        if init not in NAMED:
            raise UsageError(f"no initialiser {init!r}; there are {', '.join(NAMED)}")
        return NAMED[init]
    if not isinstance(init, int | float | np.number):
        raise UsageError(
            f"a {type(init).__name__} is no initialiser; give a number, a name "
            f"({', '.join(NAMED)}) or one of dtrain.initializers"
        )
    return constant(float(init))


def _fan_scale(fans: str | None, shape: tuple[int, ...]) -> float:
    """1/√(fan-in + fan-out) (Glorot & Bengio 2010, eq. 16), 1/√fan-in (He et al. 2015).

    A weight of shape (outputs, inputs, ...) has its inputs times the rest as fan-in.
    """
    if fans is None:
        return 1.0
    rest = math.prod(shape[2:])
    fan_out = shape[0] * rest if shape else 1
    fan_in = shape[1] * rest if len(shape) > 1 else fan_out
    return 1 / math.sqrt(max(1, fan_in + fan_out if fans == "glorot" else fan_in))


def _words(seed: int, name: str, count: int) -> NDArray[np.uint64]:
    key = hashlib.sha256(f"weight\0{seed}\0{name}".encode()).digest()[:16]
    return np.random.Philox(key=int.from_bytes(key, "little")).random_raw(count)


def _fractions(seed: int, name: str, count: int) -> NDArray[np.float64]:
    """Return multiples of 2⁻⁵³ in [0, 1)."""
    words = np.asarray(_words(seed, name, count))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _normals(seed: int, name: str, count: int) -> NDArray[np.float64]:
    """Return standard normals, made from pairs of fractions (Box & Muller 1958)."""
    half = (count + 1) // 2
    first, second = _fractions(seed, name, 2 * half).reshape(2, half)
    radius = np.sqrt(-2 * np.log(1 - first))
    angle = 2 * np.pi * second
    pairs = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    return pairs[:count]
