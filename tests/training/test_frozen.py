"""Frozen weights stay, rates scale the steps of the others, on any ranks alike."""

import numpy as np
import pytest

from dtrain import (
    Checkpoint,
    SoloWorld,
    ThreadWorld,
    layers,
    optimizers,
    program,
    train,
    weight,
    zoo,
)
from dtrain.descent import losses
from dtrain.descent.loss_graph import loss_graph
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.errors import UsageError
from tests.training.programs import net, net_data

RULES = {
    "sgd": optimizers.sgd(momentum=0.9, weight_decay=0.1),
    "adam": optimizers.adam(weight_decay=0.1),
    "adamw": optimizers.adamw(weight_decay=0.1),
    "lamb": optimizers.lamb(weight_decay=0.1),
    "rmsprop": optimizers.rmsprop(momentum=0.5),
}


def fit(each=net, data=None, **options):
    given = {"epochs": 3, "batch": 20, "block": 3, "learning_rate": 0.05, **options}
    return train(each, net_data(53) if data is None else data, **given)


FIRST = fit(epochs=0).weights


@program
def scalars(x):
    """Scalar weights of which some are frozen; their vectors become arrays."""
    hidden = [
        np.tanh(sum(weight(f"w{i}{j}") * x[j] for j in range(4))) for i in range(9)
    ]
    return sum(weight(f"v{i}") * h for i, h in enumerate(hidden)) + weight("c")


@pytest.mark.parametrize("name", RULES)
def test_frozen_weights_do_not_move_by_any_rule(name):
    run = fit(frozen=["W", "out.*"], optimizer=RULES[name])
    for each, value in run.weights.items():
        assert np.array_equal(value, FIRST[each]) == (each != "b")


def test_the_others_move_as_if_the_frozen_were_constants():
    run = fit(frozen=["W"])

    @program
    def constant(x, s):
        W = FIRST["W"]
        hidden = np.tanh(W @ x + weight("b", 4) * s)
        return layers.dense(W @ hidden, 2, name="out")

    start = {name: value for name, value in FIRST.items() if name != "W"}
    right = fit(constant, weights=start)
    for name, value in right.weights.items():
        np.testing.assert_allclose(run.weights[name], value, rtol=1e-6)


def test_clipping_sees_only_what_moves():
    rule = optimizers.sgd(clip_norm=1e-3)
    options = {"frozen": ["W", "out.*"], "batch": None, "dtype": "float64"}
    first, run = (fit(epochs=n, optimizer=rule, **options).weights for n in (0, 1))
    moved = np.linalg.norm(run["b"] - first["b"])
    assert moved == pytest.approx(0.05 * 1e-3)


@pytest.mark.parametrize("name", ["mlp", "mlp_scalar", "cnn"])
def test_no_derivative_by_frozen_weights_is_computed(name):
    graph = zoo.ENTRIES[name].program.trace(x=64)
    loss = losses.named("cross_entropy")
    *frozen, last = sorted(graph.weights)
    whole = loss_graph(graph, loss, ())
    part = loss_graph(graph, loss, (), frozen=frozenset(frozen))
    (name,) = part.gradients.values()
    assert name in (last, f"{last}..{last}")
    assert len(part.graph.nodes) < len(whole.graph.nodes)


def test_scalar_weights_in_arrays_may_be_frozen():
    data = {"x": net_data(53)["x"], "t": net_data(53)["s"]}
    first = fit(scalars, data, epochs=0).weights
    run = fit(scalars, data, frozen=["w1*", "w3?", "c"])
    kept = {name for name in first if run.weights[name] == first[name]}
    assert kept == {"w10", "w11", "w12", "w13", "w30", "w31", "w32", "w33", "c"}


@pytest.mark.parametrize("ranks", [2, 3, 4, 7])
def test_any_number_of_ranks_gives_the_same_bits(ranks):
    options = {"frozen": ["b"], "rates": {"out.*": 0.1}, "optimizer": "adam"}
    alone, many = (
        fit(world=world, **options) for world in (SoloWorld(), ThreadWorld(ranks))
    )
    assert many.digest == alone.digest


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_execution_models_give_the_same_bits(backend, execution):
    options = {"frozen": ["b"], "rates": {"out.*": 0.1}, "backend": backend}
    assert fit(execution=execution, **options).digest == fit(**options).digest


@pytest.mark.parametrize("name", RULES)
def test_a_rate_multiplies_the_step(name):
    options = {"epochs": 1, "batch": None, "optimizer": RULES[name]}
    whole, half = fit(**options), fit(rates={"out.*": 0.5}, **options)
    for each, value in whole.weights.items():
        factor = 0.5 if each.startswith("out") else 1.0
        step = factor * (value - FIRST[each])
        np.testing.assert_allclose(
            half.weights[each] - FIRST[each], step, rtol=1e-3, atol=1e-7
        )


def test_a_rate_of_1_changes_no_bit_and_one_of_0_freezes():
    assert fit(rates={"*": 1}).digest == fit().digest
    assert fit(rates={"W": 0}).digest == fit(frozen=["W"]).digest


def test_a_run_resumes_to_the_same_bits(tmp_path):
    options = {"frozen": ["b"], "rates": {"out.*": 0.1}, "optimizer": "adam"}
    whole = fit(**options)
    fit(checkpoint=Checkpoint(tmp_path, every=4), **options | {"epochs": 2})
    (tmp_path / "step-00000006.safetensors").unlink()
    resumed = Checkpoint(tmp_path, resume=True)
    run = fit(checkpoint=resumed, world=ThreadWorld(3), **options)
    assert run.report["resumed_from_step"] == 4
    assert run.digest == whole.digest
    with pytest.raises(UsageError, match="rates was"):
        fit(checkpoint=resumed, **options | {"rates": None})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frozen": ["encoder.*"]}, "no weight of net matches 'encoder.*'; there are"),
        ({"frozen": ["outW"]}, "'outW'; there are .* did you mean 'out.W'"),
        ({"frozen": ["*"]}, "all weights of net are frozen"),
        ({"frozen": "W"}, "frozen is 'W'; it must be a list of patterns"),
        ({"rates": {"X": 2}}, "rates: no weight of net matches 'X'"),
        ({"rates": {"W": -1}}, "factors of 0 or more"),
        ({"rates": {"*": 2, "W": 3}}, "two patterns give weight 'W' other factors"),
    ],
)
def test_misuse_is_explained(options, words):
    with pytest.raises(UsageError, match=words):
        fit(**options)
