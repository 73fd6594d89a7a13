"""Time gloo's sum of float32 over ranks: ``python gloo_sum.py RANKS LENGTH ...``.

Prints a length's median of the slowest rank's times, as `reduction.py` does for MPI.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import distributed, multiprocessing

ROUNDS = 15
SECONDS = 0.05


def rank_main(rank: int, size: int, meeting: str, lengths: list[int]) -> None:
    """One rank's side."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size
    )
    for length in lengths:
        vector = torch.zeros(length)
        once = slowest(vector, 3)
        times = max(1, int(SECONDS / once))
        taken = statistics.median(slowest(vector, times) for _ in range(ROUNDS))
        if rank == 0:
            print(f"{length:>11,} {'gloo':<14} {taken * 1e6:>10,.1f} µs", flush=True)
    distributed.destroy_process_group()


def slowest(vector: torch.Tensor, times: int) -> float:
    """Seconds for one sum, the mean of several; the slowest rank's."""
    distributed.barrier()
    start = time.perf_counter()
    for _ in range(times):
        distributed.all_reduce(vector)
    taken = torch.tensor((time.perf_counter() - start) / times)
    distributed.all_reduce(taken, distributed.ReduceOp.MAX)
    return float(taken)


def main(arguments: list[str]) -> None:
    """Start the ranks."""
    size, *lengths = map(int, arguments)
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder, "meeting"))
        multiprocessing.spawn(rank_main, (size, meeting, lengths), nprocs=size)


if __name__ == "__main__":
    main(sys.argv[1:])
