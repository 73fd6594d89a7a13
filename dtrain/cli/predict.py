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
from dtrain.data.checks import Column
from dtrain.data.columns import TARGET_KEY, Samples
from dtrain.data.ragged import LENGTHS, Ragged
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


def _predict(world: World, args: Namespace) -> tuple[dict[str, Column], Samples]:
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
    gathered = {name: _gather(world, values) for name, values in mine.items()}
    outputs = {name: rows for name, rows in gathered.items() if rows is not None}
    if not args.raw:
        outputs = classes(outputs, weights)
    with together(world):
        if world.rank == 0 and args.out is not None:
            _write(args.out, outputs)
    return outputs, samples


def _gather(world: World, values: Column) -> Column | None:
    """Concatenate the values of all ranks on rank 0; collective."""
    if not isinstance(values, Ragged):
        return world.gather_rows(values)
    rows, lengths = world.gather_rows(values.values), world.gather_rows(values.lengths)
    return None if rows is None or lengths is None else Ragged(rows, lengths)


def classes(outputs: dict[str, Column], weights: SavedWeights) -> dict[str, Column]:
    """Return probabilities and labels of outputs that are logits of classes.

    Logits are known by the loss of the weights' run; other outputs stay as they are.
    """
    if len(outputs) != 1:
        return outputs
    ((name, logits),) = outputs.items()
    if isinstance(logits, Ragged):
        found = classes({name: logits.values}, weights).items()
        return {key: Ragged(np.asarray(x), logits.lengths) for key, x in found}
    loss, texts = weights.facts.get("loss"), weights.categories.get(TARGET_KEY)
    with np.errstate(over="ignore"):
        if loss == "binary_cross_entropy" and logits.ndim == 1:
            probability = 1 / (1 + np.exp(-logits))
            return {
                PROBABILITY: probability,
                LABEL: _labels((logits > 0).astype(int), texts),
            }
        if loss == "cross_entropy" and logits.ndim == 2:
            powers = np.exp(logits - np.max(logits, axis=1, keepdims=True))
            return {
                PROBABILITY: powers / np.sum(powers, axis=1, keepdims=True),
                LABEL: _labels(np.argmax(logits, axis=1), texts),
            }
    return outputs


def _labels(codes: NDArray[Any], texts: Sequence[str] | None) -> NDArray[Any]:
    return codes if texts is None else np.asarray(texts)[codes]


def _say_not_finite(outputs: Mapping[str, Column], samples: Samples) -> None:
    wrong = np.zeros(len(samples), bool)
    for values in outputs.values():
        rows = values.values if isinstance(values, Ragged) else values
        if rows.dtype.kind != "f":
            continue
        each = ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        if isinstance(values, Ragged):
            each = np.logical_or.reduceat(each, values.starts)
        wrong |= each
    rows = np.flatnonzero(wrong)
    if rows.size:
        print_message(
            f"{rows.size:,} of {len(samples):,} samples have an output that is not "
            f"finite, the first: {samples.where(int(rows[0]))}"
        )


def _write(out: str, outputs: Mapping[str, Column]) -> None:
    if out.endswith(".npz"):
        arrays: dict[str, Any] = {}
        for name, values in outputs.items():
            if isinstance(values, Ragged):
                arrays[name], arrays[name + LENGTHS] = values.values, values.lengths
            else:
                arrays[name] = values
        with written_whole(out, "predictions") as file:
            np.savez(file, **arrays)
    elif out.endswith(".npy"):
        if set(outputs) == {PROBABILITY, LABEL}:  # the labels follow from these
            outputs = {PROBABILITY: outputs[PROBABILITY]}
        if len(outputs) > 1:
            raise UsageError(
                f"{out} holds one array, but there are the outputs "
                f"{', '.join(outputs)}; write a .npz"
            )
        only = next(iter(outputs.values()))
        if isinstance(only, Ragged):
            raise UsageError(
                f"{out} holds one array, but the samples have outputs of different "
                "lengths; write a .npz, with their lengths, or a .csv"
            )
        with written_whole(out, "predictions") as file:
            np.save(file, only)
    else:
        with written_whole(out, "predictions") as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            _write_csv(text, outputs)
            text.flush()
            text.detach()


def _write_csv(file: TextIO, outputs: Mapping[str, Column]) -> None:
    """Write a line for each sample; elements are columns name_0, name_1, ...

    Of ragged outputs each row is a line; the first column is the sample's number,
    from 1.
    """
    header, columns = [], []
    ragged = [values for values in outputs.values() if isinstance(values, Ragged)]
    if ragged:
        lengths = ragged[0].lengths
        others = [v for v in ragged if not np.array_equal(v.lengths, lengths)]
        if others or len(ragged) < len(outputs):
            raise UsageError(
                "the outputs have different numbers of rows, which one CSV file cannot "
                "hold; write a .npz"
            )
    rows = {
        name: values.values if isinstance(values, Ragged) else values
        for name, values in outputs.items()
    }
    for name, values in rows.items():
        flat = values.reshape(len(values), -1)
        columns.append(flat)
        single = values.ndim == 1
        header += [name] if single else [f"{name}_{i}" for i in range(flat.shape[1])]
    fields = zip(*columns, strict=True)
    lines = (",".join(_quoted(str(x)) for row in each for x in row) for each in fields)
    if ragged:
        header.insert(0, "sample")
        owners = np.repeat(np.arange(1, len(lengths) + 1), lengths).tolist()
        lines = (f"{n},{line}" for n, line in zip(owners, lines, strict=True))
    file.write(",".join(header) + "\n")
    for line in lines:
        file.write(line + "\n")


def _quoted(text: str) -> str:
    """Return a field of a CSV file."""
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
