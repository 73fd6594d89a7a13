"""What must be finite: the loss, the gradient, and the weights in the end.

Every rank has the same numbers, so all find the same fault, and raise together.
"""

from __future__ import annotations

import numpy as np

from dtrain.errors import NotFiniteError
from dtrain.gradient.vector import GradientVector, Weights

_NAMED = 5  # weights in a message
_STEADIER = "try a smaller learning rate, --clip-norm, or --dtype float64"


def check_gradient(gradient: GradientVector, *, first: bool) -> None:
    """Refuse to step along a GradientVector that is not finite.

    Args:
        gradient: the sum over all ranks.
        first: whether no step has been taken yet, so that no step is to blame.

    Raises:
        NotFiniteError: naming the weights whose derivatives are not finite.
    """
    if gradient.finite():
        return
    values = gradient.values.items()
    bad = [name for name, value in values if not np.isfinite(value).all()]
    named = ", ".join(bad[:_NAMED])
    if len(bad) > _NAMED:
        named += f" and {len(bad) - _NAMED} more"
    what = f"the derivatives of {named}" if bad else "the loss"
    what += f" overflowed or became NaN (loss {gradient.loss})"
    if first:
        raise _agreed(
            f"{what} before any step: the program itself does so on this data; look "
            "for a log, sqrt, power or division of what may be 0 or negative (np.where "
            "computes both of its branches), and for data too large for the dtype "
            "(--dtype float64 holds more)"
        )
    raise _agreed(f"{what}; {_STEADIER}")


def check_weights(weights: Weights) -> None:
    """Refuse to call weights that are not finite the result of a training.

    Raises:
        NotFiniteError: saying what may help.
    """
    if not np.isfinite(weights.flat).all():
        raise _agreed(f"the last step made weights that are not finite; {_STEADIER}")


def _agreed(what: str) -> NotFiniteError:
    error = NotFiniteError(what)
    error.agreed = True
    return error
