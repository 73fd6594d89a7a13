"""All that a doctor finds, in the order in which one thing leads to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dtrain.doctor import hosts, launch
from dtrain.doctor.facts import Facts, Finding

RULES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    *(launch.library, launch.ranks, launch.cores, launch.slots, launch.losses),
    *(hosts.memory, hosts.bits, hosts.clocks, hosts.links, hosts.folder),
)


def findings(facts: Facts) -> list[Finding]:
    """Everything that the facts say."""
    return [finding for rule in RULES for finding in rule(facts)]
