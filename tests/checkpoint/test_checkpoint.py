"""Checkpoints: whole or not there, and the same bits wherever a run goes on."""

import logging
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dtrain import SoloWorld, ThreadWorld, load, losses, optimizers, schedules, train
from dtrain.checkpoint import file
from dtrain.checkpoint.folder import Folder
from dtrain.errors import DataError, StoppedError, UsageError
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer
from dtrain.training.values import Checkpoint
from tests.soak import saves
from tests.training.programs import line, line_data, net, net_data, saving, settle

OPTIMIZERS = {
    "sgd": optimizers.sgd(),
    "momentum": optimizers.sgd(momentum=0.9, nesterov=True, clip_norm=1.0),
    "adam": optimizers.adam(),
    "adamw": optimizers.adamw(),
    "lamb": optimizers.lamb(weight_decay=0.01),
    "rmsprop": optimizers.rmsprop(momentum=0.5),
}
BASE = {"epochs": 3, "batch": 10, "block": 2, "learning_rate": 0.05}  # 3 steps each


def world_of(ranks):
    return SoloWorld() if ranks == 1 else ThreadWorld(ranks)


def fit(folder, **options):
    """Train `net`, saving every step and keeping all, unless told otherwise."""
    given = {**BASE, "save_every": 1, "keep": 99, "callbacks": [settle], **options}
    return train(net, net_data(25), **saving(folder, **given))


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def step(number):
    return f"step-{number:08}.safetensors"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_goes_on_to_the_same_bits_on_any_number_of_ranks(tmp_path, name):
    rule = OPTIMIZERS[name]
    whole = train(net, net_data(25), optimizer=rule, **BASE)
    for before in (1, 2, 3, 4):
        kept = tmp_path / f"{before}"
        fit(kept, optimizer=rule, world=world_of(before), resume=True)
        for after in (1, 2, 3, 4):
            for at in (3, 4):  # the end of an epoch, and inside the next
                folder = tmp_path / f"{before}-{after}-{at}"
                folder.mkdir()
                shutil.copy(kept / step(at), folder)
                run = fit(folder, optimizer=rule, resume=True, world=world_of(after))
                assert run.digest == whole.digest
                assert run.report["resumed_from_step"] == at
                assert run.report["steps"] == 9
                assert [record.step for record in run.history] == list(
                    range(at + 1, 10)
                )
                assert run.report["loss_history"] == whole.report["loss_history"]
                assert run.history[0].loss == whole.history[at].loss


def test_the_file_says_what_it_is_of_and_loads_as_weights(tmp_path):
    run = fit(tmp_path / "new" / "folder")
    path = tmp_path / "new" / "folder" / step(9)
    found = file.read(path)
    assert found.facts["steps"] == 9
    assert {"block", "batch", "seed", "program", "data set", "dtype"} <= set(
        found.facts["run"]
    )
    assert {"dtrain", "NumPy", "processor features"} <= set(found.facts["versions"])
    for where in (path, path.parent):
        loaded = load(where)
        assert set(loaded) == set(run.weights)
        for name, value in run.weights.items():
            np.testing.assert_array_equal(loaded[name], value)


def test_every_changed_byte_and_every_cut_is_detected(tmp_path):
    train(line, line_data(), epochs=1, learning_rate=0.1, checkpoint=tmp_path)
    content = (tmp_path / step(1)).read_bytes()
    bad = tmp_path / "bad.safetensors"
    rng = np.random.default_rng(0)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        bad.write_bytes(changed)
        with pytest.raises(DataError):
            load(bad)
        with pytest.raises(DataError):
            file.read(bad)
    for length in range(len(content)):
        bad.write_bytes(content[:length])
        with pytest.raises(DataError):
            load(bad)


