"""Bad input of every kind: one message and exit code 2, no frames of ours, no code run.

Valid files and command lines are damaged: bytes flipped, cut, inserted and repeated,
arrays of every dtype and shape, headers that lie, pickles that would make a file. What
is still valid may succeed. The same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from dtrain.checkpoint.output import save
from dtrain.cli import main as cli
from dtrain.cli.train import add_arguments
from dtrain.cli.words import Parser

LONGEST = 20  # seconds for one input
PROOF = "a-pickle-was-here"

MODEL = """\
import numpy as np
from dtrain import layers, program, weight


@program
def line(p):
    return weight("slope") * p + weight("offset")


@program
def net(x):
    hidden = np.tanh(layers.dense(x, 3, name="hidden"))
    return np.sum(hidden) * weight("gain")
"""
LINES = [
    *MODEL.splitlines(),
    "    return np.stack([p, weight('W')])",
    "    if p > 0: return weight('W')",
    "    return None",
    "    return weight('W', (3, -1)) @ p",
    "    return weight(7) * p",
    "    return np.linalg.qr(p)",
    "    p[0] = 1",
    "    raise KeyError('mine')",
    "    return weight('W') / 0 * p",
    "    return weight('W', init='nope') * p",
    "import no_such_module",
    "def line(p): return p",
    "line = 3",
    "\x00",
    "été = '\ud7ff'",
]


class Bomb:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        """Make a file in the working folder."""
        return _plant, (PROOF,)


def _plant(name: str) -> None:
    Path(name).write_text("code was run")


@dataclass
class Try:
    """A command line, and the files that it needs."""

    words: list[str]
    files: dict[str, bytes]


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _npz(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name twice
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _checkpoint() -> bytes:
    """What a run of the model leaves after two epochs."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.py").write_text(MODEL)
        Path(folder, "data.csv").write_bytes(DATA)
        words = ["-m", "dtrain", *TRAIN, "--checkpoint", "saved", "--quiet"]
        subprocess.run([sys.executable, *words], cwd=folder, check=True)
        return Path(folder, SAVED).read_bytes()


def _weights() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save({"slope": np.ones(()), "offset": np.ones(())}, f"{folder}/w")
        return Path(folder, "w").read_bytes()


_P = np.linspace(-1, 1, 12)
DATA = b"p,q,t\n" + b"".join(b"%f,2,%f\n" % (p, p) for p in _P)
TRAIN = ["train", "model.py:line", "data.csv", "--epochs", "2"]
SAVED = "saved/step-00000002.safetensors"
WITH_WEIGHTS = [
    ["eval", "model.py:line", "data.csv", "--weights", "w.safetensors"],
    ["predict", "model.py:line", "data.csv", "--weights", "w.safetensors"],
]
WITH_CHECKPOINT = [
    [*TRAIN, "--checkpoint", "saved", "--resume"],
    [*TRAIN, "--checkpoint", "saved", "--resume", "--force"],
    [*TRAIN, "--epochs", "3", "--checkpoint", "saved", "--resume", "--force"],
    [*TRAIN, "--weights", SAVED],
    [*WITH_WEIGHTS[0][:-1], "saved"],
    [*WITH_WEIGHTS[1][:-1], SAVED],
]
VALID = {
    "data.csv": DATA,
    "data.npz": _npz(
        {"p.npy": _npy(_P), "t.npy": _npy(_P), "x.npy": _npy(_P[:, None])}
    ),
    "p.npy": _npy(_P),
    "model.py": MODEL.encode(),
    "w.safetensors": _weights(),
    SAVED: _checkpoint(),
}

# fmt: off
NUMBERS = [
    "0", "1", "2", "3", "-1", "-0", "1.5", "1e3", "nan", "inf", "-inf", "1e400",
    "1e-400", "0x10", "1_0", "١", "１", "many", "true", "None", "4294967296",
    "99999999999999999999", "-9223372036854775808",
]
# fmt: on
# fmt: off
WORDS = [
    "--help", "-h", "--", "-", ".", "..", "/", "/dev/null", "/dev/full",
    "/proc/self/mem", "~", "*", "%s", "{}", "--epochs=2", "full", "model.py",
    "data.csv", "x=pixel_0:", "p=q", "p=:q:", "p=", "=p", "p=q=r", "p=t:p", "t",
    "label", "sgd", "adam", "square", "huber", "line", "float16", "float64",
    "numpy", "fused", "sequential", "levels", "constant", "cosine",
]
# fmt: on
numbers = st.sampled_from([*NUMBERS, "", " ", "\x00", "\n", "é" * 300])
nasty = st.one_of(numbers, st.text(max_size=12), st.sampled_from(WORDS))
# fmt: off
DTYPES = [
    "f8", "f4", "f2", "i8", "u1", "?", "c16", "M8[s]", "m8[s]", "S3", "U3", "O",
    ">f8", ">i4", "V5", "f8,i4", "g",
]
# fmt: on


