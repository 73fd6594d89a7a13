"""Say what is wrong with a fit: one function for each finding.

Each returns a sentence with its cure, or nothing. A finding follows from the state, the
graph and the data, so all ranks find the same, and a resumed run finds what the whole
run would have found. The thresholds let every healthy fit pass without a word.
"""

from __future__ import annotations

import math

import numpy as np

from dtrain.descent.losses import BinaryCrossEntropy, CrossEntropy
from dtrain.diagnose.structure import affine
from dtrain.gradient.vector import Weights
from dtrain.problem.evaluator import whole
from dtrain.tracing.printing import counted, listed
from dtrain.training.trainer import Trainer

_RISE = 0.01  # of the first epoch's loss: the noise of batches is smaller
_FALL = 1e-6  # of the first epoch's loss: less is float32's noise
_STRETCH = 1e4  # the factor that shows separation
_SURE = 1e-3  # the summed loss of samples that are all classified without doubt


def find(trainer: Trainer) -> list[str]:
    """Return what is wrong with a fit, a sentence each; collective."""
    findings = (
        loss_rose,
        loss_did_not_fall,
        grows_without_bound,
        skipped_steps,
        sizes_far_from_1,
        unused_weights,
        weights_without_gradient,
    )
    return [text for finding in findings if (text := finding(trainer))]


def loss_rose(trainer: Trainer) -> str:
    """The mean loss of the last epoch is above the first epoch's."""
    losses = trainer.state.losses
    if len(losses) < 2 or not losses[-1] - losses[0] > _RISE * abs(losses[0]):
        return ""
    return (
        f"the loss rose, from {losses[0]:.3g} in the first epoch to {losses[-1]:.3g} "
        "in the last: use a smaller learning rate"
    )


def loss_did_not_fall(trainer: Trainer) -> str:
    """No epoch has a smaller loss than the first one, which is not 0."""
    losses = trainer.state.losses
    if len(losses) < 2 or losses[0] == 0 or loss_rose(trainer):
        return ""
    if not min(losses[1:]) >= losses[0] - _FALL * abs(losses[0]):
        return ""
    return (
        f"the loss did not fall: it is {losses[-1]:.3g} after {len(losses)} epochs, as "
        "after the first: use another learning rate or other first weights, unless "
        "the first weights were a minimum already"
    )


def grows_without_bound(trainer: Trainer) -> str:
    """Some multiple of the weights classifies every sample, so there is no minimum.

    This is looked for where the output is affine in the weights (logistic regression:
    Albert and Anderson 1984) and nothing holds the weights: no penalty, decay or
    bounds. One evaluation at a multiple of the weights proves it.
    """
    problem, losses = trainer.problem, trainer.state.losses
    held = (
        problem.penalty is not None
        or trainer.settings.rule.weight_decay
        or problem.layout.bounds
        or problem.quantity.frozen
        or problem.samples.weight is not None
    )
    classes = isinstance(problem.loss, BinaryCrossEntropy | CrossEntropy)
    if held or not classes or not losses or not losses[-1] < math.log(2):
        return ""
    if not affine(problem.graph):
        return ""
    stretched = Weights(problem.layout)
    np.multiply(trainer.weights.flat, _STRETCH, out=stretched.flat)
    with np.errstate(all="ignore"):
        total = trainer.evaluator.sum(stretched, whole(len(problem.samples)))
    if not total.tail[0] < _SURE:
        return ""
    return (
        "the weights grow without bound: they classify every sample correctly (the "
        "data are separable), so the loss has no minimum: add a penalty (--l2), or "
        "stop by --validation and --patience"
    )


def skipped_steps(trainer: Trainer) -> str:
    """Steps were skipped, because they were not finite."""
    state = trainer.state
    if not state.skipped:
        return ""
    return (
        f"{counted(state.skipped, 'step')} of {state.steps:,} "
        f"{'was' if state.skipped == 1 else 'were'} skipped, because the loss, the "
        "gradient or a square that the optimizer keeps of it was not finite: use a "
        "smaller learning rate, --clip-norm or --dtype float64"
    )


def sizes_far_from_1(trainer: Trainer) -> str:
    """The size of inputs that weights multiply is far from 1."""
    far = trainer.far_inputs
    if not far:
        return ""
    inputs = listed([f"{name} reaches {size:.2g}" for name, size in far])
    return (
        f"{inputs}: gradient descent is slow or unstable for inputs whose size is far "
        "from 1: scale them in the program or the data, for example with "
        "layers.standardise"
    )


def unused_weights(trainer: Trainer) -> str:
    """The program's output does not depend on some weights."""
    names = trainer.problem.quantity.unused
    if not names:
        return ""
    it = "it" if len(names) == 1 else "them"
    return (
        f"the program's loss does not depend on {_weights(names)}: use {it} in the "
        f"program, or remove {it}"
    )


def weights_without_gradient(trainer: Trainer) -> str:
    """The derivative by some weights was exactly 0 in every step."""
    state, parts = trainer.state, trainer.problem.quantity.moving
    names = [name for name, yes in zip(parts, state.reached, strict=True) if not yes]
    if not names or not state.sums.any():  # at a loss of 0, all derivatives are 0
        return ""
    return (
        f"{_weights(names)} never received a gradient: the derivative was exactly 0 "
        "in every step; look for a function that is constant there (a relu of "
        "negative values, rounding), an input that is always 0, or a product of two "
        "weights that both start at 0"
    )


def _weights(names: list[str]) -> str:
    return f"weight{'s' if len(names) > 1 else ''} {listed(names)}"
