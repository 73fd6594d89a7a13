"""Who takes part in which case; the first is what the others are compared with."""

from __future__ import annotations

from benchmarks.workloads import Case

Contenders = list[tuple[str, int]]  # name, and on how many ranks

COMPILED = ("torch.compile", "torch.compile step")
_SOLO: Contenders = [
    ("dtrain", 1),
    ("dtrain fused", 1),
    ("torch eager", 1),
    *((name, 1) for name in COMPILED),
    ("jax.jit", 1),
]
_LINEUPS: dict[str, Contenders] = {
    "W1": [*_SOLO, ("autograd", 1)],
    "W2": [*_SOLO, ("sgemm", 1)],
    "W3": [*_SOLO, ("autograd", 1)],
    "W4": _SOLO,
    "W5": [
        ("dtrain", 2),
        ("dtrain", 1),
        ("dtrain", 4),
        ("torch DDP", 2),
        ("torch all_reduce", 2),
        ("torch eager", 1),
        ("jax.jit", 2),
        ("jax.jit", 1),
    ],
    "W8": [
        ("dtrain", 1),
        ("dtrain fused", 1),
        ("dtrain vector", 1),
        ("torch eager", 1),
    ],
}
_SUMS = ("dtrain's sum", "dtrain's, copied", "MPI_Allreduce", "gloo")
MOST_COMPILED = 600  # nodes


def lineup(case: Case) -> Contenders:
    """The contenders of a case."""
    if case.workload == "W6":
        return [(name, case.ranks) for name in _SUMS]
    if case.nodes > MOST_COMPILED:
        return [("dtrain", 1), ("dtrain fused", 1), ("torch eager", 1)]
    return _LINEUPS[case.workload]


def note(case: Case) -> str:
    """What a reader should know about who takes part."""
    if case.nodes > MOST_COMPILED:
        return (
            "torch.compile and jax.jit are left out: their first step takes minutes "
            f"at {MOST_COMPILED} nodes already, and grows faster than the graph."
        )
    return ""
