"""Commands as a person starts them: alone, and under mpirun with both libraries."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dtrain import load
from tests.cli import many_runs
from tests.mpirun import clean_environment, mpirun
from tests.training.programs import digest, net_data

ROOT = Path(__file__).parents[2]
full = pytest.mark.full
libraries = pytest.mark.parametrize("library", ["openmpi", "mpich"])
SECONDS = 20  # that a slow import takes

MODEL = """\
import os
import time

import numpy as np

from dtrain import program, train, weight


def here():
    return int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", 0)))


@program
def line(p):
    return weight("slope") * p + weight("offset")


@program
def faulty(p):
    if here() == 2:
        raise KeyError("mine alone")
    return line(p)


@program
def drifting(p):
    a = weight("slope") * p
    b = np.sin(a) if here() == 1 else np.cos(a)
    return np.tanh(b)


def grumble(record):
    if record.step == 3 and here() == 2:
        raise KeyError("mine alone")


if __name__ == "__main__":
    x = np.linspace(-1, 1, 40)
    data = {"p": x, "t": x}
    train(line, data, epochs=1000, learning_rate=0.1, callbacks=[grumble])
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a program and data."""
    rng = np.random.default_rng(0)
    p, t = rng.standard_normal((2, 101))
    (tmp_path / "model.py").write_text(MODEL)
    np.savez(tmp_path / "data.npz", p=p, t=t)
    return tmp_path


def environment(**more):
    """The environment of a person who has this checkout installed."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path.rstrip(os.pathsep), **more}


def alone(*args, seconds=60, **env):
    """Run ``python *args`` without a launcher."""
    return subprocess.run(
        [sys.executable, *map(str, args)],
        env=clean_environment(environment(**env)),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def on_ranks(ranks, *args, library="openmpi", **env):
    """Run ``python *args`` under mpirun."""
    words = [str(arg) for arg in args]
    return mpirun(ranks, words, library=library, env=environment(**env), timeout=60)


def under_mpirun(ranks, *args, library="openmpi"):
    """Run ``python -m dtrain *args`` under mpirun."""
    return on_ranks(ranks, "-m", "dtrain", *args, library=library)


@pytest.fixture(scope="module")
def digests_alone(tmp_path_factory):
    """What the program of many runs prints without a launcher, and its folder."""
    folder = tmp_path_factory.mktemp("many")
    np.savez(folder / "data.npz", **net_data(53))
    (folder / "npy").mkdir()
    for name, column in net_data(53).items():
        np.save(folder / "npy" / f"{name}.npy", column)
    run = alone(many_runs.__file__, 1, folder)
    assert run.returncode == 0, run.stderr
    digests = json.loads(run.stdout)
    assert len(digests) == 2 * 2 * 2 * 2 + 2
    return digests, folder


@pytest.mark.parametrize(
    ("ranks", "library"),
    [
        pytest.param(2, "mpich", marks=full),
        (3, "openmpi"),
        (4, "mpich"),
        pytest.param(7, "openmpi", marks=full),
    ],
)
def test_many_ways_to_train_give_the_bits_of_one_process(digests_alone, ranks, library):
    right, folder = digests_alone
    words = [many_runs.__file__, ranks, folder]
    run = on_ranks(ranks, *words, library=library, OMPI_MCA_mpi_yield_when_idle="1")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == right
    assert len(set(right.values())) == len(right) - 1  # .npz and .npy are the same


@pytest.fixture(scope="module")
def default_alone(tmp_path_factory):
    """The report of the default run without a launcher."""
    path = tmp_path_factory.mktemp("default") / "r.json"
    run = alone("-m", "dtrain", "--epochs", 5, "--report", path)
    assert run.returncode == 0, run.stderr
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("ranks", "library"),
    [
        pytest.param(1, "openmpi", marks=full),
        (1, "mpich"),
        pytest.param(2, "openmpi", marks=full),
        (3, "mpich"),
        (4, "openmpi"),
        pytest.param(7, "mpich", marks=full),
    ],
)
def test_the_default_gives_one_digest_and_one_voice(
    default_alone, tmp_path, ranks, library
):
    words = ["--epochs", 5, "--report", tmp_path / "r.json", "--save", tmp_path / "w"]
    run = under_mpirun(ranks, *words, library=library)
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["weights_sha256"] == default_alone["weights_sha256"]
    assert report["loss_history"] == default_alone["loss_history"]
    assert report["ranks"] == ranks
    assert report["mpi"].startswith({"openmpi": "Open MPI", "mpich": "MPICH"}[library])
    assert digest(load(tmp_path / "w")) == report["weights_sha256"]
    assert run.outputs[1:] == run.errors[1:] == [""] * (ranks - 1)
    assert f"weights_sha256     {report['weights_sha256']}\n" in run.outputs[0]
    epochs = re.findall(r"^epoch (\d+) ", run.errors[0], flags=re.MULTILINE)
    assert epochs
    assert len(epochs) == len(set(epochs)) == len(run.errors[0].splitlines())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "w"]


