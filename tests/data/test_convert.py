"""A data set as a folder of .npy files: the same columns, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain import program, train, weight
from dtrain.data import convert as module
from dtrain.data import csv_file
from dtrain.data.convert import convert
from dtrain.data.readers import open_data
from dtrain.data.values import MISSING, Coded
from dtrain.errors import DataError, UsageError


def write_csv(path: Path, rows: int = 50) -> Path:
    cities = ["Ulm", "Bonn", "NA", "Köln"]
    lines = [f"{cities[i % 4]},{i / 7},{i % 5},{i % 3 == 0}" for i in range(rows)]
    path.write_text("\n".join(["city,x,t,odd", *lines, ",,1,"]))
    return path


def same(one: Any, other: Any) -> None:
    if isinstance(one, Coded):
        assert one.labels == other.labels
        one, other = one.codes, other.codes
    np.testing.assert_array_equal(one, other)
    assert one.dtype == other.dtype


def test_a_folder_has_the_columns_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "_CHUNK", 20)  # text is found in the second part
    source = open_data(write_csv(tmp_path / "a.csv"))
    found = convert(source, tmp_path / "new" / "folder")
    assert found.columns == dict.fromkeys(source.names, 51)
    folder = open_data(tmp_path / "new" / "folder")
    assert set(folder.names) == set(source.names)
    for name in source.names:
        same(folder.columns[name], source.columns[name])
    assert isinstance(folder.columns["x"], np.memmap)
    assert isinstance(folder.columns["city"].codes, np.memmap)
    assert folder.columns["city"].codes[-1] == MISSING
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "folder"]


@program
def levels(city: Any, x: Any) -> Any:
    return weight("level", (3,))[city] + weight("a") * x


def test_training_on_the_folder_has_the_bits_of_the_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    convert(open_data(tmp_path / "a.csv"), tmp_path / "folder")
    how = {"epochs": 2, "learning_rate": 0.01, "target": "t", "missing": "skip"}
    runs = [train(levels, tmp_path / each, **how) for each in ("a.csv", "folder")]
    assert runs[0].digest == runs[1].digest
    assert runs[0].categories == runs[1].categories == {"city": ["Bonn", "Köln", "Ulm"]}


def test_what_is_no_column_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_TEXTS", 3)
    data = {
        "x": np.arange(4),
        "when": np.array(["2020"] * 4, "M8[D]"),
        "objects": np.array([1, "a", [], {}], object),
        "one": 3.0,
        "": np.ones(4),
        ".hidden": np.ones(4),
        "a/b": np.ones(4),
        "a.b": np.zeros(4),
        "remark": ["a", "b", "c", "d"],
    }
    found = convert(open_data(data), tmp_path / "folder")
    assert set(found.columns) == {"x", "a/b"}
    assert set(found.left_out) == set(data) - {"x", "a/b"}
    assert "more than 3 distinct texts" in found.left_out["remark"]
    assert "that of 'a/b'" in found.left_out["a.b"]
    names = {path.name for path in (tmp_path / "folder").iterdir()}
    assert names == {"x.npy", "a.b.npy"}


@pytest.mark.peers
def test_arrow_columns_keep_their_dtypes(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parts = [
        {"i": [1, 2], "f": [0.5, 1.0], "v": [[1.0, 2.0], [3.0, 4.0]], "s": ["b", "a"]},
        {"i": [3, None], "f": [2.0, None], "v": [[1.0, 2.0]] * 2, "s": ["c", None]},
    ]
    schema = pa.schema(
        {
            "i": pa.int64(),
            "f": pa.float32(),
            "v": pa.list_(pa.float64(), 2),
            "s": pa.string(),
        }
    )
    table = pa.concat_tables([pa.table(part, schema) for part in parts])
    convert(open_data(table), tmp_path / "folder")
    folder = open_data(tmp_path / "folder")
    for name in schema.names:
        same(folder.columns[name], open_data(table).columns[name])


@pytest.mark.parametrize(
    ("text", "message"),
    [("x,t\n1,2\n3\n", "line 3, row 2"), ("x,x\n1,2\n", "2 columns have this name")],
)
def test_data_that_cannot_be_read_leave_nothing(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        convert(open_data(tmp_path / "a.csv"), tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_folder_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    for name in ("folder", "folder/mine"):
        with pytest.raises(UsageError, match="exists: name a new folder"):
            convert(open_data({"x": [1.0]}), tmp_path / name)
    assert (tmp_path / "folder" / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("[", "cannot be read"),
        ('{"a": 1}', "must be a list of texts"),
        ('["a"]', "has 1 texts, but the codes beside it are not their numbers"),
    ],
)
def test_damaged_categories_are_refused(
    tmp_path: Path, texts: str, message: str
) -> None:
    np.save(tmp_path / "c.npy", np.array([0, 1, 0]))
    (tmp_path / "c.categories.json").write_text(texts)
    with pytest.raises(DataError, match=message):
        open_data(tmp_path).read(["c"])
    (tmp_path / "c.categories.json").write_text(json.dumps(["a", "b"]))
    assert open_data(tmp_path).columns["c"].labels == ("a", "b")


def test_no_rows_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,t\n")
    found = convert(open_data(tmp_path / "a.csv"), tmp_path / "folder")
    assert found.columns == {"x": 0, "t": 0}
    assert open_data(tmp_path / "folder").columns["x"].shape == (0,)
