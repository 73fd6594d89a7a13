"""Ranks are killed and the survivors continue: same bits, exit code, no leftovers.

`tests.mpirun` fails a run that leaves a process or shared memory behind, or that times
out. `tests.kit.faults` plans which rank is killed where.
"""

import json
from functools import cache

import numpy as np
import pytest

from dtrain.checkpoint.folder import Folder
from dtrain.errors import RankLostError
from tests.kit.faults import Fault
from tests.mpirun import mpirun
from tests.soak import kills
from tests.soak.kills import ULFM
from tests.worlds.cases import Case

STEPS = 120


def killed(rank, at, n=1):
    return Fault("SIGKILL", rank=rank, at=at, n=n)


def train(ranks, folder, faults=(), *, words=(), **options):
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    run = mpirun(
        ranks,
        ["-m", "dtrain", *kills.TRAIN, "--report", str(report), *words],
        faults=faults,
        **{"options": ULFM, **options},
    )
    return run, json.loads(report.read_text()) if report.exists() else None


@pytest.fixture(scope="module")
def digest():
    return kills.undisturbed()


@pytest.mark.parametrize(
    ("ranks", "faults"),
    [
        (3, [killed(1, "agree")]),
        (3, [killed(0, "read")]),
        (4, [killed(0, "sum", 30), killed(1, "sum", 30)]),
        (3, [killed(1, "barrier", 60), killed(0, "shrink")]),
        (4, [killed(2, "compute", 90), killed(0, "catch up"), killed(3, "agree", 3)]),
        (2, [killed(0, "evaluate")]),
    ],
    ids=[
        "at start",
        "reading",
        "two at once",
        "while shrinking",
        "three",
        "evaluation",
    ],
)
def test_the_survivors_end_with_the_same_bits(ranks, faults, tmp_path, digest):
    run, report = train(ranks, tmp_path, faults)
    assert run.returncode == 0, run.stderr
    assert report["weights_sha256"] == digest
    assert report["recovered_failures"] == len(faults)
    assert report["steps"] == STEPS
    assert "Traceback" not in run.stderr


VALIDATED = ["--validation", "0.25", "--patience", "2", "--min-delta", "0.02"]
VALIDATED += ["--epochs", "30", "--learning-rate", "0.002"]


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    run, report = train(1, tmp_path_factory.mktemp("r"), words=VALIDATED, options=[])
    assert run.returncode == 0, run.stderr
    assert report["stopped"] == "patience"
    return report


@pytest.mark.parametrize(
    "faults",
    [
        [killed(1, "validate", 2), killed(0, "validated", 4)],
        *(
            pytest.param(faults, marks=pytest.mark.full)
            for faults in (
                [killed(0, "validate", 3)],
                [killed(2, "validated", 2)],
                [killed(1, "sum", 13)],
                [killed(0, "barrier", 26), killed(1, "catch up")],
            )
        ),
    ],
)
def test_survivors_validate_and_stop_alike(faults, tmp_path, validated):
    run, report = train(4, tmp_path, faults, words=VALIDATED)
    assert run.returncode == 0, run.stderr
    assert report["recovered_failures"] == len(faults)
    keys = ("weights_sha256", "steps", "stopped", "best_epoch", "validation_history")
    assert {key: report[key] for key in keys} == {key: validated[key] for key in keys}


@pytest.mark.parametrize(
    "n", [2, *(pytest.param(n, marks=pytest.mark.full) for n in (1, 3, 4, 5, 6, 7))]
)
def test_rank_0_may_be_lost_in_any_agreement(n, tmp_path, digest):
    words = ["--log-dir", f"{tmp_path}/logs"]
    run, report = train(3, tmp_path, [killed(0, "agree", n)], words=words)
    assert run.returncode == 0, run.stderr
    assert report["weights_sha256"] == digest
    assert report["steps"] == STEPS
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("shell", [pytest.param(True, marks=pytest.mark.full), False])
def test_a_stuck_rank_ends_the_job_through_its_launcher(shell, tmp_path):
    fault = Fault("hang", rank=1, at="step", n=7)
    words = ["--timeout", "6"]  # on a busy machine, ranks take seconds to start
    run, report = train(3, tmp_path, [fault], words=words, codes=shell)
    assert run.returncode != 0
    assert report is None
    assert ":1: no progress for 6 s" in run.stderr


def test_rank_0_terminated_in_a_long_step_saves_and_ends_the_job(tmp_path):
    """MPI would tolerate the loss, and the survivors would wait until the timeout."""
    faults = [
        Fault("SIGTERM", rank=0, at="step", n=5),
        Fault("delay", rank=1, at="step", n=5, value=300.0),
    ]
    words = ["--checkpoint", f"{tmp_path}/saved", "--save-every", "999"]
    run, report = train(3, tmp_path, faults, words=words)
    assert run.returncode != 0
    assert report is None
    assert Folder(tmp_path / "saved").newest().arrays["steps"] == 4


