"""Tables in memory are recognised by what they offer, without importing packages."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from dtrain import predict, program, train, weight
from dtrain.data.binding import bind
from dtrain.data.readers import open_data
from dtrain.data.values import MISSING, Coded
from dtrain.errors import DataError


class Series:
    """A column of a frame."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def to_numpy(self) -> Any:
        """Return the values."""
        return self.values


class Frame:
    """What pandas and polars have in common."""

    def __init__(self, **columns: Any) -> None:
        self.columns = list(columns)
        self._values = columns

    def __getitem__(self, name: str) -> Series:
        return Series(self._values[name])


@program
def line(x: Any) -> Any:
    return weight("a", (), 0.0) * x


def test_a_frame_is_accepted_wherever_data_go() -> None:
    x = np.linspace(-1, 1, 20)
    data = {
        "x": x,
        "t": 3 * x,
        "who": np.array(["a"] * 20, object),
        "when": [None] * 20,
    }
    run = train(line, Frame(**data), target="t", epochs=100, learning_rate=0.5)
    assert abs(run.weights["a"] - 3) < 1e-3
    np.testing.assert_array_equal(
        predict(line, run, Frame(**data)), predict(line, run, {"x": x})
    )


def test_a_structured_array_has_named_columns() -> None:
    table = np.array([(1.0, "a", [1, 2]), (2.0, "b", [3, 4])], "f8,U1,(2,)i4")
    samples = bind(open_data(table), ["f0", "f1"], "f2", {})
    assert samples.inputs["f0"].tolist() == [1, 2]
    assert samples.categories == {"f1": ("a", "b")}
    assert samples.target is not None
    assert samples.target.tolist() == [[1, 2], [3, 4]]
    np.testing.assert_array_equal(
        predict(line, {"a": 2.0}, np.array([(1.5,)], [("x", "f8")])), [3.0]
    )


def test_texts_and_gaps_of_a_frame() -> None:
    frame = Frame(
        text=np.array(["b", None, "a", float("nan")], object),
        number=np.array([1, None, 2.5, float("nan")], object),
        truth=np.array([True, None, False, True], object),
        mixed=np.array([1, "a", None, 2], object),
        when=np.array(["2020-01-01"] * 4, "M8[D]"),
    )
    dataset = open_data(frame)
    text = dataset.columns["text"]
    assert isinstance(text, Coded)
    assert (text.codes.tolist(), text.labels) == ([1, MISSING, 0, MISSING], ("a", "b"))
    np.testing.assert_array_equal(dataset.columns["number"], [1, np.nan, 2.5, np.nan])
    np.testing.assert_array_equal(dataset.columns["truth"], [1, np.nan, 0, 1])
    with pytest.raises(DataError, match="the Frame: column 'mixed' holds Python obj"):
        dataset.read(["mixed"])
    with pytest.raises(DataError, match=r"column 'when' is datetime64\[D\]"):
        bind(dataset, ["when"], "number", {})


def test_names_that_are_not_text_are_refused() -> None:
    frame = Frame(x=[1.0])
    frame.columns = [0]
    with pytest.raises(DataError, match="the Frame: 0 is not a column name"):
        open_data(frame)


class Variable:
    """A variable of an xarray dataset."""

    def __init__(self, dims: tuple[str, ...], values: Any) -> None:
        self.dims, self.values = dims, np.asarray(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values


class Dataset(dict[str, Variable]):
    """What an xarray dataset offers; it is a mapping of variables, too."""

    @property
    def data_vars(self) -> list[str]:
        """Return the names of the variables."""
        return [name for name in self if name != "time"]

    @property
    def coords(self) -> list[str]:
        """Return the names of the coordinates."""
        return ["time"]


def test_an_xarray_dataset_has_samples_along_one_dimension() -> None:
    dataset = Dataset(
        x=Variable(("time", "y"), np.ones((3, 2))),
        t=Variable(("time",), np.zeros(3)),
        u=Variable(("y",), np.zeros(2)),
        time=Variable(("time",), np.arange(3)),
    )
    samples = bind(open_data(dataset), ["x", "time"], "t", {})
    assert samples.inputs["x"].shape == (3, 2)
    with pytest.raises(DataError, match="x along 'time', u along 'y'"):
        bind(open_data(dataset), ["x"], "u", {})


def test_no_package_of_frames_is_imported() -> None:
    code = (
        "import sys, dtrain; from dtrain.data.readers import open_data;"
        "open_data({'x': [1.0]}).read(['x']);"
        "print({'pandas', 'polars', 'pyarrow', 'xarray', 'h5py'} & set(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == ["set()"]
