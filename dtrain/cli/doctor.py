"""Find what is wrong with ranks, hosts and launcher, and print commands that fix it.

Start it like training, for example `mpirun -n 4 python -m dtrain doctor`. Each finding
is ok, a note, or wrong, with a command that fixes it. The exit code is 1 if something
is wrong.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from dtrain.cli import options
from dtrain.doctor.facts import WRONG
from dtrain.doctor.findings import findings, print_findings
from dtrain.doctor.gather import gather_facts, join
from dtrain.worlds.launch import launched
from dtrain.worlds.world import World

__all__ = ["EXAMPLE", "add_arguments", "join", "run"]

EXAMPLE = "  dtrain doctor"
LIMIT = 30.0  # seconds without progress
GRACE = 0.5  # seconds for rank 0 to print, where each process is alone


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_options(parser, "doctor")


def run(world: World, args: Namespace) -> int:
    """Gather facts on all ranks, print findings on rank 0; return the exit code."""
    facts = gather_facts(world, args.checkpoint, args.timeout)
    found = findings(facts) if world.rank == 0 else []  # others lack measurements
    launch = launched()
    if facts.refused and launch and launch.rank:
        time.sleep(GRACE)
    elif world.rank == 0:
        print_findings(found)
    wrong = any(each.level == WRONG for each in found)
    return max(map(int, world.allgather(b"%d" % wrong)))
