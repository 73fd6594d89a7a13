"""The number of threads that BLAS uses inside one matrix product."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    # Finding the libraries takes a millisecond, so it is done once.
    return ThreadpoolController()


def blas_threads(count: int) -> AbstractContextManager[Any]:
    """Limit BLAS to so many threads; more than one thread may give other bits.

    The limit is the whole process's, so ranks that are threads share it.
    """
    limit: AbstractContextManager[Any] = _controller().limit(limits=count)
    return limit
