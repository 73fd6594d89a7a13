"""Formats of other packages: the values that these packages read, and clear errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtrain.data.binding import bind
from dtrain.data.readers import READERS, formats, open_data
from dtrain.data.values import MISSING, Coded
from dtrain.errors import DataError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
feather = pytest.importorskip("pyarrow.feather")
h5py = pytest.importorskip("h5py")

KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "f8": (pa.float64(), st.floats()),
    "f4": (pa.float32(), st.floats(width=32)),
    "i8": (pa.int64(), st.integers(-(2**53), 2**53)),
    "u1": (pa.uint8(), st.integers(0, 255)),
    "b": (pa.bool_(), st.booleans()),
    "s": (pa.string(), st.sampled_from(["red", "blue", "", "é"])),
    "d": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["red", "blue"])),
    "v": (pa.list_(pa.float64(), 2), st.lists(st.floats(), min_size=2, max_size=2)),
}


@st.composite
def tables(draw: st.DrawFn) -> Any:
    rows = draw(st.integers(1, 9))
    columns = {}
    for name, (kind, values) in KINDS.items():
        some = values if name == "v" else st.none() | values
        column = draw(st.lists(some, min_size=rows, max_size=rows))
        columns[name] = pa.array(column, kind)
    return pa.table(columns)


def check_column(found: Any, column: Any, name: str) -> None:
    """Compare a column that was read with an Arrow column, element by element."""
    want = column.to_pylist()
    if name in "sd":
        assert isinstance(found, Coded)
        got = [found.labels[i] if i != MISSING else None for i in found.codes]
        assert got == want
        assert list(found.labels) == sorted({x for x in want if x is not None})
    else:
        missing = any(x is None for x in want)
        kind = np.float64 if missing and name not in ("f4", "v") else None
        want = [np.nan if x is None else x for x in want]
        np.testing.assert_array_equal(found, np.array(want, kind))
        if not missing and name != "v":
            assert found.dtype == column.type.to_pandas_dtype()


@given(table=tables(), height=st.integers(1, 4))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrow_files_and_tables_give_arrows_values(
    tmp_path: Path, table: Any, height: int
) -> None:
    for old in tmp_path.glob("*.*"):
        old.unlink()
    (tmp_path / "folder").mkdir(exist_ok=True)
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=height)
    feather.write_feather(table, tmp_path / "a.feather", chunksize=height)
    for number, start in enumerate(range(0, len(table), height)):
        part = tmp_path / "folder" / f"part-{number}.parquet"
        parquet.write_table(table.slice(start, height), part)
    chunks = pa.Table.from_batches(table.to_batches(max_chunksize=height))
    for source in (
        tmp_path / "a.parquet",
        tmp_path / "a.feather",
        tmp_path / "folder",
        chunks,
    ):
        dataset = open_data(source)
        assert dataset.names == tuple(KINDS)
        together = dataset.read(dataset.names)
        for name in KINDS:
            check_column(together[name], table[name], name)
            check_column(dataset.columns[name], table[name], name)
    for old in (tmp_path / "folder").glob("*"):
        old.unlink()


def test_hdf5_gives_the_arrays_by_their_path(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(4, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = x
        file["group/t"] = np.arange(4, dtype=">i4")
        file["text"] = ["red", "blue", "red", "red"]
        file["fixed"] = np.array([b"a", b"b", b"a", b"a"])
        file["one"] = 3.0
        file.attrs["pickle"] = np.void(b"\x80\x04cos\nsystem\n.")
        file["elsewhere"] = h5py.ExternalLink("secret.h5", "/x")
    dataset = open_data(tmp_path / "a.h5")
    assert set(dataset.names) == {"x", "group/t", "text", "fixed", "one"}
    samples = bind(dataset, ["x", "text", "fixed"], "group/t", {})
    np.testing.assert_array_equal(samples.inputs["x"], x)
    assert samples.target is not None
    assert samples.target.tolist() == [0, 1, 2, 3]
    assert samples.inputs["text"].tolist() == [1, 0, 1, 1]
    assert samples.categories == {"text": ("blue", "red"), "fixed": ("a", "b")}
    with pytest.raises(DataError, match="column 'one' is a single value"):
        dataset.read(["one"])


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow", ".h5"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str) -> None:
    table = pa.table({"x": np.arange(1000.0), "t": np.arange(1000)})
    path = tmp_path / f"a{suffix}"
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["x"] = np.arange(1000.0)
    elif suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        feather.write_feather(table, path, compression="uncompressed")
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"a{suffix} cannot be read"):
            open_data(path).read(["x"])


def test_columns_of_other_types_are_refused_only_if_read() -> None:
    table = pa.table(
        {
            "x": [1, 2],
            "when": pa.array([0, 1], pa.timestamp("s")),
            "lists": [[1.0], [1.0, 2.0]],
            "big": pa.array([2**53 + 1, None], pa.int64()),
            "null": pa.nulls(2),
        }
    )
    dataset = open_data(table)
    assert dataset.columns["x"].tolist() == [1, 2]
    assert np.isnan(dataset.columns["null"]).all()
    for name, message in {
        "when": "the Arrow table: column 'when' is of the Arrow type timestamp",
        "big": "column 'big' has missing values, so it is read as float64, but",
    }.items():
        with pytest.raises(DataError, match=message):
            dataset.read([name])


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".h5"])
def test_a_package_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    for name in [*sys.modules, "pyarrow", "pyarrow.dataset", "h5py"]:
        if name.partition(".")[0] in ("pyarrow", "h5py"):
            monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / f"a{suffix}"
    path.write_text("")
    with pytest.raises(DataError, match=r"pip install 'dtrain\[data\]'"):
        open_data(path)


def test_every_format_is_in_the_messages() -> None:
    for suffix in READERS:
        assert (suffix if suffix != "/" else ".npy") in formats()
