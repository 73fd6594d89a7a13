"""Means and deviations of the training data are weights that nothing moves."""

import numpy as np
import pytest

import dtrain
from dtrain import (
    Checkpoint,
    SoloWorld,
    ThreadWorld,
    Validation,
    layers,
    noise,
    optimizers,
    penalties,
    program,
    weight,
)
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.errors import DataError, ProgramError
from tests.worlds.mortal import Kill, MortalWorld

DRAW = np.random.default_rng(4)
COUNT = 53
DATA = {
    "x": 1e4 + DRAW.normal(size=(COUNT, 3)) * [1, 50, 0] + [0, 0, 0.1],
    "s": DRAW.uniform(1, 9, COUNT),
    "k": DRAW.integers(0, 5, COUNT),
    "t": DRAW.normal(size=COUNT),
}
STATISTICS = ("standardise.x", "standardise.k", "logs")


@program
def net(x, s, k):
    """A vector with a constant column, a function of a scalar, and an index."""
    hidden = np.tanh(layers.dense(layers.standardise(x), 5, name="a"))
    table = weight("table", (5,))[k.astype(int)]
    logs = layers.standardise(np.log(s), name="logs")
    return layers.dense(hidden, 1, name="b")[0] + logs + layers.standardise(k) * table


def fit(each=net, data=DATA, **options):
    given = {"epochs": 3, "batch": 20, "block": 3, "learning_rate": 0.05, **options}
    return dtrain.train(each, data, target="t", **given)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("float64", 1e-12)])
def test_they_are_those_of_the_training_data(dtype, bound):
    weights = fit(dtype=dtype).weights
    read = {key: DATA[key].astype(dtype).astype(float) for key in ("x", "s")}
    columns = read["x"], DATA["k"], np.log(read["s"])
    for name, values in zip(STATISTICS, columns, strict=True):
        mean, deviation = np.mean(values, axis=0), np.std(values, axis=0)
        deviation = np.where(deviation < 1e-9, 1, deviation)
        np.testing.assert_allclose(weights[f"{name}.mean"], mean, rtol=bound)
        np.testing.assert_allclose(weights[f"{name}.deviation"], deviation, rtol=bound)
    assert weights["standardise.x.deviation"][2] == 1


RULES = {
    "sgd": optimizers.sgd(momentum=0.9, weight_decay=0.1, clip_norm=0.1),
    "adamw": optimizers.adamw(weight_decay=0.1),
    "lamb": optimizers.lamb(weight_decay=0.1),
}


@pytest.mark.parametrize("name", RULES)
def test_nothing_moves_them(name):
    first = fit(epochs=0).weights
    last = fit(optimizer=RULES[name], penalty=penalties.Norms(l2=0.1)).weights
    for each, value in last.items():
        assert np.array_equal(value, first[each]) == each.startswith(STATISTICS)


def test_a_penalty_does_not_see_them():
    values = [
        dtrain.objective(net, DATA, target="t", penalty=each)
        for each in (None, penalties.Norms(l2=1.0))
    ]
    plain, penalised = (each.value(each.start) for each in values)
    weights = values[0].unflatten(values[0].start)
    trained = [x for name, x in weights.items() if not name.startswith(STATISTICS)]
    squares = sum(np.sum(np.square(each)) for each in trained)
    assert penalised - plain == pytest.approx(squares, rel=1e-9)


@pytest.mark.parametrize("ranks", [2, 3, 4, 7])
def test_any_number_of_ranks_gives_the_same_bits(ranks):
    assert fit(world=ThreadWorld(ranks)).digest == fit(world=SoloWorld()).digest


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_execution_models_give_the_same_bits(backend, execution):
    run = fit(execution=execution, backend=backend, world=ThreadWorld(3))
    assert run.digest == fit(backend=backend).digest


@pytest.mark.parametrize("exchange", [8, 12, 16, 20, 40])
def test_a_lost_rank_changes_no_bit(exchange):
    run = fit(world=MortalWorld(3, [Kill(1, exchange)]))
    assert run.report["recovered_failures"] == 1
    assert run.digest == fit().digest


def test_a_run_resumes_to_the_same_bits(tmp_path):
    fit(checkpoint=Checkpoint(tmp_path, every=4), epochs=2)
    (tmp_path / "step-00000006.safetensors").unlink()
    run = fit(checkpoint=Checkpoint(tmp_path, resume=True), world=ThreadWorld(3))
    assert run.report["resumed_from_step"] == 4
    assert run.digest == fit().digest


def test_other_data_are_standardised_as_the_training_data():
    weights = fit(dtype="float64").weights
    few = {name: values[:7] for name, values in DATA.items()}
    inputs = [{name: d[name] for name in ("x", "s", "k")} for d in (DATA, few)]
    whole, part = (dtrain.predict(net, weights, each) for each in inputs)
    np.testing.assert_allclose(part, whole[:7], rtol=1e-12)
    run = fit(data=few, weights=weights, epochs=1, dtype="float64")
    for name in weights:
        if name.startswith(STATISTICS):
            assert np.array_equal(run.weights[name], weights[name])


def test_held_out_samples_do_not_count():
    run = fit(validation=Validation(DATA | {"x": DATA["x"] * 3}))
    assert run.digest == fit().digest


def test_check_and_objective_use_them():
    inputs = {name: DATA[name] for name in ("x", "s", "k")}
    assert dtrain.check(net, inputs, DATA["t"]).passed
    found = dtrain.objective(net, DATA, target="t")
    start = found.unflatten(found.start)
    assert start["standardise.k.mean"] == pytest.approx(np.mean(DATA["k"]))
    _, gradient = found.value_and_gradient(found.start)
    assert not found.unflatten(gradient)["standardise.x.mean"].any()


def test_one_value_standardised_twice_has_one_mean():
    @program
    def twice(x):
        return weight("w") * layers.standardise(x) + layers.standardise(x)

    assert list(twice.trace().weights) == [
        "w",
        "standardise.x.mean",
        "standardise.x.deviation",
    ]


def _clash(x):
    weight("standardise.x.mean", (), "zeros")
    return layers.standardise(x)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda x: layers.standardise(weight("w") * x, name="a"), "the weight 'w' of"),
        (lambda x: layers.standardise(x + noise(), name="a"), "depends on the noise"),
        (lambda _: layers.standardise(2.0, name="a"), "this one is a constant"),
        (lambda x: layers.standardise(x * x), "needs name=... for a value that is no"),
        (
            lambda x: (
                layers.standardise(x, name="a") * layers.standardise(x * x, name="a")
            ),
            "two values are standardised as 'a'",
        ),
        (_clash, "has a weight of that name"),
    ],
)
def test_refusals_name_the_line(value, words):
    @program
    def wrong(x):
        return weight("v") * value(x)

    with pytest.raises(ProgramError, match=rf"test_standardise\.py:\d+: .*{words}"):
        wrong.trace()


def test_a_program_with_statistics_alone_has_nothing_to_train():
    @program
    def fixed(x):
        return layers.standardise(x)

    with pytest.raises(ProgramError, match="no weights to train"):
        fit(fixed, {"x": DATA["s"], "t": DATA["t"]})


def test_a_statistic_that_is_not_finite_is_refused():
    @program
    def logs(x):
        return weight("w") * layers.standardise(np.log(x), name="logs")

    with pytest.raises(DataError, match=r"'logs.mean' .* is not finite in float32"):
        fit(logs, {"x": np.zeros(5), "t": np.zeros(5)}, batch=None)
