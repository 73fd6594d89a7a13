"""A batch's blocks: every sample once, whatever the ranks and the stacks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtrain import program, weight
from dtrain.data.order import Batch
from dtrain.problem.shard import Shard, default_block


@settings(max_examples=300)
@given(
    samples=st.integers(1, 500),
    block=st.integers(1, 60),
    size=st.integers(1, 12),
    stack=st.sampled_from([1, 2, 8, 64]),
)
def test_ranks_own_every_sample_once_in_order(samples, block, size, stack):
    batch = Batch(0, slice(0, samples), samples)
    rows, number = 0, 0
    for rank in range(size):
        for part in Shard(rank, size, block, stack).blocks(batch):
            assert part.number == number
            assert part.rows.start == rows
            number, rows = number + part.count, part.rows.stop
            assert part.rows.stop - part.rows.start == part.count * part.length
            assert part.count <= stack
            assert part.length == block or (part.count == 1 and rows == samples)
    assert rows == samples
    assert number == Shard(0, 1, block).count(batch)


@program
def straight(x):
    return x @ weight("W", (784, 10))


@program
def through_views(x):
    return weight("W", (10, 28, 28)).reshape(10, 784).T.T @ x


def test_a_weight_read_through_views_is_read_all_the_same():
    blocks = {
        default_block(each.trace(x=784), 4096) for each in (straight, through_views)
    }
    assert len(blocks) == 1


@pytest.mark.parametrize("batch", [1, 7, 100, 1000, 1437, 4096, 10**6])
def test_a_block_is_no_larger_than_its_batch(batch):
    for each in (straight, through_views):
        assert 1 <= default_block(each.trace(x=784), batch) <= batch


def test_a_block_divides_the_batch_if_one_nearby_does():
    @program
    def small(x):
        return np.sin(weight("w") * x)

    assert 1000 % default_block(small.trace(), 1000) == 0


def test_views_of_views_are_each_looked_at_once():
    """Else a chain of turns, each of two parts, would have 2ⁿ ways through it."""

    @program
    def turned(x):
        for _ in range(40):
            x = np.roll(x, 1)
        return weight("W", (2, 4)) @ x

    assert default_block(turned.trace(x=4), 64) > 0
