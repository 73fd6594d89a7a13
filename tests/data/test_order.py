"""The order of samples: complete, seeded and fixed."""

from __future__ import annotations

import numpy as np
import pytest

from dtrain.data.order import Order, permutation
from dtrain.errors import DataError, UsageError


def rows(order: Order, epoch: int) -> list[list[int]]:
    whole, first = np.arange(order.samples), epoch * order.steps_per_epoch
    steps = range(first, first + order.steps_per_epoch)
    return [whole[order.at(step).rows].tolist() for step in steps]


@pytest.mark.parametrize(
    ("samples", "seed", "epoch", "expected"),
    [
        (8, 0, 0, [5, 4, 0, 3, 7, 6, 2, 1]),
        (8, 0, 1, [7, 3, 1, 4, 2, 5, 0, 6]),
        (8, 1, 0, [7, 2, 0, 1, 3, 6, 4, 5]),
        (12, -3, 7, [3, 4, 6, 2, 8, 1, 9, 7, 0, 10, 5, 11]),
    ],
)
def test_the_permutation_never_changes(
    samples: int, seed: int, epoch: int, expected: list[int]
) -> None:
    assert permutation(samples, seed, epoch).tolist() == expected


@pytest.mark.parametrize("batch", [1, 3, 5, 10, 11, 100])
@pytest.mark.parametrize("samples", [1, 10])
def test_every_epoch_visits_every_sample_once(samples: int, batch: int) -> None:
    order = Order(samples, batch, seed=4)
    for epoch in range(3):
        batches = rows(order, epoch)
        assert sorted(row for part in batches for row in part) == list(range(samples))
        assert len(batches) == order.steps_per_epoch
        assert {len(part) for part in batches[:-1]} <= {order.nominal}
        assert 1 <= len(batches[-1]) <= order.nominal


def test_epochs_and_seeds_differ_and_repeat() -> None:
    once = {
        (seed, epoch): rows(Order(50, 7, seed), epoch)
        for seed in (-1, 0, 1, 2**70)
        for epoch in range(3)
    }
    assert len({str(batches) for batches in once.values()}) == len(once)
    for (seed, epoch), batches in once.items():
        assert rows(Order(50, 7, seed), epoch) == batches


def test_full_batch_is_the_file_order() -> None:
    order = Order(6, None, seed=3)
    batch = order.at(2)
    assert (batch.rows, len(batch), batch.number) == (slice(0, 6), 6, 0)
    assert (order.nominal, order.steps_per_epoch) == (6, 1)


def test_a_batch_does_not_depend_on_earlier_calls() -> None:
    steps = range(20)
    order = Order(10, 3, seed=0)
    forward = [order.at(step).rows.tolist() for step in steps]
    backward = [order.at(step).rows.tolist() for step in reversed(steps)]
    fresh = [Order(10, 3, seed=0).at(step).rows.tolist() for step in steps]
    assert forward == backward[::-1] == fresh
    assert [order.at(step).number for step in range(18, 24)] == [2, 3, 0, 1, 2, 3]


@pytest.mark.parametrize("batch", [None, 4])
def test_the_parts_of_a_batch_form_the_batch(batch: int | None) -> None:
    whole = np.arange(10)
    order = Order(10, batch, seed=0)
    for part in map(order.at, range(order.steps_per_epoch)):
        middle = len(part) // 2
        halves = [whole[part.take(0, middle)], whole[part.take(middle, len(part))]]
        np.testing.assert_array_equal(np.concatenate(halves), whole[part.rows])


def test_invalid_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="batch is 0: give the samples per step"):
        Order(10, 0, seed=0)
    with pytest.raises(DataError, match="no samples"):
        Order(0, None, seed=0)
