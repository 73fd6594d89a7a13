"""The numerical environments of all ranks, gathered and compared."""

from __future__ import annotations

import json
import logging

from dtrain.host.numerics import arithmetic, differences
from dtrain.worlds.world import World

LOG = logging.getLogger("dtrain")


def gather(world: World) -> list[dict[str, str]]:
    """Return each rank's ``arithmetic()``; collective, one exchange."""
    return [json.loads(d) for d in world.allgather(json.dumps(arithmetic()).encode())]


def compare(world: World) -> list[str]:
    """Return the names of what differs between ranks; rank 0 logs it; collective."""
    if world.size == 1:
        return []
    found = differences(gather(world))
    if found and world.rank == 0:
        LOG.warning(
            "the ranks compute with different arithmetic (%s), so results depend on "
            "the number of ranks and on their hosts. To fix it: %s. For details run "
            "`dtrain doctor` under the same mpirun",
            "; ".join(each.describe(world.hosts) for each in found),
            "; ".join(dict.fromkeys(each.fix for each in found)),
        )
    return [each.what for each in found]
