"""Rules about shared memory, arithmetic, clocks, messages and checkpoint folders."""

from __future__ import annotations

from collections.abc import Iterator

from dtrain.doctor.facts import MB, NOTE, OK, WRONG, Facts, Finding
from dtrain.reduction.memory import by_host

SMALL = 128 * MB  # more than Docker's default of 64 MB for /dev/shm
FULL = 16 * MB
SLOW_LINK = 60 * MB  # bytes per second: half of Gigabit Ethernet
SLOW_HOST = 5e-4  # seconds for a message within a host: the receiver slept
SLOW_DISK = 20 * MB  # bytes per second
LITTLE_SPACE = 500 * MB
SKEW = 1.0  # seconds


def memory(facts: Facts) -> Iterator[Finding]:
    """Report whether the ranks of a host share memory, and how much MPI has."""
    wanted = by_host(facts.hosts)
    apart = [group for group in wanted if group not in facts.groups]
    if apart:
        hosts = ", ".join(facts.hosts[group[0]] for group in apart)
        text = f"ranks on {hosts} cannot share memory, so they exchange messages"
        fix = "docker run --cap-add=SYS_PTRACE  # one user and container per host"
        yield Finding(WRONG, "shared memory", text, fix)
    elif facts.size > len(wanted):
        yield Finding(OK, "shared memory", "the ranks of each host share memory")
    for host, site in {site.host: site for site in facts.sites}.items():
        free, size = site.shared_free, site.shared_bytes
        text = f"{free / MB:,.0f} MB free of {size / MB:,.0f} on {host}"
        fix = "docker run --shm-size=1g  # or mount -o remount,size=1g /dev/shm"
        if size and free < FULL:
            yield Finding(WRONG, "shm", f"{text}: too little for MPI", fix)
        elif size and size < SMALL:
            yield Finding(NOTE, "shm", f"{text}: little for MPI", fix)
        elif size:
            yield Finding(OK, "shm", text)


def arithmetic(facts: Facts) -> Iterator[Finding]:
    """Report whether all ranks compute with the same bits."""
    for each in facts.differences:
        text = f"results depend on the ranks: {each.describe(facts.hosts)}"
        yield Finding(WRONG, "bits", text, each.fix)
    if not facts.differences:
        known = facts.arithmetic
        text = f"NumPy {known['NumPy']} ({known['processor features']}), "
        text += f"{known['BLAS']} ({known['BLAS kernels']}), {known['C library']}"
        yield Finding(OK, "bits", text + (", on all ranks" if facts.size > 1 else ""))


def clocks(facts: Facts) -> Iterator[Finding]:
    """Report whether the hosts' clocks agree."""
    skewed = [x for x in facts.links if abs(x.ahead) - x.unsure > SKEW]
    for link in skewed:
        there, here = facts.hosts[link.rank], facts.hosts[0]
        text = f"the clock of {there} differs from {here}'s by {link.ahead:+.3f} s: if "
        text += "several ranks fail, the one reported may not be the first"
        yield Finding(NOTE, "clock", text, f"ssh {there} sudo chronyc makestep")
    if facts.links and not skewed:
        most = max(abs(link.ahead) for link in facts.links)
        yield Finding(OK, "clock", f"clocks differ by at most {most * 1e3:.3f} ms")


def messages(facts: Facts) -> Iterator[Finding]:
    """Report how fast messages and the sum over all ranks are."""
    for link in facts.links:
        there, here = facts.hosts[link.rank], facts.hosts[0]
        text = f"rank 0 to rank {link.rank} on {there}: {link.seconds * 1e6:,.1f} µs, "
        text += f"{link.bytes_per_second / MB:,.0f} MB/s"
        if there != here and link.bytes_per_second < SLOW_LINK:
            option = (
                "--mca btl_tcp_if_include eth0" if facts.open_mpi else "-iface eth0"
            )
            fix = f"{facts.start(option)}  # the fastest of `ip -br address`"
            yield Finding(NOTE, "messages", f"{text}, which is slow", fix)
        elif there == here and link.seconds > SLOW_HOST:
            fix = f"mpirun -n {len(facts.sites[0].cores)} python -m dtrain"
            yield Finding(NOTE, "messages", f"{text}: ranks wait for a core", fix)
        else:
            yield Finding(OK, "messages", text)
    if facts.size > 1:
        text = f"{facts.sum_bytes / MB:,.1f} MB over all ranks: "
        yield Finding(OK, "sum", f"{text}{facts.sum_seconds * 1e3:,.2f} ms")


def folder(facts: Facts) -> Iterator[Finding]:
    """Report whether checkpoints can be written, and how fast."""
    found = facts.folder
    if found is None:
        return
    subject, path = "checkpoints", found.path
    text = f"{path}: {found.bytes_per_second / MB:,.0f} MB/s, synchronised, "
    text += f"{found.free / MB:,.0f} MB free"
    if found.error:
        fix = f"mkdir -p {path} && chmod u+rwx {path}  # or another folder"
        yield Finding(WRONG, subject, f"{path}: {found.error}", fix)
    elif found.free < LITTLE_SPACE:
        fix = f"df -h {path}  # and --keep 1, or another folder"
        yield Finding(NOTE, subject, text, fix)
    elif found.bytes_per_second < SLOW_DISK:
        fix = f"python -m dtrain --checkpoint {path} --save-seconds 600"
        yield Finding(NOTE, subject, f"{text}, which is slow", fix)
    else:
        yield Finding(OK, subject, text)
