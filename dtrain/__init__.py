"""Train parameterized programs on 1 to P ranks, with the same bits.

The public names are imported when they are first used: ``import dtrain`` itself loads
neither NumPy nor MPI, so that a command can still choose threads and processor
features before NumPy reads them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dtrain import zoo
    from dtrain.data.columns import Dataset
    from dtrain.descent import losses, optimizers, schedules
    from dtrain.engine.check import check
    from dtrain.engine.evaluate import loss_and_gradient, predict
    from dtrain.functions.base import base_function
    from dtrain.parallel.mpi import MPIWorld
    from dtrain.parallel.world import SoloWorld, ThreadWorld
    from dtrain.program import layers
    from dtrain.program.trace import named, program, scope
    from dtrain.program.weights import init, weight
    from dtrain.training.run import Run, StepRecord, load
    from dtrain.training.trainer import train

__version__ = "0.1.0.dev0"
