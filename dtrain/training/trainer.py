"""One rank's side of a training run: set up by all ranks together, then step by step.

In every step each rank runs its blocks of the batch forward and backward. The partial
GradientVectors are summed over all ranks and scaled by −2/N, and every rank takes the
same step.
"""

from __future__ import annotations

import json
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from dtrain.data.order import Batch, Order
from dtrain.descent.method import GradientDescent
from dtrain.diagnose.rerun import Rerun
from dtrain.engine.collector import paused
from dtrain.errors import UsageError
from dtrain.gradient.vector import GradientVector, Layout, Weights
from dtrain.host import numerics, pinning
from dtrain.problem.agreement import together
from dtrain.problem.evaluator import Computing, Evaluator, threads_of
from dtrain.problem.patterns import matching
from dtrain.problem.problem import Problem, check_trainable, read_samples
from dtrain.problem.remembered import categories_of
from dtrain.problem.samples import Data
from dtrain.problem.weighting import class_factors, with_class_weights
from dtrain.tracing.trace import Program
from dtrain.training.finite import Guard
from dtrain.training.replicas import Replicas
from dtrain.training.settings import Settings
from dtrain.training.signals import Ask
from dtrain.training.sizes import far_inputs
from dtrain.training.state import State
from dtrain.training.validation import Validator, held_out
from dtrain.worlds.numerics import compare
from dtrain.worlds.verdict import mismatch
from dtrain.worlds.world import World


