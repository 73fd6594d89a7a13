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
    from dtrain import zoo
    from dtrain.descent import losses, optimizers, penalties, schedules
    from dtrain.functions.own import base_function
    from dtrain.parallel.mpi import MPIWorld
    from dtrain.parallel.world import SoloWorld, ThreadWorld
    from dtrain.program import initializers, layers
    from dtrain.program.trace import named, program, scope
    from dtrain.program.weights import init, weight
    from dtrain.training.check import check
    from dtrain.training.evaluate import loss_and_gradient
    from dtrain.training.folder import load
    from dtrain.training.prediction import predict
    from dtrain.training.run import Run, StepRecord
    from dtrain.training.train import train

__version__ = "0.1.0.dev0"

_HOMES = {
    "MPIWorld": "dtrain.parallel.mpi",
    "Run": "dtrain.training.run",
    "SoloWorld": "dtrain.parallel.world",
    "StepRecord": "dtrain.training.run",
    "ThreadWorld": "dtrain.parallel.world",
    "base_function": "dtrain.functions.own",
    "check": "dtrain.training.check",
    "init": "dtrain.program.weights",
    "load": "dtrain.training.folder",
    "loss_and_gradient": "dtrain.training.evaluate",
    "named": "dtrain.program.trace",
    "predict": "dtrain.training.prediction",
    "scope": "dtrain.program.trace",
    "train": "dtrain.training.train",
    "weight": "dtrain.program.weights",
}
_MODULES = {
    "initializers": "dtrain.program.initializers",
    "layers": "dtrain.program.layers",
    "losses": "dtrain.descent.losses",
    "optimizers": "dtrain.descent.optimizers",
    "penalties": "dtrain.descent.penalties",
    "program": "dtrain.program",
    "schedules": "dtrain.descent.schedules",
    "zoo": "dtrain.zoo",
}

__all__ = [
    "MPIWorld",
    "Run",
    "SoloWorld",
    "StepRecord",
    "ThreadWorld",
    "base_function",
    "check",
    "init",
    "initializers",
    "layers",
    "load",
    "loss_and_gradient",
    "losses",
    "named",
    "optimizers",
    "penalties",
    "predict",
    "program",
    "schedules",
    "scope",
    "train",
    "weight",
    "zoo",
]

if os.environ.get("DTRAIN_BITS") == "portable":  # as early as any code of ours can
    from dtrain.training import bits

    bits.pin()
    del bits


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
