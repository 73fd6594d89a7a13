"""Execution models: the same bits, no races, and no threads left over."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dtrain import ThreadWorld, layers, loss_and_gradient, program, train, weight, zoo
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution import models as execution
from dtrain.engine.execution.arena import Arena
from dtrain.engine.execution.cost import seconds
from dtrain.engine.execution.models import EXECUTIONS, Schedule, Task
from dtrain.engine.execution.models import Model as Execution
from dtrain.engine.execution.pool import Pool
from dtrain.engine.lowering.lower import plan
from dtrain.engine.plans.plan import Plan, View
from tests.engine import test_batching
from tests.engine.models import MODELS, Model
from tests.engine.wired import INPUTS, wired

THREADS = 3
PARALLEL = [name for name in EXECUTIONS if name != "sequential"]


@program
def towers(x: Any) -> Any:
    """Branches that are independent of each other, with masks and sums of places."""
    tops = []
    for k in range(4):
        h = layers.relu(layers.dense(x, 8, name=f"{k}.first"))
        h = np.where(h > 0.2, h, np.sin(x[2:10])) + h[::-1]
        tops.append(np.tanh(layers.dense(np.stack([h, x[:8]]).sum(0), 3, name=f"{k}")))
    return np.concatenate(tops)


def models() -> dict[str, Callable[[], Model]]:
    """What is run: programs by hand, a wide one, and random ones."""
    made: dict[str, Callable[[], Model]] = {}
    for name in MODELS:
        made[name] = lambda name=name: Model.of(name, 32)  # type: ignore[misc]
    made["towers"] = lambda: Model.made(towers, {"x": (10,)}, 32)
    for seed in range(4):
        shapes = {"x": (INPUTS,), "p": (), "q": ()}
        made[f"layers{seed}"] = lambda seed=seed, shapes=shapes: Model.made(  # type: ignore[misc]
            wired(seed), shapes, 32
        )
        made[f"graph{seed}"] = lambda seed=seed: Model.made(  # type: ignore[misc]
            test_batching.wired(seed), {"x": (4,)}, 32
        )
    return made


WHAT = models()


@pytest.fixture
def any_cost(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step may be worth a thread, whatever it really costs."""
    rng = random.Random(request.node.name)  # noqa: S311  (no secret)
    monkeypatch.setattr(execution, "_HANDOFF", 0.0)
    monkeypatch.setattr(execution, "_FENCE", 20)
    costs = (0.0, 0.2 * execution._GRAIN, 2 * execution._GRAIN)
    monkeypatch.setattr(execution, "seconds", lambda _: rng.choice(costs))


def bits(model: Model, backend: str, name: str, stack: int) -> tuple[bytes, ...]:
    """What a model gives, after a few runs."""
    bound, slots = model.bound(8, stack, backend, Execution(name, THREADS))
    pool = Pool(THREADS)
    try:
        for first in (8, 0, 0):
            model.run(bound, first, pool)
    finally:
        pool.close()
    return slots.tobytes(), bound.outputs["loss"].tobytes()


@pytest.mark.usefixtures("any_cost")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", WHAT)
def test_all_models_give_the_same_bits(what: str, backend: str) -> None:
    model = WHAT[what]()
    right = bits(model, backend, "sequential", 2)
    for name in PARALLEL:
        assert bits(model, backend, name, 2) == right


def arranged(model: Model, backend: str) -> Plan:
    """A model's plan as a backend runs it."""
    joined = model.objective
    planned = plan(
        joined.graph, model.weights.layout, 8, gradients=joined.gradients, stack=2
    )
    return BACKENDS[backend].arranged(planned)


Bytes = set[tuple[str, int]]  # whose memory, and which byte of it


def touched(planned: Plan, arena: Arena, view: View) -> Bytes:
    """The bytes of a view, one by one."""
    buffer = planned.buffers[view.buffer]
    places = np.full(view.shape, view.offset)
    for axis, stride in enumerate(view.strides):
        along = np.arange(view.shape[axis]) * stride
        places = places + along.reshape(-1, *[1] * (len(view.shape) - axis - 1))
    size = buffer.dtype.itemsize
    start = arena.offsets[view.buffer] or 0
    whose = buffer.external or "arena"
    elements = np.unique(places).tolist()
    return {(whose, start + size * i + byte) for i in elements for byte in range(size)}


def races(planned: Plan, schedule: Schedule, arena: Arena) -> Iterator[tuple[int, int]]:
    """Tasks of one phase that may run at once, and touch what one of them writes."""
    for phase in schedule.steps:
        waits: list[set[int]] = []
        for task in phase:
            waits.append(set(task.after).union(*(waits[i] for i in task.after)))
        used = [_used(planned, arena, task) for task in phase]
        for b, (reads_b, writes_b) in enumerate(used):
            for a in set(range(b)) - waits[b]:
                reads_a, writes_a = used[a]
                if writes_a & (reads_b | writes_b) or writes_b & reads_a:
                    yield a, b


