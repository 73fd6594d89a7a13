"""Where a run is: all that its next step depends on, as a few named arrays.

The order of samples and the schedule are functions of the step's number, so there is no
generator to remember: a run that goes on from a state takes the very steps that the
run which made the state would have taken. After every completed step the state is the
same, bit for bit, on every rank.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtrain.data.order import Order
from dtrain.descent.rule import Descent
from dtrain.gradient.vector import GradientVector, Weights
from dtrain.worlds.world import World

_BY_EPOCH = ("sums", "left_out")


class State:
    """The weights, what the optimizer remembers, and how many steps have been taken.

    Args:
        weights: the weights; the state goes on using them.
        descent: the optimizer at work on them.
        order: the order of samples, for what is an epoch.
        epochs: how many epochs the run has.

    Attributes:
        weights: the weights.
        steps: how many steps have been completed.
        sums: (epochs,) float64: each epoch's loss, summed over the samples so far.
        left_out: (epochs,) int64: the samples of each epoch's skipped steps.
        arrays: all of it by name, as views: ``steps``, ``skips``, ``sums``,
            ``left_out``, ``weights``, and ``descent.NAME`` for what the optimizer
            remembers.
        whole: a lock, held while a step changes the state; whoever holds it reads a
            state that is complete.
    """

    def __init__(
        self, weights: Weights, descent: Descent, order: Order, epochs: int
    ) -> None:
        self.weights = weights
        self.sums = np.zeros(epochs)
        self.left_out = np.zeros(epochs, np.int64)
        self.whole = threading.Lock()
        self._descent, self._order = descent, order
        self._per_epoch = order.steps_per_epoch
        self.steps = 0
        self._steps = np.zeros((), np.int64)
        self._skips = np.zeros(2, np.int64)  # in all, and since the last step taken
        self.arrays: dict[str, NDArray[Any]] = {
            "steps": self._steps,
            "skips": self._skips,
            "sums": self.sums,
            "left_out": self.left_out,
            "weights": weights.flat,
        }
        self.arrays.update((f"descent.{k}", v) for k, v in descent.state.items())

    @property
    def skipped(self) -> int:
        """How many steps have been skipped."""
        return int(self._skips[0])

    @property
    def stuck(self) -> bool:
        """Whether one more step skipped would make an epoch of nothing else."""
        return bool(self._skips[1] + 1 >= self._per_epoch)

    @property
    def epochs(self) -> int:
        """How many epochs have been completed."""
        return self.steps // self._per_epoch

    @property
    def losses(self) -> list[float]:
        """The mean loss of every completed epoch, over the steps that were taken."""
        samples = self._order.samples - self.left_out[: self.epochs]
        return [float(mean) for mean in self.sums[: self.epochs] / samples]

    def step(self, gradient: GradientVector, rate: float) -> None:
        """Take one step of gradient descent, and count it."""
        with self.whole:
            self._descent.step(gradient.flat, rate)
            self.weights.version += 1
            self.sums[self.steps // self._per_epoch] += gradient.tail[0]
            self._skips[1] = 0
            self._count()

    def skip(self, gradient: GradientVector) -> None:
        """Count a step that is not taken: its place in the schedule is used up."""
        with self.whole:
            self.left_out[self.steps // self._per_epoch] += gradient.samples
            self._skips += 1
            self._count()

    def _count(self) -> None:
        self.steps += 1
        self._steps[()] = self.steps

    def copies(self) -> dict[str, NDArray[Any]]:
        """A copy of every array."""
        return {name: array.copy() for name, array in self.arrays.items()}

    def copy_to(self, copies: dict[str, NDArray[Any]]) -> None:
        """Bring earlier copies up to date, or make the first ones."""
        for name, array in self.arrays.items():
            if name in copies:
                np.copyto(copies[name], array)
            else:
                copies[name] = array.copy()

    def assign(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the state whose arrays these are; the run may have other epochs.

        Raises:
            ValueError: an array is missing, or has another shape or dtype.
        """
        for name, array in self.arrays.items():
            given = arrays.get(name)
            if given is None or given.dtype != array.dtype:
                raise ValueError(f"{name} is missing or of another dtype")
            if name not in _BY_EPOCH and given.shape != array.shape:
                raise ValueError(f"{name} has shape {given.shape}, not {array.shape}")
        with self.whole:
            for name, array in self.arrays.items():
                if name in _BY_EPOCH:
                    common = min(len(array), len(arrays[name]))
                    array[:common], array[common:] = arrays[name][:common], 0
                else:
                    np.copyto(array, arrays[name])
            self._renew()

    def restart_epoch(self, steps_per_epoch: int, samples: int) -> None:
        """Go back to the start of the epoch, because it is now cut into other batches.

        Args:
            steps_per_epoch: as they were when the state was made.
            samples: the same.
        """
        done = self.steps // steps_per_epoch
        self._steps[()] = done * self._per_epoch
        self._skips[1] = 0
        # The mean losses of the epochs before stay what they were.
        self.sums *= self._order.samples / (samples - self.left_out)
        self.sums[done:] = 0
        self.left_out[:] = 0
        self._renew()

    def broadcast(self, world: World, root: int = 0) -> None:
        """Make every rank's state the root's; collective.

        If a rank is lost meanwhile, each of the others has the one or the other state,
        never parts of both.
        """
        arrays = self.arrays if world.rank == root else self.copies()
        for array in arrays.values():
            world.broadcast(array, root)
        if world.rank != root:
            self.assign(arrays)

    def _renew(self) -> None:
        """Follow the arrays, which have been written to."""
        self.steps = int(self._steps)
        self.weights.version += 1
