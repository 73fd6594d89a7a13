"""Reading data: equal data from every format, and a clear error for invalid data."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain.data.binding import bind
from dtrain.data.columns import Dataset, Samples
from dtrain.data.digest import digest
from dtrain.data.readers import READERS, Reader, formats, open_data
from dtrain.data.values import MISSING
from dtrain.errors import DataError

COLUMNS = {"p": np.array([0.5, 1.0, -2e-3]), "t": np.array([1.0, 0.0, 3.0])}


def read_all(source: Any) -> dict[str, Any]:
    dataset = open_data(source)
    return dataset.read(dataset.names)


def read_numbers(source: Any) -> Samples:
    """Read every column as an input that a program computes with."""
    dataset = open_data(source)
    samples = bind(dataset, dataset.names, None, {}, with_target=False)
    samples.check_finite(0, len(samples))
    for name in dataset.names:
        samples.check_not_text(name, "the program computes with it")
    return samples


def write_csv(path: Path, text: str, name: str = "data.csv") -> Path:
    file = path / name
    file.write_bytes(text.encode())
    return file


def test_every_format_gives_the_same_columns_and_digest(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **COLUMNS)
    (tmp_path / "folder").mkdir()
    for name, column in COLUMNS.items():
        np.save(tmp_path / "folder" / f"{name}.npy", column)
    write_csv(tmp_path, "p,t\n0.5,1\n1,0\n-2e-3,3\n")
    forms: list[Any] = [
        COLUMNS,
        {name: column.tolist() for name, column in COLUMNS.items()},
        tmp_path / "data.npz",
        str(tmp_path / "folder"),
        str(tmp_path / "data.csv"),
    ]
    opened = [open_data(form) for form in forms]
    for dataset in opened:
        assert list(dataset.columns) == ["p", "t"]
        for name, column in COLUMNS.items():
            np.testing.assert_array_equal(dataset.columns[name], column)
    assert len({digest(dataset.read(dataset.names)) for dataset in opened}) == 1
    assert open_data(opened[0]) is opened[0]


def test_a_folder_stays_on_disk_and_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1, 2):
        np.save(tmp_path / f"pixel_{number}.npy", np.full(3, number))
    (tmp_path / "._pixel_1.npy").write_bytes(b"what some file systems leave behind")
    (tmp_path / "readme.txt").write_text("not data")
    dataset = open_data(tmp_path)
    assert list(dataset.columns) == ["pixel_1", "pixel_2", "pixel_9", "pixel_10"]
    assert all(isinstance(column, np.memmap) for column in dataset.columns.values())
    vector = bind(dataset, ["x"], "pixel_1", {"x": "pixel_2:pixel_10"}).inputs["x"]
    assert vector.tolist() == [[2, 9, 10]] * 3


@pytest.mark.parametrize("form", ["folder", "npz"])
def test_every_layout_and_byte_order_is_read(tmp_path: Path, form: str) -> None:
    x = np.arange(6.0).reshape(3, 2)
    arrays = {"x": np.asfortranarray(x), "t": np.array([1, 2, 3], ">i4")}
    if form == "npz":
        np.savez(tmp_path / "data.npz", **arrays)
    else:
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
    dataset = open_data(tmp_path / "data.npz" if form == "npz" else tmp_path)
    np.testing.assert_array_equal(dataset.columns["x"], x)
    assert dataset.columns["t"].dtype == np.dtype(np.int32)
    assert dataset.columns["t"].dtype.isnative
    assert dataset.columns["t"].tolist() == [1, 2, 3]


def test_csv_with_quotes_spaces_and_blank_lines(tmp_path: Path) -> None:
    text = (
        '\ufeff\r\n"p, in bar", b,"t"\r\n\r\n1, 2.5 ,"3"\r\n   \r\n-1e3,.5,+4\r\n\r\n'
    )
    for end in ("", "\r\n", "5,6,7"):
        columns = open_data(write_csv(tmp_path, text + end)).columns
        assert list(columns) == ["p, in bar", "b", "t"]
        expected = [[1, 2.5, 3], [-1000, 0.5, 4], [5, 6, 7]][: 3 if "7" in end else 2]
        assert np.stack(list(columns.values()), 1).tolist() == expected


def test_lines_of_spaces_are_no_rows(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "p,t\n  \n1,2\n \n\n   \r\n3,nan\n  ")
    dataset = open_data(path)
    assert dataset.columns["p"].tolist() == [1, 3]
    with pytest.raises(DataError, match=r"row 2 \(line 7\), column 't' is nan"):
        bind(dataset, ["p"], None, {}).check_finite(0, 2)


def test_lines_of_spaces_do_not_hide_other_errors(tmp_path: Path) -> None:
    for number in ("\u00a03", '""3', "3\t\t4", "0x3", "3_0", "１"):
        with pytest.raises(DataError, match="line 4"):
            read_numbers(write_csv(tmp_path, f"p,t\n1,2\n  \n{number},4\n"))


def test_csv_with_one_column_or_no_rows(tmp_path: Path) -> None:
    column = open_data(write_csv(tmp_path, "t\n1\n\n2\n")).columns["t"]
    assert column.tolist() == [1, 2]
    dataset = open_data(write_csv(tmp_path, "p,t\n\n"))
    with pytest.raises(DataError, match=r"data.csv has no samples"):
        bind(dataset, ["p"], None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p,t\n1,2\n3,four\n", r"row 2 \(line 3\), column 't' is 'four', which is not"),
        ("p,t\n\n1,2\n\n3,1_0\n", r"row 2 \(line 5\), column 't' is '1_0'"),
        ("p,t\n1,2\n,4\n", r"row 2 \(line 3\), column 'p' is (nan|no text)"),
        ("p,t\n1,2\n3,\n", r"row 2 \(line 3\), column 't' is (nan|no text)"),
        ("p,t\n1,2\n3,NA\n", r"row 2 \(line 3\), column 't' is (nan|no text)"),
        ("p,t\n1,2\n3,\nx,y", r"row 2 \(line 3\), column 't' is (nan|no text)"),
        ("t\n1\n  \n2\n", r"row 2 \(line 3\), column 't' is (nan|no text)"),
        ("p,t\n1,2\n\t\n3,4\n", "line 3, row 2 has 1 fields, the header has 2"),
        ("p,t\n1,2\n  \n3,x\n", r"row 2 \(line 4\), column 't' is 'x'"),
        ('t\n1\n""\n', r"row 2 \(line 3\), column 't' is (nan|no text)"),
        ("p,t\n1,2\n3\n", "line 3, row 2 has 1 fields, the header has 2"),
        ("p,t\n1,2,3\n4,5,6\n", "line 2, row 1 has 3 fields, the header has 2"),
        ("p,t\n1\n2\n", "line 2, row 1 has 1 fields"),
        ("p,t\n1," + "x" * 99 + "\n", r"'xxx[^']*\.\.\.', which"),
        ('p,t\n1,2\n3,"4" 5\n', "line 3: "),
        ("p,t,p\n1,2,3\n", "2 columns are named 'p'"),
        ("\n1,2\n3,4\n", "line 2 holds numbers: put a line of column names"),
        ("", "is empty: it needs a header line"),
        ("\n\n", "is empty: it needs a header line"),
        ('p,"t\n1,2\n', "line 2: unexpected end of data"),
        ("p|t\n1|2\n", r"line 1 has one column: .*--separator"),
    ],
)
def test_an_error_in_csv_is_reported_with_its_position(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=f"data.csv.*{message}"):
        read_numbers(write_csv(tmp_path, text))


def test_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    for content in (b"p,t\xe9\n1,2\n", b"\xff\xfep\0"):
        (tmp_path / "data.csv").write_bytes(content)
        with pytest.raises(DataError, match="not a CSV file in UTF-8"):
            open_data(tmp_path / "data.csv")
    (tmp_path / "data.csv").write_bytes(b"p,t\n1,2\n1,\xe92\n")
    assert open_data(tmp_path / "data.csv").columns["p"].tolist() == [1, 1]
    with pytest.raises(DataError, match="line 3, row 2, column 't' is not UTF-8"):
        read_all(tmp_path / "data.csv")


def test_nan_in_csv_is_reported_with_its_line(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "a,b,t\n\n1,2,3\n\n\n4,nan,5\n6,7,8\n")
    samples = bind(open_data(path), ["x"], None, {"x": "a:b"})
    with pytest.raises(DataError, match=r"data.csv: row 2 \(line 6\), column 'b' is n"):
        samples.check_finite(0, 3)


def damage(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("keep", [0, 3, 100, 300, -1, -30])
def test_a_truncated_npz_is_refused(tmp_path: Path, keep: int) -> None:
    np.savez_compressed(tmp_path / "data.npz", **COLUMNS)
    damage(tmp_path / "data.npz", lambda content: content[:keep])
    with pytest.raises(DataError, match=r"data\.npz"):
        open_data(tmp_path / "data.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_corrupt_npz_only_raises_data_errors(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    path = tmp_path / "data.npz"
    save(path, **COLUMNS)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]
        )
        try:
            read_all(path)
        except DataError:
            refused += 1
    assert refused > len(whole) / 3 / 2


def test_a_damaged_npy_in_a_folder_is_reported_by_name(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.ones(100))
    np.save(tmp_path / "t.npy", np.ones(100))
    for change in (
        lambda c: c[:500],
        lambda c: c[:5],
        lambda _: b"",
        lambda _: b"hi",
        lambda c: c.replace(b"{", b" "),  # no Python tokens to the end
    ):
        damage(tmp_path / "t.npy", change)
        with pytest.raises(DataError, match=r"t\.npy cannot be read"):
            read_all(tmp_path)
        assert open_data(tmp_path).columns["p"].tolist() == [1] * 100


class Bomb:
    """A pickle that would create a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_pickles_are_refused_and_not_executed(tmp_path: Path) -> None:
    trap = tmp_path / "exploded"
    bomb = np.array([Bomb(trap), None], dtype=object)
    np.savez(tmp_path / "data.npz", x=bomb)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "x.npy", bomb)
    with np.load(tmp_path / "data.npz") as archive:
        for source in (tmp_path / "data.npz", tmp_path / "folder", archive):
            with pytest.raises(DataError, match=r"x.* cannot be read: "):
                read_all(source)
    (tmp_path / "pickle.npz").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(DataError, match=r"not an \.npz file"):
        open_data(tmp_path / "pickle.npz")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"x": np.array([None, 1])}, "column 'x' holds Python objects"),
        ({"x": [[[1], [2, 3]]]}, "column 'x' cannot be read: .*inhomogeneous"),
        ({3: [1.0]}, "3 is not a column name"),
        ({}, "has no columns: give a mapping of names to arrays"),
        (np.ones(3), "data is ndarray: give a mapping of names to arrays"),
        (None, "data is NoneType: give"),
        ("missing.csv", "missing.csv: there is no such file or folder"),
        ("https://example.org/data.csv", "there is no such file or folder"),
        (__file__, r"test_readers.py: give .* a folder of \.npy files, .* an \.h5"),
    ],
)
def test_invalid_data_are_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_all(source)


