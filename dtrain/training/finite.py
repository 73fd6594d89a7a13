"""Check that the loss, the gradient and the final weights are finite.

Every rank has the same numbers, so all ranks find the same fault, and stop, or skip the
step, together.
"""

from __future__ import annotations

import logging
import math

import numpy as np

from dtrain.data.order import Batch
from dtrain.diagnose.rerun import Rerun
from dtrain.errors import NotFiniteError
from dtrain.gradient.vector import GradientVector, Weights, not_finite
from dtrain.tracing.printing import listed
from dtrain.training.state import State

LOG = logging.getLogger("dtrain")
_STEADIER = "try a smaller learning rate, --clip-norm, or --dtype float64"
_OWN_FAULT = (
    "before any step: the program itself does this on the data; look for a log, sqrt, "
    "power or division of a value that may be 0 or negative (np.where computes both of "
    "its branches), and for data too large for the dtype (--dtype float64 holds more)"
)


_SQUARES = (
    "try --clip-norm, a target and inputs in units that make them about 1, or --dtype "
    "float64"
)


class Guard:
    """Refuses steps along a GradientVector that is not finite.

    Nor may the squares of its elements overflow where the method keeps them: divided by
    the root of infinity, every step would be 0.

    With ``skip`` such a step is left out. If as many steps in a row would be left out
    as an epoch has, the run ends with an error after all.

    Args:
        choice: ``stop`` or ``skip``.
        state: the state of the run, which counts the steps.
        rerun: finds the reason.
        squares: whether the method keeps squares of the gradient.
    """

    def __init__(
        self, choice: str, state: State, rerun: Rerun, *, squares: bool = False
    ) -> None:
        self._squares = squares
        self._skips = choice == "skip"
        self._state = state
        self._rerun = rerun

    def passes(self, gradient: GradientVector, batch: Batch) -> bool:
        """Return whether to take the step; the same on every rank; collective if not.

        Raises:
            NotFiniteError: naming what is not finite, and the node that made it so.
        """
        if gradient.finite(squares=self._squares):
            return True
        only_squares = gradient.finite()
        state = self._state
        broken = bool(not_finite(state.weights.values))
        last = not self._skips or broken or state.stuck
        if last or not state.skipped:
            if only_squares:
                text, advice = _squares_named(gradient), _SQUARES
            else:
                text = f"{_named(gradient)}; {self._rerun.explain(batch)}"
                advice = self._advice()
            if last:
                raise _agreed(f"{text}; {advice}")
            if self._rerun.evaluator.world.rank == 0:
                LOG.warning("step %d is skipped: %s", state.steps + 1, text)
        return False

    def _advice(self) -> str:
        state = self._state
        if state.steps == state.skipped:
            return _OWN_FAULT
        if self._skips and state.stuck:
            return f"so are all steps of an epoch in a row; {_STEADIER}"
        return _STEADIER


def _named(gradient: GradientVector) -> str:
    """Name what of a GradientVector is not finite."""
    bad = not_finite(gradient.values)
    what = f"the derivatives of {listed(bad)}" if bad else "the loss"
    return f"{what} overflowed or became NaN (loss {gradient.loss})"


def _squares_named(gradient: GradientVector) -> str:
    """Name the derivatives whose squares overflow, with the largest number allowed."""
    with np.errstate(over="ignore"):
        squares = {name: np.square(x) for name, x in gradient.values.items()}
    dtype = gradient.flat.dtype
    return (
        f"the derivatives of {listed(not_finite(squares))} are too large for the "
        f"optimizer, which keeps their squares: {dtype} holds squares of numbers up to "
        f"{math.sqrt(np.finfo(dtype).max):.1e}"
    )


def check_weights(weights: Weights) -> None:
    """Refuse final weights that are not finite.

    Raises:
        NotFiniteError: saying what may help.
    """
    bad = not_finite(weights.values)
    if bad:
        what = f"the last step made weights that are not finite: {listed(bad)}"
        raise _agreed(f"{what}; {_STEADIER}")


def _agreed(what: str) -> NotFiniteError:
    error = NotFiniteError(what)
    error.agreed = True
    return error
