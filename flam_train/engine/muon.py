"""Muon (Jordan et al. 2024) for all matrices of one shape at once.

torch's own walks through the matrices one by one, with some thirty small products for each: on a GPU a step of a small
model then waits for the launches of Muon longer than for all else. The arithmetic here is the same, in stacks.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, by its authors: steep at zero; singular values end anywhere between .5 and 1.5."""
ITERATIONS = 5
SMALLEST_NORM = 1e-7
RMS_OF_ADAMW = 0.2
"""About the root mean square of an update of AdamW: so both take the same learning rate (Liu et al. 2025)."""


class Muon(torch.optim.Optimizer):
    """`torch.optim.Muon` with adjust_lr_fn="match_rms_adamw", whose state it shares.

    A learning rate may be a tensor without axes on the device of the matrices, which is read there: a step never waits
    for a number, and can be recorded in a CUDA graph.

    Args:
        matrices: tensors (rows, columns), or groups of them as for every optimiser of torch.
        lr: learning rate.
        weight_decay: as of AdamW.

    Raises:
        ValueError: something is no matrix.
    """

    def __init__(self, matrices: Iterable[Any], *, lr: float | Tensor, weight_decay: float):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})
        wrong = [m for group in self.param_groups for m in group["params"] if m.ndim != 2]
        if wrong:
            raise ValueError(f"expected matrices, got a tensor of shape {tuple(wrong[0].shape)}; leave it to AdamW")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Changes all matrices that have a gradient."""
        assert closure is None, "the loss is computed before"
        for group in self.param_groups:
            shapes: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append((matrix, matrix.grad))
            for pairs in shapes.values():
                matrices, gradients = map(list, zip(*pairs, strict=True))
                self._change(matrices, gradients, group["lr"], group["weight_decay"])

    def _change(
        self, matrices: list[Tensor], gradients: list[Tensor], rate: float | Tensor, weight_decay: float
    ) -> None:
        """One step of matrices of one shape."""
        momenta = [self._momentum(matrix) for matrix in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        directions = orthogonalized(torch.stack(torch._foreach_lerp(gradients, momenta, MOMENTUM)))
        rows, columns = directions.shape[1:]
        adjusted = rate * (RMS_OF_ADAMW * max(rows, columns) ** 0.5)
        torch._foreach_mul_(matrices, 1 - rate * weight_decay)
        torch._foreach_sub_(matrices, (directions.float() * adjusted).unbind())

    def _momentum(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        return state["momentum_buffer"]


def orthogonalized(matrices: Tensor) -> Tensor:
    """Matrices (B, rows, columns) -> bfloat16, with all singular values near 1, by Newton-Schulz iterations."""
    slope, cubic, quintic = COEFFICIENTS
    upright = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if upright else matrices).bfloat16()
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=slope)
    return x.mT if upright else x
