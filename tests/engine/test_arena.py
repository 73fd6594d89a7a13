"""Buffers share memory only if one is unused before the other is first written."""

from __future__ import annotations

import numpy as np
import pytest

from dtrain import program, weight, zoo
from dtrain.descent.loss_graph import loss_graph
from dtrain.descent.losses import LOSSES
from dtrain.engine.execution.arena import Arena
from dtrain.engine.lowering.lower import plan
from dtrain.engine.plans.batching import batched
from tests.engine.models import irregular


@program
def recurrent(x):
    """Weights-only parts, sharing, slices and a long chain."""
    W = np.tanh(weight("W", (4, 4)))
    h = x[:4] * 0
    for i in range(6):
        h = np.tanh(W @ h + x[i : i + 4]) + np.maximum(h, 0)
    return np.where(h > 0.1, h, -h).sum()


PROGRAMS = {
    "irregular": (irregular, {"x": 6}, "square"),
    "lecture": (zoo.lecture, {}, "square"),
    "mlp": (zoo.mlp, {"x": 64}, "square"),
    "recurrent": (recurrent, {"x": 10}, "mean"),
}


@pytest.mark.parametrize("change", [lambda plan: plan, batched], ids=["", "batched"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_two_live_buffers_overlap(name, change):
    program_, shapes, loss = PROGRAMS[name]
    joined = loss_graph(program_.trace(**shapes), LOSSES[loss])
    planned = change(
        plan(joined.graph, joined.layout("float32"), 32, gradients=joined.gradients)
    )
    arena = Arena(planned)
    steps = [*planned.once, *planned.steps]
    start_of_run = len(planned.once)
    kept = {view.buffer for view, _ in planned.constants}
    kept |= {view.buffer for view in planned.outputs.values()}
    kept |= {
        view.buffer
        for step in planned.steps
        for view in step.inputs
        if view.buffer in {once.out.buffer for once in planned.once}
    }
    inputs = {view.buffer for view in planned.inputs.values()}
    lives = {}
    for buffer, need in enumerate(planned.buffers):
        if need.external:
            assert arena.offsets[buffer] is None
            continue
        written = [i for i, s in enumerate(steps) if s.out.buffer == buffer]
        read = [
            i for i, s in enumerate(steps) if buffer in {v.buffer for v in s.inputs}
        ]
        first = start_of_run - 0.5 if buffer in inputs else min(written, default=-1)
        if buffer in kept and not written:
            first = -1
        last = np.inf if buffer in kept else max(written + read, default=first)
        # A step may write over what it is the last to read: half a step later.
        lives[buffer] = first, last - 0.5 if read and last == max(read) else last
    shared = 0
    for a, (first_a, last_a) in lives.items():
        for b, (first_b, last_b) in lives.items():
            bytes_a, bytes_b = (
                range(
                    arena.offsets[x],
                    arena.offsets[x]
                    + planned.buffers[x].size * planned.buffers[x].dtype.itemsize,
                )
                for x in (a, b)
            )
            overlap = max(bytes_a.start, bytes_b.start) < min(
                bytes_a.stop, bytes_b.stop
            )
            if a < b and overlap:
                shared += 1
                assert last_a < first_b or last_b < first_a
    assert shared  # memory is reused at all
    whole = sum(need.size * need.dtype.itemsize for need in planned.buffers)
    assert arena.size < whole