class Trainer:
    """A rank's problem, evaluator and method, and the state that its run has reached.

    Args:
        world: the ranks; collective.
        program: the program.
        data: the data set, or its path.
        settings: the options of the run.
        weights: first values instead of drawn ones.

    Attributes:
        world: the ranks.
        problem: the program with its loss and samples.
        evaluator: sums over a batch and all ranks.
        validator: measures the weights on held-out samples, if there are any.
        course: the method at work.
        state: the state of the run, the same on every rank.
        weights: the current weights, which are the state's.
        order: the order of samples.
        threads: how many threads the rank computes with.
        differing: the parts of the numerical environment that differ between ranks.
        flags: what this rank asks of all ranks at the next step, one bit each.
        agreed: what any rank has asked for at the last step.
        steps: how many steps the whole run has.
        far_inputs: the inputs whose size is far from 1, with their size.
    """

    @paused()
    def __init__(
        self,
        world: World,
        program: Program,
        data: Data,
        settings: Settings,
        weights: Any = None,
    ) -> None:
        self.settings = settings
        compare_settings(world, settings)
        self.differing = compare(world)
        with together(world):
            numerics.check_pins()
        given, digest = read_samples(
            world,
            program,
            data,
            target=settings.target,
            columns=settings.columns or {},
            with_target=settings.the_loss.takes_target,
            separator=settings.separator,
            missing=settings.missing,
            categories=categories_of(weights),
            sample_weight=settings.sample_weight,
        )
        samples, apart, of = held_out(world, program, given, settings, digest)
        if settings.class_weight is not None:
            with together(world):
                loss = settings.the_loss
                factors = class_factors(samples, settings.class_weight, loss)
                samples = with_class_weights(samples, factors, loss)
                if apart is not None:
                    apart = with_class_weights(apart, factors, loss)
        self.problem = Problem(
            world,
            program,
            samples,
            settings.the_loss,
            dtype=settings.dtype,
            penalty=settings.penalty,
            frozen=settings.frozen,
            data_digest=digest,
        )
        check_trainable(world, self.problem)
        self.far_inputs = far_inputs(world, self.problem)
        self.weights = self.problem.start(world, settings.seed, weights)
        world.position.phase = "planning"
        self.order = Order(len(samples), settings.batch_size, settings.seed)
        self.threads = threads_of(world, settings.execution, settings.threads)
        computing = Computing(settings.execution, self.threads, settings.backend)
        self.evaluator = Evaluator(
            self.problem,
            world,
            block=settings.block,
            batch=self.order.nominal,
            computing=computing,
        )
        self.validator, record = None, None
        if apart is not None:
            self.validator = Validator(world, program, apart, settings, computing, of)
            record = self.validator.record(self.weights)
        method = GradientDescent(settings.rule, self._factors(world))
        self.course = method.start(self.weights)
        parts, moving = self.problem.layout.parts, self.problem.quantity.moving
        self.state = State(
            self.weights,
            self.course,
            self.order,
            settings.epochs,
            record,
            [slice(parts[ns[0]].start, parts[ns[-1]].stop) for ns in moving.values()],
        )
        self.steps = settings.epochs * self.order.steps_per_epoch
        self.flags = self.agreed = 0
        self.enter(world)

    def enter(self, world: World) -> None:
        """Work in this world from now on: a smaller one, after ranks were lost."""
        self.world = world
        self.evaluator.enter(world)
        if self.validator is not None:
            self.validator.enter(world)
        rerun = Rerun(self.evaluator, self.weights)
        self.guard = Guard(
            self.settings.on_nonfinite,
            self.state,
            rerun,
            squares=self.course.squares,
        )
        self.replicas = Replicas(world, self.weights, self.settings.verify_every)

    @np.errstate(all="ignore")  # what must be finite is checked
    def step(self, batch: Batch, rate: float) -> GradientVector:
        """Take one step (lecture, the inner loop): sum, scale by −2/N, step.

        If any rank has asked the run to end, the step is computed but not taken.
        """
        gradient = self.course.compute(partial(self._evaluate, batch), rate)
        agreed = self.evaluator.agreed
        if not agreed & Ask.END:
            if self.guard.passes(gradient, batch):
                self.state.step(gradient)
            else:
                self.state.skip()
        self.agreed = agreed  # set with the step: recovery copies both
        return gradient

    def _factors(self, world: World) -> dict[str, float]:
        """Return the factor of each weight's learning rate, where it is not 1.

        Raises:
            UsageError: a pattern matches no weight, or two with other factors one.
        """
        graph, factors = self.problem.graph, dict[str, float]()
        with together(world):
            for pattern, factor in (self.settings.rates or {}).items():
                for name in matching([pattern], graph, "rates"):
                    if factors.setdefault(name, float(factor)) != factor:
                        raise UsageError(
                            f"rates: two patterns give weight {name!r} other factors, "
                            f"{factors[name]:g} and {factor:g}"
                        )
        return factors | dict.fromkeys(self.problem.quantity.frozen, 0.0)

    def validate(self) -> dict[str, float | None]:
        """Measure the weights on the held-out samples, and record it; collective."""
        assert self.validator is not None  # noqa: S101  (`due` says so)
        found = self.validator.measure(self.weights, self.state.epochs)
        return {"samples": self.validator.samples, **self.state.validated(found)}

    @property
    def due(self) -> bool:
        """Whether the weights are to be validated before the next step."""
        state, record = self.state, self.state.record
        if record is None or not state.at_epoch_end or record.epoch >= state.epochs:
            return False
        every = self.settings.validation.every
        return state.epochs % every == 0 or state.steps == self.steps

    def close(self) -> None:
        """End the threads that run steps at once."""
        self.evaluator.close()
        if self.validator is not None:
            self.validator.close()

    def _evaluate(self, batch: Batch, weights: Weights) -> GradientVector:
        """Sum a batch over all ranks, and scale: the gradient of the mean loss."""
        return self.evaluator.sum(weights, batch, self.flags)

    @property
    def identity(self) -> dict[str, str]:
        """What the run's bits follow from, besides its state, as texts by name.

        A checkpoint whose identity differs in any of them is of another run.
        """
        problem, settings = self.problem, self.settings
        return {
            # Of names and shapes alone: the dtype is an entry by itself.
            "weights": Layout.of(problem.layout.shapes, "float64").digest,
            **settings.identity(),
            "bits": pinning.chosen(),
            "BLAS threads": str(settings.blas_threads),
            "block": str(self.evaluator.block),
            "validation": self.validator.identity if self.validator else "none",
            **problem.identity,
        }

    @property
    def blocks(self) -> int:
        """Blocks in a nominal batch."""
        return -(-self.order.nominal // self.evaluator.block)


def compare_settings(world: World, settings: Settings) -> None:
    """Check that all ranks have the same options, and name the one that differs.

    Raises:
        MismatchError: on every rank.
    """
    described = settings.describe()
    notes = world.allgather(json.dumps(described).encode())
    if len(set(notes)) > 1:
        each = [json.loads(note) for note in notes]
        for option in dict.fromkeys(chain(*each)):
            values = [texts.get(option, "None") for texts in each]
            if error := mismatch(option, values, world.names):
                raise error
