"""Bounds of weights: every rule keeps to them, with the same bits everywhere."""

import numpy as np
import pytest

from dtrain import (
    Checkpoint,
    SoloWorld,
    ThreadWorld,
    init,
    initializers,
    objective,
    optimizers,
    predict,
    program,
    scope,
    train,
    weight,
)
from dtrain.descent.optimizers import OPTIMIZERS
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.errors import MismatchError, ProgramError, UsageError
from dtrain.problem.agreement import compare_programs
from dtrain.tracing.bounds import project, rounded
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.node import Bounds, Constant

# The data want k below 0, v[0] above 1 and v[1] inside of its bounds.
T = np.linspace(0, 1, 37)
DATA = {"t": T, "y": 3 * T + 0.5 * T**2 + np.exp(0.7 * T)}
LOWER, UPPER = {"k": 0.1, "v": [-1.0, -np.inf]}, {"k": np.inf, "v": [1.0, 2.0]}


@program
def bounded(t):
    """A rate that the data would make negative, and two coefficients."""
    v = weight("v", (2,), lower=[-1, -np.inf], upper=[1, 2])
    k = weight("k", (), 0.5, lower=0.1)
    return v[0] * t + v[1] * t**2 + weight("a", (), 1.0) * np.exp(-k * t)


@program
def scalars(t):
    """Scalar weights, which the engine joins in one vector; some have bounds."""
    total = 0.0 * t
    for i in range(12):
        with scope(f"n{i:02}"):
            w = weight("w", (), lower=-0.05 if i % 2 else None, upper=0.05)
            total = total + np.tanh(w * t + weight("b"))
    return total


def fit(program_=bounded, **options):
    base = {"epochs": 12, "batch": 10, "block": 3, "learning_rate": 0.3, "target": "y"}
    return train(program_, DATA, **base | options)


def check_inside(weights, dtype="float32"):
    for name in LOWER:
        low, high = np.array(LOWER[name]), np.array(UPPER[name])
        assert weights[name].dtype == dtype
        value = weights[name].astype(np.float64)
        assert (value >= low).all(), name
        assert (value <= high).all(), name


@pytest.mark.parametrize("rule", sorted(OPTIMIZERS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_rule_keeps_to_the_bounds_at_every_step(rule, dtype):
    seen = []

    def look(step):
        check_inside(step.weights, dtype)
        seen.append(float(step.weights["k"]))

    run = fit(optimizer=rule, dtype=dtype, callbacks=[look], learning_rate=0.1)
    check_inside(run.weights, dtype)
    assert min(seen) == np.nextafter(np.array(0.1, dtype), 1) or min(seen) == float(
        np.array(0.1, dtype)
    )  # the bound is reached, so it has been tested


@pytest.mark.parametrize(
    "rule",
    [optimizers.sgd(momentum=0.9, nesterov=True), optimizers.rmsprop(momentum=0.9)],
)
def test_rules_with_momentum_keep_to_the_bounds(rule):
    check_inside(fit(optimizer=rule, learning_rate=0.05).weights)


def test_bounds_are_the_minimum_of_the_bounded_problem():
    scipy = pytest.importorskip("scipy.optimize")
    f = objective(bounded, DATA, target="y")
    assert f.bounds[0].tolist() == [-np.inf, 0.1, -1, -np.inf]
    assert f.bounds[1].tolist() == [np.inf, np.inf, 1, 2]
    found = scipy.minimize(
        f.value_and_gradient, f.start, jac=True, bounds=scipy.Bounds(*f.bounds)
    )
    run = fit(epochs=4000, batch=None, dtype="float64", learning_rate=0.2)
    assert run.report["loss"] == pytest.approx(found.fun, rel=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("program_", [bounded, scalars])
def test_any_ranks_and_execution_models_have_the_same_bits(program_, backend):
    alone = fit(program_, backend=backend, world=SoloWorld()).digest
    for ranks in (2, 3, 4, 7):
        run = fit(program_, backend=backend, world=ThreadWorld(ranks))
        assert run.digest == alone
    for execution in EXECUTIONS:
        run = fit(program_, backend=backend, execution=execution, threads=2)
        assert run.digest == alone


def test_scalar_weights_keep_to_their_bounds():
    weights = fit(scalars, epochs=40).weights
    edge = [
        w for n, w in weights.items() if n.endswith("w") and abs(w) == weights_edge()
    ]
    assert edge  # some are at a bound
    for name, w in weights.items():
        if name.endswith("w"):
            assert w <= 0.05
            assert w >= -0.05 or int(name[1:3]) % 2 == 0


def weights_edge():
    """Return the largest float32 that is at most 0.05."""
    return rounded(Bounds(None, Constant.of(np.array(0.05))), (), "float32")[1]


def test_a_resumed_run_has_the_same_bits(tmp_path):
    options = {"optimizer": optimizers.sgd(momentum=0.9), "learning_rate": 0.05}
    whole = fit(**options)
    fit(**options | {"epochs": 5}, checkpoint=tmp_path)
    again = fit(**options, checkpoint=Checkpoint(tmp_path, resume=True))
    assert again.report["resumed_from_step"] == 20
    assert again.digest == whole.digest


def limited(limit):
    @program
    def rate(t):
        return weight("k", (), 0.5, lower=limit) * t

    return rate


def test_other_bounds_are_another_program(tmp_path):
    assert len({fingerprint(limited(b).trace()) for b in (None, 0, 0.25)}) == 3
    assert fingerprint(limited(-np.inf).trace()) == fingerprint(limited(None).trace())
    fit(limited(-9), checkpoint=tmp_path, epochs=1)
    with pytest.raises(UsageError, match="the program has changed"):
        fit(limited(-7), checkpoint=Checkpoint(tmp_path, resume=True))


def test_forced_bounds_hold_from_the_resumed_state_on(tmp_path):
    @program
    def higher(t):
        return weight("k", (), 50.0, lower=50) * t

    fit(limited(-9), checkpoint=tmp_path, epochs=1)
    resume = Checkpoint(tmp_path, resume=True, force=True)
    seen = fit(higher, epochs=1, checkpoint=resume).weights
    assert seen["k"] == 50


def test_ranks_with_other_bounds_are_named():
    def work(rank):
        compare_programs(rank, limited(float(rank.rank == 1) - 5).trace())

    text = r"weight ≥ -4 'k' .* on rank 1, weight ≥ -5 'k'"
    with pytest.raises(MismatchError, match=text):
        ThreadWorld(3).run(work)


def test_a_graph_prints_its_bounds():
    text = str(bounded.trace())
    assert "weight in [array (2,), array (2,)]" in text
    assert "weight ≥ 0.1" in text
    assert str(limited(None).trace()).count("weight\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lower": 2, "upper": 1}, "its lower bound 2 is above its upper bound 1"),
        ({"shape": 2, "lower": [0, 5], "upper": 4}, r"bound 5 .* bound 4 at \[1\]"),
        ({"lower": [1, 2]}, r"lower has shape \(2,\), which does not broadcast"),
        ({"upper": np.nan}, "upper is nan: no number satisfies it"),
        ({"lower": np.inf}, "lower is inf: no number satisfies it"),
        ({"lower": "0"}, "lower is '0'; it must be a number"),
        ({"lower": True}, "lower is True; it must be a number"),
        ({"init": -1.0, "lower": 0}, "its first value -1 is below its lower bound 0"),
        ({"init": "ones", "upper": 0}, "its first value 1 is above its upper bound 0"),
    ],
)
def test_impossible_bounds_are_refused_with_their_line(options, message):
    @program
    def wrong(t):
        return np.sum(weight("k", **options)) * t

    with pytest.raises(
        ProgramError, match=rf"test_bounds.py:\d+: weight 'k': .*{message}"
    ):
        wrong.trace()


