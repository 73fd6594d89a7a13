"""The contract of `train`, `Run` and `Step`."""

import inspect
import math
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import dtrain
from dtrain import SoloWorld, ThreadWorld, losses, optimizers, train
from dtrain.data.order import Order
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.errors import DataError, NotFiniteError, ProgramError, UsageError
from dtrain.tracing.weights import DTYPES
from tests.mpirun import clean_environment
from tests.training.programs import (
    both,
    digest,
    distance,
    line,
    line_data,
    net,
    net_data,
    warped,
)

WORLDS = pytest.mark.parametrize("ranks", [1, 3])

DEFAULTS = {  # design: the public face
    "target": None,
    "loss": "square",
    "batch": None,
    "block": None,
    "optimizer": "sgd",
    "weights": None,
    "seed": 0,
    "dtype": "float32",
    "execution": "sequential",
    "backend": "numpy",
    "on_nonfinite": "stop",
    "verify_every": 100,
    "world": None,
    "callbacks": (),
}

REPORT = {
    "ranks": int,
    "hosts": list,
    "mpi": str | None,
    "backend": str,
    "bits": str,
    "bits_differ": list,
    "program": str,
    "samples": int,
    "weights": int,
    "block": int,
    "blocks": int,
    "steps": int,
    "warnings": list,
    "skipped_steps": int,
    "epochs": int,
    "loss": float,
    "loss_history": list,
    "seconds": float,
    "seconds_total": float,
    "samples_per_second": float,
    "threads": int,
    "dtype": str,
    "seed": int,
    "weights_sha256": str,
    "recovered_failures": int,
    "resumed_from_step": int | None,
}


def world_of(ranks):
    return SoloWorld() if ranks == 1 else ThreadWorld(ranks)


def short(**options):
    """Train a line for a moment."""
    return train(line, line_data(), **{"epochs": 2, "learning_rate": 0.1, **options})


def test_keywords_and_defaults():
    parameters = inspect.signature(train).parameters
    assert list(parameters)[:2] == ["program", "data"]
    for name, parameter in parameters.items():
        if name not in ("program", "data"):
            assert parameter.kind is parameter.KEYWORD_ONLY
    for name in ("epochs", "learning_rate"):
        assert parameters[name].default is inspect.Parameter.empty
    found = {name: parameters[name].default for name in DEFAULTS}
    assert found == DEFAULTS


def test_a_line_is_learned():
    run = train(line, line_data(100), epochs=300, learning_rate=0.5)
    assert run.weights["slope"] == pytest.approx(3, abs=1e-5)
    assert run.weights["offset"] == pytest.approx(1, abs=1e-5)
    assert {w.dtype.name for w in run.weights.values()} == {"float32"}
    assert {w.shape for w in run.weights.values()} == {()}


