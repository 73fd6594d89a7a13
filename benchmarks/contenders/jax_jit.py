"""JAX: the whole step compiled by XLA; with several ranks, a mesh of processes."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from benchmarks.contenders import share
from benchmarks.contenders.array_models import Library, in_order, loss_of
from benchmarks.workloads import Case

jax.config.update("jax_platforms", "cpu")


def unstack(w: Any) -> list[Any]:
    """Split a vector in one operation, whose gradient is one concatenation."""
    return jax.lax.split(w, [1] * len(w))


LIBRARY = Library(jnp, jax.nn.sigmoid, jax.nn.relu, unstack)


class Contender:
    """Weights on the device and a compiled step that updates them in place."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        jax.config.update("jax_enable_x64", case.dtype == "float64")
        if size > 1:
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
            jax.distributed.initialize(meeting, size, rank)
        mesh = Mesh(np.array(jax.devices()), ("batch",))
        by_sample = NamedSharding(mesh, PartitionSpec("batch"))
        everywhere = NamedSharding(mesh, PartitionSpec())
        place = jax.make_array_from_process_local_data
        self.case = case
        self.columns = [
            place(by_sample, column) if size > 1 else jax.device_put(column)
            for column in in_order(case, share(case, rank, size))
        ]
        self.values = {
            name: place(everywhere, w) if size > 1 else jax.device_put(w)
            for name, w in case.weights().items()
        }
        differentiate = jax.value_and_grad(loss_of(case, LIBRARY))

        @partial(jax.jit, donate_argnums=0)
        def step(weights: Any, columns: Any) -> Any:
            loss, gradient = differentiate(weights, columns)
            moved = jax.tree.map(lambda w, g: w - case.rate * g, weights, gradient)
            return moved, loss

        self.step = step if case.rate else jax.jit(differentiate)
        self.gradient: Any = None

    def run(self, steps: int) -> None:
        """Run steps; XLA may still be at work when a call returns, so wait."""
        step, columns, values = self.step, self.columns, self.values
        if self.case.rate:
            for _ in range(steps):
                values, _ = step(values, columns)
            self.values = jax.block_until_ready(values)
        else:
            for _ in range(steps):
                _, self.gradient = step(values, columns)
            jax.block_until_ready(self.gradient)

    def outcome(self) -> dict[str, NDArray[Any]]:
        """The weights, or the gradient."""
        values = self.values if self.case.rate else self.gradient
        return {name: np.array(value) for name, value in values.items()}
