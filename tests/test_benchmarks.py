"""The benchmarks work and their workloads are what they say, with dtrain alone."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from benchmarks import alone, duel, execution, paths, run
from benchmarks.contenders import load
from benchmarks.overhead import unrolled
from benchmarks.report import markdown
from benchmarks.targets import TARGETS
from benchmarks.wiring import INPUTS, wiring
from benchmarks.workloads import CASES, short

SHORT = [case for case in map(short, CASES) if case and case.model != "sum"]


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
def test_dtrain_and_autograd_compute_the_same(case):
    first = {name: np.array(w, float) for name, w in case.weights().items()}
    moves = []
    for name in ("dtrain", "autograd"):
        contender = load(name)(case, 0, 1, "")
        contender.run(3)
        outcome = contender.outcome()
        assert sorted(outcome) == sorted(first)
        moves.append(
            {w: outcome[w] - (first[w] if case.rate else 0) for w in sorted(first)}
        )
    for w, expected in moves[1].items():
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(
            moves[0][w], expected, atol=scale * duel.TOLERANCE[case.dtype]
        )


def test_the_driver_compares_times_and_reports(capsys):
    run.main(["W1", "--short", "--only", "dtrain", "--only", "autograd"])
    page = capsys.readouterr().out
    assert "## W1 R(p, q), float64" in page
    assert "| autograd |" in page


@pytest.mark.full
def test_sums_of_both_libraries_agree_with_ours(capsys, monkeypatch):
    for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"):
        monkeypatch.setenv(name, "1")
    ours = ["dtrain's sum", "dtrain's, copied", "MPI_Allreduce"]
    run.main(["W6", "--short", *(word for name in ours for word in ("--only", name))])
    page = capsys.readouterr().out
    assert "| 1,000 float32, 2 ranks, Open MPI |" in page


@pytest.mark.full
def test_what_dtrain_does_alone_is_reported(capsys, monkeypatch):
    monkeypatch.setattr(alone, "RANKS", (1,))
    run.main(["alone", "--short"])
    page = capsys.readouterr().out
    assert "to the end of its first step" in page
    assert "calls a step" in page
    assert "The memory that a process holds grew by" in page


def test_calls_written_out_do_the_same():
    a, out = np.arange(-3.0, 3), np.empty(6)
    calls = [(np.add, (a, a, out)), (partial(np.maximum, out, a, out=out), ())]
    unrolled(calls)()
    np.testing.assert_array_equal(out, np.maximum(a + a, a))


def test_a_disagreement_is_never_timed(monkeypatch):
    monkeypatch.setitem(duel.TOLERANCE, "float32", 1e-12)
    with pytest.raises(duel.Disagreement, match="autograd moves"):
        duel.duel(SHORT[0], [("dtrain", 1), ("autograd", 1)], duel.SHORT)


def test_what_was_not_measured_is_not_called_met():
    results = {"machine": {"packages": {}}, "cases": {}, "sweeps": {}}
    results["machine"] |= dict.fromkeys(
        ("processor", "cores", "features", "blas", "system", "libc", "python"), "?"
    )
    for target in TARGETS:
        about = {"date": "", "load": 0, "rounds": 0, "contenders": {"dtrain": {}}}
        about["contenders"]["dtrain"] = {"failed": "> 1 s"}
        results["cases"][target.case] = about
    page = markdown(json.loads(json.dumps(results)))
    assert page.count("not measured") == len(TARGETS)
    assert "| met |" not in page


@pytest.mark.parametrize("count", [60, 200, 2000])
def test_a_wiring_uses_all_that_it_has(count):
    graph = wiring(count)
    assert len(graph.nodes) == count
    used = {i for node in graph.nodes for i in node.inputs}
    assert used == set(range(INPUTS + count - 1))
    assert {node.weight for node in graph.nodes} - {-1} == set(range(graph.weights))
    for number, node in enumerate(graph.nodes):
        assert all(i < INPUTS + number for i in node.inputs)


def test_the_ladder_shows_paths_beside_back_propagation():
    rows = [row.split(" | ") for row in paths.compared((2, 3, 100))[2:]]
    assert [row[2] for row in rows] == ["4", "8", "2^100"]
    assert [row[3] == "refused" for row in rows] == [False, False, True]


def test_execution_models_are_timed_in_turns(monkeypatch):
    monkeypatch.setattr(execution, "SECONDS", 0.0)
    rng = np.random.default_rng(0)
    columns = {"x": rng.standard_normal((64, 8)), "t": rng.standard_normal((64, 1))}
    taken = execution.measure(execution.towers(8), columns, "numpy")
    assert {name: len(times) for name, times in taken.items()} == dict.fromkeys(
        ("sequential", "levels", "dataflow"), 5
    )
