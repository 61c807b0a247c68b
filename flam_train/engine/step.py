"""What one optimiser step does, from a batch to the moving average."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flam_train.engine.batches import Batch
from flam_train.engine.plan import Progress
from flam_train.engine.state import RunState

Terms = tuple[Tensor, Tensor, dict[str, Tensor]]
"""Loss, norm of the gradient before clipping, and the terms of the loss: scalars on the device."""

Objective = Callable[[Batch, Progress, str], tuple[Tensor, dict[str, Tensor]]]


class Numbers(NamedTuple):
    """What changes from step to step beside the batch: numbers, or tensors without axes on the device.

    progress: for the loss; rate: the learning rate, times the "factor" of each group; decay: of the moving average.
    """

    progress: Progress
    rate: float | Tensor
    decay: float | Tensor


class TrainingStep:
    """Forward, backward, clipping, optimisers and moving average. Nothing in it waits for the device.

    Args:
        objective: (batch, progress, kind of device) -> loss and terms.
        optimizers: of the model.
        state: with the parameters and their average.
        backward: computes the gradients of a loss.
        clip: (parameters, largest norm) -> norm.
        most: largest norm of the gradient.
        device: where all of it is.
    """

    def __init__(
        self,
        objective: Objective,
        optimizers: list[torch.optim.Optimizer],
        state: RunState,
        *,
        backward: Callable[[Tensor], Any],
        clip: Callable[[list[Any], float], Any],
        most: float,
        device: torch.device,
    ):
        self._objective, self._optimizers, self._state = objective, optimizers, state
        self._backward, self._clip, self._most, self._device = backward, clip, most, device

    def __call__(self, batch: Batch, numbers: Numbers) -> Terms:
        """Takes the step; noise comes from torch's global generator."""
        for group in (group for optimizer in self._optimizers for group in optimizer.param_groups):
            group["lr"] = numbers.rate * group["factor"]
        loss, terms = self._objective(batch, numbers.progress, self._device.type)
        self._backward(loss)
        norm = self._clip(self._state.parameters, self._most)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._state.update_average(numbers.decay)
        return loss, norm, terms
