"""What a doctor makes of the facts: findings, each with the command that mends it.

A finding is a function of facts alone, so every case can be tested without the machine
that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dtrain.parallel.measure import Link
from dtrain.parallel.memory import by_host
from dtrain.parallel.partition import Groups
from dtrain.parallel.site import Site, machines
from dtrain.training.arithmetic import Difference

OK, NOTE, WRONG = "ok", "note", "wrong"
MB = 1e6
SMALL_SHM = 128 * MB  # Docker's usual 64 MB is below
FULL_SHM = 16 * MB
SLOW_LINK = 60 * MB  # bytes a second: half of what Gigabit Ethernet gives
SLOW_HOST = 5e-4  # seconds for a message within a host: somebody has to be woken
SLOW_DISK = 20 * MB
FEW_BYTES = 500 * MB
SKEW = 1.0  # seconds


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        level: ok, note (worth knowing) or wrong.
        subject: what it is about.
        text: what has been found.
        command: what mends it; empty where nothing has to be mended.

    """

    level: str
    subject: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class Folder:
    """What a folder for checkpoints is like.

    Attributes:
        path: of the folder.
        bytes_per_second: written and synchronised.
        free: bytes that are left.
        error: why nothing could be written; empty if it could.

    """

    path: str
    bytes_per_second: float = 0.0
    free: int = 0
    error: str = ""


@dataclass(frozen=True)
class Facts:
    """What has been gathered from all ranks.

    Attributes:
        mpi: the library and its version; ``None`` where none can be loaded.
        sites: where each rank runs.
        groups: the ranks that share memory, once they have tried.
        arithmetic: what the first rank's bits depend on, by name.
        differences: in what ranks are not alike.
        threads: of BLAS, on the first rank.
        links: from rank 0 to others.
        folder: of checkpoints, if one was named.
        refused: why MPI's ranks could not be joined; empty if they could.

    """

    mpi: str | None
    sites: Sequence[Site]
    groups: Groups
    arithmetic: dict[str, str]
    differences: Sequence[Difference] = ()
    threads: int = 1
    links: Sequence[Link] = field(default_factory=tuple)
    folder: Folder | None = None
    refused: str = ""

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return len(self.sites)

    @property
    def hosts(self) -> list[str]:
        """The name of each rank's host."""
        return [site.host for site in self.sites]

    @property
    def open_mpi(self) -> bool:
        """Whether the library is Open MPI."""
        return "Open MPI" in (self.mpi or "")


def findings(facts: Facts) -> list[Finding]:
    """Everything that the facts say, in the order of the table below."""
    return [finding for rule in RULES for finding in rule(facts)]


def _launcher(facts: Facts) -> Iterator[Finding]:
    site = facts.sites[0]
    library, launcher = site.library_path, site.launcher_path
    beside = str(Path(library).parents[1] / "bin" / "mpirun") if library else ""
    if facts.refused:
        mend = f"{beside} -n 2 python -m dtrain" if beside else _INSTALL
        yield Finding(WRONG, "MPI", facts.refused, mend)
    elif facts.mpi is None:
        text = "no MPI library can be loaded, so there is one process only"
        yield Finding(NOTE, "MPI", text, _INSTALL)
    elif not launcher:
        text = f"{facts.mpi} ({library}), but no mpirun in PATH"
        yield Finding(NOTE, "MPI", text, f"export PATH={Path(beside).parent}:$PATH")
    else:
        name = site.launcher or "mpirun"
        text = f"{facts.mpi} ({library}), {name} ({launcher})"
        if site.launcher != "srun" and not _together(library, launcher):
            text += ": the library and the launcher lie in different places"
            yield Finding(NOTE, "MPI", text, f"{beside} -n 2 python -m dtrain")
        else:
            yield Finding(OK, "MPI", text)
    others = {each.library_path for each in facts.sites} - {library}
    if others:
        text = f"ranks have loaded other libraries, too: {', '.join(sorted(others))}"
        yield Finding(WRONG, "MPI", text, _INSTALL)


_INSTALL = "pip install 'dtrain[mpi]'  # on every host, the same version"


def _together(library: str, launcher: str) -> bool:
    """Whether both lie under one prefix, such as /usr or an environment."""
    return Path(library).is_relative_to(Path(launcher).parents[1])


