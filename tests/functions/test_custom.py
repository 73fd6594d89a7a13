"""A user's own base function: checked on request, called as it stands, on any rank."""

# A transfer function is given more than each takes.
# ruff: noqa: ARG005

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dtrain import (
    ThreadWorld,
    base_function,
    check,
    loss_and_gradient,
    predict,
    program,
    train,
    weight,
)
from dtrain.errors import MismatchError, ProgramError
from dtrain.tracing.fingerprint import fingerprint
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer

ERF = np.vectorize(math.erf, otypes=[float])


def erf_like(**changed: Any) -> Any:
    """The error function by the C library, which is not traced."""
    given: dict[str, Any] = {
        "shape": np.broadcast_shapes,
        "vjp": lambda v, y, x: (v * (2 / math.sqrt(math.pi)) * np.exp(-(x * x)),),
    }
    return base_function(lambda x: ERF(x) if x.size else x, **{**given, **changed})


def scaled_norm(x: Any, s: Any) -> Any:
    """The length of the last axis, times s."""
    return np.sqrt(np.sum(np.asarray(x) ** 2, axis=-1)) * s


def norm_vjp(v: Any, y: Any, x: Any, s: Any) -> Any:
    return (v * s * s / y)[..., None] * x, v * y / s


NORM = {"shape": lambda x, s: s, "vjp": norm_vjp}
ROW = [np.array([0.3, -0.8, 1.1]), 1.7]
PROMISED = base_function(scaled_norm, check=ROW, **NORM)


def columns(samples: int = 101) -> dict[str, Any]:
    rng = np.random.default_rng(31)
    return {"x": rng.standard_normal((samples, 2)), "t": rng.standard_normal(samples)}


@pytest.mark.parametrize("backend", ["numpy", "fused"])
def test_an_untraced_function_is_computed_and_differentiated(backend: str) -> None:
    @program
    def traced(x):
        y = weight("W", (3, 2)) @ x
        return np.sqrt(np.sum(y * y)) * (1 + weight("s") ** 2) - weight("b")

    @program
    def called(x):
        return PROMISED(weight("W", (3, 2)) @ x, 1 + weight("s") ** 2) - weight("b")

    rng = np.random.default_rng(32)
    weights = {"W": rng.standard_normal((3, 2)), "s": 0.4, "b": 0.1}
    data = columns()
    (loss, gradient), (expected, slopes) = (
        loss_and_gradient(p, weights, [data["x"]], data["t"], backend=backend, block=19)
        for p in (called, traced)
    )
    assert loss == pytest.approx(expected, rel=1e-13)
    for name, slope in slopes.items():
        np.testing.assert_allclose(gradient[name], slope, rtol=1e-11, atol=1e-13)
    assert check(called, [data["x"]], data["t"], weights=weights).passed


def test_the_digest_is_equal_on_any_number_of_ranks() -> None:
    @program
    def net(x):
        return erf_like()(PROMISED(weight("W", (3, 2)) @ x, 1 + weight("s") ** 2))

    digests = {
        train(
            net,
            columns(),
            epochs=2,
            batch=40,
            block=7,
            learning_rate=0.1,
            world=ThreadWorld(ranks),
        ).digest
        for ranks in (1, 2, 3, 5)
    }
    assert len(digests) == 1


def inverse(m):
    return np.linalg.inv(m) @ np.ones(2)


def scaled(m, *, axis=0, by=1.0):
    return by * np.sum(m, axis=axis)


def chosen(m, x):
    return m[np.argmax(x), x[0].astype(int)] + np.linalg.norm(m)


@pytest.mark.parametrize(
    "use",
    [
        lambda f, m, x: f(inverse)(m) * x,
        lambda f, m, x: f(scaled)(m, axis=1) + f(scaled)(m) * x,
        lambda f, m, x: f(scaled)(f(inverse)(m), by=2),
        lambda f, m, x: f(chosen)(m, x),
        lambda f, m, x: f(lambda m: f(inverse)(m) * 2)(m),
        lambda f, m, x: f(lambda a: np.linalg.cholesky(a @ a.T))(m) @ x,
    ],
)
def test_a_traced_function_equals_its_definition(use: Callable[..., Any]) -> None:
    rng = np.random.default_rng(33)
    weights = {"m": rng.standard_normal((2, 2))}
    data = {"x": rng.uniform(0, 2, (7, 2))}

    def outcome(f: Any) -> Any:
        net = program(lambda x: np.sum(use(f, weight("m", (2, 2)), x) ** 2))
        return loss_and_gradient(net, weights, data, loss="mean")

    (loss, gradient), (expected, slopes) = outcome(base_function), outcome(lambda f: f)
    assert loss == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient["m"], slopes["m"], rtol=1e-11)


