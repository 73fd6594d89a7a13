"""What is not finite is traced to its first node: its line, its row, and its part."""

import inspect
import math
import re

import numpy as np
import pytest

from dtrain import (
    ThreadWorld,
    base_function,
    layers,
    optimizers,
    program,
    train,
    weight,
)
from dtrain.engine.engine import BACKENDS
from dtrain.errors import NotFiniteError
from dtrain.reduction.blocks import share
from tests.training.programs import line, line_data, net, net_data, saving

ROWS = 40
BAD = 17
BLOCK = 4
USUAL = {"epochs": 3, "learning_rate": 0.1, "block": 4}


def one(bad, rest=1.0):
    """A column that has one bad row."""
    x = np.full(ROWS, rest)
    x[BAD] = bad
    return x


@program
def logarithm(x):
    a = weight("w", init=1.0) * x
    return np.log(a)  # HERE


@program
def chosen_by_one_where(x):
    a = weight("w", init=1.0) * x
    return np.where(x > 0, np.log(a), 0)  # HERE


@program
def chosen_by_the_first_where(x):
    unused = np.where(x > 5, np.log(x - 1), 0)  # log 0, in every row
    a = weight("w", init=1.0) * x
    return np.sqrt(a - 2) + unused  # HERE


@program
def root(x):
    return np.sqrt(weight("w", init=1.0) * x)  # HERE


@program
def product(x):
    v = np.stack([x, x])
    return np.sum(np.full((2, 2), 2e38) @ v) * weight("w")  # HERE


@program
def edge_by_edge(x):
    """Neurons that are alike, and become one array, on lines of their own."""
    hidden = []
    hidden.append(np.exp(weight("w0", init=1.0) * x + weight("b0", init=0.0)))
    hidden.append(np.exp(weight("w1", init=2.0) * x + weight("b1", init=0.0)))
    hidden.append(np.exp(weight("w2", init=9.0) * x + weight("b2", init=0.0)))  # HERE
    hidden += [np.exp(weight(f"w{i}", init=1.0) * x) for i in range(3, 40)]
    return sum(weight(f"u{i}", init=0.1) * h for i, h in enumerate(hidden))


@base_function
def ratio(a, b):
    return a / b


@program
def of_a_base_function(x):
    return ratio(weight("w", init=1.0), x)  # HERE


@program
def masked(x):
    mask = np.where(np.stack([x > 0, x > 0]), 0, -np.inf)
    shares = layers.softmax(mask + weight("w", 2, init=1.0))  # HERE
    return np.sum(shares)


@program
def beside_a_mask(x):
    scores = np.stack([weight("w", init=1.0) * x, x]) + np.array([0, -np.inf])
    return np.sum(np.exp(scores))  # HERE


@program
def of_an_infinity(x):
    return weight("w") * x + np.inf  # HERE


@program
def too_large_for_a_square(x):
    return weight("w", init=1.0) * x  # HERE


@program
def shared_by_all(x):
    return np.log(weight("w", init=-1.0)) * x  # HERE


CASES = [
    (logarithm, one(-3.0), ["log of -3 is nan", "forward"]),
    (chosen_by_one_where, one(0.0), ["divide of", "backward", "function of log at"]),
    (chosen_by_the_first_where, one(1.0, 2.5), ["sqrt of -1 is nan", "forward"]),
    (root, one(0.0), ["divide of", "backward", "the transfer function of sqrt at"]),
    (product, one(1.0, 0.0), ["a sum of products", "finite values is inf", "forward"]),
    (edge_by_edge, one(10.0), ["exp of 90 is inf", "forward"]),
    (of_a_base_function, one(0.0), ["divide of 1 and 0 is inf", "forward"]),
    (masked, one(-1.0), ["softmax of infinite values is nan", "forward"]),
    (beside_a_mask, one(100.0), ["exp of 100 is inf", "forward"]),
    (too_large_for_a_square, one(1e20), ["square of -1e+20", "the loss 'square'"]),
]


def line_of(each):
    """The line that is marked."""
    lines, first = inspect.getsourcelines(each.function)
    (marked,) = (first + i for i, text in enumerate(lines) if "# HERE" in text)
    return f"test_finite.py:{marked}"


