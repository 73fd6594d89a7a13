"""Findings about memory, arithmetic, clocks, the ways between ranks, and disks."""

from __future__ import annotations

from collections.abc import Iterator

from dtrain.doctor.facts import MB, NOTE, OK, WRONG, Facts, Finding
from dtrain.reduction.memory import by_host

SMALL = 128 * MB  # Docker's usual 64 MB of /dev/shm are below
FULL = 16 * MB
SLOW_LINK = 60 * MB  # bytes a second: half of what Gigabit Ethernet gives
SLOW_HOST = 5e-4  # seconds for a message within a host: somebody has to be woken
SLOW_DISK = 20 * MB
FEW = 500 * MB
SKEW = 1.0  # seconds


def memory(facts: Facts) -> Iterator[Finding]:
    """Whether the ranks of a host share memory, and what MPI has for its own."""
    wanted = by_host(facts.hosts)
    apart = [group for group in wanted if group not in facts.groups]
    if apart:
        hosts = ", ".join(facts.hosts[group[0]] for group in apart)
        text = f"ranks on {hosts} share none, and send each other messages"
        mend = "docker run --cap-add=SYS_PTRACE  # one user and container a host"
        yield Finding(WRONG, "shared memory", text, mend)
    elif facts.size > len(wanted):
        yield Finding(OK, "shared memory", "the ranks of each host share theirs")
    for host, site in {site.host: site for site in facts.sites}.items():
        free, size = site.shared_free, site.shared_bytes
        text = f"{free / MB:,.0f} MB free of {size / MB:,.0f} on {host}"
        mend = "docker run --shm-size=1g  # or mount -o remount,size=1g /dev/shm"
        if size and free < FULL:
            yield Finding(WRONG, "shm", f"{text}: too little for MPI", mend)
        elif size and size < SMALL:
            yield Finding(NOTE, "shm", f"{text}: little for MPI", mend)
        elif size:
            yield Finding(OK, "shm", text)


def bits(facts: Facts) -> Iterator[Finding]:
    """Whether all ranks compute with the same bits."""
    for each in facts.differences:
        text = f"results depend on the ranks: {each.describe(facts.hosts)}"
        yield Finding(WRONG, "bits", text, each.cure)
    if not facts.differences:
        known = facts.arithmetic
        text = f"NumPy {known['NumPy']} ({known['processor features']}), "
        text += f"{known['BLAS']} ({known['BLAS kernels']}), {known['C library']}"
        yield Finding(OK, "bits", text + (", on all ranks" if facts.size > 1 else ""))


def clocks(facts: Facts) -> Iterator[Finding]:
    """Whether the hosts' clocks agree."""
    skewed = [x for x in facts.links if abs(x.ahead) - x.unsure > SKEW]
    for link in skewed:
        host = facts.hosts[link.rank]
        text = f"that of {host} is {link.ahead:+.3f} s beside {facts.hosts[0]}'s: of "
        text += "several ranks that fail, the first may not be told"
        yield Finding(NOTE, "clock", text, f"ssh {host} sudo chronyc makestep")
    if facts.links and not skewed:
        most = max(abs(link.ahead) for link in facts.links)
        yield Finding(OK, "clock", f"at most {most * 1e3:.3f} ms apart")


def links(facts: Facts) -> Iterator[Finding]:
    """How fast messages are, and the sum over all ranks."""
    for link in facts.links:
        there, here = facts.hosts[link.rank], facts.hosts[0]
        text = f"rank 0 to rank {link.rank} on {there}: {link.seconds * 1e6:,.1f} µs, "
        text += f"{link.bytes_per_second / MB:,.0f} MB/s"
        if there != here and link.bytes_per_second < SLOW_LINK:
            option = (
                "--mca btl_tcp_if_include eth0" if facts.open_mpi else "-iface eth0"
            )
            mend = f"{facts.start(option)}  # the fastest of `ip -br address`"
            yield Finding(NOTE, "messages", f"{text}, which is slow", mend)
        elif there == here and link.seconds > SLOW_HOST:
            mend = f"mpirun -n {len(facts.sites[0].cores)} python -m dtrain"
            yield Finding(NOTE, "messages", f"{text}: ranks wait for a core", mend)
        else:
            yield Finding(OK, "messages", text)
    if facts.size > 1:
        text = f"of {facts.sum_bytes / MB:,.1f} MB over all ranks: "
        yield Finding(OK, "sum", f"{text}{facts.sum_seconds * 1e3:,.2f} ms")


def folder(facts: Facts) -> Iterator[Finding]:
    """Whether checkpoints can be written, and how fast."""
    there = facts.folder
    if there is None:
        return
    subject, path = "checkpoints", there.path
    text = f"{path}: {there.bytes_per_second / MB:,.0f} MB/s, synchronised, "
    text += f"{there.free / MB:,.0f} MB free"
    if there.error:
        mend = f"mkdir -p {path} && chmod u+rwx {path}  # or another folder"
        yield Finding(WRONG, subject, f"{path}: {there.error}", mend)
    elif there.free < FEW:
        mend = f"df -h {path}  # and --keep 1, or another folder"
        yield Finding(NOTE, subject, text, mend)
    elif there.bytes_per_second < SLOW_DISK:
        mend = f"python -m dtrain --checkpoint {path} --save-seconds 600"
        yield Finding(NOTE, subject, f"{text}, which is slow", mend)
    else:
        yield Finding(OK, subject, text)
