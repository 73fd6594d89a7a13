"""The numerical environment: pinned by --bits portable, compared across ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from dtrain import train
from dtrain.errors import UsageError
from dtrain.host import numerics, pinning
from dtrain.worlds import numerics as across_ranks
from dtrain.worlds.world import SoloWorld, ThreadWorld
from tests.training.programs import line, line_data

PINNED = ("NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "DTRAIN_BITS")
AVX2 = numerics.arithmetic()["processor"] == "x86_64"
needs_avx2 = pytest.mark.skipif(not AVX2, reason="the AVX2 level is x86-64's")
PRINT = """
import json
from dtrain.host.numerics import arithmetic
print(json.dumps(arithmetic()))
"""


def python(code, **variables):
    """Run code in a process without pins; warnings are errors."""
    env = {name: v for name, v in os.environ.items() if name not in PINNED}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=env | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def arithmetic_of(code=PRINT, **variables):
    run = python(code, **variables)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@needs_avx2
def test_portable_pins_numpy_and_blas_without_a_warning():
    here = arithmetic_of("import dtrain" + PRINT, DTRAIN_BITS="portable")
    assert pinning.shortfall(here["processor features"].split(), "Haswell") == ""
    assert here["BLAS kernels"] == "Haswell"


def test_a_processor_without_features_above_the_baseline_is_described():
    extensions = np.show_config("dicts")["SIMD Extensions"]
    above = " ".join(extensions.get("found", []))
    here = arithmetic_of(**({"NPY_DISABLE_CPU_FEATURES": above} if above else {}))
    assert here["processor features"] == " ".join(extensions["baseline"])


@needs_avx2
def test_portable_replaces_other_pins():
    plain = arithmetic_of("import dtrain" + PRINT, DTRAIN_BITS="portable")
    pinned = {"NPY_DISABLE_CPU_FEATURES": "X86_V3", "OPENBLAS_CORETYPE": "Nehalem"}
    assert (
        arithmetic_of("import dtrain" + PRINT, DTRAIN_BITS="portable", **pinned)
        == plain
    )


@needs_avx2
def test_importing_numpy_before_dtrain_is_refused_with_portable():
    code = (
        "import numpy, dtrain; dtrain.predict(dtrain.zoo.lecture, {}, [[1.0], [2.0]])"
    )
    run = python(code, DTRAIN_BITS="portable", OPENBLAS_CORETYPE="Nehalem")
    assert run.returncode
    assert "import dtrain first, with DTRAIN_BITS=portable" in run.stderr


@pytest.mark.parametrize(
    ("features", "kernels", "text"),
    [
        ("X86_V2 X86_V3", "Haswell", ""),
        ("SSE2 SSE42 AVX2 FMA3", "Haswell", ""),
        ("X86_V2 X86_V3 X86_V4", "Haswell", "NumPy uses X86_V4"),
        ("SSE2 AVX2 AVX512F", "Haswell", "NumPy uses AVX512F"),
        ("X86_V2", "Haswell", "NumPy uses X86_V2 only"),
        ("ASIMD", "neoversen1", "NumPy uses ASIMD only"),
        ("X86_V2 X86_V3", "Zen", "BLAS has kernels for Zen"),
    ],
)
def test_the_shortfall_from_the_avx2_level_is_described(features, kernels, text):
    found = pinning.shortfall(features.split(), kernels)
    assert found.startswith(text)
    assert bool(found) == bool(text)


def test_an_unknown_value_of_dtrain_bits_is_refused(monkeypatch):
    monkeypatch.setenv("DTRAIN_BITS", "same")
    with pytest.raises(UsageError, match="there are native, portable"):
        numerics.check_pins()


@needs_avx2
def test_results_of_the_c_library_identify_its_variant():
    # glibc has variants of these functions with and without FMA, and none above.
    without = arithmetic_of(GLIBC_TUNABLES="glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2")
    plain = arithmetic_of()
    above = arithmetic_of(
        GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512DQ"
    )
    assert plain == above
    if plain["C library"].startswith("glibc"):
        assert without[numerics.FUNCTIONS] != plain[numerics.FUNCTIONS]


def test_equal_ranks_are_not_reported(caplog):
    run = train(line, line_data(), epochs=1, learning_rate=0.1, world=ThreadWorld(3))
    assert (run.report["bits"], run.report["bits_differ"]) == ("native", [])
    assert not caplog.records
    assert across_ranks.compare(SoloWorld()) == []


def test_a_different_rank_is_named_with_a_fix(caplog, monkeypatch):
    here = numerics.arithmetic()

    def of_this_rank():
        odd = threading.current_thread().name == "rank 1"
        return {**here, "processor features": "A B" if odd else "A B C"}

    monkeypatch.setattr(across_ranks, "arithmetic", of_this_rank)
    assert ThreadWorld(3).run(across_ranks.compare) == ["processor features"]
    (record,) = caplog.records
    text = record.getMessage()
    assert "processor features: A B on " in text
    assert ":1, A B C on the others" in text
    assert "NPY_DISABLE_CPU_FEATURES='C'" in text
    assert "--bits portable" in text


@needs_avx2
def test_results_of_matrix_products_identify_the_blas_kernels():
    here, other = (
        arithmetic_of(OPENBLAS_CORETYPE=kernels) for kernels in ("Haswell", "Nehalem")
    )
    names = {"BLAS kernels", numerics.PRODUCTS}
    assert {name for name in here if here[name] != other[name]} == names
    (found,) = numerics.differences([here, here, other])  # only the cause
    assert (found.what, found.odd) == ("BLAS kernels", [2])
