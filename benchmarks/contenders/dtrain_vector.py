"""dtrain on the vector view of an MLP that others are given edge by edge."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contenders import dtrain_trainer
from benchmarks.workloads import Case


class Contender(dtrain_trainer.Contender):
    """The trainer, with the MLP as products of matrices."""

    def __init__(self, case: Case, rank: int, size: int, meeting: str) -> None:
        super().__init__(replace(case, model="mlp"), rank, size, meeting)
