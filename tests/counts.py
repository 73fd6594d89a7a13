"""Print one line that counts the tests of several runs of pytest.

``python -m tests.counts FOLDER`` reads what ``tests/conftest.py`` wrote there.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path


def line(folder: Path) -> str:
    """Return passed, failed and skipped, with the reasons for skipping."""
    passed = failed = runs = 0
    reasons: Counter[str] = Counter()
    for path in folder.glob("*.json"):
        counts = json.loads(path.read_text())
        runs += 1
        passed += counts["passed"]
        failed += counts["failed"]
        reasons.update(counts["skipped"])
    text = f"{passed:,} passed, {failed:,} failed, {sum(reasons.values()):,} skipped"
    if reasons:
        each = (f"{count} × {reason}" for reason, count in reasons.most_common())
        text += f" ({'; '.join(each)})"
    return f"in {runs} runs of pytest: {text}"


if __name__ == "__main__":
    print(line(Path(sys.argv[1])))
