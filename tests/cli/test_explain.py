"""`dtrain explain`: the lecture's example in words, points, outputs, and the page."""

import re

import numpy as np
import pytest

import dtrain as library
from dtrain.checkpoint.output import save
from dtrain.cli.sources import load_program

LECTURE = """\
forward
  level 0   P   = input     = *
            Q   = input     = *
            W0  = weight    = *
  level 1   A   = W0 · P    = *
  level 2   W1  = weight    = *
            W2  = weight    = *
            B   = f0(A, Q)  = *
  level 3   C   = W1 · B    = *
            D   = W2 · B    = *
  level 4   E   = f1(C)     = *
            F   = f2(D)     = *
  level 5   R   = f3(E, F)  = *

backward, v_X = ∂R/∂X
  v_R   = 1                    = *
  v_F   = v_R · E              = *
  v_E   = v_R · F              = *
  v_D   = v_F · F · (1 − F)    = *
  v_C   = v_E · (1 − E²)       = *
  v_B   = v_C · W1 + v_D · W2  = *
  v_A   = v_B · cos(A)         = *
  v_W2  = v_D · B              = *
  v_W1  = v_C · B              = *
  v_W0  = v_A · P              = *
  v_Q   = v_B                  = *
  v_P   = v_A · W0             = *

sums over paths
  W0: 2 paths
    W0 → A → B → C → E → R  *
    W0 → A → B → D → F → R  *
    sum of the paths   *
    back-propagation   *
  W1: 1 path
    W1 → C → E → R  *
    sum of the paths   *
    back-propagation   *
  W2: 1 path
    W2 → D → F → R  *
    sum of the paths   *
    back-propagation   *
"""


def test_the_lecture_in_words(dtrain):
    weights = {"W0": 0.5, "W1": 1.0, "W2": 2.0}
    save({key: np.array(value) for key, value in weights.items()}, "lecture.w")
    words = ["explain", "lecture", "--at", "P=0.5,Q=-1", "--weights", "lecture.w"]
    answer = dtrain(*words)
    assert (answer.code, answer.err) == (0, "")
    assert re.sub(r"(?m)-?\d+\.\d+(e-?\d+)?$", "*", answer.out) == LECTURE

    loss, gradient = library.loss_and_gradient(
        library.zoo.lecture, weights, [[0.5], [-1.0]], loss="mean"
    )
    assert f"R   = f3(E, F)  = {loss!r}\n" in answer.out
    said = re.findall(r"v_(W\d) .* = (.*)", answer.out)
    assert {key: float(text) for key, text in said} == gradient
    said = re.findall(
        r"(W\d): .*\n(?: .*→.*\n)+ .*sum of the paths *(.*)\n .*n  *(.*)", answer.out
    )
    for key, summed, propagated in said:
        assert float(summed) == pytest.approx(float(gradient[key]), rel=1e-14)
        assert float(propagated) == gradient[key]
    assert len(said) == 3


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--at", "x=1,2,3,4"], [1, 2, 3, 4]),
        (["--at", "x=1,2", "--at", "3,4"], [1, 2, 3, 4]),
        (["--shape", "x=4", "--at", "x=0.5"], [0.5] * 4),
        (["--shape", "x=2,2", "--at", "x=1,2,3,4"], [[1, 2], [3, 4]]),
    ],
)
def test_a_point_of_arrays(dtrain, words, value):
    answer = dtrain("explain", "model.py:both", "--output", "sum", *words)
    assert answer.code == 0, answer.err
    gain = library.init(load_program("model.py:both"))["gain"]
    said = re.search(r" sum +=.*= (.*)", answer.out)[1]
    assert float(said) == pytest.approx(float(gain * np.sum(value)), rel=1e-14)


def test_a_number_fills_the_shape_of_the_zoo_s_data(dtrain):
    answer = dtrain("explain", "mlp", "--at", "x=0.5")
    assert "= (64,) all 0.5\n" in answer.out


def test_one_of_several_outputs(dtrain):
    words = ["explain", "model.py:both", "--at", "x=1,2"]
    answer = dtrain(*words)
    assert answer.code == 2
    assert "sum, all" in answer.err
    assert "--output" in answer.err
    assert "v_X = ∂sum/∂X" in dtrain(*words, "--output", "sum").out
    assert "v_X = ∂Σall/∂X" in dtrain(*words, "--output", "all").out


def test_places_are_integers_that_are_there(dtrain, folder):
    (folder / "rows.py").write_text(
        "from dtrain import program, weight\n\n\n"
        "@program\ndef row(i, x):\n    return weight('E', (3, 2))[i] * x\n"
    )
    words = ["explain", "rows.py:row", "--at"]
    answer = dtrain(*words, "i=2,x=0.5")
    assert answer.code == 0, answer.err
    assert "= 2\n" in answer.out
    for i in ("1.5", "3"):
        answer = dtrain(*words, f"i={i},x=0.5")
        assert (answer.code, answer.out) == (2, "")


def test_files_are_written_and_nothing_printed(dtrain, folder):
    for words, file, start in (
        (["explain", "lecture", "--html", "page.html"], "page.html", "<!doctype html>"),
        (["show", "lecture", "--svg", "graph.svg"], "graph.svg", "<svg "),
        (["show", "lecture", "--dot", "graph.dot"], "graph.dot", "digraph "),
    ):
        answer = dtrain(*words)
        assert (answer.code, answer.out, answer.err) == (0, "", "")
        assert (folder / file).read_text().startswith(start)
        before = (folder / file).read_bytes()
        dtrain(*words)
        assert (folder / file).read_bytes() == before
