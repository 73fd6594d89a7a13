"""The options of `dtrain.train`: one row of the table each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from dtrain.data.binding import Spec
from dtrain.descent import optimizers
from dtrain.descent.losses import Loss
from dtrain.descent.penalties import Penalty
from dtrain.descent.rule import Rule
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.tracing.weights import DTYPES
from dtrain.training.options import (
    ABOVE_0,
    ANYTHING,
    CLASSES,
    COLUMNS,
    FACTORS,
    FOLDER,
    INTEGER,
    PATTERNS,
    RATE,
    SECONDS,
    SEPARATOR,
    TEXT,
    Kind,
    Option,
    full_or,
    whole,
)
from dtrain.training.values import Checkpoint, Schedule, Spanning

ON_NONFINITE = {
    "stop": "end the run, naming the node that is the first not to be finite",
    "skip": "leave the step out, and warn once",
}
"""What happens where a loss or a GradientVector is not finite."""
DATA = ("train", "eval", "predict", "check")
LOSS = ("train", "eval", "check", "show")


def row(kind: Kind, help: str, default: Any = None, **facts: Any) -> Any:
    """Return a field of `Settings` that is a row of the table of options."""
    return field(default=default, metadata={"kind": kind, "help": help, **facts})


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows, as fields with their defaults; see `Option` for a row."""

    epochs: int = row(
        whole(0),
        "visits of each sample",
        10,
        metavar="E",
        shown="10",
        report=True,
        aliases=("n_epochs", "num_epochs", "max_epochs", "iterations"),
    )
    batch: int | str | None = row(
        full_or(whole(1)),
        "samples in a step, or full: all of them, as in the lecture",
        metavar="N|full",
        aliases=("batch_size",),
        shown="full",
        bits=True,
    )
    block: int | None = row(
        whole(1),
        "samples in a block, the unit of exact sums",
        metavar="K",
        shown="chosen from the program and the batch",
        bits=True,
    )
    learning_rate: float | Schedule | Spanning = row(
        RATE,
        "the learning rate η",
        0.01,
        python="a function of the step (from 0)",
        metavar="η",
        aliases=("lr", "eta", "step_size", "rate"),
        shown="0.01",
        bits=True,
    )
    optimizer: str | Rule = row(
        ANYTHING,
        ", ".join(optimizers.OPTIMIZERS),
        "sgd",
        python="one of dtrain.optimizers",
        metavar="NAME",
        aliases=("optim", "method", "solver"),
        shown="sgd",
        bits=True,
    )
    frozen: Sequence[str] = row(
        PATTERNS,
        "weights that do not move: patterns of their names, such as encoder.*; no "
        "derivative by them is computed",
        (),
        word="freeze",
        metavar="PATTERN",
        bits=True,
        several=True,
    )
    rates: Mapping[str, float] | None = row(
        FACTORS,
        "multiply the learning rate of the weights whose names match a pattern",
        python="factors by pattern, such as {'head.*': 0.1}",
        word="rate",
        metavar="PATTERN=FACTOR",
        bits=True,
        several=True,
    )
    loss: str | Loss = row(
        ANYTHING,
        "square, absolute or huber: of the output's errors; cross_entropy: the output "
        "holds logits, the target a class label or one-hot; binary_cross_entropy: of "
        "logits, the target is 0 or 1; mean: the output is the loss",
        "square",
        python="one of dtrain.losses",
        metavar="NAME",
        shown="square, or the zoo program's",
        commands=LOSS,
        bits=True,
    )
    validation: Any = row(
        ANYTHING,
        "samples to validate on after each epoch: a data set, or a share of the rows, "
        "such as 0.2, that are then not trained on",
        python="a dtrain.Validation",
        metavar="FILE|SHARE",
        aliases=(
            "validation_data",
            "validation_split",
            "validate_every",
            "patience",
            "min_delta",
            "restore_best",
            "early_stopping",
        ),
    )
    tolerance: float | None = row(
        ABOVE_0,
        "stop when converged: when the mean loss of an epoch has changed by less than "
        "this fraction of itself, in two epochs in a row",
        aliases=("tol", "ftol"),
        metavar="FRACTION",
    )
    penalty: Penalty | None = row(
        Kind("a function of the weights by name", callable, str),
        "added to the mean loss, once: a function of the weights by name, such as "
        "dtrain.penalties.Norms(l2=1e-4) or a lambda in plain NumPy",
        commands=(),
        bits=True,
    )
    target: str | None = row(
        TEXT,
        "the column to fit",
        metavar="COLUMN",
        shown="t, or the one that is not an input",
        commands=("train", "eval", "check"),
    )
    columns: Mapping[str, Spec] | None = row(
        COLUMNS,
        "the column that an input reads; or the scalar columns that make up a vector: "
        "a range FIRST:LAST, or a list A,B,C",
        python="a list of names",
        metavar="INPUT=COLUMN[:LAST][,...]",
        commands=DATA,
        several=True,
    )
    separator: str | None = row(
        SEPARATOR,
        "what separates the columns of a text file: a character, or tab",
        metavar="C",
        shown="a comma, semicolon or tab, whichever the first line has",
        commands=DATA,
        aliases=("sep", "delimiter"),
    )
    missing: str = row(
        ANYTHING,
        "where a value is missing: refuse, unless the program handles NaN in that "
        "input, or skip: leave out the row",
        "refuse",
        metavar="NAME",
        shown="refuse",
        commands=("train", "eval", "check"),
        bits=True,
    )
    sample_weight: str | None = row(
        TEXT,
        "the column with the weight of each sample, 0 or more: means are Σ w L / Σ w",
        metavar="COLUMN",
        commands=("train", "eval"),
    )
    class_weight: str | Mapping[Any, float] | None = row(
        CLASSES,
        "balanced: each class counts alike in all; or the factor of a class",
        python="factors by label",
        metavar="balanced|LABEL=FACTOR",
        bits=True,
        several=True,
    )
    seed: int = row(
        INTEGER,
        "of the first weights and of the order of samples",
        0,
        aliases=("random_state",),
        metavar="S",
        shown="0",
        commands=("train", "check", "explain"),
        bits=True,
        report=True,
    )
    dtype: str = row(
        ANYTHING,
        " or ".join(DTYPES),
        "float32",
        metavar="NAME",
        shown="float32",
        bits=True,
        report=True,
    )
    backend: str = row(
        ANYTHING,
        f"what runs the plan: {' or '.join(BACKENDS)}",
        "numpy",
        metavar="NAME",
        shown="numpy",
        bits=True,
        report=True,
    )
    execution: str = row(
        ANYTHING,
        f"the execution model: {', '.join(EXECUTIONS)}, all with the same bits",
        "sequential",
        metavar="NAME",
        shown="sequential",
        report=True,
    )
    threads: int | None = row(
        whole(1),
        "threads of each rank: with sequential, BLAS's threads, which may give other "
        "bits (1); otherwise threads that run steps at once",
        metavar="N",
        shown="the cores that a rank has to itself",
    )
    on_nonfinite: str = row(
        ANYTHING,
        "where a loss or gradient is not finite: stop, naming the node that made it "
        "so, or skip the step",
        "stop",
        metavar="NAME",
        shown="stop",
    )
    verify_every: int = row(
        whole(0),
        "compare the weights of all ranks every K steps; 0: only at the end",
        100,
        metavar="K",
        shown="100",
    )
    checkpoint: Checkpoint | None = row(
        FOLDER,
        "a folder to save the run in, to continue after any interruption",
        python="a dtrain.Checkpoint",
        aliases=("resume", "force", "save_every", "save_seconds", "keep"),
        metavar="DIR",
    )
    min_ranks: int = row(
        whole(1),
        "stop, with a checkpoint, when fewer ranks are left; ranks can be lost under "
        "mpirun --with-ft ulfm",
        1,
        metavar="P",
        shown="1",
    )
    timeout: float | None = row(
        SECONDS,
        "abort after S seconds without progress, with each rank's position; 0 disables",
        metavar="S",
        shown="300 under a launcher, otherwise 0",
        commands=DATA,
    )


LIBRARY = tuple(
    Option(name=each.name, default=each.default, **each.metadata)
    for each in fields(Rows)
)
"""The options of `dtrain.train`."""
