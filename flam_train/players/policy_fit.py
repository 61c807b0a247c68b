"""How a reactive policy is fitted, to whatever it is taught with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flam_train.engine import Batch, FitConfig, Progress, fit
from flam_train.players.policy import Policy
from flam_train.players.variations import varied


def fit_policy(
    policy: Policy,
    frames: Tensor,
    values: Tensor,
    loss: Callable[[nn.Module, Any, Progress], tuple[Tensor, dict[str, Tensor]]],
    config: FitConfig,
    out: Path,
    *,
    identity: dict[str, Any],
) -> Policy:
    """Fits a policy to values of the distinct actions in some frames and in variations of them.

    Args:
        policy: changed in place, and left on the CPU with its averaged weights.
        frames: uint8 (S, 64, 64, 3).
        values: float32 (S, A).
        loss: of the policy and a batch of both, as for `fit`.
        config: budget and optimiser.
        out: folder of the run, which is resumed.
        identity: as for `fit`.
    """

    def batches(generator: torch.Generator, count: int) -> Batch:
        rows = torch.randint(len(frames), (count,), generator=generator)
        return varied(policy.config.game, frames[rows], values[rows], generator)

    policy = policy.requires_grad_().train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    result = fit(policy, loss, batches, config, out, identity=identity)
    policy.load_state_dict(result.ema)
    return policy.cpu().eval()
