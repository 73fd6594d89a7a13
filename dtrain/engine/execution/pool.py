"""A pool of threads that all run one function, and return when it is done.

NumPy's loops over more than some hundred elements, matrix products and native code
release the GIL, so these threads keep several cores busy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from typing import Any

Work = Callable[[], None]
_Inbox = SimpleQueue[tuple[Callable[..., Any], Work, "_Answers"] | None]
_Answers = SimpleQueue[BaseException | None]


class Pool:
    """Threads that are started when first needed.

    Args:
        size: the number of threads, including the caller's.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._inbox: _Inbox = SimpleQueue()
        self._threads: list[Thread] = []

    def close(self) -> None:
        """End all threads; the pool can be used again."""
        if self._process == os.getpid():
            for _ in self._threads:
                self._inbox.put(None)
            for thread in self._threads:
                thread.join()
        self._begin()

    def together(self, work: Work, count: int) -> None:
        """Run a function in several threads, including the caller's, until all return.

        Raises:
            BaseException: the first exception that one of them raised.
        """
        if self._process != os.getpid():  # after a fork: no threads here
            self._begin()
        while len(self._threads) < count - 1:
            thread = Thread(target=_serve, args=(self._inbox,), daemon=True)
            thread.start()
            self._threads.append(thread)
        answers: _Answers = SimpleQueue()
        for _ in range(count - 1):
            # copied for np.errstate; a context can be entered by one thread at a time
            self._inbox.put((copy_context().run, work, answers))
        raised = [_outcome(work)]
        while len(raised) < count:
            try:
                raised.append(answers.get())
            except (
                KeyboardInterrupt
            ) as error:  # other threads still write to the arrays
                raised[0] = error
        failed = next((error for error in raised if error is not None), None)
        if failed is not None:
            raise failed


def _outcome(work: Work) -> BaseException | None:
    try:
        work()
    except BaseException as error:
        return error
    return None


def _serve(inbox: _Inbox) -> None:
    """Run functions from the inbox until it yields ``None``."""
    while (item := inbox.get()) is not None:
        run, work, answers = item
        answers.put(run(_outcome, work))
