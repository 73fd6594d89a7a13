"""Callbacks: what a Step shows of a run, and how it ends one."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from dtrain import ThreadWorld, load, train
from dtrain.training.loop import Loop
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer
from tests.training.programs import line, line_data, net, net_data

DATA = net_data(53)
OPTIONS = {"epochs": 4, "batch": 20, "learning_rate": 0.1}  # 3 steps an epoch


def stopped_at(step, ranks, asking, how="stop"):
    """Train, and let the ranks ``asking`` stop the run at a step."""

    def work(world):
        assert world.size == ranks

        def callback(now):
            if now.step == step and world.rank in asking:
                if how == "StopIteration":
                    raise StopIteration("enough")
                now.stop("enough")

        trainer = Trainer(world, net, DATA, Settings(**OPTIONS))
        run = Loop(trainer, [callback]).run()
        return run, set(world.allgather(run.digest.encode()))

    run, digests = ThreadWorld(ranks).run(work)
    assert len(digests) == 1
    return run


@pytest.mark.parametrize("how", ["stop", "StopIteration"])
@pytest.mark.parametrize(("ranks", "asking"), [(1, {0}), (3, {2}), (3, {0, 1, 2})])
def test_a_callback_on_any_rank_ends_the_run_after_its_step(ranks, asking, how):
    run = stopped_at(6, ranks, asking, how)
    full = train(net, DATA, **{**OPTIONS, "epochs": 2})
    assert run.digest == full.digest
    assert len(run.history) == 6
    assert run.report["steps"] == 6
    assert run.report["stopped"] == "callback"
    assert run.report["message"] == "enough (after step 6 of 12)"
    assert run.report["loss_history"] == full.report["loss_history"]


def test_a_stop_at_the_last_step_changes_nothing():
    run = stopped_at(12, 1, {0})
    assert run.report["stopped"] == "epochs"
    assert run.digest == train(net, DATA, **OPTIONS).digest


def test_a_run_that_is_not_stopped_says_so():
    report = train(line, line_data(20), epochs=2, learning_rate=0.1).report
    assert (report["stopped"], report["converged"]) == ("epochs", None)
    assert report["message"] == "all 2 epochs are done"


def test_a_step_shows_the_weights_and_the_ends_of_epochs():
    ends, seen = [], []

    def callback(step):
        ends.append(step.is_epoch_end)
        seen.append({name: w.copy() for name, w in step.weights.items()})
        with pytest.raises(ValueError, match="read-only"):
            step.weights["b"][0] = 1.0

    run = train(net, DATA, callbacks=[callback], **OPTIONS)
    assert ends == [False, False, True] * 4
    for name, w in run.weights.items():
        np.testing.assert_array_equal(seen[-1][name], w)
    assert not np.array_equal(seen[0]["W"], seen[1]["W"])


def test_a_step_reaches_its_run_only_in_the_callback():
    steps = []
    train(net, DATA, callbacks=[steps.append], **OPTIONS)
    with pytest.raises(RuntimeError, match="only while a callback"):
        steps[0].stop()
    with pytest.raises(RuntimeError, match="only while a callback"):
        _ = steps[0].weights


def test_a_stopped_run_is_saved_and_can_be_continued(tmp_path):
    def callback(step):
        if step.step == 5:
            step.stop("a pause")

    folder = tmp_path / "run"
    run = train(net, DATA, checkpoint=folder, callbacks=[callback], **OPTIONS)
    assert run.report["checkpoint_step"] == 5
    for name, w in load(folder).items():
        np.testing.assert_array_equal(run.weights[name], w)


def test_ctrl_c_returns_what_was_reached():
    def callback(step):
        if step.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    run = train(net, DATA, callbacks=[callback], **OPTIONS)
    assert run.report["stopped"] == "signal"
    assert "Ctrl-C" in run.report["message"]
    assert "Ctrl-C" in repr(run)
    assert run.digest == train(net, DATA, **{**OPTIONS, "epochs": 2}).digest
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_interrupts():
    def callback(step):
        if step.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(net, DATA, callbacks=[callback], **OPTIONS)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
