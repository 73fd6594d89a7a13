"""Derive all findings from facts, in order of cause and effect, and print them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

from dtrain.doctor import host_rules, launch_rules
from dtrain.doctor.facts import NOTE, WRONG, Facts, Finding

RULES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    launch_rules.library,
    launch_rules.ranks,
    launch_rules.cores,
    launch_rules.restrictions,
    launch_rules.losses,
    host_rules.memory,
    host_rules.arithmetic,
    host_rules.clocks,
    host_rules.messages,
    host_rules.folder,
)


def findings(facts: Facts) -> list[Finding]:
    """Return the findings of all rules."""
    return [finding for rule in RULES for finding in rule(facts)]


def print_findings(found: Sequence[Finding]) -> None:
    """Print findings, each command on its own line, so that it can be copied."""
    width = max(len(each.subject) for each in found)
    for each in found:
        print(f"{each.level:5}  {each.subject:{width}}  {each.text}")
        if each.command:
            print(f"{'':5}  {'':{width}}  $ {each.command}")
    wrong, notes = (sum(x.level == level for x in found) for level in (WRONG, NOTE))
    print(f"{wrong} wrong, {notes} worth knowing")
    sys.stdout.flush()
