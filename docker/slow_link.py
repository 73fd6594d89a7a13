"""A slow link that loses packets, for a container, where the kernel has no netem.

    python slow_link.py CONTAINER [SECONDS [SHARE]]

As root beside the engine. The container's cable is taken out of the bridge, and what
goes through it is carried by this process: each packet waits so many seconds (0.005),
and this share of them (0.01) is lost. SIGTERM puts the cable back.
"""

import collections
import contextlib
import fcntl
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

TUNSETIFF = 0x400454CA
TAP = 0x0002 | 0x1000 | 0x4000  # a whole Ethernet frame, behind a virtio-net header
SOL_PACKET, PACKET_VNET_HDR, EVERY_PROTOCOL = 263, 15, 0x0003
JOIN_BRIDGE, LEAVE_BRIDGE, GET_FLAGS, SET_FLAGS, UP = 0x89A2, 0x89A3, 0x8913, 0x8914, 1
LARGEST = 70_000  # bytes: the kernel hands over what it has not cut into packets yet
OUTGOING = 4  # a frame that this process has sent itself

control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def bridged(request: int, bridge: str, link: str) -> None:
    """Put a link into a bridge, or take it out."""
    index = socket.if_nametoindex(link)
    fcntl.ioctl(control, request, struct.pack("16si12x", bridge.encode(), index))


def cable(container: str) -> tuple[str, str]:
    """Find the host's end of a container's cable, and the bridge that it is in."""
    command = ["docker", "exec", container, "sh", "-c"]
    command += ["cat /sys/class/net/eth*/iflink"]
    index = int(subprocess.run(command, check=True, capture_output=True).stdout)
    link = socket.if_indextoname(index)
    return link, Path(f"/sys/class/net/{link}/master").resolve().name


@contextlib.contextmanager
def opened(bridge: str, link: str) -> Iterator[tuple[socket.socket, int]]:
    """Open the cable's end, and a new one in its place in the bridge."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    name = f"slow{os.getpid()}"[:15]
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH14x", name.encode(), TAP))
    flags = struct.pack("16sH14x", name.encode(), 0)
    (now,) = struct.unpack_from("H", fcntl.ioctl(control, GET_FLAGS, flags), 16)
    fcntl.ioctl(control, SET_FLAGS, struct.pack("16sH14x", name.encode(), now | UP))
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.bind((link, EVERY_PROTOCOL))
    bridged(LEAVE_BRIDGE, bridge, link)
    bridged(JOIN_BRIDGE, bridge, name)
    try:
        yield end, tap
    finally:
        os.close(tap)  # it vanishes
        bridged(JOIN_BRIDGE, bridge, link)


def carry(end: socket.socket, tap: int, seconds: float, share: float) -> None:
    """Carry packets both ways, late, and not all."""
    late: collections.deque[tuple[float, int, bytes]] = collections.deque()
    chance = random.Random(0)
    while True:
        wait = max(late[0][0] - time.monotonic(), 0) if late else None
        for ready in select.select([end, tap], [], [], wait)[0]:
            if ready is end:
                frame, address = end.recvfrom(LARGEST)
                if address[2] == OUTGOING:
                    continue
            else:
                frame = os.read(tap, LARGEST)
            if chance.random() >= share:
                to = tap if ready is end else end.fileno()
                late.append((time.monotonic() + seconds, to, frame))
        while late and late[0][0] <= time.monotonic():
            _, to, frame = late.popleft()
            with contextlib.suppress(OSError):  # a full queue: lost, too
                os.write(to, frame)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    container, seconds, share = [*sys.argv[1:], *("0.005", "0.01")[len(sys.argv) - 2 :]]
    link, bridge = cable(container)
    with opened(bridge, link) as (end, tap):
        print("slow", flush=True)
        carry(end, tap, float(seconds), float(share))