def _ranks(facts: Facts) -> Iterator[Finding]:
    site = facts.sites[0]
    promised = {
        name: text
        for name, text in site.environ.items()
        if name in PROMISED and text.isdigit()
    }
    wrong = [
        f"{n} is {text}" for n, text in promised.items() if int(text) != facts.size
    ]
    count = f"{facts.size} on {', '.join(dict.fromkeys(facts.hosts))}"
    if site.environ.get("DTRAIN_WORLD") == "solo":
        text = "DTRAIN_WORLD=solo: each process is alone, whatever a launcher says"
        yield Finding(NOTE, "ranks", text, "unset DTRAIN_WORLD")
    elif wrong:
        # A batch script has its tasks, but is none itself.
        only = set(promised) == {"SLURM_NTASKS"} or all("NTASKS" in w for w in wrong)
        tasks = promised.get("SLURM_NTASKS", "P")
        yield Finding(
            NOTE if only else WRONG,
            "ranks",
            f"{count}, but {' and '.join(wrong)}",
            f"srun --mpi=pmix -n {tasks} python -m dtrain"
            if "SLURM_NTASKS" in promised
            else "mpirun -n P python -m dtrain  # the mpirun of the line above",
        )
    else:
        yield Finding(OK, "ranks", count)


PROMISED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")


def _cores(facts: Facts) -> Iterator[Finding]:
    for ranks in machines(facts.sites).values():
        sites = [facts.sites[rank] for rank in ranks]
        names = list(dict.fromkeys(site.host for site in sites))
        where = " and ".join(names)
        cores = len({core for site in sites for core in site.cores})
        room = max(site.available for site in sites)
        busy = len(ranks) * facts.threads
        text = f"{_many(len(ranks), 'rank')} on {_many(cores, 'core')} of {where}"
        if facts.threads > 1:
            text += f", {facts.threads} BLAS threads each"
        idle = "mpi_yield_when_idle"
        if cores < min(len(ranks), room):
            text += f", though there are {room}: they are bound to the same ones"
            yield Finding(WRONG, "cores", text, _run(facts, _free(facts)))
        elif len(names) > 1 and busy > cores and facts.open_mpi:
            if sites[0].environ.get(f"OMPI_MCA_{idle}") == "1":
                yield Finding(NOTE, "cores", f"{text}, which is slow", _fewer(cores))
            else:
                text += ": containers of one machine, so MPI waits without yielding"
                yield Finding(WRONG, "cores", text, _run(facts, f"--mca {idle} 1"))
        elif busy > cores:
            mend = (
                _fewer(cores) if facts.threads == 1 else "python -m dtrain --threads 1"
            )
            yield Finding(
                NOTE, "cores", f"{text}: they take turns, which is slow", mend
            )
        else:
            yield Finding(OK, "cores", text)
        quota = min((site.quota for site in sites if site.quota), default=0.0)
        if quota and quota < len(ranks):
            text = f"{where}: {quota:g} cores' worth of time for {len(ranks)} ranks"
            mend = f"docker run --cpus={len(ranks)}"
            yield Finding(
                WRONG, "cores", f"{text}, so they are stopped now and then", mend
            )


def _free(facts: Facts) -> str:
    """The launcher's option to bind ranks to no cores."""
    if facts.sites[0].launcher == "srun":
        return "--cpu-bind=none"
    return "--bind-to none" if facts.open_mpi else "-bind-to none"


def _run(facts: Facts, options: str) -> str:
    launcher = "srun" if facts.sites[0].launcher == "srun" else "mpirun"
    return f"{launcher} {options} -n {facts.size} python -m dtrain"


def _fewer(cores: int) -> str:
    return f"mpirun -n {cores} python -m dtrain"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _slots(facts: Facts) -> Iterator[Finding]:
    site = facts.sites[0]
    if not facts.open_mpi or site.launcher:
        return  # a launcher that has started us had all that it wanted
    allowed = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")
    if site.root and not all(name in site.environ for name in allowed):
        text = "Open MPI's mpirun refuses to run as root unless it is told"
        mend = "export " + " ".join(f"{name}=1" for name in allowed)
        yield Finding(NOTE, "root", text, mend)
    mapping = "PRTE_MCA_rmaps_default_mapping_policy"
    if "oversubscribe" not in site.environ.get(mapping, ""):
        text = (
            f"Open MPI's mpirun refuses more than {_many(len(site.cores), 'rank')} here"
        )
        yield Finding(NOTE, "slots", text, f"export {mapping}=:oversubscribe")


