"""What the measurements must show, and what they do show."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contenders.sgemm import FLOPS
from benchmarks.workloads import CASES, Case

Results = Mapping[str, Any]  # of one case, by contender
COMPILED = ("torch.compile", "torch.compile step")
FIRST_STEP = 100.0  # how much sooner than a compiler
PEERS = ("torch eager", *COMPILED, "jax.jit")


@dataclass(frozen=True)
class Target:
    """A row of the table.

    Attributes:
        case: the start of the case's name.
        claim: what is compared, for people.
        least: what the ratio must reach.
        ratios: the ratio in every round, from the case's results.
    """

    case: str
    claim: str
    least: float
    ratios: Callable[[Results], list[float]]

    def measured(self, results: Results) -> float | None:
        """The ratios' median; ``None`` if a contender was not there or failed.

        The best of several is the best only if all of them took part.
        """
        try:
            return statistics.median(self.ratios(results))
        except (KeyError, ValueError):  # ValueError: none of several
            return None


def paired(results: Results, theirs: str, ours: str = "dtrain") -> list[float]:
    """One contender's time over another's, in every round."""
    a, b = results[theirs]["seconds"], results[ours]["seconds"]
    return [x / y for x, y in zip(a, b, strict=True)]


def _over(theirs: str, ours: str = "dtrain") -> Callable[[Results], list[float]]:
    return lambda results: paired(results, theirs, ours)


def _over_best(peers: Sequence[str]) -> Callable[[Results], list[float]]:
    def ratios(results: Results) -> list[float]:
        best = min(
            (peer for peer in peers if "seconds" in results[peer]),
            key=lambda peer: statistics.median(results[peer]["seconds"]),
        )
        return paired(results, best)

    return ratios


def _share_of_sgemm(flops: int) -> Callable[[Results], list[float]]:
    return lambda results: [ratio * flops / FLOPS for ratio in paired(results, "sgemm")]


def _first(*peers: str) -> Callable[[Results], list[float]]:
    def ratios(results: Results) -> list[float]:
        found = [results[peer] for peer in peers]
        ratio = min(each["first"] for each in found) / results["dtrain"]["first"]
        # A peer that ran out of time would have taken longer: a lower bound.
        if ratio < FIRST_STEP and any("failed" in each for each in found):
            raise ValueError("the time limit was too short to tell")
        return [ratio]

    return ratios


def _targets() -> list[Target]:
    targets = [
        Target("W1 R(p, q), float32", "torch eager", 1.5, _over("torch eager")),
        Target("W1 R(p, q), float32", "jax.jit", 1.3, _over("jax.jit")),
        Target(
            "W1 R(p, q), float32", "better torch.compile", 0.9, _over_best(COMPILED)
        ),
        Target("W1 R(p, q), float64", "torch eager", 0.7, _over("torch eager")),
    ]
    names: dict[str, list[Case]] = defaultdict(list)
    for case in CASES:
        names[case.workload].append(case)
    for case in names["W2"]:
        rate = _share_of_sgemm(case.flops)
        targets += [
            Target(case.name, "the best peer", 1.0, _over_best(PEERS)),
            Target(case.name, "share of the sgemm rate", 0.85, rate),
        ]
    small, large = names["W3"]
    targets += [
        Target(small.name, "torch eager", 2.0, _over("torch eager")),
        Target(small.name, "jax.jit", 0.75, _over("jax.jit")),
        Target(large.name, "torch eager", 1.1, _over("torch eager")),
        Target(large.name, "jax.jit", 0.6, _over("jax.jit")),
    ]
    for case in names["W4"]:
        targets.append(Target(case.name, "torch eager", 5.0, _over("torch eager")))
        if case.nodes == 600:
            targets += [
                Target(case.name, "first step, jax.jit", FIRST_STEP, _first("jax.jit")),
                Target(
                    case.name,
                    "first step, torch.compile",
                    FIRST_STEP,
                    _first(*COMPILED),
                ),
            ]
    ddp = _over("torch DDP ×2", "dtrain ×2")
    scaling = _over("dtrain", "dtrain ×2")
    wide, small, large, tiny = names["W5"]
    return [
        *targets,
        Target(wide.name, "DDP, two ranks each", 1.2, ddp),
        Target(small.name, "DDP, two ranks each", 6.0, ddp),
        Target(tiny.name, "DDP, two ranks each", 15.0, ddp),
        Target(wide.name, "one rank over two", 1.8, scaling),
        Target(large.name, "one rank over two", 1.8, scaling),
    ]


TARGETS: Sequence[Target] = _targets()
