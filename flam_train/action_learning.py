"""Learning to tell real actions from a few labels: the action decoder and the model beside it learn by this."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss

from flam_train.data.demonstrations import Demonstrations, split_episodes
from flam_train.data.labelled import LabelledTransitions
from flam_train.engine import Batch, EarlyStopping, FitConfig, FitResult, Progress, fit

SCORED_AT_ONCE = 1024
BINS = 10


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How few labels are used."""

    held_out: float = 0.2
    """share of the episodes with labels whose labels are not learned from, but end training and fit the temperature"""
    evaluate_every: int = 100
    """steps between looks at these"""
    patience: int = 10
    """looks without a lower cross-entropy after which training ends; 0 uses the whole budget"""

    def __post_init__(self):
        if not (0 < self.held_out < 1 and self.evaluate_every > 0 and self.patience >= 0):
            raise ValueError(
                f"expected held_out between 0 and 1, evaluate_every > 0 and patience >= 0, got {self}; "
                "see LearningConfig for what each means"
            )


LEARNING = LearningConfig()


def hold_out(labels: LabelledTransitions, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows to hold out, int64: whole episodes, as neighbouring frames are nearly equal.

    Raises:
        ValueError: all labels are of one episode.
    """
    pairs = Demonstrations(obs=labels.at, acts=labels.actions, episodes=labels.episodes)
    return split_episodes(pairs, share, seed)


def learn_actions(
    network: nn.Module,
    inputs: tuple[Tensor, Tensor],
    labels: LabelledTransitions,
    *,
    config: LearningConfig,
    fit_config: FitConfig,
    out: Path,
    identity: dict[str, Any],
    product: Path | None = None,
) -> FitResult:
    """Fits a network to labels with cross-entropy, and leaves it with the weights that did best on those held out.

    Args:
        network: called with both inputs; gives logits (B, C), alone or under that name.
        inputs: (P, ...) each, on the CPU.
        labels: P of them.
        config: how labels are used.
        fit_config: budget and optimiser.
        out: folder of the run, which is resumed.
        identity: as for `fit`.
        product: as for `fit`.

    Raises:
        ValueError: inputs and labels of different length, labels of one episode only, or `out` holds another run.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    lengths = [len(each) for each in inputs]
    if lengths != [len(labels)] * 2:
        raise ValueError(
            f"expected {len(labels)} inputs, one for each label, got {lengths}; give the transitions of the labels"
        )
    learned, held_out = (torch.from_numpy(rows) for rows in hold_out(labels, config.held_out, fit_config.seed))
    actions = torch.from_numpy(labels.actions)

    def batches(generator: torch.Generator, count: int) -> Batch:
        rows = learned[torch.randint(len(learned), (count,), generator=generator)]
        return {"first": inputs[0][rows], "second": inputs[1][rows], "actions": actions[rows]}

    def loss(model: nn.Module, batch: dict[str, Tensor], _: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        logits = _logits(model(batch["first"], batch["second"])).float()
        right = (logits.argmax(-1) == batch["actions"]).float().mean()
        return cross_entropy(logits, batch["actions"]), {"accuracy": right}

    def evaluate(model: nn.Module) -> dict[str, float]:
        logits = all_logits(model, (inputs[0][held_out], inputs[1][held_out]))
        right = (logits.argmax(-1) == actions[held_out]).float().mean()
        return {"cross_entropy": cross_entropy(logits, actions[held_out]).item(), "accuracy": right.item()}

    result = fit(
        network,
        loss,
        batches,
        fit_config,
        out,
        evaluate=evaluate,
        evaluate_every=config.evaluate_every,
        identity=identity,
        product=product,
        stopping=EarlyStopping(metric="cross_entropy", patience=config.patience),
    )
    network.load_state_dict(result.ema)
    network.cpu().eval()
    return result


@torch.no_grad()
def all_logits(network: nn.Module, inputs: tuple[Tensor, Tensor]) -> Tensor:
    """Logits (P, C) of inputs (P, ...) each, on the CPU."""
    device = next(network.parameters()).device
    pieces = zip(*(each.split(SCORED_AT_ONCE) for each in inputs), strict=True)
    return torch.cat([_logits(network(*(each.to(device) for each in piece))).cpu() for piece in pieces])


def _logits(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.logits


def calibrated_temperature(logits: Tensor, actions: Tensor) -> float:
    """What to divide logits (P, C) by to make actions int64 (P,) most likely (temperature scaling, Guo et al. 2017)."""
    temperatures = torch.linspace(-2.0, 2.0, 401).exp()
    losses = torch.stack([cross_entropy(logits / temperature, actions) for temperature in temperatures])
    return temperatures[losses.argmin()].item()


def action_scores(logits: Tensor, actions: Tensor, classes: np.ndarray) -> dict[str, float]:
    """How well logits (P, C) tell actions int64 (P,).

    Args:
        logits: of each real action.
        actions: the true ones.
        classes: int64 (C,), the action that stands for all those with the same effect.

    Returns:
        accuracy; class_accuracy, where actions of equal effect count as the same; cross_entropy; calibration_error: the
        mean distance, over ten bins of confidence, between how sure the network is and how often it is right.
    """
    told, same = logits.argmax(-1), torch.from_numpy(classes)
    certainty, right = logits.softmax(-1).amax(-1), (told == actions).float()
    bins = (certainty * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS).index_add(0, bins, certainty - right)
    return {
        "accuracy": right.mean().item(),
        "class_accuracy": (same[told] == same[actions]).float().mean().item(),
        "cross_entropy": nll_loss(logits.log_softmax(-1), actions).item(),
        "calibration_error": (gaps.abs().sum() / len(actions)).item(),
    }