def told(each, data, ranks=1, **options):
    """The message of a run that ends because something is not finite."""
    options = {**USUAL, **options}
    with pytest.raises(NotFiniteError) as caught:
        train(each, data, world=ThreadWorld(ranks), **options)
    assert caught.value.agreed
    assert caught.value.exit_code == 70
    return str(caught.value)


@pytest.mark.parametrize(
    ("each", "x", "says"), CASES, ids=[each.name for each, _, _ in CASES]
)
def test_the_first_node_is_named_with_line_row_block_and_rank(each, x, says):
    data = {"x": x, "t": np.zeros(ROWS)}
    message = told(each, data)
    for text in (
        *says,
        f"{line_of(each)}, in the mapping",
        f"row {BAD + 1}, block {BLOCK}",
    ):
        assert text in message
    assert "rank 0" in message
    for ranks in (2, 3, 7):
        (rank,) = (i for i in range(ranks) if BLOCK in share(10, i, ranks))
        other = told(each, data, ranks)
        assert other == message.replace("rank 0", f"rank {rank}")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("each", [logarithm, chosen_by_one_where, edge_by_edge])
def test_what_is_named_does_not_depend_on_the_backend(each, backend):
    x = next(x for case, x, _ in CASES if case is each)
    data = {"x": x, "t": np.zeros(ROWS)}
    message = told(each, data, backend=backend)
    assert f"{line_of(each)}, in the mapping of arrays: row 18, block 4" in message


def test_the_lowest_block_is_told_of_whoever_has_it():
    x = np.ones(ROWS)
    x[[9, 21, 39]] = -1
    for ranks in (1, 3, 10):
        assert "row 10, block 2" in told(logarithm, {"x": x, "t": x}, ranks)


def test_rows_of_a_batch_are_those_of_the_data():
    message = told(logarithm, {"x": one(-1.0), "t": np.ones(ROWS)}, batch=10)
    assert f"row {BAD + 1}, block" in message


def test_a_file_s_line_is_named(tmp_path):
    rows = [f"{x},1" for x in one(-1.0)]
    text = "\n".join(["x,t", "", *rows])
    (tmp_path / "data.csv").write_text(text + "\n")
    assert "data.csv: row 18 (line 20), block 4" in told(
        logarithm, tmp_path / "data.csv"
    )


def test_what_all_samples_share_has_no_row():
    message = told(shared_by_all, {"x": np.ones(ROWS), "t": np.ones(ROWS)})
    assert f"{line_of(shared_by_all)}, in block 0, rank 0" in message


def test_an_infinity_in_the_program_is_told_of_where_nothing_else_is():
    message = told(of_an_infinity, {"x": np.ones(ROWS), "t": np.ones(ROWS)})
    assert "a constant that is not finite, forward" in message
    assert line_of(of_an_infinity) in message


def test_sums_that_overflow_only_over_all_blocks_are_told_of():
    @program
    def linear(x):
        return weight("w", init=0.0) * x

    data = {"x": np.full(ROWS, 2e37)}
    for ranks in (1, 3):
        message = told(linear, data, ranks, loss="mean")
        assert "each of the 10 blocks is finite by itself, but not their" in message
    message = told(linear, {"x": np.full(ROWS, 2e38)}, loss="mean")
    assert "of finite values is inf" in message
    assert "in block 0, rank 0" in message


def test_data_that_the_dtype_cannot_hold_are_told_of():
    message = told(line, {"x": one(1e200), "t": np.ones(ROWS)})
    assert "input 'x' is too large for float32" in message
    assert "row 18" in message


def test_a_penalty_is_told_of_with_its_line():
    def penalty(w):
        return np.log(w["offset"])  # the offset is -0.5

    marked = inspect.getsourcelines(penalty)[1] + 1
    message = told(line, line_data(), penalty=penalty)
    assert "log of -0.5 is nan, forward" in message
    assert f"test_finite.py:{marked}, in the penalty" in message


def test_weights_that_were_not_finite_before_are_named():
    for choice in ("stop", "skip"):
        message = told(
            line, line_data(), learning_rate=1e39, batch=2, on_nonfinite=choice
        )
        assert "the step before made weights that are not finite: offset" in message


# Skipping


