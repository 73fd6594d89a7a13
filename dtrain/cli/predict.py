"""Compute a program's output for every sample, in the order of the data.

The result goes to a .npy file (one output), a .npz file (any number, by name) or a .csv
file, or to the screen as CSV. If the weights were trained with a cross-entropy, it is
the probability of each class and the label of the most probable one.
"""

from __future__ import annotations

import io
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from dtrain.checkpoint.folder import load
from dtrain.checkpoint.model import SavedWeights
from dtrain.checkpoint.output import check_outputs, written_whole
from dtrain.cli import options, sources
from dtrain.data.columns import Samples
from dtrain.data.keys import TARGET_KEY, target_key
from dtrain.errors import UsageError
from dtrain.problem.agreement import compare_programs, together
from dtrain.problem.differences import compare_arrays
from dtrain.problem.outputs import Outputs
from dtrain.problem.problem import read_samples
from dtrain.problem.remembered import (
    categories_of,
    check_known,
    check_same_program,
    usual_columns,
)
from dtrain.reduction.blocks import share
from dtrain.report.table import print_message
from dtrain.training.recovery import recovering
from dtrain.worlds.world import World

EXAMPLE = """\
  dtrain train lecture --epochs 5 --save lecture.safetensors
  dtrain predict lecture lecture --weights lecture.safetensors --out R.csv"""
PROBABILITY, LABEL = "probability", "label"
_ENDINGS = (".npy", ".npz", ".csv")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_program(parser)
    options.add_data(parser, default=options.HELD_OUT)
    options.add_options(parser, "predict")


def run(world: World, args: Namespace) -> int:
    """Predict on all ranks, write on rank 0; return the exit code."""
    options.watch(world, args)
    outputs, samples = recovering(world, lambda: _predict(world, args))
    if world.rank == 0:
        _say_not_finite(outputs, samples)
    if world.rank == 0 and args.out is None:
        _write_csv(sys.stdout, outputs)
    return 0


def _predict(world: World, args: Namespace) -> tuple[dict[str, NDArray[Any]], Samples]:
    """Gather all outputs on rank 0, which writes them to the file; collective."""
    with together(world):
        if args.out is not None and Path(args.out).suffix not in _ENDINGS:
            raise UsageError(f"--out {args.out} must end in {', '.join(_ENDINGS)}")
        program = sources.load_program(args.program)
        if world.rank == 0:
            check_outputs({"--out": args.out}, sources.files_read(args, program))
        entry = sources.zoo_entry(args.program)
        data = sources.load_data(
            args.data, entry, held_out=True, separator=args.separator
        )
        weights = load(args.weights)
    samples, _ = read_samples(
        world,
        program,
        data,
        target=None,
        columns=options.columns(args),
        with_target=False,
        categories=categories_of(weights),
        usual=usual_columns(weights),
    )
    with together(world):
        check_known(samples, categories_of(weights))
        made = Outputs(program, samples, weights)
        if world.rank == 0:
            check_same_program(made.traced, weights)
    compare_programs(world, made.graph)
    values = made.weights
    compare_arrays(world, "weights", values.digest, values.values, "weight")
    rows = share(len(samples), world.rank, world.size)
    mine = made.rows(rows.start, rows.stop)
    gathered = {name: world.gather_rows(values) for name, values in mine.items()}
    outputs = {name: rows for name, rows in gathered.items() if rows is not None}
    if not args.raw:
        outputs = classes(outputs, weights)
    with together(world):
        if world.rank == 0 and args.out is not None:
            _write(args.out, outputs)
    return outputs, samples


def classes(
    outputs: dict[str, NDArray[Any]], weights: SavedWeights
) -> dict[str, NDArray[Any]]:
    """Return probabilities and labels of outputs that are logits of classes.

    Logits are known by the loss of the weights' run; other outputs stay as they are. Of
    several outputs the names are ``OUTPUT.probability`` and ``OUTPUT.label``.
    """
    loss, texts = weights.facts.get("loss"), weights.categories
    if not isinstance(loss, Mapping):
        if len(outputs) != 1:
            return outputs
        ((_, logits),) = outputs.items()
        return _classes(loss, logits, texts.get(TARGET_KEY)) or outputs
    found: dict[str, NDArray[Any]] = {}
    for name, logits in outputs.items():
        used, _ = loss.get(name, (None, 1))
        parts = _classes(used, logits, texts.get(target_key(name)))
        found |= {f"{name}.{part}": each for part, each in parts.items()}
        if not parts:
            found[name] = logits
    return found


def _classes(
    loss: Any, logits: NDArray[Any], texts: Sequence[str] | None
) -> dict[str, NDArray[Any]]:
    """Return probabilities and labels of logits; nothing if the loss says otherwise."""
    with np.errstate(over="ignore"):
        if loss == "binary_cross_entropy" and logits.ndim == 1:
            return {
                PROBABILITY: 1 / (1 + np.exp(-logits)),
                LABEL: _labels((logits > 0).astype(int), texts),
            }
        if loss == "cross_entropy" and logits.ndim == 2:
            powers = np.exp(logits - np.max(logits, axis=1, keepdims=True))
            return {
                PROBABILITY: powers / np.sum(powers, axis=1, keepdims=True),
                LABEL: _labels(np.argmax(logits, axis=1), texts),
            }
    return {}


def _labels(codes: NDArray[Any], texts: Sequence[str] | None) -> NDArray[Any]:
    return codes if texts is None else np.asarray(texts)[codes]


def _say_not_finite(outputs: Mapping[str, NDArray[Any]], samples: Samples) -> None:
    wrong = np.zeros(len(samples), bool)
    for values in outputs.values():
        if values.dtype.kind == "f":
            wrong |= ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    rows = np.flatnonzero(wrong)
    if rows.size:
        print_message(
            f"{rows.size:,} of {len(samples):,} samples have an output that is not "
            f"finite, the first: {samples.where(int(rows[0]))}"
        )


def _write(out: str, outputs: Mapping[str, NDArray[Any]]) -> None:
    if out.endswith(".npz"):
        with written_whole(out, "predictions") as file:
            np.savez(file, **outputs)  # type: ignore[arg-type]
    elif out.endswith(".npy"):
        if set(outputs) == {PROBABILITY, LABEL}:  # the labels follow from these
            outputs = {PROBABILITY: outputs[PROBABILITY]}
        if len(outputs) > 1:
            raise UsageError(
                f"{out} holds one array, but there are the outputs "
                f"{', '.join(outputs)}; write a .npz"
            )
        with written_whole(out, "predictions") as file:
            np.save(file, next(iter(outputs.values())))
    else:
        with written_whole(out, "predictions") as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            _write_csv(text, outputs)
            text.flush()
            text.detach()


def _write_csv(file: TextIO, outputs: Mapping[str, NDArray[Any]]) -> None:
    """One row a sample; the elements of an array are columns name_0, name_1, ..."""
    header, columns = [], []
    for name, values in outputs.items():
        flat = values.reshape(len(values), -1)
        columns.append(flat)
        single = values.ndim == 1
        header += [name] if single else [f"{name}_{i}" for i in range(flat.shape[1])]
    file.write(",".join(header) + "\n")
    for rows in zip(*columns, strict=True):
        file.write(",".join(_quoted(str(x)) for row in rows for x in row) + "\n")


def _quoted(text: str) -> str:
    """Return a field of a CSV file."""
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
