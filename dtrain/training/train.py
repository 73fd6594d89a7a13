"""`dtrain.train`: from a program and data to a finished run, on any world."""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

from dtrain.data.binding import Spec
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Penalty
from dtrain.descent.rule import Rule
from dtrain.errors import UsageError, did_you_mean
from dtrain.host.blas import blas_threads
from dtrain.problem.agreement import together
from dtrain.problem.samples import Data, check_call
from dtrain.tracing.printing import counted
from dtrain.tracing.trace import Program
from dtrain.training.loop import Callback, Loop
from dtrain.training.options import SECONDS
from dtrain.training.recovery import recovering
from dtrain.training.rows import LIBRARY
from dtrain.training.run import Run
from dtrain.training.settings import Settings
from dtrain.training.signals import Interrupt, Signals
from dtrain.training.trainer import Trainer
from dtrain.training.values import Checkpoint, Schedule, Spanning
from dtrain.worlds.opening import open_world
from dtrain.worlds.world import World

P = ParamSpec("P")
T = TypeVar("T")
LOG = logging.getLogger("dtrain")


def _known_options(function: Callable[P, T]) -> Callable[P, T]:
    """Answer an unknown option with the name that it has here."""
    known = inspect.signature(function).parameters

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> T:
        for name in options.keys() - known.keys():
            ours = [option.name for option in LIBRARY if name in option.aliases]
            hint = did_you_mean(ours[0] if ours else name, known)
            raise UsageError(f"{function.__name__} has no option {name!r}{hint}")
        return function(*args, **options)

    return checked


@_known_options
def train(  # noqa: D417 (the options' lines come from their table)
    program: Program,
    data: Data,
    *,
    epochs: int,
    learning_rate: float | Schedule | Spanning,
    batch: int | str | None = None,
    block: int | None = None,
    optimizer: str | Rule = "sgd",
    frozen: Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
    loss: str | Loss = "square",
    validation: Any = None,
    tolerance: float | None = None,
    penalty: Penalty | None = None,
    target: str | None = None,
    columns: Mapping[str, Spec] | None = None,
    separator: str | None = None,
    missing: str = "refuse",
    sample_weight: str | None = None,
    class_weight: str | Mapping[Any, float] | None = None,
    weights: Any = None,
    seed: int = 0,
    dtype: Any = "float32",
    backend: str = "numpy",
    execution: str = "sequential",
    threads: int | None = None,
    on_nonfinite: str = "stop",
    verify_every: int = 100,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    min_ranks: int = 1,
    timeout: float | None = None,
    world: World | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Fit a program's weights to data by gradient descent.

    The same call works in one process, under ``mpirun`` (every rank makes it, with the
    whole data or its path) and on ``world=ThreadWorld(4)``. The weights have the same
    bits in every case.

    Without checkpoints, Ctrl-C ends the run after the current step and returns it.

    Args:
        program: the program, a function of one sample.
        data: named columns, first axis the sample: a mapping of arrays, or a path.
        weights: first values: by name, a `Run`, or the path of a weights file.
        world: the ranks; by default those that a launcher started, or one.
        callbacks: called after every step, on every rank, with a `Step`, which can
            stop the run.
        {options}

    Returns:
        The run, the same on every rank: the weights after the last step, or those of
        the best validation. After a resume its history begins there; its report has
        the losses of all epochs.

    Raises:
        UsageError: bad options; DataError: bad data; ProgramError: a program that
            cannot be traced; NotFiniteError: the loss or the gradient overflowed;
        ReplicaError: a rank's weights differ from the others';
        StoppedError: a signal stopped the run, or too few ranks were left; it was
            saved.

    Example:
        >>> import numpy as np
        >>> from dtrain import program, train, weight
        >>> @program
        ... def line(x):
        ...     return weight("slope") * x + weight("offset")
        >>> x = np.linspace(-1, 1, 100)
        >>> run = train(line, {"x": x, "t": 3 * x + 1}, epochs=200, learning_rate=0.5)
        >>> {name: round(float(w), 3) for name, w in run.weights.items()}
        {'offset': 1.0, 'slope': 3.0}
    """
    given = locals()
    check_call("train", program)
    options = {option.name: given[option.name] for option in LIBRARY}
    if timeout is not None:
        SECONDS.check("timeout", timeout)  # it also limits how long ranks may join
    if world is not None and not isinstance(world, World):
        raise UsageError(f"world is {world!r}; it must be a World, or None")
    world = world if world is not None else open_world(timeout)

    def prepare(rank: World) -> Trainer:
        with together(rank):
            check_callbacks(callbacks)
            settings = Settings(**options)
            if timeout is not None:
                rank.watchdog.limit = float(timeout)
        trainer = Trainer(rank, program, data, settings, weights)
        if rank.rank == 0:
            _note(trainer)
        return trainer

    def work(rank: World) -> Run:
        trainer = recovering(rank, lambda: prepare(rank))
        return Loop(trainer, callbacks, signals).run()

    # BLAS's limit is the process's, so it is set once for all ranks in it.
    inside = execution == "sequential" and isinstance(threads, int) and threads > 0
    limit = blas_threads(threads if inside and threads else 1)
    with limit, _signals(world, saved=checkpoint is not None) as signals:
        return world.run(work)


def _signals(
    world: World, *, saved: bool
) -> AbstractContextManager[Signals | Interrupt | None]:
    """Return the handling of signals: the caller's, if it has entered one."""
    if Signals.entered is not None:
        return nullcontext(Signals.entered)
    if saved:
        return Signals(active=True, end=world.leave)
    return Interrupt()


def check_callbacks(callbacks: Any) -> None:
    """Refuse callbacks that cannot be called.

    Raises:
        UsageError: saying what to give.
    """
    if not isinstance(callbacks, list | tuple) or not all(map(callable, callbacks)):
        raise UsageError("callbacks must be a list of callables, such as [print]")


def _note(trainer: Trainer) -> None:
    """Log what a user should know before the first step."""
    if trainer.blocks < trainer.world.size:
        LOG.info(_too_few_blocks(trainer))
    threads = trainer.settings.blas_threads
    if threads > 1:
        LOG.info("%d BLAS threads may give other bits than one thread", threads)


def _too_few_blocks(trainer: Trainer) -> str:
    ranks, batch = trainer.world.size, trainer.order.nominal
    length = trainer.evaluator.block
    text = counted(trainer.blocks, "block") + " of " + counted(length, "sample")
    text += " keeps" if trainer.blocks == 1 else " keep"
    text += f" only {trainer.blocks} of {ranks} ranks busy"
    if length == 1:
        return f"{text}; a batch of {batch} has no more than {batch} blocks"
    block = max(-(-batch // ranks), 1)
    while -(-batch // block) < min(ranks, batch):
        block -= 1
    used = "all" if batch >= ranks else batch
    return f"{text}; --block {block} would use {used}, with other bits in the result"


if train.__doc__:  # not under python -OO
    train.__doc__ = train.__doc__.replace(
        "{options}",
        "\n        ".join(
            f"{option.name}: {option.python_text}." for option in LIBRARY
        ),
    )
