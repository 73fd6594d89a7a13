"""A random irregular graph of scalar nodes, as a list that every contender builds from.

Each node takes a value that nobody has used yet, so that little is left over at the
end, and perhaps any earlier one, which makes skip connections. Weights are fewer than
nodes, so they are shared.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

INPUTS = 32
_UNARY = ("tanh", "sin", "sigmoid")
_BINARY = ("add", "multiply")


@dataclass(frozen=True)
class Node:
    """A function of one or two earlier values.

    ``tanh``, ``sin`` and ``sigmoid`` of w·a; ``add``: a + w·b; ``multiply``: a·b.

    Attributes:
        function: its name.
        inputs: which values: first the graph's inputs, then the nodes, in order.
        weight: which weight is w; -1 without.
    """

    function: str
    inputs: tuple[int, ...]
    weight: int = -1


@dataclass(frozen=True)
class Wiring:
    """The graph: its output is the last node.

    Attributes:
        nodes: in topological order.
        weights: how many weights there are.
    """

    nodes: tuple[Node, ...]
    weights: int


def wiring(count: int, seed: int = 7) -> Wiring:
    """The graph of so many nodes."""
    rng = random.Random(seed)  # noqa: S311  (no secret)
    numbers: dict[int, int] = {}  # of weights, in order of first use
    nodes: list[Node] = []
    unused = list(range(INPUTS))

    def add(function: str, *inputs: int) -> None:
        for i in set(inputs) & set(unused):
            unused.remove(i)
        unused.append(INPUTS + len(nodes))
        drawn = rng.randrange(count // 3)
        weight = (
            -1 if function == "multiply" else numbers.setdefault(drawn, len(numbers))
        )
        nodes.append(Node(function, inputs, weight))

    while len(nodes) + len(unused) <= count:
        a, last = rng.choice(unused), INPUTS + len(nodes)
        b = rng.randrange(max(0, last - rng.choice((40, 40, 40, last))), last)
        if a == b or rng.random() < 0.5:
            add(rng.choice(_UNARY), a)
        else:
            add(rng.choice(_BINARY), a, b)
    while len(unused) > 1:  # join what is left over
        add("add", *unused[:2])
    return Wiring(tuple(nodes), len(numbers))
