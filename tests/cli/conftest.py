"""Commands run inside this process, in a folder with programs and data."""

import re
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from dtrain.cli.main import COMMANDS, main

MODEL = '''\
"""Programs for the tests."""

import numpy as np

from dtrain import base_function, layers, program, weight


@program
def net(x):
    hidden = np.tanh(layers.dense(x, 3, name="hidden"))
    return np.sum(hidden) * weight("gain")


@program
def line(p):
    return weight("slope") * p + weight("offset")


@program
def both(x):
    return {"sum": weight("gain") * np.sum(x), "all": np.exp(-x)}


@program
def scores(p):
    return weight("w", 3) * p


@base_function(vjp=lambda v, y, x: (v * (1 - y * y) * 1.0005,))
def almost_tanh(x):
    return np.tanh(x)


@program
def wrong(p):
    return almost_tanh(weight("W") * p) + weight("b")


def plain(p):
    return p
'''


@dataclass(frozen=True)
class Answer:
    """What a command has left: its exit code and its words."""

    code: int
    out: str
    err: str

    @property
    def table(self):
        """The rows of the table on stdout, by name."""
        return dict(re.findall(r"^(.+?)  +(.+)$", self.out, flags=re.MULTILINE))


def data():
    """Columns with more than one choice for every input and for the target."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 30, 4))
    p, q = rng.standard_normal((2, 30))
    return {"x": x, "y": y, "p": p, "q": q, "t": np.sin(p), "u": x[:, 0] - x[:, 1]}


def csv(columns):
    """Text of a CSV file of scalar columns."""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    lines = [",".join(columns), *(",".join(map(repr, row)) for row in rows)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with model.py and data."""
    monkeypatch.chdir(tmp_path)
    columns = data()
    scalars = {name: columns[name] for name in ("p", "q", "t")}
    (tmp_path / "model.py").write_text(MODEL)
    np.savez(tmp_path / "data.npz", **columns)
    (tmp_path / "data.csv").write_text(csv(scalars))
    (tmp_path / "data").mkdir()
    for name, column in scalars.items():
        np.save(tmp_path / "data" / f"{name}.npy", column)
    return tmp_path


@pytest.fixture
def dtrain(folder, capsys, monkeypatch):
    """Run a command's words, as main() would; the process is left as it was."""
    assert folder.is_dir()
    for variable in ("OPENBLAS", "OMP", "MKL"):
        monkeypatch.setenv(f"{variable}_NUM_THREADS", "1")

    def run(*words):
        path, modules = sys.path[:], set(sys.modules)
        try:
            code = main([str(word) for word in words])
        except SystemExit as leaving:
            code = leaving.code or 0
        finally:
            sys.path[:] = path
            for name in set(sys.modules) - modules:
                if not name.startswith(("dtrain", "numpy", "safetensors", "rich")):
                    del sys.modules[name]
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return run


@pytest.fixture(params=COMMANDS)
def command(request):
    """Each command's name."""
    return request.param


def options_of(dtrain, command):
    """The options that a command's help speaks of."""
    text = dtrain(command, "--help").out
    return set(re.findall(r"^  (--[a-z0-9-]+)", text, flags=re.MULTILINE))
