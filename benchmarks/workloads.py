"""The workloads: what is computed, on which data, from which weights.

Everything follows from a seed and NumPy alone, so each contender gets the same. A case
is one batch that lies in memory; a step is a full step of plain gradient descent on it,
or, with rate 0, the loss and the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.wiring import INPUTS, Wiring, wiring

SEED = 20260101


@dataclass(frozen=True)
class Case:
    """One thing to compute.

    Attributes:
        workload: W1 to W8.
        name: unique, for people.
        model: ``lecture``, ``mlp``, ``edges``, which is an MLP with a scalar weight for
            every edge, or ``wiring``; or ``sum``, of one vector a rank.
        samples: samples in the batch; of a sum, the vector's length.
        dtype: ``float32`` or ``float64``.
        rate: the learning rate; 0 for loss and gradient alone.
        widths: of an MLP's layers, the inputs first.
        activation: of an MLP: ``tanh`` or ``relu``.
        nodes: of a wiring.
        ranks: how many take part in a sum.
        mpi: the library that connects ranks.
        cores: how many cores all ranks together may use; 0 for all.
    """

    workload: str
    name: str
    model: str
    samples: int
    dtype: str = "float32"
    rate: float = 0.05
    widths: tuple[int, ...] = ()
    activation: str = "tanh"
    nodes: int = 0
    ranks: int = 1
    mpi: str = "Open MPI"
    cores: int = 0

    @property
    def wiring(self) -> Wiring:
        """The graph of scalar nodes."""
        return wiring(self.nodes)

    @property
    def flops(self) -> int:
        """Multiplications and additions in an MLP's matrix products, in one step."""
        products = [m * n for n, m in zip(self.widths, self.widths[1:], strict=False)]
        return 2 * self.samples * (3 * sum(products) - products[0])

    def columns(self) -> dict[str, NDArray[Any]]:
        """The batch: inputs, first axis the sample, and the target ``t``."""
        rng = np.random.default_rng(SEED)
        n = self.samples
        if self.model == "lecture":
            p, q, noise = rng.uniform(-2, 2, (3, n))
            b = np.sin(0.5 * p) + q
            t = np.tanh(-b) / (1 + np.exp(-2 * b)) + 0.1 * noise
            columns = {"p": p, "q": q, "t": t}
        elif self.widths:
            x = rng.standard_normal((n, self.widths[0]))
            columns = {"x": x, "t": rng.standard_normal((n, self.widths[-1]))}
        elif self.model == "sum":
            columns = {}
        else:
            x = rng.uniform(-1, 1, (n, INPUTS))
            columns = {"x": x, "t": rng.standard_normal(n)}
        return {name: column.astype(self.dtype) for name, column in columns.items()}

    def weights(self) -> dict[str, NDArray[Any]]:
        """First weights; a wiring's scalars as one vector ``w``."""
        rng = np.random.default_rng(SEED + 1)
        if self.model == "lecture":
            weights: dict[str, Any] = {"W0": 0.8, "W1": -0.7, "W2": 1.4}
        elif self.widths:
            weights = {}
            for k, (n, m) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
                weights[f"layer{k}.W"] = rng.standard_normal((m, n)) / np.sqrt(n)
                weights[f"layer{k}.b"] = 0.1 * rng.standard_normal(m)
        elif self.model == "sum":
            weights = {"sum": np.zeros(self.samples)}
        else:
            weights = {"w": rng.uniform(0.5, 1.5, self.wiring.weights)}
        return {name: np.asarray(w, self.dtype) for name, w in weights.items()}


def _mlp(workload: str, widths: tuple[int, ...], samples: int, act: str) -> Case:
    text = "-".join(map(str, widths))
    name = f"{workload} MLP {text} {act}, batch {samples}"
    cores = 2 if workload == "W5" else 0
    return Case(
        workload, name, "mlp", samples, widths=widths, activation=act, cores=cores
    )


def _wiring(nodes: int) -> Case:
    name = f"W4 graph of {nodes} nodes, batch 256"
    rate = min(0.1, 20 / nodes)  # so that none diverges, however many steps it runs
    return Case("W4", name, "wiring", 256, rate=rate, nodes=nodes)


def _sum(length: int, ranks: int, mpi: str) -> Case:
    name = f"W6 sum of {length:,} float32, {ranks} ranks, {mpi}"
    return Case("W6", name, "sum", length, rate=0, ranks=ranks, mpi=mpi)


_LARGE, _SMALL, _TINY = (784, 512, 512, 10), (64, 64, 64, 1), (13, 32, 1)
_EDGES = "W8 MLP 64-64-64-1 edge by edge, batch 256"

CASES = [
    *(
        Case("W1", f"W1 R(p, q), {dtype}", "lecture", 1_000_000, dtype, rate=0)
        for dtype in ("float32", "float64")
    ),
    *(_mlp("W2", _LARGE, 4096, act) for act in ("tanh", "relu")),
    *(_mlp("W3", _SMALL, samples, "tanh") for samples in (256, 4096)),
    *(_wiring(nodes) for nodes in (200, 600, 2000)),
    _mlp("W5", _LARGE, 4096, "tanh"),
    _mlp("W5", _SMALL, 256, "tanh"),
    _mlp("W5", _SMALL, 4096, "tanh"),
    _mlp("W5", _TINY, 128, "tanh"),
    *(
        _sum(length, ranks, mpi)
        for ranks in (2, 4)
        for length in (1_000, 100_000, 670_000, 25_000_000)
        for mpi in ("Open MPI", "MPICH")
    ),
    Case("W8", _EDGES, "edges", 256, widths=_SMALL, activation="tanh"),
]


def short(case: Case) -> Case | None:
    """The same in small, for a check that everything works and agrees.

    None where that would be the same as another case's.
    """
    if case.nodes > 200 or (case.workload == "W5" and case.widths != _LARGE):
        return None
    if case.workload == "W3" and case.samples > 256:
        return None
    if case.model == "sum" and (case.samples > 1000 or case.ranks > 2):
        return None
    samples = min(case.samples, 1000 if case.model == "lecture" else 64)
    widths = tuple(min(n, 24) for n in case.widths)
    nodes = min(case.nodes, 60)
    return replace(case, samples=samples, widths=widths, nodes=nodes)
