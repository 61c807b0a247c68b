"""The two models that learn real actions from a few labels: one through a world, and beside it one without (4.3)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from flam_env.heads.action_decoder import ActionDecoder, ActionDecoderConfig, Transitions
from flam_env.heads.cell_reader import SMALLEST
from flam_env.worlds.checkpoint import round_as_stored
from flam_env.worlds.world import World
from flam_train.engine import FitConfig, FitResult
from flam_train.heads.few_labels import LearningConfig, hold_out
from flam_train.heads.inverse_model import SupervisedInverse, SupervisedInverseConfig
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.heads.learning import all_logits, calibrated_temperature, learn_actions
from flam_train.heads.mirrors import Mirrors
from flam_train.store.moments import Moments, read_clips
from flam_train.store.store import EpisodeStore

FEW_LABELS = 3000

Network = TypeVar("Network", ActionDecoder, SupervisedInverse)
FramePairs = tuple[Tensor, Tensor]
"""Frames uint8 (P, H, W, 3) before and after."""


@dataclass(frozen=True, kw_only=True)
class DecoderSize:
    """What is free to choose of a decoder."""

    width: int = 128
    """of the layers that each slot passes on its own"""
    dropout: float | None = None
    """share of what a layer sees that is left out in training, of both models; by default 0.2, or 0.5 where there are
    fewer than 3000 labels, which was best of both on Bigfish"""

    def dropout_for(self, labels: int) -> float:
        """What is given, or the default for so many labels."""
        return (0.5 if labels < FEW_LABELS else 0.2) if self.dropout is None else self.dropout


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelLearning:
    """How both models learn.

    Attributes:
        classes: int64 (C,), for each real action the one that stands for all those of equal effect.
        size: of the decoder, and the dropout of both models.
        config: how labels are used.
        fit_config: budget and optimiser.
        identity: what makes a run another one, as for `fit`.
        mirrors: what frames of labels are mirrored along, as if there were more of them.
    """

    classes: np.ndarray
    size: DecoderSize
    config: LearningConfig
    fit_config: FitConfig
    identity: dict[str, Any]
    mirrors: Mirrors = field(default_factory=dict)

    @property
    def actions(self) -> int:
        """C, number of real actions."""
        return len(self.classes)

    def settings(self, model: Any) -> dict[str, Any]:
        """The arguments of `learn_from_labels` that are the same for all models; model: the config of this one."""
        identity = self.identity | {"model": asdict(model), "mirrors": sorted(self.mirrors)}
        return {"config": self.config, "fit_config": self.fit_config, "identity": identity}


def learn_decoder(
    world: World,
    seen: Transitions,
    labels: LabelledTransitions,
    learning: LabelLearning,
    out: Path,
    *,
    unlabelled: Transitions | None = None,
    product: Path | None = None,
) -> tuple[ActionDecoder, FitResult]:
    """A calibrated decoder.

    Args:
        world: whose transitions.
        seen: P transitions, stored.
        labels: P of them.
        learning: how.
        out: folder of the run, which is resumed; that of what teaches itself is beside it.
        unlabelled: U transitions that it then teaches itself.
        product: as for `fit`.

    Raises:
        ValueError: transitions and labels of different number, labels of one episode only, or `out` holds another run.
    """
    tokenizer = world.tokenizer.config
    sees_cells = tokenizer.grid >= SMALLEST
    config = ActionDecoderConfig(
        slots=world.model.slots,
        slot_dim=world.model.slot_dim,
        latent_dim=world.action_shape[-1],
        actions=learning.actions,
        width=learning.size.width,
        dropout=learning.size.dropout_for(len(labels)),
        grid=tokenizer.grid if sees_cells else None,
        levels=tokenizer.levels if sees_cells else (),
    )
    return _learn(lambda: ActionDecoder(config), seen, unlabelled, labels, learning, {}, out, product)


def learn_taught_decoder(
    config: ActionDecoderConfig,
    seen: Transitions,
    labels: LabelledTransitions,
    learning: LabelLearning,
    out: Path,
    *,
    taught: tuple[Transitions, Tensor],
    product: Path | None = None,
) -> tuple[ActionDecoder, FitResult]:
    """A calibrated decoder that learns from labels and from what somebody makes of other transitions.

    Args:
        config: of the decoder.
        seen: P transitions, stored.
        labels: P of them.
        learning: how.
        out: folder of the run, which is resumed.
        taught: U further transitions, stored, and how likely each action is there, (U, C).
        product: as for `fit`.

    Raises:
        ValueError: as for `learn_decoder`.
    """
    settings: dict[str, Any] = {"mirrors": {}, "out": out, "product": product}
    return _learn_once(lambda: ActionDecoder(config), seen, labels, learning, taught, **settings)


def learn_supervised(
    pairs: FramePairs,
    labels: LabelledTransitions,
    learning: LabelLearning,
    out: Path,
    *,
    unlabelled: FramePairs | None = None,
) -> SupervisedInverse:
    """The model without the world, calibrated.

    Args:
        pairs: frames before and after, as `frame_pairs` gives them.
        labels: P of them.
        learning: how.
        out: folder of the run, which is resumed.
        unlabelled: U pairs that it then teaches itself.

    Raises:
        ValueError: as for `learn_decoder`.
    """
    config = SupervisedInverseConfig(
        size=pairs[0].shape[1], actions=learning.actions, dropout=learning.size.dropout_for(len(labels))
    )
    mirrors = learning.mirrors
    network, _ = _learn(lambda: SupervisedInverse(config), pairs, unlabelled, labels, learning, mirrors, out, None)
    return network


def _learn(
    make: Callable[[], Network],
    inputs: tuple[Tensor, ...],
    unlabelled: tuple[Tensor, ...] | None,
    labels: LabelledTransitions,
    learning: LabelLearning,
    mirrors: Mirrors,
    out: Path,
    product: Path | None,
) -> tuple[Network, FitResult]:
    """A calibrated network that learned from labels; and then, where there is more, one taught by it as well."""
    settings: dict[str, Any] = {"mirrors": mirrors, "product": product}
    network, result = _learn_once(make, inputs, labels, learning, out=out, **settings)
    if unlabelled is None or not len(unlabelled[0]):
        return network, result
    taught = unlabelled, all_logits(network, unlabelled).softmax(-1)
    return _learn_once(make, inputs, labels, learning, taught, out=out.with_name(f"{out.name}_taught"), **settings)


def _learn_once(
    make: Callable[[], Network],
    inputs: tuple[Tensor, ...],
    labels: LabelledTransitions,
    learning: LabelLearning,
    taught: tuple[tuple[Tensor, ...], Tensor] | None = None,
    **settings: Any,
) -> tuple[Network, FitResult]:
    """A calibrated network that learned from labels, and from what further inputs (U, ...) likely are, (U, C)."""
    torch.manual_seed(learning.fit_config.seed)
    network, told = make(), None
    every = inputs
    if taught is not None:
        more, told = taught
        every = tuple(map(torch.cat, zip(inputs, more, strict=True)))
    result = learn_actions(network, every, labels, taught=told, **learning.settings(network.config), **settings)
    round_as_stored(network)
    _calibrate(network, inputs, labels, learning)
    return network, result


def _calibrate(
    network: ActionDecoder | SupervisedInverse,
    inputs: tuple[Tensor, ...],
    labels: LabelledTransitions,
    learning: LabelLearning,
) -> None:
    held_out = torch.from_numpy(hold_out(labels, learning.config.held_out, learning.fit_config.seed)[1])
    logits = all_logits(network, tuple(each[held_out] for each in inputs))
    temperature = calibrated_temperature(logits, torch.from_numpy(labels.actions)[held_out])
    network.temperature.fill_(temperature).copy_(network.temperature.half())


def frame_pairs(store: EpisodeStore, at: Moments) -> FramePairs:
    """Frames uint8 (P, H, W, 3) of moments and of those that follow, in the order of the moments."""
    before, after = torch.from_numpy(read_clips(store, at, 2)).unbind(1)
    return before, after
