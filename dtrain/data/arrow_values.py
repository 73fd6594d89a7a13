"""Arrow arrays as NumPy arrays, and text as codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.parts import check_exact
from dtrain.data.ragged import Ragged, of_lengths
from dtrain.data.values import Coded, Values
from dtrain.errors import DataError


def of_arrow(array: Any, source: str = "", name: str = "") -> Values:
    """Return an Arrow array: numbers with NaN for null, rows of lists, text as codes.

    Args:
        array: a ``pyarrow.Array``.
        source: the name of the data in messages.
        name: the column's name in messages.

    Raises:
        DataError: it holds neither numbers nor text, or integers that no float equals
            beside nulls.
    """
    import pyarrow as pa

    kind = array.type
    if isinstance(kind, pa.FixedShapeTensorType):
        values: Any = array.to_numpy_ndarray()
        return values  # type: ignore[no-any-return]
    if pa.types.is_fixed_size_list(kind):
        if array.null_count:
            raise DataError(f"{source}: column {name!r} has lists that are missing")
        inner = _inner(array, source, name)
        return inner.reshape(len(array), kind.list_size, *inner.shape[1:])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if array.null_count:
            raise DataError(f"{source}: column {name!r} has lists that are missing")
        lengths = array.value_lengths().to_numpy(zero_copy_only=False)
        where = f"{source}: column {name!r}"
        return of_lengths(_inner(array, source, name), lengths, where)
    if pa.types.is_dictionary(kind):
        if not _is_text(pa, kind.value_type):
            return of_arrow(array.dictionary_decode(), source, name)
        codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        labels = array.dictionary.to_pylist()
        return Coded.of(codes, ["" if each is None else each for each in labels])
    if _is_text(pa, kind):
        if kind == pa.string_view():
            array = array.cast(pa.large_string())
        return of_arrow(array.dictionary_encode(), source, name)
    if pa.types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    ):
        raise DataError(
            f"{source}: column {name!r} is of the Arrow type {kind}: a column that is "
            "read must hold numbers, truth values or text, or lists of numbers"
        )
    if array.null_count and not pa.types.is_floating(array.type):
        if pa.types.is_integer(kind) and kind.bit_width > 32:
            check_exact(source, name, array.drop_null().to_numpy(zero_copy_only=False))
        array = (
            array.cast(pa.float64())
            if not pa.types.is_boolean(kind)
            else (array.cast(pa.int8()).cast(pa.float64()))
        )
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _inner(array: Any, source: str, name: str) -> NDArray[Any]:
    """Return the elements of all lists of an array of lists."""
    inner = of_arrow(array.flatten(), source, name)
    if isinstance(inner, Coded):
        raise DataError(f"{source}: column {name!r} holds lists of text")
    if isinstance(inner, Ragged):
        raise DataError(
            f"{source}: column {name!r} holds lists of lists of different lengths: "
            "only the first axis of a sample may differ"
        )
    return inner


def _is_text(pa: Any, kind: Any) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or kind == pa.string_view()
    )