def test_a_bound_that_depends_on_the_program_is_refused():
    @program
    def wrong(t):
        return weight("k", lower=t) * t

    with pytest.raises(ProgramError, match="lower is a value of the program"):
        wrong.trace()


def test_one_name_has_one_pair_of_bounds():
    @program
    def wrong(t):
        return weight("k", (), 1.0, lower=0) * t + weight("k", (), 1.0)

    with pytest.raises(ProgramError, match="'k' has other bounds here than at"):
        wrong.trace()


def test_drawn_first_weights_are_moved_into_the_bounds():
    @program
    def drawn(x):
        w = weight("w", (50,), initializers.normal(3.0), lower=-1, upper=2)
        return np.sum(w) * x

    @program
    def free(x):
        return np.sum(weight("w", (50,), initializers.normal(3.0))) * x

    for dtype in ("float32", "float64"):
        clipped = np.clip(init(free, 4, dtype)["w"], -1, 2)
        np.testing.assert_array_equal(init(drawn, 4, dtype)["w"], clipped)
    run = train(drawn, {"x": T, "t": T}, epochs=1, learning_rate=0, seed=4)
    np.testing.assert_array_equal(run.weights["w"], init(drawn, 4, "float32")["w"])


def test_given_weights_outside_the_bounds_are_refused():
    good = {"a": 1.0, "k": 0.1, "v": [1.0, 2.0]}
    fit(weights=good)
    with pytest.raises(UsageError, match=r"'k': .* 0.05 is below .* 0.1 of .*py:\d+"):
        fit(weights=good | {"k": 0.05})
    with pytest.raises(
        UsageError, match=r"value 2.5 at \[1\] is above its upper bound"
    ):
        fit(weights=good | {"v": [0.0, 2.5]})
    assert len(predict(bounded, good | {"k": -3.0}, {"t": T})) == len(T)


def test_a_run_continues_from_its_weights_in_either_dtype():
    for dtype in ("float32", "float64"):
        first = fit(dtype=dtype)
        for other in ("float32", "float64"):
            check_inside(fit(weights=first, dtype=other).weights, other)


def test_bounds_are_rounded_inwards():
    rng = np.random.default_rng(3)
    low = rng.standard_normal(500) * 10.0 ** rng.integers(-50, 38, 500)
    high = low + np.abs(low) * rng.choice([0, 1e-12, 1e-7, 1.0], 500)
    stated = Bounds(Constant.of(low), Constant.of(high))
    for dtype in (np.float32, np.float64):
        lower, upper = rounded(stated, (500,), dtype)
        assert lower.dtype == upper.dtype == dtype
        assert (lower <= upper).all()
        inside = (lower >= low) & (upper <= high)
        nearest = (lower == upper) & (lower == low.astype(dtype))
        assert (inside | nearest).all()
    exact = rounded(stated, (500,), np.float64)
    np.testing.assert_array_equal(exact[0], low)


def test_projection_keeps_nan_and_the_sign_of_zero():
    values = np.array([-0.0, 0.0, np.nan, -5.0, np.inf, 0.5])
    project(values, np.zeros(6), np.ones(6))
    np.testing.assert_array_equal(values, [-0.0, 0.0, np.nan, 0.0, 1.0, 0.5])
    assert np.signbit(values).tolist() == [True] + [False] * 5