@pytest.mark.parametrize("harm", ["changed", "cut", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(tmp_path, harm, caplog):
    whole = fit(tmp_path)
    path = tmp_path / step(9)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"changed": content, "cut": content[:99], "empty": b""}[harm])
    run = fit(tmp_path, resume=True)
    assert (run.report["resumed_from_step"], run.digest) == (8, whole.digest)
    assert step(9) in caplog.text
    assert "damaged" in caplog.text
    assert fit(tmp_path, resume=True).report["resumed_from_step"] == 9  # mended


def test_where_none_verifies_the_run_is_refused(tmp_path):
    fit(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="no checkpoint in"):
        fit(tmp_path, resume=True)
    with pytest.raises(DataError, match="no checkpoint in"):
        load(tmp_path)


def test_a_forced_run_that_ends_at_the_others_step_is_saved(tmp_path):
    fit(tmp_path, epochs=2)  # 6 steps
    run = fit(tmp_path, epochs=3, batch=15, resume=True, force=True, save_every=99)
    assert run.report["steps"] == 6
    for name, weight in load(tmp_path).items():
        np.testing.assert_array_equal(weight, run.weights[name])


def test_a_forced_run_keeps_the_mean_losses_of_other_data():
    """Also of epochs in which more samples were left out than there are now."""
    state = Trainer(SoloWorld(), net, net_data(11), Settings(**BASE)).state
    was = {
        "steps": np.array(6),
        "counts": np.array([13.0, 25.0, 10.0]),
        "sums": np.array([26.0, 50.0, 3.0]),
    }
    state.assign({**state.arrays, **was})
    state.restart_epoch(steps_per_epoch=3)
    assert state.losses == pytest.approx([2.0, 2.0])
    assert state.counts[2] == state.sums[2] == 0


def halving(steps):
    return 0.1 / (1 + steps)


class Rate:
    """A schedule whose repr holds an address."""

    def __call__(self, steps):
        """Give the rate."""
        return halving(steps)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({"learning_rate": 0}, {"learning_rate": np.float64(0.0)}),
        ({"loss": losses.Huber(1)}, {"loss": losses.Huber()}),
        ({"optimizer": optimizers.sgd(momentum=0)}, {"optimizer": "sgd"}),
        *(
            ({"learning_rate": rate()}, {"learning_rate": rate()})
            for rate in (
                Rate,
                lambda: lambda _: 0.1,
                lambda: schedules.step(0, every=2),
                lambda: schedules.warmup(halving, steps=2),
                lambda: schedules.warmup(Rate(), steps=2),
                lambda: schedules.warmup(schedules.constant(0), steps=2),
            )
        ),
    ],
)
def test_equal_settings_are_the_same_run(tmp_path, was, now):
    fit(tmp_path, **{**was, "epochs": 1})
    run = fit(tmp_path, **now, resume=True)
    assert run.report["resumed_from_step"] == 3


def test_threads_that_change_no_bits_may_change(tmp_path):
    fit(tmp_path, execution="levels", threads=1)
    run = fit(tmp_path, execution="dataflow", threads=2, resume=True)
    assert run.report["resumed_from_step"] == 9


def test_a_folder_with_checkpoints_is_not_overwritten(tmp_path):
    fit(tmp_path)
    with pytest.raises(UsageError, match="--resume"):
        fit(tmp_path)
    with pytest.raises(UsageError, match="--resume"):
        fit(tmp_path, world=ThreadWorld(2))


def test_nothing_to_resume_starts_afresh_and_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO, "dtrain")
    run = fit(tmp_path, resume=True)
    assert run.report["resumed_from_step"] is None
    assert "starting from the beginning" in caplog.text


def test_a_finished_run_is_done_and_may_be_given_more_epochs(tmp_path):
    first = fit(tmp_path)
    again = fit(tmp_path, resume=True)
    assert (again.digest, again.history) == (first.digest, [])
    assert again.report["loss_history"] == first.report["loss_history"]
    longer = fit(tmp_path, resume=True, epochs=5)
    assert longer.digest == train(net, net_data(25), **{**BASE, "epochs": 5}).digest
    assert len(longer.report["loss_history"]) == 5
    with pytest.raises(UsageError, match="15 steps, and 4 epochs have only 12"):
        fit(tmp_path, resume=True, epochs=4)


