"""The part of a World that sums need: messages between ranks, and their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Message = tuple[int, NDArray[Any]]  # the other rank; a contiguous 1-D buffer
Scale = Callable[[NDArray[Any], NDArray[np.float64]], object]  # see World.tree_sum


class Position(Protocol):
    """The part of a rank's position that a sum updates.

    Attributes:
        reached: the first block whose partial sum has not arrived yet.
    """

    reached: int


class Communicator(Protocol):
    """The ranks, seen from one of them."""

    rank: int
    size: int
    hosts: list[str]

    @property
    def names(self) -> list[str]:
        """The name of each rank in messages."""

    @property
    def position(self) -> Position:
        """How far this rank has come, for its watchdog."""

    def swap(self, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        """Send and receive buffers; see ``World.swap``."""

    def allgather(self, data: bytes) -> list[bytes]:
        """Return each rank's bytes on every rank; see ``World.allgather``."""
