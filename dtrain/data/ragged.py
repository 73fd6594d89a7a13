"""Ragged columns: an array for each sample, of a length of its own.

The arrays of a column lie one after another in memory. A block of samples is computed
with all arrays padded by zeros to one length, of which there are few: each is a plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtrain.errors import DataError

Rows = slice | NDArray[np.intp]
LENGTHS = ".lengths"
"""What the name of an array in a file ends in that has the lengths of another."""


class Ragged:
    """A column of arrays that differ in the length of their first axis.

    Attributes:
        values: (T, ...), the arrays of all samples, one after another.
        lengths: (N,) intp, the length of each sample's array.
        starts: (N,) intp, where each begins in ``values``.
        shape: (N, None, ...), with ``None`` for the axis that differs.
    """

    def __init__(self, values: NDArray[Any], lengths: NDArray[np.intp]) -> None:
        self.values, self.lengths = values, lengths
        self.starts = np.cumsum(lengths) - lengths
        self.shape = (len(lengths), None, *values.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.values.dtype

    @property
    def ndim(self) -> int:
        """The number of axes, with those of samples and of lengths."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of the values."""
        return self.values.nbytes

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        lengths = self.lengths
        return (
            f"<Ragged: {len(self)} arrays of {self.dtype}, lengths {lengths.min()} to "
            f"{lengths.max()}, samples of shape {self.shape[1:]}>"
        )

    def __getitem__(self, rows: Any) -> Any:
        """Return one sample's array, or the ragged column of some samples."""
        if isinstance(rows, int | np.integer):
            start = self.starts[rows]
            return self.values[start : start + self.lengths[rows]]
        lengths = self.lengths[rows]
        if isinstance(rows, slice) and rows.step in (None, 1):
            start = self.starts[rows][0] if len(lengths) else 0
            return Ragged(self.values[start : start + lengths.sum()], lengths)
        # Row j of sample i is at starts[i] + j.
        ends = np.cumsum(lengths)
        first = np.repeat(self.starts[rows] - (ends - lengths), lengths)
        return Ragged(self.values[first + np.arange(len(first))], lengths)

    def astype(self, dtype: Any) -> Ragged:
        """Return the column in another dtype, contiguous in memory."""
        return Ragged(np.ascontiguousarray(self.values, dtype), self.lengths)

    def owner(self, row: int) -> tuple[int, int]:
        """Return which sample has a row of ``values``, and its number there."""
        sample = int(np.searchsorted(self.starts, row, side="right")) - 1
        return sample, row - int(self.starts[sample])

    def pad(self, rows: Rows, out: NDArray[Any]) -> None:
        """Copy samples to an array (samples, length, ...), with zeros after each."""
        lengths = self.lengths[rows]
        places = np.arange(out.shape[1])
        index = self.starts[rows][:, None] + places
        # An index after the last row is that of padding.
        if self.dtype == out.dtype:
            np.take(self.values, index, axis=0, out=out, mode="clip")
        else:
            clipped = np.minimum(index, len(self.values) - 1)
            np.copyto(out, self.values[clipped], casting="unsafe")
        if lengths.min() < out.shape[1]:
            out[places >= lengths[:, None]] = 0


def ragged(values: Any, lengths: ArrayLike | None = None) -> Ragged:
    """Make a column of arrays that differ in the length of their first axis.

    Inside a program such an input has the length to which the arrays of a block are
    padded; `dtrain.present` tells which of its rows are the sample's.

    Args:
        values: a sequence of arrays, one for each sample; or, with ``lengths``, the
            arrays of all samples one after another, (T, ...).
        lengths: (N,), the length of each sample's array; they sum to T.

    Raises:
        DataError: the arrays differ in more than the length, one of them is empty, or
            the lengths do not sum to T.

    Example:
        >>> import numpy as np
        >>> from dtrain import ragged
        >>> ragged([np.zeros((2, 3)), np.ones((4, 3))])
        <Ragged: 2 arrays of float64, lengths 2 to 4, samples of shape (None, 3)>
        >>> ragged(np.arange(5.0), [3, 2])[1]
        array([3., 4.])
    """
    if lengths is None:
        return of_arrays(values, "ragged(arrays)")
    return of_lengths(values, lengths, "ragged(values, lengths)")


def of_lengths(values: Any, lengths: Any, where: str) -> Ragged:
    """Return a column from all values and the samples' lengths; see `ragged`."""
    if not isinstance(values, np.memmap):
        values = _array(values, where)
    count = np.asarray(lengths)
    if count.ndim != 1 or count.dtype.kind not in "iu":
        raise DataError(
            f"{where}: lengths must be whole numbers, one for each sample; they are "
            f"{count.dtype} of shape {count.shape}"
        )
    if values.ndim == 0:
        raise DataError(f"{where}: values is a single number")
    if not count.size:
        raise DataError(f"{where}: there are no samples")
    if (short := np.flatnonzero(count < 1)).size:
        raise DataError(_empty(where, int(short[0]), int(count[short[0]])))
    total = int(np.sum(count, dtype=np.int64))
    if total != len(values):
        raise DataError(
            f"{where}: the lengths of {count.size} samples sum to {total}, but there "
            f"are {len(values)} rows of values"
        )
    return Ragged(values, count.astype(np.intp))


def of_arrays(arrays: Any, where: str) -> Ragged:
    """Return a column from an array for each sample; see `ragged`."""
    if isinstance(arrays, Ragged):
        return arrays
    if not isinstance(arrays, list | tuple | np.ndarray) or not len(arrays):
        raise DataError(f"{where}: give a list with one array for each sample")
    each = [_array(array, f"{where}: row {i + 1}") for i, array in enumerate(arrays)]
    first = each[0].shape
    for i, array in enumerate(each):
        if array.ndim == 0 or array.shape[1:] != first[1:]:
            raise DataError(
                f"{where}: row {i + 1} has shape {array.shape}, row 1 has {first}: the "
                "samples of a ragged column may differ in the length of their first "
                "axis alone"
            )
        if not len(array):
            raise DataError(_empty(where, i, 0))
    return Ragged(np.concatenate(each), np.array([len(a) for a in each], np.intp))


def joined(parts: Sequence[Ragged]) -> Ragged:
    """Return the samples of several columns in one.

    Raises:
        DataError: their rows have different shapes.
    """
    shapes = dict.fromkeys(part.shape[1:] for part in parts)
    if len(shapes) > 1:
        raise DataError(
            "parts of a ragged column have samples of the shapes "
            f"{', '.join(map(str, shapes))}: they may differ in the length alone"
        )
    return Ragged(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )


def is_ragged(value: Any) -> bool:
    """Return whether a value is a sequence of arrays of different lengths."""
    if isinstance(value, Ragged):
        return True
    listed = isinstance(value, list | tuple) or (
        isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1
    )
    if not listed or not len(value) or not all(map(_is_sequence, value)):
        return False
    return len({len(each) for each in value}) > 1


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or (
        isinstance(value, np.ndarray) and value.ndim > 0
    )


def _array(value: Any, where: str) -> NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{where} has masked elements: fill them or remove those rows")
    try:
        array = np.asarray(value)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{where} is no array: {reason}") from None
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise DataError(
            f"{where} is {array.dtype}: it must be bool, integer or floating-point, of "
            "64 bits at most"
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder())


def _empty(where: str, row: int, length: int) -> str:
    return (
        f"{where}: row {row + 1} has length {length}: each sample needs 1 row or more; "
        "remove the sample"
    )
