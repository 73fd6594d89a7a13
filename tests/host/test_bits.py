"""Weights have the same bits on any number of ranks."""

import re

import numpy as np
import pytest

from dtrain import SoloWorld, ThreadWorld, optimizers, schedules, train
from dtrain.errors import NotFiniteError
from dtrain.problem.outputs import Outputs
from dtrain.problem.samples import as_samples
from dtrain.reduction.blocks import share
from tests.training.programs import net, net_data

OPTIMIZERS = {
    "adam": optimizers.adam(),
    "adamw": optimizers.adamw(),
    "lamb": optimizers.lamb(weight_decay=0.1),
    "rmsprop": optimizers.rmsprop(momentum=0.5),
    "sgd": optimizers.sgd(momentum=0.9, nesterov=True, clip_norm=0.5, weight_decay=0.1),
}


def test_every_optimizer_is_tested():
    assert set(OPTIMIZERS) == set(optimizers.OPTIMIZERS)


def trained(world, samples, **options):
    options = {"epochs": 2, "learning_rate": 0.05, **options}
    return train(net, net_data(samples), world=world, **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [None, 24], ids=["full", "mini"])
@pytest.mark.parametrize("samples", [101, 3])
def test_any_number_of_ranks_gives_the_bits_of_one(samples, batch, dtype, name):
    options = {"batch": batch, "dtype": dtype, "optimizer": OPTIMIZERS[name]}
    options["block"] = 5
    alone = trained(SoloWorld(), samples, **options)
    for ranks in (2, 3, 7):
        run = trained(ThreadWorld(ranks), samples, **options)
        assert run.digest == alone.digest
        assert run.report["loss_history"] == alone.report["loss_history"]


@pytest.mark.parametrize(("block", "batch"), [(None, None), (4, 17), (1000, 17)])
def test_1_to_16_ranks_with_any_block_size(block, batch):
    digests = {
        trained(ThreadWorld(ranks), 53, block=block, batch=batch, epochs=1).digest
        for ranks in range(1, 17)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("samples", [1, 2, 7, 8, 9, 15, 16, 17])
def test_short_last_blocks_and_batches(samples):
    digests = {
        trained(ThreadWorld(ranks), samples, block=4, batch=8).digest
        for ranks in (1, 2, 3, 5, 8)
    }
    assert len(digests) == 1


OTHERS = {
    "seed": {"seed": 1},
    "block": {"block": 7},
    "batch": {"batch": 25},
    "full batch": {"batch": None},
    "dtype": {"dtype": "float64"},
    "optimizer": {"optimizer": "adam"},
    "learning rate": {"learning_rate": 0.0501},
    "schedule": {"learning_rate": schedules.cosine(0.05, steps=10)},
    "epochs": {"epochs": 3},
    "samples": {"samples": 102},
}


def test_different_runs_have_different_digests():
    usual = {"samples": 101, "block": 5, "batch": 24}
    runs = {"usual": usual} | {name: usual | other for name, other in OTHERS.items()}
    digests = {
        name: trained(ThreadWorld(3), **options).digest
        for name, options in runs.items()
    }
    assert len(set(digests.values())) == len(digests), digests
    assert trained(ThreadWorld(2), **usual).digest == digests["usual"]


def test_the_loss_is_no_mean_of_the_means_of_ranks():
    """With 4 samples on 3 ranks the mean of the means of ranks is different."""
    data = net_data(4)
    data["t"][3] += 100  # the samples of the ranks must differ, or all means agree
    alone = train(net, data, epochs=1, learning_rate=0.01, block=1, dtype="float64")
    run = train(
        net,
        data,
        epochs=1,
        learning_rate=0.01,
        block=1,
        dtype="float64",
        world=ThreadWorld(3),
    )
    first = run.history[0]
    assert first.samples == 4
    assert first.loss == alone.history[0].loss
    assert run.digest == alone.digest


def test_predictions_have_the_same_bits_on_any_rank():
    data = net_data(53)
    weights = train(net, data, epochs=1, learning_rate=0.1).weights
    samples = as_samples(net, {"x": data["x"], "s": data["s"]}, None)
    prediction = Outputs(net, samples, weights)
    (whole,) = prediction.rows(0, 53).values()
    for size in (2, 3, 7, 60):
        parts = []
        for rank in range(size):
            rows = share(53, rank, size)
            (part,) = prediction.rows(rows.start, rows.stop).values()
            parts.append(part)
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_an_overflow_raises_the_same_error_on_any_number_of_ranks():
    seen = []
    for world in (SoloWorld(), ThreadWorld(3)):
        with pytest.raises(NotFiniteError, match="overflowed") as caught:
            trained(world, 20, epochs=50, learning_rate=1e6)
        seen.append(re.sub(r", rank \d", "", str(caught.value)))
    assert seen[0] == seen[1]
