"""A rank's main function: plant its faults, then be what it would be without them.

``python -m tests.kit module:function`` calls a function with this rank's World;
``-m module``, ``-c code`` and ``file.py`` with their words are as after ``python``.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys

from tests.kit.faults import planned, plant

sys.path[0] = ""  # as for python -m and python -c
rank = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0"))
if any(fault.at != "start" for fault in planned(int(rank))):
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is there, as dtrain does
for fault in planned(int(rank)):
    plant(fault)

first, *words = sys.argv[1:]
if first == "-m":
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
elif first == "-c":
    sys.argv = ["-c", *words[1:]]
    exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
elif first.endswith(".py"):
    sys.argv = [first, *words]
    runpy.run_path(first, run_name="__main__")
else:
    from dtrain.worlds.opening import open_world

    module, _, name = first.partition(":")
    open_world().run(getattr(importlib.import_module(module), name))
