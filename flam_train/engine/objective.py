"""What one step computes: model, loss and precision as one module."""

from typing import cast

import torch
from torch import Tensor, nn

from flam_train.engine.batches import Batch
from flam_train.engine.plan import Loss, Progress


class Objective(nn.Module):
    """Model and loss as one module, so that data parallelism sees one forward whatever the loss calls."""

    def __init__(self, model: nn.Module, loss: Loss, *, compiled: bool, bf16: bool):
        super().__init__()
        self.model, self.loss, self.bf16 = model, loss, bf16
        # In a tuple: registered as a submodule, the wrapper would name every parameter a second time.
        self.called = (cast(nn.Module, torch.compile(model, dynamic=False)) if compiled else model,)

    def forward(self, batch: Batch, progress: Progress, device: str) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise and the terms to log, computed under autocast."""
        # torch's own autocast: accelerate fixes one precision for the life of the process.
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            value, terms = self.loss(self.called[0], batch, progress)
        return value.float(), terms