def skipping(each, data, ranks=1, **options):
    options = {**USUAL, "batch": 5, "on_nonfinite": "skip", **options}
    return train(each, data, world=ThreadWorld(ranks), **options)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_is_skipped_by_all_ranks_alike(optimizer, caplog):
    data = {"x": one(-1.0), "t": np.ones(ROWS)}
    seen = []
    for ranks in (1, 2, 3):
        caplog.clear()
        run = skipping(logarithm, data, ranks, optimizer=optimizer)
        warning, at_the_end = caplog.messages
        assert at_the_end == run.report["warnings"][0]
        assert re.search(r"^step \d is skipped: .*log of -1.* row 18, block", warning)
        assert run.report["skipped_steps"] == 3  # the bad row's, once an epoch
        assert run.report["steps"] == len(run.history) == 24
        assert sum(math.isnan(record.loss) for record in run.history) == 3
        assert all(math.isfinite(loss) for loss in run.report["loss_history"])
        seen.append((run.digest, run.report["loss_history"]))
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "lamb"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_squares_that_overflow_end_the_run(optimizer, backend):
    """Divided by the root of an infinite second moment, every step would be 0."""
    x = np.linspace(0.5, 1, 64) * 1e10
    data = {"x": x, "t": 3 * x}
    options = {"loss": "square", "optimizer": optimizer, "backend": backend}
    text = told(line, data, ranks=3, **options)
    assert "the derivatives of " in text
    assert "float32 holds squares of numbers up to 1.8e+19" in text
    assert "--dtype float64" in text
    skipped = told(line, data, on_nonfinite="skip", **options)
    assert "too large for the optimizer" in skipped
    options = USUAL | options
    assert train(line, data, **options | {"dtype": "float64"}).report["steps"] > 0
    clipped = {"optimizer": getattr(optimizers, optimizer)(clip_norm=1.0)}
    run = train(line, data, **options | clipped)
    assert run.report["skipped_steps"] == 0


def test_a_skipped_step_changes_nothing_but_the_count():
    """Without the bad row, the same steps are taken, at the same rates."""
    data = {"x": one(-1.0, 2.0), "t": np.ones(ROWS)}
    rates = []

    def rate(step):
        rates.append(step)
        return 0.1

    options = {"optimizer": "adam", "epochs": 1, "batch": 4}
    run = skipping(logarithm, data, learning_rate=rate, **options)
    assert run.report["skipped_steps"] == 1
    assert rates[-10:] == list(range(10))
    good = {"x": np.full(36, 2.0), "t": np.ones(36)}
    other = train(logarithm, good, learning_rate=0.1, block=4, **options)
    assert other.digest == run.digest


def test_a_run_that_skips_goes_on_from_a_checkpoint(tmp_path):
    data = {"x": one(-1.0), "t": np.ones(ROWS)}
    whole = skipping(logarithm, data)
    skipping(logarithm, data, epochs=1, checkpoint=tmp_path)
    rest = skipping(logarithm, data, 3, **saving(tmp_path, resume=True))
    assert rest.digest == whole.digest
    for key in ("skipped_steps", "steps", "loss_history"):
        assert rest.report[key] == whole.report[key]


def test_skipping_for_ever_is_an_error(caplog):
    data = {"x": one(-1.0), "t": np.ones(ROWS)}
    for ranks in (1, 3):
        message = told(logarithm, data, ranks, on_nonfinite="skip")
        assert "log of -1 is nan" in message
    x = np.full(ROWS, -1.0)
    told(logarithm, {"x": x, "t": x}, batch=5, on_nonfinite="skip")
    assert [text[:17] for text in caplog.messages] == ["step 1 is skipped"]


def test_where_all_is_finite_there_is_no_difference():
    options = {"epochs": 2, "batch": 16, "learning_rate": 0.1}
    digests = {
        train(net, net_data(53), on_nonfinite=choice, **options).digest
        for choice in ("stop", "skip")
    }
    assert len(digests) == 1


def test_messages_name_lines_and_not_files_of_ours():
    for each, x, _ in CASES:
        message = told(each, {"x": x, "t": np.zeros(ROWS)})
        assert re.findall(r"(\w+)\.py", message) == ["test_finite"]
