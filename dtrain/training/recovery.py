"""Going on without a rank that is lost: who lives does the work again, and loses none.

Work that all ranks do together ends in one verdict of those that live. If one was lost
in it, the others become a smaller world, and do it again. Training goes on from the
newest step that any of them has completed: blocks are cut and added as before, so the
weights come out with the same bits.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from dtrain.errors import RankLostError
from dtrain.training.run import StepRecord
from dtrain.training.trainer import Trainer
from dtrain.worlds.verdict import agreed
from dtrain.worlds.world import World

T = TypeVar("T")
LOG = logging.getLogger("dtrain")


def recovering(
    world: World, work: Callable[[], T], again: Callable[[], None] = lambda: None
) -> T:
    """Do collective work, and again while a rank is lost in it; collective.

    Args:
        world: the ranks; those that are lost leave it.
        work: what all ranks do; done twice, it has the result of once.
        again: comes before the work when that is done again. Ranks that are lost in it
            are lost in the work.

    Raises:
        RankLostError: a rank is lost, and this world cannot go on without.
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
            lost = ", ".join(world.lost[before:]) or "nobody"
            ranks = "1 rank" if world.size == 1 else f"{world.size} ranks"
            LOG.warning("lost %s; going on with %s", lost, ranks)
        begin = again


def catch_up(trainer: Trainer, last: StepRecord | None) -> StepRecord | None:
    """Bring all ranks to the newest step that any has completed; collective.

    They are one step apart at most: a rank may have left the last exchange before
    another saw the failure. If a rank is lost here, each of the others has its own
    state still, or all of the newest.

    Args:
        trainer: in the world of the ranks that are left.
        last: the record of this rank's last step.

    Returns:
        The newest step's record if this rank has only now come to it.
    """
    world, state = trainer.world, trainer.state
    own = [state.steps, trainer.agreed, None if last is None else asdict(last)]
    notes = [json.loads(note) for note in world.allgather(json.dumps(own).encode())]
    steps = [note[0] for note in notes]
    newest = max(steps)
    if min(steps) == newest:
        return None
    behind = state.steps < newest
    root = steps.index(newest)
    state.broadcast(world, root)
    _, trainer.agreed, record = notes[root]
    return StepRecord(**record) if behind else None
