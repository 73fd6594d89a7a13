"""``python -m tests.soak [WHAT [COUNT [SEED]]]``: one long run, or all of them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

RUNS = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))

what, count, seed = (sys.argv[1:] + [None] * 3)[:3]
if what not in (None, *RUNS):
    sys.exit(f"no long run {what!r}; there are {', '.join(RUNS)}")
failed = 0
for name in RUNS if what is None else [what]:
    soak = importlib.import_module(f"tests.soak.{name}").soak
    failed += soak(None if count is None else int(count), int(seed or 0))
sys.exit(1 if failed else 0)