def _used(planned: Plan, arena: Arena, task: Task) -> tuple[Bytes, Bytes]:
    """The bytes that a task reads, and those that it writes."""
    reads: Bytes = set()
    writes: Bytes = set()
    for number in task.steps:
        step = planned.steps[number]
        for views, into in ((step.inputs, reads), (step.outs, writes)):
            for view in views:
                into |= touched(planned, arena, view)
    return reads, writes


@pytest.mark.usefixtures("any_cost")
@pytest.mark.parametrize("name", PARALLEL)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", WHAT)
def test_parallel_steps_write_no_shared_memory(
    what: str, backend: str, name: str
) -> None:
    planned = arranged(WHAT[what](), backend)
    schedule = Execution(name, THREADS).schedule(planned)
    order = [i for phase in schedule.steps for task in phase for i in task.steps]
    assert sorted(order) == list(range(len(planned.steps)))
    assert not list(races(planned, schedule, Arena(planned, schedule)))


@pytest.mark.usefixtures("any_cost")
@pytest.mark.parametrize("name", PARALLEL)
def test_a_race_is_detected(name: str) -> None:
    """If memory were used again as for one thread; or a task waited for none."""
    planned = arranged(WHAT["towers"](), "numpy")
    schedule = Execution(name, THREADS).schedule(planned)
    assert list(races(planned, schedule, Arena(planned)))
    hasty = [Task(task.steps) for phase in schedule.steps for task in phase]
    assert list(races(planned, Schedule([], [hasty]), Arena(planned, schedule)))


def test_small_plans_run_sequentially() -> None:
    model = Model.of("irregular", 32)
    for name in PARALLEL:
        bound, _ = model.bound(8, 2, execution=Execution(name, 2))
        assert [len(phase.tasks) for phase in bound.phases] == [1]


@pytest.mark.parametrize("name", PARALLEL)
def test_large_steps_run_in_parallel(name: str) -> None:
    width = 1024

    @program
    def wide(x: Any) -> Any:
        tops = [np.tanh(weight(f"W{i}", (width, width)) @ x) for i in range(2)]
        return sum(tops)

    planned = arranged(Model.made(wide, {"x": (width,)}, 16, "float32"), "numpy")
    schedule = Execution(name, 2).schedule(planned)
    products = {i for i, step in enumerate(planned.steps) if step.kernel == "matmul"}
    homes = [products & set(task.steps) for phase in schedule.steps for task in phase]
    assert max(map(len, homes)) < len(products)
    assert seconds(planned.steps[min(products)]) > 0


@pytest.mark.usefixtures("any_cost")
@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=pytest.mark.full)])
@pytest.mark.parametrize("what", zoo.ENTRIES)
def test_training_ends_with_one_digest_and_no_thread(what: str, ranks: int) -> None:
    entry = zoo.ENTRIES[what]
    columns = zoo.DATA[entry.data]().columns
    data = {name: column[:50] for name, column in columns.items()}
    options = {**entry.options, "epochs": 2, "batch": 20, "block": 4}
    before = threading.active_count()
    digests = {
        train(
            entry.program,
            data,
            **options,
            execution=name,
            threads=2,
            world=ThreadWorld(ranks),
        ).digest
        for name in EXECUTIONS
    }
    assert len(digests) == 1
    assert threading.active_count() == before


@pytest.mark.usefixtures("any_cost")
@pytest.mark.parametrize("name", PARALLEL)
def test_workers_have_the_callers_errstate_and_exit(name: str) -> None:
    """The programs of the table divide by zero, too, and are asked not to warn."""
    x = np.zeros((32, 10))
    weights = {
        key: np.zeros(each.shape) for key, each in towers.trace(x=10).specs.items()
    }
    before = threading.active_count()
    found = loss_and_gradient(
        towers, weights, x, np.full((32, 12), np.inf), execution=name
    )
    assert found[0] == np.inf
    assert threading.active_count() == before


class Wrong(Exception):
    """What a call raises here."""


def test_an_exception_in_a_worker_reaches_the_caller() -> None:
    pool, here = Pool(THREADS), threading.current_thread()
    both = threading.Barrier(THREADS, timeout=30)

    def work() -> None:
        both.wait()
        if threading.current_thread() is not here:
            raise Wrong

    for _ in range(2):  # and the pool goes on
        with pytest.raises(Wrong):
            pool.together(work, THREADS)
    pool.close()
    assert not pool._threads


@pytest.mark.usefixtures("any_cost")
@pytest.mark.parametrize("name", PARALLEL)
def test_a_call_that_raises_ends_the_run(name: str) -> None:
    model = Model.of("outer", 32)
    bound, _ = model.bound(8, 2, execution=Execution(name, THREADS))
    wide = max(bound.phases, key=lambda phase: len(phase.tasks))

    def fail() -> None:
        raise Wrong

    pool = Pool(THREADS)
    for task in wide.tasks:
        task.insert(0, (fail, ()))
        with pytest.raises(Wrong):
            model.run(bound, 0, pool)
        del task[0]
    model.run(bound, 0, pool)
    pool.close()


def test_a_forked_process_starts_new_threads() -> None:
    pool = Pool(2)
    pool.together(lambda: None, 2)
    child = os.fork()
    if child == 0:
        pool.together(lambda: None, 2)
        pool.close()
        os._exit(17)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
    pool.close()
