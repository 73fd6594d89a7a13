"""The order in which samples are visited; it does not depend on the number of ranks.

The order is a pure function of (samples, batch, seed, epoch). Every rank computes all
of it and uses its part. So ranks exchange nothing, and an epoch's number is the only
state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from dtrain.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class Batch:
    """The samples of one training step.

    Attributes:
        number: the step within the epoch, from 0.
        rows: the data rows of the batch, in order; a slice if they are consecutive.
        samples: the number of samples (the last batch of an epoch may be short).

    """

    number: int
    rows: NDArray[np.intp] | slice
    samples: int

    def __len__(self) -> int:
        return self.samples

    def take(self, start: int, stop: int) -> NDArray[np.intp] | slice:
        """Return the data rows of the samples [start, stop) of this batch.

        >>> Batch(0, slice(10, 20), 10).take(2, 5)
        slice(12, 15, None)
        """
        if isinstance(self.rows, slice):
            return slice(self.rows.start + start, self.rows.start + stop)
        return self.rows[start:stop]


@dataclass(frozen=True)
class Order:
    """The batches of a data set, epoch after epoch.

    Without a batch size an epoch is one batch: all samples in the order of the file.
    With a batch size an epoch is a permutation, cut into batches; the last batch may be
    short.

    Attributes:
        samples: the number of samples in the data set.
        batch: samples per step, or ``None`` for all of them.
        seed: the seed of the permutations.

    Raises:
        UsageError: the batch size is below 1.
        DataError: there are no samples.

    >>> order = Order(samples=5, batch=2, seed=0)
    >>> [len(order.at(step)) for step in range(6)]
    [2, 2, 1, 2, 2, 1]

    """

    samples: int
    batch: int | None
    seed: int

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise DataError("there are no samples to train on")
        if self.batch is not None and self.batch < 1:
            raise UsageError(
                f"batch is {self.batch}: give the samples per step, 1 or more, "
                "or None (full) for all of them"
            )

    @cached_property
    def nominal(self) -> int:
        """The samples in every batch, except a short last one."""
        if self.batch is None:
            return self.samples
        return min(self.batch, self.samples)

    @cached_property
    def steps_per_epoch(self) -> int:
        """The number of batches in one epoch, including a short last one."""
        return -(-self.samples // self.nominal)

    def at(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0 over all epochs."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if self.batch is None:
            return Batch(number, slice(0, self.samples), self.samples)
        rows = self._rows(epoch)[number * self.nominal : (number + 1) * self.nominal]
        return Batch(number, rows, len(rows))

    @cached_property
    def _rows(self) -> Callable[[int], NDArray[np.intp]]:
        """The permutation as a function of the epoch; the latest one is cached."""
        return lru_cache(maxsize=1)(partial(permutation, self.samples, self.seed))


def permutation(samples: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """Return the permutation of an epoch: the ranking of ``samples`` random words.

    The words are raw Philox output: NumPy guarantees this stream for ever, while
    ``Generator.permutation`` may change between versions. Equal words keep their order.
    The key is the start of a SHA-256, so close seeds give independent permutations.

    >>> permutation(6, seed=0, epoch=0).tolist() == permutation(6, 0, 0).tolist()
    True
    """
    return _ranking(f"order\0{seed}\0{epoch}", samples)


def split(
    samples: int, share: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows to train on and the rows to hold out, both ascending.

    Which rows are held out is a function of the arguments alone, so it is the same for
    any form of the data and any number of ranks. At least one row is in each part.

    Raises:
        DataError: there are fewer than two samples.

    >>> train, held_out = split(10, 0.2, seed=0)
    >>> len(train), len(held_out)
    (8, 2)
    """
    if samples < 2:
        raise DataError(
            f"there is {samples} sample: a share for validation needs 2 or more"
        )
    count = min(max(round(share * samples), 1), samples - 1)
    rows = _ranking(f"validation\0{seed}", samples)
    return np.sort(rows[count:]), np.sort(rows[:count])


def _ranking(name: str, samples: int) -> NDArray[np.intp]:
    """Return the ranking of so many random words of the stream of a name."""
    key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u8")
    words = np.random.Philox(key=key.astype(np.uint64)).random_raw(samples)
    return np.argsort(words, kind="stable")
