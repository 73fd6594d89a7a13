"""Recover from lost ranks: the survivors redo the interrupted work; none is lost.

Collective work ends in one verdict of all survivors. If a rank was lost in it, the
survivors form a smaller world and redo the work. Training continues from the newest
step that any of them has completed. Blocks are cut and added as before, so the weights
have the same bits as without the loss.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TypeVar

from dtrain.errors import RankLostError
from dtrain.training.run import Step
from dtrain.training.trainer import Trainer
from dtrain.worlds.verdict import agreed
from dtrain.worlds.world import World

T = TypeVar("T")
LOG = logging.getLogger("dtrain")


def recovering(
    world: World, work: Callable[[], T], again: Callable[[], None] = lambda: None
) -> T:
    """Do collective work, and redo it whenever a rank is lost in it; collective.

    Args:
        world: the ranks; lost ones leave it.
        work: what all ranks do; doing it twice must have the result of doing it once.
        again: called before the work is redone; ranks may be lost in it, too.

    Raises:
        RankLostError: a rank is lost, and this world cannot continue without it.
    """
    begin: Callable[[], None] | None = None
    while True:
        error: BaseException | None = None
        done = True
        try:
            if begin is not None:
                begin()
            result = work()
        except BaseException as raised:
            if agreed(raised):
                error = raised
            elif isinstance(raised, RankLostError) and world.fault_tolerant:
                done = False
            else:
                raise
        before = len(world.lost)
        if world.settled(done):
            if error is not None:
                raise error
            return result
        if world.rank == 0:
            lost = ", ".join(world.lost[before:]) or "no rank"
            ranks = "1 rank" if world.size == 1 else f"{world.size} ranks"
            LOG.warning("lost %s; continuing with %s", lost, ranks)
        begin = again


def catch_up(trainer: Trainer, last: Step | None) -> Step | None:
    """Bring all ranks to the newest step that any has completed; collective.

    They are one step, or one validation, apart at most: a rank may have left the last
    exchange before another saw the failure. If a rank is lost here, each survivor has
    either its old state or all of the newest.

    Args:
        trainer: in the world of the survivors.
        last: this rank's last step.

    Returns:
        The newest step, if this rank has only now reached it.
    """
    world, state = trainer.world, trainer.state
    facts = None if last is None else last.facts()
    note = json.dumps([state.progress, trainer.agreed, facts])
    notes = [json.loads(each) for each in world.allgather(note.encode())]
    progress = [each[0] for each in notes]
    newest = max(progress)
    if min(progress) == newest:
        return None
    behind = list(state.progress) < newest
    root = progress.index(newest)
    state.broadcast(world, root)
    _, trainer.agreed, facts = notes[root]
    return Step(**facts) if behind else None
