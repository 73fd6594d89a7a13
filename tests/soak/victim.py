"""``dtrain`` on one rank, which notes when it finishes each step, and with whom."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from dtrain.cli.main import main
from dtrain.training.loop import Loop

FOLDER = "DTRAIN_TEST_TIMES"


def note_steps(loop: type[Loop], finished: list[tuple[float, int]]) -> None:
    """Have a time and the number of ranks added for each step that is finished."""
    tell = loop._tell

    def noted(self: Loop, record: Any) -> None:
        tell(self, record)
        finished.append((time.monotonic(), self.trainer.world.size))

    loop._tell = noted  # type: ignore[method-assign]


if __name__ == "__main__":
    times: list[tuple[float, int]] = []
    note_steps(Loop, times)
    code = main()
    path = Path(os.environ[FOLDER], f"{os.environ['OMPI_COMM_WORLD_RANK']}.steps")
    path.write_text(json.dumps(times))
    sys.exit(code)