def test_another_length_of_a_schedule_is_warned_of(tmp_path, caplog):
    from dtrain.training.loop import Loop
    from dtrain.training.settings import Settings
    from dtrain.training.trainer import Trainer
    from dtrain.training.values import Spanning

    for epochs in (2, 4):
        settings = Settings(
            epochs=epochs,
            learning_rate=Spanning(0.1, "cosine"),
            checkpoint=Checkpoint(tmp_path, resume=True),
        )
        Loop(Trainer(SoloWorld(), line, line_data(), settings)).run()
        assert ("spans the whole run" in caplog.text) == (epochs == 4)


CHANGES = {
    "data set": {"data": net_data(24)},
    "program": {"program": line, "data": line_data(25)},
    "batch was 10 and is 5": {"batch": 5},
    "batch was 10 and is full": {"batch": None},
    "block": {"block": 4},
    "dtype was float32 and": {"dtype": "float64"},
    "seed": {"seed": 1},
    "loss": {"loss": losses.Huber(0.5)},
    "optimizer": {"optimizer": "adam"},
    "momentum=0.9": {"optimizer": optimizers.sgd(momentum=0.9)},
    "learning_rate": {"learning_rate": schedules.step(0.1, 10)},
    "penalty": {"penalty": lambda w: np.sum(np.square(w["b"]))},
    "threads": {"threads": 2},
}
FORCED = {
    "data set",
    "batch was 10 and is 5",
    "block",
    "seed",
    "loss",
    "learning_rate",
    "penalty",
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_run_is_refused_and_says_what_has_changed(tmp_path, what):
    train(net, net_data(25), checkpoint=tmp_path, **{**BASE, "epochs": 1})
    before = names(tmp_path)
    changed = {"program": net, "data": net_data(25), **BASE, **CHANGES[what]}
    changed |= saving(tmp_path, resume=True)
    forced = changed | saving(tmp_path, resume=True, force=True)
    with pytest.raises(UsageError, match=f"another run: .*{what}"):
        train(**changed)
    assert names(tmp_path) == before
    if what in FORCED:
        run = train(**forced)
        assert len(run.report["loss_history"]) == 3
    elif what not in ("threads", "batch was 10 and is full"):
        with pytest.raises(UsageError):
            train(**forced)


def test_the_last_few_and_the_best_are_kept(tmp_path):
    folder = Folder(tmp_path, keep=2)
    folder.open()
    losses_ = [None, 3.0, 1.0, 1.0, 2.0, 2.5]
    for steps, loss in enumerate(losses_):
        facts = {"loss": loss, "weights": {}, "run": {}}
        folder.save({"steps": np.array(steps), "weights": np.zeros(1)}, facts)
    assert names(tmp_path) == [step(2), step(4), step(5)]
    again = Folder(tmp_path, keep=1)  # it learns from the files what the best is
    again.save({"steps": np.array(6), "weights": np.zeros(1)}, facts)
    assert names(tmp_path) == [step(2), step(6)]


def test_a_late_save_removes_none_of_a_later_step(tmp_path, monkeypatch):
    """Of a signal's save at once, while a thread still writes the one before."""
    folder, write = Folder(tmp_path, keep=1), file.write
    (tmp_path / step(9)).touch()  # of a run that was left by --force

    def slow(path, arrays, *args, **options):
        if arrays["steps"] == 3:
            folder.save({"steps": np.array(4)}, {"loss": 0.25})
        write(path, arrays, *args, **options)

    monkeypatch.setattr(file, "write", slow)
    folder.save({"steps": np.array(3)}, {"loss": 0.5})
    assert names(tmp_path) == [step(4)]


def test_what_interrupted_saves_have_left_is_removed(tmp_path):
    stale = tmp_path / f".{step(3)}.123-456.tmp"
    stale.write_bytes(b"half")
    mine = tmp_path / "notes.tmp"
    mine.write_text("mine")
    fit(tmp_path)
    assert not stale.exists()
    assert mine.exists()


def test_what_another_run_is_writing_stays(tmp_path, monkeypatch):
    other, put, seen = Folder(tmp_path), file._put, []
    other.make_room(5000)

    def meanwhile(file, piece):
        if not seen:
            seen.append(names(tmp_path))
            Folder(tmp_path).open()
            seen.append(names(tmp_path))
        put(file, piece)

    monkeypatch.setattr(file, "_put", meanwhile)
    other.save({"steps": np.array(1)}, {"loss": None})
    assert len(seen[0]) == 2  # the room, and what is being written
    assert seen[1] == seen[0]
    other.close()
    assert names(tmp_path) == [step(1)]


def test_what_another_run_renames_meanwhile_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / f".{step(3)}.123-456.tmp").touch()
    abandoned = file.abandoned

    def meanwhile(path):
        path.rename(tmp_path / step(3))
        return abandoned(path)

    monkeypatch.setattr(file, "abandoned", meanwhile)
    Folder(tmp_path).open()
    assert step(3) in names(tmp_path)


