"""The lecture's example: closed forms, and the backward graph as text."""

# The graph is printed as it comes.
# ruff: noqa: E501

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from dtrain import loss_and_gradient, program, weight, zoo
from dtrain.errors import ProgramError
from dtrain.gradient.differentiate import differentiate

WEIGHTS = {"W0": 0.7, "W1": -1.1, "W2": 1.9}


def test_gradients_are_the_closed_forms() -> None:
    rng = np.random.default_rng(0)
    P, Q, t = rng.uniform(-2, 2, (3, 50))
    W0, W1, W2 = WEIGHTS.values()
    B = np.sin(W0 * P) + Q
    E, F = np.tanh(W1 * B), 1 / (1 + np.exp(-W2 * B))
    dE, dF = 1 - E**2, F * (1 - F)
    dR_dB = F * dE * W1 + E * dF * W2
    dR = {"W0": dR_dB * np.cos(W0 * P) * P, "W1": F * dE * B, "W2": E * dF * B}

    loss, gradient = loss_and_gradient(zoo.lecture, WEIGHTS, [P, Q], t, block=7)

    assert loss == pytest.approx(np.mean((t - E * F) ** 2), rel=1e-14)
    for name, slopes in dR.items():
        expected = -2 / 50 * np.sum((t - E * F) * slopes)
        assert gradient[name] == pytest.approx(expected, rel=1e-12)


def test_the_lecture_written_in_numpy() -> None:
    # The lecture's algorithm, one sample after another.
    rng = np.random.default_rng(1)
    samples = rng.uniform(-2, 2, (20, 3))
    W0, W1, W2 = WEIGHTS.values()
    vector = np.zeros(3)
    for p, q, t in samples:
        a = W0 * p
        b = np.sin(a) + q
        e, f = np.tanh(W1 * b), 1 / (1 + np.exp(-W2 * b))
        v_r = t - e * f
        v_e, v_f = v_r * f, v_r * e
        v_c, v_d = v_e * (1 - e * e), v_f * f * (1 - f)
        v_b = v_c * W1 + v_d * W2
        vector += [v_b * np.cos(a) * p, v_c * b, v_d * b]
    vector *= -2 / len(samples)

    P, Q, targets = samples.T
    _, gradient = loss_and_gradient(zoo.lecture, WEIGHTS, [P, Q], targets)
    np.testing.assert_allclose(list(gradient.values()), vector, rtol=1e-12)


def test_the_backward_graph_of_the_lecture() -> None:
    assert (
        str(differentiate(zoo.lecture.trace()))
        == textwrap.dedent(
            """
            R(P, Q) -> R, d R / d W0, d R / d W1, d R / d W2: 3 weights, 24 functions, 13 levels
              P   ()  input
              Q   ()  input
              W0  ()  weight
              W1  ()  weight
              W2  ()  weight
              A   ()  W0 * P
              B   ()  f0(A, Q)
              C   ()  W1 * B
              D   ()  W2 * B
              E   ()  f1(C)
              F   ()  f2(D)
              R   ()  f3(E, F)
              13  ()  1 - F
              14  ()  F * 13
              15  ()  E * 14
              16  ()  E * E
              17  ()  1 - 16
              18  ()  F * 17
              19  ()  15 * B
              20  ()  15 * W2
              21  ()  block_sum(19)
              22  ()  18 * B
              23  ()  18 * W1
              24  ()  block_sum(22)
              25  ()  20 + 23
              26  ()  cos(A)
              27  ()  25 * 26
              28  ()  27 * P
              29  ()  block_sum(28)
            """
        ).strip()
    )


def test_the_gradient_graph_can_be_differentiated_again() -> None:
    # d²/dw² sin(w x) = −x² sin(w x)
    @program
    def wave(x):
        return np.sin(weight("w") * x)

    once = differentiate(wave.trace())
    twice = differentiate(once, "d wave / d w")
    assert list(twice.outputs) == ["wave", "d wave / d w", "d d wave / d w / d w"]


@pytest.mark.parametrize("output", [None, "c"])
def test_one_of_several_outputs_must_be_chosen(output: str | None) -> None:
    @program
    def two(x):
        return {"a": weight("w") * x, "b": x}

    graph = two.trace()
    with pytest.raises(ProgramError, match="one output of two: a, b"):
        differentiate(graph, output)
    assert list(differentiate(graph, "a").outputs) == ["a", "b", "d a / d w"]
