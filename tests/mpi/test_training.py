"""Training with a process for each rank, compared with training in one process.

Every rank also trains alone (`SoloWorld`) and compares the bits. The body of each test
is called by ``world.run``: a rank that fails an assertion alone ends the job with its
traceback, so that the others do not wait for it.
"""

import os
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import pytest

from dtrain import (
    SoloWorld,
    Validation,
    base_function,
    losses,
    optimizers,
    predict,
    program,
    train,
    weight,
)
from dtrain.errors import (
    DataError,
    MismatchError,
    NotFiniteError,
    ReplicaError,
    UsageError,
)
from dtrain.problem.agreement import together
from dtrain.problem.evaluate import measure
from dtrain.problem.outputs import Outputs
from dtrain.problem.samples import as_samples
from dtrain.reduction.blocks import share
from dtrain.training.loop import Loop
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer
from dtrain.worlds.opening import open_world
from tests.problem.ragged_data import charges, clusters, columns_for
from tests.training.programs import (
    careless,
    classes,
    line,
    line_data,
    logit,
    net,
    net_data,
)

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def world():
    world = open_world()
    assert world.size == int(os.environ["DTRAIN_TEST_RANKS"])
    return world


def test_all_trainings_share_one_world(world):
    """A world has communicators, of which MPICH has only two thousand."""
    assert open_world() is world


