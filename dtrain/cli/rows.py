"""The rows of the table of options that only the command line has."""

from __future__ import annotations

from typing import Any

from dtrain.descent import schedules
from dtrain.engine.engine import BACKENDS
from dtrain.training.options import (
    AT_LEAST_0,
    FLAG,
    NUMBER,
    PATH,
    SECONDS,
    TEXT,
    Kind,
    Option,
    whole,
)
from dtrain.training.rows import DATA, LIBRARY


def command(
    name: str, kind: Kind, help: str, default: Any = None, **facts: Any
) -> Option:
    """Return a row of an option that only the command line has."""
    return Option(
        name=name, kind=kind, help=help, default=default, library=False, **facts
    )


_NORMS = {"metavar": "λ", "commands": ("train", "check")}
COMMAND_LINE = (
    command("momentum", NUMBER, "of sgd and rmsprop", metavar="μ"),
    command("nesterov", FLAG, "Nesterov's momentum", False),
    command("weight_decay", NUMBER, "L2; decoupled in adamw", metavar="λ"),
    command("clip_norm", NUMBER, "shorten a longer gradient to this norm", metavar="C"),
    command("l1", NUMBER, "add λ Σ|w| over all weights to the loss", 0.0, **_NORMS),
    command("l2", NUMBER, "add λ Σw² over all weights to the loss", 0.0, **_NORMS),
    command(
        "learning_rate_schedule",
        TEXT,
        f"{', '.join(schedules.SCHEDULES)}: over the whole run",
        "constant",
        metavar="NAME",
        shown="constant",
    ),
    command(
        "warmup",
        whole(0),
        "raise the learning rate linearly over the first steps",
        0,
        metavar="STEPS",
    ),
    command(
        "validate_every",
        whole(1),
        "validate after every so many epochs, and after the last",
        1,
        metavar="E",
        shown="1",
    ),
    command(
        "patience",
        whole(1),
        "stop after so many validations in a row without an improvement, with the "
        "weights of the best",
        metavar="E",
    ),
    command(
        "min_delta",
        AT_LEAST_0,
        "how much lower a validation loss must be to be an improvement",
        0.0,
        metavar="D",
        shown="0",
    ),
    command(
        "restore_best",
        FLAG,
        "end with the weights of the best validation also without --patience",
        False,
    ),
    command("resume", FLAG, "continue from the newest checkpoint, if any", False),
    command(
        "force",
        FLAG,
        "resume although the program, the data or options have changed",
        False,
    ),
    command("save_every", whole(1), "save every so many steps", metavar="STEPS"),
    command(
        "save_seconds",
        NUMBER,
        "save every so many seconds",
        metavar="S",
        shown="60, unless --save-every is given",
    ),
    command(
        "keep",
        whole(1),
        "how many checkpoints to keep, beside the best",
        3,
        metavar="K",
        shown="3",
    ),
    command("save", PATH, "write the weights, as safetensors", metavar="FILE"),
    command(
        "weights",
        PATH,
        "weights from --save, or a checkpoint, or the newest of a folder",
        metavar="FILE|FOLDER",
        commands=("eval", "predict"),
        required=True,
    ),
    command(
        "weights",
        PATH,
        "weights from --save, or a checkpoint",
        metavar="FILE|FOLDER",
        shown="first values",
        commands=("check", "explain"),
    ),
    command(
        "report",
        PATH,
        "write the results in numbers, as JSON",
        metavar="FILE.json",
        commands=("train", "eval"),
    ),
    command(
        "raw",
        FLAG,
        "the program's output, also where it consists of logits of classes",
        False,
        commands=("predict",),
    ),
    command(
        "out",
        PATH,
        "a .npy, .npz or .csv",
        metavar="FILE",
        shown="the screen",
        commands=("predict",),
    ),
    command(
        "shape",
        TEXT,
        "an input's shape for one sample",
        metavar="INPUT=N[,M...]",
        shown="a scalar",
        commands=("show", "explain", "check"),
        several=True,
    ),
    command(
        "at",
        TEXT,
        "every input's value: p=0.3,q=1.2; x=1,2,3 is a vector, and one number fills a "
        "shape that is known",
        metavar="INPUT=NUMBER[,...]",
        shown="for programs of the zoo: the first sample of their data",
        commands=("explain",),
        several=True,
    ),
    command(
        "output",
        TEXT,
        "the output that is differentiated, if there are several",
        metavar="NAME",
        commands=("explain",),
    ),
    command(
        "html", PATH, "write a page instead", metavar="FILE", commands=("explain",)
    ),
    command(
        "plan",
        TEXT,
        f"print the steps that a backend trains by: {' or '.join(BACKENDS)}",
        metavar="BACKEND",
        alone="numpy",
        commands=("show",),
    ),
    command(
        "dot",
        PATH,
        "write the graph for Graphviz instead",
        metavar="FILE",
        commands=("show",),
    ),
    command("svg", PATH, "draw the graph instead", metavar="FILE", commands=("show",)),
    command(
        "log_dir",
        PATH,
        "also keep what each rank prints in DIR/rank-N.log",
        metavar="DIR",
    ),
    command("quiet", FLAG, "print nothing but errors", False),
    command(
        "bits",
        TEXT,
        "native, or portable: the AVX2 level, whose bits all processors that have it "
        "share",
        metavar="NAME",
        shown="native, or the value of DTRAIN_BITS",
        commands=(*DATA, "doctor"),
    ),
    command(
        "checkpoint",
        PATH,
        "also measure how fast this folder is",
        metavar="DIR",
        commands=("doctor",),
    ),
    command(
        "timeout",
        SECONDS,
        "abort after S seconds without progress, with exit code 71",
        30.0,
        metavar="S",
        shown="30",
        commands=("doctor",),
    ),
)
"""The options that only commands have."""

OPTIONS = (*LIBRARY, *COMMAND_LINE)
"""The whole table."""
