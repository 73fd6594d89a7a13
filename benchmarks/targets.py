"""What the measurements must show, and what they do show."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.alone import FIRST_STEP, GROWTH, OVERHEADS, STARTUP, per_call
from benchmarks.contenders.sgemm import FLOPS
from benchmarks.lineup import COMPILED
from benchmarks.workloads import CASES, Case

Results = Mapping[str, Any]  # of one case, by contender
SOONER = 100.0  # than a compiler's first step
PEERS = ("torch eager", *COMPILED, "jax.jit")


@dataclass(frozen=True)
class Target:
    """A row of the table.

    Attributes:
        case: the case's name.
        claim: what is compared, for people.
        bound: what the measured value must reach, or with ``most`` not exceed.
        values: the value in every round, from the case's results.
        most: whether less is better.
        unit: of value and bound; nothing for ratios.
    """

    case: str
    claim: str
    bound: float
    values: Callable[[Results], list[float]]
    most: bool = False
    unit: str = ""

    def measured(self, results: Results) -> float | None:
        """The values' median; ``None`` if a contender was not there or failed.

        The best of several is the best only if all of them took part.
        """
        try:
            return statistics.median(self.values(results))
        except (KeyError, ValueError):  # ValueError: none of several
            return None

    def met(self, measured: float) -> bool:
        """Tell whether a value is good enough."""
        return measured <= self.bound if self.most else measured >= self.bound


def paired(results: Results, theirs: str, ours: str = "dtrain") -> list[float]:
    """One contender's time over another's, in every round."""
    a, b = results[theirs]["seconds"], results[ours]["seconds"]
    return [x / y for x, y in zip(a, b, strict=True)]


def _over(theirs: str, ours: str = "dtrain") -> Callable[[Results], list[float]]:
    return lambda results: paired(results, theirs, ours)


def _over_best(
    peers: Sequence[str], ours: str = "dtrain"
) -> Callable[[Results], list[float]]:
    def ratios(results: Results) -> list[float]:
        best = min(
            (peer for peer in peers if "seconds" in results[peer]),
            key=lambda peer: statistics.median(results[peer]["seconds"]),
        )
        return paired(results, best, ours)

    return ratios


def _share_of_sgemm(flops: int) -> Callable[[Results], list[float]]:
    return lambda results: [ratio * flops / FLOPS for ratio in paired(results, "sgemm")]


def _first(*peers: str) -> Callable[[Results], list[float]]:
    def ratios(results: Results) -> list[float]:
        found = [results[peer] for peer in peers]
        ratio = min(each["first"] for each in found) / results["dtrain"]["first"]
        # A peer that ran out of time would have taken longer: a lower bound.
        if ratio < SOONER and any("failed" in each for each in found):
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
                Target(case.name, "first step, jax.jit", SOONER, _first("jax.jit")),
                Target(
                    case.name,
                    "first step, torch.compile",
                    SOONER,
                    _first(*COMPILED),
                ),
            ]
    (edges,) = names["W8"]
    targets += [
        Target(edges.name, "the vector view", 0.67, _over("dtrain vector")),
        Target(edges.name, "torch eager", 100.0, _over("torch eager")),
    ]
    return [
        *targets,
        *_targets_fused(names),
        *_targets_on_ranks(names),
        *_targets_alone(),
    ]


def _targets_fused(names: Mapping[str, Sequence[Case]]) -> Iterator[Target]:
    """Those of the fused backend: a peer's time over its time."""
    ours = "dtrain fused"

    def over(case: Case, least: float, *peers: str, what: str = "") -> Target:
        claim = f"fused: {what or peers[0]}"
        return Target(case.name, claim, least, _over_best(peers, ours))

    float32, float64 = names["W1"]
    for case, compiled, jax in ((float32, 3.0, 5.0), (float64, 2.5, 4.0)):
        for peer in COMPILED:
            yield over(case, compiled, peer)
        yield over(case, jax, "jax.jit")
    small, large = names["W3"]
    for case in names["W2"]:
        yield over(case, 1.0, *PEERS, what="the best peer")
    yield over(small, 1.2, *PEERS, what="the best peer")
    yield over(large, 1.0, *PEERS, what="the best peer")
    for case in names["W4"]:
        if case.nodes == 600:
            yield over(case, 1.5, *COMPILED, what="better torch.compile")
            yield over(case, 20.0, "torch eager")
            yield Target(
                case.name,
                "fused: first step, nothing compiled before",
                3.0,
                lambda results: [results[ours]["first"]],
                most=True,
                unit=" s",
            )
    (edges,) = names["W8"]
    yield over(edges, 100.0, "torch eager")


def _targets_on_ranks(names: Mapping[str, Sequence[Case]]) -> Iterator[Target]:
    wide, small, large, tiny = names["W5"]
    for case, least in ((wide, 1.2), (small, 6.0), (tiny, 15.0)):
        for peer in ("torch DDP", "torch all_reduce"):
            ratios = _over(f"{peer} ×2", "dtrain ×2")
            yield Target(case.name, f"{peer}, two ranks each", least, ratios)
    for case in (wide, large):
        scaling = _over("dtrain", "dtrain ×2")
        yield Target(case.name, "one rank over two", 1.8, scaling)
        crowded = _over("dtrain ×4", "dtrain ×2")
        yield Target(
            case.name, "four ranks over two, on two cores", 1.2, crowded, most=True
        )
    for case in names["W6"]:
        claims = ((1.0, "MPI_Allreduce"),)
        if case.samples == 670_000 and case.ranks == 2:
            claims = ((4.0, "MPI_Allreduce"), (20.0, "gloo"))
        for least, peer in claims:
            ranks = f" ×{case.ranks}"
            ratios = _over(peer + ranks, "dtrain's sum" + ranks)
            yield Target(case.name, peer, least, ratios)


def _targets_alone() -> Iterator[Target]:
    yield Target(
        STARTUP,
        "process start to the first step's end",
        0.5,
        lambda results: results[FIRST_STEP]["seconds"],
        most=True,
        unit=" s",
    )
    yield Target(
        GROWTH,
        "growth of memory",
        100,  # some pages, none of them a step's
        lambda results: [max(found["grown"] for found in results.values()) / 1e3],
        most=True,
        unit=" KB",
    )
    for name in OVERHEADS:
        yield Target(
            name,
            "a call, beyond NumPy's own",
            0.1,
            lambda results: [1e6 * seconds for seconds in per_call(results)],
            most=True,
            unit=" µs",
        )


TARGETS: Sequence[Target] = _targets()
