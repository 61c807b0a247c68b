"""Learning to tell real actions from a few labels: the action decoder and the model beside it learn by this."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss, one_hot

from flam_train.engine import FitResult
from flam_train.heads.few_labels import learn_from_labels, seen_by
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.heads.mirrors import Mirrors, mirrored

BINS = 10


def learn_actions(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    labels: LabelledTransitions,
    *,
    taught: Tensor | None = None,
    mirrors: Mirrors | None = None,
    **settings: Any,
) -> FitResult:
    """Fits a network to labels with cross-entropy.

    Args:
        network: called with all inputs; gives logits (B, C), alone or under that name.
        inputs: (P + U, ...) each, on the CPU; with mirrors, frames before and after.
        labels: P of them.
        taught: (U, C), how likely each action is where nobody told it; learned from as well.
        mirrors: what inputs are mirrored along in training.
        settings: as for `learn_from_labels`, whose errors it raises.
    """
    actions = torch.from_numpy(labels.actions)
    if taught is not None:
        actions = torch.cat([one_hot(actions, taught.shape[1]).to(taught.dtype), taught])
    data = {f"input {i}": each for i, each in enumerate(inputs)} | {"actions": actions}
    score = partial(_score, mirrors=mirrors or {})
    return learn_from_labels(network, data, labels, score, taught=0 if taught is None else len(taught), **settings)


def _score(network: nn.Module, batch: dict[str, Tensor], mirrors: Mirrors) -> dict[str, Tensor]:
    *inputs, actions = batch.values()
    if network.training and mirrors:
        *inputs, actions = mirrored(inputs[0], inputs[1], actions, mirrors)
    logits = _logits(network(*inputs)).float()
    likely = actions if actions.ndim == 1 else actions.argmax(-1)
    return {"loss": cross_entropy(logits, actions), "accuracy": (logits.argmax(-1) == likely).float().mean()}


def all_logits(network: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Logits (P, C) of inputs (P, ...) each, computed where the network is, returned on the CPU."""
    return torch.cat([_logits(output).cpu() for output in seen_by(network, inputs)])


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