def _memory(facts: Facts) -> Iterator[Finding]:
    wanted = by_host(facts.hosts)
    if facts.size > len(wanted):
        apart = [group for group in wanted if group not in facts.groups]
        if apart:
            hosts = ", ".join(facts.hosts[group[0]] for group in apart)
            text = f"ranks of {hosts} share none, and send each other messages"
            mend = "docker run --cap-add=SYS_PTRACE --shm-size=1g  # one user, one "
            yield Finding(WRONG, "shared memory", text, f"{mend}container a host")
        else:
            yield Finding(OK, "shared memory", "the ranks of each host share theirs")
    for host, site in {site.host: site for site in facts.sites}.items():
        if not site.shared_bytes:
            continue
        text = f"/dev/shm of {host}: {site.shared_free / MB:,.0f} MB free of "
        text += f"{site.shared_bytes / MB:,.0f}"
        mend = "docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm"
        if site.shared_free < FULL_SHM:
            yield Finding(WRONG, "shared memory", f"{text}: too little for MPI", mend)
        elif site.shared_bytes < SMALL_SHM:
            yield Finding(NOTE, "shared memory", f"{text}: little for MPI's own", mend)
        else:
            yield Finding(OK, "shared memory", text)


def _faults(facts: Facts) -> Iterator[Finding]:
    site = facts.sites[0]
    if not site.launcher or facts.refused:
        return
    if site.environ.get("OMPI_MCA_mpi_ft_enable", "0").lower() in ("1", "true"):
        yield Finding(OK, "fault tolerance", "on: a lost rank need not end the job")
    elif facts.open_mpi:
        text = "off: a lost rank ends the job"
        yield Finding(NOTE, "fault tolerance", text, _run(facts, "--with-ft ulfm"))
    else:
        text = f"{facts.mpi} has none: a lost rank ends the job"
        mend = "python -m dtrain train PROGRAM DATA --checkpoint DIR --resume"
        yield Finding(NOTE, "fault tolerance", text, mend)


def _bits(facts: Facts) -> Iterator[Finding]:
    for each in facts.differences:
        text = f"results depend on the ranks: {each.describe(facts.hosts)}"
        yield Finding(WRONG, "bits", text, each.cure)
    if not facts.differences:
        known = facts.arithmetic
        text = (
            f"NumPy {known['NumPy']} ({known['processor features']}), {known['BLAS']} "
        )
        text += f"({known['BLAS kernels']}), {known['C library']}"
        yield Finding(OK, "bits", text + (", on all ranks" if facts.size > 1 else ""))


def _clocks(facts: Facts) -> Iterator[Finding]:
    for link in facts.links:
        if abs(link.ahead) - link.unsure > SKEW:
            host = facts.hosts[link.rank]
            text = (
                f"that of {host} is {link.ahead:+.3f} s beside {facts.hosts[0]}'s, so "
            )
            text += "of several failures the first may not be told"
            yield Finding(NOTE, "clock", text, f"ssh {host} sudo chronyc makestep")
    if facts.links and all(abs(x.ahead) - x.unsure <= SKEW for x in facts.links):
        most = max(abs(link.ahead) for link in facts.links)
        yield Finding(OK, "clock", f"at most {most * 1e3:.3f} ms apart")


def _links(facts: Facts) -> Iterator[Finding]:
    for link in facts.links:
        there, here = facts.hosts[link.rank], facts.hosts[0]
        text = f"rank 0 to rank {link.rank} on {there}: {link.seconds * 1e6:,.1f} µs, "
        text += f"{link.bytes_per_second / MB:,.0f} MB/s"
        if there != here and link.bytes_per_second < SLOW_LINK:
            mend = "--mca btl_tcp_if_include eth0" if facts.open_mpi else "-iface eth0"
            mend = _run(facts, mend) + "  # the fastest of `ip -br address`"
            yield Finding(NOTE, "messages", f"{text}, which is slow", mend)
        elif there == here and link.seconds > SLOW_HOST:
            mend = _fewer(len(facts.sites[0].cores))
            yield Finding(NOTE, "messages", f"{text}: ranks wait for a core", mend)
        else:
            yield Finding(OK, "messages", text)


def _folder(facts: Facts) -> Iterator[Finding]:
    folder = facts.folder
    if folder is None:
        return
    if folder.error:
        mend = f"mkdir -p {folder.path} && chmod u+rwx {folder.path}"
        text = f"{folder.path}: {folder.error}"
        yield Finding(WRONG, "checkpoints", text, mend)
        return
    text = f"{folder.path}: {folder.bytes_per_second / MB:,.0f} MB/s written, "
    text += f"{folder.free / MB:,.0f} MB free"
    if folder.free < FEW_BYTES:
        mend = f"df -h {folder.path}  # and --keep 1, or another folder"
        yield Finding(NOTE, "checkpoints", text, mend)
    elif folder.bytes_per_second < SLOW_DISK:
        mend = f"python -m dtrain --checkpoint {folder.path} --save-seconds 600"
        yield Finding(NOTE, "checkpoints", f"{text}, which is slow", mend)
    else:
        yield Finding(OK, "checkpoints", text)


RULES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    *(_launcher, _ranks, _cores, _slots, _memory, _faults),
    *(_bits, _clocks, _links, _folder),
)
