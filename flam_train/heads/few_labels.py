"""Learning from few labels: some are held out, and end training when they are told no better."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flam_train.engine import EarlyStopping, FitConfig, FitResult, Progress
from flam_train.engine.examples import fit_examples, mean_scores, split_episodes
from flam_train.heads.known_actions import LabelledTransitions

SCORED_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How few labels are used."""

    held_out: float = 0.2
    """share of the episodes with labels whose labels are not learned from, but end training and fit the temperature"""
    evaluate_every: int = 100
    """steps between looks at these"""
    patience: int = 10
    """looks without a lower cross-entropy after which training ends; 0 uses the whole budget"""
    unlabelled: int = 16_000
    """transitions of the same video, at most, whose action nobody told: a model that has learned from labels tells
    them, and one like it learns from labels and these; 0 for none"""
    dreamt: int = 16_000
    """transitions of dreams in which keys are pressed at random, at most, that a decoder learns from beside these; 0
    for none"""

    def __post_init__(self):
        counts = (self.evaluate_every - 1, self.patience, self.unlabelled, self.dreamt)
        if not (0 < self.held_out < 1 and min(counts) >= 0):
            raise ValueError(
                "expected held_out between 0 and 1, evaluate_every > 0, and patience, unlabelled and dreamt >= 0, got "
                f"{self}; see LearningConfig for what each means"
            )


LEARNING = LearningConfig()


def hold_out(labels: LabelledTransitions, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and rows to hold out, int64, as `split_episodes` has it.

    Raises:
        ValueError: all labels are of one episode.
    """
    return split_episodes(labels.episodes, share, seed)


def learn_from_labels(
    network: nn.Module,
    data: dict[str, Tensor],
    labels: LabelledTransitions,
    score: Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]],
    *,
    config: LearningConfig,
    fit_config: FitConfig,
    out: Path,
    identity: dict[str, Any],
    product: Path | None = None,
    taught: int = 0,
) -> FitResult:
    """Fits a network to few labels, and leaves it with the weights that did best on those held out, where it learned.

    Args:
        network: what learns.
        data: (P + U, ...) by name, on the CPU.
        labels: P of them; they say which episode each is of.
        score: of the network and a batch of data, means over the batch by name; `loss` is what is minimised, and what
            ends training.
        config: how labels are used.
        fit_config: budget and optimiser.
        out: folder of the run, which is resumed.
        identity: as for `fit`.
        product: as for `fit`.
        taught: U, examples at the end of the data that are learned from beside those of labels, and never held out.

    Raises:
        ValueError: data and labels of different length, labels of one episode only, or `out` holds another run.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    lengths = {name: len(values) for name, values in data.items()}
    if set(lengths.values()) != {len(labels) + taught}:
        beside = f", and {taught} beside these" if taught else ""
        raise ValueError(
            f"expected {len(labels)} inputs, one for each label{beside}, got {lengths}; give the transitions of the "
            "labels"
        )
    learned, held_out = hold_out(labels, config.held_out, fit_config.seed)
    learned = np.concatenate([learned, len(labels) + np.arange(taught)])

    def take(rows: np.ndarray) -> dict[str, Tensor]:
        return {name: values[rows] for name, values in data.items()}

    def loss(model: nn.Module, batch: dict[str, Tensor], _: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        scores = score(model, batch)
        return scores.pop("loss"), {name: value.detach() for name, value in scores.items()}

    result = fit_examples(
        network,
        loss,
        take,
        learned,
        fit_config,
        out,
        evaluate=lambda model: mean_scores(model, score, take, held_out, at_once=SCORED_AT_ONCE),
        evaluate_every=config.evaluate_every,
        identity=identity,
        product=product,
        stopping=EarlyStopping(metric="loss", patience=config.patience),
    )
    network.eval()
    return result


@torch.no_grad()
def seen_by(network: nn.Module, inputs: tuple[Tensor, ...]) -> Iterator[Any]:
    """What a network makes of inputs (P, ...) each, on its own device, some of them at a time."""
    device = next(network.parameters()).device
    for piece in zip(*(each.split(SCORED_AT_ONCE) for each in inputs), strict=True):
        yield network(*(each.to(device) for each in piece))