@st.composite
def damaged(draw: Callable[..., Any], content: bytes) -> bytes:
    """Content with one to four places cut, flipped, repeated or filled."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        to = min(len(content), at + draw(st.integers(0, 40)))
        new = draw(
            st.one_of(
                st.just(b""),
                st.binary(max_size=9),
                st.binary(min_size=to - at, max_size=to - at),
                st.sampled_from(
                    [content[:at], content[at:to] * 2, b"\xff" * (to - at)]
                ),
                st.sampled_from(
                    [b",", b'"', b"\n", b"nan", b"1e999", b"-", b"\r", b"#"]
                ),
            )
        )
        content = content[:at] + new + content[to:]
        if draw(st.integers(0, 9)) == 0:
            content = content[:at]
    return content


@st.composite
def arrays(draw: Callable[..., Any]) -> bytes:
    """A .npy file: any dtype, any shape, perhaps with a header that lies."""
    kind = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 12), max_size=3)))
    if kind == "O":
        array = np.empty(shape, object)
        array.fill(Bomb())
        return _npy(array)
    content = _npy(np.zeros(shape, kind))
    if draw(st.booleans()):
        lie = draw(st.sampled_from(["(99,)", "(10**15,)", "(-1,)", "12", "(1<<62, 8)"]))
        content = re.sub(rb"\(.*?\)", lie.encode(), content, count=1)
    return content


@st.composite
def headers(draw: Callable[..., Any]) -> bytes:
    """A safetensors file whose header says what it should not."""
    entry = {
        "dtype": draw(st.sampled_from(["F32", "F64", "BF16", "I64", "F8", 3, None])),
        "shape": draw(st.sampled_from([[], [2], [-1], [1 << 62, 8], "2", [[1]], None])),
        "data_offsets": draw(
            st.sampled_from([[0, 4], [0, 8], [8, 0], [0, 1 << 60], [-8, 0], [], None])
        ),
    }
    names = draw(
        st.sampled_from([["slope"], ["slope", "offset"], ["__metadata__"], []])
    )
    header = json.dumps(dict.fromkeys(names, entry)).encode()
    size = draw(st.sampled_from([len(header), 0, 1 << 62, len(header) + 1, 1]))
    return struct.pack("<Q", size) + header + bytes(draw(st.integers(0, 24)))


@st.composite
def checkpoints(draw: Callable[..., Any]) -> bytes:
    """A checkpoint that is damaged; or one whose SHA-256 vouches for a lie."""
    content = VALID[SAVED]
    if draw(st.booleans()):
        return draw(damaged(content))
    size = int.from_bytes(content[:8], "little")
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size : -32]
    facts = json.loads(header["__metadata__"]["dtrain.checkpoint"])
    lies = st.sampled_from(
        [None, True, 0, -1, 3, 1 << 70, 0.5, float("nan"), "", "é", [], [[1]], {}]
    )
    for _ in range(draw(st.integers(1, 3))):
        table = draw(st.sampled_from([facts, facts, facts["run"], header]))
        name = draw(st.sampled_from([*table, "slope"]))
        if name == "__metadata__":
            continue
        if table is header and draw(st.booleans()):
            entry = {**header[name]} if isinstance(header.get(name), dict) else {}
            entry["dtype"] = draw(st.sampled_from(["F32", "F64", "I64", "U8", "BF16"]))
            table[name] = entry
        elif draw(st.booleans()):
            table[name] = draw(lies)
        else:
            table.pop(name, None)
        if not isinstance(facts.get("run"), dict):
            break
    header["__metadata__"]["dtrain.checkpoint"] = json.dumps(facts)
    text = json.dumps(header).encode()
    if draw(st.integers(0, 3)) == 0:
        rest = draw(damaged(rest))
    content = len(text).to_bytes(8, "little") + text + rest
    return content + hashlib.sha256(content).digest()


def _options() -> list[str]:
    parser = Parser(prog="dtrain")
    add_arguments(parser)
    # These may do what they say: run for long, or write where they are told to.
    unfit = {"--help", "-h", "--epochs", "--save", "--report", "--log-dir", "--threads"}
    unfit |= {"--checkpoint"}
    return sorted({o for a in parser._actions for o in a.option_strings} - unfit)


def pickles() -> st.SearchStrategy[bytes]:
    """A pickle that makes a file when it is loaded."""
    return st.integers(0, 5).map(lambda version: pickle.dumps(Bomb(), version))


@st.composite
def programs(draw: Callable[..., Any]) -> str:
    """A program file with some lines taken out, replaced or put in."""
    lines = MODEL.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        to = at + draw(st.integers(0, 1))
        lines[at:to] = draw(st.lists(st.sampled_from(LINES), max_size=1))
    return "\n".join(lines) + "\n"


@st.composite
def tries(draw: Callable[..., Any], kind: str) -> Try:
    """Something bad of a kind."""
    if kind == "csv":
        return Try(TRAIN, {"data.csv": draw(damaged(VALID["data.csv"]))})
    if kind == "npz":
        names = st.sampled_from(
            ["p.npy", "t.npy", "x.npy", "p", "../t.npy", " ", "é.npy"]
        )
        content = st.one_of(arrays(), pickles(), *[damaged(VALID["p.npy"])] * 3)
        made = st.dictionaries(names, content, max_size=3).map(_npz)
        data = draw(st.one_of(damaged(VALID["data.npz"]), made, pickles()))
        return Try([*TRAIN[:2], "data.npz", *TRAIN[3:]], {"data.npz": data})
    if kind == "npy":
        content = st.one_of(arrays(), pickles(), *[damaged(VALID["p.npy"])] * 3)
        files = {
            "d/p.npy": draw(content),
            "d/t.npy": draw(content | st.just(VALID["p.npy"])),
        }
        return Try([*TRAIN[:2], "d", *TRAIN[3:]], files)
    if kind == "weights":
        content = st.one_of(
            damaged(VALID["w.safetensors"]), headers(), pickles(), arrays()
        )
        words = draw(st.sampled_from(WITH_WEIGHTS))
        return Try(words, {"w.safetensors": draw(content)})
    if kind == "checkpoint":
        words = draw(st.sampled_from(WITH_CHECKPOINT))
        content = st.one_of(*[checkpoints()] * 3, headers(), pickles(), arrays())
        files = {SAVED: draw(content)}
        if draw(st.booleans()):  # beside one that is as it should be
            files[SAVED.replace("2", "1")] = VALID[SAVED]
        return Try(words, files)
    if kind == "program":
        text = draw(programs())
        name = draw(
            st.sampled_from(["line"] * 4 + ["net"] * 4 + ["nope", "np", "a.b", ""])
        )
        data = "data.npz"
        words = ["train", f"model.py:{name}", data, "--epochs", "2"]
        return Try(words, {"model.py": text.encode(errors="replace")})
    words = draw(st.sampled_from([TRAIN, *WITH_WEIGHTS])).copy()
    for _ in range(draw(st.integers(1, 3))):
        option = draw(st.sampled_from(_options()) | nasty)
        more = [option, draw(nasty)] if draw(st.integers(0, 3)) else [option]
        at = draw(st.integers(1, len(words)))
        words[at:at] = more
    return Try(words, {})


KINDS = ("csv", "npz", "npy", "weights", "checkpoint", "program", "options")


@contextlib.contextmanager
def workplace(files: dict[str, bytes]) -> Iterator[Path]:
    """A folder with the files, as the working one; the process is left as it was."""
    before, path, modules = os.getcwd(), sys.path[:], set(sys.modules)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {**VALID, **files}.items():
            target = Path(folder, name)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)
            sys.path[:] = path
            for name in set(sys.modules) - modules:
                if getattr(sys.modules[name], "__file__", "").startswith(folder):
                    del sys.modules[name]


def _too_long(*_: object) -> None:
    raise TimeoutError(f"not done after {LONGEST} s")


def attempt(trial: Try) -> int:
    """Run one input; assert what must hold for each; give the exit code."""
    out, err = io.StringIO(), io.StringIO()
    with (
        workplace(trial.files) as folder,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        before = signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(LONGEST)
        try:
            code = cli.main(trial.words)
        except SystemExit as leaving:  # --help
            code = int(leaving.code or 0)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        assert not list(folder.rglob(PROOF)), f"code was run: {trial}"
    said = err.getvalue()
    note = f"{code}: {said}\n{trial}"
    assert code in (0, 2, 70), note
    frames = re.findall(r'File "([^"]+)", line', said)
    assert all(Path(folder.name) and folder.name in frame for frame in frames), note
    ours = [w for w in warned if "dtrain" in str(w.filename)]
    assert not ours, f"{ours}\n{note}"
    if code == 2:
        assert said.count("dtrain: error: ") == 1, note
    if code == 70:  # the loss of these data is not finite, and that is told
        assert re.search("overflowed|not finite|NaN", said), note
    return code


def search(count: int, number: int) -> Counter[tuple[str, int]]:
    """Try so many inputs of all kinds; how many of each kind had each exit code."""
    found: Counter[tuple[str, int]] = Counter()
    for index, kind in enumerate(KINDS):
        share = len(range(index, count, len(KINDS)))
        found.update((kind, code) for code in attempts(kind, share, number))
    return found


def attempts(kind: str, count: int, number: int) -> list[int]:
    """Try so many inputs of a kind; give their exit codes."""
    codes: list[int] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(tries(kind))
    def one(trial: Try) -> None:
        codes.append(attempt(trial))

    one()
    return codes


def main() -> None:
    """Try them all and print what came out; what fails is raised, made small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="inputs of all kinds")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = search(args.count, args.seed)
    codes: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    for (kind, code), times in found.items():
        codes[code] += times
        kinds[kind] += times
    print(
        f"fuzz: {found.total()} inputs "
        f"({', '.join(f'{times} {kind}' for kind, times in kinds.items())}): "
        f"{codes[2]} refused with 2, {codes[0]} harmless, {codes[70]} not finite; "
        "no traceback of ours, no hang, no code run"
    )


if __name__ == "__main__":
    main()
