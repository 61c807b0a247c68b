"""A step that is launched at once: recorded as a CUDA graph, then repeated with other numbers and another batch.

A small model's step is thousands of short kernels, and a GPU would wait for the launch of most of them. A graph repeats
them at the addresses that they had: so whatever changes is written there before, and what comes out is copied before it
is written over. Noise is drawn anew, since torch tells a graph the seed and the place in its stream each time.
"""

from collections import deque
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from flam_train.engine.batches import Batch
from flam_train.engine.plan import FitConfig, Progress
from flam_train.engine.step import Numbers, Terms

SETTLING = 3
"""Steps that are taken as they come, in which libraries settle and optimisers make their state."""
AHEAD = 2
"""Repetitions that may wait for the GPU: with more, the time that a run measures would lag behind its steps."""


def is_recorded(config: FitConfig, device: torch.device, processes: int) -> bool:
    """Whether the steps of a run go through `RecordedStep`.

    Raises:
        ValueError: they shall, but several processes train together, who talk to each other between kernels.
    """
    if config.graph == "on" and processes > 1:
        raise ValueError(
            f'expected one process for graph="on", got {processes}; set it to "auto", or start the command without '
            "torchrun"
        )
    return config.graph == "on" or (config.graph == "auto" and device.type == "cuda" and processes == 1)


class RecordedStep:
    """Takes a step with what it needs at fixed addresses; on a CUDA GPU, as one graph from the fourth time on.

    The model, the optimisers and the average must stay where they are: they may be written to, not replaced. The
    first steps count like all others.

    Args:
        step: (batch, numbers) -> loss, norm and terms; it waits for nothing, and takes its numbers as tensors.
        device: where it computes.
    """

    def __init__(self, step: Callable[[Batch, Numbers], Terms], device: torch.device):
        self._step, self._device = step, device
        self._written = torch.zeros(4, dtype=torch.float64, device=device)
        self._batch: Batch | None = None
        self._records = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._records else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._settled = 0
        self._names: list[str] = []
        self._row = torch.empty(0)
        self._launched: deque[torch.cuda.Event] = deque()

    def __call__(self, batch: Batch, numbers: Numbers) -> Terms:
        """Takes the step; noise comes from torch's global generator, as it was seeded last.

        Raises:
            ValueError: the batch has other shapes or types than the first.
        """
        self._write(batch, numbers)
        if not self._records:
            return self._computed()
        if self._settled < SETTLING:
            self._settled += 1
            return self._taken_aside()
        if self._graph is None:
            self._record()
        return self._repeated()

    def _computed(self) -> Terms:
        """The step at the fixed addresses."""
        assert self._batch is not None
        step, share, rate, decay = self._written.clone().unbind()  # a term to be logged may be one of them
        if self._records:  # what the kernels of AdamW and of lists of tensors read there; those of a CPU read float64
            rate, decay = rate.float(), decay.float()
        progress = Progress(cast(int, step.long()), cast(float, share))
        return self._step(self._batch, Numbers(progress, rate, decay))

    def _taken_aside(self) -> Terms:
        """The step on the stream that is to be recorded, as torch asks for."""
        assert self._stream is not None
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            taken = self._computed()
        here.wait_stream(self._stream)
        return taken

    def _record(self) -> None:
        """Records the step, which takes none.

        Raises:
            ValueError: the step does what no graph can.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            # "thread_local": the thread that draws batches may ask for memory meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                loss, norm, terms = self._computed()
                self._names = [*terms]
                self._row = torch.stack([value.detach().float() for value in (loss, norm, *terms.values())])
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ValueError(
                f"expected a loss whose step can be recorded, which waits for no number of the GPU, got {error}; set "
                'graph="off" to train without'
            ) from error
        self._graph = graph

    def _repeated(self) -> Terms:
        assert self._graph is not None
        if len(self._launched) == AHEAD:
            self._launched.popleft().synchronize()
        self._graph.replay()
        loss, norm, *terms = self._row.clone().unbind()
        self._launched.append(event := torch.cuda.Event())
        event.record()
        return loss, norm, dict(zip(self._names, terms, strict=True))

    def _write(self, batch: Batch, numbers: Numbers) -> None:
        """Puts batch and numbers where the step reads them."""
        progress, rate, decay = numbers
        values = torch.tensor([progress.step, progress.share, rate, decay], dtype=torch.float64)
        self._written.copy_(values.pin_memory() if self._records else values, non_blocking=True)
        if self._batch is None:
            self._batch = {n: t.clone() for n, t in batch.items()} if isinstance(batch, dict) else batch.clone()
            return
        there, here = _tensors(self._batch), _tensors(batch)
        kinds = [{name: (*part.shape, part.dtype) for name, part in each.items()} for each in (there, here)]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"expected batches of the same shapes and types in every step, {kinds[0]}, got {kinds[1]}; "
                'set graph="off" to train on such'
            )
        for name, part in here.items():
            there[name].copy_(part)


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return batch if isinstance(batch, dict) else {"batch": batch}