@pytest.mark.parametrize(
    ("command", "library"), [("eval", "openmpi"), ("predict", "mpich")]
)
def test_eval_and_predict_are_one_process_s(folder, command, library):
    model, data = f"{folder}/model.py:line", folder / "data.npz"
    train = ["train", model, data, "--epochs", 2, "--quiet", "--save", folder / "w"]
    assert alone("-m", "dtrain", *train).returncode == 0
    words = [command, model, data, "--weights", folder / "w"]
    one, three = alone("-m", "dtrain", *words), under_mpirun(3, *words, library=library)
    assert (one.returncode, three.returncode) == (0, 0), three.stderr
    assert three.stdout == three.outputs[0]
    assert three.stdout.replace("ranks    3", "ranks    1") == one.stdout
    assert len(one.stdout.splitlines()) == {"eval": 6, "predict": 102}[command]


@libraries
def test_bad_input_is_told_once(folder, library):
    x = np.ones(40)
    x[33] = np.nan  # in the share of the last rank
    np.savez(folder / "nan.npz", p=x, t=x)
    run = under_mpirun(
        3, f"{folder}/model.py:line", folder / "nan.npz", library=library
    )
    assert run.returncode == 2
    errors = "".join(run.errors)
    assert errors.count("dtrain: error:") == errors.count("\n") == 1
    assert "rank 2: " in errors
    assert "row 34, column 'p' is nan" in errors
    assert "Traceback" not in run.stderr


IDLE = [
    (
        ["--batch", "8", "--block", "8"],
        "1 block of 8 samples keeps only 1 of 3 ranks busy; --block 3 would use "
        "all, with other bits in the result",
    ),
    (
        ["--batch", "2", "--block", "2"],
        "1 block of 2 samples keeps only 1 of 3 ranks busy; --block 1 would use 2, "
        "with other bits in the result",
    ),
    (
        ["--batch", "2", "--block", "1"],
        "2 blocks of 1 sample keep only 2 of 3 ranks busy; a batch of 2 has no "
        "more than 2 blocks",
    ),
]


def test_ranks_without_work_are_told_of(folder):
    """One mpirun for all: each rank calls the command several times."""
    first = [f"{folder}/model.py:line", f"{folder}/data.npz", "--epochs", "1"]
    commands = [[*first, *words] for words, _ in IDLE]
    code = (
        "from dtrain.cli.main import main; "
        f"print([main(words) for words in {commands}])"
    )
    run = on_ranks(3, "-c", code)
    assert run.returncode == 0, run.stderr
    assert all(text.endswith("[0, 0, 0]\n") for text in run.outputs)
    told = [line for line in run.errors[0].splitlines() if " busy; " in line]
    assert told == [f"dtrain: {text}" for _, text in IDLE]


@libraries
def test_wrong_usage_is_told_once(library):
    run = under_mpirun(3, "--epochs", "many", library=library)
    assert run.returncode == 2
    assert "".join(run.errors).count("argument --epochs: must be") == 1


@pytest.mark.parametrize(
    "words",
    [["eval", "--weights", "gone"], ["predict", "--weights", "gone"], ["check"]],
    ids=lambda words: words[0],
)
def test_what_takes_too_long_is_ended(folder, words):
    """As reading data from a file system that hangs, here the program's file."""
    (folder / "slow.py").write_text(f"import time\ntime.sleep({SECONDS})\n")
    command, *rest = words
    words = [command, folder / "slow.py:line", folder / "data.npz", *rest]
    run = alone("-m", "dtrain", *words, "--timeout", 1)
    assert run.returncode == 71
    assert "no progress for 1 s" in run.stderr
    assert "time.sleep" in run.stderr


