"""What bits depend on: pinned by --bits portable, compared where ranks may differ."""

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
from dtrain.worlds.world import SoloWorld, ThreadWorld
from tests.training.programs import line, line_data

PINNED = ("NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "DTRAIN_BITS")
AVX2 = numerics.arithmetic()["processor"] == "x86_64"
needs_avx2 = pytest.mark.skipif(not AVX2, reason="the AVX2 level is x86-64's")
TELL = """
import json
from dtrain.host.numerics import arithmetic
print(json.dumps(arithmetic()))
"""


def python(code, **variables):
    """Run code in a process without pins of its own, warnings being errors."""
    env = {name: v for name, v in os.environ.items() if name not in PINNED}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=env | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def told(code=TELL, **variables):
    run = python(code, **variables)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@needs_avx2
def test_portable_reaches_numpy_and_blas_without_a_warning():
    here = told("import dtrain" + TELL, DTRAIN_BITS="portable")
    assert pinning.shortfall(here["processor features"].split(), "Haswell") == ""
    assert here["BLAS kernels"] == "Haswell"


def test_a_processor_with_nothing_above_numpys_baseline_is_told_of():
    extensions = np.show_config("dicts")["SIMD Extensions"]
    above = " ".join(extensions.get("found", []))
    here = told(**({"NPY_DISABLE_CPU_FEATURES": above} if above else {}))
    assert here["processor features"] == " ".join(extensions["baseline"])


@needs_avx2
def test_portable_is_stronger_than_other_pins():
    plain = told("import dtrain" + TELL, DTRAIN_BITS="portable")
    pinned = {"NPY_DISABLE_CPU_FEATURES": "X86_V3", "OPENBLAS_CORETYPE": "Nehalem"}
    assert told("import dtrain" + TELL, DTRAIN_BITS="portable", **pinned) == plain


@needs_avx2
def test_a_numpy_that_was_imported_before_is_told_of():
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
def test_what_falls_short_of_the_avx2_level(features, kernels, text):
    found = pinning.shortfall(features.split(), kernels)
    assert found.startswith(text)
    assert bool(found) == bool(text)


def test_a_word_that_means_nothing(monkeypatch):
    monkeypatch.setenv("DTRAIN_BITS", "same")
    with pytest.raises(UsageError, match="there are native, portable"):
        pinning.check()


@needs_avx2
def test_the_c_library_is_known_by_what_it_computes():
    # Its functions have variants with and without FMA, and none above.
    without = told(GLIBC_TUNABLES="glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2")
    plain = told()
    above = told(GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512DQ")
    assert plain == above
    if plain["C library"].startswith("glibc"):
        assert without[numerics.FUNCTIONS] != plain[numerics.FUNCTIONS]


def test_alike_ranks_are_not_told_of(caplog):
    run = train(line, line_data(), epochs=1, learning_rate=0.1, world=ThreadWorld(3))
    assert (run.report["bits"], run.report["bits_differ"]) == ("native", [])
    assert not caplog.records
    assert numerics.compare(SoloWorld()) == []


def test_another_rank_is_named_with_what_makes_it_like_the_others(caplog, monkeypatch):
    here = numerics.arithmetic()

    def of_this_rank():
        odd = threading.current_thread().name == "rank 1"
        return {**here, "processor features": "A B" if odd else "A B C"}

    monkeypatch.setattr(numerics, "arithmetic", of_this_rank)
    assert ThreadWorld(3).run(numerics.compare) == ["processor features"]
    (record,) = caplog.records
    text = record.getMessage()
    assert "processor features: A B on " in text
    assert ":1, A B C on the others" in text
    assert "NPY_DISABLE_CPU_FEATURES='C'" in text
    assert "--bits portable" in text


@needs_avx2
def test_blas_is_known_by_what_it_computes():
    here, other = (
        told(OPENBLAS_CORETYPE=kernels) for kernels in ("Haswell", "Nehalem")
    )
    names = {"BLAS kernels", numerics.PRODUCTS}
    assert {name for name in here if here[name] != other[name]} == names
    (found,) = numerics.differences([here, here, other])  # the cause alone
    assert (found.what, found.odd) == ("BLAS kernels", [2])
