"""Evaluate a program at one point: all values, all adjoints, and sums over paths.

The lecture computes v_X = ∂Output/∂X at every point X ("Efficient computation of all
derivatives"): the sum, over the readers of X, of the results of their transfer
functions. Each edge's transfer function is a small graph (`dtrain.explain.pieces`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.drawing.notation import Parts, joined
from dtrain.errors import ProgramError
from dtrain.explain.pieces import Piece, transfers
from dtrain.gradient.differentiate import differentiate
from dtrain.gradient.paths import Edge, Path, SumOverPaths, evaluate
from dtrain.problem.evaluate import loss_and_gradient
from dtrain.problem.predict import predict
from dtrain.tracing.expand import expand
from dtrain.tracing.graph import FlowGraph
from dtrain.tracing.trace import Program

LISTED = 60
"""If a weight has more paths, they are counted, not listed."""
_EDGES = 1 << 15  # the most edges in all listed paths together
_ENTRIES = 1 << 20  # the most entries in all Jacobians together


class Explanation:
    """All values and derivatives at one point, forward and backward.

    Args:
        program: the program.
        graph: its graph, traced for the shapes of the inputs.
        inputs: a value for each input, of one sample.
        weights: a value for each weight.
        output: the output to differentiate; required if there are several.

    Attributes:
        graph: the graph that is explained. Functions without a transfer function are
            replaced by their definitions.
        end: the number of the differentiated node.
        values: the value of each node.
        adjoints: v_X of each node X that the output depends on, by number. If the
            output is an array, v_X is the derivative of the sum of its elements.
        passed: the adjoint that each edge passes back.
        transfers: the transfer function of each of these edges.

    Raises:
        ProgramError: the output is ambiguous, or a custom transfer function does not
            fit.
        DataError: the value of an input is invalid.
    """

    def __init__(
        self,
        program: Program,
        graph: FlowGraph,
        inputs: Mapping[str, Any],
        weights: Mapping[str, Any],
        output: str | None = None,
    ) -> None:
        name = output or ", ".join(graph.outputs)
        if name not in graph.outputs:
            listed = ", ".join(graph.outputs)
            raise ProgramError(
                f"{graph.name} has the outputs {listed}: choose one with --output"
            )
        differentiate(graph, name)  # checks custom transfer functions
        self.graph = expand(graph, only_without_vjp=True)
        self.end = self.graph.outputs[name]
        outputs, gradient = _by_engine(program, graph, inputs, weights)
        whole = {
            key: np.asarray(value, np.intp)
            for key, value in inputs.items()
            if graph.nodes[graph.inputs[key]].dtype == "int"
        }
        self.given = {**inputs, **whole, **weights}
        with np.errstate(all="ignore"):
            self.values = evaluate(self.graph, self.given)
            for key, value in outputs.items():
                self.values[self.graph.outputs[key]] = np.asarray(value)
            self.transfers: dict[Edge, Piece] = {}
            self.passed: dict[Edge, NDArray[Any]] = {}
            self.adjoints: dict[int, NDArray[Any]] = {}
            self._walk_back()
        for key, derivative in gradient.items():
            self.adjoints[self.graph.weights[key]] = derivative

    def _walk_back(self) -> None:
        nodes = self.graph.nodes
        self.adjoints[self.end] = np.ones(nodes[self.end].shape)
        for number in range(self.end, -1, -1):
            if number not in self.adjoints:
                continue
            given = {
                ("v", number): self.adjoints[number],
                **{("x", i): self.values[i] for i in (number, *nodes[number].inputs)},
            }
            for index, transfer in transfers(self.graph, number).items():
                leaves = {key: given[leaf] for key, leaf in transfer.leaves.items()}
                passed = evaluate(transfer.graph, leaves)[transfer.graph.output]
                edge, source = Edge(number, index), nodes[number].inputs[index]
                self.transfers[edge], self.passed[edge] = transfer, passed
                before = self.adjoints.get(source)
                self.adjoints[source] = passed if before is None else before + passed

    @property
    def scalar(self) -> bool:
        """Whether every value is a scalar."""
        return all(node.shape == () for node in self.graph.nodes)

    def gradient(self, weight: str) -> NDArray[Any]:
        """Return the back-propagated derivative by a weight; 0 if it has no effect."""
        number = self.graph.weights[weight]
        shape = self.graph.nodes[number].shape
        return self.adjoints.get(number, np.zeros(shape))

    def arriving(self, number: int) -> list[Edge]:
        """Return the edges that pass an adjoint to a node, in the graph's order."""
        return self._arriving.get(number, [])

    @cached_property
    def _arriving(self) -> dict[int, list[Edge]]:
        found: dict[int, list[Edge]] = {}
        for edge in sorted(self.transfers):
            source = self.graph.nodes[edge.node].inputs[edge.input]
            found.setdefault(source, []).append(edge)
        return found

    def adjoint_parts(self, number: int) -> Parts:
        """Return v_X in terms of the readers of X: ``v_C · W1 + v_D · W2``."""
        if number == self.end:
            return ("1",)
        return joined([self.transfers[edge].parts for edge in self.arriving(number)])

    @cached_property
    def point(self) -> SumOverPaths:
        """The sums over paths at this point."""
        with np.errstate(all="ignore"):
            return SumOverPaths(self.graph, self.given, self.end)

    @cached_property
    def paths(self) -> dict[str, list[Path] | str]:
        """The paths from each weight; or the reason why they are not multiplied."""
        left, found = _EDGES, dict[str, list[Path] | str]()
        small = self._entries(range(len(self.values))) <= _ENTRIES
        for name, number in self.graph.weights.items():
            if self.point.paths.count(number) > LISTED:
                found[name] = "too many to multiply"
            elif left < 0:
                found[name] = "not multiplied: the paths of other weights fill the list"
            elif small or self._entries(self._after(number)) <= _ENTRIES:
                found[name] = paths = list(self.point.paths.all(number))
                left -= sum(map(len, paths))
            else:
                found[name] = "whose Jacobians are too large to multiply"
        return found

    def _after(self, start: int) -> list[int]:
        """Return the nodes on paths from a node to the end, without the first one."""
        reached, nodes = {start}, self.graph.nodes
        for number in range(start + 1, self.end + 1):
            if self.point.paths.count(number) and reached & {*nodes[number].inputs}:
                reached.add(number)
        return sorted(reached - {start})

    def _entries(self, numbers: Iterable[int]) -> int:
        """Return the number of entries in the Jacobians of nodes by all inputs."""
        sizes, nodes = [value.size for value in self.values], self.graph.nodes
        return sum(sizes[n] * sizes[i] for n in numbers for i in nodes[n].inputs)

    def product(self, path: Path) -> NDArray[Any]:
        """Return the product of derivatives along a path, summed over the output."""
        with np.errstate(all="ignore"):
            product = self.point.product(path)
        over = tuple(range(self.values[self.end].ndim))
        return np.asarray(np.sum(product, axis=over))


def _by_engine(
    program: Program,
    graph: FlowGraph,
    inputs: Mapping[str, Any],
    weights: Mapping[str, Any],
) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    """Return the outputs as training computes them, and the gradient of a scalar one.

    They are shown instead of the results of the plain definitions, because the engine
    may add in another order, so the last digits can differ. The engine also checks the
    inputs, such as the range of an index.
    """
    if not inputs:
        return {}, {}
    sample = {key: np.asarray(value)[None] for key, value in inputs.items()}
    if [graph.nodes[i].shape for i in graph.outputs.values()] == [()]:
        loss, gradient = loss_and_gradient(program, weights, sample, loss="mean")
        return dict.fromkeys(graph.outputs, loss), gradient
    found = predict(program, weights, sample)
    outputs = found if isinstance(found, dict) else dict.fromkeys(graph.outputs, found)
    return {key: value[0] for key, value in outputs.items()}, {}
