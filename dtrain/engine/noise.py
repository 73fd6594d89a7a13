"""Fresh random numbers for the rows of a block, from a counter instead of a state.

Each number is a function of the seed, the step, the row of the data set, the noise node
and the element. So it does not matter which rank computes a row, in which block, or in
which order. The generator is Philox 4×32-10 (Salmon, Moraes, Dror & Shaw 2011,
"Parallel random numbers: as easy as 1, 2, 3"), for many counters at once.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.tracing.noise import SHARES, kept_share

Words = NDArray[np.uint64]
"""Numbers below 2³²; 64 bits hold their products."""

_FACTORS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10
_CHUNK = 1 << 13  # counters at a time, so that a round stays in the cache
_ROOM = {"dropout": 8, "normal": 2, "uniform": 2}  # elements that a counter gives


@dataclass(frozen=True)
class Draw:
    """What the random numbers of one step depend on, beside row, node and element.

    Attributes:
        seed: any integer.
        step: the number of the steps before this one.
    """

    seed: int
    step: int

    def fill(
        self, params: dict[str, Any], rows: slice | NDArray[np.intp], out: NDArray[Any]
    ) -> None:
        """Write the values of a noise node.

        Args:
            params: of the node: its name, its distribution, and its rate.
            rows: the rows of the data set.
            out: (rows, ...), C-contiguous.
        """
        law, flat = params["distribution"], out.reshape(len(out), -1)
        if isinstance(rows, slice):
            rows = np.arange(rows.start, rows.stop)
        size = flat.shape[1]
        blocks = -(-size // _ROOM[law])
        key = self._key(params["name"])
        chunk = max(_CHUNK // max(blocks, 1), 1)
        for start in range(0, len(flat), chunk):
            stop = min(start + chunk, len(flat))
            words = _counted(rows[start:stop], blocks, key)
            _LAWS[law](words, params, flat[start:stop])

    def _key(self, name: str) -> tuple[int, int, int]:
        """Return the two words of the key, and one word of the counter."""
        text = f"noise\0{self.seed}\0{self.step}\0{name}".encode()
        digest = hashlib.sha256(text).digest()
        first, second, third = np.frombuffer(digest[:12], "<u4").tolist()
        return first, second, third


def _counted(
    rows: NDArray[np.intp], blocks: int, key: tuple[int, int, int]
) -> tuple[Words, ...]:
    """Return four words, (rows, blocks) each, for each row and block of elements."""
    shape = len(rows), blocks
    counters = [np.empty(shape, np.uint64) for _ in range(4)]
    counters[0][...] = np.arange(blocks, dtype=np.uint64)
    counters[1][...] = key[2]
    counters[2][...] = (rows & 0xFFFFFFFF)[:, None]
    counters[3][...] = (rows >> 32)[:, None]
    return philox(counters, (key[0], key[1]))


def philox(counters: list[Words], key: tuple[int, int]) -> tuple[Words, ...]:
    """Return Philox 4×32-10 of counters of four words; overwrites them.

    Salmon et al. 2011, section 3.3.
    """
    c0, c1, c2, c3 = counters
    p0, p1 = np.empty_like(c0), np.empty_like(c0)
    k0, k1 = key
    for _ in range(_ROUNDS):
        np.multiply(c0, _FACTORS[0], out=p0)
        np.multiply(c2, _FACTORS[1], out=p1)
        np.right_shift(p1, _HALF, out=c0)
        np.bitwise_xor(c0, c1, out=c0)
        np.bitwise_xor(c0, np.uint64(k0), out=c0)
        np.right_shift(p0, _HALF, out=c2)
        np.bitwise_xor(c2, c3, out=c2)
        np.bitwise_xor(c2, np.uint64(k1), out=c2)
        np.bitwise_and(p1, _LOW, out=c1)
        np.bitwise_and(p0, _LOW, out=c3)
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def _dropout(words: tuple[Words, ...], params: dict[str, Any], out: Any) -> None:
    """Write 0, or 1 / (share that is kept); an element has 16 random bits."""
    rows, blocks = words[0].shape
    raw = np.empty((rows, len(words), blocks), "<u4")
    for index, word in enumerate(words):
        raw[:, index] = word
    bits = raw.view("<u2").reshape(rows, -1)[:, : out.shape[1]]
    kept = kept_share(params["rate"])
    np.copyto(out, np.less(bits, kept))
    np.multiply(out, out.dtype.type(SHARES / kept), out=out)


def _fractions(words: tuple[Words, ...]) -> list[Words]:
    """Return two integers of 53 bits for each four words."""
    pairs = (words[:2], words[2:])
    return [(low | (high << _HALF)) >> np.uint64(11) for low, high in pairs]


def _uniform(words: tuple[Words, ...], params: dict[str, Any], out: Any) -> None:
    """Write multiples of 2⁻⁵³ in [0, 1), of 2⁻²⁴ in float32: rounding might give 1."""
    del params
    bits = np.finfo(out.dtype).nmant + 1
    both = np.concatenate(_fractions(words), axis=1)[:, : out.shape[1]]
    np.multiply(both >> np.uint64(53 - bits), math.ldexp(1.0, -bits), out=out)


def _normal(words: tuple[Words, ...], params: dict[str, Any], out: Any) -> None:
    """Write standard normals, two for each two fractions (Box & Muller 1958)."""
    del params
    first, second = _fractions(words)
    radius = np.sqrt(-2 * np.log((first + 1.0) * 2.0**-53))  # of a number above 0
    angle = second * (2.0**-52 * np.pi)
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    out[...] = both[:, : out.shape[1]]


_LAWS = {"dropout": _dropout, "normal": _normal, "uniform": _uniform}
