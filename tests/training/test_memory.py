"""However many steps are taken, memory stays as it was."""

import gc
import math
import tracemalloc

import numpy as np
import pytest

from dtrain import SoloWorld, program, train, weight
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer
from tests.training.programs import net, net_data

STEPS = 10_000


@program
def wide(x):
    return weight("w", (100,), 0.5) @ x


def sparse(path, shape):
    """Make a file of zeros that takes no room on the disk."""
    facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, facts)
        file.truncate(file.tell() + 4 * math.prod(shape))


@pytest.mark.parametrize("batch", [None, 1000])
def test_a_folder_is_never_in_memory_as_a_whole(tmp_path, batch):
    rows = 500_000 if batch is None else 100_000
    sparse(tmp_path / "x.npy", (rows, 100))
    sparse(tmp_path / "t.npy", (rows,))
    train(wide, {"x": np.ones((5, 100)), "t": np.ones(5)}, epochs=1, learning_rate=0.1)
    tracemalloc.start()
    try:
        run = train(wide, tmp_path, epochs=1, batch=batch, learning_rate=1e-3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert run.report["samples"] == rows
    assert peak < 400 * rows / 4


def test_columns_are_kept_once_in_the_dtype_of_the_run(tmp_path):
    rows, names = 20_000, [f"c{i}" for i in range(10)]
    path = tmp_path / "a.csv"
    line = ",".join(f"0.{i}" for i in range(11))
    path.write_text("\n".join([",".join([*names, "t"]), *[line] * rows]))
    sizes = []

    @program
    def ten(x):
        return weight("w", (10,), 0.5) @ x

    def look(_step):
        sizes.append(tracemalloc.get_traced_memory()[0])

    how = {"columns": {"x": "c0:c9"}, "epochs": 1, "learning_rate": 1e-3, "block": 100}
    train(ten, path, **how)  # what is loaded once
    tracemalloc.start()
    try:
        train(ten, path, batch=5000, callbacks=[look], **how)
    finally:
        tracemalloc.stop()
    floats = rows * 11
    assert 4 * floats < sizes[-1] < 12 * floats  # with float64 beside it: 17


def test_memory_is_flat_over_many_steps():
    settings = Settings(
        epochs=STEPS + 100, learning_rate=1e-3, optimizer="adam", block=8
    )
    trainer = Trainer(SoloWorld(), net, net_data(27), settings)
    batch = trainer.order.at(0)

    def steps(count: int) -> int:
        for _ in range(count):
            trainer.step(batch, 1e-3)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = steps(100)
        tracemalloc.reset_peak()
        after = steps(STEPS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2048  # a fifth of a byte for each step
    assert peak - before < 100_000
