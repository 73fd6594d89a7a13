"""The state of a run: all that its next step depends on, as a few named arrays.

The order of samples and the schedule are functions of the step's number, so there is no
random generator to store. A run that resumes from a state takes the same steps as the
run that made it would have taken. After every completed step all ranks have the same
state, bit for bit.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.order import Order
from dtrain.descent.method import Course
from dtrain.gradient.vector import GradientVector, Weights
from dtrain.training.validation import Record
from dtrain.worlds.world import World

BY_EPOCH = ("sums", "counts")
"""Arrays with one number for each epoch; those of later epochs are not saved."""
_WHOLE_RUN = (*BY_EPOCH, "validation.results")


class State:
    """The weights, the method's state, and how many steps have been taken.

    Args:
        weights: the weights; the state shares them.
        course: the method at work on them.
        order: the order of samples, which defines an epoch.
        epochs: how many epochs the run has.
        record: the validations, if there are any.
        parts: the ranges of the weights that `reached` is about.

    Attributes:
        weights: the weights.
        record: as given.
        steps: how many steps have been completed.
        sums: (epochs,) float64: each epoch's loss, summed over the samples so far.
        counts: (epochs,) float64: the samples of each epoch's steps so far, or the sum
            of their weights; without skipped steps.
        reached: (parts,) uint8: whether a derivative by the part was ever not 0.
        arrays: all of it by name, as views: ``steps``, ``skips``, ``sums``,
            ``counts``, ``reached``, ``weights``, ``method.NAME`` for the method's
            state, and ``validation.NAME``.
        whole: a lock, held while a step changes the state; its holder reads a state
            that is complete.
    """

    def __init__(
        self,
        weights: Weights,
        course: Course,
        order: Order,
        epochs: int,
        record: Record | None = None,
        parts: Sequence[slice] = (),
    ) -> None:
        self.weights = weights
        self.record = record
        self.sums = np.zeros(epochs)
        self.counts = np.zeros(epochs)
        self.reached = np.zeros(len(parts), np.uint8)
        self._parts = parts
        self._waiting = list(range(len(parts)))  # where nothing has arrived yet
        self.whole = threading.Lock()
        self._course, self._order = course, order
        self._per_epoch = order.steps_per_epoch
        self.steps = 0
        self._steps = np.zeros((), np.int64)
        self._skips = np.zeros(2, np.int64)  # in all, and since the last step taken
        self.arrays: dict[str, NDArray[Any]] = {
            "steps": self._steps,
            "skips": self._skips,
            "sums": self.sums,
            "counts": self.counts,
            "reached": self.reached,
            "weights": weights.flat,
        }
        self.arrays.update((f"method.{k}", v) for k, v in course.state.items())
        if record is not None:
            self.arrays.update(record.arrays)

    @property
    def skipped(self) -> int:
        """The number of skipped steps."""
        return int(self._skips[0])

    @property
    def stuck(self) -> bool:
        """Whether one more skipped step would complete an epoch without any step."""
        return bool(self._skips[1] + 1 >= self._per_epoch)

    @property
    def epochs(self) -> int:
        """The number of completed epochs."""
        return self.steps // self._per_epoch

    @property
    def losses(self) -> list[float]:
        """The mean loss of every completed epoch, over the steps that were taken."""
        means: list[float] = self._means(0).tolist()
        return means

    @property
    def judged(self) -> float | None:
        """The loss by which checkpoints are compared; ``None`` before there is one.

        It is the last validation's if there is validation, else the last epoch's.
        """
        if self.record is not None:
            return self.record.last
        losses = self.losses
        return losses[-1] if losses and math.isfinite(losses[-1]) else None

    @property
    def progress(self) -> tuple[int, int]:
        """The completed steps and the validated epochs: larger is further."""
        return self.steps, 0 if self.record is None else self.record.epoch

    @property
    def at_epoch_end(self) -> bool:
        """Whether the last completed step is the last of an epoch."""
        return self.steps > 0 and self.steps % self._per_epoch == 0

    def settled(self, tolerance: float) -> bool:
        """Return whether the loss changed by less than this fraction twice in a row.

        The losses are the means of the last three epochs, over the steps that were
        taken.
        """
        means = self._means(self.epochs - 3)
        changes = np.abs(np.diff(means))
        return len(changes) == 2 and bool(
            (changes < tolerance * np.abs(means[1:])).all()
        )

    def _means(self, start: int) -> NDArray[np.float64]:
        """Return the mean losses of the completed epochs from ``start`` on."""
        done = slice(max(start, 0), self.epochs)
        with np.errstate(all="ignore"):  # of an epoch without a sample that counts
            return self.sums[done] / self.counts[done]

    def validated(self, found: Mapping[str, float]) -> Mapping[str, float | None]:
        """Record a validation after the last completed epoch; return its results."""
        assert self.record is not None  # noqa: S101  (the run has validation)
        with self.whole:
            self.record.add(self.epochs, found)
        return self.record.at(self.epochs)

    def step(self, gradient: GradientVector) -> None:
        """Take the step that the method has computed, and count it."""
        with self.whole:
            self._course.apply()
            if self._waiting:
                self._note(gradient)
            epoch = self.steps // self._per_epoch
            self.sums[epoch] += gradient.tail[0]
            self.counts[epoch] += gradient.divisor
            self._skips[1] = 0
            self._count()

    def skip(self) -> None:
        """Count a step that is not taken; the schedule advances all the same."""
        with self.whole:
            self._skips += 1
            self._count()

    def _note(self, gradient: GradientVector) -> None:
        """Note which weights have received a derivative that is not 0."""
        for number in self._waiting:
            self.reached[number] = gradient.flat[self._parts[number]].any()
        self._waiting = np.flatnonzero(self.reached == 0).tolist()

    def _count(self) -> None:
        self.steps += 1
        self._steps[()] = self.steps

    def copies(self) -> dict[str, NDArray[Any]]:
        """Return a copy of every array."""
        return {name: array.copy() for name, array in self.arrays.items()}

    def copy_to(self, copies: dict[str, NDArray[Any]]) -> None:
        """Update earlier copies, or make the first ones."""
        for name, array in self.arrays.items():
            if name in copies:
                np.copyto(copies[name], array)
            else:
                copies[name] = array.copy()

    def assign(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over the arrays of another state; its run may have other epochs.

        Raises:
            ValueError: an array is missing, or has another shape or dtype.
        """
        for name, array in self.arrays.items():
            given = arrays.get(name)
            if given is None and name.startswith("validation."):
                continue  # resumed with --force from a run without validation
            if given is None or given.dtype != array.dtype:
                raise ValueError(f"{name} is missing or of another dtype")
            if name not in _WHOLE_RUN and given.shape != array.shape:
                raise ValueError(f"{name} has shape {given.shape}, not {array.shape}")
        with self.whole:
            for name, array in self.arrays.items():
                if name not in arrays:
                    continue
                if name in _WHOLE_RUN:
                    common = min(len(array), len(arrays[name]))
                    rest = math.nan if name.startswith("validation.") else 0
                    array[:common], array[common:] = arrays[name][:common], rest
                else:
                    np.copyto(array, arrays[name])
            self._renew()

    def restart_epoch(self, steps_per_epoch: int) -> None:
        """Return to the start of the epoch, because it now has other batches.

        Args:
            steps_per_epoch: of the run that made the state.
        """
        done = self.steps // steps_per_epoch
        self._steps[()] = done * self._per_epoch
        self._skips[1] = 0
        self.sums[done:] = self.counts[done:] = 0
        self._renew()

    def broadcast(self, world: World, root: int = 0) -> None:
        """Copy the root's state to every rank; collective.

        If a rank is lost meanwhile, each survivor has either its old state or the
        root's, never parts of both.
        """
        arrays = self.arrays if world.rank == root else self.copies()
        for array in arrays.values():
            world.broadcast(array, root)
        if world.rank != root:
            self.assign(arrays)

    def _renew(self) -> None:
        """Update what is derived from the arrays."""
        self.steps = int(self._steps)
        self._waiting = np.flatnonzero(self.reached == 0).tolist()
        self.weights.version += 1