@WORLDS
@pytest.mark.parametrize("batch", [None, 10])
def test_the_report_is_complete_and_true(ranks, batch):
    run = train(
        net,
        net_data(53),
        epochs=3,
        batch=batch,
        block=4,
        learning_rate=0.1,
        seed=5,
        world=world_of(ranks),
    )
    report = run.report
    for key, kind in REPORT.items():
        assert isinstance(report[key], kind), key
    steps = 3 * (1 if batch is None else 6)
    nominal = batch or 53
    right = {
        "ranks": ranks,
        "hosts": [SoloWorld().host],
        "mpi": None,
        "backend": "numpy",
        "bits": "native",
        "bits_differ": [],
        "program": "net",
        "samples": 53,
        "weights": 4 * 4 + 4 + 2 * 4 + 2,
        "block": 4,
        "blocks": math.ceil(nominal / 4),
        "steps": steps,
        "epochs": 3,
        "loss": report["loss_history"][-1],
        "threads": 1,
        "dtype": "float32",
        "seed": 5,
        "weights_sha256": run.digest,
        "recovered_failures": 0,
        "resumed_from_step": None,
    }
    assert {key: report[key] for key in right} == right
    assert len(report["loss_history"]) == 3
    assert 0 < report["seconds"] <= report["seconds_total"]
    assert report["samples_per_second"] == pytest.approx(3 * 53 / report["seconds"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_digest_is_that_of_its_definition(dtype):
    run = train(net, net_data(20), epochs=1, learning_rate=0.1, dtype=dtype)
    assert run.digest == digest(run.weights)
    assert run.digest != digest(run.weights | {"b": run.weights["b"] + 1})


@WORLDS
def test_every_rank_calls_back_after_every_step(ranks):
    calls = []
    data = net_data(53)
    run = train(
        net,
        data,
        epochs=2,
        batch=20,
        learning_rate=lambda step: 0.1 / (step + 1),
        world=world_of(ranks),
        callbacks=[calls.append, calls.append],
    )
    assert set(calls[0].facts()) == {
        *("step", "steps", "epoch", "is_epoch_end", "loss", "samples"),
        *("learning_rate", "seconds", "validation"),
    }
    assert len(calls) == 6 * 2 * ranks
    rows = [
        (r.step, r.epoch, r.samples, round(0.1 / r.learning_rate)) for r in run.history
    ]
    assert rows == [
        (1, 1, 20, 1),
        (2, 1, 20, 2),
        (3, 1, 13, 3),
        (4, 2, 20, 4),
        (5, 2, 20, 5),
        (6, 2, 13, 6),
    ]
    for record in run.history:
        same = [c for c in calls if c.step == record.step]
        assert len(same) == 2 * ranks
        without = [{**asdict(c), "seconds": 0} for c in same]
        assert without == without[:1] * len(without)
    seconds = [record.seconds for record in run.history]
    assert seconds == sorted(seconds)
    epochs = [run.history[:3], run.history[3:]]
    means = [sum(r.loss * r.samples for r in records) / 53 for records in epochs]
    assert run.report["loss_history"] == pytest.approx(means, rel=1e-12)


def test_the_loss_of_a_record_is_that_before_the_step():
    first = short(weights={"slope": np.array(3.0), "offset": np.array(2.0)})
    assert first.history[0].loss == pytest.approx(1)
    assert first.history[1].loss < 1


@WORLDS
@pytest.mark.parametrize("batch", [None, 20])
def test_each_step_is_one_of_loss_and_gradient(ranks, batch):
    """Of a batch's own mean, a short one's too, and at the weights of that step."""
    data = net_data(53)
    inputs = {"x": data["x"], "s": data["s"]}
    run = train(
        warped,
        data,
        epochs=2,
        batch=batch,
        learning_rate=0.1,
        dtype="float64",
        world=world_of(ranks),
    )
    weights = dtrain.init(warped, shapes={"x": (4,)})
    history = []
    for epoch in range(2):
        order = Order(53, batch, seed=0)
        for number in range(order.steps_per_epoch):
            part = order.at(epoch * order.steps_per_epoch + number)
            rows = {name: column[part.rows] for name, column in inputs.items()}
            targets = data["t"][part.rows]
            loss, gradient = dtrain.loss_and_gradient(warped, weights, rows, targets)
            history.append((loss, part.samples))
            weights = {name: w - 0.1 * gradient[name] for name, w in weights.items()}
    found = [(record.loss, record.samples) for record in run.history]
    np.testing.assert_allclose(found, history, rtol=1e-12)
    for name, value in weights.items():
        np.testing.assert_allclose(run.weights[name], value, rtol=1e-10, atol=1e-12)


def test_loss_mean_takes_the_program_s_output():
    x = np.random.default_rng(0).standard_normal((31, 3))
    run = train(
        distance, {"x": x}, loss="mean", epochs=100, learning_rate=0.4, dtype="float64"
    )
    np.testing.assert_allclose(run.weights["centre"], x.mean(axis=0), atol=1e-12)
    assert run.report["loss"] == pytest.approx(x.var(axis=0).sum(), rel=1e-12)


def test_no_epochs_give_the_first_weights():
    run = short(epochs=0, seed=3)
    assert run.history == []
    assert (run.report["steps"], run.report["loss"]) == (0, None)
    assert run.report["loss_history"] == []
    first = dtrain.init(line, seed=3, dtype="float32")
    assert run.digest == digest(first)


def test_the_first_weights_are_init_s():
    run = train(net, net_data(9), epochs=0, learning_rate=1, seed=4, dtype="float64")
    assert run.digest == digest(dtrain.init(net, seed=4, shapes={"x": (4,)}))


@WORLDS
def test_a_warm_start_goes_on(ranks):
    """Plain gradient descent remembers nothing but the weights."""
    whole = short(epochs=5)
    part = short(epochs=2)
    rest = short(epochs=3, weights=part.weights, world=world_of(ranks))
    assert rest.digest == whole.digest
    assert part.digest == digest(part.weights)  # they have not been changed


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"slope": 1.0}, "'offset' is missing"),
        ({"slope": 1.0, "offset": 0.0, "bend": 2.0}, "'bend' is no weight"),
        ({"slope": [1.0], "offset": 0.0}, r"'slope' has shape \(1,\)"),
    ],
)
def test_first_weights_that_do_not_fit(weights, message):
    for world in (SoloWorld(), ThreadWorld(2)):
        with pytest.raises(UsageError, match=message):
            short(weights=weights, world=world)


