"""Call a function on ranks that alternate between two simulated hosts.

``python -m tests.worlds.hosts module:function``
"""

import importlib
import os
import socket
import sys

RANK = int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0")))

if __name__ == "__main__":
    socket.gethostname = lambda: f"host-{RANK % 2}"
    from dtrain.worlds.opening import open_world

    module, _, name = sys.argv[1].partition(":")
    open_world().run(getattr(importlib.import_module(module), name))
