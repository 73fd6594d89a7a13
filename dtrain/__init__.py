"""Train parameterized programs on 1 to P ranks, with the same bits.

The public names are imported when they are first used: ``import dtrain`` itself loads
neither NumPy nor MPI, so that a command can still choose threads and processor
features before NumPy reads them.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dtrain import errors, zoo
    from dtrain.checkpoint.folder import load
    from dtrain.data.ragged import ragged
    from dtrain.descent import losses, optimizers, penalties, schedules
    from dtrain.diagnose.check import check
    from dtrain.functions.custom import base_function
    from dtrain.problem.evaluate import evaluate, loss_and_gradient, predict
    from dtrain.problem.objective import objective
    from dtrain.tracing import initializers, layers
    from dtrain.tracing.graph import FlowGraph
    from dtrain.tracing.present import present
    from dtrain.tracing.trace import Program, named, program, scope
    from dtrain.tracing.weights import init, weight
    from dtrain.training.run import Run, Step
    from dtrain.training.train import train
    from dtrain.training.values import Checkpoint, Validation
    from dtrain.worlds.local import SoloWorld, ThreadWorld
    from dtrain.worlds.mpi import MPIWorld
    from dtrain.worlds.opening import open_world

__version__ = "0.1.0.dev0"

_HOMES = {
    "Checkpoint": "dtrain.training.values",
    "FlowGraph": "dtrain.tracing.graph",
    "MPIWorld": "dtrain.worlds.mpi",
    "Program": "dtrain.tracing.trace",
    "Run": "dtrain.training.run",
    "SoloWorld": "dtrain.worlds.local",
    "Step": "dtrain.training.run",
    "ThreadWorld": "dtrain.worlds.local",
    "Validation": "dtrain.training.values",
    "base_function": "dtrain.functions.custom",
    "check": "dtrain.diagnose.check",
    "evaluate": "dtrain.problem.evaluate",
    "init": "dtrain.tracing.weights",
    "load": "dtrain.checkpoint.folder",
    "loss_and_gradient": "dtrain.problem.evaluate",
    "named": "dtrain.tracing.trace",
    "objective": "dtrain.problem.objective",
    "open_world": "dtrain.worlds.opening",
    "predict": "dtrain.problem.evaluate",
    "present": "dtrain.tracing.present",
    "program": "dtrain.tracing.trace",
    "ragged": "dtrain.data.ragged",
    "scope": "dtrain.tracing.trace",
    "train": "dtrain.training.train",
    "weight": "dtrain.tracing.weights",
}
_MODULES = {
    "errors": "dtrain.errors",
    "initializers": "dtrain.tracing.initializers",
    "layers": "dtrain.tracing.layers",
    "losses": "dtrain.descent.losses",
    "optimizers": "dtrain.descent.optimizers",
    "penalties": "dtrain.descent.penalties",
    "schedules": "dtrain.descent.schedules",
    "zoo": "dtrain.zoo",
}

__all__ = [
    "Checkpoint",
    "FlowGraph",
    "MPIWorld",
    "Program",
    "Run",
    "SoloWorld",
    "Step",
    "ThreadWorld",
    "Validation",
    "base_function",
    "check",
    "errors",
    "evaluate",
    "init",
    "initializers",
    "layers",
    "load",
    "loss_and_gradient",
    "losses",
    "named",
    "objective",
    "open_world",
    "optimizers",
    "penalties",
    "predict",
    "present",
    "program",
    "ragged",
    "schedules",
    "scope",
    "train",
    "weight",
    "zoo",
]

if os.environ.get("DTRAIN_BITS") == "portable":  # as early as any code of ours can
    from dtrain.host import pinning

    pinning.pin()
    del pinning


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = importlib.import_module(_MODULES[name])
    elif name in _HOMES:
        home = importlib.import_module(_HOMES[name])
        value = home.__dict__[name]
    else:
        raise AttributeError(f"module 'dtrain' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
