"""Frames and files of pandas, polars and xarray have the values that these have."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtrain.data import csv_file
from dtrain.data.binding import bind
from dtrain.data.readers import open_data
from dtrain.data.values import MISSING, Coded

pytestmark = pytest.mark.peers
pd = pytest.importorskip("pandas", reason="pandas is missing (--peers)")
pl = pytest.importorskip("polars", reason="polars is missing (--peers)")
xr = pytest.importorskip("xarray", reason="xarray is missing (--peers)")


def values(column: Any) -> list[Any]:
    """The elements of a column; None for a missing one."""
    if isinstance(column, Coded):
        return [column.labels[i] if i != MISSING else None for i in column.codes]
    return [None if x != x else x for x in column.tolist()]


def data() -> dict[str, Any]:
    return {
        "f": [0.5, None, 2.0],
        "i": [1, 2, 3],
        "gap": [1, None, 3],
        "truth": [True, False, None],
        "text": ["b", None, "a"],
    }


def test_pandas_frames() -> None:
    frame = pd.DataFrame(data())
    frame["category"] = frame["text"].astype("category")
    frame["numbers"] = pd.Categorical([3, 1, 3])
    frame["Int64"] = frame["gap"].astype("Int64")
    frame["boolean"] = frame["truth"].astype("boolean")
    frame["string"] = frame["text"].astype("string")
    frame["Float32"] = frame["f"].astype("Float32")
    frame["when"] = pd.Timestamp("2020-01-01")
    dataset = open_data(frame)
    assert values(dataset.columns["f"]) == [0.5, None, 2.0]
    assert values(dataset.columns["i"]) == [1, 2, 3]
    for name in ("gap", "Int64"):
        assert values(dataset.columns[name]) == [1, None, 3], name
    for name in ("text", "category", "string"):
        assert values(dataset.columns[name]) == ["b", None, "a"], name
    for name in ("truth", "boolean"):
        assert values(dataset.columns[name]) == [1, 0, None], name
    assert values(dataset.columns["Float32"]) == [0.5, None, 2.0]
    assert values(dataset.columns["numbers"]) == [3, 1, 3]
    alone = open_data({"x": frame["gap"], "c": frame["category"]})
    assert values(alone.columns["x"]) == [1, None, 3]
    assert values(alone.columns["c"]) == ["b", None, "a"]


def test_polars_frames() -> None:
    frame = pl.DataFrame(data()).with_columns(
        pl.col("text").cast(pl.Categorical).alias("category"),
        pl.lit(None).cast(pl.Date).alias("when"),
    )
    dataset = open_data(frame)
    for name, column in data().items():
        assert values(dataset.columns[name]) == column, name
    assert values(dataset.columns["category"]) == ["b", None, "a"]


def test_xarray_datasets() -> None:
    dataset = xr.Dataset(
        {
            "x": (("time", "y"), np.arange(6.0).reshape(3, 2)),
            "t": (("time",), np.arange(3.0)),
            "map": (("y", "z"), np.zeros((2, 2))),
        },
        {"time": np.arange(3)},
    )
    samples = bind(open_data(dataset), ["x", "time"], "t", {})
    assert samples.inputs["x"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert samples.inputs["time"].tolist() == [0, 1, 2]


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**53), 2**53),
    st.none(),
)


@pytest.mark.parametrize("large", [0, 1 << 60])
@given(
    st.lists(st.tuples(NUMBERS, st.text("ab ,;\"'", max_size=4)), min_size=1),
    st.sampled_from([",", ";", "\t"]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csv_files_have_the_values_of_pandas(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    large: int,
    rows: list[tuple[Any, str]],
    separator: str,
) -> None:
    monkeypatch.setattr(csv_file, "LARGE", large)
    frame = pd.DataFrame(rows, columns=["x", "s"])
    frame["t"] = 1
    text = frame.to_csv(sep=separator)
    (tmp_path / "a.csv").write_text(text)
    with warnings.catch_warnings():  # newer versions of pandas need no option for this
        warnings.simplefilter("ignore")
        back = pd.read_csv(
            io.StringIO(text), sep=separator, float_precision="round_trip"
        )
    dataset = open_data(tmp_path / "a.csv")
    assert list(dataset.names) == list(back.columns)
    for name in ("Unnamed: 0", "x", "t"):
        found = dataset.columns[name]
        np.testing.assert_array_equal(found, back[name].to_numpy(float))
