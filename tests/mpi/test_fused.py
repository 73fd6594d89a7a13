"""Ranks that are processes compile the fused backend's kernels once on each host."""

import os
import tempfile
from pathlib import Path

import pytest

from dtrain import SoloWorld, train
from dtrain.engine.fused import native
from dtrain.worlds.opening import open_world
from tests.training.programs import net, net_data

pytestmark = pytest.mark.mpi


def test_one_rank_compiles_and_all_get_the_bits_of_one(monkeypatch):
    compiled, made = native.compiled, []

    def counted(forms, host):
        made.append(forms)
        return compiled(forms, host)

    def work(world):
        with tempfile.TemporaryDirectory() as own:
            # The folder of a host's first rank is that of all its ranks, and empty.
            first = world.hosts.index(world.host)
            folder = Path(os.fsdecode(world.allgather(os.fsencode(own))[first]))
            monkeypatch.setenv("DTRAIN_CACHE", str(folder))
            monkeypatch.setattr(native, "compiled", counted)
            options = {"epochs": 2, "learning_rate": 0.05, "batch": 24, "block": 6}
            data = net_data(96)  # all blocks are alike
            run = train(net, data, world=world, backend="fused", **options)
            counts = zip(world.hosts, world.allgather(bytes(len(made))), strict=True)
            here = sum(len(count) for host, count in counts if host == world.host)
            assert here == len(list(folder.glob("*.o"))) > 0
            alone = train(net, data, world=SoloWorld(), backend="fused", **options)
            assert run.digest == alone.digest
            assert run.report["backend"] == "fused"
            world.allgather(b"")  # no rank needs the folder any more

    open_world().run(work)