def test_a_format_is_one_entry_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, source: str) -> Dataset:
        return Dataset({"x": np.loadtxt(path)}, source)

    monkeypatch.setitem(READERS, ".txt", Reader("a .txt file of one column", read))
    path = tmp_path / "data.TXT"
    path.write_text("1\n2\n")
    assert open_data(path).columns["x"].tolist() == [1, 2]
    assert formats().endswith(" or a .txt file of one column")
    with pytest.raises(DataError, match=re.escape(formats())):
        open_data(__file__)


@pytest.mark.parametrize(
    "column",
    [
        np.ma.array([1.0, -999.0, 3.0], mask=[False, True, False]),
        np.ma.array([[1, 2]] * 3, mask=[[0, 0], [0, 0], [0, 1]]),
        [np.ma.array([1.0, 2.0], mask=[True, False]), np.ma.array([1.0, 2.0])],
        np.ma.array([(1, 2.0)], dtype=[("a", int), ("b", float)], mask=[(0, 1)]),
    ],
)
def test_masked_elements_are_refused(column: Any) -> None:
    message = "arrays: column 'x' has masked elements: fill them or remove those rows"
    with pytest.raises(DataError, match=message):
        read_all({"t": np.ones(3), "x": column})


def test_columns_that_are_not_read_may_hold_anything(tmp_path: Path) -> None:
    texts = {
        "text": "name,x,t\nann,0,1\nbob,1,4\n",
        "date": "when,x,t\n2020-01-01,0,1\n2020-01-02,1,4\n",
        "truth": "ok,x,t\nTRUE,0,1\nFALSE,1,4\n",
        "gap": "note,x,t\n1,0,1\n,1,4\n",
        "index": ",x,t\n0,0,1\n1,1,4\n",
        "names": "a,a,x,t\n0,0,0,1\n1,1,1,4\n",
    }
    rest = {"x": np.arange(2.0), "t": np.array([1.0, 4.0])}
    np.savez(tmp_path / "a.npz", name=np.array([None, "b"], dtype=object), **rest)
    files = [write_csv(tmp_path, text, f"{name}.csv") for name, text in texts.items()]
    name = {"name": np.array([Bomb(tmp_path), "b"], dtype=object)}
    for source in (*files, tmp_path / "a.npz", {**rest, **name}):
        samples = bind(open_data(source), ["x"], None, {})
        samples.check_finite(0, 2)
        assert samples.inputs["x"].tolist() == [0, 1], source
        assert samples.target is not None
        assert samples.target.tolist() == [1, 4]


