"""Ragged columns: the same arrays back, padded or not, and clear refusals."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dtrain import ragged
from dtrain.data.binding import bind, resolve
from dtrain.data.ragged import Ragged
from dtrain.data.readers import open_data
from dtrain.errors import DataError

ARRAYS = [np.arange(3 * n, dtype=float).reshape(n, 3) + n for n in (2, 4, 1, 3)]


def test_one_column_from_arrays_or_from_values_and_lengths():
    for column in (
        ragged(ARRAYS),
        ragged(np.concatenate(ARRAYS), [2, 4, 1, 3]),
        open_data({"r": ARRAYS}).columns["r"],
        open_data({"r": np.array(ARRAYS, dtype=object)}).columns["r"],
    ):
        assert isinstance(column, Ragged)
        assert column.shape == (4, None, 3)
        for i, array in enumerate(ARRAYS):
            np.testing.assert_array_equal(column[i], array)


@pytest.mark.parametrize(
    "rows", [slice(1, 3), slice(0, 0), np.array([3, 0, 3]), np.array([], np.intp)]
)
def test_rows_are_those_of_a_list(rows):
    taken = ragged(ARRAYS)[rows]
    right = [ARRAYS[i] for i in np.arange(4)[rows]]
    assert len(taken) == len(right)
    for i, array in enumerate(right):
        np.testing.assert_array_equal(taken[i], array)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
@pytest.mark.parametrize("size", [4, 7])
def test_padding_is_zero(size, dtype):
    out = np.full((3, size, 3), 9, dtype)
    rows = np.array([1, 3, 0])
    ragged(ARRAYS).pad(rows, out)
    for row, padded in zip(rows, out, strict=True):
        length = len(ARRAYS[row])
        np.testing.assert_array_equal(padded[:length], ARRAYS[row])
        assert not padded[length:].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ragged([np.ones((2, 3)), np.ones((1, 2))]), "row 2 has shape"),
        (lambda: ragged([np.ones(2), np.ones(0)]), "row 2 has length 0"),
        (lambda: ragged([1.0, 2.0]), r"row 1 has shape \(\)"),
        (lambda: ragged([["a"], ["b", "c"]]), "row 1 is <U1"),
        (lambda: ragged([[np.nan], [[1.0], [2.0, 3.0]]]), "row 2 is no array"),
        (lambda: ragged([]), "one array for each sample"),
        (lambda: ragged(np.ones(5), [2, 2]), "sum to 4, but there are 5 rows"),
        (lambda: ragged(np.ones(5), [5, 0]), "row 2 has length 0"),
        (lambda: ragged(np.ones(5), [6, -1]), "row 2 has length -1"),
        (lambda: ragged(np.ones(5), [2.5, 2.5]), "lengths must be whole numbers"),
        (lambda: ragged(np.ones(5), [[5]]), "lengths must be whole numbers"),
        (lambda: ragged(np.ones(5), []), "lengths must be|no samples"),
        (lambda: ragged(1.0, [1]), "a single number"),
        (
            lambda: open_data({"r": [np.ones((2, 3)), np.ones((1, 2))]}).columns["r"],
            "column 'r': row 2 has shape",
        ),
        (
            lambda: ragged([np.ma.masked_equal([1, 2], 2), np.ones(1)]),
            "row 1 has masked elements",
        ),
    ],
)
def test_what_is_no_ragged_column_is_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_a_value_that_is_not_finite_is_named_by_sample_and_row():
    arrays = [array.copy() for array in ARRAYS]
    arrays[3][1, 2] = np.inf
    data = open_data({"r": arrays, "t": np.zeros(4)})
    samples = bind(data, ["r"], "t", {})
    with pytest.raises(DataError, match=r"row 4, column 'r' at \[1, 2\] is inf"):
        samples.check_finite(0, 4)
    with pytest.raises(DataError, match=r"row 4, column 'r' at \[1, 2\] is inf"):
        samples.check_finite(2, 4)
    samples.check_finite(0, 3)


def test_the_elements_of_a_vector_are_not_ragged():
    data = open_data({"a": [[1.0], [1.0, 2.0]], "b": np.ones(2), "t": np.ones(2)})
    with pytest.raises(DataError, match="must be scalar columns"):
        bind(data, ["x"], "t", {"x": "a:b"})


def test_columns_have_one_array_for_each_sample():
    data = open_data({"r": ARRAYS, "t": np.zeros(3)})
    with pytest.raises(DataError, match="'r' has 4 rows, column 't' has 3"):
        bind(data, ["r"], "t", {})


@pytest.mark.parametrize("form", ["folder", "npz"])
def test_an_array_with_lengths_beside_it_is_one_column(tmp_path, form):
    arrays = {"r": np.concatenate(ARRAYS), "r.lengths": [2, 4, 1, 3], "t": np.ones(4)}
    if form == "npz":
        np.savez(tmp_path / "data.npz", **arrays)
        dataset = open_data(tmp_path / "data.npz")
    else:
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        dataset = open_data(tmp_path)
    assert set(dataset.names) == {"r", "t"}
    column = dataset.read(["t", "r"])["r"]
    assert column.shape == (4, None, 3)
    assert isinstance(column.values, np.memmap) == (form == "folder")
    for i, array in enumerate(ARRAYS):
        np.testing.assert_array_equal(column[i], array)


def test_lengths_in_a_file_that_do_not_fit_are_refused(tmp_path):
    np.save(tmp_path / "r.npy", np.ones(5))
    np.save(tmp_path / "r.lengths.npy", [2, 2])
    with pytest.raises(DataError, match=r"'r' with 'r.lengths': .* sum to 4"):
        open_data(tmp_path).read(["r"])


def test_rows_with_a_missing_value_are_left_out():
    arrays = [array.copy() for array in ARRAYS]
    arrays[1][3, 0] = np.nan
    binding = resolve(open_data({"r": arrays, "t": np.arange(4.0)}), ["r"], "t", {})
    samples = binding.samples(binding.read("skip"))
    assert samples.left_out == 1
    assert samples.inputs["r"].lengths.tolist() == [2, 1, 3]
    assert samples.target.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(samples.inputs["r"][2], arrays[3])


@pytest.mark.parametrize("large", [False, True])
def test_arrow_lists_are_ragged(tmp_path, large):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    kind = (pa.large_list if large else pa.list_)(pa.list_(pa.float64(), 3))
    r = pa.array([array.tolist() for array in ARRAYS], kind)
    z = pa.array([[1, 2], [3, 4, 5, 6], [7], [8, 9, 10]], pa.list_(pa.int32()))
    table = pa.table({"r": r, "t": np.arange(4.0), "z": z})
    parquet.write_table(table, tmp_path / "data.parquet", row_group_size=3)
    for source in (table, tmp_path / "data.parquet"):
        columns = open_data(source).read(["z", "t", "r"])
        for i, array in enumerate(ARRAYS):
            np.testing.assert_array_equal(columns["r"][i], array)
        assert columns["z"].lengths.tolist() == [2, 4, 1, 3]
        assert columns["z"].values.tolist() == list(range(1, 11))
        assert columns["t"].tolist() == [0, 1, 2, 3]
    missing = pa.table({"z": pa.array([[1], None])})
    with pytest.raises(DataError, match="'z' has lists that are missing"):
        open_data(missing).read(["z"])
    empty = pa.table({"z": pa.array([[1], []])})
    with pytest.raises(DataError, match="'z': row 2 has length 0"):
        open_data(empty).read(["z"])


def test_the_example_of_the_page_on_data_trains():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    section = page.split("## Samples of different lengths")[1]
    (source,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {}
    exec(source, names)  # noqa: S102
    losses = names["run"].report["loss_history"]
    assert losses[-1] < losses[0]
