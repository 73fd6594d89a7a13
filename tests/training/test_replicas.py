"""A rank whose weights have changed by themselves is named, with the place."""

import numpy as np
import pytest

from dtrain import ThreadWorld
from dtrain.errors import ReplicaError
from dtrain.training.loop import Loop
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer
from tests.training.programs import net, net_data

STEPS = 12


def run(ranks, flips, every=4, bit=3):
    """Train; after step 5 a bit of some ranks' weight b[2] is another one."""

    def work(world):
        settings = Settings(
            epochs=STEPS, learning_rate=0.1, batch=None, verify_every=every
        )
        trainer = Trainer(world, net, net_data(53), settings)

        def strike(record):
            if record.step == 5 and world.rank in flips:
                trainer.weights.values["b"].view(np.uint32)[2] ^= 1 << bit

        return Loop(trainer, [strike]).run()

    return ThreadWorld(ranks).run(work)


@pytest.mark.parametrize(
    ("every", "step"), [(1, 5), (4, 8), (6, 6), (5, 5), (100, 12), (0, 12)]
)
def test_a_flipped_bit_is_found_at_the_next_check(every, step):
    with pytest.raises(ReplicaError, match=f"after step {step} the weights") as caught:
        run(3, {1}, every)
    error = caught.value
    assert error.agreed
    assert error.exit_code == 70
    host = ThreadWorld(1).host
    for text in (f"of rank 1 on {host} differ", "other 2 ranks", "weight 'b' at [2]: "):
        assert text in str(error)


@pytest.mark.parametrize("bit", [0, 22, 31])
def test_any_bit_is_found(bit):
    with pytest.raises(ReplicaError, match=r"weight 'b' at \[2\]: .*\(0x[0-9a-f]{8}\)"):
        run(4, {3}, every=6, bit=bit)


def test_of_two_ranks_either_may_be_wrong():
    with pytest.raises(ReplicaError, match="either may be the wrong"):
        run(2, {1})


def test_all_ranks_that_differ_are_named():
    with pytest.raises(
        ReplicaError, match=r"rank 1 on \S+, rank 4 on \S+ differ from .* other 3 ranks"
    ):
        run(5, {1, 4})


def test_what_all_ranks_have_is_right():
    assert run(3, set()).report["steps"] == STEPS
    assert run(1, {0}).report["steps"] == STEPS
