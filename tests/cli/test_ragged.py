"""Commands on a folder of ragged arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dtrain as library
from dtrain.cli.sources import load_program

MODEL = """\
import numpy as np

from dtrain import present, program, weight


@program
def whole(r):
    return np.sum(np.tanh(r @ weight("W", (3,))), where=present(r))


@program
def rows(r):
    return np.tanh(r @ weight("W", (3,)))
"""


@pytest.fixture
def clusters(dtrain):  # noqa: ARG001  (it changes to an empty folder)
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, 20)
    values = rng.normal(size=(lengths.sum(), 3))
    arrays = {"r": values, "r.lengths": lengths, "t": rng.normal(size=20)}
    arrays |= {"q": np.tanh(values @ [1.0, -1.0, 0.5]), "q.lengths": lengths}
    Path("clusters").mkdir()
    for name, array in arrays.items():
        np.save(f"clusters/{name}.npy", array)
    Path("atoms.py").write_text(MODEL)
    return library.ragged(values, lengths)


def test_train_evaluate_predict_and_check(dtrain, clusters):
    words = ["atoms.py:rows", "clusters", "--target", "q"]
    done = dtrain(
        *["train", *words, "--epochs", 30, "--optimizer", "adam", "--dtype", "float64"],
        *["--learning-rate", 0.1, "--batch", 5, "--save", "rows.w"],
    )
    assert done.code == 0, done.err
    assert dtrain("check", *words).code == 0
    done = dtrain("eval", *words, "--weights", "rows.w", "--report", "report.json")
    assert done.code == 0, done.err
    assert json.loads(Path("report.json").read_text())["r2"] > 0.9
    predict = ["predict", "atoms.py:rows", "clusters", "--weights", "rows.w"]
    assert dtrain(*predict, "--out", "q.npz").code == 0
    outputs = library.predict(load_program("atoms.py:rows"), "rows.w", [clusters])
    with np.load("q.npz") as found:
        np.testing.assert_array_equal(found["rows"], np.concatenate(outputs))
        np.testing.assert_array_equal(found["rows.lengths"], clusters.lengths)
    assert dtrain(*predict, "--out", "q.csv").code == 0
    lines = Path("q.csv").read_text().splitlines()
    assert lines[0] == "sample,rows"
    samples = [int(line.split(",")[0]) for line in lines[1:]]
    assert samples == np.repeat(np.arange(1, 21), clusters.lengths).tolist()
    done = dtrain(*predict, "--out", "q.npy")
    assert done.code == 2
    assert "write a .npz" in done.err
    assert not Path("q.npy").exists()


def test_an_array_of_another_length_is_refused(dtrain, clusters):
    np.save("clusters/r.lengths.npy", clusters.lengths[:-1])
    done = dtrain("train", "atoms.py:whole", "clusters", "--target", "t")
    assert done.code == 2
    assert "the lengths of 19 samples sum to" in done.err