@pytest.mark.parametrize("rate", [0.1, np.float32(0.1), np.float64(0.1)])
def test_learning_rates_may_be_any_number(rate):
    assert short(learning_rate=rate).history[0].learning_rate == float(rate)
    assert short(learning_rate=rate, epochs=np.int64(2)).report["epochs"] == 2


def test_an_optimizer_is_a_name_or_an_object():
    assert short(optimizer="adam").digest == short(optimizer=optimizers.adam()).digest
    assert short(optimizer="adam").digest != short(optimizer="sgd").digest


TABLES = {
    "loss": losses.LOSSES,
    "optimizer": optimizers.OPTIMIZERS,
    "dtype": DTYPES,
    "execution": EXECUTIONS,
    "backend": BACKENDS,
}


@pytest.mark.parametrize("option", TABLES)
def test_an_unknown_value_is_answered_by_what_there_is(option):
    with pytest.raises(UsageError, match="no") as caught:
        short(**{option: "frobnicate"})
    assert "'frobnicate'" in str(caught.value)
    for name in TABLES[option]:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", -1),
        ("epochs", 1.5),
        ("epochs", True),
        ("batch", 0),
        ("batch", "half"),
        ("block", 0),
        ("block", -3),
        ("threads", 0),
        ("seed", 0.5),
        ("seed", None),
        ("learning_rate", -0.1),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("learning_rate", "fast"),
        ("learning_rate", None),
        ("optimizer", 3),
        ("optimizer", optimizers.sgd),
        ("target", 3),
        ("columns", {"x": 3}),
        ("columns", {3: "x"}),
        ("columns", "x=y"),
        ("world", 3),
    ],
)
def test_a_value_that_means_nothing_is_named(option, value):
    with pytest.raises(UsageError) as caught:
        short(**{option: value})
    assert option in str(caught.value)


@pytest.mark.parametrize("rate", [math.nan, -1.0, math.inf])
def test_a_learning_rate_s_callable_may_not_return_what_is_no_rate(rate):
    for world in (SoloWorld(), ThreadWorld(2)):
        with pytest.raises(UsageError, match="learning rate"):
            short(learning_rate=lambda step: rate, world=world)  # noqa: ARG005


def test_a_plain_function_is_no_program():
    def plain(x):
        return x

    calls = [
        lambda: train(plain, line_data(), epochs=1, learning_rate=0.1),
        lambda: dtrain.loss_and_gradient(plain, {}, [np.ones(3)], np.ones(3)),
        lambda: dtrain.predict(plain, {}, [np.ones(3)]),
        lambda: dtrain.check(plain, [np.ones(3)]),
    ]
    for call in calls:
        with pytest.raises(ProgramError, match=r"plain is not a program.*@program"):
            call()


def test_several_outputs_have_no_loss():
    data = {"x": np.ones((4, 3)), "t": np.ones(4)}
    with pytest.raises(ProgramError, match="high, all"):
        train(both, data, epochs=1, learning_rate=0.1)


def test_loss_mean_needs_one_number():
    with pytest.raises(ProgramError, match=r"'mean'.*\(2,\)"):
        train(net, net_data(5), loss="mean", epochs=1, learning_rate=0.1)


@pytest.mark.parametrize(
    ("rate", "message"),
    [(1e30, "overflowed or became NaN"), (3e38, "the last step"), (1e39, "last step")],
)
@WORLDS
def test_what_is_not_finite_ends_the_run_on_every_rank(rate, message, ranks):
    epochs = 3 if rate < 1e38 else 1
    with pytest.raises(NotFiniteError, match=message) as caught:
        short(learning_rate=rate, epochs=epochs, world=world_of(ranks))
    assert caught.value.agreed
    assert caught.value.exit_code == 70


def test_data_too_large_for_the_dtype_are_not_finite():
    data = {"x": np.full(4, 1e200), "t": np.ones(4)}
    with pytest.raises(NotFiniteError, match="float64"):
        train(line, data, epochs=1, learning_rate=0.1)


def test_of_many_weights_that_are_not_finite_some_are_named():
    @dtrain.program
    def scaled(x):
        return sum(dtrain.weight(f"w{i:02}", init=1.0) for i in range(30)) * x

    data = {"x": np.full(4, 1e38), "t": np.ones(4)}
    with pytest.raises(NotFiniteError, match="w03, w04 and 25 more overflowed"):
        train(scaled, data, epochs=1, learning_rate=0.1)


def test_a_callback_that_raises_ends_the_run_as_it_is():
    def grumble(record):
        if record.step == 2:
            raise KeyError("mine")

    for world in (SoloWorld(), ThreadWorld(3)):
        with pytest.raises(KeyError, match="mine"):
            short(world=world, callbacks=[grumble])


