"""The flow graph of a program: immutable data, nodes in one topological order.

A node comes after its inputs, in the order in which the program made them (lecture,
"Parameterized program as flow graph"). Every rank gets the same order, because nothing
here depends on sets or addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dtrain.tracing.node import CONSTANT, Node, WeightSpec
from dtrain.tracing.printing import counted, lines, listed


@dataclass(frozen=True, eq=False)
class FlowGraph:
    """The run of a program as immutable data.

    Attributes:
        name: the program's name.
        nodes: in topological order; a node's number is its index here.
        inputs: node numbers of the inputs, by name, in the program's order.
        weights: node numbers of the weights, by name, in order of appearance; those of
            a vector of scalars (`SCALARS`) under one name.
        specs: shape and initialiser of each weight, by name.
        outputs: node numbers of the outputs, by name.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: Mapping[str, int]
    weights: Mapping[str, int]
    specs: Mapping[str, WeightSpec]
    outputs: Mapping[str, int]

    @property
    def output(self) -> int:
        """The node number of the only output."""
        (number,) = self.outputs.values()
        return number

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Node numbers by level: the leaves, then nodes that need only earlier levels.

        All nodes of a level may run in parallel (lecture, "Execution models").
        """
        depth: list[int] = []
        for node in self.nodes:
            depth.append(1 + max((depth[i] for i in node.inputs), default=-1))
        levels: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
        for number, level in enumerate(depth):
            levels[level].append(number)
        return tuple(map(tuple, levels))

    def needed(self) -> list[bool]:
        """Return the numbers of the nodes that some output depends on."""
        needed = [False] * len(self.nodes)
        for number in self.outputs.values():
            needed[number] = True
        for number in range(len(self.nodes) - 1, -1, -1):
            if needed[number]:
                for i in self.nodes[number].inputs:
                    needed[i] = True
        return needed

    def __str__(self) -> str:
        """Return one line for each node: name or number, shape, function and inputs."""
        return "\n".join(lines(self))

    def __repr__(self) -> str:
        """Return one line; ``print`` shows a line for each node."""
        functions = sum(
            bool(node.inputs) or node.function is CONSTANT for node in self.nodes
        )
        weights = listed(list(self.specs)) or "none"
        return (
            f"<FlowGraph {self.name}({', '.join(self.inputs)}): "
            f"{counted(functions, 'function')}, weights {weights}>"
        )
