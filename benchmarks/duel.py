"""One case, all its contenders in turns: agreed results first, then paired times."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.group import Failed, Group
from benchmarks.workloads import Case

# Of the largest change (or derivative) of a weight, after a few steps. Float32 sums of
# a million terms in another order differ by far less than a wrong formula would.
TOLERANCE = {"float32": 2e-3, "float64": 1e-9}
COMPARED_STEPS = 2  # and the first


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: turns of each contender.
        seconds: about how long a turn lasts.
        limit: seconds that a contender may take to be made ready, or for anything else.
    """

    rounds: int
    seconds: float
    limit: float


FULL = Effort(rounds=21, seconds=0.25, limit=300)
SHORT = Effort(rounds=2, seconds=0.001, limit=60)


class Disagreement(Exception):
    """A contender computes something else; nothing is timed."""


def duel(
    case: Case, contenders: list[tuple[str, int]], effort: Effort
) -> dict[str, Any]:
    """Run a case.

    Args:
        case: what to run.
        contenders: names, and on how many ranks; the first is what the others are
            compared with.
        effort: how long to measure.

    Returns:
        For each contender the seconds of a step in every round, the seconds to the end
        of the first step, the peak memory, and how far its result is from the first's.

    Raises:
        Disagreement: results differ; Failed: the first contender does not run.
    """
    found: dict[str, dict[str, Any]] = {}
    groups: dict[str, Group] = {}
    try:
        for name, ranks in contenders:
            label = name if ranks == 1 else f"{name} ×{ranks}"
            print(f"  {label}: ", end="", file=sys.stderr, flush=True)
            try:
                group = Group(name, ranks, case, effort.limit)
            except Failed as failed:
                if not groups:
                    raise  # nobody to compare with
                found[label] = {"failed": str(failed)}
                if failed.late:  # at least so long: a lower bound
                    found[label]["first"] = effort.limit
            else:
                groups[label] = group
                found[label] = {"first": group.first}
            print(found[label], file=sys.stderr)
        _compare(case, groups, found)
        steps = {label: _calibrate(group, effort) for label, group in groups.items()}
        for label, count in steps.items():
            found[label] |= {"steps": count, "seconds": []}
        labels = list(groups)
        for turn in range(effort.rounds):
            first = turn % len(labels)  # nobody always follows the same neighbour
            for label in labels[first:] + labels[:first]:
                seconds = groups[label].run(steps[label])
                found[label]["seconds"].append(seconds / steps[label])
        for label in labels:
            found[label]["peak"] = groups.pop(label).end()
    finally:
        for group in groups.values():
            group.kill()
    return found


def _calibrate(group: Group, effort: Effort) -> int:
    """How many steps a turn has."""
    group.run(1)
    seconds, steps = group.run(1), 1
    while seconds < effort.seconds / 4:
        steps *= 2
        seconds = group.run(steps)
    return max(1, round(steps * effort.seconds / seconds))


def _compare(
    case: Case, groups: dict[str, Group], found: dict[str, dict[str, Any]]
) -> None:
    """Hold every contender's result against the first's.

    Raises:
        Disagreement: saying whose differs, where and by how much.
    """
    first = case.weights() if case.rate else dict.fromkeys(case.weights(), 0.0)
    reference: dict[str, Any] = {}
    for label, group in groups.items():
        outcome = group.outcome(COMPARED_STEPS)
        if not outcome:
            continue
        moves = {
            name: np.asarray(outcome[name], float) - np.asarray(first[name], float)
            for name in sorted(first)
        }
        reference = reference or moves
        errors = {
            name: float(np.abs(moves[name] - move).max() / np.abs(move).max())
            for name, move in reference.items()
        }
        worst = max(errors, key=lambda name: errors[name])
        found[label]["error"] = errors[worst]
        if not errors[worst] <= TOLERANCE[case.dtype]:
            raise Disagreement(
                f"{case.name}: {label} moves {worst} otherwise than "
                f"{next(iter(groups))}, by {errors[worst]:.2g} of its largest move"
            )