def test_a_run_that_is_refused_touches_nothing(tmp_path):
    fit(tmp_path)
    stale = tmp_path / f".{step(3)}.123-456.tmp"
    stale.touch()
    with pytest.raises(UsageError, match="holds the checkpoints of a run"):
        fit(tmp_path)
    assert stale.exists()


@pytest.mark.full
def test_interrupted_saves_lose_nothing():
    rng = np.random.default_rng(5)
    whole, digest = saves.undisturbed()
    for _ in range(3):
        saves.trial(rng, whole, digest)


def test_a_full_disk_is_warned_of_and_training_goes_on(tmp_path, monkeypatch, caplog):
    whole = train(net, net_data(25), **BASE)
    written = []

    def full(file, piece):
        written.append(len(piece))
        if len(written) > 40:
            raise OSError(28, "No space left on device")
        file.write(piece)

    monkeypatch.setattr(file, "_put", full)
    run = fit(tmp_path)
    assert run.digest == whole.digest
    assert "No space left on device" in caplog.text
    assert not list(tmp_path.glob(".*"))
    monkeypatch.undo()
    again = fit(tmp_path, resume=True)
    assert 0 < again.report["resumed_from_step"] < 9
    assert again.digest == whole.digest


@pytest.mark.parametrize("before", [False, True])
def test_a_run_that_stops_unsaved_does_not_say_that_it_can_be_gone_on_with(
    tmp_path, monkeypatch, before
):
    if before:
        fit(tmp_path, epochs=1)

    def full(*_):
        raise OSError(28, "No space left on device")

    def stop(_):
        os.kill(os.getpid(), signal.SIGUSR2)

    monkeypatch.setattr(file, "_put", full)
    with pytest.raises(StoppedError if before else UsageError) as stopped:
        fit(tmp_path, resume=True, callbacks=[stop])
    if before:
        assert "with its checkpoint of step 3" in str(stopped.value)
    else:
        assert "no checkpoint in" in str(stopped.value)
        assert "none could be written" in str(stopped.value)


def test_a_folder_that_vanishes_is_warned_of(tmp_path, caplog):
    folder = tmp_path / "folder"

    def vanish(record):
        settle(record)
        if record.step == 2:
            shutil.rmtree(folder)

    fit(folder, callbacks=[vanish])
    assert "cannot save step" in caplog.text


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "below", "/proc/nowhere"):
        with pytest.raises(UsageError, match="cannot write into it"):
            fit(folder, world=ThreadWorld(2))