def test_truth_values_are_0_and_1(tmp_path: Path) -> None:
    columns = read_all(write_csv(tmp_path, "a,b\nTrue,FALSE\nfalse, true\n"))
    assert np.stack([columns["a"], columns["b"]]).tolist() == [[1, 0], [0, 1]]


def test_text_is_coded_in_sorted_order(tmp_path: Path) -> None:
    csv = write_csv(tmp_path, 'a,b\nred,1\n"blue, dark",2\nred ,3\nNA,x\n')
    np.savez(tmp_path / "a.npz", a=np.array(["red", "blue, dark", "red"]))
    for source in (csv, tmp_path / "a.npz", {"a": ["red", "blue, dark", "red"]}):
        column = open_data(source).columns["a"]
        assert column.codes[:3].tolist() == [1, 0, 1]
        assert column.labels == ("blue, dark", "red")
    assert open_data(csv).columns["a"].codes[3] == MISSING
    assert open_data(csv).read(["b"])["b"].labels == ("1", "2", "3", "x")
    numbers = write_csv(tmp_path, "b\n 2\n1\n")
    assert open_data(numbers).read(["b"], text=["b"])["b"].labels == ("1", "2")


def test_columns_without_a_name_are_called_as_in_pandas(tmp_path: Path) -> None:
    dataset = open_data(write_csv(tmp_path, ",y,x,\n0,1,2,\n3,4,5,\n"))
    assert dataset.names == ("Unnamed: 0", "y", "x", "Unnamed: 3")
    assert bind(dataset, ["x"], None, {}).origins == [("x",), ("y",)]
    range_ = bind(dataset, ["x"], "y", {"x": "Unnamed: 0:x"})
    assert range_.inputs["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_empty_mask_is_accepted() -> None:
    for mask in (np.ma.nomask, [False, False]):
        column = open_data({"x": np.ma.array([1.0, 2.0], mask=mask)}).columns["x"]
        assert type(column) is np.ndarray
        assert column.tolist() == [1, 2]


def test_files_without_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"has no columns: give .* a folder of \.npy files"
    ):
        open_data(tmp_path)
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    with pytest.raises(DataError, match=r"empty.npz has no columns"):
        open_data(tmp_path / "empty.npz")


def test_data_imports_only_errors() -> None:
    code = (
        "import sys, dtrain.data.readers, dtrain.data.digits, dtrain.data.order;"
        "print(*sorted({name.split('.')[1] for name in sys.modules"
        " if name.startswith('dtrain.')}))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == ["data", "errors"]
