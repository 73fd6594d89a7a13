"""Signals: a run saves itself and stops, and goes on to the undisturbed bits."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dtrain import SoloWorld, ThreadWorld, program, train, weight
from dtrain.checkpoint.folder import Folder
from dtrain.errors import StoppedError
from dtrain.training.signals import Signals
from tests.mpirun import clean_environment, end_session, python_of
from tests.training.programs import net, net_data, saving

BASE = {"epochs": 3, "batch": 10, "block": 2, "learning_rate": 0.05, "save_every": 99}
NUMBERS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
ROOT = Path(__file__).parents[2]
LIMIT = 40  # seconds after which a process that should have ended is killed


def fit(folder, **options):
    return train(net, net_data(25), **saving(folder, **{**BASE, **options}))


def sends(number, at=4):
    """A callback that sends a signal to this process, once, after a step."""

    def callback(record):
        if record.step == at and threading.current_thread() is threading.main_thread():
            os.kill(os.getpid(), number)
            time.sleep(0.05)  # the thread hears it

    return callback


@pytest.fixture(autouse=True)
def handlers():
    """Whatever happens, the handlers are afterwards what they were."""
    before = [signal.getsignal(number) for number in NUMBERS]
    yield
    assert [signal.getsignal(number) for number in NUMBERS] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("name", ["SIGUSR2", "SIGTERM", "SIGINT"])
def test_a_run_stops_with_a_checkpoint_and_goes_on(tmp_path, name, ranks):
    world = SoloWorld() if ranks == 1 else ThreadWorld(ranks)
    whole = fit(tmp_path / "whole")
    folder = tmp_path / "folder"
    with pytest.raises(StoppedError, match="--resume") as caught:
        fit(folder, world=world, callbacks=[sends(getattr(signal, name))])
    assert caught.value.exit_code == 75
    assert Folder(folder).steps()[0] in (4, 5)
    run = fit(folder, resume=True, world=ThreadWorld(2))
    assert run.digest == whole.digest


@pytest.mark.parametrize("ranks", [1, 3])
def test_sigusr1_saves_and_goes_on(tmp_path, ranks):
    world = SoloWorld() if ranks == 1 else ThreadWorld(ranks)
    run = fit(tmp_path, world=world, callbacks=[sends(signal.SIGUSR1)])
    assert run.digest == fit(tmp_path / "whole").digest
    last, saved = Folder(tmp_path).steps()
    assert last == 9
    assert saved in (4, 5)


def test_a_signal_of_before_the_first_step_stops_there(tmp_path):
    class Reads(dict):
        """Data that take a signal while they are read."""

        def keys(self):
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(0.05)
            return super().keys()

        def __iter__(self):
            self.keys()
            return super().__iter__()

    with pytest.raises(StoppedError, match="after step 0 of 9"):
        train(net, Reads(net_data(25)), **saving(tmp_path, **BASE))
    assert fit(tmp_path, resume=True).digest == fit(tmp_path / "whole").digest


def test_without_a_folder_only_ctrl_c_is_handled():
    others = [number for number in NUMBERS if number != signal.SIGINT]
    before = [signal.getsignal(number) for number in others]

    def look(record):  # noqa: ARG001
        assert [signal.getsignal(number) for number in others] == before

    options = {k: v for k, v in BASE.items() if k != "save_every"}
    train(net, net_data(25), callbacks=[look], **options)


def test_outside_of_the_main_thread_no_signal_is_touched(tmp_path):
    before = [signal.getsignal(number) for number in NUMBERS]
    found = []

    def look(record):  # noqa: ARG001
        found.append([signal.getsignal(number) for number in NUMBERS] == before)

    thread = threading.Thread(
        target=fit, args=(tmp_path,), kwargs={"callbacks": [look]}
    )
    thread.start()
    thread.join()
    assert found == [True] * 9


def test_what_is_ignored_stays_ignored(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        fit(tmp_path, callbacks=[sends(signal.SIGINT)])
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_where_the_step_does_not_end_the_signal_reaches_its_old_handler(tmp_path):
    """As Ctrl-C does in a notebook: the run is saved, and the process goes on."""

    def endless(record):
        if record.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(LIMIT)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, callbacks=[endless])
    assert Folder(tmp_path).steps() == [4]
    assert fit(tmp_path, resume=True).report["resumed_from_step"] == 4


def test_what_others_wait_for_is_passed_on():
    """An event loop has a wake-up pipe of its own."""
    inlet, outlet = os.pipe()
    os.set_blocking(outlet, False)
    before = signal.signal(signal.SIGWINCH, lambda *_: None)
    signal.set_wakeup_fd(outlet)
    try:
        with Signals(active=True):
            os.kill(os.getpid(), signal.SIGWINCH)
            assert os.read(inlet, 1) == bytes([signal.SIGWINCH])
        assert signal.set_wakeup_fd(-1) == outlet
    finally:
        signal.signal(signal.SIGWINCH, before)
        os.close(inlet)
        os.close(outlet)


MODEL = """\
import os
import time
from pathlib import Path

