"""What a training run is told: its config, and the schedules that follow from it in closed form."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flam_train.engine.muon import Muon

FINAL_DECAY = 0.02  # share of the learning rate that is left when the linear decay ends


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a network is fitted."""

    steps: int = 0
    """optimiser steps, unless there are `minutes`"""
    batch_size: int
    """examples per step, over all processes together"""
    learning_rate: float
    warmup_steps: int = 0
    """steps of linear rise to the learning rate"""
    decay_share: float = 0.0
    """last share of the run in which the learning rate falls linearly to 2 %; 0 keeps it constant"""
    weight_decay: float = 0.01
    """of AdamW; applies to the weights that `is_decayed` names"""
    betas: tuple[float, float] = (0.9, 0.999)
    muon: float = 0.0
    """if above 0, the hidden matrices (`is_hidden_matrix`) are trained by Muon (Jordan et al. 2024) instead of AdamW,
    with this multiple of the learning rate"""
    clip: float = 1.0
    """largest norm of the gradient; 0 does not clip"""
    ema: float = 0.999
    """decay of the averaged weights, which are what gets exported; 0 exports the raw weights"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """of matrix products in the loss call; weights stay fp32. `auto` is bf16 where the processor knows it"""
    compile: bool = False
    """run the model's forward through torch.compile"""
    graph: Literal["auto", "on", "off"] = "off"
    """repeat the step as one CUDA graph, so that the GPU never waits for launches: for losses that wait for no number
    and take `Progress` as tensors. `auto` does so where one process trains on a CUDA GPU; without such a GPU `on` takes
    the same step and records nothing"""
    seed: int = 0
    checkpoint_minutes: float = 3.0
    """a checkpoint is written with the first log line after this time"""
    log_every: int = 50
    """steps per log line; a loss that is not finite is noticed there"""
    minutes: float = 0.0
    """if above 0, schedule and end follow the time spent on training, evaluation not counted, in place of `steps`: the
    same seed then gives other numbers on another machine"""

    def __post_init__(self):
        bounds = {
            "steps": self.steps >= 0,
            "minutes": self.minutes >= 0,
            "steps or minutes (one of them above 0)": max(self.steps, self.minutes) > 0,
            "batch_size": self.batch_size > 0,
            "learning_rate": self.learning_rate > 0,
            "warmup_steps": self.warmup_steps >= 0,
            "decay_share": 0 <= self.decay_share <= 1,
            "muon": self.muon >= 0,
            "clip": self.clip >= 0,
            "ema": 0 <= self.ema < 1,
            "precision": self.precision in ("auto", "fp32", "bf16"),
            "graph": self.graph in ("auto", "on", "off"),
            "seed": self.seed >= 0,
            "checkpoint_minutes": self.checkpoint_minutes >= 0,
            "log_every": self.log_every > 0,
        }
        wrong = [name for name, holds in bounds.items() if not holds]
        if wrong:
            raise ValueError(f"expected {wrong[0]} in range, got {self}; see FitConfig for what each means")


@dataclass(frozen=True)
class Progress:
    """How far a run is: optimiser steps done, and the share of the whole run, 0 to 1.

    In a step that is repeated as a graph (`FitConfig.graph`) both are tensors without axes on the device, int64 and
    float64, for a loss to calculate with: their values are written before each repetition.
    """

    step: int
    share: float


def progress_of(config: FitConfig, step: int, seconds: float) -> Progress:
    """How far a run is after that many steps and seconds of training."""
    share = seconds / (60 * config.minutes) if config.minutes else step / config.steps
    return Progress(step, min(share, 1.0))


Loss = Callable[[nn.Module, Any, Progress], tuple[Tensor, dict[str, Tensor]]]
"""(model, batch, progress) -> (scalar to minimise, named scalars to log: the same names in every step).

Called under autocast: take logarithms, exponentials and squared differences of `.float()` tensors. What it makes of the
progress must do for numbers and for tensors.
"""
Evaluate = Callable[[Any], dict[str, float]]


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Weight decay applies to matrices and kernels, unless their name has "embedding" or "position" in it."""
    return parameter.ndim >= 2 and "embedding" not in name and "position" not in name


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """What Muon is made for: matrices that are decayed and are no first ("from_code") or last ("head") layer."""
    return parameter.ndim == 2 and is_decayed(name, parameter) and "from_code" not in name and "head" not in name


def learning_rate(config: FitConfig, progress: Progress) -> float:
    """Linear warm-up by steps, times linear decay to 2 % over the last `decay_share` of the run."""
    warm = min(1.0, (progress.step + 1) / max(config.warmup_steps, 1))
    into_decay = progress.share - (1 - config.decay_share)
    if config.decay_share == 0 or into_decay <= 0:
        return config.learning_rate * warm
    return config.learning_rate * warm * (1 - (1 - FINAL_DECAY) * into_decay / config.decay_share)


def ema_decay(config: FitConfig, step: int) -> float:
    """Decay of the average after `step` steps: min(ema, (1 + step) / (10 + step)), to forget the start."""
    return min(config.ema, (1 + step) / (10 + step))


def optimizers(model: nn.Module, config: FitConfig, device: torch.device) -> list[torch.optim.Optimizer]:
    """AdamW over the parameters that require a gradient; where `config.muon` is set, Muon over the hidden matrices.

    The learning rate of each group is the schedule's times the group's "factor". On a CUDA GPU both can be recorded.
    """
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    hidden = [weight for name, weight in named if config.muon and is_hidden_matrix(name, weight)]
    rest = [(name, weight) for name, weight in named if not any(weight is other for other in hidden)]
    groups = [
        {"params": [w for name, w in rest if is_decayed(name, w)], "weight_decay": config.weight_decay, "factor": 1.0},
        {"params": [w for name, w in rest if not is_decayed(name, w)], "weight_decay": 0.0, "factor": 1.0},
    ]
    fused = device.type in ("cpu", "cuda", "mps", "xpu")
    both: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            groups, lr=config.learning_rate, betas=config.betas, fused=fused, capturable=device.type == "cuda"
        )
    ]
    if hidden:
        group = {"params": hidden, "factor": config.muon}
        both.append(Muon([group], lr=config.learning_rate, weight_decay=config.weight_decay))
    return both
