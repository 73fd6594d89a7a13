"""Tables as people have them: categories and missing values, from data to results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dtrain import evaluate, objective, predict, program, train, weight
from dtrain.errors import DataError, MismatchError, UsageError
from dtrain.training.values import Checkpoint, Validation
from dtrain.worlds.local import ThreadWorld

CITIES = ["Ulm", "Bonn", "Köln", "Bonn", "Ulm", "Aachen", "Köln", "Ulm", "Bonn"]
X = np.linspace(-1, 1, len(CITIES))
LEVELS = {"Aachen": -1.0, "Bonn": 0.5, "Köln": 2.0, "Ulm": 1.0}
T = np.array([LEVELS[city] for city in CITIES]) + 0.25 * X
HOW = {"epochs": 300, "learning_rate": 0.5, "dtype": "float64"}


@program
def levels(city, x):
    return weight("level", (4,), 0.0)[city] + weight("slope", (), 0.0) * x


@program
def scores(x):
    return weight("W", (3,), 0.0) * x + weight("b", (3,), 0.0)


def table(**more):
    return {"city": CITIES, "x": X, "t": T, **more}


def csv(folder, name="a.csv", cities=CITIES):
    rows = zip(cities, X.tolist(), T.tolist(), strict=True)
    rows = [f"{city},{x!r},{t!r}" for city, x, t in rows]
    (folder / name).write_text("\n".join(["city,x,t", *rows]) + "\n")
    return folder / name


def test_text_is_an_index_of_the_sorted_texts(tmp_path: Path):
    run = train(levels, csv(tmp_path), **HOW)
    assert run.categories == {"city": ["Aachen", "Bonn", "Köln", "Ulm"]}
    np.testing.assert_allclose(run.weights["level"], sorted_levels(), atol=1e-3)
    assert run.digest == train(levels, table(), **HOW).digest
    codes = np.searchsorted(run.categories["city"], CITIES)
    assert run.digest == train(levels, table(city=codes), **HOW).digest


def sorted_levels():
    return [LEVELS[city] for city in sorted(LEVELS)]


@pytest.mark.parametrize("ranks", [2, 3, 4, 7])
def test_categories_and_gaps_have_the_same_bits_on_any_ranks(tmp_path: Path, ranks):
    path = csv(tmp_path, cities=["NA", *CITIES[1:]])
    how = {**HOW, "epochs": 5, "batch": 4, "block": 1, "missing": "skip"}
    alone, many = (
        train(levels, path, world=world, validation=0.3, **how)
        for world in (ThreadWorld(1), ThreadWorld(ranks))
    )
    assert alone.report["rows_left_out"] == many.report["rows_left_out"] == 1
    assert alone.digest == many.digest
    history = "validation_history"
    assert alone.report[history] == many.report[history]


def test_a_run_codes_other_tables_as_its_own(tmp_path: Path):
    run = train(levels, table(), **HOW)
    few = {"city": ["Ulm", "Köln"], "x": [0.0, 0.0], "t": [1.0, 2.0]}
    np.testing.assert_allclose(predict(levels, run, few), [1, 2], atol=1e-2)
    assert evaluate(levels, run, few)["loss"] < 1e-4
    (tmp_path / "b.csv").write_text("city,x,t\nUlm,0,1\nRom,0,1\n")
    for use in (predict, evaluate):
        with pytest.raises(
            DataError,
            match=r"b.csv: row 2 \(line 3\), column 'city' is 'Rom', which is not in "
            "the training data; there were: Aachen, Bonn, Köln, Ulm",
        ):
            use(levels, run, tmp_path / "b.csv")
        with pytest.raises(DataError, match="it is not known which number each text"):
            use(levels, run.weights, tmp_path / "b.csv")
        with pytest.raises(DataError, match="column 'city' holds numbers, but the"):
            use(levels, run, {"city": [0, 1], "x": [0.0, 0], "t": [0.0, 0]})


def test_texts_that_look_like_numbers_are_coded_as_in_training(tmp_path: Path):
    grades = ["10", "x", "9", "10"]
    data = {"city": grades, "x": np.zeros(4), "t": np.array([1.0, 2, 3, 1])}
    run = train(levels, data, **HOW)
    assert run.categories == {"city": ["10", "9", "x"]}
    (tmp_path / "a.csv").write_text("city,x\n9,0\n10,0\n")
    found = predict(levels, run, tmp_path / "a.csv")
    np.testing.assert_allclose(found, [3, 1], atol=1e-2)


def test_validation_uses_the_coding_of_the_training_data():
    few = {"city": ["Ulm", "Köln"], "x": [0.0, 0.0], "t": [1.0, 2.0]}
    run = train(levels, table(), validation=few, **HOW)
    assert run.report["validation_loss"] < 1e-4
    other = {**few, "city": ["Rom", "Ulm"]}
    with pytest.raises(DataError, match="row 1, column 'city' is 'Rom'"):
        train(levels, table(), validation=Validation(other), **HOW)


def test_class_labels_may_be_text():
    kinds = np.array(["no", "yes", "maybe"])[np.arange(9) % 3]
    how = {"epochs": 2, "learning_rate": 0.1, "loss": "cross_entropy"}
    run = train(scores, {"x": X, "t": kinds}, **how)
    assert run.categories == {"(target)": ["maybe", "no", "yes"]}
    codes = train(scores, {"x": X, "t": [1, 2, 0] * 3}, **how)
    assert run.digest == codes.digest
    assert evaluate(scores, run, {"x": X[:2], "t": ["yes", "no"]}, loss="cross_entropy")
    with pytest.raises(DataError, match="'no', which is not a number, but loss 'squa"):
        train(scores, {"x": X, "t": kinds}, epochs=1, learning_rate=0.1)


def test_text_that_a_program_computes_with_is_refused():
    with pytest.raises(DataError, match="row 1, column 'x' is 'Ulm', which is not a n"):
        train(levels, table(x=CITIES, city=np.zeros(9, int)), **HOW)


def test_a_resume_with_another_coding_is_refused(tmp_path: Path):
    how = {**HOW, "epochs": 2}
    train(levels, csv(tmp_path), checkpoint=tmp_path / "ck", **how)
    other = csv(tmp_path, "b.csv", ["Zürich" if c == "Bonn" else c for c in CITIES])
    with pytest.raises((UsageError, MismatchError), match=r"data set|categories"):
        train(levels, other, checkpoint=Checkpoint(tmp_path / "ck", resume=True), **how)


GAPS = X.copy()
GAPS[[2, 5]] = np.nan


@pytest.mark.parametrize("form", ["mapping", "csv"])
def test_rows_with_a_gap_are_refused_or_left_out(tmp_path: Path, form):
    data = table(x=GAPS)
    if form == "csv":
        rows = zip(CITIES, GAPS.tolist(), T.tolist(), strict=True)
        lines = [f"{c},{'' if x != x else repr(x)},{t!r}" for c, x, t in rows]
        (tmp_path / "a.csv").write_text("\n".join(["city,x,t", *lines]))
        data = tmp_path / "a.csv"
    with pytest.raises(
        DataError, match=r"row 3( \(line 4\))?, column 'x' is nan .*skip"
    ):
        train(levels, data, **HOW)
    kept = ~np.isnan(GAPS)
    rest = {"city": np.array(CITIES)[kept], "x": X[kept], "t": T[kept]}
    codes = np.searchsorted(sorted(set(rest["city"])), rest["city"])
    run = train(levels, data, missing="skip", **HOW)
    assert run.digest == train(levels, {**rest, "city": codes}, **HOW).digest
    assert (run.report["samples"], run.report["rows_left_out"]) == (7, 2)
    assert evaluate(levels, run, data, missing="skip")["samples"] == 7
    assert objective(levels, data, missing="skip").samples == 7


def test_a_message_names_the_row_of_the_file_where_rows_are_left_out():
    x = GAPS.copy()
    x[7] = np.inf
    with pytest.raises(DataError, match="row 8, column 'x' is inf"):
        train(levels, table(x=x), missing="skip", **HOW)


def test_a_gap_in_one_element_of_a_target_leaves_out_the_row():
    t = np.ones((9, 3))
    t[4, 1] = np.nan
    run = train(scores, {"x": X, "t": t}, missing="skip", epochs=1, learning_rate=0.1)
    assert run.report["samples"] == 8


@program
def masked(x, y):
    error = np.where(np.isnan(y), 0.0, weight("W", (2, 3), 0.0) @ x - y)
    return np.sum(error * error)


@program
def filled(x):
    return weight("a", (), 0.0) * np.nanmean(x[1:]) + x[0]


def test_a_program_that_looks_for_nan_gets_nan():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(100, 3)), rng.normal(size=(2, 3))
    y = x @ w.T
    y[rng.random(y.shape) < 0.3] = np.nan
    how = {"epochs": 200, "learning_rate": 0.2, "loss": "mean"}
    for world in (ThreadWorld(1), ThreadWorld(3)):
        run = train(masked, {"x": x, "y": y}, world=world, **how)
        np.testing.assert_allclose(run.weights["W"], w, atol=1e-3)
    x[2, 0] = np.nan
    with pytest.raises(DataError, match=r"row 3, column 'x' at .0. is nan"):
        train(masked, {"x": x, "y": y}, **how)
    x[2, 0], y[2, 0] = 0, np.inf
    with pytest.raises(DataError, match=r"row 3, column 'y' at .0. is inf"):
        train(masked, {"x": x, "y": y}, **how)


def test_nan_is_handled_through_a_slice():
    x = np.array([[0.0, np.nan, 2.0], [0.0, 1.0, 3.0]])
    data = {"x": x, "t": [4.0, 4.0]}
    run = train(filled, data, epochs=200, learning_rate=0.1)
    assert abs(run.weights["a"] - 2) < 1e-3


def test_targets_apart_from_the_inputs_cannot_lose_rows():
    from dtrain import loss_and_gradient

    with pytest.raises(UsageError, match="both lose the same rows"):
        loss_and_gradient(filled, {"a": 1.0}, {"x": X}, T, missing="skip")