from dtrain import program, weight

rank = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0"))
here = Path(__file__).parent
(here / f"{rank}.tmp").write_text(str(os.getpid()))
(here / f"{rank}.tmp").rename(here / f"{rank}.pid")
time.sleep(float(os.environ.get("SLOW_IMPORT", 0)))


@program
def line(p):
    return weight("slope") * p + weight("offset")
"""

STUCK = """\
import os, sys
import numpy as np
from dtrain.cli import main
from dtrain.training import train as command
from dtrain.training.loop import Loop

matrix = np.ones((7000, 7000))

class Stuck(Loop):
    def _publish(self, *args):
        super()._publish(*args)
        if self.trainer.state.steps == 4:
            print("stuck", flush=True)
            matrix @ matrix  # in BLAS, where no Python handler runs

command.Loop = Stuck
sys.exit(main.main(sys.argv[1:]))
"""


@program
def line(p):
    """The same here."""
    return weight("slope") * p + weight("offset")


@pytest.fixture
def folder(tmp_path):
    """A folder with a program and data."""
    p, t = np.random.default_rng(0).standard_normal((2, 101))
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "stuck.py").write_text(STUCK)
    np.savez(tmp_path / "data.npz", p=p, t=t)
    return tmp_path


def words(folder, *more, epochs=1_000_000):
    """The command that trains in a folder, for longer than any test."""
    return [
        *("train", folder / "model.py:line", folder / "data.npz", "--quiet"),
        *("--epochs", epochs, "--learning-rate", 0.001, *more),
    ]


@contextmanager
def started(command, **env):
    """A process, killed with all of its session in the end."""
    with subprocess.Popen(
        list(map(str, command)),
        env=clean_environment({"PYTHONPATH": str(ROOT), **env}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            end_session(process.pid)


def wait_for(path):
    """Wait until a file is there."""
    deadline = time.monotonic() + LIMIT
    while not list(path.parent.glob(path.name)):
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.01)


def goes_on(folder, *launcher):
    """Let a stopped run go on for a while, and hold it against an undisturbed one."""
    (newest, *_) = Folder(folder / "ck").steps()
    more = ("--checkpoint", folder / "ck", "--resume", "--report", folder / "r.json")
    python = launcher or [sys.executable]
    command = [*python, "-m", "dtrain", *words(folder, *more, epochs=newest + 9)]
    with started(command) as process:
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    found = (folder / "r.json").read_text()
    assert f'"resumed_from_step": {newest}' in found
    whole = train(line, folder / "data.npz", epochs=newest + 9, learning_rate=0.001)
    assert whole.digest in found


@pytest.mark.parametrize(
    ("name", "code"), [("SIGTERM", 75), ("SIGINT", 75), ("SIGUSR2", 75)]
)
def test_the_command_stops_with_its_exit_code(folder, name, code):
    more = ("--checkpoint", folder / "ck", "--save-every", 10)
    with started([sys.executable, "-m", "dtrain", *words(folder, *more)]) as process:
        wait_for(folder / "ck" / "step-*.safetensors")
        process.send_signal(getattr(signal, name))
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert "--resume" in errors
    goes_on(folder)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR2", "SIGUSR1"])
def test_without_a_folder_the_signal_ends_the_command(folder, name):
    command = [sys.executable, "-m", "dtrain", *words(folder)]
    with started(command, SLOW_IMPORT="30") as process:
        wait_for(folder / "0.pid")
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=LIMIT)
    number = getattr(signal, name)
    assert process.returncode in (-number, 128 + number)


@pytest.mark.parametrize(("times", "code"), [(1, 75), (2, 130)])
def test_a_step_that_does_not_end_is_not_waited_for(folder, times, code):
    more = ("--checkpoint", folder / "ck")
    command = [sys.executable, folder / "stuck.py", *words(folder, *more)]
    with started(command) as process:
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGINT)
        wait_for(folder / "ck" / "step-*.safetensors")
        if times == 2:
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT)
    assert process.returncode == code
    assert Folder(folder / "ck").steps() == [4]
    goes_on(folder)


def test_what_could_not_be_saved_is_not_said_to_go_on(folder):
    command = [sys.executable, folder / "stuck.py"]
    command += words(folder, "--checkpoint", folder / "ck")
    with started(command) as process:
        assert process.stdout.readline() == "stuck\n"
        shutil.rmtree(folder / "ck")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 2
    assert "cannot save step 4" in errors


def test_while_data_load_there_is_nothing_to_save(folder):
    command = [
        sys.executable,
        "-m",
        "dtrain",
        *words(folder, "--checkpoint", folder / "ck"),
    ]
    with started(command, SLOW_IMPORT="30") as process:
        wait_for(folder / "0.pid")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 75
    assert "before the first step" in errors


def mpirun(library, ranks):
    python = python_of(library)
    return [python.with_name("mpirun"), "-n", ranks, python]


def on_ranks(folder, library, ranks, *more):
    command = ("-m", "dtrain", *words(folder, "--checkpoint", folder / "ck", *more))
    return [*mpirun(library, ranks), *command]


@pytest.mark.parametrize("library", ["openmpi", "mpich"])
def test_sigusr2_to_any_rank_stops_all(folder, library):
    with started(on_ranks(folder, library, 3, "--save-every", 10)) as process:
        wait_for(folder / "ck" / "step-*.safetensors")
        os.kill(int((folder / "2.pid").read_text()), signal.SIGUSR2)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 75, errors
    assert errors.count("continue with --resume") == 1
    goes_on(folder, *mpirun(library, 2))


def test_sigusr2_to_open_mpi_s_launcher_stops_all(folder):
    with started(on_ranks(folder, "openmpi", 2, "--save-every", 10)) as process:
        wait_for(folder / "ck" / "step-*.safetensors")
        process.send_signal(signal.SIGUSR2)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 75, errors
    goes_on(folder)


@pytest.mark.parametrize(
    ("library", "name"),
    [("openmpi", "SIGTERM"), ("mpich", "SIGTERM"), ("mpich", "SIGINT")],
)
def test_the_launcher_s_end_leaves_the_last_step_saved(folder, library, name):
    """Nothing is saved before, so what is found was saved because of the signal."""
    with started(on_ranks(folder, library, 3)) as process:
        for rank in range(3):
            wait_for(folder / f"{rank}.pid")
        wait_for(folder / "ck")
        time.sleep(0.5)
        process.send_signal(getattr(signal, name))
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode != 0, errors
    assert Folder(folder / "ck").newest() is not None
    goes_on(folder)
