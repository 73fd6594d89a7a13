"""Settings of all tests: signals, Hypothesis, and the counts of what ran."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import settings

# No test asserts a time, and the same examples are tried on every machine.
settings.register_profile("dtrain", deadline=None, derandomize=True, database=None)
settings.load_profile("dtrain")


def pytest_configure() -> None:
    """Handle SIGINT, which a shell lets its background jobs ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Write how many tests passed, failed and were skipped, for `tests/counts.py`.

    DTRAIN_TEST_COUNTS names the folder. Of several ranks only rank 0 writes, and of
    pytest-xdist's processes only the one that collects the results.
    """
    folder = os.environ.get("DTRAIN_TEST_COUNTS")
    rank = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0"))
    if not folder or rank != "0" or hasattr(terminalreporter.config, "workerinput"):
        return
    stats = terminalreporter.stats
    reasons = Counter(
        re.sub(r"^Skipped: ", "", report.longrepr[2])
        for report in stats.get("skipped", [])
    )
    counts = {
        "passed": len(stats.get("passed", [])),
        "failed": len(stats.get("failed", [])) + len(stats.get("error", [])),
        "skipped": reasons,
    }
    path = Path(folder, f"{os.getpid()}-{len(os.listdir(folder))}.json")
    path.write_text(json.dumps(counts))