def test_keywords_reach_the_transfer_function() -> None:
    own = base_function(
        lambda x, *, power: x**power,
        vjp=lambda v, y, x, *, power: (v * power * x ** (power - 1),),
    )
    net = program(lambda x: own(weight("w") * x, power=3))
    _, gradient = loss_and_gradient(net, {"w": 2.0}, [np.array([1.5])], loss="mean")
    assert gradient["w"] == pytest.approx(3 * 2.0**2 * 1.5**3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f, x: f(x, by=x), "given a Symbol as by=.* give values by position"),
        (lambda f, x: f(x, by=np.ones(2)), "given a ndarray as by="),
        (
            lambda f, x: erf_like()(x, by=2),
            "not traced, and takes no by=; .* returns it",
        ),
        (lambda f, x: f(x, of=2), "unexpected keyword argument 'of'"),
        (
            lambda f, x: f(x, axis=1),
            r"\(2,\): .*test_custom.py:\d+: np.sum.* no axis 1",
        ),
        (
            lambda f, x: base_function(lambda a: weight("w", (2,)) * a)(x),
            r"test_custom.py:\d+: .*pass it as an argument",
        ),
    ],
)
def test_a_shape_error_names_the_shapes(call: Callable[..., Any], words: str) -> None:
    with pytest.raises(ProgramError, match=rf"test_custom.py:\d+: .*{words}"):
        program(lambda x: call(base_function(scaled), x)).trace(x=2)


@pytest.mark.parametrize(
    ("value", "given", "words"),
    [
        (lambda x: np.tanh(x), {"vjp": lambda v, y, x: (v * (1 - y),)}, "wrong vjp"),
        (
            lambda x: np.tanh(x),
            {"vjp": lambda v, y, x: (1.0005 * v * (1 - y * y),)},
            "wrong vjp for argument 0",
        ),
        (lambda x: np.tanh(x), {"vjp": lambda v, y, x: (None,)}, "wrong vjp"),
        (lambda x: np.tanh(x), {"vjp": lambda v, y, x: (v, v)}, "2 adjoints for 1"),
        (
            lambda x: np.tanh(x),
            {"vjp": lambda v, y, x: (np.ones(5),)},
            r"argument 0, of shape \(3,\), an adjoint of shape \(5,\)",
        ),
        (  # right at the point that is given, and there alone
            lambda x: x**2,
            {"vjp": lambda v, y, x: (v * 2 * ROW[0],)},
            "wrong vjp",
        ),
        (
            lambda x: np.sum(x),
            {"vjp": lambda v, y, x: (v,), "shape": lambda s: ()},
            r"gives shape \(\), not \(3,\)",
        ),
        (
            lambda x: x - np.mean(x),
            {"vjp": lambda v, y, x: (v - np.mean(v),), "shape": lambda s: s},
            "other bits among others",
        ),
    ],
)
def test_a_check_finds_a_wrong_transfer_function(
    value: Callable[..., Any], given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ProgramError, match=rf"test_custom.py:\d+: <lambda> .*{words}"):
        base_function(check=[ROW[0]], **given)(value)


def test_a_check_accepts_a_right_transfer_function() -> None:
    @base_function(vjp=lambda v, y, a, b: (v * b, v * a), check=[ROW[0], 2.0])
    def product(a, b):
        return a * b

    erf_like(check=[ROW[0]])


def test_an_untraced_function_needs_a_transfer_function() -> None:
    with pytest.raises(ProgramError, match=r"test_custom.py:\d+: .*needs a vjp"):
        base_function(lambda x: ERF(x), shape=np.broadcast_shapes)


def test_a_value_of_the_wrong_shape_is_found_at_run_time() -> None:
    total = base_function(
        lambda x: np.sum(x), shape=lambda s: (), vjp=lambda v, y, x: (v,)
    )

    @program
    def broken(x):
        return total(x)

    with pytest.raises(ProgramError, match=r"test_custom.py:\d+: .* count samples"):
        predict(broken, {}, [columns()["x"]])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"vjp": lambda v, y, x: (v * 2,)}, {"vjp": lambda v, y, x: (v * 3,)}),
        (
            {"vjp": lambda v, y, x: (v,), "shape": np.broadcast_shapes},
            {"vjp": lambda v, y, x: (v * 2,), "shape": np.broadcast_shapes},
        ),
    ],
)
def test_another_transfer_function_is_another_program(one: Any, other: Any) -> None:
    prints = {digest_of(lambda x: x * x, **given) for given in (one, one, other)}
    assert len(prints) == 2


def test_another_value_is_another_program() -> None:
    def power(k: float) -> Callable[..., Any]:
        return lambda x: x**k

    given = {"shape": np.broadcast_shapes, "vjp": lambda v, y, x: (v,)}
    values = (power(2), power(2), power(3), lambda x: x + 1)
    assert len({digest_of(value, **given) for value in values}) == 3


def digest_of(value: Callable[..., Any], **given: Any) -> str:
    function = base_function(value, **given)
    return fingerprint(program(lambda x: function(weight("w") * x)).trace())


def test_different_functions_on_two_ranks_are_found() -> None:
    def body(world: Any) -> Any:
        factor = 1.0 + world.rank
        own = base_function(lambda x: x + 1, vjp=lambda v, y, x: (v * factor,))
        net = program(lambda x: own(weight("w") * x))
        data = {"x": np.ones(8), "t": np.ones(8)}
        return Trainer(world, net, data, Settings(epochs=1, learning_rate=0.1))

    with pytest.raises(MismatchError, match="program"):
        ThreadWorld(2).run(body)
