"""Noise is new in every step, the same on any ranks, and off outside of training."""

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
    program,
    weight,
)
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.errors import NotFiniteError, ProgramError
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.noise import quiet
from tests.training.programs import net_data
from tests.worlds.mortal import Kill, MortalWorld


@program
def noisy(x, s):
    """All distributions, on inputs, hidden values and the output."""
    hidden = np.tanh(layers.dense(x + 0.1 * noise(4), 9, name="hidden"))
    hidden = layers.dropout(hidden, 0.4) + 0.1 * noise((9,), "uniform") * s
    return layers.dense(hidden, 2, name="out") + 0.01 * noise()


@program
def plain(x, s):
    """The same with each random number's mean."""
    hidden = np.tanh(layers.dense(x, 9, name="hidden"))
    return layers.dense(hidden + 0.1 * 0.5 * s, 2, name="out")


@program
def scalars(x):
    """Written by scalars, which become arrays; each neuron has its own noise."""
    hidden = [
        layers.dropout(np.tanh(sum(weight(f"w{i}{j}") * x[j] for j in range(4))), 0.5)
        for i in range(9)
    ]
    return sum(weight(f"v{i}") * h for i, h in enumerate(hidden)) + 0.1 * noise()


@program
def jitter(x):
    """Only noise moves the weight: the loss is its mean."""
    return weight("w", (), 0.0) * x + noise()


def fit(each=noisy, data=None, **options):
    given = {"epochs": 3, "batch": 20, "block": 3, "learning_rate": 0.05, **options}
    return dtrain.train(each, net_data(53) if data is None else data, **given)


@pytest.mark.parametrize("ranks", [2, 3, 4, 7])
def test_any_number_of_ranks_gives_the_same_bits(ranks):
    for each in (noisy, scalars):
        data = (
            net_data(53) | {"t": net_data(53)["t"][:, 0]} if each is scalars else None
        )
        alone = fit(each, data, world=SoloWorld())
        assert fit(each, data, world=ThreadWorld(ranks)).digest == alone.digest


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_execution_models_and_ranks_give_the_same_bits(backend, execution):
    run = fit(execution=execution, backend=backend, world=ThreadWorld(3))
    assert run.digest == fit(backend=backend).digest


