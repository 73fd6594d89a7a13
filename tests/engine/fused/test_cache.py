"""The cache of compiled code: reuse, sharing among ranks, damaged files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrain import loss_and_gradient, program, weight
from dtrain.engine.fused import cache, kernels
from dtrain.errors import UsageError
from dtrain.problem import evaluate


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, for a process that has loaded nothing."""
    monkeypatch.setenv("DTRAIN_CACHE", str(tmp_path / "cache"))
    forget(monkeypatch)
    return tmp_path / "cache"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate._evaluators.clear()  # its plans call the code that is forgotten
    monkeypatch.setattr(kernels, "_addresses", {})
    monkeypatch.setattr(kernels, "_libraries", [])
    cache._say.cache_clear()


@program
def curve(x):
    return np.tanh(weight("a") * x) + weight("b")


def gradient() -> bytes:
    x = np.linspace(-2, 2, 101)
    loss, found = loss_and_gradient(
        curve, {"a": 0.7, "b": 0.1}, [x], np.sin(x), block=30, backend="fused"
    )
    return np.array([loss, found["a"], found["b"]]).tobytes()


def codes(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.o"))


def test_a_warm_cache_gives_the_bits_of_a_cold_one_and_compiles_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dtrain.engine.fused import native

    cold = gradient()
    written = {file: file.stat().st_mtime_ns for file in codes(folder)}
    assert written
    assert folder.stat().st_mode & 0o77 == 0
    forget(monkeypatch)

    def compiled(*_: Any) -> bytes:
        raise AssertionError("compiled again")

    monkeypatch.setattr(native, "compiled", compiled)
    assert gradient() == cold
    assert {file: file.stat().st_mtime_ns for file in codes(folder)} == written


@pytest.mark.parametrize("damage", ["empty", "cut", "changed"])
def test_damaged_code_is_compiled_again(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    cold = gradient()
    kept = {file: file.read_bytes() for file in codes(folder)}
    for file, content in kept.items():
        half = len(content) // 2
        other = bytes([content[half] ^ 1])
        file.write_bytes(
            {
                "empty": b"",
                "cut": content[:half],
                "changed": content[:half] + other + content[half + 1 :],
            }[damage]
        )
    forget(monkeypatch)
    capfd.readouterr()
    assert gradient() == cold
    assert "is damaged; compiling its code again" in capfd.readouterr().err
    assert {file: file.read_bytes() for file in codes(folder)} == kept


@pytest.mark.parametrize("obstacle", ["a file", "no home", "full"])
def test_a_cache_that_cannot_be_used_costs_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    obstacle: str,
) -> None:
    cold = gradient()
    forget(monkeypatch)
    if obstacle == "a file":
        path = folder.parent / "file"
        path.touch()
        monkeypatch.setenv("DTRAIN_CACHE", str(path))
    elif obstacle == "no home":
        monkeypatch.delenv("DTRAIN_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

        def home() -> Path:
            raise RuntimeError("there is no home")

        monkeypatch.setattr(Path, "home", home)
    else:
        for file in codes(folder):
            file.unlink()

        def replace(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", replace)
    capfd.readouterr()
    assert gradient() == cold
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("dtrain: cannot cache compiled code (")
    if obstacle == "full":
        assert [file.name for file in folder.iterdir()] == ["lock"]


def test_the_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DTRAIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.folder() == Path("/somewhere/dtrain")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache.folder() == Path("/home/somebody/.cache/dtrain")


def test_one_compiles_and_the_others_wait(folder: Path) -> None:
    begun, going = threading.Event(), threading.Event()
    made = []

    def make() -> bytes:
        made.append(threading.get_ident())
        begun.set()
        assert going.wait(10)
        return b"code"

    found: list[bytes] = []
    ranks = [
        threading.Thread(target=lambda: found.append(cache.cached("key", make)))
        for _ in range(4)
    ]
    for rank in ranks:
        rank.start()
    assert begun.wait(10)
    going.set()
    for rank in ranks:
        rank.join(10)
    assert found == [b"code"] * 4
    assert len(made) == 1
    assert [file.name for file in codes(folder)] == ["key.o"]


HOLDER = """
import fcntl, sys, time
lock = open(sys.argv[1], "wb")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_compiler_process_releases_the_lock(folder: Path) -> None:
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder / "lock")], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        found: list[bytes] = []
        waiting = threading.Thread(
            target=lambda: found.append(cache.cached("key", lambda: b"code"))
        )
        waiting.start()
        waiting.join(0.1)
        assert not found
        holder.kill()
        waiting.join(10)
        assert found == [b"code"]


def test_waiting_for_a_hanging_compiler_process_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "PATIENCE", 0.05)
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder / "lock")], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        assert cache.cached("key", lambda: b"code") == b"code"
        holder.kill()


def test_the_error_without_llvmlite_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    with pytest.raises(UsageError, match=r"pip install 'dtrain\[fast\]'"):
        gradient()


def test_only_the_fused_backend_loads_llvm() -> None:
    code = """
import sys
import numpy as np
from dtrain import loss_and_gradient, program, weight
line = program(lambda x: weight("w") * x)
for backend in ("numpy", "fused"):
    loss_and_gradient(line, {"w": 1.0}, [np.ones(3)], loss="mean", backend=backend)
    print("llvmlite" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "True"]
