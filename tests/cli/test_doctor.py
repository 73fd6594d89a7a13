"""dtrain doctor and --bits from the command line, alone and under both mpiruns."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from dtrain import ThreadWorld
from dtrain.doctor.measure import measure_link, measure_sum
from tests.mpirun import clean_environment, mpirun, python_of

libraries = pytest.mark.parametrize("library", ["openmpi", "mpich"])
DOCTOR = ["-m", "dtrain", "doctor"]
# For NumPy, rank 1 runs on another processor.
ODD = """
import os, runpy, time
if int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", 0))) == 1:
    os.environ["NPY_DISABLE_CPU_FEATURES"] = "X86_V3"
    time.sleep(float(os.environ.get("LATE", 0)))
runpy.run_module("dtrain", run_name="__main__", alter_sys=True)
"""
FOUND = np.show_config("dicts")["SIMD Extensions"].get("found", [])
needs_v3 = pytest.mark.skipif(
    "X86_V3" not in FOUND, reason="NumPy has no X86_V3 to switch off here"
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    path = tmp_path_factory.mktemp("odd") / "odd.py"
    path.write_text(ODD)
    return str(path)


def alone(*words, **variables):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "dtrain", *words],
        env=clean_environment(variables),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_doctor_runs_alone_and_measures_the_folder(tmp_path):
    run = alone("doctor", "--checkpoint", str(tmp_path / "runs"))
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search("^ok +ranks +1 on ", run.stdout, re.MULTILINE)
    assert f"{tmp_path / 'runs'}: " in run.stdout
    assert run.stdout.splitlines()[-1].startswith("0 wrong, ")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_that_cannot_be_created_is_wrong(tmp_path):
    (tmp_path / "file").touch()
    run = alone("doctor", "--checkpoint", str(tmp_path / "file" / "runs"))
    assert run.returncode == 1
    assert "Not a directory" in run.stdout
    assert f"$ mkdir -p {tmp_path / 'file' / 'runs'}" in run.stdout


@libraries
def test_under_mpirun_rank_0_prints_the_findings_of_all_ranks(library):
    run = mpirun(3, DOCTOR, library=library)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search("^ok +ranks +3 on ", run.outputs[0], re.MULTILINE)
    assert "the ranks of each host share memory" in run.stdout
    assert "rank 0 to rank 1 on" in run.stdout
    assert "0 wrong, " in run.outputs[0]
    assert run.outputs[1:] == ["", ""]


@needs_v3
@libraries
def test_a_rank_with_different_features_is_found(library, odd):
    run = mpirun(3, [odd, "doctor"], library=library)
    assert run.returncode != 0
    (line,) = [x for x in run.outputs[0].splitlines() if x.startswith("wrong")]
    assert "bits" in line
    assert "processor features: " in line
    assert ":1, " in line
    assert "$ export NPY_DISABLE_CPU_FEATURES='X86_V3'" in run.outputs[0]


@needs_v3
def test_training_warns_of_different_features_and_portable_fixes_them(odd, tmp_path):
    reports = []
    for ranks, words in [(3, []), (3, ["--bits", "portable"])]:
        path = str(tmp_path / f"{len(reports)}.json")
        run = mpirun(ranks, [odd, "--epochs", "1", "--report", path, *words])
        assert run.returncode == 0, run.stderr
        assert ("the ranks compute with different arithmetic" in run.stderr) == (
            words == []
        )
        with open(path) as file:
            reports.append(json.load(file))
    mixed, portable = reports
    assert (mixed["bits"], portable["bits"]) == ("native", "portable")
    assert "processor features" in mixed["bits_differ"]
    assert portable["bits_differ"] == []
    above = " ".join(x for x in FOUND if x != "X86_V3")
    pins = {"NPY_DISABLE_CPU_FEATURES": above, "OPENBLAS_CORETYPE": "Haswell"}
    down = {**pins, "NPY_DISABLE_CPU_FEATURES": f"{above} X86_V3".strip()}
    if not above:
        del pins["NPY_DISABLE_CPU_FEATURES"]
    digests = [
        alone("--epochs", "1", **variables).stdout.split()[-1]
        for variables in (pins, down)
    ]
    assert digests[0] == portable["weights_sha256"]
    assert digests[1] != portable["weights_sha256"]


@pytest.mark.parametrize(
    ("library", "other"), [("openmpi", "mpich"), ("mpich", "openmpi")]
)
def test_a_launcher_of_another_library_is_wrong(library, other):
    run = mpirun(2, DOCTOR, library=library, python=python_of(other))
    assert run.returncode != 0
    assert run.outputs[0].startswith("wrong  MPI")
    assert f"$ {python_of(other).with_name('mpirun')} -n 2" in run.outputs[0]
    assert run.outputs[1] == ""


@libraries
def test_a_late_rank_ends_the_job(library, odd):
    run = mpirun(
        2, [odd, "doctor", "--timeout", "2"], library=library, env={"LATE": "30"}
    )
    assert run.returncode != 0


def test_contradictory_and_unknown_bits_are_refused():
    run = alone("--bits", "native", DTRAIN_BITS="portable")
    assert run.returncode == 2
    assert "DTRAIN_BITS is set: unset it" in run.stderr
    run = alone("check", "lecture", "--bits", "same")
    assert run.returncode == 2
    assert "there are native, portable" in run.stderr


def test_links_and_sums_are_measured_between_threads():
    def measure(world):
        seconds = measure_sum(world, 1 << 12)
        return seconds, [measure_link(world, other) for other in range(1, world.size)]

    seconds, links = ThreadWorld(3).run(measure)
    assert seconds > 0
    assert [each.rank for each in links] == [1, 2]
    assert all(each.seconds > 0 and each.bytes_per_second > 0 for each in links)
    assert all(abs(each.ahead) <= each.unsure + 0.001 for each in links)