def test_a_program_of_weights_alone_learns_the_mean():
    @dtrain.program
    def constant():
        return dtrain.weight("level", 2)

    t = np.random.default_rng(0).standard_normal((37, 2))
    digests = set()
    for ranks in (1, 2, 5):
        run = train(
            constant,
            {"t": t},
            epochs=60,
            learning_rate=0.4,
            dtype="float64",
            world=world_of(ranks),
        )
        np.testing.assert_allclose(run.weights["level"], t.mean(axis=0), atol=1e-9)
        digests.add(run.digest)
    assert len(digests) == 1


def test_blas_has_the_threads_asked_for_and_then_those_it_had():
    def threads():
        return [
            library["num_threads"]
            for library in threadpool_info()
            if library["user_api"] == "blas"
        ]

    with threadpool_limits(2, user_api="blas"):
        before, during = threads(), []
        assert 2 in before
        for ranks in (1, 4):
            short(world=world_of(ranks), callbacks=[lambda _: during.extend(threads())])
        assert set(during) == {1}
        during.clear()
        short(
            execution="levels",
            threads=4,
            callbacks=[lambda _: during.extend(threads())],
        )
        assert set(during) == {1}  # four run steps, each with one of BLAS's
        assert threads() == before


def test_a_blas_that_is_loaded_after_the_first_run_is_limited_too():
    code = """if True:
        from threadpoolctl import threadpool_info, threadpool_limits
        from dtrain.host.blas import blas_threads

        with blas_threads(1):
            pass
        import scipy.linalg

        with threadpool_limits(2, user_api="blas"), blas_threads(1):
            print({each["num_threads"] for each in threadpool_info()})
    """
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout == "{1}\n"


def test_ranks_share_the_cores_that_they_may_all_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))

    def threads(ranks, **options):
        return short(world=world_of(ranks), **options).report["threads"]

    assert threads(3, execution="levels") == 2
    assert threads(1, execution="dataflow") == 8
    assert threads(1) == 1
    assert threads(3, execution="levels", threads=5) == 5


SOURCES = ("mapping", "npz", "folder", "csv")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same data in every form."""
    folder = tmp_path_factory.mktemp("data")
    data = line_data(41)
    (folder / "npy").mkdir()
    for name, column in data.items():
        np.save(folder / "npy" / f"{name}.npy", column)
    np.savez(folder / "data.npz", **data)
    rows = ["x,t", *(f"{x!r},{t!r}" for x, t in zip(*_lists(data), strict=True))]
    (folder / "data.csv").write_text("\n".join(rows) + "\n")
    return {
        "mapping": data,
        "npz": folder / "data.npz",
        "folder": str(folder / "npy"),
        "csv": folder / "data.csv",
    }


def _lists(data):
    return data["x"].tolist(), data["t"].tolist()


@pytest.mark.parametrize("batch", [None, 12])
def test_data_give_the_same_bits_in_every_form(sources, batch):
    assert set(sources) == set(SOURCES)
    digests = {
        train(
            line,
            sources[form],
            epochs=2,
            batch=batch,
            learning_rate=0.1,
            world=world_of(ranks),
        ).digest
        for form in SOURCES
        for ranks in (1, 3)
    }
    assert len(digests) == 1


def test_the_target_is_t_or_the_one_that_is_left_or_the_one_named():
    data = line_data()
    x, t = data["x"], data["t"]
    usual = short().digest
    assert train(line, {"t": t, "x": x}, epochs=2, learning_rate=0.1).digest == usual
    one_left = {"x": x, "height": t}
    assert train(line, one_left, epochs=2, learning_rate=0.1).digest == usual
    many = {"x": x, "height": t, "t": -t, "other": x}
    named = train(line, many, epochs=2, learning_rate=0.1, target="height")
    assert named.digest == usual
    assert train(line, many, epochs=2, learning_rate=0.1).digest != usual
    del many["t"]
    with pytest.raises(DataError, match="could be any of height, other"):
        train(line, many, epochs=2, learning_rate=0.1)
    with pytest.raises(DataError, match="'depth'"):
        train(line, many, epochs=2, learning_rate=0.1, target="depth")


def test_columns_bind_an_input_to_another_column_or_a_range():
    data = net_data(11)
    columns = {f"x{i}": data["x"][:, i] for i in range(4)}
    spread = {**columns, "scale": data["s"], "t": data["t"]}
    run = train(
        net,
        spread,
        columns={"x": "x0:x3", "s": "scale"},
        epochs=1,
        learning_rate=0.1,
    )
    assert run.digest == train(net, data, epochs=1, learning_rate=0.1).digest
