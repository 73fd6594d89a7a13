"""The contenders: classes that can run a case, a file for each library's way.

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

# The module of each, and its class where that is not called Contender.
MODULES = {
    "dtrain": "dtrain_trainer",
    "dtrain fused": "dtrain_fused",
    "dtrain vector": "dtrain_vector",
    "torch eager": "torch_eager",
    "torch.compile": "torch_compile",
    "torch.compile step": "torch_compile_step",
    "torch DDP": "torch_ddp",
    "torch all_reduce": "torch_all_reduce",
    "jax.jit": "jax_jit",
    "autograd": "hips_autograd",
    "sgemm": "sgemm",
    "dtrain's sum": "mpi_sums:InPlace",
    "dtrain's, copied": "mpi_sums:Copied",
    "MPI_Allreduce": "mpi_sums:Allreduce",
    "gloo": "gloo_sum",
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
    """Import a contender's class."""
    module, _, kind = MODULES[name].partition(":")
    imported = importlib.import_module(f"benchmarks.contenders.{module}")
    return getattr(imported, kind or "Contender")


def by_mpirun(name: str) -> bool:
    """Tell whether a contender's ranks are started by an MPI library's launcher."""
    return name.startswith(("dtrain", "MPI"))


def pin(case: Case, name: str, rank: int, size: int) -> None:
    """Keep this process on one of the cores that the case may use.

    With gloo a rank has a thread that computes and one that sends; on one core they
    get in each other's way, so such ranks are kept on the cores of all of them. So are
    ranks for which there are too few cores.
    """
    cores = sorted(os.sched_getaffinity(0))[: case.cores or None]
    one_each = size <= len(cores) and (size == 1 or by_mpirun(name))
    os.sched_setaffinity(0, {cores[rank]} if one_each else cores[:size])


def share(case: Case, rank: int, size: int) -> dict[str, NDArray[Any]]:
    """A rank's equal part of a batch, for libraries that leave this to the user."""
    columns = case.columns()
    return {name: np.split(column, size)[rank] for name, column in columns.items()}


def own_vector(case: Case, rank: int) -> NDArray[Any]:
    """What a rank brings to a sum."""
    return np.random.default_rng(rank).uniform(-1, 1, case.samples).astype(case.dtype)
