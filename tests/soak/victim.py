"""``dtrain`` on one rank, which notes when it finishes each step, and with whom.

It may take itself for one of several hosts', in turns.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from dtrain import layers, program
from dtrain.cli.main import main
from dtrain.training.loop import Loop

FOLDER, HOSTS = "DTRAIN_TEST_TIMES", "DTRAIN_TEST_HOSTS"


@program
def wide(x: Any) -> Any:
    """A hidden layer of so many neurons that messages become long."""
    hidden = layers.relu(layers.dense(x, 500, name="hidden"))
    return layers.dense(hidden, 10, name="output")


def note_steps(loop: type[Loop], finished: list[tuple[float, int]]) -> None:
    """Have a time and the number of ranks added for each step that is finished."""
    tell = loop._publish

    def noted(self: Loop, record: Any) -> None:
        tell(self, record)
        finished.append((time.monotonic(), self.trainer.world.size))

    loop._publish = noted  # type: ignore[method-assign]


if __name__ == "__main__":
    rank, hosts = int(os.environ["OMPI_COMM_WORLD_RANK"]), int(os.environ[HOSTS])
    if hosts > 1:
        socket.gethostname = lambda: f"host-{rank % hosts}"
    times: list[tuple[float, int]] = []
    note_steps(Loop, times)
    code = main()
    path = Path(os.environ[FOLDER], f"{rank}.steps")
    path.write_text(json.dumps(times))
    sys.exit(code)