def test_too_few_survivors_are_enough_after_the_last_step(tmp_path, digest):
    lost = [killed(1, "agree", 6)]  # the agreement after the steps
    run, report = train(2, tmp_path, lost, words=["--min-ranks", "2"])
    assert run.returncode == 0, run.stderr
    assert report["weights_sha256"] == digest
    assert report["recovered_failures"] == 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w"
    words = ["-m", "dtrain", "lecture", "--epochs", "2", "--save", str(path), "--quiet"]
    assert mpirun(1, words).returncode == 0
    return str(path)


@cache
def undisturbed(*words):
    """Return what two ranks print when none is lost."""
    run = mpirun(2, words, options=ULFM)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize(
    "fault",
    [killed(0, "program"), pytest.param(killed(0, "agree", 3), marks=pytest.mark.full)],
)
@pytest.mark.parametrize("command", ["eval", "predict", "check"])
def test_other_commands_continue_without_a_lost_rank(command, fault, weights):
    """Rank 0 is lost, so the next rank prints."""
    words = ["-m", "dtrain", command, "lecture", "lecture", "--weights", weights]
    run = mpirun(3, words, options=ULFM, faults=[fault])
    assert run.returncode == 0, run.stderr
    assert run.stdout == undisturbed(*words) != ""
    assert "lost rank 0" in run.stderr


@pytest.mark.full
def test_random_kills():
    """The first cases of the soak test, `python -m tests.soak.kills`."""
    for number in range(4):
        case = kills.drawn([1, number])
        assert not kills.tried(case).wrong, case


def test_rank_0_may_be_killed_while_it_saves(tmp_path, digest):
    saving = ["--checkpoint", str(tmp_path / "saved"), "--save-every", "9"]
    fault = Fault("SIGKILL", rank=0, at="checkpoint", n=3, after=0.001)
    run, report = train(3, tmp_path, [fault], words=saving)
    assert run.returncode == 0, run.stderr
    assert (report["weights_sha256"], report["recovered_failures"]) == (digest, 1)
    saved = [path.name for path in (tmp_path / "saved").iterdir()]
    assert f"step-{STEPS:08}.safetensors" in saved
    assert not any(name.endswith(".tmp") for name in saved)


def test_too_few_survivors_exit_with_75_and_the_run_resumes(tmp_path, digest):
    saving = ["--checkpoint", str(tmp_path / "saved")]
    faults = [killed(1, "step", 40)]
    run, report = train(3, tmp_path, faults, words=[*saving, "--min-ranks", "3"])
    assert report is None
    assert run.returncode == 75, run.stderr
    assert "stopped after step 39 of 120" in run.stderr
    run, report = train(2, tmp_path, words=[*saving, "--resume"])
    assert (run.returncode, report["weights_sha256"]) == (0, digest)
    assert report["resumed_from_step"] == 39


@pytest.mark.parametrize("library", ["openmpi", "mpich"])
def test_without_fault_tolerance_the_job_ends_and_resumes(library, tmp_path, digest):
    words = ["--checkpoint", str(tmp_path / "saved"), "--save-every", "9"]
    options = {"options": (), "library": library, "words": words}
    run, report = train(3, tmp_path, [killed(1, "step", 40)], **options)
    assert run.returncode != 0
    assert report is None
    options["words"] = [*words, "--resume"]
    run, report = train(2, tmp_path, **options)
    assert run.returncode == 0, run.stderr
    assert report["weights_sha256"] == digest
    assert 0 < report["resumed_from_step"] < 40


@pytest.mark.parametrize(
    ("do", "value", "code"), [("raise", None, 70), ("exit", 3, 3), ("exit", 0, 70)]
)
def test_a_rank_that_fails_is_not_treated_as_lost(do, value, code, tmp_path):
    fault = Fault(do, rank=1, at="step", n=40, value=value)
    run, report = train(3, tmp_path, [killed(2, "step", 20), fault])
    assert run.returncode == code, run.stderr
    assert report is None
    assert "planted on rank 1" in run.errors[1] or do == "exit"
    assert "Traceback" not in run.errors[0]


def sums_over_hosts(world):
    """Sum with ranks that share memory with some ranks and send messages to others."""
    case, step = Case(13, 20_000, "float32"), 0
    right = case.reference().slots.tobytes()
    while True:
        try:
            while step < 40:
                total = case.sum(world)
                step += 1
                assert total.slots.tobytes() == right
            done = True
        except RankLostError:
            done = False
        if world.settled(done):
            break
        step = max(int(note) for note in world.allgather(b"%d" % step))
        memory = np.full(3, world.rank)
        world.broadcast(memory, root=world.size - 1)
        assert (memory == world.size - 1).all()
    print(world.size, len(world.groups), *sorted(world.lost))


@pytest.mark.parametrize(
    "at", ["barrier", pytest.param("swap", marks=pytest.mark.full)]
)
def test_survivors_on_several_hosts_continue(at):
    run = mpirun(
        5,
        ["-m", "tests.worlds.hosts", "tests.worlds.test_recovery:sums_over_hosts"],
        options=ULFM,
        faults=[killed(1, at, 20), killed(4, at, 20)],
    )
    assert run.returncode == 0, run.stderr
    lost = "rank 1 on host-1 rank 4 on host-0"
    assert run.outputs[0] == f"3 2 {lost}\n", run.stderr
