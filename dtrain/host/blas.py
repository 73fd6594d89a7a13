"""The number of threads that BLAS uses inside one matrix product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _libraries() -> list[Any]:
    # Finding the libraries takes a millisecond, so it is done once.
    found = ThreadpoolController().lib_controllers
    return [library for library in found if library.user_api in ("blas", "openmp")]


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Limit BLAS to so many threads; more than one thread may give other bits.

    The limit is the whole process's, so ranks that are threads share it.
    """
    before = [library.num_threads for library in _libraries()]
    for library in _libraries():
        library.set_num_threads(count)
    try:
        yield
    finally:
        for library, threads in zip(_libraries(), before, strict=True):
            library.set_num_threads(threads)
