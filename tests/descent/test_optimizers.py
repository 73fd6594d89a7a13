"""Step rules, compared with textbook formulas in a few lines of float64."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dtrain.descent import optimizers
from dtrain.descent.optimizers import adam, adamw, lamb, named, rmsprop, sgd
from dtrain.descent.rule import PIECE, Piece, Rule
from dtrain.errors import UsageError

Array = NDArray[np.float64]
Textbook = Iterator[Array]
RATE = 0.01


def textbook_sgd(
    w: Array, gs: list[Array], mu: float = 0, nesterov: bool = False, l2: float = 0
) -> Textbook:
    b = 0 * w
    for g in gs:
        g = g + l2 * w
        b = mu * b + g
        w = w - RATE * (g + mu * b if nesterov else b)
        yield w


def textbook_adam(
    w: Array, gs: list[Array], l2: float = 0, decoupled: float = 0
) -> Textbook:
    m, v = 0 * w, 0 * w
    for t, g in enumerate(gs, 1):
        g = g + l2 * w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        root = np.sqrt(v / (1 - 0.95**t))
        w = w - RATE * (m / (1 - 0.8**t) / (root + 1e-6) + decoupled * w)
        yield w


def textbook_rmsprop(
    w: Array, gs: list[Array], mu: float = 0, l2: float = 0
) -> Textbook:
    v, b = 0 * w, 0 * w
    for g in gs:
        g = g + l2 * w
        v = 0.7 * v + 0.3 * g**2
        b = mu * b + g / (np.sqrt(v) + 1e-6)
        w = w - RATE * b
        yield w


def textbook_lamb(w: Array, gs: list[Array], decay: float = 0) -> Textbook:
    m, v = 0 * w, 0 * w
    for t, g in enumerate(gs, 1):
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        r = m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6) + decay * w
        w = w - RATE * np.linalg.norm(w) / np.linalg.norm(r) * r
        yield w


ADAM: dict[str, float] = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6}
RMS: dict[str, float] = {"decay": 0.7, "epsilon": 1e-6}
SAMPLES: list[tuple[Rule, Callable[..., Textbook], dict[str, Any]]] = [
    (sgd(), textbook_sgd, {}),
    (sgd(momentum=0.9), textbook_sgd, {"mu": 0.9}),
    (sgd(momentum=0.9, nesterov=True), textbook_sgd, {"mu": 0.9, "nesterov": True}),
    (sgd(momentum=0.5, weight_decay=0.3), textbook_sgd, {"mu": 0.5, "l2": 0.3}),
    (adam(**ADAM), textbook_adam, {}),
    (adam(**ADAM, weight_decay=0.3), textbook_adam, {"l2": 0.3}),
    (adamw(**ADAM), textbook_adam, {"decoupled": 0.01}),
    (adamw(**ADAM, weight_decay=0.3), textbook_adam, {"decoupled": 0.3}),
    (lamb(**ADAM), textbook_lamb, {}),
    (lamb(**ADAM, weight_decay=0.3), textbook_lamb, {"decay": 0.3}),
    (rmsprop(**RMS), textbook_rmsprop, {}),
    (rmsprop(**RMS, momentum=0.9), textbook_rmsprop, {"mu": 0.9}),
    (rmsprop(**RMS, weight_decay=0.3), textbook_rmsprop, {"l2": 0.3}),
]
RULES = pytest.mark.parametrize("rule", [rule for rule, *_ in SAMPLES], ids=repr)


def gradients(size: int, count: int) -> list[Array]:
    generator = np.random.default_rng(7)
    return [generator.normal(size=size) for _ in range(count)]


def test_every_optimizer_has_a_docstring_with_its_formula_and_a_sample() -> None:
    classes = set(optimizers.OPTIMIZERS.values())
    assert classes == {type(rule) for rule, *_ in SAMPLES}
    assert all(name == item.__name__ for name, item in optimizers.OPTIMIZERS.items())
    assert all("w ← w − η" in str(item.__doc__) for item in classes)


@pytest.mark.parametrize("size", [1, 5, PIECE + 3])
@pytest.mark.parametrize(
    ("rule", "textbook", "settings"), SAMPLES, ids=[repr(rule) for rule, *_ in SAMPLES]
)
def test_a_rule_equals_the_textbook(
    rule: Rule, textbook: Callable[..., Textbook], settings: dict[str, Any], size: int
) -> None:
    weights, *steps = gradients(size, 9)
    descent = rule.start(weights.copy())
    for gradient, expected in zip(
        steps, textbook(weights, steps, **settings), strict=True
    ):
        given = gradient.copy()
        descent.step(gradient, RATE)
        np.testing.assert_allclose(descent.weights, expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(gradient, given)
    assert descent.state["step"] == 8


@RULES
def test_float32_stays_float32_whatever_the_scalars_are(rule: Rule) -> None:
    first, second = (
        rule.start(gradients(50, 1)[0].astype(np.float32)) for _ in range(2)
    )
    for gradient in gradients(50, 4):
        first.step(gradient.astype(np.float32), RATE)
        second.step(gradient.astype(np.float32), np.float64(RATE))
    slots = {name: slot.dtype for name, slot in first.state.items() if name != "step"}
    assert set(slots.values()) <= {np.dtype(np.float32)}
    assert first.weights.dtype == np.float32
    assert first.weights.tobytes() == second.weights.tobytes()


def test_settings_from_numpy_do_not_change_the_arithmetic() -> None:
    runs = []
    for momentum in (0.9, np.float64(0.9)):
        descent = sgd(momentum=momentum).start(np.ones(50, np.float32))
        for gradient in gradients(50, 4):
            descent.step(gradient.astype(np.float32), RATE)
        runs.append(descent.weights.tobytes())
    assert runs[0] == runs[1]


@RULES
def test_resuming_from_a_saved_state_gives_the_same_bits(rule: Rule) -> None:
    steps = gradients(20, 6)
    straight = rule.start(np.ones(20))
    for gradient in steps:
        straight.step(gradient, RATE)
    before = rule.start(np.ones(20))
    for gradient in steps[:3]:
        before.step(gradient, RATE)
    after = rule.start(before.weights.copy())
    for name, saved in before.state.items():
        np.copyto(after.state[name], saved)
    for gradient in steps[3:]:
        after.step(gradient, RATE)
    assert after.weights.tobytes() == straight.weights.tobytes()


@RULES
def test_a_quadratic_is_minimised(rule: Rule) -> None:
    curvature = np.linspace(1, 5, 10)
    minimum = np.zeros(10)  # the minimum with weight decay
    descent = rule.start(np.linspace(-1, 1, 10))
    for step in range(2000):
        descent.step(curvature * (descent.weights - minimum), 0.03 * 0.997**step)
    np.testing.assert_allclose(descent.weights, minimum, atol=2e-3)


@RULES
def test_a_step_allocates_no_array(rule: Rule) -> None:
    size = 4 * PIECE
    weights, gradient = gradients(size, 2)
    descent = type(rule)(
        **{name: getattr(rule, name) for name in vars(rule) if name != "clip_norm"},
        clip_norm=1.0,
    ).start(weights)
    buffers = {name: id(array) for name, array in descent.state.items()}
    descent.step(gradient, RATE)
    tracemalloc.start()
    try:
        descent.step(gradient, RATE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < PIECE  # bytes: less than an eighth of one piece
    assert descent.weights is weights
    assert buffers == {name: id(array) for name, array in descent.state.items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("clip_norm", [0.5, 3.0, 1e6])
def test_clipping_bounds_the_norm_and_keeps_the_direction(
    dtype: type, clip_norm: float
) -> None:
    gradient = gradients(PIECE + 100, 1)[0].astype(dtype)
    descent = sgd(clip_norm=clip_norm).start(np.zeros(gradient.size, dtype))
    descent.step(gradient, 1.0)
    norm = math.sqrt(math.fsum(gradient.astype(float) ** 2))
    moved = -descent.weights.astype(float)
    tolerance = 4 * float(np.finfo(dtype).eps)
    assert descent.norm(gradient) == pytest.approx(norm, rel=1e-14)
    assert np.linalg.norm(moved) <= min(norm, clip_norm) * (1 + tolerance)
    np.testing.assert_allclose(
        moved, gradient * min(1, clip_norm / norm), rtol=tolerance
    )


def test_clipping_comes_before_decay() -> None:
    descent = sgd(clip_norm=1.0, weight_decay=2.0).start(np.array([10.0, 0.0]))
    descent.step(np.array([0.0, 100.0]), 0.25)
    np.testing.assert_allclose(descent.weights, [10 - 0.25 * 20, -0.25])


def test_the_norm_of_huge_float32_gradients_does_not_overflow() -> None:
    gradient = np.full(4, 1e30, np.float32)
    descent = sgd(clip_norm=1.0).start(np.zeros(4, np.float32))
    descent.step(gradient, 1.0)
    np.testing.assert_allclose(descent.weights, -0.5, rtol=1e-6)


@pytest.mark.parametrize("largest", [2e154, 1e200, float(np.finfo(float).max)])
@pytest.mark.parametrize("clip_norm", [1.0, 1e-200, 1e153])
def test_the_norm_of_huge_float64_gradients_does_not_overflow(
    clip_norm: float, largest: float
) -> None:
    direction = np.array([-1.0, 0.5, 0.0, 0.25])
    descent = sgd(clip_norm=clip_norm).start(np.zeros(4))
    descent.step(largest * direction, 1.0)
    expected = -clip_norm * direction / np.linalg.norm(direction)
    np.testing.assert_allclose(descent.weights, expected, rtol=1e-15)
    half = largest / 2 * direction
    assert descent.norm(half) == pytest.approx(largest / 2 * math.sqrt(1.3125))


def test_huge_gradients_within_the_bound_are_not_clipped() -> None:
    gradient = np.array([3e200, 4e200])
    descent = sgd(clip_norm=6e200).start(np.zeros(2))
    descent.step(gradient, 1.0)
    assert descent.weights.tolist() == (-gradient).tolist()


def test_an_empty_vector_of_weights_is_accepted() -> None:
    descent = adam(clip_norm=1.0).start(np.zeros(0))
    descent.step(np.zeros(0), RATE)
    assert descent.state["step"] == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "adm",
            {},
            "; did you mean 'adam'?",
        ),
        ("SGD", {}, "; did you mean 'sgd'"),
        ("momentum", {}, "; 'momentum' is called 'sgd' here"),
        ("adam", {"momentum": 0.9}, "adam has no setting momentum; it has .*beta1"),
        ("sgd", {"momentum": 1.0}, "sgd: momentum is 1.0, it must be ≥ 0 and < 1"),
        ("sgd", {"momentum": None}, "sgd: momentum is None"),
        ("sgd", {"momentum": "0.9"}, "momentum is '0.9', it must be a number"),
        ("sgd", {"nesterov": True}, "nesterov needs a momentum"),
        ("sgd", {"clip_norm": 0}, "clip_norm is 0, it must be > 0"),
        ("sgd", {"clip_norm": math.inf}, "clip_norm is inf"),
        ("sgd", {"weight_decay": -1}, "weight_decay is -1"),
        ("adam", {"beta1": math.nan}, "beta1 is nan"),
        ("adam", {"beta2": -0.1}, "beta2 is -0.1"),
        ("adamw", {"epsilon": 0.0}, "epsilon is 0.0, it must be > 0"),
        ("rmsprop", {"decay": True}, "decay is True"),
    ],
)
def test_an_invalid_setting_is_refused_by_name(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        named(name, **options)


def test_a_gradient_of_another_shape_or_dtype_is_refused() -> None:
    descent = sgd().start(np.zeros(3))
    with pytest.raises(ValueError, match="gradient is float32"):
        descent.step(np.zeros(3, np.float32), RATE)
    with pytest.raises(ValueError, match=r"\(4,\)"):
        descent.step(np.zeros(4), RATE)
    with pytest.raises(UsageError, match="learning rate is nan"):
        descent.step(np.zeros(3), math.nan)
    with pytest.raises(ValueError, match="flat vector"):
        sgd().start(np.zeros((2, 3)))


def test_a_layerwise_rule_gets_whole_weights_by_name() -> None:
    seen = {}

    class noted(lamb):
        def update(self, piece: Piece, rate: float, count: int) -> None:
            seen[piece.name] = piece.weights.size
            super().update(piece, rate, count)

    parts = {"a": slice(0, PIECE + 5), "b": slice(PIECE + 5, PIECE + 6)}
    weights, gradient = gradients(PIECE + 16, 2)  # with padding at the end
    before = weights.copy()
    noted(**ADAM).start(weights, parts).step(gradient, RATE)
    assert seen == {"a": PIECE + 5, "b": 1}
    for part in parts.values():
        (expected,) = textbook_lamb(before[part], [gradient[part]])
        np.testing.assert_allclose(weights[part], expected, rtol=1e-12)
    np.testing.assert_array_equal(weights[PIECE + 6 :], before[PIECE + 6 :])
