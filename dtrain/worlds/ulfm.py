"""What the living ranks agree on when some are lost, fail alone, or are done.

All come together on one communicator and each says a word; every one that lives hears
the same words, whoever dies meanwhile. Only then do they go on, or end, all alike. It
rests on MPI's user-level failure mitigation (Bland, Bouteiller, Herault, Bosilca,
Dongarra, "Post-failure recovery of MPI communication capability", 2013).
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
GO_ON = 1 << 8  # beside the exit code of a rank that fails: the work is not done
LOST = 1 << 9  # a rank was lost before it could say a word
CODE = GO_ON - 1
LAUNCHERS = ("prterun", "prted", "mpirun")  # Open MPI's, here and on other hosts
PATIENCE = 10.0  # seconds for the others to hear that this rank fails


def can_lose(launch: Launch | None, environ: Mapping[str, str]) -> bool:
    """Tell whether the launcher lets ranks go on when one is lost (--with-ft ulfm)."""
    wanted = environ.get("OMPI_MCA_mpi_ft_enable", "0") in ("1", "true")
    return launch is not None and launch.launcher == OPEN_MPI and wanted


def say(mpi: Any, comm: Any, word: int) -> int:
    """Say a word; give all living ranks' words, OR-ed, with LOST if one is missing.

    Every living rank hears the same, also where one dies in between: then all say
    theirs again. Of one that dies when it has said its word the next one tells.
    """
    while True:
        told = word | LOST if comm.Ack_failed() else word
        try:
            return int(~comm.Agree(~told))
        except mpi.Exception as error:
            if error.Get_error_class() != mpi.ERR_PROC_FAILED:
                raise


def interrupted(mpi: Any, comm: Any, error: Any) -> bool:
    """Tell whether an MPI call failed because a rank is lost, or known to be."""
    lost = (mpi.ERR_PROC_FAILED, mpi.ERR_PROC_FAILED_PENDING, mpi.ERR_REVOKED)
    # Of several requests MPI says only that there is an error in one's status.
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
    """Let the launcher end all ranks if the others do not hear of a failure in time.

    With fault tolerance on, MPI_Abort ends no other rank (Open MPI 5.0.11).
    """
    end = threading.Timer(PATIENCE, end_launcher)
    end.daemon = True
    end.start()


def leave(code: int) -> NoReturn:
    """End this process as MPI_Abort would, with all others."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
