"""A Problem as a function of one flat vector, for people's own optimizers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtrain.data.binding import Spec
from dtrain.descent import losses
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Penalty
from dtrain.errors import UsageError
from dtrain.gradient.vector import GradientVector, Weights
from dtrain.host import numerics
from dtrain.host.blas import blas_threads
from dtrain.problem.evaluator import Computing, Evaluator, threads_of, whole
from dtrain.problem.problem import Problem, read_samples
from dtrain.problem.remembered import categories_of
from dtrain.problem.samples import Data, as_weights, check_call
from dtrain.tracing.trace import Program
from dtrain.tracing.weights import check_dtype
from dtrain.worlds.opening import open_world
from dtrain.worlds.world import World

Vector = NDArray[np.floating[Any]]


def objective(
    program: Program,
    data: Data,
    *,
    target: str | None = None,
    columns: Mapping[str, Spec] | None = None,
    separator: str | None = None,
    missing: str = "refuse",
    loss: str | Loss = "square",
    sample_weight: str | None = None,
    penalty: Penalty | None = None,
    weights: Any = None,
    seed: int = 0,
    dtype: Any = "float64",
    block: int | None = None,
    execution: str = "sequential",
    backend: str = "numpy",
    world: World | None = None,
) -> Objective:
    """Bind a program to data once, as a function to minimise with any optimizer.

    Under ``mpirun`` every rank makes the same call, and then the same calls of the
    result. Every rank gets the same bits, so an optimizer such as SciPy's takes the
    same steps on all of them, in lock-step.

    Args:
        program: the program.
        data: named columns, first axis the sample: a mapping of arrays or a path.
        target: the column to fit, as in `dtrain.train`.
        columns: which columns the inputs are, as in `dtrain.train`.
        separator: what separates the columns of a text file, as in `dtrain.train`.
        missing: ``refuse``, or ``skip``: leave out rows, as in `dtrain.train`.
        loss: the loss, as in `dtrain.train`.
        sample_weight: the column with the weight of each sample, as in `dtrain.train`.
        penalty: a function of the weights that is added to the mean loss.
        weights: first values by name, a `Run` or a path, instead of drawn ones.
        seed: of the drawn first values.
        dtype: ``float32`` or ``float64``.
        block: samples in a block, the unit of exact sums.
        execution: the execution model: ``sequential``, ``levels`` or ``dataflow``.
        backend: what runs the plan: ``numpy`` or ``fused``.
        world: the rank that makes the call; by default the one that a launcher started,
            or one alone.

    Raises:
        UsageError, DataError, ProgramError, MismatchError: as `dtrain.train`.

    Example:
        >>> import numpy as np
        >>> from dtrain import objective, program, weight
        >>> @program
        ... def line(x):
        ...     return weight("slope", (), 0.0) * x
        >>> f = objective(line, {"x": [1.0, 2.0], "t": [3.0, 6.0]})
        >>> f.value_and_gradient(f.start)
        (22.5, array([-15.]))
        >>> f.unflatten([3.0]), f.value([3.0])
        ({'slope': array(3.)}, 0.0)
    """
    check_call("objective", program)
    numerics.check_pins()
    dtype = check_dtype(dtype)
    the_loss = losses.named(loss)
    world = world or open_world()
    samples, digest = read_samples(
        world,
        program,
        data,
        target=target,
        columns=columns or {},
        with_target=the_loss.takes_target,
        separator=separator,
        missing=missing,
        categories=categories_of(weights),
        sample_weight=sample_weight,
    )
    problem = Problem(
        world,
        program,
        samples,
        the_loss,
        dtype=dtype,
        penalty=penalty,
        data_digest=digest,
    )
    start = problem.start(world, seed, weights)
    computing = Computing(execution, threads_of(world, execution, None), backend)
    evaluator = Evaluator(problem, world, block=block, computing=computing)
    return Objective(evaluator, start)


class Objective:
    """The mean loss of a program on data, as a function of one flat vector.

    The vector holds the weights in sorted name order, each in C order: (W,) for W
    scalars. Every method that evaluates is collective: all ranks call it, with the same
    vector.

    Attributes:
        start: the first weights, (W,).
        samples: how many samples the mean is over.
        bounds: the lower and the upper bounds of the weights, (W,) each, infinite where
            there are none; ``scipy.optimize.Bounds(*f.bounds)`` takes them.
    """

    def __init__(self, evaluator: Evaluator, start: Weights) -> None:
        self._evaluator = evaluator
        self._layout = evaluator.problem.layout
        self._weights = Weights(self._layout)
        self.samples = len(evaluator.problem.samples)
        self._batch = whole(self.samples)
        self.start: Vector = start.flat[: self._layout.count].copy()
        (low, high), count = self._layout.limits, self._layout.count
        self.bounds: tuple[Vector, Vector] = (low[:count].copy(), high[:count].copy())

    def __repr__(self) -> str:
        names = ", ".join(self._layout.shapes)
        return (
            f"<Objective of {self._evaluator.problem.graph.name}: "
            f"{self._layout.count} numbers ({names}), {self.samples} samples>"
        )

    def value(self, vector: ArrayLike) -> float:
        """Return the mean loss, with the penalty; infinite or NaN where it overflows.

        Raises:
            UsageError: the vector has another length; MismatchError: the ranks have
                different vectors.
        """
        return self._sum(vector).loss

    def value_and_gradient(self, vector: ArrayLike) -> tuple[float, Vector]:
        """Return the mean loss and its derivative by the vector, (W,).

        Raises:
            UsageError, MismatchError: as `value`.
        """
        total = self._sum(vector)
        return total.loss, total.flat[: self._layout.count].copy()

    def flatten(self, weights: Any) -> Vector:
        """Return weights by name, a `Run`'s, or a file's, as a flat vector (W,).

        Raises:
            UsageError: a name or a shape does not fit.
        """
        flat = as_weights(self._layout, weights).flat
        return flat[: self._layout.count]

    def unflatten(self, vector: ArrayLike) -> dict[str, NDArray[Any]]:
        """Return a flat vector (W,) as arrays by weight name.

        Raises:
            UsageError: the vector has another length.
        """
        return {
            name: view.copy()
            for name, view in self._layout.views(self._checked(vector)).items()
        }

    def _checked(self, vector: ArrayLike) -> Vector:
        flat: Vector = np.asarray(vector, self._layout.dtype)
        if flat.shape != (self._layout.count,):
            raise UsageError(
                f"the vector has shape {flat.shape}; the weights are "
                f"({self._layout.count},) in all"
            )
        return flat

    @np.errstate(all="ignore")  # a loss may be infinite
    def _sum(self, vector: ArrayLike) -> GradientVector:
        flat, world = self._checked(vector), self._evaluator.world
        if world.size > 1:
            world.compare("vector of weights", f"{zlib.crc32(flat.tobytes()):08x}")
        self._weights.flat[: flat.size] = flat
        self._weights.version += 1
        with blas_threads(1):
            return self._evaluator.sum(self._weights, self._batch)