def test_both_backends_see_the_same_noise():
    """Only rounding may differ, by what backends differ in without noise."""
    runs = [fit(backend=backend, dtype="float64") for backend in BACKENDS]
    for name, value in runs[0].weights.items():
        np.testing.assert_allclose(runs[1].weights[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("most", [1, 2, 64])
def test_any_stack_gives_the_same_bits(most, monkeypatch):
    whole = fit(batch=50)
    monkeypatch.setattr("dtrain.engine.engine.Engine.most_blocks", lambda *_: most)
    assert fit(batch=50).digest == whole.digest


def test_a_run_resumes_to_the_same_bits_in_the_middle_of_an_epoch(tmp_path):
    whole = fit()
    fit(checkpoint=Checkpoint(tmp_path, every=4), epochs=2)
    (tmp_path / "step-00000006.safetensors").unlink()
    resumed = Checkpoint(tmp_path, resume=True)
    run = fit(checkpoint=resumed, world=ThreadWorld(3))
    assert run.report["resumed_from_step"] == 4
    assert run.digest == whole.digest


@pytest.mark.parametrize("exchange", [40, 55, 63])
def test_a_lost_rank_changes_no_bit(exchange):
    run = fit(world=MortalWorld(3, [Kill(1, exchange)]))
    assert run.report["recovered_failures"] == 1
    assert run.digest == fit().digest


def test_each_step_and_each_seed_has_its_own_noise():
    """With rate 0 the losses differ by the noise alone."""
    data = {"x": np.zeros(5), "t": np.zeros(5)}
    options = {"batch": None, "epochs": 20, "learning_rate": 0.0, "dtype": "float64"}
    seen = [step.loss for step in fit(jitter, data, **options).history]
    seen += [step.loss for step in fit(jitter, data, seed=1, **options).history]
    assert len(set(seen)) == 40


def test_the_noise_of_a_row_does_not_depend_on_the_batch():
    data = {"x": np.zeros(6), "t": np.zeros(6)}
    options = {"learning_rate": 0.0, "dtype": "float64", "epochs": 1}
    (whole,) = fit(jitter, data, **options | {"batch": 6, "block": 6}).history
    (other,) = fit(jitter, data, **options | {"batch": 6, "block": 1}).history
    assert other.loss == pytest.approx(whole.loss, rel=1e-14)


def test_noise_is_off_outside_of_training():
    data = net_data(20)
    weights = dtrain.init(noisy, shapes={"x": 4})
    inputs = {"x": data["x"], "s": data["s"]}
    for call in (
        lambda each: dtrain.predict(each, weights, inputs),
        lambda each: dtrain.evaluate(each, weights, data, target="t")["loss"],
        lambda each: dtrain.loss_and_gradient(each, weights, inputs, data["t"])[0],
        lambda each: dtrain.objective(each, data, target="t", weights=weights).value(
            dtrain.objective(each, data, target="t", weights=weights).start
        ),
    ):
        found, again = call(noisy), call(noisy)
        assert np.array_equal(found, again)
        np.testing.assert_allclose(found, call(plain), rtol=1e-12)
    assert dtrain.check(noisy, inputs, data["t"]).passed


def test_validation_has_no_noise():
    run = fit(validation=Validation(net_data(20)))
    loss = dtrain.evaluate(noisy, run.weights, net_data(20), target="t")["loss"]
    assert run.report["validation_history"][-1]["loss"] == pytest.approx(loss, rel=1e-6)


def test_separable_data_with_dropout_are_no_reason_to_evaluate_noise_again():
    @program
    def logistic(x):
        return np.sum(weight("w", (2,)) * layers.dropout(x, 0.1))

    x = np.random.default_rng(0).normal(size=(30, 2))
    data = {"x": x, "t": (x[:, 0] > 0).astype(float)}
    run = fit(logistic, data, loss="binary_cross_entropy", epochs=40, learning_rate=1.0)
    assert run.report["loss_history"][-1] < np.log(2)


def test_a_step_that_is_not_finite_is_explained_with_its_own_noise():
    @program
    def rare(x):
        return weight("w", (), 1.0) * x + np.log(noise((), "uniform") - 0.02)

    data = {"x": np.ones(40), "t": np.zeros(40)}
    with pytest.raises(
        NotFiniteError, match=r"log of -0\.0.* row \d+, block"
    ) as caught:
        fit(rare, data, epochs=20, learning_rate=0.0)
    with pytest.raises(NotFiniteError) as again:
        fit(rare, data, epochs=20, learning_rate=0.0)
    assert str(again.value) == str(caught.value)


def test_each_call_is_a_node_of_its_own_and_tracing_again_gives_the_same():
    @program
    def two(x):
        return x + noise() * noise()

    graph = two.trace()
    names = [node.name for node in graph.nodes if node.function.name == "noise"]
    assert names == ["noise 1", "noise 2"]
    assert fingerprint(two.trace()) == fingerprint(graph)
    assert "noise(normal)" in str(graph)
    assert "noise" not in str(quiet(graph)).replace("noise 1", "")
    assert quiet(quiet(graph)) is not graph


def test_another_distribution_or_rate_is_another_program():
    def of(value):
        @program
        def made(x):
            return value(x)

        return fingerprint(made.trace())

    values = (
        lambda x: x + noise(),
        lambda x: x + noise((), "uniform"),
        lambda x: layers.dropout(x, 0.5),
        lambda x: layers.dropout(x, 0.4),
    )
    assert len(set(map(of, values))) == 4


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda x: x + noise(-1), "cannot have the shape"),
        (lambda x: x + noise((), "cauchy"), "no distribution 'cauchy'; there are"),
        (lambda x: layers.dropout(x, 1), "rate of dropout is 1; it must be"),
        (lambda x: layers.dropout(x, -0.1), "rate of dropout is -0.1"),
        (lambda x: layers.dropout(x, 1 - 1e-9), "at least 0 and less than 1"),
        (lambda x: layers.dropout(x, float("nan")), "rate of dropout is nan"),
    ],
)
def test_refusals_name_the_line(value, words):
    @program
    def wrong(x):
        return value(x)

    with pytest.raises(ProgramError, match=rf"test_noise\.py:\d+: .*{words}"):
        wrong.trace()


def test_noise_belongs_inside_a_program():
    with pytest.raises(ProgramError, match="belongs inside a function marked @program"):
        noise()


def test_a_rate_of_0_is_the_value_itself():
    @program
    def same(x):
        return layers.dropout(x * 2, 0)

    @program
    def value(x):
        return x * 2

    assert fingerprint(same.trace()) != ""
    assert len(same.trace().nodes) == len(value.trace().nodes)
