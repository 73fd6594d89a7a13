"""dtrain: a step of its trainer, on the world that the process was started in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.wiring import INPUTS
from benchmarks.workloads import Case
from dtrain import layers, program, weight
from dtrain.tracing.trace import Program
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer
from dtrain.worlds.opening import open_world


class Contender:
    """A trainer and its one batch."""

    backend = "numpy"

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        del meeting  # MPI knows
        settings = Settings(
            epochs=1 << 20,  # more than any case takes
            learning_rate=case.rate,
            target="t",
            dtype=case.dtype,
            backend=self.backend,
        )
        world = open_world()
        if (world.rank, world.size) != (rank, size):
            raise RuntimeError(f"rank {rank} of {size} is {world.rank} of {world.size}")
        weights = case.weights()
        if case.model == "wiring":
            weights = {f"w{k:04}": w for k, w in enumerate(weights["w"])}
        if case.model == "edges":
            weights = {
                _edge(name, place): value
                for name, array in weights.items()
                for place, value in np.ndenumerate(array)
            }
        self.case = case
        self.trainer = Trainer(
            world, program_of(case), case.columns(), settings, weights
        )
        self.batch = self.trainer.order.at(0)

    def run(self, steps: int) -> None:
        """Run steps."""
        trainer, batch, rate = self.trainer, self.batch, self.case.rate
        for _ in range(steps):
            trainer.step(batch, rate)

    def outcome(self) -> dict[str, NDArray[Any]]:
        """The weights, or the gradient that the last step has left."""
        trainer = self.trainer
        if not self.case.rate:
            return dict(trainer.evaluator.total.values)
        values = trainer.weights.copies()
        if self.case.model == "wiring":
            return {"w": np.array(list(values.values()))}
        if self.case.model == "edges":
            return {
                name: np.reshape(
                    [values[_edge(name, place)] for place in np.ndindex(w.shape)],
                    w.shape,
                )
                for name, w in self.case.weights().items()
            }
        return values


def program_of(case: Case) -> Program:
    """A case's model as a program of one sample."""
    made = {
        "lecture": lambda _: lecture,
        "mlp": _mlp,
        "edges": _edges,
        "wiring": _wired,
    }
    return made[case.model](case)


def _edge(name: str, place: tuple[int, ...]) -> str:
    """The scalar weight that is an element of a weight of the vector view."""
    return ".".join((name, *(f"{i:03}" for i in place)))


@program
def lecture(p: Any, q: Any) -> Any:
    """The lecture's running example."""
    W0, W1, W2 = weight("W0"), weight("W1"), weight("W2")
    b = np.sin(W0 * p) + q
    return np.tanh(W1 * b) * layers.sigmoid(W2 * b)


def _mlp(case: Case) -> Program:
    activate = {"tanh": np.tanh, "relu": layers.relu}[case.activation]
    *hidden, out = case.widths[1:]

    @program
    def mlp(x: Any) -> Any:
        for k, units in enumerate(hidden):
            x = activate(layers.dense(x, units, name=f"layer{k}"))
        return layers.dense(x, out, name=f"layer{len(hidden)}")

    return mlp


def _edges(case: Case) -> Program:
    activate = {"tanh": np.tanh, "relu": layers.relu}[case.activation]
    last = len(case.widths) - 2

    @program
    def mlp(x: Any) -> Any:
        values = list(x)
        for k, units in enumerate(case.widths[1:]):
            sums = []
            for i in range(units):
                total = weight(_edge(f"layer{k}.b", (i,)))
                for j, value in enumerate(values):
                    total = total + weight(_edge(f"layer{k}.W", (i, j))) * value
                sums.append(total)
            values = sums if k == last else [activate(total) for total in sums]
        return np.stack(values)

    return mlp


def _wired(case: Case) -> Program:
    functions = {"tanh": np.tanh, "sin": np.sin, "sigmoid": layers.sigmoid}

    @program
    def wired(x: Any) -> Any:
        values = [x[i] for i in range(INPUTS)]
        for node in case.wiring.nodes:
            a, *b = (values[i] for i in node.inputs)
            w = weight(f"w{node.weight:04}") if node.weight >= 0 else None
            if node.function == "add":
                values.append(a + w * b[0])
            elif node.function == "multiply":
                values.append(a * b[0])
            else:
                values.append(functions[node.function](w * a))
        return values[-1]

    return wired
