"""Batches and seeds of a training run: functions of (seed, step, process), so a resume needs no RNG state."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import IntEnum
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Tensor] | Tensor
DrawBatch = Callable[[torch.Generator, int], Batch]
"""(generator, number of examples) -> batch on the CPU, drawn from the generator and from no other source.

A tensor of uint16, which is how tokens are stored and which torch does not compute with, arrives as int64: converted on
the device, so that a quarter of the bytes travel.
"""


class Stream(IntEnum):
    """What a seed is for; streams are independent of each other."""

    BATCH = 0
    FORWARD = 1
    EVALUATION = 2


def step_seed(seed: int, step: int, process: int, stream: Stream) -> int:
    """A 64-bit seed for one purpose in one step of one process."""
    return int(np.random.SeedSequence((seed, step, process, stream)).generate_state(1, np.uint64)[0])


class BatchFeed:
    """Draws the next step's batch in one thread while the current step computes.

    Args:
        draw: the caller's function; it must be safe to call from another thread.
        size: examples per batch of this process.
        seed: the run's seed.
        process: rank of this process.
        device: where batches go.
        step: the step whose batch is taken first.
    """

    def __init__(self, draw: DrawBatch, *, size: int, seed: int, process: int, device: torch.device, step: int):
        self._draw, self._size, self._seed, self._process = draw, size, seed, process
        self._device = device
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._next_step = step
        self._next: Future[Batch] = self._pool.submit(self._drawn, step)

    def take(self) -> Batch:
        """The batch of the next step, on the device; starts drawing the one after."""
        batch = self._next.result()
        self._next_step += 1
        self._next = self._pool.submit(self._drawn, self._next_step)
        return _each(batch, self._placed)

    def __enter__(self) -> "BatchFeed":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for the draw in flight, so that the caller may close its data."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _drawn(self, step: int) -> Batch:
        seed = step_seed(self._seed, step, self._process, Stream.BATCH)
        batch = self._draw(torch.Generator().manual_seed(seed), self._size)
        return _each(batch, Tensor.pin_memory) if self._device.type == "cuda" else batch

    def _placed(self, tensor: Tensor) -> Tensor:
        there = tensor.to(self._device, non_blocking=True)
        return there.long() if there.dtype == torch.uint16 else there


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    if isinstance(batch, Tensor):
        return change(batch)
    return {name: change(tensor) for name, tensor in batch.items()}
