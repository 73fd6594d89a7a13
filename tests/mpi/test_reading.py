"""A file is parsed once on each host: the ranks share its columns, to the same bits."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from dtrain import SoloWorld, program, train, weight
from dtrain.data import csv_file
from dtrain.errors import DataError
from dtrain.problem import reading
from dtrain.reduction import segment
from dtrain.worlds import host_memory
from dtrain.worlds.opening import open_world

pytestmark = pytest.mark.mpi
HOW = {"epochs": 3, "batch": 100, "block": 7, "learning_rate": 1e-5}
CITIES = ["Bonn", "Köln", "Ulm"]


@program
def levels(city, x):
    return weight("level", (3,))[city] + weight("w", (2,)) @ x


@pytest.fixture(scope="module")
def world():
    world = open_world()
    assert world.size == int(os.environ["DTRAIN_TEST_RANKS"])
    return world


@pytest.fixture
def folder(world, tmp_path):
    """One folder for all ranks of a host, at the same path on every host."""
    folder = Path(world.allgather(os.fsencode(tmp_path))[0].decode())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def first_on_its_host(world):
    return world.hosts.index(world.hosts[world.rank]) == world.rank


def write(world, path, rows=500, bad=""):
    lines = [f"{CITIES[i % 3]},{i / 7},{-i / 9},{i % 5}" for i in range(rows)]
    lines[3] = "Ulm,,1,1"
    if first_on_its_host(world):
        path.write_text("\n".join(["city,a,b,t", *lines, bad]))
    world.allgather(b"")  # it is there
    return path


def counted(monkeypatch):
    calls = []
    real = csv_file.CsvFile.parts
    monkeypatch.setattr(
        csv_file.CsvFile, "parts", lambda *args: (calls.append(1), real(*args))[1]
    )
    monkeypatch.setattr(reading, "SMALL", 0)
    return calls


def fit(world, path):
    columns = {"x": "a,b"}
    return train(levels, path, world=world, columns=columns, missing="skip", **HOW)


def test_one_rank_of_a_host_parses(world, folder, monkeypatch):
    def work(world):
        path = write(world, folder / "a.csv")
        alone = fit(SoloWorld(), path)
        calls = counted(monkeypatch)
        run = fit(world, path)
        counts = [int(text) for text in world.allgather(str(len(calls)).encode())]
        first = [group[0] for group in world.groups]
        # Once as numbers, and again with the city as text.
        assert counts == [2 if rank in first else 0 for rank in range(world.size)]
        assert run.digest == alone.digest
        assert run.categories == alone.categories == {"city": CITIES}
        assert run.report["rows_left_out"] == 1

    world.run(work)


def test_each_rank_reads_where_memory_cannot_be_shared(world, folder, monkeypatch):
    def work(world):
        path = write(world, folder / "a.csv")
        alone = fit(SoloWorld(), path)
        calls = counted(monkeypatch)

        def refuse(*_):
            raise OSError("not here")

        monkeypatch.setattr(host_memory, "_map", refuse)
        assert fit(world, path).digest == alone.digest
        assert calls

    world.run(work)


def test_an_error_in_the_file_is_raised_on_every_rank(world, folder, monkeypatch):
    def work(world):
        path = write(world, folder / "a.csv", bad="Ulm,1,2")
        counted(monkeypatch)
        with pytest.raises(DataError, match="line 502, row 501 has 3 fields"):
            fit(world, path)

    world.run(work)


def test_the_columns_are_in_memory_once_and_go_with_the_run(world, folder, monkeypatch):
    def work(world):
        path = write(world, folder / "a.csv")
        counted(monkeypatch)
        sizes = []

        def look(step):
            if step.step == 1:
                sizes.append(len(mapped()))

        before = len(mapped())
        train(
            levels,
            path,
            world=world,
            columns={"x": "a,b"},
            missing="skip",
            callbacks=[look],
            **HOW,
        )
        shared = len(world.groups) < world.size
        assert (sizes[0] > before) == shared
        # What was read has gone; city, x and the target are left, and sums.
        assert sizes[0] <= before + 3 + 2
        gc.collect()
        assert len(mapped()) <= before + 2

    world.run(work)


def mapped():
    text = Path("/proc/self/maps").read_text()
    return [line for line in text.splitlines() if f"memfd:{segment.NAME}" in line]


def test_small_numbers_of_rows_are_read_by_each_rank(world, folder, monkeypatch):
    def work(world):
        path = write(world, folder / "a.csv", 30)
        calls = counted(monkeypatch)
        monkeypatch.setattr(reading, "SMALL", 1 << 20)
        fit(world, path)
        assert calls

    world.run(work)


def test_shared_columns_are_those_of_the_file(world, folder, monkeypatch):
    def work(world):
        values = np.random.default_rng(0).normal(size=(50, 3))
        path = folder / "a.npz"
        if first_on_its_host(world):
            np.savez(path, x=values, t=values[:, 0])
        world.allgather(b"")
        monkeypatch.setattr(reading, "SMALL", 0)

        @program
        def line(x):
            return weight("w", (3,), 0.0) @ x

        for dtype in ("float32", "float64"):
            runs = [
                train(line, path, world=each, dtype=dtype, **HOW)
                for each in (world, SoloWorld())
            ]
            assert runs[0].digest == runs[1].digest

    world.run(work)
