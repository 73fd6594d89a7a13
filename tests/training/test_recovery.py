"""A killed rank changes no bit: the law of recovery, on threads that can be killed."""

import threading

import numpy as np
import pytest

import dtrain
from dtrain.checkpoint.folder import Folder
from dtrain.errors import RankLostError, StoppedError, UsageError
from dtrain.training.loop import Loop
from dtrain.training.recovery import recovering
from dtrain.training.settings import Settings
from dtrain.training.signals import Ask, Signals
from dtrain.training.trainer import Trainer
from dtrain.training.values import Checkpoint
from tests.training.programs import line, saving
from tests.worlds.mortal import Kill, MortalWorld

DRAW = np.random.default_rng(5)
X = DRAW.uniform(-1, 1, 45)
DATA = {"x": X, "t": 3 * X + 1 + DRAW.normal(size=45)}
OPTIONS = {
    "epochs": 4,
    "batch": 12,
    "block": 2,
    "learning_rate": 0.05,
    "optimizer": dtrain.optimizers.adam(),
}
STEPS = 16


def trained(world, **options):
    return dtrain.train(line, DATA, world=world, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def undisturbed():
    return trained(dtrain.SoloWorld())


def drawn(seed):
    """Draw a world of 2 to 5 ranks, of which at least one stays."""
    draw = np.random.default_rng([17, seed])
    size = int(draw.integers(2, 6))
    victims = draw.permutation(size)[: draw.integers(1, size)]
    exchange = int(draw.integers(1, 90))
    kills = []
    for victim in victims:
        if draw.random() < 0.6:
            exchange += int(draw.integers(0, 7))  # often while the others recover
        missed = np.flatnonzero(draw.random(size) < 0.5).tolist()
        kills.append(Kill(int(victim), exchange, missed))
    return MortalWorld(size, kills)


@pytest.mark.parametrize("seeds", [range(start, start + 25) for start in (0, 25, 50)])
def test_whoever_is_killed_whenever_the_others_end_with_the_same_bits(
    seeds, undisturbed
):
    for seed in seeds:
        world, told = drawn(seed), {}

        def callback(record, told=told):
            told.setdefault(threading.get_ident(), []).append(record)

        run = trained(world, callbacks=[callback])
        case = f"seed {seed}: {world.size} ranks, {world.kills}"
        assert run.digest == undisturbed.digest, case
        assert run.report["loss_history"] == undisturbed.report["loss_history"], case
        assert run.report["ranks"] + run.report["recovered_failures"] == world.size
        for records in told.values():  # also of those that were killed
            steps = [record.step for record in records]
            assert steps == list(range(1, len(steps) + 1)), case
            pairs = zip(records, undisturbed.history, strict=False)
            assert all(a.loss == b.loss for a, b in pairs), case
        assert [record.step for record in run.history] == list(range(1, STEPS + 1))


def test_the_plans_kill_in_all_parts_of_a_run():
    lost = [trained(drawn(seed)).report["recovered_failures"] for seed in range(75, 95)]
    assert {0, 1, 2} <= set(lost)


@pytest.mark.parametrize("seed", range(8))
def test_the_next_rank_0_saves_and_all_can_go_on_from_there(
    seed, undisturbed, tmp_path
):
    flat = {"save_every": 1, "keep": 100}
    exchange = 50 + 3 * seed  # in the first steps
    run = trained(MortalWorld(3, [Kill(0, exchange)]), **saving(tmp_path, **flat))
    assert run.digest == undisturbed.digest
    assert run.report["recovered_failures"] == 1
    for step in Folder(tmp_path).steps()[:3]:
        Folder(tmp_path).at(step).unlink()
    again = trained(dtrain.SoloWorld(), **saving(tmp_path, resume=True, **flat))
    assert again.digest == undisturbed.digest


class Doubtful(dtrain.SoloWorld):
    """A world whose ranks learn once that the work is to be done again."""

    def __init__(self, verdict):
        super().__init__()
        self._verdict = verdict  # the one that is no

    def settled(self, done):
        """Say no, once."""
        self._verdict -= 1
        return done and self._verdict != 0


@pytest.mark.parametrize("verdict", [1, 2, 3])
def test_what_was_asked_while_data_were_read_is_done_once(verdict, tmp_path):
    asked = Signals(active=False)
    asked._asked = int(Ask.SAVE | Ask.STOP)
    settings = Settings(epochs=3, learning_rate=0.1, checkpoint=Checkpoint(tmp_path))

    def work(world):
        Loop(Trainer(world, line, DATA, settings), (), asked).run()

    with pytest.raises(StoppedError, match="after step 0"):
        Doubtful(verdict).run(work)
    assert Folder(tmp_path).steps() == [0]


def test_too_few_ranks_stop_with_a_checkpoint(undisturbed, tmp_path):
    kills = [Kill(0, 90, [1]), Kill(2, 95)]
    with pytest.raises(StoppedError, match="stopped after step") as caught:
        trained(MortalWorld(3, kills), checkpoint=tmp_path, min_ranks=2)
    assert caught.value.exit_code == 75
    run = trained(dtrain.SoloWorld(), **saving(tmp_path, resume=True))
    assert run.report["resumed_from_step"] > 0
    assert run.digest == undisturbed.digest


@pytest.mark.parametrize("at", [20, 60])  # in set-up, in training
def test_too_few_ranks_without_checkpoints_end_with_the_code_of_a_lost_rank(at):
    with pytest.raises(RankLostError, match="fewer than --min-ranks 3") as caught:
        trained(MortalWorld(3, [Kill(1, at)]), min_ranks=3)
    assert caught.value.exit_code == 71


def test_too_few_ranks_from_the_start_are_refused():
    with pytest.raises(UsageError, match="--min-ranks 3: the run starts with 2"):
        trained(dtrain.ThreadWorld(2), min_ranks=3)


def test_a_callback_that_raises_is_no_lost_rank():
    def callback(record):
        if record.step == 5:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trained(MortalWorld(3, [Kill(1, 50)]), callbacks=[callback])


def test_a_world_that_cannot_lose_ranks_raises():
    def lose():
        raise RankLostError("rank 1 is gone")

    with pytest.raises(RankLostError):
        dtrain.ThreadWorld(2).run(lambda rank: recovering(rank, lose))
