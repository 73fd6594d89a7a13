"""The contenders: one file for each, with a class ``Contender``.

A contender is made for a case and a rank, which is where it traces, plans or compiles;
then it runs steps, and shows what they led to.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import Case

MODULES = {
    "dtrain": "dtrain_trainer",
    "dtrain fused": "dtrain_fused",
    "torch eager": "torch_eager",
    "torch.compile": "torch_compile",
    "torch.compile step": "torch_compile_step",
    "torch DDP": "torch_ddp",
    "jax.jit": "jax_jit",
    "autograd": "hips_autograd",
    "sgemm": "sgemm",
}

# One thread for each rank, whatever a library reads its number of threads from.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


class Contender(Protocol):
    """A library's way to run a case."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        """Prepare one of ``size`` ranks; they find each other at ``meeting``."""

    def run(self, steps: int) -> None:
        """Run so many steps, to their end."""

    def outcome(self) -> dict[str, NDArray[Any]]:
        """The weights now, by name; for a case without steps the gradient."""


def load(name: str) -> Any:
    """Import a contender's module."""
    return importlib.import_module(f"benchmarks.contenders.{MODULES[name]}")


def pin(rank: int) -> None:
    """Keep this process on one of the cores that it may use, by rank."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})


def share(case: Case, rank: int, size: int) -> dict[str, NDArray[Any]]:
    """A rank's equal part of a batch, for libraries that leave this to the user."""
    columns = case.columns()
    return {name: np.split(column, size)[rank] for name, column in columns.items()}
