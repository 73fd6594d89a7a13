"""Every function of NumPy is traced, or refused with a reason and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.special
from scipy.sparse import csr_array
from scipy.special import dawsn

from dtrain import program
from dtrain.errors import ProgramError
from dtrain.functions.base import ADAPTERS, UFUNCS
from dtrain.functions.unsupported import REFUSED
from dtrain.tracing.symbol import _QUESTIONS


def public(module: ModuleType, prefix: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions that a value may be given to."""
    for name in dir(module):
        function = getattr(module, name)
        dispatched = hasattr(function, "_implementation")
        if not name.startswith("_") and (dispatched or isinstance(function, np.ufunc)):
            yield prefix + name, function


FUNCTIONS = {**dict(public(np, "np.")), **dict(public(np.linalg, "np.linalg."))}
THERE = {*ADAPTERS, *UFUNCS, *_QUESTIONS}


def test_every_function_is_in_the_table_or_refused_with_a_reason() -> None:
    missing = {name for name, function in FUNCTIONS.items() if function not in THERE}
    assert missing <= {*REFUSED}
    assert not {n for n, function in FUNCTIONS.items() if function in THERE} & {
        *REFUSED
    }


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: np.linalg.svd(x), "np.linalg.svd .*singular values.*eigh"),
        (lambda x: np.unique(x), "np.unique .*shape .* depends on the data"),
        (lambda x: np.spacing(x), "np.spacing .*bits"),
        (lambda x: np.linspace(0, x[0, 0], 3), r"np.linspace .*write `a \+"),
        (lambda x: dawsn(x), r"(?<!\.)dawsn is not .*@dtrain.base_function\(shape="),
        (lambda x: np.where(x > 0), "a condition and two values"),
        (lambda x: np.add(x, x, dtype="f4"), "np.add as traced takes no dtype="),
        (lambda x: np.exp(x, where=x > 0), "np.exp as traced takes no where="),
        (lambda x: (x > 0) - (x > 1), "np.subtract of truth values"),
        (lambda x: np.diff(x > 0), "np.diff of truth values"),
        (lambda x: x & 1, "takes truth values alone"),
        (lambda x: np.take(np.arange(3.0), x.astype(int)), r"named\(table, "),
        (lambda x: np.arange(3.0)[x.astype(int)], r"named\(table, "),
        (lambda x: np.linalg.matrix_power(x, 1.5), "'float' object cannot be .*int"),
        (lambda x: np.linalg.vecdot(x, x[:, :1]), r"vecdot .*\(2, 2\) and \(2, 1\)"),
        (lambda x: np.mean(x[0, 0], axis=0), "no axis 0 in 0"),
        (lambda x: np.sum(x[0, 0], axis=1), "no axis 1 in 0"),
        (lambda x: np.count_nonzero(x[0, 0], axis=0), "no axis 0 in 0"),
        (lambda x: np.nan_to_num(x), "say which numbers posinf"),
        (lambda x: x.astype(complex), r"\.astype\(complex128\).*values are real"),
        (lambda x: x.astype("M8[D]"), r"\.astype\(datetime64\[D\]\)"),
        (lambda x: x.astype(str), r"\.astype\(<U0\)"),
        (lambda x: x.astype(object), r"\.astype\(object\)"),
        (lambda x: x.astype(np.uint8), r"\.astype\(uint8\).*wraps.*\.astype\(int\)"),
        (lambda x: np.eye(2).view(np.matrix) * x, r"matrix.*np.asarray"),
        (lambda x: x * np.ma.array(np.eye(2)), r"MaskedArray.*np.where"),
        (lambda x: x * 10**400, "int .*too large"),
        (lambda x: x @ csr_array(np.eye(2)), r"csr_array.*\.toarray\(\)"),
        (lambda x: csr_array(np.eye(2)) @ x, r"scipy.sparse.*\.toarray\(\)"),
        (lambda x: csr_array(np.eye(2)) * x, r"scipy.sparse.*\.toarray\(\)"),
        (lambda x: scipy.special.softmax(x), r"scipy.special.*dtrain.layers.softmax"),
        (lambda x: scipy.special.log_softmax(x), "dtrain.layers.log_softmax"),
        (lambda x: scipy.special.logsumexp(x), "dtrain.layers.logsumexp"),
        (lambda x: scipy.fft.dct(x), "scipy.fft.* is not traced.*base_function"),
    ],
)
def test_a_refusal_says_where_why_and_what_to_do(
    call: Callable[..., Any], words: str
) -> None:
    with pytest.raises(ProgramError, match=rf"test_refusals.py:\d+: .*{words}"):
        program(lambda x: call(x)).trace(x=(2, 2))
