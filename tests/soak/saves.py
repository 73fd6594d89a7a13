"""Interrupted saves: the process is killed at a random byte of a random checkpoint.

Each trial trains in a process of its own that kills itself (SIGKILL) when it has
written so many bytes, and then goes on in folders that such kills have left. The run
must go on from the newest checkpoint that was complete, and end with the digest of the
undisturbed run.

    python -m tests.soak.saves --count 300 --seed 1
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS = 12  # of a run, each of them saved
CHILD = f"""
import io, os, signal, sys
from dtrain import Checkpoint, train
from dtrain.checkpoint import file
from tests.training.programs import net, net_data, settle

left = int(sys.argv[2])

def put(file, piece):
    global left
    if len(piece) >= left >= 0:
        file.write(bytes(piece[:left]))
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    left -= len(piece)
    file.write(piece)

if left >= 0:
    file._put = put
run = train(net, net_data(30), epochs={STEPS // 3}, batch=10, learning_rate=0.1,
            optimizer="adam", checkpoint=Checkpoint(sys.argv[1], resume=True, every=1),
            callbacks=[settle])
print(run.report["resumed_from_step"], run.digest)
"""


def train(folder: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    """Train in a process; it kills itself after so many bytes, with -1 never."""
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(kill_at)],
        env={**os.environ, "DTRAIN_WORLD": "solo"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def newest(folder: Path) -> int | None:
    """The newest complete checkpoint, by its name alone."""
    names = [re.fullmatch(r"step-(\d+)\.safetensors", p.name) for p in folder.iterdir()]
    return max((int(name[1]) for name in names if name), default=None)


def trial(rng: np.random.Generator, whole: int, digest: str) -> int:
    """Kill a run one to three times, and let it finish; return the kills.

    Raises:
        AssertionError: it did not go on from the newest, or ended with other bits.
    """
    kills = int(rng.integers(1, 4))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(kills):
            killed = train(folder, int(rng.integers(whole)))
            if killed.returncode == 0:  # more bytes than the rest of the run writes
                break
            assert killed.returncode == -signal.SIGKILL, killed.stderr
        expected = newest(folder)
        done = train(folder, -1)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(expected), digest], (expected, done)
        assert not list(folder.glob(".*")), "what was left is not removed"
    return kills


def undisturbed() -> tuple[int, str]:
    """How many bytes a run writes, about, and its digest."""
    with tempfile.TemporaryDirectory() as name:
        done = train(Path(name), -1)
        size = next(Path(name).iterdir()).stat().st_size
    assert done.returncode == 0, done.stderr
    return STEPS * size, done.stdout.split()[1]


def main() -> None:
    """Run so many trials, and print what they showed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="kills, at least")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, begun = np.random.default_rng(args.seed), time.monotonic()
    whole, digest = undisturbed()
    kills = runs = 0
    while kills < args.count:
        kills += trial(rng, whole, digest)
        runs += 1
    seconds = time.monotonic() - begun
    print(
        f"{kills} interrupted saves in {runs} runs, {seconds:.0f} s: each run went on"
    )
    print("from its newest complete checkpoint, and ended with the undisturbed digest")


if __name__ == "__main__":
    main()
