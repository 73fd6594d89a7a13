"""CSV: the values of the csv module and float, by both parsers, in any dialect."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtrain.data import csv_arrow, csv_file
from dtrain.data.csv_fields import GAPS, number
from dtrain.data.readers import open_data
from dtrain.data.values import MISSING, Coded
from dtrain.errors import DataError

NUMBERS = st.one_of(
    st.floats(width=64).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda x: f"{x:.30g}"),
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from(["1e400", "-1e-400", ".5", "5.", "+4", "0x3", "1_0", "True", "１"]),
)
TEXTS = st.text(st.sampled_from("ab,;\t\"'\n é_1.-"), max_size=6)
FIELDS = st.one_of(NUMBERS, NUMBERS, TEXTS, st.sampled_from(sorted(GAPS)))
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(FIELDS, min_size=width, max_size=width), min_size=1, max_size=12
    )
)
PARSERS = ["exact", pytest.param("arrow", id="pyarrow")]


@pytest.fixture
def parser(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Choose the parser by which the test's files are read."""
    if request.param == "arrow":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(csv_file, "LARGE", 0 if request.param == "arrow" else 1 << 60)
    monkeypatch.setattr(csv_file, "_CHUNK", 8)
    return lambda: None


def expected(text: str, separator: str, column: int) -> Any:
    """The values of a column, by the csv module and float alone."""
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))[1:]
    fields = [row[column].strip(" \t\r\n") for row in rows if row]
    found = [number(field) for field in fields]
    return fields if None in found else found


@pytest.mark.parametrize("parser", PARSERS, indirect=True)
@given(
    table=TABLES,
    separator=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    zipped=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_values_are_those_of_the_csv_module_and_float(
    parser: Any,
    tmp_path: Path,
    table: list[list[str]],
    separator: str,
    end: str,
    bom: bool,
    zipped: bool,
    quoting: Any,
) -> None:
    del parser
    width = len(table[0])
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow([f"c{i}" for i in range(width)] + ["end"])
    writer.writerows([[*row, "1"] for row in table])
    text = file.getvalue()
    content = ("\ufeff" * bom + text).encode()
    path = tmp_path / ("data.csv.gz" if zipped else "data.csv")
    path.write_bytes(gzip.compress(content) if zipped else content)
    dataset = open_data(path)
    together = dataset.read(dataset.names)
    for column in range(width):
        want = expected(text, separator, column)
        for found in (dataset.columns[f"c{column}"], together[f"c{column}"]):
            if isinstance(found, Coded):
                got = [found.labels[i] if i != MISSING else None for i in found.codes]
                assert got == [None if field in GAPS else field for field in want]
                assert list(found.labels) == sorted(set(got) - {None})
            else:
                assert found.dtype == np.float64
                pairs = zip(found.tolist(), want, strict=True)
                for got_number, want_number in pairs:
                    if math.isnan(want_number):
                        assert math.isnan(got_number)
                    else:
                        assert repr(got_number) == repr(want_number)


@pytest.mark.parametrize("parser", PARSERS, indirect=True)
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,2\n3\n", "line 3, row 2 has 1 fields, the header has 2"),
        ("1,2\n\n3,4,5\n", "line 4, row 2 has 3 fields"),
        ('1,2\n3,"4\n', "line 3: unexpected end of data"),
        ('1,2\n3,"4"5\n', "line 3: "),
    ],
)
def test_both_parsers_report_the_same_line(
    parser: Any, tmp_path: Path, rows: str, message: str
) -> None:
    del parser
    (tmp_path / "a.csv").write_text(f"a,b\n{rows}")
    with pytest.raises(DataError, match=message):
        open_data(tmp_path / "a.csv").read(["b"])


def test_a_large_file_is_parsed_by_arrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    rows = "".join(f'"x, {i % 3}",{i / 7},{i}\n' for i in range(2000))
    (tmp_path / "a.csv").write_text(f"s,x,t\n{rows}")
    exact = open_data(tmp_path / "a.csv").read(["s", "x", "t"])
    monkeypatch.setattr(csv_file, "LARGE", 1000)
    monkeypatch.setattr(csv_arrow, "_BLOCK", 1000)
    parts = []

    def spy(*args: Any) -> Any:
        for part in csv_arrow.arrow_parts(*args):
            parts.append(part)
            yield part

    monkeypatch.setattr(csv_file, "arrow_parts", spy)
    found = open_data(tmp_path / "a.csv").read(["s", "x", "t"])
    assert len(parts) > 10
    np.testing.assert_array_equal(found["x"], exact["x"])
    assert found["s"].labels == exact["s"].labels == ("x, 0", "x, 1", "x, 2")
    np.testing.assert_array_equal(found["s"].codes, exact["s"].codes)


def test_the_separator_is_recognised_or_given(tmp_path: Path) -> None:
    texts = {
        "a.csv": "x;t\n1;2\n",
        "b.csv": "x\tt\n1\t2\n",
        "c.tsv": "x\tt\n1\t2\n",
        "d.csv": '"p, in bar";x;t\n0;1;2\n',
        "e.csv": "x|t\n1|2\n",
        "f.csv": "x t\n1   2\n",
    }
    separators = {"e.csv": "|", "f.csv": " "}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        data = open_data(tmp_path / name, separators.get(name))
        assert [data.columns[key].tolist() for key in "xt"] == [[1], [2]], name


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    content = gzip.compress(b"x,t\n" + b"1,2\n" * 100)
    for keep in (5, 20, len(content) - 9):
        (tmp_path / "a.csv.gz").write_bytes(content[:keep])
        with pytest.raises(DataError, match="cannot be read"):
            open_data(tmp_path / "a.csv.gz").read(["x"])
    (tmp_path / "a.csv.gz").write_text("x,t\n1,2\n")
    with pytest.raises(DataError, match="cannot be read: Not a gzipped file"):
        open_data(tmp_path / "a.csv.gz")
