"""However many steps are taken, memory stays as it was."""

import gc
import tracemalloc

from dtrain import SoloWorld
from dtrain.training.settings import Settings
from dtrain.training.trainer import Trainer
from tests.training.programs import net, net_data

STEPS = 10_000


def test_memory_is_flat_over_many_steps():
    settings = Settings(
        epochs=STEPS + 100, learning_rate=1e-3, optimizer="adam", block=8
    )
    trainer = Trainer(SoloWorld(), net, net_data(27), settings)
    batch = trainer.order.at(0)

    def steps(count: int) -> int:
        for _ in range(count):
            trainer.step(batch, 1e-3)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = steps(100)
        tracemalloc.reset_peak()
        after = steps(STEPS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2048  # a fifth of a byte for each step
    assert peak - before < 100_000
