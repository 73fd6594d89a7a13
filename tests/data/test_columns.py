"""Binding columns to inputs: valid bindings, and the error of each invalid one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain.data import digest as digest_module
from dtrain.data.binding import bind, resolve
from dtrain.data.columns import Dataset
from dtrain.data.digest import digest
from dtrain.data.readers import open_data
from dtrain.errors import DataError


def data(**columns: Any) -> Dataset:
    return open_data(columns)


def digest_of(columns: Any) -> str:
    dataset = open_data(columns)
    return digest(dataset.read(dataset.names))


def scalars(*names: str) -> Dataset:
    return data(**{name: np.arange(4.0) + i for i, name in enumerate(names)})


def test_columns_are_bound_by_name_without_a_copy() -> None:
    given = data(q=np.ones(3), p=np.ones((3, 2)), t=np.zeros(3), extra=["a", "b"])
    samples = bind(given, ["p", "q"], None, {})
    assert list(samples.inputs) == ["p", "q"]
    assert samples.inputs["p"] is given.columns["p"]
    assert samples.target is given.columns["t"]
    assert (len(samples), samples.source) == (3, "the mapping of arrays")


def test_a_range_makes_a_vector_in_the_order_of_the_file() -> None:
    given = scalars("t", "b", "a", "c", "d")
    samples = bind(given, ["x"], None, {"x": "b:c"})
    np.testing.assert_array_equal(samples.inputs["x"][0], [1, 2, 3])
    np.testing.assert_array_equal(samples.inputs["x"][:, 1], given.columns["a"])


def test_a_range_of_one_column_is_a_vector_of_one() -> None:
    samples = bind(scalars("a", "t"), ["x"], None, {"x": "a:a"})
    assert samples.inputs["x"].shape == (4, 1)


@pytest.mark.parametrize(
    ("target", "columns", "expected"),
    [
        (None, {}, ["t"]),
        (None, {"t": "u"}, ["u"]),
        (None, {"t": "u:v"}, ["u", "v"]),
        ("v", {}, ["v"]),
        ("y", {"y": "u:v"}, ["u", "v"]),
        ("u:v", {}, ["u", "v"]),
        ("v,u", {}, ["v", "u"]),
        ("y", {"y": ["v", "t:u"]}, ["v", "t", "u"]),
        ("x", {}, ["x"]),
    ],
)
def test_the_target(
    target: str | None, columns: dict[str, str], expected: list[str]
) -> None:
    samples = bind(scalars("x", "t", "u", "v"), ["x"], target, columns)
    assert samples.origins[-1] == tuple(expected)


def test_the_only_column_that_is_not_an_input_is_the_target() -> None:
    assert bind(scalars("a", "y", "b"), ["b", "a"], None, {}).origins[-1] == ("y",)
    used = bind(scalars("t", "b"), ["t"], None, {})
    assert used.origins == [("t",), ("b",)]


def test_without_target_no_column_is_taken_as_target() -> None:
    samples = bind(scalars("x", "u", "v"), ["x"], None, {"t": "w"}, with_target=False)
    assert (samples.target, samples.origins, len(samples)) == (None, [("x",)], 4)


@pytest.mark.parametrize(
    ("given", "target", "columns", "message"),
    [
        (scalars("pressure"), None, {"x": "presure"}, "'presure' for input 'x'; did"),
        (scalars("a", "t"), None, {}, r"'x' for input 'x'. There are: a, t. Choose"),
        (scalars(*(f"c{i}" for i in range(99))), None, {}, r"c98 \(99 in all\)"),
        (scalars("x", "u"), "y", {}, "no column 'y' for the target.*--target"),
        (scalars("x", "u", "v"), None, {}, "could be any of u, v:.*--target"),
        (scalars("x"), None, {}, "the target is missing: .* use x; name it with"),
        (scalars("x", "t"), None, {"z": "x"}, r"'z', which is neither an input"),
        (scalars("x", "t"), "x", {"t": "x"}, r"'t', which is neither an input"),
        (scalars("a", "b", "t"), None, {"x": "b:a"}, "b:a is reversed.*write a:b"),
        (scalars("a", "b", "t"), None, {"x": "a:c"}, "no column 'c'"),
        (scalars("a", "b", "t"), None, {"x": "a:"}, "no column ''"),
        (
            data(a=np.ones(2), b=np.ones((2, 2)), c=np.ones(2)),
            "a",
            {"x": "a:c"},
            r"includes 'b' of shape \(2, 2\)",
        ),
        (
            data(x=np.ones(5), t=np.ones(4)),
            None,
            {},
            "column 'x' has 5 rows, column 't' has 4",
        ),
        (data(x=np.ones((0, 2)), t=np.ones(0)), None, {}, "has no samples"),
        (data(x=np.ones(2, complex), t=np.ones(2)), None, {}, "'x' is complex128"),
        (data(x=["a", "b"], y=[1, 2], t=[1, 2]), None, {"x": "x:y"}, "such as 'a'"),
        (data(x=["a", "b"], y=[1, 2], t=[1, 2]), None, {"x": []}, "x is empty"),
        (data(x=["a", "b"], y=[1, 2], t=[1, 2]), None, {"x": "y,z"}, "column 'z'"),
        (data(x=np.ones(2, np.longdouble), t=[0, 1]), None, {}, "64 bits at most"),
        (data(x=1.0, t=np.ones(2)), None, {}, "'x' is a single number"),
    ],
)
def test_an_invalid_binding_is_refused_by_name(
    given: Dataset, target: str | None, columns: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        bind(given, ["x"], target, columns)


def test_a_program_without_inputs_or_target_has_no_samples() -> None:
    with pytest.raises(DataError, match="no column is used"):
        bind(scalars("a"), [], None, {}, with_target=False)


def test_a_range_of_a_csv_file_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("t,a,b,c\n1,2,3,4\n5,6,7,8\n")
    binding = resolve(open_data(path), ["x"], "t", {"x": "a:b"})
    found = binding.read()
    samples = binding.samples(found)
    assert samples.inputs["x"].tolist() == [[2, 3], [6, 7]]
    assert np.shares_memory(samples.inputs["x"], found.columns["a"])


def test_a_list_makes_a_vector_in_its_order() -> None:
    given = scalars("a", "b,c", "d", "t")
    for spec in ("d,a", ["d", "a"], ("d:d", "a")):
        samples = bind(given, ["x"], "t", {"x": spec})
        assert samples.inputs["x"][0].tolist() == [2, 0]
    assert bind(given, ["x"], "t", {"x": "b,c"}).inputs["x"].shape == (4,)
    assert bind(given, ["x"], "t", {"x": ["b,c"]}).inputs["x"].shape == (4, 1)


def test_a_range_follows_the_order_of_the_data_set() -> None:
    table = np.arange(12.0).reshape(3, 4)
    given = data(b=table[:, 2], a=table[:, 1], d=table[::-1, 3], t=table[:, 0])
    samples = bind(given, ["x"], None, {"x": "b:d"})
    assert samples.inputs["x"][0].tolist() == [2, 1, 11]


@pytest.mark.parametrize("rows", [10, 300_000])
def test_the_first_row_that_is_not_finite_is_reported(rows: int) -> None:
    given = {name: np.zeros((rows, 2)) for name in ("x", "y", "t")}
    given["x"][rows - 1, 0] = np.nan
    given["y"][rows - 3, 1] = -np.inf
    given["t"][rows - 2, 1] = np.nan
    samples = bind(open_data(given), ["x", "y"], None, {})
    samples.check_finite(0, rows - 3)
    with pytest.raises(
        DataError, match=rf"row {rows - 2}, column 'y' at \[1\] is -inf"
    ):
        samples.check_finite(0, rows)
    with pytest.raises(DataError, match=rf"row {rows - 1}, column 't' at \[1\] is nan"):
        samples.check_finite(rows - 2, rows)


def test_an_invalid_number_in_a_range_is_reported_with_its_column() -> None:
    given = scalars("a", "b", "t")
    given.columns["b"][3] = np.inf
    samples = bind(given, ["x"], None, {"x": "a:b"})
    with pytest.raises(DataError, match="row 4, column 'b' is inf"):
        samples.check_finite(0, 4)


def test_integers_count_as_finite() -> None:
    bind(data(x=[1, 2], t=[True, False]), ["x"], None, {}).check_finite(0, 2)


def test_the_digest_depends_on_values_names_dtypes_and_shapes_not_on_layout() -> None:
    x = np.arange(24.0).reshape(4, 3, 2)
    same = [
        {"x": x, "t": np.arange(4)},
        {"t": np.arange(4), "x": x},
        {"x": np.asfortranarray(x), "t": np.arange(8)[::2] // 2},
        {"x": x.astype(">f8"), "t": np.arange(4)},
    ]
    other = [
        {"x": x + 1e-9, "t": np.arange(4)},
        {"y": x, "t": np.arange(4)},
        {"x": x.astype(np.float32), "t": np.arange(4)},
        {"x": x.reshape(4, 6), "t": np.arange(4)},
        {"x": x, "t": np.arange(4), "u": [1, 2]},
        {"x": x, "t": np.arange(4), "u": [1, 3]},
        {"x": x[:0], "t": np.arange(4)},
        {"x": x, "t": 3},
    ]
    assert len({digest_of(columns) for columns in same}) == 1
    assert len({digest_of(columns) for columns in [same[0], *other]}) == 9


def test_the_digest_never_changes() -> None:
    given = data(x=np.arange(6.0).reshape(3, 2), t=np.array([1, 2, 3], np.int32))
    assert digest(given.read(given.names)) == (
        "42e57bf36f3d35d3e8fbfab39f3341690eb609616a2dac19142003dd72e347f8"
    )


@pytest.mark.parametrize("dtype", ["V0", [("a", "U0")]])
def test_columns_of_zero_width_are_refused_only_if_used(dtype: Any) -> None:
    given = data(x=np.ones(3), empty=np.zeros(3, dtype))
    assert bind(given, ["x"], "x", {}).inputs["x"] is given.columns["x"]
    with pytest.raises(DataError, match="column 'empty' is"):
        bind(given, ["empty"], "x", {})


def test_the_digest_of_large_data_reads_a_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(digest_module, "FULL", 1000)
    monkeypatch.setattr(digest_module, "CHUNK", 80)
    x = np.zeros((10_000, 2))
    plain = digest_of({"x": x})
    noticed = []
    for row in (0, 4, 5, 5000, 9995, 9999):
        x[row, 1] = 1
        noticed.append(digest_of({"x": x}) != plain)
        x[row, 1] = 0
    assert noticed == [True, True, False, False, True, True]