@contextmanager
def refused(world, kind, *texts):
    """Assert that all ranks raise the same agreed error of this kind."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert caught.value.agreed
    for text in texts:
        assert text in message
    assert set(world.allgather(message.encode())) == {message.encode()}


OPTIONS = {
    "full": {},
    "mini": {"batch": 24},
    "float64": {"batch": 24, "dtype": "float64"},
    "adam": {"batch": 50, "optimizer": "adam"},
    "short": {"batch": 24, "block": 7, "optimizer": optimizers.sgd(momentum=0.9)},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("samples", [101, 3, 1])
def test_unequal_shares_give_the_bits_of_one_process(world, samples, name):
    def work(world):
        options = {"epochs": 3, "learning_rate": 0.05, "block": 5, **OPTIONS[name]}
        data = net_data(samples)
        alone = train(net, data, world=SoloWorld(), **options)
        run = train(net, data, **options)
        assert run.report["ranks"] == world.size
        assert run.report["mpi"] == world.mpi
        assert run.digest == alone.digest
        assert run.report["loss_history"] == alone.report["loss_history"]
        assert [r.samples for r in run.history] == [r.samples for r in alone.history]

    world.run(work)


@pytest.mark.parametrize("execution", ["levels", "dataflow"])
def test_execution_models_give_the_same_bits(world, execution, monkeypatch):
    monkeypatch.setattr(
        "dtrain.engine.execution.models._HANDOFF", 0.0
    )  # use threads for any work
    monkeypatch.setattr("dtrain.engine.execution.models._GRAIN", 1e-9)

    def work(_):
        options = {"epochs": 3, "learning_rate": 0.05, "block": 5, "batch": 24}
        alone = train(net, net_data(101), world=SoloWorld(), **options)
        run = train(net, net_data(101), execution=execution, threads=2, **options)
        assert run.digest == alone.digest
        assert run.report["threads"] == 2

    world.run(work)


def test_validation_stops_all_ranks_at_the_same_step(world):
    def work(_):
        options = {"epochs": 60, "learning_rate": 0.01, "batch": 6, "block": 2}
        options |= {"optimizer": "adam", "validation": Validation(0.5, patience=3)}
        alone = train(net, net_data(31), world=SoloWorld(), **options)
        run = train(net, net_data(31), **options)
        assert run.digest == alone.digest
        for key in ("stopped", "steps", "best_epoch", "validation_history"):
            assert run.report[key] == alone.report[key]
        assert run.report["stopped"] == "patience"

    world.run(work)


def test_ragged_samples_give_the_bits_of_one_process(world):
    def work(_):
        data = columns_for(charges, clusters(61))
        options = {"epochs": 3, "learning_rate": 0.01, "batch": 24, "block": 3}
        options |= {"optimizer": "adam", "validation": Validation(0.2)}
        alone = train(charges, data, world=SoloWorld(), **options)
        run = train(charges, data, **options)
        assert run.report["ranks"] == world.size
        assert run.digest == alone.digest
        for key in ("loss_history", "validation_history"):
            assert run.report[key] == alone.report[key]

    world.run(work)


def test_ranks_find_the_same_warnings(world):
    def work(_):
        options = {"epochs": 40, "learning_rate": 1.0, "block": 3}
        options |= {"loss": "binary_cross_entropy"}
        for program_, data in (
            (logit, classes(separable=True)),
            (careless, {"x": 200 * np.ones(31), "t": np.ones(31)}),
        ):
            alone = train(program_, data, world=SoloWorld(), **options)
            run = train(program_, data, **options)
            assert run.report["warnings"] == alone.report["warnings"] != []

    world.run(work)


def test_a_custom_function_gives_the_same_digest(world):
    """It is called on any share of the samples."""
    custom = base_function(
        lambda x: np.arctan(x),
        vjp=lambda v, _y, x: (v / (1 + x * x),),
        shape=np.broadcast_shapes,
        check=[0.3],
    )
    bent = program(lambda x: custom(weight("slope") * x) + weight("offset"))

    def work(_world):
        options = {"epochs": 3, "learning_rate": 0.05, "block": 5}
        alone = train(bent, line_data(), world=SoloWorld(), **options)
        assert train(bent, line_data(), **options).digest == alone.digest

    world.run(work)


def test_a_custom_function_that_differs_between_ranks_is_refused(world):
    def work(world):
        factor = 1.0 + (world.rank == world.size - 1)
        custom = base_function(lambda x: x + 1, vjp=lambda v, _y, _x: (v * factor,))
        net = program(lambda x: custom(weight("w") * x))
        with refused(world, MismatchError, "program"):
            train(net, line_data(), epochs=1, learning_rate=0.1)

    world.run(work)


def test_a_step_is_one_exchange(world):
    def work(world):
        before = world.exchanges
        train(net, net_data(50), world=world, epochs=3, batch=10, learning_rate=0.1)
        assert world.exchanges == before + 15

    world.run(work)


def test_callbacks_get_equal_steps_on_every_rank(world):
    def work(world):
        calls = []
        train(line, line_data(), epochs=5, learning_rate=0.1, callbacks=[calls.append])
        assert [record.step for record in calls] == [1, 2, 3, 4, 5]
        text = repr([{**asdict(record), "seconds": 0} for record in calls]).encode()
        assert set(world.allgather(text)) == {text}

    world.run(work)


def test_predictions_are_gathered_in_order(world):
    def work(world):
        for samples in (1, 2, 53):
            data = net_data(samples)
            inputs = {"x": data["x"], "s": data["s"]}
            run = train(net, data, epochs=1, learning_rate=0.1)
            rows = share(samples, world.rank, world.size)
            mine = Outputs(net, as_samples(net, inputs, None), run.weights)
            (part,) = mine.rows(rows.start, rows.stop).values()
            whole = world.gather_rows(part)
            if world.rank == 0:
                alone = predict(net, run.weights, inputs)
                assert whole.tobytes() == alone.tobytes()

    world.run(work)


def test_loss_and_accuracy_equal_those_of_one_process(world):
    def work(world):
        square = losses.named("square")
        for samples in (1, 53):
            data = net_data(samples)
            hot = np.eye(2)[np.arange(samples) % 2]
            bound = as_samples(net, {"x": data["x"], "s": data["s"]}, hot)
            weights = train(net, data, epochs=1, learning_rate=0.1).weights
            alone = measure(SoloWorld(), net, bound, weights, square)
            assert measure(world, net, bound, weights, square) == alone
            assert "accuracy" in alone

    world.run(work)


@program
def bent(x):
    """Like `line`, with the same weights and shapes, but another function."""
    return weight("slope", init=0.5) * np.sin(x) + weight("offset", init=-0.5)


@program
def long(x):
    """Like `line`, with another shape."""
    return weight("slope", 2)[0] * x + weight("offset")


def changed(**arrays):
    return line_data() | arrays


# By name: the arguments that differ on the last rank, the texts of the message.
DIFFERENT = {
    "values": ({"data": changed(x=line_data()["x"] + 1)}, ["data set"]),
    "rows": ({"data": line_data(22)}, ["data set"]),
    "columns": ({"data": {"z": np.ones(3)}}, ["data set"]),
    "a dtype of data": (
        {"data": changed(t=line_data()["t"].astype("float32"))},
        ["data set"],
    ),
    "a function": ({"program": bent}, ["program"]),
    "a shape": ({"program": long}, ["program"]),
    "epochs": ({"epochs": 3}, ["epochs", "(3)", "against 2"]),
    "batch": ({"batch": 5}, ["batch", "(5)", "against None"]),
    "block": ({"block": 5}, ["block", "(5)"]),
    "learning_rate": (
        {"learning_rate": 0.2},
        ["learning_rate", "(0.2)", "against 0.1"],
    ),
    "optimizer": ({"optimizer": "adam"}, ["optimizer", "(adam"]),
    "momentum": ({"optimizer": optimizers.sgd(momentum=0.5)}, ["optimizer"]),
    "seed": ({"seed": 1}, ["seed"]),
    "dtype": ({"dtype": "float64"}, ["dtype", "(float64)"]),
    "threads": ({"threads": 2}, ["threads"]),
    "target": ({"target": "t"}, ["target", "(t)"]),
    "columns=": ({"columns": {"x": "t"}}, ["columns"]),
    "weights": ({"weights": {"slope": 1.0, "offset": 0.0}}, ["first weights"]),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_a_rank_with_other_arguments_is_named(world, what):
    def work(world):
        last = world.size - 1
        other, texts = DIFFERENT[what]
        mine = {"program": line, "data": line_data(), "epochs": 2, "learning_rate": 0.1}
        if world.rank == last:
            mine |= other
        named = f"rank {last} on {world.hosts[last]}" if world.size > 2 else "rank 1 on"
        with refused(world, MismatchError, named, *texts):
            train(**mine)

    world.run(work)


def test_evaluate_refuses_weights_and_programs_that_differ_between_ranks(world):
    def work(world):
        last = world.rank == world.size - 1
        x = line_data()["x"]
        samples, square = as_samples(line, [x], x), losses.named("square")
        mine = {"slope": 1.0 + last, "offset": 0.0}
        with refused(world, MismatchError, "weights", f"rank {world.size - 1}"):
            measure(world, line, samples, mine, square)
        same = {"slope": 1.0, "offset": 0.0}
        with refused(world, MismatchError, "program", f"rank {world.size - 1}"):
            measure(world, bent if last else line, samples, same, square)
        with refused(world, UsageError, "'offset' is missing"):
            measure(world, line, samples, {"slope": 1.0} if last else same, square)

    world.run(work)


def test_together_all_continue_or_all_raise(world):
    def work(world):
        with together(world):
            pass
        last = world.size - 1
        with refused(world, DataError, "row 7"), together(world):
            if world.rank == last:
                raise DataError("row 7")
        with refused(world, DataError, "row 0"), together(world):
            raise DataError(f"row {world.rank}")

    world.run(work)


def test_the_first_row_that_is_not_finite_is_named_on_all_ranks(world):
    """Each rank checks its share of the rows; all report the first bad row of all."""

    def work(world):
        data = line_data()
        data["x"][[11, 22]] = np.nan
        with refused(world, DataError, "row 12", "'x'"):
            train(line, data, epochs=1, learning_rate=0.1)

    world.run(work)


def test_a_file_that_one_rank_lacks_is_reported_by_all(world, tmp_path_factory):
    def work(world):
        folder = tmp_path_factory.mktemp("data")
        path = folder / "data.npz"
        if world.rank != world.size - 1:
            np.savez(path, **line_data())
        with refused(world, DataError, "no such file"):
            train(line, path, epochs=1, learning_rate=0.1)

    world.run(work)


def test_an_overflow_raises_on_all_ranks(world):
    def work(world):
        with refused(world, NotFiniteError, "smaller learning rate"):
            train(line, line_data(), epochs=50, learning_rate=1e9)

    world.run(work)


def test_a_non_finite_value_is_traced_to_its_line_and_row(world, caplog):
    """The rank that has the block finds it; all report the same."""

    @program
    def logarithm(x):
        return np.log(weight("w", init=1.0) * x)

    def work(world):
        data = {"x": np.ones(40), "t": np.zeros(40)}
        data["x"][[21, 33]] = -2
        (rank,) = (i for i in range(world.size) if 5 in share(10, i, world.size))
        texts = (
            "log of -2 is nan",
            "test_training.py:",
            f"row 22, block 5, rank {rank}",
        )
        with refused(world, NotFiniteError, *texts):
            train(logarithm, data, epochs=1, learning_rate=0.1, block=4)
        options = {"epochs": 3, "learning_rate": 0.1, "batch": 8, "block": 2}
        caplog.clear()
        run = train(logarithm, data, **options, on_nonfinite="skip")
        assert len(caplog.records) == (world.rank == 0)
        alone = train(
            logarithm, data, **options, on_nonfinite="skip", world=SoloWorld()
        )
        assert run.digest == alone.digest
        assert 3 <= run.report["skipped_steps"] == alone.report["skipped_steps"] <= 6

    world.run(work)


def test_a_flipped_bit_in_the_weights_of_one_rank_is_found(world):
    def work(world):
        settings = Settings(epochs=20, learning_rate=0.1, verify_every=4)
        trainer = Trainer(world, net, net_data(53), settings)
        last = world.size - 1

        def flip(record):
            if (record.step, world.rank) == (5, last):
                trainer.weights.values["W"].view(np.uint32)[1, 2] ^= 1

        texts = world.names[last], "after step 8", "'W' at [1, 2]"
        with refused(world, ReplicaError, *texts):
            Loop(trainer, [flip]).run()

    world.run(work)


def test_all_ranks_start_with_the_weights_of_rank_0(world):
    """If libm differs between hosts, so do the last bits of drawn weights."""

    def work(world):
        settings = Settings(epochs=1, learning_rate=0.1)
        trainer = Trainer(world, line, line_data(), settings)
        digest = trainer.weights.digest.encode()
        assert set(world.allgather(digest)) == {digest}

    world.run(work)
