"""W6: the reduction alone, beside MPI_Allreduce of both libraries and gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contenders import ONE_THREAD

FOLDER = Path(__file__).parent
LENGTHS = (1_000, 100_000, 670_000, 25_000_000)


def sums(short: bool) -> str:
    """What the scripts print, for two and four ranks."""
    return "\n".join(
        _outputs((1_000,) if short else LENGTHS, (2,) if short else (2, 4))
    )


def _outputs(lengths: tuple[int, ...], ranks: tuple[int, ...]) -> Iterator[str]:
    pythons = [sys.executable]
    if "DTRAIN_MPICH_PYTHON" in os.environ:
        pythons.append(os.environ["DTRAIN_MPICH_PYTHON"])
    words = [str(length) for length in lengths]
    for size in ranks:
        for python in pythons:
            mpirun = str(Path(python).with_name("mpirun"))
            script = str(FOLDER / "reduction.py")
            yield _run([mpirun, "-n", str(size), python, script, *words])
        yield f"{size} ranks, gloo"
        script = str(FOLDER / "gloo_sum.py")
        yield _run([sys.executable, script, str(size), *words])


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command,
        env=os.environ | ONE_THREAD | {"GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=900,
        check=True,
    )
    return done.stdout.rstrip()
