"""A contender's process: made ready once, then told when to run.

It stays alive between turns, asleep on a socket, so that contenders share neither
allocators nor thread pools, and idle ranks of MPI do not poll.
"""

from __future__ import annotations

import os
import resource
import sys
import time
import traceback
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

from benchmarks.contenders import load, pin
from benchmarks.workloads import Case


def main(address: str, name: str, size: str) -> None:
    """Serve the driver that listens at an address."""
    names = "OMPI_COMM_WORLD_RANK", "PMI_RANK", "BENCH_RANK"
    rank = next((int(os.environ[name]) for name in names if name in os.environ), 0)
    with Client(address, "AF_UNIX") as driver:
        driver.send(rank)
        try:
            serve(driver, name, rank, int(size))
        except EOFError:
            pass  # the driver is gone
        except Exception:
            driver.send(RuntimeError(traceback.format_exc()))


def serve(driver: Any, name: str, rank: int, size: int) -> None:
    """Do as the driver says, until it says stop."""
    case: Case
    case, meeting = driver.recv()
    pin(case, name, rank, size)
    kind = load(name)
    begun = time.perf_counter()
    contender = kind(case, rank, size, meeting)
    contender.run(1)
    driver.send(time.perf_counter() - begun)
    while True:
        command, argument = driver.recv()
        if command == "run":
            contender.run(1)  # what others have driven from the cache comes back
            begun = time.perf_counter()
            contender.run(argument)
            driver.send(time.perf_counter() - begun)
        elif command == "outcome":
            contender.run(argument)
            driver.send(contender.outcome())
        elif command == "resident":
            driver.send(resident())
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            driver.send(1024 * peak)
            return


def resident() -> int:
    """Bytes of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main(*sys.argv[1:])