def test_a_damaged_checkpoint_is_told_once(folder):
    model, data = f"{folder}/model.py:line", folder / "data.npz"
    words = [model, data, "--epochs", 3, "--checkpoint", folder / "c", "--quiet"]
    assert alone("-m", "dtrain", *words, "--save-every", 1).returncode == 0
    newest = max((folder / "c").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    for command in ("eval", "predict"):
        run = under_mpirun(2, command, model, data, "--weights", folder / "c")
        assert run.returncode == 0, run.stderr
        (line,) = "".join(run.errors).splitlines()
        assert line.startswith(f"dtrain: checkpoint {newest} is damaged")
        assert line.endswith("looking for the one before")


@libraries
def test_a_rank_with_other_data_is_named(folder, library):
    """As on a host whose copy of the file is an old one."""
    for rank in range(3):
        (folder / str(rank)).mkdir()
        p = np.arange(10.0) + (rank == 1)
        np.savez(folder / str(rank) / "data.npz", p=p, t=p)
    code = (
        "import os, sys; from dtrain.cli.main import main; "
        f"os.chdir({str(folder)!r} + '/' + os.environ.get('OMPI_COMM_WORLD_RANK', "
        "os.environ.get('PMI_RANK'))); "
        f"sys.exit(main(['{folder}/model.py:line', 'data.npz', '--save', 'w']))"
    )
    run = on_ranks(3, "-c", code, library=library)
    assert run.returncode == 2
    errors = "".join(run.errors)
    assert errors.count("dtrain: error:") == errors.count("\n") == 1
    assert re.search(r"the same data set: rank 1 on \S+ \(", errors)
    assert list(folder.glob("*/w")) == []


@libraries
def test_a_program_that_fails_on_one_rank_ends_all(folder, library):
    run = under_mpirun(
        4, f"{folder}/model.py:faulty", folder / "data.npz", library=library
    )
    assert run.returncode == 2  # it could not be traced
    errors = "".join(run.errors)
    assert errors.count("KeyError: 'mine alone'") == 1
    assert errors.count("dtrain: error:") == 1
    assert "dtrain: error: rank 2: program faulty raised" in errors
    assert "in faulty" in errors
    assert "dtrain/tracing" not in errors


@libraries
def test_the_first_node_of_another_program_is_named_with_its_line(folder, library):
    model = f"{folder}/model.py"
    run = under_mpirun(3, f"{model}:drifting", folder / "data.npz", library=library)
    assert run.returncode == 2
    errors = "".join(run.errors)
    assert errors.count("dtrain: error:") == errors.count("\n") == 1
    line = 1 + MODEL.partition("    b = ")[0].count("\n")
    at = rf"of shape \(\) at \S*model.py:{line} on rank"
    assert "the same program: rank 1 on " in errors
    assert re.search(rf"sin\(2\) {at} 1, cos\(2\) {at} 0", errors)


@libraries
def test_a_callback_that_fails_on_one_rank_ends_all(folder, library):
    run = on_ranks(4, folder / "model.py", library=library)
    assert run.returncode != 0
    errors = "".join(run.errors)
    assert errors.count("KeyError: 'mine alone'") == 1
    assert re.search(r"^\S+:2: Traceback", errors, flags=re.MULTILINE)
    assert "in grumble" in errors


def test_an_error_that_ranks_agree_on_has_one_traceback():
    """Rank 1 cannot read a file for a reason that is none of dtrain's errors."""
    code = (
        "import os, sys; from dtrain.cli.main import main; "
        "import dtrain.problem.problem as problem; "
        "rank = os.environ['OMPI_COMM_WORLD_RANK']; "
        "real = problem.open_data; "
        "problem.open_data = lambda *a: real(*a) if rank != '1' else 1 / 0; "
        "sys.exit(main(['lecture', '--epochs', '1']))"
    )
    run = on_ranks(3, "-c", code)
    assert run.returncode == 70
    assert [text.count("ZeroDivisionError") for text in run.errors] == [1, 0, 0]
    assert "rank 1 on" in run.errors[0]


SEEN = "; print([name for name in ('mpi4py', 'rich', 'numpy') if name in sys.modules])"


def test_nothing_heavy_is_imported_without_need():
    code = "import sys; from dtrain.cli.main import main; code = main({}){}"
    words = ["lecture", "--epochs", "1", "--quiet"]
    assert alone("-c", code.format(words, SEEN)).stdout == "['numpy']\n"
    words = ["lecture", "--epochs", "1"]
    lines = alone("-c", code.format(words, SEEN)).stdout.splitlines()
    assert lines[-1] == "['numpy']"
    assert alone("-c", f"import sys, dtrain{SEEN}").stdout == "[]\n"


def test_blas_hears_of_the_threads_before_numpy_is_there():
    code = (
        "import os, sys\n"
        "from dtrain.cli.main import main\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy':\n"
        "            print(os.environ.get('OPENBLAS_NUM_THREADS'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "main(['show', 'lecture', '--help'] if len(sys.argv) == 1 else "
        "['lecture', '--quiet', '--epochs', '1', sys.argv[1]])\n"
    )
    assert alone("-c", code).stdout.splitlines()[0] == "1"
    assert alone("-c", code, "--threads=3").stdout == "3\n"


def test_the_reader_of_a_pipe_may_leave():
    """As head does, in: dtrain predict ... | head."""
    with subprocess.Popen(
        [sys.executable, "-m", "dtrain", "show", "mlp"],
        env=clean_environment(environment()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) == 141
    assert errors == ""


@pytest.mark.parametrize("full", ["--save", "--report"])
def test_what_cannot_be_written_withholds_nothing_else(folder, full):
    """A disk may become full in a long run: what came of it must not be lost."""
    files = {"--save": folder / "w", "--report": folder / "r", full: "/dev/full"}
    words = [f"{folder}/model.py:line", folder / "data.npz", "--epochs", 2]
    run = under_mpirun(2, *words, *(word for each in files.items() for word in each))
    assert run.returncode == 2
    assert "weights_sha256" in run.outputs[0]
    errors = re.findall("dtrain: error: .*", "".join(run.errors))
    assert len(errors) == 1
    assert "/dev/full: No space left on device" in errors[0]
    if full == "--save":
        report = json.loads((folder / "r").read_text())
        assert report["weights_sha256"] in run.outputs[0]
    else:
        assert digest(load(folder / "w")) in run.outputs[0]


def test_every_rank_keeps_a_log(folder):
    words = [
        f"{folder}/model.py:line",
        folder / "data.npz",
        "--log-dir",
        folder / "l/m",
    ]
    run = under_mpirun(2, *words, "--epochs", 2, library="mpich")
    assert run.returncode == 0, run.stderr
    logs = [(folder / f"l/m/rank-{rank}.log").read_text() for rank in range(2)]
    assert set(run.stdout.splitlines()) <= set(logs[0].splitlines())
    assert logs[1] == ""
    run = under_mpirun(3, f"{folder}/model.py:faulty", *words[1:], library="mpich")
    assert (
        "dtrain: error: rank 2: program faulty"
        in Path(words[-1], "rank-0.log").read_text()
    )


@pytest.mark.parametrize(("stream", "code"), [("stdout", 2), ("stderr", 0)])
def test_a_full_disk_under_a_stream_costs_no_weights(folder, stream, code):
    words = [f"{folder}/model.py:line", folder / "data.npz", "--save", folder / "w"]
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "dtrain", *map(str, words)],
            env=clean_environment(environment()),
            text=True,
            check=False,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full},
        )
    assert run.returncode == code
    assert "slope" in load(folder / "w")
    if stream == "stdout":
        assert run.stderr.splitlines()[-1] == (
            "dtrain: error: cannot write to standard output: No space left on device"
        )


@pytest.mark.parametrize(
    ("words", "told"),
    [(["train", "--help"], r"--learning-rate \u03b7"), (["nö"], r"'n\xf6'")],
)
def test_what_a_terminal_cannot_show_is_escaped(words, told):
    run = alone("-m", "dtrain", *words, PYTHONIOENCODING="ascii")
    assert told in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert run.returncode == (0 if run.stdout else 2)


def test_streams_that_were_never_open_are_no_files_of_ours(folder):
    words = f"-m dtrain {folder}/model.py:line {folder}/data.npz --save {folder}/w"
    run = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} {words} <&- >&- 2>&-"],
        env=clean_environment(environment()),
        check=False,
    )
    assert run.returncode == 0
    assert "slope" in load(folder / "w")
