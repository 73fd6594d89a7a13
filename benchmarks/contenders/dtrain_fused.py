"""dtrain with its fused backend."""

from __future__ import annotations

from benchmarks.contenders import dtrain_trainer


class Contender(dtrain_trainer.Contender):
    """A trainer whose elementwise steps are native code."""

    backend = "fused"
