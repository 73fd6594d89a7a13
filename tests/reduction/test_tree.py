"""Blocks and subtrees cover each sample and block once, with maximal subtrees."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtrain.reduction.blocks import block_count, share
from dtrain.reduction.tree import fold, subtrees

LAW = settings(max_examples=300)


def covered(node: tuple[int, int], count: int) -> range:
    level, index = node
    return range(index << level, min((index + 1) << level, count))


@LAW
@given(st.integers(0, 300), st.data())
def test_subtrees_cover_a_range_exactly_with_few_maximal_nodes(count, data):
    first = data.draw(st.integers(0, count))
    last = data.draw(st.integers(first, count))
    nodes = subtrees(first, last, count)
    assert [n for node in nodes for n in covered(node, count)] == [*range(first, last)]
    if nodes:
        assert len(nodes) <= 2 * math.log2(count) + 1
    for level, index in nodes:
        parent = covered((level + 1, index // 2), count)
        is_root = len(covered((level, index), count)) == count
        assert is_root or parent.start < first or parent.stop > last


@LAW
@given(st.integers(1, 200), st.data())
def test_fold_adds_in_tree_order_however_the_range_is_cut(count, data):
    cut = data.draw(st.lists(st.integers(0, count), max_size=5))
    ends = [0, *sorted(cut), count]

    def parenthesize(nodes, items):
        return fold(
            zip(nodes, items, strict=True),
            keep=lambda x: x,
            add=lambda a, b: f"({a}{b})",
        )

    letters = [f"<{number}>" for number in range(count)]
    whole = parenthesize([(0, number) for number in range(count)], letters)
    pieces = [
        (node, parenthesize([(0, n) for n in covered(node, count)], parts))
        for first, last in pairwise(ends)
        for node in subtrees(first, last, count)
        for parts in [[letters[n] for n in covered(node, count)]]
    ]
    assert parenthesize(*zip(*pieces, strict=True)) == whole


def test_the_order_of_additions_of_seven_blocks():
    numbers = range(7)
    order = fold((((0, n), n) for n in numbers), lambda x: x, lambda a, b: (a, b))
    assert order == (((0, 1), (2, 3)), ((4, 5), 6))


@LAW
@given(st.integers(0, 500), st.integers(1, 40))
def test_each_block_has_one_rank_in_order(count, size):
    owned = [share(count, rank, size) for rank in range(size)]
    assert [number for own in owned for number in own] == [*range(count)]
    lengths = [len(own) for own in owned]
    assert max(lengths) == math.ceil(count / size)


@LAW
@given(st.integers(1, 500), st.integers(1, 40))
def test_the_blocks_of_a_rank_are_few_subtrees(count, size):
    """No more subtrees than with an even distribution of blocks."""
    most = math.ceil(count / size)
    brought = [
        len(subtrees(own.start, own.stop, count))
        for own in (share(count, rank, size) for rank in range(size))
    ]
    even = [
        len(subtrees(count * rank // size, count * (rank + 1) // size, count))
        for rank in range(size)
    ]
    assert sum(brought) <= sum(even)
    if most & (most - 1) == 0:
        assert max(brought) == 1


def test_the_last_block_may_be_short():
    assert [block_count(samples, 4) for samples in (0, 1, 4, 10)] == [0, 1, 1, 3]


@pytest.mark.parametrize(("samples", "block"), [(-1, 4), (3, 0)])
def test_invalid_numbers_of_samples_and_blocks_are_refused(samples, block):
    with pytest.raises(ValueError, match="cannot cut"):
        block_count(samples, block)
