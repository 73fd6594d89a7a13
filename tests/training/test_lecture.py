"""The lecture's algorithm, by hand and sample by sample, against `train`."""

import numpy as np
import pytest

from dtrain import SoloWorld, ThreadWorld, init, loss_and_gradient, train, zoo
from dtrain.descent import losses
from dtrain.problem.evaluate import measure
from dtrain.problem.samples import as_samples

RATE, EPOCHS = 0.5, 40
NAMES = ("W0", "W1", "W2")


def triples():
    columns = zoo.DATA["lecture"]().columns
    return [columns[name][:211] for name in ("P", "Q", "t")]


def forward_and_paths(w, p, q):
    """R and ∂R/∂W for one sample: the products along the paths of the flow graph."""
    A = w[0] * p
    B = np.sin(A) + q
    E, F = np.tanh(w[1] * B), 1 / (1 + np.exp(-w[2] * B))
    dC, dD = F * (1 - E * E), E * F * (1 - F)
    dB = dC * w[1] + dD * w[2]
    return E * F, np.array([dB * np.cos(A) * p, dC * B, dD * B])


def by_hand(w, epochs):
    """The lecture's loop: sum a GradientVector, scale it by −2/N, take a step."""
    p, q, t = triples()
    history = []
    for _ in range(epochs):
        gradient, loss = np.zeros(3), 0.0
        for n in range(len(t)):
            R, slopes = forward_and_paths(w, p[n], q[n])
            gradient += (t[n] - R) * slopes
            loss += (t[n] - R) ** 2
        gradient *= -2 / len(t)
        history.append(loss / len(t))
        w = w - RATE * gradient
    return w, history


@pytest.mark.parametrize("world", [SoloWorld(), ThreadWorld(3)], ids=["1", "3"])
def test_train_is_the_lecture_s_algorithm(world):
    first = init(zoo.lecture)
    start = np.array([float(first[name]) for name in NAMES])
    right, losses_by_hand = by_hand(start, EPOCHS)
    p, q, t = triples()
    run = train(
        zoo.lecture,
        {"P": p, "Q": q, "t": t},
        epochs=EPOCHS,
        learning_rate=RATE,
        dtype="float64",
        world=world,
    )
    assert np.abs(right - start).max() > 0.1  # it has moved
    weights = [run.weights[name] for name in NAMES]
    np.testing.assert_allclose(weights, right, rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        run.report["loss_history"], losses_by_hand, rtol=1e-10, atol=0
    )
    assert [record.loss for record in run.history] == run.report["loss_history"]


def test_the_first_gradient_and_the_loss_after_training_too():
    p, q, t = triples()
    start = np.array([0.3, -0.8, 1.1])
    weights = dict(zip(NAMES, start, strict=True))
    loss, gradient = loss_and_gradient(zoo.lecture, weights, {"P": p, "Q": q}, t)
    stepped, history = by_hand(start, 1)
    assert loss == pytest.approx(history[0], rel=1e-12)
    slopes = [gradient[name] for name in NAMES]
    np.testing.assert_allclose(slopes, (start - stepped) / RATE, rtol=1e-12)
    after = dict(zip(NAMES, stepped, strict=True))
    samples = as_samples(zoo.lecture, [p, q], t)
    square = losses.named("square")
    found = measure(SoloWorld(), zoo.lecture, samples, after, square)
    assert found["loss"] == pytest.approx(by_hand(stepped, 1)[1][0], rel=1e-12)
    assert found["samples"] == 211
    assert "accuracy" not in found