@pytest.mark.parametrize(
    "options",
    [
        {"keep": 0},
        {"every": 0},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"seconds": "often"},
        {"resume": "yes"},
        {"folder": ""},
        {"folder": 3},
        {"force": True},
    ],
)
def test_options_without_sense_are_refused(options):
    name = {"folder": "checkpoint"}.get(next(iter(options)), next(iter(options)))
    with pytest.raises(UsageError, match=name):
        Checkpoint(**{"folder": "run", **options})


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_what_is_written_into_room_is_what_is_written_afresh(tmp_path, size):
    arrays = {"steps": np.array(1), "weights": np.arange(9.0)}
    file.write(tmp_path / "afresh", arrays, {"loss": 0.5})
    room = file.reserve(tmp_path / "room", size)
    assert (tmp_path / "room").stat().st_size == size
    file.write(tmp_path / "there", arrays, {"loss": 0.5}, room=room)
    assert names(tmp_path) == ["afresh", "there"]
    afresh, there = (tmp_path / name for name in ("afresh", "there"))
    assert there.read_bytes() == afresh.read_bytes()


@pytest.mark.parametrize("there", [True, False])
def test_a_save_that_must_be_quick_takes_the_room_made_for_it(tmp_path, there):
    folder = Folder(tmp_path)
    folder.make_room(5000)
    (room,) = tmp_path.iterdir()
    inode = room.stat().st_ino
    folder.save({"steps": np.array(1)}, {"loss": None})
    assert room.exists()
    if not there:  # somebody has removed it
        room.unlink()
    folder.save({"steps": np.array(2)}, {"loss": None}, durable=False)
    assert names(tmp_path) == [step(1), step(2)]
    if there:
        assert folder.at(2).stat().st_ino == inode
    folder.make_room(5000)
    folder.close()
    assert names(tmp_path) == [step(1), step(2)]


def test_a_save_that_finds_no_room_takes_what_was_made(tmp_path, monkeypatch):
    """Of a disk that is almost full the room for a quick save may have the last."""
    folder, put = Folder(tmp_path), file._put
    folder.make_room(5000)

    def full(file, piece):
        if any(name.startswith(".step-0.") for name in names(tmp_path)):
            raise OSError(28, "No space left on device")
        put(file, piece)

    monkeypatch.setattr(file, "_put", full)
    folder.save({"steps": np.array(1)}, {"loss": None})
    assert names(tmp_path) == [step(1)]


def test_room_is_given_back_at_the_end_whatever_the_end_is(tmp_path):
    seen = []

    def look(record):
        for thread in threading.enumerate():
            if thread.name == "room":
                thread.join()
        seen.append([name for name in names(tmp_path) if name.endswith(".tmp")])
        if record.step == 2:
            raise KeyError("mine")

    with pytest.raises(KeyError):
        fit(tmp_path, callbacks=[settle, look])
    assert [len(rooms) for rooms in seen] == [1, 1]
    assert names(tmp_path) == [step(1)]


def test_a_slow_disk_holds_up_no_step(tmp_path, monkeypatch):
    """The whole run goes by while its first checkpoint is being written."""
    done, write = threading.Event(), file.write

    def slow(path, *args, **options):
        if path.name == step(1):
            assert done.wait(30)
        write(path, *args, **options)

    def last(record):
        if record.step == 8:
            done.set()

    monkeypatch.setattr(file, "write", slow)
    fit(tmp_path, callbacks=[last])
    there = names(tmp_path)
    assert step(1) in there
    assert step(9) in there
    assert step(4) not in there  # one save at a time
    first = file.read(tmp_path / step(1))
    assert (first.facts["steps"], int(first.arrays["steps"])) == (1, 1)


def test_seconds_say_when_to_save(tmp_path):
    def slow(record):
        time.sleep(0.3 * (record.step == 4))

    fit(tmp_path, save_every=None, save_seconds=0.25, callbacks=[slow])
    assert step(4) in names(tmp_path)
    assert step(9) in names(tmp_path)
