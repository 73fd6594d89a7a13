"""One digest for equal data: what tells ranks and resumed runs that data differ.

Memory layout, byte order, file format and the order of names do not enter; names,
dtypes, shapes and values do. Above `FULL` bytes not all values do, so that a digest of
a memory-mapped terabyte takes a second: a digest is there to notice another data set,
not to notice one changed pixel in a very large one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FULL = 256 * 2**20  # bytes in total up to which every value is read
CHUNK = 2**20  # bytes that are read at a time
CHUNKS = 64  # read of each array where not all of it is


def digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256, in hexadecimal, of named arrays.

    Each array enters in the order of names as name, NUL, dtype, NUL, shape, NUL and its
    values in C order, little-endian: all of them up to 256 MiB in total, above that
    64 evenly spaced chunks of an array, about a MiB each, first and last included.

    >>> x = np.arange(6.0).reshape(2, 3)
    >>> digest({"x": x}) == digest({"x": np.asfortranarray(x)})
    True
    >>> digest({"x": x}) == digest({"x": x.astype(np.float32)})
    False
    """
    full = sum(array.nbytes for array in arrays.values()) <= FULL
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        little = array.dtype.newbyteorder("<")
        shape = ",".join(map(str, array.shape))
        total.update(f"{name}\0{little.str}\0{shape}\0".encode())
        for chunk in _chunks(array, full):
            flat = np.ascontiguousarray(chunk, dtype=little).reshape(-1)
            total.update(flat.view(np.uint8).data)
    return total.hexdigest()


def _chunks(array: NDArray[Any], full: bool) -> Iterator[NDArray[Any]]:
    if array.nbytes == 0:  # without elements, or with elements of no width
        return
    rows = np.atleast_1d(array)
    height = max(1, CHUNK * len(rows) // rows.nbytes)
    starts = np.arange(0, len(rows), height)
    if not full and len(starts) > CHUNKS:
        starts = np.linspace(0, len(rows) - height, CHUNKS).astype(np.intp)
    for start in starts:
        yield rows[start : start + height]
