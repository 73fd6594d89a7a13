"""Agreement of the survivors after a rank is lost or fails, or at the end.

Each survivor contributes a word, and all survivors get the same words, even if ranks
are lost meanwhile. Only then do they all continue, or all exit. It uses MPI's
user-level failure mitigation (Bland, Bouteiller, Herault, Bosilca, Dongarra,
"Post-failure recovery of MPI communication capability", 2013).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any, NoReturn

from dtrain.host.processes import ancestors
from dtrain.worlds.launcher import OPEN_MPI, Launch

DONE = 0
NOT_DONE = 1 << 8  # combined with the exit code of a rank that fails
LOST = 1 << 9  # a rank was lost before it could contribute a word
CODE = NOT_DONE - 1
LAUNCHERS = ("prterun", "prted", "mpirun")  # Open MPI's, on this and other hosts
PATIENCE = 10.0  # seconds for the other ranks to learn that this one fails


def can_lose(launch: Launch | None, environ: Mapping[str, str]) -> bool:
    """Return whether the survivors can continue after a loss (--with-ft ulfm)."""
    wanted = environ.get("OMPI_MCA_mpi_ft_enable", "0") in ("1", "true")
    return launch is not None and launch.launcher == OPEN_MPI and wanted


def agree(mpi: Any, comm: Any, word: int) -> int:
    """Contribute a word; return all survivors' words, OR-ed, with LOST after a loss.

    All survivors return the same: if a rank is lost meanwhile, they repeat it. The loss
    of a rank that has contributed its word is reported by the next call.
    """
    while True:
        mine = word | LOST if comm.Ack_failed() else word
        try:
            return int(~comm.Agree(~mine))
        except mpi.Exception as error:
            if error.Get_error_class() != mpi.ERR_PROC_FAILED:
                raise


def interrupted(mpi: Any, comm: Any, error: Any) -> bool:
    """Return whether an MPI call failed because a rank is lost."""
    lost = (mpi.ERR_PROC_FAILED, mpi.ERR_PROC_FAILED_PENDING, mpi.ERR_REVOKED)
    # For several requests MPI only reports that there is an error in a status.
    return (
        error.Get_error_class() in lost
        or comm.Is_revoked()
        or comm.Get_failed().size > 0
    )


def end_launcher() -> None:
    """Terminate the launcher, which ends all ranks; MPI_Abort does not with ULFM.

    It is the nearest ancestor with a launcher's name: there may be a shell between, or
    the launcher may have ended and another process have adopted this one.
    """
    for process in ancestors():
        if process.name in LAUNCHERS:
            os.kill(process.pid, signal.SIGTERM)
            return


def end_launcher_soon() -> None:
    """Terminate the launcher if the other ranks do not learn of a failure in time.

    With fault tolerance, MPI_Abort ends no other rank (Open MPI 5.0.11).
    """
    timer = threading.Timer(PATIENCE, end_launcher)
    timer.daemon = True
    timer.start()


def leave(code: int) -> NoReturn:
    """End this process at once."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
