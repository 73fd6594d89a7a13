"""`dtrain.train`: from a program and data to a finished run, on any world."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Penalty
from dtrain.errors import UsageError
from dtrain.tracing.trace import Program
from dtrain.training.loop import Callback, Loop
from dtrain.training.recovery import recovering
from dtrain.training.run import Run
from dtrain.training.settings import Saving, Schedule, Settings, check_seconds
from dtrain.training.setup import Data, check_callbacks, together
from dtrain.training.signals import Signals
from dtrain.training.trainer import Trainer
from dtrain.worlds.launch import open_world
from dtrain.worlds.world import World


def train(
    program: Program,
    data: Data,
    *,
    epochs: int,
    learning_rate: float | Schedule,
    target: str | None = None,
    columns: Mapping[str, str] | None = None,
    loss: str | Loss = "square",
    penalty: Penalty | None = None,
    batch: int | None = None,
    block: int | None = None,
    optimizer: Any = "sgd",
    weights: Mapping[str, NDArray[Any]] | None = None,
    seed: int = 0,
    dtype: str = "float32",
    execution: str = "sequential",
    backend: str = "numpy",
    threads: int | None = None,
    timeout: float | None = None,
    on_nonfinite: str = "stop",
    verify_every: int = 100,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    save_every: int | None = None,
    save_seconds: float | None = None,
    keep: int = 3,
    min_ranks: int = 1,
    world: World | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Fit a program's weights to data by gradient descent.

    The same call works in one process, under ``mpirun`` (every rank makes it, with the
    whole data or its path) and on ``world=ThreadWorld(4)``; the weights come out with
    the same bits.

    Args:
        program: the program, a function of one sample.
        data: named columns, first axis the sample: a mapping of arrays, or the path of
            an ``.npz``, a folder of ``.npy`` or a ``.csv``.
        epochs: how often every sample is visited.
        learning_rate: η, or a callable of the step (from 0).
        target: the column to fit; by default ``t``, or the one that is no input.
        columns: for an input, the column or the range ``first:last`` to read.
        loss: ``square`` (the lecture's), ``absolute``, ``huber``, ``cross_entropy`` (of
            logits, with labels or one-hot targets), ``binary_cross_entropy`` (of
            logits), ``mean`` (the output is the loss), or one of `dtrain.losses`.
        penalty: added to the mean loss, once: a function of the weights by name, such
            as ``dtrain.penalties.Norms(l2=1e-4)`` or a lambda in plain NumPy.
        batch: samples in a step; ``None`` is the lecture's full batch.
        block: samples in a block, the unit of exact sums; by default chosen from
            program and batch. Another block gives other bits.
        optimizer: a name, or one of `dtrain.optimizers`.
        weights: first values, by name, instead of the initialisers'.
        seed: of first values and of the order of samples.
        dtype: ``float32`` or ``float64``.
        execution: the execution model: ``sequential``, ``levels`` or ``dataflow``.
        backend: what runs the plan.
        threads: of each rank. With ``sequential`` they are BLAS's, by default one, and
            more may give other bits. With the others they run steps at once, to the
            same bits; by default as many as the rank has cores to itself.
        timeout: seconds without progress after which a rank says where it stands and
            ends the job with exit code 71; 0 is never. By default 300 under a launcher,
            where ranks wait for each other, and else never.
        on_nonfinite: what is done where the loss or gradient of a step is not finite:
            ``stop``, saying which node of the program was the first to make it so, or
            ``skip`` the step, with a warning that says so once.
        verify_every: after so many steps, and in the end, the weights of all ranks are
            compared; 0 leaves only the end.
        checkpoint: a folder to save the run in, to go on after any interruption; while
            it trains, SIGUSR1 saves it, SIGUSR2, SIGTERM and SIGINT save and stop it.
        resume: go on from the newest checkpoint in the folder, if there is one.
        force: even if program, data or options have changed, as far as it fits.
        save_every: save after so many steps.
        save_seconds: save after so many seconds; 60 unless ``save_every`` is given.
        keep: how many of the newest checkpoints are kept, beside the best one.
        min_ranks: stop, saved, when fewer are left; ranks can be lost under ``mpirun
            --with-ft ulfm``, and the others go on.
        world: the ranks; by default those that a launcher started, or one.
        callbacks: called after every step, on every rank, with a `StepRecord`.

    Returns:
        The run, the same on every rank. After a resume its history begins there; its
        report has the losses of all epochs.

    Raises:
        UsageError: bad options; DataError: bad data; ProgramError: a program that
            cannot be traced; NotFiniteError: the loss or the gradient overflowed;
        ReplicaError: a rank's weights are not the others';
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
    if timeout is not None:
        check_seconds("timeout", timeout)  # it is the ranks' for joining, too
    if world is not None and not isinstance(world, World):
        raise UsageError(f"world is {world!r}; it must be a World, or None")
    world = world if world is not None else open_world(timeout)

    def prepare(rank: World) -> Trainer:
        with together(rank):
            check_callbacks(callbacks)
            settings = Settings(
                epochs=epochs,
                learning_rate=learning_rate,
                target=target,
                columns={} if columns is None else columns,
                loss=loss,
                penalty=penalty,
                batch=batch,
                block=block,
                optimizer=optimizer,
                seed=seed,
                dtype=dtype,
                execution=execution,
                backend=backend,
                threads=threads,
                timeout=timeout,
                on_nonfinite=on_nonfinite,
                verify_every=verify_every,
                checkpoint=Saving.of(
                    checkpoint,
                    resume=resume,
                    force=force,
                    every=save_every,
                    seconds=save_seconds,
                    keep=keep,
                ),
                min_ranks=min_ranks,
            )
            if timeout is not None:
                rank.watchdog.limit = float(timeout)
        return Trainer(rank, program, data, settings, weights)

    def work(rank: World) -> Run:
        trainer = recovering(rank, lambda: prepare(rank))
        return Loop(trainer, callbacks, signals).run()

    # The limit is the process's, so it is set once for all ranks that live in it.
    inside = execution == "sequential" and isinstance(threads, int)
    limit = threadpool_limits(threads if inside else 1)
    heard = Signals(active=checkpoint is not None, end=world.leave)
    with limit, heard as signals:
        return world.run(work)
