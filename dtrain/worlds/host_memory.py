"""Arrays that the ranks of a host share: one rank makes them, the others map them.

The memory has no name in any file system; the kernel frees it with the last array that
lies in it (memfd_create(2), proc_pid_fd(5)). Its pages are not allocated before they
are written, so an array can be made while the parts that it is made of are freed.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.reduction.segment import NAME, WRONG_FILE, agreed
from dtrain.worlds.world import World

Array = NDArray[Any]


class HostMemory:
    """The memory that a group of ranks on one host shares; close it with ``with``.

    Args:
        world: the ranks.

    Attributes:
        group: the ranks that share, ascending.
        leads: whether this rank makes the arrays of its group.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.group = next(group for group in world.groups if world.rank in group)
        self._leader = self.group[0]
        self.leads = self._leader == world.rank
        self._alone = len(self.group) == 1
        self._made: list[tuple[int, Array]] = []

    def __enter__(self) -> HostMemory:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the files; arrays that lie in them stay."""
        for fd, _ in self._made:
            os.close(fd)
        self._made.clear()

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Make an array that `share` can share without a copy; not collective."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if self._alone or not size or sys.platform != "linux":
            return np.empty(shape, dtype)
        fd = os.memfd_create(NAME)
        try:
            os.ftruncate(fd, size)
            memory = np.frombuffer(mmap.mmap(fd, size), np.uint8)
        except OSError:
            os.close(fd)
            raise
        self._made.append((fd, memory))
        found: Array = memory.view(dtype).reshape(shape)
        return found

    def share(self, arrays: Mapping[str, Array] | None) -> dict[str, Array]:
        """Return the leader's arrays on all ranks of the group, read-only; collective.

        Args:
            arrays: those of the leader, by name; ``None`` on other ranks.

        Raises:
            NotSharedError: on all ranks, if any rank cannot map the memory of its
                leader.
        """
        if self._alone:
            found = dict(arrays or {})
            self._world.allgather(b"")
            agreed(self._world, lambda: None)
            return found
        try:
            if arrays is not None:
                arrays = {name: self._moved(each) for name, each in arrays.items()}
            note = b"" if arrays is None else self._note(arrays)
            theirs = json.loads(self._world.allgather(note)[self._leader])
            mapped = agreed(self._world, lambda: self._mapped(theirs))
        finally:
            self.__exit__()
        return mapped if arrays is None else {**arrays}

    def _moved(self, array: Array) -> Array:
        """Return an array that lies in the shared memory: itself, or a copy."""
        if not array.size or self._place(array) is not None:
            return array
        moved = self.allocate(array.shape, array.dtype)
        np.copyto(moved, array)
        return moved

    def _place(self, array: Array) -> tuple[int, int] | None:
        """Return in which memory an array lies, and at which byte of it."""
        at = array.__array_interface__["data"][0]
        for number, (_, memory) in enumerate(self._made):
            offset = at - memory.__array_interface__["data"][0]
            if 0 <= offset < memory.size:
                return number, offset
        return None

    def _note(self, arrays: Mapping[str, Array]) -> bytes:
        facts = {
            "pid": os.getpid(),
            "files": [(fd, os.fstat(fd).st_ino, m.size) for fd, m in self._made],
            "arrays": {
                name: (self._place(a), a.dtype.str, a.shape, a.strides)
                for name, a in arrays.items()
            },
        }
        return json.dumps(facts).encode()

    def _mapped(self, facts: dict[str, Any]) -> dict[str, Array]:
        if self.leads:
            return {}
        memories = [_map(facts["pid"], *file) for file in facts["files"]]
        arrays: dict[str, Array] = {}
        for name, (place, dtype, shape, strides) in facts["arrays"].items():
            if place is None:  # no elements
                arrays[name] = np.empty(shape, dtype)
                continue
            number, offset = place
            arrays[name] = np.ndarray(shape, dtype, memories[number], offset, strides)
        return arrays


def _map(pid: int, fd: int, inode: int, size: int) -> mmap.mmap:
    """Map a file in memory that another process has made."""
    path = f"/proc/{pid}/fd/{fd}"
    if not os.readlink(path).startswith(f"/memfd:{NAME} "):
        raise OSError(WRONG_FILE)  # another PID namespace: do not open it
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        facts = os.fstat(opened)
        if (facts.st_ino, facts.st_size) != (inode, size):
            raise OSError(WRONG_FILE)
        return mmap.mmap(opened, size, prot=mmap.PROT_READ)
    finally:
        os.close(opened)
